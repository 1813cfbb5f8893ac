//! A realm whose leader dies or stops, a host that hangs, an address that leads nowhere: how long that takes, and that it
//! costs no guess.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_client::{
    Cause, Client, Configuration, ErrorKind, HttpResponse, NetworkError, RetryPolicy, Transport,
};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::realms::{Fault, Realms, first};
use crate::{SECRET, builder, client, recover, register};

const LIMIT: Duration = Duration::from_secs(5);

/// One realm with a registration.
async fn registered() -> (Realms, Client) {
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    register(&client, 3).await.unwrap();
    (realms, client)
}

/// From the first request of this name on, there is no leader for `election`; then there is one that knows no earlier
/// session.
fn leader_lost(realms: &Realms, name: &'static str, fault: Fault, election: Duration) {
    let mut lost_at: Option<Instant> = None;
    realms.plan(move |seen| match lost_at {
        None if seen.name == name => {
            lost_at = Some(Instant::now());
            Some(fault)
        }
        Some(at) if at.elapsed() < election || seen.name == "lost session" => Some(Fault::Unavailable),
        _ => None,
    });
}

#[tokio::test(start_paused = true)]
async fn a_leader_lost_at_any_request_fails_no_recovery_and_no_registration_and_takes_less_than_five_seconds()
{
    for election in [Duration::from_millis(300), Duration::from_millis(1500), Duration::from_millis(2500)] {
        for fault in [Fault::LoseReplyAndSessions, Fault::HangAndLoseSessions] {
            for name in ["Recover1", "Recover2"] {
                let (realms, client) = registered().await;
                leader_lost(&realms, name, fault, election);
                let begin = Instant::now();
                assert_eq!(recover(&client, "4821").await.unwrap(), SECRET, "{name}, {fault:?}");
                assert!(begin.elapsed() < LIMIT, "{name}, {fault:?}, {election:?}: {:?}", begin.elapsed());
                assert_eq!(realms.guess_count(0), Some(0));
            }
            for name in ["Register1", "Register2"] {
                let realms = Realms::new(1, 0);
                let client = client(&realms, realms.configuration(&[0], 1, 1));
                leader_lost(&realms, name, fault, election);
                let begin = Instant::now();
                register(&client, 3).await.unwrap();
                assert!(begin.elapsed() < LIMIT, "{name}, {fault:?}, {election:?}: {:?}", begin.elapsed());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_is_back_is_noticed_within_half_a_second() {
    let (realms, client) = registered().await;
    for away in (0..8_000).step_by(700).map(Duration::from_millis) {
        let begin = Instant::now();
        realms.plan(move |_| (begin.elapsed() < away).then_some(Fault::Unavailable));
        recover(&client, "4821").await.unwrap();
        assert!(begin.elapsed() <= away + Duration::from_millis(500), "{away:?}: {:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_request_without_an_answer_is_the_same_ciphertext_and_costs_no_guess() {
    let (realms, client) = registered().await;
    realms.plan(first(2, Fault::Hang, |seen| seen.name == "Recover2"));
    let begin = Instant::now();
    let wrong = recover(&client, "0000").await.unwrap_err();
    assert!(matches!(wrong.kind, ErrorKind::InvalidPin { guesses_remaining: 2 }), "{wrong:?}");
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    let sent = realms.seen(0, "Recover2");
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|seen| seen.body == sent[0].body));
    assert_eq!((realms.acted(0, "Recover2"), realms.guess_count(0)), (1, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_takes_a_copy_for_an_error_and_ends_the_session_still_serves() {
    let (realms, client) = registered().await;
    let mut requests = 0;
    realms.plan(move |seen| {
        let (first, slow) = (requests == 0, Fault::Slow(Duration::from_secs(2)));
        requests += u32::from(seen.name == "Recover2");
        (seen.name == "Recover2").then_some(if first { slow } else { Fault::EndSession })
    });
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    assert_eq!(realms.acted(0, "Recover2"), 1);
    assert_ne!(realms.seen(0, "Recover2")[0].session, realms.seen(0, "Recover3")[0].session);
}

#[tokio::test(start_paused = true)]
async fn clients_in_the_field_send_no_copies_and_a_software_realm_gets_none_that_would_count() {
    let (realms, _) = registered().await;
    let client = builder(&realms, realms.configuration(&[0], 1, 1)).retry_policy(RetryPolicy::deployed());
    let client = client.build_with(realms.clone());
    realms.plan(|_| Some(Fault::Slow(Duration::from_secs(10))));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    assert_eq!(["Recover1", "Recover2", "Recover3"].map(|name| realms.seen(0, name).len()), [1; 3]);

    let realms = Realms::new(0, 1);
    let client = crate::client(&realms, realms.configuration(&[0], 1, 1));
    register(&client, 3).await.unwrap();
    realms.plan(|_| Some(Fault::Slow(Duration::from_secs(10))));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    assert_eq!(["Recover1", "Recover2", "Recover3"].map(|name| realms.seen(0, name).len()), [3, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_could_arrive_late_is_not_copied() {
    let (realms, _) = registered().await;
    realms.plan(|seen| (seen.name == "Delete").then_some(Fault::Slow(Duration::from_secs(4))));
    client(&realms, realms.configuration(&[0], 1, 1)).delete().await.unwrap();
    assert_eq!(realms.seen(0, "Delete").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_error_says_whether_the_attempt_can_have_cost_a_guess() {
    let (realms, client) = registered().await;
    for (name, cost) in [("Recover1", false), ("Recover2", true), ("Recover3", true)] {
        let mut down = false;
        realms.plan(move |seen| {
            down |= seen.name == name;
            down.then_some(Fault::Unavailable)
        });
        let error = recover(&client, "4821").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable { may_have_cost_a_guess: cost }, "{name}");
        assert_eq!(error.to_string().contains("No guess was spent"), !cost, "{error}");
        assert_eq!(error.to_string().contains("may have cost a guess"), cost, "{error}");
    }
}

/// What happens to requests to addresses whose path begins like this.
#[derive(Clone, Copy)]
enum Address {
    Refuses,
    Hangs,
    Untrusted,
}

/// One realm at several addresses; the first of them is in trouble.
#[derive(Clone)]
struct Addressed(Realms, Address, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Transport for Addressed {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        self.2.lock().unwrap().push(url.path().to_owned());
        if url.path() == "/first/req" {
            match self.1 {
                Address::Refuses => return Err(NetworkError::Lost("connection refused".into())),
                Address::Untrusted => return Err(NetworkError::Untrusted("expired".into())),
                Address::Hangs => std::future::pending().await,
            }
        }
        self.0.post(url, headers, body).await
    }
}

fn addressed(realms: &Realms, trouble: Address, others: &[&str]) -> (Client, Arc<Mutex<Vec<String>>>) {
    let json = realms.json(&[0], 1, 1, |_| "https://realm-0.example/first/".into());
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    json["realms"][0]["other_addresses"] = others.into();
    let configuration: Configuration = json.to_string().parse().unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let transport = Addressed(realms.clone(), trouble, asked.clone());
    (Client::builder(configuration, realms.tokens()).build_with(transport), asked)
}

#[tokio::test(start_paused = true)]
async fn an_address_that_refuses_or_hangs_is_left_for_the_next_one() {
    for (trouble, takes) in [(Address::Refuses, 5), (Address::Hangs, 1_000)] {
        let (realms, _) = registered().await;
        let (client, asked) = addressed(&realms, trouble, &["https://realm-0.example/second/"]);
        let begin = Instant::now();
        assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
        assert_eq!(begin.elapsed(), Duration::from_millis(takes));
        let asked = asked.lock().unwrap();
        assert_eq!(asked[0], "/first/req");
        assert!(asked[1..].iter().all(|path| path == "/second/req"), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_accepted_is_reported_at_once() {
    let (realms, _) = registered().await;
    let (client, asked) = addressed(&realms, Address::Untrusted, &[]);
    let begin = Instant::now();
    let error = recover(&client, "4821").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Assertion), "{error:?}");
    assert_eq!(error.causes[0].cause, Cause::Untrusted("expired".into()));
    assert!(error.causes[0].to_string().contains("certificate"), "{error:?}");
    assert_eq!((asked.lock().unwrap().len(), begin.elapsed()), (1, Duration::ZERO));
}
