//! How users reach the realm: a load balancer in front of all hosts, which loses some of what passes, counts what
//! was sent, and takes the time.

use crate::Error;
use crate::local::TENANT;
use async_trait::async_trait;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};
use strongroom_agent::token::mint;
use strongroom_client::{
    AuthTokens, Client, Configuration, HttpResponse, Https, NetworkError, NoToken, Progress, Transport,
};
use strongroom_proto::client::{ClientRequest, RequestKind};
use strongroom_proto::ids::RealmId;
use url::Url;
use zeroize::Zeroizing;

/// The way in to a realm, for any number of users. Cheap to clone.
#[derive(Clone)]
pub struct Doors(Arc<Inner>);

struct Inner {
    realm: RealmId,
    configuration: Configuration,
    tenant_key: Vec<u8>,
    fronts: Vec<Url>,
    next: AtomicUsize,
    https: Https,
    /// Out of 1,000, how many messages are lost on the way there, and how many answers on the way back.
    lost: [AtomicU32; 2],
    passed: AtomicU32,
    passes: Mutex<Vec<Pass>>,
}

/// One request, on its way to one host.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// When it was sent.
    pub began: Instant,
    /// When it had come to an end.
    pub ended: Instant,
    /// How it ended.
    pub end: End,
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// With a realm's answer.
    Answered,
    /// It is to be tried again.
    Unavailable,
    /// The host was not there.
    NotReached,
    /// It was sent, and no answer came.
    Lost,
}

impl Doors {
    /// The way in to a realm.
    ///
    /// # Errors
    /// The configuration does not parse.
    pub fn new(realm: &super::Realm) -> Result<Self, Error> {
        let configuration = Configuration::from_json_allowing_http(realm.configuration())?;
        let url = |front: &SocketAddr| Url::parse(&format!("http://{front}/req"));
        let fronts = realm.fronts().iter().map(url).collect::<Result<_, _>>()?;
        let (realm, tenant_key) = (realm.id(), realm.tenant_key().to_vec());
        Ok(Self(Arc::new(Inner {
            realm,
            configuration,
            tenant_key,
            fronts,
            next: AtomicUsize::new(0),
            https: Https::new()?,
            lost: Default::default(),
            passed: AtomicU32::new(0),
            passes: Mutex::default(),
        })))
    }

    /// From now on, loses this many of 1,000 messages, and this many of 1,000 answers.
    pub fn lose(&self, messages: u32, answers: u32) {
        self.0.lost[0].store(messages, Ordering::Relaxed);
        self.0.lost[1].store(answers, Ordering::Relaxed);
    }

    /// All requests that have ended since the last call.
    #[must_use]
    pub fn take_passes(&self) -> Vec<Pass> {
        std::mem::take(&mut *self.0.passes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn passed(&self, began: Instant, answer: &Result<HttpResponse, NetworkError>) {
        let end = match answer {
            Ok(answer) if answer.status == 503 => End::Unavailable,
            Ok(_) => End::Answered,
            Err(error) if is_unreached(error) => End::NotReached,
            Err(_) => End::Lost,
        };
        let pass = Pass { began, ended: Instant::now(), end };
        self.0.passes.lock().unwrap_or_else(PoisonError::into_inner).push(pass);
    }

    /// A device of a user: a client that counts the messages it has `sent`, and calls `report` at the beginning of every
    /// step.
    #[must_use]
    pub fn device(
        &self,
        user: &str,
        sent: &Sent,
        report: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Client {
        let through = Through { doors: self.clone(), sent: sent.clone(), at: AtomicUsize::new(usize::MAX) };
        let tokens = Tokens { doors: self.clone(), user: user.to_owned() };
        Client::builder(self.0.configuration.clone(), tokens).on_progress(report).build_with(through)
    }

    /// Whether what passes now is lost: spread evenly, and different in every run, because users interleave
    /// differently.
    fn loses(&self, which: usize) -> bool {
        let of_1000 = self.0.lost[which].load(Ordering::Relaxed);
        let n = self.0.passed.fetch_add(1, Ordering::Relaxed);
        // A multiplicative hash: neighbours are far apart.
        n.wrapping_mul(2_654_435_769) >> 16 < (of_1000 * 65_536) / 1_000
    }
}

/// How many requests for secrets a device sent that may have reached an HSM.
#[derive(Clone, Default)]
pub struct Sent(Arc<AtomicU32>);

impl Sent {
    /// How many since the last call.
    #[must_use]
    pub fn take(&self) -> u32 {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// One device's way through the balancer.
struct Through {
    doors: Doors,
    sent: Sent,
    /// The host that answered last.
    at: AtomicUsize,
}

#[async_trait]
impl Transport for Through {
    async fn post(
        &self,
        _: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        self.pass(headers, body, false).await
    }

    async fn post_afresh(
        &self,
        _: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        // A balancer gives a new connection to the host after the one that does not answer.
        let fronts = self.doors.0.fronts.len();
        let at = self.at.load(Ordering::Relaxed);
        self.at.store(if at < fronts { (at + 1) % fronts } else { usize::MAX }, Ordering::Relaxed);
        self.pass(headers, body, true).await
    }
}

impl Through {
    async fn pass(
        &self,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
        afresh: bool,
    ) -> Result<HttpResponse, NetworkError> {
        let Inner { fronts, next, https, .. } = &*self.doors.0;
        let acts =
            ClientRequest::from_cbor(&body).is_ok_and(|asked| asked.kind == RequestKind::SecretsRequest);
        if self.doors.loses(0) {
            return Err(NetworkError::Lost("the message was lost".into()));
        }
        let mut at = self.at.load(Ordering::Relaxed);
        if at >= fronts.len() {
            at = next.fetch_add(1, Ordering::Relaxed) % fronts.len();
        }
        self.at.store(at, Ordering::Relaxed);
        // Counted first, because one that nobody waits for any longer may still be answered.
        self.sent.0.fetch_add(u32::from(acts), Ordering::SeqCst);
        let began = Instant::now();
        let answer = match afresh {
            true => https.post_afresh(&fronts[at], headers, body).await,
            false => https.post(&fronts[at], headers, body).await,
        };
        self.doors.passed(began, &answer);
        if acts && answer.as_ref().is_err_and(is_unreached) {
            self.sent.0.fetch_sub(1, Ordering::SeqCst);
        }
        if !matches!(&answer, Ok(answer) if answer.status != 503) {
            // A different one next time.
            self.at.store(usize::MAX, Ordering::Relaxed);
        }
        if self.doors.loses(1) { Err(NetworkError::Lost("the answer was lost".into())) } else { answer }
    }
}

fn is_unreached(error: &NetworkError) -> bool {
    error.to_string().contains("(Connect)")
}

struct Tokens {
    doors: Doors,
    user: String,
}

#[async_trait]
impl AuthTokens for Tokens {
    async fn token(&self, _: &RealmId) -> Result<Zeroizing<String>, NoToken> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|_| NoToken)?.as_secs();
        let Inner { tenant_key, realm, .. } = &*self.doors.0;
        Ok(Zeroizing::new(mint(tenant_key, TENANT, 1, &self.user, realm, now)))
    }
}
