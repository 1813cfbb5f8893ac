//! One member's agent is broken or stolen. It may waste guesses, and no more: no member stops, the leader keeps its
//! place, elections take place, and users are served.

use crate::scenario::{PATIENCE_MS, REGISTER_AND_RECOVER, assert_found, at_work, users};
use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::ids::{Digest, EntryHash, Index, Mac, Term};
use strongroom_proto::statement::Captured;
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::segment::Segment;
use strongroom_replica::{Bug, Role, Shared};
use strongroom_sim::cluster::{Cluster, Lie, User, Wish};

/// No member has stopped, and users are served within this time.
#[track_caller]
fn served_within(cluster: &mut Cluster, ms: u64) {
    let mut late = users(cluster, 3, &REGISTER_AND_RECOVER);
    cluster.serve(ms, &mut late);
    let faults: Vec<_> = (0..cluster.members()).map(|member| cluster.fault(member)).collect();
    assert!(faults.iter().all(Option::is_none), "a member has stopped: {faults:?}");
    cluster.check_log();
}

fn term_of(cluster: &Cluster, member: usize) -> Option<Term> {
    match cluster.status(member)?.role {
        Role::Leader { term } => Some(term),
        _ => None,
    }
}

/// Runs `lie` every few milliseconds.
fn run_with(cluster: &mut Cluster, ms: u64, mut lie: impl FnMut(&mut Cluster)) {
    let mut next = cluster.now();
    cluster.run_until(ms, |cluster| {
        if cluster.now() >= next {
            next = cluster.now() + 5;
            lie(cluster);
        }
        false
    });
}

fn a_forged_push_stops_no_witness(bug: Option<Bug>) {
    for seed in 0..4 {
        let (mut cluster, leader) = at_work(seed, 3, bug);
        let (witness, other) = ((leader + 1) % 3, (leader + 2) % 3);
        for liar in [other, leader] {
            let forged = cluster.forgery(liar, witness).expect("there is a log");
            cluster.say(liar, witness, &forged);
            cluster.run_for(3_000);
            assert_eq!(cluster.fault(witness), None, "seed {seed}");
        }
        served_within(&mut cluster, 5_000);
    }
}

fn forgery_after_forgery_costs_a_witness_less_and_less(bug: Option<Bug>) {
    let (mut cluster, leader) = at_work(1, 3, bug);
    let witness = (leader + 1) % 3;
    cluster.turn(leader, BTreeSet::from([Lie::Forgery, Lie::Push]));
    run_with(&mut cluster, 20_000, |cluster| {
        if let Some(forged) = cluster.forgery(leader, witness) {
            cluster.say(leader, witness, &forged);
        }
    });
    served_within(&mut cluster, 10_000);
    let requests = cluster.store.calls_of(witness).requests();
    assert!(requests < 400, "{requests} requests of the store");
}

fn a_push_that_does_not_fit_what_is_captured_stops_no_member_that_is_about_to_read(bug: Option<Bug>) {
    let (mut cluster, leader) = at_work(2, 3, bug);
    let (witness, liar) = ((leader + 1) % 3, (leader + 2) % 3);
    let first = cluster.store.objects().next().map(|(_, bytes)| Segment::decode(bytes).expect("a segment"));
    let mut entries = first.expect("the log is not empty").entries().to_vec();
    let before = entries[0].entry.clone();
    // From the first entry to the captured one, with every entry different.
    let captured = cluster.status(witness).expect("it runs").captured;
    entries.truncate(1);
    entries[0].entry.leader = cluster.group().members[liar];
    while entries.last().is_some_and(|last| last.entry.index < captured) {
        let last = entries.last().expect("not empty").entry.clone();
        let mut next = entries[0].clone();
        next.leaves.clear();
        next.entry.index = last.index.next().expect("small");
        next.entry.prev = last.hash();
        entries.push(next);
    }
    let segment = Segment::new(entries).expect("they follow one another").encode().expect("short");
    let push = PeerMessage::Push {
        group: before.group,
        first: before.index,
        prev: before.prev,
        segment: segment.into(),
        paths: Shared::default(),
    };
    cluster.crash_agent(witness);
    cluster.faults.without_store.insert(witness);
    cluster.start_agent(witness);
    run_with(&mut cluster, 2_000, |cluster| cluster.say(liar, witness, &push));
    assert_eq!(cluster.fault(witness), None);
    cluster.faults.without_store.clear();
    served_within(&mut cluster, 5_000);
}

fn a_false_hash_deposes_no_leader(bug: Option<Bug>) {
    let (mut cluster, leader) = at_work(3, 3, bug);
    let liar = (leader + 1) % 3;
    let term = term_of(&cluster, leader);
    let (group, hsm) = (cluster.group().group, cluster.group().members[liar]);
    let mut late = users(&cluster, 4, &REGISTER_AND_RECOVER);
    run_with(&mut cluster, 5_000, |cluster| {
        late.iter_mut().for_each(|user| user.poll(cluster));
        let newest = cluster.status(leader).expect("it runs").newest;
        for index in [newest, Index(newest.0 + 1)] {
            let statement = Captured { hsm, index, hash: EntryHash([9; 32]), mac: Mac(Digest([9; 32])) };
            cluster.say(liar, leader, &PeerMessage::Captured { group, statement });
        }
    });
    assert_eq!(term_of(&cluster, leader), term, "it leads as before");
    cluster.serve(1_000, &mut late);
    served_within(&mut cluster, 5_000);
}

fn statements_that_do_not_verify_cost_their_sender_its_turn_and_not_the_leader_its_place(bug: Option<Bug>) {
    for (seed, members) in [(4, 3), (5, 5)] {
        let (mut cluster, leader) = at_work(seed, members, bug);
        // The member whose statement the leader's agent meets first.
        let others = (0..members).filter(|member| *member != leader);
        let liar = others.min_by_key(|member| cluster.group().members[*member]).expect("there are others");
        let term = term_of(&cluster, leader);
        let (group, hsm) = (cluster.group().group, cluster.group().members[liar]);
        // Its own statements do not arrive, and false ones come before those of all others.
        cluster.turn(liar, BTreeSet::from([Lie::Statement]));
        let mut late = users(&cluster, 4, &REGISTER_AND_RECOVER);
        let (mut served_at, mut said_at) = (None, 0);
        let began = cluster.now();
        cluster.run_until(20_000, |cluster| {
            late.iter_mut().for_each(|user| user.poll(cluster));
            let due = cluster.now() > said_at;
            said_at = cluster.now();
            if let Some(tip) = cluster.tip_of(leader).filter(|_| due) {
                let mac = Mac(Digest([9; 32]));
                let statement = Captured { hsm, index: tip.index, hash: tip.hash(), mac };
                cluster.say(liar, leader, &PeerMessage::Captured { group, statement });
            }
            if served_at.is_none() && late.iter().all(User::is_content) {
                served_at = Some(cluster.now());
            }
            served_at.is_some()
        });
        let served = served_at.map(|at| at - began);
        assert!(served.is_some_and(|ms| ms < 450), "{members} members: served after {served:?} ms");
        assert_eq!(term_of(&cluster, leader), term, "it leads as before");
        served_within(&mut cluster, 5_000);
    }
}

fn a_member_that_does_not_lead_cannot_put_off_elections_for_long(bug: Option<Bug>) {
    for seed in 0..4 {
        for ahead in [0, 1, 1_000_000] {
            let (mut cluster, leader) = at_work(seed, 3, bug);
            let (liar, honest) = ((leader + 1) % 3, (leader + 2) % 3);
            cluster.crash_agent(leader);
            let began = cluster.now();
            let mut elected = None;
            run_with(&mut cluster, 10_000, |cluster| {
                let Some(tip) = cluster.tip_of(honest) else { return };
                let newest = Index(tip.index.0 + ahead);
                let (group, term, snapshot) = (tip.group, tip.term, Index(u64::MAX));
                let silent_ms = u32::MAX;
                let claim = PeerMessage::Heartbeat { group, term, newest, snapshot, silent_ms };
                cluster.say(liar, honest, &claim);
                // The liar itself never leads: its HSM is left out, so only the other can.
                cluster.faults.without_store.insert(liar);
                if cluster.leader() == Some(honest) {
                    elected.get_or_insert(cluster.now() - began);
                }
            });
            assert!(elected.is_some_and(|ms| ms < 4_000), "seed {seed}: elected after {elected:?} ms");
        }
    }
}

fn a_leader_that_serves_no_client_is_replaced_while_clients_wait(bug: Option<Bug>) {
    for (seed, speaks) in [(0, true), (1, true), (2, false)] {
        let (mut cluster, leader) = at_work(seed, 3, bug);
        cluster.turn(leader, BTreeSet::from([Lie::Silence]));
        if speaks {
            // As if it had something to do: otherwise it is silent when clients come, and that alone is enough.
            cluster.plant_in_agent(leader, Bug::IdleChatter);
        }
        served_within(&mut cluster, 30_000);
        assert_ne!(cluster.leader(), Some(leader), "seed {seed}: another leads");
    }
}

fn a_leader_that_gets_no_requests_keeps_its_place(bug: Option<Bug>) {
    let (mut cluster, leader) = at_work(6, 3, bug);
    let term = term_of(&cluster, leader);
    let witness = (leader + 1) % 3;
    for _ in 0..20 {
        let mut late = users(&cluster, 1, &[Wish::Register]);
        late[0].aim(witness);
        cluster.serve(PATIENCE_MS, &mut late);
        cluster.run_for(30_000);
    }
    assert_eq!(term_of(&cluster, leader), term);
}

fn statements_reach_the_leader_whoever_else_claims_to_lead(bug: Option<Bug>) {
    let (mut cluster, leader) = at_work(7, 3, bug);
    let term = term_of(&cluster, leader);
    let (liar, witness) = ((leader + 1) % 3, (leader + 2) % 3);
    // The liar captures nothing, so the witness is needed.
    cluster.faults.alone.insert(liar);
    let mut late = users(&cluster, 4, &REGISTER_AND_RECOVER);
    let mut hinted = BTreeMap::new();
    run_with(&mut cluster, 5_000, |cluster| {
        late.iter_mut().for_each(|user| user.poll(cluster));
        let Some(tip) = cluster.tip_of(witness) else { return };
        let (group, term, newest, snapshot) = (tip.group, tip.term, tip.index, Index::ZERO);
        let claim = PeerMessage::Heartbeat { group, term, newest, snapshot, silent_ms: u32::MAX };
        cluster.say(liar, witness, &claim);
        let hint = cluster.status(witness).and_then(|status| status.leader);
        *hinted.entry(hint).or_insert(0) += 1;
    });
    assert!(late.iter().all(User::is_content), "users are served");
    assert_eq!(term_of(&cluster, leader), term, "it leads as before");
    let right = Some(cluster.group().members[leader]);
    assert!(hinted.keys().all(|hint| *hint == right), "clients are sent to the leader: {hinted:?}");
}

fn what_was_pushed_and_is_not_captured_is_never_written_to_the_store(bug: Option<Bug>) {
    let (mut cluster, leader) = at_work(8, 3, bug);
    let (witness, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.faults.without_hsm.insert(witness);
    // No other member takes the place.
    cluster.faults.without_store.insert(other);
    let forged = cluster.forgery(leader, witness).expect("there is a log");
    let PeerMessage::Push { segment: forged_bytes, .. } = &forged else { panic!("a push") };
    cluster.say(leader, witness, &forged);
    cluster.run_for(20);
    // A member that reads the log now finds that the store lacks its end.
    cluster.crash_agent(leader);
    cluster.run_for(10_000);
    let written = cluster.store.objects().any(|(_, bytes)| bytes[..] == forged_bytes[..]);
    assert!(!written, "the forgery is in the store");
    cluster.faults = Default::default();
    cluster.start_agent(leader);
    served_within(&mut cluster, 30_000);
}

fn an_entry_of_a_new_leader_is_not_captured_before_it_is_in_the_store(bug: Option<Bug>) {
    for seed in 0..4 {
        let (mut cluster, leader) = at_work(seed, 3, bug);
        let (liar, witness) = ((leader + 1) % 3, (leader + 2) % 3);
        // Its HSM makes an entry, which never reaches the store.
        cluster.faults.held_writes.insert(liar);
        cluster.faults.cuts.insert((leader, liar));
        let made = cluster.run_until(5_000, |cluster| !cluster.held_segments().is_empty());
        assert!(made, "it makes an entry");
        let bytes = cluster.held_segments().remove(0);
        let segment = Segment::decode(&bytes).expect("a segment");
        let (first, prev) = (segment.first().index, segment.first().prev);
        let group = cluster.group().group;
        let push = PeerMessage::Push { group, first, prev, segment: bytes.into(), paths: Shared::default() };
        run_with(&mut cluster, 300, |cluster| cluster.say(liar, witness, &push));
        let captured = cluster.status(witness).expect("it runs").captured;
        assert!(captured < first, "seed {seed}: entry {first} is captured and is not in the store");
        served_within(&mut cluster, 5_000);
    }
}

fn claims_that_the_store_does_not_confirm_are_checked_less_and_less_often(bug: Option<Bug>) {
    let (mut cluster, leader) = at_work(9, 3, bug);
    let liar = (leader + 1) % 3;
    let before: Vec<_> = (0..3).map(|member| cluster.store.calls_of(member)).collect();
    run_with(&mut cluster, 60_000, |cluster| {
        for to in (0..3).filter(|to| *to != liar) {
            let Some(tip) = cluster.tip_of(to) else { continue };
            let (group, term, newest) = (tip.group, tip.term, Index(tip.index.0 + 7));
            let (snapshot, silent_ms) = (Index::ZERO, u32::MAX);
            cluster.say(liar, to, &PeerMessage::Heartbeat { group, term, newest, snapshot, silent_ms });
            if let Some(PeerMessage::Push { group, first, segment, .. }) = cluster.forgery(liar, to) {
                let (prev, paths) = (EntryHash([3; 32]), Shared::default());
                cluster.say(liar, to, &PeerMessage::Push { group, first, prev, segment, paths });
            }
            let hsm = cluster.group().members[liar];
            let statement =
                Captured { hsm, index: newest, hash: EntryHash([9; 32]), mac: Mac(Digest([9; 32])) };
            cluster.say(liar, to, &PeerMessage::Captured { group, statement });
        }
    });
    for (member, before) in before.iter().enumerate() {
        let requests = cluster.store.calls_of(member).since(before).requests();
        assert!(requests <= 60, "member {member} made {requests} requests in a minute");
    }
    assert_eq!(cluster.leader(), Some(leader));
    served_within(&mut cluster, 5_000);
}

/// The rules hold in these scenarios.
macro_rules! hold {
    ($($scenario:ident),* $(,)?) => {
        mod holds {
            $(#[test] fn $scenario() { super::$scenario(None); })*
        }
    };
}

hold!(
    a_forged_push_stops_no_witness,
    forgery_after_forgery_costs_a_witness_less_and_less,
    a_push_that_does_not_fit_what_is_captured_stops_no_member_that_is_about_to_read,
    a_false_hash_deposes_no_leader,
    statements_that_do_not_verify_cost_their_sender_its_turn_and_not_the_leader_its_place,
    a_member_that_does_not_lead_cannot_put_off_elections_for_long,
    a_leader_that_serves_no_client_is_replaced_while_clients_wait,
    a_leader_that_gets_no_requests_keeps_its_place,
    statements_reach_the_leader_whoever_else_claims_to_lead,
    what_was_pushed_and_is_not_captured_is_never_written_to_the_store,
    an_entry_of_a_new_leader_is_not_captured_before_it_is_in_the_store,
    claims_that_the_store_does_not_confirm_are_checked_less_and_less_often,
);

/// A test for each rule that can be left out.
macro_rules! find {
    ($($name:ident: $bug:ident by $scenario:ident),* $(,)?) => {
        mod finds {
            $(#[test] fn $name() { super::assert_found(super::Bug::$bug, super::$scenario); })*
        }
    };
}

find!(
    a_pushed_forgery_that_is_a_fault: PushedForgeryIsFault by a_forged_push_stops_no_witness,
    a_pushed_fork_that_is_a_fault: PushedForkIsFault
        by a_push_that_does_not_fit_what_is_captured_stops_no_member_that_is_about_to_read,
    liars_that_keep_their_turn: LiarsKeepTheirTurn by forgery_after_forgery_costs_a_witness_less_and_less,
    a_push_that_elects: PushElects by an_entry_of_a_new_leader_is_not_captured_before_it_is_in_the_store,
    a_claim_that_elects: ClaimElects by a_member_that_does_not_lead_cannot_put_off_elections_for_long,
    a_claim_that_clients_are_sent_to: ClaimElects
        by statements_reach_the_leader_whoever_else_claims_to_lead,
    a_leader_that_is_followed_for_ever: FollowedForEver
        by a_leader_that_serves_no_client_is_replaced_while_clients_wait,
    a_false_hash_that_deposes: FalseHashDeposes by a_false_hash_deposes_no_leader,
    a_bad_statement_that_costs_all: BadStatementCostsAll
        by statements_that_do_not_verify_cost_their_sender_its_turn_and_not_the_leader_its_place,
    a_forgery_that_is_restored: ForgeryRestored
        by what_was_pushed_and_is_not_captured_is_never_written_to_the_store,
);
