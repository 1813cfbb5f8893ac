//! The users that a hostile host owns: what they register, guess and send, all drawn from one seed.
//!
//! What costs curve arithmetic and is the same in every episode (registrations, blinded inputs) is made once.

use super::step::{Oddity, Wish};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use strongroom_client_crypto::oprf::{blind, random_key};
use strongroom_client_crypto::registration::RegistrationSigningKey;
use strongroom_proto::client::{
    ActivateResponse, EncryptedSecret, EncryptedSecretCommitment, HandshakeResponse, Policy,
    Recover1Response, Recover2Response, Recover3Response, Register2Request, RegistrationVersion,
    SecretsRequest, SecretsResponse, UnlockKeyCommitment, UnlockKeyTag, VersionsResponse,
};
use strongroom_proto::hsm::{NoiseMessage, NoiseReply, RealmStatus, record_id};
use strongroom_proto::ids::{Digest, RealmId, RecordId, SessionId, X25519Public};
use strongroom_proto::noise::{self, ClientHandshake, Transport};
use strongroom_proto::oprf::BlindedInput;
use strongroom_proto::scalar::SecretScalar;

/// How many users there are.
pub(super) const USERS: u8 = 3;
/// How many registrations each user has, each with its own version and number of guesses.
pub(super) const REGISTRATIONS: u8 = 3;
/// The tenants whose users they are.
pub(super) const TENANTS: [&str; 2] = ["tenant-a", "tenant-b"];
/// How many points a user guesses with.
pub(super) const POINTS: u8 = 12;

/// How many guesses a registration allows.
pub(super) const fn guesses(registration: u8) -> u16 {
    registration as u16 % 3 + 1
}

/// The tenant that a user belongs to, by number.
pub(super) const fn tenant_of(user: u8) -> u8 {
    user % USERS % 2
}

/// What an answer says of one place of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Nothing,
    Version(u8),
    NoGuesses,
    /// No registration that this user ever sent.
    Foreign,
}

/// What an answer says, as far as the oracle checks it against its model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Here,
    Registered,
    Version(u8),
    Evaluated {
        registration: u8,
        charged: u16,
    },
    Share(u8),
    BadTag {
        left: u16,
    },
    VersionMismatch,
    NotRegistered,
    NoGuesses,
    Deleted,
    /// What it says is judged by itself.
    Attempts,
    Staged,
    Activated,
    NotStaged,
    Versions {
        present: Seen,
        staged: Seen,
    },
    /// Of no registration that this user ever sent.
    Foreign,
}

impl Answer {
    /// The registration that an answer is about.
    pub(super) const fn registration(self) -> Option<u8> {
        match self {
            Self::Version(registration)
            | Self::Evaluated { registration, .. }
            | Self::Share(registration) => Some(registration),
            _ => None,
        }
    }
}

/// All users.
pub(super) struct Clients {
    seed: u64,
    realm_key: X25519Public,
    registrations: BTreeMap<(u8, u8), Register2Request>,
    points: Vec<BlindedInput>,
    records: Vec<RecordId>,
    /// What tenants call their users.
    names: Vec<String>,
    needles: Needles,
}

impl Clients {
    pub(super) fn new(seed: u64, realm: &RealmStatus) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let point = |_| {
            let pin: [u8; 32] = rng.random();
            blind(&pin, &mut rng).1
        };
        let points = (0..POINTS).map(point).collect();
        let named = |user| named(&realm.record_id_key, user, rng.random::<[u8; 32]>()[0]);
        let (records, names) = (0..USERS).map(named).unzip();
        let both = (0..USERS).flat_map(|user| (0..REGISTRATIONS).map(move |r| (user, r)));
        let registrations: BTreeMap<_, _> =
            both.map(|(user, r)| ((user, r), registration(&realm.realm, guesses(r), &mut rng))).collect();
        let needles = Needles::of(&registrations);
        let realm_key = realm.public_key;
        Self { seed, realm_key, registrations, points, records, names, needles }
    }

    pub(super) fn record(&self, user: u8) -> RecordId {
        self.records[usize::from(user % USERS)]
    }

    /// What the user's tenant calls it.
    pub(super) fn name(&self, user: u8) -> &str {
        &self.names[usize::from(user % USERS)]
    }

    pub(super) fn user_of(&self, record: &RecordId) -> Option<u8> {
        self.records.iter().position(|r| r == record).and_then(|at| u8::try_from(at).ok())
    }

    /// Unlock key tag and version of a registration.
    pub(super) fn tag(&self, user: u8, registration: u8) -> ([u8; 16], [u8; 16]) {
        let own = &self.registrations[&(user % USERS, registration % REGISTRATIONS)];
        (*own.unlock_key_tag.as_bytes(), own.version.0)
    }

    /// The registrations of a user, as bits, of which a plaintext shows a secret.
    pub(super) fn shows(&self, user: u8, plaintext: &[u8]) -> u8 {
        self.needles.found(user, plaintext)
    }

    pub(super) const fn session(handshake: u32) -> SessionId {
        SessionId(handshake)
    }

    /// The first message of a handshake, the same each time.
    pub(super) fn start(&self, handshake: u32, wish: Option<(u8, Wish)>) -> (ClientHandshake, NoiseMessage) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x68_0000_0000 ^ u64::from(handshake));
        let payload = wish.map(|(user, wish)| self.payload(user, wish)).unwrap_or_default();
        let (state, first) =
            noise::client_start(&self.realm_key, &payload, &mut rng).expect("the realm has a good key");
        let (ephemeral, ciphertext) = (first.client_ephemeral_public.into(), first.payload_ciphertext.into());
        (state, NoiseMessage::Handshake { ephemeral, ciphertext })
    }

    /// The bytes of a request, or of something that is not a request.
    pub(super) fn payload(&self, user: u8, wish: Wish) -> Vec<u8> {
        let Wish::Odd(oddity) = wish else { return self.request(user, wish).to_cbor().to_vec() };
        let odd = |num_guesses| {
            let own = self.registrations[&(user % USERS, 0)].clone();
            Box::new(Register2Request { policy: Policy { num_guesses }, ..own })
        };
        let with_guesses = |num_guesses| SecretsRequest::Register2(odd(num_guesses)).to_cbor().to_vec();
        let honest = |wish| self.request(user, wish).to_cbor().to_vec();
        let own = &self.registrations[&(user % USERS, 0)];
        match oddity {
            Oddity::NoCbor => vec![0xff; 24],
            Oddity::Nothing => Vec::new(),
            Oddity::TrailingByte => [&honest(Wish::Recover2(0, 0))[..], &[0]].concat(),
            Oddity::NoGuesses => with_guesses(0),
            Oddity::StagedNoGuesses => SecretsRequest::Stage(odd(0)).to_cbor().to_vec(),
            Oddity::Guesses256 => with_guesses(256),
            Oddity::Guesses65535 => with_guesses(u16::MAX),
            Oddity::ZeroKey => {
                let key = own.oprf_private_key.scalar().to_bytes();
                replaced(honest(Wish::Register2(0)), &*key, &[0; 32])
            }
            Oddity::OtherPublicKey => {
                let other = &self.registrations[&(user % USERS, 1)].oprf_signed_public_key.public_key.0;
                replaced(honest(Wish::Register2(0)), &own.oprf_signed_public_key.public_key.0, other)
            }
            Oddity::IdentityPoint => {
                replaced(honest(Wish::Recover2(0, 0)), self.points[0].as_bytes(), &[0; 32])
            }
            Oddity::NoPoint => replaced(honest(Wish::Recover2(0, 0)), self.points[0].as_bytes(), &[0xff; 32]),
            Oddity::Long => vec![0x60; 4096],
        }
    }

    fn request(&self, user: u8, wish: Wish) -> SecretsRequest {
        let of = |number: u8| &self.registrations[&(user % USERS, number % REGISTRATIONS)];
        match wish {
            Wish::Register1 => SecretsRequest::Register1,
            Wish::Register2(r) => SecretsRequest::Register2(Box::new(of(r).clone())),
            Wish::Recover1 => SecretsRequest::Recover1,
            Wish::Attempts => SecretsRequest::Attempts,
            Wish::Recover2(r, point) => SecretsRequest::Recover2 {
                version: of(r).version,
                blinded_input: self.points[usize::from(point % POINTS)],
            },
            Wish::Recover3(r, right) => {
                let tag = &of(r).unlock_key_tag;
                let unlock_key_tag = if right { tag.clone() } else { UnlockKeyTag::new([0xee; 16]) };
                SecretsRequest::Recover3 { version: of(r).version, unlock_key_tag }
            }
            Wish::Stage(r) => SecretsRequest::Stage(Box::new(of(r).clone())),
            Wish::Activate(r) => SecretsRequest::Activate { version: of(r).version },
            Wish::Versions => SecretsRequest::Versions,
            Wish::Delete | Wish::Odd(_) => SecretsRequest::Delete,
        }
    }

    /// What a response says to this user.
    pub(super) fn answer(&self, user: u8, response: &SecretsResponse) -> Answer {
        let find = |is: &dyn Fn(&Register2Request) -> bool| {
            let own = self.registrations.iter().find(|((u, _), r)| *u == user && is(r));
            own.map(|((_, number), _)| *number)
        };
        match response {
            SecretsResponse::Register1 => Answer::Here,
            SecretsResponse::Register2 => Answer::Registered,
            SecretsResponse::Recover1(Recover1Response::Ok { version }) => {
                find(&|r| r.version == *version).map_or(Answer::Foreign, Answer::Version)
            }
            SecretsResponse::Recover2(Recover2Response::Ok(ok)) => {
                let key = &ok.oprf_signed_public_key;
                find(&|r| r.oprf_signed_public_key == *key).map_or(Answer::Foreign, |registration| {
                    Answer::Evaluated { registration, charged: ok.guess_count }
                })
            }
            SecretsResponse::Recover3(Recover3Response::Ok(ok)) => {
                let share = &ok.encryption_key_scalar_share;
                find(&|r| r.encryption_key_scalar_share == *share).map_or(Answer::Foreign, Answer::Share)
            }
            SecretsResponse::Recover3(Recover3Response::BadUnlockKeyTag { guesses_remaining }) => {
                Answer::BadTag { left: *guesses_remaining }
            }
            SecretsResponse::Recover2(Recover2Response::VersionMismatch)
            | SecretsResponse::Recover3(Recover3Response::VersionMismatch) => Answer::VersionMismatch,
            SecretsResponse::Recover1(Recover1Response::NotRegistered)
            | SecretsResponse::Recover2(Recover2Response::NotRegistered)
            | SecretsResponse::Recover3(Recover3Response::NotRegistered) => Answer::NotRegistered,
            SecretsResponse::Recover1(Recover1Response::NoGuesses)
            | SecretsResponse::Recover2(Recover2Response::NoGuesses)
            | SecretsResponse::Recover3(Recover3Response::NoGuesses) => Answer::NoGuesses,
            SecretsResponse::Delete => Answer::Deleted,
            SecretsResponse::Attempts(_) => Answer::Attempts,
            SecretsResponse::Stage => Answer::Staged,
            SecretsResponse::Activate(ActivateResponse::Ok) => Answer::Activated,
            SecretsResponse::Activate(ActivateResponse::NotStaged) => Answer::NotStaged,
            SecretsResponse::Versions(VersionsResponse { present, staged }) => {
                let seen = |place: &Recover1Response| match place {
                    Recover1Response::Ok { version } => {
                        find(&|r| r.version == *version).map_or(Seen::Foreign, Seen::Version)
                    }
                    Recover1Response::NotRegistered => Seen::Nothing,
                    Recover1Response::NoGuesses => Seen::NoGuesses,
                };
                Answer::Versions { present: seen(present), staged: seen(staged) }
            }
        }
    }
}

/// A user's record, which begins with this byte, and what its tenant calls it. The byte is drawn, and not the name, because
/// traces name places in the tree.
fn named(ids: &Digest, user: u8, first: u8) -> (RecordId, String) {
    let tenant = TENANTS[usize::from(tenant_of(user))];
    // Of other lengths: what is sealed for a tenant has a length that follows from them.
    let prefix = "user-".repeat(1 + 5 * usize::from(user));
    let names = (0_u32..).map(|n| format!("{prefix}{n}")).map(|name| (record_id(ids, tenant, &name), name));
    names.into_iter().find(|(id, _)| id.0[0] == first).expect("one in 256 does")
}

/// Bytes with one part of them replaced.
fn replaced(mut bytes: Vec<u8>, part: &[u8], by: &[u8; 32]) -> Vec<u8> {
    let at = bytes.windows(part.len()).position(|window| window == part).expect("it was written there");
    bytes[at..at + by.len()].copy_from_slice(by);
    bytes
}

/// Everything that a guess attacks, to look for in plaintexts.
struct Needles {
    /// User, registration, and the first bytes of one of its secrets.
    all: Vec<(u8, u8, [u8; NEEDLE])>,
    /// The first two bytes of each, so that most places are skipped at once.
    first: Vec<bool>,
}

/// How much of a secret is looked for: as much as the shortest has.
const NEEDLE: usize = 16;

impl Needles {
    fn of(registrations: &BTreeMap<(u8, u8), Register2Request>) -> Self {
        let mut all = Vec::new();
        for ((user, number), r) in registrations {
            let key = r.oprf_private_key.scalar().to_bytes();
            let share = r.encryption_key_scalar_share.to_bytes();
            let secrets: [&[u8]; 5] = [
                &*key,
                r.unlock_key_tag.as_bytes(),
                &*share,
                r.encrypted_secret.as_bytes(),
                r.encrypted_secret_commitment.as_bytes(),
            ];
            let needles = secrets.iter().filter_map(|secret| secret.first_chunk::<NEEDLE>());
            all.extend(needles.map(|needle| (*user, *number, *needle)));
        }
        let mut first = vec![false; 1 << 16];
        all.iter()
            .for_each(|(_, _, needle)| first[usize::from(u16::from_be_bytes([needle[0], needle[1]]))] = true);
        Self { all, first }
    }

    fn found(&self, user: u8, plaintext: &[u8]) -> u8 {
        let may = |w: &&[u8]| self.first[usize::from(u16::from_be_bytes([w[0], w[1]]))];
        let mut found = 0;
        for window in plaintext.windows(NEEDLE).filter(may) {
            for (_, number, _) in self.all.iter().filter(|(u, _, n)| *u == user && n == window) {
                found |= 1 << number;
            }
        }
        found
    }
}

/// The client's side of a channel, and what came with the handshake's reply.
pub(super) fn finish(handshake: ClientHandshake, reply: &NoiseReply) -> Option<(Transport, Vec<u8>)> {
    let NoiseReply::Handshake { ephemeral, ciphertext } = reply else { return None };
    let server_ephemeral_public = ephemeral.0.to_vec();
    let response = HandshakeResponse { server_ephemeral_public, payload_ciphertext: ciphertext.to_vec() };
    let (transport, payload) = handshake.finish(&response).ok()?;
    Some((transport, payload.to_vec()))
}

/// Unlike the testkit's, it has an encrypted secret of its own, by which the oracle knows whose record a plaintext
/// holds.
fn registration(realm: &RealmId, num_guesses: u16, rng: &mut StdRng) -> Register2Request {
    let key = random_key(rng);
    let signing = RegistrationSigningKey::random(rng);
    Register2Request {
        version: RegistrationVersion(rng.random()),
        oprf_signed_public_key: signing.sign_public_key(realm, &key.public_key()),
        oprf_private_key: key,
        unlock_key_commitment: UnlockKeyCommitment::new(rng.random()),
        unlock_key_tag: UnlockKeyTag::new(rng.random()),
        encryption_key_scalar_share: SecretScalar::random(rng),
        encrypted_secret: EncryptedSecret::new(rng.random()),
        encrypted_secret_commitment: EncryptedSecretCommitment::new(rng.random()),
        policy: Policy { num_guesses },
    }
}
