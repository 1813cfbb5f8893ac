//! A simulated object store that only creates and deletes, with the stored tree beside it.

use super::bug::{HostBug, HostBugs};
use super::tree::{StoredTree, Writer};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strongroom_proto::ids::{EntryHash, Index, RecordId};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::segment::{Segment, SegmentName};
use strongroom_replica::stored::{Advance, TreeFailure};
use strongroom_replica::{CreateOutcome, Event, LoadId, ReadOutcome, Unavailable};

/// What an agent asks of the store.
#[derive(Clone, Debug)]
pub(super) enum StoreRequest {
    Write(SegmentName, Arc<[u8]>),
    List(Index),
    Read(SegmentName),
    Collect(Index),
    OpenTree,
    ReadSnapshot,
    Load(LoadId, Vec<(Prefix, RecordId)>),
    Advance(Box<Advance>),
}

impl StoreRequest {
    /// What is asked, without the bytes.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Write(name, bytes) => format!("writes {name}, {} bytes", bytes.len()),
            Self::Advance(advance) => {
                format!("stores {} records up to {}", advance.changed.len(), advance.snapshot.entry.hash())
            }
            other => format!("{other:?}"),
        }
    }
}

/// What goes wrong with one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreFault {
    /// Nothing.
    None,
    /// It is carried out, but the store's answer is lost. Of a deletion of many objects, some are deleted.
    AnswerLost,
    /// It is not carried out, and the store does not answer.
    Unavailable,
    /// The store does not answer in time. A write is carried out later; anything else is not.
    Late,
}

/// How often the store was asked for something.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoreCalls {
    /// Segments written.
    pub writes: u64,
    /// Listings, including those before a deletion.
    pub lists: u64,
    /// Segments read.
    pub reads: u64,
    /// Segments deleted.
    pub deletes: u64,
    /// Openings of the tree for writing.
    pub opens: u64,
    /// Readings of what the tree reaches.
    pub snapshot_reads: u64,
    /// Snapshots.
    pub advances: u64,
    /// Readings of paths in the tree.
    pub loads: u64,
    /// Pages read from the tree.
    pub pages: u64,
    /// Leaves read from the tree.
    pub leaves: u64,
}

impl StoreCalls {
    /// Requests of a replica, each counted once, whatever it costs.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.writes + self.lists + self.reads + self.opens + self.snapshot_reads + self.advances + self.loads
    }

    /// What was asked since `earlier`.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            writes: self.writes - earlier.writes,
            lists: self.lists - earlier.lists,
            reads: self.reads - earlier.reads,
            deletes: self.deletes - earlier.deletes,
            opens: self.opens - earlier.opens,
            snapshot_reads: self.snapshot_reads - earlier.snapshot_reads,
            advances: self.advances - earlier.advances,
            loads: self.loads - earlier.loads,
            pages: self.pages - earlier.pages,
            leaves: self.leaves - earlier.leaves,
        }
    }
}

/// The objects.
#[derive(Default)]
pub struct Store {
    /// The stored tree.
    pub tree: StoredTree,
    objects: BTreeMap<SegmentName, Arc<[u8]>>,
    /// What was deleted because a snapshot made it unnecessary.
    collected: BTreeMap<SegmentName, Arc<[u8]>>,
    /// Entries of segments that were written where one had been deleted, and of those after them.
    strays: BTreeSet<EntryHash>,
    /// When each object was created.
    created: BTreeMap<SegmentName, u64>,
    pub(super) now: u64,
    pub(super) listing_lag_ms: u64,
    calls: StoreCalls,
    calls_of: BTreeMap<usize, StoreCalls>,
    pub(super) bugs: HostBugs,
}

impl Store {
    /// All objects, by name.
    pub fn objects(&self) -> impl Iterator<Item = (&SegmentName, &Arc<[u8]>)> {
        self.objects.iter()
    }

    /// What was deleted because a snapshot made it unnecessary.
    pub fn collected(&self) -> impl Iterator<Item = (&SegmentName, &Arc<[u8]>)> {
        self.collected.iter()
    }

    /// Removes an object, as no store should.
    pub fn lose(&mut self, name: &SegmentName) -> Option<Arc<[u8]>> {
        self.objects.remove(name)
    }

    /// Puts an object there, whatever was there before, as no store should.
    pub fn put(&mut self, name: SegmentName, bytes: Arc<[u8]>) {
        self.objects.insert(name, bytes);
    }

    /// What was asked of it so far.
    #[must_use]
    pub const fn calls(&self) -> StoreCalls {
        self.calls
    }

    /// What one member's agent has asked of it so far.
    #[must_use]
    pub fn calls_of(&self, member: usize) -> StoreCalls {
        self.calls_of.get(&member).copied().unwrap_or_default()
    }

    /// The segment that was the first of its name.
    pub(super) fn original(&self, name: &SegmentName) -> Option<&Arc<[u8]>> {
        self.collected.get(name).or_else(|| self.objects.get(name))
    }

    /// Whether a segment is off the log that a reader from an older entry would follow: it was written where the log's
    /// own had been deleted.
    #[must_use]
    pub fn has_strays(&self) -> bool {
        let mut segments = self.objects.values().filter_map(|bytes| Segment::decode(bytes).ok());
        segments.any(|segment| self.strays.contains(&segment.last().hash()))
    }

    pub(super) fn is_stray(&self, entry: &EntryHash) -> bool {
        self.strays.contains(entry)
    }

    pub(super) fn handle(
        &mut self,
        rng: &mut StdRng,
        writer: Writer,
        request: StoreRequest,
        fault: StoreFault,
    ) -> Event {
        let mut calls = StoreCalls::default();
        let event = match request {
            StoreRequest::Write(name, bytes) => {
                calls.writes = 1;
                let outcome = match fault {
                    StoreFault::Unavailable | StoreFault::Late => CreateOutcome::Unknown,
                    StoreFault::AnswerLost => {
                        self.create(name, bytes);
                        CreateOutcome::Unknown
                    }
                    StoreFault::None => self.create(name, bytes),
                };
                Event::Wrote { name, outcome }
            }
            StoreRequest::List(from) => {
                calls.lists = 1;
                let result = if fault == StoreFault::None { Ok(self.list(from)) } else { Err(Unavailable) };
                Event::Listed { result }
            }
            StoreRequest::Read(name) => {
                calls.reads = 1;
                let result = match self.objects.get(&name) {
                    _ if fault != StoreFault::None => ReadOutcome::Unavailable,
                    Some(bytes) => ReadOutcome::Found(bytes.to_vec()),
                    None => ReadOutcome::Absent,
                };
                Event::Read { name, result }
            }
            StoreRequest::Collect(before) => {
                let deleted = self.collect(before, |_| match fault {
                    StoreFault::None => true,
                    StoreFault::AnswerLost => rng.random(),
                    StoreFault::Unavailable | StoreFault::Late => false,
                });
                (calls.lists, calls.deletes) = (1, deleted as u64);
                Event::Collected { deleted }
            }
            StoreRequest::OpenTree
            | StoreRequest::ReadSnapshot
            | StoreRequest::Load(..)
            | StoreRequest::Advance(_) => self.handle_tree(&mut calls, writer, request, fault),
        };
        self.calls.add(&calls);
        self.calls_of.entry(writer.0).or_default().add(&calls);
        event
    }

    fn handle_tree(
        &mut self,
        calls: &mut StoreCalls,
        writer: Writer,
        request: StoreRequest,
        fault: StoreFault,
    ) -> Event {
        let answered = |_: &()| fault == StoreFault::None;
        let result = Some(()).filter(answered).ok_or(TreeFailure::Unavailable);
        match request {
            StoreRequest::OpenTree => {
                calls.opens = 1;
                let done = matches!(fault, StoreFault::None | StoreFault::AnswerLost);
                let snapshot = if done { self.tree.open(writer) } else { None };
                if result.is_err() {
                    // An agent that was not told that it is open cannot use it.
                    self.tree.close(writer);
                }
                Event::TreeOpened { result: result.map(|()| snapshot) }
            }
            StoreRequest::Load(load, records) => {
                calls.loads = 1;
                let result = result.and_then(|()| self.tree.load(writer, &records));
                if let Ok(loaded) = &result {
                    (calls.pages, calls.leaves) = (loaded.pages.len() as u64, loaded.leaves.len() as u64);
                }
                Event::Loaded { load, result }
            }
            StoreRequest::Advance(advance) => {
                calls.advances = 1;
                let stored = match fault {
                    StoreFault::Unavailable | StoreFault::Late => Ok(()),
                    StoreFault::None | StoreFault::AnswerLost => self.tree.advance(writer, *advance),
                };
                Event::Advanced { result: result.and(stored) }
            }
            _ => {
                calls.snapshot_reads = 1;
                Event::SnapshotRead { result: result.map(|()| self.tree.snapshot().cloned()) }
            }
        }
    }

    /// Deletes the segments whose first index is less than `before` and that `may` allows; returns how many.
    pub(super) fn collect(&mut self, before: Index, mut may: impl FnMut(&SegmentName) -> bool) -> usize {
        let old = self.objects.keys().copied().filter(|name| name.first < before);
        let deleted: Vec<SegmentName> = old.filter(|name| may(name)).collect();
        for name in &deleted {
            if let Some(bytes) = self.objects.remove(name) {
                self.collected.entry(*name).or_insert(bytes);
            }
        }
        deleted.len()
    }

    fn list(&self, from: Index) -> Vec<SegmentName> {
        let shown = |name: &SegmentName| {
            let created = self.created.get(name).copied().unwrap_or(0);
            name.first >= from && created.saturating_add(self.listing_lag_ms) <= self.now
        };
        self.objects.keys().copied().filter(shown).collect()
    }

    pub(super) fn create(&mut self, name: SegmentName, bytes: Arc<[u8]>) -> CreateOutcome {
        if self.bugs.has(HostBug::CreateReplaces) {
            self.objects.insert(name, bytes);
            return CreateOutcome::Created;
        }
        let there = self.objects.entry(name).or_insert_with(|| {
            self.created.insert(name, self.now);
            Arc::clone(&bytes)
        });
        if *there != bytes {
            return CreateOutcome::Lost;
        }
        let segment = Segment::decode(&bytes).expect("what a replica writes is a segment");
        let replaced = self.collected.get(&name).is_some_and(|original| *original != bytes);
        if replaced || self.strays.contains(&segment.first().prev) {
            self.mark_strays(&segment);
        }
        CreateOutcome::Created
    }
}

impl Store {
    /// Marks the entries of a segment as off the log, and those of all segments that follow it, no matter which were
    /// written first, and whether or not they have been deleted since.
    fn mark_strays(&mut self, segment: &Segment) {
        let mut found = vec![segment.clone()];
        while let Some(stray) = found.pop() {
            self.strays.extend(stray.entries().iter().map(|made| made.entry.hash()));
            let last = stray.last().hash();
            let ever = self.objects.values().chain(self.collected.values());
            let following = ever.filter_map(|bytes| Segment::decode(bytes).ok());
            found.extend(following.filter(|segment| segment.first().prev == last));
        }
    }
}

impl StoreCalls {
    fn add(&mut self, more: &Self) {
        self.writes += more.writes;
        self.lists += more.lists;
        self.reads += more.reads;
        self.deletes += more.deletes;
        self.opens += more.opens;
        self.snapshot_reads += more.snapshot_reads;
        self.advances += more.advances;
        self.loads += more.loads;
        self.pages += more.pages;
        self.leaves += more.leaves;
    }
}
