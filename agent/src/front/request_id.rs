//! What a client is told of how its request is called, and what another door tells.

use crate::traces::{RequestId, Traces, Trail};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header of an answer, and gRPC metadata key, that names the request. Not `traceparent`, which is for requests, nor
/// `traceresponse`, which is no standard yet: proxies know this one and leave it alone.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Tells it, if requests are traced here: else an answer is byte for byte what it always was.
pub(super) fn tell(traces: &Traces, trail: &Trail, headers: &mut HeaderMap) {
    if traces.are_on()
        && let Ok(id) = HeaderValue::try_from(trail.request.to_string())
    {
        headers.insert(REQUEST_ID_HEADER, id);
    }
}

/// How the door that sent these headers calls the request. What is no id is nothing: it goes into the log.
pub(super) fn told(headers: &HeaderMap) -> Option<RequestId> {
    RequestId::read(headers.get(REQUEST_ID_HEADER)?.to_str().ok()?)
}
