//! How much memory the agents of a realm take under light traffic, and where it levels off:
//!
//! ```text
//! cargo run --release -p strongroom-sim --example memory -- MINUTES OPERATIONS_A_SECOND [SNAPSHOT_AFTER_MS]
//! ```
//!
//! Three agents run as processes of their own, on software HSMs and a folder, with the default settings. Users register
//! and recover at one front door after another. Every half minute, a line reports each agent's memory: what the system
//! holds of its program and other files (`RssFile`), its own (`RssAnon`), and how much of that its decoded pages take
//! by their own count. With a snapshot every second instead of every half minute, an hour's files of the tree come and
//! go in two minutes.

use ed25519_dalek::SigningKey;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_agent::config::Config;
use strongroom_agent::daemon::Agent;
use strongroom_agent::link::SocketLink;
use strongroom_agent::memory::{resident, use_one_arena};
use strongroom_agent::store::Store;
use strongroom_agent::token::Purpose;
use strongroom_client::{Client, Configuration, FixedTokens, Pin, UserSecret};
use strongroom_hsm_software::{Address, Console, Options, Server};
use strongroom_proto::ids::RealmId;
use strongroom_replica::Storage;
use strongroom_sim::ceremony;
use strongroom_sim::local::{TENANT, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

const MEMBERS: usize = 3;
const LINE: Duration = Duration::from_secs(30);
/// How many users are made before some of them come back.
const USERS: u64 = 20_000;
/// One in this many operations registers a user; the others recover one.
const REGISTERS: u64 = 4;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    use_one_arena();
    strongroom_agent::tls::install_provider();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match &arguments[..] {
        [agent, config] if agent == "agent" => runtime.block_on(be_an_agent(config.as_ref())),
        [minutes, rate] => runtime.block_on(measure(minutes.parse()?, rate.parse()?, None)),
        [minutes, rate, ms] => runtime.block_on(measure(minutes.parse()?, rate.parse()?, Some(ms.parse()?))),
        _ => Err("give the minutes and the operations per second, such as `40 2`".into()),
    }
}

async fn be_an_agent(path: &Path) -> Result<(), Failure> {
    let config = Config::open(path)?;
    let store = Store::open(&config.store, &config.store_options)?;
    let link = Arc::new(SocketLink::new(config.hsm.clone()));
    let _agent = Agent::start(config, link, store)?;
    std::future::pending().await
}

/// One agent's process and its addresses.
struct Member {
    child: Child,
    front: SocketAddr,
    metrics: SocketAddr,
    socket: PathBuf,
    _hsm: Server,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn measure(minutes: u64, rate: u64, snapshot_after_ms: Option<u64>) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let members = start(folder.path(), snapshot_after_ms.unwrap_or(Storage::default().snapshot_after_ms))?;
    let (realm, public_key) = set_up(&members).await?;
    let configuration = |member: &Member| -> Result<Configuration, Failure> {
        let text = serde_json::json!({
            "realms": [{ "id": realm.to_string(), "address": format!("http://{}/", member.front), "public_key": public_key }],
            "register_threshold": 1, "recover_threshold": 1, "pin_hashing_mode": "FastInsecure",
        });
        Ok(text.to_string().parse()?)
    };
    println!("{MEMBERS} agents, {rate} operations per second: memory of each, and its decoded pages, in MiB");
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate.max(1))?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut done, mut failed) = (0_u64, 0_u64);
    while begun.elapsed() < Duration::from_secs(60 * minutes) {
        ticks.tick().await;
        let operation = done + failed;
        let known = (operation / REGISTERS).min(USERS);
        let user = if operation.is_multiple_of(REGISTERS) {
            known
        } else {
            operation.wrapping_mul(7919) % (known + 1)
        };
        let user = format!("user-{user}");
        let member = &members[usize::try_from(operation)? % MEMBERS];
        let tokens = FixedTokens::from_iter([(realm, token(folder.path(), &realm, &user, Purpose::User)?)]);
        let client = Client::builder(configuration(member)?, tokens).build()?;
        match operate(&client, operation.is_multiple_of(REGISTERS)).await {
            Ok(()) => done += 1,
            Err(_) => failed += 1,
        }
        if told.elapsed() >= LINE {
            told += LINE;
            line(&members, begun.elapsed(), done, failed).await?;
        }
    }
    line(&members, begun.elapsed(), done, failed).await
}

async fn operate(client: &Client, register: bool) -> Result<(), Failure> {
    let pin = Pin::from("4821");
    if register {
        let secret = UserSecret::new(&[7; 32])?;
        client.register(&pin, &secret, b"", NonZeroU8::MAX).await?;
    } else {
        client.recover(&pin, b"").await?;
    }
    Ok(())
}

async fn line(members: &[Member], after: Duration, done: u64, failed: u64) -> Result<(), Failure> {
    let mut text = format!("{:5.1} min {done:7} done {failed:3} failed", after.as_secs_f64() / 60.0);
    for member in members {
        let memory = resident(Some(member.child.id())).ok_or("an agent has ended")?;
        let pages = pages(member.metrics).await?;
        text += &format!("  {:6.1} {:5.1} {:5.2}", mib(memory.file_bytes), mib(memory.own_bytes), mib(pages));
    }
    println!("{text}");
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The bytes of decoded pages, from the agent's metrics.
async fn pages(address: SocketAddr) -> Result<u64, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    let value = page.lines().find_map(|line| line.strip_prefix("strongroom_tree_cached_bytes "));
    Ok(value.ok_or("no such metric")?.trim().parse()?)
}

fn start(folder: &Path, snapshot_after_ms: u64) -> Result<Vec<Member>, Failure> {
    let store = url::Url::from_directory_path(folder.join("store")).map_err(|()| "the folder has no URL")?;
    let key = hex::encode([7; 32]);
    std::fs::write(
        folder.join("tenants.toml"),
        format!("[[tenant]]\nname = \"{TENANT}\"\nversion = 1\nalgorithm = \"HS256\"\nkey = \"{key}\"\n"),
    )?;
    let held: Vec<TcpListener> =
        (0..3 * MEMBERS).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    drop(held);
    let of = |i: usize| (addresses[3 * i], addresses[3 * i + 1], addresses[3 * i + 2]);
    let member = |i: usize| {
        let hsm = folder.join(format!("hsm-{i}.sock"));
        let server = strongroom_hsm_software::start(Options {
            nvram: folder.join(format!("hsm-{i}.nvram")),
            listen: Address::Unix(hsm.clone()),
            config: strongroom_hsm::Config::software(),
            console: Console::dark(),
        })?;
        let (front, peer, metrics) = of(i);
        let others = (0..MEMBERS).filter(|other| *other != i);
        let peers: Vec<String> = others.map(|other| format!("\"https://{}\"", of(other).1)).collect();
        let path = folder.join(format!("agent-{i}.toml"));
        let text = format!(
            "listen = \"{front}\"\npeer_listen = \"{peer}\"\nmetrics_listen = \"{metrics}\"\npeers = [{}]\n\
             hsm = \"unix:{}\"\nstore = \"{store}\"\ntenants = \"tenants.toml\"\nallow_test_tenants = true\n\
             [storage]\nsnapshot_after_ms = {snapshot_after_ms}\n",
            peers.join(", "),
            hsm.display()
        );
        std::fs::write(&path, text)?;
        let child = Command::new(std::env::current_exe()?).arg("agent").arg(&path).spawn()?;
        Ok(Member { child, front, metrics, socket: path.with_extension("sock"), _hsm: server })
    };
    (0..MEMBERS).map(member).collect()
}

/// Makes a realm and a group of all HSMs. Returns the realm and its public key.
async fn set_up(members: &[Member]) -> Result<(RealmId, String), Failure> {
    let custodian = SigningKey::from_bytes(&[9; 32]);
    let founding = ceremony::make_realm(&members[0].socket, &custodian).await?.founding;
    for member in &members[1..] {
        ceremony::enrol(&members[0].socket, &member.socket, &custodian).await?;
    }
    let sockets: Vec<&Path> = members.iter().map(|member| member.socket.as_path()).collect();
    ceremony::make_group(&sockets).await?;
    Ok((founding.realm, founding.public_key.to_string()))
}
