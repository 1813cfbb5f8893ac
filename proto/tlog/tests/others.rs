//! Other implementations of the same specifications must accept what this one makes, and it what they make: notes with
//! `signed_note`, checkpoints, tiles and proofs with `tlog_tiles`, cosignatures and inclusion proofs with `sigsum`.

mod common;

use common::{defined, entries, key, leaves, source};
use signed_note::{StandardSigner, StandardVerifier, Verifier as _, VerifierList};
use std::collections::BTreeMap;
use strongroom_proto::ids::{Ed25519Public, TreeHash};
use strongroom_tlog::proof::{prove_consistency, prove_inclusion};
use strongroom_tlog::tile::grown;
use strongroom_tlog::{
    Checkpoint, ClaimedCheckpoint, Edge, KeyName, Note, Policy, Resource, Signature, SignatureType,
    SigningKey, Tile, TileReader, VerifierKey, verify_consistency, verify_inclusion,
};
use tlog_tiles::{HashReader as _, TileHashReader};

const SIZES: [u64; 14] = [1, 2, 3, 7, 8, 9, 100, 255, 256, 257, 511, 512, 513, 700];

fn theirs(hash: &TreeHash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.0)
}

fn ours(hashes: &[tlog_tiles::Hash]) -> Vec<TreeHash> {
    hashes.iter().map(|hash| TreeHash(hash.0)).collect()
}

#[test]
fn a_note_of_ours_is_a_note_of_theirs() {
    let log = key("example.com/log", SignatureType::Ed25519, 1);
    let witness = key("example.com/witness", SignatureType::Cosignature, 2);
    let text = "a text\n\nof lines\n";
    let note = Note::new(text, vec![log.sign(text).unwrap(), witness.cosign(text, 5).unwrap()]).unwrap();
    let known = StandardVerifier::new(&log.verifier().to_string()).unwrap();
    assert_eq!(known.key_id().to_be_bytes(), log.verifier().id().0);
    let read = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
    assert_eq!(read.text(), text.as_bytes());
    let (verified, others) = read.verify(&VerifierList::new(vec![Box::new(known)])).unwrap();
    assert_eq!((verified.len(), others.len()), (1, 1));
    assert_eq!(read.to_bytes(), note.to_string().as_bytes());
}

#[test]
fn a_note_of_theirs_is_a_note_of_ours() {
    let log = key("example.com/log", SignatureType::Ed25519, 1);
    let signer = StandardSigner::new(&log.to_text()).unwrap();
    let mut made = signed_note::Note::new("a text\n".as_bytes(), &[]).unwrap();
    made.add_sigs(&[&signer]).unwrap();
    let note = Note::parse(&made.to_bytes()).unwrap();
    assert_eq!(note, Note::new("a text\n", vec![log.sign("a text\n").unwrap()]).unwrap());
    assert!(note.verify(&[log.verifier().clone()]).is_ok());
}

#[test]
fn what_they_refuse_we_refuse() {
    let good = "text\n\n— a AAAAAAA=\n";
    for place in 0..good.len() {
        for byte in 0..=u8::MAX {
            let mut bytes = good.as_bytes().to_vec();
            bytes[place] = byte;
            if Note::parse(&bytes).is_ok() {
                assert!(
                    signed_note::Note::from_bytes(&bytes).is_ok(),
                    "{:?}",
                    String::from_utf8_lossy(&bytes)
                );
            }
        }
    }
}

#[test]
fn checkpoints_are_the_same_text() {
    for size in [0, 1, 70_000, u64::MAX] {
        let checkpoint = Checkpoint::new("example.com/log", size, TreeHash([7; 32])).unwrap();
        let extended = checkpoint.clone().with_extensions(vec!["a".into(), "b c".into()]).unwrap();
        for ours in [checkpoint, extended] {
            let read = tlog_tiles::Checkpoint::from_bytes(ours.to_string().as_bytes()).unwrap();
            assert_eq!((read.origin(), read.size(), read.hash().0), ("example.com/log", size, ours.root().0));
            assert_eq!(Checkpoint::parse(core::str::from_utf8(&read.to_bytes()).unwrap()).unwrap(), ours);
        }
    }
}

/// A path of theirs names the height as well.
fn path(tile: &tlog_tiles::Tile) -> String {
    tile.path().replace("tile/8/", "tile/")
}

#[test]
fn the_same_tiles_are_written_at_the_same_paths() {
    for to in [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000, 1_000_000] {
        for from in [0, 1, 200, 256, 65_000, 65_536, 70_000].into_iter().filter(|from| *from <= to) {
            let mut expected: Vec<String> =
                tlog_tiles::Tile::new_tiles(8, from, to).iter().map(path).collect();
            let mut found: Vec<String> = grown(from, to).map(|tile| tile.to_string()).collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "{from} to {to}");
        }
    }
    for index in [0, 999, 1000, 999_999, 1_000_000, 1_234_067, 123_456_789] {
        for width in [1, 8, 255, 256] {
            let expected = path(&tlog_tiles::Tile::new(8, 2, index, width, false));
            let Ok(Resource::Hashes(tile)) = Resource::parse(&expected) else { panic!("{expected}") };
            assert_eq!((tile.level(), tile.index(), u32::from(tile.width())), (2, index, width));
            assert_eq!(tile.to_string(), expected);
        }
    }
}

/// Our tiles of a tree, for their reader.
struct Tiles(BTreeMap<String, Vec<u8>>);

impl Tiles {
    fn of(leaves: &[TreeHash]) -> Self {
        let written = Edge::default().append(leaves).unwrap();
        Self(written.into_iter().map(|written| (written.tile.to_string(), written.bytes)).collect())
    }
}

impl tlog_tiles::TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        tiles
            .iter()
            .map(|tile| self.0.get(&path(tile)).cloned().ok_or(tlog_tiles::Error::InvalidTile))
            .collect()
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

#[test]
fn their_reader_makes_our_proofs_of_our_tiles() {
    for size in SIZES {
        let leaves = leaves(size);
        let (root, tiles) = (defined(&leaves), Tiles::of(&leaves));
        let reader = TileHashReader::new(size, theirs(&root), &tiles);
        assert_eq!(tlog_tiles::tree_hash(size, &reader).unwrap().0, root.0);
        let fetch = |tile: Tile| tiles.0.get(&tile.to_string()).cloned().ok_or(std::fmt::Error);
        let mut own = TileReader::open(size, &root, fetch).unwrap();
        for index in (0..size).filter(|index| index % 41 == 0 || size - index < 3) {
            let made = tlog_tiles::prove_record(size, index, &reader).unwrap();
            let leaf = &leaves[index as usize];
            assert_eq!(own.inclusion(index).unwrap(), ours(&made));
            assert_eq!(verify_inclusion(index, size, leaf, &ours(&made), &root), Ok(()));
            let stored = reader.read_hashes(&[tlog_tiles::stored_hash_index(0, index)]).unwrap();
            assert_eq!(ours(&stored), [*leaf]);
        }
        for from in (1..=size).filter(|from| from % 41 == 0 || size - from < 3) {
            let made = tlog_tiles::prove_tree(size, from, &reader).unwrap();
            assert_eq!(own.consistency(from).unwrap(), ours(&made));
            let older = own.root_at(from).unwrap();
            assert_eq!(verify_consistency(from, &older, size, &root, &ours(&made)), Ok(()));
        }
    }
}

#[test]
fn their_verifier_accepts_our_proofs_and_no_changed_ones() {
    for size in SIZES {
        let leaves = leaves(size);
        let root = theirs(&defined(&leaves));
        for index in (0..size).filter(|index| index % 41 == 0 || size - index < 3) {
            let proof = prove_inclusion(index, size, source(&leaves)).unwrap();
            let mut proof: Vec<_> = proof.iter().map(theirs).collect();
            let leaf = tlog_tiles::record_hash(&entries(size)[index as usize].0);
            assert!(tlog_tiles::check_record(&proof, size, root, index, leaf).is_ok());
            proof.push(root);
            assert!(tlog_tiles::check_record(&proof, size, root, index, leaf).is_err());
        }
        for from in (1..=size).filter(|from| from % 41 == 0 || size - from < 3) {
            let proof = prove_consistency(from, size, source(&leaves)).unwrap();
            let proof: Vec<_> = proof.iter().map(theirs).collect();
            let older = theirs(&defined(&leaves[..from as usize]));
            assert!(tlog_tiles::check_tree(&proof, size, root, from, older).is_ok());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    assert_eq!(hex.len(), 2 * N);
    core::array::from_fn(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
}

/// What a log of Sigsum is called in its checkpoints.
fn sigsum_origin(log: &Ed25519Public) -> String {
    format!("sigsum.org/v1/tree/{:x}", sigsum::Hash::new(log.0))
}

/// What Sigsum has for leaves: the checksum of a message, a signature, and the hash of the signer's key.
fn sigsum_leaf(checksum: &sigsum::Hash, signature: &[u8], keyhash: &sigsum::Hash) -> TreeHash {
    let hash = sigsum::Hash::new([&[0], checksum.as_ref(), signature, keyhash.as_ref()].concat());
    TreeHash(hash.into())
}

#[test]
fn sigsum_accepts_our_cosignatures_and_inclusion_proofs() {
    let submitter = key("submitter", SignatureType::Ed25519, 1);
    let log = key("log", SignatureType::Ed25519, 2);
    let witness = key("witness", SignatureType::Cosignature, 3);
    let keyhash = |key: &SigningKey| sigsum::Hash::new(key.verifier().public().0);
    let message = sigsum::Hash::new("a message");
    let checksum = sigsum::Hash::new(&message);
    // What is signed there is no text, but bytes of a checksum.
    let signed = [&b"sigsum.org/v1/tree-leaf\0"[..], checksum.as_ref()].concat();
    let signature = signature_of_bytes(&[1; 32], &signed);
    let mut leaves = leaves(100);
    leaves[77] = sigsum_leaf(&checksum, &signature, &keyhash(&submitter));
    let root = defined(&leaves);
    let body = Checkpoint::new(sigsum_origin(&log.verifier().public()), 100, root).unwrap().to_string();
    let cosigned = witness.cosign(&body, 1_770_193_051).unwrap();
    let mut proof = format!(
        "version=2\nlog={:x}\nleaf={:x} {}\n\nsize=100\nroot_hash={root}\nsignature={}\ncosignature={:x} 1770193051 {}\n\nleaf_index=77\n",
        keyhash(&log),
        keyhash(&submitter),
        hex(&signature),
        hex(log.sign(&body).unwrap().bytes()),
        keyhash(&witness),
        hex(&cosigned.bytes()[8..]),
    );
    for hash in prove_inclusion(77, 100, source(&leaves)).unwrap() {
        proof += &format!("node_hash={hash}\n");
    }
    let mut policy = sigsum::PolicyBuilder::new();
    policy.add_log(log.verifier().public().0.into(), None).unwrap();
    policy.add_witness("w".into(), witness.verifier().public().0.into(), None).unwrap();
    policy.set_quorum("w".into()).unwrap();
    let policy = policy.build();
    let verify = |proof: &str| {
        let proof = sigsum::SigsumSignature::from_ascii(proof).unwrap();
        sigsum::verify(&message, &proof, &[submitter.verifier().public().0.into()], &policy).is_ok()
    };
    assert!(verify(&proof));
    assert!(!verify(&proof.replace(" 1770193051 ", " 1770193052 ")));
    assert!(!verify(&proof.replace("leaf_index=77", "leaf_index=76")));
}

/// Ed25519 over bytes that are no text.
fn signature_of_bytes(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
    use ed25519_dalek::Signer as _;
    ed25519_dalek::SigningKey::from_bytes(seed).sign(message).to_bytes()
}

/// A head of a log of Sigsum that witnesses of the public cosigned, from the documentation of `sigsum`.
const ROOT: &str = "901fefc6f1d978d2c2bedb82d448755bcdc7e8626e67ac7ee80873771be9b667";
const LOG: &str = "8a8bf1fca60d1344fb6e2106e8f8906af833d3d75a21fe8d3af72be459f7a11f2ae6606ec6344a13b851cd454b3d281a2b1ae47732f7a8d6afbcc0134d1a2d00";
const WITNESSES: [(&str, &str); 2] = [
    (
        "1c997261f16e6e81d13f420900a2542a4b6a049c2d996324ee5d82a90ca3360c",
        "a1ee1182b265204499cbef3ae59f3ea228b928b3cbda8817a4ed5a12776823e9ad8ef1ce986b9b98d9954f1798ec4315c1820704600a231c69038ccc9726d202",
    ),
    (
        "d960fcff859a34d677343e4789c6843e897c9ff195ea7140a6ef382566df3b65",
        "b44c41f75566850003f7f655a6dc7bb38bb980e8e2c383871e29883805d3adec7782a08388b9386d9718380a4bb6900043e2b46080cff0fa75a500c36ef9df0a",
    ),
];

#[test]
fn we_accept_the_cosignatures_of_public_witnesses() {
    let known = sigsum::Policy::builtin("sigsum-test-2025-3").unwrap();
    let public = |key: &sigsum::PublicKey| Ed25519Public(bytes(&format!("{key:x}")));
    let named = |name: &str, kind, public: &Ed25519Public| {
        VerifierKey::new(KeyName::new(name).unwrap(), kind, public).unwrap()
    };
    let log_hash = "1643169b32bef33a3f54f8a353b87c475d19b6223cbb106390d10a29978e1cba";
    let mut logs = known.logs().map(|log| public(&log.pubkey));
    let log = logs.find(|log| format!("{:x}", sigsum::Hash::new(log.0)) == log_hash).unwrap();
    let origin = sigsum_origin(&log);
    let log = named("log", SignatureType::Ed25519, &log);
    let body = Checkpoint::new(&*origin, 381_382, TreeHash(bytes(ROOT))).unwrap().to_string();
    let mut note = Note::new(&*body, vec![Signature::new(&log, bytes::<64>(LOG))]).unwrap();
    let mut witnesses = vec![];
    for (keyhash, signature) in WITNESSES {
        let witness = known.get_witness_by_keyhash(&bytes::<32>(keyhash).into()).unwrap();
        let key = named(&witness.name, SignatureType::Cosignature, &public(&witness.pubkey));
        let cosignature = [&1_770_193_051_u64.to_be_bytes()[..], &bytes::<64>(signature)].concat();
        note = note.with(Signature::new(&key, cosignature)).unwrap();
        witnesses.push(key);
    }
    let policy = Policy::of_log(&*origin, vec![log]).unwrap().with_witnesses(witnesses, 2).unwrap();
    let claimed = ClaimedCheckpoint::parse(note.to_string().as_bytes()).unwrap();
    let verified = claimed.verify(&policy).unwrap();
    assert_eq!(verified.witnesses().iter().map(|(_, time)| *time).collect::<Vec<_>>(), [1_770_193_051; 2]);
}
