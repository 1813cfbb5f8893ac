//! `realm rebalance`: a plan of what goes where so that all groups have about the same to do, and doing it.

use super::arguments::Rebalance;
use super::confirm::confirm;
use super::error::CliError;
use super::partition::move_to;
use super::reach::{Reach, agent};
use super::show;
use crate::admin::Client;
use crate::balance::{Load, Plan, Step, loads, plan};
use crate::overview::{self, Move, Overview};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use strongroom_proto::ids::GroupId;

/// How long a group gets to be well, and how often to look meanwhile.
const PASSES: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(300);
/// How long the agents get to bring moves to their end.
const ENDS: Duration = Duration::from_secs(300);

pub(super) async fn execute(config: &Reach, arguments: Rebalance) -> Result<(), CliError> {
    let mut agent = agent(config).await?;
    let mut overview = look(&mut agent).await?;
    if arguments.plan {
        let loads = loads(&overview);
        let planned = plan(&loads, arguments.within);
        let text = || plan_text(&overview.moves, &loads, &planned);
        show::print(arguments.format, &plan_json(&overview.moves, &loads, &planned), text)?;
        return Ok(());
    }
    if begun(&overview).next().is_some() {
        hint!("{}", moves_text(&overview.moves));
        hintln!("The agents bring these moves to their end first.");
        overview = ended(&mut agent).await?;
    }
    let weighed = loads(&overview);
    let planned = plan(&weighed, arguments.within);
    hint!("{}", plan_text(&overview.moves, &weighed, &planned));
    if planned.steps.is_empty() {
        return Ok(());
    }
    confirm(arguments.yes, "Users go on while prefixes move; each is served by nobody for a moment")?;
    carry_out(&mut agent, &planned, Duration::from_secs(arguments.pause.into())).await?;
    let after = loads(&look(&mut agent).await?);
    hint!("{}", shares_text(&after, &plan(&after, arguments.within)));
    hintln!("Done. Next: strongroom-agent realm status");
    Ok(())
}

/// The realm as it is, once all its groups are well: a new one elects first. Those that are not after a while are left out.
async fn look(agent: &mut Client) -> Result<Overview, CliError> {
    let since = Instant::now();
    loop {
        let (own, peers, not_asked) = agent.said().await?;
        // What is not seen cannot be weighed.
        if not_asked > 0 {
            return Err(CliError::TooManyAgents(not_asked));
        }
        let overview = Overview::of(&own, &peers, not_asked);
        let all_well = loads(&overview).iter().all(|load| load.is_well);
        if all_well || !overview.moves.is_empty() || since.elapsed() > PASSES {
            return Ok(overview);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The moves that groups know of: what is being copied only may never begin.
fn begun(overview: &Overview) -> impl Iterator<Item = &Move> {
    overview.moves.iter().filter(|moving| moving.step > overview::Step::Copying)
}

/// Waits for the end of all moves.
async fn ended(agent: &mut Client) -> Result<Overview, CliError> {
    let since = Instant::now();
    let bar = ProgressBar::new_spinner().with_message("moving");
    bar.enable_steady_tick(AGAIN);
    loop {
        let overview = look(agent).await?;
        if begun(&overview).next().is_none() {
            bar.finish_and_clear();
            return Ok(overview);
        }
        if since.elapsed() > ENDS {
            return Err(CliError::NotMoved);
        }
        tokio::time::sleep(AGAIN).await;
    }
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
fn shares_text(loads: &[Load], planned: &Plan) -> String {
    let title =
        "What each group has to do, of an even share (half by records, half by requests):\n".to_owned();
    planned.percent().into_iter().zip(loads).fold(title, |mut text, ((group, before, after), load)| {
        let left_out = "  left out: it does not serve with all its members, or a prefix moves";
        let left_out = if load.is_well { "" } else { left_out };
        let _ = writeln!(text, "  group {group}  {before:>4} %  -> {after:>4} %{left_out}");
        text
    })
}

fn plan_text(moves: &[Move], loads: &[Load], planned: &Plan) -> String {
    let mut text = if moves.is_empty() { String::new() } else { moves_text(moves) };
    text.push_str(&shares_text(loads, planned));
    if planned.steps.is_empty() {
        text.push_str(if loads.iter().all(|load| load.is_well) {
            "Nothing is to be done: they are even enough.\n"
        } else {
            "Nothing can be done now. Next: strongroom-agent realm status\n"
        });
    }
    for (at, step) in planned.steps.iter().enumerate() {
        let _ = writeln!(text, "{:3}. {step}", at.saturating_add(1));
    }
    text
}

fn plan_json(moves: &[Move], loads: &[Load], planned: &Plan) -> Value {
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
    let share = |((group, before, after), load): ((GroupId, u64, u64), &Load)| {
        json!({
            "group": group.to_string(),
            "percent_before": before,
            "percent_after": after,
            "left_out": !load.is_well,
        })
    };
    json!({
        "under_way": moves.len(),
        "groups": planned.percent().into_iter().zip(loads).map(share).collect::<Vec<_>>(),
        "steps": planned.steps.iter().map(step).collect::<Vec<_>>(),
    })
}
