//! What tenants read of their events: `GET /events…`, with a token of scope `audit` as `Authorization: Bearer …`.
//!
//! The tenant is that of the token, and is in no path: nobody can ask for another's. A path is parsed, and the store is asked for what it
//! means. Pages are sealed to the tenant's key, so that who steals a token, or runs an agent, reads times and sizes alone.
//!
//! With `?wait=` a request for a page that is not there yet is kept until it is, for [`LONGEST_POLL`](super::LONGEST_POLL) at most. It looks into the store every
//! [`LOOKS`], because the page may be another agent's. What that takes of an agent is bounded in `event_places.rs`.

use super::connections::Seat;
use super::door::Front;
use super::event_paths::{EventsRead, Unasked};
use super::event_places::Place;
use super::metrics::{Refusal, Shown};
use super::public::{Held, bearer};
use super::published::NEVER;
use super::relay::Head;
use super::serve::Stopping;
use super::texts::{text, wrong_path};
use crate::token::{Purpose, VerifiedToken};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use strongroom_events::page::MAX_PAGE_BYTES;
use strongroom_replica::ReadOutcome;
use tokio::time::{Instant, sleep_until, timeout};

/// How often it looks.
const LOOKS: Duration = Duration::from_secs(1);
/// When one that got nothing may ask again, in seconds.
const LATER: HeaderValue = HeaderValue::from_static("1");

/// The routes.
pub(super) fn routes() -> Router<Front> {
    Router::new().route("/events", get(events)).route("/events/{*path}", get(events))
}

async fn events(State(front): State<Front>, request: Request) -> Response {
    if front.0.event_places.closed {
        return wrong_path().await;
    }
    let (what, wait) = match EventsRead::at(request.uri().path(), request.uri().query()) {
        Ok(asked) => asked,
        Err(Unasked::Path) => return wrong_path().await,
        Err(Unasked::Query) => {
            return text(
                StatusCode::BAD_REQUEST,
                "a page takes `?wait=SECONDS`, `oldest` takes `?from=PAGE`\n",
            );
        }
    };
    let asking = Asking {
        head: Head::of(request.headers()),
        seat: request.extensions().get::<Arc<Seat>>().cloned(),
        stopping: request.extensions().get::<Stopping>().cloned(),
        wait,
    };
    let found = match bearer(request.headers()) {
        Some(token) => front.events_of(&asking, token, what).await,
        None => Err(Refusal::Token),
    };
    let metrics = &front.0.metrics;
    match found {
        Ok((outcome, place)) => {
            let (shown, response) = answer(what, outcome, place);
            metrics.read(what.label(), shown);
            response
        }
        Err(refusal) => {
            metrics.refuse(refusal);
            metrics.read(what.label(), Shown::Refused);
            refused(refusal)
        }
    }
}

/// One that asks, but for its token.
struct Asking {
    head: Head,
    seat: Option<Arc<Seat>>,
    stopping: Option<Stopping>,
    wait: Duration,
}

impl Asking {
    async fn stops(&self) {
        match &self.stopping {
            Some(stopping) => stopping.begins().await,
            None => pending().await,
        }
    }
}

impl Front {
    /// What a token's tenant asks for. The same checks as for a request, in the same order.
    async fn events_of(
        &self,
        asking: &Asking,
        token: &str,
        what: EventsRead,
    ) -> Result<(ReadOutcome, Option<Place>), Refusal> {
        // What is relayed is a request, and nothing else.
        if self.relay(&asking.head).is_some() {
            return Ok((ReadOutcome::Unavailable, None));
        }
        let realm = self.0.backend.realm().ok_or(Refusal::Realm)?;
        let VerifiedToken { tenant, user } = self.verified(Purpose::Audit, token, &realm)?;
        self.0.rates.count_request(&tenant, &user).map_err(Refusal::Over)?;
        let places = &self.0.event_places;
        let _poll = if asking.wait.is_zero() { None } else { Some(places.poll(&tenant)?) };
        let _work = asking.seat.as_ref().map(Seat::work);
        let until = Instant::now() + asking.wait;
        loop {
            let place = places.read(&tenant).await?;
            let found = timeout(self.0.timeouts.backend, self.0.backend.events(&tenant, what)).await;
            let found = found.unwrap_or(ReadOutcome::Unavailable);
            if found != ReadOutcome::Absent || Instant::now() >= until {
                return Ok((found, Some(place)));
            }
            drop(place);
            tokio::select! {
                biased;
                // So that the agent need not wait for those who wait.
                () = asking.stops() => return Ok((ReadOutcome::Absent, None)),
                () = sleep_until(until.min(Instant::now() + LOOKS)) => {}
            }
        }
    }
}

fn answer(what: EventsRead, outcome: ReadOutcome, place: Option<Place>) -> (Shown, Response) {
    match outcome {
        ReadOutcome::Found(bytes) if bytes.len() > MAX_PAGE_BYTES => {
            let why = "what the store has there is longer than a page may be; tell the operator\n";
            (Shown::Found, text(StatusCode::PAYLOAD_TOO_LARGE, why))
        }
        ReadOutcome::Found(bytes) => {
            let body = Body::from(Bytes::from_owner(Held { bytes, _place: place }));
            let headers = [(CONTENT_TYPE, what.kind()), (CACHE_CONTROL, NEVER)];
            (Shown::Found, (headers, body).into_response())
        }
        ReadOutcome::Absent => {
            let headers = [(CACHE_CONTROL, HeaderValue::from_static(NEVER)), (RETRY_AFTER, LATER)];
            (Shown::Absent, (StatusCode::NO_CONTENT, headers).into_response())
        }
        ReadOutcome::Unavailable => (Shown::Unavailable, refused(Refusal::Realm)),
    }
}

fn refused(refusal: Refusal) -> Response {
    let (status, why) = match refusal {
        Refusal::Token => {
            (StatusCode::UNAUTHORIZED, "the token is missing or not good here; its scope must be `audit`\n")
        }
        Refusal::Over(_) => (StatusCode::TOO_MANY_REQUESTS, "too many requests; wait a while\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "this agent cannot tell now; try again, or ask another\n"),
    };
    let mut response = text(status, why);
    if refusal != Refusal::Token {
        response.headers_mut().insert(RETRY_AFTER, LATER);
    }
    response
}
