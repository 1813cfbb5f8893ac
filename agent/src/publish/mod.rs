//! What outsiders can check of a group's log: checkpoints that an HSM signs, and the tree over the log in tiles (C2SP
//! tlog-checkpoint, tlog-tiles).
//!
//! Owns the objects below `groups/<group>/tlog/`. Everything is written before the checkpoint that names it, and follows from the
//! log alone, so two agents that publish at once write the same. Nothing here is trusted: an HSM sums up and signs, and whoever
//! reads verifies.

mod bug;
mod error;
mod metrics;
mod round;
mod shelf;
mod witnesses;

#[cfg(feature = "planted-bugs")]
pub use bug::Bug;
pub use error::PublishError;
pub use metrics::PublishMetrics;
pub use round::Led;
pub use witnesses::{WitnessSettings, witnesses};

#[cfg(not(feature = "planted-bugs"))]
use self::bug::Bug;
use self::shelf::Shelf;
use self::witnesses::{Proves, Signed, Witnesses};
use crate::planted::Planted;
use crate::segments::Segments;
use crate::store::{Purpose, ReplaceOutcome, Store};
use bytes::Bytes;
use futures::future::try_join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use strongroom_proto::change::Evidence;
use strongroom_proto::checkpoint::{body, origin};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::Refusal;
use strongroom_proto::ids::{Ed25519Public, EntryHash, GroupId, Index, RealmId, TreeHash};
use strongroom_proto::statement::{Committed, Head};
use strongroom_proto::tlog::leaf;
use strongroom_replica::ask::Unanswered;
use strongroom_replica::{CreateOutcome, ReadOutcome};
use strongroom_tlog::entries;
use strongroom_tlog::growth::{Edge, WrittenTile};
use strongroom_tlog::reader::{TileReader, tiles_for_consistency};
use strongroom_tlog::tile::{FULL, Tile, edge};
use strongroom_tlog::{
    Checkpoint, ClaimedCheckpoint, KeyName, Note, Policy, Signature, SignatureType, VerifierKey,
};
use tokio::time::Instant;

/// How many entries are summed up in one call: half of what fits in the frame of the smallest HSM at their longest.
const A_CALL: usize = 32;
/// How many entries are published before the next are read, at most, but for the rest of a segment.
const A_STEP: usize = 1024;
/// How old cosignatures become before witnesses are asked again.
const REFRESH: Duration = Duration::from_secs(300);
/// How many objects are written at once.
const WRITES: usize = 8;

/// The next entries, summed up and not yet written.
struct Grown {
    head: Head,
    edge: Edge,
    /// The entries of the last bundle, if it is not full.
    bundle: Vec<EntryHash>,
    tiles: Vec<WrittenTile>,
    bundles: Vec<(String, Vec<u8>)>,
}

/// An HSM that sums up and signs.
pub trait Signs {
    /// What [`strongroom_proto::hsm::Request::ExtendHead`] asks.
    fn extend_head(
        &self,
        from: Option<Head>,
        entries: Vec<Entry>,
    ) -> impl Future<Output = Result<Head, Unanswered>> + Send;

    /// What [`strongroom_proto::hsm::Request::SignHead`] asks.
    fn sign_head(
        &self,
        head: Head,
        committed: Committed,
    ) -> impl Future<Output = Result<[u8; 64], Unanswered>> + Send;
}

/// Where the public finds what is published of a group: the tiles and the checkpoint are below it.
#[must_use]
pub fn folder(group: &GroupId) -> String {
    format!("groups/{group}/tlog")
}

/// The key that a realm's checkpoints of a group are verified with.
///
/// # Errors
/// The key is none that could sign.
pub fn verifier(realm: &RealmId, group: &GroupId, key: &Ed25519Public) -> Result<VerifierKey, PublishError> {
    let name = KeyName::new(origin(realm, group)).map_err(|_| PublishError::Key)?;
    VerifierKey::new(name, SignatureType::Ed25519, key).map_err(|_| PublishError::Key)
}

/// What is published of one group, for whoever leads it.
pub struct Publication<S> {
    realm: RealmId,
    group: GroupId,
    key: VerifierKey,
    store: Store,
    shelf: Shelf,
    hsm: S,
    witnesses: Witnesses,
    reached: Option<Reached>,
    newest: Option<Newest>,
    /// How many rounds failed for good, since one did not.
    hopeless: u32,
    planted: Planted<Bug>,
}

/// The newest checkpoint that was signed here.
struct Newest {
    index: Index,
    root: TreeHash,
    note: Note,
    /// When witnesses were last asked.
    asked: Option<Instant>,
    is_stored: bool,
}

/// How far it has come.
struct Reached {
    head: Option<Head>,
    edge: Edge,
    /// The entries of the last bundle, if it is not full.
    bundle: Vec<EntryHash>,
}

impl Reached {
    fn nothing() -> Self {
        Self { head: None, edge: Edge::default(), bundle: Vec::new() }
    }

    fn position(&self) -> (Index, EntryHash) {
        self.head.as_ref().map_or((Index::ZERO, EntryHash::ZERO), |head| (head.index, head.hash))
    }
}

impl<S: Signs> Publication<S> {
    /// Asks nothing of the store yet.
    ///
    /// # Errors
    /// [`PublishError::Key`].
    pub fn new(
        realm: RealmId,
        group: GroupId,
        key: &Ed25519Public,
        store: &Store,
        hsm: S,
        witnesses: &[WitnessSettings],
    ) -> Result<Self, PublishError> {
        let key = verifier(&realm, &group, key)?;
        let store = store.with_purpose(Purpose::Checkpoints);
        let shelf = Shelf::new(store.clone(), &folder(&group));
        let witnesses = Witnesses::new(witnesses)?;
        let (hopeless, planted) = (0, Planted::none());
        Ok(Self {
            realm,
            group,
            key,
            store,
            shelf,
            hsm,
            witnesses,
            reached: None,
            newest: None,
            hopeless,
            planted,
        })
    }

    /// Leaves this rule out.
    #[cfg(feature = "planted-bugs")]
    pub const fn plant(&mut self, bug: Bug) {
        self.planted.bug = Some(bug);
    }

    /// The last entry that is published.
    ///
    /// # Errors
    /// [`PublishError`]: it cannot be read how far it had come.
    pub async fn reached(&mut self) -> Result<Index, PublishError> {
        if self.reached.is_none() {
            self.reached = Some(self.recall().await?);
        }
        Ok(self.reached.as_ref().map_or(Index::ZERO, |reached| reached.position().0))
    }

    /// Forgets how far it had come: another may go on.
    pub fn forget(&mut self) {
        (self.reached, self.newest, self.hopeless) = (None, None, 0);
    }

    /// The last entry that the newest checkpoint covers which was signed here and is in the store.
    #[must_use]
    pub fn published(&self) -> Option<Index> {
        self.newest.as_ref().filter(|newest| newest.is_stored).map(|newest| newest.index)
    }

    /// Whether a checkpoint of the log up to this entry, or a later one, was signed here, and is in the store.
    fn has_published(&self, index: Index) -> bool {
        self.published().is_some_and(|published| published >= index)
    }

    /// Publishes the tiles of the log up to a committed entry, while `leads` says so, and has the HSM sign that. Returns the last entry
    /// that is in tiles, of which an HSM says that they are of the log.
    ///
    /// # Errors
    /// [`PublishError`]: the next call goes on from where this one came to.
    pub async fn go_on(&mut self, shown: &Evidence, leads: impl Fn() -> bool) -> Result<Index, PublishError> {
        let wanted = shown.committed.index;
        while self.reached().await? < wanted {
            if !leads() {
                return Err(PublishError::Deposed);
            }
            // Taken, and put back only once the store has it all.
            let reached = self.reached.take().unwrap_or_else(Reached::nothing);
            let grown = self.sum_up(reached, wanted).await?;
            if self.planted.has(Bug::CheckpointFirst) && grown.head.index == wanted {
                self.newest = Some(self.sign(grown.head.clone(), shown).await?);
                self.store_checkpoint().await?;
            }
            self.reached = Some(self.write(grown).await?);
        }
        let head = self.reached.as_ref().and_then(|reached| reached.head.clone());
        match head {
            Some(head) if head.index == wanted => self.newest = Some(self.sign(head, shown).await?),
            // Another leader has come further, or the log was taken back.
            Some(head) => return Err(PublishError::OtherLog(head.index)),
            None => {}
        }
        Ok(wanted)
    }

    /// Has witnesses sign the newest checkpoint, as far as they answer, and puts it into the store.
    ///
    /// # Errors
    /// [`PublishError::Store`].
    pub async fn store_checkpoint(&mut self) -> Result<(), PublishError> {
        let Some(newest) = &mut self.newest else { return Ok(()) };
        let mut note = newest.note.clone();
        if !self.witnesses.is_empty() {
            let signed = Signed { size: newest.index.0, root: &newest.root, note: &newest.note };
            let log = Published { store: &self.store, folder: folder(&self.group) };
            let cosignatures = self.witnesses.cosign(signed, &log).await;
            newest.asked = Some(Instant::now());
            note = cosignatures.into_iter().try_fold(note, Note::with).map_err(|_| PublishError::Key)?;
        }
        let (index, root) = (newest.index, newest.root);
        newest.is_stored = false;
        self.put(index, root, note.to_string()).await?;
        if let Some(newest) = &mut self.newest {
            newest.is_stored = true;
        }
        Ok(())
    }

    /// Has witnesses sign the newest checkpoint once more, if that is due: they say when they have seen it.
    ///
    /// # Errors
    /// [`PublishError::Store`].
    pub async fn refresh(&mut self) -> Result<(), PublishError> {
        let asked = self.newest.as_ref().and_then(|newest| newest.asked);
        let is_due = asked.is_some_and(|asked| asked.elapsed() >= REFRESH);
        if is_due { self.store_checkpoint().await } else { Ok(()) }
    }

    /// Puts a checkpoint into the store, unless a later one is there, or another leader puts one there meanwhile: a leader that does not
    /// know that it is deposed may be late.
    async fn put(&self, index: Index, root: TreeHash, note: String) -> Result<(), PublishError> {
        let name = format!("{}/checkpoint", folder(&self.group));
        let seen = self.store.see(&name).await.map_err(|_| PublishError::Store)?;
        let there = seen.as_ref().and_then(|seen| self.verified(&seen.bytes));
        let is_behind =
            |there: Checkpoint| there.size() > index.0 || there.size() == index.0 && *there.root() != root;
        if there.is_some_and(is_behind) && !self.planted.has(Bug::NobodyElsePublishes) {
            return Err(PublishError::OtherLog(index));
        }
        let mut outcome = self.store.replace(&name, seen.as_ref(), note.clone().into()).await;
        if outcome == ReplaceOutcome::Other && self.planted.has(Bug::ReplacesUnseen) {
            let seen = self.store.see(&name).await.map_err(|_| PublishError::Store)?;
            outcome = self.store.replace(&name, seen.as_ref(), note.into()).await;
        }
        match outcome {
            ReplaceOutcome::Replaced => Ok(()),
            ReplaceOutcome::Other | ReplaceOutcome::Unknown => Err(PublishError::Store),
        }
    }

    /// A checkpoint that the realm has signed.
    fn verified(&self, bytes: &[u8]) -> Option<Checkpoint> {
        let policy = Policy::of_log(origin(&self.realm, &self.group), vec![self.key.clone()]).ok()?;
        let verified = ClaimedCheckpoint::parse(bytes).ok()?.verify(&policy).ok()?;
        Some(verified.checkpoint().clone())
    }

    async fn sign(&self, head: Head, shown: &Evidence) -> Result<Newest, PublishError> {
        let (index, root) = (head.index, head.range.root());
        if head.hash != shown.committed.hash {
            return Err(PublishError::OtherLog(index));
        }
        let text = body(&self.realm, &self.group, index, &root);
        let signed = self.hsm.sign_head(head, shown.committed).await;
        let signature = signed.map_err(|unanswered| self.not_summed(unanswered, index))?;
        let note =
            Note::new(text, vec![Signature::new(&self.key, signature)]).map_err(|_| PublishError::Key)?;
        note.verify(std::slice::from_ref(&self.key)).map_err(|_| PublishError::Key)?;
        Ok(Newest { index, root, note, asked: None, is_stored: false })
    }

    /// Sums up the next entries, at most those up to `wanted`.
    async fn sum_up(&self, mut reached: Reached, wanted: Index) -> Result<Grown, PublishError> {
        let (mut entries, mut hashes) = (Vec::new(), Vec::new());
        let (mut at, mut prev) = reached.position();
        let before = at;
        while entries.len() < A_STEP && at < wanted {
            let next = self.read_after(at, &prev).await?;
            for entry in next.into_iter().take_while(|entry| entry.index <= wanted) {
                (at, prev) = (entry.index, entry.hash());
                hashes.push(prev);
                entries.push(entry);
            }
        }
        let mut head = reached.head.take();
        for some in entries.chunks(A_CALL) {
            let summed = self.hsm.extend_head(head, some.to_vec()).await;
            head = Some(summed.map_err(|unanswered| self.not_summed(unanswered, before))?);
        }
        let leaves: Vec<TreeHash> = hashes.iter().map(leaf).collect();
        let tiles = reached.edge.append(&leaves).ok_or(PublishError::OtherTree(at))?;
        let head = head.ok_or(PublishError::OtherTree(at))?;
        if (head.index, head.range.root()) != (at, reached.edge.root()) {
            return Err(PublishError::OtherTree(at));
        }
        let Reached { edge, mut bundle, .. } = reached;
        let bundles = bundles(&tiles, &mut bundle, &hashes);
        Ok(Grown { head, edge, bundle, tiles, bundles })
    }

    /// Writes what was summed up: first what a checkpoint of it needs, then how far it has come.
    async fn write(&self, grown: Grown) -> Result<Reached, PublishError> {
        let Grown { head, edge, bundle, tiles, bundles } = grown;
        if self.planted.has(Bug::HeadFirst) {
            self.shelf.keep(&head).await?;
        }
        if self.planted.has(Bug::TidiesFirst) {
            self.tidy(&tiles).await;
        }
        let written = self.write_all(&tiles, bundles).await;
        if !self.planted.has(Bug::TilesUnsettled) {
            written?;
        }
        // Durable: the tiles are written.
        self.shelf.keep(&head).await?;
        self.tidy(&tiles).await;
        Ok(Reached { head: Some(head), edge, bundle })
    }

    fn not_summed(&self, unanswered: Unanswered, before: Index) -> PublishError {
        match unanswered {
            Unanswered::Refused(Refusal::NotAuthentic) => {
                PublishError::Damaged(format!("{}/head/{:016x}", folder(&self.group), before.0))
            }
            Unanswered::Refused(Refusal::NotConsecutive) => PublishError::OtherLog(before),
            other => PublishError::Hsm(other),
        }
    }

    /// The entries of the segment that goes on after this one.
    async fn read_after(&self, at: Index, hash: &EntryHash) -> Result<Vec<Entry>, PublishError> {
        let segments = Segments { store: &self.store, group: self.group };
        Ok(segments.after(at, hash).await?.into_iter().map(|made| made.entry).collect())
    }

    async fn write_all(
        &self,
        tiles: &[WrittenTile],
        bundles: Vec<(String, Vec<u8>)>,
    ) -> Result<(), PublishError> {
        let tiles = tiles.iter().map(|written| (written.tile.to_string(), written.bytes.clone()));
        let all: Vec<(String, Vec<u8>)> = bundles.into_iter().chain(tiles).collect();
        for some in all.chunks(WRITES) {
            try_join_all(some.iter().map(|(path, bytes)| self.create(path, bytes.clone().into()))).await?;
        }
        Ok(())
    }

    async fn create(&self, path: &str, bytes: Bytes) -> Result<(), PublishError> {
        let name = format!("{}/{path}", folder(&self.group));
        match self.store.create(&name, bytes).await {
            CreateOutcome::Created => Ok(()),
            CreateOutcome::Lost => Err(PublishError::Exists(name)),
            CreateOutcome::Unknown => Err(PublishError::Store),
        }
    }

    /// Deletes the partial tiles that full ones have made unnecessary. What stays only takes space.
    async fn tidy(&self, tiles: &[WrittenTile]) {
        let full = tiles.iter().map(|written| written.tile).filter(Tile::is_full);
        // Only the first of a level was partial before.
        let mut levels = BTreeSet::new();
        for tile in full.filter(|tile| levels.insert(tile.level())) {
            for path in tile.entries_path().into_iter().chain([tile.to_string()]) {
                let folder = format!("{}/{path}.p", folder(&self.group));
                let Ok(names) = self.store.list(&folder, &format!("{folder}/0")).await else { return };
                for name in names {
                    if self.store.delete(&name).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Reads how far it had come.
    async fn recall(&self) -> Result<Reached, PublishError> {
        let Some(head) = self.shelf.newest().await? else {
            return Ok(Reached::nothing());
        };
        let (size, root) = (head.index.0, head.range.root());
        let mut tiles = BTreeMap::new();
        for tile in edge(size) {
            tiles.insert(tile, self.fetch(&tile.to_string(), &tile.full().to_string()).await?);
        }
        let read = TileReader::open(size, &root, |tile| tiles.get(&tile).cloned().ok_or(()));
        let mut reader =
            read.map_err(|_| self.damaged(&format!("tile, the partial ones of {size} entries")))?;
        let bundle = match Tile::of(size, 0, size / u64::from(FULL)) {
            Some(tile) => {
                let path = |tile: Tile| tile.entries_path().unwrap_or_default();
                let bytes = self.fetch(&path(tile), &path(tile.full())).await?;
                let bytes = bytes.get(..usize::from(tile.width()) * entries::ENTRY).unwrap_or(&bytes);
                reader.entries(tile.index(), bytes).map_err(|_| self.damaged(&path(tile)))?
            }
            None => Vec::new(),
        };
        Ok(Reached { head: Some(head), edge: reader.into_edge(), bundle })
    }

    fn damaged(&self, path: &str) -> PublishError {
        PublishError::Damaged(format!("{}/{path}", folder(&self.group)))
    }

    async fn fetch(&self, partial: &str, full: &str) -> Result<Vec<u8>, PublishError> {
        fetch(&self.store, &folder(&self.group), partial, full).await
    }
}

/// Whether anything of this group's log was ever published, as far as the store says: what is not known counts as yes.
pub async fn was_published(store: &Store, group: &GroupId) -> bool {
    let shelf = Shelf::new(store.with_purpose(Purpose::Checkpoints), &folder(group));
    !matches!(shelf.newest().await, Ok(None))
}

/// The tiles of a log, as they are in the store.
struct Published<'a> {
    store: &'a Store,
    folder: String,
}

impl Proves for Published<'_> {
    async fn consistency(
        &self,
        from: u64,
        size: u64,
        root: &TreeHash,
    ) -> Result<Vec<TreeHash>, PublishError> {
        let damaged = || PublishError::Damaged(format!("{}/tile", self.folder));
        let wanted = tiles_for_consistency(from, size).map_err(|_| damaged())?;
        let mut tiles = BTreeMap::new();
        for tile in wanted {
            tiles.insert(
                tile,
                fetch(self.store, &self.folder, &tile.to_string(), &tile.full().to_string()).await?,
            );
        }
        let mut reader = TileReader::open(size, root, |tile| tiles.get(&tile).cloned().ok_or(()))
            .map_err(|_| damaged())?;
        reader.consistency(from).map_err(|_| damaged())
    }
}

/// A partial object below a folder, or the full one in its place.
async fn fetch(store: &Store, folder: &str, partial: &str, full: &str) -> Result<Vec<u8>, PublishError> {
    for path in [partial, full] {
        match store.read(&format!("{folder}/{path}")).await {
            // A full bundle is the longest.
            ReadOutcome::Found(bytes) if bytes.len() <= usize::from(FULL) * entries::ENTRY => {
                return Ok(bytes);
            }
            ReadOutcome::Found(_) => return Err(PublishError::Damaged(format!("{folder}/{path}"))),
            ReadOutcome::Absent => {}
            ReadOutcome::Unavailable => return Err(PublishError::Store),
        }
    }
    Err(PublishError::Damaged(format!("{folder}/{partial}")))
}

/// The bundles that belong to these tiles, when these entries have come after those of the last bundle.
fn bundles(tiles: &[WrittenTile], last: &mut Vec<EntryHash>, new: &[EntryHash]) -> Vec<(String, Vec<u8>)> {
    let mut hashes = std::mem::take(last);
    hashes.extend_from_slice(new);
    let of_leaves = tiles.iter().map(|written| written.tile).filter(|tile| tile.level() == 0);
    let chunks = hashes.chunks(usize::from(FULL));
    let path = |(tile, hashes): (Tile, _)| Some((tile.entries_path()?, entries::bundle(hashes)));
    let bundles = of_leaves.zip(chunks).filter_map(path).collect();
    let full = hashes.len() / usize::from(FULL) * usize::from(FULL);
    *last = hashes.split_off(full);
    bundles
}
