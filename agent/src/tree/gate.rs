//! The way from one open database to the object store, which can be shut permanently.
//!
//! A database works in the background, and does not stop because nothing holds it any more: what an abandoned opening
//! has begun, or what another agent has fenced, could go on to write. Behind a shut gate it cannot. Nor can one call
//! that the store never answers hold everything up.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use slatedb_common::retry::NonRetryable;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// An object store, until it is shut. Clones share one gate.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    objects: Arc<dyn ObjectStore>,
    shut: Arc<AtomicBool>,
    call_timeout: Duration,
}

/// Shuts its gate when it is dropped.
#[derive(Debug)]
pub(super) struct ShutOnDrop(pub(super) Gate);

impl Drop for ShutOnDrop {
    fn drop(&mut self) {
        self.0.shut();
    }
}

impl Gate {
    /// One call may take this long, plus a second for each MiB that it sends.
    pub(super) fn new(objects: Arc<dyn ObjectStore>, call_timeout: Duration) -> Self {
        Self { objects, shut: Arc::new(AtomicBool::new(false)), call_timeout }
    }

    /// From now on, lets nothing through.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    /// One call with a time limit, after which the database tries again.
    async fn bounded<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.bounded_sending(0, call).await
    }

    async fn bounded_sending<T>(
        &self,
        bytes: usize,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let late =
            |_| Error::Generic { store: "tree", source: "the object store did not answer in time".into() };
        let sending = Duration::from_secs(u64::try_from(bytes >> 20).unwrap_or(u64::MAX));
        timeout(self.call_timeout.saturating_add(sending), call).await.map_err(late)?
    }

    fn open(&self) -> Result<&Arc<dyn ObjectStore>> {
        if self.shut.load(Ordering::Acquire) {
            let source = Box::new(NonRetryable("this database is closed".into()));
            return Err(Error::Generic { store: "tree", source });
        }
        Ok(&self.objects)
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.objects)
    }
}

#[async_trait]
impl ObjectStore for Gate {
    async fn put_opts(&self, at: &ObjectPath, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.bounded_sending(bytes.content_length(), self.open()?.put_opts(at, bytes, options)).await
    }

    async fn put_multipart_opts(
        &self,
        at: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.bounded(self.open()?.put_multipart_opts(at, options)).await
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        self.bounded(self.open()?.get_opts(at, options)).await
    }

    async fn get_ranges(&self, at: &ObjectPath, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.bounded(self.open()?.get_ranges(at, ranges)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        let gate = self.clone();
        let locations = locations.map(move |at| gate.open().and(at)).boxed();
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.open() {
            Ok(objects) => objects.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&ObjectPath>,
        offset: &ObjectPath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.open() {
            Ok(objects) => objects.list_with_offset(prefix, offset),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.bounded(self.open()?.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        self.bounded(self.open()?.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &ObjectPath, to: &ObjectPath, options: RenameOptions) -> Result<()> {
        self.bounded(self.open()?.rename_opts(from, to, options)).await
    }
}
