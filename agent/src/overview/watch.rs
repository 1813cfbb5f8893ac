//! Looking at the realm now and then, however many want to see it.

use super::seen::Overview;
use super::verdict::{Verdict, judge};
use crate::admin::{AgentReport, PeerReport};
use crate::hub::Hub;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How old a look may be that is shown again.
const FRESH: Duration = Duration::from_secs(1);
/// How long what usually passes may last before it counts.
const PASSES: Duration = Duration::from_secs(3);
/// Between two looks that are no further apart, what both show has lasted.
const SELDOM: Duration = Duration::from_secs(600);

impl Hub {
    /// The realm, as this agent sees it now: it asks the others, for seconds at most.
    pub(crate) async fn overview(&self) -> Overview {
        let (own, (peers, not_asked)) = tokio::join!(self.status(), self.peers().statuses());
        let peers: Vec<PeerReport> = peers.into_iter().map(PeerReport::from_wire).collect();
        Overview::of(&AgentReport::from_wire(own), &peers, not_asked)
    }
}

/// What was seen at one time.
pub(super) struct Look {
    /// Of all looks of this agent, which.
    pub(super) number: u64,
    /// When, in Unix seconds.
    pub(super) unix: u64,
    pub(super) overview: Overview,
    pub(super) verdict: Verdict,
}

/// Looks at the realm when somebody wants to see it, and not more often than once a second.
pub(crate) struct Watch {
    hub: Arc<Hub>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    look: Option<(Instant, Arc<Look>)>,
    number: u64,
    /// Since when each look has shown something that usually passes.
    passing: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, last: Mutex::default() }
    }

    /// What was seen within the last second. Whoever comes while it is being looked waits for that.
    pub(super) async fn look(&self) -> Arc<Look> {
        let mut last = self.last.lock().await;
        if let Some((_, look)) = last.look.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Arc::clone(look);
        }
        let overview = self.hub.overview().await;
        let now = Instant::now();
        // Whoever looks seldom must see what lasts; a look that is long past says nothing about what was in between.
        let recent = last.look.as_ref().is_some_and(|(at, _)| at.elapsed() < SELDOM);
        let since = last.passing.filter(|_| recent).unwrap_or(now);
        let verdict = judge(&overview, now.duration_since(since) >= PASSES);
        last.passing = verdict.may_pass().then_some(since);
        last.number = last.number.wrapping_add(1);
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |unix| unix.as_secs());
        let look = Arc::new(Look { number: last.number, unix, overview, verdict });
        last.look = Some((now, Arc::clone(&look)));
        look
    }
}
