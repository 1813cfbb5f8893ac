//! `verify`: what a realm publishes, checked by someone who trusts nobody there. Reads a statement and a store, and writes nothing but the
//! file of `--save`.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use strongroom_verify::{Asked, Report, Source, Step, read_checkpoints, write_checkpoints};

use crate::args::Verify;
use crate::audit::Audit;
use crate::output::Failure;

/// The longest file that is read, in bytes: more than any statement, and than the checkpoints of all groups.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Checks all that is asked.
pub(crate) async fn verify(options: &Verify, spinner: &ProgressBar) -> Result<Audit, Failure> {
    let statement = read(&options.realm)?;
    let since = match &options.since {
        None => Vec::new(),
        Some(path) => read_checkpoints(&read(path)?)
            .map_err(|error| Failure::usage(format!("{} cannot be used: {error}", path.display())))?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let (group, max_age, rebuild) = (options.group, options.max_age, options.rebuild.clone());
    let asked = Asked { group, since, now, max_age, rebuild };
    let named = options.store_options.iter().map(|option| option.0.clone());
    let named = named
        .collect::<Option<_>>()
        .ok_or_else(|| Failure::usage("--store-option takes NAME=VALUE, with a `=` in between"))?;
    let source = Source::open(&options.store, &named).map_err(Failure::usage)?;
    spinner.enable_steady_tick(Duration::from_millis(100));
    let report = strongroom_verify::verify(&statement, &source, &asked, &|step| tell(spinner, &step)).await;
    spinner.finish_and_clear();
    if let Some(path) = &options.save {
        save(path, &report)?;
    }
    Ok(Audit(report))
}

fn tell(spinner: &ProgressBar, step: &Step) {
    spinner.set_message(match step {
        Step::Tiles { group, entries, of } => format!("group {group}: {entries} of {of} entries"),
        Step::Segments { group, read } => format!("group {group}: {read} segments"),
        Step::Build(folder) => format!("building {}", folder.display()),
    });
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
    Ok(bytes)
}

/// Keeps what was verified. A statement that does not count leaves the file as it was.
fn save(path: &Path, report: &Report) -> Result<(), Failure> {
    if report.remembered.is_empty() {
        return Ok(());
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // Whoever loses this file could be shown any log the next time, so it is whole before it takes the place of the old one.
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(write_checkpoints(&report.remembered).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    written.map_err(|error| Failure::usage(format!("{} cannot be written: {error}", path.display())))
}
