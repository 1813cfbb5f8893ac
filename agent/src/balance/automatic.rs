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
use strongroom_proto::ids::{GroupId, HsmId};
use strongroom_proto::prefix::Prefix;

/// The most calls that bring one move to its end. A move takes four, and more when something comes between.
const CALLS: usize = 32;
/// How long to wait when something has come between.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes one move at a time, when one would help and this agent leads the group that gives.
pub(crate) async fn run(hub: Arc<Hub>, settings: Rebalance) {
    loop {
        tokio::time::sleep(settings.every).await;
        let overview = hub.overview().await;
        let (weighed, within) = (loads(&overview), settings.within_percent);
        // It takes a while where there are many groups, and others have work to do.
        let Ok(planned) = tokio::task::spawn_blocking(move || plan(&weighed, within)).await else { continue };
        for step in next(hub.hsm_id(), &overview, &planned.steps) {
            tracing::info!(%step, "rebalancing: the groups of this realm are uneven");
            if let Err(error) = take(&hub, step).await {
                tracing::warn!(%step, %error, "rebalancing: a step was not taken; it is planned again later");
                break;
            }
        }
    }
}

/// What is to be done now by the agent of this HSM: a merge, or else one move and the splits that it needs. Nothing while
/// not all is seen.
fn next(hsm: Option<HsmId>, overview: &Overview, planned: &[Step]) -> Vec<Step> {
    if overview.not_asked > 0 {
        return Vec::new();
    }
    let leads = |id: &GroupId| {
        let group = overview.groups.iter().find(|group| group.group == *id);
        hsm.is_some() && group.and_then(|group| group.leader) == hsm
    };
    // Halves that are there already, and are not to be parted.
    let merge = planned.iter().find(|step| match step {
        Step::Merge { group, prefix } => leads(group) && has_halves(overview, group, prefix),
        Step::Split { .. } | Step::Move { .. } => false,
    });
    if let Some(merge) = merge {
        return vec![*merge];
    }
    let first = planned.iter().find_map(|step| match step {
        Step::Move { prefix, from, .. } if leads(from) => Some((step, prefix)),
        _ => None,
    });
    let Some((first, moves)) = first else { return Vec::new() };
    let needed = planned.iter().filter(|step| {
        matches!(step, Step::Split { group, prefix } if leads(group) && prefix.len() < moves.len() && prefix.overlaps(moves))
    });
    needed.chain([first]).copied().collect()
}

fn has_halves(overview: &Overview, group: &GroupId, prefix: &Prefix) -> bool {
    let group = overview.groups.iter().find(|of| of.group == *group);
    let has = |half| group.is_some_and(|group| group.prefixes.contains(&half));
    prefix.children().is_some_and(|(left, right)| has(left) && has(right))
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
