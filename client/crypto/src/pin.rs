//! Stretching of PINs (client protocol, section 7): Argon2id (RFC 9106), version 0x13, one lane, 64 bytes.
//!
//! The PIN is used as its bytes: two encodings of one text are two PINs.

use crate::registration::EncryptionKeySeed;
use argon2::{Algorithm, Argon2, Params, Version};
use core::fmt;
use strongroom_proto::client::RegistrationVersion;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// How much work a PIN is stretched with. Part of a client's configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinHashingMode {
    /// 16 MiB, 32 passes.
    Standard2019,
    /// 8 KiB, one pass. For tests: it protects no PIN.
    FastInsecure,
}

impl PinHashingMode {
    /// Memory in KiB, and passes.
    const fn costs(self) -> (u32, u32) {
        match self {
            Self::Standard2019 => (16 * 1024, 32),
            Self::FastInsecure => (8, 1),
        }
    }
}

/// What a PIN is stretched to.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StretchedPin {
    access_key: [u8; 32],
    encryption_key_seed: EncryptionKeySeed,
}

impl StretchedPin {
    /// Takes what [`Self::to_bytes`] gave, where a PIN was stretched in another place.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let (mut access_key, mut seed) = ([0; 32], [0; 32]);
        access_key.copy_from_slice(&bytes[..32]);
        seed.copy_from_slice(&bytes[32..]);
        let stretched = Self { access_key, encryption_key_seed: EncryptionKeySeed::new(seed) };
        access_key.zeroize();
        seed.zeroize();
        stretched
    }

    /// The access key, then the seed.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(&self.access_key);
        bytes[32..].copy_from_slice(self.encryption_key_seed.as_bytes());
        bytes
    }

    /// The OPRF's input.
    #[must_use]
    pub const fn access_key(&self) -> &[u8; 32] {
        &self.access_key
    }

    /// The PIN's part of the encryption key.
    #[must_use]
    pub const fn encryption_key_seed(&self) -> &EncryptionKeySeed {
        &self.encryption_key_seed
    }
}

impl fmt::Debug for StretchedPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StretchedPin(…)")
    }
}

/// A PIN or user info is longer than Argon2 accepts (4 GiB).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputTooLong;

impl fmt::Display for InputTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the PIN or the user info is too long: keep each below 4 GiB")
    }
}

impl core::error::Error for InputTooLong {}

/// Stretches a PIN for one registration of one user. With [`PinHashingMode::Standard2019`] it takes 16 MiB and a
/// good part of a second.
///
/// # Errors
/// PIN or user info is 4 GiB long or longer.
pub fn stretch(
    mode: PinHashingMode,
    pin: &[u8],
    version: &RegistrationVersion,
    user_info: &[u8],
) -> Result<StretchedPin, InputTooLong> {
    let info_len = u32::try_from(user_info.len()).map_err(|_| InputTooLong)?;
    let mut salt: Vec<u8> = Vec::with_capacity(24);
    salt.extend_from_slice(&16u32.to_be_bytes());
    salt.extend_from_slice(&version.0);
    salt.extend_from_slice(&info_len.to_be_bytes());
    salt.extend_from_slice(user_info);

    let (memory_kib, passes) = mode.costs();
    let params = Params::new(memory_kib, passes, 1, Some(64)).expect("both modes are valid");
    let mut out = Zeroizing::new([0; 64]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(pin, &salt, &mut *out)
        .map_err(|_| InputTooLong)?;
    Ok(StretchedPin::from_bytes(&out))
}
