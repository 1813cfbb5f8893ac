//! The one that says whether entries are authentic: an HSM of the group, through its agent.

use crate::admin::Client;
use strongroom_proto::entry::Entry;
use strongroom_proto::ids::{EntryHash, GroupId, Index};

/// An HSM of the group, which can tell the realm's entries from others.
pub trait Witness: Send {
    /// What it has captured; `None` if it is not a member.
    fn captured(&mut self) -> impl Future<Output = Result<Option<(Index, EntryHash)>, String>> + Send;
    /// The furthest entry that another member has captured, as far as can be found out; 0 if it cannot.
    fn captured_by_others(&mut self) -> impl Future<Output = Index> + Send;
    /// Whether HSMs of the realm made all of these entries, which are consecutive and not newer than what it has
    /// captured.
    fn vouches(&mut self, entries: Vec<Entry>) -> impl Future<Output = Result<bool, String>> + Send;
}

/// The HSM of a running agent.
pub struct AgentWitness {
    /// The agent.
    pub agent: Client,
    /// The group.
    pub group: GroupId,
}

impl Witness for AgentWitness {
    async fn captured(&mut self) -> Result<Option<(Index, EntryHash)>, String> {
        let device = self.agent.device().await.map_err(|error| error.to_string())?;
        let of_group = device.groups.iter().find(|group| group.statement.group == self.group);
        Ok(of_group.map(|group| (group.captured_index, group.captured_hash)))
    }

    async fn captured_by_others(&mut self) -> Index {
        // Agents may claim anything; at worst that causes a false alarm.
        let peers = self.agent.peers().await.unwrap_or_default();
        let devices = peers.into_iter().filter_map(|peer| peer.agent?.device);
        let groups = devices.flat_map(|device| device.groups);
        let captured = groups.filter(|group| group.statement.group == self.group);
        captured.map(|group| group.captured_index).max().unwrap_or(Index::ZERO)
    }

    async fn vouches(&mut self, entries: Vec<Entry>) -> Result<bool, String> {
        self.agent.vouches(self.group, entries).await.map_err(|error| error.to_string())
    }
}

/// No HSM to ask.
#[derive(Clone, Copy, Debug)]
pub struct NoWitness;

impl Witness for NoWitness {
    async fn captured(&mut self) -> Result<Option<(Index, EntryHash)>, String> {
        Ok(None)
    }

    async fn captured_by_others(&mut self) -> Index {
        Index::ZERO
    }

    async fn vouches(&mut self, _: Vec<Entry>) -> Result<bool, String> {
        Ok(false)
    }
}
