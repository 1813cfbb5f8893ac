//! The tree against a plain map, and against hosts that lie.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strongroom_proto::hash::{self, hash, label};
use strongroom_proto::ids::{Digest, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::{ClaimedTree, Leaf, Tree, TreeError};

type Map = BTreeMap<RecordId, Arc<[u8]>>;

fn bit(id: &RecordId, at: usize) -> bool {
    id.0[at / 8] & (0x80 >> (at % 8)) != 0
}

fn flip(mut id: RecordId, at: usize) -> RecordId {
    id.0[at / 8] ^= 0x80 >> (at % 8);
    id
}

fn leaf(id: &RecordId, sealed: &[u8]) -> Digest {
    hash(label::LEAF, &[&id.0, &hash(label::SEALED, &[sealed]).0])
}

fn node(depth: u16, left: &Digest, right: &Digest) -> Digest {
    hash::node(depth, left, right)
}

/// The root, straight from its definition.
fn root_of(depth: u16, map: &Map) -> Digest {
    match map.len() {
        0 => Digest::EMPTY,
        1 => map.iter().map(|(id, sealed)| leaf(id, sealed)).next().unwrap(),
        _ => {
            let (right, left): (Map, Map) =
                map.clone().into_iter().partition(|(id, _)| bit(id, usize::from(depth)));
            node(depth, &root_of(depth + 1, &left), &root_of(depth + 1, &right))
        }
    }
}

/// How many inner nodes have one of `touched` below them.
fn inner_above(depth: usize, all: &BTreeSet<RecordId>, touched: &BTreeSet<RecordId>) -> usize {
    if all.len() < 2 || all.is_disjoint(touched) {
        return 0;
    }
    let (right, left): (BTreeSet<_>, BTreeSet<_>) = all.iter().partition(|id| bit(id, depth));
    1 + inner_above(depth + 1, &left, touched) + inner_above(depth + 1, &right, touched)
}

fn sealed(rng: &mut StdRng) -> Arc<[u8]> {
    let len = rng.random_range(0..100);
    (0..len).map(|_| rng.random::<u8>()).collect()
}

fn random_ids(rng: &mut StdRng, n: usize) -> Vec<RecordId> {
    (0..n).map(|_| RecordId(rng.random())).collect()
}

/// Ids that part from one another at every depth, 255 among them.
fn clustered_ids(rng: &mut StdRng, n: usize) -> Vec<RecordId> {
    let mut ids = vec![RecordId(rng.random())];
    ids.push(flip(ids[0], 255));
    while ids.len() < n {
        let near = ids[rng.random_range(0..ids.len())];
        let shared = rng.random_range(0..256);
        let mut id = flip(near, shared);
        if rng.random() {
            for at in shared + 1..256 {
                id = if rng.random() { flip(id, at) } else { id };
            }
        }
        ids.push(id);
    }
    ids
}

/// Leaf sets of both kinds, from nothing to many.
fn maps(seed: u64) -> Vec<Map> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut maps = Vec::new();
    for n in [0, 1, 2, 3, 10, 100] {
        for ids in [random_ids(&mut rng, n), clustered_ids(&mut rng, n.max(2))] {
            maps.push(ids.into_iter().map(|id| (id, sealed(&mut rng))).collect());
        }
    }
    maps
}

fn tree_of(map: &Map) -> Tree {
    let mut tree = Tree::new(Prefix::WHOLE);
    tree.update(map.clone()).unwrap();
    tree
}

/// Ids in the map, and ids that are not: far from all, and next to some.
fn some_ids(rng: &mut StdRng, map: &Map, n: usize) -> Vec<RecordId> {
    let known: Vec<_> = map.keys().copied().collect();
    (0..n)
        .map(|_| match (rng.random_range(0..3), known.is_empty()) {
            (0, _) | (_, true) => RecordId(rng.random()),
            (1, _) => flip(known[rng.random_range(0..known.len())], rng.random_range(0..256)),
            _ => known[rng.random_range(0..known.len())],
        })
        .collect()
}

fn shuffled<T>(rng: &mut StdRng, mut items: Vec<T>) -> Vec<T> {
    for i in (1..items.len()).rev() {
        items.swap(i, rng.random_range(0..=i));
    }
    items
}

/// What an HSM does with a partial tree.
fn sent(tree: &Tree) -> Tree {
    ClaimedTree::decode(&tree.encode()).unwrap().verify(tree.prefix(), &tree.root()).unwrap()
}

#[test]
fn roots_of_small_trees_are_the_ones_computed_by_hand() {
    let (a, b, c) = (RecordId([0; 32]), flip(RecordId([0; 32]), 1), RecordId([0xff; 32]));
    let root = |prefix, leaves: &[(RecordId, &[u8])]| {
        let mut tree = Tree::new(prefix);
        tree.update(leaves.iter().map(|(id, sealed)| (*id, Arc::from(*sealed)))).unwrap();
        tree.root().to_string()
    };
    let (zero, _) = Prefix::WHOLE.children().unwrap();
    assert_eq!(root(Prefix::WHOLE, &[]), "00".repeat(32));
    let one = "eb828e2cecfead1e1b9e50b1dbc3853824e46f72194633d56e9dc66fb287ae20";
    assert_eq!(root(Prefix::WHOLE, &[(a, b"a")]), one);
    assert_eq!(root(zero, &[(a, b"a")]), one);
    assert_eq!(
        root(Prefix::WHOLE, &[(a, b"a"), (c, b"c")]),
        "df2d54cd244096053524fafbb7a59af02b67f4efe0d0753640c8b6a399cb9f91"
    );
    assert_eq!(
        root(Prefix::WHOLE, &[(a, b"a"), (b, b"b")]),
        "e3f202378c69412e158c16e90910f8b68ce5a63d1e4673d8145ea0f8b3342630"
    );
    assert_eq!(
        root(zero, &[(a, b"a"), (b, b"b")]),
        "bd97325ec1cbfe9dea23c9e23063536e62fe0afd48dc55bcdd8fb36e6265701a"
    );
}

#[test]
fn the_root_is_the_one_of_the_definition_whatever_the_order_of_inserts() {
    let mut rng = StdRng::seed_from_u64(1);
    for map in maps(1) {
        let expected = root_of(0, &map);
        assert_eq!(tree_of(&map).root(), expected);
        for _ in 0..3 {
            let mut tree = Tree::new(Prefix::WHOLE);
            for (id, sealed) in shuffled(&mut rng, map.clone().into_iter().collect()) {
                if rng.random() {
                    tree.update([(id, Arc::from(&b"replaced later"[..]))]).unwrap();
                }
                tree.update([(id, sealed)]).unwrap();
            }
            assert_eq!(tree.root(), expected);
        }
    }
}

#[test]
fn a_batch_gives_the_same_tree_as_its_updates_one_by_one() {
    let mut rng = StdRng::seed_from_u64(2);
    for mut map in maps(2) {
        let mut batched = tree_of(&map);
        let mut single = batched.clone();
        for _ in 0..5 {
            let batch: Vec<_> =
                some_ids(&mut rng, &map, 12).into_iter().map(|id| (id, sealed(&mut rng))).collect();
            batched.update(batch.clone()).unwrap();
            for (id, sealed) in batch {
                single.update([(id, sealed.clone())]).unwrap();
                map.insert(id, sealed);
            }
            assert_eq!(batched.root(), single.root());
            assert_eq!(batched.root(), root_of(0, &map));
        }
    }
}

#[test]
fn of_two_leaves_for_one_record_in_a_batch_the_later_counts() {
    let id = RecordId([7; 32]);
    let mut tree = Tree::new(Prefix::WHOLE);
    tree.update([(id, Arc::from(&b"first"[..])), (id, Arc::from(&b"second"[..]))]).unwrap();
    assert_eq!(tree.get(&id).unwrap().unwrap()[..], b"second"[..]);
}

#[test]
fn leaves_of_which_only_the_digests_are_known_make_the_same_tree_and_cost_the_same() {
    for map in maps(11) {
        let mut tree = Tree::new(Prefix::WHOLE);
        let digests = map.iter().map(|(id, sealed)| (*id, Leaf::sealed_digest_of(sealed)));
        let hashed = tree.update_unread(digests).unwrap();
        let leaves = map.iter().map(|(id, sealed)| (*id, sealed.clone()));
        assert_eq!(Tree::new(Prefix::WHOLE).update(leaves), Ok(hashed));
        assert_eq!(tree.root(), root_of(0, &map));
        assert!(tree.leaves().all(|leaf| leaf.sealed().is_none()));
    }
}

#[test]
fn the_tree_answers_as_a_map_does_and_lists_the_same_leaves_in_order() {
    let mut rng = StdRng::seed_from_u64(3);
    for map in maps(3) {
        let tree = tree_of(&map);
        for id in some_ids(&mut rng, &map, 50) {
            assert_eq!(tree.get(&id).unwrap(), map.get(&id));
        }
        let leaves: Vec<_> = tree.leaves().map(|l| (l.record_id(), l.sealed().unwrap().clone())).collect();
        assert_eq!(leaves, map.clone().into_iter().collect::<Vec<_>>());
        assert!(tree.leaves().all(|l| l.sealed_digest() == hash(label::SEALED, &[l.sealed().unwrap()])));
    }
}

#[test]
fn a_clone_is_not_changed_by_later_updates() {
    let mut rng = StdRng::seed_from_u64(4);
    for map in maps(4) {
        let mut tree = tree_of(&map);
        let before = tree.clone();
        for id in some_ids(&mut rng, &map, 20) {
            tree.update([(id, sealed(&mut rng))]).unwrap();
        }
        assert_eq!(before.root(), root_of(0, &map));
        assert!(map.iter().all(|(id, sealed)| before.get(id) == Ok(Some(sealed))));
    }
}

#[test]
fn a_batch_hashes_each_changed_node_once() {
    let mut rng = StdRng::seed_from_u64(5);
    for map in maps(5) {
        let mut tree = tree_of(&map);
        let touched: BTreeSet<_> = some_ids(&mut rng, &map, 20).into_iter().collect();
        let all: BTreeSet<_> = map.keys().chain(&touched).copied().collect();
        let hashed = tree.update(touched.iter().map(|id| (*id, sealed(&mut rng)))).unwrap();
        assert_eq!(hashed, touched.len() + inner_above(0, &all, &touched));
    }
    assert_eq!(Tree::new(Prefix::WHOLE).update([]), Ok(0));
}

#[test]
fn a_partial_tree_answers_and_changes_as_the_whole_tree_does() {
    let mut rng = StdRng::seed_from_u64(6);
    for map in maps(6) {
        let mut whole = tree_of(&map);
        for n in [1, 2, 5, 20] {
            let ids = some_ids(&mut rng, &map, n);
            let mut part = sent(&whole.partial(&ids).unwrap());
            assert_eq!(part.root(), whole.root());
            assert!(ids.iter().all(|id| part.get(id) == whole.get(id)));
            let batch: Vec<_> =
                ids.iter().filter(|_| rng.random()).map(|id| (*id, Arc::from(&id.0[..9]))).collect();
            assert_eq!(part.update(batch.clone()).unwrap(), whole.update(batch).unwrap());
            assert_eq!(part.root(), whole.root());
            assert!(ids.iter().all(|id| part.get(id) == whole.get(id)));
            // A part of a part, after changes, is the part of the changed whole.
            assert_eq!(part.partial(&ids).unwrap().encode(), whole.partial(&ids).unwrap().encode());
        }
    }
}

#[test]
fn a_partial_tree_holds_sealed_bytes_of_no_record_that_was_not_asked_for() {
    let mut rng = StdRng::seed_from_u64(7);
    for map in maps(7) {
        let ids = some_ids(&mut rng, &map, 5);
        let part = tree_of(&map).partial(&ids).unwrap();
        let included: BTreeSet<_> =
            part.leaves().filter(|l| l.sealed().is_some()).map(|l| l.record_id()).collect();
        assert_eq!(included, ids.into_iter().filter(|id| map.contains_key(id)).collect());
    }
}

#[test]
fn what_is_not_opened_can_be_neither_read_nor_changed() {
    let mut rng = StdRng::seed_from_u64(8);
    let mut closed = 0;
    for map in maps(8) {
        let ids = some_ids(&mut rng, &map, 3);
        let whole = tree_of(&map);
        let mut part = sent(&whole.partial(&ids).unwrap());
        let opened: BTreeSet<_> = part.leaves().map(|l| l.record_id()).collect();
        for id in map.keys().filter(|id| !opened.contains(*id)) {
            closed += 1;
            let new = || Arc::from(&b"new"[..]);
            assert_eq!(part.get(id), Err(TreeError::NotOpened));
            assert_eq!(part.update([(*id, new())]), Err(TreeError::NotOpened));
            assert_eq!(part.update([(ids[0], new()), (*id, new())]), Err(TreeError::NotOpened));
            assert_eq!(part.partial(&[*id]).map(|t| t.root()), Err(TreeError::NotOpened));
            assert_eq!(part.root(), whole.root());
            assert_eq!(part.get(&ids[0]), whole.get(&ids[0]));
        }
    }
    assert!(closed > 200);
}

#[test]
fn a_neighbour_that_ends_the_path_of_an_absent_record_can_be_replaced_but_not_read() {
    let (present, absent) = (RecordId([1; 32]), RecordId([2; 32]));
    let map = Map::from([(present, Arc::from(&b"old"[..]))]);
    let mut part = sent(&tree_of(&map).partial(&[absent]).unwrap());
    assert_eq!(part.get(&absent), Ok(None));
    assert_eq!(part.get(&present), Err(TreeError::NotOpened));
    assert_eq!(part.partial(&[present]).map(|t| t.root()), Err(TreeError::NotOpened));
    part.update([(present, Arc::from(&b"new"[..]))]).unwrap();
    assert_eq!(part.root(), leaf(&present, b"new"));
}

#[test]
fn a_tree_refuses_records_outside_its_prefix() {
    let (zero, one) = Prefix::WHOLE.children().unwrap();
    let (inside, outside) = (RecordId([0xff; 32]), RecordId([0; 32]));
    let mut tree = Tree::new(one);
    tree.update([(inside, Arc::from(&b"x"[..]))]).unwrap();
    let before = tree.root();
    assert_eq!(tree.get(&outside), Err(TreeError::NotCovered));
    assert_eq!(tree.partial(&[inside, outside]).map(|t| t.root()), Err(TreeError::NotCovered));
    let batch = [(inside, Arc::from(&b"y"[..])), (outside, Arc::from(&b"y"[..]))];
    assert_eq!(tree.update(batch), Err(TreeError::NotCovered));
    assert_eq!((tree.root(), tree.prefix()), (before, one));
    assert_ne!(one, zero);
}

#[test]
fn a_partition_hashes_with_the_depth_of_its_prefix() {
    let mut rng = StdRng::seed_from_u64(9);
    for map in maps(9).into_iter().filter(|map| !map.is_empty()) {
        for len in [1, 7, 200, 255, 256] {
            let prefix = Prefix::of(map.keys().next().unwrap(), len).unwrap();
            let within: Map = map.clone().into_iter().filter(|(id, _)| prefix.contains(id)).collect();
            let mut tree = Tree::new(prefix);
            for (id, sealed) in shuffled(&mut rng, within.clone().into_iter().collect()) {
                tree.update([(id, sealed)]).unwrap();
            }
            assert_eq!(tree.root(), root_of(len, &within));
            let ids: Vec<_> = within.keys().copied().collect();
            assert_eq!(sent(&tree.partial(&ids).unwrap()).leaves().count(), ids.len());
        }
    }
}

#[test]
fn a_tree_halved_and_joined_is_the_tree_of_the_same_leaves() {
    for map in (0..20).flat_map(maps) {
        let whole = tree_of(&map);
        let (left, right) = Prefix::WHOLE.children().expect("it has halves");
        let half = |prefix: Prefix| {
            let mut tree = Tree::new(prefix);
            let below = map.iter().filter(|(id, _)| prefix.contains(id));
            tree.update(below.map(|(id, sealed)| (*id, sealed.clone()))).expect("all are covered");
            tree
        };
        let (left, right) = (half(left), half(right));
        assert_eq!(whole.halves(), Ok((left.root(), right.root())));
        assert_eq!(Tree::joined(&left, &right), Ok(whole.root()));
        assert_eq!(Tree::joined(&right, &left), Err(TreeError::NotCovered), "in their order");
        assert_eq!(Tree::joined(&left, &whole), Err(TreeError::NotCovered));
    }
}

#[test]
fn what_is_not_opened_is_neither_halved_nor_joined() {
    let mut rng = StdRng::seed_from_u64(3);
    let (left, right) = Prefix::WHOLE.children().expect("it has halves");
    let mut id = RecordId(rng.random());
    id.0[0] &= 0x7f;
    let mut tree = Tree::new(left);
    tree.update([(id, sealed(&mut rng))]).expect("it is covered");
    let closed = [&[0x81, 0x82, 0x02, 0x58, 0x20][..], &tree.root().0].concat();
    let closed = ClaimedTree::decode(&closed).expect("decodes").verify(left, &tree.root()).expect("the root");
    assert_eq!(closed.halves(), Err(TreeError::NotOpened));
    assert_eq!(Tree::joined(&closed, &Tree::new(right)), Err(TreeError::NotOpened));
    assert_eq!(Tree::joined(&tree, &Tree::new(right)), Ok(tree.root()), "a leaf moves up");
    let record = Prefix::of(&id, Prefix::MAX_LEN).expect("all bits");
    assert_eq!(Tree::new(record).halves(), Err(TreeError::TooDeep));
}

#[test]
fn prefixes_overlap_where_one_begins_with_the_other() {
    let mut rng = StdRng::seed_from_u64(4);
    for _ in 0..500 {
        let id = RecordId(rng.random());
        let other = flip(id, rng.random_range(0..8));
        let (a, b) = (rng.random_range(0..10), rng.random_range(0..10));
        let (one, two) = (Prefix::of(&id, a).expect("short"), Prefix::of(&other, b).expect("short"));
        let expected = if a <= b { one.contains(&other) } else { two.contains(&id) };
        assert_eq!(one.overlaps(&two), expected);
        let parent = (a > 0).then(|| Prefix::of(&id, a - 1).expect("short"));
        assert_eq!(one.parent(), parent);
    }
}
