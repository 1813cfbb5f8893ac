//! Which requests are let in: the checks before one is served, in the order of section 11 of the client protocol.

use super::connections::{Connections, Seat};
use super::event_paths::EventsRead;
use super::event_places::EventPlaces;
use super::metrics::{AnswerLabel, Complaints, Counted, FrontMetrics, Refusal, RequestLabel};
use super::published::Published;
use super::readiness::Readiness;
use super::relay::{Head, Relay};
use super::timeouts::Timeouts;
use crate::clock::Clock;
use crate::limits::{Limits, Over, RateLimits};
use crate::tenants::Tenants;
use crate::token::{self, Purpose, TokenError, VerifiedToken};
use crate::traces::{Attribute, Open, Role, Traces, Trail};
use crate::usage::Operation;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_proto::client::{ClientRequest, ClientResponse, MAX_REQUEST_BODY, NoiseRequest, RequestKind};
use strongroom_proto::ids::RealmId;
use strongroom_replica::ReadOutcome;
use tokio::sync::Semaphore;

/// The longest body that is read, in bytes. Section 4 of the client protocol: one above [`MAX_REQUEST_BODY`] is
/// accepted only if its token is what makes it that long.
pub const MAX_BODY: usize = MAX_BESIDE_TOKEN + token::MAX_TOKEN_LEN;
/// How much a body above [`MAX_REQUEST_BODY`] may hold beside its token: as much as one of that length beside a token
/// of 1,000 characters, the longest that other realms accept.
const MAX_BESIDE_TOKEN: usize = MAX_REQUEST_BODY - 1000;

/// What stands behind the front door.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The realm that is served here, once there is one.
    fn realm(&self) -> Option<RealmId>;

    /// Whether requests should come here.
    fn readiness(&self) -> Readiness {
        Readiness(Vec::new())
    }

    /// Where the requests go instead, while this backend does not know its realm or whom to ask.
    fn relay(&self) -> Option<Arc<Relay>> {
        None
    }

    /// Serves a request whose token was verified, and which has this trail. Answers `Unavailable` if it cannot, or does not know whether it did.
    ///
    /// The future is dropped when the client goes away or the time is up. What it has started must stay sound.
    async fn serve(&self, tenant: &str, user: &str, request: ClientRequest, trail: &Trail) -> ClientResponse;

    /// What everybody may read, as it is in the store. `Unavailable` if the store does not answer, or there is no realm.
    async fn published(&self, _what: Published) -> ReadOutcome {
        ReadOutcome::Unavailable
    }

    /// The newest checkpoint of the log that has the record of a user whose token was verified, as it is in the store. `Unavailable`
    /// also if it is not known which log that is.
    async fn head_of(&self, _tenant: &str, _user: &str) -> ReadOutcome {
        ReadOutcome::Unavailable
    }

    /// What the store has of the events of a tenant whose token was verified. `Unavailable` if it does not answer, or there is no realm.
    async fn events(&self, _tenant: &str, _what: EventsRead) -> ReadOutcome {
        ReadOutcome::Unavailable
    }
}

/// The front door of one agent. Cheap to clone.
#[derive(Clone)]
pub struct Front(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) backend: Arc<dyn Backend>,
    tenants: Arc<Tenants>,
    clock: Clock,
    pub(super) rates: RateLimits,
    pub(super) in_flight: Semaphore,
    /// Places of those who read without a token.
    pub(super) readers: Arc<Semaphore>,
    /// Whether there is none of them, on purpose.
    pub(super) no_public_reads: bool,
    /// Places of tenants that read events.
    pub(super) event_places: EventPlaces,
    pub(super) connections: Connections,
    pub(super) max_connections: u32,
    pub(super) timeouts: Timeouts,
    pub(super) metrics: FrontMetrics,
    pub(super) traces: Traces,
    complaints: Complaints,
}

impl Front {
    /// A front door for `backend` that admits the users of `tenants`.
    #[must_use]
    pub fn new(
        backend: Arc<dyn Backend>,
        tenants: Arc<Tenants>,
        limits: &Limits,
        timeouts: Timeouts,
        clock: Clock,
        metrics: FrontMetrics,
        traces: Traces,
    ) -> Self {
        let size = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        let in_flight = size(limits.max_requests_in_flight.get());
        let max_connections = limits.max_connections.get();
        Self(Arc::new(Inner {
            backend,
            tenants,
            clock,
            rates: RateLimits::new(limits),
            in_flight: Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS)),
            readers: Arc::new(Semaphore::new(
                size(limits.public_reads_in_flight).min(Semaphore::MAX_PERMITS),
            )),
            no_public_reads: limits.public_reads_in_flight == 0,
            event_places: EventPlaces::new(limits, &metrics),
            connections: Connections::new(size(max_connections), size(limits.max_connections_per_address)),
            max_connections,
            timeouts,
            metrics,
            traces,
            complaints: Complaints::default(),
        }))
    }

    /// Answers the body of one request. Steps 2 to 6 of section 11; the backend does the rest.
    pub(super) async fn answer(
        &self,
        head: &Head,
        trail: &Trail,
        body: &[u8],
        seat: Option<&Arc<Seat>>,
    ) -> ClientResponse {
        let metrics = &self.0.metrics;
        let relay = self.relay(head);
        let (tenant, user, request) = match self.admit(body, relay.is_some()) {
            Ok(admitted) => admitted,
            Err(reason) => {
                metrics.refuse(reason);
                return response_to(reason);
            }
        };
        let _tenants_place = match self.0.rates.place(&tenant) {
            Ok(place) => place,
            Err(over) => {
                tracing::debug!(request = %trail.request, %tenant, "a tenant has too many requests in flight");
                metrics.refuse(Refusal::Over(over));
                return response_to(Refusal::Over(over));
            }
        };
        let Ok(_place) = self.0.in_flight.try_acquire() else {
            tracing::warn!("too many requests in flight; raise max_requests_in_flight if there is memory");
            metrics.refuse(Refusal::NoPlace);
            metrics.answered(kind_of(&request), AnswerLabel::Unavailable, Duration::ZERO);
            return response_to(Refusal::NoPlace);
        };
        let _counted = Counted::on(&metrics.in_flight);
        let (kind, began) = (kind_of(&request), Instant::now());
        let _work = seat.map(Seat::work);
        // One that is relayed counts where it is served.
        if relay.is_none() {
            metrics.admit(Operation::of(&request));
        }
        let mut span = self.0.traces.begin(trail, "request", Role::Server);
        if let Some(span) = &mut span {
            span.say(Attribute::Kind(kind.name()));
        }
        let inside = span.as_ref().and_then(Open::trail).unwrap_or(*trail);
        let answer = async {
            match relay {
                Some(relay) => relay.relay(head, &inside, body).await,
                None => self.0.backend.serve(&tenant, &user, request, &inside).await,
            }
        };
        let answer = tokio::time::timeout(self.0.timeouts.backend, answer).await.unwrap_or_else(|_| {
            tracing::warn!(request = %trail.request, %tenant, "a request was not answered in time");
            ClientResponse::Unavailable
        });
        let outcome = AnswerLabel::from(&answer);
        metrics.answered(kind, outcome, began.elapsed());
        if let Some(span) = span {
            span.end(outcome.name(), !matches!(outcome, AnswerLabel::Unavailable));
        }
        tracing::debug!(
            request = %trail.request, kind = kind.name(), outcome = outcome.name(), "a request was answered"
        );
        answer
    }

    /// Where a request goes instead of the backend. One that another agent relayed is not relayed again: two agents
    /// without HSMs would send it to and fro.
    pub(super) fn relay(&self, head: &Head) -> Option<Arc<Relay>> {
        self.0.backend.relay().filter(|_| !head.relayed)
    }

    /// The newest checkpoint of the log that has the record of a token's user. The same checks as for a request, in the same order.
    pub(super) async fn head_of(
        &self,
        head: &Head,
        token: &str,
        seat: Option<&Arc<Seat>>,
    ) -> Result<ReadOutcome, Refusal> {
        // What is relayed is a request, and nothing else.
        if self.relay(head).is_some() {
            return Ok(ReadOutcome::Unavailable);
        }
        let realm = self.0.backend.realm().ok_or(Refusal::Realm)?;
        let VerifiedToken { tenant, user } = self.verified(Purpose::User, token, &realm)?;
        self.0.rates.count_request(&tenant, &user).map_err(Refusal::Over)?;
        let _tenants_place = self.0.rates.place(&tenant).map_err(Refusal::Over)?;
        let _place = self.0.in_flight.try_acquire().map_err(|_| Refusal::NoPlace)?;
        let _counted = Counted::on(&self.0.metrics.in_flight);
        let _work = seat.map(Seat::work);
        let found = self.0.backend.head_of(&tenant, &user);
        let found = tokio::time::timeout(self.0.timeouts.backend, found).await;
        Ok(found.unwrap_or(ReadOutcome::Unavailable))
    }

    pub(super) fn verified(
        &self,
        purpose: Purpose,
        token: &str,
        realm: &RealmId,
    ) -> Result<VerifiedToken, Refusal> {
        let keys = self.0.tenants.current();
        token::verify_for(purpose, &keys, token, realm, (self.0.clock)()).map_err(|reason| {
            self.complain(reason);
            Refusal::Token
        })
    }

    fn admit(&self, body: &[u8], relayed: bool) -> Result<(String, String, ClientRequest), Refusal> {
        let request = read(body)?;
        // A relaying agent does not know the realm yet. The token must be for the realm that is named, and the agent
        // that gets the request next knows whether that is its own.
        let realm = if relayed { Some(request.realm) } else { self.0.backend.realm() };
        let realm = realm.filter(|realm| *realm == request.realm).ok_or(Refusal::Realm)?;
        let token = self.verified(Purpose::User, &request.auth_token, &realm)?;
        self.count(&token.tenant, &token.user, &request).map_err(|over| {
            tracing::debug!(tenant = %token.tenant, ?over, "a request is over a rate");
            Refusal::Over(over)
        })?;
        Ok((token.tenant, token.user, request))
    }

    fn complain(&self, reason: TokenError) {
        self.0.metrics.refuse_token(reason);
        if let Some(tokens) = self.0.complaints.count(reason, Instant::now()) {
            tracing::warn!(%reason, tokens, "tokens were refused; this is said once a minute for each reason");
        }
    }

    fn count(&self, tenant: &str, user: &str, request: &ClientRequest) -> Result<(), Over> {
        if request.kind == RequestKind::SecretsRequest {
            self.0.rates.count_request(tenant, user)?;
        }
        if matches!(request.encrypted, NoiseRequest::Handshake(_)) {
            self.0.rates.count_handshake(tenant, user)?;
        }
        if Operation::of(request) == Operation::Recover2 {
            self.0.rates.count_guess(tenant, user)?;
        }
        Ok(())
    }
}

const fn kind_of(request: &ClientRequest) -> RequestLabel {
    match request.encrypted {
        NoiseRequest::Handshake(_) => RequestLabel::Handshake,
        NoiseRequest::Transport { .. } => RequestLabel::Transport,
    }
}

fn read(body: &[u8]) -> Result<ClientRequest, Refusal> {
    if body.len() > MAX_BODY {
        return Err(Refusal::TooLarge);
    }
    let request = ClientRequest::from_cbor(body);
    if body.len() <= MAX_REQUEST_BODY {
        return request.map_err(|_| Refusal::Decoding);
    }
    let fits = |request: &ClientRequest| body.len() - request.auth_token.len() <= MAX_BESIDE_TOKEN;
    request.ok().filter(fits).ok_or(Refusal::TooLarge)
}

/// What a client is told. Old versions, and bodies that are not read in full, are refused in the transport's own terms.
pub(super) const fn response_to(reason: Refusal) -> ClientResponse {
    match reason {
        Refusal::TooLarge => ClientResponse::PayloadTooLarge,
        Refusal::Version | Refusal::Body | Refusal::Decoding => ClientResponse::DecodingError,
        Refusal::Token => ClientResponse::InvalidAuth,
        Refusal::Over(_) => ClientResponse::RateLimitExceeded,
        Refusal::Realm | Refusal::NoPlace => ClientResponse::Unavailable,
    }
}
