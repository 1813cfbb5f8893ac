//! Requests on their way to the HSM: the paths to their records are read from the tree before it is their turn.
//!
//! Kept here: requests about one record keep their order.

use super::bug::Bug;
use super::clients::{Clients, Queued};
use super::context::Context;
use super::interface::{Action, Answer, LoadId, Ticket};
use super::orders::Orders;
use super::replay::foreign;
use super::trees::Trees;
use crate::stored::Loaded;
use std::collections::{BTreeMap, VecDeque};
use strongroom_proto::hsm::NoiseMessage;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;

/// A reading under way.
struct Load {
    records: Vec<RecordId>,
    /// How many snapshots had been taken when it began.
    snapshots: u64,
}

/// What is being read, and for which requests.
#[derive(Default)]
pub(super) struct Paths {
    /// Requests whose paths are open, in the order in which to run them.
    pub(super) ready: VecDeque<Queued>,
    /// Requests whose paths are being read.
    waiting: BTreeMap<RecordId, Vec<Queued>>,
    /// Records to read the paths of.
    wanted: Vec<(Prefix, RecordId)>,
    loads: BTreeMap<LoadId, Load>,
    /// How many pages were opened since everything not in use was last closed.
    pub(super) opened: usize,
}

impl Paths {
    /// Requests about one record keep their order: none is ready while another about its record still waits for its
    /// path.
    ///
    /// # Panics
    /// If the order is broken.
    pub(super) fn assert_invariants(&self) {
        let overtakes = self.ready.iter().any(|queued| self.waiting.contains_key(&queued.request.record));
        assert!(!overtakes, "a request overtakes another about its record");
    }

    pub(super) fn queued(&self) -> usize {
        self.ready.len() + self.waiting.values().map(Vec::len).sum::<usize>()
    }

    /// Whether this reading is under way.
    pub(super) fn is_loading(&self, load: LoadId) -> bool {
        self.loads.contains_key(&load)
    }

    /// Sorts the requests that arrived into those that are ready and those that wait for their path.
    pub(super) fn sort(
        &mut self,
        cx: &mut Context,
        trees: &Trees,
        orders: &mut Orders,
        clients: &mut Clients,
    ) {
        while let Some(queued) = clients.queue.pop_front() {
            let record = queued.request.record;
            let opens = matches!(queued.request.message, NoiseMessage::Handshake { .. });
            let held = orders.holds(&queued.request);
            // What is held comes again and again, from those who wait for whoever has the prefix next.
            if !opens && (!held || cx.bugs.has(Bug::HeldGoesOn)) {
                orders.goes_on(cx.now, &record);
            }
            let served = trees.prefix_of(&record).filter(|_| !held);
            let Some(prefix) = served else {
                clients.answer(cx, queued.ticket, Answer::NotCovered);
                continue;
            };
            if let Some(waiting) = self.waiting.get_mut(&record) {
                waiting.push(queued);
            } else if trees.is_open(&record) {
                self.ready.push_back(queued);
            } else {
                self.waiting.insert(record, vec![queued]);
                self.wanted.push((prefix, record));
            }
        }
    }

    /// Has the path to a record read that no request is about.
    pub(super) fn want(&mut self, prefix: Prefix, record: RecordId) {
        if !self.is_wanted(&record) {
            self.wanted.push((prefix, record));
        }
    }

    /// Whether the path to a record is being read, or will be.
    pub(super) fn is_wanted(&self, record: &RecordId) -> bool {
        self.wanted.iter().any(|(_, id)| id == record)
            || self.loads.values().any(|load| load.records.contains(record))
    }

    /// Asks for the paths that are wanted.
    pub(super) fn load(&mut self, cx: &mut Context, snapshots: u64, last_load: &mut LoadId) {
        if self.wanted.is_empty() {
            return;
        }
        last_load.0 += 1;
        let records = std::mem::take(&mut self.wanted);
        let load = Load { records: records.iter().map(|(_, id)| *id).collect(), snapshots };
        self.loads.insert(*last_load, load);
        cx.out.push(Action::Load { load: *last_load, records });
    }

    /// Adds what was read to the trees, and returns the requests that cannot be run. `None` means that nothing could be
    /// read.
    pub(super) fn loaded(
        &mut self,
        cx: &mut Context,
        load: LoadId,
        loaded: Option<&Loaded>,
        snapshots: u64,
        trees: &Trees,
    ) -> Vec<Ticket> {
        let Some(Load { records, snapshots: then }) = self.loads.remove(&load) else { return Vec::new() };
        if let Some(loaded) = loaded {
            self.opened += loaded.pages.len();
        }
        let mut failed = Vec::new();
        for record in records {
            let found = loaded.and_then(|l| l.damaged.iter().find(|(id, _)| *id == record));
            if trees.is_open(&record) {
                self.ready.extend(self.waiting.remove(&record).unwrap_or_default());
            } else if let Some(prefix) =
                trees.prefix_of(&record).filter(|_| loaded.is_some() && then < snapshots)
            {
                // A snapshot was taken during the reading: some of what was read is older, some newer.
                self.wanted.push((prefix, record));
            } else {
                let requests = self.waiting.remove(&record).unwrap_or_default();
                failed.extend(requests.into_iter().map(|queued| queued.ticket));
                // Nothing is wrong with what has left meanwhile.
                if loaded.is_some() && trees.prefix_of(&record).is_some() {
                    let damage = found.map_or_else(|| foreign(trees, &record), |(_, damage)| damage.clone());
                    cx.out.push(Action::TreeDamaged(damage));
                }
            }
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::hsm::BatchRequest;
    use strongroom_proto::ids::SessionId;

    #[test]
    #[should_panic(expected = "a request overtakes another about its record")]
    fn a_request_that_overtakes_another_is_noticed() {
        let of = |ticket, record| {
            let message = NoiseMessage::Transport { ciphertext: Vec::new().into() };
            let request =
                BatchRequest { record: RecordId([record; 32]), session: SessionId(2), message, time: None };
            Queued { ticket: Ticket(ticket), request, owner: crate::interface::Owner::default() }
        };
        let mut paths = Paths::default();
        paths.waiting.insert(RecordId([1; 32]), vec![of(1, 1)]);
        paths.ready.push_back(of(2, 2));
        paths.assert_invariants();
        paths.ready.push_back(of(3, 1));
        paths.assert_invariants();
    }
}
