//! What a tenant is told of its users' records: some of the events of an entry or several, sealed to a key that custodians signed for it.

use crate::bounded::{at_most, bytes_at_most, len_at_most, too_many};
use crate::enrolment::{CustodianSignature, MAX_CUSTODIANS};
use crate::hash::{hash, label};
use crate::ids::{Digest, EntryHash, GroupId, Index, RealmId, X25519Public};
use crate::statement::{Committed, Past};
use alloc::vec::Vec;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::decode::Error as DecodeError;
use minicbor::{Decode, Decoder, Encode};

/// The most events of an entry: one for each request of a batch.
pub const MAX_EVENTS: usize = 128;
/// The most entries that a tenant is told of at once: as many as one request has.
pub const MAX_TOLD_ENTRIES: usize = 64;
/// The longest name of a tenant, and of a user, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// The key to which a tenant's events are sealed. An HSM goes by it once enough custodians have signed it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct TenantKey {
    /// The tenant's name, at most [`MAX_NAME_BYTES`].
    #[cbor(n(0), decode_with = "bytes_at_most::<MAX_NAME_BYTES, _>")]
    pub tenant: ByteVec,
    /// Its X25519 public key (RFC 7748).
    #[n(1)]
    pub key: X25519Public,
}

impl TenantKey {
    /// The 32 bytes that custodians sign with Ed25519.
    #[must_use]
    pub fn digest(&self, realm: &RealmId) -> Digest {
        hash(label::TENANT_KEY, &[realm.as_bytes(), &self.tenant, self.key.as_bytes()])
    }
}

/// What shows that an entry is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Settled {
    /// It is stated to be.
    #[n(0)]
    Committed(#[n(0)] Committed),
    /// It is before one that is.
    #[n(1)]
    Past(#[n(0)] Past),
}

impl Settled {
    /// Which entry.
    #[must_use]
    pub const fn position(&self) -> (Index, EntryHash) {
        match self {
            Self::Committed(Committed { index, hash, .. }) | Self::Past(Past { index, hash, .. }) => {
                (*index, *hash)
            }
        }
    }

    /// Whether an HSM of this realm stated it about this group.
    #[must_use]
    pub fn is_authentic(&self, key: &[u8; 32], realm: &RealmId, group: &GroupId) -> bool {
        match self {
            Self::Committed(statement) => statement.is_authentic(key, realm, group),
            Self::Past(statement) => statement.is_authentic(key, realm, group),
        }
    }
}

/// Which events of which entries are a tenant's.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Telling {
    /// To whom.
    #[n(0)]
    pub key: TenantKey,
    /// Custodians' signatures over [`TenantKey::digest`].
    #[cbor(n(1), decode_with = "at_most::<MAX_CUSTODIANS, _, _>")]
    pub signatures: Vec<CustodianSignature>,
    /// Of the first of the entries, one after the other.
    #[cbor(n(2), decode_with = "decode_entries")]
    pub entries: Vec<EntryEvents>,
}

/// Decodes what is to be told of entries: in all no more events, and no more of them told, than one entry can have.
fn decode_entries<'b, C>(d: &mut Decoder<'b>, context: &mut C) -> Result<Vec<EntryEvents>, DecodeError> {
    let (at, mut entries, mut events) = (d.position(), Vec::new(), 0_usize);
    for _ in 0..len_at_most::<MAX_TOLD_ENTRIES>(d)? {
        let of: EntryEvents = d.decode_with(context)?;
        events = events.saturating_add(of.events.len().max(of.owned.len()));
        if events > MAX_EVENTS {
            return Err(too_many(at));
        }
        entries.push(of);
    }
    Ok(entries)
}

/// The events of one entry, and which of them a tenant is told.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct EntryEvents {
    /// All sealed events of the entry, in order. May be left out if none of them is told.
    #[cbor(n(0), decode_with = "at_most::<MAX_EVENTS, _, _>")]
    pub events: Vec<ByteVec>,
    /// Those that the tenant is told, in order, each once.
    #[cbor(n(1), decode_with = "at_most::<MAX_EVENTS, _, _>")]
    pub owned: Vec<OwnedEvent>,
}

/// Whose an event is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct OwnedEvent {
    /// The how manieth of its entry it is, from 0 on.
    #[n(0)]
    pub place: u8,
    /// The user, as the tenant names them; at most [`MAX_NAME_BYTES`]. With the tenant's name, this gives the record's id.
    #[cbor(n(1), decode_with = "bytes_at_most::<MAX_NAME_BYTES, _>")]
    pub user: ByteVec,
    /// When the agent saw the request, in milliseconds since 1970: its word alone.
    #[n(2)]
    pub time: u64,
}

/// Events for a tenant's eyes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SealedEvents {
    /// The key that was drawn for them.
    #[n(0)]
    pub ephemeral: X25519Public,
    /// `nonce ‖ ciphertext ‖ tag` (XAES-256-GCM, C2SP) under the hash of the shared secret and both public keys.
    #[n(1)]
    pub sealed: ByteVec,
    /// The realm's checkpoint key over [`Self::digest`] (Ed25519): anybody can seal to a tenant, and only an HSM of the realm signs.
    #[n(2)]
    pub signature: ByteArray<64>,
}

impl SealedEvents {
    /// The 32 bytes that are signed: of which entry and those after it these are, for whom, and all that is sealed.
    #[must_use]
    pub fn digest(&self, realm: &RealmId, (group, index): (&GroupId, Index), to: &TenantKey) -> Digest {
        let (index, ephemeral) = (index.0.to_be_bytes(), self.ephemeral.as_bytes());
        let of: [&[u8]; 3] = [realm.as_bytes(), group.as_bytes(), &index];
        let what: [&[u8]; 4] = [&to.tenant, to.key.as_bytes(), ephemeral, &self.sealed];
        hash(label::TOLD, &[&of[..], &what].concat())
    }
}
