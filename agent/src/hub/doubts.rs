//! Whether the store under a realm can be relied on: what this agent's probe finds, and what the other agents say.

use super::Hub;
use crate::grpc::peer::PeerStatus;
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How often the other agents are asked.
const PEERS_PERIOD: Duration = Duration::from_secs(10);

/// Probes the store until it proves reliable; then the groups start.
pub(crate) async fn ask_store(hub: Arc<Hub>, store: Store) {
    match hub.trust().earn(&store).await {
        Ok(()) => hub.wake(),
        Err(error) => {
            tracing::error!(%error, "the system has no randomness to give; the agent does not serve")
        }
    }
}

/// Asks the other agents whether they have found the store broken, because it is this agent's store too, and tells the
/// operator. This agent goes on: a claim proves nothing, and one agent's word must not stop all.
pub(crate) async fn ask_peers(hub: Arc<Hub>) {
    let mut told = BTreeMap::new();
    loop {
        let refusing: BTreeMap<String, String> =
            hub.peers().statuses_of_kept().await.into_iter().filter_map(refusal).collect();
        hub.trust().set_doubting_peers(refusing.len());
        for (address, why) in refusing.iter().filter(|(address, _)| !told.contains_key(*address)) {
            tracing::warn!(
                address,
                why,
                "a peer has found the object store broken and refuses to serve; this agent is on the same store, and goes on"
            );
        }
        for address in told.keys().filter(|address| !refusing.contains_key(*address)) {
            tracing::info!(address, "a peer no longer says that the object store is broken");
        }
        told = refusing;
        sleep(PEERS_PERIOD).await;
    }
}

/// The address of a peer that has found the store broken, and what it says.
fn refusal(peer: PeerStatus) -> Option<(String, String)> {
    let status = peer.status.filter(|status| status.store_broken)?;
    Some((peer.address, status.unready))
}
