//! The nodes of a tree: shared between versions, hashed once, dropped without recursion.

use crate::hash::{self, hash, label};
use crate::ids::{Digest, RecordId};
use crate::prefix::bit;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::{fmt, mem};

#[cfg(feature = "outside")]
mod host;

/// One place in a tree.
#[derive(Clone, Default)]
pub(super) enum Node {
    /// No leaf is below.
    #[default]
    Empty,
    /// The digest of a leaf or an inner node that is not opened.
    Stub(Digest),
    Leaf(Arc<Leaf>),
    Inner(Arc<Inner>),
}

/// A record in the tree: its id, and its sealed bytes or, where nobody asked for them, their digest alone.
///
/// Borrowed from a [`Tree`](super::Tree), so it is as proven as that is; the sealed bytes are those of its digest.
#[derive(Clone)]
pub struct Leaf {
    record_id: RecordId,
    sealed_digest: Digest,
    sealed: Option<Arc<[u8]>>,
    digest: Digest,
}

/// A node with at least two leaves below it.
pub(super) struct Inner {
    digest: Digest,
    left: Node,
    right: Node,
}

impl Node {
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Empty => Digest::EMPTY,
            Self::Stub(digest) => *digest,
            Self::Leaf(leaf) => leaf.digest,
            Self::Inner(inner) => inner.digest,
        }
    }

    /// An inner node whose digest is known to be [`Node::hash`] of these two.
    pub(super) fn inner(digest: Digest, left: Self, right: Self) -> Self {
        Self::Inner(Arc::new(Inner { digest, left, right }))
    }

    /// The digest of an inner node with `depth` bits above it.
    pub(super) fn hash(depth: u16, left: &Self, right: &Self) -> Digest {
        hash::node(depth, &left.digest(), &right.digest())
    }
}

impl Leaf {
    pub(super) fn new(record_id: RecordId, sealed: Arc<[u8]>) -> Arc<Self> {
        let sealed_digest = Self::sealed_digest_of(&sealed);
        Self::build(record_id, sealed_digest, Some(sealed))
    }

    pub(super) fn unread(record_id: RecordId, sealed_digest: Digest) -> Arc<Self> {
        Self::build(record_id, sealed_digest, None)
    }

    fn build(record_id: RecordId, sealed_digest: Digest, sealed: Option<Arc<[u8]>>) -> Arc<Self> {
        let digest = hash(label::LEAF, &[&record_id.0, &sealed_digest.0]);
        Arc::new(Self { record_id, sealed_digest, sealed, digest })
    }

    /// The digest that a leaf has for these sealed bytes.
    #[must_use]
    pub fn sealed_digest_of(sealed: &[u8]) -> Digest {
        hash(label::SEALED, &[sealed])
    }

    /// Whose leaf it is.
    #[must_use]
    pub const fn record_id(&self) -> RecordId {
        self.record_id
    }

    /// The digest of the sealed bytes.
    #[must_use]
    pub const fn sealed_digest(&self) -> Digest {
        self.sealed_digest
    }

    /// The sealed bytes, where they are included.
    #[must_use]
    pub const fn sealed(&self) -> Option<&Arc<[u8]>> {
        self.sealed.as_ref()
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("record_id", &self.record_id)
            .field("sealed_digest", &self.sealed_digest)
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn children(&self) -> (Node, Node) {
        (self.left.clone(), self.right.clone())
    }

    /// The side to which a record belongs, with `depth` bits above this node.
    pub(super) fn side(&self, id: &RecordId, depth: u16) -> &Node {
        if bit(id, depth) { &self.right } else { &self.left }
    }

    fn detach(&mut self, into: &mut Vec<Arc<Self>>) {
        for side in [&mut self.left, &mut self.right] {
            if let Node::Inner(inner) = mem::take(side) {
                into.push(inner);
            }
        }
    }
}

impl Drop for Inner {
    /// The compiler's own drop would recurse once per level: too much for the stack of a small device.
    fn drop(&mut self) {
        let mut below = Vec::new();
        self.detach(&mut below);
        while let Some(shared) = below.pop() {
            if let Some(mut last) = Arc::into_inner(shared) {
                last.detach(&mut below);
            }
        }
    }
}
