//! The client, fed the recorded draws, sends the recorded requests byte for byte, and comes to the recorded results.
//!
//! The transcripts are those of clients in the field. Where ours differs on purpose, the test says so.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use strongroom_client::{
    Client, Configuration, Error, ErrorKind, FixedTokens, HttpResponse, NetworkError, Pin, RetryPolicy,
    Transport, UserSecret,
};
use strongroom_proto::client::{ClientRequest, ClientResponse, RequestKind, SecretsRequest};
use url::Url;
use zeroize::Zeroizing;

const TRANSCRIPTS: &str = include_str!("../../proto/vectors/transcript.json");

/// Replays draws, and insists on their sizes.
#[derive(Clone, Default)]
struct Draws(Arc<Mutex<VecDeque<Vec<u8>>>>);

impl TryRng for Draws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("the protocol draws no 64-bit integer")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let draw = self.0.lock().unwrap().pop_front().expect("the client draws more than was recorded");
        out.copy_from_slice(&draw);
        Ok(())
    }
}

impl TryCryptoRng for Draws {}

/// What is expected of the client, and how it is answered.
struct Exchange {
    url: String,
    request: Expected,
    answer: Option<HttpResponse>,
}

enum Expected {
    Exactly(Vec<u8>),
    /// A Register2 of fresh keys, in a session that was opened for it.
    FreshRegister2,
}

/// Answers from the record, realm by realm.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<HashMap<String, VecDeque<Exchange>>>>);

#[async_trait]
impl Transport for Script {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        assert_eq!(headers, [("X-Juicebox-Version", "0.3.4")]);
        let request = ClientRequest::from_cbor(&body).unwrap();
        let mut script = self.0.lock().unwrap();
        let exchanges = script.get_mut(&request.realm.to_string()).expect("a realm of the record");
        let exchange = exchanges.pop_front().expect("the client asks more than was recorded");
        assert_eq!(url.as_str(), exchange.url);
        match exchange.request {
            Expected::Exactly(expected) => assert_eq!(hex::encode(&body), hex::encode(expected)),
            Expected::FreshRegister2 => assert_eq!(request.kind, RequestKind::SecretsRequest),
        }
        exchange.answer.ok_or_else(|| NetworkError::Lost("as recorded".into()))
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is not a text"))
}

fn bytes(value: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(value, field)).unwrap()
}

fn recorded(http: &Value) -> Exchange {
    let status = http["response_status"].as_u64();
    let answer = status.map(|status| HttpResponse {
        status: status.try_into().unwrap(),
        body: bytes(http, "response_body").into(),
    });
    let request = Expected::Exactly(bytes(http, "request_body"));
    Exchange { url: text(http, "url").into(), request, answer }
}

/// The recorded exchanges and draws of one step, except for what our client does differently.
fn expectations(session: &str, step: &Value) -> (Vec<(usize, Exchange)>, VecDeque<Vec<u8>>) {
    let http = step["http"].as_array().unwrap();
    let mut exchanges: Vec<_> =
        http.iter().map(|http| (http["realm"].as_u64().unwrap() as usize, recorded(http))).collect();
    let draws = step["client_draws"].as_array().unwrap();
    let mut draws: VecDeque<_> = draws.iter().map(|draw| bytes(draw, "hex")).collect();

    let lost_recover3 = http.iter().position(|http| {
        http["fault_injected"] == "LoseReply" && text(http, "secrets_request").starts_with("Recover3")
    });
    if let Some(lost) = lost_recover3 {
        // Clients in the field send another Recover3 in a new session. Ours sends the same ciphertext again: a realm
        // accepts it once, and answers it as before.
        let url = text(&http[lost], "url").into();
        let request = Expected::Exactly(bytes(&http[lost], "request_body"));
        let answer = HttpResponse { status: 200, body: bytes(&http[lost], "lost_response_body").into() };
        exchanges.truncate(lost + 1);
        exchanges.push((1, Exchange { url, request, answer: Some(answer) }));
        draws.truncate(1);
    }
    if session == "missing-session-right-after-handshake" {
        // Clients in the field send the same Register2 in a new session. Ours draws a new registration before it
        // opens one. The realm then breaks the protocol, which ends the operation as recorded.
        let handshake = draws.split_off(6);
        draws.extend([vec![1; 16], vec![2; 64], vec![3; 32], vec![4; 64]]);
        draws.extend(handshake);
        exchanges[3].1.request = Expected::FreshRegister2;
        let refusal = ClientResponse::SessionError.to_cbor();
        exchanges[3].1.answer = Some(HttpResponse { status: 400, body: refusal.into() });
    }
    (exchanges, draws)
}

async fn perform(client: &Client, step: &Value) -> Value {
    let arguments = &step["arguments"];
    let pin = || Pin::from(text(arguments, "pin"));
    match text(step, "operation") {
        "register" => {
            let secret = UserSecret::new(&bytes(arguments, "secret")).unwrap();
            let guesses = arguments["num_guesses"].as_u64().unwrap().try_into().unwrap();
            let guesses = NonZeroU8::new(guesses).unwrap();
            let outcome = client.register(&pin(), &secret, &bytes(arguments, "user_info"), guesses).await;
            match outcome {
                Ok(()) => "Ok".into(),
                Err(Error { kind: ErrorKind::Assertion, .. }) => "Err(Assertion)".into(),
                Err(other) => format!("{other:?}").into(),
            }
        }
        "recover" => match client.recover(&pin(), &bytes(arguments, "user_info")).await {
            Ok(secret) => serde_json::json!({ "Ok": hex::encode(secret.as_bytes()) }),
            Err(Error { kind: ErrorKind::InvalidPin { guesses_remaining }, .. }) => {
                format!("Err(InvalidPin {{ guesses_remaining: {guesses_remaining} }})").into()
            }
            Err(Error { kind: ErrorKind::NotRegistered, .. }) => "Err(NotRegistered)".into(),
            Err(Error { kind: ErrorKind::RateLimitExceeded, .. }) => "Err(RateLimitExceeded)".into(),
            Err(Error { kind: ErrorKind::UpgradeRequired, .. }) => "Err(UpgradeRequired)".into(),
            // Clients in the field call it so.
            Err(Error { kind: ErrorKind::Unavailable { .. }, .. }) => "Err(Transient)".into(),
            Err(other) => format!("{other:?}").into(),
        },
        "delete" => match client.delete().await {
            Ok(()) => "Ok".into(),
            Err(other) => format!("{other:?}").into(),
        },
        other => panic!("unknown operation {other}"),
    }
}

async fn replay(session: &Value) {
    let name = text(session, "name");
    let configuration = Configuration::from_json(&session["configuration"].to_string()).unwrap();
    let realms = session["realms"].as_array().unwrap();
    let tokens: FixedTokens = realms
        .iter()
        .map(|realm| (text(realm, "id").parse().unwrap(), text(realm, "auth_token").into()))
        .collect();
    let (script, draws) = (Script::default(), Draws::default());
    // Pauses of zero keep the realms' draws in the recorded order.
    let client = Client::builder(configuration, tokens)
        .rng(draws.clone())
        .retry_policy(RetryPolicy { quick_step: Duration::ZERO, ..RetryPolicy::deployed() })
        .build_with(script.clone());

    for (number, step) in session["steps"].as_array().unwrap().iter().enumerate() {
        if name == "constant-size-frames" && number == 4 {
            // The record was made with a wait here: at exactly the lifetime a session is not used again.
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        let (exchanges, expected_draws) = expectations(name, step);
        *draws.0.lock().unwrap() = expected_draws;
        for realm in realms {
            script.0.lock().unwrap().insert(text(realm, "id").into(), VecDeque::new());
        }
        for (realm, exchange) in exchanges {
            script.0.lock().unwrap().get_mut(text(&realms[realm - 1], "id")).unwrap().push_back(exchange);
        }
        let outcome = perform(&client, step).await;
        assert_eq!(outcome, step["client_result"], "{name}, step {number}");
        assert!(
            draws.0.lock().unwrap().is_empty(),
            "{name}, step {number}: the client draws less than recorded"
        );
        let unasked = script.0.lock().unwrap().values().map(VecDeque::len).sum::<usize>();
        assert_eq!(unasked, 0, "{name}, step {number}: the client asks less than recorded");
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_draws_give_the_recorded_requests_and_results() {
    let transcripts: Value = serde_json::from_str(TRANSCRIPTS).unwrap();
    let sessions = transcripts["cases"].as_array().unwrap();
    assert_eq!(sessions.len(), 16);
    for session in sessions {
        replay(session).await;
    }
}

#[test]
fn recorded_registrations_commit_to_the_derived_unlock_key() {
    let transcripts: Value = serde_json::from_str(TRANSCRIPTS).unwrap();
    let steps = transcripts["cases"].as_array().unwrap().iter().flat_map(|s| s["steps"].as_array().unwrap());
    let mut checked = 0;
    for step in steps.filter(|step| step["operation"] == "register") {
        for http in step["http"].as_array().unwrap() {
            let Some(plaintext) = http["request_plaintext"].as_str() else { continue };
            let request = SecretsRequest::from_cbor(&hex::decode(plaintext).unwrap());
            let Ok(SecretsRequest::Register2(request)) = request else { continue };
            let commitment = hex::encode(request.unlock_key_commitment.as_bytes());
            assert_eq!(commitment, text(&step["derived"], "unlock_key_commitment"));
            checked += 1;
        }
    }
    assert!(checked >= 15);
}
