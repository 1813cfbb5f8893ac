//! Attacks on reads without a write: answers that are out of date, or tell of what is not committed.

use super::plays::{guess_here, wishes};
use crate::hostile::hunt::{Hunt, Scene};
use crate::hostile::step::{Made, Step, Wish};

/// A user's question that changes nothing, asked on a new channel, at the scene's leader.
fn read(hunt: &mut Hunt, s: &Scene) -> Made {
    read_wish(hunt, s, Wish::Recover1)
}

fn read_wish(hunt: &mut Hunt, s: &Scene, wish: Wish) -> Made {
    let channel = hunt.open(s.user, s.at);
    let message = hunt.ask(channel, wish);
    hunt.process(s.at, s.group, &[message]);
    message
}

/// Others commit a guess, and so many empty entries after it, of which this leader hears nothing.
fn behind_its_back(hunt: &mut Hunt, s: &Scene, more: usize) {
    let other = hunt.other(s);
    let others = hunt.without(s, s.at);
    hunt.lead(other, s.group);
    let channel = hunt.open(s.user, other);
    let message = hunt.ask(channel, Wish::Recover2(s.registration, 0));
    let mut entry = hunt.process_on(other, s.group, Some(s.tip), &[message]);
    for _ in 0..more {
        entry = hunt.process(other, s.group, &[]);
    }
    hunt.settle(other, s.group, entry, &others);
}

/// And again with the same statements, and with the same question in another batch.
pub(super) fn read_as_everybody_does(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let message = read(hunt, &s);
    for _ in 0..2 {
        let nonce = hunt.draw_nonce(s.at, s.group);
        let statements = hunt.state_fresh(&hunt.members(s.group), s.group, nonce);
        hunt.confirm(s.at, s.group, statements.clone());
        hunt.confirm(s.at, s.group, statements);
        hunt.process(s.at, s.group, &[message]);
    }
}

/// Attempts as of an entry that only its leader has, and in the batch in which one more is counted.
pub(super) fn list_what_is_not_committed(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let guess = hunt.ask(s.channel, Wish::Recover2(s.registration, 0));
    let list = hunt.ask(s.channel, Wish::Attempts);
    let entry = hunt.process(s.at, s.group, &[guess, list]);
    hunt.settle(s.at, s.group, entry, &hunt.members(s.group));
    hunt.process(s.at, s.group, &[]);
    let channel = hunt.open(s.user, s.at);
    let list = hunt.ask(channel, Wish::Attempts);
    hunt.process(s.at, s.group, &[list]);
    let nonce = hunt.draw_nonce(s.at, s.group);
    let statements = hunt.state_fresh(&hunt.without(&s, s.at), s.group, nonce);
    hunt.confirm(s.at, s.group, statements);
}

/// Before and after a registration, and with more behind them than are listed.
pub(super) fn list_after_many_guesses(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    for round in 0..6 {
        wishes(
            hunt,
            &s,
            &[Wish::Recover2(1, round), Wish::Recover3(1, true), Wish::Register2(1), Wish::Recover2(1, 1)],
        );
        for _ in 0..5 {
            wishes(hunt, &s, &[Wish::Recover2(1, 0), Wish::Recover2(1, 1), Wish::Recover3(1, true)]);
        }
        read_wish(hunt, &s, Wish::Attempts);
        let nonce = hunt.draw_nonce(s.at, s.group);
        let statements = hunt.state_fresh(&hunt.members(s.group), s.group, nonce);
        hunt.confirm(s.at, s.group, statements);
    }
}

pub(super) fn confirm_with_what_was_said_before(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let nonce = hunt.draw_nonce(s.at, s.group);
    let before = hunt.state_fresh(&hunt.members(s.group), s.group, nonce);
    behind_its_back(hunt, &s, 0);
    read(hunt, &s);
    hunt.draw_nonce(s.at, s.group);
    let captures = hunt.members(s.group).into_iter().filter_map(|at| hunt.statement(at, s.group)).collect();
    hunt.confirm(s.at, s.group, captures);
    hunt.confirm(s.at, s.group, before);
}

pub(super) fn confirm_with_an_older_nonce(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let nonce = hunt.draw_nonce(s.at, s.group);
    let statements = hunt.state_fresh(&hunt.members(s.group), s.group, nonce);
    behind_its_back(hunt, &s, 0);
    read(hunt, &s);
    hunt.confirm(s.at, s.group, statements);
}

/// Another's entry is committed where this leader has one of its own, or after all that it has.
pub(super) fn confirm_with_another_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let others = hunt.without(&s, s.at);
    hunt.process(s.at, s.group, &[]);
    behind_its_back(hunt, &s, 0);
    for more in 0..2 {
        read(hunt, &s);
        let nonce = hunt.draw_nonce(s.at, s.group);
        let statements = hunt.state_fresh(&others, s.group, nonce);
        hunt.confirm(s.at, s.group, statements);
        if more == 0 {
            let Some(next) = others.iter().find_map(|at| hunt.newest(*at, s.group).map(|_| *at)) else {
                return;
            };
            let end = hunt.process(next, s.group, &[]);
            hunt.settle(next, s.group, end, &others);
        }
    }
}

pub(super) fn confirm_with_too_little(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    let other = hunt.other(&s);
    for by in [vec![other], vec![s.at], vec![]] {
        read(hunt, &s);
        let nonce = hunt.draw_nonce(s.at, s.group);
        let statements = hunt.state_fresh(&by, s.group, nonce);
        hunt.confirm(s.at, s.group, [statements.clone(), statements].concat());
        let nonce = hunt.draw_nonce(s.at, s.group);
        let statements = hunt.state_fresh(&by, s.group, nonce);
        hunt.confirm(s.at, s.group, statements);
    }
}

/// That a guess was charged, in an entry that nobody has captured.
pub(super) fn read_an_uncommitted_charge(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let others = hunt.without(&s, s.at);
    let message = guess_here(hunt, &s, 0);
    hunt.process(s.at, s.group, &message);
    read(hunt, &s);
    let nonce = hunt.draw_nonce(s.at, s.group);
    let statements = hunt.state_fresh(&others, s.group, nonce);
    hunt.confirm(s.at, s.group, statements);
}

/// The same message again, in a batch that makes no entry.
pub(super) fn read_the_answer_to_an_uncommitted_guess(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    let others = hunt.without(&s, s.at);
    let message = guess_here(hunt, &s, 0);
    hunt.process(s.at, s.group, &message);
    hunt.process(s.at, s.group, &message);
    let nonce = hunt.draw_nonce(s.at, s.group);
    let statements = hunt.state_fresh(&others, s.group, nonce);
    hunt.confirm(s.at, s.group, statements);
}

pub(super) fn confirm_after_leading_again(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    read(hunt, &s);
    let nonce = hunt.draw_nonce(s.at, s.group);
    hunt.lead(s.at, s.group);
    let statements = hunt.state_fresh(&hunt.members(s.group), s.group, nonce);
    hunt.confirm(s.at, s.group, statements);
}

pub(super) fn confirm_after_stepping_down(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    read(hunt, &s);
    let nonce = hunt.draw_nonce(s.at, s.group);
    let statements = hunt.state_fresh(&hunt.members(s.group), s.group, nonce);
    hunt.go(Step::Resign { at: s.at, group: s.group });
    hunt.confirm(s.at, s.group, statements);
    hunt.draw_nonce(s.at, s.group);
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
