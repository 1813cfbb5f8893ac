//! Which HSM is at which peer's address.

use parking_lot::Mutex;
use std::sync::Arc;
use strongroom_proto::ids::HsmId;

/// Which HSM was last found at each peer's address, by its certificate. No HSM is at two addresses. Clones share it.
#[derive(Clone)]
pub(super) struct Found(Arc<Mutex<Vec<Option<HsmId>>>>);

impl Found {
    /// None yet, at this many addresses.
    pub(super) fn new(peers: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; peers])))
    }

    pub(super) fn at(&self, hsm: HsmId) -> Option<usize> {
        let found = self.0.lock();
        found.iter().position(|found| *found == Some(hsm))
    }

    /// Every HSM that was found.
    pub(super) fn all(&self) -> Vec<HsmId> {
        self.0.lock().iter().copied().flatten().collect()
    }

    pub(super) fn hsm(&self, at: usize) -> Option<HsmId> {
        self.0.lock().get(at).copied().flatten()
    }

    /// Returns whether that is news. A silent peer keeps its HSM: messages to it may be lost, as always.
    pub(super) fn put(&self, at: usize, hsm: HsmId) -> bool {
        let mut all = self.0.lock();
        if all.get(at) == Some(&Some(hsm)) {
            return false;
        }
        for (place, found) in all.iter_mut().enumerate() {
            match *found {
                _ if place == at => *found = Some(hsm),
                Some(elsewhere) if elsewhere == hsm => *found = None,
                _ => {}
            }
        }
        true
    }
}
