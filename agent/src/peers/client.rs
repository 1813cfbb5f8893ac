//! Calling other agents.
//!
//! There are three kinds: those that are configured, those that announce themselves in the store and share a group with
//! this one, and others. To the first two a connection is kept; to the others one is made when a request goes there, and
//! ended when none has for a while.

use super::announcement::{Announcement, AnnouncementName};
use super::directory::Directory;
use super::greeting::Greeting;
use super::outgoing::Outgoing;
use super::peer::{Making, Peer};
use super::routes::Routes;
use super::sent::Sent;
use super::{Forwarded, Identities, PeerUrl, Timeouts, root_cause};
use crate::grpc::peer::{InviteRequest, LeaveRequest, OrderRequest, PeerStatus, SetupReply, StatusRequest};
use crate::traces::Trail;
use crate::vital::Vital;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strongroom_proto::ids::{GroupId, HsmId, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::peer::PeerMessage;
use tokio::sync::{Semaphore, watch};
use tonic::{Code, Request, Status};

/// How long to wait for a peer's word about who leads.
const ASK_TIMEOUT: Duration = Duration::from_millis(300);
/// How many requests ask around at once; the others rely on what these find.
const ASKING: usize = 8;
/// How long an order may take: one of them copies all records below a prefix.
const ORDER: Duration = Duration::from_secs(50 * 60);
/// How many agents are asked who leads that nothing says anything about.
const OTHERS: usize = 8;
/// How many of those that were said to lead are asked.
const TOLD: usize = 3;
/// How long a connection to an agent that shares no group with this one is kept for the next request.
const IDLE: Duration = Duration::from_secs(60);
/// How many such connections there are at most.
const MAX_VISITED: usize = 1024;
/// How many agents that share no group with this one an operator is told about.
const SHOWN: usize = 256;
/// How many are asked at once, and the longest answer that is read, in bytes.
const AT_ONCE: usize = 128;
const MAX_STATUS_BYTES: usize = 256 * 1024;

/// The other agents. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    table: Arc<RwLock<Table>>,
    making: Making,
    directory: Directory,
    asking: Arc<Semaphore>,
    /// Where the last search among peers began.
    turn: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<usize, Entry>,
    next: usize,
    /// The peers that were found in the store.
    announced: BTreeMap<HsmId, usize>,
    /// The HSMs that share a group with this agent's.
    members: BTreeSet<HsmId>,
}

struct Entry {
    peer: Arc<Peer>,
    /// The HSM for which the store names this address; none if it is configured.
    of: Option<HsmId>,
    /// Whether a connection is kept. The peer ends when this is dropped.
    kept: watch::Sender<bool>,
}

impl Table {
    fn add(&mut self, address: PeerUrl, of: Option<HsmId>, making: &Making) -> Arc<Peer> {
        let at = self.next;
        self.next = at.wrapping_add(1);
        let (kept, keeps) = watch::channel(of.is_none_or(|hsm| self.members.contains(&hsm)));
        let peer = Peer::start(at, address, making, &keeps);
        self.entries.insert(at, Entry { peer: Arc::clone(&peer), of, kept });
        if let Some(hsm) = of {
            self.announced.insert(hsm, at);
        }
        peer
    }

    fn remove(&mut self, at: usize, making: &Making) {
        let of = self.entries.remove(&at).and_then(|entry| entry.of);
        if let Some(hsm) = of {
            self.announced.remove(&hsm);
        }
        making.routes.forget(at);
    }

    fn visited(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| !*entry.kept.borrow())
    }

    /// The peer with this HSM: where it was found, or else where the store says that it is.
    fn of(&self, hsm: HsmId, making: &Making) -> Option<&Entry> {
        let at = |at: usize| self.entries.get(&at);
        let found = making.routes.place(hsm).and_then(at);
        found.or_else(|| at(*self.announced.get(&hsm)?))
    }
}

impl Peers {
    /// Begins to look for the agents at `addresses`, with the identity from `identities`, and waits this long for their
    /// answers. Call it inside a runtime; it stops with the runtime.
    #[must_use]
    pub fn start(addresses: &[PeerUrl], identities: &Identities, timeouts: Timeouts) -> Self {
        Self::start_vital(addresses, identities, timeouts, &Vital::new().0)
    }

    /// The same, with a place to report the end of one of its tasks.
    pub(crate) fn start_vital(
        addresses: &[PeerUrl],
        identities: &Identities,
        timeouts: Timeouts,
        vital: &Vital,
    ) -> Self {
        let (routes, greeting) = (Routes::default(), Greeting::default());
        let (identities, vital) = (identities.clone(), vital.clone());
        let making = Making { routes, greeting, identities, timeouts, vital };
        let mut table = Table::default();
        for address in addresses {
            table.add(address.clone(), None, &making);
        }
        let (table, asking) = (Arc::new(RwLock::new(table)), Arc::new(Semaphore::new(ASKING)));
        Self { table, making, directory: Directory::default(), asking, turn: Arc::default() }
    }

    /// Sends a message from our HSM's replica to another's. It may be lost.
    pub fn send(&self, from: HsmId, to: HsmId, message: PeerMessage) {
        let Some(peer) = self.of(to) else { return };
        let queue = match message {
            PeerMessage::Push { .. } => &peer.bulk,
            PeerMessage::Heartbeat { .. }
            | PeerMessage::Captured { .. }
            | PeerMessage::Follows { .. }
            | PeerMessage::Seek { .. }
            | PeerMessage::Yield { .. }
            | PeerMessage::StateFresh { .. }
            | PeerMessage::Fresh { .. } => &peer.urgent,
        };
        if queue.try_send(Outgoing::new(from, to, message)).is_err() {
            tracing::debug!(%to, "a peer does not keep up; a message was dropped");
        }
    }

    /// Passes a client's request to the agent of the HSM `to`, with this trail.
    pub async fn forward(&self, to: HsmId, sent: &Sent, trail: &Trail) -> Forwarded {
        let Some(peer) = self.of(to) else {
            self.directory.want();
            return Forwarded::NotSent;
        };
        let asked = tokio::time::Instant::now();
        let forwarded = peer.forwards.forward(to, sent, trail).await;
        peer.touch();
        if self.is_greeted(&peer) {
            return forwarded;
        }
        match forwarded {
            Forwarded::Answer(_) => peer.listen_again(),
            Forwarded::NotSent | Forwarded::Unknown => self.making.routes.heard.nothing(peer.at, asked),
        }
        forwarded
    }

    /// Whether there are any peers.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.read().entries.is_empty()
    }

    /// A request has come, which needs them perhaps: they are asked soon whether they are there.
    pub(crate) fn stir(&self) {
        self.making.greeting.stir();
    }

    /// Whether any peer is there: one that has answered, unless it has left questions without an answer for this long.
    pub(crate) fn is_any_there(&self, patience: Duration) -> bool {
        self.making.routes.heard.is_any_there(patience)
    }

    /// Asks who leads the group that covers a record, until one names a leader: first those that were said to lead it, then
    /// those that announce in the store that it is theirs, then a few others.
    pub(crate) async fn ask_around(&self, record: &RecordId) {
        // Many requests may wait for a leader. Some ask, and all hear the answer.
        let Ok(_place) = self.asking.try_acquire() else { return };
        let mut asked = BTreeSet::new();
        let whom: [&(dyn Fn() -> Vec<Arc<Peer>> + Sync); 3] = [
            &|| self.all_of(self.making.routes.told(record).into_iter().take(TOLD)),
            &|| self.all_of(self.directory.of_record(record)),
            &|| self.others(),
        ];
        for whom in whom {
            let peers: Vec<_> = whom().into_iter().filter(|peer| asked.insert(peer.at)).collect();
            if self.ask(&peers, record).await {
                return;
            }
        }
        // Perhaps the store knows more by now.
        self.directory.want();
    }

    /// Asks some peers at once. Returns whether one of them names a leader.
    async fn ask(&self, peers: &[Arc<Peer>], record: &RecordId) -> bool {
        let mut asked: FuturesUnordered<_> = peers.iter().map(|peer| peer.hello()).collect();
        let heard = &self.making.routes.heard;
        let answered = async {
            while let Some(answer) = asked.next().await {
                if answer.is_ok() && !heard.leaders(record, ASK_TIMEOUT).is_empty() {
                    return true;
                }
            }
            false
        };
        // Slower peers are not waited for.
        tokio::time::timeout(ASK_TIMEOUT, answered).await.unwrap_or(false)
    }

    /// Some of the peers to which there is a connection, each time others; and if they are few, some that the store names.
    fn others(&self) -> Vec<Arc<Peer>> {
        let turn = self.turn.fetch_add(OTHERS, Ordering::Relaxed);
        let mut some: Vec<_> = {
            let table = self.table.read();
            let count = table.entries.len().max(1);
            let from = table.entries.values().cycle().skip(turn % count).take(table.entries.len());
            from.take(OTHERS).map(|entry| Arc::clone(&entry.peer)).collect()
        };
        let more = self.directory.others(OTHERS.saturating_sub(some.len()));
        some.extend(self.all_of(more));
        some
    }

    fn all_of(&self, hsms: impl IntoIterator<Item = HsmId>) -> Vec<Arc<Peer>> {
        hsms.into_iter().filter_map(|hsm| self.of(hsm)).collect()
    }

    /// Who leads the group that covers a record, by what the peers have said recently; the likeliest first.
    pub(crate) fn leaders_of(&self, record: &RecordId) -> Vec<HsmId> {
        self.making.routes.leaders(record)
    }

    /// The same, without those that have not answered lately.
    pub(crate) fn leaders_there(&self, record: &RecordId) -> Vec<HsmId> {
        let routes = &self.making.routes;
        let there = |leader: &HsmId| routes.place(*leader).is_none_or(|at| routes.heard.is_there(at));
        routes.leaders(record).into_iter().filter(there).collect()
    }

    /// Asks for their status the peers that are configured or share a group; those that cannot be reached have none.
    pub(crate) async fn statuses_of_kept(&self) -> Vec<PeerStatus> {
        self.ask_statuses(self.kept()).await
    }

    /// The same, and of others that announce themselves in the store, if they are not too many; and how many are left out.
    pub(crate) async fn statuses(&self) -> (Vec<PeerStatus>, u32) {
        // Whoever asks may wait for one that is new.
        self.directory.want();
        let mut peers = self.kept();
        let known: BTreeSet<usize> = peers.iter().map(|peer| peer.at).collect();
        let others = self.all_of(self.directory.others(SHOWN));
        peers.extend(others.into_iter().filter(|peer| !known.contains(&peer.at)));
        let left_out = self.directory.usable().saturating_sub(peers.len() + 1);
        (self.ask_statuses(peers).await, u32::try_from(left_out).unwrap_or(u32::MAX))
    }

    fn kept(&self) -> Vec<Arc<Peer>> {
        let table = self.table.read();
        let kept = table.entries.values().filter(|entry| *entry.kept.borrow());
        kept.map(|entry| Arc::clone(&entry.peer)).collect()
    }

    async fn ask_statuses(&self, peers: Vec<Arc<Peer>>) -> Vec<PeerStatus> {
        let ask = peers.into_iter().map(|peer| async move {
            let mut client = peer.client().max_decoding_message_size(MAX_STATUS_BYTES);
            let limit = self.making.timeouts.hello;
            let asked = client.status(within(limit, StatusRequest {}));
            let reply = tokio::time::timeout(limit * 2, asked).await;
            let (status, why) = match reply {
                Ok(Ok(reply)) => (Some(reply.into_inner()), String::new()),
                Ok(Err(status)) => (None, root_cause(&status)),
                Err(_) => (None, "it does not answer".into()),
            };
            let hsm = self.making.routes.hsm(peer.at);
            let silent = self.making.routes.heard.silent_for(peer.at).filter(|_| status.is_none());
            let announced = hsm.or_else(|| self.named(peer.at)).and_then(|hsm| self.directory.said(hsm));
            PeerStatus {
                address: peer.address.0.to_string(),
                status,
                why,
                hsm: hsm.map(|hsm| hsm.0.to_vec()).unwrap_or_default().into(),
                silent_seconds: silent.map_or(0, |silent| silent.as_secs() + 1),
                announced: announced.map(|said| said.to_bytes()).unwrap_or_default().into(),
            }
        });
        futures::stream::iter(ask).buffered(AT_ONCE).collect().await
    }

    /// The HSM for which the store names this peer's address.
    fn named(&self, at: usize) -> Option<HsmId> {
        self.table.read().entries.get(&at)?.of
    }

    /// Asks a peer to have its HSM join a group; `None` if no peer with that HSM was found.
    pub(crate) async fn invite(
        &self,
        to: HsmId,
        request: InviteRequest,
    ) -> Option<Result<SetupReply, Status>> {
        let reply = self.of(to)?.client().invite(within(self.making.timeouts.invite, request)).await;
        Some(reply.map(tonic::Response::into_inner))
    }

    /// Asks a peer to have its HSM leave a group; `None` if no peer with that HSM was found.
    pub(crate) async fn leave(&self, to: HsmId, request: LeaveRequest) -> Option<Result<SetupReply, Status>> {
        let reply = self.of(to)?.client().leave(within(self.making.timeouts.invite, request)).await;
        Some(reply.map(tonic::Response::into_inner))
    }

    /// The HSMs whose agents may know who leads a group: its members, as announced, and every peer that was found.
    pub(crate) fn near(&self, group: &GroupId) -> Vec<HsmId> {
        let kept = self.kept();
        let found = kept.iter().filter_map(|peer| self.making.routes.hsm(peer.at));
        found.chain(self.directory.members(group)).collect()
    }

    /// A group other than this one that owns some of a prefix, by what agents have announced.
    pub(crate) fn owner(&self, prefix: &Prefix, other_than: &GroupId) -> Option<GroupId> {
        self.directory.owner(prefix, other_than)
    }

    /// The group that owns a record, by what agents have announced.
    pub(crate) fn group_of(&self, record: &RecordId) -> Option<GroupId> {
        let found = self.directory.group_of(record);
        if found.is_none() {
            // Perhaps the store knows more by now.
            self.directory.want();
        }
        found
    }

    /// Has the agent of the HSM `to` carry out an order, if it leads the group. `None` if it cannot be asked, and then
    /// nothing was done; nothing in it if it is not known what was.
    pub(crate) async fn order(&self, to: HsmId, group: GroupId, order: Vec<u8>) -> Option<Option<Bytes>> {
        let (to_whom, group) = (to.0.to_vec().into(), group.0.to_vec().into());
        let request = OrderRequest { to: to_whom, group, order: order.into() };
        match self.of(to)?.client().order(within(ORDER, request)).await {
            Ok(reply) => Some(Some(reply.into_inner().end)),
            // Another HSM, or an agent that cannot be reached.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::Unavailable) => None,
            Err(_) => Some(None),
        }
    }

    /// The peer with this HSM; one that is known only from the store becomes one now.
    fn of(&self, hsm: HsmId) -> Option<Arc<Peer>> {
        let known = {
            let table = self.table.read();
            table.of(hsm, &self.making).map(|entry| Arc::clone(&entry.peer))
        };
        let peer = match known {
            Some(peer) => peer,
            None => self.visit(hsm, self.directory.address(hsm)?),
        };
        peer.touch();
        Some(peer)
    }

    fn is_greeted(&self, peer: &Peer) -> bool {
        self.table.read().entries.get(&peer.at).is_some_and(|entry| *entry.kept.borrow())
    }

    fn visit(&self, hsm: HsmId, address: PeerUrl) -> Arc<Peer> {
        let mut table = self.table.write();
        if let Some(entry) = table.announced.get(&hsm).and_then(|at| table.entries.get(at)) {
            return Arc::clone(&entry.peer);
        }
        // It may be configured, and not have been reached yet.
        if let Some(entry) = table.entries.values().find(|entry| entry.peer.address == address) {
            return Arc::clone(&entry.peer);
        }
        if table.visited().count() >= MAX_VISITED {
            let longest = table.visited().max_by_key(|entry| entry.peer.idle()).map(|entry| entry.peer.at);
            longest.into_iter().for_each(|at| table.remove(at, &self.making));
        }
        table.add(address, Some(hsm), &self.making)
    }

    /// Takes note of which announcements the store has.
    pub(crate) fn listed(&self, names: impl IntoIterator<Item = AnnouncementName>, unix: u64) {
        self.directory.list(names, unix);
    }

    /// Some of the announcements that must be read, of agents that share a group before others.
    pub(crate) fn unread(&self) -> Vec<AnnouncementName> {
        let members = self.table.read().members.clone();
        self.directory.unread(&members)
    }

    /// Takes what an announcement says; `None` if it could not be read.
    pub(crate) fn announced(&self, name: &AnnouncementName, said: Option<Announcement>) {
        self.directory.put(name, said);
    }

    /// Completes when somebody looks for an agent that is not known.
    pub(crate) async fn wanted(&self) {
        self.directory.wanted().await;
    }

    /// Whether it is known where each HSM is that shares a group with this agent's.
    pub(crate) fn knows_members(&self) -> bool {
        let table = self.table.read();
        let known = |hsm: &HsmId| {
            table.of(*hsm, &self.making).is_some_and(|entry| self.making.routes.heard.is_there(entry.peer.at))
        };
        table.members.iter().all(known)
    }

    /// Makes peers of the agents whose HSMs share a group with this agent's, and ends the connections that nobody needs,
    /// or that go where an agent is no more.
    pub(crate) fn tend(&self, members: BTreeSet<HsmId>) {
        let mut table = self.table.write();
        table.members = members;
        for entry in table.entries.values() {
            let Some(hsm) = entry.of else { continue };
            let keep = table.members.contains(&hsm);
            entry.kept.send_if_modified(|kept| std::mem::replace(kept, keep) != keep);
        }
        let over: Vec<usize> =
            table.entries.values().filter(|entry| self.is_over(entry)).map(|entry| entry.peer.at).collect();
        over.into_iter().for_each(|at| table.remove(at, &self.making));
        let heard = &self.making.routes.heard;
        let missing = |hsm: &&HsmId| {
            let entry = table.of(**hsm, &self.making);
            !table.announced.contains_key(*hsm) && entry.is_none_or(|entry| !heard.is_there(entry.peer.at))
        };
        let missing: Vec<HsmId> = table.members.iter().filter(missing).copied().collect();
        for hsm in missing {
            let Some(address) = self.directory.address(hsm) else { continue };
            if !table.entries.values().any(|entry| entry.peer.address == address) {
                table.add(address, Some(hsm), &self.making);
            }
        }
    }

    fn is_over(&self, entry: &Entry) -> bool {
        let Some(hsm) = entry.of else { return false };
        let moved = self.directory.address(hsm).is_some_and(|address| address != entry.peer.address);
        // What works is not given up for what the store says.
        let moved = moved && !self.making.routes.heard.is_there(entry.peer.at);
        moved || (!*entry.kept.borrow() && entry.peer.idle() > IDLE)
    }
}

fn within<T>(time: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time);
    request
}

#[cfg(test)]
mod tests {
    use super::super::announcement::AnnouncedGroup;
    use super::*;
    use strongroom_proto::ids::GroupId;
    use strongroom_proto::prefix::Prefix;

    const MEMBERS: u16 = 3;

    fn hsm(group: u16, member: u16) -> HsmId {
        let mut id = [1; 16];
        id[..2].copy_from_slice(&group.to_be_bytes());
        id[2..4].copy_from_slice(&member.to_be_bytes());
        HsmId(id)
    }

    /// The prefix of one group among a power of two.
    fn part(group: u16, groups: u16) -> Prefix {
        let len = u16::try_from(groups.ilog2()).expect("small");
        let mut id = [0; 32];
        id[..2].copy_from_slice(&(group << (16 - len).min(15)).to_be_bytes());
        Prefix::of(&RecordId(id), len).expect("short enough")
    }

    /// An agent in none of so many groups, all of which the store names. None of them can be reached.
    fn outside(groups: u16) -> Peers {
        let (sender, identities) = watch::channel(None);
        std::mem::forget(sender);
        let peers = Peers::start(&[], &identities, Timeouts::default());
        let said: Vec<_> = (0..groups)
            .flat_map(|group| (0..MEMBERS).map(move |member| (group, member)))
            .map(|(group, member)| {
                let address = format!("https://127.0.0.1:{}", 1 + group * MEMBERS + member);
                let address = PeerUrl::try_from(address).expect("an address");
                let members = (0..MEMBERS).map(|member| hsm(group, member)).collect();
                let prefixes = vec![part(group, groups)];
                let of = AnnouncedGroup { group: GroupId([0; 16]), members, prefixes };
                Announcement::new(hsm(group, member), &address, [0; 32], "1", vec![of])
            })
            .collect();
        let name = |said: &Announcement| AnnouncementName::new(said.hsm, 1, &said.to_bytes());
        peers.listed(said.iter().map(name), 1);
        said.into_iter().for_each(|said| peers.announced(&name(&said), Some(said)));
        peers
    }

    fn asked(peers: &Peers) -> BTreeSet<HsmId> {
        peers.table.read().announced.keys().copied().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn among_a_thousand_groups_a_request_asks_those_of_its_own_and_a_few_others_as_among_few() {
        for groups in [8, 64, 1024] {
            let peers = outside(groups);
            let record = RecordId(*part(5, groups).bits());
            peers.ask_around(&record).await;
            let asked = asked(&peers);
            assert!((0..MEMBERS).all(|member| asked.contains(&hsm(5, member))), "{groups} groups: {asked:?}");
            assert!(
                asked.len() <= OTHERS + usize::from(MEMBERS),
                "{groups} groups: {} were asked",
                asked.len()
            );
            peers.wanted().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_shares_a_group_stays_a_peer_and_who_was_visited_does_not() {
        let peers = outside(64);
        let (member, visited) = (hsm(1, 0), hsm(2, 0));
        peers.tend(BTreeSet::from([member]));
        assert_eq!(asked(&peers), BTreeSet::from([member]));
        assert!(peers.of(visited).is_some() && peers.of(HsmId([9; 16])).is_none());
        tokio::time::advance(IDLE).await;
        peers.tend(BTreeSet::from([member]));
        assert_eq!(asked(&peers), BTreeSet::from([member, visited]), "a minute has not passed");
        tokio::time::advance(IDLE).await;
        peers.tend(BTreeSet::from([member]));
        assert_eq!(asked(&peers), BTreeSet::from([member]));
        peers.tend(BTreeSet::new());
        assert!(asked(&peers).is_empty(), "it shares no group any more, and nobody has needed it");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_configured_and_announced_is_one_peer() {
        let (sender, identities) = watch::channel(None);
        std::mem::forget(sender);
        let address = PeerUrl::try_from("https://127.0.0.1:1".to_owned()).expect("an address");
        let peers = Peers::start(std::slice::from_ref(&address), &identities, Timeouts::default());
        for of in [hsm(1, 0), hsm(2, 0)] {
            let said = Announcement::new(of, &address, [0; 32], "1", Vec::new());
            let name = AnnouncementName::new(of, 1, &said.to_bytes());
            peers.listed([name], 1);
            peers.announced(&name, Some(said));
            peers.tend(BTreeSet::from([of]));
            assert_eq!(peers.of(of).map(|peer| peer.at), Some(0));
        }
        assert_eq!(peers.table.read().entries.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_are_visited_at_once() {
        let peers = outside(1024);
        for group in 0..1024 {
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(peers.of(hsm(group, 0)).is_some());
        }
        assert!(peers.of(hsm(0, 1)).is_some());
        let asked = asked(&peers);
        assert_eq!(asked.len(), MAX_VISITED);
        assert!(
            !asked.contains(&hsm(0, 0)) && asked.contains(&hsm(0, 1)),
            "the one that was idle longest made room"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_moved_is_looked_for_at_its_new_address_and_one_that_works_is_not_given_up() {
        let peers = outside(8);
        let (moves, stays) = (hsm(1, 0), hsm(2, 0));
        let members = BTreeSet::from([moves, stays]);
        peers.tend(members.clone());
        let place = |hsm| peers.table.read().announced.get(&hsm).copied().expect("a peer");
        let (from, at) = (place(moves), place(stays));
        peers.making.routes.said(at, &[]);
        for hsm in [moves, stays] {
            let address = PeerUrl::try_from("https://127.0.0.2:9".to_owned()).expect("an address");
            let said = Announcement::new(hsm, &address, [0; 32], "1", Vec::new());
            let name = AnnouncementName::new(hsm, 2, &said.to_bytes());
            peers.listed([name], 1);
            peers.announced(&name, Some(said));
        }
        peers.tend(members);
        assert!(place(moves) != from && place(stays) == at);
    }
}
