//! One name, one winner: the store under races, lost answers, and crashes.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strongroom_agent::config::StoreOptions;
use strongroom_agent::store::{Kind, Purpose, ReplaceOutcome, Store, StoreError, Timeouts};
use strongroom_replica::{CreateOutcome, ReadOutcome, Unavailable};
use url::Url;

/// How long a disk may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(600);
const NAME: &str = "groups/00/log/0000000000000001-0000000000000000";

fn folder_store(folder: &std::path::Path) -> Store {
    let store = Store::open(&Url::from_file_path(folder).unwrap(), &StoreOptions::default()).unwrap();
    store.with_timeouts(Timeouts::all(PATIENCE))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_writers_with_a_store_of_their_own_on_one_folder_exactly_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let write = |writer: u8| {
        let store = folder_store(folder.path());
        tokio::spawn(async move { store.create(NAME, Bytes::from(vec![writer; 10])).await })
    };
    let outcomes = join_all((0..8).map(write)).await;
    let created = outcomes.iter().filter(|o| *o.as_ref().unwrap() == CreateOutcome::Created).count();
    assert_eq!(created, 1);
}

#[tokio::test]
async fn the_same_bytes_again_are_created_again_and_other_bytes_are_lost() {
    let folder = tempfile::tempdir().unwrap();
    for store in [Store::on(Arc::new(InMemory::new())), folder_store(folder.path())] {
        assert_eq!(store.create(NAME, Bytes::from_static(b"ours")).await, CreateOutcome::Created);
        assert_eq!(store.create(NAME, Bytes::from_static(b"ours")).await, CreateOutcome::Created);
        assert_eq!(store.create(NAME, Bytes::from_static(b"other")).await, CreateOutcome::Lost);
        assert_eq!(store.read(NAME).await, ReadOutcome::Found(b"ours".to_vec()));
        assert_eq!(store.read("groups/00/log/absent").await, ReadOutcome::Absent);
    }
}

#[tokio::test]
async fn a_listing_is_in_order_complete_and_shows_no_half_written_object() {
    let folder = tempfile::tempdir().unwrap();
    // A crashed agent leaves an unfinished file behind.
    std::fs::create_dir_all(folder.path().join("groups/00/log")).unwrap();
    std::fs::write(folder.path().join("groups/00/log/0000000000000004-00ff#1"), b"half").unwrap();
    for store in [Store::on(Arc::new(InMemory::new())), folder_store(folder.path())] {
        let name = |index: u64| format!("groups/00/log/{index:016x}-00ff");
        for index in [9, 3, 16, 1, 255] {
            assert_eq!(store.create(&name(index), Bytes::from_static(b"x")).await, CreateOutcome::Created);
        }
        store.create("groups/01/log/0000000000000005-00ff", Bytes::from_static(b"x")).await;
        let from = |index: u64| format!("groups/00/log/{index:016x}");
        let all = store.list("groups/00/log", &from(0)).await.unwrap();
        assert_eq!(all, [1, 3, 9, 16, 255].map(name));
        assert_eq!(store.list("groups/00/log", &from(9)).await.unwrap(), [9, 16, 255].map(name));
        assert_eq!(store.list("groups/02/log", "groups/02/log/0").await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn only_what_was_seen_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    for store in [Store::on(Arc::new(InMemory::new())), folder_store(folder.path())] {
        assert!(store.see(NAME).await.unwrap().is_none());
        assert_eq!(store.replace(NAME, None, bytes("one")).await, ReplaceOutcome::Replaced);
        assert_eq!(store.replace(NAME, None, bytes("other")).await, ReplaceOutcome::Other);
        let (early, late) =
            (store.see(NAME).await.unwrap().unwrap(), store.see(NAME).await.unwrap().unwrap());
        assert_eq!(store.replace(NAME, Some(&early), bytes("two")).await, ReplaceOutcome::Replaced);
        assert_eq!(store.replace(NAME, Some(&late), bytes("old")).await, ReplaceOutcome::Other);
        let seen = store.see(NAME).await.unwrap().unwrap();
        assert_eq!(seen.bytes, b"two");
        store.delete(NAME).await.unwrap();
        assert_eq!(store.replace(NAME, Some(&seen), bytes("three")).await, ReplaceOutcome::Other);
    }
}

#[tokio::test]
async fn an_unfinished_file_of_a_crashed_agent_does_not_block_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder_store(folder.path());
    std::fs::create_dir_all(folder.path().join("groups/00/log")).unwrap();
    std::fs::write(folder.path().join(format!("{NAME}#1")), b"half").unwrap();
    assert_eq!(store.create(NAME, Bytes::from_static(b"whole")).await, CreateOutcome::Created);
    let listed = store.list("groups/00/log", "groups/00/log/0").await.unwrap();
    assert_eq!(listed, [NAME]);
}

/// What a [`Flaky`] store does with a put.
#[derive(Clone, Copy, Debug)]
enum Put {
    /// Carries it out.
    Honest,
    /// Carries it out, and loses the answer.
    DoneButLost,
    /// Carries it out twice, as a library that re-sends does: "exists".
    DoneTwice,
    /// Does nothing and fails.
    Failed,
    /// Does nothing and never answers.
    Never,
    /// Overwrites.
    Overwrites,
    /// Looks whether the object is there, lets others run, then overwrites.
    LooksAndOverwrites,
}

/// A store whose puts go as the script says, and whose reads can fail.
#[derive(Debug)]
struct Flaky {
    inner: InMemory,
    script: Vec<Put>,
    puts: AtomicUsize,
    reads_fail: bool,
}

impl Flaky {
    fn store(script: &[Put], reads_fail: bool) -> Store {
        let script = script.to_vec();
        Store::on(Arc::new(Self { inner: InMemory::new(), script, puts: AtomicUsize::new(0), reads_fail }))
    }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flaky")
    }
}

fn failure() -> Error {
    Error::Generic { store: "flaky", source: "no answer".into() }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(
        &self,
        path: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let at = self.puts.fetch_add(1, Ordering::Relaxed);
        let put = || self.inner.put_opts(path, payload.clone(), options.clone());
        match self.script.get(at).copied().unwrap_or(Put::Honest) {
            Put::Honest => put().await,
            Put::DoneButLost => put().await.and(Err(failure())),
            Put::DoneTwice => {
                let _ = put().await;
                put().await
            }
            Put::Failed => Err(failure()),
            Put::Never => std::future::pending().await,
            Put::LooksAndOverwrites => {
                if self.inner.head(path).await.is_ok() {
                    return put().await;
                }
                tokio::task::yield_now().await;
                self.inner.put_opts(path, payload, PutOptions::default()).await
            }
            Put::Overwrites => self.inner.put_opts(path, payload, PutOptions::default()).await,
        }
    }

    async fn get_opts(&self, path: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        if self.reads_fail { Err(failure()) } else { self.inner.get_opts(path, options).await }
    }

    async fn put_multipart_opts(
        &self,
        path: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.reads_fail {
            return Box::pin(futures::stream::iter([Err(failure())]));
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

async fn create_ours(store: &Store) -> CreateOutcome {
    store.create(NAME, Bytes::from_static(b"ours")).await
}

#[tokio::test(start_paused = true)]
async fn meeting_our_own_object_again_is_not_a_loss() {
    for put in [Put::Honest, Put::DoneButLost, Put::DoneTwice, Put::Failed] {
        let store = Flaky::store(&[put], false);
        assert_eq!(create_ours(&store).await, CreateOutcome::Created, "{put:?}");
        assert_eq!(store.read(NAME).await, ReadOutcome::Found(b"ours".to_vec()), "{put:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_lost_is_lost_even_if_its_answer_was() {
    let store = Flaky::store(&[Put::Honest, Put::Failed], false);
    assert_eq!(store.create(NAME, Bytes::from_static(b"other")).await, CreateOutcome::Created);
    assert_eq!(create_ours(&store).await, CreateOutcome::Lost);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_settled_is_unknown_and_the_same_bytes_settle_it_later() {
    let store = Flaky::store(&[Put::Failed, Put::Failed, Put::Failed], false);
    assert_eq!(create_ours(&store).await, CreateOutcome::Unknown);
    assert_eq!(create_ours(&store).await, CreateOutcome::Created);
}

#[tokio::test(start_paused = true)]
async fn exists_without_a_readable_object_is_unknown_and_never_lost() {
    let store = Flaky::store(&[Put::DoneTwice], true);
    assert_eq!(create_ours(&store).await, CreateOutcome::Unknown);
    assert_eq!(store.list("groups/00/log", "groups/00/log/0").await, Err(Unavailable));
}

#[tokio::test(start_paused = true)]
async fn the_probe_finds_a_store_that_overwrites_and_leaves_nothing_in_one_that_does_not() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let honest = Store::on(Arc::clone(&objects));
    assert!(honest.probe([1; 16]).await.unwrap());
    assert!(objects.list(None).next().await.is_none(), "nothing stays");
    assert_eq!(probe_calls(&honest), 54);
    assert!(honest.probe([1; 16]).await.unwrap());
    let broken = Flaky::store(&[Put::Honest, Put::Overwrites], false);
    assert!(matches!(broken.probe([2; 16]).await, Err(StoreError::OverwritesOnCreate)));
    let silent = Flaky::store(&[Put::Failed], false);
    assert!(!silent.probe([3; 16]).await.unwrap());
}

fn probe_calls(store: &Store) -> u64 {
    let calls = |kind| store.metrics().calls(Purpose::Probe, kind);
    [Kind::Put, Kind::Get, Kind::List, Kind::Delete].map(calls).into_iter().sum()
}

#[tokio::test(start_paused = true)]
async fn the_probe_finds_a_store_that_honours_conditions_only_while_nobody_else_writes() {
    let raced = Flaky::store(&[Put::LooksAndOverwrites; 60], false);
    assert_eq!(create_ours(&raced).await, CreateOutcome::Created);
    assert_eq!(
        raced.create(NAME, Bytes::from_static(b"other")).await,
        CreateOutcome::Lost,
        "one by one it is fine"
    );
    assert!(matches!(raced.probe([4; 16]).await, Err(StoreError::OverwritesOnCreate)));
    let late = [[Put::Honest; 34].as_slice(), &[Put::LooksAndOverwrites; 60]].concat();
    assert!(matches!(Flaky::store(&late, false).probe([5; 16]).await, Err(StoreError::OverwritesOnCreate)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_with_a_failure_among_its_writers_proves_nothing() {
    for failed in [1, 5, 9, 41] {
        let script = [vec![Put::Honest; failed], vec![Put::Failed]].concat();
        assert!(!Flaky::store(&script, false).probe([6; 16]).await.unwrap(), "{failed}");
    }
    for winner in [0, 2, 10] {
        let script = [vec![Put::Honest; winner], vec![Put::DoneButLost]].concat();
        assert!(!Flaky::store(&script, false).probe([6; 16]).await.unwrap(), "{winner}");
    }
    assert!(!Flaky::store(&[], true).probe([7; 16]).await.unwrap(), "nothing can be read");
}

#[tokio::test]
async fn calls_and_bytes_are_counted_by_purpose_and_kind_and_what_failed_apart() {
    let store = Flaky::store(&[Put::Failed, Put::DoneTwice], false);
    let metrics = store.metrics().clone();
    assert_eq!(create_ours(&store).await, CreateOutcome::Created);
    assert_eq!(store.create(NAME, Bytes::from_static(b"other")).await, CreateOutcome::Lost);
    let log = |kind| (metrics.calls(Purpose::Log, kind), metrics.failed_calls(Purpose::Log, kind));
    assert_eq!(log(Kind::Put), (3, 1), "failed, exists, exists");
    assert_eq!(log(Kind::Get), (3, 0), "absent, ours, ours");
    assert_eq!((metrics.bytes_sent(Purpose::Log), metrics.bytes_received(Purpose::Log)), (4 + 4 + 5, 4 + 4));
    store.list("groups/00/log", "groups/00/log/0").await.unwrap();
    store.delete(NAME).await.unwrap();
    store.delete(NAME).await.unwrap();
    assert_eq!((log(Kind::List), log(Kind::Delete)), ((1, 0), (2, 0)));

    let tree = store.objects();
    let path = ObjectPath::from("tree/1");
    let mut upload = tree.put_multipart(&path).await.unwrap();
    upload.put_part("12345".into()).await.unwrap();
    upload.put_part("678".into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(tree.get_range(&path, 1..4).await.unwrap(), "234");
    tree.head(&path).await.unwrap();
    tree.copy(&path, &"tree/2".into()).await.unwrap();
    for object in 3..2003 {
        let path = ObjectPath::from(format!("tree/{object}"));
        store.with_purpose(Purpose::Tree).create(path.as_ref(), Bytes::from_static(b"x")).await;
    }
    assert_eq!(tree.list(Some(&"tree".into())).count().await, 2002);
    let of_tree = |kind| (metrics.calls(Purpose::Tree, kind), metrics.failed_calls(Purpose::Tree, kind));
    assert_eq!(of_tree(Kind::Put), (4 + 1 + 2000, 0));
    assert_eq!((of_tree(Kind::Get), of_tree(Kind::List)), ((2, 0), (3, 0)));
    assert_eq!((metrics.bytes_sent(Purpose::Tree), metrics.bytes_received(Purpose::Tree)), (2008, 3));
    assert_eq!(log(Kind::Put), (3, 1), "apart");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_caller_stops_waiting_has_failed() {
    let store = Flaky::store(&[Put::Never; 3], false);
    assert_eq!(create_ours(&store).await, CreateOutcome::Unknown);
    assert_eq!(store.metrics().calls(Purpose::Log, Kind::Put), 3);
    assert_eq!(store.metrics().failed_calls(Purpose::Log, Kind::Put), 3);
}

#[test]
fn a_store_url_or_option_that_is_not_known_is_refused_by_name() {
    let open = |url: &str, option: Option<&str>| {
        let options = option.map(|name| (name.to_owned(), "secret value".to_owned())).into_iter().collect();
        Store::open(&Url::parse(url).unwrap(), &StoreOptions(options)).unwrap_err().to_string()
    };
    assert!(open("ftp://host/path", None).contains("ftp://"));
    assert!(open("https://host/path", None).contains("https://"));
    let error = open("s3://bucket/path", Some("aws_regoin"));
    assert!(error.contains("aws_regoin") && !error.contains("secret"), "{error}");
}

#[test]
fn an_option_whose_value_cannot_be_used_is_refused_by_name_without_the_value() {
    strongroom_agent::tls::install_provider();
    let open = |url: &str, name: &str, value: &str| {
        // Everything that these stores need to build, except for the one option.
        let good =
            [("allow_http", "true"), ("aws_region", "here"), ("account_name", "a"), ("account_key", "AAAA")];
        let kind = |name: &str| match &url[..2] {
            "s3" => !name.starts_with("account"),
            "az" => !name.starts_with("aws"),
            _ => name == "allow_http",
        };
        let good = good.into_iter().filter(|(name, _)| kind(name));
        let options = good.chain([(name, value)]).map(|(name, value)| (name.to_owned(), value.to_owned()));
        Store::open(&Url::parse(url).unwrap(), &StoreOptions(options.collect())).unwrap_err().to_string()
    };
    for (url, name, value, expected) in [
        ("s3://b", "aws_endpoint", "127.0.0.1:c0ffee", "such as `https://s3.example:9000`"),
        ("s3://b", "AWS_ENDPOINT_URL_S3", "c0ffee", "such as `https://s3.example:9000`"),
        ("s3://b", "endpoint", "ftp://c0ffee", "such as `https://s3.example:9000`"),
        ("s3://b", "proxy_url", "c0ffee:3128", "such as `https://s3.example:9000`"),
        ("s3://b", "aws_access_key_id", "c0ffee\n", "a line break"),
        ("s3://b", "aws_session_token", "c0ffee\u{e9}", "not ASCII"),
        ("s3://b", "aws_secret_access_key", " c0ffee", "begins or ends with a space"),
        ("s3://b", "aws_region", "", "it is empty"),
        ("s3://b", "aws_s3_express", "c0ffee", "option `aws_s3_express`"),
        ("s3://b", "connect_timeout", "c0ffee", "option `connect_timeout`"),
        ("s3://b", "allow_http", "c0ffee", "option `allow_http`"),
        ("az://c", "azure_storage_endpoint", "c0ffee", "such as `https://s3.example:9000`"),
        ("az://c", "account_key", "c0ffee!", "option `account_key`"),
        ("gs://b", "google_base_url", "c0ffee", "such as `https://s3.example:9000`"),
        ("gs://b", "google_service_account_key", "\"c0ffee\"", "option `google_service_account_key`"),
    ] {
        let error = open(url, name, value);
        assert!(error.contains(name) && error.contains(expected), "{name}: {error}");
        assert!(!error.contains("c0ffee"), "{name}: {error}");
    }
    let clear = BTreeMap::from([("aws_endpoint".to_owned(), "http://127.0.0.1:1".to_owned())]);
    let error = Store::open(&Url::parse("s3://b").unwrap(), &StoreOptions(clear)).unwrap_err().to_string();
    assert!(error.contains("aws_endpoint") && error.contains("allow_http"), "{error}");
}

#[test]
fn cloud_stores_open_with_their_options() {
    strongroom_agent::tls::install_provider();
    let open = |url: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Store::open(&Url::parse(url).unwrap(), &StoreOptions(options))
    };
    let endpoint = ("endpoint", "http://127.0.0.1:1");
    open("s3://bucket/path", &[("region", "nowhere-1"), endpoint, ("allow_http", "true")]).unwrap();
    open(
        "az://container/path",
        &[("account_name", "a"), ("account_key", "AAAA"), endpoint, ("allow_http", "true")],
    )
    .unwrap();
    let account = r#"{"gcs_base_url":"http://127.0.0.1:1","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}"#;
    open("gs://bucket/path", &[("google_service_account_key", account)]).unwrap();
}
