//! What a group has let go of is deleted from its stored tree, and nothing that may still be needed.

use crate::tree_model::{Model, Objects, snapshot_of};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::time::Duration;
use strongroom_agent::check::{self, Unwatched};
use strongroom_agent::tree::{Swept, TreeStore};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::stored::Advance;

fn halves() -> (Prefix, Prefix) {
    Prefix::WHOLE.children().unwrap()
}

/// A group with both halves, and another with none.
struct Groups {
    objects: [Arc<Objects>; 2],
    trees: [TreeStore; 2],
    models: [Model; 2],
}

impl Groups {
    async fn new(seed: u64, records: usize) -> Self {
        let objects = [Objects::memory(), Objects::memory()];
        let (left, right) = halves();
        let models = [Model::new(seed, &[left, right]), Model::new(seed + 100, &[])];
        let trees = [objects[0].tree(), objects[1].tree()];
        let mut groups = Self { objects, trees, models };
        for at in 0..2 {
            groups.trees[at].open().await.unwrap();
        }
        groups.advance(0, records).await;
        groups.advance(1, 0).await;
        groups
    }

    async fn advance(&mut self, at: usize, records: usize) {
        let advance = self.models[at].change(records);
        self.trees[at].advance(advance).await.unwrap();
    }

    /// As after a kill: nothing is closed.
    async fn begin_again(&mut self, at: usize) {
        self.trees[at] = self.objects[at].tree();
        self.trees[at].open().await.unwrap();
    }

    /// Copies, awaits, lets go, copies again, takes.
    async fn move_to(&mut self, prefix: Prefix, to: usize) {
        self.trees[to].adopt(prefix, &self.trees[1 - to]).await.unwrap();
        self.models[to].awaits(prefix);
        let (tree, leaves) = self.models[1 - to].let_go(prefix);
        self.advance(1 - to, 0).await;
        let adopted = self.trees[to].adopt(prefix, &self.trees[1 - to]).await.unwrap();
        assert_eq!(adopted.root, tree.root());
        self.models[to].take(tree, leaves);
        self.advance(to, 0).await;
    }

    async fn close(&mut self, at: usize) {
        self.models[at].open.clear();
        self.advance(at, 0).await;
    }

    async fn sweep_all(&self, at: usize) -> usize {
        let mut deleted = 0;
        while let Swept::Deleted(some) = self.trees[at].sweep(10_000).await.unwrap() {
            deleted += some;
        }
        deleted
    }

    /// Everything that a group owns is there, and nothing is wrong with it. Returns how much there is beside it.
    async fn check(&self, at: usize) -> u64 {
        let records = self.models[at].everything(20);
        let loaded = self.trees[at].load(records.clone()).await.unwrap();
        assert_eq!(self.models[at].check(&loaded, &records), 0);
        let found = check::stored_tree(&self.objects[at].tree(), &Unwatched).await.unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        found.beside
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_left_stays_until_it_has_arrived_and_then_all_of_it_is_deleted() {
    let mut groups = Groups::new(1, 60).await;
    let (_, right) = halves();
    groups.move_to(right, 1).await;
    assert_eq!(groups.trees[0].sweep(10_000).await, Ok(Swept::Nothing), "it is not closed");
    groups.begin_again(1).await;
    groups.trees[1].adopt(right, &groups.trees[0]).await.unwrap_err();
    groups.close(0).await;
    assert!(groups.check(0).await > 0);
    assert!(groups.sweep_all(0).await > 20);
    assert_eq!(groups.check(0).await, 0);
    assert_eq!(groups.sweep_all(1).await, 0);
    assert_eq!(groups.check(1).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_before_this_leadership_has_written_a_snapshot() {
    let mut groups = Groups::new(2, 30).await;
    groups.move_to(halves().0, 1).await;
    groups.close(0).await;
    groups.begin_again(0).await;
    assert_eq!(groups.trees[0].sweep(10_000).await, Ok(Swept::Nothing));
    groups.advance(0, 1).await;
    assert!(groups.sweep_all(0).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_copied_and_is_not_awaited_yet_stays_while_others_are_deleted() {
    let mut groups = Groups::new(3, 40).await;
    let (left, right) = halves();
    groups.move_to(right, 1).await;
    groups.close(0).await;
    groups.trees[1].adopt(left, &groups.trees[0]).await.unwrap();
    groups.advance(1, 5).await;
    assert_eq!(groups.sweep_all(1).await, 0);
    assert_eq!(groups.trees[1].adopt(left, &groups.trees[0]).await.unwrap().records, 0);
}

/// Steps of any length, with kills at any point, while prefixes go to and fro, and copies are given up.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_returns_while_it_is_deleted_is_whole_wherever_that_was_killed() {
    let (mut deleted_some, mut given_up) = (0, 0);
    for seed in 40..42 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut groups = Groups::new(seed, 30).await;
        let (left, right) = halves();
        for _ in 0..6 {
            let prefix = if rng.random() { left } else { right };
            let from = usize::from(!groups.models[0].trees.iter().any(|tree| tree.prefix() == prefix));
            let to = 1 - from;
            for at in [from, to] {
                if rng.random() {
                    groups.begin_again(at).await;
                    groups.advance(at, if groups.models[at].trees.is_empty() { 0 } else { 3 }).await;
                }
                for _ in 0..rng.random_range(0..4) {
                    let swept = groups.trees[at].sweep(rng.random_range(1..40)).await.unwrap();
                    deleted_some += u32::from(matches!(swept, Swept::Deleted(_)));
                }
            }
            // Deleting and copying at once, and a copy that is given up.
            let us = rng.random_range(0..200_000);
            let sweeping = async {
                for _ in 0..3 {
                    groups.trees[to].sweep(20).await.unwrap();
                }
            };
            let copying = groups.trees[to].adopt(prefix, &groups.trees[from]);
            let copying = tokio::time::timeout(Duration::from_micros(us), copying);
            let (copied, ()) = tokio::join!(copying, sweeping);
            if copied.is_err() && rng.random() {
                given_up += 1;
                groups.begin_again(to).await;
                groups.advance(to, 0).await;
                groups.trees[to].sweep(30).await.unwrap();
            }
            groups.advance(from, 4).await;
            groups.move_to(prefix, to).await;
            groups.trees[to].sweep(50).await.unwrap();
            if rng.random() {
                groups.begin_again(to).await;
            }
            groups.check(to).await;
            groups.close(from).await;
            groups.trees[from].sweep(rng.random_range(1..100)).await.unwrap();
            groups.check(from).await;
        }
        for at in 0..2 {
            groups.begin_again(at).await;
            groups.advance(at, 0).await;
            groups.sweep_all(at).await;
            assert_eq!(groups.check(at).await, 0, "seed {seed}");
        }
    }
    assert!(deleted_some > 5 && given_up > 0, "{deleted_some} steps, {given_up} copies given up");
}

/// A part comes back unchanged, the rest is deleted, then the rest comes back too and both are merged: the topmost page of
/// once must not stand for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_above_what_is_deleted_never_stands_for_it() {
    let mut groups = Groups::new(5, 40).await;
    let (_, right) = halves();
    groups.move_to(right, 1).await;
    groups.close(0).await;
    let (part, rest) = right.children().unwrap();
    let whole = groups.models[1].trees.pop().unwrap();
    let (one, other) = whole.split().unwrap();
    groups.models[1].trees = vec![one, other];
    groups.advance(1, 0).await;
    groups.move_to(part, 0).await;
    groups.close(1).await;
    assert!(groups.sweep_all(0).await > 0, "the rest is deleted");
    groups.move_to(part, 1).await;
    groups.close(0).await;
    let other = groups.models[1].trees.pop().unwrap();
    let one = groups.models[1].trees.pop().unwrap();
    assert_eq!((one.prefix(), other.prefix()), (part, rest));
    let joined = strongroom_proto::tree::Tree::join(&one, &other).unwrap();
    assert_eq!(joined.root(), whole.root());
    groups.models[1].trees = vec![joined];
    groups.models[1].merged = vec![right];
    groups.advance(1, 0).await;
    groups.move_to(right, 0).await;
    groups.check(0).await;
}

#[tokio::test(start_paused = true)]
async fn the_files_shrink_once_they_are_written_anew_and_who_reads_them_goes_on() {
    let mut groups = Groups::new(6, 100).await;
    for _ in 0..10 {
        groups.advance(0, 60).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let (left, right) = halves();
    groups.move_to(right, 1).await;
    groups.close(0).await;
    let held = groups.objects[0].tree().held_reader().await.unwrap().unwrap();
    let before = groups.trees[0].file_bytes().await.unwrap();
    groups.sweep_all(0).await;
    let mut looks = 0;
    while groups.trees[0].sweep(100).await.unwrap() != Swept::Nothing {
        tokio::time::sleep(Duration::from_secs(15)).await;
        looks += 1;
        assert!(looks < 40, "it is never done");
    }
    let after = groups.trees[0].file_bytes().await.unwrap();
    assert!(after < before * 2 / 3, "{before} bytes, then {after}");
    let read: Vec<_> = held.leaves_below(right).try_collect().await.unwrap();
    assert!(read.iter().map(|(id, sealed)| (id, sealed)).eq(groups.models[1].leaves.range(..)));
    held.release().await;
    assert_eq!(groups.check(0).await, 0);
    groups.move_to(left, 1).await;
    groups.close(0).await;
    assert!(groups.sweep_all(0).await > 0);
    assert_eq!(groups.check(1).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_that_has_retired_what_it_reached_stays_and_nothing_else() {
    let objects = Objects::memory();
    let mut model = Model::new(7, &[Prefix::WHOLE]);
    let tree = objects.tree();
    tree.open().await.unwrap();
    tree.advance(model.change(100)).await.unwrap();
    tree.close().await;
    let before = objects.names().await;
    assert_eq!(objects.tree().forget_retired().await, Ok(false), "it has not retired");
    assert_eq!(objects.names().await, before);
    tree.open().await.unwrap();
    let snapshot = snapshot_of(9, Vec::new(), Vec::new(), true);
    tree.advance(Advance { snapshot: snapshot.clone(), trees: Vec::new(), changed: Vec::new() })
        .await
        .unwrap();
    tree.close().await;
    let held_bytes = async || objects.all().await.values().map(bytes::Bytes::len).sum::<usize>();
    let bytes = held_bytes().await;
    for _ in 0..2 {
        assert_eq!(objects.tree().forget_retired().await, Ok(true));
        assert_eq!(objects.tree().read_snapshot().await, Ok(Some(snapshot.clone())));
        let old = "/tree/0000000000000000/";
        assert!(!objects.names().await.iter().any(|name| name.as_ref().contains(old)));
        assert!(held_bytes().await * 10 < bytes, "{} of {bytes} bytes", held_bytes().await);
    }
    let found = check::stored_tree(&objects.tree(), &Unwatched).await.unwrap();
    assert_eq!((found.pages, found.leaves.len(), found.problems.len()), (0, 0, 0));
}
