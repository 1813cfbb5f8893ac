//! Segments that were pushed before their turn. A member that catches up reads the store only as far as these, and
//! takes them from here. Otherwise it would stay behind for as long as the leader writes faster than the member reads
//! the store.
//!
//! They are nothing but their sender's word, and are checked when it is their turn. Kept here: they are bounded,
//! whoever sends them.

use crate::segment::{Segment, SegmentName};
use crate::shared::Shared;
use std::collections::BTreeMap;
use strongroom_proto::hsm::PrefixTree;
use strongroom_proto::ids::HsmId;

/// The most segments that are kept, and the most bytes in all.
const MAX_SEGMENTS: usize = 256;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A segment as it was pushed.
pub(super) struct Push {
    pub(super) from: HsmId,
    pub(super) segment: Segment,
    pub(super) bytes: Shared,
    pub(super) paths: Vec<PrefixTree>,
}

/// The segments that wait for their turn.
#[derive(Default)]
pub(super) struct Ahead {
    pushes: BTreeMap<SegmentName, Push>,
    bytes: usize,
}

impl Ahead {
    /// Keeps one. Where there is no room, the last ones are dropped: their turn comes last.
    pub(super) fn put(&mut self, push: Push) {
        let name = push.segment.name();
        self.bytes += push.bytes.len();
        if let Some(before) = self.pushes.insert(name, push) {
            self.bytes -= before.bytes.len();
        }
        while (self.pushes.len() > MAX_SEGMENTS || self.bytes > MAX_BYTES)
            && let Some((_, last)) = self.pushes.pop_last()
        {
            self.bytes -= last.bytes.len();
        }
    }

    /// The one with this name, whose turn it is. Those before it are dropped.
    pub(super) fn next(&mut self, name: SegmentName) -> Option<Push> {
        while let Some(first) = self.pushes.first_entry()
            && first.key().first < name.first
        {
            self.bytes -= first.remove().bytes.len();
        }
        let push = self.pushes.remove(&name)?;
        self.bytes -= push.bytes.len();
        Some(push)
    }

    /// # Panics
    /// If the invariant above does not hold.
    pub(super) fn assert_invariants(&self) {
        let bounded = self.pushes.len() <= MAX_SEGMENTS && self.bytes <= MAX_BYTES;
        assert!(bounded, "too much is kept of what was pushed before its turn");
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::entries;

    fn push(made: crate::segment::SegmentEntry, bytes: usize) -> Push {
        let segment = Segment::new(vec![made]).expect("an entry alone is a segment");
        Push { from: HsmId([3; 16]), segment, bytes: vec![0; bytes].into(), paths: Vec::new() }
    }

    #[test]
    fn where_there_is_no_room_the_last_are_lost() {
        let mut ahead = Ahead::default();
        for made in entries(3).into_iter().rev() {
            ahead.put(push(made, MAX_BYTES / 2));
            ahead.assert_invariants();
        }
        assert_eq!(ahead.pushes.keys().map(|name| name.first.0).collect::<Vec<_>>(), [10, 11]);
    }

    #[test]
    #[should_panic(expected = "too much is kept of what was pushed before its turn")]
    fn pushes_without_bound_are_noticed() {
        let mut ahead = Ahead::default();
        let push = push(entries(1).remove(0), MAX_BYTES + 1);
        ahead.bytes = push.bytes.len();
        ahead.pushes.insert(push.segment.name(), push);
        ahead.assert_invariants();
    }
}
