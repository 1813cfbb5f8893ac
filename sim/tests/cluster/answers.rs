//! Replicas answer what changes nothing without a write: in one round among the members, whatever the store does, and never
//! with what is out of date.

use crate::scenario::{PATIENCE_MS, assert_found, at_work, put_to_work, users};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Mac, Nonce};
use strongroom_proto::statement::Fresh;
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::{Bug, Role};
use strongroom_sim::cluster::{Cluster, Lie, User, Wish};

/// Users that are registered, have a session with the leader, and whose paths it has read.
fn registered(cluster: &mut Cluster, leader: usize, count: u64) -> Vec<User> {
    let mut users = users(cluster, count, &[Wish::Register, Wish::Recover1]);
    users.iter_mut().for_each(|user| user.aim(leader));
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.run_for(500);
    users
}

/// What the leader has read, and in how many rounds.
fn reads(cluster: &Cluster, leader: usize) -> (u64, u64) {
    let status = cluster.status(leader).expect("it runs");
    (status.reads, status.read_rounds)
}

/// One read alone, and then many at once.
fn a_read_is_answered_in_one_round_without_a_write(bug: Option<Bug>) {
    for seed in 0..4 {
        let (mut cluster, leader) = at_work(seed, 3, bug);
        let mut users = registered(&mut cluster, leader, 8);
        let (requests, log) = (cluster.store_requests(), cluster.log());
        for _ in 0..5 {
            let (from, before) = (cluster.now(), reads(&cluster, leader));
            users[0].wish([Wish::Recover1]);
            cluster.serve(1_000, &mut users[..1]);
            let after = reads(&cluster, leader);
            assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1), "seed {seed}: one round");
            // Two messages between agents of up to 5 ms each, and a few calls of the HSM.
            assert!(cluster.now() - from <= 40, "seed {seed}: {} ms", cluster.now() - from);
        }
        let before = reads(&cluster, leader);
        users.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
        cluster.serve(1_000, &mut users);
        let after = reads(&cluster, leader);
        assert_eq!(after.0 - before.0, 8);
        assert!(after.1 - before.1 <= 3, "seed {seed}: {} rounds for 8 reads", after.1 - before.1);
        assert_eq!(cluster.store_requests(), requests, "seed {seed}: the store is asked nothing");
        assert_eq!(cluster.log(), log);
    }
}

/// A write of one user is held up on its way to the store; others ask what changes nothing.
fn reads_go_on_while_a_write_is_on_its_way_to_the_store(bug: Option<Bug>) {
    for seed in 10..14 {
        let (mut cluster, leader) = at_work(seed, 3, bug);
        let mut users = registered(&mut cluster, leader, 4);
        let (writer, readers) = users.split_at_mut(1);
        cluster.faults.held_writes.insert(leader);
        writer[0].wish([Wish::Recover2]);
        let held = cluster.run_until(1_000, |cluster| {
            writer[0].poll(cluster);
            !cluster.held_segments().is_empty()
        });
        assert!(held, "seed {seed}: the write is on its way");
        for _ in 0..5 {
            readers.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
            cluster.serve(500, readers);
        }
        writer[0].poll(&mut cluster);
        assert!(!writer[0].is_content(), "seed {seed}: the write still waits");
        cluster.faults.held_writes.clear();
        cluster.let_through();
        cluster.serve(1_000, writer);
        cluster.check_log();
    }
}

/// What was changed by an entry that may never be committed is told to nobody before it is.
fn a_read_of_what_a_write_under_way_changes_waits_for_it(bug: Option<Bug>) {
    for seed in 20..24 {
        changed_and_asked_before_the_commit(seed, bug, &|_| {});
    }
}

fn changed_and_asked_before_the_commit(seed: u64, bug: Option<Bug>, plant: &dyn Fn(&mut Cluster)) {
    let mut cluster = Cluster::new(seed, 3);
    plant(&mut cluster);
    let leader = put_to_work(&mut cluster, bug);
    let mut users = registered(&mut cluster, leader, 5);
    let (changing, others) = users.split_at_mut(1);
    cluster.faults.held_writes.insert(leader);
    changing[0].wish([Wish::Delete]);
    cluster.run_until(200, |cluster| {
        changing[0].poll(cluster);
        false
    });
    assert!(!cluster.held_segments().is_empty(), "seed {seed}: the write is on its way");
    // Its device is switched off and on again, and asks what became of it.
    changing[0].give_up();
    changing[0].aim(leader);
    changing[0].wish([Wish::Recover1]);
    let answered = cluster.run_until(1_000, |cluster| {
        changing[0].poll(cluster);
        changing[0].is_content()
    });
    assert!(!answered, "seed {seed}: it is told what may not be kept");
    let before = reads(&cluster, leader).1;
    others[0].wish([Wish::Recover1]);
    cluster.serve(500, &mut others[..1]);
    assert!(reads(&cluster, leader).1 <= before + 1, "seed {seed}: rounds that let nothing out");
    others.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
    cluster.serve(500, others);
    cluster.faults.held_writes.clear();
    cluster.let_through();
    cluster.serve(1_000, changing);
    cluster.check_log();
}

/// Nobody reaches the store for half a minute, and nobody writes.
fn reads_go_on_while_the_store_is_down(bug: Option<Bug>) {
    for seed in 30..33 {
        let (mut cluster, leader) = at_work(seed, 3, bug);
        let mut users = registered(&mut cluster, leader, 3);
        let role = cluster.status(leader).expect("it runs").role;
        cluster.faults.without_store.extend(0..3);
        for _ in 0..30 {
            users.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
            cluster.serve(500, &mut users);
            cluster.run_for(500);
        }
        assert_eq!(cluster.status(leader).expect("it runs").role, role, "seed {seed}: it leads as before");
        cluster.faults.without_store.clear();
        users.iter_mut().for_each(|user| user.wish([Wish::Recover2]));
        cluster.serve(PATIENCE_MS, &mut users);
        cluster.check_log();
    }
}

/// For some time nothing that witnesses say reaches the leader; they hear it, so no election takes place.
fn a_read_survives_the_loss_of_every_answer(bug: Option<Bug>) {
    for seed in 40..44 {
        let (mut cluster, leader) = at_work(seed, 3, bug);
        let mut users = registered(&mut cluster, leader, 2);
        let witnesses = (0..3).filter(|member| *member != leader);
        cluster.faults.cuts.extend(witnesses.map(|witness| (witness, leader)));
        users.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
        cluster.run_until(250, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            false
        });
        assert!(users.iter().all(|user| !user.is_content()), "seed {seed}: nothing has come");
        cluster.faults.cuts.clear();
        cluster.serve(1_000, &mut users);
        assert_eq!(cluster.unanswered(), 0);
    }
}

/// Messages between agents are lost, repeated and late.
fn reads_survive_a_bad_network(bug: Option<Bug>) {
    for (seed, members) in (50..60).zip([3, 5].into_iter().cycle()) {
        let (mut cluster, leader) = at_work(seed, members, bug);
        let mut users = registered(&mut cluster, leader, 6);
        cluster.faults.lose_message = 0.3;
        cluster.faults.repeat_message = 0.3;
        cluster.faults.delay_message = 0.1;
        cluster.faults.lose_hsm_reply = 0.002;
        for _ in 0..10 {
            users.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
            // Even if another must be elected, and less than the patience of one request.
            cluster.serve(8_000, &mut users);
        }
        cluster.faults.forget_chances();
        let answered = cluster.run_until(15_000, |cluster| cluster.unanswered() == 0);
        assert!(answered, "seed {seed}: every request is answered");
        cluster.check_log();
    }
}

/// A leader that no member reaches goes on answering clients as far as it can, while another leads and changes records.
fn a_leader_that_was_replaced_tells_nobody_what_was(bug: Option<Bug>) {
    let mut asked_in_vain = 0;
    for seed in 100..130 {
        let (mut cluster, old) = at_work(seed, 3, bug);
        let mut users = registered(&mut cluster, old, 6);
        cluster.faults.alone.insert(old);
        // It does not see in the store that another leads.
        if seed % 2 == 0 {
            cluster.faults.held_listings.insert(old);
        }
        let replaced = cluster.run_until(5_000, |cluster| cluster.leader().is_some_and(|now| now != old));
        assert!(replaced, "seed {seed}: another leads");
        let next = cluster.leader().expect("just seen");
        for (nth, user) in users.iter_mut().enumerate() {
            user.aim(next);
            match nth % 3 {
                0 => user.wish([Wish::Delete]),
                1 => user.wish([Wish::Recover2; 5]),
                _ => user.wish([Wish::Register]),
            }
        }
        cluster.serve(PATIENCE_MS, &mut users);
        // Each checks the answer against what it was told before.
        users.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
        cluster.run_until(200, |cluster| {
            for user in &mut users {
                user.aim(old);
                user.poll(cluster);
            }
            false
        });
        let role = cluster.status(old).map(|status| status.role);
        if matches!(role, Some(Role::Leader { .. })) {
            asked_in_vain += users.iter().filter(|user| !user.is_content()).count();
        }
        cluster.run_until(800, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            false
        });
        cluster.faults.alone.clear();
        cluster.faults.held_listings.clear();
        cluster.let_through();
        cluster.serve(PATIENCE_MS, &mut users);
        let answered = cluster.run_until(15_000, |cluster| cluster.unanswered() == 0);
        assert!(answered, "seed {seed}: every request is answered");
        cluster.check_log();
    }
    assert!(asked_in_vain > 20, "only {asked_in_vain} asked a leader that was replaced and did not know");
}

/// A leader that others hear, and that hears nobody, gives way to one that can answer.
fn a_leader_that_hears_nobody_gives_way(bug: Option<Bug>) {
    let (mut cluster, leader) = at_work(60, 3, bug);
    let mut users = registered(&mut cluster, leader, 2);
    let witnesses = (0..3).filter(|member| *member != leader);
    cluster.faults.cuts.extend(witnesses.map(|witness| (witness, leader)));
    users.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
    cluster.serve(PATIENCE_MS, &mut users);
    assert_ne!(cluster.leader(), Some(leader), "another leads");
}

/// A member's agent says false things in answer, and asks and says more on its own account.
fn a_liar_stops_no_read(bug: Option<Bug>) {
    for (seed, members) in [(70, 3), (71, 3), (72, 5), (73, 5)] {
        let (mut cluster, leader) = at_work(seed, members, bug);
        let mut users = registered(&mut cluster, leader, 4);
        let role = cluster.status(leader).expect("it runs").role;
        let liar = (leader + 1) % members;
        let (group, hsm) = (cluster.group().group, cluster.group().members[liar]);
        cluster.turn(liar, BTreeSet::from([Lie::Statement]));
        let (mut said_at, mut nonce) = (0, 0_u8);
        for _ in 0..40 {
            users.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
            let served = cluster.run_until(1_000, |cluster| {
                users.iter_mut().for_each(|user| user.poll(cluster));
                if cluster.now() > said_at {
                    (said_at, nonce) = (cluster.now(), nonce.wrapping_add(1));
                    let index = cluster.status(leader).expect("it runs").newest;
                    let (nonce, mac) = (Nonce([nonce; 16]), Mac(Digest([9; 32])));
                    let statement = Fresh { hsm, index, hash: EntryHash([9; 32]), mac };
                    for to in (0..members).filter(|to| *to != liar) {
                        cluster.say(liar, to, &PeerMessage::StateFresh { group, nonce });
                        cluster.say(liar, to, &PeerMessage::Fresh { group, nonce, statement });
                        let group = GroupId([9; 16]);
                        cluster.say(liar, to, &PeerMessage::StateFresh { group, nonce });
                        cluster.say(liar, to, &PeerMessage::Fresh { group, nonce, statement });
                    }
                }
                users.iter().all(User::is_content)
            });
            assert!(served, "seed {seed}: reads wait for a liar");
        }
        assert_eq!(cluster.status(leader).expect("it runs").role, role, "seed {seed}: it leads as before");
        let faults: Vec<_> = (0..members).filter_map(|member| cluster.fault(member)).collect();
        assert_eq!(faults, []);
    }
}

/// Many users write without a pause, so that there is a commit every few milliseconds.
fn reads_go_on_among_many_writes(bug: Option<Bug>) {
    for seed in 90..91 {
        let (mut cluster, leader) = at_work(seed, 3, bug);
        let mut users = registered(&mut cluster, leader, 44);
        let (writers, readers) = users.split_at_mut(40);
        let (mut slowest, mut began, mut served) = (0, cluster.now(), 0);
        let before = reads(&cluster, leader);
        cluster.run_until(2_000, |cluster| {
            for user in writers.iter_mut() {
                user.poll(cluster);
                if user.is_content() {
                    user.wish([Wish::Recover2, Wish::Recover3]);
                }
            }
            readers.iter_mut().for_each(|user| user.poll(cluster));
            if readers.iter().all(User::is_content) {
                slowest = slowest.max(cluster.now() - began);
                (began, served) = (cluster.now(), served + 1);
                readers.iter_mut().for_each(|user| user.wish([Wish::Recover1]));
            }
            false
        });
        let after = reads(&cluster, leader);
        println!(
            "seed {seed}: {served} times, at most {slowest} ms, {:?}",
            (after.0 - before.0, after.1 - before.1)
        );
        assert!(served > 20 && slowest < 500, "seed {seed}: {served} times, at most {slowest} ms");
        cluster.check_log();
    }
}

/// Without the core's rule about commits, the scenario about it fails.
#[test]
fn an_answer_that_tells_of_what_is_not_committed_is_found() {
    let run = |plant: &dyn Fn(&mut Cluster)| {
        catch_unwind(AssertUnwindSafe(|| changed_and_asked_before_the_commit(20, None, plant))).is_ok()
    };
    assert!(run(&|_| {}));
    assert!(!run(&|cluster| cluster.plant(strongroom_hsm_planted::Bug::ReadsBeforeCommit)));
}

#[test]
fn a_single_member_reads_without_a_write_too() {
    let (mut cluster, leader) = at_work(80, 1, None);
    let mut users = registered(&mut cluster, leader, 3);
    let requests = cluster.store_requests();
    users.iter_mut().for_each(|user| user.wish([Wish::Recover1; 3]));
    cluster.serve(1_000, &mut users);
    assert_eq!(cluster.store_requests(), requests);
}

rules!(
    a_read_is_answered_in_one_round_without_a_write: ReadsAwaitCommit, ReadAnswersAnother;
    reads_go_on_while_a_write_is_on_its_way_to_the_store: ReadsAwaitCommit, ReadAnswersAnother;
    a_read_of_what_a_write_under_way_changes_waits_for_it: ReadAnswersAnother;
    reads_go_on_while_the_store_is_down: ReadsAwaitCommit;
    a_read_survives_the_loss_of_every_answer: RoundAskedOnce;
    reads_survive_a_bad_network: RoundAskedOnce;
    a_leader_that_was_replaced_tells_nobody_what_was: ReadAnswersAnother;
    a_leader_that_hears_nobody_gives_way: ReadsAwaitCommit;
    reads_go_on_among_many_writes: ReadAnswersAnother;
    a_liar_stops_no_read: ReadsAwaitCommit;
);
