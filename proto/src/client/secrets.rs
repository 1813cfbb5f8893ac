//! Requests for secrets and their answers (sections 5.2 and 5.3), which travel only inside a Noise session.

use super::attempts::AttemptsResponse;
use super::cbor::{DecodeError, Reader, Variant, Wire, Writer, wire_map};
use super::fields::{
    EncryptedSecret, EncryptedSecretCommitment, Policy, RegistrationVersion, SignedPublicKey,
    UnlockKeyCommitment, UnlockKeyTag,
};
use crate::oprf::{BlindedInput, BlindedOutput, PrivateKey, Proof};
use crate::scalar::SecretScalar;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use zeroize::Zeroizing;

/// The longest answer that fits in its padding, in bytes.
pub const MAX_RESPONSE: usize = 436;

/// The length of every padded answer, in bytes (section 13.5).
pub const PADDED_RESPONSE: usize = 472;

/// What a client asks of one realm about its user's record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretsRequest {
    /// Is the realm there?
    Register1,
    /// Replace the record.
    Register2(Box<Register2Request>),
    /// Which registration is there?
    Recover1,
    /// Evaluate the OPRF; costs a guess.
    Recover2 {
        /// The registration meant.
        version: RegistrationVersion,
        /// The blinded PIN.
        blinded_input: BlindedInput,
    },
    /// Hand out the shares.
    Recover3 {
        /// The registration meant.
        version: RegistrationVersion,
        /// Shows that the PIN was right.
        unlock_key_tag: UnlockKeyTag,
    },
    /// Remove the record.
    Delete,
    /// Which requests counted? Not part of the protocol of clients in the field.
    Attempts,
    /// Put a registration beside the present one. Not part of it either (`docs/protocol.md`, section 18).
    Stage(Box<Register2Request>),
    /// Put the staged registration in the place of the present one. Not part of it either.
    Activate {
        /// The registration meant.
        version: RegistrationVersion,
    },
    /// Which registrations are there, present and staged? Not part of it either.
    Versions,
}

impl SecretsRequest {
    /// Whether it must not ride in a handshake (section 6).
    #[must_use]
    pub const fn needs_forward_secrecy(&self) -> bool {
        match self {
            Self::Register1 | Self::Recover1 | Self::Delete | Self::Attempts | Self::Versions => false,
            Self::Register2(_) | Self::Recover2 { .. } | Self::Recover3 { .. } => true,
            Self::Stage(_) | Self::Activate { .. } => true,
        }
    }

    /// Whether it changes no record, whatever the record holds.
    #[must_use]
    pub const fn only_reads(&self) -> bool {
        matches!(self, Self::Register1 | Self::Recover1 | Self::Attempts | Self::Versions)
    }

    /// The registration that it names, unless it replaces what is registered.
    #[must_use]
    pub const fn version(&self) -> Option<&RegistrationVersion> {
        match self {
            Self::Recover2 { version, .. } | Self::Recover3 { version, .. } => Some(version),
            Self::Stage(registration) => Some(&registration.version),
            Self::Activate { version } => Some(version),
            _ => None,
        }
    }

    /// Decodes a decrypted request. Whether it makes sense for a record is not checked here: see
    /// [`crate::registration::verify_registration`].
    ///
    /// # Errors
    /// The bytes are not exactly one request; answer `DecodingError` and drop the session.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let request = Self::read(&mut r)?;
        r.end().map(|()| request)
    }
}

pub(super) struct Recover2Content {
    pub(super) version: RegistrationVersion,
    pub(super) blinded_input: BlindedInput,
}

wire_map!(Recover2Content { "version" => version, "oprf_blinded_input" => blinded_input });

pub(super) struct Recover3Content {
    pub(super) version: RegistrationVersion,
    pub(super) unlock_key_tag: UnlockKeyTag,
}

wire_map!(Recover3Content { "version" => version, "unlock_key_tag" => unlock_key_tag });

impl SecretsRequest {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.variant()? {
            Variant::Unit("Register1") => Ok(Self::Register1),
            Variant::With("Register2") => {
                Register2Request::read(r).map(|registration| Self::Register2(Box::new(registration)))
            }
            Variant::Unit("Recover1") => Ok(Self::Recover1),
            Variant::With("Recover2") => {
                let Recover2Content { version, blinded_input } = Recover2Content::read(r)?;
                Ok(Self::Recover2 { version, blinded_input })
            }
            Variant::With("Recover3") => {
                let Recover3Content { version, unlock_key_tag } = Recover3Content::read(r)?;
                Ok(Self::Recover3 { version, unlock_key_tag })
            }
            Variant::Unit("Delete") => Ok(Self::Delete),
            Variant::Unit("Attempts") => Ok(Self::Attempts),
            Variant::With("Stage") => {
                Register2Request::read(r).map(|registration| Self::Stage(Box::new(registration)))
            }
            Variant::With("Activate") => {
                VersionContent::read(r).map(|VersionContent { version }| Self::Activate { version })
            }
            Variant::Unit("Versions") => Ok(Self::Versions),
            _ => Err(r.error("unknown request")),
        }
    }
}

/// A registration at one realm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Register2Request {
    /// The same at every realm.
    pub version: RegistrationVersion,
    /// The realm's share of the OPRF root key.
    pub oprf_private_key: PrivateKey,
    /// That share's public key, signed.
    pub oprf_signed_public_key: SignedPublicKey,
    /// The same at every realm.
    pub unlock_key_commitment: UnlockKeyCommitment,
    /// The realm's own tag.
    pub unlock_key_tag: UnlockKeyTag,
    /// The realm's share of the encryption key's scalar.
    pub encryption_key_scalar_share: SecretScalar,
    /// The same at every realm.
    pub encrypted_secret: EncryptedSecret,
    /// The realm's own commitment.
    pub encrypted_secret_commitment: EncryptedSecretCommitment,
    /// How many guesses to allow.
    pub policy: Policy,
}

wire_map!(Register2Request {
    "version" => version,
    "oprf_private_key" => oprf_private_key,
    "oprf_signed_public_key" => oprf_signed_public_key,
    "unlock_key_commitment" => unlock_key_commitment,
    "unlock_key_tag" => unlock_key_tag,
    "encryption_key_scalar_share" => encryption_key_scalar_share,
    "encrypted_secret" => encrypted_secret,
    "encrypted_secret_commitment" => encrypted_secret_commitment,
    "policy" => policy,
});

/// A realm's answer to a [`SecretsRequest`]. Travels only padded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretsResponse {
    /// The realm is there.
    Register1,
    /// The record was replaced.
    Register2,
    /// See [`Recover1Response`].
    Recover1(Recover1Response),
    /// See [`Recover2Response`].
    Recover2(Recover2Response),
    /// See [`Recover3Response`].
    Recover3(Recover3Response),
    /// No record is left.
    Delete,
    /// See [`AttemptsResponse`].
    Attempts(Box<AttemptsResponse>),
    /// The registration is staged, or was held already.
    Stage,
    /// See [`ActivateResponse`].
    Activate(ActivateResponse),
    /// See [`VersionsResponse`].
    Versions(VersionsResponse),
}

/// Answer to Recover1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recover1Response {
    /// There is a registration with guesses left.
    Ok {
        /// Which.
        version: RegistrationVersion,
    },
    /// There is no registration.
    NotRegistered,
    /// The guesses are used up.
    NoGuesses,
}

/// Answer to Activate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActivateResponse {
    /// The registration is the present one, and nothing is staged.
    Ok,
    /// It is neither staged nor present. Nothing changed.
    NotStaged,
}

/// Answer to Versions: what is in each of a record's two places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionsResponse {
    /// What Recover1 is answered with.
    pub present: Recover1Response,
    /// The same of what is staged.
    pub staged: Recover1Response,
}

/// Answer to Recover2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recover2Response {
    /// The guess was charged and evaluated.
    Ok(Box<Recover2Ok>),
    /// There is another registration now.
    VersionMismatch,
    /// There is no registration.
    NotRegistered,
    /// The guesses are used up.
    NoGuesses,
}

/// An evaluated guess.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recover2Ok {
    /// The key it was evaluated under.
    pub oprf_signed_public_key: SignedPublicKey,
    /// The result, still blinded.
    pub oprf_blinded_result: BlindedOutput,
    /// That the key was used.
    pub oprf_proof: Proof,
    /// What the right PIN leads to.
    pub unlock_key_commitment: UnlockKeyCommitment,
    /// How many guesses there were to begin with, at most [`super::MAX_NUM_GUESSES`].
    pub num_guesses: u16,
    /// How many are charged, this one included; never above `num_guesses`.
    pub guess_count: u16,
}

wire_map!(Recover2Ok {
    "oprf_signed_public_key" => oprf_signed_public_key,
    "oprf_blinded_result" => oprf_blinded_result,
    "oprf_proof" => oprf_proof,
    "unlock_key_commitment" => unlock_key_commitment,
    "num_guesses" => num_guesses,
    "guess_count" => guess_count,
});

/// Answer to Recover3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recover3Response {
    /// The PIN was right.
    Ok(Box<Recover3Ok>),
    /// There is another registration now.
    VersionMismatch,
    /// There is no registration.
    NotRegistered,
    /// The PIN was wrong.
    BadUnlockKeyTag {
        /// How many guesses are left.
        guesses_remaining: u16,
    },
    /// The guesses are used up.
    NoGuesses,
}

/// What a realm holds for whoever knows the PIN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recover3Ok {
    /// The realm's share of the encryption key's scalar.
    pub encryption_key_scalar_share: SecretScalar,
    /// The encrypted secret.
    pub encrypted_secret: EncryptedSecret,
    /// Commits to both.
    pub encrypted_secret_commitment: EncryptedSecretCommitment,
}

wire_map!(Recover3Ok {
    "encryption_key_scalar_share" => encryption_key_scalar_share,
    "encrypted_secret" => encrypted_secret,
    "encrypted_secret_commitment" => encrypted_secret_commitment,
});

pub(super) struct VersionContent {
    pub(super) version: RegistrationVersion,
}

wire_map!(VersionContent { "version" => version });

pub(super) struct RemainingContent {
    pub(super) guesses_remaining: u16,
}

wire_map!(RemainingContent { "guesses_remaining" => guesses_remaining });

impl SecretsResponse {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Register1 => w.variant_of("Register1", "Ok"),
            Self::Register2 => w.variant_of("Register2", "Ok"),
            Self::Recover1(answer) => {
                w.variant("Recover1");
                answer.write(w);
            }
            Self::Recover2(answer) => {
                w.variant("Recover2");
                answer.write(w);
            }
            Self::Recover3(answer) => {
                w.variant("Recover3");
                answer.write(w);
            }
            Self::Delete => w.variant_of("Delete", "Ok"),
            Self::Attempts(answer) => {
                w.variant("Attempts");
                answer.write(w);
            }
            Self::Stage => w.variant_of("Stage", "Ok"),
            Self::Activate(ActivateResponse::Ok) => w.variant_of("Activate", "Ok"),
            Self::Activate(ActivateResponse::NotStaged) => w.variant_of("Activate", "NotStaged"),
            Self::Versions(VersionsResponse { present, staged }) => {
                w.variant("Versions");
                w.map(2);
                w.text("present");
                present.write(w);
                w.text("staged");
                staged.write(w);
            }
        }
    }
}

impl Recover1Response {
    pub(super) fn write(&self, w: &mut Writer) {
        match self {
            Self::Ok { version } => {
                w.variant("Ok");
                VersionContent { version: *version }.write(w);
            }
            Self::NotRegistered => w.text("NotRegistered"),
            Self::NoGuesses => w.text("NoGuesses"),
        }
    }
}

impl Recover2Response {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Ok(evaluated) => {
                w.variant("Ok");
                evaluated.write(w);
            }
            Self::VersionMismatch => w.text("VersionMismatch"),
            Self::NotRegistered => w.text("NotRegistered"),
            Self::NoGuesses => w.text("NoGuesses"),
        }
    }
}

impl Recover3Response {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Ok(shares) => {
                w.variant("Ok");
                shares.write(w);
            }
            Self::VersionMismatch => w.text("VersionMismatch"),
            Self::NotRegistered => w.text("NotRegistered"),
            Self::BadUnlockKeyTag { guesses_remaining } => {
                w.variant("BadUnlockKeyTag");
                RemainingContent { guesses_remaining: *guesses_remaining }.write(w);
            }
            Self::NoGuesses => w.text("NoGuesses"),
        }
    }
}

/// An answer does not fit its padding. Only counts above [`super::MAX_NUM_GUESSES`] cause this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseTooLong;

impl fmt::Display for ResponseTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {MAX_RESPONSE} bytes: bound num_guesses and guess_count by 255")
    }
}

impl core::error::Error for ResponseTooLong {}

impl SecretsResponse {
    /// The answer's bytes before padding.
    #[must_use]
    pub fn to_cbor(&self) -> Zeroizing<Vec<u8>> {
        let mut w = Writer::with_capacity(MAX_RESPONSE + 1);
        self.write(&mut w);
        Zeroizing::new(w.finish())
    }

    /// The answer padded to its one length, with the true length always in three bytes (section 13.5), so that
    /// ciphertexts do not tell answers apart.
    ///
    /// # Errors
    /// The answer is longer than [`MAX_RESPONSE`], which a bounded policy rules out.
    pub fn to_padded(&self) -> Result<Zeroizing<[u8; PADDED_RESPONSE]>, ResponseTooLong> {
        const LENGTH_KEY: &[u8] = b"\xa2\x6funpadded_length\x19";
        const BYTES_KEY: &[u8] = b"\x6cpadded_bytes\x59\x01\xb4";
        let answer = self.to_cbor();
        let length = u16::try_from(answer.len()).map_err(|_| ResponseTooLong)?;
        let mut padded = Zeroizing::new([0; PADDED_RESPONSE]);
        let parts = [LENGTH_KEY, &length.to_be_bytes(), BYTES_KEY, &answer];
        let mut rest = &mut padded[..];
        for part in parts {
            let (place, after) = rest.split_at_mut_checked(part.len()).ok_or(ResponseTooLong)?;
            place.copy_from_slice(part);
            rest = after;
        }
        Ok(padded)
    }
}
