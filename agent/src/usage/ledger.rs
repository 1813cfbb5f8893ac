//! What an agent has counted since it started, and what of it is still to be written.
//!
//! Keeps, with [`SheetName`]: what is counted is in one sheet, and each edition of a sheet holds all that those before it
//! hold. Whatever becomes of a write, the next edition has another number, so no name is ever given to other bytes.

use super::date::Day;
use super::sheet::{Sheet, SheetName};
use super::tally::{Tallies, Used};
use strongroom_proto::ids::{HsmId, RealmId};

/// The most sheets in memory: today's, and those of days before that could not be written.
pub const MAX_SHEETS: usize = 4;
/// Of how many editions of a sheet it is remembered that they may be in the store.
const MAX_TRIED: usize = 64;

/// Where and when something is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The realm.
    pub realm: RealmId,
    /// The agent's HSM.
    pub hsm: HsmId,
    /// The day.
    pub day: Day,
}

/// One edition of a sheet, to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edition {
    /// The realm below whose path it belongs.
    pub realm: RealmId,
    /// What is in it.
    pub sheet: Sheet,
    changes: u64,
}

/// What an agent has counted.
#[derive(Debug)]
pub struct Ledger {
    /// The number of the next sheet.
    next: u64,
    /// The one that was counted in last is the last.
    sheets: Vec<Open>,
    lost: u64,
}

#[derive(Debug)]
struct Open {
    realm: RealmId,
    /// With the number of the last edition that was to be written; 0 before the first.
    name: SheetName,
    tallies: Tallies,
    /// How often something was counted, and how much of that is in the store.
    changes: u64,
    written: u64,
    /// Editions that may be in the store.
    tried: Vec<u32>,
}

impl Open {
    fn is_at(&self, place: Place) -> bool {
        (self.realm, self.name.hsm, self.name.day) == (place.realm, place.hsm, place.day)
    }

    const fn is_written(&self) -> bool {
        self.changes == self.written
    }
}

impl Ledger {
    /// Nothing is counted yet. The number is random, and new each time that an agent starts: nobody else may write sheets
    /// of the numbers that begin with it.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self { next: number, sheets: Vec::new(), lost: 0 }
    }

    /// Counts one request.
    pub fn count(&mut self, place: Place, used: &Used<'_>) {
        let at = self.sheets.iter().rposition(|sheet| sheet.is_at(place));
        // Two threads may see midnight in either order, and clocks are set back: a sheet that is still here goes on.
        let mut sheet = match at {
            Some(at) => self.sheets.remove(at),
            None => self.open(place),
        };
        sheet.tallies.count(used);
        sheet.changes = sheet.changes.saturating_add(1);
        self.sheets.push(sheet);
    }

    fn open(&mut self, place: Place) -> Open {
        if self.sheets.len() >= MAX_SHEETS {
            let oldest = self.sheets.remove(0);
            self.lost = self.lost.saturating_add(oldest.changes.saturating_sub(oldest.written));
        }
        let Place { realm, hsm, day } = place;
        let name = SheetName { day, hsm, sheet: self.next, edition: 0 };
        self.next = self.next.wrapping_add(1);
        Open { realm, name, tallies: Tallies::default(), changes: 0, written: 0, tried: Vec::new() }
    }

    /// The next edition of each sheet that says more than what is in the store, as far as is known.
    #[must_use]
    pub fn editions(&mut self) -> Vec<Edition> {
        let mut editions = Vec::new();
        for open in self.sheets.iter_mut().filter(|open| !open.is_written()) {
            let Some(edition) = open.name.edition.checked_add(1) else { continue };
            open.name.edition = edition;
            open.tried.push(edition);
            if open.tried.len() > MAX_TRIED {
                // It stays in the store, if it is there, and no longer counts.
                open.tried.remove(0);
            }
            let sheet = Sheet { name: open.name, tallies: open.tallies.clone() };
            editions.push(Edition { realm: open.realm, sheet, changes: open.changes });
        }
        editions
    }

    /// An edition is in the store. Returns those that it makes unnecessary, to be deleted.
    pub fn created(&mut self, edition: &Edition) -> Vec<SheetName> {
        let name = edition.sheet.name;
        let is_it = |open: &&mut Open| {
            open.realm == edition.realm && open.name.first_edition() == name.first_edition()
        };
        let Some(open) = self.sheets.iter_mut().find(is_it) else { return Vec::new() };
        open.written = open.written.max(edition.changes);
        let older: Vec<u32> = open.tried.iter().copied().filter(|tried| *tried < name.edition).collect();
        open.tried.retain(|tried| *tried >= name.edition);
        // The last goes on; a day that is over and written is done with.
        let last = self.sheets.pop();
        self.sheets.retain(|open| !open.is_written());
        self.sheets.extend(last);
        older.into_iter().map(|edition| SheetName { edition, ..name }).collect()
    }

    /// How many operations were let go since this was last asked, because they could not be written for days.
    #[must_use]
    pub const fn take_lost(&mut self) -> u64 {
        std::mem::replace(&mut self.lost, 0)
    }

    /// How many sheets are in memory.
    #[must_use]
    pub const fn sheets(&self) -> usize {
        self.sheets.len()
    }
}
