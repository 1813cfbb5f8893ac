//! Clients' Noise sessions, in the leader's RAM, and which of them give way to others.
//!
//! A session belongs to one record, and is found by record and session id together; no session speaks for another
//! record. It remembers its last request and reply, so that a client whose reply was lost can send the very same
//! ciphertext again.
//!
//! There is no clock here, so places are what is rationed. A user whose PIN is right needs the session from Recover2 to
//! Recover3, or a guess is spent on nothing; so nobody else's traffic may end a session whose last request was a
//! Recover2, here called *charged*. A record has few sessions and at most one charged one, so taking many places takes
//! many users. And charged sessions keep others out of only three quarters of the table: most belong to people who
//! mistyped and left.
//!
//! Keeps its part of invariant 5 (*blind until commit*). The host sees at once which session gave way, so the choice
//! depends only on what the host has seen before: handshakes, the order of messages, and that one was a Recover2, which
//! its length tells. Whether a guess was charged does not enter into it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use strongroom_proto::ids::{Index, Mac, RecordId, SessionId};
use strongroom_proto::noise::Transport;

/// The most sessions of one record: a user with a few devices, or one that retries.
pub const MAX_SESSIONS_OF_A_RECORD: usize = 4;

/// How many of a table's places charged sessions are safe in: three quarters.
#[must_use]
pub const fn charged_places(sessions: usize) -> usize {
    sessions.saturating_sub(sessions.div_ceil(4))
}

/// A live session.
pub(crate) struct Session {
    pub(crate) transport: Transport,
    pub(crate) last: Option<Box<LastExchange>>,
}

/// The last request of a session, by digest, and its reply, which is under the same release rule.
pub(crate) struct LastExchange {
    pub(crate) request: Mac,
    /// A transport message: exactly its bytes, because a small device has room for little more than the table of
    /// sessions.
    pub(crate) reply: Box<[u8]>,
    /// The own entry that must be committed before the reply leaves; `None` if it depends on no record.
    pub(crate) since: Option<Index>,
}

/// Which group's leadership, whose record, which session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionKey {
    pub(crate) slot: usize,
    pub(crate) record: RecordId,
    pub(crate) session: SessionId,
}

/// A session in its place.
pub(crate) struct Place {
    /// When it was last used, counted in uses of the table.
    used: u64,
    /// Whether its last request was a Recover2, and no other session of its record had one since.
    pub(crate) charged: bool,
    // Secret: boxed, so that keys lie in one place until they are wiped there.
    pub(crate) session: Box<Session>,
}

/// All sessions of an HSM: at most a fixed number, of which at most another fixed number keep their last reply.
pub(crate) struct Sessions {
    limit: usize,
    most_replies: usize,
    clock: u64,
    places: BTreeMap<SessionKey, Place>,
    /// How many sessions keep a reply.
    replies: usize,
}

impl Sessions {
    pub(crate) const fn new(limit: usize, most_replies: usize) -> Self {
        Self { limit, most_replies, clock: 0, places: BTreeMap::new(), replies: 0 }
    }

    /// Takes a session out. Whoever uses it puts it back, unless the message fails.
    pub(crate) fn take(&mut self, key: &SessionKey) -> Option<Place> {
        let place = self.places.remove(key)?;
        self.replies = self.replies.saturating_sub(usize::from(place.session.last.is_some()));
        Some(place)
    }

    /// Puts in a session that was just opened, in place of any with the same key; if there is no room, another gives
    /// way.
    pub(crate) fn open(&mut self, key: SessionKey, transport: Transport) {
        drop(self.take(&key));
        let full = self.of_record(&key).count() >= MAX_SESSIONS_OF_A_RECORD;
        if full {
            let gives_way = first(self.of_record(&key));
            drop(gives_way.and_then(|key| self.take(&key)));
        }
        while self.places.len() >= self.limit {
            let Some(key) = self.gives_way() else { break };
            drop(self.take(&key));
        }
        let session = Box::new(Session { transport, last: None });
        self.put(key, Place { used: 0, charged: false, session });
    }

    /// Puts a session back after a new message, which counts as its use.
    pub(crate) fn put(&mut self, key: SessionKey, mut place: Place) {
        self.clock = self.clock.saturating_add(1);
        place.used = self.clock;
        self.put_back(key, place);
    }

    /// Puts a session back after a message that was sent again, which does not count as a use: it costs nobody a guess,
    /// and would keep a charge young forever.
    pub(crate) fn put_back(&mut self, key: SessionKey, place: Place) {
        if place.charged {
            self.places.range_mut(record_of(&key)).for_each(|(_, place)| place.charged = false);
        }
        self.replies = self.replies.saturating_add(usize::from(place.session.last.is_some()));
        self.places.insert(key, place);
        if self.replies > self.most_replies {
            self.forget_a_reply();
        }
    }

    /// Ends every session of one group.
    pub(crate) fn end_group(&mut self, slot: usize) {
        self.places.retain(|key, _| key.slot != slot);
        self.replies = self.places.values().filter(|place| place.session.last.is_some()).count();
    }

    /// The session of a full table that is needed least.
    fn gives_way(&self) -> Option<SessionKey> {
        let charged = self.places.values().filter(|place| place.charged).count();
        if charged > charged_places(self.limit) {
            return first(self.places.iter().filter(|(_, place)| place.charged));
        }
        first(self.places.iter())
    }

    /// Forgets one reply: a charged session's if there is one, because its record holds the answer too.
    fn forget_a_reply(&mut self) {
        let with_reply = self.places.values_mut().filter(|place| place.session.last.is_some());
        if let Some(place) = with_reply.min_by_key(|place| (!place.charged, place.used)) {
            place.session.last = None;
            self.replies = self.replies.saturating_sub(1);
        }
    }

    fn of_record(&self, key: &SessionKey) -> impl Iterator<Item = (&SessionKey, &Place)> {
        self.places.range(record_of(key))
    }
}

/// The one unused for longest, among those without a charge if there are any.
fn first<'a>(places: impl Iterator<Item = (&'a SessionKey, &'a Place)>) -> Option<SessionKey> {
    places.min_by_key(|(_, place)| (place.charged, place.used)).map(|(key, _)| *key)
}

/// The keys of one record's sessions.
fn record_of(key: &SessionKey) -> core::ops::RangeInclusive<SessionKey> {
    let with = |session| SessionKey { session: SessionId(session), ..*key };
    with(0)..=with(u32::MAX)
}
