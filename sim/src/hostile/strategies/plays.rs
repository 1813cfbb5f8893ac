//! What several strategies do.

use crate::hostile::hunt::{Hunt, Scene};
use crate::hostile::step::{Made, Wish};

/// A guess on a new channel at this leader, if there is a user to guess at.
pub(super) fn guess(hunt: &mut Hunt, s: &Scene, at: u8, point: u8) -> Vec<Made> {
    if !s.has_user {
        return Vec::new();
    }
    let channel = hunt.open(s.user, at);
    vec![hunt.ask(channel, Wish::Recover2(s.registration, point))]
}

/// A guess on the scene's channel, if there is one.
pub(super) fn guess_here(hunt: &mut Hunt, s: &Scene, point: u8) -> Vec<Made> {
    if !s.has_user {
        return Vec::new();
    }
    vec![hunt.ask(s.channel, Wish::Recover2(s.registration, point))]
}

/// Runs wishes one after another on the scene's channel, each in a committed batch of its own.
pub(super) fn wishes(hunt: &mut Hunt, s: &Scene, wishes: &[Wish]) {
    for wish in wishes {
        let message = hunt.ask(s.channel, *wish);
        let entry = hunt.process(s.at, s.group, &[message]);
        hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    }
}

/// Two forks after a scene: the leader's and another's.
pub(super) fn fork(hunt: &mut Hunt, s: &Scene) -> (u8, Made, Made) {
    let other = hunt.other(s);
    hunt.lead(other, s.group);
    let mine = hunt.process(s.at, s.group, &[]);
    let theirs = hunt.process_on(other, s.group, Some(s.tip), &[]);
    (other, mine, theirs)
}
