//! `serve` as a process, and what signals do to it.

use clap::Parser;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU8;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use strongroom_client::{Client, Configuration, FixedTokens, Pin, RetryPolicy, UserSecret};
use strongroom_events::command::Cli;
use strongroom_events::{Consumer, HttpSource, Offsets, ReadError, Tenant, TokenSource, What, key_file};
use strongroom_sim::local::TENANT;

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A realm that ends with its test, however that ends.
struct Realm(Child);

impl Drop for Realm {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
    }
}

/// Starts a local realm kept in `folder`, with its temporary folders in there too.
fn start(program: &mut Command, folder: &Path) -> Realm {
    std::fs::create_dir(folder.join("tmp")).expect("writable");
    program.args(["serve", "--listen", "127.0.0.1:0", "--keep"]).arg(folder.join("realm"));
    program
        .env("TMPDIR", folder.join("tmp"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Realm(program.spawn().expect("the program is built"))
}

/// Waits until the realm is announced. Returns what is said of it.
fn announced(Realm(realm): &mut Realm) -> Vec<String> {
    let (lines, mut said) = (BufReader::new(realm.stdout.take().expect("piped")).lines(), Vec::new());
    for line in lines {
        let line = line.expect("text");
        if line == "Ctrl-C ends it." {
            return said;
        }
        said.push(line);
    }
    panic!("it ended before");
}

/// What a shell makes of a command.
fn words(command: &str) -> Vec<String> {
    let split = format!("for word in {command}; do printf '%s\\n' \"$word\"; done");
    let output = Command::new("sh").args(["-c", &split]).output().expect("there is a shell");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

fn signal(process: u32, signal: &str) {
    let sent =
        Command::new("kill").args(["-s", signal, &process.to_string()]).status().expect("there is kill");
    assert!(sent.success());
}

fn ends(Realm(realm): &mut Realm) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = realm.try_wait().expect("it was started here") {
            return status;
        }
        assert!(Instant::now() < deadline, "it did not end");
        std::thread::yield_now();
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder.join("tmp")).expect("a folder").next().is_none()
}

#[test]
fn a_local_realm_ends_cleanly_when_it_is_told_to() {
    for end in ["TERM", "HUP", "INT"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut realm = start(&mut Command::new(env!("CARGO_BIN_EXE_strongroom-sim")), folder.path());
        announced(&mut realm);
        assert!(!is_empty(folder.path()), "the sockets are there");
        signal(realm.0.id(), end);
        assert!(ends(&mut realm).success(), "{end}");
        assert!(is_empty(folder.path()), "the sockets are removed");
    }
}

/// The developer of an app registers a user, and sees it in the place of the app's server.
#[tokio::test]
async fn the_command_that_it_prints_shows_what_happens_to_users() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut realm = start(&mut Command::new(env!("CARGO_BIN_EXE_strongroom-sim")), folder.path());
    let said = announced(&mut realm);
    let command = said.iter().find(|line| line.starts_with("strongroom-events ")).expect("a command");
    let words = words(command);
    Cli::try_parse_from(&words).expect("a command of the tenant's program");
    let value = |name: &str| {
        let at = words.iter().position(|word| word == name).expect("an option");
        words[at + 1].clone()
    };
    let configuration = std::fs::read_to_string(folder.path().join("realm/configuration.json"));
    let configuration: Configuration =
        configuration.expect("written").replace("Standard2019", "FastInsecure").parse().expect("valid");
    let id = configuration.realms()[0].id();
    let token = said.iter().skip_while(|line| !line.starts_with("Token for ")).nth(1).expect("a token");
    let client = Client::builder(configuration, FixedTokens::from_iter([(id, token.clone())]));
    let secret = UserSecret::new(b"a secret").expect("short");
    let guesses = NonZeroU8::new(3).expect("not 0");
    let patient = RetryPolicy { patience: PATIENCE, ..RetryPolicy::default() };
    let client = client.retry_policy(patient).build().expect("a client");
    client.register(&Pin::from("4821"), &secret, b"", guesses).await.expect("registers");
    let tokens = TokenSource::Command(value("--token-command"));
    let source = HttpSource::open(&[value("--url").parse().expect("a URL")], None, tokens).expect("usable");
    let key = key_file::read(value("--key").as_ref()).expect("the tenant's secret");
    let tenant = Tenant::new(TENANT, key, value("--checkpoint-key").parse().expect("a key"));
    let none = Offsets::none(value("--realm").parse().expect("an id"), TENANT);
    let mut consumer = Consumer::resume(source, tenant, none);
    let told = crate::support::until("the tenant is told", async || {
        let told = match consumer.next().await {
            Ok(event) => event.map(|event| event.told).filter(|told| told.what != What::Nothing),
            // The machine may be busy.
            Err(ReadError::Unavailable(_)) => None,
            Err(error) => panic!("{error}"),
        };
        if told.is_none() {
            consumer.news().await;
        }
        told
    });
    let told = told.await;
    assert_eq!((told.user.as_str(), told.what, told.guesses_left), ("user-1", What::Registered, 3));
    signal(realm.0.id(), "TERM");
    assert!(ends(&mut realm).success());
}

/// As in a container: the first process of a namespace gets only the signals that it asked for.
#[test]
fn a_local_realm_ends_as_the_first_process_of_a_namespace() {
    let probe = Command::new("unshare").args(["-r", "-p", "-f", "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("not checked: this machine gives no namespaces of processes");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["-r", "-p", "-f", "--kill-child", env!("CARGO_BIN_EXE_strongroom-sim")];
    let mut outer = start(Command::new("unshare").args(arguments), folder.path());
    announced(&mut outer);
    let children = format!("/proc/{0}/task/{0}/children", outer.0.id());
    let inner = std::fs::read_to_string(children).expect("it runs");
    signal(inner.trim().parse().expect("one child"), "TERM");
    assert!(ends(&mut outer).success());
    assert!(is_empty(folder.path()), "the sockets are removed");
}
