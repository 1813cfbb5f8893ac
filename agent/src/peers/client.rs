//! Calling other agents.

use super::PeerUrl;
use super::connection::connect;
use super::forwards::Forwards;
use super::greeting::Greeting;
use super::outgoing::Outgoing;
use super::routes::Routes;
use super::{Caller, Forwarded, Identities, Timeouts, endpoint, root_cause, stream};
use crate::causes::causes;
use crate::grpc::peer::peer_client::PeerClient;
use crate::grpc::peer::{HelloRequest, InviteRequest, OrderRequest, PeerStatus, SetupReply, StatusRequest};
use crate::vital::Vital;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper_util::rt::TokioIo;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hsm::{BatchRequest, MAX_GROUPS};
use strongroom_proto::ids::{GroupId, HsmId, RecordId};
use strongroom_replica::peer::PeerMessage;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tower::service_fn;
use url::Url;

/// How many small messages may wait for one peer.
const URGENT_QUEUE: usize = 64;
/// How many segments may wait for one peer: as many as the replicas of all groups send ahead. Their bytes are the log's.
const BULK_QUEUE: usize = 32 * MAX_GROUPS;
/// How long to wait for a peer's word about who leads.
const ASK_TIMEOUT: Duration = Duration::from_millis(300);
/// How many requests ask around at once; the others rely on what these find.
const ASKING: usize = 8;
/// How long an order may take: one of them copies all records below a prefix.
const ORDER: Duration = Duration::from_secs(50 * 60);
/// How often the reason that a peer cannot be reached is logged, at most.
const TOLD: Duration = Duration::from_secs(10);

/// The other agents. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    peers: Arc<Vec<Peer>>,
    routes: Routes,
    greeting: Greeting,
    asking: Arc<Semaphore>,
    timeouts: Timeouts,
}

#[derive(Clone)]
struct Peer {
    at: usize,
    routes: Routes,
    address: Url,
    channel: Channel,
    /// Heartbeats and statements have their own queue, so that they never wait for segments.
    urgent: mpsc::Sender<Outgoing>,
    bulk: mpsc::Sender<Outgoing>,
    forwards: Arc<Forwards>,
    timeouts: Timeouts,
}

impl Peers {
    /// Begins to look for the agents at `addresses`, with the identity from `identities`, and waits this long for their
    /// answers. Call it inside a runtime; it stops with the runtime.
    #[must_use]
    pub fn start(addresses: &[PeerUrl], identities: &Identities, timeouts: Timeouts) -> Self {
        Self::start_vital(addresses, identities, timeouts, &Vital::new().0)
    }

    /// The same, with a place to report the end of one of its tasks.
    pub(crate) fn start_vital(
        addresses: &[PeerUrl],
        identities: &Identities,
        timeouts: Timeouts,
        vital: &Vital,
    ) -> Self {
        let (routes, greeting) = (Routes::new(addresses.len()), Greeting::default());
        let addresses = addresses.iter().enumerate();
        let peers = addresses.map(|(at, address)| {
            let (address, routes, greeting) = (address.0.clone(), routes.clone(), greeting.clone());
            Peer::start(at, address, routes, greeting, identities.clone(), timeouts, vital)
        });
        let peers = Arc::new(peers.collect());
        Self { peers, routes, greeting, asking: Arc::new(Semaphore::new(ASKING)), timeouts }
    }

    /// Sends a message from our HSM's replica to another's. It may be lost.
    pub fn send(&self, from: HsmId, to: HsmId, message: PeerMessage) {
        let Some(peer) = self.of(to) else { return };
        let queue = match message {
            PeerMessage::Push { .. } => &peer.bulk,
            PeerMessage::Heartbeat { .. }
            | PeerMessage::Captured { .. }
            | PeerMessage::Follows { .. }
            | PeerMessage::Seek { .. }
            | PeerMessage::StateFresh { .. }
            | PeerMessage::Fresh { .. } => &peer.urgent,
        };
        if queue.try_send(Outgoing::new(from, to, message)).is_err() {
            tracing::debug!(%to, "a peer does not keep up; a message was dropped");
        }
    }

    /// Passes a client's request to the agent of the HSM `to`.
    pub async fn forward(&self, to: HsmId, request: &BatchRequest, handshake_only: bool) -> Forwarded {
        let Some(peer) = self.of(to) else { return Forwarded::NotSent };
        peer.forwards.forward(to, request, handshake_only).await
    }

    /// Whether there are any peers.
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// A request has come, which needs them perhaps: they are asked soon whether they are there.
    pub(crate) fn stir(&self) {
        self.greeting.stir();
    }

    /// Whether any peer is there: one that has answered, unless it has left questions without an answer for this long.
    pub(crate) fn is_any_there(&self, patience: Duration) -> bool {
        self.routes.heard.is_any_there(patience)
    }

    /// Asks the peers who leads the group that covers a record, until one names a leader.
    pub(crate) async fn ask_around(&self, record: &RecordId) {
        // Many requests may wait for a leader. Some ask, and all hear the answer.
        if let Ok(_place) = self.asking.try_acquire() {
            let mut asked: FuturesUnordered<_> = self.peers.iter().map(Peer::hello).collect();
            let answered = async {
                while let Some(answer) = asked.next().await {
                    if answer.is_ok() && !self.routes.heard.leaders(record, ASK_TIMEOUT).is_empty() {
                        return;
                    }
                }
            };
            // Slower peers are not waited for.
            let _ = tokio::time::timeout(ASK_TIMEOUT, answered).await;
        }
    }

    /// Who leads the group that covers a record, by what the peers have said recently; the likeliest first.
    pub(crate) fn leaders_of(&self, record: &RecordId) -> Vec<HsmId> {
        self.routes.leaders(record)
    }

    /// Asks every configured peer for its status; peers that cannot be reached have none.
    pub(crate) async fn statuses(&self) -> Vec<PeerStatus> {
        let ask = self.peers.iter().map(|peer| async {
            let mut client = peer.client();
            let limit = self.timeouts.hello;
            let asked = client.status(within(limit, StatusRequest {}));
            let reply = tokio::time::timeout(limit * 2, asked).await;
            let (status, why) = match reply {
                Ok(Ok(reply)) => (Some(reply.into_inner()), String::new()),
                Ok(Err(status)) => (None, root_cause(&status)),
                Err(_) => (None, "it does not answer".into()),
            };
            let hsm = self.routes.found.hsm(peer.at).map(|hsm| hsm.0.to_vec()).unwrap_or_default();
            PeerStatus { address: peer.address.to_string(), status, why, hsm: hsm.into() }
        });
        futures::future::join_all(ask).await
    }

    /// Asks a peer to have its HSM join a group; `None` if no peer with that HSM was found.
    pub(crate) async fn invite(
        &self,
        to: HsmId,
        request: InviteRequest,
    ) -> Option<Result<SetupReply, Status>> {
        let reply = self.of(to)?.client().invite(within(self.timeouts.invite, request)).await;
        Some(reply.map(tonic::Response::into_inner))
    }

    /// The HSMs of all agents that were found.
    pub(crate) fn found(&self) -> Vec<HsmId> {
        self.routes.found.all()
    }

    /// Has the agent of the HSM `to` carry out an order, if it leads the group. `None` if it cannot be asked, and then
    /// nothing was done; nothing in it if it is not known what was.
    pub(crate) async fn order(&self, to: HsmId, group: GroupId, order: Vec<u8>) -> Option<Option<Bytes>> {
        let (to_whom, group) = (to.0.to_vec().into(), group.0.to_vec().into());
        let request = OrderRequest { to: to_whom, group, order: order.into() };
        match self.of(to)?.client().order(within(ORDER, request)).await {
            Ok(reply) => Some(Some(reply.into_inner().end)),
            // Another HSM, or an agent that cannot be reached.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::Unavailable) => None,
            Err(_) => Some(None),
        }
    }

    fn of(&self, hsm: HsmId) -> Option<&Peer> {
        self.peers.get(self.routes.place(hsm)?)
    }
}

fn within<T>(time: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time);
    request
}

impl Peer {
    fn start(
        at: usize,
        address: Url,
        routes: Routes,
        greeting: Greeting,
        identities: Identities,
        timeouts: Timeouts,
        vital: &Vital,
    ) -> Self {
        let known = identities.clone();
        let (urgent, urgent_queue) = mpsc::channel(URGENT_QUEUE);
        let (bulk, bulk_queue) = mpsc::channel(BULK_QUEUE);
        let (to, found) = (address.clone(), routes.found.clone());
        let connector = service_fn(move |_| {
            let (to, found, identities) = (to.clone(), found.clone(), identities.clone());
            async move {
                let connection = connect(&to, identities).await?;
                match connection.caller() {
                    Caller::Agent(hsm) if found.put(at, hsm) => {
                        tracing::info!(address = %to, %hsm, "found a peer")
                    }
                    _ => {}
                }
                Ok::<_, std::io::Error>(TokioIo::new(connection))
            }
        });
        let channel = endpoint(&timeouts).connect_with_connector_lazy(connector);
        let forwards = Arc::new(Forwards::new(PeerClient::new(channel.clone()), timeouts.forward));
        let peer = Self { at, routes, address, channel, urgent, bulk, forwards, timeouts };
        vital.spawn("the search for a peer", peer.clone().greet(known, greeting));
        let (urgent, bulk) = (peer.client(), peer.client());
        // They end only when nothing can queue any more: when the agent ends.
        vital.spawn("the sending of messages to a peer", async move {
            stream::send(urgent_queue, urgent, timeouts.urgent).await;
        });
        vital.spawn("the sending of segments to a peer", async move {
            stream::send(bulk_queue, bulk, timeouts.bulk).await;
        });
        peer
    }

    fn client(&self) -> PeerClient<Channel> {
        PeerClient::new(self.channel.clone())
    }

    /// Asks a peer whether it is there, and records who leads according to it; returns why, if that failed.
    async fn hello(&self) -> Result<(), String> {
        let asked = Instant::now();
        let why = match tokio::time::timeout(self.timeouts.hello, self.client().hello(HelloRequest {})).await
        {
            Ok(Ok(reply)) => {
                self.routes.said(self.at, &reply.into_inner().groups);
                return Ok(());
            }
            Ok(Err(status)) => trouble(&status),
            Err(_) => "it does not answer".into(),
        };
        self.routes.heard.nothing(self.at, asked);
        Err(why)
    }

    /// Keeps a connection to a peer, whose certificate says which HSM it has.
    async fn greet(self, mut identities: Identities, greeting: Greeting) {
        let mut told: Option<(Instant, String)> = None;
        loop {
            // Without an identity this could only fail. Why there is none is reported elsewhere.
            if identities.wait_for(Option::is_some).await.is_err() {
                return;
            }
            let failed = self.hello().await.err();
            let answered = failed.is_none();
            if let Some((_, before)) = told.as_mut().filter(|_| failed.is_none()) {
                before.clear();
            }
            if let Some(why) = failed {
                // Not the same message twice in a row, nor two that alternate.
                if told.as_ref().is_none_or(|(last, before)| last.elapsed() > TOLD && *before != why) {
                    tracing::info!(address = %self.address, why, "a peer cannot be reached");
                    told = Some((Instant::now(), why));
                }
            }
            greeting.pause(answered).await;
        }
    }
}

/// Why a peer cannot be reached, in the same words for one cause that shows itself in different ways.
fn trouble(status: &Status) -> String {
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
        {
            return "it runs, but closes each connection: its HSM does not answer it, or has no realm yet"
                .into();
        }
        next = error.source();
    }
    if status.message().is_empty() { causes(status) } else { status.message().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is logged about a connection that fails in this way.
    async fn said(kind: ErrorKind) -> String {
        let connector = service_fn(move |_| async move {
            Err::<TokioIo<tokio::io::DuplexStream>, _>(io::Error::new(kind, "the handshake"))
        });
        let mut client =
            PeerClient::new(endpoint(&Timeouts::default()).connect_with_connector_lazy(connector));
        trouble(&client.hello(HelloRequest {}).await.expect_err("it fails"))
    }

    #[tokio::test]
    async fn a_peer_that_closes_connections_is_reported_in_one_way() {
        let closed = said(ErrorKind::UnexpectedEof).await;
        assert!(closed.contains("no realm yet"), "{closed}");
        assert_eq!(said(ErrorKind::ConnectionReset).await, closed);
        assert!(said(ErrorKind::ConnectionRefused).await.contains("the handshake"));
    }
}
