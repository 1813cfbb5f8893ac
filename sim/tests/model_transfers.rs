//! Transfers between groups, and retirement, keep their promises with all their rules, and break one without almost any of
//! them. Each known attack is spelled out.

use strongroom_sim::model::transfers::atomic::{self, Bounds, Step, follow};
use strongroom_sim::model::transfers::{Move, Prefix, Rule, forked};

const OWNED_TWICE: &str = "a record is owned, and a second copy can still arrive";
const LOST: &str = "a record is owned by nobody, and no transfer can deliver it";
const FORGOTTEN: &str = "a record's owner has forgotten a guess";
const STUCK: &str = "what is open can never be brought to an end";

fn not_seen(_: usize) {}

#[test]
fn every_promise_holds_between_groups_whatever_they_do() {
    for bounds in [
        Bounds::all_of(2, 2),
        Bounds { places: 2, ..Bounds::all_of(2, 2) },
        Bounds { retire: false, idle_refusals: 0, ..Bounds::all_of(3, 2) },
        Bounds { guesses: 2, ..Bounds::of(3, 3) },
    ] {
        let explored = atomic::explore(&bounds, None, &mut not_seen);
        assert_eq!(explored.broken, None, "{bounds}");
        assert!(explored.exhausted && explored.states > 500, "{bounds}: {} states", explored.states);
    }
}

#[test]
fn every_promise_holds_while_leaders_come_and_go_inside_groups() {
    for bounds in [
        forked::Bounds { guesses: 1, ..forked::Bounds::of([1, 2, 0], [4, 3, 0]) },
        forked::Bounds { guesses: 1, ..forked::Bounds::of([2, 1, 0], [3, 3, 0]) },
        forked::Bounds { transfers: 0, retire: true, ..forked::Bounds::of([1, 3, 0], [0, 3, 0]) },
    ] {
        let explored = forked::explore(&bounds, None, &mut not_seen);
        assert_eq!(explored.broken, None, "{bounds}");
        assert!(explored.exhausted && explored.states > 500, "{bounds}: {} states", explored.states);
    }
}

#[test]
fn without_a_rule_a_promise_breaks_between_groups() {
    for rule in Rule::ALL {
        let Some(bounds) = Bounds::for_rule(rule) else { continue };
        let explored = atomic::explore(&bounds, Some(rule), &mut not_seen);
        let (way, promise) = explored.broken.unwrap_or_else(|| panic!("{rule:?}: nothing breaks"));
        assert_eq!(follow(&bounds, Some(rule), &way), Ok(Some(promise)), "{rule:?}");
        // With all rules, the same way is closed or leads to nothing.
        assert!(matches!(follow(&bounds, None, &way), Err(_) | Ok(None)), "{rule:?}");
    }
}

#[test]
fn without_a_rule_a_promise_breaks_inside_a_group() {
    for rule in Rule::ALL {
        let Some(bounds) = forked::Bounds::for_rule(rule) else { continue };
        let explored = forked::explore(&bounds, Some(rule), &mut not_seen);
        assert!(explored.broken.is_some(), "{rule:?}: {} states and nothing breaks", explored.states);
    }
}

#[test]
fn rules_that_only_say_something_twice_break_nothing() {
    for rule in Rule::ALL {
        if Bounds::for_rule(rule).is_some() || forked::Bounds::for_rule(rule).is_some() {
            continue;
        }
        let bounds = Bounds::all_of(2, 2);
        let explored = atomic::explore(&bounds, Some(rule), &mut not_seen);
        assert!(explored.exhausted && explored.broken.is_none(), "{rule:?}: {:?}", explored.broken);
    }
}

/// States are told apart by what can still matter. Told apart by everything, there are more, and no other verdict.
#[test]
fn what_is_left_out_of_a_state_does_not_matter() {
    let bounds = Bounds { guesses: 1, ..Bounds::of(2, 2) };
    let few = atomic::explore(&bounds, None, &mut not_seen);
    // A rule about what does not happen here.
    let many = atomic::explore(&bounds, Some(Rule::RetiredForGood), &mut not_seen);
    assert!(few.exhausted && many.exhausted && few.broken.is_none() && many.broken.is_none());
    assert!(few.states < many.states, "{} and {}", few.states, many.states);
}

fn wait(group: u8, id: usize, source: u8, count: u8) -> Step {
    Step::Made(group, Move::Wait { id, prefix: Prefix::Whole, source, count })
}

fn give(group: u8, id: usize, to: u8, count: u8) -> Step {
    Step::Made(group, Move::Give { id, to, count })
}

fn take(group: u8, id: usize, root: u8) -> Step {
    Step::Made(group, Move::Take { id, given: id, root })
}

fn close(group: u8, id: usize) -> Step {
    Step::Made(group, Move::Close { id })
}

fn drops(group: u8, id: usize) -> Step {
    Step::Made(group, Move::GiveUp { id })
}

const REFUSE: Step = Step::Made(0, Move::Refuse);
const CHARGE: Step = Step::Made(0, Move::Charge);
const RETIRE: Step = Step::Made(0, Move::Retire);

/// From group 0 to group 1, as transfer 0.
fn there() -> [Step; 4] {
    [wait(1, 0, 0, 0), give(0, 0, 1, 0), take(1, 0, 0), close(0, 0)]
}

/// And back, as transfer 1.
fn back() -> [Step; 4] {
    [wait(0, 1, 1, 1), give(1, 1, 0, 1), take(0, 1, 0), close(1, 1)]
}

/// The way is open without the rule, to a broken promise; with the rule, its `closed` step is refused.
#[track_caller]
fn breaks(rule: Rule, bounds: Bounds, way: &[Step], promise: &str, closed: Step) {
    let bounds = Bounds { endings: promise == STUCK, ..bounds };
    assert_eq!(follow(&bounds, Some(rule), way), Ok(Some(promise)), "{rule:?}");
    assert_eq!(follow(&bounds, None, way), Err(closed), "{rule:?}");
}

#[test]
fn what_was_given_away_is_not_taken_again_after_the_prefix_moved_on() {
    let again = take(1, 0, 0);
    let moved_on = [&there()[..], &back()[..2], &[again]].concat();
    breaks(Rule::TakeNeedsIncoming, Bounds::of(2, 2), &moved_on, OWNED_TWICE, again);
    let back_and_charged = [&there()[..], &back()[..3], &[CHARGE, again]].concat();
    let bounds = Bounds { guesses: 1, ..Bounds::of(2, 2) };
    breaks(Rule::TakeNeedsIncoming, bounds, &back_and_charged, "a record is owned twice", again);
}

#[test]
fn a_group_that_took_a_prefix_and_gave_it_away_does_not_take_it_again() {
    let away = [wait(2, 1, 1, 1), give(1, 1, 2, 0)];
    let way = [&there()[..3], &away, &[take(2, 1, 0), take(1, 0, 0)]].concat();
    breaks(Rule::TakeNeedsIncoming, Bounds::of(3, 2), &way, "a record is owned twice", take(1, 0, 0));
}

#[test]
fn an_old_incoming_is_no_evidence_once_the_prefix_came_back() {
    let again = give(0, 0, 1, 0);
    let way = [&there()[..], &back(), &[again]].concat();
    breaks(Rule::OutNeedsCount, Bounds::of(2, 2), &way, LOST, again);
}

#[test]
fn a_delayed_second_step_comes_too_late_after_a_cancel() {
    let delayed = give(0, 0, 1, 0);
    let way = [wait(1, 0, 0, 0), REFUSE, drops(1, 0), delayed];
    breaks(Rule::OutNeedsCount, Bounds::of(2, 1), &way, LOST, delayed);
    breaks(Rule::RefuseCountsUp, Bounds::of(2, 1), &way, LOST, delayed);
}

#[test]
fn nobody_drops_what_may_still_come() {
    let way = [wait(1, 0, 0, 0), give(0, 0, 1, 0), drops(1, 0)];
    for rule in [Rule::DropNeedsEvidence, Rule::DropNeedsNewer, Rule::DropNeedsNoOutgoing] {
        breaks(rule, Bounds::of(2, 1), &way, LOST, drops(1, 0));
    }
}

#[test]
fn what_was_given_away_is_not_forgotten_before_it_was_taken() {
    let way = [wait(1, 0, 0, 0), give(0, 0, 1, 0), close(0, 0), drops(1, 0)];
    for rule in [Rule::CloseNeedsEvidence, Rule::CloseNeedsNewer] {
        breaks(rule, Bounds::of(2, 1), &way, LOST, close(0, 0));
    }
}

#[test]
fn a_prefix_comes_with_the_root_that_it_left_with() {
    let way = [wait(1, 0, 0, 0), CHARGE, give(0, 0, 1, 0), take(1, 0, 0)];
    let bounds = Bounds { guesses: 1, ..Bounds::of(2, 1) };
    breaks(Rule::TakeGivenRoot, bounds, &way, FORGOTTEN, take(1, 0, 0));
}

#[test]
fn two_groups_that_wait_for_each_other_can_both_refuse() {
    let lower =
        |group, id, source, count, prefix| Step::Made(group, Move::Wait { id, prefix, source, count });
    let way = [
        Step::Made(0, Move::Split),
        lower(1, 0, 0, 0, Prefix::Lower),
        give(0, 0, 1, 0),
        take(1, 0, 0),
        close(0, 0),
        lower(1, 1, 0, 1, Prefix::Upper),
        lower(0, 2, 1, 1, Prefix::Lower),
    ];
    let bounds = Bounds { split: true, ..Bounds::of(2, 3) };
    assert_eq!(follow(&bounds, Some(Rule::DecidesWhileBusy), &way), Ok(Some(STUCK)));
    assert_eq!(follow(&bounds, None, &way), Ok(None));
}

#[test]
fn what_is_not_committed_is_no_evidence() {
    let Step::Made(_, waits) = wait(1, 0, 0, 0) else { unreachable!() };
    let way = [Step::Lost(1, waits), give(0, 0, 1, 0)];
    breaks(Rule::OutNeedsCommitted, Bounds::of(2, 1), &way, LOST, Step::Lost(1, waits));
    let Step::Made(_, gives) = give(0, 0, 1, 0) else { unreachable!() };
    let way = [wait(1, 0, 0, 0), Step::Lost(0, gives), take(1, 0, 0)];
    breaks(Rule::TakeNeedsCommitted, Bounds::of(2, 1), &way, "a record is owned twice", Step::Lost(0, gives));
}

#[test]
fn a_group_that_still_gives_away_waits_or_owns_does_not_retire() {
    let retiring = Bounds { retire: true, ..Bounds::of(2, 1) };
    breaks(Rule::RetireOwnsNothing, retiring, &[RETIRE], LOST, RETIRE);
    let way = [wait(1, 0, 0, 0), give(0, 0, 1, 0), RETIRE, drops(1, 0)];
    breaks(Rule::RetireWithoutOutgoing, retiring, &way, LOST, RETIRE);
    let retire = Step::Made(1, Move::Retire);
    let way = [wait(1, 0, 0, 0), retire, give(0, 0, 1, 0)];
    breaks(Rule::RetireWithoutIncoming, retiring, &way, LOST, retire);
}

#[test]
fn a_group_that_was_left_and_joined_anew_would_start_from_before_its_last_guess() {
    let rejoin = Step::Rejoined(0, 0);
    let way = [&there()[..], &[RETIRE, rejoin]].concat();
    let bounds = Bounds { retire: true, ..Bounds::of(2, 1) };
    breaks(Rule::RetiredForGood, bounds, &way, "a record is owned twice", rejoin);
}

#[test]
fn whoever_waits_for_a_retired_group_drops_it_by_what_members_that_left_can_state() {
    let late = wait(1, 1, 0, 0);
    let way = [&there()[..], &[RETIRE, late]].concat();
    let bounds = Bounds { retire: true, ..Bounds::of(2, 2) };
    assert_eq!(follow(&bounds, Some(Rule::RetiredIsStated), &way), Ok(Some(STUCK)));
    assert_eq!(follow(&bounds, None, &way), Ok(None));
    assert_eq!(follow(&bounds, None, &[&way[..], &[drops(1, 1)]].concat()), Ok(None));
}

#[test]
fn a_plain_transfer_ends_with_nothing_open_and_can_be_undone() {
    let way = [&there()[..], &back()].concat();
    assert_eq!(follow(&Bounds::of(2, 2), None, &way), Ok(None));
}
