//! The HSM as a process, and what signals do to it.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts an HSM and waits until it is ready.
fn start(program: &mut Command, folder: &Path) -> Child {
    program.arg("--nvram").arg(folder.join("hsm.nvram"));
    program.arg("--listen").arg(format!("unix:{}", folder.join("hsm.sock").display()));
    program.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut hsm = program.spawn().expect("the program is built");
    let mut lines = BufReader::new(hsm.stderr.take().expect("piped")).lines();
    // The words of a key on its console may have "ready" among them.
    let is_ready = |line: &str| line.contains("ready for the agent");
    let said: Vec<String> = lines.by_ref().map_while(Result::ok).take_while(|line| !is_ready(line)).collect();
    let socket = folder.join("hsm.sock");
    assert!(UnixStream::connect(&socket).is_ok(), "it did not start: {}", said.join("\n"));
    // It must not block on what nobody reads.
    std::thread::spawn(move || lines.for_each(drop));
    hsm
}

fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(process.try_into().expect("small")).expect("not 0");
    kill_process(pid, signal).expect("it runs");
}

/// How the process ended, which it must soon.
fn ends(process: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = process.try_wait().expect("it was started here") {
            return status;
        }
        assert!(Instant::now() < deadline, "it did not end");
        std::thread::yield_now();
    }
}

#[test]
fn it_ends_cleanly_when_it_is_told_to_and_goes_on_after_a_hang_up() {
    for end in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut hsm = start(&mut Command::new(env!("CARGO_BIN_EXE_strongroom-hsm")), folder.path());
        signal(hsm.id(), Signal::HUP);
        let socket = folder.path().join("hsm.sock");
        assert!(UnixStream::connect(&socket).is_ok(), "it goes on");
        signal(hsm.id(), end);
        assert!(ends(&mut hsm).success());
        assert!(!socket.exists(), "the socket file is removed");
    }
}

/// As in a container: the first process of its namespace has only the signals that it asked for.
#[test]
fn it_ends_as_the_first_process_of_a_namespace() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["-r", "-p", "-f", "--kill-child", env!("CARGO_BIN_EXE_strongroom-hsm")];
    let probe = Command::new("unshare").args(["-r", "-p", "-f", "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("not checked: this machine gives no namespaces of processes");
        return;
    }
    let mut outer = start(Command::new("unshare").args(arguments), folder.path());
    let children = format!("/proc/{0}/task/{0}/children", outer.id());
    let inner = std::fs::read_to_string(children).expect("it runs");
    signal(inner.trim().parse().expect("one child"), Signal::TERM);
    assert!(ends(&mut outer).success());
    assert!(!folder.path().join("hsm.sock").exists(), "the socket file is removed");
}
