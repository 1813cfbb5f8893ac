//! A small server that speaks the XML interface of Google Cloud Storage, as far as `object_store` uses it for a log.
#![allow(dead_code, reason = "shared by test files, each of which uses a part")]

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_agent::config::StoreOptions;
use strongroom_agent::store::Store;
use url::Url;

const MAX_BODY: usize = 16 << 20;
/// Objects in one answer to a listing: few, so that listings have several pages.
const PAGE: usize = 3;

/// Objects, with the generation of each.
#[derive(Clone)]
struct Bucket {
    objects: Arc<Mutex<BTreeMap<String, (Bytes, u64)>>>,
    conditions: Conditions,
}

/// Whether `x-goog-if-generation-match` is honoured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Conditions {
    /// As it must be.
    Honoured,
    /// Never: the planted bug.
    Ignored,
}

/// A new and empty one, served until the test ends.
pub(crate) async fn store(conditions: Conditions) -> Store {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let bucket = Bucket { objects: Arc::default(), conditions };
    let router =
        Router::new().route("/bucket", get(list)).route("/bucket/{object}", any(object)).with_state(bucket);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let account = serde_json::json!({
        "gcs_base_url": endpoint, "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": "",
    });
    let options = BTreeMap::from([("google_service_account_key".to_owned(), account.to_string())]);
    Store::open(&Url::parse("gs://bucket/some/prefix").unwrap(), &StoreOptions(options)).unwrap()
}

async fn object(State(bucket): State<Bucket>, Path(name): Path<String>, request: Request) -> Response {
    let method = request.method().clone();
    let expected = request.headers().get("x-goog-if-generation-match").cloned();
    let expected = expected.filter(|_| bucket.conditions == Conditions::Honoured);
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await.unwrap();
    let fits = |generation: u64| expected.as_ref().is_none_or(|value| *value == generation.to_string());
    bucket.with(|objects| match (method, objects.get(&name).cloned()) {
        (Method::PUT, there) if !fits(there.as_ref().map_or(0, |(_, generation)| *generation)) => {
            StatusCode::PRECONDITION_FAILED.into_response()
        }
        (Method::PUT, there) => {
            let generation = there.map_or(1, |(_, generation)| generation + 1);
            objects.insert(name, (body, generation));
            tagged(generation).into_response()
        }
        (Method::DELETE, Some(_)) => {
            objects.remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::GET | Method::HEAD, Some((bytes, generation))) => {
            (tagged(generation), bytes).into_response()
        }
        (_, None) => StatusCode::NOT_FOUND.into_response(),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    })
}

fn tagged(generation: u64) -> [(header::HeaderName, String); 3] {
    [
        (header::ETAG, format!("\"{generation}\"")),
        (header::HeaderName::from_static("x-goog-generation"), generation.to_string()),
        (header::LAST_MODIFIED, "Tue, 01 Jan 2030 00:00:00 GMT".into()),
    ]
}

async fn list(State(bucket): State<Bucket>, uri: Uri) -> Response {
    let url = Url::parse("http://bucket/").unwrap().join(&uri.to_string()).unwrap();
    let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    let field = |name: &str| query.get(name).cloned().unwrap_or_default();
    let from = field("start-after").max(field("continuation-token"));
    let found: Vec<(String, usize)> = bucket.with(|objects| {
        let matching = objects.iter().filter(|(name, _)| **name > from && name.starts_with(&field("prefix")));
        matching.take(PAGE + 1).map(|(name, (bytes, _))| (name.clone(), bytes.len())).collect()
    });
    let entries: String = found.iter().take(PAGE).map(|(name, size)| format!(
        "<Contents><Key>{name}</Key><Size>{size}</Size><LastModified>2030-01-01T00:00:00Z</LastModified></Contents>"
    )).collect();
    let more = (found.len() > PAGE).then(|| &found[PAGE - 1].0);
    let more = more.map(|name| format!("<NextContinuationToken>{name}</NextContinuationToken>"));
    format!("<ListBucketResult>{entries}{}</ListBucketResult>", more.unwrap_or_default()).into_response()
}

impl Bucket {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, (Bytes, u64)>) -> T) -> T {
        work(&mut self.objects.lock())
    }
}
