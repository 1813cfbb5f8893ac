//! The log, as it is read for telling: entries with their events and whose they are, a *window* of them at a time, and what shows
//! that the last of a window is committed.

use super::TellError;
use super::tells::Tells;
use crate::segments::Segments;
use crate::store::Store;
use strongroom_events::page::Reach;
use strongroom_proto::change::Evidence;
use strongroom_proto::entry::Entry;
use strongroom_proto::events::Settled;
use strongroom_proto::ids::{GroupId, Index};
use strongroom_replica::segment::SegmentEntry;

/// How many entries a window has, but for the rest of a segment.
const WINDOW: u64 = 256;
/// How many entries lead from one to a later one that is known to be committed, at most.
const CHAIN: usize = 16;

/// Where windows begin, and what shows that they are committed.
pub(super) struct Window {
    /// What comes before it.
    pub(super) after: Reach,
    /// Its last entry.
    pub(super) last: Index,
    /// The entry after the last, if there is one that counts, and what is known of the end of all that.
    pub(super) next: Option<Entry>,
    /// That `next`, or else the last entry, is committed.
    pub(super) settled: Settled,
}

/// The segments of a group.
pub(super) struct Log<'a> {
    pub(super) store: &'a Store,
    pub(super) group: GroupId,
}

impl Log<'_> {
    /// What comes before the oldest entry that is there.
    pub(super) async fn oldest(&self) -> Result<Reach, TellError> {
        let Some(segment) = self.segments().oldest().await? else { return Ok(Reach::NOTHING) };
        let first = segment.first();
        Ok(Reach { index: Index(first.index.0.saturating_sub(1)), hash: first.prev })
    }

    /// The windows after this entry up to the one that is shown, in order.
    pub(super) async fn windows<H: Tells>(
        &self,
        hsm: &H,
        after: Reach,
        shown: &Evidence,
    ) -> Result<Vec<Window>, TellError> {
        let mut begins = vec![after];
        let mut at = after;
        while at.index < shown.committed.index {
            let some = self.after(at).await?;
            let some = some.iter().take_while(|made| made.entry.index <= shown.committed.index);
            at = reach_of(some.last()).ok_or(TellError::Gone(at.index))?;
            let last = begins.last().map_or(0, |begin| begin.index.0);
            if at.index.0 - last >= WINDOW && at.index < shown.committed.index {
                begins.push(at);
            }
        }
        if (at.index, at.hash) != (shown.committed.index, shown.committed.hash) {
            return Err(TellError::OtherLog(at.index));
        }
        let (mut settled, mut next, mut last) = (Settled::Committed(shown.committed), None, at.index);
        let mut windows = Vec::new();
        while let Some(after) = begins.pop() {
            windows.push(Window { after, last, next: next.clone(), settled });
            if begins.is_empty() {
                break;
            }
            (next, settled) = self.walk_back(hsm, after, last, (next, settled)).await?;
            last = after.index;
        }
        windows.reverse();
        Ok(windows)
    }

    /// Has the HSM state that the first entry of a window is in the past of what is known to be committed at its end.
    async fn walk_back<H: Tells>(
        &self,
        hsm: &H,
        after: Reach,
        last: Index,
        (next, mut settled): (Option<Entry>, Settled),
    ) -> Result<(Option<Entry>, Settled), TellError> {
        let made = self.window(after, last).await?;
        let mut chain: Vec<Entry> = next.into_iter().collect();
        for made in made.iter().rev() {
            chain.insert(0, made.entry.clone());
            if chain.len() >= CHAIN {
                let told = hsm.tell(settled, chain.clone(), None).await.map_err(TellError::Hsm)?;
                settled = Settled::Past(told.past);
                chain.truncate(1);
            }
        }
        if chain.len() > 1 || matches!(settled, Settled::Committed(_)) {
            let told = hsm.tell(settled, chain.clone(), None).await.map_err(TellError::Hsm)?;
            settled = Settled::Past(told.past);
            chain.truncate(1);
        }
        Ok((chain.pop(), settled))
    }

    /// The entries after this one up to the last, without their leaves.
    pub(super) async fn window(&self, after: Reach, last: Index) -> Result<Vec<SegmentEntry>, TellError> {
        let (mut at, mut all) = (after, Vec::new());
        while at.index < last {
            let some = self.after(at).await?;
            at = reach_of(some.last()).ok_or(TellError::Gone(at.index))?;
            all.extend(some.into_iter().filter(|made| made.entry.index <= last));
        }
        Ok(all)
    }

    /// The entries of the segment that goes on after this one, without their leaves.
    async fn after(&self, at: Reach) -> Result<Vec<SegmentEntry>, TellError> {
        Ok(self.segments().after(at.index, &at.hash).await?)
    }

    const fn segments(&self) -> Segments<'_> {
        Segments { store: self.store, group: self.group }
    }
}

fn reach_of(made: Option<&SegmentEntry>) -> Option<Reach> {
    made.map(|made| Reach { index: made.entry.index, hash: made.entry.hash() })
}
