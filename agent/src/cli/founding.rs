//! The founding of a realm, signed by its custodians: kept beside the log, shown, and given to clients.
//!
//! The store is not trusted with it: what it holds counts only if enough custodians signed it, and if it names what the HSM
//! itself says of its realm. Whether these are the right custodians is for people to say, so they are always shown.

use super::{CliError, ClientConfig, Line, Reach, agent, configured, show};
use crate::admin::{AdminError, Client};
use crate::store::Store;
use crate::store::founding_object;
use serde_json::json;
use strongroom_proto::enrolment::{CustodianSignature, Founding, FoundingStatement};
use strongroom_proto::hsm::RealmStatus;
use strongroom_proto::ids::RealmId;
use strongroom_replica::ReadOutcome;

/// What is known of a realm's founding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Founded {
    /// Enough custodians signed it, and it is of the HSM's realm.
    Signed(FoundingStatement),
    /// The realm has no custodians.
    Closed,
    /// Nothing is there yet. What custodians are to sign, where that is known.
    Missing(Option<Founding>),
    /// What is there is not a founding of this realm; why.
    Wrong(&'static str),
    /// The store does not answer.
    Unavailable,
}

impl Founded {
    fn of(stored: ReadOutcome, realm: RealmId, hsm: Option<&RealmStatus>) -> Self {
        let bytes = match stored {
            ReadOutcome::Found(bytes) => bytes,
            ReadOutcome::Absent => return Self::Missing(None),
            ReadOutcome::Unavailable => return Self::Unavailable,
        };
        let line = std::str::from_utf8(&bytes).ok();
        let Some(statement) = line.and_then(|line| FoundingStatement::from_line(line).ok()) else {
            return Self::Wrong("it is not a founding");
        };
        let Founding { realm: named, public_key, policy, .. } = &statement.founding;
        let told = hsm.is_none_or(|hsm| (&hsm.public_key, &hsm.policy) == (public_key, policy));
        if *named != realm || !told {
            Self::Wrong("it is not of the realm that the HSM holds")
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
                "not signed yet: `realm sign` by each custodian, then `realm found`".into()
            }
            Self::Missing(Some(founding)) => {
                let unsigned = FoundingStatement { founding: founding.clone(), signatures: Vec::new() };
                format!(
                    "not signed yet: `realm sign` by each custodian, then `realm found`, of\n{}",
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

/// What the store holds of the founding of `realm`, compared with what an HSM says, if one was asked.
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

/// The realms of which a store holds something.
pub(super) async fn realms(store: &Store) -> Vec<RealmId> {
    let folders = store.folders("realms").await.unwrap_or_default();
    folders.iter().filter_map(|name| name.parse().ok()).collect()
}

/// `realm found`.
pub(super) async fn found(reach: &Reach, founding: &str, signatures: &[String]) -> Result<(), CliError> {
    let FoundingStatement { founding, .. } = FoundingStatement::from_line(founding)?;
    let signatures = signatures.iter().map(|line| CustodianSignature::from_line(line));
    let statement = FoundingStatement { founding, signatures: signatures.collect::<Result<_, _>>()? };
    let device = agent(reach).await?.device().await?;
    let realm = device.realm.ok_or(AdminError::NoRealm)?;
    let line = statement.to_line();
    let told = Founded::of(ReadOutcome::Found(line.clone().into()), realm.realm, Some(&realm));
    if let Founded::Wrong(why) = told {
        return Err(CliError::Founding(why));
    }
    let configured = configured(&reach.config)?;
    let store = Store::open_existing(&configured.store, &configured.store_options)?;
    let name = founding_object(realm.realm);
    if let Founded::Wrong(why) = self::stored(&store, realm.realm, Some(&realm)).await {
        hintln!("What the store had at {name} did not count: {why}. It is replaced.");
        store.delete(&name).await.map_err(|_| CliError::FoundingNotKept)?;
    }
    store.create(&name, line.into()).await;
    let Founded::Signed(kept) = self::stored(&store, realm.realm, Some(&realm)).await else {
        return Err(CliError::FoundingNotKept);
    };
    if kept != statement {
        hintln!(
            "The store already had a signed founding of this realm, with other signatures, and keeps it."
        );
    }
    outln!("{}", kept.to_line());
    hintln!(
        "The line above is the signed founding. Give it to every custodian, and to everybody who builds apps for this realm."
    );
    hint!("{}", show::founding_text(&statement.founding));
    hintln!("Next: bring in other HSMs: strongroom-agent hsm request, at the agent of each.");
    Ok(())
}

/// `client-config`.
pub(super) async fn client_config(reach: &Reach, arguments: &ClientConfig) -> Result<(), CliError> {
    let mut agent = agent(reach).await?;
    let realm = agent.device().await?.realm.ok_or(AdminError::NoRealm)?;
    let founded = founded(&mut agent, &realm).await;
    let mut entry = json!({
        "id": realm.realm.to_string(),
        "address": arguments.address.as_str(),
        "public_key": realm.public_key.to_string(),
    });
    // Clients ignore what they do not know; people and tools check it.
    if let (Some(line), Some(entry)) = (founded.line(), entry.as_object_mut()) {
        entry.insert("founding".into(), line.into());
    }
    let configuration = json!({
        "realms": [entry],
        "register_threshold": 1,
        "recover_threshold": 1,
        "pin_hashing_mode": "Standard2019",
    });
    outln!("{configuration:#}");
    hintln!("Founding: {}", founded.text());
    match founded {
        Founded::Wrong(why) => Err(CliError::Founding(why)),
        Founded::Signed(_) | Founded::Closed | Founded::Missing(_) | Founded::Unavailable => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{custodian_key, sign};
    use ed25519_dalek::SigningKey;
    use strongroom_proto::enrolment::{Attestation, CustodianPolicy};
    use strongroom_proto::hsm::Origin;
    use strongroom_proto::ids::{BuildDigest, Digest, HsmId, X25519Public};
    use strongroom_proto::statement::MemberStatement;

    fn keys() -> [SigningKey; 3] {
        [1, 2, 3].map(|i| SigningKey::from_bytes(&[i; 32]))
    }

    fn founding() -> Founding {
        Founding {
            realm: RealmId([1; 16]),
            public_key: X25519Public([2; 32]),
            policy: CustodianPolicy { custodians: keys().iter().map(custodian_key).collect(), threshold: 2 },
            hsm: HsmId([3; 16]),
            build: BuildDigest([4; 32]),
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
    fn a_founding_that_was_put_in_its_place_is_told() {
        let changes: [fn(&mut Founding); 4] = [
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
