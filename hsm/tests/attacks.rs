//! What a hostile host would do, on real cores. Each attack fails on the core as it is, and works when the one rule
//! that stops it is left out; an attack that works with nothing left out is a hole, one that never works is no test.

#[path = "attacks/attempts.rs"]
mod attempts;
mod common;
#[path = "attacks/enrolment.rs"]
mod enrolment;
#[path = "attacks/group.rs"]
mod group;
#[path = "attacks/heads.rs"]
mod heads;
#[path = "attacks/leading.rs"]
mod leading;
#[path = "attacks/log.rs"]
mod log;
#[path = "attacks/places.rs"]
mod places;
#[path = "attacks/reads.rs"]
mod reads;
#[path = "attacks/records.rs"]
mod records;
#[path = "attacks/refusals.rs"]
mod refusals;
#[path = "attacks/retirement.rs"]
mod retirement;
#[path = "attacks/sessions.rs"]
mod sessions;
#[path = "attacks/staging.rs"]
mod staging;
#[path = "attacks/table.rs"]
mod table;
#[path = "attacks/telling.rs"]
mod telling;
#[path = "attacks/transfers.rs"]
mod transfers;
#[path = "attacks/trees.rs"]
mod trees;
#[path = "attacks/versions.rs"]
mod versions;

use common::{Rig, User, evaluations, process_request};
use strongroom_hsm_planted::{Bug, Revealed};
use strongroom_proto::client::{Recover2Response, Recover3Response, SecretsRequest, SecretsResponse};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    BatchRequest, CaptureOutcome, GroupEntries, Made, NoiseReply, Outcome, PrefixTree, Refusal, Reply,
    Request, SessionRefusal,
};
use strongroom_proto::ids::EntryHash;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed, GroupStatement};
use strongroom_proto::tree::{ClaimedTree, Tree};
use table::ATTACKS;

#[test]
fn every_attack_fails_on_the_core_as_it_is() {
    for (bug, attack) in ATTACKS {
        assert!(!attack(None), "the attack on {bug:?} works with every rule in place");
    }
}

#[test]
fn every_attack_works_when_its_rule_is_left_out() {
    for (bug, attack) in ATTACKS {
        assert!(attack(Some(*bug)), "the attack does not notice that {bug:?} is planted");
    }
}

#[test]
fn every_bug_has_its_attack() {
    // Those of NVRAM are for `nvram`, which has worse flash.
    for bug in Bug::ALL.iter().filter(|bug| !bug.source().starts_with("hsm/src/nvram/")) {
        assert_eq!(ATTACKS.iter().filter(|(b, _)| b == bug).count(), 1, "{bug:?}");
    }
}

fn whole() -> Tree {
    Tree::new(Prefix::WHOLE)
}

/// Three members, a leader, and a user who has registered with so many guesses.
struct Scene {
    rig: Rig,
    tree: Tree,
    user: User,
    /// The entry that registered.
    tip: Made,
}

impl Scene {
    fn new(bug: Option<Bug>, members: usize, guesses: u16) -> Self {
        let mut rig = Rig::new(members, bug);
        let mut tree = whole();
        rig.lead(0, None);
        let mut user = User::new(&rig, 1, guesses);
        rig.open(0, &mut user);
        let request = user.register2();
        let (tip, replies) = rig.run(0, &mut tree, &[request]);
        for reply in &replies {
            assert_eq!(user.read(reply), SecretsResponse::Register2);
        }
        Self { rig, tree, user, tip }
    }

    /// Leads again from the registration, on any member, and opens a session there.
    fn lead_again(&mut self, i: usize) -> bool {
        let leading = matches!(self.rig.lead(i, Some(&self.tip.entry)), Reply::Leading(_));
        if leading {
            self.rig.open(i, &mut self.user);
        }
        leading
    }

    /// One guess in a batch of its own at member `i`, captured by `by` and committed with their statements.
    fn guess(&mut self, i: usize, by: &[usize]) -> (Entry, Vec<SecretsResponse>) {
        let request = self.user.recover2();
        let mut tree = self.tree.clone();
        let made = self.rig.make(i, &mut tree, &[request]);
        let statements: Vec<Captured> =
            by.iter().map(|d| self.rig.captured(*d, std::slice::from_ref(&made.entry))).collect();
        let (_, released) = self.rig.committed(i, &statements);
        let replies = released.iter().flat_map(|r| &r.replies);
        (made.entry, replies.map(|r| self.user.read(r)).collect())
    }

    /// An entry at member `i` on top of the registration, without requests, never shown to anyone.
    fn fork(&mut self, i: usize) -> Entry {
        assert!(matches!(self.rig.lead(i, Some(&self.tip.entry)), Reply::Leading(_)));
        self.rig.make(i, &mut self.tree.clone(), &[]).entry
    }
}

fn captures(reply: &Reply) -> bool {
    matches!(reply, Reply::Captured(_))
}

fn jump_to_an_uncommitted_fork(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let mine = s.fork(0);
    let theirs = s.fork(2);
    s.rig.captured(0, std::slice::from_ref(&mine));
    let Captured { hsm, index, hash, mac } = s.rig.captured(2, std::slice::from_ref(&theirs));
    captures(&s.rig.devices[0].ask(&Request::Jump(theirs, Committed { hsm, index, hash, mac })))
}

fn jump_backwards(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let statements: Vec<Captured> = (0..3).map(|d| s.rig.captured(d, &[])).collect();
    let (committed, _) = s.rig.committed(0, &statements);
    let next = s.rig.make(0, &mut s.tree.clone(), &[]).entry;
    s.rig.captured(1, &[next]);
    captures(&s.rig.devices[1].ask(&Request::Jump(s.tip.entry.clone(), committed)))
}

fn jump_to_an_entry_beside_the_committed_one(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let made = s.rig.make(0, &mut s.tree.clone(), &[]).entry;
    let statements: Vec<Captured> = (0..2).map(|d| s.rig.captured(d, std::slice::from_ref(&made))).collect();
    let (committed, _) = s.rig.committed(0, &statements);
    let beside = s.fork(2);
    captures(&s.rig.devices[2].ask(&Request::Jump(beside, committed)))
}

/// Another HSM of the realm, in no group.
fn outsider(rig: &mut Rig, bug: Option<Bug>) -> common::Device {
    let mut device = common::Device::new(9, bug, strongroom_hsm::Config::software());
    rig.admit(&mut device);
    device
}

fn join_a_group_with_another_member_list(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(3, None);
    let mut lone = outsider(&mut rig, bug);
    let alone = GroupStatement { members: vec![lone.id()], ..rig.statement.clone() };
    // Alone in the group, it would be a majority of itself, and could serve every guess again.
    matches!(lone.ask(&Request::JoinGroup(alone)), Reply::Group(_))
}

fn second_group_that_owns_everything(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    rig.group = second_group(&mut rig).group;
    rig.lead(0, None);
    // The same record in two groups has twice the guesses.
    matches!(rig.process(0, &whole(), &[]), Reply::Processed { .. })
}

fn memory_filled_with_waiting_entries_and_replies(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let limits = s.rig.devices[0].status().limits;
    let mut tree = s.tree.clone();
    for _ in 0..=limits.max_pending_entries {
        match s.rig.process(0, &tree, &[]) {
            Reply::Processed { made: Some(made), .. } => common::apply(&mut tree, &made),
            refused => {
                assert_eq!(refused, Reply::Refused(Refusal::Busy));
                return false;
            }
        }
    }
    true
}

fn second_group(rig: &mut Rig) -> GroupStatement {
    let statements = rig.devices.iter_mut().map(|d| d.status().realm.expect("joined").member).collect();
    let Reply::Group(statement) = rig.devices[0].ask(&Request::NewGroup(statements)) else { panic!() };
    for device in &mut rig.devices[1..] {
        assert!(matches!(device.ask(&Request::JoinGroup(statement.clone())), Reply::Group(_)));
    }
    statement
}

fn capture_an_entry_of_another_group(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let other = second_group(&mut s.rig);
    captures(&s.rig.devices[1].ask(&Request::capture(other.group, vec![s.tip.entry])))
}

fn capture_an_entry_of_another_fork(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let mine = s.fork(0);
    s.fork(2);
    let theirs_next = s.rig.make(2, &mut s.tree.clone(), &[]).entry;
    s.rig.captured(0, &[mine]);
    captures(&s.rig.capture(0, &[theirs_next]))
}

fn capture_an_entry_that_no_hsm_made(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let mut forged = s.fork(0);
    forged.partitions.clear();
    captures(&s.rig.capture(0, &[forged]))
}

fn two_forks_of_one_group_in_one_capture(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let forks = [s.fork(0), s.fork(2)];
    let group = s.rig.group;
    let both = forks.map(|entry| GroupEntries { group, entries: vec![entry] });
    let reply = s.rig.devices[1].ask(&Request::Capture(both.to_vec()));
    let Reply::Captures(outcomes) = reply else { return false };
    let stated = |outcome: &CaptureOutcome| match outcome {
        CaptureOutcome::Captured(statement) => Some((statement.index, statement.hash)),
        CaptureOutcome::Refused(_) => None,
    };
    let stated: Vec<_> = outcomes.iter().filter_map(stated).collect();
    matches!(stated.as_slice(), [(a, one), (b, other)] if a == b && one != other)
}

fn statement_that_nvram_does_not_hold(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let next = s.fork(1);
    s.rig.devices[1].env.flash.failing = true;
    let stated = match s.rig.capture(1, &[next]) {
        Reply::Captured(statement) => statement.index,
        _ => return false,
    };
    s.rig.devices[1].restart();
    stated > s.rig.devices[1].status().groups[0].captured_index
}

fn reply_before_commit(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.recover2();
    let Reply::Processed { outcomes, .. } = s.rig.process(0, &s.tree, &[request]) else { panic!() };
    let Outcome::Answered(reply) = &outcomes[0] else { return false };
    evaluations(&[s.user.read(reply)]) == 1
}

fn reply_of_a_beaten_chain_released_by_index(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    // A guess at member 0, never captured by anyone; another entry at the same place beats it.
    let request = s.user.recover2();
    s.rig.make(0, &mut s.tree.clone(), &[request]);
    let winner = s.fork(1);
    let statements: Vec<Captured> =
        (0..3).map(|d| s.rig.captured(d, std::slice::from_ref(&winner))).collect();
    match s.rig.commit(0, &statements) {
        Reply::Committed { released, .. } => released.iter().any(|r| !r.replies.is_empty()),
        _ => false,
    }
}

fn commits_guess_with(s: &mut Scene, statements: impl FnOnce(&mut Scene, &Entry) -> Vec<Captured>) -> bool {
    let request = s.user.recover2();
    let made = s.rig.make(0, &mut s.tree.clone(), &[request]);
    let statements = statements(s, &made.entry);
    match s.rig.commit(0, &statements) {
        Reply::Committed { released, .. } => !released.is_empty(),
        _ => false,
    }
}

fn one_member_counted_twice(bug: Option<Bug>) -> bool {
    commits_guess_with(&mut Scene::new(bug, 3, 2), |s, entry| {
        let statement = s.rig.captured(0, std::slice::from_ref(entry));
        vec![statement, statement]
    })
}

fn stranger_counted(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    rig.lead(0, None);
    let made = rig.make(0, &mut whole(), &[]);
    let own = rig.captured(0, std::slice::from_ref(&made.entry));
    // An HSM of the realm that is not in the group. That it can state anything about the group takes a bug of its own.
    let mut stranger = outsider(&mut rig, Some(Bug::JoinAnyMembers));
    let forged = GroupStatement { members: vec![stranger.id()], ..rig.statement.clone() };
    assert!(matches!(stranger.ask(&Request::JoinGroup(forged)), Reply::Group(_)));
    let Reply::Captured(strange) = stranger.ask(&Request::capture(rig.group, vec![made.entry])) else {
        panic!()
    };
    matches!(rig.commit(0, &[own, strange]), Reply::Committed { .. })
}

fn leader_counted_without_its_statement(bug: Option<Bug>) -> bool {
    commits_guess_with(&mut Scene::new(bug, 3, 2), |s, entry| {
        vec![s.rig.captured(1, std::slice::from_ref(entry))]
    })
}

fn half_of_the_members_for_a_majority(bug: Option<Bug>) -> bool {
    commits_guess_with(&mut Scene::new(bug, 4, 2), |s, entry| {
        (0..2).map(|d| s.rig.captured(d, std::slice::from_ref(entry))).collect()
    })
}

fn statements_of_another_fork_counted(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let theirs = s.fork(1);
    commits_guess_with(&mut s, |s, entry| {
        let own = s.rig.captured(0, std::slice::from_ref(entry));
        vec![own, s.rig.captured(1, &[theirs])]
    })
}

fn lead_from_a_forged_entry(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    s.guess(0, &[0, 1, 2]);
    // The host writes an entry of its own with the roots from before the guess.
    let forged = Entry { prev: EntryHash([5; 32]), ..s.tip.entry.clone() };
    matches!(s.rig.lead(0, Some(&forged)), Reply::Leading(_))
}

fn answer_of_an_abandoned_charge_from_the_session(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let guess = s.user.recover2();
    s.rig.make(0, &mut s.tree.clone(), std::slice::from_ref(&guess));
    // The charge is in an entry that is thrown away; the session still holds the answer.
    assert!(matches!(s.rig.lead(0, Some(&s.tip.entry.clone())), Reply::Leading(_)));
    let Reply::Processed { outcomes, .. } = s.rig.process(0, &s.tree, &[guess]) else { return false };
    // Another entry takes the place of the charge, with the same roots as before.
    let (_, _) = s.rig.run(0, &mut s.tree.clone(), &[]);
    let nonce = s.rig.read_nonce(0);
    let statements = s.rig.fresh(&[1, 2], nonce);
    let Reply::Confirmed(reads) = s.rig.confirm(0, &statements) else { return false };
    let answers: Vec<_> = reads.iter().map(|read| s.user.read(&read.reply)).collect();
    common::waits(&outcomes[0]) && evaluations(&answers) == 1
}

/// Runs requests in one batch at the leader and reads every answer.
fn answers(s: &mut Scene, requests: &[BatchRequest]) -> Vec<SecretsResponse> {
    let (_, replies) = s.rig.run(0, &mut s.tree, requests);
    replies.iter().map(|r: &NoiseReply| s.user.read(r)).collect()
}

fn two_guesses_for_one_charge_in_a_batch(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    let requests = [s.user.recover2(), s.user.recover2()];
    evaluations(&answers(&mut s, &requests)) > 1
}

fn guess_on_a_stale_partial_tree(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    let before = s.tree.clone();
    let first = s.user.recover2();
    let first = answers(&mut s, &[first]);
    let second = s.user.recover2();
    let request = process_request(s.rig.group, &before, &[second]);
    let Reply::Processed { made: Some(made), .. } = s.rig.devices[0].ask(&request) else { return false };
    let statements: Vec<Captured> =
        (0..3).map(|d| s.rig.captured(d, std::slice::from_ref(&made.entry))).collect();
    let (_, released) = s.rig.committed(0, &statements);
    let second: Vec<_> = released.iter().flat_map(|r| &r.replies).map(|r| s.user.read(r)).collect();
    evaluations(&first) + evaluations(&second) > 1
}

fn partial_tree_of_depth_256_read_to_its_end(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    rig.lead(0, None);
    // In preorder: 257 inner nodes, each the left side of the one before; a stub; the empty right sides.
    let mut deep = vec![0x99, 0x02, 0x03];
    deep.extend([0x81, 0x01].repeat(257));
    deep.extend([0x82, 0x02, 0x58, 0x20]);
    deep.extend([7; 32]);
    deep.extend([0x81, 0x00].repeat(257));
    let tree = ClaimedTree::decode(&deep).expect("decodes as a claim");
    let trees = vec![PrefixTree { prefix: Prefix::WHOLE, tree }];
    let group = rig.group;
    let refused = rig.devices[0].refusal(&Request::Process { group, trees, requests: Vec::new() });
    // Only after it was read to its end can it be found to have another root.
    refused == Some(Refusal::StaleTree)
}

fn guess_again_on_the_roots_before(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(None, 3, 1);
    s.rig.devices[0].install(bug);
    assert!(s.lead_again(0));
    let mut evaluated = 0;
    for _ in 0..2 {
        let request = s.user.recover2();
        // The tree from before: with the charge in the entry, its root is no longer the newest.
        let request = process_request(s.rig.group, &s.tree, &[request]);
        let Reply::Processed { made: Some(made), .. } = s.rig.devices[0].ask(&request) else { break };
        let statements: Vec<Captured> =
            (0..3).map(|d| s.rig.captured(d, std::slice::from_ref(&made.entry))).collect();
        let (_, released) = s.rig.committed(0, &statements);
        let read: Vec<_> = released.iter().flat_map(|r| &r.replies).map(|r| s.user.read(r)).collect();
        evaluated += evaluations(&read);
    }
    evaluated > 1
}

fn second_point_as_a_resent_one(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let requests = [s.user.recover2(), s.user.recover2(), s.user.recover2()];
    evaluations(&answers(&mut s, &requests)) > 2
}

fn resent_guess_charged_again(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let point = s.user.point();
    let requests = [s.user.recover2_with(point), s.user.recover2_with(point)];
    let counts: Vec<u16> = answers(&mut s, &requests)
        .iter()
        .map(|a| match a {
            SecretsResponse::Recover2(Recover2Response::Ok(ok)) => ok.guess_count,
            other => panic!("{other:?}"),
        })
        .collect();
    counts != [1, 1]
}

fn one_guess_more(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let requests = [s.user.recover2(), s.user.recover2(), s.user.recover2()];
    evaluations(&answers(&mut s, &requests)) > 2
}

fn secrets_in_the_record_after_the_last_guess(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    let request = s.user.recover2();
    answers(&mut s, &[request]);
    let sealed = s.tree.get(&s.user.record).expect("open").expect("there");
    let revealed = s.rig.devices[0].reader().reveal(&s.user.record, sealed).expect("opens");
    let r = &s.user.registration;
    let secrets: [&[u8]; 5] = [
        &*r.oprf_private_key.scalar().to_bytes(),
        r.unlock_key_tag.as_bytes(),
        &*r.encryption_key_scalar_share.to_bytes(),
        r.encrypted_secret.as_bytes(),
        r.encrypted_secret_commitment.as_bytes(),
    ];
    match revealed {
        Revealed::Registered { .. } => true,
        Revealed::LastGuess(plaintext) => secrets.iter().any(|s| plaintext.windows(s.len()).any(|w| w == *s)),
        other => panic!("{other:?}"),
    }
}

fn share_for_a_wrong_tag(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.recover3(false);
    matches!(answers(&mut s, &[request])[0], SecretsResponse::Recover3(Recover3Response::Ok(_)))
}

fn session_used_on_another_record(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let mut request = s.user.recover3(true);
    request.record.0[31] ^= 1;
    let Reply::Processed { outcomes, .. } = s.rig.process(0, &s.tree, &[request]) else { panic!() };
    outcomes[0] != Outcome::Refused(SessionRefusal::MissingSession)
}

fn record_moved_to_another_id(bug: Option<Bug>) -> bool {
    let s = Scene::new(bug, 3, 2);
    let sealed = s.tree.get(&s.user.record).expect("open").expect("there");
    let reader = s.rig.devices[0].reader();
    assert!(reader.reveal(&s.user.record, sealed).is_some(), "in its place it opens");
    // A record opens only under its own id, even for who could put it elsewhere in the tree.
    let mut other = s.user.record;
    other.0[0] ^= 1;
    reader.reveal(&other, sealed).is_some()
}

fn missing_registration_seen_before_commit(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let mut other = User::new(&s.rig, 2, 2);
    s.rig.open(0, &mut other);
    let request = other.recover2();
    let Reply::Processed { outcomes, .. } = s.rig.process(0, &s.tree, &[request]) else { panic!() };
    !common::waits(&outcomes[0])
}

fn outcome_seen_from_what_is_resealed(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.recover3(false);
    // It is answered as a read where nothing is resealed.
    match s.rig.process(0, &s.tree, &[request]) {
        Reply::Processed { made, .. } => made.is_none_or(|made| made.leaves.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_guesses_at_two_leaders_of_one_chain_are_both_counted() {
    let mut s = Scene::new(None, 3, 2);
    let (first, answers) = s.guess(0, &[0, 1]);
    assert_eq!(evaluations(&answers), 1);
    // Member 2 still leads from the registration: its guess is on a fork that can no longer be captured by a majority.
    assert!(s.lead_again(2));
    let request = s.user.recover2();
    let fork = s.rig.make(2, &mut s.tree.clone(), &[request]).entry;
    let own = s.rig.captured(2, std::slice::from_ref(&fork));
    for d in 0..2 {
        assert_eq!(s.rig.capture(d, std::slice::from_ref(&fork)), Reply::Refused(Refusal::NotConsecutive));
    }
    let others: Vec<Captured> = (0..2).map(|d| s.rig.captured(d, &[])).collect();
    let reply = s.rig.commit(2, &[own, others[0], others[1]]);
    assert_eq!(reply, Reply::Refused(Refusal::NoMajority));
    assert_eq!(first.index, fork.index);
}

#[test]
fn a_resent_ciphertext_gets_the_same_reply_and_no_second_change() {
    let mut s = Scene::new(None, 3, 2);
    let request = s.user.recover2();
    let (_, first) = s.rig.run(0, &mut s.tree, std::slice::from_ref(&request));
    assert_eq!(first, s.rig.read(0, &s.tree, std::slice::from_ref(&request)));
    // And with the entry of others, if there is one.
    let mut other = User::new(&s.rig, 2, 2);
    s.rig.open(0, &mut other);
    let (_, with_others) = s.rig.run(0, &mut s.tree, &[other.register2(), request]);
    assert_eq!(first[0], with_others[1]);
    let SecretsResponse::Recover2(Recover2Response::Ok(ok)) = s.user.read(&first[0]) else { panic!() };
    assert_eq!(ok.guess_count, 1);
    let request = s.user.recover2();
    let SecretsResponse::Recover2(Recover2Response::Ok(ok)) = answers(&mut s, &[request]).remove(0) else {
        panic!()
    };
    assert_eq!(ok.guess_count, 2, "the resent one was not charged");
}

#[test]
fn a_wrong_pin_a_lockout_a_success_and_a_version_mismatch_look_alike_before_commit() {
    let look = |prepare: fn(&mut Scene) -> BatchRequest| {
        let mut s = Scene::new(None, 3, 1);
        let request = prepare(&mut s);
        let Reply::Processed { outcomes, made: Some(made) } = s.rig.process(0, &s.tree, &[request]) else {
            panic!()
        };
        let leaves: Vec<usize> = made.leaves.iter().map(|l| l.sealed.len()).collect();
        let events: Vec<usize> = made.events.iter().map(|e| e.len()).collect();
        assert_eq!(outcomes, [Outcome::Kept]);
        (leaves, events, minicbor::to_vec(&made.entry).expect("encodes").len())
    };
    let looks = [
        look(|s| s.user.recover3(false)),
        look(|s| s.user.recover3(true)),
        look(|s| {
            let version = strongroom_proto::client::RegistrationVersion([0; 16]);
            let tag = s.user.registration.unlock_key_tag.clone();
            s.user.send(&SecretsRequest::Recover3 { version, unlock_key_tag: tag })
        }),
        look(|s| {
            let request = s.user.recover2();
            answers(s, &[request]);
            s.user.recover3(false)
        }),
        look(|s| {
            let request = s.user.recover2();
            answers(s, &[request]);
            s.user.recover2()
        }),
        look(|s| s.user.recover2()),
        look(|s| {
            let version = strongroom_proto::client::RegistrationVersion([0; 16]);
            let blinded_input = s.user.point();
            s.user.send(&SecretsRequest::Recover2 { version, blinded_input })
        }),
        look(|s| s.user.send(&SecretsRequest::Delete)),
    ];
    // Later entries have larger indexes, which may take a byte more; nothing else differs.
    assert!(
        looks.windows(2).all(|w| w[0].0 == w[1].0 && w[0].1 == w[1].1 && w[0].2.abs_diff(w[1].2) <= 1),
        "{looks:?}"
    );
}

#[test]
fn a_restart_between_every_two_messages_never_gains_a_guess() {
    // Every prefix of an attack script, with every device restarted at one point of it.
    for restart_at in 0..12 {
        let mut s = Scene::new(None, 3, 1);
        let mut evaluated = 0;
        let mut step = 0;
        let mut maybe = |rig: &mut Rig| {
            if step == restart_at {
                rig.devices.iter_mut().for_each(common::Device::restart);
            }
            step += 1;
        };
        for i in [0, 1, 2] {
            maybe(&mut s.rig);
            if !s.lead_again(i) {
                continue;
            }
            maybe(&mut s.rig);
            let request = s.user.recover2();
            let Reply::Processed { made: Some(made), .. } = s.rig.process(i, &s.tree, &[request]) else {
                continue;
            };
            maybe(&mut s.rig);
            let mut statements = Vec::new();
            for d in 0..3 {
                if let Reply::Captured(c) = s.rig.capture(d, std::slice::from_ref(&made.entry)) {
                    statements.push(c);
                }
            }
            maybe(&mut s.rig);
            if let Reply::Committed { released, .. } = s.rig.commit(i, &statements) {
                let replies: Vec<_> =
                    released.iter().flat_map(|r| &r.replies).map(|r| s.user.read(r)).collect();
                evaluated += evaluations(&replies);
            }
        }
        assert!(evaluated <= 1, "restart before step {restart_at}: {evaluated} evaluations for one guess");
    }
}
