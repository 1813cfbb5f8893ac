//! What goes wrong at hosts that have members of several groups: whatever hits a host hits all of them.

use super::world::World;
use crate::cluster::{Cluster, Doors, Kind, Lane};
use crate::run::{Trouble, any_lies};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::collections::BTreeMap;

/// The troubles of one run.
pub(super) struct Troubles {
    kinds: Vec<Trouble>,
    /// The host whose agent lies.
    liar: usize,
    next_at: u64,
    pub(super) counts: BTreeMap<Trouble, u64>,
}

impl Troubles {
    /// Draws which kinds there are: each of them in half of the runs, none in a few.
    pub(super) fn draw(rng: &mut StdRng, hosts: usize) -> Self {
        let calm = rng.random_ratio(1, 12);
        let kinds = Trouble::ALL.into_iter().filter(|_| !calm && rng.random()).collect();
        Self { kinds, liar: rng.random_range(0..hosts), next_at: 0, counts: BTreeMap::new() }
    }

    /// Makes trouble, or ends some, if it is time.
    pub(super) fn go_on(&mut self, world: &mut World, rng: &mut StdRng) {
        if world.now() < self.next_at {
            return;
        }
        self.next_at = world.now() + rng.random_range(50..800);
        let host = rng.random_range(0..world.hosts());
        if rng.random_ratio(2, 5) {
            return ease(world, host);
        }
        let Some(kind) = self.kinds.choose(rng).copied() else { return };
        *self.counts.entry(kind).or_default() += 1;
        let host = if kind == Trouble::Liar { self.liar } else { host };
        world.note(Lane::World, Kind::Trouble, || format!("at host {host}: {kind}"));
        begin(world, rng, kind, host);
    }
}

/// Ends what is wrong with one host, and what is wrong everywhere.
fn ease(world: &mut World, host: usize) {
    for group in &mut world.groups {
        group.cluster.faults.forget_chances();
    }
    for (cluster, member) in world.on(host) {
        let faults = &mut cluster.faults;
        faults.held_writes.remove(&member);
        faults.without_store.remove(&member);
        faults.without_hsm.remove(&member);
        faults.alone.remove(&member);
        faults.liars.remove(&member);
        faults.cuts.retain(|(from, to)| *from != member && *to != member);
        if cluster.faults.held_writes.is_empty() {
            cluster.let_through();
        }
        cluster.start_agent(member);
    }
}

/// Nothing is wrong any more, anywhere.
pub(super) fn heal(world: &mut World) {
    for host in 0..world.hosts() {
        world.spare_power(host);
    }
    for group in &mut world.groups {
        group.cluster.faults = crate::cluster::Faults::default();
        group.cluster.let_through();
        (0..group.on.len()).for_each(|member| group.cluster.start_agent(member));
    }
}

fn begin(world: &mut World, rng: &mut StdRng, kind: Trouble, host: usize) {
    let mut chances = [0.0; 3];
    chances.iter_mut().for_each(|chance| *chance = rng.random_range(0.0..0.3));
    let [one, two, three] = chances;
    let lag = rng.random_range(0..2_000);
    let other = rng.random_range(0..world.hosts());
    match kind {
        Trouble::Messages
        | Trouble::UserMessages
        | Trouble::HsmReplies
        | Trouble::StoreAnswers
        | Trouble::SlowStore => {
            for group in &mut world.groups {
                let faults = &mut group.cluster.faults;
                match kind {
                    Trouble::Messages => {
                        (faults.lose_message, faults.repeat_message, faults.delay_message) =
                            (one, two, three);
                    }
                    Trouble::UserMessages => {
                        (faults.lose_user_message, faults.lose_user_answer) = (one, two);
                    }
                    Trouble::HsmReplies => faults.lose_hsm_reply = one,
                    Trouble::StoreAnswers => {
                        (faults.store_unavailable, faults.lose_store_answer, faults.late_store) =
                            (one, two, three);
                    }
                    _ => (faults.delay_store, faults.listing_lag_ms) = (one, lag),
                }
            }
        }
        Trouble::OneWay => {
            for group in &mut world.groups {
                if let (Some(from), Some(to)) = (group.member_on(host), group.member_on(other)) {
                    group.cluster.faults.cuts.insert((from, to));
                }
            }
        }
        Trouble::RestartHsm => world.restart_hsm(host, None),
        Trouble::PowerCut => {
            let granules = rng.random_range(1..30);
            if rng.random_ratio(1, 4) {
                world.restart_hsm(host, Some(granules));
            } else {
                world.cut_power_after(host, granules);
            }
        }
        Trouble::Everything => {
            let hosts = world.hosts();
            (0..hosts)
                .for_each(|host| world.on(host).for_each(|(cluster, member)| cluster.crash_agent(member)));
            (0..hosts).for_each(|host| world.restart_hsm(host, None));
            (0..hosts)
                .for_each(|host| world.on(host).for_each(|(cluster, member)| cluster.start_agent(member)));
        }
        _ => {
            let ms = if rng.random() { 2_000 } else { 3_600_000 };
            let ms = rng.random_range(1..ms);
            let lies = any_lies(rng);
            world.on(host).for_each(|(cluster, member)| at_member(cluster, kind, member, ms, &lies));
        }
    }
}

fn at_member(
    cluster: &mut Cluster,
    kind: Trouble,
    member: usize,
    ms: u64,
    lies: &std::collections::BTreeSet<crate::cluster::Lie>,
) {
    let faults = &mut cluster.faults;
    match kind {
        Trouble::HeldWrites => drop(faults.held_writes.insert(member)),
        Trouble::NoStore => drop(faults.without_store.insert(member)),
        Trouble::Partition => drop(faults.alone.insert(member)),
        Trouble::NoHsm => drop(faults.without_hsm.insert(member)),
        Trouble::Crash => cluster.crash_agent(member),
        Trouble::RestartAgent => cluster.restart_agent(member),
        Trouble::Clock => cluster.jump_clock(member, ms),
        // A liar and others that do not lie.
        Trouble::Liar if cluster.members() > 2 => cluster.turn(member, lies.clone()),
        _ => {}
    }
}
