//! What cannot be read, or is wrong, and how long that stops this member.
//!
//! Kept here: one bad read is not a fault. What does not verify is read again, after longer and longer pauses, before
//! it counts as damage: a store may answer with an error page, or truncate what it sends, and be well a moment later.
//! And no fault is permanent: a member that has stopped looks again now and then.

use super::bug::Bug;
use super::catch_up::Walk;
use super::context::Context;
use super::interface::{Action, Fault, Millis};
use crate::segment::SegmentName;
use strongroom_proto::ids::Index;

/// How often a segment that does not verify is read again, and the first pause before that; each further pause is twice
/// as long. About six seconds in all.
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
    /// How long to wait before it is read again; `None` if that was done often enough.
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

    /// How often it has been read again.
    pub(super) const fn times(&self) -> u32 {
        self.times
    }

    /// The log is known to be well up to here.
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
    /// Whether only a leader needs what is wrong.
    in_replay: bool,
    /// How many reads in a row have shown it, if it is about what was read.
    reads: Option<u32>,
    rest_ms: u64,
    until: Millis,
    /// The reading of the log that will show whether it is over.
    walk: Option<Walk>,
}

/// What is wrong, and what may turn out to be.
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

    /// Whether the only thing to do is to look again.
    pub(super) fn stops(&self) -> bool {
        self.found.as_ref().is_some_and(|found| !found.in_replay)
    }

    /// Whether this member must not try to lead now.
    pub(super) fn rests(&self, now: Millis) -> bool {
        self.found.as_ref().is_some_and(|found| now < found.until)
    }

    /// Until when.
    pub(super) fn rests_until(&self) -> Millis {
        self.found.as_ref().map_or(Millis(0), |found| found.until)
    }

    /// This is wrong; `reads`: how many reads in a row have shown it, if reads have; `in_replay`: only a leader needs
    /// it. Each time in a row it is left alone for longer.
    pub(super) fn find(&mut self, cx: &mut Context, fault: Fault, in_replay: bool, reads: Option<u32>) {
        let (first, longest) = REST_MS;
        let before = self.found.take();
        let rest_ms =
            before.as_ref().map_or(0, |before| before.rest_ms).saturating_mul(2).clamp(first, longest);
        if before.is_none_or(|before| before.fault != fault) {
            cx.out.push(Action::Fault(fault));
        }
        let until = cx.now.after(rest_ms);
        self.found = Some(Found { fault, in_replay, reads, rest_ms, until, walk: None });
    }

    /// Takes note of the reading of the log that begins now.
    pub(super) const fn tried_with(&mut self, walk: Walk) {
        if let Some(found) = &mut self.found {
            found.walk = Some(walk);
        }
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self, cx: &Context) {
        for rereads in [&self.rereads, &self.rereads_of_leader] {
            assert!(rereads.times <= MAX_REREADS, "what does not verify is read forever");
        }
        let Some(found) = &self.found else { return };
        let longest = cx.now.after(REST_MS.1);
        assert!(
            found.until <= longest && found.rest_ms >= REST_MS.0,
            "a fault is permanent, or over at once"
        );
        let is_hasty = found.reads.is_some_and(|reads| reads < MAX_REREADS);
        assert!(!is_hasty || cx.bugs.has(Bug::BadReadIsFault), "one bad read is a fault");
    }

    /// Checks whether it is over, and says so. What only a leader needs is over if the leader `has_tree`, because then
    /// it has read everything, or if the tree has gone past it to `base`, so that nobody needs it any more. Anything
    /// else is over when a reading of the log that began since has ended, so that all of it is captured.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::context;
    use crate::interface::Damage;
    use crate::segment::tests::named;

    fn found(reads: Option<u32>) -> (Trouble, Context) {
        let (mut trouble, mut cx) = (Trouble::default(), context());
        let fault = Fault::Damaged { object: named(1), index: Index(1), damage: Damage::Roots };
        trouble.find(&mut cx, fault, false, reads);
        (trouble, cx)
    }

    #[test]
    fn a_fault_that_many_reads_have_shown_is_one() {
        let (trouble, cx) = found(Some(MAX_REREADS));
        trouble.assert_invariants(&cx);
    }

    #[test]
    #[should_panic(expected = "one bad read is a fault")]
    fn a_fault_after_one_bad_read_is_noticed() {
        let (trouble, cx) = found(Some(1));
        trouble.assert_invariants(&cx);
    }

    #[test]
    #[should_panic(expected = "a fault is permanent")]
    fn a_permanent_fault_is_noticed() {
        let (mut trouble, cx) = found(None);
        trouble.found.as_mut().expect("it is found").until = Millis(u64::MAX);
        trouble.assert_invariants(&cx);
    }

    #[test]
    #[should_panic(expected = "is read forever")]
    fn reading_forever_is_noticed() {
        let mut trouble = Trouble::default();
        trouble.rereads.times = MAX_REREADS + 1;
        trouble.assert_invariants(&context());
    }
}
