//! Making and joining realms and groups.
//!
//! Keeps invariant 3, *members are fixed inside*: a group's members come from a group statement and nowhere else. The
//! seed leaves only sealed to a device key that enough custodians approved, under a nonce drawn here and used once.

use crate::bug::Bug;
use crate::core::Core;
use crate::env::Env;
use crate::keys::{Keys, Seed};
use crate::seal;
use crate::state::{Group, Realm};
use alloc::vec::Vec;
use ed25519_dalek::{Signature, VerifyingKey};
use minicbor::{Decode, Encode};
use rand_core::Rng as _;
use strongroom_proto::hash::{hash, label};
use strongroom_proto::hsm::{
    ApprovalSignature, CustodianKey, CustodianPolicy, ExportApproval, MAX_GROUPS, Refusal, Reply, SealedRealm,
};
use strongroom_proto::ids::{Digest, GroupId, HsmId, Nonce, RealmId, X25519Public};
use strongroom_proto::statement::{GroupStatement, MemberStatement};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

impl Core {
    pub(crate) fn new_realm<E: Env>(
        &mut self,
        env: &mut E,
        policy: CustodianPolicy,
    ) -> Result<Reply, Refusal> {
        if self.state.realm.is_some() {
            return Err(Refusal::HasRealm);
        }
        if !policy.is_valid() || !policy.custodians.iter().all(|k| verifying_key(k).is_some()) {
            return Err(Refusal::BadPolicy);
        }
        let mut id = RealmId([0; 16]);
        env.rng().fill_bytes(&mut id.0);
        let seed = Seed::draw(env.rng());
        self.enter_realm(env, Realm::new(id, &seed, policy, true), &seed)
    }

    fn enter_realm<E: Env>(&mut self, env: &mut E, realm: Realm, seed: &Seed) -> Result<Reply, Refusal> {
        let keys = Keys::derive(realm.id, seed);
        let mut state = self.state.clone();
        state.realm = Some(realm);
        self.write_state(env, state)?;
        self.keys = Some(keys);
        Ok(self.status())
    }

    pub(crate) fn draw_export_nonce<E: Env>(&mut self, env: &mut E) -> Result<Reply, Refusal> {
        self.keys()?;
        let mut nonce = Nonce([0; 16]);
        env.rng().fill_bytes(&mut nonce.0);
        self.export_nonce = Some(nonce);
        Ok(Reply::ExportNonce(nonce))
    }

    pub(crate) fn export_realm<E: Env>(
        &mut self,
        env: &mut E,
        approval: &ExportApproval,
        signatures: &[ApprovalSignature],
    ) -> Result<Reply, Refusal> {
        let realm = self.state.realm.as_ref().ok_or(Refusal::NoRealm)?;
        if self.export_nonce != Some(approval.nonce) && !self.bugs.has(Bug::ExportAnyNonce) {
            return Err(Refusal::StaleNonce);
        }
        let for_this = approval.realm == realm.id
            && (approval.exporter == self.state.hsm || self.bugs.has(Bug::ExportForAnother));
        if !for_this || !self.is_approved(&realm.policy, approval, signatures) {
            return Err(Refusal::NotApproved);
        }
        let exported = Exported { seed: realm.seed().0.into(), policy: realm.policy.clone() };
        let sealed = exported.seal(approval, env.rng()).ok_or(Refusal::NotApproved)?;
        if !self.bugs.has(Bug::ExportNonceTwice) {
            self.export_nonce = None;
        }
        Ok(Reply::Exported(sealed))
    }

    /// Whether at least `threshold` different custodians signed exactly this approval.
    fn is_approved(
        &self,
        policy: &CustodianPolicy,
        approval: &ExportApproval,
        signatures: &[ApprovalSignature],
    ) -> bool {
        if self.bugs.has(Bug::ExportUnapproved) {
            return true;
        }
        let digest = approval.digest();
        let signed = |s: &&ApprovalSignature| is_signed(s, &digest);
        let valid: Vec<CustodianKey> = signatures.iter().filter(signed).map(|s| s.custodian).collect();
        let approving = if self.bugs.has(Bug::CustodianStrangers) {
            valid.iter().enumerate().filter(|(i, k)| !valid.iter().take(*i).any(|o| o == *k)).count()
        } else if self.bugs.has(Bug::CustodianTwice) {
            valid.len()
        } else {
            policy.custodians.iter().filter(|k| valid.contains(k)).count()
        };
        policy.threshold >= 1 && approving >= usize::from(policy.threshold)
    }

    pub(crate) fn join_realm<E: Env>(&mut self, env: &mut E, sealed: &SealedRealm) -> Result<Reply, Refusal> {
        if self.state.realm.is_some() && !self.bugs.has(Bug::JoinRealmAgain) {
            return Err(Refusal::HasRealm);
        }
        let exported = Exported::unseal(sealed, self.state.hsm, &self.state.device_secret())
            .ok_or(Refusal::NotForThisDevice)?;
        if !exported.policy.is_valid() {
            return Err(Refusal::BadPolicy);
        }
        let seed = Seed(*exported.seed);
        let unassigned = self.bugs.has(Bug::ImportedUnassigned);
        let realm = Realm::new(sealed.realm, &seed, exported.policy.clone(), unassigned);
        self.enter_realm(env, realm, &seed)
    }

    pub(crate) fn new_group<E: Env>(
        &mut self,
        env: &mut E,
        members: &[MemberStatement],
    ) -> Result<Reply, Refusal> {
        let keys = self.keys()?;
        let authentic = members.iter().all(|m| m.is_authentic(&keys.statements, &keys.realm));
        if !authentic && !self.bugs.has(Bug::AnyMemberStatement) {
            return Err(Refusal::NotAuthentic);
        }
        let ids: Vec<HsmId> = members.iter().map(|m| m.hsm).collect();
        self.check_members(&ids)?;
        let mut state = self.state.clone();
        let realm = state.realm.as_mut().ok_or(Refusal::NoRealm)?;
        // The flag and the group that uses it change in one write (invariant 11).
        let unassigned = core::mem::replace(&mut realm.unassigned, self.bugs.has(Bug::GenesisInTwoWrites));
        let genesis = unassigned || self.bugs.has(Bug::GenesisTwice);
        let mut id = GroupId([0; 16]);
        env.rng().fill_bytes(&mut id.0);
        let statement = GroupStatement::new(&keys.statements, &keys.realm, id, ids, genesis);
        state.groups.push(Group::new(statement.clone()));
        self.write_state(env, state)?;
        if self.bugs.has(Bug::GenesisInTwoWrites) {
            let mut state = self.state.clone();
            state.realm.as_mut().ok_or(Refusal::NoRealm)?.unassigned = false;
            self.write_state(env, state)?;
        }
        Ok(Reply::Group(statement))
    }

    pub(crate) fn join_group<E: Env>(
        &mut self,
        env: &mut E,
        statement: GroupStatement,
    ) -> Result<Reply, Refusal> {
        let keys = self.keys()?;
        let authentic = statement.is_authentic(&keys.statements, &keys.realm);
        if !authentic && !self.bugs.has(Bug::JoinAnyMembers) {
            return Err(Refusal::NotAuthentic);
        }
        if self.slot(&statement.group).is_ok() && !self.bugs.has(Bug::JoinGroupAgain) {
            return Err(Refusal::AlreadyJoined);
        }
        self.check_members(&statement.members)?;
        let mut state = self.state.clone();
        if self.bugs.has(Bug::JoinGroupAgain) {
            state.groups.retain(|group| group.id != statement.group);
        }
        state.groups.push(Group::new(statement.clone()));
        self.write_state(env, state)?;
        Ok(Reply::Group(statement))
    }

    fn check_members(&self, ids: &[HsmId]) -> Result<(), Refusal> {
        let distinct = || ids.iter().enumerate().all(|(i, id)| !ids.iter().take(i).any(|o| o == id));
        let named = ids.contains(&self.state.hsm) || self.bugs.has(Bug::JoinUnnamed);
        if !distinct() || !named {
            return Err(Refusal::BadMembers);
        }
        if self.state.groups.len() >= MAX_GROUPS { Err(Refusal::NoRoomForGroup) } else { Ok(()) }
    }
}

fn verifying_key(key: &CustodianKey) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(key.0.as_bytes()).ok().filter(|k| !k.is_weak())
}

fn is_signed(signature: &ApprovalSignature, digest: &Digest) -> bool {
    let key = verifying_key(&signature.custodian);
    let signature = Signature::from_slice(&signature.signature).ok();
    key.zip(signature)
        .is_some_and(|(key, signature)| key.verify_strict(digest.as_bytes(), &signature).is_ok())
}

/// What travels from one HSM to another.
// Secret: the realm's seed; in the clear only inside HSMs.
#[derive(Encode, Decode)]
struct Exported {
    #[n(0)]
    seed: minicbor::bytes::ByteArray<32>,
    #[n(1)]
    policy: CustodianPolicy,
}

impl Drop for Exported {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut *self.seed);
    }
}

impl Exported {
    fn seal(&self, approval: &ExportApproval, rng: &mut impl rand_core::CryptoRng) -> Option<SealedRealm> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let secret = StaticSecret::from(*secret);
        let ephemeral = X25519Public(PublicKey::from(&secret).to_bytes());
        let (realm, exporter) = (approval.realm, approval.exporter);
        let key = export_key(&secret, &approval.device_key, &ephemeral, &approval.device_key)?;
        let context = export_context(&realm, &exporter, &approval.importer);
        let mut plaintext = Zeroizing::new(Vec::with_capacity(512));
        minicbor::encode(self, &mut *plaintext).ok()?;
        let sealed = seal::seal(&key, &context, &plaintext, rng).into();
        Some(SealedRealm { realm, exporter, ephemeral, sealed })
    }

    fn unseal(sealed: &SealedRealm, importer: HsmId, device_secret: &StaticSecret) -> Option<Self> {
        let device_key = X25519Public(PublicKey::from(device_secret).to_bytes());
        let key = export_key(device_secret, &sealed.ephemeral, &sealed.ephemeral, &device_key)?;
        let context = export_context(&sealed.realm, &sealed.exporter, &importer);
        let plaintext = seal::unseal(&key, &context, &sealed.sealed).ok()?;
        minicbor::decode(&plaintext).ok()
    }
}

fn export_key(
    ours: &StaticSecret,
    theirs: &X25519Public,
    ephemeral: &X25519Public,
    device: &X25519Public,
) -> Option<Zeroizing<[u8; 32]>> {
    let shared = ours.diffie_hellman(&PublicKey::from(theirs.0));
    // A point of small order gives a secret that everybody knows.
    shared
        .was_contributory()
        .then(|| Zeroizing::new(hash(label::EXPORT_KEY, &[shared.as_bytes(), &ephemeral.0, &device.0]).0))
}

fn export_context(realm: &RealmId, exporter: &HsmId, importer: &HsmId) -> Vec<u8> {
    [realm.0, exporter.0, importer.0].concat()
}
