//! Moves that nobody brings to their end.
//!
//! Whoever asks for a move takes it from step to step, and may be gone between two of them. Between letting go and taking
//! over nobody serves the prefix, so that must not wait for an operator to come back. The agents that lead the two groups
//! go on with what has not changed for a while; a step that two take at once is taken once.

use super::Hub;
use super::moves::MoveError;
use super::orders::OrderError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use strongroom_proto::ids::{GroupId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How often to look at what is open in the groups that are led here. That costs no call.
const LOOK: Duration = Duration::from_secs(3);
/// How long a group may await what has been promised to it. Meanwhile nobody may be serving it.
const AWAITED: Duration = Duration::from_secs(10);
/// How long what has left may stay open: it is served, or the other group's leader sees to it.
const LEFT: Duration = Duration::from_secs(30);
/// The longest pause between two attempts that came to nothing: nobody may be serving the prefix.
const LONGEST: Duration = Duration::from_secs(60);
/// How many it goes on with at the same time.
const AT_ONCE: usize = 8;

/// One transfer that is open in a group that is led here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Open {
    prefix: Prefix,
    from: GroupId,
    to: GroupId,
    id: TransferId,
    /// Whether the group that it leaves is the one that is led here.
    leaves: bool,
}

/// When to see to it, and how long to wait after that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Due {
    at: Instant,
    pause: Duration,
}

/// What is open, and since when.
#[derive(Default)]
struct Watched(BTreeMap<Open, Due>);

impl Watched {
    /// Takes note of what is open now, and returns what has been so for too long.
    fn look(&mut self, now: Instant, open: &[Open]) -> Vec<Open> {
        self.0.retain(|known, _| open.contains(known));
        for open in open {
            let pause = if open.leaves { LEFT } else { AWAITED };
            self.0.entry(*open).or_insert(Due { at: now + pause, pause });
        }
        let mut due: Vec<(Open, Due)> = self.0.iter().map(|(open, due)| (*open, *due)).collect();
        due.retain(|(_, due)| due.at <= now);
        // What nobody may be serving comes first.
        due.sort_by_key(|(open, due)| (open.leaves, due.at));
        due.into_iter().map(|(open, _)| open).collect()
    }

    /// A step was taken: what is open is another thing, or is gone. Or none was, and it is tried again later.
    fn tried(&mut self, now: Instant, open: &Open, taken: bool) {
        if let Some(due) = self.0.get_mut(open) {
            due.pause = if taken { LOOK } else { (due.pause * 2).min(LONGEST) };
            due.at = now + due.pause;
        }
    }
}

/// Goes on with moves that have come to a stop, for as long as the agent runs.
pub(crate) async fn finish(hub: Arc<Hub>) {
    let mut watched = Watched::default();
    let mut under_way = JoinSet::new();
    let mut now = BTreeSet::new();
    loop {
        sleep(LOOK).await;
        while let Some(ended) = under_way.try_join_next() {
            let Ok((open, taken)) = ended else { continue };
            now.remove(&open);
            watched.tried(Instant::now(), &open, taken);
        }
        // One that takes long must not keep others waiting that nobody may be serving.
        for open in watched.look(Instant::now(), &hub.open_here()) {
            if now.len() < AT_ONCE && now.insert(open) {
                let hub = Arc::clone(&hub);
                under_way.spawn(async move { (open, take_step(&hub, open).await) });
            }
        }
    }
}

/// Whether a step was taken.
async fn take_step(hub: &Hub, open: Open) -> bool {
    let Open { prefix, from, to, .. } = open;
    match hub.go_on(prefix, from, to).await {
        Ok(Some(done)) => {
            tracing::info!(%prefix, %from, %to, done, "going on with a move that had come to a stop")
        }
        Ok(None) => {}
        // Somebody else goes on with it too, and was faster.
        Err(MoveError::Order(error @ (OrderError::Refused { .. } | OrderError::Unknown))) => {
            tracing::debug!(%prefix, %from, %to, %error, "a step of a move was not taken");
            return false;
        }
        Err(error) => {
            tracing::warn!(%prefix, %from, %to, %error, "a move has come to a stop; it is tried again later");
            return false;
        }
    }
    true
}

impl Hub {
    /// What is open in the groups that are led here, and not being copied just now.
    fn open_here(&self) -> Vec<Open> {
        let led: Vec<GroupId> = {
            let known = self.known.read();
            known.groups.iter().filter(|(_, group)| group.leads()).map(|(id, _)| *id).collect()
        };
        let copying = self.copying();
        let groups = self.groups().into_iter().filter(|(group, _)| led.contains(group));
        let open = groups.flat_map(|(group, status)| {
            status.open.into_iter().map(move |transfer| opened(group, &transfer))
        });
        open.filter(|open| !copying.contains(&(open.from, open.to, open.prefix))).collect()
    }
}

fn opened(group: GroupId, transfer: &Transfer) -> Open {
    let (prefix, id) = (transfer.prefix(), transfer.id());
    match transfer {
        Transfer::Incoming { source, .. } => Open { prefix, from: *source, to: group, id, leaves: false },
        Transfer::Outgoing { destination, .. } => {
            Open { prefix, from: group, to: *destination, id, leaves: true }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: GroupId = GroupId([1; 16]);
    const THERE: GroupId = GroupId([2; 16]);

    fn open(id: u8, leaves: bool) -> Open {
        let (from, to) = if leaves { (HERE, THERE) } else { (THERE, HERE) };
        Open { prefix: Prefix::WHOLE, from, to, id: TransferId([id; 16]), leaves }
    }

    #[test]
    fn what_stays_open_for_too_long_is_seen_to_and_what_is_awaited_first() {
        let (mut watched, start) = (Watched::default(), Instant::now());
        let (comes, goes) = (open(1, false), open(2, true));
        let seconds = |n| start + Duration::from_secs(n);
        assert_eq!(watched.look(start, &[goes, comes]), []);
        assert_eq!(watched.look(seconds(9), &[goes, comes]), []);
        assert_eq!(watched.look(seconds(10), &[goes, comes]), [comes]);
        assert_eq!(watched.look(seconds(31), &[goes, comes]), [comes, goes]);
    }

    #[test]
    fn what_was_gone_in_between_has_all_its_time_again() {
        let (mut watched, start) = (Watched::default(), Instant::now());
        let seconds = |n| start + Duration::from_secs(n);
        watched.look(start, &[open(1, false)]);
        watched.look(seconds(5), &[]);
        assert_eq!(watched.look(seconds(11), &[open(1, false), open(3, false)]), []);
    }

    #[test]
    fn attempts_that_come_to_nothing_become_rare_and_one_that_did_not_is_followed_soon() {
        let (mut watched, start) = (Watched::default(), Instant::now());
        let comes = open(1, false);
        watched.look(start, &[comes]);
        let mut now = start + AWAITED;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert_eq!(watched.look(now, &[comes]), [comes]);
            watched.tried(now, &comes, false);
            let due = watched.0[&comes];
            pauses.push(due.at.duration_since(now).as_secs());
            now = due.at;
        }
        assert_eq!(pauses, [20, 40, 60, 60, 60, 60, 60]);
        watched.tried(now, &comes, true);
        assert_eq!(watched.0[&comes].at, now + LOOK);
        watched.tried(now, &open(9, true), false);
        assert_eq!(watched.0.len(), 1, "what is not open is not watched");
    }
}
