//! What was explored, as a table, and what breaks without each rule.

use super::rule::Rule;
use super::{atomic, forked};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::time::Duration;

/// Groups that are each their committed log. Each row adds something, or has more of it.
const ATOMIC: [atomic::Bounds; 5] = [
    atomic::Bounds::all_of(2, 3),
    atomic::Bounds { places: 2, ..atomic::Bounds::all_of(2, 3) },
    atomic::Bounds::all_of(3, 3),
    atomic::Bounds { split: false, ..atomic::Bounds::all_of(3, 4) },
    atomic::Bounds { idle_refusals: 0, retire: false, ..atomic::Bounds::all_of(3, 4) },
];

/// Groups of several HSMs.
const FORKED: [forked::Bounds; 8] = [
    // A destination of three, a source of three, both of two.
    forked::Bounds { guesses: 1, ..forked::Bounds::of([1, 3, 0], [4, 3, 0]) },
    forked::Bounds { guesses: 1, ..forked::Bounds::of([3, 1, 0], [3, 3, 0]) },
    forked::Bounds { guesses: 1, ..forked::Bounds::of([2, 2, 0], [4, 3, 0]) },
    // There and back, and to a third group.
    forked::Bounds { transfers: 2, ..forked::Bounds::of([1, 2, 0], [5, 4, 0]) },
    forked::Bounds { transfers: 2, ..forked::Bounds::of([1, 2, 1], [3, 4, 2]) },
    // Retirement.
    forked::Bounds {
        transfers: 0,
        idle_refusals: 1,
        retire: true,
        ..forked::Bounds::of([1, 3, 0], [0, 3, 0])
    },
    forked::Bounds { retire: true, ..forked::Bounds::of([2, 1, 0], [4, 2, 0]) },
    // Both of three: more than can be waited for.
    forked::Bounds { states: 300_000, ..forked::Bounds::of([3, 3, 0], [3, 3, 0]) },
];

/// Explores, with at most so many states in each row, and prints what was explored and found.
///
/// # Errors
/// A promise breaks with all rules, or breaks without a rule where it should not, or does not where it should.
pub fn print(most: usize) -> Result<(), String> {
    println!("| With all rules | States | Steps | |\n|---|---|---|---|");
    for bounds in ATOMIC {
        let bounds = atomic::Bounds { states: bounds.states.min(most), ..bounds };
        let explored = watched(&bounds, |seen| atomic::explore(&bounds, None, seen));
        row(&bounds, &explored)?;
    }
    for bounds in FORKED {
        let bounds = forked::Bounds { states: bounds.states.min(most), ..bounds };
        let explored = watched(&bounds, |seen| forked::explore(&bounds, None, seen));
        row(&bounds, &explored)?;
    }
    println!("\nevery promise holds\n\nwithout a rule, in groups as small as it takes:");
    Rule::ALL.into_iter().try_for_each(without)
}

fn row<Step: Display>(bounds: &impl Display, explored: &super::super::Explored<Step>) -> Result<(), String> {
    let reach = if explored.exhausted { "all there are" } else { "then stopped" };
    println!("| {bounds} | {} | {} | {reach} |", explored.states, explored.depth);
    match &explored.broken {
        None => Ok(()),
        Some((way, promise)) => Err(format!("{promise}, with all rules:\n{}", in_words(way))),
    }
}

fn without(rule: Rule) -> Result<(), String> {
    let between = atomic::Bounds::for_rule(rule);
    let inside = forked::Bounds::for_rule(rule);
    if let Some(bounds) = between {
        let explored = watched(&bounds, |seen| atomic::explore(&bounds, Some(rule), seen));
        tell(rule, "between groups", explored.broken)?;
    }
    if let Some(bounds) = inside {
        let explored = watched(&bounds, |seen| forked::explore(&bounds, Some(rule), seen));
        tell(rule, "inside groups", explored.broken)?;
    }
    if between.is_none() && inside.is_none() {
        let bounds = atomic::Bounds::all_of(2, 3);
        let explored = watched(&bounds, |seen| atomic::explore(&bounds, Some(rule), seen));
        if let Some((way, promise)) = explored.broken {
            return Err(format!("without {rule:?}, {promise}:\n{}", in_words(&way)));
        }
        let reach = if explored.exhausted { "all there are" } else { "then stopped" };
        println!("\n{rule:?}: nothing breaks; {bounds}: {} states, {reach}", explored.states);
    }
    Ok(())
}

fn tell<Step: Display>(
    rule: Rule,
    place: &str,
    broken: Option<(Vec<Step>, &'static str)>,
) -> Result<(), String> {
    let (way, promise) = broken.ok_or_else(|| format!("nothing breaks without {rule:?}, {place}"))?;
    println!("\n{rule:?}, {place}: {promise}\n{}", in_words(&way));
    Ok(())
}

fn in_words(way: &[impl Display]) -> String {
    way.iter().map(|step| format!("  {step}\n")).collect()
}

/// Shows how many states were seen while it explores, if there is a terminal.
fn watched<T>(bounds: &impl Display, explore: impl FnOnce(&mut dyn FnMut(usize)) -> T) -> T {
    let bar = ProgressBar::new_spinner().with_message(bounds.to_string());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {pos} states, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    let explored = explore(&mut |states| bar.set_position(states as u64));
    bar.finish_and_clear();
    explored
}
