//! What is seen of a realm.

use crate::admin::LOAD_PARTS;
use strongroom_proto::hsm::Wear;
use strongroom_proto::ids::{GroupId, HsmId, Index, RealmId};
use strongroom_proto::prefix::Prefix;

/// A realm, as one agent sees it at one time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overview {
    /// The realm; `None` while the agent's HSM has none, or has never answered.
    pub realm: Option<RealmId>,
    /// The HSM of the agent that gives it.
    pub by: Option<HsmId>,
    /// The hosts: that agent first.
    pub hosts: Vec<Host>,
    /// The groups that any of them knows, ascending.
    pub groups: Vec<Group>,
    /// The prefixes that are on their way from one group to another.
    pub moves: Vec<Move>,
    /// How many more agents have announced themselves, and were not asked, because the realm is large.
    pub not_asked: u32,
}

/// One host: an agent and its HSM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Where the agent is reached; `None` for the one that was asked.
    pub address: Option<String>,
    /// The HSM, if it was ever seen there. Of an agent that does not answer, that may be what the store says.
    pub hsm: Option<HsmId>,
    /// Whether the agent answers.
    pub agent: Agent,
    /// The agent's version.
    pub version: Option<String>,
    /// Whether the HSM answers its agent; `None` if the agent does not answer.
    pub hsm_answers: Option<bool>,
    /// What the HSM runs, in words.
    pub hsm_version: Option<String>,
    /// How worn the HSM's NVRAM is.
    pub wear: Option<Wear>,
    /// How the agent's last calls to the object store failed.
    pub store: Option<String>,
    /// Why the agent runs no group, if its store is the reason.
    pub unready: Option<String>,
    /// To whom its front door relays requests, while it does.
    pub relays: Option<String>,
}

/// Whether an agent answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Agent {
    /// It does.
    Answers,
    /// It does not.
    Silent {
        /// Why.
        why: String,
        /// For how many seconds; `None` if it has never answered the agent that was asked.
        seconds: Option<u64>,
    },
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its id.
    pub group: GroupId,
    /// Its members, in the order of its statement. Of a group whose members are all silent, what the store says.
    pub members: Vec<Member>,
    /// The member that leads, by its own word.
    pub leader: Option<HsmId>,
    /// Whether the leader serves: it has the tree, its store works, and a majority of the members works and says that this is
    /// their leader.
    pub serves: bool,
    /// The prefixes that it owns.
    pub prefixes: Vec<Prefix>,
    /// Whether it has retired.
    pub retired: bool,
    /// The newest entry that any of its members knows.
    pub index: Index,
    /// The newest entry that its leader knows to be committed.
    pub committed: Option<Index>,
    /// What the newest snapshot reaches.
    pub snapshot: Index,
    /// Client requests that wait at its leader.
    pub waiting: u64,
    /// How busy it is; `None` if no leader says so.
    pub load: Option<Load>,
    /// What is wrong with its stored tree.
    pub tree: Option<String>,
}

impl Group {
    /// How many members must work.
    #[must_use]
    pub const fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// How many do.
    #[must_use]
    pub fn working(&self) -> usize {
        self.members.iter().filter(|member| member.state.works()).count()
    }
}

/// A member of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its HSM.
    pub hsm: HsmId,
    /// What it does.
    pub state: MemberState,
    /// The entry that its HSM has captured.
    pub captured: Option<Index>,
    /// How many entries that is behind the newest that is known.
    pub behind: Option<u64>,
}

/// What a member does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// It leads, and serves or not yet.
    Leads {
        /// Whether it serves.
        serving: bool,
    },
    /// It follows.
    Witness,
    /// It stands for leader.
    Candidate,
    /// It has just started.
    Starting,
    /// It has stopped, and why. A leader that has a fault counts as stopped too.
    Stopped(String),
    /// Its HSM has not joined.
    NotJoined,
    /// Its agent has not started the group, and why.
    NotStarted(String),
    /// Its HSM does not answer its agent.
    HsmSilent,
    /// Its agent does not answer, and why.
    AgentSilent(String),
    /// Its HSM has left the group, which has retired.
    Left,
}

impl MemberState {
    /// Whether it takes part.
    #[must_use]
    pub const fn works(&self) -> bool {
        match self {
            Self::Leads { .. } | Self::Witness | Self::Candidate | Self::Starting => true,
            Self::Stopped(_)
            | Self::NotJoined
            | Self::NotStarted(_)
            | Self::HsmSilent
            | Self::AgentSilent(_)
            | Self::Left => false,
        }
    }

    /// In a word or two.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Leads { serving: true } => "leader",
            Self::Leads { serving: false } => "leader, reading",
            Self::Witness => "witness",
            Self::Candidate => "candidate",
            Self::Starting => "starting",
            Self::Stopped(_) => "stopped",
            Self::NotJoined => "not joined",
            Self::NotStarted(_) => "not started",
            Self::HsmSilent => "HSM silent",
            Self::AgentSilent(_) => "unreachable",
            Self::Left => "left",
        }
    }

    /// Why it does not take part, where more is known than the name says.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Stopped(why) | Self::NotStarted(why) | Self::AgentSilent(why) => Some(why),
            _ => None,
        }
    }
}

/// How many requests clients sent lately about the records of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// In how many seconds, up to now: at most 60, and fewer if its leader is new.
    pub seconds: u32,
    /// By prefix, in the order of [`Group::prefixes`].
    pub prefixes: Vec<PrefixLoad>,
}

/// How many of them were about the records of one prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrefixLoad {
    /// The prefix.
    pub prefix: Prefix,
    /// By sixteenths of the prefix: its next four bits, ascending.
    pub parts: [u32; LOAD_PARTS],
}

impl PrefixLoad {
    /// All of them.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(*part)).sum()
    }
}

impl Load {
    /// All of them.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.prefixes.iter().map(PrefixLoad::requests).sum()
    }

    /// Tenths of a request per second, of so many requests.
    #[must_use]
    pub fn tenths_per_second(&self, requests: u64) -> u64 {
        requests.saturating_mul(10) / u64::from(self.seconds.max(1))
    }
}

/// A prefix on its way from one group to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// The prefix.
    pub prefix: Prefix,
    /// The group that gives it away.
    pub from: GroupId,
    /// The group that is to own it.
    pub to: GroupId,
    /// How far it is.
    pub step: Step,
}

/// How far a move is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Its records are being copied; the old group serves it.
    Copying,
    /// The new group awaits it; the old group serves it.
    Awaited,
    /// The old group has let go of it, and the new one has not taken it over: nobody serves it.
    Left,
    /// The new group serves it; the old one has yet to close the move.
    Arrived,
}

impl Step {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Copying => "its records are being copied",
            Self::Awaited => "the new group awaits it, the old one serves it",
            Self::Left => "the old group has let go of it, the new one has yet to take it: nobody serves it",
            Self::Arrived => "the new group serves it, the old one has yet to close the move",
        }
    }
}
