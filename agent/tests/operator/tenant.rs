//! `tenant add` and `token`: from nothing to a token that an agent accepts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_agent::tenants::{Algorithm, TenantKeys, TestTenants};
use strongroom_agent::token::verify;
use strongroom_proto::ids::RealmId;

const ED25519_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
const REALM: RealmId = RealmId([7; 16]);

/// The configuration of an agent that does not run.
fn configured(folder: &Path, more: &str) {
    let text = format!("{more}hsm = 'unix:hsm.sock'\nstore = 'memory://'\ntenants = 'tenants.toml'\n");
    fs::write(folder.join("agent.toml"), text).expect("writable");
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-agent"));
    command.current_dir(folder).args(arguments).env_remove("RUST_LOG");
    command.output().expect("the program is built")
}

fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn keys(folder: &Path) -> TenantKeys {
    let text = fs::read_to_string(folder.join("tenants.toml")).expect("readable");
    TenantKeys::parse("tenants.toml".as_ref(), &text, TestTenants::Allowed).expect("usable")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[test]
fn a_tenant_is_made_with_a_key_and_a_token_for_its_user_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    configured(folder, "");
    assert_eq!(printed(folder, &["tenant", "add", "acme"]), "acme:1");
    let mode = fs::metadata(folder.join("tenants.toml")).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let realm = REALM.to_string();
    let token = printed(folder, &["token", "--user", "ada", "--realm", &realm]);
    let verified = verify(&keys(folder), &token, &REALM, now()).expect("taken");
    assert_eq!((verified.tenant.as_str(), verified.user.as_str()), ("acme", "ada"));
    // From now on the next key signs, and what was there stays as it was.
    let before = fs::read_to_string(folder.join("tenants.toml")).expect("readable");
    fs::write(folder.join("tenants.toml"), format!("# ours\n{before}")).expect("writable");
    assert_eq!(printed(folder, &["tenant", "add", "acme"]), "acme:2");
    assert!(
        fs::read_to_string(folder.join("tenants.toml"))
            .expect("readable")
            .starts_with(&format!("# ours\n{before}"))
    );
    let token = printed(folder, &["token", "--user", "ada", "--realm", &realm]);
    assert!(verify(&keys(folder), &token, &REALM, now()).is_ok());
    let (first, second) = (keys(folder), keys(folder));
    assert!(first.key("acme", 1).is_some() && second.newest("acme").is_some_and(|(version, _)| version == 2));
}

#[test]
fn no_secret_is_shown_and_none_is_needed_if_the_tenant_has_a_key_pair() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    configured(folder, "");
    let output = run(folder, &["tenant", "add", "acme"]);
    let said = [output.stdout, output.stderr].concat();
    let file = fs::read_to_string(folder.join("tenants.toml")).expect("readable");
    let secret = file.lines().find_map(|line| line.strip_prefix("key = ")).expect("a key").trim_matches('"');
    assert!(secret.len() == 64 && !String::from_utf8_lossy(&said).contains(secret));
    fs::write(folder.join("key.pem"), ED25519_PEM).expect("writable");
    assert_eq!(printed(folder, &["tenant", "add", "globex", "--public-key", "key.pem"]), "globex:1");
    assert!(keys(folder).key("globex", 1).is_some_and(|key| key.algorithm() == Algorithm::EdDsa));
    let realm = REALM.to_string();
    let error = refused(folder, &["token", "--tenant", "globex", "--user", "ada", "--realm", &realm]);
    assert!(error.contains("only tenant globex itself"), "{error}");
    // Only one of the two has a secret.
    printed(folder, &["token", "--user", "ada", "--realm", &realm]);
}

#[test]
fn what_an_agent_would_refuse_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    configured(folder, "");
    let private = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n";
    fs::write(folder.join("private.pem"), private).expect("writable");
    for (arguments, expected) in [
        (&["tenant", "add", "a:b"][..], "letters and digits"),
        (&["tenant", "add", "test-acme"], "allow_test_tenants = true"),
        (&["tenant", "add", "acme", "--public-key", "private.pem"], "this is a private key"),
        (&["tenant", "add", "acme", "--public-key", "agent.toml"], "not a key in PEM"),
        (&["token", "--user", "ada"], "tenant add NAME"),
        (&["token", "--user", ""], "give the user a name"),
    ] {
        let error = refused(folder, arguments);
        assert!(error.contains(expected), "{arguments:?}: {error}");
        let file = fs::read(folder.join("tenants.toml")).unwrap_or_default();
        assert!(file.is_empty(), "{arguments:?}");
    }
    configured(folder, "allow_test_tenants = true\n");
    printed(folder, &["tenant", "add", "test-acme"]);
    printed(folder, &["tenant", "add", "acme"]);
    let realm = REALM.to_string();
    let several = refused(folder, &["token", "--user", "ada", "--realm", &realm]);
    assert!(several.contains("say which with --tenant"), "{several}");
    let long = "a".repeat(4_000);
    let error = refused(folder, &["token", "--tenant", "acme", "--user", &long, "--realm", &realm]);
    assert!(error.contains("up to 4096 characters"), "{error}");
    fs::write(folder.join("tenants.toml"), "[[tenants]]\n").expect("writable");
    let error = refused(folder, &["tenant", "add", "acme"]);
    assert!(error.contains("tenants.toml, line 1"), "{error}");
    assert_eq!(fs::read(folder.join("tenants.toml")).expect("readable"), b"[[tenants]]\n");
}

#[test]
fn a_key_is_rotated_and_the_older_one_removed_and_nothing_else_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    configured(folder, "");
    let error = refused(folder, &["tenant", "rotate", "acme"]);
    assert!(error.contains("tenant add"), "{error}");
    printed(folder, &["tenant", "add", "acme"]);
    printed(folder, &["tenant", "add", "other"]);
    let path = folder.join("tenants.toml");
    let noted = format!("# By hand: do not lose this.\n{}", fs::read_to_string(&path).expect("readable"));
    fs::write(&path, noted).expect("writable");
    let realm = REALM.to_string();
    let token = || printed(folder, &["token", "--user", "ada", "--tenant", "acme", "--realm", &realm]);
    let old = token();
    assert_eq!(printed(folder, &["tenant", "rotate", "acme"]), "acme:2");
    let new = token();
    let good = |token: &str| verify(&keys(folder), token, &REALM, now()).is_ok();
    assert!(good(&old) && good(&new), "both hold until the older one is removed");
    let error = refused(folder, &["tenant", "remove", "acme:7"]);
    assert!(error.contains("no such key"), "{error}");
    printed(folder, &["tenant", "remove", "acme:1"]);
    assert!(!good(&old) && good(&new));
    let left = fs::read_to_string(&path).expect("readable");
    assert!(left.starts_with("# By hand: do not lose this.\n") && left.contains("other"), "{left}");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let error = refused(folder, &["tenant", "remove", "acme:2"]);
    assert!(error.contains("--last") && good(&new), "{error}");
    printed(folder, &["tenant", "remove", "acme:2", "--last"]);
    printed(folder, &["tenant", "remove", "other:1", "--last"]);
    assert!(!good(&new) && keys(folder).newest("other").is_none());
    assert_eq!(printed(folder, &["tenant", "add", "acme"]), "acme:1");
}
