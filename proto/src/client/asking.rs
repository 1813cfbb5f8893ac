//! The client's side: it writes requests, reads answers, and draws what is random in a registration.

use super::attempts::AttemptsResponse;
use super::cbor::{DecodeError, Reader, Variant, Wire, Writer, wire_map};
use super::fields::RegistrationVersion;
use super::secrets::{
    ActivateResponse, MAX_RESPONSE, Recover1Response, Recover2Content, Recover2Ok, Recover2Response,
    Recover3Content, Recover3Ok, Recover3Response, RemainingContent, SecretsRequest, SecretsResponse,
    VersionContent, VersionsResponse,
};
use crate::scalar::SecretScalar;
use alloc::boxed::Box;
use alloc::vec::Vec;
use curve25519_dalek::scalar::Scalar;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// The longest encoding of a request for secrets, in bytes: Register2 with 256 guesses or more.
const MAX_REQUEST: usize = 665;

impl SecretsRequest {
    /// The request's bytes, 7 to 665 of them.
    #[must_use]
    pub fn to_cbor(&self) -> Zeroizing<Vec<u8>> {
        let mut w = Writer::with_capacity(MAX_REQUEST);
        self.write(&mut w);
        Zeroizing::new(w.finish())
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Register1 => w.text("Register1"),
            Self::Register2(registration) => {
                w.variant("Register2");
                registration.write(w);
            }
            Self::Recover1 => w.text("Recover1"),
            Self::Recover2 { version, blinded_input } => {
                w.variant("Recover2");
                Recover2Content { version: *version, blinded_input: *blinded_input }.write(w);
            }
            Self::Recover3 { version, unlock_key_tag } => {
                w.variant("Recover3");
                Recover3Content { version: *version, unlock_key_tag: unlock_key_tag.clone() }.write(w);
            }
            Self::Delete => w.text("Delete"),
            Self::Attempts => w.text("Attempts"),
            Self::Stage(registration) => {
                w.variant("Stage");
                registration.write(w);
            }
            Self::Activate { version } => {
                w.variant("Activate");
                VersionContent { version: *version }.write(w);
            }
            Self::Versions => w.text("Versions"),
        }
    }
}

impl SecretsResponse {
    /// Decodes an answer without padding.
    ///
    /// # Errors
    /// The bytes are not exactly one answer.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let response = Self::read(&mut r)?;
        r.end().map(|()| response)
    }

    /// Decodes a padded answer, with its length in one, two or three bytes.
    ///
    /// # Errors
    /// The bytes are not a padded answer; the realm is faulty.
    pub fn from_padded(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let padded = PaddedContent::read(&mut r)?;
        r.end()?;
        let answer = padded.padded_bytes.get(..usize::from(padded.unpadded_length));
        Self::from_cbor(answer.ok_or_else(|| r.error("length above the padding"))?)
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.variant()? {
            Variant::With("Register1") => read_ok(r).map(|()| Self::Register1),
            Variant::With("Register2") => read_ok(r).map(|()| Self::Register2),
            Variant::With("Recover1") => Recover1Response::read(r).map(Self::Recover1),
            Variant::With("Recover2") => Recover2Response::read(r).map(Self::Recover2),
            Variant::With("Recover3") => Recover3Response::read(r).map(Self::Recover3),
            Variant::With("Delete") => read_ok(r).map(|()| Self::Delete),
            Variant::With("Attempts") => {
                let answer = AttemptsResponse::from_bytes(r.bytes()?);
                answer.map(|answer| Self::Attempts(Box::new(answer))).ok_or_else(|| r.error("attempts"))
            }
            Variant::With("Stage") => read_ok(r).map(|()| Self::Stage),
            Variant::With("Activate") => ActivateResponse::read(r).map(Self::Activate),
            Variant::With("Versions") => VersionsContent::read(r)
                .map(|VersionsContent { present, staged }| VersionsResponse { present, staged })
                .map(Self::Versions),
            _ => Err(r.error("unknown answer")),
        }
    }
}

fn read_ok(r: &mut Reader<'_>) -> Result<(), DecodeError> {
    if r.text()? == "Ok" { Ok(()) } else { Err(r.error("unknown answer")) }
}

impl Recover1Response {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.variant()? {
            Variant::With("Ok") => VersionContent::read(r).map(|c| Self::Ok { version: c.version }),
            Variant::Unit("NotRegistered") => Ok(Self::NotRegistered),
            Variant::Unit("NoGuesses") => Ok(Self::NoGuesses),
            _ => Err(r.error("unknown answer to Recover1")),
        }
    }
}

// Inside the answer to Versions. Writing is with the answer.
impl Wire for Recover1Response {
    fn write(&self, w: &mut Writer) {
        Self::write(self, w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::read(r)
    }
}

struct VersionsContent {
    present: Recover1Response,
    staged: Recover1Response,
}

wire_map!(VersionsContent { "present" => present, "staged" => staged });

impl ActivateResponse {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.text()? {
            "Ok" => Ok(Self::Ok),
            "NotStaged" => Ok(Self::NotStaged),
            _ => Err(r.error("unknown answer to Activate")),
        }
    }
}

impl Recover2Response {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.variant()? {
            Variant::With("Ok") => Recover2Ok::read(r).map(|ok| Self::Ok(Box::new(ok))),
            Variant::Unit("VersionMismatch") => Ok(Self::VersionMismatch),
            Variant::Unit("NotRegistered") => Ok(Self::NotRegistered),
            Variant::Unit("NoGuesses") => Ok(Self::NoGuesses),
            _ => Err(r.error("unknown answer to Recover2")),
        }
    }
}

impl Recover3Response {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.variant()? {
            Variant::With("Ok") => Recover3Ok::read(r).map(|ok| Self::Ok(Box::new(ok))),
            Variant::Unit("VersionMismatch") => Ok(Self::VersionMismatch),
            Variant::Unit("NotRegistered") => Ok(Self::NotRegistered),
            Variant::With("BadUnlockKeyTag") => RemainingContent::read(r)
                .map(|RemainingContent { guesses_remaining }| Self::BadUnlockKeyTag { guesses_remaining }),
            Variant::Unit("NoGuesses") => Ok(Self::NoGuesses),
            _ => Err(r.error("unknown answer to Recover3")),
        }
    }
}

struct PaddedContent {
    unpadded_length: u16,
    padded_bytes: Zeroizing<[u8; MAX_RESPONSE]>,
}

wire_map!(PaddedContent { "unpadded_length" => unpadded_length, "padded_bytes" => padded_bytes });

impl Wire for Zeroizing<[u8; MAX_RESPONSE]> {
    fn write(&self, w: &mut Writer) {
        (**self).write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Wire::read(r).map(Self::new)
    }
}

impl RegistrationVersion {
    /// Draws a version: 16 bytes at once.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut version = [0; 16];
        rng.fill_bytes(&mut version);
        Self(version)
    }
}

impl SecretScalar {
    /// Draws 64 bytes at once and reduces them: uniform.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut wide = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *wide);
        Self::new(Scalar::from_bytes_mod_order_wide(&wide))
    }
}
