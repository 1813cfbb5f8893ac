//! What cannot be read as it must be.
//!
//! Kept here: one bad read is no fault. What does not verify is read again, after ever longer pauses, before it is called
//! damage: a store may answer with an error page, or cut what it sends, and be well a moment later. And no fault is for
//! good: whoever has stopped looks again now and then, from the start, and goes on when all reads well. Who could not
//! read what a leader needs captures like any other member meanwhile, and does not lead.

use super::bug::Bug;
use super::catch_up::Walk;
use super::interface::{Action, Damage, Fault, Millis};
use super::{Replica, State};
use crate::segment::SegmentName;

/// How often a segment that does not verify is read again, and the first pause before that; each is twice as long. About
/// six seconds in all.
const MAX_REREADS: u32 = 7;
const REREAD_MS: u64 = 50;
/// First and longest pause before a member that has stopped looks again.
const REST_MS: (u64, u64) = (10_000, 120_000);

/// How often in a row a segment did not verify.
#[derive(Default)]
pub(super) struct Rereads {
    of: Option<SegmentName>,
    times: u32,
}

impl Rereads {
    /// How long to wait before it is read again; `None` where that was done often enough.
    pub(super) fn pause_ms(&mut self, object: SegmentName) -> Option<u64> {
        if self.of != Some(object) {
            *self = Self { of: Some(object), times: 0 };
        }
        if self.times >= MAX_REREADS {
            return None;
        }
        self.times += 1;
        Some(REREAD_MS << (self.times - 1))
    }

    /// Something is known to be well up to here.
    pub(super) fn well_until(&mut self, name: SegmentName) {
        if self.of.is_some_and(|of| of.first <= name.first) {
            *self = Self::default();
        }
    }
}

/// What is wrong, until it is found to be over.
pub(super) struct Trouble {
    pub(super) fault: Fault,
    /// Whether only who leads needs what is wrong.
    in_replay: bool,
    rest_ms: u64,
    until: Millis,
    /// The reading of the log that will show whether it is over.
    walk: Option<Walk>,
}

impl Trouble {
    /// Whether nothing can be done but to look again.
    pub(super) const fn stops(&self) -> bool {
        !self.in_replay
    }
}

impl Replica {
    /// A segment in the store does not verify. Reads it again later, or stops.
    pub(super) fn unverified(&mut self, object: SegmentName, fault: Fault) {
        match self.rereads.pause_ms(object) {
            Some(ms) if !self.bugs.has(Bug::BadReadIsFault) => self.catch_up.pause_for(self.now, ms),
            _ => self.fault(fault),
        }
    }

    /// The same of one in which the HSM found what no HSM made: what lies in memory is forgotten.
    pub(super) fn unproven(&mut self, object: SegmentName) {
        let fault = Fault::Damaged { object, index: object.first, damage: Damage::NotAuthentic };
        match self.rereads.pause_ms(object) {
            Some(ms) if !self.bugs.has(Bug::BadReadIsFault) => {
                self.track(self.capture.captured());
                self.catch_up.pause_for(self.now, ms);
            }
            _ => self.fault(fault),
        }
    }

    /// Stops, and looks again after a while.
    pub(super) fn fault(&mut self, fault: Fault) {
        self.trouble_with(fault, false);
        if matches!(self.state, State::Leader(_)) {
            self.step_down();
        }
        self.clients.give_up(&mut self.out);
        self.out.forget_calls();
        self.forget_tracking();
        self.seek = None;
        self.leader = None;
        self.state = State::Faulted;
    }

    /// Cannot read what a leader needs: leaves that to others for a while.
    pub(super) fn fault_of_leader(&mut self, fault: Fault) {
        self.trouble_with(fault, true);
        self.step_down();
    }

    fn trouble_with(&mut self, fault: Fault, in_replay: bool) {
        let (first, longest) = REST_MS;
        let before = self.trouble.take();
        let rest_ms =
            before.as_ref().map_or(0, |before| before.rest_ms).saturating_mul(2).clamp(first, longest);
        if before.is_none_or(|before| before.fault != fault) {
            self.out.push(Action::Fault(fault));
        }
        let until = self.now.after(rest_ms);
        self.trouble = Some(Trouble { fault, in_replay, rest_ms, until, walk: None });
    }

    /// Whether this member must not try to lead now.
    pub(super) fn rests(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| self.now < trouble.until)
    }

    /// Takes note of the reading of the log that begins now.
    pub(super) const fn tried_with(&mut self, walk: Walk) {
        if let Some(trouble) = &mut self.trouble {
            trouble.walk = Some(walk);
        }
    }

    /// Begins anew where it is time to, and says so when what was wrong is over.
    pub(super) fn look_after_trouble(&mut self) {
        let Some(trouble) = &self.trouble else { return };
        if matches!(self.state, State::Faulted) {
            if self.now >= trouble.until && !self.bugs.has(Bug::FaultForGood) {
                self.state = State::Starting(Some(self.now));
            }
            return;
        }
        let reads_well = if trouble.in_replay {
            // Whoever leads and has the tree has read it all, and where the tree has gone on nobody needs it any more.
            let has_tree = matches!(&self.state, State::Leader(leader) if leader.snapshots.are_open());
            has_tree || trouble.fault.index().is_some_and(|index| index <= self.log.tail().base())
        } else {
            let at_end = self.capture.is_done() && self.capture.captured() == self.log.position();
            at_end && trouble.walk.is_some_and(|walk| self.catch_up.has_done(walk))
        };
        if reads_well {
            self.out.push(Action::Mended(trouble.fault));
            self.trouble = None;
        }
    }
}
