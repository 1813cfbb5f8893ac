//! Between what the protocol says and what an entry says.

use super::entry::{Approval, Birth, Hex, HexBytes, Import, Request, Rules, Sign};
use minicbor::bytes::ByteArray;
use strongroom_proto::enrolment::{
    Attestation, CustodianKey, CustodianSignature, EnrolmentRequest, ExportApproval, Founding, RealmPolicy,
    SealedRealm,
};
use strongroom_proto::hash::hash;
use strongroom_proto::hsm::{DeviceStatus, Origin};
use strongroom_proto::ids::{BuildDigest, Digest, Ed25519Public, HsmId, Nonce, RealmId, X25519Public};

/// The hash of a sealed realm.
const SEALED: &str = "strongroom transcript sealed realm 1";

/// What stands for a sealed realm.
#[must_use]
pub fn sealed_digest(sealed: &SealedRealm) -> Hex<32> {
    let fields: [&[u8]; 4] =
        [sealed.realm.as_bytes(), sealed.exporter.as_bytes(), sealed.ephemeral.as_bytes(), &sealed.sealed];
    Hex(hash(SEALED, &fields).0)
}

impl From<&RealmPolicy> for Rules {
    fn from(policy: &RealmPolicy) -> Self {
        let RealmPolicy { custodians, threshold, smallest_group } = policy;
        let custodians = custodians.iter().map(|key| Hex(key.0.0)).collect();
        Self { custodians, threshold: *threshold, smallest_group: *smallest_group }
    }
}

impl From<&Rules> for RealmPolicy {
    fn from(rules: &Rules) -> Self {
        let Rules { custodians, threshold, smallest_group } = rules;
        let custodians = custodians.iter().map(|key| CustodianKey(Digest(key.0))).collect();
        Self { custodians, threshold: *threshold, smallest_group: *smallest_group }
    }
}

impl From<&Founding> for Birth {
    fn from(founding: &Founding) -> Self {
        let Founding { realm, public_key, policy, hsm, build, checkpoint_key } = founding;
        Self {
            realm: Hex(realm.0),
            public_key: Hex(public_key.0),
            policy: policy.into(),
            hsm: Hex(hsm.0),
            build: Hex(build.0),
            checkpoint_key: checkpoint_key.map(|key| Hex(key.0)),
        }
    }
}

impl From<&Birth> for Founding {
    fn from(birth: &Birth) -> Self {
        Self {
            realm: RealmId(birth.realm.0),
            public_key: X25519Public(birth.public_key.0),
            policy: (&birth.policy).into(),
            hsm: HsmId(birth.hsm.0),
            build: BuildDigest(birth.build.0),
            checkpoint_key: birth.checkpoint_key.map(|key| Ed25519Public(key.0)),
        }
    }
}

impl From<&EnrolmentRequest> for Request {
    fn from(request: &EnrolmentRequest) -> Self {
        let EnrolmentRequest { importer, device_key, build, nonce, attestation } = request;
        Self {
            hsm: Hex(importer.0),
            device_key: Hex(device_key.0),
            build: Hex(build.0),
            nonce: Hex(nonce.0),
            attestation: HexBytes(attestation.0.to_vec()),
        }
    }
}

impl From<&ExportApproval> for Approval {
    fn from(approval: &ExportApproval) -> Self {
        Self {
            realm: Hex(approval.realm.0),
            public_key: Hex(approval.public_key.0),
            policy: (&approval.policy).into(),
            from: Hex(approval.exporter.0),
            from_build: Hex(approval.exporter_build.0),
            from_nonce: Hex(approval.exporter_nonce.0),
            to: Request {
                hsm: Hex(approval.importer.0),
                device_key: Hex(approval.device_key.0),
                build: Hex(approval.importer_build.0),
                nonce: Hex(approval.importer_nonce.0),
                attestation: HexBytes(approval.attestation.0.to_vec()),
            },
        }
    }
}

impl From<&Approval> for ExportApproval {
    fn from(approval: &Approval) -> Self {
        let Approval { realm, public_key, policy, from, from_build, from_nonce, to } = approval;
        Self {
            realm: RealmId(realm.0),
            public_key: X25519Public(public_key.0),
            exporter: HsmId(from.0),
            exporter_build: BuildDigest(from_build.0),
            exporter_nonce: Nonce(from_nonce.0),
            importer: HsmId(to.hsm.0),
            device_key: X25519Public(to.device_key.0),
            importer_build: BuildDigest(to.build.0),
            importer_nonce: Nonce(to.nonce.0),
            attestation: Attestation(to.attestation.0.clone().into()),
            policy: policy.into(),
        }
    }
}

impl From<&CustodianSignature> for Sign {
    fn from(signature: &CustodianSignature) -> Self {
        Self { custodian: Hex(signature.custodian.0.0), signature: Hex(*signature.signature) }
    }
}

impl From<&Sign> for CustodianSignature {
    fn from(sign: &Sign) -> Self {
        let custodian = CustodianKey(Digest(sign.custodian.0));
        Self { custodian, signature: ByteArray::from(sign.signature.0) }
    }
}

impl Import {
    /// What the HSM says that it imported; `None` if it imported nothing.
    #[must_use]
    pub fn of(device: &DeviceStatus) -> Option<Self> {
        let realm = device.realm.as_ref()?;
        let Origin::Imported { exporter, signers } = realm.origin else { return None };
        let custodians = realm.policy.custodians.iter().enumerate();
        let signed = custodians.filter(|(i, _)| signers >> i & 1 == 1);
        Some(Self {
            hsm: Hex(device.hsm.0),
            device_key: Hex(device.device_key.0),
            build: Hex(device.build.0),
            realm: Hex(realm.realm.0),
            public_key: Hex(realm.public_key.0),
            policy: (&realm.policy).into(),
            from: Hex(exporter.0),
            signed_by: signed.map(|(_, key)| Hex(key.0.0)).collect(),
        })
    }
}
