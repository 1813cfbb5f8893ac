//! Moves the HSM's captured entry to the end of the log.
//!
//! Kept here: whole segments are captured, in the order of the log; and from a push, only what its sender made.

use super::interface::Millis;
use crate::segment::SegmentName;
use std::collections::VecDeque;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::MAX_CAPTURE_ENTRIES;
use strongroom_proto::ids::{EntryHash, HsmId, Index};
use strongroom_proto::statement::Captured;

/// How long to leave an HSM alone that did not answer or that failed.
const RETRY_MS: u64 = 100;
/// How many segments may wait to be captured before no more are taken from a push.
const MAX_PUSHED: usize = 64;

/// The most bytes that an entry takes without its partitions and open transfers, and the most that each of those takes.
const ENTRY_BYTES: usize = 240;
const PARTITION_BYTES: usize = 80;
const TRANSFER_BYTES: usize = 120;

fn most_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.partitions.len() * PARTITION_BYTES + entry.open.len() * TRANSFER_BYTES
}

/// A segment whose entries are to be captured.
struct Uncaptured {
    name: SegmentName,
    entries: Vec<Entry>,
    /// Who pushed it; `None` if it came from the store or is our own.
    by: Option<HsmId>,
}

/// A segment with an entry that no HSM made.
pub(super) struct Forged {
    pub(super) name: SegmentName,
    /// Who pushed it; `None` if it is in the store.
    pub(super) by: Option<HsmId>,
}

/// What the HSM has captured, and what it is to capture next.
pub(super) struct Capture {
    /// Newest known position; the HSM may be further along if a reply was lost.
    captured: (Index, EntryHash),
    statement: Option<Captured>,
    queue: VecDeque<Uncaptured>,
    /// Whether a request is with the HSM, and of how many segments.
    asked: Option<usize>,
    /// Whether to ask for one segment at a time, to find the one the HSM refuses.
    narrow: bool,
    /// Whether the statement is wanted again though nothing is new.
    restate: bool,
    retry_at: Millis,
}

impl Capture {
    /// Starts from what the HSM said about itself.
    pub(super) fn new(captured: (Index, EntryHash)) -> Self {
        let restate = captured.0 > Index::ZERO;
        Self {
            captured,
            statement: None,
            queue: VecDeque::new(),
            asked: None,
            narrow: false,
            restate,
            retry_at: Millis(0),
        }
    }

    pub(super) const fn captured(&self) -> (Index, EntryHash) {
        self.captured
    }

    /// The newest statement, once the HSM has made one.
    pub(super) const fn statement(&self) -> Option<Captured> {
        self.statement
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self) {
        assert!(
            self.asked.is_none_or(|asked| asked <= self.queue.len()),
            "the HSM is asked for half a segment"
        );
        // What was before the newest was looked at when it came.
        let mut newest = self.queue.iter().rev();
        let (Some(last), before) = (newest.next(), newest.next()) else { return };
        let first = last.entries.first().map(|first| first.index);
        assert!(first == Some(last.name.first), "half a segment is to be captured");
        let follows =
            before.and_then(|before| before.entries.last()).is_none_or(|before| before.index.next() == first);
        assert!(follows, "segments are to be captured out of order");
        let is_its_own = last.by.is_none_or(|by| last.entries.iter().all(|entry| entry.leader == by));
        assert!(is_its_own, "a pushed segment that its sender did not make is to be captured");
    }

    /// The last entry that is to be captured, if there is one.
    pub(super) fn last_queued(&self) -> Option<Index> {
        self.queue.back().and_then(|last| last.entries.last()).map(|last| last.index)
    }

    /// Whether nothing is left to capture.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.asked.is_none()
    }

    /// Whether more may be taken from a push: no sender may fill the memory.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_PUSHED
    }

    /// Takes note of a segment that the store has acknowledged together with everything before it: this agent's own
    /// write, or a push of which the leader says so.
    pub(super) fn push(&mut self, name: SegmentName, entries: Vec<Entry>, by: Option<HsmId>) {
        if entries.last().is_some_and(|last| last.index > self.captured.0) {
            self.queue.push_back(Uncaptured { name, entries, by });
        }
    }

    /// When there will be entries to ask for.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let waits = self.asked.is_none() && (self.restate || !self.queue.is_empty());
        waits.then_some(self.retry_at)
    }

    /// The entries to ask for now, if any; whole segments, as many as one request takes.
    pub(super) fn ask(&mut self, now: Millis, max_frame_bytes: usize) -> Option<Vec<Entry>> {
        if self.asked.is_some() || now < self.retry_at || (self.queue.is_empty() && !self.restate) {
            return None;
        }
        let mut entries: Vec<Entry> = Vec::new();
        let (mut bytes, mut segments) = (0_usize, 0_usize);
        for next in &self.queue {
            let more: usize = next.entries.iter().map(most_bytes).sum();
            let fits = entries.len() + next.entries.len() <= MAX_CAPTURE_ENTRIES
                && bytes.saturating_add(more) <= max_frame_bytes;
            if segments > 0 && (self.narrow || !fits) {
                break;
            }
            bytes = bytes.saturating_add(more);
            segments += 1;
            entries.extend_from_slice(&next.entries);
        }
        self.asked = Some(segments);
        Some(entries)
    }

    /// The HSM has stated what it has captured. Returns the last segment of that.
    pub(super) fn stated(&mut self, statement: Captured) -> Option<SegmentName> {
        self.asked = None;
        self.restate = false;
        self.captured = (statement.index, statement.hash);
        self.statement = Some(statement);
        let mut last_of = None;
        let is_captured =
            |front: &mut Uncaptured| front.entries.last().is_none_or(|last| last.index <= statement.index);
        while let Some(captured) = self.queue.pop_front_if(is_captured) {
            last_of = Some(captured.name);
        }
        last_of
    }

    /// The reply was lost, or the HSM could not capture: asks again later.
    pub(super) fn retry(&mut self, now: Millis) {
        self.asked = None;
        self.retry_at = now.after(RETRY_MS);
    }

    /// The HSM says that no HSM made one of the entries. Returns which segment it is in, or `None` while that is still
    /// to be found out.
    pub(super) fn forged(&mut self) -> Option<Forged> {
        let asked = self.asked.take();
        self.narrow = true;
        let front = self.queue.front().filter(|_| asked == Some(1))?;
        Some(Forged { name: front.name, by: front.by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Segment;
    use crate::segment::tests::entries;

    /// Entries 10 and 11 wait, each in a segment of its own.
    fn capture() -> Capture {
        let mut capture = Capture::new((Index(9), EntryHash([9; 32])));
        for made in entries(2) {
            let by = Some(made.entry.leader);
            let segment = Segment::new(vec![made]).expect("an entry alone is a segment");
            capture.push(segment.name(), vec![segment.last().clone()], by);
            capture.assert_invariants();
        }
        capture
    }

    #[test]
    #[should_panic(expected = "the HSM is asked for half a segment")]
    fn asking_for_what_does_not_wait_is_noticed() {
        let mut capture = capture();
        capture.asked = Some(3);
        capture.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "half a segment is to be captured")]
    fn half_a_segment_is_noticed() {
        let mut capture = capture();
        capture.queue[1].entries.clear();
        capture.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "segments are to be captured out of order")]
    fn segments_out_of_order_are_noticed() {
        let mut capture = capture();
        capture.queue.swap(0, 1);
        capture.assert_invariants();
    }

    #[test]
    #[should_panic(expected = "a pushed segment that its sender did not make is to be captured")]
    fn a_push_of_what_another_made_is_noticed() {
        let mut capture = capture();
        capture.queue[1].by = Some(HsmId([9; 16]));
        capture.assert_invariants();
    }
}
