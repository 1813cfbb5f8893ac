//! What a leader keeps in RAM for one group: its own chain, its newest roots, and the replies it may not give out yet.
//!
//! Keeps invariant 4, *replies last, by ancestry*: a reply is filed under the entry that its record's change is in,
//! and leaves only when that entry, or a later one on the same chain, is committed. Keeps invariant 10: nothing here
//! outlives the leadership.

use crate::holding::Holding;
use crate::reads::Reads;
use crate::record::Changed;
use crate::state::Position;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{NoiseReply, Released};
use strongroom_proto::ids::{GroupId, Index, Term};

/// How many settled entries stay known while a nonce for reads is open. What members state to it would otherwise count for
/// nothing once the next entry is committed.
const KEPT_FOR_READS: u64 = 32;

/// Leading, or having led, one group since one `Lead`.
pub(crate) struct Leadership {
    pub(crate) term: Term,
    /// Whether it still makes entries.
    pub(crate) leading: bool,
    /// What the group owns after the newest own entry.
    pub(crate) holding: Holding,
    chain: VecDeque<Position>,
    pending: VecDeque<Pending>,
    /// The newest own entry known to be committed.
    pub(crate) committed: Index,
    /// Own entries before this one are both captured here and committed.
    settled: Index,
    /// The entry that this leadership began from; or, if it is later, the last one that took a prefix from another group.
    base: Index,
    /// Answers that no entry carries.
    pub(crate) reads: Reads,
}

struct Pending {
    at: Position,
    replies: Vec<NoiseReply>,
}

impl Leadership {
    /// Begins at `entry`, the captured one; or before any entry, owning the whole space if `genesis`.
    pub(crate) fn begin(term: Term, entry: Option<&Entry>, at: Position, genesis: bool) -> Self {
        let holding = match entry {
            Some(entry) => Holding::after(entry),
            None if genesis => Holding::whole(),
            None => Holding::default(),
        };
        let chain = VecDeque::from([at]);
        Self {
            term,
            leading: true,
            holding,
            chain,
            pending: VecDeque::new(),
            committed: Index::ZERO,
            settled: Index::ZERO,
            base: at.index,
            reads: Reads::default(),
        }
    }

    /// The newest own entry, or the one that this leadership began from.
    pub(crate) fn newest(&self) -> Position {
        self.chain.back().copied().unwrap_or(Position::NOTHING)
    }

    /// Whether it is an own entry, from the one it began from to the newest, and not long committed and captured.
    pub(crate) fn is_own(&self, at: Position) -> bool {
        self.chain.contains(&at)
    }

    /// How many own entries are kept that are not settled.
    pub(crate) fn kept_entries(&self) -> usize {
        self.chain.iter().filter(|at| at.index >= self.settled).count()
    }

    /// How many replies are waiting.
    pub(crate) fn pending_replies(&self) -> usize {
        self.pending.iter().fold(self.reads.waiting(), |sum, p| sum.saturating_add(p.replies.len()))
    }

    /// Makes no more entries, and answers no read that waits.
    pub(crate) fn stop(&mut self) {
        self.leading = false;
        self.reads = Reads::default();
    }

    /// The own entry whose commit makes a record, as it was last changed, committed: that change's own, or where this
    /// leadership began, or last took a prefix, if it is older, was made in another group, or if there is no record.
    pub(crate) fn since(&self, group: GroupId, changed: Option<Changed>) -> Index {
        changed.filter(|c| c.group == group).map_or(self.base, |c| c.index.max(self.base))
    }

    /// The newest own entry took a prefix from another group: whatever is read from here on waits for it.
    pub(crate) fn took(&mut self) {
        self.base = self.newest().index;
    }

    /// Takes an entry that this HSM just made on top of the newest.
    pub(crate) fn extend(&mut self, at: Position, holding: Holding, replies: Vec<NoiseReply>) {
        self.chain.push_back(at);
        self.holding = holding;
        if !replies.is_empty() {
            self.pending.push_back(Pending { at, replies });
        }
    }

    /// Releases what waits under `committed`, an own entry, and under the own entries before it.
    pub(crate) fn release(&mut self, committed: Index) -> Vec<Released> {
        self.committed = self.committed.max(committed);
        let mut released = Vec::new();
        while let Some(pending) = self.pending.pop_front_if(|p| p.at.index <= committed) {
            released.push(Released { entry: pending.at.hash, replies: pending.replies });
        }
        released
    }

    /// Forgets own entries that are both captured here and committed: no statement about them is needed again, but those
    /// to an open nonce.
    pub(crate) fn trim(&mut self, captured: Index) {
        self.settled = self.committed.min(captured);
        let keep = if self.reads.nonce().is_some() { KEPT_FOR_READS } else { 0 };
        let keep_from = Index(self.settled.0.saturating_sub(keep));
        while self.chain.len() > 1 && self.chain.front().is_some_and(|p| p.index < keep_from) {
            self.chain.pop_front();
        }
    }
}
