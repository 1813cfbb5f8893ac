//! The model of the protocol keeps its promises with all its rules, and breaks one without almost any of them.

use strongroom_sim::model::explore::{Bounds, explore};
use strongroom_sim::model::{Action, Explored, Forbidden, Model, Rule};

#[test]
fn every_promise_holds_whatever_a_small_group_does() {
    for (members, entries, guesses) in [(2, 3, 0), (2, 2, 1), (3, 2, 0)] {
        let bounds = Bounds { members, entries, guesses, reads: false, states: 100_000 };
        let Explored { states, exhausted, broken, .. } = explore(&bounds, None);
        assert_eq!(broken, None, "{bounds:?}");
        assert!(exhausted && states > 1_000, "{states} states");
    }
}

#[test]
fn without_a_rule_a_promise_breaks() {
    for rule in Rule::ALL {
        // What is about reads takes many states to find; the ways that were found are below.
        let Some(bounds) = Bounds::for_rule(rule).filter(|bounds| !bounds.reads) else { continue };
        let Explored { states, broken, .. } = explore(&bounds, Some(rule));
        let (way, _) = broken.unwrap_or_else(|| panic!("{rule:?}: {states} states and nothing breaks"));
        // With all rules, the same way is closed or leads to nothing.
        let mut model = Model::new(bounds.members, None);
        let allowed = way.iter().all(|action| model.apply(*action).is_ok());
        assert!(!allowed || model.broken_promise(bounds.guesses).is_none(), "{rule:?}");
    }
}

#[test]
fn leading_from_any_entry_breaks_nothing() {
    let bounds = Bounds { members: 2, entries: 2, guesses: 1, reads: false, states: 100_000 };
    let Explored { exhausted, broken, .. } = explore(&bounds, Some(Rule::LeadFromCaptured));
    assert!(exhausted && broken.is_none());
}

#[test]
fn a_leader_that_counts_itself_for_a_read_breaks_nothing() {
    let bounds = Bounds { members: 2, entries: 2, guesses: 0, reads: true, states: 500_000 };
    for rule in [None, Some(Rule::LeaderStatesFresh)] {
        let Explored { states, exhausted, broken, .. } = explore(&bounds, rule);
        assert_eq!(broken, None, "{rule:?}");
        assert!(exhausted && states > 1_000, "{rule:?}: {states} states");
    }
}

#[test]
fn what_is_forbidden_changes_nothing_and_says_why() {
    let mut model = Model::new(3, None);
    let jump = Action::Jump { member: 1, to: 1 };
    for action in [
        Action::Lead { member: 0, from: 0 },
        Action::Make { member: 0, replies: true },
        Action::Capture { member: 0, to: 1 },
    ] {
        model.apply(action).expect("allowed");
    }
    let Err(Forbidden { action, why }) = model.apply(jump) else { panic!("it was never committed") };
    assert_eq!((action, why), (jump, "a jump goes to an entry that was stated as committed"));
    assert_eq!(model.captured(1), 0);
}

#[test]
fn what_others_made_after_a_leaders_entry_does_not_count_for_it() {
    let mut model = Model::new(3, None);
    let mut act = |action| model.apply(action).expect("allowed");
    act(Action::Lead { member: 0, from: 0 });
    act(Action::Make { member: 0, replies: true });
    act(Action::Capture { member: 1, to: 1 });
    act(Action::Lead { member: 1, from: 1 });
    act(Action::Make { member: 1, replies: true });
    (1..3).for_each(|member| act(Action::Capture { member, to: 2 }));
    for (entry, why) in
        [(1, "no majority has stated it or an own entry after it"), (2, "it commits its own entries alone")]
    {
        let refused = model.apply(Action::Commit { member: 0, entry }).map_err(|forbidden| forbidden.why);
        assert_eq!(refused, Err(why));
    }
    assert_eq!(model.kept(0).collect::<Vec<_>>(), [1]);
    // It does for whoever made it, and for that one it commits what was before too.
    model.apply(Action::Commit { member: 1, entry: 2 }).expect("allowed");
    assert_eq!((model.kept(0).count(), model.kept(1).count()), (1, 0));
}

/// Entry 1 is made, captured and committed by HSMs 0 and 2, and HSM 1 still leads from before it.
const OVERTAKEN: [Action; 6] = [
    Action::Lead { member: 1, from: 0 },
    Action::Lead { member: 0, from: 0 },
    Action::Make { member: 0, replies: false },
    Action::Capture { member: 0, to: 1 },
    Action::Capture { member: 2, to: 1 },
    Action::Commit { member: 0, entry: 1 },
];

const READ: Action = Action::Read { member: 1, of: 0 };
const DRAW: Action = Action::DrawNonce { member: 1 };
const CONFIRM: Action = Action::Confirm { member: 1 };

fn say_fresh(members: [usize; 2]) -> [Action; 2] {
    members.map(|member| Action::StateFresh { member, leader: 1 })
}

/// A read after which a promise is broken without this rule, as short as exploring found it.
fn way_without(rule: Rule) -> Vec<Action> {
    let overtaken = |then: &[Action]| [&OVERTAKEN, then].concat();
    match rule {
        Rule::LeadDropsReads => {
            let leads_again = [Action::Capture { member: 1, to: 1 }, Action::Lead { member: 1, from: 1 }];
            let rest = [&[READ][..], &leads_again, &[DRAW], &say_fresh([0, 1]), &[CONFIRM]].concat();
            overtaken(&rest)
        }
        Rule::FreshHasNonce => overtaken(&[READ, DRAW, CONFIRM]),
        Rule::NonceAfterRead => {
            let before = [&OVERTAKEN[..1], &[DRAW], &say_fresh([1, 2])].concat();
            [&before, &OVERTAKEN[1..], &[READ, CONFIRM]].concat()
        }
        Rule::FreshByHash => {
            // By index, HSM 0 is where HSM 1 is: on a fork.
            let fork = Action::Make { member: 1, replies: false };
            overtaken(&[&[fork, READ, DRAW][..], &say_fresh([0, 1]), &[CONFIRM]].concat())
        }
        Rule::FreshNotAhead => overtaken(&[&[READ, DRAW][..], &say_fresh([0, 2]), &[CONFIRM]].concat()),
        Rule::ReadWaitsForCommit => {
            let make = Action::Make { member: 1, replies: false };
            let read = Action::Read { member: 1, of: 1 };
            [&[OVERTAKEN[0], make, read, DRAW][..], &say_fresh([0, 1]), &[CONFIRM]].concat()
        }
        _ => unreachable!("{rule:?} is not about reads"),
    }
}

#[test]
fn without_a_rule_about_reads_an_answer_is_stale_or_says_too_much() {
    for rule in Rule::ALL {
        if !Bounds::for_rule(rule).is_some_and(|bounds| bounds.reads) {
            continue;
        }
        let way = way_without(rule);
        let mut model = Model::new(3, Some(rule));
        way.iter().for_each(|action| model.apply(*action).expect("allowed without the rule"));
        assert!(model.broken_promise(0).is_some(), "{rule:?}");
        let mut model = Model::new(3, None);
        let (last, before) = way.split_last().expect("it confirms");
        let allowed = before.iter().all(|action| model.apply(*action).is_ok());
        let waiting = model.reads(1);
        let released = allowed && waiting > 0 && model.apply(*last).is_ok() && model.reads(1) < waiting;
        assert!(!released && model.broken_promise(0).is_none(), "{rule:?}");
    }
}

#[test]
fn a_read_is_answered_when_a_majority_says_to_a_later_nonce_that_nothing_else_came() {
    let mut model = Model::new(3, None);
    let mut act = |action| model.apply(action).expect("allowed");
    [OVERTAKEN[0], READ, DRAW].into_iter().for_each(&mut act);
    say_fresh([1, 2]).into_iter().for_each(&mut act);
    act(CONFIRM);
    assert_eq!((model.reads(1), model.has_nonce(1)), (0, false));
    assert_eq!(model.broken_promise(0), None);
}
