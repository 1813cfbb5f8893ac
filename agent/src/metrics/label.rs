//! Which group a metric is about.

use prometheus_client::encoding::EncodeLabelSet;
use strongroom_proto::ids::GroupId;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct GroupLabel {
    group: String,
}

impl GroupLabel {
    pub(crate) fn of(group: &GroupId) -> Self {
        Self { group: group.to_string() }
    }
}
