//! The `strongroom` command, run as users run it, against the realms over HTTP.

#[allow(dead_code, reason = "the SDK's own tests use the rest")]
#[path = "../../tests/operations/realms.rs"]
mod realms;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use strongroom_client::{HttpResponse, Transport as _};
use strongroom_proto::checkpoint::origin;
use strongroom_proto::enrolment::{CustodianKey, RealmPolicy};
use strongroom_proto::ids::{Digest, GroupId, RealmId, TreeHash, X25519Public};
use strongroom_tlog::{Checkpoint, KeyName, Note, RealmStatement, SignatureType, SigningKey};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use realms::Realms;

/// Passes one request to the realm that its path names.
async fn serve(stream: TcpStream, realms: Realms) {
    serve_beside(stream, realms, None).await;
}

/// The same, and shows as the head of every log what is in this file.
async fn serve_beside(stream: TcpStream, realms: Realms, head: Option<PathBuf>) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut number, mut length, mut reads) = (String::new(), 0, 0, false);
    let mut listed = None;
    while stream.read_line(&mut line).await.unwrap() > 2 {
        let lower = line.to_lowercase();
        if let Some(path) = lower.strip_prefix("post /realm-") {
            number = path.split('/').next().unwrap().parse().unwrap();
        }
        reads |= lower.starts_with("get /realm-0/tlog/mine ");
        if let Some((number, _)) =
            lower.strip_prefix("get /realm-").and_then(|path| path.split_once("/extensions "))
        {
            listed = Some(format!("https://realm-{number}.example/extensions").parse().unwrap());
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let url = format!("https://realm-{number}.example/req").parse().unwrap();
    let response = if reads {
        let shown = head.and_then(|path| std::fs::read(path).ok());
        let status = if shown.is_some() { 200 } else { 404 };
        HttpResponse { status, body: shown.unwrap_or_default().into() }
    } else if let Some(url) = listed {
        realms.get(&url, &[], 4096).await.unwrap()
    } else {
        realms.post(&url, &[("X-Juicebox-Version", "0.3.4")], body.into()).await.unwrap()
    };
    let head = format!(
        "HTTP/1.1 {} \r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        response.status,
        response.body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&response.body).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// Runs the command with `input` on its standard input.
async fn strongroom(folder: &Path, arguments: &str, input: &str) -> Output {
    strongroom_in(folder, &[], arguments, input).await
}

/// The same, in an environment.
async fn strongroom_in(folder: &Path, environment: &[(&str, &str)], arguments: &str, input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.args(arguments.split(' ')).current_dir(folder).env_clear();
    command.env("STRONGROOM_CONFIGURATION", "configuration.json").envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that needs no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    child.wait_with_output().await.unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A folder with the configuration of three realms that are served, tokens for them, and a secret.
async fn folder_of_realms() -> TempDir {
    folder_of(Realms::new(3, 0), 3).await
}

/// The same of given realms, so many of which a registration needs.
async fn folder_of(realms: Realms, register: usize) -> TempDir {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let configuration =
        realms.json(&[0, 1, 2], register, 2, |number| format!("http://127.0.0.1:{port}/realm-{number}/"));
    let tokens: serde_json::Map<_, _> =
        (0..3).map(|number| (realms.id(number).to_string(), json!("token"))).collect();
    std::fs::write(path.join("configuration.json"), configuration).unwrap();
    std::fs::write(path.join("tokens.json"), Value::from(tokens).to_string()).unwrap();
    std::fs::write(path.join("secret"), b"a\0secret\n").unwrap();
    tokio::spawn(async move {
        loop {
            tokio::spawn(serve(listener.accept().await.unwrap().0, realms.clone()));
        }
    });
    folder
}

#[tokio::test]
async fn the_command_registers_recovers_tells_and_deletes() {
    let folder = folder_of_realms().await;
    let path = folder.path();
    let run = |arguments: &'static str, input: &'static str| strongroom(path, arguments, input);

    let status = run("status --token-file tokens.json --json", "").await;
    assert_eq!((status.status.code(), &json(&status)["result"]), (Some(4), &json!("not_registered")));

    let register =
        "register --token-file tokens.json --secret-file secret --pin-stdin --num-guesses 3 --json";
    let registered = run(register, "4821\n").await;
    assert_eq!((registered.status.code(), json(&registered)), (Some(0), json!({ "result": "registered" })));

    let wrong = run("recover --token-file tokens.json --pin-stdin --json", "0000\n").await;
    assert_eq!((wrong.status.code(), &json(&wrong)["guesses_left"]), (Some(3), &json!(2)));

    let right = run("recover --token-file tokens.json --pin-stdin", "4821\n").await;
    assert_eq!((right.status.code(), right.stdout.as_slice()), (Some(0), b"a\0secret\n".as_slice()));
    assert_eq!(String::from_utf8(right.stderr).unwrap(), "");

    let filed = run("recover --token-file tokens.json --pin-stdin --out recovered", "4821\n").await;
    assert_eq!((filed.status.code(), filed.stdout.len()), (Some(0), 0));
    assert_eq!(std::fs::read(path.join("recovered")).unwrap(), b"a\0secret\n");
    let again = run("recover --token-file tokens.json --pin-stdin --out recovered", "4821\n").await;
    assert_eq!(again.status.code(), Some(2));

    let unasked = run(register, "9999\n").await;
    assert_eq!((unasked.status.code(), &json(&unasked)["result"]), (Some(2), &json!("usage")));
    assert!(json(&unasked)["message"].as_str().unwrap().contains("--yes"));
    let kept = run("recover --token-file tokens.json --pin-stdin", "4821\n").await;
    assert_eq!(kept.status.code(), Some(0));
    let replaced =
        run("register --token-file tokens.json --secret-file secret --pin-stdin --yes", "4821\n").await;
    assert_eq!(replaced.status.code(), Some(0));

    std::fs::write(path.join("empty"), b"").unwrap();
    let empty = run("register --token-file tokens.json --secret-file empty --pin-stdin", "4821\n").await;
    assert_eq!(empty.status.code(), Some(2));
    assert!(String::from_utf8(empty.stderr).unwrap().contains("--allow-empty-secret"));
    let nothing = run("register --token-file tokens.json", "").await;
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("the secret is empty"));

    let status = run("status --token-file tokens.json --json", "").await;
    assert_eq!((status.status.code(), &json(&status)["result"]), (Some(0), &json!("registered")));
    assert_eq!(json(&status)["realms"].as_array().unwrap().len(), 3);

    assert_eq!(run("delete --token-file tokens.json", "").await.status.code(), Some(2));
    assert_eq!(run("delete --token-file tokens.json --yes", "").await.status.code(), Some(0));
    let gone = run("recover --token-file tokens.json --pin-stdin", "4821\n").await;
    assert_eq!(gone.status.code(), Some(4));
    assert!(String::from_utf8(gone.stderr).unwrap().contains("Register first"));

    let last = "register --token-file tokens.json --secret-file secret --pin-stdin --num-guesses 1";
    assert_eq!(run(last, "4821\n").await.status.code(), Some(0));
    let locked = run("recover --token-file tokens.json --pin-stdin", "0000\n").await;
    assert_eq!(locked.status.code(), Some(8));
    let locked = run("recover --token-file tokens.json --pin-stdin", "4821\n").await;
    assert_eq!(locked.status.code(), Some(8));
    let told = String::from_utf8(locked.stderr).unwrap();
    assert!(told.contains("no guesses are left") && !told.contains("wrong"), "{told}");
    let told = run("status --token-file tokens.json --json", "").await;
    assert_eq!((told.status.code(), &json(&told)["result"]), (Some(8), &json!("no_guesses")));
}

#[tokio::test]
async fn a_new_pin_that_many_would_choose_is_warned_of_or_refused_and_one_text_is_one_pin() {
    let folder = folder_of_realms().await;
    let run = |arguments: &'static str, input: &'static str| strongroom(folder.path(), arguments, input);
    let register = "register --token-file tokens.json --secret-file secret --pin-stdin --yes";
    let recover = "recover --token-file tokens.json --pin-stdin";

    let warned = run(register, "1984\n").await;
    let told = String::from_utf8(warned.stderr).unwrap();
    assert!(warned.status.success() && told.contains("this PIN is a year"), "{told}");
    let asked_for = run(recover, "1984\n").await;
    assert_eq!((asked_for.status.code(), asked_for.stderr.as_slice()), (Some(0), b"".as_slice()));

    let refusing =
        "register --token-file tokens.json --secret-file secret --pin-stdin --yes --refuse-common-pin";
    let refused = run(refusing, "1234\n").await;
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("choose another one") && !told.contains("1234"), "{told}");
    assert_eq!(run(recover, "1984\n").await.status.code(), Some(0), "nothing was registered");
    let taken = run(refusing, "zoe\u{308}\u{a0}8\n").await;
    assert_eq!((taken.status.code(), taken.stderr.starts_with(b"strongroom:")), (Some(0), false));
    assert_eq!(run(recover, "zoë 8\r\n").await.status.code(), Some(0));

    let other = run(recover, "４８２１\n").await;
    let told = String::from_utf8(other.stderr).unwrap();
    assert!(other.status.code() == Some(3) && told.contains("digits from 0 to 9"), "{told}");
}

#[tokio::test]
async fn the_command_changes_the_pin_and_repairs_a_realm_that_missed_the_registration() {
    let realms = Realms::new(3, 0);
    let folder = folder_of(realms.clone(), 2).await;
    let path = folder.path();
    let run = |arguments: &'static str, input: &'static str| strongroom(path, arguments, input);
    realms.plan(|seen| (seen.realm == 2).then_some(realms::Fault::Unavailable));
    let register = "register --token-file tokens.json --secret-file secret --pin-stdin --yes";
    assert_eq!(run(register, "4821\n").await.status.code(), Some(0));
    realms.plan(|_| None);

    let refused = run("change-pin --token-file tokens.json --pin-stdin --json", "4821\n1284\n").await;
    assert_eq!((refused.status.code(), &json(&refused)["result"]), (Some(12), &json!("unsupported")));

    realms.offer_staging(&[0, 1, 2]);
    let recovered = run("recover --token-file tokens.json --pin-stdin", "4821\n").await;
    let told = String::from_utf8(recovered.stderr).unwrap();
    assert!(told.contains("strongroom repair") && told.contains(&realms.id(2).to_string()), "{told}");
    let repaired = run("repair --token-file tokens.json --pin-stdin --json", "4821\n").await;
    assert_eq!((repaired.status.code(), &json(&repaired)["result"]), (Some(0), &json!("repaired")));
    assert_eq!(json(&repaired)["realms"][2]["outcome"], "registered_anew");

    let one = run("change-pin --token-file tokens.json --pin-stdin", "4821\n").await;
    assert_eq!(one.status.code(), Some(2));
    assert!(String::from_utf8(one.stderr).unwrap().contains("second line"));
    let wrong = run("change-pin --token-file tokens.json --pin-stdin --json", "0000\n1284\n").await;
    assert_eq!((wrong.status.code(), &json(&wrong)["guesses_left"]), (Some(3), &json!(9)));
    let changed = run("change-pin --token-file tokens.json --pin-stdin --json", "4821\n1284\n").await;
    assert_eq!((changed.status.code(), json(&changed)), (Some(0), json!({ "result": "pin_changed" })));
    let old = run("recover --token-file tokens.json --pin-stdin", "4821\n").await;
    assert_eq!(old.status.code(), Some(3));
    let new = run("recover --token-file tokens.json --pin-stdin", "1284\n").await;
    assert_eq!((new.status.code(), new.stdout.as_slice()), (Some(0), b"a\0secret\n".as_slice()));
    assert_eq!(String::from_utf8(new.stderr).unwrap(), "");

    // One that is down may still be behind.
    realms.plan(|seen| (seen.realm == 2).then_some(realms::Fault::Unavailable));
    let part = run("repair --token-file tokens.json --pin-stdin", "1284\n").await;
    assert_eq!(part.status.code(), Some(5));
    assert!(String::from_utf8(part.stderr).unwrap().contains("Run this again later"));
}

#[tokio::test]
async fn plain_http_is_refused_unless_explicitly_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = Realms::new(1, 0).json(&[0], 1, 1, |_| "http://realm.example/".into());
    std::fs::write(folder.path().join("configuration.json"), configuration).unwrap();
    let run = async |arguments| {
        let output = strongroom(folder.path(), arguments, "").await;
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = run("status").await;
    assert!(refused.contains("--allow-http"), "{refused}");
    // With the switch, it complains about what is missing next.
    let allowed = run("status --allow-http").await;
    assert!(allowed.contains("--token-file") && !allowed.contains("--allow-http"), "{allowed}");
}

#[tokio::test]
async fn plain_http_on_this_machine_does_not_leave_it_through_a_proxy() {
    let listeners =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (realm, proxy) = (listeners.0.local_addr().unwrap(), listeners.1.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let realms = Realms::new(1, 0);
    let configuration = realms.json(&[0], 1, 1, |number| format!("http://{realm}/realm-{number}/"));
    std::fs::write(folder.path().join("configuration.json"), configuration).unwrap();
    tokio::spawn(async move {
        loop {
            tokio::spawn(serve(listeners.0.accept().await.unwrap().0, realms.clone()));
        }
    });
    let proxy = format!("http://{proxy}");
    let environment =
        ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].map(|name| (name, proxy.as_str()));
    let environment = [&environment[..], &[("STRONGROOM_TOKEN", "token")]].concat();
    tokio::select! {
        output = strongroom_in(folder.path(), &environment, "status", "") => {
            assert_eq!(output.status.code(), Some(4), "{output:?}");
        }
        _ = listeners.1.accept() => panic!("the token went to the proxy"),
    }
}

/// A machine without certificate authorities.
const NO_AUTHORITIES: [(&str, &str); 3] =
    [("SSL_CERT_FILE", "/nowhere/file"), ("SSL_CERT_DIR", "/nowhere"), ("STRONGROOM_TOKEN", "token")];

#[tokio::test]
async fn authorities_are_needed_only_for_tls_and_marks_before_text_are_skipped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let realm = listener.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let realms = Realms::new(1, 0);
    let configuration = |address: String| realms.json(&[0], 1, 1, |_| address.clone());
    let here = configuration(format!("http://{realm}/realm-0/"));
    std::fs::write(path.join("configuration.json"), format!("\u{feff}{here}")).unwrap();
    std::fs::write(path.join("token"), "\u{feff}token\r\n").unwrap();
    std::fs::write(path.join("secret"), "\u{feff}secret").unwrap();
    std::fs::write(path.join("far.json"), configuration("https://realm.example/".into())).unwrap();
    tokio::spawn(async move {
        loop {
            tokio::spawn(serve(listener.accept().await.unwrap().0, realms.clone()));
        }
    });
    let run = async |arguments, input| strongroom_in(path, &NO_AUTHORITIES, arguments, input).await;
    let registered =
        run("register --token-file token --secret-file secret --pin-stdin", "\u{feff}4821\r\n").await;
    assert_eq!(registered.status.code(), Some(0), "{registered:?}");
    let recovered = run("recover --token-file token --pin-stdin", "4821\n").await;
    assert_eq!(recovered.status.code(), Some(0), "the mark is not part of the PIN: {recovered:?}");
    assert_eq!(recovered.stdout, "\u{feff}secret".as_bytes(), "a secret is taken as it is");

    let far = run("status --configuration far.json", "").await;
    let said = String::from_utf8_lossy(&far.stderr);
    assert_eq!(far.status.code(), Some(2), "{said}");
    assert!(said.contains("the device's root certificates cannot be used"), "{said}");
}

#[tokio::test]
async fn a_dead_proxy_is_named_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = Realms::new(1, 0).json(&[0], 1, 1, |_| "https://realm.example/".into());
    std::fs::write(folder.path().join("configuration.json"), configuration).unwrap();
    let authority = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, authority.cert.pem()).unwrap();
    // A port that was free a moment ago.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = format!("http://somebody:pass-word@{dead}");
    let environment = [
        ("HTTPS_PROXY", proxy.as_str()),
        ("SSL_CERT_FILE", roots.to_str().unwrap()),
        ("STRONGROOM_TOKEN", "token"),
    ];
    let output = strongroom_in(folder.path(), &environment, "status", "").await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("it went through the proxy {dead}")), "{said}");
    assert!(!said.contains("pass-word"), "{said}");
}

#[cfg(unix)]
#[tokio::test]
async fn output_into_a_closed_pipe_is_not_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = Realms::new(1, 0).json(&[0], 1, 1, |_| "https://127.0.0.1:1/".into());
    std::fs::write(folder.path().join("configuration.json"), configuration).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.args(["recover", "--pin-stdin", "--json"]).current_dir(folder.path()).env_clear();
    command.env("STRONGROOM_CONFIGURATION", "configuration.json").stdin(Stdio::null()).stdout(writer);
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().await.unwrap();
    // No token: a usage error, reported as such and not as a failed write.
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(2), String::new()));
}

#[tokio::test]
async fn what_is_missing_is_said_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let output = strongroom(folder.path(), "status --configuration absent.json", "").await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("absent.json cannot be read"));

    let configuration = Realms::new(1, 0).json(&[0], 1, 1, |_| "https://realm.example/".into());
    std::fs::write(folder.path().join("configuration.json"), configuration).unwrap();
    let output = strongroom(folder.path(), "status", "").await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--token-file"));
}

#[tokio::test]
async fn a_drill_leaves_nothing_says_how_long_each_step_took_and_spares_what_others_registered() {
    let folder = folder_of_realms().await;
    let common = "--token-file tokens.json --json";
    let first = strongroom(folder.path(), &format!("drill {common}"), "").await;
    let said = json(&first);
    assert_eq!((first.status.code(), &said["result"]), (Some(0), &json!("drilled")), "{said}");
    let steps: Vec<_> = said["hosts"][0]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["status", "register", "recover with another PIN", "recover", "delete"]);
    let status = strongroom(folder.path(), &format!("status {common}"), "").await;
    assert_eq!(json(&status)["result"], "not_registered");

    let meanwhile = format!("drill --failover true {common}");
    let said = json(&strongroom(folder.path(), &meanwhile, "").await);
    let steps = said["hosts"][1]["steps"].as_array().unwrap();
    assert_eq!((&said["result"], steps.len()), (&json!("drilled"), 5), "{said}");
    assert_eq!(steps[3]["step"], "slowest recovery meanwhile");
    let failing = strongroom(folder.path(), &format!("drill --failover false {common}"), "").await;
    assert_eq!(failing.status.code(), Some(2), "{}", json(&failing));

    let register = format!("register --secret-file secret --pin-stdin --yes {common}");
    assert_eq!(strongroom(folder.path(), &register, "4821\n").await.status.code(), Some(0));
    let spared = strongroom(folder.path(), &format!("drill {common}"), "").await;
    assert_eq!(spared.status.code(), Some(2), "{}", json(&spared));
    assert!(json(&spared)["hosts"][0]["failed"]["message"].as_str().unwrap().contains("--yes"));
    let kept = strongroom(folder.path(), &format!("recover --pin-stdin {common}"), "4821\n").await;
    assert_eq!(json(&kept)["result"], "recovered");

    let through =
        strongroom(folder.path(), &format!("drill --through http://127.0.0.1:1/ {common}"), "").await;
    assert_eq!(through.status.code(), Some(2), "three realms have no one host");
}

fn signing(name: &str, kind: SignatureType) -> SigningKey {
    SigningKey::from_seed(KeyName::new(name).unwrap(), kind, &[kind as u8; 32]).unwrap()
}

/// The statement of a realm whose one witness must have cosigned.
fn statement_of(realm: RealmId, noise_key: X25519Public) -> String {
    let witness = signing("witness.example", SignatureType::Cosignature);
    let own = signing(&RealmStatement::name(&realm), SignatureType::Ed25519);
    let custodians = vec![CustodianKey(Digest(own.verifier().public().0))];
    let statement = RealmStatement {
        realm,
        version: 1,
        noise_key,
        checkpoint_key: own.verifier().public(),
        policy: RealmPolicy { custodians, threshold: 1, smallest_group: None },
        builds: vec![],
        witnesses: vec![witness.verifier().clone()],
        cosignatures: 1,
    };
    let text = statement.to_string();
    let signature = own.sign(&text).unwrap();
    Note::new(text, vec![signature]).unwrap().to_string()
}

/// A checkpoint of a log of so many entries, cosigned now.
fn checkpoint_of(realm: RealmId, entries: u64) -> String {
    let log = origin(&realm, &GroupId([1; 16]));
    let text = Checkpoint::new(log.clone(), entries, TreeHash([entries as u8; 32])).unwrap().to_string();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let own = signing(&log, SignatureType::Ed25519).sign(&text).unwrap();
    let cosigned = signing("witness.example", SignatureType::Cosignature).cosign(&text, now).unwrap();
    Note::new(text, vec![own, cosigned]).unwrap().to_string()
}

#[tokio::test]
async fn a_recovery_demands_the_head_of_a_log_remembers_it_and_keeps_the_evidence_when_it_went_back() {
    let realms = Realms::new(1, 0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let configuration = realms.json(&[0], 1, 1, |number| format!("http://{address}/realm-{number}/"));
    let noise_key = json_of(&configuration)["realms"][0]["public_key"].as_str().unwrap().parse().unwrap();
    let realm = realms.id(0);
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    write("configuration.json", &configuration);
    write("token", "token");
    write("secret", "secret");
    write("statement", &statement_of(realm, noise_key));
    write("other", &statement_of(RealmId([9; 16]), noise_key));
    let (served, head) = (realms.clone(), path.join("head"));
    tokio::spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            tokio::spawn(serve_beside(stream, served.clone(), Some(head.clone())));
        }
    });
    let run = async |arguments: &str, pin: &str| {
        let output =
            strongroom(path, &format!("{arguments} --token-file token --pin-stdin --json"), pin).await;
        (output.status.code().unwrap(), json(&output))
    };
    assert_eq!(run("register --secret-file secret --yes", "4821\n").await.0, 0);
    let demanding = "recover --statement statement --heads heads.json";

    let (code, said) = run(demanding, "0000\n").await;
    assert_eq!((code, &said["result"]), (9, &json!("head_refused")), "{said}");
    assert!(said["causes"][0]["cause"].as_str().unwrap().contains("no checkpoint"), "{said}");

    write("head", &checkpoint_of(realm, 5));
    let (code, said) = run(demanding, "4821\n").await;
    assert_eq!(code, 0, "{said}");
    let remembered = json_of(&std::fs::read_to_string(path.join("heads.json")).unwrap());
    assert!(remembered[origin(&realm, &GroupId([1; 16]))].as_str().unwrap().contains("\n5\n"));

    write("head", &checkpoint_of(realm, 4));
    let (code, said) = run(demanding, "0000\n").await;
    let evidence = &said["causes"][0]["evidence"];
    assert_eq!((code, &said["result"]), (9, &json!("head_refused")), "{said}");
    assert!(evidence["seen_before"].as_str().unwrap().contains("\n5\n"), "{said}");
    assert!(evidence["shown_now"].as_str().unwrap().contains("\n4\n"), "{said}");
    assert_eq!(realms.guess_count(0), Some(0));
    assert_eq!(run("recover --statement statement", "4821\n").await.0, 0, "without a memory it is the first");

    for bad in [
        "--statement other",
        "--statement absent",
        "--statement token",
        "--statement statement --heads token",
    ] {
        assert_eq!(run(&format!("recover {bad}"), "4821\n").await.0, 2, "{bad}");
    }
}
