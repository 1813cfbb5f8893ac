//! Traces: the steps of one episode, shrunk, written as text that people read, and run again.

use super::founding::Founding;
use super::parts::{Look, Planted, Violation};
use super::step::{Made, Step};
use super::world::World;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use strongroom_testkit::Bug;

type Steps = Vec<(Made, Step)>;

/// How many steps shrinking may run. Not for how long: on a slow machine a trace must get just as short.
const MAX_STEPS_RUN: usize = 300_000;

/// The steps of one episode.
#[derive(Clone)]
pub struct Trace {
    /// The seed of its cores and users.
    pub seed: u64,
    /// What is left out of its cores.
    pub planted: Planted,
    /// Whether it breaks a rule only when compared with itself under other secrets.
    pub is_twin: bool,
    pub(super) steps: Vec<(Made, Step)>,
}

impl Trace {
    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Runs it, from the beginning, up to the first broken rule.
    #[must_use]
    pub fn replay(&self) -> Option<Violation> {
        self.replay_on(&Rc::new(Founding::new(self.seed, self.planted)))
    }

    fn replay_on(&self, founding: &Rc<Founding>) -> Option<Violation> {
        let mut world = World::new(founding);
        world.looks = self.is_twin.then(Vec::new);
        self.run_in(&mut world);
        match (world.violation, world.looks) {
            (None, Some(looks)) => self.compare(founding, &looks, None),
            (violation, _) => violation,
        }
    }

    fn run_in(&self, world: &mut World) {
        for (n, step) in &self.steps {
            world.apply(*n, step);
            if world.violation.is_some() {
                break;
            }
        }
    }

    /// Runs it with other secrets wherever a host could not tell, and looks for a reply from which a host could.
    pub(super) fn compare(
        &self,
        founding: &Rc<Founding>,
        looks: &[Look],
        only: Option<&'static str>,
    ) -> Option<Violation> {
        let mut twin = World::new(founding);
        (twin.is_twin, twin.looks, twin.only) = (true, Some(Vec::new()), only);
        self.run_in(&mut twin);
        let others = twin.looks.unwrap_or_default();
        let differ = looks.iter().zip(&others).find(|(one, other)| one != other);
        let what = differ.map(|((n, size, one), (_, other_size, other))| {
            format!("step #{n} shows {size} bytes, {one}; with other secrets {other_size} bytes, {other}")
        });
        let differ = what.map(|what| Violation { rule: "the same for all secrets", what });
        differ.filter(|differ| only.is_none_or(|only| only == differ.rule)).or(twin.violation)
    }

    /// Leaves out steps as long as the same rule breaks, with bounded effort: in large runs, then one by one, then
    /// entries that others continue, which then continue from the entry before.
    #[must_use]
    pub fn shrunk(&self, violation: &Violation) -> Self {
        let founding = Rc::new(Founding::new(self.seed, self.planted));
        let left = Cell::new(MAX_STEPS_RUN);
        let breaks = |steps: &Steps| {
            let trace = Self { steps: steps.clone(), ..self.clone() };
            left.set(left.get().saturating_sub(steps.len()));
            left.get() > 0 && trace.replay_on(&founding).is_some_and(|other| other.rule == violation.rule)
        };
        let mut steps = self.steps.clone();
        loop {
            let before = steps.len();
            leave_out_runs(&mut steps, &breaks);
            leave_out_entries(&mut steps, &breaks);
            if steps.len() == before {
                break;
            }
        }
        let made: BTreeSet<Made> = steps.iter().map(|(n, _)| *n).collect();
        let mut tidy = steps.clone();
        tidy.iter_mut().for_each(|(_, step)| step.forget(|n| made.contains(n)));
        if breaks(&tidy) {
            steps = tidy;
        }
        Self { steps, ..self.clone() }
    }

    /// Reads what [`fmt::Display`] wrote.
    ///
    /// # Errors
    /// A line is not of a trace, or it was written with a planted bug and this build can plant none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split_whitespace();
        let seed = match (words.next(), words.next().map(str::parse)) {
            (Some("seed"), Some(Ok(seed))) => seed,
            _ => return Err(format!("a trace begins with `seed N`, not with {first:?}")),
        };
        let (mut is_twin, mut bug) = (false, None);
        while let Some(word) = words.next() {
            match word {
                "twin" => is_twin = true,
                "planted" => bug = Some(planted(words.next().unwrap_or_default())?),
                _ => return Err(format!("no trace of this version begins with {first:?}")),
            }
        }
        let mut steps = Vec::new();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let step = words.next().and_then(|n| n.parse().ok()).zip(words.next().and_then(decode));
            steps.push(step.ok_or_else(|| format!("no step of this version: {line:?}"))?);
        }
        Ok(Self { seed, planted: bug, is_twin, steps })
    }

    /// One line for each step, to be read.
    #[must_use]
    pub fn readable(&self) -> String {
        self.steps.iter().map(|(n, step)| format!("  #{n:<4} {step}\n")).collect()
    }
}

/// Runs of steps, half as long each time, down to single steps.
fn leave_out_runs(steps: &mut Steps, breaks: &impl Fn(&Steps) -> bool) {
    let mut run = (steps.len() / 2).max(1);
    loop {
        let (before, mut at) = (steps.len(), 0);
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + run).min(steps.len()));
            if breaks(&fewer) { *steps = fewer } else { at += run }
        }
        if run == 1 && steps.len() == before {
            return;
        }
        run = (run / 2).max(1);
    }
}

/// An entry can go if what names it names the one before it instead.
fn leave_out_entries(steps: &mut Steps, breaks: &impl Fn(&Steps) -> bool) {
    let mut at = 0;
    while let Some((n, step)) = steps.get(at).cloned() {
        at += 1;
        let Some(before) = step.goes_on_from() else { continue };
        let mut fewer = steps.clone();
        fewer.remove(at - 1);
        fewer.iter_mut().for_each(|(_, step)| step.rename(n, before));
        if breaks(&fewer) {
            *steps = fewer;
            at -= 1;
        }
    }
}

fn decode(hexadecimal: &str) -> Option<Step> {
    minicbor::decode(&hex::decode(hexadecimal).ok()?).ok()
}

fn planted(name: &str) -> Result<Bug, String> {
    let bug = Bug::named(name);
    bug.ok_or_else(|| {
        format!("no bug {name} can be planted; only a build with `--features planted-bugs` has any")
    })
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}", self.seed)?;
        if self.is_twin {
            write!(f, " twin")?;
        }
        if let Some(bug) = &self.planted {
            write!(f, " planted {bug:?}")?;
        }
        writeln!(f)?;
        for (n, step) in &self.steps {
            let bytes = minicbor::to_vec(step).map_err(|_| fmt::Error)?;
            writeln!(f, "{n}\t{}\t{step}", hex::encode(bytes))?;
        }
        Ok(())
    }
}
