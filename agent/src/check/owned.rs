//! What a group owns along its log: a prefix that comes from another group begins a new span, and what the log says of it
//! from before does not count any more.

use strongroom_proto::entry::{Entry, Partition};
use strongroom_proto::ids::{GroupId, Index};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;

/// What the group owned at the entry that was looked at last.
#[derive(Default)]
pub(super) struct Owned {
    last: Option<Entry>,
}

/// A prefix that came from another group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Came {
    /// The prefix, with the root that it came with.
    pub(super) partition: Partition,
    /// The entry that took it.
    pub(super) at: Index,
    /// Where it came from, if the entry before is known.
    pub(super) from: Option<GroupId>,
}

impl Owned {
    /// The prefix that has come with this entry, the next that there is.
    pub(super) fn come(&mut self, entry: &Entry) -> Option<Prefix> {
        self.came(entry).map(|came| came.partition.prefix)
    }

    /// The same, with what is known of it.
    pub(super) fn came(&mut self, entry: &Entry) -> Option<Came> {
        let last = self.last.replace(entry.clone())?;
        let is_new = |p: &&Partition| last.partitions.iter().all(|owned| !owned.prefix.overlaps(&p.prefix));
        let partition = entry.partitions.iter().find(is_new).copied()?;
        let from = last.open.iter().find_map(|transfer| match transfer {
            Transfer::Incoming { source, prefix, .. } if *prefix == partition.prefix => Some(*source),
            _ => None,
        });
        Some(Came { partition, at: entry.index, from })
    }
}
