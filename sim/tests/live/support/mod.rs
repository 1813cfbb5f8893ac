//! What the live tests share: realms of one member behind real sockets, with clocks that the test moves.

pub(crate) mod client;
pub(crate) mod device;
pub(crate) mod statement;
pub(crate) mod tokens;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strongroom_agent::admin;
use strongroom_agent::config::{Config, HsmAddress, StoreOptions};
use strongroom_agent::daemon::{Agent, AgentHandle, Sockets, Time};
use strongroom_agent::link::SocketLink;
use strongroom_agent::store::Store;
use strongroom_agent::timing::Timing;
use strongroom_hsm_software::{Address, Listener, Options, Server};
use strongroom_proto::hsm::{RealmPolicy, RealmStatus};
use strongroom_replica::Millis;
use tempfile::TempDir;
use url::Url;

/// How long anything may take, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Asks until there is an answer.
///
/// # Panics
/// There is none for ten minutes.
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
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Clocks of one agent: Unix time stands still, the steady clock can be moved on.
#[derive(Clone)]
pub(crate) struct Clocks {
    unix_s: u64,
    ahead_ms: Arc<AtomicU64>,
}

impl Clocks {
    pub(crate) fn at(unix_s: u64) -> Self {
        Self { unix_s, ahead_ms: Arc::default() }
    }

    pub(crate) fn move_on(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).expect("short");
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn time(&self) -> Time {
        let (unix_s, ahead, system) = (self.unix_s, Arc::clone(&self.ahead_ms), Time::system());
        let steady = move || Millis((system.steady)().0 + ahead.load(Ordering::SeqCst));
        Time { unix: Arc::new(move || unix_s), steady: Arc::new(steady) }
    }
}

/// What a realm of one member is made of.
pub(crate) struct Setting {
    /// `tenants.toml`.
    pub(crate) tenants: String,
    /// Certificate and key, PEM.
    pub(crate) tls: Option<(String, String)>,
    /// The agent's clocks; by default the machine's.
    pub(crate) clocks: Option<Clocks>,
}

/// A realm of one member, serving.
pub(crate) struct OneMember {
    pub(crate) realm: RealmStatus,
    agent: AgentHandle,
    hsm: Server,
    _folder: TempDir,
}

impl OneMember {
    /// With a software HSM as it comes.
    pub(crate) async fn start(setting: Setting) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options {
            nvram: folder.path().join("nvram"),
            listen: Address::Unix(folder.path().join("hsm.sock")),
            config: strongroom_hsm::Config::software(),
            console: strongroom_hsm_software::Console::dark(),
        };
        let hsm = strongroom_hsm_software::start(options).expect("a new HSM starts");
        Self::on(folder, hsm, setting).await
    }

    /// With a device of the test's own.
    pub(crate) async fn with_device(device: &device::Shared, folder: TempDir, setting: Setting) -> Self {
        let listener = Listener::bind(&Address::Unix(folder.path().join("hsm.sock"))).expect("a socket");
        let handler = device::handler(device);
        let limit = strongroom_hsm::Config::software().limits.max_frame_bytes;
        let hsm = Server::spawn(listener, limit, handler).expect("a thread");
        Self::on(folder, hsm, setting).await
    }

    async fn on(folder: TempDir, hsm: Server, setting: Setting) -> Self {
        let config = config(folder.path().to_path_buf(), &setting);
        let Address::Unix(socket) = hsm.address().clone() else { panic!("a Unix socket") };
        let link = Arc::new(SocketLink::with_timeout(HsmAddress::Unix(socket), PATIENCE));
        let store = Store::open(&Url::parse("memory://").expect("a URL"), &StoreOptions::default());
        let sockets = Sockets::bind(&config).expect("free ports");
        let time = setting.clocks.as_ref().map_or_else(Time::system, Clocks::time);
        let agent = Agent::start_at(sockets, config, link, store.expect("memory"), time).expect("starts");
        let mut admin = admin::Client::connect(agent.admin_socket()).await.expect("it listens");
        let device = admin.new_realm(RealmPolicy::closed()).await.expect("a new HSM");
        admin.create_group(&[device.hsm]).await.expect("a new realm");
        until("a leader that serves", async || serves(&agent).then_some(())).await;
        let realm = device.realm.expect("just made");
        Self { realm, agent, hsm, _folder: folder }
    }

    pub(crate) fn front(&self) -> SocketAddr {
        self.agent.addresses().front
    }

    /// Kills it, as a power cut would.
    pub(crate) async fn kill(self) {
        self.agent.kill().await;
        self.hsm.stop();
    }
}

fn serves(agent: &AgentHandle) -> bool {
    agent.groups().iter().any(|(_, status)| status.serving)
}

fn config(folder: PathBuf, setting: &Setting) -> Config {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("writable");
    write("tenants.toml", &setting.tenants);
    let mut text = String::from(
        "listen = '127.0.0.1:0'\npeer_listen = '127.0.0.1:0'\nhsm = 'unix:hsm.sock'\nstore = 'memory://'\n\
         tenants = 'tenants.toml'\n",
    );
    // The one user of the vectors asks more often than any client does.
    text.push_str("[limits]\nuser_requests_burst = 10000\nuser_handshakes_burst = 10000\n");
    if let Some((certificate, key)) = &setting.tls {
        write("certificate.pem", certificate);
        write("key.pem", key);
        text.push_str("[tls]\ncertificate = 'certificate.pem'\nkey = 'key.pem'\n");
    }
    let config = Config::parse(&folder.join("agent.toml"), &text).expect("a configuration");
    Config { timing: Timing::patient(PATIENCE), ..config }
}
