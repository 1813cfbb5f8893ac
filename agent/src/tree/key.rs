//! The keys of the tree's database.
//!
//! | Key | Value |
//! |---|---|
//! | `p`, length of the prefix in bits (2 bytes, the higher first), its bits | a page |
//! | `l`, record id | the record's sealed bytes |
//! | `s` | the snapshot |

use std::ops::Range;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;

const PAGE: u8 = b'p';
const LEAF: u8 = b'l';

/// The snapshot.
pub(super) const SNAPSHOT: &[u8] = b"s";

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
