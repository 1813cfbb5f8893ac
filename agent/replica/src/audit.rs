//! What has gone out and not come back, as the agent sees it. It looks only at events and actions, and so finds what
//! the parts would not find in themselves. Kept only where debug assertions are on.
//!
//! Kept here, by all parts together: every client request is answered exactly once, and with a reply only when the HSM
//! has just given one; nothing is asked for a second time before the first has ended, as [`Event`] says; other members
//! hear only of what is in the store with everything before it.

use super::interface::{Action, Answer, CallId, Event, LoadId, Ticket};
use crate::peer::PeerMessage;
use crate::segment::SegmentName;
use std::collections::BTreeSet;
use strongroom_proto::ids::Index;

/// What may be under way only once at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Single {
    Listing,
    Opening,
    ReadingSnapshot,
    Snapshot,
    Collection,
}

/// Everything that is under way.
#[derive(Default)]
pub(super) struct Audit {
    tickets: BTreeSet<Ticket>,
    calls: BTreeSet<CallId>,
    writes: BTreeSet<SegmentName>,
    loads: BTreeSet<LoadId>,
    singles: BTreeSet<Single>,
    /// Whether the present event is a reply of the HSM.
    replied: bool,
}

impl Audit {
    /// An event has come.
    pub(super) fn came(&mut self, event: &Event) {
        self.replied = matches!(event, Event::Hsm { reply: Some(_), .. });
        match event {
            Event::Client { ticket, .. } | Event::Order { ticket, .. } => {
                assert!(self.tickets.insert(*ticket), "a ticket belongs to one request")
            }
            Event::Hsm { call, .. } => _ = self.calls.remove(call),
            Event::Wrote { name, .. } => _ = self.writes.remove(name),
            Event::Loaded { load, .. } => _ = self.loads.remove(load),
            Event::Listed { .. } => self.ended(Single::Listing),
            Event::TreeOpened { .. } => self.ended(Single::Opening),
            Event::SnapshotRead { .. } => self.ended(Single::ReadingSnapshot),
            Event::Advanced { .. } => self.ended(Single::Snapshot),
            Event::Collected { .. } => self.ended(Single::Collection),
            Event::Tick | Event::Read { .. } | Event::Peer { .. } => {}
        }
    }

    fn ended(&mut self, single: Single) {
        self.singles.remove(&single);
    }

    fn begins(&mut self, single: Single) {
        assert!(self.singles.insert(single), "a second {single:?} before the first has ended");
    }

    /// These actions go out. `newest`: the newest entry that is known to be in the store.
    ///
    /// # Panics
    /// If one of them must not go out.
    pub(super) fn went(&mut self, actions: &[Action], newest: Index) {
        for action in actions {
            match action {
                Action::Answer { ticket, answer } => {
                    assert!(self.tickets.remove(ticket), "a request is answered twice");
                    let from_hsm = self.replied || !matches!(answer, Answer::Reply(_));
                    assert!(from_hsm, "a reply that the HSM did not give");
                }
                Action::Ordered { ticket, .. } => {
                    assert!(self.tickets.remove(ticket), "an order ends twice");
                }
                Action::Hsm { call, .. } => {
                    assert!(self.calls.insert(*call), "a second call with the same name")
                }
                Action::Load { load, .. } => {
                    assert!(self.loads.insert(*load), "a second reading with the same name")
                }
                Action::Write { name, .. } => {
                    assert!(
                        self.writes.insert(*name),
                        "{name} is written again before the store has answered"
                    );
                }
                Action::Send { message, .. } => {
                    let told = match message {
                        PeerMessage::Push { first, .. } => *first,
                        PeerMessage::Heartbeat { newest, .. } | PeerMessage::Follows { newest, .. } => {
                            *newest
                        }
                        PeerMessage::Captured { .. }
                        | PeerMessage::Seek { .. }
                        | PeerMessage::Yield { .. }
                        | PeerMessage::StateFresh { .. }
                        | PeerMessage::Fresh { .. } => Index::ZERO,
                    };
                    assert!(
                        told <= newest,
                        "others are told of entry {told}, which is not known to be in the store"
                    );
                }
                Action::List { .. } => self.begins(Single::Listing),
                Action::OpenTree => self.begins(Single::Opening),
                Action::ReadSnapshot => self.begins(Single::ReadingSnapshot),
                Action::Advance(_) => self.begins(Single::Snapshot),
                Action::Collect { .. } => self.begins(Single::Collection),
                Action::Read { .. }
                | Action::CloseTree
                | Action::TreeDamaged(_)
                | Action::Fault(_)
                | Action::Mended(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{self, Asked};
    use crate::interface::{CreateOutcome, Owner};
    use crate::segment::tests::named;
    use strongroom_proto::hsm::{BatchRequest, NoiseMessage, NoiseReply, Reply};
    use strongroom_proto::ids::{GroupId, HsmId, RecordId, SessionId, Term};

    fn request() -> Event {
        let message = NoiseMessage::Transport { ciphertext: Vec::new().into() };
        let request = BatchRequest { record: RecordId([1; 32]), session: SessionId(2), message, time: None };
        Event::Client { ticket: Ticket(1), handshake_only: false, request, owner: Owner::default() }
    }

    fn asked() -> Audit {
        let mut audit = Audit::default();
        audit.came(&request());
        audit
    }

    fn went(audit: &mut Audit, action: Action) {
        audit.went(&[action], Index(9));
    }

    fn answer(answer: Answer) -> Action {
        Action::Answer { ticket: Ticket(1), answer }
    }

    fn write() -> Action {
        Action::Write { name: named(1), bytes: crate::Shared::default() }
    }

    #[test]
    fn what_has_ended_may_be_done_again() {
        let mut audit = asked();
        went(&mut audit, answer(Answer::Busy));
        for _ in 0..2 {
            went(&mut audit, write());
            went(&mut audit, Action::List { from: Index(1) });
            audit.came(&Event::Wrote { name: named(1), outcome: CreateOutcome::Unknown });
            audit.came(&Event::Listed { result: Ok(Vec::new()) });
        }
    }

    #[test]
    #[should_panic(expected = "a request is answered twice")]
    fn a_second_answer_is_noticed() {
        let mut audit = asked();
        went(&mut audit, answer(Answer::Busy));
        went(&mut audit, answer(Answer::Unavailable));
    }

    #[test]
    #[should_panic(expected = "a reply that the HSM did not give")]
    fn a_reply_out_of_nowhere_is_noticed() {
        let mut audit = asked();
        audit.came(&Event::Hsm { call: CallId(1), reply: Some(Reply::Done) });
        audit.came(&Event::Tick);
        went(&mut audit, answer(Answer::Reply(NoiseReply::Transport { ciphertext: Vec::new().into() })));
    }

    #[test]
    #[should_panic(expected = "is written again before the store has answered")]
    fn a_second_write_before_the_answer_is_noticed() {
        let mut audit = asked();
        went(&mut audit, write());
        went(&mut audit, write());
    }

    #[test]
    #[should_panic(expected = "a second Listing before the first has ended")]
    fn a_second_listing_is_noticed() {
        let mut audit = asked();
        went(&mut audit, Action::List { from: Index(1) });
        went(&mut audit, Action::List { from: Index(2) });
    }

    #[test]
    #[should_panic(expected = "a second Opening before the first has ended")]
    fn a_second_opening_is_noticed() {
        let mut audit = asked();
        went(&mut audit, Action::OpenTree);
        went(&mut audit, Action::OpenTree);
    }

    #[test]
    #[should_panic(expected = "a second call with the same name")]
    fn a_second_call_of_one_name_is_noticed() {
        let call = || Action::Hsm { call: CallId(1), request: Asked::new(ask::Status) };
        let mut audit = asked();
        went(&mut audit, call());
        went(&mut audit, call());
    }

    #[test]
    #[should_panic(expected = "a second reading with the same name")]
    fn a_second_reading_of_one_name_is_noticed() {
        let mut audit = asked();
        went(&mut audit, Action::Load { load: LoadId(1), records: Vec::new() });
        went(&mut audit, Action::Load { load: LoadId(1), records: Vec::new() });
    }

    #[test]
    #[should_panic(expected = "a ticket belongs to one request")]
    fn a_ticket_of_two_requests_is_noticed() {
        asked().came(&request());
    }

    #[test]
    #[should_panic(expected = "which is not known to be in the store")]
    fn word_of_what_is_not_in_the_store_is_noticed() {
        let (group, term) = (GroupId([1; 16]), Term([2; 16]));
        let (newest, snapshot) = (Index(10), Index(0));
        let message = PeerMessage::Heartbeat { group, term, newest, snapshot, silent_ms: 0 };
        went(&mut asked(), Action::Send { to: HsmId([3; 16]), message });
    }
}
