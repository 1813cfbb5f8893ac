//! The front door of an agent that knows neither its realm nor its peers: what it relays, to whom, and how often.

use crate::door::{Door, REACHED, Setting, decoded};
use crate::support::{Negative, http, post};
use parking_lot::Mutex;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_agent::front::{FrontMetrics, FrontUrl, RELAYED_HEADER, Relay, RelayError, Relayed};
use strongroom_agent::grpc::realm::RealmRequest;
use strongroom_agent::grpc::realm::realm_client::RealmClient;
use strongroom_agent::tls::Tls;
use strongroom_proto::client::ClientResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(600);

/// Another agent's front door that always gives the same answer, and keeps what it received.
struct Other {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Other {
    async fn says(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("it listens");
                let mut request = Vec::new();
                while !is_whole(&request) && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
                all.lock().push(request);
                // A reader that stops reading has its reasons.
                let _ = stream.write_all(&answer).await;
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> usize {
        self.heard.lock().len()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    request.len() >= end + 4 + length.unwrap_or(0)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn reached() -> Vec<u8> {
    answer("400 Bad Request", "", &REACHED.to_cbor())
}

fn relay(doors: &[String], authority: Option<&Path>) -> Result<Relay, RelayError> {
    let doors: Vec<FrontUrl> = doors.iter().map(|door| door.clone().try_into().expect("a door")).collect();
    Relay::open(&doors, authority, PATIENCE, PATIENCE, FrontMetrics::default())
}

fn plain(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(|address| format!("http://{address}/")).collect()
}

/// The door of an agent whose HSM has not answered, which relays to these.
async fn cut_off(vectors: &Negative, relay: Relay) -> Door {
    Door::open(vectors, Setting { realm: false, relay: Some(Arc::new(relay)), ..Setting::default() }).await
}

/// An address where nothing listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound")
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_request_reaches_another_door_as_its_client_sent_it_and_the_answer_comes_back() {
    let vectors = Negative::read();
    let other = Other::says(reached()).await;
    let door = cut_off(&vectors, relay(&plain(&[other.address]), None).expect("usable")).await;
    let body = vectors.body("control-valid-recover1-in-handshake");
    let version = "X-Juicebox-Version: 0.4.7\r\n";
    let got = door.send(&http("POST", "/req", version, &body)).await;
    assert_eq!((got.status, decoded(&got)), (400, REACHED));
    let mut client = RealmClient::connect(format!("http://{}", door.address)).await.expect("it listens");
    let got = client.call(RealmRequest { body: body.clone().into() }).await.expect("an answer");
    assert_eq!(got.into_inner().body, REACHED.to_cbor());
    let heard = other.heard.lock().clone();
    assert_eq!(heard.len(), 2);
    for (request, version) in heard.iter().zip(["0.4.7", "0.3.0"]) {
        assert!(request.starts_with(b"POST /req HTTP/1.1\r\n") && request.ends_with(&body));
        let head = String::from_utf8_lossy(&request[..request.len() - body.len()]).to_lowercase();
        assert!(head.contains(&format!("x-juicebox-version: {version}\r\n")), "{head}");
        assert!(head.contains(&format!("{RELAYED_HEADER}: 1\r\n")), "{head}");
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock())).expect("text")
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn both_ids_of_a_relayed_request_are_in_one_line_if_the_other_door_tells_one() {
    let (lines, vectors) = (Lines::default(), Negative::read());
    let to = lines.clone();
    let logger = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::DEBUG);
    // On this thread, where the doors are too.
    let _logged = tracing::subscriber::set_default(logger.with_writer(move || to.clone()).finish());
    let (there, zeros) = ("4bf92f3577b34da6a3ce929d0e0e4736", "0".repeat(32));
    let (loud, short) = (there.to_uppercase(), &there[1..]);
    for (tells, is_id) in [(there, true), (short, false), (loud.as_str(), false), (zeros.as_str(), false)] {
        let header = format!("x-request-id: {tells}\r\n");
        let other = Other::says(answer("400 Bad Request", &header, &REACHED.to_cbor())).await;
        let door = cut_off(&vectors, relay(&plain(&[other.address]), None).expect("usable")).await;
        let got = door.send(&post(&vectors.body("control-valid-handshake-only"))).await;
        assert_eq!(decoded(&got), REACHED);
        let said = lines.take();
        let line = |what: &str| said.lines().find(|line| line.contains(what)).expect("a line");
        let id = |what: &str| line(what).split_once(" request=").expect("an id").1[..32].to_owned();
        let relayed = line("a request was relayed");
        assert_eq!(id("a request was relayed"), id("a request was answered"), "{said}");
        assert_eq!(relayed.ends_with(&format!(" there={tells}")), is_id, "{relayed}");
        assert_eq!(relayed.contains("there="), is_id, "{relayed}");
    }
}

#[tokio::test]
async fn a_request_is_sent_to_one_door_whatever_the_outcome_and_the_next_begins_at_another() {
    let vectors = Negative::read();
    let request = post(&vectors.body("control-valid-handshake-only"));
    let unavailable = ClientResponse::Unavailable.to_cbor();
    for said in [
        answer("503 Service Unavailable", "", &unavailable),
        answer("200 OK", "", &unavailable),
        answer("502 Bad Gateway", "", b"<html>"),
        answer("200 OK", "", b""),
        answer("200 OK", "", &vec![0; 100_000]),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(),
        b"nothing of HTTP".to_vec(),
        Vec::new(),
    ] {
        let text = String::from_utf8_lossy(&said[..said.len().min(40)]).into_owned();
        let (bad, good) = (Other::says(said).await, Other::says(reached()).await);
        let relay = relay(&plain(&[bad.address, good.address]), None).expect("usable");
        let door = cut_off(&vectors, relay).await;
        let got = door.send(&request).await;
        assert_eq!((got.status, decoded(&got)), (503, ClientResponse::Unavailable), "{text}");
        assert_eq!((bad.heard(), good.heard()), (1, 0), "{text}");
        for heard in 1..=3 {
            assert_eq!(decoded(&door.send(&request).await), REACHED, "{text}");
            assert_eq!((bad.heard(), good.heard()), (1, heard), "{text}");
        }
    }
    let target = Other::says(reached()).await;
    let moved = format!("Location: http://{}/req\r\n", target.address);
    let moved = Other::says(answer("307 Temporary Redirect", &moved, b"")).await;
    let door = cut_off(&vectors, relay(&plain(&[moved.address]), None).expect("usable")).await;
    assert_eq!(decoded(&door.send(&request).await), ClientResponse::Unavailable);
    assert_eq!((moved.heard(), target.heard()), (1, 0), "a door cannot redirect a request");
}

#[tokio::test]
async fn a_door_that_was_not_reached_is_skipped_within_the_same_request() {
    let vectors = Negative::read();
    let request = post(&vectors.body("control-valid-handshake-only"));
    let good = Other::says(reached()).await;
    let addresses = [nobody().await, nobody().await, good.address];
    let door = cut_off(&vectors, relay(&plain(&addresses), None).expect("usable")).await;
    assert_eq!(decoded(&door.send(&request).await), REACHED);
    let metrics = FrontMetrics::default();
    let doors = plain(&addresses[..2]).into_iter().map(|door| door.try_into().expect("a door"));
    let doors: Vec<FrontUrl> = doors.collect();
    let relay = Relay::open(&doors, None, PATIENCE, PATIENCE, metrics.clone()).expect("usable");
    let door = cut_off(&vectors, relay).await;
    assert_eq!(decoded(&door.send(&request).await), ClientResponse::Unavailable);
    assert_eq!(metrics.relayed_with(Relayed::NotReached), 1);
}

#[tokio::test]
async fn nothing_is_relayed_that_was_relayed_before_or_has_no_good_token() {
    let vectors = Negative::read();
    let other = Other::says(reached()).await;
    let last = cut_off(&vectors, relay(&plain(&[other.address]), None).expect("usable")).await;
    let first = cut_off(&vectors, relay(&plain(&[last.address]), None).expect("usable")).await;
    let body = vectors.body("control-valid-handshake-only");
    assert_eq!(decoded(&first.send(&post(&body)).await), ClientResponse::Unavailable);
    let mut client = RealmClient::connect(format!("http://{}", last.address)).await.expect("it listens");
    let mut request = tonic::Request::new(RealmRequest { body: body.clone().into() });
    request.metadata_mut().insert(RELAYED_HEADER, "1".parse().expect("ASCII"));
    let got = client.call(request).await.expect("a refusal is an answer");
    assert_eq!(got.into_inner().body, ClientResponse::Unavailable.to_cbor());
    for case in vectors.cases.iter().filter(|case| case.required[0] == "InvalidAuth") {
        assert_eq!(decoded(&last.send(&case.http()).await), ClientResponse::InvalidAuth, "{}", case.name);
    }
    assert_eq!(other.heard(), 0);
    assert_eq!(decoded(&last.send(&post(&body)).await), REACHED);
}

#[tokio::test]
async fn a_relaying_agent_is_ready_while_a_door_is_and_is_no_such_door_itself() {
    let vectors = Negative::read();
    let mut serves = Door::open(&vectors, Setting::default()).await;
    let addresses = [nobody().await, serves.address];
    let middle = Arc::new(relay(&plain(&addresses), None).expect("usable"));
    let setting = |relay| Setting { realm: false, relay: Some(relay), ..Setting::default() };
    let near = Door::open(&vectors, setting(Arc::clone(&middle))).await;
    let outer = Arc::new(relay(&plain(&[near.address]), None).expect("usable"));
    let far = Door::open(&vectors, setting(Arc::clone(&outer))).await;
    let looks = [middle, outer].map(|relay| tokio::spawn(async move { relay.look(|| true).await }));
    let status = async |door: &Door| door.send(&http("GET", "/readyz", "", b"")).await.status;
    until("a door is found", async || status(&near).await == 200).await;
    let marked = format!("{RELAYED_HEADER}: 1\r\n");
    assert_eq!(near.send(&http("GET", "/readyz", &marked, b"")).await.status, 503);
    assert_eq!(status(&far).await, 503, "two agents without HSMs do not serve");
    serves.stop.take().expect("once").send(()).expect("it serves");
    until("the door is missed", async || status(&near).await == 503).await;
    looks.iter().for_each(|look| look.abort());
}

/// An authority, in a file, and a server's certificate and key that it made.
fn certify(folder: &Path, name: &str) -> (PathBuf, Arc<Tls>) {
    let path = |what: &str| folder.join(format!("{name}-{what}.pem"));
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new([]).expect("no names");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    let authority = parameters.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
    std::fs::write(path("ca"), authority.pem()).expect("writable");
    std::fs::write(path("certificate"), certificate.pem()).expect("writable");
    std::fs::write(path("key"), key.serialize_pem()).expect("writable");
    (path("ca"), Arc::new(Tls::open(path("certificate"), path("key")).expect("usable")))
}

#[tokio::test]
async fn a_door_is_known_by_a_certificate_of_the_authority_that_the_operator_names() {
    let vectors = Negative::read();
    let folder = tempfile::tempdir().expect("a folder");
    let ((authority, tls), (another, _)) =
        (certify(folder.path(), "ours"), certify(folder.path(), "another"));
    let other = Door::open(&vectors, Setting { tls: Some(tls), ..Setting::default() }).await;
    let doors = [format!("https://{}/", other.address)];
    let request = post(&vectors.body("control-valid-handshake-only"));
    for (authority, expected) in [
        (Some(authority), REACHED),
        (Some(another), ClientResponse::Unavailable),
        (None, ClientResponse::Unavailable),
    ] {
        let door = cut_off(&vectors, relay(&doors, authority.as_deref()).expect("usable")).await;
        assert_eq!(decoded(&door.send(&request).await), expected, "{authority:?}");
    }
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").expect("writable");
    let refused = relay(&doors, Some(&empty)).err().expect("no authority").to_string();
    assert!(refused.contains("empty.pem: `fronts_ca` has no PEM certificate"), "{refused}");
    let refused = relay(&doors, Some(&folder.path().join("none.pem"))).err().expect("no file").to_string();
    assert!(refused.starts_with("cannot read") && refused.contains("none.pem"), "{refused}");
}
