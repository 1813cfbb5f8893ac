//! What it costs an agent to find the leader of a record's group, in a realm of more and more groups.
//!
//! No such realm is started. The agents' own tables are filled with what the members of so many groups would say about
//! who leads, in the form in which they say it, and are asked as an agent asks them that is in none of the groups.

use super::instructions::{Count, Instructions};
use super::numbers::{per, percentile};
use super::progress::Progress;
use super::report::Growth;
use super::tables;
use crate::Error;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};
use strongroom_agent::grpc::peer::Leading;
use strongroom_agent::memory::resident;
use strongroom_agent::peers::Routes;
use strongroom_proto::hsm::MAX_GROUPS;
use strongroom_proto::ids::{HsmId, RecordId};
use strongroom_proto::prefix::Prefix;

/// How many groups there are, and how many of them each HSM is in: one, or as many as it can be.
const REALMS: [(usize, usize); 7] =
    [(1, 1), (10, 1), (100, 1), (1000, 1), (10, MAX_GROUPS), (100, MAX_GROUPS), (1000, MAX_GROUPS)];
const MEMBERS: usize = 3;
/// Requests that are routed in each round, and how many rounds there are: the middle one counts. Rounds are short, because
/// what was said counts only for a while.
const REQUESTS: usize = 20;
const ROUNDS: usize = 45;
/// A round that took longer, on a machine that did something else meanwhile, is done again, this often at most.
const LONG: Duration = Duration::from_secs(1);
const AGAIN: usize = 1_000;
/// What is said about a group is little memory, so many tables are filled, until they hold about so many groups.
const HELD: usize = 20_000;

/// Measures, and prints each line when it is known.
///
/// # Errors
/// A group's leader is not found.
pub(super) fn measure(progress: &Progress) -> Result<Vec<Growth>, Error> {
    let mut counter = Instructions::begin().ok();
    let mut measured = Vec::new();
    progress.tell(&format!("\ngrowth\n{}", tables::growth(&measured).head()));
    // All are kept to the end, so that none gets memory that another has used.
    let mut kept = Vec::new();
    for (groups, groups_of_an_hsm) in REALMS {
        progress.say(format!("growth: {groups} groups"));
        let realm = Realm::new(groups, groups_of_an_hsm)?;
        kept.reserve(HELD);
        let before = resident(None);
        let first = kept.len();
        kept.extend((0..HELD.div_ceil(groups)).map(|_| realm.heard()));
        let tables_filled = kept.len() - first;
        let grown = resident(None).zip(before).map(|(now, before)| {
            now.own_bytes.saturating_sub(before.own_bytes) as f64 / (tables_filled * groups) as f64
        });
        let mut count = counter.as_mut().map(|counter| || counter.so_far());
        let count = count.as_mut().map(|count| -> Count<'_> { count });
        measured.push(Growth { bytes_per_group: grown, ..realm.route(groups_of_an_hsm, count)? });
        progress.tell(&tables::growth(&measured).last());
    }
    drop(kept);
    Ok(measured)
}

/// A realm as another agent sees it: the prefix and the leader of each group, and what each HSM's agent says.
struct Realm {
    groups: Vec<(Prefix, HsmId)>,
    agents: Vec<(HsmId, Vec<Leading>)>,
}

impl Realm {
    /// Groups of three, each with its own part of all records; three HSMs share as many groups as each is in.
    fn new(groups: usize, groups_of_an_hsm: usize) -> Result<Self, Error> {
        let hsm = |number: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            HsmId(id)
        };
        let prefixes = parts(groups)?;
        let mut agents: Vec<(HsmId, Vec<Leading>)> =
            (0..MEMBERS * groups.div_ceil(groups_of_an_hsm)).map(|at| (hsm(at), Vec::new())).collect();
        let mut led = Vec::new();
        for (number, prefix) in prefixes.into_iter().enumerate() {
            let first = MEMBERS * (number / groups_of_an_hsm);
            let leader = hsm(first + number % MEMBERS);
            let owned = minicbor::to_vec(vec![prefix])?;
            for (_, says) in &mut agents[first..first + MEMBERS] {
                says.push(Leading { leader: leader.0.to_vec().into(), prefixes: owned.clone().into() });
            }
            led.push((prefix, leader));
        }
        Ok(Self { groups: led, agents })
    }

    /// What an agent knows that has heard from all of them.
    fn heard(&self) -> Routes {
        let routes = Routes::new(self.agents.len());
        for (at, (hsm, says)) in self.agents.iter().enumerate() {
            routes.found(at, *hsm);
            routes.said(at, says);
        }
        routes
    }

    fn leader(&self, record: &RecordId) -> Option<HsmId> {
        self.groups.iter().find(|(prefix, _)| prefix.contains(record)).map(|(_, leader)| *leader)
    }

    /// Routes requests for records that are anywhere.
    fn route(&self, groups_of_an_hsm: usize, mut count: Option<Count<'_>>) -> Result<Growth, Error> {
        let mut rng = StdRng::seed_from_u64(self.groups.len() as u64);
        let (mut route_us, mut hear_us, mut instructions) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS + AGAIN {
            if route_us.len() == ROUNDS {
                break;
            }
            let began = Instant::now();
            let routes = self.heard();
            let heard = began.elapsed();
            let records: Vec<RecordId> = (0..REQUESTS).map(|_| RecordId(rng.random())).collect();
            let mut counted = || count.as_mut().and_then(|count| count());
            let (before, begun) = (counted(), Instant::now());
            for record in &records {
                black_box(go(&routes, black_box(record)));
            }
            let (routed, after) = (begun.elapsed(), counted());
            let found: Vec<_> = records.iter().map(|record| go(&routes, record)).collect();
            if began.elapsed() > LONG {
                continue;
            }
            hear_us.push(heard.as_secs_f64() * 1e6);
            route_us.push(routed.as_secs_f64() * 1e6 / REQUESTS as f64);
            instructions.extend(before.zip(after).map(|(before, after)| (after - before) as f64));
            for (record, found) in records.iter().zip(found) {
                let (leader, place) = found.ok_or("nobody leads a record's group")?;
                if Some(leader) != self.leader(record) || self.agents[place].0 != leader {
                    return Err("a request is routed to an agent that does not lead".into());
                }
            }
        }
        if route_us.is_empty() {
            return Err("the machine is too busy to measure anything; measure again later".into());
        }
        let claims: usize = self.agents.iter().map(|(_, says)| says.len()).sum();
        Ok(Growth {
            groups: self.groups.len(),
            groups_of_an_hsm,
            agents: self.agents.len(),
            claims,
            route_us: percentile(&mut route_us, 50.0).unwrap_or(0.0),
            route_instructions: percentile(&mut instructions, 50.0).and_then(|all| per(all, REQUESTS as f64)),
            hear_us: percentile(&mut hear_us, 50.0).unwrap_or(0.0),
            bytes_per_group: None,
        })
    }
}

/// The leader of a record's group that an agent would try first, and where it is.
fn go(routes: &Routes, record: &RecordId) -> Option<(HsmId, usize)> {
    routes.leaders(record).into_iter().find_map(|leader| Some((leader, routes.place(leader)?)))
}

/// All records in so many parts of about one size.
fn parts(count: usize) -> Result<Vec<Prefix>, Error> {
    let mut parts = VecDeque::from([Prefix::WHOLE]);
    while parts.len() < count {
        let widest = parts.pop_front().ok_or("there is no part without a record")?;
        let (left, right) = widest.children().ok_or("a part of one record has no parts")?;
        parts.extend([left, right]);
    }
    Ok(parts.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_in_one_part_and_parts_differ_in_size_by_one_halving() {
        let mut rng = StdRng::seed_from_u64(3);
        for count in [1, 2, 10, 1000] {
            let parts = parts(count).unwrap();
            assert_eq!(parts.len(), count);
            let lengths = parts.iter().map(Prefix::len);
            assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
            for _ in 0..100 {
                let record = RecordId(rng.random());
                assert_eq!(parts.iter().filter(|part| part.contains(&record)).count(), 1);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_reach_the_leader_among_many_groups_and_old_word_leads_nowhere() {
        for (groups, groups_of_an_hsm) in [(1, 1), (40, 1), (40, MAX_GROUPS)] {
            let realm = Realm::new(groups, groups_of_an_hsm).unwrap();
            let agents = if groups_of_an_hsm == 1 { MEMBERS * groups } else { MEMBERS * 3 };
            let growth = realm.route(groups_of_an_hsm, None).unwrap();
            assert_eq!((growth.groups, growth.agents, growth.claims), (groups, agents, MEMBERS * groups));
            assert!(growth.route_us > 0.0 && growth.route_instructions.is_none(), "{growth:?}");
            let routes = realm.heard();
            assert!(go(&routes, &RecordId([7; 32])).is_some());
            tokio::time::advance(std::time::Duration::from_secs(3)).await;
            assert!(go(&routes, &RecordId([7; 32])).is_none());
        }
    }

    #[test]
    fn a_request_that_goes_to_another_than_the_leader_is_noticed() {
        let mut realm = Realm::new(10, 1).unwrap();
        realm.groups.iter_mut().for_each(|(_, leader)| leader.0[15] = 1);
        assert!(realm.route(1, None).unwrap_err().to_string().contains("does not lead"));
    }

    #[test]
    fn instructions_are_those_of_one_request() {
        let mut executed = 0;
        let mut counter = || {
            executed += 1000 * REQUESTS as u64;
            Some(executed)
        };
        let growth = Realm::new(2, 1).unwrap().route(1, Some(&mut counter)).unwrap();
        assert_eq!(growth.route_instructions, Some(1000.0));
    }
}
