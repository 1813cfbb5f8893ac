//! What a leader sends one other member of the log: its segments, in their order, no faster than the member states them.
//!
//! A member that keeps up gets every segment once and asks the store for nothing. One that does not is sent no more
//! than it has room for, so that neither the leader's memory nor the way to the others fills up with what it has not
//! taken; what it misses it reads from the store, and what it states then is where its stream goes on.
//!
//! Kept here: segments go out in the order of the log, with none left out; and so much at most is on the way.

use super::bug::Bug;
use super::context::Context;
use super::interface::Millis;
use super::log::{Log, Object};
use std::collections::VecDeque;
use strongroom_proto::ids::Index;

/// The most segments on the way to one member, and the most bytes unless it is a single segment. A member that keeps up
/// has a few; at a store that takes 30 ms for a write, these are a second of work.
const MAX_SEGMENTS: usize = 32;
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// The longest pause before a member that states nothing new is sent something again.
const BACK_OFF_MS: u64 = 1_000;

/// The stream to one member.
pub(super) struct Stream {
    /// The last entry before those of this leadership: others count for nothing when they are sent.
    from: Index,
    /// The newest entry that it has stated.
    stated: Index,
    /// The last entry that it was sent, with all before it that it has not stated.
    sent: Index,
    /// The last entry of each segment that it was sent and has not stated, and its length.
    on_the_way: VecDeque<(Index, usize)>,
    bytes: usize,
    /// How many segments may be on the way: one after it has stated nothing for too long, and more as it gets on.
    room: usize,
    retry_at: Millis,
    back_off_ms: u64,
    /// Since when it has been expected to state something, if it is: from the first time that it was sent.
    expected_since: Option<Millis>,
    /// How long it took the last time.
    took_ms: u64,
}

impl Stream {
    /// A stream of the segments of a leadership, which come after this entry.
    pub(super) const fn after(from: Index) -> Self {
        Self {
            from,
            stated: Index::ZERO,
            sent: from,
            on_the_way: VecDeque::new(),
            bytes: 0,
            room: MAX_SEGMENTS,
            retry_at: Millis(0),
            back_off_ms: 0,
            expected_since: None,
            took_ms: 0,
        }
    }

    /// The same stream, to a member of which nothing is known any more.
    pub(super) const fn anew(&self) -> Self {
        Self::after(self.from)
    }

    /// The segments to send now.
    pub(super) fn next<'a>(&mut self, cx: &Context, log: &'a Log) -> Vec<&'a Object> {
        let pause_ms = self.pause_ms(cx);
        let mut next = Vec::new();
        for (object, last) in log.recent_after(self.sent) {
            let bytes = object.size();
            let has_room = cx.bugs.has(Bug::SentWithoutRoom)
                || self.on_the_way.is_empty()
                || self.on_the_way.len() < self.room && self.bytes.saturating_add(bytes) <= MAX_BYTES;
            if Some(object.name.first) != self.sent.next() || !has_room {
                break;
            }
            if self.on_the_way.is_empty() {
                self.wait(cx.now, self.back_off_ms.max(pause_ms));
                self.expected_since.get_or_insert(cx.now);
            }
            self.sent = last;
            self.on_the_way.push_back((last, bytes));
            self.bytes += bytes;
            next.push(object);
        }
        next
    }

    /// It has stated an entry of the log. Returns whether that is news.
    pub(super) fn stated(&mut self, cx: &Context, entry: Index) -> bool {
        if entry <= self.stated {
            return false;
        }
        self.stated = entry;
        self.sent = self.sent.max(entry);
        while let Some((_, bytes)) = self.on_the_way.pop_front_if(|(last, _)| *last <= entry) {
            self.bytes -= bytes;
        }
        self.room = self.room.saturating_mul(2).min(MAX_SEGMENTS);
        self.back_off_ms = 0;
        if let Some(since) = self.expected_since.take() {
            self.took_ms = cx.now.0.saturating_sub(since.0);
        }
        self.expected_since = (!self.on_the_way.is_empty()).then_some(cx.now);
        self.wait(cx.now, self.pause_ms(cx));
        true
    }

    /// How long to wait for a statement before something is sent again: twice as long as the last one took, so that an HSM
    /// may be slow without being sent everything twice.
    fn pause_ms(&self, cx: &Context) -> u64 {
        let period_ms = cx.settings.heartbeat_ms;
        if cx.bugs.has(Bug::AgainTooSoon) {
            return period_ms;
        }
        self.took_ms.saturating_mul(2).clamp(period_ms, BACK_OFF_MS.max(period_ms))
    }

    /// What to send again to a member that has stated nothing new for too long: what comes after that, once more from
    /// there, or, if that is not in memory any more, the newest, from which it sees that it must read the store.
    pub(super) fn again<'a>(&mut self, cx: &Context, log: &'a Log) -> Vec<&'a Object> {
        let waits = self.stated >= log.position().0 || cx.now < self.retry_at;
        if waits || cx.bugs.has(Bug::PushedOnce) {
            return Vec::new();
        }
        let pause_ms = self.pause_ms(cx);
        let back_off_ms = self.back_off_ms.saturating_mul(2).clamp(pause_ms, BACK_OFF_MS.max(pause_ms));
        self.wait(cx.now, back_off_ms);
        self.back_off_ms = back_off_ms;
        self.room = 1;
        let is_there = |from: Index| {
            log.recent_after(from).next().is_some_and(|(o, _)| Some(o.name.first) == from.next())
        };
        let back = self.stated.max(self.from);
        if is_there(back) {
            (self.sent, self.bytes) = (back, 0);
            self.on_the_way.clear();
            return self.next(cx, log);
        }
        log.recent().back().into_iter().collect()
    }

    const fn wait(&mut self, now: Millis, ms: u64) {
        self.retry_at = now.after(ms);
    }

    /// # Panics
    /// If the invariants above do not hold.
    pub(super) fn assert_invariants(&self) {
        let in_order = self.on_the_way.iter().is_sorted_by(|before, after| before.0 < after.0);
        assert!(in_order, "segments are sent out of order");
        let bytes: usize = self.on_the_way.iter().map(|(_, bytes)| bytes).sum();
        let bounded =
            self.on_the_way.len() <= MAX_SEGMENTS && (bytes <= MAX_BYTES || self.on_the_way.len() == 1);
        assert!(bounded && bytes == self.bytes, "a member is sent more than it has room for");
    }
}
