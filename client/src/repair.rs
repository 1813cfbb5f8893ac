//! Repair: realms that missed a registration, or at which a change of the PIN was not finished, are made whole.

use strongroom_proto::ids::RealmId;

use crate::client::Client;
use crate::configuration::Member;
use crate::error::{Cause, Error, Operation, RealmError};
use crate::phase::Answers;
use crate::pin::Pin;
use crate::versions::Survey;

/// What came of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// One entry for each realm, in order of the realms' ids.
    pub realms: Vec<RealmRepair>,
}

/// What came of it at one realm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RealmRepair {
    /// The realm.
    pub realm: RealmId,
    /// What was done, after which it holds the registration and nothing else; or why it does not.
    pub outcome: Result<Mended, Cause>,
}

/// What was done at a realm that holds the registration now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mended {
    /// Nothing: it was whole.
    Nothing,
    /// What was left of an interrupted change of the PIN was finished or dropped.
    Finished,
    /// The secret was registered anew, at this realm and at the others, under the same PIN.
    RegisteredAnew,
}

impl Mended {
    /// The variant's name, the same in every client.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "Nothing",
            Self::Finished => "Finished",
            Self::RegisteredAnew => "RegisteredAnew",
        }
    }
}

impl Repair {
    /// Whether every realm holds the registration now, and nothing else.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.realms.iter().all(|realm| realm.outcome.is_ok())
    }
}

impl Client {
    /// Makes whole what is registered with the current configuration: finishes or drops what an interrupted change of the PIN has left, and
    /// if realms missed the last registration, registers the same secret anew under the same PIN, whole or not at all as
    /// [`Client::change_pin`] does. The number of guesses stays, and all guesses are given back. `pin` is tried as in a recovery: a wrong
    /// one costs a guess.
    ///
    /// [`Client::recover_with_report`] tells whether there is anything to repair. Nothing is registered anew unless more realms hold the
    /// secret afterwards.
    ///
    /// # Errors
    ///
    /// As [`Client::recover`], and see [`Operation::Repair`]. A realm that could not be repaired is no error: see [`Repair`].
    pub async fn repair(&self, pin: &Pin, user_info: &[u8]) -> Result<Repair, Error> {
        let operation = Operation::Repair;
        let _alone = self.alone().await;
        let opened = self.open_for(operation, pin, user_info).await?;
        let version = opened.version;
        let survey = self.survey(&self.configuration).await;
        let whole = survey.realms_that(|places| places.is_present(version) && places.has_nothing_staged());
        let unfinished = survey.realms_that(|places| {
            places.holds(version) && !(places.is_present(version) && places.has_nothing_staged())
        });
        let wanted = unfinished.len();
        let finished = self.activate(unfinished, version, wanted).await;
        let present = whole.len() + finished.answers.len();
        let needed = self.configuration.recover_threshold();
        if present < needed {
            return Err(self.too_few(operation, &survey, needed - present, finished.causes));
        }
        let offering = survey.offering().len();
        let missed = survey.realms_that(|places| places.offers && !places.holds(version));
        if missed.is_empty() || offering <= present || offering < self.configuration.register_threshold() {
            let mended = |realm| match realm {
                _ if is_among(&whole, realm) => Some(Mended::Nothing),
                _ if is_answered(&finished, realm) => Some(Mended::Finished),
                _ => None,
            };
            return Ok(self.told(&survey, mended, &finished.causes));
        }
        let answered = self.replace(operation, &survey, &opened, (pin, user_info), offering).await?;
        let mended = |realm| is_answered(&answered, realm).then_some(Mended::RegisteredAnew);
        Ok(self.told(&survey, mended, &answered.causes))
    }

    fn told(
        &self,
        survey: &Survey<'_>,
        mended: impl Fn(RealmId) -> Option<Mended>,
        causes: &[RealmError],
    ) -> Repair {
        let why = |realm| {
            let cause = causes.iter().chain(&survey.silent).find(|error| error.realm == realm);
            let missed =
                survey.told.iter().find(|(member, places)| places.offers && member.realm.id() == realm);
            match (cause, missed) {
                (Some(error), _) => error.cause.clone(),
                (None, Some((_, places))) => places.without(),
                (None, None) => Cause::Unsupported,
            }
        };
        let realms = self.configuration.realms().iter().map(|realm| {
            let realm = realm.id();
            RealmRepair { realm, outcome: mended(realm).ok_or_else(|| why(realm)) }
        });
        Repair { realms: realms.collect() }
    }
}

fn is_among(members: &[Member<'_>], realm: RealmId) -> bool {
    members.iter().any(|member| member.realm.id() == realm)
}

fn is_answered(answers: &Answers<'_, ()>, realm: RealmId) -> bool {
    answers.answers.iter().any(|(member, ())| member.realm.id() == realm)
}
