//! Keeping the signed founding of a realm beside the log, and giving it to clients.

use super::arguments::{ClientConfig, TranscriptArguments};
use super::error::CliError;
use super::founded::{Founded, founded, stored};
use super::line::Line;
use super::marker::At;
use super::reach::{Reach, agent, configured};
use super::record::Record;
use super::show;
use crate::admin::AdminError;
use crate::store::Store;
use crate::store::founding_object;
use crate::transcript::{Outcome, Sign, Step};
use serde_json::json;
use strongroom_proto::enrolment::{CustodianSignature, FoundingStatement};
use strongroom_proto::hsm::RealmStatus;
use strongroom_replica::ReadOutcome;

/// `realm found`.
pub(super) async fn found(
    reach: &Reach,
    founding: &str,
    signatures: &[String],
    record: &TranscriptArguments,
) -> Result<(), CliError> {
    let FoundingStatement { founding, .. } = FoundingStatement::from_line(founding)?;
    let signatures = signatures.iter().map(|line| CustodianSignature::from_line(line));
    let statement = FoundingStatement { founding, signatures: signatures.collect::<Result<_, _>>()? };
    let device = agent(reach).await?.device().await?;
    let realm = device.realm.ok_or(AdminError::NoRealm)?;
    let step = Step::Found { founding: (&statement.founding).into(), signatures: signs(&statement) };
    let mut record = Record::start(record, At::Agent(reach), step)?;
    let kept = keep(reach, &realm, &statement).await;
    let kept = record.settle(kept, |kept| Outcome::Founded(signs(kept)))?;
    outln!("{}", kept.to_line());
    hintln!(
        "The line above is the signed founding. Give it to every custodian, and to everyone who builds apps for this realm."
    );
    hint!("{}", show::founding_text(&statement.founding));
    hintln!("Next: bring in other HSMs: strongroom-agent hsm request, at the agent of each.");
    record.close()
}

fn signs(statement: &FoundingStatement) -> Vec<Sign> {
    statement.signatures.iter().map(Sign::from).collect()
}

/// Stores a founding that counts, unless the store has one that does.
async fn keep(
    reach: &Reach,
    realm: &RealmStatus,
    statement: &FoundingStatement,
) -> Result<FoundingStatement, CliError> {
    let line = statement.to_line();
    let told = Founded::of(ReadOutcome::Found(line.clone().into()), realm.realm, Some(realm));
    if let Founded::Wrong(why) = told {
        return Err(CliError::Founding(why));
    }
    let configured = configured(&reach.config)?;
    let store = Store::open_existing(&configured.store, &configured.store_options)?;
    let name = founding_object(realm.realm);
    if let Founded::Wrong(why) = stored(&store, realm.realm, Some(realm)).await {
        hintln!("What the store had at {name} did not count: {why}. It is replaced.");
        store.delete(&name).await.map_err(|_| CliError::FoundingNotKept)?;
    }
    store.create(&name, line.into()).await;
    let Founded::Signed(kept) = stored(&store, realm.realm, Some(realm)).await else {
        return Err(CliError::FoundingNotKept);
    };
    if kept != *statement {
        hintln!(
            "The store already had a signed founding of this realm, with other signatures, and keeps it."
        );
    }
    Ok(kept)
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
    hintln!(
        "What custodians state of the realm, for who checks its logs: strongroom-agent realm statement show --out FILE"
    );
    match founded {
        Founded::Wrong(why) => Err(CliError::Founding(why)),
        Founded::Signed(_) | Founded::Closed | Founded::Missing(_) | Founded::Unavailable => Ok(()),
    }
}
