//! `strongroom-sim replay`: how long a new leader takes that has lost everything but its store.
//!
//! A local realm writes a log without ever taking a snapshot; then all its processes are ended and started again, and
//! whoever leads reads the whole log.

use crate::Error;
use crate::local::{LocalRealm, MEMBERS};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::Path;
use std::time::{Duration, Instant};
use strongroom_client::{Client, Configuration, ErrorKind, FixedTokens, Pin, UserSecret};
use strongroom_replica::{Role, Status, Storage};

/// Users who guess at once, so that the log grows quickly.
const USERS: usize = 8;
const POLL: Duration = Duration::from_micros(200);

const NO_SNAPSHOT: Storage = Storage {
    snapshot_after_ms: u64::MAX,
    snapshot_records: 65_536,
    snapshot_segments: 65_536,
    grace_ms: u64::MAX,
};

/// Runs it in a folder, and prints what it measures.
///
/// # Errors
/// The realm does not start or serve.
pub async fn run(folder: &Path, segments: u64) -> Result<(), Error> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let realm = LocalRealm::start_storing(folder, any, NO_SNAPSHOT)?;
    realm.make_whole().await?;
    realm.leader(None).await?;
    println!("writing {segments} segments");
    let mut users = Vec::new();
    for user in 0..USERS {
        users.push(tokio::spawn(guess(client(&realm, user).await?, u32::MAX)));
    }
    while tip(&realm) < segments {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    users.iter().for_each(tokio::task::JoinHandle::abort);
    realm.shutdown().await;

    let realm = LocalRealm::start_storing(folder, any, NO_SNAPSHOT)?;
    let elected = wait(&realm, |status| matches!(status.role, Role::Leader { .. })).await;
    let serving = wait(&realm, |status| status.serving).await;
    let replayed = tip(&realm);
    println!(
        "a new leader read {replayed} entries and served {:.3} s after it had won",
        (serving - elected).as_secs_f64()
    );
    let os = std::fs::read_to_string("/proc/version").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!(
        "{cores} cores, {build} build, local disk; {}",
        os.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
    );
    realm.shutdown().await;
    Ok(())
}

fn tip(realm: &LocalRealm) -> u64 {
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

/// A client with a PIN that costs nothing to stretch: this is about storage.
async fn client(realm: &LocalRealm, user: usize) -> Result<Client, Error> {
    let text = realm.configuration(user % MEMBERS).await?.replace("Standard2019", "FastInsecure");
    let configuration: Configuration = text.parse()?;
    let id = configuration.realms()[0].id();
    let tokens = FixedTokens::from_iter([(id, realm.token(&id, &format!("user-{user}"))?)]);
    Ok(Client::builder(configuration, tokens).build()?)
}

async fn guess(client: Client, times: u32) -> Result<(), String> {
    let secret = UserSecret::new(b"what the user entrusts").map_err(|error| error.to_string())?;
    for _ in 0..times {
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
        }
    }
    Ok(())
}
