//! Finding the end of the log: from the entry that the HSM has captured, or, where that has been deleted with what
//! came before the stored tree, from the tree's own entry, to which the HSM jumps.
//!
//! Kept here: nothing is taken for the end of the log that the HSM's captured entry does not lead to, or that a
//! `Committed` statement does not name; the HSM checks both again.

use super::ask::{self, Unanswered};
use super::bug::Bug;
use super::capture::Capture;
use super::interface::{Action, Damage, Fault, ReadOutcome, Unavailable};
use super::log::{Log, Object, Origin, first_of_segment};
use super::outbox::Call;
use super::under_way::{Read, Why};
use super::{Replica, State};
use crate::segment::{BadSegment, Segment, SegmentName};
use crate::stored::{Snapshot, TreeFailure};
use std::collections::BTreeSet;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::RefusalClass;
use strongroom_proto::ids::{EntryHash, Index};
use strongroom_proto::statement::Captured;

/// How often in a row a listing may lack what the HSM has captured before the store is taken to have lost it. With
/// the pauses between, about ten seconds.
const MAX_FRUITLESS: u32 = 8;

/// Looking for the segment that ends with the captured entry.
pub(super) struct Seek {
    sought: (Index, EntryHash),
    /// Segments that may be it, the likeliest last; empty until they are listed.
    candidates: Vec<SegmentName>,
    /// All that was listed.
    names: BTreeSet<SegmentName>,
    /// The likeliest of those that are damaged.
    damaged: Option<(SegmentName, BadSegment)>,
    /// What to look for if none of them is it.
    lacking: Option<SegmentName>,
}

impl Replica {
    /// Begins to read the log at what the HSM has captured.
    pub(super) fn track(&mut self, captured: (Index, EntryHash)) {
        self.capture = Capture::new(captured);
        self.log = Log::new(self.settings.realm, self.settings.group.group);
        let seek = |sought| Seek {
            sought,
            candidates: Vec::new(),
            names: BTreeSet::new(),
            damaged: None,
            lacking: None,
        };
        self.seek = Some(captured).filter(|(index, _)| *index > Index::ZERO).map(seek);
        self.forget_tracking();
        let walk = self.catch_up.want();
        self.tried_with(walk);
    }

    /// Whether the entry that is looked for is older than this one.
    pub(super) fn seeks_before(&self, index: Index) -> bool {
        self.seek.as_ref().is_some_and(|seek| seek.sought.0 < index)
    }

    /// Gives up what was being found out.
    pub(super) fn forget_tracking(&mut self) {
        self.under_way.forget_asking();
        self.ahead.clear();
        self.catch_up.start_over();
    }

    /// The least first index to list.
    pub(super) fn list_from(&self) -> Index {
        self.seek.as_ref().map_or_else(|| self.log.list_from(), |seek| first_of_segment(seek.sought.0))
    }

    /// Takes a listing of the end of the log.
    pub(super) fn listed_end(
        &mut self,
        from: Index,
        known: Option<SegmentName>,
        result: Result<Vec<SegmentName>, Unavailable>,
    ) {
        if !self.catch_up.check() {
            return;
        }
        let Ok(names) = result else { return self.catch_up.pause(self.now) };
        let ours = |name: &SegmentName| name.group == self.settings.group.group && name.first >= from;
        let names: BTreeSet<SegmentName> = names.into_iter().filter(ours).collect();
        if let Some(seek) = &mut self.seek {
            seek.candidates = names.iter().copied().filter(|name| name.first <= seek.sought.0).collect();
            seek.names = names;
            seek.damaged = None;
            seek.lacking = None;
            return self.seek_on();
        }
        match known {
            Some(known) if !names.contains(&known) => self.ask_snapshot(Why::Gone(names)),
            _ => self.catch_up.listed(names),
        }
    }

    /// Reads the next segment that may end with the captured entry.
    fn seek_on(&mut self) {
        let Some(seek) = &mut self.seek else { return };
        match seek.candidates.last() {
            Some(name) => self.out.push(Action::Read { name: *name }),
            None => self.ask_snapshot(Why::NotFound),
        }
    }

    /// Takes a segment that is being looked at. Returns whether it was.
    pub(super) fn sought(&mut self, name: SegmentName, result: &ReadOutcome) -> bool {
        let Some(seek) = &mut self.seek else { return false };
        if seek.candidates.pop_if(|candidate| *candidate == name).is_none() {
            return false;
        }
        match result {
            ReadOutcome::Found(bytes) => {
                let ends_there = |segment: &Segment| {
                    let last = segment.last();
                    segment.name() == name && (last.index, last.hash()) == seek.sought
                };
                // A segment that is damaged, or off the chain, is not the one; if it should have been, it is missed.
                let segment = Segment::decode(bytes);
                if let Err(damage) = &segment {
                    seek.damaged.get_or_insert((name, *damage));
                }
                let after = |last: &Entry| {
                    let first = last.index.next().filter(|first| *first <= seek.sought.0)?;
                    Some(SegmentName::new(name.group, first, &last.hash()))
                };
                let lacking = segment.as_ref().ok().and_then(|segment| after(segment.last()));
                seek.lacking = seek.lacking.or(lacking);
                if let Some(segment) = segment.ok().filter(ends_there) {
                    let names = std::mem::take(&mut seek.names);
                    self.log.begin(&segment, bytes);
                    self.seek = None;
                    self.fruitless = 0;
                    self.catch_up.listed(names);
                } else {
                    self.seek_on();
                }
            }
            ReadOutcome::Absent => self.seek_on(),
            ReadOutcome::Unavailable => self.catch_up.pause(self.now),
        }
        true
    }

    /// Asks what the stored tree reaches, to find out what a listing means.
    pub(super) fn ask_snapshot(&mut self, why: Why) {
        if self.under_way.ask_snapshot(why) {
            self.out.push(Action::ReadSnapshot);
        }
    }

    /// Takes what the stored tree reaches.
    pub(super) fn snapshot_read(&mut self, result: Result<Option<Snapshot>, TreeFailure>) {
        let why = match self.under_way.snapshot_read() {
            Read::Nothing => return,
            Read::Again(why) => return self.ask_snapshot(why),
            Read::For(why) => why,
        };
        let Ok(snapshot) = result else { return self.catch_up.pause(self.now) };
        let stored = snapshot.as_ref().map_or(Index::ZERO, |snapshot| snapshot.entry.index);
        let known = self.capture.captured().0.max(self.log.position().0);
        if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.entry.index > known) {
            if matches!(self.state, State::Leader(_)) {
                self.step_down();
            }
            return self.out.ask(Call::Jump, ask::Jump(snapshot.entry, snapshot.committed));
        }
        match why {
            Why::NotFound => {
                let lacking = self.seek.as_ref().and_then(|seek| seek.lacking);
                self.missed(lacking);
            }
            Why::Beyond => self.catch_up.checked(),
            Why::Gone(names) => self.restore(&names, stored),
        }
    }

    /// Nothing in the store leads on from what the HSM has captured.
    fn missed(&mut self, object: Option<SegmentName>) {
        self.fruitless += 1;
        let (index, hash) = self.capture.captured();
        if self.fruitless >= MAX_FRUITLESS {
            let damaged = self.seek.as_ref().and_then(|seek| seek.damaged);
            return self.fault(match damaged {
                Some((object, damage)) => {
                    Fault::Damaged { object, index: object.first, damage: Damage::Segment(damage) }
                }
                None => Fault::Missing { index, hash, object },
            });
        }
        self.catch_up.pause(self.now);
    }

    /// The place of a segment that the store had is taken by another one. Where it was deleted meanwhile, the snapshot
    /// will tell; where it was not, the log was rewritten.
    pub(super) fn restore_lost(&mut self) {
        self.fruitless += 1;
        let (index, hash) = self.capture.captured();
        if self.fruitless >= MAX_FRUITLESS {
            return self.fault(Fault::Forked { index, hash });
        }
        self.catch_up.pause(self.now);
        self.catch_up.want_any();
    }

    /// Takes the reply to a jump.
    pub(super) fn jump_reply(&mut self, reply: Result<Captured, Unanswered>) {
        match reply {
            Ok(statement) => {
                self.fruitless = 0;
                self.track((statement.index, statement.hash));
                self.capture.stated(statement);
                self.state_captured();
            }
            // The HSM is further on than it said, or was exchanged: asks it.
            Err(Unanswered::Lost) => self.start_over(),
            Err(Unanswered::Refused(refusal)) if refusal.class() == RefusalClass::StartAnew => {
                self.start_over()
            }
            // The snapshot is not one that this HSM believes: whoever stores the tree must do better.
            Err(_) => self.catch_up.pause(self.now),
        }
    }

    /// The store lacks the last segment that it had: gives it those that are still in memory and still needed. What
    /// ended before the stored tree may have been deleted on purpose.
    fn restore(&mut self, names: &BTreeSet<SegmentName>, stored: Index) {
        let (captured, hash) = self.capture.captured();
        let unproven = self.bugs.has(Bug::ForgeryRestored);
        // What came by push is given to the store only once the HSM has found it authentic.
        let proven = |object: &Object| match object.origin {
            Origin::Store => true,
            Origin::Pushed { whole } => whole && object.name.first <= captured || unproven,
        };
        let pushed = |object: &Object| object.origin != Origin::Store && object.name.first > captured;
        if self.log.recent().back().is_some_and(pushed) && !unproven {
            // Only a peer said that it was there.
            return self.track((captured, hash));
        }
        self.catch_up.pause(self.now);
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
