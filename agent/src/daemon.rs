//! One running agent: its sockets and its services, around one hub.
//!
//! A shell around [`strongroom_replica`]. It is trusted for availability only, and keeps nothing that must survive: all
//! durable state is in the HSM and the store, so an agent can be killed at any moment and started again.

mod admin_socket;
mod peer_service;

pub use self::admin_socket::AdminSocketError;
pub use crate::clock::Time;
pub use crate::hub::SESSION_LIFETIME;
pub use crate::vital::Ended;

use self::admin_socket::{AdminSocket, SocketFile};
use self::peer_service::PeerService;
use crate::admin::AdminService;
use crate::balance;
use crate::clock::Clock;
use crate::config::{Config, PeerUrl};
use crate::descriptors;
use crate::file::FileError;
use crate::front::{Front, Relay, RelayError, router, serve};
use crate::hub::{Discovery, Hsm, Hub, Routed, doubts, unfinished};
use crate::link::{Link, TimedLink};
use crate::metrics::{self, Metrics};
use crate::overview;
use crate::peers::{self, Identities, Peers, Refused, accept, agents_only, operators_only};
use crate::store::{Store, StoreError};
use crate::tenants::Tenants;
use crate::tls::{self, Tls};
use crate::traces::{Traces, TracesError};
use crate::usage::Usage;
use crate::vital::Vital;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::hsm::{DeviceStatus, Refusal};
use strongroom_proto::ids::GroupId;
use strongroom_replica::Status;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

/// How often files are checked for changes.
const FILES_PERIOD: Duration = Duration::from_secs(5);
/// How often to ask the HSM who it is, and the first pause while it has not answered.
const DEVICE_PERIOD: Duration = Duration::from_secs(5);
const DEVICE_RETRY: Duration = Duration::from_millis(200);
/// Bytes that a peer may send ahead, per message and in all: heartbeats have room beside a segment.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Concurrent calls on one connection of a peer.
const STREAMS: u32 = 256;
/// After how long a peer must connect again, with a certificate that is valid then, and how long calls in flight may
/// take.
const CONNECTION_AGE: Duration = Duration::from_secs(60 * 60);
const CONNECTION_END: Duration = Duration::from_secs(30);
/// How long a graceful shutdown takes at most.
const DRAIN: Duration = Duration::from_secs(10);
/// How much of that the account of tenants may take.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file of the configuration cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another agent running there?")]
    Listen {
        /// The address, as configured.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The admin socket cannot be listened on.
    #[error(transparent)]
    AdminSocket(#[from] AdminSocketError),
    /// Requests cannot be relayed to other agents' front doors.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The system refused threads or sockets.
    #[error("cannot start: {0}")]
    System(io::Error),
}

/// Where an agent is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// By clients.
    pub front: SocketAddr,
    /// By other agents, and by operators with a certificate.
    pub peer: SocketAddr,
    /// By the operator's monitoring, if configured.
    pub metrics: Option<SocketAddr>,
}

/// The listening sockets of an agent. Bound before the agent starts, so that with port 0 the addresses are known in
/// time to tell them to the other agents.
#[derive(Debug)]
pub struct Sockets {
    front: TcpListener,
    peer: TcpListener,
    metrics: Option<TcpListener>,
    admin: AdminSocket,
    addresses: Addresses,
}

impl Sockets {
    /// Binds `listen`, `peer_listen`, `metrics_listen` and `admin_socket` of the configuration.
    ///
    /// # Errors
    /// [`StartError::Listen`], [`StartError::AdminSocket`].
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = |address: SocketAddr| {
            let failed = |source| StartError::Listen { address, source };
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            Ok::<_, StartError>((listener, address))
        };
        let (front, front_address) = bind(config.listen)?;
        let (peer, peer_address) = bind(config.peer_listen)?;
        let (metrics, metrics_address) = config.metrics_listen.map(bind).transpose()?.unzip();
        let addresses = Addresses { front: front_address, peer: peer_address, metrics: metrics_address };
        // Last: only the process that holds an agent's ports may take over its socket.
        let admin = AdminSocket::bind(&config.admin_socket)?;
        Ok(Self { front, peer, metrics, admin, addresses })
    }

    /// The addresses, with the ports that the system chose where the configuration says 0.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }
}

/// Starts agents.
#[derive(Clone, Copy, Debug)]
pub struct Agent;

impl Agent {
    /// Starts an agent for the HSM behind `link`, on `store`; binds the sockets itself.
    ///
    /// The HSM and the store need not be up yet. `config.hsm` and `config.store` are not used. Do not share a store
    /// that talks over a network with another agent: its end would cut this one's connections.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: Config, link: Arc<dyn Link>, store: Store) -> Result<AgentHandle, StartError> {
        let sockets = Sockets::bind(&config)?;
        Self::start_on(sockets, config, link, store)
    }

    /// The same on sockets that are bound already. The addresses in `config` are not used.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_on(
        sockets: Sockets,
        config: Config,
        link: Arc<dyn Link>,
        store: Store,
    ) -> Result<AgentHandle, StartError> {
        Self::start_at(sockets, config, link, store, Time::system())
    }

    /// The same with the caller's clocks, which tests move.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_at(
        sockets: Sockets,
        config: Config,
        link: Arc<dyn Link>,
        store: Store,
        time: Time,
    ) -> Result<AgentHandle, StartError> {
        let store = store.with_timeouts(config.timing.store);
        let tenants = Arc::new(Tenants::open(config.tenants.clone(), config.test_tenants())?);
        let tls = config.tls.clone().map(|files| Tls::open(files.certificate, files.key)).transpose()?;
        let tls = tls.map(Arc::new);
        // A runtime of its own, so that killing the agent ends everything that it has spawned.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("strongroom-agent")
            .build()
            .map_err(StartError::System)?;
        let inside = runtime.enter();
        let (vital, ended) = Vital::new();
        let (identity, identities) = watch::channel(None);
        let peers = Peers::start_vital(&config.peers, &identities, config.timing.peers, &vital);
        let unix = Arc::clone(&time.unix);
        let metrics = Arc::new(Metrics::new(&store));
        let timed = TimedLink::new(link, metrics.hsm().clone());
        let hsm = Hsm::start(Arc::new(timed), &vital);
        let relay = relay(&config, &metrics)?;
        let hub = Hub::new(hsm, store.clone(), peers, &config, &metrics, time, identity);
        let addresses = sockets.addresses;
        let traces = traces(&config, addresses, &metrics)?;
        let hub =
            Arc::new(hub.relaying(relay.clone()).traced(traces).accounting(usage(&config, &store, &unix)));
        let (stop, stopped) = watch::channel(false);
        let files = Files { tenants, tls };
        let services = Services { hub: Arc::clone(&hub), stopped, metrics: Arc::clone(&metrics), vital };
        let front = services.front(sockets.front, &config, &files, unix)?;
        services.peer(sockets.peer, identities, metrics.refused_peers().clone(), config.timing.peers)?;
        let admin_socket = services.admin(sockets.admin)?;
        if let Some(listener) = sockets.metrics {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::System)?;
            let pages = overview::routes(overview::Watch::new(Arc::clone(&hub)));
            let pages = pages.merge(health(Arc::clone(&hub)));
            services.vital.spawn("the metrics page", metrics::serve(listener, metrics, pages));
        }
        let (asking, probed) = (Arc::clone(&hub), store.clone());
        services.vital.spawn("the probe of the store", async move {
            doubts::ask_store(asking, probed).await;
            // The probe has given its answer, and its end is not a bug.
            std::future::pending().await
        });
        services.vital.spawn("the question to peers about their store", doubts::ask_peers(Arc::clone(&hub)));
        services.vital.spawn("the end of moves", unfinished::finish(Arc::clone(&hub)));
        if config.rebalance.automatic {
            let balancing = balance::run(Arc::clone(&hub), config.rebalance);
            services.vital.spawn("the balance of groups", balancing);
        }
        services.vital.spawn("the supervisor of the HSM's groups", supervise(Arc::clone(&hub)));
        services.account(&config);
        if config.discover {
            let address = announced(&config, addresses.peer);
            let discovery = Discovery::new(Arc::clone(&hub), &store, address);
            services.vital.spawn("the search for agents in the store", discovery.run());
        }
        if let Some(relay) = relay {
            let hub = Arc::clone(&hub);
            services.vital.spawn("the watch on other agents' front doors", async move {
                relay.look(|| hub.relay().is_some()).await;
                // From here on the HSM is known, and the end of this task is not a bug.
                std::future::pending().await
            });
        }
        drop(inside);
        tracing::info!(
            front = %addresses.front,
            peer = %addresses.peer,
            admin = %admin_socket.path().display(),
            "the agent listens"
        );
        let (runtime, kill) = (Some(runtime), config.timing.kill);
        Ok(AgentHandle { runtime, addresses, admin_socket, hub, stop, front, ended, files, kill })
    }
}

/// The same as at the front door, with the reasons.
fn health(hub: Arc<Hub>) -> Router {
    let ready = move || async move {
        let ready = hub.readiness();
        let status = if ready.serves() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, ready.text(true))
    };
    Router::new().route("/livez", get("the agent is running\n")).route("/readyz", get(ready))
}

/// Where this agent says that others reach it. Tells the operator what keeps them from that.
fn announced(config: &Config, bound: SocketAddr) -> Option<PeerUrl> {
    let address = config.announced(bound);
    match &address {
        None => tracing::warn!(
            %bound,
            "this agent does not announce itself in the store, because peer_listen is not one address; set peer_announce \
             to where other agents reach it"
        ),
        Some(_) if config.peer_announce.is_none() && bound.ip().is_loopback() => tracing::info!(
            %bound,
            "only agents on this machine reach this one; set peer_listen, and peer_announce if others reach it elsewhere"
        ),
        Some(_) => {}
    }
    address
}

/// Where spans go, from the agent that others reach there.
fn traces(config: &Config, addresses: Addresses, metrics: &Metrics) -> Result<Traces, TracesError> {
    let Some(settings) = &config.traces else { return Ok(Traces::off()) };
    let name =
        config.announced(addresses.peer).map_or_else(|| addresses.peer.to_string(), |url| url.0.to_string());
    Traces::start(settings, &name, metrics.traces().clone())
}

/// What tenants use, if that is counted.
fn usage(config: &Config, store: &Store, clock: &Clock) -> Option<Arc<Usage>> {
    if !config.usage.written {
        return None;
    }
    let mut number = [0; 8];
    if let Err(error) = getrandom::fill(&mut number) {
        tracing::error!(%error, "what tenants use is not counted: the system has no randomness to give");
        return None;
    }
    Some(Arc::new(Usage::new(store, Arc::clone(clock), u64::from_be_bytes(number))))
}

fn relay(config: &Config, metrics: &Metrics) -> Result<Option<Arc<Relay>>, RelayError> {
    if config.fronts.is_empty() {
        return Ok(None);
    }
    let connect = config.timing.peers.connect;
    // Shorter than the front door's, so that it can still count the outcome of a request.
    let answer = config.timing.front.backend.mul_f32(0.8);
    let (authority, metrics) = (config.fronts_ca.as_deref(), metrics.front().clone());
    Ok(Some(Arc::new(Relay::open(&config.fronts, authority, connect, answer, metrics)?)))
}

/// The files that are read again while the agent runs.
#[derive(Clone)]
struct Files {
    tenants: Arc<Tenants>,
    tls: Option<Arc<Tls>>,
}

struct Services {
    hub: Arc<Hub>,
    stopped: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    vital: Vital,
}

impl Services {
    fn front(
        &self,
        listener: TcpListener,
        config: &Config,
        files: &Files,
        unix: Clock,
    ) -> Result<JoinHandle<()>, StartError> {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::System)?;
        let Files { tenants, tls } = files.clone();
        self.vital.spawn("the watch on the tenants file", Arc::clone(&tenants).follow(FILES_PERIOD));
        if let Some(tls) = &tls {
            self.vital.spawn("the watch on the certificate", Arc::clone(tls).follow(FILES_PERIOD));
            let end = self.metrics.front().certificate_end.clone();
            let warn = tls::warn_of_end(Arc::clone(tls), end, Arc::clone(&unix), FILES_PERIOD);
            self.vital.spawn("the watch on the certificate's expiry", warn);
        }
        let backend = Arc::new(Routed(Arc::clone(&self.hub)));
        let mut limits = config.limits.clone();
        limits.max_connections = descriptors::for_connections(limits.max_connections);
        let metrics = self.metrics.front().clone();
        let traces = self.hub.traces().clone();
        let front = Front::new(backend, tenants, &limits, config.timing.front, unix, metrics, traces);
        let stopped = stop_signal(self.stopped.clone());
        let routes = config.cors.clone().of(router(front.clone()));
        let door = async move { serve(listener, &front, routes, tls, stopped).await };
        Ok(self.vital.spawn("the front door", door))
    }

    fn peer(
        &self,
        listener: TcpListener,
        identities: Identities,
        refused: Refused,
        timeouts: peers::Timeouts,
    ) -> Result<(), StartError> {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::System)?;
        let peers = PeerService::server(Arc::clone(&self.hub));
        let admin = AdminService::from_afar(Arc::clone(&self.hub));
        let server = Server::builder()
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(timeouts.keep_alive * 10))
            .http2_keepalive_timeout(Some(timeouts.keep_alive))
            .max_connection_age(CONNECTION_AGE)
            .max_connection_age_grace(CONNECTION_END)
            .add_service(InterceptedService::new(peers, agents_only))
            .add_service(InterceptedService::new(admin, operators_only));
        let incoming = accept(listener, identities, refused, timeouts.handshake);
        self.vital.spawn("the peer service", async move {
            if let Err(error) = server.serve_with_incoming(incoming).await {
                tracing::error!(%error, "the peer service ended");
            }
        });
        Ok(())
    }

    fn account(&self, config: &Config) {
        if let Some(usage) = self.hub.usage() {
            self.vital.spawn("the account of tenants", Arc::clone(usage).run(config.usage.every));
        }
    }

    fn admin(&self, socket: AdminSocket) -> Result<SocketFile, StartError> {
        let (listener, file) = socket.listener().map_err(StartError::System)?;
        let server = Server::builder().add_service(AdminService::at_socket(Arc::clone(&self.hub)));
        self.vital.spawn("the admin service", async move {
            if let Err(error) = server.serve_with_incoming(UnixListenerStream::new(listener)).await {
                tracing::error!(%error, "the admin service ended");
            }
        });
        Ok(file)
    }
}

async fn stop_signal(mut stopped: watch::Receiver<bool>) {
    // An error means that the handle is gone, and the agent too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Finds the HSM, tells the operator what is missing, and keeps the replicas of the HSM's groups running.
async fn supervise(hub: Arc<Hub>) {
    let (mut advice, mut retry) = (Advice::None, DEVICE_RETRY);
    let mut unknown = None;
    loop {
        let answered = hub.refresh().await;
        if answered.is_ok() {
            let why = hub.identify().await.err().map(|error| error.to_string());
            if let Some(why) = why.as_ref().filter(|_| why != unknown) {
                tracing::error!(why, "other agents do not know this one, or soon will not");
            }
            unknown = why;
        }
        let store_fits = hub.trust().is_given();
        if store_fits {
            hub.start_groups();
        }
        let device = hub.device().filter(|_| answered.is_ok());
        let next = match (answered, &device) {
            (Err(Some(refusal)), _) => Advice::Refuses(refusal),
            (Ok(()), Some(device)) => Advice::for_device(device),
            _ => Advice::NoAnswer,
        };
        if next != advice {
            advice = next;
            advice.log(device.as_ref());
        }
        let well = answered.is_ok() && store_fits;
        retry = if well { DEVICE_RETRY } else { (retry * 2).min(DEVICE_PERIOD) };
        let _ = timeout(if well { DEVICE_PERIOD } else { retry }, hub.woken()).await;
    }
}

/// What the operator should know or do next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Advice {
    None,
    NoAnswer,
    Refuses(Refusal),
    NoRealm,
    NoGroup,
    Ready,
}

impl Advice {
    const fn for_device(device: &DeviceStatus) -> Self {
        if device.realm.is_none() {
            Self::NoRealm
        } else if device.groups.is_empty() {
            Self::NoGroup
        } else {
            Self::Ready
        }
    }

    fn log(self, device: Option<&DeviceStatus>) {
        let hsm = device.map(|device| device.hsm);
        let hsm = hsm.map(tracing::field::display);
        match self {
            Self::None => {}
            Self::NoAnswer => tracing::warn!("the HSM does not answer; the agent keeps trying"),
            Self::Refuses(refusal) => tracing::error!(%refusal, "the HSM refuses everything"),
            Self::NoRealm => tracing::warn!(
                hsm,
                "the HSM has no realm yet; make one with `realm create`, or join one with `hsm request`"
            ),
            Self::NoGroup => {
                tracing::warn!(
                    hsm,
                    "the HSM is in no group yet; make one with `group create` at the HSM where the realm was made"
                );
            }
            Self::Ready => tracing::info!(hsm, "the HSM is a member of a group"),
        }
    }
}

/// A running agent. Dropping it kills it.
pub struct AgentHandle {
    runtime: Option<Runtime>,
    addresses: Addresses,
    admin_socket: SocketFile,
    hub: Arc<Hub>,
    stop: watch::Sender<bool>,
    /// The front door. It ends when it has answered what was in flight.
    front: JoinHandle<()>,
    ended: mpsc::UnboundedReceiver<Ended>,
    files: Files,
    kill: Duration,
}

impl AgentHandle {
    /// Where it is reached.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Where admin subcommands reach it.
    #[must_use]
    pub fn admin_socket(&self) -> &Path {
        self.admin_socket.path()
    }

    /// Completes when a task has ended that must not end: the rest would look alive, and might never serve again.
    pub async fn ended(&mut self) -> Ended {
        match self.ended.recv().await {
            Some(ended) => ended,
            // All of them were cut off because the agent was killed.
            None => std::future::pending().await,
        }
    }

    /// Reads the tenants file and the certificate with its key again, and logs the result. They are also read every
    /// five seconds.
    pub fn reload(&self) {
        self.files.tenants.look();
        if let Some(tls) = &self.files.tls {
            tls.look();
        }
    }

    /// What its HSM last said about itself; `None` while it has not been reached.
    #[must_use]
    pub fn device(&self) -> Option<DeviceStatus> {
        self.hub.device()
    }

    /// What its replicas are doing.
    #[must_use]
    pub fn groups(&self) -> Vec<(GroupId, Status)> {
        self.hub.groups()
    }

    /// Ends it at once, as a crash would: nothing in flight is finished or answered. When this returns, its sockets are
    /// closed.
    pub async fn kill(mut self) {
        self.admin_socket.leave();
        if let Some(runtime) = self.runtime.take() {
            // A runtime cannot be awaited from inside another.
            let _ = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(self.kill)).await;
        }
    }

    /// Takes no new connections, has others lead what is led here, answers what is in flight, and ends: all of that within
    /// ten seconds.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        // Now, because only the process that holds an agent's ports may take over its socket.
        self.admin_socket.remove();
        // The peer service goes on meanwhile: requests in flight wait for the statements that come in there.
        let end = Instant::now() + DRAIN;
        // A front door that a bug has ended is reported elsewhere.
        let drained = futures::future::join(self.hub.yield_all(), &mut self.front);
        if timeout_at(end, drained).await.is_err() {
            tracing::warn!("some requests were not answered in time");
        }
        let last = end.min(Instant::now() + LAST_WRITE);
        let accounted = async {
            let Some(usage) = self.hub.usage() else { return };
            if timeout_at(last, usage.write()).await != Ok(true) {
                tracing::warn!(
                    "what tenants used since the last write is in no account: the store did not take it in time"
                );
            }
        };
        // Neither waits for the other: a collector that does not answer costs no account.
        let _ = futures::future::join(accounted, timeout_at(end, self.hub.traces().flush())).await;
        self.kill().await;
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
