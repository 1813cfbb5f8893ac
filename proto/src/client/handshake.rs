//! The two Noise messages of a handshake (section 6), as an envelope carries them and an HSM takes them.

use super::cbor::wire_map;
use alloc::vec::Vec;

/// The first Noise message. Of any lengths: a wrong one is a session error, not a decoding error (section 14).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandshakeRequest {
    /// The client's ephemeral X25519 key; 32 bytes if it is well-formed.
    pub client_ephemeral_public: Vec<u8>,
    /// AEAD output, at least the 16-byte tag if it is well-formed.
    pub payload_ciphertext: Vec<u8>,
}

wire_map!(HandshakeRequest {
    "client_ephemeral_public" => client_ephemeral_public,
    "payload_ciphertext" => payload_ciphertext,
});

/// The second Noise message. Of any lengths, as [`HandshakeRequest`] is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandshakeResponse {
    /// The realm's ephemeral X25519 key; 32 bytes if it is well-formed.
    pub server_ephemeral_public: Vec<u8>,
    /// AEAD output, at least the 16-byte tag if it is well-formed.
    pub payload_ciphertext: Vec<u8>,
}

wire_map!(HandshakeResponse {
    "server_ephemeral_public" => server_ephemeral_public,
    "payload_ciphertext" => payload_ciphertext,
});
