//! The object store under the logs, seen through the few operations whose guarantees the protocol needs.
//!
//! Owns how a name is created once and only once, and when what was written or found is durable. The store is trusted
//! for availability alone: HSMs check every byte that comes out of it. Two things rest on [`Store::create`]: of two
//! agents that extend the log at the same place, one learns that it lost; and no agent is told "created" about
//! something that a crash can take back.
//!
//! Nothing is overwritten here but by [`Store::replace`], which replaces what its caller has seen. The libraries below neither retry nor
//! interpret: a re-sent create would meet its own object and report that another one won.

mod connector;
mod counted;
mod folder;
mod given;
mod hints;
mod listing;
mod metrics;
mod open;
mod options;
mod paced;
mod probe;
mod trust;

pub use given::StoreOptions;
pub use hints::Hint;
pub use metrics::{Kind, LIST_PAGE, Purpose, StoreMetrics};
pub use open::parse_url;
pub use paced::{Limit, Pace};
pub use trust::{CLEAN_PROBES, Trust};

use bytes::Bytes;
use counted::Counted;
use folder::Folder;
use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{
    GetResult, GetResultPayload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
};
use paced::Paced;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::ids::RealmId;
use strongroom_replica::{CreateOutcome, ReadOutcome, Unavailable};
use tokio::time::{sleep, timeout};

/// Where a realm's signed founding lies.
pub(crate) fn founding_object(realm: RealmId) -> String {
    format!("realms/{realm}/founding")
}

/// Where what a realm's custodians state of it lies, for everybody to read.
pub(crate) fn statement_object(realm: RealmId) -> String {
    format!("realms/{realm}/statement")
}

/// The longest object that is read, in bytes.
pub const MAX_OBJECT_BYTES: u64 = 64 << 20;

/// How often one [`Store::create`] puts the same bytes before it gives up on knowing the outcome.
const ATTEMPTS: u32 = 3;
/// How long a call may take that has to wait for its turn.
const PACED: Duration = Duration::from_secs(600);
/// The pause after the first attempt; the next is four times as long. Written out, here and in the agent's other
/// loops, because `backon` repeats a call until it succeeds: here a read comes between two attempts and may settle both,
/// and elsewhere a pause starts small again when there was progress, or ends early when there is news.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How long a store may take to answer, before that counts as no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For one create or delete.
    pub write: Duration,
    /// For one read.
    pub read: Duration,
    /// For one page of a listing.
    pub list: Duration,
}

impl Timeouts {
    /// The same for everything.
    #[must_use]
    pub const fn all(limit: Duration) -> Self {
        Self { write: limit, read: limit, list: limit }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { write: Duration::from_secs(2), read: Duration::from_secs(5), list: Duration::from_secs(30) }
    }
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL's scheme is not supported.
    #[error("cannot use {scheme}:// as a store; give a file://, memory://, s3://, az:// or gs:// URL")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// An option that this kind of store does not have.
    #[error("store_options: a store on {scheme}:// has no option {name:?}; check its spelling")]
    Option {
        /// The URL's scheme.
        scheme: String,
        /// The option.
        name: String,
    },
    /// The folder of a `file://` store cannot be used.
    #[error("cannot use the folder {}: {source}; check the path, and that the agent's user may write there", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a URL.
    #[error("the store is a URL, such as `file:///var/lib/strongroom/store`")]
    Url,
    /// The URL does not have the form that its scheme needs.
    #[error("cannot use this {scheme}: URL as a store; write it as {form}")]
    Form {
        /// The scheme.
        scheme: String,
        /// An example, and what counts in it.
        form: &'static str,
    },
    /// The value of an option cannot be used.
    #[error("store_options, {name}: {wrong}")]
    Value {
        /// The option.
        name: String,
        /// What is wrong with the value, without it, and what to do.
        wrong: &'static str,
    },
    /// The folder of a `file://` store does not exist, and must not be created.
    #[error("there is no folder {}; check the spelling of the store's URL, and that its disk is mounted", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The URL and options do not make a store.
    #[error("cannot use the store{option}: {why}; check `store` and `store_options`")]
    Settings {
        /// The option to blame, if it is a single one.
        option: String,
        /// Why, with all causes; without values.
        why: String,
    },
    /// The store lets a second create of a name succeed, so it cannot hold a log.
    #[error(
        "the store does not refuse to create an object that exists, or does not while others create it too, so two agents \
         could both believe that they extended the log; use a store with conditional writes"
    )]
    OverwritesOnCreate,
}

/// An object as it was when it was read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// All of it.
    pub bytes: Vec<u8>,
    /// By which the store tells it from what is there later.
    version: UpdateVersion,
}

/// What became of a [`Store::replace`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplaceOutcome {
    /// It is there.
    Replaced,
    /// Something else is there than was seen; or these bytes are, from a call before.
    Other,
    /// It may be there, or come to be there if nobody else replaces what was seen.
    Unknown,
}

enum Fetched {
    Found(Seen),
    Absent,
    Unavailable,
}

/// An object store. Cheap to clone; clones share their connections and their counters.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    base: ObjectPath,
    /// Where the objects are, if that is a folder on this machine.
    folder: Option<Folder>,
    metrics: StoreMetrics,
    purpose: Purpose,
    timeouts: Timeouts,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}/{})", self.objects, self.base)
    }
}

impl Store {
    /// A store on objects that the caller keeps: one `InMemory` shared by several agents, or a store that fails on
    /// purpose. Below them nothing may retry a create. Counts by itself.
    #[must_use]
    pub fn on(objects: Arc<dyn ObjectStore>) -> Self {
        Self::new(objects, ObjectPath::default(), None)
    }

    fn new(objects: Arc<dyn ObjectStore>, base: ObjectPath, folder: Option<Folder>) -> Self {
        let (metrics, timeouts) = (StoreMetrics::default(), Timeouts::default());
        Self { objects, base, folder, metrics, purpose: Purpose::Log, timeouts }
    }

    /// The same store, with these limits on how long it may take to answer.
    #[must_use]
    pub fn with_timeouts(&self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self.clone() }
    }

    /// The same store, whose calls count as `purpose`. A store as opened counts as [`Purpose::Log`].
    #[must_use]
    pub fn with_purpose(&self, purpose: Purpose) -> Self {
        Self { purpose, ..self.clone() }
    }

    /// The objects themselves, for the library that keeps the tree; counted as [`Purpose::Tree`], whatever
    /// [`Self::with_purpose`] said. What is put there is durable when that is reported. Nothing below retries.
    #[must_use]
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.counted(Purpose::Tree))
    }

    /// The objects themselves, for a library that only reads them; counted as this store's calls are.
    pub(crate) fn to_read(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.own())
    }

    /// The same store, read at a pace and with more patience, and counted as [`Purpose::Scrub`]: the time that a call waits for its
    /// turn is in the time that it takes. The objects themselves are for the tree.
    #[must_use]
    pub fn paced(&self, pace: &Pace) -> (Self, Arc<dyn ObjectStore>) {
        let objects = Arc::new(Paced { inner: Arc::clone(&self.objects), pace: pace.clone() });
        let timeouts = Timeouts::all(PACED);
        let paced = Self { objects, purpose: Purpose::Scrub, timeouts, ..self.clone() };
        let objects = Arc::new(paced.own());
        (paced, objects)
    }

    /// What all names are below.
    #[must_use]
    pub const fn base(&self) -> &ObjectPath {
        &self.base
    }

    /// The counters of this store and its clones.
    #[must_use]
    pub const fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    fn counted(&self, purpose: Purpose) -> Counted {
        Counted { inner: Arc::clone(&self.objects), metrics: self.metrics.clone(), purpose }
    }

    fn own(&self) -> Counted {
        self.counted(self.purpose)
    }

    /// Creates `name` with `bytes` unless it exists.
    ///
    /// "Exists" and every failure are settled by reading the name, because either may come from our own bytes. Of any
    /// number of callers with different bytes, at most one is ever told [`CreateOutcome::Created`] while the object is
    /// not deleted; a caller that repeats its own bytes gets `Created` again. What was created is visible to every read
    /// and listing from then on, and survives every crash. After `Unknown`, the object may exist, or appear later.
    pub async fn create(&self, name: &str, bytes: Bytes) -> CreateOutcome {
        let Some(path) = self.path(name) else { return CreateOutcome::Unknown };
        let mut pause = FIRST_PAUSE;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(pause).await;
                pause *= 4;
            }
            match timeout(self.timeouts.write, put_new(&self.own(), &path, bytes.clone())).await {
                Ok(Ok(())) => return CreateOutcome::Created,
                Ok(Err(object_store::Error::AlreadyExists { .. })) => {}
                Ok(Err(error)) => tracing::warn!(name, %error, "a write to the object store failed"),
                Err(_) => tracing::warn!(name, "a write to the object store took too long"),
            }
            match self.get(&path, MAX_OBJECT_BYTES).await {
                // Durable: the process that put our bytes there may have died before it synced the folder.
                ReadOutcome::Found(found) if found == bytes && self.settle_above(&path).await => {
                    return CreateOutcome::Created;
                }
                ReadOutcome::Found(found) if found != bytes => return CreateOutcome::Lost,
                ReadOutcome::Found(_) | ReadOutcome::Absent | ReadOutcome::Unavailable => {}
            }
        }
        CreateOutcome::Unknown
    }

    /// Puts `bytes` at `name` in place of what was seen there, or of nothing: for what only tells of other objects, and may be an older
    /// one after a crash. Of all that replace the same, at most one does, however late its write arrives.
    pub async fn replace(&self, name: &str, seen: Option<&Seen>, bytes: Bytes) -> ReplaceOutcome {
        let Some(path) = self.path(name) else { return ReplaceOutcome::Unknown };
        let mode = seen.map_or(PutMode::Create, |seen| PutMode::Update(seen.version.clone()));
        let store = self.own();
        match timeout(self.timeouts.write, store.put_opts(&path, bytes.into(), PutOptions::from(mode))).await
        {
            Ok(Ok(_)) => ReplaceOutcome::Replaced,
            Ok(Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })) => {
                ReplaceOutcome::Other
            }
            Ok(Err(error)) => {
                tracing::warn!(name, %error, "a write to the object store failed");
                ReplaceOutcome::Unknown
            }
            Err(_) => {
                tracing::warn!(name, "a write to the object store took too long");
                ReplaceOutcome::Unknown
            }
        }
    }

    /// Reads the object `name`, for [`Self::replace`]. `None` if there is none.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn see(&self, name: &str) -> Result<Option<Seen>, Unavailable> {
        let Some(path) = self.path(name) else { return Ok(None) };
        match self.fetch(&path, MAX_OBJECT_BYTES).await {
            Fetched::Found(seen) => Ok(Some(seen)),
            Fetched::Absent => Ok(None),
            Fetched::Unavailable => Err(Unavailable),
        }
    }

    /// Reads the object `name`, whole or not at all.
    pub async fn read(&self, name: &str) -> ReadOutcome {
        self.read_short(name, MAX_OBJECT_BYTES).await
    }

    /// The same, if it has at most so many bytes.
    pub async fn read_short(&self, name: &str, most: u64) -> ReadOutcome {
        match self.path(name) {
            Some(path) => self.get(&path, most).await,
            None => ReadOutcome::Absent,
        }
    }

    /// The names of all objects in `folder` that sort after `after`, ascending; objects in folders below it are left
    /// out. Both are whole names; `after` need not exist. Complete: every object whose create was reported before the
    /// call, and that was not deleted, is among them. Durable: nothing that is listed vanishes in a crash. Takes as
    /// long as its pages do; if one fails, it is tried a few more times from there.
    ///
    /// # Errors
    /// [`Unavailable`]; never a part of the list.
    pub async fn list(&self, folder: &str, after: &str) -> Result<Vec<String>, Unavailable> {
        self.list_between(folder, after, None).await
    }

    /// The same, but only for names that sort before `until`; what comes after them costs at most a page.
    ///
    /// # Errors
    /// [`Unavailable`]; never a part of the list.
    pub async fn list_until(
        &self,
        folder: &str,
        after: &str,
        until: &str,
    ) -> Result<Vec<String>, Unavailable> {
        let mut names = self.list_between(folder, after, Some(until)).await?;
        names.retain(|name| name.as_str() < until);
        Ok(names)
    }

    async fn list_between(
        &self,
        folder: &str,
        after: &str,
        until: Option<&str>,
    ) -> Result<Vec<String>, Unavailable> {
        let (Some(prefix), Some(offset)) = (self.path(folder), self.path(after)) else {
            return Err(Unavailable);
        };
        let until = until.and_then(|until| self.path(until));
        let found = listing::list(&self.own(), &prefix, &offset, until, self.timeouts.list).await?;
        if !found.is_empty() && !self.settle(&prefix).await {
            return Err(Unavailable);
        }
        let own = |location: &ObjectPath| {
            let mut parts = location.prefix_match(&prefix)?;
            let file = parts.next()?;
            parts.next().is_none().then(|| format!("{folder}/{}", file.as_ref()))
        };
        let mut names: Vec<String> = found.iter().filter_map(own).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The names of the folders in `folder`, without the path to them. For those that look at a store as a whole; the
    /// log never relies on it.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>, Unavailable> {
        let prefix = self.path(folder).ok_or(Unavailable)?;
        match timeout(self.timeouts.list, self.own().list_with_delimiter(Some(&prefix))).await {
            Ok(Ok(found)) => {
                let names = found.common_prefixes.iter().filter_map(ObjectPath::filename);
                Ok(names.map(str::to_owned).collect())
            }
            Ok(Err(error)) => {
                tracing::warn!(folder, %error, "a listing of the object store failed");
                Err(Unavailable)
            }
            Err(_) => Err(Unavailable),
        }
    }

    /// Deletes the object `name`, if there is one. Afterwards no read or listing finds it, unless it is created again,
    /// or a folder's machine crashes before it has written the deletion down.
    ///
    /// # Errors
    /// [`Unavailable`]: it may be gone, or go later.
    pub async fn delete(&self, name: &str) -> Result<(), Unavailable> {
        let path = self.path(name).ok_or(Unavailable)?;
        match timeout(self.timeouts.write, self.own().delete(&path)).await {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(name, %error, "a delete from the object store failed");
                Err(Unavailable)
            }
            Err(_) => {
                tracing::warn!(name, "a delete from the object store took too long");
                Err(Unavailable)
            }
        }
    }

    async fn get(&self, path: &ObjectPath, most: u64) -> ReadOutcome {
        match self.fetch(path, most).await {
            Fetched::Found(seen) => ReadOutcome::Found(seen.bytes),
            Fetched::Absent => ReadOutcome::Absent,
            Fetched::Unavailable => ReadOutcome::Unavailable,
        }
    }

    async fn fetch(&self, path: &ObjectPath, most: u64) -> Fetched {
        // They ask as often as they like, and must not fill the log.
        let strangers = matches!(self.purpose, Purpose::Shown);
        let why = match timeout(self.timeouts.read, read_whole(&self.own(), path, most)).await {
            Ok(Ok(Some(seen))) => return Fetched::Found(seen),
            Ok(Ok(None)) if !strangers => {
                tracing::error!(%path, "the store holds an object that does not have the length it says, or is too long");
                return Fetched::Unavailable;
            }
            Ok(Ok(None)) => {
                "an object of the store does not have the length it says, or is too long".to_owned()
            }
            Ok(Err(object_store::Error::NotFound { .. })) => return Fetched::Absent,
            Ok(Err(error)) => format!("a read from the object store failed: {error}"),
            Err(_) => "a read from the object store took too long".to_owned(),
        };
        if strangers {
            tracing::debug!(%path, "{why}");
        } else {
            tracing::warn!(%path, "{why}");
        }
        Fetched::Unavailable
    }

    /// `None`: no object can have that name.
    fn path(&self, name: &str) -> Option<ObjectPath> {
        let path = ObjectPath::parse(format!("{}/{name}", self.base)).ok();
        path.filter(|_| !name.is_empty())
    }

    async fn settle_above(&self, path: &ObjectPath) -> bool {
        let mut parts: Vec<_> = path.parts().collect();
        parts.pop();
        self.settle(&parts.into_iter().collect()).await
    }

    /// Makes it durable that what is in `folder` exists.
    async fn settle(&self, folder: &ObjectPath) -> bool {
        let Some(disk) = &self.folder else { return true };
        let settled = disk.settle(folder).await;
        settled.inspect_err(|error| tracing::warn!(%error, "the store's folder is not durable")).is_ok()
    }
}

async fn put_new(objects: &impl ObjectStore, path: &ObjectPath, bytes: Bytes) -> object_store::Result<()> {
    objects.put_opts(path, bytes.into(), PutOptions::from(PutMode::Create)).await.map(drop)
}

/// `None`: what came is longer than so many bytes, or shorter than it should be.
async fn read_whole(
    objects: &impl ObjectStore,
    path: &ObjectPath,
    most: u64,
) -> object_store::Result<Option<Seen>> {
    let object = objects.get(path).await?;
    let size = object.meta.size;
    if size > most {
        return Ok(None);
    }
    let version = UpdateVersion { e_tag: object.meta.e_tag.clone(), version: object.meta.version.clone() };
    let bytes = read_to_end(object).await?;
    Ok((u64::try_from(bytes.len()) == Ok(size)).then_some(Seen { bytes, version }))
}

/// What comes, up to a byte more than the object says that it has.
async fn read_to_end(object: GetResult) -> object_store::Result<Vec<u8>> {
    let (size, mut bytes) = (object.meta.size, Vec::new());
    let mut chunks = match object.payload {
        GetResultPayload::Stream(chunks) => chunks,
        // The length that the file had; an error if it has become shorter.
        GetResultPayload::File(..) => return Ok(object.bytes().await?.into()),
    };
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        if u64::try_from(bytes.len()).is_ok_and(|length| length > size) {
            break;
        }
    }
    Ok(bytes)
}
