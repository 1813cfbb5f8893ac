//! How a snapshot is taken.

use super::cache::PageCache;
use super::database::Database;
use super::load::page_of;
use super::{TreeMetrics, key};
use futures::{StreamExt, TryStreamExt, stream};
use slatedb::WriteBatch;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::{Page, Tree};
use strongroom_replica::leftover::noted;
use strongroom_replica::stored::{Advance, SealedBytes, TreeDamage, TreeFailure, older_pages};
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
    let known = database.about().await?;
    let (before, snapshot) = (known.tops(), advance.snapshot.clone());
    let leftovers = noted(&known.leftovers, known.snapshot.as_ref().map(|s| &s.entry), &snapshot.entry);
    let (advance, before, pages, leaves) = in_background(move || cut(advance, before)).await??;
    let older = Older { database, cache, metrics, before: &before };
    let completing = pages.into_iter().map(|page| older.completed(page));
    let pages: Vec<Page> = stream::iter(completing).buffer_unordered(CONCURRENT).try_collect().await?;
    let outdated = advance.outdated(&before, &pages);
    let mut prefixes = outdated.clone();
    let (batch, pages, bytes) = in_background(move || batch(&advance, pages, &leaves, &outdated)).await?;
    // Whatever happens to the write, and to this call, nothing older may count as what is stored.
    prefixes.extend(pages.iter().map(|(page, _)| page.prefix()));
    let forget = Forget { cache, prefixes };
    let written = database.write_snapshot(batch, &snapshot, &leftovers).await;
    drop(forget);
    written?;
    cache.replace(pages);
    metrics.snapshots.inc();
    metrics.snapshot_bytes.inc_by(bytes);
    Ok(())
}

/// Drops pages from the cache when it is dropped.
pub(super) struct Forget<'a> {
    pub(super) cache: &'a PageCache,
    pub(super) prefixes: Vec<Prefix>,
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

/// What is stored anew, where there were trees of the prefixes `before`.
type Cut = (Advance, Vec<Prefix>, Vec<Page>, Vec<SealedBytes>);

fn cut(advance: Advance, before: Vec<Prefix>) -> Result<Cut, TreeFailure> {
    let at = advance.trees.first().map_or(Prefix::WHOLE, Tree::prefix);
    let damage = |error| TreeDamage::Page(at, error);
    let (pages, leaves) = (advance.pages(&before).map_err(damage)?, advance.leaves().map_err(damage)?);
    Ok((advance, before, pages, leaves))
}

/// What pages are completed from.
struct Older<'a> {
    database: &'a Database,
    cache: &'a PageCache,
    metrics: &'a TreeMetrics,
    /// The prefixes of the trees that are stored.
    before: &'a [Prefix],
}

impl Older<'_> {
    /// The page with everything that it must open.
    ///
    /// What is closed at its end may be the next page, or a leaf that has moved down because another came next to it:
    /// only what was stored before can tell: this page or, if it was not stored, one above it, or those that were merged
    /// into it.
    async fn completed(&self, mut page: Page) -> Result<Page, TreeFailure> {
        let prefix = page.prefix();
        if page.is_whole() && page.below().is_empty() {
            return Ok(page);
        }
        let (above, below) = older_pages(&prefix, self.before);
        let mut is_there = false;
        for older in above {
            // One that stays from before a move shows little of it; then one above does.
            if self.complete(&mut page, older).await? {
                is_there = true;
                if page.is_whole() {
                    break;
                }
            }
        }
        for older in below {
            is_there |= self.complete(&mut page, older).await?;
        }
        if is_there && !page.is_whole() {
            return Err(TreeDamage::Foreign(prefix).into());
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
}

/// Everything to be stored, the pages with their stored lengths, and the total number of bytes.
fn batch(
    advance: &Advance,
    pages: Vec<Page>,
    leaves: &[SealedBytes],
    outdated: &[Prefix],
) -> (WriteBatch, Vec<(Page, usize)>, u64) {
    let mut batch = WriteBatch::new();
    outdated.iter().for_each(|prefix| batch.delete(key::page(prefix)));
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
    let snapshot = key::SNAPSHOT.len().saturating_add(advance.snapshot.to_bytes().len());
    (batch, written, bytes.saturating_add(snapshot as u64))
}
