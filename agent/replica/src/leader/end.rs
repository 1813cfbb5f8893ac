//! Leading from a group's last entry. Nothing is made there; but the leader that made it may have been lost between the
//! majority and its statement, and then whoever leads next states it, and has it stored for all who need the proof.

use super::{Leader, Own};
use crate::bug::Bug;
use crate::context::Context;
use crate::log::Log;

impl Leader {
    /// Begins at the end of this log, if nothing can follow it.
    pub(super) fn begin_at_end(&mut self, cx: &Context, log: &Log) {
        let Some(tip) = log.tip().filter(|tip| tip.entry.last) else { return };
        let index = tip.entry.index;
        // Its entry is in the store, where nothing can take its place: no other member is deposed, and none can depose it.
        self.elected = true;
        self.pace.hurry(cx.now);
        self.snapshots.landed(tip.segment.first, index);
        self.snapshots.want(index);
        if !cx.bugs.has(Bug::EndUnstated) {
            let own = Own { entry: tip.entry.clone(), hash: tip.hash, trees: log.trees().clone() };
            self.own.insert(index, own);
        }
    }
}
