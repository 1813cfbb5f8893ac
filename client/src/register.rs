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

/// How often a registration starts over from fresh keys after realms have lost the session that it went to.
///
/// Each one has its own guesses for the same PIN: a host that drops replies on purpose gains one more set with each.
const RESTARTS: u32 = 1;

impl Client {
    /// Keeps `secret` under `pin` at the realms of the current configuration, for at most `num_guesses` wrong PINs
    /// in a row. Replaces what this user had registered there before.
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
        self.report(Progress::Register1);
        let questions =
            self.configuration.members().map(|member| (member, SecretsRequest::Register1)).collect();
        let threshold = self.configuration.register_threshold();
        let read = |_, response| match response {
            SecretsResponse::Register1 => Ok(()),
            _ => Err(Cause::Assertion("it answered another request than Register1")),
        };
        self.link.phase(questions, threshold, read).await.map_err(not_registered)?;

        let allowed = if self.link.bugs.has(Bug::RestartThrice) { 3 } else { RESTARTS };
        let mut restarts = 0;
        loop {
            match self.register_afresh(pin, secret, user_info, num_guesses).await {
                Err(Error { kind: ErrorKind::Unavailable { .. }, causes, .. })
                    if restarts < allowed && causes.iter().any(|error| error.cause == Cause::Unsettled) =>
                {
                    restarts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Draws a registration and sends it to all realms.
    async fn register_afresh(
        &self,
        pin: &Pin,
        secret: &UserSecret,
        user_info: &[u8],
        num_guesses: NonZeroU8,
    ) -> Result<(), Error> {
        let version = with_rng(&self.link.rng, RegistrationVersion::random);
        let stretched = self.stretch(&self.configuration, pin, &version, user_info).await;
        let stretched = stretched
            .map_err(|InputTooLong| Error::new(Operation::Register, ErrorKind::InputTooLong, Vec::new()))?;
        let registration =
            with_rng(&self.link.rng, |rng| Registration::draw(&self.configuration, version, rng));
        let questions = registration.requests(&self.configuration, &stretched, secret, num_guesses);

        self.report(Progress::Register2);
        let read = |_, response| match response {
            SecretsResponse::Register2 => Ok(()),
            _ => Err(Cause::Assertion("it answered another request than Register2")),
        };
        let threshold = self.configuration.register_threshold();
        // Nothing is abandoned before enough have it: a registration that arrives late could replace the one that is
        // drawn after it.
        let enough = |answers: &[_]| answers.len() >= threshold;
        self.link.ask_all(questions, enough, read).await.reaching(threshold).map_err(not_registered)?;
        Ok(())
    }
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

    /// What each realm is sent.
    fn requests<'a>(
        &self,
        configuration: &'a Configuration,
        stretched: &StretchedPin,
        secret: &UserSecret,
        num_guesses: NonZeroU8,
    ) -> Vec<(Member<'a>, SecretsRequest)> {
        let output = unoblivious_output(&self.root_key, stretched.access_key());
        let (unlock_key_commitment, unlock_key) = derive_unlock_key(&output);
        let key = encryption_key(stretched.encryption_key_seed(), &self.encryption_key_scalar);
        let encrypted_secret = encrypt_secret(&key, secret);
        let shares = self.root_key_shares.iter().zip(&self.encryption_key_scalar_shares);
        let request = |member: Member<'a>, root_key_share: &Share, scalar_share: &Share| {
            let realm = member.realm.id();
            let oprf_private_key = PrivateKey::new(root_key_share.value.clone())
                .expect("a working generator never makes a share of zero");
            let encryption_key_scalar_share = scalar_share.value.clone();
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
            (member, SecretsRequest::Register2(Box::new(request)))
        };
        configuration
            .members()
            .zip(shares)
            .map(|(member, (root, scalar))| request(member, root, scalar))
            .collect()
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
