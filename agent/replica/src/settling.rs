//! Writes that must be settled before this member leads again: those of a leadership that has ended, and segments that
//! are written back to the store.
//!
//! Kept here: no leadership begins while one of them is not settled; and only what the store had before is written
//! back.

use super::bug::Bug;
use super::context::Context;
use super::flights::{Flights, Outcome};
use super::interface::{CreateOutcome, Millis};
use super::log::Object;
use crate::segment::SegmentName;
use crate::shared::Shared;

/// What is not settled.
#[derive(Default)]
pub(super) struct Settling {
    flights: Flights,
    /// Whether these are segments being written back.
    restoring: bool,
}

impl Settling {
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether segments that the store had are being written back.
    pub(super) const fn is_restoring(&self) -> bool {
        self.restoring
    }

    /// The names under way.
    pub(super) fn names(&self) -> impl Iterator<Item = SegmentName> {
        self.flights.names()
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self, cx: &Context) {
        let gives_what_it_had = !self.restoring || self.flights.are_known();
        assert!(
            gives_what_it_had || cx.bugs.has(Bug::ForgeryRestored),
            "what the store never had is written back"
        );
    }

    /// Takes over the writes of a leadership.
    pub(super) fn take_over(&mut self, flights: &mut Flights) {
        self.flights.append(flights);
    }

    /// Writes back to the store what it had. Returns whether there is anything to write.
    pub(super) fn restore(&mut self, objects: Vec<Object>) -> bool {
        debug_assert!(self.flights.is_empty(), "what was under way must be settled first");
        self.restoring = !objects.is_empty();
        objects.into_iter().for_each(|object| self.flights.restore(object));
        self.restoring
    }

    /// Gives up what has been tried for so long that the segment at its place may have been deleted.
    pub(super) fn give_up(&mut self, now: Millis, ms: u64) {
        self.flights.give_up(now, ms);
    }

    /// When something is to be written, or to be given up after `ms`.
    pub(super) fn deadline(&self, ms: u64) -> Option<Millis> {
        self.flights.deadline(Some(ms))
    }

    /// What is to be written now.
    pub(super) fn due(&mut self, now: Millis) -> Vec<(SegmentName, Shared)> {
        self.flights.due(now)
    }

    /// Handles the outcome of a write. Returns whether another segment has taken the place of one that the store had.
    pub(super) fn wrote(&mut self, now: Millis, name: SegmentName, outcome: CreateOutcome) -> bool {
        self.flights.wrote(now, name, outcome) == Outcome::Lost && self.restoring
    }

    /// Forgets what is in the store.
    pub(super) fn clear_landed(&mut self) {
        while self.flights.pop_landed().is_some() {}
        self.restoring &= !self.flights.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::context;
    use crate::log::Origin;
    use crate::segment::tests::named;

    fn restored(origin: Origin) -> Settling {
        let (bytes, paths) = (Shared::default(), Shared::default());
        let prev = strongroom_proto::ids::EntryHash([1; 32]);
        let mut settling = Settling::default();
        assert!(settling.restore(vec![Object { name: named(1), prev, bytes, paths, origin }]));
        settling
    }

    #[test]
    fn the_store_is_given_again_what_it_had() {
        restored(Origin::Store).assert_invariants(&context());
        restored(Origin::Pushed { whole: true }).assert_invariants(&context());
    }

    #[test]
    #[should_panic(expected = "what the store never had is written back")]
    fn giving_the_store_what_it_never_had_is_noticed() {
        restored(Origin::Pushed { whole: false }).assert_invariants(&context());
    }
}
