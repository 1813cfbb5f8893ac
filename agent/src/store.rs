//! The object store under the logs, seen through the few operations whose guarantees the protocol needs.
//!
//! Owns how a name is created once and only once, and when what was written or found is durable. The store is trusted
//! for availability alone: HSMs check every byte that comes out of it. What rests on [`Store::create`] is that of two
//! agents that extend the log at the same place one learns that it lost, and that no agent is told "created" of
//! something that a crash can take back.
//!
//! Nothing is overwritten and nothing is deleted here. The libraries below neither retry nor interpret: a re-sent
//! create would meet its own object and report that another one won.

use crate::config::StoreOptions;
use crate::replica::{CreateOutcome, ReadOutcome, Unavailable};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutOptions, RetryConfig};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use url::Url;

/// The longest object that is read, in bytes.
pub const MAX_OBJECT_BYTES: u64 = 64 << 20;

const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(5);
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often one [`Store::create`] puts the same bytes before it gives up knowing.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL's scheme is none of those known.
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
    /// The URL and options do not make a store.
    #[error("cannot use the store: {0}; check `store` and `store_options`")]
    Settings(#[from] object_store::Error),
    /// The store lets a second create of a name succeed, so it cannot hold a log.
    #[error(
        "the store does not refuse to create an object that exists, so two agents could both believe that they \
         extended the log; use a store with conditional writes"
    )]
    OverwritesOnCreate,
}

/// An object store. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    base: ObjectPath,
    folder: Option<Arc<Folder>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}/{})", self.objects, self.base)
    }
}

impl Store {
    /// The store at `url`; options go by the names that `object_store` gives them. Cloud stores also take what their
    /// usual environment variables say. Each `memory://` is a new and empty store.
    ///
    /// # Errors
    /// [`StoreError`]. Does not ask the store itself: see [`Self::probe`].
    pub fn open(url: &Url, options: &StoreOptions) -> Result<Self, StoreError> {
        let unknown = || StoreError::Scheme { scheme: url.scheme().into() };
        let (scheme, base) = ObjectStoreScheme::parse(url).map_err(|_| unknown())?;
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let settings = Settings { scheme: url.scheme(), options };
        let objects: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => return Self::open_folder(url),
            ObjectStoreScheme::Memory => Arc::new(InMemory::new()),
            ObjectStoreScheme::AmazonS3 => {
                let start = AmazonS3Builder::from_env().with_url(url.as_str());
                let builder =
                    settings.apply(start, |b, key: AmazonS3ConfigKey, value| b.with_config(key, value))?;
                Arc::new(builder.with_conditional_put(S3ConditionalPut::ETagMatch).with_retry(retry).build()?)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let start = MicrosoftAzureBuilder::from_env().with_url(url.as_str());
                let builder =
                    settings.apply(start, |b, key: AzureConfigKey, value| b.with_config(key, value))?;
                Arc::new(builder.with_retry(retry).build()?)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let start = GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
                let builder =
                    settings.apply(start, |b, key: GoogleConfigKey, value| b.with_config(key, value))?;
                Arc::new(builder.with_retry(retry).build()?)
            }
            _ => return Err(unknown()),
        };
        Ok(Self { objects, base, folder: None })
    }

    /// A store on objects that the caller keeps: one `InMemory` shared by several agents, or a store that fails on
    /// purpose. Below them nothing may retry a create.
    #[must_use]
    pub fn on(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, base: ObjectPath::default(), folder: None }
    }

    fn open_folder(url: &Url) -> Result<Self, StoreError> {
        let path = url.to_file_path().map_err(|()| StoreError::Scheme { scheme: url.scheme().into() })?;
        let unusable = |source| StoreError::Folder { path: path.clone(), source };
        std::fs::create_dir_all(&path).map_err(unusable)?;
        let root = path.canonicalize().map_err(unusable)?;
        let objects = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true);
        let folder = Some(Arc::new(Folder { root, synced: Mutex::default() }));
        Ok(Self { objects: Arc::new(objects), base: ObjectPath::default(), folder })
    }

    /// Asks the store whether it refuses to create a name twice, the one thing that the log cannot do without. Uses,
    /// and removes, an object `probe/<salt>`; the salt is the caller's, random, and may be used again after `Ok(false)`.
    ///
    /// # Errors
    /// [`StoreError::OverwritesOnCreate`]. That the store cannot be reached now is no error: `Ok(false)`.
    pub async fn probe(&self, salt: [u8; 16]) -> Result<bool, StoreError> {
        let Ok(path) = self.path(&format!("probe/{}", hex::encode(salt))) else { return Ok(false) };
        let ask = async {
            match self.put(&path, Bytes::from_static(b"first")).await {
                // Left by an attempt that was cut short.
                Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
            let refused = match self.put(&path, Bytes::from_static(b"second")).await {
                Ok(_) => false,
                Err(object_store::Error::AlreadyExists { .. }) => true,
                // Any other failure proves nothing.
                Err(error) => return Err(error),
            };
            let held = self.objects.get(&path).await?.bytes().await?;
            if let Err(error) = self.objects.delete(&path).await {
                // The log needs no right to delete, so neither does this.
                tracing::info!(%error, object = %path, "the probe object stays in the store");
            }
            Ok::<_, object_store::Error>(refused && held == b"first".as_slice())
        };
        match timeout(READ_TIMEOUT, ask).await {
            Ok(Ok(true)) => Ok(true),
            Ok(Ok(false)) => Err(StoreError::OverwritesOnCreate),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the object store does not answer");
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    /// Creates `name` with `bytes` unless it exists.
    ///
    /// "Exists" and every failure are settled by reading the name, since either may stem from our own bytes. Of any
    /// number of callers with different bytes, at most one is ever told [`CreateOutcome::Created`]; a caller that
    /// repeats its own bytes gets `Created` again.
    pub async fn create(&self, name: &str, bytes: Bytes) -> CreateOutcome {
        let Ok(path) = self.path(name) else { return CreateOutcome::Unknown };
        let mut pause = FIRST_PAUSE;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(pause).await;
                pause *= 4;
            }
            match timeout(WRITE_TIMEOUT, self.put(&path, bytes.clone())).await {
                // Durable: the object by the store, the folders above it by us.
                Ok(Ok(())) if self.sync_new(&path).await => return CreateOutcome::Created,
                Ok(Ok(()) | Err(object_store::Error::AlreadyExists { .. })) => {}
                Ok(Err(error)) => tracing::warn!(name, %error, "a write to the object store failed"),
                Err(_) => tracing::warn!(name, "a write to the object store took too long"),
            }
            match self.get(&path).await {
                // Durable: whoever put our bytes there may have died before it synced the folder.
                ReadOutcome::Found(found) if found == bytes && self.sync(&path).await => {
                    return CreateOutcome::Created;
                }
                ReadOutcome::Found(found) if found != bytes => return CreateOutcome::Lost,
                ReadOutcome::Found(_) | ReadOutcome::Absent | ReadOutcome::Unavailable => {}
            }
        }
        CreateOutcome::Unknown
    }

    /// Reads the object `name`.
    pub async fn read(&self, name: &str) -> ReadOutcome {
        match self.path(name) {
            Ok(path) => self.get(&path).await,
            Err(_) => ReadOutcome::Absent,
        }
    }

    /// The names of all objects in `folder` that sort after `after`, ascending. Both are whole names; `after` need not
    /// exist. Complete: every object whose create was reported before the call is among them. Durable: nothing that is
    /// listed vanishes in a crash.
    ///
    /// # Errors
    /// [`Unavailable`]; never a part of the list.
    pub async fn list(&self, folder: &str, after: &str) -> Result<Vec<String>, Unavailable> {
        let (Ok(prefix), Ok(offset)) = (self.path(folder), self.path(after)) else {
            return Err(Unavailable);
        };
        let all = self.objects.list_with_offset(Some(&prefix), &offset).try_collect::<Vec<_>>();
        let found = match timeout(LIST_TIMEOUT, all).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(folder, %error, "a listing of the object store failed");
                return Err(Unavailable);
            }
            Err(_) => {
                tracing::warn!(folder, "a listing of the object store took too long");
                return Err(Unavailable);
            }
        };
        if let Some(object) = found.first()
            && !self.sync(&object.location).await
        {
            return Err(Unavailable);
        }
        let own = |location: &ObjectPath| {
            let mut parts = location.prefix_match(&prefix)?;
            let file = parts.next()?;
            parts.next().is_none().then(|| format!("{folder}/{}", file.as_ref()))
        };
        let mut names: Vec<String> = found.iter().filter_map(|object| own(&object.location)).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn put(&self, path: &ObjectPath, bytes: Bytes) -> object_store::Result<()> {
        let options = PutOptions::from(PutMode::Create);
        self.objects.put_opts(path, bytes.into(), options).await.map(drop)
    }

    async fn get(&self, path: &ObjectPath) -> ReadOutcome {
        let read = async {
            let object = self.objects.get(path).await?;
            if object.meta.size > MAX_OBJECT_BYTES {
                tracing::error!(%path, bytes = object.meta.size, "an object is longer than any that an agent writes");
                return Ok(ReadOutcome::Unavailable);
            }
            object.bytes().await.map(|bytes| ReadOutcome::Found(bytes.into()))
        };
        match timeout(READ_TIMEOUT, read).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(object_store::Error::NotFound { .. })) => ReadOutcome::Absent,
            Ok(Err(error)) => {
                tracing::warn!(%path, %error, "a read from the object store failed");
                ReadOutcome::Unavailable
            }
            Err(_) => {
                tracing::warn!(%path, "a read from the object store took too long");
                ReadOutcome::Unavailable
            }
        }
    }

    fn path(&self, name: &str) -> Result<ObjectPath, object_store::path::Error> {
        ObjectPath::parse(format!("{}/{name}", self.base))
    }

    /// Makes durable that `path` is in its folder, and the folder in those above it.
    async fn sync(&self, path: &ObjectPath) -> bool {
        let Some(folder) = self.folder.clone() else { return true };
        let path = path.clone();
        let done = tokio::task::spawn_blocking(move || folder.sync_above(&path)).await;
        match done {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot sync the folders of the store");
                false
            }
            Err(_) => false,
        }
    }

    /// The same after a create, which has synced the object's own folder: those above it need it once.
    async fn sync_new(&self, path: &ObjectPath) -> bool {
        self.folder.as_ref().is_none_or(|folder| folder.is_synced(path)) || self.sync(path).await
    }
}

/// The folder of a `file://` store. Another agent may have made a folder in it and not yet synced that.
struct Folder {
    root: PathBuf,
    /// Folders whose way down from the root is durable.
    synced: Mutex<BTreeSet<PathBuf>>,
}

impl Folder {
    fn of(&self, object: &ObjectPath) -> PathBuf {
        let file = object.parts().fold(self.root.clone(), |path, part| path.join(part.as_ref()));
        file.parent().map_or_else(|| self.root.clone(), Path::to_path_buf)
    }

    fn is_synced(&self, object: &ObjectPath) -> bool {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.of(object))
    }

    fn sync_above(&self, object: &ObjectPath) -> std::io::Result<()> {
        let folder = self.of(object);
        let inside = folder.ancestors().take_while(|path| path.starts_with(&self.root));
        for path in inside {
            std::fs::File::open(path)?.sync_all()?;
        }
        self.synced.lock().unwrap_or_else(PoisonError::into_inner).insert(folder);
        Ok(())
    }
}

struct Settings<'a> {
    scheme: &'a str,
    options: &'a StoreOptions,
}

impl Settings<'_> {
    fn apply<B, K: FromStr>(&self, start: B, with: impl Fn(B, K, &String) -> B) -> Result<B, StoreError> {
        self.options.0.iter().try_fold(start, |builder, (name, value)| {
            let key = name.to_ascii_lowercase().parse::<K>();
            let unknown = |_| StoreError::Option { scheme: self.scheme.into(), name: name.clone() };
            Ok(with(builder, key.map_err(unknown)?, value))
        })
    }
}
