//! The tonic services of `agent/proto/*.proto`, as generated: `tests/front/grpc.rs` says by what, and does it again.
//!
//! The messages are envelopes around bytes whose form is fixed elsewhere; a change of gRPC framing
//! therefore never changes what is hashed, authenticated or encrypted.

/// The realm as its clients see it: one call that carries a CBOR request and its CBOR answer.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines)]
pub mod realm {
    include!("grpc/strongroom.v1.rs");
}

/// What agents say to each other, and an operator's command to an agent.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines)]
pub mod peer {
    include!("grpc/strongroom.peer.v1.rs");
}
