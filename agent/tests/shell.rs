//! The link to the HSM when replies are late, lost or cut off; and the command line.

mod kept;

use clap::Parser;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strongroom_agent::cli::{Cli, Command, GroupCommand, HsmCommand, Line, RealmCommand, StatementCommand};
use strongroom_agent::config::HsmAddress;
use strongroom_agent::link::{Link, Lost, SocketLink};
use strongroom_proto::frame::{Decoder, Frame, MAX_FRAME_BYTES};
use strongroom_proto::ids::HsmId;
use strongroom_proto::statement::GroupStatement;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};

/// One connection as an HSM sees it.
struct Device {
    stream: UnixStream,
    decoder: Decoder,
}

impl Device {
    async fn accept(listener: &UnixListener) -> Self {
        Self { stream: listener.accept().await.unwrap().0, decoder: Decoder::new(MAX_FRAME_BYTES) }
    }

    async fn request(&mut self) -> Frame {
        let mut byte = [0];
        loop {
            assert_eq!(self.stream.read(&mut byte).await.unwrap(), 1, "the agent closed the link");
            if let Some(frame) = self.decoder.push(&mut byte.as_slice()).unwrap() {
                return frame;
            }
        }
    }

    async fn reply(&mut self, to: &Frame, payload: &[u8]) {
        self.stream
            .write_all(&Frame::encode(to.request_id, payload, MAX_FRAME_BYTES).unwrap())
            .await
            .unwrap();
    }
}

/// A device, and a link to it. What is written to a Unix socket can be read at once, so the test's clock moves on only
/// when nothing is coming.
fn device() -> (TempDir, UnixListener, SocketLink) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hsm.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    (folder, listener, SocketLink::with_timeout(HsmAddress::Unix(socket), Duration::from_millis(300)))
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_one_after_another_on_one_connection() {
    let (_folder, listener, link) = device();
    let hsm = tokio::spawn(async move {
        let mut device = Device::accept(&listener).await;
        for _ in 0..10 {
            let request = device.request().await;
            let echo = request.payload.clone();
            device.reply(&request, &echo).await;
        }
    });
    for n in 0..10u8 {
        assert_eq!(link.call(vec![n; 3]).await, Ok(vec![n; 3]));
    }
    hsm.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_is_discarded_and_the_next_request_gets_its_own() {
    let (_folder, listener, link) = device();
    let (give_up, mut given_up) = mpsc::channel(1);
    let hsm = tokio::spawn(async move {
        let mut device = Device::accept(&listener).await;
        let first = device.request().await;
        given_up.recv().await.unwrap();
        let second = device.request().await;
        device.reply(&first, b"late").await;
        device.reply(&second, b"second").await;
    });
    assert_eq!(link.call(b"one".to_vec()).await, Err(Lost));
    give_up.send(()).await.unwrap();
    assert_eq!(link.call(b"two".to_vec()).await, Ok(b"second".to_vec()));
    hsm.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_link_cut_in_the_middle_of_a_reply_loses_it_and_connects_again() {
    let (_folder, listener, link) = device();
    let hsm = tokio::spawn(async move {
        let mut device = Device::accept(&listener).await;
        let request = device.request().await;
        let reply = Frame::encode(request.request_id, b"cut short", MAX_FRAME_BYTES).unwrap();
        device.stream.write_all(&reply[..10]).await.unwrap();
        drop(device);
        let mut device = Device::accept(&listener).await;
        let request = device.request().await;
        device.reply(&request, b"whole").await;
    });
    assert_eq!(link.call(b"one".to_vec()).await, Err(Lost));
    assert_eq!(link.call(b"two".to_vec()).await, Ok(b"whole".to_vec()));
    hsm.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ended_while_nothing_was_asked_costs_no_request() {
    let (_folder, listener, link) = device();
    let (restart, restarted) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (stop, up) = (Arc::clone(&restart), Arc::clone(&restarted));
    let hsm = tokio::spawn(async move {
        let mut device = Device::accept(&listener).await;
        let request = device.request().await;
        device.reply(&request, b"before").await;
        stop.notified().await;
        drop(device);
        up.notify_one();
        let mut device = Device::accept(&listener).await;
        let request = device.request().await;
        device.reply(&request, b"after").await;
    });
    assert_eq!(link.call(b"one".to_vec()).await, Ok(b"before".to_vec()));
    restart.notify_one();
    restarted.notified().await;
    assert_eq!(link.call(b"two".to_vec()).await, Ok(b"after".to_vec()));
    hsm.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_after_three_lost_replies() {
    let (_folder, listener, link) = device();
    let hsm = tokio::spawn(async move {
        let mut dead = Device::accept(&listener).await;
        for _ in 0..3 {
            dead.request().await;
        }
        let mut device = Device::accept(&listener).await;
        let request = device.request().await;
        device.reply(&request, b"alive").await;
    });
    for _ in 0..3 {
        assert_eq!(link.call(b"x".to_vec()).await, Err(Lost));
    }
    assert_eq!(link.call(b"x".to_vec()).await, Ok(b"alive".to_vec()));
    hsm.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frame_too_long_to_read_loses_the_reply_and_the_connection() {
    let (_folder, listener, link) = device();
    let hsm = tokio::spawn(async move {
        let mut device = Device::accept(&listener).await;
        device.request().await;
        device.stream.write_all(&[0xff; 8]).await.unwrap();
        let mut device = Device::accept(&listener).await;
        let request = device.request().await;
        device.reply(&request, b"sane").await;
    });
    assert_eq!(link.call(b"x".to_vec()).await, Err(Lost));
    assert_eq!(link.call(b"x".to_vec()).await, Ok(b"sane".to_vec()));
    hsm.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_to_an_absent_hsm_is_lost_in_bounded_time_and_the_hsm_is_found_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hsm.sock");
    let link = SocketLink::with_timeout(HsmAddress::Unix(socket.clone()), Duration::from_millis(100));
    assert_eq!(link.call(b"x".to_vec()).await, Err(Lost));
    let listener = UnixListener::bind(&socket).unwrap();
    let hsm = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 9];
        stream.read_exact(&mut request).await.unwrap();
        let id = u32::from_be_bytes(request[4..8].try_into().unwrap());
        stream.write_all(&Frame::encode(id, b"here", MAX_FRAME_BYTES).unwrap()).await.unwrap();
    });
    assert_eq!(link.call(b"x".to_vec()).await, Ok(b"here".to_vec()));
    hsm.await.unwrap();
}

fn parse(arguments: &[&str]) -> Result<Cli, String> {
    let all = ["strongroom-agent"].iter().chain(arguments);
    Cli::try_parse_from(all).map_err(|error| error.to_string())
}

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn without_a_subcommand_the_agent_runs() {
    let cli = parse(&["--config", "x.toml"]).unwrap();
    assert_eq!(cli.config, Path::new("x.toml"));
    assert!(matches!(cli.command.unwrap_or_default(), Command::Run));
}

#[test]
fn a_realm_without_custodians_has_to_be_asked_for_by_name() {
    let unnamed = parse(&["realm", "create"]).unwrap().execute().unwrap_err().to_string();
    assert!(unnamed.contains("--custodian") && unnamed.contains("--closed"), "{unnamed}");
    assert!(parse(&["realm", "create", "--closed", "--custodian", KEY]).is_err());
    assert!(parse(&["realm", "create", "--closed", "--threshold", "1"]).is_err());
    assert!(parse(&["realm", "create", "--custodian", "abc"]).unwrap_err().contains("64 hexadecimal digits"));
    assert!(parse(&["realm", "create", "--custodian", KEY, "--threshold", "0"]).is_err());
    let cli =
        parse(&["realm", "create", "--custodian", KEY, "--custodian", KEY, "--threshold", "2"]).unwrap();
    let Some(Command::Realm(RealmCommand::Create(create))) = cli.command else { panic!() };
    assert_eq!((create.custodians.len(), create.threshold), (2, Some(2)));
}

#[test]
fn a_group_is_created_from_ids_separated_by_commas() {
    let (a, b) = ("00112233445566778899aabbccddeeff", "ff112233445566778899aabbccddee00");
    let (both, spaced) = (format!("{a},{b}"), format!("{a}, {b} "));
    let after_a = format!("{a},");
    // As shells split it with and without spaces and quotes.
    for typed in [vec![&*both], vec![&*spaced], vec![&*after_a, b], vec![a, ",", b], vec![a, b]] {
        let cli = parse(&[vec!["group", "create", "--yes", "--members"], typed.clone()].concat()).unwrap();
        let Some(Command::Group(GroupCommand::Create { members, yes: true })) = cli.command else { panic!() };
        let members: Vec<HsmId> = members.into_iter().flat_map(|members| members.0).collect();
        assert_eq!(members, [a.parse().unwrap(), b.parse().unwrap()], "{typed:?}");
    }
    assert!(parse(&["group", "create"]).is_err());
    let wrong = parse(&["group", "create", "--members", "xyz"]).unwrap_err();
    assert!(wrong.contains("`hsm status` shows"), "{wrong}");
}

#[test]
fn without_a_configuration_the_options_that_say_where_it_is_are_named() {
    let error =
        parse(&["--config", "/nowhere/agent.toml", "group", "status"]).unwrap().execute().unwrap_err();
    let error = error.to_string();
    assert!(error.contains("/nowhere/agent.toml"), "{error}");
    assert!(["--config", "--agent", "--identity"].iter().all(|option| error.contains(option)), "{error}");
}

/// What stands in for values in the documents.
fn value(word: &str) -> String {
    const ID: &str = "00112233445566778899aabbccddeeff";
    match word.trim_start_matches('$') {
        "ALICE" | "BOB" | "CAROL" => KEY.into(),
        "MEMBERS" | "HSMID,HSMID,HSMID" => [ID; 3].join(","),
        "FIRST" | "SECOND" | "LOST" | "NEW" => ID.into(),
        "URL" => "s3://my-bucket/realm".into(),
        "WITNESS" => kept::witness(),
        other => other.trim_end_matches('…').into(),
    }
}

#[test]
fn the_commands_of_the_documents_are_commands() {
    let mut seen = 0;
    for document in ["running.md", "storage.md", "events.md"] {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(document);
        let text = std::fs::read_to_string(path).unwrap();
        let cargo = |line: &&str| !line.contains("-p strongroom-agent");
        for written in text.lines().filter(cargo).flat_map(|line| line.split("strongroom-agent ").skip(1)) {
            let written = written.split("2>").next().unwrap_or_default();
            let end = written.find(['`', ')', '|', '>', '<', ';', '#']).unwrap_or(written.len());
            let words: Vec<String> = written[..end].split_whitespace().map(value).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            parse(&words).unwrap_or_else(|error| panic!("{document}: {written}: {error}"));
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} were found");
}

#[test]
fn an_export_needs_a_signature() {
    assert!(parse(&["hsm", "export", "approval"]).is_err());
    let cli = parse(&["hsm", "export", "approval", "one", "two", "--config", "y.toml"]).unwrap();
    let Some(Command::Hsm(HsmCommand::Export { signatures, .. })) = cli.command else { panic!() };
    assert_eq!(signatures, ["one", "two"]);
}

#[test]
fn a_statement_has_a_version_witnesses_that_are_and_no_cosignatures_without_them() {
    let draft = |given: &[&str]| parse(&[&["realm", "statement", "draft"][..], given].concat());
    let witness = kept::witness();
    let cli =
        draft(&["--version", "7", "--witness", &witness, "--cosignatures", "1", "--build", KEY]).unwrap();
    let Some(Command::Realm(RealmCommand::Statement(StatementCommand::Draft(draft_of)))) = cli.command else {
        panic!()
    };
    assert_eq!((draft_of.version, draft_of.cosignatures), (Some(7), Some(1)));
    assert_eq!((draft_of.witnesses.len(), draft_of.builds.len()), (1, 1));
    assert!(draft(&["--cosignatures", "1"]).is_err(), "of no witnesses");
    assert!(draft(&["--build", "abc"]).is_err() && draft(&["--version", "-1"]).is_err());
    let changed = draft(&["--witness", &witness.replacen("example", "exemple", 1)]).unwrap_err();
    assert!(changed.contains("the id in the key is not that of its name"), "{changed}");
}

mod lines {
    use super::*;
    use strongroom_proto::enrolment::{Attestation, EnrolmentRequest};
    use strongroom_proto::ids::{BuildDigest, Nonce, X25519Public};

    fn request() -> EnrolmentRequest {
        EnrolmentRequest {
            importer: HsmId([1; 16]),
            device_key: X25519Public([2; 32]),
            build: BuildDigest([3; 32]),
            nonce: Nonce([4; 16]),
            attestation: Attestation::none(),
        }
    }

    #[test]
    fn a_line_survives_pasting() {
        let line = request().to_line();
        assert!(line.starts_with("strongroom-request-2:"), "{line}");
        let (a, b) = line.split_at(30);
        assert_eq!(EnrolmentRequest::from_line(&format!(" {a}\n {b}\n")), Ok(request()));
    }

    #[test]
    fn a_line_that_is_cut_altered_or_of_another_kind_is_refused() {
        let line = request().to_line();
        for end in 0..line.len() {
            assert!(EnrolmentRequest::from_line(&line[..end]).is_err(), "{end}");
        }
        assert!(EnrolmentRequest::from_line(&format!("{line}AA")).is_err());
        let error = GroupStatement::from_line(&line).unwrap_err().to_string();
        assert!(error.contains("group create"), "{error}");
    }
}

mod custodians {
    use super::*;
    use ed25519_dalek::pkcs8::DecodePrivateKey;
    use ed25519_dalek::{Signature, SigningKey};
    use std::os::unix::fs::PermissionsExt;
    use strongroom_agent::admin::{custodian_key, sign};
    use strongroom_proto::ids::Digest;

    #[test]
    fn a_custodian_key_is_private_never_overwritten_and_signs_approvals() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        let make = || parse(&["realm", "custodian", "--out", file.to_str().unwrap()]).unwrap().execute();
        make().unwrap();
        let before = std::fs::read_to_string(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(make().unwrap_err().to_string().contains("never overwritten"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before);

        let key = SigningKey::from_pkcs8_pem(&before).unwrap();
        let signed = sign(&key, &Digest([5; 32]));
        assert_eq!(signed.custodian, custodian_key(&key));
        let signature = Signature::from_bytes(&signed.signature);
        key.verifying_key().verify_strict(&[5; 32], &signature).unwrap();
    }
}
