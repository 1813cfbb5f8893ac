//! Steps without a plan: anything that has the form of a step, with whatever has left a core.

use super::changes::{Opening, Place, What};
use super::clients::USERS;
use super::forgery::{Forgery, Lie};
use super::hunt::{Hunt, recent};
use super::parts::{DEVICES, MAX_GROUPS};
use super::step::{Approval, HostsRealm, Invitation, Made, Members, Oddity, Shape, Step, Wish};
use rand::RngExt;
use rand::seq::IndexedRandom;

impl Hunt {
    /// Takes a random step, unless there is nothing yet that it could be about.
    pub(super) fn random_step(&mut self) {
        if let Some(step) = self.any_step() {
            self.go(step);
        }
    }

    fn any_step(&mut self) -> Option<Step> {
        let (at, group) = (self.any_hsm(), self.any_group());
        if self.has_moves && self.rng.random_ratio(1, 5) {
            return self.any_change();
        }
        if self.has_ends && self.rng.random_ratio(1, 12) {
            return self.any_leave(at);
        }
        if self.has_heads && self.rng.random_ratio(1, 8) {
            return self.any_head();
        }
        if self.has_tells && self.rng.random_ratio(1, 6) {
            return self.any_tell();
        }
        Some(match self.rng.random_range(0..30) {
            0 => Step::Open { user: self.any_user(), at, group, handshake: self.any_handshake() },
            1 | 2 => {
                let channel = recent(&mut self.rng, self.world.channels.keys())?;
                Step::Ask { channel, wish: self.any_wish() }
            }
            3 => Step::Ride { user: self.any_user(), wish: self.riding_wish() },
            4..=6 => self.any_batch(at, group),
            7..=9 => self.any_capture(at, group),
            10 => {
                let entry = recent(&mut self.rng, self.world.entries.keys())?;
                let honest = recent(&mut self.rng, self.world.commits.keys());
                let other = recent(&mut self.rng, self.world.statements.keys());
                let statement = if self.rng.random_ratio(2, 3) { honest } else { other };
                Step::Jump { at, entry, statement: statement? }
            }
            11 | 12 => {
                let captured = self.captured(at, group);
                let other = recent(&mut self.rng, self.world.entries.keys());
                let entry = if self.rng.random_ratio(4, 5) { captured } else { other };
                Step::Lead { at, group, entry }
            }
            13 | 14 => self.any_commit(at, group),
            15 => {
                let cut_after = self.rng.random_ratio(1, 3).then(|| self.rng.random_range(0..80));
                Step::Restart { at, cut_after }
            }
            16 => {
                let how = *Forgery::ALL.choose(&mut self.rng)?;
                Step::Forge { entry: recent(&mut self.rng, self.world.entries.keys())?, how }
            }
            17 => Step::Resign { at, group },
            18 | 19 => self.any_garbage(),
            20 => Step::CutPower { at, after: self.rng.random_range(0..40) },
            21 | 22 => self.any_hand_made(at, group)?,
            23 => {
                let statement = recent(&mut self.rng, self.world.statements.keys());
                let commit = recent(&mut self.rng, self.world.commits.keys());
                let statement = if self.rng.random() { statement } else { commit }?;
                let entry = recent(&mut self.rng, self.world.entries.keys())?;
                Step::Lie { statement, entry, how: *Lie::ALL.choose(&mut self.rng)? }
            }
            26 => Step::DrawNonce { at, group },
            27 | 28 => {
                Step::StateFresh { at, group, nonce: recent(&mut self.rng, self.world.read_nonces.keys())? }
            }
            29 => self.any_confirm(at, group),
            24 => Step::Knock { at, group, message: recent(&mut self.rng, self.world.messages.keys())? },
            _ => self.any_enrolment(at, group),
        })
    }

    fn any_change(&mut self) -> Option<Step> {
        let groups = self.world.groups.len() as u8;
        let group = self.rng.random_range(0..groups.max(1));
        let members = self.members(group);
        let leader = members.iter().copied().find(|at| self.leads(*at, group));
        let at = leader.filter(|_| self.rng.random_ratio(5, 6)).or(members.choose(&mut self.rng).copied())?;
        let user = self.any_user();
        let bits = self.home(user).map_or(0, |(_, prefix)| prefix.len());
        let bits = if self.rng.random_ratio(1, 4) { self.rng.random_range(0..4) } else { bits };
        let kinds = if self.has_ends { What::ALL.len() } else { What::MOVES };
        let what = *What::ALL[..kinds].choose(&mut self.rng)?;
        let bits = if what == What::Merge { bits.saturating_sub(1) } else { bits };
        let place = Place { user, bits, beside: self.rng.random_ratio(1, 4) };
        let tree = self.newest(at, group);
        let stale = recent(&mut self.rng, self.world.entries.keys());
        let tree = if self.rng.random_ratio(7, 8) { tree } else { stale };
        let opening = *[Opening::Once, Opening::Once, Opening::Once, Opening::Hidden, Opening::All]
            .choose(&mut self.rng)?;
        let other = self.rng.random_range(0..groups.max(1));
        let (entry, statement) = self.any_proof(other).unzip();
        let statement = if what == What::End { self.any_retired() } else { statement };
        Some(Step::Change { at, group, what, place, tree, opening, entry, statement })
    }

    /// Most often what shows how it is in a group, or was.
    pub(super) fn any_proof(&mut self, group: u8) -> Option<(Made, Made)> {
        let newest = self.proof(group).filter(|_| self.rng.random_ratio(1, 2));
        if newest.is_some() {
            return newest;
        }
        let statement = recent(&mut self.rng, self.world.commits.keys())?;
        let about = self.world.commits.get(&statement).and_then(|(_, c)| self.world.by_hash.get(&c.hash));
        let about = about.copied();
        let entry = recent(&mut self.rng, self.world.entries.keys())?;
        let lie = recent(&mut self.rng, self.world.lies.keys());
        match self.rng.random_range(0..6) {
            0 => Some((entry, statement)),
            1 => Some((entry, lie?)),
            _ => Some((about?, statement)),
        }
    }

    fn any_handshake(&mut self) -> u32 {
        let old = recent(&mut self.rng, self.world.channels.keys());
        old.filter(|_| self.rng.random_ratio(1, 3)).unwrap_or(self.next)
    }

    pub(super) fn any_wish(&mut self) -> Wish {
        let registration = self.any_registration();
        match self.rng.random_range(0..14) {
            0 => Wish::Register1,
            1 => Wish::Register2(registration),
            2 => Wish::Recover1,
            3 => Wish::Delete,
            4 => Wish::Recover3(registration, self.rng.random()),
            5 => Wish::Odd(self.any_oddity()),
            6 => Wish::Attempts,
            7 | 8 => Wish::Stage(registration),
            9 => Wish::Activate(registration),
            10 => Wish::Versions,
            _ => Wish::Recover2(registration, self.any_point()),
        }
    }

    pub(super) fn any_oddity(&mut self) -> Oddity {
        Oddity::ALL[self.rng.random_range(0..Oddity::ALL.len())]
    }

    fn riding_wish(&mut self) -> Wish {
        match self.rng.random_range(0..6) {
            0 => Wish::Register1,
            1 => Wish::Recover1,
            2 => Wish::Delete,
            3 => Wish::Attempts,
            4 => Wish::Versions,
            _ => self.any_wish(),
        }
    }

    fn any_messages(&mut self) -> Vec<Made> {
        let count = self.rng.random_range(0..4);
        (0..count).filter_map(|_| recent(&mut self.rng, self.world.messages.keys())).collect()
    }

    fn any_batch(&mut self, at: u8, group: u8) -> Step {
        let messages = self.any_messages();
        let newest = self.newest(at, group);
        let stale = recent(&mut self.rng, self.world.entries.keys());
        let tree = if self.rng.random_ratio(5, 6) { newest } else { stale };
        let as_user = self.rng.random_ratio(1, 12).then(|| self.rng.random_range(0..USERS));
        Step::Process { at, group, tree, messages, as_user }
    }

    fn any_hand_made(&mut self, at: u8, group: u8) -> Option<Step> {
        let messages = self.any_messages();
        let shape = *Shape::ALL.choose(&mut self.rng)?;
        let older = recent(&mut self.rng, self.world.entries.keys());
        Some(Step::HandMade { at, group, tree: self.newest(at, group), messages, shape, older })
    }

    fn any_capture(&mut self, at: u8, group: u8) -> Step {
        let to = recent(&mut self.rng, self.world.entries.keys());
        let mut entries = to.map(|to| self.way(at, group, to)).unwrap_or_default();
        if self.rng.random_ratio(1, 6) {
            entries.extend(to);
        }
        if self.rng.random_ratio(1, 8) {
            entries.reverse();
        }
        if self.rng.random_ratio(1, 8) && !entries.is_empty() {
            entries.remove(self.rng.random_range(0..entries.len()));
        }
        if self.rng.random_ratio(1, 5) {
            let other = self.any_group();
            let to = recent(&mut self.rng, self.world.entries.keys());
            let others = to.map(|to| self.way(at, other, to)).unwrap_or_default();
            return Step::CaptureBoth { at, groups: [group, other], entries, others };
        }
        Step::Capture { at, group, entries }
    }

    fn any_commit(&mut self, at: u8, group: u8) -> Step {
        let members = self.members(group);
        let mut statements: Vec<Made> = members.iter().filter_map(|d| self.statement(*d, group)).collect();
        if self.rng.random_ratio(1, 4) {
            statements.extend(recent(&mut self.rng, self.world.statements.keys()));
        }
        if self.rng.random_ratio(1, 3) {
            statements.pop();
        }
        Step::Commit { at, group, statements }
    }

    fn any_confirm(&mut self, at: u8, group: u8) -> Step {
        let mut statements: Vec<Made> = self.world.fresh.keys().rev().take(3).copied().collect();
        if self.rng.random_ratio(1, 4) {
            statements.extend(recent(&mut self.rng, self.world.statements.keys()));
        }
        if self.rng.random_ratio(1, 3) {
            statements.pop();
        }
        Step::Confirm { at, group, statements }
    }

    fn any_garbage(&mut self) -> Step {
        Step::Garble {
            at: self.rng.random_range(0..DEVICES as u8),
            back: self.rng.random_range(0..8),
            cut: if self.rng.random() { u16::MAX } else { self.rng.random_range(1..600) },
            flip: self.rng.random(),
            onto: if self.rng.random_ratio(1, 4) { self.rng.random_range(0..8) } else { u8::MAX },
        }
    }

    /// About realms and groups.
    fn any_enrolment(&mut self, at: u8, group: u8) -> Step {
        let any = self.rng.random_range(0..DEVICES as u8);
        match self.rng.random_range(0..8) {
            0 => Step::Status { at: any },
            1 => {
                let of = self.rng.random_range(0..1 << DEVICES as u8) | 1 << at;
                let members = [Members::Proper, Members::Repeated, Members::Invented, Members::WithoutMaker];
                let members = members[self.rng.random_range(0..4)];
                // Room is left for what strategies make.
                if members == Members::Proper && self.world.groups.len() + 1 >= MAX_GROUPS {
                    return Step::Status { at };
                }
                Step::NewGroup { at, of, members }
            }
            2..=4 => {
                let all = [
                    Invitation::Proper,
                    Invitation::Alone,
                    Invitation::OtherGenesis,
                    Invitation::OtherGroup,
                    Invitation::HostsMac,
                ];
                Step::Join { at: any, group, invitation: all[self.rng.random_range(0..5)] }
            }
            5 => {
                let all = [
                    Approval::Proper,
                    Approval::Twice,
                    Approval::HostsKey,
                    Approval::OldNonce,
                    Approval::OtherExporter,
                    Approval::OtherRealm,
                    Approval::Strangers,
                    Approval::OtherBuild,
                    Approval::OldImportNonce,
                    Approval::SmallOrder,
                ];
                let approval = all[self.rng.random_range(0..10)];
                Step::Export { at, to: any, signers: self.rng.random_range(0..8), approval }
            }
            _ => {
                let sealed = recent(&mut self.rng, self.world.sealed.keys());
                let all = [
                    HostsRealm::OwnPolicy,
                    HostsRealm::HonestPolicy,
                    HostsRealm::BehindApproval,
                    HostsRealm::OneTwice,
                    HostsRealm::Newer,
                ];
                let hosts = self.rng.random_ratio(1, 4).then(|| all[self.rng.random_range(0..5)]);
                Step::JoinRealm { at: any, sealed, hosts }
            }
        }
    }
}
