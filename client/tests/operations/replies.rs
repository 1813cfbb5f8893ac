//! A host that drops replies gains little: how often a realm accepts what gives guesses, in one call.

use strongroom_client::{Bug, Cause, Client, ErrorKind};

use crate::realms::{Fault, Realms};
use crate::{SECRET, client, recover, register};

/// How many registrations a realm accepts in one call when its host loses every reply to them.
async fn registrations_accepted(plant: impl Fn(Client) -> Client) -> usize {
    let realms = Realms::new(1, 0);
    let client = plant(client(&realms, realms.configuration(&[0], 1, 1)));
    realms.plan(|seen| (seen.name == "Register2").then_some(Fault::LoseReplyAndSessions));
    let error = register(&client, 3).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unavailable { .. }), "{error:?}");
    realms.acted(0, "Register2")
}

/// How many right Recover3 a realm accepts in one call when its host loses every reply to them.
async fn recoveries_accepted(plant: impl Fn(Client) -> Client) -> usize {
    let realms = Realms::new(1, 0);
    let client = plant(client(&realms, realms.configuration(&[0], 1, 1)));
    register(&client, 3).await.unwrap();
    realms.plan(|seen| (seen.name == "Recover3").then_some(Fault::LoseReplyAndSessions));
    let error = recover(&client, "4821").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unavailable { .. }), "{error:?}");
    realms.acted(0, "Recover3")
}

#[tokio::test(start_paused = true)]
async fn a_host_that_loses_every_reply_gets_two_registrations_out_of_a_call_and_one_recovery() {
    assert_eq!(registrations_accepted(|client| client).await, 2);
    assert_eq!(recoveries_accepted(|client| client).await, 1);
}

#[tokio::test(start_paused = true)]
async fn registrations_and_recoveries_beyond_that_are_noticed() {
    assert_eq!(registrations_accepted(|client| client.with_planted_bug(Bug::RestartThrice)).await, 4);
    let anywhere = |client: Client| client.with_planted_bug(Bug::ResendInAnySession);
    assert!(registrations_accepted(anywhere).await > 2);
    assert!(recoveries_accepted(anywhere).await > 1);
}

#[tokio::test(start_paused = true)]
async fn every_realm_of_several_accepts_at_most_two_registrations_whichever_loses_replies() {
    for lossy in [&[0][..], &[1, 2], &[0, 1, 2]] {
        let realms = Realms::new(3, 0);
        let client = client(&realms, realms.configuration(&[0, 1, 2], 3, 2));
        realms.plan(move |seen| {
            (seen.name == "Register2" && lossy.contains(&seen.realm)).then_some(Fault::LoseReplyAndSessions)
        });
        register(&client, 3).await.unwrap_err();
        assert_eq!([0, 1, 2].map(|realm| realms.acted(realm, "Register2")), [2, 2, 2], "{lossy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_whose_session_is_lost_is_begun_again_once() {
    let realms = Realms::new(1, 0);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    realms.plan(|seen| (seen.name == "Register2").then_some(Fault::DropSessions));
    let error = register(&client, 3).await.unwrap_err();
    assert_eq!(error.causes[0].cause, Cause::Unsettled);
    assert_eq!(realms.seen(0, "Register2").len(), 2);

    realms.plan(|_| None);
    register(&client, 3).await.unwrap();
    assert_eq!(recover(&client, "4821").await.unwrap(), SECRET);
}

#[tokio::test(start_paused = true)]
async fn a_software_realm_is_sent_what_gives_guesses_five_times_at_most() {
    let realms = Realms::new(0, 1);
    let client = client(&realms, realms.configuration(&[0], 1, 1));
    realms.plan(|seen| (seen.name == "Register2").then_some(Fault::LoseReply));
    register(&client, 3).await.unwrap_err();
    assert_eq!(realms.acted(0, "Register2"), 5);
    realms.plan(|seen| (seen.name == "Recover3").then_some(Fault::LoseReply));
    recover(&client, "4821").await.unwrap_err();
    assert_eq!(realms.acted(0, "Recover3"), 5);
}
