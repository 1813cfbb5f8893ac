//! A leader and the stored tree: opens it, catches it up with the log, takes snapshots, and says what of the log they
//! make unnecessary.
//!
//! Kept here: the tree is opened only once this leadership has an entry that is committed, so that a leader whom the
//! others have left behind cannot close it to the one who leads; a snapshot reaches a committed entry at the end of a
//! segment; a segment is deleted only when it ended before a snapshot that is durable, and a grace time later.

use super::bug::Bug;
use super::fault::Rereads;
use super::interface::{Action, Damage, Fault, LoadId, Millis};
use super::log::first_of_segment;
use super::replay::{Progress, Replay, foreign};
use super::trees::Trees;
use super::under_way::Lister;
use super::{Replica, State};
use crate::stored::{Advance, Loaded, Snapshot, TreeDamage, TreeFailure};
use std::collections::VecDeque;
use strongroom_proto::ids::Index;

/// How long to leave the stored tree alone after it failed, and after it was found to be damaged.
const RETRY_MS: u64 = 500;
const DAMAGED_MS: u64 = 5_000;
/// How often in a row it may be found to be damaged before that is believed.
const MAX_UNFIT: u32 = 2;
/// After how many opened pages everything is closed that is not in use.
const MAX_OPENED: usize = 8_192;

/// Where a leader is with the stored tree.
enum Stage {
    /// Not open. To be opened at this time, once an own entry is committed.
    Closed(Millis),
    Opening,
    Replaying(Box<Replay>),
    Open,
}

/// What a leader knows of the stored tree.
pub(super) struct Snapshots {
    stage: Stage,
    /// What the stored tree reaches.
    stored: Index,
    /// How many snapshots were taken.
    taken: u64,
    /// The newest entry that a snapshot can reach, and the trees there.
    next: Option<(Snapshot, Trees)>,
    /// Since when there has been one.
    next_since: Millis,
    /// The segments after the stored tree that this leadership wrote: their first and last entries.
    segments: VecDeque<(Index, Index)>,
    /// How many more there were before it began.
    segments_before: usize,
    not_before: Millis,
    /// How often the tree was found to be damaged since it was last open.
    unfit: u32,
    /// From when on segments before these may be deleted.
    unnecessary: VecDeque<(Millis, Index)>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            stage: Stage::Closed(Millis(0)),
            stored: Index::ZERO,
            taken: 0,
            next: None,
            next_since: Millis(0),
            segments: VecDeque::new(),
            segments_before: 0,
            not_before: Millis(0),
            unfit: 0,
            unnecessary: VecDeque::new(),
        }
    }
}

impl Snapshots {
    /// Whether requests can be served from it.
    pub(super) const fn are_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Whether it is open, or will be.
    pub(super) const fn is_used(&self) -> bool {
        !matches!(self.stage, Stage::Closed(_))
    }

    /// What it reaches, 0 for nothing or not known.
    pub(super) const fn stored(&self) -> Index {
        self.stored
    }

    /// Since when something has waited for a snapshot.
    pub(super) const fn waits_since(&self) -> Millis {
        self.next_since
    }

    /// How many snapshots this leadership has taken.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// A segment of this leadership is in the store.
    pub(super) fn landed(&mut self, first: Index, last: Index) {
        self.segments.push_back((first, last));
    }

    /// An entry of this leadership is committed.
    pub(super) fn committed(&mut self, now: Millis, snapshot: Snapshot, trees: Trees) {
        if self.next.is_none() {
            self.next_since = now;
        }
        self.next = Some((snapshot, trees));
    }

    /// The stored tree reaches this entry, durably.
    fn reached(&mut self, now: Millis, index: Index, grace_ms: u64) {
        self.stored = self.stored.max(index);
        self.taken += 1;
        self.segments_before = 0;
        let mut first = first_of_segment(index);
        while let Some((begins, _)) = self.segments.pop_front_if(|(_, ends)| *ends <= index) {
            first = begins;
        }
        self.unnecessary.push_back((now.after(grace_ms), first));
        self.next.take_if(|(snapshot, _)| snapshot.entry.index <= index);
        self.next_since = now;
    }

    /// The replay, if one is under way.
    pub(super) const fn replay(&mut self) -> Option<&mut Replay> {
        if let Stage::Replaying(replay) = &mut self.stage { Some(replay) } else { None }
    }
}

impl Replica {
    /// Goes on with whatever there is to do about the stored tree.
    pub(super) fn advance_snapshots(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        match &leader.snapshots.stage {
            Stage::Closed(at) => {
                let may = *at <= self.now
                    && leader.committed() > Index::ZERO
                    && leader.is_landed()
                    && self.under_way.may_open();
                if may {
                    leader.snapshots.stage = Stage::Opening;
                    self.under_way.open();
                    self.out.push(Action::OpenTree);
                }
            }
            Stage::Opening => {}
            Stage::Replaying(_) => self.replay_on(),
            Stage::Open => {
                leader.paths.load(leader.snapshots.taken(), self.under_way.last_load(), &mut self.out);
                if leader.paths.opened > MAX_OPENED {
                    leader.paths.opened = 0;
                    let keep = leader.in_use();
                    leader.trees.close_all_but(&keep);
                }
                self.take_snapshot();
                self.collect();
            }
        }
    }

    /// The stored tree was opened.
    pub(super) fn tree_opened(&mut self, result: Result<Option<Snapshot>, TreeFailure>) {
        self.under_way.opened();
        let State::Leader(leader) = &mut self.state else { return };
        if !matches!(leader.snapshots.stage, Stage::Opening) {
            return;
        }
        let snapshot = match result {
            Ok(snapshot) => snapshot,
            Err(failure) => return self.tree_failed(failure),
        };
        let stored = snapshot.as_ref().map_or(Index::ZERO, |snapshot| snapshot.entry.index);
        if stored > leader.newest() {
            // Others have gone on, and this member does not know.
            return self.step_down();
        }
        leader.snapshots.stored = stored;
        let first = first_of_segment(stored);
        leader.snapshots.unnecessary.push_back((self.now.after(self.settings.storage.grace_ms), first));
        if leader.tail.base() <= stored {
            leader.snapshots.stage = Stage::Open;
            leader.snapshots.unfit = 0;
            leader.tail.advance(stored);
            self.log.stored(stored);
            self.forget_stored();
        } else {
            let replay = Replay::new(self.settings.group.group, snapshot.as_ref(), self.log.position());
            leader.snapshots.stage = Stage::Replaying(Box::new(replay));
        }
    }

    /// The stored tree cannot be used now.
    fn tree_failed(&mut self, failure: TreeFailure) {
        let State::Leader(leader) = &mut self.state else { return };
        let pause = match failure {
            TreeFailure::Fenced => return self.step_down(),
            TreeFailure::Unavailable => RETRY_MS,
            TreeFailure::Damaged(damage) => {
                leader.snapshots.unfit += 1;
                if leader.snapshots.unfit <= MAX_UNFIT {
                    RETRY_MS
                } else {
                    self.out.push(Action::TreeDamaged(damage));
                    DAMAGED_MS
                }
            }
        };
        leader.snapshots.not_before = self.now.after(pause);
        if !leader.snapshots.are_open() {
            leader.snapshots.stage = Stage::Closed(self.now.after(pause));
            self.out.push(Action::CloseTree);
        }
    }

    /// Reads what lies between the stored tree and the end of the log.
    fn replay_on(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let Some(replay) = leader.snapshots.replay() else { return };
        let may_list = self.under_way.may_list();
        let progress = replay.advance(self.now, may_list, self.under_way.last_load(), &mut self.out);
        if replay.is_listing() && may_list {
            self.under_way.list(Lister::Replay(leader.term()));
        }
        match progress {
            Progress::Waiting => {}
            Progress::Done(trees, tail, segments) => {
                // No entry was made since: only who serves makes one. So the trees are those of the newest.
                leader.trees = trees.clone();
                leader.tail = tail.clone();
                leader.snapshots.segments_before = segments;
                leader.snapshots.stage = Stage::Open;
                leader.snapshots.unfit = 0;
                self.rereads_of_leader = Rereads::default();
                if let Some((_, at_committed)) = &mut leader.snapshots.next {
                    *at_committed = trees.clone();
                }
                self.log.replayed(trees, tail);
            }
            Progress::Closed(record) => {
                let damage = foreign(&leader.trees, &record);
                self.tree_failed(TreeFailure::Damaged(damage));
            }
            Progress::Fault(fault) => self.replay_failed(fault),
        }
    }

    /// What a leader needs cannot be read. Where a segment was read, and what it changes does not fit, all of it is read
    /// once more, as anything else was already.
    fn replay_failed(&mut self, fault: Fault) {
        let State::Leader(leader) = &mut self.state else { return };
        let again = match fault {
            Fault::Damaged { object, damage: Damage::Roots | Damage::Partitions, .. } => {
                self.rereads_of_leader.pause_ms(object)
            }
            _ => None,
        };
        match again.filter(|_| !self.bugs.has(Bug::BadReadIsFault)) {
            Some(ms) => {
                leader.snapshots.stage = Stage::Closed(self.now.after(ms));
                self.out.push(Action::CloseTree);
            }
            None => self.fault_of_leader(fault),
        }
    }

    /// Takes a snapshot when it is time for one.
    fn take_snapshot(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let storage = &self.settings.storage;
        let snapshots = &leader.snapshots;
        let Some((snapshot, trees)) = &snapshots.next else { return };
        let due = leader.tail.records() >= storage.snapshot_records
            || snapshots.segments.len() + snapshots.segments_before >= storage.snapshot_segments
            || self.now >= snapshots.next_since.after(storage.snapshot_after_ms);
        if !due || self.now < snapshots.not_before || !self.under_way.may_advance() {
            return;
        }
        let index = snapshot.entry.index;
        let changed = leader.tail.until(index).into_iter().collect();
        let advance = Advance { snapshot: snapshot.clone(), trees: trees.to_vec(), changed };
        debug_assert!(index <= leader.committed(), "a snapshot reaches a committed entry");
        self.under_way.advance(leader.term(), index);
        self.out.push(Action::Advance(Box::new(advance)));
    }

    /// A snapshot was taken, or not.
    pub(super) fn advanced(&mut self, result: Result<(), TreeFailure>) {
        let Some((term, index)) = self.under_way.advanced() else { return };
        let State::Leader(leader) = &mut self.state else { return };
        if leader.term() != term {
            return;
        }
        if let Err(failure) = result {
            return self.tree_failed(failure);
        }
        leader.snapshots.reached(self.now, index, self.settings.storage.grace_ms);
        leader.tail.advance(index);
        self.log.stored(index);
        self.forget_stored();
    }

    /// Closes what the stored tree has.
    fn forget_stored(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        leader.paths.opened = 0;
        let keep = leader.in_use();
        leader.trees.close_all_but(&keep);
    }

    /// Deletes the segments that are no longer necessary.
    fn collect(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        if !self.under_way.may_collect() {
            return;
        }
        let unnecessary = &mut leader.snapshots.unnecessary;
        let mut before = None;
        while let Some((_, first)) = unnecessary.pop_front_if(|(at, _)| *at <= self.now) {
            before = Some(first);
        }
        if let Some(before) = before.filter(|before| *before > Index(1)) {
            debug_assert!(
                before <= leader.snapshots.stored,
                "what ended before a durable snapshot is deleted, no more"
            );
            self.under_way.collect();
            self.out.push(Action::Collect { before });
        }
    }

    /// The paths to some records were read, or not.
    pub(super) fn loaded(&mut self, load: LoadId, result: Result<Loaded, TreeFailure>) {
        let State::Leader(leader) = &mut self.state else { return };
        let (loaded, failure) = match result {
            Ok(loaded) => (Some(loaded), None),
            Err(failure) => (None, Some(failure)),
        };
        let replays = leader.snapshots.replay();
        if replays.is_some_and(|replay| replay.loaded(self.now, load, loaded.as_ref())) {
            let damage = loaded.iter().flat_map(|loaded| &loaded.damaged).map(|(_, damage)| damage.clone());
            let damage: Vec<TreeDamage> = damage.collect();
            damage.into_iter().for_each(|damage| self.out.push(Action::TreeDamaged(damage)));
        } else if leader.paths.is_loading(load) {
            if let Some(loaded) = &loaded {
                leader.open(loaded);
            }
            let taken = leader.snapshots.taken();
            let (paths, trees) = (&mut leader.paths, &leader.trees);
            for ticket in paths.loaded(load, loaded.as_ref(), taken, trees, &mut self.out) {
                self.clients.answer(&mut self.out, ticket, super::Answer::Unavailable);
            }
        } else {
            // Of an earlier leadership.
            return;
        }
        match failure {
            Some(TreeFailure::Fenced) => self.step_down(),
            Some(TreeFailure::Damaged(damage)) => self.out.push(Action::TreeDamaged(damage)),
            Some(TreeFailure::Unavailable) | None => {}
        }
    }
}
