//! Attacks on the end of groups: what a last entry would strand, who would be made to leave a group that goes on, and what a
//! group would be that is joined anew.

use crate::hostile::changes::{Opening, What};
use crate::hostile::forgery::Lie;
use crate::hostile::hunt::Hunt;
use crate::hostile::step::{Invitation, Step};
use rand::RngExt;

/// Leaves with power cuts, asks again, and asks to be let in again.
pub(super) fn retire_and_come_back(hunt: &mut Hunt) {
    let Some(group) = hunt.another() else { return };
    let Some(at) = hunt.members(group).first().copied() else { return };
    if !hunt.retire(group) {
        return;
    }
    let proof = hunt.proof(group);
    if hunt.rng.random_ratio(1, 2) {
        let after = hunt.rng.random_range(0..90);
        hunt.go(Step::CutPower { at, after });
    }
    hunt.leave(at, group, proof);
    hunt.go(Step::Restart { at, cut_after: None });
    hunt.leave(at, group, None);
    hunt.leave(at, group, proof);
    come_back(hunt, at, group);
}

fn come_back(hunt: &mut Hunt, at: u8, group: u8) {
    hunt.go(Step::Join { at, group, invitation: Invitation::Proper });
    hunt.go(Step::Lead { at, group, entry: None });
    hunt.process(at, group, &[]);
}

/// The realm's first group begins with everything.
pub(super) fn empty_a_group_and_come_back(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    let waits = hunt.change_by(m.e, What::In, m.place(), m.s);
    if !hunt.moves(m.s, m.d, m.place()) || !hunt.retire(m.s) {
        return hunt.finish_transfers();
    }
    let Some(stated) = hunt.all_leave(m.s) else { return };
    if waits {
        hunt.end_by(m.e, stated);
    }
    for at in hunt.members(m.s) {
        come_back(hunt, at, m.s);
    }
    let groups = u8::try_from(hunt.world.groups.len()).unwrap_or_default();
    for group in (0..groups).filter(|group| *group != m.s) {
        for at in hunt.members(group) {
            hunt.process(at, group, &[]);
        }
    }
}

pub(super) fn retire_with_everything(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    hunt.retire(m.s);
}

pub(super) fn retire_while_waiting(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    if hunt.change_by(m.d, What::In, m.place(), m.s) && hunt.retire(m.d) {
        hunt.change_by(m.s, What::Out, m.place(), m.d);
    }
    hunt.finish_transfers();
}

pub(super) fn retire_after_letting_go(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    if hunt.change_by(m.d, What::In, m.place(), m.s)
        && hunt.change_by(m.s, What::Out, m.place(), m.d)
        && hunt.retire(m.s)
        && let Some(stated) = hunt.all_leave(m.s)
    {
        hunt.end_by(m.d, stated);
    }
    hunt.finish_transfers();
}

/// In the leadership that made the last entry, and in another.
pub(super) fn go_on_after_the_last(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    let Some(group) = hunt.another().filter(|group| hunt.retire(*group)) else { return };
    let Some(at) = hunt.members(group).first().copied() else { return };
    for _ in 0..2 {
        hunt.process(at, group, &[]);
        let source = hunt.proof(m.s);
        hunt.change_at(at, group, What::In, m.place(), Opening::Once, source);
        hunt.change_at(at, group, What::Refuse, m.place(), Opening::Once, None);
        hunt.lead(at, group);
    }
    hunt.all_leave(group);
}

/// By what its leader has captured alone, and by a statement of another entry.
pub(super) fn leave_before_the_last_is_committed(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    let groups = u8::try_from(hunt.world.groups.len()).unwrap_or_default();
    let is_shared = |group: &u8| *group != m.s && hunt.members(*group).len() > 1;
    let Some(group) = (0..groups).find(is_shared) else { return };
    hunt.all_join(group);
    let Some(at) = hunt.leader_of(group) else { return };
    let (before, committed) = (hunt.newest(at, group), hunt.proof(group));
    let entry = hunt.change_at(at, group, What::Retire, m.place(), Opening::Once, None);
    let Some(captured) = hunt.capture(at, entry) else { return };
    hunt.leave(at, group, Some((entry, captured)));
    if let Some((_, statement)) = committed {
        hunt.leave(at, group, Some((entry, statement)));
        let lie = hunt.go(Step::Lie { statement, entry, how: Lie::OtherEntry });
        hunt.leave(at, group, Some((entry, lie)));
    }
    // The others go on from before it.
    let others: Vec<u8> = hunt.members(group).into_iter().filter(|other| *other != at).collect();
    if let Some(other) = others.first().copied().filter(|other| hunt.captured(*other, group) == before) {
        hunt.lead(other, group);
        let next = hunt.process(other, group, &[]);
        hunt.settle(other, group, next, &others);
    }
}

pub(super) fn leave_what_goes_on(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    let proof = hunt.proof(m.s);
    for at in hunt.members(m.s) {
        hunt.leave(at, m.s, None);
        hunt.leave(at, m.s, proof);
        if let Some(captured) = hunt.statement(at, m.s) {
            hunt.leave_as_stated(at, m.s, captured);
        }
    }
}

/// A host can have a group of its own retire at any time.
pub(super) fn leave_because_another_has_retired(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    let Some(group) = hunt.another().filter(|group| hunt.retire(*group)) else { return };
    let proof = hunt.proof(group);
    let stated = hunt.all_leave(group);
    for at in hunt.members(m.s) {
        hunt.leave(at, m.s, proof);
        if let Some(stated) = stated {
            hunt.leave_as_stated(at, m.s, stated);
        }
    }
}

pub(super) fn end_because_another_has_retired(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    if !hunt.change_by(m.d, What::In, m.place(), m.s) {
        return;
    }
    let waits = hunt.proof(m.d);
    if let Some(group) = hunt.another().filter(|group| hunt.retire(*group))
        && let Some(stated) = hunt.all_leave(group)
        && hunt.end_by(m.d, stated)
    {
        hunt.change(m.s, What::Out, m.place(), waits);
    }
    hunt.finish_transfers();
}
