//! A hostile host gets nothing from the cores as they are, and something from cores with a rule left out.

use strongroom_hsm::Bug;
use strongroom_sim::hostile::{Trace, Violation, hunt_planted, search};

/// Steps in which each planted bug must be found, for each of the fixed seeds.
const BUDGET: u64 = 8_000;

fn broken(bug: Bug) -> (Trace, Violation) {
    search(1, BUDGET, Some(bug)).broken.expect("found within the budget")
}

#[test]
fn a_hostile_host_gets_nothing_that_it_may_not_have() {
    for seed in [1, 2, 3] {
        let found = search(seed, 6_000, None);
        if let Some((trace, violation)) = found.broken {
            panic!("seed {seed}: {violation}\n{}", trace.shrunk(&violation).readable());
        }
        assert_eq!(found.steps, 6_000);
    }
}

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<Bug> =
        Bug::ALL.iter().copied().filter(|bug| hunt_planted(*bug, BUDGET).found.is_none()).collect();
    assert!(missed.is_empty(), "not found within {BUDGET} steps of any seed: {missed:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let [(first, one), (second, other)] = [broken(Bug::StaleTree), broken(Bug::StaleTree)];
    assert_eq!(one, other);
    assert_eq!(first.to_string(), second.to_string());
}

#[test]
fn a_trace_that_was_written_breaks_the_same_rule_when_it_is_read() {
    let (trace, violation) = broken(Bug::CountTwice);
    let read = Trace::parse(&trace.to_string()).expect("reads what was written");
    assert_eq!(read.replay(), Some(violation));
    assert!(Trace::parse("seed 1\n1\tff\tnothing\n").is_err());
    assert!(Trace::parse("").is_err());
}

#[test]
fn a_shrunk_trace_is_shorter_and_breaks_the_same_rule() {
    let (trace, violation) = broken(Bug::JumpBackwards);
    let shrunk = trace.shrunk(&violation);
    assert!(shrunk.len() < trace.len() / 2, "{} of {} steps left", shrunk.len(), trace.len());
    assert_eq!(shrunk.replay().map(|v| v.rule), Some(violation.rule));
}
