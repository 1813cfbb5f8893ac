//! What is known about a realm's statement, as its custodians signed it.
//!
//! Neither store nor file is trusted with it: it counts only if enough of the custodians that it names signed it and, beside an HSM,
//! if its realm, keys and policy are what the HSM itself says. Whether no later one exists, nobody here can know.

use super::show::{policy_json, statement_text};
use crate::admin::{Client, PeerReport};
use crate::store::{Store, statement_object};
use crate::transcript::seen;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strongroom_proto::hsm::{DeviceStatus, RealmStatus};
use strongroom_proto::ids::{BuildDigest, RealmId};
use strongroom_replica::ReadOutcome;
use strongroom_tlog::statement::StatementError;
use strongroom_tlog::{Note, RealmStatement};

/// A statement that enough of the custodians that it names have signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Signed {
    statement: RealmStatement,
    note: Note,
}

impl Signed {
    /// Reads and verifies it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, StatementError> {
        Self::of(Note::parse(bytes)?)
    }

    /// Verifies it.
    pub(super) fn of(note: Note) -> Result<Self, StatementError> {
        Ok(Self { statement: RealmStatement::verify(&note)?, note })
    }

    pub(super) const fn statement(&self) -> &RealmStatement {
        &self.statement
    }

    pub(super) const fn note(&self) -> &Note {
        &self.note
    }

    /// Which of its custodians have signed it: bit i for the i-th.
    pub(super) fn signers(&self) -> u16 {
        let realm = &self.statement.realm;
        let keys = self.statement.policy.custodians.iter().map(|key| RealmStatement::custodian(realm, key));
        let signed = keys.map(|key| key.is_ok_and(|key| self.note.verify(&[key]).is_ok()));
        signed.enumerate().fold(0, |bits, (i, signed)| if signed { bits | 1 << i } else { bits })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        statement_text(&self.statement, Some(self.signers()))
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let RealmStatement { realm, version, policy, builds, witnesses, .. } = &self.statement;
        let signers = self.signers();
        let custodians = policy.custodians.iter().enumerate();
        let signed = custodians.filter(|(i, _)| signers >> i & 1 == 1).map(|(_, key)| key.0.to_string());
        let mut value = json!({
            "realm": realm.to_string(),
            "version": version,
            "public_key": self.statement.noise_key.to_string(),
            "checkpoint_key": self.statement.checkpoint_key.to_string(),
            "builds": builds.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "witnesses": witnesses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "cosignatures": self.statement.cosignatures,
            "signed_by": signed.collect::<Vec<_>>(),
            "statement": self.note.to_string(),
        });
        if let (Some(value), Value::Object(policy)) = (value.as_object_mut(), policy_json(policy)) {
            value.extend(policy);
        }
        value
    }
}

/// What is known about a realm's statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stated {
    /// Enough custodians signed it, and it says what the HSM does.
    Signed(Box<Signed>),
    /// The realm has no custodians.
    Closed,
    /// Nothing is there yet.
    Missing,
    /// What is there is no statement of this realm, and why not.
    Wrong(String),
    /// The store does not answer, or the agent.
    Unavailable,
}

impl Stated {
    /// What this is to the realm, compared with what an HSM says, if one was asked.
    pub(super) fn of(stored: ReadOutcome, realm: RealmId, hsm: Option<&RealmStatus>) -> Self {
        let bytes = match stored {
            ReadOutcome::Found(bytes) => bytes,
            ReadOutcome::Absent => return Self::Missing,
            ReadOutcome::Unavailable => return Self::Unavailable,
        };
        match Signed::read(&bytes) {
            Err(error) => Self::Wrong(seen(error.to_string().chars())),
            Ok(signed) => match differs(&signed.statement, realm, hsm) {
                Some(what) => Self::Wrong(format!("it says another {what} than the HSM")),
                None => Self::Signed(Box::new(signed)),
            },
        }
    }

    /// For people, in one line.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Signed(signed) => {
                let RealmStatement { version, policy, builds, witnesses, cosignatures, .. } =
                    &signed.statement;
                let (signers, all) = (signed.signers().count_ones(), policy.custodians.len());
                let (builds, known) = (builds.len(), witnesses.len());
                format!(
                    "version {version}, signed by {signers} of its {all} custodians; builds: {builds}; witnesses: {known}, of whom \
                     {cosignatures} must cosign"
                )
            }
            Self::Closed => "nobody signs for a closed realm".into(),
            Self::Missing => "none yet; `realm statement draft` makes one".into(),
            Self::Wrong(why) => {
                format!("WRONG: {why}; put the signed statement in its place with `realm statement publish`")
            }
            Self::Unavailable => {
                "not known: the object store does not answer, or the agent is of an older version".into()
            }
        }
    }

    /// The statement with its signatures, if there is one.
    pub(super) fn note(&self) -> Option<String> {
        match self {
            Self::Signed(signed) => Some(signed.note.to_string()),
            Self::Closed | Self::Missing | Self::Wrong(_) | Self::Unavailable => None,
        }
    }
}

/// What a statement says otherwise than it should: the realm, or what the HSM states of it.
pub(super) fn differs(
    statement: &RealmStatement,
    realm: RealmId,
    hsm: Option<&RealmStatus>,
) -> Option<&'static str> {
    if statement.realm != realm {
        return Some("realm");
    }
    let hsm = hsm?;
    if hsm.public_key != statement.noise_key {
        Some("public key")
    } else if hsm.policy != statement.policy {
        Some("policy")
    } else if hsm.checkpoint_key.is_some_and(|key| key != statement.checkpoint_key) {
        Some("checkpoint key")
    } else {
        None
    }
}

/// What the store holds as the statement of `realm`, compared with what an HSM says, if one was asked.
pub(super) async fn stored(store: &Store, realm: RealmId, hsm: Option<&RealmStatus>) -> Stated {
    if hsm.is_some_and(|hsm| hsm.policy.custodians.is_empty()) {
        return Stated::Closed;
    }
    Stated::of(store.read(&statement_object(realm)).await, realm, hsm)
}

/// The same, as the agent reads it in its store.
pub(super) async fn stated(agent: &mut Client, hsm: &RealmStatus) -> Stated {
    if hsm.policy.custodians.is_empty() {
        return Stated::Closed;
    }
    match agent.statement().await {
        Ok(found) => {
            let found = found.map_or(ReadOutcome::Absent, ReadOutcome::Found);
            Stated::of(found, hsm.realm, Some(hsm))
        }
        Err(_) => Stated::Unavailable,
    }
}

/// What the HSMs of a realm run, as their agents say.
#[derive(Default)]
pub(super) struct Builds {
    /// Of those that were heard of.
    pub(super) known: BTreeSet<BuildDigest>,
    /// Those that were not, by id or address.
    pub(super) silent: Vec<String>,
}

impl Builds {
    /// Of this HSM, and of the others that have its realm.
    pub(super) fn of(own: &DeviceStatus, peers: &[PeerReport]) -> Self {
        let realm = own.realm.as_ref().map(|realm| realm.realm);
        let mut builds = Self { known: BTreeSet::from([own.build]), silent: Vec::new() };
        for peer in peers {
            match peer.agent.as_ref().and_then(|agent| agent.device.as_ref()) {
                Some(device) if device.realm.as_ref().map(|realm| realm.realm) == realm => {
                    builds.known.insert(device.build);
                }
                Some(_) => {}
                None => {
                    builds.silent.push(peer.hsm.map_or_else(|| peer.address.clone(), |hsm| hsm.to_string()));
                }
            }
        }
        builds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{AgentReport, custodian_key, sign_statement};
    use ed25519_dalek::SigningKey;
    use strongroom_proto::enrolment::{Attestation, RealmPolicy};
    use strongroom_proto::hsm::{Limits, Origin, Wear};
    use strongroom_proto::ids::{Digest, Ed25519Public, HsmId, X25519Public};
    use strongroom_proto::statement::MemberStatement;

    fn keys() -> [SigningKey; 3] {
        [1, 2, 3].map(|i| SigningKey::from_bytes(&[i; 32]))
    }

    fn realm(id: u8) -> RealmStatus {
        let (realm, hsm) = (RealmId([id; 16]), HsmId([3; 16]));
        let custodians = keys().iter().map(custodian_key).collect();
        RealmStatus {
            realm,
            public_key: X25519Public([2; 32]),
            policy: RealmPolicy { custodians, threshold: 2, smallest_group: Some(3) },
            unassigned: false,
            member: MemberStatement::new(&[0; 32], &realm, hsm),
            record_id_key: Digest([0; 32]),
            origin: Origin::MadeHere,
            attestation: Attestation::none(),
            checkpoint_key: Some(Ed25519Public(keys()[0].verifying_key().to_bytes())),
        }
    }

    fn statement() -> RealmStatement {
        let RealmStatus { realm, public_key, policy, checkpoint_key, .. } = realm(1);
        RealmStatement {
            realm,
            version: 1,
            noise_key: public_key,
            checkpoint_key: checkpoint_key.unwrap(),
            policy,
            builds: vec![BuildDigest([4; 32])],
            witnesses: vec![],
            cosignatures: 0,
        }
    }

    fn read(statement: &RealmStatement, signers: &[usize]) -> Stated {
        let lines = signers.iter().map(|i| sign_statement(&keys()[*i], statement).unwrap()).collect();
        let note = Note::new(statement.to_string(), lines).unwrap().to_string();
        Stated::of(ReadOutcome::Found(note.into()), RealmId([1; 16]), Some(&realm(1)))
    }

    #[test]
    fn a_statement_counts_if_its_custodians_signed_what_the_hsm_says() {
        let Stated::Signed(signed) = read(&statement(), &[2, 0]) else { panic!("two are enough") };
        assert_eq!(signed.signers(), 0b101);
        assert!(matches!(read(&statement(), &[0]), Stated::Wrong(_)));
        assert!(matches!(read(&statement(), &[1, 1]), Stated::Wrong(_)));
        type Change = fn(&mut RealmStatement);
        let changes: [(Change, &str); 4] = [
            (|s| s.realm = RealmId([9; 16]), "realm"),
            (|s| s.noise_key = X25519Public([9; 32]), "public key"),
            (|s| s.policy.smallest_group = None, "policy"),
            (|s| s.checkpoint_key = Ed25519Public(keys()[1].verifying_key().to_bytes()), "checkpoint key"),
        ];
        for (change, what) in changes {
            let mut other = statement();
            change(&mut other);
            assert_eq!(
                read(&other, &[0, 1, 2]),
                Stated::Wrong(format!("it says another {what} than the HSM"))
            );
        }
        let other = |bytes: &[u8]| Stated::of(ReadOutcome::Found(bytes.to_vec()), RealmId([1; 16]), None);
        assert!(matches!(other(b"anything"), Stated::Wrong(_)) && matches!(other(b"\xff"), Stated::Wrong(_)));
    }

    fn device(hsm: u8, build: u8, realm: Option<RealmStatus>) -> DeviceStatus {
        let limits = Limits {
            max_frame_bytes: 1,
            max_batch_requests: 1,
            max_pending_entries: 1,
            max_pending_replies: 1,
            max_sessions: 1,
            max_tree_nodes: 1,
        };
        DeviceStatus {
            hsm: HsmId([hsm; 16]),
            device_key: X25519Public([hsm; 32]),
            version: String::new(),
            build: BuildDigest([build; 32]),
            limits,
            realm,
            groups: vec![],
            wear: Wear { units: 4, bad_units: 0, spare_units: 1, erases: 0 },
            attestation: Attestation::none(),
            retired: vec![],
        }
    }

    fn peer(address: &str, hsm: Option<u8>, device: Option<DeviceStatus>) -> PeerReport {
        let agent = device.map(|device| AgentReport {
            device: Some(device),
            hsm_answers: true,
            groups: vec![],
            store: None,
            unready: None,
            relays: None,
            version: None,
            copying: vec![],
        });
        let (hsm, why) = (hsm.map(|hsm| HsmId([hsm; 16])), String::new());
        PeerReport { address: address.into(), agent, why, hsm, silent_seconds: None, announced: None }
    }

    #[test]
    fn builds_are_those_of_the_hsms_of_the_realm_and_who_is_silent_is_named() {
        let peers = [
            peer("a", Some(2), Some(device(2, 5, Some(realm(1))))),
            peer("b", Some(3), Some(device(3, 4, Some(realm(1))))),
            peer("c", Some(4), Some(device(4, 6, None))),
            peer("d", Some(5), Some(device(5, 7, Some(realm(2))))),
            peer("e", Some(6), None),
            peer("f", None, None),
        ];
        let builds = Builds::of(&device(1, 4, Some(realm(1))), &peers);
        assert_eq!(builds.known, BTreeSet::from([BuildDigest([4; 32]), BuildDigest([5; 32])]));
        assert_eq!(builds.silent, [HsmId([6; 16]).to_string(), "f".into()]);
    }
}
