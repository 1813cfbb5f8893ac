//! Attacks on the end of groups: what a host would do with a last entry, with what is stated about it, and with an HSM that
//! has forgotten the group. Each twice, late, in another group, after a restart, or with the reply thrown away.

use super::common::{Rig, process_request};
use super::second_group;
use super::transfers::{D, E, Groups, S, another_group, empty, evidence};
use strongroom_hsm_planted::Bug;
use strongroom_proto::change::{Change, Evidence, Retirement};
use strongroom_proto::client::SecretsRequest;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{GroupEntries, MAX_GROUPS, MAX_RETIRED, Outcome, Refusal, Reply, Request, Role};
use strongroom_proto::ids::{GroupId, Nonce};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed, GroupStatement, Retired};
use strongroom_proto::tree::Tree;

/// Has a device leave a group.
fn leave(rig: &mut Rig, at: usize, group: GroupId, proof: Option<Retirement>) -> Result<Retired, Refusal> {
    match rig.devices[at].ask(&Request::Leave(group, proof)) {
        Reply::Retired(retired) => Ok(retired),
        Reply::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

impl Groups {
    /// Has the one HSM leave a group by the newest entry of one.
    fn leave_by(&mut self, group: usize, by: usize) -> Result<Retired, Refusal> {
        let proof = Retirement::Entry(Box::new(self.newest[by].clone()));
        leave(&mut self.rig, 0, self.ids[group], Some(proof))
    }

    /// Retires a group that owns nothing, and leaves it.
    #[track_caller]
    fn retires(&mut self, group: usize) -> Retired {
        self.must(group, Change::Retire);
        self.leave_by(group, group).expect("its last entry is committed")
    }

    fn end(&mut self, group: usize, retired: Retired) -> Result<(), Refusal> {
        let id = self.newest_id(group);
        self.try_change(group, Change::End(id, retired))
    }

    fn statement(&mut self, group: usize) -> GroupStatement {
        let id = self.ids[group];
        let groups = self.rig.devices[0].status().groups;
        groups.into_iter().find(|status| status.statement.group == id).expect("a member").statement
    }
}

pub(super) fn records_lost_with_their_group(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    groups.change(S, Change::Retire)
}

pub(super) fn prefix_let_go_to_a_group_that_has_retired(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S));
    groups.change(D, Change::Retire) && groups.let_go(S, D)
}

pub(super) fn prefix_given_up_that_a_retired_group_let_go(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D));
    if !groups.change(S, Change::Retire) {
        return false;
    }
    let retired = groups.leave_by(S, S).expect("its last entry is committed");
    groups.end(D, retired).is_ok()
}

pub(super) fn prefix_taken_after_the_last_entry(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    groups.must(E, Change::Retire);
    // Whoever leaves by that entry leaves behind all that comes after it.
    groups.wait(E, Prefix::WHOLE, S) && groups.let_go(S, E) && groups.take(E, S)
}

pub(super) fn prefix_taken_in_another_leadership_after_the_last_entry(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    groups.must(E, Change::Retire);
    let last = groups.newest[E].entry.clone();
    groups.rig.group = groups.ids[E];
    assert!(matches!(groups.rig.lead(0, Some(&last)), Reply::Leading(_)));
    groups.wait(E, Prefix::WHOLE, S) && groups.let_go(S, E) && groups.take(E, S)
}

/// Three HSMs in a group that owns nothing, and the entry that all of them have captured, committed by the first.
struct Three {
    rig: Rig,
    first: Evidence,
}

impl Three {
    fn new(bug: Option<Bug>) -> Self {
        let mut rig = Rig::new(3, bug);
        rig.group = second_group(&mut rig).group;
        assert!(matches!(rig.lead(0, None), Reply::Leading(_)));
        let request = empty(rig.group);
        let first = made(&mut rig, 0, &request);
        let first = commits(&mut rig, 0, first, &[0, 1, 2]);
        Self { rig, first }
    }

    /// A last entry, made by a member that leads. Nobody has captured it.
    fn last(&mut self, leader: usize) -> Entry {
        let request = Request::Change(self.rig.group, Change::Retire);
        made(&mut self.rig, leader, &request)
    }

    fn leave(&mut self, at: usize, proof: Option<Retirement>) -> Result<Retired, Refusal> {
        let group = self.rig.group;
        leave(&mut self.rig, at, group, proof)
    }

    fn lead(&mut self, at: usize, entry: &Entry) {
        assert!(matches!(self.rig.lead(at, Some(entry)), Reply::Leading(_)));
    }
}

fn made(rig: &mut Rig, leader: usize, request: &Request) -> Entry {
    let reply = rig.devices[leader].ask(request);
    let Reply::Processed { made: Some(made), .. } = reply else { panic!("{reply:?}") };
    made.entry
}

fn commits(rig: &mut Rig, leader: usize, entry: Entry, by: &[usize]) -> Evidence {
    let statements: Vec<Captured> =
        by.iter().map(|at| rig.captured(*at, std::slice::from_ref(&entry))).collect();
    let (committed, _) = rig.committed(leader, &statements);
    Evidence { entry, committed }
}

pub(super) fn group_left_that_goes_on_without_its_last_entry(bug: Option<Bug>) -> bool {
    let mut three = Three::new(bug);
    let entry = three.last(0);
    let Captured { hsm, index, hash, mac } = three.rig.captured(0, std::slice::from_ref(&entry));
    let committed = Committed { hsm, index, hash, mac };
    if three.leave(0, Some(Retirement::Entry(Box::new(Evidence { entry, committed })))).is_err() {
        return false;
    }
    let first = three.first.entry.clone();
    three.lead(1, &first);
    let request = empty(three.rig.group);
    let next = made(&mut three.rig, 1, &request);
    commits(&mut three.rig, 1, next, &[1, 2]);
    true
}

pub(super) fn group_left_that_goes_on(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    groups.leave_by(S, S).is_ok()
}

/// A host can have a group of its own retire at any time.
pub(super) fn group_left_because_another_has_retired(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    groups.must(E, Change::Retire);
    groups.leave_by(S, E).is_ok()
}

pub(super) fn group_left_because_another_is_said_to_have_retired(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    let retired = groups.retires(E);
    let group = groups.ids[S];
    leave(&mut groups.rig, 0, group, Some(Retirement::Stated(retired))).is_ok()
}

/// What it has captured was never committed, and is further on than the last entry.
pub(super) fn member_on_a_longer_fork_that_never_leaves(bug: Option<Bug>) -> bool {
    let mut three = Three::new(bug);
    let first = three.first.entry.clone();
    three.lead(2, &first);
    let request = empty(three.rig.group);
    let fork = [made(&mut three.rig, 2, &request), made(&mut three.rig, 2, &request)];
    three.rig.captured(2, &fork);
    let last = three.last(0);
    let last = commits(&mut three.rig, 0, last, &[0, 1]);
    three.leave(2, Some(Retirement::Entry(Box::new(last)))).is_err()
}

/// The last entry and its statement are lost; the others wait for what the first has said once.
pub(super) fn member_that_never_leaves_because_a_reply_was_lost(bug: Option<Bug>) -> bool {
    let mut three = Three::new(bug);
    let last = three.last(0);
    let last = commits(&mut three.rig, 0, last, &[0, 1]);
    assert!(three.leave(0, Some(Retirement::Entry(Box::new(last)))).is_ok());
    three.rig.devices[0].restart();
    let Ok(again) = three.leave(0, None) else { return true };
    (1..3).any(|at| three.leave(at, Some(Retirement::Stated(again))).is_err())
}

/// The realm's first group begins with everything.
pub(super) fn whole_space_owned_again_by_a_group_joined_anew(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    let statement = groups.statement(S);
    groups.moves(S, D, Prefix::WHOLE);
    groups.retires(S);
    groups.rig.devices[0].restart();
    if !matches!(groups.rig.devices[0].ask(&Request::JoinGroup(statement)), Reply::Group(_)) {
        return false;
    }
    groups.rig.group = groups.ids[S];
    assert!(matches!(groups.rig.lead(0, None), Reply::Leading(_)));
    groups.tree = Tree::new(Prefix::WHOLE);
    groups.serves(S, Prefix::WHOLE)
}

pub(super) fn nvram_filled_with_retired_groups(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    for _ in 0..MAX_RETIRED {
        let id = another_group(&mut groups.rig);
        let group = groups.add(id);
        groups.retires(group);
    }
    assert_eq!(groups.rig.devices[0].status().retired.len(), MAX_RETIRED);
    groups.must(E, Change::Retire);
    let before = groups.rig.devices[0].status().groups;
    match groups.leave_by(E, E) {
        Ok(_) => true,
        Err(refusal) => {
            assert_eq!(refusal, Refusal::NoRoomToLeave);
            // Nothing is lost, and who has left says so all the same.
            assert_eq!(groups.rig.devices[0].status().groups, before);
            let first = groups.ids[3];
            assert!(leave(&mut groups.rig, 0, first, None).is_ok());
            groups.rig.devices[0].restart();
            assert_eq!(groups.rig.devices[0].status().groups.len(), before.len());
            false
        }
    }
}

pub(super) fn no_room_for_a_group_after_others_have_retired(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    let member = groups.rig.devices[0].status().realm.expect("made").member;
    for _ in 0..MAX_GROUPS {
        let Reply::Group(statement) = groups.rig.devices[0].ask(&Request::NewGroup(vec![member])) else {
            return true;
        };
        let group = groups.add(statement.group);
        groups.retires(group);
    }
    false
}

pub(super) fn group_served_by_the_leadership_of_another(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    groups.moves(S, D, Prefix::WHOLE);
    groups.retires(S);
    assert!(groups.serves(D, Prefix::WHOLE) || bug.is_some());
    groups.serves(E, Prefix::WHOLE)
}

pub(super) fn memory_filled_with_replies_of_a_group_that_was_left(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    let limits = groups.rig.devices[0].status().limits;
    groups.open(S);
    for _ in 0..limits.max_pending_replies / limits.max_batch_requests {
        let reads: Vec<_> =
            (0..limits.max_batch_requests).map(|_| groups.user.send(&SecretsRequest::Recover1)).collect();
        let reply = groups.rig.process(0, &groups.tree, &reads);
        let Reply::Processed { outcomes, .. } = reply else { panic!("{reply:?}") };
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Read(_))));
    }
    groups.moves(S, D, Prefix::WHOLE);
    groups.retires(S);
    groups.open(D);
    let read = groups.user.send(&SecretsRequest::Recover1);
    groups.rig.process(0, &groups.tree, &[read]) == Reply::Refused(Refusal::Busy)
}

/// The source may still let go what waited there.
pub(super) fn transfer_ended_because_another_group_has_retired(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S));
    let (id, waited) = (groups.newest_id(D), groups.newest[D].clone());
    let retired = groups.retires(E);
    groups.end(D, retired).is_ok() && groups.change(S, Change::Out(id, waited))
}

#[test]
fn entries_that_are_not_committed_or_that_nobody_stated_are_no_proof_of_a_retirement() {
    let attack = |bug: Bug, forge: fn(&mut Evidence)| {
        [None, Some(bug)].map(|bug| {
            let mut three = Three::new(bug);
            let entry = three.last(0);
            let mut proof = Evidence { entry, committed: three.first.committed };
            forge(&mut proof);
            three.leave(0, Some(Retirement::Entry(Box::new(proof))))
        })
    };
    let [sound, planted] = attack(Bug::EvidenceUncommitted, |_| ());
    assert!(sound == Err(Refusal::NotCommitted) && planted.is_ok());
    let [sound, planted] = attack(Bug::EvidenceUnstated, |proof| proof.committed.hash = proof.entry.hash());
    assert!(sound == Err(Refusal::NotAuthentic) && planted == Err(Refusal::NotCommitted));
    let [sound, planted] = attack(Bug::EvidenceUnstated, |proof| {
        (proof.committed.index, proof.committed.hash) = (proof.entry.index, proof.entry.hash());
    });
    assert!(sound == Err(Refusal::NotAuthentic) && planted.is_ok());
}

#[test]
fn an_entry_that_a_host_calls_the_last_is_another_entry() {
    let mut three = Three::new(None);
    let mut proof = three.first.clone();
    proof.entry.last = true;
    assert_ne!(proof.entry.hash(), three.first.entry.hash());
    assert_eq!(three.leave(1, Some(Retirement::Entry(Box::new(proof.clone())))), Err(Refusal::NotCommitted));
    proof.entry.last = false;
    assert_eq!(three.leave(1, Some(Retirement::Entry(Box::new(proof)))), Err(Refusal::NotRetired));
    assert_eq!(three.leave(1, None), Err(Refusal::NotRetired));
}

/// The reply to `Commit` is thrown away, and its leader has restarted.
#[test]
fn a_last_entry_is_committed_again_by_whoever_leads_from_it() {
    let mut three = Three::new(None);
    let last = three.last(0);
    let statements = [0, 1].map(|at| three.rig.captured(at, std::slice::from_ref(&last)));
    three.rig.devices[0].restart();
    three.lead(1, &last);
    for request in [empty(three.rig.group), Request::Change(three.rig.group, Change::Retire)] {
        assert_eq!(three.rig.devices[1].refusal(&request), Some(Refusal::Retired));
    }
    let (committed, _) = three.rig.committed(1, &statements);
    let proof = Retirement::Entry(Box::new(Evidence { entry: last, committed }));
    for at in [2, 1, 0] {
        assert!(three.leave(at, Some(proof.clone())).is_ok());
    }
}

/// A leadership from before the last entry is as good as any that is beaten: it commits nothing.
#[test]
fn a_leader_that_knows_nothing_of_the_last_entry_commits_nothing_beside_it() {
    let mut three = Three::new(None);
    let first = three.first.entry.clone();
    three.lead(2, &first);
    let last = three.last(0);
    let last = commits(&mut three.rig, 0, last, &[0, 1]);
    let request = empty(three.rig.group);
    let beside = made(&mut three.rig, 2, &request);
    let own = three.rig.captured(2, std::slice::from_ref(&beside));
    for at in 0..2 {
        let reply = three.rig.capture(at, std::slice::from_ref(&beside));
        assert_eq!(reply, Reply::Refused(Refusal::NotConsecutive));
        assert!(three.leave(at, Some(Retirement::Entry(Box::new(last.clone())))).is_ok());
        let reply = three.rig.capture(at, std::slice::from_ref(&beside));
        assert_eq!(reply, Reply::Refused(Refusal::Retired));
    }
    assert_eq!(three.rig.commit(2, &[own]), Reply::Refused(Refusal::NoMajority));
    // Its own leadership ends when it leaves.
    assert!(three.leave(2, Some(Retirement::Entry(Box::new(last)))).is_ok());
    assert_eq!(three.rig.commit(2, &[own]), Reply::Refused(Refusal::Retired));
}

/// It was named from the beginning, and begins with nothing captured.
#[test]
fn a_member_that_joins_only_after_the_end_finds_no_majority_and_leaves() {
    let mut rig = Rig::new(3, None);
    let members = [0, 1, 2].map(|at| rig.devices[at].status().realm.expect("joined").member);
    let Reply::Group(statement) = rig.devices[0].ask(&Request::NewGroup(members.to_vec())) else { panic!() };
    let join = Request::JoinGroup(statement.clone());
    assert!(matches!(rig.devices[1].ask(&join), Reply::Group(_)));
    rig.group = statement.group;
    assert!(matches!(rig.lead(0, None), Reply::Leading(_)));
    let last = made(&mut rig, 0, &Request::Change(statement.group, Change::Retire));
    let proof = Retirement::Entry(Box::new(commits(&mut rig, 0, last, &[0, 1])));
    let retired =
        [0, 1].map(|at| leave(&mut rig, at, statement.group, Some(proof.clone())).expect("committed"));

    assert!(matches!(rig.devices[2].ask(&join), Reply::Group(_)));
    assert!(matches!(rig.lead(2, None), Reply::Leading(_)));
    let beside = made(&mut rig, 2, &empty(statement.group));
    let own = rig.captured(2, std::slice::from_ref(&beside));
    for at in 0..2 {
        assert_eq!(rig.capture(at, std::slice::from_ref(&beside)), Reply::Refused(Refusal::Retired));
        assert_eq!(rig.devices[at].refusal(&join), Some(Refusal::Retired));
    }
    assert_eq!(rig.commit(2, &[own]), Reply::Refused(Refusal::NoMajority));
    assert!(leave(&mut rig, 2, statement.group, Some(Retirement::Stated(retired[1]))).is_ok());
}

#[test]
fn every_request_for_a_retired_group_is_refused_as_that_and_other_groups_are_as_they_were() {
    let mut groups = Groups::new(None, 2);
    let statement = groups.statement(D);
    let before = groups.rig.devices[0].status().groups;
    let last = {
        groups.retires(D);
        groups.newest[D].clone()
    };
    let group = groups.ids[D];
    let (_, handshake) = groups.user.handshake_only();
    let refused = [
        Request::JoinGroup(statement),
        Request::Jump(last.entry.clone(), last.committed),
        Request::Lead(group, None),
        Request::Lead(group, Some(last.entry.clone())),
        Request::StepDown(group),
        Request::Handshake(group, handshake),
        process_request(group, &groups.tree, &[]),
        Request::Fresh(group, Nonce([7; 16])),
        Request::DrawReadNonce(group),
        Request::Confirm { group, statements: Vec::new() },
        Request::Commit { group, statements: Vec::new() },
        Request::Change(group, Change::Refuse),
        Request::Change(group, Change::Retire),
    ];
    for restarted in [false, true] {
        if restarted {
            groups.rig.devices[0].restart();
        }
        for request in &refused {
            assert_eq!(groups.rig.devices[0].refusal(request), Some(Refusal::Retired), "{request:?}");
        }
        // With those of other groups, whose entries are captured all the same.
        let of = |group, entries| GroupEntries { group, entries };
        let other = of(groups.ids[S], vec![groups.newest[S].entry.clone()]);
        let reply =
            groups.rig.devices[0].ask(&Request::Capture(vec![of(group, vec![last.entry.clone()]), other]));
        let Reply::Captures(outcomes) = reply else { panic!("{reply:?}") };
        assert!(format!("{outcomes:?}").starts_with("[Refused(Retired), Captured("), "{outcomes:?}");
        let status = groups.rig.devices[0].status();
        assert_eq!(status.retired, [group]);
        let rest = |groups: &[strongroom_proto::hsm::GroupStatus]| {
            let rest = groups.iter().filter(|status| status.statement.group != group);
            rest.map(|status| (status.statement.clone(), status.captured_hash)).collect::<Vec<_>>()
        };
        assert_eq!(rest(&status.groups), rest(&before));
        let leads = status.groups.iter().filter(|status| matches!(status.role, Role::Leader { .. })).count();
        assert_eq!(leads, if restarted { 0 } else { 2 });
    }
    // And a group that this HSM was never in.
    let stranger = Request::Leave(GroupId([7; 16]), Some(Retirement::Entry(Box::new(last))));
    assert_eq!(groups.rig.devices[0].refusal(&stranger), Some(Refusal::NotMember));
}

/// With nothing at hand but what an HSM states anew.
#[test]
fn a_transfer_whose_other_side_has_retired_comes_to_an_end_on_either_side() {
    let mut groups = Groups::new(None, 1);
    // D waits for what goes elsewhere, and S has let go what was taken and moved on.
    assert!(groups.wait(D, Prefix::WHOLE, S));
    assert!(groups.wait(E, Prefix::WHOLE, S) && groups.let_go(S, E) && groups.take(E, S));
    groups.moves(E, S, Prefix::WHOLE);
    let id = groups.newest[S].entry.open[0].id();
    let retired = groups.retires(E);
    let again = leave(&mut groups.rig, 0, groups.ids[E], None).expect("it says so again");
    assert_eq!(again, retired);
    let before = groups.newest[S].entry.transfers;
    groups.must(S, Change::End(id, again));
    let entry = &groups.newest[S].entry;
    assert!(entry.open.is_empty() && !entry.last && entry.transfers == before + 1);
    // Once is enough.
    assert_eq!(groups.try_change(S, Change::End(id, again)), Err(Refusal::NoTransfer));

    let group = another_group(&mut groups.rig);
    let fourth = groups.add(group);
    groups.moves(S, fourth, Prefix::WHOLE);
    let decided = groups.newest[S].entry.transfers;
    let retired = groups.retires(S);
    assert_eq!(groups.newest[S].entry.transfers, decided + 1, "to retire is a decision");
    assert_eq!(groups.end(D, retired), Ok(()));
    assert!(groups.newest[D].entry.open.is_empty());
    groups.retires(D);
    assert_eq!(groups.rig.devices[0].status().retired.len(), 3);
    assert!(groups.serves(fourth, Prefix::WHOLE));
}

#[test]
fn a_group_retires_once_and_not_while_anything_of_it_is_open() {
    let mut groups = Groups::new(None, 1);
    assert_eq!(groups.try_change(S, Change::Retire), Err(Refusal::InUse));
    assert!(groups.wait(D, Prefix::WHOLE, S));
    assert_eq!(groups.try_change(D, Change::Retire), Err(Refusal::InUse));
    assert!(groups.let_go(S, D));
    assert_eq!(groups.try_change(S, Change::Retire), Err(Refusal::InUse));
    assert!(groups.take(D, S) && groups.close(S, D));
    groups.must(S, Change::Retire);
    assert!(groups.newest[S].entry.last);
    for change in [Change::Retire, Change::Refuse] {
        assert_eq!(groups.try_change(S, change), Err(Refusal::Retired));
    }
    // Its last entry can be stated again, and captured again, as long as nobody has left.
    let last = groups.newest[S].entry.clone();
    groups.rig.group = groups.ids[S];
    assert_eq!(evidence(&mut groups.rig, last), groups.newest[S]);
    assert_eq!(groups.rig.devices[0].status().retired, []);
}
