//! Clients' requests on their way to a peer: one call takes them all, each with an id, and brings their answers in
//! whatever order they come.
//!
//! Kept here: a request is put into one call, once. What a call has taken and not answered when it breaks may have been
//! carried out ([`Forwarded::Unknown`]); it is certain that nothing was sent ([`Forwarded::NotSent`]) only if the request
//! was never put into a call, the call never began, or the peer says so.
//!
//! Bounded: [`PLACES`] requests at once for each peer, none longer than a client may send. One that finds no place
//! waits for it, and so does one that the peer's transport does not take.

use super::sent::Sent;
use super::{Forwarded, from_wire};
use crate::grpc::peer::peer_client::PeerClient;
use crate::grpc::peer::{ForwardReply, ForwardRequest};
use crate::traces::Trail;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hsm::{BatchRequest, NoiseMessage};
use strongroom_proto::ids::HsmId;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// How many requests may be on their way to a peer, or wait there, at once.
pub(crate) const PLACES: usize = 256;
/// How long a call takes requests. With the longest wait for an answer it is well below the time that a receiver leaves to
/// calls when a connection's time is up, so that this cuts off none.
const CALL_AGE: Duration = Duration::from_secs(10);
/// What surrounds a request's message in its encoding, at most.
const AROUND: usize = 128;

/// The way for requests to one peer.
pub(super) struct Forwards {
    client: PeerClient<Channel>,
    /// How long a request may take.
    patience: Duration,
    call: Mutex<Option<Call>>,
    places: Semaphore,
}

impl Forwards {
    /// Nothing is called before the first request.
    pub(super) fn new(client: PeerClient<Channel>, patience: Duration) -> Self {
        Self { client, patience, call: Mutex::new(None), places: Semaphore::new(PLACES) }
    }

    /// Passes a request to the agent of the HSM `to`, with this trail.
    pub(super) async fn forward(&self, to: HsmId, sent: &Sent, trail: &Trail) -> Forwarded {
        let deadline = Instant::now() + self.patience;
        let Ok(Ok(_place)) = timeout_at(deadline, self.places.acquire()).await else {
            return Forwarded::NotSent;
        };
        let Some(bytes) = encoded(&sent.request) else { return Forwarded::NotSent };
        let Call { feed, open, .. } = self.call();
        let Some((asker, answered)) = Asker::new(&open) else { return Forwarded::NotSent };
        let (to, id) = (to.0.to_vec().into(), asker.id);
        let request = ForwardRequest {
            to,
            request: bytes.into(),
            handshake_only: sent.handshake_only,
            owner: sent.owner.0.clone().into(),
            id,
            request_high: trail.request.high(),
            request_low: trail.request.low(),
            span: trail.parent,
            sampled: trail.sampled,
        };
        match timeout_at(deadline, feed.send(request)).await {
            Ok(Ok(())) => {}
            // The call ended before it took the request, or the peer takes none.
            Ok(Err(_)) | Err(_) => return Forwarded::NotSent,
        }
        // A call must not be held open by those that wait for its last answers.
        drop(feed);
        match timeout_at(deadline, answered).await {
            Ok(Ok(forwarded)) => forwarded,
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(request = %trail.request, %id, "a forwarded request was not answered");
                Forwarded::Unknown
            }
        }
    }

    /// The call that takes requests now; a new one, if there is none.
    fn call(&self) -> Call {
        let mut place = self.call.lock();
        match &*place {
            Some(call) if call.takes_requests() => call.clone(),
            _ => place.insert(Call::begin(self.client.clone())).clone(),
        }
    }
}

/// A request's bytes.
fn encoded(request: &BatchRequest) -> Option<Vec<u8>> {
    let length = match &request.message {
        NoiseMessage::Handshake { ephemeral, ciphertext } => ephemeral.len() + ciphertext.len(),
        NoiseMessage::Transport { ciphertext } => ciphertext.len(),
    };
    let mut bytes = Vec::with_capacity(length + AROUND);
    minicbor::encode(request, &mut bytes).ok()?;
    Some(bytes)
}

/// One call, from the side that puts requests into it. Its request side ends when the last clone is dropped.
#[derive(Clone)]
struct Call {
    feed: mpsc::Sender<ForwardRequest>,
    began: Instant,
    open: Arc<Mutex<Open>>,
}

impl Call {
    fn begin(client: PeerClient<Channel>) -> Self {
        // As many as there are places: the semaphore bounds them, and what is full is the transport.
        let (feed, fed) = mpsc::channel(PLACES);
        let open = Arc::new(Mutex::new(Open { askers: Some(BTreeMap::new()), next: 0 }));
        tokio::spawn(carry(client, fed, Arc::clone(&open)));
        Self { feed, began: Instant::now(), open }
    }

    fn takes_requests(&self) -> bool {
        self.began.elapsed() < CALL_AGE && !self.feed.is_closed()
    }
}

/// The requests of a call that have no answer yet.
struct Open {
    /// By id; `None` when the call has ended.
    askers: Option<BTreeMap<u64, oneshot::Sender<Forwarded>>>,
    next: u64,
}

impl Open {
    /// Ends the request that this answers. There is none if its asker no longer waits, or if the peer makes up ids.
    fn answer(&mut self, reply: ForwardReply) {
        let asker = self.askers.as_mut().and_then(|askers| askers.remove(&reply.id));
        if let Some(asker) = asker {
            // The asker may have gone.
            let _ = asker.send(from_wire(reply));
        }
    }

    /// Ends all of them.
    fn end(&mut self, outcome: &Forwarded) {
        for (_, asker) in self.askers.take().into_iter().flatten() {
            let _ = asker.send(outcome.clone());
        }
    }
}

/// One that waits for an answer; it has no more place in the call when this is dropped.
struct Asker<'a> {
    id: u64,
    open: &'a Mutex<Open>,
}

impl<'a> Asker<'a> {
    /// `None` if the call has ended.
    fn new(open: &'a Mutex<Open>) -> Option<(Self, oneshot::Receiver<Forwarded>)> {
        let (asker, answered) = oneshot::channel();
        let mut now = open.lock();
        let id = now.next;
        now.askers.as_mut()?.insert(id, asker);
        now.next = id.wrapping_add(1);
        Some((Self { id, open }, answered))
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        if let Some(askers) = &mut self.open.lock().askers {
            askers.remove(&self.id);
        }
    }
}

/// Carries a call out, to its end.
async fn carry(mut client: PeerClient<Channel>, fed: mpsc::Receiver<ForwardRequest>, open: Arc<Mutex<Open>>) {
    let (outcome, status) = match client.forward(ReceiverStream::new(fed)).await {
        Ok(replies) => (Forwarded::Unknown, read(replies.into_inner(), &open).await.err()),
        Err(status) if is_not_sent(&status) => (Forwarded::NotSent, Some(status)),
        Err(status) => (Forwarded::Unknown, Some(status)),
    };
    if let Some(status) = status {
        tracing::debug!(code = ?status.code(), "a call with forwarded requests broke");
    }
    open.lock().end(&outcome);
}

async fn read(mut replies: Streaming<ForwardReply>, open: &Mutex<Open>) -> Result<(), Status> {
    while let Some(reply) = replies.message().await? {
        open.lock().answer(reply);
    }
    Ok(())
}

/// Whether it is certain that the failed call was never begun.
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

#[cfg(test)]
mod tests;
