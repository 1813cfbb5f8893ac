//! Relaying: what a front door does with clients' requests while its agent knows neither its realm nor who its peers are.
//!
//! An agent that was started while its HSM is down has no certificate, so it cannot ask another agent as an agent. It
//! can still pass on what a client sends to the front doors of other agents, as that client would: what matters in it
//! is encrypted between client and HSM. Those doors are identified by their TLS certificates, and trusted for
//! availability only.
//!
//! **A request is sent once.** The next door gets it only if no connection could be made to the one before. No answer,
//! or an answer of `Unavailable`, may mean a request that was carried out; the client is told `Unavailable`, and its
//! next request begins at another door. What was relayed is marked, and is not relayed again.

use super::metrics::{FrontMetrics, Relayed};
use super::readiness::{Check, Readiness};
use super::request_id;
use super::version::VERSION_HEADER;
use crate::causes::causes;
use crate::file::{self, FileError};
use crate::tls::install_provider;
use crate::traces::{TRACE_HEADER, Trail};
use axum::http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, retry};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use strongroom_proto::client::ClientResponse;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use url::{Host, Url};

/// The header, and gRPC metadata key, of a request that an agent relays.
pub const RELAYED_HEADER: &str = "x-strongroom-relayed";

/// Concurrently relayed requests, and so working connections: well below what a door allows one address.
const AT_ONCE: usize = 128;
/// Connections kept to each door for the next request, and for how long. Doors let connections idle for longer, so that
/// they seldom close one that is about to be used.
const KEPT: usize = 16;
const KEPT_FOR: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes. The longest of a realm is about 700.
const MAX_ANSWER: usize = 4096;
/// How often the doors are asked whether they serve, and how long each may take to answer.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// The version that is sent for a gRPC client, which need not say its own.
const LEAST_VERSION: HeaderValue = HeaderValue::from_static("0.3.0");

/// The address of another agent's front door: `https://`, or on this machine `http://`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct FrontUrl(Url);

impl TryFrom<String> for FrontUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = |url: &Url| {
            let secure = url.scheme() == "https" || url.scheme() == "http" && is_here(url);
            let bare = url.query().is_none() && url.fragment().is_none();
            secure
                && bare
                && url.username().is_empty()
                && url.password().is_none()
                && url.path().ends_with('/')
        };
        let url = Url::parse(&text).ok().filter(fits);
        url.map(Self).ok_or(
            "each of `fronts` is `https://host:port/`, where clients reach another agent, or `http://` on this machine",
        )
    }
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Why there can be no relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] FileError),
    /// There are no authorities to verify certificates with.
    #[error(
        "`fronts` cannot be asked over TLS: {0}; install certificate authorities, or name yours in `fronts_ca`"
    )]
    Client(String),
}

/// What the head of a request says about how to treat it.
pub(super) struct Head {
    version: Option<HeaderValue>,
    /// Whether another agent relayed it.
    pub(super) relayed: bool,
}

impl Head {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let relayed = headers.contains_key(RELAYED_HEADER);
        Self { version: headers.get(VERSION_HEADER).cloned(), relayed }
    }
}

/// The front doors of other agents.
pub struct Relay {
    doors: Vec<Door>,
    client: Client,
    places: Semaphore,
    patience: Duration,
    metrics: FrontMetrics,
}

struct Door {
    request: Url,
    readiness: Url,
    seen: Mutex<Seen>,
}

/// What is known about a door. The least one is tried first: one that serves, and of those the one that failed longest
/// ago.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    unready: bool,
    failed: Option<Instant>,
}

impl Relay {
    /// A relay to the doors at these addresses. Their certificates are checked against the authorities in the file
    /// `authority` or, without one, against the machine's. Waits this long for a connection, and for an answer.
    ///
    /// # Errors
    /// [`RelayError`].
    pub fn open(
        doors: &[FrontUrl],
        authority: Option<&Path>,
        connect: Duration,
        answer: Duration,
        metrics: FrontMetrics,
    ) -> Result<Self, RelayError> {
        install_provider();
        let builder = match authority {
            Some(path) => Client::builder().tls_certs_only(certificates(path)?),
            // The machine may have no authorities and need none.
            None if doors.iter().all(|door| door.0.scheme() == "http") => {
                Client::builder().tls_certs_only([])
            }
            None => Client::builder(),
        };
        let client = builder
            .http1_only()
            .redirect(Policy::none())
            .retry(retry::never())
            // A proxy from the environment is meant for the store.
            .no_proxy()
            .connect_timeout(connect)
            .pool_idle_timeout(KEPT_FOR)
            .pool_max_idle_per_host(KEPT)
            .user_agent("strongroom-agent");
        let client = client.build().map_err(|error| RelayError::Client(causes(&error)))?;
        let door = |door: &FrontUrl| {
            let at = |path| door.0.join(path).unwrap_or_else(|_| door.0.clone());
            let seen = Mutex::new(Seen { unready: true, failed: None });
            Door { request: at("req"), readiness: at("readyz"), seen }
        };
        Ok(Self {
            doors: doors.iter().map(door).collect(),
            client,
            places: Semaphore::new(AT_ONCE),
            patience: answer,
            metrics,
        })
    }

    /// Passes on a request whose token was verified, as its client sent it.
    pub(super) async fn relay(&self, head: &Head, trail: &Trail, body: &[u8]) -> ClientResponse {
        let (outcome, answer) = match self.places.try_acquire() {
            Ok(_place) => self.hand_on(head, trail, body).await,
            Err(_) => (Relayed::NoPlace, ClientResponse::Unavailable),
        };
        self.metrics.relayed(outcome);
        answer
    }

    async fn hand_on(&self, head: &Head, trail: &Trail, body: &[u8]) -> (Relayed, ClientResponse) {
        let mut doors: Vec<&Door> = self.doors.iter().collect();
        doors.sort_by_cached_key(|door| *door.seen.lock());
        for door in doors {
            let answer = self.ask(door, head, trail, body).await;
            let fails = !matches!(&answer, Ok(Some(answer)) if *answer != ClientResponse::Unavailable);
            door.seen.lock().failed = fails.then(Instant::now);
            match answer {
                Ok(Some(ClientResponse::Unavailable)) => {
                    return (Relayed::Unavailable, ClientResponse::Unavailable);
                }
                Ok(Some(answer)) => return (Relayed::Answered, answer),
                Err(error) if error.is_connect() => {
                    let why = causes(&error.without_url());
                    tracing::debug!(request = %trail.request, door = %door.request, why, "not reached");
                }
                // It may have been carried out; a second time could cost the user a guess.
                Ok(None) | Err(_) => return (Relayed::Unknown, ClientResponse::Unavailable),
            }
        }
        (Relayed::NotReached, ClientResponse::Unavailable)
    }

    /// What a door answers; `None` if it is not a realm's answer.
    async fn ask(
        &self,
        door: &Door,
        head: &Head,
        trail: &Trail,
        body: &[u8],
    ) -> Result<Option<ClientResponse>, reqwest::Error> {
        let request = self.client.post(door.request.clone()).timeout(self.patience);
        // The door there decides whether it takes the id: it cannot know who relays.
        let request = if trail.sampled { request.header(TRACE_HEADER, trail.header()) } else { request };
        let request = request
            .header(VERSION_HEADER, head.version.clone().unwrap_or(LEAST_VERSION))
            .header(RELAYED_HEADER, "1")
            .body(body.to_vec());
        let mut response = request.send().await?;
        let there = request_id::told(response.headers()).map(tracing::field::display);
        tracing::debug!(request = %trail.request, door = %door.request, there, "a request was relayed");
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Ok(None);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(ClientResponse::from_cbor(&answer).ok())
    }

    /// How many doors said recently that they serve.
    fn ready(&self) -> usize {
        self.doors.iter().filter(|door| !door.seen.lock().unready).count()
    }

    /// Whether what is relayed is likely to be answered.
    pub(super) fn is_ready(&self) -> bool {
        self.ready() > 0
    }

    /// Whether requests should come here, to be relayed.
    pub(crate) fn readiness(&self) -> Readiness {
        let failed = (!self.is_ready()).then(|| "no front door in `fronts` serves".to_owned());
        Readiness(vec![Check { name: "relay", failed, is_needed: true }])
    }

    /// For the operator: what the front door does.
    pub(crate) fn words(&self) -> String {
        let (ready, all) = (self.ready(), self.doors.len());
        format!(
            "the HSM has not answered since the agent started; the front door relays clients' requests to those of \
             other agents (`fronts`), of which {ready} of {all} serve now"
        )
    }

    /// Asks the doors again and again whether they serve, as long as `relays` returns true, and tells the operator.
    pub async fn look(&self, relays: impl Fn() -> bool) {
        let mut told: Vec<Option<String>> = vec![None; self.doors.len()];
        let mut before = None;
        while relays() {
            let found = futures::future::join_all(self.doors.iter().map(|door| self.look_at(door))).await;
            sleep(LOOK_PERIOD).await;
            // Most HSMs answer soon after the start; then there is nothing to report.
            if !relays() {
                break;
            }
            for ((door, told), why) in self.doors.iter().zip(&mut told).zip(found) {
                if let Some(why) = why.as_ref().filter(|why| told.as_ref() != Some(why)) {
                    tracing::warn!(door = %door.request, why, "a front door in `fronts` does not serve");
                }
                *told = why;
            }
            if before.replace(self.ready()) != Some(self.ready()) {
                tracing::warn!("{}", self.words());
            }
        }
        if before.is_some() {
            tracing::info!("the HSM answers; the front door stops relaying");
        }
    }

    /// Records whether a door serves; if not, logs why.
    async fn look_at(&self, door: &Door) -> Option<String> {
        let asked = self.client.get(door.readiness.clone()).timeout(LOOK_PERIOD);
        // Marked as relayed too: a door that itself could only relay does not serve.
        let why = match asked.header(RELAYED_HEADER, "1").send().await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {} to GET /readyz", answer.status())),
            Err(error) => Some(causes(&error.without_url())),
        };
        door.seen.lock().unready = why.is_some();
        why
    }
}

/// The authorities in a PEM file.
fn certificates(path: &Path) -> Result<Vec<Certificate>, FileError> {
    let unusable = |message: String| FileError::Unusable { path: path.into(), message };
    let found = Certificate::from_pem_bundle(&file::read(path)?)
        .map_err(|error| unusable(format!("`fronts_ca` cannot be used: {}", causes(&error))))?;
    if found.is_empty() {
        return Err(unusable("`fronts_ca` has no PEM certificate; give that of your authority".into()));
    }
    Ok(found)
}
