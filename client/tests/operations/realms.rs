//! Realms in memory, with a network between that can be told to fail.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;
use strongroom_client::{Configuration, FixedTokens, HttpResponse, NetworkError, Transport};
use strongroom_proto::client::{
    ClientRequest, ClientResponse, NoiseRequest, NoiseResponse, Recover1Response, Recover2Ok,
    Recover2Response, Recover3Ok, Recover3Response, Register2Request, RegistrationVersion, RequestKind,
    SecretsRequest, SecretsResponse,
};
use strongroom_proto::ids::{RealmId, SessionId};
use strongroom_proto::noise::{self, StaticKey, server_accept};
use strongroom_proto::oprf::evaluate;
use url::Url;
use zeroize::Zeroizing;

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It is answered after this time.
    Slow(Duration),
    /// It is acted on, and its answer lost.
    LoseReply,
    /// It is refused before anything happens.
    Unavailable,
    /// The realm forgets its sessions first.
    DropSessions,
    /// It is acted on, its answer lost, and the sessions forgotten.
    LoseReplyAndSessions,
    /// The host shows its HSM a tree without the record.
    SayNotRegistered,
    /// The realm says that the guesses are used up.
    SayNoGuesses,
    /// The realm names a registration that no other knows.
    SayOtherVersion,
    /// The realm refuses a tag that is right.
    SayBadTag,
    /// It is lost, which shows after this time.
    TimeOut(Duration),
    /// It is never answered.
    Hang,
    /// It is acted on, never answered, and the sessions are forgotten.
    HangAndLoseSessions,
    /// The realm treats the message as one that does not decrypt.
    EndSession,
}

/// A request as its realm understood it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) realm: usize,
    pub(crate) name: &'static str,
    pub(crate) session: u32,
    pub(crate) body: Vec<u8>,
}

pub(crate) enum Record {
    NotRegistered,
    NoGuesses,
    Registered { registration: Box<Register2Request>, guess_count: u16 },
}

#[derive(Default)]
struct Session {
    transport: Option<noise::Transport>,
    read: HashMap<Vec<u8>, SecretsRequest>,
    answered: HashMap<Vec<u8>, Vec<u8>>,
}

struct Realm {
    id: RealmId,
    key: Option<StaticKey>,
    record: Record,
    sessions: HashMap<SessionId, Session>,
    acted: HashMap<&'static str, usize>,
}

type Plan = Box<dyn FnMut(&Seen) -> Option<Fault> + Send>;

struct State {
    realms: Vec<Realm>,
    rng: StdRng,
    seen: Vec<Seen>,
    plan: Plan,
}

/// All realms, and the network to them.
#[derive(Clone)]
pub(crate) struct Realms(Arc<Mutex<State>>);

impl Realms {
    /// Hardware realms 0 to `hardware` − 1, then software realms.
    pub(crate) fn new(hardware: usize, software: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let realm = |number: usize| Realm {
            id: RealmId([number as u8 + 1; 16]),
            key: (number < hardware).then(|| StaticKey::random(&mut rng)),
            record: Record::NotRegistered,
            sessions: HashMap::new(),
            acted: HashMap::new(),
        };
        let realms = (0..hardware + software).map(realm).collect();
        Self(Arc::new(Mutex::new(State { realms, rng, seen: Vec::new(), plan: Box::new(|_| None) })))
    }

    pub(crate) fn configuration(&self, realms: &[usize], register: usize, recover: usize) -> Configuration {
        let json = self.json(realms, register, recover, |number| format!("https://realm-{number}.example/"));
        Configuration::from_json(&json).unwrap()
    }

    /// A configuration whose realms are at the given addresses.
    pub(crate) fn json(
        &self,
        realms: &[usize],
        register: usize,
        recover: usize,
        address: impl Fn(usize) -> String,
    ) -> String {
        let state = self.0.lock().unwrap();
        let realm = |number: &usize| {
            let realm = &state.realms[*number];
            let key = realm.key.as_ref().map(|key| key.public().to_string());
            json!({ "id": realm.id.to_string(), "address": address(*number), "public_key": key })
        };
        let json = json!({
            "realms": realms.iter().map(realm).collect::<Vec<_>>(),
            "register_threshold": register,
            "recover_threshold": recover,
            "pin_hashing_mode": "FastInsecure",
        });
        json.to_string()
    }

    pub(crate) fn tokens(&self) -> FixedTokens {
        self.0.lock().unwrap().realms.iter().map(|realm| (realm.id, "token".to_owned())).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().realms.len()
    }

    pub(crate) fn id(&self, realm: usize) -> RealmId {
        self.0.lock().unwrap().realms[realm].id
    }

    /// Decides the fault of every request from now on.
    pub(crate) fn plan(&self, plan: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) {
        self.0.lock().unwrap().plan = Box::new(plan);
    }

    /// The requests of one name to one realm, as sent.
    pub(crate) fn seen(&self, realm: usize, name: &str) -> Vec<Seen> {
        let state = self.0.lock().unwrap();
        state.seen.iter().filter(|seen| seen.realm == realm && seen.name == name).cloned().collect()
    }

    /// How often a realm acted on requests of one name.
    pub(crate) fn acted(&self, realm: usize, name: &'static str) -> usize {
        self.0.lock().unwrap().realms[realm].acted.get(name).copied().unwrap_or(0)
    }

    /// How many guesses are charged; none without a registration.
    pub(crate) fn guess_count(&self, realm: usize) -> Option<u16> {
        match &self.0.lock().unwrap().realms[realm].record {
            Record::Registered { guess_count, .. } => Some(*guess_count),
            _ => None,
        }
    }
}

#[async_trait]
impl Transport for Realms {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        let number = url.host_str().unwrap().trim_start_matches("realm-").trim_end_matches(".example");
        let number: usize = number.parse().unwrap();
        assert_eq!(headers[0], ("X-Juicebox-Version", "0.3.4"));
        let (fault, response) = {
            let mut state = self.0.lock().unwrap();
            let State { realms, rng, seen, plan } = &mut *state;
            let realm = &mut realms[number];
            let mut next = |name, session| {
                let request = Seen { realm: number, name, session, body: body.to_vec() };
                seen.push(request.clone());
                plan(&request)
            };
            if realm.key.is_some() {
                realm.hardware(&ClientRequest::from_cbor(&body).unwrap(), &mut next, rng)
            } else {
                assert_eq!(headers[1], ("Authorization", "Bearer token"));
                let request = SecretsRequest::from_cbor(&body).unwrap();
                let fault = next(name(&request), 0);
                match fault {
                    Some(Fault::Unavailable) => (fault, (503, Vec::new())),
                    _ => (fault, (200, realm.act(&request, rng).to_cbor().to_vec())),
                }
            }
        };
        match fault {
            Some(Fault::Slow(pause)) => tokio::time::sleep(pause).await,
            Some(Fault::Hang | Fault::HangAndLoseSessions) => std::future::pending().await,
            Some(Fault::TimeOut(pause)) => {
                tokio::time::sleep(pause).await;
                return Err(NetworkError::Lost("timed out".into()));
            }
            Some(Fault::LoseReply | Fault::LoseReplyAndSessions) => {
                return Err(NetworkError::Lost("lost".into()));
            }
            _ => {}
        }
        Ok(HttpResponse { status: response.0, body: response.1.into() })
    }
}

impl Realm {
    fn hardware(
        &mut self,
        request: &ClientRequest,
        next: &mut impl FnMut(&'static str, u32) -> Option<Fault>,
        rng: &mut StdRng,
    ) -> (Option<Fault>, (u16, Vec<u8>)) {
        let refusal = |fault, status, refusal: ClientResponse| (fault, (status, refusal.to_cbor()));
        let id = request.session_id;
        match &request.encrypted {
            NoiseRequest::Handshake(message) => {
                let (handshake, payload) = server_accept(self.key.as_ref().unwrap(), message).unwrap();
                let asked = (request.kind == RequestKind::SecretsRequest)
                    .then(|| SecretsRequest::from_cbor(&payload).unwrap());
                let fault = next(asked.as_ref().map_or("HandshakeOnly", name), id.0);
                if let Some(Fault::Unavailable) = fault {
                    return refusal(fault, 503, ClientResponse::Unavailable);
                }
                let answer = asked.map(|asked| self.answer(&asked, fault, rng).to_padded().unwrap());
                let answer = answer.as_ref().map_or(&[][..], |answer| &answer[..]);
                let (handshake, transport) = handshake.respond(answer, rng).unwrap();
                self.sessions.insert(id, Session { transport: Some(transport), ..Session::default() });
                let session_lifetime = Duration::from_secs(5);
                let response = ClientResponse::Ok(NoiseResponse::Handshake { handshake, session_lifetime });
                (fault, (200, response.to_cbor()))
            }
            NoiseRequest::Transport { ciphertext } => {
                let Some(session) = self.sessions.get_mut(&id) else {
                    let fault = next("lost session", id.0);
                    return match fault {
                        Some(Fault::Unavailable) => refusal(fault, 503, ClientResponse::Unavailable),
                        _ => refusal(fault, 400, ClientResponse::MissingSession),
                    };
                };
                let transport = session.transport.as_mut().unwrap();
                let asked = session.read.entry(ciphertext.clone()).or_insert_with(|| {
                    SecretsRequest::from_cbor(&transport.decrypt(ciphertext).unwrap()).unwrap()
                });
                let asked = asked.clone();
                let fault = next(name(&asked), id.0);
                if let Some(Fault::Unavailable) = fault {
                    return refusal(fault, 503, ClientResponse::Unavailable);
                }
                if let Some(Fault::DropSessions) = fault {
                    self.sessions.clear();
                    return refusal(fault, 400, ClientResponse::MissingSession);
                }
                if let Some(Fault::EndSession) = fault {
                    self.sessions.remove(&id);
                    return refusal(fault, 400, ClientResponse::SessionError);
                }
                let known = session.answered.get(ciphertext).cloned();
                let ciphertext = known.unwrap_or_else(|| {
                    let answer = self.answer(&asked, fault, rng).to_padded().unwrap();
                    let session = self.sessions.get_mut(&id).unwrap();
                    let answer = session.transport.as_mut().unwrap().encrypt(&answer[..]).unwrap();
                    session.answered.insert(ciphertext.clone(), answer.clone());
                    answer
                });
                if let Some(Fault::LoseReplyAndSessions | Fault::HangAndLoseSessions) = fault {
                    self.sessions.clear();
                }
                (fault, (200, ClientResponse::Ok(NoiseResponse::Transport { ciphertext }).to_cbor()))
            }
        }
    }

    /// What the state machine says, or a lie instead.
    fn answer(
        &mut self,
        request: &SecretsRequest,
        fault: Option<Fault>,
        rng: &mut StdRng,
    ) -> SecretsResponse {
        let recover = |one, two, three| match request {
            SecretsRequest::Recover1 => SecretsResponse::Recover1(one),
            SecretsRequest::Recover2 { .. } => SecretsResponse::Recover2(two),
            _ => SecretsResponse::Recover3(three),
        };
        match fault {
            Some(Fault::SayNotRegistered) => recover(
                Recover1Response::NotRegistered,
                Recover2Response::NotRegistered,
                Recover3Response::NotRegistered,
            ),
            Some(Fault::SayNoGuesses) => {
                recover(Recover1Response::NoGuesses, Recover2Response::NoGuesses, Recover3Response::NoGuesses)
            }
            Some(Fault::SayOtherVersion) => recover(
                Recover1Response::Ok { version: RegistrationVersion([0xee; 16]) },
                Recover2Response::VersionMismatch,
                Recover3Response::VersionMismatch,
            ),
            Some(Fault::SayBadTag) => {
                SecretsResponse::Recover3(Recover3Response::BadUnlockKeyTag { guesses_remaining: 0 })
            }
            _ => self.act(request, rng),
        }
    }

    /// The state machine of section 12.
    fn act(&mut self, request: &SecretsRequest, rng: &mut StdRng) -> SecretsResponse {
        *self.acted.entry(name(request)).or_default() += 1;
        match (request, &mut self.record) {
            (SecretsRequest::Register1, _) => SecretsResponse::Register1,
            (SecretsRequest::Register2(registration), record) => {
                *record = Record::Registered { registration: registration.clone(), guess_count: 0 };
                SecretsResponse::Register2
            }
            (SecretsRequest::Delete, record) => {
                *record = Record::NotRegistered;
                SecretsResponse::Delete
            }
            (SecretsRequest::Recover1, Record::NotRegistered) => {
                SecretsResponse::Recover1(Recover1Response::NotRegistered)
            }
            (SecretsRequest::Recover1, Record::NoGuesses) => {
                SecretsResponse::Recover1(Recover1Response::NoGuesses)
            }
            (SecretsRequest::Recover1, Record::Registered { registration, guess_count }) => {
                if *guess_count >= registration.policy.num_guesses {
                    self.record = Record::NoGuesses;
                    return SecretsResponse::Recover1(Recover1Response::NoGuesses);
                }
                SecretsResponse::Recover1(Recover1Response::Ok { version: registration.version })
            }
            (SecretsRequest::Recover2 { version, .. }, Record::Registered { registration, .. })
                if *version != registration.version =>
            {
                SecretsResponse::Recover2(Recover2Response::VersionMismatch)
            }
            (SecretsRequest::Recover3 { version, .. }, Record::Registered { registration, .. })
                if *version != registration.version =>
            {
                SecretsResponse::Recover3(Recover3Response::VersionMismatch)
            }
            (
                SecretsRequest::Recover2 { blinded_input, .. },
                Record::Registered { registration, guess_count },
            ) => {
                *guess_count += 1;
                let (key, signed) = (&registration.oprf_private_key, &registration.oprf_signed_public_key);
                let (oprf_blinded_result, oprf_proof) =
                    evaluate(key, &signed.public_key, blinded_input, rng).expect("a nonce");
                SecretsResponse::Recover2(Recover2Response::Ok(Box::new(Recover2Ok {
                    oprf_proof,
                    oprf_signed_public_key: signed.clone(),
                    oprf_blinded_result,
                    unlock_key_commitment: registration.unlock_key_commitment.clone(),
                    num_guesses: registration.policy.num_guesses,
                    guess_count: *guess_count,
                })))
            }
            (
                SecretsRequest::Recover3 { unlock_key_tag, .. },
                Record::Registered { registration, guess_count },
            ) => {
                assert_eq!(unlock_key_tag.as_bytes(), registration.unlock_key_tag.as_bytes());
                *guess_count = 0;
                SecretsResponse::Recover3(Recover3Response::Ok(Box::new(Recover3Ok {
                    encryption_key_scalar_share: registration.encryption_key_scalar_share.clone(),
                    encrypted_secret: registration.encrypted_secret.clone(),
                    encrypted_secret_commitment: registration.encrypted_secret_commitment.clone(),
                })))
            }
            _ => SecretsResponse::Recover2(Recover2Response::NotRegistered),
        }
    }
}

fn name(request: &SecretsRequest) -> &'static str {
    match request {
        SecretsRequest::Register1 => "Register1",
        SecretsRequest::Register2(_) => "Register2",
        SecretsRequest::Recover1 => "Recover1",
        SecretsRequest::Recover2 { .. } => "Recover2",
        SecretsRequest::Recover3 { .. } => "Recover3",
        SecretsRequest::Delete => "Delete",
    }
}

/// A plan that hits the first `times` requests that `which` picks.
pub(crate) fn first(
    times: usize,
    fault: Fault,
    which: impl Fn(&Seen) -> bool + Send + 'static,
) -> impl FnMut(&Seen) -> Option<Fault> + Send {
    let mut left: VecDeque<Fault> = std::iter::repeat_n(fault, times).collect();
    move |seen| if which(seen) { left.pop_front() } else { None }
}
