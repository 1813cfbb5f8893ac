//! The segments of one group's log, read in their order by those that go through it beside who serves.
//!
//! Owns how the segment is found that goes on after an entry, and that what it holds does go on there. Nothing here is believed: HSMs check
//! what comes of it.

use crate::store::Store;
use strongroom_proto::hsm::MAX_CAPTURE_ENTRIES;
use strongroom_proto::ids::{EntryHash, GroupId, Index};
use strongroom_replica::ReadOutcome;
use strongroom_replica::segment::{Segment, SegmentEntry, SegmentName};

/// The segments of a group.
pub(crate) struct Segments<'a> {
    pub(crate) store: &'a Store,
    pub(crate) group: GroupId,
}

/// Why entries are not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unread {
    /// The store did not answer. Try again.
    Store,
    /// The entry after this one is not there any more.
    Gone(Index),
    /// This segment, which should hold that entry, makes no sense.
    Damaged(String, Index),
    /// Another entry follows than follows this one.
    OtherLog(Index),
}

impl Segments<'_> {
    /// The entries of the segment that goes on after this entry, without their leaves: at least one.
    pub(crate) async fn after(&self, at: Index, hash: &EntryHash) -> Result<Vec<SegmentEntry>, Unread> {
        let first = at.next().ok_or(Unread::Gone(at))?;
        let name = SegmentName::new(self.group, first, hash).to_string();
        let segment = match self.segment(&name, first).await? {
            Some(segment) => segment,
            // The entry may be inside a segment.
            None => self.around(first).await?,
        };
        let after = |made: &&SegmentEntry| made.entry.index > at;
        let light = |made: &SegmentEntry| SegmentEntry { leaves: Vec::new(), ..made.clone() };
        let made: Vec<SegmentEntry> = segment.entries().iter().filter(after).map(light).collect();
        match made.first() {
            Some(next) if next.entry.index == first && next.entry.prev == *hash => Ok(made),
            Some(_) => Err(Unread::OtherLog(at)),
            None => Err(Unread::Gone(at)),
        }
    }

    /// The oldest segment that is there. `None`: there is none.
    pub(crate) async fn oldest(&self) -> Result<Option<Segment>, Unread> {
        let from = SegmentName::offset(&self.group, Index::ZERO);
        let names = self.store.list(&SegmentName::folder(&self.group), &from).await;
        let Some(name) = names.map_err(|_| Unread::Store)?.into_iter().next() else { return Ok(None) };
        // It was there a moment ago: a later one is the oldest by now.
        self.segment(&name, Index::ZERO).await?.ok_or(Unread::Store).map(Some)
    }

    /// The segment with this entry inside.
    async fn around(&self, index: Index) -> Result<Segment, Unread> {
        let offset = |index| SegmentName::offset(&self.group, Index(index));
        let from = offset(index.0.saturating_sub(MAX_CAPTURE_ENTRIES as u64));
        let until = offset(index.0.saturating_add(1));
        let names = self.store.list_until(&SegmentName::folder(&self.group), &from, &until).await;
        let gone = Unread::Gone(Index(index.0.saturating_sub(1)));
        let Some(name) = names.map_err(|_| Unread::Store)?.pop() else { return Err(gone) };
        self.segment(&name, index).await?.ok_or(gone)
    }

    async fn segment(&self, name: &str, wanted: Index) -> Result<Option<Segment>, Unread> {
        match self.store.read(name).await {
            ReadOutcome::Found(bytes) => {
                Segment::decode(&bytes).map(Some).map_err(|_| Unread::Damaged(name.into(), wanted))
            }
            ReadOutcome::Absent => Ok(None),
            ReadOutcome::Unavailable => Err(Unread::Store),
        }
    }
}
