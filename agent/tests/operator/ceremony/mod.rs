//! The transcript of a ceremony, written by the real commands.

use crate::documents::{blocks, run};
use crate::hosts::{Host, PROGRAM, REALM, custodian, enrol, found, hosts};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use strongroom_hsm_software::{Address, Console, Options, start};

const SECTION: &str = "The ceremony and its transcript";

/// What no transcript may hold: the seed of a custodian's key, in any way in which it is written.
fn secrets(folder: &Path, names: &[&str]) -> Vec<Vec<u8>> {
    use ed25519_dalek::SigningKey;
    use ed25519_dalek::pkcs8::DecodePrivateKey;
    let of = |name: &&str| {
        let pem = fs::read_to_string(folder.join(name)).expect("it is there");
        let seed = SigningKey::from_pkcs8_pem(&pem).expect("a key").to_bytes();
        let body = pem.lines().nth(1).expect("base64").as_bytes().to_vec();
        vec![seed.to_vec(), hex::encode(seed).into_bytes(), body]
    };
    names.iter().flat_map(of).collect()
}

fn verify(host: &Host, file: &str) -> Result<String, String> {
    host.run(&["realm", "transcript", "verify", file]).map(|printed| printed.out)
}

#[test]
fn a_ceremony_is_recorded_signed_and_verified_as_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let hosts = hosts(folder, 8820, 2);
    let (alice, public) = custodian(&hosts[0], folder, "alice.key");
    let (bob, other) = custodian(&hosts[0], folder, "bob.key");
    let rehearsed = ["--rehearsal", "--transcript", "rehearsed.jsonl"];
    let create = [&["realm", "create", "--custodian", &public][..], &rehearsed[..]].concat();
    let refused = hosts[0].run(&create).err().expect("a real HSM makes a real realm");
    assert!(refused.contains("nothing was done: --rehearsal is for"), "{refused}");
    assert!(hosts[0].json(&["hsm", "status", "--json"])["realm"].is_null(), "nothing was made");
    let founding = found(&hosts[0], &[(&alice, &public), (&bob, &other)]);
    let sign = [&["realm", "sign", "--key", &alice, &founding][..], &rehearsed[..]].concat();
    let refused = hosts[0].run_typing(&sign, &hosts[0].read_console(&REALM)).err().expect("a real key");
    assert!(refused.contains("nothing was done: --rehearsal is for"), "{refused}");
    assert!(!folder.join("rehearsed.jsonl").exists(), "nothing is recorded as a rehearsal");
    enrol(&hosts[0], &hosts[1], &founding, &[&alice, &bob]);
    let unsigned = verify(&hosts[0], "ceremony.jsonl").expect_err("nobody ended it");
    assert!(unsigned.contains("not ended yet"), "{unsigned}");

    let block = blocks(SECTION).into_iter().find(|block| block.contains("alice.key")).expect("it is there");
    let said = run(folder, &block);
    let ids: Vec<String> = hosts.iter().map(Host::hsm).collect();
    let parts = [&public, &other, &ids[0], &ids[1]].map(String::as_str);
    for part in parts.into_iter().chain([
        "OK, if these are your custodians' keys",
        "imported, entry",
        "failed: these are not the words",
    ]) {
        assert!(said.contains(part), "{part} in {said}");
    }
    let named =
        ["realm", "transcript", "verify", "ceremony.jsonl", "--custodian", &public, "--custodian", &other];
    let cut = hosts[0].ask(&named).out;
    assert!(cut.contains("OK as far as it goes: whether later entries were cut off"), "{cut}");
    let head = cut.lines().find_map(|line| line.strip_prefix("head")).expect("it is shown").trim().to_owned();
    let all = [&named[..], &["--head", &head]].concat();
    assert!(hosts[0].ask(&all).out.contains("OK: it is whole"));
    let stranger = hosts[0].run(&named[..6]).err().expect("it has another custodian");
    assert!(stranger.contains("OTHER CUSTODIANS"), "{stranger}");
    let text = fs::read(folder.join("ceremony.jsonl")).expect("it is there");
    for secret in secrets(folder, &["alice.key", "bob.key"]) {
        assert!(!text.windows(secret.len()).any(|part| part == secret), "a secret is in it");
    }
    let nothing = ["realm", "transcript", "sign", "--key", &alice, "--transcript", "missing.jsonl"];
    let said = hosts[0].run(&nothing).err().expect("there is nothing to sign");
    assert!(!said.contains("You signed") && !folder.join("missing.jsonl").exists(), "{said}");
    refused_where_it_does_not_belong(folder, &hosts, &public, text);
}

/// A transcript that was changed, or is about another realm, is not added to; nor does the step take place.
fn refused_where_it_does_not_belong(folder: &Path, hosts: &[Host], public: &str, text: Vec<u8>) {
    let file = folder.join("ceremony.jsonl");
    let create = ["realm", "create", "--smallest-group", "2", "--custodian", public];
    let again = hosts[0].run(&create).err().expect("a refusal");
    assert!(again.contains("is about realm") && again.contains("--transcript"), "{again}");
    let mut changed = text.clone();
    let at = text.len() / 2;
    changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
    fs::write(&file, &changed).expect("it is ours");
    let request = hosts[1].run(&["hsm", "request"]).err().expect("a refusal");
    assert!(request.contains("is damaged") && request.contains("nothing was done"), "{request}");
    assert_eq!(fs::read(&file).expect("it is there"), changed);
    fs::write(&file, &text).expect("it is ours");
    let rehearsal = hosts[1].run(&["hsm", "request", "--rehearsal"]).err().expect("a refusal");
    assert!(rehearsal.contains("nothing was done: --rehearsal is for"), "{rehearsal}");
    let nowhere =
        hosts[1].run(&["hsm", "request", "--transcript", "nowhere/at-all"]).err().expect("a refusal");
    assert!(nowhere.contains("no ceremony goes on without it"), "{nowhere}");
    let pipe = hosts[1].run(&["hsm", "request", "--transcript", "/dev/zero"]).err().expect("a refusal");
    assert!(pipe.contains("it is not a file"), "{pipe}");
    let zero = verify(&hosts[0], "/dev/zero").expect_err("a refusal");
    assert!(zero.contains("it is not a file"), "{zero}");
    // A failure midway is in the transcript: this HSM has a realm already.
    let other = ["realm", "create", "--closed", "--transcript", "other.jsonl"];
    hosts[0].run(&other).err().expect("it has a realm");
    let other = fs::read_to_string(folder.join("other.jsonl")).expect("it is there");
    assert!(other.lines().count() == 3 && other.contains("\"failed\":{\"why\":"), "{other}");
}

/// The HSM of a rehearsal: this test as a process, started by a script that stands in for `strongroom-hsm`.
#[test]
#[ignore = "it is a process that the rehearsal starts"]
fn the_hsm_of_a_rehearsal() {
    let (Ok(nvram), Ok(socket)) = (std::env::var("TEST_NVRAM"), std::env::var("TEST_SOCKET")) else { return };
    let options = Options {
        nvram: nvram.into(),
        listen: Address::Unix(socket.into()),
        config: Default::default(),
        console: Console::new(|line| eprintln!("console: {line}")),
    };
    let _hsm = start(options).expect("the HSM starts");
    loop {
        std::thread::park();
    }
}

/// The script, in a folder where commands are found, and a folder for temporary files.
fn stand_in(folder: &Path) -> (PathBuf, PathBuf) {
    let (bin, temporary) = (folder.join("bin"), folder.join("tmp"));
    fs::create_dir(&bin).expect("writable");
    fs::create_dir(&temporary).expect("writable");
    let script = format!(
        "#!/bin/sh\nTEST_NVRAM=$2 TEST_SOCKET=${{4#unix:}} exec '{}' --exact ceremony::the_hsm_of_a_rehearsal --ignored --nocapture\n",
        std::env::current_exe().expect("this test").display()
    );
    let hsm = bin.join("strongroom-hsm");
    fs::write(&hsm, script).expect("writable");
    fs::set_permissions(&hsm, fs::Permissions::from_mode(0o755)).expect("ours");
    (hsm, temporary)
}

/// Processes that work in a folder, also after it was deleted.
fn processes_in(folder: &Path) -> Vec<PathBuf> {
    let folder = fs::canonicalize(folder).expect("it is there");
    let processes = fs::read_dir("/proc").expect("it is there").filter_map(Result::ok);
    let works_in = |process: fs::DirEntry| fs::read_link(process.path().join("cwd")).ok();
    processes.filter_map(works_in).filter(|cwd| cwd.starts_with(&folder)).collect()
}

#[test]
fn a_rehearsal_that_is_ended_leaves_no_process_and_no_folder() {
    for end in [Signal::TERM, Signal::HUP, Signal::INT] {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let (hsm, temporary) = stand_in(folder);
        let mut command = Command::new(PROGRAM);
        command.args(["realm", "rehearse", "--hsms", "2", "--hsm-program"]).arg(&hsm);
        command.current_dir(folder).env("TMPDIR", &temporary).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut rehearsal = command.spawn().expect("the program is built");
        let mut said = BufReader::new(rehearsal.stderr.take().expect("piped")).lines();
        let mut lines = said.by_ref().map(|line| line.expect("text"));
        // By now all of them run.
        assert!(lines.any(|line| line.contains("strongroom-agent realm custodian")), "it begins");
        assert!(!processes_in(&temporary).is_empty(), "they work in its folder");
        kill_process(Pid::from_child(&rehearsal), end).expect("it runs");
        let rest: String = lines.collect();
        assert!(!rehearsal.wait().expect("it was ended").success(), "{rest}");
        assert!(rest.contains("it was interrupted") && rest.contains("are deleted"), "{rest}");
        assert_eq!(processes_in(&temporary), Vec::<PathBuf>::new(), "{end:?}");
        let left: Vec<_> = fs::read_dir(&temporary).expect("it is there").collect();
        assert!(left.is_empty(), "{end:?}: {left:?}");
    }
}

#[test]
fn a_rehearsal_leaves_its_transcript_and_nothing_else_as_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    // Where it is found first: beside the program there may be a real one, of another build.
    let (hsm, temporary) = stand_in(folder);
    let block = blocks(SECTION).into_iter().find(|block| block.contains("rehearse")).expect("it is there");
    let block = format!("export TMPDIR={}\n{block}", temporary.display());
    let said = run(folder, &block.replace("rehearse", &format!("rehearse --hsm-program {}", hsm.display())));
    assert!(
        said.contains("*** REHEARSAL") && said.contains("OK, as a REHEARSAL and as nothing else"),
        "{said}"
    );
    assert_eq!(said.matches("imported, entry").count(), 4, "two HSMs, shown twice: {said}");
    let left: Vec<_> = fs::read_dir(&temporary).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
    let text = fs::read_to_string(folder.join("rehearsal.jsonl")).expect("it is there");
    assert!(text.lines().next().is_some_and(|line| line.contains("\"rehearsal\":true")), "{text}");

    // Nothing real goes on in it, and no second rehearsal does.
    let again =
        run(folder, &format!("strongroom-agent realm rehearse 2>&1 && exit 1; echo '{}'", hsm.display()));
    assert!(again.contains("a rehearsal has a transcript of its own"), "{again}");
    let hosts = hosts(folder, 8830, 1);
    let (_, public) = custodian(&hosts[0], folder, "first.key");
    let create = ["realm", "create", "--custodian", &public, "--transcript", "rehearsal.jsonl"];
    let real = hosts[0].run(&create).err().expect("a refusal");
    assert!(real.contains("REHEARSAL, which never goes on"), "{real}");
    assert!(hosts[0].json(&["hsm", "status", "--json"])["realm"].is_null(), "nothing was made");
}
