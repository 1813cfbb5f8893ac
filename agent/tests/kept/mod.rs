//! Custodians' keys on cards and under a passphrase, through the commands that make and take them.

use crate::parse;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use strongroom_agent::admin::{custodian_key, sign};
use strongroom_agent::cli::Line;
use strongroom_agent::custodian::{age, card::Card};
use strongroom_proto::enrolment::{
    CustodianKey, CustodianSignature, Founding, FoundingStatement, RealmPolicy,
};
use strongroom_proto::ids::{BuildDigest, Ed25519Public, HsmId, RealmId, X25519Public};
use strongroom_tlog::{KeyName, Note, RealmStatement, Signature, SignatureType, VerifierKey};

const PROGRAM: &str = env!("CARGO_BIN_EXE_strongroom-agent");
const PASSPHRASE: &str = "correct horse battery";

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn golden() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// The public key of a witness.
pub(crate) fn witness() -> String {
    let name = KeyName::new("example.com/witness").unwrap();
    let kind = SignatureType::Cosignature;
    strongroom_tlog::SigningKey::from_seed(name, kind, &[7; 32]).unwrap().verifier().to_string()
}

fn write(file: PathBuf, text: impl AsRef<[u8]>, mode: u32) -> String {
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    file.display().to_string()
}

fn execute(arguments: &[&str]) -> Result<(), String> {
    parse(arguments)?.execute().map_err(|error| error.to_string())
}

/// What the command prints, when this is typed; or what it says when it fails.
fn typing(folder: &Path, arguments: &[&str], typed: &str) -> Result<String, String> {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn card(folder: &Path, name: &str) -> String {
    write(folder.join(name), fs::read(tests().join("kept").join(name)).unwrap(), 0o600)
}

/// A transcript that the golden key's custodian can sign, once more.
fn transcript(folder: &Path, name: &str) -> String {
    write(folder.join(name), fs::read(tests().join("golden/not-ended.jsonl")).unwrap(), 0o600)
}

fn seed_of(folder: &Path, name: &str) -> SigningKey {
    SigningKey::from_pkcs8_pem(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn cards_that_another_program_made_years_ago_make_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let texts: Vec<String> =
        (1..=5).map(|i| fs::read_to_string(tests().join(format!("kept/golden.card{i}"))).unwrap()).collect();
    for some in [[0, 1, 2], [4, 1, 3]] {
        let cards: Vec<Card> = some.iter().map(|i| Card::read(&texts[*i]).unwrap()).collect();
        assert_eq!(Card::join(&cards).unwrap(), golden());
    }
    let cards = [5, 2, 3].map(|i| card(folder, &format!("golden.card{i}")));
    let out = folder.join("joined.key").display().to_string();
    let [a, b, c] = &cards;
    let given = ["--card", a, "--card", b, "--card", c];
    execute(&[&["realm", "keep", "--out", &out][..], &given[..]].concat()).unwrap();
    assert_eq!(seed_of(folder, "joined.key"), golden());
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let signed = transcript(folder, "ceremony.jsonl");
    execute(&[&["realm", "transcript", "sign", "--transcript", &signed][..], &given[..]].concat()).unwrap();
    assert!(fs::read_to_string(&signed).unwrap().lines().last().unwrap().contains("\"signed\""));
    let too_few = execute(&["realm", "keep", "--card", a, "--card", b]).unwrap_err();
    assert!(too_few.contains("2 cards are there, and this set needs 3"), "{too_few}");
    let twice = execute(&["realm", "keep", "--card", a, "--card", b, "--card", a]).unwrap_err();
    assert!(twice.contains("card 5 is there twice"), "{twice}");
}

#[test]
fn a_key_is_divided_onto_cards_that_only_together_are_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let of = |name: &str| folder.join(name).display().to_string();
    execute(&["realm", "custodian", "--out", &of("alice.key")]).unwrap();
    execute(&["realm", "keep", "--key", &of("alice.key"), "--out", &of("alice"), "--cards", "2-of-3"])
        .unwrap();
    execute(&["realm", "custodian", "--out", &of("bob"), "--cards", "2-of-3"]).unwrap();
    assert!(!folder.join("bob").exists() && !folder.join("alice").exists(), "a key is nowhere as a whole");
    for i in 1..=3 {
        let mode = fs::metadata(of(&format!("alice.card{i}"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let join = |first: &str, second: &str, out: &str| {
        execute(&["realm", "keep", "--card", &of(first), "--card", &of(second), "--out", &of(out)])
    };
    join("alice.card3", "alice.card1", "again.key").unwrap();
    assert_eq!(seed_of(folder, "again.key"), seed_of(folder, "alice.key"));
    let mixed = join("alice.card3", "bob.card1", "mixed.key").unwrap_err();
    assert!(mixed.contains("not of the same set") && !folder.join("mixed.key").exists(), "{mixed}");
    // Another set of the same key.
    execute(&["realm", "keep", "--key", &of("alice.key"), "--out", &of("alice2"), "--cards", "2-of-3"])
        .unwrap();
    join("alice.card3", "alice2.card1", "mixed.key").unwrap_err();
    let over = execute(&["realm", "custodian", "--out", &of("bob"), "--cards", "2-of-2"]).unwrap_err();
    assert!(over.contains("bob.card1: exists, and keys are never overwritten"), "{over}");
    let text = fs::read_to_string(of("bob.card1")).unwrap();
    let (start, _) = text.trim_end().rsplit_once(' ').unwrap();
    let worn = format!("{start} smudge-here");
    let worn = write(folder.join("worn"), worn, 0o600);
    let said = execute(&["realm", "keep", "--card", &worn, "--card", &of("bob.card2")]).unwrap_err();
    assert!(said.contains("is not in the list of BIP-39") && !said.contains("smudge"), "{said}");
}

#[test]
fn a_founding_is_signed_with_cards_that_are_typed_before_what_the_console_shows() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let custodians = vec![custodian_key(&golden())];
    let founding = Founding {
        realm: RealmId([1; 16]),
        public_key: X25519Public([2; 32]),
        policy: RealmPolicy { custodians, threshold: 1, smallest_group: Some(1) },
        hsm: HsmId([3; 16]),
        build: BuildDigest([4; 32]),
        checkpoint_key: Some(Ed25519Public([5; 32])),
    };
    let line = FoundingStatement { founding: founding.clone(), signatures: vec![] }.to_line();
    let mut typed: String =
        [1, 4, 2].map(|i| fs::read_to_string(tests().join(format!("kept/golden.card{i}"))).unwrap()).concat();
    typed.push_str("drawn here\n");
    founding.parts().iter().for_each(|part| typed.push_str(&format!("{}\n", part.words)));
    let sign = ["realm", "sign", "--card", "-", "--card", "-", "--card", "-", &line];
    let printed = typing(folder, &sign, &typed).unwrap();
    assert_eq!(CustodianSignature::from_line(&printed).unwrap().custodian, custodian_key(&golden()));
    assert!(folder.join("ceremony.jsonl").exists());
    let cut: String = typed.lines().take(7).map(|line| format!("{line}\n")).collect();
    let said = typing(folder, &sign, &cut).unwrap_err();
    assert!(said.contains("this card has 24 words"), "{said}");
}

/// The founding of a realm, and a statement of it whose only custodian has the golden key.
fn founding_and_statement() -> (Founding, RealmStatement) {
    let custodians = vec![custodian_key(&golden())];
    let policy = RealmPolicy { custodians, threshold: 1, smallest_group: Some(1) };
    let (realm, noise_key) = (RealmId([1; 16]), X25519Public([2; 32]));
    let checkpoint_key = Ed25519Public(SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes());
    let (hsm, build) = (HsmId([3; 16]), BuildDigest([4; 32]));
    let founding = Founding {
        realm,
        public_key: noise_key,
        policy: policy.clone(),
        hsm,
        build,
        checkpoint_key: Some(checkpoint_key),
    };
    let statement = RealmStatement {
        realm,
        version: 2,
        noise_key,
        checkpoint_key,
        policy,
        builds: vec![build],
        witnesses: vec![witness().parse().unwrap()],
        cosignatures: 1,
    };
    (founding, statement)
}

/// Whether it is the golden key's custodian's signature of the statement, and the statement with it.
fn counts(statement: &RealmStatement, line: &str) -> String {
    let note = Note::new(statement.to_string(), vec![Signature::parse(line).unwrap()]).unwrap();
    assert_eq!(RealmStatement::verify(&note).as_ref(), Ok(statement));
    note.to_string()
}

#[test]
fn a_statement_is_signed_with_cards_that_are_typed_before_what_the_console_shows() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_, statement) = founding_and_statement();
    let text = write(folder.join("statement.txt"), statement.to_string(), 0o644);
    let cards: String =
        [1, 4, 2].map(|i| fs::read_to_string(tests().join(format!("kept/golden.card{i}"))).unwrap()).concat();
    let words: String = statement.parts().iter().map(|part| format!("{}\n", part.words)).collect();
    let sign = ["realm", "statement", "sign", "--card", "-", "--card", "-", "--card", "-", &text];
    counts(&statement, &typing(folder, &sign, &format!("{cards}{words}")).unwrap());
    assert!(!folder.join("ceremony.jsonl").exists(), "it is no part of a ceremony");
    // The words of another checkpoint key are not told, nor those of this one.
    let other = RealmStatement { checkpoint_key: Ed25519Public([9; 32]), ..statement.clone() };
    let words: String = other.parts().iter().map(|part| format!("{}\n", part.words)).collect();
    let said = typing(folder, &sign, &format!("{cards}{words}")).unwrap_err();
    assert!(said.contains("not the words for the checkpoint key") && said.contains("do not sign"), "{said}");
    assert!(!said.contains(&statement.parts()[2].words.to_string()), "{said}");
}

#[test]
fn a_statement_is_signed_against_the_founding_that_a_custodian_holds_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (founding, statement) = founding_and_statement();
    let pass = write(folder.join("passphrase"), format!("{PASSPHRASE}\n"), 0o600);
    let age = write(folder.join("golden.age"), fs::read(tests().join("kept/golden.age")).unwrap(), 0o600);
    let text = write(folder.join("statement.txt"), statement.to_string(), 0o644);
    let with = |founding: &Founding, is_signed: bool| {
        let signatures = if is_signed { vec![sign(&golden(), &founding.digest())] } else { vec![] };
        let line = FoundingStatement { founding: founding.clone(), signatures }.to_line();
        let key = ["--key", &age, "--passphrase-file", &pass, "--founding", &line, &text];
        typing(folder, &[&["realm", "statement", "sign"][..], &key[..]].concat(), "")
    };
    let signed = counts(&statement, &with(&founding, true).unwrap());
    let unsigned = with(&founding, false).unwrap_err();
    assert!(unsigned.contains("not signed by enough custodians"), "{unsigned}");
    let mut others = [founding.clone(), founding.clone(), founding.clone(), founding.clone()];
    others[0].realm = RealmId([9; 16]);
    others[1].public_key = X25519Public([9; 32]);
    others[2].policy.smallest_group = None;
    others[3].checkpoint_key = Some(Ed25519Public([9; 32]));
    for other in &others {
        let said = with(other, true).unwrap_err();
        assert!(said.contains("than the founding") && said.contains("do not sign it"), "{said}");
    }
    let before = with(&Founding { checkpoint_key: None, ..founding.clone() }, true).unwrap_err();
    assert!(before.contains("leave `--founding` out"), "{before}");

    // What has changed since the one before it; and one that is no later one.
    let signed = write(folder.join("signed"), signed, 0o644);
    let line = {
        let signatures = vec![sign(&golden(), &founding.digest())];
        FoundingStatement { founding, signatures }.to_line()
    };
    let after = |statement: &RealmStatement| {
        let text = write(folder.join("next.txt"), statement.to_string(), 0o644);
        let mut command = Command::new(PROGRAM);
        command.args(["realm", "statement", "sign", "--key", &age, "--passphrase-file", &pass]);
        command.args(["--founding", &line, "--earlier", &signed, &text]).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let same = after(&RealmStatement { version: 3, ..statement.clone() });
    assert!(same.0 && same.1.contains("It says the same as version 2."), "{}", same.1);
    let builds = vec![BuildDigest([8; 32])];
    let changed =
        RealmStatement { version: 3, builds, witnesses: vec![], cosignatures: 0, ..statement.clone() };
    let (is_signed, said) = after(&changed);
    let lines = [
        format!("no longer  build {}", "04".repeat(32)),
        format!("new        build {}", "08".repeat(32)),
        format!("no longer  witness {}", witness()),
        "0 witnesses must cosign, and not 1".into(),
    ];
    assert!(is_signed && lines.iter().all(|line| said.contains(line)), "{said}");
    // A witness whose name would hide what follows it.
    let key = witness().parse::<VerifierKey>().unwrap().public();
    let hidden = KeyName::new("example.com/\u{202e}\u{9b}x").unwrap();
    let hidden = VerifierKey::new(hidden, SignatureType::Cosignature, &key).unwrap();
    let (is_signed, said) =
        after(&RealmStatement { witnesses: vec![hidden], cosignatures: 1, ..changed.clone() });
    assert!(is_signed && said.matches("example.com/\u{fffd}\u{fffd}x+").count() == 2, "{said:?}");
    assert!(!said.contains(['\u{202e}', '\u{9b}']), "{said:?}");
    let (is_signed, said) = after(&RealmStatement { version: 2, ..changed });
    assert!(!is_signed && said.contains("another of version 2 exists"), "{said}");
    let unsigned = write(folder.join("signed"), statement.to_string(), 0o644);
    let (is_signed, said) = after(&RealmStatement { version: 3, ..statement });
    assert!(!is_signed && said.contains(&unsigned), "{said}");
}

#[test]
fn a_statement_that_is_not_one_or_leaves_this_custodian_out_is_not_signed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_, statement) = founding_and_statement();
    execute(&["realm", "custodian", "--out", &folder.join("alice.key").display().to_string()]).unwrap();
    let alice = folder.join("alice.key").display().to_string();
    let sign = |text: &[u8]| {
        let text = write(folder.join("statement.txt"), text, 0o644);
        execute(&["realm", "statement", "sign", "--key", &alice, &text]).unwrap_err()
    };
    let left_out = sign(statement.to_string().as_bytes());
    assert!(left_out.contains("its maker left you out"), "{left_out}");
    let text = statement.to_string();
    for (text, why) in [
        (text.replace("cosignatures 1", "cosignatures 2"), "2 witnesses must cosign, but only 1 are known"),
        (text.replace("threshold 1", "threshold 2"), "make no policy"),
        (text.replace('\n', "\r\n"), "line 1 of the statement"),
        (text.replace("version 2", "version 02"), "line 2 of the statement"),
        (format!("{text}\n"), "line 11 of the statement"),
        (String::new(), "line 1 of the statement"),
    ] {
        let said = sign(text.as_bytes());
        assert!(said.contains("does not count") && said.contains(why), "{why}: {said}");
    }
    assert!(sign(b"\xff").contains("it is no text"));
    assert!(sign(&vec![b'a'; 300_000]).contains("too long for a statement"));
    let missing = execute(&["realm", "statement", "sign", "--key", &alice, "nowhere.txt"]).unwrap_err();
    assert!(missing.contains("nowhere.txt: cannot be read"), "{missing}");
}

#[test]
fn a_key_under_a_passphrase_opens_with_it_alone_and_in_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let of = |name: &str| folder.join(name).display().to_string();
    // Whoever has the file has nothing without the passphrase: who may read it does not matter.
    let golden_age =
        write(folder.join("golden.age"), fs::read(tests().join("kept/golden.age")).unwrap(), 0o644);
    let pass = write(folder.join("passphrase"), format!("{PASSPHRASE}\n"), 0o600);
    let signed = transcript(folder, "ceremony.jsonl");
    let with = ["--key", &golden_age, "--passphrase-file", &pass];
    execute(&[&["realm", "transcript", "sign", "--transcript", &signed][..], &with[..]].concat()).unwrap();
    let wrong = write(folder.join("wrong"), "correct horse\n", 0o600);
    let said = execute(&["realm", "keep", "--key", &golden_age, "--passphrase-file", &wrong]).unwrap_err();
    assert!(said.contains("the passphrase is not the one") && !said.contains("horse"), "{said}");

    let new = ["--age", "--new-passphrase-file", &pass, "--out"];
    execute(&[&["realm", "custodian"][..], &new[..], &[of("alice.age").as_str()]].concat()).unwrap();
    let file = fs::read(of("alice.age")).unwrap();
    assert!(file.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n"));
    assert_eq!(fs::metadata(of("alice.age")).unwrap().permissions().mode() & 0o777, 0o600);
    let key = age::decrypt(&file, PASSPHRASE).unwrap();
    let key = SigningKey::from_pkcs8_pem(std::str::from_utf8(&key).unwrap()).unwrap();
    let with = ["--key", &of("alice.age"), "--passphrase-file", &pass];
    execute(&[&["realm", "keep", "--out", &of("alice.key")][..], &with[..]].concat()).unwrap();
    assert_eq!(seed_of(folder, "alice.key"), key);
    let short = write(folder.join("short"), "four words?", 0o600);
    let said =
        execute(&["realm", "custodian", "--out", &of("bob"), "--age", "--new-passphrase-file", &short]);
    assert!(said.unwrap_err().contains("12 characters") && !folder.join("bob").exists());
    let two = write(folder.join("two"), "one line of it\nand another\n", 0o600);
    let said = execute(&["realm", "keep", "--key", &of("alice.age"), "--passphrase-file", &two]).unwrap_err();
    assert!(said.contains("one line of text"), "{said}");
}

#[test]
fn a_new_passphrase_is_one_that_can_be_typed_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let of = |name: &str| folder.join(name).display().to_string();
    for wrong in
        [" four words of dice", "four words of dice ", "four\twords of dice", "four words\0of dice\r\r"]
    {
        let pass = write(folder.join("passphrase"), wrong, 0o600);
        let new = ["realm", "custodian", "--out", &of("bob"), "--age", "--new-passphrase-file", &pass];
        let said = execute(&new).unwrap_err();
        assert!(said.contains("nobody could type it again") && !folder.join("bob").exists(), "{said}");
    }
}

#[test]
fn what_an_editor_puts_before_a_text_is_no_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let marked =
        |name: &str, bytes: &[u8]| write(folder.join(name), ["\u{feff}".as_bytes(), bytes].concat(), 0o600);
    let golden_age = marked("golden.age", &fs::read(tests().join("kept/golden.age")).unwrap());
    let pass = marked("passphrase", PASSPHRASE.as_bytes());
    let out = folder.join("plain.key").display().to_string();
    execute(&["realm", "keep", "--key", &golden_age, "--passphrase-file", &pass, "--out", &out]).unwrap();
    assert_eq!(seed_of(folder, "plain.key"), golden());
    let plain = marked("marked.key", &fs::read(&out).unwrap());
    execute(&["realm", "keep", "--key", &plain]).unwrap();
    let cards = [1, 2, 3].map(|i| {
        let name = format!("golden.card{i}");
        marked(&name, &fs::read(tests().join("kept").join(&name)).unwrap())
    });
    let [a, b, c] = &cards;
    execute(&["realm", "keep", "--card", a, "--card", b, "--card", c]).unwrap();
}

#[test]
fn what_cannot_be_read_or_written_is_said_before_a_secret_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let of = |name: &str| folder.join(name).display().to_string();
    execute(&["realm", "custodian", "--out", &of("alice.key")]).unwrap();
    let pass = write(folder.join("passphrase"), PASSPHRASE, 0o600);
    let said = execute(&["realm", "keep", "--key", &of("alice.key"), "--passphrase-file", &pass]);
    assert!(said.unwrap_err().contains("this key is not encrypted"));
    let others = format!("age-encryption.org/v1\n-> X25519 abc\n{0}\n--- {0}\n", "A".repeat(43));
    let others = write(folder.join("others.age"), others, 0o600);
    let said = execute(&["realm", "keep", "--key", &others, "--passphrase-file", &of("none")]).unwrap_err();
    assert!(said.contains("not a file that `age -p` writes"), "{said}");
    for out in [of(""), of("."), of("dave/")] {
        let said = execute(&["realm", "custodian", "--out", &out, "--cards", "2-of-3"]).unwrap_err();
        assert!(said.contains("names a folder"), "{said}");
    }
    assert!(!folder.join(".card1").exists() && !folder.join("dave").exists());
}

#[test]
fn a_typed_line_that_is_no_text_ends_a_card() {
    let folder = tempfile::tempdir().unwrap();
    let typed = folder.path().join("typed");
    fs::write(&typed, b"abandon \xff\nabandon\n").unwrap();
    let mut typed = fs::File::open(typed).unwrap();
    let mut keep = Command::new(PROGRAM);
    keep.args(["realm", "keep", "--card", "-"]).stdin(typed.try_clone().unwrap());
    let said = String::from_utf8(keep.output().unwrap().stderr).unwrap();
    assert!(said.contains("it is no text"), "{said}");
    assert_eq!(typed.stream_position().unwrap(), 10, "the second line is for whoever reads next");
}

#[test]
fn nothing_is_left_of_a_key_that_the_disk_does_not_take() {
    let folder = tempfile::tempdir().unwrap();
    for kept in ["", "--cards 2-of-3"] {
        let full = format!("trap '' XFSZ; ulimit -f 0; exec '{PROGRAM}' realm custodian --out alice {kept}");
        let output = Command::new("bash").args(["-c", &full]).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("cannot be written") && !output.status.success(), "{said}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn no_core_dump_has_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.display().to_string();
    for arguments in [
        &["realm", "keep", "--key", &pipe][..],
        &["realm", "transcript", "sign", "--key", &pipe],
        &["realm", "custodian", "--out", "alice", "--age", "--new-passphrase-file", &pipe],
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Waits until the program opens it to read.
        let secret = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        drop(secret);
        assert!(!child.wait().unwrap().success());
        let cores = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        assert_eq!(cores.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{arguments:?}");
    }
}

#[test]
fn what_others_may_read_is_no_secret_and_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let of = |name: &str| folder.join(name).display().to_string();
    execute(&["realm", "custodian", "--out", &of("alice.key")]).unwrap();
    execute(&["realm", "keep", "--key", &of("alice.key")]).unwrap();
    let copy = write(folder.join("copy.key"), fs::read(of("alice.key")).unwrap(), 0o644);
    let golden_age =
        write(folder.join("golden.age"), fs::read(tests().join("kept/golden.age")).unwrap(), 0o600);
    let pass = write(folder.join("passphrase"), PASSPHRASE, 0o640);
    let golden_card = write(folder.join("card"), fs::read(tests().join("kept/golden.card1")).unwrap(), 0o604);
    for given in [
        &["--key", &copy][..],
        &["--key", &golden_age, "--passphrase-file", &pass],
        &["--card", &golden_card, "--card", &golden_card],
    ] {
        let said = execute(&[&["realm", "keep"][..], given].concat()).unwrap_err();
        assert!(said.contains("others may read it") && said.contains("chmod 600"), "{said}");
    }
    let long = write(folder.join("long"), vec![b'a'; 20_000], 0o600);
    for given in [["--key", &long], ["--card", &long], ["--key", "/dev/zero"]] {
        let said = execute(&[&["realm", "keep"][..], &given[..]].concat()).unwrap_err();
        assert!(said.contains("too long"), "{said}");
    }
}

#[test]
fn a_key_is_named_in_one_way_and_no_secret_is_an_argument() {
    for wrong in [
        &["realm", "keep"][..],
        &["realm", "keep", "--key", "a", "--card", "b"],
        &["realm", "keep", "--card", "a", "--passphrase-file", "p"],
        &["realm", "keep", "--key", "a", "--age"],
        &["realm", "keep", "--key", "a", "--cards", "2-of-3"],
        &["realm", "keep", "--key", "a", "--out", "b", "--new-passphrase-file", "p"],
        &["realm", "custodian", "--out", "b", "--age", "--cards", "2-of-3"],
        &["realm", "custodian", "--out", "b", "--cards", "4-of-3"],
        &["realm", "custodian", "--out", "b", "--passphrase", "words"],
        &["realm", "sign", "founding"],
        &["hsm", "approve", "--founding", "f", "approval"],
        &["realm", "statement", "sign", "text"],
        &["realm", "statement", "sign", "--key", "a", "--card", "b", "text"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    for right in [
        &["realm", "sign", "--card", "a", "--card", "-", "founding"][..],
        &["hsm", "approve", "--card", "a", "--card", "b", "--founding", "f", "approval"],
        &["hsm", "approve", "--key", "a", "--passphrase-file", "p", "--founding", "f", "approval"],
        &["realm", "transcript", "sign", "--card", "a", "--card", "b"],
        &["realm", "statement", "sign", "--card", "a", "--card", "-", "--earlier", "e", "text"],
        &["realm", "statement", "sign", "--key", "a", "--passphrase-file", "p", "--founding", "f", "text"],
        &["realm", "rehearse", "--keys", "cards"],
    ] {
        parse(right).unwrap_or_else(|error| panic!("{right:?}: {error}"));
    }
}

#[test]
fn the_commands_about_cards_work_as_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../../docs/running.md");
    let section = text.split("\n## ").find(|part| part.starts_with("How a custodian keeps the key")).unwrap();
    let block = section.split("\n```sh\n").nth(1).unwrap().split("\n```").next().unwrap();
    let program = Path::new(PROGRAM).parent().unwrap().display().to_string();
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &format!("{block}\necho $DAVE")]).current_dir(folder.path());
    bash.env("PATH", format!("{program}:{}", std::env::var("PATH").unwrap()));
    let output = bash.stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let public = custodian_key(&seed_of(folder.path(), "dave.key")).0.to_string();
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        [&public[..]; 3],
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_rehearsal_takes_no_card_that_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let signed = transcript(folder, "ceremony.jsonl");
    let typed: String =
        [1, 4, 2].map(|i| fs::read_to_string(tests().join(format!("kept/golden.card{i}"))).unwrap()).concat();
    let cards = ["--card", "-", "--card", "-", "--card", "-"];
    let sign =
        [&["realm", "transcript", "sign", "--rehearsal", "--transcript", &signed][..], &cards[..]].concat();
    // In a rehearsal's folder, with a file of that name; and before anybody types one.
    fs::write(folder.join("rehearsal-only"), "strongroom rehearsal 1\n").unwrap();
    fs::write(folder.join("-"), "").unwrap();
    let said = typing(folder, &sign, "").unwrap_err();
    assert!(said.contains("nothing was done: --rehearsal is for"), "{said}");
    let public: CustodianKey = custodian_key(&golden());
    let keep = [&["realm", "keep"][..], &cards[..]].concat();
    assert_eq!(typing(folder, &keep, &typed).unwrap(), public.0.to_string());
}
