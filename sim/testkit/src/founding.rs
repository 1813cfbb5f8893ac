//! A realm and its groups, made as an operator makes them, but from cores at hand.
//!
//! Every step panics with the reply if an HSM refuses: a test that wants a refusal asks for the step itself.

use ed25519_dalek::{Signer, SigningKey};
use strongroom_proto::enrolment::{EnrolmentRequest, SealedRealm};
use strongroom_proto::hsm::{
    CustodianKey, CustodianSignature, DeviceStatus, ExportApproval, RealmPolicy, Reply, Request,
};
use strongroom_proto::ids::{Digest, Nonce};
use strongroom_proto::statement::{GroupStatement, MemberStatement};

/// Anything that can be asked as a host asks an HSM.
pub trait Hsm {
    /// The reply to this request.
    ///
    /// # Panics
    /// If what comes back is not a reply.
    fn ask(&mut self, request: &Request) -> Reply;

    /// What it says about itself.
    ///
    /// # Panics
    /// If it does not answer.
    fn status(&mut self) -> DeviceStatus {
        match self.ask(&Request::DeviceStatus) {
            Reply::Device(status) => status,
            other => panic!("no status but {other:?}"),
        }
    }

    /// A nonce for an import.
    ///
    /// # Panics
    /// If it has a realm already.
    fn import_nonce(&mut self) -> Nonce {
        match self.ask(&Request::ImportNonce) {
            Reply::ImportNonce(nonce) => nonce,
            other => panic!("no nonce but {other:?}"),
        }
    }
}

/// Who may give a realm to another HSM, and which of them do.
pub struct Custodians {
    /// All of them.
    pub keys: Vec<SigningKey>,
    signing: Vec<usize>,
}

impl Custodians {
    /// One who decides alone.
    #[must_use]
    pub fn one() -> Self {
        Self { keys: vec![SigningKey::from_bytes(&[7; 32])], signing: vec![0] }
    }

    /// Three, of whom two must sign, and these two do.
    #[must_use]
    pub fn two_of_three(signing: [usize; 2]) -> Self {
        let keys = (1..=3).map(|key| SigningKey::from_bytes(&[key; 32])).collect();
        Self { keys, signing: signing.into() }
    }

    /// The policy of their realm.
    ///
    /// # Panics
    /// Never: there are few.
    #[must_use]
    pub fn policy(&self) -> RealmPolicy {
        let threshold = u8::try_from(self.signing.len()).expect("few");
        RealmPolicy {
            custodians: self.keys.iter().map(custodian_key).collect(),
            threshold,
            smallest_group: None,
        }
    }

    /// The signatures of those who sign an approval.
    #[must_use]
    pub fn sign(&self, approval: &ExportApproval) -> Vec<CustodianSignature> {
        self.signing.iter().map(|at| sign(&self.keys[*at], &approval.digest())).collect()
    }
}

/// The key by which a realm knows a custodian.
#[must_use]
pub fn custodian_key(key: &SigningKey) -> CustodianKey {
    CustodianKey(Digest(key.verifying_key().to_bytes()))
}

/// A custodian's signature.
#[must_use]
pub fn sign(key: &SigningKey, digest: &Digest) -> CustodianSignature {
    let signature = key.sign(digest.as_bytes()).to_bytes().into();
    CustodianSignature { custodian: custodian_key(key), signature }
}

/// Makes a realm in an HSM; returns what the HSM then says about itself.
///
/// # Panics
/// If it refuses.
pub fn make_realm(first: &mut impl Hsm, policy: RealmPolicy) -> DeviceStatus {
    match first.ask(&Request::NewRealm(policy)) {
        Reply::Device(status) => status,
        other => panic!("no realm but {other:?}"),
    }
}

/// What custodians must sign for the realm to go to the device that asks for it.
///
/// # Panics
/// If the exporter refuses, or `from` says that it has no realm.
pub fn approval(exporter: &mut impl Hsm, from: &DeviceStatus, to: EnrolmentRequest) -> ExportApproval {
    match exporter.ask(&Request::ExportNonce) {
        Reply::ExportNonce(nonce) => from.offer(nonce, to).expect("it has the realm"),
        other => panic!("no nonce but {other:?}"),
    }
}

/// The realm, sealed to the device that this approval names.
///
/// # Panics
/// If the exporter refuses.
pub fn export(exporter: &mut impl Hsm, approval: ExportApproval, custodians: &Custodians) -> SealedRealm {
    let signatures = custodians.sign(&approval);
    match exporter.ask(&Request::ExportRealm(approval, signatures)) {
        Reply::Exported(sealed) => sealed,
        other => panic!("not exported but {other:?}"),
    }
}

/// Gives the realm of an HSM, which said `from` about itself, to another; returns what that one then says about itself.
///
/// # Panics
/// If one of them refuses.
pub fn enrol<H: Hsm>(
    exporter: &mut H,
    from: &DeviceStatus,
    importer: &mut H,
    custodians: &Custodians,
) -> DeviceStatus {
    let (to, nonce) = (importer.status(), importer.import_nonce());
    let approval = approval(exporter, from, to.request(nonce));
    let sealed = export(exporter, approval, custodians);
    match importer.ask(&Request::JoinRealm(sealed)) {
        Reply::Device(joined) => joined,
        other => panic!("not joined but {other:?}"),
    }
}

/// Makes a group, in one of its members.
///
/// # Panics
/// If that member refuses.
pub fn make_group(first: &mut impl Hsm, members: Vec<MemberStatement>) -> GroupStatement {
    match first.ask(&Request::NewGroup(members)) {
        Reply::Group(statement) => statement,
        other => panic!("no group but {other:?}"),
    }
}

/// Makes a realm in the first of these HSMs, enrols the others, and makes one group of them all. Returns what the first
/// said about itself with the realm just made, and the group.
///
/// # Panics
/// If there are none, or one refuses.
pub fn found<H: Hsm>(devices: &mut [H], custodians: &Custodians) -> (DeviceStatus, GroupStatement) {
    let (first, others) = devices.split_first_mut().expect("a realm needs an HSM");
    let founded = make_realm(first, custodians.policy());
    let mut members = vec![member(&founded)];
    for importer in &mut *others {
        members.push(member(&enrol(first, &founded, importer, custodians)));
    }
    let statement = make_group(first, members);
    for device in others {
        let reply = device.ask(&Request::JoinGroup(statement.clone()));
        assert!(matches!(reply, Reply::Group(_)), "not joined but {reply:?}");
    }
    (founded, statement)
}

/// What an HSM states about itself as a member of its realm.
///
/// # Panics
/// If it has no realm.
#[must_use]
pub fn member(status: &DeviceStatus) -> MemberStatement {
    status.realm.as_ref().expect("it has a realm").member
}
