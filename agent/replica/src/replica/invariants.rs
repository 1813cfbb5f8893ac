//! What holds between two events, as the crate and its files say under "Kept here". Checked after every event where
//! debug assertions are on: in tests, and in the simulator, which the gate compiles without optimisation.
//!
//! Each part checks its own invariants; [`crate::audit`] checks what can be seen from actions alone; this file checks
//! what concerns more than one part.

use super::{Replica, State};
use crate::bug::Bug;
use crate::interface::{Action, Fault};
use std::collections::BTreeSet;
use strongroom_proto::ids::Index;

impl Replica {
    /// Checks all of it as these actions go out.
    ///
    /// # Panics
    /// If something does not hold, which is a bug in this crate.
    pub(super) fn assert_invariants(&self, actions: &[Action]) {
        self.assert_parts();
        self.assert_names_have_one_content();
        self.assert_capture_follows_the_log();
        self.assert_leadership();
        let waits = !matches!(self.state, State::Faulted) || self.trouble.stops() && !self.search.is_on();
        assert!(waits, "a member has stopped and does not begin again from the start");
        let leads = matches!(self.state, State::Leader(_) | State::Candidate(_));
        let faults = actions.iter().any(|action| matches!(action, Action::Fault(_)));
        assert!(
            !leads || !faults && !self.trouble.rests(self.cx.now),
            "a member leads that cannot read what a leader needs"
        );
    }

    fn assert_parts(&self) {
        let (now, settings) = (self.cx.now, &self.cx.settings);
        self.following.assert_invariants(now);
        let follows = self.following.leader().is_some();
        self.turn.assert_invariants(now, &settings.election_timeout_ms, follows);
        let others = settings.group.members.iter().filter(|member| **member != settings.hsm);
        self.standings.assert_invariants(now, others.count());
        self.log.assert_invariants();
        self.search.assert_invariants();
        self.ahead.assert_invariants();
        self.capture.assert_invariants();
        self.silence.assert_invariants(&settings.hsm_silence_ms, self.cx.out.calls());
        self.under_way.assert_invariants();
        self.settling.assert_invariants(&self.cx);
        self.trouble.assert_invariants(&self.cx);
        self.clients.assert_invariants();
        self.freshness.assert_invariants(&self.cx);
        match &self.state {
            State::Candidate(candidate) => candidate.assert_invariants(),
            State::Leader(leader) => leader.assert_invariants(&self.cx, self.clients.waiting() > 0),
            State::Starting(_) | State::Witness | State::Faulted => {}
        }
    }

    /// What a peer says never becomes a fault of ours; `before` is what was wrong before it spoke.
    ///
    /// # Panics
    /// If it has become one.
    pub(super) fn assert_blameless(&self, before: Option<Fault>) {
        let blameless = self.trouble.fault() == before || self.cx.bugs.has(Bug::PushedForkIsFault);
        assert!(blameless, "what a peer says became a fault of ours");
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

    /// Nothing is captured unless it is in the store, as far as this member knows the store; and nothing counts as
    /// known of the store before the captured entry is found there.
    fn assert_capture_follows_the_log(&self) {
        if let Some(last) = self.capture.last_queued() {
            assert!(last <= self.log.position().0, "entry {last} is to be captured and is not in the log");
        }
        let found = !self.search.is_on() || self.log.tip().is_none();
        assert!(found, "the log begins where the captured entry does not lead");
    }

    /// No leadership begins before the writes of the previous one are settled; and the stored tree is used only once
    /// one of its entries is committed.
    fn assert_leadership(&self) {
        let State::Leader(leader) = &self.state else { return };
        assert!(
            self.settling.is_empty() || self.settling.is_restoring(),
            "a leadership began before the writes of the previous one were settled"
        );
        let uses_tree = leader.snapshots.is_used();
        assert!(
            !uses_tree || leader.committed() > Index::ZERO,
            "the tree is opened before anything is committed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Candidate;
    use crate::context::tests::context;
    use crate::flights::tests::flights;
    use crate::interface::{Damage, Event, Millis};
    use crate::leader::Leader;
    use crate::log::{Object, Origin};
    use crate::segment::Segment;
    use crate::segment::tests::{entries, named};
    use crate::shared::Shared;
    use strongroom_proto::ids::{EntryHash, Term};

    fn replica() -> Replica {
        let replica = Replica::unstarted(context().settings, Millis(5));
        replica.assert_invariants(&[]);
        replica
    }

    fn leading() -> (Replica, Leader) {
        let replica = replica();
        let leader = Leader::new(&replica.cx, Term([4; 16]), &replica.log);
        (replica, leader)
    }

    fn check_leading((mut replica, leader): (Replica, Leader)) {
        replica.state = State::Leader(Box::new(leader));
        replica.assert_invariants(&[]);
    }

    #[test]
    fn a_leader_of_an_empty_log_is_in_order() {
        check_leading(leading());
    }

    #[test]
    #[should_panic(expected = "is being written twice")]
    fn two_contents_of_one_name_are_noticed() {
        let mut replica = replica();
        replica.settling.take_over(&mut flights(entries(1)));
        replica.settling.take_over(&mut flights(entries(1)));
        replica.assert_invariants(&[]);
    }

    #[test]
    #[should_panic(expected = "a leadership began before the writes of the previous one were settled")]
    fn a_leadership_that_begins_too_early_is_noticed() {
        let (mut replica, leader) = leading();
        replica.settling.take_over(&mut flights(entries(1)));
        check_leading((replica, leader));
    }

    #[test]
    #[should_panic(expected = "is to be captured and is not in the log")]
    fn capturing_what_is_not_in_the_log_is_noticed() {
        let mut replica = replica();
        let segment = Segment::new(entries(1)).expect("it is one");
        replica.capture.push(segment.name(), vec![segment.last().clone()], None);
        replica.assert_invariants(&[]);
    }

    #[test]
    #[should_panic(expected = "the log begins where the captured entry does not lead")]
    fn a_log_that_the_captured_entry_does_not_lead_to_is_noticed() {
        let mut replica = replica();
        replica.search.begin((Index(20), EntryHash([1; 32])));
        replica.log.begin(&Segment::new(entries(1)).expect("it is one"), Shared::default());
        replica.assert_invariants(&[]);
    }

    #[test]
    #[should_panic(expected = "the tree is opened before anything is committed")]
    fn opening_the_tree_too_early_is_noticed() {
        let (replica, mut leader) = leading();
        leader.snapshots.open();
        check_leading((replica, leader));
    }

    #[test]
    #[should_panic(expected = "a member leads that cannot read what a leader needs")]
    fn leading_without_what_is_needed_is_noticed() {
        let (mut replica, leader) = leading();
        replica.state = State::Leader(Box::new(leader));
        let fault = Fault::Damaged { object: named(1), index: Index(1), damage: Damage::Roots };
        replica.assert_invariants(&[Action::Fault(fault)]);
    }

    /// Not only in the step that finds it.
    #[test]
    #[should_panic(expected = "a member leads that cannot read what a leader needs")]
    fn standing_without_what_is_needed_is_noticed() {
        let mut replica = replica();
        let fault = Fault::Damaged { object: named(1), index: Index(1), damage: Damage::Roots };
        replica.trouble.find(&mut replica.cx, fault, true, None);
        replica.state = State::Candidate(Candidate::new(replica.cx.now));
        replica.assert_invariants(&[]);
    }

    #[test]
    #[should_panic(expected = "a member has stopped and does not begin again from the start")]
    fn stopping_for_nothing_is_noticed() {
        let mut replica = replica();
        replica.state = State::Faulted;
        replica.assert_invariants(&[]);
    }

    #[test]
    #[should_panic(expected = "what a peer says became a fault of ours")]
    fn a_fault_that_a_peer_brings_about_is_noticed() {
        let mut replica = replica();
        replica.assert_blameless(None);
        let group = replica.cx.settings.group.group;
        replica.fault(Fault::NotMember { group });
        replica.assert_blameless(None);
    }

    /// Every step ends with these checks.
    #[test]
    #[should_panic(expected = "the HSM was asked before the log was read to its end")]
    fn a_step_that_ends_with_a_broken_part_is_noticed() {
        let mut replica = replica();
        let mut candidate = Candidate::new(Millis(5));
        candidate.ask();
        replica.state = State::Candidate(candidate);
        replica.step(Millis(6), Event::Tick);
    }

    /// Every action that goes out is checked.
    #[test]
    #[should_panic(expected = "is written again before the store has answered")]
    fn a_step_that_writes_twice_is_noticed() {
        let mut replica = replica();
        let (bytes, paths) = (Shared::default(), Shared::default());
        let prev = EntryHash([1; 32]);
        let object = Object { name: named(1), prev, bytes: bytes.clone(), paths, origin: Origin::Store };
        replica.state = State::Witness;
        replica.settling.restore(vec![object]);
        replica.cx.out.write(named(1), bytes);
        replica.step(Millis(6), Event::Tick);
    }
}
