//! What a local realm is made of, and how it bears with the machine that it is on.
//!
//! Tests run beside anything. What they decide must not hang on how long it takes, so a patient realm gives up nothing
//! that is under way, and whether a leader is missed is up to the test.

use std::time::Duration;
use strongroom_agent::config::{Config, Election, HsmAddress};
use strongroom_agent::link::SocketLink;
use strongroom_agent::store::{Store, StoreError};
use strongroom_agent::timing::Timing;
use strongroom_client::{ClientBuilder, RetryPolicy};
use strongroom_replica::Storage;

/// How long a deployed realm is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a patient realm and its clients wait for what is under way.
const LONG: Duration = Duration::from_secs(600);
/// The silence after which a patient realm misses its leader. As it may be made to pass at once, it is shorter than the
/// ten seconds that a new leader has to become ready.
const SILENCE: Election = Election {
    timeout_min: Duration::from_secs(4),
    timeout_max: Duration::from_secs(8),
    heartbeat: Duration::from_millis(50),
};

/// How the agent of a member gets at the store.
type OpenStore = dyn Fn(&Config) -> Result<Store, StoreError> + Send + Sync;

/// What a local realm is made of. By default as its folder says, and as it is deployed.
pub struct Setting {
    /// How the agent of a member gets at the store.
    pub open: Box<OpenStore>,
    /// When snapshots are taken.
    pub storage: Storage,
    /// How many HSMs are emulated boards, the first ones.
    pub boards: usize,
    /// Whether agents know each other's front doors, for when they have not heard of their HSMs.
    pub fronts: bool,
    /// How it bears with the machine that it is on.
    pub pace: Pace,
}

impl Default for Setting {
    fn default() -> Self {
        let open = |config: &Config| Store::open(&config.store, &config.store_options);
        Self {
            open: Box::new(open),
            storage: Storage::default(),
            boards: 0,
            fronts: false,
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

/// How a local realm bears with the machine that it is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// With the limits of agents and clients as they are deployed.
    Deployed,
    /// Nothing is given up because it takes long, and no leader is missed but one that [`super::LocalRealm::leader`] is
    /// told of.
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

    /// How long anything of it is waited for.
    pub(super) const fn limit(self) -> Duration {
        match self {
            Self::Deployed => PATIENCE,
            Self::Patient => LONG,
        }
    }

    /// The silence that may be made to pass for a leader that was lost.
    pub(super) const fn silence(self) -> Duration {
        match self {
            Self::Deployed => Duration::ZERO,
            Self::Patient => SILENCE.timeout_max,
        }
    }
}
