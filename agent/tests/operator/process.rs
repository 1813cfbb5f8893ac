//! The agent as a process: signals, machines without certificate authorities, and what prevents a start.

use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_strongroom-agent");
/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine without certificate authorities.
const NO_AUTHORITIES: [(&str, &str); 2] = [("SSL_CERT_FILE", "/nowhere/file"), ("SSL_CERT_DIR", "/nowhere")];

/// An agent that runs, what it says, and where clients reach it.
struct Agent {
    process: Child,
    lines: Receiver<String>,
    front: String,
}

impl Agent {
    fn start(program: &mut Command, folder: &Path) -> Self {
        program.arg("--config").arg(folder.join("agent.toml")).env("RUST_LOG", "info");
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = program.spawn().expect("the program is built");
        let (say, lines) = channel();
        let log = BufReader::new(process.stderr.take().expect("piped")).lines();
        std::thread::spawn(move || log.map_while(Result::ok).for_each(|line| drop(say.send(line))));
        let mut agent = Self { process, lines, front: String::new() };
        let said = agent.until("the agent listens");
        let front = said.split_whitespace().find_map(|word| word.strip_prefix("front="));
        agent.front = front.expect("it says where").to_owned();
        agent
    }

    /// Waits until it says this, and returns the line.
    fn until(&self, wanted: &str) -> String {
        let (deadline, mut said) = (Instant::now() + PATIENCE, Vec::new());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(wanted) => return line,
                Ok(line) => said.push(line),
                Err(_) => panic!("it did not say {wanted:?}, but\n{}", said.join("\n")),
            }
        }
    }

    fn ends(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().expect("it was started here") {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself; then an assertion has reported that.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(process.try_into().expect("small")).expect("not 0");
    kill_process(pid, signal).expect("it runs");
}

/// A folder with the configuration of an agent whose HSM is missing, with `more` lines added.
fn configured(more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("store")).expect("writable");
    fs::write(at("tenants.toml"), "").expect("writable");
    let mut text = "listen = '127.0.0.1:0'\npeer_listen = '127.0.0.1:0'\nhsm = 'unix:hsm.sock'\ntenants = 'tenants.toml'\n"
        .to_owned();
    if !more.contains("store =") {
        text += &format!("store = 'file://{}'\n", at("store").display());
    }
    fs::write(at("agent.toml"), text + more).expect("writable");
    folder
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().expect("text")).collect();
    names.sort_unstable();
    names
}

fn ask(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(folder.join("agent.toml")).args(arguments).env_remove("RUST_LOG");
    command.envs(NO_AUTHORITIES).stdin(Stdio::null()).output().expect("the program is built")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_ends_cleanly_when_it_is_told_to_and_reads_its_files_again_after_a_hang_up() {
    for end in [Signal::TERM, Signal::INT] {
        let folder = configured("");
        let before = files(folder.path());
        let mut agent = Agent::start(&mut Command::new(PROGRAM), folder.path());
        assert!(folder.path().join("agent.sock").exists());
        signal(agent.process.id(), Signal::HUP);
        agent.until("asked to read the tenants file and the certificate again");
        fs::write(folder.path().join("tenants.toml"), "tenant = 3").expect("writable");
        signal(agent.process.id(), Signal::HUP);
        agent.until("a changed file is unusable");
        signal(agent.process.id(), end);
        assert!(agent.ends().success());
        assert_eq!(files(folder.path()), before, "the socket and its folder are removed");
    }
}

/// A request whose body is still to come.
fn half_sent(agent: &Agent) -> TcpStream {
    let mut stream = TcpStream::connect(&agent.front).expect("it listens");
    let head = "POST /req HTTP/1.1\r\nHost: a\r\nX-Juicebox-Version: 0.3.4\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("it reads");
    stream.set_read_timeout(Some(PATIENCE)).expect("not nothing");
    let mut said = [0; 25];
    // It says so once it waits for the body.
    stream.read_exact(&mut said).expect("it goes on");
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// Waits until nobody is let in any more.
fn until_closed(agent: &Agent) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(&agent.front).is_ok() {
        assert!(Instant::now() < deadline, "it goes on listening");
        std::thread::yield_now();
    }
}

#[test]
fn after_a_signal_nobody_is_let_in_and_a_request_in_flight_is_answered() {
    let folder = configured("");
    let mut agent = Agent::start(&mut Command::new(PROGRAM), folder.path());
    let mut request = half_sent(&agent);
    signal(agent.process.id(), Signal::TERM);
    agent.until("interrupt again to stop at once");
    until_closed(&agent);
    assert!(agent.process.try_wait().expect("it was started here").is_none(), "it waits for the request");
    request.write_all(b"x").expect("it reads");
    let mut said = String::new();
    request.read_to_string(&mut said).expect("it answers, and closes the connection");
    assert!(said.starts_with("HTTP/1.1 400") && said.contains("connection: close"), "{said}");
    assert!(agent.ends().success());
}

#[test]
fn a_second_signal_ends_it_at_once_whatever_is_in_flight() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)]
    {
        let folder = configured("");
        let mut agent = Agent::start(&mut Command::new(PROGRAM), folder.path());
        let mut request = half_sent(&agent);
        signal(agent.process.id(), first);
        agent.until("interrupt again to stop at once");
        until_closed(&agent);
        let told = Instant::now();
        signal(agent.process.id(), second);
        assert!(agent.ends().success());
        println!("ended after {:?}", told.elapsed());
        let mut said = Vec::new();
        // Cut off, and not answered: not even with the answer to a body that took too long.
        let _ = request.read_to_end(&mut said);
        assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
        let more: Vec<String> = agent.lines.try_iter().collect();
        assert!(!more.iter().any(|line| line.contains("not answered in time")), "it did not wait: {more:?}");
    }
}

/// As in a container: the first process of a namespace gets only the signals that it asked for.
#[test]
fn it_ends_as_the_first_process_of_a_namespace() {
    let probe = Command::new("unshare").args(["-r", "-p", "-f", "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("not checked: this machine offers no process namespaces");
        return;
    }
    let folder = configured("");
    let before = files(folder.path());
    let mut unshare = Command::new("unshare");
    let mut agent = Agent::start(unshare.args(["-r", "-p", "-f", "--kill-child", PROGRAM]), folder.path());
    let children = format!("/proc/{0}/task/{0}/children", agent.process.id());
    let inner = fs::read_to_string(children).expect("it runs").trim().parse().expect("one child");
    signal(inner, Signal::HUP);
    agent.until("asked to read");
    signal(inner, Signal::TERM);
    assert!(agent.ends().success());
    assert_eq!(files(folder.path()), before, "the socket and its folder are removed");
}

#[test]
fn without_certificate_authorities_it_starts_on_a_folder_and_on_plain_http() {
    let s3 = "store = 's3://bucket/realm'\n[store_options]\naws_endpoint = 'http://127.0.0.1:1'\nallow_http = true\n\
              aws_access_key_id = 'k'\naws_secret_access_key = 's'\n";
    for more in ["", s3] {
        let folder = configured(more);
        let mut agent = Agent::start(Command::new(PROGRAM).envs(NO_AUTHORITIES), folder.path());
        signal(agent.process.id(), Signal::TERM);
        assert!(agent.ends().success(), "{more}");
    }
    let folder = configured("store = 's3://bucket/realm'\n");
    let refused = said(&ask(folder.path(), &[]));
    assert!(refused.contains("No CA certificates were loaded from the system"), "{refused}");
}

#[test]
fn an_option_that_would_break_the_first_request_prevents_a_start_and_check_says_so_too() {
    let more =
        "store = 's3://bucket/realm'\n[store_options]\naws_endpoint = '127.0.0.1:5600'\nallow_http = true\n";
    let folder = configured(more);
    for command in [&[][..], &["check"]] {
        let refused = ask(folder.path(), command);
        let said = said(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("store_options, aws_endpoint: it is an address such as"), "{said}");
    }
    let url = ["check", "--store", "s3://bucket/realm", "--store-option"];
    let refused = ask(folder.path(), &[&url[..], &["aws_session_token=secret\nvalue"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    let break_said = said(&refused);
    assert!(break_said.contains("aws_session_token: it has a line break"), "{break_said}");
    assert!(!break_said.contains("value"), "{break_said}");
    let unnamed = said(&ask(folder.path(), &[&url[..], &["c0ffee"]].concat()));
    assert!(unnamed.contains("NAME=VALUE") && !unnamed.contains("c0ffee"), "{unnamed}");
}

#[test]
fn a_store_that_cannot_be_reached_is_reported_with_the_causes_and_the_proxy() {
    let folder = configured("");
    let url =
        ["check", "--store", "s3://bucket/realm", "--store-option", "aws_endpoint=http://store.example:1"];
    let keys = [
        "aws_access_key_id=k",
        "aws_secret_access_key=s",
        "allow_http=true",
        "proxy_url=http://u:pass-word@127.0.0.1:1",
    ];
    let mut arguments = url.to_vec();
    keys.iter().for_each(|key| arguments.extend(["--store-option", key]));
    let unreachable = ask(folder.path(), &arguments);
    let said = said(&unreachable);
    assert!(
        said.contains("Connection refused") && said.contains("the proxy http://127.0.0.1:1 (proxy_url)"),
        "{said}"
    );
    assert!(!said.contains("pass-word"), "{said}");
}

#[test]
fn another_users_socket_is_told_from_an_agent_that_does_not_run() {
    let folder = configured("");
    let _agent = Agent::start(&mut Command::new(PROGRAM), folder.path());
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(folder.path().join("agent.toml")).args(["hsm", "status"]);
    let open = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("ours");
    // If this test runs as root, another user has to ask.
    if geteuid().is_root() {
        open(0o755);
        let Ok(denied) = command.uid(65_534).gid(65_534).output() else {
            println!("not checked: other users may not run what was built here");
            return;
        };
        let said = said(&denied);
        assert!(
            said.contains("not allowed to open the agent's socket")
                && said.contains("user with id 0, and this is 65534"),
            "{said}"
        );
    } else {
        fs::set_permissions(folder.path().join("agent.sock"), fs::Permissions::from_mode(0o000))
            .expect("ours");
        let said = said(&command.output().expect("the program is built"));
        assert!(said.contains("not allowed to open the agent's socket"), "{said}");
    }
}
