//! What 10,000 idle and 1,000 slow connections cost a good client of the front door:
//!
//! ```text
//! cargo run --release -p strongroom-agent --example edge
//! ```
//!
//! The front door runs in a process of its own, in front of a backend that answers at once. The good client opens a
//! connection for each request, as clients do. It is timed alone, in the crowd, and alone again; the figure is the
//! ratio of the 95th percentiles. It is measured twice: with the default limits, under which most of the crowd is
//! disconnected, and with limits that let all of it in. `tests/edge.rs` has a small version of the crowd, counted
//! instead of timed.

use async_trait::async_trait;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use strongroom_agent::clock::system_clock;
use strongroom_agent::descriptors;
use strongroom_agent::front::{Backend, Front, FrontMetrics, Timeouts, router, serve};
use strongroom_agent::limits::Limits;
use strongroom_agent::tenants::{Tenants, TestTenants};
use strongroom_agent::token::mint;
use strongroom_agent::traces::{Traces, Trail};
use strongroom_proto::client::{ClientRequest, ClientResponse, HandshakeRequest, NoiseRequest, RequestKind};
use strongroom_proto::ids::{RealmId, SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

const IDLE: usize = 10_000;
const SLOW: usize = 1_000;
/// The addresses that the crowd comes from.
const ADDRESSES: usize = 50;
const REQUESTS: usize = 1_000;
const REALM: RealmId = RealmId([7; 16]);
const SECRET: [u8; 32] = [7; 32];

type Failure = Box<dyn Error + Send + Sync>;

struct AtOnce;

#[async_trait]
impl Backend for AtOnce {
    fn realm(&self) -> Option<RealmId> {
        Some(REALM)
    }

    async fn serve(&self, _: &str, _: &str, _: ClientRequest, _: &Trail) -> ClientResponse {
        ClientResponse::MissingSession
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    descriptors::raise();
    match std::env::args().nth(1).as_deref() {
        Some(limits @ ("default" | "all")) => be_the_door(limits).await,
        _ => {
            for limits in ["default", "all"] {
                measure(limits).await?;
            }
            Ok(())
        }
    }
}

async fn be_the_door(limits: &str) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tenants.toml");
    let key = hex::encode(SECRET);
    std::fs::write(
        &path,
        format!("[[tenant]]\nname = \"acme\"\nversion = 1\nalgorithm = \"HS256\"\nkey = \"{key}\"\n"),
    )?;
    let mut allowed = Limits {
        // The good client that is timed sends more requests than one user does.
        user_handshakes_burst: NonZeroU32::MAX,
        handshakes_burst: NonZeroU32::MAX,
        ..Limits::default()
    };
    if limits == "all" {
        allowed.max_connections = NonZeroU32::new(12_000).ok_or("not zero")?;
        allowed.max_connections_per_address = 0;
    }
    allowed.max_connections = descriptors::for_connections(allowed.max_connections);
    let tenants = Arc::new(Tenants::open(path, TestTenants::Refused)?);
    let metrics = FrontMetrics::default();
    let (timeouts, traces) = (Timeouts::default(), Traces::off());
    let front = Front::new(Arc::new(AtOnce), tenants, &allowed, timeouts, system_clock(), metrics, traces);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    serve(listener, &front, router(front.clone()), None, std::future::pending()).await;
    Ok(())
}

/// The process of the front door.
struct Door(Child, SocketAddr);

impl Door {
    fn open(limits: &str) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program).arg(limits).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("its output is piped")?).read_line(&mut line)?;
        Ok(Self(child, line.trim().parse()?))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn measure(limits: &str) -> Result<(), Failure> {
    let door = Door::open(limits)?;
    percentiles(door.1).await?;
    let before = percentiles(door.1).await?;
    let (mut crowd, open) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for n in 0..IDLE + SLOW {
        let (address, open) = (door.1, Arc::clone(&open));
        if n < IDLE {
            crowd.spawn(async move { be_idle(n, address, &open).await });
        } else {
            crowd.spawn(async move { be_slow(n, address, &open).await });
        }
        if n % 100 == 0 {
            // The kernel queues a few thousand in front of the door.
            sleep(Duration::from_millis(20)).await;
        }
    }
    sleep(Duration::from_secs(2)).await;
    let held = open.load(Ordering::Relaxed);
    let during = percentiles(door.1).await?;
    let still = open.load(Ordering::Relaxed);
    crowd.shutdown().await;
    sleep(Duration::from_secs(2)).await;
    let after = percentiles(door.1).await?;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("limits: {limits}; of {IDLE} idle and {SLOW} slow connections {held} to {still} were open");
    for (when, (p50, p95)) in [("alone", before), ("in the crowd", during), ("alone again", after)] {
        println!("  {when}: p50 {:.2} ms, p95 {:.2} ms", ms(p50), ms(p95));
    }
    println!("  p95 in the crowd over p95 alone: {:.2}", ms(during.1) / ms(before.1));
    Ok(())
}

async fn connect(n: usize, address: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = TcpSocket::new_v4()?;
    let host = u8::try_from(n % ADDRESSES + 1)?;
    socket.bind(SocketAddr::from(([127, 0, 1, host], 0)))?;
    Ok(socket.connect(address).await?)
}

/// Counts as held for as long as it is open.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn on(open: &'a AtomicUsize) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says nothing until the door closes.
async fn be_idle(n: usize, address: SocketAddr, open: &AtomicUsize) -> Result<(), Failure> {
    let mut stream = connect(n, address).await?;
    let _held = Held::on(open);
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await?;
    Ok(())
}

/// Sends a body byte by byte, and returns when the door closes.
async fn be_slow(n: usize, address: SocketAddr, open: &AtomicUsize) -> Result<(), Failure> {
    loop {
        let mut stream = connect(n, address).await?;
        let held = Held::on(open);
        let head =
            b"POST /req HTTP/1.1\r\nHost: a\r\nX-Juicebox-Version: 0.3.4\r\nContent-Length: 999\r\n\r\n";
        let mut alive = stream.write_all(head).await.is_ok();
        while alive {
            sleep(Duration::from_secs(1)).await;
            alive = stream.write_all(b"x").await.is_ok();
        }
        drop(held);
        sleep(Duration::from_millis(100)).await;
    }
}

/// The 50th and 95th percentile of a good client's requests.
async fn percentiles(address: SocketAddr) -> Result<(Duration, Duration), Failure> {
    let handshake =
        HandshakeRequest { client_ephemeral_public: vec![9; 32], payload_ciphertext: vec![0; 16] };
    let request = ClientRequest {
        realm: REALM,
        auth_token: mint(&SECRET, "acme", 1, "user", &REALM, system_clock()()),
        session_id: SessionId(1),
        kind: RequestKind::HandshakeOnly,
        encrypted: NoiseRequest::Handshake(handshake),
    };
    let body = request.to_cbor();
    let head = format!(
        "POST /req HTTP/1.1\r\nHost: a\r\nX-Juicebox-Version: 0.3.4\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let bytes = [head.as_bytes(), &body].concat();
    let expected = ClientResponse::MissingSession.to_cbor();
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&bytes).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        times.push(began.elapsed());
        if !answer.ends_with(&expected) {
            return Err(format!("a good client got {:?}", String::from_utf8_lossy(&answer)).into());
        }
        sleep(Duration::from_millis(2)).await;
    }
    times.sort();
    Ok((times[REQUESTS / 2], times[REQUESTS * 95 / 100]))
}
