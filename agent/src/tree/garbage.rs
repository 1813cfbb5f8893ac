//! What of a stored tree is no longer the group's, and where its keys are.

use super::key;
use slatedb::compactor::Compaction;
use std::collections::VecDeque;
use std::ops::Range;
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_replica::stored::Snapshot;

/// How far the deleting is, in one opening of the tree.
#[derive(Default)]
pub(super) struct Sweep {
    /// What was kept when the ranges were made; `None` if they are to be made anew.
    pub(super) kept: Option<Vec<Prefix>>,
    /// The keys that are still to be deleted, in this order.
    pub(super) ranges: VecDeque<Range<Vec<u8>>>,
    pub(super) deleted_bytes: u64,
    /// The files are being written anew, and how often that was begun.
    pub(super) rewriting: Option<Compaction>,
    pub(super) begun: u32,
}

/// Below which prefixes a snapshot needs what is stored: what the group owns, and what comes or has left and has not arrived.
pub(super) fn needed_by(snapshot: &Snapshot) -> Vec<Prefix> {
    snapshot.prefixes().into_iter().chain(snapshot.entry.open.iter().map(Transfer::prefix)).collect()
}

/// The largest prefixes that overlap none of these.
pub(super) fn beside(kept: &[Prefix]) -> Vec<Prefix> {
    let (mut all, mut left) = (Vec::new(), Vec::from([Prefix::WHOLE]));
    while let Some(prefix) = left.pop() {
        let mut of_kept = kept.iter().filter(|kept| kept.overlaps(&prefix)).peekable();
        if of_kept.peek().is_none() {
            all.push(prefix);
        } else if of_kept.all(|kept| kept.len() > prefix.len())
            && let Some((zero, one)) = prefix.children()
        {
            left.extend([one, zero]);
        }
    }
    all
}

/// The keys of all that lies below a prefix or leads there, the topmost pages first.
pub(super) fn keys_of(prefix: Prefix) -> impl Iterator<Item = Range<Vec<u8>>> {
    let id = RecordId(*prefix.bits());
    let above = (0..prefix.len()).filter_map(move |len| key::pages_below(&Prefix::of(&id, len)?, len));
    let below = (prefix.len()..=Prefix::MAX_LEN).filter_map(move |len| key::pages_below(&prefix, len));
    above.chain(below).chain([key::leaves_below(&prefix)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(first: u8, len: u16) -> Prefix {
        Prefix::of(&RecordId([first; 32]), len).expect("short")
    }

    #[test]
    fn beside_what_is_kept_lies_the_rest_of_the_space_once() {
        assert_eq!(beside(&[]), [Prefix::WHOLE]);
        assert_eq!(beside(&[Prefix::WHOLE]), []);
        assert_eq!(beside(&[prefix(0x80, 1)]), [prefix(0, 1)]);
        assert_eq!(beside(&[prefix(0, 1), prefix(0xc0, 3)]), [prefix(0x80, 2), prefix(0xe0, 3)]);
        // One may be below another: what is copied below what once was awaited.
        assert_eq!(beside(&[prefix(0xc0, 3), prefix(0x80, 1)]), [prefix(0, 1)]);
    }

    #[test]
    fn pages_go_before_those_below_them_and_leaves_go_last() {
        let keys: Vec<_> = keys_of(prefix(0xa0, 3)).map(|range| range.start).collect();
        assert_eq!(keys[0], key::page(&Prefix::WHOLE));
        assert_eq!(keys[3], key::page(&prefix(0xa0, 3)));
        assert!(keys[..keys.len() - 1].is_sorted());
        assert_eq!(keys[keys.len() - 1], key::leaves_below(&prefix(0xa0, 3)).start);
        assert_eq!(keys.len(), 258);
    }
}
