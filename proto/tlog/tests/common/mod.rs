//! A small log to test with: trees as they are defined, and keys.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::convert::Infallible;
use strongroom_proto::ids::{EntryHash, TreeHash};
use strongroom_proto::tlog::{leaf, node};
use strongroom_tlog::proof::{ProofError, empty_root};
use strongroom_tlog::{KeyName, Node, SignatureType, SigningKey};

/// The entries of a log, the same each time.
pub(crate) fn entries(count: u64) -> Vec<EntryHash> {
    let entry = |n: u64| {
        let mut bytes = [0xe5; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        EntryHash(bytes)
    };
    (0..count).map(entry).collect()
}

/// The hashes of their leaves.
pub(crate) fn leaves(count: u64) -> Vec<TreeHash> {
    entries(count).iter().map(leaf).collect()
}

/// MTH of RFC 6962, section 2.1, as it is defined there.
pub(crate) fn defined(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        more => {
            let left = more.len().next_power_of_two() / 2;
            node(&defined(&more[..left]), &defined(&more[left..]))
        }
    }
}

/// PATH of RFC 6962, section 2.1.1, as it is defined there.
pub(crate) fn defined_path(index: usize, leaves: &[TreeHash]) -> Vec<TreeHash> {
    if leaves.len() == 1 {
        return vec![];
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    if index < left.len() {
        [defined_path(index, left), vec![defined(right)]].concat()
    } else {
        [defined_path(index - left.len(), right), vec![defined(left)]].concat()
    }
}

/// PROOF of RFC 6962, section 2.1.2, as it is defined there.
pub(crate) fn defined_proof(from: usize, leaves: &[TreeHash]) -> Vec<TreeHash> {
    fn subproof(from: usize, leaves: &[TreeHash], is_whole: bool) -> Vec<TreeHash> {
        if from == leaves.len() {
            return if is_whole { vec![] } else { vec![defined(leaves)] };
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        if from <= left.len() {
            [subproof(from, left, is_whole), vec![defined(right)]].concat()
        } else {
            [subproof(from - left.len(), right, false), vec![defined(left)]].concat()
        }
    }
    if from == 0 { vec![] } else { subproof(from, leaves, true) }
}

/// Why a source has no hash: never.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) ProofError);

impl From<ProofError> for Wrong {
    fn from(error: ProofError) -> Self {
        Self(error)
    }
}

impl From<Infallible> for Wrong {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The hashes of nodes of a tree of these leaves.
pub(crate) fn source(leaves: &[TreeHash]) -> impl FnMut(Node) -> Result<TreeHash, Wrong> {
    |node| {
        assert!(node.is_in(leaves.len() as u64), "{node:?} is not perfect in {}", leaves.len());
        let first = (node.index as usize) << node.level;
        Ok(defined(&leaves[first..first + (1 << node.level)]))
    }
}

/// A key from a seed of this byte.
pub(crate) fn key(name: &str, kind: SignatureType, seed: u8) -> SigningKey {
    SigningKey::from_seed(KeyName::new(name).unwrap(), kind, &[seed; 32]).unwrap()
}

/// Everything that a strict decoder must refuse of `good`: each truncation, and a byte behind it.
pub(crate) fn cut_and_trailed(good: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let trailed = [b'\n', b' ', b'a', 0, 0xff].map(|byte| [good, &[byte]].concat());
    (0..good.len()).map(|cut| good[..cut].to_vec()).chain(trailed)
}
