//! The statement of a realm, drafted, signed, published and shown by the real commands.

use crate::documents::{blocks, run};
use crate::hosts::{Host, custodian, found, hosts};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use std::fs;
use std::path::{Path, PathBuf};
use strongroom_agent::admin::sign_statement;
use strongroom_proto::enrolment::RealmPolicy;
use strongroom_proto::ids::{BuildDigest, Ed25519Public, RealmId, X25519Public};
use strongroom_tlog::{KeyName, Note, RealmStatement, SignatureType};

const SECTION: &str = "The statement of the realm";
const WORDS: [&str; 3] = ["public key", "policy", "checkpoint key"];

fn witness() -> String {
    let name = KeyName::new("example.com/witness").expect("a name");
    let key = strongroom_tlog::SigningKey::from_seed(name, SignatureType::Cosignature, &[7; 32]);
    key.expect("a key").verifier().to_string()
}

/// A founded realm of one host and three custodians, of whom two are enough.
struct Realm {
    folder: PathBuf,
    host: Host,
    /// The custodians', and a stranger's.
    keys: [String; 4],
    founding: String,
}

impl Realm {
    fn new(folder: &Path, port: usize) -> Self {
        let host = hosts(folder, port, 1).remove(0);
        let names = ["alice.key", "bob.key", "carol.key", "mallory.key"];
        let made = names.map(|name| custodian(&host, folder, name));
        let custodians: Vec<_> = made[..3].iter().map(|(key, public)| (&**key, &**public)).collect();
        let founding = found(&host, &custodians);
        Self { folder: folder.into(), host, keys: made.map(|(key, _)| key), founding }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.folder.join(name), text).expect("writable");
        self.file(name)
    }

    /// The line of a custodian who has the founding.
    fn signed(&self, custodian: usize, text: &str) -> String {
        let key = &self.keys[custodian];
        let sign = ["realm", "statement", "sign", "--key", key, "--founding", &self.founding, text];
        self.host.ask(&sign).then("realm statement publish")
    }

    /// The lines of custodians who sign anything.
    fn careless(&self, statement: &RealmStatement, custodians: &[usize]) -> Vec<String> {
        let key = |i: &usize| {
            let pem = fs::read_to_string(&self.keys[*i]).expect("it is there");
            SigningKey::from_pkcs8_pem(&pem).expect("a key")
        };
        let line = |i| sign_statement(&key(i), statement).expect("a key").to_string();
        custodians.iter().map(line).collect()
    }

    fn publish(&self, text: &str, lines: &[String]) -> Result<String, String> {
        let mut publish = vec!["realm", "statement", "publish", text];
        publish.extend(lines.iter().map(String::as_str));
        self.host.run(&publish).map(|printed| printed.out)
    }

    /// Why a statement of these lines is not published, and that it is not.
    fn refused(&self, statement: &RealmStatement, lines: &[String]) -> String {
        let before = fs::read(self.stored()).ok();
        let text = self.write("refused.txt", &statement.to_string());
        let said = self.publish(&text, lines).expect_err("a refusal");
        assert_eq!(fs::read(self.stored()).ok(), before, "nothing was changed: {said}");
        said
    }

    fn stored(&self) -> PathBuf {
        let folder = fs::read_dir(self.folder.join("store/realms")).expect("there is a realm").next();
        folder.expect("there is a realm").expect("readable").path().join("statement")
    }

    fn status(&self) -> String {
        let status = self.host.json(&["realm", "status", "--json"]);
        status["statement_state"].as_str().expect("text").to_owned()
    }

    /// What the doctor says of the statement, and how bad it is.
    fn doctor(&self) -> Vec<(String, String)> {
        let out = self.host.run_anyway(&["doctor", "--json"]);
        let found: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        let findings = found["findings"].as_array().expect("findings").iter();
        let of_it = findings.filter(|finding| finding["about"] == "statement");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        of_it.map(|finding| (text(&finding["level"]), text(&finding["what"]))).collect()
    }
}

#[test]
fn custodians_state_their_realm_as_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let realm = Realm::new(folder.path(), 8850);
    let early = realm.host.run(&["realm", "statement", "show"]).err().expect("there is none");
    assert!(early.contains("the realm has no statement yet"), "{early}");
    assert!(realm.status().contains("none yet") && realm.doctor().is_empty());

    let [block] = &blocks(SECTION)[..] else { panic!("one block") };
    let given = format!("FOUNDING='{}' WITNESS='{}'", realm.founding, witness());
    let said = run(folder.path(), &format!("export {given}\n{block}"));
    for wanted in ["2 of 3 custodians approve", ", signed it", "1 of 1 witnesses", &witness()] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let first = fs::read(realm.stored()).expect("it is there");
    assert_eq!(fs::read(realm.file("statement.signed")).expect("it was written"), first);
    let statement = RealmStatement::verify(&Note::parse(&first).expect("a note")).expect("it counts");
    assert_eq!((statement.version, statement.cosignatures), (1, 1));
    let device = realm.host.json(&["hsm", "status", "--json"]);
    let shown = realm.host.json(&["realm", "statement", "show", "--json"]);
    assert_eq!(shown["builds"], serde_json::json!([device["build"]]));
    assert_eq!(shown["public_key"], device["realm"]["public_key"]);
    assert_eq!(shown["signed_by"].as_array().map(Vec::len), Some(2), "{shown}");
    assert!(realm.status().starts_with("version 1, signed by 2 of its 3 custodians"), "{}", realm.status());
    // It has no group to check yet.
    let check = realm.host.run_anyway(&["check"]);
    assert!(check.contains("statement    version 1, signed by 2"), "{check}");
    assert!(matches!(&realm.doctor()[..], [(level, _)] if level == "well"), "{:?}", realm.doctor());
    let clients = realm.host.ask(&["client-config", "--address", "https://realm.example/"]);
    assert!(clients.err.contains("realm statement show --out"), "{}", clients.err);

    // The third custodian signs the same, and then all have.
    let third = realm.signed(2, &realm.file("statement.txt"));
    realm
        .publish(&realm.file("statement.txt"), std::slice::from_ref(&third))
        .expect_err("one alone is too few");
    realm.publish(&realm.file("statement.signed"), &[third]).expect("they are enough");
    assert!(realm.status().starts_with("version 1, signed by 3 of its 3"), "{}", realm.status());

    // What is put in its place is told, and what custodians signed is put back.
    fs::write(realm.stored(), "strongroom\n").expect("writable");
    assert!(realm.status().starts_with("WRONG: "), "{}", realm.status());
    let check = realm.host.run_anyway(&["check"]);
    assert!(check.contains("statement    WRONG: "), "{check}");
    assert!(matches!(&realm.doctor()[..], [(level, _)] if level == "attention"), "{:?}", realm.doctor());
    let shown = realm.host.run(&["realm", "statement", "show"]).err().expect("it does not count");
    assert!(shown.contains("this statement does not count"), "{shown}");
    let draft = realm.host.run(&["realm", "statement", "draft"]).err().expect("its version is not known");
    assert!(draft.contains("--version N"), "{draft}");
    realm.publish(&realm.file("statement.signed"), &[]).expect("it counts");
    assert_eq!(fs::read(realm.stored()).expect("it is there"), first);
}

#[test]
fn a_statement_is_signed_at_a_console_and_only_a_newer_one_of_this_realm_is_published() {
    let folder = tempfile::tempdir().expect("a folder");
    let realm = Realm::new(folder.path(), 8860);
    let few = ["realm", "statement", "draft", "--witness", &witness(), "--cosignatures", "2"];
    let few = realm.host.run(&few).err().expect("one cannot cosign twice");
    assert!(few.contains("2 witnesses must cosign, but only 1 are known"), "{few}");
    let text = realm.host.ask(&["realm", "statement", "draft"]).out;
    let statement = RealmStatement::parse(&text).expect("a statement");
    assert_eq!((statement.version, statement.cosignatures), (1, 0));
    let file = realm.write("statement.txt", &text);

    // At the console of the HSM, and not at another's words.
    let sign = ["realm", "statement", "sign", "--key", &realm.keys[0], &file];
    let words = realm.host.read_console(&WORDS);
    let line = realm.host.run_typing(&sign, &words).unwrap_or_else(|error| panic!("{error}"));
    let mut lines = vec![line.then("realm statement publish")];
    let other = realm.host.read_console(&["public key", "policy", "public key"]);
    let other = realm.host.run_typing(&sign, &other).err().expect("other words");
    assert!(other.contains("do not sign") && other.contains("checkpoint key"), "{other}");
    let few = realm.refused(&statement, &lines);
    assert!(few.contains("1 of the realm's custodians have signed the statement, and 2 must"), "{few}");
    let twice = realm.refused(&statement, &[lines[0].clone(), lines[0].clone()]);
    assert!(twice.contains("and 2 must"), "{twice}");
    let by_stranger = realm.refused(&statement, &[&lines[..], &realm.careless(&statement, &[3])].concat());
    assert!(by_stranger.contains("none of the custodians that it names"), "{by_stranger}");
    let sign = ["realm", "statement", "sign", "--key", &realm.keys[3], "--founding", &realm.founding, &file];
    let refused = realm.host.run(&sign).err().expect("no custodian");
    assert!(refused.contains("this key is not a custodian's"), "{refused}");
    lines.push(realm.signed(1, &file));
    others_are_refused(&realm, &statement, &lines);

    realm.publish(&file, &lines).expect("they are enough");
    let newer = RealmStatement { version: 5, builds: vec![BuildDigest([8; 32])], ..statement.clone() };
    let text = realm.write("newer.txt", &newer.to_string());
    realm.publish(&text, &realm.careless(&newer, &[0, 2])).expect("it is newer");
    assert!(realm.status().starts_with("version 5, signed by 2"), "{}", realm.status());
    let unnamed = realm.doctor();
    assert!(
        matches!(&unnamed[..], [(level, what)] if level == "attention" && what.contains("does not name build")),
        "{unnamed:?}"
    );
    for version in [1, 4, 5] {
        let older = RealmStatement { version, ..statement.clone() };
        let said = realm.refused(&older, &realm.careless(&older, &[0, 1, 2]));
        assert!(said.contains("another of version 5 exists"), "{said}");
    }
    let draft = realm.host.ask(&["realm", "statement", "draft", "--out", &realm.file("next.txt")]);
    let next = RealmStatement::parse(&fs::read_to_string(realm.file("next.txt")).expect("it was written"));
    assert_eq!(next.map(|next| (next.version, next.builds)), Ok((6, statement.builds)));
    assert!(draft.out.is_empty() && draft.err.contains("no longer  build 0808"), "{}", draft.err);
    let again = ["realm", "statement", "draft", "--out", &realm.file("next.txt")];
    assert!(realm.host.run(&again).err().expect("it exists").contains("choose another name"));
    let lower = realm.host.run(&["realm", "statement", "draft", "--version", "5"]).err().expect("it exists");
    assert!(lower.contains("another of version 5 exists"), "{lower}");
    unfounded_is_not_drafted(&realm);
}

/// Statements that custodians signed without looking, or that were changed afterwards.
fn others_are_refused(realm: &Realm, statement: &RealmStatement, lines: &[String]) {
    let changed = RealmStatement { builds: vec![BuildDigest([9; 32])], ..statement.clone() };
    let said = realm.refused(&changed, lines);
    assert!(said.contains("does not count: the signature of") && said.contains("is bad"), "{said}");
    let other = || statement.clone();
    let checkpoint_key = Ed25519Public(SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes());
    let policy = RealmPolicy { threshold: 1, ..statement.policy.clone() };
    for (what, other) in [
        ("realm", RealmStatement { realm: RealmId([9; 16]), ..other() }),
        ("public key", RealmStatement { noise_key: X25519Public([9; 32]), ..other() }),
        ("policy", RealmStatement { policy, ..other() }),
        ("checkpoint key", RealmStatement { checkpoint_key, ..other() }),
    ] {
        let said = realm.refused(&other, &realm.careless(&other, &[0, 1, 2]));
        assert!(said.contains(&format!("it says another {what} than the HSM")), "{what}: {said}");
    }
    let line = realm.refused(statement, &["a signature".into()]);
    assert!(line.contains("as `realm statement sign` printed it"), "{line}");
}

/// A realm whose stored founding does not count.
fn unfounded_is_not_drafted(realm: &Realm) {
    let founding = realm.stored().with_file_name("founding");
    let draft = || realm.host.run(&["realm", "statement", "draft"]).err().expect("it is not founded");
    fs::write(&founding, "something else").expect("writable");
    let wrong = draft();
    assert!(wrong.contains("this founding does not count"), "{wrong}");
    fs::remove_file(&founding).expect("it is there");
    let missing = draft();
    assert!(missing.contains("the realm's founding is not signed yet"), "{missing}");
}
