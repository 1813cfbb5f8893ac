//! Replicas, cores and users together, under everything that can happen to hosts.

use crate::scenario::{PATIENCE_MS, REGISTER_AND_RECOVER, user, users};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use strongroom_hsm::Config;
use strongroom_proto::client::{Recover2Response, Recover3Response, SecretsResponse};
use strongroom_proto::ids::Index;
use strongroom_replica::segment::Segment;
use strongroom_replica::{Damage, Fault, Role, Storage};
use strongroom_sim::cluster::{Cluster, Interrupt, Kind, StoreFault, User, Wish};

fn guess_count(response: &SecretsResponse) -> u16 {
    match response {
        SecretsResponse::Recover2(Recover2Response::Ok(ok)) => ok.guess_count,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_recovered(user: &User) {
    let [SecretsResponse::Register2, first, second, third] = user.responses() else {
        panic!("{:?}", user.responses())
    };
    assert_eq!([guess_count(first), guess_count(second)], [1, 2]);
    assert!(matches!(third, SecretsResponse::Recover3(Recover3Response::Ok(_))), "{third:?}");
}

/// Runs until a member leads.
#[track_caller]
fn elect(cluster: &mut Cluster) -> usize {
    assert!(cluster.run_until(5_000, |cluster| cluster.leader().is_some()), "a member leads within 5 s");
    cluster.leader().expect("just seen")
}

/// One user registers and recovers in a new cluster in which something goes wrong; everything is well at the end.
fn scenario(prepare: impl FnOnce(&mut Cluster)) -> Cluster {
    let mut cluster = Cluster::new(1, 3);
    prepare(&mut cluster);
    let mut users = users(&cluster, 1, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut users);
    assert_recovered(&users[0]);
    cluster.check_log();
    assert_eq!(cluster.unanswered(), 0);
    cluster
}

/// After everything is healed, every member gets to the end of the log, and a new user is served.
fn heal_and_check(cluster: &mut Cluster, members: usize) {
    cluster.faults = Default::default();
    cluster.let_through();
    for member in 0..members {
        cluster.start_agent(member);
    }
    let mut late = users(cluster, 1, &[]);
    late.push(user(cluster, 4242, &REGISTER_AND_RECOVER));
    cluster.serve(PATIENCE_MS, &mut late);
    assert_recovered(&late[1]);
    let together = cluster.run_until(10_000, |cluster| {
        let ends: BTreeSet<_> =
            (0..members).filter_map(|m| cluster.status(m)).map(|s| (s.captured, s.tip, s.tip_hash)).collect();
        ends.len() == 1
    });
    let states: Vec<_> = (0..members).map(|m| cluster.status(m)).collect();
    assert!(together, "every member captures to the end of the log: {states:#?}");
    cluster.check_log();
    // A request that met trouble waits for as long as clients have patience.
    let answered = cluster.run_until(15_000, |cluster| cluster.unanswered() == 0);
    assert!(answered, "every request is answered");
}

#[test]
fn a_user_registers_and_recovers_through_three_replicas() {
    let mut cluster = scenario(|_| {});
    heal_and_check(&mut cluster, 3);
}

#[test]
fn one_seed_gives_one_run() {
    let run = || {
        let cluster = scenario(|_| {});
        (cluster.now(), cluster.messages(), cluster.log())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_single_member_is_a_group() {
    let mut cluster = Cluster::new(3, 1);
    let mut users = users(&cluster, 3, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut users);
    users.iter().for_each(assert_recovered);
    heal_and_check(&mut cluster, 1);
}

#[test]
fn requests_of_many_users_share_entries() {
    let mut cluster = Cluster::new(4, 3);
    let leader = elect(&mut cluster);
    let mut users = users(&cluster, 40, &REGISTER_AND_RECOVER);
    users.iter_mut().for_each(|user| user.aim(leader));
    cluster.serve(PATIENCE_MS, &mut users);
    users.iter().for_each(assert_recovered);
    let entries = cluster.log().len();
    assert!(entries < 40 * 2, "160 writes make {entries} entries");
    cluster.check_log();
}

#[test]
fn batches_keep_to_the_tree_nodes_that_the_hsm_has_room_for() {
    // One path in the tree of 60 records takes about half of this.
    let mut config = Config::software();
    config.limits.max_tree_nodes = 40;
    let mut cluster = Cluster::with_config(1, 3, config, Storage::default());
    let mut users = users(&cluster, 60, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut users);
    users.iter().for_each(assert_recovered);
    cluster.check_log();
}

#[test]
fn a_group_of_five_serves_with_two_members_down_but_not_with_three() {
    let mut cluster = Cluster::new(5, 5);
    let leader = elect(&mut cluster);
    cluster.crash_agent(leader);
    cluster.crash_agent((leader + 1) % 5);
    let mut first = users(&cluster, 2, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut first);
    first.iter().for_each(assert_recovered);

    cluster.crash_agent((leader + 2) % 5);
    let released = cluster.released().clone();
    let mut second = vec![user(&cluster, 77, &REGISTER_AND_RECOVER)];
    cluster.run_until(15_000, |cluster| {
        second.iter_mut().for_each(|user| user.poll(cluster));
        false
    });
    assert!(second[0].responses().is_empty(), "nothing is answered without a majority");
    assert_eq!(*cluster.released(), released, "nothing is released without a majority");

    for member in 0..5 {
        cluster.start_agent(member);
    }
    cluster.serve(PATIENCE_MS, &mut second);
    assert_recovered(&second[0]);
    heal_and_check(&mut cluster, 5);
}

#[test]
fn a_leader_that_dies_is_replaced_and_its_requests_end_in_unavailable() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 3);
        let leader = elect(&mut cluster);
        let mut users = users(&cluster, 6, &REGISTER_AND_RECOVER);
        users.iter_mut().for_each(|user| user.aim(leader));
        let at_work = cluster.now() + 10 + seed * 7;
        cluster.run_until(10_000, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            cluster.now() >= at_work
        });
        cluster.crash_agent(leader);
        let died = cluster.now();
        assert!(
            cluster.run_until(5_000, |cluster| cluster.leader().is_some_and(|now| now != leader)),
            "a witness takes over"
        );
        assert!(cluster.now() - died < 1_500, "it took {} ms", cluster.now() - died);
        cluster.serve(PATIENCE_MS, &mut users);
        users.iter().for_each(assert_recovered);
        assert!(users.iter().any(|user| user.unavailable() > 0), "some requests were in flight");
        heal_and_check(&mut cluster, 3);
    }
}

#[test]
fn a_live_session_is_unavailable_at_a_new_leader_and_not_missing() {
    let mut cluster = Cluster::new(9, 3);
    let leader = elect(&mut cluster);
    let mut users = users(&cluster, 1, &[Wish::Register]);
    users[0].aim(leader);
    cluster.serve(PATIENCE_MS, &mut users);
    let unavailable = users[0].unavailable();
    cluster.crash_agent(leader);
    let next = elect(&mut cluster);
    users[0].aim(next);
    users[0].wish([Wish::Recover2]);
    cluster.serve(PATIENCE_MS, &mut users);
    assert_eq!(users[0].unavailable(), unavailable + 1);
    assert_eq!(users[0].missing(), 0);
}

#[test]
fn of_two_leaders_the_one_whose_segment_is_lost_steps_down_and_releases_nothing_of_its_chain() {
    let mut raced = 0;
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 3);
        let old = elect(&mut cluster);
        // It has opened the tree.
        cluster.run_for(300);
        let mut users = users(&cluster, 8, &REGISTER_AND_RECOVER);
        users.iter_mut().for_each(|user| user.aim(old));
        // The others no longer hear the old leader, but all three reach the store.
        cluster.faults.alone.insert(old);
        let elected =
            cluster.run_until(5_000, |cluster| cluster.leader().is_some_and(|leader| leader != old));
        assert!(elected, "the others elect a leader");
        let old_leads = |cluster: &Cluster| {
            cluster.status(old).filter(|status| matches!(status.role, Role::Leader { .. }))
        };
        assert!(old_leads(&cluster).is_some(), "the old leader was not told");
        let mut made = false;
        cluster.run_until(1_000, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            made |= old_leads(cluster).is_some_and(|status| status.newest > status.tip);
            old_leads(cluster).is_none()
        });
        assert!(old_leads(&cluster).is_none(), "the old leader has stepped down");
        raced += usize::from(made);
        let lost = users.iter().filter(|user| user.unavailable() > 0).count();
        assert!(!made || lost > 0, "users that asked the old leader are told to try again");
        assert!(users.iter().all(|user| user.responses().is_empty()), "the old leader has answered nothing");
        cluster.faults.alone.clear();
        cluster.serve(PATIENCE_MS, &mut users);
        users.iter().for_each(assert_recovered);
        heal_and_check(&mut cluster, 3);
    }
    assert!(raced > 10, "the old leader made an entry that lost in {raced} of 20 runs");
}

#[test]
fn any_one_hsm_reply_may_be_lost() {
    let replies = scenario(|_| {}).hsm_replies();
    assert!(replies > 20, "the scenario has {replies} replies");
    for nth in 1..=replies {
        scenario(|cluster| {
            cluster.faults.lost_hsm_replies.insert(nth);
        });
    }
}

fn interrupt_everywhere(interrupt: impl Fn(usize) -> Interrupt) {
    let messages = scenario(|_| {}).messages();
    assert!(messages > 50, "the scenario has {messages} messages");
    for at in 1..=messages {
        for member in 0..3 {
            scenario(|cluster| cluster.faults.interrupt = Some((at, interrupt(member))));
        }
    }
}

#[test]
fn any_hsm_may_restart_between_any_two_messages() {
    interrupt_everywhere(Interrupt::RestartHsm);
}

#[test]
fn any_agent_may_restart_between_any_two_messages() {
    interrupt_everywhere(Interrupt::RestartAgent);
}

#[test]
fn any_store_request_may_fail_or_lose_its_answer() {
    for before in 0..60 {
        for fault in [StoreFault::AnswerLost, StoreFault::Unavailable] {
            for repeats in [1, 3] {
                scenario(|cluster| {
                    let faults = &mut cluster.faults.next_store_faults;
                    faults.extend(std::iter::repeat_n(StoreFault::None, before));
                    faults.extend(std::iter::repeat_n(fault, repeats));
                });
            }
        }
    }
}

#[test]
fn an_outage_of_the_store_ends_in_unavailable_and_is_survived() {
    let mut cluster = Cluster::new(11, 3);
    let leader = elect(&mut cluster);
    let mut users = users(&cluster, 4, &REGISTER_AND_RECOVER);
    users.iter_mut().for_each(|user| user.aim(leader));
    cluster.run_until(60, |cluster| {
        users.iter_mut().for_each(|user| user.poll(cluster));
        false
    });
    cluster.faults.without_store.extend(0..3);
    let began = cluster.now();
    cluster.run_until(40_000, |cluster| {
        users.iter_mut().for_each(|user| user.poll(cluster));
        users.iter().all(|user| user.unavailable() > 0)
    });
    assert!(users.iter().all(|user| user.unavailable() > 0), "users that wait are told to try again");
    assert!(cluster.now() - began < 25_000, "within the patience of a client");
    assert!((0..3).all(|member| cluster.fault(member).is_none()), "no outage is fatal");
    cluster.faults.without_store.clear();
    cluster.serve(PATIENCE_MS, &mut users);
    users.iter().for_each(assert_recovered);
    heal_and_check(&mut cluster, 3);
}

/// Breaks something only about the leader; a majority and the store are well, so everybody is still served.
fn served_although(break_leader: impl Fn(&mut Cluster, usize)) {
    for seed in 0..4 {
        let mut cluster = Cluster::new(seed, 3);
        let leader = elect(&mut cluster);
        cluster.run_for(500);
        break_leader(&mut cluster, leader);
        let mut users = users(&cluster, 3, &REGISTER_AND_RECOVER);
        cluster.serve(PATIENCE_MS, &mut users);
        assert_ne!(cluster.leader(), Some(leader), "seed {seed}: another leads");
        cluster.check_log();
    }
}

#[test]
fn a_leader_that_alone_cannot_reach_the_store_steps_down() {
    served_although(|cluster, leader| {
        cluster.faults.without_store.insert(leader);
    });
}

#[test]
fn a_leader_that_is_heard_and_hears_nobody_steps_down() {
    served_although(|cluster, leader| {
        let others = (0..3).filter(|member| *member != leader);
        cluster.faults.cuts.extend(others.map(|member| (member, leader)));
    });
}

#[test]
fn an_idle_leader_whose_hsm_is_dead_steps_down_before_anybody_asks() {
    for seed in 0..4 {
        let mut cluster = Cluster::new(seed, 3);
        let leader = elect(&mut cluster);
        cluster.faults.without_hsm.insert(leader);
        cluster.run_for(10_000);
        assert!(cluster.leader().is_some_and(|now| now != leader), "seed {seed}");
    }
}

/// How long after the leader's HSM stalled, with requests coming in, another member serves.
fn replaced_after_ms(seed: u64, bug: Option<strongroom_replica::Bug>) -> Option<u64> {
    let mut cluster = Cluster::new(seed, 3);
    bug.into_iter().for_each(|bug| cluster.plant_in_agents(bug));
    let leader = elect(&mut cluster);
    let mut users = users(&cluster, 3, &[Wish::Register]);
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.run_for(500);
    cluster.faults.silent_hsm.insert(leader);
    let began = cluster.now();
    users.iter_mut().for_each(|user| {
        user.wish([Wish::Recover2]);
        user.poll(&mut cluster);
    });
    let serves = |cluster: &Cluster| {
        let others = (0..3).filter(|member| *member != leader);
        others.filter_map(|member| cluster.status(member)).any(|status| status.serving)
    };
    let replaced = cluster.run_until(1_000, |cluster| serves(cluster)).then(|| cluster.now() - began);
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.check_log();
    replaced
}

#[test]
fn a_leader_whose_hsm_stalls_is_replaced_within_a_second() {
    for seed in 0..8 {
        let after_ms = replaced_after_ms(seed, None);
        assert!(after_ms.is_some(), "seed {seed}: no other member serves after a second");
    }
    assert_eq!(
        replaced_after_ms(0, Some(strongroom_replica::Bug::SilentHsmLeads)),
        None,
        "a checker that cannot fail"
    );
}

#[test]
fn two_members_that_do_not_hear_each_other_take_turns_less_and_less_often() {
    for seed in 0..4 {
        let mut cluster = Cluster::new(seed, 3);
        let leader = elect(&mut cluster);
        let other = (leader + 1) % 3;
        cluster.faults.cuts.extend([(leader, other), (other, leader)]);
        cluster.run_for(60_000);
        let before = cluster.log().len();
        cluster.run_for(60_000);
        let made = cluster.log().len() - before;
        assert!(made <= 12, "seed {seed}: an idle group made {made} entries in a minute");
    }
}

#[test]
fn a_group_that_loses_every_process_at_once_starts_again_from_the_store() {
    let mut cluster = scenario(|_| {});
    for member in 0..3 {
        cluster.crash_agent(member);
        cluster.restart_hsm(member);
    }
    let before = cluster.log();
    heal_and_check(&mut cluster, 3);
    assert!(cluster.log().len() > before.len());
}

#[test]
fn a_witness_that_was_away_catches_up_from_the_store() {
    let mut cluster = Cluster::new(13, 3);
    let leader = elect(&mut cluster);
    let away = (leader + 1) % 3;
    cluster.crash_agent(away);
    let mut users = users(&cluster, 10, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.start_agent(away);
    heal_and_check(&mut cluster, 3);
}

#[test]
fn a_store_that_lost_what_an_hsm_captured_stops_the_agent_that_starts_on_it() {
    let mut cluster = scenario(|_| {});
    cluster.run_for(500);
    let captured = cluster.status(0).expect("it runs").captured;
    (0..3).for_each(|member| cluster.crash_agent(member));
    let newest = *cluster.store.objects().last().expect("the log is not empty").0;
    cluster.store.lose(&newest).expect("just seen");
    cluster.start_agent(0);
    cluster.run_for(20_000);
    let Some(Fault::Missing { index, .. }) = cluster.fault(0) else { panic!("{:?}", cluster.fault(0)) };
    assert_eq!(index, captured);
    assert_eq!(cluster.status(0).expect("it runs").role, Role::Faulted);
    let mut users = users(&cluster, 1, &[Wish::Register]);
    cluster.run_until(1_000, |cluster| {
        users[0].poll(cluster);
        false
    });
    assert!(users[0].unavailable() > 0 && users[0].responses().is_empty(), "it answers, but serves no user");
}

#[test]
fn a_store_that_lost_the_newest_segment_gets_it_again_from_a_running_agent() {
    let mut cluster = scenario(|_| {});
    cluster.run_for(500);
    let leader = cluster.leader().expect("a member leads");
    let before = cluster.log();
    let newest = *cluster.store.objects().last().expect("the log is not empty").0;
    cluster.store.lose(&newest).expect("just seen");
    cluster.crash_agent(leader);
    elect(&mut cluster);
    let after = cluster.log();
    assert!(before.iter().all(|(index, hash)| after.get(index) == Some(hash)), "nothing is missing");
    assert!((0..3).all(|member| cluster.fault(member).is_none()));
}

/// Loses every process, starts two of them, and returns why the one that has to read the log gives up.
fn fault_after_restart(cluster: &mut Cluster) -> Option<Fault> {
    cluster.crash_all();
    cluster.start_agent(0);
    cluster.start_agent(1);
    cluster.run_until(20_000, |cluster| (0..2).any(|member| cluster.fault(member).is_some()));
    (0..2).find_map(|member| cluster.fault(member))
}

#[test]
fn a_damaged_segment_stops_the_agent_and_is_named() {
    let healthy = scenario(|_| {});
    let objects: Vec<_> = healthy.store.objects().map(|(name, bytes)| (*name, bytes.to_vec())).collect();
    let (name, bytes) = &objects[2];
    let mut rng = StdRng::seed_from_u64(5);
    let mut places = vec![0, 1, 2, 40, bytes.len() - 1];
    places.extend((0..40).map(|_| rng.random_range(3..bytes.len() - 1)));
    for at in places {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << rng.random_range(0..8);
        if mac_at(bytes).contains(&at) || is_of_owners(bytes, &damaged) {
            continue;
        }
        let mut cluster = scenario(|_| {});
        cluster.store.put(*name, damaged.into());
        match fault_after_restart(&mut cluster) {
            Some(Fault::Damaged { object, .. }) => assert_eq!(object, *name),
            // If only its hash changes, all that shows is that nothing continues it.
            Some(Fault::Gap { before, .. }) => assert_eq!(before, Some(*name)),
            other => panic!("byte {at} of {}: {other:?}", bytes.len()),
        }
    }
}

/// Whether all that differs is whose the events are: agents seal that, and see it when they tell.
fn is_of_owners(healthy: &[u8], damaged: &[u8]) -> bool {
    let [healthy, damaged] = [healthy, damaged].map(Segment::decode);
    let (Ok(healthy), Ok(damaged)) = (healthy, damaged) else { return false };
    healthy.entries().len() == damaged.entries().len()
        && healthy
            .entries()
            .iter()
            .zip(damaged.entries())
            .all(|(a, b)| (&a.entry, &a.leaves, &a.events) == (&b.entry, &b.leaves, &b.events))
}

/// Where the MAC of a segment's only entry is in its bytes.
fn mac_at(bytes: &[u8]) -> std::ops::Range<usize> {
    let segment = Segment::decode(bytes).expect("a healthy segment");
    let mac = segment.first().mac.0.0;
    let at = bytes.windows(mac.len()).position(|window| window == mac).expect("the MAC is in the segment");
    at..at + mac.len()
}

#[test]
fn an_entry_that_no_hsm_made_stops_the_agent_whose_hsm_should_capture_it() {
    let mut cluster = Cluster::new(1, 3);
    cluster.crash_agent(0);
    let mut users = users(&cluster, 1, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut users);
    let (name, mut bytes) =
        cluster.store.objects().nth(2).map(|(n, b)| (*n, b.to_vec())).expect("three segments");
    let at = mac_at(&bytes).start;
    bytes[at] ^= 1;
    cluster.store.put(name, bytes.into());
    // The leader still has what is damaged, and would send it.
    cluster.faults.alone.insert(0);
    cluster.start_agent(0);
    // It is read again and again before it counts as damage.
    cluster.run_for(3_000);
    assert_eq!(cluster.fault(0), None);
    cluster.run_for(20_000);
    let expected = Fault::Damaged { object: name, index: name.first, damage: Damage::NotAuthentic };
    assert_eq!(cluster.fault(0), Some(expected));
}

#[test]
fn another_groups_log_in_place_of_this_ones_is_refused() {
    let mut cluster = scenario(|_| {});
    let other = {
        let mut other = Cluster::new(99, 3);
        elect(&mut other);
        other
    };
    let (_, foreign) = other.store.objects().next().expect("not empty");
    let first = *cluster.store.objects().next().expect("not empty").0;
    cluster.store.put(first, foreign.clone());
    let fault = fault_after_restart(&mut cluster);
    let expected = Fault::Damaged { object: first, index: Index(1), damage: Damage::Chain };
    assert_eq!(fault, Some(expected));
}

#[test]
fn users_whose_messages_or_answers_are_lost_ask_again_and_are_charged_once() {
    let asked_again = |seed, message, answer| {
        let mut cluster = Cluster::new(seed, 3);
        cluster.keep_journal();
        (cluster.faults.lose_user_message, cluster.faults.lose_user_answer) = (message, answer);
        let mut users = users(&cluster, 8, &REGISTER_AND_RECOVER);
        users.iter_mut().for_each(|user| user.wait_at_most(3_000));
        cluster.serve(PATIENCE_MS, &mut users);
        users.iter().for_each(assert_recovered);
        let events = cluster.journal().expect("it is kept").events();
        let again = |how: &str| {
            let asks = events.iter().filter(|event| event.kind == Kind::Ask);
            asks.filter(|event| event.text.starts_with(how)).count()
        };
        (again("the same message again"), again("the same in a new session"))
    };
    assert_eq!(asked_again(1, 0.0, 0.0), (0, 0));
    for (message, answer) in [(0.3, 0.0), (0.0, 0.3)] {
        let counts: Vec<_> = (1..=4).map(|seed| asked_again(seed, message, answer)).collect();
        let (again, anew) = counts.iter().fold((0, 0), |(a, b), (again, anew)| (a + again, b + anew));
        assert!(again >= 4 && anew >= 4, "{message}, {answer}: {again} and {anew}");
    }
}
