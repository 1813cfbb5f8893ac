//! What the command reports: text for people, one line of JSON for programs, and an exit code for both.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_client::{
    Cause, Error, ErrorKind, Evidence, Mended, RealmError, RealmRepair, RealmStatus, Registration, Repair,
    Status, Summary, UserSecret,
};

use crate::audit::Audit;
use crate::listing::{Checked, Listing};

/// Exit code of usage, configuration and file errors.
pub(crate) const USAGE: u8 = 2;

/// How a command ended.
pub(crate) enum Outcome {
    Registered,
    /// With the secret, unless it went to a file, and the realms that are behind.
    Recovered(Option<UserSecret>, Vec<RealmError>),
    PinChanged,
    Repaired(Repair),
    Status(Status),
    Deleted,
    Drilled(Vec<Leg>),
    /// What is published of a realm was checked.
    Audited(Audit),
    /// What realms said of the requests that counted.
    Attempts(Listing),
    /// A receipt was checked.
    ReceiptChecked(Box<Checked>),
    Failed(Box<Report>),
}

/// What came of a drill through one host.
pub(crate) struct Leg {
    /// Where: an address, or the configuration as it is.
    pub(crate) through: String,
    /// What was done, and how long each took.
    pub(crate) steps: Vec<(&'static str, Duration)>,
    /// What failed, and how.
    pub(crate) failed: Option<(&'static str, Box<Report>)>,
}

impl Leg {
    pub(crate) fn json(&self) -> Value {
        let steps = self.steps.iter().map(|(name, took)| json!({ "step": name, "ms": took.as_millis() }));
        let failed = self.failed.as_ref().map(
            |(step, report)| json!({ "step": step, "result": report.name(), "message": report.message() }),
        );
        json!({ "through": self.through, "steps": steps.collect::<Vec<_>>(), "failed": failed })
    }
}

/// What went wrong.
pub(crate) struct Report {
    /// What programs act on.
    name: &'static str,
    exit_code: u8,
    message: String,
    guesses_left: Option<u16>,
    causes: Vec<RealmError>,
}

impl Report {
    /// What programs act on.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// What went wrong, for people.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// A [`Report`] on its way to the caller.
pub(crate) struct Failure(pub(crate) Box<Report>);

impl Failure {
    pub(crate) fn usage(message: impl ToString) -> Self {
        Self(Box::new(Report {
            name: "usage",
            exit_code: USAGE,
            message: message.to_string(),
            guesses_left: None,
            causes: Vec::new(),
        }))
    }

    /// A realm, or what is in front of it, did what none may do.
    pub(crate) fn assertion(message: impl ToString) -> Self {
        let (name, exit_code) = ASSERTION;
        let (guesses_left, causes) = (None, Vec::new());
        Self(Box::new(Report { name, exit_code, message: message.to_string(), guesses_left, causes }))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut guesses_left = None;
        let (name, exit_code) = match error.kind {
            ErrorKind::InvalidPin { guesses_remaining } => {
                guesses_left = Some(guesses_remaining);
                if guesses_remaining == 0 { NO_GUESSES } else { INVALID_PIN }
            }
            ErrorKind::NotRegistered => NOT_REGISTERED,
            ErrorKind::InvalidAuth => INVALID_AUTH,
            ErrorKind::UpgradeRequired => UPGRADE_REQUIRED,
            ErrorKind::RateLimitExceeded => RATE_LIMIT_EXCEEDED,
            ErrorKind::Unavailable { .. } => UNAVAILABLE,
            ErrorKind::RegistrationChanged => REGISTRATION_CHANGED,
            ErrorKind::HeadRefused => HEAD_REFUSED,
            ErrorKind::Unsupported => UNSUPPORTED,
            ErrorKind::InputTooLong => ("usage", USAGE),
            _ => ASSERTION,
        };
        let message = error.to_string();
        Self(Box::new(Report { name, exit_code, message, guesses_left, causes: error.causes }))
    }
}

const INVALID_PIN: (&str, u8) = ("invalid_pin", 3);
const NOT_REGISTERED: (&str, u8) = ("not_registered", 4);
const NO_GUESSES: (&str, u8) = ("no_guesses", 8);
const INVALID_AUTH: (&str, u8) = ("invalid_auth", 6);
const UPGRADE_REQUIRED: (&str, u8) = ("upgrade_required", 7);
const RATE_LIMIT_EXCEEDED: (&str, u8) = ("rate_limit_exceeded", 5);
const ASSERTION: (&str, u8) = ("assertion", 7);
const UNAVAILABLE: (&str, u8) = ("unavailable", 5);
const HEAD_REFUSED: (&str, u8) = ("head_refused", 9);
const REGISTRATION_CHANGED: (&str, u8) = ("registration_changed", 5);
const UNSUPPORTED: (&str, u8) = ("unsupported", 12);

impl Outcome {
    /// Whether the secret goes to standard output.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, Self::Recovered(Some(_), _))
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Registered | Self::Recovered(..) | Self::Deleted | Self::PinChanged => 0,
            Self::Repaired(repair) => repair_exit_code(repair),
            Self::Status(status) => match status.summary() {
                Summary::Registered => 0,
                Summary::NotRegistered => NOT_REGISTERED.1,
                Summary::NoGuesses => NO_GUESSES.1,
                Summary::Unknown => {
                    undecided(status).map_or(UNAVAILABLE.1, |Failure(report)| report.exit_code)
                }
            },
            Self::Drilled(legs) => {
                let failed = legs.iter().find_map(|leg| leg.failed.as_ref());
                failed.map_or(0, |(_, report)| report.exit_code)
            }
            Self::Audited(audit) => audit.exit_code(),
            Self::Attempts(listing) => listing.exit_code(),
            Self::ReceiptChecked(checked) => checked.exit_code(),
            Self::Failed(report) => report.exit_code,
        }
    }

    /// Writes the outcome. `terminal`: whether `out` is one.
    pub(crate) fn write(
        &self,
        json: bool,
        out: &mut impl Write,
        err: &mut impl Write,
        terminal: bool,
    ) -> io::Result<()> {
        if json {
            return writeln!(out, "{}", self.json());
        }
        match self {
            Self::Registered => writeln!(err, "Registered. Recover it with: strongroom recover"),
            Self::Recovered(secret, behind) => {
                match secret {
                    None => writeln!(err, "Recovered.")?,
                    Some(secret) => {
                        out.write_all(secret.as_bytes())?;
                        // The shell's prompt must not end up on the same line.
                        if terminal { writeln!(out)? } else { out.flush()? }
                    }
                }
                write_behind(behind, err)
            }
            Self::PinChanged => writeln!(err, "The PIN is changed."),
            Self::Repaired(repair) => write_repair(repair, err),
            Self::Deleted => writeln!(err, "Deleted."),
            Self::Status(status) => write_status(status, out),
            Self::Drilled(legs) => legs.iter().try_for_each(|leg| write_leg(leg, out)),
            Self::Audited(audit) => audit.write(out),
            Self::Attempts(listing) => listing.write(out),
            Self::ReceiptChecked(checked) => checked.write(out),
            Self::Failed(report) => {
                writeln!(err, "strongroom: {}", report.message)?;
                report.causes.iter().try_for_each(|error| {
                    writeln!(err, "  {error}")?;
                    let Some(evidence) = evidence(error) else { return Ok(()) };
                    writeln!(err, "  seen before:\n{}\n  shown now:\n{}", evidence.remembered, evidence.shown)
                })
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Registered => json!({ "result": "registered" }),
            Self::Recovered(secret, behind) => {
                let mut value = json!({ "result": "recovered" });
                if let Some(secret) = secret {
                    value["secret_hex"] = hex::encode(secret.as_bytes()).into();
                }
                if !behind.is_empty() {
                    value["behind"] = behind.iter().map(realm_json).collect();
                }
                value
            }
            Self::PinChanged => json!({ "result": "pin_changed" }),
            Self::Repaired(repair) => repair_json(repair),
            Self::Deleted => json!({ "result": "deleted" }),
            Self::Status(status) => status_json(status),
            Self::Drilled(legs) => {
                let result =
                    if legs.iter().all(|leg| leg.failed.is_none()) { "drilled" } else { "drill_failed" };
                json!({ "result": result, "hosts": legs.iter().map(Leg::json).collect::<Vec<_>>() })
            }
            Self::Audited(audit) => audit.json(),
            Self::Attempts(listing) => listing.json(),
            Self::ReceiptChecked(checked) => checked.json(),
            Self::Failed(report) => {
                let cause = |error: &RealmError| {
                    let mut value = realm_json(error);
                    if let Some(Evidence { remembered, shown, .. }) = evidence(error) {
                        value["evidence"] = json!({ "seen_before": remembered, "shown_now": shown });
                    }
                    value
                };
                let mut value = json!({
                    "result": report.name,
                    "message": report.message,
                    "causes": report.causes.iter().map(cause).collect::<Vec<_>>(),
                });
                if let Some(guesses) = report.guesses_left {
                    value["guesses_left"] = guesses.into();
                }
                value
            }
        }
    }
}

fn realm_json(error: &RealmError) -> Value {
    json!({ "realm": error.realm.to_string(), "cause": error.cause.to_string() })
}

fn write_behind(behind: &[RealmError], err: &mut impl Write) -> io::Result<()> {
    if !behind.is_empty() {
        writeln!(err, "Not every realm holds it as the others do. Mend that with: strongroom repair")?;
    }
    behind.iter().try_for_each(|error| writeln!(err, "  {error}"))
}

fn repair_exit_code(repair: &Repair) -> u8 {
    let causes: Vec<_> = repair.realms.iter().filter_map(|realm| realm.outcome.as_ref().err()).collect();
    match causes.is_empty() {
        true => 0,
        false if causes.into_iter().any(Cause::retryable) => UNAVAILABLE.1,
        false => UNSUPPORTED.1,
    }
}

fn repair_json(repair: &Repair) -> Value {
    let realm = |RealmRepair { realm, outcome, .. }: &RealmRepair| {
        let mut value = json!({ "realm": realm.to_string() });
        match outcome {
            Ok(mended) => value["outcome"] = mended_name(*mended).into(),
            Err(cause) => {
                value["outcome"] = "behind".into();
                value["cause"] = cause.to_string().into();
            }
        }
        value
    };
    let result = if repair.is_whole() { "repaired" } else { "partly_repaired" };
    json!({ "result": result, "realms": repair.realms.iter().map(realm).collect::<Vec<_>>() })
}

const fn mended_name(mended: Mended) -> &'static str {
    match mended {
        Mended::Nothing => "whole",
        Mended::Finished => "finished",
        Mended::RegisteredAnew => "registered_anew",
        _ => "other",
    }
}

fn write_repair(repair: &Repair, err: &mut impl Write) -> io::Result<()> {
    let retryable = repair_exit_code(repair) == UNAVAILABLE.1;
    let summary = match (repair.is_whole(), retryable) {
        (true, _) => "Every realm holds the secret's registration.",
        (false, true) => "Not every realm could be repaired. Run this again later.",
        (false, false) => "Not every realm could be repaired.",
    };
    writeln!(err, "{summary}")?;
    repair.realms.iter().try_for_each(|RealmRepair { realm, outcome, .. }| match outcome {
        Ok(Mended::Nothing) => writeln!(err, "  realm {realm}: whole before"),
        Ok(Mended::Finished) => {
            writeln!(err, "  realm {realm}: what a change of the PIN had left was finished or dropped")
        }
        Ok(_) => writeln!(err, "  realm {realm}: registered anew"),
        Err(cause) => writeln!(err, "  realm {realm}: {cause}"),
    })
}

/// The two checkpoints that do not fit together, if that is what is wrong.
fn evidence(error: &RealmError) -> Option<&Evidence> {
    match &error.cause {
        Cause::Head(refused) => refused.evidence(),
        _ => None,
    }
}

fn write_leg(leg: &Leg, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "through {}", leg.through)?;
    for (step, took) in &leg.steps {
        writeln!(out, "  {step:26} {:>6} ms", took.as_millis())?;
    }
    match &leg.failed {
        Some((step, report)) => writeln!(out, "  {step:26} FAILED: {}", report.message),
        None => Ok(()),
    }
}

fn undecided(status: &Status) -> Option<Failure> {
    status.undecided().map(Failure::from)
}

fn summary_name(summary: Summary) -> &'static str {
    match summary {
        Summary::Registered => "registered",
        Summary::NotRegistered => NOT_REGISTERED.0,
        Summary::NoGuesses => NO_GUESSES.0,
        Summary::Unknown => "unknown",
    }
}

fn status_json(status: &Status) -> Value {
    let realm = |realm: &RealmStatus| {
        let mut value = json!({ "realm": realm.realm.to_string() });
        match &realm.registration {
            Ok(Registration::Registered { version }) => {
                value["state"] = "registered".into();
                value["version"] = hex::encode(version.0).into();
            }
            Ok(Registration::NotRegistered) => value["state"] = "not_registered".into(),
            Ok(Registration::NoGuesses) => value["state"] = "no_guesses".into(),
            Err(cause) => {
                value["state"] = "unknown".into();
                value["cause"] = cause.to_string().into();
            }
        }
        value
    };
    let realms: Vec<_> = status.realms.iter().map(realm).collect();
    let mut value = json!({ "result": summary_name(status.summary()), "realms": realms });
    if let Some(Failure(report)) = undecided(status) {
        value["reason"] = report.name.into();
        value["message"] = report.message.into();
    }
    value
}

fn write_status(status: &Status, out: &mut impl Write) -> io::Result<()> {
    let undecided = status.undecided().map(|error| format!("Not known: {error}."));
    let summary = match status.summary() {
        Summary::Registered => "A secret is registered and can be recovered.",
        Summary::NotRegistered => "Nothing is registered. Start with: strongroom register",
        Summary::NoGuesses => {
            "No guesses are left: the secret is gone. Register a new one with: strongroom register"
        }
        Summary::Unknown => undecided.as_deref().unwrap_or("Not known: ask again."),
    };
    writeln!(out, "{summary}")?;
    status.realms.iter().try_for_each(|realm| match &realm.registration {
        Ok(Registration::Registered { version }) => {
            writeln!(out, "  realm {}: registered, version {}", realm.realm, hex::encode(version.0))
        }
        Ok(Registration::NotRegistered) => writeln!(out, "  realm {}: nothing registered", realm.realm),
        Ok(Registration::NoGuesses) => writeln!(out, "  realm {}: no guesses left", realm.realm),
        Err(cause) => writeln!(out, "  realm {}: {cause}", realm.realm),
    })
}

/// Writes the secret to a new file that only its owner may read.
pub(crate) fn write_private(path: &Path, secret: &UserSecret) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        Failure::usage(format!(
            "{} cannot be written: {error}. The PIN was right; recover again with another --out",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU8;
    use strongroom_client::{
        Client, Configuration, FixedTokens, HttpResponse, NetworkError, Operation, Pin, RealmId, Transport,
        Url, Zeroizing, async_trait,
    };

    const REALM: RealmId = RealmId([0x11; 16]);

    fn written(outcome: &Outcome, json: bool) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        outcome.write(json, &mut out, &mut err, false).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn failed(failure: impl Into<Failure>) -> Outcome {
        Outcome::Failed(failure.into().0)
    }

    const UNSPENT: ErrorKind = ErrorKind::Unavailable { may_have_cost_a_guess: false };

    #[test]
    fn guesses_left_are_data_and_decide_the_exit_code() {
        let invalid_pin = |guesses_remaining| {
            let causes = vec![RealmError { realm: REALM, cause: Cause::InvalidPin { guesses_remaining } }];
            failed(Error::new(Operation::Recover, ErrorKind::InvalidPin { guesses_remaining }, causes))
        };
        assert_eq!(invalid_pin(2).exit_code(), 3);
        assert_eq!(invalid_pin(0).exit_code(), 8);
        assert_eq!(
            invalid_pin(2).json(),
            json!({
                "result": "invalid_pin",
                "guesses_left": 2,
                "message": "the PIN is wrong. 2 guesses are left; try again",
                "causes": [{
                    "realm": "11111111111111111111111111111111",
                    "cause": "the PIN is wrong; guesses left: 2",
                }],
            })
        );
        assert_eq!(invalid_pin(0).json()["result"], "no_guesses");
    }

    #[test]
    fn every_kind_of_failure_has_its_documented_exit_code() {
        let code = |operation, kind| failed(Error::new(operation, kind, Vec::new())).exit_code();
        assert_eq!(code(Operation::Recover, ErrorKind::NotRegistered), 4);
        assert_eq!(code(Operation::Recover, UNSPENT), 5);
        assert_eq!(code(Operation::Recover, ErrorKind::RegistrationChanged), 5);
        assert_eq!(code(Operation::Register, ErrorKind::RateLimitExceeded), 5);
        assert_eq!(code(Operation::Register, ErrorKind::InvalidAuth), 6);
        assert_eq!(code(Operation::Delete, ErrorKind::UpgradeRequired), 7);
        assert_eq!(code(Operation::Delete, ErrorKind::Assertion), 7);
        assert_eq!(code(Operation::Register, ErrorKind::InputTooLong), 2);
        assert_eq!(code(Operation::Recover, ErrorKind::HeadRefused), 9);
        assert_eq!(code(Operation::ChangePin, ErrorKind::Unsupported), 12);
        assert_eq!(failed(Failure::usage("x")).exit_code(), 2);
    }

    /// Answers every request with this status and nothing that the protocol knows.
    struct Always(u16);

    #[async_trait]
    impl Transport for Always {
        async fn post(
            &self,
            _: &Url,
            _: &[(&'static str, &str)],
            _: Zeroizing<Vec<u8>>,
        ) -> Result<HttpResponse, NetworkError> {
            Ok(HttpResponse { status: self.0, body: Vec::new().into() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_command_has_the_same_exit_code_and_name_for_the_same_answer() {
        let configuration = json!({
            "realms": [{ "id": "11".repeat(16), "address": "https://realm.example/" }],
            "register_threshold": 1, "recover_threshold": 1, "pin_hashing_mode": "FastInsecure",
        });
        let configuration: Configuration = configuration.to_string().parse().unwrap();
        let (pin, secret) = (Pin::from("4821"), UserSecret::new(b"secret").unwrap());
        let answers = [
            (401, "invalid_auth", 6),
            (426, "upgrade_required", 7),
            (429, "rate_limit_exceeded", 5),
            (200, "assertion", 7),
            (503, "unavailable", 5),
        ];
        for (status, name, code) in answers {
            let tokens = FixedTokens::from_iter([(REALM, "token".to_owned())]);
            let client = Client::builder(configuration.clone(), tokens).build_with(Always(status));
            let told = Outcome::Status(client.status().await);
            assert_eq!((told.exit_code(), &told.json()["reason"]), (code, &json!(name)), "status");
            assert_eq!(told.json()["result"], "unknown");
            let registered = client.register(&pin, &secret, b"", NonZeroU8::MIN).await;
            for failed in [
                failed(client.recover(&pin, b"").await.err().unwrap()),
                failed(registered.unwrap_err()),
                failed(client.delete().await.unwrap_err()),
            ] {
                assert_eq!((failed.exit_code(), &failed.json()["result"]), (code, &json!(name)));
            }
        }
    }

    #[test]
    fn what_is_not_decided_is_reported_as_such_and_never_advises_to_register() {
        let causes = vec![
            RealmError { realm: REALM, cause: Cause::NotRegistered },
            RealmError { realm: RealmId([0x22; 16]), cause: Cause::Transient("it is down".into()) },
        ];
        let undecided = failed(Error::new(Operation::Recover, UNSPENT, causes));
        assert_eq!((undecided.exit_code(), &undecided.json()["result"]), (5, &json!("unavailable")));
        assert_eq!(undecided.json()["causes"].as_array().unwrap().len(), 2);
        let (_, err) = written(&undecided, false);
        assert!(err.contains("nothing was decided"), "{err}");
        assert!(err.contains("try again; do not register a new secret"), "{err}");
    }

    #[test]
    fn the_secret_alone_goes_to_standard_output() {
        let recovered = || Outcome::Recovered(Some(UserSecret::new(b"secret").unwrap()), Vec::new());
        assert_eq!(written(&recovered(), false), ("secret".into(), String::new()));
        let (json, _) = written(&recovered(), true);
        assert_eq!(json, "{\"result\":\"recovered\",\"secret_hex\":\"736563726574\"}\n");
        assert_eq!(written(&Outcome::Recovered(None, Vec::new()), false).0, "");
        let behind = vec![RealmError { realm: REALM, cause: Cause::NotRegistered }];
        let some = Outcome::Recovered(Some(UserSecret::new(b"secret").unwrap()), behind);
        let (out, err) = written(&some, false);
        assert!(out == "secret" && err.contains("strongroom repair") && err.contains("11111111"), "{err}");
        assert_eq!(some.json()["behind"][0]["cause"], "nothing is registered for this user");
    }

    #[test]
    fn failures_leave_standard_output_to_the_secret_and_name_each_realm() {
        let causes = vec![RealmError { realm: REALM, cause: Cause::Transient("HTTP status 502".into()) }];
        let (out, err) = written(&failed(Error::new(Operation::Recover, UNSPENT, causes)), false);
        assert_eq!(out, "");
        assert!(err.contains("try again"), "{err}");
        assert!(err.contains("realm 11111111111111111111111111111111"), "{err}");
        assert!(err.contains("HTTP status 502"), "{err}");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_new_and_only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = UserSecret::new(b"secret").unwrap();
        assert!(write_private(&path, &secret).is_ok());
        assert_eq!(std::fs::read(&path).unwrap(), b"secret");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_private(&path, &secret).is_err());
    }
}
