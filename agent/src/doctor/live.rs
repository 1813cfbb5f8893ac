//! What an agent depends on while it runs.

use super::Finding;
use crate::admin::{AdminError, Client};
use crate::causes::causes;
use crate::config::Config;
use crate::link::{Link, SocketLink};
use crate::overview::{Level, Overview, judge};
use crate::store::{Store, StoreError};
use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt, PutPayload};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, SystemTime};
use strongroom_proto::hsm::{Reply, Request};
use strongroom_replica::ReadOutcome;
use tokio::time::timeout;

/// How long one call to the object store may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far the clocks of this machine and of the store may be apart, in seconds. Tokens and the certificates of agents hold
/// for minutes and hours.
const APART: u64 = 60;

/// Asks the store, the clock, and the agent that runs with this configuration about its HSM and the other agents; if none
/// runs, the HSM itself. Writes one object of a few bytes to the store, and deletes it.
pub async fn live(config: &Config, salt: [u8; 16]) -> Vec<Finding> {
    let mut found = store(config, salt).await;
    match Client::connect(&config.admin_socket).await {
        Ok(client) => found.extend(realm(client).await),
        // Nobody is told to end what cannot be asked.
        Err(error @ AdminError::NotAllowed { .. }) => {
            let next = "give the command as the agent's user";
            found.push(Finding::attention("agent", error.to_string(), next));
        }
        Err(_) => {
            let what = "no agent runs with this configuration";
            found.push(Finding::attention("agent", what, "start it: `strongroom-agent run`"));
            found.extend(addresses(config));
            found.push(hsm(config).await);
        }
    }
    found
}

async fn store(config: &Config, salt: [u8; 16]) -> Vec<Finding> {
    let about = "store";
    let store = match Store::open_existing(&config.store, &config.store_options) {
        Ok(store) => store,
        // Looked at before. It is not made here: what is not mounted must not look as if it were.
        Err(StoreError::NoFolder { .. }) => return Vec::new(),
        Err(error) => return vec![Finding::bad(about, error.to_string(), "mend `store`")],
    };
    let name = format!("probe/doctor-{}", hex::encode(salt));
    let Ok(path) = ObjectPath::parse(format!("{}/{name}", store.base())) else {
        return vec![Finding::bad(about, "its path cannot be used", "mend `store`")];
    };
    let bytes = Bytes::from_static(b"doctor");
    let objects = store.objects();
    let mut found = Vec::new();
    let mut may = |right: &'static str, failed: Option<String>, next: &str| {
        found.push(match failed {
            None => Finding::well(about, format!("{right}: yes")),
            Some(why) => Finding::bad(about, format!("{right}: no ({why})"), next),
        });
    };
    let credentials =
        "give the agent's credentials this right below the store's path, and see that it can be reached";
    let written = timeout(PATIENCE, objects.put(&path, PutPayload::from_bytes(bytes.clone()))).await;
    let failed = match written {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(short(&error)),
        Err(_) => Some("it did not answer in ten seconds".into()),
    };
    let is_written = failed.is_none();
    may("write", failed, credentials);
    if !is_written {
        // It may arrive later.
        let _ = store.delete(&name).await;
        return found;
    }
    let read = store.read(&name).await;
    may(
        "read",
        (read != ReadOutcome::Found(bytes.to_vec())).then(|| "it did not return what was written".into()),
        credentials,
    );
    let listed = store.list("probe", "probe").await;
    let shows = listed.is_ok_and(|names| names.contains(&name));
    may("list", (!shows).then(|| "a listing does not show what was written".into()), credentials);
    let next = "the log cannot be kept there: see \"The probe\" in docs/storage.md, and choose another store";
    match store.probe(salt).await {
        Ok(true) => may("create an object once only", None, next),
        Ok(false) => {
            may("create an object once only", Some("it did not answer everything".into()), credentials)
        }
        Err(error @ StoreError::OverwritesOnCreate) => {
            may("create an object once only", Some(error.to_string()), next)
        }
        Err(error) => may("create an object once only", Some(error.to_string()), credentials),
    }
    let stored = timeout(PATIENCE, objects.head(&path)).await;
    let deleted = store.delete(&name).await;
    found.push(match deleted {
        Ok(()) => Finding::well(about, "delete: yes"),
        Err(_) => {
            let next = "without that right the log and the tree grow without end; all else works";
            Finding::attention(about, "delete: no (it refused, or did not answer)", next)
        }
    });
    found.extend(stored.ok().and_then(Result::ok).map(|meta| clock(meta.last_modified.timestamp())));
    found
}

/// What the store said, without what it repeats of the request.
fn short(error: &object_store::Error) -> String {
    match error {
        object_store::Error::PermissionDenied { .. } => "permission denied".into(),
        object_store::Error::Unauthenticated { .. } => "the credentials are not accepted".into(),
        object_store::Error::NotFound { .. } => "not found".into(),
        error => causes(error).chars().take(160).collect(),
    }
}

/// The clock of this machine, by that of the store.
fn clock(store: i64) -> Finding {
    let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |unix| unix.as_secs());
    let apart = here.abs_diff(u64::try_from(store).unwrap_or(0));
    let what = format!("{apart} s apart from the store's");
    if apart <= APART {
        return Finding::well("clock", what);
    }
    Finding::bad(
        "clock",
        what,
        "set this machine's clock (`timedatectl`): tokens and agents' certificates hold for a time",
    )
}

fn addresses(config: &Config) -> Vec<Finding> {
    let all = [
        ("listen", Some(config.listen)),
        ("peer_listen", Some(config.peer_listen)),
        ("metrics_listen", config.metrics_listen),
    ];
    let of = |(name, address): (&'static str, Option<SocketAddr>)| {
        let address = address?;
        Some(match TcpListener::bind(address) {
            Ok(_) => Finding::well("addresses", format!("{name} = {address} is free")),
            Err(error) => {
                let next = "choose another, or end what listens there";
                Finding::bad("addresses", format!("{name} = {address}: {error}"), next)
            }
        })
    };
    all.into_iter().filter_map(of).collect()
}

async fn hsm(config: &Config) -> Finding {
    let link = SocketLink::new(config.hsm.clone());
    let request = minicbor::to_vec(Request::DeviceStatus).unwrap_or_default();
    match link.call(request).await.map(|reply| minicbor::decode::<Reply>(&reply).ok()) {
        Ok(Some(Reply::Device(_))) => Finding::well("HSM", "it answers"),
        Ok(_) => Finding::bad(
            "HSM",
            "what answers there is no HSM of this version",
            "look at `hsm`, and at its version",
        ),
        Err(lost) => Finding::bad("HSM", lost.to_string(), "start it, or mend `hsm`"),
    }
}

/// What the agent that runs here says of its HSM, its peers and the realm.
async fn realm(mut client: Client) -> Vec<Finding> {
    let (own, peers, not_asked) = match client.said().await {
        Ok(said) => said,
        Err(error) => {
            return vec![Finding::bad("agent", error.to_string(), "look at its log; start it again")];
        }
    };
    let verdict = judge(&Overview::of(&own, &peers, not_asked), false);
    let answer = peers.iter().filter(|peer| peer.agent.is_some()).count();
    let mut found =
        vec![Finding::well("agent", format!("it runs; {answer} of {} others answer", peers.len()))];
    if own.hsm_answers {
        found.push(Finding::well("HSM", "it answers"));
    }
    let reasons = verdict.reasons.into_iter().filter(|reason| reason.level != Level::Well);
    found.extend(reasons.map(|reason| Finding {
        level: reason.level,
        about: "realm",
        what: reason.what,
        next: Some(reason.next),
    }));
    found
}
