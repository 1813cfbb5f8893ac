//! Deleting the segments that nobody needs any more.

use crate::store::Store;
use futures::future::join_all;
use strongroom_proto::ids::{GroupId, Index};
use strongroom_replica::segment::SegmentName;

/// How many segments are deleted at once.
const DELETIONS: usize = 8;

/// Deletes the segments whose first index is less than `before`, oldest first, until one cannot be deleted; returns how
/// many. It leaves no gap with older segments before it: a leader that comes back could write into it.
pub(super) async fn collect(store: &Store, group: GroupId, before: Index) -> usize {
    let folder = SegmentName::folder(&group);
    let (from, until) = (SegmentName::offset(&group, Index::ZERO), SegmentName::offset(&group, before));
    let Ok(names) = store.list_until(&folder, &from, &until).await else { return 0 };
    let old = |name: &String| name.parse::<SegmentName>().is_ok_and(|name| name.first < before);
    let old: Vec<String> = names.into_iter().filter(old).collect();
    let mut deleted = 0;
    for some in old.chunks(DELETIONS) {
        let done = join_all(some.iter().map(|name| store.delete(name))).await;
        deleted += done.iter().filter(|done| done.is_ok()).count();
        if done.iter().any(Result::is_err) {
            break;
        }
    }
    deleted
}
