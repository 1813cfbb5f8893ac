//! The SDK's types, as JavaScript gets them: the same names, with fields in camel case.

use std::fmt;

use serde_json::{Value, json};
use strongroom_client::{
    AttemptList, Attempts, CommonPin, Error, PinHashingMode, PinHelp, Progress, RealmError, RealmId,
    Registration, Repair, Status, Summary,
};
use wasm_bindgen::JsError;

/// What is thrown where a caller was wrong.
pub(crate) fn thrown(error: impl fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}

/// As in configurations.
pub(crate) const fn hashing_mode_name(mode: PinHashingMode) -> &'static str {
    match mode {
        PinHashingMode::Standard2019 => "Standard2019",
        PinHashingMode::FastInsecure => "FastInsecure",
    }
}

/// The mode with this name.
pub(crate) fn hashing_mode(name: &str) -> Option<PinHashingMode> {
    let modes = [PinHashingMode::Standard2019, PinHashingMode::FastInsecure];
    modes.into_iter().find(|mode| hashing_mode_name(*mode) == name)
}

pub(crate) const fn step_name(step: Progress) -> &'static str {
    match step {
        Progress::Register1 => "Register1",
        Progress::Stretch => "Stretch",
        Progress::Register2 => "Register2",
        Progress::Recover1 => "Recover1",
        Progress::Heads => "Heads",
        Progress::Recover2 => "Recover2",
        Progress::Recover3 => "Recover3",
        Progress::Delete => "Delete",
        Progress::Attempts => "Attempts",
        Progress::Versions => "Versions",
        Progress::Stage => "Stage",
        Progress::Activate => "Activate",
        _ => "Other",
    }
}

/// An error, as `StrongroomError` has it.
pub(crate) fn error_json(error: &Error) -> String {
    error_value(error).to_string()
}

fn error_value(error: &Error) -> Value {
    json!({
        "operation": error.operation.name(),
        "kind": error.kind.name(),
        "guessesRemaining": error.guesses_remaining(),
        "mayHaveCostAGuess": error.may_have_cost_a_guess(),
        "retryable": error.retryable(),
        "message": error.to_string(),
        "causes": error.causes.iter().map(cause_value).collect::<Vec<_>>(),
    })
}

fn cause_value(RealmError { realm, cause }: &RealmError) -> Value {
    json!({
        "realm": realm.to_string(),
        "kind": cause.name(),
        "guessesRemaining": cause.guesses_remaining(),
        "retryable": cause.retryable(),
        "message": cause.to_string(),
    })
}

/// A status, as `Status` in the types has it.
pub(crate) fn status_json(status: &Status) -> String {
    let summary = match status.summary() {
        Summary::Registered => "Registered",
        Summary::NotRegistered => "NotRegistered",
        Summary::NoGuesses => "NoGuesses",
        Summary::Unknown => "Unknown",
    };
    let realms = status.realms.iter().map(|told| {
        let realm = told.realm;
        match &told.registration {
            Ok(Registration::Registered { version }) => {
                let version = hex(version.0);
                json!({ "realm": realm.to_string(), "registration": "Registered", "version": version, "cause": null })
            }
            Ok(Registration::NotRegistered) => said(realm, "NotRegistered"),
            Ok(Registration::NoGuesses) => said(realm, "NoGuesses"),
            Err(cause) => {
                let cause = cause_value(&RealmError { realm, cause: cause.clone() });
                json!({ "realm": realm.to_string(), "registration": null, "version": null, "cause": cause })
            }
        }
    });
    let realms: Vec<Value> = realms.collect();
    let undecided = status.undecided().map(|error| error_value(&error));
    json!({ "summary": summary, "realms": realms, "undecided": undecided }).to_string()
}

/// What realms say of the requests that counted, as `Attempts` in the types has it, with times in seconds.
pub(crate) fn attempts_json(attempts: &Attempts) -> String {
    let realms = attempts.realms.iter().map(|told| {
        let cause = told.list.as_ref().err();
        let cause = cause.map(|cause| cause_value(&RealmError { realm: told.realm, cause: cause.clone() }));
        json!({ "realm": told.realm.to_string(), "list": told.list.as_ref().ok().map(list_value), "cause": cause })
    });
    json!({ "realms": realms.collect::<Vec<_>>() }).to_string()
}

pub(crate) fn repair_json(repair: &Repair) -> String {
    let realms = repair.realms.iter().map(|told| {
        let cause = told.outcome.as_ref().err();
        let cause = cause.map(|cause| cause_value(&RealmError { realm: told.realm, cause: cause.clone() }));
        json!({ "realm": told.realm.to_string(), "mended": told.outcome.as_ref().ok().map(|mended| mended.name()), "cause": cause })
    });
    json!({ "realms": realms.collect::<Vec<_>>() }).to_string()
}

fn list_value(list: &AttemptList) -> Value {
    let newest = list.newest();
    let newest = newest.iter().map(|counted| {
        json!({
            "index": counted.index,
            "unixS": counted.unix_s(),
            "what": counted.what.name(),
            "guessesLeft": counted.guesses_left,
        })
    });
    json!({
        "version": hex(list.version().0),
        "isYours": list.is_yours(),
        "count": list.count(),
        "guessesLeft": list.guesses_left(),
        "newest": newest.collect::<Vec<_>>(),
    })
}

fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(realm: RealmId, registration: &str) -> Value {
    json!({ "realm": realm.to_string(), "registration": registration, "version": null, "cause": null })
}

/// What can be said of a PIN, without the PIN.
pub(crate) fn pin_help_json(help: &PinHelp) -> String {
    let oddities: Vec<&str> = help.oddities.iter().map(|oddity| oddity.name()).collect();
    json!({ "common": help.common.map(CommonPin::name), "oddities": oddities }).to_string()
}
