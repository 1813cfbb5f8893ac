//! How what a group has let go of is deleted from its stored tree.
//!
//! What a prefix that left has here is needed until it has arrived; so is what was copied here, until it is the group's
//! or will never be. Both follow from a snapshot that this opening has written: its leader had read the whole log by then,
//! so whatever was awaited before is in it, and whatever is awaited later is copied again, here, before it is taken.
//! Everything else is deleted, from the top down, so that a page is here only when all below it is: whoever copies the
//! prefix back, in the middle of it or after it was killed, finds what is still here and what is not.

use super::TreeStore;
use super::database::{Database, bounded, failure};
use super::garbage::{Sweep, beside, keys_of};
use super::key;
use slatedb::WriteBatch;
use slatedb::compactor::CompactionStatus;
use slatedb::config::ScanOptions;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use strongroom_proto::prefix::Prefix;
use strongroom_replica::stored::TreeFailure;

/// How much is read ahead, in bytes.
const READ_AHEAD: usize = 1 << 20;
/// Files are written anew without what was deleted if that was at least one byte in so many of them. Less goes when files
/// are merged anyway.
const SHARE: u64 = 8;
/// How often they are told to be.
const ATTEMPTS: u32 = 8;

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swept {
    /// It deleted so many pages and leaves; there may be more.
    Deleted(usize),
    /// All is deleted, and files are being written anew without it.
    Rewriting,
    /// There is nothing that may be deleted.
    Nothing,
}

impl TreeStore {
    /// Deletes so many pages and leaves, at most, that the group has let go of and nothing needs any longer. Whoever calls
    /// this decides how much at once, and how often: it asks as much of the store as a snapshot of so many records.
    ///
    /// # Errors
    /// [`TreeFailure`]: nothing is lost, and it may be tried again.
    pub async fn sweep(&self, most: usize) -> Result<Swept, TreeFailure> {
        let database = self.database()?;
        let swept = bounded(self.timeouts().advance, self.step(&database, most)).await;
        if matches!(swept, Err(TreeFailure::Fenced)) {
            self.let_go(&database);
        }
        swept
    }

    async fn step(&self, database: &Arc<Database>, most: usize) -> Result<Swept, TreeFailure> {
        // A copy that begins meanwhile waits for the end of this step, and is known to the next.
        let copies_wait = self.between_copies().await;
        let mut sweep = database.sweep().lock().await;
        // What was copied first: a snapshot that has it takes it out of there only after it is needed.
        let copied = self.copied();
        let Some(needed) = database.needed() else { return Ok(Swept::Nothing) };
        let kept: Vec<Prefix> = needed.into_iter().chain(copied).collect();
        // Whatever ends this step early, the next one begins anew: what it had found and not deleted is above what is left.
        if sweep.kept.take().as_ref() != Some(&kept) {
            sweep.ranges = ranges(database, &kept).await?;
        }
        let found = found(database, &mut sweep.ranges, most).await?;
        if found.keys.is_empty() {
            sweep.kept = Some(kept);
            return rewrite(&mut sweep, database).await;
        }
        let deleted = found.keys.len();
        let pages: Vec<Prefix> = found.keys.iter().filter_map(|key| key::page_prefix(key)).collect();
        let mut batch = WriteBatch::new();
        found.keys.iter().for_each(|key| batch.delete(key));
        // If this call is given up, the writing is not: no copy may begin before it has ended.
        // Durable: before anything below it is deleted.
        let to = Arc::clone(database);
        let written = tokio::spawn(async move {
            let written = to.write(batch).await;
            drop(copies_wait);
            written
        });
        written.await.map_err(|_| TreeFailure::Unavailable)??;
        drop(self.forgets(&pages));
        sweep.kept = Some(kept);
        sweep.deleted_bytes = sweep.deleted_bytes.saturating_add(found.bytes);
        self.metrics().swept.inc_by(u64::try_from(deleted).unwrap_or(u64::MAX));
        Ok(Swept::Deleted(deleted))
    }
}

/// What is to be deleted.
async fn ranges(database: &Database, kept: &[Prefix]) -> Result<VecDeque<Range<Vec<u8>>>, TreeFailure> {
    let mut ranges = VecDeque::new();
    for prefix in beside(kept) {
        // Leaves come first and go last: without any, there is nothing.
        let leaves = key::leaves_below(&prefix);
        if !found_in(database, leaves, 1).await?.keys.is_empty() {
            ranges.extend(keys_of(prefix));
        }
    }
    Ok(ranges)
}

#[derive(Default)]
struct Found {
    keys: Vec<Vec<u8>>,
    /// How long they are, with their values.
    bytes: u64,
}

/// The next keys that are there, which are then no longer among the ranges.
async fn found(
    database: &Database,
    ranges: &mut VecDeque<Range<Vec<u8>>>,
    most: usize,
) -> Result<Found, TreeFailure> {
    let mut all = Found::default();
    while all.keys.len() < most
        && let Some(range) = ranges.pop_front()
    {
        let (most, end) = (most.saturating_sub(all.keys.len()), range.end.clone());
        let begin = range.start.clone();
        let found = found_in(database, range, most).await?;
        if found.keys.is_empty() {
            skip_empty(database, ranges, begin, &end).await?;
        }
        if let Some(last) = found.keys.last().filter(|_| found.keys.len() == most) {
            ranges.push_front(key::after(last.clone())..end);
        }
        all.bytes = all.bytes.saturating_add(found.bytes);
        all.keys.extend(found.keys);
    }
    Ok(all)
}

/// Of pages there are few lengths: leaves out what lies between here and the next one that there is.
async fn skip_empty(
    database: &Database,
    ranges: &mut VecDeque<Range<Vec<u8>>>,
    begin: Vec<u8>,
    end: &[u8],
) -> Result<(), TreeFailure> {
    let pages = key::pages().end;
    if !key::pages().contains(&begin.as_slice()) {
        return Ok(());
    }
    let next = found_in(database, end.to_vec()..pages.to_vec(), 1).await?.keys.pop();
    let next = next.unwrap_or_else(|| pages.to_vec());
    while ranges.pop_front_if(|range| range.start >= begin && range.end <= next).is_some() {}
    Ok(())
}

/// The first keys of a range.
async fn found_in(database: &Database, range: Range<Vec<u8>>, most: usize) -> Result<Found, TreeFailure> {
    let options = ScanOptions { read_ahead_bytes: READ_AHEAD, ..ScanOptions::default() };
    let mut found = Found::default();
    if range.is_empty() {
        return Ok(found);
    }
    let mut scan = database.newest().scan_with_options(range, &options).await.map_err(failure)?;
    while found.keys.len() < most
        && let Some(next) = scan.next().await.map_err(failure)?
    {
        let bytes = next.key.len().saturating_add(next.value.len());
        found.bytes = found.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        found.keys.push(next.key.to_vec());
    }
    Ok(found)
}

/// Has files written anew that hold much of what was deleted. Until then, or until they are merged with others of about
/// their own length, it stays in them.
async fn rewrite(sweep: &mut Sweep, database: &Database) -> Result<Swept, TreeFailure> {
    if sweep.deleted_bytes == 0 {
        return Ok(Swept::Nothing);
    }
    let status = match &sweep.rewriting {
        Some(begun) => again_if_unavailable(database.compaction(begun).await)?,
        None => Some(None),
    };
    let ended = match status {
        Some(Some(CompactionStatus::Completed)) => true,
        Some(Some(CompactionStatus::Failed) | None) => {
            database.refresh().await?;
            let few = sweep.deleted_bytes.saturating_mul(SHARE) < database.file_bytes();
            sweep.begun = sweep.begun.saturating_add(1);
            few || sweep.begun > ATTEMPTS
        }
        Some(Some(_)) | None => return Ok(Swept::Rewriting),
    };
    if ended {
        (sweep.deleted_bytes, sweep.rewriting, sweep.begun) = (0, None, 0);
        return Ok(Swept::Nothing);
    }
    // The database's own housekeeping writes the same list: whoever comes second is refused, and asks again.
    sweep.rewriting = again_if_unavailable(database.compact().await)?.flatten();
    Ok(Swept::Rewriting)
}

/// `None` if it is to be asked again.
fn again_if_unavailable<T>(done: Result<T, TreeFailure>) -> Result<Option<T>, TreeFailure> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(TreeFailure::Unavailable) => Ok(None),
        Err(failure) => Err(failure),
    }
}
