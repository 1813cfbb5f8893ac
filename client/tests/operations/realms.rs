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
    ActivateResponse, AttemptsResponse, ClientRequest, ClientResponse, NoiseRequest, NoiseResponse,
    Recover1Response, Recover2Ok, Recover2Response, Recover3Ok, Recover3Response, Register2Request,
    RegistrationVersion, RequestKind, SecretsRequest, SecretsResponse, UnlockKeyTag, VersionsResponse,
};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index, RealmId, SessionId};
use strongroom_proto::noise::{self, StaticKey, server_accept};
use strongroom_proto::oprf::{BlindedInput, evaluate};
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
    /// The realm does not know the request.
    CannotRead,
    /// Another device activates what is staged, just before.
    ActivateFirst,
}

/// A request as its realm understood it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) realm: usize,
    pub(crate) name: &'static str,
    pub(crate) session: u32,
    pub(crate) body: Vec<u8>,
}

/// What is in one of the two places of a record.
#[derive(Clone, Default)]
pub(crate) enum Record {
    #[default]
    NotRegistered,
    NoGuesses,
    Registered {
        registration: Box<Register2Request>,
        guess_count: u16,
    },
}

impl Record {
    fn version(&self) -> Option<RegistrationVersion> {
        match self {
            Self::Registered { registration, .. } => Some(registration.version),
            _ => None,
        }
    }

    fn guess_count(&self) -> Option<u16> {
        match self {
            Self::Registered { guess_count, .. } => Some(*guess_count),
            _ => None,
        }
    }

    /// What Recover1 is answered with, after which guesses that are used up are gone.
    fn told(&mut self) -> Recover1Response {
        match self {
            Self::Registered { registration, guess_count }
                if *guess_count < registration.policy.num_guesses =>
            {
                Recover1Response::Ok { version: registration.version }
            }
            Self::NotRegistered => Recover1Response::NotRegistered,
            _ => {
                *self = Self::NoGuesses;
                Recover1Response::NoGuesses
            }
        }
    }
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
    present: Record,
    staged: Record,
    offers_staging: bool,
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
            present: Record::NotRegistered,
            staged: Record::NotRegistered,
            offers_staging: false,
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
        self.0.lock().unwrap().realms[realm].present.guess_count()
    }

    /// How many guesses are charged to the present registration, and how many to the staged one.
    pub(crate) fn guess_counts(&self, realm: usize) -> [Option<u16>; 2] {
        let realm = &self.0.lock().unwrap().realms[realm];
        [realm.present.guess_count(), realm.staged.guess_count()]
    }

    /// Which registrations there are, present and staged.
    pub(crate) fn versions(&self, realm: usize) -> [Option<RegistrationVersion>; 2] {
        let realm = &self.0.lock().unwrap().realms[realm];
        [realm.present.version(), realm.staged.version()]
    }

    /// From now on, these realms offer staging, and no others.
    pub(crate) fn offer_staging(&self, realms: &[usize]) {
        let mut state = self.0.lock().unwrap();
        state.realms.iter_mut().enumerate().for_each(|(n, realm)| realm.offers_staging = realms.contains(&n));
    }

    /// What a host does with a session of its own: stages what other realms have as present.
    pub(crate) fn stage(&self, realm: usize, of: &Self) {
        let staged = of.0.lock().unwrap().realms[realm].present.clone();
        self.0.lock().unwrap().realms[realm].staged = staged;
    }

    /// The same: activates what is staged.
    pub(crate) fn activate(&self, realm: usize) {
        let realm = &mut self.0.lock().unwrap().realms[realm];
        realm.present = std::mem::take(&mut realm.staged);
    }

    /// How many guesses the present registration allows.
    pub(crate) fn num_guesses(&self, realm: usize) -> Option<u16> {
        match &self.0.lock().unwrap().realms[realm].present {
            Record::Registered { registration, .. } => Some(registration.policy.num_guesses),
            _ => None,
        }
    }

    /// The realm says another number from now on.
    pub(crate) fn set_num_guesses(&self, realm: usize, to: u16) {
        if let Record::Registered { registration, .. } = &mut self.0.lock().unwrap().realms[realm].present {
            registration.policy.num_guesses = to;
        }
    }

    /// Other realms with the same keys and records, and a network without faults.
    pub(crate) fn fork(&self) -> Self {
        let state = self.0.lock().unwrap();
        let realm = |realm: &Realm| Realm {
            key: realm.key.clone(),
            present: realm.present.clone(),
            staged: realm.staged.clone(),
            sessions: HashMap::new(),
            acted: HashMap::new(),
            ..*realm
        };
        let realms = state.realms.iter().map(realm).collect();
        let rng = StdRng::seed_from_u64(8);
        Self(Arc::new(Mutex::new(State { realms, rng, seen: Vec::new(), plan: Box::new(|_| None) })))
    }
}

/// What of a fault shows on the way back.
async fn come_back(fault: Option<Fault>) -> Result<(), NetworkError> {
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
    Ok(())
}

fn number_of(url: &Url) -> usize {
    let number = url.host_str().unwrap().trim_start_matches("realm-").trim_end_matches(".example");
    number.parse().unwrap()
}

#[async_trait]
impl Transport for Realms {
    async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, NetworkError> {
        let number = number_of(url);
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
        come_back(fault).await?;
        Ok(HttpResponse { status: response.0, body: response.1.into() })
    }

    async fn get(
        &self,
        url: &Url,
        _: &[(&'static str, &str)],
        _: usize,
    ) -> Result<HttpResponse, NetworkError> {
        if !url.path().ends_with("/extensions") {
            return Err(NetworkError::CannotGet);
        }
        let number = number_of(url);
        let (fault, status, body) = {
            let mut state = self.0.lock().unwrap();
            let State { realms, seen, plan, .. } = &mut *state;
            let asked = Seen { realm: number, name: "extensions", session: 0, body: Vec::new() };
            seen.push(asked.clone());
            match plan(&asked) {
                fault @ Some(Fault::Unavailable) => (fault, 503, ""),
                fault if realms[number].offers_staging => {
                    (fault, 200, r#"{"extensions":["attempts","staging"]}"#)
                }
                fault => (fault, 404, ""),
            }
        };
        come_back(fault).await?;
        Ok(HttpResponse { status, body: body.as_bytes().to_vec().into() })
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
                if let Some(Fault::CannotRead) = fault {
                    return refusal(fault, 400, ClientResponse::DecodingError);
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
                if let Some(Fault::CannotRead) = fault {
                    self.sessions.remove(&id);
                    return refusal(fault, 400, ClientResponse::DecodingError);
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
        if let Some(Fault::ActivateFirst) = fault
            && self.staged.version().is_some()
        {
            self.present = std::mem::take(&mut self.staged);
        }
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

    /// The place that has this registration, present first.
    fn place(&mut self, version: RegistrationVersion) -> &mut Record {
        let staged = self.present.version() != Some(version) && self.staged.version() == Some(version);
        if staged { &mut self.staged } else { &mut self.present }
    }

    /// The state machine of section 12, and that of staging.
    fn act(&mut self, request: &SecretsRequest, rng: &mut StdRng) -> SecretsResponse {
        *self.acted.entry(name(request)).or_default() += 1;
        match request {
            SecretsRequest::Register1 => SecretsResponse::Register1,
            SecretsRequest::Attempts => SecretsResponse::Attempts(Box::new(no_attempts(&self.present))),
            SecretsRequest::Register2(registration) => {
                let registration = registration.clone();
                (self.present, self.staged) =
                    (Record::Registered { registration, guess_count: 0 }, Record::NotRegistered);
                SecretsResponse::Register2
            }
            SecretsRequest::Delete => {
                (self.present, self.staged) = Default::default();
                SecretsResponse::Delete
            }
            SecretsRequest::Recover1 => SecretsResponse::Recover1(self.present.told()),
            SecretsRequest::Recover2 { version, blinded_input } => {
                SecretsResponse::Recover2(recover2(self.place(*version), *version, blinded_input, rng))
            }
            SecretsRequest::Recover3 { version, unlock_key_tag } => {
                SecretsResponse::Recover3(recover3(self.place(*version), *version, unlock_key_tag))
            }
            SecretsRequest::Stage(_) | SecretsRequest::Activate { .. } | SecretsRequest::Versions => {
                assert!(self.offers_staging, "a realm that does not offer staging was sent {request:?}");
                self.stage(request)
            }
        }
    }

    fn stage(&mut self, request: &SecretsRequest) -> SecretsResponse {
        match request {
            SecretsRequest::Stage(registration) => {
                let version = Some(registration.version);
                if self.present.version() != version && self.staged.version() != version {
                    self.staged = Record::Registered { registration: registration.clone(), guess_count: 0 };
                }
                SecretsResponse::Stage
            }
            SecretsRequest::Activate { version } => {
                let staged = std::mem::take(&mut self.staged);
                if staged.version() == Some(*version) {
                    self.present = staged;
                } else if self.present.version() != Some(*version) {
                    self.staged = staged;
                    return SecretsResponse::Activate(ActivateResponse::NotStaged);
                }
                SecretsResponse::Activate(ActivateResponse::Ok)
            }
            _ => {
                let (present, staged) = (self.present.told(), self.staged.told());
                SecretsResponse::Versions(VersionsResponse { present, staged })
            }
        }
    }
}

fn recover2(
    record: &mut Record,
    version: RegistrationVersion,
    blinded_input: &BlindedInput,
    rng: &mut StdRng,
) -> Recover2Response {
    match record {
        Record::NotRegistered => Recover2Response::NotRegistered,
        Record::NoGuesses => Recover2Response::NoGuesses,
        Record::Registered { registration, .. } if registration.version != version => {
            Recover2Response::VersionMismatch
        }
        Record::Registered { registration, guess_count } => {
            if *guess_count >= registration.policy.num_guesses {
                *record = Record::NoGuesses;
                return Recover2Response::NoGuesses;
            }
            *guess_count += 1;
            let (key, signed) = (&registration.oprf_private_key, &registration.oprf_signed_public_key);
            let (oprf_blinded_result, oprf_proof) =
                evaluate(key, &signed.public_key, blinded_input, rng).expect("a nonce");
            Recover2Response::Ok(Box::new(Recover2Ok {
                oprf_proof,
                oprf_signed_public_key: signed.clone(),
                oprf_blinded_result,
                unlock_key_commitment: registration.unlock_key_commitment.clone(),
                num_guesses: registration.policy.num_guesses,
                guess_count: *guess_count,
            }))
        }
    }
}

fn recover3(record: &mut Record, version: RegistrationVersion, tag: &UnlockKeyTag) -> Recover3Response {
    match record {
        Record::NotRegistered => Recover3Response::NotRegistered,
        Record::NoGuesses => Recover3Response::NoGuesses,
        Record::Registered { registration, .. } if registration.version != version => {
            Recover3Response::VersionMismatch
        }
        Record::Registered { registration, guess_count } => {
            assert_eq!(tag.as_bytes(), registration.unlock_key_tag.as_bytes());
            *guess_count = 0;
            Recover3Response::Ok(Box::new(Recover3Ok {
                encryption_key_scalar_share: registration.encryption_key_scalar_share.clone(),
                encrypted_secret: registration.encrypted_secret.clone(),
                encrypted_secret_commitment: registration.encrypted_secret_commitment.clone(),
            }))
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
        SecretsRequest::Attempts => "Attempts",
        SecretsRequest::Stage(_) => "Stage",
        SecretsRequest::Activate { .. } => "Activate",
        SecretsRequest::Versions => "Versions",
    }
}

/// A list of nothing, of the registration that there is.
fn no_attempts(record: &Record) -> AttemptsResponse {
    AttemptsResponse {
        group: GroupId([0xaa; 16]),
        index: Index(1),
        hash: EntryHash([1; 32]),
        version: record.version().unwrap_or(RegistrationVersion([0; 16])),
        count: 0,
        head: Digest([0; 32]),
        newest: vec![],
        signature: [0; 64].into(),
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
