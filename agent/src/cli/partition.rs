//! `partition`: which group owns which records.

use super::arguments::PartitionCommand;
use super::error::CliError;
use super::reach::{Reach, agent};
use crate::hub::listed;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How often a step that something came between is looked at again, and how long after.
const AGAIN: usize = 50;
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn execute(config: &Reach, command: PartitionCommand) -> Result<(), CliError> {
    let mut agent = agent(config).await?;
    let (group, prefix, merge) = match command {
        PartitionCommand::Split { prefix, group } => (group, prefix, false),
        PartitionCommand::Merge { prefix, group } => (group, prefix, true),
        PartitionCommand::Move { prefix, to, from } => {
            let bar = ProgressBar::new_spinner().with_message("copying");
            bar.set_style(ProgressStyle::default_spinner());
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
    };
    let owned = agent.divide(group, prefix, merge).await?;
    outln!("{}", listed(owned.into_iter()));
    Ok(())
}
