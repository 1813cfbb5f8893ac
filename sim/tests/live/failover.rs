//! Users of the SDK with its defaults, while a realm loses its leader: operations go on, and no user pays a guess for
//! it. The only one that may fail is a recovery whose Recover3 was under way: that goes to one session and to no other.

use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::time::{Duration, Instant};
use strongroom_client::{Cause, Client, Configuration, Error, ErrorKind, FixedTokens, Pin, UserSecret};
use strongroom_sim::local::{LocalRealm, MEMBERS};
use tokio::time::MissedTickBehavior;

const SECRET: &[u8] = b"what the user entrusts";
const USERS: usize = 8;
/// Far more than it takes on an idle machine; the client's own limits are tested on its own clock.
const LIMIT: Duration = Duration::from_secs(30);
/// Between the beginnings of two operations of a user, so that on a fast machine no user is over its rate at an agent.
const REST: Duration = Duration::from_millis(200);

/// A client that knows all members, `first` before the others.
async fn client(local: &LocalRealm, first: usize, user: &str) -> Client {
    let mut configuration = Value::Null;
    let mut others = Vec::new();
    for i in 0..MEMBERS {
        let text = local.configuration((first + i) % MEMBERS).await.expect("a realm");
        let one: Value = serde_json::from_str(&text).expect("JSON");
        if i == 0 {
            configuration = one;
        } else {
            others.push(one["realms"][0]["address"].clone());
        }
    }
    configuration["realms"][0]["other_addresses"] = others.into();
    configuration["pin_hashing_mode"] = json!("FastInsecure");
    let configuration: Configuration = configuration.to_string().parse().expect("usable");
    let realm = configuration.realms()[0].id();
    let tokens = FixedTokens::from_iter([(realm, local.token(&realm, user).expect("a name"))]);
    Client::builder(configuration, tokens).build().expect("roots")
}

/// Recovers until `end`, with a wrong PIN now and then; the slowest operation.
async fn live(client: Client, end: Instant) -> Duration {
    let (mut slowest, mut unsettled) = (Duration::ZERO, 0);
    let mut turns = tokio::time::interval(REST);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0.. {
        turns.tick().await;
        let begun = Instant::now();
        if begun > end {
            break;
        }
        let pin = if round % 4 == 3 { "0000" } else { "4821" };
        match client.recover(&Pin::from(pin), b"").await {
            Ok(secret) if pin == "4821" => assert_eq!(secret.as_bytes(), SECRET),
            Err(Error { kind: ErrorKind::Unavailable { .. }, causes, .. })
                if causes.iter().all(|told| told.cause == Cause::Unsettled) =>
            {
                unsettled += 1;
                assert_eq!(unsettled, 1, "one leader was lost");
                let again = client.recover(&Pin::from("4821"), b"").await.expect("another leads");
                assert_eq!(again.as_bytes(), SECRET);
            }
            // A lost answer is asked for again with the same input, which a realm charges once.
            Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 4 }, .. }) if pin == "0000" => {}
            other => panic!("{pin}: {other:?} after {:?}", begun.elapsed()),
        }
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_the_sdk_go_on_and_no_guess_is_lost_when_the_leader_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut local = LocalRealm::start(folder.path(), any).expect("starts");
    local.make_whole().await.expect("three new HSMs");
    let leader = local.leader(None).await.expect("one leads");
    let mut users = Vec::new();
    let secret = UserSecret::new(SECRET).expect("short");
    for user in 0..USERS {
        let client = client(&local, leader + user, &format!("user-{user}")).await;
        let guesses = NonZeroU8::new(5).expect("not 0");
        client.register(&Pin::from("4821"), &secret, b"", guesses).await.expect("the leader is there");
        users.push(client);
    }
    let end = Instant::now() + Duration::from_secs(4);
    let users: Vec<_> = users.into_iter().map(|client| tokio::spawn(live(client, end))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    local.kill(leader).await;
    for user in users {
        let slowest = user.await.expect("no operation fails");
        println!("slowest: {slowest:?}");
        assert!(slowest < LIMIT, "{slowest:?}");
    }
    local.shutdown().await;
}
