//! NVRAM: an append log of small records with sequence numbers over the rotating erase units of a [`Flash`].
//!
//! Owns how the state reaches the flash and comes back; what the state means is its caller's. A *full* record holds the
//! whole state, a *delta* what changed since the record before. Trusts the flash to keep what was read back, apart from
//! decay, and expects a loss of power in the middle of any operation. Keeps invariant 2 (*NVRAM first*) together with
//! the core, which speaks only after `Ok`:
//!
//! - **Read back, then superseded, then `Ok`.** A new record is programmed, read back and compared. Then the record
//!   before it is marked superseded, and the mark is read back. Only then does a call return `Ok`.
//! - **Never a fallback.** At start the newest valid record is chosen. A torn record whose predecessor is not marked
//!   was never reported, and is ignored. When the newest valid record *is* marked, its successor is lost, and the
//!   device refuses to start: going back to it would mean forgetting a captured entry.
//! - **Written again.** A record that was being written when the power failed can read as valid today and not tomorrow.
//!   So nothing is stated on the strength of a record found at start: [`Opened`] becomes an [`Nvram`] only by writing
//!   the state again, into the next unit. That also marks the record's predecessor and the place after it, so that
//!   however a torn record reads later, it is not taken for the newest.
//! - **A unit begins with a full record** and goes on with deltas only. It is erased when a valid full record elsewhere
//!   supersedes it, just before it is used again, and units are used in turn. Three units are the minimum: one has the
//!   record found at start, which may be torn, the one before has its predecessor, and the third is erased.
//! - **Units that fail are skipped and remembered**, as long as three are left. The content of a failed unit perhaps
//!   cannot be marked, and may read as anything later. So when one fails, the state goes to the next good units until
//!   the newest record *and the marked one before it* both name every unit that failed; only then does a call return
//!   `Ok`. At start a record in a unit that another record names does not count, whatever its number. So only the loss
//!   of two whole records in two good units would lead back to what could not be marked, and the loss of the newer one
//!   is noticed. A record found at start may be torn, so what it remembers is written twice again.
//!   `docs/decisions/0018` argues it in full.
//! - **A unit that cannot be read** at start counts as failed. One alone cannot hide a newer record: the record before
//!   that is in another unit, and is marked. With two that no record names, the device refuses to start.
//! - **An empty flash is a new device, a damaged one is not.** Formatting writes an empty full record first, and marks
//!   it once the state follows it. So a format that was cut short can be told from a device that lost its state.
//!
//! A mark is eight bytes or more in granules of its own, read by the majority of its bits: a torn mark or decayed bits
//! do no harm, because a mark matters only for a record whose successor is bad.
//!
//! Superseded records, with the realm seed in full ones, stay readable in older units until those are erased. They are
//! as well protected as the newest one: whoever reads one unit of the flash reads all of them.

mod bounds;
mod error;
mod open;
mod record;
mod units;

use crate::flash::Flash;
use alloc::vec::Vec;
pub use bounds::{MAX_DELTA_BYTES, MAX_STATE_BYTES, MIN_UNITS};
pub use error::NvramError;
pub use open::{Opened, Recovered, Unformatted, Unrestated};
use record::{Health, Kind, Layout, Place};
use strongroom_proto::hsm::Wear;
use units::Units;
use zeroize::Zeroizing;

/// The log, open for appending. Holding one proves that the state on the flash was written by this run, read back,
/// and marked as the newest.
#[derive(Debug)]
pub struct Nvram {
    layout: Layout,
    /// The newest record.
    newest: Place,
    /// The newest record's sequence number.
    seq: u64,
    /// Where the next record in the unit of the newest one begins.
    end: u32,
    /// What goes into the next full record.
    health: Health,
    /// The units that failed, as the newest full record names them; `None` when that record may be torn.
    remembered: Option<Units>,
    /// A write failed: what the flash holds is unknown until a restart.
    poisoned: bool,
}

impl Nvram {
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
        self.usable(delta, MAX_DELTA_BYTES)?;
        let place = Place { offset: self.end, ..self.newest };
        if !self.layout.fits(place.offset, delta.len()) {
            return self.append_full(flash, &full());
        }
        let superseded = self.newest;
        self.poisoned = true;
        if let Err(error) = self.write(flash, place, Kind::Delta, delta) {
            self.give_up(place.unit, error)?;
            // The torn delta may read as valid later, so its place is marked too.
            return self.rotate(flash, &full(), Vec::from([superseded, place]), None);
        }
        if let Err(error) = self.supersede(flash, superseded) {
            self.give_up(superseded.unit, error)?;
            return self.rotate(flash, &full(), Vec::from([place]), None);
        }
        self.poisoned = false;
        Ok(())
    }

    /// Writes the whole state, at the start of the next unit. On `Ok` it survives whatever happens.
    ///
    /// # Errors
    /// As [`Nvram::append_delta`].
    pub fn append_full<F: Flash>(&mut self, flash: &mut F, full: &[u8]) -> Result<(), NvramError> {
        self.usable(full, MAX_STATE_BYTES)?;
        self.rotate(flash, full, Vec::from([self.newest]), None)
    }

    /// How worn the flash is.
    #[must_use]
    pub fn wear(&self) -> Wear {
        let good = self.layout.good_units(&self.health.bad);
        Wear {
            units: self.layout.units().end,
            bad_units: self.health.bad.count(),
            spare_units: good.saturating_sub(MIN_UNITS),
            erases: self.health.erases,
        }
    }

    fn usable(&self, body: &[u8], max_bytes: usize) -> Result<(), NvramError> {
        // A full record without a state is what formatting begins with.
        if self.poisoned {
            Err(NvramError::Poisoned)
        } else if body.is_empty() || body.len() > max_bytes {
            Err(NvramError::Size)
        } else {
            Ok(())
        }
    }

    /// Writes the state to the next good unit, and marks the `superseded` places. When a unit fails, or the newest
    /// record does not name all that failed, writes it again, until two records in a row do. The first write avoids the
    /// unit `kept`.
    fn rotate<F: Flash>(
        &mut self,
        flash: &mut F,
        state: &[u8],
        mut superseded: Vec<Place>,
        kept: Option<u32>,
    ) -> Result<(), NvramError> {
        self.poisoned = true;
        let mut kept = kept;
        loop {
            let before = self.remembered;
            superseded.extend(self.begin_unit(flash, state, kept)?);
            for place in superseded {
                if let Err(error) = self.supersede(flash, place) {
                    self.give_up(place.unit, error)?;
                }
            }
            if before == Some(self.health.bad) {
                break;
            }
            (superseded, kept) = (Vec::from([self.newest]), None);
        }
        self.poisoned = false;
        Ok(())
    }

    /// Erases the next good unit that accepts it, and begins it with the state. Returns the places in units that did
    /// not.
    fn begin_unit<F: Flash>(
        &mut self,
        flash: &mut F,
        state: &[u8],
        kept: Option<u32>,
    ) -> Result<Vec<Place>, NvramError> {
        let mut torn = Vec::new();
        // Each failure leaves one unit fewer.
        for _ in self.layout.units() {
            let Some(unit) = self.next_unit(kept) else { break };
            let place = Place { unit, offset: 0 };
            if let Err(error) = self.erase(flash, unit) {
                self.give_up(unit, error)?;
                continue;
            }
            match self.write_full(flash, place, state) {
                Ok(()) => return Ok(torn),
                Err(error) => self.give_up(unit, error)?,
            }
            torn.push(place);
        }
        Err(NvramError::WornOut)
    }

    /// The good unit to begin next: units are used in turn.
    fn next_unit(&self, kept: Option<u32>) -> Option<u32> {
        let mut unit = self.newest.unit;
        for _ in self.layout.units() {
            unit = self.layout.unit_after(unit);
            let bad = self.health.bad.contains(unit);
            if !bad && unit != self.newest.unit && Some(unit) != kept {
                return Some(unit);
            }
        }
        None
    }

    /// Remembers that a unit failed, if the error is one of a unit.
    fn give_up(&mut self, unit: u32, error: NvramError) -> Result<(), NvramError> {
        if !matches!(error, NvramError::Flash(_) | NvramError::ReadBack) {
            return Err(error);
        }
        self.health.bad.insert(unit);
        if self.layout.good_units(&self.health.bad) < MIN_UNITS {
            return Err(NvramError::WornOut);
        }
        Ok(())
    }

    fn erase<F: Flash>(&mut self, flash: &mut F, unit: u32) -> Result<(), NvramError> {
        flash.erase(unit)?;
        self.health.erases = self.health.erases.saturating_add(1);
        if !self.layout.is_blank(flash, unit, 0)? {
            return Err(NvramError::ReadBack);
        }
        Ok(())
    }

    /// Begins an erased unit with the state and what the log remembers.
    fn write_full<F: Flash>(&mut self, flash: &mut F, place: Place, state: &[u8]) -> Result<(), NvramError> {
        let body = self.layout.full_body(&self.health, state);
        self.write(flash, place, Kind::Full, &body)?;
        self.remembered = Some(self.health.bad);
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
        // Whatever happens to it, no other record gets this number.
        self.seq = seq;
        flash.program(at.unit, at.offset, &image)?;
        if !record::reads_as(flash, at, &image)? {
            return Err(NvramError::ReadBack);
        }
        (self.newest, self.end) = (place, end);
        Ok(())
    }

    /// Marks the record at `place` as superseded and reads the mark back.
    fn supersede<F: Flash>(&self, flash: &mut F, place: Place) -> Result<(), NvramError> {
        // Durable: from here on a loss of the new record is noticed, so statements may rely on it.
        self.layout.program_mark(flash, place)?;
        if !self.layout.read_mark(flash, place)?.is_complete() {
            return Err(NvramError::ReadBack);
        }
        Ok(())
    }
}
