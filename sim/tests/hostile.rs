//! A hostile host gets nothing from the cores as they are, but something from cores with a rule left out.

use strongroom_hsm_planted::Bug;
use strongroom_sim::hostile::{RULES, Trace, UNSEEN, Violation, hunt_planted, search, search_for, seen};

/// The number of steps within which the planted bugs in these tests are found.
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

/// Every planted bug is found, with the seed, the steps and the words given in the documentation.
#[test]
fn the_table_in_the_documentation_is_what_the_search_finds() {
    let documented = include_str!("../../docs/hostile-host.md");
    let rows: Vec<&str> = documented.lines().filter(|line| line.starts_with("| `")).collect();
    for (bug, why) in UNSEEN {
        let line = format!("- `{bug:?}`: {why}");
        assert!(documented.contains(&line), "the documentation does not say: {line}");
    }
    let hunted: Vec<String> = seen()
        .map(|bug| {
            let hunted = hunt_planted(bug);
            assert!(hunted.found.is_some(), "{hunted}");
            hunted.to_string()
        })
        .collect();
    let renew = "cargo run -p strongroom-sim --features planted-bugs -- hostile --planted-bugs";
    assert!(
        rows == hunted,
        "the table is of other code; put this there, from `{renew}`:\n{}",
        hunted.join("\n")
    );
}

/// The search stops at the first rule that is broken; here each is the only one.
#[test]
fn every_rule_of_the_oracle_can_be_broken() {
    let pairs = [
        ("guess limit", Bug::BatchOnStartingState),
        ("as the records say", Bug::ResendCharged),
        ("deleted or replaced is gone", Bug::DeleteKeepsRecord),
        ("count, then evaluate", Bug::SessionsSurviveLead),
        ("share for the right tag", Bug::AnyTag),
        ("replies last", Bug::CountTwice),
        ("majority", Bug::CountTwice),
        ("no conflict", Bug::HalfMajority),
        ("one chain", Bug::CaptureForged),
        ("leaders start from NVRAM", Bug::LeadForged),
        ("NVRAM first", Bug::StatementBeforeNvram),
        ("NVRAM", Bug::MarkBeforeWrite),
        ("blind until commit", Bug::ReplyBeforeCommit),
        ("the same for all secrets", Bug::WrongTagRefusedAtOnce),
        ("newest tree", Bug::TreeOfAnyRoot),
        ("sessions belong to a record", Bug::SessionAcrossRecords),
        ("sessions end", Bug::SessionSurvivesBadMessage),
        ("sessions last", Bug::SessionsByUseAlone),
        ("forward secrecy", Bug::RideAnything),
        ("no such request", Bug::RegistrationUnverified),
        ("sealed for its record", Bug::SealWithoutRecord),
        ("gone at zero", Bug::SecretsStayAtZero),
        ("events say what happened", Bug::BatchOnStartingState),
        ("custodians", Bug::CustodianTwice),
        ("one realm", Bug::JoinRealmAgain),
        ("members fixed inside", Bug::JoinAnyMembers),
        ("one genesis", Bug::GenesisTwice),
        ("one owner", Bug::EveryGroupOwnsAll),
        ("nothing stranded", Bug::GiveUpLetGo),
        ("ends for good", Bug::LeaveNotLast),
        ("served by its owner", Bug::HandshakeUncovered),
        ("moved as it was", Bug::BlindSplit),
        ("decisions are counted", Bug::OutUncounted),
        ("bounded", Bug::NoBounds),
        ("fresh reads", Bug::NonceCoversAll),
        ("heads are of the log", Bug::SignsUncommitted),
        ("tenants are told what is committed and theirs", Bug::TellsUncommitted),
        ("attempts are what counted", Bug::AttemptsBeforeCommit),
        ("as the model allows", Bug::LeaderCountsItself),
    ];
    let documented = include_str!("../../docs/hostile-host.md");
    for rule in RULES {
        let row = format!("| {rule} |");
        assert!(documented.contains(&row), "the documentation does not say what the rule {rule:?} is");
        let (_, bug) = pairs.iter().find(|(r, _)| r == rule).expect("a bug for each rule");
        let found = search_for(Some(rule), 1, 50_000, Some(*bug)).broken;
        assert_eq!(found.map(|(_, violation)| violation.rule), Some(*rule), "with {bug:?} planted");
    }
}

/// The model of the protocol sees each of these by itself, and for the right reason.
#[test]
fn the_model_departs_from_cores_with_a_rule_left_out() {
    for (bug, why) in [
        (Bug::JumpOnCaptured, "stated as committed"),
        (Bug::JumpBackwards, "never goes to a lower index"),
        (Bug::CaptureForeignGroup, "no HSM of the group has made the entry"),
        (Bug::CaptureWithoutPrev, "continues what was captured before"),
        (Bug::CaptureGroupTwice, "and was asked for"),
        (Bug::StatementBeforeNvram, "after a restart"),
        (Bug::ReleasesAll, "replies of"),
        (Bug::CountTwice, "no majority has stated it"),
        (Bug::LeadForged, "begins with the captured entry"),
        (Bug::CountLater, "no majority has stated it"),
        (Bug::JumpKeepsLeadership, "does not follow the newest own entry"),
        (Bug::SameTerm, "was drawn before"),
        (Bug::LeaderConfirms, "no majority has stated an own entry"),
        (Bug::ConfirmByIndex, "no majority has stated an own entry"),
        (Bug::ConfirmLater, "no majority has stated an own entry"),
        (Bug::FreshWithoutNonce, "no majority has stated an own entry"),
        (Bug::FreshOfNewest, "does not say what it has captured"),
        (Bug::NonceCoversAll, "does not wait for this nonce"),
    ] {
        // A core with a rule left out departs in more than one way, and the first one that a seed finds may be another.
        let what = |seed| {
            let found = search_for(Some("as the model allows"), seed, 50_000, Some(bug)).broken;
            found.map(|(_, violation)| violation.what).unwrap_or_default()
        };
        let mut all = Vec::new();
        let found = (1..=4).any(|seed| {
            all.push(what(seed));
            all.last().is_some_and(|what| what.contains(why))
        });
        assert!(found, "{bug:?}: {all:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let [(first, one), (second, other)] = [broken(Bug::StaleTree), broken(Bug::StaleTree)];
    assert_eq!(one, other);
    assert_eq!(first.to_string(), second.to_string());
}

#[test]
fn a_trace_that_was_written_breaks_the_same_rule_when_it_is_read() {
    // To see the second one, a run with other secrets has to be compared with it.
    for bug in [Bug::CountTwice, Bug::WrongTagRefusedAtOnce] {
        let (trace, violation) = broken(bug);
        let read = Trace::parse(&trace.to_string()).expect("reads what was written");
        assert_eq!(read.to_string(), trace.to_string());
        assert_eq!(read.replay(), Some(violation));
    }
    assert!(Trace::parse("seed 1\n1\tff\tnothing\n").is_err());
    assert!(Trace::parse("seed 1 planted Nothing\n").is_err());
    assert!(Trace::parse("seed 1 otherwise\n").is_err());
    assert!(Trace::parse("").is_err());
}

#[test]
fn a_trace_breaks_nothing_in_cores_with_every_rule_in_place() {
    let (mut trace, _) = broken(Bug::TreeOfAnyRoot);
    trace.planted = None;
    assert_eq!(trace.replay(), None);
}

/// Found by a long run: a batch without requests shows no tree, so whichever tree it is said to come with, the
/// group's own is what it was.
#[test]
fn an_empty_batch_said_to_come_with_the_tree_of_another_group_breaks_nothing() {
    let trace = Trace::parse(include_str!("traces/empty-batch.txt")).expect("as it was written");
    assert_eq!(trace.replay(), None);
}

/// Found by a long run: a batch without requests shows an older tree for the prefixes where that is still the group's own, and
/// none for the others.
#[test]
fn an_empty_batch_with_an_older_tree_that_still_fits_where_it_is_shown_breaks_nothing() {
    let trace = Trace::parse(include_str!("traces/older-tree.txt")).expect("as it was written");
    assert_eq!(trace.replay(), None);
}

/// Found by a long run: a group has let go of a prefix, takes another, and the first is taken by the entry that shows both.
#[test]
fn what_was_let_go_before_another_prefix_was_taken_is_taken_as_it_was() {
    let trace = Trace::parse(include_str!("traces/let-go-before.txt")).expect("as it was written");
    assert_eq!(trace.replay(), None);
}

#[test]
fn a_shrunk_trace_is_shorter_and_breaks_the_same_rule() {
    for bug in [Bug::JumpToOther, Bug::WrongTagRefusedAtOnce] {
        let (trace, violation) = broken(bug);
        let shrunk = trace.shrunk(&violation);
        assert!(shrunk.len() < trace.len() / 2, "{} of {} steps left", shrunk.len(), trace.len());
        assert_eq!(shrunk.replay().map(|v| v.rule), Some(violation.rule));
    }
}
