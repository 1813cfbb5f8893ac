//! Checking everything that a store holds of a realm, and rebuilding a tree.
//!
//! Owns the walk over a group's log and stored tree, and what it finds. Only reads, except for [`rebuild()`] and for the
//! hold on a stored tree that a leader goes on with. Nothing that is read is believed: the log is held together by
//! hashes, its entries are authentic if an HSM says so, and pages and leaves must give the roots that entries state.
//! What does not fit is named, object by object.

mod chain;
mod error;
mod log;
mod owned;
mod problem;
mod progress;
mod rebuild;
mod remains;
mod tree;
mod witness;

pub use chain::{Captured, Chain, Link};
pub use error::CheckError;
pub use log::{newest_segment, read_chain};
pub use problem::{Lost, Problem};
pub use progress::{Progress, Unwatched};
pub use rebuild::{RebuildError, Rebuilt, rebuild};
pub use tree::TreeFindings;
pub use witness::{AgentWitness, NoWitness, Witness};

use crate::store::Store;
use crate::tree::TreeStore;
use std::collections::BTreeSet;
use strongroom_proto::ids::{GroupId, Index};
use strongroom_replica::stored::Snapshot;

/// What was found about one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Findings {
    /// The group.
    pub group: GroupId,
    /// Sound segments of the log.
    pub segments: usize,
    /// Sound segments that are not part of it: harmless, and deleted in time.
    pub unnecessary: usize,
    /// The first and last entry of the log, zero for none.
    pub entries: (Index, Index),
    /// How many entries an HSM has vouched for; `None` if none was asked.
    pub authentic: Option<u64>,
    /// What the stored tree reaches.
    pub snapshot: Option<Index>,
    /// The number of pages of the stored tree.
    pub pages: u64,
    /// The number of its leaves.
    pub leaves: u64,
    /// Entries whose leaves gave their roots: all of them or, if the first are gone, those after the stored tree.
    pub replayed: u64,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// Reads a group's whole stored tree, and says what is wrong with it. Changes nothing of it.
///
/// # Errors
/// [`CheckError`].
pub async fn stored_tree(tree: &TreeStore, progress: &impl Progress) -> Result<TreeFindings, CheckError> {
    tree::read(tree, progress).await
}

/// The groups that a store holds something of.
///
/// # Errors
/// [`CheckError::Store`], [`CheckError::Empty`].
pub async fn groups(store: &Store) -> Result<BTreeSet<GroupId>, CheckError> {
    let folders = store.folders("groups").await.map_err(|_| CheckError::Store)?;
    let groups: BTreeSet<GroupId> = folders.iter().filter_map(|name| name.parse().ok()).collect();
    if groups.is_empty() { Err(CheckError::Empty) } else { Ok(groups) }
}

/// Checks all of one group: its chain, whether HSMs made it, the roots, and the stored tree.
///
/// The group may be at work meanwhile. Needs memory for the digests of all records, about 300 bytes each.
///
/// # Errors
/// [`CheckError`]; what is wrong with the group itself is among the findings.
pub async fn check(
    store: &Store,
    tree: &TreeStore,
    group: GroupId,
    witness: &mut impl Witness,
    progress: &impl Progress,
) -> Result<Findings, CheckError> {
    let mut problems = Vec::new();
    let stored = tree::read(tree, progress).await?;
    problems.extend(stored.problems.iter().cloned());
    let own = witness.captured().await.map_err(CheckError::Hsm)?;
    let captured = Captured { own, others: witness.captured_by_others().await };
    let snapshot = stored.snapshot.as_ref();
    let chain = read_chain(store, group, snapshot, captured, progress).await?;
    problems.extend(chain.problems.iter().cloned());
    let first = |p: &Problem| matches!(p, Problem::Missing { object, .. } if object.first == Index(1));
    if snapshot.is_none() && chain.begins_at() > Index(1) && !chain.problems.iter().any(first) {
        problems.push(Problem::NoTree(chain.begins_at()));
    }
    let walk = log::Walk { store, chain: &chain, progress };
    let authentic = match own {
        Some((captured, _)) => Some(walk.authenticate(captured, witness, &mut problems).await?),
        None => None,
    };
    let newest = match stored.problems[..] {
        [] => walk.compare(&stored, &mut problems).await?,
        _ => log::Newest::new(),
    };
    let replayed = walk.replay(&stored, &newest, &mut problems).await?;
    Ok(Findings {
        group,
        segments: chain.sound().count(),
        unnecessary: chain.unnecessary,
        entries: chain.spans(),
        authentic,
        snapshot: snapshot.map(|snapshot: &Snapshot| snapshot.entry.index),
        pages: stored.pages,
        leaves: stored.leaves.len() as u64,
        replayed,
        problems,
    })
}
