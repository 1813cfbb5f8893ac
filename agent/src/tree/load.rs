//! How the paths to records are read.
//!
//! All paths go down together, a page at a time, so that no page is read twice; sealed bytes are read meanwhile,
//! because their keys are known from the start. What does not fit is looked at again, past the cache and as of one
//! moment: a snapshot taken meanwhile may have changed some of it, or the store returned something else for a moment.
//! What does not fit even then is damaged.

use super::cache::PageCache;
use super::database::{Database, failure};
use super::{TreeMetrics, key};
use bytes::Bytes;
use futures::future::try_join;
use futures::{StreamExt, TryStreamExt, stream};
use slatedb::DbReadOps;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::ids::{Digest, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::{Leaf, Onward, Page};
use strongroom_replica::stored::{Loaded, TreeDamage, TreeFailure, stored_top};
use tokio::time::sleep;

/// How many pages, and how many sealed leaves, are read at once.
const CONCURRENT: usize = 64;

/// First and last pause before what does not fit is read again.
const REREAD: Duration = Duration::from_millis(50);
const LAST_REREAD: Duration = Duration::from_millis(100);

/// Records whose path and leaf do not belong to one tree, and why.
type Unfit = Vec<((Prefix, RecordId), TreeDamage)>;
type Records = BTreeSet<(Prefix, RecordId)>;
/// Where paths end: at a leaf with this digest of its sealed bytes, or at no leaf.
type End = Result<Option<Digest>, TreeDamage>;
type Leaves = BTreeMap<RecordId, Result<Option<Bytes>, TreeDamage>>;
/// Pages by how near they are to the root, then by place. Two states of one page may both be among them.
type Pages = BTreeMap<(u16, Prefix, Digest), Page>;

/// Reads the paths to `records` from a database.
pub(super) async fn load(
    database: &Database,
    cache: &PageCache,
    metrics: &TreeMetrics,
    records: &[(Prefix, RecordId)],
) -> Result<Loaded, TreeFailure> {
    let tops = database.about().await?.tops();
    let top = |(prefix, id): &(Prefix, RecordId)| (stored_top(&tops, *prefix, id), *id);
    let wanted: Records = records.iter().map(top).collect();
    metrics.records.inc_by(wanted.len() as u64);
    let mut found = Found::default();
    let newest = View { db: database.newest(), metrics, cache, from_cache: true };
    let unfit = found.read(&newest, wanted).await?;
    if !unfit.is_empty() {
        // An object that is gone may have been compacted away by another agent, which owns the tree now.
        if unfit.iter().any(|(_, damage)| matches!(damage, TreeDamage::Object(_))) {
            database.refresh().await?;
        }
        for ((_, id), damage) in found.read_again(database, cache, metrics, unfit).await? {
            tracing::error!(record = %id, %damage, "the stored tree is damaged");
            metrics.damaged.inc();
            found.loaded.damaged.push((id, damage));
        }
    }
    found.loaded.pages = found.pages.into_values().collect();
    Ok(found.loaded)
}

/// What was found so far.
#[derive(Default)]
struct Found {
    loaded: Loaded,
    pages: Pages,
}

impl Found {
    /// Reads the paths to `wanted`. Returns those that do not fit, and why.
    async fn read<D: DbReadOps + Sync>(
        &mut self,
        view: &View<'_, D>,
        wanted: Records,
    ) -> Result<Unfit, TreeFailure> {
        let (ends, mut leaves) = try_join(view.paths(&wanted, &mut self.pages), view.leaves(&wanted)).await?;
        let mut unfit = Vec::new();
        for ((prefix, id), end) in wanted.into_iter().zip(ends) {
            let leaf = leaves.remove(&id).unwrap_or(Ok(None));
            match fit(&id, end, leaf) {
                Ok(sealed) => self.loaded.leaves.extend(sealed.map(|sealed| (id, sealed))),
                Err(damage) => unfit.push(((prefix, id), damage)),
            }
        }
        Ok(unfit)
    }
}

impl Found {
    /// Reads what did not fit again, past the cache and as of one moment, after longer and longer pauses: a store may
    /// return something else for a moment. Returns what does not fit even then.
    async fn read_again(
        &mut self,
        database: &Database,
        cache: &PageCache,
        metrics: &TreeMetrics,
        mut unfit: Unfit,
    ) -> Result<Unfit, TreeFailure> {
        let mut pause = REREAD;
        loop {
            let db = database.now()?;
            let now = View { db: &*db, metrics, cache, from_cache: false };
            let wanted = unfit.into_iter().map(|(record, _)| record).collect();
            unfit = self.read(&now, wanted).await?;
            if unfit.is_empty() || pause > LAST_REREAD {
                return Ok(unfit);
            }
            sleep(pause).await;
            pause *= 2;
        }
    }
}

/// The sealed bytes of a record, if they and its path belong to one tree.
fn fit(
    id: &RecordId,
    end: End,
    leaf: Result<Option<Bytes>, TreeDamage>,
) -> Result<Option<Arc<[u8]>>, TreeDamage> {
    let Some(digest) = end? else { return Ok(None) };
    let sealed = leaf?.ok_or(TreeDamage::NoLeaf(*id))?;
    if Leaf::sealed_digest_of(&sealed) == digest {
        Ok(Some(sealed[..].into()))
    } else {
        Err(TreeDamage::Leaf(*id))
    }
}

/// A database as seen by one reading of paths.
struct View<'a, D> {
    db: &'a D,
    metrics: &'a TreeMetrics,
    cache: &'a PageCache,
    from_cache: bool,
}

/// A path that continues.
struct Path {
    /// Which of the wanted records it leads to, by position.
    of: usize,
    id: RecordId,
    /// The next page, and the digest that the one above it names.
    next: Prefix,
    digest: Option<Digest>,
}

impl<D: DbReadOps + Sync> View<'_, D> {
    /// Where the paths to `wanted` end, in their order. Adds the pages on them to `pages`.
    async fn paths(&self, wanted: &Records, pages: &mut Pages) -> Result<Vec<End>, TreeFailure> {
        let mut ends: Vec<End> = vec![Ok(None); wanted.len()];
        let mut paths: Vec<Path> = wanted
            .iter()
            .enumerate()
            .map(|(of, (prefix, id))| Path { of, id: *id, next: *prefix, digest: None })
            .collect();
        // Each page is longer than the one above it, so this ends.
        while !paths.is_empty() {
            let next: BTreeSet<Prefix> = paths.iter().map(|path| path.next).collect();
            let read = next.into_iter().map(|prefix| self.page(prefix));
            let read: BTreeMap<Prefix, Result<Page, TreeDamage>> =
                stream::iter(read).buffer_unordered(CONCURRENT).try_collect().await?;
            let mut on = Vec::new();
            for path in paths {
                let of = path.of;
                let step = match read.get(&path.next) {
                    Some(Ok(page)) => path.through(page),
                    Some(Err(damage)) => Err(damage.clone()),
                    None => Err(TreeDamage::NoPage(path.next)),
                };
                let end = match step {
                    Ok(Step::On(path)) => {
                        on.push(path);
                        continue;
                    }
                    Ok(Step::End(leaf)) => Ok(leaf),
                    Err(damage) => Err(damage),
                };
                if let Some(place) = ends.get_mut(of) {
                    *place = end;
                }
            }
            let whole = read.into_values().flatten();
            pages.extend(whole.map(|page| ((page.prefix().len(), page.prefix(), page.digest()), page)));
            paths = on;
        }
        Ok(ends)
    }

    /// The sealed bytes of those of `wanted` that exist.
    async fn leaves(&self, wanted: &Records) -> Result<Leaves, TreeFailure> {
        let ids: Vec<RecordId> = wanted.iter().map(|(_, id)| *id).collect();
        let read = ids.into_iter().map(|id| self.leaf(id));
        stream::iter(read).buffer_unordered(CONCURRENT).try_collect().await
    }

    async fn leaf(&self, id: RecordId) -> Result<(RecordId, Result<Option<Bytes>, TreeDamage>), TreeFailure> {
        self.metrics.leaves_read.inc();
        let leaf = self.db.get(key::leaf(&id)).await.map_err(failure);
        Ok((id, damage_apart(leaf)?))
    }

    async fn page(&self, prefix: Prefix) -> Result<(Prefix, Result<Page, TreeDamage>), TreeFailure> {
        if self.from_cache {
            if let Some(page) = self.cache.get(&prefix) {
                self.metrics.hits.inc();
                return Ok((prefix, Ok(page)));
            }
            self.metrics.misses.inc();
        }
        let at = self.cache.now();
        let read = damage_apart(page_of(self.db, self.metrics, prefix).await)?;
        if let Ok((page, stored)) = &read {
            self.cache.keep(at, page, *stored);
        }
        Ok((prefix, read.map(|(page, _)| page)))
    }
}

/// Where a path leads from a page.
enum Step {
    On(Path),
    End(Option<Digest>),
}

impl Path {
    fn through(self, page: &Page) -> Result<Step, TreeDamage> {
        let prefix = page.prefix();
        if self.digest.is_some_and(|digest| digest != page.digest()) {
            return Err(TreeDamage::Foreign(prefix));
        }
        match page.onward(&self.id).map_err(|error| TreeDamage::Page(prefix, error))? {
            Onward::Absent => Ok(Step::End(None)),
            Onward::Leaf(digest) => Ok(Step::End(Some(digest))),
            Onward::Page(next) => {
                let below = page.below().into_iter().find(|(below, _)| *below == next);
                Ok(Step::On(Self { next, digest: below.map(|(_, digest)| digest), ..self }))
            }
        }
    }
}

/// The page that a database holds under a prefix, and its length there in bytes.
pub(super) async fn page_of(
    db: &(impl DbReadOps + Sync),
    metrics: &TreeMetrics,
    prefix: Prefix,
) -> Result<(Page, usize), TreeFailure> {
    metrics.pages_read.inc();
    let bytes = db.get(key::page(&prefix)).await.map_err(failure)?.ok_or(TreeDamage::NoPage(prefix))?;
    let page = Page::decode(prefix, &bytes).map_err(|error| TreeDamage::Page(prefix, error))?;
    Ok((page, bytes.len()))
}

/// Damage concerns one path; any other failure concerns all.
fn damage_apart<T>(done: Result<T, TreeFailure>) -> Result<Result<T, TreeDamage>, TreeFailure> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(TreeFailure::Damaged(damage)) => Ok(Err(damage)),
        Err(failure) => Err(failure),
    }
}
