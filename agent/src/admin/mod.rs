//! Setting up and looking at a realm, from an operator's command to an agent's HSM.
//!
//! The agent passes on only what sets up realms and groups, or looks; nothing that moves a log. The HSM checks all of
//! it, so an operator (or whoever reaches the port) gains no guess by it, but can spoil an HSM that has no realm yet.

mod client;
mod report;
mod service;

pub use client::{AdminError, Client, CreatedGroup};
pub(crate) use report::role_name;
pub use report::{AgentReport, GroupReport, PeerReport};
pub(crate) use service::AdminService;

use ed25519_dalek::{Signer, SigningKey};
use minicbor::{Decode, Encode};
use strongroom_proto::hsm::{ApprovalSignature, CustodianKey, DeviceStatus, ExportApproval};
use strongroom_proto::ids::{BuildDigest, Digest, HsmId, X25519Public};

/// What an HSM without a realm shows to one that has it, by way of the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
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
}

impl EnrolmentRequest {
    /// The request of the device that said this of itself.
    #[must_use]
    pub const fn of(device: &DeviceStatus) -> Self {
        Self { importer: device.hsm, device_key: device.device_key, build: device.build }
    }
}

/// A custodian's approval.
#[must_use]
pub fn approve(key: &SigningKey, approval: &ExportApproval) -> ApprovalSignature {
    let signature = key.sign(&approval.digest().0).to_bytes().to_vec();
    ApprovalSignature { custodian: custodian_key(key), signature: signature.into() }
}

/// The public key by which a realm's policy names the custodian.
#[must_use]
pub fn custodian_key(key: &SigningKey) -> CustodianKey {
    CustodianKey(Digest(key.verifying_key().to_bytes()))
}
