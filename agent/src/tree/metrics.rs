//! What is counted about a stored tree.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of one agent's stored trees. A clone counts into the same.
///
/// Loads per request are `pages_read` and `leaves_read` over `records`; the hit rate is `hits` over `hits` and `misses`.
#[derive(Clone, Debug, Default)]
pub struct TreeMetrics {
    /// Records whose paths were requested.
    pub records: Counter,
    /// Pages found in the cache of pages.
    pub hits: Counter,
    /// Pages not found there.
    pub misses: Counter,
    /// Pages read from the database.
    pub pages_read: Counter,
    /// Sealed leaves read from the database.
    pub leaves_read: Counter,
    /// Snapshots taken.
    pub snapshots: Counter,
    /// Bytes of keys and values that snapshots wrote.
    pub snapshot_bytes: Counter,
    /// Pages, leaves or objects found missing, damaged or foreign.
    pub damaged: Counter,
    /// Pages and leaves deleted of what has left.
    pub swept: Counter,
    /// Bytes of their keys and values.
    pub swept_bytes: Counter,
    /// Objects deleted of the trees of groups that have retired.
    pub retired_objects: Counter,
    /// Bytes of decoded pages in the caches, by their own count.
    pub cached_bytes: Gauge,
}

impl TreeMetrics {
    /// Registers all of them, under names that begin with `tree_`.
    pub fn register(&self, registry: &mut Registry) {
        let tree = registry.sub_registry_with_prefix("tree");
        tree.register("records", "Records whose paths were requested", self.records.clone());
        tree.register("page_hits", "Pages found in the cache of pages", self.hits.clone());
        tree.register("page_misses", "Pages not found in the cache of pages", self.misses.clone());
        tree.register("pages_read", "Pages read from the database", self.pages_read.clone());
        tree.register("leaves_read", "Sealed leaves read from the database", self.leaves_read.clone());
        tree.register("snapshots", "Snapshots taken", self.snapshots.clone());
        tree.register("snapshot_bytes", "Bytes that snapshots wrote", self.snapshot_bytes.clone());
        tree.register("damaged", "Pages, leaves or objects found unusable", self.damaged.clone());
        tree.register("swept", "Pages and leaves deleted of what has left", self.swept.clone());
        tree.register("swept_bytes", "Bytes of those", self.swept_bytes.clone());
        let objects = self.retired_objects.clone();
        tree.register("retired_objects", "Objects deleted of the trees of retired groups", objects);
        tree.register("cached_bytes", "Bytes of decoded pages in memory", self.cached_bytes.clone());
    }
}
