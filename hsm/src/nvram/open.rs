//! Finding the newest state at start, and writing it again before it can be used.
//!
//! A power cut leaves at most three things behind: a torn record after the newest one, a torn mark, and a unit that is
//! half erased or begins with a torn record. The marks distinguish all three from a lost record, as the parent module
//! says, and all three are cleared by [`Unrestated::restate`]. Units that failed may hold anything; records in good
//! units name them.

use super::record::{Full, Health, Kind, Layout, Place, Record};
use super::units::Units;
use super::{MAX_STATE_BYTES, MIN_UNITS, Nvram, NvramError};
use crate::flash::{Flash, FlashError};
use alloc::vec::Vec;
use core::fmt;
use zeroize::Zeroizing;

/// What is on the flash. There is no [`Nvram`], and so nothing can be appended or said, until the state has been
/// written by this run.
#[derive(Debug)]
#[must_use]
pub enum Opened {
    /// Nothing yet: a new device.
    Empty(Unformatted),
    /// A state.
    Found(Recovered, Unrestated),
}

/// The newest state: the last full record, and where the deltas after it are. They stay on the flash, because an erase
/// unit full of them takes more RAM than a small device has.
pub struct Recovered {
    /// The state in the full record, 1 to [`super::MAX_STATE_BYTES`] bytes.
    pub full: Zeroizing<Vec<u8>>,
    layout: Layout,
    /// The place after the full record.
    first: Place,
    /// The sequence numbers of the full record and of the newest.
    seqs: (u64, u64),
}

impl Recovered {
    /// Reads the deltas, one after another, and gives the body of each to `apply`, oldest first.
    ///
    /// # Errors
    /// [`NvramError::ReadBack`] when a record that was valid at [`Nvram::open`] no longer is, [`NvramError::Flash`],
    /// and what `apply` returns.
    pub fn each_delta<F: Flash, X: From<NvramError>>(
        &self,
        flash: &mut F,
        mut apply: impl FnMut(&[u8]) -> Result<(), X>,
    ) -> Result<(), X> {
        let (mut seq, newest) = self.seqs;
        let mut place = self.first;
        while seq < newest {
            let record = next_delta(flash, &self.layout, place, seq)?.ok_or(NvramError::ReadBack)?;
            apply(&record.body)?;
            seq = record.seq;
            place = after(&self.layout, place, record.body.len())?;
        }
        Ok(())
    }
}

// Secret: the full record has the realm seed in it.
impl fmt::Debug for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovered").field("seqs", &self.seqs).finish_non_exhaustive()
    }
}

/// An empty flash.
#[derive(Debug)]
#[must_use]
pub struct Unformatted {
    nvram: Nvram,
    /// The record that formatting begins with is already there.
    born: bool,
    /// Units that are neither blank nor begin with a valid record.
    unreadable: Vec<u32>,
}

/// A log whose newest record was found at start and has not been written again.
#[derive(Debug)]
#[must_use]
pub struct Unrestated {
    nvram: Nvram,
    /// The newest record, and the places beside it where a torn record could later be mistaken for the newest.
    superseded: Vec<Place>,
    /// The unit of the record before the newest, which is kept until the newest is written again.
    kept: Option<u32>,
    /// Units that are neither blank nor begin with a valid record.
    unreadable: Vec<u32>,
}

impl Unformatted {
    /// Writes the first state of a new device.
    ///
    /// # Errors
    /// [`NvramError::Size`] with nothing done; after any other error, restart the HSM.
    pub fn format<F: Flash>(self, flash: &mut F, full: &[u8]) -> Result<Nvram, NvramError> {
        let Self { mut nvram, born, unreadable } = self;
        nvram.usable(full, MAX_STATE_BYTES)?;
        nvram.clear(flash, unreadable)?;
        if !born {
            nvram.begin(flash)?;
        }
        let birth = nvram.newest;
        nvram.rotate(flash, full, Vec::from([birth]), None)?;
        Ok(nvram)
    }
}

impl Nvram {
    /// Erases units that begin with torn records: none may ever read as valid again, because its sequence number is
    /// about to be used.
    fn clear<F: Flash>(
        &mut self,
        flash: &mut F,
        units: impl IntoIterator<Item = u32>,
    ) -> Result<(), NvramError> {
        for unit in units {
            if let Err(error) = self.erase(flash, unit) {
                self.give_up(unit, error)?;
            }
        }
        Ok(())
    }

    /// Writes the record that formatting begins with into the first unit that takes it.
    fn begin<F: Flash>(&mut self, flash: &mut F) -> Result<(), NvramError> {
        for unit in self.layout.units().filter(|unit| !self.health.bad.contains(*unit)).collect::<Vec<_>>() {
            self.seq = BEFORE_BIRTH;
            let begun = self.erase(flash, unit);
            match begun.and_then(|()| self.write_full(flash, Place { unit, offset: 0 }, &[])) {
                Ok(()) => return Ok(()),
                Err(error) => self.give_up(unit, error)?,
            }
        }
        Err(NvramError::WornOut)
    }
}

impl Unrestated {
    /// Writes the state again; `full` is [`Recovered::full`] with all deltas applied.
    ///
    /// # Errors
    /// [`NvramError::Size`] with nothing done; after any other error, restart the HSM.
    pub fn restate<F: Flash>(self, flash: &mut F, full: &[u8]) -> Result<Nvram, NvramError> {
        let Self { mut nvram, superseded, kept, unreadable } = self;
        nvram.usable(full, MAX_STATE_BYTES)?;
        let next = nvram.next_unit(kept);
        nvram.clear(flash, unreadable.into_iter().filter(|unit| Some(*unit) != next))?;
        nvram.rotate(flash, full, superseded, kept)?;
        Ok(nvram)
    }
}

/// The sequence number of the record that formatting begins with, and the one before it, which no record has.
const BIRTH_SEQ: u64 = 1;
const BEFORE_BIRTH: u64 = 0;

/// The valid records of one unit.
struct Chain {
    recovered: Recovered,
    newest: Place,
    seq: u64,
    /// The record before the newest, when it is in this unit.
    previous: Option<Place>,
    /// The place after the newest.
    end: Place,
}

/// A unit that begins with a valid full record.
#[derive(Clone, Copy)]
struct Begun {
    seq: u64,
    unit: u32,
    bad: Units,
}

/// What all units begin with.
struct Survey {
    /// By sequence number.
    begun: Vec<Begun>,
    /// Neither blank nor beginning with a valid record.
    unreadable: Vec<u32>,
    /// Named by a record that counts, or unreadable.
    bad: Units,
}

impl Survey {
    fn of<F: Flash>(flash: &mut F, layout: &Layout) -> Result<Self, NvramError> {
        let (mut begun, mut unreadable) = (Vec::new(), Vec::new());
        let (mut silent, mut error) = (Units::NONE, FlashError::Read);
        for unit in layout.units() {
            match first(flash, layout, unit) {
                Ok(First::Full(full)) => {
                    begun.push(Begun { seq: full.seq, unit, bad: full.health.bad });
                }
                Ok(First::Blank) => {}
                Ok(First::Unreadable) => unreadable.push(unit),
                Err(NvramError::Flash(cause)) => {
                    silent.insert(unit);
                    error = cause;
                }
                Err(other) => return Err(other),
            }
        }
        let mut begun = in_good_units(&begun)?;
        begun.sort_unstable_by_key(|record| record.seq);
        let bad = begun.iter().fold(Units::NONE, |bad, record| bad.and(&record.bad));
        // One alone cannot hide a record newer than the newest that is found, because that one would be marked.
        if silent.without(&bad).count() > 1 {
            return Err(NvramError::Flash(error));
        }
        let bad = bad.and(&silent);
        unreadable.retain(|unit| !bad.contains(*unit));
        Ok(Self { begun, unreadable, bad })
    }
}

/// Those whose units none of the others names as failed. What a failed unit holds counts for nothing: perhaps it could
/// not be marked, or not be erased.
fn in_good_units(begun: &[Begun]) -> Result<Vec<Begun>, NvramError> {
    let names = |one: &Begun, other: &Begun| one.bad.contains(other.unit);
    let mut counted = Vec::new();
    for record in begun {
        let mut against = begun.iter().filter(|other| other.unit != record.unit && names(other, record));
        // Each was written after the other's unit failed: one of the two units came back to life, and nobody knows
        // which.
        if against.clone().any(|other| names(record, other)) || names(record, record) {
            return Err(NvramError::Damaged);
        }
        if against.next().is_none() {
            counted.push(*record);
        }
    }
    Ok(counted)
}

/// What a unit begins with.
enum First {
    Full(Full),
    Blank,
    Unreadable,
}

fn first<F: Flash>(flash: &mut F, layout: &Layout, unit: u32) -> Result<First, NvramError> {
    if let Some(record) = layout.read(flash, Place { unit, offset: 0 })?
        && let Some(full) = layout.full(record)?
    {
        return Ok(First::Full(full));
    }
    Ok(if layout.is_blank(flash, unit, 0)? { First::Blank } else { First::Unreadable })
}

impl Nvram {
    /// Finds the newest state on `flash`, without writing.
    ///
    /// # Errors
    /// [`NvramError::Lost`] or [`NvramError::Damaged`] when there was a state and it is gone; trying again does not
    /// help with either. [`NvramError::Geometry`], [`NvramError::Flash`].
    pub fn open<F: Flash>(flash: &mut F) -> Result<Opened, NvramError> {
        open(flash)
    }
}

fn open<F: Flash>(flash: &mut F) -> Result<Opened, NvramError> {
    let layout = Layout::new(flash.geometry())?;
    let Survey { begun, unreadable, mut bad } = Survey::of(flash, &layout)?;
    let (newest, older) = match begun.as_slice() {
        [] => return open_without_record(flash, layout, unreadable, bad),
        [newest] => (*newest, None),
        [.., older, newest] => (*newest, Some(*older)),
    };
    if older.is_some_and(|older| older.seq == newest.seq) {
        return Err(NvramError::Damaged);
    }
    let (chain, health) = walk(flash, &layout, newest.unit)?;
    let mark = layout.read_mark(flash, chain.newest)?;
    let lost = mark.is_set() || layout.read_mark(flash, chain.end)?.is_set();
    if lost {
        return Err(NvramError::Lost);
    }
    let is_birth = chain.recovered.full.is_empty();
    let (superseded, kept) = if is_birth {
        (Vec::new(), None)
    } else {
        superseded(flash, &layout, &chain, older.map(|older| older.unit), &mut bad)?
    };
    if layout.good_units(&bad) < MIN_UNITS {
        return Err(NvramError::WornOut);
    }
    let Chain { recovered, newest, seq, end, .. } = chain;
    // The newest record may be torn, so what it remembers is not certain. And one whose mark decayed cannot be marked.
    let remembered = (bad == Units::NONE && mark.is_blank()).then_some(bad);
    let health = Health { bad, ..health };
    let nvram = Nvram { layout, newest, seq, end: end.offset, health, remembered, poisoned: false };
    if !is_birth {
        return Ok(Opened::Found(recovered, Unrestated { nvram, superseded, kept, unreadable }));
    }
    // Formatting begins in the first unit that takes it.
    let born = seq == BIRTH_SEQ && newest.offset == 0 && (0..newest.unit).all(|unit| bad.contains(unit));
    if born { Ok(Opened::Empty(Unformatted { nvram, born, unreadable })) } else { Err(NvramError::Damaged) }
}

/// The places to be marked once the state is written again: those of the newest record, of the one before it, and of
/// whatever may follow each. Also the unit of the one before, if it is a different one.
fn superseded<F: Flash>(
    flash: &mut F,
    layout: &Layout,
    chain: &Chain,
    older: Option<u32>,
    bad: &mut Units,
) -> Result<(Vec<Place>, Option<u32>), NvramError> {
    let mut places = Vec::new();
    let mut add = |flash: &mut F, place: Place| {
        // A mark that was begun has served its purpose: the superseding record had been read back.
        if layout.fits(place.offset, 0) && layout.read_mark(flash, place)?.is_blank() {
            places.push(place);
        }
        Ok::<(), NvramError>(())
    };
    add(flash, chain.newest)?;
    add(flash, chain.end)?;
    let kept = match (chain.previous, older) {
        (Some(previous), _) => {
            add(flash, previous)?;
            None
        }
        (None, older) => older,
    };
    if let Some(unit) = kept {
        let marked = walk(flash, layout, unit).and_then(|(before, _)| {
            add(flash, before.newest)?;
            add(flash, before.end)
        });
        match marked {
            // The newest record is in another unit, and has been read.
            Err(NvramError::Flash(_)) => bad.insert(unit),
            other => other?,
        }
    }
    Ok((places, kept))
}

/// No unit begins with a valid record: the device is new, or was cut short writing its very first record, or is
/// damaged.
fn open_without_record<F: Flash>(
    flash: &mut F,
    layout: Layout,
    unreadable: Vec<u32>,
    bad: Units,
) -> Result<Opened, NvramError> {
    if layout.good_units(&bad) < MIN_UNITS {
        return Err(NvramError::WornOut);
    }
    let birth_end = layout.end(0, layout.preamble_bytes()).ok_or(NvramError::Geometry)?;
    for unit in &unreadable {
        // A state is longer.
        if !layout.is_blank(flash, *unit, birth_end)? {
            return Err(NvramError::Damaged);
        }
    }
    let newest = Place { unit: 0, offset: 0 };
    let health = Health { erases: 0, bad };
    let remembered = None;
    let nvram = Nvram { layout, newest, seq: BEFORE_BIRTH, end: 0, health, remembered, poisoned: false };
    Ok(Opened::Empty(Unformatted { nvram, born: false, unreadable }))
}

/// Follows the sequence numbers from the full record at the start of `unit`.
fn walk<F: Flash>(flash: &mut F, layout: &Layout, unit: u32) -> Result<(Chain, Health), NvramError> {
    let mut newest = Place { unit, offset: 0 };
    let full = layout.read(flash, newest)?.ok_or(NvramError::Damaged)?;
    let full = layout.full(full)?.ok_or(NvramError::Damaged)?;
    let first = after(layout, newest, full.len)?;
    let mut end = first;
    let mut seq = full.seq;
    let mut previous = None;
    while let Some(record) = next_delta(flash, layout, end, seq)? {
        previous = Some(newest);
        newest = end;
        end = after(layout, end, record.body.len())?;
        seq = record.seq;
    }
    let recovered = Recovered { full: full.state, layout: *layout, first, seqs: (full.seq, seq) };
    Ok((Chain { recovered, newest, seq, previous, end }, full.health))
}

/// The delta at `place`, if one is there that comes right after the record numbered `seq`.
fn next_delta<F: Flash>(
    flash: &mut F,
    layout: &Layout,
    place: Place,
    seq: u64,
) -> Result<Option<Record>, NvramError> {
    let follows = |record: &Record| record.kind == Kind::Delta && seq.checked_add(1) == Some(record.seq);
    Ok(layout.read(flash, place)?.filter(follows))
}

/// Where the record after the one at `place` begins, whose body has `len` bytes.
fn after(layout: &Layout, place: Place, len: usize) -> Result<Place, NvramError> {
    let offset = layout.end(place.offset, len).ok_or(NvramError::Damaged)?;
    Ok(Place { offset, ..place })
}
