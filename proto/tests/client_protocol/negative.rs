use crate::support::{Script, array, bytes, cases, list, text, vectors};
use serde_json::Value;
use strongroom_proto::client::{
    ClientRequest, ClientResponse, HandshakeRequest, MAX_REQUEST_BODY, NoiseRequest, RequestKind,
    SecretsRequest,
};
use strongroom_proto::ids::{RealmId, SessionId};
use strongroom_proto::noise::{StaticKey, Transport, server_accept};
use strongroom_proto::registration::verify_registration;

/// A realm with sessions but without tokens and records: section 11 as far as this crate decides it.
struct Realm {
    id: RealmId,
    key: StaticKey,
    ephemeral_secret: Vec<u8>,
    session: Option<(SessionId, Transport)>,
}

/// The request inside, or what the realm refuses with. A handshake alone has none.
type Outcome = Result<Option<SecretsRequest>, ClientResponse>;

impl Realm {
    fn new(all: &Value) -> Self {
        let key = StaticKey::from_secret(&array(&all["realm"], "static_secret"));
        assert_eq!(key.public().0, array(&all["realm"], "static_public"));
        let ephemeral_secret = bytes(all, "server_ephemeral_secret");
        Self { id: RealmId(array(&all["realm"], "id")), key, ephemeral_secret, session: None }
    }

    fn handle(&mut self, body: &[u8]) -> Outcome {
        if body.len() > MAX_REQUEST_BODY {
            return Err(ClientResponse::PayloadTooLarge);
        }
        let request = ClientRequest::from_cbor(body).map_err(|_| ClientResponse::DecodingError)?;
        if request.realm != self.id {
            return Err(ClientResponse::Unavailable);
        }
        match (&request.kind, &request.encrypted) {
            (RequestKind::HandshakeOnly, NoiseRequest::Transport { .. }) => Err(ClientResponse::SessionError),
            (kind, NoiseRequest::Handshake(handshake)) => self.open(*kind, request.session_id, handshake),
            (RequestKind::SecretsRequest, NoiseRequest::Transport { ciphertext }) => {
                let session = self.session.take().filter(|(id, _)| *id == request.session_id);
                let (_, mut transport) = session.ok_or(ClientResponse::MissingSession)?;
                let payload = transport.decrypt(ciphertext).map_err(|_| ClientResponse::SessionError)?;
                processed(decode(&payload)?).map(Some)
            }
        }
    }

    fn open(&mut self, kind: RequestKind, id: SessionId, handshake: &HandshakeRequest) -> Outcome {
        let accepted = server_accept(&self.key, handshake).map_err(|_| ClientResponse::SessionError)?;
        let (handshake, payload) = accepted;
        let request = match kind {
            RequestKind::HandshakeOnly if payload.is_empty() => None,
            RequestKind::HandshakeOnly => return Err(ClientResponse::SessionError),
            RequestKind::SecretsRequest => Some(decode(&payload)?),
        };
        if request.as_ref().is_some_and(SecretsRequest::needs_forward_secrecy) {
            return Err(ClientResponse::SessionError);
        }
        let (_, transport) =
            handshake.respond(&[], &mut Script::new([self.ephemeral_secret.clone()])).unwrap();
        self.session = Some((id, transport));
        Ok(request)
    }
}

fn processed(request: SecretsRequest) -> Result<SecretsRequest, ClientResponse> {
    if let SecretsRequest::Register2(registration) = &request {
        verify_registration(registration).map_err(|_| ClientResponse::DecodingError)?;
    }
    Ok(request)
}

fn decode(payload: &[u8]) -> Result<SecretsRequest, ClientResponse> {
    SecretsRequest::from_cbor(payload).map_err(|_| ClientResponse::DecodingError)
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(_) => "Ok",
        Err(ClientResponse::Unavailable) => "Unavailable",
        Err(ClientResponse::SessionError) => "SessionError",
        Err(ClientResponse::MissingSession) => "MissingSession",
        Err(ClientResponse::DecodingError) => "DecodingError",
        Err(ClientResponse::PayloadTooLarge) => "PayloadTooLarge",
        Err(other) => panic!("{other:?} is not this crate's to answer"),
    }
}

#[test]
fn malformed_bodies_are_refused_as_the_vectors_say() {
    let all = vectors("negative");
    let mut refused = 0;
    for case in cases("negative", 144).iter().filter(|c| text(c, "stage") != "http") {
        let mut realm = Realm::new(&all);
        if case["prelude_body"].is_string() {
            assert_eq!(realm.handle(&bytes(case, "prelude_body")), Ok(None), "{}", case["name"]);
        }
        let outcome = realm.handle(&bytes(case, "body"));
        if text(case, "stage") == "auth" {
            assert!(outcome.is_ok(), "{}: only the token is wrong", case["name"]);
            continue;
        }
        let required = list(case, "required");
        assert!(
            required.iter().any(|r| r == name(&outcome)),
            "{}: {} of {required:?}",
            case["name"],
            name(&outcome)
        );
        if let (Err(answer), Some(expected)) = (&outcome, case["response_body"].as_str()) {
            refused += 1;
            assert_eq!(hex::encode(answer.to_cbor()), expected, "{}", case["name"]);
        }
        if let (Ok(Some(request)), Some(answered)) = (&outcome, case["secrets_response"].as_str()) {
            let variant = answered.split('.').next().unwrap();
            assert!(format!("{request:?}").starts_with(variant), "{}: {request:?}", case["name"]);
        }
    }
    assert!(refused > 100, "only {refused} refused");
}

#[test]
fn a_session_is_gone_after_a_message_it_refused() {
    let all = vectors("negative");
    let cases = cases("negative", 144);
    let of = |name: &str| cases.iter().find(|c| text(c, "name") == name).unwrap();
    let control = of("transport-control-recover2");
    for refused in ["transport-ciphertext-flipped", "transport-plaintext-garbage"] {
        let mut realm = Realm::new(&all);
        realm.handle(&bytes(control, "prelude_body")).unwrap();
        assert!(realm.handle(&bytes(of(refused), "body")).is_err());
        assert_eq!(realm.handle(&bytes(control, "body")), Err(ClientResponse::MissingSession));
    }
}
