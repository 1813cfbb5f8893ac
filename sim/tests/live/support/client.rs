//! A client of one realm, written from `docs/protocol.md` on the bare messages: not the SDK, and not optimised for
//! anything.

use super::until;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Version;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::sync::Arc;
use strongroom_agent::grpc::realm::RealmRequest;
use strongroom_agent::grpc::realm::realm_client::RealmClient;
use strongroom_client_crypto::oprf::{self, random_key};
use strongroom_client_crypto::pin::{PinHashingMode, StretchedPin, stretch};
use strongroom_client_crypto::registration::{self, RegistrationSigningKey, UserSecret};
use strongroom_client_crypto::sharing::{self, ShareIndex};
use strongroom_proto::client::{
    ClientRequest, ClientResponse, NoiseRequest, NoiseResponse, Policy, Recover1Response, Recover2Response,
    Recover3Response, Register2Request, RegistrationVersion, RequestKind, SecretsRequest, SecretsResponse,
};
use strongroom_proto::ids::{RealmId, SessionId, X25519Public};
use strongroom_proto::noise::{self, Transport};
use strongroom_proto::oprf::{PrivateKey, verify};
use strongroom_proto::scalar::SecretScalar;
use tonic::transport::Channel;

const INFO: &[u8] = b"info";

/// A way into a realm.
#[derive(Clone)]
pub(crate) enum Door {
    /// `POST /req`, in this version of HTTP.
    Http(reqwest::Client, String, Version),
    /// gRPC without TLS.
    Grpc(RealmClient<Channel>),
    /// gRPC over TLS, framed by hand.
    GrpcTls(reqwest::Client, String),
}

impl Door {
    pub(crate) fn http(front: SocketAddr) -> Self {
        Self::Http(tls_client("", "http/1.1"), format!("http://{front}/req"), Version::HTTP_11)
    }

    pub(crate) fn grpc(front: SocketAddr) -> Self {
        let endpoint = Channel::from_shared(format!("http://{front}")).expect("a URI");
        Self::Grpc(RealmClient::new(endpoint.connect_lazy()))
    }

    /// Trusts one certificate, and offers one version.
    pub(crate) fn https(front: SocketAddr, certificate: &str, version: Version) -> Self {
        let alpn = if version == Version::HTTP_2 { "h2" } else { "http/1.1" };
        Self::Http(tls_client(certificate, alpn), format!("https://{front}/req"), version)
    }

    pub(crate) fn grpc_tls(front: SocketAddr, certificate: &str) -> Self {
        let url = format!("https://{front}/strongroom.v1.Realm/Call");
        Self::GrpcTls(tls_client(certificate, "h2"), url)
    }

    /// One exchange.
    pub(crate) async fn call(&self, body: Vec<u8>) -> ClientResponse {
        let bytes = match self {
            Self::Http(client, url, version) => {
                let request = client.post(url).header("x-juicebox-version", "0.3.4").body(body);
                let response = request.send().await.expect("an answer");
                assert_eq!(response.version(), *version);
                response.bytes().await.expect("a body").to_vec()
            }
            Self::Grpc(client) => {
                let request = RealmRequest { body: body.into() };
                client.clone().call(request).await.expect("status OK").into_inner().body.to_vec()
            }
            Self::GrpcTls(client, url) => {
                let request =
                    client.post(url).header("content-type", "application/grpc").header("te", "trailers");
                let response = request.body(grpc_frame(&body)).send().await.expect("an answer");
                assert_eq!(response.version(), Version::HTTP_2);
                grpc_body(&response.bytes().await.expect("a body"))
            }
        };
        ClientResponse::from_cbor(&bytes).expect("a ClientResponse")
    }
}

fn tls_client(certificate: &str, alpn: &str) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(certificate.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    reqwest::Client::builder().tls_backend_preconfigured(config).build().expect("usable")
}

/// Not compressed, length, and the one field of `RealmRequest`.
fn grpc_frame(body: &[u8]) -> Vec<u8> {
    let low = u8::try_from(body.len() & 0x7f).expect("seven bits") | 0x80;
    let high = u8::try_from(body.len() >> 7).expect("at most 2,048 bytes");
    let message = [&[0x0a, low, high][..], body].concat();
    let length = u32::try_from(message.len()).expect("short");
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

/// The one field of `RealmResponse`.
fn grpc_body(frame: &[u8]) -> Vec<u8> {
    assert_eq!(frame[5], 0x0a);
    let lengths = frame[6..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    frame[6 + lengths..].to_vec()
}

/// How a recovery ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recovered {
    Secret(Vec<u8>),
    WrongPin { guesses_remaining: u16 },
    NotRegistered,
    NoGuesses,
}

/// A user of one realm.
pub(crate) struct User {
    pub(crate) door: Door,
    realm: RealmId,
    public_key: X25519Public,
    token: String,
    rng: StdRng,
    session: Option<(SessionId, Transport)>,
}

impl User {
    pub(crate) fn new(
        door: Door,
        realm: RealmId,
        public_key: X25519Public,
        token: String,
        seed: u64,
    ) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { door, realm, public_key, token, rng, session: None }
    }

    fn envelope(&self, session_id: SessionId, kind: RequestKind, encrypted: NoiseRequest) -> Vec<u8> {
        let (realm, auth_token) = (self.realm, self.token.clone());
        ClientRequest { realm, auth_token, session_id, kind, encrypted }.to_cbor()
    }

    /// Opens a session, with or without a request inside. Returns the answer's plaintext, or the refusal.
    async fn handshake(&mut self, payload: &[u8]) -> Result<Vec<u8>, ClientResponse> {
        let session = SessionId(self.rng.random());
        let kind = if payload.is_empty() { RequestKind::HandshakeOnly } else { RequestKind::SecretsRequest };
        let (handshake, request) =
            noise::client_start(&self.public_key, payload, &mut self.rng).expect("a good key");
        let body = self.envelope(session, kind, NoiseRequest::Handshake(request));
        match self.door.call(body).await {
            ClientResponse::Ok(NoiseResponse::Handshake { handshake: response, session_lifetime }) => {
                assert_eq!(session_lifetime.as_secs(), 5);
                let (transport, answer) = handshake.finish(&response).expect("the realm's key");
                self.session = Some((session, transport));
                Ok(answer.to_vec())
            }
            refusal => Err(refusal),
        }
    }

    /// One attempt, as in section 6.
    pub(crate) async fn attempt(
        &mut self,
        request: &SecretsRequest,
    ) -> Result<SecretsResponse, ClientResponse> {
        let plaintext = request.to_cbor();
        let padded = if self.session.is_none() && !request.needs_forward_secrecy() {
            self.handshake(&plaintext).await?
        } else {
            if self.session.is_none() {
                assert!(self.handshake(&[]).await?.is_empty());
            }
            let (session, mut transport) = self.session.take().expect("just made");
            let ciphertext = transport.encrypt(&plaintext).expect("few messages");
            let message = NoiseRequest::Transport { ciphertext };
            match self.door.call(self.envelope(session, RequestKind::SecretsRequest, message)).await {
                ClientResponse::Ok(NoiseResponse::Transport { ciphertext }) => {
                    let padded = transport.decrypt(&ciphertext).expect("in order").to_vec();
                    self.session = Some((session, transport));
                    padded
                }
                refusal => return Err(refusal),
            }
        };
        Ok(SecretsResponse::from_padded(&padded).expect("a padded answer"))
    }

    /// Section 10: again, on a new session, while that may help.
    async fn ask(&mut self, request: SecretsRequest) -> SecretsResponse {
        until("an answer", async || match self.attempt(&request).await {
            Ok(answer) => Some(answer),
            Err(ClientResponse::Unavailable | ClientResponse::MissingSession) => None,
            Err(refusal) => panic!("{refusal:?}"),
        })
        .await
    }

    fn stretch(pin: &str, version: &RegistrationVersion) -> StretchedPin {
        stretch(PinHashingMode::FastInsecure, pin.as_bytes(), version, INFO).expect("short")
    }

    /// Section 8, with one realm.
    pub(crate) async fn register(&mut self, pin: &str, secret: &[u8], num_guesses: u16) {
        assert_eq!(self.ask(SecretsRequest::Register1).await, SecretsResponse::Register1);
        let rng = &mut self.rng;
        let version = RegistrationVersion(rng.random());
        let stretched = Self::stretch(pin, &version);
        let root = random_key(rng);
        let share = sharing::share(root.scalar(), 1, 1, rng).expect("1 of 1").remove(0).value;
        let oprf_private_key = PrivateKey::new(share).expect("not zero");
        let signing = RegistrationSigningKey::random(rng);
        let output = oprf::unoblivious_output(&root, stretched.access_key());
        let (unlock_key_commitment, unlock_key) = registration::derive_unlock_key(&output);
        let scalar = SecretScalar::random(rng);
        let scalar_share = sharing::share(&scalar, 1, 1, rng).expect("1 of 1").remove(0).value;
        let key = registration::encryption_key(stretched.encryption_key_seed(), &scalar);
        let secret = UserSecret::new(secret).expect("short");
        let encrypted_secret = registration::encrypt_secret(&key, &secret);
        let request = Register2Request {
            version,
            oprf_signed_public_key: signing.sign_public_key(&self.realm, &oprf_private_key.public_key()),
            oprf_private_key,
            unlock_key_commitment,
            unlock_key_tag: registration::unlock_key_tag(&unlock_key, &self.realm),
            encrypted_secret_commitment: registration::encrypted_secret_commitment(
                &unlock_key,
                &self.realm,
                &scalar_share,
                &encrypted_secret,
            ),
            encryption_key_scalar_share: scalar_share,
            encrypted_secret,
            policy: Policy { num_guesses },
        };
        let answer = self.ask(SecretsRequest::Register2(Box::new(request))).await;
        assert_eq!(answer, SecretsResponse::Register2);
    }

    /// Section 9, with one realm.
    pub(crate) async fn recover(&mut self, pin: &str) -> Recovered {
        let version = match self.ask(SecretsRequest::Recover1).await {
            SecretsResponse::Recover1(Recover1Response::Ok { version }) => version,
            SecretsResponse::Recover1(Recover1Response::NotRegistered) => return Recovered::NotRegistered,
            SecretsResponse::Recover1(Recover1Response::NoGuesses) => return Recovered::NoGuesses,
            other => panic!("{other:?}"),
        };
        let stretched = Self::stretch(pin, &version);
        let (factor, blinded) = oprf::blind(stretched.access_key(), &mut self.rng);
        let request = SecretsRequest::Recover2 { version, blinded_input: blinded };
        let ok = match self.ask(request).await {
            SecretsResponse::Recover2(Recover2Response::Ok(ok)) => ok,
            SecretsResponse::Recover2(Recover2Response::NoGuesses) => return Recovered::NoGuesses,
            other => panic!("{other:?}"),
        };
        let signed = &ok.oprf_signed_public_key;
        registration::verify_signed_public_key(&self.realm, signed).expect("signed for this realm");
        verify(&signed.public_key, &blinded, &ok.oprf_blinded_result, &ok.oprf_proof).expect("proven");
        let index = ShareIndex::new(1).expect("not zero");
        let result = sharing::recombine_outputs(&[(index, ok.oprf_blinded_result)]).expect("1 of 1");
        let output = oprf::finalize(stretched.access_key(), &factor, &result);
        let (commitment, unlock_key) = registration::derive_unlock_key(&output);
        if commitment != ok.unlock_key_commitment {
            return Recovered::WrongPin { guesses_remaining: ok.num_guesses - ok.guess_count };
        }
        let unlock_key_tag = registration::unlock_key_tag(&unlock_key, &self.realm);
        let SecretsResponse::Recover3(Recover3Response::Ok(ok)) =
            self.ask(SecretsRequest::Recover3 { version, unlock_key_tag }).await
        else {
            panic!("the tag of the right PIN is right")
        };
        let (share, encrypted) = (&ok.encryption_key_scalar_share, &ok.encrypted_secret);
        let commitment =
            registration::encrypted_secret_commitment(&unlock_key, &self.realm, share, encrypted);
        assert!(commitment == ok.encrypted_secret_commitment, "the realm's share is what was registered");
        let shares = [sharing::Share { index, value: share.clone() }];
        let scalar = sharing::recombine(&shares).expect("1 of 1");
        let key = registration::encryption_key(stretched.encryption_key_seed(), &scalar);
        let secret = registration::decrypt_secret(&key, encrypted).expect("the right key");
        Recovered::Secret(secret.as_bytes().to_vec())
    }

    /// Section 10.
    pub(crate) async fn delete(&mut self) {
        assert_eq!(self.ask(SecretsRequest::Delete).await, SecretsResponse::Delete);
    }
}
