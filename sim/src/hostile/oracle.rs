//! The oracle: what no host may ever see, whatever it does.
//!
//! Reads what leaves the cores and what the host's own users sent, and nothing inside a core. (What a sealed leaf
//! holds, it reads with the realm's keys, in builds with the feature `planted-bugs`.) Every rule is a name and a
//! sentence; a run ends at the first that is broken.

use super::clients::{Answer, finish, guesses};
use super::step::{Made, Wish};
use super::world::{Kept, Known, Lead, MAX_PENDING_ENTRIES, World};
use std::collections::BTreeSet;
use std::fmt;
use strongroom_hsm::{SEALED_EVENT_BYTES, SEALED_RECORD_BYTES};
use strongroom_proto::client::{PADDED_RESPONSE, SecretsResponse};
use strongroom_proto::hsm::{
    CaptureOutcome, DeviceStatus, Made as MadeEntry, NoiseReply, Outcome, Released, Reply, Request,
};
use strongroom_proto::ids::{EntryHash, GroupId};
use strongroom_proto::statement::{Captured, Committed};
use strongroom_proto::tree::Tree;

/// A rule that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// An entry as a sentence names it.
fn named(entry: Option<Made>) -> String {
    entry.map_or_else(|| "no known entry".into(), |made| format!("#{made}"))
}

impl World {
    pub(super) fn violate(&mut self, rule: &'static str, what: String) {
        self.violation.get_or_insert(Violation { rule, what });
    }

    fn group_index(&self, id: &GroupId) -> Option<usize> {
        self.groups.iter().position(|group| group.id == *id)
    }

    /// Whether `old` is `new` or lies on the chain before it.
    pub(super) fn is_before(&self, old: Made, new: Made) -> bool {
        let Some(index) = self.entries.get(&old).map(|known| known.entry.index) else { return false };
        let mut at = Some(new);
        while let Some(known) = at.and_then(|at| self.entries.get(&at)) {
            if known.entry.index <= index {
                return at == Some(old);
            }
            at = known.parent;
        }
        false
    }

    /// Judges a reply that needs nothing but its request to be understood.
    pub(super) fn judge(&mut self, n: Made, at: usize, request: &Request, reply: Reply) {
        match (request, reply) {
            (Request::Capture(groups), Reply::Captures(outcomes)) => {
                for (of, outcome) in groups.iter().zip(outcomes) {
                    if let CaptureOutcome::Captured(statement) = outcome {
                        self.judge_captured(n, at, of.group, statement, false);
                    }
                }
            }
            (Request::Jump(entry, _), Reply::Captured(statement)) => {
                self.judge_captured(n, at, entry.group, statement, true);
            }
            (Request::Lead(group, entry), Reply::Leading(_)) => {
                let Some(group) = self.group_index(group) else { return };
                let from = entry.as_ref().map(|entry| self.by_hash.get(&entry.hash()).copied());
                let captured = self.members[at][group].captured;
                if from != captured.map(Some) {
                    let (from, captured) = (named(from.flatten()), named(captured));
                    let what = format!("HSM {at} leads from {from} and captured {captured}");
                    self.violate("leaders start from NVRAM", what);
                }
                self.members[at][group].lead = Some(Lead { newest: from.flatten(), waiting: 0 });
            }
            (Request::Commit { group, .. }, Reply::Committed { statement, released }) => {
                self.judge_committed(n, at, *group, &statement, &released);
            }
            _ => {}
        }
    }

    fn judge_captured(&mut self, n: Made, at: usize, group: GroupId, statement: Captured, jumped: bool) {
        let Some(group) = self.group_index(&group) else { return };
        let Some(made) = self.by_hash.get(&statement.hash).copied() else {
            return self.violate("one chain", format!("HSM {at} captured an entry that nobody made"));
        };
        self.statements.insert(n, (group, statement));
        let known = &self.entries[&made];
        if known.is_forged {
            return self.violate("one chain", format!("HSM {at} captured #{made}, which no HSM made"));
        }
        if known.group != group {
            return self.violate("one chain", format!("HSM {at} captured #{made} for another group"));
        }
        let member = &self.members[at][group];
        if let Some(before) = member.captured.filter(|before| !self.is_before(*before, made)) {
            let behind = known.entry.index < self.entries[&before].entry.index;
            if behind || !jumped || !self.stated_committed.contains(&made) {
                let what = format!("HSM {at} went from #{before} to #{made}, which is not after it");
                return self.violate("one chain", what);
            }
        } else if jumped && !self.stated_committed.contains(&made) {
            return self.violate("one chain", format!("HSM {at} jumped to #{made}, never committed"));
        }
        let member = &mut self.members[at][group];
        (member.captured, member.statement) = (Some(made), Some(n));
        let mut next = Some(made);
        while let Some(known) = next.and_then(|next| self.entries.get_mut(&next)) {
            if known.stated >> at & 1 == 1 {
                break;
            }
            known.stated |= 1 << at;
            next = known.parent;
        }
    }

    /// After a restart NVRAM must hold what was stated, or what comes after it.
    pub(super) fn judge_restarted(&mut self, at: usize, now: &DeviceStatus) {
        for status in &now.groups {
            let Some(group) = self.group_index(&status.statement.group) else { continue };
            let captured = self.by_hash.get(&status.captured_hash).copied();
            if let Some(before) = self.members[at][group].captured
                && captured.is_none_or(|now| !self.may_have_moved(before, now))
            {
                let what = format!("HSM {at} stated #{before} and remembers {}", named(captured));
                return self.violate("NVRAM first", what);
            }
            self.members[at][group].captured = captured;
        }
    }

    /// Whether a capture or a jump that was written, and perhaps never stated, leads from one entry to the other.
    fn may_have_moved(&self, before: Made, now: Made) -> bool {
        let index = |made: &Made| self.entries.get(made).map(|known| known.entry.index);
        self.is_before(before, now) || (self.stated_committed.contains(&now) && index(&now) >= index(&before))
    }

    fn judge_committed(
        &mut self,
        n: Made,
        at: usize,
        group: GroupId,
        statement: &Committed,
        released: &[Released],
    ) {
        let Some(group) = self.group_index(&group) else { return };
        let Some(made) = self.by_hash.get(&statement.hash).copied() else {
            return self.violate("majority", format!("HSM {at} committed an entry that nobody made"));
        };
        let members = self.groups[group].members;
        let stated = (self.entries[&made].stated & members).count_ones();
        // First what the host got of it, for that is what it was after.
        for Released { entry, replies } in released {
            self.judge_released(at, made, *entry, replies);
        }
        if stated * 2 <= members.count_ones() {
            let of = members.count_ones();
            return self
                .violate("majority", format!("HSM {at} committed #{made}, stated by {stated} of {of}"));
        }
        self.stated_committed.insert(made);
        self.commits.insert(n, (group, *statement));
        self.mark_committed(group, made);
        if let Some(lead) = &mut self.members[at][group].lead {
            let newest = lead.newest.and_then(|newest| self.entries.get(&newest));
            let newest = newest.map_or(0, |known| known.entry.index.0);
            lead.waiting = lead.waiting.min(newest.saturating_sub(statement.index.0));
        }
    }

    fn mark_committed(&mut self, group: usize, made: Made) {
        let mut next = Some(made);
        while let Some(known) = next.and_then(|next| self.entries.get_mut(&next)) {
            if known.is_committed {
                break;
            }
            known.is_committed = true;
            let (index, hash) = (known.entry.index, known.hash);
            let parent = known.parent;
            let before = self.committed.insert((group, index), hash);
            if before.is_some_and(|before| before != hash) {
                let what = format!("two entries of group {group} are committed at index {}", index.0);
                return self.violate("no conflict", what);
            }
            next = parent;
        }
    }

    fn judge_released(&mut self, at: usize, committed: Made, entry: EntryHash, replies: &[NoiseReply]) {
        let Some(made) = self.by_hash.get(&entry).copied() else {
            return self.violate("replies last", format!("HSM {at} released replies of no entry"));
        };
        let members = self.groups[self.entries[&made].group].members;
        let stated = (self.entries[&made].stated & members).count_ones();
        if !self.is_before(made, committed) || stated * 2 <= members.count_ones() {
            let what = format!("HSM {at} released replies of #{made}, which has no majority");
            return self.violate("replies last", what);
        }
        let kept = self.entries[&made].kept.clone();
        if kept.len() != replies.len() {
            let what =
                format!("HSM {at} kept {} replies in #{made} and released {}", kept.len(), replies.len());
            return self.violate("replies last", what);
        }
        for (kept, reply) in kept.iter().zip(replies) {
            self.judge_reply(made, kept, reply);
        }
    }

    /// Reads a reply that left under an entry.
    fn judge_reply(&mut self, under: Made, kept: &Kept, reply: &NoiseReply) {
        let Some(response) = self.read(kept.message, kept.user, reply) else { return };
        let message = &self.messages[&kept.message];
        let wish = message.wish;
        let answer = self.clients.answer(kept.user, &response);
        if let (Answer::Evaluated { registration, .. }, Wish::Recover2(_, point)) = (answer, wish) {
            self.judge_evaluation(under, kept, registration, point);
        }
        if let Answer::Share(registration) = answer
            && wish != Wish::Recover3(registration, true)
        {
            return self
                .violate("share for the right tag", format!("{wish:?} of user {} got one", kept.user));
        }
        if !self.is_before(kept.applied, under) {
            let what = format!("the answer to #{} left, and its effect is not on the chain", kept.message);
            return self.violate("count, then evaluate", what);
        }
        if answer != kept.expected {
            let (user, expected) = (kept.user, kept.expected);
            let what = format!("{wish:?} of user {user} got {answer:?}; the records say {expected:?}");
            self.violate("as the records say", what);
        }
    }

    /// The promise: no more different points evaluated than were allowed by what the chain accepted.
    fn judge_evaluation(&mut self, under: Made, kept: &Kept, registration: u8, point: u8) {
        let user = kept.user;
        let points = self.evaluated.entry((user, registration)).or_default();
        points.insert(point);
        let evaluated = points.len();
        let mut accepted = 0_usize;
        let mut next = Some(under);
        while let Some(known) = next.and_then(|next| self.entries.get(&next)) {
            let here = known.kept.iter().filter(|kept| Some(kept.applied) == next && kept.user == user);
            accepted += here.filter(|kept| self.accepts(kept, registration)).count();
            next = known.parent;
        }
        let allowed = accepted * usize::from(guesses(registration));
        if evaluated > allowed {
            let what = format!(
                "{evaluated} points of user {user} evaluated for registration {registration}, {allowed} allowed"
            );
            self.violate("guess limit", what);
        }
    }

    /// Whether this registered, or reset the counter with the right tag.
    fn accepts(&self, kept: &Kept, registration: u8) -> bool {
        let registers =
            self.messages.get(&kept.message).map(|m| m.wish) == Some(Wish::Register2(registration));
        registers || kept.expected == Answer::Share(registration)
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
                let (state, _) = self.clients.start(handshake, Some((by, wish)));
                finish(state, reply).map(|(_, payload)| payload)
            }
            (Some(_), NoiseReply::Handshake { .. }) => None,
        };
        let Some(payload) = payload else {
            // A client whose earlier reply was withheld cannot read a later one; the host gains nothing by it.
            self.cover("(reply)", "client", "unreadable".into());
            return None;
        };
        if payload.len() != PADDED_RESPONSE {
            let what = format!("an answer to user {user} has {} bytes", payload.len());
            self.violate("blind until commit", what);
        }
        SecretsResponse::from_padded(&payload).ok()
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
        let Some(parent) = self.members[at][group].lead.as_ref().map(|lead| lead.newest) else {
            return self
                .violate("leaders start from NVRAM", format!("HSM {at} makes entries and does not lead"));
        };
        let mut records = parent.map(|parent| self.entries[&parent].records.clone()).unwrap_or_default();
        let (mut kept, mut resealed) = (Vec::new(), BTreeSet::new());
        for ((number, user), outcome) in used.iter().zip(outcomes) {
            let message = &self.messages[number];
            let (wish, foreign) = (message.wish, message.channel.is_some() && message.user != *user);
            match outcome {
                Outcome::Refused(refusal) => self.cover("(in a batch)", "leader", format!("{refusal:?}")),
                Outcome::Answered(reply) => {
                    if wish != Wish::Register1 {
                        let what = format!("HSM {at} answered {wish:?} of user {user} at once");
                        return self.violate("blind until commit", what);
                    }
                    self.read(*number, *user, reply);
                    self.cover("(in a batch)", "leader", "Answered".into());
                }
                Outcome::Kept if foreign => {
                    let what = format!("a session of user {} served user {user}", message.user);
                    return self.violate("sessions belong to a record", what);
                }
                Outcome::Kept => {
                    let had_leaf = records.has_leaf(*user);
                    let before = message.applied.filter(|_| message.channel.is_some());
                    let (applied, expected) = before.unwrap_or_else(|| (n, records.apply(*user, wish)));
                    let writes = match wish {
                        Wish::Register2(_) => true,
                        Wish::Recover2(..) | Wish::Recover3(..) | Wish::Delete => had_leaf,
                        Wish::Register1 | Wish::Recover1 => false,
                    };
                    if before.is_none() && writes {
                        resealed.insert(*user);
                    }
                    if let Some(message) = self.messages.get_mut(number) {
                        message.applied = Some((applied, expected));
                    }
                    kept.push(Kept { message: *number, user: *user, applied, expected });
                    self.cover("(in a batch)", "leader", "Kept".into());
                }
            }
        }
        let Some(made) = made else { return };
        self.judge_blind(at, &made, &kept, &resealed);
        #[cfg(feature = "planted-bugs")]
        self.judge_leaves(at, &made, &records);
        let mut tree = base.clone();
        let leaves = made.leaves.iter().map(|l| (l.record, std::sync::Arc::from(l.sealed.as_slice())));
        // A root that is not of the leaves it came with: the host goes on with the tree that it is of.
        let updated = tree.update(leaves).is_ok();
        if !updated || made.entry.partitions.first().is_some_and(|p| p.root != tree.root()) {
            tree = base.clone();
        }
        let hash = made.entry.hash();
        let before = parent.map_or(EntryHash::ZERO, |parent| self.entries[&parent].hash);
        if made.entry.prev != before {
            self.violate("one chain", format!("HSM {at} made an entry that does not continue its own chain"));
        }
        if let Some(lead) = &mut self.members[at][group].lead {
            (lead.newest, lead.waiting) = (Some(n), lead.waiting + 1);
            if lead.waiting > u64::from(MAX_PENDING_ENTRIES) {
                let what = format!("HSM {at} let {} entries wait", lead.waiting);
                self.violate("bounded", what);
            }
        }
        self.by_hash.insert(hash, n);
        let (entry, stated, is_committed, is_forged) = (made.entry, 0, false, false);
        let known =
            Known { entry, hash, parent, group, tree, records, kept, stated, is_committed, is_forged };
        self.entries.insert(n, known);
    }

    /// What is resealed, and every size, depends on nothing that is not public.
    fn judge_blind(&mut self, at: usize, made: &MadeEntry, kept: &[Kept], resealed: &BTreeSet<u8>) {
        let users: BTreeSet<u8> =
            made.leaves.iter().filter_map(|l| self.clients.user_of(&l.record)).collect();
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

    /// With the realm's keys: a leaf opens for its record alone, and one at its last guess holds no secret.
    #[cfg(feature = "planted-bugs")]
    fn judge_leaves(&mut self, at: usize, made: &MadeEntry, records: &super::model::Records) {
        use strongroom_hsm::vectors::Revealed;
        for leaf in &made.leaves {
            let Some(user) = self.clients.user_of(&leaf.record) else { continue };
            let other = self.clients.record(user + 1);
            let core = self.devices[at].core();
            if core.reveal(&other, &leaf.sealed).is_some() {
                return self
                    .violate("sealed for its record", format!("a leaf of user {user} opens for another"));
            }
            let Some(number) = records.at_last_guess(user) else { continue };
            let registration = self.clients.registration(user, number);
            let key = registration.oprf_private_key.scalar().to_bytes();
            let share = registration.encryption_key_scalar_share.to_bytes();
            let secrets: [&[u8]; 3] = [&*key, registration.unlock_key_tag.as_bytes(), &*share];
            let shows = |plaintext: &[u8]| {
                secrets.iter().any(|secret| plaintext.windows(secret.len()).any(|w| w == *secret))
            };
            let gone = match core.reveal(&leaf.record, &leaf.sealed) {
                Some(Revealed::LastGuess(plaintext)) => !shows(&plaintext),
                Some(Revealed::Registered { .. }) => false,
                _ => true,
            };
            if !gone {
                let what = format!("user {user}'s record holds its secrets after the last guess");
                return self.violate("gone at zero", what);
            }
        }
    }
}
