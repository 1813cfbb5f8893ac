//! What several tests of the front door share: the negative vectors, and a client that can misbehave.

use serde::Deserialize;
use std::collections::BTreeMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// `negative.json`.
#[derive(Deserialize)]
pub(crate) struct Negative {
    /// The realm that the bodies are for.
    pub(crate) realm: NegativeRealm,
    /// The key that signed the tokens.
    pub(crate) tenant_key: NegativeKey,
    /// The clock at which the tokens are valid, in Unix seconds.
    pub(crate) now: u64,
    /// The cases.
    pub(crate) cases: Vec<Case>,
}

/// The realm of the negative vectors.
#[derive(Deserialize)]
pub(crate) struct NegativeRealm {
    /// Its id.
    pub(crate) id: String,
}

/// The HS256 key of the negative vectors.
#[derive(Deserialize)]
pub(crate) struct NegativeKey {
    /// `tenant:version`.
    pub(crate) kid: String,
    /// The secret, in hexadecimal.
    pub(crate) data: String,
}

/// One case: a request and every acceptable answer.
#[derive(Deserialize)]
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: String,
    /// Which step refuses it.
    pub(crate) stage: String,
    /// The method, in cases of stage `http`.
    pub(crate) method: Option<String>,
    /// The path, in cases of stage `http`.
    pub(crate) path: Option<String>,
    /// The headers, in cases of stage `http`.
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// The body in hexadecimal, in all other cases.
    pub(crate) body: Option<String>,
    /// The names of the acceptable answers, first preferred.
    pub(crate) required: Vec<String>,
    /// The status of the first.
    pub(crate) http_status: u16,
    /// The body of the first in hexadecimal, where it is a refusal.
    pub(crate) response_body: Option<String>,
}

impl Negative {
    /// Reads the vectors.
    pub(crate) fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/vectors/negative.json");
        serde_json::from_slice(&std::fs::read(path).expect("the vectors are in the repository"))
            .expect("JSON")
    }

    /// The tenants file that holds the key of the tokens.
    pub(crate) fn tenants_toml(&self) -> String {
        let (name, version) = self.tenant_key.kid.split_once(':').expect("tenant:version");
        let key = &self.tenant_key.data;
        format!(
            "[[tenant]]\nname = \"{name}\"\nversion = {version}\nalgorithm = \"HS256\"\nkey = \"{key}\"\n"
        )
    }

    /// The body of the case called `name`.
    pub(crate) fn body(&self, name: &str) -> Vec<u8> {
        let case = self.cases.iter().find(|case| case.name == name).expect("a case of that name");
        case.body_bytes()
    }
}

impl Case {
    /// The body.
    pub(crate) fn body_bytes(&self) -> Vec<u8> {
        hex::decode(self.body.as_deref().unwrap_or_default()).expect("hexadecimal")
    }

    /// The whole HTTP request, as bytes of HTTP/1.1.
    pub(crate) fn http(&self) -> Vec<u8> {
        let (method, path) =
            (self.method.as_deref().unwrap_or("POST"), self.path.as_deref().unwrap_or("/req"));
        let current = || BTreeMap::from([("X-Juicebox-Version".to_owned(), "0.3.4".to_owned())]);
        let headers = self.headers.clone().unwrap_or_else(current);
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        http(method, path, &headers, &self.body_bytes())
    }
}

/// A request in HTTP/1.1 with a true length, after which the server is to close.
pub(crate) fn http(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: realm.example\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// `POST /req` with a current version header.
pub(crate) fn post(body: &[u8]) -> Vec<u8> {
    http("POST", "/req", "X-Juicebox-Version: 0.3.4\r\n", body)
}

/// An answer in HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The headers, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Sends `request` as it is and reads what comes until the server closes. `None` if nothing comes.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> Option<Answer> {
    // A server that closes with input unread resets the connection; what it said before counts.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Some(Answer {
        status: status.parse().expect("a number"),
        headers: lines.filter_map(header).collect(),
        body: bytes[end + 4..].to_vec(),
    })
}
