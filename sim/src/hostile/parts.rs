//! What a world is made of: how large it is, what it knows about entries, messages and members, and what it reports.

use super::clients::Answer;
use super::model::{Happening, Records};
use super::step::{Made, Wish};
use minicbor::bytes::ByteVec;
use std::collections::BTreeMap;
use std::fmt;
use strongroom_proto::enrolment::{CustodianSignature, ExportApproval, SealedRealm};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{NoiseMessage, NoiseReply};
use strongroom_proto::ids::{EntryHash, GroupId, SessionId, TransferId};
use strongroom_proto::noise::Transport;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{GroupStatement, Head};
use strongroom_proto::tree::Tree;
use strongroom_testkit::Bug;

/// HSMs of the realm. The first three form group 0, the last three group 1.
pub(super) const MEMBERS: usize = 4;
/// All HSMs; the last has no realm.
pub(super) const DEVICES: usize = 5;
/// The most groups that an episode makes.
pub(super) const MAX_GROUPS: usize = 8;
/// How many waiting replies an HSM is built for here, over all of its groups.
pub(super) const MAX_PENDING_REPLIES: u32 = 32;
/// How many waiting entries an HSM is built for here: few, so that its bound is reached.
pub(super) const MAX_PENDING_ENTRIES: u32 = 24;

/// The rules that are left out of the cores of a run.
pub type Planted = Option<Bug>;

/// A rule that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// A realm that an HSM sealed, and on which approval.
#[derive(Clone)]
pub(super) struct Exported {
    pub(super) sealed: SealedRealm,
    pub(super) to: usize,
    pub(super) approval: ExportApproval,
    pub(super) signatures: Vec<CustodianSignature>,
}

/// An entry, with what the oracle knows of it.
pub(super) struct Known {
    pub(super) entry: Entry,
    pub(super) hash: EntryHash,
    pub(super) parent: Option<Made>,
    pub(super) group: usize,
    pub(super) tree: Tree,
    pub(super) records: Records,
    /// What the group owns after it, by what it was asked, in order.
    pub(super) holds: Vec<Prefix>,
    /// The transfer that it took.
    pub(super) takes: Option<TransferId>,
    pub(super) kept: Vec<Kept>,
    pub(super) events: Vec<ByteVec>,
    /// Members, by bit, that ever stated that they have captured it or an entry after it.
    pub(super) stated: u16,
    pub(super) is_committed: bool,
    pub(super) is_forged: bool,
}

/// A reply that waits for its entry's commit.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) message: Made,
    pub(super) user: u8,
    /// The entry that the message's effect is in: this one, unless it was sent before. Of a read, the entry that it tells of;
    /// none before the first.
    pub(super) applied: Option<Made>,
    pub(super) expected: Answer,
    pub(super) happening: Happening,
    /// How many guesses are left, of what it was about, after it.
    pub(super) left: u8,
    /// Whether the list of what counted begins with it.
    pub(super) is_new: bool,
    /// How often the registration that is guessed at was accepted or reset before, on the chain of `applied`.
    pub(super) window: u32,
}

/// A client's message.
pub(super) struct Message {
    pub(super) user: u8,
    pub(super) wish: Wish,
    pub(super) channel: Option<Made>,
    pub(super) handshake: u32,
    pub(super) session: SessionId,
    pub(super) noise: NoiseMessage,
    /// Where it took effect, or what it tells of, and what is to be answered. A message of a channel does so once.
    pub(super) applied: Option<(Option<Made>, Answer, u32)>,
    pub(super) reply: Option<NoiseReply>,
}

pub(super) struct Channel {
    pub(super) user: u8,
    pub(super) transport: Transport,
    pub(super) session: SessionId,
}

/// What one HSM is in one group, as far as its replies show.
#[derive(Clone, Default)]
pub(super) struct Member {
    pub(super) joined: bool,
    /// It has left the group, which has retired.
    pub(super) left: bool,
    pub(super) captured: Option<Made>,
    pub(super) lead: Option<Lead>,
    pub(super) statement: Option<Made>,
}

/// A leadership.
#[derive(Clone)]
pub(super) struct Lead {
    /// The newest own entry, or the one it began from.
    pub(super) newest: Option<Made>,
    /// Entries made since the newest that is known here to be committed.
    pub(super) waiting: u64,
    /// Whether it still makes entries, as far as it was told.
    pub(super) leading: bool,
    /// The entry that it began from.
    pub(super) base: Option<Made>,
    /// Reads that wait, by number.
    pub(super) reads: BTreeMap<u64, Read>,
    /// Whether a nonce is open.
    pub(super) has_nonce: bool,
    /// Replies under entries that wait, by entry; as far as is known, for it may have dropped them.
    pub(super) replies: BTreeMap<Made, usize>,
}

/// A read that waits.
#[derive(Clone)]
pub(super) struct Read {
    pub(super) kept: Kept,
    /// The newest own entry when it was answered.
    pub(super) at: Option<Made>,
    /// The newest entry that a majority had captured then: nothing older may be told.
    pub(super) floor: Option<Made>,
    /// Whether the open nonce was drawn after it.
    pub(super) is_covered: bool,
}

impl Lead {
    /// It answers nothing that waits any more.
    pub(super) fn end_reads(&mut self) {
        self.reads.clear();
        self.has_nonce = false;
    }

    /// How many replies wait.
    pub(super) fn waits(&self) -> usize {
        self.reads.len() + self.replies.values().sum::<usize>()
    }
}

/// A prefix that a group has let go, for good: the entry is committed.
pub(super) struct LetGo {
    pub(super) prefix: Prefix,
    pub(super) to: GroupId,
    pub(super) is_taken: bool,
}

pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) statement: GroupStatement,
    /// Members by bit.
    pub(super) members: u16,
}

/// Message, role, outcome, and how often.
pub(super) type Coverage = BTreeMap<(&'static str, &'static str, String), u64>;

/// What a reply looks like to a host that can read none of its secrets: the step, the size, and everything else.
pub(super) type Look = (Made, usize, String);

/// A head that the host holds.
pub(super) struct Sum {
    pub(super) head: Head,
    /// The hashes of the entries that it was stated of.
    pub(super) leaves: Vec<EntryHash>,
    /// No HSM of the realm stated it.
    pub(super) is_forged: bool,
}
