//! A group's stored tree, as its agent uses it.

use super::advance::Forget;
use super::cache::PageCache;
use super::database::{self, Database, Timeouts, TreeSettings, bounded};
use super::moment::Moment;
use super::{TreeMetrics, TreePlace, TreeReader, advance, load};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use strongroom_proto::ids::{GroupId, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::stored::{Advance, Loaded, Snapshot, TreeFailure};
use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};

/// The stored tree of one group. Cheap to clone; clones share one tree.
///
/// Every operation ends in bounded time. One that writes or reads paths needs the tree open for writing. If it is not
/// open, or no longer, the answer is [`TreeFailure::Fenced`]: it can be opened again.
#[derive(Clone)]
pub struct TreeStore {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    place: TreePlace,
    settings: TreeSettings,
    metrics: TreeMetrics,
    pages: PageCache,
    /// How much of the pages is counted in the metrics.
    counted: Mutex<i64>,
    database: Mutex<Option<Arc<Database>>>,
    /// Held while opening or closing.
    opening: tokio::sync::Mutex<()>,
    /// Held while taking a snapshot: two at once could leave a mixture of both in the cache.
    advancing: tokio::sync::Mutex<()>,
    /// One permit, taken while copying from another group's tree.
    adopting: Semaphore,
    /// Records found damaged that nobody has asked about since.
    noticed: Mutex<BTreeSet<RecordId>>,
}

/// How many damaged records are remembered: where there are more, these are enough to look at.
const MAX_NOTICED: usize = 16;

impl Inner {
    const fn timeouts(&self) -> Timeouts {
        self.settings.timeouts
    }

    fn count_pages(&self) {
        self.count(i64::try_from(self.pages.bytes()).unwrap_or(i64::MAX));
    }

    fn count(&self, bytes: i64) {
        let mut counted = self.counted.lock();
        self.metrics.cached_bytes.inc_by(bytes.saturating_sub(*counted));
        *counted = bytes;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl fmt::Debug for TreeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeStore").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

impl TreeStore {
    /// Whether what has left for other groups is to be deleted.
    pub(crate) fn sweeps(&self) -> bool {
        self.inner.settings.sweeps
    }

    /// The tree of `group` in the realm whose objects begin with `base`. Asks nothing of the store.
    #[must_use]
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        base: &ObjectPath,
        group: GroupId,
        settings: TreeSettings,
        metrics: TreeMetrics,
    ) -> Self {
        Self::in_place(objects, TreePlace::new(base, group), settings, metrics)
    }

    fn in_place(
        objects: Arc<dyn ObjectStore>,
        place: TreePlace,
        settings: TreeSettings,
        metrics: TreeMetrics,
    ) -> Self {
        let pages = PageCache::new(settings.page_cache_bytes);
        let inner = Inner {
            objects,
            place,
            settings,
            metrics,
            pages,
            counted: Mutex::new(0),
            database: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
            advancing: tokio::sync::Mutex::new(()),
            adopting: Semaphore::new(1),
            noticed: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The tree of another group of the same realm.
    #[must_use]
    pub fn of_group(&self, base: &ObjectPath, group: GroupId) -> Self {
        let Inner { objects, settings, metrics, .. } = &*self.inner;
        Self::in_place(Arc::clone(objects), TreePlace::new(base, group), *settings, metrics.clone())
    }

    /// A new and empty tree of the same group, which nothing uses before [`Self::put_in_use`]. One that was begun
    /// before and given up stays as it is.
    ///
    /// # Errors
    /// [`TreeFailure::Unavailable`].
    pub async fn next_generation(&self) -> Result<Self, TreeFailure> {
        let Inner { objects, place, settings, metrics, .. } = &*self.inner;
        let unused = place.unused(&**objects).await.map_err(|_| TreeFailure::Unavailable)?;
        Ok(Self::in_place(Arc::clone(objects), place.at(unused), *settings, metrics.clone()))
    }

    /// The generation that is in use now. It stays the one meant even if another is put in use.
    ///
    /// # Errors
    /// [`TreeFailure::Unavailable`].
    pub async fn this_generation(&self) -> Result<Self, TreeFailure> {
        let Inner { objects, place, settings, metrics, .. } = &*self.inner;
        let generation = place.in_use(&**objects).await.map_err(|_| TreeFailure::Unavailable)?;
        Ok(Self::in_place(Arc::clone(objects), place.at(generation), *settings, metrics.clone()))
    }

    /// Where it is.
    pub(super) fn at(&self) -> (&dyn ObjectStore, &TreePlace) {
        (&*self.inner.objects, &self.inner.place)
    }

    /// From now on, every agent that opens the group's tree opens this generation; 0 if it has no number of its own.
    ///
    /// # Errors
    /// [`TreeFailure::Unavailable`]: it may have happened.
    pub async fn put_in_use(&self) -> Result<u64, TreeFailure> {
        let generation = self.inner.place.meant().unwrap_or(0);
        let done = self.inner.place.use_from_now(&*self.inner.objects, generation).await;
        done.map(|()| generation).map_err(|_| TreeFailure::Unavailable)
    }

    /// Opens it for writing, which closes it for every other agent that had it open, and returns what it reaches:
    /// `None` for an empty tree. A failure leaves nothing open.
    ///
    /// # Errors
    /// [`TreeFailure`].
    pub async fn open(&self) -> Result<Option<Snapshot>, TreeFailure> {
        let inner = &*self.inner;
        let _opening = inner.opening.lock().await;
        self.close_database().await;
        let opened = bounded(inner.timeouts().open, async {
            let objects = Arc::clone(&inner.objects);
            let database = Database::open(objects, &inner.place, &inner.settings).await?;
            let snapshot = database::snapshot(database.newest()).await?;
            Ok((database, snapshot))
        });
        let (database, snapshot) = self.judged(opened.await)?;
        inner.pages.clear();
        *inner.database.lock() = Some(Arc::new(database));
        Ok(snapshot)
    }

    /// Returns what it reaches without opening it for writing or writing anything; `None` for an empty tree.
    ///
    /// # Errors
    /// [`TreeFailure`], never [`TreeFailure::Fenced`].
    pub async fn read_snapshot(&self) -> Result<Option<Snapshot>, TreeFailure> {
        let inner = &*self.inner;
        let read = bounded(inner.timeouts().open, async {
            let (objects, call) = (Arc::clone(&inner.objects), inner.timeouts().call);
            let Some(moment) = Moment::open(objects, &inner.place, call, false).await? else {
                return Ok(None);
            };
            database::snapshot(&moment.db).await
        });
        self.judged(read.await)
    }

    /// Opens the whole of it for reading, as it is now, without writing anything; `None` for an empty tree.
    ///
    /// # Errors
    /// [`TreeFailure`], never [`TreeFailure::Fenced`].
    pub async fn reader(&self) -> Result<Option<TreeReader>, TreeFailure> {
        self.read(false).await
    }

    /// The same, and has a leader keep what is read until [`TreeReader::release`], however long that takes. Writes that
    /// into the list of the tree's files, and nothing else.
    ///
    /// # Errors
    /// [`TreeFailure`], never [`TreeFailure::Fenced`].
    pub async fn held_reader(&self) -> Result<Option<TreeReader>, TreeFailure> {
        self.read(true).await
    }

    async fn read(&self, held: bool) -> Result<Option<TreeReader>, TreeFailure> {
        let inner = &*self.inner;
        let (objects, timeouts) = (Arc::clone(&inner.objects), inner.timeouts());
        let open = TreeReader::open(objects, &inner.place, inner.metrics.clone(), timeouts.call, held);
        self.judged(bounded(timeouts.open, open).await)
    }

    /// Reads the paths to records, each from the page of its partition's prefix, and their sealed bytes.
    ///
    /// # Errors
    /// [`TreeFailure::Unavailable`], [`TreeFailure::Fenced`]. Damage is reported record by record.
    pub async fn load(&self, records: Vec<(Prefix, RecordId)>) -> Result<Loaded, TreeFailure> {
        let inner = &*self.inner;
        let database = self.database()?;
        let loading = load::load(&database, &inner.pages, &inner.metrics, &records);
        let loaded = bounded(inner.timeouts().load, loading).await;
        inner.count_pages();
        if let Ok(loaded) = &loaded {
            let mut noticed = inner.noticed.lock();
            let damaged = loaded.damaged.iter().map(|(id, _)| *id);
            let room = MAX_NOTICED.saturating_sub(noticed.len());
            noticed.extend(damaged.take(room));
        }
        self.settled(&database, loaded)
    }

    /// Takes a snapshot: stores everything that changed in one atomic step. `Ok` only when it is durable. After
    /// [`TreeFailure::Unavailable`] it may have happened, or may yet; the same advance, or a later one that includes
    /// its changes, may follow.
    ///
    /// # Errors
    /// [`TreeFailure`].
    pub async fn advance(&self, advance: Advance) -> Result<(), TreeFailure> {
        let inner = &*self.inner;
        let _advancing = inner.advancing.lock().await;
        let database = self.database()?;
        let advancing = advance::advance(&database, &inner.pages, &inner.metrics, advance);
        let advanced = bounded(inner.timeouts().advance, advancing).await;
        inner.count_pages();
        self.settled(&database, advanced)
    }

    /// Some of the records that were found damaged since this was last asked.
    pub(crate) fn noticed(&self) -> Vec<RecordId> {
        std::mem::take(&mut *self.inner.noticed.lock()).into_iter().collect()
    }

    /// How many bytes its files have, as far as that is known without asking the store; 0 if it is not open.
    pub(crate) fn known_bytes(&self) -> u64 {
        self.database().map_or(0, |database| database.file_bytes())
    }

    /// Closes it, if it is open. What was not durable may be lost.
    pub async fn close(&self) {
        let _opening = self.inner.opening.lock().await;
        self.close_database().await;
    }

    /// How many bytes of decoded pages are cached, by the cache's own count.
    #[must_use]
    pub fn cached_bytes(&self) -> u64 {
        self.inner.pages.bytes()
    }

    /// How many bytes the files of the tree have, without those that were merged into others and wait to be deleted.
    ///
    /// # Errors
    /// [`TreeFailure`].
    pub async fn file_bytes(&self) -> Result<u64, TreeFailure> {
        let database = self.database()?;
        database.refresh().await?;
        Ok(database.file_bytes())
    }

    async fn close_database(&self) {
        let database = self.inner.database.lock().take();
        if let Some(database) = database {
            database.close().await;
        }
    }

    pub(super) fn metrics(&self) -> &TreeMetrics {
        &self.inner.metrics
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.inner.timeouts()
    }

    /// Forgets pages that are written past the snapshots, when it is dropped.
    pub(super) fn forgets(&self, pages: &[Prefix]) -> Forget<'_> {
        Forget { cache: &self.inner.pages, prefixes: pages.to_vec() }
    }

    /// Keeps others from copying to it; `None` while one does.
    pub(super) fn begin_to_adopt(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.adopting.try_acquire().ok()
    }

    /// Whether something is being copied to it.
    pub(super) fn is_adopting(&self) -> bool {
        self.inner.adopting.available_permits() == 0
    }

    /// Keeps snapshots from being taken, and anything from being deleted.
    pub(super) async fn between_snapshots(&self) -> MutexGuard<'_, ()> {
        self.inner.advancing.lock().await
    }

    /// Lets go of a database that is no longer ours.
    pub(super) fn let_go(&self, used: &Arc<Database>) {
        used.shut();
        let mut database = self.inner.database.lock();
        database.take_if(|now| Arc::ptr_eq(now, used));
    }

    pub(super) fn database(&self) -> Result<Arc<Database>, TreeFailure> {
        let database = self.inner.database.lock();
        database.clone().ok_or(TreeFailure::Fenced)
    }

    /// Lets go of a database that is no longer ours.
    pub(super) fn settled<T>(
        &self,
        used: &Arc<Database>,
        done: Result<T, TreeFailure>,
    ) -> Result<T, TreeFailure> {
        if matches!(done, Err(TreeFailure::Fenced)) {
            self.let_go(used);
        }
        self.judged(done)
    }

    fn judged<T>(&self, done: Result<T, TreeFailure>) -> Result<T, TreeFailure> {
        if let Err(TreeFailure::Damaged(damage)) = &done {
            self.inner.metrics.damaged.inc();
            tracing::error!(%damage, "the stored tree is damaged");
        }
        done
    }
}
