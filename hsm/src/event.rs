//! What is noted of a request whose reply is kept: sealed into its entry, for HSMs alone.

use alloc::vec::Vec;
use strongroom_proto::ids::{Index, RecordId};

/// Bytes of an event before sealing: its version, what happened, to which record, at which index, guesses left, zeros.
pub(crate) const EVENT_BYTES: usize = 64;
/// The version of event that this build writes, and the only one that it reads. Version 1 did not say how many guesses were left.
const VERSION: u8 = 2;

/// An event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// What happened: a [`Happening`](crate::machine::Happening).
    pub(crate) what: u8,
    pub(crate) record: RecordId,
    pub(crate) index: Index,
    /// How many guesses the record has left. None are left of one that is not registered.
    pub(crate) guesses_left: u8,
}

impl Event {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(EVENT_BYTES);
        bytes.extend_from_slice(&[VERSION, self.what]);
        bytes.extend_from_slice(self.record.as_bytes());
        bytes.extend_from_slice(&self.index.0.to_be_bytes());
        bytes.push(self.guesses_left);
        bytes.resize(EVENT_BYTES, 0);
        bytes
    }

    /// Reads what [`Self::to_bytes`] writes, and nothing else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (record, rest) = bytes.get(2..)?.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let event = Self {
            what: *bytes.get(1)?,
            record: RecordId(*record),
            index: Index(u64::from_be_bytes(*index)),
            guesses_left: *rest.first()?,
        };
        (event.to_bytes() == bytes).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_one_spelling() {
        let event = Event { what: 2, record: RecordId([7; 32]), index: Index(9), guesses_left: 4 };
        let bytes = event.to_bytes();
        assert_eq!((bytes.len(), Event::from_bytes(&bytes) == Some(event)), (EVENT_BYTES, true));
        for other in [&bytes[1..], &bytes[..EVENT_BYTES - 1], &[&bytes[..], &[0]].concat(), &[]] {
            assert!(Event::from_bytes(other).is_none());
        }
        for at in [0, EVENT_BYTES - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Event::from_bytes(&changed).is_none(), "byte {at}");
        }
    }
}
