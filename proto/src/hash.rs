//! The one way in which Strongroom hashes and authenticates, but for the tree over a log ([`crate::tlog`]): BLAKE2s-256 (RFC 7693) over
//! `be4(len(label)) ‖ label ‖ be4(len(field)) ‖ field ‖ …`.
//!
//! Every label is written once, in [`label`], and carries a version. Two preimages under different labels, or with
//! fields of different lengths, are different byte strings, so no hash or MAC can be read as another kind. The one
//! exception is [`node`], which most hashes are: its label is a parameter of BLAKE2s instead.
//! `tests/preimages.golden` lists the preimage of each.

use crate::ids::{Digest, Mac};
use blake2::digest::{CustomizedInit, FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac256, Digest as _};

/// The labels of every hash, MAC and derived key that is not the client protocol's.
pub mod label {
    /// Hash of a log entry.
    pub const ENTRY: &str = "strongroom entry 1";
    /// MAC over a log entry's hash.
    pub const ENTRY_MAC: &str = "strongroom entry mac 1";
    /// Hash over the sealed events of an entry.
    pub const EVENTS: &str = "strongroom events 1";
    /// Hash of one sealed record.
    pub const SEALED: &str = "strongroom sealed 1";
    /// Hash of a leaf.
    pub const LEAF: &str = "strongroom leaf 1";
    /// Hash of an inner node: the first six bytes of a personalisation, see [`node`](super::node).
    pub const NODE: [u8; 6] = *b"node 2";
    /// Statement that a member has captured an entry.
    pub const CAPTURED: &str = "strongroom captured 1";
    /// Statement that a majority has captured an entry.
    pub const COMMITTED: &str = "strongroom committed 1";
    /// Statement of what a member has captured, made after a nonce was drawn.
    pub const FRESH: &str = "strongroom fresh 1";
    /// Statement of what the tree over a log is up to an entry.
    pub const HEAD: &str = "strongroom head 1";
    /// Statement that an entry comes before one that is committed.
    pub const PAST: &str = "strongroom past 1";
    /// Statement that a group has retired.
    pub const RETIRED: &str = "strongroom retired 1";
    /// Statement of a group and its members.
    pub const GROUP: &str = "strongroom group 1";
    /// Statement that an HSM holds the realm's keys.
    pub const MEMBER: &str = "strongroom realm member 1";
    /// What custodians sign to let a realm's seed leave for another HSM.
    pub const EXPORT: &str = "strongroom export approval 2";
    /// What custodians sign once a realm is made.
    pub const FOUNDING: &str = "strongroom founding 2";
    /// What they signed before it named the checkpoint key.
    pub const FOUNDING_1: &str = "strongroom founding 1";
    /// What custodians sign to have a tenant's events sealed to its key.
    pub const TENANT_KEY: &str = "strongroom tenant key 1";
    /// What an HSM signs of events that it has sealed to a tenant.
    pub const TOLD: &str = "strongroom told 2";
    /// Key that seals events to a tenant.
    pub const TENANT_EVENTS: &str = "strongroom tenant events 2";
    /// The chain over the requests on a record that counted.
    pub const ATTEMPT: &str = "strongroom attempt 1";
    /// What an HSM signs of that chain.
    pub const ATTEMPTS: &str = "strongroom attempts 1";
    /// What a vendor attests of a device.
    pub const DEVICE: &str = "strongroom device 1";
    /// The words that people compare; the first 66 bits are used.
    pub const FINGERPRINT: &str = "strongroom fingerprint 1";
    /// Key that seals a realm's seed to a device.
    pub const EXPORT_KEY: &str = "strongroom export key 1";
    /// Key derivation: the realm's Noise static key.
    pub const KEY_NOISE: &str = "strongroom key noise 1";
    /// Key derivation: sealing of records.
    pub const KEY_RECORDS: &str = "strongroom key records 1";
    /// Key derivation: sealing of events.
    pub const KEY_EVENTS: &str = "strongroom key events 1";
    /// Key derivation: entries and statements.
    pub const KEY_STATEMENTS: &str = "strongroom key statements 1";
    /// Key derivation: the Ed25519 key that signs checkpoints.
    pub const KEY_CHECKPOINTS: &str = "strongroom key checkpoints 1";
    /// Key derivation: record ids. This key is given to agents.
    pub const KEY_RECORD_IDS: &str = "strongroom key record ids 1";
    /// Key derivation: what agents recognise each other by. This key is given to agents.
    pub const KEY_AGENTS: &str = "strongroom key agents 1";
    /// Key of the certificate authority that agents derive from theirs.
    pub const AGENT_AUTHORITY: &str = "strongroom agent authority 1";
    /// A user's record id.
    pub const RECORD_ID: &str = "strongroom record id 1";
    /// Key that wraps a record's secrets once its last guess is charged.
    pub const LAST_GUESS_KEY: &str = "strongroom last guess key 1";
    /// Hash of an unlock key tag, kept once the last guess is charged.
    pub const LAST_GUESS_TAG: &str = "strongroom last guess tag 1";
    /// Check over a record in NVRAM; its first 8 bytes are used.
    pub const NVRAM: &str = "strongroom nvram record 1";
    /// Digest of a session's last request ciphertext.
    pub const LAST_REQUEST: &str = "strongroom last request 1";
    /// Seed of a device's random generator.
    pub const DRBG_SEED: &str = "strongroom drbg seed 1";
    /// Output and next key of a device's random generator.
    pub const DRBG: &str = "strongroom drbg 1";
}

/// BLAKE2s-256 of a labelled, length-prefixed preimage.
#[must_use]
pub fn hash(label: &str, fields: &[&[u8]]) -> Digest {
    let mut h = Blake2s256::new();
    absorb(label, fields, |bytes| Update::update(&mut h, bytes));
    Digest(h.finalize_fixed().into())
}

/// The hash of an inner node with `depth` bits above it: BLAKE2s-256 of the two digests, with `label ‖ be2(depth)` as its
/// personalisation (the BLAKE2 paper, section 2.8: bytes 24 to 31 of the parameter block, which are zeros in RFC 7693). Two
/// digests are one block of 64 bytes; a label and lengths before them would make it two.
///
/// All else is hashed with a personalisation of zeros. The parameters decide the state that BLAKE2s begins with, so this is
/// another function for each depth than for any other, and than that of every other hash and MAC.
#[must_use]
pub fn node(depth: u16, left: &Digest, right: &Digest) -> Digest {
    let [n, o, d, e, space, version] = label::NODE;
    let [high, low] = depth.to_be_bytes();
    let mut h = Blake2s256::new_customized(&[n, o, d, e, space, version, high, low]);
    Update::update(&mut h, &left.0);
    Update::update(&mut h, &right.0);
    Digest(h.finalize_fixed().into())
}

/// Keyed BLAKE2s-256 of a labelled, length-prefixed preimage.
#[must_use]
pub fn mac(key: &[u8; 32], label: &str, fields: &[&[u8]]) -> Mac {
    let mut m = Blake2sMac256::new(&(*key).into());
    absorb(label, fields, |bytes| Update::update(&mut m, bytes));
    Mac(Digest(m.finalize_fixed().into()))
}

/// Feeds the preimage of `label` and `fields` to `sink`, piece by piece.
/// A field is shorter than 4 GiB: what is hashed fits a frame or a segment.
pub fn absorb(label: &str, fields: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    let mut field = |bytes: &[u8]| {
        let len = u32::try_from(bytes.len());
        debug_assert!(len.is_ok(), "fields are bounded by the frame size");
        let len = len.unwrap_or(u32::MAX);
        sink(&len.to_be_bytes());
        sink(bytes);
    };
    field(label.as_bytes());
    fields.iter().for_each(|f| field(f));
}
