//! What hosts make of the messages: requests in short, replies of one group, and what they derive from keys and counts
//! that an HSM tells them.

use super::{AgentSecret, CaptureOutcome, GroupEntries, Reply, Request, Wear};
use crate::entry::Entry;
use crate::hash::{label, mac};
use crate::ids::{Digest, GroupId, Mac, RealmId, RecordId};
use alloc::vec::Vec;
use zeroize::Zeroizing;

impl Request {
    /// A capture of one group.
    #[must_use]
    pub fn capture(group: GroupId, entries: Vec<Entry>) -> Self {
        Self::Capture(Vec::from([GroupEntries { group, entries }]))
    }
}

impl From<CaptureOutcome> for Reply {
    /// What the reply would be if nothing else had been asked for.
    fn from(outcome: CaptureOutcome) -> Self {
        match outcome {
            CaptureOutcome::Captured(statement) => Self::Captured(statement),
            CaptureOutcome::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

impl Reply {
    /// The outcome of a capture of one group as a reply of its own; any other reply as it is.
    #[must_use]
    pub fn of_one_group(self) -> Self {
        match self {
            Self::Captures(mut outcomes) if outcomes.len() == 1 => {
                outcomes.pop().map_or(Self::Captures(Vec::new()), Self::from)
            }
            reply => reply,
        }
    }
}

impl AgentSecret {
    /// The Ed25519 private key of the certificate authority that every agent of the realm derives for itself.
    #[must_use]
    pub fn authority_key(&self, realm: &RealmId) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(mac(&self.0, label::AGENT_AUTHORITY, &[realm.as_bytes()]).0.0)
    }
}

impl Wear {
    /// Roughly how often each unit in use was erased: they are used in turn.
    #[must_use]
    pub fn erases_per_unit(&self) -> u64 {
        let good = self.units.saturating_sub(self.bad_units).max(1);
        self.erases.div_ceil(u64::from(good))
    }
}

/// The key in the tree of a tenant's user: MAC under [`RealmStatus::record_id_key`](super::RealmStatus::record_id_key).
#[must_use]
pub fn record_id(record_id_key: &Digest, tenant: &str, user: &str) -> RecordId {
    let Mac(Digest(id)) = mac(&record_id_key.0, label::RECORD_ID, &[tenant.as_bytes(), user.as_bytes()]);
    RecordId(id)
}
