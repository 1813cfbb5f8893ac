//! Drives one replica: its actions become calls to the HSM, the store and the peers; the outcomes become its events.
//!
//! Decides nothing. Every action that has an outcome gets exactly one event, whatever fails.

use super::asking::{Client, FromHere, Orders, give};
use super::damage::Damage;
use super::hsm_queue::Hsm;
use super::leftovers;
use super::load::{Counted, Load};
use super::publishing::{PublishSettings, Published, Publishing};
use super::scrubbing;
use super::telling::{Tale, TellSettings};
use super::tree_jobs::{self, Job};
use super::whereabouts::Whereabouts;
use crate::clock::Time;
use crate::metrics::{GroupMetrics, LogMetrics};
use crate::peers::{Peers, Sent};
use crate::scrub::ScrubSettings;
use crate::store::Store;
use crate::traces::{Traces, Trail};
use crate::tree::TreeStore;
#[cfg(test)]
use crate::tree::{TreeMetrics, TreeSettings};
use bytes::Bytes;
use collecting::collect;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hsm::RealmStatus;
use strongroom_proto::ids::{GroupId, HsmId, RecordId};
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::segment::SegmentName;
use strongroom_replica::stored::TreeDamage;
use strongroom_replica::{
    Action, Answer, Event, Millis, Order, Ordered, Replica, Role, Settings, Status, Ticket,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use trails::Trails;

/// How many client requests may wait for one replica.
pub(super) const CLIENT_QUEUE: usize = 1024;
/// How many small messages of one peer may wait for one replica, and how many KiB of segments: twice what a leader sends
/// ahead. Each peer has its own places, so that one that never stops sending crowds out only itself.
const PEER_SMALL: usize = 64;
const PEER_SEGMENT_KIB: usize = 16 * 1024;
/// How often a replica is told that clients wait for the leader that it follows: much more often than the time after which
/// none do.
const TELLS_AGAIN: Duration = Duration::from_millis(500);

/// A message of a peer, with the place that it takes.
struct FromPeer {
    from: HsmId,
    message: PeerMessage,
    _place: OwnedSemaphorePermit,
}

/// The places for one peer's messages.
struct Places {
    small: Arc<Semaphore>,
    segments: Arc<Semaphore>,
}

impl Places {
    fn new() -> Self {
        Self {
            small: Arc::new(Semaphore::new(PEER_SMALL)),
            segments: Arc::new(Semaphore::new(PEER_SEGMENT_KIB)),
        }
    }

    /// A place for a message. A segment waits for one, in its turn.
    async fn take(&self, message: &PeerMessage) -> Option<OwnedSemaphorePermit> {
        match message {
            PeerMessage::Push { segment, paths, .. } => {
                let kib = (segment.len() + paths.len()) / 1024 + 1;
                let many = u32::try_from(kib).unwrap_or(u32::MAX);
                Arc::clone(&self.segments).acquire_many_owned(many).await.ok()
            }
            PeerMessage::Heartbeat { .. }
            | PeerMessage::Captured { .. }
            | PeerMessage::Follows { .. }
            | PeerMessage::Seek { .. }
            | PeerMessage::Yield { .. }
            | PeerMessage::StateFresh { .. }
            | PeerMessage::Fresh { .. } => Arc::clone(&self.small).try_acquire_owned().ok(),
        }
    }
}

/// The way in for other members' messages to a replica.
#[derive(Clone)]
struct Inlet {
    places: Arc<BTreeMap<HsmId, Places>>,
    queue: mpsc::UnboundedSender<FromPeer>,
}

impl Inlet {
    /// For messages of these members; those of others are dropped.
    fn new(members: impl IntoIterator<Item = HsmId>) -> (Self, mpsc::UnboundedReceiver<FromPeer>) {
        let (queue, messages) = mpsc::unbounded_channel();
        let places = members.into_iter().map(|member| (member, Places::new())).collect();
        (Self { places: Arc::new(places), queue }, messages)
    }

    /// Returns whether the message was accepted.
    async fn put(&self, from: HsmId, message: PeerMessage) -> bool {
        let Some(places) = self.places.get(&from) else { return false };
        let place = places.take(&message).await;
        place.is_some_and(|place| self.queue.send(FromPeer { from, message, _place: place }).is_ok())
    }
}

/// A running replica, as the rest of the agent sees it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Group {
    inner: Arc<Inner>,
    whereabouts: watch::Receiver<Whereabouts>,
}

struct Inner {
    /// Apart from those of peers, so that clients cannot crowd out the statements that their answers wait for.
    clients: mpsc::Sender<FromHere>,
    peers: Inlet,
    status: Arc<Mutex<Status>>,
    members: usize,
    tree: TreeStore,
    /// When the replica last told a client who leads.
    told: Mutex<Option<Instant>>,
    tree_damage: TreeDamaged,
    load: Mutex<Load>,
}

/// What a replica has beside its HSM, its store and its peers.
pub(crate) struct Beside {
    /// The clocks.
    pub(crate) time: Time,
    /// What is measured of logs.
    pub(crate) log: LogMetrics,
    /// Where trails of requests go.
    pub(crate) traces: Traces,
    /// How its group is scrubbed.
    pub(crate) scrub: ScrubSettings,
    /// How its log is published.
    pub(crate) publishing: PublishSettings,
    /// How tenants are told.
    pub(crate) telling: TellSettings,
    /// What its HSM says of the realm.
    pub(crate) of_realm: RealmStatus,
}

/// What was found wrong with the stored tree since it last served here.
type TreeDamaged = Arc<Mutex<Damage>>;

impl Group {
    /// Starts a replica. Call it inside a runtime; the replica ends with the runtime, or when the last `Group` is
    /// dropped.
    pub(crate) fn start(
        settings: Settings,
        hsm: Hsm,
        store: Store,
        tree: TreeStore,
        peers: Peers,
        Beside { time, log, traces, scrub, publishing, telling, of_realm }: Beside,
    ) -> Self {
        let (clients, client_queue) = mpsc::channel(CLIENT_QUEUE);
        let (own, group) = (settings.hsm, settings.group.group);
        let realm = settings.realm;
        let members = settings.group.members.len();
        let others = settings.group.members.iter().copied().filter(|member| *member != own);
        let (from_peers, peer_queue) = Inlet::new(others);
        let (replica, actions) = Replica::new(settings, (time.steady)());
        let (events, ended) = mpsc::unbounded_channel();
        let status = replica.status();
        let (publish, whereabouts) = watch::channel(Whereabouts::of(&status));
        let status = Arc::new(Mutex::new(status));
        let (jobs, tree_work) = tree_jobs::start(tree.clone(), events.clone());
        let tree_damage = TreeDamaged::default();
        let stored = tree.clone();
        let mut background = JoinSet::new();
        if tree.sweeps() {
            background.spawn(leftovers::sweep(tree.clone(), store.clone(), Arc::clone(&status)));
        }
        let (status_now, damage) = (Arc::clone(&status), Arc::clone(&tree_damage));
        let watched = scrubbing::Watched { group, status: status_now, tree: tree.clone(), damage };
        let clock = Arc::clone(&time.unix);
        background.spawn(scrubbing::scrub(watched, store.clone(), hsm.clone(), clock, scrub));
        let published = Published::new();
        let publishing = Publishing {
            realm,
            group,
            key: of_realm.checkpoint_key,
            status: Arc::clone(&status),
            orders: Orders::new(&clients),
            published: published.clone(),
            store: store.clone(),
            hsm: hsm.clone(),
            clock: Arc::clone(&time.unix),
            settings: publishing,
        };
        let tale = Tale::beside(&publishing, of_realm, telling);
        let told = tale.told.clone();
        background.spawn(publishing.run());
        background.spawn(tale.run());
        let driver = Driver {
            tree_damage: Arc::clone(&tree_damage),
            replica,
            own,
            group,
            metrics: log.of(group, Arc::clone(&time.unix)),
            trails: Trails::new(traces, group, own),
            time,
            hsm,
            store,
            published,
            told,
            jobs,
            tree_work,
            _background: background,
            tree,
            peers,
            events,
            waiting: BTreeMap::new(),
            orders: BTreeMap::new(),
            next_ticket: 0,
            io: JoinSet::new(),
            status: Arc::clone(&status),
            whereabouts: publish,
        };
        tokio::spawn(driver.run(actions, client_queue, peer_queue, ended));
        let (told, load) = (Mutex::default(), Mutex::default());
        let inner =
            Inner { clients, peers: from_peers, status, members, tree: stored, told, tree_damage, load };
        Self { inner: Arc::new(inner), whereabouts }
    }

    /// How many members it has.
    pub(crate) fn members(&self) -> usize {
        self.inner.members
    }

    /// Gives a client's request to the replica, with its trail.
    pub(crate) async fn ask(&self, sent: Sent, trail: &Trail) -> Answer {
        self.count(&sent.request.record);
        let (answer, answered) = oneshot::channel();
        let client = Client { sent, trail: *trail, answer };
        match self.inner.clients.try_send(FromHere::Client(client)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Answer::Busy,
            Err(TrySendError::Closed(_)) => return Answer::Unavailable,
        }
        answered.await.unwrap_or(Answer::Unavailable)
    }

    /// Counts a client's request, if it is led here.
    fn count(&self, record: &RecordId) {
        let now = self.whereabouts.borrow();
        if let Role::Leader { term } = now.role {
            self.inner.load.lock().count(term, &now.prefixes, record, Instant::now());
        }
    }

    /// How many requests clients have sent lately, if it is led here.
    pub(crate) fn counted(&self) -> Option<Counted> {
        let now = self.whereabouts.borrow();
        let Role::Leader { term } = now.role else { return None };
        Some(self.inner.load.lock().counted(term, &now.prefixes, Instant::now()))
    }

    /// The stored tree.
    pub(crate) fn tree(&self) -> &TreeStore {
        &self.inner.tree
    }

    /// Gives an operator's order to the replica.
    pub(crate) async fn order(&self, order: Order) -> Ordered {
        give(&self.inner.clients, order).await
    }

    /// Gives a message of another agent to the replica. A segment waits until there is room for it; anything else is lost
    /// if too many of that agent wait.
    pub(crate) async fn deliver(&self, from: HsmId, message: PeerMessage) {
        if !self.inner.peers.put(from, message).await {
            tracing::debug!("a replica does not keep up; a peer's message was dropped");
        }
    }

    /// The leader that the replica follows, if that is what it would answer a client. Now and then the replica is asked
    /// all the same: it has to know that clients wait for that leader, and asking it costs the agent more than the rest of
    /// what is done for a request that goes elsewhere.
    pub(crate) fn leader_elsewhere(&self) -> Option<HsmId> {
        let leader = {
            let now = self.whereabouts.borrow();
            now.leader.filter(|_| now.role == Role::Witness)?
        };
        let mut told = self.inner.told.lock();
        if told.is_some_and(|told| told.elapsed() < TELLS_AGAIN) {
            return Some(leader);
        }
        *told = Some(Instant::now());
        None
    }

    /// Whether it covers this record.
    pub(crate) fn covers(&self, record: &RecordId) -> bool {
        self.whereabouts.borrow().prefixes.iter().any(|prefix| prefix.contains(record))
    }

    /// Whether this agent leads it.
    pub(crate) fn leads(&self) -> bool {
        matches!(self.whereabouts.borrow().role, Role::Leader { .. })
    }

    /// Who leads, as far as the replica knows.
    pub(crate) fn leader(&self) -> Option<HsmId> {
        self.whereabouts.borrow().leader
    }

    /// What the replica is doing now.
    pub(crate) fn status(&self) -> Status {
        self.inner.status.lock().clone()
    }

    /// What is wrong with the stored tree, as far as the replica has noticed.
    pub(crate) fn tree_damage(&self) -> Option<String> {
        self.inner.tree_damage.lock().text()
    }

    /// Treats where requests go by now as known.
    pub(crate) fn mark_unchanged(&mut self) {
        self.whereabouts.mark_unchanged();
    }

    /// Treats that as news again.
    pub(crate) fn mark_changed(&mut self) {
        self.whereabouts.mark_changed();
    }

    /// Completes when requests go elsewhere.
    pub(crate) async fn changed(&mut self) {
        if self.whereabouts.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the replica still runs.
    pub(crate) fn is_running(&self) -> bool {
        !self.inner.clients.is_closed()
    }
}

struct Driver {
    tree_damage: TreeDamaged,
    replica: Replica,
    own: HsmId,
    group: GroupId,
    time: Time,
    metrics: GroupMetrics,
    trails: Trails,
    hsm: Hsm,
    store: Store,
    /// How far the log is published, and how far tenants are told.
    published: Published,
    told: Published,
    tree: TreeStore,
    jobs: mpsc::UnboundedSender<Job>,
    /// The task that does the jobs.
    tree_work: JoinHandle<()>,
    /// The tasks that delete what has left, scrub, and publish; stopped when the driver is dropped.
    _background: JoinSet<()>,
    peers: Peers,
    /// Ends of actions. Unbounded because none may be lost; a replica bounds its own actions.
    events: mpsc::UnboundedSender<Event>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    orders: BTreeMap<Ticket, oneshot::Sender<Ordered>>,
    next_ticket: u64,
    /// Reads and writes under way; stopped when the driver is dropped.
    io: JoinSet<()>,
    status: Arc<Mutex<Status>>,
    whereabouts: watch::Sender<Whereabouts>,
}

impl Driver {
    async fn run(
        mut self,
        actions: Vec<Action>,
        mut clients: mpsc::Receiver<FromHere>,
        mut from_peers: mpsc::UnboundedReceiver<FromPeer>,
        mut ended: mpsc::UnboundedReceiver<Event>,
    ) {
        actions.into_iter().for_each(|action| self.carry_out(action));
        let mut deadline = self.replica.deadline();
        let mut wake = pin!(sleep(self.until(deadline)));
        loop {
            let event = tokio::select! {
                biased;
                () = &mut wake => Event::Tick,
                Some(event) = ended.recv() => event,
                // Only a bug gets here, and the replica would wait forever. It starts over.
                _ = &mut self.tree_work => return,
                Some(FromPeer { from, message, _place }) = from_peers.recv() => {
                    Event::Peer { from, message }
                }
                asked = clients.recv() => match asked {
                    Some(FromHere::Client(client)) => self.admit(client),
                    Some(FromHere::Order(order, ended)) => self.order(order, ended),
                    None => return,
                },
            };
            self.watch(&event);
            let actions = self.replica.step((self.time.steady)(), event);
            actions.into_iter().for_each(|action| self.carry_out(action));
            self.trails.settled();
            self.publish();
            while self.io.try_join_next().is_some() {}
            // One that has moved away is left as it is: to be woken too early costs less than to set it each time.
            let next = self.replica.deadline();
            if wake.is_elapsed() || next < deadline {
                deadline = next;
                wake.as_mut().reset(Instant::now() + self.until(deadline));
            }
        }
    }

    /// How long it is until then, by the replica's clock; never nothing, so that everything else has its turn.
    fn until(&self, then: Millis) -> Duration {
        Duration::from_millis(then.0.saturating_sub((self.time.steady)().0).max(1))
    }

    /// Takes note of what the replica is told.
    fn watch(&mut self, event: &Event) {
        match event {
            Event::Hsm { call, reply } => {
                self.metrics.replied(*call, reply.is_some());
                self.trails.replied(*call, reply.is_some());
            }
            Event::Wrote { name, outcome } => self.trails.wrote(name, *outcome),
            _ => {}
        }
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        ticket
    }

    fn order(&mut self, order: Box<Order>, end: oneshot::Sender<Ordered>) -> Event {
        let ticket = self.ticket();
        self.orders.insert(ticket, end);
        Event::Order { ticket, order }
    }

    fn admit(&mut self, client: Client) -> Event {
        let Client { sent: Sent { request, handshake_only, owner }, trail, answer } = client;
        let ticket = self.ticket();
        self.trails.arrives(ticket, &trail);
        self.waiting.insert(ticket, answer);
        Event::Client { ticket, handshake_only, request, owner }
    }

    fn carry_out(&mut self, action: Action) {
        let (events, store) = (self.events.clone(), self.store.clone());
        // A send fails only if the driver is gone, and then nothing waits for the event.
        let end = move |event| drop(events.send(event));
        match action {
            Action::Hsm { call, request } => {
                self.metrics.asks(call, self.replica.purpose(call));
                self.trails.asks(call, &self.replica);
                self.hsm.queue(request, move |reply| end(Event::Hsm { call, reply }));
            }
            Action::Write { name, bytes } => {
                self.trails.writes(name, &self.replica);
                self.io.spawn(async move {
                    let outcome = store.create(&name.to_string(), Bytes::from_owner(bytes)).await;
                    end(Event::Wrote { name, outcome });
                });
            }
            Action::List { from } => {
                let group = self.group;
                self.io.spawn(async move {
                    let after = SegmentName::offset(&group, from);
                    let names = store.list(&SegmentName::folder(&group), &after).await;
                    // A store may contain anything: what is not named like a segment is not a segment.
                    let result = names.map(|names| names.iter().filter_map(|n| n.parse().ok()).collect());
                    end(Event::Listed { result });
                });
            }
            Action::Read { name } => {
                self.io.spawn(async move {
                    let result = store.read(&name.to_string()).await;
                    end(Event::Read { name, result });
                });
            }
            Action::OpenTree => self.tree_job(Job::Open),
            Action::CloseTree => self.tree_job(Job::Close),
            Action::Advance(advance) => self.tree_job(Job::Advance(advance)),
            Action::ReadSnapshot => {
                let tree = self.tree.clone();
                self.io.spawn(async move {
                    end(Event::SnapshotRead { result: tree.read_snapshot().await });
                });
            }
            Action::Load { load, records } => {
                let tree = self.tree.clone();
                self.io.spawn(async move {
                    end(Event::Loaded { load, result: tree.load(records).await });
                });
            }
            Action::Collect { before } => {
                let (group, published, told) = (self.group, self.published.clone(), self.told.clone());
                self.io.spawn(async move {
                    let unneeded = published.reaches(before).await && told.reaches(before).await;
                    let deleted = if unneeded { collect(&store, group, before).await } else { 0 };
                    end(Event::Collected { deleted });
                });
            }
            Action::TreeDamaged(damage) => self.tree_damaged(&damage),
            Action::Send { to, message } => self.peers.send(self.own, to, message),
            Action::Answer { ticket, answer } => self.answer(ticket, answer),
            Action::Ordered { ticket, ordered } => {
                if let Some(waiting) = self.orders.remove(&ticket) {
                    // Whoever ordered may have gone.
                    let _ = waiting.send(ordered);
                }
            }
            Action::Fault(fault) => {
                tracing::error!(group = %self.group, %fault, "the group has stopped on this host")
            }
            Action::Mended(fault) => {
                tracing::info!(group = %self.group, was = %fault, "the group goes on again on this host: the fault is over")
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.trails.answers(ticket, &answer);
        if let Some(waiting) = self.waiting.remove(&ticket) {
            // The client may have gone.
            let _ = waiting.send(answer);
        }
    }

    fn tree_damaged(&self, damage: &TreeDamage) {
        tracing::error!(
            group = %self.group, %damage,
            "the stored tree is damaged, and what that covers is refused; run `strongroom-agent check`"
        );
        self.damage().tell(damage);
    }

    fn tree_job(&self, job: Job) {
        // Fails only when the runtime is being shut down, and this task with it.
        let _ = self.jobs.send(job);
    }

    fn damage(&self) -> MutexGuard<'_, Damage> {
        self.tree_damage.lock()
    }

    fn publish(&mut self) {
        let mut status = self.status.lock();
        let served = status.serving;
        self.replica.update(&mut status);
        self.metrics.set(&status);
        if status.serving && !served {
            // What was damaged has been restored, or nothing that was needed so far leads through it.
            self.damage().forget();
        }
        if tell(&self.whereabouts, &status) {
            let leader = status.leader.map(tracing::field::display);
            tracing::info!(group = %self.group, role = status.role.name(), leader, tip = %status.tip, "a new role");
        }
    }
}

/// Tells those that wait where requests go now, if that has changed; returns whether the role or the leader has.
fn tell(whereabouts: &watch::Sender<Whereabouts>, status: &Status) -> bool {
    let mut is_new = false;
    whereabouts.send_if_modified(|known| {
        if known.are_of(status) {
            return false;
        }
        is_new = (known.role, known.leader) != (status.role, status.leader);
        *known = Whereabouts::of(status);
        true
    });
    is_new
}

mod collecting;
#[cfg(test)]
impl Group {
    /// A member that never leads nor knows who does, and whose status changed once, long ago. Counts how often it is
    /// asked.
    pub(crate) fn leaderless() -> (Self, std::sync::Arc<std::sync::atomic::AtomicU64>) {
        use std::sync::atomic::{AtomicU64, Ordering};
        let (group, publish, mut queue) = Self::idle();
        let asked = std::sync::Arc::new(AtomicU64::new(0));
        let count = std::sync::Arc::clone(&asked);
        tokio::spawn(async move {
            while let Some(asked) = queue.recv().await {
                let FromHere::Client(client) = asked else { continue };
                // An asker that never pauses is cut off, so that a test of that ends.
                if count.fetch_add(1, Ordering::Relaxed) > 100_000 {
                    break;
                }
                // The asker may have gone.
                let _ = client.answer.send(Answer::NotLeader(None));
            }
            drop(publish);
        });
        (group, asked)
    }

    /// A member that follows this leader, until it is told otherwise.
    pub(crate) fn following(leader: HsmId) -> (Self, watch::Sender<Whereabouts>) {
        let (group, publish, queue) = Self::idle();
        std::mem::forget(queue);
        publish.send_modify(|now| now.leader = Some(leader));
        (group, publish)
    }

    /// A member that takes nothing from its queue.
    pub(crate) fn stuck() -> Self {
        let (group, _, queue) = Self::idle();
        std::mem::forget(queue);
        group
    }

    /// The status of a member that has done nothing yet.
    pub(super) fn idle_status() -> Status {
        use strongroom_proto::ids::{EntryHash, Index};
        Status {
            role: strongroom_replica::Role::Witness,
            leader: None,
            captured: Index::ZERO,
            tip: Index::ZERO,
            tip_hash: EntryHash::ZERO,
            newest: Index::ZERO,
            committed: Index::ZERO,
            behind: 0,
            from_store: 0,
            serving: false,
            snapshot: Index::ZERO,
            queued: 0,
            waiting: 0,
            reads: 0,
            read_rounds: 0,
            prefixes: vec![strongroom_proto::prefix::Prefix::WHOLE],
            open: Vec::new(),
            retired: false,
            fault: None,
        }
    }

    fn idle() -> (Self, watch::Sender<Whereabouts>, mpsc::Receiver<FromHere>) {
        let status = Self::idle_status();
        let (publish, whereabouts) = watch::channel(Whereabouts::of(&status));
        publish.send_modify(|_| ());
        let status = Arc::new(Mutex::new(status));
        let (clients, queue) = mpsc::channel(CLIENT_QUEUE);
        let (peers, _) = Inlet::new([]);
        let (told, tree_damage) = (Mutex::default(), TreeDamaged::default());
        let objects = Arc::new(object_store::memory::InMemory::new());
        let (base, group) = (object_store::path::Path::default(), GroupId([0; 16]));
        let tree = TreeStore::new(objects, &base, group, TreeSettings::default(), TreeMetrics::default());
        let load = Mutex::default();
        let inner = Inner { clients, peers, status, members: 1, tree, told, tree_damage, load };
        (Self { inner: Arc::new(inner), whereabouts }, publish, queue)
    }
}

#[cfg(test)]
mod tests;
mod trails;
