//! The same front door over gRPC. A refusal is a `ClientResponse` with gRPC status OK.

use super::connections::Seat;
use super::door::{Front, MAX_BODY};
use super::metrics::Refusal;
use super::relay::Head;
use super::request_id;
use super::version::{UPGRADE, VERSION_HEADER, is_current, is_over_cap};
use crate::grpc::realm::realm_server::{Realm, RealmServer};
use crate::grpc::realm::{RealmRequest, RealmResponse};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response as HttpResponse;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The path of every method of the service.
const ROUTE: &str = "/strongroom.v1.Realm/{*method}";

/// Room for an oversized body, so that it gets `PayloadTooLarge` rather than a gRPC status; beyond this, the status.
const MAX_MESSAGE: usize = MAX_BODY + 1024;
/// What gRPC puts before a message: a flag and its length.
const MESSAGE_HEAD: usize = 5;

/// The service's route.
pub(super) fn router(front: Front) -> Router {
    let service = RealmServer::new(front.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Router::new().route_service(ROUTE, service).route_layer(from_fn_with_state(front, bounded))
}

/// Reads the whole message, in bounded memory and time, before there is a call: a message that waits here has no place.
async fn bounded(State(front): State<Front>, request: HttpRequest, next: Next) -> HttpResponse {
    let refuse = |reason, status: Status| {
        front.0.metrics.refuse(reason);
        status.into_http::<Body>()
    };
    if request.headers().get(VERSION_HEADER).is_some_and(|version| !is_current(version.as_bytes())) {
        return refuse(Refusal::Version, Status::failed_precondition(UPGRADE.trim_end()));
    }
    let (head, body) = request.into_parts();
    let message = axum::body::to_bytes(body, MESSAGE_HEAD + MAX_MESSAGE);
    match tokio::time::timeout(front.0.timeouts.body, message).await {
        Ok(Ok(message)) => next.run(HttpRequest::from_parts(head, Body::from(message))).await,
        Ok(Err(error)) if is_over_cap(&error) => {
            refuse(Refusal::TooLarge, Status::out_of_range("the message is larger than any that is accepted"))
        }
        Ok(Err(_)) => refuse(Refusal::Body, Status::invalid_argument("the message could not be read")),
        Err(_) => refuse(Refusal::Body, Status::deadline_exceeded("the message took too long to arrive")),
    }
}

#[tonic::async_trait]
impl Realm for Front {
    async fn call(&self, request: Request<RealmRequest>) -> Result<Response<RealmResponse>, Status> {
        let seat = request.extensions().get::<Arc<Seat>>().cloned();
        let (metadata, _, request) = request.into_parts();
        let headers = metadata.into_headers();
        let (head, trail) = (Head::of(&headers), self.0.traces.arrive(&headers));
        let answer = self.answer(&head, &trail, &request.body, seat.as_ref()).await;
        let mut response = Response::new(RealmResponse { body: answer.to_cbor().into() });
        request_id::tell(&self.0.traces, &trail, response.metadata_mut().as_mut());
        Ok(response)
    }
}
