//! One record on the flash: its mark, its head, its body.
//!
//! | Bytes | What |
//! |---|---|
//! | 8, rounded up to granules | mark: 0xff, or 0x00 when superseded |
//! | 1 | kind: `F` full, `D` delta |
//! | 1 | format: 1 |
//! | 2 | length of the body, big-endian |
//! | 8 | sequence number, big-endian |
//! | 8 | check: the first bytes of a hash over the twelve bytes before it and the body |
//! | length | body |
//! | to the end of the granule | 0xff |
//!
//! The body of a full record:
//!
//! | Bytes | What |
//! |---|---|
//! | 1 | version of the log: 2 |
//! | 8 | how many erases there were so far, over all units, big-endian |
//! | one bit for each unit, rounded up to bytes | the units that failed |
//! | the rest | the state; nothing in the record that formatting begins with |
//!
//! In version 1 the body was only the state, so it began with 0x84, or was empty. Builds of version 1 read a body of
//! version 2 as a state, and refuse it as one of another version.
//!
//! The mark comes first so that its place is known even when the record behind it cannot be read. The check guards
//! against accidents, not people: eight bytes let one in 2^64 torn or decayed records pass, and a device meets a few
//! thousand in its life.

use super::NvramError;
use super::bounds::{MAX_DELTA_BYTES, MAX_STATE_BYTES, MIN_UNITS, VERSION};
use super::units::{MAX_UNITS, Units};
use crate::flash::{Flash, FlashError, Geometry};
use alloc::vec::Vec;
use strongroom_proto::hash::{hash, label};
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
/// What the body of a full record of version 1 begins with.
const VERSION_1: u8 = 0x84;
const ERASES_BYTES: usize = 8;
const MAX_FULL_BYTES: usize = 1 + ERASES_BYTES + Units::len(MAX_UNITS) + MAX_STATE_BYTES;
const MARK_BYTES: u32 = 8;
const CHECK_BYTES: usize = 8;
const HEAD_BYTES: usize = 20;
const MAX_WRITE_BYTES: u32 = 256;
const CHUNK_BYTES: usize = 64;
const BLANK: u8 = 0xff;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Full,
    Delta,
}

impl Kind {
    pub(super) const fn max_bytes(self) -> usize {
        match self {
            Self::Full => MAX_FULL_BYTES,
            Self::Delta => MAX_DELTA_BYTES,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Full => b'F',
            Self::Delta => b'D',
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            b'F' => Some(Self::Full),
            b'D' => Some(Self::Delta),
            _ => None,
        }
    }
}

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) unit: u32,
    pub(super) offset: u32,
}

/// A record whose check is correct.
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) seq: u64,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// What the log remembers of the flash, in every full record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// How many erases there were, over all units.
    pub(super) erases: u64,
    /// The units that failed.
    pub(super) bad: Units,
}

/// A full record, taken apart.
pub(super) struct Full {
    pub(super) seq: u64,
    /// Length of the body that it came from, in bytes.
    pub(super) len: usize,
    pub(super) health: Health,
    pub(super) state: Zeroizing<Vec<u8>>,
}

/// A mark as read: how many of its bits are clear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    clear: u32,
    bits: u32,
}

impl Mark {
    /// The majority of the bits says "superseded".
    pub(super) const fn is_set(self) -> bool {
        self.clear > self.bits.wrapping_sub(self.clear)
    }

    /// No bit has been programmed.
    pub(super) const fn is_blank(self) -> bool {
        self.clear == 0
    }

    /// Every bit has been programmed.
    pub(super) const fn is_complete(self) -> bool {
        self.clear == self.bits
    }
}

/// A geometry that the log can use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    geometry: Geometry,
    mark_bytes: u32,
}

impl Layout {
    pub(super) fn new(geometry: Geometry) -> Result<Self, NvramError> {
        let Geometry { units, unit_bytes, write_bytes } = geometry;
        if !(MIN_UNITS..=MAX_UNITS).contains(&units)
            || !write_bytes.is_power_of_two()
            || write_bytes > MAX_WRITE_BYTES
            || !unit_bytes.is_multiple_of(write_bytes)
        {
            return Err(NvramError::Geometry);
        }
        let mark_bytes = MARK_BYTES.next_multiple_of(write_bytes);
        let layout = Self { geometry, mark_bytes };
        let full = layout.preamble_bytes().saturating_add(MAX_STATE_BYTES);
        let room = layout.end(0, full).is_some_and(|end| layout.fits(end, MAX_DELTA_BYTES));
        if room { Ok(layout) } else { Err(NvramError::Geometry) }
    }

    pub(super) fn units(&self) -> core::ops::Range<u32> {
        0..self.geometry.units
    }

    /// How many units are not among the bad ones.
    pub(super) fn good_units(&self, bad: &Units) -> u32 {
        self.geometry.units.saturating_sub(bad.count())
    }

    /// How much longer the body of a full record is than its state.
    pub(super) const fn preamble_bytes(&self) -> usize {
        Units::len(self.geometry.units).saturating_add(1 + ERASES_BYTES)
    }

    /// The body of a full record.
    pub(super) fn full_body(&self, health: &Health, state: &[u8]) -> Zeroizing<Vec<u8>> {
        // Secret: sized in advance, so that growing leaves no copy behind.
        let bytes = self.preamble_bytes().saturating_add(state.len());
        let mut body = Zeroizing::new(Vec::with_capacity(bytes));
        body.push(VERSION);
        body.extend(health.erases.to_be_bytes());
        body.extend(health.bad.to_bytes(self.geometry.units));
        body.extend_from_slice(state);
        body
    }

    /// Takes a full record apart; `None` for a delta.
    ///
    /// # Errors
    /// [`NvramError::OtherVersion`]; [`NvramError::Damaged`] when no build writes such a record.
    pub(super) fn full(&self, record: Record) -> Result<Option<Full>, NvramError> {
        let Record { kind: Kind::Full, seq, body: mut state } = record else { return Ok(None) };
        let len = state.len();
        let health = match state.as_slice() {
            [] | [VERSION_1, ..] => Health::default(),
            [VERSION, rest @ ..] => {
                let (erases, rest) = rest.split_first_chunk::<ERASES_BYTES>().ok_or(NvramError::Damaged)?;
                let bad = rest.get(..Units::len(self.geometry.units)).ok_or(NvramError::Damaged)?;
                let bad = Units::from_bytes(bad, self.geometry.units).ok_or(NvramError::Damaged)?;
                let erases = u64::from_be_bytes(*erases);
                state.drain(..self.preamble_bytes());
                Health { erases, bad }
            }
            [version, ..] => return Err(NvramError::OtherVersion(*version)),
        };
        Ok(Some(Full { seq, len, health, state }))
    }

    /// Units are used in turn.
    pub(super) fn unit_after(&self, unit: u32) -> u32 {
        match unit.checked_add(1) {
            Some(next) if next < self.geometry.units => next,
            _ => 0,
        }
    }

    /// Where a record ends that begins at `offset` and has a body of `len` bytes.
    pub(super) fn end(&self, offset: u32, len: usize) -> Option<u32> {
        let image = u32::try_from(len.checked_add(HEAD_BYTES)?).ok()?;
        let image = image.checked_next_multiple_of(self.geometry.write_bytes)?;
        offset.checked_add(self.mark_bytes)?.checked_add(image)
    }

    /// Whether a record with a body of `len` bytes fits into a unit at `offset`.
    pub(super) fn fits(&self, offset: u32, len: usize) -> bool {
        self.end(offset, len).is_some_and(|end| end <= self.geometry.unit_bytes)
    }

    /// Where the head of the record at `place` begins.
    pub(super) fn after_mark(&self, place: Place) -> Result<Place, NvramError> {
        let offset = place.offset.checked_add(self.mark_bytes).ok_or(FlashError::OutOfRange)?;
        Ok(Place { offset, ..place })
    }

    /// Head, body and padding of a record.
    pub(super) fn encode(&self, kind: Kind, seq: u64, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, NvramError> {
        let len = u16::try_from(body.len()).map_err(|_| NvramError::Size)?;
        let granule = usize::try_from(self.geometry.write_bytes).map_err(|_| NvramError::Geometry)?;
        let bytes = body.len().checked_add(HEAD_BYTES).and_then(|n| n.checked_next_multiple_of(granule));
        let bytes = bytes.ok_or(NvramError::Size)?;
        // Secret: sized in advance, so that growing leaves no copy behind.
        let mut image = Zeroizing::new(Vec::with_capacity(bytes));
        image.extend([kind.code(), FORMAT]);
        image.extend(len.to_be_bytes());
        image.extend(seq.to_be_bytes());
        let check = check(&image, body);
        image.extend(check);
        image.extend_from_slice(body);
        image.resize(bytes, BLANK);
        Ok(image)
    }

    /// The record at `place`, or `None` where there is no valid one.
    pub(super) fn read<F: Flash>(&self, flash: &mut F, place: Place) -> Result<Option<Record>, FlashError> {
        let Ok(at) = self.after_mark(place) else { return Ok(None) };
        if !self.fits(place.offset, 0) {
            return Ok(None);
        }
        let mut head = [0; HEAD_BYTES];
        flash.read(at.unit, at.offset, &mut head)?;
        let [kind, FORMAT, len_1, len_0, rest @ ..] = head else { return Ok(None) };
        let Some(kind) = Kind::from_code(kind) else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([len_1, len_0]));
        if len > kind.max_bytes() || !self.fits(place.offset, len) {
            return Ok(None);
        }
        let Some(body_offset) = at.offset.checked_add(HEAD_BYTES as u32) else { return Ok(None) };
        let mut body = Zeroizing::new(alloc::vec![0; len]);
        flash.read(at.unit, body_offset, &mut body)?;
        let (Some((seq, stored)), Some((checked, _))) =
            (rest.split_first_chunk::<8>(), head.split_last_chunk::<CHECK_BYTES>())
        else {
            return Ok(None);
        };
        let valid = check(checked, &body) == stored;
        Ok(valid.then(|| Record { kind, seq: u64::from_be_bytes(*seq), body }))
    }

    /// Programs the mark of the record at `place`.
    pub(super) fn program_mark<F: Flash>(&self, flash: &mut F, place: Place) -> Result<(), FlashError> {
        let mark = [0; MAX_WRITE_BYTES as usize];
        let mark = mark.get(..self.mark_bytes as usize).ok_or(FlashError::OutOfRange)?;
        flash.program(place.unit, place.offset, mark)
    }

    /// The mark of the record at `place`. A place too close to the unit's end for a record has a blank one.
    pub(super) fn read_mark<F: Flash>(&self, flash: &mut F, place: Place) -> Result<Mark, FlashError> {
        let mut mark = [0; MAX_WRITE_BYTES as usize];
        let mark = mark.get_mut(..self.mark_bytes as usize).ok_or(FlashError::OutOfRange)?;
        if self.fits(place.offset, 0) {
            flash.read(place.unit, place.offset, mark)?;
        } else {
            mark.fill(BLANK);
        }
        Ok(Mark {
            clear: mark.iter().map(|byte| byte.count_zeros()).sum(),
            bits: self.mark_bytes.saturating_mul(u8::BITS),
        })
    }

    /// Whether `unit` is erased from `offset` to its end.
    pub(super) fn is_blank<F: Flash>(
        &self,
        flash: &mut F,
        unit: u32,
        offset: u32,
    ) -> Result<bool, FlashError> {
        let mut chunk = [0; CHUNK_BYTES];
        for at in (offset..self.geometry.unit_bytes).step_by(CHUNK_BYTES) {
            let left = self.geometry.unit_bytes.saturating_sub(at) as usize;
            let chunk = chunk.get_mut(..left.min(CHUNK_BYTES)).ok_or(FlashError::OutOfRange)?;
            flash.read(unit, at, chunk)?;
            if chunk.iter().any(|byte| *byte != BLANK) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether the flash holds `expected` at `place`.
pub(super) fn reads_as<F: Flash>(flash: &mut F, place: Place, expected: &[u8]) -> Result<bool, FlashError> {
    let mut buffer = Zeroizing::new([0; CHUNK_BYTES]);
    let mut offset = place.offset;
    for expected in expected.chunks(CHUNK_BYTES) {
        let chunk = buffer.get_mut(..expected.len()).ok_or(FlashError::OutOfRange)?;
        flash.read(place.unit, offset, chunk)?;
        if chunk != expected {
            return Ok(false);
        }
        offset = offset.checked_add(CHUNK_BYTES as u32).ok_or(FlashError::OutOfRange)?;
    }
    Ok(true)
}

fn check(head: &[u8], body: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = hash(label::NVRAM, &[head, body]);
    core::array::from_fn(|i| digest.0.get(i).copied().unwrap_or_default())
}
