//! A rolling restart: on one host after another, agent and HSM are told to end and started again, while clients recover all
//! the time. The host that leads is always next, so that each of the others has to take over once.
//!
//! Judged on any machine: no recovery fails, a wrong PIN costs one guess, when an agent that led has ended, another leads
//! already, and nobody waits for an election: those take seconds here. How long users wait
//! otherwise depends on the machine too, and on which of the SDK's pauses the hand-over ends in: the quickest of the hand-overs is judged,
//! beside the slowest recovery of the same run while nothing was restarted, and it is too slow if it is in every run. On a machine so busy that a
//! leader gives way by itself, or users are slow all the time, nothing can be said, and all is done
//! once more. A request that is lost is no failure: over HTTP/1.1 one may meet the end of an idle connection, and is sent again.

use super::daemon::Daemon;
use super::device::{Device, Recorder};
use super::door::{Doors, End, Pass};
use super::failover::all_there;
use super::history::{Asked, Outcome};
use super::programs::Programs;
use super::realm::{HOSTS, Realm, Wires};
use super::store::Store;
use crate::Error;
use crate::ceremony::within;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How many clients there are, and how long each rests between two recoveries.
const CLIENTS: usize = 40;
const REST: Duration = Duration::from_millis(250);
/// Every how many recoveries of a client the PIN is wrong.
const TYPO: usize = 12;
/// How long nothing is restarted: before, and after each host.
const QUIET: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(500);
/// How long everything may take until it is well again.
const WELL: Duration = Duration::from_secs(120);
/// How much longer than otherwise a user may wait.
const WAIT: Duration = Duration::from_millis(200);
/// How long members wait for a leader that is silent, at least and at most.
const ELECTION: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3));
/// If a recovery takes this long while nothing is restarted, users take longer between two requests than a leader waits.
const BUSY: Duration = Duration::from_secs(1);
/// How often all is done at most.
const RUNS: usize = 3;
/// How long an agent may take to end: it says ten seconds, and the machine may be busy.
const DRAIN: Duration = Duration::from_secs(15);
const PIN: &str = "4821";
const WRONG: &str = "0000";
const GUESSES: u16 = 250;

/// How processes are ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// As an operator ends them: SIGTERM.
    Told,
    /// As none should: SIGKILL. What is judged here must not stand that.
    Killed,
}

impl Way {
    async fn end(self, daemon: &mut Daemon) -> Result<(), Error> {
        match self {
            Self::Told => daemon.end().await,
            Self::Killed => {
                daemon.kill();
                Ok(())
            }
        }
    }
}

/// A span of time in which something took place.
#[derive(Clone, Copy, Debug)]
struct Span {
    began: Instant,
    ended: Instant,
}

impl Span {
    fn took(self) -> Duration {
        self.ended - self.began
    }

    fn meets(self, other: Self) -> bool {
        self.began < other.ended && other.began < self.ended
    }
}

/// The end of an agent.
struct Stop {
    name: String,
    /// From the signal to the end of the process.
    ending: Span,
    /// Whether it led, and then whether another did when it had ended.
    led: Option<bool>,
}

/// What was seen.
#[derive(Default)]
pub struct Rolled {
    /// While nothing was restarted.
    quiet: Option<Span>,
    stops: Vec<Stop>,
    recoveries: Vec<Span>,
    failed: Vec<String>,
    passes: Vec<Pass>,
    /// How many leaderships began.
    leaderships: usize,
}

/// Restarts all hosts of a realm, and prints what clients met; or kills them, to see that this is noticed.
///
/// # Errors
/// Something was not as it should be, or that the hosts were killed was not noticed.
pub async fn check(killed: bool) -> Result<(), Error> {
    if killed {
        let rolled = rolling(Way::Killed).await?;
        print!("{rolled}");
        let problems: Vec<String> = rolled.problems().into_iter().chain(rolled.slow()).collect();
        if problems.is_empty() {
            return Err("a host was killed, and nothing was noticed".into());
        }
        println!("noticed: {}", problems.join("; "));
        return Ok(());
    }
    let mut slow = Vec::new();
    for _ in 0..RUNS {
        let rolled = rolling(Way::Told).await?;
        print!("{rolled}");
        if rolled.was_disturbed() {
            println!(
                "the machine is too busy: a leader gave way by itself, or users were slow before: once more"
            );
            continue;
        }
        let problems = rolled.problems();
        if !problems.is_empty() {
            return Err(problems.join("\n").into());
        }
        let Some(why) = rolled.slow() else { return Ok(()) };
        println!("{why}: once more");
        slow.push(why);
    }
    if !slow.is_empty() {
        return Err(slow.join("\n").into());
    }
    Err(format!("in each of {RUNS} runs the machine was too busy; run it where less else runs").into())
}

/// Makes a realm of processes and restarts all of them; prints what clients with the SDK's defaults experienced.
///
/// # Errors
/// A process does not start, or the realm is not well again. What clients experienced is in what is returned.
pub async fn rolling(way: Way) -> Result<Rolled, Error> {
    let folder = tempfile::Builder::new().prefix("strongroom-rolling-").tempdir()?;
    let programs = Programs::find(&folder.path().join("programs"))?;
    let realm = folder.path().join("realm");
    std::fs::create_dir_all(realm.join("store"))?;
    let (least, most) = ELECTION;
    let election = format!(
        "[election]\ntimeout_min_ms = {}\ntimeout_max_ms = {}\n",
        least.as_millis(),
        most.as_millis()
    );
    let store =
        Store::given((format!("store = 'file://{}'\n", realm.join("store").display()), election), None);
    let mut realm = Realm::start_on(&realm, &programs, store, Wires::Direct).await?;
    let (doors, recorder) = (Doors::new(&realm)?, Recorder::new());
    let devices: Vec<_> =
        (0..CLIENTS).map(|i| Arc::new(Device::new(&doors, &format!("user-{i}"), &recorder))).collect();
    for device in &devices {
        let asked = Asked::Register { pin: PIN.into(), secret: "a secret".into(), guesses: GUESSES };
        let told = device.perform(asked).await?;
        if told != Outcome::Done {
            return Err(format!("a registration in a healthy realm: {told:?}").into());
        }
    }
    let (enough, seen) = watch::channel(false);
    let clients: Vec<_> = devices.into_iter().map(|device| recover(device, seen.clone())).collect();
    let mut rolled = Rolled::default();
    well(&realm).await?;
    let began = Instant::now();
    let _ = doors.take_passes();
    sleep(QUIET).await;
    rolled.quiet = Some(Span { began, ended: Instant::now() });
    let mut left: Vec<usize> = (0..HOSTS).collect();
    while !left.is_empty() {
        let leader = well(&realm).await?;
        let next = left.iter().position(|host| *host == leader).unwrap_or(0);
        let stop = restart(&mut realm, left.swap_remove(next), leader, way).await?;
        rolled.stops.push(stop);
        if way == Way::Killed {
            // One is enough to notice.
            left.clear();
        }
        well(&realm).await?;
        sleep(BETWEEN).await;
    }
    enough.send_replace(true);
    for client in clients {
        let (recoveries, failed) = client.await??;
        rolled.recoveries.extend(recoveries);
        rolled.failed.extend(failed);
    }
    rolled.passes = doors.take_passes();
    for host in &realm.hosts {
        let log = std::fs::read_to_string(host.agent.log())?;
        rolled.leaderships += log.lines().filter(|line| line.contains("role=\"leader\"")).count();
    }
    Ok(rolled)
}

/// Ends agent and HSM of a host and starts them again, as the manual says.
async fn restart(realm: &mut Realm, number: usize, leader: usize, way: Way) -> Result<Stop, Error> {
    let host = &mut realm.hosts[number];
    let began = Instant::now();
    way.end(&mut host.agent).await?;
    let (name, ending) = (host.agent.name().to_owned(), Span { began, ended: Instant::now() });
    let led = match leader == number {
        true => Some(is_led(realm).await),
        false => None,
    };
    let host = &mut realm.hosts[number];
    way.end(&mut host.hsm).await?;
    host.hsm.start()?;
    host.agent.start()?;
    Ok(Stop { name, ending, led })
}

/// Whether a member leads whose agent can be asked.
async fn is_led(realm: &Realm) -> bool {
    let reports = join_all((0..HOSTS).map(|host| realm.report(host))).await;
    reports.iter().flatten().flat_map(|report| &report.groups).any(|group| group.role == "leader")
}

/// The leader, once one serves and every member has what it committed.
async fn well(realm: &Realm) -> Result<usize, Error> {
    within(WELL, "the realm is not well", async || Ok(all_there(realm).await)).await
}

type Client = JoinHandle<Result<(Vec<Span>, Vec<String>), String>>;

/// Recovers again and again until it is enough.
fn recover(device: Arc<Device>, enough: watch::Receiver<bool>) -> Client {
    tokio::spawn(async move {
        let (mut recoveries, mut failed) = (Vec::new(), Vec::new());
        for turn in 1.. {
            if *enough.borrow() {
                break;
            }
            let began = Instant::now();
            let pin = if turn % TYPO == 0 { WRONG } else { PIN };
            let told = device.perform(Asked::Recover { pin: pin.into() }).await;
            let told = told.map_err(|error| error.to_string())?;
            recoveries.push(Span { began, ended: Instant::now() });
            match told {
                Outcome::Secret(_) if pin == PIN => {}
                // The right PIN before gave all guesses back.
                Outcome::Wrong { left } if pin == WRONG && left == GUESSES - 1 => {}
                told => failed.push(format!("PIN {pin}: {told:?}")),
            }
            sleep(REST).await;
        }
        Ok((recoveries, failed))
    })
}

impl Rolled {
    /// The slowest of what took place then.
    fn slowest(all: impl Iterator<Item = Span>, then: Span) -> Duration {
        all.filter(|span| span.meets(then)).map(Span::took).max().unwrap_or_default()
    }

    fn slowest_recovery(&self, then: Span) -> Duration {
        Self::slowest(self.recoveries.iter().copied(), then)
    }

    fn slowest_request(&self, then: Span) -> Duration {
        let requests = self.passes.iter().map(|pass| Span { began: pass.began, ended: pass.ended });
        Self::slowest(requests, then)
    }

    fn count(&self, end: End) -> usize {
        self.passes.iter().filter(|pass| pass.end == end).count()
    }

    fn led(&self) -> impl Iterator<Item = (&Stop, bool)> {
        self.stops.iter().filter_map(|stop| Some((stop, stop.led?)))
    }

    /// The slowest recovery while nothing was restarted.
    fn usual(&self) -> Duration {
        self.quiet.map(|quiet| self.slowest_recovery(quiet)).unwrap_or_default()
    }

    /// Whether more leaderships began than the first one, and one at each hand-over; or the machine was too busy before.
    #[must_use]
    pub fn was_disturbed(&self) -> bool {
        self.leaderships > 1 + self.led().count() || self.usual() > BUSY
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut failed: BTreeMap<&str, usize> = BTreeMap::new();
        self.failed.iter().for_each(|why| *failed.entry(why).or_default() += 1);
        let mut problems: Vec<String> =
            failed.iter().map(|(why, times)| format!("{times} recoveries failed: {why}")).collect();
        for (stop, _) in self.led().filter(|(_, followed)| !followed) {
            problems.push(format!("{} led, and nobody did when it had ended", stop.name));
        }
        for stop in self.stops.iter().filter(|stop| stop.ending.took() > DRAIN) {
            problems.push(format!("{} took {:?} to end", stop.name, stop.ending.took()));
        }
        if self.led().next().is_none() {
            problems.push("no host led when it was its turn: nothing was handed over".into());
        }
        let usual = self.usual();
        let slowest =
            self.stops.iter().map(|stop| self.slowest_recovery(stop.ending)).max().unwrap_or_default();
        if slowest > usual * 2 + ELECTION.0 {
            problems.push(format!("somebody waited for {slowest:?}: as long as an election takes"));
        }
        problems
    }

    /// That users waited longer than they may at every hand-over.
    #[must_use]
    pub fn slow(&self) -> Option<String> {
        let usual = self.usual();
        // A machine that is busy is so unevenly.
        let allowed = usual + usual.max(WAIT);
        let quickest = self.led().map(|(stop, _)| self.slowest_recovery(stop.ending)).min();
        quickest.filter(|quickest| *quickest > allowed).map(|quickest| {
            format!("at each hand-over somebody waited for {quickest:?} or more, and otherwise {usual:?}")
        })
    }
}

impl fmt::Display for Rolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| time.as_secs_f64();
        writeln!(
            f,
            "{} recoveries, {} failed; {} requests: {} answered, {} told to try again, {} found no host, {} lost",
            self.recoveries.len(),
            self.failed.len(),
            self.passes.len(),
            self.count(End::Answered),
            self.count(End::Unavailable),
            self.count(End::NotReached),
            self.count(End::Lost)
        )?;
        writeln!(f, "seconds                took  slowest request  slowest recovery")?;
        let mut line = |name: &str, then: Span, note: &str| {
            let (request, recovery) = (self.slowest_request(then), self.slowest_recovery(then));
            let (took, request, recovery) = (seconds(then.took()), seconds(request), seconds(recovery));
            writeln!(f, "{name:<20} {took:>6.3}  {request:>15.3}  {recovery:>16.3}{note}")
        };
        if let Some(quiet) = self.quiet {
            line("nothing restarted", quiet, "")?;
        }
        for stop in &self.stops {
            line(
                &format!("{} ends", stop.name),
                stop.ending,
                if stop.led.is_some() { "  it led" } else { "" },
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One hand-over, during which a recovery took this many milliseconds; otherwise they take 50.
    fn rolled(ms: u64, led: Option<bool>) -> Rolled {
        let began = Instant::now();
        let span = |from: u64, to: u64| Span {
            began: began + Duration::from_millis(from),
            ended: began + Duration::from_millis(to),
        };
        let stop = Stop { name: "agent-1".into(), ending: span(3_000, 3_200), led };
        let recoveries = vec![span(10, 60), span(3_100, 3_100 + ms)];
        Rolled {
            quiet: Some(span(0, 2_000)),
            stops: vec![stop],
            recoveries,
            leaderships: 2,
            ..Rolled::default()
        }
    }

    #[test]
    fn what_should_not_be_is_a_problem() {
        let good = rolled(240, Some(true));
        assert_eq!((good.problems(), good.slow(), good.was_disturbed()), (Vec::new(), None, false));
        assert!(rolled(260, Some(true)).slow().is_some());
        let failed = Rolled { failed: vec!["a".into(), "b".into(), "a".into()], ..rolled(50, Some(true)) };
        assert_eq!(failed.problems(), ["2 recoveries failed: a", "1 recoveries failed: b"]);
        for (bad, count) in [
            (rolled(260, Some(true)), 0),
            (rolled(2_500, Some(true)), 1),
            (rolled(50, Some(false)), 1),
            (rolled(50, None), 1),
        ] {
            assert_eq!(bad.problems().len(), count, "{:?}", bad.problems());
        }
    }

    #[test]
    fn a_leadership_that_nobody_asked_for_is_noticed() {
        assert!(Rolled { leaderships: 3, ..rolled(50, Some(true)) }.was_disturbed());
        assert!(rolled(50, None).was_disturbed());
    }
}
