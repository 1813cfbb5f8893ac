//! The little that the core asks of non-volatile memory: units that are erased as a whole, and granules in them that
//! are programmed once.
//!
//! Owns no rule: [`crate::nvram`] builds its log on this, and expects an implementation only to be honest about
//! success. A program or an erase that is cut short by a loss of power may leave any mixture of old and new bits where
//! it was working, and nowhere else. The software HSM backs this with a locked file, firmware with NOR flash, and tests
//! and simulators with memory.

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
