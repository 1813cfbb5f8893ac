//! The control: which cases run, at which step, and what comes of the requests of their users.

use super::answer;
use super::fault::{Faults, Kind, What};
use super::outcome::differences;
use super::script::{Case, Place};
use super::solo::Solo;
use crate::Error;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_client::{HttpResponse, Https, Transport as _, Url, Zeroizing};
use strongroom_proto::client::{ClientRequest, ClientResponse, NoiseResponse};
use tokio::sync::watch;

/// No case and no outcome is longer, in bytes.
const MAX_BODY: usize = 1 << 20;
/// As in the client protocol.
const VERSION_HEADER: &str = "X-Juicebox-Version";

/// Realms, and the cases that run at them.
pub(super) struct Control {
    realms: Vec<Solo>,
    places: Vec<Place>,
    transport: Https,
    cases: Mutex<Cases>,
}

#[derive(Default)]
struct Cases {
    begun: u64,
    running: BTreeMap<u64, Running>,
    /// Whose request it is.
    tokens: HashMap<String, u64>,
}

struct Running {
    case: Case,
    faults: Faults,
    /// How many steps have begun. What hangs in one is let go with the next.
    step: watch::Sender<usize>,
}

impl Control {
    pub(super) fn new(url: String, realms: Vec<Solo>) -> Result<Self, Error> {
        let place = |(i, realm): (usize, &Solo)| Place {
            id: realm.id().to_string(),
            public_key: realm.public_key(),
            address: format!("{url}realm/{i}/"),
        };
        let places = realms.iter().enumerate().map(place).collect();
        Ok(Self { realms, places, transport: Https::new()?, cases: Mutex::default() })
    }

    fn cases(&self) -> MutexGuard<'_, Cases> {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, text: &[u8]) -> Result<Value, Error> {
        let case = Case::parse(text)?;
        let mut cases = self.cases();
        cases.begun += 1;
        let number = cases.begun;
        let mut clients = Map::new();
        for (name, device) in &case.clients {
            let mut tokens = Map::new();
            for (i, realm) in self.realms.iter().enumerate() {
                if device.without_tokens.contains(&i) {
                    continue;
                }
                let token = realm.token(&format!("{number}-{}", device.user))?;
                cases.tokens.insert(token.clone(), number);
                tokens.insert(self.places[i].id.clone(), token.into());
            }
            let configuration = |name: &String| case.configuration(name, &self.places);
            let client = json!({
                "configuration": configuration(&device.configuration)?,
                "previous": device.previous.iter().map(configuration).collect::<Result<Vec<_>, _>>()?,
                "tokens": tokens,
                "patienceMs": device.patience_ms,
            });
            clients.insert(name.clone(), client);
        }
        let running = Running { case, faults: Faults::default(), step: watch::channel(0).0 };
        cases.running.insert(number, running);
        Ok(json!({ "case": number.to_string(), "clients": clients }))
    }

    fn step(&self, case: &str, step: &str) -> Result<Value, Error> {
        let mut cases = self.cases();
        let running = cases.running(case)?;
        let k: usize = step.parse()?;
        let step = running.case.steps.get(k).ok_or("there is no such step")?;
        running.faults.replace(&step.faults);
        running.step.send_replace(k + 1);
        Ok(json!({}))
    }

    fn outcome(&self, case: &str, step: &str, outcome: &[u8]) -> Result<Value, Error> {
        let outcome: Value = serde_json::from_slice(outcome)?;
        let mut cases = self.cases();
        let running = cases.running(case)?;
        let step = running.case.steps.get(step.parse::<usize>()?).ok_or("there is no such step")?;
        let ids: Vec<_> = self.places.iter().map(|place| place.id.clone()).collect();
        Ok(json!({ "differences": differences(&step.expect, &outcome, &ids) }))
    }

    fn end(&self, case: &str) -> Result<Value, Error> {
        let mut cases = self.cases();
        let number: u64 = case.parse()?;
        cases.running.remove(&number).ok_or("there is no such case")?;
        cases.tokens.retain(|_, of| *of != number);
        Ok(json!({}))
    }

    /// What happens to a request, and how to learn that its step is over.
    fn meet(&self, realm: usize, body: &[u8]) -> Option<(What, watch::Receiver<usize>)> {
        let request = ClientRequest::from_cbor(body).ok()?;
        let mut cases = self.cases();
        let number = *cases.tokens.get(&request.auth_token)?;
        let running = cases.running.get_mut(&number)?;
        let what = running.faults.meet(realm, Kind::of(&request), request.session_id.0)?;
        Some((what, running.step.subscribe()))
    }

    /// One request to a realm, and whatever goes wrong with it.
    async fn pass(&self, realm: &str, headers: &HeaderMap, body: Vec<u8>) -> Response {
        let Some((i, solo)) = realm.parse().ok().and_then(|i: usize| Some((i, self.realms.get(i)?))) else {
            return answer::bytes(404, b"there is no such realm".to_vec());
        };
        let gone = || answer::bytes(502, b"the realm is gone".to_vec());
        let refused = |status, response: &ClientResponse| answer::bytes(status, response.to_cbor());
        match self.meet(i, &body) {
            None => self.forward(solo, headers, body).await.map_or_else(gone, passed_on),
            Some((What::Alter, _)) => {
                let altered = self.forward(solo, headers, body).await.and_then(alter);
                altered.map_or_else(gone, passed_on)
            }
            Some((What::LoseReply | What::LoseReplyAndSession, _)) => {
                self.forward(solo, headers, body).await;
                gone()
            }
            Some((What::Down, _)) => gone(),
            Some((What::Hang, mut step)) => {
                // The sender goes with the case.
                let _ = step.changed().await;
                gone()
            }
            Some((What::Unavailable, _)) => refused(503, &ClientResponse::Unavailable),
            Some((What::MissingSession, _)) => refused(400, &ClientResponse::MissingSession),
            Some((What::InvalidAuth, _)) => refused(401, &ClientResponse::InvalidAuth),
            Some((What::RateLimitExceeded, _)) => refused(429, &ClientResponse::RateLimitExceeded),
            Some((What::UpgradeRequired, _)) => answer::bytes(426, b"a newer client, please".to_vec()),
            Some((What::Garbage, _)) => answer::bytes(200, vec![0xff; 9]),
        }
    }

    async fn forward(&self, solo: &Solo, headers: &HeaderMap, body: Vec<u8>) -> Option<HttpResponse> {
        let url = Url::parse(&format!("http://{}/req", solo.front())).ok()?;
        let version = headers.get(VERSION_HEADER).and_then(|version| version.to_str().ok());
        let headers: Vec<_> = version.map(|version| (VERSION_HEADER, version)).into_iter().collect();
        self.transport.post(&url, &headers, Zeroizing::new(body)).await.ok()
    }
}

impl Cases {
    fn running(&mut self, case: &str) -> Result<&mut Running, Error> {
        Ok(self.running.get_mut(&case.parse()?).ok_or("there is no such case")?)
    }
}

fn passed_on(http: HttpResponse) -> Response {
    answer::bytes(http.status, http.body.to_vec())
}

/// Changes one bit of what is encrypted.
fn alter(http: HttpResponse) -> Option<HttpResponse> {
    let mut response = ClientResponse::from_cbor(&http.body).ok()?;
    let encrypted = match &mut response {
        ClientResponse::Ok(NoiseResponse::Handshake { handshake, .. }) => &mut handshake.payload_ciphertext,
        ClientResponse::Ok(NoiseResponse::Transport { ciphertext }) => ciphertext,
        _ => return Some(http),
    };
    *encrypted.last_mut()? ^= 1;
    Some(HttpResponse { status: http.status, body: Zeroizing::new(response.to_cbor()) })
}

/// Every request: those to the control, and those to the realms.
pub(super) async fn answer(State(control): State<Arc<Control>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        return answer::preflight();
    }
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return answer::bytes(413, b"too long".to_vec());
    };
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    match (parts.method, &path[..]) {
        (Method::POST, ["realm", realm, "req"]) => control.pass(realm, &parts.headers, body.to_vec()).await,
        (Method::POST, ["cases"]) => answer::json(control.begin(&body)),
        (Method::POST, ["cases", case, "steps", k]) => answer::json(control.step(case, k)),
        (Method::POST, ["cases", case, "steps", k, "outcome"]) => {
            answer::json(control.outcome(case, k, &body))
        }
        (Method::DELETE, ["cases", case]) => answer::json(control.end(case)),
        _ => answer::bytes(404, b"see client/cases/README.md".to_vec()),
    }
}
