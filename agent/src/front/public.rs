//! What the front door shows of the realm's logs: `GET /tlog/…` and `GET /statement` to everybody, `GET /tlog/mine` to a user.
//!
//! The paths below `/tlog/<group>/` are those of C2SP tlog-tiles. A path is parsed, and the store is asked for what it means: no
//! part of it goes there as it came. Everything shown is signed, or leads to what is; whoever reads verifies.
//!
//! **Memory.** Whoever reads without a token takes a place until the answer is sent or its connection has ended, and is told 503
//! if there is none. An answer has at most [`MAX_NOTE`] bytes, so all together have at most 16 MiB by default. These places are no
//! others' places: readers keep nobody from a recovery, except one who needs to read as well.

use super::connections::Seat;
use super::door::Front;
use super::http::{ANY_ORIGIN, text, wrong_path};
use super::metrics::{ReadLabel, Refusal, Shown};
use super::relay::Head;
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
use strongroom_proto::ids::{GroupId, TreeHash};
use strongroom_replica::ReadOutcome;
use strongroom_tlog::Resource;
use strongroom_tlog::tile::FULL;
use tokio::sync::OwnedSemaphorePermit;

/// The longest checkpoint or statement that is shown, in bytes.
pub const MAX_NOTE: u64 = 64 * 1024;

/// What never changes at its path.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// What may be another the next moment. A cache that kept it would make a log look as if it had gone back.
const NEVER: &str = "no-store";

/// What everybody may read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Published {
    /// What is published of the log of a group.
    Log(GroupId, Resource),
    /// What the realm's custodians state of it.
    Statement,
}

impl Published {
    /// The most bytes that it has.
    #[must_use]
    pub const fn longest(&self) -> u64 {
        match self {
            Self::Statement | Self::Log(_, Resource::Checkpoint) => MAX_NOTE,
            Self::Log(_, Resource::Hashes(_) | Resource::Entries(_)) => FULL as u64 * TreeHash::LEN as u64,
        }
    }

    /// What is at this path of the front door, in the one spelling that it has.
    fn at(path: &str) -> Option<Self> {
        let (group, resource) = path.strip_prefix("/tlog/")?.split_once('/')?;
        let id: GroupId = group.parse().ok()?;
        (id.to_string() == group).then_some(())?;
        Some(Self::Log(id, Resource::parse(resource).ok()?))
    }

    const fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Statement | Self::Log(_, Resource::Checkpoint) => ("text/plain; charset=utf-8", NEVER),
            Self::Log(_, Resource::Hashes(_) | Resource::Entries(_)) => {
                ("application/octet-stream", FOR_EVER)
            }
        }
    }

    const fn label(&self) -> ReadLabel {
        match self {
            Self::Statement => ReadLabel::Statement,
            Self::Log(_, Resource::Checkpoint) => ReadLabel::Checkpoint,
            Self::Log(_, Resource::Hashes(_) | Resource::Entries(_)) => ReadLabel::Tile,
        }
    }
}

/// The routes.
pub(super) fn routes() -> Router<Front> {
    Router::new()
        .route("/tlog/mine", get(mine).options(preflight))
        .route("/tlog/{group}/{*path}", get(log))
        .route("/statement", get(statement))
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

fn bearer(headers: &HeaderMap) -> Option<&str> {
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
struct Held {
    bytes: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling_and_names_nothing_else_of_the_store() {
        let group = "0123456789abcdef0123456789abcdef";
        let at = |path: &str| Published::at(&path.replace("GROUP", group));
        let parsed = |path: String| match at(&path) {
            Some(Published::Log(id, resource)) => Some((id.to_string(), resource.to_string())),
            other => panic!("{other:?}"),
        };
        for good in ["checkpoint", "tile/0/000", "tile/2/x001/234.p/5", "tile/entries/000.p/255"] {
            assert_eq!(parsed(format!("/tlog/GROUP/{good}")), Some((group.into(), good.into())));
        }
        let bad = [
            "/tlog/GROUP/head/0000000000000001",
            "/tlog/GROUP/../log/0",
            "/tlog/GROUP/tile/0/../../checkpoint",
            "/tlog/GROUP/tile/0/0",
            "/tlog/GROUP/checkpoint/",
            "/tlog/GROUP//checkpoint",
            "/tlog/GROUP/check%70oint",
            "/tlog/GROUP/tile/0/000.p/256",
            "/tlog/GROUP/",
            "/tlog/GROUP",
            "/tlog//checkpoint",
            "/tlog/0123456789ABCDEF0123456789abcdef/checkpoint",
            "/tlog/01234567-89ab-cdef-0123-456789abcdef/checkpoint",
            "/tlog/00/checkpoint",
            "/TLOG/GROUP/checkpoint",
        ];
        for path in bad {
            assert_eq!(at(path), None, "{path}");
        }
    }
}
