//! Attacks on the log: forks, statements, leaderships, NVRAM.

use super::plays::{fork, guess, guess_here};
use crate::hostile::forgery::{Forgery, Lie};
use crate::hostile::hunt::Hunt;
use crate::hostile::parts::MAX_PENDING_ENTRIES;
use crate::hostile::step::{Invitation, Step};

pub(super) fn lead_at_two_with_one_guess_each(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let other = hunt.other(&s);
    hunt.lead(other, s.group);
    let first = guess(hunt, &s, s.at, 0);
    let second = guess(hunt, &s, other, 1);
    let mine = hunt.process(s.at, s.group, &first);
    let theirs = hunt.process(other, s.group, &second);
    let (all, ours, others) = (hunt.members(s.group), hunt.without(&s, other), hunt.without(&s, s.at));
    hunt.settle(s.at, s.group, mine, &ours);
    hunt.settle(other, s.group, theirs, &others);
    hunt.settle(other, s.group, theirs, &all);
}

pub(super) fn release_a_beaten_guess(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let message = guess_here(hunt, &s, 0);
    hunt.process(s.at, s.group, &message);
    let other = hunt.other(&s);
    hunt.lead(other, s.group);
    let winner = hunt.process_on(other, s.group, Some(s.tip), &[]);
    let all = hunt.members(s.group);
    hunt.settle(s.at, s.group, winner, &all);
}

/// A guess in an entry that its own leader gave up, released by another entry at its place.
pub(super) fn release_an_abandoned_guess(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let message = guess_here(hunt, &s, 0);
    hunt.process(s.at, s.group, &message);
    hunt.lead(s.at, s.group);
    let entry = hunt.process_on(s.at, s.group, Some(s.tip), &[]);
    let all = hunt.members(s.group);
    hunt.settle(s.at, s.group, entry, &all);
}

pub(super) fn commit_with_too_little(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(1) else { return };
    let message = guess_here(hunt, &s, 0);
    let entry = hunt.process(s.at, s.group, &message);
    let other = hunt.other(&s);
    if let Some(theirs) = hunt.capture(other, entry) {
        hunt.commit(s.at, s.group, vec![theirs]);
        hunt.commit(s.at, s.group, vec![theirs, theirs]);
    }
    if let Some(own) = hunt.capture(s.at, entry) {
        hunt.commit(s.at, s.group, vec![own, own]);
    }
}

pub(super) fn commit_with_another_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(1) else { return };
    let message = guess_here(hunt, &s, 0);
    let mine = hunt.process(s.at, s.group, &message);
    let other = hunt.other(&s);
    hunt.lead(other, s.group);
    let theirs = hunt.process_on(other, s.group, Some(s.tip), &[]);
    let (own, strange) = (hunt.capture(s.at, mine), hunt.capture(other, theirs));
    hunt.commit(s.at, s.group, own.into_iter().chain(strange).collect());
}

pub(super) fn commit_with_a_stranger(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(1) else { return };
    hunt.go(Step::Join { at: 3, group: s.group, invitation: Invitation::Alone });
    let message = guess_here(hunt, &s, 0);
    let entry = hunt.process(s.at, s.group, &message);
    let (own, strange) = (hunt.capture(s.at, entry), hunt.capture(3, entry));
    hunt.commit(s.at, s.group, own.into_iter().chain(strange).collect());
}

/// A guess at one leader, and the end of another fork, which could follow it.
pub(super) fn commit_with_the_end_of_another_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(1) else { return };
    let message = guess_here(hunt, &s, 0);
    hunt.process(s.at, s.group, &message);
    let other = hunt.other(&s);
    hunt.lead(other, s.group);
    hunt.process_on(other, s.group, Some(s.tip), &[]);
    let next = hunt.process(other, s.group, &[]);
    let others = hunt.without(&s, s.at);
    hunt.settle(s.at, s.group, next, &others);
}

/// A leader's second entry is beaten by what others made after its first: at most the first may be released.
pub(super) fn commit_past_the_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(1) else { return };
    let first = guess_here(hunt, &s, 0);
    let shared = hunt.process(s.at, s.group, &first);
    let second = guess_here(hunt, &s, 1);
    hunt.process(s.at, s.group, &second);
    let other = hunt.other(&s);
    hunt.capture(other, shared);
    hunt.lead(other, s.group);
    let theirs = hunt.process(other, s.group, &[]);
    let others = hunt.without(&s, s.at);
    hunt.settle(s.at, s.group, theirs, &others);
}

/// Statements about what came before, with this entry put in.
pub(super) fn commit_with_forged_statements(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(1) else { return };
    let others = hunt.without(&s, s.at);
    let message = guess_here(hunt, &s, 0);
    let entry = hunt.process(s.at, s.group, &message);
    let true_ones: Vec<_> = others.iter().filter_map(|at| hunt.statement(*at, s.group)).collect();
    for how in Lie::ALL {
        let lies: Vec<_> = true_ones
            .iter()
            .map(|statement| hunt.go(Step::Lie { statement: *statement, entry, how }))
            .collect();
        hunt.commit(s.at, s.group, lies);
    }
    let Some(own) = hunt.capture(s.at, entry) else { return };
    let other = hunt.go(Step::Lie { statement: own, entry, how: Lie::OtherHsm });
    hunt.commit(s.at, s.group, vec![own, other]);
}

/// A statement of commit, and ones of capture, altered to name a fork that was never committed.
pub(super) fn jump_with_forged_statements(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let all = hunt.members(s.group);
    let statements = all.iter().filter_map(|at| hunt.statement(*at, s.group)).collect();
    let commit = hunt.commit(s.at, s.group, statements);
    let (other, _, theirs) = fork(hunt, &s);
    let captured = hunt.capture(other, theirs);
    for at in hunt.without(&s, other) {
        for how in Lie::ALL {
            for statement in [Some(commit), captured].into_iter().flatten() {
                let lie = hunt.go(Step::Lie { statement, entry: theirs, how });
                hunt.go(Step::Jump { at, entry: theirs, statement: lie });
            }
        }
    }
}

/// An HSM that is not a member, and was made to join alone, commits a fork by itself.
pub(super) fn jump_with_a_strangers_statement(hunt: &mut Hunt) {
    let Some(s) = hunt.scene(0) else { return };
    hunt.go(Step::Join { at: 3, group: s.group, invitation: Invitation::Alone });
    let (other, _, theirs) = fork(hunt, &s);
    let Some(statement) = hunt.capture(3, theirs) else { return };
    hunt.go(Step::Lead { at: 3, group: s.group, entry: Some(theirs) });
    let statement = hunt.commit(3, s.group, vec![statement]);
    for at in hunt.without(&s, other) {
        hunt.go(Step::Jump { at, entry: theirs, statement });
    }
}

/// A leader that captures what another made after its newest entry is behind: no member will follow it.
pub(super) fn make_entries_after_being_overtaken(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(1) else { return };
    let mine = hunt.process(s.at, s.group, &[]);
    let other = hunt.other(&s);
    hunt.capture(other, mine);
    hunt.lead(other, s.group);
    let next = hunt.process_on(other, s.group, Some(mine), &[]);
    hunt.capture(s.at, next);
    let message = guess_here(hunt, &s, 0);
    hunt.process_on(s.at, s.group, Some(mine), &message);
}

pub(super) fn ask_for_a_statement_of_nothing(hunt: &mut Hunt) {
    let group = hunt.any_group();
    for at in hunt.members(group) {
        if hunt.captured(at, group).is_none() {
            hunt.go(Step::Capture { at, group, entries: Vec::new() });
        }
    }
}

/// A whole request, and another after it.
pub(super) fn send_bytes_behind(hunt: &mut Hunt) {
    let at = hunt.any_hsm();
    hunt.go(Step::Status { at });
    hunt.go(Step::Garble { at, back: 0, cut: u16::MAX, flip: u16::MAX, onto: 0 });
}

pub(super) fn jump_to_an_uncommitted_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let (other, mine, theirs) = fork(hunt, &s);
    hunt.capture(s.at, mine);
    if let Some(statement) = hunt.capture(other, theirs) {
        hunt.go(Step::Jump { at: s.at, entry: theirs, statement });
    }
}

pub(super) fn jump_backwards(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let other = hunt.other(&s);
    let (own, theirs) = (hunt.statement(s.at, s.group), hunt.statement(other, s.group));
    let statement = hunt.commit(s.at, s.group, own.into_iter().chain(theirs).collect());
    let next = hunt.process(s.at, s.group, &[]);
    hunt.capture(other, next);
    hunt.go(Step::Jump { at: other, entry: s.tip, statement });
}

pub(super) fn jump_beside_the_committed(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let (other, mine, theirs) = fork(hunt, &s);
    let majority = hunt.without(&s, other);
    let statement = hunt.settle(s.at, s.group, mine, &majority);
    hunt.go(Step::Jump { at: other, entry: theirs, statement });
    for at in majority {
        hunt.go(Step::Jump { at, entry: theirs, statement });
    }
}

/// A leader whose HSM jumps or captures past its own fork must not go on with it.
pub(super) fn make_entries_after_being_beaten(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(1) else { return };
    let (other, mine, theirs) = fork(hunt, &s);
    let others = hunt.without(&s, s.at);
    let statement = hunt.settle(other, s.group, theirs, &others);
    if hunt.any_point() > 5 {
        hunt.go(Step::Jump { at: s.at, entry: theirs, statement });
    } else {
        hunt.go(Step::Capture { at: s.at, group: s.group, entries: vec![theirs] });
    }
    let message = guess_here(hunt, &s, 0);
    hunt.process_on(s.at, s.group, Some(mine), &message);
}

/// One request in which one group is named twice, with a fork each: both would follow what is captured.
pub(super) fn capture_two_forks_at_once(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let (_, mine, theirs) = fork(hunt, &s);
    let (entries, others) = (vec![mine], vec![theirs]);
    for at in hunt.without(&s, s.at) {
        let (entries, others) = (entries.clone(), others.clone());
        hunt.go(Step::CaptureBoth { at, groups: [s.group; 2], entries, others });
    }
}

pub(super) fn capture_another_fork(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let (other, mine, theirs) = fork(hunt, &s);
    let next = hunt.process_on(other, s.group, Some(theirs), &[]);
    hunt.capture(s.at, mine);
    for entries in [vec![next], vec![theirs, next], vec![next, theirs]] {
        hunt.go(Step::Capture { at: s.at, group: s.group, entries });
    }
}

pub(super) fn capture_what_nobody_made(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let next = hunt.process(s.at, s.group, &[]);
    for how in Forgery::ALL {
        let forged = hunt.go(Step::Forge { entry: next, how });
        hunt.go(Step::Capture { at: s.at, group: s.group, entries: vec![forged] });
    }
}

pub(super) fn capture_of_another_group(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let group = u8::from(s.group == 0);
    let Some(at) = hunt.members(group).first().copied() else { return };
    hunt.go(Step::Capture { at, group, entries: vec![s.tip] });
    // Entry 1 of one group follows nothing, as entry 1 of any other does.
    let of_group = |(n, k): (&u32, &crate::hostile::parts::Known)| {
        (k.group == usize::from(s.group) && k.parent.is_none()).then_some(*n)
    };
    let first = hunt.world.entries.iter().find_map(of_group);
    hunt.go(Step::Capture { at, group, entries: first.into_iter().collect() });
    let theirs = hunt.statement(s.at, s.group);
    hunt.commit(at, group, theirs.into_iter().collect());
}

pub(super) fn lead_from_a_forgery(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let message = guess_here(hunt, &s, 0);
    let entry = hunt.process(s.at, s.group, &message);
    let all = hunt.members(s.group);
    hunt.settle(s.at, s.group, entry, &all);
    let forged = hunt.go(Step::Forge { entry: s.tip, how: Forgery::LaterIndex });
    for entry in [Some(forged), Some(s.tip), None] {
        hunt.go(Step::Lead { at: s.at, group: s.group, entry });
    }
}

/// Two leaderships of one HSM from one entry must not make equal entries.
pub(super) fn lead_again_and_again(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    for _ in 0..2 {
        hunt.lead(s.at, s.group);
        hunt.process(s.at, s.group, &[]);
    }
}

pub(super) fn cut_the_power_of_a_capture(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(0) else { return };
    let other = hunt.other(&s);
    let next = hunt.process(s.at, s.group, &[]);
    let after = u32::from(hunt.any_point()) * 2;
    hunt.go(Step::CutPower { at: other, after });
    hunt.capture(other, next);
    let cut_after = (after > 10).then_some(after);
    hunt.go(Step::Restart { at: other, cut_after });
    let all = hunt.members(s.group);
    hunt.settle(s.at, s.group, next, &all);
}

/// Statements are handed over late, the newest first, and after others lead.
pub(super) fn withhold_and_release_later(hunt: &mut Hunt) {
    let Some(s) = hunt.stage(2) else { return };
    let other = hunt.other(&s);
    let mut withheld = Vec::new();
    for point in 0..3 {
        let message = guess_here(hunt, &s, point);
        let entry = hunt.process(s.at, s.group, &message);
        withheld.push([hunt.capture(s.at, entry), hunt.capture(other, entry)]);
    }
    hunt.lead(other, s.group);
    let message = guess(hunt, &s, other, 3);
    let entry = hunt.process(other, s.group, &message);
    for statements in withheld.iter().rev() {
        hunt.commit(s.at, s.group, statements.iter().flatten().copied().collect());
    }
    let all = hunt.members(s.group);
    hunt.settle(other, s.group, entry, &all);
}

pub(super) fn fill_the_memory(hunt: &mut Hunt) {
    let group = hunt.any_group();
    let Some(at) = hunt.leader(group) else { return };
    for _ in 0..MAX_PENDING_ENTRIES + 2 {
        hunt.process(at, group, &[]);
    }
}
