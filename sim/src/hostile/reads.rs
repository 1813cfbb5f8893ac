//! Reads without a write: the steps about them, and the oracle's rules on when such an answer may leave.

use super::model::Records;
use super::parts::{Kept, Read};
use super::step::Made;
use super::world::World;
use std::collections::BTreeSet;
use strongroom_proto::hsm::{ReadReply, Request};
use strongroom_proto::ids::Nonce;
use strongroom_proto::statement::{Captured, Fresh};

impl World {
    pub(super) fn draw_nonce(&mut self, n: Made, at: usize, group: usize) {
        let group = self.groups[group].id;
        self.exchange(n, at, "DrawReadNonce", &Request::DrawReadNonce(group));
    }

    pub(super) fn state_fresh(&mut self, n: Made, at: usize, group: usize, nonce: Made) {
        let (group, Some(nonce)) = (self.groups[group].id, self.read_nonces.get(&nonce)) else { return };
        self.exchange(n, at, "Fresh", &Request::Fresh(group, *nonce));
    }

    /// A statement of capture, one that the host wrote, and one of the past are dressed up as said to the nonce.
    pub(super) fn confirm(&mut self, n: Made, at: usize, group: usize, statements: &[Made]) {
        let dressed = |Captured { hsm, index, hash, mac }| Fresh { hsm, index, hash, mac };
        let known =
            |s: &Made| self.fresh.get(s).copied().or_else(|| self.captured_or_dressed(*s).map(dressed));
        let statements = statements.iter().filter_map(known).collect();
        let group = self.groups[group].id;
        self.exchange(n, at, "Confirm", &Request::Confirm { group, statements });
    }

    pub(super) fn judge_nonce(&mut self, n: Made, at: usize, group: usize, nonce: Nonce) {
        self.traffic(group, "DrawReadNonce");
        if self.read_nonces.values().any(|other| *other == nonce) {
            self.violate("fresh reads", format!("HSM {at} drew a nonce for reads again"));
        }
        self.read_nonces.insert(n, nonce);
        if let Some(lead) = &mut self.members[at][group].lead {
            lead.has_nonce = true;
            lead.reads.values_mut().for_each(|read| read.is_covered = true);
        }
    }

    /// The entry that an answer tells of: the one that last changed the record, or the one that the leadership began from.
    pub(super) fn tells(&self, at: usize, group: usize, records: &Records, user: u8) -> Option<Made> {
        let base = self.members[at][group].lead.as_ref().and_then(|lead| lead.base);
        let is_newer = |changed: &Made| base.is_none_or(|base| self.is_before(base, *changed));
        records.changed(user).filter(is_newer).or(base)
    }

    fn has_majority(&self, made: Made) -> bool {
        self.entries.get(&made).is_some_and(|known| {
            let members = self.groups[known.group].members;
            (known.stated & members).count_ones() * 2 > members.count_ones()
        })
    }

    /// Keeps answers that wait without an entry. What changes a record may not be among them.
    pub(super) fn judge_reads(
        &mut self,
        at: usize,
        group: usize,
        newest: Option<Made>,
        kept: Vec<Kept>,
        numbers: &[u64],
        resealed: &BTreeSet<u8>,
    ) {
        if !resealed.is_empty() {
            let what = format!("HSM {at} answered as reads what changes the records of users {resealed:?}");
            return self.violate("count, then evaluate", what);
        }
        if kept.len() != numbers.len() {
            let what = format!("HSM {at} keeps {} replies under no entry", kept.len() - numbers.len());
            return self.violate("replies last", what);
        }
        let of_group = self.entries.iter().filter(|(_, known)| known.group == group && !known.is_forged);
        let majority = of_group.filter(|(made, _)| self.has_majority(**made));
        let floor = majority.max_by_key(|(_, known)| known.entry.index).map(|(made, _)| *made);
        let Some(lead) = &mut self.members[at][group].lead else { return };
        let reads = kept.into_iter().map(|kept| Read { kept, at: newest, floor, is_covered: false });
        lead.reads.extend(numbers.iter().copied().zip(reads));
        self.judge_waiting(at);
    }

    pub(super) fn judge_confirmed(&mut self, at: usize, group: usize, released: &[ReadReply]) {
        if self.broken == Some(at) {
            return;
        }
        self.traffic(group, "Confirm");
        let lead = self.members[at][group].lead.as_mut().filter(|lead| lead.has_nonce);
        let Some(lead) = lead else {
            return self.violate("fresh reads", format!("HSM {at} counted statements to no open nonce"));
        };
        lead.has_nonce = false;
        let reads: Vec<Option<Read>> = released.iter().map(|read| lead.reads.remove(&read.number)).collect();
        lead.reads.values_mut().for_each(|read| read.is_covered = false);
        for (read, ReadReply { number, reply }) in reads.into_iter().zip(released) {
            let Some(Read { kept, at: newest, floor, is_covered }) = read else {
                let what = format!("HSM {at} released read {number}, which does not wait");
                return self.violate("replies last", what);
            };
            if let Some(tells) = kept.applied.filter(|tells| !self.has_majority(*tells)) {
                let what =
                    format!("HSM {at} told #{}, by a read, of #{tells}, which has no majority", kept.message);
                self.violate("replies last", what);
            }
            let is_on_chain = |floor| newest.is_some_and(|newest| self.is_before(floor, newest));
            if let Some(floor) = floor.filter(|floor| !is_on_chain(*floor)) {
                let what = format!("the answer to #{} left, and is older than #{floor}", kept.message);
                self.violate("fresh reads", what);
            }
            if !is_covered {
                let what = format!("the answer to #{} left, and its nonce was drawn before it", kept.message);
                self.violate("fresh reads", what);
            }
            self.judge_reply(newest, &kept, reply);
        }
    }
}
