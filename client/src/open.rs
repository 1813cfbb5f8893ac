//! Which registrations a recovery tries, and in which order.
//!
//! Usually that is the one that enough realms name as present. If they name different ones, or its PIN is wrong, a change of the PIN may
//! have been interrupted: then realms that offer staging are asked what is staged as well, and each registration that enough of them hold
//! is tried, one guess at each, and no more than two of them. So the user comes in with the old PIN or the new one, whichever the realms
//! have come to.

use std::num::NonZeroU8;

use strongroom_proto::client::RegistrationVersion;

use crate::bug::Bug;
use crate::client::Client;
use crate::configuration::Configuration;
use crate::error::{Cause, Error, ErrorKind, Failed, Operation, RealmError};
use crate::hearing::Hearing;
use crate::pin::Pin;
use crate::recover::{Found, Opened};
use crate::versions::Survey;

/// At how many registrations a PIN is tried in one call: the one before a change of the PIN, and the one after. Hosts of a threshold of
/// colluding realms can show any number, each made for one PIN, to learn which PIN the user has typed.
const MOST_TRIED: usize = 2;

impl Client {
    /// Whether the PIN may be tried at one more registration.
    pub(crate) fn may_try_another(&self, tried: &[RegistrationVersion]) -> bool {
        tried.len() < MOST_TRIED || self.link.bugs.has(Bug::TryEveryRegistration)
    }

    /// Opens what is registered with one configuration. Notes at which registrations it has guessed.
    pub(crate) async fn open(
        &self,
        configuration: &Configuration,
        pin: &Pin,
        user_info: &[u8],
        tried: &mut Vec<RegistrationVersion>,
    ) -> Result<Opened, Error> {
        let mut wrong = WrongPin::default();
        let (found, mut otherwise) = match self.find(configuration).await {
            Ok(found) if found.hearing.names_another() => (Some(found), None),
            Ok(found) => {
                let recovered = self.recover_from(configuration, found, (pin, user_info), tried).await;
                match wrong.or_end(recovered) {
                    Some(outcome) => return outcome,
                    None => (None, None),
                }
            }
            Err(failed) => {
                let (held, error) = (failed.held, failed.end(Operation::Recover, false));
                if !held {
                    return Err(error);
                }
                (None, Some(error))
            }
        };
        let survey = self.survey(configuration).await;
        for version in survey.candidates(tried) {
            if !self.may_try_another(tried) {
                break;
            }
            let end = |failed: Failed| failed.end(Operation::Recover, true);
            let found = self.found_by(&survey, configuration, version).await.map_err(end)?;
            let recovered = self.recover_found(configuration, found, (pin, user_info), tried).await?;
            if let Some(outcome) = wrong.or_end(recovered.map_err(end)) {
                return outcome;
            }
        }
        // Nobody tells more.
        let untried = |found: &Found<'_>| !tried.contains(&found.version) && self.may_try_another(tried);
        if let Some(found) = found.filter(untried) {
            let recovered = self.recover_from(configuration, found, (pin, user_info), tried).await;
            if let Some(outcome) = wrong.or_end(recovered) {
                return outcome;
            }
        }
        if self.may_try_another(tried) && survey.is_open(tried) {
            otherwise = Some(Failed::least(survey.silent).end(Operation::Recover, !tried.is_empty()));
        } else if let Some(wrong) = wrong.0 {
            otherwise = Some(wrong);
        }
        Err(otherwise.expect("without a failure there was a wrong PIN"))
    }

    /// The same with the current configuration, for another operation.
    pub(crate) async fn open_for(
        &self,
        operation: Operation,
        pin: &Pin,
        user_info: &[u8],
    ) -> Result<Opened, Error> {
        let opened = self.open(&self.configuration, pin, user_info, &mut Vec::new()).await;
        opened.map_err(|error| Error { operation, ..error })
    }

    /// A registration that enough realms hold, and those of its realms whose logs are as the application demands.
    async fn found_by<'a>(
        &self,
        survey: &Survey<'a>,
        configuration: &Configuration,
        version: RegistrationVersion,
    ) -> Result<Found<'a>, Failed> {
        let mut hearing = Hearing::new(configuration, self.link.bugs);
        survey.silent.iter().for_each(|error| hearing.note_silence(error.clone()));
        let mut unfinished = Vec::new();
        for (member, places) in &survey.told {
            if !places.holds(version) {
                hearing.set_aside(*member, places.without());
            } else if !places.is_present(version) || !places.has_nothing_staged() {
                unfinished.push(RealmError { realm: member.realm.id(), cause: Cause::Unfinished });
            }
        }
        let members = survey.realms_that(|places| places.holds(version));
        self.demand_heads_of(Found { version, members, late: Vec::new(), hearing, unfinished }).await
    }
}

/// What the registrations that were tried say, for which the PIN is wrong.
#[derive(Default)]
struct WrongPin(Option<Error>);

impl WrongPin {
    /// Ends a recovery, unless the PIN is wrong: it may be right for another registration.
    fn or_end(&mut self, recovered: Result<Opened, Error>) -> Option<Result<Opened, Error>> {
        let error = match recovered {
            Err(error) if error.guesses_remaining().is_some() => error,
            outcome => return Some(outcome),
        };
        let Some(before) = &mut self.0 else {
            self.0 = Some(error);
            return None;
        };
        let left = [&*before, &error].map(|error| error.guesses_remaining().and_then(non_zero));
        // Gone is what is gone everywhere. Otherwise it is the one with fewer guesses that the user should not waste.
        let guesses_remaining = left.into_iter().flatten().min().map_or(0, NonZeroU8::get).into();
        before.kind = ErrorKind::InvalidPin { guesses_remaining };
        before.causes.extend(error.causes);
        None
    }
}

fn non_zero(guesses: u16) -> Option<NonZeroU8> {
    NonZeroU8::new(u8::try_from(guesses).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_gone_only_if_they_are_gone_at_every_registration() {
        for (all, told) in [(&[3, 2][..], 2), (&[0, 2], 2), (&[2, 0, 5], 2), (&[0, 0], 0), (&[4], 4)] {
            let mut wrong = WrongPin::default();
            for guesses_remaining in all.iter().copied() {
                let kind = ErrorKind::InvalidPin { guesses_remaining };
                assert!(wrong.or_end(Err(Error::new(Operation::Recover, kind, Vec::new()))).is_none());
            }
            assert_eq!(wrong.0.unwrap().guesses_remaining(), Some(told));
        }
    }
}
