//! HSMs that say who they are and refuse the rest, agents for them, and ways to connect to those agents.

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use object_store::memory::InMemory;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strongroom_agent::clock::system_clock;
use strongroom_agent::config::{Config, PeerUrl};
use strongroom_agent::daemon::{Agent, AgentHandle, Sockets};
use strongroom_agent::link::{Link, Lost};
use strongroom_agent::peers::{Identities, Identity, Peers, Who};
use strongroom_agent::store::Store;
use strongroom_agent::timing::Timing;
use strongroom_proto::enrolment::{Attestation, RealmPolicy};
use strongroom_proto::hsm::{
    AgentSecret, DeviceStatus, GroupStatus, Limits, Origin, RealmStatus, Refusal, Reply, Request, Wear,
};
use strongroom_proto::ids::{BuildDigest, Digest, HsmId, RealmId, X25519Public};
use strongroom_proto::statement::MemberStatement;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint};

/// The realm of all HSMs here, unless they have none or are given another.
pub(crate) const REALM: RealmId = RealmId([5; 16]);

/// What a [`Bare`] says about itself.
#[derive(Clone)]
pub(crate) struct Said {
    pub(crate) hsm: HsmId,
    pub(crate) realm: Option<RealmId>,
    pub(crate) groups: Vec<GroupStatus>,
}

/// An HSM that says who it is, refuses the rest, and remembers what it was asked.
pub(crate) struct Bare {
    pub(crate) says: Mutex<Said>,
    pub(crate) asked: Mutex<Vec<Request>>,
}

impl Bare {
    /// An HSM with the realm.
    pub(crate) fn new(id: u8) -> Arc<Self> {
        Self::saying(id, Some(REALM))
    }

    pub(crate) fn saying(id: u8, realm: Option<RealmId>) -> Arc<Self> {
        let says = Said { hsm: HsmId([id; 16]), realm, groups: vec![] };
        Arc::new(Self { says: Mutex::new(says), asked: Mutex::default() })
    }
}

/// A realm's secret for agents.
pub(crate) fn secret(realm: RealmId, epoch: u32) -> AgentSecret {
    let mut secret = [realm.0[0]; 32];
    secret[..4].copy_from_slice(&epoch.to_be_bytes());
    AgentSecret(secret)
}

#[async_trait]
impl Link for Bare {
    async fn call(&self, request: Vec<u8>) -> Result<Vec<u8>, Lost> {
        let request: Request = minicbor::decode(&request).unwrap();
        let Said { hsm, realm, groups } = self.says.lock().unwrap().clone();
        let reply = match (&request, realm) {
            (Request::DeviceStatus, _) => Reply::Device(DeviceStatus {
                hsm,
                device_key: X25519Public([0; 32]),
                version: "bare".into(),
                build: BuildDigest([0; 32]),
                limits: Limits {
                    max_frame_bytes: 65536,
                    max_batch_requests: 16,
                    max_pending_entries: 16,
                    max_pending_replies: 64,
                    max_sessions: 64,
                    max_tree_nodes: 65_664,
                },
                realm: realm.map(|realm| RealmStatus {
                    realm,
                    public_key: X25519Public([1; 32]),
                    policy: RealmPolicy::closed(),
                    unassigned: true,
                    member: MemberStatement::new(&[2; 32], &realm, hsm),
                    record_id_key: Digest([0x77; 32]),
                    origin: Origin::MadeHere,
                    attestation: Attestation::none(),
                    checkpoint_key: None,
                }),
                groups,
                wear: Wear { units: 4, bad_units: 0, spare_units: 1, erases: 2 },
                attestation: Attestation::none(),
                retired: Vec::new(),
            }),
            (Request::AgentSecret(epoch), Some(realm)) => Reply::AgentSecret(secret(realm, *epoch)),
            _ => Reply::Refused(Refusal::NoRealm),
        };
        self.asked.lock().unwrap().push(request);
        Ok(minicbor::to_vec(reply).unwrap())
    }
}

/// A configuration whose admin socket is `NAME.sock` in the folder.
pub(crate) fn config(folder: &Path, name: &str) -> Config {
    std::fs::write(folder.join("tenants.toml"), "").unwrap();
    let text = "listen = '127.0.0.1:0'\npeer_listen = '127.0.0.1:0'\nhsm = 'tcp:none:1'\nstore = 'memory://'\n\
                tenants = 'tenants.toml'";
    let config = Config::parse(&folder.join(name).with_extension("toml"), text).unwrap();
    Config { timing: Timing::patient(PATIENCE), ..config }
}

pub(crate) fn peer_url(address: SocketAddr) -> PeerUrl {
    PeerUrl::try_from(format!("https://{address}")).unwrap()
}

/// Agents that know each other, one for each HSM.
pub(crate) fn start(folder: &Path, hsms: &[Arc<Bare>]) -> Vec<AgentHandle> {
    let config = |at: usize| config(folder, &format!("agent-{at}"));
    let sockets: Vec<_> = (0..hsms.len()).map(|at| Sockets::bind(&config(at)).unwrap()).collect();
    let addresses: Vec<_> = sockets.iter().map(|sockets| sockets.addresses().peer).collect();
    let store = Store::on(Arc::new(InMemory::new()));
    let agents = sockets.into_iter().zip(hsms).enumerate().map(|(at, (sockets, hsm))| {
        let mut config = config(at);
        let own = sockets.addresses().peer;
        config.peers = addresses.iter().filter(|address| **address != own).map(|a| peer_url(*a)).collect();
        Agent::start_on(sockets, config, Arc::clone(hsm) as Arc<dyn Link>, store.clone()).unwrap()
    });
    agents.collect()
}

/// The identity of the agent of an HSM of the realm.
pub(crate) fn who(hsm: u8) -> Who {
    Who { hsm: HsmId([hsm; 16]), realm: REALM, epoch: 0 }
}

/// The identity of an agent, `age_s` old.
pub(crate) fn identity(who: Who, age_s: i64) -> Identity {
    let secrets: Vec<_> = who.epochs().into_iter().map(|epoch| secret(who.realm, epoch)).collect();
    let now = system_clock()();
    Identity::issue(who, &secrets, Arc::new(move || now.checked_add_signed(-age_s).unwrap())).unwrap()
}

/// An identity that does not change while the test runs.
pub(crate) fn identities(who: Who) -> Identities {
    let (sender, identities) = watch::channel(Some(Arc::new(identity(who, 0))));
    // Dropping it would end the connections.
    Box::leak(Box::new(sender));
    identities
}

/// Connects with this TLS to any server.
pub(crate) fn channel(address: SocketAddr, tls: Arc<rustls::ClientConfig>) -> Channel {
    let connector = tower::service_fn(move |_| {
        let tls = TlsConnector::from(Arc::clone(&tls));
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = address.ip().into();
            Ok::<_, io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("https://agent").connect_with_connector_lazy(connector)
}

/// Serves inside this TLS. `shaken` learns how each handshake went.
pub(crate) async fn serve(
    server: Router,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shaken: impl Fn(bool) + Send + 'static,
) {
    let tls = TlsAcceptor::from(tls);
    let incoming = futures::stream::unfold((listener, shaken), move |(listener, shaken)| {
        let tls = tls.clone();
        async move {
            let (stream, _) = listener.accept().await.ok()?;
            let stream = tls.accept(stream).await;
            shaken(stream.is_ok());
            let (near, mut far) = tokio::io::duplex(1 << 16);
            if let Ok(mut stream) = stream {
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut far).await });
            }
            Some((Ok::<_, io::Error>(near), (listener, shaken)))
        }
    });
    server.serve_with_incoming(incoming).await.unwrap();
}

/// How long anything may take, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {} s for this and it did not come: {what}",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Looks for agents at these addresses, as HSM 1's.
pub(crate) fn peers(addresses: &[PeerUrl]) -> Peers {
    Peers::start(addresses, &identities(who(1)), Timing::patient(PATIENCE).peers)
}
