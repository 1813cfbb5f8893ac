//! `realm`: custodians' keys, a new realm, and what it is.

use super::arguments::{CreateRealm, KeyArguments, RealmCommand, StatusFormat, TranscriptArguments};
use super::error::CliError;
use super::founded::{Founded, founded};
use super::keys::{self, read_key};
use super::line::Line;
use super::marker::At;
use super::reach::{Reach, agent, any_agent};
use super::record::{Record, check_place};
use super::stated::stated;
use super::words::{compare, compare_drawn_here};
use super::{founding, overview, rebalance, rehearsal, show, signed, statement, transcript};
use crate::admin::{AdminError, custodian_key, sign};
use crate::overview::{Level, Overview, json, judge};
use crate::transcript::{Hex, Outcome, Step};
use serde_json::Value;
use std::time::{Duration, Instant};
use strongroom_proto::enrolment::{FoundingStatement, MAX_CUSTODIANS, RealmPolicy};
use strongroom_proto::hsm::Origin;

pub(super) async fn execute(config: &Reach, command: RealmCommand) -> Result<(), CliError> {
    match command {
        RealmCommand::Custodian(arguments) => keys::new(&arguments)?,
        RealmCommand::Keep(arguments) => keys::keep(&arguments)?,
        RealmCommand::Create(arguments) => create(config, &arguments).await?,
        RealmCommand::Sign { key, founding, record } => sign_founding(&key, &founding, &record)?,
        RealmCommand::Found { founding, signatures, record } => {
            founding::found(config, &founding, &signatures, &record).await?;
        }
        RealmCommand::Statement(command) => statement::execute(config, command).await?,
        RealmCommand::Rehearse(arguments) => rehearsal::execute(&arguments).await?,
        RealmCommand::Transcript(command) => transcript::execute(&command)?,
        RealmCommand::Rebalance(arguments) => rebalance::execute(config, arguments).await?,
        RealmCommand::Status(format) => status(config, format).await?,
    }
    Ok(())
}

async fn create(config: &Reach, arguments: &CreateRealm) -> Result<(), CliError> {
    let policy = policy(arguments)?;
    let mut agent = agent(config).await?;
    let mut record = Record::start(&arguments.record, At::Agent(config), Step::Create((&policy).into()))?;
    let made = agent.new_realm(policy).await;
    let founding = made.and_then(|device| device.founding().ok_or(AdminError::Unexpected));
    let founding =
        record.settle(founding.map_err(CliError::from), |founding| Outcome::Created(founding.into()))?;
    outln!("{}", FoundingStatement { founding: founding.clone(), signatures: Vec::new() }.to_line());
    hintln!("The realm is made; the line above is its founding. It says:");
    hint!("{}", show::founding_text(&founding));
    hintln!("No copy of its keys exists outside HSM {}, whose console shows its words now.", founding.hsm);
    hintln!("The ceremony is recorded in {}: take it along.", arguments.record.transcript.display());
    if arguments.closed {
        hintln!("It is closed: no other HSM ever gets it, and no custodian signs for it.");
        hintln!("Next: strongroom-agent group create --members {}", founding.hsm);
    } else {
        hintln!("Next, by each custodian, who can read that console:");
        hintln!("strongroom-agent realm sign --key FILE FOUNDING");
    }
    record.close()
}

fn sign_founding(kept: &KeyArguments, founding: &str, record: &TranscriptArguments) -> Result<(), CliError> {
    let founding = FoundingStatement::from_line(founding)?.founding;
    // Before anybody types a secret.
    check_place(record, At::Custodian(kept.files()))?;
    let (key, policy) = (read_key(kept)?, &founding.policy);
    let custodian = custodian_key(&key);
    if !policy.is_valid() || !policy.custodians.contains(&custodian) {
        return Err(CliError::Arguments(
            "this key is not a custodian's of that realm: its maker left you out; do not use that realm",
        ));
    }
    let step = Step::SignFounding { custodian: Hex(custodian.0.0), founding: (&founding).into() };
    let mut record = Record::start(record, At::Custodian(kept.files()), step)?;
    hintln!("With your signature apps take this public key for that of the realm you look after:");
    hint!("{}", show::founding_text(&founding));
    hintln!("Read what is asked below on the console of that HSM itself, not on its host, and type it.");
    let compared = compare_drawn_here().and_then(|()| compare(&founding.parts()));
    let signature = compared.map(|()| sign(&key, &founding.digest()));
    let signature = record.settle(signature, |signature| Outcome::FoundingSigned(signature.into()))?;
    record.sign_head(&key);
    outln!("{}", signature.to_line());
    hintln!("The line above is your signature.");
    hintln!("Next, at the agent of that HSM: strongroom-agent realm found FOUNDING SIGNATURE…");
    record.close()
}

/// How long what usually passes may last before it counts, and how often to look meanwhile.
const PASSES: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(300);

async fn status(config: &Reach, format: StatusFormat) -> Result<(), CliError> {
    let unknown = |error: CliError| CliError::NotKnown(Box::new(error));
    let mut client = any_agent(config).await.map_err(unknown)?;
    let since = Instant::now();
    let (own, overview, verdict) = loop {
        let (own, peers, not_asked) = client.said().await.map_err(|error| unknown(error.into()))?;
        let overview = Overview::of(&own, &peers, not_asked);
        let verdict = judge(&overview, since.elapsed() >= PASSES);
        if !verdict.may_pass() || since.elapsed() >= PASSES {
            break (own, overview, verdict);
        }
        tokio::time::sleep(AGAIN).await;
    };
    let mut value = json(&overview, &verdict);
    let mut text = overview::text(&overview, &verdict);
    if let Some(device) = &own.device {
        let realm = device.realm.as_ref().ok_or(AdminError::NoRealm)?;
        let mut founded = founded(&mut client, realm).await;
        if let (Founded::Missing(_), Origin::MadeHere) = (&founded, realm.origin) {
            founded = Founded::Missing(device.founding());
        }
        let stated = stated(&mut client, realm).await;
        text.push_str(&signed::text(realm, &founded, &stated));
        if let (Value::Object(all), Value::Object(of_realm)) =
            (&mut value, signed::json(realm, &founded, &stated))
        {
            all.extend(of_realm);
        }
    }
    show::print(format, &value, || text)?;
    match verdict.level {
        Level::Well => Ok(()),
        level => Err(CliError::NotWell { level, line: verdict.line() }),
    }
}

fn policy(arguments: &CreateRealm) -> Result<RealmPolicy, CliError> {
    if arguments.closed {
        return Ok(RealmPolicy::closed());
    }
    let custodians = arguments.custodians.clone();
    if custodians.is_empty() {
        return Err(CliError::Arguments(
            "name the realm's custodians with `--custodian PUBKEY`, once for each: they alone can let another HSM have it. For a \
             realm that stays in this HSM forever and is lost with it, say `--closed`",
        ));
    }
    if custodians.len() > MAX_CUSTODIANS {
        return Err(CliError::Arguments("a realm has at most 9 custodians; name fewer"));
    }
    let majority = u8::try_from(custodians.len() / 2 + 1).unwrap_or(u8::MAX);
    let policy = RealmPolicy {
        custodians,
        threshold: arguments.threshold.unwrap_or(majority),
        smallest_group: Some(arguments.smallest_group),
    };
    if policy.is_valid() {
        Ok(policy)
    } else {
        Err(CliError::Arguments(
            "the custodians are different keys, and the threshold is at most their number; correct the arguments",
        ))
    }
}
