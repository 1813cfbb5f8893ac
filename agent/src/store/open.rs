//! From a URL and options to a store.

use super::StoreOptions;
use super::connector::Connector;
use super::folder::Folder;
use super::options::{self, Options, without_quotes};
use super::{Store, StoreError};
use crate::causes::causes;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
use std::sync::Arc;
use url::Url;

impl Store {
    /// The store at `url`; options have the names that `object_store` gives them. Cloud stores also use their usual
    /// environment variables. Each `memory://` is a new and empty store.
    ///
    /// # Errors
    /// [`StoreError`]. Does not ask the store itself: see [`Self::probe`].
    pub fn open(url: &Url, options: &StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(url, options, Self::open_folder)
    }

    /// The same, for a store that must exist: no folder is created.
    ///
    /// # Errors
    /// [`StoreError`]; for a folder that does not exist, [`StoreError::NoFolder`].
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
        check_form(url)?;
        let (scheme, base) = ObjectStoreScheme::parse(url).map_err(|_| unknown())?;
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let settings = Settings { scheme: url.scheme(), options };
        let objects: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => return folder(url),
            ObjectStoreScheme::Memory => Arc::new(InMemory::new()),
            ObjectStoreScheme::AmazonS3 => settings.build(
                || AmazonS3Builder::from_env().with_url(url.as_str()),
                |builder, connector| {
                    let builder =
                        builder.with_conditional_put(S3ConditionalPut::ETagMatch).with_retry(retry.clone());
                    Ok(Arc::new(builder.with_http_connector(connector).build()?))
                },
            )?,
            ObjectStoreScheme::MicrosoftAzure => settings.build(
                || MicrosoftAzureBuilder::from_env().with_url(url.as_str()),
                |builder, connector| {
                    Ok(Arc::new(builder.with_retry(retry.clone()).with_http_connector(connector).build()?))
                },
            )?,
            ObjectStoreScheme::GoogleCloudStorage => settings.build(
                || GoogleCloudStorageBuilder::from_env().with_url(url.as_str()),
                |builder, connector| {
                    Ok(Arc::new(builder.with_retry(retry.clone()).with_http_connector(connector).build()?))
                },
            )?,
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

const FILE: &str = "file:///var/lib/strongroom/store: three slashes, then a path from the root";

/// Reads the URL of a store.
///
/// # Errors
/// [`StoreError::Url`], [`StoreError::Form`].
pub fn parse_url(text: &str) -> Result<Url, StoreError> {
    let url = Url::parse(text).map_err(|_| StoreError::Url)?;
    // From the parsed URL alone, `file:store` could not be told from `file:///store`.
    if url.scheme() == "file" && !text.get(5..).is_some_and(|path| path.starts_with("///")) {
        return Err(StoreError::Form { scheme: "file".into(), form: FILE });
    }
    check_form(&url)?;
    Ok(url)
}

/// Refuses addresses with a part missing or a part too many, which would be read as a place that was not meant.
fn check_form(url: &Url) -> Result<(), StoreError> {
    let form = |form| Err(StoreError::Form { scheme: url.scheme().into(), form });
    let more = url.query().is_some() || url.fragment().is_some();
    match url.scheme() {
        "file" if url.host_str().is_some() || more => form(FILE),
        "memory" if url.host_str().is_some_and(|host| !host.is_empty()) => {
            form("memory://, and nothing after it")
        }
        "memory" | "file" => Ok(()),
        "s3" | "s3a" | "gs" => {
            let bucket = url.host_str().is_some_and(|host| !host.is_empty());
            let credentials = !url.username().is_empty() || url.password().is_some() || url.port().is_some();
            if !bucket || credentials || more || url.path().contains("//") {
                return form("s3://my-bucket/realm (or gs://…): a bucket, then a path without empty parts");
            }
            Ok(())
        }
        "az" | "adl" | "azure" | "abfs" | "abfss" => {
            let container = url.host_str().is_some_and(|host| !host.is_empty());
            if !container || more || url.path().contains("//") {
                return form("az://my-container/realm: a container, then a path without empty parts");
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

struct Settings<'a> {
    scheme: &'a str,
    options: &'a StoreOptions,
}

impl Settings<'_> {
    /// A store with these options.
    fn build<B: Options>(
        &self,
        start: impl Fn() -> B,
        build: impl Fn(B, Connector) -> object_store::Result<Arc<dyn ObjectStore>>,
    ) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let built = |without: Option<&str>| {
            let options = self.options.0.iter().filter(|(name, _)| Some(name.as_str()) != without);
            let builder = options::apply(self.scheme, start(), options)?;
            build(builder, Connector::new()).map_err(|error| StoreError::Settings {
                option: String::new(),
                why: without_quotes(&causes(&error)),
            })
        };
        built(None).map_err(|error| match error {
            StoreError::Settings { why, .. } => {
                // The option without which the store could be built.
                let culprit = self.options.0.keys().find(|name| built(Some(name)).is_ok());
                let option = culprit.map(|name| format!(", option `{name}`")).unwrap_or_default();
                StoreError::Settings { option, why }
            }
            error => error,
        })
    }
}
