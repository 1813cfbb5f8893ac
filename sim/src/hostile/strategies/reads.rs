//! Attacks on reads without a write: answers that are out of date, or tell of what is not committed.

use super::plays::guess_here;
use crate::hostile::hunt::{Hunt, Scene};
use crate::hostile::step::{Made, Step, Wish};

/// A user's question that changes nothing, asked on a new channel, at the scene's leader.
fn read(hunt: &mut Hunt, s: &Scene) -> Made {
    let channel = hunt.open(s.user, s.at);
    let message = hunt.ask(channel, Wish::Recover1);
    hunt.process(s.at, 0, &[message]);
    message
}

/// Others commit a guess, and so many empty entries after it, of which this leader hears nothing.
fn behind_its_back(hunt: &mut Hunt, s: &Scene, more: usize) {
    let other = hunt.other(s);
    let others = hunt.without(s, s.at);
    hunt.lead(other, 0);
    let channel = hunt.open(s.user, other);
    let message = hunt.ask(channel, Wish::Recover2(s.registration, 0));
    let mut entry = hunt.process_on(other, 0, Some(s.tip), &[message]);
    for _ in 0..more {
        entry = hunt.process(other, 0, &[]);
    }
    hunt.settle(other, 0, entry, &others);
}

/// And again with the same statements, and with the same question in another batch.
pub(super) fn read_as_everybody_does(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let message = read(hunt, &s);
    for _ in 0..2 {
        let nonce = hunt.draw_nonce(s.at, 0);
        let statements = hunt.state_fresh(&[0, 1, 2], 0, nonce);
        hunt.confirm(s.at, 0, statements.clone());
        hunt.confirm(s.at, 0, statements);
        hunt.process(s.at, 0, &[message]);
    }
}

pub(super) fn confirm_with_what_was_said_before(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let nonce = hunt.draw_nonce(s.at, 0);
    let before = hunt.state_fresh(&[0, 1, 2], 0, nonce);
    behind_its_back(hunt, &s, 0);
    read(hunt, &s);
    hunt.draw_nonce(s.at, 0);
    let captures = [0, 1, 2].into_iter().filter_map(|at| hunt.statement(at, 0)).collect();
    hunt.confirm(s.at, 0, captures);
    hunt.confirm(s.at, 0, before);
}

pub(super) fn confirm_with_an_older_nonce(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let nonce = hunt.draw_nonce(s.at, 0);
    let statements = hunt.state_fresh(&[0, 1, 2], 0, nonce);
    behind_its_back(hunt, &s, 0);
    read(hunt, &s);
    hunt.confirm(s.at, 0, statements);
}

/// Another's entry is committed where this leader has one of its own, or after all that it has.
pub(super) fn confirm_with_another_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let others = hunt.without(&s, s.at);
    hunt.process(s.at, 0, &[]);
    behind_its_back(hunt, &s, 0);
    for more in 0..2 {
        read(hunt, &s);
        let nonce = hunt.draw_nonce(s.at, 0);
        let statements = hunt.state_fresh(&others, 0, nonce);
        hunt.confirm(s.at, 0, statements);
        if more == 0 {
            let Some(next) = others.iter().find_map(|at| hunt.newest(*at, 0).map(|_| *at)) else { return };
            let end = hunt.process(next, 0, &[]);
            hunt.settle(next, 0, end, &others);
        }
    }
}

pub(super) fn confirm_with_too_little(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let other = hunt.other(&s);
    for by in [vec![other], vec![s.at], vec![]] {
        read(hunt, &s);
        let nonce = hunt.draw_nonce(s.at, 0);
        let statements = hunt.state_fresh(&by, 0, nonce);
        hunt.confirm(s.at, 0, [statements.clone(), statements].concat());
        let nonce = hunt.draw_nonce(s.at, 0);
        let statements = hunt.state_fresh(&by, 0, nonce);
        hunt.confirm(s.at, 0, statements);
    }
}

/// That a guess was charged, in an entry that nobody has captured.
pub(super) fn read_an_uncommitted_charge(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let others = hunt.without(&s, s.at);
    let message = guess_here(hunt, &s, 0);
    hunt.process(s.at, 0, &message);
    read(hunt, &s);
    let nonce = hunt.draw_nonce(s.at, 0);
    let statements = hunt.state_fresh(&others, 0, nonce);
    hunt.confirm(s.at, 0, statements);
}

/// The same message again, in a batch that makes no entry.
pub(super) fn read_the_answer_to_an_uncommitted_guess(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let others = hunt.without(&s, s.at);
    let message = guess_here(hunt, &s, 0);
    hunt.process(s.at, 0, &message);
    hunt.process(s.at, 0, &message);
    let nonce = hunt.draw_nonce(s.at, 0);
    let statements = hunt.state_fresh(&others, 0, nonce);
    hunt.confirm(s.at, 0, statements);
}

pub(super) fn confirm_after_leading_again(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    read(hunt, &s);
    let nonce = hunt.draw_nonce(s.at, 0);
    hunt.lead(s.at, 0);
    let statements = hunt.state_fresh(&[0, 1, 2], 0, nonce);
    hunt.confirm(s.at, 0, statements);
}

pub(super) fn confirm_after_stepping_down(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    read(hunt, &s);
    let nonce = hunt.draw_nonce(s.at, 0);
    let statements = hunt.state_fresh(&[0, 1, 2], 0, nonce);
    hunt.go(Step::Resign { at: s.at, group: 0 });
    hunt.confirm(s.at, 0, statements);
    hunt.draw_nonce(s.at, 0);
}

/// Of an entry that its own leader has not captured.
pub(super) fn state_what_is_not_captured(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(1) else { return };
    hunt.process(s.at, s.group, &[]);
    let nonce = hunt.draw_nonce(s.at, s.group);
    hunt.state_fresh(&[s.at], s.group, nonce);
}

pub(super) fn state_nothing(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(1) else { return };
    let nonce = hunt.draw_nonce(s.at, s.group);
    let group = hunt.any_group();
    for at in hunt.members(group) {
        if hunt.captured(at, group).is_none() {
            hunt.state_fresh(&[at], group, nonce);
        }
    }
}
