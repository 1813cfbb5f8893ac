//! What a leader sends the other members of the log: every segment, in order, so that a member that keeps up asks the
//! store for nothing, and one that does not holds nobody up.

use crate::scenario::{PATIENCE_MS, assert_found, at_work, users};
use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::ids::{EntryHash, GroupId, Index};
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::{Bug, Shared};
use strongroom_sim::cluster::{Cluster, Lane, StoreCalls, User, Wish};

const RECOVER: [Wish; 2] = [Wish::Recover2, Wish::Recover3];

/// Users of a group at work, all registered.
fn with_users(seed: u64, count: u64, bug: Option<Bug>) -> (Cluster, usize, Vec<User>) {
    let (mut cluster, leader) = at_work(seed, 3, bug);
    let mut users = users(&cluster, count, &[Wish::Register]);
    users.iter_mut().for_each(|user| user.aim(leader));
    cluster.serve(PATIENCE_MS, &mut users);
    together(&mut cluster);
    (cluster, leader, users)
}

/// Each user recovers this often, one recovery after the other.
fn recover(cluster: &mut Cluster, users: &mut [User], times: usize) {
    for user in users.iter_mut() {
        user.wish(RECOVER.repeat(times));
    }
    cluster.serve(PATIENCE_MS, users);
}

fn captured(cluster: &Cluster, member: usize) -> Index {
    cluster.status(member).expect("it runs").captured
}

/// Every member captures to the end of the log.
#[track_caller]
fn together(cluster: &mut Cluster) {
    let done = cluster.run_until(20_000, |cluster| {
        let ends: BTreeSet<_> = (0..cluster.members())
            .map(|m| cluster.status(m).map(|s| (s.captured, s.tip, s.captured == s.tip)))
            .collect();
        ends.len() == 1 && ends.iter().all(|end| end.is_some_and(|(_, _, whole)| whole))
    });
    assert!(done, "every member captures to the end of the log");
}

#[track_caller]
fn finish(cluster: &mut Cluster) {
    together(cluster);
    cluster.check_log();
    assert!((0..cluster.members()).all(|member| cluster.fault(member).is_none()));
}

fn calls(cluster: &Cluster, member: usize, before: &StoreCalls) -> StoreCalls {
    cluster.store.calls_of(member).since(before)
}

/// Two requests of each recovery change the log.
fn members_that_keep_up_ask_the_store_for_nothing(bug: Option<Bug>) {
    for seed in 0..3 {
        let (mut cluster, leader, mut users) = with_users(seed, 64, bug);
        let before: Vec<_> = (0..3).map(|member| cluster.store.calls_of(member)).collect();
        recover(&mut cluster, &mut users, 4);
        finish(&mut cluster);
        for member in (0..3).filter(|member| *member != leader) {
            let calls = calls(&cluster, member, &before[member]);
            assert_eq!(calls, StoreCalls::default(), "seed {seed}, member {member}");
        }
    }
}

/// Without the store, what was lost can come from nowhere else.
fn a_member_gets_again_what_was_lost_on_the_way(bug: Option<Bug>) {
    for seed in 0..4 {
        let (mut cluster, leader, mut users) = with_users(seed, 4, bug);
        let behind = (leader + 1) % 3;
        cluster.faults.without_store.insert(behind);
        cluster.faults.cuts.insert((leader, behind));
        let before = captured(&cluster, behind);
        users.iter_mut().for_each(|user| user.wish(RECOVER));
        cluster.run_until(100, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            false
        });
        assert_eq!(captured(&cluster, behind), before, "nothing arrives");
        assert!(captured(&cluster, leader).0 > before.0 + 1, "seed {seed}: it missed some");
        cluster.faults.cuts.clear();
        cluster.serve(PATIENCE_MS, &mut users);
        let whole =
            cluster.run_until(3_000, |cluster| captured(cluster, behind) == captured(cluster, leader));
        assert!(whole, "seed {seed}: it gets what was lost");
        assert_eq!(cluster.leader(), Some(leader), "seed {seed}");
        cluster.faults.without_store.clear();
        finish(&mut cluster);
    }
}

/// How often each segment was pushed from one member to another since the journal began.
fn pushes(cluster: &mut Cluster, from: usize, to: usize) -> BTreeMap<String, u32> {
    let journal = cluster.take_journal().expect("it is kept");
    let pushes = journal.events().iter().filter(|event| {
        event.lane == Lane::Member(from)
            && event.to == Some(to)
            && event.text.starts_with("pushes the segment")
    });
    let mut times = BTreeMap::new();
    pushes.for_each(|push| *times.entry(push.text.clone()).or_default() += 1);
    times
}

/// Only the segment that was lost is sent once more: those after it wait for their turn.
fn what_comes_before_its_turn_is_not_sent_again(bug: Option<Bug>) {
    for seed in 0..4 {
        let (mut cluster, leader, mut users) = with_users(seed, 8, bug);
        let behind = (leader + 1) % 3;
        cluster.faults.without_store.insert(behind);
        cluster.faults.cuts.insert((leader, behind));
        let before = captured(&cluster, leader);
        users[0].wish([Wish::Recover2]);
        let lost = cluster.run_until(1_000, |cluster| {
            users[0].poll(cluster);
            captured(cluster, leader) > before
        });
        assert!(lost, "seed {seed}");
        cluster.faults.cuts.clear();
        cluster.keep_journal();
        recover(&mut cluster, &mut users, 1);
        let whole =
            cluster.run_until(3_000, |cluster| captured(cluster, behind) == captured(cluster, leader));
        assert!(whole && cluster.leader() == Some(leader), "seed {seed}");
        let times = pushes(&mut cluster, leader, behind);
        assert!(times.len() > 1 && times.values().all(|times| *times == 1), "seed {seed}: {times:#?}");
        cluster.faults.without_store.clear();
        finish(&mut cluster);
    }
}

/// Such an HSM takes longer than the pause between two heartbeats.
fn a_slow_hsm_is_not_sent_everything_twice(bug: Option<Bug>) {
    for seed in 0..4 {
        let (mut cluster, leader, mut users) = with_users(seed, 8, bug);
        let slow = (leader + 1) % 3;
        cluster.faults.slow_hsm.insert(slow, 80);
        recover(&mut cluster, &mut users, 2);
        cluster.keep_journal();
        recover(&mut cluster, &mut users, 4);
        let times = pushes(&mut cluster, leader, slow);
        let again = times.values().filter(|times| **times > 1).count();
        assert!(times.len() > 10 && again * 10 <= times.len(), "seed {seed}: {again} of {}", times.len());
        cluster.faults.slow_hsm.clear();
        finish(&mut cluster);
    }
}

/// An HSM that does not answer captures nothing: what its agent is sent stays bounded, and the others go on.
fn a_member_that_takes_nothing_is_not_sent_everything_and_slows_nobody(bug: Option<Bug>) {
    let (mut cluster, leader, mut users) = with_users(5, 8, bug);
    let stuck = (leader + 1) % 3;
    let took = |cluster: &mut Cluster, users: &mut [User]| {
        let begun = cluster.now();
        recover(cluster, users, 20);
        cluster.now() - begun
    };
    let healthy_ms = took(&mut cluster, &mut users);
    cluster.faults.without_hsm.insert(stuck);
    users.iter_mut().for_each(|user| user.wish([Wish::Register]));
    cluster.serve(PATIENCE_MS, &mut users);
    let before = captured(&cluster, leader);
    let stuck_ms = took(&mut cluster, &mut users);
    assert!(captured(&cluster, leader).0 - before.0 > 64, "more than it could be sent at once");
    assert!(stuck_ms < 2 * healthy_ms, "{stuck_ms} ms, and {healthy_ms} ms with all members");
    cluster.faults.without_hsm.clear();
    finish(&mut cluster);
}

fn what_is_lost_repeated_or_out_of_order_is_taken_once_and_in_order(bug: Option<Bug>) {
    for seed in 0..4 {
        let (mut cluster, _, mut users) = with_users(seed, 16, bug);
        cluster.faults.lose_message = 0.1;
        cluster.faults.repeat_message = 0.3;
        cluster.faults.delay_message = 0.2;
        recover(&mut cluster, &mut users, 2);
        cluster.faults.forget_chances();
        finish(&mut cluster);
    }
}

/// A leader that nobody hears goes on pushing; when it is heard again, another leads.
fn a_former_leaders_segments_are_not_taken(bug: Option<Bug>) {
    for seed in 0..3 {
        let (mut cluster, old, mut users) = with_users(seed, 4, bug);
        cluster.faults.alone.insert(old);
        let next = |cluster: &mut Cluster| cluster.leader().is_some_and(|leader| leader != old);
        assert!(cluster.run_until(5_000, next), "another leads");
        let new = cluster.leader().expect("just seen");
        cluster.faults.alone.clear();
        users.iter_mut().for_each(|user| user.aim(new));
        recover(&mut cluster, &mut users, 2);
        finish(&mut cluster);
    }
}

/// What is in order in every way but the group's name.
fn segments_of_another_group_are_not_taken(bug: Option<Bug>) {
    let (mut cluster, leader, _) = with_users(3, 2, bug);
    let witness = (leader + 1) % 3;
    let before = cluster.status(witness).expect("it runs");
    let newest = cluster.store.objects().last().map(|(_, bytes)| bytes.to_vec()).expect("there is a log");
    let push = PeerMessage::Push {
        group: GroupId([9; 16]),
        first: Index(before.tip.0 + 1),
        prev: EntryHash([0; 32]),
        segment: newest.into(),
        paths: Shared::default(),
    };
    cluster.say(leader, witness, &push);
    cluster.run_for(50);
    let after = cluster.status(witness).expect("it runs");
    assert_eq!((after.tip, after.captured), (before.tip, before.captured));
    finish(&mut cluster);
}

/// Members restart while they are sent segments, and leaders while they send them.
fn a_stream_goes_on_when_either_end_restarts(bug: Option<Bug>) {
    for seed in 0..3 {
        let (mut cluster, leader, mut users) = with_users(seed, 16, bug);
        let witness = (leader + 1) % 3;
        let before = cluster.store.calls_of(witness);
        users.iter_mut().for_each(|user| user.wish(RECOVER.repeat(3)));
        cluster.run_until(60, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            false
        });
        cluster.restart_agent(witness);
        cluster.serve(PATIENCE_MS, &mut users);
        together(&mut cluster);
        let calls = calls(&cluster, witness, &before);
        assert!(calls.lists <= 2, "seed {seed}: it lists where it starts, and is sent the rest: {calls:?}");
        cluster.restart_agent(leader);
        users.iter_mut().for_each(|user| user.wish(RECOVER));
        cluster.serve(PATIENCE_MS, &mut users);
        finish(&mut cluster);
    }
}

rules!(
    members_that_keep_up_ask_the_store_for_nothing: ;
    a_member_gets_again_what_was_lost_on_the_way: PushedOnce;
    what_comes_before_its_turn_is_not_sent_again: AheadIsLost;
    a_slow_hsm_is_not_sent_everything_twice: AgainTooSoon;
    a_member_that_takes_nothing_is_not_sent_everything_and_slows_nobody: SentWithoutRoom;
    what_is_lost_repeated_or_out_of_order_is_taken_once_and_in_order: ;
    a_former_leaders_segments_are_not_taken: ;
    segments_of_another_group_are_not_taken: ;
    a_stream_goes_on_when_either_end_restarts: ;
);
