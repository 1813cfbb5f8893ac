//! `group`: making one, and how it is doing.

use super::arguments::GroupCommand;
use super::checkpoints;
use super::confirm::confirm;
use super::error::CliError;
use super::line::Line;
use super::members::{Seen, groups_json, groups_text, not_serving};
use super::partition::move_to;
use super::reach::{Reach, agent, any_agent};
use super::show;
use crate::admin::{Client, GroupPlan};
use std::time::{Duration, Instant};
use strongroom_proto::ids::{GroupId, HsmId};
use strongroom_proto::statement::GroupStatement;

/// How long a group gets to elect a leader and read the tree before it is said not to serve, and how often to look
/// meanwhile.
const PASSES: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(200);
/// How often a group is emptied before it is given up.
const EMPTIED: usize = 3;

pub(super) async fn execute(config: &Reach, command: GroupCommand) -> Result<(), CliError> {
    match command {
        GroupCommand::Create { members, yes } => {
            let members: Vec<HsmId> = members.into_iter().flat_map(|members| members.0).collect();
            create(config, &members, yes).await?;
        }
        GroupCommand::Join { statement } => {
            let statement = GroupStatement::from_line(&statement)?;
            let group = statement.group;
            agent(config).await?.join_group(statement).await?;
            hintln!("The HSM is in group {group}. Next: strongroom-agent group status");
        }
        GroupCommand::Retire { group, into, yes } => {
            confirm(
                yes,
                "A group that has retired is gone for good, and so is a place for 64 of them in each HSM",
            )?;
            let mut agent = agent(config).await?;
            match into {
                Some(into) => empty_and_retire(&mut agent, group, into).await?,
                None => retire(&mut agent, group).await?,
            }
        }
        GroupCommand::Checkpoints(format) => checkpoints::show(config, format).await?,
        GroupCommand::Status(format) => {
            let mut agent = any_agent(config).await?;
            let since = Instant::now();
            loop {
                let own = agent.status().await?;
                let peers = agent.peers().await?;
                let seen = Seen { own: &own, peers: &peers };
                let cause = not_serving(seen);
                if cause.as_ref().is_some_and(|cause| cause.passes) && since.elapsed() < PASSES {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                show::print(format, &groups_json(seen), || groups_text(seen))?;
                return cause.map_or(Ok(()), |cause| Err(CliError::NotServing(cause.text)));
            }
        }
    }
    Ok(())
}

/// Moves all that a group owns into another, and has it retire; if it gets something meanwhile, once more.
pub(super) async fn empty_and_retire(
    agent: &mut Client,
    group: GroupId,
    into: GroupId,
) -> Result<(), CliError> {
    let mut left = EMPTIED;
    loop {
        let emptied = move_to(agent, None, Some(group), into).await;
        let retired = retire(agent, group).await;
        left -= 1;
        match (emptied, retired) {
            // Nobody may lead it any more, because it has retired.
            (_, Ok(())) => return Ok(()),
            (Err(error), _) => return Err(error),
            (Ok(()), Err(error)) if left == 0 => return Err(error),
            (Ok(()), Err(_)) => {}
        }
    }
}

/// Has a group retire, and says who has left it.
pub(super) async fn retire(agent: &mut Client, group: GroupId) -> Result<(), CliError> {
    let members = agent.retire(group).await?;
    hintln!("Group {group} has retired.");
    for (hsm, why) in members {
        match why {
            None => hintln!("HSM {hsm} has left it."),
            Some(why) => {
                hintln!("HSM {hsm} has not left it: {why}. When it is back, run this again.");
            }
        }
    }
    Ok(())
}

async fn create(config: &Reach, members: &[HsmId], yes: bool) -> Result<(), CliError> {
    let mut agent = agent(config).await?;
    let plan = agent.plan_group(members).await?;
    let there_before = plan.is_made();
    if there_before {
        hintln!("A group of these members exists already; it is used as it is.");
    } else {
        hint!("{}", plan_text(&plan));
        confirm(yes, "A group is permanent: its members never change, and it cannot be unmade")?;
    }
    let created = agent.carry_out(plan).await?;
    outln!("{}", created.statement.to_line());
    let made = if there_before { "is the one that exists" } else { "is made" };
    hintln!("Group {} {made}; the line above is its statement.", created.statement.group);
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
    Ok(())
}

/// What is about to be made, with warnings about what is unwise.
fn plan_text(plan: &GroupPlan) -> String {
    let members = plan.members();
    let mut lines = vec![format!("This makes a group in realm {}:", plan.realm())];
    lines.extend(
        members
            .iter()
            .map(|hsm| format!("  member  {hsm}{}", if *hsm == plan.own() { ", here" } else { "" })),
    );
    lines
        .push(format!("  owns    {}", if plan.owns_users() { "all users of the realm" } else { "no users" }));
    lines.push(format!("  goes on without {} of {}", (members.len() - 1) / 2, members.len()));
    match members.len() {
        1 => lines.push("WARNING: with one member, all users' secrets are lost with that HSM.".into()),
        2 => lines.push(
            "WARNING: with two members, nothing is served while either is away, and everything is lost with either. Use three.".into(),
        ),
        even if even % 2 == 0 => lines.push(format!(
            "WARNING: {even} members survive the loss of no more than {} do. Use an odd number.",
            even - 1
        )),
        _ => {}
    }
    if let Some(group) = plan.other_group() {
        lines.push(format!(
            "WARNING: this HSM is in group {group} already, whose members stay as they are. A further group owns no users, and an HSM \
             takes only a few."
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}
