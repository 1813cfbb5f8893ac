//! What cannot be read, or is wrong: it is read again, or becomes a fault, which stops this member for a while.
//!
//! Kept here: a member that cannot read what a leader needs still captures like any other, and does not lead; a member
//! that has stopped begins again from the start.

use super::{Replica, State};
use crate::bug::Bug;
use crate::interface::{Damage, Fault};
use crate::segment::SegmentName;

impl Replica {
    /// A segment in the store does not verify. Reads it again later, or stops.
    pub(super) fn unverified(&mut self, object: SegmentName, fault: Fault) {
        match self.trouble.rereads.pause_ms(object) {
            Some(ms) if !self.cx.bugs.has(Bug::BadReadIsFault) => self.catch_up.pause_for(self.cx.now, ms),
            _ => self.unreadable(fault, self.trouble.rereads.times()),
        }
    }

    /// The same for a segment in which the HSM found an entry that no HSM made; what was read of it is forgotten.
    pub(super) fn unproven(&mut self, object: SegmentName) {
        let fault = Fault::Damaged { object, index: object.first, damage: Damage::NotAuthentic };
        match self.trouble.rereads.pause_ms(object) {
            Some(ms) if !self.cx.bugs.has(Bug::BadReadIsFault) => {
                self.track(self.capture.captured());
                self.catch_up.pause_for(self.cx.now, ms);
            }
            _ => self.unreadable(fault, self.trouble.rereads.times()),
        }
    }

    /// Stops because of what this many reads in a row have shown, and looks again after a while.
    pub(super) fn unreadable(&mut self, fault: Fault, reads: u32) {
        self.stop(fault, Some(reads));
    }

    /// The same, because of what the HSM says.
    pub(super) fn fault(&mut self, fault: Fault) {
        self.stop(fault, None);
    }

    fn stop(&mut self, fault: Fault, reads: Option<u32>) {
        self.trouble.find(&mut self.cx, fault, false, reads);
        if matches!(self.state, State::Leader(_)) {
            self.step_down();
        }
        self.clients.give_up(&mut self.cx);
        self.cx.out.forget_calls();
        self.forget_tracking();
        self.search.end();
        self.following.forget_leader();
        self.state = State::Faulted;
    }

    /// Cannot read what a leader needs: leaves leading to others for a while.
    pub(super) fn fault_of_leader(&mut self, fault: Fault, reads: u32) {
        self.trouble.find(&mut self.cx, fault, true, Some(reads));
        self.step_down();
    }

    /// Begins again if it is time to, and says so when what was wrong is over.
    pub(super) fn look_after_trouble(&mut self) {
        if matches!(self.state, State::Faulted) {
            if !self.trouble.rests(self.cx.now) && !self.cx.bugs.has(Bug::FaultForGood) {
                self.state = State::Starting(Some(self.cx.now));
            }
            return;
        }
        let has_tree = matches!(&self.state, State::Leader(leader) if leader.snapshots.are_open());
        let (log, capture, catch_up) = (&self.log, &self.capture, &self.catch_up);
        let has_captured_after = |walk| {
            let at_end = capture.is_done() && capture.captured() == log.position();
            at_end && catch_up.has_done(walk)
        };
        self.trouble.look(&mut self.cx, has_tree, log.tail().base(), has_captured_after);
    }
}
