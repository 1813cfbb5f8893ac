//! The command as its operator runs it.

mod common;

use common::Log;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use strongroom_tlog::{SignatureType, VerifierKey};

fn witness(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-witness"));
    command
        .current_dir(folder)
        .args(arguments)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// The standard error of a run that fails.
fn error_of(folder: &Path, arguments: &[&str]) -> String {
    let output = witness(folder, arguments).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A witness that listens, and where.
fn start(folder: &Path, arguments: &[&str]) -> (Child, String) {
    let mut child = witness(folder, arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.find_map(|line| Some(line.split_once("listen=")?.1.split(' ').next()?.to_owned()));
    let Some(address) = address else { panic!("it ended: {}", child.wait().unwrap()) };
    // It must not wait for someone to read its log.
    std::thread::spawn(move || lines.count());
    (child, address)
}

fn terminate(mut child: Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

fn ask(address: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_witness_is_set_up_run_stopped_and_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = witness(folder, &["new-key", "example.com/w"]).output().unwrap();
    assert!(made.status.success());
    let printed = String::from_utf8(made.stdout).unwrap();
    let public: VerifierKey = printed.trim_end().parse().unwrap();
    assert_eq!((public.name().as_str(), public.kind()), ("example.com/w", SignatureType::Cosignature));
    assert!(!printed.contains("PRIVATE") && made.stderr.is_empty());
    assert!(error_of(folder, &["new-key", "example.com/w"]).contains("never replaces one"));
    assert!(error_of(folder, &["new-key", "two words", "--out", "b"]).contains("no white space"));

    let log = Log::new(20);
    let config = format!(
        "listen = \"127.0.0.1:0\"\nkey = \"witness.key\"\nstate = \"state\"\n[logs]\n\"{}\" = \"{}\"\n",
        log.origin,
        log.key().verifier()
    );
    fs::write(folder.join("witness.toml"), config).unwrap();
    let run = ["run", "--config", "witness.toml"];
    assert!(error_of(folder, &run).contains("--new-state"));
    let (child, address) = start(folder, &[&run[..], &["--new-state"]].concat());
    assert!(ask(&address, &log.request(0, 9).to_string()).starts_with("HTTP/1.1 200 "));
    assert!(error_of(folder, &run).contains("another process"));
    terminate(child);
    assert!(error_of(folder, &[&run[..], &["--new-state"]].concat()).contains("leave out --new-state"));
    let (child, address) = start(folder, &run);
    assert!(ask(&address, &log.request(0, 9).to_string()).ends_with("\r\n\r\n9\n"));
    terminate(child);
}

#[test]
fn help_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let help = witness(folder.path(), &["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for word in ["new-key", "witness.toml", "[logs]", "--new-state", "RUST_LOG"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}
