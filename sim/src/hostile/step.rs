//! What a hostile host can do, as data: a run is a list of steps, and a list of steps is a run.
//!
//! What a step makes (an entry, a statement, a channel, a message) is named by the step's number. So a step can be
//! left out of a trace and every other still means the same, or nothing at all.

use minicbor::{Decode, Encode};
use std::fmt;

/// The number of the step that made something.
pub(super) type Made = u32;

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
}

impl Wish {
    /// Whether it may ride in a handshake.
    pub(super) const fn rides(self) -> bool {
        matches!(self, Self::Register1 | Self::Recover1 | Self::Delete)
    }
}

/// How an entry is forged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Forgery {
    #[n(0)]
    OtherPrev,
    #[n(1)]
    NoPartitions,
    #[n(2)]
    LaterIndex,
    #[n(3)]
    OtherGroup,
}

/// One step of the adversary. Devices, groups and users are numbered.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(super) enum Step {
    /// Sends a handshake, fresh or an old one again; makes a channel.
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
    /// Sends statements of capture, with entries beyond the own ones; makes a statement of commit.
    #[n(8)]
    Commit {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
        #[n(2)]
        statements: Vec<Made>,
        #[n(3)]
        chain: Vec<Made>,
    },
    /// Restarts an HSM; the power may go again while it starts.
    #[n(9)]
    Restart {
        #[n(0)]
        at: u8,
        #[n(1)]
        cut_after: Option<u32>,
    },
    /// Cuts the power of an HSM after so many more granules of NVRAM.
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
    /// Makes a second group of all members.
    #[n(12)]
    NewGroup {
        #[n(0)]
        at: u8,
    },
    /// Joins a group with a statement that names this HSM alone.
    #[n(13)]
    JoinForged {
        #[n(0)]
        at: u8,
        #[n(1)]
        group: u8,
    },
    /// Asks for the seed, with these custodians' signatures; custodian 0 signs what the host likes.
    #[n(14)]
    Export {
        #[n(0)]
        at: u8,
        #[n(1)]
        signers: u8,
        #[n(2)]
        twice: bool,
        #[n(3)]
        hosts_key: bool,
        #[n(4)]
        old_nonce: bool,
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
}

impl Step {
    /// The message's name, for the table of coverage.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "Handshake",
            Self::Ask { .. } | Self::Ride { .. } => "(client)",
            Self::Process { .. } | Self::DeepTree { .. } => "Process",
            Self::Capture { .. } => "Capture",
            Self::Jump { .. } => "Jump",
            Self::Lead { .. } => "Lead",
            Self::Resign { .. } => "StepDown",
            Self::Commit { .. } => "Commit",
            Self::Restart { .. } => "(restart)",
            Self::CutPower { .. } => "(power cut)",
            Self::Forge { .. } => "(forgery)",
            Self::NewGroup { .. } => "NewGroup",
            Self::JoinForged { .. } => "JoinGroup",
            Self::Export { .. } => "ExportRealm",
            Self::Garble { .. } => "(garbled)",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = |tree: &Option<Made>| tree.map_or("nothing".into(), |t| format!("#{t}"));
        match self {
            Self::Open { user, at, group, handshake } => {
                write!(f, "user {user} opens a channel at HSM {at}, group {group} (handshake {handshake})")
            }
            Self::Ask { channel, wish } => write!(f, "a user writes {wish:?} on channel #{channel}"),
            Self::Ride { user, wish } => write!(f, "user {user} writes {wish:?} in a handshake"),
            Self::Process { at, group, tree, messages, as_user } => {
                write!(f, "HSM {at}, group {group}: process messages {messages:?} with the tree after ")?;
                write!(f, "{}", after(tree))?;
                as_user.map_or(Ok(()), |user| write!(f, ", as if of user {user}"))
            }
            Self::Capture { at, group, entries } => {
                write!(f, "HSM {at}, group {group}: capture entries {entries:?}")
            }
            Self::Jump { at, entry, statement } => {
                write!(f, "HSM {at}: jump to entry #{entry} with statement #{statement}")
            }
            Self::Lead { at, group, entry } => {
                write!(f, "HSM {at}, group {group}: lead from {}", after(entry))
            }
            Self::Resign { at, group } => write!(f, "HSM {at}, group {group}: step down"),
            Self::Commit { at, group, statements, chain } => {
                write!(f, "HSM {at}, group {group}: commit with statements {statements:?}, chain {chain:?}")
            }
            Self::Restart { at, cut_after: None } => write!(f, "HSM {at} restarts"),
            Self::Restart { at, cut_after: Some(after) } => {
                write!(f, "HSM {at} restarts, loses power after {after} granules, and restarts")
            }
            Self::CutPower { at, after } => write!(f, "HSM {at} will lose power after {after} granules"),
            Self::Forge { entry, how } => write!(f, "the host forges an entry like #{entry}: {how:?}"),
            Self::NewGroup { at } => write!(f, "HSM {at}: new group"),
            Self::JoinForged { at, group } => {
                write!(f, "HSM {at}: join group {group} with a forged statement")
            }
            Self::Export { at, signers, twice, hosts_key, old_nonce } => write!(
                f,
                "HSM {at}: export the realm; signers {signers:03b}, each twice: {twice}, to the host's key: \
                 {hosts_key}, old nonce: {old_nonce}"
            ),
            Self::DeepTree { at } => write!(f, "HSM {at}: process a partial tree of depth 257"),
            Self::Garble { at, back, cut, flip, onto } => write!(
                f,
                "HSM {at}: bytes of {back} sends ago, cut at {cut}, bit {flip} flipped, before those of {onto} ago"
            ),
        }
    }
}
