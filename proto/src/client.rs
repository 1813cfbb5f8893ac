//! What clients and realms say to each other: the envelope, the requests for secrets and their answers, byte for byte
//! (client protocol, sections 5 and 13.5).
//!
//! Both sides trust nothing here. Encoders write one form only. Decoders take fields in any order and ignore unknown
//! ones; they refuse missing or duplicate fields, wrong lengths, integers out of range, indefinite lengths and, except
//! for `ClientResponse`, bytes after the item. They do not recurse into what they do not know, and allocate no more
//! than the length of the input. A decoded scalar is canonical and not zero, a decoded OPRF element valid and not the
//! identity, so that no degenerate value reaches a realm's keys (13.3).

#[cfg(feature = "outside")]
mod asking;
#[cfg(feature = "outside")]
mod attempted;
mod attempts;
mod cbor;
#[cfg(feature = "outside")]
mod envelope;
mod fields;
mod handshake;
mod secrets;

pub use attempts::{ATTEMPT_BYTES, Attempt, AttemptsResponse, MAX_ATTEMPTS, next_head};
pub use cbor::DecodeError;
#[cfg(feature = "outside")]
pub use envelope::{
    ClientRequest, ClientResponse, MAX_REQUEST_BODY, NoiseRequest, NoiseResponse, RequestKind,
};
pub use fields::{
    EncryptedSecret, EncryptedSecretCommitment, InvalidPolicy, MAX_NUM_GUESSES, Policy, RegistrationVersion,
    Signature, SignedPublicKey, UnlockKeyCommitment, UnlockKeyTag, VerifyingKey,
};
pub use handshake::{HandshakeRequest, HandshakeResponse};
pub use secrets::{
    ActivateResponse, MAX_RESPONSE, PADDED_RESPONSE, Recover1Response, Recover2Ok, Recover2Response,
    Recover3Ok, Recover3Response, Register2Request, ResponseTooLong, SecretsRequest, SecretsResponse,
    VersionsResponse,
};
