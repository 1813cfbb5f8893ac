//! Many users who register, so that a group has many records: each over HTTP, with a handshake and a Register2 of its own,
//! as its HSM wants them. Only what a device does for itself is done once for all of them: they have one registration.

use super::progress::Progress;
use super::service::{ATTEMPTS, PAUSE};
use crate::Error;
use crate::chaos::Realm;
use crate::local::TENANT;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use strongroom_agent::token::mint;
use strongroom_client::{Https, Transport, Url, Zeroizing};
use strongroom_proto::client::{
    ClientRequest, ClientResponse, NoiseRequest, NoiseResponse, RequestKind, SecretsRequest, SecretsResponse,
};
use strongroom_proto::hsm::{RealmStatus, record_id};
use strongroom_proto::ids::{Digest, RealmId, SessionId, X25519Public};
use strongroom_proto::noise;
use strongroom_proto::prefix::Prefix;
use strongroom_testkit::registration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How many register at once: enough for the leader's batches to be full.
const TOGETHER: usize = 384;
/// More than anybody uses.
const GUESSES: u16 = 250;
const VERSION: (&str, &str) = ("X-Juicebox-Version", "0.3.4");

/// Which records are below a prefix.
#[derive(Clone, Copy)]
pub(super) struct Below {
    key: Digest,
    prefix: Prefix,
}

impl Below {
    /// What the realm's HSMs derive record ids with, as a host knows it.
    pub(super) fn new(realm: &RealmStatus, prefix: Prefix) -> Self {
        Self { key: realm.record_id_key, prefix }
    }

    pub(super) fn has(&self, user: &str) -> bool {
        self.prefix.contains(&record_id(&self.key, TENANT, user))
    }
}

/// What all who register have in common.
struct Fill {
    below: Below,
    realm: RealmId,
    public_key: X25519Public,
    tenant_key: Vec<u8>,
    fronts: Vec<Url>,
    /// The front that answered last.
    at: AtomicU64,
    https: Https,
    /// The request of all of them.
    register: Vec<u8>,
    wanted: u64,
    /// Names that were given out, and how many of their records are there.
    names: AtomicU64,
    taken: AtomicU64,
    registered: AtomicU64,
}

/// Registers so many users with records below a prefix, first at this host.
///
/// # Errors
/// One cannot register.
pub(super) async fn fill(
    realm: &Realm,
    status: &RealmStatus,
    below: Below,
    (records, host): (u64, usize),
    progress: &Progress,
) -> Result<Duration, Error> {
    let url = |front: &std::net::SocketAddr| Url::parse(&format!("http://{front}/req"));
    let registration = registration(&realm.id(), GUESSES, &mut StdRng::seed_from_u64(1));
    let fill = Arc::new(Fill {
        below,
        realm: realm.id(),
        public_key: status.public_key,
        tenant_key: realm.tenant_key().to_vec(),
        fronts: realm.fronts().iter().map(url).collect::<Result<_, _>>()?,
        at: AtomicU64::new(host as u64),
        https: Https::new()?,
        register: SecretsRequest::Register2(Box::new(registration)).to_cbor().to_vec(),
        wanted: records,
        names: AtomicU64::new(0),
        taken: AtomicU64::new(0),
        registered: AtomicU64::new(0),
    });
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for seed in 0..TOGETHER {
        tasks.spawn(Arc::clone(&fill).some(StdRng::seed_from_u64(seed as u64)));
    }
    let mut all = Box::pin(async {
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok::<_, Error>(())
    });
    loop {
        tokio::select! {
            ended = &mut all => break ended?,
            () = progress.wait(Duration::from_secs(1)) => {}
        }
        let done = fill.registered.load(Ordering::Relaxed);
        let each_second = done as f64 / begun.elapsed().as_secs_f64();
        progress.say(format!("{done} of {records} records registered, {each_second:.0} a second"));
    }
    Ok(begun.elapsed())
}

impl Fill {
    /// Registers one after another, until there are enough.
    async fn some(self: Arc<Self>, mut rng: StdRng) -> Result<(), Error> {
        while self.taken.fetch_add(1, Ordering::Relaxed) < self.wanted {
            let user = loop {
                let name = format!("one-of-many-{}", self.names.fetch_add(1, Ordering::Relaxed));
                if self.below.has(&name) {
                    break name;
                }
            };
            let mut told = Ok(());
            for _ in 0..ATTEMPTS * 4 {
                told = self.register(&user, &mut rng).await;
                if told.is_ok() {
                    break;
                }
                self.at.fetch_add(1, Ordering::Relaxed);
                sleep(PAUSE).await;
            }
            told.map_err(|error| format!("one of many users cannot register: {error}"))?;
            self.registered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn register(&self, user: &str, rng: &mut StdRng) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let token = mint(&self.tenant_key, TENANT, 1, user, &self.realm, now);
        let session = SessionId(rng.random());
        let (handshake, first) =
            noise::client_start(&self.public_key, &[], rng).map_err(|_| "the realm's key is no key")?;
        let first = NoiseRequest::Handshake(first);
        let answer = match self.post(&token, session, RequestKind::HandshakeOnly, first).await? {
            NoiseResponse::Handshake { handshake, .. } => handshake,
            NoiseResponse::Transport { .. } => return Err("not the answer to a handshake".into()),
        };
        let (mut transport, _) =
            handshake.finish(&answer).map_err(|_| "another has answered the handshake")?;
        let ciphertext = transport.encrypt(&self.register).map_err(|_| "the session is used up")?;
        let message = NoiseRequest::Transport { ciphertext };
        match self.post(&token, session, RequestKind::SecretsRequest, message).await? {
            NoiseResponse::Transport { ciphertext } => {
                let padded = transport.decrypt(&ciphertext).map_err(|_| "an answer does not decrypt")?;
                match SecretsResponse::from_padded(&padded) {
                    Ok(SecretsResponse::Register2) => Ok(()),
                    _ => Err("an answer says something else than it must".into()),
                }
            }
            NoiseResponse::Handshake { .. } => Err("not the answer to a request".into()),
        }
    }

    async fn post(
        &self,
        token: &str,
        session_id: SessionId,
        kind: RequestKind,
        encrypted: NoiseRequest,
    ) -> Result<NoiseResponse, Error> {
        let auth_token = token.to_owned();
        let body = ClientRequest { realm: self.realm, auth_token, session_id, kind, encrypted }.to_cbor();
        let front = &self.fronts[self.at.load(Ordering::Relaxed) as usize % self.fronts.len()];
        let answer = self.https.post(front, &[VERSION], Zeroizing::new(body)).await?;
        match ClientResponse::from_cbor(&answer.body) {
            Ok(ClientResponse::Ok(response)) => Ok(response),
            Ok(refusal) => Err(format!("{refusal:?}").into()),
            Err(_) => Err(format!("an answer with status {} that is none", answer.status).into()),
        }
    }
}
