//! The default transport against a listener that answers as it is told.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use strongroom_client::{Https, HttpsError, NetworkError, Transport as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use url::Url;

/// Reads one request with a body of `body` bytes, answers, and returns the request.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, body: usize, response: Vec<u8>) -> String {
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n")
        || request.len() < request.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4 + body
    {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0);
        request.extend_from_slice(&chunk[..read]);
    }
    // The client may hang up on an answer that is too long.
    let _ = stream.write_all(&response).await;
    let _ = stream.shutdown().await;
    String::from_utf8_lossy(&request).into_owned()
}

/// Reads one request with the body `body`, and answers; the connection stays.
async fn one(stream: &mut TcpStream, response: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\nbody") {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0);
        request.extend_from_slice(&chunk[..read]);
    }
    stream.write_all(response).await.unwrap();
}

async fn listen(response: &[u8]) -> (Url, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/req", listener.local_addr().unwrap()).parse().unwrap();
    let response = response.to_vec();
    let served = tokio::spawn(async move { answer(listener.accept().await.unwrap().0, 4, response).await });
    (url, served)
}

#[tokio::test]
async fn a_request_carries_its_headers_and_body_and_brings_back_status_and_body() {
    let (url, served) = listen(b"HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\nabc").await;
    let transport = Https::new().unwrap();
    let response = transport.post(&url, &[("X-Test", "value")], b"body".to_vec().into()).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (503, b"abc".as_slice()));
    let request = served.await.unwrap().to_lowercase();
    assert!(request.starts_with("post /req http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nx-test: value\r\n"), "{request}");
    assert!(request.contains("\r\nuser-agent: strongroom-client/"), "{request}");
    assert!(request.ends_with("\r\n\r\nbody"), "{request}");
}

#[tokio::test]
async fn a_read_has_headers_and_no_body_and_is_cut_off_where_the_caller_says() {
    for (most, whole) in [(5, true), (4, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tlog/mine", listener.local_addr().unwrap()).parse().unwrap();
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde".to_vec();
        let served =
            tokio::spawn(async move { answer(listener.accept().await.unwrap().0, 0, response).await });
        let answer = Https::new().unwrap().get(&url, &[("X-Test", "value")], most).await;
        match answer {
            Ok(answer) => assert!(whole && answer.status == 200 && *answer.body == b"abcde"),
            Err(error) => assert!(!whole && error.to_string().contains("longer than 4 bytes"), "{error}"),
        }
        let request = served.await.unwrap().to_lowercase();
        assert!(request.starts_with("get /tlog/mine http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nx-test: value\r\n"), "{request}");
    }
}

#[tokio::test]
async fn a_header_that_http_forbids_is_refused_without_repeating_it() {
    let url = "http://127.0.0.1:1/req".parse().unwrap();
    let headers = [("Authorization", "Bearer very\nsecret")];
    let refused = Https::new().unwrap().post(&url, &headers, b"body".to_vec().into()).await.unwrap_err();
    assert!(!refused.to_string().contains("very"), "{refused}");
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let (url, _) = listen(b"HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n").await;
    let response = Https::new().unwrap().post(&url, &[], b"body".to_vec().into()).await.unwrap();
    assert_eq!(response.status, 307);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".to_vec();
    endless.resize(100_000, b'x');
    let (url, _) = listen(&endless).await;
    let error = Https::new().unwrap().post(&url, &[], b"body".to_vec().into()).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

/// A listener that presents this certificate and answers everything with "ok".
async fn listen_over_tls(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> Url {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url =
        format!("https://localhost:{}/req", listener.local_addr().unwrap().port()).parse().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, 4, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()).await;
            }
        }
    });
    url
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_only_when_given() {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let url = listen_over_tls(&issued.cert, &issued.signing_key).await;
    let marked = format!("\u{feff}{}", issued.cert.pem());
    assert!(Https::with_root_certificates(marked.as_bytes()).is_ok(), "a byte-order mark is skipped");
    let trusting = Https::with_root_certificates(issued.cert.pem().as_bytes()).unwrap();
    assert_eq!(trusting.post(&url, &[], b"body".to_vec().into()).await.unwrap().body.as_slice(), b"ok");
    let refused = Https::new().unwrap().post(&url, &[], b"body".to_vec().into()).await;
    assert!(matches!(refused, Err(NetworkError::Untrusted(_))), "{refused:?}");
    let nobody = "https://127.0.0.1:1/req".parse().unwrap();
    let refused = trusting.post(&nobody, &[], b"body".to_vec().into()).await;
    assert!(matches!(refused, Err(NetworkError::Lost(_))), "{refused:?}");
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "another");
    let other = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let other = Https::with_root_certificates(other.pem().as_bytes()).unwrap();
    let refused = other.post(&url, &[], b"body".to_vec().into()).await.unwrap_err().to_string();
    assert!(refused.contains("give that authority's own"), "{refused}");
}

#[tokio::test]
async fn a_server_that_presents_the_certificate_of_an_authority_is_explained() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).unwrap();
    let url = listen_over_tls(&certificate, &key).await;
    let trusting = Https::with_root_certificates(certificate.pem().as_bytes()).unwrap();
    let refused = trusting.post(&url, &[], b"body".to_vec().into()).await.unwrap_err().to_string();
    assert!(refused.contains("make one with CA:FALSE"), "{refused}");
}

/// A host that answers one request on its first connection, and then nothing on that one: it hangs.
#[tokio::test]
async fn a_connection_that_hangs_is_left_for_another_one_that_serves_what_follows() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/req", listener.local_addr().unwrap()).parse().unwrap();
    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let served = tokio::spawn(async move {
        let (mut hanging, _) = listener.accept().await.unwrap();
        one(&mut hanging, ok).await;
        let (mut good, _) = listener.accept().await.unwrap();
        one(&mut good, ok).await;
        one(&mut good, ok).await;
        hanging
    });
    let transport = Https::new().unwrap();
    let post = || transport.post(&url, &[], b"body".to_vec().into());
    assert_eq!(post().await.unwrap().status, 200);
    let mut hung = Box::pin(post());
    tokio::select! {
        answer = &mut hung => panic!("{answer:?}"),
        answer = transport.post_afresh(&url, &[], b"body".to_vec().into()) => assert_eq!(answer.unwrap().status, 200),
    }
    assert_eq!(post().await.unwrap().status, 200);
    served.await.unwrap();
}

#[test]
fn a_file_without_certificates_is_refused() {
    assert!(matches!(Https::with_root_certificates(b"not PEM"), Err(HttpsError::NoRootCertificate)));
    let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    assert!(matches!(Https::with_root_certificates(broken), Err(HttpsError::RootCertificate(_))));
}
