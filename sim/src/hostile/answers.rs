//! The oracle's rules on batches and replies: what is answered, to whom and when, and what is sealed.

use super::clients::{Answer, finish, guesses};
use super::keys::hash;
use super::model::{Foretold, Records};
use super::owners::New;
use super::parts::{Kept, Known};
use super::step::{Made, Wish};
use super::world::World;
use std::collections::BTreeSet;
use std::sync::Arc;
use strongroom_hsm::{SEALED_EVENT_BYTES, SEALED_RECORD_BYTES};
use strongroom_proto::client::{PADDED_RESPONSE, SecretsResponse};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{Made as MadeEntry, NoiseReply, Outcome, SessionRefusal};
use strongroom_proto::ids::{EntryHash, RecordId};
use strongroom_proto::noise::TAG_LEN;
use strongroom_proto::tree::Tree;

impl World {
    /// Reads a reply that left under an entry, or as of one.
    pub(super) fn judge_reply(&mut self, under: Option<Made>, kept: &Kept, reply: &NoiseReply) {
        let (NoiseReply::Handshake { ciphertext, .. } | NoiseReply::Transport { ciphertext }) = reply;
        if ciphertext.len() != PADDED_RESPONSE + TAG_LEN {
            let what = format!("a reply to user {} has {} bytes", kept.user, ciphertext.len());
            return self.violate("blind until commit", what);
        }
        let record = self.clients().record(kept.user);
        let owner = under.and_then(|under| self.entries.get(&under));
        if owner.is_some_and(|known| !known.holds.iter().any(|prefix| prefix.contains(&record))) {
            let what =
                format!("the answer to #{} left a group that does not own user {}", kept.message, kept.user);
            return self.violate("served by its owner", what);
        }
        let Some(response) = self.read(kept.message, kept.user, reply) else { return };
        let wish = self.messages[&kept.message].wish;
        let answer = self.clients().answer(kept.user, &response);
        if let (Answer::Evaluated { registration, .. }, Wish::Recover2(_, point)) = (answer, wish) {
            self.judge_evaluation(kept, registration, point);
        }
        if let Answer::Share(registration) = answer
            && wish != Wish::Recover3(registration, true)
        {
            return self
                .violate("share for the right tag", format!("{wish:?} of user {} got one", kept.user));
        }
        let is_on_chain = |applied| under.is_some_and(|under| self.is_before(applied, under));
        if !kept.applied.is_none_or(is_on_chain) {
            let what = format!("the answer to #{} left, and its effect is not on the chain", kept.message);
            return self.violate("count, then evaluate", what);
        }
        self.judge_attempts(kept, &response);
        if answer != kept.expected {
            let (user, expected) = (kept.user, kept.expected);
            let gone = answer.registration().is_some() && answer.registration() != expected.registration();
            let rule = if gone { "deleted or replaced is gone" } else { "as the records say" };
            let what = format!("{wish:?} of user {user} got {answer:?}; the records say {expected:?}");
            self.violate(rule, what);
        }
    }

    /// The promise: no more different points evaluated than a registration allows, between two resets.
    fn judge_evaluation(&mut self, kept: &Kept, registration: u8, point: u8) {
        let user = kept.user;
        let points = self.evaluated.entry((user, registration, kept.window)).or_default();
        points.insert(point);
        let (evaluated, allowed) = (points.len(), usize::from(guesses(registration)));
        // If the records say that there is no such registration, none is allowed.
        let allowed = if kept.window == 0 { 0 } else { allowed };
        if evaluated > allowed {
            let what = format!(
                "{evaluated} points of user {user} evaluated for registration {registration}, {allowed} allowed"
            );
            self.violate("guess limit", what);
        }
    }

    /// Decrypts a reply, unless it was read before.
    fn read(&mut self, number: Made, user: u8, reply: &NoiseReply) -> Option<SecretsResponse> {
        let message = self.messages.get_mut(&number)?;
        if message.reply.as_ref() == Some(reply) {
            return None;
        }
        message.reply = Some(reply.clone());
        let payload = match (message.channel, reply) {
            (Some(channel), NoiseReply::Transport { ciphertext }) => {
                let channel = self.channels.get_mut(&channel)?;
                channel.transport.decrypt(ciphertext).ok().map(|payload| payload.to_vec())
            }
            (None, reply) => {
                let (handshake, wish, by) = (message.handshake, message.wish, message.user);
                let (state, _) = self.clients().start(handshake, Some((by, wish)));
                finish(state, reply).map(|(_, payload)| payload)
            }
            (Some(_), NoiseReply::Handshake { .. }) => None,
        };
        let Some(payload) = payload else {
            // A client whose earlier reply was withheld cannot read a later one; the host gains nothing from that.
            self.cover("(reply)", "client", "unreadable".into());
            return None;
        };
        if payload.len() != PADDED_RESPONSE {
            let what = format!("an answer to user {user} has {} bytes", payload.len());
            self.violate("blind until commit", what);
        }
        let read = SecretsResponse::from_padded(&payload);
        if read.is_err() {
            self.violate("as the records say", format!("an answer to user {user} that no client reads"));
        }
        read.ok()
    }

    /// Runs what was kept on the model, and judges what came out before any commit.
    #[expect(clippy::too_many_arguments, reason = "all that a batch and its reply say")]
    pub(super) fn judge_processed(
        &mut self,
        n: Made,
        at: usize,
        group: usize,
        base: &Tree,
        used: &[(Made, u8)],
        outcomes: &[Outcome],
        made: Option<MadeEntry>,
    ) {
        let Some(parent) = self.members[at][group].lead.as_ref().filter(|l| l.leading).map(|l| l.newest)
        else {
            return self
                .violate("leaders start from NVRAM", format!("HSM {at} makes entries and does not lead"));
        };
        let mut records = parent.map(|parent| self.entries[&parent].records.clone()).unwrap_or_default();
        let (mut kept, mut numbers, mut resealed) = (Vec::new(), Vec::new(), BTreeSet::new());
        let n = made.is_some().then_some(n);
        let serves = |outcome: &Outcome| !matches!(outcome, Outcome::Refused(_));
        let strange =
            used.iter().zip(outcomes).find(|((_, user), o)| serves(o) && !self.covers(at, group, *user));
        if let Some(((_, user), _)) = strange {
            let what = format!("HSM {at} served user {user} in group {group}, which does not own it");
            return self.violate("served by its owner", what);
        }
        for ((number, user), outcome) in used.iter().zip(outcomes) {
            match outcome {
                Outcome::Refused(refusal) => self.judge_refused(at, group, *number, *user, *refusal),
                Outcome::Answered(reply) => self.judge_answered(at, group, *number, *user, reply),
                Outcome::Kept | Outcome::Read(_) => {
                    if !self.may_be_kept(at, group, *number, *user) {
                        return;
                    }
                    let tells = n.or_else(|| self.tells(at, group, &records, *user));
                    kept.push(self.foretell(tells, *number, *user, &mut records, &mut resealed));
                    numbers.extend(if let Outcome::Read(number) = outcome { Some(*number) } else { None });
                }
            }
        }
        let (Some(n), Some(made)) = (n, made) else {
            return self.judge_reads(at, group, parent, kept, &numbers, &resealed);
        };
        records.change(&resealed, n);
        self.judge_blind(at, &made, &kept, &resealed);
        self.judge_sealed(&made, &records);
        self.take(n, at, group, base, made, kept, records, parent);
    }

    fn judge_refused(&mut self, at: usize, group: usize, number: Made, user: u8, refusal: SessionRefusal) {
        let message = &self.messages[&number];
        let (wish, session) = (message.wish, message.session);
        if let Wish::Odd(oddity) = wish {
            self.cover("(odd)", "leader", format!("{oddity:?}: {refusal:?}"));
        } else if refusal == SessionRefusal::DecodingError {
            let what = format!("HSM {at} refused {wish:?} of user {user} as no request");
            self.violate("blind until commit", what);
        }
        if self.messages[&number].channel.is_some() {
            let lasts = self.charged.get(&(at, group, user)) == Some(&session);
            if lasts && refusal == SessionRefusal::MissingSession {
                let what = format!("HSM {at} gave up the session of user {user}, who had guessed in it");
                return self.violate("sessions last", what);
            }
            self.sessions.remove(&(at, group, user, session));
            self.end_charge(at, group, user, session);
        }
        self.cover("(in a batch)", "leader", format!("{refusal:?}"));
    }

    fn judge_answered(&mut self, at: usize, group: usize, number: Made, user: u8, reply: &NoiseReply) {
        let message = &self.messages[&number];
        let (wish, session) = (message.wish, message.session);
        if wish != Wish::Register1 {
            let what = format!("HSM {at} answered {wish:?} of user {user} at once");
            return self.violate("blind until commit", what);
        }
        if message.channel.is_none() {
            self.sessions.insert((at, group, user, session));
        }
        if message.applied.is_none() {
            self.end_charge(at, group, user, session);
        }
        self.read(number, user, reply);
        self.cover("(in a batch)", "leader", "Answered".into());
    }

    /// Whether a core was allowed to run a request that it ran.
    fn may_be_kept(&mut self, at: usize, group: usize, number: Made, user: u8) -> bool {
        let message = &self.messages[&number];
        let (wish, session, by) = (message.wish, message.session, message.user);
        let (is_transport, is_new) = (message.channel.is_some(), message.applied.is_none());
        let (rule, what) = if let Wish::Odd(oddity) = wish {
            ("no such request", format!("HSM {at} ran {oddity:?} of user {user}"))
        } else if is_transport && by != user {
            ("sessions belong to a record", format!("a session of user {by} served user {user}"))
        } else if is_transport && !self.sessions.contains(&(at, group, user, session)) {
            ("sessions end", format!("HSM {at} ran {wish:?} of user {user} in a session that had ended"))
        } else if !is_transport && !wish.rides() {
            ("forward secrecy", format!("HSM {at} ran {wish:?} of user {user} from a handshake"))
        } else {
            if !is_transport {
                self.sessions.insert((at, group, user, session));
                self.end_charge(at, group, user, session);
            } else if is_new && matches!(wish, Wish::Recover2(..)) {
                self.charged.insert((at, group, user), session);
            } else if is_new {
                self.end_charge(at, group, user, session);
            }
            self.cover("(in a batch)", "leader", "Kept".into());
            return true;
        };
        self.violate(rule, what);
        // If only another rule counts, that rule sees what comes of it.
        self.violation.is_none()
    }

    /// Runs a request on the model, under an entry or of what it tells.
    fn foretell(
        &mut self,
        n: Option<Made>,
        number: Made,
        user: u8,
        records: &mut Records,
        resealed: &mut BTreeSet<u8>,
    ) -> Kept {
        let had_leaf = records.has_leaf(user);
        let message = self.messages.get_mut(&number).expect("it was sent");
        let before = message.applied.filter(|_| message.channel.is_some());
        if let Some((applied, expected, window)) = before {
            // The same bytes on the same session: the same reply, and no effect.
            let (happening, left) = (super::model::Happening::Nothing, records.left(user));
            return Kept { message: number, user, applied, expected, happening, left, is_new: false, window };
        }
        let wish = message.wish;
        let Foretold { answer: expected, happening, left, is_new } = records.apply(user, wish);
        let window = if let Wish::Recover2(r, _) = wish { records.accepted(user, r) } else { 0 };
        message.applied = Some((n, expected, window));
        let writes = match wish {
            Wish::Register2(_) | Wish::Stage(_) => true,
            Wish::Recover2(..) | Wish::Recover3(..) | Wish::Delete | Wish::Activate(_) => had_leaf,
            Wish::Register1 | Wish::Recover1 | Wish::Attempts | Wish::Versions | Wish::Odd(_) => false,
        };
        if writes {
            resealed.insert(user);
        }
        Kept { message: number, user, applied: n, expected, happening, left, is_new, window }
    }

    /// Keeps an entry that a batch made.
    #[expect(clippy::too_many_arguments, reason = "all that is known of a new entry")]
    fn take(
        &mut self,
        n: Made,
        at: usize,
        group: usize,
        base: &Tree,
        made: MadeEntry,
        kept: Vec<Kept>,
        records: Records,
        parent: Option<Made>,
    ) {
        let mut tree = base.clone();
        let leaves = made.leaves.iter().map(|l| (l.record, Arc::from(l.sealed.as_slice())));
        // A root that does not match the leaves it came with: the host goes on with the tree that it does match.
        let updated = tree.update(leaves).is_ok();
        if !updated || made.entry.partitions.iter().any(|p| p.root != self.below(&tree, p.prefix).root()) {
            tree = base.clone();
        }
        let holds = self.holds(group, parent);
        self.judge_owned(at, &made.entry, &holds);
        self.judge_decisions(at, &made.entry, self.decided(parent), false);
        let events = made.events;
        self.keep(n, at, group, made.entry, New { parent, tree, records, holds, takes: None, kept, events });
    }

    /// Keeps an entry that a core made, and judges its place in the log.
    pub(super) fn keep(&mut self, n: Made, at: usize, group: usize, entry: Entry, new: New) {
        let parent = new.parent;
        let hash = entry.hash();
        let before = parent.map_or(EntryHash::ZERO, |parent| self.entries[&parent].hash);
        if entry.prev != before {
            self.violate("one chain", format!("HSM {at} made an entry that does not continue its own chain"));
        }
        let captured = self.members[at][group].captured;
        if captured.is_some_and(|captured| parent.is_none_or(|parent| !self.is_before(captured, parent))) {
            let what = format!("HSM {at} makes entries on a chain that what it captured has beaten");
            self.violate("leaders start from NVRAM", what);
        }
        if parent.is_some_and(|parent| self.entries[&parent].entry.last) {
            self.violate("ends for good", format!("HSM {at} made an entry after the last of group {group}"));
        }
        let most = self.statuses[at].limits.max_pending_entries;
        if let Some(lead) = &mut self.members[at][group].lead {
            (lead.newest, lead.waiting) = (Some(n), lead.waiting + 1);
            if lead.waiting > u64::from(most) {
                let what = format!("HSM {at} let {} entries wait", lead.waiting);
                self.violate("bounded", what);
            }
        }
        if let Some(lead) = &mut self.members[at][group].lead {
            lead.replies.insert(n, new.kept.len());
        }
        self.judge_waiting(at);
        self.by_hash.insert(hash, n);
        self.traffic(group, "Process");
        let New { parent, tree, records, holds, takes, kept, events } = new;
        let known = Known {
            entry,
            hash,
            parent,
            group,
            tree,
            records,
            holds,
            takes,
            kept,
            events,
            stated: 0,
            is_committed: false,
            is_forged: false,
        };
        self.entries.insert(n, known);
    }

    /// What is resealed, and every size, depends only on what is public.
    fn judge_blind(&mut self, at: usize, made: &MadeEntry, kept: &[Kept], resealed: &BTreeSet<u8>) {
        let users: BTreeSet<u8> =
            made.leaves.iter().filter_map(|l| self.clients().user_of(&l.record)).collect();
        if users != *resealed {
            let what = format!("HSM {at} resealed {users:?}, not {resealed:?}");
            self.violate("blind until commit", what);
        }
        let sizes = made.leaves.iter().all(|leaf| leaf.sealed.len() == SEALED_RECORD_BYTES)
            && made.events.iter().all(|event| event.len() == SEALED_EVENT_BYTES);
        if !sizes || made.events.len() != kept.len() {
            self.violate("blind until commit", format!("HSM {at} made leaves or events of other sizes"));
        }
    }

    /// With the realm's keys: a leaf opens only for its record, and holds the secrets of its registration while that
    /// has guesses left, and no others.
    fn judge_sealed(&mut self, made: &MadeEntry, records: &Records) {
        for leaf in &made.leaves {
            let Some(user) = self.clients().user_of(&leaf.record) else { continue };
            let Some(plaintext) = self.founding.keys.open_record(&leaf.record, &leaf.sealed) else {
                let what = format!("a leaf of user {user} does not open as what it is");
                return self.violate("sealed for its record", what);
            };
            let shown = self.clients().shows(user, &plaintext);
            let wanted = records.secrets(user);
            if shown & !wanted != 0 {
                let (rule, what) = if records.at_last_guess(user).any(|r| shown >> r & 1 == 1) {
                    ("gone at zero", "its secrets after the last guess")
                } else {
                    ("deleted or replaced is gone", "secrets of a registration that is gone")
                };
                return self.violate(rule, format!("user {user}'s record holds {what}"));
            }
            let is_bound = |registration| self.is_bound(user, registration, &leaf.record, &plaintext);
            if !records.at_last_guess(user).all(is_bound) {
                let what = format!("what is wrapped for user {user} is not bound to its place");
                return self.violate("sealed for its record", what);
            }
            if shown != wanted {
                return self
                    .violate("sealed for its record", format!("a leaf of user {user} lacks its secrets"));
            }
        }
    }

    /// Whether a record after its last guess knows its tag by a hash that names realm, record and version.
    fn is_bound(&self, user: u8, registration: u8, record: &RecordId, plaintext: &[u8]) -> bool {
        let (tag, version) = self.clients().tag(user, registration);
        let realm = self.founding.realm.realm;
        let known_by = hash("strongroom last guess tag 1", &[&tag, &realm.0, &record.0, &version]);
        plaintext.windows(known_by.len()).any(|window| window == known_by)
    }

    /// With the realm's keys: an event says what happened, to whom, in which entry, and how many guesses are left.
    pub(super) fn judge_event(&mut self, under: Made, kept: &Kept, event: &[u8]) {
        let known = &self.entries[&under];
        let group = &self.groups[known.group].id;
        let plaintext = self.founding.keys.open_event(group, event).unwrap_or_default();
        let mut expected = vec![2, kept.happening as u8];
        expected.extend_from_slice(&self.clients().record(kept.user).0);
        expected.extend_from_slice(&known.entry.index.0.to_be_bytes());
        expected.push(kept.left);
        expected.resize(plaintext.len().max(expected.len()), 0);
        if plaintext != expected {
            let Kept { message, happening, left, .. } = kept;
            let what = format!("the event of #{message} does not say {happening:?} with {left} guesses left");
            self.violate("events say what happened", what);
        }
    }
}
