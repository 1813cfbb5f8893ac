//! How long an agent waits for everything that it depends on, in one place.
//!
//! None of it is trusted, and none of it affects what an HSM allows: it decides when something that has not come counts
//! as not coming. The defaults are for machines with processors to spare. Where an agent gets only a small part of one,
//! as in tests next to other work, all of them can be made longer; then what does come is never taken for lost.

use crate::link::CALL_TIMEOUT;
use crate::{front, peers, store, tree};
use std::time::Duration;

/// The limits of one agent.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For the front door.
    pub front: front::Timeouts,
    /// How long a request waits for a leader. Clients in the field give up after five quick refusals, and an election
    /// takes longer than those.
    pub hold: Duration,
    /// How long a leader goes on without any answer from its HSM before it steps down: at least and at most; in
    /// between, it depends on how quick the HSM's answers were.
    pub hsm_silence: (Duration, Duration),
    /// For calls to other agents.
    pub peers: peers::Timeouts,
    /// For the object store.
    pub store: store::Timeouts,
    /// For the stored tree.
    pub tree: tree::Timeouts,
    /// How long the threads of an ending agent may take to end.
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
    /// Waits this long for everything that is under way. What it does in silence stays as it is: waiting for clients
    /// that ask nothing, and for a leader if none is known.
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
