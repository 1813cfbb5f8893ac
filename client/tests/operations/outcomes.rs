//! What the client concludes: never from one realm that lies and others that are silent.

use std::time::Duration;

use strongroom_client::{
    Bug, Cause, Client, Configuration, Error, ErrorKind, FixedTokens, RealmId, Registration, Summary,
};
use tokio::time::Instant;

use crate::realms::{Fault, Realms};
use crate::{SECRET, client, recover, register, three};

/// Three realms that hold a registration, two of which are needed.
async fn registered() -> (Realms, Client) {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    register(&client, 3).await.unwrap();
    (realms, client)
}

/// The first realm lies, and the second does not answer.
fn one_lies_and_one_is_down(realms: &Realms, lie: Fault) {
    realms.plan(move |seen| match seen.realm {
        0 => Some(lie),
        1 => Some(Fault::Unavailable),
        _ => None,
    });
}

fn cause_of(error: &Error, realm: RealmId) -> Option<&Cause> {
    error.causes.iter().find(|error| error.realm == realm).map(|error| &error.cause)
}

#[tokio::test(start_paused = true)]
async fn one_realm_that_lies_and_one_that_is_down_decide_nothing() {
    let (realms, client) = registered().await;
    for (lie, cause) in [
        (Fault::SayNotRegistered, Cause::NotRegistered),
        (Fault::SayNoGuesses, Cause::InvalidPin { guesses_remaining: 0 }),
    ] {
        one_lies_and_one_is_down(&realms, lie);
        let error = recover(&client, "4821").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Unavailable { .. }), "{error:?}");
        assert_eq!(cause_of(&error, realms.id(0)), Some(&cause));
        assert!(matches!(cause_of(&error, realms.id(1)), Some(Cause::Transient(_))));
        assert_eq!(error.causes.len(), 2);
        assert_eq!(client.status().await.summary(), Summary::Unknown);
    }
    one_lies_and_one_is_down(&realms, Fault::SayOtherVersion);
    let error = recover(&client, "4821").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unavailable { .. }), "{error:?}");
    assert_eq!(client.status().await.summary(), Summary::Unknown);

    // Nothing was lost by it.
    realms.plan(|seen| (seen.realm == 0).then_some(Fault::SayNotRegistered));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_counts_silence_or_believes_one_realm_is_noticed() {
    let (realms, client) = registered().await;
    let client = client.with_planted_bug(Bug::SilenceDenies);
    one_lies_and_one_is_down(&realms, Fault::SayNotRegistered);
    assert!(matches!(recover(&client, "4821").await, Err(Error { kind: ErrorKind::NotRegistered, .. })));

    let client = client.with_planted_bug(Bug::OneLockedRealmDecides);
    one_lies_and_one_is_down(&realms, Fault::SayNoGuesses);
    let gone = recover(&client, "4821").await;
    assert!(matches!(gone, Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 0 }, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_refuses_the_token_is_silent_too() {
    let (realms, _) = registered().await;
    let tokens = FixedTokens::from_iter([0, 2].map(|realm| (realms.id(realm), "token".to_owned())));
    let client = Client::builder(three(&realms), tokens).build_with(realms.clone());
    realms.plan(|seen| (seen.realm == 0).then_some(Fault::SayNotRegistered));
    let error = recover(&client, "4821").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::InvalidAuth), "{error:?}");
    assert_eq!(cause_of(&error, realms.id(0)), Some(&Cause::NotRegistered));
}

#[tokio::test(start_paused = true)]
async fn realms_that_agree_decide_without_one_that_is_down() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    realms.plan(|seen| (seen.realm == 1).then_some(Fault::Unavailable));
    assert!(matches!(recover(&client, "4821").await, Err(Error { kind: ErrorKind::NotRegistered, .. })));
    assert_eq!(client.status().await.summary(), Summary::NotRegistered);

    realms.plan(|_| None);
    register(&client, 1).await.unwrap();
    realms.plan(|seen| (seen.realm == 1).then_some(Fault::Unavailable));
    let last = recover(&client, "0000").await;
    assert!(
        matches!(last, Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 0 }, .. })),
        "{last:?}"
    );
    let gone = recover(&client, "4821").await;
    assert!(
        matches!(gone, Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 0 }, .. })),
        "{gone:?}"
    );
    assert_eq!(client.status().await.summary(), Summary::NoGuesses);
}

#[tokio::test(start_paused = true)]
async fn one_realm_cannot_say_for_two_that_the_guesses_are_used_up() {
    let realms = Realms::new(3, 0);
    let client = client(&realms, three(&realms));
    realms.plan(|seen| (seen.realm == 0).then_some(Fault::SayNoGuesses));
    assert!(matches!(recover(&client, "4821").await, Err(Error { kind: ErrorKind::NotRegistered, .. })));
    let status = client.status().await;
    assert_eq!(status.realms[0].registration, Ok(Registration::NoGuesses));
    assert_eq!(status.summary(), Summary::NotRegistered);
}

/// A wrong PIN, after which one realm has no guess left, one has, and the third is down: the two with guesses left
/// are enough.
async fn after_a_wrong_pin_at_different_realms(plant: impl Fn(Client) -> Client) -> (Realms, Client, Error) {
    let realms = Realms::new(3, 0);
    let client = plant(client(&realms, three(&realms)));
    register(&client, 2).await.unwrap();
    realms.plan(|seen| (seen.realm == 2).then_some(Fault::Unavailable));
    let first = recover(&client, "0000").await;
    assert!(
        matches!(first, Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 1 }, .. })),
        "{first:?}"
    );
    realms.plan(|seen| (seen.realm == 1).then_some(Fault::Unavailable));
    let second = recover(&client, "0000").await.unwrap_err();
    (realms, client, second)
}

#[tokio::test(start_paused = true)]
async fn the_secret_is_not_called_gone_while_enough_realms_may_have_guesses() {
    let (realms, client, error) = after_a_wrong_pin_at_different_realms(|client| client).await;
    assert!(matches!(error.kind, ErrorKind::Unavailable { .. }), "{error:?}");
    assert_eq!(cause_of(&error, realms.id(0)), Some(&Cause::InvalidPin { guesses_remaining: 0 }));
    assert_eq!(cause_of(&error, realms.id(2)), Some(&Cause::InvalidPin { guesses_remaining: 1 }));
    realms.plan(|_| None);
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn the_realm_with_the_fewest_guesses_speaking_for_all_is_noticed() {
    let plant = |client: Client| client.with_planted_bug(Bug::LeastGuessesDecide);
    let (_, _, error) = after_a_wrong_pin_at_different_realms(plant).await;
    assert!(matches!(error.kind, ErrorKind::InvalidPin { guesses_remaining: 0 }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn later_phases_conclude_by_the_same_rule() {
    for (phase, lie) in [
        ("Recover2", Fault::SayNoGuesses),
        ("Recover2", Fault::SayNotRegistered),
        ("Recover2", Fault::SayOtherVersion),
        ("Recover3", Fault::SayNoGuesses),
        ("Recover3", Fault::SayNotRegistered),
        ("Recover3", Fault::SayOtherVersion),
    ] {
        let (realms, client) = registered().await;
        realms.plan(move |seen| match seen.realm {
            0 if seen.name == phase => Some(lie),
            1 => Some(Fault::Unavailable),
            _ => None,
        });
        let error = recover(&client, "4821").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Unavailable { .. }), "{phase}, {lie:?}: {error:?}");
        // The silence began two phases ago and is still named.
        assert!(matches!(cause_of(&error, realms.id(1)), Some(Cause::Transient(_))), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_tag_does_not_make_a_right_pin_wrong() {
    let (realms, client) = registered().await;
    realms.plan(|seen| match (seen.realm, seen.name) {
        (0, "Recover3") => Some(Fault::SayBadTag),
        (1, _) => Some(Fault::Unavailable),
        _ => None,
    });
    let error = recover(&client, "4821").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Assertion), "{error:?}");
    realms.plan(|seen| (seen.realm == 0 && seen.name == "Recover3").then_some(Fault::SayBadTag));
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

/// A secret at realm 3, and a later one at realms 0 to 2.
async fn moved() -> (Realms, Client) {
    let realms = Realms::new(4, 0);
    let old: Configuration = realms.configuration(&[3], 1, 1);
    register(&client(&realms, old.clone()), 3).await.unwrap();
    let moved = Client::builder(three(&realms), realms.tokens()).previous([old]).build_with(realms.clone());
    register(&moved, 3).await.unwrap();
    (realms, moved)
}

#[tokio::test(start_paused = true)]
async fn silence_never_leads_to_a_previous_configuration() {
    let (realms, moved) = moved().await;
    let lies = [Fault::SayNotRegistered, Fault::SayNoGuesses, Fault::SayOtherVersion, Fault::Unavailable];
    for phase in ["Recover1", "Recover2", "Recover3"] {
        for lie in lies {
            realms.plan(move |seen| match seen.realm {
                0 if seen.name == phase => Some(lie),
                1 => Some(Fault::Unavailable),
                _ => None,
            });
            let error = recover(&moved, "4821").await.unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Unavailable { .. }), "{phase}, {lie:?}: {error:?}");
            assert!(realms.seen(3, "Recover1").is_empty());
        }
    }
}

/// The same realms in a previous configuration, and hosts that deny in the last phase what they showed before.
#[tokio::test(start_paused = true)]
async fn a_realm_of_several_configurations_gets_one_attempt_in_a_call() {
    for phase in ["Recover2", "Recover3"] {
        let realms = Realms::new(3, 0);
        let client = Client::builder(three(&realms), realms.tokens())
            .previous([three(&realms)])
            .build_with(realms.clone());
        register(&client, 3).await.unwrap();
        realms.plan(move |seen| (seen.name == phase && seen.realm < 2).then_some(Fault::SayNotRegistered));
        let error = recover(&client, "4821").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::NotRegistered), "{error:?}");
        assert_eq!(realms.seen(2, "Recover1").len(), 1);
        assert!(realms.acted(2, phase) <= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn falling_back_on_silence_is_noticed() {
    let (realms, moved) = moved().await;
    let moved = moved.with_planted_bug(Bug::FallBackOnSilence);
    one_lies_and_one_is_down(&realms, Fault::SayNotRegistered);
    recover(&moved, "4821").await.unwrap();
    assert_eq!(realms.seen(3, "Recover1").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_fails_at_once_does_not_keep_the_others_from_deciding() {
    let realms = Realms::new(3, 0);
    let tokens = FixedTokens::from_iter([0, 2].map(|realm| (realms.id(realm), "token".to_owned())));
    let client = Client::builder(three(&realms), tokens).build_with(realms.clone());
    realms.plan(|seen| (seen.realm == 2).then_some(Fault::Slow(Duration::from_secs(3))));
    assert!(matches!(recover(&client, "4821").await, Err(Error { kind: ErrorKind::NotRegistered, .. })));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_realm_that_cannot_decide_any_more() {
    let realms = Realms::new(3, 0);
    let tokens = FixedTokens::from_iter([(realms.id(0), "token".to_owned())]);
    let client = Client::builder(three(&realms), tokens).build_with(realms.clone());
    realms.plan(|_| Some(Fault::Hang));
    let begin = Instant::now();
    assert!(matches!(recover(&client, "4821").await, Err(Error { kind: ErrorKind::InvalidAuth, .. })));
    assert!(begin.elapsed() < Duration::from_millis(100));
}
