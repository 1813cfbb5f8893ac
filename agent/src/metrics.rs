//! What an agent counts, and the page where it can be read.
//!
//! Each agent has a registry of its own. The page is for the operator: it names no users and no secrets, but shows how
//! busy a realm is, so it belongs on a network that only the operator reaches. Readers are not trusted: memory and time
//! are bounded.

mod batches;
mod elections;
pub(crate) mod label;

use self::batches::{BatchMetrics, Batches};
use self::elections::Elections;
use self::label::GroupLabel;
use crate::accept::accept;
use crate::clock::Clock;
use crate::events::TellMetrics;
use crate::front::FrontMetrics;
use crate::link::HsmMetrics;
use crate::memory::resident;
use crate::peers::Refused;
use crate::publish::PublishMetrics;
use crate::scrub::ScrubMetrics;
use crate::store::{Store, StoreMetrics, Trust};
use crate::traces::TraceMetrics;
use crate::tree::TreeMetrics;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_proto::hsm::Wear;
use strongroom_proto::ids::{GroupId, Index, Term};
use strongroom_replica::{CallId, Purpose, Role, Status};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Concurrent connections, and how long each may last.
const MAX_CONNECTIONS: usize = 16;
const CONNECTION_TIME: Duration = Duration::from_secs(10);
const OPENMETRICS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one agent. All names begin with `strongroom_`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    store: StoreMetrics,
    trust: Trust,
    tree: TreeMetrics,
    refused_peers: Refused,
    peer_certificate_end: Gauge,
    traces: TraceMetrics,
    front: FrontMetrics,
    wear: WearMetrics,
    hsm: HsmMetrics,
    log: LogMetrics,
    scrub: ScrubMetrics,
    publish: PublishMetrics,
    tell: TellMetrics,
    memory: Gauge,
}

/// How fast this agent's HSM follows the log. A clone counts into the same.
///
/// The rate of `captured` is how fast it follows; of `from_store`, how fast it catches up with what it has missed. A
/// member that has caught up captures what it is pushed, and reads nothing.
#[derive(Clone, Debug, Default)]
pub struct LogMetrics {
    captured: Counter,
    from_store: Counter,
    reads: Counter,
    read_rounds: Counter,
    leaderships: Counter,
    elections: Elections,
    batches: BatchMetrics,
    behind: Family<GroupLabel, Gauge>,
    groups: GroupGauges,
}

/// How each group is doing, as this member sees it.
#[derive(Clone, Debug, Default)]
struct GroupGauges {
    leads: Family<GroupLabel, Gauge>,
    serves: Family<GroupLabel, Gauge>,
    has_leader: Family<GroupLabel, Gauge>,
    retired: Family<GroupLabel, Gauge>,
    faults: Family<GroupLabel, Gauge>,
    waiting: Family<GroupLabel, Gauge>,
    unstored: Family<GroupLabel, Gauge>,
    segment: Family<GroupLabel, Gauge>,
    snapshot: Family<GroupLabel, Gauge>,
}

impl GroupGauges {
    fn register(&self, registry: &mut Registry) {
        let group = registry.sub_registry_with_prefix("group");
        group.register("leads", "Whether this member leads: 1 or 0", self.leads.clone());
        group.register("serves", "Whether this member leads and serves: 1 or 0", self.serves.clone());
        let help =
            "Whether this member leads, follows a leader, or need not because the group has retired: 1 or 0";
        group.register("has_leader", help, self.has_leader.clone());
        let help = "Whether the group has made its last entry, as far as this member knows: 1 or 0";
        group.register("retired", help, self.retired.clone());
        let help =
            "Whether something that this member needs is damaged or missing: 1 or 0; the log says what";
        group.register("faults", help, self.faults.clone());
        let help = "Client requests that wait at this member";
        group.register("requests_waiting", help, self.waiting.clone());
        let help = "Log entries since the newest snapshot that is known here";
        group.register("entries_since_snapshot", help, self.unstored.clone());
        let help = "When this member last learned of a newer segment, in Unix time; its start, before that";
        let unit = || Unit::Seconds;
        group.register_with_unit("segment_timestamp", help, unit(), self.segment.clone());
        let help = "When this member last learned of a newer snapshot, in Unix time; its start, before that";
        group.register_with_unit("snapshot_timestamp", help, unit(), self.snapshot.clone());
    }

    /// A newer segment, or a newer snapshot, is known now.
    fn is_newer(gauge: &Family<GroupLabel, Gauge>, group: &GroupLabel, unix: &Clock) {
        gauge.get_or_create(group).set(i64::try_from(unix()).unwrap_or(i64::MAX));
    }

    fn set(&self, group: &GroupLabel, now: &Status) {
        let set = |gauge: &Family<GroupLabel, Gauge>, value: i64| {
            gauge.get_or_create(group).set(value);
        };
        let many = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        set(&self.leads, matches!(now.role, Role::Leader { .. }).into());
        set(&self.serves, now.serving.into());
        set(&self.has_leader, (now.leader.is_some() || now.serving || now.retired).into());
        set(&self.retired, now.retired.into());
        set(&self.faults, now.fault.is_some().into());
        set(&self.waiting, i64::try_from(now.waiting).unwrap_or(i64::MAX));
        set(&self.unstored, many(now.tip.0.saturating_sub(now.snapshot.0)));
    }

    const fn all(&self) -> [&Family<GroupLabel, Gauge>; 9] {
        let Self { leads, serves, has_leader, retired, faults, waiting, unstored, segment, snapshot } = self;
        [leads, serves, has_leader, retired, faults, waiting, unstored, segment, snapshot]
    }
}

impl LogMetrics {
    /// The group is not run here any more.
    pub(crate) fn forget(&self, group: &GroupId) {
        let label = GroupLabel::of(group);
        for gauge in self.groups.all().into_iter().chain([&self.behind]) {
            gauge.remove(&label);
        }
        self.batches.forget(&label);
    }

    /// The same, for one group, with a clock.
    pub(crate) fn of(&self, group: GroupId, unix: Clock) -> GroupMetrics {
        let label = GroupLabel::of(&group);
        let behind = self.behind.get_or_create(&label).clone();
        let (captured, from_store, reads, read_rounds) = (0, 0, 0, 0);
        let (was_behind, last, reached) = (None, None, None);
        GroupMetrics {
            all: self.clone(),
            batches: Batches::new(self.batches.clone(), &label),
            unix,
            reached,
            label,
            behind,
            captured,
            from_store,
            reads,
            read_rounds,
            was_behind,
            last,
        }
    }

    fn register(&self, registry: &mut Registry) {
        let log = registry.sub_registry_with_prefix("log");
        log.register("entries_captured", "Log entries that the HSM has captured", self.captured.clone());
        log.register(
            "entries_read",
            "Log entries read from the store to catch up, not counting those that were pushed",
            self.from_store.clone(),
        );
        log.register(
            "entries_behind",
            "Log entries that the HSM still has to capture, as far as is known",
            self.behind.clone(),
        );
        let help =
            "Times that this member began to lead a group; often means that leaders are lost, or fight";
        log.register("leaderships", help, self.leaderships.clone());
        self.elections.register(log);
        self.batches.register(registry);
        self.groups.register(registry);
        let reads = registry.sub_registry_with_prefix("reads");
        reads.register("answered", "Client requests answered without a log entry", self.reads.clone());
        reads.register(
            "rounds",
            "Times that a majority of the members stated that nothing is newer, for such answers",
            self.read_rounds.clone(),
        );
    }
}

/// What one group's replica reports.
pub(crate) struct GroupMetrics {
    all: LogMetrics,
    label: GroupLabel,
    behind: Gauge,
    /// What was counted last.
    captured: u64,
    from_store: u64,
    reads: u64,
    read_rounds: u64,
    was_behind: Option<u64>,
    batches: Batches,
    unix: Clock,
    /// The newest entry in the store, and what the newest snapshot reaches.
    reached: Option<(Index, Index)>,
    last: Option<Shown>,
}

/// What the gauges of a group show.
#[derive(PartialEq, Eq)]
struct Shown {
    role: Role,
    leader: bool,
    serving: bool,
    fault: bool,
    waiting: usize,
    unstored: u64,
    retired: bool,
}

impl GroupMetrics {
    /// The replica asks its HSM something.
    pub(crate) fn asks(&mut self, call: CallId, purpose: Option<Purpose>) {
        self.batches.asks(call, purpose, Instant::now());
    }

    /// A reply has come, or is lost.
    pub(crate) fn replied(&mut self, call: CallId, came: bool) {
        self.batches.replied(call, came);
    }

    /// Adds what is new since the last time.
    pub(crate) fn set(&mut self, now: &Status) {
        let all = &self.all;
        for (counter, counted, now) in [
            (&all.captured, &mut self.captured, now.captured.0),
            (&all.from_store, &mut self.from_store, now.from_store),
            (&all.reads, &mut self.reads, now.reads),
            (&all.read_rounds, &mut self.read_rounds, now.read_rounds),
        ] {
            let before = std::mem::replace(counted, now);
            if now > before {
                counter.inc_by(now - before);
            }
        }
        if self.was_behind.replace(now.behind) != Some(now.behind) {
            self.behind.set(now.behind.try_into().unwrap_or(i64::MAX));
        }
        let shown = Shown {
            role: now.role,
            leader: now.leader.is_some(),
            serving: now.serving,
            fault: now.fault.is_some(),
            waiting: now.waiting,
            unstored: now.tip.0.saturating_sub(now.snapshot.0),
            retired: now.retired,
        };
        let term = leadership(shown.role);
        self.batches.seen(term, now.newest, now.committed, Instant::now());
        let (before, reached) = (self.reached, (now.tip, now.snapshot));
        if before != Some(reached) {
            let groups = &self.all.groups;
            if before.is_none_or(|(tip, _)| tip != now.tip) {
                GroupGauges::is_newer(&groups.segment, &self.label, &self.unix);
            }
            if before.is_none_or(|(_, snapshot)| snapshot != now.snapshot) {
                GroupGauges::is_newer(&groups.snapshot, &self.label, &self.unix);
            }
            self.reached = Some(reached);
        }
        let last = self.last.as_ref().map(|last| last.role);
        if last != Some(shown.role) {
            self.all.elections.turned(last, shown.role);
        }
        if term.is_some() && self.last.as_ref().is_none_or(|last| last.role != shown.role) {
            self.all.leaderships.inc();
        }
        if self.last.as_ref() != Some(&shown) {
            self.all.groups.set(&self.label, now);
            self.last = Some(shown);
        }
    }
}

/// The leadership of this member, if it leads.
const fn leadership(role: Role) -> Option<Term> {
    match role {
        Role::Leader { term } => Some(term),
        Role::Starting | Role::Witness | Role::Candidate | Role::Faulted => None,
    }
}

/// How worn the HSM's NVRAM is, as the HSM last reported. A clone shows the same.
#[derive(Clone, Debug, Default)]
pub struct WearMetrics {
    units: Gauge,
    bad_units: Gauge,
    spare_units: Gauge,
    erases: Gauge,
    erases_per_unit: Gauge,
}

impl WearMetrics {
    /// Shows what an HSM reports about itself.
    pub fn set(&self, wear: &Wear) {
        self.units.set(wear.units.into());
        self.bad_units.set(wear.bad_units.into());
        self.spare_units.set(wear.spare_units.into());
        self.erases.set(wear.erases.try_into().unwrap_or(i64::MAX));
        self.erases_per_unit.set(wear.erases_per_unit().try_into().unwrap_or(i64::MAX));
    }

    fn register(&self, registry: &mut Registry) {
        let nvram = registry.sub_registry_with_prefix("nvram");
        nvram.register("units", "Erase units of the HSM's NVRAM", self.units.clone());
        nvram.register("bad_units", "Units that failed and are no longer used", self.bad_units.clone());
        nvram.register(
            "spare_units",
            "Units that may still fail before the HSM stops permanently",
            self.spare_units.clone(),
        );
        nvram.register("erases", "Erases of units so far, over all units", self.erases.clone());
        nvram.register(
            "erases_per_unit",
            "Erases of each unit in use so far, roughly",
            self.erases_per_unit.clone(),
        );
    }
}

impl Metrics {
    /// The metrics of an agent on `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        let mut registry = Registry::with_prefix("strongroom");
        let store = store.metrics().clone();
        store.register(&mut registry);
        let trust = Trust::default();
        trust.register(&mut registry);
        let tree = TreeMetrics::default();
        tree.register(&mut registry);
        let refused_peers = Refused::default();
        refused_peers.register(&mut registry);
        let peer_certificate_end = Gauge::default();
        let help =
            "When the certificate that other agents know this one by expires, in Unix time; 0 without one";
        let peer = registry.sub_registry_with_prefix("peer");
        peer.register_with_unit(
            "certificate_end_timestamp",
            help,
            Unit::Seconds,
            peer_certificate_end.clone(),
        );
        let traces = TraceMetrics::default();
        traces.register(&mut registry);
        let wear = WearMetrics::default();
        wear.register(&mut registry);
        let hsm = HsmMetrics::default();
        hsm.register(&mut registry);
        let log = LogMetrics::default();
        log.register(&mut registry);
        let scrub = ScrubMetrics::default();
        scrub.register(&mut registry);
        let publish = PublishMetrics::default();
        publish.register(&mut registry);
        let tell = TellMetrics::default();
        tell.register(&mut registry);
        let front = FrontMetrics::default();
        front.register(&mut registry);
        let memory = Gauge::default();
        let help = "Memory of this process that is its own, apart from files";
        registry.register_with_unit("memory", help, Unit::Bytes, memory.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("build", crate::BUILD)]);
        registry.register("build", "Which build this is", build);
        Self {
            registry,
            store,
            trust,
            tree,
            refused_peers,
            peer_certificate_end,
            traces,
            front,
            wear,
            hsm,
            log,
            scrub,
            publish,
            tell,
            memory,
        }
    }

    /// Calls to the object store.
    #[must_use]
    pub const fn store(&self) -> &StoreMetrics {
        &self.store
    }

    /// Whether the object store may be relied on.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The stored trees.
    #[must_use]
    pub const fn tree(&self) -> &TreeMetrics {
        &self.tree
    }

    /// Connections refused at the peer address.
    pub(crate) const fn refused_peers(&self) -> &Refused {
        &self.refused_peers
    }

    /// When the certificate expires that other agents know this one by.
    pub(crate) const fn peer_certificate_end(&self) -> &Gauge {
        &self.peer_certificate_end
    }

    /// What became of spans.
    #[must_use]
    pub const fn traces(&self) -> &TraceMetrics {
        &self.traces
    }

    /// The HSM's NVRAM.
    #[must_use]
    pub const fn wear(&self) -> &WearMetrics {
        &self.wear
    }

    /// The calls to the HSM.
    #[must_use]
    pub const fn hsm(&self) -> &HsmMetrics {
        &self.hsm
    }

    /// How fast the log is followed.
    #[must_use]
    pub const fn log(&self) -> &LogMetrics {
        &self.log
    }

    /// Scrubbing.
    #[must_use]
    pub const fn scrub(&self) -> &ScrubMetrics {
        &self.scrub
    }

    /// What tenants are told.
    #[must_use]
    pub const fn tell(&self) -> &TellMetrics {
        &self.tell
    }

    /// What is published of logs.
    #[must_use]
    pub const fn publish(&self) -> &PublishMetrics {
        &self.publish
    }

    /// The front door.
    #[must_use]
    pub const fn front(&self) -> &FrontMetrics {
        &self.front
    }

    /// All metrics in the text format of OpenMetrics 1.0.
    ///
    /// # Errors
    /// A metric cannot be written.
    pub fn text(&self) -> Result<String, fmt::Error> {
        if let Some(resident) = resident(None) {
            self.memory.set(i64::try_from(resident.own_bytes).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Serves `GET /metrics` on `listener` until it is dropped, and these pages beside it.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, pages: Router) {
    let page = move || {
        let text = metrics.text();
        async move {
            match text {
                Ok(text) => {
                    ([(CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS_TEXT))], text).into_response()
                }
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    };
    let router = pages.route("/metrics", get(page));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("this semaphore is never closed");
        let (stream, _) = accept(&listener).await;
        let connection = timeout(CONNECTION_TIME, answer(stream, router.clone()));
        tokio::spawn(async move {
            // A reader that is too slow can ask again.
            let _ = connection.await;
            drop(place);
        });
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).keep_alive(false);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the metrics ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERTS: &str = include_str!("../packaging/prometheus/alerts.yml");
    const ALERTS_TEST: &str = include_str!("../packaging/prometheus/alerts_test.yml");
    const DASHBOARD: &str = include_str!("../packaging/grafana/strongroom.json");

    #[tokio::test]
    async fn when_a_certificate_ends_is_called_a_moment_by_all_who_speak_of_it() {
        let store = Store::on(Arc::new(object_store::memory::InMemory::new()));
        let text = Metrics::new(&store).text().expect("it can be written");
        for whose in ["front", "peer"] {
            let stem = format!("strongroom_{whose}_certificate_end");
            let name = format!("{stem}_timestamp_seconds");
            assert!(text.lines().any(|line| line == format!("{name} 0")), "{name} is not in {text}");
            for readers in [ALERTS, ALERTS_TEST, DASHBOARD] {
                let all = readers.matches(&stem).count();
                assert!(all > 0 && readers.matches(&name).count() == all, "{all} times {stem}");
            }
        }
    }
}
