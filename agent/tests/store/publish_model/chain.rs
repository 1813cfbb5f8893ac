//! A group's log that is what it says, who may sign it, and what is to be published of it, by the definitions in RFC 6962 and C2SP
//! tlog-tiles.

use bytes::Bytes;
use minicbor::bytes::ByteVec;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;
use strongroom_proto::change::Evidence;
use strongroom_proto::checkpoint::{CheckpointKey, origin};
use strongroom_proto::entry::{Entry, events_hash};
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::{Digest, EntryHash, GroupId, HsmId, Index, Mac, RealmId, Term, TreeHash};
use strongroom_proto::statement::{Committed, Head};
use strongroom_proto::tlog::{CompactRange, leaf, node};
use strongroom_replica::segment::{Segment, SegmentEntry};
use strongroom_tlog::{Checkpoint, ClaimedCheckpoint, KeyName, Policy, SignatureType, Tile, VerifierKey};

pub(crate) const REALM: RealmId = RealmId([1; 16]);
pub(crate) const GROUP: GroupId = GroupId([2; 16]);
const STATEMENTS: [u8; 32] = [3; 32];
const HSM: HsmId = HsmId([4; 16]);

pub(crate) fn checkpoint_key() -> CheckpointKey {
    CheckpointKey::from_seed(&[5; 32])
}

fn entry(index: u64, prev: EntryHash) -> SegmentEntry {
    let events = vec![ByteVec::from(index.to_be_bytes().to_vec())];
    let mut entry = Entry {
        realm: REALM,
        group: GROUP,
        index: Index(index),
        prev,
        leader: HSM,
        term: Term([6; 16]),
        partitions: Vec::new(),
        transfers: 0,
        open: Vec::new(),
        last: false,
        events_hash: events_hash(events.iter().map(|event| event.as_slice())),
        mac: Mac(Digest([0; 32])),
    };
    entry.mac = Entry::mac_of(&STATEMENTS, &entry.hash());
    SegmentEntry { entry, leaves: Vec::new(), events, owners: Vec::new() }
}

/// A segment, as it is in the store.
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
    pub(crate) last: u64,
}

/// The log.
pub(crate) struct Chain {
    entries: Vec<Entry>,
    pub(crate) segments: Vec<Stored>,
    hashes: Vec<EntryHash>,
    /// The leaves, and the roots of 256 of them each: a short log has no more levels of tiles.
    levels: [Vec<TreeHash>; 2],
    roots: Mutex<BTreeMap<u64, TreeHash>>,
    policy: Policy,
}

impl Chain {
    /// A log of so many entries, in segments as long as the seed says.
    pub(crate) fn new(seed: u64, len: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut prev, mut rest) = (EntryHash::ZERO, Vec::new());
        for index in 1..=len {
            let made = entry(index, prev);
            prev = made.entry.hash();
            rest.push(made);
        }
        let entries: Vec<Entry> = rest.iter().map(|made| made.entry.clone()).collect();
        let hashes: Vec<EntryHash> = entries.iter().map(Entry::hash).collect();
        let mut segments = Vec::new();
        while !rest.is_empty() {
            let behind = rest.split_off(random.random_range(1..=64).min(rest.len()));
            let segment = Segment::new(std::mem::replace(&mut rest, behind)).expect("a chain");
            let (name, last) = (segment.name().to_string(), segment.last().index.0);
            segments.push(Stored { name, bytes: segment.encode().expect("small").into(), last });
        }
        let leaves: Vec<TreeHash> = hashes.iter().map(leaf).collect();
        let above = leaves.as_chunks::<256>().0.iter().map(|under| tree(under)).collect();
        let name = KeyName::new(origin(&REALM, &GROUP)).expect("a name");
        let key = VerifierKey::new(name, SignatureType::Ed25519, &checkpoint_key().public()).expect("a key");
        let policy = Policy::of_log(origin(&REALM, &GROUP), vec![key]).expect("one key");
        Self { entries, segments, hashes, levels: [leaves, above], roots: Mutex::default(), policy }
    }

    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// An entry, and that it is committed.
    pub(crate) fn evidence(&self, index: u64) -> Evidence {
        let place = usize::try_from(index - 1).expect("small");
        let (entry, hash) = (self.entries[place].clone(), self.hashes[place]);
        let committed = Committed::new(&STATEMENTS, &REALM, &GROUP, HSM, Index(index), hash);
        Evidence { entry, committed }
    }

    /// The root over the first leaves.
    fn root(&self, size: u64) -> TreeHash {
        let leaves = &self.levels[0][..usize::try_from(size).expect("small")];
        *self.roots.lock().entry(size).or_insert_with(|| tree(leaves))
    }

    /// A checkpoint, if it is one of this log.
    pub(crate) fn checked(&self, bytes: &[u8]) -> Result<Checkpoint, String> {
        let claimed = ClaimedCheckpoint::parse(bytes).map_err(|error| error.to_string())?;
        let checkpoint =
            claimed.verify(&self.policy).map_err(|error| error.to_string())?.checkpoint().clone();
        if checkpoint.size() > self.len() || *checkpoint.root() != self.root(checkpoint.size()) {
            return Err(format!("the checkpoint of {} entries is of another log", checkpoint.size()));
        }
        Ok(checkpoint)
    }

    /// What belongs into a tile.
    pub(crate) fn tile(&self, tile: Tile) -> Vec<u8> {
        let first = tile.index() as usize * 256;
        let hashes = &self.levels[usize::from(tile.level())][first..first + usize::from(tile.width())];
        hashes.iter().flat_map(|hash| hash.0).collect()
    }

    /// What belongs into the bundle of entries under a tile of leaves.
    pub(crate) fn bundle(&self, tile: Tile) -> Vec<u8> {
        let first = tile.index() as usize * 256;
        let hashes = &self.hashes[first..first + usize::from(tile.width())];
        hashes.iter().flat_map(|hash| [&[0, 32][..], &hash.0].concat()).collect()
    }
}

/// The root over leaves (RFC 6962, section 2.1).
fn tree(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(half(leaves.len()));
            node(&tree(left), &tree(right))
        }
    }
}

/// The largest power of two below a number of at least two.
fn half(len: usize) -> usize {
    1 << (len - 1).ilog2()
}

/// What an HSM answers to `ExtendHead` (protocol.md, section 15).
pub(crate) fn extend_head(from: Option<Head>, entries: &[Entry]) -> Result<Head, Refusal> {
    let (mut at, mut hash, mut range) = match from {
        Some(head) if !head.is_authentic(&STATEMENTS, &REALM) => return Err(Refusal::NotAuthentic),
        Some(head) => (head.index, head.hash, head.range),
        None => (Index::ZERO, EntryHash::ZERO, CompactRange::default()),
    };
    for entry in entries {
        if Some(entry.index) != at.next() || entry.prev != hash {
            return Err(Refusal::NotConsecutive);
        }
        hash = entry.hash();
        assert!(range.append(at.0, leaf(&hash)), "a range has as many hashes as its size asks for");
        at = entry.index;
    }
    Ok(Head::new(&STATEMENTS, &REALM, GROUP, (at, hash), range))
}

/// What an HSM answers to `SignHead`.
pub(crate) fn sign_head(head: &Head, committed: &Committed) -> Result<[u8; 64], Refusal> {
    if !head.is_authentic(&STATEMENTS, &REALM) || !committed.is_authentic(&STATEMENTS, &REALM, &head.group) {
        return Err(Refusal::NotAuthentic);
    }
    if (committed.index, committed.hash) != (head.index, head.hash) {
        return Err(Refusal::NotCommitted);
    }
    let body = strongroom_proto::checkpoint::body(&REALM, &head.group, head.index, &head.range.root());
    Ok(*checkpoint_key().sign(&body))
}
