//! `run`: the daemon.

use super::error::CliError;
use super::reach::configured;
use crate::daemon::Agent;
use crate::descriptors;
use crate::doctor::{Finding, exposed};
use crate::link::SocketLink;
use crate::memory::keep_off_disk;
use crate::store::Store;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

/// Runs until a signal or a bug ends it. As the first process of a container, it receives only the signals that are
/// requested here.
pub(super) async fn run(path: &Path) -> Result<(), CliError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let config = configured(path)?;
    tracing::info!(
        version = crate::BUILD,
        configuration = %path.display(),
        store = %place(&config.store),
        tls = config.tls.is_some(),
        discover = config.discover,
        peers = config.peers.len(),
        rebalance = config.rebalance.automatic,
        "starting"
    );
    descriptors::raise();
    keep_off_disk();
    for Finding { what, next, .. } in exposed(path, &config) {
        tracing::warn!(next, "{what}");
    }
    let store = Store::open(&config.store, &config.store_options).map_err(crate::daemon::StartError::from)?;
    let link = Arc::new(SocketLink::new(config.hsm.clone()));
    if config.store.scheme() == "memory" {
        tracing::warn!("the store is memory://: no other agent sees it, and it ends with this agent");
    }
    let mut agent = Agent::start(config, link, store)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hang_up.recv() => {
                tracing::info!("asked to read the tenants file and the certificate again");
                agent.reload();
            }
            ended = agent.ended() => return Err(ended.into()),
        }
    }
    tracing::info!("the agent stops; interrupt again to stop at once");
    let stopping = agent.shutdown();
    let hangs_up = async {
        // This is no reason to stop at once.
        while hang_up.recv().await.is_some() {}
        std::future::pending().await
    };
    tokio::select! {
        () = stopping => {}
        () = hangs_up => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Where a store is, without what its address could say besides.
fn place(store: &Url) -> String {
    format!("{}://{}{}", store.scheme(), store.host_str().unwrap_or_default(), store.path())
}
