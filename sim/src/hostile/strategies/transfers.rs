//! Attacks on what a group owns, and on moving it: a record with two owners or none, a count from before a move.

use crate::hostile::changes::{Opening, Place, What};
use crate::hostile::forgery::{Forgery, Lie};
use crate::hostile::hunt::Hunt;
use crate::hostile::moves::Movers;
use crate::hostile::step::{Step, Wish};
use strongroom_proto::entry::MAX_PARTITIONS;

fn guess(hunt: &mut Hunt, m: &Movers, group: u8, points: std::ops::Range<u8>) {
    let wishes: Vec<Wish> = points.map(|point| Wish::Recover2(m.registration, point)).collect();
    hunt.write(group, m.user, &wishes);
}

/// Has a question answered by whoever leads a group.
fn read(hunt: &mut Hunt, m: &Movers, group: u8, wish: Wish) {
    if let Some(at) = hunt.leader_of(group) {
        read_at(hunt, m, (at, group), wish);
    }
}

fn read_at(hunt: &mut Hunt, m: &Movers, (at, group): (u8, u8), wish: Wish) {
    let message = hunt.go(Step::Ride { user: m.user, wish });
    hunt.process(at, group, &[message]);
    let nonce = hunt.draw_nonce(at, group);
    let members = hunt.members(group);
    let statements = hunt.state_fresh(&members, group, nonce);
    hunt.confirm(at, group, statements);
}

/// The first two steps of a move from S to D.
fn begin(hunt: &mut Hunt, m: &Movers) -> bool {
    hunt.change_by(m.d, What::In, m.place(), m.s) && hunt.change_by(m.s, What::Out, m.place(), m.d)
}

pub(super) fn guess_before_and_after_a_move(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(2) else { return };
    guess(hunt, &m, m.s, 0..1);
    let stale = hunt.leader_of(m.s).and_then(|at| Some((at, hunt.newest(at, m.s)?)));
    if !hunt.moves(m.s, m.d, m.place()) {
        return;
    }
    read(hunt, &m, m.d, Wish::Attempts);
    guess(hunt, &m, m.d, 1..5);
    if let Some((at, tree)) = stale {
        guess_on(hunt, &m, at, tree);
    }
    if hunt.moves(m.d, m.s, m.place()) {
        guess(hunt, &m, m.s, 5..8);
    }
}

/// At S, on a tree from before.
fn guess_on(hunt: &mut Hunt, m: &Movers, at: u8, tree: u32) {
    let handshake = hunt.next;
    let channel = hunt.go(Step::Open { user: m.user, at, group: m.s, handshake });
    let guess = hunt.ask(channel, Wish::Recover2(m.registration, 9));
    let ride = hunt.go(Step::Ride { user: m.user, wish: Wish::Recover1 });
    for message in [guess, ride] {
        let entry = hunt.process_on(at, m.s, Some(tree), &[message]);
        let members = hunt.members(m.s);
        hunt.settle(at, m.s, entry, &members);
    }
}

pub(super) fn guess_at_the_former_owner(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    let stale = hunt.leader_of(m.s).and_then(|at| Some((at, hunt.newest(at, m.s)?)));
    let Some((at, tree)) = stale.filter(|_| begin(hunt, &m)) else { return };
    guess_on(hunt, &m, at, tree);
}

/// The old step 2 would bring back the root from before the guess.
pub(super) fn take_what_was_let_go_before(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(0) else { return };
    if !begin(hunt, &m) {
        return;
    }
    let old = hunt.proof(m.s);
    if !hunt.change(m.d, What::Take, m.place(), old) {
        return;
    }
    hunt.change_by(m.s, What::Close, m.place(), m.d);
    guess(hunt, &m, m.d, 0..1);
    if hunt.moves(m.d, m.s, m.place()) && hunt.change_by(m.d, What::In, m.place(), m.s) {
        hunt.change(m.d, What::Take, m.place(), old);
        guess(hunt, &m, m.d, 1..2);
    }
}

pub(super) fn take_twice(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if begin(hunt, &m) {
        let let_go = hunt.proof(m.s);
        for _ in 0..2 {
            hunt.change(m.d, What::Take, m.place(), let_go);
        }
        hunt.change(m.e, What::Take, m.place(), let_go);
    }
}

/// The refusal would let D give up what is let go all the same.
pub(super) fn let_go_after_a_refusal(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if !hunt.change_by(m.d, What::In, m.place(), m.s) || !hunt.change(m.s, What::Refuse, m.place(), None) {
        return;
    }
    let refusal = hunt.proof(m.s);
    hunt.change_by(m.s, What::Out, m.place(), m.d);
    hunt.change(m.d, What::GiveUp, m.place(), refusal);
}

/// The evidence that D waits is delayed until D has given up.
pub(super) fn let_go_what_was_given_up(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if !hunt.change_by(m.d, What::In, m.place(), m.s) {
        return;
    }
    let waits = hunt.proof(m.d);
    hunt.change(m.s, What::Refuse, m.place(), None);
    hunt.change_by(m.d, What::GiveUp, m.place(), m.s);
    hunt.change(m.s, What::Out, m.place(), waits);
    hunt.change_by(m.d, What::Take, m.place(), m.s);
}

/// D waits for what S has, and gets it from E, which has made as many decisions as S had then.
pub(super) fn let_go_what_is_awaited_from_another(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    let decisions = |hunt: &Hunt, group| {
        let head = hunt.proof(group).and_then(|(entry, _)| hunt.world.entries.get(&entry));
        head.map_or(0, |known| known.entry.transfers)
    };
    for _ in 0..12 {
        // Taking it is one more.
        let (of_s, of_e) = (decisions(hunt, m.s), decisions(hunt, m.e) + 1);
        let behind = if of_s < of_e { m.s } else { m.e };
        if of_s == of_e || !hunt.change(behind, What::Refuse, m.place(), None) {
            break;
        }
    }
    if hunt.change_by(m.d, What::In, m.place(), m.s) && hunt.moves(m.s, m.e, m.place()) {
        hunt.change_by(m.e, What::Out, m.place(), m.d);
        hunt.change_by(m.d, What::GiveUp, m.place(), m.s);
    }
}

/// In the next entry the first must still be open, or D could give it up.
pub(super) fn let_go_two_at_once(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if hunt.change(m.s, What::Split, m.place(), None)
        && hunt.change_by(m.d, What::In, m.half(false), m.s)
        && hunt.change_by(m.s, What::Out, m.half(false), m.d)
    {
        hunt.change_by(m.e, What::In, m.half(true), m.s);
        hunt.change_by(m.s, What::Out, m.half(true), m.e);
        let members = hunt.members(m.s);
        if let Some(at) = hunt.leader_of(m.s) {
            let entry = hunt.process(at, m.s, &[]);
            hunt.settle(at, m.s, entry, &members);
        }
        hunt.change_by(m.d, What::GiveUp, m.half(false), m.s);
    }
}

/// The first may still be let go.
pub(super) fn wait_for_several_at_once(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if hunt.change(m.s, What::Split, m.place(), None) && hunt.change_by(m.d, What::In, m.half(false), m.s) {
        let waits = hunt.proof(m.d);
        for place in [m.half(true), m.half(true), m.half(false), m.place()] {
            hunt.change_by(m.d, What::In, place, m.s);
        }
        hunt.change(m.s, What::Out, m.half(false), waits);
    }
}

/// S lets go what D no longer waits for.
pub(super) fn give_up_too_early(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if !hunt.change_by(m.d, What::In, m.place(), m.s) {
        return;
    }
    let waits = hunt.proof(m.d);
    hunt.change_by(m.d, What::GiveUp, m.place(), m.s);
    hunt.change(m.e, What::Refuse, m.place(), None);
    hunt.change(m.e, What::Refuse, m.place(), None);
    hunt.change_by(m.d, What::GiveUp, m.place(), m.e);
    hunt.change(m.s, What::Out, m.place(), waits);
    hunt.change_by(m.d, What::GiveUp, m.place(), m.s);
}

/// What is not let go any more could be given up.
pub(super) fn close_too_early(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    let before = hunt.proof(m.d);
    if !begin(hunt, &m) {
        return;
    }
    let let_go = hunt.proof(m.s);
    hunt.change(m.s, What::Close, m.place(), before);
    for group in [m.e, m.e, m.d] {
        hunt.change(group, What::Refuse, m.place(), None);
        hunt.change_by(m.s, What::Close, m.place(), group);
    }
    hunt.change_by(m.d, What::GiveUp, m.place(), m.s);
    hunt.change(m.d, What::Take, m.place(), let_go);
}

/// S lets go in an entry that is beaten; D takes by a statement about another entry.
pub(super) fn take_what_was_not_let_go_for_good(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    let Some(at) = hunt.leader_of(m.s) else { return };
    let Some((tip, statement)) = hunt.proof(m.s) else { return };
    if !hunt.change_by(m.d, What::In, m.place(), m.s) {
        return;
    }
    let waits = hunt.proof(m.d);
    let entry = hunt.change_at(at, m.s, What::Out, m.place(), Opening::Once, waits);
    let lie = hunt.go(Step::Lie { statement, entry, how: Lie::OtherEntry });
    for statement in [statement, lie] {
        hunt.change(m.d, What::Take, m.place(), Some((entry, statement)));
    }
    hunt.lead(at, m.s);
    let next = hunt.process_on(at, m.s, Some(tip), &[]);
    let members = hunt.members(m.s);
    hunt.settle(at, m.s, next, &members);
}

/// S has two leaders, and D and E wait.
pub(super) fn let_go_on_two_forks(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    let Some(at) = hunt.leader_of(m.s) else { return };
    if !hunt.change_by(m.d, What::In, m.place(), m.s) || !hunt.change_by(m.e, What::In, m.place(), m.s) {
        return;
    }
    let other = hunt.members(m.s).into_iter().find(|other| *other != at).unwrap_or(at);
    hunt.lead(other, m.s);
    let (to_d, to_e) = (hunt.proof(m.d), hunt.proof(m.e));
    let one = hunt.change_at(at, m.s, What::Out, m.place(), Opening::Once, to_d);
    let two = hunt.change_at(other, m.s, What::Out, m.place(), Opening::Once, to_e);
    let members = hunt.members(m.s);
    for (at, entry) in [(at, one), (other, two)] {
        hunt.settle(at, m.s, entry, &members);
    }
    for group in [m.d, m.e] {
        hunt.change_by(group, What::Take, m.place(), m.s);
    }
    for group in [m.d, m.e] {
        hunt.change_by(group, What::GiveUp, m.place(), m.s);
    }
}

/// D takes on one fork and gives up on another.
pub(super) fn take_on_two_forks(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if !begin(hunt, &m) {
        return;
    }
    let Some(at) = hunt.leader_of(m.d) else { return };
    let let_go = hunt.proof(m.s);
    let other = hunt.members(m.d).into_iter().find(|other| *other != at).unwrap_or(at);
    hunt.lead(other, m.d);
    let members = hunt.members(m.d);
    for at in [at, other] {
        let entry = hunt.change_at(at, m.d, What::Take, m.place(), Opening::Once, let_go);
        let handshake = hunt.next;
        let channel = hunt.go(Step::Open { user: m.user, at, group: m.d, handshake });
        let message = hunt.ask(channel, Wish::Recover2(m.registration, at));
        let guess = hunt.process(at, m.d, &[message]);
        hunt.settle(at, m.d, entry, &members);
        hunt.settle(at, m.d, guess, &members);
    }
}

pub(super) fn take_by_forged_evidence(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if !hunt.change_by(m.d, What::In, m.place(), m.s) {
        return;
    }
    let Some((waits, statement)) = hunt.proof(m.d) else { return };
    let entry = hunt.go(Step::Forge { entry: waits, how: Forgery::LetGo });
    for how in Lie::ALL {
        let lie = hunt.go(Step::Lie { statement, entry, how });
        hunt.change(m.d, What::Take, m.place(), Some((entry, lie)));
    }
}

/// Its halves, or the whole again, of trees that show too little or too much.
pub(super) fn split_and_merge_blindly(hunt: &mut Hunt) {
    let Some(mut m) = hunt.movers(1) else { return };
    for _ in 0..3 {
        for opening in [Opening::Hidden, Opening::Once, Opening::All] {
            hunt.change_as(m.s, What::Split, m.place(), opening, None);
        }
        m.bits += 1;
    }
    for _ in 0..3 {
        m.bits -= 1;
        for opening in [Opening::Hidden, Opening::Once, Opening::All] {
            hunt.change_as(m.s, What::Merge, m.place(), opening, None);
        }
    }
    guess(hunt, &m, m.s, 0..3);
}

/// Splits what is at the user until a group owns so many, without a commit.
fn split_into(hunt: &mut Hunt, group: u8, mut place: Place, count: usize) {
    let Some(at) = hunt.leader_of(group) else { return };
    let owns = |hunt: &Hunt| hunt.world.owned(usize::from(group), hunt.newest(at, group)).len();
    let (mut last, mut before) = (None, owns(hunt));
    while before < count && !hunt.is_over() {
        last = Some(hunt.change_at(at, group, What::Split, place, Opening::Once, None));
        if owns(hunt) == before {
            break;
        }
        before = owns(hunt);
        place.bits += 1;
        place.beside = false;
    }
    let tip = hunt.newest(at, group).or(last);
    let members = hunt.members(group);
    if let Some(tip) = tip {
        hunt.settle(at, group, tip, &members);
    }
}

/// And gives back what it can.
fn merge_back(hunt: &mut Hunt, group: u8, mut place: Place, to: u16) {
    let Some(at) = hunt.leader_of(group) else { return };
    place.bits += MAX_PARTITIONS as u16 + 1;
    while place.bits > to && !hunt.is_over() {
        place.bits -= 1;
        hunt.change_at(at, group, What::Merge, place, Opening::Once, None);
    }
    if let Some(tip) = hunt.newest(at, group) {
        let members = hunt.members(group);
        hunt.settle(at, group, tip, &members);
    }
}

pub(super) fn own_more_than_there_is_room_for(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    split_into(hunt, m.s, m.place(), MAX_PARTITIONS + 1);
    merge_back(hunt, m.s, m.place(), m.bits);
}

/// D owns the user's half, and fills its room while it waits for the other.
pub(super) fn fill_the_room_of_what_is_awaited(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if hunt.change(m.s, What::Split, m.place(), None)
        && hunt.moves(m.s, m.d, m.half(false))
        && hunt.change_by(m.d, What::In, m.half(true), m.s)
    {
        split_into(hunt, m.d, m.half(false), MAX_PARTITIONS);
        hunt.change_by(m.s, What::Out, m.half(true), m.d);
        hunt.change_by(m.d, What::Take, m.half(true), m.s);
        merge_back(hunt, m.d, m.half(false), m.bits + 1);
    }
}

/// What is in the entry that took it, or in a read after that, before it is committed.
pub(super) fn read_what_is_not_taken_for_good(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if !begin(hunt, &m) {
        return;
    }
    let Some(at) = hunt.leader_of(m.d) else { return };
    let let_go = hunt.proof(m.s);
    hunt.change_at(at, m.d, What::Take, m.place(), Opening::Once, let_go);
    read_at(hunt, &m, (at, m.d), Wish::Recover1);
}

/// Two groups own a user each, and one HSM leads both.
pub(super) fn fill_the_memory_from_two_groups(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    let one_hsm =
        |hunt: &Hunt, group| hunt.members(group).into_iter().find(|at| hunt.members(m.s).contains(at));
    let Some((to, at)) = [m.d, m.e].into_iter().find_map(|to| Some((to, one_hsm(hunt, to)?))) else { return };
    if !hunt.change(m.s, What::Split, m.place(), None) || !hunt.moves(m.s, to, m.half(false)) {
        return;
    }
    for group in [m.s, to] {
        let head = hunt.world.heads.get(&usize::from(group)).copied();
        if hunt.newest(at, group) != head {
            if let Some(head) = head {
                hunt.capture(at, head);
            }
            hunt.lead(at, group);
        }
    }
    for user in 0..crate::hostile::clients::USERS {
        let Some((group, _)) = hunt.home(user).filter(|(group, _)| [m.s, to].contains(group)) else {
            continue;
        };
        let message = hunt.go(Step::Ride { user, wish: Wish::Recover1 });
        hunt.process(at, group, &[message; 20]);
    }
}

/// Each waits for the other, so that one must refuse.
pub(super) fn wait_for_each_other(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    if hunt.change(m.s, What::Split, m.place(), None) && hunt.moves(m.s, m.d, m.half(true)) {
        hunt.change_by(m.s, What::In, m.half(true), m.d);
        hunt.change_by(m.d, What::In, m.half(false), m.s);
        hunt.change_by(m.s, What::Out, m.half(false), m.d);
        hunt.change(m.s, What::Refuse, m.place(), None);
        hunt.change_by(m.d, What::GiveUp, m.half(false), m.s);
    }
}

/// Waits for what is not there, or is here, by what was so once.
pub(super) fn wait_for_what_cannot_come(hunt: &mut Hunt) {
    let Some(m) = hunt.movers(1) else { return };
    let owned = hunt.proof(m.s);
    hunt.change_by(m.d, What::In, m.place(), m.e);
    if hunt.moves(m.s, m.d, m.place()) {
        hunt.change(m.d, What::In, m.place(), owned);
        hunt.change(m.s, What::In, m.place(), owned);
    }
}
