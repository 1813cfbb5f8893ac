//! What is counted about scrubbing. Of a group, only who leads it shows anything.

use super::position::Position;
use crate::metrics::label::GroupLabel;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use strongroom_proto::ids::GroupId;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct UnresolvedLabels {
    group: String,
    kind: &'static str,
}

type Ratio = Gauge<f64, AtomicU64>;

/// What an agent counts about scrubbing. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub struct ScrubMetrics {
    /// Pages checked.
    pub pages: Counter,
    /// Leaves checked.
    pub leaves: Counter,
    /// Segments checked.
    pub segments: Counter,
    findings: Family<KindLabel, Counter>,
    unresolved: Family<UnresolvedLabels, Gauge>,
    progress: Family<GroupLabel, Ratio>,
    began: Family<GroupLabel, Gauge>,
    ended: Family<GroupLabel, Gauge>,
    checked: Family<GroupLabel, Gauge>,
    period: Gauge,
    tree_damaged: Family<GroupLabel, Gauge>,
}

fn many(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl ScrubMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let group = registry.sub_registry_with_prefix("group");
        let help = "Whether this member serves the group and part of the stored tree was found damaged, by a request or the scrub, \
                    and not found well again since: 1 or 0";
        group.register("tree_damaged", help, self.tree_damaged.clone());
        let scrub = registry.sub_registry_with_prefix("scrub");
        scrub.register("pages", "Pages of stored trees that were checked", self.pages.clone());
        scrub.register("leaves", "Leaves of stored trees that were checked", self.leaves.clone());
        scrub.register("segments", "Segments of logs that were checked", self.segments.clone());
        let help = "Things that were found wrong, each once for each time that it was new";
        scrub.register("findings", help, self.findings.clone());
        let help = "Things that were found wrong and have not been found well again";
        scrub.register("unresolved", help, self.unresolved.clone());
        let help = "How much of the tree was checked in this round: 0 to 1";
        scrub.register("round_progress_ratio", help, self.progress.clone());
        let help = "When this round began, in Unix time";
        scrub.register_with_unit("round_began_timestamp", help, Unit::Seconds, self.began.clone());
        let help = "When the last whole round ended, in Unix time; 0 for never";
        scrub.register_with_unit("last_round_timestamp", help, Unit::Seconds, self.ended.clone());
        let help = "When all that was due was last checked or, until then, when this member began to lead, in Unix time";
        scrub.register_with_unit("last_check_timestamp", help, Unit::Seconds, self.checked.clone());
        let help = "In which time everything is to be checked once; 0 if it is not";
        scrub.register_with_unit("period", help, Unit::Seconds, self.period.clone());
    }

    /// In which time everything is to be checked once; 0 if it is not.
    pub fn set_period(&self, seconds: u64) {
        self.period.set(many(seconds));
    }

    pub(super) fn found(&self, kind: &'static str) {
        self.findings.get_or_create(&KindLabel { kind }).inc();
    }

    pub(super) fn checked(&self, group: GroupId, now: u64) {
        self.checked.get_or_create(&GroupLabel::of(&group)).set(many(now));
    }

    /// When all that was due was last checked.
    #[must_use]
    pub fn last_check(&self, group: GroupId) -> i64 {
        self.checked.get_or_create(&GroupLabel::of(&group)).get()
    }

    /// How often something of a kind was found that was not known.
    #[must_use]
    pub fn findings(&self, kind: &'static str) -> u64 {
        self.findings.get_or_create(&KindLabel { kind }).get()
    }

    /// How many findings of a kind are not mended.
    #[must_use]
    pub fn unresolved(&self, group: GroupId, kind: &'static str) -> i64 {
        self.unresolved.get_or_create(&UnresolvedLabels { group: group.to_string(), kind }).get()
    }

    pub(super) fn show(&self, group: GroupId, position: &Position, done_ppm: u64) {
        let label = GroupLabel::of(&group);
        let ppm = u32::try_from(done_ppm).unwrap_or(u32::MAX);
        self.progress.get_or_create(&label).set(f64::from(ppm) / 1e6);
        self.began.get_or_create(&label).set(many(position.began));
        self.ended.get_or_create(&label).set(many(position.ended));
        let mut kinds: BTreeMap<&'static str, i64> = super::position::KINDS.map(|kind| (kind, 0)).into();
        for finding in position.findings.values().flatten() {
            *kinds.entry(finding.kind).or_default() += 1;
        }
        // There is at least one more.
        *kinds.entry("tree").or_default() += i64::from(position.more.is_some());
        for (kind, found) in kinds {
            let labels = UnresolvedLabels { group: group.to_string(), kind };
            self.unresolved.get_or_create(&labels).set(found);
        }
    }

    /// Whether part of a group's stored tree is known to be damaged.
    pub(crate) fn set_tree_damaged(&self, group: GroupId, damaged: bool) {
        self.tree_damaged.get_or_create(&GroupLabel::of(&group)).set(damaged.into());
    }

    /// What is shown of that.
    #[cfg(test)]
    pub(crate) fn tree_damaged(&self, group: GroupId) -> bool {
        self.tree_damaged.get_or_create(&GroupLabel::of(&group)).get() == 1
    }

    /// Who leads the group is not this agent any more, or it has no such group: it says nothing about it.
    pub(crate) fn forget(&self, group: GroupId) {
        let label = GroupLabel::of(&group);
        self.progress.remove(&label);
        for gauge in [&self.began, &self.ended, &self.checked] {
            gauge.remove(&label);
        }
        for kind in super::position::KINDS {
            self.unresolved.remove(&UnresolvedLabels { group: group.to_string(), kind });
        }
    }

    pub(crate) fn forget_tree(&self, group: GroupId) {
        self.tree_damaged.remove(&GroupLabel::of(&group));
    }
}
