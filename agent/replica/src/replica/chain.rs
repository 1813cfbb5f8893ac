//! The log as this member knows it, and how much of it the HSM has captured: they begin, advance and end together.

use super::{Replica, State};
use crate::capture::Capture;
use crate::interface::{Damage, Fault};
use crate::log::{Object, Origin};
use crate::peer::PeerMessage;
use crate::segment::{Segment, SegmentName};
use crate::shared::Shared;
use strongroom_proto::hsm::PrefixTree;
use strongroom_proto::ids::{EntryHash, HsmId, Index};

/// How long to leave the HSM alone if it did not say what it has captured.
pub(super) const STATUS_RETRY_MS: u64 = 200;

impl Replica {
    /// Begins to read the log at what the HSM has captured.
    pub(super) fn track(&mut self, captured: (Index, EntryHash)) {
        self.capture = Capture::new(captured);
        self.log.start_over();
        self.search.begin(captured);
        self.forget_tracking();
        let walk = self.catch_up.want();
        self.trouble.tried_with(walk);
    }

    /// Adds a segment if it continues the log: one that is in the store with everything before it, or one of which its
    /// maker's agent says so, with the paths that it sent. Otherwise changes nothing.
    pub(super) fn take(
        &mut self,
        name: SegmentName,
        segment: &Segment,
        bytes: Shared,
        pushed: Option<(HsmId, Vec<PrefixTree>)>,
    ) -> Result<(), Fault> {
        let damaged = |(index, damage)| Fault::Damaged { object: name, index, damage };
        if segment.name() != name {
            return Err(damaged((name.first, Damage::Chain)));
        }
        let (captured, hash) = self.capture.captured();
        let mut here = segment.entries().iter().filter(|e| e.entry.index == captured);
        let forked = here.any(|e| e.entry.hash() != hash);
        let origin = if pushed.is_some() { Origin::Pushed { whole: false } } else { Origin::Store };
        let (by, paths) = pushed.unzip();
        let object = Object { name, prev: segment.first().prev, bytes, paths: Shared::default(), origin };
        if forked {
            return Err(Fault::Forked { index: captured, hash });
        }
        self.log.apply(segment, object, &paths.unwrap_or_default()).map_err(damaged)?;
        self.capture.push(name, segment.entries().iter().map(|e| e.entry.clone()).collect(), by);
        Ok(())
    }

    /// Tells the leader what this member has captured. The leader is the HSM that made the newest entry, no matter who
    /// else says that it leads.
    pub(super) fn state_captured(&mut self) {
        let maker = self.log.tip().map(|tip| tip.entry.leader);
        if let (Some(to), Some(statement)) = (maker.or(self.following.leader()), self.capture.statement())
            && to != self.cx.settings.hsm
        {
            self.cx.out.send(to, PeerMessage::Captured { group: self.cx.settings.group.group, statement });
        }
    }

    /// The HSM has captured something other than what this agent believes: asks it, and reads the log again.
    pub(super) fn start_over(&mut self) {
        if matches!(self.state, State::Leader(_)) {
            self.step_down();
        }
        self.cx.out.forget_calls();
        self.forget_tracking();
        self.search.end();
        self.following.forget_leader();
        self.state = State::Starting(Some(self.cx.now.after(STATUS_RETRY_MS)));
    }

    /// Gives up the search for the end of the log.
    pub(super) fn forget_tracking(&mut self) {
        self.under_way.forget_asking();
        self.ahead.clear();
        self.catch_up.start_over();
    }
}
