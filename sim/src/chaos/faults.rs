//! What goes wrong, drawn from the seed: when, whom it hits, and for how long.

use super::door::Doors;
use super::history::Micros;
use super::link::Mode;
use super::realm::Realm;
use super::store::Kind;
use crate::Error;
use crate::ceremony::within;
use rand::RngExt;
use rand::rngs::StdRng;
use std::fmt;
use std::time::Duration;

/// Something that goes wrong. Hosts are numbered from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fault {
    /// `kill -9` for an agent.
    KillAgent(usize),
    /// `kill -9` for an HSM.
    KillHsm(usize),
    /// `kill -9` for both of a host, as a power cut.
    KillHost(usize),
    /// `kill -9` for everything.
    KillAll,
    /// An agent is stopped, and goes on later.
    StopAgent(usize),
    /// An HSM is stopped, and goes on later.
    StopHsm(usize),
    /// A host is cut off from the others.
    CutOff(usize),
    /// A host's agent cannot connect to another's, which may connect to it.
    OneWay(usize, usize),
    /// Nothing gets through between a host and the others, and no connection ends.
    Silence(usize),
    /// An agent and its HSM are cut off from each other.
    CutHsm(usize),
    /// Nothing gets through between an agent and its HSM.
    SilentHsm(usize),
    /// The store is out of reach, for one host or for all.
    NoStore(Option<usize>),
    /// The store takes requests and does not answer, for one host or for all.
    SilentStore(Option<usize>),
    /// The store carries out what it is asked, and its answers are lost.
    DeafStore(Option<usize>),
    /// The store answers 503.
    RefusingStore(Option<usize>),
    /// Each piece of an answer or a request takes this many milliseconds longer.
    SlowStore(u64),
    /// The store's folder is not in its place, as if a disk were unmounted; or an empty one is there.
    NoFolder {
        /// Whether an empty one is there.
        decoy: bool,
    },
    /// Of 1,000 messages of users, this many are lost on the way there, and this many answers.
    LoseMessages(u32, u32),
    /// Every agent and every HSM is ended in an orderly way and started again, one after another.
    RollingRestart,
}

/// A fault and how long it lasted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spell {
    pub(super) fault: Fault,
    pub(super) from: Micros,
    pub(super) until: Micros,
}

impl Fault {
    /// Draws one that can happen to a realm on such a store.
    pub(super) fn draw(rng: &mut StdRng, kind: Kind, hosts: usize) -> Self {
        let host = rng.random_range(0..hosts);
        let other = (host + rng.random_range(1..hosts)) % hosts;
        let whom = rng.random_bool(0.5).then_some(host);
        match rng.random_range(0..100) {
            0..12 => Self::KillAgent(host),
            12..22 => Self::KillHsm(host),
            22..28 => Self::KillHost(host),
            28..31 => Self::KillAll,
            31..40 => Self::StopAgent(host),
            40..48 => Self::StopHsm(host),
            48..54 => Self::CutOff(host),
            54..58 => Self::OneWay(host, other),
            58..63 => Self::Silence(host),
            63..67 => Self::CutHsm(host),
            67..71 => Self::SilentHsm(host),
            71..77 => Self::LoseMessages(rng.random_range(20..200), rng.random_range(20..300)),
            77..81 => Self::RollingRestart,
            _ if kind == Kind::Folder && rng.random_bool(0.5) => {
                Self::NoFolder { decoy: rng.random_bool(0.5) }
            }
            _ if kind == Kind::Folder => Self::KillHost(host),
            81..86 => Self::NoStore(whom),
            86..89 => Self::SilentStore(whom),
            89..93 => Self::DeafStore(whom),
            93..96 => Self::RefusingStore(whom),
            _ => Self::SlowStore(rng.random_range(50..500)),
        }
    }

    /// How long it will last.
    pub(super) fn lasts(self, rng: &mut StdRng) -> Duration {
        let longest = match self {
            Self::RollingRestart => return Duration::ZERO,
            Self::KillAgent(_) | Self::KillHsm(_) | Self::KillHost(_) | Self::KillAll => 4_000,
            _ => 9_000,
        };
        Duration::from_millis(rng.random_range(200..longest))
    }

    /// Begins it.
    pub(super) async fn begin(self, realm: &mut Realm, doors: &Doors) -> Result<(), Error> {
        let cut = |realm: &Realm, host: usize, mode: Mode| {
            realm.hosts[host].peers(mode);
            for other in &realm.hosts {
                other.peer_links[host].iter().for_each(|link| link.set(mode));
            }
        };
        match self {
            Self::KillAgent(host) => realm.hosts[host].agent.kill(),
            Self::KillHsm(host) => realm.hosts[host].hsm.kill(),
            Self::KillHost(host) => {
                realm.hosts[host].agent.kill();
                realm.hosts[host].hsm.kill();
            }
            Self::KillAll => realm.hosts.iter_mut().for_each(|host| {
                host.agent.kill();
                host.hsm.kill();
            }),
            Self::StopAgent(host) => realm.hosts[host].agent.stop(),
            Self::StopHsm(host) => realm.hosts[host].hsm.stop(),
            Self::CutOff(host) => cut(realm, host, Mode::Cut),
            Self::Silence(host) => cut(realm, host, Mode::Stalled),
            Self::OneWay(host, other) => {
                realm.hosts[host].peer_links[other].iter().for_each(|link| link.set(Mode::Cut));
            }
            Self::CutHsm(host) => realm.hosts[host].hsm(Mode::Cut),
            Self::SilentHsm(host) => realm.hosts[host].hsm(Mode::Stalled),
            Self::NoStore(whom) => store(realm, whom, Mode::Cut),
            Self::SilentStore(whom) => store(realm, whom, Mode::Stalled),
            Self::DeafStore(whom) => store(realm, whom, Mode::Deaf),
            Self::RefusingStore(whom) => store(realm, whom, Mode::Refusing),
            Self::SlowStore(delay) => store(realm, None, Mode::Slow(Duration::from_millis(delay))),
            Self::NoFolder { decoy } => realm.store.take_away(decoy)?,
            Self::LoseMessages(messages, answers) => doors.lose(messages, answers),
            Self::RollingRestart => rolling_restart(realm).await?,
        }
        Ok(())
    }

    /// Its kind, without whom it hits.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::KillAgent(_) => "kill -9 of an agent",
            Self::KillHsm(_) => "kill -9 of an HSM",
            Self::KillHost(_) => "kill -9 of a host",
            Self::KillAll => "kill -9 of everything",
            Self::StopAgent(_) => "an agent stopped",
            Self::StopHsm(_) => "an HSM stopped",
            Self::CutOff(_) => "a host cut off",
            Self::OneWay(..) => "a link cut one way",
            Self::Silence(_) => "a host in silence",
            Self::CutHsm(_) => "an HSM cut off",
            Self::SilentHsm(_) => "an HSM in silence",
            Self::NoStore(_) => "no store",
            Self::SilentStore(_) => "a silent store",
            Self::DeafStore(_) => "a store whose answers are lost",
            Self::RefusingStore(_) => "a store that refuses",
            Self::SlowStore(_) => "a slow store",
            Self::NoFolder { decoy: false } => "the store's folder gone",
            Self::NoFolder { decoy: true } => "an empty folder for the store",
            Self::LoseMessages(..) => "users' messages lost",
            Self::RollingRestart => "a rolling restart",
        }
    }
}

/// Ends everything that goes wrong.
pub(super) fn heal(realm: &mut Realm, doors: &Doors) -> Result<(), Error> {
    doors.lose(0, 0);
    store(realm, None, Mode::Open);
    realm.store.put_back()?;
    for host in &mut realm.hosts {
        host.peers(Mode::Open);
        host.hsm(Mode::Open);
        if host.is_lost() {
            continue;
        }
        for daemon in [&mut host.hsm, &mut host.agent] {
            daemon.carry_on();
            daemon.start()?;
        }
    }
    Ok(())
}

fn store(realm: &Realm, whom: Option<usize>, mode: Mode) {
    for host in (0..realm.hosts.len()).filter(|host| whom.is_none_or(|whom| whom == *host)) {
        realm.store.link(host, mode);
    }
}

/// As an operator does it: the next one only when all members are back.
async fn rolling_restart(realm: &mut Realm) -> Result<(), Error> {
    for i in 0..realm.hosts.len() {
        let host = &mut realm.hosts[i];
        host.agent.end().await?;
        host.hsm.end().await?;
        host.hsm.start()?;
        host.agent.start()?;
        // Not forever: something else may be wrong as well.
        let _ = within(Duration::from_secs(10), "the member is not back", async || {
            let report = realm.report(i).await;
            let back = |role: &str| matches!(role, "leader" | "witness");
            Ok(report.filter(|report| report.groups.iter().any(|group| back(&group.role))))
        })
        .await;
    }
    Ok(())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        match self {
            Self::KillAgent(host)
            | Self::KillHsm(host)
            | Self::KillHost(host)
            | Self::StopAgent(host)
            | Self::StopHsm(host)
            | Self::CutOff(host)
            | Self::Silence(host)
            | Self::CutHsm(host)
            | Self::SilentHsm(host) => write!(f, " ({})", host + 1),
            Self::OneWay(host, other) => write!(f, " ({} to {})", host + 1, other + 1),
            Self::NoStore(whom)
            | Self::SilentStore(whom)
            | Self::DeafStore(whom)
            | Self::RefusingStore(whom) => match whom {
                Some(host) => write!(f, " ({})", host + 1),
                None => write!(f, " (all)"),
            },
            Self::SlowStore(delay) => write!(f, " (by {delay} ms)"),
            Self::LoseMessages(messages, answers) => write!(f, " ({messages} and {answers} of 1,000)"),
            Self::KillAll | Self::NoFolder { .. } | Self::RollingRestart => Ok(()),
        }
    }
}
