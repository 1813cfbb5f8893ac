//! One episode: cores, and everything that ever left them, in the hands of a host that does as its steps say.
//!
//! Nothing here is trusted but the cores. The world builds the bytes of each step from what it holds and hands every
//! reply to the oracle ([`super::oracle`]). A step that names something that does not exist does nothing.

use super::clients::{Answer, Clients, finish};
use super::device::Device;
use super::model::Records;
use super::oracle::Violation;
use super::step::{Forgery, Made, Step, Wish};
use ed25519_dalek::{Signer, SigningKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use strongroom_hsm::Config;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    ApprovalSignature, BatchRequest, CustodianKey, CustodianPolicy, DeviceStatus, ExportApproval,
    NoiseMessage, NoiseReply, PrefixTree, RealmStatus, Reply, Request,
};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index, Nonce, SessionId};
use strongroom_proto::noise::Transport;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed, GroupStatement};
use strongroom_proto::tree::{ClaimedTree, Tree};

/// HSMs of the realm. The first three are group 0, the last three group 1.
pub(super) const MEMBERS: usize = 4;
/// All HSMs; the last has no realm.
pub(super) const DEVICES: usize = 5;
/// The most groups that an episode makes.
pub(super) const MAX_GROUPS: usize = 4;
/// How many waiting entries an HSM is built for here: few, so that its bound is reached.
pub(super) const MAX_PENDING_ENTRIES: u32 = 24;
/// How many requests are kept to be garbled.
const RECENT: usize = 16;

/// An entry, with what the oracle knows of it.
pub(super) struct Known {
    pub(super) entry: Entry,
    pub(super) hash: EntryHash,
    pub(super) parent: Option<Made>,
    pub(super) group: usize,
    pub(super) tree: Tree,
    pub(super) records: Records,
    pub(super) kept: Vec<Kept>,
    /// Members, by bit, that ever stated to have captured it or an entry after it.
    pub(super) stated: u16,
    pub(super) is_committed: bool,
    pub(super) is_forged: bool,
}

/// A reply that waits for its entry's commit.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) message: Made,
    pub(super) user: u8,
    /// The entry that the message's effect is in: this one, unless it was sent before.
    pub(super) applied: Made,
    pub(super) expected: Answer,
}

/// A client's message.
pub(super) struct Message {
    pub(super) user: u8,
    pub(super) wish: Wish,
    pub(super) channel: Option<Made>,
    pub(super) handshake: u32,
    pub(super) session: SessionId,
    pub(super) noise: NoiseMessage,
    /// Where it took effect, and what is to be answered. A message of a channel does so once.
    pub(super) applied: Option<(Made, Answer)>,
    pub(super) reply: Option<NoiseReply>,
}

pub(super) struct Channel {
    pub(super) user: u8,
    pub(super) transport: Transport,
    session: SessionId,
}

/// What one HSM is in one group, as far as its replies tell.
#[derive(Clone, Default)]
pub(super) struct Member {
    pub(super) captured: Option<Made>,
    pub(super) lead: Option<Lead>,
    pub(super) statement: Option<Made>,
}

/// A leadership.
#[derive(Clone)]
pub(super) struct Lead {
    /// The newest own entry, or the one it began from.
    pub(super) newest: Option<Made>,
    /// Entries made since the newest that is known here to be committed.
    pub(super) waiting: u64,
}

pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) statement: GroupStatement,
    /// Members by bit.
    pub(super) members: u16,
}

/// Message, role, outcome, and how often.
pub(super) type Coverage = BTreeMap<(&'static str, &'static str, String), u64>;

/// One episode.
pub(super) struct World {
    pub(super) devices: Vec<Device>,
    pub(super) statuses: Vec<DeviceStatus>,
    pub(super) groups: Vec<Group>,
    pub(super) members: Vec<Vec<Member>>,
    pub(super) entries: BTreeMap<Made, Known>,
    pub(super) by_hash: BTreeMap<EntryHash, Made>,
    pub(super) statements: BTreeMap<Made, (usize, Captured)>,
    pub(super) commits: BTreeMap<Made, (usize, Committed)>,
    /// Entries that an HSM stated as committed themselves, not only by what came after.
    pub(super) stated_committed: BTreeSet<Made>,
    pub(super) committed: BTreeMap<(usize, Index), EntryHash>,
    pub(super) channels: BTreeMap<Made, Channel>,
    pub(super) messages: BTreeMap<Made, Message>,
    /// Points whose evaluation left a core, by user and registration.
    pub(super) evaluated: BTreeMap<(u8, u8), BTreeSet<u8>>,
    pub(super) clients: Rc<Clients>,
    pub(super) violation: Option<Violation>,
    pub(super) coverage: Coverage,
    pub(super) used_nonces: Vec<Nonce>,
    last_nonce: Option<Nonce>,
    realm: RealmStatus,
    custodians: Vec<SigningKey>,
    recent: VecDeque<Vec<u8>>,
    /// An HSM that a planted bug lets state what it likes.
    pub(super) broken: Option<usize>,
}

impl World {
    /// A realm with two groups; `clients` of an earlier episode with the same seed are used again.
    pub(super) fn new(seed: u64, clients: Option<Rc<Clients>>) -> Self {
        let mut config = Config::software();
        config.limits.max_pending_entries = MAX_PENDING_ENTRIES;
        let device = |i| Device::new(seed.wrapping_mul(31).wrapping_add(i), config.clone());
        let mut devices: Vec<Device> = (0..DEVICES as u64).map(device).collect();
        let custodians: Vec<SigningKey> = (1..=3).map(|i| SigningKey::from_bytes(&[i; 32])).collect();
        let realm = found(&mut devices, &custodians);
        let statuses: Vec<DeviceStatus> = devices.iter_mut().map(status).collect();
        let clients = clients.unwrap_or_else(|| Rc::new(Clients::new(seed, &realm.realm, realm.public_key)));
        let mut world = Self {
            devices,
            statuses,
            groups: Vec::new(),
            members: vec![vec![Member::default(); MAX_GROUPS]; DEVICES],
            entries: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            statements: BTreeMap::new(),
            commits: BTreeMap::new(),
            stated_committed: BTreeSet::new(),
            committed: BTreeMap::new(),
            channels: BTreeMap::new(),
            messages: BTreeMap::new(),
            evaluated: BTreeMap::new(),
            clients,
            violation: None,
            coverage: Coverage::new(),
            used_nonces: Vec::new(),
            last_nonce: None,
            realm,
            custodians,
            recent: VecDeque::new(),
            broken: None,
        };
        world.make_group(0, &[0, 1, 2]);
        world.make_group(1, &[1, 2, 3]);
        world
    }

    /// Leaves one rule out of every core.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn plant(&mut self, bug: strongroom_hsm::Bug) {
        self.devices.iter_mut().for_each(|device| device.plant(bug));
        if bug == strongroom_hsm::Bug::CountStrangers {
            // That a stranger can state anything about a group takes a bug of its own.
            self.devices[MEMBERS - 1].plant(strongroom_hsm::Bug::JoinAnyMembers);
            self.broken = Some(MEMBERS - 1);
        }
    }

    /// Makes a group at the first of these HSMs and has the others join.
    pub(super) fn make_group(&mut self, at: usize, members: &[usize]) {
        if self.groups.len() >= MAX_GROUPS {
            return;
        }
        let statements = members.iter().filter_map(|d| self.statuses[*d].realm.as_ref());
        let request = Request::NewGroup(statements.map(|r| r.member).collect());
        let Reply::Group(statement) = self.send(at, "NewGroup", &request) else { return };
        if statement.genesis && !self.groups.is_empty() {
            self.violate("one genesis", format!("HSM {at} made a second group that owns the whole space"));
        }
        for other in members.iter().filter(|other| **other != at) {
            self.send(*other, "JoinGroup", &Request::JoinGroup(statement.clone()));
        }
        let members = members.iter().fold(0, |bits, d| bits | 1 << d);
        self.groups.push(Group { id: statement.group, statement, members });
    }

    /// Sends a request as it is, and counts what comes back.
    pub(super) fn send(&mut self, at: usize, name: &'static str, request: &Request) -> Reply {
        let bytes = minicbor::to_vec(request).expect("a vector takes all bytes");
        let reply = self.send_bytes(at, name, &bytes);
        self.recent.push_front(bytes);
        self.recent.truncate(RECENT);
        reply
    }

    fn send_bytes(&mut self, at: usize, name: &'static str, bytes: &[u8]) -> Reply {
        let role = match &self.members[at] {
            _ if at >= MEMBERS => "outsider",
            groups if groups.iter().any(|m| m.lead.is_some()) => "leader",
            _ => "witness",
        };
        let reply = self.devices[at].handle(bytes);
        let limit = self.statuses.get(at).map_or(usize::MAX, |s| s.limits.max_frame_bytes as usize);
        if reply.len() > limit {
            self.violate("bounded", format!("HSM {at} answered {} bytes", reply.len()));
        }
        let Ok(reply) = minicbor::decode::<Reply>(&reply) else {
            self.violate("bounded", format!("HSM {at} answered bytes that are no reply"));
            return Reply::Done;
        };
        let outcome = if let Reply::Refused(refusal) = &reply { format!("{refusal:?}") } else { "ok".into() };
        self.cover(name, role, outcome);
        reply
    }

    pub(super) fn cover(&mut self, name: &'static str, role: &'static str, outcome: String) {
        *self.coverage.entry((name, role, outcome)).or_default() += 1;
    }

    /// Does one step and lets the oracle judge it.
    pub(super) fn apply(&mut self, n: Made, step: &Step) {
        let group_of = |group: u8| usize::from(group) % self.groups.len();
        match step {
            Step::Open { user, at, group, handshake } => {
                let group = group_of(*group);
                self.open(n, *user, device(*at), group, *handshake);
            }
            Step::Ask { channel, wish } => self.ask(n, *channel, *wish),
            Step::Ride { user, wish } => self.ride(n, *user, *wish),
            Step::Process { at, group, tree, messages, as_user } => {
                let group = group_of(*group);
                self.process(n, device(*at), group, *tree, messages, *as_user);
            }
            Step::Capture { at, group, entries } => {
                let id = self.groups[group_of(*group)].id;
                let entries = self.entries_of(entries);
                self.exchange(n, device(*at), step.name(), &Request::capture(id, entries));
            }
            Step::Jump { at, entry, statement } => self.jump(n, device(*at), *entry, *statement),
            Step::Lead { at, group, entry } => {
                let id = self.groups[group_of(*group)].id;
                let found = entry.and_then(|e| self.entries.get(&e)).map(|known| known.entry.clone());
                if entry.is_some() == found.is_some() {
                    self.exchange(n, device(*at), step.name(), &Request::Lead(id, found));
                }
            }
            Step::Resign { at, group } => {
                let id = self.groups[group_of(*group)].id;
                self.exchange(n, device(*at), step.name(), &Request::StepDown(id));
            }
            Step::Commit { at, group, statements, chain } => {
                let group = self.groups[group_of(*group)].id;
                let statements = statements.iter().filter_map(|s| self.statements.get(s));
                let statements = statements.map(|(_, s)| *s).collect();
                let chain = self.entries_of(chain);
                self.exchange(n, device(*at), step.name(), &Request::Commit { group, statements, chain });
            }
            Step::Restart { at, cut_after } => self.restart(device(*at), *cut_after),
            Step::CutPower { at, after } => self.devices[device(*at)].cut_power_after(*after),
            Step::Forge { entry, how } => self.forge(n, *entry, *how),
            Step::NewGroup { at } => {
                let at = usize::from(*at) % MEMBERS;
                self.make_group(at, &[at, (at + 1) % MEMBERS]);
            }
            Step::JoinForged { at, group } => {
                let group = group_of(*group);
                self.join_forged(usize::from(*at) % MEMBERS, group);
            }
            Step::Export { at, signers, twice, hosts_key, old_nonce } => {
                self.export(usize::from(*at) % MEMBERS, *signers, *twice, *hosts_key, *old_nonce);
            }
            Step::DeepTree { at } => self.deep_tree(device(*at)),
            Step::Garble { at, back, cut, flip, onto } => {
                self.garble(n, device(*at), *back, *cut, *flip, *onto)
            }
        }
    }

    fn entries_of(&self, made: &[Made]) -> Vec<Entry> {
        made.iter().filter_map(|e| self.entries.get(e)).map(|known| known.entry.clone()).collect()
    }

    /// Sends a request whose reply says all there is to know.
    fn exchange(&mut self, n: Made, at: usize, name: &'static str, request: &Request) {
        let reply = self.send(at, name, request);
        self.judge(n, at, request, reply);
    }

    fn open(&mut self, n: Made, user: u8, at: usize, group: usize, handshake: u32) {
        let user = user % super::clients::USERS;
        let (state, message) = self.clients.start(handshake, None);
        let session = Clients::session(handshake);
        let request = BatchRequest { record: self.clients.record(user), session, message };
        let request = Request::Handshake(self.groups[group].id, request);
        let Reply::Handshaken(strongroom_proto::hsm::Outcome::Answered(reply)) =
            self.send(at, "Handshake", &request)
        else {
            return;
        };
        if let Some((transport, _)) = finish(state, &reply) {
            self.channels.insert(n, Channel { user, transport, session });
        }
    }

    fn ask(&mut self, n: Made, channel: Made, wish: Wish) {
        let Some(open) = self.channels.get_mut(&channel) else { return };
        let request = self.clients.request(open.user, wish).to_cbor();
        let Ok(ciphertext) = open.transport.encrypt(&request) else { return };
        let noise = NoiseMessage::Transport { ciphertext: ciphertext.into() };
        let (user, session, channel) = (open.user, open.session, Some(channel));
        let message =
            Message { user, wish, channel, handshake: 0, session, noise, applied: None, reply: None };
        self.messages.insert(n, message);
    }

    fn ride(&mut self, n: Made, user: u8, wish: Wish) {
        let user = user % super::clients::USERS;
        let handshake = n | 1 << 31;
        let (_, noise) = self.clients.start(handshake, Some((user, wish)));
        let session = Clients::session(handshake);
        let message =
            Message { user, wish, channel: None, handshake, session, noise, applied: None, reply: None };
        self.messages.insert(n, message);
    }

    fn process(
        &mut self,
        n: Made,
        at: usize,
        group: usize,
        tree: Option<Made>,
        messages: &[Made],
        as_user: Option<u8>,
    ) {
        let base = match tree {
            None => Tree::new(Prefix::WHOLE),
            Some(tree) => match self.entries.get(&tree) {
                Some(known) => known.tree.clone(),
                None => return,
            },
        };
        let (mut used, mut requests) = (Vec::new(), Vec::new());
        for number in messages {
            let Some(message) = self.messages.get(number) else { continue };
            let user = as_user.map_or(message.user, |user| user % super::clients::USERS);
            let (session, noise) = (message.session, message.noise.clone());
            requests.push(BatchRequest { record: self.clients.record(user), session, message: noise });
            used.push((*number, user));
        }
        let ids: Vec<_> = requests.iter().map(|r| r.record).collect();
        let Ok(partial) = base.partial(&ids) else { return };
        let trees = if group == 0 || !requests.is_empty() {
            vec![PrefixTree { prefix: Prefix::WHOLE, tree: ClaimedTree::from(&partial) }]
        } else {
            Vec::new()
        };
        let request = Request::Process { group: self.groups[group].id, trees, requests };
        match self.send(at, "Process", &request) {
            Reply::Processed { outcomes, made } => {
                self.judge_processed(n, at, group, &base, &used, &outcomes, made);
            }
            Reply::Refused(strongroom_proto::hsm::Refusal::NotLeader) => self.members[at][group].lead = None,
            _ => {}
        }
    }

    fn jump(&mut self, n: Made, at: usize, entry: Made, statement: Made) {
        let Some(known) = self.entries.get(&entry) else { return };
        let committed = match (self.commits.get(&statement), self.statements.get(&statement)) {
            (Some((_, committed)), _) => *committed,
            (None, Some((_, Captured { hsm, index, hash, mac }))) => {
                Committed { hsm: *hsm, index: *index, hash: *hash, mac: *mac }
            }
            (None, None) => return,
        };
        self.exchange(n, at, "Jump", &Request::Jump(known.entry.clone(), committed));
    }

    fn restart(&mut self, at: usize, cut_after: Option<u32>) {
        if !self.devices[at].restart(cut_after) {
            return self.violate("NVRAM", format!("HSM {at} does not start from what it wrote"));
        }
        self.cover("(restart)", "any", if cut_after.is_some() { "cut" } else { "ok" }.into());
        self.members[at].iter_mut().for_each(|member| member.lead = None);
        let now = status(&mut self.devices[at]);
        self.judge_restarted(at, &now);
    }

    fn forge(&mut self, n: Made, entry: Made, how: Forgery) {
        let Some(known) = self.entries.get(&entry) else { return };
        let (mut entry, parent) = (known.entry.clone(), known.parent);
        let (group, tree, records) = (known.group, known.tree.clone(), known.records.clone());
        match how {
            Forgery::OtherPrev => entry.prev = EntryHash([5; 32]),
            Forgery::NoPartitions => entry.partitions.clear(),
            Forgery::LaterIndex => entry.index = Index(entry.index.0.saturating_add(1)),
            Forgery::OtherGroup => entry.group = self.groups[(group + 1) % self.groups.len()].id,
        }
        let hash = entry.hash();
        if self.by_hash.contains_key(&hash) {
            return;
        }
        self.by_hash.insert(hash, n);
        let (kept, stated, is_committed, is_forged) = (Vec::new(), 0, false, true);
        let known =
            Known { entry, hash, parent, group, tree, records, kept, stated, is_committed, is_forged };
        self.entries.insert(n, known);
    }

    fn join_forged(&mut self, at: usize, group: usize) {
        let Group { statement, members, .. } = &self.groups[group];
        if members >> at & 1 == 1 {
            return;
        }
        let statement = GroupStatement { members: vec![self.statuses[at].hsm], ..statement.clone() };
        let reply = self.send(at, "JoinGroup", &Request::JoinGroup(statement));
        if matches!(reply, Reply::Group(_)) && self.broken != Some(at) {
            self.violate("members fixed inside", format!("HSM {at} joined with a list that no HSM stated"));
        }
    }

    fn export(&mut self, at: usize, signers: u8, twice: bool, hosts_key: bool, old_nonce: bool) {
        if (!old_nonce || self.last_nonce.is_none())
            && let Reply::ExportNonce(nonce) = self.send(at, "ExportNonce", &Request::ExportNonce)
        {
            self.last_nonce = Some(nonce);
        }
        let Some(nonce) = self.last_nonce else { return };
        let to = &self.statuses[DEVICES - 1];
        let proper = approval(&self.realm, &self.statuses[at], to, nonce);
        let mut asked = proper.clone();
        if hosts_key {
            asked.device_key.0 = [9; 32];
        }
        let mut signatures = Vec::new();
        for (i, key) in self.custodians.iter().enumerate().filter(|(i, _)| signers >> i & 1 == 1) {
            // The first custodian belongs to the host; the others sign for the importer alone.
            let signed = if i == 0 { &asked } else { &proper };
            signatures.extend(vec![sign(key, signed); if twice { 2 } else { 1 }]);
        }
        let valid = if hosts_key { signers & 1 } else { signers & 0b111 }.count_ones();
        let reply = self.send(at, "ExportRealm", &Request::ExportRealm(asked, signatures));
        if !matches!(reply, Reply::Exported(_)) {
            return;
        }
        if valid < 2 {
            self.violate("custodians", format!("HSM {at} gave the seed with {valid} of 2 approvals"));
        }
        if self.used_nonces.contains(&nonce) {
            self.violate("custodians", format!("HSM {at} gave the seed twice on one approval"));
        }
        self.used_nonces.push(nonce);
    }

    fn deep_tree(&mut self, at: usize) {
        // In preorder: 257 inner nodes, each the left side of the one before; a stub; the empty right sides.
        let mut deep = vec![0x99, 0x02, 0x03];
        deep.extend([0x81, 0x01].repeat(257));
        deep.extend([0x82, 0x02, 0x58, 0x20]);
        deep.extend([7; 32]);
        deep.extend([0x81, 0x00].repeat(257));
        let tree = minicbor::decode(&deep).expect("decodes as a claim");
        let trees = vec![PrefixTree { prefix: Prefix::WHOLE, tree }];
        let request = Request::Process { group: self.groups[0].id, trees, requests: Vec::new() };
        let reply = self.send(at, "Process", &request);
        // Only after it was read to its end can it be found to have another root.
        if reply == Reply::Refused(strongroom_proto::hsm::Refusal::StaleTree) {
            self.violate("bounded", format!("HSM {at} read a tree deeper than a record id"));
        }
    }

    fn garble(&mut self, n: Made, at: usize, back: u8, cut: u16, flip: u16, onto: u8) {
        let Some(bytes) = self.recent.get(usize::from(back)) else { return };
        let mut bytes = bytes.clone();
        bytes.truncate(usize::from(cut).max(1));
        let bit = usize::from(flip) % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Some(behind) = self.recent.get(usize::from(onto)) {
            bytes.extend_from_slice(behind);
        }
        let mut decoder = minicbor::Decoder::new(&bytes);
        let whole = decoder.decode::<Request>().ok().filter(|_| decoder.position() == bytes.len());
        match whole {
            None => {
                let reply = self.send_bytes(at, "(garbled)", &bytes);
                if !matches!(reply, Reply::Refused(_)) {
                    self.violate("bounded", format!("HSM {at} did as bytes said that are no request"));
                }
            }
            Some(
                request @ (Request::Capture(..)
                | Request::Jump(..)
                | Request::Lead(..)
                | Request::StepDown(_)
                | Request::Commit { .. }),
            ) => {
                let reply = self.send_bytes(at, "(garbled)", &bytes);
                self.judge(n, at, &request, reply);
            }
            // Still a request of another kind: those are sent by their own steps, which know what they mean.
            Some(_) => {}
        }
    }
}

fn device(at: u8) -> usize {
    usize::from(at) % DEVICES
}

fn status(device: &mut Device) -> DeviceStatus {
    match device.ask(&Request::DeviceStatus) {
        Reply::Device(status) => status,
        other => panic!("no status but {other:?}"),
    }
}

fn approval(realm: &RealmStatus, from: &DeviceStatus, to: &DeviceStatus, nonce: Nonce) -> ExportApproval {
    let (importer, device_key, build) = (to.hsm, to.device_key, to.build);
    ExportApproval { realm: realm.realm, exporter: from.hsm, importer, device_key, build, nonce }
}

fn sign(key: &SigningKey, approval: &ExportApproval) -> ApprovalSignature {
    let signature = key.sign(approval.digest().as_bytes()).to_bytes().to_vec().into();
    ApprovalSignature { custodian: custodian(key), signature }
}

fn custodian(key: &SigningKey) -> CustodianKey {
    CustodianKey(Digest(key.verifying_key().to_bytes()))
}

/// Makes a realm in the first HSM and enrols all but the last.
fn found(devices: &mut [Device], custodians: &[SigningKey]) -> RealmStatus {
    let policy = CustodianPolicy { custodians: custodians.iter().map(custodian).collect(), threshold: 2 };
    let Reply::Device(first) = devices[0].ask(&Request::NewRealm(policy)) else { panic!("no realm") };
    let realm = first.realm.clone().expect("it has one now");
    for importer in 1..MEMBERS {
        let Reply::ExportNonce(nonce) = devices[0].ask(&Request::ExportNonce) else { panic!("no nonce") };
        let approval = approval(&realm, &first, &status(&mut devices[importer]), nonce);
        let signatures = vec![sign(&custodians[1], &approval), sign(&custodians[2], &approval)];
        let Reply::Exported(sealed) = devices[0].ask(&Request::ExportRealm(approval, signatures)) else {
            panic!("not exported")
        };
        let reply = devices[importer].ask(&Request::JoinRealm(sealed));
        assert!(matches!(reply, Reply::Device(_)), "not joined but {reply:?}");
    }
    realm
}
