//! A small cluster in one process, from one seed: real replicas, real cores, a simulated store, network and clock.
//!
//! No threads, no sleeps, no clock: a queue of what happens when, with delays drawn from the seed, so that a run is
//! the same every time. What always holds is checked as it happens: each request is answered exactly once; no two
//! HSMs ever state different entries at one index; whatever is committed, a majority has captured; an HSM that
//! restarts has not forgotten what it stated; the stored tree is that of a committed entry, and the store holds the
//! whole log from there; all that HSMs do, the model allows ([`crate::model`]); and at the end, what was stated and
//! released is on the one chain ([`Cluster::check_log`]).
//! That each check can fail, `tests/cluster_bugs.rs` shows.

mod bug;
mod check;
mod device;
mod faults;
mod journal;
mod lies;
mod realm;
mod store;
mod tree;
mod user;

pub use bug::HostBug;
pub use device::Device;
pub use faults::{BadRead, Faults, Interrupt};
pub(crate) use journal::request_name;
pub use journal::{Event, Journal, Kind, Lane};
pub use lies::Lie;
pub use store::{Store, StoreCalls, StoreFault};
pub use tree::StoredTree;
pub(crate) use user::registration;
pub use user::{User, Wish};

use crate::model::Trace;
use bug::HostBugs;
use check::Said;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::StoreRequest;
#[cfg(feature = "planted-bugs")]
use strongroom_hsm::Bug;
use strongroom_hsm::Config;
use strongroom_proto::hsm::{BatchRequest, RealmStatus, Reply};
use strongroom_proto::ids::{EntryHash, HsmId, Index};
use strongroom_proto::statement::GroupStatement;
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::segment::SegmentName;
use strongroom_replica::stored::{Advance, TreeDamage};
use strongroom_replica::{
    Action, Answer, CallId, CreateOutcome, Event as Input, Fault, Millis, ReadOutcome, Replica, Role,
    Settings, Status, Storage, Ticket,
};

/// How often a replica is told that time has passed.
const TICK_MS: u64 = 10;

/// One client request, unique in a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u64);

/// Something that is going to happen.
enum Pending {
    Tick {
        member: usize,
        life: u64,
    },
    ToHsm {
        member: usize,
        life: u64,
        boot: u64,
        call: CallId,
        request: Vec<u8>,
    },
    ToStore {
        member: usize,
        life: u64,
        request: StoreRequest,
    },
    /// A write that nobody waits for any more is carried out.
    Lands {
        name: SegmentName,
        bytes: Arc<[u8]>,
    },
    /// To one life of a replica, or with none to whichever lives.
    ToReplica {
        member: usize,
        life: Option<u64>,
        event: Box<Input>,
    },
}

impl Pending {
    /// Whether it comes again and again, whatever else happens.
    fn is_routine(&self) -> bool {
        match self {
            Self::Tick { .. } => true,
            Self::ToReplica { event, .. } => {
                matches!(**event, Input::Peer { message: PeerMessage::Heartbeat { .. }, .. })
            }
            Self::ToHsm { .. } | Self::ToStore { .. } | Self::Lands { .. } => false,
        }
    }
}

/// How long an agent's link waits for a reply.
const CALL_TIMEOUT_MS: u64 = 2_000;

/// A replica without this rule.
#[cfg(feature = "planted-bugs")]
const fn planted(mut replica: Replica, bug: Option<strongroom_replica::Bug>) -> Replica {
    if let Some(bug) = bug {
        replica.plant(bug);
    }
    replica
}

/// One agent with its HSM.
struct Member {
    hsm: HsmId,
    device: Device,
    /// Counts the starts of the HSM: what was sent to an earlier one is lost.
    boot: u64,
    replica: Option<Replica>,
    /// Counts the starts of the agent: what was meant for an earlier one is dropped.
    life: u64,
    /// When the last request on the HSM link arrives; a later one arrives later.
    link_until: u64,
    reply_link_until: u64,
    /// By how much its agent's clock is ahead.
    ahead_ms: u64,
    fault: Option<Fault>,
}

/// The cluster.
pub struct Cluster {
    /// What goes wrong from now on.
    pub faults: Faults,
    /// The objects.
    pub store: Store,
    config: Config,
    storage: Storage,
    rng: StdRng,
    now: u64,
    queue: BTreeMap<(u64, u64), Pending>,
    sequence: u64,
    /// How many messages have arrived so far, ticks and heartbeats not counted.
    messages: u64,
    hsm_replies: u64,
    members: Vec<Member>,
    realm: RealmStatus,
    group: GroupStatement,
    /// Requests without an answer, and the member that each is with.
    waiting: BTreeMap<RequestId, usize>,
    answers: BTreeMap<RequestId, Answer>,
    last_request: u64,
    said: Said,
    /// What agents said of the stored tree, oldest first.
    tree_damage: Vec<(usize, TreeDamage)>,
    /// Requests to write that are held up on their way to the store.
    held: Vec<Pending>,
    /// How many requests have reached the store, or should have.
    store_requests: u64,
    bugs: HostBugs,
    #[cfg(feature = "planted-bugs")]
    bug_of_agents: Option<strongroom_replica::Bug>,
    /// What the HSMs do, held against the model.
    trace: Trace,
    journal: Option<Journal>,
}

impl Cluster {
    /// A cluster of `members` that have a realm and a group, whose agents have just started.
    ///
    /// # Panics
    /// If an HSM refuses to found them.
    #[must_use]
    pub fn new(seed: u64, members: usize) -> Self {
        Self::with_config(seed, members, Config::software(), Storage::default())
    }

    /// [`Self::new`] with agents that take snapshots as `storage` says.
    ///
    /// # Panics
    /// If an HSM refuses to found them.
    #[must_use]
    pub fn with_storage(seed: u64, members: usize, storage: Storage) -> Self {
        Self::with_config(seed, members, Config::software(), storage)
    }

    /// [`Self::with_storage`] with HSMs built as `config` says.
    ///
    /// # Panics
    /// If an HSM refuses to found them.
    #[must_use]
    pub fn with_config(seed: u64, members: usize, config: Config, storage: Storage) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut devices: Vec<Device> =
            (0..members).map(|_| Device::new(rng.random(), config.clone())).collect();
        let (realm, group) = realm::found(&mut devices);
        let member = |mut device: Device| Member {
            hsm: device.status().hsm,
            device,
            boot: 0,
            replica: None,
            life: 0,
            link_until: 0,
            reply_link_until: 0,
            ahead_ms: 0,
            fault: None,
        };
        let mut cluster = Self {
            faults: Faults::default(),
            store: Store::default(),
            config,
            storage,
            rng,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            messages: 0,
            hsm_replies: 0,
            members: devices.into_iter().map(member).collect(),
            realm,
            trace: Trace::new(&group),
            group,
            waiting: BTreeMap::new(),
            answers: BTreeMap::new(),
            last_request: 0,
            said: Said::default(),
            tree_damage: Vec::new(),
            held: Vec::new(),
            store_requests: 0,
            bugs: HostBugs::default(),
            #[cfg(feature = "planted-bugs")]
            bug_of_agents: None,
            journal: None,
        };
        for member in 0..members {
            cluster.start_agent(member);
        }
        cluster
    }

    /// The realm.
    #[must_use]
    pub const fn realm(&self) -> &RealmStatus {
        &self.realm
    }

    /// The group.
    #[must_use]
    pub const fn group(&self) -> &GroupStatement {
        &self.group
    }

    /// How many members there are.
    #[must_use]
    pub const fn members(&self) -> usize {
        self.members.len()
    }

    /// Milliseconds since the start.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// How many messages have arrived so far anywhere, ticks and heartbeats not counted.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// How many replies the HSMs have given so far.
    #[must_use]
    pub const fn hsm_replies(&self) -> u64 {
        self.hsm_replies
    }

    /// What a member's agent is doing; `None` while it is down.
    #[must_use]
    pub fn status(&self, member: usize) -> Option<Status> {
        self.members[member].replica.as_ref().map(Replica::status)
    }

    /// The member that leads with the newest log, if one does.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leads = |member: &usize| {
            let status = self.status(*member)?;
            matches!(status.role, Role::Leader { .. }).then_some((status.tip, *member))
        };
        (0..self.members.len()).filter_map(|member| leads(&member)).max().map(|(_, member)| member)
    }

    /// Why a member's agent has stopped, or leaves leading to others, if it does.
    #[must_use]
    pub fn fault(&self, member: usize) -> Option<Fault> {
        self.members[member].fault
    }

    /// What agents said of the stored tree, oldest first, and which members they are beside.
    #[must_use]
    pub fn tree_damage(&self) -> &[(usize, TreeDamage)] {
        &self.tree_damage
    }

    /// Every entry whose replies an HSM has released.
    #[must_use]
    pub const fn released(&self) -> &BTreeSet<EntryHash> {
        &self.said.released
    }

    /// How many requests have reached the store so far, or were lost on the way.
    #[must_use]
    pub const fn store_requests(&self) -> u64 {
        self.store_requests
    }

    /// Starts an agent that knows nothing, unless it runs.
    pub fn start_agent(&mut self, member: usize) {
        let settings = Settings {
            hsm: self.members[member].hsm,
            realm: self.realm.realm,
            group: self.group.clone(),
            limits: self.config.limits,
            election_timeout_ms: 150..=300,
            heartbeat_ms: 50,
            hsm_silence_ms: 300..=CALL_TIMEOUT_MS,
            storage: self.storage,
            seed: self.rng.random(),
        };
        let at = &mut self.members[member];
        if at.replica.is_some() {
            return;
        }
        at.life += 1;
        let life = at.life;
        let (replica, actions) = Replica::new(settings, Millis(self.now + at.ahead_ms));
        #[cfg(feature = "planted-bugs")]
        let replica = planted(replica, self.bug_of_agents);
        at.replica = Some(replica);
        at.fault = None;
        self.note(Lane::Member(member), Kind::AgentUp, || "the agent starts".into());
        self.note_role(member);
        self.perform(member, actions);
        self.schedule(TICK_MS, Pending::Tick { member, life });
    }

    /// Ends an agent without warning. Its clients' connections break; what it sent is still on its way.
    pub fn crash_agent(&mut self, member: usize) {
        if self.members[member].replica.take().is_some() {
            self.note(Lane::Member(member), Kind::AgentDown, || "the agent ends without warning".into());
            self.note_role(member);
        }
        self.members[member].life += 1;
        let broken: Vec<RequestId> =
            self.waiting.iter().filter(|(_, at)| **at == member).map(|(id, _)| *id).collect();
        for id in broken {
            self.answer(id, Answer::Unavailable);
        }
    }

    /// Ends an agent and starts it again at once.
    pub fn restart_agent(&mut self, member: usize) {
        self.crash_agent(member);
        self.start_agent(member);
    }

    /// An HSM loses its RAM and starts again; requests on the way to it are lost.
    ///
    /// # Panics
    /// If it has forgotten what it stated.
    pub fn restart_hsm(&mut self, member: usize) {
        self.members[member].device.restart();
        self.restarted(member);
    }

    /// The same, and starting loses power when so many granules of NVRAM are written, and is done again.
    pub fn restart_hsm_twice(&mut self, member: usize, granules: u32) {
        if self.members[member].device.restart_twice(granules) {
            self.note(Lane::Member(member), Kind::PowerCut, || "power is lost in a start".into());
        }
        self.restarted(member);
    }

    fn restarted(&mut self, member: usize) {
        let at = &mut self.members[member];
        at.boot += 1;
        let status = at.device.status();
        let group = status.groups.iter().find(|of| of.statement == self.group);
        let captured = group.map_or(Index::ZERO, |of| of.captured_index);
        let hash = group.map_or(EntryHash::ZERO, |of| of.captured_hash);
        self.check_restarted(&status.hsm, captured);
        self.trace.restarted(&status.hsm, hash).unwrap_or_else(|departure| panic!("{departure}"));
        let text = || format!("the HSM loses its RAM; its NVRAM holds entry {captured}");
        self.note(Lane::Member(member), Kind::HsmRestart, text);
    }

    /// An HSM loses power when so many more granules of its NVRAM are written, and then starts again.
    pub fn cut_power_after(&mut self, member: usize, granules: u32) {
        self.members[member].device.cut_power_after(granules);
    }

    /// Takes [`Self::cut_power_after`] back, unless the power is gone already.
    pub fn spare_power(&mut self, member: usize) {
        self.members[member].device.spare_power();
    }

    /// The clock of a member's agent jumps forward.
    pub fn jump_clock(&mut self, member: usize, ms: u64) {
        self.members[member].ahead_ms += ms;
        self.note(Lane::Member(member), Kind::Clock, || format!("the clock jumps forward by {ms} ms"));
    }

    /// What the HSMs did so far, held against the model.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Every agent ends and every HSM loses its RAM, at once. Nothing starts again by itself.
    ///
    /// # Panics
    /// If an HSM has forgotten what it stated.
    pub fn crash_all(&mut self) {
        for member in 0..self.members.len() {
            self.crash_agent(member);
            self.restart_hsm(member);
        }
    }

    /// Every write to an HSM's NVRAM fails until it restarts.
    pub fn fail_nvram(&mut self, member: usize) {
        self.members[member].device.fail_nvram();
    }

    /// Leaves one rule of every HSM out, for a test that must notice.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: Bug) {
        self.members.iter_mut().for_each(|member| member.device.plant(bug));
    }

    /// Leaves one rule of every agent out, for a test that must notice.
    #[cfg(feature = "planted-bugs")]
    pub fn plant_in_agents(&mut self, bug: strongroom_replica::Bug) {
        self.bug_of_agents = Some(bug);
        self.members.iter_mut().filter_map(|member| member.replica.as_mut()).for_each(|r| r.plant(bug));
    }

    /// Leaves one rule of the hosts out, for a test that must notice.
    #[cfg(feature = "planted-bugs")]
    pub const fn plant_in_host(&mut self, bug: HostBug) {
        self.bugs.plant(bug);
        self.store.bugs.plant(bug);
        self.store.tree.bugs.plant(bug);
    }

    /// Gives a client's message to a member, any number counted round; or loses it, and then there is no answer.
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
        let event = Input::Client { ticket: Ticket(id.0), handshake_only, request };
        let life = Some(self.members[member].life);
        self.deliver(member, life, event);
        id
    }

    /// The answer to a request, once.
    pub fn take_answer(&mut self, id: RequestId) -> Option<Answer> {
        self.answers.remove(&id)
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        assert!(self.waiting.remove(&id).is_some(), "{id:?} is answered a second time, with {answer:?}");
        self.note_answer(&format!("{id:?} {answer:?}"));
        if !self.happens(self.faults.lose_user_answer) {
            self.answers.insert(id, answer);
        }
    }

    /// Draws nothing where it cannot happen.
    fn happens(&mut self, chance: f64) -> bool {
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

    fn schedule(&mut self, after: u64, pending: Pending) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), pending);
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        let Some(((at, _), pending)) = self.queue.pop_first() else {
            // Every agent is down. Time passes all the same.
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
            // In half of the cases its writer does not come back before it lands, to write the same again.
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

    /// Lets through what [`Faults::held_writes`] and [`Faults::held_listings`] held up so far; says how much that is.
    pub fn let_through(&mut self) -> usize {
        let held = std::mem::take(&mut self.held);
        let many = held.len();
        held.into_iter().for_each(|pending| self.schedule(0, pending));
        many
    }

    /// The segments that [`Faults::held_writes`] holds up.
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

    /// Runs until `done` or until `limit_ms` have passed; says which.
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

    /// Runs until every user has all answers.
    ///
    /// # Panics
    /// If that takes longer than `limit_ms`, or if an answer is wrong.
    pub fn serve(&mut self, limit_ms: u64, users: &mut [User]) {
        let served = self.run_until(limit_ms, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            users.iter().all(User::is_content)
        });
        let states: Vec<_> = (0..self.members.len()).map(|m| self.status(m)).collect();
        assert!(served, "not all users are served after {limit_ms} ms: {states:#?}");
    }

    fn deliver(&mut self, member: usize, life: Option<u64>, event: Input) {
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

    fn perform(&mut self, member: usize, actions: Vec<Action>) {
        let life = self.members[member].life;
        for action in actions {
            match action {
                Action::Hsm { call, request } => {
                    let request = request.bytes().to_vec();
                    let longest = self.config.limits.max_frame_bytes as usize;
                    assert!(request.len() <= longest, "a request fits in a frame");
                    let boot = self.members[member].boot;
                    let at = (self.now + self.rng.random_range(0..=1)).max(self.members[member].link_until);
                    self.members[member].link_until = at;
                    self.schedule(at - self.now, Pending::ToHsm { member, life, boot, call, request });
                }
                Action::Write { name, bytes } => {
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
        if self.bugs.has(HostBug::SilentLeader) && matches!(message, PeerMessage::Heartbeat { .. }) {
            return;
        }
        let to = self.member_of(&to);
        let bytes = message.to_bytes();
        let message = PeerMessage::from_bytes(&bytes).expect("a message reads as it was written");
        if let Some(message) = self.lie(from, message) {
            self.send_as_is(from, to, &message);
        }
    }

    fn send_as_is(&mut self, from: usize, to: usize, message: &PeerMessage) {
        let delays = self.faults.deliveries(&mut self.rng, from, to);
        self.note_message(from, to, message, &delays);
        for delay in delays {
            let event = Box::new(Input::Peer { from: self.members[from].hsm, message: message.clone() });
            self.schedule(delay, Pending::ToReplica { member: to, life: None, event });
        }
    }

    fn hsm(&mut self, member: usize, life: u64, boot: u64, call: CallId, request: &[u8]) {
        let mut reply = None;
        let silent = self.faults.silent_hsm.contains(&member);
        if boot == self.members[member].boot && !silent && !self.faults.without_hsm.contains(&member) {
            let bytes = self.members[member].device.handle(request);
            assert!(bytes.len() <= self.config.limits.max_frame_bytes as usize, "a reply fits in a frame");
            let decoded: Reply = minicbor::decode(&bytes).expect("every reply decodes");
            self.check_exchange(member, request, &bytes, &decoded);
            self.hsm_replies += 1;
            reply = Some(decoded).filter(|_| !self.faults.loses_reply(&mut self.rng, self.hsm_replies));
            if self.members[member].device.is_dead() {
                reply = None;
                self.note_power_cut(member);
                self.restart_hsm(member);
            }
        }
        let event = Box::new(Input::Hsm { call, reply });
        let takes = if silent { CALL_TIMEOUT_MS } else { self.rng.random_range(0..=2) };
        let at = (self.now + takes).max(self.members[member].reply_link_until);
        self.members[member].reply_link_until = at;
        self.schedule(at - self.now, Pending::ToReplica { member, life: Some(life), event });
    }

    /// How many requests have no answer yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.waiting.len()
    }
}
