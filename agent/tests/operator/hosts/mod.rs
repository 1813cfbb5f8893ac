//! Machines with an HSM in this process, and an agent and its commands as processes.

use serde_json::Value;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use strongroom_hsm_software::{Address, Console, Options, Server, start};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_strongroom-agent");
/// How long anything may take, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A machine: an HSM, an agent's configuration, and its daemon unless that was killed.
pub(crate) struct Host {
    pub(crate) config: PathBuf,
    pub(crate) daemon: Option<Child>,
    /// What the HSM has shown at the device.
    pub(crate) console: Arc<Mutex<Vec<String>>>,
    pub(crate) hsm: Option<Server>,
    pub(crate) nvram: PathBuf,
    pub(crate) socket: PathBuf,
}

/// What a command printed: for scripts, and for people.
pub(crate) struct Printed {
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Printed {
    /// The line that the next command takes, after seeing that the hint names that command.
    pub(crate) fn then(self, next: &str) -> String {
        let hint = self.err.lines().find(|line| line.contains("strongroom-agent ")).unwrap_or_default();
        assert!(hint.contains(&format!("strongroom-agent {next}")), "no hint at `{next}`:\n{}", self.err);
        let line = self.out.strip_suffix('\n').expect("a line");
        assert!(!line.is_empty() && !line.contains('\n'), "one line and no more: {}", self.out);
        line.to_owned()
    }
}

impl Host {
    /// The folder in which the hosts' folders are.
    pub(crate) fn folder(&self) -> &Path {
        self.config.parent().and_then(Path::parent).expect("two folders")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Printed, String> {
        self.run_typing(arguments, "")
    }

    /// What it prints, however it ends.
    pub(crate) fn run_anyway(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(&self.config).args(arguments).env_remove("RUST_LOG");
        let output = command.current_dir(self.folder()).stdin(Stdio::null()).output();
        String::from_utf8(output.expect("the program is built").stdout).expect("text")
    }

    pub(crate) fn run_typing(&self, arguments: &[&str], typed: &str) -> Result<Printed, String> {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(&self.config).args(arguments).env_remove("RUST_LOG");
        // Where all hosts of a test are: they have one transcript.
        command.current_dir(self.folder());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is built");
        // A command that asks for nothing may have ended already.
        let _ = child.stdin.take().expect("piped").write_all(typed.as_bytes());
        let output = child.wait_with_output().expect("it runs");
        // Its exit code is about the realm, which may not be whole yet.
        let shown = arguments.starts_with(&["realm", "status"]) && !output.stdout.is_empty();
        let (out, err) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
        let printed = Printed { out: out.expect("text"), err: err.expect("text") };
        if output.status.success() || shown { Ok(printed) } else { Err(printed.err) }
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Printed {
        self.run(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ask(arguments).out).expect("JSON")
    }

    /// Asks until the answer is the wanted one.
    pub(crate) fn until(&self, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = match self.run(arguments) {
                Ok(printed) => {
                    let json = serde_json::from_str(&printed.out).expect("JSON");
                    if wanted(&json) {
                        return json;
                    }
                    format!("{json:#}")
                }
                Err(error) => error,
            };
            let waited = PATIENCE.as_secs();
            assert!(Instant::now() < deadline, "waited {waited} s for nothing: {arguments:?} said {last}");
        }
    }

    pub(crate) fn start_daemon(&mut self) {
        self.spawn_daemon();
        self.until(&["hsm", "status", "--json"], |_| true);
    }

    /// Starts it without waiting: its HSM may be down.
    pub(crate) fn spawn_daemon(&mut self) {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(&self.config).env("RUST_LOG", "off").stdin(Stdio::null());
        self.daemon = Some(command.spawn().expect("the program is built"));
    }

    pub(crate) fn start_hsm(&mut self) {
        let shown = Arc::clone(&self.console);
        let hsm = start(Options {
            nvram: self.nvram.clone(),
            listen: Address::Unix(self.socket.clone()),
            config: Default::default(),
            console: Console::new(move |line| shown.lock().expect("no panic").push(line.to_owned())),
        });
        self.hsm = Some(hsm.expect("the HSM starts"));
    }

    /// Asks until it fails with these words.
    pub(crate) fn until_refused(&self, arguments: &[&str], words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = self.run(arguments).err().unwrap_or_default();
            if words.iter().all(|word| error.contains(word)) {
                return error;
            }
            assert!(Instant::now() < deadline, "not in time: {words:?} in {error:?}");
        }
    }

    pub(crate) fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        daemon.kill().expect("it runs");
        daemon.wait().expect("it was killed");
    }

    /// The words that the device's console shows for these names, as a custodian in front of it types them.
    pub(crate) fn read_console(&self, names: &[&str]) -> String {
        let lines = self.console.lock().expect("no panic");
        let words = |name: &&str| {
            let line = lines.iter().rev().find_map(|line| line.strip_prefix(name)).expect("it is shown");
            format!("{}\n", line.trim())
        };
        names.iter().map(words).collect()
    }

    pub(crate) fn hsm(&self) -> String {
        self.json(&["hsm", "status", "--json"])["hsm"].as_str().expect("an id").to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It may have ended by itself; then an assertion has reported that.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// An address of this machine that no other test process uses.
pub(crate) fn address() -> Ipv4Addr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (a & 63), b, c)
}

/// Hosts on ports from `port` on, which no other test of this file uses.
pub(crate) fn hosts(folder: &Path, port: usize, count: usize) -> Vec<Host> {
    std::fs::create_dir(folder.join("store")).expect("writable");
    std::fs::write(folder.join("tenants.toml"), "").expect("writable");
    let (ip, store) = (address(), folder.join("store"));
    let host = |i: usize| {
        let own = folder.join(format!("host{}", i + 1));
        std::fs::create_dir(&own).expect("writable");
        let socket = own.join("hsm.sock");
        let peers = (0..count)
            .filter(|other| *other != i)
            .map(|other| format!("'https://{ip}:{}'", port + 2 * other + 1));
        let text = format!(
            "listen = '{ip}:{}'\npeer_listen = '{ip}:{}'\npeers = [{}]\nhsm = 'unix:{}'\nstore = 'file://{}'\n\
             tenants = '../tenants.toml'\n[storage]\nsnapshot_after_ms = 50\n",
            port + 2 * i,
            port + 2 * i + 1,
            peers.collect::<Vec<_>>().join(", "),
            socket.display(),
            store.display()
        );
        let config = own.join("agent.toml");
        std::fs::write(&config, text).expect("writable");
        let (nvram, console) = (own.join("hsm.nvram"), Arc::default());
        let mut host = Host { config, daemon: None, console, hsm: None, nvram, socket };
        host.start_hsm();
        host.start_daemon();
        host
    };
    (0..count).map(host).collect()
}

pub(crate) fn custodian(host: &Host, folder: &Path, name: &str) -> (String, String) {
    let key = folder.join(name).to_str().expect("text").to_owned();
    let public = host.ask(&["realm", "custodian", "--out", &key]).then("realm create");
    (key, public)
}

pub(crate) const DEVICE: [&str; 3] = ["HSM id", "device key", "build"];
pub(crate) const REALM: [&str; 7] =
    ["keys", "HSM id", "build", "realm", "public key", "policy", "checkpoint key"];

/// Makes the realm, and has these custodians sign its founding. Returns the signed founding.
pub(crate) fn found(host: &Host, custodians: &[(&str, &str)]) -> String {
    let mut create = vec!["realm", "create", "--smallest-group", "2"];
    custodians.iter().for_each(|(_, public)| create.extend(["--custodian", public]));
    let founding = host.ask(&create).then("realm sign");
    let words = host.read_console(&REALM);
    let sign = |key: &str, typed: &str| host.run_typing(&["realm", "sign", "--key", key, &founding], typed);
    let not_drawn = sign(custodians[0].0, &words.replace("drawn here", "drawn there"));
    assert!(not_drawn.err().expect("keys from elsewhere").contains("do not sign"));
    let other_words = sign(
        custodians[0].0,
        &host.read_console(&[REALM[0], "build", "build", "realm", "public key", "policy"]),
    );
    assert!(other_words.err().expect("other words").contains("do not sign"));
    let signatures: Vec<String> = custodians
        .iter()
        .map(|(key, _)| sign(key, &words).unwrap_or_else(|error| panic!("{error}")).then("realm found"))
        .collect();
    let too_few = host.run(&["realm", "found", &founding, &signatures[0]]).err().expect("a refusal");
    assert!(too_few.contains("too few"), "{too_few}");
    let mut found = vec!["realm", "found", &founding];
    found.extend(signatures.iter().map(String::as_str));
    host.ask(&found).then("hsm request")
}

/// The five steps.
pub(crate) fn enrol(exporter: &Host, importer: &Host, founding: &str, keys: &[&str]) {
    let request = importer.ask(&["hsm", "request"]).then("hsm offer");
    let approval = exporter.ask(&["hsm", "offer", &request]).then("hsm approve");
    let approve = |key: &str, typed: &str| {
        exporter.run_typing(&["hsm", "approve", "--key", key, "--founding", founding, &approval], typed)
    };
    // A custodian who looks at a different device from the one that asks.
    let other = approve(keys[0], &exporter.read_console(&DEVICE)).err().expect("other words");
    assert!(other.contains("do not sign"), "{other}");
    let words = importer.read_console(&DEVICE);
    let sign = |key: &&str| approve(key, &words).unwrap_or_else(|error| panic!("{error}")).then("hsm export");
    let signatures: Vec<String> = keys.iter().map(sign).collect();
    let too_few = exporter.run(&["hsm", "export", &approval, &signatures[0]]).err().expect("a refusal");
    assert!(too_few.contains("too few custodians"), "{too_few}");
    let mut export = vec!["hsm", "export", &approval];
    export.extend(signatures.iter().map(String::as_str));
    let sealed = exporter.ask(&export).then("hsm enrol");
    let enrolled = importer.ask(&["hsm", "enrol", &sealed]).then("group create");
    assert_eq!(enrolled, importer.hsm());
    let again = exporter.run(&export).err().expect("a refusal");
    assert!(again.contains("refused"), "an approval is good for one export: {again}");
}

/// The members of the only group, if they all answer and have captured the same entry, and who leads.
pub(crate) fn settled(status: &Value) -> Option<(&Vec<Value>, &str)> {
    let group = &status["groups"][0];
    let (members, leader) = (group["members"].as_array()?, group["leader"].as_str()?);
    let captured = members[0]["captured"].as_u64()?;
    let same = members.iter().all(|m| m["captured"] == captured && m["fault"].is_null());
    let roles = members.iter().all(|m| m["role"] == if m["hsm"] == leader { "leader" } else { "witness" });
    (same && roles && captured > 0).then_some((members, leader))
}

/// A realm of three hosts whose group serves, set up the shortest way.
pub(crate) fn whole(folder: &Path, port: usize) -> (Vec<Host>, Vec<String>) {
    let hosts = hosts(folder, port, 3);
    let (first, public) = custodian(&hosts[0], folder, "first.key");
    let (second, other) = custodian(&hosts[0], folder, "second.key");
    let founding = found(&hosts[0], &[(&first, &public), (&second, &other)]);
    hosts[1..].iter().for_each(|importer| enrol(&hosts[0], importer, &founding, &[&first, &second]));
    let ids: Vec<String> = hosts.iter().map(Host::hsm).collect();
    let create = ["group", "create", "--yes", "--members", &ids.join(",")];
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = hosts[0].run(&create) {
        assert!(Instant::now() < deadline, "the agents did not find each other: {error}");
    }
    (hosts, ids)
}
