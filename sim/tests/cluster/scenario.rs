//! What scenarios of simulated clusters share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use strongroom_replica::Bug;
use strongroom_sim::cluster::{Cluster, User, Wish};

/// The longest time that a scenario may take, in its own milliseconds.
pub(crate) const PATIENCE_MS: u64 = 60_000;

pub(crate) const REGISTER_AND_RECOVER: [Wish; 4] =
    [Wish::Register, Wish::Recover2, Wish::Recover2, Wish::Recover3];

/// A user with five guesses.
pub(crate) fn user(cluster: &Cluster, seed: u64, wishes: &[Wish]) -> User {
    let mut user = User::new(cluster, seed, 5);
    user.wish(wishes.iter().copied());
    user
}

pub(crate) fn users(cluster: &Cluster, count: u64, wishes: &[Wish]) -> Vec<User> {
    (0..count).map(|seed| user(cluster, seed, wishes)).collect()
}

/// A cluster that has served a user, and its leader.
pub(crate) fn at_work(seed: u64, members: usize, bug: Option<Bug>) -> (Cluster, usize) {
    let mut cluster = Cluster::new(seed, members);
    let leader = put_to_work(&mut cluster, bug);
    (cluster, leader)
}

/// Has a new cluster serve a user. Returns its leader.
pub(crate) fn put_to_work(cluster: &mut Cluster, bug: Option<Bug>) -> usize {
    bug.into_iter().for_each(|bug| cluster.plant_in_agents(bug));
    let mut users = users(cluster, 2, &REGISTER_AND_RECOVER);
    cluster.serve(PATIENCE_MS, &mut users);
    cluster.run_for(500);
    cluster.leader().expect("a member leads")
}

/// Without the rule the scenario fails.
#[track_caller]
pub(crate) fn assert_found(bug: Bug, scenario: fn(Option<Bug>)) {
    let found = catch_unwind(AssertUnwindSafe(|| scenario(Some(bug)))).is_err();
    assert!(found, "nothing shows {bug:?}");
}

/// The rules hold in these scenarios, and without them the scenarios fail.
macro_rules! rules {
    ($($scenario:ident: $($bug:ident),*;)*) => {
        mod holds {
            $(#[test] fn $scenario() { super::$scenario(None); })*
        }
        mod finds {
            $(#[test] fn $scenario() { $(super::assert_found(super::Bug::$bug, super::$scenario);)* })*
        }
    };
}
