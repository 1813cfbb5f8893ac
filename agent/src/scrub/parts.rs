//! Where the parts that are checked come from: the store, and nothing that is held in memory.

use crate::check::{CheckError, LogPart, TreePart, Witness, log_part, tree_part};
use crate::store::{Limit, Pace, Store};
use crate::tree::TreeStore;
use strongroom_proto::ids::{EntryHash, GroupId, Index};
use strongroom_proto::prefix::Prefix;

/// What is checked, part by part.
pub trait Parts: Send + Sync {
    /// All that the stored tree has below a prefix.
    fn tree(&self, within: Prefix) -> impl Future<Output = Result<TreePart, CheckError>> + Send;
    /// The log from the stored tree to an entry that is known to be stored; the HSM has captured the entries up to `captured`.
    fn log(
        &self,
        reached: (Index, EntryHash),
        captured: Index,
    ) -> impl Future<Output = Result<LogPart, CheckError>> + Send;
    /// Whether the group is still led here as it was: if not, what was found may be another leader's doing.
    fn leads(&self) -> bool;
    /// How fast it may be read from now on.
    fn keep_to(&self, limit: Limit);
}

/// What a store holds of a group.
pub struct Stored<W, L> {
    /// The group.
    pub group: GroupId,
    /// Its store, read at a pace.
    pub store: Store,
    /// Its tree in that store, which nobody else reads.
    pub tree: TreeStore,
    /// The pace.
    pub pace: Pace,
    /// An HSM of the group.
    pub witness: W,
    /// Whether the group is still led here as it was.
    pub leads: L,
}

impl<W: Witness + Clone + Sync, L: Fn() -> bool + Send + Sync> Parts for Stored<W, L> {
    async fn tree(&self, within: Prefix) -> Result<TreePart, CheckError> {
        tree_part(&self.tree, within).await
    }

    async fn log(&self, reached: (Index, EntryHash), captured: Index) -> Result<LogPart, CheckError> {
        let mut witness = self.witness.clone();
        log_part(&self.store, &self.tree, self.group, reached, captured, &mut witness).await
    }

    fn leads(&self) -> bool {
        (self.leads)()
    }

    fn keep_to(&self, limit: Limit) {
        self.pace.set(limit);
    }
}
