//! What is counted about telling tenants. Of a group, only who leads it shows anything.

use crate::metrics::label::GroupLabel;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use strongroom_proto::ids::GroupId;

/// What an agent counts about telling tenants. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub struct TellMetrics {
    tenants: Family<GroupLabel, Gauge>,
    current: Family<GroupLabel, Gauge>,
}

impl TellMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let of = registry.sub_registry_with_prefix("events");
        of.register(
            "tenants",
            "How many tenants with a signed key are told what happens in the group",
            self.tenants.clone(),
        );
        let help = "When tenants were last known to be told all that was committed then or, until then, when this leader began, in Unix time";
        of.register_with_unit("current_timestamp", help, Unit::Seconds, self.current.clone());
    }

    /// A leadership begins: what comes of it is not known yet.
    pub fn begins(&self, group: GroupId, now: u64) {
        self.current.get_or_create(&GroupLabel::of(&group)).set(gauge(now));
    }

    /// So many tenants are told all that was committed at `now`.
    pub fn is_current(&self, group: GroupId, tenants: usize, now: u64) {
        let label = GroupLabel::of(&group);
        self.tenants.get_or_create(&label).set(i64::try_from(tenants).unwrap_or(i64::MAX));
        self.current.get_or_create(&label).set(gauge(now));
    }

    /// Shows nothing of a group any more.
    pub fn forget(&self, group: GroupId) {
        let label = GroupLabel::of(&group);
        self.tenants.remove(&label);
        self.current.remove(&label);
    }
}

fn gauge(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
