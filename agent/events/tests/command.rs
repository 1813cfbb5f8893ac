//! The command `strongroom-events`, as a process.

mod support;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use strongroom_events::page::name;
use support::{Memory, REALM, TENANT, Writer, group, signer};

struct Store {
    folder: tempfile::TempDir,
    memory: Memory,
    rng: StdRng,
    writer: Writer,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        let secret = format!("strongroom-events-secret-1:{}\n", "07".repeat(32));
        fs::write(folder.path().join("events.key"), secret).unwrap();
        fs::set_permissions(folder.path().join("events.key"), fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            folder,
            memory: Memory::default(),
            rng: StdRng::seed_from_u64(1),
            writer: Writer::new(group(1)),
        }
    }

    /// More pages.
    fn write(&mut self, pages: usize) {
        for _ in 0..pages {
            let number = self.writer.number;
            let page = self.writer.page(&mut self.rng, 4);
            self.memory.put(group(1), number, &page);
            let path = self.folder.path().join("store").join(name(&REALM, TENANT, &group(1), number));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // In one step, as agents do.
            let beside = self.folder.path().join("page");
            fs::write(&beside, page.encode().unwrap()).unwrap();
            fs::rename(beside, path).unwrap();
        }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-events"));
        let store = format!("file://{}/store", self.folder.path().display());
        command.current_dir(self.folder.path()).args(["tail", "--store", &store]);
        let by = hex::encode(signer().verifying_key().to_bytes());
        command.args(["--realm", &REALM.to_string(), "--checkpoint-key", &by]);
        command.args(["--tenant", TENANT, "--key", "events.key"]).args(more);
        command
    }

    fn run(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    /// The sequence numbers that it printed.
    fn sequences(&self, more: &[&str]) -> Vec<u64> {
        let output = self.run(&[more, &["--json"]].concat());
        assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(sequence).collect()
    }

    fn all(&self) -> Vec<u64> {
        (0..self.writer.next).collect()
    }
}

fn sequence(line: &str) -> u64 {
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    event["sequence"].as_u64().unwrap()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_key_is_made_once_for_its_owner_alone_and_its_public_key_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let make = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-events"));
        command.current_dir(folder.path()).args(["new-key", "--out", "events.key"]).output().unwrap()
    };
    let made = make();
    let printed = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success() && printed.len() == 65 && printed.ends_with('\n'), "{printed}");
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(
        said.contains(&format!("tenant events-key sign --key FILE --realm REALMID --tenant NAME {printed}")),
        "{said}"
    );
    let path = folder.path().join("events.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(&path).unwrap();
    assert!(!said.contains(secret.trim().rsplit(':').next().unwrap()));
    assert!(refused(&make()).contains("never overwritten"));
    assert_eq!(fs::read_to_string(&path).unwrap(), secret);
}

#[test]
fn events_are_printed_for_people_and_as_json_and_nothing_only_if_it_is_asked_for() {
    let mut store = Store::new();
    store.write(5);
    assert_eq!(store.sequences(&["--all"]), store.all());
    let shown = store.sequences(&[]);
    let something = |(sequence, (_, told)): (u64, &(_, strongroom_events::Told))| {
        (told.what != strongroom_events::What::Nothing).then_some(sequence)
    };
    let expected: Vec<u64> = (0..).zip(&store.writer.told).filter_map(something).collect();
    assert!(shown == expected && shown.len() < store.all().len(), "{shown:?}");
    let output = store.run(&["--all"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for (sequence, (line, (_, told))) in text.lines().zip(&store.writer.told).enumerate() {
        let (what, left, user) = (told.what.name(), told.guesses_left, &told.user);
        let rest = format!("  {what}  {left} left  user {user}  (group {}, sequence {sequence})", group(1));
        assert!(line.starts_with("2026-11-30T20:15:03.") && line.ends_with(&rest), "{line}");
    }
}

#[test]
fn with_offsets_each_consumer_is_told_once() {
    let mut store = Store::new();
    store.write(3);
    let first = ["--all", "--offsets", "first"];
    assert_eq!(store.sequences(&first), store.all());
    assert_eq!(store.sequences(&first), [0; 0]);
    let before = store.writer.next;
    let now = ["--all", "--offsets", "second", "--from", "now"];
    assert_eq!(store.sequences(&now), [0; 0]);
    store.write(2);
    let new: Vec<u64> = (before..store.writer.next).collect();
    assert_eq!(store.sequences(&first), new);
    assert_eq!(store.sequences(&now), new);
    // A place is said on purpose, and goes before what was kept.
    let page = format!("{}:3", group(1));
    assert_eq!(store.sequences(&["--all", "--offsets", "first", "--from", &page]), new);
    let event = format!("{}:3:{}", group(1), before + 1);
    assert_eq!(store.sequences(&["--all", "--from", &event]), new[1..]);
    assert!(refused(&store.run(&["--from", "start", "--from", "now"])).contains("say it once"));
    fs::write(store.folder.path().join("first"), "rubbish").unwrap();
    assert!(refused(&store.run(&first)).contains("first, line 1: not what this command writes"));
}

#[test]
fn what_follows_goes_on_with_new_pages_until_it_is_stopped_and_then_its_offsets_are_kept() {
    let mut store = Store::new();
    store.write(2);
    let follow = ["--all", "--json", "--follow", "--offsets", "offsets"];
    let mut child = store.command(&follow).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| sequence(&line.unwrap()));
    let mut read: Vec<u64> = lines.by_ref().take(store.all().len()).collect();
    let taken = refused(&store.run(&follow));
    assert!(taken.contains("belongs to a consumer that runs"), "{taken}");
    let before = store.all().len();
    store.write(1);
    read.extend(lines.by_ref().take(store.all().len() - before));
    assert_eq!(read, store.all());
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert_eq!(lines.next(), None);
    assert!(child.wait().unwrap().success());
    assert_eq!(store.sequences(&["--all", "--offsets", "offsets"]), [0; 0]);
}

#[test]
fn what_is_wrong_is_said_and_shown_by_the_exit_code() {
    let mut store = Store::new();
    store.write(5);
    let page = |number| store.folder.path().join("store").join(name(&REALM, TENANT, &group(1), number));
    fs::remove_file(page(2)).unwrap();
    let said = refused(&store.run(&["--offsets", "offsets"]));
    assert!(said.contains("page 2 is missing") && said.contains(&format!("--from {}:3", group(1))), "{said}");
    let on = format!("{}:3", group(1));
    assert!(!store.sequences(&["--offsets", "offsets", "--from", &on]).is_empty());
    assert_eq!(store.sequences(&["--offsets", "offsets"]), [0; 0]);
    let other = format!("strongroom-events-secret-1:{}\n", "08".repeat(32));
    fs::write(store.folder.path().join("events.key"), other).unwrap();
    assert!(refused(&store.run(&["--from", &on])).contains("no HSM of the realm signed"));
    fs::set_permissions(store.folder.path().join("events.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&store.run(&[])).contains("chmod 600"));
    let option = store.run(&["--store-option", "hunter2"]);
    let said = refused(&option);
    assert!(said.contains("NAME=VALUE") && !said.contains("hunter2"), "{said}");
}

/// Each command of the document is one of the command line.
#[test]
fn the_commands_of_the_document_are_commands() {
    use clap::Parser as _;
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md"));
    let text = fs::read_to_string(path).unwrap().replace("\\\n", " ");
    let mut seen = 0;
    for written in text.lines().flat_map(|line| line.split("strongroom-events ").skip(1)) {
        let end = written.find(['`', '|', '>', '#', ';', ')']).unwrap_or(written.len());
        let words: Vec<&str> = written[..end].split_whitespace().collect();
        if !matches!(words.first(), Some(&("tail" | "new-key"))) || words.len() < 3 {
            continue;
        }
        let id = "00112233445566778899aabbccddeeff";
        let words = words.iter().map(|word| {
            word.replace("URL", "s3://bucket/realm")
                .replace("REALMID", id)
                .replace("CHECKPOINTKEY", &id.repeat(2))
        });
        let words: Vec<String> = words.map(|word| word.replace("GROUP", id).replace("PAGE", "7")).collect();
        let all = std::iter::once("strongroom-events".to_owned()).chain(words);
        strongroom_events::command::Cli::try_parse_from(all)
            .unwrap_or_else(|error| panic!("{written}: {error}"));
        seen += 1;
    }
    assert!(seen >= 3, "{seen} were found");
}
