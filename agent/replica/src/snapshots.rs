//! What a leader knows about the stored tree: how far it is with opening it, what the next snapshot can reach, and
//! which segments the snapshots make unnecessary.
//!
//! Kept here: a snapshot reaches a committed entry at the end of a segment; a segment is deleted only if it ended
//! before a durable snapshot, and a grace time later.

use super::context::Context;
use super::interface::Millis;
use super::log::first_of_segment;
use super::replay::Replay;
use super::trees::Trees;
use crate::stored::Snapshot;
use std::collections::VecDeque;
use strongroom_proto::ids::Index;

/// How often in a row the tree may be found damaged before that is believed.
const MAX_UNFIT: u32 = 2;

/// How far a leader is with opening the stored tree.
pub(super) enum Stage {
    /// Not open. To be opened at this time, once an own entry is committed.
    Closed(Millis),
    Opening,
    Replaying(Box<Replay>),
    Open,
}

/// What a leader knows about the stored tree.
pub(super) struct Snapshots {
    stage: Stage,
    /// What the stored tree reaches.
    stored: Index,
    /// How many snapshots were taken.
    taken: u64,
    /// The newest entry that a snapshot can reach, and the trees there.
    next: Option<(Snapshot, Trees)>,
    /// Since when there has been such an entry.
    next_since: Millis,
    /// The segments after the stored tree that this leadership wrote: their first and last entries.
    segments: VecDeque<(Index, Index)>,
    /// How many more there were before this leadership began.
    segments_before: usize,
    not_before: Millis,
    /// The entry that is to be stored as soon as that can be.
    wanted: Option<Index>,
    /// How often the tree was found damaged since it was last open.
    unfit: u32,
    /// When the segments before these entries may be deleted.
    unnecessary: VecDeque<(Millis, Index)>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            stage: Stage::Closed(Millis(0)),
            stored: Index::ZERO,
            taken: 0,
            next: None,
            next_since: Millis(0),
            segments: VecDeque::new(),
            segments_before: 0,
            not_before: Millis(0),
            wanted: None,
            unfit: 0,
            unnecessary: VecDeque::new(),
        }
    }
}

impl Snapshots {
    pub(super) const fn stage(&self) -> &Stage {
        &self.stage
    }

    /// It is being opened.
    pub(super) fn open(&mut self) {
        self.stage = Stage::Opening;
    }

    /// It was opened, and reaches this entry, durably.
    pub(super) fn opened(&mut self, cx: &Context, stored: Index) {
        self.stored = stored;
        self.wanted.take_if(|wanted| *wanted <= stored);
        self.next.take_if(|(snapshot, _)| snapshot.entry.index <= stored);
        self.unnecessary.push_back((cx.now.after(cx.settings.storage.grace_ms), first_of_segment(stored)));
    }

    /// What lies between it and the end of the log is to be read first.
    pub(super) fn begin_replay(&mut self, replay: Replay) {
        self.stage = Stage::Replaying(Box::new(replay));
    }

    /// That was read, in this many segments, and these are the trees of the newest entry.
    pub(super) fn replayed(&mut self, trees: &Trees, segments: usize) {
        self.segments_before = segments;
        if let Some((_, at_committed)) = &mut self.next {
            *at_committed = trees.clone();
        }
        self.serve();
    }

    /// Requests can be served from it.
    pub(super) fn serve(&mut self) {
        self.stage = Stage::Open;
        self.unfit = 0;
    }

    /// It was found damaged. Returns whether that is believed.
    pub(super) const fn found_damaged(&mut self) -> bool {
        self.unfit += 1;
        self.unfit > MAX_UNFIT
    }

    /// No snapshot is taken before this time.
    pub(super) const fn put_off(&mut self, until: Millis) {
        self.not_before = until;
    }

    /// Snapshots are taken as soon as there is something to store, until one has reached this entry.
    pub(super) fn want(&mut self, index: Index) {
        self.wanted = self.wanted.max(Some(index)).filter(|wanted| *wanted > self.stored);
    }

    /// It is closed, and may be opened again at this time.
    pub(super) fn close(&mut self, until: Millis) {
        self.stage = Stage::Closed(until);
    }

    /// What to store next and the trees there, if a snapshot is due; `changed` records have changed since the stored
    /// tree.
    pub(super) fn due(&self, cx: &Context, changed: usize) -> Option<&(Snapshot, Trees)> {
        let due = self.wanted.is_some()
            || changed >= cx.settings.storage.snapshot_records
            || self.segments.len() + self.segments_before >= cx.settings.storage.snapshot_segments
            || cx.now >= self.next_since.after(cx.settings.storage.snapshot_after_ms);
        self.next.as_ref().filter(|_| due && cx.now >= self.not_before)
    }

    /// When there is something to do about the tree, if that is after now: to open it, to go on with a replay, to take a
    /// snapshot, or to delete what that has made unnecessary. `changed` as for [`Self::due`].
    pub(super) fn deadline(&self, cx: &Context, changed: usize) -> Option<Millis> {
        let storage = &cx.settings.storage;
        let many = self.wanted.is_some()
            || changed >= storage.snapshot_records
            || self.segments.len() + self.segments_before >= storage.snapshot_segments;
        match &self.stage {
            Stage::Closed(at) => Some(*at),
            Stage::Opening => None,
            Stage::Replaying(replay) => replay.deadline(cx.now),
            Stage::Open => {
                let since = if many { Millis(0) } else { self.next_since.after(storage.snapshot_after_ms) };
                let next = self.next.as_ref().map(|_| since.max(self.not_before));
                let unnecessary = self.unnecessary.front().map(|(at, _)| *at);
                next.into_iter().chain(unnecessary).filter(|at| *at > cx.now).min()
            }
        }
    }

    /// The entry before which segments may be deleted now, if it is time for some.
    pub(super) fn take_unnecessary(&mut self, now: Millis) -> Option<Index> {
        let mut before = None;
        while let Some((_, first)) = self.unnecessary.pop_front_if(|(at, _)| *at <= now) {
            before = Some(first);
        }
        before.filter(|before| *before > Index(1))
    }

    /// # Panics
    /// If the invariants above do not hold; `ends` are those of the segments on their way to the store.
    pub(super) fn assert_invariants(
        &self,
        cx: &Context,
        committed: Index,
        ends: impl Iterator<Item = Index>,
    ) {
        if let Some((snapshot, _)) = &self.next {
            let index = snapshot.entry.index;
            assert!(index <= committed, "a snapshot would reach an entry that is not committed");
            let mut ends = self.segments.iter().map(|(_, last)| *last).chain(ends);
            assert!(ends.any(|end| end == index), "a snapshot would reach an entry within a segment");
        }
        for (at, first) in &self.unnecessary {
            let needed = *first > self.stored.max(Index(1));
            assert!(!needed, "segments would be deleted that the stored tree does not reach");
            assert!(*at <= cx.now.after(cx.settings.storage.grace_ms), "segments are kept forever");
        }
        assert!(
            self.unnecessary.iter().is_sorted_by_key(|(at, _)| *at),
            "what is needed longer would be deleted earlier"
        );
        if let Stage::Replaying(replay) = &self.stage {
            replay.assert_invariants();
        }
    }

    /// Whether requests can be served from it.
    pub(super) const fn are_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Whether it is open, or will be.
    pub(super) const fn is_used(&self) -> bool {
        !matches!(self.stage, Stage::Closed(_))
    }

    /// What it reaches, 0 for nothing or not known.
    pub(super) const fn stored(&self) -> Index {
        self.stored
    }

    /// Since when anything has waited for a snapshot.
    pub(super) const fn waits_since(&self) -> Millis {
        self.next_since
    }

    /// How many snapshots this leadership has taken.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// A segment of this leadership is in the store.
    pub(super) fn landed(&mut self, first: Index, last: Index) {
        self.segments.push_back((first, last));
    }

    /// An entry of this leadership is committed.
    pub(super) fn committed(&mut self, now: Millis, snapshot: Snapshot, trees: Trees) {
        if self.next.is_none() {
            self.next_since = now;
        }
        self.next = Some((snapshot, trees));
    }

    /// The stored tree reaches this entry, durably.
    pub(super) fn reached(&mut self, cx: &Context, index: Index) {
        self.stored = self.stored.max(index);
        self.taken += 1;
        self.wanted.take_if(|wanted| *wanted <= index);
        self.segments_before = 0;
        let mut first = first_of_segment(index);
        while let Some((begins, _)) = self.segments.pop_front_if(|(_, ends)| *ends <= index) {
            first = begins;
        }
        self.unnecessary.push_back((cx.now.after(cx.settings.storage.grace_ms), first));
        self.next.take_if(|(snapshot, _)| snapshot.entry.index <= index);
        self.next_since = cx.now;
    }

    /// The replay, if one is under way.
    pub(super) const fn replay(&mut self) -> Option<&mut Replay> {
        if let Stage::Replaying(replay) = &mut self.stage { Some(replay) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::context;
    use crate::segment::tests::entries;
    use strongroom_proto::ids::{Digest, HsmId, Mac};
    use strongroom_proto::statement::Committed;

    const GRACE_MS: u64 = 100;

    fn at_5() -> Context {
        let mut cx = context();
        (cx.now, cx.settings.storage.grace_ms) = (Millis(5), GRACE_MS);
        cx
    }

    /// Entry 10 is committed, the last of a segment, and the stored tree reaches entry 8.
    fn snapshots() -> Snapshots {
        let entry = entries(1).remove(0).entry;
        let (index, hash) = (entry.index, entry.hash());
        let committed = Committed { hsm: HsmId([1; 16]), index, hash, mac: Mac(Digest([2; 32])) };
        let mut snapshots = Snapshots::default();
        snapshots.opened(&at_5(), Index(8));
        snapshots.landed(Index(9), Index(10));
        snapshots.committed(Millis(5), Snapshot { entry, committed }, Trees::default());
        check(&snapshots, 10);
        snapshots
    }

    fn check(snapshots: &Snapshots, committed: u64) {
        snapshots.assert_invariants(&at_5(), Index(committed), std::iter::empty());
    }

    #[test]
    #[should_panic(expected = "a snapshot would reach an entry that is not committed")]
    fn a_snapshot_of_what_is_not_committed_is_noticed() {
        check(&snapshots(), 9);
    }

    #[test]
    #[should_panic(expected = "a snapshot would reach an entry within a segment")]
    fn a_snapshot_of_half_a_segment_is_noticed() {
        let mut snapshots = snapshots();
        snapshots.segments = VecDeque::from([(Index(9), Index(11))]);
        check(&snapshots, 10);
    }

    #[test]
    #[should_panic(expected = "segments would be deleted that the stored tree does not reach")]
    fn deleting_what_is_needed_is_noticed() {
        let mut snapshots = snapshots();
        snapshots.stored = Index(0);
        snapshots.unnecessary.push_back((Millis(9), Index(9)));
        check(&snapshots, 10);
    }

    #[test]
    #[should_panic(expected = "segments are kept forever")]
    fn keeping_segments_forever_is_noticed() {
        let mut snapshots = snapshots();
        snapshots.unnecessary.push_back((Millis(6 + GRACE_MS), Index(1)));
        check(&snapshots, 10);
    }

    #[test]
    #[should_panic(expected = "what is needed longer would be deleted earlier")]
    fn deleting_out_of_order_is_noticed() {
        let mut snapshots = snapshots();
        snapshots.unnecessary.push_back((Millis(6), Index(1)));
        check(&snapshots, 10);
    }
}
