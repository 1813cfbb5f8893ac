//! Valid requests with bytes changed, as a decoder may trust them too far.

use proptest::prelude::*;

/// One damage to a valid request.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, u8),
    /// Bytes from another place of the same request.
    Copy(prop::sample::Index, prop::sample::Index, u8),
}

/// Heads of CBOR items that a decoder might trust too far: huge and indefinite lengths, tags, floats.
const HEADS: &[&[u8]] = &[
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x5b\x00\x00\x00\x01\x00\x00\x00\x00",
    b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x9a\xff\xff\xff\xff",
    b"\x9f",
    b"\x5f",
    b"\xbf",
    b"\xff",
    b"\xf6",
    b"\xfb",
    b"\xc0",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x80",
    b"\x81\x81\x81\x81\x81\x81\x81\x81",
];

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let head = prop::sample::select(HEADS).prop_map(<[u8]>::to_vec);
    let insertion = prop_oneof![head, prop::collection::vec(any::<u8>(), 1..4)];
    prop_oneof![
        12 => (at(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        2 => (at(), insertion).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (at(), 1u8..40).prop_map(|(at, len)| Damage::Remove(at, len)),
        1 => (at(), at(), 1u8..40).prop_map(|(from, to, len)| Damage::Copy(from, to, len)),
    ]
}

pub(crate) fn hurt(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let until = |from: usize, len: u8| from.saturating_add(usize::from(len)).min(bytes.len());
    match damage {
        Damage::Flip(at, bits) => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Damage::Insert(at, inserted) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, inserted.iter().copied());
        }
        Damage::Remove(at, len) => {
            let at = at.index(bytes.len());
            let end = until(at, *len);
            bytes.drain(at..end);
        }
        Damage::Copy(from, to, len) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let copied = bytes[from..until(from, *len)].to_vec();
            bytes.splice(to..to, copied);
        }
    }
}
