//! From a URL and options to a store, as agents name it.

use crate::source::Source;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreScheme, parse_url_opts};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// Environment variables that name options begin with one of these.
const ENVIRONMENT: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Why a store cannot be read. No message repeats the value of an option, which may be a credential.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a URL of a store.
    #[error("the store is a URL: file:///path, s3://bucket/path, az://container/path or gs://bucket/path")]
    Url,
    /// The folder of a `file:` URL is not there.
    #[error("there is no folder {}; check the spelling of the store's URL", .0.display())]
    NoFolder(PathBuf),
    /// An option that this kind of store does not have.
    #[error("a store on {scheme}:// has no option {name:?}; check its spelling")]
    Option {
        /// The URL's scheme.
        scheme: String,
        /// The option.
        name: String,
    },
    /// The value of an option cannot be used.
    #[error(
        "the value of the option {0:?} is empty, or has a character that no such value has; copy it again"
    )]
    Value(String),
    /// The URL and the options do not make a store.
    #[error(
        "the URL and the options do not make a store; check them, and the environment (AWS_, AZURE_, GOOGLE_)"
    )]
    Settings,
}

/// Reads the URL of a store.
///
/// # Errors
/// [`OpenError::Url`].
pub fn check_url(text: &str) -> Result<Url, OpenError> {
    let url = Url::parse(text).map_err(|_| OpenError::Url)?;
    // From the parsed URL alone, `file:store` could not be told from `file:///store`.
    let is_file = url.scheme() == "file";
    if is_file && !text.get(5..).is_some_and(|path| path.starts_with("///")) {
        return Err(OpenError::Url);
    }
    match ObjectStoreScheme::parse(&url) {
        Ok((ObjectStoreScheme::Local, _)) => Ok(url),
        Ok((
            ObjectStoreScheme::AmazonS3
            | ObjectStoreScheme::MicrosoftAzure
            | ObjectStoreScheme::GoogleCloudStorage,
            _,
        )) if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(url),
        _ => Err(OpenError::Url),
    }
}

impl Source {
    /// The store at `url`; options have the names that `object_store` gives them. Cloud stores also use their usual environment
    /// variables. Asks the store nothing yet.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(url: &Url, options: &BTreeMap<String, String>) -> Result<Self, OpenError> {
        let (scheme, _) = ObjectStoreScheme::parse(url).map_err(|_| OpenError::Url)?;
        for (name, value) in options {
            let known = match scheme {
                ObjectStoreScheme::AmazonS3 => is_known::<AmazonS3ConfigKey>(name),
                ObjectStoreScheme::MicrosoftAzure => is_known::<AzureConfigKey>(name),
                ObjectStoreScheme::GoogleCloudStorage => is_known::<GoogleConfigKey>(name),
                _ => false,
            };
            if !known {
                return Err(OpenError::Option { scheme: url.scheme().into(), name: name.clone() });
            }
            if !is_usable(value) {
                return Err(OpenError::Value(name.clone()));
            }
        }
        if matches!(scheme, ObjectStoreScheme::Local) {
            let path = url.to_file_path().map_err(|()| OpenError::Url)?;
            let objects = LocalFileSystem::new_with_prefix(&path).map_err(|_| OpenError::NoFolder(path))?;
            return Ok(Self::below(Arc::new(objects), ObjectPath::default()));
        }
        // Fails if the process has one, which will do as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            let ours = ENVIRONMENT.iter().any(|prefix| name.starts_with(prefix)) && is_usable(&value);
            ours.then_some((name, value))
        });
        let given = options.iter().map(|(name, value)| (name.clone(), value.clone()));
        let opened = parse_url_opts(url, environment.chain(given));
        let (objects, base) = opened.map_err(|_| OpenError::Settings)?;
        Ok(Self::below(Arc::from(objects), base))
    }
}

fn is_known<K: std::str::FromStr>(name: &str) -> bool {
    name.to_ascii_lowercase().parse::<K>().is_ok()
}

/// Some other values make the library below panic. Certificates and keys of accounts have line breaks.
fn is_usable(value: &str) -> bool {
    let is_block = value.starts_with("-----BEGIN") || value.starts_with('{');
    !value.is_empty() && (is_block || value.chars().all(|c| c.is_ascii() && !c.is_control()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, options: &[(&str, &str)]) -> Result<Source, OpenError> {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Source::open(&check_url(url)?, &options)
    }

    #[test]
    fn what_is_no_url_of_a_store_is_refused() {
        for text in
            ["", "store", "file:store", "memory://", "http://example.com/a", "s3:///realm", "ftp://a/b"]
        {
            assert_eq!(open(text, &[]).unwrap_err(), OpenError::Url, "{text}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_and_not_created() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let url = Url::from_file_path(&missing).unwrap();
        assert_eq!(open(url.as_str(), &[]).unwrap_err(), OpenError::NoFolder(missing.clone()));
        assert!(!missing.exists());
        assert!(open(Url::from_file_path(folder.path()).unwrap().as_str(), &[]).is_ok());
    }

    #[test]
    fn options_are_known_by_name_and_their_values_are_not_shown() {
        let settled =
            [("aws_region", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "id"), ("secret_access_key", "s3cret")];
        assert!(open("s3://bucket/realm", &settled).is_ok());
        let misspelt = open("s3://bucket/realm", &[("aws_regoin", "s3cret")]).unwrap_err();
        assert!(misspelt.to_string().contains("aws_regoin") && !misspelt.to_string().contains("s3cret"));
        for bad in ["", "s3cret\n", "s\u{e9}cret"] {
            let error = open("gs://bucket", &[("bearer_token", bad)]).unwrap_err();
            assert_eq!(error, OpenError::Value("bearer_token".into()));
        }
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_file_path(folder.path()).unwrap();
        assert!(matches!(open(url.as_str(), &[("region", "x")]), Err(OpenError::Option { .. })));
    }
}
