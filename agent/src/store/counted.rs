//! Every call to the store, counted: the log and the tree go through here.

use super::metrics::{Call, Kind, LIST_PAGE, Purpose, StoreMetrics};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// An object store whose calls count for one purpose. Changes no call and no answer.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) metrics: StoreMetrics,
    pub(super) purpose: Purpose,
}

impl Counted {
    fn begin(&self, kind: Kind) -> Call {
        self.metrics.begin(self.purpose, kind)
    }

    fn begin_sending(&self, payload: &PutPayload) -> Call {
        let bytes = u64::try_from(payload.content_length()).unwrap_or(u64::MAX);
        self.metrics.begin_sending(self.purpose, Kind::Put, bytes)
    }

    /// A listing asks for its next page when the previous one is used up.
    fn counted_list(
        &self,
        list: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, mut page, mut objects) = (self.clone(), Some(self.begin(Kind::List)), 0_u64);
        let ended = list.map(Some).chain(futures::stream::once(async { None }));
        ended
            .filter_map(move |next| {
                match &next {
                    Some(Ok(_)) => {
                        // An item shows that its page has come, even if the rest of the page is not wanted.
                        let further = objects > 0 && objects.is_multiple_of(LIST_PAGE);
                        if let Some(page) = page.take().or_else(|| further.then(|| this.begin(Kind::List))) {
                            page.succeed();
                        }
                        objects = objects.saturating_add(1);
                    }
                    Some(failed) => page.take().unwrap_or_else(|| this.begin(Kind::List)).end(failed),
                    None => page.take().into_iter().for_each(Call::succeed),
                }
                std::future::ready(next)
            })
            .boxed()
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let call = self.begin_sending(&payload);
        let result = self.inner.put_opts(location, payload, options).await;
        call.end(&result);
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let call = self.begin(Kind::Put);
        let result = self.inner.put_multipart_opts(location, options).await;
        call.end(&result);
        Ok(Box::new(CountedUpload { inner: result?, counted: self.clone() }))
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        let (call, head) = (self.begin(Kind::Get), options.head);
        let result = self.inner.get_opts(location, options).await;
        call.end(&result);
        if let (Ok(found), false) = (&result, head) {
            let bytes = found.range.end.saturating_sub(found.range.start);
            self.metrics.count_received(self.purpose, bytes);
        }
        result
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        // Stores answer in the order of the paths. What is unanswered when the caller stops waiting has failed.
        let begun = Arc::new(Mutex::new(VecDeque::<Call>::new()));
        let (this, ended) = (self.clone(), Arc::clone(&begun));
        let begin = move |_: &Result<ObjectPath>| {
            let call = this.begin(Kind::Delete);
            begun.lock().push_back(call);
        };
        let end = move |result: &Result<ObjectPath>| {
            let call = ended.lock().pop_front();
            if let Some(call) = call {
                call.end(result);
            }
        };
        self.inner.delete_stream(locations.inspect(begin).boxed()).inspect(end).boxed()
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted_list(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&ObjectPath>,
        offset: &ObjectPath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted_list(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        let call = self.begin(Kind::List);
        let result = self.inner.list_with_delimiter(prefix).await;
        call.end(&result);
        if let Ok(found) = &result {
            let objects = found.objects.len().saturating_add(found.common_prefixes.len());
            let more = u64::try_from(objects).unwrap_or(u64::MAX).saturating_sub(1) / LIST_PAGE;
            (0..more).for_each(|_| self.begin(Kind::List).succeed());
        }
        result
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        let call = self.begin(Kind::Put);
        let result = self.inner.copy_opts(from, to, options).await;
        call.end(&result);
        result
    }

    async fn rename_opts(&self, from: &ObjectPath, to: &ObjectPath, options: RenameOptions) -> Result<()> {
        let (put, delete) = (self.begin(Kind::Put), self.begin(Kind::Delete));
        let result = self.inner.rename_opts(from, to, options).await;
        put.end(&result);
        delete.end(&result);
        result
    }
}

#[derive(Debug)]
struct CountedUpload {
    inner: Box<dyn MultipartUpload>,
    counted: Counted,
}

#[async_trait]
impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let call = self.counted.begin_sending(&data);
        let part = self.inner.put_part(data);
        Box::pin(async move {
            let result = part.await;
            call.end(&result);
            result
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let call = self.counted.begin(Kind::Put);
        let result = self.inner.complete().await;
        call.end(&result);
        result
    }

    async fn abort(&mut self) -> Result<()> {
        let call = self.counted.begin(Kind::Delete);
        let result = self.inner.abort().await;
        call.end(&result);
        result
    }
}
