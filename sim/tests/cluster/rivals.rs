//! Two members both believe that they lead, and a third hears both: the one with the older log learns from the answers
//! to its heartbeats that nobody follows it, and the member that hears both follows one of them and stays with it.

use crate::scenario::{PATIENCE_MS, REGISTER_AND_RECOVER, assert_found, at_work, users};
use std::collections::BTreeSet;
use strongroom_proto::ids::{HsmId, Index, Term};
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::{Bug, Role};
use strongroom_sim::cluster::Cluster;

/// An election takes at most this: a time-out, and a few requests to the store.
const ELECTION_MS: u64 = 500;

fn leads(cluster: &Cluster, member: usize) -> bool {
    cluster.status(member).is_some_and(|status| matches!(status.role, Role::Leader { .. }))
}

/// Two others hear each other and not the leader, which cannot see it in the store: until one leads. Then all hear all
/// again, except the two leaders each other.
fn two_leaders(seed: u64, bug: Option<Bug>) -> (Cluster, usize, usize) {
    let (mut cluster, old) = at_work(seed, 3, bug);
    let (new, witness) = ((old + 1) % 3, (old + 2) % 3);
    cluster.faults.alone.insert(old);
    // So it cannot lead, and has no statement to tell the others about.
    cluster.faults.without_hsm.insert(witness);
    assert!(cluster.run_until(5_000, |cluster| leads(cluster, new)), "seed {seed}: another leads");
    cluster.run_for(300);
    assert!(leads(&cluster, old), "seed {seed}: the old one believes in itself");
    cluster.faults.alone.clear();
    cluster.faults.cuts.extend([(old, new), (new, old)]);
    (cluster, old, new)
}

fn a_leader_that_nobody_follows_learns_it_within_an_election(bug: Option<Bug>) {
    for seed in 0..6 {
        let (mut cluster, old, new) = two_leaders(seed, bug);
        let gave_way = cluster.run_until(ELECTION_MS, |cluster| !leads(cluster, old));
        assert!(gave_way, "seed {seed}: it steps down");
        assert!(leads(&cluster, new), "seed {seed}: the higher tip wins");
    }
}

/// The same, but the old leader cannot read the reason in the store, and hears it from both others.
fn a_leader_without_the_store_steps_down_for_a_majority(bug: Option<Bug>) {
    for seed in 0..6 {
        let (mut cluster, old, new) = two_leaders(seed, bug);
        cluster.faults.cuts.clear();
        cluster.faults.without_store.insert(old);
        let gave_way = cluster.run_until(ELECTION_MS, |cluster| !leads(cluster, old));
        assert!(gave_way, "seed {seed}: it steps down");
        assert!(leads(&cluster, new), "seed {seed}: the higher tip wins");
    }
}

fn a_member_that_hears_both_follows_one_and_stays(bug: Option<Bug>) {
    for seed in 0..6 {
        let (mut cluster, old, new) = two_leaders(seed, bug);
        let witness = 3 - old - new;
        cluster.faults.without_hsm.clear();
        let (mut mind, mut changes) = (None, 0);
        let entries = cluster.log().len();
        cluster.run_until(120_000, |cluster| {
            let leader = cluster.status(witness).and_then(|status| status.leader);
            if leader != mind {
                (mind, changes) = (leader, changes + 1);
            }
            false
        });
        assert!(changes <= 4, "seed {seed}: it changed its mind {changes} times in two minutes");
        let made = cluster.log().len() - entries;
        assert!(made <= 4, "seed {seed}: an idle group made {made} entries");
        // Users are served by any member that the leader reaches.
        let mut late = users(&cluster, 3, &REGISTER_AND_RECOVER);
        late.iter_mut().for_each(|user| user.aim(witness));
        cluster.serve(PATIENCE_MS, &mut late);
        cluster.faults.cuts.clear();
        let mut late = users(&cluster, 3, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut late);
        cluster.check_log();
    }
}

/// One liar of five says without pause that a member that is gone still leads.
#[test]
fn a_member_that_lies_about_whom_it_follows_delays_no_election() {
    for seed in 0..4 {
        let (mut cluster, leader) = at_work(seed, 5, None);
        let liar = (leader + 1) % 5;
        let group = cluster.group().clone();
        let gone = group.members[leader];
        let term_of = |cluster: &Cluster, member: usize| match cluster.status(member).map(|s| s.role) {
            Some(Role::Leader { term }) => Some(term),
            _ => None,
        };
        let term = term_of(&cluster, leader).expect("it leads");
        let say = |cluster: &mut Cluster, leader: HsmId, term: Term, newest: Index| {
            let follows = PeerMessage::Follows { group: group.group, leader, term, newest };
            (0..5).filter(|to| *to != liar).for_each(|to| cluster.say(liar, to, &follows));
        };
        // While it leads, another is said to lead.
        let (from, mut next) = (cluster.now(), cluster.now());
        cluster.run_until(20_000, |cluster| {
            if cluster.now() >= next {
                next = cluster.now() + 20;
                say(cluster, group.members[liar], Term([9; 16]), Index(u64::MAX));
            }
            false
        });
        assert_eq!(term_of(&cluster, leader), Some(term), "seed {seed}: it leads as before, since {from}");
        // When it is gone, it is said to be there.
        cluster.crash_agent(leader);
        let mut next = cluster.now();
        let elected = cluster.run_until(5_000, |cluster| {
            if cluster.now() >= next {
                next = cluster.now() + 20;
                let newest = cluster.tip_of(liar).map_or(Index::ZERO, |tip| tip.index);
                say(cluster, gone, term, newest);
            }
            (0..5).any(|member| member != leader && leads(cluster, member))
        });
        assert!(elected, "seed {seed}: another leads");
        let mut late = users(&cluster, 3, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut late);
        assert_eq!((0..5).filter_map(|m| cluster.fault(m)).count(), 0);
        cluster.check_log();
    }
}

/// A member that did not run for some seconds has heard nobody, and the leader is not to blame.
#[test]
fn a_member_that_was_stopped_for_a_while_deposes_no_leader() {
    for seed in 0..6 {
        let (mut cluster, leader) = at_work(seed, 3, None);
        let before = cluster.status(leader).map(|status| status.role);
        for member in (0..3).filter(|member| *member != leader) {
            cluster.jump_clock(member, 5_000);
            cluster.run_for(1_000);
        }
        assert_eq!(cluster.status(leader).map(|status| status.role), before, "seed {seed}");
        let led: BTreeSet<_> = (0..3).map(|m| cluster.status(m).and_then(|status| status.leader)).collect();
        assert_eq!(led.len(), 1, "seed {seed}: all follow it");
    }
}

rules!(
    a_leader_that_nobody_follows_learns_it_within_an_election: RivalUnheard;
    a_leader_without_the_store_steps_down_for_a_majority: RivalUnheard;
    a_member_that_hears_both_follows_one_and_stays: NobodyAsked;
);
