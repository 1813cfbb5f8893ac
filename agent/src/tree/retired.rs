//! What stays of the stored tree of a group that has retired: what it reaches, and nothing below it.
//!
//! That is all that anybody asks of it: a member that has not left yet is shown the last entry, which also ends the
//! transfers of other groups, and `check` learns where the log ends.

use super::TreeReader;
use super::generation::TreePlace;
use super::store::TreeStore;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use std::pin::pin;
use strongroom_proto::prefix::Prefix;
use strongroom_replica::leftover::{Leftover, beside, deletable};
use strongroom_replica::stored::{Advance, Snapshot, TreeFailure};

/// What became of a retired group's tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emptied {
    /// Nothing was deleted: it does not show that the group has retired.
    NotRetired,
    /// Nothing was deleted: it is not certain that what it holds is stored where it went.
    Kept,
    /// What it reached stays. So many objects were deleted, of so many bytes.
    Done {
        /// How many.
        objects: u64,
        /// How long they were.
        bytes: u64,
    },
}

impl TreeStore {
    /// Deletes all that is stored of a group that has retired, except what it reached, if everything has arrived where it
    /// went; `stored` are what the trees of other groups reach. No agent may have it open. Given again, it goes on.
    ///
    /// # Errors
    /// [`TreeFailure`]: not all of it is deleted.
    pub async fn empty_retired(&self, stored: &[Snapshot]) -> Result<Emptied, TreeFailure> {
        let old = self.this_generation().await?;
        let Some(reader) = old.reader().await? else { return Ok(Emptied::NotRetired) };
        let Some(snapshot) = reader.snapshot().filter(|snapshot| is_over(snapshot)).cloned() else {
            return Ok(Emptied::NotRetired);
        };
        let leftovers = reader.leftovers().await?;
        let found = |group: &_| stored.iter().find(|there| there.entry.group == *group);
        let gone = deletable(&leftovers, &snapshot.entry, found);
        if gone.len() < leftovers.len() || holds_more(&reader, &leftovers).await? {
            return Ok(Emptied::Kept);
        }
        drop(reader);
        // One that was made here has one table. What was deleted from any other may still be in its tables.
        let is_small = old.tables().await? <= 1;
        let kept = if leftovers.is_empty() && is_small {
            old
        } else {
            let new = self.with_this_alone(snapshot).await?;
            // Durable: the new one is in use before the old one goes.
            new.put_in_use().await?;
            new
        };
        let (objects, place) = kept.at();
        let deleted = delete_before(objects, place).await;
        let (count, bytes) = deleted.map_err(|_| TreeFailure::Unavailable)?;
        self.metrics().retired_objects.inc_by(count);
        Ok(Emptied::Done { objects: count, bytes })
    }

    /// How many tables the generation meant has.
    async fn tables(&self) -> Result<usize, TreeFailure> {
        let (objects, place) = self.at();
        let tables = place.database(place.meant().unwrap_or(0)).join("compacted");
        let found: Result<Vec<_>, _> = objects.list(Some(&tables)).try_collect().await;
        found.map(|found| found.len()).map_err(|_| TreeFailure::Unavailable)
    }

    /// A new generation that holds a snapshot and nothing else.
    async fn with_this_alone(&self, snapshot: Snapshot) -> Result<Self, TreeFailure> {
        let new = self.next_generation().await?;
        new.open().await?;
        let written = new.advance(Advance { snapshot, trees: Vec::new(), changed: Vec::new() }).await;
        new.close().await;
        written.map(|()| new)
    }
}

/// Whether no entry can follow, and nothing below this one is the group's.
fn is_over(snapshot: &Snapshot) -> bool {
    let entry = &snapshot.entry;
    entry.last && entry.partitions.is_empty() && entry.open.is_empty()
}

/// Whether it holds leaves of which it is not noted where they went.
async fn holds_more(reader: &TreeReader, leftovers: &[Leftover]) -> Result<bool, TreeFailure> {
    let mut rest = Vec::from([Prefix::WHOLE]);
    for leftover in leftovers {
        rest = rest.into_iter().flat_map(|prefix| beside(prefix, &leftover.prefix)).collect();
    }
    for prefix in rest {
        if let Some(leaf) = pin!(reader.leaves_below(prefix)).next().await {
            return leaf.map(|_| true);
        }
    }
    Ok(false)
}

/// Deletes the objects of all generations before the one meant. A later one is somebody else's who does the same.
async fn delete_before(
    objects: &dyn ObjectStore,
    place: &TreePlace,
) -> Result<(u64, u64), object_store::Error> {
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let Some(kept) = place.meant() else { return Ok((0, 0)) };
    for generation in place.generations(objects).await?.into_iter().filter(|other| *other < kept) {
        let found: Vec<_> = objects.list(Some(&place.database(generation))).try_collect().await?;
        bytes = found.iter().fold(bytes, |bytes, object| bytes.saturating_add(object.size));
        let names: Vec<Result<ObjectPath, _>> = found.into_iter().map(|object| Ok(object.location)).collect();
        let mut deleted = objects.delete_stream(futures::stream::iter(names).boxed());
        while let Some(deleted) = deleted.next().await {
            match deleted {
                Ok(_) => count = count.saturating_add(1),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((count, bytes))
}
