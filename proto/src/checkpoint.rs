//! What the public is told of a group's log: a checkpoint, signed with a key of the realm (C2SP tlog-checkpoint and
//! signed-note).

use crate::ids::{Digest, Ed25519Public, GroupId, Index, RealmId, TreeHash};
use alloc::format;
use alloc::string::String;
use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signer as _, SigningKey};
use minicbor::bytes::ByteArray;

/// What a checkpoint calls the log of a group, and the name of the key that signs it.
#[must_use]
pub fn origin(realm: &RealmId, group: &GroupId) -> String {
    format!("strongroom/{realm}/{group}")
}

/// The text that is signed: the origin, the number of leaves, and the root, a line each.
#[must_use]
pub fn body(realm: &RealmId, group: &GroupId, size: Index, root: &TreeHash) -> String {
    format!("{}\n{size}\n{}\n", origin(realm, group), Base64::encode_string(&root.0))
}

/// A realm's Ed25519 key (RFC 8032), which signs checkpoints, and what tenants are told. Wipes itself.
// Secret: whoever has it can make checkpoints of logs that no HSM has, and tell tenants what never happened.
#[derive(Clone)]
pub struct CheckpointKey(SigningKey);

impl CheckpointKey {
    /// The key of this seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> Ed25519Public {
        Ed25519Public(self.0.verifying_key().to_bytes())
    }

    /// Signs a [`body`].
    #[must_use]
    pub fn sign(&self, body: &str) -> ByteArray<64> {
        self.0.sign(body.as_bytes()).to_bytes().into()
    }

    /// Signs a digest of 32 bytes, which no [`body`] is as short as.
    #[must_use]
    pub fn sign_digest(&self, digest: &Digest) -> ByteArray<64> {
        self.0.sign(digest.as_bytes()).to_bytes().into()
    }
}
