//! What another device of the same user does during a recovery.

use std::num::NonZeroU8;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use strongroom_client::{
    Client, Configuration, Error, ErrorKind, HttpResponse, NetworkError, Pin, Transport, UserSecret,
};
use url::Url;
use zeroize::Zeroizing;

use crate::realms::{Fault, Realms};
use crate::{builder, client, recover, register, three};

const NEW_SECRET: &[u8] = b"what the other device entrusts";

/// Passes requests on; before some of them, given by number, the other device registers.
struct Meanwhile {
    realms: Realms,
    posts: AtomicUsize,
    before: Vec<usize>,
    other: Client,
    /// Nothing else arrives while the other device registers.
    one_at_a_time: tokio::sync::Mutex<()>,
    pin: &'static str,
}

#[async_trait]
impl Transport for Meanwhile {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        let alone = self.one_at_a_time.lock().await;
        if self.before.contains(&self.posts.fetch_add(1, Ordering::SeqCst)) {
            let (pin, secret) = (Pin::from(self.pin), UserSecret::new(NEW_SECRET).unwrap());
            self.other.register(&pin, &secret, b"user", NonZeroU8::new(5).unwrap()).await.unwrap();
        }
        drop(alone);
        self.realms.post(url, headers, body).await
    }
}

/// Registers with three guesses under 4821, and recovers with that PIN, while another device registers at `others` with
/// five guesses under `pin` before the given requests.
async fn recovery(
    realms: &Realms,
    configuration: Configuration,
    others: Configuration,
    before: &[usize],
    pin: &'static str,
) -> Result<Vec<u8>, Error> {
    register(&client(realms, configuration.clone()), 3).await.unwrap();
    let other = builder(realms, others).rng(StdRng::seed_from_u64(2)).build_with(realms.clone());
    let recovering = Client::builder(configuration, realms.tokens());
    let (realms, posts, before) = (realms.clone(), AtomicUsize::new(0), before.to_vec());
    let meanwhile = Meanwhile { realms, posts, before, other, one_at_a_time: Default::default(), pin };
    recover(&recovering.build_with(meanwhile), "4821").await
}

/// At one realm, requests 0 to 2 belong to the first try, and 3 to 5 to the second if the first got that far.
async fn at_one_realm(before: &[usize], pin: &'static str) -> (Realms, Result<Vec<u8>, Error>) {
    let realms = Realms::new(1, 0);
    let one = realms.configuration(&[0], 1, 1);
    let outcome = recovery(&realms, one.clone(), one, before, pin).await;
    (realms, outcome)
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_registered_anew_during_a_recovery_is_recovered_as_it_is_then() {
    // Before the Recover2, and before the Recover3.
    for before in [1, 2] {
        let (realms, outcome) = at_one_realm(&[before], "4821").await;
        assert_eq!(outcome.unwrap(), NEW_SECRET);
        assert_eq!(realms.guess_count(0), Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_pin_costs_one_guess_at_the_new_registration_and_no_more() {
    for before in [1, 2] {
        let (realms, outcome) = at_one_realm(&[before], "1111").await;
        let wrong = outcome.unwrap_err();
        assert!(matches!(wrong.kind, ErrorKind::InvalidPin { guesses_remaining: 4 }), "{wrong:?}");
        assert_eq!(realms.guess_count(0), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_changes_again_and_again_has_an_outcome_of_its_own_and_costs_no_guess() {
    let (realms, outcome) = at_one_realm(&[1, 3], "4821").await;
    let changed = outcome.unwrap_err();
    assert!(matches!(changed.kind, ErrorKind::RegistrationChanged), "{changed:?}");
    assert!(changed.to_string().contains("another device") && !changed.to_string().contains("protocol"));
    assert_eq!(realms.guess_count(0), Some(0));
    assert_eq!(realms.seen(0, "Recover2").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_realm_is_guessed_at_twice_when_some_are_registered_anew() {
    // The first three are Recover1.
    for before in [3, 4, 5] {
        let realms = Realms::new(3, 0);
        let some = realms.configuration(&[0, 1], 2, 2);
        let outcome = recovery(&realms, three(&realms), some, &[before], "1111").await;
        let wrong = outcome.unwrap_err();
        match before {
            // Two of three evaluated the PIN at the old registration, and one is enough for neither.
            5 => assert!(matches!(wrong.kind, ErrorKind::InvalidPin { .. }), "{wrong:?}"),
            _ => assert!(matches!(wrong.kind, ErrorKind::InvalidPin { guesses_remaining: 4 }), "{wrong:?}"),
        }
        for realm in 0..3 {
            assert!(realms.guess_count(realm) <= Some(1), "{before}, {realm}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_only_claims_it_gets_no_second_guess_at_what_is_registered() {
    for phase in ["Recover2", "Recover3"] {
        let realms = Realms::new(3, 0);
        let client = client(&realms, three(&realms));
        register(&client, 3).await.unwrap();
        realms.plan(move |seen| (seen.name == phase && seen.realm < 2).then_some(Fault::SayOtherVersion));
        let error = recover(&client, "4821").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::RegistrationChanged), "{phase}: {error:?}");
        assert_eq!(realms.acted(2, "Recover2"), 1, "{phase}");
        assert!(realms.acted(2, "Recover3") <= 1, "{phase}");
    }
}
