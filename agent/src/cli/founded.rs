//! What is known about a realm's founding, as its custodians signed it.
//!
//! The store is not trusted with it: what it holds counts only if enough custodians signed it, and if it names what the
//! HSM itself says about its realm. Whether these are the right custodians is for people to decide, so they are always
//! shown.

use super::line::Line;
use crate::admin::Client;
use crate::store::Store;
use crate::store::founding_object;
use strongroom_proto::enrolment::{Founding, FoundingStatement};
use strongroom_proto::hsm::RealmStatus;
use strongroom_proto::ids::RealmId;
use strongroom_replica::ReadOutcome;

/// What is known about a realm's founding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Founded {
    /// Enough custodians signed it, and it is for the HSM's realm.
    Signed(FoundingStatement),
    /// The realm has no custodians.
    Closed,
    /// Nothing is there yet. What custodians must sign, if that is known.
    Missing(Option<Founding>),
    /// What is there is not a founding of this realm, and why not.
    Wrong(&'static str),
    /// The store does not answer.
    Unavailable,
}

impl Founded {
    pub(super) fn of(stored: ReadOutcome, realm: RealmId, hsm: Option<&RealmStatus>) -> Self {
        let bytes = match stored {
            ReadOutcome::Found(bytes) => bytes,
            ReadOutcome::Absent => return Self::Missing(None),
            ReadOutcome::Unavailable => return Self::Unavailable,
        };
        let line = std::str::from_utf8(&bytes).ok();
        let Some(statement) = line.and_then(|line| FoundingStatement::from_line(line).ok()) else {
            return Self::Wrong("it is not a founding");
        };
        let Founding { realm: named, public_key, policy, checkpoint_key, .. } = &statement.founding;
        let told = hsm.is_none_or(|hsm| {
            (&hsm.public_key, &hsm.policy) == (public_key, policy)
                && checkpoint_key.is_none_or(|key| hsm.checkpoint_key.is_none_or(|told| told == key))
        });
        if *named != realm || !told {
            Self::Wrong("it is not for the realm that the HSM holds")
        } else if !statement.is_signed() {
            Self::Wrong("too few of its custodians signed it")
        } else {
            Self::Signed(statement)
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Signed(statement) => {
                let Founding { policy, .. } = &statement.founding;
                let signers =
                    policy.signers(&statement.founding.digest(), &statement.signatures).count_ones();
                format!("signed by {signers} of its {} custodians", policy.custodians.len())
            }
            Self::Closed => "nobody signs for a closed realm".into(),
            Self::Missing(None) => {
                "not signed yet: each custodian runs `realm sign`, then `realm found`".into()
            }
            Self::Missing(Some(founding)) => {
                let unsigned = FoundingStatement { founding: founding.clone(), signatures: Vec::new() };
                format!(
                    "not signed yet: each custodian runs `realm sign`, then `realm found`, for\n{}",
                    unsigned.to_line()
                )
            }
            Self::Wrong(why) => {
                format!("WRONG: {why}; put the signed founding in its place with `realm found`")
            }
            Self::Unavailable => "not known: the object store does not answer".into(),
        }
    }

    /// The signed founding as a line, if there is one.
    pub(super) fn line(&self) -> Option<String> {
        match self {
            Self::Signed(statement) => Some(statement.to_line()),
            Self::Closed | Self::Missing(_) | Self::Wrong(_) | Self::Unavailable => None,
        }
    }
}

/// What the store holds as the founding of `realm`, compared with what an HSM says, if one was asked.
pub(super) async fn stored(store: &Store, realm: RealmId, hsm: Option<&RealmStatus>) -> Founded {
    if hsm.is_some_and(|hsm| hsm.policy.custodians.is_empty()) {
        return Founded::Closed;
    }
    Founded::of(store.read(&founding_object(realm)).await, realm, hsm)
}

/// The same, as the agent reads it in its store.
pub(super) async fn founded(agent: &mut Client, hsm: &RealmStatus) -> Founded {
    if hsm.policy.custodians.is_empty() {
        return Founded::Closed;
    }
    match agent.founding().await {
        Ok(found) => {
            let found = found.map_or(ReadOutcome::Absent, ReadOutcome::Found);
            Founded::of(found, hsm.realm, Some(hsm))
        }
        Err(_) => Founded::Unavailable,
    }
}

/// The realms that a store holds something of.
pub(super) async fn realms(store: &Store) -> Vec<RealmId> {
    let folders = store.folders("realms").await.unwrap_or_default();
    folders.iter().filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{custodian_key, sign};
    use ed25519_dalek::SigningKey;
    use strongroom_proto::enrolment::{Attestation, RealmPolicy};
    use strongroom_proto::hsm::Origin;
    use strongroom_proto::ids::{BuildDigest, Digest, Ed25519Public, HsmId, X25519Public};
    use strongroom_proto::statement::MemberStatement;

    fn keys() -> [SigningKey; 3] {
        [1, 2, 3].map(|i| SigningKey::from_bytes(&[i; 32]))
    }

    fn founding() -> Founding {
        Founding {
            realm: RealmId([1; 16]),
            public_key: X25519Public([2; 32]),
            policy: RealmPolicy {
                custodians: keys().iter().map(custodian_key).collect(),
                threshold: 2,
                smallest_group: None,
            },
            hsm: HsmId([3; 16]),
            build: BuildDigest([4; 32]),
            checkpoint_key: Some(Ed25519Public([5; 32])),
        }
    }

    fn hsm() -> RealmStatus {
        let Founding { realm, public_key, policy, hsm, .. } = founding();
        RealmStatus {
            realm,
            public_key,
            policy,
            unassigned: false,
            member: MemberStatement::new(&[0; 32], &realm, hsm),
            record_id_key: Digest([0; 32]),
            origin: Origin::MadeHere,
            attestation: Attestation::none(),
            checkpoint_key: Some(Ed25519Public([5; 32])),
        }
    }

    fn read(founding: &Founding, signers: &[usize]) -> Founded {
        let signatures = signers.iter().map(|i| sign(&keys()[*i], &founding.digest())).collect();
        let line = FoundingStatement { founding: founding.clone(), signatures }.to_line();
        Founded::of(ReadOutcome::Found(line.into()), RealmId([1; 16]), Some(&hsm()))
    }

    #[test]
    fn a_founding_from_the_store_counts_if_its_custodians_signed_what_the_hsm_says() {
        assert!(matches!(read(&founding(), &[0, 2]), Founded::Signed(_)));
        assert!(matches!(read(&founding(), &[0]), Founded::Wrong(_)));
        assert!(matches!(read(&founding(), &[0, 0]), Founded::Wrong(_)));
    }

    #[test]
    fn a_founding_that_was_swapped_is_reported() {
        let changes: [fn(&mut Founding); 5] = [
            |f| f.checkpoint_key = Some(Ed25519Public([9; 32])),
            |f| f.public_key = X25519Public([9; 32]),
            |f| f.realm = RealmId([9; 16]),
            |f| f.policy.threshold = 1,
            |f| f.policy.custodians.truncate(2),
        ];
        for change in changes {
            let mut other = founding();
            change(&mut other);
            assert!(matches!(read(&other, &[0, 1]), Founded::Wrong(_)), "{other:?}");
        }
        let other = |bytes: &[u8]| Founded::of(ReadOutcome::Found(bytes.to_vec()), hsm().realm, Some(&hsm()));
        assert!(matches!(other(b"anything"), Founded::Wrong(_)));
        assert!(matches!(other(b"\xff"), Founded::Wrong(_)));
    }
}
