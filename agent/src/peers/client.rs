//! Calling other agents.

use super::{endpoint, from_wire, hsm_id};
use crate::config::PeerUrl;
use crate::replica::Answer;
use futures::StreamExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_proto::grpc::peer::admin_client::AdminClient;
use strongroom_proto::grpc::peer::peer_client::PeerClient;
use strongroom_proto::grpc::peer::{DeliverRequest, ForwardRequest, HelloRequest, PeerStatus, StatusRequest};
use strongroom_proto::hsm::BatchRequest;
use strongroom_proto::ids::HsmId;
use strongroom_proto::peer::PeerMessage;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Small messages that may wait for one peer.
const URGENT_QUEUE: usize = 64;
/// Segments that may wait for one peer.
const BULK_QUEUE: usize = 8;
/// Small messages that are under way to one peer: a heartbeat never waits for the answer to the one before.
const URGENT_AT_ONCE: usize = 16;
/// One segment at a time, since a witness that gets them out of order has to read the store.
const BULK_AT_ONCE: usize = 1;
/// A message that waited longer than this is no longer worth sending.
const STALE: Duration = Duration::from_secs(1);
const URGENT_TIMEOUT: Duration = Duration::from_secs(1);
const BULK_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than a leader lets a request wait before it answers `Unavailable` itself.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(12);
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a peer is asked which HSM it has, once it has said so, and before.
const HELLO_PERIOD: Duration = Duration::from_secs(1);
const HELLO_RETRY: Duration = Duration::from_millis(100);

/// What became of a forwarded request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forwarded {
    /// The other agent answered.
    Answer(Answer),
    /// The request did not reach the leader: nothing was done.
    NotSent,
    /// The request may have been carried out. It must not be sent again.
    Unknown,
}

/// The other agents. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Vec<Peer>>);

struct Peer {
    address: String,
    channel: Channel,
    hsm: Arc<Mutex<Option<HsmId>>>,
    /// Heartbeats and statements have their own queue, so that they never wait for segments.
    urgent: mpsc::Sender<Outgoing>,
    bulk: mpsc::Sender<Outgoing>,
}

struct Outgoing {
    since: Instant,
    from: HsmId,
    to: HsmId,
    message: PeerMessage,
}

impl Peers {
    /// Begins to look for the agents at `addresses`. To be called inside a runtime; stops with it.
    #[must_use]
    pub fn start(addresses: &[PeerUrl]) -> Self {
        let peers = addresses.iter().filter_map(|address| {
            let address = address.0.to_string();
            let endpoint = endpoint(&address)
                .inspect_err(|error| tracing::error!(address, %error, "cannot use the address of a peer"));
            Some(Peer::start(address.clone(), endpoint.ok()?.connect_lazy()))
        });
        Self(Arc::new(peers.collect()))
    }

    /// Sends a message from our HSM's replica to another's. It may be lost.
    pub fn send(&self, from: HsmId, to: HsmId, message: PeerMessage) {
        let Some(peer) = self.of(to) else { return };
        let queue = match message {
            PeerMessage::Push { .. } => &peer.bulk,
            PeerMessage::Heartbeat { .. } | PeerMessage::Captured { .. } => &peer.urgent,
        };
        if queue.try_send(Outgoing { since: Instant::now(), from, to, message }).is_err() {
            tracing::debug!(%to, "a peer does not keep up; a message was dropped");
        }
    }

    /// Hands a client's request to the agent of the HSM `to`.
    pub async fn forward(&self, to: HsmId, request: &BatchRequest, handshake_only: bool) -> Forwarded {
        let Some(peer) = self.of(to) else { return Forwarded::NotSent };
        let Ok(bytes) = minicbor::to_vec(request) else { return Forwarded::NotSent };
        let request = ForwardRequest { to: to.0.to_vec().into(), request: bytes.into(), handshake_only };
        match peer.client().forward(within(FORWARD_TIMEOUT, request)).await {
            Ok(reply) => Forwarded::Answer(from_wire(reply.into_inner())),
            Err(status) if is_not_sent(&status) => {
                peer.forget(&status);
                Forwarded::NotSent
            }
            Err(status) => {
                tracing::debug!(%to, code = ?status.code(), "a forwarded request was not answered");
                Forwarded::Unknown
            }
        }
    }

    /// Asks every configured peer for its status; those that cannot be reached have none.
    pub(crate) async fn statuses(&self) -> Vec<PeerStatus> {
        let ask = self.0.iter().map(|peer| async {
            let reply =
                AdminClient::new(peer.channel.clone()).status(within(HELLO_TIMEOUT, StatusRequest {})).await;
            PeerStatus { address: peer.address.clone(), status: reply.ok().map(tonic::Response::into_inner) }
        });
        futures::future::join_all(ask).await
    }

    fn of(&self, hsm: HsmId) -> Option<&Peer> {
        self.0.iter().find(|peer| peer.hsm() == Some(hsm))
    }
}

/// Whether the failed call certainly never began to be carried out.
fn is_not_sent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    status.code() == Code::FailedPrecondition
}

fn within<T>(time: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time);
    request
}

impl Peer {
    fn start(address: String, channel: Channel) -> Self {
        let hsm = Arc::new(Mutex::new(None));
        let (urgent, urgent_queue) = mpsc::channel(URGENT_QUEUE);
        let (bulk, bulk_queue) = mpsc::channel(BULK_QUEUE);
        let peer = Self { address, channel, hsm, urgent, bulk };
        tokio::spawn(greet(peer.address.clone(), peer.client(), Arc::clone(&peer.hsm)));
        tokio::spawn(deliver(urgent_queue, peer.client(), URGENT_AT_ONCE, URGENT_TIMEOUT));
        tokio::spawn(deliver(bulk_queue, peer.client(), BULK_AT_ONCE, BULK_TIMEOUT));
        peer
    }

    fn client(&self) -> PeerClient<Channel> {
        PeerClient::new(self.channel.clone())
    }

    fn hsm(&self) -> Option<HsmId> {
        *self.hsm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, status: &Status) {
        if status.code() == Code::FailedPrecondition {
            *self.hsm.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// Learns which HSM is at an address, again and again.
async fn greet(address: String, mut client: PeerClient<Channel>, hsm: Arc<Mutex<Option<HsmId>>>) {
    loop {
        let reply = tokio::time::timeout(HELLO_TIMEOUT, client.hello(HelloRequest {})).await;
        let found = reply.ok().and_then(Result::ok).and_then(|reply| hsm_id(&reply.into_inner().hsm));
        let before = {
            let mut known = hsm.lock().unwrap_or_else(PoisonError::into_inner);
            // A peer that is silent now keeps its HSM: messages to it are lost or not, as ever.
            let before = *known;
            *known = found.or(before);
            before
        };
        match found {
            Some(found) if before != Some(found) => tracing::info!(address, hsm = %found, "found a peer"),
            _ => {}
        }
        sleep(if found.is_some() { HELLO_PERIOD } else { HELLO_RETRY }).await;
    }
}

/// Sends what is queued, up to `at_once` messages at a time; only one by one do they keep their order.
async fn deliver(
    mut queue: mpsc::Receiver<Outgoing>,
    client: PeerClient<Channel>,
    at_once: usize,
    time: Duration,
) {
    let queued = futures::stream::poll_fn(move |context| queue.poll_recv(context));
    queued.for_each_concurrent(at_once, |outgoing| deliver_one(outgoing, client.clone(), time)).await;
}

async fn deliver_one(outgoing: Outgoing, mut client: PeerClient<Channel>, time: Duration) {
    let Outgoing { since, from, to, message } = outgoing;
    if since.elapsed() > STALE {
        return;
    }
    let (from, to_bytes) = (from.0.to_vec().into(), to.0.to_vec().into());
    let request = DeliverRequest { from, to: to_bytes, message: message.to_bytes().into() };
    match tokio::time::timeout(time, client.deliver(request)).await {
        Ok(Ok(_)) => {}
        Ok(Err(status)) => tracing::debug!(%to, code = ?status.code(), "a message to a peer was lost"),
        Err(_) => tracing::debug!(%to, "a message to a peer took too long"),
    }
}
