//! The adversary: what it knows about the world, the honest steps it can take when they serve it, and what a host needs
//! before an attack is worth a try. Random steps are in [`super::random`].

use super::clients::{POINTS, REGISTRATIONS, USERS};
use super::parts::{Lead, MEMBERS};
use super::step::{Invitation, Made, Members, Shape, Step, Wish};
use super::world::World;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use strongroom_proto::ids::Index;
use strongroom_proto::statement::Committed;

/// Steps of one episode: how long a realm lives, and how long a trace can be.
pub(super) const EPISODE_STEPS: u32 = 400;

/// One episode under way.
pub(super) struct Hunt {
    pub(super) world: World,
    pub(super) rng: StdRng,
    pub(super) trace: Vec<(Made, Step)>,
    pub(super) next: Made,
    /// Whether prefixes move in this episode.
    pub(super) has_moves: bool,
    /// Whether groups retire too.
    pub(super) has_ends: bool,
    /// Whether logs are summed up and signed.
    pub(super) has_heads: bool,
    /// Whether tenants are told.
    pub(super) has_tells: bool,
    limit: u32,
}

impl Hunt {
    pub(super) fn new(world: World, seed: u64, limit: u32) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let has_moves = rng.random_ratio(1, 3);
        let has_ends = has_moves && seed.is_multiple_of(3);
        let (has_heads, has_tells) = (seed.is_multiple_of(5), seed % 5 == 3);
        Self { world, rng, trace: Vec::new(), next: 1, has_moves, has_ends, has_heads, has_tells, limit }
    }

    /// The realm's first group, which owns every record, of HSMs 0 to 2; a second, which owns none, of HSMs 1 to 3.
    /// In an episode with moves, two more of one HSM each. Sometimes the power fails while the first is made.
    pub(super) fn make_groups(&mut self) {
        if self.rng.random_ratio(1, 6) {
            let after = self.rng.random_range(0..160);
            self.go(Step::CutPower { at: 0, after });
        }
        while self.world.groups.is_empty() && !self.is_over() {
            self.go(Step::NewGroup { at: 0, of: 0b0111, members: Members::Proper });
            if self.world.failed[0] {
                self.go(Step::Restart { at: 0, cut_after: None });
            }
        }
        self.all_join(0);
        self.go(Step::NewGroup { at: 1, of: 0b1110, members: Members::Proper });
        self.all_join(1);
        if self.has_moves {
            // Quick ones, which share an HSM with both.
            for _ in 0..2 {
                let at = self.rng.random_range(1..3);
                self.go(Step::NewGroup { at, of: 1 << at, members: Members::Proper });
            }
        }
    }

    /// Every member of a group that has not joined it does.
    pub(super) fn all_join(&mut self, group: u8) {
        for at in self.members(group) {
            if !self.world.members[usize::from(at)][usize::from(group)].joined {
                self.go(Step::Join { at, group, invitation: Invitation::Proper });
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

    pub(super) fn any_hsm(&mut self) -> u8 {
        self.rng.random_range(0..MEMBERS as u8)
    }

    /// Most often the group that owns records.
    pub(super) fn any_group(&mut self) -> u8 {
        if self.rng.random_ratio(3, 4) {
            return 0;
        }
        self.rng.random_range(0..self.world.groups.len().max(1)) as u8
    }

    /// The HSMs that a group names.
    pub(super) fn members(&self, group: u8) -> Vec<u8> {
        let bits = self.world.groups.get(usize::from(group)).map_or(0, |group| group.members);
        (0..16).filter(|at| bits >> at & 1 == 1).collect()
    }

    pub(super) fn captured(&self, at: u8, group: u8) -> Option<Made> {
        self.world.members[usize::from(at)][usize::from(group)].captured
    }

    pub(super) fn leadership(&self, at: u8, group: u8) -> Option<&Lead> {
        self.world.members[usize::from(at)][usize::from(group)].lead.as_ref()
    }

    /// The newest own entry of a leader; `None` if it does not lead, or leads from nothing.
    pub(super) fn newest(&self, at: u8, group: u8) -> Option<Made> {
        self.leadership(at, group).and_then(|lead| lead.newest)
    }

    pub(super) fn leads(&self, at: u8, group: u8) -> bool {
        self.leadership(at, group).is_some_and(|lead| lead.leading)
    }

    /// Leads from what is captured.
    pub(super) fn lead(&mut self, at: u8, group: u8) {
        let entry = self.captured(at, group);
        self.go(Step::Lead { at, group, entry });
    }

    pub(super) fn open(&mut self, user: u8, at: u8) -> Made {
        let (handshake, group) = (self.next, self.owner(user));
        self.go(Step::Open { user, at, group, handshake })
    }

    pub(super) fn ask(&mut self, channel: Made, wish: Wish) -> Made {
        self.go(Step::Ask { channel, wish })
    }

    /// A batch on the tree that the leader should have.
    pub(super) fn process(&mut self, at: u8, group: u8, messages: &[Made]) -> Made {
        let tree = self.newest(at, group);
        self.process_on(at, group, tree, messages)
    }

    pub(super) fn process_on(&mut self, at: u8, group: u8, tree: Option<Made>, messages: &[Made]) -> Made {
        self.go(Step::Process { at, group, tree, messages: messages.to_vec(), as_user: None })
    }

    /// A batch on a tree made by hand.
    pub(super) fn hand_made(
        &mut self,
        s: &Scene,
        messages: &[Made],
        shape: Shape,
        older: Option<Made>,
    ) -> Made {
        let (group, tree) = (s.group, self.newest(s.at, s.group));
        self.go(Step::HandMade { at: s.at, group, tree, messages: messages.to_vec(), shape, older })
    }

    /// The entries after what an HSM captured, up to one; `None` if that one is on another chain.
    pub(super) fn way(&self, at: u8, group: u8, to: Made) -> Vec<Made> {
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
        let group = u8::try_from(self.world.entries.get(&entry)?.group).ok()?;
        let entries = self.way(at, group, entry);
        if entries.is_empty() && self.captured(at, group) != Some(entry) {
            let on_the_way = |(_, c): &(usize, Committed)| {
                self.world.by_hash.get(&c.hash).copied().filter(|made| self.world.is_before(*made, entry))
            };
            let jump = self.world.commits.iter().rev().find_map(|(s, c)| on_the_way(c).map(|e| (*s, e)));
            if let Some((statement, to)) = jump {
                self.go(Step::Jump { at, entry: to, statement });
                let entries = self.way(at, group, entry);
                self.go(Step::Capture { at, group, entries });
            }
        } else {
            self.go(Step::Capture { at, group, entries });
        }
        self.statement(at, group)
    }

    pub(super) fn statement(&self, at: u8, group: u8) -> Option<Made> {
        self.world.members[usize::from(at)][usize::from(group)].statement
    }

    /// Has these HSMs capture an entry, and the leader commit with what they state.
    pub(super) fn settle(&mut self, leader: u8, group: u8, entry: Made, by: &[u8]) -> Made {
        let statements = by.iter().filter_map(|at| self.capture(*at, entry)).collect();
        self.commit(leader, group, statements)
    }

    pub(super) fn commit(&mut self, at: u8, group: u8, statements: Vec<Made>) -> Made {
        self.go(Step::Commit { at, group, statements })
    }

    pub(super) fn draw_nonce(&mut self, at: u8, group: u8) -> Made {
        self.go(Step::DrawNonce { at, group })
    }

    /// What these HSMs say to a nonce.
    pub(super) fn state_fresh(&mut self, by: &[u8], group: u8, nonce: Made) -> Vec<Made> {
        by.iter().map(|at| self.go(Step::StateFresh { at: *at, group, nonce })).collect()
    }

    pub(super) fn confirm(&mut self, at: u8, group: u8, statements: Vec<Made>) -> Made {
        self.go(Step::Confirm { at, group, statements })
    }

    /// A leader of a group at the committed end of its log. `None` if the group is stuck, which a host can bring about.
    pub(super) fn leader(&mut self, group: u8) -> Option<u8> {
        let mut order = self.members(group);
        for at in order.clone() {
            if self.world.failed[usize::from(at)] {
                self.go(Step::Restart { at, cut_after: None });
            }
        }
        let slot = usize::from(group);
        let committed = self.world.committed.keys().filter(|(g, _)| *g == slot).map(|(_, i)| *i).max();
        let end = committed.and_then(|i| self.world.committed.get(&(slot, i)));
        let end = end.and_then(|hash| self.world.by_hash.get(hash)).copied();
        let index = |hunt: &Self, at: u8| {
            let known = hunt.captured(at, group).and_then(|made| hunt.world.entries.get(&made));
            known.map_or(Index::ZERO, |known| known.entry.index)
        };
        let fits = |hunt: &Self, at: u8| match (end, hunt.captured(at, group)) {
            (None, _) => true,
            (Some(end), Some(captured)) => hunt.world.is_before(end, captured),
            (Some(_), None) => false,
        };
        let first = self.rng.random_range(0..order.len().max(1));
        order.rotate_left(first);
        let all = order.clone();
        order.sort_by_key(|at| std::cmp::Reverse(index(self, *at)));
        let at = order.into_iter().find(|at| fits(self, *at))?;
        self.lead(at, group);
        // What others captured since is brought together here, unless the group is stuck.
        let entry = self.process(at, group, &[]);
        self.settle(at, group, entry, &all);
        (!self.is_over() && self.leads(at, group)).then_some(at)
    }

    /// The group that owns a user's record: the first one, unless prefixes move.
    fn owner(&self, user: u8) -> u8 {
        let home = self.home(user).filter(|_| self.has_moves);
        home.map_or(0, |(group, _)| group)
    }

    /// A leader of the group that owns a user, and this user, newly registered, with an open channel there.
    pub(super) fn scene(&mut self, registration: u8) -> Option<Scene> {
        let user = self.any_user();
        let group = self.owner(user);
        let at = self.leader(group)?;
        let channel = self.open(user, at);
        let message = self.ask(channel, Wish::Register2(registration));
        let tip = self.process(at, group, &[message]);
        let members = self.members(group);
        self.settle(at, group, tip, &members);
        let there = self.world.entries.get(&tip).is_some_and(|known| known.is_committed);
        let has_user = true;
        (there && !self.is_over()).then_some(Scene { at, group, has_user, user, channel, registration, tip })
    }

    /// A scene, or now and then one without a user, in a group that owns nothing.
    pub(super) fn stage(&mut self, registration: u8) -> Option<Scene> {
        let group = self.any_group();
        if group == 0 {
            return self.scene(registration);
        }
        self.all_join(group);
        let at = self.leader(group)?;
        let tip = self.newest(at, group)?;
        let there = self.world.entries.get(&tip).is_some_and(|known| known.is_committed);
        let has_user = false;
        there.then_some(Scene { at, group, has_user, user: 0, channel: 0, registration, tip })
    }

    /// Another member of the scene's group.
    pub(super) fn other(&mut self, s: &Scene) -> u8 {
        let others: Vec<u8> = self.members(s.group).into_iter().filter(|at| *at != s.at).collect();
        others.choose(&mut self.rng).copied().unwrap_or(s.at)
    }

    /// All members of the scene's group except one.
    pub(super) fn without(&self, s: &Scene, one: u8) -> Vec<u8> {
        self.members(s.group).into_iter().filter(|at| *at != one).collect()
    }
}

/// Usually one of the newest few.
pub(super) fn recent<'a>(rng: &mut StdRng, made: impl DoubleEndedIterator<Item = &'a Made>) -> Option<Made> {
    let back = if rng.random_ratio(1, 8) { 60 } else { 5 };
    made.rev().take(back).collect::<Vec<_>>().choose(rng).map(|made| **made)
}

/// A leader, and in the group that owns records a user registered there.
#[derive(Clone, Copy)]
pub(super) struct Scene {
    pub(super) at: u8,
    pub(super) group: u8,
    /// Whether there is a user, in this group.
    pub(super) has_user: bool,
    pub(super) user: u8,
    pub(super) channel: Made,
    pub(super) registration: u8,
    /// The entry that registered, or the newest of a group without users; committed.
    pub(super) tip: Made,
}
