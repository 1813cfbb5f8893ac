//! How what has left is deleted from a stored tree, a little at a time.
//!
//! Nothing is deleted that is not noted as left over (see [`strongroom_replica::leftover`]), and whoever copies something
//! back takes it out of that list first, durably. Pages go before those below them, all that lie above included, and leaves
//! last: so a page is here only when all below it is, wherever this is cut short.

use super::database::{About, Database, bounded, failure};
use super::key;
use super::reader::foreign_key;
use super::store::TreeStore;
use slatedb::WriteBatch;
use slatedb::config::ScanOptions;
use std::ops::Range;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;
use strongroom_replica::leftover::{Leftover, deletable};
use strongroom_replica::stored::{Snapshot, TreeFailure};

/// How much is read ahead, in bytes.
const READ_AHEAD: usize = 256 << 10;

/// What became of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swept {
    /// Nothing was deleted: it is not left over, or not any more, or something may need it.
    Kept,
    /// Some of it was deleted.
    Some,
    /// All of it is deleted.
    All,
}

/// Something left over that is being deleted.
#[derive(Debug)]
pub struct Sweep {
    leftover: Leftover,
    /// Where to go on, unless it is to be begun anew.
    next: Option<Vec<u8>>,
    /// How many pages and leaves were deleted.
    pub deleted: u64,
    /// How long they were, with their keys.
    pub bytes: u64,
}

impl Sweep {
    /// Begins.
    #[must_use]
    pub const fn new(leftover: Leftover) -> Self {
        Self { leftover, next: None, deleted: 0, bytes: 0 }
    }
}

impl TreeStore {
    /// What it reaches, and what has left and is still here.
    ///
    /// # Errors
    /// [`TreeFailure`].
    pub async fn leftovers(&self) -> Result<(Option<Snapshot>, Vec<Leftover>), TreeFailure> {
        let database = self.database()?;
        let about = bounded(self.timeouts().load, database.about()).await;
        self.settled(&database, about).map(|about| (about.snapshot, about.leftovers))
    }

    /// Deletes so many pages and leaves, at most, of what is left over, where `there` is what the group has stored that it
    /// went to, if `is_free` says of its prefix that the group here neither has it nor awaits it by its newest entry.
    ///
    /// # Errors
    /// [`TreeFailure`]. Some of it may have been deleted; it may be tried again, and begins anew.
    pub async fn sweep(
        &self,
        sweep: &mut Sweep,
        there: &Snapshot,
        is_free: impl Fn(&Prefix) -> bool + Send + Sync,
        most: usize,
    ) -> Result<Swept, TreeFailure> {
        let _no_snapshot = self.between_snapshots().await;
        let database = self.database()?;
        let (leftover, next) = (sweep.leftover, sweep.next.take());
        let step = async {
            let about = database.about().await?;
            if self.is_adopting() || !is_free(&leftover.prefix) || !may_go(&about, &leftover, there) {
                return Ok(None);
            }
            let found = found(&database, &leftover.prefix, next, most).await?;
            self.delete(&database, about, &leftover, &found).await?;
            Ok(Some(found))
        };
        let done = bounded(self.timeouts().advance, step).await;
        let Some(found) = self.settled(&database, done)? else { return Ok(Swept::Kept) };
        let count = found.keys.len() as u64;
        self.metrics().swept.inc_by(count);
        self.metrics().swept_bytes.inc_by(found.bytes);
        sweep.deleted = sweep.deleted.saturating_add(count);
        sweep.bytes = sweep.bytes.saturating_add(found.bytes);
        sweep.next = found.next;
        Ok(if sweep.next.is_some() { Swept::Some } else { Swept::All })
    }

    /// Deletes what was found and, if that is all, the note that it is left over.
    // Durable: before anything that comes after it is deleted.
    async fn delete(
        &self,
        database: &Database,
        mut about: About,
        leftover: &Leftover,
        found: &Found,
    ) -> Result<(), TreeFailure> {
        let mut batch = WriteBatch::new();
        let above = above(&leftover.prefix);
        above.iter().for_each(|page| batch.delete(key::page(page)));
        found.keys.iter().for_each(|key| batch.delete(key));
        if found.next.is_none() {
            about.leftovers.retain(|other| other != leftover);
        }
        // Whatever happens to the write, none of these counts as what is stored.
        let pages = found.keys.iter().filter_map(|key| key::page_prefix(key)).chain(above);
        let forget = self.forgets(&pages.collect::<Vec<_>>());
        let written = database.write_leftovers(batch, &about.leftovers).await;
        drop(forget);
        written
    }
}

fn may_go(about: &About, leftover: &Leftover, there: &Snapshot) -> bool {
    let Some(own) = &about.snapshot else { return false };
    let stored = |group: &_| (*group == there.entry.group).then_some(there);
    deletable(&about.leftovers, &own.entry, stored).contains(leftover)
}

/// The prefixes above one. A page there would stand for what is deleted.
fn above(prefix: &Prefix) -> Vec<Prefix> {
    let id = RecordId(*prefix.bits());
    (0..prefix.len()).filter_map(|len| Prefix::of(&id, len)).collect()
}

/// What is to be deleted.
#[derive(Default)]
struct Found {
    keys: Vec<Vec<u8>>,
    bytes: u64,
    /// Where there may be more.
    next: Option<Vec<u8>>,
}

/// The next pages and leaves below a prefix, in the order in which they are deleted.
async fn found(
    database: &Database,
    prefix: &Prefix,
    next: Option<Vec<u8>>,
    most: usize,
) -> Result<Found, TreeFailure> {
    let leaves = key::leaves_below(prefix);
    let mut found = Found::default();
    let next = next.unwrap_or_else(|| key::page(prefix));
    if key::pages().contains(&next.as_slice()) {
        found_pages(database, prefix, next, most, &mut found).await?;
        found_in(database, leaves, most, &mut found).await?;
    } else {
        found_in(database, next..leaves.end, most, &mut found).await?;
    }
    found.next = found.keys.last().filter(|_| found.keys.len() >= most).cloned().map(key::after);
    Ok(found)
}

/// Those of the pages, length by length. Of most lengths there are none, and these are not looked for.
async fn found_pages(
    database: &Database,
    prefix: &Prefix,
    mut next: Vec<u8>,
    most: usize,
    found: &mut Found,
) -> Result<(), TreeFailure> {
    while found.keys.len() < most {
        let mut first = Found::default();
        found_in(database, next..key::pages().end.to_vec(), 1, &mut first).await?;
        let Some(key) = first.keys.first() else { return Ok(()) };
        // What makes no sense may hide pages behind it: no leaf may go before those.
        let at = key::page_prefix(key).ok_or_else(|| foreign_key(key))?;
        let Some(range) = key::pages_below(prefix, at.len()) else { return Ok(()) };
        let begin = range.start.clone().max(key::page(&at));
        found_in(database, begin..range.end, most, found).await?;
        let Some(longer) = at.len().checked_add(1).and_then(|len| key::pages_below(prefix, len)) else {
            return Ok(());
        };
        next = longer.start;
    }
    Ok(())
}

/// The first keys of a range, until there are so many.
async fn found_in(
    database: &Database,
    range: Range<Vec<u8>>,
    most: usize,
    found: &mut Found,
) -> Result<(), TreeFailure> {
    if range.is_empty() || found.keys.len() >= most {
        return Ok(());
    }
    let options = ScanOptions { read_ahead_bytes: READ_AHEAD, ..ScanOptions::default() };
    let mut scan = database.newest().scan_with_options(range, &options).await.map_err(failure)?;
    while found.keys.len() < most
        && let Some(next) = scan.next().await.map_err(failure)?
    {
        found.bytes =
            found.bytes.saturating_add((next.key.len() as u64).saturating_add(next.value.len() as u64));
        found.keys.push(next.key.to_vec());
    }
    Ok(())
}
