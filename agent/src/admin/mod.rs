//! Setting up and looking at a realm, from an operator's command to an agent's HSM.
//!
//! An operator is anyone who can open the agent's admin socket, or holds a certificate that was issued there. The agent
//! passes on only what sets up or inspects realms and groups, and nothing that moves a log. The HSM checks all of it,
//! so an operator gains no guess this way, but can spoil an HSM that has no realm yet.

mod client;
mod report;
mod service;

pub use client::{AdminError, Client, CreatedGroup, GroupPlan};
pub use report::{AgentReport, Copying, GroupReport, LOAD_PARTS, PeerReport};
pub(crate) use service::AdminService;

use ed25519_dalek::{Signer, SigningKey};
use strongroom_proto::enrolment::{CustodianKey, CustodianSignature};
use strongroom_proto::ids::Digest;
use strongroom_tlog::key::KeyError;
use strongroom_tlog::{RealmStatement, Signature};

/// A custodian's signature over [`ExportApproval::digest`](strongroom_proto::enrolment::ExportApproval::digest) or
/// [`Founding::digest`](strongroom_proto::enrolment::Founding::digest).
#[must_use]
pub fn sign(key: &SigningKey, digest: &Digest) -> CustodianSignature {
    let signature = key.sign(&digest.0).to_bytes();
    CustodianSignature { custodian: custodian_key(key), signature: signature.into() }
}

/// A custodian's signature line under a realm's statement.
///
/// # Errors
/// [`KeyError`]; none for a key that was drawn.
pub fn sign_statement(key: &SigningKey, statement: &RealmStatement) -> Result<Signature, KeyError> {
    let signature = key.sign(statement.to_string().as_bytes()).to_bytes();
    statement.signature(&custodian_key(key), signature)
}

/// The public key by which a realm's policy names the custodian.
#[must_use]
pub fn custodian_key(key: &SigningKey) -> CustodianKey {
    CustodianKey(Digest(key.verifying_key().to_bytes()))
}
