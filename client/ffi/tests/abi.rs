//! The C functions, as another language calls them. No realm is needed.

#![allow(unsafe_code, missing_docs)]

use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};
use strongroom_client_ffi::abi::*;

const CONFIGURATION: &str = r#"{"realms":[{"id":"00000000000000000000000000000001","address":"http://127.0.0.1:9/",
    "public_key":"ea99ccde7a813aaa7dd97feef12623c73797e4a090454f7c5fb659914a039467"}],
    "register_threshold":1,"recover_threshold":1,"pin_hashing_mode":"FastInsecure"}"#;

fn client(options: &str) -> *mut Made {
    let options = CString::new(options).unwrap();
    // SAFETY: it has a NUL.
    unsafe { strongroom_client_new(options.as_ptr()) }
}

fn whole() -> *mut Made {
    client(&serde_json::json!({ "configuration": CONFIGURATION, "patienceMs": 0 }).to_string())
}

fn begin(client: *const Made, request: &str) -> *mut Call {
    let request = CString::new(request).unwrap();
    // SAFETY: both are ours, and the PIN has as many bytes.
    unsafe { strongroom_call_begin(client, request.as_ptr(), b"4821".as_ptr(), 4, null(), 0) }
}

/// What comes next, within a minute.
fn next(call: *const Call) -> String {
    // SAFETY: the call is ours, and the reply is freed once, here.
    unsafe {
        let reply = strongroom_call_next(call, 60_000);
        assert!(!reply.is_null());
        let text = CStr::from_ptr(strongroom_reply_text(reply)).to_str().unwrap().to_owned();
        strongroom_reply_free(reply);
        text
    }
}

#[test]
fn an_operation_is_told_step_by_step_and_asks_for_its_token() {
    let client = whole();
    let call = begin(client, r#"{"operation":"recover","userInfo":""}"#);
    assert_eq!(next(call), r#"{"progress":"Recover1"}"#);
    let asked: serde_json::Value = serde_json::from_str(&next(call)).unwrap();
    assert_eq!(asked["token"]["realm"], "00000000000000000000000000000001");
    // SAFETY: the call is ours.
    unsafe { strongroom_call_give_token(call, asked["token"]["number"].as_u64().unwrap(), null(), 0) };
    let told: serde_json::Value = serde_json::from_str(&next(call)).unwrap();
    assert_eq!(told["error"]["kind"], "InvalidAuth");
    assert_eq!(told["error"]["causes"][0]["retryable"], false);
    // SAFETY: neither is used again.
    unsafe {
        strongroom_client_free(client);
        strongroom_call_free(call);
    }
}

#[test]
fn an_operation_that_is_given_up_ends() {
    let client = whole();
    let call = begin(client, r#"{"operation":"recover","userInfo":""}"#);
    // SAFETY: the call is ours.
    unsafe { strongroom_call_cancel(call) };
    let mut told = next(call);
    while told.contains("progress") || told.contains("token") {
        told = next(call);
    }
    assert_eq!(told, r#"{"cancelled":true}"#);
    // SAFETY: neither is used again.
    unsafe {
        assert!(strongroom_call_next(call, 1).is_null());
        strongroom_call_free(call);
        strongroom_client_free(client);
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_says_why() {
    let client = whole();
    for request in [
        "",
        "{",
        "{}",
        r#"{"operation":"guess"}"#,
        r#"{"operation":"recover"}"#,
        r#"{"operation":"recover","userInfo":"x"}"#,
        r#"{"operation":"register","numGuesses":0,"userInfo":""}"#,
        r#"{"operation":"register","numGuesses":256,"userInfo":""}"#,
    ] {
        let call = begin(client, request);
        assert!(next(call).starts_with(r#"{"refused":""#), "{request}");
        // SAFETY: it is not used again.
        unsafe { strongroom_call_free(call) };
    }
    // SAFETY: it is not used again.
    unsafe { strongroom_client_free(client) };
    for options in ["", "[]", "{}", r#"{"configuration":"{"}"#, r#"{"configuration":"{","unknown":1}"#] {
        let client = self::client(options);
        // SAFETY: it is freed once.
        unsafe {
            assert!(!strongroom_client_refusal(client).is_null(), "{options}");
            assert!(begin(client, r#"{"operation":"status"}"#).is_null());
            strongroom_client_free(client);
        }
    }
}

/// What is said of a PIN, and the PIN to use.
fn pin_help(typed: &[u8]) -> (String, Option<Vec<u8>>) {
    // SAFETY: it has as many bytes, and the reply is freed once, here.
    unsafe {
        let reply = strongroom_pin_help(typed.as_ptr(), typed.len());
        let text = CStr::from_ptr(strongroom_reply_text(reply)).to_str().unwrap().to_owned();
        let (pin, length) = (strongroom_reply_secret(reply), strongroom_reply_secret_length(reply));
        let pin = (!pin.is_null()).then(|| std::slice::from_raw_parts(pin, length).to_vec());
        strongroom_reply_free(reply);
        (text, pin)
    }
}

#[test]
fn a_pin_is_helped_with_without_a_client() {
    let help = |typed: &str| pin_help(typed.as_bytes());
    let said = |common: &str, oddities: &str| format!(r#"{{"common":{common},"oddities":[{oddities}]}}"#);
    assert_eq!(help("4821\n"), (said("null", ""), Some(b"4821".to_vec())));
    assert_eq!(help("1984"), (said(r#""Year""#, ""), Some(b"1984".to_vec())));
    let odd = r#""OtherDigits","OuterSpace""#;
    assert_eq!(help("１２３４ "), (said("null", odd), Some("１２３４ ".into())));
    assert_eq!(help("１２３４").0, said(r#""MostChosen""#, r#""OtherDigits""#));
    assert_eq!(help("zoe\u{308} 8"), (said("null", ""), Some("zoë 8".into())));
    assert_eq!(help(""), (said("null", r#""Empty""#), Some(vec![])));
    let (text, pin) = pin_help(b"\xff");
    assert!(text.starts_with(r#"{"refused":""#) && pin.is_none());
}

#[test]
fn null_is_taken_everywhere_and_does_nothing() {
    // SAFETY: null is allowed everywhere.
    unsafe {
        strongroom_client_free(null_mut());
        strongroom_call_free(null_mut());
        strongroom_reply_free(null_mut());
        strongroom_call_cancel(null());
        strongroom_call_give_token(null(), 1, null(), 0);
        assert!(strongroom_client_refusal(null()).is_null());
        assert!(strongroom_call_begin(null(), null(), null(), 0, null(), 0).is_null());
        assert!(strongroom_call_next(null(), 0).is_null());
        assert!(strongroom_reply_text(null()).is_null());
        assert!(strongroom_reply_secret(null()).is_null());
        assert_eq!(strongroom_reply_secret_length(null()), 0);
        strongroom_reply_free(strongroom_pin_help(null(), 5));
    }
}

/// Names of the functions in a text, with how many arguments each takes.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found: Vec<_> = text
        .split("strongroom_")
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once('(')?;
            let (arguments, _) = rest.split_once(')')?;
            let named = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let count =
                arguments.split(',').map(str::trim).filter(|one| !one.is_empty() && *one != "void").count();
            named(name).then(|| (name.to_owned(), count))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn the_header_declares_what_the_library_has() {
    let source: String =
        include_str!("../src/abi.rs").lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let made = functions(&source);
    assert_eq!(made.len(), 14);
    let mut header = include_str!("../include/strongroom.h").to_owned();
    for of in ["client", "call", "reply"] {
        header = header.replace(&format!("strongroom_{of} *"), "void *");
    }
    assert_eq!(functions(&header), made);
}
