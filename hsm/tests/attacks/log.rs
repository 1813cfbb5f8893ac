//! Attacks on leaderships and on what releases their replies.

use super::Scene;
use strongroom_hsm::Bug;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{Reply, Request};
use strongroom_proto::statement::Captured;

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

pub(super) fn reply_released_through_another_fork(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    guess_at_0(&mut s);
    let theirs = s.fork(1);
    let next = s.rig.make(1, &mut s.tree.clone(), &[]).entry;
    let chain = [theirs, next.clone()];
    let statements: Vec<Captured> = (1..3).map(|d| s.rig.captured(d, &chain)).collect();
    // The second entry of the fork, as if it followed the guess.
    released(&s.rig.commit(0, &statements, &[next])) > 0
}

pub(super) fn reply_released_past_the_fork(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.recover2();
    let mut tree = s.tree.clone();
    let shared = s.rig.make(0, &mut tree, &[request]).entry;
    let request = s.user.recover2();
    s.rig.make(0, &mut tree.clone(), &[request]);
    // Others go on from the first guess; the second is beaten.
    s.rig.captured(1, std::slice::from_ref(&shared));
    s.rig.lead(1, Some(&shared));
    let theirs = s.rig.make(1, &mut tree, &[]).entry;
    let chain = [shared, theirs.clone()];
    let statements: Vec<Captured> = (1..3).map(|d| s.rig.captured(d, &chain)).collect();
    released(&s.rig.commit(0, &statements, &[theirs])) > 1
}

pub(super) fn reply_of_an_abandoned_entry_released(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    guess_at_0(&mut s);
    let other = s.fork(0);
    let statements: Vec<Captured> = (0..3).map(|d| s.rig.captured(d, std::slice::from_ref(&other))).collect();
    released(&s.rig.commit(0, &statements, &[])) > 0
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

pub(super) fn panic_on_a_commit_of_nothing(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| s.rig.commit(0, &[], &[]))).is_err()
}
