//! `partition`: which group owns which records.

use super::arguments::PartitionCommand;
use super::error::CliError;
use super::reach::{Reach, agent};
use crate::admin::Client;
use crate::hub::listed;
use indicatif::ProgressBar;
use std::time::Duration;
use strongroom_proto::ids::GroupId;
use strongroom_proto::prefix::Prefix;

/// How often a step that something came between is looked at again, and how long after.
const AGAIN: usize = 50;
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn execute(config: &Reach, command: PartitionCommand) -> Result<(), CliError> {
    let mut agent = agent(config).await?;
    let (group, prefix, merge) = match command {
        PartitionCommand::Split { prefix, group } => (group, prefix, false),
        PartitionCommand::Merge { prefix, group } => (group, prefix, true),
        PartitionCommand::Move { prefix, to, from } => {
            return move_to(&mut agent, Some(prefix), from, to).await;
        }
    };
    let owned = agent.divide(group, prefix, merge).await?;
    outln!("{}", listed(owned.into_iter()));
    Ok(())
}

/// Moves a prefix, or all that a group owns, and says what was done at each step.
pub(super) async fn move_to(
    agent: &mut Client,
    prefix: Option<Prefix>,
    from: Option<GroupId>,
    to: GroupId,
) -> Result<(), CliError> {
    let bar = ProgressBar::new_spinner().with_message("moving");
    bar.enable_steady_tick(PAUSE);
    let mut left = AGAIN;
    loop {
        match agent.move_on(prefix, from, to).await? {
            Some((done, over)) => {
                bar.suspend(|| {
                    hintln!("{done}");
                });
                if over {
                    bar.finish_and_clear();
                    return Ok(());
                }
            }
            None if left == 0 => return Err(CliError::NotMoved),
            None => {
                left -= 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
