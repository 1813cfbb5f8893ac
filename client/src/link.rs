//! One request to one realm: sessions, re-sending, and what an answer means.
//!
//! Everything between this client and the realm's own code is hostile: the network may drop, repeat or forge. A
//! hardware realm's answer is believed because its session decrypts it; a software realm's because of TLS.
//!
//! Invariant: to a hardware realm, a Register2, a Stage and a Recover3 are encrypted once in a call of [`Link::ask`]. After a lost
//! reply the same ciphertext is sent again on the same session, which a realm answers without acting twice; in another
//! session it would count as another request, and give a host that drops replies another round of guesses. When the
//! session is gone, what became of the request is [`Cause::Unsettled`].
//!
//! Copies of a request without an answer (see [`crate::copies`]) cost no guess: a transport message goes out as the
//! same ciphertext in its session, and what a handshake carries changes nothing. A
//! handshake with a Delete would, so it is not copied.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
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
use crate::copies::{Way, with_copies};
use crate::error::Cause;
use crate::extensions::Extensions;
use crate::failure::Failure;
use crate::retry::{Backoff, RetryPolicy};
use crate::routes::Routes;
use crate::session::{Session, Sessions};
use crate::transport::{HttpResponse, Transport};

/// The protocol version, which realms compare with the lowest that they serve.
pub(crate) const VERSION_HEADER: (&str, &str) = ("X-Juicebox-Version", "0.3.4");

/// That a realm could not read a request.
pub(crate) const UNREADABLE: &str = "it could not read the request";

/// How long a realm may say that it is not available before its session counts as gone and the caller is told.
const SESSION_PATIENCE: Duration = Duration::from_secs(4);

/// A generator that the realms of a phase share.
pub(crate) type SharedRng = Mutex<Box<dyn CryptoRng + Send>>;

/// Runs `draw` with the generator.
pub(crate) fn with_rng<T>(rng: &SharedRng, draw: impl FnOnce(&mut Box<dyn CryptoRng + Send>) -> T) -> T {
    draw(&mut rng.lock())
}

/// Everything that a request to a realm needs.
pub(crate) struct Link {
    pub(crate) tokens: Arc<dyn AuthTokens>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) rng: SharedRng,
    pub(crate) retry: RetryPolicy,
    pub(crate) sessions: Sessions,
    pub(crate) routes: Routes,
    pub(crate) extensions: Extensions,
    pub(crate) bugs: Bugs,
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
            (Some(key), request) if gives_guesses(request) && !self.bugs.has(Bug::ResendInAnySession) => {
                self.ask_once(realm, key, request, enough).await
            }
            (Some(key), _) => self.ask_repeatedly(realm, key, request, enough).await,
        }
    }

    /// For requests that may be repeated in a different session.
    async fn ask_repeatedly(
        &self,
        realm: &Realm,
        key: &X25519Public,
        request: &SecretsRequest,
        enough: watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Cause> {
        let mut backoff = Backoff::new(self.retry, enough.clone());
        let mut session = self.sessions.take(realm.id(), key);
        loop {
            let failure = match self.attempt(realm, key, request, session.take(), &enough).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let again = match failure {
                Failure::Refused(_) | Failure::Lost(_) => backoff.pause().await,
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
        enough: &watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Failure> {
        let plaintext = request.to_cbor();
        match session {
            Some(session) => self.converse(realm, key, session, &plaintext, enough).await,
            None if request.needs_forward_secrecy() => {
                let session = self.open(realm, key, enough).await?;
                let answered = self.converse(realm, key, session, &plaintext, enough).await;
                answered.map_err(Failure::on_new_session)
            }
            None => {
                let kind = RequestKind::SecretsRequest;
                // A Delete that is stuck on its way could arrive after a registration that follows its copy.
                let copy_after = self.retry.copy_after.filter(|_| *request != SecretsRequest::Delete);
                let opened = self.handshake(realm, key, (kind, &plaintext), copy_after, enough).await;
                let (session, answer) = opened?;
                self.keep(realm, key, session, &answer)
            }
        }
    }

    /// For requests that must not be repeated in a different session.
    async fn ask_once(
        &self,
        realm: &Realm,
        key: &X25519Public,
        request: &SecretsRequest,
        enough: watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Cause> {
        let session = match self.sessions.take(realm.id(), key) {
            Some(session) => session,
            None => self.open_patiently(realm, key, enough.clone()).await?,
        };
        self.ask_in(realm, key, session, request, enough).await
    }

    /// Sends one ciphertext in its session, as often as it takes.
    async fn ask_in(
        &self,
        realm: &Realm,
        key: &X25519Public,
        mut session: Session,
        request: &SecretsRequest,
        enough: watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Cause> {
        let ciphertext = encrypt(&mut session, &request.to_cbor()).map_err(Failure::into_cause)?;
        let mut backoff = Backoff::new(self.retry, enough.clone());
        let mut resent = false;
        loop {
            let (sent, copied) = self.send(realm, &mut session, &ciphertext, &enough).await;
            let failure = match sent {
                Ok(answer) => {
                    return self.receive(realm, key, session, &answer).map_err(Failure::into_cause);
                }
                Err(failure) => failure,
            };
            resent |= copied;
            let again = match (failure, request) {
                // A new leader without the session says this, and after a while so does an agent that knows no leader.
                (Failure::Refused(_), _) if backoff.elapsed() >= SESSION_PATIENCE => false,
                // A fresh registration costs no guess and cannot be held up by a realm that forgot the session but
                // only says that it is unavailable.
                (
                    Failure::Refused(_) | Failure::Lost(_),
                    SecretsRequest::Register2(_) | SecretsRequest::Stage(_),
                ) => backoff.quick_pause().await,
                (Failure::Refused(_) | Failure::Lost(_), _) => backoff.pause().await,
                (Failure::MissingSession, _) => return Err(Cause::Unsettled),
                // It may have acted on the ciphertext before, and no longer knows how it answered.
                (Failure::SessionError, _) if resent => return Err(Cause::Unsettled),
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
        let mut backoff = Backoff::new(self.retry, enough.clone());
        loop {
            match self.open(realm, key, &enough).await {
                Ok(session) => return Ok(session),
                Err(failure) if failure.is_transient() && backoff.pause().await => {}
                Err(failure) => return Err(failure.into_cause()),
            }
        }
    }

    async fn open(
        &self,
        realm: &Realm,
        key: &X25519Public,
        enough: &watch::Receiver<bool>,
    ) -> Result<Session, Failure> {
        let kind = RequestKind::HandshakeOnly;
        let copy_after = self.retry.copy_after;
        let (session, answer) = self.handshake(realm, key, (kind, &[]), copy_after, enough).await?;
        if answer.is_empty() {
            Ok(session)
        } else {
            Err(Failure::assertion("it put an answer into a bare handshake"))
        }
    }

    /// A handshake; each copy of it is a handshake of its own.
    async fn handshake(
        &self,
        realm: &Realm,
        key: &X25519Public,
        (kind, payload): (RequestKind, &[u8]),
        copy_after: Option<Duration>,
        enough: &watch::Receiver<bool>,
    ) -> Result<(Session, Plaintext), Failure> {
        let exchange = |way| self.handshake_by(way, realm, key, kind, payload);
        with_copies(copy_after, enough, exchange).await.0
    }

    async fn handshake_by(
        &self,
        way: Way,
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
        let answer = self.post(way, realm, id, kind, NoiseRequest::Handshake(message)).await;
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
        mut session: Session,
        plaintext: &[u8],
        enough: &watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Failure> {
        let ciphertext = encrypt(&mut session, plaintext)?;
        let answer = self.send(realm, &mut session, &ciphertext, enough).await.0?;
        self.receive(realm, key, session, &answer)
    }

    /// Sends a ciphertext in its session, and copies of it; returns whether there were any.
    async fn send(
        &self,
        realm: &Realm,
        session: &mut Session,
        ciphertext: &[u8],
        enough: &watch::Receiver<bool>,
    ) -> (Result<Vec<u8>, Failure>, bool) {
        let id = session.id();
        let exchange = |way| {
            let message = NoiseRequest::Transport { ciphertext: ciphertext.to_vec() };
            self.post(way, realm, id, RequestKind::SecretsRequest, message)
        };
        let (answer, copied) = with_copies(self.retry.copy_after, enough, exchange).await;
        if copied {
            session.doubt();
        }
        let answer = answer.and_then(|answer| match answer {
            NoiseResponse::Transport { ciphertext } => Ok(ciphertext),
            NoiseResponse::Handshake { .. } => {
                Err(Failure::assertion("it answered a transport message with a handshake"))
            }
        });
        (answer, copied)
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

    /// Reads an answer; if it can be read, the session can be used again.
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

    /// One exchange with a hardware realm, with a freshly fetched token.
    async fn post(
        &self,
        way: Way,
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
        let read = |http: HttpResponse| match ClientResponse::from_cbor(&http.body) {
            Ok(ClientResponse::Ok(noise)) => Ok(noise),
            Ok(refusal) => Err(refused(&refusal)),
            Err(_) => Err(unreadable(&http)),
        };
        self.exchange(way, realm, &[VERSION_HEADER], body, read).await
    }

    /// Has the transport carry a request to the realm's current address, and moves on to the next one if that fails.
    async fn exchange<T>(
        &self,
        way: Way,
        realm: &Realm,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
        read: impl FnOnce(HttpResponse) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if way == Way::Afresh {
            self.routes.leave(realm, self.routes.current(realm));
        }
        let url = self.routes.current(realm);
        let answered = match way {
            Way::Usual => self.transport.post(url, headers, body).await,
            Way::Afresh => self.transport.post_afresh(url, headers, body).await,
        };
        let answer = answered.map_err(Failure::from).and_then(read);
        if answer.as_ref().is_err_and(Failure::is_transient) {
            self.routes.leave(realm, url);
        }
        answer
    }

    /// A freshly fetched token, as the value of a header.
    pub(crate) async fn bearer(&self, realm: &Realm) -> Result<Zeroizing<String>, Failure> {
        let token = self.tokens.token(&realm.id()).await.map_err(|_| Failure::Fatal(Cause::InvalidAuth))?;
        // Secret: a text that grew would leave copies behind.
        let mut bearer = Zeroizing::new(String::with_capacity("Bearer ".len() + token.len()));
        bearer.push_str("Bearer ");
        bearer.push_str(&token);
        Ok(bearer)
    }

    /// A software realm takes each request on its own: it accepts a repeated one again.
    async fn ask_software(
        &self,
        realm: &Realm,
        request: &SecretsRequest,
        enough: watch::Receiver<bool>,
    ) -> Result<SecretsResponse, Cause> {
        let mut backoff = Backoff::new(self.retry, enough.clone());
        // It would act on each copy.
        let changes = request.needs_forward_secrecy() || *request == SecretsRequest::Delete;
        let copy_after = self.retry.copy_after.filter(|_| !changes);
        loop {
            let exchange = |way| self.post_software(way, realm, request);
            match with_copies(copy_after, &enough, exchange).await.0 {
                Ok(response) => return Ok(response),
                Err(failure) if failure.is_transient() && again(&mut backoff, request).await => {}
                Err(failure) => return Err(failure.into_cause()),
            }
        }
    }

    async fn post_software(
        &self,
        way: Way,
        realm: &Realm,
        request: &SecretsRequest,
    ) -> Result<SecretsResponse, Failure> {
        let bearer = self.bearer(realm).await?;
        let headers = [VERSION_HEADER, ("Authorization", bearer.as_str())];
        let read = |http: HttpResponse| {
            if let Ok(response) = SecretsResponse::from_cbor(&http.body) {
                return Ok(response);
            }
            match ClientResponse::from_cbor(&http.body) {
                Ok(ClientResponse::Ok(_) | ClientResponse::MissingSession) => {
                    Err(Failure::assertion("it is configured as a software realm, but speaks of sessions"))
                }
                Ok(refusal) => Err(refused(&refusal)),
                Err(_) => Err(unreadable(&http)),
            }
        };
        self.exchange(way, realm, &headers, request.to_cbor(), read).await
    }
}

/// Waits before a request goes to a software realm again. A request that gives guesses goes there no more often than
/// clients in the field send it.
async fn again(backoff: &mut Backoff, request: &SecretsRequest) -> bool {
    if gives_guesses(request) { backoff.quick_pause().await } else { backoff.pause().await }
}

/// Whether a realm that accepts it twice gives guesses twice.
const fn gives_guesses(request: &SecretsRequest) -> bool {
    matches!(
        request,
        SecretsRequest::Register2(_) | SecretsRequest::Stage(_) | SecretsRequest::Recover3 { .. }
    )
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
        ClientResponse::Unavailable => Failure::Refused("it is not available at the moment".to_owned()),
        ClientResponse::MissingSession => Failure::MissingSession,
        ClientResponse::SessionError => Failure::SessionError,
        ClientResponse::InvalidAuth => Failure::Fatal(Cause::InvalidAuth),
        ClientResponse::RateLimitExceeded => Failure::Fatal(Cause::RateLimitExceeded),
        ClientResponse::DecodingError => Failure::assertion(UNREADABLE),
        ClientResponse::PayloadTooLarge => Failure::assertion("it found the request too large"),
        ClientResponse::Ok(_) => Failure::assertion("its answer is not one of the protocol"),
    }
}

/// A body that is not an answer of the protocol may come from something in front of the realm: use the status.
pub(crate) fn unreadable(http: &HttpResponse) -> Failure {
    match http.status {
        200..=299 => Failure::assertion("its answer is not one of the protocol"),
        401 => Failure::Fatal(Cause::InvalidAuth),
        426 => Failure::Fatal(Cause::UpgradeRequired),
        429 => Failure::Fatal(Cause::RateLimitExceeded),
        503 => Failure::Refused("HTTP status 503".to_owned()),
        status => Failure::Lost(format!("HTTP status {status}")),
    }
}
