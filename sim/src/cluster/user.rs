//! One user's device: a registration, a session, and what the realm may have charged.
//!
//! A [`User`] behaves as clients in the field do: after `Unavailable` it opens a new session and sends the same request
//! again. Without an answer it does that, or sends the very same message again in the same session. It knows how often
//! it may have been charged, and checks every answer against that.

use super::Cluster;
use super::doors::Doors;
use super::journal::{Kind, Lane};
use super::pending::RequestId;
use minicbor::bytes::ByteVec;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use strongroom_client_crypto::oprf::blind;
use strongroom_proto::client::{
    HandshakeResponse, Recover1Response, Recover2Response, Recover3Response, Register2Request,
    SecretsRequest, SecretsResponse, UnlockKeyTag,
};
use strongroom_proto::hsm::{BatchRequest, NoiseMessage, NoiseReply, RealmStatus, SessionRefusal};
use strongroom_proto::ids::{RealmId, RecordId, SessionId, X25519Public};
use strongroom_proto::noise::{self, ClientHandshake, Transport};
use strongroom_proto::oprf::BlindedInput;
use strongroom_replica::Answer;
use strongroom_testkit::registration;

/// How long a user waits after `Unavailable`.
const PAUSE_MS: u64 = 25;

/// What a user wants next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// To register anew.
    Register,
    /// To try a PIN, with a point never sent before.
    Recover2,
    /// To send the right tag.
    Recover3,
    /// To send a wrong tag.
    WrongTag,
    /// To ask whether there is a registration.
    Recover1,
    /// To delete the registration.
    Delete,
}

enum Stage {
    Idle,
    Pausing(u64),
    /// Since when.
    Opening(RequestId, u64, ClientHandshake),
    /// Since when, and what was sent.
    Asked(RequestId, u64, BatchRequest),
}

/// One user.
pub struct User {
    lane: Lane,
    realm: RealmId,
    record: RecordId,
    /// The newest that was ever sent, or the first one that will be.
    registration: Register2Request,
    is_used: bool,
    realm_key: X25519Public,
    rng: StdRng,
    session: SessionId,
    transport: Option<Transport>,
    wishes: VecDeque<Wish>,
    request: Option<SecretsRequest>,
    stage: Stage,
    patience_ms: u64,
    /// The member to ask next; after a hint, the one in the hint.
    target: usize,
    /// Points sent since a reset of the counter was first asked for: the most that may have been charged.
    sent: u16,
    /// Points answered since a reset of the counter was last confirmed: the least that must have been charged.
    answered: u16,
    /// Whether it is registered; unknown while something that changes this is under way.
    registered: Option<bool>,
    responses: Vec<SecretsResponse>,
    unavailable: u32,
    missing: u32,
    /// How often it could not ask in its session for what its guess had opened.
    stranded: u32,
}

impl User {
    /// A user of the cluster's realm, with its own seed.
    #[must_use]
    pub fn new(cluster: &Cluster, seed: u64, num_guesses: u16) -> Self {
        Self::of(cluster.realm(), seed, num_guesses)
    }

    /// A user of a realm, with its own seed.
    #[must_use]
    pub fn of(status: &RealmStatus, seed: u64, num_guesses: u16) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let realm = status.realm;
        let registration = registration(&realm, num_guesses, &mut rng);
        let (record, session, target) =
            (RecordId(rng.random()), SessionId(rng.random()), rng.random_range(0..64));
        Self {
            lane: Lane::User(0),
            realm,
            record,
            registration,
            is_used: false,
            realm_key: status.public_key,
            rng,
            session,
            transport: None,
            wishes: VecDeque::new(),
            request: None,
            stage: Stage::Idle,
            patience_ms: u64::MAX,
            target,
            sent: 0,
            answered: 0,
            registered: Some(false),
            responses: Vec::new(),
            unavailable: 0,
            missing: 0,
            stranded: 0,
        }
    }

    /// Sets the name that it has where things are written down.
    pub const fn number(&mut self, number: usize) {
        self.lane = Lane::User(number);
    }

    /// Treats a message as lost if it is not answered within this time.
    pub const fn wait_at_most(&mut self, patience_ms: u64) {
        self.patience_ms = patience_ms;
    }

    /// Is about this record.
    pub const fn be(&mut self, record: RecordId) {
        self.record = record;
    }

    /// Whether it is registered; `None` while it is not known.
    #[must_use]
    pub const fn registered(&self) -> Option<bool> {
        self.registered
    }

    /// Adds wishes.
    pub fn wish(&mut self, wishes: impl IntoIterator<Item = Wish>) {
        self.wishes.extend(wishes);
    }

    /// [`Self::give_up`], written down.
    pub fn switch_off(&mut self, cluster: &mut impl Doors) {
        cluster.note(self.lane, Kind::Answer, || "none: the device is switched off".into());
        self.give_up();
    }

    /// Forgets every wish and what is under way, as if the device were switched off.
    pub fn give_up(&mut self) {
        let reset = matches!(
            self.request,
            Some(SecretsRequest::Register2(_) | SecretsRequest::Recover3 { .. } | SecretsRequest::Delete)
        );
        if reset {
            // Whether the counter was reset is not known.
            self.answered = 0;
        }
        self.wishes.clear();
        (self.request, self.transport, self.stage) = (None, None, Stage::Idle);
    }

    /// Asks this member next.
    pub const fn aim(&mut self, member: usize) {
        self.target = member;
    }

    /// Whether every wish has been answered.
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.wishes.is_empty() && self.request.is_none()
    }

    /// The answers so far, one for each wish.
    #[must_use]
    pub fn responses(&self) -> &[SecretsResponse] {
        &self.responses
    }

    /// How often it was told to try again.
    #[must_use]
    pub const fn unavailable(&self) -> u32 {
        self.unavailable
    }

    /// How often it was told that its session is gone.
    #[must_use]
    pub const fn missing(&self) -> u32 {
        self.missing
    }

    /// Does what can be done now.
    ///
    /// # Panics
    /// If an answer is wrong: not for this user, not to this request, or with an impossible guess count.
    pub fn poll(&mut self, cluster: &mut impl Doors) {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Pausing(until) if cluster.now() < until => self.stage = Stage::Pausing(until),
            Stage::Idle | Stage::Pausing(_) => self.go_on(cluster),
            Stage::Opening(id, since, handshake) => match cluster.take_answer(id) {
                None if self.is_late(cluster, since) => self.open_session(cluster),
                None => self.stage = Stage::Opening(id, since, handshake),
                Some(Answer::Reply(reply)) => {
                    let (transport, payload) = finish(handshake, &reply);
                    assert!(payload.is_empty(), "an answer to a handshake without a request has no payload");
                    self.transport = Some(transport);
                    self.go_on(cluster);
                }
                Some(answer) => self.not_served(cluster, &answer),
            },
            Stage::Asked(id, since, message) => match cluster.take_answer(id) {
                None if self.is_late(cluster, since) => self.ask_again(cluster, message),
                None => self.stage = Stage::Asked(id, since, message),
                Some(Answer::Reply(reply)) => {
                    let response = self.open(&reply);
                    cluster.note(self.lane, Kind::Answer, || answer_in_words(&response));
                    self.check(&response);
                    self.responses.push(response);
                    self.request = None;
                    self.go_on(cluster);
                }
                Some(answer) => self.not_served(cluster, &answer),
            },
        }
    }

    fn go_on(&mut self, cluster: &mut impl Doors) {
        if self.request.is_none() {
            let Some(wish) = self.wishes.pop_front() else { return };
            cluster.note(self.lane, Kind::Ask, || format!("{wish:?}"));
            self.request = Some(self.draw(wish));
        }
        let Some(request) = self.request.as_ref() else { return };
        let Some(transport) = &mut self.transport else { return self.open_session(cluster) };
        let ciphertext: ByteVec = transport.encrypt(&request.to_cbor()).expect("few messages").into();
        let message = NoiseMessage::Transport { ciphertext };
        self.send(cluster, BatchRequest { record: self.record, session: self.session, message, time: None });
    }

    fn send(&mut self, cluster: &mut impl Doors, message: BatchRequest) {
        let id = cluster.submit(self.target, false, message.clone());
        self.stage = Stage::Asked(id, cluster.now(), message);
    }

    fn is_late(&self, cluster: &impl Doors, since: u64) -> bool {
        cluster.now() - since > self.patience_ms
    }

    /// Nothing came back; the outcome is not known.
    fn ask_again(&mut self, cluster: &mut impl Doors, message: BatchRequest) {
        if self.rng.random() {
            cluster.note(self.lane, Kind::Ask, || "the same message again, for nothing came back".into());
            self.send(cluster, message);
        } else {
            cluster.note(self.lane, Kind::Ask, || "the same in a new session, for nothing came back".into());
            self.target += 1;
            self.open_session(cluster);
        }
    }

    fn open_session(&mut self, cluster: &mut impl Doors) {
        self.transport = None;
        let (handshake, request) = self.handshake();
        let id = cluster.submit(self.target, true, request);
        self.stage = Stage::Opening(id, cluster.now(), handshake);
    }

    fn handshake(&mut self) -> (ClientHandshake, BatchRequest) {
        self.session = SessionId(self.rng.random());
        let (handshake, first) =
            noise::client_start(&self.realm_key, &[], &mut self.rng).expect("the realm has a good key");
        let message = NoiseMessage::Handshake {
            ephemeral: first.client_ephemeral_public.into(),
            ciphertext: first.payload_ciphertext.into(),
        };
        (handshake, BatchRequest { record: self.record, session: self.session, message, time: None })
    }

    /// The first message of a session that goes no further: who answers it serves the record.
    ///
    /// # Panics
    /// If it asks for something.
    pub fn knock(&mut self) -> BatchRequest {
        assert!(self.is_content(), "its own session would be another one");
        self.transport = None;
        self.handshake().1
    }

    fn draw(&mut self, wish: Wish) -> SecretsRequest {
        match wish {
            Wish::Recover1 => SecretsRequest::Recover1,
            Wish::Delete => {
                self.registered = None;
                SecretsRequest::Delete
            }
            Wish::Register => {
                self.registered = None;
                if std::mem::replace(&mut self.is_used, true) {
                    let guesses = self.registration.policy.num_guesses;
                    self.registration = registration(&self.realm, guesses, &mut self.rng);
                }
                SecretsRequest::Register2(Box::new(self.registration.clone()))
            }
            Wish::Recover2 => {
                self.sent = self.sent.saturating_add(1);
                let blinded_input = self.point();
                SecretsRequest::Recover2 { version: self.registration.version, blinded_input }
            }
            Wish::Recover3 => {
                let unlock_key_tag = self.registration.unlock_key_tag.clone();
                SecretsRequest::Recover3 { version: self.registration.version, unlock_key_tag }
            }
            Wish::WrongTag => {
                let unlock_key_tag = UnlockKeyTag::new([0xee; 16]);
                SecretsRequest::Recover3 { version: self.registration.version, unlock_key_tag }
            }
        }
    }

    fn point(&mut self) -> BlindedInput {
        let pin: [u8; 32] = self.rng.random();
        blind(&pin, &mut self.rng).1
    }

    fn open(&mut self, reply: &NoiseReply) -> SecretsResponse {
        let NoiseReply::Transport { ciphertext } = reply else { panic!("a handshake in place of an answer") };
        let transport = self.transport.as_mut().expect("a session was open");
        let payload = transport.decrypt(ciphertext).expect("the reply to this very request");
        SecretsResponse::from_padded(&payload).expect("a padded answer")
    }

    /// Checks an answer against what was asked and what was answered before, and the guess count against what can have
    /// been charged.
    fn check(&mut self, response: &SecretsResponse) {
        self.check_kept(response);
        match (self.request.as_ref(), response) {
            (Some(SecretsRequest::Register2(_)), SecretsResponse::Register2) => {
                (self.sent, self.answered, self.registered) = (0, 0, Some(true));
            }
            (Some(SecretsRequest::Delete), SecretsResponse::Delete) => {
                (self.sent, self.answered, self.registered) = (0, 0, Some(false));
            }
            (
                Some(SecretsRequest::Recover3 { unlock_key_tag, .. }),
                SecretsResponse::Recover3(Recover3Response::Ok(_)),
            ) => {
                let right = self.registration.unlock_key_tag.as_bytes();
                assert_eq!(unlock_key_tag.as_bytes(), right, "a wrong tag is answered with the share");
                (self.sent, self.answered) = (0, 0);
            }
            (Some(SecretsRequest::Recover2 { .. }), SecretsResponse::Recover2(answer)) => {
                if let Recover2Response::Ok(ok) = answer {
                    self.answered += 1;
                    let possible = self.answered..=self.sent;
                    assert!(possible.contains(&ok.guess_count), "{} of {possible:?} charged", ok.guess_count);
                    assert!(ok.guess_count <= ok.num_guesses, "more evaluations than guesses");
                }
            }
            (Some(SecretsRequest::Recover3 { .. }), SecretsResponse::Recover3(_)) => {}
            (Some(SecretsRequest::Recover1), SecretsResponse::Recover1(_)) => {}
            (_, response) => panic!("{response:?} is no answer to what was asked"),
        }
    }

    /// Checks that what was acknowledged is there: a registration until it is deleted, and nothing after that.
    fn check_kept(&self, response: &SecretsResponse) {
        assert!(self.is_of_registration(response), "an answer is of another registration than the newest");
        let is_there = match response {
            SecretsResponse::Recover1(Recover1Response::NotRegistered)
            | SecretsResponse::Recover2(Recover2Response::NotRegistered)
            | SecretsResponse::Recover3(Recover3Response::NotRegistered) => false,
            SecretsResponse::Recover1(_) | SecretsResponse::Recover2(_) | SecretsResponse::Recover3(_) => {
                true
            }
            SecretsResponse::Register1
            | SecretsResponse::Register2
            | SecretsResponse::Delete
            | SecretsResponse::Attempts(_)
            | SecretsResponse::Stage
            | SecretsResponse::Activate(_)
            | SecretsResponse::Versions(_) => return,
        };
        let told = self.registered.unwrap_or(is_there);
        assert!(is_there || !told, "a registration that was acknowledged is gone");
        assert!(told || !is_there, "a registration that was deleted is served");
        let opens = matches!(response, SecretsResponse::Recover1(Recover1Response::Ok { .. }));
        let used_up = self.registered == Some(true) && self.answered >= self.registration.policy.num_guesses;
        assert!(!opens || !used_up, "guesses that were used up are there again");
        let locked = matches!(
            response,
            SecretsResponse::Recover1(Recover1Response::NoGuesses)
                | SecretsResponse::Recover2(Recover2Response::NoGuesses)
                | SecretsResponse::Recover3(Recover3Response::NoGuesses)
        );
        // The point that is answered now was not charged.
        let now = u16::from(matches!(self.request, Some(SecretsRequest::Recover2 { .. })));
        let charged = self.sent - now.min(self.sent);
        let guesses = self.registration.policy.num_guesses;
        assert!(!locked || charged >= guesses, "locked out after {charged} of {guesses} guesses");
    }

    /// Whether the answer is about the newest registration. An older one may be there only while it is not known
    /// whether the newest was accepted.
    fn is_of_registration(&self, response: &SecretsResponse) -> bool {
        let newest = &self.registration;
        match response {
            SecretsResponse::Recover1(Recover1Response::Ok { version }) => {
                *version == newest.version || self.registered.is_none()
            }
            SecretsResponse::Recover2(Recover2Response::Ok(ok)) => {
                ok.oprf_signed_public_key == newest.oprf_signed_public_key
                    && ok.unlock_key_commitment == newest.unlock_key_commitment
            }
            SecretsResponse::Recover3(Recover3Response::Ok(ok)) => {
                ok.encryption_key_scalar_share == newest.encryption_key_scalar_share
                    && ok.encrypted_secret == newest.encrypted_secret
            }
            SecretsResponse::Recover2(Recover2Response::VersionMismatch)
            | SecretsResponse::Recover3(Recover3Response::VersionMismatch) => self.registered.is_none(),
            _ => true,
        }
    }

    /// Forgets the session and tries again later, at the member that was named or at the next one.
    fn not_served(&mut self, cluster: &impl Doors, answer: &Answer) {
        let guessed = matches!(self.request, Some(SecretsRequest::Recover3 { .. }));
        self.stranded += u32::from(guessed && self.transport.is_some());
        match answer {
            Answer::NotLeader(Some(leader)) => self.target = cluster.door_of(leader),
            Answer::NotLeader(None) => self.target += 1,
            // The group has let go of its records, for a while.
            Answer::Unavailable | Answer::Busy | Answer::NotCovered => {
                self.unavailable += 1;
                self.target += 1;
            }
            Answer::Refused(SessionRefusal::MissingSession) => self.missing += 1,
            other => panic!("{other:?} to a right request"),
        }
        self.transport = None;
        self.stage = Stage::Pausing(cluster.now() + PAUSE_MS);
    }

    /// How often it could not ask in its session for what its guess had opened. Our client asks in no other.
    #[must_use]
    pub const fn stranded(&self) -> u32 {
        self.stranded
    }

    /// The record that it is about.
    #[must_use]
    pub const fn record(&self) -> RecordId {
        self.record
    }
}

/// An answer without its secrets.
fn answer_in_words(response: &SecretsResponse) -> String {
    match response {
        SecretsResponse::Register1 => "Register1: ready".into(),
        SecretsResponse::Attempts(said) => format!("attempts: {}", said.count),
        SecretsResponse::Stage => "Stage: staged".into(),
        SecretsResponse::Activate(answer) => format!("Activate: {answer:?}"),
        SecretsResponse::Versions(_) => "Versions: of both places".into(),
        SecretsResponse::Register2 => "Register2: registered".into(),
        SecretsResponse::Recover1(Recover1Response::Ok { .. }) => "Recover1: registered".into(),
        SecretsResponse::Recover2(Recover2Response::Ok(ok)) => {
            format!("Recover2: evaluated, {} of {} guesses charged", ok.guess_count, ok.num_guesses)
        }
        SecretsResponse::Recover3(Recover3Response::Ok(_)) => "Recover3: the share".into(),
        SecretsResponse::Recover3(Recover3Response::BadUnlockKeyTag { guesses_remaining }) => {
            format!("Recover3: wrong tag, {guesses_remaining} guesses remain")
        }
        SecretsResponse::Recover2(Recover2Response::VersionMismatch)
        | SecretsResponse::Recover3(Recover3Response::VersionMismatch) => "another version".into(),
        SecretsResponse::Recover1(Recover1Response::NotRegistered)
        | SecretsResponse::Recover2(Recover2Response::NotRegistered)
        | SecretsResponse::Recover3(Recover3Response::NotRegistered) => "not registered".into(),
        SecretsResponse::Recover1(Recover1Response::NoGuesses)
        | SecretsResponse::Recover2(Recover2Response::NoGuesses)
        | SecretsResponse::Recover3(Recover3Response::NoGuesses) => "no guesses left".into(),
        SecretsResponse::Delete => "Delete: deleted".into(),
    }
}

fn finish(handshake: ClientHandshake, reply: &NoiseReply) -> (Transport, Vec<u8>) {
    let NoiseReply::Handshake { ephemeral, ciphertext } = reply else { panic!("no answer to a handshake") };
    let server_ephemeral_public = ephemeral.0.to_vec();
    let response = HandshakeResponse { server_ephemeral_public, payload_ciphertext: ciphertext.to_vec() };
    let (transport, payload) = handshake.finish(&response).expect("who answers has the realm's key");
    (transport, payload.to_vec())
}

impl Cluster {
    /// Runs until every user has all answers.
    ///
    /// # Panics
    /// If that takes longer than `limit_ms`, or if an answer is wrong.
    pub fn serve(&mut self, limit_ms: u64, users: &mut [User]) {
        let served = self.run_until(limit_ms, |cluster| {
            users.iter_mut().for_each(|user| user.poll(cluster));
            users.iter().all(User::is_content)
        });
        let states: Vec<_> = (0..self.members.len()).map(|m| self.status(m)).collect();
        assert!(served, "not all users are served after {limit_ms} ms: {states:#?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const GONE: SecretsResponse = SecretsResponse::Recover1(Recover1Response::NotRegistered);
    const LOCKED: SecretsResponse = SecretsResponse::Recover1(Recover1Response::NoGuesses);

    fn registered() -> User {
        let mut user = User::new(&Cluster::new(1, 1), 1, 3);
        user.registered = Some(true);
        user.request = Some(SecretsRequest::Recover1);
        user
    }

    fn complaint(user: &User, response: &SecretsResponse) -> Option<String> {
        let checked = catch_unwind(AssertUnwindSafe(|| user.check_kept(response)));
        checked.err().and_then(|panic| panic.downcast_ref::<String>().cloned().or(Some("gone".into())))
    }

    #[test]
    fn an_acknowledged_registration_that_is_gone_is_noticed() {
        let mut user = registered();
        assert!(complaint(&user, &GONE).is_some());
        user.registered = None;
        assert_eq!(complaint(&user, &GONE), None);
    }

    #[test]
    fn guesses_that_were_used_up_and_are_there_again_are_noticed() {
        let mut user = registered();
        let open = Recover1Response::Ok { version: user.registration.version };
        user.answered = 3;
        let found = complaint(&user, &SecretsResponse::Recover1(open.clone()));
        assert!(found.is_some());
        user.answered = 2;
        assert_eq!(complaint(&user, &SecretsResponse::Recover1(open)), None);
    }

    #[test]
    fn a_lockout_that_comes_too_early_is_noticed() {
        let mut user = registered();
        user.sent = 2;
        assert_eq!(complaint(&user, &LOCKED), Some("locked out after 2 of 3 guesses".into()));
        user.sent = 3;
        assert_eq!(complaint(&user, &LOCKED), None);
    }
}
