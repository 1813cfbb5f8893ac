//! The leaves that remain of a group's records, and where: in its stored tree, in its log, or in the stored tree of the group
//! that they came from.
//!
//! What the log says of a record counts before what is stored, but only since the record's prefix was last brought in: what
//! it was before, another group has changed since.

use super::chain::Link;
use super::error::{CheckError, failed};
use super::owned::{Came, Owned};
use super::progress::Progress;
use super::tree::sealed_digest;
use crate::store::Store;
use crate::tree::{TreeReader, TreeStore};
use futures::{StreamExt, pin_mut};
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_proto::ids::{Digest, Index, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::ReadOutcome;
use strongroom_replica::segment::Segment;

/// A leaf that remains.
#[derive(Clone)]
pub(super) struct Remaining {
    pub(super) digest: Digest,
    /// Its bytes, unless the damaged tree has them.
    pub(super) sealed: Option<Arc<[u8]>>,
}

type Leaves = BTreeMap<RecordId, Remaining>;

/// All leaves that remain; those that are named last count first.
pub(super) struct Remains {
    pub(super) stored: Leaves,
    /// Those that the group has which they came from.
    pub(super) brought: Leaves,
    pub(super) logged: Leaves,
}

impl Remains {
    /// Leaves out what is below none of these: other groups have it now.
    pub(super) fn retain(&mut self, roots: &[(Prefix, Digest)]) {
        for leaves in [&mut self.stored, &mut self.brought, &mut self.logged] {
            leaves.retain(|id, _| roots.iter().any(|(prefix, _)| prefix.contains(id)));
        }
    }

    pub(super) fn leaves(&self) -> Leaves {
        let mut leaves = self.stored.clone();
        for over in [&self.brought, &self.logged] {
            leaves.extend(over.iter().map(|(id, leaf)| (*id, leaf.clone())));
        }
        leaves
    }

    pub(super) fn digests(&self) -> BTreeMap<RecordId, Digest> {
        self.leaves().into_iter().map(|(id, leaf)| (id, leaf.digest)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.leaves().len()
    }
}

/// What a log says.
#[derive(Default)]
pub(super) struct Logged {
    /// The newest leaf of each record up to an entry, of what was there since its prefix came.
    pub(super) leaves: Leaves,
    /// Every prefix that came, in all of the log.
    pub(super) came: Vec<Came>,
}

/// Reads a log: leaves up to an entry, and all prefixes that came. What is stored is not kept twice.
pub(super) async fn of_log(
    store: &Store,
    links: &[Link],
    until: Index,
    stored: &Leaves,
) -> Result<Logged, CheckError> {
    let (mut logged, mut owned) = (Logged::default(), Owned::default());
    for link in links {
        let read = match store.read(&link.name.to_string()).await {
            ReadOutcome::Found(bytes) => Segment::decode(&bytes).ok(),
            ReadOutcome::Absent => None,
            ReadOutcome::Unavailable => return Err(CheckError::Store),
        };
        let Some(segment) = read else {
            // It was sound before. What it changed is not known, so nothing older is the newest.
            logged.leaves.clear();
            continue;
        };
        for made in segment.entries() {
            if let Some(came) = owned.came(&made.entry) {
                if made.entry.index <= until {
                    logged.leaves.retain(|id, _| !came.partition.prefix.contains(id));
                }
                logged.came.push(came);
            }
            let counts = made.entry.index <= until;
            for leaf in made.leaves.iter().filter(|_| counts) {
                let digest = sealed_digest(&leaf.sealed);
                let is_stored = stored.get(&leaf.record).is_some_and(|known| known.digest == digest);
                let sealed = (!is_stored).then(|| leaf.sealed.as_slice().into());
                logged.leaves.insert(leaf.record, Remaining { digest, sealed });
            }
        }
    }
    Ok(logged)
}

/// The leaves of what came that are not stored here, if the group that it came from still has it as it was.
pub(super) async fn of_source(
    store: &Store,
    tree: &TreeStore,
    came: &Came,
    stored: &Leaves,
    progress: &impl Progress,
) -> Result<Leaves, CheckError> {
    let mut found = Leaves::new();
    let Some(from) = came.from else { return Ok(found) };
    progress.begin("leaves of the group that had them", None);
    let source = tree.of_group(store.base(), from);
    let reader = match source.reader().await {
        Ok(Some(reader)) => reader,
        Ok(None) => return Ok(found),
        Err(failure) => return failed(failure).map(|_damage| found),
    };
    let prefix = came.partition.prefix;
    if !reader.page(prefix).await.is_ok_and(|page| page.digest() == came.partition.root) {
        return Ok(found);
    }
    let leaves = reader.leaves_below(prefix);
    pin_mut!(leaves);
    while let Some(leaf) = leaves.next().await {
        let Ok((id, sealed)) = leaf else { break };
        progress.done(1);
        if !stored.contains_key(&id) {
            found.insert(id, Remaining { digest: sealed_digest(&sealed), sealed: Some(sealed) });
        }
    }
    Ok(found)
}

/// The leaves that the damaged tree still gives: those that a scan finds and, after damage, those that pages name.
pub(super) async fn stored_leaves(
    reader: Option<&TreeReader>,
    progress: &impl Progress,
) -> Result<BTreeMap<RecordId, Remaining>, CheckError> {
    progress.begin("leaves that remain", None);
    let mut remain = BTreeMap::new();
    let Some(reader) = reader else { return Ok(remain) };
    let remaining = |sealed: &[u8]| Remaining { digest: sealed_digest(sealed), sealed: None };
    let mut whole = true;
    let leaves = reader.leaves();
    pin_mut!(leaves);
    while let Some(leaf) = leaves.next().await {
        match leaf {
            Ok((id, sealed)) => drop(remain.insert(id, remaining(&sealed))),
            Err(failure) => {
                failed(failure)?;
                whole = false;
            }
        }
        progress.done(1);
    }
    let pages = reader.pages();
    pin_mut!(pages);
    while !whole && let Some(page) = pages.next().await {
        let Ok(page) = page else { continue };
        for id in page.leaves().map(strongroom_proto::tree::Leaf::record_id) {
            if !remain.contains_key(&id)
                && let Ok(Some(sealed)) = reader.leaf(&id).await
            {
                remain.insert(id, remaining(&sealed));
                progress.done(1);
            }
        }
    }
    Ok(remain)
}
