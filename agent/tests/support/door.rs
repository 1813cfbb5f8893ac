//! A front door on a real socket, with a backend that stands in for everything behind it.

use crate::support::{Answer, Negative, exchange};
use async_trait::async_trait;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strongroom_agent::config::Limits;
use strongroom_agent::front::{
    Backend, Check, EventsRead, Front, FrontMetrics, Published, Readiness, Relay, Timeouts, router, serve,
};
use strongroom_agent::tenants::{Tenants, TestTenants};
use strongroom_agent::timing::Timing;
use strongroom_agent::tls::Tls;
use strongroom_agent::token::{Purpose, mint, mint_for};
use strongroom_agent::traces::{Traces, Trail};
use strongroom_proto::client::{ClientRequest, ClientResponse};
use strongroom_proto::ids::{GroupId, RealmId};
use strongroom_replica::ReadOutcome;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// What the backend answers, which the front door itself never does.
pub(crate) const REACHED: ClientResponse = ClientResponse::MissingSession;

/// What is behind the door.
pub(crate) struct Behind {
    realm: Option<RealmId>,
    relay: Option<Arc<Relay>>,
    /// Who called.
    pub(crate) arrived: Semaphore,
    /// One permit for each call to be answered.
    pub(crate) released: Semaphore,
    /// How many pages of events there are.
    pub(crate) pages: AtomicU64,
}

#[async_trait]
impl Backend for Behind {
    fn realm(&self) -> Option<RealmId> {
        self.realm
    }

    fn readiness(&self) -> Readiness {
        let failed = self.realm.is_none().then(|| "there is none".into());
        Readiness(vec![Check { name: "realm", failed, is_needed: true }])
    }

    fn relay(&self) -> Option<Arc<Relay>> {
        self.relay.clone()
    }

    async fn serve(&self, tenant: &str, user: &str, _: ClientRequest, _: &Trail) -> ClientResponse {
        assert!(tenant == "acme" && user.starts_with("user-"), "{tenant} {user}");
        self.arrived.add_permits(1);
        self.released.acquire().await.expect("never closed").forget();
        REACHED
    }

    /// Group 1 has a checkpoint and a tile, group 2 a store that is down, group 3 a slow one.
    async fn published(&self, what: Published) -> ReadOutcome {
        match what {
            Published::Log(GroupId([2, ..]), _) => ReadOutcome::Unavailable,
            Published::Log(GroupId([3, ..]), _) => {
                self.arrived.add_permits(1);
                self.released.acquire().await.expect("never closed").forget();
                ReadOutcome::Found(b"slow".to_vec())
            }
            Published::Log(GroupId([1, ..]), resource) => match resource.to_string().as_str() {
                "checkpoint" => ReadOutcome::Found(b"a checkpoint".to_vec()),
                "tile/0/000.p/3" | "tile/entries/000.p/3" => ReadOutcome::Found(vec![7; 96]),
                _ => ReadOutcome::Absent,
            },
            Published::Log(..) => ReadOutcome::Absent,
            Published::Statement => ReadOutcome::Found(b"a statement".to_vec()),
        }
    }

    async fn head_of(&self, tenant: &str, user: &str) -> ReadOutcome {
        ReadOutcome::Found(format!("{tenant} {user}").into_bytes())
    }

    /// Group 1 has pages, group 2 a store that is down, group 3 something too long, group 4 a slow page.
    async fn events(&self, tenant: &str, what: EventsRead) -> ReadOutcome {
        let pages = self.pages.load(Ordering::SeqCst);
        let found = |there: bool, text: String| {
            if there { ReadOutcome::Found(text.into_bytes()) } else { ReadOutcome::Absent }
        };
        match what {
            EventsRead::Groups => found(true, format!("{}\n", GroupId([1; 16]))),
            EventsRead::Oldest { from, .. } => found(from < pages, format!("{from}\n")),
            EventsRead::Newest { .. } => found(pages > 0, format!("{}\n", pages.saturating_sub(1))),
            EventsRead::Page { group: GroupId([1, ..]), number } => {
                self.arrived.add_permits(1);
                found(number < pages, format!("page {number} of {tenant}"))
            }
            EventsRead::Page { group: GroupId([2, ..]), .. } => ReadOutcome::Unavailable,
            EventsRead::Page { group: GroupId([3, ..]), .. } => ReadOutcome::Found(vec![0; (16 << 20) + 1]),
            EventsRead::Page { .. } => {
                self.arrived.add_permits(1);
                self.released.acquire().await.expect("never closed").forget();
                found(true, "slow".into())
            }
        }
    }
}

/// A front door that serves.
pub(crate) struct Door {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// What is behind it.
    pub(crate) behind: Arc<Behind>,
    /// What it counts.
    pub(crate) metrics: FrontMetrics,
    /// Stops it.
    pub(crate) stop: Option<oneshot::Sender<()>>,
    /// Ends when it has stopped.
    pub(crate) served: JoinHandle<()>,
    _folder: TempDir,
}

/// How a door is opened.
pub(crate) struct Setting {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// Whether there is a realm.
    pub(crate) realm: bool,
    /// Where requests go instead of the backend.
    pub(crate) relay: Option<Arc<Relay>>,
    /// How many requests the backend answers by itself.
    pub(crate) released: usize,
    pub(crate) tls: Option<Arc<Tls>>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            timeouts: Timing::patient(Duration::from_secs(600)).front,
            realm: true,
            relay: None,
            released: Semaphore::MAX_PERMITS,
            tls: None,
        }
    }
}

impl Door {
    pub(crate) async fn open(vectors: &Negative, setting: Setting) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let tenants = folder.path().join("tenants.toml");
        std::fs::write(&tenants, vectors.tenants_toml()).expect("writable");
        let behind = Arc::new(Behind {
            realm: setting.realm.then(|| vectors.realm.id.parse().expect("a realm id")),
            relay: setting.relay,
            arrived: Semaphore::new(0),
            released: Semaphore::new(setting.released),
            pages: AtomicU64::new(0),
        });
        let tenants = Arc::new(Tenants::open(tenants, TestTenants::Refused).expect("usable"));
        let now = vectors.now;
        let backend = Arc::clone(&behind) as Arc<dyn Backend>;
        let (limits, metrics) = (&setting.limits, FrontMetrics::default());
        let clock = Arc::new(move || now);
        let (timeouts, traces) = (setting.timeouts, Traces::off());
        let front = Front::new(backend, tenants, limits, timeouts, clock, metrics.clone(), traces);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            serve(listener, &front, router(front.clone()), setting.tls, stopped).await;
        });
        Self { address, behind, metrics, stop: Some(stop), served, _folder: folder }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    pub(crate) async fn send(&self, request: &[u8]) -> Answer {
        exchange(self.connect().await, request).await.expect("an answer")
    }
}

pub(crate) fn at_most(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("not zero")
}

pub(crate) fn decoded(answer: &Answer) -> ClientResponse {
    ClientResponse::from_cbor(&answer.body).expect("a ClientResponse")
}

impl Negative {
    /// The body of the case called `name`, with a token of the vectors' tenant for `user`.
    #[allow(dead_code, reason = "not every test has several users")]
    pub(crate) fn body_of_user(&self, name: &str, user: &str) -> Vec<u8> {
        let mut request = ClientRequest::from_cbor(&self.body(name)).expect("valid");
        request.auth_token = self.token_of_user(user);
        request.to_cbor()
    }

    /// A token of the vectors' tenant for `user`.
    #[allow(dead_code, reason = "not every test has several users")]
    pub(crate) fn token_of_user(&self, user: &str) -> String {
        let realm = self.realm.id.parse().expect("a realm id");
        let secret = hex::decode(&self.tenant_key.data).expect("hexadecimal");
        let (tenant, version) = self.tenant_key.kid.split_once(':').expect("tenant:version");
        let version = version.parse().expect("a number");
        mint(&secret, tenant, version, user, &realm, self.now)
    }

    /// A token of the vectors' tenant for reading its events.
    #[allow(dead_code, reason = "not every test reads events")]
    pub(crate) fn audit_token(&self, user: &str) -> String {
        let realm = self.realm.id.parse().expect("a realm id");
        let secret = hex::decode(&self.tenant_key.data).expect("hexadecimal");
        let (tenant, version) = self.tenant_key.kid.split_once(':').expect("tenant:version");
        let version = version.parse().expect("a number");
        mint_for(Purpose::Audit, &secret, (tenant, version), user, &realm, self.now)
    }
}
