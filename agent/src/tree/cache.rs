//! Decoded pages that were recently read or written.
//!
//! What is cached is believed as little as what is stored. A page read before a snapshot does not replace the one that
//! the snapshot wrote, but only to save reading it again.

use moka::sync::Cache;
use parking_lot::Mutex;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Page;

/// How much memory a decoded page takes, as a multiple of its stored bytes: nodes with their digests, one allocation
/// each.
const DECODED: usize = 4;
/// What the cache itself needs for a page, in bytes.
const OVERHEAD: usize = 256;

/// A cache of pages, bounded in bytes. How often its content was replaced says whether a page read is still new.
pub(super) struct PageCache {
    pages: Cache<Prefix, (Page, u32)>,
    changes: Mutex<u64>,
}

/// A point in time of a cache.
#[derive(Clone, Copy)]
pub(super) struct At(u64);

impl PageCache {
    pub(super) fn new(bytes: u64) -> Self {
        let pages = Cache::builder().max_capacity(bytes).weigher(|_, (_, weight)| *weight).build();
        Self { pages, changes: Mutex::new(0) }
    }

    pub(super) fn get(&self, prefix: &Prefix) -> Option<Page> {
        self.pages.get(prefix).map(|(page, _)| page)
    }

    /// Now. Call it before reading what will be kept.
    pub(super) fn now(&self) -> At {
        At(*self.changes.lock())
    }

    /// Keeps a page that was read, `stored` bytes long, unless pages were replaced since `at`.
    pub(super) fn keep(&self, at: At, page: &Page, stored: usize) {
        let changes = self.changes.lock();
        if *changes == at.0 {
            self.pages.insert(page.prefix(), (page.clone(), weight(stored)));
        }
    }

    /// Replaces pages by those written, each with its stored length.
    pub(super) fn replace(&self, written: impl IntoIterator<Item = (Page, usize)>) {
        let mut changes = self.changes.lock();
        *changes = changes.wrapping_add(1);
        for (page, stored) in written {
            self.pages.insert(page.prefix(), (page, weight(stored)));
        }
    }

    /// Forgets pages if it is not known what was written of them.
    pub(super) fn forget<'a>(&self, prefixes: impl IntoIterator<Item = &'a Prefix>) {
        let mut changes = self.changes.lock();
        *changes = changes.wrapping_add(1);
        for prefix in prefixes {
            self.pages.invalidate(prefix);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let mut changes = self.changes.lock();
        *changes = changes.wrapping_add(1);
        self.pages.invalidate_all();
    }

    /// How many bytes it holds by its own count.
    pub(super) fn bytes(&self) -> u64 {
        self.pages.run_pending_tasks();
        self.pages.weighted_size()
    }
}

fn weight(stored: usize) -> u32 {
    u32::try_from(stored.saturating_mul(DECODED).saturating_add(OVERHEAD)).unwrap_or(u32::MAX)
}
