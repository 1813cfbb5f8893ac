//! The agents of the other HSMs, over gRPC inside mutual TLS.
//!
//! Owns who is reached where: agents are configured by address or announce theirs in the store, replicas speak of HSMs, and
//! an address can get another HSM at any time, so every message names the HSM that it is for. Which HSM an agent has is in
//! its certificate, which only an agent at an HSM of the realm can have. Peers are trusted for availability only; what matters in their
//! messages is authenticated by HSMs. Queues are bounded: what does not fit, and what goes stale in a queue, is lost,
//! as messages between replicas may be.

mod announcement;
mod authority;
mod claims;
mod client;
mod connection;
mod directory;
mod forwards;
mod found;
mod greeting;
mod heard;
mod identity;
mod operator;
mod outgoing;
mod peer;
mod places;
mod refused;
mod routes;
mod sent;
mod stream;
mod timeouts;
mod url;

pub use announcement::{AnnouncedGroup, Announcement, AnnouncementName, NoAnnouncement};
pub(crate) use announcement::{MAX_ANNOUNCEMENT_BYTES, announcements};
pub use authority::{Caller, IssueError};
pub use client::Peers;
pub(crate) use connection::{CONNECTIONS, CONNECTIONS_OF_ONE, accept, tls};
pub(crate) use directory::MAX_AGENTS;
pub(crate) use forwards::PLACES;
pub use identity::{Identities, Identity, Who};
pub use operator::{MAX_HOURS, issue_operator, open_operator};
pub(crate) use places::Places;
pub(crate) use refused::Refused;
pub use routes::Routes;
pub use sent::Sent;
pub use timeouts::Timeouts;
pub use url::PeerUrl;

use crate::grpc::peer::ForwardReply;
use crate::grpc::peer::forward_reply::Answer as Wire;
use strongroom_proto::ids::HsmId;
use strongroom_replica::Answer;
use strongroom_replica::peer::MAX_PEER_BYTES;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

/// The longest message accepted from another agent: a [`strongroom_replica::peer::PeerMessage`] and its envelope.
pub(crate) const MAX_MESSAGE_BYTES: usize = MAX_PEER_BYTES + 1024;

/// The settings of every connection between agents, and from the admin subcommands to an agent. The connector decides
/// where the connection goes and who makes it.
pub(crate) fn endpoint(timeouts: &Timeouts) -> Endpoint {
    // Without keep-alive, even while idle, a connection cut by a network partition stays hung after the partition
    // heals.
    Endpoint::from_static("https://agent.strongroom.invalid")
        .connect_timeout(timeouts.connect)
        .http2_keep_alive_interval(timeouts.keep_alive)
        .keep_alive_timeout(timeouts.keep_alive)
        .keep_alive_while_idle(true)
}

/// The agent that sent a request, by its certificate.
pub(crate) fn agent<T>(request: &Request<T>) -> Result<HsmId, Status> {
    match request.extensions().get() {
        Some(Caller::Agent(hsm)) => Ok(*hsm),
        _ => Err(Status::permission_denied("only agents of the realm may call this")),
    }
}

/// Lets in only agents of the realm.
pub(crate) fn agents_only(request: Request<()>) -> Result<Request<()>, Status> {
    agent(&request).map(|_| request)
}

/// Lets in only operators.
pub(crate) fn operators_only(request: Request<()>) -> Result<Request<()>, Status> {
    match request.extensions().get() {
        Some(Caller::Operator(_)) => Ok(request),
        _ => Err(Status::permission_denied("only operators may call this; use the agent's admin socket")),
    }
}

/// The text of an error's root cause.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    let first = chain.next().map(ToString::to_string).unwrap_or_default();
    chain.last().map_or(first, ToString::to_string)
}

pub(crate) fn hsm_id(bytes: &[u8]) -> Option<HsmId> {
    bytes.try_into().ok().map(HsmId)
}

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

/// An answer as it goes from the leader's agent to the one that forwarded.
pub(crate) fn to_wire(id: u64, answer: &Answer) -> ForwardReply {
    let answer = match answer {
        Answer::Reply(reply) => {
            minicbor::to_vec(reply).map_or(Wire::Unavailable(true), |b| Wire::Reply(b.into()))
        }
        Answer::Refused(refusal) => {
            minicbor::to_vec(refusal).map_or(Wire::Unavailable(true), |b| Wire::Refusal(b.into()))
        }
        Answer::Unavailable | Answer::Busy => Wire::Unavailable(true),
        Answer::NotLeader(leader) => {
            Wire::NotLeader(leader.map(|leader| leader.0.to_vec()).unwrap_or_default().into())
        }
        // The leader knows the partitions best, and did not run the request.
        Answer::NotCovered => Wire::NotLeader(Vec::new().into()),
    };
    ForwardReply { id, answer: Some(answer) }
}

fn from_wire(reply: ForwardReply) -> Forwarded {
    let answer = match reply.answer {
        Some(Wire::Reply(bytes)) => minicbor::decode(&bytes).ok().map(Answer::Reply),
        Some(Wire::Refusal(bytes)) => minicbor::decode(&bytes).ok().map(Answer::Refused),
        Some(Wire::NotLeader(leader)) => Some(Answer::NotLeader(hsm_id(&leader))),
        Some(Wire::OtherHsm(_)) => return Forwarded::NotSent,
        Some(Wire::Unavailable(_)) | None => None,
    };
    Forwarded::Answer(answer.unwrap_or(Answer::Unavailable))
}
