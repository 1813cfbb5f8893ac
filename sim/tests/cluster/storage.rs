//! Replicas whose log is deleted behind them: snapshots, jumps, old writers, and every process lost at once.

use std::collections::BTreeSet;
use strongroom_proto::client::{Recover2Response, Recover3Response, SecretsResponse};
use strongroom_proto::ids::Index;
use strongroom_replica::segment::SegmentName;
use strongroom_replica::stored::TreeDamage;
use strongroom_replica::{Role, Storage};
use strongroom_sim::cluster::{Cluster, StoreCalls, StoreFault, User, Wish};

/// The longest time that a scenario may take, in its own milliseconds.
const PATIENCE_MS: u64 = 60_000;

/// Snapshots all the time, and nothing kept for long.
const QUICK: Storage =
    Storage { snapshot_after_ms: 200, snapshot_records: 2, snapshot_segments: 512, grace_ms: 300 };

const REGISTER_AND_RECOVER: [Wish; 4] = [Wish::Register, Wish::Recover2, Wish::Recover2, Wish::Recover3];
const RECOVER: [Wish; 2] = [Wish::Recover2, Wish::Recover3];

fn users(cluster: &Cluster, seeds: std::ops::Range<u64>, wishes: &[Wish]) -> Vec<User> {
    let user = |seed| {
        let mut user = User::new(cluster, seed, 5);
        user.wish(wishes.iter().copied());
        user
    };
    seeds.map(user).collect()
}

/// Runs until a member leads.
#[track_caller]
fn elect(cluster: &mut Cluster) -> usize {
    assert!(cluster.run_until(5_000, |cluster| cluster.leader().is_some()), "a member leads within 5 s");
    cluster.leader().expect("just seen")
}

/// Whether the last answer is the share.
fn has_recovered(user: &User) -> bool {
    matches!(user.responses().last(), Some(SecretsResponse::Recover3(Recover3Response::Ok(_))))
}

/// Users try to recover again, and succeed.
#[track_caller]
fn recover(cluster: &mut Cluster, users: &mut [User]) {
    users.iter_mut().for_each(|user| user.wish(RECOVER));
    cluster.serve(PATIENCE_MS, users);
    assert!(users.iter().all(has_recovered));
}

/// Runs until these members have captured to the end of the log.
#[track_caller]
fn come_together(cluster: &mut Cluster, members: &[usize]) {
    let together = cluster.run_until(20_000, |cluster| {
        let ends: BTreeSet<_> =
            members.iter().map(|m| cluster.status(*m).map(|s| (s.captured, s.tip, s.tip_hash))).collect();
        ends.len() == 1
            && ends.first().is_some_and(|end| end.is_some_and(|(captured, tip, _)| captured == tip))
    });
    let states: Vec<_> = members.iter().map(|member| cluster.status(*member)).collect();
    assert!(together, "every member captures to the end of the log: {states:#?}");
}

/// The last checks of a run.
#[track_caller]
fn finish(cluster: &Cluster, members: usize) {
    cluster.check_log();
    assert_eq!(cluster.unanswered(), 0, "every request is answered");
    assert!((0..members).all(|member| cluster.fault(member).is_none()), "nothing is damaged");
    assert_eq!(cluster.tree_damage(), [], "the tree is whole");
}

fn snapshot_at(cluster: &Cluster) -> Index {
    cluster.store.tree.snapshot().map_or(Index::ZERO, |snapshot| snapshot.entry.index)
}

/// The lowest first index of the segments that are there.
fn oldest(cluster: &Cluster) -> Index {
    cluster.store.objects().next().expect("the log is never empty").0.first
}

#[test]
fn a_group_starts_again_from_a_snapshot_after_the_log_before_it_was_deleted() {
    for seed in 0..20 {
        let mut cluster = Cluster::with_storage(seed, 3, QUICK);
        let mut users = users(&cluster, 0..4, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut users);
        (0..3).for_each(|_| recover(&mut cluster, &mut users));
        cluster.run_for(1_500);
        assert!(oldest(&cluster) > Index(3), "seed {seed}: the log begins at {}", oldest(&cluster));
        assert!(snapshot_at(&cluster) >= oldest(&cluster));
        assert_eq!(cluster.store.tree.records().count(), users.len());

        cluster.crash_all();
        (0..3).for_each(|member| cluster.start_agent(member));
        recover(&mut cluster, &mut users);
        come_together(&mut cluster, &[0, 1, 2]);
        finish(&cluster, 3);
    }
}

/// A store that takes minutes to list a long log: the name of the next segment follows from what is there.
#[test]
fn a_member_that_is_behind_catches_up_although_no_listing_ends() {
    for seed in 0..8 {
        let mut cluster = Cluster::with_storage(seed, 3, Storage::default());
        let mut users = users(&cluster, 0..4, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut users);
        let leader = elect(&mut cluster);
        let behind = (leader + 1) % 3;
        come_together(&mut cluster, &[0, 1, 2]);
        cluster.faults.alone.insert(behind);
        cluster.faults.without_store.insert(behind);
        for _ in 0..12 {
            users.iter_mut().for_each(|user| user.wish(RECOVER));
            cluster.serve(PATIENCE_MS, &mut users);
        }
        let missed =
            cluster.status(leader).expect("it runs").tip.0 - cluster.status(behind).expect("it runs").tip.0;
        assert!(missed >= 10, "seed {seed}: only {missed}");

        cluster.faults.alone.clear();
        cluster.faults.without_store.clear();
        cluster.faults.held_listings.insert(behind);
        let lists = cluster.store.calls_of(behind).lists;
        come_together(&mut cluster, &[0, 1, 2]);
        assert_eq!(cluster.store.calls_of(behind).lists, lists, "seed {seed}: none has ended");
        assert!(cluster.let_through() <= 1, "seed {seed}: one at a time");
        cluster.faults.held_listings.clear();
        recover(&mut cluster, &mut users);
        come_together(&mut cluster, &[0, 1, 2]);
        finish(&cluster, 3);
    }
}

#[test]
fn leaves_that_move_while_a_snapshot_is_taken_are_in_the_next_one() {
    for seed in 0..8 {
        let storage = Storage { snapshot_records: 5, ..QUICK };
        let mut cluster = Cluster::with_storage(seed, 3, storage);
        let mut users = users(&cluster, seed * 100..seed * 100 + 80, &[]);
        for (at, user) in (0_u64..).zip(&mut users) {
            user.wish([Wish::Register]);
            let due = cluster.now() + at % 40;
            cluster.run_until(PATIENCE_MS, |cluster| {
                user.poll(cluster);
                cluster.now() >= due
            });
        }
        cluster.serve(PATIENCE_MS, &mut users);
        cluster.run_for(2_000);
        assert_eq!(cluster.store.tree.records().count(), users.len());
        cluster.crash_all();
        (0..3).for_each(|member| cluster.start_agent(member));
        recover(&mut cluster, &mut users);
        finish(&cluster, 3);
    }
}

/// Seed 1363 of the random faults: with so much unstored, no request could be run, nor the entry that elects a leader.
#[test]
fn a_leader_is_elected_although_more_has_changed_than_may_wait_for_a_snapshot() {
    for seed in 0..10 {
        let mut cluster = Cluster::with_storage(seed, 3, Storage { snapshot_records: 1, ..QUICK });
        if seed % 2 == 1 {
            // Agents that have run for longer than a leader may take to get on.
            cluster.run_for(15_000);
        }
        let leader = elect(&mut cluster);
        let mut users = users(&cluster, 0..14, &[Wish::Register]);
        users.iter_mut().for_each(|user| user.aim(leader));
        cluster.serve(PATIENCE_MS, &mut users);
        // The witnesses know every change, but no snapshot.
        cluster.crash_agent(leader);
        recover(&mut cluster, &mut users);
        finish(&cluster, 3);
    }
}

#[test]
fn a_member_that_was_away_longer_than_the_log_is_kept_jumps_and_can_lead() {
    for seed in 0..20 {
        let mut cluster = Cluster::with_storage(seed, 3, QUICK);
        let leader = elect(&mut cluster);
        let mut users = users(&cluster, 0..3, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut users);
        let (away, other) = ((leader + 1) % 3, (leader + 2) % 3);
        cluster.run_for(100);
        let captured = cluster.status(away).expect("it runs").captured;
        cluster.crash_agent(away);
        recover(&mut cluster, &mut users);
        let deleted =
            cluster.run_until(PATIENCE_MS, |cluster| oldest(cluster) > captured.next().expect("few"));
        assert!(deleted, "what it has captured is deleted");

        cluster.start_agent(away);
        come_together(&mut cluster, &[0, 1, 2]);
        assert!(cluster.status(away).expect("it runs").captured > captured);
        cluster.crash_agent(leader);
        let leads = (0..50).any(|_| {
            if elect(&mut cluster) == other {
                cluster.restart_agent(other);
            }
            cluster.run_until(1_000, |cluster| cluster.leader() == Some(away))
        });
        assert!(leads, "seed {seed}: the member that was away leads");
        recover(&mut cluster, &mut users);
        finish(&cluster, 3);
    }
}

/// Users of a busy group; after this many messages every process is lost, and one member permanently. What was answered
/// holds, and the rest is answered in the end.
fn lose_everything(seed: u64, at: u64) -> u64 {
    let mut cluster = Cluster::with_storage(seed, 3, QUICK);
    let mut users = users(&cluster, 0..3, &REGISTER_AND_RECOVER);
    cluster.run_until(PATIENCE_MS, |cluster| {
        users.iter_mut().for_each(|user| user.poll(cluster));
        cluster.messages() >= at || users.iter().all(User::is_content)
    });
    let reached = cluster.messages();
    cluster.crash_all();
    let gone = usize::try_from(at % 4).expect("small");
    (0..3).filter(|member| *member != gone).for_each(|member| cluster.start_agent(member));
    cluster.serve(PATIENCE_MS, &mut users);
    recover(&mut cluster, &mut users);
    finish(&cluster, 3);
    reached
}

#[test]
fn every_process_and_one_disk_may_be_lost_at_any_moment_under_load() {
    let end = lose_everything(1, u64::MAX);
    assert!(end > 150, "the scenario has {end} messages");
    for at in (1..=end).step_by(2) {
        lose_everything(1, at);
    }
    for seed in 2..40 {
        lose_everything(seed, seed * end / 40);
    }
}

#[test]
fn every_process_and_one_disk_may_be_lost_at_any_moment_of_an_idle_group() {
    for after in (0..1_200).step_by(17) {
        let mut cluster = Cluster::with_storage(after, 3, QUICK);
        let mut users = users(&cluster, 0..2, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut users);
        cluster.run_for(after);
        cluster.crash_all();
        let gone = usize::try_from(after % 3).expect("small");
        (0..3).filter(|member| *member != gone).for_each(|member| cluster.start_agent(member));
        recover(&mut cluster, &mut users);
        finish(&cluster, 3);
    }
}

/// An old leader that nobody hears, with a segment on its way to the store, while the others go on until the log there
/// is deleted. Returns the name of that segment.
fn stray(cluster: &mut Cluster, users: &mut [User], unheard: &mut [User]) -> SegmentName {
    let old = elect(cluster);
    cluster.serve(PATIENCE_MS, users);
    cluster.faults.alone.insert(old);
    cluster.faults.held_writes.insert(old);
    unheard.iter_mut().for_each(|user| user.aim(old));
    cluster.run_until(150, |cluster| {
        unheard.iter_mut().for_each(|user| user.poll(cluster));
        cluster.leader() != Some(old)
    });
    let status = cluster.status(old).expect("it runs");
    assert!(status.newest > status.tip, "the old leader has made an entry");
    let first = status.tip.next().expect("few");
    let name = SegmentName::new(cluster.group().group, first, &status.tip_hash);
    users.iter_mut().for_each(|user| {
        user.aim(old + 1);
        user.wish(RECOVER);
    });
    cluster.serve(PATIENCE_MS, users);
    let deleted = cluster.run_until(PATIENCE_MS, |cluster| oldest(cluster) > first);
    assert!(deleted, "the position of its segment is deleted");
    name
}

#[test]
fn a_stray_old_leader_that_writes_at_a_deleted_position_changes_nothing() {
    for seed in 0..30 {
        let mut cluster = Cluster::with_storage(seed, 3, QUICK);
        let mut served = users(&cluster, 0..2, &REGISTER_AND_RECOVER);
        let mut unheard = users(&cluster, 10..13, &REGISTER_AND_RECOVER);
        let name = stray(&mut cluster, &mut served, &mut unheard);
        if seed % 3 == 1 {
            // By then it has given up waiting, and has given up its clients.
            cluster.run_for(30_000);
        }
        let before = (cluster.released().clone(), cluster.store.tree.openings(), cluster.log());
        let leader = cluster.leader();
        let heard = seed % 2 == 0 || seed % 3 == 1;
        if heard {
            cluster.faults.alone.clear();
        }
        if seed % 3 == 1 {
            // It has nobody to tell anything, and an idle leader speaks no sooner.
            cluster.run_for(260);
        }
        cluster.faults.held_writes.clear();
        assert!(cluster.let_through() > 0);
        let written =
            cluster.run_until(100, |cluster| cluster.store.objects().any(|(there, _)| *there == name));
        assert!(written, "seed {seed}: the position is free");
        cluster.run_for(150);
        assert_eq!(cluster.released(), &before.0, "no reply is released");
        assert_eq!(cluster.store.tree.openings(), before.1, "the tree stays with the leader");
        if heard {
            // The member that hears nobody has jumped by now, and rightly tries to lead.
            assert_eq!(cluster.leader(), leader);
            assert_eq!(cluster.log(), before.2);
        }

        cluster.faults.alone.clear();
        recover(&mut cluster, &mut served);
        cluster.serve(PATIENCE_MS, &mut unheard);
        assert!(unheard.iter().all(has_recovered));
        come_together(&mut cluster, &[0, 1, 2]);
        finish(&cluster, 3);
    }
}

#[test]
fn an_old_leader_whose_tree_was_opened_by_another_steps_down_and_follows() {
    for seed in 0..20 {
        let storage = Storage { snapshot_after_ms: 2_000, snapshot_records: 100, ..QUICK };
        let mut cluster = Cluster::with_storage(seed, 3, storage);
        let old = elect(&mut cluster);
        let mut users = users(&cluster, 0..3, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut users);
        cluster.faults.alone.insert(old);
        let openings = cluster.store.tree.openings();
        let opened = cluster.run_until(1_500, |cluster| cluster.store.tree.openings() > openings);
        assert!(opened, "seed {seed}: another opens the tree");
        let role = |cluster: &Cluster| cluster.status(old).expect("it runs").role;
        assert!(matches!(role(&cluster), Role::Leader { .. }), "seed {seed}: it does not know");
        let down = cluster.run_until(2_500, |cluster| !matches!(role(cluster), Role::Leader { .. }));
        assert!(down, "seed {seed}: it steps down when it wants to take a snapshot");
        cluster.faults.alone.clear();
        recover(&mut cluster, &mut users);
        come_together(&mut cluster, &[0, 1, 2]);
        finish(&cluster, 3);
    }
}

#[test]
fn a_listing_that_lags_delays_a_group_and_stops_nobody() {
    for seed in 0..12 {
        let mut cluster =
            Cluster::with_storage(seed, 3, if seed % 2 == 0 { QUICK } else { Storage::default() });
        cluster.faults.listing_lag_ms = 3_000;
        let mut users = users(&cluster, 0..3, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut users);
        for after in [0, 200, 1_000] {
            cluster.run_for(after);
            cluster.crash_all();
            (0..3).for_each(|member| cluster.start_agent(member));
            recover(&mut cluster, &mut users);
        }
        come_together(&mut cluster, &[0, 1, 2]);
        finish(&cluster, 3);
    }
}

/// What a realm holds for a user: nothing, or how many guesses are charged.
type State = Option<u16>;

/// The state after a wish is carried out.
fn carried_out(state: State, wish: Wish) -> State {
    match wish {
        Wish::Register => Some(0),
        Wish::Recover2 => state.map(|charged| charged + 1),
        Wish::Recover3 => state.map(|_| 0),
        Wish::WrongTag | Wish::Recover1 => state,
        Wish::Delete => None,
    }
}

const SCRIPT: [Wish; 5] = [Wish::Register, Wish::Recover2, Wish::WrongTag, Wish::Recover2, Wish::Recover3];

/// One user carries out the script while one request to the store goes wrong; soon after it everything is lost, and
/// starts again. Returns how many requests the store had.
fn crash_at(nth: u64, fault: StoreFault, later_ms: u64) -> u64 {
    let mut cluster = Cluster::with_storage(7, 3, QUICK);
    cluster.faults.store_faults.insert(nth, fault);
    let mut user = users(&cluster, 0..1, &SCRIPT).remove(0);
    let mut quiet_since = None;
    let mut crash_from = None;
    cluster.run_until(PATIENCE_MS, |cluster| {
        user.poll(cluster);
        let now = cluster.now();
        if user.is_content() {
            quiet_since.get_or_insert(now);
        }
        if cluster.store_requests() >= nth {
            crash_from.get_or_insert(now + later_ms);
        }
        crash_from.is_some_and(|at| now >= at) || quiet_since.is_some_and(|since| now > since + 800)
    });
    let requests = cluster.store_requests();
    cluster.crash_all();
    let answered = user.responses().len();
    let before = SCRIPT[..answered].iter().fold(None, |state, wish| carried_out(state, *wish));
    let after = SCRIPT.get(answered).map_or(before, |wish| carried_out(before, *wish));

    user.give_up();
    (0..3).for_each(|member| cluster.start_agent(member));
    user.wish([Wish::Recover2]);
    cluster.serve(PATIENCE_MS, std::slice::from_mut(&mut user));
    let state = match user.responses().last() {
        Some(SecretsResponse::Recover2(Recover2Response::NotRegistered)) => None,
        Some(SecretsResponse::Recover2(Recover2Response::Ok(ok))) => Some(ok.guess_count - 1),
        other => panic!("{other:?}"),
    };
    assert!(
        [before, after].contains(&state),
        "request {nth}, {fault:?}, {later_ms} ms: {state:?} after {answered} answers"
    );
    finish(&cluster, 3);
    requests
}

#[test]
fn whatever_store_request_is_the_last_before_everything_is_lost_the_state_is_one_before_or_after_it() {
    let requests = crash_at(u64::MAX, StoreFault::None, 0);
    assert!(requests > 20, "the script has {requests} requests");
    for nth in 1..=requests {
        for fault in [StoreFault::None, StoreFault::AnswerLost, StoreFault::Unavailable] {
            for later_ms in [0, 12, 60] {
                crash_at(nth, fault, later_ms);
            }
        }
    }
}

/// Store calls of recoveries in a group whose tree is stored and whose memory holds nothing of it.
fn calls_of_recoveries(count: u64) -> (StoreCalls, Cluster) {
    let mut cluster = Cluster::new(3, 3);
    let leader = elect(&mut cluster);
    let mut users = users(&cluster, 0..count, &[Wish::Register]);
    users.iter_mut().for_each(|user| user.aim(leader));
    cluster.serve(PATIENCE_MS, &mut users);
    let until = cluster.now() + 2 * Storage::default().snapshot_after_ms;
    cluster.run_until(PATIENCE_MS, |cluster| cluster.now() >= until);
    assert_eq!(cluster.store.tree.records().count() as u64, count, "every registration is stored");
    let before = cluster.store.calls();
    recover(&mut cluster, &mut users);
    (cluster.store.calls().since(&before), cluster)
}

#[test]
fn one_recovery_alone_costs_two_writes_and_one_reading_of_its_path() {
    let (calls, mut cluster) = calls_of_recoveries(1);
    let expected = StoreCalls { writes: 2, loads: 1, pages: 1, leaves: 1, ..StoreCalls::default() };
    assert_eq!(calls, expected);
    let before = cluster.store.calls();
    cluster.run_for(2 * Storage::default().snapshot_after_ms);
    let expected = StoreCalls { advances: 1, ..StoreCalls::default() };
    assert_eq!(cluster.store.calls().since(&before), expected, "its share of what comes later");
}

#[test]
fn a_thousand_recoveries_at_once_share_their_store_calls() {
    let (calls, _) = calls_of_recoveries(1_000);
    let expected = StoreCalls {
        // While a write is under way, the next one fills.
        writes: 6,
        // Witnesses are sent all of it.
        loads: 1_000,
        pages: 3_212,
        leaves: 1_000,
        ..StoreCalls::default()
    };
    assert_eq!(calls, expected);
}

/// Each client begins its next recovery when it has the answer of the one before.
#[test]
fn batches_grow_with_the_load_until_a_write_is_shared_by_fifty_recoveries() {
    const CLIENTS: u64 = 256;
    const TIMES: u64 = 4;
    let mut cluster = Cluster::new(3, 3);
    let leader = elect(&mut cluster);
    let mut users = users(&cluster, 0..CLIENTS, &[Wish::Register]);
    users.iter_mut().for_each(|user| user.aim(leader));
    cluster.serve(PATIENCE_MS, &mut users);
    let before = cluster.store.calls();
    for _ in 0..TIMES {
        users.iter_mut().for_each(|user| user.wish(RECOVER));
    }
    cluster.serve(PATIENCE_MS, &mut users);
    assert!(users.iter().all(has_recovered));
    let calls = cluster.store.calls().since(&before);
    let writes = calls.writes * 1_000 / (CLIENTS * TIMES);
    assert!(writes <= 20, "{writes} writes for 1,000 recoveries");
    assert_eq!((calls.lists, calls.reads), (0, 0));
}

#[test]
fn an_idle_group_asks_the_store_for_next_to_nothing() {
    let mut cluster = Cluster::new(5, 3);
    let mut users = users(&cluster, 0..3, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut users);
    let before: Vec<StoreCalls> = (0..3).map(|member| cluster.store.calls_of(member)).collect();
    cluster.run_for(10 * 60_000);
    for (member, before) in before.iter().enumerate() {
        let requests = cluster.store.calls_of(member).since(before).requests();
        assert!(requests <= 10 * 60 / 5, "member {member} made {requests} requests in ten minutes");
    }
    finish(&cluster, 3);
}

#[test]
fn a_lost_leaf_is_named_and_only_its_own_record_is_refused() {
    let mut cluster = Cluster::with_storage(9, 3, QUICK);
    let mut users = users(&cluster, 0..4, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.run_for(1_500);
    let lost = users[0].record();
    cluster.store.tree.lose_leaf(&lost).expect("it was stored");
    cluster.crash_all();
    (0..3).for_each(|member| cluster.start_agent(member));
    users[0].wish(RECOVER);
    let refused = cluster.run_until(PATIENCE_MS, |cluster| {
        users[0].poll(cluster);
        !cluster.tree_damage().is_empty()
    });
    assert!(refused && !users[0].is_content(), "nothing can be said about the record");
    assert!(cluster.tree_damage().iter().all(|(_, damage)| *damage == TreeDamage::NoLeaf(lost)));
    users[1..].iter_mut().for_each(|user| user.wish(RECOVER));
    cluster.serve(PATIENCE_MS, &mut users[1..]);
    assert!(users[1..].iter().all(has_recovered), "the others are served");
    assert!((0..3).all(|member| cluster.fault(member).is_none()), "no member stops");
}

#[test]
fn a_stray_log_that_is_longer_than_the_real_one_does_not_stop_the_group() {
    for seed in 0..3 {
        let mut cluster = Cluster::with_storage(seed, 3, Storage { snapshot_records: 64, ..QUICK });
        assert!(cluster.run_until(5_000, |cluster| cluster.leader().is_some()));
        let old = cluster.leader().expect("one leads");
        let mut served = vec![User::new(&cluster, 0, 5)];
        served[0].wish([Wish::Register]);
        cluster.serve(60_000, &mut served);
        cluster.run_for(400);

        // The old leader is cut off, and makes one entry after another, whose writes are held.
        cluster.faults.alone.insert(old);
        cluster.faults.held_writes.insert(old);
        let mut unheard: Vec<User> = (10..90).map(|user| User::new(&cluster, user, 5)).collect();
        unheard.iter_mut().for_each(|user| user.wish([Wish::Register]));
        unheard.iter_mut().for_each(|user| user.aim(old));
        let (begun, end) = (cluster.now(), cluster.now() + 900);
        cluster.run_until(1_000, |cluster| {
            let so_far = usize::try_from((cluster.now() - begun) / 8).expect("few").min(unheard.len());
            unheard[..so_far].iter_mut().for_each(|user| user.poll(cluster));
            cluster.now() >= end
        });
        let status = cluster.status(old).expect("it runs");
        let (tip, newest) = (status.tip, status.newest);
        unheard.iter_mut().for_each(User::give_up);

        // The others go on, with few entries, until its place is deleted; then its writes get through.
        served[0].aim(old + 1);
        served[0].wish([Wish::Recover2]);
        cluster.serve(60_000, &mut served);
        let place = tip.next().expect("small");
        let oldest = |cluster: &Cluster| cluster.store.objects().next().map(|(name, _)| name.first);
        assert!(cluster.run_until(5_000, |cluster| oldest(cluster) > Some(place)));
        let real = (0..3).filter_map(|member| cluster.status(member)).map(|status| status.tip).max();
        assert!(Some(newest) > real, "seed {seed}: the stray log is no longer than the real one");
        cluster.faults.alone.clear();
        cluster.faults.held_writes.clear();
        cluster.let_through();
        cluster.run_for(2_000);
        served[0].wish([Wish::Recover2]);
        let content = cluster.run_until(60_000, |cluster| {
            served[0].poll(cluster);
            served[0].is_content()
        });
        assert!(content, "seed {seed}: the group does not serve");
    }
}

#[test]
fn a_group_comes_up_although_its_store_takes_long_to_give_the_log() {
    // Only the log is stored: every leader has to read all of it.
    const NEVER: Storage = Storage {
        snapshot_after_ms: u64::MAX / 4,
        snapshot_records: usize::MAX / 8,
        snapshot_segments: usize::MAX / 4,
        grace_ms: 300,
    };
    let mut cluster = Cluster::with_storage(33, 3, NEVER);
    elect(&mut cluster);
    let mut users = users(&cluster, 0..1, &[Wish::Register; 600]);
    cluster.serve(10 * PATIENCE_MS, &mut users);
    let end = cluster.status(0).expect("it runs").tip;
    assert!(end > Index(500), "one entry in each segment: {end}");
    cluster.crash_all();
    cluster.faults.delay_store = 1.0;
    (0..3).for_each(|member| cluster.restart_agent(member));
    let serves = |cluster: &mut Cluster| (0..3).any(|m| cluster.status(m).is_some_and(|s| s.serving));
    assert!(
        cluster.run_until(180_000, serves),
        "a store that gives some segments a second gives 600 in three minutes"
    );
    recover(&mut cluster, &mut users);
    finish(&cluster, 3);
}
