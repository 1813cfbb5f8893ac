//! Realms that missed a registration or a change are found on recovery, and made whole by one call.

use strongroom_client::{
    Cause, Client, Configuration, Error, ErrorKind, Mended, Operation, Pin, Repair, Summary,
};

use crate::realms::{Fault, Realms};
use crate::{SECRET, client, recover, register};

const PIN: &str = "4821";

fn two_of_three(realms: &Realms) -> Configuration {
    realms.configuration(&[0, 1, 2], 2, 2)
}

/// Three realms, the last of which missed the registration.
async fn missed() -> (Realms, Client) {
    let realms = Realms::new(3, 0);
    realms.offer_staging(&[0, 1, 2]);
    let client = client(&realms, two_of_three(&realms));
    realms.plan(|seen| (seen.realm == 2).then_some(Fault::Unavailable));
    register(&client, 3).await.unwrap();
    client.close().await;
    realms.plan(|_| None);
    assert_eq!(realms.versions(2), [None, None]);
    (realms, client)
}

async fn repair(client: &Client) -> Result<Repair, Error> {
    let repair = client.repair(&Pin::from(PIN), b"user").await;
    client.close().await;
    repair
}

async fn behind(client: &Client) -> Vec<Cause> {
    let recovered = client.recover_with_report(&Pin::from(PIN), b"user").await.unwrap();
    assert_eq!(recovered.secret.as_bytes(), SECRET);
    recovered.behind.into_iter().map(|error| error.cause).collect()
}

fn outcomes(repair: &Repair) -> Vec<Result<Mended, Cause>> {
    repair.realms.iter().map(|realm| realm.outcome.clone()).collect()
}

/// That each realm can stand in for another, and guesses are as at the beginning.
async fn is_whole(realms: &Realms, client: &Client) {
    assert!((0..3).all(|realm| realms.versions(realm) == realms.versions(0)));
    assert!((0..3).all(|realm| realms.guess_counts(realm) == [Some(0), None]));
    assert_eq!(behind(client).await, []);
    for down in 0..3 {
        realms.plan(move |seen| (seen.realm == down).then_some(Fault::Unavailable));
        assert_eq!(recover(client, PIN).await.unwrap(), SECRET);
        client.close().await;
    }
    realms.plan(|_| None);
    let wrong = recover(client, "0000").await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::InvalidPin { guesses_remaining: 2 });
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_missed_the_registration_is_told_of_and_gets_one_by_one_call() {
    let (realms, client) = missed().await;
    assert_eq!(behind(&client).await, [Cause::NotRegistered]);
    let repair = repair(&client).await.unwrap();
    assert_eq!(outcomes(&repair), vec![Ok(Mended::RegisteredAnew); 3]);
    assert!(repair.is_whole());
    is_whole(&realms, &client).await;
}

#[tokio::test(start_paused = true)]
async fn a_realm_with_an_earlier_registration_is_repaired_too() {
    let (realms, client) = missed().await;
    repair(&client).await.unwrap();
    realms.plan(|seen| (seen.realm == 1).then_some(Fault::Unavailable));
    register(&client, 3).await.unwrap();
    client.close().await;
    realms.plan(|_| None);
    assert_eq!(behind(&client).await, [Cause::OtherRegistration]);
    assert!(repair(&client).await.unwrap().is_whole());
    is_whole(&realms, &client).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_whole_stays_as_it_is() {
    let (realms, client) = missed().await;
    repair(&client).await.unwrap();
    let before = realms.versions(0);
    assert_eq!(outcomes(&repair(&client).await.unwrap()), vec![Ok(Mended::Nothing); 3]);
    assert_eq!(realms.versions(0), before);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_not_finished_is_finished_for_the_new_pin_and_dropped_for_the_old_one() {
    for (old, new) in [("0000", PIN), (PIN, "0000")] {
        for activated in [0, 1] {
            let (realms, client) = missed().await;
            repair(&client).await.unwrap();
            if old != PIN {
                client.change_pin(&Pin::from(PIN), &Pin::from(old), b"user").await.unwrap();
                client.close().await;
            }
            realms.plan(move |seen| {
                (seen.name == "Activate" && seen.realm >= activated).then_some(Fault::Unavailable)
            });
            client.change_pin(&Pin::from(old), &Pin::from(new), b"user").await.unwrap_err();
            client.close().await;
            realms.plan(|_| None);
            let repair = repair(&client).await.unwrap();
            assert!(repair.is_whole(), "{repair:?}");
            is_whole(&realms, &client).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_cannot_be_repaired_is_named_and_nothing_is_registered_for_nothing() {
    let (realms, client) = missed().await;
    let before = [0, 1, 2].map(|realm| realms.versions(realm));
    realms.plan(|seen| (seen.realm == 2).then_some(Fault::Unavailable));
    let report = repair(&client).await.unwrap();
    assert_eq!(outcomes(&report)[..2], [Ok(Mended::Nothing), Ok(Mended::Nothing)]);
    assert!(matches!(outcomes(&report)[2], Err(Cause::Transient(_))), "{report:?}");
    realms.plan(|_| None);
    realms.offer_staging(&[0, 1]);
    let client = crate::client(&realms, two_of_three(&realms));
    let report = repair(&client).await.unwrap();
    assert_eq!(outcomes(&report), [Ok(Mended::Nothing), Ok(Mended::Nothing), Err(Cause::Unsupported)]);
    // One that missed it offers staging, and one that has it does not: as many would hold it afterwards.
    realms.offer_staging(&[1, 2]);
    let client = crate::client(&realms, two_of_three(&realms));
    let report = repair(&client).await.unwrap();
    assert_eq!(outcomes(&report)[2], Err(Cause::NotRegistered));
    assert_eq!([0, 1, 2].map(|realm| realms.versions(realm)), before);
}

#[tokio::test(start_paused = true)]
async fn a_repair_fails_as_what_it_is_and_leaves_what_there_was() {
    let (realms, client) = missed().await;
    let wrong = client.repair(&Pin::from("0000"), b"user").await.unwrap_err();
    assert_eq!((wrong.operation, wrong.guesses_remaining()), (Operation::Repair, Some(2)));
    realms.plan(|seen| (seen.name == "Stage" && seen.realm > 0).then_some(Fault::Unavailable));
    let failed = repair(&client).await.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Unavailable { may_have_cost_a_guess: false });
    assert_eq!(recover(&client, PIN).await.unwrap(), SECRET);
    realms.plan(|_| None);
    assert!(repair(&client).await.unwrap().is_whole());
    is_whole(&realms, &client).await;

    realms.offer_staging(&[]);
    let client = crate::client(&realms, two_of_three(&realms));
    assert_eq!(repair(&client).await.unwrap_err().kind, ErrorKind::Unsupported);
    assert_eq!(client.status().await.summary(), Summary::Registered);
}
