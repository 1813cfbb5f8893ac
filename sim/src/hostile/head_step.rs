//! The steps about the tree over a log, as data.

use super::made::Made;
use minicbor::{Decode, Encode};
use std::fmt;

/// A step about the tree over a log.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(super) enum HeadStep {
    /// Sends entries that are to follow a head, or to be the first; makes a head.
    #[n(0)]
    Extend {
        #[n(0)]
        at: u8,
        #[n(1)]
        head: Option<Made>,
        #[n(2)]
        entries: Vec<Made>,
    },
    /// Sends a head with a statement, of commit or dressed up as one.
    #[n(1)]
    Sign {
        #[n(0)]
        at: u8,
        #[n(1)]
        head: Made,
        #[n(2)]
        statement: Made,
    },
    /// Writes a head after the model of another; makes a head.
    #[n(2)]
    Forge {
        #[n(0)]
        head: Made,
        #[n(1)]
        entry: Made,
        #[n(2)]
        how: HeadForgery,
    },
}

/// How a head is forged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum HeadForgery {
    /// Another tree, with the MAC as it was.
    #[n(0)]
    OtherTree,
    /// Another entry, with the MAC as it was.
    #[n(1)]
    OtherEntry,
    /// Another group, with the MAC as it was.
    #[n(2)]
    OtherGroup,
    /// Another tree, with the MAC of an entry.
    #[n(3)]
    EntrysMac,
    /// Another tree, with a MAC under a key of the host's.
    #[n(4)]
    HostsMac,
}

impl HeadForgery {
    pub(super) const ALL: [Self; 5] =
        [Self::OtherTree, Self::OtherEntry, Self::OtherGroup, Self::EntrysMac, Self::HostsMac];
}

impl HeadStep {
    /// The message's name, for the table of coverage.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Extend { .. } => "ExtendHead",
            Self::Sign { .. } => "SignHead",
            Self::Forge { .. } => "(forgery)",
        }
    }

    /// Makes it name another entry, or none, where it named one.
    pub(super) fn rename(&mut self, from: Made, to: Option<Made>) {
        match self {
            Self::Extend { entries, .. } => {
                *entries = entries.iter().filter_map(|m| if *m == from { to } else { Some(*m) }).collect();
                entries.dedup();
            }
            Self::Forge { entry, .. } if *entry == from => *entry = to.unwrap_or(*entry),
            _ => {}
        }
    }

    /// Makes it no longer name what no step makes.
    pub(super) fn forget(&mut self, is_made: impl Fn(&Made) -> bool) {
        if let Self::Extend { entries, .. } = self {
            entries.retain(is_made);
        }
    }
}

impl fmt::Display for HeadStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extend { at, head: None, entries } => {
                write!(f, "HSM {at}: sum up entries {entries:?} from the first on")
            }
            Self::Extend { at, head: Some(head), entries } => {
                write!(f, "HSM {at}: sum up entries {entries:?} after head #{head}")
            }
            Self::Sign { at, head, statement } => {
                write!(f, "HSM {at}: sign head #{head} with statement #{statement}")
            }
            Self::Forge { head, entry, how } => {
                write!(f, "the host forges a head like #{head} about #{entry}: {how:?}")
            }
        }
    }
}
