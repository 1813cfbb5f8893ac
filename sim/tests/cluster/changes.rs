//! What a group owns changes under its replicas: prefixes are split and merged, leave, and come back, while users go on.

use crate::scenario::{PATIENCE_MS, assert_found, put_to_work, users};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_proto::change::{Change, Evidence};
use strongroom_proto::hsm::{BatchRequest, CaptureOutcome, NoiseMessage, Refusal, Reply, Request};
use strongroom_proto::ids::{GroupId, RecordId, SessionId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_replica::{Bug, Order, Ordered, Storage};
use strongroom_sim::cluster::{Cluster, User, Wish};

/// A Recover2 as it comes to an agent.
const GUESS_BYTES: usize = 89 + 16;

const RECOVER: [Wish; 2] = [Wish::Recover2, Wish::Recover3];

fn halves(prefix: Prefix) -> (Prefix, Prefix) {
    prefix.children().expect("it is short")
}

/// Gives an order to whoever leads, again if nobody did or if it is not known what became of it, with users at work
/// meanwhile. Only for what may be done twice, or is refused the second time.
fn ordered(cluster: &mut Cluster, users: &mut [User], order: &Order) -> Result<Evidence, Refusal> {
    let end = cluster.now() + PATIENCE_MS;
    while cluster.now() < end {
        let Some(leader) = cluster.leader() else {
            cluster.step();
            continue;
        };
        let id = cluster.order(leader, order.clone());
        let mut ended = None;
        cluster.run_until(20_000, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            ended = cluster.take_ordered(id);
            ended.is_some()
        });
        match ended.expect("an order ends") {
            Ordered::Done(shown) => return Ok(*shown),
            Ordered::Refused(refusal) => return Err(refusal),
            Ordered::NotLeader(_) | Ordered::Busy | Ordered::Unknown => cluster.run_for(50),
        }
    }
    panic!("nobody carries out {order:?}");
}

/// A group's prefixes as they are committed.
fn owned(shown: &Evidence) -> Vec<Prefix> {
    shown.entry.partitions.iter().map(|partition| partition.prefix).collect()
}

/// Snapshots at this pace.
fn cluster(seed: u64, members: usize, snapshot_after_ms: u64, bug: Option<Bug>) -> Cluster {
    let storage = Storage { snapshot_after_ms, grace_ms: 2_000, ..Storage::default() };
    let mut cluster = Cluster::with_storage(seed, members, storage);
    put_to_work(&mut cluster, bug);
    cluster
}

/// Every user finds what it has, and nothing was charged that it did not ask for.
fn recover(cluster: &mut Cluster, users: &mut [User]) {
    users.iter_mut().for_each(|user| user.wish(RECOVER));
    cluster.serve(PATIENCE_MS, users);
}

/// Splits down to eighths and merges up again, in any order, while users recover and agents end.
fn prefixes_split_and_merge_beside_users(bug: Option<Bug>) {
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let after_ms = if seed % 2 == 0 { 300 } else { 30_000 };
        let mut cluster = cluster(seed, 3, after_ms, bug);
        let mut users = users(&cluster, 12, &[Wish::Register]);
        cluster.serve(PATIENCE_MS, &mut users);
        let mut prefixes = vec![Prefix::WHOLE];
        for _ in 0..10 {
            users.iter_mut().for_each(|user| user.wish(RECOVER));
            let at = rng.random_range(0..prefixes.len());
            let prefix = prefixes[at];
            let parent = prefix.parent().filter(|parent| {
                let (left, right) = halves(*parent);
                prefixes.contains(&left) && prefixes.contains(&right)
            });
            let order = match parent.filter(|_| rng.random()) {
                Some(parent) => Order::Merge(parent),
                None if prefix.len() < 3 => Order::Split(prefix),
                None => continue,
            };
            let shown = match ordered(&mut cluster, &mut users, &order) {
                Ok(shown) => shown,
                // It was done the first time.
                Err(Refusal::NotCovered) => {
                    ordered(&mut cluster, &mut users, &Order::Show { stored: rng.random() }).expect("shown")
                }
                Err(refusal) => panic!("seed {seed}: {order:?} is refused: {refusal}"),
            };
            prefixes = owned(&shown);
            match (&order, &prefixes) {
                (Order::Split(whole), now) => assert!(!now.contains(whole), "seed {seed}"),
                (Order::Merge(whole), now) => assert!(now.contains(whole), "seed {seed}"),
                _ => {}
            }
            match rng.random_range(0..4) {
                0 => cluster.restart_agent(rng.random_range(0..3)),
                1 => cluster.restart_hsm(rng.random_range(0..3)),
                _ => cluster.run_for(rng.random_range(0..400)),
            }
        }
        cluster.serve(PATIENCE_MS, &mut users);
        recover(&mut cluster, &mut users);
        cluster.crash_all();
        (0..3).for_each(|member| cluster.start_agent(member));
        recover(&mut cluster, &mut users);
        ordered(&mut cluster, &mut users, &Order::Show { stored: true }).expect("it is stored");
        cluster.check_log();
        assert!(cluster.tree_damage().is_empty(), "seed {seed}: {:?}", cluster.tree_damage());
    }
}

/// A group of one HSM, which has no agent: the other side of a transfer.
struct Lone {
    member: usize,
    group: GroupId,
    newest: Evidence,
}

impl Lone {
    fn new(cluster: &mut Cluster, member: usize) -> Self {
        let Reply::Device(status) = cluster.ask_hsm(member, &Request::DeviceStatus) else {
            panic!("no status")
        };
        let statement = status.realm.expect("it has one").member;
        let Reply::Group(made) = cluster.ask_hsm(member, &Request::NewGroup(vec![statement])) else {
            panic!("no group")
        };
        let group = made.group;
        assert!(matches!(cluster.ask_hsm(member, &Request::Lead(group, None)), Reply::Leading(_)));
        let empty = Request::Process { group, trees: Vec::new(), requests: Vec::new() };
        let newest = Self::commit(cluster, member, &empty);
        Self { member, group, newest }
    }

    fn commit(cluster: &mut Cluster, member: usize, request: &Request) -> Evidence {
        let Reply::Processed { made: Some(made), .. } = cluster.ask_hsm(member, request) else {
            panic!("no entry")
        };
        let entry = made.entry;
        let capture = Request::capture(entry.group, vec![entry.clone()]);
        let Reply::Captures(outcomes) = cluster.ask_hsm(member, &capture) else { panic!("no capture") };
        let [CaptureOutcome::Captured(statement)] = &outcomes[..] else { panic!("not captured") };
        let commit = Request::Commit { group: entry.group, statements: vec![*statement] };
        let Reply::Committed { statement: committed, .. } = cluster.ask_hsm(member, &commit) else {
            panic!("no commit")
        };
        Evidence { entry, committed }
    }

    fn change(&mut self, cluster: &mut Cluster, change: Change) {
        self.newest = Self::commit(cluster, self.member, &Request::Change(self.group, change));
    }
}

fn open_id(shown: &Evidence) -> TransferId {
    shown.entry.open.last().map(Transfer::id).expect("one is open")
}

/// A half leaves the group right after its users were served, stays away while others are, and comes back; whoever leads
/// then finds in the stored tree all that it was when it left.
fn what_leaves_is_stored_as_it_was_and_what_comes_is_served(bug: Option<Bug>) {
    for seed in 0..8 {
        let mut cluster = cluster(seed, 3, 30_000, bug);
        let mut all = users(&cluster, 12, &[Wish::Register]);
        cluster.serve(PATIENCE_MS, &mut all);
        let (left, right) = halves(Prefix::WHOLE);
        ordered(&mut cluster, &mut [], &Order::Split(Prefix::WHOLE)).expect("it is split");
        let moves = if seed % 2 == 0 { left } else { right };
        let (mut moved, mut stay): (Vec<User>, Vec<User>) =
            all.into_iter().partition(|user| moves.contains(&user.record()));
        assert!(!moved.is_empty() && !stay.is_empty());
        recover(&mut cluster, &mut moved);
        let mut other = Lone::new(&mut cluster, seed as usize % 3);
        let shown = ordered(&mut cluster, &mut stay, &Order::Show { stored: false }).expect("shown");
        other.change(&mut cluster, Change::In(moves, shown));
        let id = open_id(&other.newest);
        let out = Order::Step(Box::new(Change::Out(id, other.newest.clone())));
        let shown = ordered(&mut cluster, &mut stay, &out).expect("it lets go");
        assert!(!owned(&shown).contains(&moves));
        if seed % 4 < 2 {
            let leader = cluster.leader().expect("one led");
            cluster.restart_agent(leader);
        }
        recover(&mut cluster, &mut stay);
        let shown = ordered(&mut cluster, &mut stay, &Order::Show { stored: true }).expect("it is stored");
        let root = shown.entry.open.iter().find_map(|transfer| match transfer {
            Transfer::Outgoing { root, .. } => Some(*root),
            Transfer::Incoming { .. } => None,
        });
        cluster.store.tree.check_below([(moves, root.expect("it is open"))].into_iter());
        other.change(&mut cluster, Change::Take(id, shown));
        let close = Order::Step(Box::new(Change::Close(id, other.newest.clone())));
        ordered(&mut cluster, &mut stay, &close).expect("it closes");
        comes_back(&mut cluster, &mut other, moves, &mut stay);
        if seed % 4 > 1 {
            cluster.crash_all();
            (0..3).for_each(|member| cluster.start_agent(member));
        }
        recover(&mut cluster, &mut moved);
        recover(&mut cluster, &mut stay);
        ordered(&mut cluster, &mut stay, &Order::Show { stored: true }).expect("it is stored");
        cluster.check_log();
        assert!(cluster.tree_damage().is_empty(), "seed {seed}: {:?}", cluster.tree_damage());
    }
}

/// The group takes back what the other one has: its pages are in the stored tree still.
fn comes_back(cluster: &mut Cluster, other: &mut Lone, prefix: Prefix, users: &mut [User]) {
    let wait = Order::Step(Box::new(Change::In(prefix, other.newest.clone())));
    let shown = ordered(cluster, users, &wait).expect("it waits");
    let id = open_id(&shown);
    other.change(cluster, Change::Out(id, shown));
    let take = Order::Step(Box::new(Change::Take(id, other.newest.clone())));
    let shown = ordered(cluster, users, &take).expect("it takes it");
    assert!(owned(&shown).contains(&prefix));
    other.change(cluster, Change::Close(id, shown));
}

#[test]
fn an_order_that_cannot_be_carried_out_is_refused_and_changes_nothing() {
    let mut cluster = cluster(1, 3, 30_000, None);
    let (left, _) = halves(Prefix::WHOLE);
    let deep = Prefix::of(&RecordId([1; 32]), 65).expect("it is short enough");
    for order in [Order::Split(left), Order::Merge(Prefix::WHOLE), Order::Merge(left), Order::Split(deep)] {
        let refused = ordered(&mut cluster, &mut [], &order);
        assert_eq!(refused, Err(Refusal::NotCovered), "{order:?}");
    }
    let shown = ordered(&mut cluster, &mut [], &Order::Show { stored: true }).expect("shown");
    assert_eq!(owned(&shown), [Prefix::WHOLE]);
    let leader = cluster.leader().expect("one leads");
    let follower = (leader + 1) % 3;
    let id = cluster.order(follower, Order::Split(Prefix::WHOLE));
    let leader = cluster.group().members[leader];
    assert_eq!(cluster.take_ordered(id), Some(Ordered::NotLeader(Some(leader))));
}

/// While a prefix leaves, whoever has guessed gets what that has opened, also one that goes from guess to guess in one session.
fn what_leaves_ends_its_sessions_first(bug: Option<Bug>) {
    for seed in 0..8 {
        let mut cluster = cluster(seed, 3, 30_000, bug);
        let mut all = users(&cluster, 12, &[Wish::Register]);
        cluster.serve(PATIENCE_MS, &mut all);
        ordered(&mut cluster, &mut [], &Order::Split(Prefix::WHOLE)).expect("it is split");
        let (moves, _) = halves(Prefix::WHOLE);
        let mut other = Lone::new(&mut cluster, seed as usize % 3);
        let shown = ordered(&mut cluster, &mut [], &Order::Show { stored: false }).expect("shown");
        other.change(&mut cluster, Change::In(moves, shown));
        let id = open_id(&other.newest);
        all.iter_mut()
            .for_each(|user| user.wish([Wish::Recover2, Wish::Recover3, Wish::Recover2, Wish::Recover3]));
        cluster.run_until(20 + seed, |cluster| {
            all.iter_mut().for_each(|user| user.poll(cluster));
            false
        });
        let out = Order::Step(Box::new(Change::Out(id, other.newest.clone())));
        ordered(&mut cluster, &mut all, &out).expect("it lets go");
        cluster.run_until(1_000, |cluster| {
            all.iter_mut().for_each(|user| user.poll(cluster));
            false
        });
        let stranded: u32 = all.iter().map(User::stranded).sum();
        assert_eq!(stranded, 0, "seed {seed}");
    }
}

/// Agents send a guess that is held back again and again, until somebody takes it: no prefix waits for that.
fn a_guess_that_is_held_back_holds_up_nothing(bug: Option<Bug>) {
    for seed in 0..4 {
        let mut cluster = cluster(seed, 3, 30_000, bug);
        ordered(&mut cluster, &mut [], &Order::Split(Prefix::WHOLE)).expect("it is split");
        let (moves, _) = halves(Prefix::WHOLE);
        let mut other = Lone::new(&mut cluster, seed as usize % 3);
        let shown = ordered(&mut cluster, &mut [], &Order::Show { stored: false }).expect("shown");
        other.change(&mut cluster, Change::In(moves, shown));
        let out = Change::Out(open_id(&other.newest), other.newest.clone());
        let leader = cluster.leader().expect("one leads");
        let message = NoiseMessage::Transport { ciphertext: vec![0; GUESS_BYTES].into() };
        let guess = BatchRequest { record: RecordId([0; 32]), session: SessionId(1), message, time: None };
        let (began, id) = (cluster.now(), cluster.order(leader, Order::Step(Box::new(out))));
        let mut asked = None;
        let ended = cluster.run_until(10_000, |cluster| {
            let answered = asked.is_none_or(|id| cluster.take_answer(id).is_some());
            asked = if answered { Some(cluster.submit(leader, false, guess.clone())) } else { asked };
            cluster.take_ordered(id).is_some()
        });
        let took_ms = cluster.now() - began;
        assert!(ended && took_ms <= 1_000, "seed {seed}: {took_ms} ms");
    }
}

/// A leader whose agent is to end has another lead, and nobody waits for long.
fn a_leader_that_yields_is_replaced_at_once(bug: Option<Bug>) {
    for seed in 0..12 {
        let mut cluster = cluster(seed, if seed % 3 == 0 { 5 } else { 3 }, 30_000, bug);
        let mut all = users(&cluster, 6, &[Wish::Register]);
        cluster.serve(PATIENCE_MS, &mut all);
        let leader = cluster.leader().expect("one leads");
        // Some are at work, or the group has been idle for a while.
        match seed % 2 {
            0 => all.iter_mut().for_each(|user| user.wish(RECOVER)),
            _ => cluster.run_for(3_000),
        }
        cluster.run_until(10 + seed, |cluster| {
            all.iter_mut().for_each(|user| user.poll(cluster));
            false
        });
        let (began, id) = (cluster.now(), cluster.order(leader, Order::Yield));
        let replaced = cluster.run_until(5_000, |cluster| {
            all.iter_mut().for_each(|user| user.poll(cluster));
            let leads = |member: &usize| cluster.status(*member).is_some_and(|status| status.serving);
            (0..cluster.members()).filter(|member| *member != leader).any(|member| leads(&member))
        });
        let took_ms = cluster.now() - began;
        assert!(replaced && took_ms <= 250, "seed {seed}: {took_ms} ms");
        assert_eq!(cluster.take_ordered(id), Some(Ordered::Unknown), "its leadership has ended");
        cluster.crash_agent(leader);
        recover(&mut cluster, &mut all);
        cluster.check_log();
    }
}

/// Many users guess and go on all the time, and some have a wrong PIN. Each that guessed and goes on at once is served.
fn a_leader_that_yields_cuts_off_nobody_who_has_guessed(bug: Option<Bug>) {
    for seed in 0..5 {
        let mut cluster = cluster(seed, 3, 30_000, bug);
        let mut all = users(&cluster, 16, &[Wish::Register]);
        cluster.serve(PATIENCE_MS, &mut all);
        for (number, user) in all.iter_mut().enumerate() {
            // All for the session that it has, but for those who guess once more.
            let guesses = if number % 8 == 0 { &[Wish::Recover2; 2][..] } else { &[Wish::Recover2] };
            (0..30).for_each(|_| user.wish(guesses.iter().copied().chain([Wish::Recover3])));
        }
        let go_on = |cluster: &mut Cluster, all: &mut [User]| {
            all.iter_mut().for_each(|user| user.poll(cluster));
        };
        let serving = |cluster: &Cluster, of: usize| cluster.status(of).is_some_and(|status| status.serving);
        for _ in 0..3 {
            cluster.run_until(150 + seed, |cluster| {
                go_on(cluster, &mut all);
                false
            });
            let leader = cluster.leader().expect("one leads");
            cluster.order(leader, Order::Yield);
            let began = cluster.now();
            let replaced = cluster.run_until(5_000, |cluster| {
                go_on(cluster, &mut all);
                (0..3).any(|member| member != leader && serving(cluster, member))
            });
            let took_ms = cluster.now() - began;
            assert!(replaced && took_ms <= 600, "seed {seed}: {took_ms} ms");
        }
        let stranded: u32 = all.iter().map(User::stranded).sum();
        assert_eq!(stranded, 0, "seed {seed}");
        cluster.serve(PATIENCE_MS, &mut all);
        cluster.check_log();
    }
}

rules!(
    a_leader_that_yields_cuts_off_nobody_who_has_guessed: GuessesCut;
    a_guess_that_is_held_back_holds_up_nothing: HeldGoesOn;
    a_leader_that_yields_is_replaced_at_once: YieldUnheard;
    what_leaves_ends_its_sessions_first: LeavesAtOnce;
    prefixes_split_and_merge_beside_users: MergedTopsClosed;
    what_leaves_is_stored_as_it_was_and_what_comes_is_served: LeftUnstored;
);
