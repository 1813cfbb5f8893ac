//! How a snapshot is taken.

use super::cache::PageCache;
use super::database::Database;
use super::load::page_of;
use super::{TreeMetrics, key};
use futures::{StreamExt, TryStreamExt, stream};
use slatedb::WriteBatch;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::{PAGE_LEVELS, Page, Tree};
use strongroom_replica::stored::{Advance, SealedBytes, TreeDamage, TreeFailure};
use tokio::task::spawn_blocking;

/// How many stored pages are read at once.
const CONCURRENT: usize = 64;

/// Stores what an advance says in one atomic step, and updates the cache.
pub(super) async fn advance(
    database: &Database,
    cache: &PageCache,
    metrics: &TreeMetrics,
    advance: Advance,
) -> Result<(), TreeFailure> {
    let (advance, pages, leaves) = in_background(move || cut(advance)).await??;
    let older = Older { database, cache, metrics, advance: &advance };
    let completing = pages.into_iter().map(|page| older.completed(page));
    let pages: Vec<Page> = stream::iter(completing).buffer_unordered(CONCURRENT).try_collect().await?;
    let (batch, pages, bytes) = in_background(move || batch(&advance, pages, &leaves)).await?;
    // Whatever happens to the write, and to this call, nothing older may count as what is stored.
    let forget = Forget { cache, prefixes: pages.iter().map(|(page, _)| page.prefix()).collect() };
    let written = database.write(batch).await;
    drop(forget);
    written?;
    cache.replace(pages);
    metrics.snapshots.inc();
    metrics.snapshot_bytes.inc_by(bytes);
    Ok(())
}

/// Drops pages from the cache when it is dropped.
struct Forget<'a> {
    cache: &'a PageCache,
    prefixes: Vec<Prefix>,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.cache.forget(&self.prefixes);
    }
}

/// Runs what only takes time where it holds nothing up. If the runtime ends meanwhile, nothing was stored.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TreeFailure> {
    spawn_blocking(work).await.map_err(|_| TreeFailure::Unavailable)
}

fn cut(advance: Advance) -> Result<(Advance, Vec<Page>, Vec<SealedBytes>), TreeFailure> {
    let at = advance.trees.first().map_or(Prefix::WHOLE, Tree::prefix);
    let damage = |error| TreeDamage::Page(at, error);
    let (pages, leaves) = (advance.pages().map_err(damage)?, advance.leaves().map_err(damage)?);
    Ok((advance, pages, leaves))
}

/// What pages are completed from.
struct Older<'a> {
    database: &'a Database,
    cache: &'a PageCache,
    metrics: &'a TreeMetrics,
    advance: &'a Advance,
}

impl Older<'_> {
    /// The page with everything that it must open.
    ///
    /// What is closed at its end may be the next page, or a leaf that has moved down because another came next to it:
    /// only what was stored before can tell, and if this page was not stored, the one above it.
    async fn completed(&self, mut page: Page) -> Result<Page, TreeFailure> {
        let prefix = page.prefix();
        if page.is_whole() && page.below().is_empty() {
            return Ok(page);
        }
        let top = self.top(&prefix);
        let mut at = Some(prefix);
        while let Some(older) = at {
            if self.complete(&mut page, older).await? {
                return if page.is_whole() { Ok(page) } else { Err(TreeDamage::Foreign(prefix).into()) };
            }
            at = above(&older, top);
        }
        if page.is_whole() { Ok(page) } else { Err(TreeDamage::NoPage(prefix).into()) }
    }

    /// Opens what the stored page at `at` shows. Returns whether there is one.
    async fn complete(&self, page: &mut Page, at: Prefix) -> Result<bool, TreeFailure> {
        if let Some(cached) = self.cache.get(&at) {
            self.metrics.hits.inc();
            page.complete(&cached);
            if page.is_whole() {
                return Ok(true);
            }
        } else {
            self.metrics.misses.inc();
        }
        let read = match page_of(self.database.newest(), self.metrics, at).await {
            // What is gone may have been merged into others and deleted, before this database knew of that.
            Err(TreeFailure::Damaged(TreeDamage::Object(_))) => {
                self.database.refresh().await?;
                page_of(self.database.newest(), self.metrics, at).await
            }
            read => read,
        };
        match read {
            Ok((stored, _)) => page.complete(&stored),
            Err(TreeFailure::Damaged(TreeDamage::NoPage(_))) => return Ok(false),
            Err(failure) => return Err(failure),
        }
        Ok(true)
    }

    /// The length of the prefix of the tree that a page belongs to.
    fn top(&self, page: &Prefix) -> u16 {
        let id = RecordId(*page.bits());
        self.advance
            .trees
            .iter()
            .map(Tree::prefix)
            .find(|tree| tree.contains(&id))
            .map_or(0, |tree| tree.len())
    }
}

/// The page above one, in a tree whose prefix is `top` long.
fn above(page: &Prefix, top: u16) -> Option<Prefix> {
    let len = page.len().checked_sub(1)?;
    let len = len.saturating_sub(len % PAGE_LEVELS).max(top);
    if len < page.len() { Prefix::of(&RecordId(*page.bits()), len) } else { None }
}

/// Everything to be stored, the pages with their stored lengths, and the total number of bytes.
fn batch(
    advance: &Advance,
    pages: Vec<Page>,
    leaves: &[SealedBytes],
) -> (WriteBatch, Vec<(Page, usize)>, u64) {
    let mut batch = WriteBatch::new();
    let mut bytes = 0_u64;
    let mut put = |key: &[u8], value: &[u8]| {
        bytes = bytes.saturating_add((key.len() as u64).saturating_add(value.len() as u64));
        batch.put(key, value);
    };
    let mut written = Vec::with_capacity(pages.len());
    for page in pages {
        let value = page.encode();
        put(&key::page(&page.prefix()), &value);
        written.push((page, value.len()));
    }
    for (id, sealed) in leaves {
        put(&key::leaf(id), sealed);
    }
    put(key::SNAPSHOT, &advance.snapshot.to_bytes());
    (batch, written, bytes)
}
