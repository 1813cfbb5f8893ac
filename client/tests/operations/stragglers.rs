//! Operations answer at the threshold; what the other realms would miss by that, they get in the background.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use strongroom_client::{
    Bug, Cause, Client, ErrorKind, HttpResponse, NetworkError, RetryPolicy, Summary, Transport,
};
use tokio::time::{Instant, sleep};
use url::Url;
use zeroize::Zeroizing;

use crate::realms::{Fault, Realms};
use crate::{SECRET, builder, client, recover, register, three};

const SECOND: Duration = Duration::from_secs(1);
/// How long what is left goes on by default.
const STRAGGLING: Duration = Duration::from_secs(5);

/// How long requests to a realm are on their way, by its number.
type Delays = Arc<Mutex<HashMap<usize, Duration>>>;

/// Realms that are far away.
#[derive(Clone)]
struct Far {
    realms: Realms,
    delay: Arc<dyn Fn(usize) -> Duration + Send + Sync>,
}

#[async_trait]
impl Transport for Far {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        let number = url.host_str().unwrap().trim_start_matches("realm-").trim_end_matches(".example");
        let delay = (self.delay)(number.parse().unwrap());
        if !delay.is_zero() {
            sleep(delay).await;
        }
        self.realms.post(url, headers, body).await
    }
}

/// A client of three realms, two of which are enough for everything, and what says how far away each of them is.
fn far(realms: &Realms) -> (Client, Delays) {
    let delays = Delays::default();
    let of = delays.clone();
    let delay = Arc::new(move |realm| of.lock().unwrap().get(&realm).copied().unwrap_or_default());
    let builder = builder(realms, realms.configuration(&[0, 1, 2], 2, 2));
    (builder.build_with(Far { realms: realms.clone(), delay }), delays)
}

fn counts(realms: &Realms) -> [Option<u16>; 3] {
    [0, 1, 2].map(|realm| realms.guess_count(realm))
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_swallows_packets_costs_nobody_a_wait_and_a_status_a_second() {
    for swallowed in [Fault::Hang, Fault::TimeOut(Duration::from_secs(30)), Fault::Slow(STRAGGLING)] {
        let realms = Realms::new(3, 0);
        let client = client(&realms, realms.configuration(&[0, 1, 2], 2, 2));
        realms.plan(move |seen| (seen.realm == 2).then_some(swallowed));
        let begin = Instant::now();
        register(&client, 3).await.unwrap();
        let wrong = recover(&client, "0000").await.unwrap_err();
        assert!(matches!(wrong.kind, ErrorKind::InvalidPin { guesses_remaining: 2 }));
        assert!(wrong.causes.iter().any(|error| error.realm == realms.id(2)), "{swallowed:?} {wrong:?}");
        assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        let status = client.status().await;
        assert_eq!((status.summary(), begin.elapsed()), (Summary::Registered, SECOND));
        assert_eq!(status.realms.len(), 3);
        assert!(
            matches!(&status.realms[2].registration, Err(Cause::Transient(why)) if why.contains("second"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_is_late_in_any_phase_gives_its_guesses_back_before_a_close_is_over() {
    for phase in ["Recover1", "Recover2", "Recover3"] {
        let realms = Realms::new(3, 0);
        let client = client(&realms, three(&realms));
        register(&client, 3).await.unwrap();
        recover(&client, "0000").await.unwrap_err();
        assert_eq!(counts(&realms), [Some(1); 3]);
        let pause = Duration::from_secs(3);
        realms.plan(move |seen| (seen.realm == 2 && seen.name == phase).then_some(Fault::Slow(pause)));
        let begin = Instant::now();
        assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
        assert_eq!(begin.elapsed(), Duration::ZERO, "{phase}");
        client.close().await;
        assert_eq!((begin.elapsed(), counts(&realms)), (pause, [Some(0); 3]), "{phase}");
        // One that was late with its Recover1 was spared a guess.
        assert_eq!(realms.acted(2, "Recover2"), if phase == "Recover1" { 1 } else { 2 }, "{phase}");
        assert_eq!(realms.acted(2, "Recover3"), 1, "{phase}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_pin_that_is_on_its_way_counts_at_the_late_realm_as_well() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    register(&client, 3).await.unwrap();
    let mut asked = false;
    realms.plan(move |seen| {
        let first = seen.realm == 2 && seen.name == "Recover2" && !asked;
        asked |= first;
        first.then_some(Fault::Unavailable)
    });
    let wrong = recover(&client, "0000").await.unwrap_err();
    assert!(matches!(wrong.kind, ErrorKind::InvalidPin { guesses_remaining: 2 }), "{wrong:?}");
    client.close().await;
    assert_eq!(counts(&realms), [Some(1); 3]);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_goes_on_for_five_seconds_or_as_long_as_the_policy_says_and_no_longer() {
    for straggling in [STRAGGLING, SECOND, Duration::ZERO] {
        let realms = Realms::new(3, 0);
        let policy = RetryPolicy { straggling, ..RetryPolicy::default() };
        let client = builder(&realms, realms.configuration(&[0, 1, 2], 2, 2)).retry_policy(policy);
        let client = client.build_with(realms.clone());
        realms.plan(|seen| (seen.realm == 2).then_some(Fault::Hang));
        let begin = Instant::now();
        register(&client, 3).await.unwrap();
        client.close().await;
        assert_eq!(begin.elapsed(), straggling);
        // Nothing is left of it: the next one is not held up.
        realms.plan(|_| None);
        recover(&client, "4821").await.unwrap();
        client.close().await;
        assert_eq!(begin.elapsed(), straggling);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_dropped_abandons_what_is_left() {
    let realms = Realms::new(3, 0);
    let (client, delays) = far(&realms);
    delays.lock().unwrap().insert(2, SECOND);
    register(&client, 3).await.unwrap();
    drop(client);
    sleep(STRAGGLING).await;
    assert_eq!(counts(&realms), [Some(0), Some(0), None]);
}

/// Two registrations, the first of which is on its way to realm 2 for long. Whether all hold the same in the end.
async fn agree_after_two(plant: impl Fn(Client) -> Client) -> bool {
    let realms = Realms::new(3, 0);
    let (client, delays) = far(&realms);
    let client = plant(client);
    delays.lock().unwrap().insert(2, SECOND);
    register(&client, 3).await.unwrap();
    delays.lock().unwrap().clear();
    register(&client, 3).await.unwrap();
    client.close().await;
    sleep(STRAGGLING).await;
    assert_eq!(counts(&realms), [Some(0); 3]);
    let status = client.status().await;
    status.realms.iter().all(|realm| realm.registration == status.realms[0].registration)
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_arrives_late_replaces_none_that_was_made_after_it() {
    assert!(agree_after_two(|client| client).await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_wait_its_turn_is_noticed() {
    assert!(!agree_after_two(|client| client.with_planted_bug(Bug::AskOutOfTurn)).await);
}

/// Realm 0 has one guess left, the others two, and realm 2 is so far away.
async fn uneven(away: Duration) -> (Realms, Client) {
    let realms = Realms::new(3, 0);
    let (client, delays) = far(&realms);
    register(&client, 2).await.unwrap();
    realms.plan(|seen| (seen.realm == 0 && seen.name == "Recover3").then_some(Fault::SayBadTag));
    recover(&client, "4821").await.unwrap();
    client.close().await;
    assert_eq!(counts(&realms), [Some(1), Some(0), Some(0)]);
    realms.plan(|_| None);
    delays.lock().unwrap().insert(2, away);
    (realms, client)
}

#[tokio::test(start_paused = true)]
async fn a_wrong_pin_waits_for_a_realm_that_decides_whether_the_secret_is_gone() {
    let away = Duration::from_millis(300);
    let (realms, client) = uneven(away).await;
    let begin = Instant::now();
    let wrong = recover(&client, "0000").await.unwrap_err();
    assert!(matches!(wrong.kind, ErrorKind::InvalidPin { guesses_remaining: 1 }), "{wrong:?}");
    // Its Recover1, a handshake and its Recover2.
    assert!(begin.elapsed() <= 3 * away);
    assert_eq!(counts(&realms), [Some(2), Some(1), Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn the_right_pin_waits_for_no_count_of_guesses() {
    let (realms, client) = uneven(3 * SECOND).await;
    let begin = Instant::now();
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    client.close().await;
    assert_eq!(counts(&realms), [Some(0); 3]);
}

#[tokio::test(start_paused = true)]
async fn however_long_each_request_takes_all_realms_end_alike() {
    for seed in 0..30 {
        let realms = Realms::new(3, 0);
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        let delay = move |_| Duration::from_millis(rng.lock().unwrap().random_range(0..400));
        let client = builder(&realms, realms.configuration(&[0, 1, 2], 2, 2));
        let client = client.build_with(Far { realms: realms.clone(), delay: Arc::new(delay) });
        register(&client, 5).await.unwrap();
        register(&client, 5).await.unwrap();
        recover(&client, "0000").await.unwrap_err();
        register(&client, 5).await.unwrap();
        recover(&client, "0000").await.unwrap_err();
        assert_eq!(recover(&client, "4821").await.unwrap(), SECRET, "{seed}");
        client.close().await;
        assert_eq!(counts(&realms), [Some(0); 3], "{seed}");
        let versions = client.status().await.realms.into_iter().map(|realm| realm.registration.unwrap());
        let versions: Vec<_> = versions.collect();
        assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "{seed}");
    }
}
