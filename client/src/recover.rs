//! Recovery (client protocol, section 9): find the registration, let the realms evaluate the PIN, fetch the shares.
//!
//! No realm is believed alone: a version, an evaluation or a share counts only when a threshold of realms agrees and
//! its own proof, signature or commitment verifies. That there is no registration counts only if it holds whatever the
//! silent realms would have said.

use std::time::Duration;

use strongroom_client_crypto::oprf::{BlindingFactor, blind, finalize};
use strongroom_client_crypto::pin::{InputTooLong, StretchedPin};
use strongroom_client_crypto::registration::{
    UnlockKey, UserSecret, decrypt_secret, derive_unlock_key, encrypted_secret_commitment, encryption_key,
    unlock_key_tag, verify_signed_public_key,
};
use strongroom_client_crypto::sharing::{Share, recombine, recombine_outputs};
use strongroom_proto::client::{
    Recover1Response, Recover2Ok, Recover2Response, Recover3Ok, Recover3Response, RegistrationVersion,
    SecretsRequest, SecretsResponse,
};
use strongroom_proto::oprf::{BlindedInput, verify};
use subtle::ConstantTimeEq as _;
use tokio::time::sleep;

use crate::bug::Bug;
use crate::client::{Client, Progress};
use crate::configuration::{Configuration, Member};
use crate::error::{Cause, Error, ErrorKind, Failed, Operation};
use crate::hearing::{Hearing, NO_GUESSES, Phase};
use crate::link::with_rng;
use crate::pin::Pin;

/// How long to wait for a registration that another device has just begun.
const SETTLING: Duration = Duration::from_millis(200);

/// The registration to recover.
struct Found<'a> {
    version: RegistrationVersion,
    /// The realms that hold it.
    members: Vec<Member<'a>>,
    hearing: Hearing,
}

impl Client {
    /// Recovers the secret. A wrong PIN costs a guess at every realm that was asked; the right one gives all
    /// guesses back.
    ///
    /// If it is certain that the current configuration has no registration of this user, the client asks the previous
    /// ones in their order. Realms that cannot be reached never lead there. The PIN goes to only one configuration, so
    /// that a realm which is in several evaluates it once, and gives guesses back once.
    ///
    /// If the application demands heads of logs, each realm that holds the registration shows its own before the PIN is sent to any.
    ///
    /// When another device of the user registers in the meantime, the recovery starts over once, with what is
    /// registered then. One call never guesses twice at the same registration.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`] says whether the PIN was wrong, with the guesses left, and what else there is.
    pub async fn recover(&self, pin: &Pin, user_info: &[u8]) -> Result<UserSecret, Error> {
        let mut not_registered = Vec::new();
        for configuration in std::iter::once(&self.configuration).chain(&self.previous) {
            let error = match self.find(configuration).await {
                Ok(found) => return self.recover_from(configuration, found, pin, user_info).await,
                Err(failed) => failed.end(Operation::Recover, false),
            };
            match error.kind {
                ErrorKind::NotRegistered => not_registered.extend(error.causes),
                ErrorKind::Unavailable { .. } if self.link.bugs.has(Bug::FallBackOnSilence) => {
                    not_registered.extend(error.causes);
                }
                _ => return Err(error),
            }
        }
        Err(Error::new(Operation::Recover, ErrorKind::NotRegistered, not_registered))
    }

    /// Recovers what was found; starts over once if it is replaced on the way.
    async fn recover_from(
        &self,
        configuration: &Configuration,
        found: Found<'_>,
        pin: &Pin,
        user_info: &[u8],
    ) -> Result<UserSecret, Error> {
        let end = |failed: Failed| failed.end(Operation::Recover, true);
        let guessed_at = found.version;
        let replaced = match self.recover_found(configuration, found, pin, user_info).await? {
            Ok(secret) => return Ok(secret),
            Err(failed) if failed.changed => failed,
            Err(failed) => return Err(end(failed)),
        };
        // The other device sends one realm after another its share.
        sleep(SETTLING).await;
        match self.find(configuration).await {
            // It is still the same, whatever a realm said, and a guess was spent on it.
            Ok(found) if found.version == guessed_at => Err(end(replaced)),
            Ok(found) => self.recover_found(configuration, found, pin, user_info).await?.map_err(end),
            // Some realms have the next one already: that does not mean that there is none.
            Err(failed) if failed.causes.iter().any(|error| error.cause == Cause::OtherRegistration) => {
                let cause = if failed.cause == Cause::NotRegistered { replaced.cause } else { failed.cause };
                Err(end(Failed::with(cause, failed.causes)))
            }
            Err(failed) => Err(end(failed)),
        }
    }

    /// Guesses at one registration, and fetches its secret. The inner error is the outcome of a phase.
    async fn recover_found(
        &self,
        configuration: &Configuration,
        Found { version, members, hearing }: Found<'_>,
        pin: &Pin,
        user_info: &[u8],
    ) -> Result<Result<UserSecret, Failed>, Error> {
        let stretched = self.stretch(configuration, pin, &version, user_info).await;
        let stretched = stretched
            .map_err(|InputTooLong| Error::new(Operation::Recover, ErrorKind::InputTooLong, Vec::new()))?;
        Ok(match self.recover2(hearing, &members, version, &stretched).await {
            Ok((hearing, key)) => self.recover3(hearing, &members, version, &stretched, &key).await,
            Err(failed) => Err(failed),
        })
    }

    /// The registration, and those of its realms whose logs are as the application demands. No guess is spent before enough are, or
    /// it would be spent for nothing.
    async fn find<'a>(&self, configuration: &'a Configuration) -> Result<Found<'a>, Failed> {
        let mut found = self.recover1(configuration).await?;
        if let Some(heads) = &self.heads
            && !self.link.bugs.has(Bug::GuessWithoutHead)
        {
            self.report(Progress::Heads);
            found.members = found.hearing.demand_heads(&self.link, heads, &found.members).await?;
        }
        Ok(found)
    }

    /// Which registration enough realms hold, and which realms.
    async fn recover1<'a>(&self, configuration: &'a Configuration) -> Result<Found<'a>, Failed> {
        self.report(Progress::Recover1);
        let mut hearing = Hearing::new(configuration, self.link.bugs);
        let phase = Phase {
            questions: configuration.members().map(|member| (member, SecretsRequest::Recover1)).collect(),
            read: |_, response| read_recover1(response),
            same: RegistrationVersion::eq,
            apart: Cause::OtherRegistration,
        };
        let group = hearing.ask(&self.link, phase).await.map_err(|failed| match failed.cause {
            // Each realm has its own: together they have none.
            Cause::OtherRegistration => Failed { cause: Cause::NotRegistered, ..failed },
            _ => failed,
        })?;
        let (_, version) = group[0];
        let members = group.into_iter().map(|(member, _)| member).collect();
        Ok(Found { version, members, hearing })
    }

    /// Has the PIN evaluated, which costs a guess, and finds out whether it is right.
    async fn recover2(
        &self,
        mut hearing: Hearing,
        members: &[Member<'_>],
        version: RegistrationVersion,
        stretched: &StretchedPin,
    ) -> Result<(Hearing, UnlockKey), Failed> {
        self.report(Progress::Recover2);
        let (factor, blinded_input) = with_rng(&self.link.rng, |rng| blind(stretched.access_key(), rng));
        let request = SecretsRequest::Recover2 { version, blinded_input };
        let phase = Phase {
            questions: members.iter().map(|member| (*member, request.clone())).collect(),
            read: |member, response| read_recover2(member, &blinded_input, response),
            same: |a: &Recover2Ok, b: &Recover2Ok| {
                let keys = [a, b].map(|answer| &answer.oprf_signed_public_key.verifying_key.0);
                (a.unlock_key_commitment.ct_eq(&b.unlock_key_commitment) & keys[0].ct_eq(keys[1])).into()
            },
            apart: Cause::Assertion("its evaluation belongs to a different registration from the others'"),
        };
        let group = hearing.ask(&self.link, phase).await?;
        match unlock(&group, &factor, stretched) {
            Ok(Some(key)) => Ok((hearing, key)),
            Ok(None) => {
                // A realm that lies about its counts must not make this overflow.
                let left = |answer: &Recover2Ok| answer.num_guesses.saturating_sub(answer.guess_count);
                Err(hearing.wrong_pin(group.iter().map(|(member, answer)| (*member, left(answer))).collect()))
            }
            Err(cause) => Err(hearing.failed(cause)),
        }
    }

    /// Fetches the shares of the encryption key, which gives all guesses back, and decrypts.
    async fn recover3(
        &self,
        mut hearing: Hearing,
        members: &[Member<'_>],
        version: RegistrationVersion,
        stretched: &StretchedPin,
        unlock_key: &UnlockKey,
    ) -> Result<UserSecret, Failed> {
        self.report(Progress::Recover3);
        let question = |member: &Member<'_>| {
            let unlock_key_tag = unlock_key_tag(unlock_key, &member.realm.id());
            SecretsRequest::Recover3 { version, unlock_key_tag }
        };
        let phase = Phase {
            questions: members.iter().map(|member| (*member, question(member))).collect(),
            read: |member, response| read_recover3(unlock_key, member, response),
            same: |a: &Recover3Ok, b: &Recover3Ok| a.encrypted_secret == b.encrypted_secret,
            apart: Cause::Assertion("too few realms hold the same encrypted secret"),
        };
        let group = hearing.ask(&self.link, phase).await?;
        let share = |(member, answer): &(Member<'_>, Recover3Ok)| Share {
            index: member.index,
            value: answer.encryption_key_scalar_share.clone(),
        };
        let shares: Vec<_> = group.iter().map(share).collect();
        let decrypted = recombine(&shares).ok().and_then(|scalar| {
            let key = encryption_key(stretched.encryption_key_seed(), &scalar);
            decrypt_secret(&key, &group[0].1.encrypted_secret).ok()
        });
        let unusable = Cause::Assertion("the recombined secret does not decrypt");
        decrypted.ok_or_else(|| hearing.failed(unusable))
    }
}

/// The unlock key, or `None` if the PIN is wrong.
fn unlock(
    group: &[(Member<'_>, Recover2Ok)],
    factor: &BlindingFactor,
    stretched: &StretchedPin,
) -> Result<Option<UnlockKey>, Cause> {
    let outputs: Vec<_> =
        group.iter().map(|(member, answer)| (member.index, answer.oprf_blinded_result)).collect();
    let output = recombine_outputs(&outputs)
        .map_err(|_| Cause::Assertion("the realms' evaluations recombine to the identity"))?;
    let (commitment, key) = derive_unlock_key(&finalize(stretched.access_key(), factor, &output));
    // Secret: compared in constant time.
    let right: bool = commitment.ct_eq(&group[0].1.unlock_key_commitment).into();
    Ok(right.then_some(key))
}

fn is_committed(unlock_key: &UnlockKey, member: Member<'_>, answer: &Recover3Ok) -> bool {
    let expected = encrypted_secret_commitment(
        unlock_key,
        &member.realm.id(),
        &answer.encryption_key_scalar_share,
        &answer.encrypted_secret,
    );
    expected.ct_eq(&answer.encrypted_secret_commitment).into()
}

pub(crate) fn read_recover1(response: SecretsResponse) -> Result<RegistrationVersion, Cause> {
    match response {
        SecretsResponse::Recover1(Recover1Response::Ok { version }) => Ok(version),
        SecretsResponse::Recover1(Recover1Response::NotRegistered) => Err(Cause::NotRegistered),
        SecretsResponse::Recover1(Recover1Response::NoGuesses) => Err(NO_GUESSES),
        _ => Err(Cause::Assertion("it answered another request than Recover1")),
    }
}

fn read_recover2(
    member: Member<'_>,
    blinded_input: &BlindedInput,
    response: SecretsResponse,
) -> Result<Recover2Ok, Cause> {
    let answer = match response {
        SecretsResponse::Recover2(Recover2Response::Ok(answer)) => answer,
        SecretsResponse::Recover2(Recover2Response::VersionMismatch) => return Err(Cause::OtherRegistration),
        SecretsResponse::Recover2(Recover2Response::NotRegistered) => return Err(Cause::NotRegistered),
        SecretsResponse::Recover2(Recover2Response::NoGuesses) => return Err(NO_GUESSES),
        _ => return Err(Cause::Assertion("it answered another request than Recover2")),
    };
    let signed = &answer.oprf_signed_public_key;
    verify_signed_public_key(&member.realm.id(), signed)
        .map_err(|_| Cause::Assertion("the signature of its key does not verify"))?;
    verify(&signed.public_key, blinded_input, &answer.oprf_blinded_result, &answer.oprf_proof)
        .map_err(|_| Cause::Assertion("the proof of its evaluation does not verify"))?;
    Ok(*answer)
}

fn read_recover3(
    unlock_key: &UnlockKey,
    member: Member<'_>,
    response: SecretsResponse,
) -> Result<Recover3Ok, Cause> {
    match response {
        SecretsResponse::Recover3(Recover3Response::Ok(answer)) => {
            let committed = is_committed(unlock_key, member, &answer);
            let forged = Cause::Assertion("the commitment to its share does not verify");
            if committed { Ok(*answer) } else { Err(forged) }
        }
        SecretsResponse::Recover3(Recover3Response::VersionMismatch) => Err(Cause::OtherRegistration),
        SecretsResponse::Recover3(Recover3Response::NotRegistered) => Err(Cause::NotRegistered),
        SecretsResponse::Recover3(Recover3Response::NoGuesses) => Err(NO_GUESSES),
        // Enough realms committed to what the PIN leads to: it is right, whatever this one says.
        SecretsResponse::Recover3(Recover3Response::BadUnlockKeyTag { .. }) => {
            Err(Cause::Assertion("it refused the tag of a PIN that is right"))
        }
        _ => Err(Cause::Assertion("it answered another request than Recover3")),
    }
}
