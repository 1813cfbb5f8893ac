//! Segments on their way to the store, and those that must be settled before this member leads again.
//!
//! Kept here: a name is written with one content only, and again only after the store's last answer to it; a segment
//! counts only when everything before it is in the store.

use super::interface::{CreateOutcome, Millis};
use super::log::{Object, Origin};
use super::trees::Trees;
use crate::segment::{Segment, SegmentEntry, SegmentName};
use crate::shared::Shared;
use std::collections::VecDeque;
use strongroom_proto::entry::Entry;
use strongroom_proto::ids::{Index, RecordId};

/// First and longest pause before a write is tried again. Doubled by hand, here and in the crate's other files: nothing
/// here calls or sleeps, and a pause is a number to compare the time of the next event with. Of `backon`, only its iterator
/// of `Duration`s would fit, in place of one line.
const BACK_OFF_MS: (u64, u64) = (20, 1_000);

/// A segment that this agent is writing.
pub(super) struct Flight {
    pub(super) object: Object,
    /// Its entries, to be captured.
    pub(super) entries: Vec<Entry>,
    /// The trees after it.
    pub(super) trees: Trees,
    /// The records that each entry changed.
    pub(super) changed: Vec<(Index, Vec<RecordId>)>,
    state: Writing,
    back_off_ms: u64,
    /// When it was first given to the store.
    begun: Option<Millis>,
}

impl Flight {
    /// Whether it was first given to the store longer ago than this.
    pub(super) fn is_older_than(&self, now: Millis, ms: u64) -> bool {
        self.begun.is_some_and(|begun| now > begun.after(ms))
    }
}

enum Writing {
    ToWrite(Millis),
    Written,
    Created,
}

/// What an outcome means.
#[derive(PartialEq, Eq)]
pub(super) enum Outcome {
    /// Not one of these segments, or it is not settled yet.
    Nothing,
    /// Segments at the front may have landed.
    Landed,
    /// It was lost, and every segment after it with it. They are removed from here.
    Lost,
}

/// Segments in the order of the log.
#[derive(Default)]
pub(super) struct Flights(VecDeque<Flight>);

impl Flights {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a segment, to be written at once.
    pub(super) fn push(&mut self, segment: &Segment, object: Object, trees: Trees) {
        let entries = segment.entries().iter().map(|made| made.entry.clone()).collect();
        let ids = |made: &SegmentEntry| made.leaves.iter().map(|leaf| leaf.record).collect();
        let changed = segment.entries().iter().map(|made| (made.entry.index, ids(made))).collect();
        let state = Writing::ToWrite(Millis(0));
        self.0.push_back(Flight { object, entries, trees, changed, state, back_off_ms: 0, begun: None });
    }

    /// Adds a segment that the store had before, to be written again.
    pub(super) fn restore(&mut self, object: Object) {
        let state = Writing::ToWrite(Millis(0));
        let (entries, trees, changed) = (Vec::new(), Trees::default(), Vec::new());
        self.0.push_back(Flight { object, entries, trees, changed, state, back_off_ms: 0, begun: None });
    }

    /// Takes over the segments of another `Flights`, which come after these.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// The names of all segments.
    pub(super) fn names(&self) -> impl Iterator<Item = SegmentName> {
        self.0.iter().map(|flight| flight.object.name)
    }

    /// The last entries of the segments that this agent made.
    pub(super) fn ends(&self) -> impl Iterator<Item = Index> {
        self.0.iter().filter_map(|flight| flight.entries.last()).map(|last| last.index)
    }

    /// The first and the last entry of a segment that this agent made.
    pub(super) fn entries_of(&self, name: &SegmentName) -> Option<(Index, Index)> {
        let flight = self.0.iter().find(|flight| flight.object.name == *name)?;
        Some((flight.entries.first()?.index, flight.entries.last()?.index))
    }

    /// Whether all were in the store before, as far as is known.
    pub(super) fn are_known(&self) -> bool {
        self.0.iter().all(|flight| flight.object.origin != Origin::Pushed { whole: false })
    }

    /// # Panics
    /// If these segments of one leadership are not in sequence: then one could count before another.
    pub(super) fn assert_in_order(&self) {
        for (before, after) in self.0.iter().zip(self.0.iter().skip(1)) {
            let next = before.entries.last().and_then(|last| last.index.next());
            assert!(
                next == Some(after.object.name.first),
                "a segment would count before one that it follows"
            );
        }
    }

    /// Whether a segment of this name is among them.
    pub(super) fn contains(&self, name: SegmentName) -> bool {
        self.0.iter().any(|flight| flight.object.name == name)
    }

    /// Forgets the writes that are not under way now and were first given to the store longer ago than this, and
    /// everything after them: what was at their place may have been deleted, so that a write there would be off the
    /// log.
    pub(super) fn give_up(&mut self, now: Millis, ms: u64) {
        let idle = |flight: &Flight| matches!(flight.state, Writing::ToWrite(_));
        if let Some(at) = self.0.iter().position(|f| idle(f) && f.is_older_than(now, ms)) {
            self.0.truncate(at);
        }
    }

    /// When something is to be written, or given up if `give_up_ms` have passed since it was first written.
    pub(super) fn deadline(&self, give_up_ms: Option<u64>) -> Option<Millis> {
        let due = |flight: &Flight| match flight.state {
            Writing::ToWrite(at) => {
                let too_old = flight.begun.zip(give_up_ms).map(|(begun, ms)| begun.after(ms).after(1));
                Some(too_old.map_or(at, |too_old| too_old.min(at)))
            }
            Writing::Written | Writing::Created => None,
        };
        self.0.iter().filter_map(due).min()
    }

    /// What is to be written now.
    pub(super) fn due(&mut self, now: Millis) -> Vec<(SegmentName, Shared)> {
        let mut due = Vec::new();
        for flight in &mut self.0 {
            if matches!(flight.state, Writing::ToWrite(at) if at <= now) {
                flight.state = Writing::Written;
                flight.begun.get_or_insert(now);
                due.push((flight.object.name, flight.object.bytes.clone()));
            }
        }
        due
    }

    /// Takes the store's answer.
    pub(super) fn wrote(&mut self, now: Millis, name: SegmentName, outcome: CreateOutcome) -> Outcome {
        let place = self.0.iter().position(|f| f.object.name == name && matches!(f.state, Writing::Written));
        let Some((at, flight)) = place.and_then(|at| self.0.get_mut(at).map(|flight| (at, flight))) else {
            return Outcome::Nothing;
        };
        match outcome {
            CreateOutcome::Created => {
                flight.state = Writing::Created;
                Outcome::Landed
            }
            CreateOutcome::Lost => {
                // What comes after it hangs off a hash that no reader reaches.
                self.0.truncate(at);
                Outcome::Lost
            }
            CreateOutcome::Unknown => {
                let (first, longest) = BACK_OFF_MS;
                flight.back_off_ms = flight.back_off_ms.saturating_mul(2).clamp(first, longest);
                flight.state = Writing::ToWrite(now.after(flight.back_off_ms));
                Outcome::Nothing
            }
        }
    }

    /// The first segment, if it is in the store.
    pub(super) fn pop_landed(&mut self) -> Option<Flight> {
        self.0.pop_front_if(|flight| matches!(flight.state, Writing::Created))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::segment::tests::entries;

    /// Segments of one of these entries each, on their way to the store.
    pub(crate) fn flights(of: impl IntoIterator<Item = SegmentEntry>) -> Flights {
        let mut flights = Flights::default();
        for made in of {
            let segment = Segment::new(vec![made]).expect("an entry alone is a segment");
            let (name, prev) = (segment.name(), segment.first().prev);
            let (bytes, paths) = (Shared::default(), Shared::default());
            let object = Object { name, prev, bytes, paths, origin: Origin::Store };
            flights.push(&segment, object, Trees::default());
        }
        flights
    }

    #[test]
    fn a_segment_is_written_again_only_after_the_stores_answer() {
        let mut flights = flights(entries(2));
        flights.assert_in_order();
        assert_eq!(flights.due(Millis(0)).len(), 2);
        assert!(flights.due(Millis(900_000)).is_empty(), "the store has not answered");
        let name = flights.names().next().expect("there are two");
        assert!(flights.wrote(Millis(5), name, CreateOutcome::Unknown) == Outcome::Nothing);
        assert_eq!(flights.due(Millis(900_000)).len(), 1);
    }

    #[test]
    fn a_segment_counts_only_when_all_before_it_are_in_the_store() {
        let mut flights = flights(entries(2));
        flights.due(Millis(0));
        let names: Vec<SegmentName> = flights.names().collect();
        assert!(flights.wrote(Millis(5), names[1], CreateOutcome::Created) == Outcome::Landed);
        assert!(flights.pop_landed().is_none());
        assert!(flights.wrote(Millis(5), names[0], CreateOutcome::Created) == Outcome::Landed);
        assert!(flights.pop_landed().is_some() && flights.pop_landed().is_some());
    }

    #[test]
    #[should_panic(expected = "a segment would count before one that it follows")]
    fn segments_out_of_order_are_noticed() {
        let mut flights = flights(entries(3));
        flights.0.swap(1, 2);
        flights.assert_in_order();
    }
}
