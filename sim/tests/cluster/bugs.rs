//! Every checker of the simulated cluster finds the bug that is planted for it, and nothing without it.

use crate::scenario::{REGISTER_AND_RECOVER, users};
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use strongroom_hsm::Config;
use strongroom_hsm_planted::Bug;
use strongroom_proto::hsm::Limits;
use strongroom_replica::{Role, Storage};
use strongroom_sim::cluster::{Cluster, HostBug, Wish};

/// The longest time that a run may take, in its own milliseconds.
const PATIENCE_MS: u64 = 20_000;

/// What a checker complains about in `run`, if any does.
fn complaint(run: impl FnOnce()) -> Option<String> {
    let payload: Box<dyn Any + Send> = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
}

/// Runs seed after seed with and without what `plant` does, until a checker says `words` about the run with it.
#[track_caller]
fn assert_found(
    seeds: Range<u64>,
    words: &str,
    plant: impl Fn(&mut Cluster),
    run: impl Fn(u64, &dyn Fn(&mut Cluster)),
) {
    let mut others = Vec::new();
    for seed in seeds {
        assert_eq!(complaint(|| run(seed, &|_| {})), None, "nothing is wrong with seed {seed}");
        match complaint(|| run(seed, &plant)) {
            Some(found) if found.contains(words) => return,
            other => others.extend(other),
        }
    }
    panic!("no run ended in {words:?}, but in {others:#?}");
}

fn hsm(bug: Bug) -> impl Fn(&mut Cluster) {
    move |cluster| cluster.plant(bug)
}

fn host(bug: HostBug) -> impl Fn(&mut Cluster) {
    move |cluster| cluster.plant_in_host(bug)
}

fn elect(cluster: &mut Cluster) -> usize {
    assert!(cluster.run_until(5_000, |cluster| cluster.leader().is_some()), "a member leads within 5 s");
    cluster.leader().expect("just seen")
}

/// One user of a healthy cluster.
fn quiet(wishes: &[Wish]) -> impl Fn(u64, &dyn Fn(&mut Cluster)) {
    move |seed, plant| {
        let mut cluster = Cluster::new(seed, 3);
        plant(&mut cluster);
        let mut users = users(&cluster, 1, wishes);
        cluster.serve(PATIENCE_MS, &mut users);
        cluster.check_log();
    }
}

/// Many users of a cluster that loses messages and replies of HSMs.
fn lossy(members: usize) -> impl Fn(u64, &dyn Fn(&mut Cluster)) {
    move |seed, plant| {
        let mut cluster = Cluster::new(seed, members);
        plant(&mut cluster);
        cluster.faults.lose_message = 0.2;
        cluster.faults.delay_message = 0.3;
        cluster.faults.lose_hsm_reply = 0.02;
        let mut users = users(&cluster, 6, &REGISTER_AND_RECOVER);
        cluster.serve(3 * PATIENCE_MS, &mut users);
        cluster.check_log();
    }
}

/// A leader that nobody hears makes entries after another has been elected; its users then try again.
fn racing(seed: u64, plant: &dyn Fn(&mut Cluster)) {
    let mut cluster = Cluster::new(seed, 3);
    plant(&mut cluster);
    let old = elect(&mut cluster);
    let mut users = users(&cluster, 8, &[Wish::Register]);
    users.iter_mut().for_each(|user| user.aim(old));
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.faults.alone.insert(old);
    users.iter_mut().for_each(|user| user.wish([Wish::Recover2, Wish::Recover2]));
    cluster.run_until(5_000, |cluster| cluster.leader().is_some_and(|leader| leader != old));
    cluster.run_until(1_000, |cluster| {
        users.iter_mut().for_each(|user| user.poll(cluster));
        cluster.status(old).is_none_or(|status| !matches!(status.role, Role::Leader { .. }))
    });
    cluster.faults.alone.clear();
    // What it has answered is included in this count.
    users.iter_mut().for_each(|user| user.wish([Wish::Recover2]));
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.check_log();
}

/// The NVRAM of each HSM in turn fails for a while, until it restarts.
fn failing_nvram(seed: u64, plant: &dyn Fn(&mut Cluster)) {
    let mut cluster = Cluster::new(seed, 3);
    plant(&mut cluster);
    let mut users = users(&cluster, 3, &REGISTER_AND_RECOVER);
    for member in 0..3 {
        cluster.fail_nvram(member);
        cluster.run_until(600, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            false
        });
        cluster.restart_hsm(member);
    }
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.check_log();
}

#[test]
fn more_evaluations_than_guesses_are_found() {
    let mut wishes = vec![Wish::Register];
    wishes.extend([Wish::Recover2; 6]);
    assert_found(0..3, "more evaluations than guesses", hsm(Bug::OneGuessMore), quiet(&wishes));
}

#[test]
fn an_evaluation_that_is_not_charged_is_found() {
    let words = "1 of 2..=2 charged";
    assert_found(0..3, words, hsm(Bug::ChargedOncePerVersion), quiet(&REGISTER_AND_RECOVER));
}

#[test]
fn a_request_that_is_charged_twice_is_found() {
    assert_found(0..20, " charged", hsm(Bug::ResendCharged), lossy(3));
}

#[test]
fn a_share_for_a_wrong_tag_is_found() {
    let words = "a wrong tag is answered with the share";
    let wishes = [Wish::Register, Wish::Recover2, Wish::WrongTag];
    assert_found(0..3, words, hsm(Bug::AnyTag), quiet(&wishes));
}

#[test]
fn an_answer_whose_entry_loses_is_found() {
    let words = "an answer left before its entry was committed";
    assert_found(0..40, words, hsm(Bug::ReplyBeforeCommit), racing);
}

#[test]
fn an_entry_without_what_was_charged_is_found() {
    let words = "not all users are served";
    assert_found(0..3, words, hsm(Bug::ChargeNotInEntry), quiet(&REGISTER_AND_RECOVER));
}

#[test]
fn a_commit_by_half_of_the_members_is_found() {
    assert_found(0..20, "no majority has stated it", hsm(Bug::HalfMajority), lossy(5));
}

#[test]
fn a_statement_that_nvram_does_not_hold_is_found() {
    assert_found(0..10, "which it had stated as captured", hsm(Bug::StatementBeforeNvram), failing_nvram);
}

#[test]
fn replies_that_do_not_fit_in_a_frame_are_found() {
    let with_pending_replies = |max_pending_replies| {
        complaint(|| {
            let limits = Limits {
                max_frame_bytes: 16 << 10,
                max_batch_requests: 4,
                max_pending_entries: 256,
                max_pending_replies,
                max_sessions: 64,
                max_tree_nodes: 65_664,
            };
            let mut cluster =
                Cluster::with_config(1, 3, Config { limits, ..Config::software() }, Storage::default());
            let leader = elect(&mut cluster);
            let mut users = users(&cluster, 60, &REGISTER_AND_RECOVER);
            users.iter_mut().for_each(|user| user.aim(leader));
            // Many entries wait for their commit.
            cluster.faults.delay_store = 1.0;
            // One write at a time, of few replies, to a store that takes seconds.
            cluster.serve(15 * PATIENCE_MS, &mut users);
        })
    };
    assert_eq!(with_pending_replies(16), None);
    let found = with_pending_replies(1024);
    assert!(found.as_ref().is_some_and(|found| found.contains("a reply fits in a frame")), "{found:?}");
}

#[test]
fn a_store_that_takes_two_writers_of_one_name_is_found() {
    let words = "two HSMs captured different entries";
    assert_found(0..20, words, host(HostBug::CreateReplaces), racing);
}

#[test]
fn a_second_answer_to_one_request_is_found() {
    let words = "is answered a second time";
    assert_found(0..3, words, host(HostBug::AnswerTwice), quiet(&REGISTER_AND_RECOVER));
}

#[test]
fn an_answer_to_another_request_is_found() {
    let words = "the reply to this very request";
    assert_found(0..10, words, host(HostBug::AnswerAnother), |seed, plant| {
        let mut cluster = Cluster::new(seed, 3);
        let mut users = users(&cluster, 2, &[Wish::Register]);
        cluster.serve(PATIENCE_MS, &mut users);
        plant(&mut cluster);
        users.iter_mut().for_each(|user| user.wish([Wish::Recover2; 3]));
        cluster.serve(PATIENCE_MS, &mut users);
    });
}

#[test]
fn a_request_that_is_never_answered_is_found() {
    let words = "not all users are served";
    assert_found(0..3, words, host(HostBug::NeverAnswer), quiet(&REGISTER_AND_RECOVER));
}

/// Snapshots all the time, and nothing kept for long.
const QUICK: Storage =
    Storage { snapshot_after_ms: 200, snapshot_records: 2, snapshot_segments: 512, grace_ms: 300 };

/// Users of a group that takes snapshots all the time, and that restarts after each of their wishes.
fn snapshots(seed: u64, plant: &dyn Fn(&mut Cluster)) {
    let mut cluster = Cluster::with_storage(seed, 3, QUICK);
    plant(&mut cluster);
    let mut users = users(&cluster, 3, &[Wish::Register]);
    for _ in 0..3 {
        cluster.serve(PATIENCE_MS, &mut users);
        cluster.run_for(700);
        cluster.crash_all();
        (0..3).for_each(|member| cluster.start_agent(member));
        users.iter_mut().for_each(|user| user.wish([Wish::Recover2]));
    }
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.check_log();
}

/// A leader that nobody hears takes a snapshot of what it had committed, after the next leader took another.
fn late_snapshot(seed: u64, plant: &dyn Fn(&mut Cluster)) {
    let storage = Storage { snapshot_after_ms: 3_000, snapshot_records: 16, ..QUICK };
    let mut cluster = Cluster::with_storage(seed, 3, storage);
    plant(&mut cluster);
    let old = elect(&mut cluster);
    let mut users = users(&cluster, 3, &[Wish::Register]);
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.faults.alone.insert(old);
    cluster.run_until(5_000, |cluster| cluster.leader().is_some_and(|leader| leader != old));
    let next = cluster.leader().expect("just seen");
    users.iter_mut().for_each(|user| {
        user.aim(next);
        user.wish([Wish::Recover2, Wish::Recover3].repeat(4));
    });
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.run_for(4_000);
    cluster.faults.alone.clear();
    cluster.check_log();
}

#[test]
fn a_snapshot_of_an_entry_that_nobody_stated_as_committed_is_found() {
    let words = "no HSM stated the snapshot's entry";
    assert_found(0..3, words, host(HostBug::SnapshotUnproven), snapshots);
}

#[test]
fn segments_deleted_before_the_snapshot_is_durable_are_found() {
    assert_found(0..3, "is not in the store", host(HostBug::CollectEarly), snapshots);
}

#[test]
fn a_snapshot_without_its_own_entry_is_found() {
    assert_found(0..3, "that no root leads to", host(HostBug::AdvanceTorn), snapshots);
}

#[test]
fn a_snapshot_of_a_writer_that_was_shut_out_is_found() {
    assert_found(0..5, "is older than the one before", host(HostBug::FenceIgnored), late_snapshot);
}

#[test]
fn older_bytes_of_a_leaf_are_found() {
    assert_found(0..3, "not all users are served", host(HostBug::OlderLeaf), snapshots);
}

/// What [`Cluster::check_log`] says after `tamper` has changed the store.
fn log_complaint(tamper: impl FnOnce(&mut Cluster)) -> Option<String> {
    let mut cluster = Cluster::new(1, 3);
    let mut users = users(&cluster, 1, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.check_log();
    tamper(&mut cluster);
    complaint(|| cluster.check_log())
}

#[test]
fn a_log_without_what_was_released_or_captured_is_found() {
    let found = log_complaint(|cluster| {
        let newest = *cluster.store.objects().last().expect("the log is not empty").0;
        cluster.store.lose(&newest);
    });
    assert!(found.expect("a complaint").contains("replies of an entry were released"));

    // The entry with which a leader begins has no replies.
    let mut cluster = Cluster::new(1, 3);
    elect(&mut cluster);
    cluster.run_for(500);
    cluster.check_log();
    let first = *cluster.store.objects().next().expect("the log is not empty").0;
    cluster.store.lose(&first);
    let found = complaint(|| cluster.check_log());
    assert!(found.expect("a complaint").contains("was captured and is not in the log"));
}

#[test]
fn an_object_that_does_not_continue_the_log_is_found() {
    let found = log_complaint(|cluster| {
        let newest = *cluster.store.objects().last().expect("the log is not empty").0;
        cluster.store.put(newest, vec![0; 3].into());
    });
    assert!(found.expect("a complaint").contains("what a replica writes is a segment"));

    let found = log_complaint(|cluster| {
        let (first, newest) = (cluster.store.objects().next(), cluster.store.objects().last());
        let (name, bytes) = (*newest.expect("not empty").0, first.expect("not empty").1.clone());
        cluster.store.put(name, bytes);
    });
    assert!(found.expect("a complaint").contains("continues the log by its whole hash"));
}
