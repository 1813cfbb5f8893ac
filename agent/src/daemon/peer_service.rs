//! The calls that other agents make.

use crate::grpc::peer::peer_server::{Peer, PeerServer};
use crate::grpc::peer::{
    DeliverReply, DeliverRequest, ForwardReply, ForwardRequest, HelloReply, HelloRequest, InviteRequest,
    Leading, SetupReply, StatusReply, StatusRequest,
};
use crate::hub::Hub;
use crate::peers::{MAX_MESSAGE_BYTES, agent, hsm_id, to_wire};
use bytes::Bytes;
use std::sync::Arc;
use strongroom_proto::client::MAX_REQUEST_BODY;
use strongroom_proto::hsm::{self, BatchRequest, MAX_GROUPS};
use strongroom_proto::ids::HsmId;
use strongroom_proto::statement::GroupStatement;
use strongroom_replica::Shared;
use strongroom_replica::peer::PeerMessage;
use tonic::{Code, Request, Response, Status, Streaming};

/// The longest client request accepted from another agent: the record id and everything that a client may send.
const MAX_FORWARD_BYTES: usize = MAX_REQUEST_BODY + 128;

/// How many groups an HSM may be in for its agent to accept an invitation. Groups are permanent and an HSM has few
/// places; half of them are for its own operator to give away.
const MAX_INVITED: usize = MAX_GROUPS / 2;

/// The service that other agents call. Not for anyone else: see [`crate::peers::agents_only`].
pub(crate) struct PeerService(Arc<Hub>);

impl PeerService {
    pub(crate) fn server(hub: Arc<Hub>) -> PeerServer<Self> {
        PeerServer::new(Self(hub)).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    fn expect_own(&self, to: &[u8]) -> Result<(), Status> {
        let own = self.0.hsm_id();
        if own.is_some() && own == hsm_id(to) {
            return Ok(());
        }
        Err(Status::failed_precondition("this agent has another HSM now; connect again"))
    }

    /// Reads a message from the agent of the HSM `caller`.
    fn read(&self, caller: HsmId, request: DeliverRequest) -> Result<PeerMessage, Status> {
        let DeliverRequest { from, to, message, segment, paths } = request;
        self.expect_own(&to)?;
        if hsm_id(&from) != Some(caller) {
            return Err(Status::permission_denied("`from` is the HSM in the sender's certificate"));
        }
        let message = PeerMessage::from_bytes(&message);
        // Copied, because they are parts of a buffer that is as long as the sender likes, and what is kept is counted.
        let exact = |bytes: Bytes| Shared::from(bytes.to_vec());
        let whole = message.and_then(|message| message.join(exact(segment), exact(paths)));
        whole.map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let leading = |status: strongroom_replica::Status| {
            let prefixes = minicbor::to_vec(&status.prefixes).ok()?;
            Some(Leading { leader: status.leader?.0.to_vec().into(), prefixes: prefixes.into() })
        };
        let groups = self.0.groups().into_iter().filter_map(|(_, status)| leading(status)).collect();
        Ok(Response::new(HelloReply { groups }))
    }

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Result<Response<DeliverReply>, Status> {
        let caller = agent(&request)?;
        let mut sent = request.into_inner();
        while let Some(request) = sent.message().await? {
            let message = match self.read(caller, request) {
                // Perhaps one of a later version. What comes after it may be read.
                Err(error) if error.code() == Code::InvalidArgument => {
                    tracing::debug!(from = %caller, %error, "a peer's message was refused");
                    continue;
                }
                read => read?,
            };
            // A sender of segments stops until then: its transport holds what is not read here.
            self.0.deliver(caller, message).await;
        }
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

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.0.status().await))
    }

    async fn invite(&self, request: Request<InviteRequest>) -> Result<Response<SetupReply>, Status> {
        let InviteRequest { to, statement } = request.into_inner();
        self.expect_own(&to)?;
        let statement: GroupStatement = minicbor::decode(&statement)
            .map_err(|_| Status::invalid_argument("`statement` is a GroupStatement"))?;
        let joined = self.0.device().map_or(0, |device| device.groups.len());
        let again = self.0.groups().iter().any(|(group, _)| *group == statement.group);
        if joined >= MAX_INVITED && !again {
            return Err(Status::resource_exhausted(
                "its HSM is in many groups; have it join this one with `group join`, at its own agent",
            ));
        }
        self.0.set_up(hsm::Request::JoinGroup(statement)).await.map(Response::new)
    }
}
