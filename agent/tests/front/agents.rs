//! Agents without replicas: finding each other, forwarding exactly once, and ending.

use crate::bare::{Bare, channel, config, identity, peer_url, peers, serve, start, until, who};
use futures::StreamExt;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use object_store::memory::InMemory;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strongroom_agent::admin::{AdminError, Client};
use strongroom_agent::daemon::{Agent, Sockets};
use strongroom_agent::grpc::peer::admin_client::AdminClient;
use strongroom_agent::grpc::peer::forward_reply::Answer as WireAnswer;
use strongroom_agent::grpc::peer::peer_client::PeerClient;
use strongroom_agent::grpc::peer::peer_server::{Peer, PeerServer};
use strongroom_agent::grpc::peer::{
    DeliverReply, DeliverRequest, ForwardReply, ForwardRequest, HelloReply, HelloRequest, InviteRequest,
    LeaveRequest, OrderReply, OrderRequest, SetupReply, SetupRequest, StatusReply, StatusRequest,
};
use strongroom_agent::link::{Link, Lost};
use strongroom_agent::peers::Forwarded;
use strongroom_agent::store::Store;
use strongroom_agent::traces::{RequestId, Trail};
use strongroom_proto::enrolment::RealmPolicy;
use strongroom_proto::hsm::{BatchRequest, NoiseMessage, Refusal, Request};
use strongroom_proto::ids::{GroupId, HsmId, RecordId, SessionId};
use strongroom_replica::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

/// Connects to an admin socket.
fn socket_channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    Endpoint::from_static("http://agent").connect_with_connector_lazy(connector)
}

const TRAIL: Trail = Trail::unsampled(RequestId::new(1, 2));

fn request() -> BatchRequest {
    BatchRequest {
        record: RecordId([7; 32]),
        session: SessionId(1),
        message: NoiseMessage::Transport { ciphertext: vec![1, 2, 3].into() },
        time: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_agents_on_ports_that_the_system_chose_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let agents = start(folder.path(), &[Bare::new(1), Bare::new(2), Bare::new(3)]);
    let mut client = Client::connect(agents[0].admin_socket()).await.unwrap();
    assert_eq!(client.device().await.unwrap().hsm, HsmId([1; 16]));
    let seen = until("all agents are known to each other", async || {
        let seen = client.peers().await.unwrap().into_iter();
        seen.map(|peer| Some(peer.agent?.device?.hsm)).collect::<Option<Vec<_>>>()
    })
    .await;
    assert_eq!(seen, [HsmId([2; 16]), HsmId([3; 16])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_set_up_the_hsm_but_not_move_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = Bare::new(1);
    let agents = start(folder.path(), std::slice::from_ref(&hsm));
    let mut admin = AdminClient::new(socket_channel(agents[0].admin_socket()));
    let group = GroupId([1; 16]);
    for request in [
        Request::StepDown(group),
        Request::Lead(group, None),
        Request::capture(group, vec![]),
        Request::AgentSecret(0),
        Request::ExtendHead { from: None, entries: vec![] },
    ] {
        let bytes = minicbor::to_vec(&request).unwrap();
        let status = admin.setup(SetupRequest { request: bytes.into() }).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
    }
    let mut client = Client::connect(agents[0].admin_socket()).await.unwrap();
    let refused = client.new_realm(RealmPolicy::closed()).await.unwrap_err();
    assert!(matches!(refused, AdminError::Refused(Refusal::NoRealm)));
    let asked = hsm.asked.lock().unwrap();
    assert!(asked.contains(&Request::NewRealm(RealmPolicy::closed())));
    let own = |request: &&Request| !matches!(request, Request::DeviceStatus | Request::AgentSecret(_));
    assert!(asked.iter().filter(own).all(|request| matches!(request, Request::NewRealm(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_meant_for_another_hsm_is_refused_and_so_is_what_no_client_sends() {
    let folder = tempfile::tempdir().unwrap();
    let agents = start(folder.path(), &[Bare::new(1)]);
    let mut peer = PeerClient::new(channel(agents[0].addresses().peer, identity(who(2), 0).client()));
    until("the agent is known", async || peer.hello(HelloRequest {}).await.ok()).await;
    let bytes = minicbor::to_vec(request()).unwrap();
    let mut long = request();
    long.message = NoiseMessage::Transport { ciphertext: vec![0; 3000].into() };
    let sent = [(2, bytes.clone()), (1, vec![0xff]), (1, minicbor::to_vec(long).unwrap()), (1, bytes)];
    let sent = sent.into_iter().zip(4..).map(|((to, request), id)| ForwardRequest {
        id,
        to: vec![to; 16].into(),
        request: request.into(),
        ..ForwardRequest::default()
    });
    let sent = tokio_stream::iter(sent.collect::<Vec<_>>());
    let mut replies = peer.forward(sent).await.unwrap().into_inner();
    let mut answers = BTreeMap::new();
    while let Some(ForwardReply { id, answer }) = replies.message().await.unwrap() {
        assert!(answers.insert(id, answer.unwrap()).is_none(), "each is answered once");
    }
    let expected = [
        WireAnswer::OtherHsm(true),
        WireAnswer::Unavailable(true),
        WireAnswer::Unavailable(true),
        // No group here covers it: nothing was done, and the sender may look for the leader elsewhere.
        WireAnswer::NotLeader(vec![].into()),
    ];
    assert_eq!(answers, (4..).zip(expected).collect());
}

/// A link with a bug.
struct Broken;

#[async_trait::async_trait]
impl Link for Broken {
    async fn call(&self, _: Vec<u8>) -> Result<Vec<u8>, Lost> {
        panic!("a bug of the link");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_a_bug_ends_is_reported_and_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::on(Arc::new(InMemory::new()));
    let mut agent = Agent::start(config(folder.path(), "agent"), Arc::new(Broken), store).unwrap();
    let ended = agent.ended().await.to_string();
    assert!(ended.starts_with("a bug ended the queue of the HSM: a bug of the link;"), "{ended}");
    let socket = agent.admin_socket().to_owned();
    agent.shutdown().await;
    assert!(!socket.exists(), "an agent that is stopped removes its socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_frees_its_sockets_and_a_stopped_one_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "agent");
    let store = Store::on(Arc::new(InMemory::new()));
    for graceful in [false, true] {
        let agent = Agent::start(self::config(folder.path(), "agent"), Bare::new(1), store.clone()).unwrap();
        // Connections are open when the agent ends.
        let mut client = Client::connect(agent.admin_socket()).await.unwrap();
        client.device().await.unwrap();
        let mut peer = PeerClient::new(channel(agent.addresses().peer, identity(who(2), 0).client()));
        until("the agent is known", async || peer.hello(HelloRequest {}).await.ok()).await;
        (config.listen, config.peer_listen) = (agent.addresses().front, agent.addresses().peer);
        if graceful {
            agent.shutdown().await;
        } else {
            agent.kill().await;
        }
        assert!(client.device().await.is_err());
        assert!(peer.hello(HelloRequest {}).await.is_err());
        let _free = Sockets::bind(&config).unwrap();
    }
}

/// A peer that counts the requests forwarded to it and answers with a status.
struct Counting {
    forwarded: Arc<AtomicUsize>,
    status: Code,
}

#[tonic::async_trait]
impl Peer for Counting {
    async fn hello(&self, _: tonic::Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        Ok(Response::new(HelloReply::default()))
    }

    async fn deliver(
        &self,
        _: tonic::Request<tonic::Streaming<DeliverRequest>>,
    ) -> Result<Response<DeliverReply>, Status> {
        Ok(Response::new(DeliverReply {}))
    }

    type ForwardStream = BoxStream<'static, Result<ForwardReply, Status>>;

    async fn forward(
        &self,
        request: tonic::Request<tonic::Streaming<ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (forwarded, status) = (Arc::clone(&self.forwarded), self.status);
        if status == Code::FailedPrecondition {
            forwarded.fetch_add(1, Ordering::SeqCst);
            return Err(Status::new(status, "as told"));
        }
        let answered = request.into_inner().map(move |request| {
            forwarded.fetch_add(1, Ordering::SeqCst);
            let answer = Some(WireAnswer::NotLeader(vec![8; 16].into()));
            let reply = ForwardReply { id: request?.id, answer };
            if status == Code::Ok { Ok(reply) } else { Err(Status::new(status, "as told")) }
        });
        Ok(Response::new(answered.boxed()))
    }

    async fn status(&self, _: tonic::Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(StatusReply::default()))
    }

    async fn invite(&self, _: tonic::Request<InviteRequest>) -> Result<Response<SetupReply>, Status> {
        Ok(Response::new(SetupReply::default()))
    }

    async fn leave(&self, _: tonic::Request<LeaveRequest>) -> Result<Response<SetupReply>, Status> {
        Ok(Response::new(SetupReply::default()))
    }

    async fn order(&self, _: tonic::Request<OrderRequest>) -> Result<Response<OrderReply>, Status> {
        Ok(Response::new(OrderReply::default()))
    }
}

/// Forwards one request to a peer that answers like this, once the peer has been found.
async fn forward_to(status: Code) -> (Forwarded, usize) {
    let forwarded = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = PeerServer::new(Counting { forwarded: Arc::clone(&forwarded), status });
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(serve(server, listener, identity(who(9), 0).server(), |_| {}));
    let peers = peers(&[peer_url(address)]);
    loop {
        let outcome = peers.forward(HsmId([9; 16]), &request().into(), &TRAIL).await;
        if forwarded.load(Ordering::SeqCst) > 0 {
            return (outcome, forwarded.load(Ordering::SeqCst));
        }
        assert_eq!(outcome, Forwarded::NotSent);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_request_is_sent_once_and_its_outcomes_are_told_apart() {
    let leader = Some(HsmId([8; 16]));
    assert_eq!(forward_to(Code::Ok).await, (Forwarded::Answer(Answer::NotLeader(leader)), 1));
    for unknown in [Code::Unavailable, Code::Internal, Code::Cancelled, Code::DeadlineExceeded] {
        assert_eq!(forward_to(unknown).await, (Forwarded::Unknown, 1), "{unknown:?}");
    }
    assert_eq!(forward_to(Code::FailedPrecondition).await, (Forwarded::NotSent, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_has_died_was_sent_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let agents = start(folder.path(), &[Bare::new(9)]);
    let peers = peers(&[peer_url(agents[0].addresses().peer)]);
    let ask = async || peers.forward(HsmId([9; 16]), &request().into(), &TRAIL).await;
    while ask().await == Forwarded::NotSent {
        tokio::task::yield_now().await;
    }
    for agent in agents {
        agent.kill().await;
    }
    // The first request may use the connection before its end is noticed; then the outcome is unknown.
    while ask().await == Forwarded::Unknown {}
    assert_eq!(ask().await, Forwarded::NotSent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_an_agent_are_read_over_http_where_it_was_told_to_listen() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "agent");
    config.metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let store = Store::on(Arc::new(InMemory::new()));
    store.create("groups/00/log/1", bytes::Bytes::from_static(b"four")).await;
    store.read("groups/00/log/1").await;
    let agent = Agent::start(config, Bare::new(1), store).unwrap();
    let address = agent.addresses().metrics.unwrap();
    while agent.device().is_none() {
        tokio::task::yield_now().await;
    }
    let page = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = page("/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for line in [
        "strongroom_store_calls_total{purpose=\"log\",kind=\"put\"} 1",
        "strongroom_store_calls_total{purpose=\"log\",kind=\"get\"} 1",
        "strongroom_store_sent_bytes_total{purpose=\"log\"} 4",
        "strongroom_store_received_bytes_total{purpose=\"log\"} 4",
        "strongroom_nvram_units 4",
        "strongroom_nvram_bad_units 0",
        "strongroom_nvram_spare_units 1",
        "strongroom_nvram_erases 2",
        "strongroom_nvram_erases_per_unit 1",
        "# EOF",
    ] {
        assert!(answer.lines().any(|found| found == line), "{line}: {answer}");
    }
    assert!(page("/nothing").await.starts_with("HTTP/1.1 404"));
    agent.kill().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
