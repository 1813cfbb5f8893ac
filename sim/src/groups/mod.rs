//! One run of several groups on the same hosts from one seed: prefixes split, merge and move between them at any moment,
//! groups retire and others are founded, and everything goes wrong around them; then all is healed, what is under way is
//! brought to its end, and every record is with one group, as it was.
//!
//! What holds within one group is checked as in [`crate::run`]; what holds for all of them, in [`crate::cluster::Owners`].

mod job;
mod mover;
mod trouble;
mod world;

pub use job::Job;
pub use mover::Mover;
pub use world::{Group, World};

use crate::cluster::{Doors, Journal, Kind, Lane, User, Wish};
use crate::run::{Caption, Failure, Trouble, any_wish, message};
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;
use strongroom_replica::{Answer, Order, Ordered, Storage};
use trouble::Troubles;

/// How long trouble lasts, in the run's own milliseconds.
const TROUBLE_MS: u64 = 12_000;
/// The longest time until all that is under way has ended, after everything was healed.
const END_MS: u64 = 180_000;
/// The longest time until every request has ended.
const RETRY_MS: u64 = 60_000;
/// How long a user waits for an answer.
const PATIENCE_MS: u64 = 3_000;
/// The most groups that are founded in a run.
const MOST_GROUPS: usize = 7;

/// Everything that happens, in a log that is deleted almost at once.
const QUICK: Storage =
    Storage { snapshot_after_ms: 200, snapshot_records: 2, snapshot_segments: 4, grace_ms: 2_000 };

/// What a run did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Hosts.
    pub hosts: usize,
    /// Groups that were founded.
    pub groups: usize,
    /// Groups that every member has left.
    pub retired: usize,
    /// Users.
    pub users: usize,
    /// What went wrong, and how often.
    pub troubles: BTreeMap<Trouble, u64>,
    /// What operators wanted, and how often.
    pub wanted: BTreeMap<&'static str, u64>,
    /// How many of these jobs came to their end.
    pub done: u64,
    /// Answers to users.
    pub answers: usize,
    /// Replies about records of which it was checked that the owner gave them.
    pub told: u64,
    /// Pages and leaves deleted of what had left.
    pub swept: usize,
    /// How long after healing everything that was under way had ended.
    pub ended_ms: u64,
    /// Events that the hash covers.
    pub events: u64,
    /// The hash over all events, 64 hexadecimal digits.
    pub hash: String,
}

/// Runs one seed.
///
/// # Errors
/// Something did not hold.
pub fn run(seed: u64) -> Result<Report, Failure> {
    Run::new(seed).finish().1
}

/// One run.
pub struct Run {
    seed: u64,
    rng: StdRng,
    world: World,
    users: Vec<User>,
    movers: Vec<Mover>,
    troubles: Troubles,
    wanted: BTreeMap<&'static str, u64>,
    /// When what has left is deleted, and how much: drawn apart, so that it changes nothing else.
    sweeps: StdRng,
    swept: usize,
}

/// Some hosts for a group.
fn some_hosts(rng: &mut StdRng, hosts: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..hosts).collect();
    all.shuffle(rng);
    let many = *[1, 2, 3, 3, 3].choose(rng).expect("not empty");
    all.truncate(many);
    all
}

impl Run {
    /// A run that is about to begin.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // A separate seed: what goes wrong must not depend on how much the world draws.
        let mut rng = StdRng::seed_from_u64(seed ^ 0x6772_6f75_7073_0000);
        let hosts = rng.random_range(3..=5);
        let storage = if rng.random() { QUICK } else { Storage::default() };
        let mut first = some_hosts(&mut rng, hosts);
        if !first.contains(&0) {
            first[0] = 0;
        }
        // It is made by the HSM that has the realm first.
        first.sort_unstable();
        let mut world = World::new(seed, hosts, &first, storage);
        world.keep_journal();
        for _ in 0..rng.random_range(1..3) {
            let on = some_hosts(&mut rng, hosts);
            world.found(&on).expect("nothing goes wrong yet");
        }
        let mut records: Vec<RecordId> = Vec::new();
        let count = rng.random_range(4..10);
        let users = (0..count).map(|number| {
            let mut user = User::of(world.realm(), rng.random(), rng.random_range(1..6));
            if let Some(near) = records.choose(&mut rng).filter(|_| number % 2 == 1) {
                let near = near_to(near, rng.random_range(2..14), user.record());
                user.be(near);
            }
            records.push(user.record());
            user.number(number);
            user.wait_at_most(PATIENCE_MS);
            user
        });
        let users = users.collect();
        let movers = (0..rng.random_range(1..4)).map(Mover::new).collect();
        let troubles = Troubles::draw(&mut rng, hosts);
        let (wanted, sweeps) = (BTreeMap::new(), StdRng::seed_from_u64(seed ^ 0x7377_6565_7000_0000));
        Self { seed, rng, world, users, movers, troubles, wanted, sweeps, swept: 0 }
    }

    /// The world, for a test that plants something.
    pub const fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// What a page must say about it.
    #[must_use]
    pub fn caption(&self) -> Caption {
        let members = self.world.groups.iter().map(|group| group.on.len()).sum();
        Caption { seed: self.seed, members, users: self.users.len() }
    }

    /// Runs to the end, and returns what was written down, with the outcome.
    ///
    /// # Panics
    /// Never: a check that does not hold is a failure.
    pub fn finish(mut self) -> (Journal, Result<Report, Failure>) {
        let run = catch_unwind(AssertUnwindSafe(|| self.go()));
        let report =
            run.map_err(|panic| Failure { seed: self.seed, at_ms: self.world.now(), what: message(&*panic) });
        if let Err(failure) = &report {
            self.world.note(Lane::World, Kind::Phase, || format!("fails: {}", failure.what));
        }
        let journal = self.world.take_journal();
        let report = report.map(|report| Report { events: journal.count(), hash: journal.hash(), ..report });
        (journal, report)
    }

    fn go(&mut self) -> Report {
        self.safety();
        let ended_ms = self.end_all();
        self.what_was_acknowledged_is_there();
        self.every_record_is_with_one_group();
        self.groups_are_whole();
        let world = &self.world;
        Report {
            seed: self.seed,
            hosts: world.hosts(),
            groups: world.groups.len(),
            retired: world.groups.iter().filter(|group| group.is_over()).count(),
            users: self.users.len(),
            troubles: self.troubles.counts.clone(),
            wanted: self.wanted.clone(),
            done: self.movers.iter().map(|mover| mover.done).sum(),
            answers: self.users.iter().map(|user| user.responses().len()).sum(),
            told: world.owners().told(),
            swept: self.swept,
            ended_ms,
            events: 0,
            hash: String::new(),
        }
    }

    /// Users ask, operators move, and trouble comes and goes.
    fn safety(&mut self) {
        self.world.note(Lane::World, Kind::Phase, || "trouble begins".into());
        let Self { rng, users, troubles, movers, wanted, sweeps, swept, .. } = self;
        users.iter_mut().for_each(|user| user.wish([Wish::Register]));
        let (mut ask_at, mut want_at, mut sweep_at) = (0, 0, 0);
        self.world.run_until(TROUBLE_MS, |world| {
            troubles.go_on(world, rng);
            let now = world.now();
            if now >= ask_at {
                ask_at = now + rng.random_range(20..400);
                let user = users.choose_mut(rng).expect("there are users");
                if user.is_content() {
                    user.wish([any_wish(rng)]);
                } else if rng.random_ratio(1, 20) {
                    user.switch_off(world);
                }
            }
            if now >= want_at {
                want_at = now + rng.random_range(20..500);
                want(world, rng, movers, wanted);
            }
            if now >= sweep_at {
                sweep_at = now + sweeps.random_range(10..200);
                *swept += sweep(world, sweeps);
            }
            movers.iter_mut().for_each(|mover| mover.poll(world, rng));
            users.iter_mut().for_each(|user| user.poll(world));
            false
        });
    }

    /// Everything is well from here on, and all that is under way is brought to its end, users' requests too. Returns how
    /// long that took.
    fn end_all(&mut self) -> u64 {
        trouble::heal(&mut self.world);
        self.world.note(Lane::World, Kind::Phase, || "all is well from here on".into());
        let began = self.world.now();
        let Self { rng, users, movers, .. } = self;
        movers.iter_mut().for_each(Mover::persist);
        let mut last = None;
        let ended = self.world.run_until(END_MS, |world| {
            movers.iter_mut().for_each(|mover| mover.poll(world, rng));
            users.iter_mut().for_each(|user| user.poll(world));
            if movers.iter().any(|mover| mover.job().is_some()) {
                return false;
            }
            last = job::unfinished(world, rng);
            if let Some(job) = &last {
                movers[0].take(world, job.clone());
            }
            last.is_none() && users.iter().all(User::is_content)
        });
        let served = users.iter().all(User::is_content);
        assert!(ended || !served, "what operators have begun does not end: {}", last.expect("a job"));
        assert!(ended, "not all users are served after {END_MS} ms");
        self.world.now() - began
    }

    /// Every user finds what it was told, and can go on from there.
    fn what_was_acknowledged_is_there(&mut self) {
        let users = &mut self.users;
        for user in &mut *users {
            user.wish([Wish::Recover1, Wish::Recover2, Wish::Recover3, Wish::Register, Wish::Recover2]);
        }
        let served = self.world.run_until(RETRY_MS, |world| {
            users.iter_mut().for_each(|user| user.poll(world));
            users.iter().all(User::is_content)
        });
        assert!(served, "not all users are served after {RETRY_MS} ms");
        self.world.note(Lane::World, Kind::Phase, || "what was acknowledged is there".into());
    }

    /// Every group is asked about every record: one serves it, and all others say that it is not theirs.
    fn every_record_is_with_one_group(&mut self) {
        let groups = job::live(&self.world);
        for user in &mut self.users {
            let mut serve = Vec::new();
            for group in &groups {
                if asked(&mut self.world, user, *group) {
                    serve.push(*group);
                }
            }
            let record = user.record();
            assert_eq!(serve.len(), 1, "groups {serve:?} serve the record {record}");
            let owners = self.world.owners().of(&record);
            let id = self.world.groups[serve[0]].id();
            assert!(owners.contains(&id) && owners.len() == 1, "another group serves than has the record");
        }
    }

    /// What each group has is stored whole, and nothing is wrong with its log.
    fn groups_are_whole(&mut self) {
        for group in job::live(&self.world) {
            let mut ended = None;
            self.world.run_until(RETRY_MS, |world| {
                let Some(leader) = world.groups[group].cluster.leader() else { return false };
                match ended.map(|id| world.take_ordered(group, id)) {
                    Some(Some(Ordered::Done(_))) => return true,
                    Some(None) => {}
                    _ => ended = Some(world.order(group, leader, Order::Show { stored: true })),
                }
                false
            });
        }
        for _ in 0..200 {
            self.swept += sweep(&mut self.world, &mut self.sweeps);
        }
        for (number, group) in self.world.groups.iter().enumerate() {
            let cluster = &group.cluster;
            cluster.check_log();
            if let Some(reached) = cluster.reaches() {
                let roots = reached.entry.partitions.iter().map(|part| (part.prefix, part.root));
                cluster.store.tree.check_below(roots);
            }
            let wrong = (0..group.on.len()).filter(|member| !cluster.is_gone(*member));
            let wrong = wrong.filter_map(|member| Some((member, cluster.fault(member)?))).next();
            assert!(wrong.is_none(), "in group {number}, {wrong:?} gave up, and nothing was damaged");
            assert_eq!(cluster.tree_damage(), [], "the tree of group {number} is whole");
        }
    }
}

/// Has one group delete some of what has left it, by what the trees of all groups reach.
fn sweep(world: &mut World, rng: &mut StdRng) -> usize {
    let stored: Vec<_> = world.groups.iter().filter_map(|group| group.cluster.reaches()).collect();
    let at = rng.random_range(0..world.groups.len());
    world.groups[at].cluster.sweep(&stored, rng.random_range(1..5))
}

/// Gives something to do to an operator that has nothing to do, or founds a group.
fn want(world: &mut World, rng: &mut StdRng, movers: &mut [Mover], wanted: &mut BTreeMap<&'static str, u64>) {
    let few = job::live(world).len() < 3 && world.groups.len() < MOST_GROUPS;
    if few && rng.random_ratio(1, 6) {
        let on = some_hosts(rng, world.hosts());
        if world.found(&on).is_some() {
            *wanted.entry("found").or_default() += 1;
        }
    }
    let jobs: Vec<Option<Job>> = movers.iter().map(|mover| mover.job().cloned()).collect();
    let idle = movers.iter_mut().find(|mover| mover.job().is_none());
    if let Some((idle, job)) = idle.and_then(|idle| Some((idle, job::any(world, &jobs, rng)?))) {
        *wanted.entry(job.name()).or_default() += 1;
        idle.take(world, job);
    }
}

/// Whether a group serves the record of a user, as its leader says.
fn asked(world: &mut World, user: &mut User, group: usize) -> bool {
    let mut with: Option<crate::cluster::RequestId> = None;
    let mut serves = None;
    world.run_until(RETRY_MS, |world| {
        let cluster = &mut world.groups[group].cluster;
        match with.map(|id| cluster.take_answer(id)) {
            Some(None) => return false,
            Some(Some(Answer::Reply(_))) => serves = Some(true),
            Some(Some(Answer::NotCovered)) => serves = Some(false),
            // It begins to lead, or has ended to.
            None | Some(Some(_)) => {}
        }
        if serves.is_none()
            && let Some(leader) = cluster.leader()
        {
            with = Some(cluster.submit(leader, true, user.knock()));
        }
        serves.is_some()
    });
    serves.unwrap_or_else(|| panic!("group {group} does not say whether it has a record"))
}

/// A record like this one, from a bit on; before that, like another.
fn near_to(other: &RecordId, bits: u16, own: RecordId) -> RecordId {
    let same = Prefix::of(other, bits).expect("few bits");
    let (mut record, bits) = (own, usize::from(bits));
    record.0[..bits / 8].copy_from_slice(&same.bits()[..bits / 8]);
    let mask = !(0xff_u8 >> (bits % 8));
    record.0[bits / 8] = same.bits()[bits / 8] & mask | record.0[bits / 8] & !mask;
    record
}

impl Report {
    /// The whole report in one line, for many seeds.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { seed, hosts, groups, retired, answers, done, ended_ms, hash, .. } = self;
        let wanted: u64 = self.wanted.values().sum();
        format!(
            "seed {seed:<6} {hosts} hosts {groups} groups {retired} retired {answers:>4} answers {done:>3} of {wanted:>3} jobs \
             done  ended {ended_ms:>6} ms  {hash}"
        )
    }

    /// How it ended, in a sentence.
    #[must_use]
    pub fn outcome(&self) -> String {
        format!("every record is with one group, {} ms after all was well", self.ended_ms)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, hosts, groups, retired, users, .. } = self;
        writeln!(f, "seed {seed}: {hosts} hosts, {groups} groups, {retired} of them retired, {users} users")?;
        writeln!(f, "\nwhat went wrong, how often")?;
        for (trouble, times) in &self.troubles {
            writeln!(f, "{times:>6}  {trouble}")?;
        }
        writeln!(f, "\nwhat operators wanted, how often")?;
        for (job, times) in &self.wanted {
            writeln!(f, "{times:>6}  {job}")?;
        }
        writeln!(
            f,
            "\n{} answers; the owner of the record gave each of {} replies",
            self.answers, self.told
        )?;
        writeln!(f, "{}", self.outcome())?;
        writeln!(f, "{} events, hash\n{}", self.events, self.hash)
    }
}
