//! Reading a published tree: hashes and proofs out of tiles, each of which is checked against the root before it is used.

use crate::entries::{self, BundleError};
use crate::growth::{Edge, EdgeError};
use crate::proof::{
    Node, ProofError, consistency_ranges, inclusion_ranges, nodes, prove_consistency, prove_inclusion, root,
};
use crate::tile::{HEIGHT, LEVELS, Tile, TileLength, edge, perfect_root};
use std::collections::BTreeSet;
use strongroom_proto::ids::{EntryHash, TreeHash};
use strongroom_proto::tlog::leaf;

/// Why a hash cannot be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The edge of the tree cannot be read.
    #[error(transparent)]
    Edge(#[from] EdgeError<E>),
    /// A tile could not be fetched.
    #[error("{tile} cannot be fetched: {source}")]
    Fetch {
        /// The tile.
        tile: Tile,
        /// Why.
        source: E,
    },
    /// A tile has another length.
    #[error("{tile} cannot be used: {source}; fetch it again, or from elsewhere")]
    Length {
        /// The tile.
        tile: Tile,
        /// What it has.
        source: TileLength,
    },
    /// A tile is not that of the tree with this root.
    #[error("{tile} does not lead to the root of the tree; fetch it again, or from elsewhere")]
    Forged {
        /// The tile.
        tile: Tile,
    },
    /// Entries are no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// An entry is not the one in the tree.
    #[error("entry {index} of the log is not the one in its tree; fetch it again, or from elsewhere")]
    Entry {
        /// The place of the leaf, from 0.
        index: u64,
    },
    /// The tree has no such leaf or node, or is too small.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The tree has no such tile or subtree.
    #[error("a tree of {size} leaves does not have that; ask for a later checkpoint")]
    Missing {
        /// The size of the tree.
        size: u64,
    },
}

/// The tiles that a [`TileReader`] fetches to give the hashes of these nodes in a tree of `size` leaves: for those who fetch all of
/// them at once beforehand. Nodes that the tree does not have are passed over.
#[must_use]
pub fn tiles_for(size: u64, wanted: impl IntoIterator<Item = Node>) -> BTreeSet<Tile> {
    let mut found: BTreeSet<Tile> = edge(size).collect();
    for node in wanted {
        let mut next = Tile::with(size, node);
        while let Some(tile) = next.filter(|tile| found.insert(*tile)) {
            next = tile.parent(size);
        }
    }
    found
}

/// [`tiles_for`] the inclusion proof of a leaf.
///
/// # Errors
/// [`ProofError::Index`].
pub fn tiles_for_inclusion(index: u64, size: u64) -> Result<BTreeSet<Tile>, ProofError> {
    let ranges = inclusion_ranges(index, size)?;
    let leaf = Node { level: 0, index };
    Ok(tiles_for(size, ranges.into_iter().flat_map(nodes).chain([leaf])))
}

/// [`tiles_for`] the consistency proof from an older size, and the root at that size.
///
/// # Errors
/// [`ProofError::Shrinks`].
pub fn tiles_for_consistency(from: u64, size: u64) -> Result<BTreeSet<Tile>, ProofError> {
    let ranges = consistency_ranges(from, size)?;
    Ok(tiles_for(size, ranges.into_iter().flat_map(nodes).chain(nodes(0..from))))
}

/// A tree with a size and a root that the caller has verified, and a function that fetches its tiles, which nobody trusts.
///
/// It keeps the edge and the last tile of each level: at most 130 KiB. Reading leaves in order fetches each tile once.
pub struct TileReader<F> {
    edge: Edge,
    fetch: F,
    /// The last full tile of each level, which was checked: its index and its hashes.
    last: [Option<(u64, Vec<TreeHash>)>; LEVELS as usize],
}

impl<F, E> TileReader<F>
where
    F: FnMut(Tile) -> Result<Vec<u8>, E>,
{
    /// Reads the edge of the tree. `fetch` gives the bytes of a tile, or of the full tile at that place.
    ///
    /// # Errors
    /// [`ReadError::Edge`].
    pub fn open(size: u64, root: &TreeHash, mut fetch: F) -> Result<Self, ReadError<E>> {
        let edge = Edge::read(size, root, &mut fetch)?;
        Ok(Self { edge, fetch, last: Default::default() })
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The edge of the tree, to append to it.
    #[must_use]
    pub fn into_edge(self) -> Edge {
        self.edge
    }

    /// The hashes of the tile at this place.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tile(&mut self, level: u8, index: u64) -> Result<&[TreeHash], ReadError<E>> {
        let size = self.size();
        let tile = Tile::of(size, level, index).ok_or(ReadError::Missing { size })?;
        if !tile.is_full() {
            return Ok(self.edge.level(level));
        }
        let last =
            |reader: &Self| reader.last[usize::from(level)].as_ref().is_some_and(|(last, _)| *last == index);
        if !last(self) {
            let bytes = (self.fetch)(tile).map_err(|source| ReadError::Fetch { tile, source })?;
            let hashes = tile.hashes(&bytes).map_err(|source| ReadError::Length { tile, source })?;
            let parent = tile.parent(size).ok_or(ReadError::Missing { size })?;
            let above = self.tile(parent.level(), parent.index())?;
            if above.get(tile.place_in_parent()) != Some(&perfect_root(&hashes)) {
                return Err(ReadError::Forged { tile });
            }
            self.last[usize::from(level)] = Some((index, hashes));
        }
        Ok(self.last[usize::from(level)].as_ref().map_or(&[], |(_, hashes)| hashes))
    }

    /// The hash of a node.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn node(&mut self, node: Node) -> Result<TreeHash, ReadError<E>> {
        let size = self.size();
        let tile = Tile::with(size, node).ok_or(ReadError::Missing { size })?;
        let below = node.level % HEIGHT;
        let hashes = self.tile(tile.level(), tile.index())?;
        let first = ((node.index << below) % 256) as usize;
        let leaves = hashes.get(first..first + (1 << below)).ok_or(ReadError::Missing { size })?;
        Ok(perfect_root(leaves))
    }

    /// The hash of a leaf.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn leaf(&mut self, index: u64) -> Result<TreeHash, ReadError<E>> {
        self.node(Node { level: 0, index })
    }

    /// The root that the tree had at an earlier size.
    ///
    /// # Errors
    /// [`ReadError`], also if it never had that size.
    pub fn root_at(&mut self, size: u64) -> Result<TreeHash, ReadError<E>> {
        if size > self.size() {
            return Err(ReadError::Missing { size: self.size() });
        }
        root(0..size, &mut |node| self.node(node))
    }

    /// The proof that a leaf is in the tree.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn inclusion(&mut self, index: u64) -> Result<Vec<TreeHash>, ReadError<E>> {
        prove_inclusion(index, self.size(), |node| self.node(node))
    }

    /// The proof that the tree begins with what it was at an earlier size.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn consistency(&mut self, from: u64) -> Result<Vec<TreeHash>, ReadError<E>> {
        prove_consistency(from, self.size(), |node| self.node(node))
    }

    /// The entries of bundle `index`, from the bytes that someone gave, each of which is the one in the tree. The bundle of the
    /// partial tile at the edge is as long as that is.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries(&mut self, index: u64, bundle: &[u8]) -> Result<Vec<EntryHash>, ReadError<E>> {
        let leaves = self.tile(0, index)?;
        let entries = entries::parse(bundle, leaves.len())?;
        match entries.iter().zip(leaves).position(|(entry, hash)| leaf(entry) != *hash) {
            None => Ok(entries),
            Some(place) => Err(ReadError::Entry { index: index * 256 + place as u64 }),
        }
    }
}
