//! Prefixes that move between two groups of one realm, with real agents and HSMs, while users recover.

use crate::support::{PATIENCE, until};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use strongroom_agent::admin::Client as AdminClient;
use strongroom_agent::check::{self, NoWitness, Unwatched};
use strongroom_agent::config::{Rebalance, StoreOptions};
use strongroom_agent::store::{Store, Timeouts};
use strongroom_agent::tree::{self, TreeMetrics, TreeSettings, TreeStore};
use strongroom_client::{Client, Error, ErrorKind, Pin, UserSecret};
use strongroom_proto::ids::GroupId;
use strongroom_proto::prefix::Prefix;
use strongroom_sim::local::{LocalRealm, Setting};
use url::Url;

const SECRET: &[u8] = b"what the user entrusts";
const USERS: usize = 8;

async fn made(folder: &Path) -> LocalRealm {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let realm = LocalRealm::start_with(folder, any, Setting::patient()).expect("starts");
    realm.make_whole().await.expect("three HSMs");
    realm.leader(None).await.expect("one leads");
    realm
}

/// The users of a realm, each at one of the agents.
async fn users(realm: &LocalRealm) -> Vec<Client> {
    let mut users = Vec::new();
    for i in 0..USERS {
        users.push(realm.client(i % 3, &format!("user-{i}")).await.expect("a client"));
    }
    users
}

async fn register(client: &Client) {
    let secret = UserSecret::new(SECRET).expect("short");
    let guesses = NonZeroU8::new(9).expect("not 0");
    client.register(&Pin::from("4821"), &secret, b"info", guesses).await.expect("registers");
}

/// How many guesses are left after a wrong one.
async fn guess_wrong(client: &Client) -> u16 {
    match client.recover(&Pin::from("0000"), b"info").await {
        Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining }, .. }) => guesses_remaining,
        other => panic!("{other:?}"),
    }
}

async fn recover(client: &Client) {
    let secret = client.recover(&Pin::from("4821"), b"info").await.expect("recovers");
    assert_eq!(secret.as_bytes(), SECRET);
}

/// Makes a second group, of the HSMs of the last two members. Returns the first and the second.
async fn groups(realm: &LocalRealm) -> (GroupId, GroupId) {
    let first = realm.groups(0).first().map(|(group, _)| *group).expect("it is in one");
    let members = [realm.device(1).await.expect("it is").hsm, realm.device(2).await.expect("it is").hsm];
    let made = realm.admin(1).await.expect("it is there").create_group(&members).await.expect("it is made");
    assert!(made.missing.is_empty(), "{:?}", made.missing);
    (first, made.statement.group)
}

/// Moves a prefix, asking one agent for one step after the other.
async fn moved(realm: &LocalRealm, agent: usize, prefix: Prefix, from: GroupId, to: GroupId) -> Vec<String> {
    let mut admin = realm.admin(agent).await.expect("it is there");
    let mut said = Vec::new();
    until("the prefix has moved", async || match admin.move_on(Some(prefix), Some(from), to).await {
        Ok(Some((done, over))) => {
            said.push(done);
            over.then_some(())
        }
        Ok(None) => None,
        Err(error) => panic!("{error}; before: {said:?}"),
    })
    .await;
    said
}

/// What is wrong with what a group has stored.
async fn findings(folder: &Path, group: GroupId) -> Vec<String> {
    let url = Url::from_directory_path(folder.join("store")).expect("a path");
    let store = Store::open(&url, &StoreOptions::default()).expect("opens");
    let store = store.with_timeouts(Timeouts::all(PATIENCE));
    let timeouts = tree::Timeouts::all(PATIENCE);
    let (settings, metrics) = (TreeSettings { timeouts, ..TreeSettings::default() }, TreeMetrics::default());
    let tree = TreeStore::new(store.objects(), store.base(), group, settings, metrics);
    let found = check::check(&store, &tree, group, &mut NoWitness, &Unwatched).await.expect("it ends");
    found.problems.iter().map(|problem| format!("{problem:?}")).collect()
}

/// A realm whose first group owns two halves, with some users who have guessed wrong once, and a second group.
async fn divided(folder: &Path) -> (LocalRealm, GroupId, GroupId) {
    let realm = made(folder).await;
    for user in &users(&realm).await {
        register(user).await;
        assert_eq!(guess_wrong(user).await, 8);
    }
    let (first, second) = groups(&realm).await;
    let halves = Prefix::WHOLE.children().expect("it has halves");
    let mut admin = realm.admin(0).await.expect("it is there");
    let owned = admin.divide(first, Prefix::WHOLE, false).await.expect("it is split");
    assert_eq!(owned, [halves.0, halves.1]);
    (realm, first, second)
}

fn again(folder: &Path) -> LocalRealm {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    LocalRealm::start_with(folder, any, Setting::patient()).expect("starts")
}

/// Every process ends after each step.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_goes_on_where_it_was_after_everything_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut realm, first, second) = divided(folder.path()).await;
    let (_, right) = Prefix::WHOLE.children().expect("it has halves");
    let mut steps = 0;
    loop {
        let mut admin = realm.admin(steps % 3).await.expect("it is there");
        let step = until("a step", async || {
            admin.move_on(Some(right), Some(first), second).await.expect("it can go on")
        });
        let (_, over) = step.await;
        steps += 1;
        realm.shutdown().await;
        realm = again(folder.path());
        if over {
            break;
        }
    }
    // The agents take one themselves if all of this takes long.
    assert!((2..=3).contains(&steps), "copied and let go, taken, closed: {steps}");
    for user in &users(&realm).await {
        assert_eq!(guess_wrong(user).await, 7);
        recover(user).await;
    }
    realm.shutdown().await;
    for group in [first, second] {
        assert_eq!(findings(folder.path(), group).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_moves_to_another_group_and_back_and_no_guess_is_lost_or_gained() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut realm, first, second) = divided(folder.path()).await;
    let all = users(&realm).await;
    let (left, right) = Prefix::WHOLE.children().expect("it has halves");

    // Half of the users recover all the time.
    let (ends, recovered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let busy: Vec<_> = (0..USERS / 2)
        .map(|_| (Arc::clone(&ends), Arc::clone(&recovered)))
        .zip(users(&realm).await)
        .map(|((ends, recovered), user)| {
            tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    recover(&user).await;
                    recovered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let served = async |many: u32| {
        let before = recovered.load(Ordering::Relaxed);
        until("users go on", async || (recovered.load(Ordering::Relaxed) >= before + many).then_some(()))
            .await;
    };
    served(4).await;
    let said = moved(&realm, 0, left, first, second).await;
    assert!(said.len() >= 3, "{said:?}");
    served(8).await;
    ends.store(true, Ordering::Relaxed);
    for user in busy {
        user.await.expect("every one of its recoveries succeeded");
    }
    for user in &all[USERS / 2..] {
        assert_eq!(guess_wrong(user).await, 7, "the count moved with the record");
    }
    let owned = |group: GroupId| {
        let statuses = (1..3).flat_map(|i| realm.groups(i)).filter(|(id, _)| *id == group);
        statuses.map(|(_, status)| status.prefixes).collect::<Vec<_>>()
    };
    until("both groups show what they own", async || {
        let (of_first, of_second) = (owned(first), owned(second));
        let moved = of_first.iter().all(|p| *p == [right]) && of_second.iter().all(|p| *p == [left]);
        moved.then_some(())
    })
    .await;
    // Given again, it is done already.
    assert_eq!(moved(&realm, 2, left, first, second).await, [format!("group {second} has it")]);

    // Everything ends, and goes on from what is stored.
    realm.shutdown().await;
    for group in [first, second] {
        assert_eq!(findings(folder.path(), group).await, Vec::<String>::new());
    }
    realm = again(folder.path());
    let all = users(&realm).await;
    for user in &all {
        recover(user).await;
        assert_eq!(guess_wrong(user).await, 8, "a recovery gives all guesses back");
    }
    moved(&realm, 1, left, second, first).await;
    let mut admin = realm.admin(2).await.expect("it is there");
    assert_eq!(admin.divide(first, Prefix::WHOLE, true).await.expect("it is merged"), [Prefix::WHOLE]);
    for user in &all {
        assert_eq!(guess_wrong(user).await, 7, "the count came back with the record");
        recover(user).await;
    }
    realm.shutdown().await;
    for group in [first, second] {
        assert_eq!(findings(folder.path(), group).await, Vec::<String>::new());
    }
}

/// Moves a prefix whatever goes wrong on the way, asking one agent.
async fn moved_at_last(mut admin: AdminClient, prefix: Prefix, from: GroupId, to: GroupId) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match admin.move_on(Some(prefix), Some(from), to).await {
            Ok(Some((_, true))) => return,
            last => assert!(Instant::now() < deadline, "it does not move: {last:?}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Each agent is killed, a little later each time.
#[tokio::test(flavor = "multi_thread")]
async fn whichever_agent_is_killed_in_a_move_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut realm, mut from, mut to) = divided(folder.path()).await;
    let (left, _) = Prefix::WHOLE.children().expect("it has halves");
    for (round, after_ms) in [0, 60, 150, 300, 600, 1_000].into_iter().enumerate() {
        let victim = round % 3;
        let admin = realm.admin((victim + 1) % 3).await.expect("it is there");
        let moving = tokio::spawn(moved_at_last(admin, left, from, to));
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        realm.kill(victim).await;
        realm.restart(victim).await.expect("it starts again");
        moving.await.expect("it has moved");
        for user in &users(&realm).await[..4] {
            assert_eq!(guess_wrong(user).await, 7, "round {round}");
            recover(user).await;
            assert_eq!(guess_wrong(user).await, 8);
        }
        (from, to) = (to, from);
    }
    realm.shutdown().await;
    for group in [from, to] {
        assert_eq!(findings(folder.path(), group).await, Vec::<String>::new());
    }
}

/// What each group owns, once its leader has nothing open.
async fn owns(realm: &LocalRealm, group: GroupId) -> Option<Vec<Prefix>> {
    let statuses = (0..3).flat_map(|i| realm.groups(i));
    let mut leads = statuses.filter(|(id, status)| *id == group && status.serving);
    leads.next().filter(|(_, status)| status.open.is_empty()).map(|(_, status)| status.prefixes)
}

/// After the first step the prefix has left, and nobody serves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_asker_is_gone_is_brought_to_its_end_by_the_agents() {
    let folder = tempfile::tempdir().expect("a folder");
    let (realm, first, second) = divided(folder.path()).await;
    let (left, right) = Prefix::WHOLE.children().expect("it has halves");
    let mut admin = realm.admin(0).await.expect("it is there");
    until("a step", async || admin.move_on(Some(right), Some(first), second).await.expect("it can go on"))
        .await;
    drop(admin);
    for user in &users(&realm).await {
        assert_eq!(guess_wrong(user).await, 7);
        recover(user).await;
    }
    until("it is done", async || {
        let (of_first, of_second) = (owns(&realm, first).await?, owns(&realm, second).await?);
        (of_first == [left] && of_second == [right]).then_some(())
    })
    .await;
    realm.shutdown().await;
    for group in [first, second] {
        assert_eq!(findings(folder.path(), group).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_gets_its_share_without_being_asked_if_so_configured() {
    let folder = tempfile::tempdir().expect("a folder");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let rebalance = Rebalance { automatic: true, within_percent: 50, every: Duration::from_secs(1) };
    let setting = Setting { rebalance, ..Setting::patient() };
    let realm = LocalRealm::start_with(folder.path(), any, setting).expect("starts");
    realm.make_whole().await.expect("three HSMs");
    realm.leader(None).await.expect("one leads");
    for user in &users(&realm).await {
        register(user).await;
    }
    let (first, second) = groups(&realm).await;
    until("both own a half", async || {
        let (of_first, of_second) = (owns(&realm, first).await?, owns(&realm, second).await?);
        let halves = of_first.iter().chain(&of_second).all(|prefix| prefix.len() == 1);
        (halves && (of_first.len(), of_second.len()) == (1, 1)).then_some(())
    })
    .await;
    for user in &users(&realm).await {
        assert_eq!(guess_wrong(user).await, 8);
        recover(user).await;
    }
    realm.shutdown().await;
    for group in [first, second] {
        assert_eq!(findings(folder.path(), group).await, Vec::<String>::new());
    }
}
