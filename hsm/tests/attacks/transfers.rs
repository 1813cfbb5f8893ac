//! Attacks on what a group owns, and on moving it: one HSM, which is alone in three groups, so that everything commits at
//! once.

use super::common::{self, Rig, User, evaluations, process_request};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_hsm_planted::Bug;
use strongroom_proto::change::{Change, Evidence};
use strongroom_proto::client::{AttemptsResponse, Recover1Response, SecretsRequest, SecretsResponse};
use strongroom_proto::entry::{Entry, MAX_AWAITED, MAX_PARTITIONS, MAX_PREFIX_BITS, Partition};
use strongroom_proto::hsm::{BatchRequest, Outcome, PrefixTree, Refusal, Reply, Request};
use strongroom_proto::ids::{Digest, GroupId, Mac, RecordId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Committed;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::{ClaimedTree, Tree};

/// Everything is in the first group.
pub(super) const S: usize = 0;
pub(super) const D: usize = 1;
pub(super) const E: usize = 2;

/// Three groups, and a user who has registered in the first.
pub(super) struct Groups {
    pub(super) rig: Rig,
    pub(super) ids: Vec<GroupId>,
    pub(super) tree: Tree,
    pub(super) user: User,
    /// The newest entry of each, which is committed.
    pub(super) newest: Vec<Evidence>,
}

impl Groups {
    pub(super) fn new(bug: Option<Bug>, guesses: u16) -> Self {
        let mut rig = Rig::new(1, bug);
        let ids = [rig.group, another_group(&mut rig), another_group(&mut rig)];
        let user = User::new(&rig, 1, guesses);
        let mut groups = Self { rig, ids: Vec::new(), tree: super::whole(), user, newest: Vec::new() };
        for id in ids {
            groups.add(id);
        }
        groups.open(S);
        let request = groups.user.register2();
        let answers = groups.answers(S, &[request]);
        assert_eq!(answers, [SecretsResponse::Register2]);
        groups
    }

    /// Leads another group. Returns which it is.
    pub(super) fn add(&mut self, group: GroupId) -> usize {
        self.rig.group = group;
        assert!(matches!(self.rig.lead(0, None), Reply::Leading(_)));
        self.newest.push(committed(&mut self.rig, &empty(group)).expect("it leads"));
        self.ids.push(group);
        self.ids.len() - 1
    }

    pub(super) fn open(&mut self, group: usize) {
        self.rig.group = self.ids[group];
        self.rig.open(0, &mut self.user);
    }

    /// Has the owner of everything run requests.
    fn answers(&mut self, group: usize, requests: &[BatchRequest]) -> Vec<SecretsResponse> {
        self.rig.group = self.ids[group];
        let (made, replies) = self.rig.run(0, &mut self.tree, requests);
        self.newest[group] = evidence(&mut self.rig, made.entry);
        replies.iter().map(|reply| self.user.read(reply)).collect()
    }

    /// What the owner of everything says of the requests that counted.
    pub(super) fn attempts(&mut self, group: usize) -> AttemptsResponse {
        self.open(group);
        let request = self.user.send(&SecretsRequest::Attempts);
        let replies = self.rig.read(0, &self.tree, &[request]);
        match self.user.read(&replies[0]) {
            SecretsResponse::Attempts(attempts) => *attempts,
            other => panic!("{other:?}"),
        }
    }

    /// Guesses once at the owner of everything, in a new session. Returns whether it was evaluated.
    pub(super) fn guess(&mut self, group: usize) -> bool {
        self.open(group);
        let request = self.user.recover2();
        let answers = self.answers(group, &[request]);
        evaluations(&answers) == 1
    }

    /// Changes what a group owns, and commits that. Returns whether it was not refused.
    pub(super) fn change(&mut self, group: usize, change: Change) -> bool {
        self.try_change(group, change).is_ok()
    }

    pub(super) fn try_change(&mut self, group: usize, change: Change) -> Result<(), Refusal> {
        self.rig.group = self.ids[group];
        self.newest[group] = committed(&mut self.rig, &Request::Change(self.ids[group], change))?;
        Ok(())
    }

    /// As [`Self::change`], where nothing is attacked yet.
    #[track_caller]
    pub(super) fn must(&mut self, group: usize, change: Change) {
        self.try_change(group, change).expect("it is allowed");
    }

    /// Step 1, with the source as it is now.
    pub(super) fn wait(&mut self, group: usize, prefix: Prefix, source: usize) -> bool {
        let evidence = self.newest[source].clone();
        self.change(group, Change::In(prefix, evidence))
    }

    /// The newest transfer that a group has open, or had open before it closed the last.
    pub(super) fn newest_id(&self, group: usize) -> TransferId {
        self.newest[group].entry.open.last().map_or(TransferId([0; 16]), Transfer::id)
    }

    /// Step 2, with the destination as it is now.
    pub(super) fn let_go(&mut self, group: usize, destination: usize) -> bool {
        let (id, evidence) = (self.newest_id(destination), self.newest[destination].clone());
        self.change(group, Change::Out(id, evidence))
    }

    /// Step 3, with the source as it is now.
    pub(super) fn take(&mut self, group: usize, source: usize) -> bool {
        let (id, evidence) = (self.newest_id(source), self.newest[source].clone());
        self.change(group, Change::Take(id, evidence))
    }

    /// Instead of step 3, with any group as it is now.
    fn give_up(&mut self, group: usize, source: usize) -> bool {
        let (id, evidence) = (self.newest_id(group), self.newest[source].clone());
        self.change(group, Change::GiveUp(id, evidence))
    }

    /// Step 4, with any group as it is now.
    pub(super) fn close(&mut self, group: usize, destination: usize) -> bool {
        let evidence = self.newest[destination].clone();
        self.close_by(group, evidence)
    }

    fn close_by(&mut self, group: usize, evidence: Evidence) -> bool {
        let id = self.newest_id(group);
        self.change(group, Change::Close(id, evidence))
    }

    /// Moves a prefix, all four steps.
    #[track_caller]
    pub(super) fn moves(&mut self, from: usize, to: usize, prefix: Prefix) {
        assert!(self.wait(to, prefix, from) && self.let_go(from, to));
        assert!(self.take(to, from) && self.close(from, to));
    }

    /// Splits a prefix of a group.
    fn split(&mut self, group: usize, prefix: Prefix) -> bool {
        let tree = self.below(prefix);
        self.change(group, Change::Split(prefix, tree))
    }

    /// The tree below a prefix, as far as its root is opened, and the path to a record.
    fn path(&self, prefix: Prefix, record: Option<RecordId>) -> ClaimedTree {
        let mut tree = Tree::new(prefix);
        let below = self.tree.leaves().filter(|leaf| prefix.contains(&leaf.record_id()));
        let below: Vec<_> =
            below.map(|leaf| (leaf.record_id(), leaf.sealed().expect("whole").clone())).collect();
        // The path to any record opens the root, which is all that there is of a single leaf.
        let opened = record.or(below.first().filter(|_| below.len() == 1).map(|(id, _)| *id));
        tree.update(below).expect("it is whole");
        let partial = tree.partial(opened.as_slice()).expect("whole").encode();
        let claimed = ClaimedTree::decode(&partial).expect("decodes");
        if claimed.nodes() > 1 || tree.root() == Digest::EMPTY || opened.is_some() {
            return claimed;
        }
        let (left, right) = tree.halves().expect("whole");
        let side = |digest: Digest| match digest {
            Digest::EMPTY => vec![0x81, 0x00],
            Digest(bytes) => [&[0x82, 0x02, 0x58, 0x20][..], &bytes].concat(),
        };
        let nodes = [&[0x83, 0x81, 0x01][..], &side(left), &side(right)].concat();
        ClaimedTree::decode(&nodes).expect("decodes")
    }

    /// The tree below a prefix, as far as its root is opened.
    fn below(&self, prefix: Prefix) -> ClaimedTree {
        self.path(prefix, None)
    }

    /// Which group owns a record, by the newest entries, and under which prefix.
    #[track_caller]
    fn owner(&self, record: &RecordId) -> (usize, Prefix) {
        let mut owners = Vec::new();
        for (group, newest) in self.newest.iter().enumerate() {
            let partitions = newest.entry.partitions.iter().filter(|p| p.prefix.contains(record));
            owners.extend(partitions.map(|p| (group, p.prefix)));
        }
        assert_eq!(owners.len(), 1, "a record has one owner");
        owners[0]
    }

    /// Has a request run where the record is, in a new session.
    fn ask(&mut self, user: &mut User, request: impl FnOnce(&mut User) -> BatchRequest) -> SecretsResponse {
        let (group, prefix) = self.owner(&user.record);
        self.rig.group = self.ids[group];
        self.rig.open(0, user);
        let requests = vec![request(user)];
        let trees = vec![PrefixTree { prefix, tree: self.path(prefix, Some(user.record)) }];
        let request = Request::Process { group: self.ids[group], trees, requests };
        let Reply::Processed { made: Some(made), .. } = self.rig.devices[0].ask(&request) else { panic!() };
        let leaves = made.leaves.iter().map(|leaf| (leaf.record, leaf.sealed.to_vec().into()));
        self.tree.update(leaves).expect("it is whole");
        let statement = self.rig.captured(0, std::slice::from_ref(&made.entry));
        let (committed, released) = self.rig.committed(0, &[statement]);
        self.newest[group] = Evidence { entry: made.entry, committed };
        user.read(&released[0].replies[0])
    }

    /// Whether a group makes an entry over a tree at this prefix.
    pub(super) fn serves(&mut self, group: usize, prefix: Prefix) -> bool {
        let trees = vec![PrefixTree { prefix, tree: self.below(prefix) }];
        let request = Request::Process { group: self.ids[group], trees, requests: Vec::new() };
        matches!(self.rig.devices[0].ask(&request), Reply::Processed { .. })
    }
}

fn claim(tree: &Tree, opened: &[RecordId]) -> ClaimedTree {
    ClaimedTree::decode(&tree.partial(opened).expect("whole").encode()).expect("decodes")
}

/// A tree of which only the root's digest is there.
fn stub(root: Digest) -> ClaimedTree {
    ClaimedTree::decode(&[&[0x81, 0x82, 0x02, 0x58, 0x20][..], &root.0].concat()).expect("decodes")
}

pub(super) fn another_group(rig: &mut Rig) -> GroupId {
    super::second_group(rig).group
}

pub(super) fn empty(group: GroupId) -> Request {
    Request::Process { group, trees: Vec::new(), requests: Vec::new() }
}

/// Has an entry made, captures and commits it.
fn committed(rig: &mut Rig, request: &Request) -> Result<Evidence, Refusal> {
    match rig.devices[0].ask(request) {
        Reply::Processed { made: Some(made), .. } => Ok(evidence(rig, made.entry)),
        Reply::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

pub(super) fn evidence(rig: &mut Rig, entry: Entry) -> Evidence {
    let statement = rig.captured(0, std::slice::from_ref(&entry));
    let (committed, _) = rig.committed(0, &[statement]);
    Evidence { entry, committed }
}

/// The halves of everything: the user's, and the other.
fn halves(groups: &Groups) -> (Prefix, Prefix) {
    let (left, right) = Prefix::WHOLE.children().expect("it has halves");
    if left.contains(&groups.user.record) { (left, right) } else { (right, left) }
}

pub(super) fn prefix_owned_twice_after_a_split(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 2);
    assert!(groups.split(S, Prefix::WHOLE));
    groups.serves(S, Prefix::WHOLE)
}

pub(super) fn prefix_owned_twice_after_a_merge(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 2);
    assert!(groups.split(S, Prefix::WHOLE));
    let (left, right) = Prefix::WHOLE.children().expect("it has halves");
    let (of_left, of_right) = (groups.below(left), groups.below(right));
    groups.must(S, Change::Merge(Prefix::WHOLE, of_left, of_right));
    groups.serves(S, right)
}

pub(super) fn records_lost_by_a_split_of_a_stub(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 2);
    let root = groups.tree.root();
    groups.change(S, Change::Split(Prefix::WHOLE, stub(root)))
}

pub(super) fn root_that_no_hsm_made_by_a_merge_of_stubs(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 2);
    assert!(groups.split(S, Prefix::WHOLE));
    let (left, right) = Prefix::WHOLE.children().expect("it has halves");
    let root = groups.tree.root();
    let of = |groups: &Groups, half: Prefix| match half.contains(&groups.user.record) {
        true => stub(root),
        false => claim(&Tree::new(half), &[]),
    };
    let (of_left, of_right) = (of(&groups, left), of(&groups, right));
    groups.change(S, Change::Merge(Prefix::WHOLE, of_left, of_right))
}

pub(super) fn change_with_a_deep_tree(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 2);
    let other = |at: usize| {
        let RecordId(mut id) = groups.user.record;
        id[at / 8] ^= 0x80 >> (at % 8);
        RecordId(id)
    };
    let sealed: std::sync::Arc<[u8]> = vec![7; 9].into();
    let mut tree = groups.tree.clone();
    tree.update([(other(9), sealed)]).expect("it is whole");
    // Not this group's tree: what counts is whether it is read before its size is looked at.
    let tree = claim(&tree, &[groups.user.record]);
    groups.try_change(S, Change::Split(Prefix::WHOLE, tree)) != Err(Refusal::TooLarge)
}

pub(super) fn more_prefixes_than_an_entry_may_have(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 2);
    split_into(&mut groups, S, Prefix::WHOLE, MAX_PARTITIONS + 1)
}

/// Splits a prefix until a group owns one fewer, and then once more. Returns whether that is not refused.
fn split_into(groups: &mut Groups, group: usize, prefix: Prefix, count: usize) -> bool {
    let mut next = prefix;
    while groups.newest[group].entry.partitions.len() + 1 < count {
        assert!(groups.split(group, next));
        (next, _) = next.children().expect("not that deep");
    }
    let last = Request::Change(groups.ids[group], Change::Split(next, groups.below(next)));
    let reply = groups.rig.devices[0].handle(&minicbor::to_vec(last).expect("encodes"));
    // With too many it cannot be read.
    !matches!(minicbor::decode(&reply), Ok(Reply::Refused(Refusal::NoRoomForPrefix)))
}

/// Halves beside the way are given to groups that take no more than they have room for.
pub(super) fn prefix_longer_than_an_entry_has_room_for(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 2);
    let mut prefix = Prefix::WHOLE;
    let mut room = Vec::new();
    while prefix.len() < MAX_PREFIX_BITS {
        assert!(groups.split(S, prefix));
        let (left, right) = prefix.children().expect("not that deep");
        if room.len() < usize::from(prefix.len() / 15) + 1 {
            let group = another_group(&mut groups.rig);
            room.push(groups.add(group));
        }
        groups.moves(S, room[room.len() - 1], right);
        prefix = left;
    }
    groups.split(S, prefix)
}

pub(super) fn no_room_for_what_is_to_come(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 2);
    assert!(groups.split(S, Prefix::WHOLE));
    let (user, other) = halves(&groups);
    groups.moves(S, D, other);
    assert!(groups.wait(D, user, S));
    split_into(&mut groups, D, other, MAX_PARTITIONS)
}

/// The step that broke another realm: an old step 2 brings back the root from before the guesses.
pub(super) fn old_step_2_replayed_after_the_prefix_moved_on(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D));
    let let_go = groups.newest[S].clone();
    let before = groups.tree.clone();
    assert!(groups.take(D, S) && groups.close(S, D));
    let first = groups.guess(D);
    groups.moves(D, S, Prefix::WHOLE);
    assert!(groups.wait(D, Prefix::WHOLE, S));
    let id = groups.newest_id(D);
    if !groups.change(D, Change::Take(id, let_go)) {
        return false;
    }
    groups.tree = before;
    first && groups.guess(D)
}

pub(super) fn prefix_taken_twice(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D) && groups.take(D, S));
    groups.take(D, S)
}

pub(super) fn prefix_served_by_its_former_owner(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D));
    groups.serves(S, Prefix::WHOLE)
}

pub(super) fn prefix_let_go_after_a_refusal(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S));
    groups.must(S, Change::Refuse);
    groups.let_go(S, D)
}

pub(super) fn prefix_let_go_to_a_group_that_waits_for_another(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    // Whoever takes it has then made as many decisions as the source had when the other began to wait.
    groups.must(S, Change::Refuse);
    assert!(groups.wait(D, Prefix::WHOLE, S));
    groups.moves(S, E, Prefix::WHOLE);
    groups.let_go(E, D)
}

pub(super) fn prefix_given_up_that_later_entries_do_not_show(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D));
    let request = empty(groups.ids[S]);
    groups.rig.group = groups.ids[S];
    groups.newest[S] = committed(&mut groups.rig, &request).expect("it leads");
    groups.give_up(D, S)
}

pub(super) fn group_that_waits_for_good(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.wait(E, Prefix::WHOLE, S) && groups.let_go(S, E));
    !groups.give_up(D, S)
}

pub(super) fn more_transfers_than_a_group_may_wait_for(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    let mut prefix = Prefix::WHOLE;
    for _ in 0..MAX_AWAITED {
        assert!(groups.split(S, prefix));
        let (left, right) = prefix.children().expect("not that deep");
        assert!(groups.wait(D, right, S));
        prefix = left;
    }
    let last = Request::Change(groups.ids[D], Change::In(prefix, groups.newest[S].clone()));
    let reply = groups.rig.devices[0].handle(&minicbor::to_vec(last).expect("encodes"));
    // With too many it cannot be read.
    !matches!(minicbor::decode(&reply), Ok(Reply::Refused(Refusal::TooManyTransfers)))
}

fn prefix_awaited_twice(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S));
    groups.wait(D, Prefix::WHOLE, S)
}

pub(super) fn prefix_awaited_that_nobody_owns(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    groups.wait(D, Prefix::WHOLE, E)
}

pub(super) fn prefix_awaited_that_has_come(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    let owned = groups.newest[S].clone();
    groups.moves(S, D, Prefix::WHOLE);
    groups.change(D, Change::In(Prefix::WHOLE, owned)) && prefix_awaited_twice(bug)
}

pub(super) fn prefix_awaited_from_oneself(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    let owned = groups.newest[S].clone();
    groups.moves(S, D, Prefix::WHOLE);
    groups.change(S, Change::In(Prefix::WHOLE, owned))
}

pub(super) fn prefix_given_up_before_a_decision(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S));
    groups.give_up(D, S)
}

pub(super) fn prefix_given_up_that_was_let_go(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D));
    groups.give_up(D, S)
}

pub(super) fn prefix_given_up_by_a_strangers_decision(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S));
    groups.must(E, Change::Refuse);
    groups.give_up(D, E)
}

pub(super) fn prefix_closed_before_it_was_taken(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    let before = groups.newest[D].clone();
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D));
    groups.close_by(S, before)
}

pub(super) fn prefix_closed_that_is_awaited(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D));
    groups.must(D, Change::Refuse);
    groups.close(S, D)
}

pub(super) fn prefix_closed_by_a_strangers_decision(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D));
    groups.must(E, Change::Refuse);
    groups.close(S, E)
}

pub(super) fn transfer_that_never_closes(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D) && groups.take(D, S));
    !groups.close(S, D)
}

/// Each waits for the other, and could let nothing go.
pub(super) fn two_groups_that_wait_for_each_other(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.split(S, Prefix::WHOLE));
    let (user, other) = halves(&groups);
    groups.moves(S, D, other);
    assert!(groups.wait(S, other, D) && groups.wait(D, user, S));
    !groups.change(S, Change::Refuse)
}

pub(super) fn evidence_that_no_hsm_stated(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    let mut forged = groups.newest[E].clone();
    forged.entry.partitions = vec![Partition { prefix: Prefix::WHOLE, root: Digest::EMPTY }];
    let Committed { hsm, index, .. } = forged.committed;
    forged.committed = Committed { hsm, index, hash: forged.entry.hash(), mac: Mac(Digest([7; 32])) };
    groups.change(D, Change::In(Prefix::WHOLE, forged))
}

/// The source's leader lets the prefix go in an entry that never commits, and another takes its place.
pub(super) fn evidence_from_an_uncommitted_entry(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S));
    let before = groups.newest[S].clone();
    let (id, waits) = (groups.newest_id(D), groups.newest[D].clone());
    let request = Request::Change(groups.ids[S], Change::Out(id, waits));
    let Reply::Processed { made: Some(made), .. } = groups.rig.devices[0].ask(&request) else { panic!() };
    groups.rig.group = groups.ids[S];
    assert!(matches!(groups.rig.lead(0, Some(&before.entry)), Reply::Leading(_)));
    let evidence = Evidence { entry: made.entry, committed: before.committed };
    groups.change(D, Change::Take(id, evidence)) && groups.serves(S, Prefix::WHOLE)
}

/// What the destination reads must not be told before the entry that took it is committed.
pub(super) fn what_was_taken_read_before_a_commit(bug: Option<Bug>) -> bool {
    let mut groups = Groups::new(bug, 1);
    assert!(groups.wait(D, Prefix::WHOLE, S) && groups.let_go(S, D));
    let (id, let_go) = (groups.newest_id(S), groups.newest[S].clone());
    let request = Request::Change(groups.ids[D], Change::Take(id, let_go));
    assert!(matches!(groups.rig.devices[0].ask(&request), Reply::Processed { .. }));
    groups.open(D);
    let request = groups.user.send(&SecretsRequest::Recover1);
    let request = process_request(groups.ids[D], &groups.tree, &[request]);
    let Reply::Processed { outcomes, made: None } = groups.rig.devices[0].ask(&request) else { panic!() };
    assert!(matches!(outcomes[..], [Outcome::Read(_)]) && common::waits(&outcomes[0]));
    let nonce = groups.rig.read_nonce(0);
    let statements = groups.rig.fresh(&[0], nonce);
    let Reply::Confirmed(reads) = groups.rig.confirm(0, &statements) else { return false };
    reads.iter().any(|read| {
        matches!(groups.user.read(&read.reply), SecretsResponse::Recover1(Recover1Response::Ok { .. }))
    })
}

/// Guesses, splits, merges and moves, in any order: nobody gets a guess more or less than was registered.
#[test]
fn counts_stay_with_their_records_through_splits_merges_and_moves() {
    const GUESSES: u16 = 3;
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut groups = Groups::new(None, GUESSES);
        let mut users: Vec<(User, u16)> =
            (0..12).map(|number| (User::new(&groups.rig, 100 + number, GUESSES), 0)).collect();
        for (user, _) in &mut users {
            assert_eq!(groups.ask(user, User::register2), SecretsResponse::Register2);
        }
        let mut moves = 0;
        for _ in 0..120 {
            let (user, used) = &mut users[rng.random_range(0..12)];
            let (group, prefix) = groups.owner(&user.record);
            match rng.random_range(0..4) {
                0 => {
                    let answer = groups.ask(user, User::recover2);
                    let expected = *used < GUESSES;
                    assert_eq!(evaluations(&[answer]) == 1, expected, "seed {seed}, {used} used");
                    *used += u16::from(expected);
                }
                1 => drop(groups.split(group, prefix)),
                2 => {
                    let Some(parent) = prefix.parent() else { continue };
                    let (left, right) = parent.children().expect("it has halves");
                    let (left, right) = (groups.below(left), groups.below(right));
                    // Refused where the other half is elsewhere, or in smaller pieces.
                    groups.change(group, Change::Merge(parent, left, right));
                }
                _ => {
                    let to = (group + rng.random_range(1..3)) % 3;
                    if groups.wait(to, prefix, group) {
                        assert!(
                            groups.let_go(group, to) && groups.take(to, group) && groups.close(group, to)
                        );
                        moves += 1;
                    }
                }
            }
        }
        assert!(moves > 10, "seed {seed}: {moves} moves");
    }
}
