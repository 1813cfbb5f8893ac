//! What goes wrong in a run, drawn from its seed: which kinds of trouble there are, when each comes, and whom it hits.
//!
//! Every run has only some kinds, so that each kind is also seen without others that would hide its effect.

use crate::cluster::{Cluster, Kind, Lane, Lie};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A kind of trouble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trouble {
    /// Messages between agents are lost, repeated, delayed and so overtake each other.
    Messages,
    /// Messages of users to agents are lost, and the answers to them.
    UserMessages,
    /// Replies of HSMs are lost.
    HsmReplies,
    /// The store does not answer: what it was asked is done, not done, or done much later.
    StoreAnswers,
    /// The store is slow, and its listings lag behind.
    SlowStore,
    /// Writes of a member are held up on their way to the store.
    HeldWrites,
    /// A member cannot reach the store.
    NoStore,
    /// A member is cut off from all others.
    Partition,
    /// A member does not reach another, which may reach it.
    OneWay,
    /// An agent ends, and is started later.
    Crash,
    /// An agent ends, and is started at once.
    RestartAgent,
    /// An HSM loses its RAM.
    RestartHsm,
    /// An HSM loses power in the middle of a write to its NVRAM, or while it starts.
    PowerCut,
    /// An HSM does not answer.
    NoHsm,
    /// Every agent ends and every HSM loses its RAM, at once.
    Everything,
    /// The clock of an agent's host jumps forward, by up to an hour.
    Clock,
    /// An agent lies, always the same one.
    Liar,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Messages,
        Self::UserMessages,
        Self::HsmReplies,
        Self::StoreAnswers,
        Self::SlowStore,
        Self::HeldWrites,
        Self::NoStore,
        Self::Partition,
        Self::OneWay,
        Self::Crash,
        Self::RestartAgent,
        Self::RestartHsm,
        Self::PowerCut,
        Self::NoHsm,
        Self::Everything,
        Self::Clock,
        Self::Liar,
    ];

    /// Whether it goes on until it is ended. Trouble that does not is written down where it happens.
    const fn lasts(self) -> bool {
        !matches!(
            self,
            Self::Crash
                | Self::RestartAgent
                | Self::RestartHsm
                | Self::PowerCut
                | Self::Everything
                | Self::Clock
                | Self::Liar
        )
    }

    /// In words, about a member.
    const fn words(self) -> &'static str {
        match self {
            Self::Messages => "messages between agents are lost, repeated and delayed",
            Self::UserMessages => "users' messages and the answers to them are lost",
            Self::HsmReplies => "replies of HSMs are lost",
            Self::StoreAnswers => "the store does not always answer",
            Self::SlowStore => "the store is slow and its listings lag",
            Self::HeldWrites => "writes are held up on their way to the store",
            Self::NoStore => "the store cannot be reached",
            Self::Partition => "no other member can be reached, nor reaches it",
            Self::OneWay => "one other member cannot be reached",
            Self::Crash => "the agent ends",
            Self::RestartAgent => "the agent is started again",
            Self::RestartHsm => "the HSM loses its RAM",
            Self::PowerCut => "power is lost in a start, or will be in a write to NVRAM",
            Self::NoHsm => "the HSM does not answer",
            Self::Everything => "every agent ends and every HSM loses its RAM",
            Self::Clock => "the clock jumps",
            Self::Liar => "the agent lies",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The troubles of one run.
pub(super) struct Troubles {
    kinds: Vec<Trouble>,
    /// The member whose agent lies, if one does; only in groups of at least three.
    liar: Option<usize>,
    next_at: u64,
    pub(super) counts: BTreeMap<Trouble, u64>,
}

impl Troubles {
    /// Draws which kinds there are: each of them in half of the runs, and one at least.
    pub(super) fn draw(rng: &mut StdRng, members: usize) -> Self {
        let mut kinds: Vec<Trouble> = Trouble::ALL.into_iter().filter(|_| rng.random()).collect();
        let lies = kinds.contains(&Trouble::Liar) && members > 2;
        let liar = lies.then(|| rng.random_range(0..members));
        kinds.retain(|kind| lies || *kind != Trouble::Liar);
        if kinds.is_empty() {
            kinds.push(Trouble::Messages);
        }
        Self { kinds, liar, next_at: 0, counts: BTreeMap::new() }
    }

    /// The member whose agent lies.
    pub(super) const fn liar(&self) -> Option<usize> {
        self.liar
    }

    /// Makes trouble, or ends some, if it is time.
    pub(super) fn go_on(&mut self, cluster: &mut Cluster, rng: &mut StdRng) {
        if cluster.now() < self.next_at {
            return;
        }
        self.next_at = cluster.now() + rng.random_range(50..800);
        let member = rng.random_range(0..cluster.members());
        if rng.random_ratio(1, 3) {
            return ease(cluster, member);
        }
        let alone = |kind: &Trouble| matches!(kind, Trouble::Partition | Trouble::OneWay);
        let kind = self.kinds.choose(rng).copied();
        // There is no other member to be cut off from.
        if let Some(kind) = kind.filter(|kind| cluster.members() > 1 || !alone(kind)) {
            *self.counts.entry(kind).or_default() += 1;
            let member = self.liar.filter(|_| kind == Trouble::Liar).unwrap_or(member);
            begin(cluster, rng, kind, member);
        }
    }
}

/// Ends what is wrong with one member, and what is wrong everywhere.
fn ease(cluster: &mut Cluster, member: usize) {
    let faults = &mut cluster.faults;
    faults.forget_chances();
    faults.held_writes.remove(&member);
    faults.without_store.remove(&member);
    faults.without_hsm.remove(&member);
    faults.alone.remove(&member);
    faults.liars.remove(&member);
    faults.cuts.retain(|(from, to)| *from != member && *to != member);
    if cluster.faults.held_writes.is_empty() {
        cluster.let_through();
    }
    cluster.note(Lane::Member(member), Kind::Well, || "is well again".into());
    cluster.start_agent(member);
}

/// At least one lie.
pub(crate) fn any_lies(rng: &mut StdRng) -> BTreeSet<Lie> {
    let mut lies: BTreeSet<Lie> = Lie::ALL.into_iter().filter(|_| rng.random()).collect();
    lies.extend(Lie::ALL.choose(rng));
    lies
}

fn begin(cluster: &mut Cluster, rng: &mut StdRng, kind: Trouble, member: usize) {
    let lane = match kind {
        Trouble::Messages | Trouble::UserMessages | Trouble::HsmReplies => Lane::World,
        Trouble::StoreAnswers | Trouble::SlowStore => Lane::Store,
        _ => Lane::Member(member),
    };
    if kind.lasts() {
        cluster.note(lane, Kind::Trouble, || kind.to_string());
    }
    let others = cluster.members().saturating_sub(1).max(1);
    let other = (member + 1 + rng.random_range(0..others)) % cluster.members();
    let mut chance = || rng.random_range(0.0..0.3);
    let faults = &mut cluster.faults;
    match kind {
        Trouble::Messages => {
            (faults.lose_message, faults.repeat_message, faults.delay_message) =
                (chance(), chance(), chance());
        }
        Trouble::UserMessages => {
            (faults.lose_user_message, faults.lose_user_answer) = (chance(), chance());
        }
        Trouble::HsmReplies => faults.lose_hsm_reply = chance(),
        Trouble::StoreAnswers => {
            (faults.store_unavailable, faults.lose_store_answer, faults.late_store) =
                (chance(), chance(), chance());
        }
        Trouble::SlowStore => {
            faults.delay_store = chance();
            faults.listing_lag_ms = rng.random_range(0..2_000);
        }
        Trouble::HeldWrites => drop(faults.held_writes.insert(member)),
        Trouble::NoStore => drop(faults.without_store.insert(member)),
        Trouble::Partition => drop(faults.alone.insert(member)),
        Trouble::OneWay => drop(faults.cuts.insert((member, other))),
        Trouble::NoHsm => drop(faults.without_hsm.insert(member)),
        Trouble::Crash => cluster.crash_agent(member),
        Trouble::RestartAgent => cluster.restart_agent(member),
        Trouble::RestartHsm => cluster.restart_hsm(member),
        Trouble::PowerCut => {
            let granules = rng.random_range(1..30);
            if rng.random_ratio(1, 4) {
                cluster.restart_hsm_twice(member, granules);
            } else {
                cluster.cut_power_after(member, granules);
            }
        }
        Trouble::Liar => cluster.turn(member, any_lies(rng)),
        Trouble::Everything => {
            cluster.crash_all();
            (0..cluster.members()).for_each(|member| cluster.start_agent(member));
        }
        Trouble::Clock => {
            let longest = if rng.random() { 2_000 } else { 3_600_000 };
            cluster.jump_clock(member, rng.random_range(1..longest));
        }
    }
}
