//! A hostile host: real HSM cores, real client messages, and an adversary who owns everything else.
//!
//! Owns the search: episodes of steps drawn from a seed, an oracle that knows what no host may see, and traces that are
//! shrunk, written and run again. Trusts no core. The same seed gives the same run on any machine.
//!
//! - `step` is what a host can do, as data, with `changes`, `forgery`, `head_step` and `tell_step`; `world`, `forging`, `enrolment`,
//!   `reads`, `owners`, `heads` and `tells` do it to the cores; the world keeps everything that ever left them;
//! - `oracle`, `answers`, `reads`, `owners`, `heads` and `tells` judge every reply, with `model` to say what a record must be, and `keys` and
//!   `claims`, which are written apart from the core, to open what is sealed and to hash what is claimed;
//! - `founding` makes the realm that every episode begins with;
//! - `hunt`, `moves`, `random` and `strategies` choose the steps; `clients` are the users that the host owns;
//! - `trace` shrinks what failed, writes it, and reads it again.

mod answers;
mod attempts;
mod changes;
mod claims;
mod clients;
mod device;
mod enrolment;
mod episode;
mod forgery;
mod forging;
mod founding;
mod head_step;
mod heads;
mod hunt;
mod keys;
mod made;
mod model;
mod moves;
mod oracle;
mod owners;
mod parts;
#[cfg(feature = "planted-bugs")]
mod planted;
mod random;
mod reads;
mod retirement;
mod step;
mod step_words;
mod strategies;
mod tell_step;
mod tells;
mod trace;
mod world;

use founding::Founding;
use hunt::{EPISODE_STEPS, Hunt};
pub use oracle::RULES;
use parts::Coverage;
pub use parts::{Planted, Violation};
#[cfg(feature = "planted-bugs")]
pub use planted::{Hunted, PLANTED_BUDGET, UNSEEN, hunt_planted, print_table, seen};
use std::fmt::Write;
use std::rc::Rc;
use std::time::Instant;
use strongroom_hsm::Config;
pub use strongroom_testkit::Bug;
use strongroom_testkit::Tape;
pub use trace::Trace;
use world::World;

/// One episode in this many is run a second time with other secrets.
const TWIN_EPISODES: u64 = 16;

/// How a search ended.
pub struct Found {
    /// Steps taken, over all episodes; those of twins are not counted.
    pub steps: u64,
    /// The trace that broke a rule, and the rule.
    pub broken: Option<(Trace, Violation)>,
    coverage: Coverage,
}

/// Searches for this many steps, or until a rule is broken.
#[must_use]
pub fn search(seed: u64, steps: u64, planted: Planted) -> Found {
    search_for(None, seed, steps, planted)
}

/// Like [`search`], but only one rule counts, for a test that it can be broken.
#[must_use]
pub fn search_for(only: Option<&'static str>, seed: u64, steps: u64, planted: Planted) -> Found {
    let mut found = Found { steps: 0, broken: None, coverage: Coverage::new() };
    let founding = Rc::new(Founding::new(seed, planted));
    let mut episode = 0_u64;
    while found.steps < steps && found.broken.is_none() {
        let has_twin = episode.is_multiple_of(TWIN_EPISODES);
        let mut world = World::new(&founding);
        world.looks = has_twin.then(Vec::new);
        world.only = only;
        let left = u32::try_from(steps - found.steps).unwrap_or(u32::MAX);
        let episode_seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(episode);
        let mut hunt = Hunt::new(world, episode_seed, left.min(EPISODE_STEPS));
        hunt.run();
        found.steps += hunt.trace.len() as u64;
        for (what, times) in std::mem::take(&mut hunt.world.coverage) {
            *found.coverage.entry(what).or_default() += times;
        }
        let trace = Trace { seed, planted, is_twin: false, steps: hunt.trace };
        found.broken = match (hunt.world.violation, hunt.world.looks) {
            (Some(violation), _) => Some((trace, violation)),
            (None, Some(looks)) => {
                let twin = Trace { is_twin: true, ..trace };
                twin.compare(&founding, &looks, only).map(|violation| (twin, violation))
            }
            (None, None) => None,
        };
        episode += 1;
    }
    found
}

/// Searches with HSMs that are like boards of this kind, until this many messages were sent after the realms were made.
/// Returns what happened to each HSM of each episode, for a board to repeat.
///
/// # Panics
/// If a rule is broken.
#[must_use]
pub fn record(seed: u64, messages: usize, config: &Config) -> Vec<Tape> {
    let founding = Rc::new(Founding::on_tape(seed, config.clone()));
    let (mut tapes, mut sent, mut episode) = (Vec::new(), 0, 0_u64);
    while sent < messages {
        let episode_seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(episode);
        let mut hunt = Hunt::new(World::new(&founding), episode_seed, EPISODE_STEPS);
        hunt.run();
        assert!(hunt.world.violation.is_none(), "{:?}", hunt.world.violation);
        for device in std::mem::take(&mut hunt.world.devices) {
            let Some(tape) = device.into_flash().1 else { continue };
            sent += tape.exchanges();
            tapes.push(tape);
        }
        episode += 1;
    }
    tapes
}

/// Searches on this many threads, each with a seed of its own, and prints the results. Returns the shrunk trace and its
/// rule, if one was broken.
#[must_use]
pub fn run(seed: u64, steps: u64, cores: u32) -> Option<(Trace, Violation)> {
    let cores = u64::from(cores.max(1));
    let begun = Instant::now();
    let search = |core| {
        let found = search(seed.wrapping_add(core), steps.div_ceil(cores), None);
        (found, processor_seconds())
    };
    let found: Vec<(Found, Option<f64>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || search(core))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a search does not panic")).collect()
    });
    let elapsed = begun.elapsed().as_secs_f64();
    let mut coverage = Coverage::new();
    let (mut taken, mut broken, mut busy) = (0, None, 0.0);
    for (one, seconds) in found {
        taken += one.steps;
        busy += seconds.unwrap_or(elapsed);
        broken = broken.or(one.broken);
        for (what, times) in one.coverage {
            *coverage.entry(what).or_default() += times;
        }
    }
    print!("{}", table(&coverage));
    println!(
        "seed {seed}, {cores} thread(s): {taken} steps in {elapsed:.1} s, {:.0} steps per second; {:.0} per second of \
         processor time",
        taken as f64 / elapsed,
        taken as f64 / busy
    );
    println!("the same again: strongroom-sim hostile --seed {seed} --steps {steps} --cores {cores}");
    if broken.is_none() {
        println!("passed: no rule was broken in {taken} steps");
    }
    broken.map(|(trace, violation)| (trace.shrunk(&violation), violation))
}

/// How long this thread has had a processor, if the system tells: on a busy machine, less than has gone by.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = stat.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9).filter(|seconds| *seconds > 0.0)
}

fn table(coverage: &Coverage) -> String {
    let mut lines = format!("{:<14} {:<9} {:<20} {:>10}\n", "message", "role", "outcome", "times");
    for ((message, role, outcome), times) in coverage {
        writeln!(lines, "{message:<14} {role:<9} {outcome:<20} {times:>10}").expect("writes to memory");
    }
    lines
}
