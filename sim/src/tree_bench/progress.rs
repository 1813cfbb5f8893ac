//! How far the building of a tree has come.

use super::process::{disk_bytes, processor, told_memory};
use crate::Error;
use indicatif::{ProgressBar, ProgressStyle};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many lines tell of the whole.
const LINES: u64 = 20;

/// A bar on a terminal. Where there is none, a line now and then: a run of an hour that says nothing looks like one
/// that hangs.
pub(super) struct Progress {
    bar: ProgressBar,
    records: u64,
    folder: PathBuf,
    begun: Instant,
    told: u64,
    /// The records that the last line told of, and the processor time until then.
    last: (u64, Option<Duration>),
}

impl Progress {
    pub(super) fn new(records: u64, folder: &Path) -> Result<Self, Error> {
        let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} records, {eta} left")?;
        let bar = ProgressBar::new(records).with_style(style);
        Ok(Self {
            bar,
            records,
            folder: folder.into(),
            begun: Instant::now(),
            told: 0,
            last: (0, processor()),
        })
    }

    pub(super) const fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    pub(super) fn come_to(&mut self, record: u64) -> io::Result<()> {
        self.bar.set_position(record);
        let part = record.saturating_mul(LINES) / self.records.max(1);
        if part == self.told || !self.bar.is_hidden() {
            return Ok(());
        }
        self.told = part;
        let took = self.begun.elapsed();
        let left = took.as_secs_f64() * (self.records as f64 / record.max(1) as f64 - 1.0);
        let (before, now) = (self.last, processor());
        self.last = (record, now);
        let used = before.1.zip(now).map_or(Duration::ZERO, |(before, now)| now.saturating_sub(before));
        println!(
            "{record} records after {} s, about {left:.0} s left; {:.0} us of processor time for each since the last \
             line; {}; on disk: {} MiB",
            took.as_secs(),
            used.as_secs_f64() * 1e6 / record.saturating_sub(before.0).max(1) as f64,
            told_memory(),
            disk_bytes(&self.folder)? >> 20
        );
        Ok(())
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
