//! How long an agent waits for everything that it rests on, in one place.
//!
//! None of it is trusted, and none of it bears on what an HSM allows: it decides when what has not come counts as not
//! coming. The defaults are for machines that have processors to spare. Where an agent gets a small part of one, as in
//! tests beside other work, all of them can be made longer; what has come is then never taken for lost.

use crate::link::CALL_TIMEOUT;
use crate::{front, peers, store, tree};
use std::time::Duration;

/// The limits of one agent.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Of the front door.
    pub front: front::Timeouts,
    /// How long a request waits for a leader. Clients in the field give up after five quick refusals, and an election
    /// takes longer than those.
    pub hold: Duration,
    /// After how long without any answer of its HSM a leader gives way, by how quick its answers were: at least and at
    /// most.
    pub hsm_silence: (Duration, Duration),
    /// Of calls of other agents.
    pub peers: peers::Timeouts,
    /// Of the object store.
    pub store: store::Timeouts,
    /// Of the stored tree.
    pub tree: tree::Timeouts,
    /// How long the threads of an agent that ends may take to end.
    pub kill: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            front: front::Timeouts::default(),
            hold: Duration::from_secs(3),
            hsm_silence: (Duration::from_millis(300), CALL_TIMEOUT),
            peers: peers::Timeouts::default(),
            store: store::Timeouts::default(),
            tree: tree::Timeouts::default(),
            kill: Duration::from_secs(1),
        }
    }
}

impl Timing {
    /// Waits so long for everything that is under way. For silence it waits as ever: for clients that ask nothing, and
    /// for a leader where none is known.
    #[must_use]
    pub fn patient(limit: Duration) -> Self {
        let silent = Self::default();
        Self {
            front: front::Timeouts { head: limit, body: limit, backend: limit, ..silent.front },
            hsm_silence: (limit, limit),
            peers: peers::Timeouts::all(limit),
            store: store::Timeouts::all(limit),
            tree: tree::Timeouts::all(limit),
            kill: limit,
            ..silent
        }
    }
}
