//! What stays of the stored tree of a group that has retired: what it reached, and nothing below it.
//!
//! That is all that anybody asks of it: a member that has not left yet is shown the last entry, and `check` learns where the
//! log that is still there ends.

use super::{TreePlace, TreeStore};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use std::pin::pin;
use strongroom_replica::stored::{Advance, Snapshot, TreeFailure};

impl TreeStore {
    /// Deletes everything that is stored of a group that has retired, except its last snapshot. Given again, it goes on.
    /// Returns whether it has retired: otherwise nothing was done.
    ///
    /// # Errors
    /// [`TreeFailure`]: not all of it is deleted.
    pub async fn forget_retired(&self) -> Result<bool, TreeFailure> {
        let old = self.this_generation().await?;
        let Some(reader) = old.reader().await? else { return Ok(false) };
        let Some(snapshot) = reader.snapshot().filter(|snapshot| is_over(snapshot)).cloned() else {
            return Ok(false);
        };
        let has_pages = pin!(reader.pages()).next().await.is_some();
        let has_leaves = pin!(reader.leaves()).next().await.is_some();
        drop(reader);
        let now = if has_pages || has_leaves {
            let new = self.emptied(snapshot).await?;
            // Durable: the new one is in use before the old one goes.
            new.put_in_use().await?;
            new
        } else {
            old
        };
        let (objects, place) = self.stored_at();
        delete_before(objects, place, now.generation()).await.map_err(|_| TreeFailure::Unavailable)?;
        Ok(true)
    }

    /// A new generation that holds a snapshot alone.
    async fn emptied(&self, snapshot: Snapshot) -> Result<Self, TreeFailure> {
        let new = self.next_generation().await?;
        new.open().await?;
        let written = new.advance(Advance { snapshot, trees: Vec::new(), changed: Vec::new() }).await;
        new.close().await;
        written.map(|()| new)
    }
}

/// Whether no entry can follow, and nothing below this one is anybody's.
fn is_over(snapshot: &Snapshot) -> bool {
    let entry = &snapshot.entry;
    entry.last && entry.partitions.is_empty() && entry.open.is_empty()
}

/// Deletes the objects of all generations before one. A later one is somebody else's who does the same.
async fn delete_before(
    objects: &dyn ObjectStore,
    place: &TreePlace,
    kept: u64,
) -> Result<(), object_store::Error> {
    // Their names are numbers of one length.
    let kept = place.database(kept);
    for other in place.databases(objects).await?.into_iter().filter(|other| *other < kept) {
        let found: Vec<ObjectPath> =
            objects.list(Some(&other)).map_ok(|object| object.location).try_collect().await?;
        let deleted = objects.delete_stream(futures::stream::iter(found.into_iter().map(Ok)).boxed());
        let mut deleted = pin!(deleted);
        while let Some(deleted) = deleted.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
