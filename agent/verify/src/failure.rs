//! What can be wrong, and what shows it.

use std::path::PathBuf;
use strongroom_proto::ids::{BuildDigest, Ed25519Public, RealmId, X25519Public};
use strongroom_tlog::checkpoint::CheckpointError;
use strongroom_tlog::note::NoteError;
use strongroom_tlog::statement::StatementError;

/// The longest piece of text from a store that is shown, in characters.
const SHOWN: usize = 300;

/// What is wrong. Each belongs to one [`Check`](crate::Check).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The statement is no note.
    #[error("the statement cannot be read: {}", clean(&.0.to_string()))]
    NoStatement(NoteError),
    /// The statement does not count.
    #[error("{}", clean(&.0.to_string()))]
    Statement(StatementError),
    /// What is in the place of the founding is none.
    #[error("{object} is no founding; ask for the line that `realm found` was given")]
    NoFounding {
        /// The object.
        object: String,
    },
    /// Too few of its own custodians have signed the founding.
    #[error("too few of the custodians that the founding names have signed it")]
    FoundingUnsigned,
    /// The founding is of another realm.
    #[error("the founding is of another realm, {0}")]
    FoundingRealm(RealmId),
    /// The founding names another Noise key.
    #[error(
        "the founding says that the realm's public key is {founding}, and the statement that it is {statement}"
    )]
    NoiseKey {
        /// The founding's.
        founding: X25519Public,
        /// The statement's.
        statement: X25519Public,
    },
    /// The founding names other custodians, another threshold, or another smallest group.
    #[error("the founding has another policy than the statement: custodians, threshold or smallest group")]
    Policy,
    /// The founding names another checkpoint key.
    #[error(
        "the founding says that the checkpoint key is {founding}, and the statement that it is {statement}"
    )]
    CheckpointKey {
        /// The founding's.
        founding: Ed25519Public,
        /// The statement's.
        statement: Ed25519Public,
    },
    /// A checkpoint is none, of another log, or not signed by the realm.
    #[error("{}", clean(&.0.to_string()))]
    Checkpoint(CheckpointError),
    /// Too few witnesses, or a bad cosignature.
    #[error("{}", clean(&.0.to_string()))]
    Cosignatures(CheckpointError),
    /// Too few of the cosignatures are young enough.
    #[error(
        "{young} witnesses have cosigned it in the last {max_age} s, and {needed} must; the newest cosignature is {newest}"
    )]
    Old {
        /// How many are young enough.
        young: usize,
        /// How many must be.
        needed: usize,
        /// How old they may be, in seconds.
        max_age: u64,
        /// When the newest was made, for people.
        newest: String,
    },
    /// An object that the checkpoint needs is not there.
    #[error("{object} is missing; nobody can check what the checkpoint says without it")]
    Missing {
        /// The object.
        object: String,
    },
    /// An object is longer than any of its kind.
    #[error("{object} is longer than {most} bytes, and cannot be what its name says")]
    TooLong {
        /// The object.
        object: String,
        /// How long it may be.
        most: u64,
    },
    /// What is published is not the tree that the checkpoint names.
    #[error("below {folder}: {why}")]
    Tree {
        /// Where the tree is published.
        folder: String,
        /// What does not fit.
        why: String,
    },
    /// The log was longer.
    #[error("the log went back: it had {} entries, and is now said to have {}", .0.earlier, .0.now)]
    WentBack(Box<Pair>),
    /// The log was another.
    #[error("the log forked: its first {} entries are not those that it had before", .0.earlier)]
    Forked(Box<Pair>),
    /// A log of which there was a checkpoint has none any more.
    #[error("the log has disappeared: there was a checkpoint of it, and the store has none")]
    Disappeared {
        /// The earlier checkpoint, as it was signed.
        earlier: String,
    },
    /// An earlier checkpoint was not signed with the key in the statement.
    #[error("the earlier checkpoint does not count under this statement: {}; one of the two is not this realm's", clean(&.0.to_string()))]
    Earlier(CheckpointError),
    /// A segment is none, or does not fit what was committed.
    #[error("segment {object} {why}")]
    Segment {
        /// Its name.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// A build from source is none of those in the statement.
    #[error("{} makes an image with the digest {digest}, which is none of the statement's builds", .folder.display())]
    OtherBuild {
        /// The sources.
        folder: PathBuf,
        /// What they make.
        digest: BuildDigest,
        /// The statement's.
        builds: Vec<BuildDigest>,
    },
}

/// Two checkpoints that do not fit, with the signatures of the realm: evidence against whoever holds its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// How many entries there were.
    pub earlier: u64,
    /// How many there are.
    pub now: u64,
    /// The two notes.
    pub notes: [String; 2],
}

impl Failure {
    /// What shows it to others, beyond the message: signed checkpoints, digests.
    #[must_use]
    pub fn evidence(&self) -> Vec<String> {
        match self {
            Self::WentBack(pair) | Self::Forked(pair) => pair.notes.to_vec(),
            Self::Disappeared { earlier } => vec![earlier.clone()],
            Self::OtherBuild { builds, .. } => builds.iter().map(|build| format!("build {build}")).collect(),
            _ => Vec::new(),
        }
    }
}

/// Why a check did not pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It is not so.
    Failed(Failure),
    /// It cannot be told, and why.
    Unknown(String),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Text from strangers, as it may be shown on a terminal: short, and without characters that move the cursor or turn the text around.
pub(crate) fn clean(text: &str) -> String {
    let plain = |c: char| !c.is_control() && (c.is_ascii() || c == '—');
    let shown =
        text.chars().take(SHOWN).flat_map(|c| if plain(c) { vec![c] } else { c.escape_default().collect() });
    let more = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    shown.chain(more.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_strangers_is_shown_without_what_a_terminal_would_obey() {
        assert_eq!(clean("groups/ab"), "groups/ab");
        assert_eq!(clean("a\u{1b}[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\n\\u{202e}c");
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), SHOWN + 1);
    }
}
