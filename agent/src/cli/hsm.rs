//! `hsm`: what the HSM says, and the five steps by which a realm reaches another HSM.

use super::arguments::{HsmCommand, KeyArguments, TranscriptArguments};
use super::error::CliError;
use super::keys::read_key;
use super::line::Line;
use super::marker::At;
use super::reach::{Reach, agent};
use super::record::{Record, check_place};
use super::replace;
use super::show;
use super::words::compare;
use crate::admin::{AdminError, custodian_key, sign};
use crate::transcript::{Hex, Import, Outcome, Step, sealed_digest};
use strongroom_proto::enrolment::{
    CustodianKey, CustodianSignature, EnrolmentRequest, ExportApproval, FoundingStatement, SealedRealm,
};

pub(super) async fn execute(config: &Reach, command: HsmCommand) -> Result<(), CliError> {
    match command {
        HsmCommand::Status(format) => {
            let device = agent(config).await?.device().await?;
            show::print(format, &show::device_json(&device), || show::device_text(&device))?;
        }
        HsmCommand::Replace { lost, with, yes } => replace::execute(config, lost, with, yes).await?,
        HsmCommand::Request(record) => request(config, &record).await?,
        HsmCommand::Offer { request, record } => offer(config, &request, &record).await?,
        HsmCommand::Approve { key, founding, approval, record } => {
            approve(&key, &founding, &approval, &record)?;
        }
        HsmCommand::Export { approval, signatures, record } => {
            export(config, &approval, &signatures, &record).await?;
        }
        HsmCommand::Enrol { sealed, record } => enrol(config, &sealed, &record).await?,
    }
    Ok(())
}

async fn request(config: &Reach, record: &TranscriptArguments) -> Result<(), CliError> {
    let mut agent = agent(config).await?;
    let mut record = Record::start(record, At::Agent(config), Step::Request {})?;
    let request = agent.request().await.map_err(CliError::from);
    let request = record.settle(request, |request| Outcome::Requested(request.into()))?;
    outln!("{}", request.to_line());
    hintln!(
        "HSM {} asks to join a realm; the line above is its request. It is good until this",
        request.importer
    );
    hintln!("HSM restarts or asks again. Custodians will read the words on this HSM's console.");
    hintln!("Next, at the agent of an HSM that has the realm: strongroom-agent hsm offer REQUEST");
    record.close()
}

async fn offer(config: &Reach, request: &str, record: &TranscriptArguments) -> Result<(), CliError> {
    let request = EnrolmentRequest::from_line(request)?;
    let mut agent = agent(config).await?;
    let realm = agent.device().await?.realm.ok_or(AdminError::NoRealm)?;
    let step = Step::Offer { realm: Hex(realm.realm.0), request: (&request).into() };
    let mut record = Record::start(record, At::Agent(config), step)?;
    let approval = agent.offer(request).await.map_err(CliError::from);
    let approval = record.settle(approval, |approval| Outcome::Offered(approval.into()))?;
    outln!("{}", approval.to_line());
    hintln!("The line above is what custodians approve. It is valid for one export, and only until the");
    hintln!("next `hsm offer` here or a restart of either HSM. It says:");
    hint!("{}", show::approval_text(&approval));
    hintln!("Next, by each custodian, who can read the console of HSM {}:", approval.importer);
    hintln!("strongroom-agent hsm approve --key FILE --founding FOUNDING APPROVAL");
    record.close()
}

fn approve(
    kept: &KeyArguments,
    founding: &str,
    approval: &str,
    record: &TranscriptArguments,
) -> Result<(), CliError> {
    let approval = ExportApproval::from_line(approval)?;
    let founding = FoundingStatement::from_line(founding)?;
    // Before anybody types a secret.
    check_place(record, At::Custodian(kept.files()))?;
    let key = read_key(kept)?;
    let custodian = custodian_key(&key);
    check_approval(&approval, &founding, &custodian)?;
    let step = Step::Approve {
        custodian: Hex(custodian.0.0),
        founding: (&founding.founding).into(),
        approval: (&approval).into(),
    };
    let mut record = Record::start(record, At::Custodian(kept.files()), step)?;
    hintln!(
        "With your signature this device gets the keys of every user's record; from then on, only its code"
    );
    hintln!("limits guesses:");
    hint!("{}", show::approval_text(&approval));
    hintln!("Read the words below on the console of that device itself, not on its host, and type them.");
    let compared = compare(&approval.importer().parts());
    let signature = compared.map(|()| sign(&key, &approval.digest()));
    let signature = record.settle(signature, |signature| Outcome::Approved(signature.into()))?;
    record.sign_head(&key);
    outln!("{}", signature.to_line());
    hintln!("The line above is your signature.");
    hintln!("Next, where the approval was made: strongroom-agent hsm export APPROVAL SIGNATURE…");
    record.close()
}

async fn export(
    config: &Reach,
    approval: &str,
    signatures: &[String],
    record: &TranscriptArguments,
) -> Result<(), CliError> {
    let approval = ExportApproval::from_line(approval)?;
    let signatures = signatures.iter().map(|line| CustodianSignature::from_line(line));
    let signatures = signatures.collect::<Result<Vec<_>, _>>()?;
    let importer = approval.importer;
    let mut agent = agent(config).await?;
    let step = Step::Export {
        approval: (&approval).into(),
        signatures: signatures.iter().map(Into::into).collect(),
    };
    let mut record = Record::start(record, At::Agent(config), step)?;
    let sealed = agent.export(approval, signatures).await.map_err(CliError::from);
    let sealed = record.settle(sealed, |sealed| Outcome::Exported(sealed_digest(sealed)))?;
    outln!("{}", sealed.to_line());
    hintln!("The line above is the realm, sealed: it opens in HSM {importer} alone.");
    hintln!("Next, at that HSM's agent: strongroom-agent hsm enrol SEALED");
    record.close()
}

async fn enrol(config: &Reach, sealed: &str, record: &TranscriptArguments) -> Result<(), CliError> {
    let sealed = SealedRealm::from_line(sealed)?;
    let mut agent = agent(config).await?;
    let step = Step::Enrol { realm: Hex(sealed.realm.0), sealed: sealed_digest(&sealed) };
    let mut record = Record::start(record, At::Agent(config), step)?;
    let device = agent.enrol(sealed).await;
    let imported = device.and_then(|device| Import::of(&device).ok_or(AdminError::Unexpected));
    let import =
        record.settle(imported.map_err(CliError::from), |import| Outcome::Enrolled(import.clone()))?;
    outln!("{}", import.hsm);
    hintln!("HSM {} has the realm now.", import.hsm);
    hintln!("Next, with all HSMs in: strongroom-agent group create --members HSMID,HSMID,HSMID, at the");
    hintln!("agent where the realm was made.");
    record.close()
}

/// What a custodian cannot see at a glance: that the key to be exported is the founded realm's, and that the signature
/// counts.
fn check_approval(
    approval: &ExportApproval,
    founding: &FoundingStatement,
    custodian: &CustodianKey,
) -> Result<(), CliError> {
    let founded = &founding.founding;
    let refuse = |why| Err(CliError::Arguments(why));
    if !founding.is_signed() {
        return refuse(
            "the founding is not signed by enough custodians: give the line that `realm found` printed",
        );
    }
    if !founded.policy.custodians.contains(custodian) {
        return refuse("this key is not a custodian's of that realm: give the key that the founding names");
    }
    let of_founding = (founded.realm, founded.public_key) == (approval.realm, approval.public_key);
    if !of_founding || founded.policy != approval.policy {
        return refuse(
            "the approval is for another realm, public key or policy than the founding: the one who made it may have made that \
             realm's keys; do not sign it",
        );
    }
    Ok(())
}
