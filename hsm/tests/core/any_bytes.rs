//! Whatever the bytes, a core in whatever state gives a reply that decodes and fits in a frame, stays alive, and has
//! changed nothing if it refused (invariant 12).

mod damage;
mod kind;
mod telling;

use self::damage::{damage, hurt};
use self::kind::kind;
use crate::common::{Device, Rig, User, process_request};
use minicbor::bytes::ByteVec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_hsm::Config;
use strongroom_proto::change::{Change, Evidence, Retirement};
use strongroom_proto::client::SecretsRequest;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    BatchRequest, Made, NoiseMessage, Outcome, RealmPolicy, Refusal, Released, Reply, Request, record_id,
};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, Index, Nonce, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed, Fresh, Head, Retired};
use strongroom_proto::tree::{ClaimedTree, Tree};

/// Sends bytes, and checks what must hold for all of them.
fn probe(device: &mut Device, bytes: &[u8]) -> Reply {
    let before = status(device);
    let flash = device.env.flash.units().to_vec();
    let reply = device.core.handle(&mut device.env, bytes);
    assert!(reply.len() <= Config::software().limits.max_frame_bytes as usize, "{} bytes", reply.len());
    let mut decoder = minicbor::Decoder::new(&reply);
    let decoded: Reply = decoder.decode().expect("every reply decodes");
    assert_eq!(decoder.position(), reply.len());
    let decoded = decoded.of_one_group();
    let after = status(device);
    assert!(matches!(minicbor::decode(&after), Ok(Reply::Device(_))), "the device still answers");
    if changes_nothing(&decoded) {
        assert_eq!(before, after, "{decoded:?} changed something");
        assert!(flash == device.env.flash.units(), "{decoded:?} wrote to NVRAM");
    }
    decoded
}

const fn changes_nothing(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(_) | Reply::Head(_) | Reply::Checkpoint(_) | Reply::Told { .. })
}

fn status(device: &mut Device) -> Vec<u8> {
    let request = minicbor::to_vec(Request::DeviceStatus).expect("encodes");
    device.core.handle(&mut device.env, &request)
}

fn encode(request: &Request) -> Vec<u8> {
    minicbor::to_vec(request).expect("encodes")
}

/// A group of three with a registered user; the entry of a guess at its leader is captured and committed by nobody.
struct Scene {
    rig: Rig,
    tree: Tree,
    user: User,
    committed: Committed,
    tip: Entry,
    /// Of the tip: that the user has registered.
    events: Vec<ByteVec>,
    pending: Made,
}

impl Scene {
    fn new() -> Self {
        let mut rig = Rig::new(3, None);
        let mut tree = Tree::new(Prefix::WHOLE);
        rig.lead(0, None);
        let mut user = User::new(&rig, 1, 5);
        let ids = rig.devices[0].status().realm.expect("made").record_id_key;
        user.record = record_id(&ids, telling::TENANT, telling::USER);
        rig.open(0, &mut user);
        let request = user.register2();
        let Made { entry: tip, events, .. } = rig.make(0, &mut tree, &[request]);
        let entries = [tip.clone()];
        let statements: Vec<Captured> = (0..3).map(|i| rig.captured(i, &entries)).collect();
        let (committed, _) = rig.committed(0, &statements);
        let guess = user.recover2();
        let pending = rig.make(0, &mut tree, &[guess]);
        Self { rig, tree, user, committed, tip, events, pending }
    }

    fn device(mut self, i: usize) -> Device {
        self.rig.devices.swap_remove(i)
    }
}

/// A state that a core can be in, made anew each time and always the same.
type Stage = (&'static str, fn() -> Device);

const STAGES: &[Stage] = &[
    ("new", || Device::new(0, None, Config::software())),
    ("in a realm", || {
        let mut device = Device::new(0, None, Config::software());
        assert!(matches!(device.ask(&Request::NewRealm(RealmPolicy::closed())), Reply::Device(_)));
        device
    }),
    ("member", || Rig::new(3, None).devices.swap_remove(0)),
    ("witness", || Scene::new().device(1)),
    ("leader", || Scene::new().device(0)),
    ("stepped down", || {
        let mut scene = Scene::new();
        let group = scene.rig.group;
        assert_eq!(scene.rig.devices[0].ask(&Request::StepDown(group)), Reply::Done);
        scene.device(0)
    }),
    ("in a retired group", || retiring().0),
    ("after leaving a group", || {
        let (mut device, leave) = retiring();
        assert!(matches!(device.ask(&leave), Reply::Retired(_)));
        device
    }),
];

/// One valid request of each kind: for the leader of a [`Scene`], or for whom it is meant.
fn requests() -> Vec<Request> {
    let mut s = Scene::new();
    let group = s.rig.group;
    let entries = vec![s.pending.entry.clone()];
    let process = [s.user.recover3(true), s.user.handshake_with(&SecretsRequest::Recover1.to_cbor()).1];
    let process = process_request(group, &s.tree, &process);
    let (_, handshake) = s.user.handshake_only();
    let statements = (1..3).map(|i| s.rig.captured(i, &entries)).collect();
    let members = s.rig.devices.iter_mut().map(|d| d.status().realm.expect("joined").member).collect();
    let policy = s.rig.devices[0].status().realm.expect("made").policy;
    let mut approval = s.rig.approval(1);
    // The nonce that the same core in the same state draws next.
    let Reply::ExportNonce(nonce) = Scene::new().device(0).ask(&Request::ExportNonce) else {
        panic!("no nonce")
    };
    approval.exporter_nonce = nonce;
    let signatures = vec![s.rig.sign(0, &approval), s.rig.sign(1, &approval)];
    let Reply::ReadNonce(nonce) = Scene::new().device(0).ask(&Request::DrawReadNonce(group)) else {
        panic!("no nonce")
    };
    let fresh = s.rig.fresh(&[1, 2], nonce);
    let opened = s.tree.partial(&[s.user.record]).expect("whole").encode();
    let opened = ClaimedTree::decode(&opened).expect("decodes");
    let to_new = {
        let mut new = Device::new(0, None, Config::software());
        let (to, nonce) = (new.status(), new.import_nonce());
        let mut rig = Rig::new(1, None);
        let approval = rig.approval_for(&to, nonce);
        rig.export(approval)
    };
    let first = Request::ExtendHead { from: None, entries: vec![s.tip.clone()] };
    let Reply::Head(head) = s.rig.devices[1].ask(&first) else { panic!("no head") };
    let tell = s.tell();
    let all = vec![
        Request::DeviceStatus,
        Request::NewRealm(policy),
        Request::ExportNonce,
        Request::ExportRealm(approval, signatures),
        Request::JoinRealm(to_new),
        Request::NewGroup(members),
        Request::JoinGroup(s.rig.statement.clone()),
        Request::capture(group, entries),
        Request::Jump(s.tip.clone(), s.committed),
        Request::Lead(group, Some(s.tip)),
        Request::StepDown(group),
        Request::Handshake(group, handshake),
        process,
        Request::Commit { group, statements },
        Request::AgentSecret(7),
        Request::ImportNonce,
        Request::Fresh(group, nonce),
        Request::DrawReadNonce(group),
        Request::Confirm { group, statements: fresh },
        Request::Change(group, Change::Split(Prefix::WHOLE, opened)),
        retired(),
        Request::ExtendHead { from: Some(head.clone()), entries: vec![s.pending.entry] },
        Request::SignHead { head, committed: s.committed },
        tell,
    ];
    assert!(all.iter().map(kind).eq(0..24), "one of each kind");
    all
}

/// A member of a group that has retired, which it has not left, and the request to leave it.
fn retiring() -> (Device, Request) {
    let mut rig = Rig::new(1, None);
    let member = rig.devices[0].status().realm.expect("made").member;
    let Reply::Group(statement) = rig.devices[0].ask(&Request::NewGroup(vec![member])) else { panic!() };
    rig.group = statement.group;
    rig.lead(0, None);
    let reply = rig.devices[0].ask(&Request::Change(rig.group, Change::Retire));
    let Reply::Processed { made: Some(made), .. } = reply else { panic!("{reply:?}") };
    let captured = rig.captured(0, std::slice::from_ref(&made.entry));
    let (committed, _) = rig.committed(0, &[captured]);
    let proof = Retirement::Entry(Box::new(Evidence { entry: made.entry, committed }));
    (rig.devices.swap_remove(0), Request::Leave(statement.group, Some(proof)))
}

fn retired() -> Request {
    retiring().1
}

/// Changes of what a group owns, of every other kind, which a core in any of these states refuses for what they say.
fn changes() -> Vec<Request> {
    let s = Scene::new();
    let evidence = Evidence { entry: s.tip, committed: s.committed };
    let tree = ClaimedTree::decode(&s.tree.partial(&[]).expect("whole").encode()).expect("decodes");
    let (left, _) = Prefix::WHOLE.children().expect("it has halves");
    let id = TransferId([7; 16]);
    let changes = [
        Change::Merge(left, tree.clone(), tree),
        Change::In(left, evidence.clone()),
        Change::Out(id, evidence.clone()),
        Change::Take(id, evidence.clone()),
        Change::GiveUp(id, evidence.clone()),
        Change::Close(id, evidence),
        Change::Retire,
        Change::End(id, Retired { hsm: HsmId([7; 16]), mac: s.committed.mac }),
    ];
    changes.into_iter().map(|change| Request::Change(s.rig.group, change)).collect()
}

#[test]
fn a_change_that_does_not_fit_what_a_group_owns_is_refused() {
    let mut leader = Scene::new().device(0);
    for request in changes() {
        let refusal = probe(&mut leader, &encode(&request));
        assert!(
            matches!(
                refusal,
                Reply::Refused(
                    Refusal::NotCovered | Refusal::NotEvident | Refusal::NoTransfer | Refusal::InUse
                )
            ),
            "{refusal:?} to {request:?}"
        );
    }
}

/// Cores in every state. One that a request has changed is made anew.
struct Cores(Vec<Device>);

impl Cores {
    fn new() -> Self {
        Self(STAGES.iter().map(|(_, make)| make()).collect())
    }

    fn probe_all(&mut self, bytes: &[u8]) {
        for (device, (name, make)) in self.0.iter_mut().zip(STAGES) {
            let reply = probe(device, bytes);
            if !changes_nothing(&reply) && !matches!(reply, Reply::Device(_)) {
                *device = make();
                assert!(matches!(device.ask(&Request::DeviceStatus), Reply::Device(_)), "{name}");
            }
        }
    }
}

/// Always the same cases; a failure leaves no file behind.
fn run<S: Strategy>(cases: u32, strategy: S, test: impl Fn(&mut Cores, S::Value)) {
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(0x5742_0a11),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cores = RefCell::new(Cores::new());
    let result = TestRunner::new(config).run(&strategy, |value| {
        test(&mut cores.borrow_mut(), value);
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn each_valid_request_is_taken_by_a_core_in_some_state() {
    for request in requests() {
        let taken = STAGES.iter().any(|(_, make)| {
            let mut device = make();
            match request {
                Request::ExportRealm(..) => drop(device.ask(&Request::ExportNonce)),
                Request::JoinRealm(_) => drop(device.ask(&Request::ImportNonce)),
                Request::Confirm { group, .. } => drop(device.ask(&Request::DrawReadNonce(group))),
                _ => {}
            }
            !matches!(probe(&mut device, &encode(&request)), Reply::Refused(_))
        });
        assert!(taken, "{request:?}");
    }
}

#[test]
fn arbitrary_bytes_get_a_reply() {
    run(2000, prop::collection::vec(any::<u8>(), 0..400), |cores, bytes| cores.probe_all(&bytes));
}

#[test]
fn arbitrary_contents_of_each_kind_of_request_get_a_reply() {
    // An array of a kind and its fields, as every request is, and anything after that.
    let strategy = (0u8..24, 0u8..5, prop::collection::vec(any::<u8>(), 0..200));
    run(2000, strategy, |cores, (kind, fields, rest)| {
        cores.probe_all(&[&[0x82, kind, 0x80 | fields][..], &rest].concat());
    });
}

#[test]
fn damaged_requests_get_a_reply_and_refusals_change_nothing() {
    let requests: Vec<Vec<u8>> = requests().iter().chain(&changes()).map(encode).collect();
    let strategy = (prop::sample::select(requests), prop::collection::vec(damage(), 1..3));
    run(1500, strategy, |cores, (mut bytes, damages)| {
        damages.iter().for_each(|damage| hurt(&mut bytes, damage));
        cores.probe_all(&bytes);
    });
}

#[test]
fn every_truncation_of_a_request_and_every_byte_after_it_is_refused() {
    let mut leader = Scene::new().device(0);
    for request in requests().into_iter().chain(changes()) {
        let bytes = encode(&request);
        for len in 0..bytes.len() {
            let reply = probe(&mut leader, &bytes[..len]);
            assert_eq!(reply, Reply::Refused(Refusal::Malformed), "{len} bytes of {request:?}");
        }
        let reply = probe(&mut leader, &[&bytes[..], &[0]].concat());
        assert_eq!(reply, Reply::Refused(Refusal::Malformed), "a byte after {request:?}");
    }
}

#[test]
fn a_request_longer_than_a_frame_is_refused_unread() {
    let limit = Config::software().limits.max_frame_bytes as usize;
    let mut cores = Cores::new();
    for device in &mut cores.0 {
        assert_eq!(probe(device, &vec![0x81; limit + 1]), Reply::Refused(Refusal::TooLarge));
        assert_eq!(probe(device, &vec![0x81; limit]), Reply::Refused(Refusal::Malformed));
    }
}

#[test]
fn a_request_nested_as_deep_as_a_frame_is_long_is_refused() {
    let limit = Config::software().limits.max_frame_bytes as usize;
    let mut cores = Cores::new();
    // A field that no request has, which a decoder may skip: arrays, indefinite arrays, maps, tags.
    for (head, nested) in [(0x82, 0x81), (0x82, 0x9f), (0x82, 0xa1), (0x82, 0xc0), (0x9f, 0x81)] {
        let mut bytes = vec![nested; limit];
        bytes[..3].copy_from_slice(&[head, 0, 0x81]);
        for device in &mut cores.0 {
            assert_eq!(probe(device, &bytes), Reply::Refused(Refusal::Malformed), "{nested:x} in {head:x}");
        }
    }
}

#[test]
fn refused_requests_leave_sessions_and_kept_replies_as_they_are() {
    let mut s = Scene::new();
    let group = s.rig.group;
    let other = s.user.handshake_only().1;
    let mut altered = s.pending.entry.clone();
    altered.transfers = 1;
    let stale = process_request(group, &Tree::new(Prefix::WHOLE), std::slice::from_ref(&other));
    let unopened = {
        let Request::Process { trees, .. } = process_request(group, &s.tree, &[]) else { panic!() };
        Request::Process { group, trees, requests: vec![other.clone()] }
    };
    let many = process_request(group, &s.tree, &vec![other.clone(); 129]);
    let own = s.rig.captured(1, std::slice::from_ref(&s.pending.entry));
    let committed = s.committed;
    let tip = Request::ExtendHead { from: None, entries: vec![s.tip.clone()] };
    let Reply::Head(head) = s.rig.devices[1].ask(&tip) else { panic!("no head") };
    let hosts = Head { index: Index(2), ..head.clone() };
    let dressed = Committed { mac: own.mac, ..committed };
    let pending = s.pending.entry.clone();
    let next = Request::ExtendHead { from: Some(head.clone()), entries: vec![pending.clone()] };
    let Reply::Head(next) = s.rig.devices[1].ask(&next) else { panic!("no head") };
    let request_and_refusal = [
        (Request::NewRealm(RealmPolicy::closed()), Refusal::HasRealm),
        (Request::NewGroup(vec![]), Refusal::BadMembers),
        (Request::JoinGroup(s.rig.statement.clone()), Refusal::AlreadyJoined),
        (Request::Lead(group, None), Refusal::NotCaptured),
        (Request::Lead(GroupId([0; 16]), None), Refusal::NotMember),
        (Request::capture(group, vec![altered.clone()]), Refusal::NotAuthentic),
        (Request::capture(group, vec![s.pending.entry.clone(); 2]), Refusal::NotConsecutive),
        (Request::capture(group, vec![s.pending.entry.clone(); 65]), Refusal::TooLarge),
        (Request::Jump(s.pending.entry.clone(), committed), Refusal::NotCommitted),
        (Request::Jump(altered, committed), Refusal::NotAuthentic),
        (stale, Refusal::StaleTree),
        (unopened, Refusal::NotOpened),
        (many, Refusal::TooLarge),
        (Request::Process { group, trees: vec![], requests: vec![other] }, Refusal::NotCovered),
        (Request::Commit { group, statements: vec![own] }, Refusal::NoMajority),
        (Request::Commit { group, statements: vec![own; 2] }, Refusal::BadMembers),
        (Request::Confirm { group, statements: vec![] }, Refusal::NoNonce),
        (Request::DrawReadNonce(GroupId([0; 16])), Refusal::NotMember),
        (Request::Fresh(GroupId([0; 16]), Nonce([0; 16])), Refusal::NotMember),
        (Request::ExtendHead { from: None, entries: vec![] }, Refusal::Malformed),
        (Request::ExtendHead { from: None, entries: vec![pending.clone()] }, Refusal::NotConsecutive),
        (Request::ExtendHead { from: Some(head.clone()), entries: vec![pending; 65] }, Refusal::TooLarge),
        (Request::ExtendHead { from: Some(hosts.clone()), entries: vec![] }, Refusal::NotAuthentic),
        (Request::SignHead { head: hosts, committed }, Refusal::NotAuthentic),
        (Request::SignHead { head, committed: dressed }, Refusal::NotAuthentic),
        (Request::SignHead { head: next, committed }, Refusal::NotCommitted),
    ];
    for (request, refusal) in request_and_refusal {
        assert_eq!(probe(&mut s.rig.devices[0], &encode(&request)), Reply::Refused(refusal), "{request:?}");
    }
    // The reply of the guess before is still there, and so is the session.
    let other = s.rig.captured(2, std::slice::from_ref(&s.pending.entry));
    let (_, released) = s.rig.committed(0, &[own, other]);
    let [Released { entry, replies }] = released.as_slice() else { panic!("{released:?}") };
    assert_eq!(*entry, s.pending.entry.hash());
    // The registration's reply was released before this test's requests, but nobody has read it.
    assert_eq!(replies.len(), 1);
    let request = s.user.recover3(true);
    let reply = s.rig.process(0, &s.tree, &[request]);
    let Reply::Processed { outcomes, .. } = &reply else { panic!("{reply:?}") };
    assert_eq!(outcomes, &[Outcome::Kept], "the session lives");
}

/// Hosts that do what is possible in any order, with everything that they have ever seen.
struct Walk {
    rig: Rig,
    users: Vec<User>,
    /// Where each user has a session, as far as it knows.
    sessions: Vec<Option<usize>>,
    /// Every entry made, and the tree after it.
    made: Vec<(Entry, Tree)>,
    /// The entry at each index that came first and follows the one before.
    store: BTreeMap<Index, Entry>,
    /// The tree that each HSM made its newest entry on, as far as its host knows.
    trees: Vec<Tree>,
    captured: Vec<Captured>,
    committed: BTreeMap<Index, (Committed, EntryHash)>,
    highest: Vec<Index>,
    /// The newest nonce for reads, whose it is, and what was stated to it.
    nonce: (usize, Nonce),
    fresh: Vec<Fresh>,
    reads: usize,
    rng: StdRng,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let rig = Rig::new(3, None);
        let users = (0..5).map(|i| User::new(&rig, i, 3)).collect();
        Self {
            rig,
            users,
            sessions: vec![None; 5],
            made: vec![],
            store: BTreeMap::new(),
            trees: vec![Tree::new(Prefix::WHOLE); 3],
            captured: vec![],
            committed: BTreeMap::new(),
            highest: vec![Index::ZERO; 3],
            nonce: (0, Nonce([0; 16])),
            fresh: vec![],
            reads: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn step(&mut self) {
        // Whoever has a nonce is asked more often.
        let at = if self.rng.random_ratio(1, 3) { self.nonce.0 } else { self.rng.random_range(0..3) };
        if self.rng.random_ratio(1, 60) {
            self.rig.devices[at].restart();
        }
        let request = self.request(at);
        let reply = probe(&mut self.rig.devices[at], &encode(&request));
        self.take(at, &request, reply);
        let captured = self.rig.devices[at].status().groups[0].captured_index;
        assert!(captured >= self.highest[at], "invariant 1: never to a lower index");
        self.highest[at] = captured;
    }

    fn request(&mut self, at: usize) -> Request {
        let group = self.rig.group;
        match self.rng.random_range(0..26) {
            20 | 21 => Request::DrawReadNonce(group),
            22 => Request::Fresh(group, self.nonce.1),
            23..26 => Request::Confirm { group, statements: self.fresh.clone() },
            0..6 => self.batch(at),
            6..11 => Request::capture(group, self.chain(at)),
            11..14 => Request::Commit { group, statements: self.statements() },
            14 => match (self.entry(), self.committed.values().last()) {
                (Some(entry), Some((committed, hash))) => {
                    let of_it = self.made.iter().find(|(made, _)| made.hash() == *hash);
                    let entry = of_it.map_or(entry, |(made, _)| made.clone());
                    Request::Jump(entry, *committed)
                }
                _ => Request::capture(group, vec![]),
            },
            15 | 16 => {
                let captured = self.rig.devices[at].status().groups[0].captured_hash;
                let tip = self.made.iter().find(|(made, _)| made.hash() == captured);
                let tip = tip.map(|(made, _)| made.clone());
                Request::Lead(group, if self.rng.random_ratio(1, 5) { self.entry() } else { tip })
            }
            17 if self.rng.random_ratio(1, 6) => Request::StepDown(group),
            17 if self.rng.random_ratio(1, 2) => Request::AgentSecret(self.rng.random()),
            17 => Request::ExportNonce,
            _ => {
                let user = self.rng.random_range(0..self.users.len());
                Request::Handshake(group, self.handshake(at, user))
            }
        }
    }

    fn entry(&mut self) -> Option<Entry> {
        self.made.choose(&mut self.rng).map(|(entry, _)| entry.clone())
    }

    /// What the store has from the captured entry on; for the last HSM now and then something else.
    fn chain(&mut self, at: usize) -> Vec<Entry> {
        if at == 2 && self.rng.random_ratio(1, 5) {
            return (0..self.rng.random_range(1..4)).filter_map(|_| self.entry()).collect();
        }
        let from = self.highest[at].0.saturating_sub(self.rng.random_range(0..2));
        self.store.range(Index(from)..).take(self.rng.random_range(1..8)).map(|(_, e)| e.clone()).collect()
    }

    /// The newest statement of each member, or any.
    fn statements(&mut self) -> Vec<Captured> {
        if self.rng.random_ratio(1, 4) {
            return self.captured.sample(&mut self.rng, 3).copied().collect();
        }
        let by_member: BTreeMap<HsmId, Captured> = self.captured.iter().map(|c| (c.hsm, *c)).collect();
        by_member.into_values().collect()
    }

    /// A user opens a session at an HSM. Returns the message with which it did.
    fn handshake(&mut self, at: usize, user: usize) -> BatchRequest {
        let (handshake, request) = self.users[user].handshake_only();
        let asked = Request::Handshake(self.rig.group, request.clone());
        if let Reply::Handshaken(Outcome::Answered(reply)) = probe(&mut self.rig.devices[at], &encode(&asked))
        {
            self.users[user].opened(handshake, &reply);
            self.sessions[user] = Some(at);
        }
        request
    }

    fn batch(&mut self, at: usize) -> Request {
        let requests: Vec<BatchRequest> = if self.rng.random_ratio(1, 4) {
            let user = self.rng.random_range(0..self.users.len());
            vec![self.users[user].handshake_with(&SecretsRequest::Recover1.to_cbor()).1]
        } else {
            (0..self.rng.random_range(0..4)).map(|_| self.message(at)).collect()
        };
        let tree = match self.made.choose(&mut self.rng) {
            Some((_, any)) if self.rng.random_ratio(1, 10) => any,
            _ => &self.trees[at],
        };
        process_request(self.rig.group, tree, &requests)
    }

    fn message(&mut self, at: usize) -> BatchRequest {
        let i = self.rng.random_range(0..self.users.len());
        if self.sessions[i] != Some(at) {
            self.handshake(at, i);
        }
        let user = &mut self.users[i];
        if user.transport.is_none() || self.rng.random_ratio(1, 20) {
            return user.handshake_with(&SecretsRequest::Recover1.to_cbor()).1;
        }
        match self.rng.random_range(0..10) {
            0..3 => user.register2(),
            3..6 => user.recover2(),
            6 => user.recover3(true),
            7 => user.recover3(false),
            8 => user.send(&SecretsRequest::Delete),
            _ => {
                let mut request = user.send(&SecretsRequest::Recover1);
                let NoiseMessage::Transport { ciphertext } = &mut request.message else {
                    unreachable!("as sent")
                };
                ciphertext[0] ^= 1;
                request
            }
        }
    }

    fn take(&mut self, at: usize, request: &Request, reply: Reply) {
        match reply {
            Reply::Processed { outcomes, made } => {
                self.end_sessions(request, &outcomes);
                if let Some(made) = made {
                    self.take_entry(at, made);
                }
            }
            Reply::Captured(statement) => self.captured.push(statement),
            Reply::ReadNonce(nonce) => {
                (self.nonce, self.fresh) = ((at, nonce), vec![]);
                if self.rng.random_ratio(1, 2) {
                    self.ask_all(&Request::Fresh(self.rig.group, nonce));
                }
            }
            Reply::Fresh(fresh) => {
                self.fresh.retain(|other| other.hsm != fresh.hsm);
                self.fresh.push(fresh);
            }
            Reply::Confirmed(reads) => self.reads += reads.len(),
            Reply::Committed { statement, .. } => {
                let Committed { index, hash, .. } = statement;
                let (_, known) = *self.committed.entry(index).or_insert((statement, hash));
                assert_eq!(known, hash, "two entries committed at {index}");
            }
            Reply::Leading(_) => {
                let Request::Lead(_, entry) = request else { unreachable!("the reply to Lead") };
                let of_it =
                    |e: &Entry| self.made.iter().find(|(made, _)| made == e).map(|(_, tree)| tree.clone());
                let tree = entry.as_ref().map(|e| of_it(e).expect("made before"));
                self.trees[at] = tree.unwrap_or_else(|| Tree::new(Prefix::WHOLE));
            }
            _ => {}
        }
    }

    fn ask_all(&mut self, request: &Request) {
        for at in 0..self.rig.devices.len() {
            let reply = probe(&mut self.rig.devices[at], &encode(request));
            self.take(at, request, reply);
        }
    }

    /// A client whose message was refused opens another session.
    fn end_sessions(&mut self, request: &Request, outcomes: &[Outcome]) {
        let Request::Process { requests, .. } = request else { unreachable!("the reply to Process") };
        for (request, _) in requests.iter().zip(outcomes).filter(|(_, o)| matches!(o, Outcome::Refused(_))) {
            let user = self.users.iter().position(|user| user.record == request.record);
            self.sessions[user.expect("one of the users")] = None;
        }
    }

    fn take_entry(&mut self, at: usize, made: Made) {
        // Equal roots are equal trees, whichever was sent.
        let tree = &mut self.trees[at];
        let leaves = made.leaves.iter().map(|l| (l.record, Arc::from(l.sealed.as_slice())));
        tree.update(leaves).expect("the host's tree is whole");
        assert_eq!(made.entry.partitions[0].root, tree.root(), "host and HSM compute the same root");
        let before = self.store.last_key_value().map_or((0, EntryHash::ZERO), |(i, e)| (i.0, e.hash()));
        if (made.entry.index.0, made.entry.prev) == (before.0 + 1, before.1) {
            self.store.insert(made.entry.index, made.entry.clone());
        }
        self.made.push((made.entry, tree.clone()));
    }
}

#[test]
fn three_thousand_steps_of_three_cores_in_any_order_never_panic_or_commit_two_entries_at_one_place() {
    let mut walk = Walk::new(7);
    for _ in 0..3000 {
        walk.step();
    }
    let (made, committed, reads) = (walk.made.len(), walk.committed.len(), walk.reads);
    assert!(
        made > 150 && committed > 30 && reads > 3,
        "the walk goes nowhere: {made} entries, {committed} of them committed, {reads} reads"
    );
}
