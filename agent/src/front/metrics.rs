//! What the front door counts. It names no tenants, users or addresses.

use crate::limits::Over;
use crate::token::TokenError;
use crate::usage::Operation;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};
use strongroom_proto::client::ClientResponse;

/// Why a request got no further than the front door.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// Its version is too old.
    Version,
    /// Its body is too large.
    TooLarge,
    /// Its body did not arrive, or not in time.
    Body,
    /// Its body makes no sense.
    Decoding,
    /// It is for another realm.
    Realm,
    /// Its token is not good.
    Token,
    /// The user or the tenant is over its rate.
    Over(Over),
    /// Too many requests are in flight.
    NoPlace,
}

impl Refusal {
    const ALL: [Self; 11] = [
        Self::Version,
        Self::TooLarge,
        Self::Body,
        Self::Decoding,
        Self::Realm,
        Self::Token,
        Self::Over(Over::User),
        Self::Over(Over::Guess),
        Self::Over(Over::Tenant),
        Self::Over(Over::Places),
        Self::NoPlace,
    ];
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Version => "version",
            Self::TooLarge => "too_large",
            Self::Body => "body",
            Self::Decoding => "decoding",
            Self::Realm => "realm",
            Self::Token => "token",
            Self::Over(Over::User) => "user_rate",
            Self::Over(Over::Guess) => "guess_delay",
            Self::Over(Over::Tenant) => "tenant_rate",
            Self::Over(Over::Places) => "tenant_in_flight",
            Self::NoPlace => "no_place",
        };
        name.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RefusalLabel {
    reason: Refusal,
}

impl EncodeLabelValue for TokenError {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct TokenLabel {
    reason: TokenError,
}

/// The outcome of a request that was relayed to another agent's front door.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Relayed {
    /// A door answered it.
    Answered,
    /// A door said `Unavailable`.
    Unavailable,
    /// It was sent, and what came back, if anything, is not a realm's answer.
    Unknown,
    /// No connection could be made to any door.
    NotReached,
    /// Too many are being relayed.
    NoPlace,
}

impl EncodeLabelValue for Relayed {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Answered => "answered",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::NotReached => "not_reached",
            Self::NoPlace => "no_place",
        };
        name.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RelayedLabel {
    outcome: Relayed,
}

/// What was read of what is published, or of events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReadLabel {
    /// The checkpoint of a log that was named.
    Checkpoint,
    /// A tile, of hashes or of entries.
    Tile,
    /// The realm's statement.
    Statement,
    /// The checkpoint of the log that has a user's record.
    Mine,
    /// Which streams a tenant has, and where they begin and end.
    Streams,
    /// A page of a tenant's events.
    Events,
}

impl EncodeLabelValue for ReadLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Checkpoint => "checkpoint",
            Self::Tile => "tile",
            Self::Statement => "statement",
            Self::Mine => "mine",
            Self::Streams => "streams",
            Self::Events => "events",
        };
        name.encode(encoder)
    }
}

/// What came of a read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shown {
    /// It was shown.
    Found,
    /// There is no such object.
    Absent,
    /// The store did not answer, or it is not known which object it is.
    Unavailable,
    /// Too many read at once.
    NoPlace,
    /// It was refused, as a request would have been; the reason is counted there.
    Refused,
}

impl EncodeLabelValue for Shown {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let name = match self {
            Self::Found => "found",
            Self::Absent => "absent",
            Self::Unavailable => "unavailable",
            Self::NoPlace => "no_place",
            Self::Refused => "refused",
        };
        name.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReadLabels {
    what: ReadLabel,
    outcome: Shown,
}

impl EncodeLabelValue for Operation {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct AdmittedLabel {
    operation: Operation,
}

/// Counters of one front door. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub struct FrontMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Connections that were ended to make room for another.
    pub connections_gave_way: Counter,
    /// Connections that were refused because all that could have been ended were working.
    pub connections_refused: Counter,
    /// When the certificate in use expires, in Unix seconds; 0 without one.
    pub certificate_end: Gauge,
    /// Requests that are being worked on now.
    pub in_flight: Gauge,
    /// Tenants' requests that wait for a page of events.
    pub event_polls: Gauge,
    refused: Family<RefusalLabel, Counter>,
    tokens: Family<TokenLabel, Counter>,
    relayed: Family<RelayedLabel, Counter>,
    admitted: Family<AdmittedLabel, Counter>,
    reads: Family<ReadLabels, Counter>,
    took: Took,
}

/// What a request that was let in asks for, as far as a host can tell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum RequestLabel {
    /// The first message of a session, with a request in it or without.
    Handshake,
    /// A later message.
    Transport,
}

/// What its client was told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum AnswerLabel {
    /// What the HSM answered; nobody but the client can read it.
    Answered,
    /// That it should try again.
    Unavailable,
    /// That its session is gone or broken.
    Session,
    /// Anything else.
    Other,
}

impl RequestLabel {
    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Transport => "transport",
        }
    }
}

impl EncodeLabelValue for RequestLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

impl AnswerLabel {
    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unavailable => "unavailable",
            Self::Session => "session",
            Self::Other => "other",
        }
    }
}

impl EncodeLabelValue for AnswerLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

impl From<&ClientResponse> for AnswerLabel {
    fn from(response: &ClientResponse) -> Self {
        match response {
            ClientResponse::Ok(_) => Self::Answered,
            ClientResponse::Unavailable => Self::Unavailable,
            ClientResponse::MissingSession | ClientResponse::SessionError => Self::Session,
            ClientResponse::InvalidAuth
            | ClientResponse::RateLimitExceeded
            | ClientResponse::DecodingError
            | ClientResponse::PayloadTooLarge => Self::Other,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct TookLabel {
    request: RequestLabel,
    outcome: AnswerLabel,
}

/// How long requests took that were let in: from a millisecond to sixteen seconds.
#[derive(Clone, Debug)]
struct Took(Family<TookLabel, Histogram>);

impl Default for Took {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 15))))
    }
}

impl FrontMetrics {
    /// Enters all of them, under names that begin with `front_`.
    pub fn register(&self, registry: &mut Registry) {
        // From zero, or the first one is no increase.
        for reason in Refusal::ALL {
            let _ = self.refused.get_or_create(&RefusalLabel { reason });
        }
        for reason in TokenError::ALL {
            let _ = self.tokens.get_or_create(&TokenLabel { reason });
        }
        for operation in Operation::ALL {
            let _ = self.admitted.get_or_create(&AdmittedLabel { operation });
        }
        let front = registry.sub_registry_with_prefix("front");
        front.register("connections", "Connections of clients", self.connections.clone());
        front.register(
            "connections_gave_way",
            "Connections that were ended to make room for another",
            self.connections_gave_way.clone(),
        );
        front.register("connections_refused", "Connections refused", self.connections_refused.clone());
        front.register_with_unit(
            "certificate_end_timestamp",
            "When the certificate in use expires, in Unix time; 0 without one",
            Unit::Seconds,
            self.certificate_end.clone(),
        );
        front.register_with_unit(
            "request_duration",
            "How long requests took that were let in, by what they are and what their clients were told",
            Unit::Seconds,
            self.took.0.clone(),
        );
        front.register("requests_in_flight", "Requests being worked on", self.in_flight.clone());
        front.register(
            "requests_admitted",
            "Requests let in and served here, by what their lengths say they ask for; recover2 is a guess",
            self.admitted.clone(),
        );
        front.register("requests_refused", "Requests refused, by reason", self.refused.clone());
        front.register("tokens_refused", "Tokens refused, by reason", self.tokens.clone());
        front.register(
            "reads",
            "Reads of what is published of logs, and of tenants' events, by what and by outcome",
            self.reads.clone(),
        );
        front.register(
            "event_polls",
            "Requests that wait for a page of events which is not there yet",
            self.event_polls.clone(),
        );
        front.register(
            "requests_relayed",
            "Requests relayed to other agents' front doors, by outcome",
            self.relayed.clone(),
        );
    }

    /// Counts a request that was refused.
    pub fn refuse(&self, reason: Refusal) {
        self.refused.get_or_create(&RefusalLabel { reason }).inc();
    }

    /// Counts a request that was let in, and is served here.
    pub(super) fn admit(&self, operation: Operation) {
        self.admitted.get_or_create(&AdmittedLabel { operation }).inc();
    }

    /// How many requests were let in that asked for `operation`.
    #[must_use]
    pub fn admitted(&self, operation: Operation) -> u64 {
        self.admitted.get_or_create(&AdmittedLabel { operation }).get()
    }

    /// Counts a request that was let in, and answered after so long.
    pub(super) fn answered(&self, request: RequestLabel, outcome: AnswerLabel, after: Duration) {
        self.took.0.get_or_create(&TookLabel { request, outcome }).observe(after.as_secs_f64());
    }

    /// Counts a token that was refused.
    pub fn refuse_token(&self, reason: TokenError) {
        self.tokens.get_or_create(&TokenLabel { reason }).inc();
    }

    /// Counts a request that was relayed.
    pub(super) fn relayed(&self, outcome: Relayed) {
        self.relayed.get_or_create(&RelayedLabel { outcome }).inc();
    }

    /// Counts a read of what is published.
    pub(super) fn read(&self, what: ReadLabel, outcome: Shown) {
        self.reads.get_or_create(&ReadLabels { what, outcome }).inc();
    }

    /// How many reads came to this.
    #[must_use]
    pub fn reads(&self, what: ReadLabel, outcome: Shown) -> u64 {
        self.reads.get_or_create(&ReadLabels { what, outcome }).get()
    }

    /// How many requests were relayed with this outcome.
    #[must_use]
    pub fn relayed_with(&self, outcome: Relayed) -> u64 {
        self.relayed.get_or_create(&RelayedLabel { outcome }).get()
    }

    /// How many tokens were refused for `reason`.
    #[must_use]
    pub fn tokens_refused(&self, reason: TokenError) -> u64 {
        self.tokens.get_or_create(&TokenLabel { reason }).get()
    }

    /// How many requests were refused for `reason`.
    #[must_use]
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused.get_or_create(&RefusalLabel { reason }).get()
    }
}

/// Decides what is worth a line in the log: once a minute for each reason. Strangers can have tokens refused as often
/// as they like, and must not fill the log.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<TokenError, Complaint>>);

#[derive(Debug)]
struct Complaint {
    said: Instant,
    unsaid: u64,
}

impl Complaints {
    const PERIOD: Duration = Duration::from_secs(60);

    /// How many tokens were refused for `reason` since that was last logged, if it is time to log it again.
    pub(super) fn count(&self, reason: TokenError, now: Instant) -> Option<u64> {
        let mut all = self.0.lock();
        let Some(complaint) = all.get_mut(&reason) else {
            all.insert(reason, Complaint { said: now, unsaid: 0 });
            return Some(1);
        };
        complaint.unsaid = complaint.unsaid.saturating_add(1);
        if now.duration_since(complaint.said) < Self::PERIOD {
            return None;
        }
        complaint.said = now;
        Some(std::mem::take(&mut complaint.unsaid))
    }
}

/// Counts one more on a gauge, until dropped.
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn on(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_at_once_and_then_once_a_minute_with_how_many_there_were() {
        let (complaints, start) = (Complaints::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(complaints.count(TokenError::Time, at(0)), Some(1));
        for _ in 0..1000 {
            assert_eq!(complaints.count(TokenError::Time, at(59)), None);
        }
        assert_eq!(complaints.count(TokenError::Signature, at(59)), Some(1), "another reason");
        assert_eq!(complaints.count(TokenError::Time, at(60)), Some(1001));
        assert_eq!(complaints.count(TokenError::Time, at(61)), None);
        assert_eq!(complaints.count(TokenError::Time, at(600)), Some(2));
    }
}
