//! Answers over HTTP, which a page from anywhere may read.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Bytes with a status.
pub(super) fn bytes(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    open_to_all((status, Body::from(body)).into_response())
}

/// JSON; with status 400 if something is wrong.
pub(super) fn json(outcome: Result<Value, crate::Error>) -> Response {
    let (status, value) = match outcome {
        Ok(value) => (StatusCode::OK, value),
        Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error.to_string() })),
    };
    let kind = [(header::CONTENT_TYPE, "application/json")];
    open_to_all((status, kind, value.to_string()).into_response())
}

/// The answer to a browser that asks whether it may ask.
pub(super) fn preflight() -> Response {
    open_to_all(StatusCode::OK.into_response())
}

fn open_to_all(mut response: Response) -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
