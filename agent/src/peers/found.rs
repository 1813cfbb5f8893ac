//! Which HSM is at which peer's address.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_proto::ids::HsmId;

/// Which HSM was last found at each peer's address, by its certificate. No HSM is at two addresses. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Found(Arc<Mutex<Table>>);

/// Each is the other, the other way round.
#[derive(Default)]
struct Table {
    hsms: BTreeMap<usize, HsmId>,
    places: BTreeMap<HsmId, usize>,
}

impl Found {
    pub(super) fn at(&self, hsm: HsmId) -> Option<usize> {
        self.0.lock().places.get(&hsm).copied()
    }

    pub(super) fn hsm(&self, at: usize) -> Option<HsmId> {
        self.0.lock().hsms.get(&at).copied()
    }

    /// Returns whether that is news. A silent peer keeps its HSM: messages to it may be lost, as always.
    pub(super) fn put(&self, at: usize, hsm: HsmId) -> bool {
        let mut table = self.0.lock();
        let before = table.hsms.insert(at, hsm);
        if before == Some(hsm) {
            return false;
        }
        if let Some(before) = before {
            table.places.remove(&before);
        }
        if let Some(elsewhere) = table.places.insert(hsm, at) {
            table.hsms.remove(&elsewhere);
        }
        true
    }

    /// There is no such peer any more.
    pub(super) fn forget(&self, at: usize) {
        let mut table = self.0.lock();
        if let Some(hsm) = table.hsms.remove(&at) {
            table.places.remove(&hsm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hsm_is_at_one_address_and_an_address_has_one_hsm() {
        let (found, one, two) = (Found::default(), HsmId([1; 16]), HsmId([2; 16]));
        assert!(found.put(0, one) && !found.put(0, one) && found.put(1, two));
        assert!(found.put(1, one), "it moved");
        assert_eq!(
            (found.at(one), found.at(two), found.hsm(0), found.hsm(1)),
            (Some(1), None, None, Some(one))
        );
        assert!(found.put(0, two));
        found.forget(1);
        assert_eq!((found.at(one), found.at(two), found.hsm(1)), (None, Some(0), None));
        assert!(found.put(1, one));
    }
}
