//! Three groups between which prefixes move, a step at a time, while what has left is deleted and anything may be killed;
//! and a model of what must still be readable.

use crate::tree_model::{Model, Objects, stated};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strongroom_agent::check::{self, Unwatched};
use strongroom_agent::tree::{Sweep, Swept, TreeStore};
use strongroom_proto::entry::Entry;
use strongroom_proto::ids::{Digest, GroupId, RecordId, TransferId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::transfer::Transfer;
use strongroom_proto::tree::Tree;
use strongroom_replica::leftover::{Leftover, deletable};
use strongroom_replica::stored::{Advance, Snapshot};
use tokio::time::sleep;

pub(crate) const GROUPS: usize = 3;

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Planted {
    /// What has left is deleted before it is stored where it went.
    Early,
}

pub(crate) struct Group {
    pub(crate) objects: Arc<Objects>,
    pub(crate) tree: TreeStore,
    pub(crate) model: Model,
    /// The model when the last snapshot was taken.
    stored: Model,
    /// What came since, and from where.
    came: Vec<(Prefix, Digest, usize)>,
    sweep: Option<(Leftover, Sweep)>,
}

enum Stage {
    Copied,
    Awaited,
    Left(Tree, BTreeMap<RecordId, Arc<[u8]>>),
    CopiedAgain(Tree, BTreeMap<RecordId, Arc<[u8]>>),
    Taken,
}

struct Moving {
    id: TransferId,
    prefix: Prefix,
    from: usize,
    to: usize,
    stage: Stage,
}

/// What happened.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) steps: u32,
    pub(crate) all: u32,
    pub(crate) kept: u32,
    pub(crate) moved: u32,
    pub(crate) kills: u32,
    pub(crate) rebuilt: u32,
    pub(crate) given_up: u32,
    pub(crate) returned: u32,
}

pub(crate) struct Realm {
    rng: StdRng,
    pub(crate) groups: Vec<Group>,
    moves: Vec<Moving>,
    next_id: u8,
    planted: Option<Planted>,
    /// Whether no record changes.
    pub(crate) is_quiet: bool,
    pub(crate) tally: Tally,
}

impl Realm {
    pub(crate) async fn new(seed: u64, records: usize, planted: Option<Planted>) -> Self {
        let (left, right) = Prefix::WHOLE.children().unwrap();
        let mut groups = Vec::new();
        for at in 0..GROUPS {
            let owned = if at == 0 { vec![left, right] } else { Vec::new() };
            let mut model = Model::new(seed + 100 * at as u64, &owned);
            model.group = GroupId([u8::try_from(at).unwrap() + 1; 16]);
            let objects = Objects::memory();
            let tree = objects.tree();
            tree.open().await.unwrap();
            let stored = model.copied();
            groups.push(Group { objects, tree, model, stored, came: Vec::new(), sweep: None });
        }
        let rng = StdRng::seed_from_u64(seed);
        let (moves, tally) = (Vec::new(), Tally::default());
        let mut realm = Self { rng, groups, moves, next_id: 1, planted, is_quiet: false, tally };
        for at in 0..GROUPS {
            realm.advance(at, if at == 0 { records } else { 0 }).await;
        }
        realm
    }

    pub(crate) async fn advance(&mut self, at: usize, records: usize) {
        let group = &mut self.groups[at];
        // What has come is stored as it came first.
        let may_change = !group.model.trees.is_empty() && group.came.is_empty() && !self.is_quiet;
        let advance = group.model.change(if may_change { records } else { 0 });
        group.tree.advance(advance).await.unwrap();
        group.stored = group.model.copied();
        group.came.clear();
    }

    /// As after a kill: nothing is closed.
    pub(crate) async fn kill(&mut self, at: usize) {
        self.groups[at].tree = self.groups[at].objects.tree();
        self.groups[at].tree.open().await.unwrap();
        self.groups[at].sweep = None;
        self.tally.kills += 1;
    }

    fn is_moving(&self, prefix: &Prefix) -> bool {
        self.moves.iter().any(|moving| moving.prefix.overlaps(prefix))
    }

    /// Begins to move a prefix: copies what there is.
    pub(crate) async fn begin(&mut self, prefix: Prefix, from: usize, to: usize) {
        let id = TransferId([self.next_id; 16]);
        self.next_id += 1;
        let (source, destination) = (self.groups[from].tree.clone(), self.groups[to].tree.clone());
        let before = destination.leftovers().await.unwrap().1;
        self.tally.returned += u32::from(before.iter().any(|leftover| leftover.prefix.overlaps(&prefix)));
        let most = self.rng.random_range(1..20);
        // What is deleted at the same time may be what is copied back.
        let sweeping = self.rng.random();
        let sweep = async {
            if sweeping {
                self.sweep(to, most).await;
            }
        };
        let (adopted, ()) = tokio::join!(destination.adopt(prefix, &source), sweep);
        adopted.unwrap();
        self.moves.push(Moving { id, prefix, from, to, stage: Stage::Copied });
    }

    /// Takes the next step of a move. Returns whether it goes on.
    pub(crate) async fn go_on(&mut self, at: usize) -> bool {
        let Moving { id, prefix, from, to, stage } = self.moves.remove(at);
        let stage = match stage {
            Stage::Copied => {
                let source = self.groups[from].model.copied();
                self.groups[to].model.await_from(id, prefix, &source);
                if self.rng.random() {
                    self.advance(to, 1).await;
                }
                Stage::Awaited
            }
            Stage::Awaited => {
                let awaited = self.groups[to].model.open.iter().find(|open| open.id() == id);
                let Some(Transfer::Incoming { decisions, .. }) = awaited.copied() else { panic!("awaited") };
                if decisions != self.groups[from].model.decisions {
                    self.groups[to].model.close(id);
                    self.groups[to].model.decisions += 1;
                    self.tally.given_up += 1;
                    return false;
                }
                let there = self.groups[to].model.copied();
                let (tree, leaves) = self.groups[from].model.let_go(id, prefix, &there);
                self.advance(from, 1).await;
                Stage::Left(tree, leaves)
            }
            Stage::Left(tree, leaves) => {
                let source = self.groups[from].tree.clone();
                let adopted = self.groups[to].tree.adopt(prefix, &source).await.unwrap();
                assert_eq!(adopted.root, tree.root(), "it is not what has left");
                Stage::CopiedAgain(tree, leaves)
            }
            Stage::CopiedAgain(tree, leaves) => {
                let to = &mut self.groups[to];
                to.came.push((prefix, tree.root(), from));
                to.model.take(id, tree, leaves);
                Stage::Taken
            }
            Stage::Taken => {
                // Agents wait for the snapshot; HSMs do not.
                if self.rng.random_range(0..3) > 0 && !self.groups[to].came.is_empty() {
                    self.advance(to, 1).await;
                }
                self.groups[from].model.close(id);
                self.groups[from].model.decisions += 1;
                self.advance(from, 1).await;
                self.tally.moved += 1;
                return false;
            }
        };
        self.moves.push(Moving { id, prefix, from, to, stage });
        true
    }

    /// What a group's tree reaches, by what is stored.
    async fn reaches(&self, at: usize) -> Snapshot {
        self.groups[at].objects.tree().read_snapshot().await.unwrap().unwrap()
    }

    /// Takes some steps of deleting what is left over.
    pub(crate) async fn sweep(&mut self, at: usize, most: usize) {
        if self.groups[at].sweep.is_none() {
            let (_, leftovers) = self.groups[at].tree.leftovers().await.unwrap();
            if leftovers.is_empty() {
                return;
            }
            let leftover = leftovers[self.rng.random_range(0..leftovers.len())];
            self.groups[at].sweep = Some((leftover, Sweep::new(leftover)));
        }
        let Some((leftover, mut sweep)) = self.groups[at].sweep.take() else { return };
        let to = self.groups.iter().position(|group| group.model.group == leftover.destination).unwrap();
        let mut there = self.reaches(to).await;
        if self.planted == Some(Planted::Early) {
            there = stated(Entry { transfers: u64::MAX, open: Vec::new(), ..there.entry });
        }
        for _ in 0..self.rng.random_range(1..5) {
            let model = &self.groups[at].model;
            let open = model.open.iter().map(Transfer::prefix);
            let concerned: Vec<Prefix> = model.trees.iter().map(Tree::prefix).chain(open).collect();
            let is_free = |prefix: &Prefix| !concerned.iter().any(|other| other.overlaps(prefix));
            match self.groups[at].tree.sweep(&mut sweep, &there, is_free, most).await.unwrap() {
                Swept::Some => self.tally.steps += 1,
                Swept::Kept => {
                    self.tally.kept += 1;
                    return;
                }
                Swept::All => {
                    self.tally.all += 1;
                    return;
                }
            }
        }
        self.groups[at].sweep = Some((leftover, sweep));
    }

    /// Deletes all that may be deleted. Returns how many pages and leaves that were.
    pub(crate) async fn sweep_all(&mut self, at: usize, most: usize) -> u64 {
        let (own, leftovers) = self.groups[at].tree.leftovers().await.unwrap();
        let mut stored = Vec::new();
        for other in 0..GROUPS {
            stored.push(self.reaches(other).await);
        }
        let there = |group: &GroupId| stored.iter().find(|there| there.entry.group == *group);
        let mut deleted = 0;
        for leftover in deletable(&leftovers, &own.unwrap().entry, there) {
            let mut sweep = Sweep::new(leftover);
            let there = there(&leftover.destination).unwrap();
            while self.groups[at].tree.sweep(&mut sweep, there, |_| true, most).await.unwrap() == Swept::Some
            {
            }
            deleted += sweep.deleted;
        }
        deleted
    }

    /// Everything that a group owns is there, and nothing is wrong with it. Returns how much there is beside it.
    pub(crate) async fn check(&self, at: usize) -> u64 {
        let group = &self.groups[at];
        let records = group.model.everything(10);
        let loaded = group.tree.load(records.clone()).await.unwrap();
        assert_eq!(group.model.check(&loaded, &records), 0, "records are lost");
        let found = check::stored_tree(&group.objects.tree(), &Unwatched).await.unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        found.beside
    }

    /// Loses the tree of a group, and makes it again from its leaves and, what came since, from where that was.
    async fn rebuild(&mut self, at: usize) {
        let is_source = self.groups.iter().any(|group| group.came.iter().any(|(.., from)| *from == at));
        let has_left = self.groups[at].stored.open.iter().any(|o| matches!(o, Transfer::Outgoing { .. }));
        if is_source || has_left || self.groups[at].came.is_empty() {
            return;
        }
        let objects = Objects::memory();
        let tree = objects.tree();
        tree.open().await.unwrap();
        let stored = &self.groups[at].stored;
        let (trees, changed) = (stored.trees.clone(), stored.leaves.keys().copied().collect());
        tree.advance(Advance { snapshot: stored.snapshot(), trees, changed }).await.unwrap();
        for (prefix, root, from) in &self.groups[at].came {
            let source = &self.groups[*from].tree;
            tree.adopt_root(*prefix, *root, source).await.expect("what came is lost");
        }
        let group = &mut self.groups[at];
        (group.objects, group.tree, group.sweep) = (objects, tree, None);
        // What was copied and has not come is copied again by whoever goes on.
        self.moves.retain_mut(|moving| {
            if let Stage::CopiedAgain(tree, leaves) = &mut moving.stage
                && moving.to == at
            {
                moving.stage = Stage::Left(tree.clone(), std::mem::take(leaves));
            }
            true
        });
        self.tally.rebuilt += 1;
        self.check(at).await;
    }

    /// Whatever comes next.
    pub(crate) async fn step(&mut self) {
        // Files are merged meanwhile.
        sleep(Duration::from_secs(5)).await;
        let at = self.rng.random_range(0..GROUPS);
        match self.rng.random_range(0..16) {
            0 => self.advance(at, 3).await,
            1 => {
                let tops: Vec<Prefix> = self.groups[at].model.trees.iter().map(Tree::prefix).collect();
                if !tops.is_empty()
                    && self.groups[at].came.is_empty()
                    && !tops.iter().any(|top| self.is_moving(top))
                {
                    self.groups[at].model.split_or_merge();
                    self.advance(at, 1).await;
                }
            }
            2 | 3 => {
                let tops: Vec<Prefix> = self.groups[at].model.trees.iter().map(Tree::prefix).collect();
                let to = (at + self.rng.random_range(1..GROUPS)) % GROUPS;
                let stored: Vec<Prefix> = self.groups[to].stored.trees.iter().map(Tree::prefix).collect();
                let prefix = tops.into_iter().find(|top| {
                    let came = self.groups[at].came.iter().any(|(prefix, ..)| prefix.overlaps(top));
                    !self.is_moving(top) && !came && !stored.iter().any(|stored| stored.overlaps(top))
                });
                if let Some(prefix) = prefix {
                    self.begin(prefix, at, to).await;
                }
            }
            4..=7 if !self.moves.is_empty() => {
                let at = self.rng.random_range(0..self.moves.len());
                self.go_on(at).await;
            }
            8..=12 => {
                let most = self.rng.random_range(1..60);
                self.sweep(at, most).await;
            }
            13 => self.kill(at).await,
            14 => self.rebuild(at).await,
            _ => {
                self.check(at).await;
            }
        }
    }

    /// Brings everything to its end, and deletes what may be deleted: nothing lies beside what is owned, unless something was
    /// copied and given up.
    pub(crate) async fn finish(&mut self) {
        while !self.moves.is_empty() {
            self.go_on(0).await;
        }
        for at in 0..GROUPS {
            self.advance(at, 2).await;
        }
        for at in 0..GROUPS {
            self.sweep_all(at, 11).await;
            let beside = self.check(at).await;
            assert!(beside == 0 || self.tally.given_up > 0, "{beside} pages and leaves stay for ever");
        }
    }
}
