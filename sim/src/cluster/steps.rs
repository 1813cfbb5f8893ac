//! What happens in a cluster, one thing after another: messages arrive, replicas act on them, HSMs and the store answer.

use super::bug::HostBug;
use super::faults::Interrupt;
use super::journal::{Kind, Lane};
use super::pending::{Pending, RequestId};
use super::store::{StoreFault, StoreRequest};
use super::{CALL_TIMEOUT_MS, Cluster, TICK_MS};
use rand::RngExt;
use std::sync::Arc;
use strongroom_proto::hsm::{BatchRequest, Reply};
use strongroom_proto::ids::HsmId;
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::stored::Advance;
use strongroom_replica::{
    Action, Answer, CallId, CreateOutcome, Event as Input, Millis, Order, Ordered, Owner, ReadOutcome, Ticket,
};

impl Cluster {
    /// Gives a client's message to a member, with any number taken modulo the members; or loses it, and then there is
    /// no answer.
    pub fn submit(&mut self, member: usize, handshake_only: bool, request: BatchRequest) -> RequestId {
        let member = member % self.members.len();
        self.last_request += 1;
        let id = RequestId(self.last_request);
        if self.happens(self.faults.lose_user_message) {
            return id;
        }
        self.waiting.insert(id, member);
        if self.members[member].replica.is_none() || self.is_silent(member) {
            self.answer(id, Answer::Unavailable);
            return id;
        }
        let owner = Owner(id.0.to_be_bytes().to_vec());
        let event = Input::Client { ticket: Ticket(id.0), handshake_only, request, owner };
        let life = Some(self.members[member].life);
        self.deliver(member, life, event);
        id
    }

    /// Gives an operator's order to a member.
    pub fn order(&mut self, member: usize, order: Order) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        if self.members[member].replica.is_none() {
            self.ordered.insert(id, Ordered::NotLeader(None));
            return id;
        }
        self.ordering.insert(id, member);
        let life = Some(self.members[member].life);
        self.deliver(member, life, Input::Order { ticket: Ticket(id.0), order: Box::new(order) });
        id
    }

    /// How an order ended, once.
    pub fn take_ordered(&mut self, id: RequestId) -> Option<Ordered> {
        self.ordered.remove(&id)
    }

    fn end_order(&mut self, id: RequestId, ordered: Ordered) {
        assert!(self.ordering.remove(&id).is_some(), "{id:?} ends a second time, with {ordered:?}");
        self.ordered.insert(id, ordered);
    }

    /// The answer to a request, once.
    pub fn take_answer(&mut self, id: RequestId) -> Option<Answer> {
        self.answers.remove(&id)
    }

    pub(super) fn answer(&mut self, id: RequestId, answer: Answer) {
        assert!(self.waiting.remove(&id).is_some(), "{id:?} is answered a second time, with {answer:?}");
        self.note_answer(&format!("{id:?} {answer:?}"));
        if !self.happens(self.faults.lose_user_answer) {
            self.answers.insert(id, answer);
        }
    }

    /// Draws nothing if it cannot happen.
    pub(super) fn happens(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.rng.random_bool(chance)
    }

    fn answer_of_agent(&mut self, id: RequestId, answer: Answer) {
        let last = self.waiting.keys().next_back().filter(|_| self.bugs.has(HostBug::AnswerAnother));
        let id = last.copied().unwrap_or(id);
        if self.bugs.has(HostBug::AnswerTwice) {
            self.answer(id, answer.clone());
        }
        if !self.bugs.has(HostBug::NeverAnswer) {
            self.answer(id, answer);
        }
    }

    pub(super) fn schedule(&mut self, after: u64, pending: Pending) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), pending);
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        let Some(((at, _), pending)) = self.queue.pop_first() else {
            // Every agent is down. Time still passes.
            self.now += 1;
            return;
        };
        self.now = at;
        if !pending.is_routine() {
            self.messages += 1;
            self.interrupt();
        }
        match pending {
            Pending::Tick { member, life } => {
                if self.members[member].life == life {
                    self.schedule(TICK_MS, Pending::Tick { member, life });
                    self.deliver(member, Some(life), Input::Tick);
                    self.lie_unasked(member);
                }
            }
            Pending::ToReplica { member, life, event } => self.deliver(member, life, *event),
            Pending::ToStore { member, life, request } => self.at_store(member, life, request),
            Pending::Lands { name, bytes } => {
                self.store.now = self.now;
                let outcome = self.store.create(name, bytes);
                self.note(Lane::Store, Kind::Store, || format!("a late write of {name} lands: {outcome:?}"));
            }
            Pending::ToHsm { member, life, boot, call, request } => {
                self.hsm(member, life, boot, call, &request);
            }
        }
    }

    fn at_store(&mut self, member: usize, life: u64, request: StoreRequest) {
        let holds = match request {
            StoreRequest::Write(..) => self.faults.held_writes.contains(&member),
            StoreRequest::List(_) => self.faults.held_listings.contains(&member),
            _ => false,
        };
        if holds {
            return self.held.push(Pending::ToStore { member, life, request });
        }
        self.store_requests += 1;
        let fault = self.faults.store(&mut self.rng, self.store_requests, member);
        (self.store.now, self.store.listing_lag_ms) = (self.now, self.faults.listing_lag_ms);
        let changes = matches!(request, StoreRequest::Advance(_) | StoreRequest::Collect(_));
        if let (StoreFault::Late, StoreRequest::Write(name, bytes)) = (fault, &request) {
            let (name, bytes) = (*name, Arc::clone(bytes));
            let after = self.rng.random_range(100..20_000);
            self.schedule(after, Pending::Lands { name, bytes });
            // In half of the cases its writer does not come back to write the same again before it lands.
            if self.faults.late_store > 0.0 && self.rng.random() && self.faults.without_store.insert(member) {
                let text = || "the store cannot be reached, with a write on its way to it".into();
                self.note(Lane::Member(member), Kind::Trouble, text);
            }
        }
        let asked = self.journal.is_some().then(|| request.clone());
        let mut event = Box::new(self.store.handle(&mut self.rng, (member, life), request, fault));
        if let (Some(bad), Input::Read { result: ReadOutcome::Found(bytes), .. }) =
            (self.faults.bad_reads.get(&member), &mut *event)
        {
            bad.spoil(bytes);
        }
        if let Some(request) = asked {
            self.note_store(member, &request, &event);
        }
        if changes {
            self.check_stored();
        }
        let delay = self.faults.store_delay(&mut self.rng);
        self.schedule(delay, Pending::ToReplica { member, life: Some(life), event });
    }

    /// Lets through what [`super::Faults::held_writes`] and [`super::Faults::held_listings`] have held up so far;
    /// returns how much that is.
    pub fn let_through(&mut self) -> usize {
        let held = std::mem::take(&mut self.held);
        let many = held.len();
        held.into_iter().for_each(|pending| self.schedule(0, pending));
        many
    }

    /// The segments that [`super::Faults::held_writes`] holds up.
    #[must_use]
    pub fn held_segments(&self) -> Vec<Vec<u8>> {
        let bytes = self.held.iter().filter_map(|pending| match pending {
            Pending::ToStore { request: StoreRequest::Write(_, bytes), .. } => Some(bytes.to_vec()),
            _ => None,
        });
        bytes.collect()
    }

    fn interrupt(&mut self) {
        let due = self.faults.interrupt.take_if(|(at, _)| *at <= self.messages);
        match due {
            None => {}
            Some((_, Interrupt::RestartHsm(member))) => self.restart_hsm(member),
            Some((_, Interrupt::RestartAgent(member))) => self.restart_agent(member),
        }
    }

    /// Runs until `done` or until `limit_ms` have passed; returns whether it is done.
    pub fn run_until(&mut self, limit_ms: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit_ms;
        while self.now < end {
            if done(self) {
                return true;
            }
            self.step();
        }
        done(self)
    }

    /// Runs for some time.
    pub fn run_for(&mut self, ms: u64) {
        self.run_until(ms, |_| false);
    }

    pub(super) fn deliver(&mut self, member: usize, life: Option<u64>, event: Input) {
        let at = &mut self.members[member];
        if life.is_some_and(|life| life != at.life) {
            return;
        }
        let clock = Millis(self.now + at.ahead_ms);
        let Some(replica) = &mut at.replica else { return };
        let actions = replica.step(clock, event);
        self.note_role(member);
        self.perform(member, actions);
    }

    pub(super) fn perform(&mut self, member: usize, actions: Vec<Action>) {
        let life = self.members[member].life;
        for action in actions {
            match action {
                Action::Hsm { call, request } => {
                    let request = request.bytes().to_vec();
                    let longest = self.config.limits.max_frame_bytes as usize;
                    assert!(request.len() <= longest, "a request fits in a frame");
                    let mut host = self.members[member].host.borrow_mut();
                    let boot = host.boot;
                    let at = (self.now + self.rng.random_range(0..=1)).max(host.link_until);
                    let at = at + self.faults.slow_hsm.get(&member).unwrap_or(&0);
                    host.link_until = at;
                    drop(host);
                    self.schedule(at - self.now, Pending::ToHsm { member, life, boot, call, request });
                }
                Action::Write { name, bytes } => {
                    let bytes: Arc<[u8]> = Arc::from(&bytes[..]);
                    if self.lie_early(member, &bytes) {
                        self.ask_store(member, life, StoreRequest::Write(name, bytes));
                    } else {
                        let event = Box::new(Input::Wrote { name, outcome: CreateOutcome::Unknown });
                        self.schedule(1, Pending::ToReplica { member, life: Some(life), event });
                    }
                }
                Action::List { from } => self.ask_store(member, life, StoreRequest::List(from)),
                Action::Read { name } => self.ask_store(member, life, StoreRequest::Read(name)),
                Action::OpenTree => self.ask_store(member, life, StoreRequest::OpenTree),
                Action::CloseTree => self.store.tree.close((member, life)),
                Action::ReadSnapshot => self.ask_store(member, life, StoreRequest::ReadSnapshot),
                Action::Load { load, records } => {
                    self.ask_store(member, life, StoreRequest::Load(load, records))
                }
                Action::Advance(advance) => self.advance_tree(member, life, advance),
                Action::Collect { before } => self.ask_store(member, life, StoreRequest::Collect(before)),
                Action::Send { to, message } => self.send(member, to, &message),
                Action::Answer { ticket, answer } => self.answer_of_agent(RequestId(ticket.0), answer),
                Action::Ordered { ticket, ordered } => self.end_order(RequestId(ticket.0), ordered),
                Action::TreeDamaged(damage) => self.tree_damage.push((member, damage)),
                Action::Fault(fault) => self.members[member].fault = Some(fault),
                Action::Mended(_) => self.members[member].fault = None,
            }
        }
    }

    fn advance_tree(&mut self, member: usize, life: u64, mut advance: Box<Advance>) {
        if self.bugs.has(HostBug::CollectEarly) {
            self.store.collect(advance.snapshot.entry.index, |_| true);
            self.check_stored();
        }
        if self.bugs.has(HostBug::SnapshotUnproven) {
            advance.snapshot.committed.hsm = HsmId([0; 16]);
        }
        self.ask_store(member, life, StoreRequest::Advance(advance));
    }

    fn ask_store(&mut self, member: usize, life: u64, request: StoreRequest) {
        let delay = self.faults.store_delay(&mut self.rng);
        self.schedule(delay, Pending::ToStore { member, life, request });
    }

    fn send(&mut self, from: usize, to: HsmId, message: &PeerMessage) {
        if matches!(message, PeerMessage::Heartbeat { .. }) {
            if self.bugs.has(HostBug::SilentLeader) {
                return;
            }
            self.heartbeats += 1;
        }
        let to = self.member_of(&to);
        let bytes = message.to_bytes();
        let message = PeerMessage::from_bytes(&bytes).expect("a message reads as it was written");
        if let Some(message) = self.lie(from, message) {
            self.send_as_is(from, to, &message);
        }
    }

    pub(super) fn send_as_is(&mut self, from: usize, to: usize, message: &PeerMessage) {
        let mut delays = self.faults.deliveries(&mut self.rng, from, to);
        if matches!(message, PeerMessage::Push { .. }) && self.faults.keeps_order() {
            // Agents send segments in one stream, which a fault breaks and nothing else.
            let last = self.streams.entry((from, to)).or_default();
            for delay in &mut delays {
                *last = (*last).max(self.now + *delay);
                *delay = *last - self.now;
            }
        }
        self.note_message(from, to, message, &delays);
        for delay in delays {
            let event = Box::new(Input::Peer { from: self.members[from].hsm, message: message.clone() });
            self.schedule(delay, Pending::ToReplica { member: to, life: None, event });
        }
    }

    fn hsm(&mut self, member: usize, life: u64, boot: u64, call: CallId, request: &[u8]) {
        self.notice_restart(member);
        let mut reply = None;
        let silent = self.faults.silent_hsm.contains(&member);
        if boot == self.members[member].boot && !silent && !self.faults.without_hsm.contains(&member) {
            let bytes = self.members[member].host.borrow_mut().device.handle(request);
            assert!(bytes.len() <= self.config.limits.max_frame_bytes as usize, "a reply fits in a frame");
            let decoded: Reply = minicbor::decode(&bytes).expect("every reply decodes");
            self.check_exchange(member, request, &bytes, &decoded);
            self.hsm_replies += 1;
            reply = Some(decoded).filter(|_| !self.faults.loses_reply(&mut self.rng, self.hsm_replies));
            if self.members[member].host.borrow().device.is_dead() {
                reply = None;
                self.note_power_cut(member);
                self.restart_hsm(member);
            }
        }
        let event = Box::new(Input::Hsm { call, reply });
        let takes = if silent { CALL_TIMEOUT_MS } else { self.rng.random_range(0..=2) };
        let mut host = self.members[member].host.borrow_mut();
        let at = (self.now + takes).max(host.reply_link_until);
        host.reply_link_until = at;
        drop(host);
        self.schedule(at - self.now, Pending::ToReplica { member, life: Some(life), event });
    }
}
