//! Registration (client protocol, section 8): every realm gets shares of fresh keys, and whatever was there is gone.

use std::num::NonZeroU8;

use rand_core::CryptoRng;
use strongroom_client_crypto::oprf::{random_key, unoblivious_output};
use strongroom_client_crypto::pin::{InputTooLong, StretchedPin};
use strongroom_client_crypto::registration::{
    RegistrationSigningKey, UserSecret, derive_unlock_key, encrypt_secret, encrypted_secret_commitment,
    encryption_key, unlock_key_tag,
};
use strongroom_client_crypto::sharing::{Share, share};
use strongroom_proto::client::{
    Policy, Register2Request, RegistrationVersion, SecretsRequest, SecretsResponse,
};
use strongroom_proto::oprf::PrivateKey;
use strongroom_proto::scalar::SecretScalar;

use crate::bug::Bug;
use crate::client::{Client, Progress};
use crate::configuration::{Configuration, Member};
use crate::error::{Cause, Error, ErrorKind, Failed, Operation};
use crate::link::with_rng;
use crate::pin::Pin;
use crate::stragglers::Turn;

/// How often a registration starts over from fresh keys after realms have lost the session that it went to.
///
/// Each one has its own guesses for the same PIN: a host that drops replies on purpose gains one more set with each.
const RESTARTS: u32 = 1;

impl Client {
    /// Keeps `secret` under `pin` at the realms of the current configuration, for at most `num_guesses` wrong PINs
    /// in a row. Replaces what this user had registered there before.
    ///
    /// Answers when enough realms have it; the others get it in the background: see [`Client::close`].
    ///
    /// An HSM accepts at most two registrations in one call, the second only if answers to the first were lost.
    ///
    /// `user_info` goes into the stretching of the PIN and is not secret. Use a permanent name of the user, and give
    /// the same one at recovery.
    ///
    /// # Errors
    ///
    /// Until another registration succeeds, rely on nothing: see [`Operation::Register`].
    pub async fn register(
        &self,
        pin: &Pin,
        secret: &UserSecret,
        user_info: &[u8],
        num_guesses: NonZeroU8,
    ) -> Result<(), Error> {
        let _alone = self.alone().await;
        self.report(Progress::Register1);
        let questions =
            self.configuration.members().map(|member| (member, SecretsRequest::Register1)).collect();
        let threshold = self.configuration.register_threshold();
        let read = |_, response| match response {
            SecretsResponse::Register1 => Ok(()),
            _ => Err(Cause::Assertion("it answered another request than Register1")),
        };
        let turn = self.turn();
        // One that is late with this still gets its share.
        self.link.phase(&turn, questions, threshold, read).await.map_err(not_registered)?;

        let members = self.configuration.members().collect();
        let sending =
            Sending { operation: Operation::Register, place: Place::Present, members, needed: threshold };
        self.remember_opened(None);
        let version = self.send(&turn, &sending, Registering { pin, secret, user_info, num_guesses }).await?;
        self.remember_opened(Some(version));
        Ok(())
    }

    /// Draws a registration and sends it to realms. Draws another one if answers to the first were lost, and too few have it.
    pub(crate) async fn send(
        &self,
        turn: &Turn,
        sending: &Sending<'_>,
        registering: Registering<'_>,
    ) -> Result<RegistrationVersion, Error> {
        let allowed = if self.link.bugs.has(Bug::RestartThrice) { 3 } else { RESTARTS };
        let mut restarts = 0;
        loop {
            match self.send_once(turn, sending, registering).await {
                Err(Error { kind: ErrorKind::Unavailable { .. }, causes, .. })
                    if restarts < allowed && causes.iter().any(|error| error.cause == Cause::Unsettled) =>
                {
                    restarts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn send_once(
        &self,
        turn: &Turn,
        sending: &Sending<'_>,
        registering: Registering<'_>,
    ) -> Result<RegistrationVersion, Error> {
        let version = with_rng(&self.link.rng, RegistrationVersion::random);
        let Registering { pin, user_info, .. } = registering;
        let stretched = self.stretch(&self.configuration, pin, &version, user_info).await;
        let stretched = stretched
            .map_err(|InputTooLong| Error::new(sending.operation, ErrorKind::InputTooLong, Vec::new()))?;
        let registration =
            with_rng(&self.link.rng, |rng| Registration::draw(&self.configuration, version, rng));
        let requests = registration.requests(&sending.members, &stretched, registering);
        let questions = requests.into_iter().map(|(member, request)| (member, sending.place.of(request)));

        self.report(if sending.place == Place::Present { Progress::Register2 } else { Progress::Stage });
        let read = |_, response| match (sending.place, response) {
            (Place::Present, SecretsResponse::Register2) | (Place::Staged, SecretsResponse::Stage) => Ok(()),
            _ => Err(Cause::Assertion("it answered another request than that to register")),
        };
        // Nothing is abandoned before enough have it: a registration that arrives late could replace the one that is
        // drawn after it.
        let answered = self.link.ask_enough(turn, questions.collect(), sending.needed, read).await;
        let answered =
            answered.reaching(sending.needed).map_err(|failed| failed.end(sending.operation, false))?;
        self.stragglers.leave(answered.late, self.link.retry.straggling);
        Ok(version)
    }
}

/// What is to be registered.
#[derive(Clone, Copy)]
pub(crate) struct Registering<'a> {
    pub(crate) pin: &'a Pin,
    pub(crate) secret: &'a UserSecret,
    pub(crate) user_info: &'a [u8],
    pub(crate) num_guesses: NonZeroU8,
}

/// Where realms put a registration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In place of everything that they hold.
    Present,
    /// Beside what is present.
    Staged,
}

impl Place {
    fn of(self, request: Register2Request) -> SecretsRequest {
        match self {
            Self::Present => SecretsRequest::Register2(Box::new(request)),
            Self::Staged => SecretsRequest::Stage(Box::new(request)),
        }
    }
}

/// Which realms are sent a registration, and how many of them must have it.
pub(crate) struct Sending<'a> {
    pub(crate) operation: Operation,
    pub(crate) place: Place,
    pub(crate) members: Vec<Member<'a>>,
    pub(crate) needed: usize,
}

fn not_registered(failed: Failed) -> Error {
    failed.end(Operation::Register, false)
}

/// The random part of one registration.
struct Registration {
    version: RegistrationVersion,
    root_key: PrivateKey,
    root_key_shares: Vec<Share>,
    signing_key: RegistrationSigningKey,
    encryption_key_scalar: SecretScalar,
    encryption_key_scalar_shares: Vec<Share>,
}

impl Registration {
    /// Draws in the order of section 8.
    fn draw(configuration: &Configuration, version: RegistrationVersion, rng: &mut impl CryptoRng) -> Self {
        let (threshold, count) = configuration.sharing();
        let shares = |scalar: &SecretScalar, rng: &mut _| {
            share(scalar, threshold, count, rng).expect("a configuration's threshold is at most its realms")
        };
        let root_key = random_key(rng);
        let root_key_shares = shares(root_key.scalar(), rng);
        let signing_key = RegistrationSigningKey::random(rng);
        let encryption_key_scalar = SecretScalar::random(rng);
        let encryption_key_scalar_shares = shares(&encryption_key_scalar, rng);
        Self {
            version,
            root_key,
            root_key_shares,
            signing_key,
            encryption_key_scalar,
            encryption_key_scalar_shares,
        }
    }

    /// What each of these realms is sent.
    fn requests<'a>(
        &self,
        members: &[Member<'a>],
        stretched: &StretchedPin,
        Registering { secret, num_guesses, .. }: Registering<'_>,
    ) -> Vec<(Member<'a>, Register2Request)> {
        let output = unoblivious_output(&self.root_key, stretched.access_key());
        let (unlock_key_commitment, unlock_key) = derive_unlock_key(&output);
        let key = encryption_key(stretched.encryption_key_seed(), &self.encryption_key_scalar);
        let encrypted_secret = encrypt_secret(&key, secret);
        let request = |member: &Member<'a>| {
            let realm = member.realm.id();
            let oprf_private_key = PrivateKey::new(self.root_key_shares[member.position()].value.clone())
                .expect("a working generator never makes a share of zero");
            let encryption_key_scalar_share =
                self.encryption_key_scalar_shares[member.position()].value.clone();
            let request = Register2Request {
                version: self.version,
                oprf_signed_public_key: self
                    .signing_key
                    .sign_public_key(&realm, &oprf_private_key.public_key()),
                oprf_private_key,
                unlock_key_commitment: unlock_key_commitment.clone(),
                unlock_key_tag: unlock_key_tag(&unlock_key, &realm),
                encrypted_secret_commitment: encrypted_secret_commitment(
                    &unlock_key,
                    &realm,
                    &encryption_key_scalar_share,
                    &encrypted_secret,
                ),
                encryption_key_scalar_share,
                encrypted_secret: encrypted_secret.clone(),
                policy: Policy { num_guesses: num_guesses.get().into() },
            };
            (*member, request)
        };
        members.iter().map(request).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::{TryCryptoRng, TryRng};
    use serde_json::Value;
    use std::convert::Infallible;
    use strongroom_client_crypto::pin::stretch;

    /// Replays the recorded draws as one stream.
    struct Recorded(std::vec::IntoIter<u8>);

    impl TryRng for Recorded {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            panic!("a registration draws bytes only")
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            panic!("a registration draws bytes only")
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
            out.fill_with(|| self.0.next().expect("no more than was recorded"));
            Ok(())
        }
    }

    impl TryCryptoRng for Recorded {}

    #[test]
    fn recorded_draws_lead_to_the_recorded_keys() {
        let transcripts: Value =
            serde_json::from_str(include_str!("../../proto/vectors/transcript.json")).unwrap();
        for session in transcripts["cases"].as_array().unwrap() {
            let configuration = Configuration::from_json(&session["configuration"].to_string()).unwrap();
            for step in
                session["steps"].as_array().unwrap().iter().filter(|step| step["operation"] == "register")
            {
                let draws = step["client_draws"].as_array().unwrap().iter();
                let own = draws.filter(|draw| {
                    !["noise ephemeral secret", "session id (little-endian)"]
                        .contains(&draw["use"].as_str().unwrap())
                });
                let stream: Vec<u8> =
                    own.flat_map(|draw| hex::decode(draw["hex"].as_str().unwrap()).unwrap()).collect();
                let mut rng = Recorded(stream.into_iter());
                let version = RegistrationVersion::random(&mut rng);
                let registration = Registration::draw(&configuration, version, &mut rng);
                assert_eq!(rng.0.len(), 0);

                let arguments = &step["arguments"];
                let pin = arguments["pin"].as_str().unwrap().as_bytes();
                let info = hex::decode(arguments["user_info"].as_str().unwrap()).unwrap();
                let stretched = stretch(configuration.pin_hashing_mode(), pin, &version, &info).unwrap();
                let output = unoblivious_output(&registration.root_key, stretched.access_key());
                let scalar = &registration.encryption_key_scalar;
                let key = encryption_key(stretched.encryption_key_seed(), scalar);
                let derived = |name: &str, bytes: &[u8]| {
                    assert_eq!(step["derived"][name], hex::encode(bytes), "{name}")
                };
                derived("oprf_root_private_key", &*registration.root_key.scalar().to_bytes());
                derived("encryption_key_scalar", &*scalar.to_bytes());
                derived("access_key", stretched.access_key());
                derived("oprf_output", output.as_bytes());
                derived("unlock_key", derive_unlock_key(&output).1.as_bytes());
                derived("encryption_key", key.as_bytes());
            }
        }
    }
}
