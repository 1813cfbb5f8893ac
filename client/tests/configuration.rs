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
    let realm = json!({ "id": "11".repeat(16), "address": address, "public_key": public_key });
    let configuration = json!({
        "realms": [realm],
        "register_threshold": 1,
        "recover_threshold": 1,
        "pin_hashing_mode": "Standard2019",
    });
    Configuration::from_json(&configuration.to_string())
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

#[test]
fn a_software_realm_is_reached_over_tls_or_on_this_machine_only() {
    assert!(with_address("https://realm.example/", None).is_ok());
    assert!(with_address("http://127.0.0.1:8080/", None).is_ok());
    assert!(with_address("http://[::1]:8080/", None).is_ok());
    assert!(with_address("http://localhost:8080/", None).is_ok());
    let refused = with_address("http://realm.example/", None);
    assert!(matches!(refused, Err(ConfigurationError::SoftwareRealmWithoutTls { .. })));
}

#[test]
fn only_web_addresses_are_taken() {
    for address in ["ftp://realm.example/", "mailto:realm@example", "realm.example", ""] {
        let refused = with_address(address, Some(&"09".repeat(32)));
        assert!(matches!(refused, Err(ConfigurationError::Address { .. })), "{address}");
    }
}
