//! The log as this agent knows it: where it ends, and the trees there.
//!
//! Everything in [`Log`] is in the store. Kept here: an entry is taken only if it continues the log by its whole hash
//! and if its leaves give its roots.

use super::interface::Damage;
use crate::segment::{Segment, SegmentEntry, SegmentName};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{PrefixTree, SealedLeaf};
use strongroom_proto::ids::{EntryHash, GroupId, Index, RealmId, RecordId};
use strongroom_proto::peer::PeerMessage;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::{ClaimedTree, Tree};

/// How many of the newest segments stay in memory, for members that lag and for a store that loses them.
const RECENT_SEGMENTS: usize = 4;

/// The trees of a group at one entry, whole. A clone is cheap.
#[derive(Clone, Default)]
pub(super) struct Trees(BTreeMap<Prefix, Tree>);

impl Trees {
    /// The prefixes that the group owns, ascending.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.0.keys().copied()
    }

    /// The prefix of the group that covers a record.
    pub(super) fn prefix_of(&self, id: &RecordId) -> Option<Prefix> {
        self.prefixes().find(|prefix| prefix.contains(id))
    }

    /// The trees after `entry`, which made these leaves.
    fn after(&self, entry: &Entry, leaves: &[SealedLeaf]) -> Result<Self, Damage> {
        let mut next = if entry.index == Index(1) {
            Self(entry.partitions.iter().map(|p| (p.prefix, Tree::new(p.prefix))).collect())
        } else {
            self.clone()
        };
        if !next.0.keys().eq(entry.partitions.iter().map(|p| &p.prefix)) {
            return Err(Damage::Partitions);
        }
        let mut changed: BTreeMap<Prefix, Vec<_>> = BTreeMap::new();
        for leaf in leaves {
            let prefix = next.prefix_of(&leaf.record).ok_or(Damage::Roots)?;
            changed.entry(prefix).or_default().push((leaf.record, Arc::<[u8]>::from(leaf.sealed.as_slice())));
        }
        for (prefix, leaves) in changed {
            let tree = next.0.get_mut(&prefix).ok_or(Damage::Roots)?;
            tree.update(leaves).map_err(|_| Damage::Roots)?;
        }
        let as_stated = next.0.values().map(Tree::root).eq(entry.partitions.iter().map(|p| p.root));
        if as_stated { Ok(next) } else { Err(Damage::Roots) }
    }

    /// Takes an entry and its leaves, or changes nothing.
    pub(super) fn apply(&mut self, made: &SegmentEntry) -> Result<(), Damage> {
        *self = self.after(&made.entry, &made.leaves)?;
        Ok(())
    }

    /// What a batch on these records needs, one partial tree for each prefix. `None` if one is not covered.
    pub(super) fn partial(&self, ids: impl Iterator<Item = RecordId>) -> Option<Vec<PrefixTree>> {
        let mut wanted: BTreeMap<Prefix, Vec<RecordId>> = BTreeMap::new();
        for id in ids {
            wanted.entry(self.prefix_of(&id)?).or_default().push(id);
        }
        let part = |(prefix, ids): (Prefix, Vec<RecordId>)| {
            let tree = ClaimedTree::from(&self.0.get(&prefix)?.partial(&ids).ok()?);
            Some(PrefixTree { prefix, tree })
        };
        wanted.into_iter().map(part).collect()
    }
}

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
    pub(super) bytes: Arc<[u8]>,
}

impl Object {
    /// The message that pushes it.
    pub(super) fn push(&self) -> PeerMessage {
        let (group, first) = (self.name.group, self.name.first);
        PeerMessage::Push { group, first, prev: self.prev, segment: self.bytes.to_vec().into() }
    }
}

/// The log, from its first entry to the newest that is known to be in the store.
pub(super) struct Log {
    realm: RealmId,
    group: GroupId,
    tip: Option<Tip>,
    trees: Trees,
    recent: VecDeque<Object>,
}

impl Log {
    pub(super) fn new(realm: RealmId, group: GroupId) -> Self {
        Self { realm, group, tip: None, trees: Trees::default(), recent: VecDeque::new() }
    }

    pub(super) const fn tip(&self) -> Option<&Tip> {
        self.tip.as_ref()
    }

    /// Index and hash of the last entry, zero before any.
    pub(super) fn position(&self) -> (Index, EntryHash) {
        self.tip.as_ref().map_or((Index::ZERO, EntryHash::ZERO), |tip| (tip.entry.index, tip.hash))
    }

    pub(super) const fn trees(&self) -> &Trees {
        &self.trees
    }

    /// The newest segments, oldest first.
    pub(super) const fn recent(&self) -> &VecDeque<Object> {
        &self.recent
    }

    /// The only name that can follow. `None` at the end of all indexes.
    pub(super) fn next_name(&self) -> Option<SegmentName> {
        let (index, hash) = self.position();
        index.next().map(|first| SegmentName::new(self.group, first, &hash))
    }

    /// The least first index of a listing that shows the last known segment and all after it.
    pub(super) fn list_from(&self) -> Index {
        self.tip.as_ref().map_or(Index(1), |tip| tip.segment.first)
    }

    /// Takes a segment, or changes nothing and says which entry is wrong.
    pub(super) fn apply(&mut self, segment: &Segment, bytes: Arc<[u8]>) -> Result<(), (Index, Damage)> {
        let first = segment.first();
        let (index, hash) = self.position();
        let continues = first.realm == self.realm
            && first.group == self.group
            && index.next() == Some(first.index)
            && first.prev == hash;
        if !continues {
            return Err((first.index, Damage::Chain));
        }
        let mut trees = self.trees.clone();
        for made in segment.entries() {
            trees.apply(made).map_err(|damage| (made.entry.index, damage))?;
        }
        let object = Object { name: segment.name(), prev: hash, bytes };
        self.advance(object, segment.last().clone(), trees);
        Ok(())
    }

    /// Takes a segment that this agent wrote itself, with the trees that it computed when the entries were made.
    pub(super) fn advance(&mut self, object: Object, last: Entry, trees: Trees) {
        let hash = last.hash();
        self.tip = Some(Tip { segment: object.name, entry: last, hash });
        self.trees = trees;
        self.recent.push_back(object);
        if self.recent.len() > RECENT_SEGMENTS {
            self.recent.pop_front();
        }
    }
}
