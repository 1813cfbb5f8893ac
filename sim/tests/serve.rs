//! `serve` as a process, and what signals do to it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a local realm kept in `folder`, with its temporary folders in there too.
fn start(program: &mut Command, folder: &Path) -> Child {
    std::fs::create_dir(folder.join("tmp")).expect("writable");
    program.args(["serve", "--listen", "127.0.0.1:0", "--keep"]).arg(folder.join("realm"));
    program
        .env("TMPDIR", folder.join("tmp"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    program.spawn().expect("the program is built")
}

/// Waits until the realm is announced.
fn announced(realm: &mut Child) {
    let mut lines = BufReader::new(realm.stdout.take().expect("piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "Ctrl-C ends it.")), "it ended before");
}

fn signal(process: u32, signal: &str) {
    let sent =
        Command::new("kill").args(["-s", signal, &process.to_string()]).status().expect("there is kill");
    assert!(sent.success());
}

fn ends(realm: &mut Child) -> ExitStatus {
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
        signal(realm.id(), end);
        assert!(ends(&mut realm).success(), "{end}");
        assert!(is_empty(folder.path()), "the sockets are removed");
    }
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
    let children = format!("/proc/{0}/task/{0}/children", outer.id());
    let inner = std::fs::read_to_string(children).expect("it runs");
    signal(inner.trim().parse().expect("one child"), "TERM");
    assert!(ends(&mut outer).success());
    assert!(is_empty(folder.path()), "the sockets are removed");
}
