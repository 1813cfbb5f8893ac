//! NVRAM: an append log of small records with sequence numbers over the rotating erase units of a [`Flash`].
//!
//! Owns how the state reaches the flash and comes back; what the state means is its caller's. A *full* record holds
//! the whole state, a *delta* what changed since the record before. Trusts the flash to keep what was read back, up
//! to decay, and expects a loss of power in the middle of any operation. Keeps invariant 2 (*NVRAM first*) together
//! with the core, which speaks only after `Ok`:
//!
//! - **Read back, then superseded, then `Ok`.** A new record is programmed, read back and compared. Then the record
//!   before it is marked superseded, and the mark is read back. Only then does a call return `Ok`.
//! - **Never a fallback.** At start the newest valid record is chosen. A torn record whose predecessor is not marked
//!   was never spoken of and is ignored. When the newest valid record *is* marked, its successor is lost, and the
//!   device refuses to start: going back to it would be to forget a captured entry.
//! - **Written again.** A record that power failed in can read as valid today and not tomorrow. So nothing is said on
//!   the strength of a record found at start: [`Opened`] becomes an [`Nvram`] only by writing the state again, into
//!   the next unit. That also marks the record's predecessor and the place behind it, so that whichever way a torn
//!   record reads later, it is not taken for the newest.
//! - **A unit begins with a full record** and goes on with deltas only. It is erased when a valid full record
//!   elsewhere supersedes it, just before it is used again, and units are used in turn. Three units are the least:
//!   one has the record found at start, which may be torn, the one before has its predecessor, the third is erased.
//! - **An empty flash is a new device, a damaged one is not.** Formatting writes an empty full record first, and marks
//!   it once the state is behind it. So a format that was cut short is told from a device that lost its state.
//!
//! A mark is eight bytes or more in granules of its own, read by the majority of its bits: a torn mark or decayed bits
//! do no harm, because a mark only ever decides about a record whose successor is bad.
//!
//! Superseded records, with the realm seed in full ones, stay readable in older units until these are erased. They
//! are as well protected as the newest one: whoever reads one unit of the flash reads all of them.

mod open;
mod record;

use crate::flash::{Flash, FlashError};
use alloc::vec::Vec;
use core::fmt;
pub use open::{Opened, Recovered, Unformatted, Unrestated};
use record::{Kind, Layout, Place};
use zeroize::Zeroizing;

/// The most bytes a full record holds: the whole state of an HSM.
pub const MAX_STATE_BYTES: usize = 4000;

/// The most bytes a delta holds: new captures of all groups that wait, in one write.
pub const MAX_DELTA_BYTES: usize = 1024;

/// The fewest erase units that the log works on; the module's header says why.
pub const MIN_UNITS: u32 = 3;

/// The log, open for appending. Holding one proves that the state on the flash was written by this run, read back,
/// and marked as the newest.
#[derive(Debug)]
pub struct Nvram {
    layout: Layout,
    /// The newest record.
    newest: Place,
    /// The newest record's sequence number.
    seq: u64,
    /// Where the next record of the newest one's unit begins.
    end: u32,
    /// A write failed: what the flash holds is unknown until a restart.
    poisoned: bool,
    bug: PlantedBug,
}

impl Nvram {
    /// Finds the newest state on `flash`, without writing.
    ///
    /// # Errors
    /// [`NvramError::Lost`] or [`NvramError::Damaged`] when there was a state and it is gone; neither goes away by
    /// trying again. [`NvramError::Geometry`], [`NvramError::Flash`].
    pub fn open<F: Flash>(flash: &mut F) -> Result<Opened, NvramError> {
        open::open(flash, PlantedBug::default())
    }

    /// [`Nvram::open`] with one check switched off.
    ///
    /// # Errors
    /// As [`Nvram::open`].
    #[cfg(feature = "planted-bugs")]
    pub fn open_with_bug<F: Flash>(flash: &mut F, bug: NvramBug) -> Result<Opened, NvramError> {
        open::open(flash, PlantedBug(Some(bug)))
    }

    /// Appends `delta`. When the unit is full, writes the state that `full` returns, with the delta already in it, to
    /// the next unit instead. On `Ok` the change survives whatever happens.
    ///
    /// # Errors
    /// [`NvramError::Size`] with nothing done. After any other error nothing may be said about the change until a
    /// restart has settled it; every later call is [`NvramError::Poisoned`].
    pub fn append_delta<F: Flash>(
        &mut self,
        flash: &mut F,
        delta: &[u8],
        full: impl FnOnce() -> Zeroizing<Vec<u8>>,
    ) -> Result<(), NvramError> {
        self.usable(delta, Kind::Delta)?;
        let place = Place { offset: self.end, ..self.newest };
        if !self.layout.fits(place.offset, delta.len()) {
            return self.append_full(flash, &full());
        }
        let superseded = self.newest;
        self.poisoned = true;
        self.write(flash, place, Kind::Delta, delta)?;
        self.supersede(flash, superseded)?;
        self.poisoned = false;
        Ok(())
    }

    /// Writes the whole state, at the start of the next unit. On `Ok` it survives whatever happens.
    ///
    /// # Errors
    /// As [`Nvram::append_delta`].
    pub fn append_full<F: Flash>(&mut self, flash: &mut F, full: &[u8]) -> Result<(), NvramError> {
        self.usable(full, Kind::Full)?;
        self.rotate(flash, full, &[self.newest])
    }

    fn usable(&self, body: &[u8], kind: Kind) -> Result<(), NvramError> {
        // An empty full record is what formatting begins with, so no state may look like it.
        if self.poisoned {
            Err(NvramError::Poisoned)
        } else if body.is_empty() || body.len() > kind.max_bytes() {
            Err(NvramError::Size)
        } else {
            Ok(())
        }
    }

    /// Erases the next unit, begins it with `full`, and marks the `superseded` places.
    fn rotate<F: Flash>(
        &mut self,
        flash: &mut F,
        full: &[u8],
        superseded: &[Place],
    ) -> Result<(), NvramError> {
        self.poisoned = true;
        let unit = self.layout.unit_after(self.newest.unit);
        self.erase(flash, unit)?;
        self.write(flash, Place { unit, offset: 0 }, Kind::Full, full)?;
        superseded.iter().try_for_each(|place| self.supersede(flash, *place))?;
        self.poisoned = false;
        Ok(())
    }

    fn erase<F: Flash>(&self, flash: &mut F, unit: u32) -> Result<(), NvramError> {
        flash.erase(unit)?;
        if self.reads_back() && !self.layout.is_blank(flash, unit, 0)? {
            return Err(NvramError::ReadBack);
        }
        Ok(())
    }

    /// Programs a record and reads it back; it is now the newest.
    fn write<F: Flash>(
        &mut self,
        flash: &mut F,
        place: Place,
        kind: Kind,
        body: &[u8],
    ) -> Result<(), NvramError> {
        let seq = self.seq.checked_add(1).ok_or(NvramError::SequenceEnd)?;
        let end = self.layout.end(place.offset, body.len()).ok_or(NvramError::Size)?;
        let image = self.layout.encode(kind, seq, body)?;
        let at = self.layout.after_mark(place)?;
        flash.program(at.unit, at.offset, &image)?;
        if self.reads_back() && !record::reads_as(flash, at, &image)? {
            return Err(NvramError::ReadBack);
        }
        (self.newest, self.seq, self.end) = (place, seq, end);
        Ok(())
    }

    /// Marks the record at `place` as superseded and reads the mark back.
    fn supersede<F: Flash>(&self, flash: &mut F, place: Place) -> Result<(), NvramError> {
        if self.bug.is(NvramBug::NoMark) {
            return Ok(());
        }
        // Durable: from here on a loss of the new record is noticed, so it may be spoken of.
        self.layout.program_mark(flash, place)?;
        if self.reads_back() && !self.layout.read_mark(flash, place)?.is_complete() {
            return Err(NvramError::ReadBack);
        }
        Ok(())
    }

    /// Too early, for a planted bug: nothing newer is there yet.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn supersede_newest<F: Flash>(&self, flash: &mut F) {
        let _ = self.supersede(flash, self.newest);
    }

    fn reads_back(&self) -> bool {
        !self.bug.is(NvramBug::NoReadBack)
    }
}

/// A check that a test can switch off, to prove that it would be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvramBug {
    /// A superseded record is not marked.
    NoMark,
    /// When the newest record is bad, its predecessor is taken though it is marked.
    FallBack,
    /// What was programmed or erased is not read back.
    NoReadBack,
}

/// The bug planted in this log, if any; outside tests there is none to plant.
#[derive(Clone, Copy, Debug, Default)]
struct PlantedBug(#[cfg(feature = "planted-bugs")] Option<NvramBug>);

impl PlantedBug {
    #[cfg(feature = "planted-bugs")]
    fn is(self, bug: NvramBug) -> bool {
        self.0 == Some(bug)
    }

    #[cfg(not(feature = "planted-bugs"))]
    fn is(self, _: NvramBug) -> bool {
        false
    }
}

/// The log cannot be opened or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvramError {
    /// The flash has too few or too small units, or a granule that is not a power of two up to 256 bytes.
    Geometry,
    /// The flash failed.
    Flash(FlashError),
    /// The newest record is bad or missing although it was acknowledged. Only a reset, as a new HSM, helps.
    Lost,
    /// There is no valid record, yet the flash is not empty. Only a reset, as a new HSM, helps.
    Damaged,
    /// The flash does not hold what was just written to it.
    ReadBack,
    /// An earlier write failed. Restart the HSM.
    Poisoned,
    /// The state or delta is empty or too long.
    Size,
    /// All sequence numbers are used.
    SequenceEnd,
}

impl fmt::Display for NvramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Geometry => "NVRAM has the wrong shape: give it at least 3 erase units of 8 KiB or more",
            Self::Flash(error) => return write!(f, "NVRAM failed ({error}): restart the HSM"),
            Self::Lost => {
                "the newest NVRAM record is lost, and an older one must not be used: \
                 reset this HSM and enrol it as a new one"
            }
            Self::Damaged => {
                "NVRAM is not empty but holds no valid record: reset this HSM and enrol it as a new one"
            }
            Self::ReadBack => "NVRAM does not keep what is written to it: restart the HSM, or replace it",
            Self::Poisoned => "an earlier NVRAM write failed: restart the HSM",
            Self::Size => "the state does not fit an NVRAM record",
            Self::SequenceEnd => "NVRAM has no sequence number left: replace this HSM",
        })
    }
}

impl core::error::Error for NvramError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Flash(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FlashError> for NvramError {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}
