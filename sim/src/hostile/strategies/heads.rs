//! Attacks on the tree over a group's log: how a host would have a tree signed that is not that of the log.

use super::plays::fork;
use crate::hostile::forgery::{Forgery, Lie};
use crate::hostile::head_step::HeadForgery;
use crate::hostile::hunt::{Hunt, Scene};
use crate::hostile::parts::{DEVICES, MEMBERS};
use crate::hostile::step::{HostsRealm, Made, Step};
use rand::RngExt;

/// A scene, the head of its tip, and what was stated of that.
fn headed(hunt: &mut Hunt) -> Option<(Scene, Made, Made)> {
    let s = hunt.stage(1)?;
    let head = hunt.sum_up(s.tip)?;
    Some((s, head, hunt.said(s.tip)?))
}

/// The next entry of a scene, committed, and what was stated of it.
fn grow(hunt: &mut Hunt, s: &Scene) -> Option<(Made, Made)> {
    let next = hunt.process(s.at, s.group, &[]);
    hunt.settle(s.at, s.group, next, &hunt.members(s.group));
    Some((next, hunt.said(next)?))
}

/// And at every HSM, and again later.
pub(super) fn sign_as_everybody_does(hunt: &mut Hunt) {
    let Some((s, head, said)) = headed(hunt) else { return };
    for at in 0..DEVICES as u8 {
        hunt.sign(at, head, said);
    }
    let Some((next, later)) = grow(hunt, &s) else { return };
    let at = hunt.any_hsm();
    let longer = hunt.extend(at, Some(head), &[next]);
    hunt.go(Step::Restart { at, cut_after: None });
    for (head, said) in [(longer, later), (head, said), (longer, said), (head, later)] {
        hunt.sign(at, head, said);
    }
}

pub(super) fn carry_on_a_forged_head(hunt: &mut Hunt) {
    let Some((s, head, _)) = headed(hunt) else { return };
    let Some((next, said)) = grow(hunt, &s) else { return };
    let at = hunt.any_hsm();
    for how in HeadForgery::ALL {
        let forged = hunt.forge_head(head, next, how);
        for entries in [&[next][..], &[]] {
            let head = hunt.extend(at, Some(forged), entries);
            hunt.sign(at, head, said);
        }
    }
}

/// One left out, one twice, two exchanged, or a later one for the first.
pub(super) fn leave_out_an_entry(hunt: &mut Hunt) {
    let Some((s, _, said)) = headed(hunt) else { return };
    let chain = hunt.chain(s.tip);
    let few = chain.len().min(6);
    let (before, last) = chain.split_at(chain.len() - few);
    let head = before.last().and_then(|last| hunt.sum_up(*last));
    if last.len() < 3 || head.is_none() != before.is_empty() {
        return;
    }
    let which = hunt.rng.random_range(0..few - 1);
    let mut wrong = [last.to_vec(), last.to_vec(), last.to_vec(), last[few - 1..].to_vec()];
    wrong[0].remove(which);
    wrong[1].insert(which, last[which]);
    wrong[2].swap(which, which + 1);
    let at = hunt.any_hsm();
    for entries in wrong {
        let head = hunt.extend(at, head, &entries);
        hunt.sign(at, head, said);
    }
}

/// The entries of another group in between, or in the place of those that there are.
pub(super) fn sum_up_entries_of_another_group(hunt: &mut Hunt) {
    let Some((s, head, said)) = headed(hunt) else { return };
    let of_another = |made: &&Made| hunt.world.entries[*made].group != usize::from(s.group);
    let Some(other) = hunt.world.entries.keys().rev().find(of_another).copied() else { return };
    let (at, first) = (hunt.any_hsm(), hunt.chain(other)[0]);
    for (head, entries) in [(Some(head), vec![other]), (Some(head), vec![first]), (None, vec![first, s.tip])]
    {
        let head = hunt.extend(at, head, &entries);
        hunt.sign(at, head, said);
    }
    let Some(theirs) = hunt.sum_up(other) else { return };
    hunt.sign(at, theirs, said);
    if let Some(of_other) = hunt.said(other) {
        hunt.sign(at, theirs, of_other);
        hunt.sign(at, head, of_other);
    }
}

pub(super) fn sign_a_forged_head(hunt: &mut Hunt) {
    let Some((s, head, said)) = headed(hunt) else { return };
    let at = hunt.any_hsm();
    for how in HeadForgery::ALL {
        let forged = hunt.forge_head(head, s.tip, how);
        hunt.sign(at, forged, said);
    }
    let Some((next, later)) = grow(hunt, &s) else { return };
    let forged = hunt.forge_head(head, next, HeadForgery::OtherEntry);
    hunt.sign(at, forged, later);
}

/// A head of an entry that its leader alone has captured, with what that states, and with forged statements.
pub(super) fn sign_what_is_only_captured(hunt: &mut Hunt) {
    let Some((s, head, said)) = headed(hunt) else { return };
    let next = hunt.process(s.at, s.group, &[]);
    let at = hunt.any_hsm();
    let head = hunt.extend(at, Some(head), &[next]);
    if let Some(captured) = hunt.capture(s.at, next) {
        hunt.sign(at, head, captured);
    }
    for how in Lie::ALL {
        let lie = hunt.go(Step::Lie { statement: said, entry: next, how });
        hunt.sign(at, head, lie);
    }
}

/// Of two forks one is committed, and what came before them is.
pub(super) fn sign_another_fork(hunt: &mut Hunt) {
    let Some((s, head, said)) = headed(hunt) else { return };
    let (other, mine, theirs) = fork(hunt, &s);
    let at = hunt.any_hsm();
    let [head, longer] = [mine, theirs].map(|entry| hunt.extend(at, Some(head), &[entry]));
    hunt.sign(at, head, said);
    hunt.sign(at, longer, said);
    let others = hunt.without(&s, s.at);
    hunt.settle(other, s.group, theirs, &others);
    if let Some(said) = hunt.said(theirs) {
        hunt.sign(at, head, said);
        hunt.sign(at, longer, said);
        hunt.extend(at, Some(head), &[theirs]);
    }
}

/// Forged entries are summed up like others; nothing says that they are committed.
pub(super) fn sum_up_what_nobody_made(hunt: &mut Hunt) {
    let Some((s, head, said)) = headed(hunt) else { return };
    let Some((next, later)) = grow(hunt, &s) else { return };
    let at = hunt.any_hsm();
    for how in Forgery::ALL {
        let forged = hunt.go(Step::Forge { entry: next, how });
        let head = hunt.extend(at, Some(head), &[forged]);
        hunt.sign(at, head, said);
        hunt.sign(at, head, later);
        hunt.extend(at, Some(head), &[next]);
    }
}

/// An HSM in a realm of the host's own sums up this realm's log.
pub(super) fn sum_up_in_another_realm(hunt: &mut Hunt) {
    let Some((s, head, said)) = headed(hunt) else { return };
    let outsider = MEMBERS as u8;
    hunt.go(Step::JoinRealm { at: outsider, sealed: None, hosts: Some(HostsRealm::OwnPolicy) });
    let chain = hunt.chain(s.tip);
    let theirs = hunt.extend(outsider, None, &chain);
    let at = hunt.any_hsm();
    for (at, head) in [(at, theirs), (outsider, theirs), (outsider, head)] {
        hunt.sign(at, head, said);
    }
    let Some((next, later)) = grow(hunt, &s) else { return };
    let carried = hunt.extend(at, Some(theirs), &[next]);
    hunt.sign(at, carried, later);
    hunt.extend(outsider, Some(head), &[next]);
}
