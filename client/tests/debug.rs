//! What a public type prints about itself holds no secret. A lint sees to it that each has a `Debug`.

use std::fmt::Debug;

use strongroom_client::{
    Client, Configuration, FixedTokens, HttpResponse, Https, NetworkError, Pin, RealmId, Transport, Url,
    UserSecret, Zeroizing, async_trait,
};

/// The secret of every kind in this test.
const MARK: &str = "qqqq";

fn assert_silent(value: &impl Debug) {
    for printed in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!printed.contains(MARK), "{printed}");
        // As bytes, in decimal and hexadecimal.
        let flat: String = printed.split_whitespace().collect();
        assert!(!flat.contains("113,113") && !flat.contains("7171"), "{printed}");
    }
}

fn configuration() -> Configuration {
    let json = serde_json::json!({
        "realms": [{
            "id": "11".repeat(16),
            "address": format!("https://{MARK}:{MARK}@realm.example/"),
            "other_addresses": [format!("https://{MARK}@other.example/")],
        }],
        "register_threshold": 1, "recover_threshold": 1, "pin_hashing_mode": "FastInsecure",
    });
    json.to_string().parse().unwrap()
}

fn tokens() -> FixedTokens {
    FixedTokens::from_iter([(RealmId([0x11; 16]), MARK.to_owned())])
}

/// Answers with a secret of its own.
struct Told;

#[async_trait]
impl Transport for Told {
    async fn post(
        &self,
        _: &Url,
        headers: &[(&'static str, &str)],
        _: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        assert_eq!(headers[1], ("Authorization", "Bearer qqqq"));
        Ok(HttpResponse { status: 200, body: MARK.as_bytes().to_vec().into() })
    }
}

#[test]
fn values_print_no_secret() {
    assert_silent(&Pin::from(MARK));
    assert_silent(&UserSecret::new(MARK.as_bytes()).unwrap());
    assert_silent(&tokens());
    assert!(format!("{:?}", tokens()).contains(&"11".repeat(16)), "it tells whose tokens there are");
    assert_silent(&HttpResponse { status: 200, body: MARK.as_bytes().to_vec().into() });
    assert_silent(&configuration());
    assert_silent(&configuration().realms()[0]);
    assert!(format!("{:?}", configuration()).contains("realm.example"));
    assert_silent(&Https::new().unwrap());
    assert_silent(&Client::builder(configuration(), tokens()).previous([configuration()]));
    assert_silent(&Client::builder(configuration(), tokens()).build().unwrap());
}

#[tokio::test(start_paused = true)]
async fn outcomes_print_no_secret() {
    let client = Client::builder(configuration(), tokens()).build_with(Told);
    let (pin, secret) = (Pin::from(MARK), UserSecret::new(MARK.as_bytes()).unwrap());
    assert_silent(&client.status().await);
    let registered = client.register(&pin, &secret, MARK.as_bytes(), 3.try_into().unwrap()).await;
    for error in [
        registered.unwrap_err(),
        client.recover(&pin, MARK.as_bytes()).await.unwrap_err(),
        client.delete().await.unwrap_err(),
    ] {
        assert_silent(&error);
        assert!(!error.to_string().contains(MARK), "{error}");
    }
    assert_silent(&client);
}
