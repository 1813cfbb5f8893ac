//! What the agents of a group tell each other.
//!
//! Agents are trusted for availability only, so nothing here proves anything except [`Captured`] inside
//! [`PeerMessage::Captured`] and [`Fresh`] inside [`PeerMessage::Fresh`], and those only to an HSM. A message may be lost, delayed, repeated, or a lie by its
//! sender; receivers believe only what the store or their HSM confirms. Everything is CBOR in arrays, and at most
//! [`MAX_PEER_BYTES`] long.

use crate::segment::MAX_SEGMENT_BYTES;
use crate::shared::Shared;
use minicbor::{Decode, Decoder, Encode};
use strongroom_proto::hsm::{PrefixTree, decode_trees};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, Index, Nonce, Term};
use strongroom_proto::statement::{Captured, Fresh};

/// The most bytes of paths that accompany a segment.
pub const MAX_PATHS_BYTES: usize = 1024 * 1024;
/// The longest [`PeerMessage`], in bytes: a segment, its paths, and what surrounds them.
pub const MAX_PEER_BYTES: usize = MAX_SEGMENT_BYTES + MAX_PATHS_BYTES + 1024;

/// One message from one member's agent to another's. No message has an answer; one that needs a reaction is sent again.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum PeerMessage {
    /// "I lead." Wait another election time-out before trying to, and before it for as long as the sender may be
    /// silent, if the newest entry in the store was made in this leadership.
    #[n(0)]
    Heartbeat {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The leadership.
        #[n(1)]
        term: Term,
        /// The newest entry that the store has acknowledged together with all before it.
        #[n(2)]
        newest: Index,
        /// What the stored tree reaches, 0 for none; changes up to there need not be kept in memory.
        #[n(3)]
        snapshot: Index,
        /// How long the sender may be silent from now on, because it has nothing to do; until then its silence means
        /// nothing. In milliseconds; 0, or nothing in a message of an older agent, is the usual pace.
        #[n(4)]
        #[cbor(default)]
        silent_ms: u32,
    },
    /// A segment that the store has acknowledged, with every earlier one on the chain. Capture it, whole, and answer
    /// with [`Self::Captured`]; if it does not continue what is known, or begins another leadership, read the store.
    /// Also says "I lead".
    #[n(1)]
    Push {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The index of its first entry.
        #[n(1)]
        first: Index,
        /// The hash of the entry before.
        #[n(2)]
        prev: EntryHash,
        /// The segment, as it is in the store; at most [`MAX_SEGMENT_BYTES`].
        #[n(3)]
        segment: Shared,
        /// The paths to the records that it changes, as they were before it, so that a member can follow without the
        /// stored tree: what [`paths_to_bytes`] makes of them. Empty if they would be longer than [`MAX_PATHS_BYTES`].
        #[n(4)]
        paths: Shared,
    },
    /// What the sender's HSM has captured. Hand it to the leader's HSM.
    #[n(2)]
    Captured {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The statement.
        #[n(1)]
        statement: Captured,
    },
    /// "Somebody else leads, whom I have just heard, or I do." Sent to a member that says that it leads with an older
    /// log, or that asks with [`Self::Seek`]. Step down, if the store confirms it.
    #[n(3)]
    Follows {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// Who leads.
        #[n(1)]
        leader: HsmId,
        /// The leadership.
        #[n(2)]
        term: Term,
        /// The newest entry that the sender knows to be in the store.
        #[n(3)]
        newest: Index,
    },
    /// "I hear no leader; do you?" Sent by a member whose last leadership got nothing done, before it tries again, and by
    /// one that has not followed a leader since it started or gave way.
    /// Agents that do not know this message do not answer.
    #[n(4)]
    Seek {
        /// The group.
        #[n(0)]
        group: GroupId,
    },
    /// "What has your HSM captured now?" Sent by a leader while answers wait that no entry carries. Answer with
    /// [`Self::Fresh`], no matter who leads.
    #[n(5)]
    StateFresh {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// What the statement must be made with.
        #[n(1)]
        nonce: Nonce,
    },
    /// "I lead no longer, on purpose: it is your turn." Sent by a leader whose agent ends, once all that it made is
    /// committed. Agents that do not know this message wait as if it had just ended.
    #[n(7)]
    Yield {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The leadership.
        #[n(1)]
        term: Term,
    },
    /// What the sender's HSM has captured, stated with this nonce. Of use only to the HSM that drew it.
    #[n(6)]
    Fresh {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// What the statement was made with.
        #[n(1)]
        nonce: Nonce,
        /// The statement.
        #[n(2)]
        statement: Fresh,
    },
}

impl PeerMessage {
    /// The group that it is about.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        match self {
            Self::Heartbeat { group, .. }
            | Self::Push { group, .. }
            | Self::Captured { group, .. }
            | Self::Follows { group, .. }
            | Self::Seek { group }
            | Self::Yield { group, .. }
            | Self::StateFresh { group, .. }
            | Self::Fresh { group, .. } => *group,
        }
    }

    /// The message without the long parts of a push, and these: the segment and its paths. They travel beside it, so that
    /// nothing copies them.
    #[must_use]
    pub fn split(self) -> (Self, Shared, Shared) {
        match self {
            Self::Push { group, first, prev, segment, paths } => {
                let (none, no_paths) = (Shared::default(), Shared::default());
                (Self::Push { group, first, prev, segment: none, paths: no_paths }, segment, paths)
            }
            other => (other, Shared::default(), Shared::default()),
        }
    }

    /// Puts together what [`Self::split`] took apart.
    ///
    /// # Errors
    /// [`BadPeerMessage`]: these parts do not belong together, or are too long.
    pub fn join(self, segment: Shared, paths: Shared) -> Result<Self, BadPeerMessage> {
        match self {
            Self::Push { group, first, prev, segment: none, paths: no_paths }
                if none.is_empty()
                    && no_paths.is_empty()
                    && segment.len() <= MAX_SEGMENT_BYTES
                    && paths.len() <= MAX_PATHS_BYTES =>
            {
                Ok(Self::Push { group, first, prev, segment, paths })
            }
            Self::Push { .. } => Err(BadPeerMessage),
            other if segment.is_empty() && paths.is_empty() => Ok(other),
            _ => Err(BadPeerMessage),
        }
    }

    /// Its bytes.
    ///
    /// # Panics
    /// Never: a vector takes all bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes all bytes")
    }

    /// Reads a message that takes up all of `bytes`.
    ///
    /// # Errors
    /// [`BadPeerMessage`] for anything that is longer than [`MAX_PEER_BYTES`] or is not a message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadPeerMessage> {
        if bytes.len() > MAX_PEER_BYTES {
            return Err(BadPeerMessage);
        }
        let mut d = Decoder::new(bytes);
        let message = d.decode().map_err(|_| BadPeerMessage)?;
        if d.position() == bytes.len() { Ok(message) } else { Err(BadPeerMessage) }
    }
}

/// The bytes of the paths that accompany a segment; none if they would be too long.
#[must_use]
pub fn paths_to_bytes(paths: &[PrefixTree]) -> Shared {
    let bytes = minicbor::to_vec(paths).ok().filter(|bytes| bytes.len() <= MAX_PATHS_BYTES);
    bytes.unwrap_or_default().into()
}

/// Reads what [`paths_to_bytes`] wrote.
///
/// # Errors
/// [`BadPeerMessage`] for anything else.
pub fn paths_from_bytes(bytes: &[u8]) -> Result<Vec<PrefixTree>, BadPeerMessage> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut d = Decoder::new(bytes);
    let paths = decode_trees(&mut d, &mut ()).map_err(|_| BadPeerMessage)?;
    if d.position() == bytes.len() { Ok(paths) } else { Err(BadPeerMessage) }
}

/// Bytes that are not a [`PeerMessage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message between agents; check that both agents run matching versions")]
pub struct BadPeerMessage;

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::ids::{Digest, Mac};
    use strongroom_proto::prefix::Prefix;
    use strongroom_proto::tree::{ClaimedTree, Tree};

    fn paths() -> Vec<PrefixTree> {
        let tree = Tree::closed(Prefix::WHOLE, Digest([7; 32]));
        vec![PrefixTree { prefix: Prefix::WHOLE, tree: ClaimedTree::from(&tree) }]
    }

    fn messages() -> [PeerMessage; 8] {
        let group = GroupId([1; 16]);
        let (hsm, index, hash) = (HsmId([3; 16]), Index(u64::MAX), EntryHash([4; 32]));
        let (nonce, mac) = (Nonce([6; 16]), Mac(Digest([5; 32])));
        let (statement, fresh) = (Captured { hsm, index, hash, mac }, Fresh { hsm, index, hash, mac });
        [
            PeerMessage::Heartbeat {
                group,
                term: Term([2; 16]),
                newest: Index(7),
                snapshot: Index(3),
                silent_ms: 500,
            },
            PeerMessage::Push {
                group,
                first: Index(8),
                prev: hash,
                segment: vec![6; 300].into(),
                paths: paths_to_bytes(&paths()),
            },
            PeerMessage::Captured { group, statement },
            PeerMessage::Follows { group, leader: hsm, term: Term([2; 16]), newest: Index(9) },
            PeerMessage::Seek { group },
            PeerMessage::Yield { group, term: Term([2; 16]) },
            PeerMessage::StateFresh { group, nonce },
            PeerMessage::Fresh { group, nonce, statement: fresh },
        ]
    }

    #[test]
    fn a_message_reads_as_it_was_written_and_no_part_of_it_reads() {
        for message in messages() {
            let mut bytes = message.to_bytes();
            assert_eq!(PeerMessage::from_bytes(&bytes), Ok(message));
            for len in 0..bytes.len() {
                assert_eq!(PeerMessage::from_bytes(&bytes[..len]), Err(BadPeerMessage));
            }
            bytes.push(0);
            assert_eq!(PeerMessage::from_bytes(&bytes), Err(BadPeerMessage));
        }
    }

    #[test]
    fn the_long_parts_travel_beside_a_push_and_beside_nothing_else() {
        for message in messages() {
            let (short, segment, paths) = message.clone().split();
            assert!(short.to_bytes().len() < 200, "{short:?}");
            assert_eq!(short.clone().join(segment.clone(), paths.clone()), Ok(message.clone()));
            if segment.is_empty() {
                assert_eq!(short.join(vec![1].into(), paths), Err(BadPeerMessage));
            } else {
                // Once is enough, and no longer than a segment and its paths may be.
                assert_eq!(message.join(segment.clone(), paths.clone()), Err(BadPeerMessage));
                let (long, longer) = (vec![0; MAX_SEGMENT_BYTES + 1], vec![0; MAX_PATHS_BYTES + 1]);
                assert_eq!(short.clone().join(long.into(), paths), Err(BadPeerMessage));
                assert_eq!(short.join(segment, longer.into()), Err(BadPeerMessage));
            }
        }
    }

    #[test]
    fn paths_read_as_they_were_written_and_no_part_of_them_reads() {
        let bytes = paths_to_bytes(&paths());
        assert_eq!(paths_from_bytes(&bytes), Ok(paths()));
        for len in 1..bytes.len() {
            assert_eq!(paths_from_bytes(&bytes[..len]), Err(BadPeerMessage));
        }
        assert_eq!(paths_from_bytes(&[&bytes[..], &[0]].concat()), Err(BadPeerMessage));
        assert_eq!(paths_from_bytes(&[]), Ok(Vec::new()));
    }

    /// A newer agent may say something that this one does not know: it is refused as no message, and nothing else
    /// happens.
    #[test]
    fn a_message_of_a_future_kind_is_refused() {
        let mut bytes = PeerMessage::Seek { group: GroupId([1; 16]) }.to_bytes();
        assert_eq!(bytes.get(1), Some(&4), "the kind comes second");
        bytes[1] = 8;
        assert_eq!(PeerMessage::from_bytes(&bytes), Err(BadPeerMessage));
    }

    /// An older agent says nothing about its silence, and a newer one may say more than this one knows.
    #[test]
    fn a_heartbeat_reads_without_what_an_older_agent_does_not_say_and_with_what_a_newer_one_adds() {
        let (group, term, newest, snapshot) = (GroupId([1; 16]), Term([2; 16]), Index(7), Index(3));
        let heartbeat = |silent_ms| PeerMessage::Heartbeat { group, term, newest, snapshot, silent_ms };
        let bytes = heartbeat(9).to_bytes();
        assert_eq!(
            (bytes[2], bytes.last()),
            (0x85, Some(&9)),
            "five parts, of which the last is the silence"
        );
        let mut older = bytes[..bytes.len() - 1].to_vec();
        older[2] = 0x84;
        assert_eq!(PeerMessage::from_bytes(&older), Ok(heartbeat(0)));
        let mut newer = bytes;
        newer[2] = 0x86;
        newer.push(1);
        assert_eq!(PeerMessage::from_bytes(&newer), Ok(heartbeat(9)));
    }

    #[test]
    fn the_longest_segment_fits_into_a_message_and_a_longer_message_is_refused() {
        let push = |bytes| PeerMessage::Push {
            group: GroupId([1; 16]),
            first: Index(u64::MAX),
            prev: EntryHash([2; 32]),
            segment: vec![0; bytes].into(),
            paths: paths_to_bytes(&paths()),
        };
        assert!(PeerMessage::from_bytes(&push(MAX_SEGMENT_BYTES).to_bytes()).is_ok());
        assert_eq!(PeerMessage::from_bytes(&push(MAX_PEER_BYTES).to_bytes()), Err(BadPeerMessage));
    }
}
