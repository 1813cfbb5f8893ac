//! What the agent was asked to do with the store and has not finished yet.
//!
//! Kept here: never a second listing, opening, snapshot, collection or reading of the snapshot before the first has
//! ended; and a reading of the snapshot that was begun for an earlier reason does not answer a later one.

use super::interface::LoadId;
use crate::segment::SegmentName;
use std::collections::BTreeSet;
use strongroom_proto::ids::{Index, Term};

/// Who asked for the listing that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lister {
    /// The search for the end of the log: where the listing starts, and what was known to be in the store then. More
    /// may be known by the time the listing comes.
    End { from: Index, known: Option<SegmentName> },
    /// A replay.
    Replay(Term),
}

/// Why the snapshot is being read.
pub(super) enum Why {
    /// The captured entry is in no segment.
    NotFound,
    /// There are segments that do not continue the log: the way to them may have been deleted.
    Beyond,
    /// The last known segment is gone. These are still there.
    Gone(BTreeSet<SegmentName>),
    /// The log has ended. If its last entry is stored as committed, there is nothing to lead for.
    Ended,
}

/// Why the snapshot was read.
pub(super) enum Read {
    /// Nothing that still matters.
    Nothing,
    /// This reason.
    For(Why),
    /// It may be too old for this: read it again.
    Again(Why),
}

/// What is under way, at most one of each.
#[derive(Default)]
pub(super) struct UnderWay {
    listing: Option<Lister>,
    /// Whether the stored tree is being opened, whichever leadership asked.
    opening: bool,
    /// The snapshot that is being taken, and the leadership that takes it.
    advancing: Option<(Term, Index)>,
    /// Whether segments are being deleted.
    collecting: bool,
    /// What the snapshot is wanted for, while it is being read.
    asking: Option<Why>,
    reading: bool,
    /// Whether the current reading was begun for an earlier reason.
    stale: bool,
    last_load: LoadId,
}

impl UnderWay {
    pub(super) const fn may_list(&self) -> bool {
        self.listing.is_none()
    }

    pub(super) fn list(&mut self, by: Lister) {
        debug_assert!(self.listing.is_none(), "a second listing");
        self.listing = Some(by);
    }

    pub(super) const fn listed(&mut self) -> Option<Lister> {
        self.listing.take()
    }

    /// Whether the tree may be opened: it is neither being opened nor written.
    pub(super) const fn may_open(&self) -> bool {
        !self.opening && self.advancing.is_none()
    }

    pub(super) fn open(&mut self) {
        debug_assert!(self.may_open(), "a second opening, or one beside a snapshot");
        self.opening = true;
    }

    pub(super) const fn opened(&mut self) {
        self.opening = false;
    }

    pub(super) const fn may_advance(&self) -> bool {
        self.advancing.is_none()
    }

    pub(super) fn advance(&mut self, term: Term, to: Index) {
        debug_assert!(self.advancing.is_none(), "a second snapshot");
        self.advancing = Some((term, to));
    }

    pub(super) const fn advanced(&mut self) -> Option<(Term, Index)> {
        self.advancing.take()
    }

    pub(super) const fn may_collect(&self) -> bool {
        !self.collecting
    }

    pub(super) fn collect(&mut self) {
        debug_assert!(!self.collecting, "a second collection");
        self.collecting = true;
    }

    pub(super) const fn collected(&mut self) {
        self.collecting = false;
    }

    /// Asks what the stored tree reaches. Returns whether a reading must begin.
    pub(super) fn ask_snapshot(&mut self, why: Why) -> bool {
        // One that was begun for another reason does not answer this.
        self.stale |= self.reading && self.asking.is_some();
        self.asking = Some(why);
        !std::mem::replace(&mut self.reading, true)
    }

    /// Whether it is wanted.
    pub(super) const fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Nobody wants it any more, and what is being read is too old for the next to ask.
    pub(super) fn forget_asking(&mut self) {
        self.asking = None;
        self.stale = self.reading;
    }

    /// It was read, or could not be.
    pub(super) fn snapshot_read(&mut self) -> Read {
        self.reading = false;
        let stale = std::mem::take(&mut self.stale);
        match self.asking.take() {
            Some(why) if stale => Read::Again(why),
            Some(why) => Read::For(why),
            None => Read::Nothing,
        }
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self) {
        assert!(self.reading || self.asking.is_none(), "the snapshot is wanted, but is not being read");
        assert!(self.reading || !self.stale, "a snapshot counts as too old although it is not being read");
        assert!(!self.opening || self.advancing.is_none(), "the tree is opened while a snapshot is written");
    }

    /// The name of a new reading of paths, which none had before.
    pub(super) const fn last_load(&mut self) -> &mut LoadId {
        &mut self.last_load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_for_an_earlier_reason_is_read_again() {
        let mut under_way = UnderWay::default();
        assert!(under_way.ask_snapshot(Why::NotFound));
        under_way.forget_asking();
        assert!(!under_way.ask_snapshot(Why::Beyond), "one reading at a time");
        under_way.assert_invariants();
        assert!(matches!(under_way.snapshot_read(), Read::Again(Why::Beyond)));
    }

    #[test]
    fn what_is_read_for_a_reason_that_another_follows_is_read_again() {
        let mut under_way = UnderWay::default();
        assert!(under_way.ask_snapshot(Why::Ended));
        assert!(!under_way.ask_snapshot(Why::Beyond), "one reading at a time");
        assert!(matches!(under_way.snapshot_read(), Read::Again(Why::Beyond)));
    }

    #[test]
    #[should_panic(expected = "the snapshot is wanted, but is not being read")]
    fn a_snapshot_that_nobody_reads_is_noticed() {
        let under_way = UnderWay { asking: Some(Why::NotFound), ..UnderWay::default() };
        under_way.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "a snapshot counts as too old although it is not being read")]
    fn a_stale_reading_that_does_not_exist_is_noticed() {
        let under_way = UnderWay { stale: true, ..UnderWay::default() };
        under_way.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "the tree is opened while a snapshot is written")]
    fn opening_beside_a_snapshot_is_noticed() {
        let mut under_way = UnderWay::default();
        under_way.advance(Term([1; 16]), Index(1));
        under_way.opening = true;
        under_way.assert_invariants();
    }
}
