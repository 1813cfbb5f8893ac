//! `strongroom-sim replay`: how long a new leader takes if it has lost everything except its store.
//!
//! A local realm writes a log without ever taking a snapshot; then all its processes are ended and started again, and
//! the new leader reads the whole log.

use crate::Error;
use crate::local::{LocalRealm, MEMBERS, token};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use strongroom_agent::token::Purpose;
use strongroom_client::{Client, Configuration, ErrorKind, FixedTokens, Pin, UserSecret};
use strongroom_replica::{Role, Status, Storage};
use tokio::task::JoinHandle;

/// Users that guess at once, so that the log grows quickly, and how long each waits between two guesses: one guess is
/// two requests, and an agent accepts ten per second from a user.
const USERS: usize = 32;
const REST: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_micros(200);
/// How often to check the length of the log, and how long a user waits after a failure.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) const NO_SNAPSHOT: Storage = Storage {
    snapshot_after_ms: u64::MAX,
    snapshot_records: 65_536,
    snapshot_segments: 65_536,
    grace_ms: u64::MAX,
};

/// What a replay cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// How many entries the new leader read.
    pub entries: u64,
    /// How long after it had won it served, in seconds.
    pub seconds: f64,
}

/// Runs it in a folder, and prints what it measures.
///
/// # Errors
/// The realm does not start or serve.
pub async fn run(folder: &Path, segments: u64) -> Result<Cost, Error> {
    write_log(folder, segments).await?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let realm = LocalRealm::start_storing(folder, any, NO_SNAPSHOT)?;
    let elected = wait(&realm, |status| matches!(status.role, Role::Leader { .. })).await;
    let serving = wait(&realm, |status| status.serving).await;
    let (entries, seconds) = (tip(&realm), (serving - elected).as_secs_f64());
    println!("a new leader read {entries} entries and served {seconds:.3} s after it had won");
    println!("{}", machine("local disk"));
    realm.shutdown().await;
    Ok(Cost { entries, seconds })
}

/// Has a local realm in this folder write a log of this many segments, counting those that are there already.
pub(crate) async fn write_log(folder: &Path, segments: u64) -> Result<(), Error> {
    let there = stored(folder)?;
    if there >= segments {
        println!("the folder holds {there} segments");
        return Ok(());
    }
    println!("writing {} segments", segments - there);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let realm = LocalRealm::start_storing(folder, any, NO_SNAPSHOT)?;
    realm.make_whole().await?;
    let users = Users::start(&realm, realm.leader(None).await?).await?;
    while stored(folder)? < segments {
        tokio::time::sleep(PAUSE).await;
    }
    users.stop();
    realm.shutdown().await;
    Ok(())
}

/// How many segments the folder holds.
fn stored(folder: &Path) -> Result<u64, Error> {
    let Ok(groups) = std::fs::read_dir(folder.join("store/groups")) else { return Ok(0) };
    let mut count = 0;
    for group in groups {
        let Ok(segments) = std::fs::read_dir(group?.path().join("log")) else { continue };
        count += segments.count() as u64;
    }
    Ok(count)
}

/// The machine and the build, for readers of the measurements.
pub(crate) fn machine(store: &str) -> String {
    let os = std::fs::read_to_string("/proc/version").unwrap_or_default();
    let os = os.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{cores} cores with a load of {load}, {build} build, {store}; {os}")
}

pub(crate) fn tip(realm: &LocalRealm) -> u64 {
    let groups = (0..MEMBERS).flat_map(|member| realm.groups(member));
    groups.map(|(_, status)| status.tip.0).max().unwrap_or(0)
}

async fn wait(realm: &LocalRealm, is: impl Fn(&Status) -> bool) -> Instant {
    loop {
        if (0..MEMBERS).flat_map(|member| realm.groups(member)).any(|(_, status)| is(&status)) {
            return Instant::now();
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Users at work.
pub(crate) struct Users(Vec<JoinHandle<()>>);

impl Users {
    /// They begin at the front door of one member.
    pub(crate) async fn start(realm: &LocalRealm, member: usize) -> Result<Self, Error> {
        // PINs that cost nothing to stretch: this is about storage.
        let text = realm.configuration(member).await?.replace("Standard2019", "FastInsecure");
        let configuration: Configuration = text.parse()?;
        let work = |user| tokio::spawn(work(configuration.clone(), realm.dir().to_owned(), user));
        Ok(Self((0..USERS).map(work).collect()))
    }

    pub(crate) fn stop(&self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Guesses until it is stopped. Failures do not end it: on a busy machine there are some.
async fn work(configuration: Configuration, dir: PathBuf, user: usize) {
    loop {
        // A token is valid for only a few minutes.
        let done = match client(&configuration, &dir, user) {
            Ok(client) => guess(&client).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = done {
            eprintln!("user {user} failed, and starts over: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn client(configuration: &Configuration, dir: &Path, user: usize) -> Result<Client, Error> {
    let id = configuration.realms()[0].id();
    let tokens = FixedTokens::from_iter([(id, token(dir, &id, &format!("user-{user}"), Purpose::User)?)]);
    Ok(Client::builder(configuration.clone(), tokens).build()?)
}

async fn guess(client: &Client) -> Result<(), String> {
    let secret = UserSecret::new(b"what the user entrusts").map_err(|error| error.to_string())?;
    let guesses = NonZeroU8::MAX;
    client.register(&Pin::from("4821"), &secret, b"info", guesses).await.map_err(|e| e.to_string())?;
    for _ in 0..100 {
        match client.recover(&Pin::from("0000"), b"info").await {
            Ok(_) => return Err("a wrong PIN was taken for the right one".into()),
            Err(error) => match error.kind {
                ErrorKind::InvalidPin { .. } | ErrorKind::Unavailable { .. } => {}
                _ => return Err(error.to_string()),
            },
        }
        tokio::time::sleep(REST).await;
    }
    Ok(())
}
