//! What this member has learned about the word of the other members' agents.
//!
//! A message is its sender's, and nobody else's: the link authenticates it. Even so, an agent can be broken or stolen.
//! Kept here: a sender whose words did not verify is not heard for a while, longer each time; for a sender whose words
//! the store does not confirm, this member looks there less and less often. Nothing here is permanent, and there is
//! exactly one [`Standing`] for each other member of the group.

use super::interface::Millis;
use std::collections::BTreeMap;
use strongroom_proto::ids::{HsmId, Index};

/// How long a sender is not heard after something of it did not verify; twice as long each time, up to 64 times.
const UNHEARD_MS: u64 = 1_000;
const MAX_UNHEARD: u32 = 6;
/// How long in total a sender may put off elections with entries that the store has not shown yet.
const CREDIT_MS: u64 = 2_000;
/// First and longest pause between two looks at the store because of one sender.
const LOOK_MS: (u64, u64) = (50, 30_000);

#[derive(Clone, Copy, Default)]
struct Standing {
    /// How often in a row something of it did not verify.
    lies: u32,
    unheard_until: Millis,
    /// When what it did will be forgotten.
    forgotten_at: Millis,
    /// Since when it has spoken of entries of its own that the store has not shown.
    credit_since: Option<Millis>,
    look_at: Millis,
    look_back_off_ms: u64,
    /// The entry that it last said is in the store.
    claimed: Option<Index>,
}

/// The other members.
pub(super) struct Standings(BTreeMap<HsmId, Standing>);

impl Standings {
    /// Nothing is known about these yet.
    pub(super) fn new(members: impl IntoIterator<Item = HsmId>) -> Self {
        Self(members.into_iter().map(|member| (member, Standing::default())).collect())
    }

    /// Whether it is one of the other members, and may speak now.
    pub(super) fn may_speak(&self, from: HsmId, now: Millis) -> bool {
        self.0.get(&from).is_some_and(|of| now >= of.unheard_until)
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self, now: Millis, others: usize) {
        assert!(self.0.len() == others, "there is not one standing for each other member");
        let (unheard, look) = (now.after(UNHEARD_MS << MAX_UNHEARD), now.after(LOOK_MS.1));
        for of in self.0.values() {
            assert!(of.unheard_until <= unheard && of.look_at <= look, "a sender is never heard again");
            assert!(of.unheard_until <= of.forgotten_at, "a lie is forgotten before its sender is heard");
        }
    }

    /// Whether something of it has not verified lately.
    pub(super) fn is_doubted(&self, from: HsmId, now: Millis) -> bool {
        self.0.get(&from).is_some_and(|of| of.lies > 0 && now < of.forgotten_at)
    }

    /// Something of it did not verify: it loses its turn.
    pub(super) fn lied(&mut self, from: HsmId, now: Millis) {
        let Some(of) = self.0.get_mut(&from) else { return };
        if now >= of.forgotten_at {
            of.lies = 0;
        }
        let unheard_ms = UNHEARD_MS << of.lies.min(MAX_UNHEARD);
        of.lies = of.lies.saturating_add(1);
        of.unheard_until = now.after(unheard_ms);
        of.forgotten_at = of.unheard_until.after(unheard_ms.saturating_mul(2));
    }

    /// The newest entry is one that it made.
    pub(super) fn confirmed(&mut self, from: HsmId) {
        if let Some(of) = self.0.get_mut(&from) {
            of.credit_since = None;
        }
    }

    /// Whether elections may be put off for entries of it that the store has not shown yet.
    pub(super) fn has_credit(&mut self, from: HsmId, now: Millis) -> bool {
        self.0.get_mut(&from).is_some_and(|of| now < of.credit_since.get_or_insert(now).after(CREDIT_MS))
    }

    /// Whether to look at the store because it says that this entry is there.
    pub(super) fn may_look(&mut self, from: HsmId, claimed: Index, now: Millis) -> bool {
        let Some(of) = self.0.get_mut(&from).filter(|of| now >= of.look_at) else { return false };
        let (first, longest) = LOOK_MS;
        of.claimed = Some(claimed);
        of.look_back_off_ms = of.look_back_off_ms.saturating_mul(2).clamp(first, longest);
        of.look_at = now.after(of.look_back_off_ms);
        true
    }

    /// The store has shown what others wrote up to this entry, or the HSM found it authentic.
    pub(super) fn shown(&mut self, index: Index) {
        for of in self.0.values_mut().filter(|of| of.claimed.is_some_and(|claimed| claimed <= index)) {
            (of.look_at, of.look_back_off_ms) = (Millis(0), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIAR: HsmId = HsmId([1; 16]);

    fn one() -> Standings {
        Standings::new([LIAR])
    }

    #[test]
    fn a_sender_that_lies_again_is_silenced_for_longer_and_at_most_for_about_a_minute() {
        let (mut standings, mut now) = (one(), Millis(5));
        for unheard_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 64_000] {
            assert!(standings.may_speak(LIAR, now));
            standings.lied(LIAR, now);
            assert!(!standings.may_speak(LIAR, now.after(unheard_ms - 1)));
            now = now.after(unheard_ms);
        }
        assert!(standings.may_speak(LIAR, now) && standings.is_doubted(LIAR, now));
        let later = now.after(128_000);
        assert!(!standings.is_doubted(LIAR, later), "the lie is forgotten after as long again and more");
        standings.lied(LIAR, later);
        assert!(standings.may_speak(LIAR, later.after(1_000)));
    }

    #[test]
    #[should_panic(expected = "there is not one standing for each other member")]
    fn a_standing_too_many_is_noticed() {
        one().assert_invariants(Millis(0), 0);
    }

    #[test]
    #[should_panic(expected = "a sender is never heard again")]
    fn not_hearing_a_sender_for_good_is_noticed() {
        let mut standings = one();
        standings.assert_invariants(Millis(0), 1);
        standings.0.entry(LIAR).and_modify(|of| of.look_at = Millis(u64::MAX));
        standings.assert_invariants(Millis(0), 1);
    }

    #[test]
    #[should_panic(expected = "a lie is forgotten before its sender is heard")]
    fn forgetting_a_lie_too_early_is_noticed() {
        let mut standings = one();
        standings.lied(LIAR, Millis(0));
        standings.0.entry(LIAR).and_modify(|of| of.forgotten_at = Millis(0));
        standings.assert_invariants(Millis(0), 1);
    }

    #[test]
    fn a_stranger_never_speaks_and_takes_no_memory() {
        let mut standings = one();
        let stranger = HsmId([2; 16]);
        standings.lied(stranger, Millis(0));
        assert!(!standings.may_speak(stranger, Millis(0)) && !standings.has_credit(stranger, Millis(0)));
        assert!(!standings.may_look(stranger, Index(1), Millis(0)));
        assert_eq!(standings.0.len(), 1);
    }

    #[test]
    fn what_the_store_never_shows_is_looked_for_less_and_less_often() {
        let mut standings = one();
        let looks = |standings: &mut Standings, from: u64, index| {
            (from..from + 600_000).filter(|at| standings.may_look(LIAR, index, Millis(*at))).count()
        };
        let first = looks(&mut standings, 0, Index(9));
        assert!((20..=30).contains(&first), "{first} looks in ten minutes");
        standings.shown(Index(8));
        assert!(looks(&mut standings, 600_000, Index(9)) <= 20);
        standings.shown(Index(9));
        assert!(looks(&mut standings, 1_200_000, Index(10)) > 20, "what was shown is forgiven");
    }

    #[test]
    fn entries_that_are_not_shown_put_off_elections_for_two_seconds_in_all() {
        let mut standings = one();
        assert!(standings.has_credit(LIAR, Millis(10)) && standings.has_credit(LIAR, Millis(2_009)));
        assert!(!standings.has_credit(LIAR, Millis(2_010)) && !standings.has_credit(LIAR, Millis(900_000)));
        standings.confirmed(LIAR);
        assert!(standings.has_credit(LIAR, Millis(900_000)));
    }
}
