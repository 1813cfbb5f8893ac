//! An object store in memory, served as S3 does, as far as agents use it: what `memory://` is for several agents, each
//! in a process of its own.
//!
//! It checks no signature, and forgets everything when it ends. Requests take as long as they are told to, besides.

use crate::Error;
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use url::form_urlencoded;

/// Its only bucket.
pub(crate) const BUCKET: &str = "bucket";
/// No object is longer: a segment has 3 MiB at most, and a part of a file of the tree 10.
const MAX_BODY: usize = 64 << 20;
/// Objects on a page of a listing, as in S3.
const PAGE: usize = 1000;

/// What the bucket holds at first, and how slow it is.
#[derive(Clone, Default, Debug, clap::Args)]
pub struct Serving {
    /// How many milliseconds each request takes, except for a listing.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub request_ms: u64,
    /// How many more a PUT takes.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub put_ms: u64,
    /// How many each page of a listing takes.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub page_ms: u64,
    /// A folder whose files it holds, below `realm/`.
    #[arg(long, value_name = "DIR")]
    pub holding: Option<PathBuf>,
}

impl Serving {
    fn time(&self, method: &Method, lists: bool) -> Duration {
        Duration::from_millis(match *method {
            Method::GET if lists => self.page_ms,
            Method::PUT => self.request_ms + self.put_ms,
            _ => self.request_ms,
        })
    }
}

/// Serves a bucket at `at` until the program ends.
///
/// # Errors
/// The address cannot be used, or the folder not be read.
pub async fn serve(at: SocketAddr, serving: Serving) -> Result<(), Error> {
    let mut bucket = Bucket::default();
    if let Some(folder) = &serving.holding {
        bucket.fill(folder, "realm").map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let listener = TcpListener::bind(at).await?;
    let server = Server { bucket: Arc::new(Mutex::new(bucket)), serving: Arc::new(serving) };
    Ok(axum::serve(listener, Router::new().fallback(answer).with_state(server)).await?)
}

#[derive(Clone)]
struct Server {
    bucket: Arc<Mutex<Bucket>>,
    serving: Arc<Serving>,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    /// Uploads that have begun, with their parts.
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    /// The number of the newest version of anything.
    version: u64,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    version: u64,
    at: DateTime<Utc>,
}

impl Object {
    fn etag(&self) -> String {
        etag(self.version)
    }
}

fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

type Query = BTreeMap<String, String>;

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(key) = key(&parts.uri) else { return StatusCode::BAD_REQUEST.into_response() };
    let query: Query =
        form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let slow = server.serving.time(&parts.method, key.is_empty());
    if !slow.is_zero() {
        tokio::time::sleep(slow).await;
    }
    let mut bucket = server.bucket.lock().unwrap_or_else(PoisonError::into_inner);
    match parts.method {
        Method::GET if key.is_empty() => bucket.list(&query),
        Method::GET | Method::HEAD => bucket.get(&key, &parts.headers),
        Method::PUT if query.contains_key("uploadId") => bucket.put_part(&query, body),
        Method::PUT if parts.headers.contains_key("x-amz-copy-source") => {
            StatusCode::NOT_IMPLEMENTED.into_response()
        }
        Method::PUT => bucket.put(key, body, &parts.headers),
        Method::POST if query.contains_key("uploads") => bucket.begin_upload(),
        Method::POST if query.contains_key("uploadId") => bucket.complete_upload(key, &query),
        Method::DELETE => bucket.delete(&key, &query),
        _ => StatusCode::NOT_IMPLEMENTED.into_response(),
    }
}

/// The name of an object, empty for the bucket itself. Names that need escapes do not occur.
fn key(uri: &Uri) -> Option<String> {
    let key = uri.path().strip_prefix('/')?.strip_prefix(BUCKET)?;
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte));
    plain.then(|| key.trim_start_matches('/').to_owned())
}

impl Bucket {
    /// Takes in the files of a folder, under their names below `prefix`.
    fn fill(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let key = format!("{prefix}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.fill(&entry.path(), &key)?;
            } else {
                let bytes = std::fs::read(entry.path())?.into();
                self.version += 1;
                let object = Object { bytes, version: self.version, at: SystemTime::now().into() };
                self.objects.insert(key, object);
            }
        }
        Ok(())
    }

    fn get(&self, key: &str, headers: &HeaderMap) -> Response {
        let Some(object) = self.objects.get(key) else { return StatusCode::NOT_FOUND.into_response() };
        let told = [(header::ETAG, object.etag()), (header::LAST_MODIFIED, object.at.to_rfc2822())];
        let length = object.bytes.len();
        let Some(asked) = headers.get(header::RANGE) else {
            return (told, object.bytes.clone()).into_response();
        };
        let Some(range) = asked.to_str().ok().and_then(|asked| range(asked, length)) else {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        };
        let content = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        let part = object.bytes.slice(range);
        (StatusCode::PARTIAL_CONTENT, told, [(header::CONTENT_RANGE, content)], part).into_response()
    }

    fn put(&mut self, key: String, bytes: Bytes, headers: &HeaderMap) -> Response {
        let there = self.objects.get(&key).map(Object::etag);
        let create = headers.contains_key(header::IF_NONE_MATCH);
        let expected = headers.get(header::IF_MATCH).map(|etag| String::from_utf8_lossy(etag.as_bytes()));
        if create && there.is_some() || expected.is_some_and(|expected| there.as_deref() != Some(&*expected))
        {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        ([(header::ETAG, self.insert(key, bytes))], ()).into_response()
    }

    fn insert(&mut self, key: String, bytes: Bytes) -> String {
        self.version += 1;
        let object = Object { bytes, version: self.version, at: SystemTime::now().into() };
        let etag = object.etag();
        self.objects.insert(key, object);
        etag
    }

    fn begin_upload(&mut self) -> Response {
        self.version += 1;
        let id = self.version.to_string();
        let told = format!(
            "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        );
        self.uploads.insert(id, BTreeMap::new());
        told.into_response()
    }

    fn put_part(&mut self, query: &Query, bytes: Bytes) -> Response {
        let upload = query.get("uploadId").and_then(|id| self.uploads.get_mut(id));
        let number = query.get("partNumber").and_then(|number| number.parse().ok());
        let (Some(upload), Some(number)) = (upload, number) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        upload.insert(number, bytes);
        ([(header::ETAG, etag(number.into()))], ()).into_response()
    }

    fn complete_upload(&mut self, key: String, query: &Query) -> Response {
        let Some(parts) = query.get("uploadId").and_then(|id| self.uploads.remove(id)) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let parts: Vec<Bytes> = parts.into_values().collect();
        let etag = self.insert(key, parts.concat().into());
        format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>")
            .into_response()
    }

    fn delete(&mut self, key: &str, query: &Query) -> Response {
        match query.get("uploadId") {
            Some(id) => drop(self.uploads.remove(id)),
            None => drop(self.objects.remove(key)),
        }
        StatusCode::NO_CONTENT.into_response()
    }

    /// One page. What a delimiter cuts off counts towards the page, as an object does.
    fn list(&self, query: &Query) -> Response {
        let field = |name: &str| query.get(name).map_or("", String::as_str);
        let (prefix, delimiter) = (field("prefix"), field("delimiter"));
        let asked = field("max-keys").parse().unwrap_or(PAGE).min(PAGE);
        let mut after = field("start-after").max(field("continuation-token")).to_owned();
        let (mut page, mut count) = (String::new(), 0);
        loop {
            let from =
                if after.as_str() < prefix { Bound::Included(prefix) } else { Bound::Excluded(&*after) };
            let next = self.objects.range::<str, _>((from, Bound::Unbounded)).next();
            let Some((key, object)) = next.filter(|(key, _)| key.starts_with(prefix)) else { break };
            if count == asked {
                let _ = write!(page, "<NextContinuationToken>{after}</NextContinuationToken>");
                break;
            }
            count += 1;
            let cut = key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty());
            if let Some(at) = cut {
                let folder = &key[..prefix.len() + at + delimiter.len()];
                let _ = write!(page, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
                // No name has this character, and all others sort before it.
                after = format!("{folder}~");
                continue;
            }
            let (size, etag, at) = (object.bytes.len(), object.etag(), object.at.to_rfc3339());
            let _ = write!(
                page,
                "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>{etag}</ETag><LastModified>{at}</LastModified></Contents>"
            );
            after.clone_from(key);
        }
        format!("<ListBucketResult>{page}</ListBucketResult>").into_response()
    }
}

/// The bytes that a `Range` header asks for.
fn range(asked: &str, length: usize) -> Option<Range<usize>> {
    let (from, to) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => from..length.min(to.checked_add(1)?),
        (Ok(from), Err(_)) if to.is_empty() => from..length,
        (Err(_), Ok(last)) if from.is_empty() => length.saturating_sub(last)..length,
        _ => return None,
    };
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt as _;
    use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
    use object_store::path::Path as Key;
    use object_store::{ObjectStore, ObjectStoreExt, PutMode, WriteMultipart};

    async fn bucket(serving: Serving) -> AmazonS3 {
        strongroom_agent::tls::install_provider();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        tokio::spawn(async move { serve(free, serving).await.unwrap() });
        while tokio::net::TcpStream::connect(free).await.is_err() {
            tokio::task::yield_now().await;
        }
        let builder = AmazonS3Builder::new().with_endpoint(format!("http://{free}")).with_allow_http(true);
        let builder =
            builder.with_bucket_name(BUCKET).with_region("us-east-1").with_disable_bulk_delete(true);
        let builder = builder.with_access_key_id("bench").with_secret_access_key("bench");
        builder.with_conditional_put(S3ConditionalPut::ETagMatch).build().unwrap()
    }

    #[tokio::test]
    async fn what_exists_is_not_created_again_and_only_the_version_that_was_read_is_replaced() {
        let bucket = bucket(Serving::default()).await;
        let at = Key::from("a/b");
        let first = bucket.put_opts(&at, "one".into(), PutMode::Create.into()).await.unwrap();
        let again = bucket.put_opts(&at, "two".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })), "{again:?}");
        let update = PutMode::Update(first.into());
        bucket.put_opts(&at, "three".into(), update.clone().into()).await.unwrap();
        let stale = bucket.put_opts(&at, "four".into(), update.into()).await;
        assert!(matches!(stale, Err(object_store::Error::Precondition { .. })), "{stale:?}");
        assert_eq!(bucket.get_range(&at, 1..3).await.unwrap(), "hr");
        bucket.delete(&at).await.unwrap();
        assert!(matches!(bucket.head(&at).await, Err(object_store::Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn listings_are_whole_and_in_order_over_several_pages() {
        let bucket = bucket(Serving::default()).await;
        let mut made = Vec::new();
        for number in 0..PAGE + 2 {
            let at = Key::from(format!("log/{number:05}"));
            bucket.put(&at, "x".into()).await.unwrap();
            made.push(at);
        }
        bucket.put(&Key::from("log/more/1"), "x".into()).await.unwrap();
        bucket.put(&Key::from("other/1"), "x".into()).await.unwrap();
        let log = Key::from("log");
        let from = bucket.list_with_offset(Some(&log), &made[1]).map_ok(|meta| meta.location);
        let found: Vec<Key> = from.try_collect().await.unwrap();
        assert_eq!(found[..PAGE], made[2..]);
        assert_eq!(found[PAGE..], [Key::from("log/more/1")]);
        let level = bucket.list_with_delimiter(Some(&log)).await.unwrap();
        assert_eq!((level.objects.len(), level.common_prefixes), (PAGE + 2, vec![Key::from("log/more")]));
    }

    #[tokio::test]
    async fn an_upload_in_parts_is_there_when_it_is_complete() {
        let bucket = bucket(Serving::default()).await;
        let at = Key::from("tree/file");
        let mut upload = WriteMultipart::new_with_chunk_size(bucket.put_multipart(&at).await.unwrap(), 4);
        upload.write(b"0123456789");
        upload.finish().await.unwrap();
        assert_eq!(bucket.get(&at).await.unwrap().bytes().await.unwrap(), "0123456789");
    }

    #[tokio::test]
    async fn what_a_folder_holds_is_there_and_each_request_takes_its_time() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("log/1")).unwrap();
        std::fs::write(folder.path().join("log/1/2"), "segment").unwrap();
        std::fs::write(folder.path().join("founding"), "group").unwrap();
        let holding = Some(folder.path().to_owned());
        let serving = Serving { request_ms: 20, put_ms: 30, page_ms: 40, holding };
        let times =
            [(Method::GET, false), (Method::GET, true), (Method::PUT, false), (Method::DELETE, false)];
        let ms = times.map(|(method, lists)| serving.time(&method, lists).as_millis());
        assert_eq!(ms, [20, 40, 50, 20]);
        let bucket = bucket(serving).await;
        let begun = std::time::Instant::now();
        let at = Key::from("realm/log/1/2");
        assert_eq!(bucket.get(&at).await.unwrap().bytes().await.unwrap(), "segment");
        assert!(begun.elapsed() >= Duration::from_millis(20));
        let all: Vec<Key> = bucket.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
        assert_eq!(all, [Key::from("realm/founding"), at]);
    }

    #[test]
    fn ranges_are_read_as_http_means_them() {
        assert_eq!(range("bytes=0-3", 10), Some(0..4));
        assert_eq!(range("bytes=8-20", 10), Some(8..10));
        assert_eq!(range("bytes=4-", 10), Some(4..10));
        assert_eq!(range("bytes=-4", 10), Some(6..10));
        assert_eq!(range("bytes=10-", 10), None);
        assert_eq!(range("items=0-3", 10), None);
    }
}
