//! Being called by other agents.

use super::{MAX_MESSAGE_BYTES, hsm_id, to_wire};
use crate::agent::Core;
use std::sync::Arc;
use strongroom_proto::client::MAX_REQUEST_BODY;
use strongroom_proto::grpc::peer::peer_server::{Peer, PeerServer};
use strongroom_proto::grpc::peer::{
    DeliverReply, DeliverRequest, ForwardReply, ForwardRequest, HelloReply, HelloRequest,
};
use strongroom_proto::hsm::BatchRequest;
use strongroom_proto::peer::PeerMessage;
use tonic::{Request, Response, Status};

/// The longest client's request that is taken from another agent: the record id and all that a client may send.
const MAX_FORWARD_BYTES: usize = MAX_REQUEST_BODY + 128;

/// The service that other agents call.
pub(crate) struct PeerService(Arc<Core>);

impl PeerService {
    pub(crate) fn server(core: Arc<Core>) -> PeerServer<Self> {
        PeerServer::new(Self(core)).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    fn expect_own(&self, to: &[u8]) -> Result<(), Status> {
        let own = self.0.hsm_id();
        if own.is_some() && own == hsm_id(to) {
            return Ok(());
        }
        Err(Status::failed_precondition("this agent has another HSM; ask it with Hello which one"))
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let hsm = self.0.hsm_id().map(|id| id.0.to_vec()).unwrap_or_default();
        Ok(Response::new(HelloReply { hsm: hsm.into() }))
    }

    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverReply>, Status> {
        let DeliverRequest { from, to, message } = request.into_inner();
        self.expect_own(&to)?;
        let from =
            hsm_id(&from).ok_or_else(|| Status::invalid_argument("`from` is the 16 bytes of an HSM id"))?;
        let message =
            PeerMessage::from_bytes(&message).map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.0.deliver(from, message);
        Ok(Response::new(DeliverReply {}))
    }

    async fn forward(&self, request: Request<ForwardRequest>) -> Result<Response<ForwardReply>, Status> {
        let ForwardRequest { to, request, handshake_only } = request.into_inner();
        self.expect_own(&to)?;
        if request.len() > MAX_FORWARD_BYTES {
            return Err(Status::invalid_argument("`request` is longer than any that a client may send"));
        }
        let request: BatchRequest = minicbor::decode(&request)
            .map_err(|_| Status::invalid_argument("`request` is a BatchRequest"))?;
        let answer = self.0.ask(request, handshake_only).await;
        Ok(Response::new(to_wire(&answer)))
    }
}
