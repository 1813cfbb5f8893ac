//! What agents lie about, and how they twist the truth.

use minicbor::bytes::ByteVec;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use strongroom_proto::hsm::SealedLeaf;
use strongroom_proto::ids::{Digest, EntryHash, HsmId, Index, Mac, RecordId};
use strongroom_proto::statement::Captured;
use strongroom_replica::Shared;
use strongroom_replica::peer::PeerMessage;
use strongroom_replica::segment::Segment;

/// What an agent lies about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lie {
    /// It alters segments that it pushes.
    Push,
    /// It pushes entries that no HSM made.
    Forgery,
    /// It says that it leads, how far the log goes and how long it may be silent, whether that is true or not.
    Heartbeat,
    /// It states what its HSM has not stated.
    Statement,
    /// It pushes the entry with which its HSM begins to lead before that is in the store, where it may never get.
    Early,
    /// It answers no client.
    Silence,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Push, Self::Forgery, Self::Heartbeat, Self::Statement, Self::Early, Self::Silence];
}

/// The push of this segment.
pub(super) fn push(segment: &Segment) -> Option<PeerMessage> {
    let first = segment.first();
    Some(PeerMessage::Push {
        group: first.group,
        first: first.index,
        prev: first.prev,
        segment: segment.encode().ok()?.into(),
        paths: Shared::default(),
    })
}

pub(super) fn any_index(rng: &mut StdRng, index: Index) -> Index {
    match rng.random_range(0..4) {
        0 => index,
        1 => Index(index.0.saturating_add(rng.random_range(0..5))),
        2 => Index(index.0.saturating_sub(rng.random_range(0..5))),
        _ => Index(rng.random()),
    }
}

/// How long a leader says that it may be silent.
pub(super) fn any_silence(rng: &mut StdRng) -> u32 {
    if rng.random() { rng.random() } else { rng.random_range(0..=500) }
}

/// A push that was altered.
pub(super) fn altered(rng: &mut StdRng, message: PeerMessage) -> Option<PeerMessage> {
    let PeerMessage::Push { group, first, prev, segment, paths } = message else { return None };
    let mut entries = Segment::decode(&segment).ok()?.entries().to_vec();
    let nth = rng.random_range(0..entries.len());
    let of = entries.get_mut(nth)?;
    match rng.random_range(0..6) {
        0 => return None,
        1 => {
            let mut bytes = segment.to_vec();
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            return Some(PeerMessage::Push { group, first, prev, segment: bytes.into(), paths });
        }
        2 => return Some(PeerMessage::Push { group, first, prev, segment, paths: Shared::default() }),
        3 => of.entry.mac = Mac(Digest(rng.random())),
        4 => {
            let sealed: ByteVec = vec![rng.random(); 40].into();
            match of.leaves.first_mut() {
                Some(leaf) => leaf.sealed = sealed,
                None => of.leaves.push(SealedLeaf { record: RecordId(rng.random()), sealed }),
            }
        }
        _ => {
            let last = entries.last_mut()?;
            last.entry.transfers = last.entry.transfers.wrapping_add(1);
        }
    }
    let Some(PeerMessage::Push { segment, .. }) = Segment::new(entries).ok().as_ref().and_then(push) else {
        return None;
    };
    let paths = if rng.random() { paths } else { Shared::default() };
    Some(PeerMessage::Push { group, first, prev, segment, paths })
}

pub(super) fn false_statement(rng: &mut StdRng, statement: Captured, members: &[HsmId]) -> Captured {
    let Captured { hsm, index, hash, mac } = statement;
    match rng.random_range(0..4) {
        0 => Captured { mac: Mac(Digest(rng.random())), ..statement },
        1 => Captured { hsm, index, hash: EntryHash(rng.random()), mac },
        2 => Captured { hsm, index: any_index(rng, index), hash, mac },
        _ => Captured { hsm: *members.choose(rng).unwrap_or(&hsm), ..statement },
    }
}
