//! From a URL and options to a store.

use super::folder::Folder;
use super::{Store, StoreError};
use crate::config::StoreOptions;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
use std::str::FromStr;
use std::sync::Arc;
use url::Url;

impl Store {
    /// The store at `url`; options go by the names that `object_store` gives them. Cloud stores also take what their
    /// usual environment variables say. Each `memory://` is a new and empty store.
    ///
    /// # Errors
    /// [`StoreError`]. Does not ask the store itself: see [`Self::probe`].
    pub fn open(url: &Url, options: &StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(url, options, Self::open_folder)
    }

    /// The same for whoever looks at a store that must be there: no folder is made.
    ///
    /// # Errors
    /// [`StoreError`]; of a folder that is not there, [`StoreError::NoFolder`].
    pub fn open_existing(url: &Url, options: &StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(url, options, |url| match url.to_file_path() {
            Ok(path) if !path.is_dir() => Err(StoreError::NoFolder { path }),
            _ => Self::open_folder(url),
        })
    }

    fn open_with(
        url: &Url,
        options: &StoreOptions,
        folder: impl FnOnce(&Url) -> Result<Self, StoreError>,
    ) -> Result<Self, StoreError> {
        let unknown = || StoreError::Scheme { scheme: url.scheme().into() };
        let (scheme, base) = ObjectStoreScheme::parse(url).map_err(|_| unknown())?;
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let settings = Settings { scheme: url.scheme(), options };
        let objects: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => return folder(url),
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
        Ok(Self::new(objects, base, None))
    }

    fn open_folder(url: &Url) -> Result<Self, StoreError> {
        let path = url.to_file_path().map_err(|()| StoreError::Scheme { scheme: url.scheme().into() })?;
        let folder = Folder::open(&path).map_err(|source| StoreError::Folder { path, source })?;
        Ok(Self::new(Arc::new(folder.clone()), ObjectPath::default(), Some(folder)))
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
