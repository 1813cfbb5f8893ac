//! Attacks on who holds the seed, and whose seed an HSM takes.
//!
//! Anybody can seal to a device key, which is public: [`Host`] does it as an HSM would, with whatever inside.

use super::common::{Device, Rig};
use ed25519_dalek::SigningKey;
use strongroom_hsm::Config;
use strongroom_hsm_planted::Bug;
use strongroom_proto::enrolment::{
    Attestation, CustodianSignature, ExportApproval, RealmPolicy, SealedRealm,
};
use strongroom_proto::hash::{hash, label, mac};
use strongroom_proto::hsm::{DeviceStatus, Reply, Request};
use strongroom_proto::ids::{BuildDigest, HsmId, Nonce, RealmId, X25519Public};
use strongroom_proto::noise::StaticKey;
use strongroom_testkit::founding::{custodian_key, sign};
use x25519_dalek::{PublicKey, StaticSecret};
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{Aead, KeyInit, Payload};

/// What the host puts into a sealed realm.
struct Host {
    version: u8,
    seed: [u8; 32],
    approval: ExportApproval,
    signatures: Vec<CustodianSignature>,
    /// Bytes behind all that.
    more: &'static [u8],
}

impl Host {
    /// A realm of the host's own, for this device: policy and approval are in order but for the signatures.
    fn new(to: &DeviceStatus, importer_nonce: Nonce, policy: RealmPolicy) -> Self {
        let (realm, seed) = (RealmId([0x68; 16]), [0x68; 32]);
        let noise = mac(&seed, label::KEY_NOISE, &[realm.as_bytes()]).0;
        let approval = ExportApproval {
            realm,
            public_key: StaticKey::from_secret(&noise.0).public(),
            exporter: HsmId([0x68; 16]),
            exporter_build: BuildDigest([0; 32]),
            exporter_nonce: Nonce([0x68; 16]),
            importer: to.hsm,
            device_key: to.device_key,
            importer_build: to.build,
            importer_nonce,
            attestation: Attestation::none(),
            policy,
        };
        Self { version: 2, seed, approval, signatures: Vec::new(), more: &[] }
    }

    fn seal(&self) -> SealedRealm {
        self.seal_as_from(self.approval.exporter)
    }

    /// As if from this exporter.
    fn seal_as_from(&self, exporter: HsmId) -> SealedRealm {
        let secret = StaticSecret::from([0x68; 32]);
        let ephemeral = PublicKey::from(&secret).to_bytes();
        let ExportApproval { realm, importer, device_key, .. } = self.approval.clone();
        let shared = secret.diffie_hellman(&PublicKey::from(device_key.0));
        let key = hash(label::EXPORT_KEY, &[shared.as_bytes(), &ephemeral, &device_key.0]).0;
        let mut plaintext = Vec::new();
        let mut encoder = minicbor::Encoder::new(&mut plaintext);
        encoder.array(4).unwrap().u8(self.version).unwrap().bytes(&self.seed).unwrap();
        encoder.encode(&self.approval).unwrap().encode(&self.signatures).unwrap();
        plaintext.extend_from_slice(self.more);
        let context = [realm.0, exporter.0, importer.0].concat();
        let (nonce, payload) = ([0x68; 24], Payload { msg: &plaintext, aad: &context });
        let ciphertext = Xaes256Gcm::new(&key.into()).encrypt(&nonce.into(), payload).unwrap();
        let sealed = [&nonce[..], &ciphertext].concat().into();
        SealedRealm { realm, exporter, ephemeral: X25519Public(ephemeral), sealed }
    }
}

fn new_device(bug: Option<Bug>) -> (Device, DeviceStatus, Nonce) {
    let mut device = Device::new(9, bug, Config::software());
    let (status, nonce) = (device.status(), device.import_nonce());
    (device, status, nonce)
}

fn takes(device: &mut Device, sealed: SealedRealm) -> bool {
    matches!(device.ask(&Request::JoinRealm(sealed)), Reply::Device(_))
}

fn exports(rig: &mut Rig, approval: ExportApproval, signatures: Vec<CustodianSignature>) -> bool {
    matches!(rig.devices[0].ask(&Request::ExportRealm(approval, signatures)), Reply::Exported(_))
}

/// Status then shows honest names, and every record opens to the host.
pub(super) fn seed_of_the_hosts_under_the_names_of_honest_custodians(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, None);
    let (mut device, status, nonce) = new_device(bug);
    let policy = rig.devices[0].status().realm.expect("made").policy;
    let mut host = Host::new(&status, nonce, policy);
    // One of the two that it takes is the host's, or was fooled.
    host.signatures = vec![sign(&rig.custodians[0], &host.approval.digest())];
    takes(&mut device, host.seal())
}

pub(super) fn seed_of_the_hosts_behind_an_approval_of_the_true_one(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, None);
    let (mut device, status, nonce) = new_device(bug);
    let approval = rig.approval_for(&status, nonce);
    let policy = rig.devices[0].status().realm.expect("made").policy;
    let signatures = vec![rig.sign(0, &approval), rig.sign(1, &approval)];
    let host = Host { approval, signatures, ..Host::new(&status, nonce, policy) };
    takes(&mut device, host.seal())
}

/// The custodians were told of a build that they trust; the device runs another one.
pub(super) fn import_on_an_approval_of_another_build(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, None);
    let (mut device, status, nonce) = new_device(bug);
    let told = DeviceStatus { build: BuildDigest([7; 32]), ..status };
    let approval = rig.approval_for(&told, nonce);
    let sealed = rig.export(approval);
    takes(&mut device, sealed)
}

/// Approved for today, kept, and used on a device that has changed hands since.
pub(super) fn import_on_an_approval_from_before_a_restart(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, None);
    let (mut device, status, nonce) = new_device(bug);
    let approval = rig.approval_for(&status, nonce);
    let sealed = rig.export(approval);
    device.restart();
    let again = device.import_nonce();
    assert_ne!(again, nonce);
    takes(&mut device, sealed)
}

pub(super) fn seed_under_a_policy_that_names_one_custodian_twice(bug: Option<Bug>) -> bool {
    let rig = Rig::new(1, None);
    let (mut device, status, nonce) = new_device(bug);
    let twice = custodian_key(&rig.custodians[0]);
    let policy = RealmPolicy { custodians: vec![twice, twice], threshold: 2, smallest_group: None };
    let mut host = Host::new(&status, nonce, policy);
    host.signatures = vec![sign(&rig.custodians[0], &host.approval.digest())];
    takes(&mut device, host.seal())
}

/// What this build does not know of would be dropped from it in silence.
pub(super) fn sealed_realm_of_a_newer_version(bug: Option<Bug>) -> bool {
    [(3, &[][..]), (2, &[0])].into_iter().all(|(version, more)| {
        let custodian = SigningKey::from_bytes(&[1; 32]);
        let (mut device, status, nonce) = new_device(bug);
        let policy =
            RealmPolicy { custodians: vec![custodian_key(&custodian)], threshold: 1, smallest_group: None };
        let mut host = Host { version, more, ..Host::new(&status, nonce, policy) };
        host.signatures = vec![sign(&custodian, &host.approval.digest())];
        takes(&mut device, host.seal())
    })
}

/// Status would name an exporter that no custodian approved.
pub(super) fn import_said_to_be_from_another_exporter(bug: Option<Bug>) -> bool {
    let custodian = SigningKey::from_bytes(&[1; 32]);
    let (mut device, status, nonce) = new_device(bug);
    let policy =
        RealmPolicy { custodians: vec![custodian_key(&custodian)], threshold: 1, smallest_group: None };
    let mut host = Host::new(&status, nonce, policy);
    host.signatures = vec![sign(&custodian, &host.approval.digest())];
    takes(&mut device, host.seal_as_from(HsmId([9; 16])))
}

/// The result of a key agreement with a point of small order is zero, whoever agrees.
pub(super) fn export_to_a_key_that_gives_everybody_the_secret(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    let (_, status, nonce) = new_device(None);
    let told = DeviceStatus { device_key: X25519Public([0; 32]), ..status };
    let approval = rig.approval_for(&told, nonce);
    let signatures = vec![rig.sign(0, &approval), rig.sign(1, &approval)];
    let Reply::Exported(sealed) = rig.devices[0].ask(&Request::ExportRealm(approval.clone(), signatures))
    else {
        return false;
    };
    let key = hash(label::EXPORT_KEY, &[&[0; 32], &sealed.ephemeral.0, &[0; 32]]).0;
    let context = [approval.realm.0, approval.exporter.0, approval.importer.0].concat();
    let (nonce, msg) = sealed.sealed.split_first_chunk::<24>().expect("a nonce");
    Xaes256Gcm::new(&key.into()).decrypt(&(*nonce).into(), Payload { msg, aad: &context }).is_ok()
}

pub(super) fn export_to_a_key_that_no_custodian_approved(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let approved = rig.approval(1);
    let signatures = vec![rig.sign(0, &approved), rig.sign(1, &approved)];
    let mut hosts_own = approved;
    hosts_own.device_key.0 = [9; 32];
    matches!(rig.devices[0].ask(&Request::ExportRealm(hosts_own, signatures)), Reply::Exported(_))
}

pub(super) fn export_twice_on_one_approval(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let approval = rig.approval(1);
    let signatures = vec![rig.sign(0, &approval), rig.sign(1, &approval)];
    let request = Request::ExportRealm(approval, signatures);
    let first = rig.devices[0].ask(&request);
    assert!(matches!(first, Reply::Exported(_)));
    matches!(rig.devices[0].ask(&request), Reply::Exported(_))
}

pub(super) fn export_with_one_custodian_signing_twice(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let approval = rig.approval(1);
    let once: CustodianSignature = rig.sign(1, &approval);
    assert_eq!(once.custodian, custodian_key(&rig.custodians[1]));
    let request = Request::ExportRealm(approval, vec![once.clone(), once]);
    matches!(rig.devices[0].ask(&request), Reply::Exported(_))
}

pub(super) fn first_group_made_by_an_importer(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let own = rig.devices[1].status().realm.expect("joined").member;
    let Reply::Group(statement) = rig.devices[1].ask(&Request::NewGroup(vec![own])) else { panic!() };
    statement.genesis
}

pub(super) fn realm_joined_again(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let approval = rig.approval(1);
    let sealed = rig.export(approval);
    takes(&mut rig.devices[1], sealed)
}

pub(super) fn export_on_an_approval_for_another_hsm(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let mut approval = rig.approval(1);
    approval.exporter = rig.devices[1].id();
    let signatures = vec![rig.sign(0, &approval), rig.sign(1, &approval)];
    exports(&mut rig, approval, signatures)
}

pub(super) fn export_for_a_nonce_that_was_not_drawn(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let approval = ExportApproval { exporter_nonce: Nonce([9; 16]), ..rig.approval(1) };
    let signatures = vec![rig.sign(0, &approval), rig.sign(1, &approval)];
    exports(&mut rig, approval, signatures)
}

pub(super) fn export_with_signatures_of_strangers(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let approval = rig.approval(1);
    let strangers = [200, 201].map(|i| SigningKey::from_bytes(&[i; 32]));
    let signatures = strangers.iter().map(|key| sign(key, &approval.digest())).collect();
    exports(&mut rig, approval, signatures)
}
