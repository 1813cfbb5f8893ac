//! The protocol of one group as rules over numbered entries: what any host can make HSMs do, and nothing about bytes.
//!
//! A change of the protocol begins here. [`explore`] visits everything that can happen in small groups, with all rules
//! and with each one left out; [`Trace`] checks what real HSMs do against the same rules. An action that is not allowed
//! says which rule forbids it. Statements, once made, are known to everybody, and every entry is at hand: that is the
//! most that a host can arrange.
//!
//! The invariants of `docs/protocol.md` section 11 that are about the log are here: 1 to 4 and 10.

pub mod explore;
mod reads;
mod search;
mod trace;
pub mod transfers;

pub use search::Explored;
pub use trace::{Counts, Departure, Trace};

use std::fmt;

/// An entry's number. 0 stands for what is before the first entry.
pub type Number = usize;

/// What one HSM does. Members are numbered from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Begins to lead from an entry.
    Lead {
        /// Who.
        member: usize,
        /// The entry.
        from: Number,
    },
    /// Makes the next entry, with replies that wait for its commit or without.
    Make {
        /// Who.
        member: usize,
        /// Whether replies wait.
        replies: bool,
    },
    /// Captures up to an entry and states it; with nothing new, states it again.
    Capture {
        /// Who.
        member: usize,
        /// The entry.
        to: Number,
    },
    /// Captures a committed entry without those between, and states it.
    Jump {
        /// Who.
        member: usize,
        /// The entry.
        to: Number,
    },
    /// States an own entry as committed, and releases the replies of own entries up to it.
    Commit {
        /// Who.
        member: usize,
        /// The entry.
        entry: Number,
    },
    /// Makes no more entries.
    StepDown {
        /// Who.
        member: usize,
    },
    /// Answers from its newest entry, without making one, and keeps the answer.
    Read {
        /// Who.
        member: usize,
        /// The own entry that last changed what is read; the first own one, if an older entry did.
        of: Number,
    },
    /// Draws a nonce, in place of any earlier one.
    DrawNonce {
        /// Who.
        member: usize,
    },
    /// States with a leader's open nonce what it has captured.
    StateFresh {
        /// Who.
        member: usize,
        /// Whose nonce.
        leader: usize,
    },
    /// Counts statements with the open nonce, and releases answers that wait for it.
    Confirm {
        /// Who.
        member: usize,
    },
    /// Loses its RAM, perhaps in the middle of a capture.
    Restart {
        /// Who.
        member: usize,
        /// What it has captured when it is back.
        captured: Number,
    },
}

/// One rule. Each can be left out, to see what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// A jump needs a statement of commit; `Captured` is not enough.
    JumpIsCommitted,
    /// That statement is about the very entry jumped to, never about one before it.
    JumpIsExact,
    /// A jump never goes to a lower index.
    JumpIsForward,
    /// A statement is made after NVRAM holds what it says.
    NvramFirst,
    /// Each member counts once.
    CountOnce,
    /// The leader counts by its own statement alone.
    LeaderStates,
    /// Statements count if they are about own entries, by hash.
    OwnCounted,
    /// More than half of the members are a majority.
    Majority,
    /// A capture continues the captured entry by hash.
    CaptureFollows,
    /// Replies wait for the commit of their entry.
    RepliesLast,
    /// Replies leave by ancestry, not by index.
    ReleaseByAncestry,
    /// A leader begins with the captured entry.
    LeadFromCaptured,
    /// Whoever stops leading, or begins to lead again, drops the answers that wait.
    LeadDropsReads,
    /// Statements that a read waits for have the leader's nonce.
    FreshHasNonce,
    /// The nonce is drawn after the read.
    NonceAfterRead,
    /// The leader counts for a read by its own statement alone.
    LeaderStatesFresh,
    /// Statements that a read waits for are of own entries, by hash.
    FreshByHash,
    /// And of none that come after the newest own one.
    FreshNotAhead,
    /// An answer waits for the commit of the entry that it gives away.
    ReadWaitsForCommit,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::JumpIsCommitted,
        Self::JumpIsExact,
        Self::JumpIsForward,
        Self::NvramFirst,
        Self::CountOnce,
        Self::LeaderStates,
        Self::OwnCounted,
        Self::Majority,
        Self::CaptureFollows,
        Self::RepliesLast,
        Self::ReleaseByAncestry,
        Self::LeadFromCaptured,
        Self::LeadDropsReads,
        Self::FreshHasNonce,
        Self::NonceAfterRead,
        Self::LeaderStatesFresh,
        Self::FreshByHash,
        Self::FreshNotAhead,
        Self::ReadWaitsForCommit,
    ];
}

/// What the rules forbid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forbidden {
    /// What was done.
    pub action: Action,
    /// Why not.
    pub why: &'static str,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model does not allow this: {}, because {}", self.action, self.why)
    }
}

impl std::error::Error for Forbidden {}

/// What happened to the replies of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Replies {
    None,
    Kept,
    Released,
    Dropped,
}

#[derive(Clone, Debug)]
struct Node {
    parent: Number,
    index: u64,
    /// Members, by bit, that have ever stated that they captured exactly this.
    stated: u16,
    /// Whether the entry itself was stated as committed.
    committed: bool,
    replies: Replies,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Leadership {
    leading: bool,
    base: Number,
    newest: Number,
}

/// An answer that waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Read {
    /// The own entry that last changed what was read; the first own entry, if an older one did.
    of: Number,
    /// The newest own entry at that time. What was read is what the chain up to here says.
    at: Number,
    /// The newest entry that was committed at that time. No rule looks at it: the promise does.
    floor: Number,
    /// Whether the open nonce was drawn after the read.
    covered: bool,
}

/// What a leader keeps for reads.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Reading {
    reads: Vec<Read>,
    /// What members have said to the open nonce: who, and which entry it had captured. `None` without one.
    nonce: Option<Vec<(usize, Number)>>,
}

#[derive(Clone, Default, Debug)]
struct Member {
    captured: Number,
    leadership: Option<Leadership>,
    reading: Reading,
}

/// One group.
#[derive(Clone, Debug)]
pub struct Model {
    nodes: Vec<Node>,
    members: Vec<Member>,
    without: Option<Rule>,
    /// What a released answer broke.
    broken_read: Option<&'static str>,
    begun_reads: usize,
}

type Checked = Result<(), &'static str>;

fn check(holds: bool, why: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(why) }
}

impl Model {
    /// A new group of this many members, at most 9, with one rule left out or none.
    #[must_use]
    pub fn new(members: usize, without: Option<Rule>) -> Self {
        // Every member begins before the first entry, so a majority has captured that place.
        let root =
            Node { parent: 0, index: 0, stated: (1 << members) - 1, committed: true, replies: Replies::None };
        Self {
            nodes: vec![root],
            members: vec![Member::default(); members],
            without,
            broken_read: None,
            begun_reads: 0,
        }
    }

    /// Does what an HSM did, or says why the HSM cannot have done it.
    ///
    /// # Errors
    /// A rule forbids it. Then nothing has changed.
    pub fn apply(&mut self, action: Action) -> Result<(), Forbidden> {
        let done = match action {
            Action::Lead { member, from } => self.lead(member, from),
            Action::Make { member, replies } => self.make(member, replies),
            Action::Capture { member, to } => self.capture(member, to),
            Action::Jump { member, to } => self.jump(member, to),
            Action::Commit { member, entry } => self.commit(member, entry),
            Action::StepDown { member } => self.step_down(member),
            Action::Read { member, of } => self.read(member, of),
            Action::DrawNonce { member } => self.draw_nonce(member),
            Action::StateFresh { member, leader } => self.state_fresh(member, leader),
            Action::Confirm { member } => self.confirm(member),
            Action::Restart { member, captured } => self.restart(member, captured),
        };
        done.map_err(|why| Forbidden { action, why })
    }

    /// How many entries there are, number 0 included.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.nodes.len()
    }

    /// What a member has captured.
    #[must_use]
    pub fn captured(&self, member: usize) -> Number {
        self.members[member].captured
    }

    /// Whether a member makes entries.
    #[must_use]
    pub fn leads(&self, member: usize) -> bool {
        self.members[member].leadership.is_some_and(|l| l.leading)
    }

    /// The newest own entry of a member that leads or has led.
    #[must_use]
    pub fn newest(&self, member: usize) -> Option<Number> {
        self.members[member].leadership.map(|l| l.newest)
    }

    /// An entry's index in the log.
    #[must_use]
    pub fn index(&self, entry: Number) -> u64 {
        self.nodes[entry].index
    }

    /// The own entries of a member whose replies wait.
    pub fn kept(&self, member: usize) -> impl Iterator<Item = Number> {
        let leadership = self.members[member].leadership;
        let mut own = leadership.map(|l| self.own(l)).unwrap_or_default();
        // It did not make the entry that it began from.
        own.pop();
        own.into_iter().filter(|entry| self.nodes[*entry].replies == Replies::Kept)
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn majority(&self) -> u32 {
        let members = self.members.len() as u32;
        if self.keeps(Rule::Majority) { members / 2 + 1 } else { members.div_ceil(2) }
    }

    /// The chain that ends with an entry, newest first, number 0 last.
    fn chain(&self, end: Number) -> impl Iterator<Item = Number> {
        std::iter::successors(Some(end), |at| (*at != 0).then(|| self.nodes[*at].parent))
    }

    fn is_on(&self, entry: Number, end: Number) -> bool {
        let index = self.nodes[entry].index;
        self.chain(end).find(|at| self.nodes[*at].index <= index) == Some(entry)
    }

    /// The entry that a leadership began from and all that it has made since, newest first.
    fn own(&self, leadership: Leadership) -> Vec<Number> {
        let base = self.nodes[leadership.base].index;
        self.chain(leadership.newest).take_while(|at| self.nodes[*at].index >= base).collect()
    }

    fn drop_leadership(&mut self, member: usize) {
        for entry in self.kept(member).collect::<Vec<_>>() {
            self.nodes[entry].replies = Replies::Dropped;
        }
        self.members[member].leadership = None;
        self.members[member].reading = Reading::default();
    }

    fn state(&mut self, member: usize) {
        let captured = self.members[member].captured;
        self.nodes[captured].stated |= 1 << member;
    }

    fn lead(&mut self, member: usize, from: Number) -> Checked {
        let captured = self.members[member].captured == from;
        check(captured || !self.keeps(Rule::LeadFromCaptured), "a leader begins with the captured entry")?;
        let reading = std::mem::take(&mut self.members[member].reading);
        self.drop_leadership(member);
        if !self.keeps(Rule::LeadDropsReads) {
            self.members[member].reading = reading;
        }
        let leadership = Leadership { leading: true, base: from, newest: from };
        self.members[member].leadership = Some(leadership);
        Ok(())
    }

    fn make(&mut self, member: usize, replies: bool) -> Checked {
        let made = self.nodes.len();
        let leadership = self.members[member].leadership.as_mut().filter(|l| l.leading);
        let leadership = leadership.ok_or("it does not lead")?;
        let parent = std::mem::replace(&mut leadership.newest, made);
        let replies = match (replies, self.keeps(Rule::RepliesLast)) {
            (false, _) => Replies::None,
            (true, true) => Replies::Kept,
            (true, false) => Replies::Released,
        };
        let index = self.nodes[parent].index + 1;
        self.nodes.push(Node { parent, index, stated: 0, committed: false, replies });
        Ok(())
    }

    fn may_capture(&self, member: usize, to: Number) -> Checked {
        let captured = self.members[member].captured;
        let follows = if self.keeps(Rule::CaptureFollows) {
            self.is_on(captured, to)
        } else {
            self.nodes[to].index > self.nodes[captured].index
        };
        check(follows, "what is captured continues what was captured before")
    }

    fn capture(&mut self, member: usize, to: Number) -> Checked {
        self.may_capture(member, to)?;
        check(to != 0, "nothing is captured yet, and there is no statement for that")?;
        let captured = self.nodes[self.members[member].captured].index;
        let new: Vec<Number> = self.chain(to).take_while(|at| self.nodes[*at].index > captured).collect();
        self.members[member].captured = to;
        self.state(member);
        self.settle(member, &new);
        Ok(())
    }

    /// What captured entries mean for a leadership: one that is not its own beats it, one after it ends it.
    fn settle(&mut self, member: usize, new: &[Number]) {
        let Some(leadership) = self.members[member].leadership else { return };
        let own = self.own(leadership);
        let newest = self.nodes[leadership.newest].index;
        let beaten = new.iter().any(|at| self.nodes[*at].index <= newest && !own.contains(at));
        if beaten && self.keeps(Rule::ReleaseByAncestry) {
            self.drop_leadership(member);
        } else if new.iter().any(|at| self.nodes[*at].index > newest) {
            self.stop(member);
        }
    }

    fn stop(&mut self, member: usize) {
        if let Some(leadership) = &mut self.members[member].leadership {
            leadership.leading = false;
        }
        if self.keeps(Rule::LeadDropsReads) {
            self.members[member].reading = Reading::default();
        }
    }

    fn may_jump(&self, member: usize, to: Number) -> Checked {
        let stated = if !self.keeps(Rule::JumpIsCommitted) {
            self.nodes[to].committed || self.nodes[to].stated != 0
        } else if !self.keeps(Rule::JumpIsExact) {
            self.chain(to).any(|at| at != 0 && self.nodes[at].committed)
        } else {
            self.nodes[to].committed
        };
        check(stated, "a jump goes to an entry that was stated as committed")?;
        let captured = self.members[member].captured;
        let forward = self.nodes[to].index >= self.nodes[captured].index;
        check(forward || !self.keeps(Rule::JumpIsForward), "a jump never goes to a lower index")
    }

    fn jump(&mut self, member: usize, to: Number) -> Checked {
        self.may_jump(member, to)?;
        check(to != 0, "there is no entry to jump to")?;
        if self.members[member].captured != to {
            self.members[member].captured = to;
            let leadership = self.members[member].leadership;
            if leadership.is_some_and(|l| self.own(l).contains(&to)) {
                self.settle(member, &[to]);
            } else {
                self.drop_leadership(member);
            }
        }
        self.state(member);
        Ok(())
    }

    /// Members that have stated this entry, or one of these after it.
    fn votes(&self, member: usize, entry: Number, own: &[Number]) -> u32 {
        let counts = |at: Number| {
            if self.keeps(Rule::OwnCounted) {
                self.is_on(entry, at) && (own.contains(&at) || !self.keeps(Rule::ReleaseByAncestry))
            } else {
                self.nodes[at].index >= self.nodes[entry].index
            }
        };
        let stated = (0..self.nodes.len()).filter(|at| counts(*at)).map(|at| self.nodes[at].stated);
        if !self.keeps(Rule::CountOnce) {
            return stated.map(u16::count_ones).sum();
        }
        let leader = if self.keeps(Rule::LeaderStates) { 0 } else { 1 << member };
        stated.fold(leader, |all, stated| all | stated).count_ones()
    }

    fn commit(&mut self, member: usize, entry: Number) -> Checked {
        let leadership = self.members[member].leadership.ok_or("it neither leads nor has led")?;
        let own = self.own(leadership);
        let index = self.nodes[entry].index;
        let at_own_index = own.iter().any(|at| self.nodes[*at].index == index);
        let taken = own.contains(&entry) || (at_own_index && !self.keeps(Rule::ReleaseByAncestry));
        check(entry != 0 && taken, "it commits its own entries alone")?;
        check(
            self.votes(member, entry, &own) >= self.majority(),
            "no majority has stated it or an own entry after it",
        )?;
        self.nodes[entry].committed = true;
        for own in self.kept(member).collect::<Vec<_>>() {
            if self.nodes[own].index <= index {
                self.nodes[own].replies = Replies::Released;
            }
        }
        Ok(())
    }

    fn step_down(&mut self, member: usize) -> Checked {
        check(self.members[member].leadership.is_some(), "it neither leads nor has led")?;
        self.stop(member);
        Ok(())
    }

    fn restart(&mut self, member: usize, captured: Number) -> Checked {
        let before = self.members[member].captured;
        let moved = self.may_capture(member, captured).or_else(|_| self.may_jump(member, captured));
        let forgot = !self.keeps(Rule::NvramFirst) && self.is_on(captured, before);
        if captured != before && !forgot {
            moved.map_err(|_| "it remembers neither what it stated nor what it may have captured since")?;
        }
        self.drop_leadership(member);
        self.members[member].captured = captured;
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lead { member, from } => write!(f, "HSM {member} leads from #{from}"),
            Self::Make { member, replies: true } => write!(f, "HSM {member} makes an entry with a reply"),
            Self::Make { member, replies: false } => write!(f, "HSM {member} makes an entry"),
            Self::Capture { member, to } => write!(f, "HSM {member} captures #{to}"),
            Self::Jump { member, to } => write!(f, "HSM {member} jumps to #{to}"),
            Self::Commit { member, entry } => write!(f, "HSM {member} commits #{entry}"),
            Self::StepDown { member } => write!(f, "HSM {member} steps down"),
            Self::Read { member, of } => {
                write!(
                    f,
                    "HSM {member} answers a read of what its own #{of} last changed, and keeps the answer"
                )
            }
            Self::DrawNonce { member } => write!(f, "HSM {member} draws a nonce"),
            Self::StateFresh { member, leader } => {
                write!(f, "HSM {member} states to the nonce of HSM {leader} what it has captured")
            }
            Self::Confirm { member } => write!(f, "HSM {member} counts what was stated to its nonce"),
            Self::Restart { member, captured } => {
                write!(f, "HSM {member} restarts with #{captured} captured")
            }
        }
    }
}
