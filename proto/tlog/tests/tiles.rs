//! Tiles: their paths, which ones a growing tree writes, and that nothing false can be read out of them.

mod common;

use common::{cut_and_trailed, defined, defined_path, defined_proof, entries, leaves};
use proptest::prelude::*;
use std::collections::BTreeMap;
use strongroom_proto::ids::TreeHash;
use strongroom_tlog::entries::{BundleError, ENTRY, bundle, parse};
use strongroom_tlog::growth::{EdgeError, WrittenTile};
use strongroom_tlog::proof::{ProofError, empty_root};
use strongroom_tlog::reader::{ReadError, tiles_for, tiles_for_consistency, tiles_for_inclusion};
use strongroom_tlog::tile::{edge, grown};
use strongroom_tlog::{Edge, Node, Resource, Tile, TileReader, verify_consistency, verify_inclusion};

/// Tiles by their paths, as a store has them.
#[derive(Default, Clone)]
struct Store(BTreeMap<String, Vec<u8>>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {0}")]
struct Absent(String);

impl Store {
    fn write(&mut self, tiles: Vec<WrittenTile>) {
        for WrittenTile { tile, bytes } in tiles {
            self.0.insert(tile.to_string(), bytes);
        }
    }

    fn fetch(&self, tile: Tile) -> Result<Vec<u8>, Absent> {
        self.0.get(&tile.to_string()).cloned().ok_or_else(|| Absent(tile.to_string()))
    }
}

/// The tiles of a tree, as they are defined.
fn published(leaves: &[TreeHash]) -> Store {
    let mut store = Store::default();
    let mut hashes = leaves.to_vec();
    for level in 0.. {
        for (index, tile) in hashes.chunks(256).enumerate() {
            let place = Tile::of(leaves.len() as u64, level, index as u64).unwrap();
            store.0.insert(place.to_string(), tile.iter().flat_map(|hash| hash.0).collect());
        }
        hashes = hashes.chunks_exact(256).map(defined).collect();
        if hashes.is_empty() {
            return store;
        }
    }
    unreachable!()
}

fn tile(size: u64, level: u8, index: u64) -> String {
    Tile::of(size, level, index).map(|tile| tile.to_string()).unwrap_or_default()
}

#[test]
fn paths_are_those_of_the_specification() {
    assert_eq!(tile(u64::MAX, 3, 1_234_067), "tile/3/x001/x234/067");
    assert_eq!(tile(5, 0, 0), "tile/0/000.p/5");
    assert_eq!(tile(256 * 1000, 0, 999), "tile/0/999");
    assert_eq!(tile(256 * 1000 + 1, 0, 1000), "tile/0/x001/000.p/1");
    let entries = Tile::of(256 * 1000 + 1, 0, 1000).unwrap().entries_path().unwrap();
    assert_eq!(entries, "tile/entries/x001/000.p/1");
    assert_eq!(Tile::of(256, 1, 0).unwrap().entries_path(), None);
    // The published example: 273 full tiles of level 0, and so on.
    let all: Vec<Tile> = grown(0, 70_000).collect();
    assert_eq!(all.len(), 273 + 1 + 1 + 1 + 1);
    assert_eq!(tile(70_000, 0, 272), "tile/0/272");
    let partial: Vec<String> = edge(70_000).map(|tile| tile.to_string()).collect();
    assert_eq!(partial, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
    let partial: Vec<String> = edge(256).map(|tile| tile.to_string()).collect();
    assert_eq!(partial, ["tile/1/000.p/1"]);
    assert_eq!(edge(0).count() + grown(0, 0).count(), 0);
}

#[test]
fn a_path_is_read_as_it_is_written() {
    let sizes = [1, 255, 256, 257, 70_000, 256_000, 256_001, 65_536 * 1000, u64::MAX];
    for size in sizes {
        for tile in edge(size).chain((0..8).filter_map(|level| Tile::of(size, level, 0))) {
            assert_eq!(Resource::parse(&tile.to_string()), Ok(Resource::Hashes(tile)), "{tile}");
            if let Some(path) = tile.entries_path() {
                assert_eq!(Resource::parse(&path), Ok(Resource::Entries(tile)), "{path}");
                assert_eq!(Resource::Entries(tile).to_string(), path);
            }
        }
    }
    assert_eq!(Resource::parse("checkpoint"), Ok(Resource::Checkpoint));
    let Ok(Resource::Hashes(highest)) = Resource::parse("tile/63/000") else { panic!() };
    assert_eq!((highest.level(), highest.parent(u64::MAX)), (63, None));
}

#[test]
fn a_path_has_one_spelling() {
    let wrong = [
        "",
        "/checkpoint",
        "checkpoint/",
        "checkpoints",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/256/000",
        "tile/data/000",
        "tile/8/0/000",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/x000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001/x001",
        "tile/0/X001/001",
        "tile/0/001.p",
        "tile/0/001.p/",
        "tile/0/001.p/0",
        "tile/0/001.p/00",
        "tile/0/001.p/05",
        "tile/0/001.p/256",
        "tile/0/001.p/999",
        "tile/0/001.p/5/",
        "tile/0/001.p/5.p/5",
        "tile/0/001.q/5",
        "tile/0/x001.p/5/001",
        "tile/0/0a1",
        "tile/0/٠٠١",
        "tile/0/+01",
        "tile/entries",
        "tile/entries/",
        "tile/entries/0",
        "tile/0/xx01/001",
        "tile/0/../000",
        "tile/0/%30%30%30",
        "tile/0/x018/x446/x744/x073/x709/x551/616", // 2^64
    ];
    for path in wrong {
        assert!(Resource::parse(path).is_err(), "{path:?}");
    }
    for good in ["tile/0/x001/234.p/5", "tile/entries/x001/234", "checkpoint"] {
        for bad in cut_and_trailed(good.as_bytes()) {
            let bad = String::from_utf8_lossy(&bad);
            let read = Resource::parse(&bad).map(|resource| resource.to_string());
            assert!(read.is_err() || read.as_deref() == Ok(&*bad), "{bad:?}");
        }
    }
}

#[test]
fn a_tree_that_grows_writes_the_tiles_that_are_defined() {
    let leaves = leaves(70_000);
    let mut store = Store::default();
    let mut tree = Edge::default();
    for to in [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1024, 65_535, 65_536, 65_537, 66_000, 70_000] {
        let from = tree.size();
        let written = tree.append(&leaves[from as usize..to]).unwrap();
        let named: Vec<Tile> = written.iter().map(|written| written.tile).collect();
        assert_eq!(named, grown(from, to as u64).collect::<Vec<_>>(), "{from} to {to}");
        store.write(written);
        assert_eq!((tree.size(), tree.root()), (to as u64, defined(&leaves[..to])));
        for (path, bytes) in published(&leaves[..to]).0 {
            assert_eq!(store.0.get(&path), Some(&bytes), "{path} at {to}");
        }
        let read = Edge::read(to as u64, &tree.root(), |tile| store.fetch(tile)).unwrap();
        assert_eq!(read, tree);
    }
}

#[test]
fn an_edge_is_read_from_full_tiles_as_well() {
    let leaves = leaves(1000);
    let tree = &leaves[..700];
    // The partial tiles of 700 are deleted.
    let store = published(&leaves);
    let fetch = |tile: Tile| store.fetch(tile).or_else(|_| store.fetch(tile.full()));
    let read = Edge::read(700, &defined(tree), |tile| {
        if tile.level() == 1 { Ok(published(tree).fetch(tile)?) } else { fetch(tile) }
    });
    assert_eq!(read.unwrap().root(), defined(tree));
}

#[test]
fn no_more_leaves_are_appended_than_can_be_counted() {
    let store = |tile: Tile| Ok::<_, Absent>(vec![7; 32 * usize::from(tile.width())]);
    let found = Edge::read(u64::MAX, &TreeHash([0; 32]), store);
    assert_eq!(found, Err(EdgeError::Root { size: u64::MAX }));
    assert_eq!(edge(u64::MAX).map(|tile| tile.width()).collect::<Vec<_>>(), [255; 8]);
}

#[test]
fn every_proof_can_be_read_out_of_the_tiles() {
    for size in [1_u64, 2, 255, 256, 257, 300, 600] {
        let leaves = leaves(size);
        let root = defined(&leaves);
        let store = published(&leaves);
        let mut reader = TileReader::open(size, &root, |tile| store.fetch(tile)).unwrap();
        for index in (0..size).filter(|index| index % 13 == 0 || size - index < 3 || index.count_ones() < 3) {
            let proof = reader.inclusion(index).unwrap();
            assert_eq!(proof, defined_path(index as usize, &leaves));
            let leaf = reader.leaf(index).unwrap();
            assert_eq!(leaf, leaves[index as usize]);
            assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Ok(()));
        }
        for from in (0..=size).filter(|from| from % 17 == 0 || size - from < 3 || from.count_ones() < 3) {
            let (proof, older) = (reader.consistency(from).unwrap(), reader.root_at(from).unwrap());
            assert_eq!(proof, defined_proof(from as usize, &leaves));
            assert_eq!(older, defined(&leaves[..from as usize]));
            assert_eq!(verify_consistency(from, &older, size, &root, &proof), Ok(()));
        }
        assert_eq!(reader.leaf(size), Err(ReadError::Missing { size }));
        assert_eq!(reader.inclusion(size), Err(ProofError::Index { index: size, size }.into()));
        assert_eq!(
            reader.consistency(size + 1),
            Err(ProofError::Shrinks { from: size + 1, to: size }.into())
        );
        assert_eq!(reader.root_at(size + 1), Err(ReadError::Missing { size }));
        assert_eq!(reader.node(Node { level: 64, index: 0 }), Err(ReadError::Missing { size }));
    }
}

#[test]
fn what_is_fetched_beforehand_is_what_is_read() {
    let size = 66_000;
    let leaves = leaves(size);
    let (root, store) = (defined(&leaves), published(&leaves));
    for index in [0, 255, 256, 40_000, 65_535, 65_536, 65_999] {
        let wanted = tiles_for_inclusion(index, size).unwrap();
        assert!(wanted.len() <= 7, "{wanted:?}");
        let fetch =
            |tile| if wanted.contains(&tile) { store.fetch(tile) } else { Err(Absent(tile.to_string())) };
        let mut reader = TileReader::open(size, &root, fetch).unwrap();
        let (leaf, proof) = (reader.leaf(index).unwrap(), reader.inclusion(index).unwrap());
        assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Ok(()));
    }
    for from in [0, 1, 300, 65_535, 65_536, 65_999, 66_000] {
        let wanted = tiles_for_consistency(from, size).unwrap();
        let fetch =
            |tile| if wanted.contains(&tile) { store.fetch(tile) } else { Err(Absent(tile.to_string())) };
        let mut reader = TileReader::open(size, &root, fetch).unwrap();
        let (older, proof) = (reader.root_at(from).unwrap(), reader.consistency(from).unwrap());
        assert_eq!(verify_consistency(from, &older, size, &root, &proof), Ok(()));
    }
    assert!(tiles_for_inclusion(size, size).is_err() && tiles_for_consistency(size + 1, size).is_err());
    assert_eq!(tiles_for(0, [Node { level: 0, index: 0 }]).len(), 0);
}

#[test]
fn leaves_that_are_read_in_order_take_each_tile_once() {
    let leaves = leaves(1000);
    let (root, store) = (defined(&leaves), published(&leaves));
    let mut fetched = vec![];
    let mut reader = TileReader::open(1000, &root, |tile| {
        fetched.push(tile);
        store.fetch(tile)
    })
    .unwrap();
    for (index, leaf) in leaves.iter().enumerate() {
        assert_eq!(reader.leaf(index as u64).as_ref(), Ok(leaf));
    }
    assert_eq!(reader.into_edge().size(), 1000);
    assert_eq!(fetched.len(), 2 + 3, "{fetched:?}");
}

#[test]
fn a_tile_with_any_other_bit_is_noticed() {
    let size = 66_000;
    let leaves = leaves(size);
    let (root, honest) = (defined(&leaves), published(&leaves));
    let index = 40_000;
    for forged in tiles_for_inclusion(index, size).unwrap() {
        let whole = honest.fetch(forged).unwrap();
        for byte in (0..whole.len()).step_by(whole.len() / 16) {
            let mut store = honest.clone();
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << (byte % 8);
            store.0.insert(forged.to_string(), bytes);
            let read = TileReader::open(size, &root, |tile| store.fetch(tile))
                .and_then(|mut reader| Ok((reader.leaf(index)?, reader.inclusion(index)?)));
            match read {
                Err(ReadError::Edge(EdgeError::Root { .. })) => assert!(!forged.is_full(), "{forged}"),
                Err(ReadError::Forged { tile }) => assert_eq!(tile, forged),
                other => panic!("{forged}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_tile_of_another_length_is_noticed() {
    let leaves = leaves(300);
    let (root, honest) = (defined(&leaves), published(&leaves));
    for tile in tiles_for_inclusion(0, 300).unwrap() {
        for wrong in cut_and_trailed(&honest.fetch(tile).unwrap()) {
            let mut store = honest.clone();
            store.0.insert(tile.to_string(), wrong);
            let read =
                TileReader::open(300, &root, |tile| store.fetch(tile)).and_then(|mut reader| reader.leaf(0));
            let is_length =
                matches!(read, Err(ReadError::Length { .. } | ReadError::Edge(EdgeError::Length { .. })));
            assert!(is_length, "{tile}: {read:?}");
        }
        let mut store = honest.clone();
        store.0.remove(&tile.to_string());
        let read =
            TileReader::open(300, &root, |tile| store.fetch(tile)).and_then(|mut reader| reader.leaf(0));
        let is_absent =
            matches!(read, Err(ReadError::Fetch { .. } | ReadError::Edge(EdgeError::Fetch { .. })));
        assert!(is_absent, "{tile}: {read:?}");
    }
}

#[test]
fn the_empty_tree_has_its_root_and_nothing_else() {
    let none = |tile: Tile| Err(Absent(tile.to_string()));
    let mut reader = TileReader::open(0, &empty_root(), none).unwrap();
    assert_eq!(reader.root_at(0), Ok(empty_root()));
    assert_eq!(reader.leaf(0), Err(ReadError::Missing { size: 0 }));
    assert_eq!(Edge::read(0, &TreeHash([0; 32]), none), Err(EdgeError::Root { size: 0 }));
}

#[test]
fn entries_are_those_of_the_tree_or_are_refused() {
    let (leaves, entries) = (leaves(300), entries(300));
    let (root, store) = (defined(&leaves), published(&leaves));
    let mut reader = TileReader::open(300, &root, |tile| store.fetch(tile)).unwrap();
    let (full, partial) = (bundle(&entries[..256]), bundle(&entries[256..]));
    assert_eq!(reader.entries(0, &full).as_deref(), Ok(&entries[..256]));
    assert_eq!(reader.entries(1, &partial).as_deref(), Ok(&entries[256..]));
    // The full bundle, of which the tree has only the first.
    let later = bundle(&common::entries(512)[256..]);
    assert_eq!(reader.entries(1, &later).as_deref(), Ok(&entries[256..]));
    for byte in (0..partial.len()).step_by(7) {
        let mut wrong = partial.clone();
        wrong[byte] ^= 0x40;
        let place = byte / ENTRY;
        let error = match byte % ENTRY {
            0 | 1 => ReadError::Bundle(BundleError::Entry { place }),
            _ => ReadError::Entry { index: 256 + place as u64 },
        };
        assert_eq!(reader.entries(1, &wrong), Err(error));
    }
    for wrong in cut_and_trailed(&partial) {
        let found = wrong.len();
        assert_eq!(parse(&wrong, 44), Err(BundleError::Length { count: 44, found }));
    }
    assert_eq!(parse(&full, 257), Err(BundleError::Length { count: 257, found: full.len() }));
    assert_eq!(parse(&[], 0), Ok(vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_leaves_give_the_same_tree_in_whatever_steps(steps in prop::collection::vec(0_usize..400, 0..12)) {
        let size: usize = steps.iter().sum();
        let leaves = leaves(size as u64);
        let (mut tree, mut store) = (Edge::default(), Store::default());
        for step in steps {
            let from = tree.size() as usize;
            store.write(tree.append(&leaves[from..from + step]).unwrap());
        }
        let mut at_once = Edge::default();
        let written = at_once.append(&leaves).unwrap();
        prop_assert_eq!(&at_once, &tree);
        for WrittenTile { tile, bytes } in written {
            prop_assert_eq!(store.fetch(tile), Ok(bytes));
        }
    }
}
