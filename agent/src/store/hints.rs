//! Objects that nothing rests on: what agents say about themselves. They are read and listed within bounds, whatever the
//! store holds.

use super::{Store, read_whole};
use futures::StreamExt;
use object_store::ObjectStore;
use strongroom_replica::Unavailable;
use tokio::time::timeout;

/// What became of reading a hint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hint {
    /// Its bytes.
    Found(Vec<u8>),
    /// There is none that is short enough.
    None,
    /// The store did not answer.
    Unavailable,
}

impl Store {
    /// The names of the objects in `folder`, without the path to them: the first so many of those that the store names.
    ///
    /// # Errors
    /// [`Unavailable`]; never a part of the list.
    pub async fn hints(&self, folder: &str, most: usize) -> Result<Vec<String>, Unavailable> {
        let prefix = self.path(folder).ok_or(Unavailable)?;
        let objects = self.own();
        let listed = async {
            let mut names = Vec::new();
            let mut listed = objects.list(Some(&prefix)).take(most);
            while let Some(object) = listed.next().await {
                let location = object?.location;
                let mut parts = location.prefix_match(&prefix).into_iter().flatten();
                if let (Some(name), None) = (parts.next(), parts.next()) {
                    names.push(name.as_ref().to_owned());
                }
            }
            Ok::<_, object_store::Error>(names)
        };
        match timeout(self.timeouts.list, listed).await {
            Ok(Ok(names)) => Ok(names),
            Ok(Err(error)) => {
                tracing::debug!(folder, %error, "a listing of the object store failed");
                Err(Unavailable)
            }
            Err(_) => Err(Unavailable),
        }
    }

    /// Reads the object `name`, if it is no longer than `most` bytes.
    pub async fn hint(&self, name: &str, most: usize) -> Hint {
        let Some(path) = self.path(name) else { return Hint::None };
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        match timeout(self.timeouts.read, read_whole(&self.own(), &path, most)).await {
            Ok(Ok(Some(seen))) => Hint::Found(seen.bytes),
            Ok(Ok(None) | Err(object_store::Error::NotFound { .. })) => Hint::None,
            Ok(Err(error)) => {
                tracing::debug!(name, %error, "a read from the object store failed");
                Hint::Unavailable
            }
            Err(_) => Hint::Unavailable,
        }
    }
}
