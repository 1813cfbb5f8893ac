//! The command as a process: what it does with its environment and with the reader of its output.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Makes a custodian's key, which needs no agent.
fn custodian(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-agent"));
    command.args(["realm", "custodian", "--out"]).arg(folder.join("key.pem")).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program is built")
}

#[test]
fn output_that_is_not_read_is_not_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let output = run(custodian(folder.path()).stdout(closed()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Next: "), "it goes on: {said}");
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(custodian(folder.path()).stderr(closed()));
    assert!(output.status.success() && !output.stdout.is_empty());
    assert_eq!(
        run(custodian(folder.path()).stderr(closed())).status.code(),
        Some(1),
        "the key exists already"
    );
}

#[test]
fn an_empty_rust_log_is_like_none_and_a_wrong_one_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(custodian(folder.path()).env("RUST_LOG", "inof"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.starts_with("error: RUST_LOG: `inof` is not a level"), "{said}");
    assert!(run(custodian(folder.path()).env("RUST_LOG", "")).status.success());
}

fn agent(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-agent"));
    run(command.args(arguments).current_dir(folder).env_remove("RUST_LOG").stdin(Stdio::null()))
}

/// A configuration of which everything can be used. Nothing listens at its HSM's address.
fn configured() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    std::fs::create_dir(&store).expect("a folder");
    let text = format!(
        "listen = \"127.0.0.1:0\"\npeer_listen = \"127.0.0.1:0\"\nhsm = \"unix:hsm.sock\"\nstore = \"file://{}\"\ntenants = \
         \"tenants.toml\"\n",
        store.display()
    );
    std::fs::write(folder.path().join("agent.toml"), text).expect("it can be written");
    assert!(agent(folder.path(), &["tenant", "add", "acme"]).status.success());
    folder
}

/// The level and text of each finding.
fn findings(output: &Output) -> Vec<(String, String)> {
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let of = |finding: &serde_json::Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let is_well = text("level") == "well";
        assert_eq!(is_well, finding["next"].is_null(), "what is wrong comes with what to do: {finding}");
        (text("level"), text("what"))
    };
    said["findings"].as_array().expect("a list").iter().map(of).collect()
}

#[test]
fn a_configuration_is_tested_without_touching_anything() {
    use std::os::unix::fs::PermissionsExt;
    let folder = configured();
    let before = walk(folder.path());
    let well = agent(folder.path(), &["configtest", "--json"]);
    assert_eq!(well.status.code(), Some(0), "{}", String::from_utf8_lossy(&well.stderr));
    assert!(findings(&well).iter().all(|(level, _)| level == "well"));
    assert_eq!(walk(folder.path()), before, "nothing is made");
    let tenants = folder.path().join("tenants.toml");
    let everybody = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&tenants, everybody).expect("it is ours");
    let open = agent(folder.path(), &["configtest", "--json"]);
    assert_eq!(open.status.code(), Some(1));
    let (level, what) = &findings(&open)[0];
    assert!(level == "attention" && what.contains("every user of this machine may read"), "{what}");
    std::fs::write(&tenants, "[[tenant]]\nname = \"acme\"\n").expect("it is ours");
    let broken = agent(folder.path(), &["configtest", "--json"]);
    assert_eq!(broken.status.code(), Some(2));
    let (level, what) = &findings(&broken)[0];
    assert!(level == "bad" && what.contains("tenants.toml"), "{what}");
}

/// The names of all files in a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries =
        std::fs::read_dir(folder).expect("it can be read").map(|entry| entry.expect("an entry").path());
    let mut all: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect();
    all.sort();
    all
}

#[test]
fn the_doctor_tries_each_right_in_the_store_leaves_nothing_and_names_the_hsm_that_is_silent() {
    let folder = configured();
    let sick = agent(folder.path(), &["doctor", "--json"]);
    assert_eq!(sick.status.code(), Some(2));
    let found = findings(&sick);
    for right in ["write", "read", "list", "create an object once only", "delete"] {
        let allowed = format!("{right}: yes");
        assert!(found.contains(&("well".into(), allowed)), "{right}: {found:?}");
    }
    assert!(found[0].0 == "bad" && found[0].1.contains("the HSM did not answer"), "{found:?}");
    assert!(found.iter().any(|(level, what)| level == "attention" && what.contains("no agent runs")));
    assert!(found.iter().any(|(level, what)| level == "well" && what.contains("apart from the store's")));
    assert_eq!(walk(&folder.path().join("store")), Vec::<std::path::PathBuf>::new());
    // A store that cannot be written to.
    let blocked = folder.path().join("store").join("probe");
    std::fs::remove_dir(&blocked).expect("it is empty");
    std::fs::write(&blocked, "a file where a folder should be").expect("it is ours");
    let found = findings(&agent(folder.path(), &["doctor", "--json"]));
    assert!(found.iter().any(|(level, what)| level == "bad" && what.starts_with("write: no")), "{found:?}");
}

#[test]
fn log_lines_are_json_if_that_is_wanted() {
    let folder = configured();
    // The folder of the store cannot be made where a file is.
    std::fs::remove_dir(folder.path().join("store")).expect("it is empty");
    std::fs::write(folder.path().join("store"), "").expect("it is ours");
    let output = agent(folder.path(), &["--log-format", "json", "run"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    let first: serde_json::Value =
        serde_json::from_str(said.lines().next().expect("a line")).expect("it is JSON");
    assert_eq!(first["fields"]["message"], "starting");
    assert!(first["fields"]["version"].as_str().is_some_and(|version| version.starts_with("0.")), "{first}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let script = agent(folder.path(), &["completions", shell]);
        let script = String::from_utf8_lossy(&script.stdout).into_owned();
        assert!(script.contains("doctor") && script.contains("rebuild-tree"), "{shell}");
    }
    assert!(agent(folder.path(), &["manual-pages", "."]).status.success());
    let page = std::fs::read_to_string(folder.path().join("strongroom-agent-doctor.1")).expect("it is there");
    assert!(page.contains("the clock"), "{page}");
    let nowhere = agent(folder.path(), &["manual-pages", "nowhere"]);
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("is no folder"));
}
