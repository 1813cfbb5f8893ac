//! Rules of the core at their edges: as many as there may be and one more, the same again, things that only follow one
//! another by number, and an NVRAM that fails.

use crate::common::{Device, Rig, User, apply, led, process_request};
use rand::Rng;
use strongroom_hsm::{Config, Drbg, EntropyError, EntropySource};
use strongroom_proto::client::SecretsRequest;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    BatchRequest, CustodianKey, ExportApproval, MAX_CUSTODIANS, MAX_GROUPS, Outcome, PrefixTree, RealmPolicy,
    Refusal, Reply, Request, Role, SessionRefusal,
};
use strongroom_proto::ids::{BuildDigest, Digest, HsmId, Index, Mac, RealmId, X25519Public};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed, GroupStatement, MAX_MEMBERS, MemberStatement};
use strongroom_proto::tree::{ClaimedTree, Tree};

fn whole() -> Tree {
    Tree::new(Prefix::WHOLE)
}

/// Another entry without requests at a leader.
fn next(rig: &mut Rig, i: usize) -> Entry {
    rig.make(i, &mut whole(), &[]).entry
}

/// The entry at this member that continues `entry`, which it captured; nobody has seen it yet.
fn fork(rig: &mut Rig, i: usize, entry: &Entry) -> Entry {
    assert!(matches!(rig.lead(i, Some(entry)), Reply::Leading(_)));
    next(rig, i)
}

fn capture_by(rig: &mut Rig, members: &[usize], entry: &Entry) -> Vec<Captured> {
    members.iter().map(|d| rig.captured(*d, std::slice::from_ref(entry))).collect()
}

fn role(device: &mut Device) -> Role {
    device.status().groups[0].role
}

fn is_leader(device: &mut Device) -> bool {
    matches!(role(device), Role::Leader { .. })
}

/// A message that opens a session and asks what anyone may ask; its answer waits for a commit.
#[test]
fn an_hsm_without_a_realm_has_no_secret_for_agents_and_those_of_one_realm_have_the_same() {
    let mut lone = Device::new(9, None, Config::software());
    assert_eq!(lone.refusal(&Request::AgentSecret(0)), Some(Refusal::NoRealm));
    let mut rig = Rig::new(2, None);
    let [first, second] = [0, 1].map(|at| {
        [0, 1].map(|epoch| match rig.devices[at].ask(&Request::AgentSecret(epoch)) {
            Reply::AgentSecret(secret) => secret,
            other => panic!("{other:?}"),
        })
    });
    assert_eq!(first, second);
    assert_ne!(first[0], first[1], "each epoch has its own");
    assert_eq!(format!("{:?}", Reply::AgentSecret(first[0].clone())), "AgentSecret(AgentSecret(…))");
}

#[test]
fn entries_that_do_not_follow_one_another_are_not_captured() {
    let (mut rig, entries) = led(3, 3);
    let [first, second, third] = &entries[..] else { panic!() };
    // Another chain from the first entry on.
    rig.captured(2, std::slice::from_ref(first));
    let other = fork(&mut rig, 2, first);
    let other_next = next(&mut rig, 2);
    assert_eq!((other.index, other_next.index), (second.index, third.index));
    let refused = [
        vec![second],
        vec![first, third],
        vec![second, first],
        vec![first, first],
        vec![first, second, &other_next],
        vec![first, &other, third],
    ];
    for entries in refused {
        let entries: Vec<Entry> = entries.into_iter().cloned().collect();
        assert_eq!(rig.capture(1, &entries), Reply::Refused(Refusal::NotConsecutive), "{entries:?}");
    }
    assert_eq!(rig.captured(1, &entries).index, third.index);
    // What is captured is not left for another chain, however long.
    let longer = [first.clone(), other, other_next, next(&mut rig, 2)];
    assert_eq!(rig.capture(1, &longer), Reply::Refused(Refusal::NotConsecutive));
}

#[test]
fn a_capture_sent_again_is_stated_again_without_a_write() {
    let (mut rig, entries) = led(2, 2);
    let statement = rig.captured(1, &entries);
    let flash = rig.devices[1].env.flash.units().to_vec();
    for again in [&entries[..], &entries[1..], &[]] {
        assert_eq!(rig.captured(1, again), statement);
    }
    assert!(flash == rig.devices[1].env.flash.units(), "written again");
    rig.devices[1].restart();
    assert_eq!(rig.captured(1, &[]), statement);
}

#[test]
fn a_leader_that_captures_another_chain_leads_no_more() {
    let (mut rig, entries) = led(3, 1);
    capture_by(&mut rig, &[0, 1, 2], &entries[0]);
    let beaten = next(&mut rig, 0);
    let winner = fork(&mut rig, 1, &entries[0]);
    assert_eq!(beaten.index, winner.index);
    assert!(is_leader(&mut rig.devices[0]));
    let statements = capture_by(&mut rig, &[0, 1], &winner);
    assert_eq!(role(&mut rig.devices[0]), Role::Witness);
    assert_eq!(rig.process(0, &whole(), &[]), Reply::Refused(Refusal::NotLeader));
    assert_eq!(rig.commit(0, &statements), Reply::Refused(Refusal::NotLeader));
}

#[test]
fn a_leader_overtaken_on_its_own_chain_stops_and_releases_by_statements_about_its_own_entries() {
    let (mut rig, entries) = led(3, 1);
    capture_by(&mut rig, &[0, 1, 2], &entries[0]);
    let (mut user, mut tree) = (User::new(&rig, 1, 2), whole());
    rig.open(0, &mut user);
    let own = rig.make(0, &mut tree, &[user.register2()]).entry;
    let about_own = capture_by(&mut rig, &[1, 0], &own);
    assert!(matches!(rig.lead(1, Some(&own)), Reply::Leading(_)));
    let after = rig.make(1, &mut tree, &[]).entry;
    let about_after = capture_by(&mut rig, &[0, 1], &after);
    let about_before = rig.captured(2, &[]);
    assert_eq!(role(&mut rig.devices[0]), Role::SteppingDown);
    assert_eq!(rig.process(0, &whole(), &[]), Reply::Refused(Refusal::NotLeader));
    // What others made after its own entries counts for nothing.
    assert_eq!(rig.commit(0, &about_after), Reply::Refused(Refusal::NoMajority));
    // Here one of three vouches for its newest, and one for the one before.
    let (first, released) = rig.committed(0, &[about_own[0], about_after[0], about_before]);
    assert_eq!((first.hash, released.len()), (entries[0].hash(), 0));
    let (newest, released) = rig.committed(0, &about_own);
    assert_eq!(newest.hash, own.hash());
    let released: Vec<_> = released.iter().map(|r| (r.entry, r.replies.len())).collect();
    assert_eq!(released, [(own.hash(), 1)]);
}

#[test]
fn a_commit_of_an_older_agent_is_taken_as_one_without_what_it_has_behind() {
    let mut rig = Rig::new(1, None);
    let made = next_of(&mut rig);
    let statement = rig.captured(0, std::slice::from_ref(&made));
    let group = rig.group;
    let statements = minicbor::to_vec([statement]).expect("encodes");
    let fields = [&[0x50][..], &group.0, &statements].concat();
    let bytes = [&[0x82, 0x0d, 0x82][..], &fields].concat();
    assert_eq!(
        minicbor::to_vec(Request::Commit { group, statements: vec![statement] }).ok(),
        Some(bytes.clone())
    );
    let expected = rig.devices[0].handle(&bytes);
    assert!(matches!(minicbor::decode(&expected), Ok(Reply::Committed { .. })));
    // Agents sent an empty list there. Entries, which none ever sent, are not looked at either.
    let entry = [&[0x81][..], &minicbor::to_vec(&made).expect("encodes")].concat();
    for third in [&[0x80][..], &entry] {
        let older = [&[0x82, 0x0d, 0x83][..], &fields, third].concat();
        assert_eq!(rig.devices[0].handle(&older), expected);
    }
}

#[test]
fn a_jump_moves_to_the_committed_entry_and_is_remembered() {
    let (mut rig, entries) = led(3, 2);
    let statements: Vec<Captured> = [0, 1].map(|d| rig.captured(d, &entries)).to_vec();
    let (committed, _) = rig.committed(0, &statements);
    let jump = Request::Jump(entries[1].clone(), committed);
    let Reply::Captured(stated) = rig.devices[2].ask(&jump) else { panic!("no jump") };
    assert_eq!((stated.index, stated.hash), (entries[1].index, entries[1].hash()));
    let flash = rig.devices[2].env.flash.units().to_vec();
    assert_eq!(rig.devices[2].ask(&jump), Reply::Captured(stated));
    assert!(flash == rig.devices[2].env.flash.units(), "written again");
    rig.devices[2].restart();
    assert_eq!(rig.captured(2, &[]), stated);
}

#[test]
fn a_leader_that_jumps_along_its_own_chain_goes_on_and_off_it_leads_no_more() {
    let (mut rig, entries) = led(3, 1);
    let statements = capture_by(&mut rig, &[1, 2], &entries[0]);
    let (committed, _) = rig.committed(0, &statements);
    let jump = Request::Jump(entries[0].clone(), committed);
    for _ in 0..2 {
        assert!(matches!(rig.devices[0].ask(&jump), Reply::Captured(_)));
        assert!(is_leader(&mut rig.devices[0]));
        next(&mut rig, 0);
    }

    let winner = fork(&mut rig, 1, &entries[0]);
    let statements = capture_by(&mut rig, &[1, 2], &winner);
    let (committed, _) = rig.committed(1, &statements);
    assert!(matches!(rig.devices[0].ask(&Request::Jump(winner, committed)), Reply::Captured(_)));
    assert_eq!(role(&mut rig.devices[0]), Role::Witness);
}

#[test]
fn a_status_tells_a_leader_from_one_that_steps_down_and_from_a_witness() {
    let (mut rig, entries) = led(2, 1);
    let Role::Leader { term, newest } = role(&mut rig.devices[0]) else { panic!("leads") };
    assert_eq!((term, newest), (entries[0].term, entries[0].index));
    assert_eq!(role(&mut rig.devices[1]), Role::Witness);
    assert_eq!(rig.devices[0].ask(&Request::StepDown(rig.group)), Reply::Done);
    assert_eq!(role(&mut rig.devices[0]), Role::SteppingDown);
}

#[test]
fn all_members_of_the_largest_group_may_state_and_five_of_nine_are_a_majority() {
    let (mut rig, entries) = led(MAX_MEMBERS, 1);
    let all: Vec<usize> = (0..MAX_MEMBERS).collect();
    let mut statements = capture_by(&mut rig, &all, &entries[0]);
    assert_eq!(rig.commit(0, &statements[..4]), Reply::Refused(Refusal::NoMajority));
    for enough in [5, 9] {
        assert_eq!(rig.committed(0, &statements[..enough]).0.index, entries[0].index);
    }
    statements.push(statements[0]);
    assert_eq!(rig.commit(0, &statements), Reply::Refused(Refusal::TooLarge));
}

#[test]
fn a_statement_that_no_member_made_of_this_entry_in_this_group_is_not_counted() {
    let (mut rig, entries) = led(3, 1);
    let Captured { hsm, index, hash, mac } = rig.captured(0, &entries);
    let own = Captured { hsm, index, hash, mac };
    let other = rig.devices[1].id();
    // What another group's log says at the same place.
    let members = (0..3).map(|i| member(&mut rig.devices[i])).collect();
    let second = new_group(&mut rig.devices[0], members).expect("a second group");
    assert!(matches!(rig.devices[1].ask(&Request::JoinGroup(second.clone())), Reply::Group(_)));
    let first = std::mem::replace(&mut rig.group, second.group);
    rig.lead(1, None);
    let elsewhere = rig.devices[1].ask(&process_request(second.group, &whole(), &[]));
    // It owns nothing, so the host's tree of the whole space is not its.
    assert_eq!(elsewhere, Reply::Refused(Refusal::NotCovered));
    let empty = Request::Process { group: second.group, trees: vec![], requests: vec![] };
    let Reply::Processed { made: Some(made), .. } = rig.devices[1].ask(&empty) else { panic!("no entry") };
    let foreign = rig.captured(1, &[made.entry]);
    rig.group = first;

    let forged = [
        // One member's word for another's.
        Captured { hsm: other, ..own },
        // A member's word about another entry or another group's, with the entry's hash put in.
        Captured { hash, ..foreign },
        foreign,
        // Nobody's word.
        Captured { hsm: other, mac: Mac(Digest([7; 32])), ..own },
    ];
    for statement in forged {
        assert_eq!(rig.commit(0, &[own, statement]), Reply::Refused(Refusal::NotAuthentic));
    }
    // What a member says of another entry is its word, but not of this one.
    rig.captured(1, &entries);
    let second_entry = next(&mut rig, 0);
    let beside = fork(&mut rig, 1, &entries[0]);
    let mine = rig.captured(0, &[second_entry]);
    let theirs = rig.captured(1, &[beside]);
    assert_eq!(rig.commit(0, &[mine, theirs]), Reply::Refused(Refusal::NoMajority));
    let altered = Captured { hash: mine.hash, ..theirs };
    assert_eq!(rig.commit(0, &[mine, altered]), Reply::Refused(Refusal::NotAuthentic));
    let altered = Captured { index: mine.index, hash: mine.hash, ..own };
    assert_eq!(rig.commit(0, &[altered]), Reply::Refused(Refusal::NotAuthentic));
}

#[test]
fn a_commit_that_no_member_stated_moves_nobody() {
    let (mut rig, entries) = led(3, 1);
    let statements = capture_by(&mut rig, &[0, 1], &entries[0]);
    let (committed, _) = rig.committed(0, &statements);
    let later = next(&mut rig, 0);
    let forged = [
        Committed { hsm: rig.devices[1].id(), ..committed },
        Committed { index: later.index, hash: later.hash(), ..committed },
        Committed { mac: Mac(Digest([7; 32])), ..committed },
        Committed { mac: statements[0].mac, ..committed },
    ];
    for committed in forged {
        for entry in [&entries[0], &later] {
            let refusal = rig.devices[2].refusal(&Request::Jump(entry.clone(), committed));
            assert_eq!(refusal, Some(Refusal::NotAuthentic));
        }
    }
    assert_eq!(rig.devices[2].status().groups[0].captured_index, Index::ZERO);
}

#[test]
fn a_commit_whose_reply_was_lost_is_stated_again() {
    let (mut rig, entries) = led(3, 2);
    let statements = capture_by(&mut rig, &[0, 1], &entries[0]);
    let (committed, _) = rig.committed(0, &statements);
    assert_eq!(rig.committed(0, &statements), (committed, vec![]));
    // What is not committed yet is still its own.
    let statements = capture_by(&mut rig, &[0, 1], &entries[1]);
    assert_eq!(rig.committed(0, &statements).0.index, entries[1].index);
}

fn tight() -> Config {
    let mut config = Config::software();
    config.limits.max_batch_requests = 3;
    config.limits.max_pending_entries = 3;
    config.limits.max_pending_replies = 4;
    config.limits.max_sessions = 2;
    config
}

#[test]
fn waiting_replies_and_requests_of_a_batch_keep_to_their_bounds() {
    let mut rig = Rig::with_config(1, None, &tight());
    rig.lead(0, None);
    let (mut user, mut tree) = (User::new(&rig, 1, 2), whole());
    rig.open(0, &mut user);
    rig.run(0, &mut tree, &[user.register2()]);
    let mut ask = |rig: &mut Rig, n: usize| {
        let mut delete = || user.handshake_with(&SecretsRequest::Delete.to_cbor()).1;
        let requests: Vec<BatchRequest> = (0..n).map(|_| delete()).collect();
        match rig.process(0, &tree, &requests) {
            Reply::Processed { made: Some(made), .. } => {
                apply(&mut tree, &made);
                Ok(made.entry)
            }
            Reply::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(&mut rig, 4), Err(Refusal::TooLarge));
    let first = ask(&mut rig, 3).expect("a full batch");
    assert_eq!(ask(&mut rig, 2), Err(Refusal::Busy));
    let second = ask(&mut rig, 1).expect("as many as may wait");
    assert_eq!(ask(&mut rig, 1), Err(Refusal::Busy));

    let statements = vec![rig.captured(0, &[first, second])];
    let (_, released) = rig.committed(0, &statements);
    assert_eq!(released.iter().map(|r| r.replies.len()).collect::<Vec<_>>(), [3, 1]);
    ask(&mut rig, 3).expect("nothing waits any more");
}

#[test]
fn as_many_tree_nodes_as_a_device_has_room_for_are_taken_apart_and_not_one_more() {
    let mut config = tight();
    config.limits.max_tree_nodes = 513;
    let mut rig = Rig::with_config(1, None, &config);
    rig.lead(0, None);
    // So many nodes, of which the first is the whole tree.
    let many =
        |nodes: u16| [&[0x99][..], &nodes.to_be_bytes(), &[0x81, 0x00].repeat(usize::from(nodes))].concat();
    let tree =
        |nodes, prefix| PrefixTree { prefix, tree: ClaimedTree::decode(&many(nodes)).expect("a claim") };
    let (left, right) = Prefix::WHOLE.children().expect("it has two sides");
    let group = rig.group;
    let mut ask = |trees| rig.devices[0].ask(&Request::Process { group, trees, requests: vec![] });
    assert_eq!(ask(vec![tree(514, Prefix::WHOLE)]), Reply::Refused(Refusal::TooLarge));
    assert_eq!(ask(vec![tree(513, Prefix::WHOLE)]), Reply::Refused(Refusal::Malformed));
    // In all.
    assert_eq!(ask(vec![tree(257, left), tree(257, right)]), Reply::Refused(Refusal::TooLarge));
    assert_eq!(ask(vec![tree(256, left), tree(257, right)]), Reply::Refused(Refusal::NotCovered));
}

#[test]
fn own_entries_that_are_captured_and_committed_make_room_for_others() {
    let mut rig = Rig::with_config(3, None, &tight());
    rig.lead(0, None);
    // One of the three is the place that the leadership began from.
    let waiting = [next(&mut rig, 0), next(&mut rig, 0)];
    assert_eq!(rig.process(0, &whole(), &[]), Reply::Refused(Refusal::Busy));
    // Captured here, but not known to be committed; then the other way around.
    let mut statements = vec![rig.captured(0, &waiting)];
    assert_eq!(rig.process(0, &whole(), &[]), Reply::Refused(Refusal::Busy));
    statements.extend([1, 2].map(|d| rig.captured(d, &waiting)));
    rig.committed(0, &statements);
    for _ in 0..10 {
        rig.run(0, &mut whole(), &[]);
    }
    let uncaptured = next(&mut rig, 0);
    let statements = capture_by(&mut rig, &[1, 2], &uncaptured);
    rig.committed(0, &statements);
    next(&mut rig, 0);
    assert_eq!(rig.process(0, &whole(), &[]), Reply::Refused(Refusal::Busy));
}

/// Whether this user's session still is there.
fn lives(rig: &mut Rig, user: &mut User) -> bool {
    let request = user.send(&SecretsRequest::Register1);
    let Reply::Processed { outcomes, .. } = rig.process(0, &whole(), &[request]) else { panic!("not led") };
    match &outcomes[0] {
        Outcome::Answered(_) => true,
        Outcome::Refused(SessionRefusal::MissingSession) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_session_that_was_unused_for_longest_gives_way() {
    let mut rig = Rig::with_config(1, None, &tight());
    rig.lead(0, None);
    let [mut a, mut b, mut c] = [1, 2, 3].map(|seed| User::new(&rig, seed, 2));
    rig.open(0, &mut a);
    rig.open(0, &mut b);
    assert!(lives(&mut rig, &mut a));
    rig.open(0, &mut c);
    assert_eq!([&mut a, &mut b, &mut c].map(|user| lives(&mut rig, user)), [true, false, true]);
}

#[test]
fn a_session_that_ended_with_its_leadership_ends_no_later_one() {
    let mut rig = Rig::with_config(1, None, &tight());
    rig.lead(0, None);
    let [mut a, mut b, mut c, mut d] = [1, 2, 3, 4].map(|seed| User::new(&rig, seed, 2));
    rig.open(0, &mut a);
    rig.open(0, &mut b);
    rig.lead(0, None);
    assert!(!lives(&mut rig, &mut b));
    rig.open(0, &mut c);
    rig.open(0, &mut a);
    rig.open(0, &mut d);
    assert_eq!([&mut a, &mut c, &mut d].map(|user| lives(&mut rig, user)), [true, false, true]);
}

#[test]
fn an_answer_that_depends_on_no_record_leaves_no_event_when_it_is_sent_again() {
    let (mut rig, _) = led(1, 0);
    let [mut user, mut other] = [1, 2].map(|seed| User::new(&rig, seed, 2));
    rig.open(0, &mut user);
    rig.open(0, &mut other);
    let constant = user.send(&SecretsRequest::Register1);
    let requests = [constant.clone(), constant, other.register2()];
    let Reply::Processed { outcomes, made: Some(made) } = rig.process(0, &whole(), &requests) else {
        panic!("no entry")
    };
    assert!(matches!(outcomes[0], Outcome::Answered(_)));
    assert_eq!((&outcomes[0], &outcomes[2]), (&outcomes[1], &Outcome::Kept));
    assert_eq!(made.events.len(), 1, "the event of the other request");
}

#[test]
fn the_tree_of_one_prefix_is_taken_once_in_a_batch() {
    let (mut rig, _) = led(1, 0);
    let Request::Process { group, mut trees, requests } = process_request(rig.group, &whole(), &[]) else {
        panic!()
    };
    trees.extend_from_within(..);
    let twice = Request::Process { group, trees, requests };
    assert_eq!(rig.devices[0].refusal(&twice), Some(Refusal::Malformed));
}

#[test]
fn a_policy_that_cannot_be_kept_makes_no_realm() {
    let mut device = Device::new(1, None, Config::software());
    let key =
        |i: u8| strongroom_testkit::founding::custodian_key(&ed25519_dalek::SigningKey::from_bytes(&[i; 32]));
    let many = (1..).map(key).take(MAX_CUSTODIANS + 1).collect();
    // The neutral element: any signature can be made to fit it.
    let mut weak = [0; 32];
    weak[0] = 1;
    let policies = [
        (vec![key(1), key(2)], 0),
        (vec![key(1), key(2)], 3),
        (vec![key(1), key(1)], 2),
        (vec![], 1),
        (vec![key(1), CustodianKey(Digest(weak))], 1),
    ];
    for (custodians, threshold) in policies {
        let policy = RealmPolicy { custodians, threshold, smallest_group: None };
        let refusal = device.refusal(&Request::NewRealm(policy.clone()));
        assert_eq!(refusal, Some(Refusal::BadPolicy), "{policy:?}");
    }
    for smallest_group in [0, MAX_MEMBERS as u8 + 1, u8::MAX].map(Some) {
        let policy = RealmPolicy { smallest_group, ..RealmPolicy::closed() };
        assert_eq!(
            device.refusal(&Request::NewRealm(policy)),
            Some(Refusal::BadPolicy),
            "{smallest_group:?}"
        );
    }
    let many = RealmPolicy { custodians: many, threshold: 1, smallest_group: None };
    assert_eq!(device.refusal(&Request::NewRealm(many)), Some(Refusal::TooLarge));
    assert_eq!(device.status().realm, None);
}

#[test]
fn an_approval_that_names_another_exporter_build_realm_public_key_or_policy_is_none() {
    let mut rig = Rig::new(2, None);
    let changes: [fn(&mut ExportApproval); 6] = [
        |a| a.policy.threshold = 1,
        |a| a.policy.smallest_group = Some(1),
        |a| a.exporter = HsmId([9; 16]),
        |a| a.realm = RealmId([9; 16]),
        |a| a.public_key = X25519Public([9; 32]),
        |a| a.exporter_build = BuildDigest([9; 32]),
    ];
    for change in changes {
        let mut approval = rig.approval(1);
        change(&mut approval);
        // Signed as it is, by enough custodians, with the nonce that was drawn here.
        let signatures = vec![rig.sign(0, &approval), rig.sign(1, &approval)];
        let refusal = rig.devices[0].refusal(&Request::ExportRealm(approval, signatures));
        assert_eq!(refusal, Some(Refusal::NotApproved));
    }
}

fn member(device: &mut Device) -> MemberStatement {
    device.status().realm.expect("in a realm").member
}

fn new_group(device: &mut Device, members: Vec<MemberStatement>) -> Result<GroupStatement, Refusal> {
    match device.ask(&Request::NewGroup(members)) {
        Reply::Group(statement) => Ok(statement),
        Reply::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_of_a_group_are_distinct_and_include_whoever_makes_or_joins_it() {
    let mut rig = Rig::new(3, None);
    let [a, b, c] = [0, 1, 2].map(|i| member(&mut rig.devices[i]));
    for members in [vec![], vec![b], vec![b, c], vec![a, a], vec![a, b, b]] {
        assert_eq!(new_group(&mut rig.devices[0], members), Err(Refusal::BadMembers));
    }
    let many = vec![a; MAX_MEMBERS + 1];
    assert_eq!(new_group(&mut rig.devices[0], many), Err(Refusal::TooLarge));
    let forged = MemberStatement { mac: b.mac, ..c };
    assert_eq!(new_group(&mut rig.devices[0], vec![a, forged]), Err(Refusal::NotAuthentic));
    let mut stranger = Device::new(9, None, Config::software());
    assert!(matches!(stranger.ask(&Request::NewRealm(RealmPolicy::closed())), Reply::Device(_)));
    let strange = member(&mut stranger);
    assert_eq!(new_group(&mut rig.devices[0], vec![a, strange]), Err(Refusal::NotAuthentic));
    // With a group joined that does not name it, an HSM could state what nobody may count.
    let theirs = new_group(&mut rig.devices[0], vec![a, b]).expect("two members");
    assert_eq!(rig.devices[2].refusal(&Request::JoinGroup(theirs.clone())), Some(Refusal::BadMembers));
    assert_eq!(rig.devices[1].refusal(&Request::JoinGroup(theirs)), None);
}

#[test]
fn an_hsm_is_in_at_most_sixteen_groups() {
    let mut rig = Rig::new(2, None);
    let members = vec![member(&mut rig.devices[0]), member(&mut rig.devices[1])];
    for _ in 1..MAX_GROUPS {
        let group = new_group(&mut rig.devices[0], members.clone()).expect("there is room");
        assert_eq!(rig.devices[1].refusal(&Request::JoinGroup(group)), None);
    }
    for at in 0..2 {
        assert_eq!(new_group(&mut rig.devices[at], members.clone()), Err(Refusal::NoRoomForGroup));
        assert_eq!(rig.devices[at].status().groups.len(), MAX_GROUPS);
    }
}

#[test]
fn what_nvram_did_not_take_has_not_happened_and_nothing_is_answered_until_a_restart() {
    let policy = RealmPolicy::closed;
    let mut device = Device::new(1, None, Config::software());
    let fail = |device: &mut Device, request: &Request| {
        device.env.flash.failing = true;
        assert_eq!(device.refusal(request), Some(Refusal::NvramFailed));
        device.env.flash.failing = false;
        // What is in RAM may not be what is in NVRAM, so nothing is said from it.
        assert_eq!(device.refusal(&Request::DeviceStatus), Some(Refusal::NvramFailed));
        assert_eq!(device.refusal(request), Some(Refusal::NvramFailed));
        device.restart();
    };
    fail(&mut device, &Request::NewRealm(policy()));
    assert_eq!(device.status().realm, None);

    assert!(matches!(device.ask(&Request::NewRealm(policy())), Reply::Device(_)));
    let members = vec![member(&mut device)];
    fail(&mut device, &Request::NewGroup(members.clone()));
    assert_eq!(device.status().groups, []);
    // A group that owns everything is made once, and one that was not stored was never made.
    let first = new_group(&mut device, members.clone()).expect("NVRAM works again");
    let second = new_group(&mut device, members).expect("a group without a partition");
    assert_eq!((first.genesis, second.genesis), (true, false));

    let group = first.group;
    assert!(matches!(device.ask(&Request::Lead(group, None)), Reply::Leading(_)));
    let Reply::Processed { made: Some(made), .. } = device.ask(&process_request(group, &whole(), &[])) else {
        panic!("no entry")
    };
    fail(&mut device, &Request::capture(group, vec![made.entry]));
    assert_eq!(device.refusal(&Request::capture(group, vec![])), Some(Refusal::NothingCaptured));
}

fn next_of(rig: &mut Rig) -> Entry {
    rig.lead(0, None);
    next(rig, 0)
}

/// Other bytes each time, none of them twice in a row.
struct Samples(u8);

impl EntropySource for Samples {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        for byte in out {
            self.0 = self.0.wrapping_add(101);
            *byte = self.0;
        }
        Ok(())
    }
}

#[test]
fn the_words_of_the_generator_are_the_bytes_that_it_would_have_given() {
    let drbg = || Drbg::start(Samples(0)).expect("a source that passes");
    let (mut word, mut long, mut bytes) = (drbg(), drbg(), drbg());
    let mut expected = [0; 8];
    bytes.fill_bytes(&mut expected);
    assert_eq!(word.next_u32().to_le_bytes(), expected[..4]);
    assert_eq!(long.next_u64().to_le_bytes(), expected);
}

#[test]
fn an_entropy_failure_says_what_to_do() {
    for (error, word) in [
        (EntropyError::Device, "check"),
        (EntropyError::Repetition, "replace"),
        (EntropyError::Proportion, "replace"),
    ] {
        assert!(error.to_string().contains(word), "{error}");
    }
}
