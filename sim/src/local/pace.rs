//! What a local realm is made of, and how patient it is with the machine that it runs on.
//!
//! Tests run next to anything. What they decide must not depend on how long it takes, so a patient realm gives up
//! nothing that is under way, and the test decides whether a leader counts as missing.

use std::num::NonZeroU16;
use std::time::Duration;
use strongroom_agent::config::{Config, Election, HsmAddress, Rebalance, TraceSettings, WitnessSettings};
use strongroom_agent::link::SocketLink;
use strongroom_agent::store::{Store, StoreError};
use strongroom_agent::timing::Timing;
use strongroom_client::{ClientBuilder, RetryPolicy};
use strongroom_replica::Storage;

/// How long to wait for a deployed realm.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a patient realm and its clients wait for what is under way.
const LONG: Duration = Duration::from_secs(600);
/// The silence after which a patient realm misses its leader. Because a test may make it pass at once, it is shorter
/// than the ten seconds that a new leader has to become ready.
const SILENCE: Election = Election {
    timeout_min: Duration::from_secs(4),
    timeout_max: Duration::from_secs(8),
    heartbeat: Duration::from_millis(50),
};

/// How a member's agent opens its store.
type OpenStore = dyn Fn(&Config) -> Result<Store, StoreError> + Send + Sync;

/// What a local realm is made of. By default its store is in its folder, and its limits are as deployed.
pub struct Setting {
    /// How a member's agent opens its store.
    pub open: Box<OpenStore>,
    /// When snapshots are taken.
    pub storage: Storage,
    /// Whether prefixes move by themselves.
    pub rebalance: Rebalance,
    /// How often logs are published for outsiders to check, in seconds, if not as by default.
    pub checkpoints: Option<NonZeroU16>,
    /// For how many days events are kept for tenants, if they are written at all.
    pub events: Option<NonZeroU16>,
    /// Who cosigns what is published.
    pub witnesses: Vec<WitnessSettings>,
    /// How many HSMs are emulated boards, the first ones.
    pub boards: usize,
    /// Whether agents know each other's front doors, for the time before they have heard from their HSMs.
    pub fronts: bool,
    /// Whether agents are told each other's addresses. Otherwise they find each other in the store.
    pub peers: bool,
    /// How many more HSMs there are, with an agent each, that are in no group.
    pub spares: usize,
    /// Whether agents answer `GET /metrics` and `GET /status`, each at a free port.
    pub pages: bool,
    /// Which requests are traced, and where that goes.
    pub traces: Option<TraceSettings>,
    /// How patient it is with the machine that it runs on.
    pub pace: Pace,
}

impl Default for Setting {
    fn default() -> Self {
        let open = |config: &Config| Store::open(&config.store, &config.store_options);
        Self {
            open: Box::new(open),
            storage: Storage::default(),
            rebalance: Rebalance::default(),
            checkpoints: None,
            events: None,
            witnesses: Vec::new(),
            boards: 0,
            fronts: false,
            peers: true,
            spares: 0,
            pages: false,
            traces: None,
            pace: Pace::Deployed,
        }
    }
}

impl Setting {
    /// The default, at a patient pace.
    #[must_use]
    pub fn patient() -> Self {
        Self { pace: Pace::Patient, ..Self::default() }
    }
}

/// How patient a local realm is with the machine that it runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// With the limits of agents and clients as they are deployed.
    Deployed,
    /// Nothing is given up because it takes long, and only a leader that [`super::LocalRealm::leader`] is told about
    /// counts as missing.
    Patient,
}

impl Pace {
    pub(super) fn link(self, hsm: HsmAddress) -> SocketLink {
        match self {
            Self::Deployed => SocketLink::new(hsm),
            Self::Patient => SocketLink::with_timeout(hsm, LONG),
        }
    }

    pub(super) fn agent(self, config: Config) -> Config {
        match self {
            Self::Deployed => config,
            Self::Patient => Config { timing: Timing::patient(LONG), election: SILENCE, ..config },
        }
    }

    pub(super) fn client(self, client: ClientBuilder) -> ClientBuilder {
        match self {
            Self::Deployed => client,
            Self::Patient => client.retry_policy(RetryPolicy { patience: LONG, ..RetryPolicy::default() }),
        }
    }

    /// How long to wait for anything in it.
    pub(super) const fn limit(self) -> Duration {
        match self {
            Self::Deployed => PATIENCE,
            Self::Patient => LONG,
        }
    }

    /// The silence that a test may make pass at once when a leader is lost.
    pub(super) const fn silence(self) -> Duration {
        match self {
            Self::Deployed => Duration::ZERO,
            Self::Patient => SILENCE.timeout_max,
        }
    }
}
