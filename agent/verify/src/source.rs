//! The object store, as far as a reader who trusts nobody needs it: bounded reads and listings, within a time.

use crate::failure::{Failure, Fault, clean};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long one read, or one page of a listing, may take, with all that the library below tries again.
const PATIENCE: Duration = Duration::from_secs(90);

/// Why an object cannot be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ReadError {
    /// It is not there.
    Absent { object: String },
    /// It is longer than anything of its kind.
    TooLong { object: String, most: u64 },
    /// The store does not answer, or not with an object.
    Unavailable(String),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Absent { object } => Self::Failed(Failure::Missing { object }),
            ReadError::TooLong { object, most } => Self::Failed(Failure::TooLong { object, most }),
            ReadError::Unavailable(why) => Self::Unknown(why),
        }
    }
}

/// A store that is read, and never written to. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    objects: Arc<dyn ObjectStore>,
    base: ObjectPath,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}/{})", self.objects, self.base)
    }
}

impl Source {
    /// Objects that the caller has.
    #[must_use]
    pub fn on(objects: Arc<dyn ObjectStore>) -> Self {
        Self::below(objects, ObjectPath::default())
    }

    pub(crate) fn below(objects: Arc<dyn ObjectStore>, base: ObjectPath) -> Self {
        Self { objects, base }
    }

    fn path(&self, name: &str) -> Result<ObjectPath, ReadError> {
        let path = ObjectPath::parse(format!("{}/{name}", self.base));
        path.map_err(|_| ReadError::Unavailable(format!("no store has the name {}", clean(name))))
    }

    /// The whole object, if it has at most `most` bytes.
    pub(crate) async fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, ReadError> {
        let path = self.path(name)?;
        match timeout(PATIENCE, self.read_within(&path, most)).await {
            Ok(Ok(Some(bytes))) => Ok(bytes),
            Ok(Ok(None)) => Err(ReadError::TooLong { object: name.into(), most }),
            Ok(Err(object_store::Error::NotFound { .. })) => Err(ReadError::Absent { object: name.into() }),
            Ok(Err(error)) => Err(unavailable(name, &error)),
            Err(_) => Err(late(name)),
        }
    }

    /// None if it is longer. What the store says about the length is not believed.
    async fn read_within(&self, path: &ObjectPath, most: u64) -> object_store::Result<Option<Vec<u8>>> {
        let found = self.objects.get(path).await?;
        if found.meta.size > most {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.try_next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                return Ok(None);
            }
        }
        Ok(Some(bytes))
    }

    /// The names of all objects below a folder, without the folder, in the order in which the store has them.
    pub(crate) fn list(&self, folder: &str) -> BoxStream<'_, Result<String, ReadError>> {
        let path = match self.path(folder) {
            Ok(path) => path,
            Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
        };
        let (listed, folder) = (self.objects.list(Some(&path)), folder.to_owned());
        let next = move |mut listed: BoxStream<'static, object_store::Result<object_store::ObjectMeta>>| {
            let (path, folder) = (path.clone(), folder.clone());
            async move {
                let object = match timeout(PATIENCE, listed.next()).await {
                    Ok(None) => return None,
                    Ok(Some(Ok(object))) => object,
                    Ok(Some(Err(error))) => return Some((Err(unavailable(&folder, &error)), ended())),
                    Err(_) => return Some((Err(late(&folder)), ended())),
                };
                let parts = object.location.prefix_match(&path);
                let parts: Vec<String> =
                    parts.into_iter().flatten().map(|part| part.as_ref().to_owned()).collect();
                Some((Ok(parts.join("/")), listed))
            }
        };
        futures::stream::unfold(listed, next).boxed()
    }

    /// The names of the folders in a folder.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        let path = self.path(folder)?;
        match timeout(PATIENCE, self.objects.list_with_delimiter(Some(&path))).await {
            Ok(Ok(found)) => {
                let names = found.common_prefixes.iter().filter_map(ObjectPath::filename);
                Ok(names.map(str::to_owned).collect())
            }
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(Vec::new()),
            Ok(Err(error)) => Err(unavailable(folder, &error)),
            Err(_) => Err(late(folder)),
        }
    }
}

/// Nothing comes after an error.
fn ended() -> BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
    futures::stream::empty().boxed()
}

fn late(name: &str) -> ReadError {
    ReadError::Unavailable(format!("the store did not answer for {name} within {} s", PATIENCE.as_secs()))
}

/// With the causes: the library keeps the part that a person can act on further down.
fn unavailable(name: &str, error: &dyn Error) -> ReadError {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    ReadError::Unavailable(format!("the store does not give {name}: {}", clean(&text)))
}
