//! The replica: everything that an agent decides about its group.
//!
//! It does no I/O and has no clock or randomness of its own: [`Event`]s go in, [`Action`]s come out, and the same
//! events give the same actions. It holds nothing that must survive: the HSM keeps what was captured, the store the
//! log. Nothing here is trusted for the guess limit; a mistake here costs availability.
//!
//! Kept here: a segment's name is written with one content only, and no leadership begins before the writes of the one
//! before are settled; nothing is captured that is not in the store with all before it, and only to the end of a
//! segment; every client request is answered exactly once; a client hears a reply only from the HSM. What of this, and of what the
//! modules keep, can be seen between two events is asserted there: see `invariants.rs`.

// Time, order and randomness come in with events and settings, and nothing goes out but actions: see clippy.toml.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![forbid(unsafe_code)]

mod ahead;
pub mod ask;
mod bug;
mod capture;
mod catch_up;
mod clients;
mod election;
mod fault;
mod flights;
mod interface;
mod invariants;
mod leader;
mod log;
mod outbox;
mod paths;
pub mod peer;
mod peers;
mod replay;
mod replies;
pub mod segment;
mod settling;
mod silence;
mod standing;
mod storage;
pub mod stored;
mod tracking;
mod trees;
mod turn;
mod under_way;

pub use bug::Bug;
pub use interface::{
    Action, Answer, CallId, CreateOutcome, Damage, Event, Fault, LoadId, Millis, ReadOutcome, Role, Settings,
    Status, Storage, Ticket, Unavailable,
};

use crate::segment::{Segment, SegmentName};
use ahead::Ahead;
use bug::Bugs;
use capture::Capture;
use catch_up::{CatchUp, Next};
use clients::{Clients, Queued};
use election::Candidate;
use fault::{Rereads, Trouble};
use flights::Outcome;
use leader::Leader;
use log::{Log, Object, Origin};
use outbox::{Call, Outbox};
use peers::Following;
use settling::Settling;
use silence::Silence;
use standing::Standings;
use strongroom_proto::hsm::{BatchRequest, PrefixTree};
use strongroom_proto::ids::{EntryHash, HsmId, Index};
use tracking::Seek;
use turn::Turn;
use under_way::{Lister, UnderWay, Why};

/// How long a write may stay unsettled, at least. See [`Storage::grace_ms`].
const SETTLE_MS: u64 = 10_000;
/// How long to leave an HSM alone that did not say what it has captured.
const STATUS_RETRY_MS: u64 = 200;

/// What this member is in its group.
enum State {
    /// It does not know what its HSM has captured. Asks at the given time, if not asked already.
    Starting(Option<Millis>),
    Witness,
    Candidate(Candidate),
    Leader(Box<Leader>),
    /// It has stopped for now.
    Faulted,
}

/// A member's agent, as a state machine.
pub struct Replica {
    settings: Settings,
    now: Millis,
    out: Outbox,
    /// Whether it leads, and who does as far as it knows.
    state: State,
    leader: Option<HsmId>,
    turn: Turn,
    /// The log, and the way to its end.
    log: Log,
    capture: Capture,
    catch_up: CatchUp,
    /// What was pushed before its turn.
    ahead: Ahead,
    /// Looking for the captured entry in the log.
    seek: Option<Seek>,
    /// How often in a row the store lacked what the HSM has captured.
    fruitless: u32,
    /// How many entries were read from the store so far.
    from_store: u64,
    settling: Settling,
    under_way: UnderWay,
    /// How often segments did not verify: on the way to the end of the log, and where a leader reads from the stored
    /// tree.
    rereads: Rereads,
    rereads_of_leader: Rereads,
    /// What is wrong, if something is.
    trouble: Option<Trouble>,
    clients: Clients,
    /// What is known of the other members' agents.
    standings: Standings,
    /// What becomes of clients who are sent to the leader.
    following: Following,
    /// How long the HSM has not answered.
    silence: Silence,
    bugs: Bugs,
}

impl Replica {
    /// Starts a member, knowing nothing but its settings.
    #[must_use]
    pub fn new(settings: Settings, now: Millis) -> (Self, Vec<Action>) {
        let members = &settings.group.members;
        let others: Vec<HsmId> = members.iter().copied().filter(|member| *member != settings.hsm).collect();
        let mut replica = Self {
            now,
            out: Outbox::default(),
            state: State::Starting(Some(now)),
            leader: None,
            turn: Turn::new(now, settings.seed),
            log: Log::new(settings.realm, settings.group.group),
            capture: Capture::new((Index::ZERO, EntryHash::ZERO)),
            catch_up: CatchUp::default(),
            ahead: Ahead::default(),
            seek: None,
            fruitless: 0,
            from_store: 0,
            settling: Settling::default(),
            under_way: UnderWay::default(),
            rereads: Rereads::default(),
            rereads_of_leader: Rereads::default(),
            trouble: None,
            clients: Clients::default(),
            standings: Standings::new(others),
            following: Following::default(),
            silence: Silence::default(),
            bugs: Bugs::default(),
            settings,
        };
        replica.advance();
        let actions = replica.take_out();
        (replica, actions)
    }

    /// Takes one event, and says what to do.
    pub fn step(&mut self, now: Millis, event: Event) -> Vec<Action> {
        self.wake_at(now);
        match event {
            Event::Tick => self.tick(),
            Event::Client { ticket, handshake_only, request } => self.client(ticket, handshake_only, request),
            Event::Hsm { call, reply } => {
                self.silence.ended(self.now, call, reply.is_some(), &self.settings.hsm_silence_ms);
                self.hsm(call, reply);
            }
            Event::Wrote { name, outcome } => self.wrote(name, outcome),
            Event::Listed { result } => self.listed(result),
            Event::TreeOpened { result } => self.tree_opened(result),
            Event::SnapshotRead { result } => self.snapshot_read(result),
            Event::Loaded { load, result } => self.loaded(load, result),
            Event::Advanced { result } => self.advanced(result),
            Event::Collected { .. } => self.under_way.collected(),
            Event::Read { name, result } => self.read(name, result),
            Event::Peer { from, message } => self.peer(from, message),
        }
        self.advance();
        if cfg!(debug_assertions) {
            self.assert_invariants();
        }
        self.take_out()
    }

    fn take_out(&mut self) -> Vec<Action> {
        for call in self.out.take_asked() {
            self.silence.asked(self.now, call);
        }
        self.out.take()
    }

    /// Leaves one rule out, for a test that must notice.
    #[cfg(feature = "planted-bugs")]
    pub const fn plant(&mut self, bug: Bug) {
        self.bugs.plant(bug);
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
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
        let stopped = self.trouble.as_ref().is_some_and(Trouble::stops);
        let role = if stopped && !matches!(role, Role::Leader { .. }) { Role::Faulted } else { role };
        Status {
            role,
            leader: self.leader,
            captured: self.capture.captured().0,
            tip,
            tip_hash,
            newest,
            committed,
            behind: newest.max(self.turn.heard()).0.saturating_sub(self.capture.captured().0.0),
            from_store: self.from_store,
            serving: matches!(&self.state, State::Leader(leader) if leader.snapshots.are_open()),
            snapshot: match &self.state {
                State::Leader(leader) => leader.snapshots.stored(),
                _ => self.log.tail().base(),
            },
            queued: self.clients.queued() + self.unready(),
            waiting: self.clients.waiting(),
            prefixes: self.log.trees().prefixes().collect(),
            fault: self.trouble.as_ref().map(|trouble| trouble.fault),
        }
    }

    /// Client requests whose paths through the tree are being read, or that wait for the HSM.
    fn unready(&self) -> usize {
        if let State::Leader(leader) = &self.state { leader.paths.queued() } else { 0 }
    }

    fn tick(&mut self) {
        self.clients.expire(self.now, &mut self.out);
        if let State::Leader(leader) = &mut self.state {
            leader.tick(self.now, &self.settings, &self.log, &mut self.out);
            let alone = self.settings.group.members.len() == 1 || self.bugs.has(Bug::SilentHsmLeads);
            if self.silence.is_silent(self.now, &self.settings.hsm_silence_ms) && !alone {
                // The others do better: they begin when they hear no more of this one.
                self.step_down();
            } else if leader.is_stalled(self.now, self.turn.back_off(), &self.settings) {
                self.step_down();
            } else if leader.is_hsm_unheard(self.now) {
                self.out.ask(Call::Alive, ask::Capture(self.settings.group.group, Vec::new()));
            }
        }
        if matches!(self.state, State::Witness) && self.turn.is_due(self.now) && !self.rests() {
            if self.seeks_first() {
                return;
            }
            self.leader = None;
            self.state = State::Candidate(Candidate::new(self.now));
        }
    }

    fn client(&mut self, ticket: Ticket, handshake_only: bool, request: BatchRequest) {
        match &self.state {
            State::Leader(leader) if leader.is_elected() => {
                let queued = Queued { ticket, request };
                self.clients.arrive(self.now, &mut self.out, handshake_only, queued);
            }
            _ => {
                self.sent_away();
                self.out.answer(ticket, Answer::NotLeader(self.leader));
            }
        }
    }

    /// Does whatever can be done now.
    fn advance(&mut self) {
        self.look_after_trouble();
        if let State::Starting(Some(at)) = self.state
            && at <= self.now
        {
            self.state = State::Starting(None);
            self.out.ask(Call::Status, ask::Status);
        }
        if matches!(self.state, State::Starting(_) | State::Faulted) {
            return;
        }
        self.settling.give_up(self.now, self.too_late_ms());
        for (name, bytes) in self.settling.due(self.now) {
            self.out.write(name, bytes);
        }
        self.follow_log();
        let max_frame_bytes = self.settings.limits.max_frame_bytes as usize;
        if let Some(entries) = self.capture.ask(self.now, max_frame_bytes) {
            self.out.ask(Call::Capture, ask::Capture(self.settings.group.group, entries));
        }
        self.advance_candidate();
        if let State::Leader(leader) = &mut self.state {
            let mine = self.capture.statement();
            leader.commit(self.now, &self.settings, mine, &self.standings, &mut self.out);
            if leader.advance(self.now, &self.settings, &mut self.clients, &mut self.out).is_err() {
                self.lead_anew();
            }
        }
        self.advance_snapshots();
    }

    /// Reads on in the store, as far as it can.
    fn follow_log(&mut self) {
        loop {
            self.take_ahead();
            if matches!(self.state, State::Faulted) {
                return;
            }
            // Before the captured entry is found, there is nothing to go on from.
            let next = if self.seek.is_none() { self.log.next_name() } else { None };
            match self.catch_up.next(self.now, next, self.under_way.may_list()) {
                Next::Wait => return,
                Next::List => {
                    let from = self.list_from();
                    self.under_way.list(Lister::End { from, known: self.log.tip().map(|tip| tip.segment) });
                    self.out.push(Action::List { from });
                }
                Next::Beyond => return self.ask_snapshot(Why::Beyond),
                Next::Read(names) => names.into_iter().for_each(|name| self.out.push(Action::Read { name })),
                Next::Apply(object, _) if self.is_own_flight(object) => {}
                Next::Apply(object, bytes) => {
                    if matches!(self.state, State::Leader(_)) {
                        // Somebody else has extended the log.
                        self.step_down();
                    }
                    let before = self.log.position().0;
                    let damaged = |(index, damage)| Fault::Damaged { object, index, damage };
                    let segment = Segment::decode(&bytes);
                    let segment = segment.map_err(|bad| damaged((object.first, Damage::Segment(bad))));
                    let taken = segment.and_then(|segment| self.take(object, &segment, &bytes, None));
                    match taken {
                        Ok(()) => {
                            self.from_store += self.log.position().0.0.saturating_sub(before.0);
                            self.standings.shown(self.log.position().0);
                        }
                        Err(fault) => return self.unverified(object, fault),
                    }
                }
                Next::End => {
                    if self.capture.captured().0 > self.log.position().0 {
                        return self.start_over();
                    }
                }
            }
            if matches!(self.state, State::Faulted) {
                return;
            }
        }
    }

    fn is_own_flight(&mut self, name: SegmentName) -> bool {
        if let State::Leader(leader) = &mut self.state { leader.flights().contains(name) } else { false }
    }

    /// Takes a segment that is in the store with all before it, if it continues the log; or one of which its maker's
    /// agent says so, with the paths that it sent. Otherwise changes nothing.
    fn take(
        &mut self,
        name: SegmentName,
        segment: &Segment,
        bytes: &[u8],
        pushed: Option<(HsmId, Vec<PrefixTree>)>,
    ) -> Result<(), Fault> {
        let damaged = |(index, damage)| Fault::Damaged { object: name, index, damage };
        if segment.name() != name {
            return Err(damaged((name.first, Damage::Chain)));
        }
        let (captured, hash) = self.capture.captured();
        let mut here = segment.entries().iter().filter(|e| e.entry.index == captured);
        let forked = here.any(|e| e.entry.hash() != hash);
        let origin = if pushed.is_some() { Origin::Pushed { whole: false } } else { Origin::Store };
        let (by, paths) = pushed.unzip();
        let paths = paths.unwrap_or_default().into();
        let object = Object { name, prev: segment.first().prev, bytes: bytes.into(), paths, origin };
        if forked {
            return Err(Fault::Forked { index: captured, hash });
        }
        self.log.apply(segment, object).map_err(damaged)?;
        self.capture.push(name, segment.entries().iter().map(|e| e.entry.clone()).collect(), by);
        Ok(())
    }

    fn listed(&mut self, result: Result<Vec<SegmentName>, Unavailable>) {
        match self.under_way.listed() {
            Some(Lister::End { from, known }) => self.listed_end(from, known, result),
            Some(Lister::Replay(term)) => {
                if let State::Leader(leader) = &mut self.state
                    && leader.term() == term
                    && let Some(replay) = leader.snapshots.replay()
                {
                    replay.listed(self.now, result.ok());
                }
            }
            None => {}
        }
    }

    fn read(&mut self, name: SegmentName, result: ReadOutcome) {
        if self.sought(name, &result) {
            return;
        }
        let bytes = match result {
            ReadOutcome::Found(bytes) => Some(bytes),
            ReadOutcome::Absent | ReadOutcome::Unavailable => None,
        };
        if let State::Leader(leader) = &mut self.state
            && let Some(replay) = leader.snapshots.replay()
            && replay.wants(name)
        {
            return replay.read(self.now, name, bytes);
        }
        self.catch_up.read(self.now, name, bytes);
    }

    fn wrote(&mut self, name: SegmentName, outcome: CreateOutcome) {
        let lost = self.settling.wrote(self.now, name, outcome);
        if lost && !matches!(self.state, State::Faulted) {
            self.restore_lost();
        }
        self.settling.clear_landed();
        let late = self.too_late_ms();
        let State::Leader(leader) = &mut self.state else { return };
        if leader.flights().wrote(self.now, name, outcome) == Outcome::Lost {
            return self.step_down();
        }
        while let Some(flight) = leader.flights().pop_landed() {
            if flight.is_older_than(self.now, late) {
                // Its place may have been deleted since, and then it is in the store and off the log.
                return self.step_down();
            }
            leader.landed(self.now, &self.settings, &flight, &mut self.out);
            self.leader = Some(self.settings.hsm);
            if let Some(last) = flight.entries.last() {
                self.log.advance(flight.object.clone(), last.clone(), flight.trees, flight.changed);
            }
            self.capture.push(flight.object.name, flight.entries, None);
        }
    }

    /// How old a write may be before the segments at its place may have been deleted.
    fn too_late_ms(&self) -> u64 {
        (self.settings.storage.grace_ms / 2).max(SETTLE_MS)
    }
}
