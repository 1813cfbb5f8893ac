//! What the front door shows of the realm's logs: `GET /tlog/…` and `GET /statement` to everybody, `GET /tlog/mine` to a user; and to
//! everybody, `GET /extensions`, what the realm understands beside the client protocol.
//!
//! The paths below `/tlog/<group>/` are those of C2SP tlog-tiles. A path is parsed, and the store is asked for what it means: no
//! part of it goes there as it came. Everything shown is signed, or leads to what is; whoever reads verifies.
//!
//! **Memory.** Whoever reads without a token takes a place until the answer is sent or its connection has ended, and is told 503
//! if there is none. An answer has at most [`MAX_NOTE`](super::MAX_NOTE) bytes, so all together have at most 16 MiB by default. These places are no
//! others' places: readers keep nobody from a recovery, except one who needs to read as well.

use super::connections::Seat;
use super::door::Front;
use super::metrics::{ReadLabel, Refusal, Shown};
use super::published::{NEVER, Published};
use super::relay::Head;
use super::texts::{ANY_ORIGIN, text, wrong_path};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION,
    CACHE_CONTROL, CONTENT_TYPE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use strongroom_replica::ReadOutcome;
use tokio::sync::OwnedSemaphorePermit;

/// The routes.
pub(super) fn routes() -> Router<Front> {
    Router::new()
        .route("/tlog/mine", get(mine).options(preflight))
        .route("/tlog/{group}/{*path}", get(log))
        .route("/statement", get(statement))
        .route("/extensions", get(extensions).options(preflight))
}

async fn log(State(front): State<Front>, request: Request) -> Response {
    match Published::at(request.uri().path()) {
        Some(what) => front.show(what).await,
        None => wrong_path().await,
    }
}

async fn statement(State(front): State<Front>) -> Response {
    front.show(Published::Statement).await
}

/// What HSMs of this build understand beside the client protocol (`docs/protocol.md`, sections 17 and 18). Shown also where nothing of the
/// logs is: a client that is not told would not use it.
async fn extensions() -> Response {
    let headers = [ANY_ORIGIN, (CONTENT_TYPE, "application/json"), (CACHE_CONTROL, NEVER)];
    (headers, r#"{"extensions":["attempts","staging"]}"#).into_response()
}

/// The checkpoint of the log that has the record of a token's user.
async fn mine(State(front): State<Front>, request: Request) -> Response {
    let seat = request.extensions().get::<Arc<Seat>>().cloned();
    let head = Head::of(request.headers());
    let label = ReadLabel::Mine;
    let token = bearer(request.headers()).ok_or(Refusal::Token);
    let outcome = match token {
        Ok(token) => front.head_of(&head, token, seat.as_ref()).await,
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(outcome) => front.answer_read(label, ("text/plain; charset=utf-8", NEVER), outcome, None),
        Err(refusal) => {
            front.0.metrics.refuse(refusal);
            front.0.metrics.read(label, Shown::Refused);
            refused(refusal)
        }
    }
}

async fn preflight() -> impl IntoResponse {
    [
        ANY_ORIGIN,
        (ACCESS_CONTROL_ALLOW_HEADERS, "*, Authorization"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (ACCESS_CONTROL_MAX_AGE, "86400"),
    ]
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Token => text(StatusCode::UNAUTHORIZED, "the token is missing or not good; sign in again\n"),
        Refusal::Over(_) => text(StatusCode::TOO_MANY_REQUESTS, "too many requests; wait a while\n"),
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "this agent cannot tell now; try again, or ask another\n"),
    }
}

impl Front {
    async fn show(&self, what: Published) -> Response {
        let metrics = &self.0.metrics;
        if self.0.no_public_reads {
            return wrong_path().await;
        }
        let Ok(place) = Arc::clone(&self.0.readers).try_acquire_owned() else {
            metrics.read(what.label(), Shown::NoPlace);
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many read at once; try again, or ask another\n",
            );
        };
        let read = self.0.backend.published(what);
        let read = tokio::time::timeout(self.0.timeouts.backend, read).await;
        self.answer_read(what.label(), what.kind(), read.unwrap_or(ReadOutcome::Unavailable), Some(place))
    }

    fn answer_read(
        &self,
        label: ReadLabel,
        (kind, caching): (&'static str, &'static str),
        outcome: ReadOutcome,
        place: Option<OwnedSemaphorePermit>,
    ) -> Response {
        let metrics = &self.0.metrics;
        match outcome {
            ReadOutcome::Found(bytes) => {
                metrics.read(label, Shown::Found);
                let body = Body::from(Bytes::from_owner(Held { bytes, _place: place }));
                ([ANY_ORIGIN, (CONTENT_TYPE, kind), (CACHE_CONTROL, caching)], body).into_response()
            }
            ReadOutcome::Absent => {
                metrics.read(label, Shown::Absent);
                let mut answer = text(StatusCode::NOT_FOUND, "nothing is published there\n");
                answer.headers_mut().insert(CACHE_CONTROL, axum::http::HeaderValue::from_static(NEVER));
                answer
            }
            ReadOutcome::Unavailable => {
                metrics.read(label, Shown::Unavailable);
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "this agent cannot tell now; try again, or ask another\n",
                )
            }
        }
    }
}

/// The bytes of an answer, and the place of whoever reads it, until they are sent.
pub(super) struct Held<P> {
    pub(super) bytes: Vec<u8>,
    pub(super) _place: P,
}

impl<P> AsRef<[u8]> for Held<P> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
