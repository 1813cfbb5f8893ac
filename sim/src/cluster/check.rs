//! What always holds in a cluster, whatever goes wrong around it.

use super::Cluster;
use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{Outcome, Reply, Request};
use strongroom_proto::ids::{EntryHash, HsmId, Index};
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
    pub(super) released: BTreeSet<EntryHash>,
}

impl Cluster {
    /// Holds an exchange with an HSM against what was said before and against the model, and writes it down.
    pub(super) fn check_exchange(&mut self, member: usize, request: &[u8], bytes: &[u8], reply: &Reply) {
        let asked: Request = minicbor::decode(request).expect("a replica writes requests");
        let of_group = reply.clone().of_one_group();
        self.note_exchange(member, &asked, [request, bytes], &of_group);
        self.check_reply(&of_group);
        let observed = self.trace.observe(&self.members[member].hsm, &asked, reply);
        observed.unwrap_or_else(|departure| panic!("{departure}"));
    }

    fn check_reply(&mut self, reply: &Reply) {
        let said = &mut self.said;
        match reply {
            // No user asks for what is answered at once.
            Reply::Processed { outcomes, .. } => assert!(
                !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Answered(_))),
                "an answer left before its entry was committed"
            ),
            Reply::Captured(statement) => {
                let (index, hash) = (statement.index, statement.hash);
                // Where a segment was deleted, an old writer may yet write another, and its own HSM capture that. Nobody
                // else follows, so it is never committed.
                if !self.store.is_stray(&hash) {
                    let first = *said.captured.entry(index).or_insert(hash);
                    assert_eq!(first, hash, "two HSMs captured different entries {index}");
                }
                let newest = said.newest.entry(statement.hsm).or_insert((index, hash));
                if index >= newest.0 {
                    *newest = (index, hash);
                }
            }
            Reply::Committed { statement, released } => {
                said.committed.push(*statement);
                said.released.extend(released.iter().map(|r| r.entry));
            }
            _ => {}
        }
    }

    /// Checks that an HSM which has just started has not forgotten what it stated.
    pub(super) fn check_restarted(&self, hsm: &HsmId, captured: Index) {
        let stated = self.said.newest.get(hsm).map_or(Index::ZERO, |(index, _)| *index);
        assert!(captured >= stated, "an HSM forgot entry {stated}, which it had stated as captured");
    }

    /// Checks that every process could be lost now: that the stored tree is that of a committed entry, and that every
    /// segment from there to the end of the log is in the store.
    pub(super) fn check_stored(&mut self) {
        let stored = self.store.tree.snapshot().map(|snapshot| snapshot.entry.index);
        let before = std::mem::replace(&mut self.said.stored, stored);
        assert!(stored >= before, "the snapshot {stored:?} is older than the one before, {before:?}");
        self.check_durable();
    }

    fn check_durable(&self) {
        let mut at = (Index::ZERO, EntryHash::ZERO);
        let entry = self.store.tree.snapshot().map(|snapshot| &snapshot.entry);
        let partitions = entry.into_iter().flat_map(|entry| &entry.partitions);
        self.store.tree.check(partitions.map(|part| (part.prefix, part.root)));
        if let Some(snapshot) = self.store.tree.snapshot() {
            let entry = &snapshot.entry;
            at = (entry.index, entry.hash());
            let stated = self.said.committed.contains(&snapshot.committed);
            let of_it = (snapshot.committed.index, snapshot.committed.hash) == at;
            assert!(stated && of_it, "no HSM stated the snapshot's entry {} as committed", entry.index);
            let ends_here = |bytes| Segment::decode(bytes).is_ok_and(|segment| segment.last() == entry);
            let kept =
                self.store.objects().any(|(name, bytes)| name.first <= entry.index && ends_here(bytes));
            assert!(
                kept,
                "the segment that ends at the snapshot's entry {} is not in the store",
                entry.index
            );
        }
        let mut after = BTreeSet::from([at.1]);
        let objects: BTreeMap<_, _> = self.store.objects().collect();
        while let Some(bytes) =
            at.0.next().and_then(|i| objects.get(&SegmentName::new(self.group.group, i, &at.1)))
        {
            let segment = Segment::decode(bytes).expect("what a replica writes is a segment");
            after.extend(segment.entries().iter().map(|made| made.entry.hash()));
            at = (segment.last().index, segment.last().hash());
        }
        let snapshot = self.store.tree.snapshot().map_or(Index::ZERO, |snapshot| snapshot.entry.index);
        for (index, hash) in self.said.captured.range(snapshot..) {
            let kept = after.contains(hash);
            assert!(
                kept,
                "entry {index} was captured, and no way leads there from the snapshot at {snapshot}"
            );
        }
    }

    /// Reads the log from the store, as anybody can who has kept what was deleted.
    ///
    /// # Panics
    /// If a segment on the chain is not one.
    #[must_use]
    pub fn log(&self) -> BTreeMap<Index, EntryHash> {
        self.entries().iter().map(|entry| (entry.index, entry.hash())).collect()
    }

    /// [`Self::log`] with whole entries.
    ///
    /// # Panics
    /// If a segment on the chain is not one.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut log: Vec<Entry> = Vec::new();
        let (mut index, mut hash) = (Index::ZERO, EntryHash::ZERO);
        while let Some(first) = index.next() {
            let name = SegmentName::new(self.group.group, first, &hash);
            let Some(bytes) = self.store.original(&name) else { break };
            let segment = Segment::decode(bytes).expect("what a replica writes is a segment");
            assert_eq!(segment.first().prev, hash, "a segment continues the log by its whole hash");
            (index, hash) = (segment.last().index, segment.last().hash());
            log.extend(segment.entries().iter().map(|made| made.entry.clone()));
        }
        log
    }

    /// Checks that everything captured and everything released is on the one chain in the store, and that the store
    /// holds enough of it to start from.
    ///
    /// # Panics
    /// If something is not.
    pub fn check_log(&self) {
        let log = self.log();
        let on_chain: BTreeSet<EntryHash> = log.values().copied().collect();
        // What is released is captured too: checked first, or this check could never be the one that fails.
        assert!(
            self.said.released.is_subset(&on_chain),
            "replies of an entry were released that is not in the log"
        );
        for (index, hash) in &self.said.captured {
            assert_eq!(log.get(index), Some(hash), "entry {index} was captured and is not in the log");
        }
        for committed in &self.said.committed {
            let on = on_chain.contains(&committed.hash);
            assert!(on, "entry {} was stated as committed and is not in the log", committed.index);
        }
        self.check_durable();
    }
}
