//! The cases of `client/cases`, played by the SDK itself against realms that run; and that a runner notices what is wrong.

use futures::StreamExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::time::Duration;
use strongroom_client::{Client, Configuration, Error, FixedTokens, Pin, RetryPolicy, UserSecret};
use strongroom_sim::cases::Stage;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/cases");
/// How many cases run at a time.
const AT_ONCE: usize = 4;

/// Every case, in order of its file's name.
fn cases() -> BTreeMap<String, Value> {
    let files = fs::read_dir(CASES).expect("there are cases").map(|entry| entry.expect("readable").path());
    let cases = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let name = |path: &std::path::Path| path.file_stem().expect("named").to_string_lossy().into_owned();
    let read = |path: &std::path::Path| serde_json::from_slice(&fs::read(path).expect("readable"));
    cases.map(|path| (name(&path), read(&path).expect("JSON"))).collect()
}

/// The control, as a runner in any language sees it.
#[derive(Clone)]
struct Control {
    url: String,
    http: reqwest::Client,
}

impl Control {
    async fn start() -> Self {
        strongroom_agent::tls::install_provider();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let stage = Stage::start(any).await.expect("five new realms");
        let url = stage.url();
        tokio::spawn(stage.serve());
        Self { url, http: reqwest::Client::builder().no_proxy().build().expect("a client") }
    }

    async fn ask(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.url)).body(body.to_string());
        let answer = request.send().await.expect("it listens").bytes().await.expect("whole");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "{path}: {answer}");
        answer
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(reqwest::Method::POST, path, body).await
    }
}

/// Plays a case; the differences of the first step that has any.
async fn play(control: &Control, case: &Value) -> Vec<String> {
    let begun = control.post("cases", case).await;
    let number = begun["case"].as_str().expect("a number");
    let mut clients = BTreeMap::new();
    let mut found = Vec::new();
    for (k, step) in case["steps"].as_array().expect("steps").iter().enumerate() {
        control.post(&format!("cases/{number}/steps/{k}"), &json!({})).await;
        let name = step["client"].as_str().expect("a name");
        let client = clients.remove(name).unwrap_or_else(|| client(&begun["clients"][name], k));
        let (outcome, client) = act(client, step).await;
        clients.extend(client.map(|client| (name, client)));
        let told = control.post(&format!("cases/{number}/steps/{k}/outcome"), &outcome).await;
        let differences = told["differences"].as_array().expect("a list");
        found = differences.iter().map(|difference| format!("step {k}: {difference}")).collect();
        if !found.is_empty() {
            break;
        }
    }
    control.ask(reqwest::Method::DELETE, &format!("cases/{number}"), &json!({})).await;
    found
}

/// A client, as the control describes it.
fn client(described: &Value, seed: usize) -> Client {
    let parse =
        |text: &Value| -> Configuration { text.as_str().expect("a text").parse().expect("a configuration") };
    let tokens =
        described["tokens"].as_object().expect("by realm").iter().map(|(realm, token)| {
            (realm.parse().expect("an id"), token.as_str().expect("a text").to_owned())
        });
    let patience = described["patienceMs"].as_u64().map(Duration::from_millis);
    let policy = RetryPolicy::default();
    Client::builder(parse(&described["configuration"]), tokens.collect::<FixedTokens>())
        .previous(described["previous"].as_array().expect("a list").iter().map(parse))
        .retry_policy(RetryPolicy { patience: patience.unwrap_or(policy.patience), ..policy })
        .rng(StdRng::seed_from_u64(seed as u64))
        .build()
        .expect("the transport")
}

/// Does what a step says. The client is gone after a `close`.
async fn act(client: Client, step: &Value) -> (Value, Option<Client>) {
    let bytes = |field: &str| step[field].as_str().unwrap_or_default().as_bytes().to_vec();
    let (pin, user_info) = (Pin::new(bytes("pin")), bytes("userInfo"));
    let outcome = match step["operation"].as_str().expect("an operation") {
        "register" => {
            let guesses = step["numGuesses"].as_u64().and_then(|n| NonZeroU8::new(n.try_into().ok()?));
            let secret = UserSecret::new(&bytes("secret")).expect("short");
            client.register(&pin, &secret, &user_info, guesses.expect("1 to 255")).await.map(|()| done())
        }
        "recover" => client.recover(&pin, &user_info).await.map(
            |secret| json!({ "secret": String::from_utf8(secret.as_bytes().to_vec()).expect("a text") }),
        ),
        "status" => Ok(json!({ "status": format!("{:?}", client.status().await.summary()) })),
        "delete" => client.delete().await.map(|()| done()),
        "close" => {
            client.close().await;
            return (done(), None);
        }
        other => panic!("no operation is called {other}"),
    };
    (outcome.unwrap_or_else(|error| in_full(&error)), Some(client))
}

fn done() -> Value {
    json!({ "done": true })
}

/// An error with all that it says.
fn in_full(error: &Error) -> Value {
    let cause = |told: &strongroom_client::RealmError| {
        json!({
            "realm": told.realm.to_string(),
            "kind": told.cause.name(),
            "guessesRemaining": told.cause.guesses_remaining(),
            "retryable": told.cause.retryable(),
            "message": told.cause.to_string(),
        })
    };
    json!({ "error": {
        "operation": error.operation.name(),
        "kind": error.kind.name(),
        "guessesRemaining": error.guesses_remaining(),
        "retryable": error.retryable(),
        "mayHaveCostAGuess": error.may_have_cost_a_guess(),
        "message": error.to_string(),
        "causes": error.causes.iter().map(cause).collect::<Vec<_>>(),
    } })
}

#[tokio::test]
async fn the_sdk_does_in_every_case_what_the_case_says() {
    let control = Control::start().await;
    let played = futures::stream::iter(cases()).map(async |(name, case)| {
        let differences = play(&control, &case).await;
        (!differences.is_empty()).then(|| format!("{name}: {}", differences.join("\n  ")))
    });
    let failed: Vec<_> = played.buffer_unordered(AT_ONCE).filter_map(async |failed| failed).collect().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Changes one expectation of a case.
type Plant = fn(&mut Value);

#[tokio::test]
async fn an_expectation_that_is_wrong_fails_the_runner() {
    let control = Control::start().await;
    let cases = cases();
    let plants: [(&str, Plant); 6] = [
        ("wrong-pin", |case| case["steps"][1]["expect"]["error"]["guessesRemaining"] = 3.into()),
        ("wrong-pin", |case| case["steps"][3]["expect"]["secret"] = "another".into()),
        ("lockout", |case| case["steps"][4]["expect"]["status"] = "Registered".into()),
        ("refusals", |case| case["steps"][3]["expect"]["error"]["retryable"] = false.into()),
        ("refusals", |case| case["steps"][5]["expect"]["error"]["causes"][0]["kind"] = "Unsettled".into()),
        // A fault that does not happen.
        ("thresholds", |case| case["steps"][0]["faults"] = json!([])),
    ];
    for (name, plant) in plants {
        let mut case = cases[name].clone();
        plant(&mut case);
        let differences = play(&control, &case).await;
        assert!(!differences.is_empty(), "{name}");
    }
}
