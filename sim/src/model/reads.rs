//! Reads without a write: a leader answers from its newest entry, and keeps the answer until a majority of members has
//! said, to a nonce drawn afterwards, that the leader's chain is still the one.
//!
//! Owns the two promises about a read: the answer is no older than what was committed when the read began, and it gives
//! away nothing that is not committed. Both are judged when an answer is released, and remembered.

use super::{Checked, Leadership, Model, Number, Read, Rule, check};

impl Model {
    /// The answers that a member keeps for reads.
    #[must_use]
    pub fn reads(&self, member: usize) -> usize {
        self.members[member].reading.reads.len()
    }

    /// The own entries of a member that leads, newest first: one of them last changed whatever is read.
    #[must_use]
    pub fn may_read(&self, member: usize) -> Vec<Number> {
        let leadership = self.members[member].leadership.filter(|l| l.leading);
        leadership.map(|l| self.own(l)).unwrap_or_default()
    }

    /// Whether a member waits for statements with a nonce of its own.
    #[must_use]
    pub fn has_nonce(&self, member: usize) -> bool {
        self.members[member].reading.nonce.is_some()
    }

    pub(super) fn read(&mut self, member: usize, of: Number) -> Checked {
        check(self.leads(member), "it does not lead")?;
        let leadership = self.members[member].leadership.ok_or("it does not lead")?;
        check(self.own(leadership).contains(&of), "it is no own entry")?;
        let committed = (0..self.nodes.len()).filter(|at| self.nodes[*at].committed);
        let floor = committed.max_by_key(|at| self.nodes[*at].index).unwrap_or(0);
        let covered = !self.keeps(Rule::NonceAfterRead) && self.has_nonce(member);
        let read = Read { of, at: leadership.newest, floor, covered };
        self.members[member].reading.reads.push(read);
        self.begun_reads += 1;
        Ok(())
    }

    pub(super) fn draw_nonce(&mut self, member: usize) -> Checked {
        check(self.leads(member), "it does not lead")?;
        let reading = &mut self.members[member].reading;
        reading.nonce = Some(Vec::new());
        reading.reads.iter_mut().for_each(|read| read.covered = true);
        Ok(())
    }

    /// A member says to the nonce of `leader` what it has captured.
    pub(super) fn state_fresh(&mut self, member: usize, leader: usize) -> Checked {
        let captured = self.members[member].captured;
        // In the model everybody has captured what is before the first entry. An HSM has no statement for that.
        let stated = self.members[leader].reading.nonce.as_mut().ok_or("nobody has drawn that nonce")?;
        if !stated.contains(&(member, captured)) {
            stated.push((member, captured));
            stated.sort_unstable();
        }
        Ok(())
    }

    /// Counts what members have said to the open nonce, and releases the answers that it covers and that give away
    /// nothing uncommitted. The nonce is used up.
    pub(super) fn confirm(&mut self, member: usize) -> Checked {
        let leadership = self.members[member].leadership.ok_or("it neither leads nor has led")?;
        check(self.has_nonce(member), "there is no open nonce")?;
        check(
            self.fresh_votes(member, leadership) >= self.majority(),
            "no majority has stated an own entry",
        )?;
        let reading = std::mem::take(&mut self.members[member].reading);
        let leaves = |read: &Read| {
            read.covered && (self.is_committed(read.of) || !self.keeps(Rule::ReadWaitsForCommit))
        };
        let (left, kept): (Vec<Read>, Vec<Read>) = reading.reads.into_iter().partition(leaves);
        for read in &left {
            self.judge(read);
        }
        self.members[member].reading.reads = kept.into_iter().map(|r| Read { covered: false, ..r }).collect();
        Ok(())
    }

    /// Whether an entry is committed, by a statement of it or of one after it. An HSM goes by what it has counted itself,
    /// which is less.
    fn is_committed(&self, entry: Number) -> bool {
        (0..self.nodes.len()).any(|at| self.nodes[at].committed && self.is_on(entry, at))
    }

    /// Members that have said to the open nonce that they have captured an own entry.
    fn fresh_votes(&self, member: usize, leadership: Leadership) -> u32 {
        let own = self.own(leadership);
        let newest = leadership.newest;
        let counts = |entry: &Number| {
            let by_index = !self.keeps(Rule::FreshByHash);
            let ahead = !self.keeps(Rule::FreshNotAhead) && self.is_on(newest, *entry);
            own.contains(entry) || ahead || by_index && self.nodes[*entry].index <= self.nodes[newest].index
        };
        let voters: u16 = if self.keeps(Rule::FreshHasNonce) {
            let stated = self.members[member].reading.nonce.iter().flatten();
            stated.filter(|(_, entry)| counts(entry)).fold(0, |all, (by, _)| all | 1 << by)
        } else {
            let entries = (0..self.nodes.len()).filter(|entry| counts(entry));
            entries.fold(0, |all, entry| all | self.nodes[entry].stated)
        };
        let own_vote: u16 = if self.keeps(Rule::LeaderStatesFresh) { 0 } else { 1 << member };
        (voters | own_vote).count_ones()
    }

    fn judge(&mut self, read: &Read) {
        if !self.is_on(read.floor, read.at) {
            self.broken_read = Some("an answer is older than what was committed when it was asked for");
        } else if !self.is_committed(read.of) {
            self.broken_read = Some("an answer gives away what is not committed");
        }
    }
}
