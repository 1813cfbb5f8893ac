//! Tiles: up to 256 neighbouring hashes of a tree, eight levels apart, and the paths at which they are published (C2SP
//! tlog-tiles).

use crate::proof::Node;
use crate::text;
use core::fmt;
use strongroom_proto::ids::TreeHash;
use strongroom_proto::tlog::node;

/// The most hashes in a tile.
pub const FULL: u16 = 256;

/// How many levels of a tree one level of tiles spans.
pub const HEIGHT: u8 = 8;

/// How many levels of tiles a tree of 64 bits has.
pub const LEVELS: u8 = 8;

/// The highest level that a path may name. Above [`LEVELS`], no tree has tiles.
const MAX_LEVEL: u64 = 63;

/// The longest path in bytes.
const MAX_PATH: usize = 64;

/// That a path names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this is no path of a log: those are checkpoint, tile/LEVEL/INDEX and tile/entries/INDEX, such as tile/0/x001/234.p/5"
)]
pub struct PathError;

/// That a tile has not the length that it must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a tile of {width} hashes has {expected} bytes, not {found}", expected = usize::from(*width) * 32)]
pub struct TileLength {
    /// How many hashes it has.
    pub width: u16,
    /// How many bytes there are.
    pub found: usize,
}

/// Which hashes: those of the perfect subtrees of height `8 · level`, from number `256 · index` on, `width` of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

impl Tile {
    /// The tile of a tree with `size` leaves at this place, as wide as it is there. None if it has no such tile.
    #[must_use]
    pub fn of(size: u64, level: u8, index: u64) -> Option<Self> {
        let behind = hashes_at(size, level).checked_sub(index.checked_mul(FULL.into())?)?;
        let width = behind.min(FULL.into()) as u16;
        (width > 0).then_some(Self { level, index, width })
    }

    /// The tile that has the leaves of a perfect subtree's tile level. None if a tree of `size` leaves has not all of that subtree.
    #[must_use]
    pub fn with(size: u64, node: Node) -> Option<Self> {
        let first = node.is_in(size).then(|| node.index << (node.level % HEIGHT))?;
        Self::of(size, node.level / HEIGHT, first / u64::from(FULL))
    }

    /// The level: 0 for leaves. At most 63.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The place among the tiles of its level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The number of hashes: 1 to [`FULL`].
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it has all of its hashes. Then it never changes.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == FULL
    }

    /// The full tile at this place. A log may have deleted the partial one when it wrote that.
    #[must_use]
    pub const fn full(self) -> Self {
        Self { width: FULL, ..self }
    }

    /// The tile that has the hash of this one, if it is full, as a tree of `size` leaves has it.
    #[must_use]
    pub fn parent(&self, size: u64) -> Option<Self> {
        Self::of(size, self.level.checked_add(1)?, self.index / u64::from(FULL))
    }

    /// Its place among the hashes of its [`Self::parent`].
    #[must_use]
    pub const fn place_in_parent(&self) -> usize {
        (self.index % FULL as u64) as usize
    }

    /// The hashes in the bytes of this tile, or of [`Self::full`], of which only the first are taken. They are not checked.
    ///
    /// # Errors
    /// [`TileLength`].
    pub fn hashes(&self, bytes: &[u8]) -> Result<Vec<TreeHash>, TileLength> {
        let length = usize::from(self.width) * TreeHash::LEN;
        if bytes.len() != length && bytes.len() != usize::from(FULL) * TreeHash::LEN {
            return Err(TileLength { width: self.width, found: bytes.len() });
        }
        let (hashes, _) = bytes[..length].as_chunks::<{ TreeHash::LEN }>();
        Ok(hashes.iter().map(|hash| TreeHash(*hash)).collect())
    }

    /// Where the entries of a tile of level 0 are published. None for other levels.
    #[must_use]
    pub fn entries_path(&self) -> Option<String> {
        (self.level == 0).then(|| format!("tile/entries/{}", self.place()))
    }

    /// The end of the path: the index in groups of three digits, and the width if it is partial.
    fn place(&self) -> String {
        let mut place = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            place = format!("x{:03}/{place}", rest % 1000);
            rest /= 1000;
        }
        if self.is_full() { place } else { format!("{place}.p/{}", self.width) }
    }
}

/// The path.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/{}", self.level, self.place())
    }
}

/// The number of hashes that a tree of `size` leaves has at a level of tiles.
fn hashes_at(size: u64, level: u8) -> u64 {
    if level < LEVELS { size >> (HEIGHT * level) } else { 0 }
}

/// The root of a perfect subtree, from its leaves: a power of two of them, at least one.
pub(crate) fn perfect_root(hashes: &[TreeHash]) -> TreeHash {
    debug_assert!(hashes.len().is_power_of_two());
    match hashes {
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            node(&perfect_root(left), &perfect_root(right))
        }
    }
}

/// The tiles that change, or are new, when a tree grows from one size to another: the full ones, and at the right edge the partial
/// ones. By level, then from left to right. None if it does not grow.
pub fn grown(from: u64, to: u64) -> impl Iterator<Item = Tile> {
    (0..LEVELS).flat_map(move |level| {
        let (old, new) = (hashes_at(from, level), hashes_at(to, level));
        let first = old / u64::from(FULL);
        let behind = if old < new { new.div_ceil(FULL.into()) } else { first };
        (first..behind).filter_map(move |index| Tile::of(to, level, index))
    })
}

/// The partial tiles of a tree, by level: all that is needed of it to go on, at most [`LEVELS`].
pub fn edge(size: u64) -> impl Iterator<Item = Tile> {
    (0..LEVELS).filter_map(move |level| Tile::of(size, level, hashes_at(size, level) / u64::from(FULL)))
}

/// What a log publishes at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// `checkpoint`: the latest one.
    Checkpoint,
    /// `tile/LEVEL/INDEX`: hashes.
    Hashes(Tile),
    /// `tile/entries/INDEX`: the entries under the hashes of this tile, which is of level 0.
    Entries(Tile),
}

impl Resource {
    /// Parses a path, without a slash at its start.
    ///
    /// # Errors
    /// [`PathError`], also if it is another spelling of a path.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path == "checkpoint" {
            return Ok(Self::Checkpoint);
        }
        let tile = path.strip_prefix("tile/").filter(|_| path.len() <= MAX_PATH).ok_or(PathError)?;
        let (kind, place) = tile.split_once('/').ok_or(PathError)?;
        let (index, width) = place_of(place).ok_or(PathError)?;
        let at = |level| Tile { level, index, width };
        let found = match kind {
            "entries" => Self::Entries(at(0)),
            level => {
                let level = text::decimal(level).filter(|level| *level <= MAX_LEVEL).ok_or(PathError)?;
                Self::Hashes(at(level as u8))
            }
        };
        if found.to_string() == path { Ok(found) } else { Err(PathError) }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Hashes(tile) => tile.fmt(f),
            Self::Entries(tile) => write!(f, "tile/entries/{}", tile.place()),
        }
    }
}

/// The index and the width, in any spelling.
fn place_of(place: &str) -> Option<(u64, u16)> {
    let (place, width) = match place.split_once(".p/") {
        Some((place, width)) => {
            (place, text::decimal(width).filter(|width| (1..FULL.into()).contains(width))? as u16)
        }
        None => (place, FULL),
    };
    let mut index = 0_u64;
    for group in place.split('/') {
        let group = group.strip_prefix('x').unwrap_or(group);
        let digits = group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit());
        index = index.checked_mul(1000)?.checked_add(group.parse().ok().filter(|_| digits)?)?;
    }
    Some((index, width))
}
