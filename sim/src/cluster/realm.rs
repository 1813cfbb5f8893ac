//! A realm of several HSMs with one group, made as an operator makes it.

use super::device::Device;
use ed25519_dalek::{Signer, SigningKey};
use strongroom_proto::hsm::{CustodianKey, CustodianPolicy, CustodianSignature, RealmStatus, Reply, Request};
use strongroom_proto::ids::Digest;
use strongroom_proto::statement::GroupStatement;

/// Makes a realm in the first of these HSMs, enrols the others, and makes one group of them all.
///
/// # Panics
/// If an HSM refuses.
pub(super) fn found(devices: &mut [Device]) -> (RealmStatus, GroupStatement) {
    let custodian = SigningKey::from_bytes(&[7; 32]);
    let key = CustodianKey(Digest(custodian.verifying_key().to_bytes()));
    let (first, others) = devices.split_first_mut().expect("a realm needs an HSM");
    let policy = CustodianPolicy { custodians: vec![key], threshold: 1 };
    let Reply::Device(status) = first.ask(&Request::NewRealm(policy)) else { panic!("no realm") };
    let realm = status.realm.clone().expect("it has one now");
    let mut members = vec![realm.member];
    for device in &mut *others {
        let Reply::ExportNonce(nonce) = first.ask(&Request::ExportNonce) else { panic!("no nonce") };
        let to = device.status();
        let Reply::ImportNonce(of_importer) = device.ask(&Request::ImportNonce) else { panic!("no nonce") };
        let approval = status.offer(nonce, to.request(of_importer)).expect("it has the realm");
        let signature = custodian.sign(approval.digest().as_bytes()).to_bytes().into();
        let signatures = vec![CustodianSignature { custodian: key, signature }];
        let sealed = match first.ask(&Request::ExportRealm(approval, signatures)) {
            Reply::Exported(sealed) => sealed,
            other => panic!("not exported but {other:?}"),
        };
        let Reply::Device(joined) = device.ask(&Request::JoinRealm(sealed)) else { panic!("not joined") };
        members.push(joined.realm.expect("it has one now").member);
    }
    let statement = match first.ask(&Request::NewGroup(members)) {
        Reply::Group(statement) => statement,
        other => panic!("no group but {other:?}"),
    };
    for device in others {
        let reply = device.ask(&Request::JoinGroup(statement.clone()));
        assert!(matches!(reply, Reply::Group(_)), "not joined but {reply:?}");
    }
    (realm, statement)
}
