//! The key of a tenant: what custodians sign of it, and the secret that opens its events.

use crate::page::folder;
use ed25519_dalek::{Signature, VerifyingKey};
use minicbor::{Decode, Encode};
use strongroom_proto::enrolment::{CustodianSignature, MAX_CUSTODIANS, RealmPolicy};
use strongroom_proto::events::{SealedEvents, TenantKey};
use strongroom_proto::ids::{Ed25519Public, GroupId, Index, RealmId, X25519Public};
use x25519_dalek::{PublicKey, StaticSecret};

/// Where a tenant's signed key lies in the store.
#[must_use]
pub fn key_object(realm: &RealmId, tenant: &str) -> String {
    format!("{}/key", folder(realm, tenant))
}

/// A tenant's public key with custodians' signatures over it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SignedKey {
    /// What they signed.
    #[n(0)]
    pub key: TenantKey,
    /// Their signatures over [`TenantKey::digest`].
    #[n(1)]
    pub signatures: Vec<CustodianSignature>,
}

impl SignedKey {
    /// The bytes under [`key_object`].
    ///
    /// # Panics
    /// Never: a vector takes all bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes all bytes")
    }

    /// Reads a key of this tenant that takes up all of `bytes`. Whether it counts is for [`Self::is_signed`], and an HSM, to say.
    #[must_use]
    pub fn decode(tenant: &str, bytes: &[u8]) -> Option<Self> {
        let mut d = minicbor::Decoder::new(bytes);
        let key: Self = d.decode().ok()?;
        let whole = d.position() == bytes.len() && key.signatures.len() <= MAX_CUSTODIANS;
        (whole && key.key.tenant.as_slice() == tenant.as_bytes()).then_some(key)
    }

    /// Whether enough of the realm's custodians signed it.
    #[must_use]
    pub fn is_signed(&self, realm: &RealmId, policy: &RealmPolicy) -> bool {
        policy.is_signed(&self.key.digest(realm), &self.signatures)
    }
}

/// Whether anything can be sealed to this key: a point of small order is nobody's, and everybody could open it.
#[must_use]
pub fn is_usable(key: &X25519Public) -> bool {
    // Any secret tells.
    StaticSecret::from([1; 32]).diffie_hellman(&PublicKey::from(key.0)).was_contributory()
}

/// What opens a tenant's events: an X25519 secret key (RFC 7748), 32 bytes. Wipes itself.
// Secret: whoever has it can read all that was ever sealed to the tenant.
#[derive(Clone)]
pub struct TenantSecret(StaticSecret);

impl TenantSecret {
    /// The key of these bytes, which are drawn at random.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> X25519Public {
        X25519Public(PublicKey::from(&self.0).to_bytes())
    }

    pub(crate) fn shared(&self, theirs: &X25519Public) -> Option<x25519_dalek::SharedSecret> {
        let shared = self.0.diffie_hellman(&PublicKey::from(theirs.0));
        shared.was_contributory().then_some(shared)
    }
}

/// Nothing of it.
impl std::fmt::Debug for TenantSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantSecret").finish_non_exhaustive()
    }
}

/// A tenant that reads: its name, its secret, and whom it believes.
#[derive(Clone, Debug)]
pub struct Tenant {
    key: TenantKey,
    secret: TenantSecret,
    by: Ed25519Public,
}

impl Tenant {
    /// The tenant of this name, which believes what is signed with this key: the realm's checkpoint key, which is in its founding and in the
    /// statement of its custodians. One from the store says nothing.
    #[must_use]
    pub fn new(name: &str, secret: TenantSecret, by: Ed25519Public) -> Self {
        let key = TenantKey { tenant: name.as_bytes().to_vec().into(), key: secret.public() };
        Self { key, secret, by }
    }

    /// Its public key.
    #[must_use]
    pub const fn public(&self) -> &X25519Public {
        &self.key.key
    }

    pub(crate) const fn secret(&self) -> &TenantSecret {
        &self.secret
    }

    /// Whether an HSM of the realm sealed this, for this tenant, of this entry.
    pub(crate) fn believes(&self, realm: &RealmId, of: (&GroupId, Index), sealed: &SealedEvents) -> bool {
        let digest = sealed.digest(realm, of, &self.key);
        let signature = Signature::from_bytes(&sealed.signature);
        let by = VerifyingKey::from_bytes(&self.by.0).ok().filter(|by| !by.is_weak());
        by.is_some_and(|by| by.verify_strict(digest.as_bytes(), &signature).is_ok())
    }
}
