//! Hosts, each with its HSM and its agent as processes, and a [`Link`] on every connection between them.

use super::daemon::Daemon;
use super::link::{Link, Mode};
use super::programs::Programs;
use super::store::{Kind, Store};
use crate::Error;
use crate::ceremony;
use crate::local::{TENANT, random, write_once};
use ed25519_dalek::SigningKey;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_agent::admin::{AgentReport, Client as Admin};
use strongroom_agent::cli::Line;
use strongroom_proto::ids::{GroupId, HsmId, RealmId};
use tokio::process::Command;
use tokio::time::timeout;

/// How many hosts a realm of one group has.
pub const HOSTS: usize = 3;

/// One host.
pub struct Host {
    /// The daemon `strongroom-hsm`.
    pub hsm: Daemon,
    /// The daemon `strongroom-agent`.
    pub agent: Daemon,
    /// The link from the agent to its HSM, unless there is none between them.
    pub hsm_link: Option<Link>,
    /// The links from this agent to those of the other hosts, by number; none to itself.
    pub peer_links: Vec<Option<Link>>,
    /// Whether it is lost with its disk: nothing of it is started any more.
    lost: bool,
    front: SocketAddr,
    metrics: SocketAddr,
    config: PathBuf,
}

/// What is between the processes of a realm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wires {
    /// A link on every connection, which can be broken.
    Links,
    /// Nothing, so that what is measured is not the links.
    Direct,
}

/// A realm of running hosts, ready for clients.
pub struct Realm {
    dir: PathBuf,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// Their HSMs.
    pub hsms: Vec<HsmId>,
    /// The groups, in the order in which they were made.
    pub groups: Vec<GroupId>,
    /// Their store.
    pub store: Store,
    id: RealmId,
    configuration: String,
    tenant_key: Vec<u8>,
}

impl Realm {
    /// Starts the processes in `dir`, which is empty, and makes them a realm with a group of the first three; if there are
    /// more hosts, with a second group of the last three.
    ///
    /// `dir` has a short path: Unix sockets are made in it.
    ///
    /// # Errors
    /// A process does not start, or an HSM refuses.
    pub async fn start(dir: &Path, programs: &Programs, kind: Kind, hosts: usize) -> Result<Self, Error> {
        let store = Store::start(kind, dir, address(), hosts).await?;
        Self::start_with(dir, programs, store, Wires::Links, hosts).await
    }

    /// The same with three hosts, on this store.
    ///
    /// # Errors
    /// A process does not start, or an HSM refuses.
    pub async fn start_on(
        dir: &Path,
        programs: &Programs,
        store: Store,
        wires: Wires,
    ) -> Result<Self, Error> {
        Self::start_with(dir, programs, store, wires, HOSTS).await
    }

    /// The same with so many hosts: more than three have two groups, as in [`Realm::start`].
    ///
    /// # Errors
    /// A process does not start, or an HSM refuses.
    pub async fn start_with(
        dir: &Path,
        programs: &Programs,
        store: Store,
        wires: Wires,
        count: usize,
    ) -> Result<Self, Error> {
        let tenant_key = random()?;
        let key = hex::encode(tenant_key);
        write_once(&dir.join("tenants.toml"), || {
            Ok(format!(
                "[[tenant]]\nname = \"{TENANT}\"\nversion = 1\nalgorithm = \"HS256\"\nkey = \"{key}\"\n"
            ))
        })?;
        let mut hosts = Vec::new();
        for i in 0..count {
            hosts.push(Host::new(dir, programs, &store, wires, (i, count)).await?);
        }
        for host in &mut hosts {
            host.hsm.start()?;
            host.agent.start()?;
        }
        let sockets: Vec<PathBuf> = (0..count).map(|i| admin_socket(dir, i)).collect();
        let sockets: Vec<&Path> = sockets.iter().map(PathBuf::as_path).collect();
        for socket in &sockets {
            ceremony::device(socket).await?;
        }
        let custodian = SigningKey::from_bytes(&random()?);
        let founding = ceremony::make_realm(sockets[0], &custodian).await?;
        for importer in &sockets[1..] {
            ceremony::enrol(sockets[0], importer, &custodian).await?;
        }
        let mut groups = vec![ceremony::make_group(&sockets[..HOSTS]).await?];
        if count > HOSTS {
            groups.push(ceremony::make_group(&sockets[count - HOSTS..]).await?);
        }
        let mut hsms = Vec::new();
        for socket in &sockets {
            hsms.push(ceremony::device(socket).await?.hsm);
        }
        let device = ceremony::device(sockets[0]).await?;
        // The address is never used: a balancer is between clients and hosts.
        let configuration =
            ceremony::configuration(&device, "http://127.0.0.1/", Some(founding.to_line()), "FastInsecure")?;
        let (id, configuration) = (founding.founding.realm, configuration.to_string());
        let (dir, tenant_key) = (dir.to_owned(), tenant_key.to_vec());
        let realm = Self { dir, hosts, hsms, groups, store, id, configuration, tenant_key };
        let failing = "no member became the leader";
        ceremony::within(Duration::from_secs(60), failing, async || Ok(realm.leader().await)).await?;
        Ok(realm)
    }

    /// Where the realm is kept.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> RealmId {
        self.id
    }

    /// The clients' configuration. Its address leads nowhere: see [`super::Doors`].
    #[must_use]
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// Where the hosts' agents listen for clients.
    #[must_use]
    pub fn fronts(&self) -> Vec<SocketAddr> {
        self.hosts.iter().map(|host| host.front).collect()
    }

    /// Where the hosts' agents answer `GET /metrics`.
    #[must_use]
    pub fn metrics(&self) -> Vec<SocketAddr> {
        self.hosts.iter().map(|host| host.metrics).collect()
    }

    /// The secret that the tenant signs its users' tokens with.
    #[must_use]
    pub fn tenant_key(&self) -> &[u8] {
        &self.tenant_key
    }

    /// What a host's agent says about itself, if it answers within two seconds.
    pub async fn report(&self, host: usize) -> Option<AgentReport> {
        let socket = admin_socket(&self.dir, host);
        let ask = async { Admin::connect(&socket).await.ok()?.status().await.ok() };
        timeout(Duration::from_secs(2), ask).await.ok()?
    }

    /// The host whose HSM leads and serves now, if there is one.
    pub async fn leader(&self) -> Option<usize> {
        for host in 0..self.hosts.len() {
            let report = self.report(host).await;
            if report.is_some_and(|report| report.groups.iter().any(|group| group.serving)) {
                return Some(host);
            }
        }
        None
    }

    /// The agents' sockets for operators.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        (0..self.hosts.len()).map(|i| admin_socket(&self.dir, i)).collect()
    }

    /// Loses a host with its disk.
    ///
    /// # Errors
    /// The disk cannot be wiped.
    pub fn lose(&mut self, host: usize) -> Result<(), Error> {
        let lost = &mut self.hosts[host];
        lost.agent.kill();
        lost.hsm.kill();
        lost.lost = true;
        Ok(std::fs::remove_file(self.nvram(host))?)
    }

    /// Where a host's HSM keeps what it must not forget.
    #[must_use]
    pub fn nvram(&self, host: usize) -> PathBuf {
        self.dir.join(format!("hsm-{}.nvram", host + 1))
    }

    /// All daemons, including the store's server.
    pub fn daemons(&mut self) -> impl Iterator<Item = &mut Daemon> {
        let hosts = self.hosts.iter_mut().flat_map(|host| [&mut host.hsm, &mut host.agent]);
        hosts.chain(self.store.server.as_mut())
    }

    /// What `strongroom-agent check` says about the store.
    ///
    /// # Errors
    /// Not all is well: with everything that it printed.
    pub async fn check(&self, programs: &Programs) -> Result<String, Error> {
        let mut check = Command::new(&programs.agent);
        check.arg("--config").arg(&self.hosts[0].config).arg("check").env_remove("RUST_LOG");
        let output = check.output().await?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("`strongroom-agent check`:\n{said}").into())
        }
    }
}

impl Host {
    async fn new(
        dir: &Path,
        programs: &Programs,
        store: &Store,
        wires: Wires,
        (i, count): (usize, usize),
    ) -> Result<Self, Error> {
        let (ip, name) = (address(), i + 1);
        let [nvram, own, link] =
            [format!("hsm-{name}.nvram"), format!("hsm-{name}.sock"), format!("hsm-{name}.link")]
                .map(|file| dir.join(file));
        let (hsm_link, socket) = match wires {
            Wires::Links => (Some(Link::unix(&link, own.clone())?), link),
            Wires::Direct => (None, own.clone()),
        };
        let arguments =
            ["--nvram", &nvram.display().to_string(), "--listen", &format!("unix:{}", own.display())]
                .map(str::to_owned);
        let hsm = Daemon::new(dir, format!("hsm-{name}"), &programs.hsm, arguments.into());
        let (mut peer_links, mut peers) = (Vec::new(), Vec::new());
        for other in 0..count {
            let to = peer(ip, other);
            let (link, address) = match wires {
                _ if other == i => (None, None),
                Wires::Links => Link::tcp(ip, to).await.map(|(link, at)| (Some(link), Some(at)))?,
                Wires::Direct => (None, Some(to)),
            };
            peers.extend(address.map(|address| format!("'https://{address}'")));
            peer_links.push(link);
        }
        let (front, metrics) = (front(ip, i), metrics(ip, i));
        let (top, tables) = store.config(i);
        let mut text = format!(
            "listen = '{front}'\nmetrics_listen = '{metrics}'\npeer_listen = '{}'\npeers = [{}]\nhsm = 'unix:{}'\ntenants = 'tenants.toml'\n\
             allow_test_tenants = true\ndiscover = false\n{top}{tables}[limits]\nmax_connections_per_address = 0\n",
            peer(ip, i),
            peers.join(", "),
            socket.display(),
        );
        // Storms of guesses must reach the HSMs, from users who all have one address; so no connection gives way either.
        for limit in ["requests", "handshakes", "user_requests", "user_handshakes"] {
            write!(text, "{limit}_per_second = 100000\n{limit}_burst = 100000\n")?;
        }
        let config = dir.join(format!("agent-{name}.toml"));
        std::fs::write(&config, text)?;
        let arguments = vec!["--config".into(), config.display().to_string()];
        let agent = Daemon::new(dir, format!("agent-{name}"), &programs.agent, arguments);
        Ok(Self { hsm, agent, hsm_link, peer_links, lost: false, front, metrics, config })
    }

    /// The agent's configuration.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Whether it is lost.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Sets the link from the agent to its HSM.
    pub fn hsm(&self, mode: Mode) {
        self.hsm_link.iter().for_each(|link| link.set(mode));
    }

    /// Sets all links over which this agent connects to the others.
    pub fn peers(&self, mode: Mode) {
        for link in self.peer_links.iter().flatten() {
            link.set(mode);
        }
    }
}

fn admin_socket(dir: &Path, i: usize) -> PathBuf {
    dir.join(format!("agent-{}.sock", i + 1))
}

/// An address of this machine that no other run uses, so that no free ports need to be found.
pub(crate) fn address() -> Ipv4Addr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (a & 63), b, c)
}

fn front(ip: Ipv4Addr, i: usize) -> SocketAddr {
    (ip, 8700 + 10 * i as u16).into()
}

fn peer(ip: Ipv4Addr, i: usize) -> SocketAddr {
    (ip, 8701 + 10 * i as u16).into()
}

fn metrics(ip: Ipv4Addr, i: usize) -> SocketAddr {
    (ip, 8702 + 10 * i as u16).into()
}
