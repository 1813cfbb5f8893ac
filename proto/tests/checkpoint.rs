//! Checkpoints, and the tree that they are of, against values that another implementation computed: Python's `hashlib` and
//! `cryptography`.

use strongroom_proto::checkpoint::{CheckpointKey, body, origin};
use strongroom_proto::ids::{EntryHash, GroupId, Index, RealmId, TreeHash};
use strongroom_proto::tlog::{CompactRange, leaf};

const REALM: RealmId = RealmId([0x01; 16]);
const GROUP: GroupId = GroupId([0x02; 16]);
const SEED: [u8; 32] = [0x6b; 32];
const BODY: &str = "strongroom/01010101010101010101010101010101/02020202020202020202020202020202\n\
                    20852163\n\
                    4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/v8=\n";

fn root() -> TreeHash {
    TreeHash(std::array::from_fn(|n| 0xe0 + u8::try_from(n).expect("32")))
}

#[test]
fn a_checkpoint_is_three_lines_that_begin_with_the_name_of_the_log() {
    assert_eq!(body(&REALM, &GROUP, Index(20_852_163), &root()), BODY);
    assert_eq!(BODY.lines().next(), Some(origin(&REALM, &GROUP).as_str()));
    let last = body(&REALM, &GROUP, Index(u64::MAX), &root());
    assert_eq!(last.lines().nth(1), Some("18446744073709551615"));
}

#[test]
fn a_checkpoint_is_signed_as_another_implementation_signs_it() {
    let key = "8320a51977d8c38ca8a4927c670df5821e449761945e15e9efb26a1509d230ea";
    assert_eq!(CheckpointKey::from_seed(&SEED).public().to_string(), key);
    let signature = "87c4fe56b879a7904e877e2d00b3635cdd1fe8a359b2a1ca2116e9fbf85890c4\
                     8a8068583ea7c4a4f612a9e637fb51790a8510a2cf75e185e3674d9235517806";
    assert_eq!(hex::encode(*CheckpointKey::from_seed(&SEED).sign(BODY)), signature);
}

#[test]
fn the_tree_has_the_roots_that_another_implementation_computes() {
    let roots = [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "7f9c9e31ac8256ca2f258583df262dbc7d6f68f2a03043d5c99a4ae5a7396ce9"),
        (2, "28fb81e496897e0ce886f08602392e9239b65c659041e5202163e58ad898f444"),
        (3, "ba8d94b7fbcecae7b81c4c80574fe24734a6917bf9c1ecd66ff3e0c34ead4620"),
        (7, "7318881c41fce3c1de3640df8e8c110c93f43f686b74204a9d1ad5b8c71c2047"),
        (8, "f907f23f76aa01b755a614d31ef9832909f44638b4590073301e61e6d01f9a1d"),
        (70, "7c7d8f04575541561e116cc2a1e42f1d813790b2825241b454888505de19914a"),
        (300, "4caa1845b7b05566211b0781e23ea5e4e0194e563d267b78b6f2e54704c385e5"),
    ];
    for (size, root) in roots {
        let mut range = CompactRange::default();
        for n in 0..size {
            assert!(range.append(n, leaf(&EntryHash([n.to_le_bytes()[0]; 32]))));
        }
        assert_eq!(hex::encode(range.root().0), root, "{size} leaves");
    }
}

/// A host's range is a claim of any length: whatever the size that it is said to be of, it is appended to, or is not.
#[test]
fn a_range_of_any_length_is_appended_to_at_any_size_or_found_too_short() {
    let sizes = (0..64).flat_map(|bits| {
        let power = 1_u64 << bits;
        [power - 1, power, power + 1, u64::MAX - power, u64::MAX >> bits]
    });
    for size in sizes {
        for len in 0..=64_u64 {
            // As many leaves on their own as there are hashes.
            let mut range = CompactRange::default();
            (0..len).for_each(|n| assert!(range.append(2 * n, TreeHash([7; 32]))));
            let is_long_enough = u64::from(size.trailing_ones()) <= len;
            assert_eq!(
                range.append(size, TreeHash([8; 32])),
                is_long_enough,
                "{len} hashes for {size} leaves"
            );
        }
    }
}
