//! Rebuilding a stored tree of a group whose prefixes have come and gone.

use futures::TryStreamExt;
use minicbor::bytes::ByteVec;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strongroom_agent::check::{self, RebuildError, Unwatched};
use strongroom_agent::config::StoreOptions;
use strongroom_agent::store::Store;
use strongroom_agent::tree::{Timeouts, TreeMetrics, TreeSettings, TreeStore};
use strongroom_proto::entry::{Entry, Partition, events_hash};
use strongroom_proto::hsm::SealedLeaf;
use strongroom_proto::ids::{
    Digest, EntryHash, GroupId, HsmId, Index, Mac, RealmId, RecordId, Term, TransferId,
};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Committed;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::Tree;
use strongroom_replica::segment::{Segment, SegmentEntry, SegmentName};
use strongroom_replica::stored::{Advance, Snapshot};
use url::Url;

const HERE: GroupId = GroupId([1; 16]);
const THERE: GroupId = GroupId([2; 16]);
const ID: TransferId = TransferId([3; 16]);
/// A record of the right half, and one of the left.
const MOVES: RecordId = RecordId([0xf0; 32]);
const STAYS: RecordId = RecordId([0x10; 32]);

fn halves() -> (Prefix, Prefix) {
    Prefix::WHOLE.children().unwrap()
}

/// A tree with one record.
fn tree_of(prefix: Prefix, id: RecordId, sealed: &[u8]) -> Tree {
    let mut tree = Tree::new(prefix);
    tree.update([(id, Arc::<[u8]>::from(sealed))]).unwrap();
    tree
}

/// A group's log, as it is written.
struct Log {
    group: GroupId,
    trees: BTreeMap<Prefix, Tree>,
    open: Vec<Transfer>,
    entries: Vec<Entry>,
}

impl Log {
    fn new(group: GroupId, prefixes: &[Prefix]) -> Self {
        let trees = prefixes.iter().map(|prefix| (*prefix, Tree::new(*prefix))).collect();
        Self { group, trees, open: Vec::new(), entries: Vec::new() }
    }

    /// Writes the next entry, as a segment of its own.
    fn push(&mut self, folder: &Path, changed: &[(RecordId, &[u8])]) {
        for (id, sealed) in changed {
            let tree = self.trees.values_mut().find(|tree| tree.prefix().contains(id)).unwrap();
            tree.update([(*id, Arc::<[u8]>::from(*sealed))]).unwrap();
        }
        let prev = self.entries.last().map_or(EntryHash([0; 32]), Entry::hash);
        let entry = Entry {
            realm: RealmId([4; 16]),
            group: self.group,
            index: Index(self.entries.len() as u64 + 1),
            prev,
            leader: HsmId([5; 16]),
            term: Term([6; 16]),
            partitions: self
                .trees
                .values()
                .map(|t| Partition { prefix: t.prefix(), root: t.root() })
                .collect(),
            transfers: 0,
            open: self.open.clone(),
            last: false,
            events_hash: events_hash([]),
            mac: Mac(Digest([7; 32])),
        };
        let leaf = |(record, sealed): &(RecordId, &[u8])| SealedLeaf {
            record: *record,
            sealed: ByteVec::from(sealed.to_vec()),
        };
        let leaves = changed.iter().map(leaf).collect();
        let name = SegmentName::new(self.group, entry.index, &prev);
        let made = SegmentEntry { entry: entry.clone(), leaves, events: Vec::new(), owners: Vec::new() };
        let file = folder.join(name.to_string());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, Segment::new(vec![made]).unwrap().encode().unwrap()).unwrap();
        self.entries.push(entry);
    }

    fn snapshot(&self) -> Snapshot {
        let entry = self.entries.last().unwrap().clone();
        let (index, hash) = (entry.index, entry.hash());
        let committed = Committed { hsm: entry.leader, index, hash, mac: Mac(Digest([8; 32])) };
        Snapshot { entry, committed }
    }
}

struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &StoreOptions::default()).unwrap();
        Self { folder, store }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn tree(&self, group: GroupId) -> TreeStore {
        let timeouts = Timeouts::all(Duration::from_secs(600));
        let settings = TreeSettings { timeouts, ..TreeSettings::default() };
        TreeStore::new(self.store.objects(), self.store.base(), group, settings, TreeMetrics::default())
    }

    /// Stores what a group has at its last entry, with trees that are not its own any more.
    async fn store(&self, log: &Log, gone: &[Tree], changed: &[RecordId]) {
        let tree = self.tree(log.group);
        tree.open().await.unwrap();
        let trees = log.trees.values().chain(gone).cloned().collect();
        tree.advance(Advance { snapshot: log.snapshot(), trees, changed: changed.to_vec() }).await.unwrap();
        tree.close().await;
    }

    async fn rebuilt(&self) -> Result<check::Rebuilt, RebuildError> {
        check::rebuild(&self.store, &self.tree(HERE), HERE, &Unwatched).await
    }

    /// The leaves that a group has stored.
    async fn leaves(&self) -> BTreeMap<RecordId, Vec<u8>> {
        let reader = self.tree(HERE).reader().await.unwrap().unwrap();
        let leaves: Vec<_> = reader.leaves().try_collect().await.unwrap();
        leaves.into_iter().map(|(id, sealed)| (id, sealed.to_vec())).collect()
    }

    async fn assert_sound(&self) {
        let found = check::stored_tree(&self.tree(HERE), &Unwatched).await.unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
    }
}

fn incoming() -> Transfer {
    Transfer::Incoming { id: ID, source: THERE, prefix: halves().1, decisions: 0 }
}

fn outgoing(root: Digest) -> Transfer {
    Transfer::Outgoing { id: ID, destination: THERE, prefix: halves().1, root, decisions: 0 }
}

/// The right half leaves with a record, and comes back with what another group has made of that.
fn left_and_returned(place: &Place) -> Log {
    let (left, right) = halves();
    let mut log = Log::new(HERE, &[left, right]);
    log.push(place.path(), &[]);
    log.push(place.path(), &[(MOVES, b"before"), (STAYS, b"stays")]);
    let gone = log.trees.remove(&right).unwrap();
    log.open = vec![outgoing(gone.root())];
    log.push(place.path(), &[]);
    log.open = vec![incoming()];
    log.push(place.path(), &[]);
    log.open.clear();
    log.trees.insert(right, tree_of(right, MOVES, b"after"));
    log.push(place.path(), &[]);
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_says_from_before_a_prefix_left_and_returned_does_not_count() {
    let place = Place::new();
    let log = left_and_returned(&place);
    place.store(&log, &[], &[MOVES, STAYS]).await;
    let rebuilt = place.rebuilt().await.unwrap();
    assert_eq!((rebuilt.leaves, rebuilt.from_segments, rebuilt.from_groups), (2, 0, 0));
    let leaves = place.leaves().await;
    assert_eq!((leaves[&MOVES].as_slice(), leaves[&STAYS].as_slice()), (&b"after"[..], &b"stays"[..]));
    place.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_left_and_has_not_arrived_is_rebuilt_and_what_lies_beside_is_left_out() {
    let place = Place::new();
    let (left, right) = halves();
    let mut log = Log::new(HERE, &[left, right]);
    log.push(place.path(), &[]);
    log.push(place.path(), &[(MOVES, b"moves"), (STAYS, b"stays")]);
    let gone = log.trees.remove(&right).unwrap();
    log.open = vec![outgoing(gone.root())];
    log.push(place.path(), &[]);
    place.store(&log, std::slice::from_ref(&gone), &[MOVES, STAYS]).await;
    assert_eq!(place.rebuilt().await.unwrap().leaves, 2);
    place.assert_sound().await;
    let there = place.tree(THERE);
    there.open().await.unwrap();
    assert_eq!(there.adopt(right, &place.tree(HERE)).await.unwrap().root, gone.root());
    there.close().await;
    // It has arrived.
    log.open.clear();
    log.push(place.path(), &[]);
    place.store(&log, &[], &[]).await;
    assert_eq!(place.rebuilt().await.unwrap().leaves, 1);
    place.assert_sound().await;
}

/// The other group has the right half stored, with a record, as it let go of it.
async fn stored_there(place: &Place) {
    let tree = tree_of(halves().1, MOVES, b"after");
    let mut log = Log::new(THERE, &[]);
    log.open = vec![outgoing(tree.root())];
    log.push(place.path(), &[]);
    place.store(&log, &[tree], &[MOVES]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_brought_in_comes_from_the_group_that_still_has_it_or_is_named() {
    let place = Place::new();
    left_and_returned(&place);
    // The stored tree is gone altogether.
    let refused = place.rebuilt().await;
    let Err(RebuildError::BroughtIn { prefix, from: Some(THERE), at: Index(5) }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(prefix, halves().1);
    assert!(!place.path().join(format!("groups/{HERE}/tree/current-0000000000000001")).exists());
    stored_there(&place).await;
    let rebuilt = place.rebuilt().await.unwrap();
    assert_eq!((rebuilt.reaches, rebuilt.from_groups), (Index::ZERO, 1));
    assert_eq!(place.leaves().await, BTreeMap::from([(MOVES, b"after".to_vec())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_damaged_tree_lacks_of_a_prefix_that_came_is_taken_from_where_it_was() {
    let place = Place::new();
    let log = left_and_returned(&place);
    // The stored tree has lost the leaf, and the log has only what was before.
    let mut half = Log { trees: log.trees.clone(), entries: log.entries.clone(), ..Log::new(HERE, &[]) };
    half.trees.remove(&halves().1);
    place.store(&half, &[], &[STAYS]).await;
    let refused = place.rebuilt().await;
    assert!(matches!(refused, Err(RebuildError::BroughtIn { at: Index(5), .. })), "{refused:?}");
    stored_there(&place).await;
    let rebuilt = place.rebuilt().await.unwrap();
    assert_eq!((rebuilt.leaves, rebuilt.from_segments, rebuilt.from_groups), (2, 0, 1));
    assert_eq!(place.leaves().await[&MOVES], b"after");
    place.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_stored_snapshot_is_there_for_who_reads_the_log_on() {
    let place = Place::new();
    let (left, right) = halves();
    let mut log = Log::new(HERE, &[left]);
    log.push(place.path(), &[(STAYS, b"stays")]);
    log.open = vec![incoming()];
    log.push(place.path(), &[]);
    place.store(&log, &[], &[STAYS]).await;
    log.open.clear();
    log.trees.insert(right, tree_of(right, MOVES, b"after"));
    log.push(place.path(), &[]);
    let refused = place.rebuilt().await;
    assert!(matches!(refused, Err(RebuildError::BroughtIn { at: Index(3), .. })), "{refused:?}");
    stored_there(&place).await;
    let rebuilt = place.rebuilt().await.unwrap();
    assert_eq!((rebuilt.reaches, rebuilt.leaves, rebuilt.from_groups), (Index(2), 1, 1));
    assert_eq!(place.leaves().await.len(), 2);
}
