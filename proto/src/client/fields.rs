//! The fields of registrations and answers, each a type of its own.

use super::cbor::{DecodeError, Reader, Wire, Writer, wire_map};
use crate::oprf::{BlindedInput, BlindedOutput, PrivateKey, Proof, PublicKey};
use crate::scalar::SecretScalar;
use core::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

macro_rules! public_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub [u8; $len]);

        impl Wire for $name {
            fn write(&self, w: &mut Writer) {
                self.0.write(w);
            }

            fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Wire::read(r).map(Self)
            }
        }
    };
}

// Secret: wiped when dropped, compared in constant time, never printed.
macro_rules! private_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Takes the bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl ConstantTimeEq for $name {
            fn ct_eq(&self, other: &Self) -> subtle::Choice {
                self.0.ct_eq(&other.0)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.ct_eq(other).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl Wire for $name {
            fn write(&self, w: &mut Writer) {
                self.0.write(w);
            }

            fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Wire::read(r).map(Self)
            }
        }
    };
}

public_bytes!(
    /// One registration, drawn by its client. Random, 16 bytes.
    RegistrationVersion,
    16
);
public_bytes!(
    /// The Ed25519 key that signed a registration's OPRF keys, as sent: 32 bytes, possibly not a point (RFC 8032).
    VerifyingKey,
    32
);
public_bytes!(
    /// An Ed25519 signature as sent, 64 bytes (RFC 8032).
    Signature,
    64
);

private_bytes!(
    /// Shows that a client derived the unlock key, 16 bytes (section 7). Equality takes constant time.
    UnlockKeyTag,
    16
);
private_bytes!(
    /// Commitment to the unlock key, 32 bytes (section 7). Equality takes constant time.
    UnlockKeyCommitment,
    32
);
private_bytes!(
    /// The client's padded secret, encrypted, with its tag: 145 bytes (section 7).
    EncryptedSecret,
    145
);
private_bytes!(
    /// MAC under the unlock key over one realm's share and the encrypted secret, 16 bytes (section 7).
    EncryptedSecretCommitment,
    16
);

/// A realm's OPRF public key with its registration's signature (section 7). Holding one proves nothing:
/// a client checks the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedPublicKey {
    /// The OPRF public key.
    pub public_key: PublicKey,
    /// The key that signed it.
    pub verifying_key: VerifyingKey,
    /// The signature over realm id and public key.
    pub signature: Signature,
}

wire_map!(SignedPublicKey { "public_key" => public_key, "verifying_key" => verifying_key, "signature" => signature });

/// The most guesses a registration may allow (section 13.2): from 256 on, an answer could outgrow its padding.
pub const MAX_NUM_GUESSES: u16 = 255;

/// What a registration asks of its realms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How many times a PIN may be tried, as sent: see [`Policy::checked`].
    pub num_guesses: u16,
}

wire_map!(Policy { "num_guesses" => num_guesses });

impl Policy {
    /// The number of guesses, at least 1.
    ///
    /// # Errors
    /// It is 0 or above [`MAX_NUM_GUESSES`] (section 13.2).
    pub fn checked(&self) -> Result<u8, InvalidPolicy> {
        u8::try_from(self.num_guesses).ok().filter(|n| *n > 0).ok_or(InvalidPolicy)
    }
}

/// A policy allows no guess or more than [`MAX_NUM_GUESSES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPolicy;

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "num_guesses is out of range: register with 1 to {MAX_NUM_GUESSES}")
    }
}

impl core::error::Error for InvalidPolicy {}

impl Wire for PublicKey {
    fn write(&self, w: &mut Writer) {
        self.0.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Wire::read(r).map(Self)
    }
}

impl Wire for BlindedInput {
    fn write(&self, w: &mut Writer) {
        self.as_bytes().write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_bytes(&Wire::read(r)?).map_err(|_| r.error("not a group element"))
    }
}

impl Wire for BlindedOutput {
    fn write(&self, w: &mut Writer) {
        self.as_bytes().write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_bytes(&Wire::read(r)?).map_err(|_| r.error("not a group element"))
    }
}

wire_map!(Proof { "c" => c, "beta_z" => beta_z });

// Secret: the copy on the stack is wiped.
impl Wire for SecretScalar {
    fn write(&self, w: &mut Writer) {
        self.to_bytes().write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = Zeroizing::new(Wire::read(r)?);
        let scalar = Self::from_bytes(&bytes).map_err(|_| r.error("not a canonical scalar"))?;
        if scalar.is_zero() { Err(r.error("scalar is zero")) } else { Ok(scalar) }
    }
}

impl Wire for PrivateKey {
    fn write(&self, w: &mut Writer) {
        self.scalar().write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(Wire::read(r)?).map_err(|_| r.error("scalar is zero"))
    }
}
