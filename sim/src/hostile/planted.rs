//! Planted bugs: the search must find each, or it searches for nothing.

use super::{Found, Violation, search};
use strongroom_hsm::Bug;

/// The seeds that are tried, one after another, with the whole budget each.
const SEEDS: [u64; 2] = [1, 2];

/// One planted bug, hunted.
pub struct Hunted {
    /// What was left out.
    pub bug: Bug,
    /// The seed that found it, the steps it took, and the rule that broke.
    pub found: Option<(u64, u64, Violation)>,
}

/// Hunts one bug with a budget of steps for each seed.
#[must_use]
pub fn hunt_planted(bug: Bug, budget: u64) -> Hunted {
    let found = SEEDS.iter().find_map(|seed| {
        let Found { steps, broken, .. } = search(*seed, budget, Some(bug));
        broken.map(|(_, violation)| (*seed, steps, violation))
    });
    Hunted { bug, found }
}

/// Hunts every bug and prints the table. How many were missed.
#[must_use]
pub fn print_table(budget: u64) -> usize {
    println!("| Bug | Seed | Steps | What the oracle said |\n|---|---|---|---|");
    let mut missed = 0;
    for bug in Bug::ALL {
        match hunt_planted(*bug, budget).found {
            Some((seed, steps, violation)) => println!("| `{bug:?}` | {seed} | {steps} | {violation} |"),
            None => {
                missed += 1;
                println!("| `{bug:?}` | - | - | **missed** within {budget} steps of each of {SEEDS:?} |");
            }
        }
    }
    println!("\n{} of {} found", Bug::ALL.len() - missed, Bug::ALL.len());
    missed
}
