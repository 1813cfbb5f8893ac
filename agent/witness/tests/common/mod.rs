//! A log that may lie, a witness with what it needs, and a client.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strongroom_proto::ids::{EntryHash, TreeHash};
use strongroom_proto::tlog::leaf;
use strongroom_tlog::proof::{ProofError, prove_consistency, root};
use strongroom_tlog::{
    AddCheckpoint, Checkpoint, Edge, KeyName, Node, Note, Policy, SignatureType, SigningKey,
};
use strongroom_witness::serve::{Limits, serve};
use strongroom_witness::witness::{Clock, Storage, Witness};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const ORIGIN: &str =
    "strongroom/00000000000000000000000000000001/00000000000000000000000000000002";

pub(crate) fn key(name: &str, kind: SignatureType, seed: u8) -> SigningKey {
    SigningKey::from_seed(KeyName::new(name).unwrap(), kind, &[seed; 32]).unwrap()
}

pub(crate) fn witness_key() -> SigningKey {
    key("example.com/witness", SignatureType::Cosignature, 9)
}

/// A log, of which there may be several branches: they differ from a leaf on.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) origin: String,
    seed: u8,
    pub(crate) leaves: Vec<TreeHash>,
}

#[derive(Debug)]
struct Never;

impl From<ProofError> for Never {
    fn from(_: ProofError) -> Self {
        Self
    }
}

impl Log {
    pub(crate) fn new(size: u8) -> Self {
        let leaves = (0..size).map(|n| leaf(&EntryHash([n; 32]))).collect();
        Self { origin: ORIGIN.into(), seed: 1, leaves }
    }

    pub(crate) fn named(self, origin: &str, seed: u8) -> Self {
        Self { origin: origin.into(), seed, ..self }
    }

    /// The same log with another leaf at this place.
    pub(crate) fn forked_at(&self, place: usize) -> Self {
        let mut fork = self.clone();
        fork.leaves[place] = leaf(&EntryHash([0xff; 32]));
        fork
    }

    pub(crate) fn key(&self) -> SigningKey {
        key(&self.origin, SignatureType::Ed25519, self.seed)
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::of_log(&*self.origin, vec![self.key().verifier().clone()]).unwrap()
    }

    fn hash(&self, node: Node) -> TreeHash {
        let first = (node.index as usize) << node.level;
        let mut edge = Edge::default();
        assert!(edge.append(&self.leaves[first..first + (1 << node.level)]).is_some());
        edge.root()
    }

    pub(crate) fn proof(&self, from: u64, to: u64) -> Vec<TreeHash> {
        prove_consistency(from, to, |node| Ok::<_, Never>(self.hash(node))).unwrap()
    }

    pub(crate) fn text(&self, size: u64) -> String {
        let root = root(0..size, &mut |node| Ok::<_, Never>(self.hash(node))).unwrap();
        Checkpoint::new(&*self.origin, size, root).unwrap().to_string()
    }

    /// The request with the proof that is right for this log.
    pub(crate) fn request(&self, old: u64, size: u64) -> AddCheckpoint {
        self.request_with(old, size, if old <= size { self.proof(old, size) } else { vec![] })
    }

    pub(crate) fn request_with(&self, old: u64, size: u64, proof: Vec<TreeHash>) -> AddCheckpoint {
        let text = self.text(size);
        let note = Note::new(&*text, vec![self.key().sign(&text).unwrap()]).unwrap();
        AddCheckpoint { old, proof, checkpoint: note.try_into().unwrap() }
    }
}

/// A clock that tests set.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicU64>);

impl Hand {
    pub(crate) fn at(time: u64) -> Self {
        Self(Arc::new(time.into()))
    }

    pub(crate) fn set(&self, time: u64) {
        self.0.store(time, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Box::new(move || time.load(Ordering::SeqCst))
    }
}

/// What came back over HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: String,
}

/// A witness that serves.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start<S: Storage>(witness: Witness<S>, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, Arc::new(witness), limits, async {
            let _ = stopped.await;
        }));
        Self { address, stop, served }
    }

    /// Stops it, and waits until all of it has ended.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }

    pub(crate) async fn ask(&self, request: &AddCheckpoint) -> Reply {
        self.post("/add-checkpoint", request.to_string().as_bytes()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &[u8]) -> Reply {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat()).await
    }

    /// Sends these bytes, and reads to the end.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // It may answer, and close, before it has read all.
        let _ = stream.write_all(bytes).await;
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
        Reply { status, kind: kind.into(), body: body.into() }
    }
}
