//! Steps in words, for people who read a trace.

use super::changes::{Place, What};
use super::step::{Made, Step};
use std::fmt;

impl Step {
    /// Steps with trees made by hand, and steps that concern only one HSM.
    fn fmt_odd(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = |tree: &Option<Made>| tree.map_or("nothing".into(), |t| format!("#{t}"));
        match self {
            Self::HandMade { at, group, tree, messages, shape, older } => {
                write!(
                    f,
                    "HSM {at}, group {group}: process messages {messages:?} with a tree made by hand, {shape:?}"
                )?;
                write!(f, ", from that after {} and that after {}", after(tree), after(older))
            }
            Self::JoinRealm { at, sealed, hosts: None } => {
                write!(f, "HSM {at}: join the realm with the sealed seed {}", after(sealed))
            }
            Self::JoinRealm { at, hosts: Some(how), .. } => {
                write!(f, "HSM {at}: join the host's own realm: {how:?}")
            }
            Self::Status { at } => write!(f, "HSM {at}: status"),
            Self::DeepTree { at } => write!(f, "HSM {at}: process a partial tree of depth 257"),
            Self::Garble { at, back, cut, flip, onto } => write!(
                f,
                "HSM {at}: bytes of {back} sends ago, cut at {cut}, bit {flip} flipped, before those of {onto} ago"
            ),
            Self::DrawNonce { at, group } => write!(f, "HSM {at}, group {group}: draw a nonce for reads"),
            Self::StateFresh { at, group, nonce } => {
                write!(f, "HSM {at}, group {group}: state to nonce #{nonce} what is captured")
            }
            Self::Change { at, group, what, place, tree, opening, entry, statement } => {
                let Place { user, bits, beside } = place;
                let beside = if *beside { "beside " } else { "" };
                write!(f, "HSM {at}, group {group}: {what:?} of what is {beside}user {user} at {bits} bits")?;
                match what {
                    What::Split | What::Merge => {
                        write!(f, ", with the tree after {}, opened: {opening:?}", after(tree))
                    }
                    What::Refuse | What::Retire => Ok(()),
                    _ => write!(f, ", with entry {} and statement {}", after(entry), after(statement)),
                }
            }
            Self::Leave { at, group, entry, statement } => {
                write!(
                    f,
                    "HSM {at}, group {group}: leave by entry {} and statement {}",
                    after(entry),
                    after(statement)
                )
            }
            Self::Confirm { at, group, statements } => {
                write!(f, "HSM {at}, group {group}: confirm reads with statements {statements:?}")
            }
            Self::Head(step) => fmt::Display::fmt(step, f),
            Self::Tell(step) => fmt::Display::fmt(step, f),
            _ => f.write_str(self.name()),
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
            Self::CaptureBoth { at, groups: [group, other], entries, others } => {
                write!(
                    f,
                    "HSM {at}: capture entries {entries:?} of group {group} and {others:?} of group {other}"
                )
            }
            Self::Jump { at, entry, statement } => {
                write!(f, "HSM {at}: jump to entry #{entry} with statement #{statement}")
            }
            Self::Lead { at, group, entry } => {
                write!(f, "HSM {at}, group {group}: lead from {}", after(entry))
            }
            Self::Resign { at, group } => write!(f, "HSM {at}, group {group}: step down"),
            Self::Commit { at, group, statements } => {
                write!(f, "HSM {at}, group {group}: commit with statements {statements:?}")
            }
            Self::Restart { at, cut_after: None } => write!(f, "HSM {at} restarts"),
            Self::Restart { at, cut_after: Some(after) } => {
                write!(f, "HSM {at} restarts, loses power after {after} granules, and restarts")
            }
            Self::CutPower { at, after } => write!(f, "HSM {at} will lose power after {after} granules"),
            Self::Forge { entry, how } => write!(f, "the host forges an entry like #{entry}: {how:?}"),
            Self::Lie { statement, entry, how } => {
                write!(f, "the host forges a statement like #{statement} about #{entry}: {how:?}")
            }
            Self::Knock { at, group, message } => {
                write!(f, "HSM {at}, group {group}: message #{message} as a handshake without a request")
            }
            Self::NewGroup { at, of, members } => {
                write!(
                    f,
                    "HSM {at}: new group of HSMs {of:05b} (the last bit is HSM 0), members: {members:?}"
                )
            }
            Self::Join { at, group, invitation } => {
                write!(f, "HSM {at}: join group {group}, invitation: {invitation:?}")
            }
            Self::Export { at, to, signers, approval } => write!(
                f,
                "HSM {at}: export the realm to HSM {to}; custodians {signers:03b} sign (the last bit is the host's), \
                 approval: {approval:?}"
            ),
            other => other.fmt_odd(f),
        }
    }
}
