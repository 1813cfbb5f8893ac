//! Attacks on the tree that a batch runs on.

use super::plays::wishes;
use crate::hostile::hunt::Hunt;
use crate::hostile::step::{Shape, Step, Wish};

pub(super) fn guess_on_an_old_tree(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    for point in 0..3 {
        let message = hunt.ask(s.channel, Wish::Recover2(0, point));
        let entry = hunt.process_on(s.at, s.group, Some(s.tip), &[message]);
        hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    }
}

/// The record as it was before its guess was charged, under every shape of tree in turn.
pub(super) fn guess_on_a_tree_made_by_hand(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    wishes(hunt, &s, &[Wish::Recover2(0, 0)]);
    let message = hunt.ask(s.channel, Wish::Recover2(0, 1));
    let first = usize::from(hunt.any_point());
    for i in 0..5 {
        let shape = Shape::ALL[(first * 5 + i) % Shape::ALL.len()];
        let entry = hunt.hand_made(&s, &[message], shape, Some(s.tip));
        hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    }
}

/// A tree of one leaf is that leaf, under any prefix. If the HSM accepted one with another prefix, the roots of its own
/// prefix would stay as they were.
pub(super) fn guess_on_a_tree_of_another_prefix(hunt: &mut Hunt) {
    let registration = hunt.any_registration();
    let Some(s) = hunt.scene(registration) else { return };
    let one_leaf = hunt.world.entries.get(&s.tip).is_some_and(|known| known.records.leaves() == 1);
    let shape = if one_leaf { Shape::WholeId } else { Shape::Part };
    for point in 0..4 {
        let message = hunt.ask(s.channel, Wish::Recover2(s.registration, point));
        let entry = hunt.hand_made(&s, &[message], shape, Some(s.tip));
        hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    }
}

/// A user whose registration is behind a stub must not be told that there is none.
pub(super) fn hide_a_registration(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let message = hunt.ask(s.channel, Wish::Recover1);
    for shape in [Shape::LeafHidden, Shape::AllHidden, Shape::LeafUnread, Shape::LeafLeftOut] {
        let entry = hunt.hand_made(&s, &[message], shape, Some(s.tip));
        hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    }
}

pub(super) fn send_a_deep_tree(hunt: &mut Hunt) {
    if let Some(at) = hunt.leader(0) {
        hunt.go(Step::DeepTree { at });
    }
}

/// Both are right, and one would be enough.
pub(super) fn send_one_tree_twice(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let newest = hunt.newest(s.at, s.group);
    hunt.hand_made(&s, &[], Shape::OlderSecond, newest);
}
