//! The little that the core asks of non-volatile memory: units that are erased as a whole, and granules in them that
//! are programmed once.
//!
//! Owns no rule: [`crate::nvram`] builds its log on this, and expects an implementation only to be honest about
//! success. A program or an erase that is cut short by a loss of power may leave any mixture of old and new bits where
//! it was working, and nowhere else. The software HSM backs this with a locked file, firmware with NOR flash, and tests
//! and simulators with [`MemoryFlash`].

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The shape of a flash. It never changes in the life of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// How many erase units there are.
    pub units: u32,
    /// Bytes in one erase unit, a multiple of `write_bytes`.
    pub unit_bytes: u32,
    /// Bytes in one granule, the least that can be programmed: a power of two.
    pub write_bytes: u32,
}

/// A flash-like memory. An erased byte is 0xff; programming only clears bits.
pub trait Flash {
    /// The shape, the same at every call.
    fn geometry(&self) -> Geometry;

    /// Reads `out.len()` bytes of `unit` from `offset`, at any alignment.
    ///
    /// # Errors
    /// The range is outside the unit, or the device could not read.
    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError>;

    /// Programs `bytes` into `unit` from `offset`; both offset and length are multiples of a granule. Granules are
    /// programmed in ascending order. The caller programs a granule at most once between two erases; one that still
    /// reads as erased after a loss of power counts as not programmed.
    ///
    /// On success the bytes survive a loss of power.
    ///
    /// # Errors
    /// The range is outside the unit or not aligned, or the device reports a failure. Part of it may have been
    /// programmed.
    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError>;

    /// Sets all of `unit` to 0xff. On success that survives a loss of power.
    ///
    /// # Errors
    /// There is no such unit, or the device reports a failure. Part of it may have been erased.
    fn erase(&mut self, unit: u32) -> Result<(), FlashError>;
}

/// A flash operation did not succeed. What a failed program or erase has left behind is unknown until a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashError {
    /// The range is outside the flash, or not aligned to its granule.
    OutOfRange,
    /// The device could not read.
    Read,
    /// The device could not program.
    Program,
    /// The device could not erase.
    Erase,
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the range is outside the flash or not aligned",
            Self::Read => "the flash cannot be read",
            Self::Program => "the flash cannot be programmed",
            Self::Erase => "the flash cannot be erased",
        })
    }
}

impl core::error::Error for FlashError {}

/// A NOR flash in memory, for tests and simulators: an erase sets every bit of a unit, a program clears bits, and
/// nothing survives the process.
#[derive(Clone)]
pub struct MemoryFlash {
    /// While set, every program and every erase fails and changes nothing.
    pub failing: bool,
    geometry: Geometry,
    units: Vec<Vec<u8>>,
}

impl MemoryFlash {
    /// An erased flash of this shape.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        let units = vec![vec![0xff; geometry.unit_bytes as usize]; geometry.units as usize];
        Self { failing: false, geometry, units }
    }

    /// Every byte, by erase unit.
    #[must_use]
    pub fn units(&self) -> &[Vec<u8>] {
        &self.units
    }

    fn range(&mut self, unit: u32, offset: u32, len: usize) -> Result<&mut [u8], FlashError> {
        let start = offset as usize;
        let end = start.checked_add(len).ok_or(FlashError::OutOfRange)?;
        let unit = self.units.get_mut(unit as usize).ok_or(FlashError::OutOfRange)?;
        unit.get_mut(start..end).ok_or(FlashError::OutOfRange)
    }
}

impl Flash for MemoryFlash {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        out.copy_from_slice(self.range(unit, offset, out.len())?);
        Ok(())
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let (failing, granule) = (self.failing, self.geometry.write_bytes as usize);
        let at = self.range(unit, offset, bytes.len())?;
        if !(offset as usize).is_multiple_of(granule) || !bytes.len().is_multiple_of(granule) {
            return Err(FlashError::OutOfRange);
        }
        if failing {
            return Err(FlashError::Program);
        }
        at.iter_mut().zip(bytes).for_each(|(old, new)| *old &= new);
        Ok(())
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        let unit = self.units.get_mut(unit as usize).ok_or(FlashError::OutOfRange)?;
        if self.failing {
            return Err(FlashError::Erase);
        }
        unit.fill(0xff);
        Ok(())
    }
}
