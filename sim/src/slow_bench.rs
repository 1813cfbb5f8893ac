//! `strongroom-sim slow-store`: how agents start and catch up when the log is long and the store is slow.
//!
//! A local realm writes a log in a folder, without ever taking a snapshot, or the folder holds one already. The bucket of
//! the benchmark is started, in a process of its own, with a copy of it, and delays every request and every page of a
//! listing. Three agents start there; then one member is killed for a while under load.

use crate::Error;
use crate::bench::BUCKET;
use crate::ceremony::within;
use crate::local::{LocalRealm, MEMBERS, Setting};
use crate::replay_bench::{NO_SNAPSHOT, Users, machine, tip, write_log};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strongroom_agent::config::StoreOptions;
use strongroom_agent::store::{Kind, Purpose, Store};
use strongroom_proto::ids::Index;
use strongroom_replica::Status;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;
use url::Url;

/// How long the store may take to read the folder, and agents to read the log.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// A member that is only this many entries behind has caught up: those are still on their way.
const NEAR: u64 = 8;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many segments the log has at least.
    pub segments: u64,
    /// How long each request takes.
    pub request_ms: u64,
    /// How long each page of a listing takes.
    pub page_ms: u64,
    /// How long the member is down.
    pub away: Duration,
}

/// Runs it in a folder, which keeps the log, and prints what it measures.
///
/// # Errors
/// The realm or the store does not start, or does not serve.
pub async fn run(folder: &Path, options: &Options) -> Result<(), Error> {
    write_log(folder, options.segments).await?;
    let server = Server::start(&folder.join("store"), options).await?;
    println!("{}", machine(&format!("{} ms a request, {} ms a page", options.request_ms, options.page_ms)));
    let opened = Opened::default();
    let begun = Instant::now();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut realm = LocalRealm::start_with(folder, any, setting(&server, &opened))?;
    come_up(&realm, &opened, options.segments, begun).await?;
    be_away(&mut realm, &opened, options.away).await?;
    realm.shutdown().await;
    Ok(())
}

/// The stores that agents have opened, in the order of their starts.
type Opened = Arc<Mutex<Vec<Store>>>;

fn setting(server: &Server, opened: &Opened) -> Setting {
    let (url, options, opened) = (server.url.clone(), server.options.clone(), Arc::clone(opened));
    let open = Box::new(move |_: &_| {
        let store = Store::open(&url, &options)?;
        opened.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(store.clone());
        Ok(store)
    });
    Setting { open, storage: NO_SNAPSHOT, ..Setting::default() }
}

/// Pages listed and objects read of the log, by the agent that started as the `nth`.
fn calls(opened: &Opened, nth: usize) -> (u64, u64) {
    let opened = opened.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let of = |kind| opened.get(nth).map_or(0, |store| store.metrics().calls(Purpose::Log, kind));
    (of(Kind::List), of(Kind::Get))
}

fn status(realm: &LocalRealm, member: usize) -> Option<Status> {
    realm.groups(member).into_iter().next().map(|(_, status)| status)
}

fn reached(realm: &LocalRealm, member: usize) -> u64 {
    status(realm, member).map_or(0, |status| status.tip.0)
}

/// Waits until every member knows the whole log, and one leads and serves; prints when each does.
async fn come_up(realm: &LocalRealm, opened: &Opened, segments: u64, begun: Instant) -> Result<(), Error> {
    let mut whole = [false; MEMBERS];
    let mut serving = None;
    within(PATIENCE, "the members do not come up", async || {
        for (member, knows) in whole.iter_mut().enumerate() {
            let Some(status) = status(realm, member) else { continue };
            let after = begun.elapsed().as_secs_f64();
            if !*knows && status.tip >= Index(segments) && status.leader.is_some() {
                *knows = true;
                let (pages, reads) = calls(opened, member);
                println!(
                    "member {member} knows all {} entries after {after:.1} s: {pages} listings, {reads} reads",
                    status.tip
                );
            }
            if serving.is_none() && status.serving {
                serving = Some(member);
                let (pages, reads) = calls(opened, member);
                println!("member {member} leads and serves after {after:.1} s: {pages} listings, {reads} reads");
            }
        }
        Ok((serving.is_some() && whole == [true; MEMBERS]).then_some(()))
    })
    .await
}

/// Kills a member that follows, lets users work for a while, and starts it again.
async fn be_away(realm: &mut LocalRealm, opened: &Opened, away: Duration) -> Result<(), Error> {
    let leader = realm.leader(None).await?;
    let member = (leader + 1) % MEMBERS;
    let users = Users::start(realm, leader).await?;
    let known = reached(realm, member);
    realm.kill(member).await;
    let (from, begun) = (tip(realm), Instant::now());
    sleep(away).await;
    let written = tip(realm).saturating_sub(from);
    println!(
        "member {member} was killed for {:.0} s, in which {written} entries were written, {:.1} a second",
        begun.elapsed().as_secs_f64(),
        rate(written, begun.elapsed())
    );
    let (from, begun) = (tip(realm), Instant::now());
    realm.restart(member).await?;
    within(PATIENCE, "the member does not catch up", async || {
        let now = reached(realm, member);
        Ok((now + NEAR >= tip(realm)).then_some(()))
    })
    .await?;
    let took = begun.elapsed();
    // Its HSM has captured what it knew, and it begins from there.
    let (written, read) = (tip(realm).saturating_sub(from), reached(realm, member).saturating_sub(known));
    let (pages, reads) = calls(opened, MEMBERS);
    println!(
        "it had {known} entries when it went; {read} later ones were captured {:.1} s after its start, {:.1} a second, while \
         the leader wrote {:.1}: {pages} listings, {reads} reads",
        took.as_secs_f64(),
        rate(read, took),
        rate(written, took)
    );
    users.stop();
    Ok(())
}

fn rate(count: u64, time: Duration) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from) / time.as_secs_f64()
}

/// The bucket's process, which ends with this value.
struct Server {
    _child: Child,
    url: Url,
    options: StoreOptions,
}

impl Server {
    async fn start(folder: &Path, options: &Options) -> Result<Self, Error> {
        // Free now, and used at once.
        let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let Options { request_ms, page_ms, .. } = options;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bucket", "--listen", &at.to_string(), "--request-ms", &request_ms.to_string()]);
        command.args(["--page-ms", &page_ms.to_string(), "--holding"]).arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn()?;
        within(PATIENCE, "the store does not answer", async || match child.try_wait()? {
            Some(ended) => Err(format!("the store has ended: {ended}").into()),
            None => Ok(TcpStream::connect(at).await.ok()),
        })
        .await?;
        let options = [
            ("endpoint", format!("http://{at}")),
            ("region", "us-east-1".into()),
            ("access_key_id", "slow".into()),
            ("secret_access_key", "slow".into()),
            ("allow_http", "true".into()),
            ("disable_bulk_delete", "true".into()),
        ];
        let options = options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let url = Url::parse(&format!("s3://{BUCKET}/realm"))?;
        Ok(Self { _child: child, url, options: StoreOptions(options) })
    }
}
