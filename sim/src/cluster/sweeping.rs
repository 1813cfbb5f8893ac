//! How what has left a group is deleted from its stored tree, in the order of `agent/src/tree/sweep.rs`. Each step is one
//! write, and anything may happen between two of them. A write that the store has not carried out is one that comes later.

use super::Cluster;
use super::bug::HostBug;
use strongroom_proto::transfer::Transfer;
use strongroom_replica::leftover::{Leftover, deletable};
use strongroom_replica::stored::Snapshot;

impl Cluster {
    /// What its stored tree reaches.
    pub(crate) fn reaches(&self) -> Option<Snapshot> {
        self.store.tree.snapshot().cloned()
    }

    /// Has the leader delete so many pages and leaves, at most, of what has left and may go, where `stored` is what the
    /// trees of other groups reach. Returns how many it deleted.
    pub(crate) fn sweep(&mut self, stored: &[Snapshot], most: usize) -> usize {
        let Some(member) = self.leader() else { return 0 };
        let writer = (member, self.members[member].life);
        let Some(status) = self.status(member).filter(|status| status.serving) else { return 0 };
        let is_copying = self.copying == Some(writer);
        if self.members[member].left || is_copying || !self.store.tree.is_open(writer) {
            return 0;
        }
        let open = status.open.iter().map(Transfer::prefix);
        let concerned: Vec<_> = status.prefixes.iter().copied().chain(open).collect();
        let Some(leftover) = self.may_go(stored) else { return 0 };
        if !self.bugs.has(HostBug::SweptOpen)
            && concerned.iter().any(|other| other.overlaps(&leftover.prefix))
        {
            return 0;
        }
        self.store.tree.sweep(&leftover, most)
    }

    fn may_go(&self, stored: &[Snapshot]) -> Option<Leftover> {
        let (own, leftovers) = (self.store.tree.snapshot()?, self.store.tree.leftovers());
        if self.bugs.has(HostBug::SweptOpen) {
            return leftovers.first().copied();
        }
        let there = |group: &_| stored.iter().find(|there| there.entry.group == *group);
        deletable(leftovers, &own.entry, there).first().copied()
    }
}
