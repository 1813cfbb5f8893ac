//! What always holds in a cluster, checked as it happens and at the end.

use super::Cluster;
use std::collections::BTreeMap;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{Reply, Request};
use strongroom_proto::ids::{EntryHash, Index};
use strongroom_replica::segment::{Segment, SegmentName};

impl Cluster {
    /// Checks an exchange with an HSM against what was said before and against the model, and writes it down.
    pub(super) fn check_exchange(&mut self, member: usize, request: &[u8], bytes: &[u8], reply: &Reply) {
        let asked: Request = minicbor::decode(request).expect("a replica writes requests");
        let of_group = reply.clone().of_one_group();
        self.note_exchange(member, &asked, [request, bytes], &of_group);
        self.said.check_reply(&of_group, &self.store);
        let observed = self.trace.observe(&self.members[member].hsm, &asked, reply);
        observed.unwrap_or_else(|departure| panic!("{departure}"));
        if let Some(owners) = &self.owners {
            owners.borrow_mut().observe(self.members[member].hsm, &asked, &of_group);
        }
    }

    /// Checks that every process could be lost now: see [`super::said::Said::check_stored`].
    pub(super) fn check_stored(&mut self) {
        self.said.check_stored(&self.store, &self.group.group);
    }

    /// Reads the log from the store, as anyone can who has kept what was deleted.
    ///
    /// # Panics
    /// If an object on the chain is not a segment.
    #[must_use]
    pub fn log(&self) -> BTreeMap<Index, EntryHash> {
        self.entries().iter().map(|entry| (entry.index, entry.hash())).collect()
    }

    /// [`Self::log`] with whole entries.
    ///
    /// # Panics
    /// If an object on the chain is not a segment.
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
    /// If any of it does not hold.
    pub fn check_log(&self) {
        self.said.check_log(&self.log());
        self.said.check_durable(&self.store, &self.group.group);
    }
}
