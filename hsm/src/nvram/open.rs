//! Finding the newest state at start, and writing it again before it can be used.
//!
//! A power cut leaves at most three things behind: a torn record after the newest one, a torn mark, and a unit that is
//! half erased or begins with a torn record. All three are told from a lost record by the marks, as the module above
//! says, and all three are cleared by [`Unrestated::restate`].

use super::record::{Kind, Layout, Place, Record};
use super::{Nvram, NvramBug, NvramError, PlantedBug};
use crate::flash::Flash;
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

/// The newest state: the last full record, and where the deltas after it are. They stay on the flash, for an erase unit
/// full of them takes more RAM than a small device has.
pub struct Recovered {
    /// The body of the full record, 1 to [`super::MAX_STATE_BYTES`] bytes.
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
    /// [`NvramError::ReadBack`] when a record that was valid at [`Nvram::open`] no longer is, [`NvramError::Flash`], and what
    /// `apply` returns.
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
    layout: Layout,
    /// The empty record that formatting begins with is already there.
    born: bool,
    bug: PlantedBug,
}

/// A log whose newest record was found at start and has not been written again.
#[derive(Debug)]
#[must_use]
pub struct Unrestated {
    nvram: Nvram,
    /// The newest record, and its neighbours where a torn record could be mistaken for the newest later.
    superseded: Vec<Place>,
    /// Units that are neither blank nor begin with a valid record, other than the next one to be used.
    unreadable: Vec<u32>,
}

impl Unformatted {
    /// Writes the first state of a new device.
    ///
    /// # Errors
    /// [`NvramError::Size`] with nothing done; after any other error restart.
    pub fn format<F: Flash>(self, flash: &mut F, full: &[u8]) -> Result<Nvram, NvramError> {
        let mut nvram = Nvram {
            layout: self.layout,
            newest: Place { unit: 0, offset: 0 },
            seq: 0,
            end: 0,
            poisoned: false,
            bug: self.bug,
        };
        nvram.usable(full, Kind::Full)?;
        if self.born {
            nvram.seq = BIRTH_SEQ;
        } else {
            nvram.erase(flash, 0)?;
            nvram.write(flash, nvram.newest, Kind::Full, &[])?;
        }
        nvram.rotate(flash, full, &[nvram.newest])?;
        Ok(nvram)
    }
}

impl Unrestated {
    /// Writes the state again; `full` is [`Recovered::full`] with all deltas applied.
    ///
    /// # Errors
    /// [`NvramError::Size`] with nothing done; after any other error restart.
    pub fn restate<F: Flash>(mut self, flash: &mut F, full: &[u8]) -> Result<Nvram, NvramError> {
        self.nvram.usable(full, Kind::Full)?;
        // A torn full record must not read as valid again some day: its sequence number is about to be used.
        self.unreadable.iter().try_for_each(|unit| self.nvram.erase(flash, *unit))?;
        self.nvram.rotate(flash, full, &self.superseded)?;
        Ok(self.nvram)
    }
}

/// The sequence number of the empty record that formatting begins with.
const BIRTH_SEQ: u64 = 1;

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

pub(super) fn open<F: Flash>(flash: &mut F, bug: PlantedBug) -> Result<Opened, NvramError> {
    let layout = Layout::new(flash.geometry())?;
    let mut begun = Vec::new();
    let mut unreadable = Vec::new();
    for unit in layout.units() {
        match layout.read(flash, Place { unit, offset: 0 })? {
            Some(record) if record.kind == Kind::Full => begun.push((record.seq, unit)),
            _ if layout.is_blank(flash, unit, 0)? => {}
            _ => unreadable.push(unit),
        }
    }
    begun.sort_unstable();
    let (newest, older) = match begun.as_slice() {
        [] => return open_without_record(flash, layout, &unreadable, bug),
        [newest] => (*newest, None),
        [.., older, newest] => (*newest, Some(*older)),
    };
    if older.is_some_and(|older| older.0 == newest.0) {
        return Err(NvramError::Damaged);
    }
    let chain = walk(flash, &layout, newest.1)?;
    let lost =
        layout.read_mark(flash, chain.newest)?.is_set() || layout.read_mark(flash, chain.end)?.is_set();
    if lost && !bug.is(NvramBug::FallBack) {
        return Err(NvramError::Lost);
    }
    if chain.recovered.full.is_empty() {
        let born = chain.seq == BIRTH_SEQ && chain.newest == Place { unit: 0, offset: 0 };
        return if born {
            Ok(Opened::Empty(Unformatted { layout, born, bug }))
        } else {
            Err(NvramError::Damaged)
        };
    }
    let mut neighbours = Vec::from([chain.end]);
    match (chain.previous, older) {
        (Some(previous), _) => neighbours.push(previous),
        (None, Some((_, unit))) if layout.unit_after(unit) == newest.1 => {
            let before = walk(flash, &layout, unit)?;
            neighbours.extend([before.newest, before.end]);
        }
        _ => {}
    }
    let mut superseded = Vec::from([chain.newest]);
    for place in neighbours {
        // A mark that was begun has done its work: what it was for had been read back.
        if layout.fits(place.offset, 0) && layout.read_mark(flash, place)?.is_blank() {
            superseded.push(place);
        }
    }
    unreadable.retain(|unit| *unit != layout.unit_after(newest.1));
    let Chain { recovered, newest, seq, end, .. } = chain;
    let nvram = Nvram { layout, newest, seq, end: end.offset, poisoned: false, bug };
    Ok(Opened::Found(recovered, Unrestated { nvram, superseded, unreadable }))
}

/// No unit begins with a valid record: the device is new, or was cut short writing its very first record, or is
/// damaged.
fn open_without_record<F: Flash>(
    flash: &mut F,
    layout: Layout,
    unreadable: &[u32],
    bug: PlantedBug,
) -> Result<Opened, NvramError> {
    let new = match unreadable {
        [] => true,
        [0] => layout.is_blank(flash, 0, layout.end(0, 0).ok_or(NvramError::Geometry)?)?,
        _ => false,
    };
    if new { Ok(Opened::Empty(Unformatted { layout, born: false, bug })) } else { Err(NvramError::Damaged) }
}

/// Follows the sequence numbers from the full record at the start of `unit`.
fn walk<F: Flash>(flash: &mut F, layout: &Layout, unit: u32) -> Result<Chain, NvramError> {
    let mut newest = Place { unit, offset: 0 };
    let full = layout.read(flash, newest)?.ok_or(NvramError::Damaged)?;
    let first = after(layout, newest, full.body.len())?;
    let mut end = first;
    let mut seq = full.seq;
    let mut previous = None;
    while let Some(record) = next_delta(flash, layout, end, seq)? {
        previous = Some(newest);
        newest = end;
        end = after(layout, end, record.body.len())?;
        seq = record.seq;
    }
    let recovered = Recovered { full: full.body, layout: *layout, first, seqs: (full.seq, seq) };
    Ok(Chain { recovered, newest, seq, previous, end })
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
