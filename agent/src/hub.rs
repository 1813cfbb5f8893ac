//! What the services of an agent share: which HSM it has, which groups run, and the way of a client's request.

mod asking;
mod certificate;
mod damage;
mod discovery;
pub(crate) mod doubts;
mod driver;
mod hsm_queue;
mod leftovers;
mod load;
mod moves;
mod orders;
mod publishing;
mod retirement;
mod routed;
mod scrubbing;
mod showing;
mod telling;
mod tree_jobs;
pub(crate) mod unfinished;
mod whereabouts;

pub(crate) use self::discovery::{Discovery, VERSION};
pub(crate) use self::hsm_queue::Hsm;
pub(crate) use self::load::{Counted, PARTS};
pub(crate) use self::moves::{MoveError, listed};
pub(crate) use self::orders::{End, OrderError, Wanted};
pub(crate) use self::routed::Routed;

use self::publishing::PublishSettings;
use self::telling::TellSettings;

use self::driver::{Beside, Group};
use crate::clock::Time;
use crate::config::{Config, Election};
use crate::front::{Check, Readiness, Relay};
use crate::link::HsmMetrics;
use crate::metrics::{LogMetrics, Metrics, WearMetrics};
use crate::peers::{Forwarded, Identity, Peers, Sent};
use crate::scrub::{Lane, ScrubSettings};
use crate::store::{Store, Trust};
use crate::timing::Timing;
use crate::traces::{Attribute, Open, Role, Traces, Trail};
use crate::tree::{TreeMetrics, TreeSettings, TreeStore};
use crate::usage::{Operation, Place, Usage, Used, user_number};
use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::gauge::Gauge;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strongroom_proto::client::ClientResponse;
use strongroom_proto::hsm::{DeviceStatus, RealmStatus, Refusal, Reply, Request};
use strongroom_proto::ids::{GroupId, HsmId, RealmId, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::GroupStatement;
use strongroom_replica::ask::{self, Ask, Unanswered};
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::{Answer, ReadOutcome, Settings, Status, Storage};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a client may go on using a session after an answer.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(5);
/// If no other agent has answered for this long, though asked, a request does not wait.
const UNHEARD: Duration = Duration::from_secs(2);
/// The pause before a leader that could not be reached is tried again, unless there is news before.
const RETRY: Duration = Duration::from_millis(50);

/// The shared state of one agent.
pub(crate) struct Hub {
    hsm: Hsm,
    store: Store,
    trust: Trust,
    peers: Peers,
    relay: Option<Arc<Relay>>,
    traces: Traces,
    usage: Option<Arc<Usage>>,
    election: Election,
    storage: Storage,
    sweeps: bool,
    timing: Timing,
    trees: TreeMetrics,
    wear: WearMetrics,
    log: LogMetrics,
    scrub: ScrubSettings,
    publish: PublishSettings,
    telling: TellSettings,
    calls: HsmMetrics,
    pub(super) certificate_end: Gauge,
    pub(super) time: Time,
    known: RwLock<Known>,
    /// What is being copied here: from which group, to which, and the prefix.
    copying: Mutex<Vec<(GroupId, GroupId, Prefix)>>,
    wake: Notify,
    /// Whether this agent is about to end.
    ends: AtomicBool,
    /// The identity of this agent, once its HSM has a realm.
    pub(super) identity: watch::Sender<Option<Arc<Identity>>>,
    pub(super) epoch: u32,
}

/// A tree is divided into so many parts at least, as a power of two: one is lost at most when the leader changes.
const SCRUB_PART_BITS: u32 = 9;

fn scrub_settings(config: &Config, metrics: &Metrics) -> ScrubSettings {
    let period = Duration::from_secs(u64::from(config.scrub_period_days) * 86_400);
    metrics.scrub().set_period(period.as_secs());
    let (metrics, lane) = (metrics.scrub().clone(), Lane::default());
    ScrubSettings { period, part_bits: SCRUB_PART_BITS, metrics, lane }
}

#[derive(Default)]
struct Known {
    device: Option<DeviceStatus>,
    groups: BTreeMap<GroupId, Group>,
}

impl Hub {
    pub(crate) fn new(
        hsm: Hsm,
        store: Store,
        peers: Peers,
        config: &Config,
        metrics: &Metrics,
        time: Time,
        identity: watch::Sender<Option<Arc<Identity>>>,
    ) -> Self {
        Self {
            hsm,
            store,
            trust: metrics.trust().clone(),
            peers,
            relay: None,
            traces: Traces::off(),
            usage: None,
            election: config.election,
            storage: config.storage,
            sweeps: config.delete_what_left,
            timing: config.timing,
            trees: metrics.tree().clone(),
            wear: metrics.wear().clone(),
            log: metrics.log().clone(),
            scrub: scrub_settings(config, metrics),
            publish: PublishSettings::new(config, metrics.publish()),
            telling: TellSettings::new(config.events_keep_days, metrics.tell()),
            calls: metrics.hsm().clone(),
            certificate_end: metrics.peer_certificate_end().clone(),
            time,
            known: RwLock::default(),
            copying: Mutex::default(),
            wake: Notify::new(),
            ends: AtomicBool::new(false),
            identity,
            epoch: config.peer_epoch,
        }
    }

    /// Adds doors to which requests are relayed.
    pub(crate) fn relaying(self, relay: Option<Arc<Relay>>) -> Self {
        Self { relay, ..self }
    }

    /// Has what is done for requests traced.
    pub(crate) fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Where what is done for requests goes.
    pub(crate) const fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Adds an account of what tenants use.
    pub(crate) fn accounting(self, usage: Option<Arc<Usage>>) -> Self {
        Self { usage, ..self }
    }

    /// What tenants use, if this agent counts that.
    pub(crate) const fn usage(&self) -> Option<&Arc<Usage>> {
        self.usage.as_ref()
    }

    /// Counts a request whose client is told this. At most one agent does so for each: whoever relays it has no realm to
    /// count in, and whoever is asked to run it for another agent is not told whose it is.
    fn account(&self, tenant: &str, user: &str, operation: Operation, answer: &ClientResponse) {
        let Some(usage) = &self.usage else { return };
        let day = usage.today();
        let known = self.known.read();
        let Some(device) = &known.device else { return };
        let Some(realm) = &device.realm else { return };
        let place = Place { realm: realm.realm, hsm: device.hsm, day };
        let user = user_number(&realm.record_id_key, day.month(), tenant, user);
        drop(known);
        let answered = matches!(answer, ClientResponse::Ok(_));
        usage.count(place, &Used { tenant, operation, answered, user });
    }

    /// Where clients' requests go while the HSM has not answered since the agent started: who clients are, who the
    /// other agents are and which realm it is, all come from the HSM.
    pub(crate) fn relay(&self) -> Option<Arc<Relay>> {
        self.relay.as_ref().filter(|_| self.known.read().device.is_none()).cloned()
    }

    /// Asks the HSM on the agent's own behalf, not for a replica.
    pub(crate) async fn ask_hsm<A: Ask>(&self, ask: A) -> Result<A::Answer, Unanswered> {
        self.hsm.ask(ask).await
    }

    /// Passes a request to the HSM, for the operator.
    pub(crate) async fn pass_to_hsm(&self, request: Request) -> Option<Reply> {
        self.hsm.call(request.into()).await
    }

    pub(crate) const fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Whether the store may be relied on.
    pub(crate) const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Asks the HSM who it is. Fails with its refusal, or with `None` if it does not answer.
    pub(crate) async fn refresh(&self) -> Result<(), Option<Refusal>> {
        let device = self.hsm.ask(ask::Status).await.map_err(|unanswered| match unanswered {
            Unanswered::Refused(refusal) => Some(refusal),
            Unanswered::Senseless | Unanswered::Lost => None,
        })?;
        let mut known = self.known.write();
        if known.device.as_ref().is_some_and(|before| before.hsm != device.hsm) {
            tracing::warn!(hsm = %device.hsm, "the HSM was replaced; its groups start over");
            known.groups.clear();
        }
        self.wear.set(&device.wear);
        let worse = |before: &DeviceStatus| before.wear.bad_units < device.wear.bad_units;
        if known.device.as_ref().map_or(device.wear.bad_units > 0, worse) {
            let (bad, spare) = (device.wear.bad_units, device.wear.spare_units);
            tracing::warn!(hsm = %device.hsm, bad, spare, "erase units of the HSM's NVRAM failed; replace it before none is spare");
        }
        known.device = Some(device);
        Ok(())
    }

    /// Starts what is not running: a replica for each group of the HSM.
    pub(crate) fn start_groups(&self) {
        let mut known = self.known.write();
        let Known { device: Some(device), groups } = &mut *known else { return };
        let Some(realm) = &device.realm else { return };
        let is_member = |group: &GroupId| device.groups.iter().any(|status| status.statement.group == *group);
        groups.retain(|group, _| {
            let stays = is_member(group);
            if !stays {
                tracing::info!(%group, "the HSM has left a group; its replica ends");
                self.log.forget(group);
            }
            stays
        });
        for status in &device.groups {
            let id = status.statement.group;
            match groups.get(&id) {
                Some(running) if running.is_running() => continue,
                Some(_) => tracing::error!(group = %id, "a bug ended a replica; it starts over"),
                None => tracing::info!(group = %id, "a group starts"),
            }
            if let Some(settings) = self.settings(device, realm.realm, status.statement.clone()) {
                let (hsm, store, peers) = (self.hsm.clone(), self.store.clone(), self.peers.clone());
                let tree = self.tree(id, device.groups.len());
                let beside = Beside {
                    time: self.time.clone(),
                    log: self.log.clone(),
                    traces: self.traces.clone(),
                    scrub: self.scrub.clone(),
                    publishing: self.publish.clone(),
                    telling: self.telling.clone(),
                    of_realm: realm.clone(),
                };
                let group = Group::start(settings, hsm, store, tree, peers, beside);
                groups.insert(id, group);
            }
        }
    }

    fn tree(&self, group: GroupId, groups: usize) -> TreeStore {
        let (objects, base) = (self.store.objects(), self.store.base());
        let (timeouts, sweeps) = (self.timing.tree, self.sweeps);
        let settings = TreeSettings { timeouts, sweeps, ..TreeSettings::shared_by(groups) };
        TreeStore::new(objects, base, group, settings, self.trees.clone())
    }

    /// Asks the HSM again soon, because it was told something new.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Completes after [`Self::wake`].
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn settings(&self, device: &DeviceStatus, realm: RealmId, group: GroupStatement) -> Option<Settings> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Election { timeout_min, timeout_max, heartbeat } = self.election;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .inspect_err(|error| tracing::error!(%error, "the system has no randomness to give"))
            .ok()?;
        Some(Settings {
            hsm: device.hsm,
            realm,
            group,
            limits: device.limits,
            election_timeout_ms: ms(timeout_min)..=ms(timeout_max),
            heartbeat_ms: ms(heartbeat),
            hsm_silence_ms: ms(self.timing.hsm_silence.0)..=ms(self.timing.hsm_silence.1),
            storage: self.storage,
            seed,
        })
    }

    /// What the HSM last said about itself.
    pub(crate) fn device(&self) -> Option<DeviceStatus> {
        self.known.read().device.clone()
    }

    pub(crate) fn hsm_id(&self) -> Option<HsmId> {
        self.known.read().device.as_ref().map(|device| device.hsm)
    }

    /// What each replica is doing.
    pub(crate) fn groups(&self) -> Vec<(GroupId, Status)> {
        let known = self.known.read();
        known.groups.iter().map(|(id, group)| (*id, group.status())).collect()
    }

    /// What is wrong with the stored tree of a group, as far as this agent has noticed.
    pub(crate) fn tree_damage(&self, group: &GroupId) -> Option<String> {
        let known = self.known.read();
        known.groups.get(group).and_then(Group::tree_damage)
    }

    /// How many requests clients have sent lately about a group, if it is led here.
    pub(crate) fn load(&self, group: &GroupId) -> Option<Counted> {
        self.known.read().groups.get(group)?.counted()
    }

    /// What is being copied here: from which group, to which, and the prefix.
    pub(crate) fn copying(&self) -> Vec<(GroupId, GroupId, Prefix)> {
        self.copying.lock().clone()
    }

    /// How the last calls to the object store failed.
    pub(crate) fn store_trouble(&self) -> Option<String> {
        self.store.metrics().trouble()
    }

    /// What the store holds as the founding of a realm.
    pub(crate) async fn founding(&self, realm: RealmId) -> ReadOutcome {
        self.store.read(&crate::store::founding_object(realm)).await
    }

    /// What the store holds as the statement of a realm.
    pub(crate) async fn statement(&self, realm: RealmId) -> ReadOutcome {
        self.store.read(&crate::store::statement_object(realm)).await
    }

    /// Handles a message from another agent; returns when there is room for the next.
    pub(crate) async fn deliver(&self, from: HsmId, message: PeerMessage) {
        let group = self.known.read().groups.get(&message.group()).cloned();
        if let Some(group) = group {
            group.deliver(from, message).await;
        }
    }

    /// Gives a request to the replica here, without waiting for a leader and without forwarding.
    pub(crate) async fn ask(&self, sent: Sent, trail: &Trail) -> Answer {
        match self.covering(&sent.request.record) {
            Some(group) => group.ask(sent, trail).await,
            None => Answer::NotCovered,
        }
    }

    fn covering(&self, record: &RecordId) -> Option<Group> {
        let known = self.known.read();
        known.groups.values().find(|group| group.covers(record)).cloned()
    }

    /// Gives a request to the leader, wherever that is. Waits up to [`Timing::hold`] for a leader, or not at all if no
    /// other agent can be reached. The replica here need not run, nor know the group, nor have its HSM: what it does
    /// not know, the other agents are asked.
    async fn route(&self, sent: Sent, trail: &Trail) -> Answer {
        let deadline = Instant::now() + self.timing.hold;
        self.peers.stir();
        loop {
            let mut group = self.covering(&sent.request.record);
            if let Some(group) = &mut group {
                // Only what comes after this question is news; without this, an old change would stay news forever.
                group.mark_unchanged();
            }
            let answer = match &group {
                Some(group) if !self.is_alone(Some(group)) => match group.leader_elsewhere() {
                    Some(leader) => Answer::NotLeader(Some(leader)),
                    None => group.ask(sent.clone(), trail).await,
                },
                Some(_) | None => Answer::NotCovered,
            };
            let told = match answer {
                Answer::NotLeader(leader) => leader,
                Answer::NotCovered => None,
                answer => return answer,
            };
            if let Some(answer) = self.forward(told, (&sent, trail), &mut group).await {
                return answer;
            }
            if self.is_alone(group.as_ref()) || Instant::now() >= deadline {
                return Answer::Unavailable;
            }
            let _ = timeout(RETRY, timeout_at(deadline, news(&mut group))).await;
        }
    }

    /// Whether a group, or an unknown one, needs other agents to serve, and none of them can be reached.
    fn is_alone(&self, group: Option<&Group>) -> bool {
        group.is_none_or(|group| group.members() > 1)
            && !self.peers.is_empty()
            && !self.peers.is_any_there(UNHEARD)
    }

    /// Passes a request to the leader that the replica here names or, without one, that the other agents name: those that
    /// have done so lately, or else when they are asked. `None` if no leader is known; then nothing was done.
    async fn forward(
        &self,
        told: Option<HsmId>,
        (sent, trail): (&Sent, &Trail),
        group: &mut Option<Group>,
    ) -> Option<Answer> {
        let mut likely: VecDeque<HsmId> = told.into_iter().collect();
        if group.is_none() {
            // They said so a moment ago. A replica here usually knows more than they did.
            likely.extend(self.peers.leaders_there(&sent.request.record));
        }
        let (mut tried, mut asked) = (BTreeSet::new(), false);
        loop {
            let Some(leader) = likely.pop_front() else {
                if std::mem::replace(&mut asked, true) {
                    return None;
                }
                tokio::select! {
                    () = self.peers.ask_around(&sent.request.record) => {}
                    // The replica here usually knows sooner.
                    () = news(group) => group.iter_mut().for_each(Group::mark_changed),
                }
                likely.extend(self.peers.leaders_of(&sent.request.record));
                continue;
            };
            if !tried.insert(leader) {
                continue;
            }
            tracing::debug!(request = %trail.request, to = %leader, "a request goes to the leader");
            let mut span = self.traces.begin(trail, "forward", Role::Client);
            if let Some(span) = &mut span {
                span.say(Attribute::Hsm(leader));
            }
            let inside = span.as_ref().and_then(Open::trail).unwrap_or(*trail);
            let forwarded = self.peers.forward(leader, sent, &inside);
            let forwarded = tokio::select! {
                forwarded = forwarded => forwarded,
                // Nothing that it answers would count any more, and it may be stalled for a long time.
                () = superseded(group, leader), if told == Some(leader) => Forwarded::Unknown,
            };
            if let Some(span) = span {
                let (outcome, well) = outcome_of(&forwarded);
                span.end(outcome, well);
            }
            match forwarded {
                Forwarded::Answer(Answer::NotLeader(other)) => likely.extend(other),
                Forwarded::Answer(Answer::NotCovered) | Forwarded::NotSent => {}
                Forwarded::Answer(answer) => return Some(answer),
                // It may have been carried out; a second time could cost the user a guess.
                Forwarded::Unknown => return Some(Answer::Unavailable),
            }
        }
    }

    /// Whether clients' requests should come to this agent: it serves them, hands them on to who does, or relays them.
    pub(crate) fn readiness(&self) -> Readiness {
        if let Some(relay) = self.relay() {
            return relay.readiness();
        }
        let known = self.known.read();
        let led = known.groups.values().any(|group| group.leads() || group.leader().is_some());
        let realm = known.device.as_ref().is_some_and(|device| device.realm.is_some());
        let check = |name, is_needed, holds: bool, why: &str| Check {
            name,
            is_needed,
            failed: (!holds).then(|| why.to_owned()),
        };
        let (trust, trouble) = (self.trust.why_not(), self.store_trouble());
        Readiness(vec![
            check("runs", true, !self.ends.load(Ordering::Relaxed), "the agent is about to end"),
            // Requests are handed on without it, and the store is the same for everybody.
            check("hsm", false, self.calls.answers(), "it does not answer: look at `hsm status`"),
            check("realm", true, realm, "the HSM has none: look at `hsm status`"),
            check("group", true, !known.groups.is_empty(), "none runs here: look at `group status`"),
            check("leader", true, led, "no group's leader is known: look at `group status`"),
            Check { name: "store", is_needed: trust.is_some(), failed: trust.or(trouble) },
        ])
    }

    /// Reads what the HSM said about its realm, once it has one.
    fn of_realm<T>(&self, read: impl FnOnce(&RealmStatus) -> T) -> Option<T> {
        let known = self.known.read();
        known.device.as_ref()?.realm.as_ref().map(read)
    }
}

const fn outcome_of(forwarded: &Forwarded) -> (&'static str, bool) {
    match forwarded {
        Forwarded::Answer(Answer::NotLeader(_) | Answer::NotCovered) => ("not_leader", true),
        Forwarded::Answer(Answer::Unavailable | Answer::Busy) => ("unavailable", false),
        Forwarded::Answer(Answer::Reply(_) | Answer::Refused(_)) => ("answered", true),
        Forwarded::NotSent => ("not_sent", false),
        Forwarded::Unknown => ("unknown", false),
    }
}

/// Completes when the replica of a group says that requests go elsewhere.
async fn news(group: &mut Option<Group>) {
    match group {
        Some(group) => group.changed().await,
        None => std::future::pending().await,
    }
}

/// Completes when the replica follows another leader than this one.
async fn superseded(group: &mut Option<Group>, leader: HsmId) {
    let Some(group) = group else { return std::future::pending().await };
    while group.leader().is_none_or(|now| now == leader) {
        group.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::driver::CLIENT_QUEUE;
    use super::*;
    use crate::link::{Link, Lost};
    use crate::peers;
    use crate::traces::RequestId;
    use crate::vital::Vital;
    use async_trait::async_trait;
    use futures::FutureExt;
    use strongroom_proto::hsm::{BatchRequest, NoiseMessage};
    use strongroom_proto::ids::SessionId;

    const TRAIL: Trail = Trail::unsampled(RequestId::new(1, 2));

    struct Dead;

    #[async_trait]
    impl Link for Dead {
        async fn call(&self, _: Vec<u8>) -> Result<Vec<u8>, Lost> {
            Err(Lost)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_held_while_there_is_no_leader_and_ask_no_more_often_than_the_pause() {
        let (identity, identities) = watch::channel(None);
        let smallest = "hsm = 'tcp:none:1'\nstore = 'memory://'\ntenants = 'tenants.toml'";
        let store = Store::on(Arc::new(object_store::memory::InMemory::new()));
        let hub = Arc::new(Hub::new(
            Hsm::start(Arc::new(Dead), &Vital::new().0),
            store.clone(),
            Peers::start(&[], &identities, peers::Timeouts::default()),
            &Config::parse("agent.toml".as_ref(), smallest).expect("usable"),
            &Metrics::new(&store),
            Time::system(),
            identity,
        ));
        let (group, asked) = Group::leaderless();
        let (room, hold) = (CLIENT_QUEUE, hub.timing.hold);
        hub.known.write().groups.insert(GroupId([1; 16]), group);
        let message = NoiseMessage::Transport { ciphertext: vec![1].into() };
        let request = BatchRequest { record: RecordId([0; 32]), session: SessionId(1), message, time: None };
        let sent = Sent::from(request);
        let began = Instant::now();
        let held: Vec<_> = (0..room)
            .map(|_| {
                let (hub, sent) = (Arc::clone(&hub), sent.clone());
                tokio::spawn(async move { (hub.route(sent, &TRAIL).await, began.elapsed()) })
            })
            .collect();
        for held in held {
            let (answer, after) = held.await.expect("does not panic");
            assert_eq!(answer, Answer::Unavailable);
            assert!(after >= hold, "given up after {after:?}");
        }
        let rounds = u64::try_from(hold.as_millis() / RETRY.as_millis()).expect("small") + 2;
        let asked = asked.load(Ordering::Relaxed);
        assert!((1..=room as u64 * rounds).contains(&asked), "asked {asked} times");
    }

    #[tokio::test]
    async fn a_leader_is_superseded_when_another_is_followed_and_not_when_none_is() {
        let (old, new) = (HsmId([1; 16]), HsmId([2; 16]));
        let (group, publish) = Group::following(old);
        let mut group = Some(group);
        let mut superseded = Box::pin(superseded(&mut group, old));
        assert!(superseded.as_mut().now_or_never().is_none());
        publish.send_modify(|now| now.leader = None);
        assert!(superseded.as_mut().now_or_never().is_none(), "an election may end with the same leader");
        publish.send_modify(|now| now.leader = Some(new));
        assert!(superseded.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_request_that_finds_the_queue_full_is_told_so_and_is_not_tried_again() {
        let group = Group::stuck();
        let message = NoiseMessage::Transport { ciphertext: vec![1].into() };
        let request = BatchRequest { record: RecordId([0; 32]), session: SessionId(1), message, time: None };
        let sent = Sent::from(request);
        let mut waiting: Vec<_> =
            (0..CLIENT_QUEUE).map(|_| Box::pin(group.ask(sent.clone(), &TRAIL))).collect();
        assert!(waiting.iter_mut().all(|ask| ask.as_mut().now_or_never().is_none()), "there is room");
        assert_eq!(group.ask(sent, &TRAIL).now_or_never(), Some(Answer::Busy));
    }
}
