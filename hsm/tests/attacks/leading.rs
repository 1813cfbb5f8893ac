//! What a leader may begin from, keep and let go; and what several groups have to do with each other.

use super::common::{Rig, User, process_request};
use super::{Scene, second_group, whole};
use strongroom_hsm_planted::Bug;
use strongroom_proto::client::SecretsRequest;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{GroupEntries, Outcome, Reply, Request};
use strongroom_proto::statement::Captured;
use strongroom_testkit::MemoryFlash;

/// The whole space, empty, as if nobody had ever registered.
pub(super) fn lead_from_nothing_after_a_registration(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    matches!(s.rig.lead(0, None), Reply::Leading(_))
}

pub(super) fn leadership_ended_by_a_refused_one(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    assert!(matches!(s.rig.lead(0, None), Reply::Refused(_)));
    matches!(s.rig.process(0, &s.tree, &[]), Reply::Refused(_))
}

/// That the HSM still makes entries takes a bug of its own.
pub(super) fn session_used_after_stepping_down(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    rig.devices[0].install(Some(Bug::LeadsAfterStepDown));
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 2);
    rig.open(0, &mut user);
    assert_eq!(rig.devices[0].ask(&Request::StepDown(rig.group)), Reply::Done);
    let request = user.send(&SecretsRequest::Recover1);
    let Reply::Processed { outcomes, .. } = rig.process(0, &whole(), &[request]) else { panic!() };
    matches!(outcomes[0], Outcome::Read(_))
}

/// Two entries with a guess each; two members capture the first. How many replies are released.
fn released(bug: Option<Bug>, before_the_commit: impl FnOnce(&mut Rig)) -> usize {
    let mut s = Scene::new(bug, 3, 3);
    let requests = [s.user.recover2(), s.user.recover2()];
    let mut tree = s.tree.clone();
    let [first, _] = requests.map(|request| s.rig.make(0, &mut tree, &[request]).entry);
    let statements: Vec<Captured> = (0..2).map(|d| s.rig.captured(d, std::slice::from_ref(&first))).collect();
    before_the_commit(&mut s.rig);
    match s.rig.commit(0, &statements) {
        Reply::Committed { released, .. } => released.iter().map(|of| of.replies.len()).sum(),
        _ => 0,
    }
}

pub(super) fn reply_released_before_its_entry(bug: Option<Bug>) -> bool {
    released(bug, |_| ()) > 1
}

/// The guess is charged, and its user never hears of it.
pub(super) fn replies_lost_by_stepping_down(bug: Option<Bug>) -> bool {
    let step_down = |rig: &mut Rig| {
        assert_eq!(rig.devices[0].ask(&Request::StepDown(rig.group)), Reply::Done);
    };
    released(bug, step_down) != 1
}

/// Each waits for the other, until both are idle.
pub(super) fn leader_that_makes_no_empty_entry(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    matches!(s.rig.process(0, &s.tree, &[]), Reply::Processed { made: None, .. })
}

/// An entry of a second group, which owns no record, and one of the first.
fn of_two_groups(s: &mut Scene) -> [GroupEntries; 2] {
    let other = second_group(&mut s.rig).group;
    assert!(matches!(s.rig.devices[0].ask(&Request::Lead(other, None)), Reply::Leading(_)));
    let empty = Request::Process { group: other, trees: Vec::new(), requests: Vec::new() };
    let Reply::Processed { made: Some(made), .. } = s.rig.devices[0].ask(&empty) else { panic!("no entry") };
    let of = |group, entry: Entry| GroupEntries { group, entries: vec![entry] };
    [of(other, made.entry), of(s.rig.group, s.fork(0))]
}

/// Whoever makes an entry that nobody can capture holds up all groups.
pub(super) fn one_group_held_up_by_another(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let [good, mut bad] = of_two_groups(&mut s);
    bad.entries[0].partitions.clear();
    !matches!(s.rig.devices[1].ask(&Request::Capture(vec![bad, good])), Reply::Captures(_))
}

/// Bytes that are not erased.
fn programmed(flash: &MemoryFlash) -> usize {
    flash.units().iter().flatten().filter(|byte| **byte != 0xff).count()
}

/// By how many bytes the flash of an HSM grows.
fn grows(rig: &mut Rig, i: usize, requests: &[Request]) -> usize {
    let before = programmed(&rig.devices[i].env.flash);
    for request in requests {
        assert!(matches!(rig.devices[i].ask(request), Reply::Captured(_) | Reply::Captures(_)));
    }
    programmed(&rig.devices[i].env.flash) - before
}

/// Flash wears out, and every entry of every group is a write.
pub(super) fn flash_worn_by_a_write_for_each_group(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let groups = of_two_groups(&mut s);
    let together = grows(&mut s.rig, 1, &[Request::Capture(groups.to_vec())]);
    let one_by_one = grows(&mut s.rig, 2, &groups.map(|group| Request::Capture(vec![group])));
    // A write has a head of 20 bytes, and the mark of the one before of 8.
    together + 20 > one_by_one
}

pub(super) fn flash_worn_by_asking_again(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let again = Request::capture(s.rig.group, vec![s.tip.entry.clone()]);
    grows(&mut s.rig, 1, &[again]) > 0
}

pub(super) fn two_groups_of_one_id(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    second_group(&mut rig).group == rig.group
}

/// At a group that owns no record. To the user it is as if it had never registered.
pub(super) fn registration_hidden_by_a_group_that_does_not_own_it(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    let group = second_group(&mut rig).group;
    assert!(matches!(rig.devices[0].ask(&Request::Lead(group, None)), Reply::Leading(_)));
    let (_, request) = User::new(&rig, 1, 1).handshake_with(&SecretsRequest::Recover1.to_cbor());
    let request = Request::Process { group, trees: Vec::new(), requests: vec![request] };
    matches!(rig.devices[0].ask(&request), Reply::Processed { .. })
}

/// A store full of records that nobody registered.
pub(super) fn leaf_made_by_a_guess_at_nothing(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 2);
    rig.open(0, &mut user);
    let request = process_request(rig.group, &whole(), &[user.recover2()]);
    let Reply::Processed { made, .. } = rig.devices[0].ask(&request) else { panic!("not led") };
    made.is_some_and(|made| !made.leaves.is_empty())
}
