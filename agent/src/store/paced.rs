//! Reads that keep to a pace, so that what is read in the background is not noticed by anybody else.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How fast reads and listings may follow each other: each waits until those before it have had their time. Clones keep to it
/// together.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    limit: Option<Limit>,
    /// When the next call may begin.
    next: Option<Instant>,
}

/// The most that may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Calls in a second.
    pub calls_per_s: u32,
    /// Bytes in a second.
    pub bytes_per_s: u64,
}

impl Pace {
    /// Keeps to this from now on. Without it, nothing waits.
    pub fn set(&self, limit: Limit) {
        self.0.lock().limit = Some(limit);
    }

    /// Waits until the next call may begin.
    async fn turn(&self) {
        let begins = {
            let mut kept = self.0.lock();
            let now = Instant::now();
            let begins = kept.next.map_or(now, |next| next.max(now));
            let each = kept.limit.map(|limit| Duration::from_secs(1) / limit.calls_per_s.max(1));
            kept.next = Some(begins + each.unwrap_or_default());
            begins
        };
        sleep_until(begins).await;
    }

    /// So much has been read: those that come later wait for it.
    fn spent(&self, bytes: u64) {
        let mut kept = self.0.lock();
        let Some(limit) = kept.limit else { return };
        let ns = u128::from(bytes) * 1_000_000_000 / u128::from(limit.bytes_per_s.max(1));
        let takes = Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX));
        let now = Instant::now();
        kept.next = kept.next.map_or(now, |next| next.max(now)).checked_add(takes);
    }
}

/// An object store that is read at a pace. Writes do not wait.
#[derive(Clone, Debug)]
pub(super) struct Paced {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) pace: Pace,
}

impl fmt::Display for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Paced {
    fn paced(&self, list: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let pace = self.pace.clone();
        let turn = stream::once(async move { pace.turn().await });
        turn.filter_map(|()| async { None }).chain(list).boxed()
    }
}

#[async_trait]
impl ObjectStore for Paced {
    async fn put_opts(&self, at: &ObjectPath, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(at, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        self.pace.turn().await;
        let head = options.head;
        let found = self.inner.get_opts(at, options).await?;
        if !head {
            self.pace.spent(found.range.end.saturating_sub(found.range.start));
        }
        Ok(found)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.paced(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&ObjectPath>,
        offset: &ObjectPath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.paced(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.pace.turn().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &ObjectPath, to: &ObjectPath, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    #[tokio::test(start_paused = true)]
    async fn calls_and_bytes_take_the_time_that_they_may() {
        let memory = Arc::new(InMemory::new());
        let at = ObjectPath::from("a");
        memory.put(&at, vec![0; 10_000].into()).await.expect("memory");
        let pace = Pace::default();
        let paced = Paced { inner: memory, pace: pace.clone() };
        let began = Instant::now();
        for _ in 0..10 {
            paced.get(&at).await.expect("memory");
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "no limit yet");
        pace.set(Limit { calls_per_s: 2, bytes_per_s: 10_000 });
        for _ in 0..11 {
            paced.get(&at).await.expect("memory");
        }
        // Ten waits, each for a call and for what it has read.
        let took = began.elapsed();
        assert!(took.abs_diff(Duration::from_secs(15)) < Duration::from_millis(50), "{took:?}");
        let began = Instant::now();
        let _ = paced.list(None).collect::<Vec<_>>().await;
        assert!(began.elapsed() > Duration::from_secs(1), "a listing waits as well");
    }
}
