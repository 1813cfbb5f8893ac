//! The step by which a host has a tenant told, as data.

use super::made::Made;
use minicbor::{Decode, Encode};
use std::fmt;

/// Sends entries with a statement, and what is to be told of the first; makes a statement of the past.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(super) struct TellStep {
    #[n(0)]
    pub(super) at: u8,
    /// A statement of any kind.
    #[n(1)]
    pub(super) statement: Made,
    /// It is dressed up as one of the past; otherwise as one of commit.
    #[n(2)]
    pub(super) is_past: bool,
    #[n(3)]
    pub(super) entries: Vec<Made>,
    #[n(4)]
    pub(super) telling: Option<ToTell>,
}

/// Which events are to be told, and to whom.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(super) struct ToTell {
    /// The tenant that is named.
    #[n(0)]
    pub(super) tenant: u8,
    #[n(1)]
    pub(super) key: ToKey,
    /// Custodians who sign, by bit.
    #[n(2)]
    pub(super) signers: u8,
    #[n(3)]
    pub(super) signed: Signed,
    /// The entry whose events are brought.
    #[n(4)]
    pub(super) events: Made,
    #[n(5)]
    pub(super) brought: Brought,
    /// Places of events, and the users that they are said to be of.
    #[n(6)]
    pub(super) owned: Vec<(u8, u8)>,
    /// The entries whose events are told with these, all that are the tenant's, as if they followed.
    #[n(7)]
    pub(super) more: Vec<Made>,
}

/// The key to which it is to be sealed. Honest custodians sign nothing but the tenant's own, and what looks like it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum ToKey {
    /// The tenant's.
    #[n(0)]
    Own,
    /// The other tenant's.
    #[n(1)]
    Other,
    #[n(2)]
    Hosts,
    /// Custodians are told that it is the tenant's.
    #[n(3)]
    SmallOrder,
}

/// What custodians sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Signed {
    /// What they are asked, if it is proper; the host's one in any case.
    #[n(0)]
    Asked,
    /// Each signature twice.
    #[n(1)]
    Twice,
    /// The same for the other tenant.
    #[n(2)]
    OtherTenants,
    /// The same in another realm.
    #[n(3)]
    OtherRealms,
    /// The same by keys that the policy does not name.
    #[n(4)]
    Strangers,
}

/// Which of an entry's events are brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Brought {
    #[n(0)]
    All,
    /// In the opposite order.
    #[n(1)]
    Reversed,
    /// Without the first.
    #[n(2)]
    OneLess,
    /// The last once more.
    #[n(3)]
    OneMore,
}

impl ToKey {
    pub(super) const ALL: [Self; 4] = [Self::Own, Self::Other, Self::Hosts, Self::SmallOrder];
}

impl Signed {
    pub(super) const ALL: [Self; 5] =
        [Self::Asked, Self::Twice, Self::OtherTenants, Self::OtherRealms, Self::Strangers];
}

impl Brought {
    pub(super) const ALL: [Self; 4] = [Self::All, Self::Reversed, Self::OneLess, Self::OneMore];
}

impl TellStep {
    /// Makes it name another entry, or none, where it named one.
    pub(super) fn rename(&mut self, from: Made, to: Option<Made>) {
        self.entries = self.entries.iter().filter_map(|m| if *m == from { to } else { Some(*m) }).collect();
        self.entries.dedup();
        if let Some(telling) = &mut self.telling {
            if telling.events == from {
                telling.events = to.unwrap_or(from);
            }
            telling.more =
                telling.more.iter().filter_map(|m| if *m == from { to } else { Some(*m) }).collect();
        }
    }

    /// Makes it no longer name what no step makes.
    pub(super) fn forget(&mut self, is_made: impl Fn(&Made) -> bool) {
        self.entries.retain(&is_made);
        if let Some(telling) = &mut self.telling {
            telling.more.retain(is_made);
        }
    }
}

impl fmt::Display for TellStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, statement, is_past, entries, telling } = self;
        let kind = if *is_past { "the past" } else { "commit" };
        write!(f, "HSM {at}: tell by entries {entries:?} and statement #{statement} as one of {kind}")?;
        let Some(ToTell { tenant, key, signers, signed, events, brought, owned, more }) = telling else {
            return f.write_str(", of no events");
        };
        write!(
            f,
            ", the events of #{events} ({brought:?}) at places and of users {owned:?}, then those of {more:?}, to tenant {tenant}"
        )?;
        write!(f, ", key: {key:?}; custodians {signers:03b} sign (the last bit is the host's): {signed:?}")
    }
}
