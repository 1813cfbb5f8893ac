//! The client's side of a handshake.

use super::{NoiseError, Plaintext, StaticKey, Symmetric, Transport, ephemeral_key};
use crate::client::{HandshakeRequest, HandshakeResponse};
use crate::ids::X25519Public;
use core::fmt;
use rand_core::CryptoRng;

/// The client's side between the two messages of a handshake.
pub struct ClientHandshake {
    state: Symmetric,
    ephemeral: StaticKey,
}

/// Starts a handshake with the realm that has the static key `server`. Draws the ephemeral key, 32 bytes at once.
///
/// # Errors
/// [`NoiseError::InvalidKey`]: the realm's key leads to zero, so the configuration is wrong.
pub fn client_start(
    server: &X25519Public,
    payload: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(ClientHandshake, HandshakeRequest), NoiseError> {
    client_start_with_prologue(&[], server, payload, rng)
}

/// [`client_start`] with a prologue, which this protocol never has and published vectors do.
///
/// # Errors
/// As [`client_start`].
#[doc(hidden)]
pub fn client_start_with_prologue(
    prologue: &[u8],
    server: &X25519Public,
    payload: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(ClientHandshake, HandshakeRequest), NoiseError> {
    let ephemeral = StaticKey::random(rng);
    let mut state = Symmetric::new(prologue, server);
    state.mix_hash(&ephemeral.public.0);
    state.mix_key(&*ephemeral.agree(server)?);
    let payload_ciphertext = state.encrypt(payload)?;
    let client_ephemeral_public = ephemeral.public.0.to_vec();
    Ok((
        ClientHandshake { state, ephemeral },
        HandshakeRequest { client_ephemeral_public, payload_ciphertext },
    ))
}

impl ClientHandshake {
    /// Completes the handshake: whoever answered has the realm's static key.
    ///
    /// # Errors
    /// The answer was refused; see [`NoiseError`].
    pub fn finish(mut self, response: &HandshakeResponse) -> Result<(Transport, Plaintext), NoiseError> {
        let server_ephemeral = ephemeral_key(&response.server_ephemeral_public)?;
        self.state.mix_hash(&server_ephemeral.0);
        self.state.mix_key(&*self.ephemeral.agree(&server_ephemeral)?);
        let payload = self.state.decrypt(&response.payload_ciphertext)?;
        let (to_server, to_client) = self.state.split();
        Ok((Transport { sending: to_server, receiving: to_client }, payload))
    }
}

impl fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientHandshake(…)")
    }
}
