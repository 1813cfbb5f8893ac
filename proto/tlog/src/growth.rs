//! The right edge of a tree: what a log keeps to append leaves, and to know which tiles to write.

use crate::proof::{empty_root, nodes};
use crate::tile::{FULL, HEIGHT, LEVELS, Tile, TileLength, edge, perfect_root};
use strongroom_proto::ids::TreeHash;
use strongroom_proto::tlog::node;

/// Why a tree cannot be read from its tiles.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EdgeError<E> {
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
    /// The tiles at the edge do not lead to the root.
    #[error(
        "the partial tiles of the tree of {size} leaves do not lead to its root; fetch them again, or from elsewhere"
    )]
    Root {
        /// The size of the tree.
        size: u64,
    },
}

/// A tile, and what is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenTile {
    /// Where it belongs.
    pub tile: Tile,
    /// Its hashes, 32 bytes each.
    pub bytes: Vec<u8>,
}

/// The partial tiles of a tree. At most 65 KiB, however large the tree is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Edge {
    size: u64,
    /// The hashes of the partial tile of each level, 0 to 255.
    levels: [Vec<TreeHash>; LEVELS as usize],
}

impl Edge {
    /// Reads the edge of the tree with this size and root. `fetch` gives the bytes of a tile of [`edge`], or of the full tile there.
    ///
    /// # Errors
    /// [`EdgeError`]; with [`EdgeError::Root`] if any hash is another.
    pub fn read<E>(
        size: u64,
        root: &TreeHash,
        mut fetch: impl FnMut(Tile) -> Result<Vec<u8>, E>,
    ) -> Result<Self, EdgeError<E>> {
        let mut read = Self { size, ..Self::default() };
        for tile in edge(size) {
            let bytes = fetch(tile).map_err(|source| EdgeError::Fetch { tile, source })?;
            let hashes = tile.hashes(&bytes).map_err(|source| EdgeError::Length { tile, source })?;
            read.levels[usize::from(tile.level())] = hashes;
        }
        if read.root() == *root { Ok(read) } else { Err(EdgeError::Root { size }) }
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> TreeHash {
        let peaks = self.levels.iter().flat_map(|hashes| peaks(hashes).into_iter().rev());
        peaks.reduce(|right, left| node(&left, &right)).unwrap_or_else(empty_root)
    }

    /// Appends leaves. Returns the tiles that the log has to write before it publishes a checkpoint of the new tree, which are
    /// those of [`grown`](crate::tile::grown). The same leaves give the same tiles, whether they come at once or not; only
    /// partial tiles in between are left out. None, and nothing is done, if 64 bits cannot count the leaves.
    #[must_use]
    pub fn append(&mut self, leaves: &[TreeHash]) -> Option<Vec<WrittenTile>> {
        let size = self.size.checked_add(leaves.len() as u64)?;
        let mut written = vec![];
        let mut new = leaves.to_vec();
        for (level, hashes) in (0..LEVELS).zip(&mut self.levels) {
            if new.is_empty() {
                break;
            }
            let mut index = self.size.checked_shr(u32::from(HEIGHT * (level + 1))).unwrap_or(0);
            let mut above = vec![];
            for hash in new {
                hashes.push(hash);
                if hashes.len() == usize::from(FULL) {
                    above.push(perfect_root(hashes));
                    written.extend(write(size, level, index, hashes));
                    hashes.clear();
                    index += 1;
                }
            }
            written.extend(write(size, level, index, hashes));
            new = above;
        }
        self.size = size;
        Some(written)
    }

    /// The hashes of the partial tile of a level.
    pub(crate) fn level(&self, level: u8) -> &[TreeHash] {
        &self.levels[usize::from(level)]
    }
}

/// The roots of the perfect subtrees of the hashes of a partial tile, from left to right.
fn peaks(hashes: &[TreeHash]) -> Vec<TreeHash> {
    let mut rest = hashes;
    let mut found = vec![];
    for peak in nodes(0..hashes.len() as u64) {
        let (first, behind) = rest.split_at(1 << peak.level);
        found.push(perfect_root(first));
        rest = behind;
    }
    found
}

/// The tile at this place of a tree of `size` leaves with these hashes. None if the tree has none there.
fn write(size: u64, level: u8, index: u64, hashes: &[TreeHash]) -> Option<WrittenTile> {
    let tile = Tile::of(size, level, index)?;
    debug_assert_eq!(usize::from(tile.width()), hashes.len());
    Some(WrittenTile { tile, bytes: hashes.iter().flat_map(|hash| hash.0).collect() })
}
