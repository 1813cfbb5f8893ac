//! A witness over real HTTP: each status code of the specification, and each way in which a log may lie to it.

mod common;

use common::{Hand, Log, ORIGIN, Reply, Server, key, witness_key};
use std::fs;
use std::path::Path;
use std::time::Duration;
use strongroom_tlog::add_checkpoint::{MAX_LEN, parse_cosignatures, parse_size};
use strongroom_tlog::{AddCheckpoint, Note, Policy, Signature, SignatureType};
use strongroom_witness::serve::Limits;
use strongroom_witness::state::StateFolder;
use strongroom_witness::witness::{StorageError, Witness};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NOW: u64 = 1_700_000_000;

/// A folder, and witnesses that run there one after the other.
struct Place {
    folder: TempDir,
    clock: Hand,
    logs: Vec<Policy>,
}

impl Place {
    fn new(logs: &[&Log]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        drop(StateFolder::create(folder.path(), witness_key().verifier()).unwrap());
        Self { folder, clock: Hand::at(NOW), logs: logs.iter().map(|log| log.policy()).collect() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self) -> Result<Witness<StateFolder>, StorageError> {
        let state = StateFolder::open(self.path(), witness_key().verifier())?;
        Witness::open(witness_key(), self.logs.clone(), state, self.clock.clock())
    }

    async fn start(&self) -> Server {
        Server::start(self.open().unwrap(), Limits::default()).await
    }
}

/// That this is the cosignature of the checkpoint in the request, and of the time.
fn assert_cosigned(reply: &Reply, request: &AddCheckpoint, time: u64) {
    assert_eq!((reply.status, &*reply.kind), (200, "text/plain; charset=utf-8"), "{reply:?}");
    let lines = parse_cosignatures(reply.body.as_bytes()).unwrap();
    let note = Note::new(request.checkpoint.note().text(), lines).unwrap();
    let known = [witness_key().verifier().clone()];
    let signed = note.verify(&known).unwrap();
    assert_eq!(signed[0].time, Some(time));
}

fn assert_conflict(reply: &Reply, size: u64) {
    assert_eq!((reply.status, &*reply.kind), (409, "text/x.tlog.size"), "{reply:?}");
    assert_eq!(parse_size(reply.body.as_bytes()), Some(size));
}

#[tokio::test]
async fn a_log_that_grows_is_cosigned() {
    let log = Log::new(40);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let mut old = 0;
    for (second, size) in [1, 2, 3, 7, 8, 31, 40].into_iter().enumerate() {
        let time = NOW + second as u64;
        place.clock.set(time);
        let request = log.request(old, size);
        assert_cosigned(&server.ask(&request).await, &request, time);
        old = size;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_reply_that_was_lost_is_given_again() {
    let log = Log::new(10);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let first = log.request(0, 7);
    assert_cosigned(&server.ask(&first).await, &first, NOW);
    // Who did not get the reply asks the same, and is told the size; and asks with that.
    assert_conflict(&server.ask(&first).await, 7);
    place.clock.set(NOW + 5);
    let again = log.request(7, 7);
    assert_cosigned(&server.ask(&again).await, &again, NOW + 5);
    server.stop().await;
    // Also after a restart.
    let server = place.start().await;
    assert_cosigned(&server.ask(&again).await, &again, NOW + 5);
    server.stop().await;
}

#[tokio::test]
async fn an_empty_tree_is_cosigned_if_it_is_empty() {
    let log = Log::new(3);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let empty = log.request(0, 0);
    assert_cosigned(&server.ask(&empty).await, &empty, NOW);
    let request = log.request(0, 3);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    server.stop().await;
}

#[tokio::test]
async fn a_fork_is_refused_whatever_its_proof() {
    let log = Log::new(40);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let request = log.request(0, 20);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    for forked in [0, 7, 19] {
        let fork = log.forked_at(forked);
        // Of the same size, and of a larger one: with its own proof, with that of the true log, and with none.
        assert_conflict(&server.ask(&fork.request(20, 20)).await, 20);
        for proof in [fork.proof(20, 33), log.proof(20, 33), vec![]] {
            assert_eq!(server.ask(&fork.request_with(20, 33, proof)).await.status, 422);
        }
        // As if nothing had been cosigned.
        assert_conflict(&server.ask(&fork.request(0, 33)).await, 20);
        assert_conflict(&server.ask(&fork.request(19, 33)).await, 20);
    }
    // A branch from where it was cosigned is no fork: the log may go on as it wants.
    let onward = log.forked_at(20).request(20, 33);
    assert_cosigned(&server.ask(&onward).await, &onward, NOW);
    assert_eq!(server.ask(&log.request(33, 40)).await.status, 422);
    server.stop().await;
}

#[tokio::test]
async fn a_rollback_is_refused_also_after_a_restart() {
    let log = Log::new(40);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    for (old, size) in [(0, 10), (10, 30)] {
        let request = log.request(old, size);
        assert_cosigned(&server.ask(&request).await, &request, NOW);
    }
    server.stop().await;
    let server = place.start().await;
    // An old request, replayed; an old checkpoint with each old size that could be claimed.
    assert_conflict(&server.ask(&log.request(0, 10)).await, 30);
    assert_conflict(&server.ask(&log.request(10, 30)).await, 30);
    assert_conflict(&server.ask(&log.request(10, 10)).await, 30);
    assert_conflict(&server.ask(&log.request(0, 29)).await, 30);
    assert_eq!(server.ask(&log.request_with(30, 29, vec![])).await.status, 400);
    assert_conflict(&server.ask(&log.forked_at(3).request(10, 31)).await, 30);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_proof_is_refused() {
    let log = Log::new(40);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let request = log.request_with(0, 20, log.proof(3, 20));
    assert_eq!(server.ask(&request).await.status, 422, "a proof from nothing is empty");
    let request = log.request(0, 20);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    let proof = log.proof(20, 33);
    for place in 0..proof.len() {
        let mut flipped = proof.clone();
        flipped[place].0[0] ^= 1;
        let mut shorter = proof.clone();
        shorter.remove(place);
        let mut longer = proof.clone();
        longer.insert(place, proof[0]);
        for wrong in [flipped, shorter, longer] {
            assert_eq!(server.ask(&log.request_with(20, 33, wrong)).await.status, 422);
        }
    }
    assert_eq!(server.ask(&log.request_with(20, 20, proof)).await.status, 422);
    // Nothing of that was kept.
    let request = log.request(20, 33);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    server.stop().await;
}

#[tokio::test]
async fn a_log_that_is_not_watched_or_has_not_signed_is_refused() {
    let log = Log::new(10);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let stranger = Log::new(10).named("example.com/other", 1);
    assert_eq!(server.ask(&stranger.request(0, 5)).await.status, 404);
    let impostor = Log::new(10).named(ORIGIN, 2);
    assert_eq!(server.ask(&impostor.request(0, 5)).await.status, 403);
    // The right name and id, but not the signature of this text.
    let mut request = log.request(0, 5);
    let signature = request.checkpoint.note().signatures()[0].clone();
    request.checkpoint = Note::new(log.text(6), vec![signature.clone()]).unwrap().try_into().unwrap();
    assert_eq!(server.ask(&request).await.status, 403);
    // A good one beside those of others is enough.
    let other = key("other", SignatureType::Ed25519, 5);
    let text = log.text(5);
    let lines = vec![other.sign(&text).unwrap(), signature.clone(), Signature::new(other.verifier(), [0; 9])];
    request.checkpoint = Note::new(&*text, lines).unwrap().try_into().unwrap();
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    // A bad one of the log beside a good one is not.
    let bad = Signature::new(log.key().verifier(), [0; 64]);
    request.old = 5;
    request.checkpoint = Note::new(&*text, vec![signature, bad]).unwrap().try_into().unwrap();
    assert_eq!(server.ask(&request).await.status, 403);
    server.stop().await;
}

#[tokio::test]
async fn logs_do_not_mix() {
    let (a, b) = (Log::new(10), Log::new(20).named("example.com/b", 2));
    let place = Place::new(&[&a, &b]);
    let server = place.start().await;
    for (log, size) in [(&a, 10), (&b, 20)] {
        let request = log.request(0, size);
        assert_cosigned(&server.ask(&request).await, &request, NOW);
    }
    assert_conflict(&server.ask(&a.request(0, 10)).await, 10);
    assert_conflict(&server.ask(&b.request(0, 10)).await, 20);
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let log = Log::new(10);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let good = log.request(0, 5).to_string();
    for wrong in
        ["", "\n", "old 0", &good[..good.len() - 1], &good.replace("old 0", "old 00"), &format!("{good}\n")]
    {
        assert_eq!(server.post("/add-checkpoint", wrong.as_bytes()).await.status, 400, "{wrong:?}");
    }
    assert_eq!(server.post("/add-checkpoint", &[0xff; 100]).await.status, 400);
    let declared = format!(
        "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        MAX_LEN + 1
    );
    let too_long = [declared.as_bytes(), &vec![b'a'; MAX_LEN + 1]].concat();
    assert_eq!(server.send(&too_long).await.status, 413);
    assert_eq!(server.post("/", good.as_bytes()).await.status, 404);
    assert_eq!(
        server.send(b"GET /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n").await.status,
        405
    );
    let request = log.request(0, 5);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    server.stop().await;
}

#[tokio::test]
async fn of_two_at_once_one_is_cosigned() {
    let log = Log::new(60);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let mut branch = log.clone();
    for old in 0..30 {
        // Two that go on from the same tree, and not from each other.
        let fork = branch.forked_at(old);
        let old = old as u64;
        let (one, other) = (branch.request(old, old + 1), fork.request(old, old + 1));
        let (first, second) = tokio::join!(server.ask(&one), server.ask(&other));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{first:?} {second:?}");
        branch = if first.status == 200 { branch } else { fork };
    }
    server.stop().await;
}

#[tokio::test]
async fn a_damaged_state_stops_it() {
    let log = Log::new(10);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let request = log.request(0, 5);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    server.stop().await;
    let is_state = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "state");
    let file = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).find(is_state).unwrap();
    let good = fs::read(&file).unwrap();
    for wrong in [&good[..0], &good[..good.len() / 2], &[&good[..], b"x"].concat()] {
        fs::write(&file, wrong).unwrap();
        let error = place.open().err().unwrap().to_string();
        assert!(error.contains("is damaged") && error.contains("Do not delete it"), "{error}");
    }
    fs::write(&file, good).unwrap();
    assert!(place.open().is_ok());
}

#[tokio::test]
async fn a_clock_that_went_back_cosigns_nothing() {
    let log = Log::new(10);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let request = log.request(0, 5);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    place.clock.set(NOW - 1);
    assert_eq!(server.ask(&log.request(5, 5)).await.status, 503);
    assert_eq!(server.ask(&log.request(5, 6)).await.status, 503);
    place.clock.set(NOW);
    let request = log.request(5, 6);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    server.stop().await;
}

#[tokio::test]
async fn a_clock_that_went_back_while_it_was_down_cosigns_nothing() {
    let log = Log::new(10);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let request = log.request(0, 5);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    // Asked again later: it is the time of this one that counts.
    place.clock.set(NOW + 300);
    let request = log.request(5, 5);
    assert_cosigned(&server.ask(&request).await, &request, NOW + 300);
    server.stop().await;
    place.clock.set(NOW + 299);
    let server = place.start().await;
    assert_eq!(server.ask(&log.request(5, 5)).await.status, 503);
    assert_eq!(server.ask(&log.request(5, 6)).await.status, 503);
    place.clock.set(NOW + 300);
    let request = log.request(5, 6);
    assert_cosigned(&server.ask(&request).await, &request, NOW + 300);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_is_kept_for_further_requests() {
    let log = Log::new(10);
    let place = Place::new(&[&log]);
    let server = place.start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for (old, size) in [(0, 3), (3, 4)] {
        let body = log.request(old, size).to_string();
        let head =
            format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200 "));
    }
    // An idle connection does not keep it from stopping.
    server.stop().await;
    let mut rest = vec![];
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn whoever_is_slow_is_let_go_and_others_get_the_place() {
    let log = Log::new(10);
    let place = Place::new(&[&log]);
    let short = Duration::from_millis(50);
    let limits = Limits { connections: 1, head: short, body: short, ..Limits::default() };
    let server = Server::start(place.open().unwrap(), limits).await;
    // A head without an end; a body without one.
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    silent.write_all(b"POST /add-ch").await.unwrap();
    let late = server
        .send(
            b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: 9\r\n\r\nold",
        )
        .await;
    assert_eq!(late.status, 408);
    let request = log.request(0, 5);
    assert_cosigned(&server.ask(&request).await, &request, NOW);
    server.stop().await;
}
