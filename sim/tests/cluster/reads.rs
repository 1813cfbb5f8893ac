//! Replicas on a store that does not return what it has: one bad read stops no member, a damaged object stops a member
//! for as long as it is damaged, and a member that was away is back soon, whatever is written meanwhile.

use crate::scenario::{PATIENCE_MS, REGISTER_AND_RECOVER, assert_found, at_work, users};
use strongroom_replica::{Bug, Role};
use strongroom_sim::cluster::{BadRead, Cluster, User, Wish};

/// The longest time that a stopped member waits before it looks again, plus some time to read.
const REST_MS: u64 = 130_000;

/// Whether these members have captured to the end of one log, and nothing is wrong.
fn are_well(cluster: &Cluster, members: &[usize]) -> bool {
    let states: Option<Vec<_>> = members.iter().map(|member| cluster.status(*member)).collect();
    let Some(states) = states else { return false };
    states.iter().all(|s| s.fault.is_none() && s.captured == s.tip && s.tip_hash == states[0].tip_hash)
}

#[track_caller]
fn come_together(cluster: &mut Cluster, ms: u64) {
    let together = cluster.run_until(ms, |cluster| are_well(cluster, &[0, 1, 2]));
    let states: Vec<_> = (0..3).map(|member| cluster.status(member)).collect();
    assert!(together, "all go on within {ms} ms: {states:#?}");
    cluster.check_log();
}

/// What a store may return in place of a segment, including flipped bits in the MAC of its entry and in what it
/// changes.
fn bad_reads() -> Vec<BadRead> {
    let flipped = (0..12).map(|nth| BadRead::Flipped(nth * 331));
    [BadRead::Cut, BadRead::ErrorPage].into_iter().chain(flipped).collect()
}

/// A store that returns something else for some seconds while agents start.
fn bad_reads_for_some_seconds_stop_no_member(bug: Option<Bug>) {
    for (seed, bad) in (0..).zip(bad_reads()) {
        let mut cluster = at_work(seed, 3, bug).0;
        cluster.faults.bad_reads.extend((0..3).map(|member| (member, bad)));
        cluster.crash_all();
        (0..3).for_each(|member| cluster.start_agent(member));
        let stopped = cluster.run_until(3_000, |cluster| (0..3).any(|m| cluster.fault(m).is_some()));
        assert!(!stopped, "{bad:?}: no member stops because of that");
        cluster.faults.bad_reads.clear();
        come_together(&mut cluster, 15_000);
        let mut late = users(&cluster, 2, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut late);
    }
}

/// The same for minutes, so that members stop and say why; then they go on by themselves.
fn members_that_have_stopped_go_on_when_all_reads_well(bug: Option<Bug>) {
    for (seed, bad) in (20..).zip(bad_reads()) {
        let mut cluster = at_work(seed, 3, bug).0;
        let away = cluster.leader().map_or(0, |leader| (leader + 1) % 3);
        cluster.crash_agent(away);
        let mut more = users(&cluster, 3, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut more);
        cluster.faults.bad_reads.insert(away, bad);
        cluster.start_agent(away);
        // Bits that no member there relies on may be wrong.
        if cluster.run_until(60_000, |cluster| cluster.fault(away).is_some()) {
            let status = cluster.status(away).expect("it runs");
            assert_eq!((status.role, status.fault.is_some()), (Role::Faulted, true), "{bad:?}");
            let before = cluster.store.calls_of(away);
            cluster.run_for(600_000);
            let reads = cluster.store.calls_of(away).since(&before).requests();
            assert!((5..1_000).contains(&reads), "{bad:?}: {reads} requests in ten minutes");
            assert!(cluster.fault(away).is_some(), "{bad:?}: it is still stopped");
        }
        cluster.faults.bad_reads.clear();
        come_together(&mut cluster, REST_MS);
        assert!(
            (0..3).all(|member| cluster.fault(member).is_none()),
            "{bad:?}: it is over, and reported as over"
        );
    }
}

/// Damage that stays until an operator repairs it.
fn a_damaged_segment_that_is_restored_lets_everybody_go_on(bug: Option<Bug>) {
    for seed in 0..6 {
        let mut cluster = at_work(seed, 3, bug).0;
        let objects: Vec<_> = cluster.store.objects().map(|(name, bytes)| (*name, bytes.clone())).collect();
        // Only a leader needs the oldest; a member begins to read at the newest.
        let at = if seed % 2 == 0 { usize::try_from(seed).expect("small") } else { objects.len() - 1 };
        let (name, bytes) = objects[at].clone();
        cluster.crash_all();
        let mut damaged = bytes.to_vec();
        if seed % 3 == 0 {
            cluster.store.lose(&name);
        } else {
            BadRead::Flipped(77).spoil(&mut damaged);
            cluster.store.put(name, damaged.into());
        }
        (0..3).for_each(|member| cluster.start_agent(member));
        let stopped = cluster.run_until(60_000, |cluster| (0..3).any(|m| cluster.fault(m).is_some()));
        assert!(stopped, "seed {seed}: it is noticed");
        cluster.run_for(30_000);
        cluster.store.put(name, bytes);
        come_together(&mut cluster, REST_MS);
        let mut late = users(&cluster, 2, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut late);
    }
}

/// A member without what a leader needs still captures.
#[test]
fn a_member_that_cannot_read_what_a_leader_needs_leaves_leading_to_others_and_is_counted_on() {
    for seed in 0..4 {
        let mut cluster = at_work(seed, 3, None).0;
        let leader = cluster.leader().expect("a member leads");
        let other = (leader + 1) % 3;
        cluster.faults.bad_reads.extend((0..3).filter(|m| *m != leader).map(|m| (m, BadRead::ErrorPage)));
        cluster.crash_agent(other);
        let mut users = users(&cluster, 2, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut users);
        cluster.check_log();
    }
}

/// Users that never stop, for this long.
fn load(cluster: &mut Cluster, users: &mut [User], ms: u64, mut done: impl FnMut(&Cluster) -> bool) -> bool {
    cluster.run_until(ms, |cluster| {
        for user in users.iter_mut() {
            user.poll(cluster);
            if user.is_content() {
                user.wish([Wish::Recover2, Wish::Recover3]);
            }
        }
        done(cluster)
    })
}

/// A member comes back hundreds of entries behind, while the leader writes as fast as it can.
fn a_member_that_was_away_catches_up_much_faster_than_the_leader_writes(bug: Option<Bug>) {
    const ENTRIES: u64 = 400;
    for seed in 0..1 {
        let mut cluster = at_work(seed, 3, bug).0;
        let leader = cluster.leader().expect("a member leads");
        let away = (leader + 1) % 3;
        cluster.crash_agent(away);
        let mut users = users(&cluster, 12, &REGISTER_AND_RECOVER);
        users.iter_mut().for_each(|user| user.aim(leader));
        let newest = |cluster: &Cluster| cluster.status(leader).expect("it runs").newest.0;
        let (began, first) = (cluster.now(), newest(&cluster));
        let missed = load(&mut cluster, &mut users, 600_000, |cluster| newest(cluster) >= first + ENTRIES);
        assert!(missed, "seed {seed}: the leader writes");
        let written_per_s = ENTRIES * 1_000 / (cluster.now() - began);

        cluster.start_agent(away);
        let (back, mut seen) = (cluster.now(), None);
        let captured = |cluster: &Cluster| cluster.status(away).expect("it runs").captured.0;
        let (from, calls) = (captured(&cluster), cluster.store.calls_of(away));
        // No further behind than a member that was always there.
        let caught_up = load(&mut cluster, &mut users, 60_000, |cluster| {
            if seen.is_none() && captured(cluster) > from {
                seen = Some(cluster.now());
            }
            captured(cluster) + 4 >= newest(cluster)
        });
        let ms = cluster.now() - back;
        let caught_per_s = (captured(&cluster) - from) * 1_000 / ms.max(1);
        let requests = cluster.store.calls_of(away).since(&calls).requests();
        println!(
            "seed {seed}: {written_per_s} entries/s written, {caught_per_s} caught up in {ms} ms, {requests} requests"
        );
        assert!(caught_up, "seed {seed}: it is back within a minute");
        assert!(
            caught_per_s >= 8 * written_per_s,
            "seed {seed}: {caught_per_s} and {written_per_s} entries/s"
        );
        // And stays there, without the store.
        let calls = cluster.store.calls_of(away);
        let mut behind = 0;
        load(&mut cluster, &mut users, 2_000, |cluster| {
            behind = behind.max(newest(cluster).saturating_sub(captured(cluster)));
            false
        });
        let requests = cluster.store.calls_of(away).since(&calls).requests();
        assert!(behind <= 16 && requests <= 20, "seed {seed}: {behind} behind, {requests} requests");
        cluster.check_log();
    }
}

rules!(
    bad_reads_for_some_seconds_stop_no_member: BadReadIsFault;
    members_that_have_stopped_go_on_when_all_reads_well: FaultForGood;
    a_damaged_segment_that_is_restored_lets_everybody_go_on: FaultForGood;
    a_member_that_was_away_catches_up_much_faster_than_the_leader_writes: ;
);
