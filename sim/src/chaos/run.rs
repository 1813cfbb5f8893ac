//! A run: users and faults at the same time, then everything is healed, then everything is checked.

use super::check::{LIMIT, check, line};
use super::device::{Device, Recorder};
use super::door::Doors;
use super::faults::{Fault, Spell, heal};
use super::history::{Asked, Micros, Operation, Outcome};
use super::moves::{Moved, Mover, replace};
use super::options::Options;
use super::programs::Programs;
use super::realm::{HOSTS, Realm};
use super::report::{Memory, Report};
use super::users::{Left, Users};
use crate::Error;
use crate::ceremony::within;
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_agent::admin::{AgentReport, GroupReport};
use strongroom_hsm::MAX_SESSIONS_OF_A_RECORD;
use strongroom_proto::ids::{GroupId, Index};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::GroupStatement;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How long the realm may take, once everything is healed, to meet each of these conditions.
const HEALED: Duration = Duration::from_secs(60);
/// How long an operation that began earlier may then take to end: all its attempts may run into time-outs.
const ENDING: Duration = Duration::from_secs(240);
/// The hosts of a realm with two groups, which share one.
const FIVE: usize = 5;
/// How long to wait for the next step of a move before something goes wrong.
const NEXT_STEP: Duration = Duration::from_secs(3);
/// How long users go on after an HSM was replaced.
const AFTER: Duration = Duration::from_secs(5);

/// Runs, and prints a summary.
///
/// # Errors
/// Something went wrong; or the processes cannot be started. Logs and history are kept then.
pub async fn run(options: &Options) -> Result<(), Error> {
    let folder = tempfile::Builder::new().prefix("strongroom-chaos-").tempdir()?;
    let failures = match execute(options, folder.path()).await {
        Ok(report) => {
            print!("{report}");
            report.failures
        }
        Err(error) => vec![error.to_string()],
    };
    if failures.is_empty() && !options.keep {
        return Ok(());
    }
    let kept = folder.keep();
    // Large, and can be made again at any time.
    let _ = std::fs::remove_dir_all(programs(&kept));
    let kept = format!("logs and history are in {}", kept.display());
    if failures.is_empty() {
        println!("{kept}");
        return Ok(());
    }
    Err(format!("{}\n{kept}\nthe same again: {options}", failures.join("\n")).into())
}

fn programs(dir: &Path) -> PathBuf {
    dir.join("programs")
}

async fn execute(options: &Options, dir: &Path) -> Result<Report, Error> {
    let programs = Programs::find(&programs(dir))?;
    let hosts = if options.moves { FIVE } else { HOSTS };
    let realm = Realm::start(dir, &programs, options.store, hosts).await?;
    let doors = Doors::new(&realm)?;
    let mut run = Run {
        options: options.clone(),
        programs: programs.clone(),
        realm,
        doors,
        recorder: Recorder::new(),
        memory: Memory::default(),
        faults: Vec::new(),
        bar: progress(options),
    };
    let mut report = Report::new(options);
    match run.trouble(&mut report).await {
        Ok(left) => {
            if let Err(error) = run.recovery(&left).await {
                report.failures.push(format!("after everything was healed: {error}"));
            }
            if let Err(error) = run.realm.check(&programs).await {
                report.failures.push(error.to_string());
            }
        }
        Err(error) => {
            report.failures.push(error.to_string());
            report.complete = false;
        }
    }
    run.bar.finish_and_clear();
    run.judge(&mut report)?;
    Ok(report)
}

/// Until the run is interrupted.
async fn interrupted() {
    let term = async {
        match signal(SignalKind::terminate()) {
            Ok(mut term) => term.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term => {}
    }
}

fn progress(options: &Options) -> ProgressBar {
    let seconds = (options.minutes * 60.0) as u64;
    let style = ProgressStyle::with_template("{wide_bar} {elapsed} of {len} s, {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(seconds).with_style(style)
}

struct Run {
    options: Options,
    programs: Programs,
    realm: Realm,
    doors: Doors,
    recorder: Recorder,
    memory: Memory,
    faults: Vec<Spell>,
    bar: ProgressBar,
}

impl Run {
    /// Users and faults, until the time is over or the run is interrupted. Returns which users were there last.
    async fn trouble(&mut self, report: &mut Report) -> Result<Vec<Left>, Error> {
        let (enough, seen) = watch::channel(false);
        let mut users = JoinSet::new();
        for number in 1..=self.options.users {
            let (doors, recorder) = (self.doors.clone(), self.recorder.clone());
            let users_of = Users { doors, recorder, number, seed: self.options.seed };
            users.spawn(users_of.live(seen.clone()));
        }
        let (still, until_still) = watch::channel(false);
        let mover = match self.options.moves {
            true => Some(Mover::new(&self.realm, self.options.seed)?),
            false => None,
        };
        let moved = mover.as_ref().map(|(_, moved)| moved.clone());
        let mover = mover.map(|(mover, _)| tokio::spawn(mover.run(until_still)));
        let until = Instant::now() + Duration::from_secs_f64(self.options.minutes * 60.0);
        let ended = tokio::select! {
            ended = self.go_wrong(until, moved.clone()) => ended,
            () = interrupted() => {
                report.interrupted = true;
                Ok(())
            }
        };
        heal(&mut self.realm, &self.doors)?;
        report.failures.extend(ended.err().map(|error| error.to_string()));
        still.send_replace(true);
        if let (Some(mover), Some(moved)) = (mover, moved) {
            self.bar.set_message("healed; the move under way ends, and an HSM is replaced");
            report.failures.extend(mover.await?.err().map(|error| error.to_string()));
            match replace(&mut self.realm, &self.programs).await {
                Ok(killed) => report.moves = Some((*moved.borrow(), killed)),
                Err(error) => report.failures.push(error.to_string()),
            }
            sleep(AFTER).await;
        }
        enough.send_replace(true);
        self.bar.set_message("healed; what is under way ends");
        let mut left = Vec::new();
        let all = async {
            while let Some(user) = users.join_next().await {
                left.push(user??);
            }
            Ok::<_, Error>(())
        };
        let failing = || format!("an operation did not end within {} s of the healing", ENDING.as_secs());
        timeout(ENDING, all).await.map_err(|_| failing())??;
        report.storms = left.iter().map(|left| left.storms).sum();
        Ok(left)
    }

    async fn go_wrong(
        &mut self,
        until: Instant,
        mut moved: Option<watch::Receiver<Moved>>,
    ) -> Result<(), Error> {
        let mut rng = StdRng::seed_from_u64(self.options.seed);
        // Quiet at first, so that there is something to lose.
        self.nap(until, Duration::from_secs(2)).await?;
        while Instant::now() < until {
            let mut faults = vec![Fault::draw(&mut rng, self.options.store, self.realm.hosts.len())];
            if rng.random_bool(0.3) {
                let second = Fault::draw(&mut rng, self.options.store, self.realm.hosts.len());
                if std::mem::discriminant(&second) != std::mem::discriminant(&faults[0]) {
                    faults.push(second);
                }
            }
            let lasts = faults.iter().map(|fault| fault.lasts(&mut rng)).max().unwrap_or_default();
            let names: Vec<_> = faults.iter().map(ToString::to_string).collect();
            self.tell(&names.join(" and "));
            let first = self.faults.len();
            // Half of them right after a step of a move, or in the middle of the next.
            if let Some(moved) = moved.as_mut().filter(|_| rng.random_bool(0.5)) {
                moved.mark_unchanged();
                let _ = timeout(NEXT_STEP, moved.changed()).await;
                sleep(Duration::from_millis(rng.random_range(0..150))).await;
            }
            for fault in faults {
                self.faults.push(Spell { fault, from: self.recorder.now(), until: Micros::MAX });
                fault.begin(&mut self.realm, &self.doors).await?;
            }
            self.nap(until, lasts).await?;
            heal(&mut self.realm, &self.doors)?;
            let now = self.recorder.now();
            self.faults.iter_mut().skip(first).for_each(|spell| spell.until = now);
            self.tell("nothing wrong");
            self.nap(until, Duration::from_millis(rng.random_range(200..4_000))).await?;
        }
        Ok(())
    }

    fn tell(&self, what: &str) {
        self.bar.set_message(format!("{} operations; {what}", self.recorder.len()));
        self.bar.set_position(self.recorder.now() / 1_000_000);
    }

    /// Waits, and fails if a process ends unexpectedly.
    async fn nap(&mut self, until: Instant, length: Duration) -> Result<(), Error> {
        let until = until.min(Instant::now() + length);
        loop {
            self.look()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(Duration::from_millis(200))).await;
        }
    }

    /// Fails if a process has ended unexpectedly.
    fn look(&mut self) -> Result<(), Error> {
        self.bar.set_position(self.recorder.now() / 1_000_000);
        for daemon in self.realm.daemons() {
            if let Some(told) = daemon.died() {
                return Err(told.into());
            }
            self.memory.note(daemon);
        }
        Ok(())
    }

    /// Everything is healed: a leader serves, users find what is theirs, every member is there.
    async fn recovery(&mut self, left: &[Left]) -> Result<(), Error> {
        self.bar.set_message("healed; does everybody find what is theirs?");
        let realm = &self.realm;
        within(HEALED, "no member leads and serves", async || Ok(realm.leader().await)).await?;
        let secret = "the last secret".to_owned();
        let asked = [
            Asked::Register { pin: "1234".into(), secret, guesses: 3 },
            Asked::Recover { pin: "1234".into() },
            Asked::Delete,
        ];
        for asked in asked {
            self.until_known("the-last-user", asked).await?;
        }
        for Left { user, pin, .. } in left {
            self.until_known(user, Asked::Recover { pin: pin.clone() }).await?;
        }
        self.everybody_is_there().await?;
        self.look()
    }

    async fn until_known(&self, user: &str, asked: Asked) -> Result<(), Error> {
        let device = Device::new(&self.doors, user, &self.recorder);
        let failing = format!("{asked:?} of {user} has no answer");
        within(HEALED, &failing, async || {
            let told = device.perform(asked.clone()).await?;
            Ok((!matches!(told, Outcome::Unknown(_))).then_some(()))
        })
        .await
    }

    /// In every group, every member that is not lost has what was committed before, and one leads.
    async fn everybody_is_there(&self) -> Result<(), Error> {
        let deadline = Instant::now() + HEALED;
        let mut goals = BTreeMap::new();
        loop {
            let mut reports = Vec::new();
            for host in (0..self.realm.hosts.len()).filter(|host| !self.realm.hosts[*host].is_lost()) {
                reports.push(self.realm.report(host).await);
            }
            let answered = reports.iter().all(Option::is_some);
            let reports: Vec<AgentReport> = reports.into_iter().flatten().collect();
            let there = |group: &GroupStatement, goals: &mut BTreeMap<GroupId, Index>| {
                let of = |report: &&GroupReport| report.group == group.group;
                let members: Vec<&GroupReport> =
                    reports.iter().flat_map(|report| &report.groups).filter(of).collect();
                let Some(leader) = members.iter().find(|member| member.serving) else { return false };
                let goal = *goals.entry(group.group).or_insert(leader.committed);
                let well = members.iter().filter(|member| member.fault.is_none() && member.captured >= goal);
                well.count() == group.members.len()
            };
            let devices = reports.iter().filter_map(|report| report.device.as_ref());
            let groups: BTreeMap<GroupId, &GroupStatement> = devices
                .flat_map(|device| &device.groups)
                .map(|of| (of.statement.group, &of.statement))
                .collect();
            let all = groups.values().all(|group| there(group, &mut goals));
            let leaders = || reports.iter().flat_map(|report| &report.groups).filter(|group| group.serving);
            let mut owned: Vec<Prefix> =
                leaders().flat_map(|leader| leader.prefixes.iter().copied()).collect();
            owned.sort_unstable();
            let closed = leaders().all(|leader| leader.open.is_empty());
            if answered && all && closed && is_whole(&owned) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let seconds = HEALED.as_secs();
                return Err(format!("not every member is well within {seconds} s: {reports:#?}").into());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Writes what happened to a file, and checks it.
    fn judge(&mut self, report: &mut Report) -> Result<(), Error> {
        let history = self.recorder.history();
        self.write(&history)?;
        for daemon in self.realm.daemons() {
            report.failures.extend(daemon.died());
            let log = String::from_utf8_lossy(&std::fs::read(daemon.log())?).into_owned();
            if let Some(panic) = log.lines().find(|line| line.contains("panicked at")) {
                report.failures.push(format!(
                    "{}: {panic}; its log: {}",
                    daemon.name(),
                    daemon.log().display()
                ));
            }
            self.memory.note(daemon);
        }
        let broken = history.iter().filter(|operation| {
            matches!(operation.outcome, Outcome::Broken(_)) && !in_a_crowd(&history, operation)
        });
        report.failures.extend(broken.map(|operation| format!("{}: {}", operation.user, line(operation))));
        if !report.complete {
            report.failures.push("the history is not complete, and was not checked".into());
        } else if let Err(wrong) = check(&history, LIMIT) {
            report.failures.extend(wrong.iter().map(ToString::to_string));
        }
        report.history = history;
        report.faults.clone_from(&self.faults);
        report.memory = std::mem::take(&mut self.memory);
        Ok(())
    }

    fn write(&self, history: &[Operation]) -> Result<(), Error> {
        let mut lines = String::new();
        for operation in history {
            writeln!(lines, "{}", serde_json::to_string(operation)?)?;
        }
        std::fs::write(self.realm.dir().join("history.jsonl"), lines)?;
        let mut lines = String::new();
        for Spell { fault, from, until } in &self.faults {
            writeln!(lines, "{:>9.3} to {:>9.3} s  {fault}", *from as f64 / 1e6, *until as f64 / 1e6)?;
        }
        Ok(std::fs::write(self.realm.dir().join("faults.txt"), lines)?)
    }
}

/// Whether these ascending prefixes are all records, each once.
fn is_whole(owned: &[Prefix]) -> bool {
    let apart = owned.windows(2).all(|pair| !pair[0].overlaps(&pair[1]));
    let shares =
        owned.iter().map(|prefix| 1_u64.checked_shl(63 - u32::from(prefix.len().min(63))).unwrap_or(0));
    apart && shares.sum::<u64>() == 1 << 63
}

/// Whether the user had so many devices at work at once that their sessions displaced each other. If a session is gone
/// as soon as it is opened, the SDK of that device says that the realm broke the protocol.
fn in_a_crowd(history: &[Operation], one: &Operation) -> bool {
    let meanwhile =
        |other: &&Operation| other.user == one.user && other.began <= one.ended && other.ended >= one.began;
    history.iter().filter(meanwhile).count() >= MAX_SESSIONS_OF_A_RECORD
}
