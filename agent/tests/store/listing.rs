//! Listings of a slow store: page by page, each attempt continuing where the last one was.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strongroom_agent::store::{Kind, Purpose, Store};
use strongroom_replica::Unavailable;
use tokio::time::{Instant, sleep};

const PAGE: usize = 1000;
const FOLDER: &str = "groups/00/log";

/// What happens to one page.
#[derive(Clone, Copy)]
enum Fate {
    Comes,
    Fails,
    Hangs,
}

/// A store that lists in pages, each of which takes long and may not come at all.
#[derive(Clone)]
struct Slow {
    inner: Arc<InMemory>,
    page_takes: Duration,
    /// Which pages are hit, every `every`th, and what happens to them.
    every: u64,
    fate: Fate,
    /// Whether the names come in order, and a listing can begin in the middle.
    ordered: bool,
    pages: Arc<AtomicU64>,
    /// The name after which each listing began.
    begun: Arc<Mutex<Vec<Option<String>>>>,
}

impl Slow {
    async fn holding(objects: u64) -> Self {
        let inner = Arc::new(InMemory::new());
        for index in 1..=objects {
            inner.put(&Path::from(name(index)), "x".into()).await.unwrap();
        }
        Self {
            inner,
            page_takes: Duration::from_secs(20),
            every: 3,
            fate: Fate::Hangs,
            ordered: true,
            pages: Arc::default(),
            begun: Arc::default(),
        }
    }

    fn listed(&self, prefix: Option<&Path>, after: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.begun.lock().unwrap().push(after.map(ToString::to_string));
        let after = after.filter(|_| self.ordered).cloned();
        let all = match &after {
            Some(after) => self.inner.list_with_offset(prefix, after),
            None => self.inner.list(prefix),
        };
        let slow = self.clone();
        let paged = async move {
            let mut all: Vec<_> = all.collect().await;
            if !slow.ordered {
                all.sort_by_key(|object| {
                    object.as_ref().map(|o| o.location.to_string().chars().rev().collect::<String>()).ok()
                });
            }
            let pages: VecDeque<Vec<_>> = all
                .chunks(PAGE)
                .map(|page| page.iter().map(|o| o.as_ref().unwrap().clone()).collect())
                .collect();
            stream::unfold((slow, pages), |(slow, mut pages)| async move {
                let page = pages.pop_front()?;
                let page = slow.page(page).await;
                Some((stream::iter(page), (slow, pages)))
            })
            .flatten()
        };
        stream::once(paged).flatten().boxed()
    }

    async fn page(&self, objects: Vec<ObjectMeta>) -> Vec<Result<ObjectMeta>> {
        sleep(self.page_takes).await;
        let number = self.pages.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fate {
            Fate::Fails if number.is_multiple_of(self.every) => {
                vec![Err(Error::Generic { store: "slow", source: "503 Slow Down".into() })]
            }
            Fate::Hangs if number.is_multiple_of(self.every) => std::future::pending().await,
            _ => objects.into_iter().map(Ok).collect(),
        }
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

#[async_trait]
impl ObjectStore for Slow {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        after: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, Some(after))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn name(index: u64) -> String {
    format!("{FOLDER}/{index:016x}-00ff")
}

async fn list(slow: &Slow) -> std::result::Result<Vec<String>, Unavailable> {
    Store::on(Arc::new(slow.clone())).list(FOLDER, &format!("{FOLDER}/0")).await
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_16000_segments_goes_on_from_where_it_was_however_often_a_page_does_not_come() {
    let all: Vec<String> = (1..=16_000).map(name).collect();
    for fate in [Fate::Comes, Fate::Fails, Fate::Hangs] {
        let slow = Slow { fate, ..Slow::holding(16_000).await };
        let began = Instant::now();
        assert!(list(&slow).await.expect("it ends") == all);
        println!("{} pages in {:?}", slow.pages.load(Ordering::SeqCst), began.elapsed());
        assert!(slow.pages.load(Ordering::SeqCst) <= 24, "no page twice, except those that did not come");
        let begun = slow.begun.lock().unwrap();
        assert!(begun.is_sorted(), "never backwards: {begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_list_in_order_is_listed_again_and_nothing_is_left_out() {
    let all: Vec<String> = (1..=5_000).map(name).collect();
    for every in [5, 100] {
        let slow = Slow { ordered: false, every, ..Slow::holding(5_000).await };
        match list(&slow).await {
            Ok(listed) => assert!(listed == all, "{every}"),
            Err(Unavailable) => assert_eq!(every, 5, "the last page never comes"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_whose_page_never_comes_fails_and_returns_no_part_of_it() {
    for fate in [Fate::Fails, Fate::Hangs] {
        let slow = Slow { fate, every: 1, ..Slow::holding(10).await };
        let began = Instant::now();
        assert_eq!(list(&slow).await, Err(Unavailable));
        assert!(began.elapsed() < Duration::from_secs(180));
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_the_oldest_segments_does_not_go_through_all_of_them() {
    let oldest: Vec<String> = (1..=500).map(name).collect();
    for ordered in [true, false] {
        let slow = Slow { ordered, fate: Fate::Comes, ..Slow::holding(5_000).await };
        let store = Store::on(Arc::new(slow.clone()));
        let (after, until) = (format!("{FOLDER}/0"), format!("{FOLDER}/{:016x}", 501));
        assert!(store.list_until(FOLDER, &after, &until).await.expect("it ends") == oldest, "{ordered}");
        let pages = slow.pages.load(Ordering::SeqCst);
        assert_eq!(pages, if ordered { 1 } else { 5 });
        assert_eq!(store.metrics().failed_calls(Purpose::Log, Kind::List), 0);
    }
}
