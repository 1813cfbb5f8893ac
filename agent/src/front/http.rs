//! `POST /req` and its neighbours: sections 4 and 11 of the client protocol, as HTTP.

use super::connections::Seat;
use super::door::{Front, MAX_BODY, response_to};
use super::events;
use super::metrics::Refusal;
use super::public;
use super::realm_service;
use super::relay::Head;
use super::request_id;
use super::texts::{ANY_ORIGIN, text, wrong_path};
use super::version::{UPGRADE, VERSION_HEADER, is_current, is_over_cap};
use crate::traces::Trail;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, CONTENT_LENGTH,
    CONTENT_TYPE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use strongroom_proto::client::ClientResponse;

/// The routes of the front door: `POST /req`, `GET /livez`, `GET /readyz`, what is published, `GET /extensions`, and the gRPC service.
pub fn router(front: Front) -> Router {
    Router::new()
        .route("/req", post(request).options(preflight))
        .route("/livez", get("the agent is running\n"))
        .route("/readyz", get(readiness))
        .merge(public::routes())
        .merge(events::routes())
        .method_not_allowed_fallback(wrong_method)
        .fallback(wrong_path)
        .with_state(front.clone())
        .merge(realm_service::router(front))
}

async fn request(State(front): State<Front>, request: Request) -> Response {
    let trail = front.0.traces.arrive(request.headers());
    let mut response = answer(&front, &trail, request).await;
    request_id::tell(&front.0.traces, &trail, response.headers_mut());
    response
}

async fn answer(front: &Front, trail: &Trail, request: Request) -> Response {
    let refuse = |reason| {
        front.0.metrics.refuse(reason);
        reason
    };
    if !request.headers().get(VERSION_HEADER).is_some_and(|value| is_current(value.as_bytes())) {
        refuse(Refusal::Version);
        return text(StatusCode::UPGRADE_REQUIRED, UPGRADE);
    }
    if declared_length(request.headers()).is_some_and(|length| length > MAX_BODY) {
        return respond(&response_to(refuse(Refusal::TooLarge)));
    }
    let seat = request.extensions().get::<Arc<Seat>>().cloned();
    let head = Head::of(request.headers());
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY);
    match tokio::time::timeout(front.0.timeouts.body, body).await {
        Ok(Ok(body)) => respond(&front.answer(&head, trail, &body, seat.as_ref()).await),
        Ok(Err(error)) if is_over_cap(&error) => respond(&response_to(refuse(Refusal::TooLarge))),
        Ok(Err(_)) => {
            refuse(Refusal::Body);
            text(StatusCode::BAD_REQUEST, "the body could not be read\n")
        }
        Err(_) => {
            refuse(Refusal::Body);
            text(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive\n")
        }
    }
}

/// For load balancers. Which check fails is said; why is only for the operator, and is in the status, the log and at the
/// metrics port.
async fn readiness(State(front): State<Front>, headers: HeaderMap) -> Response {
    let relay = front.relay(&Head::of(&headers));
    let ready = relay.map_or_else(|| front.0.backend.readiness(), |relay| relay.readiness());
    if ready.serves() {
        text(StatusCode::OK, &format!("the agent serves\n{}", ready.text(false)))
    } else {
        let why = "the agent does not serve; `strongroom-agent group status` says why";
        text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n{}", ready.text(false)))
    }
}

async fn preflight() -> impl IntoResponse {
    [
        ANY_ORIGIN,
        (ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        // A day: without this, browsers ask again every five seconds.
        (ACCESS_CONTROL_MAX_AGE, "86400"),
    ]
}

async fn wrong_method() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "wrong method; /req takes POST, the rest GET\n")
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn status(response: &ClientResponse) -> StatusCode {
    match response {
        ClientResponse::Ok(_) => StatusCode::OK,
        ClientResponse::DecodingError | ClientResponse::SessionError | ClientResponse::MissingSession => {
            StatusCode::BAD_REQUEST
        }
        ClientResponse::InvalidAuth => StatusCode::UNAUTHORIZED,
        ClientResponse::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ClientResponse::RateLimitExceeded => StatusCode::TOO_MANY_REQUESTS,
        ClientResponse::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn respond(response: &ClientResponse) -> Response {
    let headers = [ANY_ORIGIN, (CONTENT_TYPE, "application/cbor")];
    (status(response), headers, Body::from(response.to_cbor())).into_response()
}
