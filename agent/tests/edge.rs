//! What the front door bears: peers that stall, peers that are many, and users that ask without end.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/door.rs"]
mod door;
#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use door::{Door, REACHED, Setting, at_most, decoded};
use strongroom_agent::config::Limits;
use strongroom_proto::grpc::realm::RealmRequest;
use strongroom_proto::grpc::realm::realm_client::RealmClient;
use support::{Negative, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
async fn bodies_that_never_come_keep_no_request_out() {
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
