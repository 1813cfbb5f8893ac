//! A live realm of which one member cannot serve by itself: its front door still serves clients as long as a leader can
//! be reached, and says so at once when none can.

use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_agent::store::Store;
use strongroom_client::{Client, Error, ErrorKind, Pin, RetryPolicy, UserSecret};
use strongroom_replica::{Fault, Status};
use strongroom_sim::local::{LocalRealm, Setting};
use strongroom_testkit::faulty::{Faults, Faulty};

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

struct Folder {
    _dir: tempfile::TempDir,
    /// What each agent sees of the one store.
    seen: Vec<Faulty>,
}

async fn realm() -> (LocalRealm, Folder) {
    realm_of(Setting::default()).await
}

/// A realm whose agents know each other's front doors.
async fn realm_with_fronts() -> (LocalRealm, Folder) {
    realm_of(Setting { fronts: true, ..Setting::default() }).await
}

async fn realm_of(setting: Setting) -> (LocalRealm, Folder) {
    let dir = tempfile::tempdir().expect("a folder");
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let faulty = |seed| Faulty::new(Arc::clone(&objects), seed, Faults::none());
    let seen: Vec<Faulty> = (0..3).map(faulty).collect();
    let stores = seen.clone();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let open = move |config: &strongroom_agent::config::Config| {
        let of = |i: &usize| format!("{:?}", config.hsm).contains(&format!("hsm-{}.sock", i + 1));
        let member = (0..3).find(of).expect("one of three");
        Ok(Store::on(Arc::new(stores[member].clone()) as Arc<dyn ObjectStore>))
    };
    let setting = Setting { open: Box::new(open), ..setting };
    let realm = LocalRealm::start_with(dir.path(), any, setting).expect("starts");
    realm.make_whole().await.expect("three new HSMs");
    realm.leader(None).await.expect("one leads");
    (realm, Folder { _dir: dir, seen })
}

/// A client that asks only five times within some milliseconds, as those in the field do.
async fn hasty(realm: &LocalRealm, member: usize, user: &str) -> Client {
    let configuration = realm.configuration(member).await.expect("a member");
    let fast = configuration.replace("Standard2019", "FastInsecure");
    let client = realm.builder(&fast, user).expect("a name").retry_policy(RetryPolicy::deployed());
    client.build().expect("roots")
}

async fn register(client: &Client) {
    let secret = UserSecret::new(&[7; 40]).expect("short");
    let registered =
        client.register(&Pin::from("4821"), &secret, b"info", NonZeroU8::new(9).expect("not 0")).await;
    registered.expect("registers");
}

async fn recover(client: &Client) {
    client.recover(&Pin::from("4821"), b"info").await.expect("recovers");
}

fn status(realm: &LocalRealm, member: usize) -> Option<Status> {
    realm.groups(member).into_iter().next().map(|(_, status)| status)
}

/// Asks again and again until `done`.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_reads_error_pages_serves_clients_says_what_is_wrong_and_goes_on_by_itself() {
    let (mut realm, folder) = realm().await;
    let leader = realm.leader(None).await.expect("one leads");
    let bad = (leader + 1) % 3;
    let user = hasty(&realm, bad, "user").await;
    register(&user).await;

    realm.kill(bad).await;
    let other = hasty(&realm, leader, "other").await;
    register(&other).await;
    folder.seen[bad].set(Faults { error_pages: Some("/log/"), ..Faults::none() });
    realm.restart(bad).await.expect("its addresses are free");
    // While it looks again and again, and after it has stopped. The others know it a moment after it started.
    until("the agent is known", async || realm.device(bad).await.is_ok_and(|device| device.realm.is_some()))
        .await;
    until("a client is served", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        user.recover(&Pin::from("4821"), b"info").await.is_ok()
    })
    .await;
    until("the member has stopped, and says why", async || {
        status(&realm, bad).is_some_and(|status| matches!(status.fault, Some(Fault::Damaged { .. })))
    })
    .await;
    for _ in 0..3 {
        recover(&user).await;
    }
    folder.seen[bad].set(Faults::none());
    until("the member goes on, and has caught up", async || {
        status(&realm, bad).is_some_and(|s| s.fault.is_none() && s.captured == s.tip && s.tip.0 > 3)
    })
    .await;
    recover(&user).await;
    realm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_has_lost_its_hsm_serves_clients_through_the_others() {
    let (mut realm, _folder) = realm().await;
    let leader = realm.leader(None).await.expect("one leads");
    let user = hasty(&realm, leader, "user").await;
    register(&user).await;
    realm.kill_hsm(leader);
    realm.leader(Some(leader)).await.expect("another leads");
    until("the agent without its HSM has noticed", async || {
        status(&realm, leader).is_none_or(|status| !status.serving)
    })
    .await;
    for _ in 0..3 {
        recover(&user).await;
    }
    realm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_reaches_no_other_says_so_at_once() {
    let (mut realm, _folder) = realm().await;
    let user = hasty(&realm, 0, "user").await;
    register(&user).await;
    realm.kill(1).await;
    realm.kill(2).await;
    refuses_at_once(&user).await;
    realm.restart(1).await.expect("its addresses are free");
    let user = realm.fast_client(0, "user").await.expect("a client");
    until("somebody who serves", async || user.recover(&Pin::from("4821"), b"info").await.is_ok()).await;
    realm.shutdown().await;
}

/// Kills a member and starts its agent again, while its HSM stays away.
async fn start_without_hsm(realm: &mut LocalRealm, member: usize) {
    realm.kill(member).await;
    realm.restart_agent(member).await.expect("its addresses are free");
}

async fn relays(realm: &LocalRealm, member: usize) -> Option<String> {
    let mut agent = realm.admin(member).await.expect("its agent runs");
    agent.status().await.expect("it answers").relays
}

/// The guesses that are left after a wrong one.
async fn guess_wrong(client: &Client) -> Option<u16> {
    let outcome = client.recover(&Pin::from("9999"), b"info").await;
    let Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining }, .. }) = outcome else {
        panic!("a wrong guess: {outcome:?}");
    };
    Some(guesses_remaining)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_started_without_its_hsm_serves_clients_through_other_front_doors_until_it_is_back() {
    let (mut realm, _folder) = realm_with_fronts().await;
    let leader = realm.leader(None).await.expect("one leads");
    let by = async |member: usize| realm.fast_client(member, "user").await.expect("a client");
    let (user, elsewhere) = (by(leader).await, by((leader + 1) % 3).await);
    start_without_hsm(&mut realm, leader).await;
    realm.leader(Some(leader)).await.expect("another leads");
    until("its front door relays", async || relays(&realm, leader).await.is_some()).await;
    register(&user).await;
    assert_eq!(guess_wrong(&user).await, Some(8));
    assert_eq!(guess_wrong(&elsewhere).await, Some(7), "the first one was counted once");
    recover(&user).await;
    until("it says to how many", async || {
        relays(&realm, leader).await.is_some_and(|said| said.contains("2 of 2 serve now"))
    })
    .await;

    realm.restart_hsm(leader).expect("what it had is there");
    until("the agent has found its HSM, and relays no more", async || relays(&realm, leader).await.is_none())
        .await;
    until("the member has caught up", async || {
        status(&realm, leader).is_some_and(|s| s.fault.is_none() && s.captured == s.tip && s.tip.0 > 3)
    })
    .await;
    until("a client is served", async || user.recover(&Pin::from("4821"), b"info").await.is_ok()).await;
    assert_eq!(guess_wrong(&user).await, Some(8));
    realm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_front_doors_an_agent_started_without_its_hsm_says_at_once_that_it_cannot_serve() {
    let (mut realm, _folder) = realm().await;
    let user = hasty(&realm, 0, "user").await;
    start_without_hsm(&mut realm, 0).await;
    assert_eq!(relays(&realm, 0).await, None);
    refuses_at_once(&user).await;
    realm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_started_without_their_hsms_do_not_send_a_request_to_and_fro() {
    let (mut realm, _folder) = realm_with_fronts().await;
    let users = [hasty(&realm, 0, "user").await, hasty(&realm, 1, "user").await];
    realm.kill(2).await;
    for member in 0..2 {
        start_without_hsm(&mut realm, member).await;
    }
    for user in &users {
        refuses_at_once(user).await;
    }
    realm.restart(2).await.expect("its addresses are free");
    realm.restart_hsm(1).expect("what it had is there");
    until("somebody who serves", async || {
        let outcome = users[0].recover(&Pin::from("4821"), b"info").await;
        matches!(outcome, Err(Error { kind: ErrorKind::NotRegistered, .. }))
    })
    .await;
    realm.shutdown().await;
}

/// Once it has noticed, five attempts take hardly any time.
async fn refuses_at_once(user: &Client) {
    until("a quick answer", async || {
        let began = Instant::now();
        let outcome = user.recover(&Pin::from("4821"), b"info").await;
        assert!(matches!(outcome, Err(Error { kind: ErrorKind::Unavailable { .. }, .. })), "{outcome:?}");
        began.elapsed() < Duration::from_secs(1)
    })
    .await;
}
