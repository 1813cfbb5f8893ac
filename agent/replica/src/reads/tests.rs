//! Rounds, one step at a time; and each broken invariant of them is noticed.

use super::*;
use crate::clients::Queued;
use crate::context::tests::context;
use crate::interface::Action;
use strongroom_proto::hsm::{BatchRequest, NoiseMessage, NoiseReply};
use strongroom_proto::ids::{Digest, EntryHash, Mac, RecordId, SessionId};

const NONCE: Nonce = Nonce([7; 16]);
const OTHERS: [HsmId; 2] = [HsmId([4; 16]), HsmId([5; 16])];

/// A leader whose entry 1 is committed, with its clients.
struct Led {
    cx: Context,
    reads: Reads,
    clients: Clients,
    committed: Index,
    standings: Standings,
}

fn led(members: u8) -> Led {
    let mut cx = context();
    cx.settings.group.members = (3..3 + members).map(|id| HsmId([id; 16])).collect();
    let others: Vec<_> =
        cx.settings.group.members.iter().copied().filter(|m| *m != cx.settings.hsm).collect();
    let (reads, clients, standings) = (Reads::default(), Clients::default(), Standings::new(others));
    Led { cx, reads, clients, committed: Index(1), standings }
}

impl Led {
    /// A read waits under this number, for a client whose ticket has the same.
    fn wait(&mut self, number: u64) {
        let message = NoiseMessage::Transport { ciphertext: Vec::new().into() };
        let request = BatchRequest { record: RecordId([1; 32]), session: SessionId(2), message, time: None };
        self.clients.arrive(
            &mut self.cx,
            false,
            Queued { ticket: Ticket(number), request, owner: crate::interface::Owner::default() },
        );
        assert_eq!(self.reads.wait(number, Ticket(number)), Some(()));
    }

    /// What goes to the HSM and to other members, in short.
    fn advance(&mut self) -> Vec<String> {
        self.reads.advance(&mut self.cx, self.committed, &self.standings);
        self.reads.assert_invariants(&self.cx, self.committed);
        self.went()
    }

    fn went(&mut self) -> Vec<String> {
        let calls: Vec<_> = self.cx.out.take_asked();
        let mut went: Vec<String> =
            calls.into_iter().filter_map(|c| self.cx.out.returned(c)).map(|c| format!("{c:?}")).collect();
        went.extend(self.cx.out.take().into_iter().filter_map(|action| match action {
            Action::Send { to, message: PeerMessage::StateFresh { .. } } => Some(format!("ask {}", to.0[0])),
            Action::Answer { ticket, .. } => Some(format!("answer {}", ticket.0)),
            _ => None,
        }));
        went
    }

    /// A round begins, and its nonce is drawn.
    fn begin(&mut self) {
        assert_eq!(self.advance(), ["DrawReadNonce"]);
        self.reads.drawn(&mut self.cx, NONCE);
        let members = self.cx.settings.group.members.len();
        assert_eq!(self.advance().len(), members, "every member is asked");
    }

    fn state(&mut self, member: u8) -> Vec<String> {
        let hsm = HsmId([member; 16]);
        self.reads.stated(&self.cx, hsm, NONCE, statement(hsm));
        self.advance()
    }

    fn later(&mut self, ms: u64) -> Vec<String> {
        self.cx.now = self.cx.now.after(ms);
        self.advance()
    }

    /// The HSM lets out these.
    fn confirm(&mut self, numbers: &[u64]) -> Vec<String> {
        let reply = || NoiseReply::Transport { ciphertext: Vec::new().into() };
        let replies = numbers.iter().map(|number| ReadReply { number: *number, reply: reply() });
        self.reads.confirmed(&mut self.cx, replies.collect(), &mut self.clients);
        self.advance()
    }

    /// Who is counted now, by the HSM.
    fn counted(&self) -> Vec<u8> {
        let confirming = self.reads.round.as_ref().and_then(|round| round.confirming.as_ref());
        confirming.map(|c| c.of.iter().map(|of| of.0[0]).collect()).unwrap_or_default()
    }

    fn refuse(&mut self, refusal: Refusal) -> Option<HsmId> {
        self.reads.unconfirmed(self.cx.now, refusal)
    }
}

fn statement(hsm: HsmId) -> Fresh {
    Fresh { hsm, index: Index(1), hash: EntryHash([1; 32]), mac: Mac(Digest([2; 32])) }
}

#[test]
fn a_majority_is_enough_and_what_came_meanwhile_has_the_next_round_at_once() {
    let mut led = led(3);
    assert_eq!(led.advance(), [""; 0], "nothing waits");
    led.wait(0);
    led.begin();
    led.wait(1);
    assert_eq!(led.state(3), [""; 0], "alone it is no majority");
    assert_eq!(led.state(5), ["Confirm"]);
    assert_eq!(led.state(4), [""; 0], "too late to be of use");
    assert_eq!(led.confirm(&[0]), ["DrawReadNonce", "answer 0"]);
    assert_eq!(led.clients.read(), (1, 1));
}

#[test]
fn what_is_not_committed_has_its_next_round_after_the_next_commit() {
    let mut led = led(3);
    led.wait(0);
    led.begin();
    led.state(3);
    led.state(4);
    assert_eq!(led.confirm(&[]), [""; 0]);
    assert_eq!(led.later(5_000), [""; 0]);
    led.committed = Index(2);
    assert_eq!(led.advance(), ["DrawReadNonce"]);
}

#[test]
fn statements_of_other_rounds_and_other_makers_and_those_that_come_twice_do_not_count() {
    let mut led = led(5);
    led.wait(0);
    led.begin();
    led.reads.stated(&led.cx, OTHERS[0], Nonce([8; 16]), statement(OTHERS[0]));
    led.reads.stated(&led.cx, OTHERS[0], NONCE, statement(OTHERS[1]));
    led.reads.stated(&led.cx, HsmId([99; 16]), NONCE, statement(HsmId([99; 16])));
    assert_eq!(led.advance(), [""; 0]);
    assert!(led.reads.round.as_ref().is_some_and(|round| round.told.is_empty()));
    led.state(4);
    led.state(4);
    led.state(5);
    assert_eq!(led.counted(), [], "two members of five");
    led.state(3);
    assert_eq!(led.counted(), [3, 4, 5]);
}

#[test]
fn members_that_do_not_answer_are_asked_again_less_and_less_often() {
    let mut led = led(3);
    led.wait(0);
    led.begin();
    led.state(3);
    let asked: Vec<u64> = (0..10_000).filter(|_| led.later(1) == ["ask 4", "ask 5"]).collect();
    assert_eq!(asked[..5], [49, 149, 349, 749, 1_549]);
    assert_eq!(asked.len(), 13);
    assert!(led.reads.are_stalled(led.cx.now, 10_000) && !led.reads.are_stalled(led.cx.now, 10_001));
    assert_eq!(led.state(4), ["Confirm"]);
    led.confirm(&[0]);
    assert!(!led.reads.are_stalled(Millis(u64::MAX), 1));
}

#[test]
fn one_forged_statement_among_three_is_the_liars() {
    let mut led = led(3);
    led.wait(0);
    led.begin();
    led.state(3);
    led.state(4);
    assert_eq!(led.counted(), [3, 4]);
    assert_eq!(led.refuse(Refusal::NotAuthentic), Some(OTHERS[0]));
    assert_eq!(led.state(5), ["Confirm"]);
    assert_eq!(led.counted(), [3, 5]);
}

#[test]
fn of_several_statements_each_is_checked_alone_and_the_authentic_ones_count() {
    let mut led = led(5);
    led.wait(0);
    led.begin();
    for member in [3, 4, 5] {
        led.state(member);
    }
    assert_eq!(led.counted(), [3, 4, 5]);
    assert_eq!(led.refuse(Refusal::NotAuthentic), None);
    led.advance();
    assert_eq!(led.counted(), [4]);
    assert_eq!(led.refuse(Refusal::NoMajority), None);
    led.advance();
    assert_eq!(led.counted(), [5]);
    assert_eq!(led.refuse(Refusal::NotAuthentic), Some(OTHERS[1]));
    assert_eq!(led.advance(), [""; 0]);
    led.state(6);
    assert_eq!(led.counted(), [3, 4, 6]);
}

#[test]
fn one_that_lied_lately_is_checked_alone_first() {
    let mut led = led(3);
    led.standings.lied(OTHERS[0], led.cx.now);
    led.wait(0);
    led.begin();
    led.state(3);
    led.state(4);
    assert_eq!(led.counted(), [4]);
    assert_eq!(led.refuse(Refusal::NoMajority), None);
    assert_eq!(led.advance(), ["Confirm"]);
    assert_eq!(led.counted(), [3, 4]);
}

#[test]
fn where_all_that_was_said_falls_short_there_is_a_new_nonce_after_longer_and_longer_pauses() {
    let mut led = led(3);
    led.wait(0);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        led.begin();
        led.state(3);
        led.state(4);
        assert_eq!(led.refuse(Refusal::NoMajority), None);
        assert_eq!(led.advance(), [""; 0], "the last may know better");
        assert_eq!(led.state(5), ["Confirm"]);
        assert_eq!(led.counted(), [3, 4, 5]);
        assert_eq!(led.refuse(Refusal::NoMajority), None);
        let pause = led.reads.not_before.0 - led.cx.now.0;
        led.cx.now = led.cx.now.after(pause);
        pauses.push(pause);
    }
    assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1_000, 1_000]);
}

#[test]
fn a_number_that_an_answer_has_already_is_noticed() {
    let mut led = led(3);
    led.wait(0);
    assert_eq!(led.reads.wait(0, Ticket(1)), None);
}

#[test]
#[should_panic(expected = "a read waits for a round that does not come")]
fn a_read_that_is_forgotten_is_noticed() {
    let mut led = led(3);
    led.wait(0);
    led.reads.assert_invariants(&led.cx, led.committed);
}

#[test]
#[should_panic(expected = "a stranger's statement counts for a read")]
fn a_stranger_that_counts_is_noticed() {
    let mut led = led(3);
    led.wait(0);
    led.begin();
    let stranger = HsmId([99; 16]);
    led.reads.round.as_mut().expect("it began").asked.insert(stranger);
    led.state(99);
}

#[test]
#[should_panic(expected = "a member counts that has yet to answer")]
fn a_member_that_counts_without_an_answer_is_noticed() {
    let mut led = led(3);
    led.wait(0);
    led.begin();
    led.state(4);
    led.reads.round.as_mut().expect("it began").asked.insert(OTHERS[0]);
    led.advance();
}

#[test]
#[should_panic(expected = "a statement counts before the nonce is drawn")]
fn a_statement_without_a_nonce_is_noticed() {
    let mut led = led(3);
    led.wait(0);
    led.begin();
    led.state(4);
    led.reads.round.as_mut().expect("it began").nonce = None;
    led.advance();
}
