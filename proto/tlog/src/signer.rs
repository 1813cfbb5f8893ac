//! Keys that notes are signed with outside HSMs: those of witnesses.

use crate::cosignature::{self, Cosignature, MAX_TIME};
use crate::key::{KeyError, KeyId, KeyName, SignatureType, VerifierKey};
use crate::note::Signature;
use base64ct::{Base64, Encoding as _};
use core::fmt;
use core::str::FromStr;
use ed25519_dalek::{Signer as _, SigningKey as Ed25519};
use strongroom_proto::ids::Ed25519Public;
use zeroize::Zeroizing;

/// What the text of a signing key begins with.
const PREFIX: &str = "PRIVATE+KEY+";

/// That a key is not for this.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    /// It signs something else.
    #[error("the key is for signatures of another type; make one for this purpose")]
    Type,
    /// A cosignature cannot state this time.
    #[error("a cosignature cannot state a time after 2^63 - 1; set the clock right")]
    Time,
}

/// A private key with its name and the one type of signatures that it makes. Wiped when it is dropped.
pub struct SigningKey {
    // Secret: wipes itself.
    secret: Ed25519,
    public: VerifierKey,
}

impl SigningKey {
    /// The key of this seed (RFC 8032).
    ///
    /// # Errors
    /// None for seeds drawn at random.
    pub fn from_seed(name: KeyName, kind: SignatureType, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let secret = Ed25519::from_bytes(seed);
        let public = VerifierKey::new(name, kind, &Ed25519Public(secret.verifying_key().to_bytes()))?;
        Ok(Self { secret, public })
    }

    /// What others verify its signatures with.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.public
    }

    /// The text in which the key is kept: `PRIVATE+KEY+NAME+ID+BASE64`, with the id of the public key.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        // Secret: the seed, once in bytes and once in base64.
        let mut key = Zeroizing::new([self.public.kind() as u8; 33]);
        key[1..].copy_from_slice(self.secret.as_bytes());
        let key = Zeroizing::new(Base64::encode_string(&*key));
        let mut text = Zeroizing::new(String::with_capacity(
            PREFIX.len() + self.public.name().as_str().len() + 10 + key.len(),
        ));
        for part in [PREFIX, self.public.name().as_str(), "+", &self.public.id().to_string(), "+", &key] {
            text.push_str(part);
        }
        text
    }

    /// Signs the text of a note.
    ///
    /// # Errors
    /// [`SignError::Type`] if the key is not of [`SignatureType::Ed25519`].
    pub fn sign(&self, text: &str) -> Result<Signature, SignError> {
        if self.public.kind() != SignatureType::Ed25519 {
            return Err(SignError::Type);
        }
        Ok(Signature::new(&self.public, self.secret.sign(text.as_bytes()).to_bytes()))
    }

    /// Cosigns the text of a checkpoint at this time, in seconds since 1970. It states that no larger tree of that log was seen,
    /// and none that does not fit: the caller has to know.
    ///
    /// # Errors
    /// [`SignError`], for keys not of [`SignatureType::Cosignature`] and times after [`MAX_TIME`].
    pub fn cosign(&self, text: &str, time: u64) -> Result<Signature, SignError> {
        if self.public.kind() != SignatureType::Cosignature {
            return Err(SignError::Type);
        }
        if time > MAX_TIME {
            return Err(SignError::Time);
        }
        let signature = self.secret.sign(cosignature::message(time, text).as_bytes()).to_bytes();
        Ok(Signature::new(&self.public, Cosignature { time, signature }.to_bytes()))
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.strip_prefix(PREFIX).ok_or(KeyError::Form)?.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        let name = KeyName::new(name)?;
        let id = KeyId::parse(id).ok_or(KeyError::Form)?;
        // Secret: one byte more than a key has, so that longer ones are refused.
        let mut buffer = Zeroizing::new([0; 34]);
        let key = Base64::decode(key, &mut *buffer).map_err(|_| KeyError::Form)?;
        let (kind, seed) = key.split_first().ok_or(KeyError::Form)?;
        let kind = SignatureType::try_from(*kind)?;
        let seed: &[u8; 32] = seed.try_into().map_err(|_| KeyError::Form)?;
        let key = Self::from_seed(name, kind, seed)?;
        if key.public.id() == id { Ok(key) } else { Err(KeyError::Id) }
    }
}

/// The public half alone.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public.to_string()).finish_non_exhaustive()
    }
}
