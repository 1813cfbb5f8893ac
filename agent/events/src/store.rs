//! Streams in an object store, read where the agents put them.
//!
//! Only reads: a key that may read and list below `realms/<realm>/events/<tenant>/` is enough.

use crate::page::{MAX_PAGE_BYTES, folder, name, number, stream};
use crate::reader::{Source, Unavailable, causes};
use futures::StreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt, ObjectStoreScheme, RetryConfig};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::events::MAX_NAME_BYTES;
use strongroom_proto::ids::{GroupId, RealmId};
use url::Url;

/// How often a read is tried again by itself, and for how long.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(30);

/// A store that has listed this many pages in order lists all in order: the oldest was among them. A folder never does.
const IN_ORDER: u32 = 1000;
/// The longest note of which page is the newest, in bytes.
const MAX_NOTE: usize = 64;

/// Why a store cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a URL of a store.
    #[error(
        "cannot read {0}:// as a store; give the `store` of the agents: a file:///, s3://, az:// or gs:// URL"
    )]
    Scheme(String),
    /// The folder is not there.
    #[error("there is no folder {0}; check the spelling of the store's URL, and that its disk is mounted")]
    NoFolder(String),
    /// An option that this kind of store does not have.
    #[error("a store on {scheme}:// has no option {name:?}; check its spelling")]
    Option {
        /// The URL's scheme.
        scheme: String,
        /// The option.
        name: String,
    },
    /// The value of an option cannot be used. It is not shown: it may be a credential.
    #[error(
        "the option {0:?} is empty, or has a space at an end, a line break or a character in it that is not ASCII; copy it again"
    )]
    Value(String),
    /// The URL and options do not make a store.
    #[error("cannot use the store: {0}; check its URL and options")]
    Settings(String),
    /// No tenant has that name.
    #[error("a tenant's name is not empty, and at most {MAX_NAME_BYTES} bytes long")]
    Tenant,
}

/// The streams of one tenant in an object store.
#[derive(Clone)]
pub struct StoreSource {
    objects: Arc<dyn ObjectStore>,
    base: ObjectPath,
    realm: RealmId,
    tenant: String,
}

impl fmt::Debug for StoreSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreSource({}/{}, {}, {:?})", self.objects, self.base, self.realm, self.tenant)
    }
}

impl StoreSource {
    /// The streams of a tenant in the store at `url`. URL and options are those of the agents' `store` and `store_options`; cloud stores
    /// also use their usual environment variables.
    ///
    /// # Errors
    /// [`OpenError`]. Does not ask the store itself.
    pub fn open(
        url: &Url,
        options: &BTreeMap<String, String>,
        realm: RealmId,
        tenant: &str,
    ) -> Result<Self, OpenError> {
        let (objects, base) = objects(url, options)?;
        Self::on(objects, base, realm, tenant)
    }

    /// The same on objects that the caller has, below `base`.
    ///
    /// # Errors
    /// [`OpenError::Tenant`].
    pub fn on(
        objects: Arc<dyn ObjectStore>,
        base: ObjectPath,
        realm: RealmId,
        tenant: &str,
    ) -> Result<Self, OpenError> {
        if tenant.is_empty() || tenant.len() > MAX_NAME_BYTES {
            return Err(OpenError::Tenant);
        }
        Ok(Self { objects, base, realm, tenant: tenant.to_owned() })
    }

    fn path(&self, name: &str) -> Result<ObjectPath, Unavailable> {
        ObjectPath::parse(format!("{}/{name}", self.base)).map_err(|error| Unavailable(error.to_string()))
    }

    /// An object, or as much more of it than `most` as shows that it is longer. `None`: there is none.
    async fn read(&self, path: &ObjectPath, most: usize) -> Result<Option<Vec<u8>>, Unavailable> {
        let object = match self.objects.get(path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            object => object.map_err(unavailable)?,
        };
        if object.meta.size > most as u64 {
            // Too long whatever it says.
            return Ok(Some(vec![0; most + 1]));
        }
        if let GetResultPayload::File(..) = object.payload {
            return Ok(Some(object.bytes().await.map_err(unavailable)?.into()));
        }
        let (mut bytes, mut chunks) = (Vec::new(), object.into_stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(unavailable)?;
            bytes.extend_from_slice(chunk.get(..most + 1 - bytes.len()).unwrap_or(&chunk));
            if bytes.len() > most {
                break;
            }
        }
        Ok(Some(bytes))
    }

    /// Lists the pages from `from` on, in any order, as long as more are wanted.
    async fn list(
        &self,
        group: GroupId,
        from: u64,
        mut more: impl FnMut(u64) -> bool,
    ) -> Result<(), Unavailable> {
        let folder = self.path(&stream(&self.realm, &self.tenant, &group))?;
        let mut listed = match from.checked_sub(1) {
            Some(before) => {
                let before = self.path(&name(&self.realm, &self.tenant, &group, before))?;
                self.objects.list_with_offset(Some(&folder), &before)
            }
            None => self.objects.list(Some(&folder)),
        };
        while let Some(object) = listed.next().await {
            let object = object.map_err(unavailable)?.location;
            let mut parts = object.prefix_match(&folder).into_iter().flatten();
            let (Some(last), None) = (parts.next(), parts.next()) else { continue };
            let Some(page) = number(last.as_ref()).filter(|page| *page >= from) else { continue };
            if !more(page) {
                break;
            }
        }
        Ok(())
    }

    /// The number of a page that the agents noted, not long ago, as the newest.
    async fn noted(&self, group: GroupId) -> Result<Option<u64>, Unavailable> {
        let note = self.path(&format!("{}/newest", stream(&self.realm, &self.tenant, &group)))?;
        let text = self.read(&note, MAX_NOTE).await?;
        Ok(text.and_then(|text| number(std::str::from_utf8(&text).ok()?)))
    }
}

impl Source for StoreSource {
    async fn groups(&self) -> Result<Vec<GroupId>, Unavailable> {
        let folder = self.path(&folder(&self.realm, &self.tenant))?;
        let found = self.objects.list_with_delimiter(Some(&folder)).await.map_err(unavailable)?;
        let names = found.common_prefixes.iter().filter_map(ObjectPath::filename);
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    async fn page(&self, group: GroupId, page: u64) -> Result<Option<Vec<u8>>, Unavailable> {
        let path = self.path(&name(&self.realm, &self.tenant, &group, page))?;
        self.read(&path, MAX_PAGE_BYTES).await
    }

    async fn oldest(&self, group: GroupId, from: u64) -> Result<Option<u64>, Unavailable> {
        let (mut oldest, mut last, mut ascending) = (None, 0, 0);
        self.list(group, from, |page| {
            oldest = Some(oldest.map_or(page, |oldest: u64| oldest.min(page)));
            ascending = if page >= last { ascending + 1 } else { 0 };
            last = page;
            ascending < IN_ORDER
        })
        .await?;
        Ok(oldest)
    }

    async fn newest(&self, group: GroupId) -> Result<Option<u64>, Unavailable> {
        // What the agents note saves a listing, if it is right: pages before it need not be looked at.
        for from in [self.noted(group).await?, Some(0)].into_iter().flatten() {
            let mut newest = None;
            self.list(group, from, |page| {
                newest = newest.max(Some(page));
                true
            })
            .await?;
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }
}

/// What went wrong, with all causes.
fn unavailable(error: object_store::Error) -> Unavailable {
    Unavailable(format!(
        "the store does not answer: {}; check its address and options, and try again",
        causes(&error)
    ))
}

fn objects(
    url: &Url,
    options: &BTreeMap<String, String>,
) -> Result<(Arc<dyn ObjectStore>, ObjectPath), OpenError> {
    let scheme = || OpenError::Scheme(url.scheme().into());
    for (name, value) in options {
        let usable = value.trim() == value && value.chars().all(|c| c.is_ascii() && !c.is_ascii_control());
        if value.is_empty() || !usable {
            return Err(OpenError::Value(name.clone()));
        }
    }
    let (kind, base) = ObjectStoreScheme::parse(url).map_err(|_| scheme())?;
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
    let objects: Arc<dyn ObjectStore> = match kind {
        ObjectStoreScheme::Local => {
            if let Some(name) = options.keys().next() {
                return Err(OpenError::Option { scheme: url.scheme().into(), name: name.clone() });
            }
            let path = url.to_file_path().map_err(|()| scheme())?;
            let folder = LocalFileSystem::new_with_prefix(&path);
            let folder = folder.map_err(|_| OpenError::NoFolder(path.display().to_string()))?;
            return Ok((Arc::new(folder), ObjectPath::default()));
        }
        ObjectStoreScheme::Memory => Arc::new(InMemory::new()),
        ObjectStoreScheme::AmazonS3 => {
            let mut builder = AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retry);
            for (key, value) in keys::<AmazonS3ConfigKey>(url, options)? {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.build().map_err(settings)?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str()).with_retry(retry);
            for (key, value) in keys::<AzureConfigKey>(url, options)? {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.build().map_err(settings)?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).with_retry(retry);
            for (key, value) in keys::<GoogleConfigKey>(url, options)? {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.build().map_err(settings)?)
        }
        _ => return Err(scheme()),
    };
    Ok((objects, base))
}

fn keys<K: std::str::FromStr>(
    url: &Url,
    options: &BTreeMap<String, String>,
) -> Result<Vec<(K, String)>, OpenError> {
    let unknown = |name: &String| OpenError::Option { scheme: url.scheme().into(), name: name.clone() };
    let key = |(name, value): (&String, &String)| {
        let key = name.to_ascii_lowercase().parse().map_err(|_| unknown(name))?;
        Ok((key, value.clone()))
    };
    options.iter().map(key).collect()
}

fn settings(error: object_store::Error) -> OpenError {
    // Without what it quotes: that may be a value.
    let said = causes(&error);
    OpenError::Settings(said.split(['"', '`']).step_by(2).collect::<Vec<_>>().join("…"))
}
