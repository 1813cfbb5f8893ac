//! NOR flash with the common flash interface (JEDEC JESD68) and the Intel command set, as [`strongroom_hsm::Flash`].
//!
//! Owns the command sequences. Trusts the chips to report their own errors; the log above reads back whether they keep
//! what they report as programmed. Two chips of 16 bits stand side by side on the bus, so every command and every
//! status word appears twice, and one word of the bus is the least that can be programmed.

use core::fmt;
use strongroom_hsm::{Flash, FlashError, Geometry};

/// How many erase units the NVRAM log rotates over. More units make the part last longer, and the device start more
/// slowly.
pub const NVRAM_UNITS: u32 = 32;

/// Bytes of one word of the bus.
const WORD_BYTES: u32 = 4;
/// A part that is busy for longer than this many polls of its status is broken. Datasheets allow an erase four seconds.
const MAX_POLLS: u32 = 50_000_000;

const READ_ARRAY: u32 = 0x00ff_00ff;
const QUERY: u32 = 0x0098_0098;
const ERASE: u32 = 0x0020_0020;
const BUFFER: u32 = 0x00e8_00e8;
const CONFIRM: u32 = 0x00d0_00d0;
const READ_STATUS: u32 = 0x0070_0070;
const CLEAR_STATUS: u32 = 0x0050_0050;
const READY: u32 = 0x0080_0080;
/// Erase, program, voltage and lock errors, and a command sequence that the chip did not understand.
const ERRORS: u32 = 0x003a_003a;

/// Where the flash is, for the CPU. Offsets are in bytes, from the first of the flash.
pub trait Bus {
    /// Reads one aligned word.
    fn read(&mut self, offset: u32) -> u32;
    /// Writes one aligned word.
    fn write(&mut self, offset: u32, word: u32);
    /// How many bytes can be reached. An offset at or beyond it may reach anything.
    fn bytes(&self) -> u32;
}

/// The chips on the bus.
pub struct Cfi<B> {
    bus: B,
    geometry: Geometry,
    buffer_bytes: u32,
}

/// This is not a flash that this driver can use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CfiError {
    /// Nothing answers the query of the common flash interface.
    NoFlash,
    /// Another command set, another width, erase units of several sizes, or too few of them.
    Unsupported,
}

impl fmt::Display for CfiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFlash => "there is no flash for NVRAM: give the board a second flash of 32 MiB",
            Self::Unsupported => "the flash for NVRAM is of a kind that this firmware has no driver for",
        })
    }
}

/// Polls the status until both chips are ready. `None`: one of them is broken.
fn wait<B: Bus>(bus: &mut B, at: u32) -> Option<u32> {
    (0..MAX_POLLS).map(|_| bus.read(at)).find(|status| status & READY == READY)
}

impl<B: Bus> Cfi<B> {
    /// Asks the chips what they are.
    ///
    /// # Errors
    /// [`CfiError`].
    pub fn probe(mut bus: B) -> Result<Self, CfiError> {
        // A reset of the CPU alone may have left the chips in the middle of something, with old errors.
        bus.write(0, READ_STATUS);
        let _ = wait(&mut bus, 0);
        bus.write(0, CLEAR_STATUS);
        bus.write(0, READ_ARRAY);
        bus.write(0x55 * WORD_BYTES, QUERY);
        let mut table = [0_u8; 0x31];
        let mut alike = true;
        for (i, byte) in (0_u32..).zip(&mut table) {
            let word = bus.read(i * WORD_BYTES);
            let [low, _, _, _] = word.to_le_bytes();
            *byte = low;
            // Both chips are of one kind; below 0x10 each may have its own marks.
            alike &= word & 0xffff == word >> 16 || i < 0x10;
        }
        bus.write(0, READ_ARRAY);
        if &table[0x10..0x13] != b"QRY" {
            return Err(CfiError::NoFlash);
        }
        let pair = |at: usize| u32::from(u16::from_le_bytes([table[at], table[at + 1]]));
        let (command_set, regions) = (pair(0x13), table[0x2c]);
        let (blocks, block_bytes) = (pair(0x2d) + 1, pair(0x2f) * 256 * 2);
        let buffer_bytes = 1_u32.checked_shl(pair(0x2a)).unwrap_or(0).saturating_mul(2);
        let reached = block_bytes.checked_mul(NVRAM_UNITS).is_some_and(|bytes| bytes <= bus.bytes());
        let usable =
            buffer_bytes >= WORD_BYTES && block_bytes >= buffer_bytes && blocks >= NVRAM_UNITS && reached;
        if !alike || !matches!(command_set, 1 | 3) || regions != 1 || !usable {
            return Err(CfiError::Unsupported);
        }
        let geometry = Geometry { units: NVRAM_UNITS, unit_bytes: block_bytes, write_bytes: WORD_BYTES };
        Ok(Self { bus, geometry, buffer_bytes })
    }

    fn place(&self, unit: u32, offset: u32, len: usize) -> Result<u32, FlashError> {
        let Geometry { units, unit_bytes, .. } = self.geometry;
        let end = u32::try_from(len).ok().and_then(|len| offset.checked_add(len));
        end.filter(|end| unit < units && *end <= unit_bytes).ok_or(FlashError::OutOfRange)?;
        Ok(unit * unit_bytes + offset)
    }

    /// Waits until both chips are ready. Returns whether they report no error.
    fn settle(&mut self, at: u32) -> bool {
        let good = wait(&mut self.bus, at).is_some_and(|status| status & ERRORS == 0);
        self.bus.write(at, CLEAR_STATUS);
        self.bus.write(at, READ_ARRAY);
        good
    }

    /// Programs words that lie in one write buffer.
    fn program_buffer(&mut self, at: u32, bytes: &[u8]) -> bool {
        let words = u32::try_from(bytes.len()).unwrap_or(0) / WORD_BYTES;
        self.bus.write(at, BUFFER);
        if wait(&mut self.bus, at).is_none() {
            // The words that follow would be taken for commands.
            self.bus.write(at, READ_ARRAY);
            return false;
        }
        let last = words - 1;
        self.bus.write(at, last << 16 | last);
        for (i, word) in (0_u32..).zip(bytes.chunks_exact(4)) {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            self.bus.write(at + i * WORD_BYTES, word);
        }
        self.bus.write(at, CONFIRM);
        self.settle(at)
    }
}

impl<B: Bus> Flash for Cfi<B> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        let mut at = self.place(unit, offset, out.len())?;
        let mut out = out;
        while !out.is_empty() {
            let skip = at % WORD_BYTES;
            let word = self.bus.read(at - skip).to_le_bytes();
            let word = &word[skip as usize..];
            let taken = word.len().min(out.len());
            let (now, rest) = out.split_at_mut(taken);
            now.copy_from_slice(&word[..taken]);
            out = rest;
            at += taken as u32;
        }
        Ok(())
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut at = self.place(unit, offset, bytes.len())?;
        if !at.is_multiple_of(WORD_BYTES) || !bytes.len().is_multiple_of(WORD_BYTES as usize) {
            return Err(FlashError::OutOfRange);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.buffer_bytes - at % self.buffer_bytes;
            let (now, later) = rest.split_at(rest.len().min(room as usize));
            if !self.program_buffer(at, now) {
                return Err(FlashError::Program);
            }
            at += now.len() as u32;
            rest = later;
        }
        Ok(())
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        let at = self.place(unit, 0, 0)?;
        self.bus.write(at, ERASE);
        self.bus.write(at, CONFIRM);
        if self.settle(at) { Ok(()) } else { Err(FlashError::Erase) }
    }
}
