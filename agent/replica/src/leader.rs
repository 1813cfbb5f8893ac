//! What a leader knows: the entries it made, how far each has come, and who has captured them.
//!
//! Kept here: replies go to the requests of exactly their entry, found by its hash; statements count only for entries
//! of this leadership, by hash; a member hears of a segment only when it and all before it are in the store.

use super::ask;
use super::clients::{Clients, Queued};
use super::context::Context;
use super::flights::{Flight, Flights};
use super::interface::{Answer, Millis, Owner, Settings, Ticket};
use super::log::{Log, Object, Origin};
use super::orders::Orders;
use super::outbox::Call;
use super::pace::Pace;
use super::paths::Paths;
use super::reads::Reads;
use super::snapshots::Snapshots;
use super::standing::Standings;
use super::stream::Stream;
use super::trees::{Tail, Trees};
use crate::peer::{PeerMessage, paths_to_bytes};
use crate::segment::{MAX_SEGMENT_BYTES, Segment, SegmentEntry, SegmentName};
use crate::shared::Shared;
use crate::stored::{Loaded, Snapshot};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use strongroom_proto::change::Evidence;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{Made, NoiseReply, Refusal, Released};
use strongroom_proto::ids::{EntryHash, HsmId, Index, RecordId, Term};
use strongroom_proto::statement::{Captured, Committed};

/// The most segments on their way to the store. While one is, the next one fills: so it is the store and the load that
/// decide how much is in one, and a request alone waits for nothing.
const MAX_FLIGHTS: usize = 1;
/// The most handshakes that are with the HSM at once.
const MAX_HANDSHAKES: usize = 16;
/// The most bytes of one request to the HSM, even if the HSM could take more: an entry must fit in a segment.
const MAX_BATCH_BYTES: usize = MAX_SEGMENT_BYTES / 3;
/// How many bytes of entries are enough for one segment; leaves room for the largest entry.
const FULL_SEGMENT_BYTES: usize = MAX_SEGMENT_BYTES / 3;
/// How long clients are told to try again rather than that their session is gone: they treat the latter as fatal.
const SESSION_GRACE_MS: u64 = 35_000;
/// How long to leave the HSM alone after it says that it is busy.
const BUSY_MS: u64 = 20;
/// How long a leader goes on with an entry that is neither in the store nor committed before it steps down. If it was
/// deposed again and again, the others are no better off, and it waits longer.
const STALLED_MS: u64 = 10_000;
/// How many segments a leader must read in that time while it has no tree: half as many as it asks for at once.
const PACE: usize = 16;

/// How far a leader has come towards the tree at the end of the log. Later variants are further along.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Toward {
    /// Its first segment is in the store.
    Elected,
    /// The stored tree is open.
    Opened,
    /// The segments after it have been listed.
    Listed,
    /// This many of those segments have been read, in sequence.
    Read(usize),
}
/// How often a leader checks that its HSM is there, so that it gives way before a client finds out; and how often one
/// that has nothing else to do.
const HSM_CHECK_MS: u64 = 1_000;
const IDLE_HSM_CHECK_MS: u64 = 5_000;
/// How many times the usual number of changes may wait for a snapshot before no request is served.
const MAX_UNSTORED: usize = 4;

/// An entry whose replies are in the HSM.
struct Kept {
    index: Index,
    hash: EntryHash,
    tickets: Vec<Ticket>,
}

/// An entry of this leadership, and the trees after it.
struct Own {
    entry: Entry,
    hash: EntryHash,
    trees: Trees,
}

/// Another member, as the leader sees it.
struct Member {
    /// The newest of its statements about an entry of this leadership.
    statement: Option<Captured>,
    /// What it is sent of the log.
    stream: Stream,
    /// Whether a statement of this member may be forged, and whether the HSM has found the one above authentic.
    doubted: bool,
    proven: bool,
    /// When it last said that it follows another leader.
    left_at: Option<Millis>,
}

impl Member {
    /// Nothing is known of it.
    const fn unheard(stream: Stream) -> Self {
        Self { statement: None, stream, doubted: false, proven: false, left_at: None }
    }
}

/// Statements that are with the HSM.
enum Counting {
    Nothing,
    /// The statements of a majority: this member and these others.
    Majority(Vec<HsmId>),
    /// One statement alone, to find out whether it is authentic.
    Doubted(HsmId),
}

/// The HSM's reply does not fit what the agent knows: it must start a new leadership.
pub(super) struct OutOfStep;

/// One leadership.
pub(super) struct Leader {
    term: Term,
    since: Millis,
    /// How far it had come towards the tree when it last made progress, and when that was.
    got_on: (Toward, Millis),
    /// Whether its first segment is in the store: only then do others follow it.
    elected: bool,
    /// The trees after the newest entry made.
    pub(super) trees: Trees,
    /// What has changed between the stored tree and that entry.
    pub(super) tail: Tail,
    /// The trees before the first of the collected entries.
    before: Trees,
    /// Requests on their way to the HSM.
    pub(super) paths: Paths,
    /// The stored tree.
    pub(super) snapshots: Snapshots,
    /// Answers that no entry carries.
    pub(super) reads: Reads,
    /// What operators want of the group.
    pub(super) orders: Orders,
    newest: (Index, EntryHash),
    /// The batch that is with the HSM.
    processing: Option<Vec<Queued>>,
    /// Whether it only reads, or the last one did.
    read_last: bool,
    handshaking: usize,
    counting: Counting,
    busy_until: Millis,
    /// Entries that wait for a place among the flights, and their approximate size in bytes.
    collected: Vec<SegmentEntry>,
    collected_bytes: usize,
    flights: Flights,
    kept: VecDeque<Kept>,
    /// Entries made and not known to be committed, ascending.
    own: BTreeMap<Index, Own>,
    committed: Index,
    members: BTreeMap<HsmId, Member>,
    pace: Pace,
    /// When an own entry was last committed, or when the first one began to wait.
    progress_at: Millis,
    /// When the leader last checked that the HSM is there.
    asked_hsm_at: Millis,
}

impl Leader {
    /// Begins where the HSM began to lead: at the end of the log.
    pub(super) fn new(cx: &Context, term: Term, log: &Log) -> Self {
        let others = cx.settings.group.members.iter().filter(|m| **m != cx.settings.hsm);
        let mut leader = Self {
            term,
            since: cx.now,
            got_on: (Toward::Elected, cx.now),
            elected: false,
            trees: log.trees().clone(),
            tail: log.tail().clone(),
            before: log.trees().clone(),
            paths: Paths::default(),
            snapshots: Snapshots::default(),
            reads: Reads::default(),
            orders: Orders::default(),
            newest: log.position(),
            processing: None,
            read_last: false,
            handshaking: 0,
            counting: Counting::Nothing,
            busy_until: Millis(0),
            collected: Vec::new(),
            collected_bytes: 0,
            flights: Flights::default(),
            kept: VecDeque::new(),
            own: BTreeMap::new(),
            committed: Index::ZERO,
            members: others.map(|m| (*m, Member::unheard(Stream::after(log.position().0)))).collect(),
            pace: Pace::new(cx.now),
            progress_at: cx.now,
            asked_hsm_at: cx.now,
        };
        leader.begin_at_end(cx, log);
        leader
    }

    /// It has come this far towards the tree. Only what it had not reached before counts: opening the tree or listing
    /// the log again and again is not progress.
    pub(super) fn has_come(&mut self, now: Millis, to: Toward) {
        let next = match self.got_on.0 {
            Toward::Read(before) => Toward::Read(before.saturating_add(PACE)),
            Toward::Elected | Toward::Opened | Toward::Listed => Toward::Read(PACE),
        };
        let is_stage = !matches!(to, Toward::Read(_)) && to > self.got_on.0;
        if is_stage || to >= next {
            self.got_on = (to, now);
        }
    }

    pub(super) const fn since(&self) -> Millis {
        self.since
    }

    /// Whether it has made no progress for too long: it alone cannot reach the store or use the stored tree, or others
    /// hear it and it hears nobody. It must step down, because its heartbeats keep the others from doing better.
    pub(super) fn is_stalled(&self, cx: &Context, patience: u32) -> bool {
        let patience_ms = STALLED_MS << patience;
        // A leader that makes progress with a long log from a slow store goes on: the next one would have to start over.
        let without_tree =
            self.elected && !self.snapshots.are_open() && cx.now >= self.got_on.1.after(patience_ms);
        let full = self.elected
            && self.is_full(&cx.settings)
            && cx.now >= self.snapshots.waits_since().max(self.since).after(patience_ms);
        let unread = self.reads.are_stalled(cx.now, patience_ms);
        without_tree
            || full
            || unread
            || (!self.own.is_empty() && cx.now >= self.progress_at.after(patience_ms))
    }

    /// Whether more has changed than may wait for a snapshot.
    const fn is_full(&self, settings: &Settings) -> bool {
        self.tail.records() >= settings.storage.snapshot_records.saturating_mul(MAX_UNSTORED)
    }

    /// Whether it is time to check that an idle HSM is there. If so, that counts as done.
    pub(super) fn is_hsm_unheard(&mut self, now: Millis) -> bool {
        let due = self.elected && now >= self.hsm_check_at();
        if due {
            self.asked_hsm_at = now;
        }
        due
    }

    /// When that is.
    const fn hsm_check_at(&self) -> Millis {
        self.asked_hsm_at.after(if self.pace.is_silent() { IDLE_HSM_CHECK_MS } else { HSM_CHECK_MS })
    }

    pub(super) const fn term(&self) -> Term {
        self.term
    }

    pub(super) const fn is_elected(&self) -> bool {
        self.elected
    }

    pub(super) const fn newest(&self) -> Index {
        self.newest.0
    }

    /// Whether everything that was made is in the store.
    pub(super) fn is_landed(&self) -> bool {
        self.processing.is_none() && self.collected.is_empty() && self.flights.is_empty()
    }

    pub(super) const fn committed(&self) -> Index {
        self.committed
    }

    /// The names of the segments on their way to the store.
    pub(super) fn names_under_way(&self) -> Vec<SegmentName> {
        self.flights.names().collect()
    }

    /// Checks what is said under "Kept here", for this file and its parts.
    ///
    /// # Panics
    /// If any of it does not hold.
    pub(super) fn assert_invariants(&self, cx: &Context, waits: bool) {
        self.pace.assert_invariants(cx, self.has_work(waits));
        let ascend = self.kept.iter().is_sorted_by(|before, after| before.index < after.index);
        assert!(ascend, "replies are not kept in the order of their entries");
        for kept in &self.kept {
            let made = self.own.get(&kept.index);
            assert!(
                made.is_none_or(|made| made.hash == kept.hash),
                "replies wait for an entry that is not theirs"
            );
        }
        for member in self.members.values() {
            let counts = |statement: Captured| {
                let own = self.own.get(&statement.index);
                own.map_or(statement.index <= self.committed, |own| own.hash == statement.hash)
            };
            assert!(member.statement.is_none_or(counts), "a statement of another leadership's entry counts");
            member.stream.assert_invariants();
        }
        let newest = self.own.last_key_value().map(|(_, newest)| newest);
        assert!(newest.is_none_or(|own| own.trees.are_of(&own.entry)), "an entry's trees are not its own");
        self.flights.assert_in_order();
        self.paths.assert_invariants();
        self.reads.assert_invariants(cx, self.committed);
        self.snapshots.assert_invariants(cx, self.committed, self.flights.ends());
    }

    pub(super) fn flights(&mut self) -> &mut Flights {
        &mut self.flights
    }

    /// Sends what can be sent: handshakes, the next batch, the next segments.
    pub(super) fn advance(&mut self, cx: &mut Context, clients: &mut Clients) -> Result<(), OutOfStep> {
        if self.elected {
            self.handshake(cx, clients);
        }
        if self.snapshots.are_open() {
            self.paths.sort(cx, &self.trees, &mut self.orders, clients);
            self.carry_out_orders(cx);
        }
        self.process(cx, clients);
        self.collect()?;
        for (name, bytes) in self.flights.due(cx.now) {
            cx.out.write(name, bytes);
        }
        Ok(())
    }

    /// Makes a segment of the collected entries, if there is room for one more on its way.
    fn collect(&mut self) -> Result<(), OutOfStep> {
        if self.collected.is_empty() || self.flights.len() >= MAX_FLIGHTS {
            return Ok(());
        }
        self.collected_bytes = 0;
        let segment = Segment::new(std::mem::take(&mut self.collected)).map_err(|_| OutOfStep)?;
        let bytes = segment.encode().map_err(|_| OutOfStep)?;
        let paths = self.paths_before(&segment);
        let (name, prev) = (segment.name(), segment.first().prev);
        let object = Object { name, prev, bytes: bytes.into(), paths, origin: Origin::Store };
        self.flights.push(&segment, object, self.trees.clone());
        Ok(())
    }

    /// What other members need to follow a segment without the stored tree.
    fn paths_before(&self, segment: &Segment) -> Shared {
        let leaves = segment.entries().iter().flat_map(|made| &made.leaves);
        paths_to_bytes(&self.before.paths(leaves.map(|leaf| leaf.record)).unwrap_or_default())
    }

    /// The records whose paths must stay open.
    pub(super) fn in_use(&self) -> BTreeSet<RecordId> {
        let mut ids = self.tail.until(Index(u64::MAX));
        let processing = self.processing.iter().flatten();
        ids.extend(processing.chain(&self.paths.ready).map(|queued| queued.request.record));
        ids
    }

    fn made(
        &mut self,
        now: Millis,
        made: Made,
        tickets: Vec<Ticket>,
        owners: Vec<Owner>,
    ) -> Result<(), OutOfStep> {
        let (index, hash) = (made.entry.index, made.entry.hash());
        let (newest, newest_hash) = self.newest;
        if newest.next() != Some(index) || made.entry.prev != newest_hash {
            return Err(OutOfStep);
        }
        let mut made = SegmentEntry::from(made);
        if owners.iter().any(|owner| !owner.0.is_empty()) {
            made.owners = owners.into_iter().map(|owner| owner.0.into()).collect();
        }
        if self.collected.is_empty() {
            self.before = self.trees.clone();
        }
        let owned = made.entry.partitions.iter().map(|partition| partition.prefix);
        let changes = index > Index(1) && !self.trees.prefixes().eq(owned);
        self.trees.apply(&made).map_err(|_| OutOfStep)?;
        if made.entry.last || changes {
            // What left, and the tops of what was merged, are nowhere else.
            self.snapshots.want(index);
        }
        self.tail.push(&made);
        self.newest = (index, hash);
        if self.own.is_empty() {
            self.progress_at = now;
        }
        let own = Own { entry: made.entry.clone(), hash, trees: self.trees.clone() };
        self.own.insert(index, own);
        self.kept.push_back(Kept { index, hash, tickets });
        let parts = made.leaves.iter().map(|leaf| &leaf.sealed).chain(&made.events).chain(&made.owners);
        // A CBOR header and a record id for each.
        self.collected_bytes += parts.map(|bytes| bytes.len() + 48).sum::<usize>();
        self.collected.push(made);
        Ok(())
    }

    /// The HSM did not count the statements. If that is because one is not authentic, each is checked alone. Returns
    /// the member whose statement its HSM did not make.
    pub(super) fn uncommitted(&mut self, refusal: Refusal) -> Option<HsmId> {
        let forged = matches!(refusal, Refusal::NotAuthentic | Refusal::BadMembers);
        match std::mem::replace(&mut self.counting, Counting::Nothing) {
            Counting::Doubted(of) => {
                let member = self.members.get_mut(&of)?;
                // Authentic, but no majority by itself.
                (member.doubted, member.proven) = (forged, !forged);
                member.statement.take_if(|_| forged)?;
                Some(of)
            }
            Counting::Majority(others) => {
                let is_proven = |of: &HsmId| self.members.get(of).is_some_and(|member| member.proven);
                if !forged || others.iter().all(is_proven) {
                    self.forget_statements();
                    return None;
                }
                for of in others {
                    if let Some(member) = self.members.get_mut(&of) {
                        member.doubted |= !member.proven;
                    }
                }
                None
            }
            Counting::Nothing => None,
        }
    }

    /// Drops all statements of other members, and asks for them again.
    pub(super) fn forget_statements(&mut self) {
        self.counting = Counting::Nothing;
        for member in self.members.values_mut() {
            *member = Member::unheard(member.stream.anew());
        }
    }

    /// A segment of this leadership is in the store, with everything before it.
    pub(super) fn landed(&mut self, cx: &Context, flight: &Flight) {
        if !self.elected {
            self.elected = true;
            self.pace.hurry(cx.now);
            self.got_on = (Toward::Elected, cx.now);
        }
        if let Some(last) = flight.entries.last() {
            self.snapshots.landed(flight.object.name.first, last.index);
        }
    }

    /// Sends each member what it has room for.
    pub(super) fn push(&mut self, cx: &mut Context, log: &Log) {
        for (to, member) in &mut self.members {
            for object in member.stream.next(cx, log) {
                cx.out.send(*to, object.push());
            }
        }
    }

    /// A client has come, or `waits` for an answer. If others believe that this leader may be silent, tells them that it
    /// is not.
    pub(super) fn notice_work(&mut self, cx: &mut Context, log: &Log, waits: bool) {
        if self.has_work(waits) {
            self.pace.busy(cx.now);
        }
        if self.pace.breaks_silence(cx) {
            self.speak(cx, log);
            // What there is to do asks the HSM more than that.
            self.asked_hsm_at = cx.now;
        }
    }

    /// Another member asks who leads.
    pub(super) fn asked_who_leads(&mut self, cx: &Context) {
        self.pace.asked(cx);
    }

    /// A client has come.
    pub(super) const fn has_client(&mut self, now: Millis) {
        self.pace.busy(now);
    }

    /// Whether anything is under way that others should not have to wait for longer than at the usual pace. `waits`: a
    /// client does.
    fn has_work(&self, waits: bool) -> bool {
        waits
            || !self.orders.is_empty()
            || !self.own.is_empty()
            || !self.is_landed()
            || self.reads.waiting() > 0
    }

    /// Tells the others that it leads, when it is time to.
    pub(super) fn tick(&mut self, cx: &mut Context, log: &Log) {
        self.orders.expire(cx);
        if self.elected && cx.now >= self.pace.speaks_at() {
            self.speak(cx, log);
        }
    }

    /// Tells the others that it leads, and pushes again what members have not stated.
    fn speak(&mut self, cx: &mut Context, log: &Log) {
        let silent_ms = self.pace.speak(cx);
        let group = cx.settings.group.group;
        let (newest, _) = log.position();
        let snapshot = self.snapshots.stored();
        for (to, member) in &mut self.members {
            let term = self.term;
            cx.out.send(*to, PeerMessage::Heartbeat { group, term, newest, snapshot, silent_ms });
            for object in member.stream.again(cx, log) {
                cx.out.send(*to, object.push());
            }
        }
    }

    /// A member follows another leader, whose log goes further. Returns whether too few are left for a majority.
    pub(super) fn is_left_by(&mut self, cx: &Context, member: HsmId) -> bool {
        if let Some(member) = self.members.get_mut(&member) {
            member.left_at = Some(cx.now);
        }
        let lately = *cx.settings.election_timeout_ms.end();
        let is_left = |member: &&Member| member.left_at.is_some_and(|at| cx.now <= at.after(lately));
        let left = self.members.values().filter(is_left).count();
        let all = cx.settings.group.members.len();
        all.saturating_sub(left) < all / 2 + 1
    }

    /// Whether a statement says that a different entry was captured where this leadership has made one.
    pub(super) fn is_beaten_by(&self, index: Index, hash: &EntryHash) -> bool {
        self.own.get(&index).is_some_and(|own| own.hash != *hash)
    }

    /// Takes what was read from the stored tree, including into the trees before the collected entries.
    pub(super) fn open(&mut self, loaded: &Loaded) {
        self.trees.open(loaded);
        if !self.collected.is_empty() {
            self.before.open(loaded);
        }
    }

    /// Handles another member's statement.
    pub(super) fn stated(&mut self, cx: &mut Context, from: HsmId, statement: Captured, log: &Log) {
        let Some(member) = self.members.get_mut(&from) else { return };
        if statement.hsm != from {
            return;
        }
        if self.own.get(&statement.index).is_some_and(|own| own.hash == statement.hash) {
            member.proven &= member.statement == Some(statement);
            member.statement = Some(statement);
        }
        let (newest, newest_hash) = log.position();
        if statement.index < newest || statement.hash == newest_hash {
            if member.stream.stated(cx, statement.index) {
                self.pace.busy(cx.now);
            }
            for object in member.stream.next(cx, log) {
                cx.out.send(from, object.push());
            }
        }
    }

    /// Hands statements to the HSM when a majority has captured a new entry of this leadership. One bad statement
    /// spoils them all, so statements of doubted members go alone first.
    pub(super) fn commit(&mut self, cx: &mut Context, mine: Option<Captured>, standings: &Standings) {
        if !matches!(self.counting, Counting::Nothing) {
            return;
        }
        let committed = self.committed;
        let mine = mine.filter(|mine| self.own.get(&mine.index).is_some_and(|own| own.hash == mine.hash));
        let new = |member: &Member| member.statement.filter(|s| s.index > committed);
        let is_sound = |of: &HsmId, member: &Member| {
            member.proven || !(member.doubted || standings.is_doubted(*of, cx.now))
        };
        let others = self.members.iter().filter(|(of, member)| is_sound(of, member));
        let mut statements: Vec<Captured> = others.filter_map(|(_, member)| new(member)).collect();
        statements.extend(mine.filter(|s| s.index > committed));
        statements.sort_unstable_by_key(|s| std::cmp::Reverse(s.index));
        let majority = cx.settings.group.members.len() / 2 + 1;
        let statements = if statements.len() >= majority {
            statements.truncate(majority);
            let others = statements.iter().map(|s| s.hsm).filter(|of| *of != cx.settings.hsm);
            self.counting = Counting::Majority(others.collect());
            statements
        } else {
            let mut doubted = self.members.iter().filter(|(of, member)| !is_sound(of, member));
            let Some((of, statement)) = doubted.find_map(|(of, member)| Some((*of, new(member)?))) else {
                return;
            };
            self.counting = Counting::Doubted(of);
            vec![statement]
        };
        let group = cx.settings.group.group;
        cx.out.ask(Call::Commit, ask::Commit { group, statements });
    }

    /// Handles what the HSM released.
    pub(super) fn released(
        &mut self,
        cx: &mut Context,
        statement: Committed,
        released: Vec<Released>,
        clients: &mut Clients,
    ) {
        self.counting = Counting::Nothing;
        self.busy_until = Millis(0);
        self.progress_at = cx.now;
        self.committed = self.committed.max(statement.index);
        if let Some(own) = self.own.remove(&statement.index).filter(|own| own.hash == statement.hash) {
            self.orders.committed(cx, Evidence { entry: own.entry.clone(), committed: statement });
            let snapshot = Snapshot { entry: own.entry, committed: statement };
            self.snapshots.committed(cx.now, snapshot, own.trees);
        }
        self.own.retain(|index, _| *index > statement.index);
        let mut released: BTreeMap<EntryHash, Vec<NoiseReply>> =
            released.into_iter().map(|r| (r.entry, r.replies)).collect();
        while let Some(kept) = self.kept.pop_front_if(|kept| kept.index <= statement.index) {
            let replies = released.remove(&kept.hash).unwrap_or_default();
            let mut replies = Some(replies).filter(|r| r.len() == kept.tickets.len()).into_iter().flatten();
            for ticket in kept.tickets {
                let answer = replies.next().map_or(Answer::Unavailable, Answer::Reply);
                clients.answer(cx, ticket, answer);
            }
        }
    }
}

mod changes;
mod due;
mod end;
mod requests;
#[cfg(test)]
mod tests;
