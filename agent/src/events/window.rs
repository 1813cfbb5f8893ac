//! The log, as it is read for telling: entries with their events and whose they are, a *window* of them at a time, and what shows
//! that the last of a window is committed.

use super::TellError;
use super::tells::Tells;
use crate::store::Store;
use strongroom_events::page::Reach;
use strongroom_proto::change::Evidence;
use strongroom_proto::entry::Entry;
use strongroom_proto::events::Settled;
use strongroom_proto::hsm::MAX_CAPTURE_ENTRIES;
use strongroom_proto::ids::{GroupId, Index};
use strongroom_replica::ReadOutcome;
use strongroom_replica::segment::{Segment, SegmentEntry, SegmentName};

/// How many entries a window has, but for the rest of a segment.
const WINDOW: u64 = 256;
/// How many entries lead from one to a later one that is known to be committed, at most: they share a frame with events.
pub(super) const CHAIN: usize = 16;

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
        let from = SegmentName::offset(&self.group, Index::ZERO);
        let names = self.store.list(&SegmentName::folder(&self.group), &from).await;
        let Some(name) = names.map_err(|_| TellError::Store)?.into_iter().next() else {
            return Ok(Reach::NOTHING);
        };
        let segment = self.segment(&name).await?.ok_or(TellError::Store)?;
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
                let told = hsm.tell(settled, chain.clone(), None).await.map_err(TellError::asked)?;
                settled = Settled::Past(told.past);
                chain.truncate(1);
            }
        }
        if chain.len() > 1 || matches!(settled, Settled::Committed(_)) {
            let told = hsm.tell(settled, chain.clone(), None).await.map_err(TellError::asked)?;
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
        let first = at.index.next().ok_or(TellError::Gone(at.index))?;
        let name = SegmentName::new(self.group, first, &at.hash).to_string();
        let segment = match self.segment(&name).await? {
            Some(segment) => segment,
            // The last one of which was told may be inside a segment.
            None => self.around(first).await?,
        };
        let after = |made: &&SegmentEntry| made.entry.index > at.index;
        let light = |made: &SegmentEntry| SegmentEntry { leaves: Vec::new(), ..made.clone() };
        let made: Vec<SegmentEntry> = segment.entries().iter().filter(after).map(light).collect();
        match made.first() {
            Some(next) if next.entry.index == first && next.entry.prev == at.hash => Ok(made),
            Some(_) => Err(TellError::OtherLog(at.index)),
            None => Err(TellError::Gone(at.index)),
        }
    }

    async fn around(&self, index: Index) -> Result<Segment, TellError> {
        let offset = |index| SegmentName::offset(&self.group, Index(index));
        let from = offset(index.0.saturating_sub(MAX_CAPTURE_ENTRIES as u64));
        let until = offset(index.0.saturating_add(1));
        let names = self.store.list_until(&SegmentName::folder(&self.group), &from, &until).await;
        let gone = TellError::Gone(Index(index.0.saturating_sub(1)));
        let Some(name) = names.map_err(|_| TellError::Store)?.pop() else { return Err(gone) };
        self.segment(&name).await?.ok_or(gone)
    }

    async fn segment(&self, name: &str) -> Result<Option<Segment>, TellError> {
        match self.store.read(name).await {
            ReadOutcome::Found(bytes) => {
                Segment::decode(&bytes).map(Some).map_err(|_| TellError::Damaged(name.into()))
            }
            ReadOutcome::Absent => Ok(None),
            ReadOutcome::Unavailable => Err(TellError::Store),
        }
    }
}

fn reach_of(made: Option<&SegmentEntry>) -> Option<Reach> {
    made.map(|made| Reach { index: made.entry.index, hash: made.entry.hash() })
}
