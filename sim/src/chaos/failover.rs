//! How long users wait when the leader goes, each way of going many times.

use super::device::{Device, Recorder};
use super::door::Doors;
use super::history::{Asked, Outcome};
use super::programs::Programs;
use super::realm::{HOSTS, Realm};
use super::store::Kind;
use crate::Error;
use crate::ceremony::within;
use futures::future::join_all;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How many clients begin in a trial, one after another.
const CLIENTS: usize = 60;
/// How long after the previous one each begins; the first begins with the fault.
const APART: Duration = Duration::from_millis(25);
/// How long everything may take until it is well again.
const WELL: Duration = Duration::from_secs(120);
/// How long everything is left alone between two trials.
const QUIET: Duration = Duration::from_millis(1_500);
const PIN: &str = "4821";

/// A way in which a leader goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Going {
    AgentKilled,
    HsmKilled,
    BothKilled,
    AgentStopped,
    HsmStopped,
    BothStopped,
}

impl Going {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::AgentKilled,
        Self::HsmKilled,
        Self::BothKilled,
        Self::AgentStopped,
        Self::HsmStopped,
        Self::BothStopped,
    ];

    fn begin(self, realm: &mut Realm, leader: usize) {
        let host = &mut realm.hosts[leader];
        if matches!(self, Self::HsmKilled | Self::BothKilled) {
            host.hsm.kill();
        }
        if matches!(self, Self::AgentKilled | Self::BothKilled) {
            host.agent.kill();
        }
        if matches!(self, Self::HsmStopped | Self::BothStopped) {
            host.hsm.stop();
        }
        if matches!(self, Self::AgentStopped | Self::BothStopped) {
            host.agent.stop();
        }
    }

    fn end(realm: &mut Realm, leader: usize) -> Result<(), Error> {
        let host = &mut realm.hosts[leader];
        for daemon in [&mut host.hsm, &mut host.agent] {
            daemon.carry_on();
            daemon.start()?;
        }
        Ok(())
    }
}

impl fmt::Display for Going {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AgentKilled => "agent killed",
            Self::HsmKilled => "HSM killed",
            Self::BothKilled => "both killed",
            Self::AgentStopped => "agent stopped",
            Self::HsmStopped => "HSM stopped",
            Self::BothStopped => "both stopped",
        })
    }
}

/// What clients experienced with one way of going.
#[derive(Default)]
pub struct Met {
    /// From the fault to the first success of a recovery that began after it, of each trial that had one.
    pub until_served: Vec<Duration>,
    /// How long each client's recovery took.
    pub took: Vec<Duration>,
    /// What became of those that failed.
    pub failed: Vec<String>,
}

/// A realm whose leader goes, and clients that begin after it went.
pub struct Trials {
    realm: Realm,
    devices: Vec<Arc<Device>>,
}

impl Trials {
    /// Registers the clients' users.
    ///
    /// # Errors
    /// One cannot register.
    pub async fn new(realm: Realm) -> Result<Self, Error> {
        let devices = registered(&realm).await?;
        Ok(Self { realm, devices })
    }

    /// Lets the leader go once in this way; afterwards it is there again.
    ///
    /// # Errors
    /// The realm was not well before, or a process does not start.
    pub async fn once(&mut self, going: Going, met: &mut Met) -> Result<(), Error> {
        let leader = well(&self.realm).await?;
        trial(going, &mut self.realm, leader, &self.devices, met).await;
        Going::end(&mut self.realm, leader)
    }
}

/// Makes a realm of processes, and makes its leader go in each way `trials` times; prints a table of what clients with the
/// SDK's defaults experienced. How it goes on purpose is another matter: [`super::rolling`].
///
/// # Errors
/// A process does not start, or the realm is not well again.
pub async fn failover(trials: usize, store: Kind) -> Result<(), Error> {
    let folder = tempfile::Builder::new().prefix("strongroom-failover-").tempdir()?;
    let programs = Programs::find(&folder.path().join("programs"))?;
    let realm = Realm::start(folder.path(), &programs, store, HOSTS).await?;
    let mut cluster = Trials::new(realm).await?;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{trials} trials each, {CLIENTS} clients in each that begin within {:?}, on {cores} cores",
        APART * 60
    );
    println!("seconds         until served         slowest  failed");
    println!("                p50    p95    most   client   of {}", CLIENTS * trials);
    for going in Going::ALL {
        let mut met = Met::default();
        for _ in 0..trials {
            cluster.once(going, &mut met).await?;
        }
        met.print(going);
    }
    Ok(())
}

/// One device for each client, each with a user of its own.
async fn registered(realm: &Realm) -> Result<Vec<Arc<Device>>, Error> {
    let (doors, recorder) = (Doors::new(realm)?, Recorder::new());
    let users = (0..CLIENTS).map(|number| format!("user-{number}"));
    let devices: Vec<_> = users.map(|user| Arc::new(Device::new(&doors, &user, &recorder))).collect();
    for device in &devices {
        let asked = Asked::Register { pin: PIN.into(), secret: "a secret".into(), guesses: 250 };
        let told = device.perform(asked).await?;
        if told != Outcome::Done {
            return Err(format!("a registration in a healthy realm: {told:?}").into());
        }
    }
    Ok(devices)
}

async fn trial(going: Going, realm: &mut Realm, leader: usize, devices: &[Arc<Device>], met: &mut Met) {
    let began = Instant::now();
    going.begin(realm, leader);
    let clients = devices.iter().zip(0..).map(|(device, number)| async move {
        sleep_until(began + APART * number).await;
        (Instant::now(), device.perform(Asked::Recover { pin: PIN.into() }).await, Instant::now())
    });
    let mut served: Option<Duration> = None;
    for (from, told, to) in join_all(clients).await {
        met.took.push(to - from);
        match told {
            Ok(Outcome::Secret(_)) => {
                let after = to - began;
                served = Some(served.map_or(after, |before| before.min(after)));
            }
            Ok(other) => met.failed.push(format!("{other:?}")),
            Err(error) => met.failed.push(error.to_string()),
        }
    }
    met.until_served.extend(served);
}

impl Met {
    fn print(&mut self, going: Going) {
        self.until_served.sort_unstable();
        let at = |percent: usize| {
            let of = &self.until_served;
            of.get((of.len() * percent / 100).min(of.len().saturating_sub(1)))
                .map_or(f64::NAN, Duration::as_secs_f64)
        };
        let slowest = self.took.iter().max().map_or(f64::NAN, Duration::as_secs_f64);
        let (p50, p95, most) = (at(50), at(95), at(100));
        println!(
            "{going:<14} {p50:>5.2}  {p95:>5.2}  {most:>5.2}   {slowest:>5.2}   {:>4}",
            self.failed.len()
        );
        self.failed.sort();
        self.failed.dedup();
        for told in &self.failed {
            println!("    {told}");
        }
    }
}

/// The leader, once one serves, every member has what it committed, and everything has been quiet.
async fn well(realm: &Realm) -> Result<usize, Error> {
    within(WELL, "the realm is not well", async || Ok(all_there(realm).await)).await?;
    sleep(QUIET).await;
    within(WELL, "no member leads", async || Ok(all_there(realm).await)).await
}

pub(super) async fn all_there(realm: &Realm) -> Option<usize> {
    let reports = join_all((0..HOSTS).map(|host| realm.report(host))).await;
    let groups: Vec<_> =
        reports.into_iter().map(|report| report?.groups.into_iter().next()).collect::<Option<_>>()?;
    let leader = groups.iter().position(|group| group.serving)?;
    groups.iter().all(|group| group.captured >= groups[leader].committed).then_some(leader)
}
