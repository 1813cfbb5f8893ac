//! `hsm`: what the HSM says, and the five steps by which a realm reaches another HSM.

use super::arguments::HsmCommand;
use super::error::CliError;
use super::line::Line;
use super::reach::{Reach, agent};
use super::replace;
use super::words::compare;
use super::{realm, show};
use crate::admin::{custodian_key, sign};
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
        HsmCommand::Request => {
            let request = agent(config).await?.request().await?;
            outln!("{}", request.to_line());
            hintln!(
                "HSM {} asks to join a realm; the line above is its request. It is good until this",
                request.importer
            );
            hintln!("HSM restarts or asks again. Custodians will read the words on this HSM's console.");
            hintln!("Next, at the agent of an HSM that has the realm: strongroom-agent hsm offer REQUEST");
        }
        HsmCommand::Offer { request } => {
            let request = EnrolmentRequest::from_line(&request)?;
            let approval = agent(config).await?.offer(request).await?;
            outln!("{}", approval.to_line());
            hintln!(
                "The line above is what custodians approve. It is valid for one export, and only until the"
            );
            hintln!("next `hsm offer` here or a restart of either HSM. It says:");
            hint!("{}", show::approval_text(&approval));
            hintln!("Next, by each custodian, who can read the console of HSM {}:", approval.importer);
            hintln!("strongroom-agent hsm approve --key FILE --founding FOUNDING APPROVAL");
        }
        HsmCommand::Approve { key, founding, approval } => {
            let approval = ExportApproval::from_line(&approval)?;
            let founding = FoundingStatement::from_line(&founding)?;
            let key = realm::read_key(&key)?;
            check_approval(&approval, &founding, &custodian_key(&key))?;
            hintln!(
                "With your signature this device gets the keys of every user's record; from then on, only its code"
            );
            hintln!("limits guesses:");
            hint!("{}", show::approval_text(&approval));
            hintln!(
                "Read the words below on the console of that device itself, not on its host, and type them."
            );
            compare(&approval.importer().parts())?;
            outln!("{}", sign(&key, &approval.digest()).to_line());
            hintln!("The line above is your signature.");
            hintln!("Next, where the approval was made: strongroom-agent hsm export APPROVAL SIGNATURE…");
        }
        HsmCommand::Export { approval, signatures } => {
            let approval = ExportApproval::from_line(&approval)?;
            let signatures = signatures.iter().map(|line| CustodianSignature::from_line(line));
            let signatures = signatures.collect::<Result<Vec<_>, _>>()?;
            let importer = approval.importer;
            outln!("{}", agent(config).await?.export(approval, signatures).await?.to_line());
            hintln!("The line above is the realm, sealed: it opens in HSM {importer} alone.");
            hintln!("Next, at that HSM's agent: strongroom-agent hsm enrol SEALED");
        }
        HsmCommand::Enrol { sealed } => {
            let sealed = SealedRealm::from_line(&sealed)?;
            let device = agent(config).await?.enrol(sealed).await?;
            outln!("{}", device.hsm);
            hintln!("HSM {} has the realm now.", device.hsm);
            hintln!(
                "Next, with all HSMs in: strongroom-agent group create --members HSMID,HSMID,HSMID, at the"
            );
            hintln!("agent where the realm was made.");
        }
    }
    Ok(())
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
