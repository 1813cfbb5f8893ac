//! The messages for one peer: two calls, one of them for segments, in which they go one after the other, for as long as
//! the connection lasts.
//!
//! Order comes from the call, and so does flow control: what the receiver does not read stays with its transport, then
//! with ours, then in the queue. How much that can be is the replica's decision, which sends a member no more than so
//! much ahead of what it has stated. Nothing here is sent again: what a call loses, the replica notices.

use super::outgoing::{Outgoing, wire};
use crate::grpc::peer::peer_client::PeerClient;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Sends what is queued, unless it has waited for as long as `patience`: then it is no longer worth it. A call in which
/// nothing moves for that long is given up.
pub(super) async fn send(
    mut queue: mpsc::Receiver<Outgoing>,
    client: PeerClient<Channel>,
    patience: Duration,
) {
    // A call begins with its first message: an agent that leads nothing has none open.
    while let Some(first) = queue.recv().await {
        if !first.is_stale(patience) && send_from(first, &mut queue, client.clone(), patience).await.is_none()
        {
            return;
        }
    }
}

/// Sends what is queued, and this before it, until the call ends; `None` if the queue has ended.
async fn send_from(
    first: Outgoing,
    queue: &mut mpsc::Receiver<Outgoing>,
    mut client: PeerClient<Channel>,
    patience: Duration,
) -> Option<()> {
    let to = first.to;
    let (feed, fed) = mpsc::channel(1);
    let mut call = Box::pin(client.deliver(ReceiverStream::new(fed)));
    let mut next = Some(first);
    loop {
        let waits_since = next.as_ref().map(|next| next.since);
        tokio::select! {
            ended = &mut call => {
                let code = ended.err().map(|status| status.code());
                tracing::debug!(%to, ?code, "a call to a peer ended; what was on its way may be lost");
                return Some(());
            }
            room = room(&feed, waits_since, patience), if next.is_some() => match room {
                Some(room) => room.send(wire(next.take()?)),
                None => {
                    tracing::debug!(%to, "a peer takes no messages");
                    return Some(());
                }
            },
            more = queue.recv(), if next.is_none() => next = Some(more?).filter(|more| !more.is_stale(patience)),
        }
    }
}

/// Waits until the call takes another message; `None` if it does not, or has ended.
async fn room<T>(
    feed: &mpsc::Sender<T>,
    since: Option<tokio::time::Instant>,
    patience: Duration,
) -> Option<mpsc::Permit<'_, T>> {
    timeout_at(since? + patience, feed.reserve()).await.ok()?.ok()
}
