//! The adversary: what it knows of the world, the honest steps it can take when they serve it, and its random ones.

use super::clients::{Clients, POINTS, REGISTRATIONS, USERS};
use super::step::{Forgery, Made, Step, Wish};
use super::strategies::STRATEGIES;
use super::world::{DEVICES, World};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::rc::Rc;

/// Steps of one episode: a realm lives so long, and a trace is at most so long.
pub(super) const EPISODE_STEPS: u32 = 400;

/// One episode under way.
pub(super) struct Hunt {
    pub(super) world: World,
    pub(super) rng: StdRng,
    pub(super) trace: Vec<(Made, Step)>,
    next: Made,
    limit: u32,
}

impl Hunt {
    pub(super) fn new(world: World, seed: u64, limit: u32) -> Self {
        Self { world, rng: StdRng::seed_from_u64(seed), trace: Vec::new(), next: 1, limit }
    }

    pub(super) fn clients(&self) -> Rc<Clients> {
        Rc::clone(&self.world.clients)
    }

    /// Runs to the end of the episode, or to the first broken rule.
    pub(super) fn run(&mut self) {
        self.lead(0, 0);
        while !self.is_over() {
            let before = self.trace.len();
            if self.rng.random_ratio(1, 3) {
                for _ in 0..self.rng.random_range(1..12) {
                    self.random_step();
                }
            } else if let Some(strategy) = STRATEGIES.choose(&mut self.rng) {
                strategy(self);
            }
            if self.trace.len() == before {
                self.random_step();
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.world.violation.is_some() || self.trace.len() >= self.limit as usize
    }

    /// Takes a step, unless the episode is over; returns its number.
    pub(super) fn go(&mut self, step: Step) -> Made {
        let n = self.next;
        if !self.is_over() {
            self.next += 1;
            self.world.apply(n, &step);
            self.trace.push((n, step));
        }
        n
    }

    pub(super) fn any_user(&mut self) -> u8 {
        self.rng.random_range(0..USERS)
    }

    pub(super) fn any_point(&mut self) -> u8 {
        self.rng.random_range(0..POINTS)
    }

    pub(super) fn any_registration(&mut self) -> u8 {
        self.rng.random_range(0..REGISTRATIONS)
    }

    pub(super) fn captured(&self, at: u8, group: usize) -> Option<Made> {
        self.world.members[usize::from(at)][group].captured
    }

    /// The newest own entry of a leader: none if it does not lead, or leads from nothing.
    pub(super) fn newest(&self, at: u8) -> Option<Made> {
        self.world.members[usize::from(at)][0].lead.as_ref().and_then(|lead| lead.newest)
    }

    pub(super) fn leads(&self, at: u8) -> bool {
        self.world.members[usize::from(at)][0].lead.is_some()
    }

    /// Leads from what is captured.
    pub(super) fn lead(&mut self, at: u8, group: u8) {
        let entry = self.captured(at, usize::from(group));
        self.go(Step::Lead { at, group, entry });
    }

    pub(super) fn open(&mut self, user: u8, at: u8) -> Made {
        let handshake = self.next;
        self.go(Step::Open { user, at, group: 0, handshake })
    }

    pub(super) fn ask(&mut self, channel: Made, wish: Wish) -> Made {
        self.go(Step::Ask { channel, wish })
    }

    /// A batch on the tree that the leader is to have.
    pub(super) fn process(&mut self, at: u8, messages: &[Made]) -> Made {
        let tree = self.newest(at);
        self.process_on(at, tree, messages)
    }

    pub(super) fn process_on(&mut self, at: u8, tree: Option<Made>, messages: &[Made]) -> Made {
        self.go(Step::Process { at, group: 0, tree, messages: messages.to_vec(), as_user: None })
    }

    /// The entries after what an HSM captured, up to one; none if that one is on another chain.
    fn way(&self, at: u8, group: usize, to: Made) -> Vec<Made> {
        let from = self.captured(at, group);
        let mut way = Vec::new();
        let mut next = Some(to);
        while next != from {
            let Some(known) = next.and_then(|next| self.world.entries.get(&next)) else { return Vec::new() };
            way.extend(next);
            next = known.parent;
        }
        way.reverse();
        way
    }

    /// Has an HSM capture up to an entry, jumping over what is committed if it must. Its statement, if it gave one.
    pub(super) fn capture(&mut self, at: u8, entry: Made) -> Option<Made> {
        let known = self.world.entries.get(&entry)?;
        let group = known.group;
        let entries = self.way(at, group, entry);
        if entries.is_empty() && self.captured(at, group) != Some(entry) {
            let on_the_way = |(_, c): &(usize, strongroom_proto::statement::Committed)| {
                self.world.by_hash.get(&c.hash).copied().filter(|made| self.world.is_before(*made, entry))
            };
            let jump = self.world.commits.iter().rev().find_map(|(s, c)| on_the_way(c).map(|e| (*s, e)));
            if let Some((statement, to)) = jump {
                self.go(Step::Jump { at, entry: to, statement });
                let entries = self.way(at, group, entry);
                self.go(Step::Capture { at, group: group as u8, entries });
            }
        } else {
            self.go(Step::Capture { at, group: group as u8, entries });
        }
        self.statement(at, group)
    }

    pub(super) fn statement(&self, at: u8, group: usize) -> Option<Made> {
        self.world.members[usize::from(at)][group].statement
    }

    /// Has these HSMs capture an entry and the leader commit with what they state.
    pub(super) fn settle(&mut self, leader: u8, entry: Made, by: &[u8]) -> Made {
        let statements = by.iter().filter_map(|at| self.capture(*at, entry)).collect();
        self.commit(leader, statements)
    }

    pub(super) fn commit(&mut self, at: u8, statements: Vec<Made>) -> Made {
        self.go(Step::Commit { at, group: 0, statements, chain: Vec::new() })
    }

    /// A leader of group 0 at the committed end of its log. None if the group is stuck, as a host can make it.
    pub(super) fn leader(&mut self) -> Option<u8> {
        let index = |hunt: &Self, at: u8| {
            let known = hunt.captured(at, 0).and_then(|made| hunt.world.entries.get(&made));
            known.map_or(0, |known| known.entry.index.0)
        };
        let committed = self.world.committed.keys().filter(|(group, _)| *group == 0).map(|(_, i)| i.0).max();
        let end = committed.and_then(|i| self.world.committed.get(&(0, strongroom_proto::ids::Index(i))));
        let end = end.and_then(|hash| self.world.by_hash.get(hash)).copied();
        let fits = |hunt: &Self, at: u8| match (end, hunt.captured(at, 0)) {
            (None, _) => true,
            (Some(end), Some(captured)) => hunt.world.is_before(end, captured),
            (Some(_), None) => false,
        };
        let first = self.rng.random_range(0..3_u8);
        let mut order: Vec<u8> = (0..3).map(|i| (first + i) % 3).collect();
        order.sort_by_key(|at| std::cmp::Reverse(index(self, *at)));
        let at = order.into_iter().find(|at| fits(self, *at))?;
        self.lead(at, 0);
        // Whatever others captured since is brought together here, or the group is stuck.
        let entry = self.process(at, &[]);
        self.settle(at, entry, &[0, 1, 2]);
        (!self.is_over() && self.leads(at)).then_some(at)
    }

    /// A leader, and a user who is freshly registered with a channel open there.
    pub(super) fn scene(&mut self, registration: u8) -> Option<Scene> {
        let at = self.leader()?;
        let user = self.any_user();
        let channel = self.open(user, at);
        let message = self.ask(channel, Wish::Register2(registration));
        let tip = self.process(at, &[message]);
        self.settle(at, tip, &[0, 1, 2]);
        let there = self.world.entries.get(&tip).is_some_and(|known| known.is_committed);
        (there && !self.is_over()).then_some(Scene { at, user, channel, registration, tip })
    }

    /// Another member of group 0.
    pub(super) fn other(&mut self, at: u8) -> u8 {
        (at + self.rng.random_range(1..3_u8)) % 3
    }

    /// Anything at all that has the form of a step.
    pub(super) fn random_step(&mut self) {
        let at = self.rng.random_range(0..4_u8);
        let group = u8::from(self.rng.random_ratio(1, 6));
        let step = match self.rng.random_range(0..19) {
            0 => Step::Open { user: self.any_user(), at, group: 0, handshake: self.random_handshake() },
            1 | 2 => {
                let Some(channel) = recent(&mut self.rng, self.world.channels.keys()) else { return };
                Step::Ask { channel, wish: self.random_wish() }
            }
            3 => {
                let wish = [Wish::Register1, Wish::Recover1, Wish::Delete][self.rng.random_range(0..3)];
                debug_assert!(wish.rides(), "the others need a channel");
                Step::Ride { user: self.any_user(), wish }
            }
            4..=6 => self.random_batch(at, group),
            7..=9 => self.random_capture(at, group),
            10 => {
                let Some(entry) = recent(&mut self.rng, self.world.entries.keys()) else { return };
                let honest = recent(&mut self.rng, self.world.commits.keys());
                let other = recent(&mut self.rng, self.world.statements.keys());
                let statement = if self.rng.random_ratio(2, 3) { honest } else { other };
                let Some(statement) = statement else { return };
                Step::Jump { at, entry, statement }
            }
            11 | 12 => {
                let captured = self.captured(at, usize::from(group));
                let other = recent(&mut self.rng, self.world.entries.keys());
                let entry = if self.rng.random_ratio(4, 5) { captured } else { other };
                Step::Lead { at, group, entry }
            }
            13 | 14 => self.random_commit(at, group),
            15 => {
                let cut_after = self.rng.random_ratio(1, 3).then(|| self.rng.random_range(0..80));
                Step::Restart { at, cut_after }
            }
            16 => {
                let how =
                    [Forgery::OtherPrev, Forgery::NoPartitions, Forgery::LaterIndex, Forgery::OtherGroup]
                        [self.rng.random_range(0..4)];
                let Some(entry) = recent(&mut self.rng, self.world.entries.keys()) else { return };
                Step::Forge { entry, how }
            }
            17 => Step::Resign { at, group },
            _ => Step::Garble {
                at: self.rng.random_range(0..DEVICES as u8),
                back: self.rng.random_range(0..8),
                cut: if self.rng.random() { u16::MAX } else { self.rng.random_range(1..600) },
                flip: self.rng.random(),
                onto: if self.rng.random_ratio(1, 4) { self.rng.random_range(0..8) } else { u8::MAX },
            },
        };
        self.go(step);
    }

    fn random_handshake(&mut self) -> u32 {
        let old = recent(&mut self.rng, self.world.channels.keys());
        old.filter(|_| self.rng.random_ratio(1, 3)).unwrap_or(self.next)
    }

    fn random_wish(&mut self) -> Wish {
        let registration = self.any_registration();
        match self.rng.random_range(0..8) {
            0 => Wish::Register1,
            1 => Wish::Register2(registration),
            2 => Wish::Recover1,
            3 => Wish::Delete,
            4 => Wish::Recover3(registration, self.rng.random()),
            _ => Wish::Recover2(registration, self.any_point()),
        }
    }

    fn random_batch(&mut self, at: u8, group: u8) -> Step {
        let count = self.rng.random_range(0..4);
        let messages = (0..count).filter_map(|_| recent(&mut self.rng, self.world.messages.keys()));
        let messages = messages.collect();
        let newest = self.newest(at);
        let stale = recent(&mut self.rng, self.world.entries.keys());
        let tree = if self.rng.random_ratio(5, 6) { newest } else { stale };
        let as_user = self.rng.random_ratio(1, 12).then(|| self.rng.random_range(0..USERS));
        Step::Process { at, group, tree, messages, as_user }
    }

    fn random_capture(&mut self, at: u8, group: u8) -> Step {
        let to = recent(&mut self.rng, self.world.entries.keys());
        let mut entries = to.map(|to| self.way(at, usize::from(group), to)).unwrap_or_default();
        if self.rng.random_ratio(1, 6) {
            entries.extend(to);
        }
        if self.rng.random_ratio(1, 8) {
            entries.reverse();
        }
        Step::Capture { at, group, entries }
    }

    fn random_commit(&mut self, at: u8, group: u8) -> Step {
        let mut statements: Vec<Made> =
            (0..3).filter_map(|d| self.statement(d, usize::from(group))).collect();
        if self.rng.random_ratio(1, 4) {
            statements.extend(recent(&mut self.rng, self.world.statements.keys()));
        }
        if self.rng.random_ratio(1, 3) {
            statements.pop();
        }
        let beyond = recent(&mut self.rng, self.world.entries.keys());
        let chain = beyond.filter(|_| self.rng.random_ratio(1, 5)).into_iter().collect();
        Step::Commit { at, group, statements, chain }
    }
}

/// One of the newest few, most often.
fn recent<'a>(rng: &mut StdRng, made: impl DoubleEndedIterator<Item = &'a Made>) -> Option<Made> {
    let back = if rng.random_ratio(1, 8) { 60 } else { 5 };
    made.rev().take(back).collect::<Vec<_>>().choose(rng).map(|made| **made)
}

/// A leader, and a user registered there.
#[derive(Clone, Copy)]
pub(super) struct Scene {
    pub(super) at: u8,
    pub(super) user: u8,
    pub(super) channel: Made,
    pub(super) registration: u8,
    /// The entry that registered.
    pub(super) tip: Made,
}
