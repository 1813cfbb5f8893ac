//! Balancing without being asked.
//!
//! The agent that leads the group which is to give something away does it, so two seldom plan at once. When they do,
//! neither harms the other: each step follows from what both groups have committed.

use super::loads::loads;
use super::plan::{Step, plan};
use crate::config::Rebalance;
use crate::hub::{Hub, MoveError, OrderError, Wanted};
use crate::overview::Overview;
use std::sync::Arc;
use std::time::Duration;

/// The most calls that bring one move to its end. A move takes four, and more when something comes between.
const CALLS: usize = 32;
/// How long to wait when something has come between.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes one move at a time, when one would help and this agent leads the group that gives.
pub(crate) async fn run(hub: Arc<Hub>, settings: Rebalance) {
    loop {
        tokio::time::sleep(settings.every).await;
        let overview = hub.overview().await;
        for step in next(&hub, &overview, settings.within_percent) {
            tracing::info!(%step, "rebalancing: the groups of this realm are uneven");
            if let Err(error) = take(&hub, step).await {
                tracing::warn!(%step, %error, "rebalancing: a step was not taken; it is planned again later");
                break;
            }
        }
    }
}

/// What is to be done now: what goes before the first move, and that. Nothing while something moves, or when another
/// agent leads the group that is to do it.
fn next(hub: &Hub, overview: &Overview, within_percent: u32) -> Vec<Step> {
    if !overview.moves.is_empty() {
        return Vec::new();
    }
    let steps = plan(&loads(overview), within_percent).steps;
    let Some((at, from)) = steps.iter().enumerate().find_map(|(at, step)| match step {
        Step::Move { from, .. } => Some((at, *from)),
        Step::Split { .. } | Step::Merge { .. } => None,
    }) else {
        return Vec::new();
    };
    let leads = overview.groups.iter().find(|group| group.group == from).and_then(|group| group.leader);
    if leads.is_none() || leads != hub.hsm_id() {
        return Vec::new();
    }
    let needed = |step: &Step| !matches!(step, Step::Split { group, .. } | Step::Merge { group, .. } if *group != from);
    steps.into_iter().take(at.saturating_add(1)).filter(needed).collect()
}

async fn take(hub: &Hub, step: Step) -> Result<(), MoveError> {
    match step {
        Step::Split { group, prefix } => hub.order(group, &Wanted::Split(prefix)).await.map(drop)?,
        Step::Merge { group, prefix } => hub.order(group, &Wanted::Merge(prefix)).await.map(drop)?,
        Step::Move { prefix, from, to } => {
            for _ in 0..CALLS {
                match hub.move_on(prefix, Some(from), to).await {
                    Ok((_, true)) => return Ok(()),
                    Ok((_, false)) => {}
                    Err(MoveError::Order(OrderError::Unknown | OrderError::Refused { .. })) => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            return Err(MoveError::Order(OrderError::Unknown));
        }
    }
    Ok(())
}
