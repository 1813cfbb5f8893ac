//! The NVRAM log under test: the one that ships, or the copy with rules left out.

use crate::bug::{Bug, Bugs};
use crate::copy;
use strongroom_hsm::Flash;
use strongroom_hsm::nvram::{self as sound, NvramError};
use strongroom_proto::hsm::Wear;
use zeroize::Zeroizing;

/// One thing of the log that ships, or of the copy with its bugs.
#[derive(Debug)]
enum Either<S, P> {
    Sound(S),
    Planted(P, Bugs),
}

/// Runs the same on both.
macro_rules! on {
    ($either:expr, $it:ident => $run:expr) => {
        match $either {
            Either::Sound($it) => $run,
            Either::Planted($it, bugs) => bugs.planted(|| $run),
        }
    };
    ($either:expr, $it:ident => $run:expr, $wrap:expr) => {
        match $either {
            Either::Sound($it) => $run.map(Either::Sound).map($wrap),
            Either::Planted($it, bugs) => {
                bugs.planted(|| $run).map(|it| Either::Planted(it, bugs)).map($wrap)
            }
        }
    };
}

/// As [`sound::Nvram`].
#[derive(Debug)]
pub struct Nvram(Either<sound::Nvram, copy::nvram::Nvram>);

/// As [`sound::Opened`].
#[derive(Debug)]
#[must_use]
pub enum Opened {
    /// Nothing yet: a new device.
    Empty(Unformatted),
    /// A state.
    Found(Recovered, Unrestated),
}

/// As [`sound::Unformatted`].
#[derive(Debug)]
pub struct Unformatted(Either<sound::Unformatted, copy::nvram::Unformatted>);

/// As [`sound::Recovered`].
#[derive(Debug)]
pub struct Recovered(Either<sound::Recovered, copy::nvram::Recovered>);

/// As [`sound::Unrestated`].
#[derive(Debug)]
pub struct Unrestated(Either<sound::Unrestated, copy::nvram::Unrestated>);

impl Nvram {
    /// Opens the log that ships if there is no bug to plant, or else the copy with it.
    ///
    /// # Errors
    /// As [`sound::Nvram::open`].
    pub fn open<F: Flash>(flash: &mut F, bug: Option<Bug>) -> Result<Opened, NvramError> {
        let bugs: Bugs = bug.into_iter().collect();
        if bugs.is_empty() {
            return Ok(match sound::Nvram::open(flash)? {
                sound::Opened::Empty(new) => Opened::Empty(Unformatted(Either::Sound(new))),
                sound::Opened::Found(state, old) => {
                    Opened::Found(Recovered(Either::Sound(state)), Unrestated(Either::Sound(old)))
                }
            });
        }
        Ok(match bugs.planted(|| copy::nvram::Nvram::open(flash))? {
            copy::nvram::Opened::Empty(new) => Opened::Empty(Unformatted(Either::Planted(new, bugs))),
            copy::nvram::Opened::Found(state, old) => {
                Opened::Found(Recovered(Either::Planted(state, bugs)), Unrestated(Either::Planted(old, bugs)))
            }
        })
    }

    /// As [`sound::Nvram::append_delta`].
    ///
    /// # Errors
    /// As there.
    pub fn append_delta<F: Flash>(
        &mut self,
        flash: &mut F,
        delta: &[u8],
        full: impl FnOnce() -> Zeroizing<Vec<u8>>,
    ) -> Result<(), NvramError> {
        on!(&mut self.0, log => log.append_delta(flash, delta, full))
    }

    /// As [`sound::Nvram::append_full`].
    ///
    /// # Errors
    /// As there.
    pub fn append_full<F: Flash>(&mut self, flash: &mut F, full: &[u8]) -> Result<(), NvramError> {
        on!(&mut self.0, log => log.append_full(flash, full))
    }

    /// As [`sound::Nvram::wear`].
    #[must_use]
    pub fn wear(&self) -> Wear {
        on!(&self.0, log => log.wear())
    }
}

impl Unformatted {
    /// As [`sound::Unformatted::format`].
    ///
    /// # Errors
    /// As there.
    pub fn format<F: Flash>(self, flash: &mut F, full: &[u8]) -> Result<Nvram, NvramError> {
        on!(self.0, new => new.format(flash, full), Nvram)
    }
}

impl Unrestated {
    /// As [`sound::Unrestated::restate`].
    ///
    /// # Errors
    /// As there.
    pub fn restate<F: Flash>(self, flash: &mut F, full: &[u8]) -> Result<Nvram, NvramError> {
        on!(self.0, old => old.restate(flash, full), Nvram)
    }
}

impl Recovered {
    /// The state in the full record.
    #[must_use]
    pub fn full(&self) -> &[u8] {
        on!(&self.0, state => &*state.full)
    }

    /// As [`sound::Recovered::each_delta`].
    ///
    /// # Errors
    /// As there.
    pub fn each_delta<F: Flash, X: From<NvramError>>(
        &self,
        flash: &mut F,
        apply: impl FnMut(&[u8]) -> Result<(), X>,
    ) -> Result<(), X> {
        on!(&self.0, state => state.each_delta(flash, apply))
    }
}
