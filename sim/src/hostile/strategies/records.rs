//! Attacks on what a record allows.

use super::plays::wishes;
use crate::hostile::clients::{USERS, guesses};
use crate::hostile::hunt::Hunt;
use crate::hostile::step::Wish;

pub(super) fn use_as_everybody_does(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    let (r, point) = (s.registration, hunt.any_point());
    wishes(hunt, &s, &[Wish::Recover1, Wish::Recover2(r, point), Wish::Recover3(r, true), Wish::Delete]);
    wishes(hunt, &s, &[Wish::Recover2(r, point)]);
}

pub(super) fn guess_until_nothing_is_left(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    let guesses: Vec<Wish> = (0..5).map(|point| Wish::Recover2(s.registration, point)).collect();
    wishes(hunt, &s, &guesses);
}

pub(super) fn guess_twice_in_one_batch(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let messages = [0, 1].map(|point| hunt.ask(s.channel, Wish::Recover2(0, point)));
    let entry = hunt.process(s.at, s.group, &messages);
    hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
}

pub(super) fn send_one_guess_again(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(2) else { return };
    let message = hunt.ask(s.channel, Wish::Recover2(2, 0));
    for _ in 0..2 {
        let entry = hunt.process(s.at, s.group, &[message]);
        hunt.settle(s.at, s.group, entry, &[0, 1]);
    }
    let again = [0, 1, 0, 2, 3].map(|point| Wish::Recover2(2, point));
    wishes(hunt, &s, &again);
}

pub(super) fn send_a_wrong_tag(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    wishes(hunt, &s, &[Wish::Recover3(1, false), Wish::Recover2(1, 0), Wish::Recover3(0, true)]);
}

pub(super) fn send_the_right_tag_after_the_last_guess(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let right = hunt.any_point() > 3;
    let after = [Wish::Recover2(0, 0), Wish::Recover1, Wish::Recover3(0, right), Wish::Recover2(0, 1)];
    wishes(hunt, &s, &after);
    wishes(hunt, &s, &[Wish::Recover3(0, false), Wish::Recover3(0, true), Wish::Recover2(0, 2)]);
}

/// With the last guess charged, the tag is all that is left to guess: it must not be guessed twice.
pub(super) fn send_tags_until_one_is_right(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    let r = s.registration;
    let guesses: Vec<Wish> = (0..guesses(r)).map(|point| Wish::Recover2(r, point as u8)).collect();
    wishes(hunt, &s, &guesses);
    wishes(hunt, &s, &[Wish::Recover3(r, false), Wish::Recover3(r, true)]);
}

pub(super) fn ask_for_a_record_that_is_not_there(hunt: &mut Hunt) {
    let Some(at) = hunt.leader(0) else { return };
    for user in 0..USERS {
        let channel = hunt.open(user, at);
        let message = hunt.ask(channel, Wish::Recover2(0, 0));
        hunt.process(at, 0, &[message]);
    }
}

pub(super) fn use_a_registration_that_was_deleted_or_replaced(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let gone = [Wish::Delete, Wish::Register2(2), Wish::Register2(1)];
    let gone = gone[usize::from(hunt.any_point()) % 3];
    wishes(hunt, &s, &[Wish::Recover2(1, 0), gone, Wish::Recover2(1, 1), Wish::Recover3(1, true)]);
    wishes(hunt, &s, &[Wish::Recover1, Wish::Recover2(1, 0)]);
}

/// The promise counts every Register2 that is accepted; what was charged before one is not charged to it.
pub(super) fn register_again_and_again(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    let r = s.registration;
    wishes(hunt, &s, &[Wish::Recover2(r, 0), Wish::Register2(r), Wish::Recover2(r, 1)]);
    let messages = [Wish::Register2(r), Wish::Recover2(r, 2)].map(|wish| hunt.ask(s.channel, wish));
    for _ in 0..2 {
        let entry = hunt.process(s.at, s.group, &messages);
        hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    }
    wishes(hunt, &s, &[Wish::Recover2(r, 3)]);
}

pub(super) fn guess_after_a_right_tag(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    let r = s.registration;
    wishes(hunt, &s, &[Wish::Recover2(r, 0), Wish::Recover3(r, true), Wish::Recover2(r, 0)]);
    let guesses: Vec<Wish> = (1..=guesses(r)).map(|point| Wish::Recover2(r, point as u8)).collect();
    wishes(hunt, &s, &guesses);
}

pub(super) fn guess_the_same_after_a_right_tag(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(2) else { return };
    wishes(hunt, &s, &[Wish::Recover2(2, 0), Wish::Recover3(2, true), Wish::Recover2(2, 0)]);
}
