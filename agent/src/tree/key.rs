//! The keys of the tree's database.
//!
//! | Key | Value |
//! |---|---|
//! | `p`, length of the prefix in bits (2 bytes, the higher first), its bits | a page |
//! | `l`, record id | the record's sealed bytes |
//! | `s` | the snapshot |
//! | `d` | what has left and is still here, if there is any: a CBOR array of [`strongroom_replica::leftover::Leftover`] |

use std::ops::Range;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;

const PAGE: u8 = b'p';
const LEAF: u8 = b'l';

/// The snapshot.
pub(super) const SNAPSHOT: &[u8] = b"s";
/// What has left and is still here.
pub(super) const LEFTOVERS: &[u8] = b"d";

/// A page, by its prefix.
pub(super) fn page(prefix: &Prefix) -> Vec<u8> {
    let bytes = usize::from(prefix.len().div_ceil(8));
    let mut key = vec![PAGE];
    key.extend(prefix.len().to_be_bytes());
    key.extend(prefix.bits().iter().take(bytes));
    key
}

/// The prefix of a page, by its key. `None` for any other key.
pub(super) fn page_prefix(key: &[u8]) -> Option<Prefix> {
    let (&[kind, high, low], bits) = key.split_first_chunk()?;
    let mut id = RecordId([0; RecordId::LEN]);
    id.0.get_mut(..bits.len())?.copy_from_slice(bits);
    let prefix = Prefix::of(&id, u16::from_be_bytes([high, low]))?;
    (kind == PAGE && page(&prefix) == key).then_some(prefix)
}

/// The sealed bytes of a record.
pub(super) fn leaf(id: &RecordId) -> Vec<u8> {
    let mut key = vec![LEAF];
    key.extend(id.0);
    key
}

/// Where the leaves below a prefix are.
pub(super) fn leaves_below(prefix: &Prefix) -> Range<Vec<u8>> {
    let (first, last) = ends(prefix);
    leaf(&first)..after(leaf(&last))
}

/// Where the pages below a prefix are that have prefixes of `len` bits, at least as many as it has.
pub(super) fn pages_below(prefix: &Prefix, len: u16) -> Option<Range<Vec<u8>>> {
    let (first, last) = ends(prefix);
    Some(page(&Prefix::of(&first, len)?)..after(page(&Prefix::of(&last, len)?)))
}

/// The first and the last record id below a prefix.
fn ends(prefix: &Prefix) -> (RecordId, RecordId) {
    let first = RecordId(*prefix.bits());
    let ones = RecordId([0xff; RecordId::LEN]);
    let kept = Prefix::of(&ones, prefix.len()).map_or([0; RecordId::LEN], |kept| *kept.bits());
    let last = std::array::from_fn(|i| first.0[i] | !kept[i]);
    (first, RecordId(last))
}

/// The key right after one.
pub(super) fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// The record of a leaf, by its key. `None` for any other key.
pub(super) fn leaf_record(key: &[u8]) -> Option<RecordId> {
    let (&kind, id) = key.split_first()?;
    (kind == LEAF).then_some(RecordId(id.try_into().ok()?))
}

/// Where all pages are.
pub(super) const fn pages() -> Range<&'static [u8]> {
    b"p"..b"q"
}

/// Where all leaves are.
pub(super) const fn leaves() -> Range<&'static [u8]> {
    b"l"..b"m"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_prefix_is_in_its_ranges_and_nothing_else_is() {
        let id = RecordId([0b1010_0110; 32]);
        for len in [0, 1, 3, 8, 13, 256] {
            let prefix = Prefix::of(&id, len).expect("at most 256 bits");
            for other in [id, RecordId([0; 32]), RecordId([0xff; 32]), RecordId([0b1010_0111; 32])] {
                let is_below = prefix.contains(&other);
                assert_eq!(leaves_below(&prefix).contains(&leaf(&other)), is_below);
                for below in [len, (len + 7).min(256), 256] {
                    let at = page(&Prefix::of(&other, below).expect("at most 256 bits"));
                    assert_eq!(pages_below(&prefix, below).is_some_and(|r| r.contains(&at)), is_below);
                }
            }
        }
    }

    #[test]
    fn a_key_of_a_page_says_which_and_no_other_key_does() {
        let id = RecordId([0xff; 32]);
        for len in [0, 1, 7, 8, 9, 255, 256] {
            let prefix = Prefix::of(&id, len).expect("at most 256 bits");
            assert_eq!(page_prefix(&page(&prefix)), Some(prefix));
        }
        let not = [
            &b"p"[..],
            b"p\0",
            b"p\0\x04",
            b"p\0\x04\xff",
            b"p\0\x04\xf0\x00",
            b"l\0\0",
            b"",
            b"p\x01\x01",
            &[b'p'; 80],
        ];
        for key in not {
            assert_eq!(page_prefix(key), None, "{key:?}");
        }
        assert_eq!(leaf_record(&leaf(&id)), Some(id));
        assert_eq!(leaf_record(b"l"), None);
    }
}
