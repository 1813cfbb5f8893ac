//! Answers that no entry carries: they wait in the HSM until a majority has said that this leadership is not over.
//!
//! They go out in rounds. The HSM draws a nonce, which covers every answer that it has made by then; the members' HSMs state with
//! it what they have captured; with enough statements this HSM lets out what is committed. What comes meanwhile is for the
//! next round, so rounds grow with the load by themselves.
//!
//! Kept here: there is one round at a time, and a statement counts only in the round whose nonce it was asked with, once for each
//! time that its member was asked; each answer goes to the request whose number it has; and while one waits that no commit
//! has to come for, there is a round or soon will be.

use super::bug::Bug;
use super::clients::Clients;
use super::context::Context;
use super::interface::{Answer, Millis, Ticket};
use super::outbox::Call;
use super::standing::Standings;
use crate::ask;
use crate::peer::PeerMessage;
use std::collections::{BTreeMap, BTreeSet};
use strongroom_proto::hsm::{ReadReply, Refusal};
use strongroom_proto::ids::{HsmId, Index, Nonce};
use strongroom_proto::statement::Fresh;

/// How long to leave the HSM alone after a round that came to nothing.
const PAUSE_MS: u64 = 20;
/// The longest such pause, and the longest time after which members that have not answered are asked again.
const LONGEST_MS: u64 = 1_000;

/// Reads that wait, and the round under way.
#[derive(Default)]
pub(super) struct Reads {
    waiting: BTreeMap<u64, Ticket>,
    /// Those with lower numbers were covered by a round, and what is left of them waits for a commit after this entry.
    covered: u64,
    after: Option<Index>,
    round: Option<Round>,
    not_before: Millis,
    /// How long the next pause is, and how long until members are asked again; both grow until a round succeeds.
    pause_ms: u64,
    again_ms: u64,
    /// When the first round began since the last one that succeeded.
    since: Option<Millis>,
}

struct Round {
    /// It covers the reads with lower numbers.
    covers: u64,
    /// Absent until the HSM has drawn it.
    nonce: Option<Nonce>,
    /// The members that have been asked and have not answered since.
    asked: BTreeSet<HsmId>,
    told: BTreeMap<HsmId, Told>,
    again_at: Millis,
    confirming: Option<Confirming>,
    /// Whether the HSM has found that what was told so far is not enough.
    falls_short: bool,
}

/// What a member has stated.
struct Told {
    statement: Fresh,
    /// Whether the HSM has found it authentic, or that it, or another that went with it, is not.
    proven: bool,
    doubted: bool,
}

/// Statements that are with the HSM.
struct Confirming {
    of: Vec<HsmId>,
    /// What was committed when they went there.
    committed: Index,
}

impl Reads {
    /// How many answers wait in the HSM.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The HSM keeps an answer under this number. `None` if it keeps another one under it already.
    pub(super) fn wait(&mut self, number: u64, ticket: Ticket) -> Option<()> {
        self.waiting.insert(number, ticket).is_none().then_some(())
    }

    /// Whether an answer waits that another round may let out.
    fn has_cause(&self, cx: &Context, committed: Index) -> bool {
        let newer = self.waiting.last_key_value().is_some_and(|(number, _)| *number >= self.covered);
        let waits_for_all = cx.bugs.has(Bug::ReadsAwaitCommit);
        !self.waiting.is_empty() && (newer && !waits_for_all || Some(committed) > self.after)
    }

    /// Does what can be done now: begins a round, asks again, hands statements to the HSM. Returns whether to see in the
    /// store if another leads, because the members have said nothing else for as long as an election takes.
    pub(super) fn advance(&mut self, cx: &mut Context, committed: Index, standings: &Standings) -> bool {
        if self.round.is_none() && cx.now >= self.not_before && self.has_cause(cx, committed) {
            self.begin(cx);
        }
        let asked_again = self.ask_again(cx);
        self.confirm(cx, committed, standings);
        asked_again && self.again_ms > *cx.settings.election_timeout_ms.end()
    }

    /// Whether no round has succeeded for this long though one was wanted.
    pub(super) fn are_stalled(&self, now: Millis, patience_ms: u64) -> bool {
        self.stalled_at(patience_ms).is_some_and(|at| now >= at)
    }

    /// When that is so, if no round succeeds before.
    pub(super) fn stalled_at(&self, patience_ms: u64) -> Option<Millis> {
        self.since.map(|since| since.after(patience_ms))
    }

    /// When there is something to do that no event brings: a round begins, or members are asked again.
    pub(super) fn deadline(&self, cx: &Context, committed: Index) -> Option<Millis> {
        match &self.round {
            Some(round) => round.nonce.map(|_| round.again_at),
            None => self.has_cause(cx, committed).then_some(self.not_before),
        }
    }

    fn begin(&mut self, cx: &mut Context) {
        self.since.get_or_insert(cx.now);
        let covers = self.waiting.last_key_value().map_or(0, |(number, _)| number.saturating_add(1));
        self.round = Some(Round {
            covers,
            nonce: None,
            asked: BTreeSet::new(),
            told: BTreeMap::new(),
            again_at: Millis(u64::MAX),
            confirming: None,
            falls_short: false,
        });
        cx.out.ask(Call::DrawReadNonce, ask::DrawReadNonce(cx.settings.group.group));
    }

    /// The HSM has drawn the nonce of the round: every member is asked, this one too.
    pub(super) fn drawn(&mut self, cx: &mut Context, nonce: Nonce) {
        let Some(round) = &mut self.round else { return };
        round.nonce = Some(nonce);
        round.asked = cx.settings.group.members.iter().copied().collect();
        round.ask(cx, nonce);
        self.again_ms = self.again_ms.max(cx.settings.heartbeat_ms);
        round.again_at = cx.now.after(self.again_ms);
    }

    /// The HSM could not draw a nonce.
    pub(super) fn undrawn(&mut self, now: Millis) {
        self.end_round(now);
    }

    fn end_round(&mut self, now: Millis) {
        self.round = None;
        self.pause_ms = self.pause_ms.saturating_mul(2).clamp(PAUSE_MS, LONGEST_MS);
        self.not_before = now.after(self.pause_ms);
    }

    /// Messages are lost: asks the members that do not count yet again. If the HSM has found that what the others said
    /// falls short, everybody is asked in a new round.
    fn ask_again(&mut self, cx: &mut Context) -> bool {
        let Some(round) = self.round.as_mut().filter(|round| cx.now >= round.again_at) else { return false };
        let Some(nonce) = round.nonce.filter(|_| !cx.bugs.has(Bug::RoundAskedOnce)) else { return false };
        self.again_ms = self.again_ms.saturating_mul(2).min(LONGEST_MS);
        round.again_at = cx.now.after(self.again_ms);
        if round.falls_short {
            self.end_round(cx.now);
        } else if round.confirming.is_none() {
            let members = cx.settings.group.members.iter();
            round.asked = members.copied().filter(|of| !round.told.contains_key(of)).collect();
            round.ask(cx, nonce);
        }
        true
    }

    /// A member has stated this, in answer to this nonce.
    pub(super) fn stated(&mut self, cx: &Context, from: HsmId, nonce: Nonce, statement: Fresh) {
        let Some(round) = self.round.as_mut().filter(|round| round.nonce == Some(nonce)) else { return };
        if statement.hsm != from || !round.asked.remove(&from) {
            return;
        }
        let proven = from == cx.settings.hsm;
        round.told.insert(from, Told { statement, proven, doubted: false });
        round.falls_short = false;
    }

    /// Hands the statements to the HSM as soon as there are enough. One bad statement spoils them all, so those of doubted
    /// members go alone first.
    fn confirm(&mut self, cx: &mut Context, committed: Index, standings: &Standings) {
        let Some(round) = self.round.as_mut().filter(|r| r.confirming.is_none() && !r.falls_short) else {
            return;
        };
        let majority = cx.settings.group.members.len() / 2 + 1;
        if round.told.len() < majority {
            return;
        }
        let is_sound = |(of, told): &(&HsmId, &Told)| {
            told.proven || !(told.doubted || standings.is_doubted(**of, cx.now))
        };
        let (sound, doubted): (Vec<_>, Vec<_>) = round.told.iter().partition(is_sound);
        let counted = if sound.len() >= majority { sound } else { doubted.into_iter().take(1).collect() };
        let of = counted.iter().map(|(of, _)| **of).collect();
        let statements = counted.iter().map(|(_, told)| told.statement).collect();
        round.confirming = Some(Confirming { of, committed });
        cx.out.ask(Call::Confirm, ask::Confirm { group: cx.settings.group.group, statements });
    }

    /// The HSM has let these answers out. What is left of those that the round covered waits for a commit.
    pub(super) fn confirmed(&mut self, cx: &mut Context, replies: Vec<ReadReply>, clients: &mut Clients) {
        let Some(Round { covers, confirming: Some(confirming), .. }) = self.round.take() else { return };
        (self.covered, self.after) = (covers, Some(confirming.committed));
        (self.pause_ms, self.again_ms, self.since) = (0, 0, None);
        clients.count_round();
        for ReadReply { number, reply } in replies {
            let ticket = if cx.bugs.has(Bug::ReadAnswersAnother) {
                self.waiting.pop_last().map(|(_, ticket)| ticket)
            } else {
                self.waiting.remove(&number)
            };
            if let Some(ticket) = ticket {
                clients.answer_read(cx, ticket, Answer::Reply(reply));
            }
        }
    }

    /// The HSM did not count the statements. If that is because one is not authentic, each is checked alone. Returns
    /// the member whose statement its HSM did not make.
    pub(super) fn unconfirmed(&mut self, now: Millis, refusal: Refusal) -> Option<HsmId> {
        let round = self.round.as_mut()?;
        let Confirming { of, .. } = round.confirming.take()?;
        let forged = matches!(refusal, Refusal::NotAuthentic | Refusal::BadMembers);
        let alone = of.len() == 1;
        let is_unproven = |of: &HsmId| round.told.get(of).is_some_and(|told| !told.proven);
        let unproven: Vec<HsmId> = of.into_iter().filter(is_unproven).collect();
        match &unproven[..] {
            // Its own HSM made the others.
            [liar] if forged => {
                round.told.remove(liar);
                return Some(*liar);
            }
            [] if forged => self.end_round(now),
            several if forged => {
                round.each(several, |told| told.doubted = true);
            }
            // It was to be checked, and no more.
            [one] if alone => round.each(&[*one], |told| told.proven = true),
            authentic => {
                round.each(authentic, |told| told.proven = true);
                round.falls_short = true;
                if round.asked.is_empty() {
                    self.end_round(now);
                }
            }
        }
        None
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self, cx: &Context, committed: Index) {
        let waits = self.waiting.is_empty() || self.round.is_some() || cx.now < self.not_before;
        assert!(waits || !self.has_cause(cx, committed), "a read waits for a round that does not come");
        let Some(round) = &self.round else { return };
        let members = &cx.settings.group.members;
        let of_members = round.told.keys().chain(&round.asked).all(|of| members.contains(of));
        assert!(of_members, "a stranger's statement counts for a read");
        assert!(
            round.told.keys().all(|of| !round.asked.contains(of)),
            "a member counts that has yet to answer"
        );
        assert!(
            round.nonce.is_some() || round.told.is_empty(),
            "a statement counts before the nonce is drawn"
        );
    }
}

impl Round {
    fn each(&mut self, of: &[HsmId], mut mark: impl FnMut(&mut Told)) {
        self.told.iter_mut().filter(|(member, _)| of.contains(member)).for_each(|(_, told)| mark(told));
    }

    /// Asks the members that have yet to answer: this one's HSM unless it is asked already.
    fn ask(&self, cx: &mut Context, nonce: Nonce) {
        let group = cx.settings.group.group;
        for member in &self.asked {
            if *member == cx.settings.hsm {
                let is_asked = cx.out.purposes().any(|call| matches!(call, Call::OwnFresh(n) if *n == nonce));
                if !is_asked {
                    cx.out.ask(Call::OwnFresh(nonce), ask::Fresh(group, nonce));
                }
            } else {
                cx.out.send(*member, PeerMessage::StateFresh { group, nonce });
            }
        }
    }
}

#[cfg(test)]
mod tests;
