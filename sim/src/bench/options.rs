//! What is measured, and for how long.

use super::place::Place;
use crate::Error;
use std::path::PathBuf;
use std::time::Duration;

/// A part of the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Part {
    /// What a realm of three hosts serves to more and more clients, and what that costs.
    Service,
    /// How long users wait when the leader goes.
    Failover,
    /// What the HSM core takes by itself.
    Core,
    /// What it costs to find the leader of a group, among more and more groups.
    Growth,
    /// What the stored tree costs.
    Tree,
    /// How long a leader takes that has lost everything but the log.
    Replay,
    /// What the move of a prefix costs, beside clients that recover. Only if it is named: making its records takes minutes.
    Move,
}

/// How many clients there are at once, unless it is said.
const LOADS: [usize; 5] = [1, 16, 64, 256, 1000];
/// The same beside a move.
const BESIDE: usize = 64;
/// How many records there are, unless it is said: of the stored tree, and of the prefix that moves.
const RECORDS: u64 = 100_000;
const MOVED: u64 = 1_000_000;

/// The options of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Measure only these parts. By default, all but `move`.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    pub only: Vec<Part>,
    /// Where the log is: `memory://`, `file://`, or any URL that an agent takes, below which a realm's objects are left.
    /// May be given several times. By default `memory://` and `file://`; with --put-ms, `memory://` alone.
    #[arg(long, value_name = "URL")]
    pub store: Vec<Place>,
    /// An option of such a store, as in `agent.toml`.
    #[arg(long, value_name = "NAME=VALUE", value_parser = store_option)]
    pub store_option: Vec<(String, String)>,
    /// Make each PUT to `memory://` take this much longer. S3 takes 28 ms, at the median.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub put_ms: u64,
    /// How many clients there are at once, one load after another; by default 1, 16, 64, 256 and 1000. Beside a move, the
    /// largest of these numbers; by default 64.
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    pub clients: Vec<usize>,
    /// How long each load is measured, after a quarter of that to begin with.
    #[arg(long, default_value_t = 8.0, value_name = "N", value_parser = seconds)]
    pub seconds: f64,
    /// How often the leader goes in each way.
    #[arg(long, default_value_t = 15, value_name = "N")]
    pub trials: usize,
    /// How many records the stored tree has, by default 100,000; and how many move, by default 1,000,000.
    #[arg(long, value_name = "N")]
    pub records: Option<u64>,
    /// How many segments the log has that is replayed.
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub segments: u64,
    /// Of the core's batches, measure only those of these sizes: 1, 16, 64, 128.
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = one_of(&[1, 16, 64, 128]))]
    pub core_batches: Vec<u64>,
    /// Measure the core only among so many records: 1000, 10000, 100000, 1000000.
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = one_of(&[1_000, 10_000, 100_000, 1_000_000]))]
    pub core_records: Vec<u64>,
    /// Also write what was measured to this file, for a later run to compare itself with.
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Also draw it as a page to open in a browser.
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Show the ratios to an earlier run, from the file that its --json wrote.
    #[arg(long, value_name = "FILE.json")]
    pub against: Option<PathBuf>,
}

/// Takes one of these numbers, and no other.
fn one_of(numbers: &'static [u64]) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| numbers.contains(number));
        number.ok_or_else(|| format!("one of {numbers:?}"))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "a number of seconds from 0.1 to 3600".into())
}

fn store_option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE, such as region=eu-west-1")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) || value.contains(['\'', '\n']) {
        return Err("a name has letters, digits and _; a value has no quote and no line break".into());
    }
    Ok((name.into(), value.into()))
}

impl Options {
    /// Whether this part is wanted.
    #[must_use]
    pub fn wants(&self, part: Part) -> bool {
        (self.only.is_empty() && part != Part::Move) || self.only.contains(&part)
    }

    /// How many clients there are at once, one load after another.
    pub(super) fn loads(&self) -> Vec<usize> {
        if self.clients.is_empty() { LOADS.into() } else { self.clients.clone() }
    }

    /// How many clients there are beside a move.
    pub(super) fn beside(&self) -> usize {
        self.clients.iter().copied().max().unwrap_or(BESIDE)
    }

    /// How many records the stored tree has.
    pub(super) fn stored(&self) -> u64 {
        self.records.unwrap_or(RECORDS)
    }

    /// How many records move.
    pub(super) fn moved(&self) -> u64 {
        self.records.unwrap_or(MOVED)
    }

    /// The stores to measure on.
    ///
    /// # Errors
    /// PUTs are to be delayed on a store that is not `memory://`.
    pub fn places(&self) -> Result<Vec<Place>, Error> {
        if self.store.is_empty() {
            let both = [Place::Memory, Place::Folder(None)];
            return Ok(both.into_iter().take(if self.put_ms > 0 { 1 } else { 2 }).collect());
        }
        let delayed = self.store.iter().all(|place| matches!(place, Place::Memory));
        if self.put_ms > 0 && !delayed {
            return Err(
                "--put-ms delays the PUTs of memory:// alone; leave it out, or the other store".into()
            );
        }
        Ok(self.store.clone())
    }

    /// How long each load is measured.
    pub(super) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How long it all takes, roughly.
    #[must_use]
    pub fn takes(&self) -> Duration {
        let mut takes = Duration::ZERO;
        if self.wants(Part::Service) {
            // Idle and loads; then starting and registering.
            let all = self.loads();
            let loads = self.length().mul_f64(3.0 + 1.25 * all.len() as f64);
            let users = all.iter().max().map_or(0, |most| *most as u64);
            let start = Duration::from_secs(4) + Duration::from_millis(8 * users);
            takes += (loads + start) * self.places().map_or(1, |places| places.len() as u32);
        }
        if self.wants(Part::Failover) {
            // What a trial takes when all goes well: its clients, the quiet before it, and the start of what was killed.
            takes += Duration::from_secs(4 * (1 + 4 * self.trials) as u64);
        }
        if self.wants(Part::Core) {
            takes += Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 20 });
        }
        if self.wants(Part::Growth) {
            takes += Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 3 });
        }
        if self.wants(Part::Tree) {
            takes += Duration::from_micros(200 * self.stored());
        }
        if self.wants(Part::Replay) {
            takes += Duration::from_secs(4) + Duration::from_millis(10 * self.segments);
        }
        if self.wants(Part::Move) {
            // Registering, and copying; then starting, and what is measured before and after.
            takes += Duration::from_micros(700 * self.moved());
            takes += Duration::from_secs(20) + self.length() * 4;
        }
        takes
    }
}
