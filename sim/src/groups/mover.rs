//! An operator that moves, splits, merges and retires: with the decisions of the agents ([`strongroom_replica::moving`]), over
//! leaders that come and go, and so that it may end at any step.

use super::job::Job;
use super::world::World;
use crate::cluster::{Copy, Doors, Kind, Lane, NotCopied, RequestId};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use strongroom_proto::change::{Change, Evidence, Retirement};
use strongroom_proto::hsm::{Refusal, Reply, Request};
use strongroom_proto::statement::Retired;
use strongroom_replica::moving::{Did, Move, Outcome, Task};
use strongroom_replica::{Order, Ordered};

/// How long a leader is looked for.
const SEARCH_MS: u64 = 5_000;
/// How often a job is begun again before it is given up.
const TRIES: u32 = 4;
/// How many steps of one move are taken.
const STEPS: u32 = 16;

/// An order on its way to whoever leads the group.
struct Errand {
    group: usize,
    order: Order,
    /// The member to ask next.
    member: Option<usize>,
    asked: Option<RequestId>,
    not_before: u64,
    until: u64,
}

/// How it ended.
enum Ended {
    Shown(Box<Evidence>),
    Refused(Refusal),
    /// It is not known what became of it, or nobody leads.
    Unknown,
}

impl Errand {
    const fn new(world: &World, group: usize, order: Order) -> Self {
        let now = world.now();
        Self { group, order, member: None, asked: None, not_before: now, until: now + SEARCH_MS }
    }

    fn poll(&mut self, world: &mut World, rng: &mut StdRng) -> Option<Ended> {
        if let Some(id) = self.asked {
            let ordered = world.take_ordered(self.group, id)?;
            self.asked = None;
            match ordered {
                Ordered::Done(shown) => return Some(Ended::Shown(shown)),
                Ordered::Refused(refusal) => return Some(Ended::Refused(refusal)),
                Ordered::Unknown | Ordered::Busy => return Some(Ended::Unknown),
                Ordered::NotLeader(leader) => {
                    let cluster = &world.groups[self.group].cluster;
                    self.member = leader.map(|leader| cluster.member_of(&leader));
                    self.not_before = world.now() + if self.member.is_some() { 1 } else { 40 };
                }
            }
        }
        if world.now() < self.not_before {
            return None;
        }
        if world.now() >= self.until {
            return Some(Ended::Unknown);
        }
        let group = &world.groups[self.group];
        let leader = group.cluster.leader().filter(|_| rng.random_ratio(3, 4));
        let member = self.member.take().or(leader).unwrap_or_else(|| rng.random_range(0..group.on.len()));
        self.asked = Some(world.order(self.group, member, self.order.clone()));
        None
    }
}

/// What to do with what an order showed.
enum Then {
    /// Nothing: the job is done.
    End,
    /// It is what the destination has committed.
    Destination,
    /// It is what the source has, and this is what the destination has.
    Source(Box<Evidence>),
    /// The step goes on.
    Step,
    /// It has retired, and its last entry is to be stored.
    Retired,
    /// It is its last entry, and stored.
    LastStored,
}

enum Doing {
    Nothing,
    /// Begins (again) at this time.
    Begin(u64),
    Order(Box<Errand>, Then),
    Copy {
        copy: Option<Copy>,
        at: u64,
        until: u64,
    },
    /// These members of the group are to leave it.
    Leave(Box<Retirement>, VecDeque<usize>),
}

/// One operator.
pub struct Mover {
    number: usize,
    job: Option<Job>,
    doing: Doing,
    step: Option<Move>,
    tries: u32,
    steps: u32,
    /// Whether it may end in the middle.
    is_fickle: bool,
    /// How many jobs came to their end.
    pub done: u64,
}

impl Mover {
    /// One that has nothing to do.
    #[must_use]
    pub const fn new(number: usize) -> Self {
        let (job, step, doing) = (None, None, Doing::Nothing);
        Self { number, job, doing, step, tries: 0, steps: 0, is_fickle: true, done: 0 }
    }

    /// What it does, if it does anything.
    #[must_use]
    pub const fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }

    /// From now on it does not end in the middle.
    pub const fn persist(&mut self) {
        self.is_fickle = false;
    }

    /// Gets something to do.
    pub fn take(&mut self, world: &mut World, job: Job) {
        let number = self.number;
        world.note(Lane::World, Kind::Ask, || format!("operator {number}: {job}"));
        (self.tries, self.steps, self.step) = (0, 0, None);
        (self.job, self.doing) = (Some(job), Doing::Begin(world.now()));
    }

    fn end(&mut self, world: &mut World, how: &str) {
        let number = self.number;
        world.note(Lane::World, Kind::Answer, || format!("operator {number}: {how}"));
        (self.job, self.step, self.doing) = (None, None, Doing::Nothing);
    }

    fn done(&mut self, world: &mut World) {
        self.done += 1;
        self.end(world, "it is done");
    }

    /// It did not go well: begins again where the groups are by then, or not.
    fn failed(&mut self, world: &mut World, rng: &mut StdRng, why: &str) {
        self.tries += 1;
        if self.tries >= TRIES || self.is_fickle && rng.random_ratio(1, 3) {
            return self.end(world, why);
        }
        self.doing = Doing::Begin(world.now() + rng.random_range(20..400));
    }

    /// Does what can be done now.
    pub fn poll(&mut self, world: &mut World, rng: &mut StdRng) {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Nothing => {}
            Doing::Begin(at) if world.now() < at => self.doing = Doing::Begin(at),
            Doing::Begin(_) => self.begin(world, rng),
            Doing::Order(mut errand, then) => match errand.poll(world, rng) {
                None => self.doing = Doing::Order(errand, then),
                Some(_) if self.is_fickle && rng.random_ratio(1, 25) => {
                    self.end(world, "the operator is gone");
                }
                Some(Ended::Shown(shown)) => self.shown(world, rng, *shown, then),
                Some(Ended::Refused(Refusal::Retired)) if matches!(then, Then::Retired) => {
                    self.order(world, errand.group, Order::Show { stored: true }, Then::LastStored);
                }
                Some(Ended::Refused(refusal)) => self.failed(world, rng, &format!("refused: {refusal}")),
                Some(Ended::Unknown) => self.failed(world, rng, "it is not known what became of it"),
            },
            Doing::Copy { at, copy, until } if world.now() < at => {
                self.doing = Doing::Copy { at, copy, until };
            }
            Doing::Copy { copy, until, .. } => self.copy(world, rng, copy, until),
            Doing::Leave(proof, members) => self.leave(world, rng, proof, members),
        }
    }

    fn order(&mut self, world: &World, group: usize, order: Order, then: Then) {
        self.doing = Doing::Order(Box::new(Errand::new(world, group, order)), then);
    }

    fn begin(&mut self, world: &mut World, rng: &mut StdRng) {
        let Some(job) = self.job.clone() else { return };
        match job {
            Job::Split(group, prefix) => self.order(world, group, Order::Split(prefix), Then::End),
            Job::Merge(group, prefix) => self.order(world, group, Order::Merge(prefix), Then::End),
            Job::Again(group, change) => self.order(world, group, Order::Step(change), Then::End),
            Job::Move { to, .. } => self.show(world, rng, to, Then::Destination),
            Job::Retire(group) => self.retire(world, group),
        }
    }

    /// What a group has committed. Nobody leads one that has retired for ever; but then its last entry is stored.
    fn show(&mut self, world: &mut World, rng: &mut StdRng, group: usize, then: Then) {
        match world.last_entry(group) {
            Some(last) => self.shown(world, rng, last, then),
            None => self.order(world, group, Order::Show { stored: false }, then),
        }
    }

    fn shown(&mut self, world: &mut World, rng: &mut StdRng, shown: Evidence, then: Then) {
        match (then, self.job.clone()) {
            (Then::Destination, Some(Job::Move { from, .. })) => {
                self.show(world, rng, from, Then::Source(Box::new(shown)));
            }
            (Then::Source(destination), Some(Job::Move { prefix, .. })) => {
                self.step = Some(Move::new(prefix, shown, *destination));
                self.go_on(world, rng, None);
            }
            (Then::Step, _) => self.go_on(world, rng, Some(Outcome::Shown(Box::new(shown)))),
            (Then::Retired, Some(Job::Retire(group))) => {
                // All that is open with it can then be ended, whatever becomes of its members.
                self.order(world, group, Order::Show { stored: true }, Then::LastStored);
            }
            (Then::LastStored, Some(Job::Retire(group))) => {
                if shown.entry.last {
                    self.has_retired(world, group, Retirement::Entry(Box::new(shown)));
                } else {
                    self.failed(world, rng, "it has not retired");
                }
            }
            _ => self.done(world),
        }
    }

    fn go_on(&mut self, world: &mut World, rng: &mut StdRng, outcome: Option<Outcome>) {
        let Some(step) = &mut self.step else { return };
        match step.go_on(outcome) {
            Ok(Task::Order(group, order)) => {
                let group = world.group_of(&group).expect("it was founded");
                self.order(world, group, order, Then::Step);
            }
            Ok(Task::Copy) => {
                let (at, until) = (world.now(), world.now() + SEARCH_MS);
                self.doing = Doing::Copy { copy: None, at, until };
            }
            Ok(Task::Done(Did::HasIt | Did::NotOwned | Did::Closed(true))) => self.done(world),
            Ok(Task::Done(did)) => {
                let number = self.number;
                world.note(Lane::World, Kind::Answer, || {
                    format!("operator {number}: a step is done, {did:?}")
                });
                self.steps += 1;
                if self.steps >= STEPS || self.is_fickle && rng.random_ratio(1, 8) {
                    return self.end(world, "no further step for now");
                }
                self.doing = Doing::Begin(world.now() + rng.random_range(1..100));
            }
            Err(why) => self.failed(world, rng, &why.to_string()),
        }
    }

    fn copy(&mut self, world: &mut World, rng: &mut StdRng, copy: Option<Copy>, until: u64) {
        let Some(Job::Move { prefix, from, to }) = self.job.clone() else { return };
        let now = world.now();
        if from == to {
            return self.failed(world, rng, "a group does not move a prefix to itself");
        }
        let [to, from] = world.groups.get_disjoint_mut([to, from]).expect("two groups");
        let cluster = &mut to.cluster;
        let went_on = match copy {
            None => match cluster.leader() {
                Some(leader) => cluster.begin_copy(leader, prefix, &from.cluster).map(|copy| (copy, false)),
                None => Err(NotCopied::NotLeader),
            },
            Some(mut copy) => cluster.go_on_copying(&mut copy).map(|done| (copy, done)),
        };
        match went_on {
            Ok((copy, true)) => self.go_on(world, rng, Some(Outcome::Copied(copy.root, copy.records))),
            Ok((copy, false)) => {
                let at = now + cluster.store_takes();
                self.doing = Doing::Copy { copy: Some(copy), at, until };
            }
            Err(NotCopied::NotLeader) if now < until => {
                self.doing = Doing::Copy { copy: None, at: now + 40, until };
            }
            Err(why) => self.failed(world, rng, &format!("not copied: {why:?}")),
        }
    }

    fn retire(&mut self, world: &mut World, group: usize) {
        if let Some(stated) = retired(world, group) {
            return self.has_retired(world, group, Retirement::Stated(stated));
        }
        if let Some(last) = world.last_entry(group) {
            return self.has_retired(world, group, Retirement::Entry(Box::new(last)));
        }
        self.order(world, group, Order::Step(Box::new(Change::Retire)), Then::Retired);
    }

    fn has_retired(&mut self, world: &World, group: usize, proof: Retirement) {
        let group = &world.groups[group];
        let members = (0..group.on.len()).filter(|member| !group.cluster.is_gone(*member)).collect();
        self.doing = Doing::Leave(Box::new(proof), members);
    }

    fn leave(
        &mut self,
        world: &mut World,
        rng: &mut StdRng,
        proof: Box<Retirement>,
        mut members: VecDeque<usize>,
    ) {
        let Some(Job::Retire(number)) = self.job.clone() else { return };
        let Some(member) = members.pop_front() else {
            return if world.groups[number].is_over() {
                self.done(world);
            } else {
                self.failed(world, rng, "not every member has left");
            };
        };
        let group = &world.groups[number];
        let (id, host, runs) = (group.id(), group.on[member], group.cluster.status(member).is_some());
        let is_cut_off = group.cluster.faults.alone.contains(&member);
        if runs && !is_cut_off {
            match world.ask_hsm(host, &Request::Leave(id, Some((*proof).clone()))) {
                Some(Reply::Retired(_)) => world.groups[number].cluster.has_left(member),
                None | Some(Reply::Refused(Refusal::NvramFailed)) => {}
                Some(other) => panic!("a member does not leave a group that has retired: {other:?}"),
            }
        }
        self.doing = Doing::Leave(proof, members);
    }
}

/// What a member that has left a group states of it.
fn retired(world: &mut World, group: usize) -> Option<Retired> {
    let id = world.groups[group].id();
    let hosts = world.groups[group].on.clone();
    hosts.into_iter().find_map(|host| match world.ask_hsm(host, &Request::Leave(id, None)) {
        Some(Reply::Retired(stated)) => Some(stated),
        _ => None,
    })
}
