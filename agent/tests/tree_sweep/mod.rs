//! What has left a group is deleted from its stored tree once it is stored where it went, and nothing else is.

mod realm;

use realm::{Planted, Realm, Tally};

async fn run(seed: u64, steps: usize, planted: Option<Planted>) -> Tally {
    let mut realm = Realm::new(seed, 60, planted).await;
    for _ in 0..steps {
        realm.step().await;
    }
    realm.finish().await;
    realm.tally
}

#[tokio::test(start_paused = true)]
async fn whatever_moves_while_what_has_left_is_deleted_no_record_is_lost_and_nothing_stays_for_ever() {
    let mut all = Tally::default();
    for seed in 1..=6 {
        let one = tokio::spawn(run(seed, 150, None)).await.unwrap_or_else(|_| panic!("seed {seed}"));
        eprintln!("{seed} {one:?}");
        all.steps += one.steps;
        all.all += one.all;
        all.kept += one.kept;
        all.moved += one.moved;
        all.kills += one.kills;
        all.rebuilt += one.rebuilt;
        all.returned += one.returned;
    }
    let Tally { steps, all: whole, kept, moved, rebuilt, returned, .. } = all;
    assert!(steps > 20 && whole > 10 && kept > 10, "{all:?}");
    assert!(moved > 20 && rebuilt > 2 && returned > 2, "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn deleting_before_it_is_stored_where_it_went_is_found() {
    let mut found = false;
    for seed in 1..=8 {
        found |= tokio::spawn(run(seed, 150, Some(Planted::Early))).await.is_err();
    }
    assert!(found);
}
