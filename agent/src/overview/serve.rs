//! The status page on the metrics port: read-only, and nothing in it is secret. It names no tenant and no user.

use super::json::json;
use super::page::{SCRIPT, STYLE, page};
use super::watch::Watch;
use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// `GET /status`, `GET /status.json`, and `GET /`, which leads there.
pub(crate) fn routes(watch: Watch) -> Router {
    let watch = Arc::new(watch);
    let policy: Arc<str> = policy().into();
    let html = {
        let watch = Arc::clone(&watch);
        move || {
            let (watch, policy) = (Arc::clone(&watch), Arc::clone(&policy));
            async move {
                let look = watch.look().await;
                answer("text/html; charset=utf-8", &policy, page(&look).into_string())
            }
        }
    };
    let programs = move || {
        let watch = Arc::clone(&watch);
        async move {
            let look = watch.look().await;
            let mut value = json(&look.overview, &look.verdict);
            if let Some(all) = value.as_object_mut() {
                all.insert("look".into(), look.number.into());
                all.insert("unix".into(), look.unix.into());
            }
            answer("application/json", "default-src 'none'", value.to_string())
        }
    };
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/status") }))
        .route("/status", get(html))
        .route("/status.json", get(programs))
}

fn answer(kind: &'static str, policy: &str, body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers.map(|(name, value)| (name, value.to_owned())), body).into_response()
}

/// What a browser may do with the page: run this script, use this style, ask the page again, and nothing else.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}
