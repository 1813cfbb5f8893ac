//! A peer in memory that does with each call what the test says.

use super::super::{Timeouts, endpoint};
use super::*;
use crate::grpc::peer::forward_reply::Answer as Wire;
use crate::grpc::peer::peer_server::{Peer, PeerServer};
use crate::grpc::peer::{
    DeliverReply, DeliverRequest, HelloReply, HelloRequest, InviteRequest, LeaveRequest, OrderReply,
    OrderRequest, SetupReply, StatusReply, StatusRequest,
};
use crate::traces::RequestId;
use futures::FutureExt;
use futures::future::join_all;
use hyper_util::rt::TokioIo;
use std::io;
use strongroom_proto::ids::{RecordId, SessionId};
use strongroom_replica::Answer;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response};
use tower::service_fn;

const PEER: HsmId = HsmId([9; 16]);
const PATIENCE: Duration = Duration::from_secs(12);
const TRAIL: Trail = Trail::unsampled(RequestId::new(1, 2));

/// A call that the peer has taken.
struct Taken {
    requests: Streaming<ForwardRequest>,
    answers: mpsc::UnboundedSender<Result<ForwardReply, Status>>,
}

impl Taken {
    async fn request(&mut self) -> ForwardRequest {
        self.requests.message().await.expect("the call goes on").expect("one more")
    }

    /// Answers a request with its session, so that the asker knows it for its own.
    fn answer(&self, request: &ForwardRequest) {
        let asked: BatchRequest = minicbor::decode(&request.request).expect("a request");
        self.say(request.id, Wire::NotLeader(vec![u8::try_from(asked.session.0).expect("small"); 16].into()));
    }

    fn say(&self, id: u64, answer: Wire) {
        self.answers.send(Ok(ForwardReply { id, answer: Some(answer) })).expect("the call goes on");
    }
}

#[derive(Clone)]
struct Scripted {
    calls: mpsc::UnboundedSender<Taken>,
    refuses: Option<Code>,
}

#[tonic::async_trait]
impl Peer for Scripted {
    type ForwardStream = UnboundedReceiverStream<Result<ForwardReply, Status>>;

    async fn forward(
        &self,
        request: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        if let Some(code) = self.refuses {
            return Err(Status::new(code, "as told"));
        }
        let (answers, answered) = mpsc::unbounded_channel();
        self.calls.send(Taken { requests: request.into_inner(), answers }).expect("the test waits");
        Ok(Response::new(UnboundedReceiverStream::new(answered)))
    }

    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn deliver(&self, _: Request<Streaming<DeliverRequest>>) -> Result<Response<DeliverReply>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn invite(&self, _: Request<InviteRequest>) -> Result<Response<SetupReply>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn leave(&self, _: Request<LeaveRequest>) -> Result<Response<SetupReply>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn order(&self, _: Request<OrderRequest>) -> Result<Response<OrderReply>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// The way to such a peer, and its calls as they come.
fn to_peer(refuses: Option<Code>) -> (Arc<Forwards>, mpsc::UnboundedReceiver<Taken>) {
    let (calls, taken) = mpsc::unbounded_channel();
    let connector = service_fn(move |_| {
        let (near, far) = tokio::io::duplex(1 << 16);
        let service = PeerServer::new(Scripted { calls: calls.clone(), refuses });
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(tokio_stream::once(Ok::<_, io::Error>(far))));
        async move { Ok::<_, io::Error>(TokioIo::new(near)) }
    });
    let channel = endpoint(&Timeouts::all(PATIENCE)).connect_with_connector_lazy(connector);
    (Arc::new(Forwards::new(PeerClient::new(channel), PATIENCE)), taken)
}

fn sent(session: u32) -> Sent {
    let message = NoiseMessage::Transport { ciphertext: vec![1; 500].into() };
    BatchRequest { record: RecordId([7; 32]), session: SessionId(session), message, time: None }.into()
}

/// Sends a request; its outcome comes later.
fn ask(forwards: &Arc<Forwards>, session: u32) -> JoinHandle<Forwarded> {
    let forwards = Arc::clone(forwards);
    tokio::spawn(async move { forwards.forward(PEER, &sent(session), &TRAIL).await })
}

fn answered(session: u8) -> Forwarded {
    Forwarded::Answer(Answer::NotLeader(Some(HsmId([session; 16]))))
}

async fn outcomes(asked: Vec<JoinHandle<Forwarded>>) -> Vec<Forwarded> {
    join_all(asked).await.into_iter().map(|ended| ended.expect("no panic")).collect()
}

#[tokio::test(start_paused = true)]
async fn answers_in_any_order_go_each_to_its_own_request_of_one_call() {
    let (forwards, mut calls) = to_peer(None);
    let asked: Vec<_> = (1..=9).map(|session| ask(&forwards, session)).collect();
    let mut call = calls.recv().await.expect("a call");
    let mut taken = Vec::new();
    for _ in 1..=9 {
        taken.push(call.request().await);
    }
    assert!(taken.iter().all(|request| request.to == PEER.0[..] && !request.handshake_only));
    taken.iter().rev().for_each(|request| call.answer(request));
    assert_eq!(outcomes(asked).await, (1..=9).map(answered).collect::<Vec<_>>());
    assert!(calls.recv().now_or_never().is_none(), "there is one call");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_breaks_leaves_what_it_took_unknown_and_the_next_request_opens_another() {
    for broken in [Some(Code::Unavailable), Some(Code::FailedPrecondition), None] {
        let (forwards, mut calls) = to_peer(None);
        let asked: Vec<_> = (1..=3).map(|session| ask(&forwards, session)).collect();
        let mut call = calls.recv().await.expect("a call");
        for _ in 1..=3 {
            let request = call.request().await;
            if request.id == 1 {
                call.answer(&request);
            }
        }
        if let Some(code) = broken {
            call.answers.send(Err(Status::new(code, "as told"))).expect("the call goes on");
        }
        drop(call);
        let outcomes = outcomes(asked).await;
        let unknown = outcomes.iter().filter(|outcome| **outcome == Forwarded::Unknown).count();
        assert_eq!(unknown, 2, "{broken:?}: {outcomes:?}");
        let next = ask(&forwards, 4);
        let mut call = calls.recv().await.expect("another call");
        let request = call.request().await;
        call.answer(&request);
        assert_eq!(next.await.expect("no panic"), answered(4));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_call_never_took_was_not_sent() {
    let (forwards, _calls) = to_peer(Some(Code::FailedPrecondition));
    let asked = (1..=3).map(|session| ask(&forwards, session)).collect();
    assert!(outcomes(asked).await.iter().all(|outcome| *outcome == Forwarded::NotSent));
    let (forwards, _calls) = to_peer(Some(Code::Internal));
    assert_eq!(forwards.forward(PEER, &sent(1), &TRAIL).await, Forwarded::Unknown);

    let absent = service_fn(|_| async {
        Err::<TokioIo<tokio::io::DuplexStream>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
    });
    let channel = endpoint(&Timeouts::all(PATIENCE)).connect_with_connector_lazy(absent);
    let forwards = Arc::new(Forwards::new(PeerClient::new(channel), PATIENCE));
    let asked = (1..=3).map(|session| ask(&forwards, session)).collect();
    assert!(outcomes(asked).await.iter().all(|outcome| *outcome == Forwarded::NotSent));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_peer_refuses_may_go_elsewhere_and_the_others_of_its_call_go_on() {
    let (forwards, mut calls) = to_peer(None);
    let (refused, served) = (ask(&forwards, 1), ask(&forwards, 2));
    let mut call = calls.recv().await.expect("a call");
    let (first, second) = (call.request().await, call.request().await);
    call.say(first.id, Wire::OtherHsm(true));
    call.answer(&second);
    assert_eq!(refused.await.expect("no panic"), Forwarded::NotSent);
    assert_eq!(served.await.expect("no panic"), answered(2));
}

#[tokio::test(start_paused = true)]
async fn answers_to_nothing_that_waits_are_ignored() {
    let (forwards, mut calls) = to_peer(None);
    let (given_up, asked) = (ask(&forwards, 1), ask(&forwards, 2));
    let mut call = calls.recv().await.expect("a call");
    let (first, second) = (call.request().await, call.request().await);
    given_up.abort();
    assert!(given_up.await.is_err());
    for id in [first.id, u64::MAX, 77, first.id] {
        call.say(id, Wire::Unavailable(true));
    }
    call.answer(&second);
    call.say(second.id, Wire::Unavailable(true));
    assert_eq!(asked.await.expect("no panic"), answered(2), "the first answer counts");
    let next = ask(&forwards, 3);
    let third = call.request().await;
    call.answer(&third);
    assert_eq!(next.await.expect("no panic"), answered(3));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_holds_up_a_bounded_number_of_requests_and_each_for_its_time() {
    let (forwards, mut calls) = to_peer(None);
    let began = Instant::now();
    let asked: Vec<_> =
        (0..u32::try_from(PLACES).expect("few") + 9).map(|session| ask(&forwards, session)).collect();
    let call = calls.recv().await.expect("a call");
    let open = forwards.call.lock().clone().expect("a call").open;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(open.lock().askers.as_ref().map(BTreeMap::len), Some(PLACES));
    let outcomes = outcomes(asked).await;
    assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs(), "they waited at the same time");
    let unknown = outcomes.iter().filter(|outcome| **outcome == Forwarded::Unknown).count();
    let not_sent = outcomes.iter().filter(|outcome| **outcome == Forwarded::NotSent).count();
    assert!(unknown >= PLACES && unknown + not_sent == PLACES + 9, "{unknown} unknown, {not_sent} not sent");
    assert_eq!(open.lock().askers.as_ref().map(BTreeMap::len), Some(0), "nothing waits any more");
    drop(call);
}

#[tokio::test(start_paused = true)]
async fn a_call_gives_way_to_another_after_a_while_and_is_then_answered_to_its_end() {
    let (forwards, mut calls) = to_peer(None);
    let old = ask(&forwards, 1);
    let mut first = calls.recv().await.expect("a call");
    let held = first.request().await;
    tokio::time::sleep(CALL_AGE).await;
    let new = ask(&forwards, 2);
    let mut second = calls.recv().await.expect("another call");
    let request = second.request().await;
    second.answer(&request);
    assert_eq!(new.await.expect("no panic"), answered(2));
    assert!(first.requests.message().await.is_ok_and(|more| more.is_none()), "its sender has ended it");
    first.answer(&held);
    assert_eq!(old.await.expect("no panic"), answered(1));
}
