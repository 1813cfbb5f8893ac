//! The tree: a binary Merkle trie over record ids, hashed by an HSM and by its host with the same code.
//!
//! ```text
//! sealed digest = H(sealed)                      leaf = H(record id, sealed digest)
//! node = H with depth in its parameters (left, right)      empty = 32 zero bytes
//! ```
//!
//! `depth` is the number of bits above the node, two bytes, counted from the first bit of record ids even where the
//! tree is rooted at a longer prefix. A subtree with one leaf *is* that leaf. Leaves are never removed.
//!
//! A host is not trusted. It sends a [`ClaimedTree`]; `verify` turns it into a [`Tree`], against a root that the HSM
//! already holds. What is not opened in a partial tree is a 32-byte *stub*, which does not say whether a leaf or an
//! inner node is behind it: nothing can be read, inserted or replaced there.
//!
//! Kept here: every leaf lies on the path of its record id; no shape but the canonical one for a set of leaves; no
//! recursion; depth at most 256; memory in proportion to the input (part of invariant 12).

mod claimed;
#[cfg(feature = "outside")]
mod host;
mod node;
#[cfg(feature = "outside")]
mod page;

pub use claimed::{ClaimedTree, MAX_TREE_NODES};
pub use node::Leaf;
#[cfg(feature = "outside")]
pub use page::{Onward, PAGE_LEVELS, Page};

use crate::ids::{Digest, RecordId};
use crate::prefix::{Prefix, bit};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use node::Node;

/// Why a tree was refused, or could not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeError {
    /// The record id is outside the tree's prefix. Ask the group that covers it.
    NotCovered,
    /// The path ends at a stub, or the leaf came without its sealed bytes. Send a partial tree for this record.
    NotOpened,
    /// Not the encoding of one whole tree. Encode it with this version of the protocol.
    Malformed,
    /// A node below the 256th bit of a record id.
    TooDeep,
    /// A leaf that is not on the path of its record id.
    Misplaced,
    /// A shape that no set of leaves has: an inner node with nothing below it or only a leaf, or an empty stub.
    NotCanonical,
    /// The tree does not have the expected root. Send a partial tree of the newest version.
    WrongRoot,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotCovered => "record id outside the tree's prefix; ask the group that covers it",
            Self::NotOpened => "record not opened in this partial tree; send one made for it",
            Self::Malformed => "not the encoding of one whole tree",
            Self::TooDeep => "tree deeper than the bits of a record id",
            Self::Misplaced => "leaf off the path of its record id",
            Self::NotCanonical => "tree shape that no set of leaves has",
            Self::WrongRoot => "tree does not have the expected root; send one of the newest version",
        })
    }
}

impl core::error::Error for TreeError {}

/// A tree, or the part of one that a batch needs.
///
/// Holding one proves that all in it is in the tree with this root: it was built leaf by leaf from nothing, or it is a
/// part of such a tree, or it was verified against a root. It does not prove that the root is the newest; and where
/// only stubs were sent, the prefix rests on the verifier's word alone.
///
/// A clone is cheap, shares what is equal, and is not changed by later updates of the original.
#[derive(Clone)]
pub struct Tree {
    prefix: Prefix,
    root: Node,
}

/// What becomes of one place in the tree, in a rebuild.
enum Place {
    /// It is finished.
    Done(Node),
    /// Both sides first, then an inner node over them, with a digest already known or a new one.
    Inside { left: Node, right: Node, digest: Option<Digest> },
}

/// What a rebuild has still to do.
enum Step<'a, T> {
    Visit { node: Node, depth: u16, wanted: &'a [(RecordId, T)] },
    Join { depth: u16, digest: Option<Digest> },
}

impl Tree {
    /// Its root: the digest of the whole tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root.digest()
    }

    /// The prefix of the record ids that it covers.
    #[must_use]
    pub const fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// The sealed bytes of a record. `Ok(None)` is proof that the tree has no leaf for it.
    ///
    /// # Errors
    /// [`TreeError::NotCovered`], [`TreeError::NotOpened`].
    pub fn get(&self, id: &RecordId) -> Result<Option<&Arc<[u8]>>, TreeError> {
        if !self.prefix.contains(id) {
            return Err(TreeError::NotCovered);
        }
        let mut node = &self.root;
        let mut depth = self.prefix.len();
        loop {
            match node {
                Node::Empty => return Ok(None),
                Node::Stub(_) => return Err(TreeError::NotOpened),
                Node::Leaf(leaf) if leaf.record_id() != *id => return Ok(None),
                Node::Leaf(leaf) => return leaf.sealed().map(Some).ok_or(TreeError::NotOpened),
                Node::Inner(inner) => node = inner.side(id, depth),
            }
            depth = depth.saturating_add(1);
        }
    }

    /// The roots of its two halves, the one that goes on with 0 first.
    ///
    /// # Errors
    /// [`TreeError::NotOpened`]: what is at its root is not there. [`TreeError::TooDeep`]: one record id cannot be halved.
    pub fn halves(&self) -> Result<(Digest, Digest), TreeError> {
        let depth = self.prefix.len();
        if depth >= Prefix::MAX_LEN {
            return Err(TreeError::TooDeep);
        }
        match &self.root {
            Node::Empty => Ok((Digest::EMPTY, Digest::EMPTY)),
            Node::Stub(_) => Err(TreeError::NotOpened),
            Node::Leaf(leaf) if bit(&leaf.record_id(), depth) => Ok((Digest::EMPTY, self.root())),
            Node::Leaf(_) => Ok((self.root(), Digest::EMPTY)),
            Node::Inner(inner) => {
                let (left, right) = inner.children();
                Ok((left.digest(), right.digest()))
            }
        }
    }

    /// The root of the tree whose halves these two are. A leaf beside an empty half moves up as it is, so what is at
    /// their roots must be there.
    ///
    /// # Errors
    /// [`TreeError::NotOpened`]. [`TreeError::NotCovered`]: they are not the halves of one prefix, in their order.
    pub fn joined(left: &Self, right: &Self) -> Result<Digest, TreeError> {
        let parent =
            left.prefix.parent().filter(|parent| parent.children() == Some((left.prefix, right.prefix)));
        let parent = parent.ok_or(TreeError::NotCovered)?;
        match (&left.root, &right.root) {
            (Node::Stub(_), _) | (_, Node::Stub(_)) => Err(TreeError::NotOpened),
            (Node::Empty, Node::Empty | Node::Leaf(_)) => Ok(right.root()),
            (Node::Leaf(_), Node::Empty) => Ok(left.root()),
            (left, right) => Ok(Node::hash(parent.len(), left, right)),
        }
    }

    /// Inserts or replaces leaves: all of them or, on an error, none. Of two for the same record, the later counts.
    /// Returns how many nodes were hashed: each new leaf, and each inner node above one, once.
    ///
    /// To replace a leaf its place must be open; its old sealed bytes need not be there.
    ///
    /// # Errors
    /// [`TreeError::NotCovered`], [`TreeError::NotOpened`].
    pub fn update(
        &mut self,
        leaves: impl IntoIterator<Item = (RecordId, Arc<[u8]>)>,
    ) -> Result<usize, TreeError> {
        let leaves: BTreeMap<RecordId, Arc<[u8]>> = leaves.into_iter().collect();
        self.put(leaves.into_iter().map(|(id, sealed)| (id, Leaf::new(id, sealed))).collect())
    }

    fn put(&mut self, wanted: Vec<(RecordId, Arc<Leaf>)>) -> Result<usize, TreeError> {
        let (root, joined) = self.rebuild(&wanted, |node, depth, wanted| {
            let (left, right) = match (node, wanted) {
                (node, []) => return Ok(Place::Done(node)),
                (Node::Stub(_), _) => return Err(TreeError::NotOpened),
                (Node::Empty, [(_, leaf)]) => return Ok(Place::Done(Node::Leaf(leaf.clone()))),
                (Node::Leaf(old), [(id, leaf)]) if old.record_id() == *id => {
                    return Ok(Place::Done(Node::Leaf(leaf.clone())));
                }
                (Node::Empty, _) => (Node::Empty, Node::Empty),
                // The old leaf moves down, until it is alone or replaced.
                (Node::Leaf(old), _) if bit(&old.record_id(), depth) => (Node::Empty, Node::Leaf(old)),
                (Node::Leaf(old), _) => (Node::Leaf(old), Node::Empty),
                (Node::Inner(inner), _) => inner.children(),
            };
            Ok(Place::Inside { left, right, digest: None })
        })?;
        self.root = root;
        Ok(joined.saturating_add(wanted.len()))
    }

    /// Walks to the places of `wanted`, which are in order and distinct, and rebuilds the tree from what `visit` makes
    /// of them. Returns the root and the number of inner nodes hashed.
    ///
    /// Two distinct record ids part at depth 255 at the latest, so nothing goes inside at 256.
    fn rebuild<T>(
        &self,
        wanted: &[(RecordId, T)],
        visit: impl Fn(Node, u16, &[(RecordId, T)]) -> Result<Place, TreeError>,
    ) -> Result<(Node, usize), TreeError> {
        if !wanted.iter().all(|(id, _)| self.prefix.contains(id)) {
            return Err(TreeError::NotCovered);
        }
        let mut steps = vec![Step::Visit { node: self.root.clone(), depth: self.prefix.len(), wanted }];
        let mut done = Vec::new();
        let mut hashed = 0_usize;
        while let Some(step) = steps.pop() {
            match step {
                Step::Visit { node, depth, wanted } => match visit(node, depth, wanted)? {
                    Place::Done(node) => done.push(node),
                    Place::Inside { left, right, digest } => {
                        let (to_left, to_right) =
                            wanted.split_at(wanted.partition_point(|(id, _)| !bit(id, depth)));
                        let below = depth.saturating_add(1);
                        steps.push(Step::Join { depth, digest });
                        steps.push(Step::Visit { node: right, depth: below, wanted: to_right });
                        steps.push(Step::Visit { node: left, depth: below, wanted: to_left });
                    }
                },
                Step::Join { depth, digest } => {
                    hashed = hashed.saturating_add(usize::from(digest.is_none()));
                    let (Some(right), Some(left)) = (done.pop(), done.pop()) else {
                        debug_assert!(false, "both sides are finished before they are joined");
                        return Err(TreeError::Malformed);
                    };
                    done.push(Node::inner(
                        digest.unwrap_or_else(|| Node::hash(depth, &left, &right)),
                        left,
                        right,
                    ));
                }
            }
        }
        let root = done.pop();
        debug_assert!(root.is_some(), "the root is finished last");
        Ok((root.ok_or(TreeError::Malformed)?, hashed))
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("prefix", &self.prefix)
            .field("root", &self.root())
            .finish_non_exhaustive()
    }
}
