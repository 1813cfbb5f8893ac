//! `group`: making one, and how it does.

use super::{CliError, GroupCommand, Line, Reach, agent, show};
use strongroom_proto::statement::GroupStatement;

pub(super) async fn execute(config: &Reach, command: GroupCommand) -> Result<(), CliError> {
    match command {
        GroupCommand::Create { members } => {
            let created = agent(config).await?.create_group(&members).await?;
            outln!("{}", created.statement.to_line());
            hintln!("Group {} is made; the line above is its statement.", created.statement.group);
            for (hsm, why) in &created.missing {
                hintln!("HSM {hsm} has not joined: {why}.");
                hintln!("Next, at that HSM's agent: strongroom-agent group join STATEMENT");
            }
            if !created.statement.genesis {
                hintln!("It owns no users yet: the realm's first group has them all.");
            }
            if created.missing.is_empty() {
                hintln!("Every member has joined. Next: strongroom-agent group status");
            }
        }
        GroupCommand::Join { statement } => {
            let statement = GroupStatement::from_line(&statement)?;
            let group = statement.group;
            agent(config).await?.join_group(statement).await?;
            hintln!("The HSM is in group {group}. Next: strongroom-agent group status");
        }
        GroupCommand::Status(format) => {
            let mut agent = agent(config).await?;
            let own = agent.status().await?;
            let peers = agent.peers().await?;
            show::print(format, &show::groups_json(&own, &peers), || show::groups_text(&own, &peers))?;
        }
    }
    Ok(())
}
