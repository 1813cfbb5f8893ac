//! Statements: what one HSM of a realm asserts to the others, carried by hosts that can neither make nor alter them.
//!
//! Each is a MAC under the realm's statement key over its own label and every field that gives it meaning. The realm
//! and group are not part of the message: whoever checks a statement supplies the ones it is asking about.

use crate::bounded::at_most;
use crate::hash::{label, mac};
use crate::ids::{EntryHash, GroupId, HsmId, Index, Mac, Nonce, RealmId};
use crate::tlog::CompactRange;
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// The most members that a group can have.
pub const MAX_MEMBERS: usize = 9;

/// A statement about one entry of a group: who says so, the entry's place, its hash, and a MAC under a label of its
/// own, which is all that tells one kind from another.
macro_rules! entry_statement {
    ($(#[$doc:meta])* $name:ident, $label:expr, $(#[$mac_doc:meta])* mac) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
        pub struct $name {
            /// Who says so.
            #[n(0)]
            pub hsm: HsmId,
            /// The entry's place.
            #[n(1)]
            pub index: Index,
            /// The entry's hash.
            #[n(2)]
            pub hash: EntryHash,
            $(#[$mac_doc])*
            #[n(3)]
            pub mac: Mac,
        }

        impl $name {
            /// Makes the statement.
            #[must_use]
            pub fn new(
                key: &[u8; 32],
                realm: &RealmId,
                group: &GroupId,
                hsm: HsmId,
                index: Index,
                hash: EntryHash,
            ) -> Self {
                let mac = entry_mac(key, $label, realm, group, &hsm, index, &hash);
                Self { hsm, index, hash, mac }
            }

            /// Whether an HSM of this realm made the statement about this group.
            #[must_use]
            pub fn is_authentic(&self, key: &[u8; 32], realm: &RealmId, group: &GroupId) -> bool {
                entry_mac(key, $label, realm, group, &self.hsm, self.index, &self.hash) == self.mac
            }
        }
    };
}

entry_statement! {
    /// "My NVRAM holds this entry as captured."
    Captured,
    label::CAPTURED,
    /// MAC under the label `strongroom captured 1`.
    mac
}

entry_statement! {
    /// "A majority of the group's members has captured this entry, or one after it on the same chain."
    Committed,
    label::COMMITTED,
    /// MAC under the label `strongroom committed 1`.
    mac
}

entry_statement! {
    /// "This entry comes before one that is committed." Good for nothing but telling what the entry's events say.
    Past,
    label::PAST,
    /// MAC under the label `strongroom past 1`.
    mac
}

fn entry_mac(
    key: &[u8; 32],
    label: &str,
    realm: &RealmId,
    group: &GroupId,
    hsm: &HsmId,
    index: Index,
    hash: &EntryHash,
) -> Mac {
    let index = index.0.to_be_bytes();
    mac(key, label, &[realm.as_bytes(), group.as_bytes(), hsm.as_bytes(), &index, hash.as_bytes()])
}

/// "My NVRAM holds this entry as captured", said after this nonce was drawn. The nonce is not part of the message: whoever
/// counts the statement has drawn it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Fresh {
    /// Who says so.
    #[n(0)]
    pub hsm: HsmId,
    /// The entry's place.
    #[n(1)]
    pub index: Index,
    /// The entry's hash.
    #[n(2)]
    pub hash: EntryHash,
    /// MAC under the label `strongroom fresh 1`.
    #[n(3)]
    pub mac: Mac,
}

impl Fresh {
    /// Makes the statement.
    #[must_use]
    pub fn new(
        key: &[u8; 32],
        realm: &RealmId,
        group: &GroupId,
        hsm: HsmId,
        (index, hash): (Index, EntryHash),
        nonce: &Nonce,
    ) -> Self {
        let mac = fresh_mac(key, realm, group, &hsm, (index, &hash), nonce);
        Self { hsm, index, hash, mac }
    }

    /// Whether an HSM of this realm made the statement about this group, with this nonce.
    #[must_use]
    pub fn is_authentic(&self, key: &[u8; 32], realm: &RealmId, group: &GroupId, nonce: &Nonce) -> bool {
        fresh_mac(key, realm, group, &self.hsm, (self.index, &self.hash), nonce) == self.mac
    }
}

fn fresh_mac(
    key: &[u8; 32],
    realm: &RealmId,
    group: &GroupId,
    hsm: &HsmId,
    (index, hash): (Index, &EntryHash),
    nonce: &Nonce,
) -> Mac {
    let index = index.0.to_be_bytes();
    let fields: [&[u8]; 6] =
        [realm.as_bytes(), group.as_bytes(), hsm.as_bytes(), &index, hash.as_bytes(), nonce.as_bytes()];
    mac(key, label::FRESH, &fields)
}

/// "The chain that ends in this entry has this tree over it, from entry 1 on." It says nothing of whether the entry is committed,
/// was ever made, or is of this group: it is a sum of what a host brought, which hosts keep so that nothing is summed twice. Only
/// with a [`Committed`] of the same entry does it mean anything.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Head {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The entry's place, and the number of leaves.
    #[n(1)]
    pub index: Index,
    /// The entry's hash.
    #[n(2)]
    pub hash: EntryHash,
    /// The tree over the hashes of the entries up to this one.
    #[n(3)]
    pub range: CompactRange,
    /// MAC under the label `strongroom head 1`.
    #[n(4)]
    pub mac: Mac,
}

impl Head {
    /// Makes the statement.
    #[must_use]
    pub fn new(
        key: &[u8; 32],
        realm: &RealmId,
        group: GroupId,
        (index, hash): (Index, EntryHash),
        range: CompactRange,
    ) -> Self {
        let mac = Self::mac_of(key, realm, &group, (index, &hash), &range);
        Self { group, index, hash, range, mac }
    }

    /// Whether an HSM of this realm made the statement.
    #[must_use]
    pub fn is_authentic(&self, key: &[u8; 32], realm: &RealmId) -> bool {
        Self::mac_of(key, realm, &self.group, (self.index, &self.hash), &self.range) == self.mac
    }

    fn mac_of(
        key: &[u8; 32],
        realm: &RealmId,
        group: &GroupId,
        (index, hash): (Index, &EntryHash),
        range: &CompactRange,
    ) -> Mac {
        let (index, range) = (index.0.to_be_bytes(), range.to_bytes());
        mac(key, label::HEAD, &[realm.as_bytes(), group.as_bytes(), &index, hash.as_bytes(), &range])
    }
}

/// "This group has made its last entry, which is committed, and I am no longer a member." Neither the realm nor the group
/// is part of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Retired {
    /// Who says so.
    #[n(0)]
    pub hsm: HsmId,
    /// MAC under the label `strongroom retired 1`.
    #[n(1)]
    pub mac: Mac,
}

impl Retired {
    /// Makes the statement.
    #[must_use]
    pub fn new(key: &[u8; 32], realm: &RealmId, group: &GroupId, hsm: HsmId) -> Self {
        Self { hsm, mac: Self::mac_of(key, realm, group, &hsm) }
    }

    /// Whether an HSM of this realm made the statement about this group.
    #[must_use]
    pub fn is_authentic(&self, key: &[u8; 32], realm: &RealmId, group: &GroupId) -> bool {
        Self::mac_of(key, realm, group, &self.hsm) == self.mac
    }

    fn mac_of(key: &[u8; 32], realm: &RealmId, group: &GroupId, hsm: &HsmId) -> Mac {
        mac(key, label::RETIRED, &[realm.as_bytes(), group.as_bytes(), hsm.as_bytes()])
    }
}

/// "These are the members of this group, and they never change."
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct GroupStatement {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// Its members, 1 to [`MAX_MEMBERS`], all different, in the order in which they were given.
    #[cbor(n(1), decode_with = "at_most::<MAX_MEMBERS, _, _>")]
    pub members: Vec<HsmId>,
    /// Whether the group's first entry owns the whole space of record ids. True once per realm.
    #[n(2)]
    pub genesis: bool,
    /// MAC under the label `strongroom group 1`.
    #[n(3)]
    pub mac: Mac,
}

impl GroupStatement {
    /// Makes the statement.
    #[must_use]
    pub fn new(key: &[u8; 32], realm: &RealmId, group: GroupId, members: Vec<HsmId>, genesis: bool) -> Self {
        let mac = Self::mac_of(key, realm, &group, &members, genesis);
        Self { group, members, genesis, mac }
    }

    /// Whether an HSM of this realm made the statement.
    #[must_use]
    pub fn is_authentic(&self, key: &[u8; 32], realm: &RealmId) -> bool {
        Self::mac_of(key, realm, &self.group, &self.members, self.genesis) == self.mac
    }

    fn mac_of(key: &[u8; 32], realm: &RealmId, group: &GroupId, members: &[HsmId], genesis: bool) -> Mac {
        let members: Vec<u8> = members.iter().flat_map(|m| m.0).collect();
        mac(key, label::GROUP, &[realm.as_bytes(), group.as_bytes(), &members, &[u8::from(genesis)]])
    }
}

/// "I hold this realm's keys."
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct MemberStatement {
    /// Who says so.
    #[n(0)]
    pub hsm: HsmId,
    /// MAC under the label `strongroom realm member 1`.
    #[n(1)]
    pub mac: Mac,
}

impl MemberStatement {
    /// Makes the statement.
    #[must_use]
    pub fn new(key: &[u8; 32], realm: &RealmId, hsm: HsmId) -> Self {
        Self { hsm, mac: Self::mac_of(key, realm, &hsm) }
    }

    /// Whether an HSM of this realm made the statement.
    #[must_use]
    pub fn is_authentic(&self, key: &[u8; 32], realm: &RealmId) -> bool {
        Self::mac_of(key, realm, &self.hsm) == self.mac
    }

    fn mac_of(key: &[u8; 32], realm: &RealmId, hsm: &HsmId) -> Mac {
        mac(key, label::MEMBER, &[realm.as_bytes(), hsm.as_bytes()])
    }
}
