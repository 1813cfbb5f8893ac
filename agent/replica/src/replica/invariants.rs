//! What holds between two events, as the modules say under "Kept here". Looked at after every event where debug
//! assertions are on: in tests, and in the simulator that the gate compiles without optimisation.

use super::{Replica, State};
use std::collections::BTreeSet;

impl Replica {
    /// Checks all of it.
    ///
    /// # Panics
    /// If something does not hold, which is a bug of this crate.
    pub(super) fn assert_invariants(&self) {
        self.assert_names_have_one_content();
        self.assert_capture_follows_the_log();
        self.clients.assert_invariants();
        if let State::Leader(leader) = &self.state {
            assert!(
                self.settling.is_empty() || self.settling.is_restoring(),
                "a leadership began before the writes of the one before were settled"
            );
            leader.assert_invariants();
        }
    }

    /// A segment's name is written with one content only.
    fn assert_names_have_one_content(&self) {
        let own = match &self.state {
            State::Leader(leader) => leader.names_under_way(),
            _ => Vec::new(),
        };
        let mut names = BTreeSet::new();
        for name in self.settling.names().chain(own) {
            assert!(names.insert(name), "{name} is being written twice");
        }
    }

    /// Nothing is captured that is not in the store, as far as this member knows the store.
    fn assert_capture_follows_the_log(&self) {
        if let Some(last) = self.capture.last_queued() {
            assert!(last <= self.log.position().0, "entry {last} is to be captured and is not in the log");
        }
    }
}
