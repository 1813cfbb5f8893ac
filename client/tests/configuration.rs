//! Which configurations are legal, their share indexes, and where requests go.

use serde_json::{Value, json};
use strongroom_client::{Configuration, ConfigurationError};

const VECTORS: &str = include_str!("../../proto/vectors/config.json");

#[test]
fn every_recorded_configuration_is_accepted_or_refused_as_required() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 30);
    for case in cases {
        let (name, parsed) = (&case["name"], Configuration::from_json(case["json"].as_str().unwrap()));
        match case["required"].as_str().unwrap() {
            "accept" => {
                let configuration = parsed.unwrap_or_else(|error| panic!("{name}: {error}"));
                let expected = case["share_index"].as_object().unwrap();
                assert_eq!(configuration.realms().len(), expected.len(), "{name}");
                for (id, index) in expected {
                    let found = configuration.share_index(&id.parse().unwrap()).unwrap();
                    assert_eq!(u64::from(found.number()), index.as_u64().unwrap(), "{name}");
                }
            }
            "reject" => assert!(parsed.is_err(), "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
}

fn with_address(address: &str, public_key: Option<&str>) -> Result<Configuration, ConfigurationError> {
    Configuration::from_json(&json_with_address(address, public_key))
}

fn json_with_address(address: &str, public_key: Option<&str>) -> String {
    let realm = json!({ "id": "11".repeat(16), "address": address, "public_key": public_key });
    let configuration = json!({
        "realms": [realm],
        "register_threshold": 1,
        "recover_threshold": 1,
        "pin_hashing_mode": "Standard2019",
    });
    configuration.to_string()
}

#[test]
fn requests_go_where_the_recorded_ones_went() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let examples = vectors["post_to_examples"].as_array().unwrap();
    assert_eq!(examples.len(), 7);
    for example in examples {
        let configuration =
            with_address(example["address"].as_str().unwrap(), Some(&"09".repeat(32))).unwrap();
        assert_eq!(configuration.realms()[0].request_url().as_str(), example["post_to"]);
    }
}

/// Addresses on this machine, as they may be written.
const LOCAL: [&str; 6] = [
    "http://127.0.0.1:8080/",
    "http://127.255.0.3/",
    "http://127.1/",
    "http://[::1]:8080/",
    "http://localhost:8080/",
    "http://LOCALHOST/",
];
/// Addresses elsewhere, some of which look local.
const ELSEWHERE: [&str; 10] = [
    "http://realm.example/",
    "http://128.0.0.1/",
    "http://10.0.0.1/",
    "http://0.0.0.0/",
    "http://[::]/",
    "http://[fe80::1]/",
    "http://localhost.example/",
    "http://127.0.0.1.example/",
    "http://127.0.0.1@realm.example/",
    "http://realm.example/localhost",
];

#[test]
fn a_realm_is_reached_only_over_tls_or_on_this_machine() {
    let key = "09".repeat(32);
    for public_key in [None, Some(key.as_str())] {
        assert!(with_address("https://realm.example/", public_key).is_ok());
        for address in LOCAL {
            assert!(with_address(address, public_key).is_ok(), "{address}");
        }
    }
    for address in ELSEWHERE {
        let refused = with_address(address, None);
        assert!(matches!(refused, Err(ConfigurationError::SoftwareRealmWithoutTls { .. })), "{address}");
        let refused = with_address(address, Some(&key)).unwrap_err();
        assert!(matches!(refused, ConfigurationError::HardwareRealmWithoutTls { .. }), "{address}");
        assert!(refused.to_string().contains("--allow-http"));
    }
}

#[test]
fn plain_http_is_allowed_explicitly_and_never_to_a_software_realm() {
    for address in LOCAL.iter().chain(&ELSEWHERE) {
        let json = json_with_address(address, Some(&"09".repeat(32)));
        assert!(Configuration::from_json_allowing_http(&json).is_ok(), "{address}");
    }
    for address in ELSEWHERE {
        let refused = Configuration::from_json_allowing_http(&json_with_address(address, None));
        assert!(matches!(refused, Err(ConfigurationError::SoftwareRealmWithoutTls { .. })), "{address}");
    }
}

#[test]
fn only_web_addresses_are_accepted() {
    for address in ["ftp://realm.example/", "mailto:realm@example", "realm.example", ""] {
        let refused = with_address(address, Some(&"09".repeat(32)));
        assert!(matches!(refused, Err(ConfigurationError::Address { .. })), "{address}");
    }
}

#[test]
fn a_realm_may_have_other_addresses_which_keep_to_the_rules_of_the_first() {
    let key = "09".repeat(32);
    let with_others = |others: Value, public_key: Option<&str>| {
        let json = json_with_address("https://a.example/realm/", public_key);
        let mut json: Value = serde_json::from_str(&json).unwrap();
        json["realms"][0]["other_addresses"] = others;
        Configuration::from_json(&json.to_string())
    };
    let configuration =
        with_others(json!(["https://b.example/", "http://127.0.0.1:1/x"]), Some(&key)).unwrap();
    let realm = &configuration.realms()[0];
    let urls: Vec<_> = realm.request_urls().iter().map(|url| url.as_str()).collect();
    assert_eq!(urls, ["https://a.example/realm/req", "https://b.example/req", "http://127.0.0.1:1/req"]);
    assert_eq!(
        (realm.address().as_str(), realm.request_url().as_str()),
        ("https://a.example/realm/", urls[0])
    );

    let refused = |others, public_key| with_others(others, public_key).unwrap_err();
    let named = refused(json!(["b.example"]), Some(&key));
    assert!(matches!(&named, ConfigurationError::Address { address, .. } if address == "b.example"));
    let plain = || json!(["https://b.example/", "http://b.example/"]);
    assert!(matches!(refused(plain(), Some(&key)), ConfigurationError::HardwareRealmWithoutTls { .. }));
    assert!(matches!(refused(plain(), None), ConfigurationError::SoftwareRealmWithoutTls { .. }));
    assert!(matches!(refused(json!("https://b.example/"), None), ConfigurationError::Json(_)));
}
