//! Proofs against their definition, for every leaf and every pair of sizes of small trees; and wrong ones, all refused.

mod common;

use common::{Wrong, defined, defined_path, defined_proof, leaves, source};
use strongroom_proto::ids::TreeHash;
use strongroom_tlog::proof::{
    MAX_CONSISTENCY, MAX_INCLUSION, ProofError, consistency_ranges, empty_root, inclusion_ranges, nodes,
    prove_consistency, prove_inclusion, root,
};
use strongroom_tlog::{verify_consistency, verify_inclusion};

/// Large enough for every shape of the right edge in nine levels.
const SIZES: u64 = 260;

/// What a proof may be changed into: a bit flipped in one hash, one left out, one more, two exchanged.
fn changed(proof: &[TreeHash]) -> Vec<Vec<TreeHash>> {
    let mut found = vec![];
    for place in 0..proof.len() {
        let mut flipped = proof.to_vec();
        flipped[place].0[place % 32] ^= 1 << (place % 8);
        found.push(flipped);
        let mut shorter = proof.to_vec();
        shorter.remove(place);
        found.push(shorter);
        if place > 0 {
            let mut exchanged = proof.to_vec();
            exchanged.swap(place - 1, place);
            found.push(exchanged);
        }
    }
    for place in 0..=proof.len() {
        let mut longer = proof.to_vec();
        longer.insert(place, TreeHash([9; 32]));
        found.push(longer);
    }
    found
}

#[test]
fn every_root_is_the_defined_one() {
    let leaves = leaves(SIZES);
    for size in 0..=leaves.len() {
        let found: Result<TreeHash, Wrong> = root(0..size as u64, &mut source(&leaves));
        assert_eq!(found, Ok(defined(&leaves[..size])), "{size}");
        assert_eq!(nodes(0..size as u64).len(), size.count_ones() as usize);
    }
}

#[test]
fn every_leaf_of_every_tree_is_proven_by_the_defined_path() {
    let leaves = leaves(SIZES);
    for size in 1..=SIZES {
        let tree = &leaves[..size as usize];
        let root = defined(tree);
        // All places of the small trees, and those of the others where something ends.
        let places = (0..size)
            .filter(|index| size <= 70 || index % 37 == 0 || index.count_ones() < 2 || size - index < 4);
        for index in places {
            let leaf = &tree[index as usize];
            let proof = prove_inclusion(index, size, source(tree)).unwrap();
            assert_eq!(proof, defined_path(index as usize, tree), "{index} of {size}");
            assert_eq!(verify_inclusion(index, size, leaf, &proof, &root), Ok(()));
        }
    }
}

#[test]
fn every_tree_goes_on_from_every_earlier_one_by_the_defined_proof() {
    let leaves = leaves(SIZES);
    let roots: Vec<TreeHash> = (0..=leaves.len()).map(|size| defined(&leaves[..size])).collect();
    for to in 0..=SIZES {
        let froms =
            (0..=to).filter(|from| to <= 70 || from % 23 == 0 || from.count_ones() < 2 || to - from < 4);
        for from in froms {
            let proof = prove_consistency(from, to, source(&leaves[..to as usize])).unwrap();
            assert_eq!(proof, defined_proof(from as usize, &leaves[..to as usize]), "{from} to {to}");
            let (older, newer) = (&roots[from as usize], &roots[to as usize]);
            assert_eq!(verify_consistency(from, older, to, newer, &proof), Ok(()), "{from} to {to}");
        }
    }
}

#[test]
fn a_path_that_was_changed_proves_nothing() {
    let leaves = leaves(70);
    for size in 1..=70 {
        let tree = &leaves[..size as usize];
        let root = defined(tree);
        for index in 0..size {
            let leaf = &tree[index as usize];
            let proof = prove_inclusion(index, size, source(tree)).unwrap();
            for wrong in changed(&proof) {
                assert!(verify_inclusion(index, size, leaf, &wrong, &root).is_err(), "{index} of {size}");
            }
            let mut other = *leaf;
            other.0[31] ^= 0x80;
            assert_eq!(verify_inclusion(index, size, &other, &proof, &root), Err(ProofError::Root));
            let mut other = root;
            other.0[0] ^= 1;
            assert_eq!(verify_inclusion(index, size, leaf, &proof, &other), Err(ProofError::Root));
        }
    }
}

#[test]
fn a_path_is_good_for_its_place_and_no_other() {
    let leaves = leaves(40);
    for size in 1..=40 {
        let tree = &leaves[..size as usize];
        let root = defined(tree);
        for index in 0..size {
            let proof = prove_inclusion(index, size, source(tree)).unwrap();
            for other in (0..size + 3).filter(|other| *other != index) {
                let verified = verify_inclusion(other, size, &tree[index as usize], &proof, &root);
                assert!(verified.is_err(), "{index} as {other} of {size}");
            }
        }
        assert_eq!(
            verify_inclusion(size, size, &root, &[], &root),
            Err(ProofError::Index { index: size, size })
        );
    }
}

#[test]
fn a_consistency_proof_that_was_changed_proves_nothing() {
    let leaves = leaves(70);
    let roots: Vec<TreeHash> = (0..=leaves.len()).map(|size| defined(&leaves[..size])).collect();
    for to in 0..=70_u64 {
        for from in 0..=to {
            let proof = prove_consistency(from, to, source(&leaves[..to as usize])).unwrap();
            let (older, newer) = (roots[from as usize], roots[to as usize]);
            for wrong in changed(&proof) {
                assert!(verify_consistency(from, &older, to, &newer, &wrong).is_err(), "{from} to {to}");
            }
            let mut fork = older;
            fork.0[5] ^= 4;
            assert!(verify_consistency(from, &fork, to, &newer, &proof).is_err(), "{from} to {to}");
            let mut fork = newer;
            fork.0[5] ^= 4;
            // Any tree goes on from the empty one.
            assert_eq!(verify_consistency(from, &older, to, &fork, &proof).is_ok(), from == 0 && to > 0);
        }
    }
}

#[test]
fn a_consistency_proof_is_good_for_its_older_size_and_no_other() {
    let leaves = leaves(40);
    let roots: Vec<TreeHash> = (0..=leaves.len()).map(|size| defined(&leaves[..size])).collect();
    for to in 1..=40_u64 {
        for from in 1..=to {
            let proof = prove_consistency(from, to, source(&leaves[..to as usize])).unwrap();
            for other in (0..to + 3).filter(|other| *other != from) {
                let (older, newer) = (&roots[from as usize], &roots[to as usize]);
                assert!(
                    verify_consistency(other, older, to, newer, &proof).is_err(),
                    "{from} as {other} to {to}"
                );
            }
        }
    }
}

#[test]
fn a_tree_that_was_rewritten_is_not_consistent_whatever_the_proof() {
    // A fork at each leaf, with the honest proof of the fork.
    let leaves = leaves(33);
    let older = defined(&leaves[..20]);
    for forked in 0..20 {
        let mut other = leaves.clone();
        other[forked].0[0] ^= 1;
        let proof = prove_consistency(20, 33, source(&other)).unwrap();
        assert_eq!(verify_consistency(20, &older, 33, &defined(&other), &proof), Err(ProofError::Root));
    }
}

#[test]
fn trees_of_64_bits_are_no_special_case() {
    let hash = |node: strongroom_tlog::Node| {
        assert!(node.is_in(u64::MAX), "{node:?}");
        Ok::<_, Wrong>(TreeHash([node.level; 32]))
    };
    for (index, size) in [(0, u64::MAX), (u64::MAX - 1, u64::MAX), (1 << 63, u64::MAX), (5, 1 << 63)] {
        let proof = prove_inclusion(index, size, hash).unwrap();
        assert!(proof.len() <= MAX_INCLUSION);
        let refused = verify_inclusion(index, size, &TreeHash([0; 32]), &proof, &TreeHash([1; 32]));
        assert_eq!(refused, Err(ProofError::Root), "{index}");
    }
    for from in [1, 3, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1] {
        let proof = prove_consistency(from, u64::MAX, hash).unwrap();
        assert!(proof.len() <= MAX_CONSISTENCY);
        let refused = verify_consistency(from, &TreeHash([0; 32]), u64::MAX, &TreeHash([1; 32]), &proof);
        assert_eq!(refused, Err(ProofError::Root), "{from}");
    }
    assert_eq!(
        inclusion_ranges(u64::MAX, u64::MAX),
        Err(ProofError::Index { index: u64::MAX, size: u64::MAX })
    );
    assert_eq!(consistency_ranges(2, 1), Err(ProofError::Shrinks { from: 2, to: 1 }));
}

#[test]
fn a_tree_does_not_shrink_and_the_empty_one_has_its_root() {
    let root = leaves(1)[0];
    assert_eq!(verify_consistency(2, &root, 1, &root, &[]), Err(ProofError::Shrinks { from: 2, to: 1 }));
    assert_eq!(verify_consistency(0, &empty_root(), 0, &empty_root(), &[]), Ok(()));
    assert_eq!(verify_consistency(0, &empty_root(), 1, &root, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &root, 1, &root, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(0, &root, 0, &root, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(0, &empty_root(), 1, &root, &[root]), Err(ProofError::Length { found: 1 }));
}
