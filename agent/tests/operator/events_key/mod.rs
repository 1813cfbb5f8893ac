//! The key to which a tenant's events are sealed: signed by custodians offline, and published at an agent.

use crate::hosts::{Host, PROGRAM, custodian, found, hosts};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use strongroom_agent::admin::custodian_key;
use strongroom_agent::cli::Line;
use strongroom_events::{SignedKey, TenantSecret};
use strongroom_proto::enrolment::{CustodianSignature, RealmPolicy};
use strongroom_proto::events::TenantKey;
use strongroom_proto::ids::{RealmId, X25519Public};

const REALM: RealmId = RealmId([7; 16]);

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).args(arguments).env_remove("RUST_LOG");
    command.output().expect("the program is built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn public(n: u8) -> X25519Public {
    TenantSecret::new([n; 32]).public()
}

fn sign(folder: &Path, key: &[&str], tenant: &str, public: &str) -> Output {
    let realm = REALM.to_string();
    let arguments = ["tenant", "events-key", "sign", "--realm", &realm, "--tenant", tenant];
    run(folder, &[&arguments[..], key, &[public]].concat())
}

/// Keys in every way in which custodians keep them.
#[test]
fn a_custodian_signs_away_from_all_agents_and_is_told_what_it_means() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("words"), "correct horse battery staple\n").expect("writable");
    fs::set_permissions(folder.join("words"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("ours");
    assert!(run(folder, &["realm", "custodian", "--out", "alice.key"]).status.success());
    let keep = |more: &[&str]| run(folder, &[&["realm", "keep", "--key", "alice.key"], more].concat());
    assert!(keep(&["--out", "alice.age", "--age", "--new-passphrase-file", "words"]).status.success());
    assert!(keep(&["--out", "alice", "--cards", "2-of-3"]).status.success());
    let pem = fs::read_to_string(folder.join("alice.key")).expect("it is there");
    let custodian = custodian_key(&SigningKey::from_pkcs8_pem(&pem).expect("a key"));
    let policy = RealmPolicy { custodians: vec![custodian], threshold: 1, smallest_group: None };
    for kept in [
        &["--key", "alice.key"][..],
        &["--key", "alice.age", "--passphrase-file", "words"],
        &["--card", "alice.card1", "--card", "alice.card3"],
    ] {
        let signed = sign(folder, kept, "acme", &public(9).to_string());
        let said = text(&signed.stderr);
        assert!(signed.status.success(), "{kept:?}: {said}");
        let signature = CustodianSignature::from_line(&text(&signed.stdout)).expect("a signature");
        let key = TenantKey { tenant: b"acme".to_vec().into(), key: public(9) };
        assert!(SignedKey { key, signatures: vec![signature] }.is_signed(&REALM, &policy));
        for told in [
            "is told to whoever has",
            "cannot be taken back",
            &public(9).to_string(),
            &REALM.to_string(),
            "strongroom-agent tenant events-key publish acme",
        ] {
            assert!(said.contains(told), "{told}: {said}");
        }
    }
}

#[test]
fn what_nobody_should_sign_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    assert!(run(folder, &["realm", "custodian", "--out", "alice.key"]).status.success());
    let zeros = "00".repeat(32);
    for (tenant, public, expected) in [
        ("acme", "abc", "64 hexadecimal digits"),
        ("acme", zeros.as_str(), "anybody could read"),
        ("a/b", &public(9).to_string(), "letters and digits"),
        ("", &public(9).to_string(), "letters and digits"),
    ] {
        let refused = sign(folder, &["--key", "alice.key"], tenant, public);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && refused.stdout.is_empty() && said.contains(expected), "{said}");
    }
    let without = sign(folder, &[], "acme", &public(9).to_string());
    assert!(!without.status.success(), "{without:?}");
}

/// The signature of a custodian over a key, for the realm of a host.
fn signature(host: &Host, key: &str, realm: &str, tenant: &str, public: &str) -> String {
    let arguments =
        ["tenant", "events-key", "sign", "--key", key, "--realm", realm, "--tenant", tenant, public];
    host.ask(&arguments).out.trim().to_owned()
}

#[test]
fn an_operator_publishes_what_enough_custodians_signed_and_replaces_it_only_on_purpose() {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = hosts(folder.path(), 8860, 1);
    let host = &hosts[0];
    let (first, of_first) = custodian(host, folder.path(), "first.key");
    let (second, of_second) = custodian(host, folder.path(), "second.key");
    found(host, &[(&first, &of_first), (&second, &of_second)]);
    let realm = host.json(&["realm", "status", "--json"])["realm"].as_str().expect("an id").to_owned();
    let show = || host.json(&["tenant", "events-key", "show", "acme", "--json"]);
    assert!(show()["key"].is_null() && show()["counts"] == false, "{}", show());
    let none = host.ask(&["tenant", "events-key", "show", "acme"]).out;
    assert!(none.contains("no key is published"), "{none}");
    let [old, new] = [9, 8].map(|n| public(n).to_string());
    let signed = |key: &str, tenant: &str, public: &str| signature(host, key, &realm, tenant, public);
    let publish = |public: &str, signatures: &[String], more: &[&str]| {
        let lines: Vec<&str> = signatures.iter().map(String::as_str).collect();
        host.run(&[&["tenant", "events-key", "publish", "acme", public], &lines[..], more].concat())
    };
    let both = |public: &str| [signed(&first, "acme", public), signed(&second, "acme", public)];
    for too_little in [
        vec![signed(&first, "acme", &old)],
        vec![signed(&first, "acme", &old), signed(&first, "acme", &old)],
        vec![signed(&first, "acme", &old), signed(&second, "globex", &old)],
        both(&new).into(),
    ] {
        let said = publish(&old, &too_little, &["--replace"]).err().expect("too few signed that");
        assert!(said.contains("of the realm's 2 custodians, and 2 must"), "{said}");
    }
    assert!(show()["key"].is_null());
    let published = publish(&old, &both(&old), &[]).expect("both signed it");
    assert!(
        published.out.is_empty() && published.err.contains("strongroom-events tail"),
        "{}",
        published.err
    );
    assert!(show()["key"] == *old && show()["counts"] == true, "{}", show());
    assert!(publish(&old, &both(&old), &[]).expect("it is there").err.contains("has this key already"));
    let other = publish(&new, &both(&new), &[]).err().expect("there is another");
    assert!(other.contains(&old) && other.contains("--replace"), "{other}");
    publish(&new, &both(&new), &["--replace"]).expect("on purpose");
    assert!(show()["key"] == *new && show()["counts"] == true, "{}", show());
    let shown = host.ask(&["tenant", "events-key", "show", "acme"]).out;
    assert!(shown.contains("signed by 2 of the realm's 2 custodians: events are sealed to it"), "{shown}");
}
