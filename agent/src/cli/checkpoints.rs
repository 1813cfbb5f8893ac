//! `group checkpoints`: what outsiders can check of the groups of this agent's HSM, as it is in the store.

use super::arguments::StatusFormat;
use super::error::CliError;
use super::reach::{Reach, any_agent, configured};
use super::show;
use crate::publish::{folder, verifier};
use crate::store::Store;
use serde_json::{Value, json};
use std::fmt::Write as _;
use strongroom_proto::checkpoint::origin;
use strongroom_proto::hsm::RealmStatus;
use strongroom_proto::ids::GroupId;
use strongroom_replica::ReadOutcome;
use strongroom_tlog::{ClaimedCheckpoint, Policy, VerifiedCheckpoint, VerifierKey};

pub(super) async fn show(reach: &Reach, format: StatusFormat) -> Result<(), CliError> {
    let config = configured(&reach.config)?;
    let device = any_agent(reach).await?.device().await?;
    let realm = device.realm.ok_or(CliError::Arguments("the HSM has no realm yet: see `realm create`"))?;
    // To look must not create what is not there.
    let store = Store::open_existing(&config.store, &config.store_options)?;
    let witnesses: Vec<VerifierKey> = config.witnesses.iter().map(|witness| witness.key.clone()).collect();
    let mut logs = Vec::new();
    for status in &device.groups {
        logs.push(look(&store, &realm, status.statement.group, &witnesses).await?);
    }
    show::print(format, &Value::Array(logs.iter().map(Log::json).collect()), || {
        logs.iter().map(Log::text).collect()
    })?;
    match logs.iter().filter(|log| log.published.is_err()).count() {
        0 => Ok(()),
        wrong => Err(CliError::Found(wrong)),
    }
}

/// A group, the key of its checkpoints, and the newest one, if there is one, or why it counts for nothing.
struct Log {
    group: GroupId,
    key: VerifierKey,
    published: Result<Option<VerifiedCheckpoint>, String>,
}

async fn look(
    store: &Store,
    realm: &RealmStatus,
    group: GroupId,
    witnesses: &[VerifierKey],
) -> Result<Log, CliError> {
    let none = CliError::Arguments("this HSM's build signs no checkpoints; install a newer one");
    let key = verifier(&realm.realm, &group, &realm.checkpoint_key.ok_or(none)?)?;
    let policy = Policy::of_log(origin(&realm.realm, &group), vec![key.clone()])
        .and_then(|policy| policy.with_witnesses(witnesses.to_vec(), 0))
        .map_err(|_| CliError::Arguments("`witnesses` in agent.toml names one key twice"))?;
    let published = match store.read(&format!("{}/checkpoint", folder(&group))).await {
        ReadOutcome::Absent => Ok(None),
        ReadOutcome::Unavailable => Err("the object store does not answer".into()),
        ReadOutcome::Found(bytes) => {
            let claimed = ClaimedCheckpoint::parse(&bytes).map_err(|error| error.to_string());
            claimed.and_then(|claimed| claimed.verify(&policy).map_err(|error| error.to_string())).map(Some)
        }
    };
    Ok(Log { group, key, published })
}

impl Log {
    fn text(&self) -> String {
        let Self { group, key, published } = self;
        let mut text = format!("group {group}\n  key         {key}\n");
        let said = match published {
            Err(why) => format!("  checkpoint  WRONG: {why}\n"),
            Ok(None) => "  checkpoint  none yet\n".into(),
            Ok(Some(verified)) => {
                let checkpoint = verified.checkpoint();
                format!("  checkpoint  {} entries, signed by the realm\n", checkpoint.size())
            }
        };
        text.push_str(&said);
        for (name, time) in published.iter().flatten().flat_map(VerifiedCheckpoint::witnesses) {
            let _ = writeln!(text, "  cosigned    by {name}, at {time} (Unix time)");
        }
        text
    }

    fn json(&self) -> Value {
        let Self { group, key, published } = self;
        let verified = published.as_ref().ok().and_then(Option::as_ref);
        let witnesses = verified.map_or(&[][..], VerifiedCheckpoint::witnesses);
        json!({
            "group": group.to_string(),
            "key": key.to_string(),
            "entries": verified.map(|verified| verified.checkpoint().size()),
            "cosigned": witnesses.iter().map(|(name, time)| json!({ "by": name.to_string(), "at": time })).collect::<Vec<_>>(),
            "wrong": published.as_ref().err(),
        })
    }
}
