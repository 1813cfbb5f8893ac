//! A change of the PIN: what it keeps, what it needs, what guesses cost while it is not finished, and who is asked for it.

use async_trait::async_trait;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::num::NonZeroU8;
use std::time::Duration;
use strongroom_client::{
    Bug, Cause, Client, Configuration, Error, ErrorKind, HttpResponse, NetworkError, Operation, Pin, Summary,
    Transport, UserSecret,
};
use tokio::time::sleep;
use url::Url;
use zeroize::Zeroizing;

use crate::realms::{Fault, Realms};
use crate::{SECRET, builder, client, recover, register, three};

const OLD: &str = "4821";
const NEW: &str = "1284";

async fn change(client: &Client, old: &str, new: &str) -> Result<(), Error> {
    client.change_pin(&Pin::from(old), &Pin::from(new), b"user").await
}

/// A registration with three guesses at three realms that offer staging.
async fn registered() -> (Realms, Client) {
    let realms = Realms::new(3, 0);
    realms.offer_staging(&[0, 1, 2]);
    let client = client(&realms, three(&realms));
    register(&client, 3).await.unwrap();
    (realms, client)
}

/// The same, with a change that has staged the new registration everywhere and activated it at these realms only.
async fn interrupted(activated: &'static [usize]) -> (Realms, Client) {
    let (realms, client) = registered().await;
    realms.plan(move |seen| {
        (seen.name == "Activate" && !activated.contains(&seen.realm)).then_some(Fault::Unavailable)
    });
    let outcome = change(&client, OLD, NEW).await;
    assert_eq!(outcome.is_ok(), activated.len() >= 2);
    client.close().await;
    realms.plan(|_| None);
    let new = realms.versions(0).into_iter().flatten().last();
    assert!((0..3).all(|realm| realms.versions(realm).contains(&new)));
    (realms, client)
}

fn guesses_left(outcome: Result<Vec<u8>, Error>) -> u16 {
    outcome.unwrap_err().guesses_remaining().expect("the PIN is wrong")
}

#[tokio::test(start_paused = true)]
async fn a_change_keeps_the_secret_and_the_number_of_guesses_and_the_old_pin_opens_nothing() {
    for software in [0, 1, 3] {
        let realms = Realms::new(3 - software, software);
        realms.offer_staging(&[0, 1, 2]);
        let client = client(&realms, three(&realms));
        register(&client, 7).await.unwrap();
        let before = realms.versions(0);
        change(&client, OLD, NEW).await.unwrap();
        client.close().await;
        assert!((0..3).all(|realm| realms.versions(realm) == realms.versions(0)));
        assert!(realms.versions(0) != before && realms.versions(0)[1].is_none());
        assert_eq!(guesses_left(recover(&client, OLD).await), 6);
        assert_eq!(recover(&client, NEW).await.unwrap(), SECRET);
        assert_eq!(client.attempts().await.realms.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_old_pin_costs_a_guess_and_stages_nothing() {
    let (realms, client) = registered().await;
    let wrong = change(&client, "0000", NEW).await.unwrap_err();
    assert_eq!((wrong.operation, wrong.guesses_remaining()), (Operation::ChangePin, Some(2)));
    assert!((0..3).all(|realm| realms.acted(realm, "Stage") == 0));
    assert_eq!(recover(&client, OLD).await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn realms_that_offer_no_staging_get_nothing_of_it() {
    // The realms in memory insist on that.
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    register(&client, 3).await.unwrap();
    let refused = change(&client, OLD, NEW).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unsupported);
    assert!(
        refused.causes.len() == 3 && refused.causes.iter().all(|error| error.cause == Cause::Unsupported)
    );
    assert!(refused.to_string().contains("recover the secret and register it again"), "{refused}");
    assert_eq!(guesses_left(recover(&client, "0000").await), 2);
    assert_eq!(recover(&client, OLD).await.unwrap(), SECRET);
    assert!((0..3).all(|realm| realms.seen(realm, "extensions").len() == 1), "it is asked once");
}

#[tokio::test(start_paused = true)]
async fn with_enough_that_offer_it_the_others_keep_what_they_have_and_are_told_of() {
    for register_threshold in [2, 3] {
        let realms = Realms::new(3, 0);
        realms.offer_staging(&[0, 1]);
        let client = client(&realms, realms.configuration(&[0, 1, 2], register_threshold, 2));
        register(&client, 3).await.unwrap();
        let before = realms.versions(2);
        let outcome = change(&client, OLD, NEW).await;
        assert_eq!(realms.versions(2), before);
        if register_threshold == 3 {
            let refused = outcome.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Unsupported);
            assert_eq!(refused.causes[0].realm, realms.id(2));
            assert_eq!(recover(&client, OLD).await.unwrap(), SECRET);
            continue;
        }
        outcome.unwrap();
        assert_eq!(guesses_left(recover(&client, OLD).await), 2);
        let recovered = client.recover_with_report(&Pin::from(NEW), b"user").await.unwrap();
        assert_eq!(recovered.secret.as_bytes(), SECRET);
        let behind: Vec<_> = recovered.behind.iter().map(|error| (error.realm, &error.cause)).collect();
        assert_eq!(behind, [(realms.id(2), &Cause::OtherRegistration)]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_beyond_the_protocol_while_the_pin_is_right_and_the_realms_agree() {
    let (realms, client) = registered().await;
    assert_eq!(recover(&client, OLD).await.unwrap(), SECRET);
    assert_eq!(client.status().await.summary(), Summary::Registered);
    client.delete().await.unwrap();
    assert!(recover(&client, OLD).await.is_err());
    for realm in 0..3 {
        assert!(["extensions", "Versions"].iter().all(|name| realms.seen(realm, name).is_empty()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_not_finished_is_opened_by_either_pin_for_one_guess_at_each_registration() {
    let (realms, client) = interrupted(&[]).await;
    // Both registrations are guessed at once, and neither loses more.
    assert_eq!(guesses_left(recover(&client, "0000").await), 2);
    assert!((0..3).all(|realm| realms.guess_counts(realm) == [Some(1), Some(1)]));
    assert_eq!(recover(&client, NEW).await.unwrap(), SECRET);
    client.close().await;
    assert!((0..3).all(|realm| realms.guess_counts(realm) == [Some(2), Some(0)]));
    assert_eq!(recover(&client, OLD).await.unwrap(), SECRET);
    client.close().await;
    assert!((0..3).all(|realm| realms.guess_counts(realm) == [Some(0), Some(0)]));
}

#[tokio::test(start_paused = true)]
async fn what_is_present_at_enough_realms_is_tried_first_and_what_is_being_activated_after_it() {
    let (realms, client) = interrupted(&[0]).await;
    assert_eq!(recover(&client, NEW).await.unwrap(), SECRET);
    client.close().await;
    assert_eq!([1, 2].map(|realm| realms.guess_counts(realm)), [[Some(1), Some(0)]; 2]);
    assert_eq!(recover(&client, OLD).await.unwrap(), SECRET);
    client.close().await;
    assert_eq!([0, 1, 2].map(|realm| realms.guess_counts(realm)[0]), [Some(0); 3]);
    assert_eq!([1, 2].map(|realm| realms.guess_counts(realm)[1]), [Some(0); 2]);
}

#[tokio::test(start_paused = true)]
async fn a_registration_whose_guesses_are_used_up_does_not_keep_the_other_from_being_opened() {
    let (realms, client) = interrupted(&[]).await;
    // The owner of the new PIN comes in between.
    for _ in 0..3 {
        assert!(recover(&client, "0000").await.is_err());
        let _ = recover(&client, NEW).await;
        client.close().await;
    }
    assert!((0..3).all(|realm| realms.versions(realm)[0].is_none()), "the old one is gone");
    assert_eq!(recover(&client, NEW).await.unwrap(), SECRET);
    change(&client, NEW, "3333").await.unwrap();
    client.close().await;
    assert!((0..3).all(|realm| realms.versions(realm)[1].is_none()));
    assert_eq!(recover(&client, "3333").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn the_secret_is_called_gone_only_once_both_registrations_are() {
    let (_, client) = interrupted(&[]).await;
    for left in [2, 1, 0, 0] {
        assert_eq!(guesses_left(recover(&client, "0000").await), left);
    }
    assert_eq!(guesses_left(recover(&client, OLD).await), 0);
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_could_hold_what_another_has_staged_leaves_it_undecided_whether_the_pin_is_wrong() {
    let (realms, client) = interrupted(&[]).await;
    realms.plan(|seen| (seen.realm > 0 && seen.name == "Versions").then_some(Fault::Unavailable));
    let undecided = recover(&client, "0000").await.unwrap_err();
    assert_eq!(undecided.kind, ErrorKind::Unavailable { may_have_cost_a_guess: true }, "{undecided:?}");
    assert!((0..3).all(|realm| realms.guess_counts(realm)[1] == Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_loses_every_reply_gets_two_stagings_out_of_a_call() {
    let realms = Realms::new(1, 0);
    realms.offer_staging(&[0]);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    register(&client, 3).await.unwrap();
    realms.plan(|seen| (seen.name == "Stage").then_some(Fault::LoseReplyAndSessions));
    let lost = change(&client, OLD, NEW).await.unwrap_err();
    assert_eq!(lost.kind, ErrorKind::Unavailable { may_have_cost_a_guess: false }, "{lost:?}");
    assert!(lost.to_string().contains("the old PIN or the new one still opens the secret"), "{lost}");
    assert_eq!((realms.acted(0, "Stage"), realms.acted(0, "Activate")), (2, 0));
    realms.plan(|_| None);
    assert_eq!(recover(&client, OLD).await.unwrap(), SECRET);
    change(&client, OLD, NEW).await.unwrap();
    assert_eq!(recover(&client, NEW).await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_what_is_staged_alone_makes_that_the_present_one_first() {
    // All that holds the new registration present is one realm, and all are needed.
    let realms = Realms::new(3, 0);
    realms.offer_staging(&[0, 1, 2]);
    let configuration: Configuration = realms.configuration(&[0, 1, 2], 3, 3);
    let client = client(&realms, configuration);
    register(&client, 3).await.unwrap();
    realms.plan(|seen| (seen.name == "Activate" && seen.realm > 0).then_some(Fault::Unavailable));
    change(&client, OLD, NEW).await.unwrap_err();
    client.close().await;
    // From here on, nothing can be staged.
    realms.plan(|seen| (seen.name == "Stage").then_some(Fault::Unavailable));
    change(&client, NEW, "3333").await.unwrap_err();
    client.close().await;
    assert!((0..3).all(|realm| realms.versions(realm) == realms.versions(0)));
    assert_eq!(recover(&client, NEW).await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn another_device_that_knows_nothing_of_staging_recovers_what_was_changed() {
    let (realms, client) = interrupted(&[0, 1]).await;
    // Nothing more is offered: what a client in the field does.
    realms.offer_staging(&[]);
    let rng = StdRng::seed_from_u64(9);
    let device = builder(&realms, three(&realms)).rng(rng).build_with(realms.clone());
    assert_eq!(recover(&device, NEW).await.unwrap(), SECRET);
    drop(client);
}

/// Copies of three realms, where somebody has registered something else, with three guesses.
async fn registered_by_another(realms: &Realms, pin: &str, seed: u64) -> Realms {
    let copies = realms.fork();
    // From a generator of its own, so that it is another version.
    let device = builder(&copies, three(&copies)).rng(StdRng::seed_from_u64(seed)).build_with(copies.clone());
    let secret = UserSecret::new(b"not the user's").unwrap();
    device.register(&Pin::from(pin), &secret, b"user", NonZeroU8::new(3).unwrap()).await.unwrap();
    device.close().await;
    copies
}

/// Three registrations, each of which two of three realms hold.
async fn three_held() -> Realms {
    let realms = Realms::new(3, 0);
    realms.offer_staging(&[0, 1, 2]);
    let mut made = Vec::new();
    for seed in 11..14 {
        made.push(registered_by_another(&realms, OLD, seed).await);
    }
    for (realm, present, staged) in [(0, 0, 1), (1, 0, 2), (2, 1, 2)] {
        realms.stage(realm, &made[present]);
        realms.activate(realm);
        realms.stage(realm, &made[staged]);
    }
    realms
}

#[tokio::test(start_paused = true)]
async fn a_pin_is_tried_at_two_registrations_at_most_however_many_are_shown() {
    let tried = async |plant: fn(Client) -> Client| {
        let realms = three_held().await;
        let device = plant(client(&realms, three(&realms)));
        assert_eq!(guesses_left(recover(&device, "0000").await), 2);
        device.close().await;
        let mut tried: Vec<_> = (0..3)
            .flat_map(|realm| realms.versions(realm).into_iter().zip(realms.guess_counts(realm)))
            .filter_map(|(version, count)| (count? > 0).then_some(version?.0))
            .collect();
        tried.sort_unstable();
        tried.dedup();
        tried.len()
    };
    assert_eq!(tried(|client| client).await, 2);
    assert_eq!(tried(|client| client.with_planted_bug(Bug::TryEveryRegistration)).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_pin_that_was_wrong_is_not_tried_again_when_another_device_ends_a_change_meanwhile() {
    let guesses = async |plant: fn(Client) -> Client| {
        let (realms, _) = interrupted(&[2]).await;
        // Between what it asks first and what it asks then.
        realms.plan(|seen| (seen.name == "Versions").then_some(Fault::ActivateFirst));
        let device = plant(client(&realms, three(&realms)));
        assert!(recover(&device, OLD).await.is_err());
        device.close().await;
        (0..3).map(|realm| realms.guess_count(realm).unwrap()).max()
    };
    assert_eq!(guesses(|client| client).await, Some(1));
    assert_eq!(guesses(|client| client.with_planted_bug(Bug::TryAgain)).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn hosts_learn_of_no_pin_that_is_right_by_a_registration_that_they_staged_and_half_activated() {
    let outcome = async |plant: fn(Client) -> Client| {
        let (realms, _) = registered().await;
        let forged = registered_by_another(&realms, OLD, 50).await;
        (0..3).for_each(|realm| realms.stage(realm, &forged));
        realms.activate(0);
        // So that the realm that names another registration is heard.
        let late = Fault::Slow(Duration::from_millis(50));
        realms.plan(move |seen| (seen.realm == 2 && seen.name == "Recover1").then_some(late));
        let device = plant(client(&realms, three(&realms)));
        let secret = recover(&device, OLD).await.unwrap();
        device.close().await;
        (secret == SECRET, realms.acted(0, "Recover2"))
    };
    assert_eq!(outcome(|client| client).await, (true, 0));
    let (is_the_users, guessed) = outcome(|client| client.with_planted_bug(Bug::StagedFirst)).await;
    assert!(!is_the_users && guessed > 0);
}

#[tokio::test(start_paused = true)]
async fn fewer_realms_than_the_threshold_do_not_decide_how_many_guesses_there_are_after_a_change() {
    let after = async |plant: fn(Client) -> Client| {
        let realms = Realms::new(5, 0);
        realms.offer_staging(&[0, 1, 2, 3, 4]);
        let device = plant(client(&realms, realms.configuration(&[0, 1, 2, 3, 4], 5, 3)));
        register(&device, 5).await.unwrap();
        device.close().await;
        (0..2).for_each(|liar| realms.set_num_guesses(liar, 255));
        let late = Fault::Slow(Duration::from_millis(50));
        realms.plan(move |seen| (seen.realm > 2 && seen.name == "Recover2").then_some(late));
        change(&device, OLD, NEW).await.unwrap();
        device.close().await;
        [2, 3, 4].map(|honest| realms.num_guesses(honest))
    };
    assert_eq!(after(|client| client).await, [Some(5); 3]);
    assert_eq!(after(|client| client.with_planted_bug(Bug::BelieveNumGuesses)).await, [Some(255); 3]);
}

/// Each request takes so many milliseconds to a realm.
#[derive(Clone)]
struct Delayed(Realms, [u64; 3]);

#[async_trait]
impl Transport for Delayed {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        let realm = (0..3).find(|realm| url.host_str().unwrap().contains(&format!("realm-{realm}"))).unwrap();
        sleep(Duration::from_millis(self.1[realm])).await;
        self.0.post(url, headers, body).await
    }

    async fn get(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        most: usize,
    ) -> Result<HttpResponse, NetworkError> {
        self.0.get(url, headers, most).await
    }
}

/// Whether one of the PINs still opens the secret after two devices changed it at once, over ways of so many milliseconds, with one realm
/// down: so the two that are left can be reached in different orders.
async fn opens_after_two_changes(delays: [[u64; 3]; 2], plant: fn(Client) -> Client) -> bool {
    let (realms, _) = registered().await;
    realms.plan(|seen| (seen.realm == 2).then_some(Fault::Unavailable));
    let configuration = |realms: &Realms| realms.configuration(&[0, 1, 2], 2, 2);
    let [one, two] = [0, 1].map(|n| {
        let device = builder(&realms, configuration(&realms)).rng(StdRng::seed_from_u64(71 + n as u64));
        plant(device.build_with(Delayed(realms.clone(), delays[n])))
    });
    let _ = tokio::join!(change(&one, OLD, NEW), change(&two, OLD, "2222"));
    one.close().await;
    two.close().await;
    realms.plan(|_| None);
    for pin in [OLD, NEW, "2222"] {
        let realms = realms.fork();
        if recover(&client(&realms, configuration(&realms)), pin).await.is_ok() {
            return true;
        }
    }
    false
}

#[tokio::test(start_paused = true)]
async fn two_devices_that_change_the_pin_at_once_do_not_lose_the_secret() {
    let mut lost = 0;
    for shift in 0..20 {
        let delays = [[10, 2, 6], [2, 10 + shift, 6]];
        assert!(opens_after_two_changes(delays, |client| client).await, "{delays:?}");
        let plant = |client: Client| client.with_planted_bug(Bug::ActivateUnasked);
        lost += usize::from(!opens_after_two_changes(delays, plant).await);
    }
    assert!(lost > 0);
}

#[tokio::test(start_paused = true)]
async fn what_replaces_a_registration_waits_for_what_the_same_client_replaces() {
    let outcome = async |plant: fn(Client) -> Client| {
        let (realms, _) = registered().await;
        let client = plant(builder(&realms, three(&realms)).build_with(Delayed(realms.clone(), [10, 2, 6])));
        let (first, second) = tokio::join!(change(&client, OLD, NEW), change(&client, OLD, "2222"));
        (first.is_ok(), second.err().and_then(|error| error.guesses_remaining()))
    };
    // The first has replaced the PIN that the second gives.
    assert_eq!(outcome(|client| client).await, (true, Some(2)));
    assert_ne!(outcome(|client| client.with_planted_bug(Bug::ReplaceAtOnce)).await, (true, Some(2)));
}
