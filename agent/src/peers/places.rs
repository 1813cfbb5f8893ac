//! Places that callers take: how many each may have, and how many there are in all.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many there are for each key.
pub(crate) struct Places<K>(Arc<Mutex<BTreeMap<K, usize>>>);

impl<K> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Copy> Places<K> {
    /// One more for `key`, unless there are `of_one` already, or `in_all` for all keys.
    pub(crate) fn take(&self, key: K, of_one: usize, in_all: usize) -> Option<Place<K>> {
        let mut taken = self.0.lock();
        if taken.values().sum::<usize>() >= in_all || taken.get(&key).is_some_and(|taken| *taken >= of_one) {
            return None;
        }
        *taken.entry(key).or_default() += 1;
        Some(Place { places: self.clone(), key })
    }
}

/// One of [`Places`], given back when dropped.
pub(crate) struct Place<K: Ord + Copy> {
    places: Places<K>,
    key: K,
}

impl<K: Ord + Copy> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        if let Some(count) = taken.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}
