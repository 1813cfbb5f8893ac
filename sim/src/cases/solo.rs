//! One realm of one simulated HSM, as small as a whole realm can be: it is there in a moment, and patient with a busy machine.

use crate::Error;
use crate::ceremony::within;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use strongroom_agent::admin;
use strongroom_agent::config::{Config, HsmAddress, StoreOptions};
use strongroom_agent::daemon::{Agent, AgentHandle, Sockets, Time};
use strongroom_agent::link::SocketLink;
use strongroom_agent::store::Store;
use strongroom_agent::timing::Timing;
use strongroom_agent::token::mint;
use strongroom_hsm_software::{Address, Options, Server};
use strongroom_proto::hsm::{RealmPolicy, RealmStatus};
use strongroom_proto::ids::RealmId;
use tempfile::TempDir;
use url::Url;

/// How long anything may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(600);
/// The tenant of all realms.
const TENANT: &str = "test-cases";

/// A realm that serves.
pub(super) struct Solo {
    realm: RealmStatus,
    tenant_key: [u8; 32],
    agent: AgentHandle,
    _hsm: Server,
    _folder: TempDir,
}

impl Solo {
    pub(super) async fn start() -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("strongroom-case-").tempdir()?;
        let socket = folder.path().join("hsm.sock");
        let hsm = strongroom_hsm_software::start(Options {
            nvram: folder.path().join("nvram"),
            listen: Address::Unix(socket.clone()),
            config: strongroom_hsm::Config::software(),
            console: strongroom_hsm_software::Console::dark(),
        })?;
        let tenant_key = crate::local::random()?;
        let config = config(folder.path(), &tenant_key)?;
        let link = Arc::new(SocketLink::with_timeout(HsmAddress::Unix(socket), PATIENCE));
        let store = Store::open(&Url::parse("memory://")?, &StoreOptions::default())?;
        let sockets = Sockets::bind(&config)?;
        let agent = Agent::start_at(sockets, config, link, store, Time::system())?;
        let mut admin = admin::Client::connect(agent.admin_socket()).await?;
        let device = admin.new_realm(RealmPolicy::closed()).await?;
        admin.create_group(&[device.hsm]).await?;
        let serves = || agent.groups().iter().any(|(_, status)| status.serving);
        within(PATIENCE, "a realm does not serve", async || Ok(serves().then_some(()))).await?;
        let realm = device.realm.ok_or("the HSM made no realm")?;
        Ok(Self { realm, tenant_key, agent, _hsm: hsm, _folder: folder })
    }

    pub(super) fn id(&self) -> RealmId {
        self.realm.realm
    }

    pub(super) fn public_key(&self) -> String {
        self.realm.public_key.to_string()
    }

    /// Its own front door, where nothing goes wrong.
    pub(super) fn front(&self) -> SocketAddr {
        self.agent.addresses().front
    }

    /// A token, valid for ten minutes.
    pub(super) fn token(&self, user: &str) -> Result<String, Error> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        Ok(mint(&self.tenant_key, TENANT, 1, user, &self.id(), now))
    }
}

fn config(folder: &Path, tenant_key: &[u8; 32]) -> Result<Config, Error> {
    let key = hex::encode(tenant_key);
    let tenants =
        format!("[[tenant]]\nname = \"{TENANT}\"\nversion = 1\nalgorithm = \"HS256\"\nkey = \"{key}\"\n");
    crate::local::write_once(&folder.join("tenants.toml"), || Ok(tenants))?;
    // A case asks more often than a person does.
    let text = "listen = '127.0.0.1:0'\npeer_listen = '127.0.0.1:0'\nhsm = 'unix:hsm.sock'\nstore = 'memory://'\n\
                tenants = 'tenants.toml'\nallow_test_tenants = true\n\
                [limits]\nuser_requests_burst = 10000\nuser_handshakes_burst = 10000\n";
    let config = Config::parse(&folder.join("agent.toml"), text)?;
    Ok(Config { timing: Timing::patient(PATIENCE), ..config })
}
