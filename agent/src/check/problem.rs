//! What can be wrong with a group in the store, described so that a person can repair it.

use std::fmt;
use strongroom_proto::hsm::MAX_CAPTURE_ENTRIES;
use strongroom_proto::ids::{GroupId, Index};
use strongroom_replica::segment::{BadSegment, SegmentName};
use strongroom_replica::stored::TreeDamage;

/// A missing segment, as far as the existing ones name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The group.
    pub group: GroupId,
    /// Its first entry.
    pub first: Index,
    /// The second half of its name; `None` if the segment before it, which would tell, is damaged.
    pub prev: Option<[u8; 8]>,
}

impl From<SegmentName> for Lost {
    fn from(name: SegmentName) -> Self {
        Self { group: name.group, first: name.first, prev: Some(name.prev) }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, first, prev } = *self;
        match prev {
            Some(prev) => SegmentName { group, first, prev }.fmt(f),
            None => write!(f, "{}-*", SegmentName::offset(&group, first)),
        }
    }
}

/// The entries that are missing, and in how many segments they were at least.
fn span(first: Index, last: Index) -> String {
    let least = last.0.saturating_sub(first.0) / MAX_CAPTURE_ENTRIES as u64 + 1;
    let several = if least > 1 { format!(", {least} segments or more") } else { String::new() };
    format!("what lies between its first entry {first} and {last}{several}")
}

/// Why a segment does not follow the last one of the log, if that may be a deposed leader's doing.
fn astray(first: Index, end: Index, last: &str) -> String {
    if end.next() == Some(first) {
        format!("{last} was altered")
    } else {
        format!("what lies between is missing, from entry {} on", end.0.saturating_add(1))
    }
}

/// A problem.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// A segment's bytes are not a segment.
    #[error("segment {object} is damaged, at entry {} or after: it {damage}; restore it", object.first)]
    Segment {
        /// Its name.
        object: SegmentName,
        /// What is wrong.
        damage: BadSegment,
    },
    /// A segment lies under another's name.
    #[error("segment {object} holds a different segment, whose first entry is {}: restore it", object.first)]
    Misnamed {
        /// The name.
        object: SegmentName,
    },
    /// A segment that must exist is missing.
    #[error("segment {object} is missing, and with it {}: restore it", span(object.first, *last))]
    Missing {
        /// The first that is missing.
        object: Lost,
        /// The last entry that is missing.
        last: Index,
    },
    /// A segment is missing although older ones exist.
    #[error(
        "segment {object} is missing, and with it {}: restore it. If an agent was stopped while it deleted what is older \
         than the stored tree, the next snapshot clears this up",
        span(object.first, *last)
    )]
    Hole {
        /// The first that is missing.
        object: Lost,
        /// The last entry that is missing.
        last: Index,
    },
    /// Segments are missing, and the one before them is so damaged that it does not show where they begin.
    #[error("segments are missing between {object}, which is damaged, and entry {last}: restore all of them")]
    Between {
        /// The damaged one.
        object: SegmentName,
        /// The last entry that is missing.
        last: Index,
    },
    /// A segment does not lead to the one after it.
    #[error(
        "segment {object} does not lead to the one after it, which begins after entry {end}: its entries were altered, or a \
         deposed leader left it and the one in its place is missing; restore it"
    )]
    Astray {
        /// Its name.
        object: SegmentName,
        /// Its last entry.
        end: Index,
    },
    /// A segment and the stored tree have different leaves.
    #[error(
        "segment {object}: entry {index} has a different leaf from the stored tree, whose pages are right: the segment was altered; \
         restore it"
    )]
    Spare {
        /// The segment.
        object: SegmentName,
        /// The entry.
        index: Index,
    },
    /// There is more than the chain, and nothing shows whether it belongs to the log.
    #[error(
        "segment {object} does not continue the log, which ends with entry {end} in {last}: a deposed leader left it, or {}; \
         an HSM knows, see --agent",
        astray(object.first, *end, last)
    )]
    Beyond {
        /// The first such segment.
        object: SegmentName,
        /// The last entry before it.
        end: Index,
        /// The last segment before it, or what else the log ends with.
        last: String,
    },
    /// The segment is missing that ends with the entry that the snapshot reaches.
    #[error("the segment is missing that ends with entry {0}, which the stored tree reaches")]
    NoAnchor(Index),
    /// The HSM has captured an entry that is not on this chain.
    #[error("the HSM has captured entry {index}, and {} there; restore it", other(object.as_ref()))]
    Forked {
        /// The entry.
        index: Index,
        /// The segment in its place, if there is one.
        object: Option<SegmentName>,
    },
    /// An entry that no HSM made.
    #[error("segment {object} holds an entry from {} on that no HSM of the realm made", object.first)]
    Forged {
        /// The segment.
        object: SegmentName,
    },
    /// An entry's leaves do not give its roots.
    #[error("segment {object}: the leaves of entry {index} do not give its roots: restore it")]
    Roots {
        /// The segment.
        object: SegmentName,
        /// The entry.
        index: Index,
    },
    /// After altered leaves, what is sound cannot be told from what is not.
    #[error(
        "segments from {first} to {last} hold entries whose leaves cannot be compared with their roots until {object} is \
         restored: restore it and check again"
    )]
    Unproven {
        /// The one with the altered leaves.
        object: SegmentName,
        /// The first that is not known to be sound.
        first: SegmentName,
        /// The last.
        last: SegmentName,
    },
    /// The log does not begin with entry 1, and no stored tree holds what came before.
    #[error("the log begins with entry {0}, and no stored tree holds what came before it")]
    NoTree(Index),
    /// There is no stored tree, and its leader has stored one.
    #[error("there is no stored tree, and there was one that reached entry {0} or more")]
    LostTree(Index),
    /// The stored tree.
    #[error("the stored tree: {0}")]
    Tree(TreeDamage),
    /// Leaves without a page that leads to them.
    #[error("the stored tree: {0} leaves are stored that no page names")]
    Orphans(u64),
    /// The roots of the stored tree are not those of the entry that it reaches.
    #[error("the stored tree does not have the roots of entry {0}, which it says it reaches")]
    TreeRoots(Index),
}

fn other(object: Option<&SegmentName>) -> String {
    object.map_or("this log has another one".into(), |name| format!("segment {name} has another one"))
}

impl Problem {
    /// Its kind, in one word that never changes.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Segment { .. } => "damaged",
            Self::Misnamed { .. } => "misnamed",
            Self::Missing { .. } | Self::Hole { .. } | Self::NoAnchor(_) => "missing",
            Self::Between { .. } => "missing-behind",
            Self::Astray { .. } | Self::Spare { .. } | Self::Roots { .. } => "altered",
            Self::Beyond { .. } => "beyond",
            Self::Forked { .. } => "forked",
            Self::Forged { .. } => "forged",
            Self::Unproven { .. } => "unproven",
            Self::NoTree(_) => "no-tree",
            Self::LostTree(_) | Self::Tree(_) | Self::Orphans(_) | Self::TreeRoots(_) => "tree",
        }
    }

    /// The object that it is about, if it is about a segment. If only the beginning of a missing segment's name is
    /// known, a `*` stands for the rest.
    #[must_use]
    pub fn object(&self) -> Option<String> {
        match self {
            Self::Missing { object, .. } | Self::Hole { object, .. } => Some(object.to_string()),
            Self::Segment { object, .. }
            | Self::Misnamed { object }
            | Self::Between { object, .. }
            | Self::Astray { object, .. }
            | Self::Spare { object, .. }
            | Self::Beyond { object, .. }
            | Self::Forged { object }
            | Self::Roots { object, .. }
            | Self::Unproven { object, .. } => Some(object.to_string()),
            Self::Forked { object, .. } => object.map(|name| name.to_string()),
            Self::NoAnchor(_)
            | Self::NoTree(_)
            | Self::LostTree(_)
            | Self::Tree(_)
            | Self::Orphans(_)
            | Self::TreeRoots(_) => None,
        }
    }
}
