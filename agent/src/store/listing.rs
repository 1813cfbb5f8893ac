//! Listings that take long: page by page, each with its own time limit, continuing from the same place when one fails.
//!
//! A store that needs seconds for a page would otherwise never get to the end of a long log: each new attempt would
//! begin with the first page. What is listed is still complete: an object that existed before the first page and stays
//! is on the page of its name, whenever that page is requested.

use crate::causes::causes;
use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore};
use std::time::Duration;
use strongroom_replica::Unavailable;
use tokio::time::{sleep, timeout};

/// How often in a row a page may fail before the listing fails, and the pause after the first failure; each further
/// pause is twice as long.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A store that has shown this many names in order is assumed to list in order, so that a listing can continue after
/// the last of them. One that does not, such as a folder, starts over.
const IN_ORDER: usize = 64;

/// How far a listing is.
struct Progress {
    after: ObjectPath,
    /// Where the listing may end.
    until: Option<ObjectPath>,
    found: Vec<ObjectPath>,
    ascends: bool,
}

impl Progress {
    /// Takes the next name. Returns whether more are wanted.
    fn take(&mut self, location: ObjectPath) -> bool {
        // Not every store can begin in the middle.
        if location <= self.after {
            return true;
        }
        self.ascends &= self.found.last().is_none_or(|last| *last < location);
        let beyond = self.until.as_ref().is_some_and(|until| location >= *until);
        self.found.push(location);
        !(beyond && self.is_in_order())
    }

    fn is_in_order(&self) -> bool {
        self.ascends && self.found.len() >= IN_ORDER
    }

    /// The name to continue after, with what was found before.
    fn resume(&mut self) -> ObjectPath {
        if !self.is_in_order() {
            (self.found, self.ascends) = (Vec::new(), true);
        }
        self.found.last().unwrap_or(&self.after).clone()
    }
}

/// All objects below `prefix` whose names sort after `after` and before `until`, in no particular order, perhaps some
/// of them twice, and perhaps some past `until`. The store may take `page_timeout` for each page.
///
/// # Errors
/// [`Unavailable`]: a page failed too often.
pub(super) async fn list(
    objects: &impl ObjectStore,
    prefix: &ObjectPath,
    after: &ObjectPath,
    until: Option<ObjectPath>,
    page_timeout: Duration,
) -> Result<Vec<ObjectPath>, Unavailable> {
    let mut progress = Progress { after: after.clone(), until, found: Vec::new(), ascends: true };
    let (mut failed, mut pause, mut furthest) = (0, FIRST_PAUSE, 0);
    loop {
        let from = progress.resume();
        let Err(why) = pages(objects, prefix, &from, &mut progress, page_timeout).await else {
            return Ok(progress.found);
        };
        if progress.found.len() > furthest {
            (failed, pause, furthest) = (0, FIRST_PAUSE, progress.found.len());
        }
        failed += 1;
        let found = progress.found.len();
        if failed >= ATTEMPTS {
            tracing::warn!(%prefix, why, found, "a listing of the object store failed");
            return Err(Unavailable);
        }
        tracing::info!(%prefix, why, found, "a page of a listing did not come; the listing goes on from there");
        sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
}

/// Continues the listing after `from` until the end, or until a page fails; returns why.
async fn pages(
    objects: &impl ObjectStore,
    prefix: &ObjectPath,
    from: &ObjectPath,
    progress: &mut Progress,
    page_timeout: Duration,
) -> Result<(), String> {
    let mut listed = objects.list_with_offset(Some(prefix), from);
    loop {
        // Within a page, the next object is available at once.
        let next: Option<object_store::Result<ObjectMeta>> =
            timeout(page_timeout, listed.next()).await.map_err(|_| "it took too long".to_owned())?;
        match next {
            Some(Ok(object)) => {
                if !progress.take(object.location) {
                    return Ok(());
                }
            }
            Some(Err(error)) => return Err(causes(&error)),
            None => return Ok(()),
        }
    }
}
