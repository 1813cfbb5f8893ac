//! The agents of the other HSMs, over gRPC.
//!
//! Owns who is reached where: agents are configured by address, replicas speak of HSMs, and an address can get another
//! HSM at any time, so every message names the HSM that it is for. Peers are trusted for availability only; what
//! counts in their messages is authenticated by HSMs. Queues are bounded: what does not fit, and what went stale in a
//! queue, is lost, as messages between replicas may be.

mod client;
mod server;

pub use client::{Forwarded, Peers};
pub(crate) use server::PeerService;

use crate::replica::Answer;
use strongroom_proto::grpc::peer::ForwardReply;
use strongroom_proto::grpc::peer::forward_reply::Answer as Wire;
use strongroom_proto::ids::HsmId;
use strongroom_proto::peer::MAX_PEER_BYTES;
use tonic::transport::{Endpoint, Error};

/// The longest message that is taken from another agent: a [`strongroom_proto::peer::PeerMessage`] and its envelope.
pub(crate) const MAX_MESSAGE_BYTES: usize = MAX_PEER_BYTES + 1024;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);
/// After so long without a sign of life a connection is asked for one, and then given the same time again.
pub(crate) const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(2);

/// The settings of every connection between agents, and from the admin subcommands to an agent.
///
/// # Errors
/// The address is none that gRPC can connect to.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, Error> {
    // Without keep-alive, also while idle, a connection that a network partition cut hangs after it has healed.
    Ok(Endpoint::from_shared(address.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

fn hsm_id(bytes: &[u8]) -> Option<HsmId> {
    bytes.try_into().ok().map(HsmId)
}

/// An answer as it goes from the leader's agent to the one that forwarded.
fn to_wire(answer: &Answer) -> ForwardReply {
    let answer = match answer {
        Answer::Reply(reply) => {
            minicbor::to_vec(reply).map_or(Wire::Unavailable(true), |b| Wire::Reply(b.into()))
        }
        Answer::Refused(refusal) => {
            minicbor::to_vec(refusal).map_or(Wire::Unavailable(true), |b| Wire::Refusal(b.into()))
        }
        Answer::Unavailable => Wire::Unavailable(true),
        Answer::NotLeader(leader) => {
            Wire::NotLeader(leader.map(|leader| leader.0.to_vec()).unwrap_or_default().into())
        }
        // The leader knows the partitions best, and has not run the request.
        Answer::NotCovered => Wire::NotLeader(Vec::new().into()),
    };
    ForwardReply { answer: Some(answer) }
}

fn from_wire(reply: ForwardReply) -> Answer {
    let answer = match reply.answer {
        Some(Wire::Reply(bytes)) => minicbor::decode(&bytes).ok().map(Answer::Reply),
        Some(Wire::Refusal(bytes)) => minicbor::decode(&bytes).ok().map(Answer::Refused),
        Some(Wire::NotLeader(leader)) => Some(Answer::NotLeader(hsm_id(&leader))),
        Some(Wire::Unavailable(_)) | None => None,
    };
    answer.unwrap_or(Answer::Unavailable)
}
