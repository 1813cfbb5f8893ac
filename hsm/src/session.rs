//! Clients' Noise sessions, in the leader's RAM.
//!
//! A session belongs to one record, and is found by record and session id together; no session speaks for another
//! record. It remembers its last request and reply, so that a client whose reply was lost can send the very same
//! ciphertext again. There is no clock here: when the table is full, the session that was unused for longest gives way.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use strongroom_proto::hsm::NoiseReply;
use strongroom_proto::ids::{Mac, RecordId, SessionId};
use strongroom_proto::noise::Transport;

/// A live session.
pub(crate) struct Session {
    pub(crate) transport: Transport,
    pub(crate) last: Option<LastExchange>,
}

/// The last request of a session, by digest, and its reply, which is under the same release rule.
pub(crate) struct LastExchange {
    pub(crate) request: Mac,
    pub(crate) reply: NoiseReply,
    /// Whether the reply depends on no record.
    pub(crate) constant: bool,
}

/// Which group's leadership, whose record, which session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionKey {
    pub(crate) slot: usize,
    pub(crate) record: RecordId,
    pub(crate) session: SessionId,
}

/// All sessions of an HSM, at most a fixed number.
pub(crate) struct Sessions {
    limit: usize,
    clock: u64,
    // Secret: boxed, so that keys lie in one place until they are wiped there.
    by_key: BTreeMap<SessionKey, (u64, Box<Session>)>,
    by_use: BTreeMap<u64, SessionKey>,
}

impl Sessions {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, clock: 0, by_key: BTreeMap::new(), by_use: BTreeMap::new() }
    }

    /// Takes a session out. Whoever uses it puts it back; a message that fails does not.
    pub(crate) fn take(&mut self, key: &SessionKey) -> Option<Box<Session>> {
        let (used, session) = self.by_key.remove(key)?;
        self.by_use.remove(&used);
        Some(session)
    }

    /// Puts a session in, in place of any with the same key, and counts as its use.
    pub(crate) fn put(&mut self, key: SessionKey, session: Box<Session>) {
        drop(self.take(&key));
        while self.by_key.len() >= self.limit {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.by_key.remove(&oldest);
        }
        self.clock = self.clock.saturating_add(1);
        self.by_use.insert(self.clock, key);
        self.by_key.insert(key, (self.clock, session));
    }

    /// Ends every session of one group.
    pub(crate) fn end_group(&mut self, slot: usize) {
        self.by_key.retain(|key, _| key.slot != slot);
        self.by_use.retain(|_, key| key.slot != slot);
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn take_anyones(&mut self, session: SessionId) -> Option<Box<Session>> {
        let key = *self.by_key.keys().find(|k| k.session == session)?;
        self.take(&key)
    }
}
