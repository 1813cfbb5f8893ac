//! Attacks on reads without a write: an answer that is out of date, or that tells of what is not committed.

use super::common::{Rig, User, evaluations};
use super::{Scene, whole};
use strongroom_hsm::Config;
use strongroom_hsm_planted::Bug;
use strongroom_proto::client::{SecretsRequest, SecretsResponse};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{BatchRequest, Outcome, Refusal, Reply, Request};
use strongroom_proto::statement::{Captured, Fresh};
use strongroom_proto::tree::Tree;

/// Runs a request that changes nothing at member 0. Whether its answer waits as a read.
fn waits(rig: &mut Rig, tree: &Tree, request: BatchRequest) -> bool {
    match rig.process(0, tree, &[request]) {
        Reply::Processed { outcomes, made: None } => matches!(outcomes[0], Outcome::Read(_)),
        _ => false,
    }
}

/// The user asks member 0 whether it is registered.
fn read(s: &mut Scene) {
    let request = s.user.send(&SecretsRequest::Recover1);
    assert!(waits(&mut s.rig, &s.tree, request));
}

/// What a user reads of what was confirmed; nothing if it was refused.
fn answers(user: &mut User, reply: &Reply) -> Vec<SecretsResponse> {
    match reply {
        Reply::Confirmed(reads) => reads.iter().map(|read| user.read(&read.reply)).collect(),
        _ => Vec::new(),
    }
}

fn releases(reply: &Reply) -> bool {
    matches!(reply, Reply::Confirmed(reads) if !reads.is_empty())
}

/// A nonce of member 0, what these members state to it, and whether that confirms a read.
fn confirms(s: &mut Scene, members: &[usize]) -> bool {
    let nonce = s.rig.read_nonce(0);
    let statements = s.rig.fresh(members, nonce);
    releases(&s.rig.confirm(0, &statements))
}

pub(super) fn entry_stated_that_nvram_does_not_hold(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let made = s.rig.make(0, &mut s.tree.clone(), &[]).entry;
    let nonce = s.rig.read_nonce(0);
    s.rig.fresh(&[0], nonce)[0].index == made.index
}

pub(super) fn nothing_stated_to_a_nonce(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    rig.lead(0, None);
    let nonce = rig.read_nonce(0);
    matches!(rig.devices[0].ask(&Request::Fresh(rig.group, nonce)), Reply::Fresh(_))
}

/// Both were asked before the others began a chain that this leader knows nothing of.
pub(super) fn read_confirmed_by_what_was_stated_before(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let nonce = s.rig.read_nonce(0);
    let before = s.rig.fresh(&[1, 2], nonce);
    guess_behind_its_back(&mut s);
    read(&mut s);
    s.rig.read_nonce(0);
    releases(&s.rig.confirm(0, &before))
}

/// With the same nonce twice, what was stated to the first confirms what came before the second.
pub(super) fn nonce_drawn_twice(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let nonce = s.rig.read_nonce(0);
    let before = s.rig.fresh(&[1, 2], nonce);
    read(&mut s);
    s.rig.read_nonce(0);
    releases(&s.rig.confirm(0, &before))
}

pub(super) fn nonce_drawn_after_stepping_down(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    assert_eq!(s.rig.devices[0].ask(&Request::StepDown(s.rig.group)), Reply::Done);
    matches!(s.rig.devices[0].ask(&Request::DrawReadNonce(s.rig.group)), Reply::ReadNonce(_))
}

pub(super) fn read_confirmed_by_an_older_nonce(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let nonce = s.rig.read_nonce(0);
    let statements = s.rig.fresh(&[1, 2], nonce);
    guess_behind_its_back(&mut s);
    read(&mut s);
    releases(&s.rig.confirm(0, &statements))
}

pub(super) fn nonce_used_twice(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    read(&mut s);
    let nonce = s.rig.read_nonce(0);
    let statements = s.rig.fresh(&[1, 2], nonce);
    assert!(releases(&s.rig.confirm(0, &statements)));
    s.rig.confirm(0, &statements) != Reply::Refused(Refusal::NoNonce)
}

/// Member 2 leads too, and makes so many entries, the first with a guess. It and member 1 capture and commit them.
fn guess_behind_its_back_and(s: &mut Scene, more: usize) {
    assert!(matches!(s.rig.lead(2, Some(&s.tip.entry)), Reply::Leading(_)));
    let mut other = User::new(&s.rig, 2, 1);
    s.rig.open(2, &mut other);
    let request = other.register2();
    let mut tree = s.tree.clone();
    let mut entries: Vec<Entry> = vec![s.rig.make(2, &mut tree, &[request]).entry];
    entries.extend((0..more).map(|_| s.rig.make(2, &mut tree, &[]).entry));
    let statements: Vec<Captured> = [1, 2].map(|d| s.rig.captured(d, &entries)).to_vec();
    s.rig.committed(2, &statements);
}

fn guess_behind_its_back(s: &mut Scene) {
    guess_behind_its_back_and(s, 0);
}

/// Another's entry is committed where this leader has one of its own.
pub(super) fn stale_read_confirmed_by_another_fork(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    s.rig.make(0, &mut s.tree.clone(), &[]);
    guess_behind_its_back(&mut s);
    read(&mut s);
    confirms(&mut s, &[1, 2])
}

/// Another's entry is committed after the one that this leader began from.
pub(super) fn stale_read_confirmed_by_a_later_chain(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    guess_behind_its_back_and(&mut s, 2);
    read(&mut s);
    confirms(&mut s, &[1, 2])
}

pub(super) fn read_confirmed_by_half_of_the_members(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 4, 2);
    read(&mut s);
    confirms(&mut s, &[0, 1])
}

/// Its own HSM may have captured another chain by now.
pub(super) fn read_confirmed_by_a_leader_that_did_not_say_so(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    read(&mut s);
    confirms(&mut s, &[1])
}

/// That the last guess is gone, in an entry that nobody has captured.
pub(super) fn charge_read_before_its_commit(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    let guess = s.user.recover2();
    s.rig.make(0, &mut s.tree, &[guess]);
    read(&mut s);
    confirms(&mut s, &[1, 2])
}

/// What was read from one chain is confirmed for another, which may have left it behind.
pub(super) fn read_of_an_ended_leadership_confirmed(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    read(&mut s);
    let nonce = s.rig.read_nonce(0);
    assert!(matches!(s.rig.lead(0, Some(&s.tip.entry)), Reply::Leading(_)));
    let statements: Vec<Captured> = (0..3).map(|d| s.rig.captured(d, &[])).collect();
    s.rig.committed(0, &statements);
    let statements = s.rig.fresh(&[1, 2], nonce);
    releases(&s.rig.confirm(0, &statements))
}

pub(super) fn read_confirmed_after_stepping_down(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    read(&mut s);
    let nonce = s.rig.read_nonce(0);
    let statements: Vec<Fresh> = s.rig.fresh(&[1, 2], nonce);
    assert_eq!(s.rig.devices[0].ask(&Request::StepDown(s.rig.group)), Reply::Done);
    releases(&s.rig.confirm(0, &statements))
}

/// From an entry that nobody else has captured, and that another may still take the place of.
pub(super) fn missing_registration_read_before_a_commit(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    assert!(s.lead_again(0));
    let other = User::new(&s.rig, 2, 1).handshake_with(&SecretsRequest::Recover1.to_cbor()).1;
    assert!(waits(&mut s.rig, &s.tree, other));
    confirms(&mut s, &[1, 2])
}

/// The guess is in an entry that is never shown to anyone; its answer is asked for again.
pub(super) fn guess_answered_as_a_read(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let guess = s.user.recover2();
    let mut tree = s.tree.clone();
    s.rig.make(0, &mut tree, std::slice::from_ref(&guess));
    assert!(waits(&mut s.rig, &tree, guess));
    let nonce = s.rig.read_nonce(0);
    let statements = s.rig.fresh(&[1, 2], nonce);
    let reply = s.rig.confirm(0, &statements);
    evaluations(&answers(&mut s.user, &reply)) > 0
}

pub(super) fn entry_for_a_read(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.send(&SecretsRequest::Recover1);
    matches!(s.rig.process(0, &s.tree, &[request]), Reply::Processed { made: Some(_), .. })
}

pub(super) fn memory_filled_with_reads(bug: Option<Bug>) -> bool {
    let mut config = Config::software();
    config.limits.max_pending_replies = 2;
    let mut rig = Rig::with_config(1, bug, &config);
    rig.lead(0, None);
    let reads = (0..3).filter(|seed| {
        let (_, request) = User::new(&rig, *seed, 1).handshake_with(&SecretsRequest::Recover1.to_cbor());
        waits(&mut rig, &whole(), request)
    });
    reads.count() > 2
}
