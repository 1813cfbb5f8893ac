//! A small cluster in one process, from one seed: real replicas, real cores, a simulated store, network and clock.
//!
//! No threads, no sleeps, no clock: a queue of what happens when, with delays drawn from the seed, so that a run is the
//! same every time. What always holds is checked as it happens: each request is answered exactly once; no two HSMs ever
//! state different entries at one index; whatever is committed, a majority has captured; an HSM that restarts has not
//! forgotten what it stated; the stored tree is that of a committed entry, and the store holds the whole log from
//! there; the model allows everything that HSMs do ([`crate::model`]); and at the end, what was stated and released is
//! on the one chain ([`Cluster::check_log`]). `tests/cluster/bugs.rs` shows that each check can fail.

mod bug;
mod check;
mod copying;
mod doors;
mod faults;
mod host;
mod journal;
mod liar;
mod lies;
mod notes;
mod owners;
mod pending;
mod said;
mod steps;
mod store;
mod sweeping;
mod tree;
mod user;

pub use bug::HostBug;
pub use copying::{Copy, NotCopied};
pub use doors::Doors;
pub use faults::{BadRead, Faults, Interrupt};
pub use host::Host;
pub use journal::{Event, Journal, Kind, Lane};
pub use lies::Lie;
pub use owners::Owners;
pub use pending::RequestId;
pub use store::{Store, StoreCalls, StoreFault};
pub use tree::StoredTree;
pub use user::{User, Wish};

use crate::model::Trace;
use bug::HostBugs;
use pending::Pending;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use said::Said;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use strongroom_hsm::Config;
use strongroom_proto::hsm::{RealmStatus, Reply, Request};
use strongroom_proto::ids::{EntryHash, HsmId, Index};
use strongroom_proto::statement::GroupStatement;
use strongroom_replica::stored::TreeDamage;
use strongroom_replica::{Answer, Fault, Millis, Ordered, Replica, Role, Settings, Status, Storage};
use strongroom_testkit::{Bug, Custodians, Device, Hsm, founding};

/// How often a replica is told that time has passed.
const TICK_MS: u64 = 10;

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
    /// Other groups may have members on it, too.
    host: Rc<RefCell<Host>>,
    /// The start of the HSM that was noticed last.
    boot: u64,
    /// The HSM has left the group.
    left: bool,
    replica: Option<Replica>,
    /// Counts the starts of the agent: what was meant for it before the latest one is dropped.
    life: u64,
    /// How far its agent's clock is ahead.
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
    /// How many heartbeats agents have sent so far.
    heartbeats: u64,
    hsm_replies: u64,
    members: Vec<Member>,
    realm: RealmStatus,
    group: GroupStatement,
    /// Requests without an answer, and the member that each is with.
    waiting: BTreeMap<RequestId, usize>,
    answers: BTreeMap<RequestId, Answer>,
    last_request: u64,
    /// Orders that have not ended, and the member that each is with.
    ordering: BTreeMap<RequestId, usize>,
    ordered: BTreeMap<RequestId, Ordered>,
    said: Said,
    /// When the last segment that was sent from one member to another arrives; a later one arrives no sooner.
    streams: BTreeMap<(usize, usize), u64>,
    /// What agents said about the stored tree, oldest first.
    tree_damage: Vec<(usize, TreeDamage)>,
    /// Write requests that are held up on their way to the store.
    held: Vec<Pending>,
    /// How many requests have reached the store, or should have.
    store_requests: u64,
    /// Whose copy of another group's tree is under way.
    copying: Option<tree::Writer>,
    bugs: HostBugs,
    #[cfg(feature = "planted-bugs")]
    bug_of_agents: Option<strongroom_replica::Bug>,
    /// What the HSMs do, checked against the model.
    trace: Trace,
    /// Which group owns what, where there are several.
    owners: Option<Rc<RefCell<Owners>>>,
    journal: Option<Journal>,
}

impl Cluster {
    /// A cluster of `members` that have a realm and a group, and whose agents have just started.
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
        let (founded, group) = founding::found(&mut devices, &Custodians::one());
        let realm = founded.realm.expect("it was just made");
        let hosts = devices.into_iter().map(|device| Rc::new(RefCell::new(Host::new(device)))).collect();
        let mut cluster = Self::of_group(rng, hosts, realm, group, config, storage);
        (0..members).for_each(|member| cluster.start_agent(member));
        cluster
    }

    /// The members of a group that was founded on these hosts. Their agents are down.
    pub(crate) fn of_group(
        rng: StdRng,
        hosts: Vec<Rc<RefCell<Host>>>,
        realm: RealmStatus,
        group: GroupStatement,
        config: Config,
        storage: Storage,
    ) -> Self {
        let member = |host: Rc<RefCell<Host>>| {
            let hsm = host.borrow_mut().device.status().hsm;
            let boot = host.borrow().boot;
            Member { hsm, host, boot, left: false, replica: None, life: 0, ahead_ms: 0, fault: None }
        };
        Self {
            faults: Faults::default(),
            store: Store::default(),
            config,
            storage,
            rng,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            messages: 0,
            heartbeats: 0,
            hsm_replies: 0,
            members: hosts.into_iter().map(member).collect(),
            realm,
            trace: Trace::new(&group),
            group,
            waiting: BTreeMap::new(),
            answers: BTreeMap::new(),
            last_request: 0,
            ordering: BTreeMap::new(),
            ordered: BTreeMap::new(),
            said: Said::default(),
            streams: BTreeMap::new(),
            tree_damage: Vec::new(),
            held: Vec::new(),
            store_requests: 0,
            copying: None,
            bugs: HostBugs::default(),
            #[cfg(feature = "planted-bugs")]
            bug_of_agents: None,
            owners: None,
            journal: None,
        }
    }

    /// Is one of several groups from here on, at this time.
    pub(crate) fn join_others(&mut self, now: u64, owners: Rc<RefCell<Owners>>) {
        (self.now, self.owners) = (now, Some(owners));
        self.store.tree.keeps_more = true;
    }

    /// When the next thing happens, if anything will.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Time passes, in which nothing happens here.
    pub(crate) const fn pass_to(&mut self, now: u64) {
        self.now = now;
    }

    /// The HSM of a member has left the group: its agent has nothing more to do there.
    pub(crate) fn has_left(&mut self, member: usize) {
        self.members[member].left = true;
        self.note(Lane::Member(member), Kind::Hsm, || "the HSM has left the group".into());
        self.crash_agent(member);
    }

    /// Whether it has.
    pub(crate) fn is_gone(&self, member: usize) -> bool {
        self.members[member].left
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

    /// How many heartbeats agents have sent so far, one for each member that they are for.
    #[must_use]
    pub const fn heartbeats(&self) -> u64 {
        self.heartbeats
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

    /// Why a member's agent has stopped or leaves leading to others, if it does.
    #[must_use]
    pub fn fault(&self, member: usize) -> Option<Fault> {
        self.members[member].fault
    }

    /// What agents said about the stored tree, oldest first, each with its member.
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
        if at.replica.is_some() || at.left {
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
        let lost = self.ordering.extract_if(.., |_, at| *at == member).map(|(id, _)| (id, Ordered::Unknown));
        self.ordered.extend(lost);
    }

    /// Asks the HSM of a member past its agent, as for a group that is not this one.
    pub fn ask_hsm(&mut self, member: usize, request: &Request) -> Reply {
        self.members[member].host.borrow_mut().device.ask(request)
    }

    /// What the HSM of a member has captured of this group.
    #[must_use]
    pub fn captured_by(&self, member: usize) -> Option<EntryHash> {
        let groups = self.members[member].host.borrow_mut().device.status().groups;
        groups.iter().find(|of| of.statement == self.group).map(|of| of.captured_hash)
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
        self.members[member].host.borrow_mut().restart();
        self.notice_restart(member);
    }

    /// The same, but power is lost when the start has written this many granules of NVRAM, and the HSM starts once
    /// more.
    pub fn restart_hsm_twice(&mut self, member: usize, granules: u32) {
        if self.members[member].host.borrow_mut().restart_twice(granules) {
            self.note(Lane::Member(member), Kind::PowerCut, || "power is lost in a start".into());
        }
        self.notice_restart(member);
    }

    /// Whether an HSM has captured what is off the log: [`Store::has_strays`], or had them.
    pub fn is_a_member_off_the_log(&mut self) -> bool {
        let (group, store) = (&self.group, &self.store);
        self.members.iter_mut().any(|member| {
            let groups = member.host.borrow_mut().device.status().groups;
            groups.iter().any(|of| of.statement == *group && store.is_stray(&of.captured_hash))
        })
    }

    /// Sees whether the HSM of a member has started again, which another group's members may have brought about.
    ///
    /// # Panics
    /// If it has forgotten what it stated.
    pub(crate) fn notice_restart(&mut self, member: usize) {
        let at = &mut self.members[member];
        let boot = at.host.borrow().boot;
        if std::mem::replace(&mut at.boot, boot) == boot || at.left {
            return;
        }
        let status = at.host.borrow_mut().device.status();
        if status.retired.contains(&self.group.group) {
            return self.has_left(member);
        }
        let group = status.groups.iter().find(|of| of.statement == self.group);
        let captured = group.map_or(Index::ZERO, |of| of.captured_index);
        let hash = group.map_or(EntryHash::ZERO, |of| of.captured_hash);
        self.said.check_restarted(&status.hsm, captured);
        self.trace.restarted(&status.hsm, hash).unwrap_or_else(|departure| panic!("{departure}"));
        let text = || format!("the HSM loses its RAM; its NVRAM holds entry {captured}");
        self.note(Lane::Member(member), Kind::HsmRestart, text);
    }

    /// An HSM loses power after this many more granules of its NVRAM are written, and then starts again.
    pub fn cut_power_after(&mut self, member: usize, granules: u32) {
        self.members[member].host.borrow_mut().device.cut_power_after(granules);
    }

    /// Cancels [`Self::cut_power_after`], unless the power is gone already.
    pub fn spare_power(&mut self, member: usize) {
        self.members[member].host.borrow_mut().device.spare_power();
    }

    /// The clock of a member's agent jumps forward.
    pub fn jump_clock(&mut self, member: usize, ms: u64) {
        self.members[member].ahead_ms += ms;
        self.note(Lane::Member(member), Kind::Clock, || format!("the clock jumps forward by {ms} ms"));
    }

    /// What the HSMs did so far, checked against the model.
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
        self.members[member].host.borrow_mut().device.fail_nvram();
    }

    /// Gives every HSM a build that leaves one rule out, for a test that must notice it, and starts it.
    pub fn plant(&mut self, bug: Bug) {
        self.members.iter_mut().for_each(|member| member.host.borrow_mut().device.plant(bug));
    }

    /// Leaves out one rule of every agent, for a test that must notice it.
    #[cfg(feature = "planted-bugs")]
    pub fn plant_in_agents(&mut self, bug: strongroom_replica::Bug) {
        self.bug_of_agents = Some(bug);
        self.members.iter_mut().filter_map(|member| member.replica.as_mut()).for_each(|r| r.plant(bug));
    }

    /// The same, of one agent, until it starts again.
    ///
    /// # Panics
    /// If it does not run.
    #[cfg(feature = "planted-bugs")]
    pub fn plant_in_agent(&mut self, member: usize, bug: strongroom_replica::Bug) {
        self.members[member].replica.as_mut().expect("it runs").plant(bug);
    }

    /// Leaves out one rule of the hosts, for a test that must notice it.
    #[cfg(feature = "planted-bugs")]
    pub const fn plant_in_host(&mut self, bug: HostBug) {
        self.bugs.plant(bug);
        self.store.bugs.plant(bug);
        self.store.tree.bugs.plant(bug);
    }

    /// The place of a member.
    ///
    /// # Panics
    /// If it is not a member.
    #[must_use]
    pub fn member_of(&self, hsm: &HsmId) -> usize {
        self.group().members.iter().position(|m| m == hsm).expect("a leader is a member")
    }

    /// How many requests have no answer yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.waiting.len()
    }
}
