//! `realm rebalance`: a plan of what goes where so that all groups have about the same to do, and doing it.

use super::arguments::Rebalance;
use super::confirm::confirm;
use super::error::CliError;
use super::partition::move_to;
use super::reach::{Reach, agent};
use super::show;
use crate::admin::Client;
use crate::balance::{Plan, Step, loads, plan};
use crate::overview::{Move, Overview};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

pub(super) async fn execute(config: &Reach, arguments: Rebalance) -> Result<(), CliError> {
    let mut agent = agent(config).await?;
    let mut overview = look(&mut agent).await?;
    if arguments.plan {
        let planned = plan(&loads(&overview), arguments.within);
        let text = || plan_text(&overview.moves, &planned);
        show::print(arguments.format, &plan_json(&overview.moves, &planned), text)?;
        return Ok(());
    }
    if !overview.moves.is_empty() {
        hint!("{}", moves_text(&overview.moves));
        confirm(arguments.yes, "These moves are brought to their end first")?;
        for Move { prefix, from, to, .. } in overview.moves {
            move_to(&mut agent, Some(prefix), Some(from), to).await?;
        }
        overview = look(&mut agent).await?;
    }
    let planned = plan(&loads(&overview), arguments.within);
    hint!("{}", plan_text(&overview.moves, &planned));
    if planned.steps.is_empty() {
        return Ok(());
    }
    confirm(arguments.yes, "Users go on while prefixes move; each is served by nobody for a moment")?;
    carry_out(&mut agent, &planned, Duration::from_secs(arguments.pause.into())).await?;
    let after = plan(&loads(&look(&mut agent).await?), arguments.within);
    hint!("{}", shares_text(&after));
    hintln!("Done. Next: strongroom-agent realm status");
    Ok(())
}

async fn look(agent: &mut Client) -> Result<Overview, CliError> {
    let (own, peers, not_asked) = agent.said().await?;
    let overview = Overview::of(&own, &peers, not_asked);
    // What is not seen cannot be weighed.
    if not_asked == 0 { Ok(overview) } else { Err(CliError::TooManyAgents(not_asked)) }
}

async fn carry_out(agent: &mut Client, planned: &Plan, pause: Duration) -> Result<(), CliError> {
    let bar = ProgressBar::new(planned.steps.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {elapsed}") {
        bar.set_style(style);
    }
    let mut moved = false;
    for step in &planned.steps {
        bar.set_message(step.to_string());
        bar.suspend(|| {
            hintln!("{step}");
        });
        match *step {
            Step::Split { group, prefix } => drop(agent.divide(group, prefix, false).await?),
            Step::Merge { group, prefix } => drop(agent.divide(group, prefix, true).await?),
            Step::Move { prefix, from, to } => {
                if moved {
                    tokio::time::sleep(pause).await;
                }
                moved = true;
                move_to(agent, Some(prefix), Some(from), to).await?;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn moves_text(moves: &[Move]) -> String {
    moves.iter().fold("Under way:\n".to_owned(), |mut text, Move { prefix, from, to, step }| {
        let prefix = crate::hub::listed(std::iter::once(*prefix));
        let _ = writeln!(text, "  {prefix} from group {from} to {to}: {}", step.words());
        text
    })
}

/// What each group has to do, of an even share.
fn shares_text(planned: &Plan) -> String {
    let lines = planned
        .percent()
        .into_iter()
        .map(|(group, before, after)| format!("  group {group}  {before:>4} %  -> {after:>4} %\n"));
    std::iter::once(
        "What each group has to do, of an even share (half by records, half by requests):\n".to_owned(),
    )
    .chain(lines)
    .collect()
}

fn plan_text(moves: &[Move], planned: &Plan) -> String {
    let mut text = if moves.is_empty() { String::new() } else { moves_text(moves) };
    text.push_str(&shares_text(planned));
    if planned.steps.is_empty() {
        text.push_str(
            "Nothing is to be done: they are even enough, or one of them is not well (`realm status`).\n",
        );
    }
    for (at, step) in planned.steps.iter().enumerate() {
        let _ = writeln!(text, "{:3}. {step}", at.saturating_add(1));
    }
    text
}

fn plan_json(moves: &[Move], planned: &Plan) -> Value {
    let step = |step: &Step| match step {
        Step::Split { group, prefix } => {
            json!({ "do": "split", "prefix": prefix.to_string(), "group": group.to_string() })
        }
        Step::Merge { group, prefix } => {
            json!({ "do": "merge", "prefix": prefix.to_string(), "group": group.to_string() })
        }
        Step::Move { prefix, from, to } => {
            json!({ "do": "move", "prefix": prefix.to_string(), "from": from.to_string(), "to": to.to_string() })
        }
    };
    let share = |(group, before, after): &(strongroom_proto::ids::GroupId, u64, u64)| json!({ "group": group.to_string(), "percent_before": before, "percent_after": after });
    json!({
        "under_way": moves.len(),
        "groups": planned.percent().iter().map(share).collect::<Vec<_>>(),
        "steps": planned.steps.iter().map(step).collect::<Vec<_>>(),
    })
}
