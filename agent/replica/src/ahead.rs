//! Segments that were pushed before their turn: a member that catches up reads the store as far as these, and takes them
//! from there. Otherwise it would be behind for as long as the leader writes faster than the store is read once.
//!
//! They are their sender's words and nothing else, checked when it is their turn. Bounded, whoever sends them.

use crate::segment::{Segment, SegmentName};
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_proto::hsm::PrefixTree;
use strongroom_proto::ids::HsmId;

/// How many are kept, and how many bytes in all.
const MAX_SEGMENTS: usize = 256;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A segment as it was pushed.
pub(super) struct Push {
    pub(super) from: HsmId,
    pub(super) segment: Segment,
    pub(super) bytes: Arc<[u8]>,
    pub(super) paths: Vec<PrefixTree>,
}

/// Those before their turn.
#[derive(Default)]
pub(super) struct Ahead {
    pushes: BTreeMap<SegmentName, Push>,
    bytes: usize,
}

impl Ahead {
    /// Keeps one. Where there is no room, the last ones are lost: they are the last whose turn it is.
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

    /// The one of this name, whose turn it is. Those before it are over.
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

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
