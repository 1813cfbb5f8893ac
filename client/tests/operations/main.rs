//! The operations against realms in memory: thresholds, lost replies, lost sessions, and how long the client waits.

mod attempts;
mod change;
mod cut;
mod heads;
mod meanwhile;
mod outcomes;
mod realms;
mod repair;
mod replies;
mod silence;
mod stragglers;

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use realms::{Fault, Realms, first};
use strongroom_client::{
    AuthTokens, Cause, Client, ClientBuilder, Configuration, Error, ErrorKind, NoToken, Operation, Pin,
    RealmId, Registration, RetryPolicy, Summary, UserSecret,
};
use tokio::time::Instant;
use zeroize::Zeroizing;

const SECRET: &[u8] = b"what the user entrusts";

fn builder(realms: &Realms, configuration: Configuration) -> ClientBuilder {
    Client::builder(configuration, realms.tokens()).rng(StdRng::seed_from_u64(1))
}

fn client(realms: &Realms, configuration: Configuration) -> Client {
    builder(realms, configuration).build_with(realms.clone())
}

fn three(realms: &Realms) -> Configuration {
    realms.configuration(&[0, 1, 2], 3, 2)
}

async fn register(client: &Client, num_guesses: u8) -> Result<(), Error> {
    let secret = UserSecret::new(SECRET).unwrap();
    client.register(&Pin::from("4821"), &secret, b"user", NonZeroU8::new(num_guesses).unwrap()).await
}

async fn recover(client: &Client, pin: &str) -> Result<Vec<u8>, Error> {
    client.recover(&Pin::from(pin), b"user").await.map(|secret| secret.as_bytes().to_vec())
}

#[tokio::test(start_paused = true)]
async fn a_wrong_pin_costs_a_guess_and_the_right_one_gives_all_back() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    register(&client, 3).await.unwrap();
    let wrong = recover(&client, "0000").await;
    let error = wrong.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidPin { guesses_remaining: 2 });
    assert_eq!((error.operation, error.causes.len()), (Operation::Recover, 3));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    assert!((0..3).all(|realm| realms.guess_count(realm) == Some(0)));
}

#[tokio::test(start_paused = true)]
async fn status_tells_without_a_guess() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    assert_eq!(client.status().await.summary(), Summary::NotRegistered);
    register(&client, 1).await.unwrap();
    assert_eq!(client.status().await.summary(), Summary::Registered);
    assert!((0..3).all(|realm| realms.guess_count(realm) == Some(0)));

    realms.plan(|seen| (seen.realm < 2).then_some(Fault::Unavailable));
    let status = client.status().await;
    assert_eq!(status.summary(), Summary::Unknown);
    assert!(matches!(status.realms[0].registration, Err(Cause::Transient(_))));
    assert!(matches!(status.realms[2].registration, Ok(Registration::Registered { .. })));

    realms.plan(|_| None);
    assert!(recover(&client, "0000").await.is_err());
    assert_eq!(client.status().await.summary(), Summary::NoGuesses);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_to_register2_is_asked_for_again_with_the_same_ciphertext() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    realms.plan(first(2, Fault::LoseReply, |seen| seen.realm == 1 && seen.name == "Register2"));
    register(&client, 3).await.unwrap();
    let sent = realms.seen(1, "Register2");
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|seen| seen.body == sent[0].body));
    assert_eq!(realms.acted(1, "Register2"), 1);
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_register2_whose_session_is_gone_becomes_a_fresh_registration_everywhere() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    let mut dropped = false;
    realms.plan(move |seen| {
        let hit = seen.realm == 1 && seen.name == "Register2" && !dropped;
        dropped |= hit;
        hit.then_some(Fault::DropSessions)
    });
    register(&client, 3).await.unwrap();
    for realm in 0..3 {
        let sent = realms.seen(realm, "Register2");
        assert_eq!(sent.len(), 2);
        assert_ne!(sent[0].body, sent[1].body);
        assert_eq!(sent[0].session == sent[1].session, realm != 1);
    }
    let status = client.status().await;
    assert!(status.realms.iter().all(|realm| realm.registration == status.realms[0].registration));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_register2_that_stays_unavailable_in_its_session_becomes_a_fresh_registration() {
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    realms.plan(first(5, Fault::Unavailable, |seen| seen.name == "Register2"));
    register(&client, 3).await.unwrap();
    let sent = realms.seen(0, "Register2");
    assert!(sent[..5].iter().all(|seen| seen.body == sent[0].body));
    assert_ne!(sent[5].session, sent[0].session);
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_recover3_is_never_sent_in_another_session() {
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    register(&client, 3).await.unwrap();
    realms.plan(|seen| (seen.name == "Recover3").then_some(Fault::DropSessions));
    let error = recover(&client, "4821").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unavailable { .. }));
    assert_eq!(error.causes[0].cause, Cause::Unsettled);
    assert!(error.to_string().contains("try again"));
    assert_eq!(realms.seen(0, "Recover3").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_to_recover3_is_asked_for_again_with_the_same_ciphertext() {
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    register(&client, 3).await.unwrap();
    realms.plan(first(7, Fault::LoseReply, |seen| seen.name == "Recover3"));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    let sent = realms.seen(0, "Recover3");
    assert_eq!(sent.len(), 8);
    assert!(sent.iter().all(|seen| seen.body == sent[0].body));
    assert_eq!(realms.acted(0, "Recover3"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_is_needed_is_waited_for() {
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    register(&client, 3).await.unwrap();
    let begin = Instant::now();
    realms.plan(move |_| (begin.elapsed() < Duration::from_secs(6)).then_some(Fault::Unavailable));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    realms.plan(|_| Some(Fault::Unavailable));
    let begin = Instant::now();
    assert!(matches!(recover(&client, "4821").await, Err(Error { kind: ErrorKind::Unavailable { .. }, .. })));
    assert!((Duration::from_secs(10)..Duration::from_secs(13)).contains(&begin.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_is_not_needed_is_not_waited_for() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    register(&client, 3).await.unwrap();
    realms.plan(|seen| (seen.realm == 2).then_some(Fault::Unavailable));
    let begin = Instant::now();
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    assert!(begin.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_slow_realm_is_waited_for_as_long_as_it_decides() {
    let pause = Duration::from_secs(20);
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    realms.plan(move |seen| (seen.realm == 2).then_some(Fault::Slow(pause)));
    register(&client, 3).await.unwrap();
    assert!(realms.guess_count(2).is_some());

    realms.plan(move |seen| match seen.realm {
        0 if seen.name == "Recover1" => Some(Fault::SayNotRegistered),
        2 => Some(Fault::Slow(pause)),
        _ => None,
    });
    assert_eq!(client.status().await.summary(), Summary::Registered);
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    client.delete().await.unwrap();
    assert_eq!([0, 1, 2].map(|realm| realms.guess_count(realm)), [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn operations_run_on_any_thread() {
    fn sendable<T: Send>(future: T) -> T {
        future
    }
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    sendable(register(&client, 3)).await.unwrap();
    assert_eq!(sendable(recover(&client, "4821")).await.unwrap(), SECRET);
    assert_eq!(sendable(client.status()).await.summary(), Summary::Registered);
    realms.offer_staging(&[0]);
    sendable(client.change_pin(&Pin::from("4821"), &Pin::from("1284"), b"user")).await.unwrap();
    assert!(sendable(client.repair(&Pin::from("1284"), b"user")).await.unwrap().is_whole());
    sendable(client.close()).await;
    sendable(client.delete()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_deployed_policy_is_five_attempts_in_fifty_milliseconds() {
    let realms = Realms::new(1, 0);
    let client = builder(&realms, realms.configuration(&[0], 1, 1)).retry_policy(RetryPolicy::deployed());
    let client = client.build_with(realms.clone());
    realms.plan(|_| Some(Fault::Unavailable));
    let begin = Instant::now();
    assert!(recover(&client, "4821").await.is_err());
    assert_eq!(begin.elapsed(), Duration::from_millis(5 + 10 + 15 + 20));
    let sent = realms.seen(0, "Recover1");
    assert_eq!(sent.len(), 5);
    assert!(sent.windows(2).all(|pair| pair[0].session != pair[1].session));
}

#[tokio::test(start_paused = true)]
async fn a_phase_fails_as_soon_as_its_threshold_is_out_of_reach() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    realms.plan(|seen| (seen.realm == 0).then_some(Fault::Hang));
    assert!(matches!(recover(&client, "4821").await, Err(Error { kind: ErrorKind::NotRegistered, .. })));
}

#[tokio::test(start_paused = true)]
async fn sessions_are_used_again_for_less_than_their_lifetime() {
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    client.status().await;
    tokio::time::advance(Duration::from_millis(4999)).await;
    client.status().await;
    tokio::time::advance(Duration::from_millis(5000)).await;
    client.status().await;
    let sessions: Vec<_> = realms.seen(0, "Recover1").iter().map(|seen| seen.session).collect();
    assert_eq!(sessions[0], sessions[1]);
    assert_ne!(sessions[1], sessions[2]);
}

#[tokio::test(start_paused = true)]
async fn previous_configurations_are_asked_after_the_current_one_knows_nothing() {
    let realms = Realms::new(4, 0);
    let old = realms.configuration(&[0, 1], 2, 2);
    register(&client(&realms, old.clone()), 3).await.unwrap();
    let new = realms.configuration(&[2, 3], 2, 2);
    let moved = Client::builder(new, realms.tokens()).previous([old]).build_with(realms.clone());
    assert_eq!(recover(&moved, "4821").await.unwrap(), SECRET);
    assert!(matches!(
        recover(&moved, "0000").await,
        Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 2 }, .. })
    ));
    register(&moved, 5).await.unwrap();
    assert!(matches!(
        recover(&moved, "0000").await,
        Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 4 }, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn realms_with_different_registrations_have_none_together() {
    let realms = Realms::new(2, 0);
    for realm in 0..2 {
        let alone = realms.configuration(&[realm], 1, 1);
        // From a different generator each, so that each is a different registration.
        let client = Client::builder(alone, realms.tokens()).build_with(realms.clone());
        register(&client, 3).await.unwrap();
    }
    let error = recover(&client(&realms, realms.configuration(&[0, 1], 2, 2)), "4821").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NotRegistered));
    assert!(error.causes.iter().all(|error| error.cause == Cause::OtherRegistration));
    assert_eq!(error.causes.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn software_and_hardware_realms_work_together() {
    let realms = Realms::new(2, 1);
    let client = client(&realms, realms.configuration(&[0, 1, 2], 3, 3));
    register(&client, 3).await.unwrap();
    assert!(matches!(
        recover(&client, "0000").await,
        Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 2 }, .. })
    ));
    realms.plan(first(2, Fault::Unavailable, |seen| seen.realm == 2));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    client.delete().await.unwrap();
    assert_eq!(client.status().await.summary(), Summary::NotRegistered);
}

#[tokio::test(start_paused = true)]
async fn deletion_reaches_every_realm_it_can_and_names_the_others() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    register(&client, 3).await.unwrap();
    realms.plan(|seen| (seen.realm == 1).then_some(Fault::Unavailable));
    let error = client.delete().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unavailable { .. }));
    assert_eq!(error.causes.iter().map(|error| error.realm).collect::<Vec<_>>(), [realms.id(1)]);
    assert_eq!([0, 1, 2].map(|realm| realms.guess_count(realm)), [None, Some(0), None]);
}

struct Counted(Arc<AtomicUsize>);

#[async_trait]
impl AuthTokens for Counted {
    async fn token(&self, _: &RealmId) -> Result<Zeroizing<String>, NoToken> {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0..3 => Ok(Zeroizing::new("token".into())),
            _ => Err(NoToken),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_is_fetched_for_every_attempt_and_its_lack_is_final() {
    let realms = Realms::new(1, 0);
    let asked = Arc::new(AtomicUsize::new(0));
    let configuration = realms.configuration(&[0], 1, 1);
    let client = Client::builder(configuration, Counted(asked.clone())).build_with(realms.clone());
    realms.plan(|_| Some(Fault::Unavailable));
    assert!(matches!(recover(&client, "4821").await, Err(Error { kind: ErrorKind::InvalidAuth, .. })));
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    assert_eq!(realms.seen(0, "Recover1").len(), 3);
}
