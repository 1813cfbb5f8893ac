//! A leader and the stored tree: the leader opens it, catches it up with the log, takes snapshots, and has the segments
//! deleted that they make unnecessary.
//!
//! Kept here: the tree is opened only once an entry of this leadership is committed, so that a leader that the others
//! have left behind cannot close the tree for the one that leads.

use super::{Replica, State};
use crate::bug::Bug;
use crate::interface::{Action, Answer, Damage, Fault, LoadId};
use crate::leader::Toward;
use crate::replay::{Progress, Replay, foreign};
use crate::snapshots::Stage;
use crate::stored::{Advance, Loaded, Snapshot, TreeDamage, TreeFailure};
use crate::under_way::Lister;
use strongroom_proto::ids::Index;

/// How long to leave the stored tree alone after it failed, and after it was found damaged.
const RETRY_MS: u64 = 500;
const DAMAGED_MS: u64 = 5_000;
/// After how many opened pages everything not in use is closed.
const MAX_OPENED: usize = 8_192;

impl Replica {
    /// Does whatever there is to do next about the stored tree.
    pub(super) fn advance_snapshots(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        match leader.snapshots.stage() {
            &Stage::Closed(at) => {
                let may = at <= self.cx.now
                    && leader.committed() > Index::ZERO
                    && leader.is_landed()
                    && self.under_way.may_open();
                if may {
                    leader.snapshots.open();
                    self.under_way.open();
                    self.cx.out.push(Action::OpenTree);
                }
            }
            Stage::Opening => {}
            Stage::Replaying(_) => self.replay_on(),
            Stage::Open => {
                leader.paths.load(&mut self.cx, leader.snapshots.taken(), self.under_way.last_load());
                if self.cx.bugs.has(Bug::MergedTopsClosed) {
                    leader.trees.stored(Index(u64::MAX));
                    let keep = leader.in_use();
                    leader.trees.close_all_but(&keep);
                }
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
        if !matches!(leader.snapshots.stage(), Stage::Opening) {
            return;
        }
        let snapshot = match result {
            Ok(snapshot) => snapshot,
            Err(failure) => return self.tree_failed(failure),
        };
        let stored = snapshot.as_ref().map_or(Index::ZERO, |snapshot| snapshot.entry.index);
        if stored > leader.newest() {
            // Others have gone on, and this member does not know it.
            return self.step_down();
        }
        leader.snapshots.opened(&self.cx, stored);
        if leader.tail.base() <= stored {
            leader.snapshots.serve();
            leader.tail.advance(stored);
            leader.trees.stored(stored);
            self.log.stored(stored);
            self.forget_stored();
            self.want_unstored();
        } else {
            let replay = Replay::new(self.cx.settings.group.group, snapshot.as_ref(), self.log.position());
            leader.snapshots.begin_replay(replay);
            leader.has_come(self.cx.now, Toward::Opened);
        }
    }

    /// The stored tree cannot be used now.
    fn tree_failed(&mut self, failure: TreeFailure) {
        let State::Leader(leader) = &mut self.state else { return };
        let pause = match failure {
            TreeFailure::Fenced => return self.step_down(),
            TreeFailure::Unavailable => RETRY_MS,
            TreeFailure::Damaged(damage) if leader.snapshots.found_damaged() => {
                self.cx.out.push(Action::TreeDamaged(damage));
                DAMAGED_MS
            }
            TreeFailure::Damaged(_) => RETRY_MS,
        };
        leader.snapshots.put_off(self.cx.now.after(pause));
        if !leader.snapshots.are_open() {
            leader.snapshots.close(self.cx.now.after(pause));
            self.cx.out.push(Action::CloseTree);
        }
    }

    /// Reads what lies between the stored tree and the end of the log.
    fn replay_on(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        let Some(replay) = leader.snapshots.replay() else { return };
        let may_list = self.under_way.may_list();
        let progress = replay.advance(&mut self.cx, may_list, self.under_way.last_load());
        let (read, is_listing) = (replay.segments_read(), replay.is_listing());
        leader.has_come(self.cx.now, Toward::Read(read));
        if is_listing && may_list {
            self.under_way.list(Lister::Replay(leader.term()));
        }
        match progress {
            Progress::Waiting => {}
            Progress::Done(reached, segments) => {
                let (trees, tail) = *reached;
                // No entry was made since: only a leader that serves makes one. So the trees are those of the newest.
                leader.trees = trees.clone();
                leader.tail = tail.clone();
                leader.snapshots.replayed(&trees, segments);
                self.trouble.rereads_of_leader.forget();
                self.log.replayed(trees, tail);
                self.want_unstored();
            }
            Progress::Closed(record) => {
                let damage = foreign(&leader.trees, &record);
                self.tree_failed(TreeFailure::Damaged(damage));
            }
            Progress::Fault(fault) => self.replay_failed(fault),
        }
    }

    /// What a leader needs cannot be read. If a segment was read but what it changes does not fit, all of it is read
    /// once more, because everything else was already.
    fn replay_failed(&mut self, fault: Fault) {
        let State::Leader(leader) = &mut self.state else { return };
        let fruitless = leader.snapshots.replay().map_or(0, |replay| replay.fruitless());
        let again = match fault {
            Fault::Damaged { object, damage: Damage::Roots | Damage::Partitions, .. } => {
                self.trouble.rereads_of_leader.pause_ms(object)
            }
            _ => None,
        };
        match again.filter(|_| !self.cx.bugs.has(Bug::BadReadIsFault)) {
            Some(ms) => {
                leader.snapshots.close(self.cx.now.after(ms));
                self.cx.out.push(Action::CloseTree);
            }
            None => {
                let reads = fruitless.max(self.trouble.rereads_of_leader.times());
                self.fault_of_leader(fault, reads);
            }
        }
    }

    /// Takes a snapshot when one is due.
    fn take_snapshot(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        if !self.under_way.may_advance() {
            return;
        }
        let due = leader.snapshots.due(&self.cx, leader.tail.records());
        let Some((snapshot, trees)) = due else { return };
        let index = snapshot.entry.index;
        let changed = leader.tail.until(index).into_iter().collect();
        let stored = leader.snapshots.stored();
        let since = if self.cx.bugs.has(Bug::LeftUnstored) { Index(u64::MAX) } else { stored };
        let advance = Advance { snapshot: snapshot.clone(), trees: trees.to_store(since), changed };
        debug_assert!(index <= leader.committed(), "a snapshot would reach an entry that is not committed");
        self.under_way.advance(leader.term(), index);
        self.cx.out.push(Action::Advance(Box::new(advance)));
    }

    /// A snapshot was taken, or failed.
    pub(super) fn advanced(&mut self, result: Result<(), TreeFailure>) {
        let Some((term, index)) = self.under_way.advanced() else { return };
        let State::Leader(leader) = &mut self.state else { return };
        if leader.term() != term {
            return;
        }
        if let Err(failure) = result {
            return self.tree_failed(failure);
        }
        leader.snapshots.reached(&self.cx, index);
        leader.tail.advance(index);
        leader.trees.stored(index);
        self.log.stored(index);
        self.forget_stored();
    }

    /// What left, came or was merged under an earlier leader is to be stored soon.
    fn want_unstored(&mut self) {
        let State::Leader(leader) = &mut self.state else { return };
        if leader.trees.are_unstored() {
            let newest = leader.newest();
            leader.snapshots.want(newest);
        }
    }

    /// Closes what the stored tree holds.
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
        if let Some(before) = leader.snapshots.take_unnecessary(self.cx.now) {
            debug_assert!(
                before <= leader.snapshots.stored(),
                "more would be deleted than what ended before a durable snapshot"
            );
            self.under_way.collect();
            self.cx.out.push(Action::Collect { before });
        }
    }

    /// The paths to some records were read, or could not be.
    pub(super) fn loaded(&mut self, load: LoadId, result: Result<Loaded, TreeFailure>) {
        let State::Leader(leader) = &mut self.state else { return };
        let (loaded, failure) = match result {
            Ok(loaded) => (Some(loaded), None),
            Err(failure) => (None, Some(failure)),
        };
        let replays = leader.snapshots.replay();
        if replays.is_some_and(|replay| replay.loaded(self.cx.now, load, loaded.as_ref())) {
            let damage = loaded.iter().flat_map(|loaded| &loaded.damaged).map(|(_, damage)| damage.clone());
            let damage: Vec<TreeDamage> = damage.collect();
            damage.into_iter().for_each(|damage| self.cx.out.push(Action::TreeDamaged(damage)));
        } else if leader.paths.is_loading(load) {
            if let Some(loaded) = &loaded {
                leader.open(loaded);
            }
            let taken = leader.snapshots.taken();
            let (paths, trees) = (&mut leader.paths, &leader.trees);
            for ticket in paths.loaded(&mut self.cx, load, loaded.as_ref(), taken, trees) {
                self.clients.answer(&mut self.cx, ticket, Answer::Unavailable);
            }
        } else {
            // It belongs to an earlier leadership.
            return;
        }
        match failure {
            Some(TreeFailure::Fenced) => self.step_down(),
            Some(TreeFailure::Damaged(damage)) => self.cx.out.push(Action::TreeDamaged(damage)),
            Some(TreeFailure::Unavailable) | None => {}
        }
    }
}
