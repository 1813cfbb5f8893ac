//! Decoded pages that were recently read or written, and those of the first levels, which every request passes.
//!
//! What is cached is believed as little as what is stored. A page read before a snapshot does not replace the one that
//! the snapshot wrote, but only to save reading it again.

use moka::sync::Cache;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Page;

/// How much memory a decoded page takes, as a multiple of its stored bytes: nodes with their digests, one allocation
/// each.
const DECODED: usize = 4;
/// What the cache itself needs for a page, in bytes.
const OVERHEAD: usize = 256;

/// Pages whose prefix has at most this many bits never give way to others, unless the cache is too small for that.
const FIRST_BITS: u16 = 8;
/// More than these 273 pages need, in bytes.
const FIRST_BYTES: u64 = 2 << 20;

/// A cache of pages, bounded in bytes. How often its content was replaced says whether a page read is still new.
pub(super) struct PageCache {
    pages: Cache<Prefix, (Page, u32)>,
    keeps_first: bool,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    first: BTreeMap<Prefix, (Page, u32)>,
    changes: u64,
}

/// A point in time of a cache.
#[derive(Clone, Copy)]
pub(super) struct At(u64);

impl PageCache {
    pub(super) fn new(bytes: u64) -> Self {
        let keeps_first = bytes >= 2 * FIRST_BYTES;
        let others = if keeps_first { bytes - FIRST_BYTES } else { bytes };
        let pages = Cache::builder().max_capacity(others).weigher(|_, (_, weight)| *weight).build();
        Self { pages, keeps_first, held: Mutex::default() }
    }

    pub(super) fn get(&self, prefix: &Prefix) -> Option<Page> {
        if self.is_first(prefix) {
            return self.held.lock().first.get(prefix).map(|(page, _)| page.clone());
        }
        self.pages.get(prefix).map(|(page, _)| page)
    }

    /// Now. Call it before reading what will be kept.
    pub(super) fn now(&self) -> At {
        At(self.held.lock().changes)
    }

    /// Keeps a page that was read, `stored` bytes long, unless pages were replaced since `at`.
    pub(super) fn keep(&self, at: At, page: &Page, stored: usize) {
        let mut held = self.held.lock();
        if held.changes == at.0 {
            self.put(&mut held, page.clone(), stored);
        }
    }

    /// Replaces pages by those written, each with its stored length.
    pub(super) fn replace(&self, written: impl IntoIterator<Item = (Page, usize)>) {
        let mut held = self.held.lock();
        held.changes = held.changes.wrapping_add(1);
        for (page, stored) in written {
            self.put(&mut held, page, stored);
        }
    }

    fn put(&self, held: &mut Held, page: Page, stored: usize) {
        let (prefix, kept) = (page.prefix(), (page, weight(stored)));
        if self.is_first(&prefix) {
            held.first.insert(prefix, kept);
        } else {
            self.pages.insert(prefix, kept);
        }
    }

    /// Forgets pages if it is not known what was written of them.
    pub(super) fn forget<'a>(&self, prefixes: impl IntoIterator<Item = &'a Prefix>) {
        let mut held = self.held.lock();
        held.changes = held.changes.wrapping_add(1);
        for prefix in prefixes {
            held.first.remove(prefix);
            self.pages.invalidate(prefix);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let mut held = self.held.lock();
        held.changes = held.changes.wrapping_add(1);
        held.first.clear();
        self.pages.invalidate_all();
    }

    const fn is_first(&self, prefix: &Prefix) -> bool {
        self.keeps_first && prefix.len() <= FIRST_BITS
    }

    /// How many bytes it holds by its own count.
    pub(super) fn bytes(&self) -> u64 {
        self.pages.run_pending_tasks();
        let first: u64 = self.held.lock().first.values().map(|(_, weight)| u64::from(*weight)).sum();
        self.pages.weighted_size().saturating_add(first)
    }
}

fn weight(stored: usize) -> u32 {
    u32::try_from(stored.saturating_mul(DECODED).saturating_add(OVERHEAD)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use strongroom_proto::ids::RecordId;
    use strongroom_proto::tree::Tree;

    #[test]
    fn the_first_levels_stay_however_many_other_pages_come() {
        let record = |n: u32| {
            let mut id = [0; RecordId::LEN];
            id[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
            RecordId(id)
        };
        let records = || (0..8_192).map(record);
        let mut tree = Tree::new(Prefix::WHOLE);
        tree.update(records().map(|record| (record, Arc::from([7; 32].as_slice()))))
            .expect("all are covered");
        let pages = tree.pages(records()).expect("all are there");
        let (first, others): (Vec<_>, Vec<_>) = pages.into_iter().partition(|page| page.prefix().len() <= 8);
        assert_eq!(first.len(), 1 + 16 + 256);

        let capacity = 4 << 20;
        let cache = PageCache::new(capacity);
        cache.replace(first.iter().cloned().map(|page| (page, 1_000)));
        for page in &others {
            cache.keep(cache.now(), page, 1_000);
        }
        assert!(first.iter().all(|page| cache.get(&page.prefix()).is_some()));
        let held = |pages: &[Page]| pages.iter().filter(|page| cache.get(&page.prefix()).is_some()).count();
        assert!(held(&others) < others.len() / 2, "the others give way to each other");
        assert!(cache.bytes() <= capacity);
        cache.forget(first.iter().map(Page::prefix).collect::<Vec<_>>().iter().take(9));
        assert_eq!(held(&first), first.len() - 9);
        cache.clear();
        assert_eq!(cache.bytes(), 0);
    }
}
