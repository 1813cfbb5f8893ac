//! Who builds the stored tree that is measured.

use super::process::{processor, to_f64};
use super::progress::Progress;
use crate::Error;
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use strongroom_agent::tree::{Timeouts, TreeStore};
use strongroom_proto::entry::{Entry, Partition};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, HsmId, Index, Mac, RealmId, RecordId, Term};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Committed;
use strongroom_proto::tree::Tree;
use strongroom_replica::stored::{Advance, Snapshot};

/// How long a sealed leaf is, in bytes.
pub(super) const LEAF_BYTES: usize = 1704;
pub(super) const GROUP: GroupId = GroupId([7; 16]);
/// How many records a snapshot changes.
const CHANGED: u64 = 4096;
/// Over how many changed records processor time is taken: more than housekeeping waits for.
const SPAN: u64 = 150_000;
/// How often a few records change while housekeeping is waited for, and how many.
const PAUSE: Duration = Duration::from_secs(10);
const FEW: u64 = 64;

/// Who changes the tree. It holds only as much of it as the records at hand need.
pub(super) struct Leader<'a> {
    store: &'a TreeStore,
    root: Digest,
    index: u64,
    rng: StdRng,
}

impl<'a> Leader<'a> {
    pub(super) fn new(store: &'a TreeStore) -> Self {
        Self { store, root: Digest::EMPTY, index: 0, rng: StdRng::seed_from_u64(1) }
    }

    /// Puts records 0 to `records` into the tree. Returns the processor time for each of the first and of the last
    /// [`SPAN`], in microseconds.
    pub(super) async fn build(
        &mut self,
        records: u64,
        progress: &mut Progress,
    ) -> Result<Option<(f64, f64)>, Error> {
        let mut used = vec![(0, processor())];
        let mut next = 0;
        while next < records {
            let until = records.min(next.saturating_add(CHANGED));
            self.change((next..until).map(record).collect(), progress.bar()).await?;
            next = until;
            used.push((next, processor()));
            progress.come_to(next)?;
        }
        progress.end();
        let span = SPAN.min(records);
        let first_end = used.partition_point(|(at, _)| *at < span);
        let last_begin = used.partition_point(|(at, _)| *at <= records - span).saturating_sub(1);
        let per_record = |from: usize, to: usize| {
            let ((first, before), (last, after)) = (used.get(from)?, used.get(to)?);
            Some((*after)?.saturating_sub((*before)?).as_secs_f64() * 1e6 / to_f64((last - first).max(1)))
        };
        Ok(per_record(0, first_end).zip(per_record(last_begin, used.len() - 1)))
    }

    /// Changes few records now and then.
    pub(super) async fn settle(&mut self, records: u64, settle: Duration) -> Result<(), Error> {
        let until = Instant::now() + settle;
        while Instant::now() < until {
            let changed: BTreeSet<u64> = (0..FEW).map(|_| self.rng.random_range(0..records.max(1))).collect();
            self.change(changed.into_iter().map(record).collect(), &ProgressBar::hidden()).await?;
            tokio::time::sleep(PAUSE.min(until.saturating_duration_since(Instant::now()))).await;
        }
        Ok(())
    }

    /// One snapshot.
    async fn change(&mut self, changed: Vec<RecordId>, progress: &ProgressBar) -> Result<(), Error> {
        let agent = Timeouts::default();
        let mut tree = Tree::closed(Prefix::WHOLE, self.root);
        for ids in changed.chunks(1024).filter(|_| self.root != Digest::EMPTY) {
            let begun = Instant::now();
            let loaded = self.store.load(ids.iter().map(|id| (Prefix::WHOLE, *id)).collect()).await?;
            tell_slow(progress, "reading", begun.elapsed(), agent.load);
            loaded.pages.iter().for_each(|page| tree.open_page(page));
        }
        tree.update(changed.iter().map(|id| {
            let mut sealed = vec![0; LEAF_BYTES];
            self.rng.fill_bytes(&mut sealed);
            (*id, sealed.into())
        }))?;
        self.root = tree.root();
        self.index += changed.len() as u64;
        let advance = Advance { snapshot: snapshot(self.index, self.root), trees: vec![tree], changed };
        let begun = Instant::now();
        self.store.advance(advance).await?;
        // If it is slow, compaction may be behind, and the snapshot waited for it.
        tell_slow(progress, "a snapshot", begun.elapsed(), agent.advance);
        Ok(())
    }
}

fn tell_slow(progress: &ProgressBar, what: &str, took: Duration, limit: Duration) {
    if took > limit {
        let (took, limit) = (took.as_secs_f64(), limit.as_secs());
        progress.suspend(|| println!("{what} took {took:.1} s; an agent waits {limit} s"));
    }
}

pub(super) fn record(at: u64) -> RecordId {
    let mut id = [0; 32];
    StdRng::seed_from_u64(at).fill_bytes(&mut id);
    RecordId(id)
}

fn snapshot(index: u64, root: Digest) -> Snapshot {
    let hsm = HsmId([3; 16]);
    let entry = Entry {
        realm: RealmId([1; 16]),
        group: GROUP,
        index: Index(index),
        prev: EntryHash([0; 32]),
        leader: hsm,
        term: Term([4; 16]),
        partitions: vec![Partition { prefix: Prefix::WHOLE, root }],
        transfers: 0,
        open: Vec::new(),
        last: false,
        events_hash: Digest::EMPTY,
        mac: Mac(Digest::EMPTY),
    };
    let (index, hash) = (entry.index, entry.hash());
    Snapshot { entry, committed: Committed { hsm, index, hash, mac: Mac(Digest::EMPTY) } }
}
