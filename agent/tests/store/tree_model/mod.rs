//! A model of a stored tree, and an object store that counts, can be made to hang, and can be damaged.

use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strongroom_agent::tree::{Timeouts, TreeMetrics, TreeSettings, TreeStore};
use strongroom_proto::entry::{Entry, Partition};
use strongroom_proto::ids::{
    Digest, EntryHash, GroupId, HsmId, Index, Mac, RealmId, RecordId, Term, TransferId,
};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Committed;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::Tree;
use strongroom_replica::stored::{Advance, Loaded, Snapshot};

pub(crate) const GROUP: GroupId = GroupId([7; 16]);

/// What the stored tree must be.
pub(crate) struct Model {
    rng: StdRng,
    index: u64,
    pub(crate) group: GroupId,
    /// The group's trees with every leaf open.
    pub(crate) trees: Vec<Tree>,
    /// Those that were merged since the last advance: nothing stored shows their tops.
    pub(crate) merged: Vec<Prefix>,
    pub(crate) leaves: BTreeMap<RecordId, Arc<[u8]>>,
    /// How many decisions the group has made about transfers.
    pub(crate) decisions: u64,
    /// Its transfers that are open.
    pub(crate) open: Vec<Transfer>,
    /// The trees that have left since the last advance.
    pub(crate) gone: Vec<Tree>,
    pub(crate) has_retired: bool,
}

impl Model {
    pub(crate) fn new(seed: u64, prefixes: &[Prefix]) -> Self {
        let trees = prefixes.iter().map(|prefix| Tree::new(*prefix)).collect();
        Self {
            rng: StdRng::seed_from_u64(seed),
            index: 0,
            group: GROUP,
            trees,
            merged: Vec::new(),
            leaves: BTreeMap::new(),
            decisions: 0,
            open: Vec::new(),
            gone: Vec::new(),
            has_retired: false,
        }
    }

    /// The same, as it is now. What it draws after that is of no interest.
    pub(crate) fn copied(&self) -> Self {
        Self {
            rng: StdRng::seed_from_u64(self.index),
            trees: self.trees.clone(),
            merged: self.merged.clone(),
            leaves: self.leaves.clone(),
            open: self.open.clone(),
            gone: self.gone.clone(),
            ..*self
        }
    }

    /// Waits for a prefix.
    pub(crate) fn await_from(&mut self, id: TransferId, prefix: Prefix, source: &Self) {
        let (source, decisions) = (source.group, source.decisions);
        self.open.push(Transfer::Incoming { id, source, prefix, decisions });
    }

    /// Lets go of a prefix. Returns what leaves.
    pub(crate) fn let_go(
        &mut self,
        id: TransferId,
        prefix: Prefix,
        there: &Self,
    ) -> (Tree, BTreeMap<RecordId, Arc<[u8]>>) {
        let at = self.trees.iter().position(|tree| tree.prefix() == prefix).unwrap();
        let tree = self.trees.remove(at);
        self.gone.push(tree.partial(&[]).unwrap());
        let (destination, root, decisions) = (there.group, tree.root(), there.decisions);
        self.open.push(Transfer::Outgoing { id, destination, prefix, root, decisions });
        self.decisions += 1;
        let all = std::mem::take(&mut self.leaves).into_iter();
        let (left, stays) = all.partition(|(id, _)| prefix.contains(id));
        self.leaves = stays;
        (tree, left)
    }

    /// Takes what another has let go of.
    pub(crate) fn take(&mut self, id: TransferId, tree: Tree, leaves: BTreeMap<RecordId, Arc<[u8]>>) {
        self.close(id);
        self.decisions += 1;
        self.trees.push(tree);
        self.trees.sort_by_key(Tree::prefix);
        self.leaves.extend(leaves);
    }

    /// Lists a transfer no longer.
    pub(crate) fn close(&mut self, id: TransferId) {
        self.open.retain(|open| open.id() != id);
    }

    /// A record that may be new, may be near others, and may exist already.
    pub(crate) fn record(&mut self) -> RecordId {
        let mut id = [0; 32];
        self.rng.fill_bytes(&mut id);
        let known = self.leaves.keys().nth(self.rng.random_range(0..self.leaves.len().max(1)));
        match (self.rng.random_range(0..4), known) {
            (0, Some(known)) => return *known,
            (1, Some(known)) => {
                let near = self.rng.random_range(1..32);
                id[..near].copy_from_slice(&known.0[..near]);
            }
            _ => {}
        }
        RecordId(id)
    }

    /// Changes this many records, and returns the advance that gets the stored tree there. Its trees have only what was
    /// changed open: the rest of their pages must come from the store.
    pub(crate) fn change(&mut self, records: usize) -> Advance {
        let mut changed = Vec::new();
        while changed.len() < records {
            let id = self.record();
            if !self.trees.iter().any(|tree| tree.prefix().contains(&id)) || changed.contains(&id) {
                continue;
            }
            let mut sealed = vec![0; self.rng.random_range(1..900)];
            self.rng.fill_bytes(&mut sealed);
            let sealed: Arc<[u8]> = sealed.into();
            self.leaves.insert(id, Arc::clone(&sealed));
            let tree = self.trees.iter_mut().find(|tree| tree.prefix().contains(&id)).unwrap();
            tree.update([(id, sealed)]).unwrap();
            changed.push(id);
        }
        self.index += 1;
        let merged = std::mem::take(&mut self.merged);
        let partial = |tree: &Tree| {
            if merged.contains(&tree.prefix()) {
                return tree.clone();
            }
            let of: Vec<_> = changed.iter().copied().filter(|id| tree.prefix().contains(id)).collect();
            tree.partial(&of).unwrap()
        };
        let mut trees: Vec<Tree> = self.trees.iter().map(partial).collect();
        trees.append(&mut self.gone);
        Advance { snapshot: self.snapshot(), trees, changed }
    }

    /// Splits a tree into its halves, or merges two halves, whichever is possible at a place drawn.
    pub(crate) fn split_or_merge(&mut self) {
        let at = self.rng.random_range(0..self.trees.len());
        let tree = self.trees.remove(at);
        let prefix = tree.prefix();
        let parent = prefix.parent().and_then(|parent| parent.children().map(|halves| (parent, halves)));
        let sibling = parent.and_then(|(parent, (left, right))| {
            let other = if left == prefix { right } else { left };
            let other = self.trees.iter().position(|tree| tree.prefix() == other)?;
            Some((parent, left, other))
        });
        // An entry holds no more than a few.
        let full = self.trees.len() > 12;
        match sibling {
            None if full => self.trees.push(tree),
            Some((parent, left, other)) if full || prefix.len() > 6 || self.rng.random() => {
                let other = self.trees.remove(other);
                let (first, second) = if left == prefix { (tree, other) } else { (other, tree) };
                self.trees.push(Tree::join(&first, &second).unwrap());
                self.merged.push(parent);
            }
            _ => {
                let (first, second) = tree.split().unwrap();
                self.merged.retain(|merged| *merged != prefix);
                self.trees.extend([first, second]);
            }
        }
        self.trees.sort_by_key(Tree::prefix);
    }

    /// The snapshot of its current state.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let partitions =
            self.trees.iter().map(|tree| Partition { prefix: tree.prefix(), root: tree.root() }).collect();
        let of = snapshot(self.index, partitions);
        let (group, open, last) = (self.group, self.open.clone(), self.has_retired);
        stated(Entry { group, open, last, transfers: self.decisions, ..of.entry })
    }

    /// Every record, with the prefix of its tree, and as many that do not exist.
    pub(crate) fn everything(&self, absent: usize) -> Vec<(Prefix, RecordId)> {
        let mut rng = StdRng::seed_from_u64(self.index);
        let mut ids: Vec<_> = self.leaves.keys().copied().collect();
        ids.extend((0..absent).map(|_| {
            let mut id = [0; 32];
            rng.fill_bytes(&mut id);
            RecordId(id)
        }));
        let prefix_of =
            |id: &RecordId| self.trees.iter().map(Tree::prefix).find(|prefix| prefix.contains(id));
        ids.into_iter().filter_map(|id| Some((prefix_of(&id)?, id))).collect()
    }

    /// Opens what was loaded as an agent does, and checks that each of `records` is as in the model. Returns how many
    /// of them could not be read.
    pub(crate) fn check(&self, loaded: &Loaded, records: &[(Prefix, RecordId)]) -> usize {
        let mut trees: Vec<Tree> =
            self.trees.iter().map(|tree| Tree::closed(tree.prefix(), tree.root())).collect();
        for page in &loaded.pages {
            trees.iter_mut().for_each(|tree| tree.open_page(page));
        }
        for (id, sealed) in &loaded.leaves {
            for tree in &mut trees {
                let _fits = tree.open_leaf(id, Arc::clone(sealed));
            }
        }
        let mut unread = 0;
        for (prefix, id) in records {
            let tree = trees.iter().find(|tree| tree.prefix() == *prefix).unwrap();
            match tree.get(id) {
                Ok(sealed) => assert_eq!(sealed, self.leaves.get(id), "a wrong leaf"),
                Err(_) => {
                    assert!(
                        loaded.damaged.iter().any(|(damaged, _)| damaged == id),
                        "{id} is missing, and that was not reported"
                    );
                    unread += 1;
                }
            }
        }
        unread
    }
}

pub(crate) fn snapshot(index: u64, partitions: Vec<Partition>) -> Snapshot {
    let entry = Entry {
        realm: RealmId([1; 16]),
        group: GROUP,
        index: Index(index),
        prev: EntryHash([2; 32]),
        leader: HsmId([3; 16]),
        term: Term([4; 16]),
        partitions,
        transfers: 0,
        open: Vec::new(),
        last: false,
        events_hash: Digest::EMPTY,
        mac: Mac(Digest([5; 32])),
    };
    stated(entry)
}

/// An entry as it is stated to be committed.
pub(crate) fn stated(entry: Entry) -> Snapshot {
    let committed =
        Committed { hsm: entry.leader, index: entry.index, hash: entry.hash(), mac: Mac(Digest([6; 32])) };
    Snapshot { entry, committed }
}

/// The settings of a tree that does not give up.
pub(crate) fn patient() -> TreeSettings {
    TreeSettings { timeouts: Timeouts::all(Duration::from_secs(600)), ..TreeSettings::default() }
}

/// Calls by kind, as the object store sees them.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) get: AtomicU64,
    pub(crate) put: AtomicU64,
    pub(crate) list: AtomicU64,
    pub(crate) delete: AtomicU64,
}

impl Calls {
    /// What was called since it was last asked: get, put, list, delete.
    pub(crate) fn take(&self) -> [u64; 4] {
        [&self.get, &self.put, &self.list, &self.delete].map(|calls| calls.swap(0, Ordering::Relaxed))
    }
}

/// An object store under test.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) under: Arc<dyn ObjectStore>,
    pub(crate) calls: Calls,
    /// No call ends while this is set.
    pub(crate) hangs: AtomicBool,
    /// How long each read takes, in milliseconds.
    pub(crate) read_ms: AtomicU64,
    /// After so many more writes, no call ends. The last of them may be carried out.
    pub(crate) writes_left: AtomicU64,
    pub(crate) last_is_done: AtomicBool,
}

impl Objects {
    pub(crate) fn memory() -> Arc<Self> {
        Self::over(Arc::new(InMemory::new()))
    }

    pub(crate) fn over(under: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self {
            under,
            calls: Calls::default(),
            hangs: AtomicBool::new(false),
            read_ms: AtomicU64::new(0),
            writes_left: AtomicU64::new(u64::MAX),
            last_is_done: AtomicBool::new(false),
        })
    }

    /// The names of all objects.
    pub(crate) async fn names(&self) -> Vec<ObjectPath> {
        self.under.list(None).map_ok(|object| object.location).try_collect().await.unwrap()
    }

    /// All objects.
    pub(crate) async fn all(&self) -> BTreeMap<ObjectPath, bytes::Bytes> {
        let mut all = BTreeMap::new();
        for name in self.names().await {
            let bytes = self.under.get(&name).await.unwrap().bytes().await.unwrap();
            all.insert(name, bytes);
        }
        all
    }

    /// An object store with these objects.
    pub(crate) async fn of(objects: &BTreeMap<ObjectPath, bytes::Bytes>) -> Arc<Self> {
        let memory = InMemory::new();
        for (name, bytes) in objects {
            memory.put(name, bytes.clone().into()).await.unwrap();
        }
        Self::over(Arc::new(memory))
    }

    /// A tree that does not give up: a busy machine is no reason to.
    pub(crate) fn tree(self: &Arc<Self>) -> TreeStore {
        self.tree_with(patient(), TreeMetrics::default())
    }

    /// A tree that gives up as an agent's does.
    pub(crate) fn tree_as_deployed(self: &Arc<Self>) -> TreeStore {
        self.tree_with(TreeSettings::default(), TreeMetrics::default())
    }

    pub(crate) fn tree_with(self: &Arc<Self>, settings: TreeSettings, metrics: TreeMetrics) -> TreeStore {
        let objects: Arc<dyn ObjectStore> = Arc::<Self>::clone(self);
        TreeStore::new(objects, &ObjectPath::from("realm"), GROUP, settings, metrics)
    }

    async fn call(&self, calls: &AtomicU64) {
        calls.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.under)
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, at: &ObjectPath, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.call(&self.calls.put).await;
        let left =
            self.writes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left == Err(0) {
            if !self.hangs.swap(true, Ordering::Relaxed) && self.last_is_done.load(Ordering::Relaxed) {
                self.under.put_opts(at, bytes, options).await?;
            }
            return std::future::pending().await;
        }
        self.under.put_opts(at, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.call(&self.calls.put).await;
        self.under.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        self.call(&self.calls.get).await;
        tokio::time::sleep(Duration::from_millis(self.read_ms.load(Ordering::Relaxed))).await;
        self.under.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        self.calls.delete.fetch_add(1, Ordering::Relaxed);
        self.under.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.calls.list.fetch_add(1, Ordering::Relaxed);
        self.under.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.call(&self.calls.list).await;
        self.under.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        self.call(&self.calls.put).await;
        self.under.copy_opts(from, to, options).await
    }
}
