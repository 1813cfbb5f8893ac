//! The tonic services of `agent/proto/*.proto`, as generated.
//!
//! The messages are envelopes around bytes whose form is fixed elsewhere; a change of gRPC framing
//! therefore never changes what is hashed, authenticated or encrypted.

/// The realm as its clients see it: one call that carries a CBOR request and its CBOR answer.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod realm {
    tonic::include_proto!("strongroom.v1");
}

/// What agents say to each other, and an operator's command to an agent.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod peer {
    tonic::include_proto!("strongroom.peer.v1");
}
