//! The question which requests counted: asked by name alone, and what is made of realms that do not know it.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use strongroom_client::{Cause, Client, Pin, Standing};

use super::realms::{Fault, Realms, first};
use super::{SECRET, builder, client, recover, register};

#[tokio::test(start_paused = true)]
async fn nothing_but_its_own_name_asks_for_the_attempts() {
    let realms = Realms::new(2, 1);
    let client = client(&realms, realms.configuration(&[0, 1, 2], 3, 2));
    register(&client, 3).await.unwrap();
    assert!(recover(&client, "0000").await.is_err());
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
    client.status().await;
    client.delete().await.unwrap();
    assert!((0..3).all(|realm| realms.seen(realm, "Attempts").is_empty()));
    client.attempts().await;
    let asked: Vec<_> = (0..3).map(|realm| realms.seen(realm, "Attempts").len()).collect();
    assert_eq!(asked, [1, 1, 0], "a software realm signs nothing, so it is not asked");
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_cannot_read_the_question_does_not_support_it_and_serves_on() {
    let realms = Realms::new(2, 1);
    let client = client(&realms, realms.configuration(&[0, 1, 2], 3, 2));
    register(&client, 3).await.unwrap();
    realms.plan(|seen| (seen.realm == 1 && seen.name == "Attempts").then_some(Fault::CannotRead));
    let attempts = client.attempts().await;
    let lists: Vec<_> = attempts.realms.iter().map(|told| told.list.clone()).collect();
    assert!(lists[0].is_ok(), "{lists:?}");
    assert_eq!(lists[1], Err(Cause::Unsupported));
    assert_eq!(lists[2], Err(Cause::Unsupported));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_is_not_available_is_asked_again() {
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    realms.plan(first(2, Fault::Unavailable, |seen| seen.name == "Attempts"));
    assert!(client.attempts().await.realms[0].list.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_list_is_the_users_if_it_is_of_the_registration_that_the_pin_opened() {
    let realms = Realms::new(3, 0);
    let all = || realms.configuration(&[0, 1, 2], 3, 2);
    // Each from a generator of its own: sessions are named by what is drawn.
    let device = |seed| builder(&realms, all()).rng(StdRng::seed_from_u64(seed)).build_with(realms.clone());
    let (one, other) = (device(1), device(2));
    let is_yours = async |client: &Client| {
        let attempts = client.attempts().await;
        assert!(attempts.agree());
        attempts.realms[0].list.as_ref().unwrap().is_yours()
    };
    assert_eq!(is_yours(&one).await, None);
    register(&one, 3).await.unwrap();
    assert_eq!(is_yours(&one).await, Some(true));
    let before = one.attempts().await;
    assert_eq!(before.follows(&before)[0].1, Standing::Whole { new: 0 });
    assert_eq!(is_yours(&other).await, None);
    assert!(other.recover(&Pin::from("0000"), b"user").await.is_err());
    assert_eq!(is_yours(&other).await, None, "a wrong PIN opens nothing");
    assert_eq!(recover(&other, "4821").await.unwrap(), SECRET);
    assert_eq!(is_yours(&other).await, Some(true));
    register(&device(3), 3).await.unwrap();
    assert_eq!(is_yours(&one).await, Some(false));
    assert_eq!(one.attempts().await.follows(&before)[0].1, Standing::Anew);
    one.delete().await.unwrap();
    assert_eq!(is_yours(&one).await, None);
}
