//! What only a host asks of nodes: to walk over them, and to show less of them in a part of a tree.

use super::{Inner, Leaf, Node};
use crate::ids::Digest;
use alloc::sync::Arc;

impl Node {
    /// The same place with nothing opened.
    pub(in crate::tree) fn closed(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            opened => Self::Stub(opened.digest()),
        }
    }
}

impl Leaf {
    pub(in crate::tree) fn without_sealed(&self) -> Arc<Self> {
        Arc::new(Self { sealed: None, ..*self })
    }

    /// Its digest, which is the same with or without its sealed bytes.
    pub(in crate::tree) const fn digest(&self) -> Digest {
        self.digest
    }
}

impl Inner {
    pub(in crate::tree) const fn digest(&self) -> Digest {
        self.digest
    }

    pub(in crate::tree) const fn left(&self) -> &Node {
        &self.left
    }

    pub(in crate::tree) const fn right(&self) -> &Node {
        &self.right
    }
}
