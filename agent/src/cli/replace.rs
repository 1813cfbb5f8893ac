//! `hsm replace`: another HSM in the place of one that is lost.
//!
//! A group's members never change, so each group of the lost one gives all that it owns to a new group, and retires. What is
//! left to do follows from the groups as they are, so the command can be given again at any time.

use super::confirm::confirm;
use super::error::CliError;
use super::group::empty_and_retire;
use super::reach::{Reach, agent};
use crate::admin::Client;
use std::time::{Duration, Instant};
use strongroom_proto::ids::{GroupId, HsmId};
use strongroom_proto::statement::GroupStatement;

/// How long a new group gets to serve, and how often to look meanwhile.
const SERVES: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn execute(config: &Reach, lost: HsmId, with: HsmId, yes: bool) -> Result<(), CliError> {
    let mut agent = agent(config).await?;
    let device = agent.device().await?;
    let of_lost = device.groups.iter().map(|status| &status.statement);
    let of_lost: Vec<GroupStatement> =
        of_lost.filter(|statement| statement.members.contains(&lost)).cloned().collect();
    if of_lost.is_empty() {
        hintln!("No group of this agent's HSM has HSM {lost}: nothing is left to do here.");
        return Ok(());
    }
    for statement in &of_lost {
        hintln!("Group {} is to be replaced by one with HSM {with} in the place of {lost}.", statement.group);
    }
    confirm(yes, "An HSM that is replaced never comes back into these groups")?;
    for statement in of_lost {
        let members: Vec<HsmId> =
            statement.members.iter().map(|hsm| if *hsm == lost { with } else { *hsm }).collect();
        let made = agent.create_group(&members).await?;
        let (old, new) = (statement.group, made.statement.group);
        if let Some((hsm, why)) = made.missing.into_iter().next() {
            hintln!("HSM {hsm} has not joined group {new}.");
            return Err(why.into());
        }
        hintln!("Group {new} has all its members.");
        serves(&mut agent, new).await?;
        empty_and_retire(&mut agent, old, new).await?;
    }
    Ok(())
}

/// Waits until a leader of a group is known here.
async fn serves(agent: &mut Client, group: GroupId) -> Result<(), CliError> {
    let since = Instant::now();
    loop {
        let status = agent.status().await?;
        let leads = |of: &crate::admin::GroupReport| of.group == group && of.leader.is_some();
        if status.groups.iter().any(leads) {
            return Ok(());
        }
        if since.elapsed() > SERVES {
            return Err(CliError::NotServing(format!("group {group} has no leader yet")));
        }
        tokio::time::sleep(AGAIN).await;
    }
}
