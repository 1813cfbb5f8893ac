//! What HSMs have said so far, and what the store holds of it; and what always holds for both, whatever goes wrong
//! around them.

use super::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::hsm::{Outcome, Reply};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, Index};
use strongroom_proto::statement::Committed;
use strongroom_replica::segment::{Segment, SegmentName};

/// What HSMs have said so far.
#[derive(Default)]
pub(super) struct Said {
    captured: BTreeMap<Index, EntryHash>,
    /// The newest entry that each HSM has stated as captured.
    newest: BTreeMap<HsmId, (Index, EntryHash)>,
    committed: Vec<Committed>,
    /// The newest entry that the stored tree has reached.
    stored: Option<Index>,
    /// Every entry whose replies were released.
    pub(super) released: BTreeSet<EntryHash>,
}

impl Said {
    /// Checks a reply of an HSM against what was said before.
    pub(super) fn check_reply(&mut self, reply: &Reply, store: &Store) {
        match reply {
            // No user sends a request that is answered at once.
            Reply::Processed { outcomes, .. } => assert!(
                !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Answered(_))),
                "an answer left before its entry was committed"
            ),
            Reply::Captured(statement) => {
                let (index, hash) = (statement.index, statement.hash);
                // If a segment was deleted there, an old writer may still write another one, and its own HSM may
                // capture that. No other member follows, so it is never committed.
                if !store.is_stray(&hash) {
                    let first = *self.captured.entry(index).or_insert(hash);
                    assert_eq!(first, hash, "two HSMs captured different entries {index}");
                }
                let newest = self.newest.entry(statement.hsm).or_insert((index, hash));
                if index >= newest.0 {
                    *newest = (index, hash);
                }
            }
            Reply::Committed { statement, released } => {
                self.committed.push(*statement);
                self.released.extend(released.iter().map(|r| r.entry));
            }
            _ => {}
        }
    }

    /// Checks that an HSM which has just started has not forgotten what it stated.
    pub(super) fn check_restarted(&self, hsm: &HsmId, captured: Index) {
        let stated = self.newest.get(hsm).map_or(Index::ZERO, |(index, _)| *index);
        assert!(captured >= stated, "an HSM forgot entry {stated}, which it had stated as captured");
    }

    /// Checks that every process could be lost now: that the stored tree is that of a committed entry, and that every
    /// segment from there to the end of the log is in the store.
    pub(super) fn check_stored(&mut self, store: &Store, group: &GroupId) {
        let stored = store.tree.snapshot().map(|snapshot| snapshot.entry.index);
        let before = std::mem::replace(&mut self.stored, stored);
        assert!(stored >= before, "the snapshot {stored:?} is older than the one before, {before:?}");
        self.check_durable(store, group);
    }

    /// [`Self::check_stored`] for what is there, whatever was there before.
    pub(super) fn check_durable(&self, store: &Store, group: &GroupId) {
        let mut at = (Index::ZERO, EntryHash::ZERO);
        let entry = store.tree.snapshot().map(|snapshot| &snapshot.entry);
        let partitions = entry.into_iter().flat_map(|entry| &entry.partitions);
        store.tree.check(partitions.map(|part| (part.prefix, part.root)));
        if let Some(snapshot) = store.tree.snapshot() {
            let entry = &snapshot.entry;
            at = (entry.index, entry.hash());
            let stated = self.committed.contains(&snapshot.committed);
            let of_it = (snapshot.committed.index, snapshot.committed.hash) == at;
            assert!(stated && of_it, "no HSM stated the snapshot's entry {} as committed", entry.index);
            let ends_here = |bytes| Segment::decode(bytes).is_ok_and(|segment| segment.last() == entry);
            let kept = store.objects().any(|(name, bytes)| name.first <= entry.index && ends_here(bytes));
            assert!(
                kept,
                "the segment that ends at the snapshot's entry {} is not in the store",
                entry.index
            );
        }
        let mut after = BTreeSet::from([at.1]);
        let objects: BTreeMap<_, _> = store.objects().collect();
        while let Some(bytes) = at.0.next().and_then(|i| objects.get(&SegmentName::new(*group, i, &at.1))) {
            let segment = Segment::decode(bytes).expect("what a replica writes is a segment");
            after.extend(segment.entries().iter().map(|made| made.entry.hash()));
            at = (segment.last().index, segment.last().hash());
        }
        let snapshot = store.tree.snapshot().map_or(Index::ZERO, |snapshot| snapshot.entry.index);
        for (index, hash) in self.captured.range(snapshot..) {
            let kept = after.contains(hash);
            assert!(
                kept,
                "entry {index} was captured, and no way leads there from the snapshot at {snapshot}"
            );
        }
    }

    /// Checks that everything captured and everything released is on this log.
    pub(super) fn check_log(&self, log: &BTreeMap<Index, EntryHash>) {
        let on_chain: BTreeSet<EntryHash> = log.values().copied().collect();
        // What is released is also captured: this is checked first, or it could never be the check that fails.
        assert!(
            self.released.is_subset(&on_chain),
            "replies of an entry were released that is not in the log"
        );
        for (index, hash) in &self.captured {
            assert_eq!(log.get(index), Some(hash), "entry {index} was captured and is not in the log");
        }
        for committed in &self.committed {
            let on = on_chain.contains(&committed.hash);
            assert!(on, "entry {} was stated as committed and is not in the log", committed.index);
        }
    }
}
