//! Live Noise sessions, at most one per realm waiting to be used again.
//!
//! A session is taken out while in use, so that its messages stay in order and any failure drops it; concurrent
//! operations open sessions of their own.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_proto::ids::{RealmId, SessionId, X25519Public};
use strongroom_proto::noise::{NoiseError, Plaintext, Transport};

use crate::runtime::Instant;

/// A session, and when it was last answered.
pub(crate) struct Session {
    id: SessionId,
    transport: Transport,
    lifetime: Duration,
    last_answer: Instant,
    /// A copy of a message went out; a realm that does not know copies may have ended the session because of it.
    in_doubt: bool,
}

impl Session {
    /// A session whose handshake was answered just now.
    pub(crate) fn new(id: SessionId, transport: Transport, lifetime: Duration) -> Self {
        Self { id, transport, lifetime, last_answer: Instant::now(), in_doubt: false }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, NoiseError> {
        self.transport.encrypt(plaintext)
    }

    /// Decrypts an answer that came just now.
    pub(crate) fn decrypt(&mut self, ciphertext: &[u8]) -> Result<Plaintext, NoiseError> {
        let plaintext = self.transport.decrypt(ciphertext)?;
        self.last_answer = Instant::now();
        Ok(plaintext)
    }

    /// Notes that copies of its last message were sent.
    pub(crate) fn doubt(&mut self) {
        self.in_doubt = true;
    }

    fn is_live(&self) -> bool {
        !self.in_doubt && self.last_answer.elapsed() < self.lifetime
    }
}

/// The sessions that wait.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<(RealmId, X25519Public), Session>>);

impl Sessions {
    /// Takes the live session with a realm, if there is one.
    pub(crate) fn take(&self, realm: RealmId, key: &X25519Public) -> Option<Session> {
        self.0.lock().remove(&(realm, *key)).filter(Session::is_live)
    }

    /// Keeps a session for the next request.
    pub(crate) fn put(&self, realm: RealmId, key: &X25519Public, session: Session) {
        self.0.lock().insert((realm, *key), session);
    }
}
