//! Where the newest head of a group's log is kept for whoever goes on: `head/<index, 16 hex digits>`, the newest two of them.

use super::PublishError;
use crate::store::Store;
use minicbor::{Decoder, Encoder};
use strongroom_proto::ids::Index;
use strongroom_proto::statement::Head;
use strongroom_replica::{CreateOutcome, ReadOutcome};

/// The version of the encoding, its first item.
const VERSION: u8 = 1;
/// How many heads are kept.
const KEPT: usize = 2;

pub(super) struct Shelf {
    store: Store,
    folder: String,
}

impl Shelf {
    /// Below what is published of a group.
    pub(super) fn new(store: Store, published: &str) -> Self {
        Self { store, folder: format!("{published}/head") }
    }

    fn name(&self, index: Index) -> String {
        format!("{}/{:016x}", self.folder, index.0)
    }

    async fn names(&self) -> Result<Vec<String>, PublishError> {
        let names = self.store.list(&self.folder, &self.name(Index::ZERO)).await;
        let mut names = names.map_err(|_| PublishError::Store)?;
        let index = |name: &str| u64::from_str_radix(name.rsplit('/').next()?, 16).ok();
        names.retain(|name| index(name).is_some_and(|index| *name == self.name(Index(index))));
        Ok(names)
    }

    /// The newest head that can be read. An HSM says whether it is one.
    pub(super) async fn newest(&self) -> Result<Option<Head>, PublishError> {
        let names = self.names().await?;
        let mut damaged = None;
        for name in names.iter().rev() {
            match self.store.read(name).await {
                ReadOutcome::Found(bytes) => {
                    match decode(&bytes).filter(|head| self.name(head.index) == *name) {
                        Some(head) => return Ok(Some(head)),
                        None => {
                            tracing::warn!(
                                object = name,
                                "a head makes no sense; the one before it is taken"
                            );
                            damaged = Some(name.clone());
                        }
                    }
                }
                ReadOutcome::Absent => {}
                ReadOutcome::Unavailable => return Err(PublishError::Store),
            }
        }
        // Without any, the log would be published from its beginning, which may be gone. Those that are not there any more were deleted
        // by a leader that has come further.
        match (names.last(), damaged) {
            (None, _) => Ok(None),
            (Some(_), Some(name)) => Err(PublishError::Damaged(name)),
            (Some(_), None) => Err(PublishError::Store),
        }
    }

    /// Keeps a head, and no more than one before it.
    pub(super) async fn keep(&self, head: &Head) -> Result<(), PublishError> {
        let name = self.name(head.index);
        match self.store.create(&name, encode(head).into()).await {
            CreateOutcome::Created => {}
            CreateOutcome::Lost => return Err(PublishError::Exists(name)),
            CreateOutcome::Unknown => return Err(PublishError::Store),
        }
        let Ok(names) = self.names().await else { return Ok(()) };
        for older in names.iter().rev().skip(KEPT) {
            // One that stays is deleted after the next head.
            let _ = self.store.delete(older).await;
        }
        Ok(())
    }
}

fn encode(head: &Head) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(2).and_then(|e| e.u8(VERSION)).and_then(|e| e.encode(head)).expect("a vector takes all bytes");
    e.into_writer()
}

fn decode(bytes: &[u8]) -> Option<Head> {
    let mut d = Decoder::new(bytes);
    let known =
        d.array().is_ok_and(|items| items == Some(2)) && d.u8().is_ok_and(|version| version == VERSION);
    let head = known.then(|| d.decode().ok()).flatten()?;
    (d.position() == bytes.len()).then_some(head)
}
