//! `admin-identity`: a certificate for an operator on another machine.

use super::arguments::AdminIdentity;
use super::error::CliError;
use super::reach::{Reach, agent, write_secret};

pub(super) async fn execute(reach: &Reach, arguments: &AdminIdentity) -> Result<(), CliError> {
    let AdminIdentity { hours, out } = arguments;
    let pem = agent(reach).await?.certify(*hours).await?;
    write_secret(out, &pem)?;
    let out = out.display();
    hintln!("Anyone who has {out} can give every operator command to every agent of the realm, for");
    hintln!("{hours} hours; it cannot be revoked before that. Next, from elsewhere:");
    hintln!("strongroom-agent --agent https://HOST:8701 --identity {out} group status");
    Ok(())
}
