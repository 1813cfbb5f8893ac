//! Recovery (client protocol, section 9): find the registration, let the realms evaluate the PIN, fetch the shares.
//!
//! No realm is believed alone: a version, an evaluation or a share counts only when a threshold of realms agrees and
//! its own proof, signature or commitment verifies. That there is no registration counts only if it holds whatever the
//! silent realms would have said.

use std::num::NonZeroU8;
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

use crate::bug::Bug;
use crate::client::{Client, Progress};
use crate::configuration::{Configuration, Member};
use crate::error::{Cause, Error, ErrorKind, Failed, Operation, RealmError};
use crate::hearing::{Group, Hearing, NO_GUESSES, Phase, Question};
use crate::link::with_rng;
use crate::pin::Pin;
use crate::runtime::sleep;
use crate::stragglers::Pending;
use crate::verdict::are_certain;

/// How long to wait for a registration that another device has just begun.
const SETTLING: Duration = Duration::from_millis(200);

/// The registration to recover.
pub(crate) struct Found<'a> {
    pub(crate) version: RegistrationVersion,
    /// The realms that hold it.
    pub(crate) members: Vec<Member<'a>>,
    /// Those that may hold it, and have not said so yet.
    pub(crate) late: Late<'a>,
    pub(crate) hearing: Hearing,
    /// Those at which a change of the PIN is not finished.
    pub(crate) unfinished: Vec<RealmError>,
}

/// Realms, and what each of them is late with: it comes well if the realm takes part in what follows.
pub(crate) type Late<'a> = Vec<(Member<'a>, Pending<Result<(), Cause>>)>;

/// What the right PIN has opened.
pub(crate) struct Opened {
    pub(crate) secret: UserSecret,
    pub(crate) version: RegistrationVersion,
    /// How many guesses it allows.
    pub(crate) num_guesses: NonZeroU8,
    /// Realms that do not hold it as they should, as far as they have said.
    pub(crate) behind: Vec<RealmError>,
}

/// What follows from a guess that was right.
struct Guessed<'a> {
    /// The realms to ask for their shares.
    members: Vec<Member<'a>>,
    late: Late<'a>,
    hearing: Hearing,
    key: UnlockKey,
    num_guesses: NonZeroU8,
}

/// A secret, and what a recovery has learnt beside it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// The secret.
    pub secret: UserSecret,
    /// Realms that do not hold the registration as the others do, and why, as far as they had said so when enough others had answered:
    /// one that missed it, or at which a change of the PIN is not finished. Each of them is missing if another one fails.
    /// [`Client::repair`] mends that.
    pub behind: Vec<RealmError>,
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
        self.recover_with_report(pin, user_info).await.map(|recovered| recovered.secret)
    }

    /// As [`Client::recover`], and says which realms are behind.
    ///
    /// # Errors
    ///
    /// As [`Client::recover`].
    pub async fn recover_with_report(&self, pin: &Pin, user_info: &[u8]) -> Result<Recovered, Error> {
        let mut not_registered = Vec::new();
        for configuration in std::iter::once(&self.configuration).chain(&self.previous) {
            let mut tried = Vec::new();
            let error = match self.open(configuration, pin, user_info, &mut tried).await {
                Ok(Opened { secret, behind, .. }) => return Ok(Recovered { secret, behind }),
                Err(error) => error,
            };
            match error.kind {
                // The PIN goes to one configuration only.
                _ if !tried.is_empty() => return Err(error),
                ErrorKind::NotRegistered => not_registered.extend(error.causes),
                ErrorKind::Unavailable { .. } if self.link.bugs.has(Bug::FallBackOnSilence) => {
                    not_registered.extend(error.causes);
                }
                _ => return Err(error),
            }
        }
        Err(Error::new(Operation::Recover, ErrorKind::NotRegistered, not_registered))
    }

    /// Recovers what was found; starts over once if it is replaced on the way. Notes at which registrations it has guessed.
    pub(crate) async fn recover_from(
        &self,
        configuration: &Configuration,
        found: Found<'_>,
        (pin, user_info): (&Pin, &[u8]),
        tried: &mut Vec<RegistrationVersion>,
    ) -> Result<Opened, Error> {
        let end = |failed: Failed| failed.end(Operation::Recover, true);
        let replaced = match self.recover_found(configuration, found, (pin, user_info), tried).await? {
            Ok(opened) => return Ok(opened),
            Err(failed) if failed.changed => failed,
            Err(failed) => return Err(end(failed)),
        };
        // The other device sends one realm after another its share.
        sleep(SETTLING).await;
        match self.find(configuration).await {
            // A guess was spent on it, whatever a realm said.
            Ok(found) if self.was_tried(found.version, tried) => Err(end(replaced)),
            Ok(found) => {
                self.recover_found(configuration, found, (pin, user_info), tried).await?.map_err(end)
            }
            // Some realms have the next one already: that does not mean that there is none.
            Err(failed) if failed.causes.iter().any(|error| error.cause == Cause::OtherRegistration) => {
                let cause = if failed.cause == Cause::NotRegistered { replaced.cause } else { failed.cause };
                Err(end(Failed::with(cause, failed.causes)))
            }
            Err(failed) => Err(end(failed)),
        }
    }

    /// Whether the PIN was tried there, or at as many registrations as it may be.
    fn was_tried(&self, version: RegistrationVersion, tried: &[RegistrationVersion]) -> bool {
        if self.link.bugs.has(Bug::TryAgain) {
            return tried.last() == Some(&version);
        }
        tried.contains(&version) || !self.may_try_another(tried)
    }

    /// Guesses at one registration, which it notes, and fetches its secret. The inner error is the outcome of a phase.
    pub(crate) async fn recover_found(
        &self,
        configuration: &Configuration,
        Found { version, members, late, hearing, unfinished }: Found<'_>,
        (pin, user_info): (&Pin, &[u8]),
        tried: &mut Vec<RegistrationVersion>,
    ) -> Result<Result<Opened, Failed>, Error> {
        let stretched = self.stretch(configuration, pin, &version, user_info).await;
        let stretched = stretched
            .map_err(|InputTooLong| Error::new(Operation::Recover, ErrorKind::InputTooLong, Vec::new()))?;
        tried.push(version);
        let guessed = match self.recover2(hearing, (members, late), version, &stretched).await {
            Ok(guessed) => guessed,
            Err(failed) => return Ok(Err(failed)),
        };
        let num_guesses = guessed.num_guesses;
        let (secret, hearing) = match self.recover3(guessed, version, &stretched).await {
            Ok(recovered) => recovered,
            Err(failed) => return Ok(Err(failed)),
        };
        if std::ptr::eq(configuration, &self.configuration) {
            self.remember_opened(Some(version));
        }
        let behind = hearing.without().chain(unfinished).collect();
        Ok(Ok(Opened { secret, version, num_guesses, behind }))
    }

    /// The registration, and those of its realms whose logs are as the application demands. No guess is spent before enough are, or
    /// it would be spent for nothing.
    pub(crate) async fn find<'a>(&self, configuration: &'a Configuration) -> Result<Found<'a>, Failed> {
        let found = self.recover1(configuration).await?;
        self.demand_heads_of(found).await
    }

    /// What was found, without the realms whose logs are not as the application demands.
    pub(crate) async fn demand_heads_of<'a>(&self, mut found: Found<'a>) -> Result<Found<'a>, Failed> {
        if let Some(heads) = &self.heads
            && !self.link.bugs.has(Bug::GuessWithoutHead)
        {
            self.report(Progress::Heads);
            let late = found.late.into_iter().map(|(member, late)| (member, Some(late)));
            let all = found.members.into_iter().map(|member| (member, None)).chain(late).collect();
            let group = found.hearing.demand_heads(&self.link, heads, all).await?;
            found.members = group.answers.into_iter().map(|(member, ())| member).collect();
            found.late = group.late;
        }
        Ok(found)
    }

    /// Which registration enough realms hold, and which realms.
    async fn recover1<'a>(&self, configuration: &'a Configuration) -> Result<Found<'a>, Failed> {
        self.report(Progress::Recover1);
        let mut hearing = Hearing::new(configuration, self.link.bugs);
        let turn = self.turn();
        let question = |member: Member<'a>| {
            let (turn, realm) = (turn.clone(), member.realm.id());
            let come = async move {
                turn.come(realm).await;
                Ok(())
            };
            Question { member, request: SecretsRequest::Recover1, after: Some(Box::pin(come)) }
        };
        let phase = Phase {
            questions: configuration.members().map(question).collect(),
            late_too: true,
            certain: |_: &[&_], _| true,
            read: |_, response| read_recover1(response),
            same: RegistrationVersion::eq,
            apart: Cause::OtherRegistration,
        };
        let asked = hearing.ask(&self.link, phase).await;
        let group = asked.map_err(|failed| {
            let held = hearing.tells_of_something();
            match failed.cause {
                // Each realm has its own: together they have none.
                Cause::OtherRegistration => Failed { cause: Cause::NotRegistered, held, ..failed },
                _ => Failed { held, ..failed },
            }
        })?;
        let (_, version) = group.answers[0];
        let members = group.answers.into_iter().map(|(member, _)| member).collect();
        let late = group.late.into_iter().map(|(member, late)| {
            let holds = async move {
                let held = read_recover1(late.await?)?;
                if held == version { Ok(()) } else { Err(Cause::OtherRegistration) }
            };
            (member, Box::pin(holds) as Pending<_>)
        });
        Ok(Found { version, members, late: late.collect(), hearing, unfinished: Vec::new() })
    }

    /// Has the PIN evaluated, which costs a guess, and finds out whether it is right.
    async fn recover2<'a>(
        &self,
        mut hearing: Hearing,
        (members, late): (Vec<Member<'a>>, Late<'a>),
        version: RegistrationVersion,
        stretched: &StretchedPin,
    ) -> Result<Guessed<'a>, Failed> {
        self.report(Progress::Recover2);
        let (factor, blinded_input) = with_rng(&self.link.rng, |rng| blind(stretched.access_key(), rng));
        let request = SecretsRequest::Recover2 { version, blinded_input };
        // A realm that lies about its counts must not make this overflow.
        let left = |answer: &Recover2Ok| answer.num_guesses.saturating_sub(answer.guess_count);
        let (threshold, bugs) = (hearing.threshold(), self.link.bugs);
        // How many guesses are left is asked only if the PIN is wrong.
        let certain = |agreed: &[&(Member<'a>, Recover2Ok)], silent| {
            let told: Vec<_> = agreed.iter().map(|(_, answer)| left(answer)).collect();
            !matches!(unlock(agreed, &factor, stretched), Ok(None))
                || are_certain(&told, silent, threshold, bugs)
        };
        let asked: Vec<_> = members.iter().chain(late.iter().map(|(member, _)| member)).copied().collect();
        let phase = Phase {
            questions: questions(&members, late, |_| request.clone()),
            // A guess for nothing.
            late_too: false,
            certain,
            read: |member, response| read_recover2(member, &blinded_input, response),
            same: |a: &Recover2Ok, b: &Recover2Ok| {
                let keys = [a, b].map(|answer| &answer.oprf_signed_public_key.verifying_key.0);
                let same: bool =
                    (a.unlock_key_commitment.ct_eq(&b.unlock_key_commitment) & keys[0].ct_eq(keys[1])).into();
                // What a change of the PIN registers anew has as many: so a threshold has to name the number.
                same && (a.num_guesses == b.num_guesses || bugs.has(Bug::BelieveNumGuesses))
            },
            apart: Cause::Assertion("its evaluation belongs to a different registration from the others'"),
        };
        let Group { answers: group, late } = hearing.ask(&self.link, phase).await?;
        match unlock(&group.iter().collect::<Vec<_>>(), &factor, stretched) {
            Ok(Some(key)) => {
                let is = |member: &Member<'_>, other: &Member<'_>| member.position() == other.position();
                let heard = asked.into_iter().filter(|member| {
                    let at_once = members.iter().any(|other| is(member, other));
                    let is_late = late.iter().any(|(other, _)| is(member, other));
                    !is_late && (at_once || hearing.may_hold(member))
                });
                let members = heard.collect();
                let late =
                    late.into_iter().map(|(member, late)| (member, Box::pin(guessed(late)) as Pending<_>));
                let num_guesses = allowed(group[0].1.num_guesses);
                Ok(Guessed { members, late: late.collect(), hearing, key, num_guesses })
            }
            Ok(None) => {
                // So that all count alike.
                self.leave(late);
                Err(hearing.wrong_pin(group.iter().map(|(member, answer)| (*member, left(answer))).collect()))
            }
            Err(cause) => Err(hearing.failed(cause)),
        }
    }

    /// Fetches the shares of the encryption key, which gives all guesses back, and decrypts.
    async fn recover3(
        &self,
        Guessed { members, late, mut hearing, key: unlock_key, .. }: Guessed<'_>,
        version: RegistrationVersion,
        stretched: &StretchedPin,
    ) -> Result<(UserSecret, Hearing), Failed> {
        self.report(Progress::Recover3);
        let unlock_key = &unlock_key;
        let question = |member: &Member<'_>| {
            let unlock_key_tag = unlock_key_tag(unlock_key, &member.realm.id());
            SecretsRequest::Recover3 { version, unlock_key_tag }
        };
        let phase = Phase {
            questions: questions(&members, late, question),
            late_too: true,
            certain: |_: &[&_], _| true,
            read: |member, response| read_recover3(unlock_key, member, response),
            same: |a: &Recover3Ok, b: &Recover3Ok| a.encrypted_secret == b.encrypted_secret,
            apart: Cause::Assertion("too few realms hold the same encrypted secret"),
        };
        let Group { answers: group, late } = hearing.ask(&self.link, phase).await?;
        self.leave(late);
        let share = |(member, answer): &(Member<'_>, Recover3Ok)| Share {
            index: member.index,
            value: answer.encryption_key_scalar_share.clone(),
        };
        let shares: Vec<_> = group.iter().map(share).collect();
        let decrypted = recombine(&shares).ok().and_then(|scalar| {
            let key = encryption_key(stretched.encryption_key_seed(), &scalar);
            decrypt_secret(&key, &group[0].1.encrypted_secret).ok()
        });
        match decrypted {
            Some(secret) => Ok((secret, hearing)),
            None => Err(hearing.failed(Cause::Assertion("the recombined secret does not decrypt"))),
        }
    }

    fn leave(&self, late: Vec<(Member<'_>, Pending<Result<SecretsResponse, Cause>>)>) {
        let late = late.into_iter().map(|(member, late)| (member.realm.id(), late));
        self.stragglers.leave(late, self.link.retry.straggling);
    }
}

/// The questions of a phase: at once, and to those that are late from the phase before.
fn questions<'a>(
    members: &[Member<'a>],
    late: Late<'a>,
    request: impl Fn(&Member<'a>) -> SecretsRequest,
) -> Vec<Question<'a>> {
    let at_once = members.iter().map(|member| (*member, None));
    let all = at_once.chain(late.into_iter().map(|(member, late)| (member, Some(late))));
    all.map(|(member, after)| Question { member, request: request(&member), after }).collect()
}

/// Comes well once a guess has been made or has failed, unless the realm is to be asked nothing more.
async fn guessed(late: Pending<Result<SecretsResponse, Cause>>) -> Result<(), Cause> {
    match late.await {
        Err(cause) if cause.is_out() => Err(cause),
        _ => Ok(()),
    }
}

/// How many guesses a registration allows, if that is a number from 1 to 255, and else the nearest that is.
fn allowed(num_guesses: u16) -> NonZeroU8 {
    let number = u8::try_from(num_guesses).unwrap_or(u8::MAX);
    NonZeroU8::new(number).unwrap_or(NonZeroU8::MIN)
}

/// The unlock key, or `None` if the PIN is wrong.
fn unlock(
    group: &[&(Member<'_>, Recover2Ok)],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_guesses_that_no_registration_has_is_the_nearest() {
        assert_eq!([0, 1, 255, 300].map(|number| allowed(number).get()), [1, 1, 255, 255]);
    }
}
