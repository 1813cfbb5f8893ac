//! The oracle: what no host may ever see, whatever it does.
//!
//! Reads what leaves the cores and what the host's own users sent, and nothing inside a core; what is sealed, it opens
//! with keys that a core exported to it ([`super::keys`]). Every rule is a name and a sentence; a run ends at the first
//! broken one. Here: statements, the log, what an HSM says about itself. In [`super::answers`]: batches and replies.

use super::claims::Claim;
use super::parts::{Lead, Violation};
use super::step::{Made, Shape};
use super::world::World;
use strongroom_proto::hsm::{CaptureOutcome, DeviceStatus, NoiseReply, Released, Reply, Request};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, RecordId, Term};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed};

/// Every rule, by the name that a failure gives it; `docs/hostile-host.md` explains each.
pub const RULES: &[&str] = &[
    "guess limit",
    "as the records say",
    "deleted or replaced is gone",
    "count, then evaluate",
    "share for the right tag",
    "replies last",
    "majority",
    "no conflict",
    "one chain",
    "leaders start from NVRAM",
    "NVRAM first",
    "NVRAM",
    "blind until commit",
    "the same for all secrets",
    "newest tree",
    "sessions belong to a record",
    "sessions end",
    "sessions last",
    "forward secrecy",
    "no such request",
    "sealed for its record",
    "gone at zero",
    "events say what happened",
    "custodians",
    "one realm",
    "members fixed inside",
    "one genesis",
    "one owner",
    "nothing stranded",
    "ends for good",
    "served by its owner",
    "moved as it was",
    "decisions are counted",
    "bounded",
    "fresh reads",
    "heads are of the log",
    "tenants are told what is committed and theirs",
    "attempts are what counted",
    "as the model allows",
];

/// An entry as a sentence names it.
fn named(entry: Option<Made>) -> String {
    entry.map_or_else(|| "no known entry".into(), |made| format!("#{made}"))
}

impl World {
    pub(super) fn violate(&mut self, rule: &'static str, what: String) {
        debug_assert!(RULES.contains(&rule), "a rule without a name: {rule}");
        if self.only.is_some_and(|only| only != rule) {
            return;
        }
        self.violation.get_or_insert(Violation { rule, what });
    }

    /// Counts what was done in a group.
    pub(super) fn traffic(&mut self, group: usize, name: &'static str) {
        let group = ["(group 0)", "(group 1)", "(made groups)"][group.min(2)];
        self.cover(group, "any", format!("{name}: ok"));
    }

    pub(super) fn group_index(&self, id: &GroupId) -> Option<usize> {
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
                for (which, (of, outcome)) in (0..).zip(groups.iter().zip(outcomes)) {
                    if let CaptureOutcome::Captured(statement) = outcome {
                        // The first has the step's number, as the only one has.
                        self.judge_captured(n | which << 28, at, of.group, statement, false);
                    }
                }
            }
            (Request::Jump(entry, _), Reply::Captured(statement)) => {
                self.judge_captured(n, at, entry.group, statement, true);
            }
            (Request::Lead(group, entry), Reply::Leading(term)) => {
                let Some(group) = self.group_index(group) else { return };
                let from = entry.as_ref().map(|entry| self.by_hash.get(&entry.hash()).copied());
                self.judge_leading(at, group, from, term);
            }
            (Request::StepDown(group), Reply::Done) => {
                let Some(group) = self.group_index(group) else { return };
                self.end_sessions(at, group);
                if let Some(lead) = &mut self.members[at][group].lead {
                    lead.leading = false;
                    lead.end_reads();
                }
            }
            (Request::DrawReadNonce(group), Reply::ReadNonce(nonce)) => {
                let Some(group) = self.group_index(group) else { return };
                self.judge_nonce(n, at, group, nonce);
            }
            (Request::Fresh(group, _), Reply::Fresh(statement)) => {
                let Some(group) = self.group_index(group) else { return };
                self.traffic(group, "Fresh");
                self.fresh.insert(n, statement);
            }
            (Request::Confirm { group, .. }, Reply::Confirmed(reads)) => {
                let Some(group) = self.group_index(group) else { return };
                self.judge_confirmed(at, group, &reads);
            }
            (Request::Commit { group, .. }, Reply::Committed { statement, released }) => {
                self.judge_committed(n, at, *group, &statement, &released);
            }
            (Request::ExtendHead { from, entries }, Reply::Head(head)) => {
                self.judge_head(n, at, from.as_ref(), entries, head);
            }
            (Request::SignHead { head, committed }, Reply::Checkpoint(signature)) => {
                self.judge_checkpoint(at, head, committed, &signature);
            }
            (Request::Tell { entries, telling, .. }, Reply::Told { past, sealed }) => {
                self.judge_told(n, at, (entries, telling.as_ref()), past, sealed.as_ref());
            }
            _ => {}
        }
    }

    fn judge_leading(&mut self, at: usize, group: usize, from: Option<Option<Made>>, term: Term) {
        let rule = "leaders start from NVRAM";
        let captured = self.members[at][group].captured;
        if from != captured.map(Some) {
            let (from, captured) = (named(from.flatten()), named(captured));
            return self.violate(rule, format!("HSM {at} leads from {from} and captured {captured}"));
        }
        if !self.terms.insert(term) {
            return self.violate(rule, format!("HSM {at} leads with the term of an earlier leadership"));
        }
        self.traffic(group, "Lead");
        self.end_leadership(at, group);
        let base = from.flatten();
        let (reads, has_nonce) = (Default::default(), false);
        let replies = Default::default();
        let lead = Lead { newest: base, waiting: 0, leading: true, base, reads, has_nonce, replies };
        self.members[at][group].lead = Some(lead);
    }

    fn judge_captured(&mut self, n: Made, at: usize, group: GroupId, statement: Captured, jumped: bool) {
        let Some(group) = self.group_index(&group) else { return };
        let Some(made) = self.by_hash.get(&statement.hash).copied() else {
            return self.violate("one chain", format!("HSM {at} captured an entry that nobody made"));
        };
        self.statements.insert(n, (group, statement));
        self.traffic(group, if jumped { "Jump" } else { "Capture" });
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
        self.settle(at, group, made);
        let mut next = Some(made);
        while let Some(known) = next.and_then(|next| self.entries.get_mut(&next)) {
            if known.stated >> at & 1 == 1 {
                break;
            }
            known.stated |= 1 << at;
            next = known.parent;
        }
    }

    /// A captured entry that is not the leader's own ends its sessions, and everything that it may still do.
    fn settle(&mut self, at: usize, group: usize, captured: Made) {
        let newest = self.members[at][group].lead.as_ref().map(|lead| lead.newest);
        let is_own = |newest: Option<Made>| newest.is_some_and(|newest| self.is_before(captured, newest));
        if newest.is_none_or(is_own) {
            return;
        }
        self.end_sessions(at, group);
        if let Some(lead) = &mut self.members[at][group].lead {
            lead.end_reads();
            lead.replies.clear();
        }
    }

    /// What an HSM says about itself: its NVRAM holds what it stated, or what comes after it.
    pub(super) fn judge_status(&mut self, at: usize, now: &DeviceStatus) {
        if now.realm.is_none() && self.statuses[at].realm.is_some() {
            return self.violate("NVRAM first", format!("HSM {at} has forgotten its realm"));
        }
        let realm = now.realm.as_ref().map(|realm| realm.realm);
        self.hosts_own[at] = realm.is_some_and(|realm| realm != self.founding.realm.realm);
        self.statuses[at] = now.clone();
        if self.hosts_own[at] {
            return;
        }
        let mut holds = 0_u16;
        for status in &now.groups {
            let group = self.learn(&status.statement);
            holds |= 1 << group;
            self.members[at][group].joined = true;
            let captured = self.by_hash.get(&status.captured_hash).copied();
            if let Some(before) = self.members[at][group].captured
                && captured.is_none_or(|now| !self.may_have_moved(before, now))
            {
                let what = format!("HSM {at} stated #{before} and remembers {}", named(captured));
                return self.violate("NVRAM first", what);
            }
            self.members[at][group].captured = captured;
        }
        self.judge_left(at, now, holds);
        if self.members[at].iter().enumerate().any(|(g, member)| member.joined && holds >> g & 1 == 0) {
            self.violate("NVRAM first", format!("HSM {at} has forgotten a group that it joined"));
        }
    }

    /// Only trees that hash to the newest root, and that open what is asked for, may be worked on.
    pub(super) fn judge_claims(
        &mut self,
        at: usize,
        group: usize,
        claims: &[Claim],
        records: &[RecordId],
        shape: Shape,
    ) {
        let newest = self.members[at][group].lead.as_ref().and_then(|lead| lead.newest);
        let root = |prefix: Prefix| match newest.and_then(|newest| self.entries.get(&newest)) {
            Some(known) => known.entry.partitions.iter().find(|p| p.prefix == prefix).map(|p| p.root),
            None => {
                let genesis = prefix == Prefix::WHOLE && self.groups[group].statement.genesis;
                genesis.then_some(Digest::EMPTY)
            }
        };
        let is_newest = |claim: &Claim| {
            let root = root(claim.prefix());
            root.is_some() && claim.root() == root
        };
        let opened = records.iter().all(|record| claims.iter().any(|claim| claim.opens(record)));
        if claims.len() > 1 || !claims.iter().all(is_newest) || !opened {
            let what = format!("HSM {at} worked on a tree made by hand: {shape:?}");
            self.violate("newest tree", what);
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
        if self.broken == Some(at) {
            // It is a majority by itself, and states what it likes; what others make of that is judged.
            self.commits.insert(n, (group, *statement));
            return;
        }
        let members = self.groups[group].members;
        let stated = (self.entries[&made].stated & members).count_ones();
        // First what the host gained from it, because that is what it was after.
        for Released { entry, replies } in released {
            self.judge_released(at, made, *entry, replies);
        }
        if stated * 2 <= members.count_ones() {
            let of = members.count_ones();
            self.violate("majority", format!("HSM {at} committed #{made}, stated by {stated} of {of}"));
        }
        self.traffic(group, "Commit");
        self.stated_committed.insert(made);
        self.commits.insert(n, (group, *statement));
        self.mark_committed(group, made);
        if let Some(lead) = &mut self.members[at][group].lead {
            let newest = lead.newest.and_then(|newest| self.entries.get(&newest));
            let newest = newest.map_or(0, |known| known.entry.index.0);
            lead.waiting = lead.waiting.min(newest.saturating_sub(statement.index.0));
            for Released { entry, .. } in released {
                self.by_hash.get(entry).map(|made| lead.replies.remove(made));
            }
        }
    }

    fn mark_committed(&mut self, group: usize, made: Made) {
        let mut next = Some(made);
        let mut new = Vec::new();
        while let Some((made, known)) = next.and_then(|next| Some((next, self.entries.get_mut(&next)?))) {
            if known.is_committed {
                break;
            }
            known.is_committed = true;
            new.push(made);
            let (index, hash) = (known.entry.index, known.hash);
            let parent = known.parent;
            let before = self.committed.insert((group, index), hash);
            if before.is_some_and(|before| before != hash) {
                let what = format!("two entries of group {group} are committed at index {}", index.0);
                return self.violate("no conflict", what);
            }
            next = parent;
        }
        self.judge_owners(group, &new);
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
            self.judge_reply(Some(made), kept, reply);
        }
        let events = self.entries[&made].events.clone();
        for (kept, event) in kept.iter().zip(&events) {
            self.judge_event(made, kept, event);
        }
    }
}
