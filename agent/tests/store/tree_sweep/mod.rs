//! What has left a group is deleted from its stored tree once it is stored where it went, and nothing else is.
//!
//! Time stands still but where it is said to pass, so that housekeeping merges files when it would.

mod realm;

use crate::tree_model::Objects;
use object_store::path::Path as ObjectPath;
use realm::{Planted, Realm, Tally};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strongroom_agent::check::{self, Unwatched};
use strongroom_agent::tree::{Emptied, Sweep, Swept};
use strongroom_proto::prefix::Prefix;
use strongroom_replica::stored::{Snapshot, TreeFailure};
use tokio::time::timeout;

async fn run(seed: u64, planted: Option<Planted>) -> Tally {
    let mut realm = Realm::new(seed, 60, planted).await;
    for _ in 0..120 {
        realm.step().await;
    }
    realm.finish().await;
    realm.tally
}

#[tokio::test(start_paused = true)]
async fn whatever_moves_while_what_has_left_is_deleted_no_record_is_lost_and_nothing_stays_for_ever() {
    let mut all = Tally::default();
    for seed in 1..=3 {
        let one = tokio::spawn(run(seed, None)).await.unwrap_or_else(|_| panic!("seed {seed}"));
        all.steps += one.steps;
        all.all += one.all;
        all.kept += one.kept;
        all.moved += one.moved;
        all.kills += one.kills;
        all.rebuilt += one.rebuilt;
        all.returned += one.returned;
    }
    let Tally { steps, all: whole, kept, moved, kills, rebuilt, returned, .. } = all;
    assert!(steps > 10 && whole > 1 && kept > 10 && kills > 10, "{all:?}");
    assert!(moved > 10 && rebuilt > 0 && returned > 2, "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn deleting_before_it_is_stored_where_it_went_is_found() {
    let mut found = false;
    for seed in 1..=8 {
        found = found || tokio::spawn(run(seed, Some(Planted::Early))).await.is_err();
    }
    assert!(found);
}

fn right() -> Prefix {
    Prefix::WHOLE.children().unwrap().1
}

/// Moves a prefix to another group, and closes the move.
async fn move_to(realm: &mut Realm, prefix: Prefix, from: usize, to: usize) {
    realm.begin(prefix, from, to).await;
    while realm.go_on(0).await {}
    realm.advance(to, 0).await;
}

/// A realm in which half of the records have left group 0 for group 1 and are stored there, and everything that is stored.
async fn moved(seed: u64) -> (Realm, Vec<BTreeMap<ObjectPath, bytes::Bytes>>) {
    let mut realm = Realm::new(seed, 40, None).await;
    move_to(&mut realm, right(), 0, 1).await;
    let mut objects = Vec::new();
    for group in &realm.groups {
        objects.push(group.objects.all().await);
    }
    (realm, objects)
}

/// Puts everything back as it was.
async fn again(realm: &mut Realm, objects: &[BTreeMap<ObjectPath, bytes::Bytes>]) {
    for (at, objects) in objects.iter().enumerate() {
        realm.groups[at].objects = Objects::of(objects).await;
        realm.kill(at).await;
    }
}

/// Deletes the only thing that is left over in group 0, a few pages and leaves at a time.
async fn sweep(realm: &Realm) -> Result<Swept, TreeFailure> {
    let there = realm.groups[1].objects.tree().read_snapshot().await.unwrap().unwrap();
    let leftovers = realm.groups[0].tree.leftovers().await?.1;
    let Some(leftover) = leftovers.first() else { return Ok(Swept::All) };
    let mut sweep = Sweep::new(*leftover);
    loop {
        match realm.groups[0].tree.sweep(&mut sweep, &there, |_| true, 12).await? {
            Swept::Some => {}
            swept => return Ok(swept),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_it_is_killed_what_is_owned_is_there_and_the_rest_goes_later_or_comes_back_whole() {
    let (mut realm, objects) = moved(11).await;
    let (mut killed, mut ends) = (0, false);
    for writes in 0.. {
        for (last_is_done, comes_back) in [(false, false), (true, false), (false, true), (true, true)] {
            again(&mut realm, &objects).await;
            let store = Arc::clone(&realm.groups[0].objects);
            store.last_is_done.store(last_is_done, Ordering::Relaxed);
            store.writes_left.store(writes, Ordering::Relaxed);
            ends = matches!(timeout(Duration::from_secs(60), sweep(&realm)).await, Ok(Ok(Swept::All)));
            // Nothing of what was killed goes on.
            store.hangs.store(true, Ordering::Relaxed);
            realm.groups[0].objects = Objects::of(&store.all().await).await;
            realm.kill(0).await;
            realm.check(0).await;
            if comes_back {
                realm.groups[0].tree.adopt(right(), &realm.groups[1].tree).await.unwrap();
                let reader = realm.groups[0].objects.tree().reader().await.unwrap().unwrap();
                let root = realm.groups[1].model.trees[0].root();
                assert_eq!(reader.page(right()).await.unwrap().digest(), root);
                for (id, sealed) in &realm.groups[1].model.leaves {
                    let back = reader.leaf(id).await.unwrap();
                    assert_eq!(back.as_ref(), Some(sealed), "killed at write {writes}: {id} is lost");
                }
                assert_eq!(realm.groups[0].tree.leftovers().await.unwrap().1, [], "it is needed");
            } else {
                assert_eq!(sweep(&realm).await, Ok(Swept::All));
                assert_eq!(realm.check(0).await, 0, "killed at write {writes}");
            }
            killed += u32::from(!ends);
        }
        if ends {
            break;
        }
    }
    assert!(killed > 15, "{killed}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_delays_it() {
    let (mut realm, objects) = moved(12).await;
    again(&mut realm, &objects).await;
    realm.groups[0].tree = realm.groups[0].objects.tree_as_deployed();
    realm.groups[0].tree.open().await.unwrap();
    let store = Arc::clone(&realm.groups[0].objects);
    let mut failed = 0;
    for writes in [0, 1, 2, 3, 5, 8] {
        store.writes_left.store(writes, Ordering::Relaxed);
        failed += u32::from(sweep(&realm).await == Err(TreeFailure::Unavailable));
        store.writes_left.store(u64::MAX, Ordering::Relaxed);
        store.hangs.store(false, Ordering::Relaxed);
        realm.advance(0, 3).await;
    }
    assert!(failed > 3, "{failed}");
    assert_eq!(sweep(&realm).await, Ok(Swept::All));
    assert_eq!(realm.check(0).await, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_while_it_is_open_or_awaited_again() {
    let mut realm = Realm::new(13, 30, None).await;
    realm.begin(right(), 0, 1).await;
    for _ in 0..4 {
        assert!(realm.go_on(0).await);
        assert_eq!(realm.sweep_all(0, 4_096).await, 0);
    }
    realm.advance(1, 0).await;
    assert_eq!(realm.sweep_all(0, 4_096).await, 0, "it is not closed");
    assert!(!realm.go_on(0).await);
    let there = realm.groups[1].objects.tree().read_snapshot().await.unwrap().unwrap();
    let leftover = realm.groups[0].tree.leftovers().await.unwrap().1[0];
    let mut sweep = Sweep::new(leftover);
    let tree = &realm.groups[0].tree;
    assert_eq!(tree.sweep(&mut sweep, &there, |_| false, 9).await, Ok(Swept::Kept), "it is awaited again");
    assert_eq!(tree.sweep(&mut sweep, &there, |_| true, 9).await, Ok(Swept::Some));
}

/// A part comes back unchanged, the rest is deleted, then the rest comes back too and both are merged: the topmost page of
/// once must not stand for all of it.
#[tokio::test(start_paused = true)]
async fn a_page_above_what_is_deleted_never_stands_for_it() {
    let mut realm = Realm::new(14, 40, None).await;
    realm.is_quiet = true;
    move_to(&mut realm, right(), 0, 1).await;
    let (part, rest) = right().children().unwrap();
    let whole = realm.groups[1].model.trees.pop().unwrap();
    let (one, other) = whole.split().unwrap();
    realm.groups[1].model.trees = vec![one, other];
    realm.advance(1, 0).await;
    move_to(&mut realm, part, 1, 0).await;
    assert!(realm.sweep_all(0, 4_096).await > 0, "the rest is deleted");
    move_to(&mut realm, part, 0, 1).await;
    let at = |realm: &mut Realm, prefix: Prefix| {
        let trees = &mut realm.groups[1].model.trees;
        let at = trees.iter().position(|tree| tree.prefix() == prefix).unwrap();
        trees.remove(at)
    };
    let (one, other) = (at(&mut realm, part), at(&mut realm, rest));
    realm.groups[1].model.trees.push(strongroom_proto::tree::Tree::join(&one, &other).unwrap());
    realm.groups[1].model.merged = vec![right()];
    realm.advance(1, 0).await;
    move_to(&mut realm, right(), 1, 0).await;
    realm.check(0).await;
}

async fn snapshots(realm: &Realm) -> Vec<Snapshot> {
    let mut all = Vec::new();
    for group in &realm.groups {
        all.extend(group.objects.tree().read_snapshot().await.unwrap());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn of_a_group_that_has_retired_what_it_reached_stays_and_nothing_else() {
    let mut realm = Realm::new(15, 100, None).await;
    let (left, right) = Prefix::WHOLE.children().unwrap();
    for prefix in [left, right] {
        move_to(&mut realm, prefix, 0, 1).await;
    }
    let before = snapshots(&realm).await;
    let tree = |realm: &Realm| realm.groups[0].objects.tree();
    assert_eq!(tree(&realm).empty_retired(&before).await, Ok(Emptied::NotRetired));
    realm.groups[0].model.has_retired = true;
    realm.advance(0, 0).await;
    let last = realm.groups[0].model.snapshot();
    realm.groups[0].tree.close().await;
    assert_eq!(tree(&realm).empty_retired(&[]).await, Ok(Emptied::Kept), "who knows where it is");
    let bytes = async |realm: &Realm| {
        realm.groups[0].objects.all().await.values().map(bytes::Bytes::len).sum::<usize>()
    };
    let full = bytes(&realm).await;
    for _ in 0..2 {
        let emptied = tree(&realm).empty_retired(&before).await;
        assert!(matches!(emptied, Ok(Emptied::Done { .. })), "{emptied:?}");
        assert_eq!(tree(&realm).read_snapshot().await, Ok(Some(last.clone())));
        assert!(bytes(&realm).await * 10 < full, "{} of {full} bytes", bytes(&realm).await);
    }
    let found = check::stored_tree(&tree(&realm), &Unwatched).await.unwrap();
    assert_eq!((found.pages, found.leaves.len(), found.problems.len()), (0, 0, 0));
    assert_eq!(realm.check(1).await, 0);
}
