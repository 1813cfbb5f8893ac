//! What a hostile host can do, as data: a run is a list of steps, and a list of steps is a run.
//!
//! What a step makes (an entry, a statement, a channel, a message) is named by the step's number. So a step can be left
//! out of a trace, and every other step still means the same, or nothing at all.

use super::changes::{Opening, Place, What};
use super::forgery::{Forgery, Lie};
use super::head_step::HeadStep;
pub(super) use super::made::Made;
use super::tell_step::TellStep;
use minicbor::{Decode, Encode};

/// What a user asks of its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub(super) enum Wish {
    #[n(0)]
    Register1,
    /// Registers the user's registration of this number.
    #[n(1)]
    Register2(#[n(0)] u8),
    #[n(2)]
    Recover1,
    /// Guesses with this point at the registration of this number.
    #[n(3)]
    Recover2(#[n(0)] u8, #[n(1)] u8),
    /// Sends the tag of the registration of this number, or a wrong one.
    #[n(4)]
    Recover3(#[n(0)] u8, #[n(1)] bool),
    #[n(5)]
    Delete,
    /// Something that is not a request.
    #[n(6)]
    Odd(#[n(0)] Oddity),
    /// Which requests counted.
    #[n(7)]
    Attempts,
    /// Stages the user's registration of this number.
    #[n(8)]
    Stage(#[n(0)] u8),
    #[n(9)]
    Activate(#[n(0)] u8),
    #[n(10)]
    Versions,
}

impl Wish {
    /// Whether it may ride in a handshake.
    pub(super) const fn rides(self) -> bool {
        matches!(self, Self::Register1 | Self::Recover1 | Self::Delete | Self::Attempts | Self::Versions)
    }

    /// Another wish of the same kind, which may differ in everything that must stay secret until commit.
    pub(super) fn twin(self, n: Made) -> Self {
        let draw = (n ^ 0x5bd1).wrapping_mul(0x9e37_79b1) >> 16;
        let registration = (draw % 3) as u8;
        match self {
            Self::Register2(_) => Self::Register2(registration),
            Self::Stage(_) => Self::Stage(registration),
            Self::Activate(_) => Self::Activate(registration),
            Self::Recover2(..) => Self::Recover2(registration, (draw >> 3 & 3) as u8),
            Self::Recover3(..) => Self::Recover3(registration, draw >> 6 & 1 == 1),
            other => other,
        }
    }
}

/// Bytes that a realm must not accept as a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Oddity {
    #[n(0)]
    NoCbor,
    #[n(1)]
    Nothing,
    #[n(2)]
    TrailingByte,
    #[n(3)]
    NoGuesses,
    #[n(4)]
    Guesses256,
    #[n(5)]
    Guesses65535,
    #[n(6)]
    ZeroKey,
    #[n(7)]
    OtherPublicKey,
    #[n(8)]
    IdentityPoint,
    #[n(9)]
    NoPoint,
    #[n(10)]
    Long,
    #[n(11)]
    StagedNoGuesses,
}

impl Oddity {
    pub(super) const ALL: [Self; 12] = [
        Self::NoCbor,
        Self::Nothing,
        Self::TrailingByte,
        Self::NoGuesses,
        Self::Guesses256,
        Self::Guesses65535,
        Self::ZeroKey,
        Self::OtherPublicKey,
        Self::IdentityPoint,
        Self::NoPoint,
        Self::Long,
        Self::StagedNoGuesses,
    ];
}

/// How a hand-made partial tree differs from the right one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Shape {
    /// As it should be.
    #[n(0)]
    Right,
    /// Empty where the record's leaf is.
    #[n(1)]
    LeafLeftOut,
    /// The record's leaf as it was after an older entry.
    #[n(2)]
    OlderLeaf,
    /// The record's leaf without its bytes, with the digest of older ones.
    #[n(3)]
    OlderDigest,
    /// The record's leaf without its bytes.
    #[n(4)]
    LeafUnread,
    /// Another record's sealed bytes under this record's id.
    #[n(5)]
    OtherBytes,
    /// This record's sealed bytes under another's id.
    #[n(6)]
    OtherId,
    /// A stub of the right digest where the record's leaf is.
    #[n(7)]
    LeafHidden,
    /// A stub of the right digest for all of it.
    #[n(8)]
    AllHidden,
    /// The record's leaf one level deeper, beside an empty side.
    #[n(9)]
    Deeper,
    /// An inner node over twice the same tree.
    #[n(10)]
    Doubled,
    /// The sides of the first inner node exchanged.
    #[n(11)]
    Exchanged,
    /// The side of the record alone, as the tree of one bit more of its prefix.
    #[n(12)]
    Part,
    /// All of it, as the tree of one bit more of the record's prefix.
    #[n(13)]
    LongerPrefix,
    /// All of it, as the tree of the record alone.
    #[n(14)]
    WholeId,
    /// The right one and an older one.
    #[n(15)]
    OlderSecond,
    /// An older one and the right one.
    #[n(16)]
    OlderFirst,
    /// One node more than there should be.
    #[n(17)]
    OneMore,
    /// One node fewer than there should be.
    #[n(18)]
    OneLess,
    /// No tree.
    #[n(19)]
    None,
}

impl Shape {
    pub(super) const ALL: [Self; 20] = [
        Self::Right,
        Self::LeafLeftOut,
        Self::OlderLeaf,
        Self::OlderDigest,
        Self::LeafUnread,
        Self::OtherBytes,
        Self::OtherId,
        Self::LeafHidden,
        Self::AllHidden,
        Self::Deeper,
        Self::Doubled,
        Self::Exchanged,
        Self::Part,
        Self::LongerPrefix,
        Self::WholeId,
        Self::OlderSecond,
        Self::OlderFirst,
        Self::OneMore,
        Self::OneLess,
        Self::None,
    ];
}

/// What is wrong with a request for a new group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Members {
    #[n(0)]
    Proper,
    /// The first statement twice.
    #[n(1)]
    Repeated,
    /// One more statement, of an HSM that does not exist.
    #[n(2)]
    Invented,
    /// Without the statement of the HSM that is asked.
    #[n(3)]
    WithoutMaker,
}

/// What is wrong with a request to join a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Invitation {
    #[n(0)]
    Proper,
    /// Names this HSM alone.
    #[n(1)]
    Alone,
    /// Says the opposite of whether the group began with the whole space.
    #[n(2)]
    OtherGenesis,
    /// Names another group.
    #[n(3)]
    OtherGroup,
    /// With a MAC under a key of the host's.
    #[n(4)]
    HostsMac,
}

/// What is wrong with a request for the seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Approval {
    #[n(0)]
    Proper,
    /// Each signature twice.
    #[n(1)]
    Twice,
    /// Asks for the host's key in place of the importer's; custodian 0 signs that.
    #[n(2)]
    HostsKey,
    /// With the last nonce that this HSM drew, whatever happened since.
    #[n(3)]
    OldNonce,
    /// Made out to another exporter.
    #[n(4)]
    OtherExporter,
    /// Made out for another realm.
    #[n(5)]
    OtherRealm,
    /// With signatures of keys that the policy does not name.
    #[n(6)]
    Strangers,
    /// Custodians are told about a build other than the one that the importer runs.
    #[n(7)]
    OtherBuild,
    /// With the last nonce that the importer drew, whatever happened since.
    #[n(8)]
    OldImportNonce,
    /// Custodians are told about a device key of small order.
    #[n(9)]
    SmallOrder,
}

/// A realm whose seed the host knows, sealed to a device as an HSM would.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum HostsRealm {
    /// Under a policy of the host's own, approved as it says: a realm like any other, which nobody trusts.
    #[n(0)]
    OwnPolicy,
    /// Under the names of honest custodians; the host's one signs.
    #[n(1)]
    HonestPolicy,
    /// Behind an approval of the true realm, with its signatures.
    #[n(2)]
    BehindApproval,
    /// Under a policy that names the host's custodian twice, of whom two must sign.
    #[n(3)]
    OneTwice,
    /// In a form of a later version.
    #[n(4)]
    Newer,
}

/// One step of the adversary. Devices, groups and users are numbered.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(super) enum Step {
    /// Sends a handshake, a new or an old one; makes a channel.
    #[n(0)]
    Open {
        #[n(0)]
        user: u8,
        #[n(1)]
        at: u8,
        #[n(2)]
        group: u8,
        #[n(3)]
        handshake: u32,
    },
    /// A user writes the next message of a channel; makes a message.
    #[n(1)]
    Ask {
        #[n(0)]
        channel: Made,
        #[n(1)]
        wish: Wish,
    },
    /// A user writes a handshake with a request inside; makes a message.
    #[n(2)]
    Ride {
        #[n(0)]
        user: u8,
        #[n(1)]
        wish: Wish,
    },
    /// Sends messages with the tree after an entry; makes an entry.
    #[n(3)]
    Process {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        tree: Option<Made>,
        #[n(3)]
        messages: Vec<Made>,
        #[n(4)]
        as_user: Option<u8>,
    },
    /// Sends entries in this order; makes a statement.
    #[n(4)]
    Capture {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        entries: Vec<Made>,
    },
    /// Sends an entry with a statement, of commit or dressed up as one; makes a statement.
    #[n(5)]
    Jump {
        #[n(0)]
        at: u8,
        #[n(1)]
        entry: Made,
        #[n(2)]
        statement: Made,
    },
    #[n(6)]
    Lead {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        entry: Option<Made>,
    },
    #[n(7)]
    Resign {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
    },
    /// Sends statements of capture; makes a statement of commit.
    #[n(8)]
    Commit {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        statements: Vec<Made>,
    },
    /// Restarts an HSM; the power may go again while it starts.
    #[n(9)]
    Restart {
        #[n(0)]
        at: u8,
        #[n(1)]
        cut_after: Option<u32>,
    },
    /// Cuts the power of an HSM after this many more granules of NVRAM.
    #[n(10)]
    CutPower {
        #[n(0)]
        at: u8,
        #[n(1)]
        after: u32,
    },
    /// Writes an entry after the model of another; makes an entry.
    #[n(11)]
    Forge {
        #[n(0)]
        entry: Made,
        #[n(1)]
        how: Forgery,
    },
    /// Makes a group of these HSMs, by bit.
    #[n(12)]
    NewGroup {
        #[n(0)]
        at: u8,
        #[n(1)]
        of: u8,
        #[n(2)]
        members: Members,
    },
    /// Joins a group.
    #[n(13)]
    Join {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        invitation: Invitation,
    },
    /// Asks for the seed for an importer, with these custodians' signatures, by bit; makes a sealed realm.
    #[n(14)]
    Export {
        #[n(0)]
        at: u8,
        #[n(1)]
        to: u8,
        #[n(2)]
        signers: u8,
        #[n(3)]
        approval: Approval,
    },
    /// Sends a partial tree deeper than a record id has bits.
    #[n(15)]
    DeepTree {
        #[n(0)]
        at: u8,
    },
    /// Sends earlier bytes again, cut, with a bit flipped, or with others behind.
    #[n(16)]
    Garble {
        #[n(0)]
        at: u8,
        #[n(1)]
        back: u8,
        #[n(2)]
        cut: u16,
        #[n(3)]
        flip: u16,
        #[n(4)]
        onto: u8,
    },
    /// Sends messages with a tree made by hand from the one after an entry, and from an older one; makes an entry.
    #[n(17)]
    HandMade {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        tree: Option<Made>,
        #[n(3)]
        messages: Vec<Made>,
        #[n(4)]
        shape: Shape,
        #[n(5)]
        older: Option<Made>,
    },
    /// Joins a realm with a sealed seed: one that an HSM made, or one of the host's own.
    #[n(18)]
    JoinRealm {
        #[n(0)]
        at: u8,
        #[n(1)]
        sealed: Option<Made>,
        #[n(2)]
        hosts: Option<HostsRealm>,
    },
    #[n(19)]
    Status {
        #[n(0)]
        at: u8,
    },
    /// Sends entries of two groups, or two lists of one group, in one request; makes two statements.
    #[n(20)]
    CaptureBoth {
        #[n(0)]
        at: u8,
        #[n(1)]
        groups: [u8; 2],
        #[n(2)]
        entries: Vec<Made>,
        #[n(3)]
        others: Vec<Made>,
    },
    /// Writes a statement after the model of another, about an entry; makes a statement.
    #[n(21)]
    Lie {
        #[n(0)]
        statement: Made,
        #[n(1)]
        entry: Made,
        #[n(2)]
        how: Lie,
    },
    /// Sends a client's message as a handshake that carries no request.
    #[n(22)]
    Knock {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        message: Made,
    },
    /// Has a leader draw a nonce for its reads; makes a nonce.
    #[n(23)]
    DrawNonce {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
    },
    /// Has a member state what it has captured to a nonce; makes a statement.
    #[n(24)]
    StateFresh {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        nonce: Made,
    },
    /// Sends statements to a nonce, or others dressed up as such.
    #[n(25)]
    Confirm {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        statements: Vec<Made>,
    },
    /// Changes what a group owns, with the tree after an entry, or with another group's entry and a statement about it,
    /// or one dressed up as such; makes an entry.
    #[n(26)]
    Change {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        what: What,
        #[n(3)]
        place: Place,
        #[n(4)]
        tree: Option<Made>,
        #[n(5)]
        opening: Opening,
        #[n(6)]
        entry: Option<Made>,
        #[n(7)]
        statement: Option<Made>,
    },
    /// Leaves a group by an entry and a statement about it, by a statement alone, or by nothing; makes a statement.
    #[n(27)]
    Leave {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        entry: Option<Made>,
        #[n(3)]
        statement: Option<Made>,
    },
    /// About the tree over a log.
    #[n(28)]
    Head(#[n(0)] HeadStep),
    /// About what tenants are told.
    #[n(29)]
    Tell(#[n(0)] TellStep),
}

impl Step {
    /// The entry that an entry goes on from, as far as the host knows: for a step that makes one.
    pub(super) const fn goes_on_from(&self) -> Option<Option<Made>> {
        match self {
            Self::Process { tree, .. } | Self::HandMade { tree, .. } | Self::Change { tree, .. } => {
                Some(*tree)
            }
            _ => None,
        }
    }

    /// Makes it name another entry, or none, where it named one.
    pub(super) fn rename(&mut self, from: Made, to: Option<Made>) {
        let maybe = |made: &mut Option<Made>| {
            if *made == Some(from) {
                *made = to;
            }
        };
        let all = |made: &mut Vec<Made>| {
            *made = made.iter().filter_map(|m| if *m == from { to } else { Some(*m) }).collect();
            made.dedup();
        };
        match self {
            Self::Process { tree, .. } => maybe(tree),
            Self::HandMade { tree, older, .. } => {
                maybe(tree);
                maybe(older);
            }
            Self::Change { tree, entry, .. } => {
                maybe(tree);
                maybe(entry);
            }
            Self::Lead { entry, .. } | Self::Leave { entry, .. } => maybe(entry),
            Self::Head(step) => step.rename(from, to),
            Self::Tell(step) => step.rename(from, to),
            Self::Capture { entries, .. } => all(entries),
            Self::CaptureBoth { entries, others, .. } => {
                all(entries);
                all(others);
            }
            Self::Jump { entry, .. } | Self::Forge { entry, .. } | Self::Lie { entry, .. }
                if *entry == from =>
            {
                *entry = to.unwrap_or(*entry);
            }
            _ => {}
        }
    }

    /// Makes it no longer name what no step makes.
    pub(super) fn forget(&mut self, is_made: impl Fn(&Made) -> bool) {
        match self {
            Self::Process { messages, .. } | Self::HandMade { messages, .. } => messages.retain(is_made),
            Self::Head(step) => step.forget(is_made),
            Self::Tell(step) => step.forget(is_made),
            Self::Capture { entries, .. } => entries.retain(is_made),
            Self::CaptureBoth { entries, others, .. } => {
                entries.retain(&is_made);
                others.retain(is_made);
            }
            Self::Commit { statements, .. } | Self::Confirm { statements, .. } => statements.retain(is_made),
            _ => {}
        }
    }

    /// The message's name, for the table of coverage.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } | Self::Knock { .. } => "Handshake",
            Self::Ask { .. } | Self::Ride { .. } => "(client)",
            Self::Process { .. } | Self::HandMade { .. } | Self::DeepTree { .. } => "Process",
            Self::Capture { .. } | Self::CaptureBoth { .. } => "Capture",
            Self::Jump { .. } => "Jump",
            Self::Lead { .. } => "Lead",
            Self::Resign { .. } => "StepDown",
            Self::Change { .. } => "Change",
            Self::Commit { .. } => "Commit",
            Self::DrawNonce { .. } => "DrawReadNonce",
            Self::StateFresh { .. } => "Fresh",
            Self::Confirm { .. } => "Confirm",
            Self::Restart { .. } => "(restart)",
            Self::CutPower { .. } => "(power cut)",
            Self::Forge { .. } | Self::Lie { .. } => "(forgery)",
            Self::NewGroup { .. } => "NewGroup",
            Self::Join { .. } => "JoinGroup",
            Self::JoinRealm { .. } => "JoinRealm",
            Self::Status { .. } => "DeviceStatus",
            Self::Leave { .. } => "Leave",
            Self::Head(step) => step.name(),
            Self::Tell(_) => "Tell",
            Self::Export { .. } => "ExportRealm",
            Self::Garble { .. } => "(garbled)",
        }
    }
}
