//! Groups that retire: the step that leaves one, the oracle's rules on it, and what an attack needs.

use super::changes::{Place, What};
use super::hunt::{Hunt, recent};
use super::moves::Proof;
use super::parts::{MAX_GROUPS, Member};
use super::step::{Made, Members, Step};
use super::world::World;
use rand::RngExt;
use strongroom_proto::change::{Evidence, Retirement};
use strongroom_proto::hsm::{DeviceStatus, Reply, Request};
use strongroom_proto::ids::TransferId;
use strongroom_proto::statement::Retired;
use strongroom_proto::transfer::Transfer;

const NOWHERE: Place = Place { user: 0, bits: 0, beside: false };

impl World {
    /// Whether a group's last entry is committed.
    pub(super) fn has_retired(&self, group: usize) -> bool {
        let head = self.heads.get(&group).and_then(|head| self.entries.get(head));
        head.is_some_and(|known| known.entry.last)
    }

    /// What an HSM states that has left a group, or another statement that is dressed up as that.
    pub(super) fn retired_or_dressed(&self, statement: Made) -> Option<Retired> {
        let retired = self.retired.get(&statement).map(|(_, retired)| *retired);
        retired.or_else(|| self.commit_or_dressed(statement).map(|of| Retired { hsm: of.hsm, mac: of.mac }))
    }

    /// The transfer that a statement of a retired group is to end: one with that group or, if there is none, the newest.
    pub(super) fn ended(&self, own: &[Transfer], statement: Option<Made>) -> TransferId {
        let group = statement.and_then(|statement| self.retired.get(&statement)).map(|(group, _)| *group);
        let with =
            |transfer: &&Transfer| group.is_some_and(|group| self.groups[group].id == transfer.other());
        own.iter().find(with).or(own.last()).map_or(TransferId([0; 16]), Transfer::id)
    }

    fn proof(&self, entry: Option<Made>, statement: Option<Made>) -> Option<Retirement> {
        let Some(entry) = entry else {
            return Some(Retirement::Stated(self.retired_or_dressed(statement?)?));
        };
        let (entry, committed) =
            (self.entries.get(&entry)?.entry.clone(), self.commit_or_dressed(statement?)?);
        Some(Retirement::Entry(Box::new(Evidence { entry, committed })))
    }

    pub(super) fn leave(
        &mut self,
        n: Made,
        at: usize,
        group: usize,
        entry: Option<Made>,
        statement: Option<Made>,
    ) {
        let request = Request::Leave(self.groups[group].id, self.proof(entry, statement));
        let Reply::Retired(retired) = self.send(at, "Leave", &request) else { return };
        if self.broken == Some(at) {
            return;
        }
        self.traffic(group, "Leave");
        self.retired.insert(n, (group, retired));
        self.left(at, group);
    }

    /// An HSM has left a group.
    fn left(&mut self, at: usize, group: usize) {
        if !self.has_retired(group) {
            return self.violate("ends for good", format!("HSM {at} left group {group}, which goes on"));
        }
        self.end_leadership(at, group);
        self.members[at][group] = Member { left: true, ..Member::default() };
    }

    /// What an HSM says that it has left, it has; and it forgets none of that.
    pub(super) fn judge_left(&mut self, at: usize, now: &DeviceStatus, holds: u16) {
        for group in 0..self.groups.len() {
            let says_so = now.retired.contains(&self.groups[group].id);
            match (says_so, self.members[at][group].left) {
                // It had, when the power failed.
                (true, false) => self.left(at, group),
                (true, true) if holds >> group & 1 == 0 => {}
                (_, true) => {
                    self.violate("NVRAM first", format!("HSM {at} has forgotten that it left group {group}"));
                }
                (false, false) => {}
            }
        }
    }
}

impl Hunt {
    /// A group of one HSM that was just made, with an entry.
    pub(super) fn another(&mut self) -> Option<u8> {
        let group = self.world.groups.len();
        if group >= MAX_GROUPS {
            return None;
        }
        let at = self.any_hsm();
        self.go(Step::NewGroup { at, of: 1 << at, members: Members::Proper });
        let group = u8::try_from(group).ok().filter(|_| self.world.groups.len() > group)?;
        self.leader(group).map(|_| group)
    }

    /// Makes a group's last entry, and commits that. Returns whether it is.
    pub(super) fn retire(&mut self, group: u8) -> bool {
        self.change(group, What::Retire, NOWHERE, None)
    }

    pub(super) fn leave(&mut self, at: u8, group: u8, proof: Proof) -> Made {
        let (entry, statement) = proof.unzip();
        self.go(Step::Leave { at, group, entry, statement })
    }

    /// Has an HSM leave by what another statement says, or is made to say.
    pub(super) fn leave_as_stated(&mut self, at: u8, group: u8, statement: Made) -> Made {
        self.go(Step::Leave { at, group, entry: None, statement: Some(statement) })
    }

    /// Every member leaves: the first by the last entry, the others by what it states. That statement, if there is one.
    pub(super) fn all_leave(&mut self, group: u8) -> Option<Made> {
        let members = self.members(group);
        let (first, others) = members.split_first()?;
        let proof = self.proof(group);
        let stated = self.leave(*first, group, proof);
        for at in others {
            self.leave_as_stated(*at, group, stated);
        }
        self.world.retired.contains_key(&stated).then_some(stated)
    }

    /// Ends a transfer that a group has open with one that has retired. Whether that is so.
    pub(super) fn end(&mut self, group: u8, with: u8) -> bool {
        let of = self.world.retired.iter().find(|(_, (of, _))| *of == usize::from(with));
        let Some(stated) = of.map(|(stated, _)| *stated) else { return false };
        self.end_by(group, stated);
        true
    }

    pub(super) fn end_by(&mut self, group: u8, stated: Made) -> bool {
        let Some(at) = self.leader_of(group) else { return false };
        let tree = self.newest(at, group);
        let (what, place, opening) = (What::End, NOWHERE, super::changes::Opening::Once);
        let statement = Some(stated);
        let entry = self.go(Step::Change { at, group, what, place, tree, opening, entry: None, statement });
        let members = self.members(group);
        if self.world.entries.contains_key(&entry) {
            self.settle(at, group, entry, &members);
        }
        self.world.entries.get(&entry).is_some_and(|known| known.is_committed)
    }

    pub(super) fn any_retired(&mut self) -> Option<Made> {
        recent(&mut self.rng, self.world.retired.keys())
    }

    pub(super) fn any_leave(&mut self, at: u8) -> Option<Step> {
        let groups = u8::try_from(self.world.groups.len()).ok()?;
        let group = self.rng.random_range(0..groups.max(1));
        let (entry, statement) = match self.rng.random_range(0..4) {
            0 => (None, None),
            1 => (None, self.any_retired()),
            2 => (None, recent(&mut self.rng, self.world.statements.keys())),
            _ => self.any_proof(group).unzip(),
        };
        Some(Step::Leave { at, group, entry, statement })
    }
}
