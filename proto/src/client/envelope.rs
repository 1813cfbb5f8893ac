//! The envelope (section 5.1): what an agent reads of a request, and what a client reads of an answer.

use super::cbor::{DecodeError, Reader, Variant, Wire, Writer, wire_map};
use super::handshake::{HandshakeRequest, HandshakeResponse};
use crate::ids::{RealmId, SessionId};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// The longest request body a realm takes, in bytes (section 4). A longer one is [`ClientResponse::PayloadTooLarge`].
pub const MAX_REQUEST_BODY: usize = 2048;

/// One request as a client sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientRequest {
    /// The realm it is for.
    pub realm: RealmId,
    /// The tenant's word on who the user is. A bearer token: never printed.
    pub auth_token: String,
    /// The Noise session, chosen by the client.
    pub session_id: SessionId,
    /// Whether a request for secrets is inside.
    pub kind: RequestKind,
    /// What only the realm can read.
    pub encrypted: NoiseRequest,
}

wire_map!(ClientRequest {
    "realm" => realm,
    "auth_token" => auth_token,
    "session_id" => session_id,
    "kind" => kind,
    "encrypted" => encrypted,
});

impl ClientRequest {
    /// The request's bytes.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a request body.
    ///
    /// # Errors
    /// The body is not exactly one request; answer [`ClientResponse::DecodingError`].
    pub fn from_cbor(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let request = Self::read(&mut r)?;
        r.end().map(|()| request)
    }
}

impl fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequest")
            .field("realm", &self.realm)
            .field("session_id", &self.session_id)
            .field("kind", &self.kind)
            .field("encrypted", &self.encrypted)
            .finish_non_exhaustive()
    }
}

/// What a [`ClientRequest`] carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    /// Nothing but a handshake.
    HandshakeOnly,
    /// A [`super::SecretsRequest`].
    SecretsRequest,
}

impl Wire for RequestKind {
    fn write(&self, w: &mut Writer) {
        w.text(match self {
            Self::HandshakeOnly => "HandshakeOnly",
            Self::SecretsRequest => "SecretsRequest",
        });
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.text()? {
            "HandshakeOnly" => Ok(Self::HandshakeOnly),
            "SecretsRequest" => Ok(Self::SecretsRequest),
            _ => Err(r.error("unknown kind")),
        }
    }
}

/// A Noise message of the client (section 6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoiseRequest {
    /// Opens the session.
    Handshake(HandshakeRequest),
    /// Continues it.
    Transport {
        /// AEAD output.
        ciphertext: Vec<u8>,
    },
}

impl Wire for NoiseRequest {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Handshake(handshake) => write_handshake(w, handshake),
            Self::Transport { ciphertext } => write_transport(w, ciphertext),
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.variant()? {
            Variant::With("Handshake") => HandshakeContent::read(r).map(|c| Self::Handshake(c.handshake)),
            Variant::With("Transport") => {
                TransportContent::read(r).map(|c| Self::Transport { ciphertext: c.ciphertext })
            }
            _ => Err(r.error("unknown kind of Noise message")),
        }
    }
}

struct HandshakeContent {
    handshake: HandshakeRequest,
}

wire_map!(HandshakeContent { "handshake" => handshake });

struct TransportContent {
    ciphertext: Vec<u8>,
}

wire_map!(TransportContent { "ciphertext" => ciphertext });

fn write_handshake(w: &mut Writer, handshake: &HandshakeRequest) {
    w.variant("Handshake");
    w.variant("handshake");
    handshake.write(w);
}

fn write_transport(w: &mut Writer, ciphertext: &Vec<u8>) {
    w.variant("Transport");
    w.variant("ciphertext");
    ciphertext.write(w);
}

/// A realm's answer (section 4 gives each its HTTP status).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientResponse {
    /// The request was processed; what came of it is inside.
    Ok(NoiseResponse),
    /// Nothing is known to have happened: try again.
    Unavailable,
    /// The auth token was refused.
    InvalidAuth,
    /// The session is not known: open another.
    MissingSession,
    /// The session's rules were broken.
    SessionError,
    /// The request is not of the protocol.
    DecodingError,
    /// The request body is above [`MAX_REQUEST_BODY`].
    PayloadTooLarge,
    /// The tenant has used up its rate.
    RateLimitExceeded,
}

impl ClientResponse {
    /// The answer's bytes.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes an answer. As clients in the field do, it ignores bytes after the item and also accepts a variant
    /// without fields as a map to anything, so that every realm's errors are understood.
    ///
    /// # Errors
    /// The body is not an answer; go by the HTTP status (section 4).
    pub fn from_cbor(body: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(body))
    }
}

impl Wire for ClientResponse {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Ok(noise) => {
                w.variant("Ok");
                noise.write(w);
            }
            Self::Unavailable => w.text("Unavailable"),
            Self::InvalidAuth => w.text("InvalidAuth"),
            Self::MissingSession => w.text("MissingSession"),
            Self::SessionError => w.text("SessionError"),
            Self::DecodingError => w.text("DecodingError"),
            Self::PayloadTooLarge => w.text("PayloadTooLarge"),
            Self::RateLimitExceeded => w.text("RateLimitExceeded"),
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = match r.variant()? {
            Variant::With("Ok") => return NoiseResponse::read(r).map(Self::Ok),
            Variant::With(name) => r.skip().map(|()| name)?,
            Variant::Unit(name) => name,
        };
        match name {
            "Unavailable" => Ok(Self::Unavailable),
            "InvalidAuth" => Ok(Self::InvalidAuth),
            "MissingSession" => Ok(Self::MissingSession),
            "SessionError" => Ok(Self::SessionError),
            "DecodingError" => Ok(Self::DecodingError),
            "PayloadTooLarge" => Ok(Self::PayloadTooLarge),
            "RateLimitExceeded" => Ok(Self::RateLimitExceeded),
            _ => Err(r.error("unknown answer")),
        }
    }
}

/// A Noise message of the realm (section 6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoiseResponse {
    /// Completes the handshake.
    Handshake {
        /// The second Noise message.
        handshake: HandshakeResponse,
        /// How long after an answer the client may still use the session.
        session_lifetime: Duration,
    },
    /// Continues the session.
    Transport {
        /// AEAD output.
        ciphertext: Vec<u8>,
    },
}

struct HandshakeAnswer {
    handshake: HandshakeResponse,
    session_lifetime: Duration,
}

wire_map!(HandshakeAnswer { "handshake" => handshake, "session_lifetime" => session_lifetime });

impl Wire for NoiseResponse {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Handshake { handshake, session_lifetime } => {
                w.variant("Handshake");
                w.map(2);
                w.text("handshake");
                handshake.write(w);
                w.text("session_lifetime");
                session_lifetime.write(w);
            }
            Self::Transport { ciphertext } => write_transport(w, ciphertext),
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.variant()? {
            Variant::With("Handshake") => {
                let HandshakeAnswer { handshake, session_lifetime } = HandshakeAnswer::read(r)?;
                Ok(Self::Handshake { handshake, session_lifetime })
            }
            Variant::With("Transport") => {
                TransportContent::read(r).map(|c| Self::Transport { ciphertext: c.ciphertext })
            }
            _ => Err(r.error("unknown kind of Noise message")),
        }
    }
}

fn encode(message: &impl Wire) -> Vec<u8> {
    let mut w = Writer::with_capacity(MAX_REQUEST_BODY);
    message.write(&mut w);
    w.finish()
}

impl Wire for RealmId {
    fn write(&self, w: &mut Writer) {
        self.0.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Wire::read(r).map(Self)
    }
}

impl Wire for SessionId {
    fn write(&self, w: &mut Writer) {
        self.0.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Wire::read(r).map(Self)
    }
}

impl Wire for String {
    fn write(&self, w: &mut Writer) {
        w.text(self);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.text().map(Self::from)
    }
}

impl Wire for Duration {
    fn write(&self, w: &mut Writer) {
        SecsAndNanos { secs: self.as_secs(), nanos: self.subsec_nanos() }.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let SecsAndNanos { secs, nanos } = SecsAndNanos::read(r)?;
        if nanos < 1_000_000_000 { Ok(Self::new(secs, nanos)) } else { Err(r.error("integer out of range")) }
    }
}

struct SecsAndNanos {
    secs: u64,
    nanos: u32,
}

wire_map!(SecsAndNanos { "secs" => secs, "nanos" => nanos });
