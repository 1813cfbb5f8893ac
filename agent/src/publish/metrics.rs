//! What is counted about publishing. Of a group, only who leads it shows anything.

use crate::metrics::label::GroupLabel;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use strongroom_proto::ids::{GroupId, Index};

/// What an agent counts about publishing. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub struct PublishMetrics {
    size: Family<GroupLabel, Gauge>,
    current: Family<GroupLabel, Gauge>,
}

impl PublishMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let of = registry.sub_registry_with_prefix("checkpoint");
        of.register(
            "entries",
            "How many entries of the group's log the newest checkpoint covers",
            self.size.clone(),
        );
        let help = "When everything that was committed then was last known to be published or, until then, when this leader began, in Unix \
                    time";
        of.register_with_unit("current_timestamp", help, Unit::Seconds, self.current.clone());
    }

    /// A leadership begins: what comes of it is not known yet.
    pub fn begins(&self, group: GroupId, now: u64) {
        self.current.get_or_create(&GroupLabel::of(&group)).set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// All that was committed at `now` is published, by a checkpoint up to this entry.
    pub fn is_current(&self, group: GroupId, published: Index, now: u64) {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let label = GroupLabel::of(&group);
        self.size.get_or_create(&label).set(gauge(published.0));
        self.current.get_or_create(&label).set(gauge(now));
    }

    /// Shows nothing of a group any more.
    pub fn forget(&self, group: GroupId) {
        let label = GroupLabel::of(&group);
        self.size.remove(&label);
        self.current.remove(&label);
    }
}
