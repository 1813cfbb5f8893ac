//! The log as this agent knows it: where it ends, and the trees there.
//!
//! Everything in [`Log`] is in the store. Kept here: an entry is taken only if it continues the log by its whole hash
//! and, if enough of the trees is open to tell, its leaves give its roots. If not enough is open, the trees are closed,
//! and checked when this member comes to lead: see [`super::replay`].

use super::interface::Damage;
use super::trees::{Misfit, Tail, Trees};
use crate::peer::PeerMessage;
use crate::segment::{Segment, SegmentName};
use crate::shared::Shared;
use std::collections::{BTreeSet, VecDeque};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{MAX_CAPTURE_ENTRIES, PrefixTree};
use strongroom_proto::ids::{EntryHash, GroupId, Index, RealmId, RecordId};

/// How many of the newest segments stay in memory, for members that lag, and in case the store loses them: the first
/// number in any case, and up to the second if they are no longer than this together.
const RECENT_SEGMENTS: (usize, usize) = (4, 64);
const RECENT_BYTES: usize = 8 * 1024 * 1024;
/// With more changes than this since the last snapshot that it heard of, a member forgets them, and reads them from the
/// store if it comes to lead.
const MAX_TAIL: usize = 65_536;

/// The end of the log: the last entry of a segment.
#[derive(Clone)]
pub(super) struct Tip {
    pub(super) segment: SegmentName,
    pub(super) entry: Entry,
    pub(super) hash: EntryHash,
}

/// A segment as it is in the store.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) name: SegmentName,
    /// The whole hash of the entry before.
    pub(super) prev: EntryHash,
    pub(super) bytes: Shared,
    /// The paths to the records that it changes, as they were before and as they are sent, if this leader made it.
    pub(super) paths: Shared,
    pub(super) origin: Origin,
}

/// Where a segment came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The store, or this agent.
    Store,
    /// A push; `whole`: whether its leaves were found to give its roots.
    Pushed { whole: bool },
}

impl Object {
    /// How much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len().saturating_add(self.paths.len())
    }

    /// The message that pushes it.
    pub(super) fn push(&self) -> PeerMessage {
        let (group, first) = (self.name.group, self.name.first);
        let (segment, paths) = (self.bytes.clone(), self.paths.clone());
        PeerMessage::Push { group, first, prev: self.prev, segment, paths }
    }
}

/// The log, from where this agent began to read up to the newest entry that is known to be in the store.
pub(super) struct Log {
    realm: RealmId,
    group: GroupId,
    tip: Option<Tip>,
    trees: Trees,
    tail: Tail,
    recent: VecDeque<Object>,
    recent_bytes: usize,
    /// How many entries were read from the store since this member started.
    from_store: u64,
}

impl Log {
    /// A log before its first entry.
    pub(super) fn new(realm: RealmId, group: GroupId) -> Self {
        Self {
            realm,
            group,
            tip: None,
            trees: Trees::default(),
            tail: Tail::new(Index::ZERO),
            recent: VecDeque::new(),
            recent_bytes: 0,
            from_store: 0,
        }
    }

    /// Forgets everything: the log will be read again.
    pub(super) fn start_over(&mut self) {
        *self = Self { from_store: self.from_store, ..Self::new(self.realm, self.group) };
    }

    /// How many entries were read from the store, not counting those that were pushed.
    pub(super) const fn entries_read(&self) -> u64 {
        self.from_store
    }

    /// Begins at the end of this segment.
    pub(super) fn begin(&mut self, segment: &Segment, bytes: Shared) {
        let entry = segment.last().clone();
        self.trees = Trees::at(&entry);
        self.tail = Tail::new(entry.index);
        let (name, prev) = (segment.name(), segment.first().prev);
        self.recent_bytes = bytes.len();
        self.recent =
            VecDeque::from([Object { name, prev, bytes, paths: Shared::default(), origin: Origin::Store }]);
        self.tip = Some(Tip { segment: segment.name(), hash: entry.hash(), entry });
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self) {
        let Some(tip) = &self.tip else {
            assert!(self.recent.is_empty(), "there are segments although the log has not begun");
            return;
        };
        assert!(tip.hash == tip.entry.hash(), "the log goes on from a hash that is not its last entry's");
        assert!(self.trees.are_of(&tip.entry), "the trees are not those of the last entry");
        assert!(
            self.tail.newest().is_none_or(|at| at <= tip.entry.index),
            "there are changes of an entry that is not there"
        );
        let last = self.recent.back().map(|object| object.name);
        assert!(last == Some(tip.segment), "the newest segment is not the last");
        let in_order = self.recent.iter().is_sorted_by(|before, after| before.name.first < after.name.first);
        assert!(in_order, "segments are not in sequence");
        let bytes: usize = self.recent.iter().map(Object::size).sum();
        let bounded = bytes <= RECENT_BYTES || self.recent.len() <= RECENT_SEGMENTS.0;
        assert!(bounded && bytes == self.recent_bytes, "too many segments stay in memory");
    }

    pub(super) const fn tip(&self) -> Option<&Tip> {
        self.tip.as_ref()
    }

    /// Index and hash of the last entry, zero before any.
    pub(super) fn position(&self) -> (Index, EntryHash) {
        self.tip.as_ref().map_or((Index::ZERO, EntryHash::ZERO), |tip| (tip.entry.index, tip.hash))
    }

    /// Whether it ends with the group's last entry, which nothing follows.
    pub(super) fn has_ended(&self) -> bool {
        self.tip.as_ref().is_some_and(|tip| tip.entry.last)
    }

    pub(super) const fn trees(&self) -> &Trees {
        &self.trees
    }

    pub(super) const fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The newest segments, oldest first.
    pub(super) const fn recent(&self) -> &VecDeque<Object> {
        &self.recent
    }

    /// Those of them that begin after this entry, each with its last entry.
    pub(super) fn recent_after(&self, entry: Index) -> impl Iterator<Item = (&Object, Index)> {
        let from = self.recent.partition_point(|object| object.name.first <= entry);
        let before = |next: &Object| Index(next.name.first.0.saturating_sub(1));
        let ends = self.recent.iter().skip(from + 1).map(before).chain([self.position().0]);
        self.recent.iter().skip(from).zip(ends)
    }

    /// The only name that can follow; `None` after the highest index.
    pub(super) fn next_name(&self) -> Option<SegmentName> {
        let (index, hash) = self.position();
        index.next().map(|first| SegmentName::new(self.group, first, &hash))
    }

    /// The lowest first index of a listing that shows the last known segment and everything after it.
    pub(super) fn list_from(&self) -> Index {
        self.tip.as_ref().map_or(Index(1), |tip| tip.segment.first)
    }

    /// Adds a segment, or changes nothing and says which entry is wrong.
    /// `paths`: those to the records that it changes, if somebody gave them with it.
    pub(super) fn apply(
        &mut self,
        segment: &Segment,
        mut object: Object,
        paths: &[PrefixTree],
    ) -> Result<(), (Index, Damage)> {
        let first = segment.first();
        let (index, hash) = self.position();
        if first.realm != self.realm
            || first.group != self.group
            || index.next() != Some(first.index)
            || first.prev != hash
        {
            return Err((first.index, Damage::Chain));
        }
        let read = if object.origin == Origin::Store { segment.entries().len() as u64 } else { 0 };
        let mut trees = self.trees.clone();
        trees.open_paths(paths);
        let applied = segment.entries().iter().try_for_each(|made| {
            let damaged = |misfit| match misfit {
                Misfit::Closed => None,
                Misfit::Damage(damage) => Some((made.entry.index, damage)),
            };
            trees.apply(made).map_err(damaged)
        });
        let changed = segment.entries().iter().map(|made| {
            let ids = made.leaves.iter().map(|leaf| leaf.record);
            (made.entry.index, ids.collect::<Vec<RecordId>>())
        });
        match applied {
            Ok(()) => {
                if let Origin::Pushed { whole } = &mut object.origin {
                    *whole = true;
                }
                self.advance(object, segment.last().clone(), trees, changed);
            }
            Err(Some(damage)) => return Err(damage),
            Err(None) => {
                let last = segment.last().clone();
                let (index, trees) = (last.index, Trees::at(&last));
                self.advance(object, last, trees, std::iter::empty());
                self.tail = Tail::new(index);
            }
        }
        self.from_store += read;
        Ok(())
    }

    /// Adds a segment that this agent wrote itself, with the trees that it computed when the entries were made.
    pub(super) fn advance(
        &mut self,
        object: Object,
        last: Entry,
        trees: Trees,
        changed: impl IntoIterator<Item = (Index, Vec<RecordId>)>,
    ) {
        for (index, ids) in changed {
            self.tail.note(index, ids);
        }
        self.trees = trees;
        if self.tail.records() > MAX_TAIL {
            self.trees = Trees::at(&last);
            self.tail = Tail::new(last.index);
        }
        let hash = last.hash();
        self.tip = Some(Tip { segment: object.name, entry: last, hash });
        self.recent_bytes += object.size();
        self.recent.push_back(object);
        while self.recent.len() > RECENT_SEGMENTS.0
            && (self.recent.len() > RECENT_SEGMENTS.1 || self.recent_bytes > RECENT_BYTES)
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_bytes -= oldest.size();
        }
    }

    /// Takes over the trees and the tail that a leader has read from the store; both are as of the last entry.
    pub(super) fn replayed(&mut self, trees: Trees, tail: Tail) {
        self.trees = trees;
        self.tail = tail;
    }

    /// The stored tree has reached this entry: forgets the changes that are stored.
    pub(super) fn stored(&mut self, index: Index) {
        let until = index.min(self.position().0);
        if until > self.tail.base() {
            self.tail.advance(until);
            self.trees.stored(until);
            self.trees.close_all_but(&self.changed());
        }
    }

    /// The records changed since the stored tree.
    fn changed(&self) -> BTreeSet<RecordId> {
        self.tail.until(Index(u64::MAX))
    }
}

/// The lowest first index of a segment that can end with this entry.
pub(super) const fn first_of_segment(last: Index) -> Index {
    let first = last.0.saturating_sub(MAX_CAPTURE_ENTRIES as u64 - 1);
    Index(if first == 0 { 1 } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::entries;

    /// A log of two segments, the second of which was read from the store.
    fn log() -> Log {
        let mut made = entries(3);
        let second = Segment::new(made.split_off(2)).expect("it is one");
        let first = Segment::new(made).expect("it is one");
        let mut log = Log::new(first.first().realm, first.first().group);
        log.assert_invariants();
        log.begin(&first, Shared::default());
        let (name, prev) = (second.name(), second.first().prev);
        let object =
            Object { name, prev, bytes: Shared::default(), paths: Shared::default(), origin: Origin::Store };
        // The group of these entries owns nothing, so their leaves fit nowhere: these tests are about the chain.
        log.advance(object, second.last().clone(), Trees::default(), []);
        log.assert_invariants();
        log
    }

    #[test]
    #[should_panic(expected = "the log goes on from a hash that is not its last entry's")]
    fn a_log_with_another_hash_is_noticed() {
        let mut log = log();
        log.tip.as_mut().expect("it has begun").hash = EntryHash([1; 32]);
        log.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "the trees are not those of the last entry")]
    fn trees_of_another_entry_are_noticed() {
        let mut log = log();
        let tree = strongroom_proto::tree::Tree::new(strongroom_proto::prefix::Prefix::WHOLE);
        log.trees = Trees::of([tree]);
        log.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "there are changes of an entry that is not there")]
    fn changes_of_an_entry_that_is_not_there_are_noticed() {
        let mut log = log();
        log.tail.note(Index(13), Vec::new());
        log.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "the newest segment is not the last")]
    fn a_segment_too_few_is_noticed() {
        let mut log = log();
        log.recent.pop_back();
        log.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "segments are not in sequence")]
    fn segments_out_of_order_are_noticed() {
        let mut log = log();
        log.recent.push_front(log.recent[1].clone());
        log.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "there are segments although the log has not begun")]
    fn segments_without_a_log_are_noticed() {
        let mut log = log();
        log.tip = None;
        log.assert_invariants();
    }

    #[test]
    fn a_segment_that_does_not_continue_the_log_changes_nothing() {
        let mut log = log();
        let (before, mut made) = (log.position(), entries(4).split_off(3));
        made[0].entry.prev = EntryHash([9; 32]);
        let segment = Segment::new(made).expect("it is one");
        let (name, prev) = (segment.name(), segment.first().prev);
        let object =
            Object { name, prev, bytes: Shared::default(), paths: Shared::default(), origin: Origin::Store };
        assert_eq!(log.apply(&segment, object, &[]), Err((Index(13), Damage::Chain)));
        assert_eq!((log.position(), log.entries_read()), (before, 0));
    }
}
