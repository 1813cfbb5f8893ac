//! The calls that other agents make.

use crate::grpc::peer::forward_reply::Answer;
use crate::grpc::peer::peer_server::{Peer, PeerServer};
use crate::grpc::peer::{
    DeliverReply, DeliverRequest, ForwardReply, ForwardRequest, HelloReply, HelloRequest, InviteRequest,
    Leading, LeaveRequest, OrderReply, OrderRequest, SetupReply, StatusReply, StatusRequest,
};
use crate::hub::Hub;
use crate::peers::{
    CONNECTIONS, CONNECTIONS_OF_ONE, MAX_MESSAGE_BYTES, PLACES, Places, Sent, agent, hsm_id, to_wire,
};
use crate::traces::{RequestId, Trail};
use bytes::Bytes;
use futures::{FutureExt, Stream, TryStreamExt};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use strongroom_proto::change::Retirement;
use strongroom_proto::client::MAX_REQUEST_BODY;
use strongroom_proto::hsm::{self, BatchRequest, MAX_GROUPS};
use strongroom_proto::ids::{GroupId, HsmId};
use strongroom_proto::statement::GroupStatement;
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::{MAX_OWNER_BYTES, Owner, Shared};
use tonic::{Code, Request, Response, Status, Streaming};

/// The longest client request accepted from another agent: the record id and everything that a client may send.
const MAX_FORWARD_BYTES: usize = MAX_REQUEST_BODY + 128;

/// How many groups an HSM may be in for its agent to accept an invitation. Groups are permanent and an HSM has few
/// places; half of them are for its own operator to give away.
const MAX_INVITED: usize = MAX_GROUPS / 2;

/// The service that other agents call. Not for anyone else: see [`crate::peers::agents_only`].
pub(crate) struct PeerService {
    hub: Arc<Hub>,
    /// Calls with requests, for each caller.
    calls: Places<HsmId>,
}

impl PeerService {
    pub(crate) fn server(hub: Arc<Hub>) -> PeerServer<Self> {
        PeerServer::new(Self { hub, calls: Places::default() }).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    fn expect_own(&self, to: &[u8]) -> Result<(), Status> {
        if is_own(&self.hub, to) {
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

/// Whether it is the id of the HSM that this agent has now.
fn is_own(hub: &Hub, id: &[u8]) -> bool {
    let own = hub.hsm_id();
    own.is_some() && own == hsm_id(id)
}

/// The answers to requests that come in one call, in the order in which they are known.
type Answers = Pin<Box<dyn Stream<Item = Result<ForwardReply, Status>> + Send>>;

/// Asks for the answers to the requests of a call, to so many at once. The others stay with the sender: nothing more is
/// read meanwhile, nor while the sender does not read the answers.
fn answers<F>(
    requests: impl Stream<Item = Result<ForwardRequest, Status>> + Send + 'static,
    mut ask: impl FnMut(ForwardRequest) -> F + Send + 'static,
) -> Answers
where
    F: Future<Output = ForwardReply> + Send + 'static,
{
    let answered = requests.map_ok(move |request| ask(request).map(Ok));
    Box::pin(answered.try_buffer_unordered(PLACES))
}

async fn answer(hub: &Hub, from: HsmId, request: ForwardRequest) -> ForwardReply {
    let trail = trail(hub, &request);
    let ForwardRequest { to, request, handshake_only, owner, id, .. } = request;
    if !is_own(hub, &to) {
        return ForwardReply { id, answer: Some(Answer::OtherHsm(true)) };
    }
    let fits = request.len() <= MAX_FORWARD_BYTES && owner.len() <= MAX_OWNER_BYTES;
    let read = if fits { minicbor::decode::<BatchRequest>(&request).ok() } else { None };
    // Not held while the request waits: they are parts of a buffer that is as long as the sender likes.
    let owner = Owner(owner.to_vec());
    drop((to, request));
    let Some(request) = read else {
        tracing::debug!(request = %trail.request, "a forwarded request was refused: it is none that a client may send");
        return ForwardReply { id, answer: Some(Answer::Unavailable(true)) };
    };
    tracing::debug!(request = %trail.request, %from, "a request came from another agent");
    to_wire(id, &hub.ask(Sent { request, handshake_only, owner }, &trail).await)
}

/// What its sender says goes along with a request. An agent from before requests had ids says nothing.
fn trail(hub: &Hub, request: &ForwardRequest) -> Trail {
    let ForwardRequest { request_high: high, request_low: low, span, sampled, .. } = *request;
    if (high, low) == (0, 0) {
        return hub.traces().unknown();
    }
    Trail { request: RequestId::new(high, low), parent: span, sampled }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let leading = |status: strongroom_replica::Status| {
            let prefixes = minicbor::to_vec(&status.prefixes).ok()?;
            Some(Leading { leader: status.leader?.0.to_vec().into(), prefixes: prefixes.into() })
        };
        let groups = self.hub.groups().into_iter().filter_map(|(_, status)| leading(status)).collect();
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
            self.hub.deliver(caller, message).await;
        }
        Ok(Response::new(DeliverReply {}))
    }

    type ForwardStream = Answers;

    async fn forward(
        &self,
        request: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let caller = agent(&request)?;
        let place = self.calls.take(caller, CONNECTIONS_OF_ONE, CONNECTIONS);
        let place =
            place.ok_or_else(|| Status::resource_exhausted("too many calls with requests at once"))?;
        let hub = Arc::clone(&self.hub);
        let answers = answers(request.into_inner(), move |request| {
            // It is the call's, and ends with it.
            let (hub, _) = (Arc::clone(&hub), &place);
            async move { answer(&hub, caller, request).await }
        });
        Ok(Response::new(answers))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.hub.status().await))
    }

    async fn invite(&self, request: Request<InviteRequest>) -> Result<Response<SetupReply>, Status> {
        let InviteRequest { to, statement } = request.into_inner();
        self.expect_own(&to)?;
        let statement: GroupStatement = minicbor::decode(&statement)
            .map_err(|_| Status::invalid_argument("`statement` is a GroupStatement"))?;
        let joined = self.hub.device().map_or(0, |device| device.groups.len());
        let again = self.hub.groups().iter().any(|(group, _)| *group == statement.group);
        if joined >= MAX_INVITED && !again {
            return Err(Status::resource_exhausted(
                "its HSM is in many groups; have it join this one with `group join`, at its own agent",
            ));
        }
        self.hub.set_up(hsm::Request::JoinGroup(statement)).await.map(Response::new)
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<SetupReply>, Status> {
        let LeaveRequest { to, group, proof } = request.into_inner();
        self.expect_own(&to)?;
        let group = group.as_ref().try_into().map(GroupId);
        let group = group.map_err(|_| Status::invalid_argument("`group` is the 16 bytes of a group id"))?;
        let proof =
            minicbor::decode(&proof).map_err(|_| Status::invalid_argument("`proof` is a Retirement"))?;
        // Everything that is open with the group in others ends by its last entry, which nobody can state again once most have left.
        if matches!(proof, Retirement::Entry(_)) && self.hub.last_entry(group).await.is_none() {
            return Err(Status::failed_precondition("the group's last entry is not stored yet; try again"));
        }
        // The HSM believes nothing but the proof.
        let left = self.hub.set_up(hsm::Request::Leave(group, Some(proof))).await;
        self.hub.start_groups();
        left.map(Response::new)
    }

    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<OrderReply>, Status> {
        let OrderRequest { to, group, order } = request.into_inner();
        self.expect_own(&to)?;
        let group = group.as_ref().try_into().map(GroupId);
        let group = group.map_err(|_| Status::invalid_argument("`group` is the 16 bytes of a group id"))?;
        let order = minicbor::decode(&order).map_err(|_| Status::invalid_argument("not an order"))?;
        let end = self.hub.order_here(group, order).await;
        let end = minicbor::to_vec(&end).map_err(|_| Status::internal("an end that cannot be encoded"))?;
        Ok(Response::new(OrderReply { end: end.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream};
    use std::future::{pending, ready};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn endless() -> impl Stream<Item = Result<ForwardRequest, Status>> {
        stream::iter(0..).map(|id| Ok(ForwardRequest { id, ..ForwardRequest::default() }))
    }

    #[test]
    fn a_sender_that_never_stops_has_no_more_under_way_than_there_are_places() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let mut answers = answers(endless(), move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            pending()
        });
        for _ in 0..9 {
            assert!(answers.next().now_or_never().is_none());
        }
        assert_eq!(asked.load(Ordering::Relaxed), PLACES);
    }

    #[test]
    fn nothing_is_read_for_a_sender_that_does_not_read_its_answers() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let mut answers = answers(endless(), move |request| {
            count.fetch_add(1, Ordering::Relaxed);
            ready(ForwardReply { id: request.id, answer: None })
        });
        let read = (0..1000).map(|_| answers.next().now_or_never().flatten().expect("one more"));
        assert_eq!(read.filter(Result::is_ok).count(), 1000);
        assert!(asked.load(Ordering::Relaxed) <= 1000 + PLACES);
    }

    #[test]
    fn a_call_that_its_sender_ends_goes_on_until_all_is_answered_and_one_that_breaks_does_not() {
        let request = |id| Ok(ForwardRequest { id, ..ForwardRequest::default() });
        let late = |request: ForwardRequest| ready(ForwardReply { id: request.id, answer: None });
        let ended = answers(stream::iter([request(1), request(2)]), late);
        let ids = ended.map(|reply| reply.map_or(0, |reply| reply.id)).collect::<Vec<_>>();
        assert_eq!(ids.now_or_never().as_deref(), Some(&[1, 2][..]));
        let broken = stream::iter([request(1), Err(Status::cancelled("gone"))]);
        let mut broken = answers(broken, |_| pending());
        assert!(broken.next().now_or_never().flatten().is_some_and(|last| last.is_err()));
    }
}
