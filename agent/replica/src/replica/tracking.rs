//! Finding the end of the log: from the entry that the HSM has captured, or, if that has been deleted along with
//! everything before the stored tree, from the tree's own entry, to which the HSM jumps.
//!
//! Kept here: nothing counts as the end of the log unless the HSM's captured entry leads to it, or a `Committed`
//! statement names it; the HSM checks both again.

use super::{Replica, State};
use crate::ask::{self, Unanswered};
use crate::bug::Bug;
use crate::catch_up::Next;
use crate::interface::{Action, Damage, Fault, ReadOutcome, Unavailable};
use crate::log::{Object, Origin};
use crate::outbox::Call;
use crate::search::Sought;
use crate::segment::{Segment, SegmentName};
use crate::shared::Shared;
use crate::stored::{Snapshot, TreeFailure};
use crate::under_way::{Lister, Read, Why};
use std::collections::BTreeSet;
use strongroom_proto::hsm::RefusalClass;
use strongroom_proto::ids::{EntryHash, Index};
use strongroom_proto::statement::Captured;

impl Replica {
    /// Reads on in the store, as far as it can.
    pub(super) fn follow_log(&mut self) {
        loop {
            self.take_ahead();
            if matches!(self.state, State::Faulted) {
                return;
            }
            // Before the captured entry is found, there is nothing to continue from.
            let next = if !self.search.is_on() { self.log.next_name() } else { None };
            match self.catch_up.next(self.cx.now, next, self.under_way.may_list()) {
                Next::Wait => return,
                Next::List => {
                    let from = self.list_from();
                    self.under_way.list(Lister::End { from, known: self.log.tip().map(|tip| tip.segment) });
                    self.cx.out.push(Action::List { from });
                }
                Next::Beyond => return self.ask_snapshot(Why::Beyond),
                Next::Read(names) => {
                    names.into_iter().for_each(|name| self.cx.out.push(Action::Read { name }))
                }
                Next::Apply(object, _) if self.is_own_flight(object) => {}
                Next::Apply(object, bytes) => {
                    if matches!(self.state, State::Leader(_)) {
                        // Somebody else has extended the log.
                        self.step_down();
                    }
                    let damaged = |(index, damage)| Fault::Damaged { object, index, damage };
                    let bytes = Shared::from(bytes);
                    let segment = Segment::decode(&bytes);
                    let segment = segment.map_err(|bad| damaged((object.first, Damage::Segment(bad))));
                    let taken = segment.and_then(|segment| self.take(object, &segment, bytes, None));
                    match taken {
                        Ok(()) => self.standings.shown(self.log.position().0),
                        Err(fault) => return self.unverified(object, fault),
                    }
                }
                Next::End => {
                    if self.capture.captured().0 > self.log.position().0 {
                        return self.start_over();
                    }
                }
            }
            if matches!(self.state, State::Faulted) {
                return;
            }
        }
    }

    fn is_own_flight(&mut self, name: SegmentName) -> bool {
        if let State::Leader(leader) = &mut self.state { leader.flights().contains(name) } else { false }
    }

    /// The lowest first index to list.
    pub(super) fn list_from(&self) -> Index {
        self.search.list_from().unwrap_or_else(|| self.log.list_from())
    }

    /// Handles a listing of the end of the log.
    pub(super) fn listed_end(
        &mut self,
        from: Index,
        known: Option<SegmentName>,
        result: Result<Vec<SegmentName>, Unavailable>,
    ) {
        if !self.catch_up.check() {
            return;
        }
        let Ok(names) = result else { return self.catch_up.pause(self.cx.now) };
        let ours = |name: &SegmentName| name.group == self.cx.settings.group.group && name.first >= from;
        let names: BTreeSet<SegmentName> = names.into_iter().filter(ours).collect();
        let Err(names) = self.search.listed(names) else { return self.seek_on() };
        match known {
            Some(known) if !names.contains(&known) => self.ask_snapshot(Why::Gone(names)),
            _ => self.catch_up.listed(names),
        }
    }

    /// Reads the next segment that may end with the captured entry.
    fn seek_on(&mut self) {
        match self.search.next() {
            Some(name) => self.cx.out.push(Action::Read { name }),
            None => self.ask_snapshot(Why::NotFound),
        }
    }

    /// Handles a segment, if the search was reading it. Returns whether it was.
    pub(super) fn sought(&mut self, name: SegmentName, result: &ReadOutcome) -> bool {
        match self.search.read(name, result) {
            Sought::Nothing => return false,
            Sought::Found { segment, bytes, names } => {
                self.log.begin(&segment, bytes.to_vec().into());
                self.catch_up.listed(names);
            }
            Sought::Another => self.seek_on(),
            Sought::Unavailable => self.catch_up.pause(self.cx.now),
        }
        true
    }

    /// Asks what the stored tree reaches, to learn what a listing means.
    pub(super) fn ask_snapshot(&mut self, why: Why) {
        if self.under_way.ask_snapshot(why) {
            self.cx.out.push(Action::ReadSnapshot);
        }
    }

    /// Handles the answer about what the stored tree reaches.
    pub(super) fn snapshot_read(&mut self, result: Result<Option<Snapshot>, TreeFailure>) {
        let why = match self.under_way.snapshot_read() {
            Read::Nothing => return,
            Read::Again(why) => return self.ask_snapshot(why),
            Read::For(why) => why,
        };
        if matches!(why, Why::Ended) && result.is_err() {
            return self.rest_at_end();
        }
        let Ok(snapshot) = result else { return self.catch_up.pause(self.cx.now) };
        let end = snapshot.as_ref().map(|snapshot| snapshot.entry.hash());
        let stored = snapshot.as_ref().map_or(Index::ZERO, |snapshot| snapshot.entry.index);
        let known = self.capture.captured().0.max(self.log.position().0);
        if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.entry.index > known) {
            if matches!(self.state, State::Leader(_)) {
                self.step_down();
            }
            return self.cx.out.ask(Call::Jump, ask::Jump(snapshot.entry, snapshot.committed));
        }
        match why {
            Why::NotFound => self.missed(self.search.lacking()),
            Why::Beyond => self.catch_up.checked(),
            Why::Gone(names) => self.restore(&names, stored),
            Why::Ended => self.ended(end),
        }
    }

    /// What is stored of a group that has ended, by the hash of its entry.
    fn ended(&mut self, stored: Option<EntryHash>) {
        let is_stored = stored == Some(self.log.position().1);
        match &mut self.state {
            State::Candidate(_) if is_stored => self.rest_at_end(),
            State::Candidate(candidate) => candidate.want(),
            State::Starting(_) | State::Witness | State::Leader(_) | State::Faulted => {}
        }
    }

    /// There is nothing to lead for, or it is not known: waits as long as a time-out can be.
    fn rest_at_end(&mut self) {
        if matches!(self.state, State::Candidate(_)) {
            self.become_witness();
            self.turn.rest(self.cx.now, &self.cx.settings.election_timeout_ms);
        }
    }

    /// Nothing in the store continues from what the HSM has captured.
    fn missed(&mut self, object: Option<SegmentName>) {
        if self.search.missed() {
            let fault = self.search.fault(self.capture.captured(), object);
            return self.unreadable(fault, self.search.fruitless());
        }
        self.catch_up.pause(self.cx.now);
    }

    /// The place of a segment that the store had is taken by another one. If it was deleted meanwhile, the snapshot
    /// will show that; if not, the log was rewritten.
    pub(super) fn restore_lost(&mut self) {
        if self.search.missed() {
            let (index, hash) = self.capture.captured();
            return self.unreadable(Fault::Forked { index, hash }, self.search.fruitless());
        }
        self.catch_up.pause(self.cx.now);
        self.catch_up.want_any();
    }

    /// Handles the reply to a jump.
    pub(super) fn jump_reply(&mut self, reply: Result<Captured, Unanswered>) {
        match reply {
            Ok(statement) => {
                self.search.has_jumped();
                self.track((statement.index, statement.hash));
                self.capture.stated(statement);
                self.state_captured();
            }
            // The HSM is further along than it said, or was replaced: asks it.
            Err(Unanswered::Lost) => self.start_over(),
            Err(Unanswered::Refused(refusal)) if refusal.class() == RefusalClass::StartAnew => {
                self.start_over()
            }
            // The HSM does not believe this snapshot: the next one that a leader stores may do better.
            Err(_) => self.catch_up.pause(self.cx.now),
        }
    }

    /// The store lacks the last segment that it had: writes back the ones that are still in memory and still needed.
    /// Those that ended before the stored tree may have been deleted on purpose.
    fn restore(&mut self, names: &BTreeSet<SegmentName>, stored: Index) {
        let (captured, hash) = self.capture.captured();
        let unproven = self.cx.bugs.has(Bug::ForgeryRestored);
        // What came by push is written to the store only once the HSM has found it authentic.
        let proven = |object: &Object| match object.origin {
            Origin::Store => true,
            Origin::Pushed { whole } => whole && object.name.first <= captured || unproven,
        };
        let pushed = |object: &Object| object.origin != Origin::Store && object.name.first > captured;
        if self.log.recent().back().is_some_and(pushed) && !unproven {
            // Only a peer said that it was in the store.
            return self.track((captured, hash));
        }
        self.catch_up.pause(self.cx.now);
        if !self.settling.is_empty() {
            return;
        }
        let last = self.log.tip().map(|tip| tip.segment);
        let needed = |name: SegmentName| name.first > stored || Some(name) == last;
        let recent = self.log.recent().iter();
        let gone = recent.filter(|o| needed(o.name) && !names.contains(&o.name) && proven(o));
        if !self.settling.restore(gone.cloned().collect()) {
            self.missed(last);
        }
    }
}
