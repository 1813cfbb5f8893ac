//! What `strongroom-events tail` does with a stream: a line for each event, and then the offsets after it.
//!
//! Owns the order of the two. Killed at any moment, it prints again what it printed after it last kept the offsets, and leaves out nothing.

use crate::offsets::{Disk, Offsets, OffsetsError};
use crate::reader::{Consumer, Event, ReadError, Source};
use crate::told::What;
use std::io::{self, Write};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use tokio::time::sleep;

/// After so many events at most, the command keeps the offsets.
pub const KEPT_EVERY: u32 = 1000;
/// The pause after a look that found something. Each further one is twice as long, up to [`LONGEST_PAUSE`]: so a consumer is behind by
/// at most as long as nothing happened before.
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between two looks.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How events are printed.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// The line of an event.
    pub line: fn(&Event) -> String,
    /// Also what is nothing.
    pub all: bool,
    /// Goes on when all was read.
    pub follow: bool,
    /// After so many events at most, and whenever all was read, the offsets are kept.
    pub kept_every: u32,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The stream.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The offsets.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// What reads the lines does not.
    #[error("cannot write the events: {0}")]
    Output(#[from] io::Error),
}

/// Where offsets are kept.
#[derive(Debug)]
pub struct Keeper<'a, D> {
    disk: D,
    file: Option<&'a Path>,
    kept: Option<Offsets>,
}

impl<'a, D: Disk> Keeper<'a, D> {
    /// A file on this disk; `None`: they are not kept.
    pub const fn new(disk: D, file: Option<&'a Path>) -> Self {
        Self { disk, file, kept: None }
    }

    /// Keeps them, unless they are those that were kept last.
    ///
    /// # Errors
    /// [`OffsetsError::Write`].
    pub fn keep(&mut self, offsets: &Offsets) -> Result<(), OffsetsError> {
        let Some(file) = self.file.filter(|_| self.kept.as_ref() != Some(offsets)) else { return Ok(()) };
        offsets.save_on(&mut self.disk, file)?;
        self.kept = Some(offsets.clone());
        Ok(())
    }
}

/// Prints events until all were read, or for ever; and until `stop`. What is wrong with one group is told after the others were read.
///
/// # Errors
/// [`TailError`]. A store that does not answer is one only if it does not follow.
pub async fn tail<S: Source, D: Disk>(
    consumer: &mut Consumer<S>,
    out: &mut impl Write,
    keeper: &mut Keeper<'_, D>,
    style: Style,
    stop: impl Future<Output = ()>,
) -> Result<(), TailError> {
    let mut stop = pin!(stop);
    let (mut failed, mut pause, mut since) = (None, FIRST_PAUSE, 0);
    // Where it begins, too: `now` is another place the next time.
    keeper.keep(consumer.offsets())?;
    loop {
        let next = tokio::select! {
            biased;
            () = &mut stop => return acknowledge(consumer, out, keeper),
            next = consumer.next() => next,
        };
        match next {
            Ok(Some(event)) => {
                if style.all || event.told.what != What::Nothing {
                    writeln!(out, "{}", (style.line)(&event))?;
                }
                (pause, since) = (FIRST_PAUSE, since + 1);
                if since >= style.kept_every {
                    acknowledge(consumer, out, keeper)?;
                    since = 0;
                }
                continue;
            }
            Ok(None) => {}
            Err(ReadError::Unavailable(why)) if style.follow && failed.is_none() => {
                // The reader of this may be gone.
                let _ = writeln!(io::stderr(), "{why}; trying again");
            }
            Err(error @ ReadError::Unavailable(_)) => failed = failed.or(Some(error)),
            Err(error) => {
                failed = failed.or(Some(error));
                continue;
            }
        }
        acknowledge(consumer, out, keeper)?;
        since = 0;
        if let Some(failed) = failed {
            return Err(failed.into());
        }
        if !style.follow {
            return Ok(());
        }
        let wait = async {
            // Where nobody tells when there is more, it looks.
            if !consumer.news().await {
                sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        };
        tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            () = wait => {}
        }
    }
}

fn acknowledge<S: Source, D: Disk>(
    consumer: &Consumer<S>,
    out: &mut impl Write,
    keeper: &mut Keeper<'_, D>,
) -> Result<(), TailError> {
    // Before the offsets: they say that it was printed.
    out.flush()?;
    Ok(keeper.keep(consumer.offsets())?)
}
