//! Whether a store can hold a log: checked before an agent trusts it. [`Trust`](super::Trust) draws the conclusions.
//!
//! A store that ignores conditions would let two agents both believe that they extended the log. Some stores always
//! ignore them; others look first and then write, and honour conditions only while nobody else writes. The latter are
//! found by racing, so a store may still pass by luck: this finds what is broken, but proves nothing.

use super::{Store, StoreError};
use crate::store::metrics::Purpose;
use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, Result};
use std::time::Duration;
use tokio::time::timeout;

/// Races, and writers in each. A store that lets two win in half of all races passes one time in 32.
pub(super) const RACES: u8 = 5;
const WRITERS: u8 = 8;

/// What the store did with several creates of one name.
#[derive(PartialEq, Eq)]
enum Verdict {
    /// What it must do.
    Honours,
    /// What it must not do.
    Ignores,
    /// It answered too little to tell.
    Unclear,
}

impl Store {
    /// Asks the store whether it refuses to create a name twice, one writer after another and eight at once: the one
    /// thing that the log cannot do without. At most 54 calls. Uses objects named `probe/<salt>-<number>`, and removes
    /// them where it may; the caller's salt is random, and new each time.
    ///
    /// # Errors
    /// [`StoreError::OverwritesOnCreate`]. If the store cannot be reached now, that is not an error: `Ok(false)`.
    pub async fn probe(&self, salt: [u8; 16]) -> std::result::Result<bool, StoreError> {
        self.probe_in(salt, RACES).await
    }

    /// The same, in this many races. At most 10 calls for each, plus 4.
    pub(super) async fn probe_in(&self, salt: [u8; 16], races: u8) -> std::result::Result<bool, StoreError> {
        let (objects, time) = (self.counted(Purpose::Probe), self.timeouts.read);
        for round in 0..=races {
            let Some(path) = self.path(&format!("probe/{}-{round}", hex::encode(salt))) else {
                return Ok(false);
            };
            let writers = if round == 0 {
                one_by_one(&objects, &path, time).await
            } else {
                race(&objects, &path, time).await
            };
            let verdict = match timeout(time, judge(&objects, &path, writers)).await {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the object store does not answer as it should");
                    Verdict::Unclear
                }
                Err(_) => Verdict::Unclear,
            };
            if let Ok(Err(error)) = timeout(time, objects.delete(&path)).await {
                // The log itself needs no right to delete.
                tracing::info!(%error, object = %path, "a probe object stays in the store");
            }
            match verdict {
                Verdict::Honours => {}
                Verdict::Ignores => return Err(StoreError::OverwritesOnCreate),
                Verdict::Unclear => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// The outcome of one writer's create; `None` if it took too long.
type Written = Option<Result<()>>;

async fn write(objects: &impl ObjectStore, path: &ObjectPath, time: Duration, writer: u8) -> Written {
    timeout(time, super::put_new(objects, path, bytes(writer))).await.ok()
}

fn bytes(writer: u8) -> Bytes {
    Bytes::from(format!("writer {writer}"))
}

async fn one_by_one(objects: &impl ObjectStore, path: &ObjectPath, time: Duration) -> Vec<Written> {
    vec![write(objects, path, time, 0).await, write(objects, path, time, 1).await]
}

async fn race(objects: &impl ObjectStore, path: &ObjectPath, time: Duration) -> Vec<Written> {
    join_all((0..WRITERS).map(|writer| write(objects, path, time, writer))).await
}

async fn judge(objects: &impl ObjectStore, path: &ObjectPath, written: Vec<Written>) -> Result<Verdict> {
    let mut winners = Vec::new();
    let mut unclear = false;
    for (writer, result) in (0..).zip(written) {
        match result {
            Some(Ok(())) => winners.push(writer),
            Some(Err(Error::AlreadyExists { .. } | Error::Precondition { .. })) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "the object store does not answer as it should");
                unclear = true;
            }
            None => unclear = true,
        }
    }
    match winners[..] {
        [] => Ok(Verdict::Unclear),
        // The others that failed may have written too.
        [_] if unclear => Ok(Verdict::Unclear),
        [winner] => {
            let held = objects.get(path).await?.bytes().await?;
            Ok(if held == bytes(winner) { Verdict::Honours } else { Verdict::Ignores })
        }
        [_, _, ..] => Ok(Verdict::Ignores),
    }
}
