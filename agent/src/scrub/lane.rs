//! The lane of an agent's scrubs: one of them reads at a time, at a pace that is enough for all.

use crate::store::Pace;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_proto::ids::GroupId;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What all scrubs of an agent share. A clone is the same lane.
#[derive(Clone, Debug)]
pub struct Lane(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    turn: Semaphore,
    pace: Pace,
    /// How large the stored tree of each group is.
    bytes: Mutex<BTreeMap<GroupId, u64>>,
}

impl Default for Lane {
    fn default() -> Self {
        let (turn, pace) = (Semaphore::new(1), Pace::default());
        Self(Arc::new(Shared { turn, pace, bytes: Mutex::default() }))
    }
}

impl Lane {
    /// The pace of all that is read.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// Waits until no other scrub reads, each in its turn; others wait until the permit is dropped.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed.
        self.0.turn.acquire().await.ok()
    }

    /// Takes note of how large a group's stored tree is. Returns how large all of them are together.
    pub(super) fn enter(&self, group: GroupId, bytes: u64) -> u64 {
        let mut all = self.0.bytes.lock();
        all.insert(group, bytes);
        all.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// A group is not scrubbed here any more.
    pub(super) fn leave(&self, group: GroupId) {
        self.0.bytes.lock().remove(&group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn one_scrub_of_an_agent_reads_at_a_time() {
        let (lane, other) = (Lane::default(), Lane::default());
        let turn = lane.turn().now_or_never().flatten();
        assert!(turn.is_some());
        let clone = lane.clone();
        assert!(clone.turn().now_or_never().is_none(), "two at once");
        assert!(other.turn().now_or_never().flatten().is_some(), "another agent's is another");
        drop(turn);
        assert!(clone.turn().now_or_never().flatten().is_some());
    }

    #[test]
    fn the_trees_of_all_groups_count_for_as_long_as_they_are_scrubbed() {
        let (lane, [a, b]) = (Lane::default(), [1, 2].map(|id| GroupId([id; 16])));
        assert_eq!(lane.enter(a, 5), 5);
        assert_eq!(lane.clone().enter(b, 7), 12);
        assert_eq!(lane.enter(a, 6), 13, "its size has changed");
        lane.leave(b);
        assert_eq!(lane.enter(a, 6), 6);
    }
}
