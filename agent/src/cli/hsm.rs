//! `hsm`: what the HSM says, and the five steps by which a realm reaches another HSM.

use super::{CliError, HsmCommand, Line, agent, realm, show};
use crate::admin::{AdminError, EnrolmentRequest, approve};
use std::path::Path;
use strongroom_proto::hsm::{ApprovalSignature, ExportApproval, Refusal, SealedRealm};

pub(super) async fn execute(config: &Path, command: HsmCommand) -> Result<(), CliError> {
    match command {
        HsmCommand::Status(format) => {
            let device = agent(config).await?.device().await?;
            show::print(format, &show::device_json(&device), || show::device_text(&device))?;
        }
        HsmCommand::Request => {
            let device = agent(config).await?.device().await?;
            if device.realm.is_some() {
                return Err(AdminError::Refused(Refusal::HasRealm).into());
            }
            println!("{}", EnrolmentRequest::of(&device).to_line());
            eprintln!("HSM {} asks to join a realm; the line above is its request.", device.hsm);
            eprintln!("Next, at the agent of an HSM that has the realm: strongroom-agent hsm offer REQUEST");
        }
        HsmCommand::Offer { request } => {
            let request = EnrolmentRequest::from_line(&request)?;
            let approval = agent(config).await?.offer(&request).await?;
            println!("{}", approval.to_line());
            eprintln!(
                "The line above is what custodians approve. It is good for one export, and only until the"
            );
            eprintln!("next `hsm offer` here or a restart of this HSM. It says:");
            eprint!("{}", show::approval_text(&approval));
            eprintln!("Next, by each custodian: strongroom-agent hsm approve --key FILE APPROVAL");
        }
        HsmCommand::Approve { key, approval } => {
            let approval = ExportApproval::from_line(&approval)?;
            let key = realm::read_key(&key)?;
            println!("{}", approve(&key, &approval).to_line());
            eprintln!(
                "The line above is your signature. With it this HSM gets the keys of every user's record, and"
            );
            eprintln!(
                "its code alone then limits guesses. Give it away only if you know that HSM and its build:"
            );
            eprint!("{}", show::approval_text(&approval));
            eprintln!("Next, where the approval was made: strongroom-agent hsm export APPROVAL SIGNATURE…");
        }
        HsmCommand::Export { approval, signatures } => {
            let approval = ExportApproval::from_line(&approval)?;
            let signatures = signatures.iter().map(|line| ApprovalSignature::from_line(line));
            let signatures = signatures.collect::<Result<Vec<_>, _>>()?;
            let importer = approval.importer;
            println!("{}", agent(config).await?.export(approval, signatures).await?.to_line());
            eprintln!("The line above is the realm, sealed: it opens in HSM {importer} alone.");
            eprintln!("Next, at that HSM's agent: strongroom-agent hsm enrol SEALED");
        }
        HsmCommand::Enrol { sealed } => {
            let sealed = SealedRealm::from_line(&sealed)?;
            let device = agent(config).await?.enrol(sealed).await?;
            println!("{}", device.hsm);
            eprintln!("HSM {} has the realm now.", device.hsm);
            eprintln!(
                "Next, with all HSMs in: strongroom-agent group create --members HSMID,HSMID,HSMID, at the"
            );
            eprintln!("agent where the realm was made.");
        }
    }
    Ok(())
}
