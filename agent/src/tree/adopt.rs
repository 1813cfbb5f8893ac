//! How the part of another group's stored tree that is to come is copied into this one.
//!
//! First everything, from the leaves up, so that a page is here only when all below it is: a copy that was interrupted is
//! one that has not begun. Then, as often as wanted, what has changed since, found by its digests from the root down.
//! Nothing here moves the snapshot: no root leads to what is copied before an entry says that the group owns it.

use super::database::{Database, bounded};
use super::load::page_of;
use super::store::TreeStore;
use super::{TreeMetrics, TreeReader, key};
use futures::stream::{self, StreamExt, TryStreamExt};
use slatedb::WriteBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use strongroom_proto::ids::{Digest, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::{PAGE_LEVELS, Page};
use strongroom_replica::leftover::without;
use strongroom_replica::stored::{Snapshot, TreeDamage, TreeFailure};
use tokio::time::{Instant, sleep};

/// How many pages, and how many leaves, are read at once.
const CONCURRENT: usize = 64;
/// How much is written at once, in bytes.
const BATCH_BYTES: usize = 8 << 20;
/// How many pages may differ before everything is copied anew.
const MAX_CHANGED: usize = 32_768;

/// Why nothing, or not all, was copied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdoptError {
    /// The other tree cannot be read, or this one not written.
    #[error(transparent)]
    Tree(#[from] TreeFailure),
    /// Another copy to this tree is under way: two would undo each other.
    #[error("another copy to this group is under way; wait until it has ended")]
    Busy,
    /// The newest snapshot of the other group has no tree of that prefix.
    #[error("the other group has not stored a tree of that prefix")]
    NotThere,
    /// This group has stored a tree that overlaps: it has not stored yet that it has let go of it.
    #[error(
        "this group has stored a tree that overlaps; a snapshot must show first that it has let go of it"
    )]
    Overlaps,
}

/// What was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adopted {
    /// The root of what is here now.
    pub root: Digest,
    /// How many records were copied this time.
    pub records: u64,
}

/// What leads to the tree of a prefix, in a snapshot of the group that has it, or has let go of it.
fn root_in(snapshot: &Snapshot, prefix: &Prefix) -> Option<Digest> {
    let owned = snapshot.entry.partitions.iter().find(|p| p.prefix == *prefix).map(|p| p.root);
    let left = snapshot.entry.open.iter().find_map(|transfer| match transfer {
        Transfer::Outgoing { prefix: left, root, .. } if left == prefix => Some(*root),
        _ => None,
    });
    owned.or(left)
}

impl TreeStore {
    /// Copies what is below a prefix in the newest snapshot of another tree, as far as it is not here.
    ///
    /// # Errors
    /// [`AdoptError`].
    pub async fn adopt(&self, prefix: Prefix, other: &Self) -> Result<Adopted, AdoptError> {
        self.copy_from(prefix, other, |snapshot| root_in(snapshot, &prefix)).await
    }

    /// Copies what is below a prefix in another tree, if it has this root there, whatever the other group makes of it by now.
    /// Returns how many records were copied.
    ///
    /// # Errors
    /// [`AdoptError`].
    pub async fn adopt_root(&self, prefix: Prefix, root: Digest, other: &Self) -> Result<u64, AdoptError> {
        Ok(self.copy_from(prefix, other, |_| Some(root)).await?.records)
    }

    async fn copy_from(
        &self,
        prefix: Prefix,
        other: &Self,
        root: impl FnOnce(&Snapshot) -> Option<Digest>,
    ) -> Result<Adopted, AdoptError> {
        let _adopting = self.begin_to_adopt().ok_or(AdoptError::Busy)?;
        let database = self.database()?;
        self.not_left_over(&database, prefix).await?;
        let reader = other.held_reader().await?.ok_or(AdoptError::NotThere)?;
        let copied = match reader.snapshot().and_then(root) {
            Some(root) => {
                let copy =
                    Copy { prefix, root, from: &reader, to: &database, metrics: self.metrics(), tree: self };
                copy.run().await
            }
            None => Err(AdoptError::NotThere),
        };
        reader.release().await;
        if matches!(copied, Err(AdoptError::Tree(TreeFailure::Fenced))) {
            self.let_go(&database);
        }
        copied
    }
}

impl TreeStore {
    /// From now on, nothing below a prefix is left over: what is here of it may be all that is copied. Waits for the end of
    /// what is being deleted.
    // Durable: before it is looked at what is here.
    async fn not_left_over(&self, database: &Database, prefix: Prefix) -> Result<(), AdoptError> {
        let _no_snapshot = self.between_snapshots().await;
        let about = database.about().await?;
        if about.tops().iter().any(|top| top.overlaps(&prefix)) {
            return Err(AdoptError::Overlaps);
        }
        // Also if nothing changes: notes that cannot be read are gone then, and whoever has lost the tree to another leader finds out
        // before it believes what it sees there.
        let leftovers = without(&about.leftovers, &prefix);
        let write = database.write_leftovers(WriteBatch::new(), &leftovers);
        Ok(bounded(self.timeouts().advance, write).await?)
    }
}

struct Copy<'a> {
    prefix: Prefix,
    root: Digest,
    from: &'a TreeReader,
    to: &'a Database,
    metrics: &'a TreeMetrics,
    tree: &'a TreeStore,
}

impl Copy<'_> {
    async fn run(&self) -> Result<Adopted, AdoptError> {
        let records = match self.here(self.prefix).await? {
            // Nobody waits for it yet.
            None => self.all(Pace::Half).await?,
            Some(page) if page.digest() == self.root => 0,
            Some(_) => match self.changes().await? {
                Some(records) => records,
                None => {
                    self.begin_anew().await?;
                    self.all(Pace::Full).await?
                }
            },
        };
        // What an earlier copy wrote may still be in memory alone.
        bounded(self.tree.timeouts().advance, self.to.flush()).await?;
        let root = self.here(self.prefix).await?.map(|page| page.digest());
        if root == Some(self.root) {
            Ok(Adopted { root: self.root, records })
        } else {
            Err(TreeFailure::Damaged(TreeDamage::Foreign(self.prefix)).into())
        }
    }

    /// Has what is here count as not begun.
    async fn begin_anew(&self) -> Result<(), AdoptError> {
        let mut batch = Batch::new(Pace::Full);
        batch.batch.delete(key::page(&self.prefix));
        batch.pages.push(self.prefix);
        self.write(batch).await
    }

    /// The page that is here.
    async fn here(&self, prefix: Prefix) -> Result<Option<Page>, TreeFailure> {
        match page_of(self.to.newest(), self.metrics, prefix).await {
            Ok((page, _)) => Ok(Some(page)),
            Err(TreeFailure::Damaged(TreeDamage::NoPage(_))) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Copies everything: leaves first, then pages, the deepest first.
    async fn all(&self, pace: Pace) -> Result<u64, AdoptError> {
        let mut batch = Batch::new(pace);
        let mut records = 0_u64;
        {
            let mut leaves = pin!(self.from.leaves_below(self.prefix));
            while let Some(leaf) = leaves.next().await {
                let (id, sealed) = leaf?;
                records = records.saturating_add(1);
                batch.put(key::leaf(&id), &sealed);
                self.flush_if(&mut batch, BATCH_BYTES).await?;
            }
        }
        let from = self.prefix.len().saturating_sub(self.prefix.len() % PAGE_LEVELS);
        let lengths = (from..=Prefix::MAX_LEN).step_by(PAGE_LEVELS.into());
        let lengths = lengths.filter(|len| *len > self.prefix.len());
        for len in lengths.rev().chain([self.prefix.len()]) {
            let mut pages = pin!(self.from.pages_below(self.prefix, len));
            while let Some(page) = pages.next().await {
                let page = page?;
                batch.put(key::page(&page.prefix()), &page.encode());
                batch.pages.push(page.prefix());
                self.flush_if(&mut batch, BATCH_BYTES).await?;
            }
            // None of these is durable before all that is below it.
            self.flush_if(&mut batch, 1).await?;
        }
        Ok(records)
    }

    /// Copies what has another digest here, level by level. `None` if that is too much to hold at once.
    async fn changes(&self) -> Result<Option<u64>, AdoptError> {
        let mut level = vec![(self.prefix, self.root)];
        let (mut pages, mut wanted) = (Vec::new(), BTreeSet::new());
        while !level.is_empty() {
            let read = level.into_iter().map(|(prefix, digest)| self.differing(prefix, digest));
            let read: Vec<Option<(Option<Page>, Page)>> =
                stream::iter(read).buffer_unordered(CONCURRENT).try_collect().await?;
            level = Vec::new();
            if pages.len().saturating_add(read.len()) > MAX_CHANGED {
                return Ok(None);
            }
            for (here, page) in read.into_iter().flatten() {
                let here: BTreeMap<RecordId, Digest> = here
                    .iter()
                    .flat_map(Page::leaves)
                    .map(|leaf| (leaf.record_id(), leaf.sealed_digest()))
                    .collect();
                let leaves = page.leaves().map(|leaf| (leaf.record_id(), leaf.sealed_digest()));
                wanted.extend(leaves.filter(|(id, digest)| here.get(id) != Some(digest)).map(|(id, _)| id));
                level.extend(page.below());
                pages.push(page);
            }
        }
        let mut batch = Batch::new(Pace::Full);
        {
            let ids: Vec<RecordId> = wanted.iter().copied().collect();
            let read = ids.into_iter().map(|id| self.leaf(id));
            let mut leaves = pin!(stream::iter(read).buffer_unordered(CONCURRENT));
            while let Some(leaf) = leaves.next().await {
                let (id, sealed) = leaf?;
                batch.put(key::leaf(&id), &sealed.ok_or(TreeDamage::NoLeaf(id)).map_err(TreeFailure::from)?);
                self.flush_if(&mut batch, BATCH_BYTES).await?;
            }
        }
        let mut len = None;
        for page in pages.into_iter().rev() {
            if len.replace(page.prefix().len()).is_some_and(|len| len != page.prefix().len()) {
                self.flush_if(&mut batch, BATCH_BYTES).await?;
            }
            batch.put(key::page(&page.prefix()), &page.encode());
            batch.pages.push(page.prefix());
        }
        self.flush_if(&mut batch, 1).await?;
        Ok(Some(wanted.len() as u64))
    }

    async fn leaf(&self, id: RecordId) -> Result<(RecordId, Option<Arc<[u8]>>), TreeFailure> {
        Ok((id, self.from.leaf(&id).await?))
    }

    /// A page of the other tree, with the one that is here, unless that is the same.
    async fn differing(
        &self,
        prefix: Prefix,
        digest: Digest,
    ) -> Result<Option<(Option<Page>, Page)>, TreeFailure> {
        let here = self.here(prefix).await?;
        if here.as_ref().is_some_and(|here| here.digest() == digest) {
            return Ok(None);
        }
        let page = self.from.page(prefix).await?;
        if page.digest() == digest { Ok(Some((here, page))) } else { Err(TreeDamage::Foreign(prefix).into()) }
    }

    /// Writes what was collected, if it is at least this long.
    async fn flush_if(&self, batch: &mut Batch, bytes: usize) -> Result<(), AdoptError> {
        if batch.bytes < bytes {
            return Ok(());
        }
        let pace = batch.pace;
        let full = std::mem::replace(batch, Batch::new(pace));
        let begun = full.begun;
        self.write(full).await?;
        if pace == Pace::Half {
            sleep(begun.elapsed()).await;
        }
        batch.begun = Instant::now();
        Ok(())
    }

    /// Writes, unless the group has taken the prefix meanwhile: what it makes of it is newer than any copy.
    async fn write(&self, Batch { batch, pages, .. }: Batch) -> Result<(), AdoptError> {
        let _no_snapshot = self.tree.between_snapshots().await;
        if self.to.about().await?.tops().iter().any(|top| top.overlaps(&self.prefix)) {
            return Err(AdoptError::Overlaps);
        }
        // Whatever happens to the write, and to this call, nothing older may count as what is stored.
        let forget = self.tree.forgets(&pages);
        let written = bounded(self.tree.timeouts().advance, self.to.write(batch)).await;
        drop(forget);
        Ok(written?)
    }
}

/// How much of the time is spent copying. The other half is for the group's users.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Half,
    Full,
}

/// What is written at once, and since when it is collected.
struct Batch {
    batch: WriteBatch,
    pages: Vec<Prefix>,
    bytes: usize,
    pace: Pace,
    begun: Instant,
}

impl Batch {
    fn new(pace: Pace) -> Self {
        Self { batch: WriteBatch::new(), pages: Vec::new(), bytes: 0, pace, begun: Instant::now() }
    }

    fn put(&mut self, key: Vec<u8>, value: &[u8]) {
        self.bytes = self.bytes.saturating_add(key.len()).saturating_add(value.len());
        self.batch.put(key, value);
    }
}
