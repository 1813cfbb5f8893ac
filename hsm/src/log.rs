//! The log: capturing, jumping, leading, committing.
//!
//! Keeps invariants 1 (*one chain*), 2 (*NVRAM first*), 3 (majorities over the members fixed inside), 4 (*replies
//! last, by ancestry*) and 10 (*leaders start from NVRAM*).

use crate::core::Core;
use crate::env::Env;
use crate::leadership::Leadership;
use crate::state::Position;
use alloc::vec::Vec;
use core::cmp::Reverse;
use rand_core::Rng as _;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{CaptureOutcome, GroupEntries, Refusal, Reply};
use strongroom_proto::ids::{GroupId, HsmId, Index, Term};
use strongroom_proto::statement::{Captured, Committed};

impl Core {
    /// The entry's place, if an HSM of this realm made it for this group.
    fn authentic(&self, slot: usize, entry: &Entry) -> Result<Position, Refusal> {
        let keys = self.keys()?;
        let hash = entry.hash();
        let ours = entry.realm == keys.realm && entry.group == self.group(slot)?.id;
        if ours && entry.is_authentic(&keys.statements, &hash) {
            Ok(Position { index: entry.index, hash })
        } else {
            Err(Refusal::NotAuthentic)
        }
    }

    /// The places of consecutive authentic entries.
    fn authentic_chain(&self, slot: usize, entries: &[Entry]) -> Result<Vec<Position>, Refusal> {
        let mut chain: Vec<Position> = Vec::with_capacity(entries.len());
        for entry in entries {
            let at = self.authentic(slot, entry)?;
            if chain.last().is_some_and(|before| !self.follows(entry, *before)) {
                return Err(Refusal::NotConsecutive);
            }
            chain.push(at);
        }
        Ok(chain)
    }

    pub(crate) fn follows(&self, entry: &Entry, before: Position) -> bool {
        Some(entry.index) == before.index.next() && entry.prev == before.hash
    }

    /// Captures what is waiting in several groups, with one write for all. Each group has its own outcome, and all of
    /// them are checked before the write.
    pub(crate) fn capture<E: Env>(&mut self, env: &mut E, groups: &[GroupEntries]) -> Result<Reply, Refusal> {
        // Each is checked against what is captured now, so naming a group twice could state two entries at one index.
        let named_before =
            |(i, of): (usize, &GroupEntries)| groups.iter().take(i).any(|o| o.group == of.group);
        if groups.iter().enumerate().any(named_before) {
            return Err(Refusal::Malformed);
        }
        let checked: Vec<_> = groups.iter().map(|of| self.check_capture(of)).collect();
        let tips = checked.iter().flatten().filter_map(|c| Some((c.slot, *c.new.last()?)));
        let moved: Vec<(usize, Position)> = tips.collect();
        if !moved.is_empty() {
            // Durable: NVRAM holds the entries before this HSM says so, and before its leaderships act on them.
            self.write_captured(env, &moved)?;
            checked.iter().flatten().filter(|c| !c.new.is_empty()).for_each(|c| self.settle(c.slot, &c.new));
        }
        let outcomes = checked.into_iter().map(|checked| {
            let stated = checked.and_then(|c| self.state_captured(c.slot, c.new.last().copied()));
            stated.map_or_else(CaptureOutcome::Refused, CaptureOutcome::Captured)
        });
        Ok(Reply::Captures(outcomes.collect()))
    }

    /// Everything that can refuse one group's capture.
    fn check_capture(&self, of: &GroupEntries) -> Result<Capture, Refusal> {
        let slot = self.slot(&of.group)?;
        let captured = self.group(slot)?.captured;
        let chain = self.authentic_chain(slot, &of.entries)?;
        let known = chain.iter().find(|at| at.index == captured.index);
        if known.is_some_and(|at| at.hash != captured.hash) {
            return Err(Refusal::NotConsecutive);
        }
        let is_new = |at: &Position| at.index > captured.index;
        let first = of.entries.iter().find(|e| e.index > captured.index);
        if first.is_some_and(|first| !self.follows(first, captured)) {
            return Err(Refusal::NotConsecutive);
        }
        Ok(Capture { slot, new: chain.into_iter().filter(is_new).collect() })
    }

    /// What captured entries mean for a leadership here: an entry that does not continue its chain beats it.
    fn settle(&mut self, slot: usize, new: &[Position]) {
        let Some(leadership) = self.leaderships.get_mut(&slot) else { return };
        let newest = leadership.newest().index;
        let beaten = new.iter().any(|at| at.index <= newest && !leadership.is_own(*at));
        let captured = new.last().map_or(Index::ZERO, |at| at.index);
        if beaten {
            return self.drop_leadership(slot);
        }
        leadership.trim(captured);
        if captured > newest {
            // Others have moved on from here; an entry made now could never be captured.
            leadership.stop();
            self.sessions.end_group(slot);
        }
    }

    /// States that `now`, which was just written, is captured; or what was captured before, if nothing was.
    fn state_captured(&self, slot: usize, now: Option<Position>) -> Result<Captured, Refusal> {
        let (keys, group) = (self.keys()?, self.group(slot)?);
        let Position { index, hash } = now.unwrap_or(group.captured);
        if index == Index::ZERO {
            return Err(Refusal::NothingCaptured);
        }
        Ok(Captured::new(&keys.statements, &keys.realm, &group.id, self.state.hsm, index, hash))
    }

    pub(crate) fn jump<E: Env>(
        &mut self,
        env: &mut E,
        entry: &Entry,
        committed: &Committed,
    ) -> Result<Reply, Refusal> {
        let slot = self.slot(&entry.group)?;
        let at = self.authentic(slot, entry)?;
        if !self.is_committed_statement(slot, committed)? {
            return Err(Refusal::NotAuthentic);
        }
        let of_this = (committed.index, committed.hash) == (at.index, at.hash);
        if !of_this {
            return Err(Refusal::NotCommitted);
        }
        let captured = self.group(slot)?.captured;
        if at.index < captured.index {
            return Err(Refusal::Backwards);
        }
        if at != captured {
            // Durable: NVRAM holds the entry before this HSM says so, and before its leadership acts on it.
            self.write_captured(env, &[(slot, at)])?;
            if self.leaderships.get(&slot).is_some_and(|l| l.is_own(at)) {
                self.settle(slot, &[at]);
            } else {
                // Without the entries between, nothing shows that it continues the own chain.
                self.drop_leadership(slot);
            }
        }
        self.state_captured(slot, None).map(Reply::Captured)
    }

    fn is_committed_statement(&self, slot: usize, committed: &Committed) -> Result<bool, Refusal> {
        let (keys, group) = (self.keys()?, self.group(slot)?);
        let authentic = committed.is_authentic(&keys.statements, &keys.realm, &group.id);
        Ok(authentic && group.members.contains(&committed.hsm))
    }

    pub(crate) fn lead<E: Env>(
        &mut self,
        env: &mut E,
        group: GroupId,
        entry: Option<&Entry>,
    ) -> Result<Reply, Refusal> {
        let slot = self.slot(&group)?;
        let (captured, genesis) = (self.group(slot)?.captured, self.group(slot)?.genesis);
        // Equality with what NVRAM holds stands in for the MAC check: the hash covers every field.
        let at = entry.map_or(Position::NOTHING, |e| Position { index: e.index, hash: e.hash() });
        if at != captured {
            return Err(Refusal::NotCaptured);
        }
        let mut term = Term([0; 16]);
        env.rng().fill_bytes(&mut term.0);
        self.drop_leadership(slot);
        self.leaderships.insert(slot, Leadership::begin(term, entry, at, genesis));
        Ok(Reply::Leading(term))
    }

    pub(crate) fn step_down(&mut self, group: GroupId) -> Result<Reply, Refusal> {
        let slot = self.slot(&group)?;
        self.leaderships.get_mut(&slot).ok_or(Refusal::NotLeader)?.stop();
        self.sessions.end_group(slot);
        Ok(Reply::Done)
    }

    pub(crate) fn commit(&mut self, group: GroupId, statements: &[Captured]) -> Result<Reply, Refusal> {
        let slot = self.slot(&group)?;
        let captured = self.group(slot)?.captured.index;
        let Position { index, hash } = self.majority(slot, statements)?;
        let leadership = self.leaderships.get_mut(&slot).ok_or(Refusal::NotLeader)?;
        let released = leadership.release(index);
        leadership.trim(captured);
        let (keys, hsm) = (self.keys()?, self.state.hsm);
        let statement = Committed::new(&keys.statements, &keys.realm, &group, hsm, index, hash);
        Ok(Reply::Committed { statement, released })
    }

    /// The newest own entry at or after which a majority of distinct members has captured. Statements about other
    /// entries do not count.
    fn majority(&self, slot: usize, statements: &[Captured]) -> Result<Position, Refusal> {
        let (keys, group) = (self.keys()?, self.group(slot)?);
        let stated = statements.iter().map(|s| {
            let authentic = s.is_authentic(&keys.statements, &keys.realm, &group.id);
            (s.hsm, Position { index: s.index, hash: s.hash }, authentic)
        });
        let mut stated = self.own_stated(slot, stated)?;
        stated.sort_unstable_by_key(|at| Reverse(at.index));
        let half = group.members.len() / 2;
        stated.get(half).copied().filter(|at| at.index > Index::ZERO).ok_or(Refusal::NoMajority)
    }

    /// The own entries among what distinct members state: who, which entry, and whether the statement is authentic.
    pub(crate) fn own_stated(
        &self,
        slot: usize,
        stated: impl Iterator<Item = (HsmId, Position, bool)>,
    ) -> Result<Vec<Position>, Refusal> {
        let group = self.group(slot)?;
        let leadership = self.leaderships.get(&slot).ok_or(Refusal::NotLeader)?;
        let (mut members, mut own) = (Vec::new(), Vec::new());
        for (hsm, at, is_authentic) in stated {
            if members.contains(&hsm) || !group.members.contains(&hsm) {
                return Err(Refusal::BadMembers);
            }
            if !is_authentic {
                return Err(Refusal::NotAuthentic);
            }
            members.push(hsm);
            if leadership.is_own(at) {
                own.push(at);
            }
        }
        Ok(own)
    }
}

/// One group's capture, checked: the new places on its chain.
struct Capture {
    slot: usize,
    new: Vec<Position>,
}
