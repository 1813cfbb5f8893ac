//! How far a run is, for whoever waits for it, and the lines that it prints meanwhile.

use crate::Error;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the bar moves.
const STEP: Duration = Duration::from_millis(250);

/// A bar at the foot of the terminal, if there is a terminal; it knows how long the run takes, roughly.
pub(super) struct Progress {
    bar: ProgressBar,
    begun: Instant,
}

impl Progress {
    pub(super) fn new(takes: Duration) -> Result<Self, Error> {
        let style = ProgressStyle::with_template("{bar:30} {elapsed} of about {len} s; {msg}")?;
        let bar = ProgressBar::new(takes.as_secs()).with_style(style);
        Ok(Self { bar, begun: Instant::now() })
    }

    /// Shows what is done now.
    pub(super) fn say(&self, what: impl Display) {
        self.moves();
        self.bar.set_message(what.to_string());
    }

    /// Prints lines above the bar.
    pub(super) fn tell(&self, lines: &str) {
        self.bar.suspend(|| print!("{lines}"));
    }

    pub(super) async fn wait(&self, length: Duration) {
        let until = Instant::now() + length;
        while Instant::now() < until {
            self.moves();
            sleep(STEP.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn moves(&self) {
        // It never stands at its end while something is still to come.
        let last = self.bar.length().unwrap_or(1).saturating_sub(1);
        self.bar.set_position(self.begun.elapsed().as_secs().min(last));
    }
}
