//! Reading the segments between the stored tree and the end of the log, so that a new leader knows the trees there.
//!
//! Kept here: entries are applied in the order of the log, each only if the paths to its records are open and its
//! leaves give its roots.

use super::catch_up::{CatchUp, Next};
use super::context::Context;
use super::interface::{Action, Damage, Fault, LoadId, Millis};
use super::trees::{Misfit, Tail, Trees};
use crate::segment::{Segment, SegmentEntry, SegmentName};
use crate::stored::{Loaded, Snapshot, TreeDamage};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use strongroom_proto::ids::{EntryHash, GroupId, Index, RecordId};
use strongroom_proto::prefix::Prefix;

/// The most segments that wait for the paths to their records.
const MAX_SEGMENTS: usize = 64;
/// How often in a row the store may lack a segment, or return one that does not verify, before the segment counts as
/// lost, and the first pause before it is looked for again; each further pause is twice as long. About six seconds in
/// all: less than a leader that makes no progress goes on.
const MAX_FRUITLESS: u32 = 7;
const FRUITLESS_MS: u64 = 50;

/// The most records to ask for at once, and how long to wait if they do not come.
const MAX_LOAD: usize = 512;
const LOAD_PAUSE_MS: u64 = 500;

/// A replay under way.
pub(super) struct Replay {
    group: GroupId,
    /// Where it ends.
    until: (Index, EntryHash),
    /// How far segments have been read.
    read: (Index, EntryHash),
    /// The segment that ends there, if it was read.
    newest: Option<SegmentName>,
    walk: CatchUp,
    fruitless: u32,
    retry_at: Millis,
    /// The segments that are not applied yet, and how many entries of the first are.
    segments: VecDeque<Segment>,
    of_first: usize,
    trees: Trees,
    tail: Tail,
    loads: BTreeMap<LoadId, BTreeSet<RecordId>>,
    load_at: Millis,
    asked: BTreeSet<RecordId>,
    applied: usize,
}

/// How a replay goes on.
pub(super) enum Progress {
    /// It waits for something.
    Waiting,
    /// It has reached the end: the trees there, what has changed, and how many segments were read.
    Done(Box<(Trees, Tail)>, usize),
    /// The path to this record cannot be read.
    Closed(RecordId),
    /// It cannot go on without an operator.
    Fault(Fault),
}

impl Replay {
    /// A replay from a snapshot, or from nothing, to `until`.
    pub(super) fn new(group: GroupId, snapshot: Option<&Snapshot>, until: (Index, EntryHash)) -> Self {
        let read = snapshot.map_or((Index::ZERO, EntryHash::ZERO), |s| (s.entry.index, s.entry.hash()));
        let mut walk = CatchUp::default();
        walk.want();
        Self {
            group,
            until,
            read,
            newest: None,
            walk,
            fruitless: 0,
            retry_at: Millis(0),
            segments: VecDeque::new(),
            of_first: 0,
            trees: snapshot.map(|s| Trees::at(&s.entry)).unwrap_or_default(),
            tail: Tail::new(read.0),
            loads: BTreeMap::new(),
            load_at: Millis(0),
            asked: BTreeSet::new(),
            applied: 0,
        }
    }

    /// How often in a row the store returned nothing that continues the log.
    pub(super) const fn fruitless(&self) -> u32 {
        self.fruitless
    }

    /// # Panics
    /// If the invariant above does not hold.
    pub(super) fn assert_invariants(&self) {
        let mut next = self.tail.newest().and_then(Index::next);
        for (at, segment) in self.segments.iter().enumerate() {
            let done = if at == 0 { self.of_first as u64 } else { 0 };
            let first = Index(segment.first().index.0.saturating_add(done));
            let goes_on = next.is_none_or(|next| next == first);
            assert!(goes_on, "entries would be applied out of order");
            next = segment.last().index.next();
        }
        let waiting = self.segments.back().map(|last| last.last().index);
        assert!(waiting.is_none_or(|last| last == self.read.0), "what waits is not what was read");
        assert!(self.read.0 <= self.until.0, "a replay goes past its end");
    }

    /// How many segments it has read, in sequence.
    pub(super) fn segments_read(&self) -> usize {
        self.applied + self.segments.len()
    }

    /// Whether it waits for a listing.
    pub(super) const fn is_listing(&self) -> bool {
        self.walk.is_listing()
    }

    /// When there is something to do next that does not wait for the store, if that is after `now`.
    pub(super) fn deadline(&self, now: Millis) -> Option<Millis> {
        let pauses = [self.retry_at, self.load_at].into_iter().chain(self.walk.deadline());
        pauses.filter(|at| *at > now).min()
    }

    /// Handles the listing.
    pub(super) fn listed(&mut self, now: Millis, names: Option<Vec<SegmentName>>) {
        let Some(names) = names else { return self.walk.pause(now) };
        let wanted = |name: &SegmentName| {
            name.group == self.group && name.first > self.read.0 && name.first <= self.until.0
        };
        self.walk.listed(names.into_iter().filter(wanted).collect());
    }

    /// Whether it waits for this segment.
    pub(super) fn wants(&self, name: SegmentName) -> bool {
        self.walk.wants(name)
    }

    /// Handles a segment's bytes, if it asked for them; `None` if they did not come.
    pub(super) fn read(&mut self, now: Millis, name: SegmentName, bytes: Option<Vec<u8>>) {
        self.walk.read(now, name, bytes);
    }

    /// Handles what was loaded, if it asked for it; `None` if nothing came: then it asks again.
    pub(super) fn loaded(&mut self, now: Millis, load: LoadId, loaded: Option<&Loaded>) -> bool {
        let Some(records) = self.loads.remove(&load) else { return false };
        if let Some(loaded) = loaded {
            self.trees.open(loaded);
        } else {
            records.iter().for_each(|id| _ = self.asked.remove(id));
            self.load_at = now.after(LOAD_PAUSE_MS);
        }
        true
    }

    /// Does whatever can be done now. `may_list`: whether no other listing is under way.
    pub(super) fn advance(&mut self, cx: &mut Context, may_list: bool, last_load: &mut LoadId) -> Progress {
        if let Err(fault) = self.walk_on(cx, may_list) {
            return Progress::Fault(fault);
        }
        self.load(cx, last_load);
        match self.apply() {
            Ok(()) => {}
            Err(closed_or_fault) => return closed_or_fault,
        }
        // Some of what is to be read may belong to what the group owns only by now.
        self.load(cx, last_load);
        // There is room for more now, and this may have been the last.
        if self.segments.is_empty() && self.read == self.until {
            let reached = Box::new((self.trees.clone(), self.tail.clone()));
            return Progress::Done(reached, self.applied);
        }
        Progress::Waiting
    }

    fn walk_on(&mut self, cx: &mut Context, may_list: bool) -> Result<(), Fault> {
        while self.read != self.until && self.segments.len() < MAX_SEGMENTS {
            let next = self.read.0.next().map(|first| SegmentName::new(self.group, first, &self.read.1));
            if cx.now < self.retry_at {
                return Ok(());
            }
            match self.walk.next(cx.now, next, may_list) {
                Next::Wait => return Ok(()),
                Next::List => cx.out.push(Action::List { from: Index(self.read.0.0.saturating_add(1)) }),
                Next::Read(names) => names.into_iter().for_each(|name| cx.out.push(Action::Read { name })),
                Next::Apply(object, bytes) => {
                    if let Err(fault) = self.take(object, &bytes) {
                        self.look_again(cx.now, fault)?;
                    }
                }
                Next::End | Next::Beyond => match next {
                    Some(object) => self.look_again(cx.now, Fault::Gap { object, before: self.newest })?,
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    /// The next segment was not there, or does not verify. Looks again later, unless it has done so often enough.
    fn look_again(&mut self, now: Millis, fault: Fault) -> Result<(), Fault> {
        self.walk.checked();
        self.fruitless += 1;
        if self.fruitless >= MAX_FRUITLESS {
            return Err(fault);
        }
        self.retry_at = now.after(FRUITLESS_MS << self.fruitless);
        self.walk.want();
        Ok(())
    }

    /// Adds a segment if it continues those before it.
    fn take(&mut self, object: SegmentName, bytes: &[u8]) -> Result<(), Fault> {
        let damaged = |index, damage| Fault::Damaged { object, index, damage };
        let segment = Segment::decode(bytes).map_err(|bad| damaged(object.first, Damage::Segment(bad)))?;
        let last = segment.last();
        let continues = segment.name() == object
            && segment.first().prev == self.read.1
            && last.index <= self.until.0
            && (last.index < self.until.0 || last.hash() == self.until.1);
        if !continues {
            return Err(damaged(object.first, Damage::Chain));
        }
        self.read = (last.index, last.hash());
        self.newest = Some(object);
        self.fruitless = 0;
        self.segments.push_back(segment);
        Ok(())
    }

    /// Asks for the paths that are still closed.
    fn load(&mut self, cx: &mut Context, last_load: &mut LoadId) {
        if cx.now < self.load_at {
            return;
        }
        let mut wanted: Vec<(Prefix, RecordId)> = Vec::new();
        for made in self.segments.iter().flat_map(Segment::entries) {
            for id in self.needs(made) {
                if let Some(prefix) = self.trees.prefix_of(&id)
                    && self.is_to_ask(&id)
                {
                    self.asked.insert(id);
                    wanted.push((prefix, id));
                }
            }
        }
        for records in wanted.chunks(MAX_LOAD) {
            last_load.0 += 1;
            self.loads.insert(*last_load, records.iter().map(|(_, id)| *id).collect());
            cx.out.push(Action::Load { load: *last_load, records: records.to_vec() });
        }
    }

    /// The records whose paths must be open for an entry: those that it changes, and one below each tree that it splits or
    /// merges.
    fn needs(&self, made: &SegmentEntry) -> Vec<RecordId> {
        let tops = self.trees.opened_by(&made.entry).into_iter().map(|top| RecordId(*top.bits()));
        made.leaves.iter().map(|leaf| leaf.record).chain(tops).collect()
    }

    /// Whether the path to a record is closed and was not asked for.
    fn is_to_ask(&self, id: &RecordId) -> bool {
        !self.asked.contains(id) && self.trees.prefix_of(id).is_some() && !self.trees.is_open(id)
    }

    fn apply(&mut self) -> Result<(), Progress> {
        while let Some(segment) = self.segments.front() {
            let Some(made) = segment.entries().get(self.of_first) else {
                self.segments.pop_front();
                self.of_first = 0;
                self.applied += 1;
                continue;
            };
            let needs = self.needs(made);
            let is_loading = |id: &RecordId| self.loads.values().any(|ids| ids.contains(id));
            if needs.iter().any(|id| is_loading(id) || self.is_to_ask(id)) {
                return Ok(());
            }
            match self.trees.apply(made) {
                Ok(()) => self.tail.push(made),
                Err(Misfit::Damage(damage)) => {
                    let (object, index) = (segment.name(), made.entry.index);
                    return Err(Progress::Fault(Fault::Damaged { object, index, damage }));
                }
                Err(Misfit::Closed) => {
                    let closed = needs.into_iter().find(|id| !self.trees.is_open(id));
                    return Err(Progress::Closed(closed.unwrap_or(RecordId([0; 32]))));
                }
            }
            self.of_first += 1;
        }
        Ok(())
    }
}

/// What is wrong when the path to a record stays closed though nothing on it was found to be damaged.
pub(super) fn foreign(trees: &Trees, id: &RecordId) -> TreeDamage {
    TreeDamage::Foreign(trees.prefix_of(id).unwrap_or(Prefix::WHOLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::entries;

    /// Entries 10 to 12 were read, each in a segment of its own.
    fn replay() -> Replay {
        let made = entries(3);
        let last = made.last().map(|last| (last.entry.index, last.entry.hash())).expect("there are three");
        let mut replay = Replay::new(made[0].entry.group, None, last);
        replay.segments = made.into_iter().map(|made| Segment::new(vec![made]).expect("it is one")).collect();
        replay.read = last;
        replay.assert_invariants();
        replay
    }

    #[test]
    #[should_panic(expected = "entries would be applied out of order")]
    fn segments_out_of_order_are_noticed() {
        let mut replay = replay();
        replay.segments.swap(0, 1);
        replay.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "entries would be applied out of order")]
    fn an_entry_that_is_left_out_is_noticed() {
        let mut replay = replay();
        replay.tail.note(Index(8), Vec::new());
        replay.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "what waits is not what was read")]
    fn a_segment_that_was_not_read_is_noticed() {
        let mut replay = replay();
        replay.segments.pop_back();
        replay.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "a replay goes past its end")]
    fn reading_too_far_is_noticed() {
        let mut replay = replay();
        replay.until.0 = Index(11);
        replay.assert_invariants();
    }
}
