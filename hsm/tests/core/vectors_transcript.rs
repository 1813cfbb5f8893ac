//! Recorded sessions of clients in the field, replayed from the realm's side through real cores.
//!
//! Every recorded request that reached a server goes to a core under that server's id, key and randomness. The answer
//! must be what was recorded, padded to the one length of section 13.5, and so must the record be.
//! [`DIFFERENCES`] says where it is not, on purpose. The list is exact.

use crate::replay::{Realm, Stored, array, bytes, cases, list, text};
use core::convert::Infallible;
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use std::collections::BTreeMap;
use strongroom_proto::client::{
    ClientRequest, ClientResponse, HandshakeRequest, HandshakeResponse, NoiseRequest, NoiseResponse,
    Register2Request, RequestKind, SecretsRequest, SecretsResponse,
};
use strongroom_proto::hsm::{NoiseMessage, NoiseReply, SessionRefusal};
use strongroom_proto::ids::{RealmId, SessionId};
use strongroom_proto::noise::{self, ClientHandshake, StaticKey, Transport};

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

/// One recorded session under replay: its realms, and what its client has in memory.
struct Replay {
    realms: Vec<Realm>,
    statics: Vec<StaticKey>,
    /// The client's ephemeral secrets, by public key.
    ephemerals: BTreeMap<[u8; 32], [u8; 32]>,
    transports: BTreeMap<(usize, SessionId), Transport>,
    registrations: BTreeMap<usize, Register2Request>,
}

/// What came of one exchange.
struct Exchange {
    /// The answer's content before padding, or why there is none.
    answer: Result<Vec<u8>, SessionRefusal>,
    /// The Noise message as sent.
    sent: Option<Vec<u8>>,
    stored: Stored,
}

impl Replay {
    fn new(session: &Value) -> Self {
        let realms = list(session, "realms");
        let statics = realms.iter().map(|r| StaticKey::from_secret(&array(r, "static_secret"))).collect();
        let new = |r: &Value| Realm::new(RealmId(array(r, "id")), &array(r, "static_secret"));
        let draws = list(session, "steps").iter().flat_map(|step| list(step, "client_draws"));
        let ephemerals = draws.filter(|draw| text(draw, "use") == "noise ephemeral secret");
        let by_public = |draw: &Value| {
            let secret = array(draw, "hex");
            (StaticKey::from_secret(&secret).public().0, secret)
        };
        Self {
            realms: realms.iter().map(new).collect(),
            statics,
            ephemerals: ephemerals.map(by_public).collect(),
            transports: BTreeMap::new(),
            registrations: BTreeMap::new(),
        }
    }

    fn exchange(&mut self, exchange: &Value) -> Exchange {
        let at = usize::try_from(exchange["realm"].as_u64().expect("a number")).expect("small") - 1;
        if exchange["fault_injected"] == "DropSession" {
            self.realms[at].forget_sessions();
        }
        let request = ClientRequest::from_cbor(&bytes(exchange, "request_body")).expect("a recorded request");
        let draws = list(exchange, "server_draws").iter().map(|d| bytes(d, "hex")).collect();
        let handshake_only = request.kind == RequestKind::HandshakeOnly;
        let (message, handshake) = match request.encrypted {
            NoiseRequest::Handshake(message) => {
                let payload = if handshake_only { vec![] } else { bytes(exchange, "request_plaintext") };
                let handshake = self.client_handshake(at, &payload, &message);
                let HandshakeRequest { client_ephemeral_public, payload_ciphertext } = message;
                let (ephemeral, ciphertext) = (client_ephemeral_public.into(), payload_ciphertext.into());
                (NoiseMessage::Handshake { ephemeral, ciphertext }, Some(handshake))
            }
            NoiseRequest::Transport { ciphertext } => {
                (NoiseMessage::Transport { ciphertext: ciphertext.into() }, None)
            }
        };
        if let Some(plaintext) = exchange["request_plaintext"].as_str() {
            let secrets =
                SecretsRequest::from_cbor(&hex::decode(plaintext).expect("hex")).expect("a request");
            if let SecretsRequest::Register2(registration) = secrets {
                self.registrations.insert(at, *registration);
            }
        }
        let reply = self.realms[at].exchange(request.session_id, message, handshake_only, draws);
        let sent = reply.as_ref().ok().map(|reply| match reply {
            NoiseReply::Handshake { ciphertext, .. } | NoiseReply::Transport { ciphertext } => {
                ciphertext.to_vec()
            }
        });
        let answer = reply.map(|reply| self.read((at, request.session_id), handshake, &reply));
        Exchange { answer, sent, stored: self.realms[at].stored(self.registrations.get(&at)) }
    }

    /// The client's side of a recorded handshake, which must be what it sent.
    fn client_handshake(&self, at: usize, payload: &[u8], recorded: &HandshakeRequest) -> ClientHandshake {
        let secret =
            self.ephemerals.get(recorded.client_ephemeral_public.as_slice()).expect("a recorded draw");
        let started = noise::client_start(&self.statics[at].public(), payload, &mut Draw(*secret));
        let (handshake, request) = started.expect("a good key");
        assert_eq!(&request, recorded);
        handshake
    }

    /// Decrypts an answer as the client does, and takes its padding off, which must be of the one length.
    fn read(
        &mut self,
        key: (usize, SessionId),
        handshake: Option<ClientHandshake>,
        reply: &NoiseReply,
    ) -> Vec<u8> {
        let padded = match reply {
            NoiseReply::Handshake { ephemeral, ciphertext } => {
                let response = HandshakeResponse {
                    server_ephemeral_public: ephemeral.0.to_vec(),
                    payload_ciphertext: ciphertext.to_vec(),
                };
                let handshake = handshake.expect("an answer to a handshake");
                let (transport, payload) = handshake.finish(&response).expect("the realm's key");
                self.transports.insert(key, transport);
                payload
            }
            NoiseReply::Transport { ciphertext } => {
                let transport = self.transports.get_mut(&key).expect("a live session");
                transport.decrypt(ciphertext).expect("in order")
            }
        };
        if padded.is_empty() {
            return vec![];
        }
        let answer = SecretsResponse::from_padded(&padded).expect("a padded answer");
        assert_eq!(&padded[..], &answer.to_padded().expect("fits")[..]);
        answer.to_cbor().to_vec()
    }
}

/// What was recorded of an exchange that reached the server: the answer's content before padding, or a refusal.
fn recorded_answer(exchange: &Value) -> Result<Vec<u8>, SessionRefusal> {
    match exchange["response_body"].as_str() {
        Some("6e4d697373696e6753657373696f6e") => Err(SessionRefusal::MissingSession),
        _ if exchange["kind"] == "HandshakeOnly" => Ok(vec![]),
        _ => Ok(bytes(exchange, "secrets_response_cbor")),
    }
}

/// Why this realm's answer or state is not the recorded one.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Why {
    /// Invariant 9: all guesses are charged, so the record is wrapped at once, not when the next request comes.
    WrappedAtOnce,
    /// Invariant 9: with the last guess charged, Recover1 and Recover2 erase nothing. The answer is the recorded one.
    NothingErased,
    /// Invariant 8: the re-sent guess of a lost reply is not charged, and gets the answer that was lost.
    ChargedOnce,
}

/// Session, step, exchange in it, from 0.
type At = (&'static str, usize, usize);

const DIFFERENCES: &[(At, Why)] = &[
    (("one-of-one", 6, 1), Why::WrappedAtOnce),
    (("one-of-one", 7, 0), Why::NothingErased),
    (("one-of-one", 8, 0), Why::NothingErased),
    (("two-of-three", 2, 3), Why::WrappedAtOnce),
    (("two-of-three", 2, 4), Why::WrappedAtOnce),
    (("two-of-three", 2, 5), Why::WrappedAtOnce),
    (("two-of-three", 5, 3), Why::WrappedAtOnce),
    (("two-of-three", 5, 4), Why::WrappedAtOnce),
    (("two-of-three", 6, 0), Why::NothingErased),
    (("two-of-three", 6, 1), Why::NothingErased),
    (("two-of-three", 7, 0), Why::NothingErased),
    (("two-of-three", 7, 1), Why::NothingErased),
    (("last-guess-right", 1, 1), Why::WrappedAtOnce),
    (("last-guess-right", 2, 1), Why::WrappedAtOnce),
    (("last-guess-right", 3, 1), Why::WrappedAtOnce),
    (("last-guess-right", 4, 0), Why::NothingErased),
    (("lost-reply-charged-twice", 1, 3), Why::ChargedOnce),
    (("re-register", 4, 1), Why::WrappedAtOnce),
    (("lost-reply-on-the-last-guess", 1, 1), Why::WrappedAtOnce),
    (("lost-reply-on-the-last-guess", 1, 2), Why::WrappedAtOnce),
    (("lost-reply-on-the-last-guess", 1, 3), Why::ChargedOnce),
    (("lost-reply-on-the-last-guess-idempotent", 1, 1), Why::WrappedAtOnce),
    (("lost-reply-on-the-last-guess-idempotent", 1, 2), Why::WrappedAtOnce),
    (("lost-reply-on-the-last-guess-idempotent", 1, 3), Why::WrappedAtOnce),
    (("lost-reply-on-the-last-guess-idempotent", 2, 1), Why::WrappedAtOnce),
    (("lost-reply-on-the-last-guess-idempotent", 3, 0), Why::NothingErased),
];

fn was_reached(exchange: &Value) -> bool {
    match exchange["fault_injected"].as_str() {
        None | Some("LoseReply" | "DropSession" | "Lie") => true,
        Some("Down" | "Unavailable" | "RateLimited" | "Http") => false,
        Some(other) => panic!("unknown fault {other}"),
    }
}

#[test]
fn every_request_gets_the_recorded_answer_and_state_or_the_stated_difference() {
    let mut stated: BTreeMap<At, Why> = DIFFERENCES.iter().copied().collect();
    let mut exchanges = 0;
    for session in &cases("transcript", 16) {
        let mut replay = Replay::new(session);
        let mut lost = None;
        for (s, step) in list(session, "steps").iter().enumerate() {
            for (e, exchange) in list(step, "http").iter().enumerate().filter(|(_, e)| was_reached(e)) {
                let why = stated
                    .iter()
                    .find(|((name, ss, ee), _)| (*name, *ss, *ee) == (text(session, "name"), s, e));
                let why = why.map(|(at, why)| (*at, *why));
                let ours = replay.exchange(exchange);
                check(exchange, &ours, why, lost.as_ref());
                why.map(|(at, _)| stated.remove(&at));
                if exchange["fault_injected"] == "LoseReply" {
                    lost = Some(ours);
                }
                exchanges += 1;
            }
        }
    }
    assert_eq!(exchanges, 208, "exchanges that reached a server");
    assert!(stated.is_empty(), "no such exchanges: {stated:?}");
}

fn check(exchange: &Value, ours: &Exchange, why: Option<(At, Why)>, lost: Option<&Exchange>) {
    let mut answer = recorded_answer(exchange);
    let mut stored = Stored::read(&exchange["state_after"]);
    if exchange["fault_injected"] == "Lie" {
        assert_ne!(ours.answer, answer, "this realm does not lie");
        answer = ours.answer.clone();
    }
    let recorded = (answer.clone(), stored);
    match why.map(|(_, why)| why) {
        None => {}
        Some(Why::WrappedAtOnce) => {
            assert_ne!(stored, stored.or_last_guess(), "{why:?}: guesses are left");
            stored = Stored::LastGuess;
        }
        Some(Why::NothingErased) => {
            assert_eq!(stored, Stored::NoGuesses, "{why:?}: nothing was erased");
            stored = Stored::LastGuess;
        }
        Some(Why::ChargedOnce) => {
            let lost = lost.expect("a reply was lost before");
            (answer, stored) = (lost.answer.clone(), lost.stored);
        }
    }
    assert_eq!((&ours.answer, ours.stored), (&answer, stored), "{why:?}: {}", exchange["request_body"]);
    assert_eq!(why.is_some(), (answer, stored) != recorded, "{why:?} does not differ any more");
}

#[test]
fn the_session_with_constant_frames_is_answered_byte_for_byte() {
    let cases = cases("transcript", 16);
    let session = cases.iter().find(|s| text(s, "name") == "constant-size-frames").expect("there");
    let mut replay = Replay::new(session);
    for exchange in list(session, "steps").iter().flat_map(|step| list(step, "http")) {
        let recorded = ClientResponse::from_cbor(&bytes(exchange, "response_body")).expect("an answer");
        let recorded = match recorded {
            ClientResponse::Ok(NoiseResponse::Transport { ciphertext }) => ciphertext,
            ClientResponse::Ok(NoiseResponse::Handshake { handshake, .. }) => handshake.payload_ciphertext,
            other => panic!("{other:?}"),
        };
        let sent = replay.exchange(exchange).sent.expect("answered");
        assert_eq!(sent, recorded);
        let size = if exchange["kind"] == "HandshakeOnly" { 16 } else { 488 };
        assert_eq!(sent.len(), size);
    }
}
