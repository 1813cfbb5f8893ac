//! The same front door over gRPC. A refusal is a `ClientResponse` with gRPC status OK.

use super::http::{UPGRADE, is_current};
use super::{Front, MAX_REQUEST_BODY, VERSION_HEADER};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response as HttpResponse;
use strongroom_proto::grpc::realm::realm_server::{Realm, RealmServer};
use strongroom_proto::grpc::realm::{RealmRequest, RealmResponse};
use tonic::{Request, Response, Status};

/// The path of every method of the service.
const ROUTE: &str = "/strongroom.v1.Realm/{*method}";

/// Room for an oversized body, so that it gets `PayloadTooLarge` rather than a gRPC status; beyond, the latter.
const MAX_MESSAGE: usize = 2 * MAX_REQUEST_BODY;

/// The service's route.
pub(super) fn router(front: Front) -> Router {
    let service = RealmServer::new(front.clone()).max_decoding_message_size(MAX_MESSAGE);
    Router::new().route_service(ROUTE, service).route_layer(from_fn_with_state(front, bounded))
}

/// Takes a place for the call, and time, before its message is read.
async fn bounded(State(front): State<Front>, request: HttpRequest, next: Next) -> HttpResponse {
    let Some(_place) = front.place() else {
        return Status::unavailable("too many requests in flight; try again").into_http::<Body>();
    };
    let timeouts = front.0.timeouts;
    // The backend has its own time; this one is for a message that does not arrive.
    let response = tokio::time::timeout(timeouts.body.saturating_add(timeouts.backend), next.run(request));
    response.await.unwrap_or_else(|_| {
        Status::deadline_exceeded("the message took too long to arrive").into_http::<Body>()
    })
}

#[tonic::async_trait]
impl Realm for Front {
    async fn call(&self, request: Request<RealmRequest>) -> Result<Response<RealmResponse>, Status> {
        if request
            .metadata()
            .get(VERSION_HEADER)
            .is_some_and(|version| !is_current(version.as_encoded_bytes()))
        {
            return Err(Status::failed_precondition(UPGRADE.trim_end()));
        }
        let answer = self.answer(&request.get_ref().body).await;
        Ok(Response::new(RealmResponse { body: answer.to_cbor().into() }))
    }
}
