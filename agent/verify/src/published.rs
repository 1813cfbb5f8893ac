//! The tree over a log as it is published: tiles and bundles, each of which counts once it leads to the root.
//!
//! Nothing read once is taken for granted the second time: a store may answer differently.

use crate::failure::{Failure, Fault};
use crate::source::{ReadError, Source};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use strongroom_proto::ids::{EntryHash, Index, TreeHash};
use strongroom_tlog::entries::ENTRY;
use strongroom_tlog::proof::nodes;
use strongroom_tlog::reader::{ReadError as TreeError, tiles_for};
use strongroom_tlog::tile::{FULL, Tile};
use strongroom_tlog::{Node, TileReader};

/// How many objects are read at once.
const PARALLEL: usize = 16;
/// How many bundles are read under one set of tiles: those below one tile of the next level.
const WINDOW: u64 = 256;
/// How many bundles are kept for segments that follow: 8 KiB each.
const KEPT: usize = 64;
/// How many tiles are kept for them: 8 KiB each.
const KEPT_TILES: usize = 256;
/// The longest tile and the longest bundle, in bytes.
const MAX_TILE: u64 = FULL as u64 * 32;
const MAX_BUNDLE: u64 = FULL as u64 * ENTRY as u64;

type Tiles = BTreeMap<Tile, Arc<Vec<u8>>>;
type Fetched = Result<Vec<u8>, NotFetched>;

/// A tile that was not asked for: never, as tiles are fetched beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it was not fetched")]
struct NotFetched;

/// What is published of one group's log, up to a checkpoint that the realm has signed.
pub(crate) struct Published<'s> {
    source: &'s Source,
    folder: String,
    size: u64,
    root: TreeHash,
}

impl<'s> Published<'s> {
    /// The tree with this size and root, below `folder`.
    pub(crate) fn new(source: &'s Source, folder: String, size: u64, root: TreeHash) -> Self {
        Self { source, folder, size, root }
    }

    /// The number of entries.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Reads every tile and every bundle. Says how many bundles there are.
    pub(crate) async fn read_all(&self, progress: impl Fn(u64)) -> Result<u64, Fault> {
        let bundles = self.size.div_ceil(u64::from(FULL));
        // A tree without leaves has a root, too.
        drop(self.reader(self.tiles(tiles_for(self.size, [])).await?)?);
        let mut first = 0;
        while first < bundles {
            let behind = bundles.min(first.saturating_add(WINDOW));
            let tiles = tiles_for(self.size, (first..behind).map(leaf_of));
            let mut reader = self.reader(self.tiles(tiles).await?)?;
            let mut read = stream::iter(first..behind).map(|index| self.bundle(index)).buffered(PARALLEL);
            while let Some((index, bundle)) = read.try_next().await? {
                reader.entries(index, &bundle).map_err(|error| self.failure(&error))?;
                progress(self.size.min((index + 1).saturating_mul(FULL.into())));
            }
            first = behind;
        }
        Ok(bundles)
    }

    /// The root that the tree had at an earlier size, which is not larger.
    pub(crate) async fn root_at(&self, size: u64) -> Result<TreeHash, Fault> {
        let tiles = self.tiles(tiles_for(self.size, nodes(0..size))).await?;
        self.reader(tiles)?.root_at(size).map_err(|error| self.failure(&error).into())
    }

    fn reader(&self, tiles: Tiles) -> Result<TileReader<impl FnMut(Tile) -> Fetched>, Fault> {
        let fetch = move |tile: Tile| tiles.get(&tile).map(|bytes| bytes.to_vec()).ok_or(NotFetched);
        TileReader::open(self.size, &self.root, fetch).map_err(|error| self.failure(&error).into())
    }

    async fn tiles(&self, wanted: BTreeSet<Tile>) -> Result<Tiles, Fault> {
        let read = async |tile: Tile| {
            let names = [tile.to_string(), tile.full().to_string()];
            Ok((tile, Arc::new(self.fetch(names, MAX_TILE).await?)))
        };
        stream::iter(wanted).map(read).buffer_unordered(PARALLEL).try_collect().await
    }

    async fn bundle(&self, index: u64) -> Result<(u64, Vec<u8>), Fault> {
        let tile = Tile::of(self.size, 0, index);
        let name = |tile: Tile| tile.entries_path();
        let names = tile.and_then(|tile| Some([name(tile)?, name(tile.full())?]));
        // Asked for only where the tree has one.
        let names = names.ok_or_else(|| Fault::Unknown(format!("the tree has no bundle {index}")))?;
        Ok((index, self.fetch(names, MAX_BUNDLE).await?))
    }

    /// A partial object, or the full one that has taken its place.
    async fn fetch(&self, [partial, full]: [String; 2], most: u64) -> Result<Vec<u8>, Fault> {
        let object = |path: &str| format!("{}/{path}", self.folder);
        match self.source.read(&object(&partial), most).await {
            Err(ReadError::Absent { object: missing }) if partial != full => {
                let found = self.source.read(&object(&full), most).await;
                found.map_err(|error| match error {
                    ReadError::Absent { .. } => Failure::Missing { object: missing }.into(),
                    other => other.into(),
                })
            }
            found => Ok(found?),
        }
    }

    fn failure(&self, error: &TreeError<NotFetched>) -> Failure {
        Failure::Tree { folder: self.folder.clone(), why: error.to_string() }
    }
}

/// The first leaf over a bundle.
fn leaf_of(bundle: u64) -> Node {
    Node { level: 0, index: bundle * u64::from(FULL) }
}

/// The hashes of single entries, each of which leads to the root.
pub(crate) struct Hashes<'p, 's> {
    published: &'p Published<'s>,
    tiles: Mutex<Tiles>,
    bundles: Mutex<VecDeque<(u64, Arc<Vec<EntryHash>>)>>,
}

impl<'p, 's> Hashes<'p, 's> {
    pub(crate) fn new(published: &'p Published<'s>) -> Self {
        Self { published, tiles: Mutex::default(), bundles: Mutex::default() }
    }

    /// The hash of an entry: of entry 0, the one that stands for "before entry 1". The tree has the entry.
    pub(crate) async fn of(&self, Index(index): Index) -> Result<EntryHash, Fault> {
        let Some(place) = index.checked_sub(1) else { return Ok(EntryHash::ZERO) };
        let (bundle, place) = (place / u64::from(FULL), (place % u64::from(FULL)) as usize);
        let entries = self.bundle(bundle).await?;
        let missing = || Fault::Unknown(format!("the tree has no entry {index}"));
        entries.get(place).copied().ok_or_else(missing)
    }

    async fn bundle(&self, index: u64) -> Result<Arc<Vec<EntryHash>>, Fault> {
        let kept =
            self.bundles.lock().iter().find(|(kept, _)| *kept == index).map(|(_, kept)| Arc::clone(kept));
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let published = self.published;
        let mut reader = published.reader(self.tiles_over(index).await?)?;
        let (_, bytes) = published.bundle(index).await?;
        let entries = reader.entries(index, &bytes).map_err(|error| published.failure(&error))?;
        let entries = Arc::new(entries);
        let mut bundles = self.bundles.lock();
        bundles.push_back((index, Arc::clone(&entries)));
        if bundles.len() > KEPT {
            bundles.pop_front();
        }
        Ok(entries)
    }

    /// The tiles between a bundle and the root.
    async fn tiles_over(&self, bundle: u64) -> Result<Tiles, Fault> {
        let wanted = tiles_for(self.published.size, [leaf_of(bundle)]);
        let kept = |tiles: &Tiles| -> Tiles {
            let kept = |tile: &Tile| Some((*tile, Arc::clone(tiles.get(tile)?)));
            wanted.iter().filter_map(kept).collect()
        };
        let mut found = kept(&self.tiles.lock());
        let missing = wanted.iter().filter(|tile| !found.contains_key(tile)).copied().collect();
        let fetched = self.published.tiles(missing).await?;
        let mut tiles = self.tiles.lock();
        if tiles.len() > KEPT_TILES {
            tiles.clear();
        }
        tiles.extend(fetched.iter().map(|(tile, bytes)| (*tile, Arc::clone(bytes))));
        found.extend(fetched);
        Ok(found)
    }
}
