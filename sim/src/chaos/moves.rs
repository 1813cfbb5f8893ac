//! Prefixes that move between two groups all the time, and an HSM that is replaced in the end, whatever is killed meanwhile.

use super::programs::Programs;
use super::realm::Realm;
use crate::Error;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use strongroom_agent::admin::Client as Admin;
use strongroom_proto::ids::GroupId;
use strongroom_proto::prefix::Prefix;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long an agent may take for one step.
const STEP: Duration = Duration::from_secs(20);
/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the replacement of an HSM may take, with everything that is killed on the way.
const REPLACED: Duration = Duration::from_secs(300);

/// What has been moved so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Moved {
    /// Steps that an agent said were taken.
    pub(super) steps: u64,
    /// Moves that came to their end.
    pub(super) moves: u64,
    /// Steps of which nothing is known, or which were refused.
    pub(super) failed: u64,
    /// Moves that nobody went on with.
    pub(super) left: u64,
}

/// Moves a half to and fro, asking any agent for each step.
pub(super) struct Mover {
    sockets: Vec<PathBuf>,
    groups: [GroupId; 2],
    rng: StdRng,
    moved: watch::Sender<Moved>,
}

impl Mover {
    /// For a realm whose first group owns everything.
    pub(super) fn new(realm: &Realm, seed: u64) -> Result<(Self, watch::Receiver<Moved>), Error> {
        let [first, second] = realm.groups[..] else { return Err("two groups are needed".into()) };
        let (moved, seen) = watch::channel(Moved::default());
        let rng = StdRng::seed_from_u64(seed ^ 0x6d6f_7665);
        Ok((Self { sockets: realm.sockets(), groups: [first, second], rng, moved }, seen))
    }

    /// Goes on until `enough`, and then brings what is under way to its end.
    pub(super) async fn run(mut self, enough: watch::Receiver<bool>) -> Result<(), Error> {
        let halves = Prefix::WHOLE.children().ok_or("it has halves")?;
        // It is split already if an answer was lost.
        while !self.divided().await && !*enough.borrow() {}
        let [mut from, mut to] = self.groups;
        let mut prefix = halves.1;
        while !*enough.borrow() {
            let over = self.step(prefix, from, to).await;
            // Now and then nobody goes on with it: the agents have to.
            if !over && self.rng.random_ratio(1, 8) {
                self.moved.send_modify(|moved| moved.left += 1);
                self.ended(&enough).await;
            }
            if over {
                (from, to) = (to, from);
                if from == self.groups[0] {
                    prefix = if self.rng.random_bool(0.5) { halves.0 } else { halves.1 };
                }
            }
        }
        // What is under way is left to the agents.
        let deadline = Instant::now() + REPLACED;
        while !self.nothing_is_open().await {
            if Instant::now() > deadline {
                return Err("a move that had begun did not come to its end".into());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Until no group has anything open, or it is enough.
    async fn ended(&mut self, enough: &watch::Receiver<bool>) {
        while !*enough.borrow() && !self.nothing_is_open().await {
            sleep(PAUSE).await;
        }
    }

    /// As far as the leaders of all groups say.
    async fn nothing_is_open(&mut self) -> bool {
        let mut led = BTreeSet::new();
        for socket in &self.sockets {
            let asked = async { Admin::connect(socket).await.ok()?.status().await.ok() };
            let Ok(Some(report)) = timeout(Duration::from_secs(2), asked).await else { continue };
            for group in report.groups.iter().filter(|group| group.serving) {
                if !group.open.is_empty() {
                    return false;
                }
                led.insert(group.group);
            }
        }
        self.groups.iter().all(|group| led.contains(group))
    }

    async fn ask<T>(&mut self, ask: impl AsyncFnOnce(&mut Admin) -> Option<T>) -> Option<T> {
        let socket = &self.sockets[self.rng.random_range(0..self.sockets.len())];
        let asked = async { ask(&mut Admin::connect(socket).await.ok()?).await };
        let answer = timeout(STEP, asked).await.ok().flatten();
        if answer.is_none() {
            self.moved.send_modify(|moved| moved.failed += 1);
            sleep(Duration::from_millis(100)).await;
        }
        answer
    }

    async fn divided(&mut self) -> bool {
        let first = self.groups[0];
        let asked = self.ask(async |admin| match admin.divide(first, Prefix::WHOLE, false).await {
            Ok(_) => Some(true),
            Err(error) => error.to_string().contains("does not own").then_some(true),
        });
        asked.await.unwrap_or(false)
    }

    /// Takes one step. Whether that was the last one of a move.
    async fn step(&mut self, prefix: Prefix, from: GroupId, to: GroupId) -> bool {
        let asked = self.ask(async |admin| admin.move_on(Some(prefix), Some(from), to).await.ok().flatten());
        let Some((_, over)) = asked.await else { return false };
        self.moved.send_modify(|moved| {
            moved.steps += 1;
            moved.moves += u64::from(over);
        });
        over
    }
}

/// `hsm replace` for the HSM of the last host, which is lost with its disk, with that of the first; the command is killed
/// again and again, each time a little later, and so is one agent after another.
pub(super) async fn replace(realm: &mut Realm, programs: &Programs) -> Result<usize, Error> {
    let lost = realm.hosts.len() - 1;
    let (gone, new) = (realm.hsms[lost], realm.hsms[0]);
    realm.lose(lost)?;
    let (mut after, mut killed) = (Duration::from_millis(100), 0);
    let deadline = Instant::now() + REPLACED;
    loop {
        let mut command = Command::new(&programs.agent);
        command.arg("--config").arg(realm.hosts[2].config()).args(["hsm", "replace", &gone.to_string()]);
        command.args(["--with", &new.to_string(), "--yes"]).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        // Dropped, and so killed, when its time is over.
        match timeout(after, command.output()).await {
            Ok(output) => {
                let output = output?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                if output.status.success() {
                    return Ok(killed);
                }
                if Instant::now() > deadline {
                    return Err(format!("the HSM is not replaced in {} s: {said}", REPLACED.as_secs()).into());
                }
                sleep(Duration::from_millis(200)).await;
            }
            Err(_) if Instant::now() > deadline => {
                return Err(format!("the HSM is not replaced in {} s", REPLACED.as_secs()).into());
            }
            Err(_) => {
                let victim = &mut realm.hosts[killed % lost];
                victim.agent.kill();
                victim.agent.start()?;
                killed += 1;
                after += Duration::from_millis(400);
            }
        }
    }
}
