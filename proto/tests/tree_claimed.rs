//! Partial trees from a host that lies. Where a rule is tested, the tree has the expected root, so that nothing but
//! the rule refuses it.

use minicbor::{Decode, Encode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use strongroom_proto::hash::{self, hash, label};
use strongroom_proto::hsm::{PrefixTree, Request};
use strongroom_proto::ids::{Digest, GroupId, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::{ClaimedTree, Tree, TreeError};

const LOW: RecordId = RecordId([0; 32]);
const HIGH: RecordId = RecordId([0xff; 32]);

/// A node as a host may claim it.
enum Claim {
    Empty,
    Inner,
    Stub(Digest),
    Unread(RecordId, Digest),
    Leaf(RecordId, &'static [u8]),
}
use Claim::{Empty, Inner, Leaf, Stub, Unread};

fn encoding(nodes: &[Claim]) -> Vec<u8> {
    let mut e = minicbor::Encoder::new(Vec::new());
    e.array(nodes.len() as u64).unwrap();
    for node in nodes {
        match node {
            Empty => e.array(1).unwrap().u8(0),
            Inner => e.array(1).unwrap().u8(1),
            Stub(digest) => e.array(2).unwrap().u8(2).unwrap().bytes(&digest.0),
            Unread(id, digest) => e.array(3).unwrap().u8(3).unwrap().bytes(&id.0).unwrap().bytes(&digest.0),
            Leaf(id, sealed) => e.array(3).unwrap().u8(4).unwrap().bytes(&id.0).unwrap().bytes(sealed),
        }
        .unwrap();
    }
    e.into_writer()
}

fn verify(nodes: &[Claim], root: Digest) -> Result<Tree, TreeError> {
    ClaimedTree::decode(&encoding(nodes)).unwrap().verify(Prefix::WHOLE, &root)
}

fn refusal(nodes: &[Claim], root: Digest) -> Option<TreeError> {
    verify(nodes, root).err()
}

fn sealed(bytes: &[u8]) -> Digest {
    hash(label::SEALED, &[bytes])
}

fn leaf(id: RecordId, bytes: &[u8]) -> Digest {
    hash(label::LEAF, &[&id.0, &sealed(bytes).0])
}

fn node(depth: u16, left: Digest, right: Digest) -> Digest {
    hash::node(depth, &left, &right)
}

fn tree_of(ids: impl IntoIterator<Item = RecordId>) -> Tree {
    let mut tree = Tree::new(Prefix::WHOLE);
    tree.update(ids.into_iter().map(|id| (id, Arc::from(&id.0[..20])))).unwrap();
    tree
}

fn random_tree(seed: u64, n: usize) -> (Tree, Vec<RecordId>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let ids: Vec<_> = (0..n).map(|_| RecordId(rng.random())).collect();
    (tree_of(ids.iter().copied()), ids)
}

/// Two ids that share `bits` leading bits, with zeros elsewhere.
fn sharing(bits: usize) -> [RecordId; 2] {
    let mut other = LOW;
    other.0[bits / 8] |= 0x80 >> (bits % 8);
    [LOW, other]
}

#[test]
fn every_kind_of_node_is_accepted_where_it_belongs() {
    let root = node(0, leaf(LOW, b"l"), leaf(HIGH, b"h"));
    let tree = verify(&[Inner, Leaf(LOW, b"l"), Leaf(HIGH, b"h")], root).unwrap();
    assert_eq!(tree.get(&HIGH).unwrap().unwrap()[..], b"h"[..]);
    let tree = verify(&[Inner, Stub(leaf(LOW, b"l")), Unread(HIGH, sealed(b"h"))], root).unwrap();
    assert_eq!(tree.get(&LOW), Err(TreeError::NotOpened));
    assert_eq!(tree.get(&HIGH), Err(TreeError::NotOpened));
    assert_eq!(tree.root(), root);
    assert_eq!(verify(&[Stub(root)], root).unwrap().root(), root);
    assert_eq!(verify(&[Empty], Digest::EMPTY).unwrap().get(&LOW), Ok(None));
}

#[test]
fn a_leaf_off_the_path_of_its_record_id_is_refused() {
    let swapped = node(0, leaf(HIGH, b"h"), leaf(LOW, b"l"));
    let claims = [
        [Inner, Leaf(HIGH, b"h"), Leaf(LOW, b"l")],
        [Inner, Stub(leaf(HIGH, b"h")), Leaf(LOW, b"l")],
        [Inner, Unread(HIGH, sealed(b"h")), Stub(leaf(LOW, b"l"))],
    ];
    for claim in claims {
        assert_eq!(refusal(&claim, swapped), Some(TreeError::Misplaced));
    }
    let twice = node(0, leaf(LOW, b"l"), leaf(LOW, b"l"));
    assert_eq!(refusal(&[Inner, Leaf(LOW, b"l"), Leaf(LOW, b"l")], twice), Some(TreeError::Misplaced));
    // What is refused is the place: closed, the same digests have the same root.
    let stubs = [Inner, Stub(leaf(HIGH, b"h")), Stub(leaf(LOW, b"l"))];
    assert_eq!(refusal(&stubs, swapped), None);
}

#[test]
fn shapes_that_no_set_of_leaves_has_are_refused() {
    let (l, h) = (leaf(LOW, b"l"), leaf(HIGH, b"h"));
    let lone: [(&[Claim], Digest); 5] = [
        (&[Inner, Leaf(LOW, b"l"), Empty], node(0, l, Digest::EMPTY)),
        (&[Inner, Empty, Leaf(HIGH, b"h")], node(0, Digest::EMPTY, h)),
        (&[Inner, Unread(LOW, sealed(b"l")), Empty], node(0, l, Digest::EMPTY)),
        (&[Inner, Empty, Empty], node(0, Digest::EMPTY, Digest::EMPTY)),
        (&[Stub(Digest::EMPTY)], Digest::EMPTY),
    ];
    for (claim, root) in lone {
        assert_eq!(refusal(claim, root), Some(TreeError::NotCanonical));
    }
    let hidden = [Inner, Stub(Digest::EMPTY), Leaf(HIGH, b"h")];
    assert_eq!(refusal(&hidden, node(0, Digest::EMPTY, h)), Some(TreeError::NotCanonical));
    // Two leaves that part lower down do have an empty side above them.
    let [a, b] = sharing(1);
    let chain = [Inner, Inner, Leaf(a, b"a"), Leaf(b, b"b"), Empty];
    assert_eq!(refusal(&chain, node(0, node(1, leaf(a, b"a"), leaf(b, b"b")), Digest::EMPTY)), None);
}

#[test]
fn sealed_bytes_are_hashed_and_not_believed() {
    let root = leaf(LOW, b"true");
    assert_eq!(refusal(&[Leaf(LOW, b"true")], root), None);
    assert_eq!(refusal(&[Leaf(LOW, b"false")], root), Some(TreeError::WrongRoot));
    assert_eq!(refusal(&[Unread(LOW, sealed(b"false"))], root), Some(TreeError::WrongRoot));
}

#[test]
fn a_stale_tree_is_refused() {
    let (mut tree, ids) = random_tree(1, 50);
    let stale = tree.partial(&ids[..3]).unwrap().encode();
    tree.update([(ids[40], Arc::from(&b"newer"[..]))]).unwrap();
    let refused = ClaimedTree::decode(&stale).unwrap().verify(Prefix::WHOLE, &tree.root());
    assert_eq!(refused.err(), Some(TreeError::WrongRoot));
}

#[test]
fn a_tree_of_another_prefix_is_refused() {
    let ids = sharing(9);
    let at = |len| Prefix::of(&LOW, len).unwrap();
    let mut tree = Tree::new(at(5));
    tree.update(ids.map(|id| (id, Arc::from(&b"x"[..])))).unwrap();
    let claimed = ClaimedTree::decode(&tree.encode()).unwrap();
    let verify = |prefix| claimed.clone().verify(prefix, &tree.root()).err();
    assert_eq!(verify(at(5)), None);
    assert_eq!(verify(at(4)), Some(TreeError::Misplaced));
    assert_eq!(verify(at(6)), Some(TreeError::Misplaced));
    assert_eq!(verify(at(5).children().unwrap().1), Some(TreeError::Misplaced));
    assert_eq!(verify(Prefix::of(&HIGH, 5).unwrap()), Some(TreeError::Misplaced));
    // Where no leaf shows the place, the depth in the hash does.
    let stubs =
        ClaimedTree::decode(&encoding(&[Inner, Stub(Digest([1; 32])), Stub(Digest([2; 32]))])).unwrap();
    let root = node(5, Digest([1; 32]), Digest([2; 32]));
    let verify = |prefix| stubs.clone().verify(prefix, &root).err();
    assert_eq!((verify(at(5)), verify(at(4))), (None, Some(TreeError::WrongRoot)));
}

#[test]
fn ids_that_share_255_bits_work_and_a_node_below_the_last_bit_is_refused() {
    let tree = tree_of(sharing(255));
    let whole = ClaimedTree::decode(&tree.encode()).unwrap().verify(Prefix::WHOLE, &tree.root()).unwrap();
    assert!(sharing(255).iter().all(|id| whole.get(id).unwrap().is_some()));

    // 256 inner nodes above one another are the most there can be; this has one more, at depth 256.
    let (l, h) = (Digest([1; 32]), Digest([2; 32]));
    let chain = |inner: u16| {
        let mut claim: Vec<_> = (0..inner).map(|_| Inner).collect();
        claim.extend([Stub(l), Stub(h)]);
        claim.extend((1..inner).map(|_| Empty));
        let root = (0..inner - 1).rev().fold(node(inner - 1, l, h), |low, d| node(d, low, Digest::EMPTY));
        (claim, root)
    };
    let (claim, root) = chain(256);
    assert_eq!(refusal(&claim, root), None);
    for inner in [257, 258, 5000] {
        let (claim, root) = chain(inner);
        assert_eq!(refusal(&claim, root), Some(TreeError::TooDeep));
    }
    // The bound is on all bits, the prefix's too.
    let claimed = ClaimedTree::decode(&encoding(&[Inner, Stub(l), Stub(h)])).unwrap();
    let deep = |len| claimed.clone().verify(Prefix::of(&LOW, len).unwrap(), &node(len, l, h)).err();
    assert_eq!((deep(255), deep(256)), (None, Some(TreeError::TooDeep)));
}

#[test]
fn a_tree_with_nodes_missing_or_left_over_is_refused() {
    let root = node(0, leaf(LOW, b"l"), leaf(HIGH, b"h"));
    let claims: [&[Claim]; 5] = [
        &[],
        &[Inner],
        &[Inner, Leaf(LOW, b"l")],
        &[Inner, Leaf(LOW, b"l"), Leaf(HIGH, b"h"), Empty],
        &[Stub(root), Stub(root)],
    ];
    for claim in claims {
        assert_eq!(refusal(claim, root), Some(TreeError::Malformed));
    }
}

#[test]
fn truncated_and_longer_encodings_are_refused() {
    let (tree, ids) = random_tree(2, 30);
    let bytes = tree.partial(&ids[..2]).unwrap().encode();
    assert!(ClaimedTree::decode(&bytes).is_ok());
    for len in 0..bytes.len() {
        assert_eq!(ClaimedTree::decode(&bytes[..len]), Err(TreeError::Malformed));
    }
    for last in 0..=255 {
        let longer = [&bytes[..], &[last]].concat();
        assert_eq!(ClaimedTree::decode(&longer), Err(TreeError::Malformed));
    }
}

#[test]
fn every_change_of_one_byte_is_refused_or_means_the_same() {
    let (tree, ids) = random_tree(3, 12);
    let absent = RecordId([0x5a; 32]);
    let part = tree.partial(&[ids[0], absent]).unwrap();
    let deep = tree_of(sharing(40));
    for part in [part, deep.partial(&sharing(40)[..1]).unwrap(), Tree::new(Prefix::WHOLE)] {
        let bytes = part.encode();
        let mut refused = 0;
        for at in 0..bytes.len() {
            for change in 1..=255 {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                match ClaimedTree::decode(&changed).and_then(|c| c.verify(Prefix::WHOLE, &part.root())) {
                    Ok(verified) => assert_eq!(verified.encode(), bytes),
                    Err(_) => refused += 1,
                }
            }
        }
        assert_eq!(refused, bytes.len() * 255);
    }
}

#[test]
fn an_array_of_claimed_or_unknown_length_is_not_believed() {
    for bytes in [
        &[0x9f, 0x81, 0x00, 0xff][..],
        &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00][..],
        &[0x81, 0x9f, 0x00, 0xff][..],
        &[0x81, 0x82, 0x00, 0x00][..],
        &[0x81, 0x81, 0x05][..],
    ] {
        assert_eq!(ClaimedTree::decode(bytes), Err(TreeError::Malformed));
    }
}

/// So many empty nodes, which is no tree, but can be claimed.
fn many(nodes: u32) -> Vec<u8> {
    let [_, high, mid, low] = nodes.to_be_bytes();
    [&[0x9a, 0, high, mid, low][..], &[0x81, 0x00].repeat(nodes as usize)].concat()
}

#[test]
fn a_message_may_claim_the_nodes_that_the_largest_batch_needs_and_not_one_more() {
    // 128 paths through 256 levels, an inner node and a side at each, and a leaf.
    const MOST: u32 = 65_664;
    assert!(ClaimedTree::decode(&many(MOST)).is_ok());
    assert_eq!(ClaimedTree::decode(&many(MOST + 1)), Err(TreeError::Malformed));
    let request = |nodes: &[u32]| {
        let tree = |nodes: &u32| ClaimedTree::decode(&many(*nodes)).unwrap();
        let trees = nodes.iter().map(|n| PrefixTree { prefix: Prefix::WHOLE, tree: tree(n) }).collect();
        let request = Request::Process { group: GroupId([1; 16]), trees, requests: vec![] };
        minicbor::decode::<Request>(&minicbor::to_vec(request).unwrap()).is_ok()
    };
    assert!(request(&[MOST - 1, 1]));
    assert!(!request(&[MOST - 1, 2]));
    assert!(request(&[1; 16]));
    assert!(!request(&[1; 17]));
}

#[test]
fn a_tree_can_be_a_field_of_a_message() {
    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Message {
        #[n(0)]
        before: u8,
        #[n(1)]
        tree: ClaimedTree,
        #[n(2)]
        prefix: Prefix,
    }
    let (tree, _) = random_tree(4, 5);
    let message = Message { before: 9, tree: ClaimedTree::from(&tree), prefix: tree.prefix() };
    let bytes = minicbor::to_vec(&message).unwrap();
    assert_eq!(minicbor::decode::<Message>(&bytes).unwrap(), message);
    assert_eq!(ClaimedTree::decode(&tree.encode()).unwrap(), message.tree);
}

#[test]
fn a_stack_of_16_kib_is_enough_for_the_deepest_trees() {
    let work = || {
        let ids: Vec<_> = (0..256).map(|bits| sharing(bits)[1]).chain([LOW]).collect();
        let mut tree = tree_of(ids.iter().copied());
        let older = tree.clone();
        tree.update([(LOW, Arc::from(&b"newer"[..]))]).unwrap();
        let part = tree.partial(&ids).unwrap();
        let verified =
            ClaimedTree::decode(&part.encode()).unwrap().verify(Prefix::WHOLE, &tree.root()).unwrap();
        drop((tree, part, older));
        verified.leaves().count()
    };
    let thread = std::thread::Builder::new().stack_size(16 * 1024).spawn(work).unwrap();
    assert_eq!(thread.join().unwrap(), 257);
}
