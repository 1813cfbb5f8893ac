//! What a run reports at the end.

use super::daemon::Daemon;
use super::faults::Spell;
use super::history::{Asked, Micros, Operation, Outcome};
use super::moves::Moved;
use super::options::Options;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What the processes held in RAM, in KiB, by their names.
#[derive(Clone, Default, Debug)]
pub(super) struct Memory(BTreeMap<String, Held>);

#[derive(Clone, Copy, Default, Debug)]
struct Held {
    first: u64,
    most: u64,
    last: u64,
    /// How long the process had run then.
    age: Duration,
}

/// A process younger than this is still starting up.
const GROWN: Duration = Duration::from_secs(3);

impl Memory {
    pub(super) fn note(&mut self, daemon: &Daemon) {
        let age = daemon.age();
        let Some(kib) = daemon.resident_kib().filter(|_| age > GROWN) else { return };
        let held = self.0.entry(daemon.name().to_owned()).or_default();
        if held.first == 0 {
            held.first = kib;
        }
        (held.last, held.age, held.most) = (kib, age, held.most.max(kib));
    }
}

/// A run's summary.
pub(super) struct Report {
    options: Options,
    pub(super) interrupted: bool,
    /// Whether every operation that was begun is in the history.
    pub(super) complete: bool,
    pub(super) storms: usize,
    pub(super) history: Vec<Operation>,
    pub(super) faults: Vec<Spell>,
    pub(super) memory: Memory,
    /// What was moved, and how often the replacement of an HSM was killed.
    pub(super) moves: Option<(Moved, usize)>,
    /// What went wrong. Empty for a good run.
    pub(super) failures: Vec<String>,
}

impl Report {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            interrupted: false,
            complete: true,
            storms: 0,
            history: Vec::new(),
            faults: Vec::new(),
            memory: Memory::default(),
            moves: None,
            failures: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        writeln!(
            f,
            "seed {}{interrupted}: {} operations, {} storms of guesses",
            self.options.seed,
            self.history.len(),
            self.storms
        )?;
        self.operations(f)?;
        self.slowest(f)?;
        let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
        for spell in &self.faults {
            *faults.entry(spell.fault.kind()).or_default() += 1;
        }
        let faults: Vec<_> = faults.iter().map(|(kind, times)| format!("{kind} {times}x")).collect();
        writeln!(f, "faults: {}", faults.join(", "))?;
        if let Some((Moved { steps, moves, failed, left }, killed)) = &self.moves {
            writeln!(
                f,
                "{moves} moves of a half in {steps} steps, {failed} without an answer, {left} left to the agents; an HSM was replaced, the command killed {killed}x"
            )?;
        }
        for (name, held) in &self.memory.0 {
            let [first, most, last] = [held.first, held.most, held.last].map(|kib| kib as f64 / 1024.0);
            writeln!(
                f,
                "memory of {name}: {first:.1} MiB at first, {most:.1} at most, {last:.1} in the end"
            )?;
        }
        if self.failures.is_empty() {
            writeln!(
                f,
                "nothing acknowledged was lost, no guess was gained, no wrong secret was given; the store is whole"
            )?;
        }
        writeln!(f, "the same again: {}", self.options)
    }
}

impl Report {
    fn operations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<&str, (BTreeMap<&str, usize>, Vec<Micros>)> = BTreeMap::new();
        for operation in &self.history {
            let (outcomes, times) = kinds.entry(kind(operation)).or_default();
            *outcomes.entry(outcome(operation)).or_default() += 1;
            times.push(operation.ended - operation.began);
        }
        for (kind, (outcomes, mut times)) in kinds {
            times.sort_unstable();
            let at = |of_100: usize| seconds(times[(times.len() - 1) * of_100 / 100]);
            let outcomes: Vec<_> =
                outcomes.iter().map(|(outcome, times)| format!("{outcome} {times}")).collect();
            let (half, most, all) = (at(50), at(99), at(100));
            writeln!(
                f,
                "{kind:<9} {}; p50 {half:.2} s, p99 {most:.2} s, slowest {all:.2} s",
                outcomes.join(", ")
            )?;
        }
        Ok(())
    }

    /// The slowest operations, and what was wrong at the time.
    fn slowest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut slowest: Vec<_> = self.history.iter().collect();
        slowest.sort_by_key(|operation| std::cmp::Reverse(operation.ended - operation.began));
        for operation in slowest.iter().take(3) {
            let (what, how) = (kind(operation), outcome(operation));
            let (at, took) = (seconds(operation.began), seconds(operation.ended - operation.began));
            write!(f, "slow: {what} at {at:.1} s took {took:.2} s, {how}, with ")?;
            let during = |spell: &&Spell| spell.from <= operation.ended && spell.until >= operation.began;
            let during: Vec<_> =
                self.faults.iter().filter(during).map(|spell| spell.fault.to_string()).collect();
            match self.faults.iter().rev().find(|spell| spell.until < operation.began) {
                _ if !during.is_empty() => writeln!(f, "{}", during.join(", "))?,
                Some(Spell { fault, until, .. }) => {
                    writeln!(f, "nothing wrong since {fault} ended at {:.1} s", seconds(*until))?;
                }
                None => writeln!(f, "nothing wrong")?,
            }
        }
        Ok(())
    }
}

fn seconds(micros: Micros) -> f64 {
    micros as f64 / 1e6
}

const fn kind(operation: &Operation) -> &'static str {
    match operation.asked {
        Asked::Register { .. } => "register",
        Asked::Recover { .. } => "recover",
        Asked::Delete => "delete",
    }
}

const fn outcome(operation: &Operation) -> &'static str {
    match operation.outcome {
        Outcome::Done | Outcome::Secret(_) => "ok",
        Outcome::Wrong { .. } => "wrong PIN",
        Outcome::NotRegistered => "not registered",
        Outcome::Changed => "another registration",
        Outcome::Unknown(_) => "unknown",
        Outcome::Broken(_) => "broken",
    }
}
