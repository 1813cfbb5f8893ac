//! A realm on this machine: three software HSMs, their agents, and a store in a folder, all in this process.
//!
//! The folder holds everything that survives: the NVRAM of each HSM, the store, and the keys of the tenant (for tokens, and for its events) and
//! the custodian. The sockets of HSMs and agents are in a folder of their own that goes away.

mod pace;
mod place;
mod tenant;

pub use pace::{Pace, Setting};
pub use place::MEMBERS;
pub use tenant::Tenant;

use crate::Error;
use crate::board::{Board, Boot, Heard, TimedLink, Times};
use crate::ceremony::{self, within};
use ed25519_dalek::SigningKey;
use place::{FOUNDING, check_whole, folder_for_sockets, reachable};
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use strongroom_agent::admin;
use strongroom_agent::cli::Line;
use strongroom_agent::config::{Config, FrontUrl, HsmAddress, PeerUrl};
use strongroom_agent::daemon::{Agent, AgentHandle, Ended, Sockets, Time};
use strongroom_agent::store::{Store, StoreError};
use strongroom_agent::token::{MAX_TOKEN_LEN, Purpose, mint_for};
use strongroom_client::{Client, ClientBuilder, Configuration, FixedTokens};
use strongroom_hsm_software::{Address, Options, Server};
use strongroom_proto::hsm::DeviceStatus;
use strongroom_proto::ids::{GroupId, RealmId};
use strongroom_replica::{Millis, Role, Status, Storage};
use tempfile::TempDir;
use url::Url;

/// Entropy of an emulated board: more than any demo draws.
const BOARD_ENTROPY_BYTES: usize = 1 << 20;
/// Over how many checks for a new leader the silence is spread.
const LOOKS: u32 = 10;
/// The tenant of a local realm. Names that begin with `test-` are for tests, and let in if the configuration says so.
pub const TENANT: &str = "test-local";

/// A running local realm.
pub struct LocalRealm {
    dir: PathBuf,
    sockets: TempDir,
    setting: Setting,
    members: Vec<Member>,
    times: Times,
    /// What went over the links of the boards.
    heard: Vec<Heard>,
    /// How far the agents' steady clocks are ahead of the machine's, in milliseconds.
    ahead_ms: Arc<AtomicU64>,
}

/// One HSM with its agent; either may be down.
struct Member {
    hsm: Option<Hsm>,
    agent: Option<AgentHandle>,
    front: SocketAddr,
    peer: SocketAddr,
}

/// One running HSM.
enum Hsm {
    Software(Server),
    Board(Board),
}

impl Hsm {
    fn stop(self) {
        match self {
            Self::Software(server) => server.stop(),
            Self::Board(board) => drop(board),
        }
    }
}

impl LocalRealm {
    /// Starts HSMs and agents on what `dir` holds, or new ones if it is empty. The first agent's front door listens
    /// on `listen`, everything else on free ports of this machine.
    ///
    /// # Errors
    /// The folder is in use or damaged, or the address is taken.
    pub fn start(dir: &Path, listen: SocketAddr) -> Result<Self, Error> {
        Self::start_with(dir, listen, Setting::default())
    }

    /// The same, but each agent uses the store that `open` gives it.
    ///
    /// # Errors
    /// As [`Self::start`], and those of `open`.
    pub fn start_on(
        dir: &Path,
        listen: SocketAddr,
        open: impl Fn(&Config) -> Result<Store, StoreError> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::start_with(dir, listen, Setting { open: Box::new(open), ..Setting::default() })
    }

    /// The same as [`Self::start`], but the first `boards` HSMs are emulated boards that run the firmware.
    ///
    /// # Errors
    /// As [`Self::start`], and those of [`Board::boot`].
    pub fn start_on_boards(dir: &Path, listen: SocketAddr, boards: usize) -> Result<Self, Error> {
        Self::start_with(dir, listen, Setting { boards, ..Setting::default() })
    }

    /// The same as [`Self::start`], with snapshots as `storage` says.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_storing(dir: &Path, listen: SocketAddr, storage: Storage) -> Result<Self, Error> {
        Self::start_with(dir, listen, Setting { storage, ..Setting::default() })
    }

    /// The same as [`Self::start`], made of what `setting` says.
    ///
    /// # Errors
    /// As [`Self::start`], those of [`Board::boot`], and those of [`Setting::open`].
    pub fn start_with(dir: &Path, listen: SocketAddr, setting: Setting) -> Result<Self, Error> {
        fs::create_dir_all(dir.join("store")).map_err(|error| format!("{}: {error}", dir.display()))?;
        let dir = dir.canonicalize()?;
        check_whole(&dir, setting.boards)?;
        write_once(&dir.join("tenants.toml"), || {
            let key = hex::encode(random()?);
            Ok(format!(
                "[[tenant]]\nname = \"{TENANT}\"\nversion = 1\nalgorithm = \"HS256\"\nkey = \"{key}\"\n"
            ))
        })?;
        write_once(&dir.join("custodian.key"), || Ok(hex::encode(random()?)))?;
        let sockets = folder_for_sockets(&std::env::temp_dir())?;
        let (members, times, ahead_ms) = (Vec::new(), Times::default(), Arc::default());
        let mut realm = Self { dir, sockets, setting, members, times, heard: Vec::new(), ahead_ms };
        for i in 0..MEMBERS + realm.setting.spares {
            if i < realm.setting.boards {
                // Known to this process, so that it can work out what the board must answer.
                let mut entropy = vec![0; BOARD_ENTROPY_BYTES];
                getrandom::fill(&mut entropy).map_err(|error| error.to_string())?;
                fs::write(realm.entropy(i), &entropy)?;
                realm.heard.push(Heard::from_boot(entropy.into()));
            }
            let hsm = Some(realm.start_hsm(i)?);
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            realm.members.push(Member { hsm, agent: None, front: any, peer: any });
        }
        let mut bound = Vec::new();
        for i in 0..MEMBERS + realm.setting.spares {
            let mut config = realm.config(i)?;
            if i == 0 {
                config.listen = listen;
            }
            let sockets = Sockets::bind(&config)?;
            (realm.members[i].front, realm.members[i].peer) =
                (sockets.addresses().front, sockets.addresses().peer);
            bound.push(sockets);
        }
        for (i, sockets) in bound.into_iter().enumerate() {
            realm.start_agent(i, sockets)?;
        }
        Ok(realm)
    }

    fn start_hsm(&self, i: usize) -> Result<Hsm, Error> {
        if i < self.setting.boards {
            let folder = self.dir.join(format!("hsm-{}.board", i + 1));
            let how = Boot { entropy: Some(self.entropy(i)), ..Boot::default() };
            return Ok(Hsm::Board(Board::boot(&folder, &self.socket(i), &how)?));
        }
        Ok(Hsm::Software(strongroom_hsm_software::start(Options {
            nvram: self.dir.join(format!("hsm-{}.nvram", i + 1)),
            listen: Address::Unix(self.socket(i)),
            config: strongroom_hsm::Config::software(),
            console: strongroom_hsm_software::Console::dark(),
        })?))
    }

    /// How long the messages to the HSMs took.
    #[must_use]
    pub const fn times(&self) -> &Times {
        &self.times
    }

    fn start_agent(&mut self, i: usize, sockets: Sockets) -> Result<(), Error> {
        let config = self.config(i)?;
        let store = (self.setting.open)(&config)?;
        let hsm = HsmAddress::Unix(self.socket(i));
        let link = self.setting.pace.link(hsm);
        let link = Arc::new(TimedLink { link, times: self.times.clone(), heard: self.heard.get(i).cloned() });
        self.members[i].agent = Some(Agent::start_at(sockets, config, link, store, self.time())?);
        Ok(())
    }

    /// How many replies of the boards the software HSM repeats byte for byte.
    ///
    /// # Errors
    /// It gives a different one.
    pub fn compare_boards(&self) -> Result<usize, Error> {
        self.heard.iter().map(Heard::compare).sum()
    }

    fn time(&self) -> Time {
        let (ahead_ms, system) = (Arc::clone(&self.ahead_ms), Time::system());
        let steady = move || Millis((system.steady)().0 + ahead_ms.load(Ordering::Relaxed));
        Time { unix: system.unix, steady: Arc::new(steady) }
    }

    fn entropy(&self, i: usize) -> PathBuf {
        self.sockets.path().join(format!("hsm-{}.entropy", i + 1))
    }

    fn socket(&self, i: usize) -> PathBuf {
        self.sockets.path().join(format!("hsm-{}.sock", i + 1))
    }

    fn admin_socket(&self, i: usize) -> PathBuf {
        self.sockets.path().join(format!("agent-{}.sock", i + 1))
    }

    fn config(&self, i: usize) -> Result<Config, Error> {
        let store = Url::from_directory_path(self.dir.join("store")).map_err(|()| "the folder has no URL")?;
        let text = format!(
            "listen = \"127.0.0.1:0\"\npeer_listen = \"127.0.0.1:0\"\nhsm = \"unix:{}\"\nstore = \"{store}\"\n\
             tenants = \"tenants.toml\"\nallow_test_tenants = true\n",
            self.socket(i).display()
        );
        let mut config = Config::parse(&self.dir.join("agent.toml"), &text)?;
        config.storage = self.setting.storage;
        config.rebalance = self.setting.rebalance;
        config.witnesses.clone_from(&self.setting.witnesses);
        if let Some(period) = self.setting.checkpoints {
            config.checkpoint_period_s = period.get();
        }
        config.events_keep_days = self.setting.events.map_or(0, NonZeroU16::get);
        config.traces.clone_from(&self.setting.traces);
        config.metrics_listen = self.setting.pages.then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        config.admin_socket = self.admin_socket(i);
        let others = || self.members.iter().enumerate().filter(|(other, _)| *other != i);
        let urls = others().map(|(_, member)| Url::parse(&format!("https://{}", member.peer)).map(PeerUrl));
        if self.setting.peers {
            config.peers = urls.collect::<Result<_, _>>()?;
        }
        if self.setting.fronts {
            let doors = others().map(|(_, member)| format!("http://{}/", reachable(member.front)));
            config.fronts = doors.map(FrontUrl::try_from).collect::<Result<_, _>>()?;
        }
        Ok(self.setting.pace.agent(config))
    }

    /// A member's agent, as an operator reaches it.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn admin(&self, i: usize) -> Result<admin::Client, Error> {
        ceremony::admin(&self.admin_socket(i)).await
    }

    /// What an HSM says about itself.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn device(&self, i: usize) -> Result<DeviceStatus, Error> {
        ceremony::device(&self.admin_socket(i)).await
    }

    /// The realm, if it was made before.
    ///
    /// # Errors
    /// The first HSM cannot be reached.
    pub async fn realm_id(&self) -> Result<Option<RealmId>, Error> {
        Ok(self.device(0).await?.realm.map(|realm| realm.realm))
    }

    /// Makes the realm in the first HSM, under the custodian whose key is in the folder.
    ///
    /// # Errors
    /// The HSM has a realm already.
    pub async fn make_realm(&self) -> Result<RealmId, Error> {
        let signed = ceremony::make_realm(&self.admin_socket(0), &self.custodian()?).await?;
        write_once(&self.dir.join(FOUNDING), || Ok(signed.to_line()))?;
        Ok(signed.founding.realm)
    }

    /// The key of the realm's only custodian.
    ///
    /// # Errors
    /// The folder was changed by hand.
    pub fn custodian(&self) -> Result<SigningKey, Error> {
        let text = fs::read_to_string(self.dir.join("custodian.key"))?;
        let mut secret = [0; 32];
        hex::decode_to_slice(text.trim(), &mut secret)?;
        Ok(SigningKey::from_bytes(&secret))
    }

    /// Does what is left to do until the realm exists and all HSMs are in its group. Returns its id.
    ///
    /// # Errors
    /// An HSM refuses.
    pub async fn make_whole(&self) -> Result<RealmId, Error> {
        let realm = match self.realm_id().await? {
            Some(realm) => realm,
            None => self.make_realm().await?,
        };
        for importer in 1..MEMBERS {
            if self.device(importer).await?.realm.is_none() {
                self.enrol(importer).await?;
            }
        }
        self.make_group().await?;
        Ok(realm)
    }

    /// Gives the realm to another HSM, as its custodian allows.
    ///
    /// # Errors
    /// An HSM refuses.
    pub async fn enrol(&self, importer: usize) -> Result<(), Error> {
        ceremony::enrol(&self.admin_socket(0), &self.admin_socket(importer), &self.custodian()?).await
    }

    /// Makes one group of all HSMs.
    ///
    /// # Errors
    /// A member could not join.
    pub async fn make_group(&self) -> Result<(), Error> {
        let sockets: Vec<PathBuf> = (0..MEMBERS).map(|i| self.admin_socket(i)).collect();
        ceremony::make_group(&sockets.iter().map(PathBuf::as_path).collect::<Vec<_>>()).await.map(drop)
    }

    /// The member whose HSM leads, other than `not`, once there is one that serves. In a patient realm, once all
    /// members follow it; the loss of `not` is noticed at once.
    ///
    /// # Errors
    /// There is none for a long time.
    pub async fn leader(&self, not: Option<usize>) -> Result<usize, Error> {
        let mut looks = 0;
        within(self.setting.pace.limit(), "no member became the leader", async || {
            let leader = self.leader_now().filter(|i| Some(*i) != not);
            if self.setting.pace == Pace::Deployed {
                return Ok(leader);
            }
            if not.is_some() && looks < LOOKS && leader.is_none() && !self.is_led_anew() {
                looks += 1;
                let passes = self.setting.pace.silence() / LOOKS;
                let passes = u64::try_from(passes.as_millis()).unwrap_or(u64::MAX);
                self.ahead_ms.fetch_add(passes, Ordering::Relaxed);
            }
            Ok(leader.filter(|_| self.all_follow()))
        })
        .await
    }

    fn statuses(&self) -> impl Iterator<Item = Status> {
        let running = self.members.iter().filter_map(|member| member.agent.as_ref());
        running.flat_map(AgentHandle::groups).map(|(_, status)| status)
    }

    /// Whether a member is about to lead, or does.
    fn is_led_anew(&self) -> bool {
        self.statuses().any(|status| matches!(status.role, Role::Candidate | Role::Leader { .. }))
    }

    /// Whether all members that run know the same leader.
    fn all_follow(&self) -> bool {
        let mut leaders = self.statuses().map(|status| status.leader);
        leaders.next().is_some_and(|first| first.is_some() && leaders.all(|leader| leader == first))
    }

    /// What the replicas of a member's agent are doing.
    #[must_use]
    pub fn groups(&self, i: usize) -> Vec<(GroupId, Status)> {
        self.members[i].agent.as_ref().map(AgentHandle::groups).unwrap_or_default()
    }

    /// Where a browser finds the status page of a member's agent, if there is one.
    #[must_use]
    pub fn page(&self, i: usize) -> Option<String> {
        let metrics = self.members[i].agent.as_ref()?.addresses().metrics?;
        Some(format!("http://{metrics}/status"))
    }

    fn leader_now(&self) -> Option<usize> {
        let leads = |member: &Member| {
            let groups = member.agent.as_ref().map(AgentHandle::groups).unwrap_or_default();
            groups.iter().any(|(_, status)| status.serving)
        };
        self.members.iter().position(leads)
    }

    /// Kills a member's agent and HSM at once, as a power cut would.
    pub async fn kill(&mut self, i: usize) {
        if let Some(agent) = self.members[i].agent.take() {
            agent.kill().await;
        }
        if let Some(hsm) = self.members[i].hsm.take() {
            hsm.stop();
        }
    }

    /// Kills a member's HSM; its agent stays.
    pub fn kill_hsm(&mut self, i: usize) {
        if let Some(hsm) = self.members[i].hsm.take() {
            hsm.stop();
        }
    }

    /// Restarts a killed member with what it had on disk, at its old addresses.
    ///
    /// # Errors
    /// Its address was taken meanwhile.
    pub async fn restart(&mut self, i: usize) -> Result<(), Error> {
        self.restart_hsm(i)?;
        self.restart_agent(i).await
    }

    /// Restarts a member's HSM, with what it had in its memory.
    ///
    /// # Errors
    /// Its memory is in use or damaged.
    pub fn restart_hsm(&mut self, i: usize) -> Result<(), Error> {
        self.members[i].hsm = Some(self.start_hsm(i)?);
        Ok(())
    }

    /// Restarts a member's agent at its old addresses, whether its HSM is running or not.
    ///
    /// # Errors
    /// Its address was taken meanwhile.
    pub async fn restart_agent(&mut self, i: usize) -> Result<(), Error> {
        let mut config = self.config(i)?;
        (config.listen, config.peer_listen) = (self.members[i].front, self.members[i].peer);
        let free = async || Ok(Sockets::bind(&config).ok());
        let sockets = within(self.setting.pace.limit(), "the member's addresses stay taken", free).await?;
        self.start_agent(i, sockets)
    }

    /// Completes when a bug has made an agent useless.
    pub async fn ended(&mut self) -> Ended {
        let agents = self.members.iter_mut().filter_map(|member| member.agent.as_mut());
        let ends: Vec<_> = agents.map(|agent| Box::pin(agent.ended())).collect();
        if ends.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(ends).await.0
    }

    /// Ends all agents, then all HSMs.
    pub async fn shutdown(mut self) {
        for member in &mut self.members {
            if let Some(agent) = member.agent.take() {
                agent.shutdown().await;
            }
        }
        for member in &mut self.members {
            if let Some(hsm) = member.hsm.take() {
                hsm.stop();
            }
        }
    }

    /// What a client needs to know about the realm: its configuration, through one member's front door.
    ///
    /// # Errors
    /// The HSM has no realm.
    pub async fn configuration(&self, i: usize) -> Result<String, Error> {
        // Missing if making the realm was interrupted; then only what the HSM says is known.
        let founding = fs::read_to_string(self.dir.join(FOUNDING)).ok();
        let address = format!("http://{}/", reachable(self.members[i].front));
        let device = self.device(i).await?;
        let configuration = ceremony::configuration(&device, &address, founding, "Standard2019")?;
        Ok(serde_json::to_string_pretty(&configuration)?)
    }

    /// A token for a user, as the tenant's server would issue it; valid for ten minutes.
    ///
    /// # Errors
    /// The tenants file of the folder was changed by hand.
    pub fn token(&self, realm: &RealmId, user: &str) -> Result<String, Error> {
        token(&self.dir, realm, user, Purpose::User)
    }

    /// A client for a user, through one member's front door.
    ///
    /// # Errors
    /// As [`Self::configuration`] and [`Self::token`].
    pub async fn client(&self, i: usize, user: &str) -> Result<Client, Error> {
        Ok(self.builder(&self.configuration(i).await?, user)?.build()?)
    }

    /// Like [`Self::client`], but with fast PIN hashing: for measuring everything else.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub async fn fast_client(&self, i: usize, user: &str) -> Result<Client, Error> {
        let configuration = self.configuration(i).await?;
        Ok(self.builder(&configuration.replace("Standard2019", "FastInsecure"), user)?.build()?)
    }

    /// A client builder with this configuration: for tests that need something other than [`Self::client`].
    ///
    /// # Errors
    /// The configuration is invalid, or no token can be made for the user's name.
    pub fn builder(&self, configuration: &str, user: &str) -> Result<ClientBuilder, Error> {
        let configuration: Configuration = configuration.parse()?;
        let realm = configuration.realms()[0].id();
        let tokens = FixedTokens::from_iter([(realm, self.token(&realm, user)?)]);
        Ok(self.setting.pace.client(Client::builder(configuration, tokens)))
    }

    /// Where the realm is kept.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A token for a user of the realm kept in `dir`; valid for ten minutes.
///
/// # Errors
/// There is no tenants file in the folder, or it was changed by hand.
pub fn token(dir: &Path, realm: &RealmId, user: &str, purpose: Purpose) -> Result<String, Error> {
    let path = dir.join("tenants.toml");
    let text =
        fs::read_to_string(&path).map_err(|e| format!("{}: {e}; is a realm kept there?", path.display()))?;
    let key = text.lines().find_map(|line| line.strip_prefix("key = \"")?.strip_suffix('"'));
    let secret =
        hex::decode(key.ok_or("tenants.toml has no line with the key; delete it to get a new one")?)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let token = mint_for(purpose, &secret, (TENANT, 1), user, realm, now);
    if user.is_empty() {
        return Err(
            "the name of the user is empty, and a realm accepts no such token; give one with --user".into()
        );
    }
    if token.len() > MAX_TOKEN_LEN {
        let length = token.len();
        return Err(format!(
            "the name of the user makes a token of {length} characters, and a realm accepts {MAX_TOKEN_LEN}; give a \
             shorter one with --user"
        )
        .into());
    }
    Ok(token)
}

pub(crate) fn random() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file that only its owner can read, unless it exists.
pub(crate) fn write_once(path: &Path, content: impl FnOnce() -> Result<String, Error>) -> Result<(), Error> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => Ok(file.write_all(content()?.as_bytes())?),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(format!("cannot write {}: {error}", path.display()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_agent::tenants::{TenantKeys, TestTenants};
    use strongroom_agent::token::verify;

    const REALM: RealmId = RealmId([7; 16]);

    fn folder_with_tenants() -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let key = "ab".repeat(32);
        let text =
            format!("[[tenant]]\nname = \"{TENANT}\"\nversion = 1\nalgorithm = \"HS256\"\nkey = \"{key}\"\n");
        fs::write(folder.path().join("tenants.toml"), text).expect("writable");
        folder
    }

    #[test]
    fn no_token_is_made_that_a_realm_would_refuse() {
        let folder = folder_with_tenants();
        let path = folder.path().join("tenants.toml");
        let text = fs::read_to_string(&path).expect("just written");
        let keys = TenantKeys::parse(&path, &text, TestTenants::Allowed).expect("legal");
        for length in [1, 900, 2_800] {
            let name = "u".repeat(length);
            let made = token(folder.path(), &REALM, &name, Purpose::User).expect("short enough");
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs();
            let verified = verify(&keys, &made, &REALM, now);
            assert_eq!(verified.map(|token| token.user).ok().as_ref(), Some(&name));
        }
        let refused =
            |name: &str| token(folder.path(), &REALM, name, Purpose::User).expect_err("refused").to_string();
        assert!(refused("").contains("--user"));
        assert!(refused(&"u".repeat(4_000)).contains("4096"));
    }
}
