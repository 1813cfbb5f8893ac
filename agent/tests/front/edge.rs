//! What the front door withstands: peers that stall, many peers at once, and users that never stop asking.

use crate::door::{Door, REACHED, Setting, at_most, decoded};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use strongroom_agent::config::Limits;
use strongroom_agent::front::{Refusal, Timeouts};
use strongroom_agent::limits::Over;
use strongroom_agent::token::TokenError;
use strongroom_proto::client::{ClientRequest, ClientResponse};

use crate::support::{Negative, exchange, post};
use strongroom_agent::grpc::realm::RealmRequest;
use strongroom_agent::grpc::realm::realm_client::RealmClient;
use strongroom_proto::ids::RealmId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A request whose body never comes. Returns when the server has begun to read the body: that is when it says
/// "100 Continue".
async fn stall(door: &Door, path: &str, headers: &str) -> TcpStream {
    let mut stream = door.connect().await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nX-Juicebox-Version: 0.3.4\r\nExpect: 100-continue\r\n{headers}\
         Content-Length: 99\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the server reads");
    let mut said = [0; 25];
    stream.read_exact(&mut said).await.expect("the server answers");
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn bodies_that_never_come_keep_out_no_request() {
    let vectors = Negative::read();
    let limits = Limits { max_requests_in_flight: at_most(1), ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits, ..Setting::default() }).await;
    let body = vectors.body("control-valid-handshake-only");
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(stall(&door, "/req", "").await);
        let grpc = "Content-Type: application/grpc\r\nTE: trailers\r\n";
        stalled.push(stall(&door, "/strongroom.v1.Realm/Call", grpc).await);
        assert_eq!(decoded(&door.send(&post(&body)).await), REACHED, "after {} stalled", stalled.len());
    }
    let mut client = RealmClient::connect(format!("http://{}", door.address)).await.expect("it listens");
    let answer = client.call(RealmRequest { body: body.into() }).await.expect("an answer");
    assert_eq!(answer.into_inner().body, REACHED.to_cbor());
}

async fn connect_from(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(source.parse().expect("an address"), 0)).expect("a loopback address");
    socket.connect(address).await.expect("it listens")
}

/// Longer than any test takes.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// Runs `work` to its end. Ends a test that would otherwise hang.
async fn at_last<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), work).await.expect("an end within ten minutes")
}

#[tokio::test]
async fn idle_connections_of_one_address_keep_out_no_other() {
    let vectors = Negative::read();
    let limits = Limits { max_connections: at_most(8), ..Limits::default() };
    let timeouts = Timeouts { head: FOR_EVER, idle: FOR_EVER, ..Timeouts::default() };
    let door = Door::open(&vectors, Setting { limits, timeouts, ..Setting::default() }).await;
    let request = post(&vectors.body("control-valid-handshake-only"));
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(connect_from("127.0.0.2", door.address).await);
    }
    for _ in 0..20 {
        let stream = connect_from("127.0.0.3", door.address).await;
        assert_eq!(decoded(&at_last(exchange(stream, &request)).await.expect("an answer")), REACHED);
    }
    assert!(door.metrics.connections.get() <= 8);
    assert!(door.metrics.connections_gave_way.get() >= 13, "twelve of its own, and one for the other");
}

/// The gate's version of `examples/edge.rs`: the same crowd, smaller, and counted instead of timed.
#[tokio::test]
async fn a_crowd_of_idle_and_stalled_connections_costs_a_good_client_nothing() {
    let vectors = Negative::read();
    let limits = Limits {
        max_connections: at_most(64),
        max_connections_per_address: 24,
        max_requests_in_flight: at_most(1),
        ..Limits::default()
    };
    let timeouts = Timeouts { head: FOR_EVER, body: FOR_EVER, idle: FOR_EVER, ..Timeouts::default() };
    let door = Door::open(&vectors, Setting { limits, timeouts, ..Setting::default() }).await;
    let request = post(&vectors.body("control-valid-handshake-only"));
    let mut crowd = Vec::new();
    for n in 0..300 {
        let mut stream = connect_from(&format!("127.0.1.{}", n % 5), door.address).await;
        if n % 3 == 0 {
            // It may have been ended already.
            let _ = stream.write_all(b"POST /req HTTP/1.1\r\nHost: a\r\nX-Juicebox-Version: 0.3.4\r\n").await;
            let _ = stream.write_all(b"Content-Length: 99\r\n\r\nab").await;
        }
        crowd.push(stream);
        if n % 20 == 0 {
            let good = connect_from("127.0.2.1", door.address).await;
            assert_eq!(decoded(&at_last(exchange(good, &request)).await.expect("an answer")), REACHED);
        }
        assert_eq!(door.metrics.in_flight.get(), 0, "nobody in the crowd has a place");
    }
    let last = connect_from("127.0.2.1", door.address).await;
    assert_eq!(decoded(&at_last(exchange(last, &request)).await.expect("an answer")), REACHED);
    let (open, gave_way) = (door.metrics.connections.get(), door.metrics.connections_gave_way.get());
    assert!(open <= 64 && gave_way >= 300 - 64, "{open} are open, {gave_way} were ended");
    assert_eq!(door.metrics.connections_refused.get(), 0);
}

#[tokio::test]
async fn one_user_cannot_use_up_its_tenant_by_requests_or_by_handshakes() {
    let vectors = Negative::read();
    let limits = Limits {
        requests_burst: at_most(20),
        handshakes_burst: at_most(20),
        requests_per_second: at_most(1),
        handshakes_per_second: at_most(1),
        user_requests_burst: at_most(5),
        user_handshakes_burst: at_most(5),
        user_requests_per_second: at_most(1),
        user_handshakes_per_second: at_most(1),
        ..Limits::default()
    };
    for case in ["control-valid-handshake-only", "control-valid-recover1-in-handshake"] {
        let door = Door::open(&vectors, Setting { limits: limits.clone(), ..Setting::default() }).await;
        let request = |user: &str| post(&vectors.body_of_user(case, user));
        let mut limited = 0;
        for _ in 0..60 {
            let answer = decoded(&door.send(&request("user-greedy")).await);
            limited += u64::from(answer == ClientResponse::RateLimitExceeded);
        }
        assert!(limited > 0, "{case}");
        assert_eq!(door.metrics.refused(Refusal::Over(Over::User)), limited, "{case}");
        for user in ["user-1", "user-2", "user-3"] {
            assert_eq!(decoded(&door.send(&request(user)).await), REACHED, "{case} {user}");
        }
        assert_eq!(door.metrics.refused(Refusal::Over(Over::Tenant)), 0, "{case}");
    }
}

#[tokio::test]
async fn what_is_refused_takes_no_place_and_is_counted_by_reason() {
    let vectors = Negative::read();
    let limits = Limits { max_requests_in_flight: at_most(1), ..Limits::default() };
    let door = Door::open(&vectors, Setting { limits, released: 0, ..Setting::default() }).await;
    let body = vectors.body("control-valid-handshake-only");
    let first = tokio::spawn({
        let (stream, request) = (door.connect().await, post(&body));
        async move { exchange(stream, &request).await }
    });
    let arrived = at_last(door.behind.arrived.acquire()).await;
    arrived.expect("never closed").forget();
    // The only place is taken. What is wrong with a request is still reported.
    let bad_token = {
        let mut request = ClientRequest::from_cbor(&body).expect("valid");
        request.auth_token.push('x');
        request.to_cbor()
    };
    let other_realm = {
        let mut request = ClientRequest::from_cbor(&body).expect("valid");
        request.realm = RealmId([9; 16]);
        request.to_cbor()
    };
    for (request, answer, reason) in [
        (post(b""), ClientResponse::DecodingError, Refusal::Decoding),
        (post(&[0; 2049]), ClientResponse::PayloadTooLarge, Refusal::TooLarge),
        (post(&other_realm), ClientResponse::Unavailable, Refusal::Realm),
        (post(&bad_token), ClientResponse::InvalidAuth, Refusal::Token),
        (post(&body), ClientResponse::Unavailable, Refusal::NoPlace),
    ] {
        assert_eq!(decoded(&door.send(&request).await), answer, "{reason:?}");
        assert_eq!(door.metrics.refused(reason), 1, "{reason:?}");
    }
    assert_eq!(door.send(b"POST /req HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.status, 426);
    assert_eq!(door.metrics.refused(Refusal::Version), 1);
    assert_eq!(door.metrics.tokens_refused(TokenError::Signature), 1);
    assert_eq!(door.metrics.in_flight.get(), 1);
    door.behind.released.add_permits(1);
    assert_eq!(decoded(&first.await.expect("no panic").expect("an answer")), REACHED);
    assert_eq!(door.metrics.in_flight.get(), 0);
}

#[tokio::test]
async fn an_http2_client_is_told_how_many_streams_and_how_large_heads_it_may_send() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    let mut stream = door.connect().await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .expect("the server reads");
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.expect("a frame");
    assert_eq!(head[3], 4, "SETTINGS");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut settings).await.expect("the frame");
    let settings: BTreeMap<u16, u32> = settings
        .chunks_exact(6)
        .map(|one| {
            (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes([one[2], one[3], one[4], one[5]]))
        })
        .collect();
    assert_eq!(settings.get(&3), Some(&32), "SETTINGS_MAX_CONCURRENT_STREAMS");
    assert_eq!(settings.get(&4), Some(&8_192), "SETTINGS_INITIAL_WINDOW_SIZE");
    assert_eq!(settings.get(&6), Some(&4_096), "SETTINGS_MAX_HEADER_LIST_SIZE");
}

#[tokio::test]
async fn a_head_larger_than_any_client_sends_is_not_read_to_its_end() {
    let vectors = Negative::read();
    let door = Door::open(&vectors, Setting::default()).await;
    let mut stream = door.connect().await;
    stream.write_all(b"POST /req HTTP/1.1\r\nHost: a\r\nX: ").await.expect("the server reads");
    let mut sent = 0;
    // The server stops reading, says 431 and closes; then a write fails.
    while sent < 1 << 26 && stream.write_all(&[b'x'; 4096]).await.is_ok() {
        sent += 4096;
    }
    assert!(sent < 1 << 26, "64 MiB of one header");
}
