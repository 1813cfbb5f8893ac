//! What a client did, held against what a case expects.

use crate::Error;
use serde_json::{Map, Value};

/// What an error has, and what each of its causes has.
const ERROR: [&str; 7] =
    ["operation", "kind", "guessesRemaining", "retryable", "mayHaveCostAGuess", "message", "causes"];
const CAUSE: [&str; 5] = ["realm", "kind", "guessesRemaining", "retryable", "message"];

/// Checks that an expectation can be met at all.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_expectation(expect: &Value) -> Result<(), Error> {
    let one = expect.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
    let known = |fields: &Map<String, Value>, names: &[&str]| {
        fields.keys().all(|name| name != "message" && names.contains(&name.as_str()))
    };
    let good = match one {
        Some((name, value)) if name == "done" => *value == true,
        Some((name, value)) if name == "secret" || name == "status" => value.is_string(),
        Some((name, Value::Object(error))) if name == "error" => {
            known(error, &ERROR)
                && error.contains_key("kind")
                && causes(error).iter().all(|cause| {
                    cause.as_object().is_some_and(|cause| {
                        known(cause, &CAUSE) && cause.get("realm").is_some_and(Value::is_u64)
                    })
                })
        }
        _ => false,
    };
    if good { Ok(()) } else { Err(format!("nothing can come of a step that is {expect}").into()) }
}

fn causes(error: &Map<String, Value>) -> &[Value] {
    error.get("causes").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// In what an outcome differs from what a step expects; `ids` are the realms'.
pub(super) fn differences(expect: &Value, outcome: &Value, ids: &[String]) -> Vec<String> {
    let mut differences = Vec::new();
    let Some(error) = outcome.get("error") else {
        if outcome != expect {
            differences.push(format!("expected {expect}, and it came to {outcome}"));
        }
        return differences;
    };
    lacking(error, &ERROR, "the error", &mut differences);
    let told = error["causes"].as_array().map_or(&[][..], Vec::as_slice);
    for cause in told {
        lacking(cause, &CAUSE, "a cause", &mut differences);
    }
    let Some(expected) = expect.get("error").and_then(Value::as_object) else {
        differences.push(format!("expected {expect}, and it came to {outcome}"));
        return differences;
    };
    for (field, value) in expected.iter().filter(|(field, _)| *field != "causes") {
        if error.get(field) != Some(value) {
            let found = error.get(field).unwrap_or(&Value::Null);
            differences.push(format!("{field}: expected {value}, found {found}; in full {outcome}"));
        }
    }
    for cause in causes(expected) {
        if !told.iter().any(|told| is_cause(cause, told, ids)) {
            differences.push(format!("no cause is {cause}; in full {outcome}"));
        }
    }
    differences
}

/// Every client's errors have the same fields, expected or not.
fn lacking(value: &Value, fields: &[&str], what: &str, differences: &mut Vec<String>) {
    let object = value.as_object();
    for field in fields {
        if object.is_none_or(|object| !object.contains_key(*field)) {
            differences.push(format!("{what} has no {field:?}: {value}"));
        }
    }
    for field in object.into_iter().flat_map(Map::keys).filter(|field| !fields.contains(&field.as_str())) {
        differences.push(format!("{what} has a field {field:?} that no other client has: {value}"));
    }
    if value["message"].as_str().is_none_or(str::is_empty) {
        differences.push(format!("{what} has no message: {value}"));
    }
}

fn is_cause(expected: &Value, told: &Value, ids: &[String]) -> bool {
    let fields = expected.as_object().into_iter().flatten();
    fields.into_iter().all(|(field, value)| match field.as_str() {
        "realm" => {
            let id = value.as_u64().and_then(|realm| ids.get(usize::try_from(realm).ok()?));
            id.is_some_and(|id| told["realm"] == id.as_str())
        }
        _ => told.get(field) == Some(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(kind: &str) -> Value {
        json!({"error": {
            "operation": "Recover", "kind": kind, "guessesRemaining": 2, "retryable": false, "mayHaveCostAGuess": null,
            "message": "x", "causes": [{
                "realm": "bb", "kind": "InvalidPin", "guessesRemaining": 2, "retryable": false, "message": "y"
            }],
        }})
    }

    fn ids() -> Vec<String> {
        vec!["aa".into(), "bb".into()]
    }

    #[test]
    fn an_outcome_is_what_was_expected_or_is_told_apart() {
        let same = |expect: Value, outcome: Value| differences(&expect, &outcome, &ids()).is_empty();
        assert!(same(json!({"done": true}), json!({"done": true})));
        assert!(!same(json!({"done": true}), json!({"secret": ""})));
        assert!(!same(json!({"secret": "a"}), json!({"secret": "b"})));
        assert!(!same(json!({"secret": "a"}), error("InvalidPin")));
        assert!(!same(json!({"error": {"kind": "InvalidPin"}}), json!({"done": true})));
        assert!(!same(json!({"done": true}), json!(null)));
        let expected = |field: &str, value: Value| {
            let mut error = json!({"kind": "InvalidPin"});
            error[field] = value;
            json!({ "error": error })
        };
        assert!(same(expected("guessesRemaining", json!(2)), error("InvalidPin")));
        assert!(!same(expected("guessesRemaining", json!(1)), error("InvalidPin")));
        assert!(!same(expected("guessesRemaining", json!(null)), error("InvalidPin")));
        assert!(!same(expected("retryable", json!(true)), error("InvalidPin")));
        assert!(!same(expected("kind", json!("NotRegistered")), error("InvalidPin")));
        assert!(same(expected("causes", json!([{"realm": 1, "kind": "InvalidPin"}])), error("InvalidPin")));
        for cause in [
            json!({"realm": 0, "kind": "InvalidPin"}),
            json!({"realm": 1, "kind": "Transient"}),
            json!({"realm": 1, "retryable": true}),
            json!({"realm": 9}),
        ] {
            assert!(!same(expected("causes", json!([cause])), error("InvalidPin")));
        }
    }

    #[test]
    fn an_error_that_lacks_a_field_or_has_one_of_its_own_is_a_difference() {
        let expect = json!({"error": {"kind": "InvalidPin"}});
        for field in ERROR {
            let mut outcome = error("InvalidPin");
            outcome["error"].as_object_mut().expect("an object").remove(field);
            assert!(!differences(&expect, &outcome, &ids()).is_empty(), "{field}");
        }
        for field in CAUSE {
            let mut outcome = error("InvalidPin");
            outcome["error"]["causes"][0].as_object_mut().expect("an object").remove(field);
            assert!(!differences(&expect, &outcome, &ids()).is_empty(), "{field}");
        }
        let mut outcome = error("InvalidPin");
        outcome["error"]["code"] = 3.into();
        assert!(!differences(&expect, &outcome, &ids()).is_empty());
        let mut outcome = error("InvalidPin");
        outcome["error"]["message"] = "".into();
        assert!(!differences(&expect, &outcome, &ids()).is_empty());
    }

    #[test]
    fn an_expectation_that_nothing_meets_is_refused() {
        for good in [
            json!({"done": true}),
            json!({"error": {"kind": "InvalidPin", "causes": [{"realm": 1}]}}),
            json!({"status": "Registered"}),
        ] {
            assert!(check_expectation(&good).is_ok(), "{good}");
        }
        for bad in [
            json!({"done": false}),
            json!({"done": true, "secret": "x"}),
            json!({"error": {"retryable": true}}),
            json!({"error": {"kind": "InvalidPin", "gussesRemaining": 1}}),
            json!({"error": {"kind": "InvalidPin", "causes": [{"kind": "InvalidPin"}]}}),
            json!({"secret": 1}),
        ] {
            assert!(check_expectation(&bad).is_err(), "{bad}");
        }
    }
}
