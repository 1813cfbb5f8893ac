//! Honest moves of prefixes between groups, as far as an attack needs them.

use super::changes::{Opening, Place, What};
use super::hunt::Hunt;
use super::parts::LetGo;
use super::step::{Made, Step, Wish};
use rand::RngExt;
use rand::seq::SliceRandom;
use strongroom_proto::ids::{GroupId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;

/// An entry and a statement about it.
pub(super) type Proof = Option<(Made, Made)>;

/// A user who has registered in the group that owns it, and two other groups.
#[derive(Clone, Copy)]
pub(super) struct Movers {
    pub(super) s: u8,
    pub(super) d: u8,
    pub(super) e: u8,
    pub(super) user: u8,
    /// Of the prefix that the user is in.
    pub(super) bits: u16,
    pub(super) registration: u8,
}

impl Movers {
    /// What the first group owns of the user.
    pub(super) const fn place(&self) -> Place {
        Place { user: self.user, bits: self.bits, beside: false }
    }

    /// The user's half of that, or the other.
    pub(super) const fn half(&self, beside: bool) -> Place {
        Place { user: self.user, bits: self.bits + 1, beside }
    }
}

impl Hunt {
    /// The newest entry of a group that is stated to be committed, and the statement.
    pub(super) fn proof(&self, group: u8) -> Proof {
        let of_group = self.world.commits.iter().filter(|(_, (g, _))| *g == usize::from(group));
        let (statement, (_, newest)) = of_group.max_by_key(|(_, (_, committed))| committed.index)?;
        Some((*self.world.by_hash.get(&newest.hash)?, *statement))
    }

    /// The group whose newest committed entry owns a user's record, and which prefix.
    pub(super) fn home(&self, user: u8) -> Option<(u8, Prefix)> {
        let record = self.world.clients().record(user);
        let groups = u8::try_from(self.world.groups.len()).ok()?;
        (0..groups).find_map(|group| {
            let slot = usize::from(group);
            let owned = self.world.owned(slot, self.world.heads.get(&slot).copied());
            owned.into_iter().find(|prefix| prefix.contains(&record)).map(|prefix| (group, prefix))
        })
    }

    /// Who leads a group from its committed end, or comes to.
    pub(super) fn leader_of(&mut self, group: u8) -> Option<u8> {
        let head = self.world.heads.get(&usize::from(group)).copied();
        let mut members = self.members(group).into_iter();
        let leads = |at: &u8| head.is_some() && self.leads(*at, group) && self.newest(*at, group) == head;
        match members.find(leads) {
            Some(at) => Some(at),
            None => self.leader(group),
        }
    }

    pub(super) fn change_at(
        &mut self,
        at: u8,
        group: u8,
        what: What,
        place: Place,
        opening: Opening,
        proof: Proof,
    ) -> Made {
        let (tree, (entry, statement)) = (self.newest(at, group), proof.unzip());
        self.go(Step::Change { at, group, what, place, tree, opening, entry, statement })
    }

    /// Changes what a group owns, and commits that. Returns whether it is.
    pub(super) fn change_as(
        &mut self,
        group: u8,
        what: What,
        place: Place,
        opening: Opening,
        proof: Proof,
    ) -> bool {
        let Some(at) = self.leader_of(group) else { return false };
        let entry = self.change_at(at, group, what, place, opening, proof);
        if !self.world.entries.contains_key(&entry) {
            return false;
        }
        let members = self.members(group);
        self.settle(at, group, entry, &members);
        self.world.entries.get(&entry).is_some_and(|known| known.is_committed)
    }

    pub(super) fn change(&mut self, group: u8, what: What, place: Place, proof: Proof) -> bool {
        self.change_as(group, what, place, Opening::Once, proof)
    }

    /// With the newest that the other group has stated.
    pub(super) fn change_by(&mut self, group: u8, what: What, place: Place, other: u8) -> bool {
        let proof = self.proof(other);
        proof.is_some() && self.change(group, what, place, proof)
    }

    /// All four steps.
    pub(super) fn moves(&mut self, from: u8, to: u8, place: Place) -> bool {
        self.change_by(to, What::In, place, from)
            && self.change_by(from, What::Out, place, to)
            && self.change_by(to, What::Take, place, from)
            && self.change_by(from, What::Close, place, to)
    }

    /// Brings every transfer to its end, as an honest host would.
    pub(super) fn finish_transfers(&mut self) {
        let place = Place { user: 0, bits: 0, beside: false };
        let groups = u8::try_from(self.world.groups.len()).unwrap_or_default();
        for group in 0..groups {
            for (id, source, decisions) in self.awaited(group) {
                if self.end(group, source) {
                    continue;
                }
                let let_go = self.proof_of(id);
                if let_go.is_some() {
                    self.change(group, What::Take, place, let_go);
                    continue;
                }
                let decided = self.proof(source).and_then(|(entry, _)| self.world.entries.get(&entry));
                if decided.is_none_or(|known| known.entry.transfers <= decisions) {
                    self.change(source, What::Refuse, place, None);
                }
                self.change_by(group, What::GiveUp, place, source);
            }
        }
        for group in 0..groups {
            for to in self.gone_to(group) {
                if self.end(group, to) {
                    continue;
                }
                self.change_by(group, What::Close, place, to);
            }
        }
    }

    fn open_transfers(&self, group: u8) -> Vec<Transfer> {
        let head = self.world.heads.get(&usize::from(group)).and_then(|head| self.world.entries.get(head));
        head.map_or_else(Vec::new, |known| known.entry.open.clone())
    }

    fn slot(&self, id: GroupId) -> Option<u8> {
        u8::try_from(self.world.groups.iter().position(|group| group.id == id)?).ok()
    }

    fn awaited(&self, group: u8) -> Vec<(TransferId, u8, u64)> {
        let awaited = |transfer| match transfer {
            Transfer::Incoming { id, source, decisions, .. } => Some((id, self.slot(source)?, decisions)),
            Transfer::Outgoing { .. } => None,
        };
        self.open_transfers(group).into_iter().filter_map(awaited).collect()
    }

    fn gone_to(&self, group: u8) -> Vec<u8> {
        let gone_to = |transfer| match transfer {
            Transfer::Outgoing { destination, .. } => self.slot(destination),
            Transfer::Incoming { .. } => None,
        };
        self.open_transfers(group).into_iter().filter_map(gone_to).collect()
    }

    /// That a transfer was let go.
    fn proof_of(&self, id: TransferId) -> Proof {
        self.world.let_go.get(&id).filter(|LetGo { is_taken, .. }| !is_taken)?;
        self.world.commits.iter().find_map(|(statement, (_, committed))| {
            let entry = *self.world.by_hash.get(&committed.hash)?;
            let mut open = self.world.entries.get(&entry)?.entry.open.iter();
            let is_it = open.any(|t| matches!(t, Transfer::Outgoing { id: of, .. } if *of == id));
            is_it.then_some((entry, *statement))
        })
    }

    /// A user, newly registered with the group that owns it, and two other groups that have entries.
    pub(super) fn movers(&mut self, registration: u8) -> Option<Movers> {
        self.finish_transfers();
        let user = self.any_user();
        let (s, prefix) = self.home(user)?;
        let groups = u8::try_from(self.world.groups.len()).ok()?;
        let goes_on = |group: &u8| *group != s && !self.world.has_retired(usize::from(*group));
        let mut others: Vec<u8> = (0..groups).filter(goes_on).collect();
        others.shuffle(&mut self.rng);
        // Those of one member are quick.
        if self.rng.random_ratio(2, 3) {
            others.sort_by_key(|group| self.members(*group).len());
        }
        let [d, e] = *others.first_chunk()?;
        for group in [d, e] {
            self.all_join(group);
            if self.proof(group).is_none() {
                self.leader(group)?;
            }
        }
        let movers = Movers { s, d, e, user, bits: prefix.len(), registration };
        self.write(s, user, &[Wish::Register2(registration)]);
        (!self.is_over() && self.proof(s).is_some()).then_some(movers)
    }

    /// A user's wishes, one after another on a new channel at a group's leader, each in a committed batch of its own.
    pub(super) fn write(&mut self, group: u8, user: u8, wishes: &[Wish]) {
        let Some(at) = self.leader_of(group) else { return };
        let handshake = self.next;
        let channel = self.go(Step::Open { user, at, group, handshake });
        for wish in wishes {
            let message = self.ask(channel, *wish);
            let entry = self.process(at, group, &[message]);
            let members = self.members(group);
            self.settle(at, group, entry, &members);
        }
    }
}
