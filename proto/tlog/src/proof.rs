//! Proofs that a leaf is in a tree, and that a tree goes on where an older one ended: making them (RFC 6962, sections 2.1.1 and
//! 2.1.2) and verifying them (RFC 9162, sections 2.1.3.2 and 2.1.4.2).
//!
//! They are made from the hashes of perfect subtrees, which a caller brings, because those never change as a tree grows. All
//! sizes of 64 bits are taken.

use core::ops::Range;
use strongroom_proto::ids::TreeHash;
use strongroom_proto::tlog::{CompactRange, node};

/// The most hashes of an inclusion proof, in a tree of 64 bits.
pub const MAX_INCLUSION: usize = 64;

/// The most hashes of a consistency proof, in a tree of 64 bits.
pub const MAX_CONSISTENCY: usize = 65;

/// Why there is no proof, or why one does not convince.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf.
    #[error("there is no leaf {index} in a tree of {size} (the first is 0); ask for a later checkpoint")]
    Index {
        /// The leaf.
        index: u64,
        /// The number of leaves.
        size: u64,
    },
    /// The newer tree is smaller.
    #[error("a tree of {to} leaves cannot go on from one of {from}")]
    Shrinks {
        /// The size of the older tree.
        from: u64,
        /// The size of the newer tree.
        to: u64,
    },
    /// There are more or fewer hashes than in a proof for this.
    #[error("the proof has {found} hashes, which is not what one for these sizes has")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// The hashes do not lead to the root.
    #[error(
        "the proof does not lead to the root; what it is to prove is not so, or a part of it was changed"
    )]
    Root,
}

/// A perfect subtree: the one over leaves `index · 2^level` up to, but without, `(index + 1) · 2^level`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node {
    /// Its height: 0 for a leaf. Below 64.
    pub level: u8,
    /// Its place among those of its level.
    pub index: u64,
}

impl Node {
    /// Whether a tree of this size has all leaves of it, so that its hash never changes again.
    #[must_use]
    pub const fn is_in(self, size: u64) -> bool {
        self.level < 64 && self.index < size >> self.level
    }
}

/// The root of the tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> TreeHash {
    CompactRange::default().root()
}

/// The largest power of two below `size`, which is at least 2.
const fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// The perfect subtrees that cover these leaves, from left to right. The leaves are those of a tree, from its start, or those of
/// one range of a proof.
#[must_use]
pub fn nodes(leaves: Range<u64>) -> Vec<Node> {
    let mut start = leaves.start;
    let mut found = vec![];
    while start < leaves.end {
        let level = 63 - (leaves.end - start).leading_zeros() as u8;
        found.push(Node { level, index: start >> level });
        start += 1 << level;
    }
    found
}

/// MTH of RFC 6962 over these leaves, from the hashes of the [`nodes`] that cover them.
///
/// # Errors
/// Those of `source`.
pub fn root<E>(
    leaves: Range<u64>,
    source: &mut impl FnMut(Node) -> Result<TreeHash, E>,
) -> Result<TreeHash, E> {
    let mut hashes = nodes(leaves).into_iter().map(source).collect::<Result<Vec<_>, _>>()?.into_iter().rev();
    let Some(last) = hashes.next() else { return Ok(empty_root()) };
    Ok(hashes.fold(last, |right, left| node(&left, &right)))
}

/// The leaves under each hash of the inclusion proof of the leaf at `index`.
///
/// # Errors
/// [`ProofError::Index`].
pub fn inclusion_ranges(index: u64, size: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let (mut start, mut end) = (0, size);
    let mut found = vec![];
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            found.push(middle..end);
            end = middle;
        } else {
            found.push(start..middle);
            start = middle;
        }
    }
    found.reverse();
    Ok(found)
}

/// The leaves under each hash of the consistency proof between two sizes. It is empty if they are equal, or if `from` is 0.
///
/// # Errors
/// [`ProofError::Shrinks`].
pub fn consistency_ranges(from: u64, to: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if from > to {
        return Err(ProofError::Shrinks { from, to });
    }
    let mut found = vec![];
    if from == 0 || from == to {
        return Ok(found);
    }
    let (mut start, mut end) = (0, to);
    while end != from {
        let middle = start + split(end - start);
        if from <= middle {
            found.push(middle..end);
            end = middle;
        } else {
            found.push(start..middle);
            start = middle;
        }
    }
    // The older tree itself needs no hash: who verifies has its root.
    if start > 0 {
        found.push(start..end);
    }
    found.reverse();
    Ok(found)
}

/// Makes the proof that the leaf at `index` is in the tree of `size` leaves, from the hashes of [`Node`]s.
///
/// # Errors
/// [`ProofError::Index`], and those of `source`.
pub fn prove_inclusion<E: From<ProofError>>(
    index: u64,
    size: u64,
    mut source: impl FnMut(Node) -> Result<TreeHash, E>,
) -> Result<Vec<TreeHash>, E> {
    inclusion_ranges(index, size)?.into_iter().map(|leaves| root(leaves, &mut source)).collect()
}

/// Makes the proof that the tree of `to` leaves begins with that of `from` leaves.
///
/// # Errors
/// [`ProofError::Shrinks`], and those of `source`.
pub fn prove_consistency<E: From<ProofError>>(
    from: u64,
    to: u64,
    mut source: impl FnMut(Node) -> Result<TreeHash, E>,
) -> Result<Vec<TreeHash>, E> {
    consistency_ranges(from, to)?.into_iter().map(|leaves| root(leaves, &mut source)).collect()
}

/// Where a verifier is: the node that it has the hash of, and the last one of that level.
struct Climb {
    at: u64,
    last: u64,
}

impl Climb {
    fn up(&mut self) {
        self.at >>= 1;
        self.last >>= 1;
    }

    /// Whether the next hash of a proof is to the left. If it is, goes up to where that hash is joined.
    fn joins_left(&mut self) -> bool {
        if self.at & 1 == 0 && self.at != self.last {
            return false;
        }
        while self.at & 1 == 0 && self.at != 0 {
            self.up();
        }
        true
    }
}

/// Verifies that a leaf is at `index` of the tree with this size and root.
///
/// # Errors
/// [`ProofError`] if it is not proven.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &TreeHash,
    proof: &[TreeHash],
    root: &TreeHash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let length = ProofError::Length { found: proof.len() };
    let mut climb = Climb { at: index, last: size - 1 };
    let mut hash = *leaf;
    for next in proof {
        if climb.last == 0 {
            return Err(length);
        }
        hash = if climb.joins_left() { node(next, &hash) } else { node(&hash, next) };
        climb.up();
    }
    if climb.last != 0 {
        return Err(length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Verifies that the tree with size `to` and `to_root` begins with that of size `from` and `from_root`.
///
/// # Errors
/// [`ProofError`] if it is not proven.
pub fn verify_consistency(
    from: u64,
    from_root: &TreeHash,
    to: u64,
    to_root: &TreeHash,
    proof: &[TreeHash],
) -> Result<(), ProofError> {
    if from > to {
        return Err(ProofError::Shrinks { from, to });
    }
    let length = ProofError::Length { found: proof.len() };
    if from == 0 || from == to {
        let expected = if from == 0 { empty_root() } else { *to_root };
        return match proof {
            [] if *from_root == expected && (to > 0 || *to_root == expected) => Ok(()),
            [] => Err(ProofError::Root),
            _ => Err(length),
        };
    }
    let mut climb = Climb { at: from - 1, last: to - 1 };
    while climb.at & 1 == 1 {
        climb.up();
    }
    // The older tree is perfect, and so its root is a node of the newer one.
    let (first, rest) = if climb.at == 0 { (from_root, proof) } else { proof.split_first().ok_or(length)? };
    let (mut older, mut newer) = (*first, *first);
    for next in rest {
        if climb.last == 0 {
            return Err(length);
        }
        if climb.joins_left() {
            older = node(next, &older);
            newer = node(next, &newer);
        } else {
            newer = node(&newer, next);
        }
        climb.up();
    }
    if climb.last != 0 {
        return Err(length);
    }
    if older == *from_root && newer == *to_root { Ok(()) } else { Err(ProofError::Root) }
}
