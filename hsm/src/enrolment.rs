//! How this HSM gets a realm's seed, and gives it to another: made here, or carried from one HSM to the next.
//!
//! Trusts the custodians that a policy names, k of them together, and nobody else: no host, no exporter. That a seed is
//! sealed to a device key proves nothing about where it came from, because anybody can seal to that key. So an importer
//! believes the signatures inside: k custodians of the policy in the approval must have approved that policy and the
//! public key that follows from the seed, for this device, its build, and a nonce drawn here and used once. A host that
//! makes a seed of its own has no such signatures; and a realm under its own policy has a different public key from the
//! one that custodians gave to clients. An exporter checks the same, against its own nonce.
//!
//! What custodians compare before they sign is shown on the device's own console ([`Env::show`]).

use crate::core::{Attestations, Core};
use crate::env::Env;
use crate::exact;
use crate::keys::{Keys, Seed};
use crate::seal;
use crate::state::Realm;
use alloc::vec::Vec;
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use rand_core::{CryptoRng, Rng as _};
use strongroom_proto::bounded::at_most;
use strongroom_proto::enrolment::{
    Attestation, CustodianSignature, DRAWN_HERE, DeviceIdentity, ExportApproval, Founding, MAX_CUSTODIANS,
    RealmPolicy, SealedRealm,
};
use strongroom_proto::hash::{hash, label};
use strongroom_proto::hsm::{Origin, Refusal, Reply};
use strongroom_proto::ids::{HsmId, Nonce, RealmId, X25519Public};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// The version of what is sealed for an importer.
const VERSION: u8 = 2;
/// More than what is sealed can take, the longest attestation included: the buffer must not grow while encoding, which
/// would leave the seed behind in freed memory.
const MAX_EXPORTED_BYTES: usize = 4096;

impl Core {
    fn identity(&self) -> DeviceIdentity {
        DeviceIdentity { hsm: self.state.hsm, device_key: self.state.device_key(), build: self.config.build }
    }

    /// Shows on the console who this is and which realm it holds, and has the vendor attest the same.
    pub(crate) fn introduce<E: Env>(&mut self, env: &mut E) {
        let identity = self.identity();
        let device = env.attest(&identity.digest()).bounded();
        identity.parts().iter().for_each(|part| env.show(format_args!("{part}")));
        if device.is_none() {
            env.show(format_args!(
                "no vendor attests this device: whoever can write to this console can be it"
            ));
        }
        let realm = self.state.realm.as_ref().zip(self.keys.as_ref()).map(|(realm, keys)| Founding {
            realm: realm.id,
            public_key: keys.noise_public(),
            policy: realm.policy.clone(),
            hsm: identity.hsm,
            build: identity.build,
            checkpoint_key: Some(keys.checkpoints.public()),
        });
        let origin = self.state.realm.as_ref().map_or(Origin::Unknown, |realm| realm.origin);
        let realm = realm.map_or_else(Attestation::none, |founding| {
            // Id and build are shown above.
            founding.parts().iter().skip(2).for_each(|part| env.show(format_args!("{part}")));
            match founding.policy.threshold {
                0 => env.show(format_args!("the realm can never leave this HSM")),
                k => {
                    let custodians = founding.policy.custodians.len();
                    env.show(format_args!("{k} of {custodians} custodians let the realm leave"));
                }
            }
            match origin {
                Origin::MadeHere => {
                    env.show(format_args!("keys            {DRAWN_HERE}"));
                    env.attest(&founding.digest()).bounded()
                }
                Origin::Imported { exporter, .. } => {
                    let [from, ..] = DeviceIdentity { hsm: exporter, ..identity }.parts();
                    env.show(format_args!("keys            imported from the HSM {}", from.words));
                    Attestation::none()
                }
                Origin::Unknown => {
                    env.show(format_args!(
                        "keys            of unknown origin: sign no founding of this realm"
                    ));
                    Attestation::none()
                }
            }
        });
        self.attestations = Attestations { device, realm };
    }

    pub(crate) fn new_realm<E: Env>(&mut self, env: &mut E, policy: RealmPolicy) -> Result<Reply, Refusal> {
        if self.state.realm.is_some() {
            return Err(Refusal::HasRealm);
        }
        if !policy.is_valid() {
            return Err(Refusal::BadPolicy);
        }
        let mut id = RealmId([0; 16]);
        env.rng().fill_bytes(&mut id.0);
        let seed = Seed::draw(env.rng());
        let keys = Keys::derive(id, &seed);
        self.enter_realm(env, Realm::new(id, &seed, policy, true, Origin::MadeHere), keys)
    }

    fn enter_realm<E: Env>(&mut self, env: &mut E, realm: Realm, keys: Keys) -> Result<Reply, Refusal> {
        let mut state = self.state.clone();
        state.realm = Some(realm);
        self.write_state(env, state)?;
        self.keys = Some(keys);
        self.import_nonce = None;
        self.introduce(env);
        Ok(self.status())
    }

    pub(crate) fn draw_export_nonce<E: Env>(&mut self, env: &mut E) -> Result<Reply, Refusal> {
        self.keys()?;
        let nonce = draw_nonce(env);
        self.export_nonce = Some(nonce);
        Ok(Reply::ExportNonce(nonce))
    }

    pub(crate) fn draw_import_nonce<E: Env>(&mut self, env: &mut E) -> Result<Reply, Refusal> {
        if self.state.realm.is_some() {
            return Err(Refusal::HasRealm);
        }
        let nonce = draw_nonce(env);
        self.import_nonce = Some(nonce);
        Ok(Reply::ImportNonce(nonce))
    }

    pub(crate) fn export_realm<E: Env>(
        &mut self,
        env: &mut E,
        approval: ExportApproval,
        signatures: Vec<CustodianSignature>,
    ) -> Result<Reply, Refusal> {
        let (realm, keys) = (self.state.realm.as_ref().ok_or(Refusal::NoRealm)?, self.keys()?);
        if self.export_nonce != Some(approval.exporter_nonce) {
            return Err(Refusal::StaleNonce);
        }
        let for_this = approval.realm == realm.id
            && approval.public_key == keys.noise_public()
            && approval.policy == realm.policy
            && approval.exporter == self.state.hsm
            && approval.exporter_build == self.config.build;
        if !for_this || signers(&realm.policy, &approval, &signatures).is_none() {
            return Err(Refusal::NotApproved);
        }
        let exported = Exported { version: VERSION, seed: realm.seed().0.into(), approval, signatures };
        let sealed = exported.seal(env.rng()).ok_or(Refusal::NotApproved)?;
        self.export_nonce = None;
        Ok(Reply::Exported(sealed))
    }

    pub(crate) fn join_realm<E: Env>(&mut self, env: &mut E, sealed: &SealedRealm) -> Result<Reply, Refusal> {
        if self.state.realm.is_some() {
            return Err(Refusal::HasRealm);
        }
        let exported = Exported::unseal(sealed, self.state.hsm, &self.state.device_secret())
            .ok_or(Refusal::NotForThisDevice)?;
        let Exported { approval, signatures, .. } = &exported;
        let policy = &approval.policy;
        if !policy.is_valid() {
            return Err(Refusal::BadPolicy);
        }
        let named = (approval.realm, approval.exporter) == (sealed.realm, sealed.exporter);
        if !named || approval.importer() != self.identity() {
            return Err(Refusal::NotForThisDevice);
        }
        if self.import_nonce != Some(approval.importer_nonce) {
            return Err(Refusal::StaleNonce);
        }
        let signers = signers(policy, approval, signatures).ok_or(Refusal::NotApproved)?;
        let seed = Seed(*exported.seed);
        let keys = Keys::derive(sealed.realm, &seed);
        if keys.noise_public() != approval.public_key {
            return Err(Refusal::OtherSeed);
        }
        let origin = Origin::Imported { exporter: sealed.exporter, signers };
        self.enter_realm(env, Realm::new(sealed.realm, &seed, policy.clone(), false, origin), keys)
    }
}

/// Which custodians of the policy signed exactly this approval, if there are enough of them; bit i for the i-th.
fn signers(
    policy: &RealmPolicy,
    approval: &ExportApproval,
    signatures: &[CustodianSignature],
) -> Option<u16> {
    let signers = policy.signers(&approval.digest(), signatures);
    policy.is_enough(signers).then_some(signers)
}

fn draw_nonce<E: Env>(env: &mut E) -> Nonce {
    let mut nonce = Nonce([0; 16]);
    env.rng().fill_bytes(&mut nonce.0);
    nonce
}

/// What travels from one HSM to another.
// Secret: the realm's seed; in the clear only inside HSMs.
#[derive(Encode, Decode)]
struct Exported {
    #[n(0)]
    version: u8,
    #[n(1)]
    seed: ByteArray<32>,
    #[n(2)]
    approval: ExportApproval,
    #[cbor(n(3), decode_with = "at_most::<MAX_CUSTODIANS, _, _>")]
    signatures: Vec<CustodianSignature>,
}

impl Drop for Exported {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut *self.seed);
    }
}

impl Exported {
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_EXPORTED_BYTES));
        minicbor::encode(self, &mut *bytes).ok()?;
        debug_assert!(bytes.len() <= MAX_EXPORTED_BYTES, "the longest is pinned by a test");
        Some(bytes)
    }

    fn seal(&self, rng: &mut impl CryptoRng) -> Option<SealedRealm> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let secret = StaticSecret::from(*secret);
        let ephemeral = X25519Public(PublicKey::from(&secret).to_bytes());
        let ExportApproval { realm, exporter, importer, device_key, .. } = &self.approval;
        let key = sealing_key(label::EXPORT_KEY, &secret, device_key, (&ephemeral, device_key))?;
        let context = export_context(realm, exporter, importer);
        let sealed = seal::seal(&key, &context, &self.encode()?, rng).into();
        Some(SealedRealm { realm: *realm, exporter: *exporter, ephemeral, sealed })
    }

    /// Opens what was sealed for `importer`. Another version, an extra or missing field, and trailing bytes are
    /// refused.
    fn unseal(sealed: &SealedRealm, importer: HsmId, device_secret: &StaticSecret) -> Option<Self> {
        let device_key = X25519Public(PublicKey::from(device_secret).to_bytes());
        let ephemeral = &sealed.ephemeral;
        let key = sealing_key(label::EXPORT_KEY, device_secret, ephemeral, (ephemeral, &device_key))?;
        let context = export_context(&sealed.realm, &sealed.exporter, &importer);
        let plaintext = seal::unseal(&key, &context, &sealed.sealed).ok()?;
        exact::decode::<Self>(&plaintext).filter(|exported| exported.version == VERSION)
    }
}

/// The key for what is sealed from an ephemeral key to one that lasts, from the secrets of either side.
pub(crate) fn sealing_key(
    label: &str,
    ours: &StaticSecret,
    theirs: &X25519Public,
    (ephemeral, lasting): (&X25519Public, &X25519Public),
) -> Option<Zeroizing<[u8; 32]>> {
    let shared = ours.diffie_hellman(&PublicKey::from(theirs.0));
    // A point of small order gives a secret that everybody knows.
    shared
        .was_contributory()
        .then(|| Zeroizing::new(hash(label, &[shared.as_bytes(), &ephemeral.0, &lasting.0]).0))
}

fn export_context(realm: &RealmId, exporter: &HsmId, importer: &HsmId) -> Vec<u8> {
    [realm.0, exporter.0, importer.0].concat()
}
