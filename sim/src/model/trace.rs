//! What the HSMs of one group really did, checked against the model.
//!
//! Reads requests and replies where they reach and leave an HSM, and nothing inside it. A refusal changes nothing.

use super::{Action, Forbidden, Model, Number};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    CaptureOutcome, GroupEntries, Made, Outcome, ReadReply, Refusal, Released, Reply, Request,
};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, Index, Nonce, Term};
use strongroom_proto::statement::{Captured, Committed, Fresh, GroupStatement};

/// One group, watched from its first entry.
pub struct Trace {
    group: GroupId,
    members: Vec<HsmId>,
    model: Model,
    numbers: BTreeMap<EntryHash, Number>,
    /// How many replies wait under each entry.
    replies: BTreeMap<Number, usize>,
    /// Every term that was ever drawn.
    drawn: BTreeSet<Term>,
    terms: Vec<Option<Term>>,
    /// By member: its reads that wait, as the model has them too, and the nonce that some wait for.
    reads: Vec<Reads>,
    /// Every nonce that was ever drawn.
    nonces: BTreeSet<Nonce>,
    /// By member: the entry whose write to NVRAM failed. It may be there after a restart.
    torn: Vec<Option<Number>>,
    counts: Counts,
}

/// Reads of one leadership that wait, by number, and whether the nonce was drawn after them.
#[derive(Clone, Default)]
struct Reads {
    waiting: BTreeMap<u64, bool>,
    nonce: Option<Nonce>,
}

/// How much was checked against the model.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Statements of capture, including those made again.
    pub captures: u64,
    /// Jumps.
    pub jumps: u64,
    /// Statements of commit.
    pub commits: u64,
    /// Answers to reads that were confirmed.
    pub reads: u64,
    /// Entries made.
    pub entries: u64,
    /// Leaderships begun.
    pub leaderships: u64,
    /// Restarts.
    pub restarts: u64,
}

/// What no HSM that follows the model can have done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Departure {
    /// A rule forbids it.
    Forbidden(Forbidden),
    /// The reply does not say what the action must say.
    Reply(String),
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(forbidden) => forbidden.fmt(f),
            Self::Reply(what) => write!(f, "the model foretells another reply: {what}"),
        }
    }
}

impl std::error::Error for Departure {}

impl From<Forbidden> for Departure {
    fn from(forbidden: Forbidden) -> Self {
        Self::Forbidden(forbidden)
    }
}

fn expect(holds: bool, what: impl FnOnce() -> String) -> Result<(), Departure> {
    if holds { Ok(()) } else { Err(Departure::Reply(what())) }
}

impl Trace {
    /// A group in which nothing has happened yet.
    #[must_use]
    pub fn new(group: &GroupStatement) -> Self {
        let members = group.members.clone();
        Self {
            group: group.group,
            model: Model::new(members.len(), None),
            numbers: BTreeMap::from([(EntryHash::ZERO, 0)]),
            replies: BTreeMap::new(),
            drawn: BTreeSet::new(),
            terms: vec![None; members.len()],
            reads: vec![Reads::default(); members.len()],
            nonces: BTreeSet::new(),
            torn: vec![None; members.len()],
            members,
            counts: Counts::default(),
        }
    }

    /// How much was checked against the model so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Checks one exchange with an HSM. Exchanges of other groups are skipped.
    ///
    /// # Errors
    /// The model does not allow it.
    pub fn observe(&mut self, hsm: &HsmId, request: &Request, reply: &Reply) -> Result<(), Departure> {
        let Some(member) = self.members.iter().position(|m| m == hsm) else { return Ok(()) };
        self.forget_reads();
        match (request, reply) {
            (Request::Lead(group, entry), Reply::Leading(term)) if *group == self.group => {
                self.lead(member, entry.as_ref(), *term)
            }
            (Request::StepDown(group), Reply::Done) if *group == self.group => {
                Ok(self.model.apply(Action::StepDown { member })?)
            }
            (
                Request::Process { group, .. } | Request::Change(group, _),
                Reply::Processed { outcomes, made },
            ) if *group == self.group => self.process(member, outcomes, made.as_ref()),
            (Request::DrawReadNonce(group), Reply::ReadNonce(nonce)) if *group == self.group => {
                self.draw_nonce(member, *nonce)
            }
            (Request::Fresh(group, nonce), Reply::Fresh(statement)) if *group == self.group => {
                self.state_fresh(member, nonce, statement)
            }
            (Request::Confirm { group, .. }, Reply::Confirmed(reads)) if *group == self.group => {
                self.confirm(member, reads)
            }
            (Request::Capture(groups), Reply::Captures(outcomes)) => self.captures(member, groups, outcomes),
            (Request::Jump(entry, _), Reply::Captured(statement)) if entry.group == self.group => {
                self.jump(member, entry, statement)
            }
            (Request::Commit { group, .. }, Reply::Committed { statement, released })
                if *group == self.group =>
            {
                self.commit(member, statement, released)
            }
            (_, Reply::Refused(refusal)) => self.refused(member, request, *refusal),
            _ => Ok(()),
        }
    }

    /// A refusal changes nothing, so later statements show whether it did. And what the model allows must not be
    /// refused for reasons that the model knows.
    fn refused(&mut self, member: usize, request: &Request, refusal: Refusal) -> Result<(), Departure> {
        let captured = self.model.captured(member);
        let right = match (request, refusal) {
            (Request::Capture(groups), Refusal::NvramFailed) => {
                let mine = groups.iter().find(|of| of.group == self.group);
                let last = mine.and_then(|of| of.entries.last()).map(Entry::hash);
                self.tear(member, last);
                true
            }
            (Request::Jump(entry, _), Refusal::NvramFailed) if entry.group == self.group => {
                self.tear(member, Some(entry.hash()));
                true
            }
            (Request::Lead(group, entry), Refusal::NotCaptured) if *group == self.group => {
                let from = entry.as_ref().map_or(EntryHash::ZERO, Entry::hash);
                self.numbers.get(&from) != Some(&captured)
            }
            (Request::StepDown(group), Refusal::NotLeader) if *group == self.group => {
                self.model.newest(member).is_none()
            }
            (
                Request::Process { group, .. } | Request::Handshake(group, _) | Request::Change(group, _),
                Refusal::NotLeader,
            ) if *group == self.group => !self.model.leads(member),
            (Request::DrawReadNonce(group), Refusal::NotLeader) if *group == self.group => {
                !self.model.leads(member)
            }
            (Request::Confirm { group, .. }, Refusal::NoNonce) if *group == self.group => {
                !self.model.has_nonce(member)
            }
            (Request::Fresh(group, _), Refusal::NothingCaptured) if *group == self.group => captured == 0,
            (Request::Jump(entry, _), Refusal::Backwards) if entry.group == self.group => {
                entry.index.0 < self.model.index(captured)
            }
            _ => true,
        };
        expect(right, || format!("what the model allows is refused: {refusal:?}"))
    }

    /// The first write that fails is the one that may be there; the HSM writes nothing after it.
    fn tear(&mut self, member: usize, entry: Option<EntryHash>) {
        let entry = entry.and_then(|hash| self.numbers.get(&hash).copied());
        self.torn[member] = self.torn[member].or(entry);
    }

    /// Checks a restart after which the HSM says that it has captured this.
    ///
    /// # Errors
    /// The model does not allow it.
    pub fn restarted(&mut self, hsm: &HsmId, captured: EntryHash) -> Result<(), Departure> {
        let Some(member) = self.members.iter().position(|m| m == hsm) else { return Ok(()) };
        let captured = self.number(&captured)?;
        let torn = self.torn[member].take();
        let known = captured == self.model.captured(member) || torn == Some(captured);
        expect(known, || {
            format!("after a restart {hsm} holds what it was not asked to capture, or has forgotten")
        })?;
        self.model.apply(Action::Restart { member, captured })?;
        self.counts.restarts += 1;
        Ok(())
    }

    fn number(&self, hash: &EntryHash) -> Result<Number, Departure> {
        let unknown = || Departure::Reply(format!("no HSM of the group has made the entry {hash}"));
        self.numbers.get(hash).copied().ok_or_else(unknown)
    }

    fn lead(&mut self, member: usize, entry: Option<&Entry>, term: Term) -> Result<(), Departure> {
        let from = self.number(&entry.map_or(EntryHash::ZERO, Entry::hash))?;
        self.model.apply(Action::Lead { member, from })?;
        expect(self.drawn.insert(term), || format!("the term {term} was drawn before"))?;
        self.terms[member] = Some(term);
        self.counts.leaderships += 1;
        Ok(())
    }

    fn process(&mut self, member: usize, outcomes: &[Outcome], made: Option<&Made>) -> Result<(), Departure> {
        let kept = outcomes.contains(&Outcome::Kept);
        let read = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Read(_)));
        let (kept_right, read_right) = (!kept || made.is_some(), !read || made.is_none());
        expect(kept_right && read_right, || "replies are kept without an entry, or reads with one".into())?;
        for outcome in outcomes {
            if let Outcome::Read(number) = outcome {
                self.read(member)?;
                let known = self.reads[member].waiting.insert(*number, false);
                expect(known.is_none(), || format!("two reads have the number {number}"))?;
            }
        }
        made.map_or(Ok(()), |made| self.make(member, outcomes, made))
    }

    /// Which entry last changed what is read is not known here; the model takes the one that the leadership began from.
    fn read(&mut self, member: usize) -> Result<(), Departure> {
        let of = self.model.may_read(member).last().copied().unwrap_or(0);
        Ok(self.model.apply(Action::Read { member, of })?)
    }

    /// What the model dropped, waits no more.
    fn forget_reads(&mut self) {
        for (member, reads) in self.reads.iter_mut().enumerate() {
            if self.model.reads(member) == 0 {
                reads.waiting.clear();
            }
            if !self.model.has_nonce(member) {
                reads.nonce = None;
            }
        }
    }

    fn draw_nonce(&mut self, member: usize, nonce: Nonce) -> Result<(), Departure> {
        self.model.apply(Action::DrawNonce { member })?;
        expect(self.nonces.insert(nonce), || "a nonce for reads was drawn before".into())?;
        self.reads[member].nonce = Some(nonce);
        self.reads[member].waiting.values_mut().for_each(|covered| *covered = true);
        Ok(())
    }

    fn state_fresh(&mut self, member: usize, nonce: &Nonce, statement: &Fresh) -> Result<(), Departure> {
        let captured = self.model.captured(member);
        let said = statement.hsm == self.members[member]
            && self.numbers.get(&statement.hash) == Some(&captured)
            && statement.index.0 == self.model.index(captured)
            && captured != 0;
        expect(said, || format!("{} does not say what it has captured", statement.hsm))?;
        let leader = self.reads.iter().position(|reads| reads.nonce.as_ref() == Some(nonce));
        leader.map_or(Ok(()), |leader| Ok(self.model.apply(Action::StateFresh { member, leader })?))
    }

    fn confirm(&mut self, member: usize, released: &[ReadReply]) -> Result<(), Departure> {
        self.model.apply(Action::Confirm { member })?;
        expect(self.model.broken_read.is_none(), || "a read is out of date".into())?;
        let reads = &mut self.reads[member];
        for ReadReply { number, .. } in released {
            let covered = reads.waiting.remove(number) == Some(true);
            expect(covered, || format!("read {number} does not wait for this nonce"))?;
        }
        self.counts.reads += released.len() as u64;
        // The HSM knows which entry each tells of, and keeps more.
        reads.nonce = None;
        reads.waiting.values_mut().for_each(|covered| *covered = false);
        let still = self.reads[member].waiting.len();
        (self.model.reads(member)..still).try_for_each(|_| self.read(member))
    }

    fn make(&mut self, member: usize, outcomes: &[Outcome], made: &Made) -> Result<(), Departure> {
        let entry = &made.entry;
        let before = self.model.newest(member).unwrap_or(0);
        let index = Index(self.model.index(before) + 1);
        let prev = self.number(&entry.prev)?;
        let continues = (entry.index, prev, entry.group) == (index, before, self.group);
        expect(continues, || format!("entry {} does not follow the newest own entry", entry.index))?;
        let by = (entry.leader, Some(entry.term)) == (self.members[member], self.terms[member]);
        expect(by, || format!("entry {} is of another leadership", entry.index))?;
        let replies = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Kept)).count();
        self.model.apply(Action::Make { member, replies: replies > 0 })?;
        let number = self.model.entries() - 1;
        self.numbers.insert(entry.hash(), number);
        self.replies.insert(number, replies);
        self.counts.entries += 1;
        Ok(())
    }

    fn states(&self, member: usize, to: Number, statement: &Captured) -> Result<(), Departure> {
        let said = (statement.hsm, statement.index.0) == (self.members[member], self.model.index(to));
        expect(said, || format!("the statement of capture names {} at {}", statement.hsm, statement.index))
    }

    fn captures(
        &mut self,
        member: usize,
        groups: &[GroupEntries],
        outcomes: &[CaptureOutcome],
    ) -> Result<(), Departure> {
        expect(groups.len() == outcomes.len(), || "not one outcome for each group".into())?;
        for (of, outcome) in groups.iter().zip(outcomes) {
            if let CaptureOutcome::Captured(statement) = outcome
                && of.group == self.group
            {
                self.capture(member, &of.entries, statement)?;
            }
        }
        Ok(())
    }

    fn capture(&mut self, member: usize, entries: &[Entry], statement: &Captured) -> Result<(), Departure> {
        let to = self.number(&statement.hash)?;
        let captured = self.model.captured(member);
        let last = entries.last().filter(|last| last.index.0 > self.model.index(captured));
        let asked = last.map_or(Ok(captured), |last| self.number(&last.hash()))?;
        expect(to == asked, || format!("it states entry #{to} and was asked for #{asked}"))?;
        self.model.apply(Action::Capture { member, to })?;
        self.counts.captures += 1;
        self.states(member, to, statement)
    }

    fn jump(&mut self, member: usize, entry: &Entry, statement: &Captured) -> Result<(), Departure> {
        let to = self.number(&statement.hash)?;
        expect(entry.hash() == statement.hash, || "the statement is not of the entry jumped to".into())?;
        self.model.apply(Action::Jump { member, to })?;
        self.counts.jumps += 1;
        self.states(member, to, statement)
    }

    fn commit(
        &mut self,
        member: usize,
        statement: &Committed,
        released: &[Released],
    ) -> Result<(), Departure> {
        let entry = self.number(&statement.hash)?;
        let kept: Vec<Number> = self.model.kept(member).collect();
        self.model.apply(Action::Commit { member, entry })?;
        self.counts.commits += 1;
        let still: Vec<Number> = self.model.kept(member).collect();
        let mut foretold: Vec<Number> = kept.into_iter().filter(|entry| !still.contains(entry)).collect();
        foretold.sort_unstable();
        let left = released.iter().map(|r| self.number(&r.entry)).collect::<Result<Vec<_>, _>>()?;
        expect(left == foretold, || format!("replies of {left:?} were released, not of {foretold:?}"))?;
        let whole = |r: &Released| {
            Some(&r.replies.len()) == self.number(&r.entry).ok().and_then(|n| self.replies.get(&n))
        };
        expect(released.iter().all(whole), || {
            "not every reply of an entry was released, or one twice".into()
        })?;
        let said = (statement.hsm, statement.index.0) == (self.members[member], self.model.index(entry));
        expect(said, || format!("the statement of commit names {} at {}", statement.hsm, statement.index))
    }
}
