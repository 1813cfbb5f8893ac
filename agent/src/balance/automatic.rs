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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::Group;
    use strongroom_proto::ids::Index;

    const HERE: HsmId = HsmId([1; 16]);
    const ONE: GroupId = GroupId([1; 16]);
    const OTHER: GroupId = GroupId([2; 16]);

    /// Two groups, of which this agent leads the first.
    fn seen(owned: &[Prefix]) -> Overview {
        let group = |group, leader, owned: &[Prefix]| Group {
            group,
            members: Vec::new(),
            leader: Some(leader),
            serves: true,
            prefixes: owned.to_vec(),
            retired: false,
            index: Index(1),
            committed: None,
            snapshot: Index(0),
            waiting: 0,
            load: None,
            tree: None,
        };
        let groups = vec![group(ONE, HERE, owned), group(OTHER, HsmId([2; 16]), &[])];
        Overview { groups, ..Overview::default() }
    }

    #[test]
    fn one_move_and_the_splits_that_it_needs_are_taken_where_the_group_that_gives_is_led() {
        let whole = Prefix::WHOLE;
        let (left, right) = whole.children().expect("it has halves");
        let (_, far) = right.children().expect("it has halves");
        let split = |prefix| Step::Split { group: ONE, prefix };
        let to_other = |prefix| Step::Move { prefix, from: ONE, to: OTHER };
        let planned = [split(whole), split(left), split(right), to_other(far), to_other(left)];
        let overview = seen(&[whole]);
        assert_eq!(next(Some(HERE), &overview, &planned), [split(whole), split(right), to_other(far)]);
        assert_eq!(next(Some(HsmId([2; 16])), &overview, &planned), []);
        assert_eq!(next(None, &overview, &planned), []);
        let partial = Overview { not_asked: 1, ..overview };
        assert_eq!(next(Some(HERE), &partial, &planned), [], "who knows what the others own");
    }

    #[test]
    fn halves_that_have_met_are_merged_before_anything_moves() {
        let (left, right) = Prefix::WHOLE.children().expect("it has halves");
        let merge = Step::Merge { group: ONE, prefix: Prefix::WHOLE };
        let gives = Step::Move { prefix: left, from: ONE, to: OTHER };
        assert_eq!(next(Some(HERE), &seen(&[left, right]), &[gives, merge]), [merge]);
        assert_eq!(next(Some(HERE), &seen(&[left]), &[gives, merge]), [gives], "they have not met yet");
        assert_eq!(next(Some(HERE), &seen(&[left, right]), &[]), []);
    }
}
