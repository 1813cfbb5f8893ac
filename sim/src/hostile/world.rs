//! One episode: cores, and everything that ever left them, in the hands of a host that does as its steps say.
//!
//! Nothing here is trusted except the cores. The world builds the bytes of each step from what it holds, and hands
//! every reply to the oracle ([`super::oracle`]). A step that names something that does not exist does nothing.

use super::claims::{Claim, shaped};
use super::clients::{Clients, finish};
use super::device::handle;
use super::founding::Founding;
use super::parts::{
    Channel, Coverage, DEVICES, Exported, Group, Known, LetGo, Look, MAX_GROUPS, MEMBERS, Member, Message,
    Sum, Violation,
};
use super::step::{Made, Oddity, Shape, Step, Wish};
use crate::model::{Departure, Trace};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    BatchRequest, DeviceStatus, GroupEntries, NoiseMessage, NoiseReply, Outcome, PrefixTree, Refusal, Reply,
    Request,
};
use strongroom_proto::ids::{EntryHash, Index, Nonce, RecordId, SessionId, Term, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed, Fresh, Past, Retired};
use strongroom_proto::tree::Tree;
use strongroom_testkit::{Device, Hsm};

/// How many requests are kept to be garbled.
const RECENT: usize = 16;

/// One episode.
pub(super) struct World {
    pub(super) founding: Rc<Founding>,
    pub(super) devices: Vec<Device>,
    pub(super) statuses: Vec<DeviceStatus>,
    pub(super) groups: Vec<Group>,
    pub(super) members: Vec<Vec<Member>>,
    /// HSMs that have entered a realm of the host's own.
    pub(super) hosts_own: Vec<bool>,
    /// HSMs whose NVRAM failed since their last start.
    pub(super) failed: Vec<bool>,
    pub(super) entries: BTreeMap<Made, Known>,
    pub(super) by_hash: BTreeMap<EntryHash, Made>,
    pub(super) statements: BTreeMap<Made, (usize, Captured)>,
    pub(super) commits: BTreeMap<Made, (usize, Committed)>,
    /// Statements that the host wrote, of either kind.
    pub(super) lies: BTreeMap<Made, Captured>,
    /// Nonces for reads, and what was stated to them.
    pub(super) read_nonces: BTreeMap<Made, Nonce>,
    pub(super) fresh: BTreeMap<Made, Fresh>,
    /// Heads, those that the host wrote among them.
    pub(super) sums: BTreeMap<Made, Sum>,
    /// Statements that an entry comes before one that is committed.
    pub(super) pasts: BTreeMap<Made, Past>,
    /// What HSMs state that have left a group.
    pub(super) retired: BTreeMap<Made, (usize, Retired)>,
    /// Sealed seeds, and the HSM that each is for.
    pub(super) sealed: BTreeMap<Made, Exported>,
    /// Entries that an HSM stated as committed directly, not only through a later one.
    pub(super) stated_committed: BTreeSet<Made>,
    pub(super) committed: BTreeMap<(usize, Index), EntryHash>,
    pub(super) channels: BTreeMap<Made, Channel>,
    pub(super) messages: BTreeMap<Made, Message>,
    /// Sessions that may live: HSM, group, user, session.
    pub(super) sessions: BTreeSet<(usize, usize, u8, SessionId)>,
    /// A user's session, at an HSM for a group, in which a Recover2 was run last, as long as that was its last request.
    pub(super) charged: BTreeMap<(usize, usize, u8), SessionId>,
    pub(super) terms: BTreeSet<Term>,
    /// By group: its newest entry that is committed.
    pub(super) heads: BTreeMap<usize, Made>,
    /// What committed entries have let go.
    pub(super) let_go: BTreeMap<TransferId, LetGo>,
    /// Points whose evaluation left a core, by user, registration, and how often that was accepted or reset before.
    pub(super) evaluated: BTreeMap<(u8, u8, u32), BTreeSet<u8>>,
    pub(super) violation: Option<Violation>,
    pub(super) coverage: Coverage,
    pub(super) used_nonces: Vec<Nonce>,
    /// By HSM: the nonce that an export may use, and the last that was ever drawn.
    pub(super) nonces: Vec<(Option<Nonce>, Option<Nonce>)>,
    /// The same of the nonces for an import.
    pub(super) import_nonces: Vec<(Option<Nonce>, Option<Nonce>)>,
    /// By group: what its members do, checked against the model of the protocol.
    pub(super) traces: Vec<Trace>,
    /// What the model does not allow, in this step.
    departure: Option<Departure>,
    /// The one rule that counts, for a test of that rule; all of them otherwise.
    pub(super) only: Option<&'static str>,
    /// Whether other secrets are used than the trace says, wherever a host could not tell.
    pub(super) is_twin: bool,
    /// What every reply looked like, if that will be compared.
    pub(super) looks: Option<Vec<Look>>,
    recent: VecDeque<Vec<u8>>,
    now: Made,
    /// An HSM that a planted bug lets state what it likes.
    pub(super) broken: Option<usize>,
}

impl World {
    /// A realm without a group.
    pub(super) fn new(founding: &Rc<Founding>) -> Self {
        Self {
            founding: Rc::clone(founding),
            devices: founding.devices(),
            statuses: founding.statuses.clone(),
            groups: Vec::new(),
            members: vec![vec![Member::default(); MAX_GROUPS]; DEVICES],
            hosts_own: vec![false; DEVICES],
            failed: vec![false; DEVICES],
            entries: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            statements: BTreeMap::new(),
            commits: BTreeMap::new(),
            lies: BTreeMap::new(),
            read_nonces: BTreeMap::new(),
            fresh: BTreeMap::new(),
            sums: BTreeMap::new(),
            pasts: BTreeMap::new(),
            charged: BTreeMap::new(),
            retired: BTreeMap::new(),
            sealed: BTreeMap::new(),
            stated_committed: BTreeSet::new(),
            committed: BTreeMap::new(),
            channels: BTreeMap::new(),
            messages: BTreeMap::new(),
            sessions: BTreeSet::new(),
            terms: BTreeSet::new(),
            heads: BTreeMap::new(),
            let_go: BTreeMap::new(),
            evaluated: BTreeMap::new(),
            violation: None,
            coverage: Coverage::new(),
            used_nonces: Vec::new(),
            nonces: vec![(None, None); DEVICES],
            import_nonces: vec![(None, None); DEVICES],
            traces: Vec::new(),
            departure: None,
            only: None,
            is_twin: false,
            looks: None,
            recent: VecDeque::new(),
            now: 0,
            broken: founding.broken().map(|(at, _)| at),
        }
    }

    pub(super) fn clients(&self) -> &Clients {
        &self.founding.clients
    }

    /// Sends a request as it is, and counts what comes back.
    pub(super) fn send(&mut self, at: usize, name: &'static str, request: &Request) -> Reply {
        let bytes = minicbor::to_vec(request).expect("a vector takes all bytes");
        let reply = self.send_bytes(at, name, &bytes);
        self.watch(at, request, &reply);
        self.recent.push_front(bytes);
        self.recent.truncate(RECENT);
        reply
    }

    fn watch(&mut self, at: usize, request: &Request, reply: &Reply) {
        let Some(status) = self.statuses.get(at).filter(|_| self.broken != Some(at)) else { return };
        for trace in &mut self.traces {
            let observed = trace.observe(&status.hsm, request, reply).err();
            self.departure = self.departure.take().or(observed);
        }
    }

    fn watch_restart(&mut self, at: usize, now: &DeviceStatus) {
        for status in &now.groups {
            let group = self.groups.iter().position(|group| group.id == status.statement.group);
            let Some(trace) = group.and_then(|group| self.traces.get_mut(group)) else { continue };
            let observed = trace.restarted(&self.statuses[at].hsm, status.captured_hash).err();
            self.departure = self.departure.take().or(observed);
        }
    }

    fn send_bytes(&mut self, at: usize, name: &'static str, bytes: &[u8]) -> Reply {
        let role = match &self.members[at] {
            _ if at >= MEMBERS => "outsider",
            groups if groups.iter().any(|m| m.lead.is_some()) => "leader",
            _ => "witness",
        };
        let Some(reply) = handle(&mut self.devices[at], bytes) else {
            self.violate("bounded", format!("HSM {at} panicked"));
            return Reply::Done;
        };
        let size = reply.len();
        let limit = self.statuses.get(at).map_or(usize::MAX, |s| s.limits.max_frame_bytes as usize);
        if size > limit {
            self.violate("bounded", format!("HSM {at} answered {size} bytes"));
        }
        let Ok(reply) = minicbor::decode::<Reply>(&reply) else {
            self.violate("bounded", format!("HSM {at} answered bytes that are no reply"));
            return Reply::Done;
        };
        let outcome = if let Reply::Refused(refusal) = &reply { format!("{refusal:?}") } else { "ok".into() };
        if let Some(looks) = &mut self.looks {
            looks.push((self.now, size, look(&reply)));
        }
        self.failed[at] |= reply == Reply::Refused(Refusal::NvramFailed);
        self.cover(name, role, outcome);
        reply
    }

    pub(super) fn cover(&mut self, name: &'static str, role: &'static str, outcome: String) {
        *self.coverage.entry((name, role, outcome)).or_default() += 1;
    }

    /// Does one step and lets the oracle judge it.
    pub(super) fn apply(&mut self, n: Made, step: &Step) {
        self.act(n, step);
        // Last, because the other rules say more about what it means.
        if let Some(departure) = self.departure.take() {
            self.violate("as the model allows", departure.to_string());
        }
    }

    fn act(&mut self, n: Made, step: &Step) {
        self.now = n;
        if self.apply_to_hsm(n, step) || self.groups.is_empty() {
            return;
        }
        let group_of = |group: u8| usize::from(group) % self.groups.len();
        match step {
            Step::Open { user, at, group, handshake } => {
                let group = group_of(*group);
                self.open(n, *user, device(*at), group, *handshake);
            }
            Step::Process { at, group, tree, messages, as_user } => {
                let group = group_of(*group);
                self.process(n, device(*at), group, *tree, messages, *as_user);
            }
            Step::HandMade { at, group, tree, messages, shape, older } => {
                let group = group_of(*group);
                self.hand_made(n, device(*at), group, *tree, messages, *shape, *older);
            }
            Step::Change { at, group, .. } => self.change(n, device(*at), group_of(*group), step),
            Step::Capture { at, group, entries } => {
                let id = self.groups[group_of(*group)].id;
                let entries = self.entries_of(entries);
                self.exchange(n, device(*at), step.name(), &Request::capture(id, entries));
            }
            Step::CaptureBoth { at, groups, entries, others } => {
                let groups = groups.map(|group| self.groups[group_of(group)].id);
                let both = groups
                    .into_iter()
                    .zip([entries, others])
                    .map(|(group, entries)| GroupEntries { group, entries: self.entries_of(entries) });
                let request = Request::Capture(both.collect());
                self.exchange(n, device(*at), step.name(), &request);
            }
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
            Step::Commit { at, group, statements } => {
                let group = self.groups[group_of(*group)].id;
                let statements = statements.iter().filter_map(|s| self.captured_or_dressed(*s)).collect();
                self.exchange(n, device(*at), step.name(), &Request::Commit { group, statements });
            }
            Step::Join { at, group, invitation } => {
                let group = group_of(*group);
                self.join(device(*at), group, *invitation);
            }
            Step::DeepTree { at } => self.deep_tree(device(*at)),
            Step::Leave { at, group, entry, statement } => {
                self.leave(n, device(*at), group_of(*group), *entry, *statement);
            }
            Step::Knock { at, group, message } => self.knock(device(*at), group_of(*group), *message),
            Step::DrawNonce { at, group } => self.draw_nonce(n, device(*at), group_of(*group)),
            Step::StateFresh { at, group, nonce } => {
                self.state_fresh(n, device(*at), group_of(*group), *nonce);
            }
            Step::Confirm { at, group, statements } => {
                self.confirm(n, device(*at), group_of(*group), statements);
            }
            _ => {}
        }
    }

    /// A step that needs no group. Returns whether it was one.
    fn apply_to_hsm(&mut self, n: Made, step: &Step) -> bool {
        match step {
            Step::Ask { channel, wish } => self.ask(n, *channel, *wish),
            Step::Ride { user, wish } => self.ride(n, *user, *wish),
            Step::Jump { at, entry, statement } => self.jump(n, device(*at), *entry, *statement),
            Step::Restart { at, cut_after } => self.restart(device(*at), *cut_after),
            Step::CutPower { at, after } => self.devices[device(*at)].cut_power_after(*after),
            Step::Forge { entry, how } => self.forge(n, *entry, *how),
            Step::Lie { statement, entry, how } => self.lie(n, *statement, *entry, *how),
            Step::Head(step) => self.apply_head(n, step),
            Step::Tell(step) => self.tell(n, step),
            Step::NewGroup { at, of, members } => self.new_group(device(*at), *of, *members),
            Step::Export { at, to, signers, approval } => {
                self.export(n, device(*at), device(*to), *signers, *approval);
            }
            Step::JoinRealm { at, sealed, hosts } => self.join_realm(device(*at), *sealed, *hosts),
            Step::Garble { at, back, cut, flip, onto } => {
                self.garble(n, device(*at), *back, *cut, *flip, *onto);
            }
            Step::Status { at } => {
                let at = device(*at);
                if let Reply::Device(now) = self.send(at, step.name(), &Request::DeviceStatus) {
                    self.judge_status(at, &now);
                }
            }
            _ => return false,
        }
        true
    }

    pub(super) fn entries_of(&self, made: &[Made]) -> Vec<Entry> {
        made.iter().filter_map(|e| self.entries.get(e)).map(|known| known.entry.clone()).collect()
    }

    /// Sends a request whose reply says all there is to know.
    pub(super) fn exchange(&mut self, n: Made, at: usize, name: &'static str, request: &Request) {
        let reply = self.send(at, name, request);
        self.judge(n, at, request, reply);
    }

    fn open(&mut self, n: Made, user: u8, at: usize, group: usize, handshake: u32) {
        let user = user % super::clients::USERS;
        let (state, message) = self.clients().start(handshake, None);
        let session = Clients::session(handshake);
        let request = BatchRequest { record: self.clients().record(user), session, message, time: None };
        let request = Request::Handshake(self.groups[group].id, request);
        let Reply::Handshaken(Outcome::Answered(reply)) = self.send(at, "Handshake", &request) else {
            return;
        };
        if !self.covers(at, group, user) {
            let what =
                format!("HSM {at} opened a session of user {user} in group {group}, which does not own it");
            return self.violate("served by its owner", what);
        }
        self.sessions.insert((at, group, user, session));
        self.end_charge(at, group, user, session);
        if let Some((transport, _)) = finish(state, &reply) {
            self.channels.insert(n, Channel { user, transport, session });
        }
    }

    /// What is not a request in its own right may not be run, nor be taken for an empty one.
    fn knock(&mut self, at: usize, group: usize, message: Made) {
        let Some(Message { user, wish, session, noise, .. }) = self.messages.get(&message) else { return };
        let (record, session, message) = (self.clients().record(*user), *session, noise.clone());
        let (user, wish) = (*user, *wish);
        let request = BatchRequest { record, session, message, time: None };
        let reply = self.send(at, "Handshake", &Request::Handshake(self.groups[group].id, request));
        // With nothing inside, it is a handshake without a request.
        if matches!(reply, Reply::Handshaken(Outcome::Answered(_))) && wish != Wish::Odd(Oddity::Nothing) {
            let what = format!("HSM {at} took {wish:?} of user {user} for a handshake without a request");
            self.violate("no such request", what);
        }
    }

    fn ask(&mut self, n: Made, channel: Made, wish: Wish) {
        let wish = if self.is_twin { wish.twin(n) } else { wish };
        let Some(open) = self.channels.get_mut(&channel) else { return };
        let request = self.founding.clients.payload(open.user, wish);
        let Ok(ciphertext) = open.transport.encrypt(&request) else { return };
        let noise = NoiseMessage::Transport { ciphertext: ciphertext.into() };
        let (user, session, channel) = (open.user, open.session, Some(channel));
        let message =
            Message { user, wish, channel, handshake: 0, session, noise, applied: None, reply: None };
        self.messages.insert(n, message);
    }

    fn ride(&mut self, n: Made, user: u8, wish: Wish) {
        let wish = if self.is_twin { wish.twin(n) } else { wish };
        let user = user % super::clients::USERS;
        let handshake = n | 1 << 31;
        let (_, noise) = self.clients().start(handshake, Some((user, wish)));
        let session = Clients::session(handshake);
        let message =
            Message { user, wish, channel: None, handshake, session, noise, applied: None, reply: None };
        self.messages.insert(n, message);
    }

    /// Client messages as a host would put them into a batch, and whose each claims to be.
    fn batch(&self, messages: &[Made], as_user: Option<u8>) -> (Vec<(Made, u8)>, Vec<BatchRequest>) {
        let known = messages.iter().filter_map(|number| Some((*number, self.messages.get(number)?)));
        let request = |(number, message): (Made, &Message)| {
            let user = as_user.map_or(message.user, |user| user % super::clients::USERS);
            let (session, noise) = (message.session, message.noise.clone());
            (
                (number, user),
                BatchRequest { record: self.clients().record(user), session, message: noise, time: None },
            )
        };
        known.map(request).unzip()
    }

    /// The tree after an entry; the empty one after nothing.
    pub(super) fn tree(&self, after: Option<Made>) -> Option<Tree> {
        match after {
            None => Some(Tree::new(Prefix::WHOLE)),
            Some(made) => self.entries.get(&made).map(|known| known.tree.clone()),
        }
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
        let Some(base) = self.tree(tree) else { return };
        let (used, requests) = self.batch(messages, as_user);
        let ids: Vec<_> = requests.iter().map(|r| r.record).collect();
        let trees = self.trees(group, tree, &base, &ids);
        let shown: Vec<Prefix> = trees.iter().map(|tree| tree.prefix).collect();
        let request = Request::Process { group: self.groups[group].id, trees, requests };
        match self.send(at, "Process", &request) {
            Reply::Processed { outcomes, made } => {
                // The core compared nothing with a tree that it was not shown.
                let newest = self.members[at][group].lead.as_ref().and_then(|lead| lead.newest);
                let base = self
                    .tree(newest)
                    .map_or_else(|| base.clone(), |newest| self.merged(&newest, &base, &shown));
                self.judge_processed(n, at, group, &base, &used, &outcomes, made);
            }
            Reply::Refused(Refusal::NotLeader) => self.end_leadership(at, group),
            _ => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that the step says")]
    fn hand_made(
        &mut self,
        n: Made,
        at: usize,
        group: usize,
        tree: Option<Made>,
        messages: &[Made],
        shape: Shape,
        older: Option<Made>,
    ) {
        let (Some(base), Some(older)) = (self.tree(tree), self.tree(older)) else { return };
        let (used, requests) = self.batch(messages, None);
        let first = used.first().map_or(0, |(_, user)| *user);
        let (record, other) = (self.clients().record(first), self.clients().record(first + 1));
        let owned = self.owned(group, tree);
        let prefix = owned.into_iter().find(|prefix| prefix.contains(&record)).unwrap_or(Prefix::WHOLE);
        let mut ids: Vec<RecordId> = requests.iter().map(|r| r.record).collect();
        ids.extend([record, other]);
        ids.retain(|id| prefix.contains(id));
        let claim =
            |tree: &Tree| self.below(tree, prefix).partial(&ids).ok().and_then(|partial| Claim::of(&partial));
        let (Some(right), Some(older)) = (claim(&base), claim(&older)) else { return };
        let claims = shaped(shape, &right, &older, &record, &other);
        let trees: Option<Vec<PrefixTree>> = claims.iter().map(Claim::to_request).collect();
        let Some(trees) = trees else { return };
        let records: Vec<RecordId> = requests.iter().map(|r| r.record).collect();
        let request = Request::Process { group: self.groups[group].id, trees, requests };
        let reply = self.send(at, "Process", &request);
        let outcome = if let Reply::Refused(refusal) = &reply { format!("{refusal:?}") } else { "ok".into() };
        self.cover("(by hand)", "any", format!("{shape:?}: {outcome}"));
        if let Reply::Processed { outcomes, made } = reply {
            self.judge_claims(at, group, &claims, &records, shape);
            let newest = self.members[at][group].lead.as_ref().and_then(|lead| lead.newest);
            let base = self.tree(newest).unwrap_or(base);
            self.judge_processed(n, at, group, &base, &used, &outcomes, made);
        }
    }

    /// What is known about a leadership ends with it: its sessions first.
    pub(super) fn end_leadership(&mut self, at: usize, group: usize) {
        self.members[at][group].lead = None;
        self.end_sessions(at, group);
    }

    pub(super) fn end_sessions(&mut self, at: usize, group: usize) {
        self.sessions.retain(|(a, g, ..)| (*a, *g) != (at, group));
        self.charged.retain(|(a, g, _), _| (*a, *g) != (at, group));
    }

    /// What a user did that ends its claim to a session, if it is this one.
    pub(super) fn end_charge(&mut self, at: usize, group: usize, user: u8, session: SessionId) {
        if self.charged.get(&(at, group, user)) == Some(&session) {
            self.charged.remove(&(at, group, user));
        }
    }

    fn jump(&mut self, n: Made, at: usize, entry: Made, statement: Made) {
        let Some(known) = self.entries.get(&entry) else { return };
        let Some(committed) = self.commit_or_dressed(statement) else { return };
        self.exchange(n, at, "Jump", &Request::Jump(known.entry.clone(), committed));
    }

    fn restart(&mut self, at: usize, cut_after: Option<u32>) {
        if !self.devices[at].try_restart(cut_after) {
            return self.violate("NVRAM", format!("HSM {at} does not start from what it wrote"));
        }
        let after = if self.failed[at] { "after a cut" } else { "of a sound HSM" };
        let how = if cut_after.is_some() { ", power cut again" } else { "" };
        self.cover("(restart)", "any", format!("{after}{how}"));
        self.failed[at] = false;
        self.nonces[at].0 = None;
        self.import_nonces[at].0 = None;
        for group in 0..self.members[at].len() {
            self.end_leadership(at, group);
        }
        let now = self.devices[at].status();
        self.watch_restart(at, &now);
        self.judge_status(at, &now);
    }

    fn deep_tree(&mut self, at: usize) {
        // In preorder: 257 inner nodes, each the left side of the previous one; a stub; the empty right sides.
        let mut deep = vec![0x99, 0x02, 0x03];
        deep.extend([0x81, 0x01].repeat(257));
        deep.extend([0x82, 0x02, 0x58, 0x20]);
        deep.extend([7; 32]);
        deep.extend([0x81, 0x00].repeat(257));
        let tree = minicbor::decode(&deep).expect("decodes as a claim");
        let trees = vec![PrefixTree { prefix: Prefix::WHOLE, tree }];
        let request = Request::Process { group: self.groups[0].id, trees, requests: Vec::new() };
        let reply = self.send(at, "Process", &request);
        // It can be found to have another root only after it was read to its end.
        if reply == Reply::Refused(Refusal::StaleTree) {
            self.violate("bounded", format!("HSM {at} read a tree deeper than a record id"));
        }
    }

    fn garble(&mut self, n: Made, at: usize, back: u8, cut: u16, flip: u16, onto: u8) {
        let Some(bytes) = self.recent.get(usize::from(back)) else { return };
        let mut bytes = bytes.clone();
        bytes.truncate(usize::from(cut).max(1));
        // The last possible bit means none.
        if flip < u16::MAX {
            let bit = usize::from(flip) % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
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
                | Request::Fresh(..)
                | Request::DrawReadNonce(_)
                | Request::Confirm { .. }
                | Request::Tell { .. }
                | Request::Commit { .. }),
            ) => {
                let reply = self.send_bytes(at, "(garbled)", &bytes);
                self.watch(at, &request, &reply);
                self.judge(n, at, &request, reply);
            }
            // This is a request of another kind: those are sent by their own steps, which know what they mean.
            Some(_) => {}
        }
    }
}

pub(super) fn device(at: u8) -> usize {
    usize::from(at) % DEVICES
}

/// What a host sees of a reply: everything except the bytes that must look random.
fn look(reply: &Reply) -> String {
    let kind = |outcome: &Outcome| match outcome {
        Outcome::Kept => "kept".to_owned(),
        Outcome::Read(number) => format!("read {number}"),
        Outcome::Answered(_) => "answered".to_owned(),
        Outcome::Refused(refusal) => format!("{refusal:?}"),
    };
    match reply {
        Reply::Refused(refusal) => format!("{refusal:?}"),
        Reply::Handshaken(outcome) => kind(outcome),
        Reply::Processed { outcomes, made } => {
            let outcomes: Vec<String> = outcomes.iter().map(kind).collect();
            let Some(made) = made else { return format!("{outcomes:?}, no entry") };
            let leaves: Vec<_> = made.leaves.iter().map(|l| (l.record.0[0], l.sealed.len())).collect();
            let events: Vec<usize> = made.events.iter().map(|event| event.len()).collect();
            format!("{outcomes:?}, leaves {leaves:?}, events {events:?}")
        }
        Reply::Committed { statement, released } => {
            let size = |reply: &NoiseReply| match reply {
                NoiseReply::Handshake { ciphertext, .. } | NoiseReply::Transport { ciphertext } => {
                    ciphertext.len()
                }
            };
            let sizes = released.iter().map(|r| r.replies.iter().map(size).collect());
            let sizes: Vec<Vec<usize>> = sizes.collect();
            format!("entry {} committed, replies {sizes:?}", statement.index.0)
        }
        other => {
            minicbor::to_vec(other).map_or_else(|_| String::new(), |bytes| format!("{} bytes", bytes.len()))
        }
    }
}
