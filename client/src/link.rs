//! One request to one realm: sessions, re-sending, and what an answer means.
//!
//! Everything between this client and the realm's own code is hostile: the network may drop, repeat or forge. A
//! hardware realm's answer is believed because its session decrypts it; a software realm's because of TLS.
//!
//! Invariant: a Register2 or Recover3 is encrypted once. After a lost reply the same ciphertext is sent again on the
//! same session, which a realm answers without acting twice; in another session it would count as another request,
//! and give whoever loses replies another round of guesses.

use std::sync::{Arc, Mutex, PoisonError};

use rand_core::{CryptoRng, Rng as _};
use strongroom_proto::client::{
    ClientRequest, ClientResponse, HandshakeResponse, NoiseRequest, NoiseResponse, RequestKind,
    SecretsRequest, SecretsResponse,
};
use strongroom_proto::ids::{SessionId, X25519Public};
use strongroom_proto::noise::{ClientHandshake, Plaintext, client_start};
use tokio::sync::watch;
use zeroize::{Zeroize as _, Zeroizing};

use crate::auth::AuthTokens;
use crate::bug::{Bug, Bugs};
use crate::configuration::Realm;
use crate::error::Cause;
use crate::retry::{Backoff, RetryPolicy};
use crate::session::{Session, Sessions};
use crate::transport::{HttpResponse, Transport};

/// The protocol version that realms compare with the least they serve.
const VERSION_HEADER: (&str, &str) = ("X-Juicebox-Version", "0.3.4");

/// A generator that the realms of a phase share.
pub(crate) type SharedRng = Mutex<Box<dyn CryptoRng + Send>>;

/// Runs `draw` with the generator.
pub(crate) fn with_rng<T>(rng: &SharedRng, draw: impl FnOnce(&mut Box<dyn CryptoRng + Send>) -> T) -> T {
    // A panic in between leaves a generator that is as good as before.
    draw(&mut rng.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Everything that a request to a realm needs.
pub(crate) struct Link {
    pub(crate) tokens: Arc<dyn AuthTokens>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) rng: SharedRng,
    pub(crate) retry: RetryPolicy,
    pub(crate) sessions: Sessions,
    pub(crate) bugs: Bugs,
}

/// Why one attempt failed.
enum Failure {
    /// Nothing is known to have happened.
    Transient(String),
    /// The realm does not know the session.
    MissingSession,
    /// The realm destroyed the session.
    SessionError,
    Fatal(Cause),
}

impl Failure {
    const fn assertion(reason: &'static str) -> Self {
        Self::Fatal(Cause::Assertion(reason))
    }

    /// The failure, where the session was opened a moment ago and its loss breaks the protocol.
    fn on_new_session(self) -> Self {
        match self {
            Self::MissingSession => Self::assertion("it lost a session that it had just opened"),
            other => other,
        }
    }

    /// The cause, where nothing more can be tried.
    fn into_cause(self) -> Cause {
        match self {
            Self::Transient(why) => Cause::Transient(why),
            Self::MissingSession => Cause::Transient("it lost the session".to_owned()),
            Self::SessionError => Cause::Assertion("it refused the session's message"),
            Self::Fatal(cause) => cause,
        }
    }
}

impl Link {
    /// Asks `realm`, with as many attempts as the policy and the request allow. `enough` turns true once the answer
    /// is no longer needed.
    pub(crate) async fn ask(
        &self,
        realm: &Realm,
        request: &SecretsRequest,
        enough: watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Cause> {
        match (realm.public_key(), request) {
            (None, _) => self.ask_software(realm, request, enough).await,
            (Some(key), SecretsRequest::Register2(_) | SecretsRequest::Recover3 { .. })
                if !self.bugs.has(Bug::ResendInAnySession) =>
            {
                self.ask_once(realm, key, request, enough).await
            }
            (Some(key), _) => self.ask_repeatedly(realm, key, request, enough).await,
        }
    }

    /// For requests that may be repeated in another session.
    async fn ask_repeatedly(
        &self,
        realm: &Realm,
        key: &X25519Public,
        request: &SecretsRequest,
        enough: watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Cause> {
        let mut backoff = Backoff::new(self.retry, enough);
        let mut session = self.sessions.take(realm.id(), key);
        loop {
            let failure = match self.attempt(realm, key, request, session.take()).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let again = match failure {
                Failure::Transient(_) => backoff.pause().await,
                Failure::MissingSession => backoff.retry_at_once(),
                Failure::SessionError | Failure::Fatal(_) => false,
            };
            if !again {
                return Err(failure.into_cause());
            }
        }
    }

    async fn attempt(
        &self,
        realm: &Realm,
        key: &X25519Public,
        request: &SecretsRequest,
        session: Option<Session>,
    ) -> Result<SecretsResponse, Failure> {
        let plaintext = request.to_cbor();
        match session {
            Some(mut session) => {
                let ciphertext = encrypt(&mut session, &plaintext)?;
                self.converse(realm, key, session, ciphertext).await
            }
            None if request.needs_forward_secrecy() => {
                let mut session = self.open(realm, key).await?;
                let ciphertext = encrypt(&mut session, &plaintext)?;
                self.converse(realm, key, session, ciphertext).await.map_err(Failure::on_new_session)
            }
            None => {
                let (session, answer) =
                    self.handshake(realm, key, RequestKind::SecretsRequest, &plaintext).await?;
                self.keep(realm, key, session, &answer)
            }
        }
    }

    /// For requests that must not be repeated in another session.
    async fn ask_once(
        &self,
        realm: &Realm,
        key: &X25519Public,
        request: &SecretsRequest,
        enough: watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Cause> {
        let mut session = match self.sessions.take(realm.id(), key) {
            Some(session) => session,
            None => self.open_patiently(realm, key, enough.clone()).await?,
        };
        let ciphertext = encrypt(&mut session, &request.to_cbor()).map_err(Failure::into_cause)?;
        let mut backoff = Backoff::new(self.retry, enough);
        let mut resent = false;
        loop {
            let failure = match self.send(realm, &session, ciphertext.clone()).await {
                Ok(answer) => return self.receive(realm, key, session, &answer).map_err(Failure::into_cause),
                Err(failure) => failure,
            };
            let again = match (failure, request) {
                // A fresh registration costs no guess and cannot be held up by a realm that forgot the session but
                // only says that it is unavailable.
                (Failure::Transient(_), SecretsRequest::Register2(_)) => backoff.quick_pause().await,
                (Failure::Transient(_), _) => backoff.pause().await,
                (Failure::MissingSession, _) => false,
                // It may have acted on the ciphertext before, and knows no more how it answered.
                (Failure::SessionError, _) if resent => false,
                (failure @ (Failure::SessionError | Failure::Fatal(_)), _) => {
                    return Err(failure.into_cause());
                }
            };
            if !again {
                return Err(Cause::Unsettled);
            }
            resent = true;
        }
    }

    /// Opens a session, again and again: nothing depends on which one it is.
    async fn open_patiently(
        &self,
        realm: &Realm,
        key: &X25519Public,
        enough: watch::Receiver<bool>,
    ) -> Result<Session, Cause> {
        let mut backoff = Backoff::new(self.retry, enough);
        loop {
            match self.open(realm, key).await {
                Ok(session) => return Ok(session),
                Err(Failure::Transient(_)) if backoff.pause().await => {}
                Err(failure) => return Err(failure.into_cause()),
            }
        }
    }

    async fn open(&self, realm: &Realm, key: &X25519Public) -> Result<Session, Failure> {
        let (session, answer) = self.handshake(realm, key, RequestKind::HandshakeOnly, &[]).await?;
        if answer.is_empty() {
            Ok(session)
        } else {
            Err(Failure::assertion("it put an answer into a mere handshake"))
        }
    }

    async fn handshake(
        &self,
        realm: &Realm,
        key: &X25519Public,
        kind: RequestKind,
        payload: &[u8],
    ) -> Result<(Session, Plaintext), Failure> {
        let (started, id) = with_rng(&self.rng, |rng| {
            let started = client_start(key, payload, rng);
            (started, SessionId(rng.next_u32()))
        });
        let (handshake, message): (ClientHandshake, _) =
            started.map_err(|_| Failure::assertion("its configured public key cannot be used"))?;
        let answer = self.post(realm, id, kind, NoiseRequest::Handshake(message)).await;
        let answer = answer.map_err(Failure::on_new_session)?;
        let NoiseResponse::Handshake { handshake: message, session_lifetime } = answer else {
            return Err(Failure::assertion("it answered a handshake with a transport message"));
        };
        let (transport, payload) = finish(handshake, &message)?;
        Ok((Session::new(id, transport, session_lifetime), payload))
    }

    async fn converse(
        &self,
        realm: &Realm,
        key: &X25519Public,
        session: Session,
        ciphertext: Vec<u8>,
    ) -> Result<SecretsResponse, Failure> {
        let answer = self.send(realm, &session, ciphertext).await?;
        self.receive(realm, key, session, &answer)
    }

    async fn send(&self, realm: &Realm, session: &Session, ciphertext: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let message = NoiseRequest::Transport { ciphertext };
        match self.post(realm, session.id(), RequestKind::SecretsRequest, message).await? {
            NoiseResponse::Transport { ciphertext } => Ok(ciphertext),
            NoiseResponse::Handshake { .. } => {
                Err(Failure::assertion("it answered a transport message with a handshake"))
            }
        }
    }

    fn receive(
        &self,
        realm: &Realm,
        key: &X25519Public,
        mut session: Session,
        ciphertext: &[u8],
    ) -> Result<SecretsResponse, Failure> {
        let answer =
            session.decrypt(ciphertext).map_err(|_| Failure::assertion("its answer does not decrypt"))?;
        self.keep(realm, key, session, &answer)
    }

    /// Reads an answer; if it can be read, the session is good for more.
    fn keep(
        &self,
        realm: &Realm,
        key: &X25519Public,
        session: Session,
        answer: &[u8],
    ) -> Result<SecretsResponse, Failure> {
        let response = SecretsResponse::from_padded(answer)
            .map_err(|_| Failure::assertion("its answer is not one of the protocol"))?;
        self.sessions.put(realm.id(), key, session);
        Ok(response)
    }

    /// One exchange with a hardware realm. The token is asked for anew.
    async fn post(
        &self,
        realm: &Realm,
        session_id: SessionId,
        kind: RequestKind,
        encrypted: NoiseRequest,
    ) -> Result<NoiseResponse, Failure> {
        let token = self.tokens.token(&realm.id()).await.map_err(|_| Failure::Fatal(Cause::InvalidAuth))?;
        let auth_token = String::clone(&token);
        let mut request = ClientRequest { realm: realm.id(), auth_token, session_id, kind, encrypted };
        let body = Zeroizing::new(request.to_cbor());
        // Secret: the message owns a copy of the token that does not wipe itself.
        request.auth_token.zeroize();
        let answered = self.transport.post(realm.request_url(), &[VERSION_HEADER], body).await;
        let http = answered.map_err(|error| Failure::Transient(error.to_string()))?;
        match ClientResponse::from_cbor(&http.body) {
            Ok(ClientResponse::Ok(noise)) => Ok(noise),
            Ok(refusal) => Err(refused(&refusal)),
            Err(_) => Err(unreadable(&http)),
        }
    }

    /// A software realm takes requests as they are, each on its own: it accepts one that is sent again once more.
    async fn ask_software(
        &self,
        realm: &Realm,
        request: &SecretsRequest,
        enough: watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Cause> {
        let mut backoff = Backoff::new(self.retry, enough);
        loop {
            match self.post_software(realm, request).await {
                Ok(response) => return Ok(response),
                Err(Failure::Transient(_)) if again(&mut backoff, request).await => {}
                Err(failure) => return Err(failure.into_cause()),
            }
        }
    }

    async fn post_software(
        &self,
        realm: &Realm,
        request: &SecretsRequest,
    ) -> Result<SecretsResponse, Failure> {
        let token = self.tokens.token(&realm.id()).await.map_err(|_| Failure::Fatal(Cause::InvalidAuth))?;
        // Secret: a text that grew would leave copies behind.
        let mut bearer = Zeroizing::new(String::with_capacity("Bearer ".len() + token.len()));
        bearer.push_str("Bearer ");
        bearer.push_str(&token);
        let headers = [VERSION_HEADER, ("Authorization", bearer.as_str())];
        let answered = self.transport.post(realm.request_url(), &headers, request.to_cbor()).await;
        let http = answered.map_err(|error| Failure::Transient(error.to_string()))?;
        if let Ok(response) = SecretsResponse::from_cbor(&http.body) {
            return Ok(response);
        }
        match ClientResponse::from_cbor(&http.body) {
            Ok(ClientResponse::Ok(_) | ClientResponse::MissingSession) => {
                Err(Failure::assertion("it is configured as a software realm and speaks of sessions"))
            }
            Ok(refusal) => Err(refused(&refusal)),
            Err(_) => Err(unreadable(&http)),
        }
    }
}

/// Waits before a request goes to a software realm again. What gives guesses goes there no more often than clients in
/// the field send it.
async fn again(backoff: &mut Backoff, request: &SecretsRequest) -> bool {
    match request {
        SecretsRequest::Register2(_) | SecretsRequest::Recover3 { .. } => backoff.quick_pause().await,
        _ => backoff.pause().await,
    }
}

fn encrypt(session: &mut Session, plaintext: &[u8]) -> Result<Vec<u8>, Failure> {
    session.encrypt(plaintext).map_err(|_| Failure::MissingSession)
}

fn finish(
    handshake: ClientHandshake,
    message: &HandshakeResponse,
) -> Result<(strongroom_proto::noise::Transport, Plaintext), Failure> {
    handshake.finish(message).map_err(|_| Failure::assertion("it does not have the configured key"))
}

fn refused(refusal: &ClientResponse) -> Failure {
    match refusal {
        ClientResponse::Unavailable => Failure::Transient("it is not available at the moment".to_owned()),
        ClientResponse::MissingSession => Failure::MissingSession,
        ClientResponse::SessionError => Failure::SessionError,
        ClientResponse::InvalidAuth => Failure::Fatal(Cause::InvalidAuth),
        ClientResponse::RateLimitExceeded => Failure::Fatal(Cause::RateLimitExceeded),
        ClientResponse::DecodingError => Failure::assertion("it could not read the request"),
        ClientResponse::PayloadTooLarge => Failure::assertion("it found the request too large"),
        ClientResponse::Ok(_) => Failure::assertion("its answer is not one of the protocol"),
    }
}

/// A body that is no answer of the protocol may come from something in front of the realm: go by the status.
fn unreadable(http: &HttpResponse) -> Failure {
    match http.status {
        200..=299 => Failure::assertion("its answer is not one of the protocol"),
        401 => Failure::Fatal(Cause::InvalidAuth),
        426 => Failure::Fatal(Cause::UpgradeRequired),
        429 => Failure::Fatal(Cause::RateLimitExceeded),
        status => Failure::Transient(format!("HTTP status {status}")),
    }
}
