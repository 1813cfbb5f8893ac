//! What cannot be read as it must be, and until when that stops this member.
//!
//! Kept here: one bad read is no fault. What does not verify is read again, after ever longer pauses, before it is called
//! damage: a store may answer with an error page, or cut what it sends, and be well a moment later. And no fault is for
//! good: whoever has stopped looks again now and then.

use super::catch_up::Walk;
use super::context::Context;
use super::interface::{Action, Fault, Millis};
use crate::segment::SegmentName;
use strongroom_proto::ids::Index;

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
            self.forget();
        }
    }

    /// All of it reads well.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// What is wrong, until it is found to be over.
struct Found {
    fault: Fault,
    /// Whether only who leads needs what is wrong.
    in_replay: bool,
    rest_ms: u64,
    until: Millis,
    /// The reading of the log that will show whether it is over.
    walk: Option<Walk>,
}

/// What is wrong, and what may be.
#[derive(Default)]
pub(super) struct Trouble {
    found: Option<Found>,
    /// On the way to the end of the log.
    pub(super) rereads: Rereads,
    /// Where a leader reads what lies between the stored tree and the end of the log.
    pub(super) rereads_of_leader: Rereads,
}

impl Trouble {
    /// What is wrong.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.found.as_ref().map(|found| found.fault)
    }

    /// Whether nothing can be done but to look again.
    pub(super) fn stops(&self) -> bool {
        self.found.as_ref().is_some_and(|found| !found.in_replay)
    }

    /// Whether this member must not try to lead now.
    pub(super) fn rests(&self, now: Millis) -> bool {
        self.found.as_ref().is_some_and(|found| now < found.until)
    }

    /// This is wrong; `in_replay`: only who leads needs it. Each time in a row it is left alone for longer.
    pub(super) fn find(&mut self, cx: &mut Context, fault: Fault, in_replay: bool) {
        let (first, longest) = REST_MS;
        let before = self.found.take();
        let rest_ms =
            before.as_ref().map_or(0, |before| before.rest_ms).saturating_mul(2).clamp(first, longest);
        if before.is_none_or(|before| before.fault != fault) {
            cx.out.push(Action::Fault(fault));
        }
        let until = cx.now.after(rest_ms);
        self.found = Some(Found { fault, in_replay, rest_ms, until, walk: None });
    }

    /// Takes note of the reading of the log that begins now.
    pub(super) const fn tried_with(&mut self, walk: Walk) {
        if let Some(found) = &mut self.found {
            found.walk = Some(walk);
        }
    }

    /// Looks whether it is over, and says so. What only a leader needs is, where it `has_tree`: it has read it all; or
    /// where the tree has gone beyond it to `base`, so that nobody needs it any more. Anything else is where a reading of
    /// the log that began since has ended, so that all of it is captured.
    pub(super) fn look(
        &mut self,
        cx: &mut Context,
        has_tree: bool,
        base: Index,
        has_captured_after: impl FnOnce(Walk) -> bool,
    ) {
        let is_over = |found: &mut Found| {
            if found.in_replay {
                has_tree || found.fault.index().is_some_and(|index| index <= base)
            } else {
                found.walk.is_some_and(has_captured_after)
            }
        };
        if let Some(over) = self.found.take_if(is_over) {
            cx.out.push(Action::Mended(over.fault));
        }
    }
}
