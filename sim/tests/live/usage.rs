//! What clients did is in the account of their tenant once, through whichever agents their requests went.

use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_agent::clock::system_clock;
use strongroom_agent::config::Config;
use strongroom_agent::store::Store;
use strongroom_agent::usage::{Day, Operation, Tallies, read_month};
use strongroom_client::{Client, Error, ErrorKind, Pin, UserSecret};
use strongroom_sim::local::{LocalRealm, MEMBERS, Setting, TENANT};

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(600);
const SECRET: &[u8] = b"what the user entrusts";

async fn register(client: &Client) {
    let (secret, guesses) = (UserSecret::new(SECRET).expect("short"), NonZeroU8::new(5).expect("not 0"));
    client.register(&Pin::from("4821"), &secret, b"", guesses).await.expect("registers");
}

async fn recover(client: &Client) {
    let secret = client.recover(&Pin::from("4821"), b"").await.expect("recovers");
    assert_eq!(secret.as_bytes(), SECRET);
}

async fn guess_wrong(client: &Client) {
    let outcome = client.recover(&Pin::from("9999"), b"").await;
    let is_wrong = matches!(outcome, Err(Error { kind: ErrorKind::InvalidPin { .. }, .. }));
    assert!(is_wrong, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_did_is_accounted_once_whoever_served_forwarded_or_relayed_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let opened = Arc::clone(&objects);
    let open = move |_: &Config| Ok(Store::on(Arc::clone(&opened)));
    let setting = Setting { open: Box::new(open), fronts: true, ..Setting::patient() };
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let began = Day::at(system_clock()());
    let mut local = LocalRealm::start_with(folder.path(), any, setting).expect("starts");
    let realm = local.make_whole().await.expect("three new HSMs");
    let leader = local.leader(None).await.expect("one leads");
    let (follower, relaying) = ((leader + 1) % MEMBERS, (leader + 2) % MEMBERS);
    let serving = local.fast_client(leader, "ada").await.expect("a realm");
    let forwarding = local.fast_client(follower, "ada").await.expect("a realm");
    let relayed = local.fast_client(relaying, "ada").await.expect("a realm");
    register(&forwarding).await;
    recover(&serving).await;
    guess_wrong(&forwarding).await;
    // Its agent starts again while its HSM stays away, so it knows neither realm nor key.
    local.kill(relaying).await;
    local.restart_agent(relaying).await.expect("its addresses are free");
    let deadline = Instant::now() + PATIENCE;
    let relays = async |local: &LocalRealm| {
        let status = local.admin(relaying).await.expect("it runs").status().await.expect("it answers");
        status.relays.is_some()
    };
    while !relays(&local).await {
        assert!(Instant::now() < deadline, "it does not relay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    recover(&relayed).await;
    local.shutdown().await;

    let mut sum = Tallies::default();
    let months = [began.month(), Day::at(system_clock()()).month()];
    // The same one, unless a month has just ended.
    for month in &months[usize::from(months[0] == months[1])..] {
        let read = read_month(&Store::on(Arc::clone(&objects)), realm, *month).await.expect("readable");
        assert!(read.passed_over.is_empty(), "{:?}", read.passed_over);
        sum.add(&read.tallies);
    }
    let tally = &sum.tenants()[TENANT];
    let answered = |operation| tally.counts.get(operation, true);
    assert!((1..=2).contains(&tally.users.estimate()), "one user, who has another number in another month");
    assert_eq!((answered(Operation::Register1), answered(Operation::Register2)), (1, 1));
    let recovered = [Operation::Recover1, Operation::Recover2, Operation::Recover3].map(answered);
    // What a host cannot tell from a Recover1 counts as one: a wrong PIN has the client ask whether a change of PIN was interrupted.
    assert_eq!(recovered, [4, 3, 2], "a wrong PIN leads to no third step");
    assert_eq!((answered(Operation::Delete), answered(Operation::Other)), (0, 0));
}
