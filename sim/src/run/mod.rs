//! One run of a whole cluster from one seed: real replicas, cores and client messages, and everything that goes wrong
//! around them; then a majority is healed, and there must be progress.
//!
//! The same seed gives the same run on any machine, down to every byte: [`Report::hash`] shows it.
//!
//! 1. *Safety*: users ask, trouble comes and goes. Whatever happens, what [`crate::cluster`] checks must hold.
//! 2. *Progress*: a majority of the members, drawn from the seed, is well from then on; the others stay cut off or
//!    down, and one that lies goes on lying. Leadership must settle, every user's request must end, and what was
//!    acknowledged must be there.

mod timeline;
mod trouble;

pub use timeline::Caption;
pub use trouble::Trouble;
pub(crate) use trouble::any_lies;

use crate::cluster::{Cluster, Faults, Journal, Kind, Lane, User, Wish};
use crate::model::Counts;
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use strongroom_proto::ids::Term;
use strongroom_replica::{Role, Storage};
use trouble::Troubles;

/// How long trouble lasts, in the run's own milliseconds.
const TROUBLE_MS: u64 = 30_000;
/// The longest time until one member leads and serves after a majority was healed: the longest election time-out is 300
/// ms doubled six times, then comes one more for the member that loses the race.
const SETTLE_MS: u64 = 45_000;
/// How long leadership must then stay where it is.
const STEADY_MS: u64 = 5_000;
/// The longest time until every request has ended after a majority was healed.
const RETRY_MS: u64 = 60_000;

/// How long a user waits for an answer.
const PATIENCE_MS: u64 = 3_000;

/// Everything that happens, in a log that is deleted almost at once.
const QUICK: Storage =
    Storage { snapshot_after_ms: 200, snapshot_records: 2, snapshot_segments: 4, grace_ms: 100 };

/// What a run did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Members of the group.
    pub members: usize,
    /// Members that were healed.
    pub healed: usize,
    /// Users.
    pub users: usize,
    /// Whether snapshots were taken, and segments deleted, all the time.
    pub quick_snapshots: bool,
    /// What went wrong, and how often.
    pub troubles: BTreeMap<Trouble, u64>,
    /// Answers to users.
    pub answers: usize,
    /// Segments on the log.
    pub segments: usize,
    /// How long after healing one member led and served, and kept doing so.
    pub settled_ms: u64,
    /// How long after healing every request had ended.
    pub ended_ms: u64,
    /// What was checked against the model.
    pub model: Counts,
    /// Events that the hash covers.
    pub events: u64,
    /// The hash over all events, 64 hexadecimal digits.
    pub hash: String,
}

/// How a run failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// When, in the run's own milliseconds.
    pub at_ms: u64,
    /// What did not hold.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {} ms into the run: {}", self.seed, self.at_ms, self.what)
    }
}

impl std::error::Error for Failure {}

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
    cluster: Cluster,
    users: Vec<User>,
    troubles: Troubles,
    quick_snapshots: bool,
}

impl Run {
    /// A run that is about to begin.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // A separate seed: what goes wrong must not depend on how much the cluster draws.
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7275_6e00_0000_0000);
        let members = *[1, 3, 3, 3, 3, 3, 5, 5].choose(&mut rng).expect("not empty");
        let quick_snapshots = rng.random();
        let storage = if quick_snapshots { QUICK } else { Storage::default() };
        let mut cluster = Cluster::with_storage(seed, members, storage);
        cluster.keep_journal();
        let count = rng.random_range(2..9);
        let users = (0..count).map(|number| {
            let mut user = User::new(&cluster, rng.random(), rng.random_range(1..6));
            user.number(number);
            user.wait_at_most(PATIENCE_MS);
            user
        });
        let users = users.collect();
        let troubles = Troubles::draw(&mut rng, members);
        Self { seed, rng, cluster, users, troubles, quick_snapshots }
    }

    /// The cluster, for a test that plants something.
    pub const fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Runs to the end, and returns what was written down, with the outcome.
    ///
    /// # Panics
    /// Never: a check that does not hold is a failure.
    pub fn finish(mut self) -> (Journal, Result<Report, Failure>) {
        let run = catch_unwind(AssertUnwindSafe(|| self.go()));
        let report = run.map_err(|panic| Failure {
            seed: self.seed,
            at_ms: self.cluster.now(),
            what: message(&*panic),
        });
        if let Err(failure) = &report {
            self.cluster.note(Lane::World, Kind::Phase, || format!("fails: {}", failure.what));
        }
        (self.cluster.take_journal().unwrap_or_default(), report)
    }

    fn go(&mut self) -> Report {
        self.safety();
        let healed = self.heal();
        let (ended_ms, settled_ms) = self.progress(&healed);
        self.what_was_acknowledged_is_there();
        let cluster = &self.cluster;
        cluster.check_log();
        let wrong = (0..cluster.members()).find_map(|m| cluster.fault(m).map(|fault| (m, fault)));
        assert!(wrong.is_none(), "member {wrong:?} gave up, and nothing was damaged");
        assert_eq!(cluster.tree_damage(), [], "the tree is whole");
        let journal = cluster.journal().expect("it is kept from the start");
        Report {
            seed: self.seed,
            members: cluster.members(),
            healed: healed.len(),
            users: self.users.len(),
            quick_snapshots: self.quick_snapshots,
            troubles: self.troubles.counts.clone(),
            answers: self.users.iter().map(|user| user.responses().len()).sum(),
            segments: cluster.store.objects().count() + cluster.store.collected().count(),
            settled_ms,
            ended_ms,
            model: cluster.trace().counts(),
            events: journal.count(),
            hash: journal.hash(),
        }
    }

    /// Users ask, and trouble comes and goes.
    fn safety(&mut self) {
        self.cluster.note(Lane::World, Kind::Phase, || "trouble begins".into());
        let (rng, users, troubles) = (&mut self.rng, &mut self.users, &mut self.troubles);
        users.iter_mut().for_each(|user| user.wish([Wish::Register]));
        let mut ask_at = 0;
        self.cluster.run_until(TROUBLE_MS, |cluster| {
            troubles.go_on(cluster, rng);
            if cluster.now() >= ask_at {
                ask_at = cluster.now() + rng.random_range(20..400);
                let user = users.choose_mut(rng).expect("there are users");
                if user.is_content() {
                    user.wish([any_wish(rng)]);
                } else if rng.random_ratio(1, 20) {
                    user.switch_off(cluster);
                }
            }
            users.iter_mut().for_each(|user| user.poll(cluster));
            false
        });
    }

    /// From here on a majority is well, and the others are down or cut off. Returns the members that are well.
    fn heal(&mut self) -> Vec<usize> {
        // Something is under way, whatever came before.
        for user in self.users.iter_mut().filter(|user| user.is_content()) {
            user.wish([any_wish(&mut self.rng), any_wish(&mut self.rng)]);
            user.poll(&mut self.cluster);
        }
        let cluster = &mut self.cluster;
        // A majority that does not lie: a liar need not do anything for anybody.
        let majority = cluster.members() / 2 + 1;
        let liar = self.troubles.liar();
        let mut order: Vec<usize> = (0..cluster.members()).filter(|member| Some(*member) != liar).collect();
        order.shuffle(&mut self.rng);
        let mut well = self.rng.random_range(majority..=order.len());
        // Such a log is deleted sooner than a leader that nobody hears gives up (see `Storage::grace_ms`), so a member
        // may follow segments that are off the log. It helps again once the others have stored a snapshot from beyond
        // them, for which it takes all others: also the one that lied, which tells the truth from here on.
        let has_strays =
            self.quick_snapshots && (cluster.store.has_strays() || cluster.is_a_member_off_the_log());
        if has_strays {
            well = order.len();
        }
        let mut others = order.split_off(well);
        cluster.faults = Faults::default();
        if let Some(liar) = liar {
            if has_strays {
                order.push(liar);
            } else if self.rng.random_ratio(3, 4) {
                cluster.turn(liar, any_lies(&mut self.rng));
                order.push(liar);
            } else {
                others.push(liar);
            }
        }
        let text = format!("members {order:?} are well from here on; there must be progress");
        cluster.note(Lane::World, Kind::Phase, || text);
        order.iter().for_each(|member| cluster.spare_power(*member));
        for member in others {
            if self.rng.random() {
                cluster.crash_agent(member);
            } else {
                cluster.faults.alone.insert(member);
                cluster.faults.without_store.insert(member);
                cluster.note(Lane::Member(member), Kind::Trouble, || "stays cut off".into());
            }
        }
        cluster.let_through();
        order.iter().for_each(|member| cluster.start_agent(*member));
        order
    }

    /// Every request ends, and one of the healed members leads and serves, and keeps doing so. Returns how long each
    /// took.
    fn progress(&mut self, healed: &[usize]) -> (u64, u64) {
        let (users, began) = (&mut self.users, self.cluster.now());
        let mut ended: Option<u64> = None;
        let mut since: Option<(u64, _)> = None;
        let done = self.cluster.run_until(RETRY_MS.max(SETTLE_MS) + STEADY_MS, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            let now = cluster.now();
            if ended.is_none() && users.iter().all(User::is_content) {
                ended = Some(now);
                cluster.note(Lane::World, Kind::Phase, || "every request has ended".into());
            }
            let leads = leadership(cluster, healed);
            if since.map(|(_, before)| before) != leads {
                since = leads.map(|leadership| (now, leadership));
            }
            ended.is_some() && since.is_some_and(|(at, _)| now >= at + STEADY_MS)
        });
        let states: Vec<_> = (0..self.cluster.members()).map(|m| self.cluster.status(m)).collect();
        let ended = ended.map(|at| at - began).filter(|ms| *ms <= RETRY_MS);
        let ended =
            ended.unwrap_or_else(|| panic!("not all users are served after {RETRY_MS} ms: {states:#?}"));
        let settled = since.map(|(at, _)| at - began).filter(|ms| done && *ms <= SETTLE_MS);
        let settled = settled
            .unwrap_or_else(|| panic!("leadership does not settle within {SETTLE_MS} ms: {states:#?}"));
        (ended, settled)
    }

    /// Every user finds what it was told, and can go on from there.
    fn what_was_acknowledged_is_there(&mut self) {
        for user in &mut self.users {
            user.wish([Wish::Recover1, Wish::Recover2, Wish::Recover3, Wish::Register, Wish::Recover2]);
        }
        self.cluster.serve(RETRY_MS, &mut self.users);
        self.cluster.note(Lane::World, Kind::Phase, || "what was acknowledged is there".into());
    }
}

/// Which of these members leads with the newest log and serves, and in which term.
fn leadership(cluster: &Cluster, among: &[usize]) -> Option<(usize, Term)> {
    let leads = |member: &usize| {
        let status = cluster.status(*member).filter(|status| status.serving)?;
        let Role::Leader { term } = status.role else { return None };
        Some((status.tip, (*member, term)))
    };
    among.iter().filter_map(leads).max_by_key(|(tip, _)| *tip).map(|(_, leadership)| leadership)
}

pub(crate) fn any_wish(rng: &mut StdRng) -> Wish {
    let wishes = [
        Wish::Register,
        Wish::Recover1,
        Wish::Recover2,
        Wish::Recover2,
        Wish::Recover2,
        Wish::Recover3,
        Wish::WrongTag,
        Wish::Delete,
    ];
    *wishes.choose(rng).expect("not empty")
}

/// What a panic says.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into())).unwrap_or_default()
}

impl Report {
    /// The whole report in one line, for many seeds.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { seed, members, healed, answers, settled_ms, ended_ms, hash, .. } = self;
        let entries = self.model.entries;
        format!(
            "seed {seed:<6} {healed} of {members} healed {answers:>5} answers {entries:>5} entries  settled \
             {settled_ms:>6} ms  ended {ended_ms:>6} ms  {hash}"
        )
    }

    /// How it ended, in a sentence.
    #[must_use]
    pub fn outcome(&self) -> String {
        format!(
            "{} of {} members healed: leadership settled after {} ms, the last request ended after {} ms",
            self.healed, self.members, self.settled_ms, self.ended_ms
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let storage = if self.quick_snapshots { ", a log that is deleted almost at once" } else { "" };
        writeln!(f, "seed {}: {} members, {} users{storage}", self.seed, self.members, self.users)?;
        writeln!(f, "\nwhat went wrong, how often")?;
        for (trouble, times) in &self.troubles {
            writeln!(f, "{times:>6}  {trouble}")?;
        }
        let Counts { captures, jumps, commits, reads, entries, leaderships, restarts } = self.model;
        writeln!(
            f,
            "\n{} answers, {} segments, {entries} entries, {leaderships} leaderships, {restarts} restarts of HSMs",
            self.answers, self.segments
        )?;
        writeln!(
            f,
            "the model allows all of {captures} captures, {jumps} jumps, {commits} commits and {reads} reads"
        )?;
        writeln!(f, "{}", self.outcome())?;
        writeln!(f, "\n{} events", self.events)?;
        writeln!(f, "{}", self.hash)
    }
}
