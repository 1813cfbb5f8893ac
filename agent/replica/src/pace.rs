//! How often a leader says that it leads.
//!
//! While there is something to do it speaks at its usual pace, so that its loss is noticed soon. When there has been
//! nothing for a while, it speaks seldom, and says each time how long it may be silent: twice as long as it means to be,
//! so that a message that is lost deposes nobody.
//!
//! Kept here: a leader with something to do speaks at its usual pace, and no leader is silent for longer than it said.

use super::bug::Bug;
use super::context::Context;
use super::interface::Millis;
use super::turn::MAX_SILENT_MS;

/// After this long with nothing to do, a leader begins to be silent. Longer than an agent tells its replica only of one
/// client in many (`agent/src/hub/driver.rs`): a leader whose clients those are speaks at its usual pace.
const IDLE_MS: u64 = 1_000;

/// When to speak, and why.
pub(super) struct Pace {
    speaks_at: Millis,
    spoke_at: Millis,
    /// When there was last something to do.
    busy_at: Millis,
    /// How long it may be silent, by what it said last.
    said_ms: u64,
}

impl Pace {
    /// It speaks at once.
    pub(super) const fn new(now: Millis) -> Self {
        Self { speaks_at: now, spoke_at: now, busy_at: now, said_ms: 0 }
    }

    /// When it speaks next.
    pub(super) const fn speaks_at(&self) -> Millis {
        self.speaks_at
    }

    /// It speaks at once.
    pub(super) const fn hurry(&mut self, now: Millis) {
        self.speaks_at = now;
    }

    /// Somebody asks who leads: it speaks as soon as it would at its usual pace, so that whoever asked knows how long it
    /// may be silent.
    pub(super) fn asked(&mut self, cx: &Context) {
        let soon = self.spoke_at.after(cx.settings.heartbeat_ms).max(cx.now);
        self.speaks_at = self.speaks_at.min(soon);
    }

    /// There is something to do.
    pub(super) const fn busy(&mut self, now: Millis) {
        self.busy_at = now;
    }

    /// Whether it has said that it may be silent.
    pub(super) const fn is_silent(&self) -> bool {
        self.said_ms > 0
    }

    /// Whether it has said that it may be silent, and has something to do after all: it speaks at once.
    pub(super) fn breaks_silence(&self, cx: &Context) -> bool {
        self.is_silent() && !self.is_idle(cx.now) && !cx.bugs.has(Bug::SilentAtWork)
    }

    /// It speaks now. Returns how long it may be silent then, in milliseconds.
    pub(super) fn speak(&mut self, cx: &Context) -> u32 {
        let usual_ms = cx.settings.heartbeat_ms;
        let seldom_ms = MAX_SILENT_MS / 2;
        let is_silent = self.is_idle(cx.now) && usual_ms < seldom_ms && !cx.bugs.has(Bug::IdleChatter);
        let (pause_ms, said_ms) = if is_silent { (seldom_ms, MAX_SILENT_MS) } else { (usual_ms, 0) };
        (self.spoke_at, self.speaks_at) = (cx.now, cx.now.after(pause_ms));
        self.said_ms = said_ms;
        u32::try_from(said_ms).unwrap_or(0)
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self, cx: &Context, is_busy: bool) {
        let silent = self.is_silent() && !cx.bugs.has(Bug::SilentAtWork);
        assert!(!is_busy || !silent, "a leader with something to do is silent");
        let longest = cx.now.after(self.said_ms.max(cx.settings.heartbeat_ms));
        assert!(self.speaks_at <= longest, "a leader is silent for longer than it said");
    }

    fn is_idle(&self, now: Millis) -> bool {
        now >= self.busy_at.after(IDLE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::context;

    /// A leader that has had nothing to do for a while, and has said that it may be silent.
    fn silent() -> (Context, Pace) {
        let mut cx = context();
        let mut pace = Pace::new(cx.now);
        assert_eq!((pace.speak(&cx), pace.speaks_at()), (0, cx.now.after(50)));
        cx.now = cx.now.after(IDLE_MS);
        assert_eq!((pace.speak(&cx), pace.speaks_at()), (500, cx.now.after(250)));
        pace.assert_invariants(&cx, false);
        (cx, pace)
    }

    #[test]
    fn a_leader_is_silent_until_there_is_something_to_do_and_again_a_second_after_that() {
        let (mut cx, mut pace) = silent();
        cx.now = cx.now.after(100);
        assert!(pace.is_silent() && !pace.breaks_silence(&cx));
        pace.busy(cx.now);
        assert!(pace.breaks_silence(&cx));
        assert_eq!((pace.speak(&cx), pace.speaks_at()), (0, cx.now.after(50)));
        assert!(!pace.breaks_silence(&cx));
        cx.now = cx.now.after(IDLE_MS - 1);
        assert_eq!(pace.speak(&cx), 0);
        cx.now = cx.now.after(1);
        assert_eq!(pace.speak(&cx), 500);
    }

    #[test]
    fn a_silent_leader_that_is_asked_speaks_at_once_and_no_more_often_than_at_its_usual_pace() {
        let (mut cx, mut pace) = silent();
        let spoke_at = cx.now;
        cx.now = cx.now.after(20);
        pace.asked(&cx);
        assert_eq!(pace.speaks_at(), spoke_at.after(50));
        cx.now = cx.now.after(200);
        pace.asked(&cx);
        assert_eq!(pace.speaks_at(), spoke_at.after(50), "it is due");
        assert_eq!((pace.speak(&cx), pace.speaks_at()), (500, cx.now.after(250)));
    }

    /// Whoever chose a pace like that has chosen how soon a leader's loss is noticed.
    #[test]
    fn a_leader_whose_usual_pace_is_slow_keeps_it() {
        let (mut cx, mut pace) = silent();
        cx.settings.heartbeat_ms = 250;
        assert_eq!((pace.speak(&cx), pace.speaks_at()), (0, cx.now.after(250)));
    }

    #[test]
    #[should_panic(expected = "a leader with something to do is silent")]
    fn silence_at_work_is_noticed() {
        let (cx, pace) = silent();
        pace.assert_invariants(&cx, true);
    }

    #[test]
    #[should_panic(expected = "a leader is silent for longer than it said")]
    fn a_silence_that_was_not_announced_is_noticed() {
        let (cx, mut pace) = silent();
        pace.speaks_at = cx.now.after(501);
        pace.assert_invariants(&cx, false);
    }
}
