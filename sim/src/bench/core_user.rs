//! A user of the core alone: a record, a registration, and a session that it opens anew for each recovery.

use crate::Error;
use minicbor::bytes::ByteVec;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_client_crypto::oprf::blind;
use strongroom_proto::client::{HandshakeResponse, Register2Request, SecretsRequest, SecretsResponse};
use strongroom_proto::hsm::{BatchRequest, NoiseMessage, NoiseReply};
use strongroom_proto::ids::{RealmId, RecordId, SessionId, X25519Public};
use strongroom_proto::noise::{self, ClientHandshake, Transport};
use strongroom_testkit::registration;

/// More than any of them uses.
const GUESSES: u16 = 250;

pub(super) struct User {
    pub(super) record: RecordId,
    session: SessionId,
    registration: Register2Request,
    realm_key: X25519Public,
    transport: Option<Transport>,
    rng: StdRng,
}

impl User {
    pub(super) fn new(realm: RealmId, realm_key: X25519Public, record: RecordId, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let registration = registration(&realm, GUESSES, &mut rng);
        Self { record, session: SessionId(0), registration, realm_key, transport: None, rng }
    }

    /// Begins a new session.
    pub(super) fn start(&mut self) -> Result<(ClientHandshake, BatchRequest), Error> {
        self.session = SessionId(self.rng.random());
        let started = noise::client_start(&self.realm_key, &[], &mut self.rng);
        let (handshake, first) = started.map_err(|_| "the realm's key is no key")?;
        let (ephemeral, ciphertext) = (first.client_ephemeral_public.into(), first.payload_ciphertext.into());
        Ok((handshake, self.batch(NoiseMessage::Handshake { ephemeral, ciphertext })))
    }

    pub(super) fn opened(&mut self, handshake: ClientHandshake, reply: &NoiseReply) -> Result<(), Error> {
        let NoiseReply::Handshake { ephemeral, ciphertext } = reply else {
            return Err("not the answer to a handshake".into());
        };
        let server_ephemeral_public = ephemeral.0.to_vec();
        let response = HandshakeResponse { server_ephemeral_public, payload_ciphertext: ciphertext.to_vec() };
        let (transport, _) = handshake.finish(&response).map_err(|_| "another has answered the handshake")?;
        self.transport = Some(transport);
        Ok(())
    }

    pub(super) fn register2(&mut self) -> Result<BatchRequest, Error> {
        self.send(&SecretsRequest::Register2(Box::new(self.registration.clone())))
    }

    pub(super) fn recover2(&mut self) -> Result<BatchRequest, Error> {
        let pin: [u8; 32] = self.rng.random();
        let blinded_input = blind(&pin, &mut self.rng).1;
        self.send(&SecretsRequest::Recover2 { version: self.registration.version, blinded_input })
    }

    /// With the right tag, so that the charged guess is given back.
    pub(super) fn recover3(&self) -> SecretsRequest {
        let unlock_key_tag = self.registration.unlock_key_tag.clone();
        SecretsRequest::Recover3 { version: self.registration.version, unlock_key_tag }
    }

    pub(super) fn send(&mut self, request: &SecretsRequest) -> Result<BatchRequest, Error> {
        let transport = self.transport.as_mut().ok_or("no session is open")?;
        let encrypted = transport.encrypt(&request.to_cbor()).map_err(|_| "the session is used up")?;
        let ciphertext: ByteVec = encrypted.into();
        Ok(self.batch(NoiseMessage::Transport { ciphertext }))
    }

    pub(super) fn read(&mut self, reply: &NoiseReply) -> Result<SecretsResponse, Error> {
        let NoiseReply::Transport { ciphertext } = reply else {
            return Err("not a message of a session".into());
        };
        let transport = self.transport.as_mut().ok_or("no session is open")?;
        let payload = transport.decrypt(ciphertext).map_err(|_| "an answer does not decrypt")?;
        Ok(SecretsResponse::from_padded(&payload).map_err(|_| "an answer does not decode")?)
    }

    const fn batch(&self, message: NoiseMessage) -> BatchRequest {
        BatchRequest { record: self.record, session: self.session, message, time: None }
    }
}
