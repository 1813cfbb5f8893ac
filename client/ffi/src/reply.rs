//! What a caller is told, as JSON. Outcomes have the form that the cases of `client/cases` give them.

use std::ffi::{CStr, CString};

use serde::Serialize;
use serde_json::{Value, json};
use strongroom_client::{
    AttemptList, Attempts, Cause, CommonPin, Error, Pin, PinHelp, PinOddity, Progress, RealmId, Registration,
    Repair, Status, Summary, UserSecret,
};

/// The number of a call, or of a request for a token.
pub(crate) type Number = u64;

/// One thing that a call comes to.
#[derive(Debug)]
pub struct Reply {
    text: CString,
    secret: Option<Beside>,
}

/// What stands beside the text. Secret: wiped when it is dropped.
#[derive(Debug)]
enum Beside {
    Secret(Box<UserSecret>),
    Pin(Pin),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CauseText {
    realm: String,
    kind: &'static str,
    guesses_remaining: Option<u16>,
    retryable: bool,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorText {
    operation: &'static str,
    kind: &'static str,
    guesses_remaining: Option<u16>,
    retryable: bool,
    may_have_cost_a_guess: Option<bool>,
    message: String,
    causes: Vec<CauseText>,
}

impl CauseText {
    fn new(realm: &RealmId, cause: &Cause) -> Self {
        Self {
            realm: realm.to_string(),
            kind: cause.name(),
            guesses_remaining: cause.guesses_remaining(),
            retryable: cause.retryable(),
            message: cause.to_string(),
        }
    }
}

impl ErrorText {
    fn new(error: &Error) -> Self {
        Self {
            operation: error.operation.name(),
            kind: error.kind.name(),
            guesses_remaining: error.guesses_remaining(),
            retryable: error.retryable(),
            may_have_cost_a_guess: error.may_have_cost_a_guess(),
            message: error.to_string(),
            causes: error.causes.iter().map(|error| CauseText::new(&error.realm, &error.cause)).collect(),
        }
    }
}

impl Reply {
    fn new(value: &Value) -> Self {
        // JSON writes a NUL as an escape, so there is none.
        Self { text: CString::new(value.to_string()).unwrap_or_default(), secret: None }
    }

    /// The step that begins.
    pub(crate) fn progress(step: Progress) -> Self {
        // Their names are part of what callers see.
        Self::new(&json!({ "progress": format!("{step:?}") }))
    }

    /// A token is needed.
    pub(crate) fn token_needed(number: Number, realm: &RealmId) -> Self {
        Self::new(&json!({ "token": { "number": number, "realm": realm.to_string() } }))
    }

    /// It is done, and there is nothing to tell.
    pub(crate) fn done() -> Self {
        Self::new(&json!({ "done": true }))
    }

    /// The caller gave it up.
    pub(crate) fn cancelled() -> Self {
        Self::new(&json!({ "cancelled": true }))
    }

    /// What was asked makes no sense. Nothing was sent.
    pub(crate) fn refused(why: &str) -> Self {
        Self::new(&json!({ "refused": why }))
    }

    /// A secret, whose bytes stand beside the text.
    pub(crate) fn secret(secret: UserSecret) -> Self {
        Self { secret: Some(Beside::Secret(Box::new(secret))), ..Self::new(&json!({ "secret": true })) }
    }

    /// What can be said of a PIN, which stands beside the text.
    pub(crate) fn pin_help(help: PinHelp) -> Self {
        let oddities: Vec<_> = help.oddities.iter().map(|oddity: &PinOddity| oddity.name()).collect();
        let said = json!({ "common": help.common.map(CommonPin::name), "oddities": oddities });
        Self { secret: Some(Beside::Pin(help.pin)), ..Self::new(&said) }
    }

    /// It failed.
    pub(crate) fn error(error: &Error) -> Self {
        Self::new(&json!({ "error": ErrorText::new(error) }))
    }

    /// What realms say.
    pub(crate) fn status(status: &Status) -> Self {
        let realms = status.realms.iter().map(|told| match &told.registration {
            Ok(registration) => {
                let version = match registration {
                    Registration::Registered { version } => Some(hex::encode(version.0)),
                    _ => None,
                };
                let registration = registration_name(*registration);
                json!({ "realm": told.realm.to_string(), "registration": registration, "version": version, "cause": null })
            }
            Err(cause) => {
                let cause = CauseText::new(&told.realm, cause);
                json!({ "realm": told.realm.to_string(), "registration": null, "version": null, "cause": cause })
            }
        });
        let undecided = status.undecided().map(|error| ErrorText::new(&error));
        let summary = summary_name(status.summary());
        Self::new(&json!({
            "status": summary, "realms": realms.collect::<Vec<_>>(), "undecided": undecided
        }))
    }

    /// Which requests counted.
    pub(crate) fn attempts(attempts: &Attempts) -> Self {
        let realms = attempts.realms.iter().map(|told| {
            let list = told.list.as_ref().ok().map(list_json);
            let cause = told.list.as_ref().err().map(|cause| CauseText::new(&told.realm, cause));
            json!({ "realm": told.realm.to_string(), "list": list, "cause": cause })
        });
        Self::new(&json!({ "attempts": realms.collect::<Vec<_>>() }))
    }

    /// What a repair did at each realm.
    pub(crate) fn repair(repair: &Repair) -> Self {
        let realms = repair.realms.iter().map(|told| {
            let mended = told.outcome.as_ref().ok().map(|mended| mended.name());
            let cause = told.outcome.as_ref().err().map(|cause| CauseText::new(&told.realm, cause));
            json!({ "realm": told.realm.to_string(), "mended": mended, "cause": cause })
        });
        Self::new(&json!({ "repair": realms.collect::<Vec<_>>() }))
    }

    /// JSON.
    pub(crate) fn text(&self) -> &CStr {
        &self.text
    }

    /// The bytes of a secret or a PIN, if this brings one.
    pub(crate) fn secret_bytes(&self) -> Option<&[u8]> {
        self.secret.as_ref().map(|beside| match beside {
            Beside::Secret(secret) => secret.as_bytes(),
            Beside::Pin(pin) => pin.as_bytes(),
        })
    }
}

fn list_json(list: &AttemptList) -> Value {
    let newest = list.newest();
    let newest = newest.iter().map(|counted| {
        json!({
            "index": counted.index, "unixS": counted.unix_s(), "what": counted.what.name(), "guessesLeft": counted.guesses_left
        })
    });
    json!({
        "version": hex::encode(list.version().0), "isYours": list.is_yours(), "count": list.count(),
        "guessesLeft": list.guesses_left(), "newest": newest.collect::<Vec<_>>()
    })
}

const fn registration_name(registration: Registration) -> &'static str {
    match registration {
        Registration::Registered { .. } => "Registered",
        Registration::NotRegistered => "NotRegistered",
        Registration::NoGuesses => "NoGuesses",
    }
}

const fn summary_name(summary: Summary) -> &'static str {
    match summary {
        Summary::Registered => "Registered",
        Summary::NotRegistered => "NotRegistered",
        Summary::NoGuesses => "NoGuesses",
        Summary::Unknown => "Unknown",
    }
}
