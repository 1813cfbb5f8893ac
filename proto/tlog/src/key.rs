//! Keys that notes are verified with: their names, their ids, and the text in which they are handed over (C2SP signed-note,
//! "Verifier keys").

use crate::cosignature::{self, Cosignature};
use crate::text;
use core::fmt;
use core::str::FromStr;
use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};
use strongroom_proto::ids::Ed25519Public;

/// What is wrong with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The name is empty, or has a character that names must not have.
    #[error(
        "the name of a key is not empty, and has no white space and no plus; use one such as example.com/log"
    )]
    Name,
    /// The text has not the parts of a key.
    #[error("this is not a key; one looks like NAME+8 HEX DIGITS+BASE64, and has to be copied whole")]
    Form,
    /// The signature type is none that this crate knows.
    #[error(
        "the key is for signatures of type {0:#04x}; only 0x01 (Ed25519) and 0x04 (cosignatures with Ed25519) are known here"
    )]
    Type(u8),
    /// The id in the text is not that of the name and the key.
    #[error("the id in the key is not that of its name and key; a part was changed or mistyped")]
    Id,
    /// The bytes are no public key that signatures can be verified with.
    #[error("the key is no Ed25519 public key")]
    Point,
}

/// The name of a key: not empty, no white space, no control characters, no plus.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyName(String);

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new(name: impl Into<String>) -> Result<Self, KeyError> {
        let name = name.into();
        if name.is_empty() || !text::is_clean(&name) || name.contains(|c: char| c.is_whitespace() || c == '+')
        {
            return Err(KeyError::Name);
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Four bytes that, with a name, say which key made a signature. Anyone can make another key with the same id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    /// The id of a key: the start of SHA-256 of `name ‖ 0a ‖ type ‖ key`.
    #[must_use]
    pub fn of(name: &KeyName, kind: SignatureType, key: &Ed25519Public) -> Self {
        let hash = Sha256::new()
            .chain_update(name.0.as_bytes())
            .chain_update([b'\n', kind as u8])
            .chain_update(key.0);
        let [a, b, c, d, ..]: [u8; 32] = hash.finalize().into();
        Self([a, b, c, d])
    }

    /// The id of eight lower-case hex digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = u32::from_str_radix(text, 16).ok()?;
        hex.then_some(Self(id.to_be_bytes()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// What a key signs, and so what its signatures consist of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum SignatureType {
    /// Ed25519 over the text of the note: 64 bytes. Logs.
    Ed25519 = 0x01,
    /// Ed25519 over a time and the text of the note: [`cosignature::LEN`] bytes. Witnesses.
    Cosignature = 0x04,
}

impl TryFrom<u8> for SignatureType {
    type Error = KeyError;

    fn try_from(byte: u8) -> Result<Self, KeyError> {
        match byte {
            0x01 => Ok(Self::Ed25519),
            0x04 => Ok(Self::Cosignature),
            other => Err(KeyError::Type(other)),
        }
    }
}

/// A public key with its name and the one type of signatures that it verifies: what C2SP calls a vkey.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: KeyName,
    id: KeyId,
    kind: SignatureType,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A key of this name.
    ///
    /// # Errors
    /// [`KeyError::Point`], also for keys of small order, under which one signature is good for many texts.
    pub fn new(name: KeyName, kind: SignatureType, public: &Ed25519Public) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(&public.0).map_err(|_| KeyError::Point)?;
        // RFC 8032, section 5.1.3: y is below the prime, so that a key has one encoding.
        if key.is_weak() || key.to_edwards().compress().to_bytes() != public.0 {
            return Err(KeyError::Point);
        }
        Ok(Self { id: KeyId::of(&name, kind, public), name, kind, key })
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What the key signs.
    #[must_use]
    pub const fn kind(&self) -> SignatureType {
        self.kind
    }

    /// The public key (RFC 8032).
    #[must_use]
    pub fn public(&self) -> Ed25519Public {
        Ed25519Public(self.key.to_bytes())
    }

    /// Verifies the signature over the text of a note. For a cosignature, this is the time that it states; for others, none.
    /// None if the signature is bad.
    #[must_use]
    pub fn verify(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        match self.kind {
            SignatureType::Ed25519 => {
                let signature = signature.try_into().ok()?;
                self.is_good(text, signature).then_some(None)
            }
            SignatureType::Cosignature => {
                let Cosignature { time, signature } = Cosignature::from_bytes(signature)?;
                self.is_good(&cosignature::message(time, text), &signature).then_some(Some(time))
            }
        }
    }

    fn is_good(&self, message: &str, signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message.as_bytes(), &Ed25519Signature::from_bytes(signature)).is_ok()
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        let name = KeyName::new(name)?;
        let id = KeyId::parse(id).ok_or(KeyError::Form)?;
        let key = text::base64(key).ok_or(KeyError::Form)?;
        let (kind, public) = key.split_first().ok_or(KeyError::Form)?;
        let kind = SignatureType::try_from(*kind)?;
        let public = <[u8; 32]>::try_from(public).map_err(|_| KeyError::Form)?;
        let key = Self::new(name, kind, &Ed25519Public(public))?;
        if key.id == id { Ok(key) } else { Err(KeyError::Id) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind as u8], &self.key.to_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, self.id, text::to_base64(&key))
    }
}
