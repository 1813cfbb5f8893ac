//! `agent.toml`: what an operator decides about one agent.
//!
//! Trusted for availability only: nothing here can change what an HSM allows. Relative paths are taken from the folder
//! of the file. `docs/agent.example.toml` shows every field.

use crate::file::{FileError, parse_toml, read_toml};
pub use crate::front::{Cors, FrontUrl};
pub use crate::limits::Limits;
pub use crate::link::HsmAddress;
pub use crate::peers::PeerUrl;
pub use crate::publish::WitnessSettings;
use crate::publish::witnesses;
pub use crate::store::StoreOptions;
use crate::store::parse_url;
use crate::tenants::TestTenants;
use crate::timing::Timing;
pub use crate::traces::TraceSettings;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_replica::Storage;
use url::Url;

/// The configuration of one agent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients of the realm connect. By default `127.0.0.1:8700`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Where the other agents of the realm connect, and operators with a certificate: mutual TLS, with keys that come
    /// from the HSM. By default `127.0.0.1:8701`.
    #[serde(default = "default_peer_listen")]
    pub peer_listen: SocketAddr,
    /// Where `GET /metrics` is answered, in plain HTTP. Not for the public. Not answered by default.
    pub metrics_listen: Option<SocketAddr>,
    /// Where other agents reach `peer_listen`, `https://host:port`: what this one announces in the store. By default
    /// `peer_listen`, unless that is all addresses of the machine.
    pub peer_announce: Option<PeerUrl>,
    /// Whether this agent announces itself in the store, and looks for the others there. By default it does.
    #[serde(default = "yes")]
    pub discover: bool,
    /// The peer addresses of other agents of the realm, `https://host:port` each, beside those that are found in the store.
    /// By default none.
    #[serde(default)]
    pub peers: Vec<PeerUrl>,
    /// The front doors of the other agents, `https://host:port/` each: the front door here passes clients' requests to
    /// them while the HSM has not answered since the agent started. By default none.
    #[serde(default)]
    pub fronts: Vec<FrontUrl>,
    /// The authority that the certificates of `fronts` are checked against, PEM. By default those of the machine.
    pub fronts_ca: Option<PathBuf>,
    /// Which of the realm's secrets for agents this agent is known by. Agents also accept the neighbouring epochs. By
    /// default 0.
    #[serde(default)]
    pub peer_epoch: u32,
    /// The Unix socket of the admin subcommands, for this agent's user alone. By default the name of the configuration
    /// file with the extension `.sock`.
    #[serde(default)]
    pub admin_socket: PathBuf,
    /// The HSM of this agent.
    pub hsm: HsmAddress,
    /// The object store that holds the realm's logs, the same for all its agents: `file:///…`, `memory://`,
    /// `s3://…`, `az://…` or `gs://…`.
    #[serde(deserialize_with = "store_url")]
    pub store: Url,
    /// Options of the store by name, such as credentials and endpoints.
    #[serde(default)]
    pub store_options: StoreOptions,
    /// The tenants file. See [`crate::tenants`].
    pub tenants: PathBuf,
    /// Whether what has left a group for another is deleted where it was, once it is stored where it went. By default it stays:
    /// what was copied is not compared leaf by leaf, and then there is a second copy.
    #[serde(default)]
    pub delete_what_left: bool,
    /// In how many days all that is stored of the groups that are led here is read and checked once, 1 to 365; 0 for never. By
    /// default 30.
    #[serde(default = "default_scrub_period_days", deserialize_with = "scrub_period_days")]
    pub scrub_period_days: u16,
    /// How often the log of a group that is led here is published for outsiders to check, if there is news, in seconds, 1 to 3,600;
    /// 0 for never. By default 30.
    #[serde(default = "default_checkpoint_period_s", deserialize_with = "checkpoint_period_s")]
    pub checkpoint_period_s: u16,
    /// For how many days tenants can read what happened to their users' records, 1 to 3,650; 0: they are told nothing. By default 0.
    #[serde(default, deserialize_with = "events_keep_days")]
    pub events_keep_days: u16,
    /// Cosigning witnesses, which are no members of a group: who is asked to cosign checkpoints.
    #[serde(default, deserialize_with = "witnesses")]
    pub witnesses: Vec<WitnessSettings>,
    /// Whether tenants named `test-…` are let in. By default they are not: a person who makes a test tenant expects to
    /// put nothing at risk.
    #[serde(default)]
    pub allow_test_tenants: bool,
    /// The front door's certificate. Without one, the front door speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Which pages may ask from a browser.
    #[serde(default)]
    pub cors: Cors,
    /// How much the front door takes on.
    #[serde(default, deserialize_with = "limits")]
    pub limits: Limits,
    /// When a leader counts as gone.
    #[serde(default)]
    pub election: Election,
    /// When a leader takes a snapshot, and what it keeps.
    #[serde(default, deserialize_with = "storage")]
    pub storage: Storage,
    /// Whether it moves prefixes by itself, so that all groups have about the same to do.
    #[serde(default)]
    pub rebalance: Rebalance,
    /// Which requests are traced, and where that goes. By default none.
    pub traces: Option<TraceSettings>,
    /// Whether and how often it writes what tenants use.
    #[serde(default)]
    pub usage: UsageWriting,
    /// How long the agent waits for what it depends on. Not in the file.
    #[serde(skip)]
    pub timing: Timing,
}

impl Config {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// [`FileError`], with the file, the line and what to do.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (_, config) = read_toml::<Self>(path)?;
        Ok(config.resolved(path))
    }

    /// Parses the text of a configuration that belongs at `path`.
    ///
    /// # Errors
    /// [`FileError::Content`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        Ok(parse_toml::<Self>(path, text)?.resolved(path))
    }

    /// [`Self::allow_test_tenants`], as a type.
    #[must_use]
    pub const fn test_tenants(&self) -> TestTenants {
        if self.allow_test_tenants { TestTenants::Allowed } else { TestTenants::Refused }
    }

    /// Where other agents reach this one, if it listens for them at `bound`.
    #[must_use]
    pub fn announced(&self, bound: SocketAddr) -> Option<PeerUrl> {
        let own = || PeerUrl::try_from(format!("https://{bound}")).ok();
        self.peer_announce.clone().or_else(|| own().filter(|_| !bound.ip().is_unspecified()))
    }

    fn resolved(mut self, path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let resolve = |path: &mut PathBuf| *path = folder.join(&*path);
        resolve(&mut self.tenants);
        if self.admin_socket.as_os_str().is_empty() {
            self.admin_socket = path.with_extension("sock");
        } else {
            resolve(&mut self.admin_socket);
        }
        if let HsmAddress::Unix(socket) = &mut self.hsm {
            resolve(socket);
        }
        if let Some(authority) = &mut self.fronts_ca {
            resolve(authority);
        }
        if let Some(tls) = &mut self.tls {
            resolve(&mut tls.certificate);
            resolve(&mut tls.key);
        }
        self
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8700))
}

fn default_peer_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8701))
}

const fn default_scrub_period_days() -> u16 {
    30
}

fn scrub_period_days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let days = u16::deserialize(deserializer)?;
    if days > 365 {
        return Err(D::Error::custom("scrub_period_days is from 1 to 365, or 0 for never; 30 works well"));
    }
    Ok(days)
}

const fn default_checkpoint_period_s() -> u16 {
    30
}

fn checkpoint_period_s<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let seconds = u16::deserialize(deserializer)?;
    if seconds > 3600 {
        return Err(D::Error::custom("checkpoint_period_s is from 1 to 3600, or 0 for never; 30 works well"));
    }
    Ok(seconds)
}

fn events_keep_days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let days = u16::deserialize(deserializer)?;
    if days > 3650 {
        return Err(D::Error::custom(
            "events_keep_days is from 1 to 3650, or 0 for no events; 30 works well",
        ));
    }
    Ok(days)
}

const fn yes() -> bool {
    true
}

fn store_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_url(&text).map_err(D::Error::custom)
}

/// See [`Storage::grace_ms`].
const MIN_GRACE_MS: u64 = 700_000;

/// How the file spells [`Storage`]: what is left out has its default value.
#[derive(Deserialize)]
#[serde(remote = "Storage", default = "Storage::default", deny_unknown_fields)]
struct StorageInFile {
    snapshot_after_ms: u64,
    snapshot_records: usize,
    snapshot_segments: usize,
    grace_ms: u64,
}

fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    let limits = Limits::deserialize(deserializer)?;
    if limits.guess_delay_s > limits.guess_delay_max_s.get() {
        return Err(D::Error::custom("guess_delay_s is at most guess_delay_max_s; 0 is no delay"));
    }
    Ok(limits)
}

fn storage<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Storage, D::Error> {
    let storage = StorageInFile::deserialize(deserializer)?;
    let most = 65_536;
    let records = (1..=most).contains(&storage.snapshot_records);
    let segments = (1..=most).contains(&storage.snapshot_segments);
    if !records || !segments {
        return Err(D::Error::custom(
            "snapshot_records and snapshot_segments are from 1 to 65536; 4096 and 512 work well",
        ));
    }
    if storage.grace_ms < MIN_GRACE_MS {
        return Err(D::Error::custom("grace_ms is at least 700000; 900000 works well"));
    }
    Ok(storage)
}

/// Whether an agent moves prefixes by itself, so that all groups have about the same to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawRebalance")]
pub struct Rebalance {
    /// Whether it does.
    pub automatic: bool,
    /// How much heavier than the lightest group the heaviest may be, in hundredths of an even share; 10 to 1000.
    pub within_percent: u32,
    /// How long it waits before each move.
    pub every: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRebalance {
    automatic: bool,
    within_percent: u32,
    every_s: u32,
}

impl Default for RawRebalance {
    fn default() -> Self {
        Self { automatic: false, within_percent: 50, every_s: 600 }
    }
}

impl Default for Rebalance {
    fn default() -> Self {
        let RawRebalance { automatic, within_percent, every_s } = RawRebalance::default();
        Self { automatic, within_percent, every: Duration::from_secs(every_s.into()) }
    }
}

impl TryFrom<RawRebalance> for Rebalance {
    type Error = &'static str;

    fn try_from(raw: RawRebalance) -> Result<Self, Self::Error> {
        let RawRebalance { automatic, within_percent, every_s } = raw;
        if !(10..=1000).contains(&within_percent) {
            return Err("within_percent is from 10 to 1000; 50 works well");
        }
        if !(60..=86_400).contains(&every_s) {
            return Err("every_s is from 60 to 86400 seconds; 600 works well");
        }
        Ok(Self { automatic, within_percent, every: Duration::from_secs(every_s.into()) })
    }
}

/// Whether and how often an agent writes to the store what tenants use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawUsageWriting")]
pub struct UsageWriting {
    /// Whether it counts and writes.
    pub written: bool,
    /// How long it waits before each write: what a crash loses.
    pub every: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawUsageWriting {
    written: bool,
    every_s: u32,
}

impl Default for RawUsageWriting {
    fn default() -> Self {
        Self { written: true, every_s: 600 }
    }
}

impl Default for UsageWriting {
    fn default() -> Self {
        let RawUsageWriting { written, every_s } = RawUsageWriting::default();
        Self { written, every: Duration::from_secs(every_s.into()) }
    }
}

impl TryFrom<RawUsageWriting> for UsageWriting {
    type Error = &'static str;

    fn try_from(raw: RawUsageWriting) -> Result<Self, Self::Error> {
        let RawUsageWriting { written, every_s } = raw;
        if !(10..=86_400).contains(&every_s) {
            return Err("every_s is from 10 to 86400 seconds; 600 works well");
        }
        Ok(Self { written, every: Duration::from_secs(every_s.into()) })
    }
}

/// A certificate chain and its private key, both in PEM.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The server's certificate, then its issuers'.
    pub certificate: PathBuf,
    /// The private key of the server's certificate.
    pub key: PathBuf,
}

/// When a witness takes its leader for dead. Each silence is drawn again between the two time-outs, so that witnesses
/// seldom stand for leader at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "RawElection")]
pub struct Election {
    /// The shortest silence.
    pub timeout_min: Duration,
    /// The longest silence.
    pub timeout_max: Duration,
    /// How often a leader speaks. At most half of the shortest silence.
    pub heartbeat: Duration,
}

impl Default for Election {
    fn default() -> Self {
        Self::try_from(RawElection::default()).expect("the defaults fit together")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawElection {
    timeout_min_ms: u32,
    timeout_max_ms: u32,
    heartbeat_ms: u32,
}

impl Default for RawElection {
    fn default() -> Self {
        Self { timeout_min_ms: 150, timeout_max_ms: 300, heartbeat_ms: 50 }
    }
}

impl TryFrom<RawElection> for Election {
    type Error = &'static str;

    fn try_from(raw: RawElection) -> Result<Self, Self::Error> {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        if raw.heartbeat_ms == 0 || raw.heartbeat_ms > raw.timeout_min_ms / 2 {
            return Err("heartbeat_ms is at least 1 and at most half of timeout_min_ms");
        }
        if raw.timeout_max_ms <= raw.timeout_min_ms {
            return Err("timeout_max_ms is greater than timeout_min_ms; twice as great works well");
        }
        Ok(Self {
            timeout_min: ms(raw.timeout_min_ms),
            timeout_max: ms(raw.timeout_max_ms),
            heartbeat: ms(raw.heartbeat_ms),
        })
    }
}
