//! What operators and custodians carry between devices: requests, offers, and foundings with their signatures.

use super::{
    Attestation, CustodianSignature, DeviceIdentity, ExportApproval, Founding, MAX_CUSTODIANS, RealmPolicy,
};
use crate::bounded::at_most;
use crate::hsm::DeviceStatus;
use crate::ids::{BuildDigest, Digest, HsmId, Nonce, X25519Public};
use alloc::vec::Vec;
use minicbor::{Decode, Encode};

/// A founding with the custodians' signatures over it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct FoundingStatement {
    /// What they signed.
    #[n(0)]
    pub founding: Founding,
    /// Their signatures.
    #[cbor(n(1), decode_with = "at_most::<MAX_CUSTODIANS, _, _>")]
    pub signatures: Vec<CustodianSignature>,
}

impl FoundingStatement {
    /// Whether enough custodians of the policy inside signed it. Whether they are the right people is for the reader to
    /// check: compare the policy.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let Founding { policy, .. } = &self.founding;
        policy.is_valid() && policy.is_signed(&self.founding.digest(), &self.signatures)
    }
}

/// What a device without a realm sends, by way of operators, to a device that has one.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct EnrolmentRequest {
    /// Its id.
    #[n(0)]
    pub importer: HsmId,
    /// The key to which the realm is to be sealed.
    #[n(1)]
    pub device_key: X25519Public,
    /// What it says that it runs.
    #[n(2)]
    pub build: BuildDigest,
    /// A nonce that it drew for this one import.
    #[n(3)]
    pub nonce: Nonce,
    /// What its vendor says of it, over [`DeviceIdentity::digest`].
    #[n(4)]
    pub attestation: Attestation,
}

impl RealmPolicy {
    /// A policy under which the seed can never leave, and a group may have one member.
    #[must_use]
    pub const fn closed() -> Self {
        Self { custodians: Vec::new(), threshold: 0, smallest_group: None }
    }

    /// Whether enough custodians signed exactly `digest`. Under a closed policy it never is.
    #[must_use]
    pub fn is_signed(&self, digest: &Digest, signatures: &[CustodianSignature]) -> bool {
        self.is_enough(self.signers(digest, signatures))
    }
}

impl DeviceStatus {
    /// What tells it from other devices, as it states it.
    #[must_use]
    pub const fn identity(&self) -> DeviceIdentity {
        DeviceIdentity { hsm: self.hsm, device_key: self.device_key, build: self.build }
    }

    /// The founding of the realm that it holds, as if the realm had been made in it by the running build. `None`
    /// without a realm; [`RealmStatus::origin`](crate::hsm::RealmStatus::origin) says whether it was made here.
    #[must_use]
    pub fn founding(&self) -> Option<Founding> {
        self.realm.as_ref().map(|realm| Founding {
            realm: realm.realm,
            public_key: realm.public_key,
            policy: realm.policy.clone(),
            hsm: self.hsm,
            build: self.build,
            checkpoint_key: realm.checkpoint_key,
        })
    }

    /// What this device asks for, with a nonce from [`ImportNonce`](crate::hsm::Request::ImportNonce).
    #[must_use]
    pub fn request(&self, nonce: Nonce) -> EnrolmentRequest {
        let DeviceIdentity { hsm: importer, device_key, build } = self.identity();
        EnrolmentRequest { importer, device_key, build, nonce, attestation: self.attestation.clone() }
    }

    /// What custodians have to sign so that this device, with a nonce from
    /// [`ExportNonce`](crate::hsm::Request::ExportNonce), gives its realm to the one that asks. `None` without a realm.
    #[must_use]
    pub fn offer(&self, nonce: Nonce, to: EnrolmentRequest) -> Option<ExportApproval> {
        self.realm.as_ref().map(|realm| ExportApproval {
            realm: realm.realm,
            public_key: realm.public_key,
            exporter: self.hsm,
            exporter_build: self.build,
            exporter_nonce: nonce,
            importer: to.importer,
            device_key: to.device_key,
            importer_build: to.build,
            importer_nonce: to.nonce,
            attestation: to.attestation,
            policy: realm.policy.clone(),
        })
    }
}
