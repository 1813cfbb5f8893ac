//! The folder under a stored tree that is measured, with its calls counted.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as Stored,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An object store that counts.
#[derive(Debug)]
pub(super) struct Counted {
    under: LocalFileSystem,
    get: AtomicU64,
    put: AtomicU64,
    list: AtomicU64,
    delete: Arc<AtomicU64>,
}

impl Counted {
    pub(super) fn new(under: LocalFileSystem) -> Self {
        let [get, put, list, delete] = [0; 4].map(AtomicU64::new);
        Self { under, get, put, list, delete: Arc::new(delete) }
    }

    pub(super) fn gets(&self) -> u64 {
        self.get.load(Ordering::Relaxed)
    }

    pub(super) fn forget(&self) {
        for calls in [&self.get, &self.put, &self.list, &*self.delete] {
            calls.store(0, Ordering::Relaxed);
        }
    }
}

fn count(calls: &AtomicU64) {
    calls.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [get, put, list, delete] =
            [&self.get, &self.put, &self.list, &*self.delete].map(|calls| calls.load(Ordering::Relaxed));
        write!(f, "{get} GET, {put} PUT, {list} LIST, {delete} DELETE")
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, at: &ObjectPath, bytes: PutPayload, options: PutOptions) -> Stored<PutResult> {
        let put = self.under.put_opts(at, bytes, options).await;
        // The tree's library first asks for an attribute, which a folder cannot keep: nothing is written by that.
        if !matches!(put, Err(Error::NotImplemented { .. } | Error::NotSupported { .. })) {
            count(&self.put);
        }
        put
    }

    async fn put_multipart_opts(
        &self,
        at: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Stored<Box<dyn MultipartUpload>> {
        let put = self.under.put_multipart_opts(at, options).await;
        if !matches!(put, Err(Error::NotImplemented { .. } | Error::NotSupported { .. })) {
            count(&self.put);
        }
        put
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> Stored<GetResult> {
        count(&self.get);
        self.under.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Stored<ObjectPath>>,
    ) -> BoxStream<'static, Stored<ObjectPath>> {
        let deleted = Arc::clone(&self.delete);
        self.under.delete_stream(locations.inspect(move |_| count(&deleted)).boxed())
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Stored<ObjectMeta>> {
        count(&self.list);
        self.under.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Stored<ListResult> {
        count(&self.list);
        self.under.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Stored<()> {
        count(&self.put);
        self.under.copy_opts(from, to, options).await
    }
}
