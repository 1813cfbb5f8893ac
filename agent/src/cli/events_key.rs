//! `tenant events-key`: the key to which a tenant's events are sealed, signed by custodians and kept beside the log.
//!
//! HSMs go by the signatures alone. What is checked here is checked so that people learn of a mistake before the tenant misses events.

use super::arguments::{EventsKeyCommand, PublishEventsKey, SignEventsKey, StatusFormat};
use super::error::CliError;
use super::keys::read_key;
use super::line::Line;
use super::reach::{Reach, agent, any_agent, configured};
use super::show;
use crate::admin::{AdminError, custodian_key, sign};
use crate::store::{ReplaceOutcome, Store};
use serde_json::json;
use strongroom_events::SignedKey;
use strongroom_events::tenant::key_object;
use strongroom_proto::enrolment::{CustodianSignature, RealmPolicy};
use strongroom_proto::events::TenantKey;
use strongroom_proto::ids::{RealmId, X25519Public};
use strongroom_replica::{CreateOutcome, ReadOutcome};

pub(super) async fn execute(reach: &Reach, command: EventsKeyCommand) -> Result<(), CliError> {
    match command {
        EventsKeyCommand::Sign(arguments) => sign_key(&arguments),
        EventsKeyCommand::Publish(arguments) => publish(reach, &arguments).await,
        EventsKeyCommand::Show { tenant, format } => show_key(reach, &tenant, format).await,
    }
}

fn tenant_key(tenant: &str, key: X25519Public) -> TenantKey {
    TenantKey { tenant: tenant.as_bytes().to_vec().into(), key }
}

fn sign_key(arguments: &SignEventsKey) -> Result<(), CliError> {
    let SignEventsKey { key, realm, tenant, public_key } = arguments;
    hintln!(
        "You are signing for realm {realm}: what happens to the users of tenant {tenant} is told to whoever has the"
    );
    hintln!("secret of this key:");
    hintln!("  {public_key}");
    hintln!(
        "They learn of each registration, each guess and how many are left, each recovery and loss: of whom, and when."
    );
    hintln!(
        "It cannot be taken back: another key can take its place, but whoever has this secret, and the help of a host,"
    );
    hintln!(
        "is told what happens from then on as well. A host may have handed you a key of its own: compare it, digit by"
    );
    hintln!("digit, with what the tenant itself reads to you.");
    let key = read_key(key)?;
    let signature = sign(&key, &tenant_key(tenant, *public_key).digest(realm));
    outln!("{}", signature.to_line());
    hintln!("The line above is your signature, as custodian {}.", custodian_key(&key).0);
    hintln!(
        "Next, at an agent of the realm: strongroom-agent tenant events-key publish {tenant} {public_key} SIGNATURE…"
    );
    Ok(())
}

async fn publish(reach: &Reach, arguments: &PublishEventsKey) -> Result<(), CliError> {
    let signatures = arguments.signatures.iter().map(|line| CustodianSignature::from_line(line));
    let key = tenant_key(&arguments.tenant, arguments.public_key);
    let signed = SignedKey { key, signatures: signatures.collect::<Result<_, _>>()? };
    let realm = agent(reach).await?.device().await?.realm.ok_or(AdminError::NoRealm)?;
    let store = store(reach)?;
    match put(&store, (&realm.realm, &realm.policy), &signed, arguments.replace).await? {
        Put::There => hintln!("The store has this key already, with signatures that count, and keeps it."),
        Put::Done => hintln!("The key is published: agents seal the tenant's events to it from now on."),
    }
    hintln!("Next, by the tenant, who needs to read below realms/{}/events/ in the store:", realm.realm);
    hintln!(
        "strongroom-events tail --store URL --realm {} --tenant {} --key FILE",
        realm.realm,
        arguments.tenant
    );
    Ok(())
}

fn store(reach: &Reach) -> Result<Store, CliError> {
    let configured = configured(&reach.config)?;
    Ok(Store::open_existing(&configured.store, &configured.store_options)?)
}

/// What became of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Put {
    /// It was there.
    There,
    /// It is there now.
    Done,
}

/// Stores a key that counts, unless the store has it, or another that does.
async fn put(
    store: &Store,
    (realm, policy): (&RealmId, &RealmPolicy),
    signed: &SignedKey,
    replace: bool,
) -> Result<Put, CliError> {
    let refused = |why: String| Err(CliError::NotPublished(why));
    if !signed.is_signed(realm, policy) {
        return refused(format!(
            "{}, and {} must: each over this realm, tenant and key; have custodians sign it with `tenant events-key sign`",
            signers(realm, policy, signed),
            policy.threshold
        ));
    }
    let tenant = String::from_utf8_lossy(&signed.key.tenant);
    let name = key_object(realm, &tenant);
    let not_kept = || CliError::NotPublished("the object store does not answer; run this again".into());
    let counts = |old: &SignedKey| old.is_signed(realm, policy);
    match store.see(&name).await {
        Err(_) => return Err(not_kept()),
        Ok(None) => match store.create(&name, signed.encode().into()).await {
            CreateOutcome::Created => {}
            CreateOutcome::Lost => {
                return refused("somebody else published one just now; run this again".into());
            }
            CreateOutcome::Unknown => return Err(not_kept()),
        },
        Ok(Some(seen)) => {
            match SignedKey::decode(&tenant, &seen.bytes).filter(counts) {
                Some(old) if old.key == signed.key => return Ok(Put::There),
                Some(old) if !replace => {
                    return refused(format!(
                        "the tenant has another, {}; its secret opens nothing that is sealed to the new one. Add --replace if you mean it",
                        old.key.key
                    ));
                }
                Some(old) => hintln!("The key {} is replaced.", old.key.key),
                None => hintln!("What the store had at {name} did not count. It is replaced."),
            }
            let replaced = store.replace(&name, Some(&seen), signed.encode().into()).await;
            if replaced != ReplaceOutcome::Replaced {
                return Err(not_kept());
            }
        }
    }
    match store.read(&name).await {
        ReadOutcome::Found(bytes) if bytes == signed.encode() => Ok(Put::Done),
        _ => Err(not_kept()),
    }
}

fn signers(realm: &RealmId, policy: &RealmPolicy, signed: &SignedKey) -> String {
    let signers = policy.signers(&signed.key.digest(realm), &signed.signatures).count_ones();
    format!("signed by {signers} of the realm's {} custodians", policy.custodians.len())
}

async fn show_key(reach: &Reach, tenant: &str, format: StatusFormat) -> Result<(), CliError> {
    let realm = any_agent(reach).await?.device().await?.realm.ok_or(AdminError::NoRealm)?;
    let found = store(reach)?.read(&key_object(&realm.realm, tenant)).await;
    let bytes = match found {
        ReadOutcome::Found(bytes) => Some(bytes),
        ReadOutcome::Absent => None,
        ReadOutcome::Unavailable => {
            return Err(CliError::Arguments(
                "the object store does not answer; check that it does, and run this again",
            ));
        }
    };
    let signed = bytes.as_ref().and_then(|bytes| SignedKey::decode(tenant, bytes));
    let counts = signed.as_ref().is_some_and(|signed| signed.is_signed(&realm.realm, &realm.policy));
    let key = signed.as_ref().map(|signed| signed.key.key.to_string());
    let json = json!({
        "realm": realm.realm.to_string(),
        "tenant": tenant,
        "key": key,
        "counts": counts,
    });
    show::print(format, &json, || match (&signed, &bytes) {
        (Some(signed), _) => {
            let verdict = if counts {
                "events are sealed to it"
            } else {
                "WRONG: too few; it does not count, and nothing is sealed to it"
            };
            let by = signers(&realm.realm, &realm.policy, signed);
            format!("tenant {tenant}: {}\n  {by}: {verdict}\n", signed.key.key)
        }
        (None, Some(_)) => {
            format!("tenant {tenant}: WRONG: what the store has is no key of this tenant; publish it again\n")
        }
        (None, None) => format!("tenant {tenant}: no key is published, and nobody is told of its events\n"),
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use object_store::memory::InMemory;
    use std::sync::Arc;

    const REALM: RealmId = RealmId([1; 16]);

    fn keys() -> [SigningKey; 3] {
        [1, 2, 3].map(|i| SigningKey::from_bytes(&[i; 32]))
    }

    fn policy() -> RealmPolicy {
        let custodians = keys().iter().map(custodian_key).collect();
        RealmPolicy { custodians, threshold: 2, smallest_group: None }
    }

    fn signed(realm: RealmId, tenant: &str, key: u8, signers: &[usize]) -> SignedKey {
        let key = tenant_key(tenant, X25519Public([key; 32]));
        let signatures = signers.iter().map(|i| sign(&keys()[*i], &key.digest(&realm))).collect();
        SignedKey { key, signatures }
    }

    async fn stored(store: &Store) -> Option<SignedKey> {
        match store.read(&key_object(&REALM, "acme")).await {
            ReadOutcome::Found(bytes) => SignedKey::decode("acme", &bytes),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_key_is_published_if_enough_custodians_signed_exactly_that() {
        let store = Store::on(Arc::new(InMemory::new()));
        let good = signed(REALM, "acme", 9, &[0, 2]);
        let mut of_other_tenant = signed(REALM, "globex", 9, &[0, 2]);
        of_other_tenant.key.tenant = good.key.tenant.clone();
        let mut of_other_key = good.clone();
        of_other_key.key.key = X25519Public([8; 32]);
        for wrong in [
            signed(REALM, "acme", 9, &[1]),
            signed(REALM, "acme", 9, &[1, 1]),
            signed(RealmId([2; 16]), "acme", 9, &[0, 2]),
            of_other_tenant,
            of_other_key,
        ] {
            let error = put(&store, (&REALM, &policy()), &wrong, true).await.unwrap_err().to_string();
            assert!(error.contains("of the realm's 3 custodians, and 2 must"), "{error}");
            assert_eq!(stored(&store).await, None);
        }
        let closed = put(&store, (&REALM, &RealmPolicy::closed()), &good, true).await;
        assert!(matches!(closed, Err(CliError::NotPublished(_))));
        assert_eq!(put(&store, (&REALM, &policy()), &good, false).await.unwrap(), Put::Done);
        assert_eq!(stored(&store).await, Some(good.clone()));
        // Once more, also with other signatures that count.
        let again = signed(REALM, "acme", 9, &[1, 2]);
        assert_eq!(put(&store, (&REALM, &policy()), &again, false).await.unwrap(), Put::There);
        assert_eq!(stored(&store).await, Some(good));
    }

    #[tokio::test]
    async fn another_key_stays_unless_it_is_to_be_replaced_and_what_does_not_count_does_not_stay() {
        let store = Store::on(Arc::new(InMemory::new()));
        let (old, new) = (signed(REALM, "acme", 9, &[0, 1]), signed(REALM, "acme", 8, &[0, 1]));
        let unsigned = signed(REALM, "acme", 7, &[0]);
        for rubbish in [b"rubbish".to_vec(), unsigned.encode(), [old.encode(), vec![0]].concat()] {
            let (name, seen) =
                (key_object(&REALM, "acme"), store.see(&key_object(&REALM, "acme")).await.unwrap());
            let replaced = store.replace(&name, seen.as_ref(), rubbish.into()).await;
            assert_eq!(replaced, ReplaceOutcome::Replaced);
            assert_eq!(put(&store, (&REALM, &policy()), &old, false).await.unwrap(), Put::Done);
        }
        let error = put(&store, (&REALM, &policy()), &new, false).await.unwrap_err().to_string();
        assert!(error.contains(&old.key.key.to_string()) && error.contains("--replace"), "{error}");
        assert_eq!(stored(&store).await, Some(old));
        assert_eq!(put(&store, (&REALM, &policy()), &new, true).await.unwrap(), Put::Done);
        assert_eq!(stored(&store).await, Some(new));
    }
}
