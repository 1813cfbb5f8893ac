//! Attacks on leaderships and on what releases their replies.

use super::Scene;
use strongroom_hsm_planted::Bug;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{Reply, Request};
use strongroom_proto::statement::{Captured, Committed, GroupStatement};

/// A guess in an entry of its own at member 0, which nobody has captured.
fn guess_at_0(s: &mut Scene) -> Entry {
    let request = s.user.recover2();
    s.rig.make(0, &mut s.tree.clone(), &[request]).entry
}

/// How many batches' replies a commit releases.
fn released(reply: &Reply) -> usize {
    match reply {
        Reply::Committed { released, .. } => released.iter().filter(|r| !r.replies.is_empty()).count(),
        _ => 0,
    }
}

pub(super) fn reply_released_by_the_end_of_another_fork(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    guess_at_0(&mut s);
    let theirs = s.fork(1);
    // Its second entry has an index at which there is no own one, and could follow the guess.
    let next = s.rig.make(1, &mut s.tree.clone(), &[]).entry;
    let fork = [theirs, next];
    let statements: Vec<Captured> = (1..3).map(|d| s.rig.captured(d, &fork)).collect();
    released(&s.rig.commit(0, &statements)) > 0
}

pub(super) fn reply_of_an_abandoned_entry_released(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    guess_at_0(&mut s);
    let other = s.fork(0);
    let statements: Vec<Captured> = (0..3).map(|d| s.rig.captured(d, std::slice::from_ref(&other))).collect();
    released(&s.rig.commit(0, &statements)) > 0
}

pub(super) fn entry_made_after_a_jump_beside_it(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    s.fork(0);
    let theirs = s.fork(1);
    let statements: Vec<Captured> =
        (1..3).map(|d| s.rig.captured(d, std::slice::from_ref(&theirs))).collect();
    let (committed, _) = s.rig.committed(1, &statements);
    assert!(super::captures(&s.rig.devices[0].ask(&Request::Jump(theirs, committed))));
    matches!(s.rig.process(0, &s.tree, &[]), Reply::Processed { .. })
}

pub(super) fn two_leaderships_of_one_term(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    // With one term, two leaderships would make equal entries that stand for different states.
    s.fork(0) == s.fork(0)
}

/// An HSM of the realm that let a host choose its members is a majority of itself, and states anything as committed.
pub(super) fn jump_on_a_strangers_statement(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let fork = s.fork(1);
    let group = s.rig.group;
    let mut stranger = super::outsider(&mut s.rig, Some(Bug::JoinAnyMembers));
    let alone = GroupStatement { members: vec![stranger.id()], ..s.rig.statement.clone() };
    assert!(matches!(stranger.ask(&Request::JoinGroup(alone)), Reply::Group(_)));
    let entries = vec![s.tip.entry.clone(), fork.clone()];
    let Reply::Captured(statement) = stranger.ask(&Request::capture(group, entries)) else { panic!() };
    assert!(matches!(stranger.ask(&Request::Lead(group, Some(fork.clone()))), Reply::Leading(_)));
    let commit = Request::Commit { group, statements: vec![statement] };
    let Reply::Committed { statement, .. } = stranger.ask(&commit) else { panic!("no statement") };
    super::captures(&s.rig.devices[2].ask(&Request::Jump(fork, statement)))
}

pub(super) fn jump_on_a_statement_that_nobody_made(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let statements: Vec<Captured> = (0..3).map(|d| s.rig.captured(d, &[])).collect();
    let (committed, _) = s.rig.committed(0, &statements);
    let fork = s.fork(1);
    // A true one with another entry put in, and one of another kind.
    let Captured { hsm, index, hash, mac } = s.rig.captured(1, std::slice::from_ref(&fork));
    let forged = [
        Committed { index: fork.index, hash: fork.hash(), ..committed },
        Committed { hsm, index, hash, mac },
    ];
    forged.iter().any(|forged| super::captures(&s.rig.devices[2].ask(&Request::Jump(fork.clone(), *forged))))
}

pub(super) fn commit_on_statements_that_nobody_made(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let theirs: Vec<Captured> = (1..3).map(|d| s.rig.captured(d, &[])).collect();
    let guess = guess_at_0(&mut s);
    let forged: Vec<Captured> =
        theirs.iter().map(|t| Captured { index: guess.index, hash: guess.hash(), ..*t }).collect();
    released(&s.rig.commit(0, &forged)) > 0
}

pub(super) fn statement_of_nothing(bug: Option<Bug>) -> bool {
    let mut rig = super::Rig::new(2, bug);
    super::captures(&rig.capture(1, &[]))
}

pub(super) fn entry_made_after_being_overtaken(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let after = s.fork(1);
    s.rig.captured(0, &[after]);
    matches!(s.rig.process(0, &s.tree, &[]), Reply::Processed { .. })
}

pub(super) fn request_with_bytes_behind(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 1, 2);
    let mut bytes = minicbor::to_vec(Request::DeviceStatus).expect("encodes");
    bytes.push(0);
    let reply = s.rig.devices[0].handle(&bytes);
    !matches!(minicbor::decode(&reply), Ok(Reply::Refused(_)))
}

pub(super) fn panic_on_a_commit_of_nothing(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| s.rig.commit(0, &[]))).is_err()
}
