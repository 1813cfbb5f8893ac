//! The secure channel between client and realm: `Noise_NK_25519_ChaChaPoly_BLAKE2s` (Noise Protocol Framework,
//! revision 34), as section 6 of the client protocol uses it.
//!
//! The client knows the realm's static key; the realm learns nothing of the client. A payload in the client's first
//! message has no forward secrecy: see [`crate::client::SecretsRequest::needs_forward_secrecy`]. Both sides refuse
//! X25519 results of zero. A message that does not decrypt leaves a session that must be dropped; one whose counter is
//! used up encrypts and decrypts nothing further.

use crate::client::{HandshakeRequest, HandshakeResponse};
use crate::ids::X25519Public;
use alloc::vec::Vec;
use blake2::{Blake2s256, Digest as _};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use core::fmt;
use hmac::{Mac as _, SimpleHmac};
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

#[cfg(feature = "outside")]
mod client;

#[cfg(feature = "outside")]
pub use client::{ClientHandshake, client_start, client_start_with_prologue};

const PROTOCOL_NAME: &[u8] = b"Noise_NK_25519_ChaChaPoly_BLAKE2s";

/// The length of an authentication tag, in bytes: how much longer a ciphertext is than its payload.
pub const TAG_LEN: usize = 16;

type Key = Zeroizing<[u8; 32]>;

/// A decrypted payload. Wiped when dropped.
pub type Plaintext = Zeroizing<Vec<u8>>;

/// A Noise message was refused. Drop the session; a realm answers `SessionError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoiseError {
    /// The other side's ephemeral key is not 32 bytes, or leads to zero.
    InvalidKey,
    /// The message was altered, is too short, or was not meant for this session.
    Decryption,
    /// The session has carried all the messages it can.
    Exhausted,
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidKey => "the ephemeral key cannot be used: open another session",
            Self::Decryption => "the message does not decrypt: open another session",
            Self::Exhausted => "the session is used up: open another session",
        })
    }
}

impl core::error::Error for NoiseError {}

/// A realm's static key pair (RFC 7748).
#[derive(Clone)]
pub struct StaticKey {
    secret: StaticSecret,
    public: X25519Public,
}

impl StaticKey {
    /// Takes the secret key, 32 bytes, clamped when used.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*secret);
        Self { public: X25519Public(PublicKey::from(&secret).to_bytes()), secret }
    }

    /// Draws a key: 32 bytes at once.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        Self::from_secret(&secret)
    }

    /// The public key, which clients are configured with.
    #[must_use]
    pub const fn public(&self) -> X25519Public {
        self.public
    }

    fn agree(&self, other: &X25519Public) -> Result<Key, NoiseError> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(other.0));
        if shared.was_contributory() {
            Ok(Zeroizing::new(shared.to_bytes()))
        } else {
            Err(NoiseError::InvalidKey)
        }
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StaticKey").field(&self.public).finish()
    }
}

/// The realm's side between the two messages of a handshake.
pub struct ServerHandshake {
    state: Symmetric,
    client_ephemeral: X25519Public,
}

/// Accepts a client's first message. Draws nothing yet.
///
/// # Errors
/// The message was refused; see [`NoiseError`].
pub fn server_accept(
    key: &StaticKey,
    request: &HandshakeRequest,
) -> Result<(ServerHandshake, Plaintext), NoiseError> {
    server_accept_with_prologue(&[], key, request)
}

/// [`server_accept`] with a prologue, which this protocol never has and published vectors do.
///
/// # Errors
/// As [`server_accept`].
#[doc(hidden)]
pub fn server_accept_with_prologue(
    prologue: &[u8],
    key: &StaticKey,
    request: &HandshakeRequest,
) -> Result<(ServerHandshake, Plaintext), NoiseError> {
    let client_ephemeral = ephemeral_key(&request.client_ephemeral_public)?;
    let mut state = Symmetric::new(prologue, &key.public);
    state.mix_hash(&client_ephemeral.0);
    state.mix_key(&*key.agree(&client_ephemeral)?);
    let payload = state.decrypt(&request.payload_ciphertext)?;
    Ok((ServerHandshake { state, client_ephemeral }, payload))
}

impl ServerHandshake {
    /// Completes the handshake. Draws the ephemeral key, 32 bytes at once.
    ///
    /// # Errors
    /// [`NoiseError::InvalidKey`]: the client's key leads to zero.
    pub fn respond(
        mut self,
        payload: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<(HandshakeResponse, Transport), NoiseError> {
        let ephemeral = StaticKey::random(rng);
        self.state.mix_hash(&ephemeral.public.0);
        self.state.mix_key(&*ephemeral.agree(&self.client_ephemeral)?);
        let payload_ciphertext = self.state.encrypt(payload)?;
        let server_ephemeral_public = ephemeral.public.0.to_vec();
        let (to_server, to_client) = self.state.split();
        let transport = Transport { sending: to_client, receiving: to_server };
        Ok((HandshakeResponse { server_ephemeral_public, payload_ciphertext }, transport))
    }
}

impl fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerHandshake(…)")
    }
}

fn ephemeral_key(bytes: &[u8]) -> Result<X25519Public, NoiseError> {
    bytes.try_into().map(X25519Public).map_err(|_| NoiseError::InvalidKey)
}

/// One side's keys and counters after a handshake. Messages must be handled strictly in order.
pub struct Transport {
    sending: CipherState,
    receiving: CipherState,
}

impl Transport {
    /// Encrypts the next message, with a tag of [`TAG_LEN`].
    ///
    /// # Errors
    /// [`NoiseError::Exhausted`].
    pub fn encrypt(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        self.sending.encrypt(&[], payload)
    }

    /// Decrypts the next message. After an error the session must be dropped.
    ///
    /// # Errors
    /// [`NoiseError::Decryption`], [`NoiseError::Exhausted`].
    pub fn decrypt(&mut self, ciphertext: &[u8]) -> Result<Plaintext, NoiseError> {
        self.receiving.decrypt(&[], ciphertext)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport(…)")
    }
}

/// A key and the number of its next message (`CipherState` of the framework).
struct CipherState {
    key: Key,
    counter: u64,
}

impl CipherState {
    const fn new(key: Key) -> Self {
        Self { key, counter: 0 }
    }

    fn encrypt(&mut self, aad: &[u8], msg: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let next = self.next()?;
        let ciphertext =
            self.cipher().encrypt(&self.nonce(), Payload { msg, aad }).map_err(|_| NoiseError::Exhausted)?;
        self.counter = next;
        Ok(ciphertext)
    }

    fn decrypt(&mut self, aad: &[u8], msg: &[u8]) -> Result<Plaintext, NoiseError> {
        let next = self.next()?;
        let payload =
            self.cipher().decrypt(&self.nonce(), Payload { msg, aad }).map_err(|_| NoiseError::Decryption)?;
        self.counter = next;
        Ok(Zeroizing::new(payload))
    }

    /// The counter after this message. Its last value is never used, as the framework asks.
    fn next(&self) -> Result<u64, NoiseError> {
        self.counter.checked_add(1).ok_or(NoiseError::Exhausted)
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.key).into())
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        nonce.into()
    }
}

/// The transcript so far (`SymmetricState` of the framework).
struct Symmetric {
    hash: [u8; 32],
    chaining_key: Key,
    cipher: CipherState,
}

impl Symmetric {
    /// Starts the transcript with prologue and pre-message. Every message of NK mixes a key in before it encrypts.
    fn new(prologue: &[u8], server: &X25519Public) -> Self {
        let hash: [u8; 32] = Blake2s256::digest(PROTOCOL_NAME).into();
        let cipher = CipherState::new(Zeroizing::new([0; 32]));
        let mut this = Self { hash, chaining_key: Zeroizing::new(hash), cipher };
        this.mix_hash(prologue);
        this.mix_hash(&server.0);
        this
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Blake2s256::new().chain_update(self.hash).chain_update(data).finalize().into();
    }

    fn mix_key(&mut self, input: &[u8]) {
        let (chaining_key, key) = hkdf(&self.chaining_key, input);
        self.chaining_key = chaining_key;
        self.cipher = CipherState::new(key);
    }

    fn encrypt(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let ciphertext = self.cipher.encrypt(&self.hash, payload)?;
        self.mix_hash(&ciphertext);
        Ok(ciphertext)
    }

    fn decrypt(&mut self, ciphertext: &[u8]) -> Result<Plaintext, NoiseError> {
        let payload = self.cipher.decrypt(&self.hash, ciphertext)?;
        self.mix_hash(ciphertext);
        Ok(payload)
    }

    /// The keys from client to realm and from realm to client.
    fn split(self) -> (CipherState, CipherState) {
        let (to_server, to_client) = hkdf(&self.chaining_key, &[]);
        (CipherState::new(to_server), CipherState::new(to_client))
    }
}

/// HKDF (RFC 5869) with HMAC-BLAKE2s and two outputs.
fn hkdf(chaining_key: &Key, input: &[u8]) -> (Key, Key) {
    let extracted = hmac(chaining_key, &[input]);
    let first = hmac(&extracted, &[&[1]]);
    let second = hmac(&extracted, &[&*first, &[2]]);
    (first, second)
}

fn hmac(key: &Key, data: &[&[u8]]) -> Key {
    // A key shorter than a block is filled up with zeros (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key.iter()).for_each(|(place, byte)| *place = *byte);
    let mut mac = <SimpleHmac<Blake2s256> as KeyInit>::new((&*block).into());
    data.iter().for_each(|d| mac.update(d));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_counter_is_never_used() {
        let mut sending = CipherState { key: Zeroizing::new([1; 32]), counter: u64::MAX - 1 };
        let mut receiving = CipherState { key: Zeroizing::new([1; 32]), counter: u64::MAX - 1 };
        let last = sending.encrypt(&[], b"last").unwrap();
        assert_eq!(sending.encrypt(&[], b"one more").err(), Some(NoiseError::Exhausted));
        assert_eq!(*receiving.decrypt(&[], &last).unwrap(), b"last");
        assert_eq!(receiving.decrypt(&[], &last).err(), Some(NoiseError::Exhausted));
    }
}
