//! The Merkle tree over the entries of a group's log, which outsiders check: RFC 6962, section 2.1, over SHA-256.
//!
//! Its leaves are the hashes of entries, from entry 1 on. An HSM never holds the tree, only a [`CompactRange`] that a host
//! brings, and whose origin a [`Head`](crate::statement::Head) vouches for.

use crate::bounded::at_most;
use crate::ids::{EntryHash, TreeHash};
use alloc::vec::Vec;
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};

/// The most hashes in a [`CompactRange`]: one for each bit of a size.
pub const MAX_RANGE: usize = 64;

/// The hash of a leaf: SHA-256 of `00 ‖ entry hash`.
#[must_use]
pub fn leaf(entry: &EntryHash) -> TreeHash {
    TreeHash(Sha256::new().chain_update([0]).chain_update(entry.0).finalize().into())
}

/// The hash of an inner node: SHA-256 of `01 ‖ left ‖ right`.
#[must_use]
pub fn node(left: &TreeHash, right: &TreeHash) -> TreeHash {
    TreeHash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// What is left of a tree to append to it: the hashes of the largest perfect subtrees that cover it, from left to right. A tree
/// of *n* leaves has as many as *n* has bits that are 1.
#[derive(Clone, PartialEq, Eq, Default, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct CompactRange(#[cbor(n(0), decode_with = "at_most::<MAX_RANGE, _, _>")] Vec<TreeHash>);

impl CompactRange {
    /// The hashes, 32 bytes each, one after the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| hash.0).collect()
    }

    /// Appends a leaf to this range of `size` leaves. False, with nothing to be done with the range any more, if it has fewer
    /// hashes than a range of that size.
    #[must_use]
    pub fn append(&mut self, size: u64, leaf: TreeHash) -> bool {
        let mut hash = leaf;
        for _ in 0..size.trailing_ones() {
            let Some(left) = self.0.pop() else { return false };
            hash = node(&left, &hash);
        }
        self.0.push(hash);
        true
    }

    /// The root of the tree: of an empty one, SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> TreeHash {
        let mut hashes = self.0.iter().rev();
        let Some(last) = hashes.next() else { return TreeHash(Sha256::new().finalize().into()) };
        hashes.fold(*last, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MTH of RFC 6962, section 2.1, as it is defined there.
    fn defined(leaves: &[TreeHash]) -> TreeHash {
        match leaves {
            [] => TreeHash(Sha256::new().finalize().into()),
            [one] => *one,
            more => {
                let left = more.len().next_power_of_two() / 2;
                node(&defined(&more[..left]), &defined(&more[left..]))
            }
        }
    }

    #[test]
    fn a_range_has_the_root_that_the_rfc_defines() {
        let leaves: Vec<TreeHash> = (0..300_u16).map(|n| leaf(&EntryHash([n as u8; 32]))).collect();
        let mut range = CompactRange::default();
        for size in 0..leaves.len() {
            assert_eq!(range.root(), defined(&leaves[..size]), "{size} leaves");
            assert_eq!(range.0.len(), size.count_ones() as usize);
            assert_eq!(range.to_bytes(), range.0.iter().map(|hash| hash.0).collect::<Vec<_>>().concat());
            assert!(range.append(size as u64, leaves[size]));
        }
    }

    #[test]
    fn a_range_that_is_too_short_for_its_size_is_noticed() {
        for size in [1_u64, 3, 7, u64::MAX] {
            assert!(!CompactRange::default().append(size, TreeHash([1; 32])), "{size}");
        }
    }
}
