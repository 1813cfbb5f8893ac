//! Answers of the front door that are text.

use axum::http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

/// Pages of any origin may read what the front door answers: nothing in it depends on who a browser says it is.
pub(super) const ANY_ORIGIN: (HeaderName, &str) = (ACCESS_CONTROL_ALLOW_ORIGIN, "*");

pub(super) async fn wrong_path() -> Response {
    text(StatusCode::NOT_FOUND, "no such path; clients use POST /req\n")
}

pub(super) fn text(status: StatusCode, text: &str) -> Response {
    (status, [ANY_ORIGIN], text.to_owned()).into_response()
}
