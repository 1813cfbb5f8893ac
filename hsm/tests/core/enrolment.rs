//! What a device shows, what its vendor says of it, and where an HSM says that its realm is from.

use crate::common::{Device, Rig};
use ed25519_dalek::SigningKey;
use strongroom_hsm::Config;
use strongroom_proto::enrolment::{
    Attestation, DRAWN_HERE, Founding, FoundingStatement, MAX_ATTESTATION_BYTES, MAX_CUSTODIANS, RealmPolicy,
};
use strongroom_proto::hsm::{Origin, Refusal, Reply, Request};
use strongroom_proto::ids::{Digest, Ed25519Public, Nonce};
use strongroom_testkit::founding::{custodian_key, sign};

fn device(seed: u64) -> Device {
    Device::new(seed, None, Config::software())
}

fn shows(device: &Device, parts: impl IntoIterator<Item = impl ToString>) -> bool {
    parts.into_iter().all(|part| device.env.console.contains(&part.to_string()))
}

#[test]
fn a_device_shows_what_custodians_compare_at_each_start_and_when_it_gets_a_realm() {
    let mut rig = Rig::new(2, None);
    for device in &mut rig.devices {
        let status = device.status();
        assert!(shows(device, status.identity().parts()));
        assert!(shows(device, status.founding().expect("a realm").parts()));
        assert!(shows(device, ["2 of 3 custodians let the realm leave"]));
        let made_here = status.realm.as_ref().is_some_and(|realm| realm.origin == Origin::MadeHere);
        assert_eq!(
            shows(device, [format!("keys            {DRAWN_HERE}")]),
            made_here,
            "whose founding may be signed"
        );
        device.env.console.clear();
        device.restart();
        assert!(
            shows(device, status.identity().parts())
                && shows(device, status.founding().expect("a realm").parts())
        );
    }
    let [exporter, ..] = rig.devices[0].status().identity().parts();
    assert!(shows(&rig.devices[1], [format!("keys            imported from the HSM {}", exporter.words)]));
    // Nobody fills the console from outside.
    let device = &mut rig.devices[0];
    let lines = device.env.console.len();
    for request in
        [Request::DeviceStatus, Request::ExportNonce, Request::ImportNonce, Request::NewGroup(vec![])]
    {
        device.ask(&request);
    }
    device.handle(b"anything");
    assert_eq!(device.env.console.len(), lines);
}

#[test]
fn another_device_realm_or_policy_is_shown_in_other_words() {
    let (mut rig, mut other) = (Rig::new(1, None), device(5));
    let (first, second) = (rig.devices[0].status(), other.status());
    for (a, b) in first.identity().parts().iter().zip(second.identity().parts()).take(2) {
        assert_ne!(*a, b);
    }
    let told = first.founding().expect("a realm");
    let mut of_others = told.clone();
    of_others.policy.threshold = 1;
    assert_ne!(told.parts()[4], of_others.parts()[4]);
    of_others.policy.custodians.pop();
    assert_ne!(told.digest(), of_others.digest());
}

#[test]
fn what_custodians_sign_and_compare_names_the_key_of_checkpoints() {
    let mut rig = Rig::new(2, None);
    let status = rig.devices[0].status();
    let key = status.realm.as_ref().and_then(|realm| realm.checkpoint_key).expect("it has one");
    let told = status.founding().expect("a realm");
    assert_eq!(told.checkpoint_key, Some(key));
    let mut other = told.clone();
    other.checkpoint_key = Some(Ed25519Public([9; 32]));
    let without = Founding { checkpoint_key: None, ..told.clone() };
    assert!(told.digest() != other.digest() && told.digest() != without.digest());
    let words = |founding: &Founding| founding.parts().last().map(|part| (part.name, part.words));
    assert_ne!(words(&told), words(&other));
    assert_eq!(words(&told).map(|(name, _)| name), Some("checkpoint key"));
    for device in &mut rig.devices {
        device.env.console.clear();
        device.restart();
        assert!(shows(device, told.parts().last()), "each HSM of the realm shows the same words");
    }
}

#[test]
fn a_device_without_a_vendor_says_so_and_one_with_a_vendor_is_attested() {
    let mut plain = device(1);
    assert!(plain.status().attestation.is_none());
    assert!(plain.env.console.iter().any(|line| line.contains("no vendor attests")));

    let vendor: fn(&Digest) -> Attestation = |digest| Attestation(digest.0.to_vec().into());
    plain.env.vendor = Some(vendor);
    plain.env.console.clear();
    plain.restart();
    let Reply::Device(status) = plain.ask(&Request::NewRealm(RealmPolicy::closed())) else {
        panic!("no realm")
    };
    assert_eq!(status.attestation, vendor(&status.identity().digest()));
    let of_realm = status.realm.as_ref().map(|realm| realm.attestation.clone());
    assert_eq!(of_realm, Some(vendor(&status.founding().expect("a realm").digest())));
    assert!(!plain.env.console.iter().any(|line| line.contains("no vendor attests")));
}

#[test]
fn a_vendor_attests_the_making_of_a_realm_only_where_it_was_made() {
    let mut rig = Rig::new(2, None);
    for (i, device) in rig.devices.iter_mut().enumerate() {
        device.env.vendor = Some(|digest| Attestation(digest.0.to_vec().into()));
        device.restart();
        let realm = device.status().realm.expect("joined");
        assert_eq!(realm.attestation.is_none(), i > 0);
    }
}

/// The custodian who hands in a key last tries many, and the host as many policies of its own: without something drawn
/// after that, two of the same words are found in 2^33 tries.
#[test]
fn the_words_of_a_policy_and_of_a_public_key_are_those_of_one_realm() {
    let mut rig = Rig::new(1, None);
    let here = rig.devices[0].status().founding().expect("a realm");
    let mut elsewhere = here.clone();
    elsewhere.realm.0[0] ^= 1;
    for (a, b) in here.parts().iter().zip(elsewhere.parts()).skip(2) {
        assert_ne!(a.words, b.words, "{}", a.name);
    }
    let device = rig.devices[0].status().identity();
    let mut other = device;
    other.hsm.0[0] ^= 1;
    assert_ne!(device.parts()[1], other.parts()[1]);
}

#[test]
fn an_hsm_remembers_where_its_seed_is_from() {
    let mut rig = Rig::new(2, None);
    let exporter = rig.devices[0].id();
    for restarted in [false, true] {
        let origins: Vec<Origin> =
            rig.devices.iter_mut().map(|device| device.status().realm.expect("joined").origin).collect();
        // Custodians 0 and 2 signed.
        assert_eq!(origins, [Origin::MadeHere, Origin::Imported { exporter, signers: 0b101 }], "{restarted}");
        rig.devices.iter_mut().for_each(Device::restart);
    }
}

#[test]
fn the_longest_sealed_realm_is_taken() {
    let keys: Vec<SigningKey> =
        (1..=MAX_CUSTODIANS as u8).map(|i| SigningKey::from_bytes(&[i; 32])).collect();
    let policy = RealmPolicy {
        custodians: keys.iter().map(custodian_key).collect(),
        threshold: 9,
        smallest_group: None,
    };
    let (mut exporter, mut importer) = (device(1), device(2));
    importer.env.vendor = Some(|_| Attestation(vec![255; MAX_ATTESTATION_BYTES].into()));
    importer.restart();
    let Reply::Device(from) = exporter.ask(&Request::NewRealm(policy)) else { panic!("no realm") };
    let Reply::ExportNonce(exporter_nonce) = exporter.ask(&Request::ExportNonce) else { panic!("no nonce") };
    let (to, importer_nonce) = (importer.status(), importer.import_nonce());
    let approval = from.offer(exporter_nonce, to.request(importer_nonce)).expect("just made");
    let signatures = keys.iter().map(|key| sign(key, &approval.digest())).collect();
    let Reply::Exported(sealed) = exporter.ask(&Request::ExportRealm(approval, signatures)) else {
        panic!("not exported")
    };
    assert!(sealed.sealed.len() < 4096, "{} bytes", sealed.sealed.len());
    assert!(matches!(importer.ask(&Request::JoinRealm(sealed)), Reply::Device(_)));
}

#[test]
fn nonces_of_imports_are_drawn_afresh_and_only_without_a_realm() {
    let mut rig = Rig::new(1, None);
    assert_eq!(rig.devices[0].refusal(&Request::ImportNonce), Some(Refusal::HasRealm));
    let mut new = device(3);
    let (first, second) = (new.import_nonce(), new.import_nonce());
    assert_ne!(first, second);
    // The one that was replaced is none any more; a refusal leaves the open one open.
    let to = new.status();
    for (nonce, taken) in [(first, false), (Nonce([0; 16]), false), (second, true)] {
        let approval = rig.approval_for(&to, nonce);
        let sealed = rig.export(approval);
        let refusal = new.refusal(&Request::JoinRealm(sealed));
        assert_eq!(refusal, if taken { None } else { Some(Refusal::StaleNonce) });
    }
}

#[test]
fn a_founding_counts_when_enough_of_its_custodians_signed_exactly_that() {
    let mut rig = Rig::new(1, None);
    let founding = rig.devices[0].status().founding().expect("a realm");
    let signatures = |of: &Founding, by: &[usize]| {
        by.iter().map(|i| sign(&rig.custodians[*i], &of.digest())).collect::<Vec<_>>()
    };
    let counts = |founding: &Founding, signatures| {
        FoundingStatement { founding: founding.clone(), signatures }.is_signed()
    };
    assert!(counts(&founding, signatures(&founding, &[0, 2])));
    assert!(counts(&founding, signatures(&founding, &[0, 1, 2])));
    assert!(!counts(&founding, signatures(&founding, &[0])));
    assert!(!counts(&founding, signatures(&founding, &[1, 1])));
    let mut other = founding.clone();
    other.public_key.0[0] ^= 1;
    assert!(!counts(&founding, signatures(&other, &[0, 1])));
    assert!(!counts(&other, signatures(&founding, &[0, 1])));
    // Who signs for an export does not sign a founding.
    let approval = rig.approval(0);
    assert!(!counts(&founding, vec![rig.sign(0, &approval), rig.sign(1, &approval)]));
    // A closed realm has nobody who could sign.
    let closed = Founding { policy: RealmPolicy::closed(), ..founding };
    assert!(!counts(&closed, vec![]));
}
