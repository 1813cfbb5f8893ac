//! Attacks on the two places of a record: a guess more at either, and what is there after it should be gone.

use super::plays::wishes;
use crate::hostile::clients::{REGISTRATIONS, guesses};
use crate::hostile::hunt::{Hunt, Scene};
use crate::hostile::step::Wish;

/// A scene, and another registration than the one in it.
fn two(hunt: &mut Hunt) -> Option<(Scene, u8)> {
    let registration = hunt.any_registration();
    let s = hunt.scene(registration)?;
    let other = (registration + 1 + hunt.any_point() % 2) % REGISTRATIONS;
    Some((s, other))
}

/// Runs wishes in one committed batch, so that also what only reads is answered.
fn together(hunt: &mut Hunt, s: &Scene, wishes: &[Wish]) {
    let messages: Vec<_> = wishes.iter().map(|wish| hunt.ask(s.channel, *wish)).collect();
    let entry = hunt.process(s.at, s.group, &messages);
    hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
}

fn all_guesses(registration: u8) -> Vec<Wish> {
    (0..=guesses(registration)).map(|point| Wish::Recover2(registration, point as u8)).collect()
}

pub(super) fn change_a_pin_as_everybody_does(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    let r = s.registration;
    wishes(hunt, &s, &[Wish::Recover2(r, 0), Wish::Recover3(r, true), Wish::Stage(other)]);
    together(hunt, &s, &[Wish::Versions, Wish::Recover2(other, 0), Wish::Recover2(r, 1)]);
    wishes(hunt, &s, &[Wish::Activate(other), Wish::Recover2(other, 1), Wish::Recover3(other, true)]);
    together(hunt, &s, &[Wish::Attempts, Wish::Versions, Wish::Recover2(other, 2)]);
}

pub(super) fn guess_at_both_until_nothing_is_left(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    wishes(hunt, &s, &[Wish::Stage(other)]);
    for point in 0..4 {
        wishes(hunt, &s, &[Wish::Recover2(s.registration, point), Wish::Recover2(other, point)]);
    }
    together(hunt, &s, &[Wish::Versions, Wish::Recover3(other, true), Wish::Recover3(s.registration, true)]);
}

pub(super) fn stage_what_is_there_already(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    wishes(hunt, &s, &[Wish::Stage(other)]);
    let again = if hunt.any_point().is_multiple_of(2) { other } else { s.registration };
    for guess in all_guesses(again) {
        wishes(hunt, &s, &[guess, Wish::Stage(again)]);
    }
}

pub(super) fn stage_between_guesses_at_the_present(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    for (n, guess) in (0..).zip(all_guesses(s.registration)) {
        let third = (0..REGISTRATIONS).find(|r| *r != s.registration && *r != other);
        let staged = if n % 2 == 0 { Some(other) } else { third };
        wishes(hunt, &s, &[guess, Wish::Stage(staged.unwrap_or(other))]);
    }
}

pub(super) fn use_what_an_activation_replaced(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    let r = s.registration;
    wishes(hunt, &s, &[Wish::Stage(other), Wish::Recover2(other, 0), Wish::Activate(other)]);
    wishes(hunt, &s, &[Wish::Recover3(r, true), Wish::Recover2(r, 0)]);
    wishes(hunt, &s, &all_guesses(other));
    together(hunt, &s, &[Wish::Versions, Wish::Activate(r), Wish::Recover1]);
}

pub(super) fn activate_what_is_not_staged(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    let third = (0..REGISTRATIONS).find(|r| *r != s.registration && *r != other).unwrap_or(other);
    together(hunt, &s, &[Wish::Activate(other), Wish::Recover1, Wish::Recover2(s.registration, 0)]);
    wishes(hunt, &s, &[Wish::Stage(other), Wish::Activate(third)]);
    together(hunt, &s, &[Wish::Versions, Wish::Recover3(s.registration, true)]);
}

/// Registers another, the same or nothing while one is staged.
pub(super) fn use_what_was_staged_before_all_was_replaced(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    let r = s.registration;
    let gone = [Wish::Delete, Wish::Register2(r), Wish::Activate(r)];
    let gone = gone[usize::from(hunt.any_point()) % 3];
    wishes(hunt, &s, &[Wish::Stage(other), gone, Wish::Recover2(other, 0), Wish::Recover3(other, true)]);
    together(hunt, &s, &[Wish::Versions, Wish::Activate(other), Wish::Recover2(other, 1), Wish::Recover1]);
}

pub(super) fn guess_at_one_after_the_tag_of_the_other(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    let (r, o) =
        if hunt.any_point().is_multiple_of(2) { (s.registration, other) } else { (other, s.registration) };
    wishes(hunt, &s, &[Wish::Stage(other)]);
    for guess in all_guesses(o) {
        wishes(hunt, &s, &[guess, Wish::Recover2(r, 0), Wish::Recover3(r, true)]);
    }
}

pub(super) fn erase_one_of_two(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    let (one, kept) =
        if hunt.any_point().is_multiple_of(2) { (s.registration, other) } else { (other, s.registration) };
    wishes(hunt, &s, &[Wish::Stage(other)]);
    wishes(hunt, &s, &all_guesses(one)[..usize::from(guesses(one))]);
    wishes(hunt, &s, &[Wish::Recover3(one, false), Wish::Recover2(one, 9)]);
    together(hunt, &s, &[Wish::Versions, Wish::Recover2(kept, 0), Wish::Recover3(kept, true)]);
    wishes(hunt, &s, &[Wish::Stage(one), Wish::Recover2(one, 0), Wish::Activate(one)]);
    together(hunt, &s, &[Wish::Attempts, Wish::Recover1, Wish::Recover2(kept, 1)]);
}

/// A realm that missed a registration.
pub(super) fn stage_where_nothing_is_registered(hunt: &mut Hunt) {
    let Some((s, other)) = two(hunt) else { return };
    wishes(hunt, &s, &[Wish::Delete, Wish::Stage(other), Wish::Recover2(s.registration, 0)]);
    wishes(hunt, &s, &all_guesses(other));
    wishes(hunt, &s, &[Wish::Recover3(other, true), Wish::Activate(other), Wish::Recover2(other, 1)]);
    together(hunt, &s, &[Wish::Versions, Wish::Attempts, Wish::Delete]);
}
