//! Batches: client messages in, one entry out if a record may have changed, replies kept.
//!
//! Keeps invariants 4 (no reply leaves here), 5 (*blind until commit*: what comes out tells a read from a write, a
//! missing leaf from a present one, a request from garbage, and nothing else), 6 (*in order*), and 7 (the charge and
//! the answer are in the same entry). A batch is refused as a whole only before its first Noise operation, because
//! Noise operations cannot be undone.

use crate::attempts::Attempts;
use crate::core::Core;
use crate::env::Env;
use crate::event::{EVENT_BYTES, Event};
use crate::holding::{Holding, refusal};
use crate::keys::Keys;
use crate::leadership::Leadership;
use crate::machine::{self, Happening};
use crate::record::{BadRecord, Changed, Owner, Record, request_digest};
use crate::seal;
use crate::session::{LastExchange, SessionKey};
use crate::state::Position;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::black_box;
use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;
use strongroom_proto::client::{Attempt, HandshakeRequest, HandshakeResponse, SecretsRequest};
use strongroom_proto::entry::{Entry, events_hash};
use strongroom_proto::hsm::{
    BatchRequest, Made, NoiseMessage, NoiseReply, Outcome, PrefixTree, Refusal, Reply, SealedLeaf,
    SessionRefusal, tree_nodes,
};
use strongroom_proto::ids::{Digest, GroupId, Index, Mac, RecordId, X25519Public};
use strongroom_proto::noise;
use strongroom_proto::registration::verify_registration;
use strongroom_proto::tree::Tree;
use zeroize::Zeroizing;

/// Bytes of a sealed event.
pub const SEALED_EVENT_BYTES: usize = EVENT_BYTES + seal::OVERHEAD;

/// An answer, padded so that all have one size.
type Padded = Zeroizing<[u8; strongroom_proto::client::PADDED_RESPONSE]>;

/// A batch under way.
struct Batch {
    slot: usize,
    group: GroupId,
    /// The entry to be made.
    index: Index,
    /// The one before it, which shows the records as they were read.
    newest: Position,
    trees: Vec<Tree>,
    records: BTreeMap<RecordId, Loaded>,
    /// Each with the own entry that it tells of.
    replies: Vec<(NoiseReply, Index)>,
    /// Sealed when an entry is made: a batch without one has no events.
    events: Vec<Vec<u8>>,
}

/// A record that the batch uses.
struct Loaded {
    /// Which of the batch's trees it is in.
    tree: usize,
    record: Record,
    has_leaf: bool,
    /// The own entry that last changed it before this batch, or brought it here.
    since: Index,
    reseal: bool,
    /// What is to be sealed with it. The record has what was read.
    attempts: Option<Attempts>,
}

impl Core {
    pub(crate) fn handshake<E: Env>(
        &mut self,
        env: &mut E,
        group: GroupId,
        request: &BatchRequest,
    ) -> Result<Reply, Refusal> {
        let slot = self.slot(&group)?;
        let leadership = self.leading(slot)?;
        if !leadership.holding.covers(&request.record) {
            return Err(Refusal::NotCovered);
        }
        let outcome = self.open_session(env, slot, request).unwrap_or_else(Outcome::Refused);
        Ok(Reply::Handshaken(outcome))
    }

    fn open_session<E: Env>(
        &mut self,
        env: &mut E,
        slot: usize,
        request: &BatchRequest,
    ) -> Result<Outcome, SessionRefusal> {
        let NoiseMessage::Handshake { ephemeral, ciphertext } = &request.message else {
            return Err(SessionRefusal::SessionError);
        };
        let (handshake, payload) = self.accept(ephemeral, ciphertext)?;
        if !payload.is_empty() {
            return Err(SessionRefusal::SessionError);
        }
        let reply = self.finish_handshake(env, slot, request, handshake, &[])?;
        Ok(Outcome::Answered(reply))
    }

    fn accept(
        &self,
        ephemeral: &[u8],
        ciphertext: &[u8],
    ) -> Result<(noise::ServerHandshake, noise::Plaintext), SessionRefusal> {
        let keys = self.keys.as_ref().ok_or(SessionRefusal::SessionError)?;
        let request = HandshakeRequest {
            client_ephemeral_public: ephemeral.to_vec(),
            payload_ciphertext: ciphertext.to_vec(),
        };
        noise::server_accept(&keys.noise, &request).map_err(|_| SessionRefusal::SessionError)
    }

    fn finish_handshake<E: Env>(
        &mut self,
        env: &mut E,
        slot: usize,
        request: &BatchRequest,
        handshake: noise::ServerHandshake,
        payload: &[u8],
    ) -> Result<NoiseReply, SessionRefusal> {
        let (response, transport) =
            handshake.respond(payload, env.rng()).map_err(|_| SessionRefusal::SessionError)?;
        let HandshakeResponse { server_ephemeral_public, payload_ciphertext } = response;
        let ephemeral = <[u8; 32]>::try_from(server_ephemeral_public.as_slice());
        let ephemeral = X25519Public(ephemeral.map_err(|_| SessionRefusal::SessionError)?);
        let key = SessionKey { slot, record: request.record, session: request.session };
        self.sessions.open(key, transport);
        Ok(NoiseReply::Handshake { ephemeral, ciphertext: payload_ciphertext.into() })
    }

    pub(crate) fn process<E: Env>(
        &mut self,
        env: &mut E,
        group: GroupId,
        trees: Vec<PrefixTree>,
        requests: &[BatchRequest],
    ) -> Result<Reply, Refusal> {
        let slot = self.slot(&group)?;
        self.check_bounds(slot, tree_nodes(&trees), requests.len())?;
        let keys = self.keys()?.clone();
        let mut batch = self.load(slot, &keys, trees, requests)?;
        let outcomes = requests
            .iter()
            .map(|request| self.run(env, &keys, &mut batch, request).unwrap_or_else(Outcome::Refused));
        let mut outcomes: Vec<Outcome> = outcomes.collect();
        let writes = !batch.replies.is_empty() && batch.records.values().any(|loaded| loaded.reseal);
        if writes || requests.is_empty() {
            let made = Some(self.make_entry(env, &keys, batch)?);
            return Ok(Reply::Processed { outcomes, made });
        }
        let leadership = self.leaderships.get_mut(&slot).ok_or(Refusal::NotLeader)?;
        let kept = outcomes.iter_mut().filter(|outcome| **outcome == Outcome::Kept);
        for (outcome, (reply, since)) in kept.zip(batch.replies) {
            *outcome = Outcome::Read(leadership.reads.keep(reply, since));
        }
        Ok(Reply::Processed { outcomes, made: None })
    }

    pub(crate) fn leading(&self, slot: usize) -> Result<&Leadership, Refusal> {
        self.leaderships.get(&slot).filter(|l| l.leading).ok_or(Refusal::NotLeader)
    }

    pub(crate) fn check_bounds(&self, slot: usize, nodes: usize, requests: usize) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let leadership = self.leading(slot)?;
        if leadership.holding.last {
            return Err(Refusal::Retired);
        }
        if requests > limits.max_batch_requests as usize || nodes > limits.max_tree_nodes as usize {
            return Err(Refusal::TooLarge);
        }
        let replies = self.leaderships.values().map(Leadership::pending_replies);
        let replies = replies.fold(requests, usize::saturating_add);
        let full = leadership.kept_entries() >= limits.max_pending_entries as usize
            || replies > limits.max_pending_replies as usize;
        if full { Err(Refusal::Busy) } else { Ok(()) }
    }

    /// Everything that can refuse the batch as a whole: the trees against the newest roots, and every record opened.
    fn load(
        &self,
        slot: usize,
        keys: &Keys,
        claimed: Vec<PrefixTree>,
        requests: &[BatchRequest],
    ) -> Result<Batch, Refusal> {
        let leadership = self.leading(slot)?;
        let newest = leadership.newest();
        let index = newest.index.next().ok_or(Refusal::Exhausted)?;
        let mut trees: Vec<Tree> = Vec::with_capacity(claimed.len());
        for PrefixTree { prefix, tree } in claimed {
            if trees.iter().any(|t| t.prefix() == prefix) {
                return Err(Refusal::Malformed);
            }
            trees.push(leadership.holding.open(prefix, tree)?);
        }
        let group = self.group(slot)?.id;
        let since = |changed| leadership.since(group, changed);
        let mut records = BTreeMap::new();
        for BatchRequest { record: id, .. } in requests {
            let at = trees.iter().position(|t| t.prefix().contains(id)).ok_or(Refusal::NotCovered)?;
            let tree = trees.get(at).ok_or(Refusal::NotCovered)?;
            if !records.contains_key(id) {
                records.insert(*id, Loaded::open((tree, at), keys, id, group, since)?);
            }
        }
        Ok(Batch { slot, group, index, newest, trees, records, replies: Vec::new(), events: Vec::new() })
    }

    fn run<E: Env>(
        &mut self,
        env: &mut E,
        keys: &Keys,
        batch: &mut Batch,
        request: &BatchRequest,
    ) -> Result<Outcome, SessionRefusal> {
        match &request.message {
            NoiseMessage::Handshake { ephemeral, ciphertext } => {
                let (handshake, payload) = self.accept(ephemeral, ciphertext)?;
                let secrets =
                    SecretsRequest::from_cbor(&payload).map_err(|_| SessionRefusal::DecodingError)?;
                if secrets.needs_forward_secrecy() {
                    return Err(SessionRefusal::SessionError);
                }
                let (answer, since) = batch.apply(env, keys, request, &secrets)?;
                let reply = self.finish_handshake(env, batch.slot, request, handshake, &*answer)?;
                Ok(batch.keep(reply, since))
            }
            NoiseMessage::Transport { ciphertext } => {
                self.run_transport(env, keys, batch, request, ciphertext)
            }
        }
    }

    fn run_transport<E: Env>(
        &mut self,
        env: &mut E,
        keys: &Keys,
        batch: &mut Batch,
        request: &BatchRequest,
        ciphertext: &[u8],
    ) -> Result<Outcome, SessionRefusal> {
        let key = SessionKey { slot: batch.slot, record: request.record, session: request.session };
        // Taken out, and put back only if all goes well, so that a bad message ends the session.
        let place = self.sessions.take(&key);
        let mut place = place.ok_or(SessionRefusal::MissingSession)?;
        let digest = request_digest(ciphertext);
        if let Some(last) = place.session.last.as_ref().filter(|last| last.request == digest) {
            // The reply was lost. It is sent again with this batch's entry, which comes after its own; or as an answer to a
            // read, which tells of its own.
            let (ciphertext, since) = (last.reply.to_vec().into(), last.since);
            self.sessions.put_back(key, place);
            let left = batch.records.get(&request.record).map_or(0, |l| l.record.state.guesses_left());
            batch.event(&request.record, Happening::Nothing, left, since);
            return Ok(batch.keep(NoiseReply::Transport { ciphertext }, since));
        }
        let Ok(payload) = place.session.transport.decrypt(ciphertext) else {
            return Err(SessionRefusal::SessionError);
        };
        let secrets = decode(&payload)?;
        let (answer, since) = batch.apply(env, keys, request, &secrets)?;
        let ciphertext =
            place.session.transport.encrypt(&*answer).map_err(|_| SessionRefusal::SessionError)?;
        let reply = ciphertext.clone().into_boxed_slice();
        place.session.last = Some(Box::new(LastExchange { request: digest, reply, since }));
        // The session's place, not the guess, which `machine.rs` charges. By what was asked, which the host knows, and not
        // by what came of it (invariant 5).
        place.charged = matches!(secrets, SecretsRequest::Recover2 { .. });
        self.sessions.put(key, place);
        let reply = NoiseReply::Transport { ciphertext: ciphertext.into() };
        Ok(batch.keep(reply, since))
    }

    /// Seals what changed, computes the new roots once, and makes the entry.
    fn make_entry<E: Env>(&mut self, env: &mut E, keys: &Keys, batch: Batch) -> Result<Made, Refusal> {
        let Batch { slot, group, index, mut trees, records, replies, events, .. } = batch;
        let replies = replies.into_iter().map(|(reply, _)| reply).collect();
        let context = event_context(keys, &group);
        let events = events.iter().map(|e| seal::seal(&keys.events, &context, e, env.rng()).into());
        let events: Vec<ByteVec> = events.collect();
        let sealed = seal_records(env.rng(), keys, records, Changed { group, index });
        let Some(leaves) = sealed.filter(|leaves| update_trees(&mut trees, leaves)) else {
            debug_assert!(false, "every record's place was opened before, and every state fits");
            // Sessions hold replies to changes that are in no entry; none of those may ever leave.
            self.drop_leadership(slot);
            return Err(Refusal::NotOpened);
        };
        let mut holding = self.leading(slot)?.holding.clone();
        trees.iter().for_each(|tree| holding.renew(tree));
        let events_hash = events_hash(events.iter().map(|e| e.as_slice()));
        let entry = self.append(keys, slot, holding, events_hash, replies)?;
        let leaves = leaves.into_iter().map(|(leaf, _)| leaf).collect();
        Ok(Made { entry, leaves, events })
    }

    /// Makes the entry after the newest: the group owns this from there on.
    pub(crate) fn append(
        &mut self,
        keys: &Keys,
        slot: usize,
        holding: Holding,
        events_hash: Digest,
        replies: Vec<NoiseReply>,
    ) -> Result<Entry, Refusal> {
        let (realm, group, leader) = (keys.realm, self.group(slot)?.id, self.state.hsm);
        let leadership = self.leaderships.get_mut(&slot).ok_or(Refusal::NotLeader)?;
        let newest = leadership.newest();
        let index = newest.index.next().ok_or(Refusal::Exhausted)?;
        let mut entry = Entry {
            realm,
            group,
            index,
            prev: newest.hash,
            leader,
            term: leadership.term,
            partitions: holding.partitions.clone(),
            transfers: holding.decisions,
            events_hash,
            mac: Mac(Digest::EMPTY),
            open: holding.open.clone(),
            last: holding.last,
        };
        let hash = entry.hash();
        entry.mac = Entry::mac_of(&keys.statements, &hash);
        leadership.extend(Position { index, hash }, holding, replies);
        Ok(entry)
    }
}

/// What a decrypted payload asks, checked as far as it can be without a record.
fn decode(payload: &[u8]) -> Result<SecretsRequest, SessionRefusal> {
    let request = SecretsRequest::from_cbor(payload).map_err(|_| SessionRefusal::DecodingError)?;
    if let SecretsRequest::Register2(registration) | SecretsRequest::Stage(registration) = &request {
        verify_registration(registration).map_err(|_| SessionRefusal::DecodingError)?;
    }
    Ok(request)
}

impl From<BadRecord> for Refusal {
    fn from(bad: BadRecord) -> Self {
        match bad {
            BadRecord::Unsealable => Self::BadRecord,
            BadRecord::OtherVersion => Self::OtherVersion,
        }
    }
}

impl Loaded {
    fn open(
        (tree, at): (&Tree, usize),
        keys: &Keys,
        id: &RecordId,
        group: GroupId,
        since: impl Fn(Option<Changed>) -> Index,
    ) -> Result<Self, Refusal> {
        let sealed = tree.get(id).map_err(refusal)?;
        let mut record = match sealed {
            Some(sealed) => Record::unseal(keys, id, sealed)?,
            None => Record::ABSENT,
        };
        let since = since(record.changed);
        let last = record.changed.map(|changed| changed.group);
        record.attempts = record.attempts.map(|attempts| attempts.in_group(group, last));
        let attempts = record.attempts.clone();
        Ok(Self { tree: at, record, has_leaf: sealed.is_some(), since, reseal: false, attempts })
    }

    /// Counts what happened, if something did, in a list of its own if it brought another registration. It takes the same time if nothing did.
    fn count(&mut self, group: &GroupId, happening: Happening, is_other: bool, attempt: Attempt) {
        let version = self.record.state.version().map_or([0; 16], |version| version.0);
        let begins = happening == Happening::Registered || happening == Happening::Activated && is_other;
        let before = self.attempts.clone().filter(|_| !begins);
        let counted = black_box(before.unwrap_or_else(|| Attempts::of(version)).with(group, attempt));
        if happening != Happening::Nothing {
            self.attempts = Some(counted);
        }
    }
}

impl Batch {
    /// Runs a request on its record, as the requests before it left it.
    fn apply<E: Env>(
        &mut self,
        env: &mut E,
        keys: &Keys,
        request: &BatchRequest,
        secrets: &SecretsRequest,
    ) -> Result<(Padded, Option<Index>), SessionRefusal> {
        let loaded = self.records.get_mut(&request.record).ok_or(SessionRefusal::SessionError)?;
        let owner = Owner { realm: &keys.realm, record: &request.record };
        let stated = |attempts: Option<&Attempts>| {
            let none = Attempts::of([0; 16]);
            attempts.unwrap_or(&none).stated(keys, self.group, self.newest)
        };
        let before = loaded.record.state.version();
        let (response, happening) = machine::apply(&mut loaded.record, secrets, owner, env.rng(), stated);
        // Of what was erased nothing is left to be found by its version.
        let left = loaded.record.place(secrets.version()).guesses_left();
        let guesses_left = if happening == Happening::Erased { 0 } else { left };
        if !secrets.only_reads() {
            loaded.has_leaf |= matches!(secrets, SecretsRequest::Register2(_) | SecretsRequest::Stage(_));
            loaded.reseal |= loaded.has_leaf;
            let (index, time, what) = (self.index, request.time.unwrap_or(0), happening as u8);
            let is_other = before != loaded.record.state.version();
            let attempt = Attempt { index, time, what, guesses_left };
            loaded.count(&self.group, happening, is_other, attempt);
        }
        let since = match secrets {
            SecretsRequest::Register1 => None,
            // What is said of attempts, it is said as of this entry.
            SecretsRequest::Attempts => Some(self.newest.index),
            _ if loaded.reseal => Some(self.index),
            _ => Some(loaded.since),
        };
        self.event(&request.record, happening, guesses_left, since);
        let padded = response.to_padded();
        debug_assert!(padded.is_ok(), "num_guesses is bounded so that every answer fits");
        padded.map(|padded| (padded, since)).map_err(|_| SessionRefusal::SessionError)
    }

    /// Notes what happened, unless the reply is one that is not kept.
    fn event(&mut self, record: &RecordId, happening: Happening, guesses_left: u8, since: Option<Index>) {
        if since.is_none() {
            return;
        }
        let event = Event { what: happening as u8, record: *record, index: self.index, guesses_left };
        self.events.push(event.to_bytes());
    }

    /// Keeps a reply that tells of an own entry. One that tells of none goes out at once.
    fn keep(&mut self, reply: NoiseReply, since: Option<Index>) -> Outcome {
        let Some(since) = since else { return Outcome::Answered(reply) };
        self.replies.push((reply, since));
        Outcome::Kept
    }
}

/// Associated data: realm id and group id.
pub(crate) fn event_context(keys: &Keys, group: &GroupId) -> Vec<u8> {
    [keys.realm.0, group.0].concat()
}

/// Puts the leaves into the trees that their records are in. Returns whether all went in.
fn update_trees(trees: &mut [Tree], leaves: &[(SealedLeaf, usize)]) -> bool {
    trees.iter_mut().enumerate().all(|(at, tree)| {
        let of_tree = leaves.iter().filter(|(_, of)| *of == at);
        tree.update(of_tree.map(|(leaf, _)| (leaf.record, Arc::from(leaf.sealed.as_slice())))).is_ok()
    })
}

/// The leaves, each with the tree that its record is in. A record gives its memory back before the next one is sealed.
fn seal_records(
    rng: &mut impl CryptoRng,
    keys: &Keys,
    records: BTreeMap<RecordId, Loaded>,
    changed: Changed,
) -> Option<Vec<(SealedLeaf, usize)>> {
    let resealed = records.into_iter().filter(|(_, loaded)| loaded.reseal);
    let seal = |(id, loaded): (RecordId, Loaded)| {
        let record = Record { changed: Some(changed), attempts: loaded.attempts, ..loaded.record };
        Some((SealedLeaf { record: id, sealed: record.seal(keys, &id, rng)?.into() }, loaded.tree))
    };
    resealed.map(seal).collect()
}
