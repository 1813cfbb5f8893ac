//! Auth tokens: the vectors, every small change to a valid token, and minting.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::path::Path;
use strongroom_agent::tenants::{TenantKeys, TestTenants};
use strongroom_agent::token::{self, Purpose, TokenError, mint, verify, verify_for};
use strongroom_proto::ids::RealmId;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/vectors/jwt.json");
    serde_json::from_slice(&std::fs::read(path).expect("the vectors are in the repository")).expect("JSON")
}

fn realm(vectors: &Value) -> RealmId {
    vectors["realm_id"].as_str().expect("text").parse().expect("a realm id")
}

fn toml_of(kid: &str, key: &Value) -> String {
    let (name, version) = kid.split_once(':').expect("tenant:version");
    let text = |field: &str| key[field].as_str().expect("text").to_owned();
    format!(
        "[[tenant]]\nname = \"{name}\"\nversion = \"{version}\"\nalgorithm = \"{}\"\nkey = \"{}\"\n",
        text("algorithm"),
        text("verify_data")
    )
}

/// A key of 10 bytes, which the deployed realm accepts, and its only case.
const SHORT_KEY: &str = "test-acme:7";
const SHORT_KEY_CASE: &str = "test-tenant-short-key-ok";

/// A token one character longer than the deployed realm accepts. This one accepts 4,096.
const LONG_CASE: &str = "length-1001";
/// RFC 7519 allows fractions, and some issuers send them.
const FRACTION_CASE: &str = "exp-fraction";

/// Every key of the vectors that is strong enough and whose tenant's name is legal.
fn keys(vectors: &Value) -> TenantKeys {
    let keys = vectors["keys"].as_object().expect("an object");
    let legal = keys.iter().filter(|(kid, _)| !kid.starts_with("some-tenant:") && *kid != SHORT_KEY);
    let toml: String = legal.map(|(kid, key)| toml_of(kid, key)).collect();
    TenantKeys::parse(Path::new("tenants.toml"), &toml, TestTenants::Refused)
        .expect("the keys of the vectors are usable")
}

#[test]
fn every_vector_is_judged_as_required() {
    let vectors = vectors();
    let (keys, realm) = (keys(&vectors), realm(&vectors));
    let cases = vectors["cases"].as_array().expect("an array");
    assert_eq!(cases.len(), 108);
    for case in cases {
        let name = case["name"].as_str().expect("text");
        let purpose = match case["require"].as_str().expect("text") {
            "user-or-missing" => Purpose::User,
            "audit" => Purpose::Audit,
            other => panic!("{name}: unknown purpose {other}"),
        };
        let now = case["now"].as_u64().expect("a time");
        let judged = verify_for(purpose, &keys, case["token"].as_str().expect("text"), &realm, now);
        match case["required"].as_str().expect("text") {
            "accept" if name == SHORT_KEY_CASE => assert_eq!(judged, Err(TokenError::UnknownKey)),
            "accept" => assert!(judged.is_ok(), "{name}: {judged:?}"),
            "reject" if name == LONG_CASE => assert!(judged.is_ok(), "{name}: {judged:?}"),
            "reject" => assert!(judged.is_err(), "{name}: {judged:?}"),
            "either" => {}
            other => panic!("{name}: unknown verdict {other}"),
        }
        if name == LONG_CASE {
            continue;
        }
        if let Ok(verified) = judged {
            assert_eq!(verified.tenant, case["tenant"].as_str().expect("text"), "{name}");
            assert_eq!(verified.user, case["user"].as_str().expect("text"), "{name}");
        }
    }
}

#[test]
fn the_short_key_of_the_vectors_is_refused_though_it_is_a_test_tenants() {
    let toml = toml_of(SHORT_KEY, &vectors()["keys"][SHORT_KEY]);
    let parsed = TenantKeys::parse(Path::new("tenants.toml"), &toml, TestTenants::Allowed);
    let error = parsed.expect_err("10 bytes").to_string();
    assert!(
        error.contains("tenant test-acme, version 7: the HS256 secret is shorter than 32 bytes"),
        "{error}"
    );
}

#[test]
fn where_the_rules_leave_a_choice_the_stricter_is_taken_except_for_fractions() {
    let vectors = vectors();
    let (keys, realm) = (keys(&vectors), realm(&vectors));
    let either =
        vectors["cases"].as_array().expect("an array").iter().filter(|case| case["required"] == "either");
    let mut seen = 0;
    for case in either {
        let now = case["now"].as_u64().expect("a time");
        let judged = verify(&keys, case["token"].as_str().expect("text"), &realm, now);
        assert_eq!(judged.is_ok(), case["name"] == FRACTION_CASE, "{}", case["name"]);
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn a_tenant_name_outside_the_rules_is_refused_when_the_file_is_read() {
    let vectors = vectors();
    let toml = toml_of("some-tenant:1", &vectors["keys"]["some-tenant:1"]);
    let error = TenantKeys::parse(Path::new("tenants.toml"), &toml, TestTenants::Refused)
        .expect_err("a dash is not allowed");
    assert_eq!(
        error.to_string(),
        "tenants.toml, line 1: a tenant's name is letters and digits, optionally after \"test-\""
    );
}

/// A valid token of each algorithm.
fn valid_tokens(vectors: &Value) -> Vec<(String, u64)> {
    let cases = vectors["cases"].as_array().expect("an array").iter();
    let valid = cases.filter(|case| {
        ["hs256-ok", "eddsa-ok", "rs256-2048-ok"].contains(&case["name"].as_str().expect("text"))
    });
    valid
        .map(|case| (case["token"].as_str().expect("text").to_owned(), case["now"].as_u64().expect("a time")))
        .collect()
}

#[test]
fn no_single_character_of_a_valid_token_can_be_changed() {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0é";
    let vectors = vectors();
    let (keys, realm) = (keys(&vectors), realm(&vectors));
    let tokens = valid_tokens(&vectors);
    assert_eq!(tokens.len(), 3);
    for (token, now) in tokens {
        assert!(verify(&keys, &token, &realm, now).is_ok());
        for at in 0..token.len() {
            for replacement in ALPHABET.chars().filter(|c| !token[at..].starts_with(*c)) {
                let changed = format!("{}{replacement}{}", &token[..at], &token[at + 1..]);
                assert!(verify(&keys, &changed, &realm, now).is_err(), "{changed}");
            }
        }
    }
}

#[test]
fn no_part_of_a_valid_token_can_be_left_out_or_added_to() {
    let vectors = vectors();
    let (keys, realm) = (keys(&vectors), realm(&vectors));
    for (token, now) in valid_tokens(&vectors) {
        for at in 0..token.len() {
            let (head, tail) = token.split_at(at);
            let without = format!("{head}{}", &tail[1..]);
            let doubled = format!("{head}{}{tail}", &tail[..1]);
            let separated = format!("{head}.{tail}");
            for changed in [head, tail, &without, &doubled, &separated] {
                let same = changed == token;
                assert_eq!(verify(&keys, changed, &realm, now).is_ok(), same, "{changed}");
            }
        }
    }
}

#[test]
fn no_text_makes_the_verifier_panic() {
    let vectors = vectors();
    let (keys, realm) = (keys(&vectors), realm(&vectors));
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..20_000 {
        let mut part = || {
            let bytes: Vec<u8> = (0..rng.random_range(0..40)).map(|_| rng.random()).collect();
            if rng.random() {
                URL_SAFE_NO_PAD.encode(&bytes)
            } else {
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        let token = format!("{}.{}.{}", part(), part(), part());
        assert!(verify(&keys, &token, &realm, 0).is_err());
    }
}

/// A token that is like a `mint`ed one except for its header and claims.
fn signed(header: &str, claims: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mac = Hmac::<sha2::Sha256>::new_from_slice(&[7; 32]).expect("any length").chain_update(&message);
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn acme() -> TenantKeys {
    let toml = format!(
        "[[tenant]]\nname = \"acme\"\nversion = 1\nalgorithm = \"HS256\"\nkey = \"{}\"\n",
        "07".repeat(32)
    );
    TenantKeys::parse(Path::new("tenants.toml"), &toml, TestTenants::Refused).expect("a good key")
}

#[test]
fn a_minted_token_is_accepted_for_ten_minutes_by_its_own_realm() {
    let (realm, now) = (RealmId([1; 16]), 1_700_000_000);
    let token = mint(&[7; 32], "acme", 1, "user \"1\" é", &realm, now);
    let verified = verify(&acme(), &token, &realm, now).expect("just minted");
    assert_eq!((verified.tenant.as_str(), verified.user.as_str()), ("acme", "user \"1\" é"));
    let last = now + token::MINTED_LIFETIME_S + token::LEEWAY_S;
    assert!(verify(&acme(), &token, &realm, last).is_ok());
    assert_eq!(verify(&acme(), &token, &realm, last + 1), Err(TokenError::Time));
    assert_eq!(verify(&acme(), &token, &RealmId([2; 16]), now), Err(TokenError::Audience));
    assert_eq!(verify(&TenantKeys::default(), &token, &realm, now), Err(TokenError::UnknownKey));
}

#[test]
fn times_at_the_ends_of_64_bits_do_not_wrap() {
    let realm = RealmId([1; 16]);
    let header = r#"{"alg":"HS256","kid":"acme:1"}"#;
    let judge = |nbf: u64, exp: u64, now: u64| {
        let claims = format!(r#"{{"iss":"acme","sub":"u","aud":"{realm}","nbf":{nbf},"exp":{exp}}}"#);
        verify(&acme(), &signed(header, &claims), &realm, now).map(|_| ())
    };
    assert_eq!(judge(0, 0, 0), Ok(()));
    assert_eq!(judge(u64::MAX, u64::MAX, u64::MAX), Ok(()));
    assert_eq!(judge(u64::MAX, u64::MAX, 0), Err(TokenError::Time));
    assert_eq!(judge(0, 0, u64::MAX), Err(TokenError::Time));
    assert_eq!(judge(0, u64::MAX, 5), Err(TokenError::Time));
    assert_eq!(judge(10, 9, 10), Err(TokenError::Time));
}

#[test]
fn times_with_fractions_are_compared_as_they_are() {
    let realm = RealmId([1; 16]);
    let header = r#"{"alg":"HS256","kid":"acme:1"}"#;
    let judge = |nbf: &str, exp: &str, iat: &str| {
        let claims =
            format!(r#"{{"iss":"acme","sub":"u","aud":"{realm}","nbf":{nbf},"exp":{exp},"iat":{iat}}}"#);
        verify(&acme(), &signed(header, &claims), &realm, 100_000).map(|_| ())
    };
    assert_eq!(judge("99999.5", "100000.25", "99999.75"), Ok(()));
    assert_eq!(judge("1e5", "100000.0", "1.0E5"), Ok(()));
    assert_eq!(judge("100005.0", "100006", "100005"), Ok(()));
    assert_eq!(judge("100005.5", "100006", "100005"), Err(TokenError::Time), "not yet valid");
    assert_eq!(judge("100000", "100006", "100005.5"), Err(TokenError::Time), "not yet issued");
    assert_eq!(judge("99000", "99994.5", "99000"), Err(TokenError::Time), "expired");
    assert_eq!(judge("99000.5", "185400.75", "99000"), Err(TokenError::Time), "more than a day");
    assert_eq!(judge("100000.5", "100000.25", "99000"), Err(TokenError::Time), "ends before it begins");
    for no_time in ["-0.5", "-1", "1e20", "1e999", "\"100000\"", "null", "[100000]", "true"] {
        assert_eq!(judge(no_time, "100001", "99000"), Err(TokenError::Claims), "{no_time}");
        assert_eq!(judge("99000", no_time, "99000"), Err(TokenError::Claims), "{no_time}");
    }
}

#[test]
fn a_token_of_4096_characters_is_accepted_and_a_longer_one_is_not() {
    let realm = RealmId([1; 16]);
    let token = |fill: usize| mint(&[7; 32], "acme", 1, &"u".repeat(fill), &realm, 10);
    let fill = (0..4096).rev().find(|fill| token(*fill).len() <= token::MAX_TOKEN_LEN).expect("one fits");
    let longest = token(fill);
    assert!((4094..=4096).contains(&longest.len()), "{}", longest.len());
    assert!(verify(&acme(), &longest, &realm, 10).is_ok());
    assert_eq!(verify(&acme(), &token(fill + 3), &realm, 10), Err(TokenError::TooLong));
}

#[test]
fn headers_and_claims_that_only_look_right_are_refused() {
    let realm = RealmId([1; 16]);
    let good_header = r#"{"alg":"HS256","kid":"acme:1"}"#;
    let good = format!(r#"{{"iss":"acme","sub":"u","aud":"{realm}","nbf":10,"exp":10}}"#);
    let judge = |header: &str, claims: &str| verify(&acme(), &signed(header, claims), &realm, 10).map(|_| ());
    assert_eq!(judge(good_header, &good), Ok(()));
    assert_eq!(judge(r#"["HS256","acme:1","JWT",false]"#, &good), Err(TokenError::Malformed));
    assert_eq!(judge(r#"{"alg":"HS256","kid":"acme:1","crit":null}"#, &good), Err(TokenError::Header));
    assert_eq!(judge(r#"{"alg":"HS256","kid":"acme:1","kid":"acme:1"}"#, &good), Err(TokenError::Header));
    let array = format!(r#"["acme","u","{realm}",10,10,null,null]"#);
    assert_eq!(judge(good_header, &array), Err(TokenError::Malformed));
    let doubled = good.replace("\"sub\":\"u\"", "\"sub\":\"u\",\"sub\":\"v\"");
    assert_eq!(judge(good_header, &doubled), Err(TokenError::Claims));
    let trailing = format!("{good} {{}}");
    assert_eq!(judge(good_header, &trailing), Err(TokenError::Claims));
}
