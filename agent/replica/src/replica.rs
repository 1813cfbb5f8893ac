//! The replica as a whole: its parts, and the files that steer them.
//!
//! A part is a file beside this one. It owns its fields, keeps the invariants it lists under "Kept here", and does not
//! know [`Replica`]: it is given what it needs, and says what to do. The files below this one see all parts, and do
//! what concerns more than one of them. Each calls only those that stand before it here:
//!
//! - [`roles`]: what this member is, and how that changes;
//! - [`chain`]: the log and how much of it the HSM has captured, which begin and advance together;
//! - [`fault`]: what cannot be read, or is wrong;
//! - [`peers`]: what the other members' agents say;
//! - [`tracking`]: the way to the end of the log;
//! - [`election`], [`storage`], [`replies`]: becoming the leader, its stored tree, and what the HSM answers;
//! - [`deadline`]: when there is something to do without any event;
//! - [`step`]: one event after another.

mod chain;
mod deadline;
mod election;
mod fault;
mod invariants;
mod peers;
mod purpose;
mod replies;
mod roles;
mod step;
mod storage;
mod tracking;

use crate::ahead::Ahead;
use crate::audit::Audit;
#[cfg(feature = "planted-bugs")]
use crate::bug::Bug;
use crate::candidate::Candidate;
use crate::capture::Capture;
use crate::catch_up::CatchUp;
use crate::clients::Clients;
use crate::context::Context;
use crate::following::Following;
use crate::freshness::Freshness;
use crate::interface::{Millis, Role, Settings, Status};
use crate::leader::Leader;
use crate::log::Log;
use crate::search::Search;
use crate::settling::Settling;
use crate::silence::Silence;
use crate::standing::Standings;
use crate::trouble::Trouble;
use crate::turn::Turn;
use crate::under_way::UnderWay;
use strongroom_proto::ids::{EntryHash, HsmId, Index};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;

/// What this member is in its group.
enum State {
    /// It does not know what its HSM has captured. It asks at the given time, unless it has asked already.
    Starting(Option<Millis>),
    Witness,
    Candidate(Candidate),
    Leader(Box<Leader>),
    /// It has stopped for now.
    Faulted,
}

/// A member's agent, as a state machine.
pub struct Replica {
    cx: Context,
    /// Whether it leads; if not, whom it follows; and when it is its turn to try.
    state: State,
    following: Following,
    turn: Turn,
    /// What is known of the other members' agents.
    standings: Standings,
    /// The log, and the way to its end.
    log: Log,
    search: Search,
    catch_up: CatchUp,
    /// What was pushed before its turn.
    ahead: Ahead,
    /// How much of it the HSM has captured, and how long the HSM has been silent.
    capture: Capture,
    silence: Silence,
    /// What the store was asked to read and to write.
    under_way: UnderWay,
    settling: Settling,
    /// What is wrong, if anything.
    trouble: Trouble,
    clients: Clients,
    /// What other members ask about the HSM.
    freshness: Freshness,
    audit: Audit,
    /// When it wants to be woken, as of the end of the last step.
    deadline: Millis,
}

impl Replica {
    /// A member that knows only its settings.
    fn unstarted(settings: Settings, now: Millis) -> Self {
        let members = &settings.group.members;
        let others: Vec<HsmId> = members.iter().copied().filter(|member| *member != settings.hsm).collect();
        Self {
            state: State::Starting(Some(now)),
            following: Following::default(),
            turn: Turn::new(now, settings.seed),
            standings: Standings::new(others),
            log: Log::new(settings.realm, settings.group.group),
            search: Search::default(),
            catch_up: CatchUp::default(),
            ahead: Ahead::default(),
            capture: Capture::new((Index::ZERO, EntryHash::ZERO)),
            silence: Silence::default(),
            under_way: UnderWay::default(),
            settling: Settling::default(),
            trouble: Trouble::default(),
            clients: Clients::default(),
            freshness: Freshness::default(),
            audit: Audit::default(),
            deadline: now,
            cx: Context::new(now, settings),
        }
    }

    /// Leaves one rule out, for a test that must notice.
    #[cfg(feature = "planted-bugs")]
    pub const fn plant(&mut self, bug: Bug) {
        self.cx.bugs.plant(bug);
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status_with(Vec::new(), Vec::new())
    }

    /// The same, in place of what it said before. Nothing is allocated for what has stayed the same.
    pub fn update(&self, status: &mut Status) {
        let (prefixes, open) = (std::mem::take(&mut status.prefixes), std::mem::take(&mut status.open));
        *status = self.status_with(prefixes, open);
    }

    fn status_with(&self, mut prefixes: Vec<Prefix>, mut open: Vec<Transfer>) -> Status {
        if !prefixes.iter().copied().eq(self.log.trees().prefixes()) {
            prefixes = self.log.trees().prefixes().collect();
        }
        let entry = self.log.tip().map(|tip| &tip.entry);
        let opened = entry.map(|entry| &entry.open[..]).unwrap_or_default();
        if open != opened {
            open = opened.to_vec();
        }
        let (tip, tip_hash) = self.log.position();
        let (role, newest, committed) = match &self.state {
            State::Starting(_) => (Role::Starting, tip, Index::ZERO),
            State::Witness => (Role::Witness, tip, Index::ZERO),
            State::Candidate(_) => (Role::Candidate, tip, Index::ZERO),
            State::Leader(leader) if leader.is_elected() => {
                (Role::Leader { term: leader.term() }, leader.newest(), leader.committed())
            }
            State::Leader(leader) => (Role::Candidate, leader.newest(), leader.committed()),
            State::Faulted => (Role::Faulted, tip, Index::ZERO),
        };
        let stopped = self.trouble.stops();
        let role = if stopped && !matches!(role, Role::Leader { .. }) { Role::Faulted } else { role };
        Status {
            role,
            leader: self.following.leader(),
            captured: self.capture.captured().0,
            tip,
            tip_hash,
            newest,
            committed,
            behind: newest.max(self.turn.heard()).0.saturating_sub(self.capture.captured().0.0),
            from_store: self.log.entries_read(),
            serving: matches!(&self.state, State::Leader(leader) if leader.snapshots.are_open()),
            snapshot: match &self.state {
                State::Leader(leader) => leader.snapshots.stored(),
                _ => self.log.tail().base(),
            },
            queued: self.clients.queued() + self.unready(),
            waiting: self.clients.waiting(),
            reads: self.clients.read().0,
            read_rounds: self.clients.read().1,
            prefixes,
            open,
            retired: entry.is_some_and(|entry| entry.last),
            fault: self.trouble.fault(),
        }
    }

    /// Client requests whose paths through the tree are being read, or that wait for the HSM.
    fn unready(&self) -> usize {
        if let State::Leader(leader) = &self.state { leader.paths.queued() } else { 0 }
    }
}
