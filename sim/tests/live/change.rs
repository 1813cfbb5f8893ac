//! A change of the PIN, and a repair, with the SDK and realms that run: three realms of one member each, over TLS.

use crate::support::tokens::Issuer;
use crate::support::{OneMember, Setting};
use serde_json::json;
use std::num::NonZeroU8;
use std::time::Duration;
use strongroom_client::{
    Cause, Client, Configuration, Error, ErrorKind, FixedTokens, Https, Mended, Pin, RetryPolicy, UserSecret,
};

const SECRET: &[u8] = b"what the user entrusts";

/// The SDK with three realms, two of which are enough.
fn sdk(realms: &[OneMember], issuer: &Issuer, certificate: &str) -> Client {
    let entry = |realm: &OneMember| {
        json!({
            "id": realm.realm.realm.to_string(),
            "address": format!("https://{}/", realm.front()),
            "public_key": realm.realm.public_key.to_string(),
        })
    };
    let configuration = json!({
        "realms": realms.iter().map(entry).collect::<Vec<_>>(),
        "register_threshold": 2,
        "recover_threshold": 2,
        "pin_hashing_mode": "FastInsecure",
    });
    let configuration: Configuration = configuration.to_string().parse().expect("usable");
    let token = |realm: &OneMember| issuer.token(Issuer::KIDS[0], "ada", &realm.realm.realm);
    let tokens = realms.iter().map(|realm| (realm.realm.realm, token(realm)));
    let transport = Https::with_root_certificates(certificate.as_bytes()).expect("a certificate");
    let policy = RetryPolicy { patience: Duration::from_secs(1), ..RetryPolicy::default() };
    let client = Client::builder(configuration, FixedTokens::from_iter(tokens)).retry_policy(policy);
    client.build_with(transport)
}

async fn opens(client: &Client, pin: &str) -> bool {
    let outcome = client.recover(&Pin::from(pin), b"info").await;
    client.close().await;
    match outcome {
        Ok(secret) => secret.as_bytes() == SECRET,
        Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining: 1.. }, .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_changes_a_pin_and_repairs_at_realms_that_run() {
    let issuer = Issuer::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let mut realms = Vec::new();
    for _ in 0..3 {
        let tls = Some((certificate.clone(), key.clone()));
        realms.push(OneMember::start(Setting { tenants: issuer.tenants_toml(), tls, clocks: None }).await);
    }
    realms.sort_by_key(|realm| realm.realm.realm);
    let client = sdk(&realms, &issuer, &certificate);
    let secret = UserSecret::new(SECRET).expect("short");
    let guesses = NonZeroU8::new(7).expect("not 0");
    client.register(&Pin::from("4821"), &secret, b"info", guesses).await.expect("all are there");
    client.close().await;
    client.change_pin(&Pin::from("4821"), &Pin::from("1284"), b"info").await.expect("they offer it");
    client.close().await;
    assert!(!opens(&client, "4821").await);
    assert!(opens(&client, "1284").await);

    // One misses a registration: that with the last share, so that those of the others are the same without it.
    let two = sdk(&realms[..2], &issuer, &certificate);
    two.register(&Pin::from("3333"), &secret, b"info", guesses).await.expect("both are there");
    let recovered = client.recover_with_report(&Pin::from("3333"), b"info").await.expect("two are enough");
    client.close().await;
    // As far as it was heard.
    let missed = realms[2].realm.realm;
    assert!(
        recovered.behind.iter().all(|error| error.realm == missed && error.cause == Cause::OtherRegistration)
    );
    let repair = client.repair(&Pin::from("3333"), b"info").await.expect("they offer it");
    client.close().await;
    assert!(repair.realms.iter().all(|realm| realm.outcome == Ok(Mended::RegisteredAnew)), "{repair:?}");
    assert!(client.attempts().await.agree());
    realms.remove(0).kill().await;
    assert!(opens(&client, "3333").await);
}
