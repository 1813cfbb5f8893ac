//! `strongroom-sim bench`: what Strongroom costs, in time and money, measured on this machine by one command.
//!
//! [`run`] measures, prints a table, and writes a file that a later run compares itself with. `docs/performance.md` says
//! how to read it.

mod against;
mod bucket;
mod calls;
mod core;
mod core_user;
mod crowd;
mod curve;
mod failover;
mod fill;
mod growth;
mod instructions;
mod machine;
mod memory;
mod moving;
mod numbers;
mod options;
mod page;
mod place;
mod plot;
mod progress;
pub mod report;
mod service;
mod table;
mod tables;
mod took;

pub(crate) use bucket::BUCKET;
pub use bucket::{Serving, serve};
pub use machine::Machine;
pub use options::{Options, Part};
pub use place::Place;

use crate::chaos::Programs;
use crate::{Error, replay_bench, tree_bench};
use progress::Progress;
use report::Report;
use std::path::Path;
use std::time::Instant;

/// Measures what is wanted.
///
/// # Errors
/// A process does not start, or ends; a file cannot be read or written.
pub async fn run(options: &Options) -> Result<(), Error> {
    let places = options.places()?;
    if options.clients.contains(&0) {
        return Err("a load has at least one client".into());
    }
    if options.records == Some(0) || options.trials == 0 {
        return Err("a tree has at least one record, and a failover one trial".into());
    }
    let earlier = options.against.as_deref().map(against::read).transpose()?;
    strongroom_agent::descriptors::raise();
    let (machine, begun) = (Machine::here(), Instant::now());
    let takes = options.takes();
    println!("{machine}");
    if machine.build == "debug" {
        println!("this build is not optimised, and its times mean little; use `cargo run --release`");
    }
    println!("this takes about {} s", takes.as_secs());
    let folder = tempfile::Builder::new().prefix("strongroom-bench-").tempdir()?;
    // They are built if they are not there, which takes a while.
    let realms = [Part::Service, Part::Failover, Part::Move].iter().any(|part| options.wants(*part));
    let programs = realms.then(|| Programs::find(folder.path())).transpose()?;
    let progress = Progress::new(takes)?;
    let mut report = Report::new(machine);
    // First, while this process has little memory: it measures how much is added.
    if options.wants(Part::Growth) {
        report.growth = growth::measure(&progress)?;
    }
    if options.wants(Part::Core) {
        (report.core, report.uncounted) = core::measure(&progress, options)?;
    }
    if let (true, Some(programs)) = (options.wants(Part::Service), &programs) {
        for place in &places {
            report.service.push(service::measure(options, place, programs, &progress).await?);
        }
    }
    // The last is the folder, if there is no choice: what a failover waits for most is neither, and a bucket in memory has no
    // room for a million records.
    if let (true, Some(place), Some(programs)) = (options.wants(Part::Failover), places.last(), &programs) {
        report.failover.push(failover::measure(options, place, programs, &progress).await?);
    }
    if let (true, Some(place), Some(programs)) = (options.wants(Part::Move), places.last(), &programs) {
        report.moving.push(moving::measure(options, place, programs, &progress).await?);
    }
    progress.finish();
    // These print for themselves.
    if options.wants(Part::Tree) {
        println!("\ntree");
        let folder = tempfile::Builder::new().prefix("strongroom-tree-").tempdir()?;
        report.tree =
            Some(tree_bench::run(options.stored(), folder.path(), std::time::Duration::ZERO).await?);
    }
    if options.wants(Part::Replay) {
        println!("\nreplay");
        let folder = tempfile::Builder::new().prefix("strongroom-replay-").tempdir()?;
        report.replay = Some(replay_bench::run(folder.path(), options.segments).await?);
    }
    report.took_s = begun.elapsed().as_secs_f64();
    conclude(options, &report, earlier.as_ref())
}

/// Compares, and writes the files.
fn conclude(options: &Options, report: &Report, earlier: Option<&Report>) -> Result<(), Error> {
    let compared =
        earlier.map(|earlier| (against::compare(earlier, report), against::differences(earlier, report)));
    if let Some((table, differences)) = &compared {
        println!("\nagainst the earlier run");
        differences.iter().for_each(|told| println!("  {told}"));
        print!("{table}");
    }
    if let Some(file) = &options.json {
        write(file, &(serde_json::to_string_pretty(report)? + "\n"))?;
    }
    if let Some(file) = &options.html {
        write(file, &page::page(report, compared.as_ref().map(|(table, told)| (table, told.clone())))?)?;
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(file, text).map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    println!("written: {}", file.display());
    Ok(())
}
