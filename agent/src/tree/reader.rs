//! A whole stored tree, for checking or rebuilding it.

use super::database::{self, failure};
use super::load::page_of;
use super::moment::Moment;
use super::{TreeMetrics, TreePlace, key};
use futures::stream::{self, Stream};
use object_store::ObjectStore;
use slatedb::config::ScanOptions;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Page;
use strongroom_replica::leftover::Leftover;
use strongroom_replica::stored::{SealedBytes, Snapshot, TreeDamage, TreeFailure};

/// How much is read ahead, in bytes.
const READ_AHEAD: usize = 1 << 20;

/// A stored tree that is open for reading, as it was when it was opened.
///
/// Nothing that it returns is proven. A leader that goes on deletes what it reads after a minute, unless it is held. An
/// item that is a failure other than [`TreeDamage::Page`] ends the stream.
pub struct TreeReader {
    moment: Moment,
    snapshot: Option<Snapshot>,
    metrics: TreeMetrics,
}

impl TreeReader {
    pub(super) async fn open(
        objects: Arc<dyn ObjectStore>,
        place: &TreePlace,
        metrics: TreeMetrics,
        call_timeout: Duration,
        held: bool,
    ) -> Result<Option<Self>, TreeFailure> {
        let Some(moment) = Moment::open(objects, place, call_timeout, held).await? else { return Ok(None) };
        // Pages and leaves may be read even where this is damaged.
        let snapshot = match database::snapshot(&moment.db).await {
            Err(TreeFailure::Damaged(TreeDamage::Snapshot)) => None,
            read => read?,
        };
        Ok(Some(Self { moment, snapshot, metrics }))
    }

    /// Ends the hold on what it reads. Returns whether there was one until now: then nothing that was missing had been
    /// deleted meanwhile.
    pub async fn release(self) -> bool {
        self.moment.release().await
    }

    /// What the tree reached when it was opened, unless that is missing or damaged.
    #[must_use]
    pub const fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// What has left, and was still here then.
    ///
    /// # Errors
    /// [`TreeFailure`].
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, TreeFailure> {
        database::leftovers(&self.moment.db).await
    }

    /// The page of a prefix.
    ///
    /// # Errors
    /// [`TreeFailure`].
    pub async fn page(&self, prefix: Prefix) -> Result<Page, TreeFailure> {
        Ok(page_of(&self.moment.db, &self.metrics, prefix).await?.0)
    }

    /// The sealed bytes of a record.
    ///
    /// # Errors
    /// [`TreeFailure`].
    pub async fn leaf(&self, id: &RecordId) -> Result<Option<Arc<[u8]>>, TreeFailure> {
        let sealed = self.moment.db.get(key::leaf(id)).await.map_err(failure)?;
        Ok(sealed.map(|sealed| sealed[..].into()))
    }

    /// All sealed bytes, in the order of record ids.
    pub fn leaves(&self) -> impl Stream<Item = Result<SealedBytes, TreeFailure>> + Send + use<'_> {
        self.scan(key::leaves(), |key, value| {
            let id = key::leaf_record(key).ok_or_else(|| foreign_key(key))?;
            Ok((id, value.into()))
        })
    }

    /// All pages, those nearer to the root first, then in the order of prefixes.
    pub fn pages(&self) -> impl Stream<Item = Result<Page, TreeFailure>> + Send + use<'_> {
        self.scan(key::pages(), |key, value| {
            let prefix = key::page_prefix(key).ok_or_else(|| foreign_key(key))?;
            Page::decode(prefix, value).map_err(|error| TreeDamage::Page(prefix, error))
        })
    }

    /// The sealed bytes of the records below a prefix, in the order of record ids.
    pub fn leaves_below(
        &self,
        prefix: Prefix,
    ) -> impl Stream<Item = Result<SealedBytes, TreeFailure>> + Send + use<'_> {
        self.scan(key::leaves_below(&prefix), |key, value| {
            let id = key::leaf_record(key).ok_or_else(|| foreign_key(key))?;
            Ok((id, value.into()))
        })
    }

    /// The pages below a prefix that have prefixes of `len` bits, in their order.
    pub fn pages_below(
        &self,
        prefix: Prefix,
        len: u16,
    ) -> impl Stream<Item = Result<Page, TreeFailure>> + Send + use<'_> {
        let keys = key::pages_below(&prefix, len).unwrap_or_default();
        self.scan(keys, |key, value| {
            let prefix = key::page_prefix(key).ok_or_else(|| foreign_key(key))?;
            Page::decode(prefix, value).map_err(|error| TreeDamage::Page(prefix, error))
        })
    }

    fn scan<T: Send, K: AsRef<[u8]> + Send>(
        &self,
        keys: Range<K>,
        read: impl Fn(&[u8], &[u8]) -> Result<T, TreeDamage> + Send,
    ) -> impl Stream<Item = Result<T, TreeFailure>> + Send {
        let options = ScanOptions { read_ahead_bytes: READ_AHEAD, ..ScanOptions::default() };
        let begin = async move { self.moment.db.scan_with_options(keys, &options).await.map_err(failure) };
        let state = (None, Some(begin), read);
        stream::unfold(state, |(mut scan, mut begin, read)| async move {
            if let Some(begin) = begin.take() {
                match begin.await {
                    Ok(begun) => scan = Some(begun),
                    Err(failure) => return Some((Err(failure), (None, None, read))),
                }
            }
            match scan.as_mut()?.next().await.map_err(failure) {
                Ok(found) => {
                    let item = read(&found.as_ref()?.key, &found.as_ref()?.value);
                    Some((item.map_err(TreeFailure::from), (scan, None, read)))
                }
                Err(failure) => Some((Err(failure), (None, None, read))),
            }
        })
    }
}

pub(super) fn foreign_key(key: &[u8]) -> TreeDamage {
    TreeDamage::Object(format!("the key {} belongs to no page and no leaf", hex::encode(key)))
}
