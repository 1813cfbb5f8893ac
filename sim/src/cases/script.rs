//! A case, as it is written down.

use super::fault::Fault;
use crate::Error;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// How many realms there are.
pub(super) const REALMS: usize = 5;
/// A public key of nobody: RFC 7748 takes any 32 bytes for one.
const NOBODY: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1/";

/// One file of `client/cases`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Case {
    pub(super) name: String,
    configurations: BTreeMap<String, Shape>,
    pub(super) clients: BTreeMap<String, Device>,
    pub(super) steps: Vec<Step>,
}

/// A configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Shape {
    realms: Vec<usize>,
    register_threshold: usize,
    recover_threshold: usize,
    #[serde(default)]
    wrong_keys: Vec<usize>,
    #[serde(default)]
    unreachable: Vec<usize>,
}

/// A client.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) configuration: String,
    #[serde(default)]
    pub(super) previous: Vec<String>,
    #[serde(default = "somebody")]
    pub(super) user: String,
    #[serde(default)]
    pub(super) without_tokens: Vec<usize>,
    pub(super) patience_ms: Option<u64>,
}

fn somebody() -> String {
    "user".into()
}

/// One step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Step {
    client: String,
    operation: Operation,
    pin: Option<String>,
    secret: Option<String>,
    num_guesses: Option<u8>,
    #[serde(rename = "userInfo")]
    _user_info: Option<String>,
    #[serde(default)]
    pub(super) faults: Vec<Fault>,
    pub(super) expect: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Operation {
    Register,
    Recover,
    Status,
    Delete,
    Close,
}

/// How a realm is found, whatever a case does to it.
pub(super) struct Place {
    pub(super) id: String,
    pub(super) public_key: String,
    pub(super) address: String,
}

impl Case {
    /// Reads a case, and checks that it can be played.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        let case: Self = serde_json::from_slice(text)?;
        let sentence = case.name.ends_with('.') && case.name.starts_with(char::is_uppercase);
        if !sentence || case.steps.is_empty() {
            return Err("a case has a sentence for its name, and steps".into());
        }
        for shape in case.configurations.values() {
            let named = shape.realms.iter().chain(&shape.wrong_keys).chain(&shape.unreachable);
            check_realms(named)?;
        }
        for device in case.clients.values() {
            for name in std::iter::once(&device.configuration).chain(&device.previous) {
                case.shape(name)?;
            }
            check_realms(device.without_tokens.iter())?;
        }
        for (k, step) in case.steps.iter().enumerate() {
            step.check(&case).map_err(|error| format!("step {k}: {error}"))?;
        }
        Ok(case)
    }

    fn shape(&self, name: &str) -> Result<&Shape, Error> {
        self.configurations.get(name).ok_or_else(|| format!("there is no configuration {name:?}").into())
    }

    /// A configuration as an application gives it to a client.
    pub(super) fn configuration(&self, name: &str, places: &[Place]) -> Result<String, Error> {
        let shape = self.shape(name)?;
        let realm = |i: &usize| {
            let key = if shape.wrong_keys.contains(i) { NOBODY } else { &places[*i].public_key };
            let address = if shape.unreachable.contains(i) { NOWHERE } else { &places[*i].address };
            serde_json::json!({ "id": places[*i].id, "address": address, "public_key": key })
        };
        let configuration = serde_json::json!({
            "realms": shape.realms.iter().map(realm).collect::<Vec<_>>(),
            "register_threshold": shape.register_threshold,
            "recover_threshold": shape.recover_threshold,
            "pin_hashing_mode": "FastInsecure",
        });
        Ok(configuration.to_string())
    }
}

impl Step {
    fn check(&self, case: &Case) -> Result<(), Error> {
        if !case.clients.contains_key(&self.client) {
            return Err(format!("there is no client {:?}", self.client).into());
        }
        let needed = match self.operation {
            Operation::Register => self.pin.is_some() && self.secret.is_some() && self.num_guesses > Some(0),
            Operation::Recover => self.pin.is_some(),
            Operation::Status | Operation::Delete | Operation::Close => true,
        };
        if !needed {
            return Err("register has a pin, a secret and numGuesses from 1 on, and recover a pin".into());
        }
        check_realms(self.faults.iter().map(Fault::realm))?;
        super::outcome::check_expectation(&self.expect)
    }
}

fn check_realms<'a>(mut realms: impl Iterator<Item = &'a usize>) -> Result<(), Error> {
    if realms.any(|realm| *realm >= REALMS) { Err("realms are 0 to 4".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_the_client_can_be_played() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/cases");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).expect("there are cases") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read(&path).expect("readable");
                let case = Case::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                names.push(case.name);
            }
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert!(count >= 20 && names.len() == count);
    }

    #[test]
    fn a_case_that_is_not_understood_is_refused_with_the_reason() {
        let case = |name: &str, realm: u8, step: &str| {
            format!(
                r#"{{"name": "{name}", "configurations": {{"c": {{"realms": [{realm}], "registerThreshold": 1,
                    "recoverThreshold": 1}}}}, "clients": {{"p": {{"configuration": "c"}}}}, "steps": [{step}]}}"#
            )
        };
        let refused = |text: String| Case::parse(text.as_bytes()).err().expect("refused").to_string();
        let good = r#"{"client": "p", "operation": "status", "expect": {"status": "Registered"}}"#;
        assert!(Case::parse(case("It is one.", 0, good).as_bytes()).is_ok());
        assert!(refused(case("it is none", 0, good)).contains("sentence"));
        assert!(refused(case("It is none.", 5, good)).contains("0 to 4"));
        for (step, reason) in [
            (r#"{"client": "q", "operation": "status", "expect": {"done": true}}"#, "client"),
            (r#"{"client": "p", "operation": "recover", "expect": {"done": true}}"#, "pin"),
            (r#"{"client": "p", "operation": "dance", "expect": {"done": true}}"#, "dance"),
            (r#"{"client": "p", "operation": "close", "expect": {"fine": true}}"#, "fine"),
            (r#"{"client": "p", "operation": "close", "expect": {"done": true}, "why": 1}"#, "why"),
        ] {
            assert!(refused(case("It is none.", 0, step)).contains(reason), "{step}");
        }
    }
}
