//! When a leader has something to do, if nothing else happens before.

use super::{Leader, STALLED_MS};
use crate::context::Context;
use crate::interface::Millis;

impl Leader {
    /// When a tick has something to do.
    pub(crate) fn tick_due(&self, cx: &Context, patience: u32) -> Option<Millis> {
        let patience_ms = STALLED_MS << patience;
        let elected = |at: Millis| Some(at).filter(|_| self.elected);
        let without_tree = elected(self.got_on.1.after(patience_ms)).filter(|_| !self.snapshots.are_open());
        let full = elected(self.snapshots.waits_since().max(self.since).after(patience_ms));
        let full = full.filter(|_| self.is_full(&cx.settings));
        let uncommitted = (!self.own.is_empty()).then(|| self.progress_at.after(patience_ms));
        let unheard = elected(self.hsm_check_at());
        let unread = self.reads.stalled_at(patience_ms);
        let due = [
            elected(self.pace.speaks_at()),
            without_tree,
            full,
            uncommitted,
            unheard,
            unread,
            self.orders.deadline(),
        ];
        due.into_iter().flatten().min()
    }

    /// When any step has something to do, if that is after now.
    pub(crate) fn step_due(&self, cx: &Context) -> Option<Millis> {
        let tree = self.snapshots.deadline(cx, self.tail.records());
        let reads = self.reads.deadline(cx, self.committed());
        let leaving = self.orders.ends_at(cx.now);
        let due = [Some(self.busy_until), self.flights.deadline(None), tree, reads, leaving];
        due.into_iter().flatten().filter(|at| *at > cx.now).min()
    }
}
