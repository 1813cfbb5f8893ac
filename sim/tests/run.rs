//! Whole clusters from seeds: always the same run, always progress at the end, and failures that say what failed.

use std::ops::Range;
use strongroom_hsm_planted::Bug;
use strongroom_sim::cluster::{HostBug, Kind, Lane};
use strongroom_sim::run::{Failure, Report, Run, Trouble, run};

/// Runs a seed with something planted. Returns what did not hold.
fn failure(seed: u64, plant: impl Fn(&mut Run)) -> Option<Failure> {
    let mut run = Run::new(seed);
    plant(&mut run);
    run.finish().1.err()
}

#[track_caller]
fn assert_found(words: &str, plant: impl Fn(&mut Run)) {
    assert_found_in(1..40, words, plant);
}

#[track_caller]
fn assert_found_in(seeds: Range<u64>, words: &str, plant: impl Fn(&mut Run)) {
    let found =
        seeds.clone().any(|seed| failure(seed, &plant).is_some_and(|failure| failure.what.contains(words)));
    assert!(found, "no failure of the seeds {seeds:?} says {words:?}");
}

#[test]
fn sixty_seeds_make_progress_and_meet_every_trouble() {
    let reports: Vec<Report> =
        (1..=60).map(|seed| run(seed).unwrap_or_else(|failure| panic!("{failure}"))).collect();
    for trouble in Trouble::ALL {
        let times: u64 = reports.iter().filter_map(|report| report.troubles.get(&trouble)).sum();
        assert!(times >= 60, "{trouble:?}: {times} times");
    }
    let total = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    assert!(total(|report| report.model.jumps) > 60, "members jump");
    assert!(total(|report| report.model.commits) > 3_000, "entries are committed");
    assert!(reports.iter().any(|report| report.healed < report.members), "some members stay lost");
    assert!(reports.iter().any(|report| report.members == 5), "there are larger groups");
}

#[test]
fn the_same_seed_gives_the_same_hash_and_another_seed_another() {
    let hash = |seed| run(seed).map(|report| (report.events, report.hash)).expect("it holds");
    let (events, first) = hash(8);
    assert_eq!(hash(8), (events, first.clone()));
    assert_ne!(hash(9).1, first);
    assert!(first.len() == 64 && first.bytes().all(|digit| digit.is_ascii_hexdigit()));
}

#[test]
fn the_hash_covers_what_users_are_told() {
    let plain = Run::new(8).finish().1.expect("it holds").hash;
    let mut noted = Run::new(8);
    noted.cluster().note(Lane::User(0), Kind::Answer, || "something else".into());
    assert_ne!(plain, noted.finish().1.expect("it holds").hash);
}

#[test]
fn the_page_holds_every_event_and_nothing_that_ends_it_early() {
    let mut run = Run::new(8);
    run.cluster().note(Lane::World, Kind::Store, || "</script><b>".into());
    let caption = run.caption();
    let (journal, report) = run.finish();
    let page = caption.page(&journal, &report.expect("it holds").outcome(), false);
    assert_eq!(page.matches("</script>").count(), 2, "of the data and of the program");
    let data = page.split_once("id=\"data\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let data: serde_json::Value = serde_json::from_str(data.expect("it is there").0).expect("it is JSON");
    let events = data["events"].as_array().expect("a list");
    assert_eq!(events.len(), journal.events().len());
    for kind in
        ["role", "make", "capture", "commit", "segment", "message", "ask", "answer", "trouble", "phase"]
    {
        assert!(events.iter().any(|event| event["kind"] == kind), "no {kind} is drawn");
    }
}

#[test]
fn a_commit_that_the_model_does_not_allow_is_found() {
    assert_found("the model does not allow this", |run| run.cluster().plant(Bug::HalfMajority));
}

#[test]
fn replies_that_the_model_does_not_release_are_found() {
    assert_found("the model foretells another reply", |run| run.cluster().plant(Bug::RepliesSurviveLead));
}

#[test]
fn an_answer_that_leaves_before_its_entry_is_committed_is_found() {
    let words = "an answer left before its entry was committed";
    assert_found(words, |run| run.cluster().plant(Bug::ReplyBeforeCommit));
}

#[test]
fn a_message_sent_again_that_is_answered_before_its_entry_is_committed_is_found() {
    let words = "an answer left before its entry was committed";
    assert_found(words, |run| run.cluster().plant(Bug::ResentAnsweredAtOnce));
}

#[test]
fn an_answer_of_another_registration_is_found() {
    let words = "an answer is of another registration than the newest";
    // This needs a user who registers again while an answer is on its way.
    assert_found_in(1..200, words, |run| run.cluster().plant(Bug::AnyVersion));
}

#[test]
fn an_hsm_that_a_power_cut_makes_useless_is_found() {
    assert_found("an intact flash starts", |run| run.cluster().plant(Bug::MarkBeforeWrite));
}

#[test]
fn nvram_that_forgets_in_a_power_cut_is_found() {
    assert_found("which it had stated as captured", |run| run.cluster().plant(Bug::StatementBeforeNvram));
}

#[test]
fn requests_that_never_end_are_found() {
    assert_found("not all users are served", |run| run.cluster().plant_in_host(HostBug::NeverAnswer));
}

#[test]
fn leadership_that_does_not_settle_is_found() {
    assert_found("leadership does not settle", |run| run.cluster().plant_in_host(HostBug::SilentLeader));
}

#[test]
fn an_agent_that_a_forged_push_stops_is_found() {
    let bug = strongroom_replica::Bug::PushedForgeryIsFault;
    // This needs a majority that is stopped; most runs stop one agent, and say only that.
    assert_found_in(1..200, "not all users are served", |run| run.cluster().plant_in_agents(bug));
}

#[test]
fn a_registration_that_was_deleted_and_is_served_is_found() {
    let words = "a registration that was deleted is served";
    assert_found(words, |run| run.cluster().plant(Bug::DeleteKeepsRecord));
}

#[test]
fn power_is_also_lost_in_starts() {
    let cuts = |seed| {
        let (journal, report) = Run::new(seed).finish();
        report.unwrap_or_else(|failure| panic!("{failure}"));
        journal.events().iter().filter(|event| event.text == "power is lost in a start").count()
    };
    let total: usize = (1..=20).map(cuts).sum();
    assert!(total >= 10, "{total} starts were cut");
}

/// A deposed leader's segments landed where the log's had been deleted, the last one first, which was collected before
/// the others came. The check took it for a second entry of the log.
#[test]
fn strays_that_are_collected_before_the_one_that_shows_them_to_be_strays_are_no_failure() {
    run(1_057_729_283).unwrap_or_else(|failure| panic!("{failure}"));
}

/// A deposed leader had written where the log's segments were deleted long before it could give up, and followed what
/// it wrote; the others were one too few.
#[test]
fn a_member_off_the_log_is_not_one_of_the_majority_that_must_make_progress() {
    run(3_200_001_009).unwrap_or_else(|failure| panic!("{failure}"));
}

/// The same in a group of three of which one lies: both others are needed, and one of them is off the log.
#[test]
fn where_a_member_is_off_the_log_nobody_may_lie_for_ever() {
    run(63).unwrap_or_else(|failure| panic!("{failure}"));
}
