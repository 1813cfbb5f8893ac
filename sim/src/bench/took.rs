//! What each step of the core took, round by round, and the middle of it.

use super::instructions::Count;
use super::numbers::percentile;
use super::report::{Core, Phases};
use std::collections::BTreeMap;
use std::time::Instant;

/// What each step took for one request of its batch, in each round: in microseconds and, if there is a counter, in
/// instructions.
#[derive(Default)]
pub(super) struct Took<'a> {
    counter: Option<Count<'a>>,
    us: Rounds,
    instructions: Rounds,
}

type Rounds = BTreeMap<&'static str, Vec<f64>>;

impl<'a> Took<'a> {
    pub(super) fn counting(counter: Option<Count<'a>>) -> Self {
        Self { counter, ..Self::default() }
    }

    /// Not inlined, so that a profiler can be told to look at nothing else.
    #[inline(never)]
    pub(super) fn time<T>(&mut self, step: &'static str, of: usize, work: impl FnOnce() -> T) -> T {
        let mut count = || self.counter.as_mut().and_then(|counter| counter());
        let (before, begun) = (count(), Instant::now());
        let done = work();
        let (took, after) = (begun.elapsed(), count());
        self.us.entry(step).or_default().push(took.as_secs_f64() * 1e6 / of as f64);
        if let (Some(before), Some(after)) = (before, after) {
            let counted = after.saturating_sub(before) as f64;
            self.instructions.entry(step).or_default().push(counted / of as f64);
        }
        done
    }

    pub(super) fn summary(self, records: u64, batch: usize) -> Core {
        let us = phases(self.us).unwrap_or_default();
        Core { records, batch, us, instructions: phases(self.instructions) }
    }
}

/// The middle of all rounds; nothing if some step was never counted.
fn phases(mut rounds: Rounds) -> Option<Phases> {
    let mut middle = |step| rounds.get_mut(step).and_then(|took| percentile(took, 50.0));
    let (handshake, recover1) = (middle("handshake")?, middle("recover1")?);
    let confirm = middle("nonce")? + middle("fresh")? + middle("confirm")?;
    let (recover2, recover3) = (middle("recover2")?, middle("recover3")?);
    let (capture, commit) = (middle("capture")?, middle("commit")?);
    // Two entries for a recovery: those of Recover2 and Recover3.
    let recovery = handshake + recover1 + confirm + recover2 + recover3 + 2.0 * (capture + commit);
    let (curve_handshake, curve_recover2) = (middle("curve of handshake")?, middle("curve of recover2")?);
    Some(Phases {
        handshake,
        recover1,
        confirm,
        recover2,
        recover3,
        capture,
        commit,
        recovery,
        curve_handshake,
        curve_recover2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [&str; 11] = [
        "handshake",
        "recover1",
        "nonce",
        "fresh",
        "confirm",
        "recover2",
        "recover3",
        "capture",
        "commit",
        "curve of handshake",
        "curve of recover2",
    ];

    #[test]
    fn what_is_counted_is_what_one_request_of_a_batch_took_in_the_middle_round() {
        let mut executed = 0;
        let mut step_of = 0;
        // Each reading comes after so many more instructions: before a step none, after it as many as are due.
        let mut counter = || {
            let due = [0, 400, 0, 100, 0, 900][step_of % 6];
            step_of += 1;
            executed += due;
            Some(executed)
        };
        let mut took = Took::counting(Some(&mut counter));
        for step in STEPS {
            (0..3).for_each(|_| took.time(step, 4, || ()));
        }
        let core = took.summary(1_000, 4);
        let counted = core.instructions.expect("there is a counter");
        // The middle of 100, 25 and 225.
        assert_eq!((counted.handshake, counted.confirm, counted.recovery), (100.0, 300.0, 1_100.0));
        assert_eq!(counted.shares(), [Some(1.0), Some(1.0), Some(200.0 / 1_100.0)]);
        assert!(core.us.recovery > 0.0 && core.us.recovery < 1e6);
    }

    #[test]
    fn a_step_that_was_never_counted_leaves_no_sum_that_lacks_it() {
        let mut readings = 0;
        let mut counter = || {
            readings += 1;
            (readings <= 2).then_some(readings)
        };
        let mut took = Took::counting(Some(&mut counter));
        STEPS.into_iter().for_each(|step| took.time(step, 1, || ()));
        let core = took.summary(1_000, 1);
        assert_eq!(core.instructions, None);
        assert!(core.us.recovery > 0.0);
        let mut uncounted = Took::default();
        STEPS.into_iter().for_each(|step| uncounted.time(step, 1, || ()));
        assert_eq!(uncounted.summary(1_000, 1).instructions, None);
    }
}
