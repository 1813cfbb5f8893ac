//! Pages against the whole tree they were cut from, and against a store that mixes them up.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strongroom_proto::ids::{Digest, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::{ClaimedTree, Onward, PAGE_LEVELS, Page, Tree, TreeError};

type Map = BTreeMap<RecordId, Arc<[u8]>>;
type Pages = BTreeMap<Prefix, Page>;

/// Lengths of root prefixes: on the edge of a page, beside it, and in the middle.
const ROOTS: [u16; 6] = [0, 1, 3, 4, 7, 8];

fn flip(mut id: RecordId, at: u16) -> RecordId {
    id.0[usize::from(at / 8)] ^= 0x80 >> (at % 8);
    id
}

fn sealed(rng: &mut StdRng) -> Arc<[u8]> {
    let len = rng.random_range(0..40);
    (0..len).map(|_| rng.random::<u8>()).collect()
}

/// An id below `root`, which parts late from one of `known`, or early from all.
fn draw_id(rng: &mut StdRng, root: &Prefix, known: &[RecordId]) -> RecordId {
    let mut id = match known.choose(rng) {
        Some(near) if rng.random() => flip(*near, rng.random_range(root.len()..Prefix::MAX_LEN)),
        _ => RecordId(rng.random()),
    };
    for at in 0..root.len() {
        let (byte, bit) = (usize::from(at / 8), 0x80 >> (at % 8));
        id.0[byte] = (id.0[byte] & !bit) | (root.bits()[byte] & bit);
    }
    id
}

fn draw_map(rng: &mut StdRng, root: &Prefix, records: usize) -> Map {
    let mut ids: Vec<RecordId> = Vec::new();
    for _ in 0..records {
        ids.push(draw_id(rng, root, &ids));
    }
    ids.into_iter().map(|id| (id, sealed(rng))).collect()
}

fn tree_of(root: Prefix, map: &Map) -> Tree {
    let mut tree = Tree::new(root);
    tree.update(map.clone()).expect("a whole tree takes every record below its prefix");
    tree
}

/// All pages of a whole tree, as a store gives them back.
fn stored(tree: &Tree) -> Pages {
    let ids: Vec<RecordId> = tree.leaves().map(|leaf| leaf.record_id()).collect();
    let read = |page: Page| {
        let again = Page::decode(page.prefix(), &page.encode()).expect("a page decodes");
        assert_eq!(again.digest(), page.digest());
        (page.prefix(), again)
    };
    tree.pages(ids).expect("it is whole").into_iter().map(read).collect()
}

/// What a store keeps: bytes.
fn encoded(pages: &Pages) -> BTreeMap<Prefix, Vec<u8>> {
    pages.iter().map(|(prefix, page)| (*prefix, page.encode())).collect()
}

/// Opens the way to one record, as an agent does that reads a page and then knows the next.
fn open_way(tree: &mut Tree, pages: &Pages, map: &Map, id: &RecordId) {
    let mut at = tree.prefix();
    loop {
        let page = &pages[&at];
        tree.open_page(page);
        match page.onward(id).expect("the page is on the way") {
            Onward::Absent => return,
            Onward::Leaf(_) => return assert!(tree.open_leaf(id, Arc::clone(&map[id]))),
            Onward::Page(next) => {
                assert!(next.len() > at.len() && next.len() % PAGE_LEVELS == 0 && next.contains(id));
                at = next;
            }
        }
    }
}

/// Runs with many trees: a root prefix, and its records.
fn for_trees(seeds: u64, run: impl Fn(&mut StdRng, Prefix, Map)) {
    for seed in 0..seeds {
        for len in ROOTS {
            for records in [0, 1, 2, 5, 60] {
                let mut rng = StdRng::seed_from_u64(seed * 1_000 + u64::from(len) * 100 + records as u64);
                let root = Prefix::of(&RecordId(rng.random()), len).expect("short");
                let map = draw_map(&mut rng, &root, records);
                run(&mut rng, root, map);
            }
        }
    }
}

/// Ids in the map, ids next to some, and ids far from all.
fn some_ids(rng: &mut StdRng, root: &Prefix, map: &Map, count: usize) -> Vec<RecordId> {
    let known: Vec<RecordId> = map.keys().copied().collect();
    let draw = |_| match known.choose(rng) {
        Some(id) if rng.random() => *id,
        _ => draw_id(rng, root, &known),
    };
    (0..count).map(draw).collect()
}

#[test]
fn a_tree_opened_page_by_page_answers_as_the_whole_one() {
    for_trees(2, |rng, root, map| {
        let whole = tree_of(root, &map);
        let pages = stored(&whole);
        let mut opened = Tree::closed(root, whole.root());
        for id in map.keys().copied().chain(some_ids(rng, &root, &map, 20)) {
            let empty = whole.root() == Digest::EMPTY;
            assert!(empty || opened.get(&id).is_ok() || opened.get(&id) == Err(TreeError::NotOpened));
            open_way(&mut opened, &pages, &map, &id);
            assert_eq!(opened.get(&id), whole.get(&id));
            assert_eq!(opened.root(), whole.root());
        }
        assert_eq!(opened.encode(), whole.encode(), "every page and every leaf has been opened");
    });
}

#[test]
fn a_page_names_the_pages_below_it_and_no_page_is_beside_the_ways() {
    for_trees(2, |_, root, map| {
        let whole = tree_of(root, &map);
        let pages = stored(&whole);
        let mut named: BTreeMap<Prefix, Digest> = BTreeMap::from([(root, whole.root())]);
        named.extend(pages.values().flat_map(Page::below));
        let there = pages.iter().map(|(prefix, page)| (*prefix, page.digest())).collect();
        assert_eq!(named, there);
        assert!(pages.keys().all(|prefix| *prefix == root || prefix.len() % PAGE_LEVELS == 0));
        let leaves: Vec<RecordId> =
            pages.values().flat_map(|page| page.leaves().map(|leaf| leaf.record_id())).collect();
        assert_eq!(leaves.len(), map.len(), "each leaf is in one page");
        assert!(pages.values().all(|page| page.leaves().all(|leaf| leaf.sealed().is_none())));
    });
}

#[test]
fn a_partial_tree_brought_forward_gives_the_pages_of_the_whole_one() {
    for_trees(2, |rng, root, mut map| {
        let mut whole = tree_of(root, &map);
        let mut store = stored(&whole);
        for _ in 0..4 {
            // Some rounds of changes to a partial tree that knows no more than the ways to what is changed.
            let mut changed = BTreeSet::new();
            let mut part = Tree::closed(root, whole.root());
            for _ in 0..rng.random_range(1..4) {
                let count = rng.random_range(1..6);
                let ids = some_ids(rng, &root, &map, count);
                part.open_tree(&whole.paths(&ids).expect("it is whole"));
                let leaves: Map = ids.iter().map(|id| (*id, sealed(rng))).collect();
                part.update(leaves.clone()).expect("the ways are open");
                whole.update(leaves.clone()).expect("it is whole");
                changed.extend(leaves.keys().copied());
                map.extend(leaves);
                if rng.random() {
                    // Everything else is forgotten. A leaf that has just been moved is still known.
                    let kept: Vec<RecordId> = changed.iter().copied().collect();
                    part = part.partial_with_neighbours(&kept).expect("the ways are open");
                }
            }
            assert_eq!(part.root(), whole.root());
            for mut page in part.pages(changed.iter().copied()).expect("the ways are open") {
                if let Some(older) = store.get(&page.prefix()) {
                    page.complete(older);
                }
                assert!(page.is_whole(), "{:?}", page.prefix());
                store.insert(page.prefix(), page);
            }
            assert_eq!(encoded(&store), encoded(&stored(&whole)));
        }
    });
}

#[test]
fn pages_of_an_unchanged_part_complete_to_what_is_stored() {
    for_trees(2, |rng, root, map| {
        let whole = tree_of(root, &map);
        let store = stored(&whole);
        let ids = some_ids(rng, &root, &map, 5);
        for part in [whole.paths(&ids).expect("whole"), whole.partial(&ids).expect("whole")] {
            for mut page in part.pages(ids.iter().copied()).expect("the ways are open") {
                let older = &store[&page.prefix()];
                assert_eq!(page.digest(), older.digest());
                page.complete(older);
                assert_eq!(page.encode(), older.encode());
            }
        }
    });
}

#[test]
fn a_page_of_another_state_or_another_place_opens_nothing_wrong() {
    for_trees(2, |rng, root, map| {
        let whole = tree_of(root, &map);
        let mut newer = map.clone();
        for id in some_ids(rng, &root, &map, 6) {
            newer.insert(id, sealed(rng));
        }
        let newer = tree_of(root, &newer);
        let other = Prefix::of(&RecordId(rng.random()), rng.random_range(0..12)).expect("short");
        let other_map = draw_map(rng, &other, 40);
        let foreign = tree_of(other, &other_map);
        let mut pages: Vec<Page> = stored(&newer).into_values().collect();
        pages.extend(stored(&foreign).into_values());
        // A page under the name of another, as far as that reads at all.
        let bytes: Vec<_> = stored(&whole).into_iter().collect();
        for _ in 0..20 {
            let (Some((prefix, _)), Some((_, page))) = (bytes.choose(rng), bytes.choose(rng)) else { break };
            pages.extend(Page::decode(*prefix, &page.encode()));
        }
        let mut opened = Tree::closed(root, whole.root());
        for _ in 0..3 {
            pages.iter().for_each(|page| opened.open_page(page));
            opened.open_tree(&newer);
            opened.open_tree(&foreign);
            assert_eq!(opened.root(), whole.root());
            for id in map.keys().chain(newer.leaves().map(|leaf| leaf.record_id()).collect::<Vec<_>>().iter())
            {
                match opened.get(id) {
                    Err(TreeError::NotOpened) => {}
                    answer => assert_eq!(answer, whole.get(id)),
                }
            }
            let again = ClaimedTree::decode(&opened.encode()).expect("whole");
            again.verify(root, &whole.root()).expect("what is opened hashes to the root");
        }
    });
}

#[test]
fn the_leaf_of_another_state_or_record_does_not_open() {
    for_trees(2, |rng, root, map| {
        let whole = tree_of(root, &map);
        let mut part = Tree::closed(root, whole.root());
        stored(&whole).values().for_each(|page| part.open_page(page));
        for (id, bytes) in &map {
            let mut wrong = bytes.to_vec();
            wrong.push(0);
            assert!(!part.open_leaf(id, wrong.into()));
            assert!(!part.open_leaf(&flip(*id, rng.random_range(0..256)), Arc::clone(bytes)));
            assert_eq!(part.get(id), Err(TreeError::NotOpened));
            assert_eq!(part.root(), whole.root());
            assert!(part.open_leaf(id, Arc::clone(bytes)));
            assert!(part.open_leaf(id, Arc::clone(bytes)), "a second time does no harm");
            assert_eq!(part.get(id), Ok(Some(bytes)));
        }
        assert_eq!(part.encode(), whole.encode());
    });
}

#[test]
fn opening_the_same_tree_twice_changes_nothing() {
    for_trees(2, |rng, root, map| {
        let whole = tree_of(root, &map);
        let ids = some_ids(rng, &root, &map, 8);
        let (some, all) = (whole.paths(&ids[..4]).expect("whole"), whole.partial(&ids).expect("whole"));
        let mut opened = Tree::closed(root, whole.root());
        opened.open_tree(&some);
        let once = opened.encode();
        opened.open_tree(&some);
        assert_eq!(opened.encode(), once);
        opened.open_tree(&all);
        let both = opened.encode();
        opened.open_tree(&some);
        assert_eq!(opened.encode(), both, "less than what is open adds nothing and closes nothing");
        assert_eq!(both, all.encode());
    });
}

#[test]
fn records_that_share_255_bits_are_64_pages_deep() {
    let mut rng = StdRng::seed_from_u64(1);
    for len in ROOTS {
        let id = RecordId(rng.random());
        let root = Prefix::of(&id, len).expect("short");
        let map: Map = [id, flip(id, 255), flip(id, 254)].map(|id| (id, sealed(&mut rng))).into();
        let whole = tree_of(root, &map);
        let pages = stored(&whole);
        assert_eq!(pages.len(), usize::from(64 - len / PAGE_LEVELS));
        let mut opened = Tree::closed(root, whole.root());
        for id in map.keys().chain([&flip(id, 100)]) {
            open_way(&mut opened, &pages, &map, id);
            assert_eq!(opened.get(id), whole.get(id));
        }
        assert_eq!(opened.encode(), whole.encode());
    }
}

#[test]
fn a_damaged_page_is_refused_or_has_another_digest() {
    for_trees(1, |rng, root, map| {
        for page in stored(&tree_of(root, &map)).values().take(12) {
            let bytes = page.encode();
            for len in 0..bytes.len() {
                assert!(Page::decode(page.prefix(), &bytes[..len]).is_err(), "cut to {len} bytes");
            }
            assert!(Page::decode(page.prefix(), &[&bytes[..], &[0]].concat()).is_err(), "a trailing byte");
            for _ in 0..200 {
                let mut mutated = bytes.clone();
                for _ in 0..rng.random_range(1..3) {
                    let at = rng.random_range(0..mutated.len());
                    mutated[at] = rng.random();
                }
                if let Ok(read) = Page::decode(page.prefix(), &mutated)
                    && read.digest() == page.digest()
                {
                    assert_eq!(read.encode(), bytes);
                }
            }
        }
    });
}

#[test]
fn a_page_is_one_page_and_has_no_sealed_bytes() {
    let mut rng = StdRng::seed_from_u64(2);
    let map = draw_map(&mut rng, &Prefix::WHOLE, 60);
    let whole = tree_of(Prefix::WHOLE, &map);
    let refused = |tree: &Tree| Page::decode(tree.prefix(), &tree.encode()).expect_err("no page");
    let unread = whole.paths(&map.keys().copied().collect::<Vec<_>>()).expect("whole");
    assert_eq!(refused(&unread), TreeError::NotOpened, "it reaches below the page");
    let [a, b] = [RecordId([3; 32]), flip(RecordId([3; 32]), PAGE_LEVELS)];
    let deeper = tree_of(Prefix::WHOLE, &Map::from([(a, sealed(&mut rng)), (b, sealed(&mut rng))]));
    let unread = deeper.paths(&[a, b]).expect("whole");
    assert_eq!(refused(&unread), TreeError::NotOpened, "it reaches one level below the page");
    assert_eq!(refused(&Tree::closed(Prefix::WHOLE, whole.root())), TreeError::NotOpened, "nothing is open");
    let id = RecordId([3; 32]);
    let one = tree_of(Prefix::WHOLE, &Map::from([(id, sealed(&mut rng))]));
    assert_eq!(refused(&one), TreeError::Malformed, "it holds sealed bytes");
    let page = Page::decode(Prefix::WHOLE, &one.paths(&[id]).expect("whole").encode()).expect("a page");
    assert_eq!(page.digest(), one.root());
    let elsewhere = Prefix::of(&flip(id, 0), 1).expect("short");
    assert_eq!(Page::decode(elsewhere, &page.encode()).expect_err("no page"), TreeError::Misplaced);
    assert_eq!(page.onward(&id), Ok(Onward::Leaf(page.leaves().next().expect("one").sealed_digest())));
}
