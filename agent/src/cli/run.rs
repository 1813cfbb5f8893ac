//! `run`: the daemon.

use super::{CliError, configured};
use crate::agent::Agent;
use crate::descriptors;
use crate::link::SocketLink;
use crate::store::Store;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

pub(super) async fn run(path: &Path) -> Result<(), CliError> {
    let config = configured(path)?;
    descriptors::raise();
    let store = Store::open(&config.store, &config.store_options).map_err(crate::agent::StartError::from)?;
    let link = Arc::new(SocketLink::new(config.hsm.clone()));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    if config.store.scheme() == "memory" {
        tracing::warn!("the store is memory://: no other agent sees it, and it ends with this agent");
    }
    let agent = Agent::start(config, link, store)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("the agent stops; interrupt again to stop at once");
    tokio::select! {
        () = agent.shutdown() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
