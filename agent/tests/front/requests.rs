//! The front door through real sockets, with a backend that stands in for everything behind it.

use crate::door::{Door, REACHED, Setting, at_most, decoded};
use crate::support::{Answer, Negative, exchange, http, post};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strongroom_agent::config::Limits;
use strongroom_agent::front::{
    MAX_BODY, RELAYED_HEADER, ReadLabel, Refusal, Shown, Timeouts, VERSION_HEADER,
};
use strongroom_agent::grpc::realm::RealmRequest;
use strongroom_agent::grpc::realm::realm_client::RealmClient;
use strongroom_agent::limits::Over;
use strongroom_agent::tenants::{Tenants, TestTenants};
use strongroom_agent::tls::Tls;
use strongroom_agent::usage::Operation;
use strongroom_proto::client::{ClientRequest, ClientResponse, NoiseRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

fn name(response: &ClientResponse) -> String {
    let text = format!("{response:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

/// Limits for the one user of the vectors, who asks more often than any client does.
fn for_one_user() -> Setting {
    let many = at_most(100_000);
    let limits = Limits { user_requests_burst: many, user_handshakes_burst: many, ..Limits::default() };
    Setting { limits, ..Setting::default() }
}

#[tokio::test]
async fn every_negative_body_is_refused_or_handed_over_as_required() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, for_one_user()).await;
    let (mut refused, mut handed_over) = (0, 0);
    for case in vectors.cases.iter().filter(|case| case.stage != "http") {
        let answer = door.send(&case.http()).await;
        let response = decoded(&answer);
        if response == REACHED {
            let beyond = ["control", "noise", "inner", "transport"].contains(&case.stage.as_str());
            assert!(beyond || case.required.contains(&"Ok".to_owned()), "{} was handed over", case.name);
            handed_over += 1;
        } else {
            assert!(case.required.contains(&name(&response)), "{}: {response:?}", case.name);
            if name(&response) == case.required[0] {
                assert_eq!(answer.status, case.http_status, "{}", case.name);
                assert_eq!(
                    case.response_body.as_deref(),
                    Some(hex::encode(&answer.body).as_str()),
                    "{}",
                    case.name
                );
            }
            refused += 1;
        }
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{}", case.name);
    }
    assert!(refused >= 50 && handed_over >= 79, "{refused} refused, {handed_over} handed over");
}

#[tokio::test]
async fn every_http_case_gets_its_status_and_a_body() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    let cases: Vec<_> = vectors.cases.iter().filter(|case| case.stage == "http").collect();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let answer = door.send(&case.http()).await;
        assert_eq!(answer.status, case.http_status, "{}", case.name);
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{}", case.name);
        if answer.status == 405 {
            assert!(answer.headers["allow"].contains("POST"), "{}", case.name);
        }
        if answer.status == 200 {
            assert_eq!(answer.headers["access-control-allow-headers"], "*");
            assert_eq!(answer.headers["access-control-allow-methods"], "POST");
            assert_eq!(answer.headers["access-control-max-age"], "86400");
        } else {
            assert!(!answer.body.is_empty(), "{}", case.name);
        }
    }
    let alive = door.send(&http("GET", "/livez", "", b"")).await;
    assert_eq!((alive.status, alive.body.is_empty()), (200, false));
}

#[tokio::test]
async fn anybody_is_told_what_the_realm_understands_beside_the_client_protocol() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    let told = door.send(&http("GET", "/extensions", "", b"")).await;
    assert_eq!((told.status, &*told.headers["content-type"]), (200, "application/json"));
    assert_eq!(told.headers["access-control-allow-origin"], "*");
    let told: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(told, serde_json::json!({ "extensions": ["attempts", "staging"] }));
    assert_eq!(door.send(&http("OPTIONS", "/extensions", "", b"")).await.status, 200);
    assert_eq!(door.send(&http("POST", "/extensions", "", b"")).await.status, 405);
}

#[tokio::test]
async fn versions_count_by_major_and_minor() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    let body = vectors.body("control-valid-handshake-only");
    for (version, status) in [
        ("0.3.0", 400),
        ("0.3.0-beta.1", 400),
        ("1.0.0", 400),
        ("0.2.99", 426),
        ("0.3.0.1", 426),
        ("v0.3.4", 426),
        ("", 426),
    ] {
        let header = format!("{VERSION_HEADER}: {version}\r\n");
        assert_eq!(door.send(&http("POST", "/req", &header, &body)).await.status, status, "{version:?}");
    }
}

#[tokio::test]
async fn an_old_client_is_refused_before_its_body_is_read() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    let answer = door.send(b"POST /req HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").await;
    assert_eq!(answer.status, 426);
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_however_it_is_framed() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    let head = "POST /req HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Juicebox-Version: 0.3.4\r\n";
    let unsent = format!("{head}Content-Length: {}\r\n\r\n", MAX_BODY + 1);
    assert_eq!(decoded(&door.send(unsent.as_bytes()).await), ClientResponse::PayloadTooLarge);
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let fits = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(decoded(&door.send(fits.as_bytes()).await), ClientResponse::DecodingError);
    let exceeds = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}1\r\nx\r\n0\r\n\r\n");
    let answer = door.send(exceeds.as_bytes()).await;
    assert_eq!((answer.status, decoded(&answer)), (413, ClientResponse::PayloadTooLarge));
    let endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(6));
    assert_eq!(decoded(&door.send(endless.as_bytes()).await), ClientResponse::PayloadTooLarge);
}

#[tokio::test]
async fn a_long_token_may_make_a_body_long_and_nothing_else_may() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, for_one_user()).await;
    // Every character of a subject takes four thirds of one in the token.
    let body = |subject: usize, ciphertext: usize| {
        let user = format!("user-{}", "u".repeat(subject));
        let body = vectors.body_of_user("control-valid-handshake-only", &user);
        let mut request = ClientRequest::from_cbor(&body).expect("valid");
        let NoiseRequest::Handshake(handshake) = &mut request.encrypted else { panic!("a handshake") };
        handshake.payload_ciphertext.resize(ciphertext, 0);
        request.to_cbor()
    };
    let (longest, length) = (body(2860, 700), |body: &Vec<u8>| body.len());
    assert!((4900..=MAX_BODY).contains(&length(&longest)), "{}", length(&longest));
    assert_eq!(decoded(&door.send(&post(&longest)).await), REACHED);
    let too_long = body(3000, 100);
    assert!(length(&too_long) <= MAX_BODY);
    assert_eq!(decoded(&door.send(&post(&too_long)).await), ClientResponse::InvalidAuth);
    let beside = body(900, 1100);
    assert!(length(&beside) > 2048);
    assert_eq!(decoded(&door.send(&post(&beside)).await), ClientResponse::PayloadTooLarge);
    let mut no_request = longest;
    no_request.push(0);
    assert_eq!(decoded(&door.send(&post(&no_request)).await), ClientResponse::PayloadTooLarge);
}

#[tokio::test]
async fn a_stalled_body_and_a_silent_connection_are_ended() {
    let vectors = Negative::read();
    let short = Duration::from_millis(50);
    let timeouts = Timeouts { body: short, ..Setting::default().timeouts };
    let door = Door::open(&vectors, Setting { timeouts, ..Setting::default() }).await;
    let head = b"POST /req HTTP/1.1\r\nHost: a\r\nX-Juicebox-Version: 0.3.4\r\nContent-Length: 5\r\n\r\nab";
    let stalled = door.send(head).await;
    assert_eq!((stalled.status, stalled.body.is_empty()), (408, false));
    let timeouts = Timeouts { idle: short, drain: short, ..Setting::default().timeouts };
    let door = Door::open(&vectors, Setting { timeouts, ..Setting::default() }).await;
    for said in ["", "PRI * HTTP/2.0\r\n", "POST /req HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        assert!(
            exchange(door.connect().await, said.as_bytes()).await.is_none(),
            "{said:?} ends without an answer"
        );
    }
}

#[tokio::test]
async fn without_a_realm_everything_decodable_is_unavailable() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting { realm: false, ..Setting::default() }).await;
    let answer = door.send(&post(&vectors.body("control-valid-handshake-only"))).await;
    assert_eq!((answer.status, decoded(&answer)), (503, ClientResponse::Unavailable));
    assert_eq!(decoded(&door.send(&post(b"")).await), ClientResponse::DecodingError);
}

#[tokio::test]
async fn a_tenant_over_its_rate_is_told_so_and_its_bare_handshakes_have_a_rate_of_their_own() {
    let vectors = Negative::read();
    let limits = Limits { requests_per_second: at_most(1), requests_burst: at_most(1), ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits, ..Setting::default() }).await;
    let request = post(&vectors.body("control-valid-recover1-in-handshake"));
    let handshake = post(&vectors.body("control-valid-handshake-only"));
    let mut limited = 0;
    for _ in 0..20 {
        let answer = door.send(&request).await;
        limited += u32::from((answer.status, decoded(&answer)) == (429, ClientResponse::RateLimitExceeded));
        assert_eq!(decoded(&door.send(&handshake).await), REACHED);
    }
    assert!(limited > 0);
    let limits =
        Limits { handshakes_per_second: at_most(1), handshakes_burst: at_most(1), ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits, ..Setting::default() }).await;
    let mut limited = 0;
    for _ in 0..20 {
        limited += u32::from(decoded(&door.send(&handshake).await) == ClientResponse::RateLimitExceeded);
    }
    assert!(limited > 0);
}

#[tokio::test]
async fn a_guess_that_comes_too_soon_after_another_is_not_let_in_and_nothing_else_waits() {
    let vectors = Negative::read();
    let as_long_as = |user: &str, length: usize| {
        let mut request =
            ClientRequest::from_cbor(&vectors.body_of_user("control-valid-recover1-in-handshake", user))
                .expect("valid");
        request.encrypted = NoiseRequest::Transport { ciphertext: vec![7; length + 16] };
        post(&request.to_cbor())
    };
    let (guess, after) = (|user| as_long_as(user, 89), |user| as_long_as(user, 68));
    let limits = Limits { guess_delay_s: 3600, ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits, ..Setting::default() }).await;
    let answered = async |request: &[u8]| decoded(&door.send(request).await);
    assert_eq!(answered(&guess("user-1")).await, REACHED);
    for _ in 0..3 {
        assert_eq!(answered(&guess("user-1")).await, ClientResponse::RateLimitExceeded);
        assert_eq!(answered(&after("user-1")).await, REACHED, "and it forgives nothing");
    }
    assert_eq!(answered(&guess("user-2")).await, REACHED, "another user");
    let metrics = &door.metrics;
    let admitted =
        [Operation::Recover2, Operation::Recover3, Operation::Other].map(|of| metrics.admitted(of));
    assert_eq!((admitted, metrics.refused(Refusal::Over(Over::Guess))), ([2, 3, 0], 3));

    let door = Door::open(&vectors, Setting::default()).await;
    for _ in 0..20 {
        assert_eq!(decoded(&door.send(&guess("user-1")).await), REACHED, "nobody asked for a delay");
    }
}

#[tokio::test]
async fn requests_in_flight_are_bounded_and_answered_before_the_agent_stops() {
    let vectors = Negative::read();
    let limits = Limits { max_requests_in_flight: at_most(1), ..Limits::default() };
    let mut door = Door::open(&vectors, Setting { limits, released: 0, ..Setting::default() }).await;
    let request = post(&vectors.body("control-valid-handshake-only"));
    let first = tokio::spawn({
        let (stream, request) = (door.connect().await, request.clone());
        async move { exchange(stream, &request).await }
    });
    door.behind.arrived.acquire().await.expect("never closed").forget();
    assert_eq!(decoded(&door.send(&request).await), ClientResponse::Unavailable);
    let silent = door.connect().await;
    door.stop.take().expect("once").send(()).expect("it serves");
    door.behind.released.add_permits(1);
    let answer = first.await.expect("no panic").expect("an answer");
    assert_eq!(decoded(&answer), REACHED);
    door.served.await.expect("serving ends though a client is silent");
    drop(silent);
}

#[tokio::test]
async fn a_tenant_with_too_many_requests_in_flight_is_told_so_and_has_room_again_when_one_ends() {
    let vectors = Negative::read();
    let limits = Limits { tenant_requests_in_flight: at_most(1), ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits, released: 0, ..Setting::default() }).await;
    let request = post(&vectors.body("control-valid-handshake-only"));
    let first = tokio::spawn({
        let (stream, request) = (door.connect().await, request.clone());
        async move { exchange(stream, &request).await }
    });
    door.behind.arrived.acquire().await.expect("never closed").forget();
    assert_eq!(decoded(&door.send(&request).await), ClientResponse::RateLimitExceeded);
    door.behind.released.add_permits(2);
    assert_eq!(decoded(&first.await.expect("no panic").expect("an answer")), REACHED);
    assert_eq!(decoded(&door.send(&request).await), REACHED);
}

#[tokio::test]
async fn connections_are_bounded_and_one_that_works_is_not_ended_for_another() {
    let vectors = Negative::read();
    let limits = Limits { max_connections: at_most(1), ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits, released: 0, ..Setting::default() }).await;
    let request = post(&vectors.body("control-valid-handshake-only"));
    let first = tokio::spawn({
        let (stream, request) = (door.connect().await, request.clone());
        async move { exchange(stream, &request).await }
    });
    door.behind.arrived.acquire().await.expect("never closed").forget();
    for refused in 1..=3 {
        let mut stream = door.connect().await;
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "it is closed");
        assert_eq!(door.metrics.connections_refused.get(), refused);
    }
    door.behind.released.add_permits(1);
    assert_eq!(decoded(&first.await.expect("no panic").expect("an answer")), REACHED);
    door.behind.released.add_permits(1);
    assert_eq!(decoded(&door.send(&request).await), REACHED, "there is room again");
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_unavailable() {
    let vectors = Negative::read();
    let timeouts = Timeouts { backend: Duration::from_millis(20), ..Setting::default().timeouts };
    let door = Door::open(&vectors, Setting { timeouts, released: 0, ..Setting::default() }).await;
    let answer = door.send(&post(&vectors.body("control-valid-handshake-only"))).await;
    assert_eq!((answer.status, decoded(&answer)), (503, ClientResponse::Unavailable));
}

#[tokio::test]
async fn grpc_carries_the_same_bytes_on_the_same_port() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, for_one_user()).await;
    let mut client = RealmClient::connect(format!("http://{}", door.address)).await.expect("it listens");
    let mut call = async |body: Vec<u8>, version: Option<&'static str>| {
        let mut request = tonic::Request::new(RealmRequest { body: body.into() });
        if let Some(version) = version {
            request.metadata_mut().insert(VERSION_HEADER, version.parse().expect("ASCII"));
        }
        client.call(request).await.map(|response| response.into_inner().body)
    };
    for case in vectors.cases.iter().filter(|case| case.stage != "http") {
        let over_http = door.send(&case.http()).await.body;
        let over_grpc = call(case.body_bytes(), None).await.expect("a refusal is an answer");
        assert_eq!(over_grpc, over_http, "{}", case.name);
    }
    let body = vectors.body("control-valid-handshake-only");
    assert_eq!(call(body.clone(), Some("0.3.4")).await.expect("current"), REACHED.to_cbor());
    let refused = call(body, Some("0.2.9")).await.expect_err("too old");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    let refused = call(vec![0; 100_000], None).await.expect_err("far too large");
    assert_eq!(refused.code(), tonic::Code::OutOfRange);
}

#[tokio::test]
async fn grpc_calls_are_bounded_in_number_and_time() {
    let vectors = Negative::read();
    let short = Duration::from_millis(50);
    let limits = Limits { max_requests_in_flight: at_most(1), ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits, released: 0, ..Setting::default() }).await;
    let body = vectors.body("control-valid-handshake-only");
    let first = tokio::spawn({
        let (stream, request) = (door.connect().await, post(&body));
        async move { exchange(stream, &request).await }
    });
    door.behind.arrived.acquire().await.expect("never closed").forget();
    let mut client = RealmClient::connect(format!("http://{}", door.address)).await.expect("it listens");
    let refused = client.call(RealmRequest { body: body.into() }).await.expect("a refusal is an answer");
    assert_eq!(refused.into_inner().body, ClientResponse::Unavailable.to_cbor());
    door.behind.released.add_permits(1);
    assert_eq!(decoded(&first.await.expect("no panic").expect("an answer")), REACHED);

    let timeouts = Timeouts { body: short, ..Setting::default().timeouts };
    let door = Door::open(&vectors, Setting { timeouts, ..Setting::default() }).await;
    let head = "POST /strongroom.v1.Realm/Call HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 99\r\n\
                Content-Type: application/grpc\r\nTE: trailers\r\n\r\n\0";
    let stalled = door.send(head.as_bytes()).await;
    assert_eq!(stalled.headers["grpc-status"], "4", "DEADLINE_EXCEEDED");
}

/// Writes a new self-signed certificate and its key.
fn certify(certificate: &PathBuf, key: &PathBuf) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["realm.example".to_owned()]).expect("a certificate");
    std::fs::write(certificate, made.cert.pem()).expect("writable");
    std::fs::write(key, made.signing_key.serialize_pem()).expect("writable");
    made.cert.der().clone()
}

async fn connect_tls(
    door: &Door,
    trusted: &CertificateDer<'static>,
    alpn: &[u8],
) -> Option<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("ring has them").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("realm.example").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, door.connect().await).await.ok()?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
    Some(stream)
}

async fn over_tls(door: &Door, trusted: &CertificateDer<'static>, request: &[u8]) -> Option<Answer> {
    exchange(connect_tls(door, trusted, b"http/1.1").await?, request).await
}

#[tokio::test]
async fn tls_serves_both_protocols_and_takes_a_new_certificate_without_a_restart() {
    let vectors = Negative::read();
    let files = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (files.path().join("certificate.pem"), files.path().join("key.pem"));
    let first = certify(&certificate, &key);
    let tls = Arc::new(Tls::open(certificate.clone(), key.clone()).expect("usable"));
    let door = Door::open(&vectors, Setting { tls: Some(Arc::clone(&tls)), ..Setting::default() }).await;
    let request = post(&vectors.body("control-valid-handshake-only"));
    let answer = over_tls(&door, &first, &request).await.expect("an answer");
    assert_eq!(decoded(&answer), REACHED);
    let mut http2 = connect_tls(&door, &first, b"h2").await.expect("a handshake");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    http2.write_all(preface).await.expect("the server reads");
    let mut head = [0; 9];
    http2.read_exact(&mut head).await.expect("a frame");
    assert_eq!(head[3], 4, "SETTINGS, as in HTTP/2");
    assert!(exchange(door.connect().await, &request).await.is_none(), "plain HTTP gets nothing");

    assert!(!tls.reload_if_changed().expect("usable"), "nothing changed");
    std::fs::write(&certificate, "half a certificate").expect("writable");
    tls.reload_if_changed().expect_err("unusable");
    assert!(over_tls(&door, &first, &request).await.is_some(), "the last good one stays");
    let second = certify(&certificate, &key);
    tls.reload().expect("usable");
    assert!(over_tls(&door, &second, &request).await.is_some());
    assert!(over_tls(&door, &first, &request).await.is_none());
}

#[tokio::test]
async fn a_tenant_key_that_is_removed_from_the_file_stops_working_without_a_restart() {
    let vectors = Negative::read();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tenants.toml");
    std::fs::write(&path, vectors.tenants_toml()).expect("writable");
    let tenants = Tenants::open(path.clone(), TestTenants::Refused).expect("usable");
    assert!(tenants.current().key("acme", 1).is_some());
    std::fs::write(&path, "tenant = 3").expect("writable");
    tenants.reload_if_changed().expect_err("unusable");
    assert!(tenants.current().key("acme", 1).is_some(), "the last good one stays");
    std::fs::write(&path, "").expect("writable");
    assert!(tenants.reload_if_changed().expect("no tenants is legal"));
    assert!(tenants.current().key("acme", 1).is_none());
}

/// Replaces a file and leaves its time and size as they were, as image deployments do.
fn replace(path: &PathBuf, text: &str) {
    let before = std::fs::metadata(path).expect("it is there");
    assert_eq!(before.len(), text.len() as u64, "the same size");
    std::fs::write(path, text).expect("writable");
    let time = before.modified().expect("a time");
    std::fs::File::options().write(true).open(path).expect("there").set_modified(time).expect("settable");
}

#[test]
fn a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_noticed() {
    let vectors = Negative::read();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tenants.toml");
    std::fs::write(&path, vectors.tenants_toml()).expect("writable");
    let tenants = Tenants::open(path.clone(), TestTenants::Refused).expect("usable");
    replace(&path, &vectors.tenants_toml().replace("\"acme\"", "\"gone\""));
    assert!(tenants.reload_if_changed().expect("usable"));
    assert!(tenants.current().key("acme", 1).is_none(), "a revoked key is not valid");
    assert!(tenants.current().key("gone", 1).is_some());
    assert!(!tenants.reload_if_changed().expect("usable"), "nothing changed");

    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    certify(&certificate, &key);
    let tls = Tls::open(certificate.clone(), key.clone()).expect("usable");
    let text = std::fs::read_to_string(&key).expect("readable");
    replace(&key, &text.replace("PRIVATE", "private"));
    tls.reload_if_changed().expect_err("the key changed, and is unusable");
    replace(&key, &text);
    assert!(!tls.reload_if_changed().expect("usable"), "it is as it was");
    let text = std::fs::read_to_string(&certificate).expect("readable");
    replace(&certificate, &text.replace("CERTIFICATE", "certificate"));
    tls.reload_if_changed().expect_err("the certificate changed, and is unusable");
}

/// The path of something in the log of the group whose id begins with this.
fn of_group(first: u8, path: &str) -> String {
    format!("/tlog/{first:02x}{}/{path}", "0".repeat(30))
}

async fn read(door: &Door, path: &str, headers: &str) -> Answer {
    door.send(&http("GET", path, headers, b"")).await
}

#[tokio::test]
async fn everybody_reads_what_is_published_and_caches_keep_only_what_never_changes() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    let (text, bytes) = ("text/plain; charset=utf-8", "application/octet-stream");
    let shown = [
        (of_group(1, "checkpoint"), text, false, b"a checkpoint".to_vec()),
        ("/statement".into(), text, false, b"a statement".to_vec()),
        (of_group(1, "tile/0/000.p/3"), bytes, true, vec![7; 96]),
        (of_group(1, "tile/entries/000.p/3"), bytes, true, vec![7; 96]),
    ];
    for (path, kind, keeps, body) in shown {
        let answer = read(&door, &path, "").await;
        assert_eq!((answer.status, answer.body), (200, body), "{path}");
        assert_eq!(answer.headers["content-type"], kind);
        assert_eq!(answer.headers["cache-control"].contains("immutable"), keeps, "{path}");
        assert_eq!(answer.headers["cache-control"] == "no-store", !keeps, "{path}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
    }
    for path in ["tile/0/001", "head/0000000000000001", "../log/1", "checkpoint/"] {
        let answer = read(&door, &of_group(1, path), "").await;
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(read(&door, &of_group(2, "checkpoint"), "").await.status, 503);
    assert_eq!(door.send(&http("POST", "/statement", "", b"")).await.status, 405);
    let reads = |what, outcome| door.metrics.reads(what, outcome);
    assert_eq!((reads(ReadLabel::Tile, Shown::Found), reads(ReadLabel::Tile, Shown::Absent)), (2, 1));
    let checkpoints = [Shown::Found, Shown::Unavailable].map(|outcome| reads(ReadLabel::Checkpoint, outcome));
    assert_eq!((checkpoints, reads(ReadLabel::Statement, Shown::Found)), ([1, 1], 1));
}

#[tokio::test]
async fn readers_without_a_token_have_so_many_places_and_give_them_back() {
    let vectors = Negative::read();
    let with = |public_reads_in_flight| {
        let limits = Limits { public_reads_in_flight, ..Limits::default() };
        Setting { limits, released: 0, ..Setting::default() }
    };
    let door = Door::open(&vectors, with(1)).await;
    let (slow, quick) = (of_group(3, "checkpoint"), of_group(1, "checkpoint"));
    let (first, ()) = tokio::join!(read(&door, &slow, ""), async {
        door.behind.arrived.acquire().await.expect("never closed").forget();
        assert_eq!(read(&door, &quick, "").await.status, 503);
        let token = format!("Authorization: Bearer {}\r\n", vectors.token_of_user("user-1"));
        assert_eq!(read(&door, "/tlog/mine", &token).await.status, 200, "a user has another place");
        door.behind.released.add_permits(1);
    });
    assert_eq!(first.body, b"slow");
    assert_eq!(read(&door, &quick, "").await.status, 200);
    assert_eq!(door.metrics.reads(ReadLabel::Checkpoint, Shown::NoPlace), 1);
    let closed = Door::open(&vectors, with(0)).await;
    assert_eq!(read(&closed, &quick, "").await.status, 404);
}

#[tokio::test]
async fn a_user_reads_the_head_of_the_own_log_with_the_token_of_a_request() {
    let vectors = Negative::read();
    let few = Limits { user_requests_burst: at_most(2), ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits: few.clone(), ..Setting::default() }).await;
    let bearer = |user: &str| format!("Authorization: Bearer {}\r\n", vectors.token_of_user(user));
    let answer = read(&door, "/tlog/mine", &bearer("user-1")).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"acme user-1"[..]));
    assert_eq!(answer.headers["cache-control"], "no-store");
    let mut forged = bearer("user-1");
    forged.insert(forged.len() - 3, 'x');
    for bad in ["", "Authorization: Bearer \r\n", "Authorization: Basic abc\r\n", &forged] {
        assert_eq!(read(&door, "/tlog/mine", bad).await.status, 401, "{bad}");
    }
    assert_eq!(read(&door, "/tlog/mine", &bearer("user-1")).await.status, 200);
    assert_eq!(read(&door, "/tlog/mine", &bearer("user-1")).await.status, 429, "reads count as requests");
    assert_eq!(read(&door, "/tlog/mine", &bearer("user-2")).await.status, 200);
    assert_eq!(door.metrics.reads(ReadLabel::Mine, Shown::Refused), 5);
    assert_eq!(door.metrics.refused(Refusal::Over(Over::User)), 1);
    let relayed = format!("{RELAYED_HEADER}: 1\r\n");
    let without = Door::open(&vectors, Setting { realm: false, ..Setting::default() }).await;
    for headers in [bearer("user-1"), bearer("user-1") + &relayed] {
        assert_eq!(read(&without, "/tlog/mine", &headers).await.status, 503);
    }
}
