//! Attacks on the channels between clients and HSMs.

use super::plays::{guess, wishes};
use crate::hostile::clients::USERS;
use crate::hostile::hunt::Hunt;
use crate::hostile::step::{Step, Wish};
use rand::RngExt;

pub(super) fn use_a_session_for_another_record(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let message = hunt.ask(s.channel, Wish::Recover3(1, true));
    let (tree, as_user) = (hunt.newest(s.at, s.group), Some(s.user + 1));
    hunt.go(Step::Process { at: s.at, group: s.group, tree, messages: vec![message], as_user });
}

pub(super) fn answer_of_an_abandoned_guess(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let message = hunt.ask(s.channel, Wish::Recover2(1, 0));
    hunt.process(s.at, s.group, &[message]);
    hunt.lead(s.at, s.group);
    // By itself it is answered as a read; beside what changes a record, with the entry.
    let mut messages = vec![message];
    if hunt.rng.random() {
        let channel = hunt.open(s.user, s.at);
        messages.push(hunt.ask(channel, Wish::Recover3(1, true)));
    }
    let entry = hunt.process_on(s.at, s.group, Some(s.tip), &messages);
    hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    let nonce = hunt.draw_nonce(s.at, s.group);
    let statements = hunt.state_fresh(&hunt.members(s.group), s.group, nonce);
    hunt.confirm(s.at, s.group, statements);
}

/// The same bytes again, in the same batch and in the next, while the first answer is still kept.
pub(super) fn ask_again_before_the_commit(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(2) else { return };
    let message = hunt.ask(s.channel, Wish::Recover2(2, 0));
    hunt.process(s.at, s.group, &[message, message]);
    let entry = hunt.process(s.at, s.group, &[message]);
    hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
}

pub(super) fn send_what_is_no_request(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    for _ in 0..3 {
        let channel = hunt.open(s.user, s.at);
        let odd = Wish::Odd(hunt.any_oddity());
        let message = hunt.ask(channel, odd);
        hunt.process(s.at, s.group, &[message]);
        let again = hunt.ask(channel, Wish::Recover1);
        hunt.process(s.at, s.group, &[again]);
    }
}

/// A session ends with the first wrong message: here one out of order, then the one that was due.
pub(super) fn go_on_after_a_bad_message(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(2) else { return };
    let [first, second] = [0, 1].map(|point| hunt.ask(s.channel, Wish::Recover2(2, point)));
    hunt.process(s.at, s.group, &[second]);
    let entry = hunt.process(s.at, s.group, &[first, second]);
    hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
}

pub(super) fn replay_handshakes_everywhere(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let other = hunt.other(&s);
    hunt.lead(other, s.group);
    let message = hunt.ask(s.channel, Wish::Recover2(1, 0));
    for at in [other, s.at] {
        hunt.go(Step::Open { user: s.user, at, group: s.group, handshake: s.channel });
        hunt.process_on(at, s.group, Some(s.tip), &[message]);
    }
    let ride = hunt.go(Step::Ride { user: s.user, wish: Wish::Delete });
    for at in [s.at, other] {
        let entry = hunt.process(at, s.group, &[ride]);
        hunt.settle(at, s.group, entry, &hunt.members(s.group));
    }
}

/// A handshake can be sent again forever: nothing that counts may ride in it.
pub(super) fn guess_in_a_handshake(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(2) else { return };
    for wish in [Wish::Register2(2), Wish::Recover2(2, 0), Wish::Recover3(2, true)] {
        let ride = hunt.go(Step::Ride { user: s.user, wish });
        let entry = hunt.process(s.at, s.group, &[ride]);
        hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    }
}

pub(super) fn use_a_session_after_stepping_down(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(2) else { return };
    let kept = guess(hunt, &s, s.at, 0);
    let entry = hunt.process(s.at, s.group, &kept);
    hunt.go(Step::Resign { at: s.at, group: s.group });
    wishes(hunt, &s, &[Wish::Recover2(2, 1)]);
    hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    hunt.lead(s.at, s.group);
    wishes(hunt, &s, &[Wish::Recover2(2, 2)]);
}

/// At a leader of a group that owns no record.
pub(super) fn open_a_session_where_the_record_is_not(hunt: &mut Hunt) {
    hunt.all_join(1);
    let Some(at) = hunt.leader(1) else { return };
    let (user, handshake) = (hunt.any_user(), hunt.next);
    hunt.go(Step::Open { user, at, group: 1, handshake });
}

pub(super) fn knock_with_a_request(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let inside = hunt.ask(s.channel, Wish::Recover2(1, 0));
    for wish in [Wish::Register1, Wish::Delete, Wish::Recover2(1, 0)] {
        let message = hunt.go(Step::Ride { user: s.user, wish });
        hunt.go(Step::Knock { at: s.at, group: s.group, message });
    }
    hunt.go(Step::Knock { at: s.at, group: s.group, message: inside });
}

/// Others, and the user itself, open sessions while it has guessed and not yet sent its tag.
pub(super) fn open_many_between_guess_and_tag(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    for point in 0..2 {
        let own = hunt.open(s.user, s.at);
        // The second time there may be no guess left: which session is gone must not reveal that.
        let guess = hunt.ask(own, Wish::Recover2(registration, point));
        let entry = hunt.process(s.at, s.group, &[guess]);
        hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
        for user in [s.user, s.user + 1, s.user + 2, s.user] {
            for _ in 0..4 {
                hunt.open(user % USERS, s.at);
            }
        }
        let tag = hunt.ask(own, Wish::Recover3(registration, false));
        hunt.process(s.at, s.group, &[tag]);
    }
}

/// Two other users guess in as many sessions as they can have.
pub(super) fn guess_in_many_between_guess_and_tag(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let guess = hunt.ask(s.channel, Wish::Recover2(1, 0));
    hunt.process(s.at, s.group, &[guess]);
    for user in [s.user + 1, s.user + 2] {
        for _ in 0..4 {
            let theirs = hunt.open(user % USERS, s.at);
            let guess = hunt.ask(theirs, Wish::Recover2(0, 0));
            hunt.process(s.at, s.group, &[guess]);
        }
    }
    let tag = hunt.ask(s.channel, Wish::Recover3(1, true));
    let entry = hunt.process(s.at, s.group, &[tag]);
    hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
}
