//! Every body that a server must refuse, sent to a running agent with a core behind it: the answer is right, and a
//! refusal leaves the record as it was.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../../agent/tests/support/mod.rs"]
mod front;
use crate::support::device::{Device, Shared};
use crate::support::{Clocks, OneMember, Setting};
use front::{Answer, Negative, exchange, http, post};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;
use strongroom_hsm_planted::Revealed;
use strongroom_proto::client::{
    ClientRequest, ClientResponse, HandshakeResponse, NoiseRequest, NoiseResponse, RequestKind,
    SecretsRequest, SecretsResponse,
};
use strongroom_proto::ids::{SessionId, X25519Public};
use strongroom_proto::noise::{self, ClientHandshake, StaticKey, Transport};
use tokio::net::TcpStream;

/// Sessions of the vectors, and of the test.
const THEIRS: SessionId = SessionId(0x0a0b_0c0d);
const OURS: SessionId = SessionId(1);

/// The negative vectors, and a realm of their keys.
struct Live {
    vectors: Negative,
    raw: Value,
    realm: OneMember,
    device: Shared,
    clocks: Clocks,
}

fn bytes32(value: &Value) -> [u8; 32] {
    hex::decode(value.as_str().expect("text")).expect("hex").try_into().expect("32 bytes")
}

impl Live {
    async fn start() -> Self {
        let vectors = Negative::read();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/vectors/negative.json");
        let raw: Value = serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON");
        let folder = tempfile::tempdir().expect("a folder");
        let id = vectors.realm.id.parse().expect("a realm id");
        let device = Device::new(&folder.path().join("nvram"), id, bytes32(&raw["realm"]["static_secret"]));
        let clocks = Clocks::at(vectors.now);
        let setting = Setting { tenants: vectors.tenants_toml(), tls: None, clocks: Some(clocks.clone()) };
        let realm = OneMember::with_device(&device, folder, setting).await;
        assert_eq!(realm.realm.realm, id);
        Self { vectors, raw, realm, device, clocks }
    }

    /// After this, a session that the leader does not know never existed.
    fn pass_the_grace_of_a_new_leader(&self) {
        self.clocks.move_on(Duration::from_secs(36));
    }

    async fn send(&self, request: &[u8]) -> Answer {
        let stream = TcpStream::connect(self.realm.front()).await.expect("it listens");
        exchange(stream, request).await.expect("an answer")
    }

    async fn call(&self, body: &[u8]) -> ClientResponse {
        decoded(&self.send(&post(body)).await)
    }

    fn record(&self) -> Revealed {
        self.device.lock().expect("no panic").record()
    }

    fn public_key(&self) -> X25519Public {
        StaticKey::from_secret(&bytes32(&self.raw["realm"]["static_secret"])).public()
    }

    fn envelope(&self, session_id: SessionId, kind: RequestKind, encrypted: NoiseRequest) -> Vec<u8> {
        let auth_token = self.raw["auth_token"].as_str().expect("text").to_owned();
        let realm = self.realm.realm.realm;
        ClientRequest { realm, auth_token, session_id, kind, encrypted }.to_cbor()
    }

    /// Opens a session of the test's own.
    async fn open(&self) -> Transport {
        let rng = &mut StdRng::seed_from_u64(2);
        let (handshake, request) = noise::client_start(&self.public_key(), &[], rng).expect("a good key");
        let body = self.envelope(OURS, RequestKind::HandshakeOnly, NoiseRequest::Handshake(request));
        finish(handshake, &self.call(&body).await).0
    }

    /// Sends a request of which only the fact that it is answered matters.
    async fn apply(&self, transport: &mut Transport, request: &[u8]) {
        let ciphertext = transport.encrypt(request).expect("few messages");
        let body = self.envelope(OURS, RequestKind::SecretsRequest, NoiseRequest::Transport { ciphertext });
        let ClientResponse::Ok(NoiseResponse::Transport { ciphertext }) = self.call(&body).await else {
            panic!("a request of the setup was refused")
        };
        transport.decrypt(&ciphertext).expect("in order");
    }

    /// No session, and the record as the case needs it.
    async fn prepare(&self, case: &Value) {
        let nothing = NoiseRequest::Transport { ciphertext: vec![0; 16] };
        let ended = self.call(&self.envelope(THEIRS, RequestKind::SecretsRequest, nothing)).await;
        assert!(matches!(ended, ClientResponse::SessionError | ClientResponse::MissingSession), "{ended:?}");
        let mut transport = self.open().await;
        self.apply(&mut transport, &SecretsRequest::Delete.to_cbor()).await;
        for request in case["setup_requests"].as_array().into_iter().flatten() {
            self.apply(&mut transport, &hex::decode(request.as_str().expect("text")).expect("hex")).await;
        }
        assert!(is(&self.record(), &case["state_before"]), "{}", case["name"]);
    }

    /// Opens the session of the vectors, as the client that they recorded.
    async fn prelude(&self, case: &Value) -> Option<Transport> {
        let body = hex::decode(case["prelude_body"].as_str()?).expect("hex");
        let NoiseRequest::Handshake(recorded) = ClientRequest::from_cbor(&body).expect("a request").encrypted
        else {
            panic!("a prelude is a handshake")
        };
        let draw = &mut Draw(bytes32(&self.raw["client_ephemeral_secret"]));
        let (handshake, request) = noise::client_start(&self.public_key(), &[], draw).expect("a good key");
        assert_eq!(request, recorded);
        self.device.lock().expect("no panic").script(bytes32(&self.raw["server_ephemeral_secret"]));
        let answer = self.call(&body).await;
        assert!(self.device.lock().expect("no panic").is_drawn());
        Some(finish(handshake, &answer).0)
    }

    /// What an answer in a handshake says.
    fn opened(&self, body: &[u8], answer: &ClientResponse) -> Option<SecretsResponse> {
        let request = ClientRequest::from_cbor(body).expect("it was accepted");
        let NoiseRequest::Handshake(recorded) = request.encrypted else { return None };
        let payloads = [SecretsRequest::Recover1, SecretsRequest::Register1, SecretsRequest::Delete];
        payloads.iter().find_map(|payload| {
            let draw = &mut Draw(bytes32(&self.raw["client_ephemeral_secret"]));
            let started = noise::client_start(&self.public_key(), &payload.to_cbor(), draw);
            let (handshake, request) = started.expect("a good key");
            let padded = (request == recorded).then(|| finish(handshake, answer).1)?;
            Some(SecretsResponse::from_padded(&padded).expect("a padded answer"))
        })
    }
}

/// Draws the same 32 bytes, however often.
struct Draw([u8; 32]);

impl TryRng for Draw {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("a handshake draws bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("a handshake draws bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Draw {}

fn finish(handshake: ClientHandshake, answer: &ClientResponse) -> (Transport, Vec<u8>) {
    let ClientResponse::Ok(NoiseResponse::Handshake { handshake: response, .. }) = answer else {
        panic!("a handshake was refused: {answer:?}")
    };
    let response: &HandshakeResponse = response;
    let (transport, payload) = handshake.finish(response).expect("the realm's key");
    (transport, payload.to_vec())
}

fn decoded(answer: &Answer) -> ClientResponse {
    ClientResponse::from_cbor(&answer.body).expect("a ClientResponse")
}

/// The name of a variant, or of two nested ones: `Recover2.Ok`.
fn name(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    words.first().map(|word| (*word).to_owned()).unwrap_or_default()
}

fn response_name(response: &SecretsResponse) -> String {
    let (outer, inner) = match response {
        SecretsResponse::Register1 => ("Register1", "Ok".into()),
        SecretsResponse::Register2 => ("Register2", "Ok".into()),
        SecretsResponse::Recover1(inner) => ("Recover1", name(inner)),
        SecretsResponse::Recover2(inner) => ("Recover2", name(inner)),
        SecretsResponse::Recover3(inner) => ("Recover3", name(inner)),
        SecretsResponse::Delete => ("Delete", "Ok".into()),
        SecretsResponse::Attempts(_) => ("Attempts", "Ok".into()),
        SecretsResponse::Stage => ("Stage", "Ok".into()),
        SecretsResponse::Activate(inner) => ("Activate", name(inner)),
        SecretsResponse::Versions(_) => ("Versions", "Ok".into()),
    };
    format!("{outer}.{inner}")
}

/// Whether a record is in the state that the vectors write down.
fn is(record: &Revealed, state: &Value) -> bool {
    match record {
        Revealed::NotRegistered => state["state"] == "NotRegistered",
        Revealed::NoGuesses => state["state"] == "NoGuesses",
        Revealed::LastGuess(_) => false,
        Revealed::Registered { version, guess_count, num_guesses, .. } => {
            state["state"] == "Registered"
                && state["version"] == hex::encode(version)
                && state["guess_count"] == *guess_count
                && state["num_guesses"] == *num_guesses
        }
    }
}

#[tokio::test]
async fn every_negative_body_gets_a_required_answer_and_no_refusal_changes_the_record() {
    let live = Live::start().await;
    live.pass_the_grace_of_a_new_leader();
    let (mut refused, mut accepted) = (0, 0);
    let raw = live.raw["cases"].as_array().expect("an array");
    for (case, raw) in live.vectors.cases.iter().zip(raw).filter(|(case, _)| case.stage != "http") {
        live.prepare(raw).await;
        let transport = live.prelude(raw).await;
        let before = live.record();
        let http = live.send(&case.http()).await;
        let answer = decoded(&http);
        let name = name(&answer);
        assert!(case.required.contains(&name), "{}: {answer:?}, not {:?}", case.name, case.required);
        if name == case.required[0] {
            assert_eq!(http.status, case.http_status, "{}", case.name);
        }
        let ClientResponse::Ok(noise) = &answer else {
            if name == case.required[0] {
                let body = hex::encode(&http.body);
                assert_eq!(case.response_body.as_deref(), Some(body.as_str()), "{}", case.name);
            }
            assert_eq!(live.record(), before, "{}: a refusal changed the record", case.name);
            refused += 1;
            continue;
        };
        accepted += 1;
        if raw["reference"] == "Ok" {
            assert!(is(&live.record(), &raw["reference_state_after"]), "{}", case.name);
        }
        let Some(expected) = raw["secrets_response"].as_str() else { continue };
        let response = match (noise, transport) {
            (NoiseResponse::Transport { ciphertext }, Some(mut transport)) => {
                let padded = transport.decrypt(ciphertext).expect("in order");
                Some(SecretsResponse::from_padded(&padded).expect("a padded answer"))
            }
            _ => live.opened(&case.body_bytes(), &answer),
        };
        assert_eq!(response.as_ref().map(response_name).as_deref(), Some(expected), "{}", case.name);
    }
    assert_eq!((refused, accepted), (128, 8));
}

#[tokio::test]
async fn every_http_case_gets_its_status() {
    let live = Live::start().await;
    let cases: Vec<_> = live.vectors.cases.iter().filter(|case| case.stage == "http").collect();
    assert_eq!(cases.len(), 8);
    for case in cases {
        assert_eq!(live.send(&case.http()).await.status, case.http_status, "{}", case.name);
    }
    assert_eq!(live.send(&http("GET", "/livez", "", b"")).await.status, 200);
}

#[tokio::test]
async fn for_35_seconds_a_new_leader_does_not_call_a_session_missing() {
    let live = Live::start().await;
    let nothing = NoiseRequest::Transport { ciphertext: vec![0; 16] };
    let body = live.envelope(OURS, RequestKind::SecretsRequest, nothing);
    assert_eq!(live.call(&body).await, ClientResponse::Unavailable);
    live.pass_the_grace_of_a_new_leader();
    assert_eq!(live.call(&body).await, ClientResponse::MissingSession);
}
