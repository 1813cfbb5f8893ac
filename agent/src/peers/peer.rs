//! One other agent: the connection to it, its queues, and how it is asked who leads.

use super::connection::connect;
use super::forwards::Forwards;
use super::greeting::Greeting;
use super::outgoing::Outgoing;
use super::routes::Routes;
use super::{Caller, Identities, PeerUrl, Timeouts, endpoint, stream};
use crate::causes::causes;
use crate::grpc::peer::HelloRequest;
use crate::grpc::peer::peer_client::PeerClient;
use crate::vital::Vital;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strongroom_proto::hsm::MAX_GROUPS;
use strongroom_proto::ids::HsmId;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;
use tower::service_fn;

/// How many small messages may wait for one peer.
const URGENT_QUEUE: usize = 64;
/// How many segments may wait for one peer: as many as the replicas of all groups send ahead. Their bytes are the log's.
const BULK_QUEUE: usize = 32 * MAX_GROUPS;
/// How often the reason that a peer cannot be reached is logged, at most.
const TOLD: Duration = Duration::from_secs(10);
/// How old the word of a peer that is not greeted may be while requests go there.
const WORD: Duration = Duration::from_secs(1);

/// What all peers are made with.
#[derive(Clone)]
pub(super) struct Making {
    pub(super) routes: Routes,
    pub(super) greeting: Greeting,
    pub(super) identities: Identities,
    pub(super) timeouts: Timeouts,
    pub(super) vital: Vital,
}

/// Another agent.
pub(super) struct Peer {
    pub(super) at: usize,
    pub(super) address: PeerUrl,
    routes: Routes,
    channel: Channel,
    /// Heartbeats and statements have their own queue, so that they never wait for segments.
    pub(super) urgent: mpsc::Sender<Outgoing>,
    pub(super) bulk: mpsc::Sender<Outgoing>,
    pub(super) forwards: Forwards,
    timeouts: Timeouts,
    /// Which HSM it had when it was last connected to.
    hsm: Arc<Mutex<Option<HsmId>>>,
    /// When somebody last needed it.
    used: Mutex<Instant>,
    /// Whether it is being asked because a request went there.
    asked: AtomicBool,
}

impl Peer {
    /// Begins to greet an agent while `kept` says so. Ends when the sender of `kept` is dropped.
    pub(super) fn start(
        at: usize,
        address: PeerUrl,
        making: &Making,
        kept: &watch::Receiver<bool>,
    ) -> Arc<Self> {
        let Making { routes, greeting, identities, timeouts, vital } = making.clone();
        routes.heard.admit(at);
        let known = identities.clone();
        let (urgent, urgent_queue) = mpsc::channel(URGENT_QUEUE);
        let (bulk, bulk_queue) = mpsc::channel(BULK_QUEUE);
        let hsm = Arc::new(Mutex::new(None));
        let (to, found, last) = (address.0.clone(), routes.clone(), Arc::clone(&hsm));
        let connector = service_fn(move |_| {
            let (to, found, last) = (to.clone(), found.clone(), Arc::clone(&last));
            let identities = identities.clone();
            async move {
                let connection = connect(&to, identities).await?;
                if let Caller::Agent(hsm) = connection.caller() {
                    *last.lock() = Some(hsm);
                    if found.found(at, hsm) {
                        tracing::info!(address = %to, %hsm, "found a peer");
                    }
                }
                Ok::<_, io::Error>(TokioIo::new(connection))
            }
        });
        let channel = endpoint(&timeouts).connect_with_connector_lazy(connector);
        let forwards = Forwards::new(PeerClient::new(channel.clone()), timeouts.forward);
        let (used, asked) = (Mutex::new(Instant::now()), AtomicBool::new(false));
        let peer = Self { at, address, routes, channel, urgent, bulk, forwards, timeouts, hsm, used, asked };
        let peer = Arc::new(peer);
        let spawn = |task, work: futures::future::BoxFuture<'static, ()>| {
            let mut kept = kept.clone();
            let over = async move { while kept.changed().await.is_ok() {} };
            vital.spawn_until(task, work, over);
        };
        spawn("the search for a peer", Box::pin(Arc::clone(&peer).greet(known, greeting, kept.clone())));
        let client = peer.client();
        let sending = async move { stream::send(urgent_queue, client, timeouts.urgent).await };
        spawn("the sending of messages to a peer", Box::pin(sending));
        let client = peer.client();
        let sending = async move { stream::send(bulk_queue, client, timeouts.bulk).await };
        spawn("the sending of segments to a peer", Box::pin(sending));
        peer
    }

    pub(super) fn client(&self) -> PeerClient<Channel> {
        PeerClient::new(self.channel.clone())
    }

    /// Somebody needs it now.
    pub(super) fn touch(&self) {
        *self.used.lock() = Instant::now();
    }

    /// For how long nobody has needed it.
    pub(super) fn idle(&self) -> Duration {
        self.used.lock().elapsed()
    }

    /// Asks a peer whether it is there, and records who leads according to it; returns why, if that failed.
    pub(super) async fn hello(&self) -> Result<(), String> {
        let asked = Instant::now();
        let why = match tokio::time::timeout(self.timeouts.hello, self.client().hello(HelloRequest {})).await
        {
            Ok(Ok(reply)) => {
                let hsm = *self.hsm.lock();
                if let Some(hsm) = hsm {
                    self.routes.still_has(self.at, hsm);
                }
                self.routes.said(self.at, &reply.into_inner().groups);
                return Ok(());
            }
            Ok(Err(status)) => trouble(&status),
            Err(_) => "it does not answer".into(),
        };
        self.routes.heard.nothing(self.at, asked);
        Err(why)
    }

    /// A request went there and was answered: its word about who leads is renewed, unless it is new.
    pub(super) fn listen_again(self: Arc<Self>) {
        if !self.routes.heard.is_older(self.at, WORD) || self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        tokio::spawn(async move {
            let _ = self.hello().await;
            self.asked.store(false, Ordering::Relaxed);
        });
    }

    /// Keeps a connection to a peer, whose certificate says which HSM it has.
    async fn greet(
        self: Arc<Self>,
        mut identities: Identities,
        greeting: Greeting,
        mut kept: watch::Receiver<bool>,
    ) {
        let mut told: Option<(Instant, String)> = None;
        let mut silent_since: Option<Instant> = None;
        loop {
            // Without an identity this could only fail. Why there is none is reported elsewhere.
            if identities.wait_for(Option::is_some).await.is_err() {
                return;
            }
            if kept.wait_for(|kept| *kept).await.is_err() {
                return std::future::pending().await;
            }
            match self.hello().await {
                Ok(()) => {
                    silent_since = None;
                    if let Some((_, before)) = &mut told {
                        before.clear();
                    }
                }
                Err(why) => {
                    silent_since.get_or_insert_with(Instant::now);
                    // Not the same message twice in a row, nor two that alternate.
                    if told.as_ref().is_none_or(|(last, before)| last.elapsed() > TOLD && *before != why) {
                        tracing::info!(address = %self.address.0, why, "a peer cannot be reached");
                        told = Some((Instant::now(), why));
                    }
                }
            }
            greeting.pause(silent_since.map(|since| since.elapsed())).await;
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
