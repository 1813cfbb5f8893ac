//! A group that nobody asks for anything costs next to nothing, and is as good as any other when somebody does: its
//! leader speaks seldom, is replaced soon all the same, and holds nobody up with what it says about its silence.

use crate::scenario::{PATIENCE_MS, assert_found, at_work, users};
use strongroom_proto::ids::{Index, Term};
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::{Bug, Role};
use strongroom_sim::cluster::{Cluster, User, Wish};

/// A time-out, and a few requests to the store.
const ELECTION_MS: u64 = 500;
/// What a leader may be silent for, at most.
const SILENT_MS: u64 = 500;

fn term_of(cluster: &Cluster, member: usize) -> Option<Term> {
    match cluster.status(member)?.role {
        Role::Leader { term } => Some(term),
        _ => None,
    }
}

/// A group whose users have asked for nothing for a while, its leader, and these users.
fn idle(seed: u64, members: usize, bug: Option<Bug>) -> (Cluster, usize, Vec<User>) {
    let (mut cluster, leader) = at_work(seed, members, bug);
    let mut users = users(&cluster, 3, &[Wish::Register]);
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.run_for(3_000);
    (cluster, leader, users)
}

/// Until the leader has spoken, and so may be silent for as long as it ever is.
fn until_it_has_spoken(cluster: &mut Cluster) {
    let before = cluster.heartbeats();
    assert!(cluster.run_until(SILENT_MS, |cluster| cluster.heartbeats() > before), "it speaks");
    // It is heard, too.
    cluster.run_for(10);
}

/// How long it takes until another member leads, with the leader gone.
fn replaced_after(cluster: &mut Cluster, leader: usize, users: &mut [User]) -> u64 {
    let began = cluster.now();
    cluster.crash_agent(leader);
    let replaced = cluster.run_until(60_000, |cluster| {
        users.iter_mut().for_each(|user| user.poll(cluster));
        cluster.leader().is_some()
    });
    assert!(replaced, "another leads");
    cluster.now() - began
}

fn an_idle_leader_speaks_seldom_asks_its_hsm_more_seldom_and_keeps_its_place(bug: Option<Bug>) {
    for (seed, members) in [(1, 3), (2, 5)] {
        let (mut cluster, leader, _) = idle(seed, members, bug);
        let (term, before, asked) = (term_of(&cluster, leader), cluster.heartbeats(), cluster.hsm_replies());
        cluster.run_for(60_000);
        let each = (cluster.heartbeats() - before) / (members as u64 - 1);
        // The simulator tells replicas the time every ten milliseconds.
        assert!((225..=241).contains(&each), "seed {seed}: {each} heartbeats to each in a minute");
        let asked = cluster.hsm_replies() - asked;
        assert!((11..=13).contains(&asked), "seed {seed}: {asked} requests to all HSMs in a minute");
        assert_eq!(term_of(&cluster, leader), term, "seed {seed}: it leads as before");
    }
}

/// Two members of five say nothing about the newest entry, because they are gone; that gives the leader nothing to do.
fn a_leader_whose_members_are_gone_is_idle_too(bug: Option<Bug>) {
    let (mut cluster, leader, mut users) = idle(3, 5, bug);
    let gone = [(leader + 1) % 5, (leader + 2) % 5];
    gone.into_iter().for_each(|member| cluster.crash_agent(member));
    users.iter_mut().for_each(|user| user.wish([Wish::Recover2]));
    users.iter_mut().for_each(|user| user.aim(leader));
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.run_for(5_000);
    let (term, before) = (term_of(&cluster, leader), cluster.heartbeats());
    cluster.run_for(60_000);
    let each = (cluster.heartbeats() - before) / 4;
    assert!((225..=241).contains(&each), "{each} heartbeats to each in a minute");
    assert_eq!(term_of(&cluster, leader), term, "it leads as before");
}

fn an_idle_leader_that_ends_is_replaced_within_its_silence_and_an_election(bug: Option<Bug>) {
    for seed in 0..8 {
        let (mut cluster, leader, _) = idle(seed, 3, bug);
        until_it_has_spoken(&mut cluster);
        let took_ms = replaced_after(&mut cluster, leader, &mut []);
        assert!(took_ms <= SILENT_MS + ELECTION_MS, "seed {seed}: {took_ms} ms");
    }
}

fn a_leader_that_lies_about_its_silence_is_granted_no_more_than_any_other(bug: Option<Bug>) {
    for seed in 0..8 {
        let (mut cluster, leader, _) = idle(seed, 3, bug);
        let tip = cluster.tip_of(leader).expect("there is a log");
        let (group, term, newest, snapshot) = (tip.group, tip.term, tip.index, Index::ZERO);
        for silent_ms in [u32::MAX, 3_600_000] {
            let lie = PeerMessage::Heartbeat { group, term, newest, snapshot, silent_ms };
            (0..3).filter(|to| *to != leader).for_each(|to| cluster.say(leader, to, &lie));
        }
        cluster.run_for(5);
        let took_ms = replaced_after(&mut cluster, leader, &mut []);
        assert!(took_ms <= SILENT_MS + ELECTION_MS, "seed {seed}: {took_ms} ms");
    }
}

/// A client that comes to another member shortens the wait to what it is for a leader that is not idle.
fn a_client_does_not_wait_for_the_silence_of_a_leader_that_is_gone(bug: Option<Bug>) {
    for seed in 0..8 {
        let (mut cluster, leader, mut users) = idle(seed, 3, bug);
        until_it_has_spoken(&mut cluster);
        users.truncate(1);
        users[0].wish([Wish::Recover2]);
        users[0].aim((leader + 1) % 3);
        let took_ms = replaced_after(&mut cluster, leader, &mut users);
        assert!(took_ms <= ELECTION_MS, "seed {seed}: {took_ms} ms");
        cluster.serve(1_000, &mut users);
        cluster.check_log();
    }
}

/// What a client brings to a leader is told to all at once, even if it changes nothing; so that another member, which
/// waits no longer than usual because the client came there first, does not take the leader's place.
fn a_client_that_ends_the_silence_costs_the_leader_nothing(bug: Option<Bug>) {
    for (seed, wish) in [(1, Wish::Recover2), (2, Wish::Recover1), (3, Wish::Delete)] {
        let (mut cluster, leader, mut users) = idle(seed, 3, bug);
        let term = term_of(&cluster, leader);
        for round in 0..10 {
            let user = &mut users[round % 3];
            user.wish([wish]);
            user.aim((leader + 1 + round % 2) % 3);
            cluster.serve(2_000, std::slice::from_mut(user));
            cluster.run_for(1_500 + 100 * round as u64);
            assert_eq!(term_of(&cluster, leader), term, "seed {seed}, round {round}: it leads as before");
        }
        until_it_has_spoken(&mut cluster);
        let before = cluster.heartbeats();
        users[0].wish([wish]);
        users[0].aim(leader);
        let told = cluster.run_until(60, |cluster| {
            users[0].poll(cluster);
            cluster.heartbeats() > before
        });
        assert!(told, "seed {seed}: the others hear of it at once");
    }
}

/// It asks before it tries to lead, because the leader may say nothing for longer than it waits.
fn a_member_that_starts_again_beside_an_idle_leader_takes_nothing_from_it(bug: Option<Bug>) {
    for seed in 0..8 {
        let (mut cluster, leader, _) = idle(seed, 3 + 2 * (seed as usize % 2), bug);
        let term = term_of(&cluster, leader);
        for round in 0..6 {
            let member = (leader + 1 + round % (cluster.members() - 1)) % cluster.members();
            cluster.restart_agent(member);
            cluster.run_for(1_000 + 37 * round as u64);
            assert_eq!(term_of(&cluster, leader), term, "seed {seed}, round {round}: it leads as before");
            let follows = cluster.status(member).and_then(|status| status.leader);
            assert_eq!(follows, Some(cluster.group().members[leader]), "seed {seed}, round {round}");
        }
    }
}

/// It hears nothing of silence, and is never silent itself.
fn an_agent_of_an_older_build_takes_the_lead_of_an_idle_group_and_keeps_it(bug: Option<Bug>) {
    for seed in 0..4 {
        let (mut cluster, leader, mut users) = idle(seed, 3, bug);
        let older = (leader + 1) % 3;
        cluster.plant_in_agent(older, Bug::SilenceUnheard);
        cluster.plant_in_agent(older, Bug::IdleChatter);
        let (entries, leads) = (cluster.log().len(), |cluster: &mut Cluster| cluster.leader() == Some(older));
        assert!(cluster.run_until(5_000, leads), "seed {seed}: it leads");
        let term = term_of(&cluster, older);
        cluster.run_for(60_000);
        assert_eq!(term_of(&cluster, older), term, "seed {seed}: it leads as before");
        assert!(cluster.log().len() <= entries + 3, "seed {seed}: it was elected once, or twice");
        users.iter_mut().for_each(|user| user.wish([Wish::Recover2]));
        cluster.serve(2_000, &mut users);
        cluster.check_log();
    }
}

/// Before a client comes.
fn an_idle_leader_whose_hsm_is_gone_gives_way(bug: Option<Bug>) {
    for seed in 0..4 {
        let (mut cluster, leader, mut users) = idle(seed, 3, bug);
        // It has just been asked, and is asked again in five seconds.
        let before = cluster.hsm_replies();
        assert!(cluster.run_until(6_000, |cluster| cluster.hsm_replies() > before), "its HSM is asked");
        cluster.faults.silent_hsm.insert(leader);
        let most_ms = 5_000 + 300 + SILENT_MS + ELECTION_MS;
        let replaced =
            cluster.run_until(most_ms, |cluster| cluster.leader().is_some_and(|leads| leads != leader));
        assert!(replaced, "seed {seed}: another leads");
        users.iter_mut().for_each(|user| user.wish([Wish::Recover2]));
        cluster.serve(2_000, &mut users);
        cluster.check_log();
    }
}

rules!(
    an_idle_leader_speaks_seldom_asks_its_hsm_more_seldom_and_keeps_its_place: IdleChatter, SilenceUnheard;
    a_leader_whose_members_are_gone_is_idle_too: IdleChatter;
    an_agent_of_an_older_build_takes_the_lead_of_an_idle_group_and_keeps_it: ;
    a_member_that_starts_again_beside_an_idle_leader_takes_nothing_from_it: NobodyAsked;
    an_idle_leader_whose_hsm_is_gone_gives_way: SilentHsmLeads;
    an_idle_leader_that_ends_is_replaced_within_its_silence_and_an_election: ;
    a_leader_that_lies_about_its_silence_is_granted_no_more_than_any_other: SilenceAtWill;
    a_client_does_not_wait_for_the_silence_of_a_leader_that_is_gone: ClientsWaitForSilence;
    a_client_that_ends_the_silence_costs_the_leader_nothing: SilentAtWork;
);
