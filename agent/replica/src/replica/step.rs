//! One event after another, and whatever can be done after each.

use super::{Replica, State};
use crate::ask;
use crate::bug::Bug;
use crate::clients::Queued;
use crate::flights::Outcome;
use crate::interface::{
    Action, Answer, CreateOutcome, Event, Millis, Order, Ordered, ReadOutcome, Settings, Ticket, Unavailable,
};
use crate::leader::Toward;
use crate::outbox::Call;
use crate::segment::SegmentName;
use crate::under_way::Lister;

/// How long a write may stay unsettled, at least. See [`crate::Storage::grace_ms`].
const SETTLE_MS: u64 = 10_000;

impl Replica {
    /// Starts a member that knows only its settings.
    #[must_use]
    pub fn new(settings: Settings, now: Millis) -> (Self, Vec<Action>) {
        let mut replica = Self::unstarted(settings, now);
        replica.advance();
        let actions = replica.end();
        (replica, actions)
    }

    /// Handles one event, and says what to do.
    pub fn step(&mut self, now: Millis, event: Event) -> Vec<Action> {
        let is_tick = matches!(event, Event::Tick);
        let is_early = is_tick && now < self.due();
        self.wake_at(now);
        if cfg!(debug_assertions) {
            self.audit.came(&event);
        }
        match event {
            Event::Tick => self.tick(),
            Event::Client { ticket, handshake_only, request, owner } => {
                self.client(handshake_only, Queued { ticket, request, owner });
            }
            Event::Order { ticket, order } => self.order(ticket, *order),
            Event::Hsm { call, reply } => {
                self.silence.ended(self.cx.now, call, reply.is_some(), &self.cx.settings.hsm_silence_ms);
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
            Event::Peer { from, message } => {
                let before = self.trouble.fault();
                self.peer(from, message);
                if cfg!(debug_assertions) {
                    self.assert_blameless(before);
                }
            }
        }
        self.advance();
        let actions = self.end();
        if cfg!(debug_assertions) && is_tick && !self.cx.bugs.any() {
            // What is over is looked at once in a step, and said one step after it is over.
            let is_over = actions.iter().any(|action| matches!(action, Action::Mended(_)));
            assert!(
                !is_early || is_over || actions.is_empty(),
                "there was something to do before the deadline: {actions:?}"
            );
            assert!(self.due() > self.cx.now, "what was due is not done");
        }
        actions
    }

    /// Ends the step: returns what goes out, once everything that must hold between two events has been checked.
    fn end(&mut self) -> Vec<Action> {
        for call in self.cx.out.take_asked() {
            self.silence.asked(self.cx.now, call);
        }
        let actions = self.cx.out.take();
        self.deadline = self.due();
        if cfg!(debug_assertions) {
            self.audit.went(&actions, self.log.position().0);
            self.assert_invariants(&actions);
        }
        actions
    }

    fn tick(&mut self) {
        self.clients.expire(&mut self.cx);
        let alone = self.is_alone();
        if let State::Leader(leader) = &mut self.state {
            leader.tick(&mut self.cx, &self.log);
            let alone = alone || self.cx.bugs.has(Bug::SilentHsmLeads);
            if self.silence.is_silent(self.cx.now, &self.cx.settings.hsm_silence_ms) && !alone {
                // The others do better: they begin when they hear nothing more from this one.
                self.step_down();
            } else if leader.is_stalled(&self.cx, self.turn.back_off()) {
                self.step_down();
            } else if leader.is_hsm_unheard(self.cx.now) {
                self.cx.out.ask(Call::Alive, ask::Capture(self.cx.settings.group.group, Vec::new()));
            }
        }
        if matches!(self.state, State::Witness)
            && self.turn.is_due(self.cx.now)
            && !self.trouble.rests(self.cx.now)
        {
            if self.seeks_first() {
                return;
            }
            self.stand(self.cx.now);
        }
    }

    fn client(&mut self, handshake_only: bool, queued: Queued) {
        match &mut self.state {
            State::Leader(leader) if leader.is_elected() && !leader.orders.is_ending() => {
                leader.has_client(self.cx.now);
                self.clients.arrive(&mut self.cx, handshake_only, queued);
            }
            _ => {
                self.sent_away();
                self.cx.out.answer(queued.ticket, Answer::NotLeader(self.following.leader()));
            }
        }
    }

    fn order(&mut self, ticket: Ticket, order: Order) {
        match &mut self.state {
            State::Leader(leader) if leader.is_elected() => {
                leader.has_client(self.cx.now);
                leader.orders.arrive(&mut self.cx, ticket, order);
            }
            _ => {
                if self.log.has_ended() {
                    // Operators are all that come: there are no clients any more.
                    self.sent_away();
                }
                let ordered = Ordered::NotLeader(self.following.leader());
                self.cx.out.push(Action::Ordered { ticket, ordered });
            }
        }
    }

    /// Does whatever can be done now. Twice, because some of what comes last, such as the end of a replay or of a walk, is
    /// what the first was waiting for, and nothing else may happen for a long time.
    fn advance(&mut self) {
        self.look_after_trouble();
        self.advance_once();
        self.advance_once();
    }

    fn advance_once(&mut self) {
        if let State::Starting(Some(at)) = self.state
            && at <= self.cx.now
        {
            self.state = State::Starting(None);
            self.cx.out.ask(Call::Status, ask::Status);
        }
        if matches!(self.state, State::Starting(_) | State::Faulted) {
            return;
        }
        self.settling.give_up(self.cx.now, self.too_late_ms());
        for (name, bytes) in self.settling.due(self.cx.now) {
            self.cx.out.write(name, bytes);
        }
        self.follow_log();
        let max_frame_bytes = self.cx.settings.limits.max_frame_bytes as usize;
        if let Some(entries) = self.capture.ask(self.cx.now, max_frame_bytes) {
            self.cx.out.ask(Call::Capture, ask::Capture(self.cx.settings.group.group, entries));
        }
        self.advance_candidate();
        if let State::Leader(leader) = &mut self.state {
            let mine = self.capture.statement();
            leader.commit(&mut self.cx, mine, &self.standings);
            let committed = leader.committed();
            if leader.reads.advance(&mut self.cx, committed, &self.standings) {
                self.catch_up.want_any();
            }
            if leader.advance(&mut self.cx, &mut self.clients).is_err() {
                self.lead_anew();
            }
        }
        self.yield_if_due();
        self.advance_snapshots();
        if let State::Leader(leader) = &mut self.state {
            leader.notice_work(&mut self.cx, &self.log, self.clients.waiting() > 0);
        }
    }

    fn listed(&mut self, result: Result<Vec<SegmentName>, Unavailable>) {
        match self.under_way.listed() {
            Some(Lister::End { from, known }) => self.listed_end(from, known, result),
            Some(Lister::Replay(term)) => {
                if let State::Leader(leader) = &mut self.state
                    && leader.term() == term
                    && let Some(replay) = leader.snapshots.replay()
                {
                    let names = result.ok();
                    let gets_on = names.is_some();
                    replay.listed(self.cx.now, names);
                    if gets_on {
                        leader.has_come(self.cx.now, Toward::Listed);
                    }
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
            return replay.read(self.cx.now, name, bytes);
        }
        self.catch_up.read(self.cx.now, name, bytes);
    }

    fn wrote(&mut self, name: SegmentName, outcome: CreateOutcome) {
        let lost = self.settling.wrote(self.cx.now, name, outcome);
        if lost && !matches!(self.state, State::Faulted) {
            self.restore_lost();
        }
        self.settling.clear_landed();
        let late = self.too_late_ms();
        let State::Leader(leader) = &mut self.state else { return };
        if leader.flights().wrote(self.cx.now, name, outcome) == Outcome::Lost {
            return self.step_down();
        }
        while let Some(flight) = leader.flights().pop_landed() {
            if flight.is_older_than(self.cx.now, late) {
                // The segment at its place may have been deleted since; then this one is in the store but off the log.
                return self.step_down();
            }
            leader.landed(&self.cx, &flight);
            self.following.follow((self.cx.settings.hsm, leader.term()));
            self.turn.forget_sayers();
            if let Some(last) = flight.entries.last() {
                self.log.advance(flight.object.clone(), last.clone(), flight.trees, flight.changed);
            }
            leader.push(&mut self.cx, &self.log);
            self.capture.push(flight.object.name, flight.entries, None);
        }
    }

    /// How old a write may become before the segments at its place may have been deleted.
    pub(super) fn too_late_ms(&self) -> u64 {
        (self.cx.settings.storage.grace_ms / 2).max(SETTLE_MS)
    }
}
