//! What a host does with its tree: grows it, cuts from it what a batch needs, and reads its leaves.

use super::node::{Leaf, Node};
use super::{Place, Tree, TreeError};
use crate::ids::{Digest, RecordId};
use crate::prefix::Prefix;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

impl Tree {
    /// The tree without leaves, rooted at `prefix`.
    #[must_use]
    pub const fn new(prefix: Prefix) -> Self {
        Self { prefix, root: Node::Empty }
    }

    /// [`Self::update`] with leaves of which only the digests of their sealed bytes are known.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn update_unread(
        &mut self,
        leaves: impl IntoIterator<Item = (RecordId, Digest)>,
    ) -> Result<usize, TreeError> {
        let leaves: BTreeMap<RecordId, Digest> = leaves.into_iter().collect();
        self.put(leaves.into_iter().map(|(id, digest)| (id, Leaf::unread(id, digest))).collect())
    }

    /// Its two halves, open where it is.
    ///
    /// # Errors
    /// As [`Self::halves`].
    pub fn split(&self) -> Result<(Self, Self), TreeError> {
        self.halves()?;
        let (left, right) = self.prefix.children().ok_or(TreeError::TooDeep)?;
        let (below_left, below_right) = match &self.root {
            Node::Inner(inner) => inner.children(),
            Node::Leaf(leaf) if left.contains(&leaf.record_id()) => (self.root.clone(), Node::Empty),
            _ => (Node::Empty, self.root.clone()),
        };
        Ok((Self { prefix: left, root: below_left }, Self { prefix: right, root: below_right }))
    }

    /// The tree whose halves these two are, open where they are.
    ///
    /// # Errors
    /// As [`Self::joined`].
    pub fn join(left: &Self, right: &Self) -> Result<Self, TreeError> {
        let digest = Self::joined(left, right)?;
        let prefix = left.prefix.parent().ok_or(TreeError::NotCovered)?;
        let root = match (&left.root, &right.root) {
            (Node::Empty, one @ (Node::Empty | Node::Leaf(_))) | (one @ Node::Leaf(_), Node::Empty) => {
                one.clone()
            }
            (left, right) => Node::inner(digest, left.clone(), right.clone()),
        };
        Ok(Self { prefix, root })
    }

    /// Its topmost node alone, without sealed bytes: what splitting it or merging it needs.
    ///
    /// # Errors
    /// [`TreeError::NotOpened`].
    pub fn top(&self) -> Result<Self, TreeError> {
        let root = match &self.root {
            Node::Stub(_) => return Err(TreeError::NotOpened),
            Node::Empty => Node::Empty,
            Node::Leaf(leaf) => Node::Leaf(leaf.without_sealed()),
            Node::Inner(inner) => {
                let (left, right) = inner.children();
                Node::inner(inner.digest(), left.closed(), right.closed())
            }
        };
        Ok(Self { prefix: self.prefix, root })
    }

    /// The part of this tree that a batch on these records needs: their paths and sealed bytes, stubs for the rest.
    /// Where an absent record's path ends at another record's leaf, that leaf is opened without its sealed bytes, so
    /// that the absent one can be inserted beside it. For no records it is the root alone, as a stub.
    ///
    /// # Errors
    /// [`TreeError::NotCovered`], [`TreeError::NotOpened`].
    pub fn partial(&self, ids: &[RecordId]) -> Result<Self, TreeError> {
        self.part(ids, Node::closed, with_sealed)
    }

    /// [`Self::partial`] with the leaves beside the paths open as well, without their sealed bytes.
    ///
    /// For a host that keeps the paths to what has changed since its pages were stored: a leaf that an insertion moved
    /// down is beside one of them, and no stored page has it where it is now.
    ///
    /// # Errors
    /// As [`Self::partial`].
    pub fn partial_with_neighbours(&self, ids: &[RecordId]) -> Result<Self, TreeError> {
        let beside = |node: &Node| match node {
            Node::Leaf(leaf) => Node::Leaf(leaf.without_sealed()),
            other => other.closed(),
        };
        self.part(ids, beside, with_sealed)
    }

    /// [`Self::partial`] without any sealed bytes: enough to replace these leaves or to insert them, not to read them.
    ///
    /// # Errors
    /// As [`Self::partial`].
    pub fn paths(&self, ids: &[RecordId]) -> Result<Self, TreeError> {
        self.part(ids, Node::closed, |leaf| Ok(leaf.without_sealed()))
    }

    fn part(
        &self,
        ids: &[RecordId],
        beside: impl Fn(&Node) -> Node,
        wanted_leaf: impl Fn(&Arc<Leaf>) -> Result<Arc<Leaf>, TreeError>,
    ) -> Result<Self, TreeError> {
        let mut wanted: Vec<_> = ids.iter().map(|id| (*id, ())).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let (root, _) = self.rebuild(&wanted, |node, _, wanted| {
            Ok(match (node, wanted) {
                (node, []) => Place::Done(beside(&node)),
                (Node::Stub(_), _) => return Err(TreeError::NotOpened),
                (Node::Empty, _) => Place::Done(Node::Empty),
                (Node::Leaf(leaf), _) if wanted.iter().all(|(id, ())| *id != leaf.record_id()) => {
                    Place::Done(Node::Leaf(leaf.without_sealed()))
                }
                (Node::Leaf(leaf), _) => Place::Done(Node::Leaf(wanted_leaf(&leaf)?)),
                (Node::Inner(inner), _) => {
                    let (left, right) = inner.children();
                    Place::Inside { left, right, digest: Some(inner.digest()) }
                }
            })
        })?;
        Ok(Self { prefix: self.prefix, root })
    }

    /// All leaves that are opened, in the order of their record ids.
    pub fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        let mut open = vec![&self.root];
        core::iter::from_fn(move || {
            loop {
                match open.pop()? {
                    Node::Empty | Node::Stub(_) => {}
                    Node::Leaf(leaf) => return Some(&**leaf),
                    Node::Inner(inner) => open.extend([inner.right(), inner.left()]),
                }
            }
        })
    }
}

/// A wanted leaf, if its sealed bytes are there.
fn with_sealed(leaf: &Arc<Leaf>) -> Result<Arc<Leaf>, TreeError> {
    leaf.sealed().is_some().then(|| leaf.clone()).ok_or(TreeError::NotOpened)
}
