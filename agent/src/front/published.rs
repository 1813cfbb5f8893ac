//! What everybody may read at the front door, and by which paths.

use super::metrics::ReadLabel;
use strongroom_proto::ids::{GroupId, TreeHash};
use strongroom_tlog::Resource;
use strongroom_tlog::tile::FULL;

/// The longest checkpoint or statement that is shown, in bytes.
pub const MAX_NOTE: u64 = 64 * 1024;

/// What never changes at its path.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// What may be another the next moment. A cache that kept it would make a log look as if it had gone back.
pub(super) const NEVER: &str = "no-store";

/// What everybody may read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Published {
    /// What is published of the log of a group.
    Log(GroupId, Resource),
    /// What the realm's custodians state of it.
    Statement,
}

impl Published {
    /// The most bytes that it has.
    #[must_use]
    pub const fn longest(&self) -> u64 {
        match self {
            Self::Statement | Self::Log(_, Resource::Checkpoint) => MAX_NOTE,
            Self::Log(_, Resource::Hashes(_) | Resource::Entries(_)) => FULL as u64 * TreeHash::LEN as u64,
        }
    }

    /// What is at this path of the front door, in the one spelling that it has.
    pub(super) fn at(path: &str) -> Option<Self> {
        let (group, resource) = path.strip_prefix("/tlog/")?.split_once('/')?;
        let id: GroupId = group.parse().ok()?;
        (id.to_string() == group).then_some(())?;
        Some(Self::Log(id, Resource::parse(resource).ok()?))
    }

    /// Its media type, and how long it may be kept.
    pub(super) const fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Statement | Self::Log(_, Resource::Checkpoint) => ("text/plain; charset=utf-8", NEVER),
            Self::Log(_, Resource::Hashes(_) | Resource::Entries(_)) => {
                ("application/octet-stream", FOR_EVER)
            }
        }
    }

    /// What it is counted as.
    pub(super) const fn label(&self) -> ReadLabel {
        match self {
            Self::Statement => ReadLabel::Statement,
            Self::Log(_, Resource::Checkpoint) => ReadLabel::Checkpoint,
            Self::Log(_, Resource::Hashes(_) | Resource::Entries(_)) => ReadLabel::Tile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling_and_names_nothing_else_of_the_store() {
        let group = "0123456789abcdef0123456789abcdef";
        let at = |path: &str| Published::at(&path.replace("GROUP", group));
        let parsed = |path: String| match at(&path) {
            Some(Published::Log(id, resource)) => Some((id.to_string(), resource.to_string())),
            other => panic!("{other:?}"),
        };
        for good in ["checkpoint", "tile/0/000", "tile/2/x001/234.p/5", "tile/entries/000.p/255"] {
            assert_eq!(parsed(format!("/tlog/GROUP/{good}")), Some((group.into(), good.into())));
        }
        let bad = [
            "/tlog/GROUP/head/0000000000000001",
            "/tlog/GROUP/../log/0",
            "/tlog/GROUP/tile/0/../../checkpoint",
            "/tlog/GROUP/tile/0/0",
            "/tlog/GROUP/checkpoint/",
            "/tlog/GROUP//checkpoint",
            "/tlog/GROUP/check%70oint",
            "/tlog/GROUP/tile/0/000.p/256",
            "/tlog/GROUP/",
            "/tlog/GROUP",
            "/tlog//checkpoint",
            "/tlog/0123456789ABCDEF0123456789abcdef/checkpoint",
            "/tlog/01234567-89ab-cdef-0123-456789abcdef/checkpoint",
            "/tlog/00/checkpoint",
            "/TLOG/GROUP/checkpoint",
        ];
        for path in bad {
            assert_eq!(at(path), None, "{path}");
        }
    }
}
