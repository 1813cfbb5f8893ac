//! Attacks on what is said of the requests that counted: one that is left out, one that is not committed, and what anybody could say.

use super::common::User;
use super::transfers::Groups;
use super::{Scene, whole};
use ed25519_dalek::{Signature, VerifyingKey};
use strongroom_hsm_planted::Bug;
use strongroom_proto::client::{Attempt, AttemptsResponse, MAX_ATTEMPTS, SecretsRequest, SecretsResponse};
use strongroom_proto::hsm::{BatchRequest, Outcome, Reply};
use strongroom_proto::ids::{Digest, Index};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Captured;

const START: (u64, Digest) = (0, Digest([0; 32]));

fn attempts(answer: SecretsResponse) -> AttemptsResponse {
    match answer {
        SecretsResponse::Attempts(attempts) => *attempts,
        other => panic!("{other:?}"),
    }
}

/// Asks member 0, where nothing is under way.
pub(super) fn listed(s: &mut Scene) -> AttemptsResponse {
    let request = s.user.send(&SecretsRequest::Attempts);
    let replies = s.rig.read(0, &s.tree, &[request]);
    attempts(s.user.read(&replies[0]))
}

/// Runs a request at member 0 to its answer.
fn run(s: &mut Scene, request: BatchRequest) -> SecretsResponse {
    let (_, replies) = s.rig.run(0, &mut s.tree, &[request]);
    s.user.read(&replies[0])
}

fn guess(s: &mut Scene) {
    let request = s.user.recover2();
    run(s, request);
}

pub(super) fn what(list: &AttemptsResponse) -> Vec<(u8, u8)> {
    list.newest.iter().map(|attempt| (attempt.what, attempt.guesses_left)).collect()
}

pub(super) fn guess_that_is_not_listed(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    guess(&mut s);
    listed(&mut s).count < 2
}

pub(super) fn registration_that_goes_on_with_the_one_before(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    guess(&mut s);
    let request = s.user.register2();
    run(&mut s, request);
    listed(&mut s).count > 1
}

/// A guess, and a look in the same batch: what is signed as of the entry before has nothing of it.
pub(super) fn guess_listed_as_of_an_entry_before_it(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    let requests = [s.user.recover2(), s.user.send(&SecretsRequest::Attempts)];
    let (_, replies) = s.rig.run(0, &mut s.tree, &requests);
    s.user.read(&replies[0]);
    let list = attempts(s.user.read(&replies[1]));
    list.newest.iter().any(|attempt| attempt.index > list.index)
}

/// As of an entry that only its leader has, and that another may still take the place of.
pub(super) fn attempts_as_of_an_entry_that_is_not_committed(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    let tip = s.tip.entry.clone();
    s.rig.make(0, &mut s.tree, &[]);
    let request = s.user.send(&SecretsRequest::Attempts);
    let Reply::Processed { outcomes, made: None } = s.rig.process(0, &s.tree, &[request]) else { panic!() };
    assert!(matches!(outcomes[0], Outcome::Read(_)));
    let nonce = s.rig.read_nonce(0);
    let statements = s.rig.fresh(&[1, 2], nonce);
    assert!(statements.iter().all(|fresh| fresh.index == tip.index));
    matches!(s.rig.confirm(0, &statements), Reply::Confirmed(reads) if !reads.is_empty())
}

pub(super) fn attempts_that_anybody_could_have_made_up(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    let list = listed(&mut s);
    let key = s.rig.devices[1].status().realm.expect("joined").checkpoint_key.expect("it has one");
    let key = VerifyingKey::from_bytes(&key.0).expect("a key");
    let digest = list.digest(&s.rig.realm);
    key.verify_strict(digest.as_bytes(), &Signature::from_bytes(&list.signature)).is_err()
}

/// So many that the first is no longer listed: who has seen an earlier list knows by the head that it was there.
pub(super) fn attempts_that_do_not_follow_from_what_was_seen(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 200);
    (0..MAX_ATTEMPTS).for_each(|_| guess(&mut s));
    let seen = listed(&mut s);
    guess(&mut s);
    let list = listed(&mut s);
    assert_eq!((seen.count, list.count), (1 + MAX_ATTEMPTS as u64, 2 + MAX_ATTEMPTS as u64));
    list.follows(seen.count, &seen.head) != Some(true)
}

/// The head, if all there were are listed; computed here.
fn chain(list: &AttemptsResponse) -> Digest {
    let mut at = START;
    for attempt in &list.newest {
        let (count, version) = (at.0 + 1, &list.version.0);
        at = (count, strongroom_proto::client::next_head(&at.1, version, count, &list.group, attempt));
    }
    at.1
}

/// A record that takes no more of them cannot be sealed, and its user is shut out.
pub(super) fn record_that_is_full(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 1, 200);
    for _ in 0..6 * MAX_ATTEMPTS {
        let request = s.user.recover2();
        let reply = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            s.rig.process(0, &s.tree, std::slice::from_ref(&request))
        }));
        let Ok(Reply::Processed { made: Some(made), .. }) = reply else { return true };
        super::common::apply(&mut s.tree, &made);
        let statement = s.rig.captured(0, std::slice::from_ref(&made.entry));
        s.rig.committed(0, &[statement]);
    }
    false
}

pub(super) fn positions_in_another_groups_log(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 200);
    // So many that a reader cannot tell from the chain whether those are all.
    assert!((0..MAX_ATTEMPTS).all(|_| groups.guess(0)));
    let before = groups.attempts(0);
    assert_eq!(before.newest.len(), MAX_ATTEMPTS);
    groups.moves(0, 1, Prefix::WHOLE);
    let list = groups.attempts(1);
    assert_eq!((list.count, list.head), (before.count, before.head));
    !list.newest.is_empty()
}

#[test]
fn an_owner_reads_what_counted_in_order_and_no_more() {
    let mut s = Scene::new(None, 3, 3);
    assert_eq!(what(&listed(&mut s)), [(1, 3)]);
    let registered = listed(&mut s);
    assert_eq!((registered.index, registered.hash), (s.tip.entry.index, s.tip.entry.hash()));
    assert_eq!((registered.group, registered.version), (s.rig.group, s.user.registration.version));
    // What has no effect does not count: a guess sent again, one at another registration, a wrong tag.
    let point = s.user.point();
    for _ in 0..2 {
        let request = s.user.recover2_with(point);
        run(&mut s, request);
    }
    let wrong = s.user.recover3(false);
    run(&mut s, wrong);
    let mut other = s.user.registration.clone();
    other.version.0[0] ^= 1;
    let blinded_input = s.user.point();
    let request = s.user.send(&SecretsRequest::Recover2 { version: other.version, blinded_input });
    run(&mut s, request);
    let right = s.user.recover3(true);
    run(&mut s, right);
    (0..3).for_each(|_| guess(&mut s));
    let wrong = s.user.recover3(false);
    run(&mut s, wrong);
    let list = listed(&mut s);
    assert_eq!(what(&list), [(1, 3), (2, 2), (4, 3), (2, 2), (2, 1), (3, 0), (5, 0)]);
    assert!(list.newest.is_sorted_by_key(|attempt| attempt.index));
    assert_eq!(list.follows(START.0, &START.1), Some(true));
    assert_eq!((list.count, list.head), (7, chain(&list)));
    assert_eq!(list.version, s.user.registration.version, "also of one that is erased");
    let delete = s.user.send(&SecretsRequest::Delete);
    run(&mut s, delete);
    assert_eq!(what(&listed(&mut s)).last(), Some(&(6, 0)));
    let request = s.user.register2();
    run(&mut s, request);
    assert_eq!(what(&listed(&mut s)), [(1, 3)]);
}

#[test]
fn whoever_was_never_registered_has_no_attempts() {
    let mut s = Scene::new(None, 3, 3);
    let mut other = User::new(&s.rig, 7, 3);
    s.rig.open(0, &mut other);
    let request = other.send(&SecretsRequest::Attempts);
    let replies = s.rig.read(0, &s.tree, &[request]);
    let list = attempts(other.read(&replies[0]));
    assert_eq!((list.count, list.head, list.newest.len(), list.version.0), (0, START.1, 0, [0; 16]));
    // Before the first entry there is nothing to say it as of.
    let mut rig = super::common::Rig::new(1, None);
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 3);
    rig.open(0, &mut user);
    let request = user.send(&SecretsRequest::Attempts);
    let reply = rig.process(0, &whole(), &[request]);
    assert!(matches!(reply, Reply::Processed { made: None, .. }), "{reply:?}");
}

#[test]
fn the_newest_are_listed_with_the_hosts_time_and_the_rest_is_in_the_chain() {
    let mut s = Scene::new(None, 3, 200);
    for number in 0..20 {
        let mut request = s.user.recover2();
        request.time = Some(u64::MAX - number);
        run(&mut s, request);
    }
    let list = listed(&mut s);
    assert_eq!((list.count, list.newest.len()), (21, MAX_ATTEMPTS));
    let last = *list.newest.last().expect("many");
    assert_eq!(last, Attempt { index: Index(21), time: (1 << 48) - 20, what: 2, guesses_left: 180 });
    assert_eq!(list.follows(START.0, &START.1), None);
    assert_eq!((list.follows(21, &list.head), list.follows(21, &START.1)), (Some(true), Some(false)));
    assert_eq!(list.follows(22, &list.head), Some(false));
    // The longest answer still has the one length of all.
    assert_eq!(list.to_bytes().len(), 417);
}

/// As a build wrote it that kept no attempts.
#[test]
fn the_attempts_on_a_record_of_an_earlier_build_begin_with_the_next_that_counts() {
    let mut s = Scene::new(None, 1, 3);
    let device = &mut s.rig.devices[0];
    let reader = device.reader();
    let sealed = s.tree.get(&s.user.record).expect("opened").expect("there").clone();
    let mut plaintext = reader.plaintext(&s.user.record, &sealed).expect("opens").to_vec();
    // An array of two, not of three, without the last.
    plaintext[0] = 2;
    assert_eq!(plaintext[1], 0x83);
    plaintext[1] = 0x82;
    let at = plaintext.windows(2).rposition(|two| two == [0x84, 0x50]).expect("the attempts");
    plaintext.truncate(at);
    plaintext.resize(768, 0);
    let old = reader.seal_plaintext(&s.user.record, &plaintext, &mut device.env.rng).expect("a realm");
    assert!(reader.reveal(&s.user.record, &old).is_some());
    // The same with attempts in it was never written.
    let mut longer = reader.plaintext(&s.user.record, &sealed).expect("opens").to_vec();
    longer[0] = 2;
    longer.truncate(768);
    let longer = reader.seal_plaintext(&s.user.record, &longer, &mut s.rig.devices[0].env.rng);
    assert!(reader.reveal(&s.user.record, &longer.expect("a realm")).is_none());
}

/// Statements of the members about the newest entry, so that what is read of it may leave.
#[test]
fn attempts_leave_once_what_they_are_said_as_of_is_committed() {
    let mut s = Scene::new(None, 3, 3);
    let made = s.rig.make(0, &mut s.tree, &[]);
    let request = s.user.send(&SecretsRequest::Attempts);
    let reply = s.rig.process(0, &s.tree, &[request]);
    assert!(matches!(reply, Reply::Processed { made: None, .. }));
    let entries = std::slice::from_ref(&made.entry);
    let statements: Vec<Captured> = (0..3).map(|d| s.rig.captured(d, entries)).collect();
    s.rig.committed(0, &statements);
    let nonce = s.rig.read_nonce(0);
    let statements = s.rig.fresh(&[0, 1, 2], nonce);
    let Reply::Confirmed(reads) = s.rig.confirm(0, &statements) else { panic!() };
    let list = attempts(s.user.read(&reads[0].reply));
    assert_eq!((list.index, list.hash), (made.entry.index, made.entry.hash()));
}
