//! A change of the PIN that is whole or not at all: the same secret is registered under the new PIN beside the present registration, and
//! takes its place once enough realms have it (`docs/protocol.md`, section 18).
//!
//! Invariant: at every moment the registration under the old PIN is present at the recover threshold of realms, or the one under the new
//! PIN is held by as many. Before anything is staged, the first is seen to (`settle`), because staging drops what was staged before. It
//! ends only by an Activate, and none is sent before the second holds. Operations of one client that replace registrations come one after
//! the other; what another device does meanwhile is looked for once more before the first Activate.

use strongroom_proto::client::{ActivateResponse, RegistrationVersion, SecretsRequest, SecretsResponse};

use crate::bug::Bug;
use crate::client::{Client, Progress};
use crate::configuration::Member;
use crate::error::{Cause, Error, ErrorKind, Failed, Operation, RealmError};
use crate::phase::Answers;
use crate::pin::Pin;
use crate::recover::Opened;
use crate::register::{Place, Registering, Sending};
use crate::versions::Survey;

impl Client {
    /// Replaces the PIN `old` by `new` at the realms of the current configuration. The secret, the user info and the number of guesses stay,
    /// and all guesses are given back. `old` is tried as in a recovery: a wrong one costs a guess.
    ///
    /// The change is whole or not at all: wherever it is interrupted, the secret can be recovered with the old PIN or the new one, and
    /// this can be called again with whichever of them is right. Until then, up to two registrations are there to be guessed at, each with
    /// its own guesses. When it succeeds, the old PIN opens nothing.
    ///
    /// Realms have to offer it: as many as a registration needs. One that does not is sent nothing of it, and keeps the registration that it
    /// has, which is of no use alone.
    ///
    /// # Errors
    ///
    /// As [`Client::recover`], and see [`Operation::ChangePin`]; [`ErrorKind::Unsupported`] if too few realms offer it.
    pub async fn change_pin(&self, old: &Pin, new: &Pin, user_info: &[u8]) -> Result<(), Error> {
        let operation = Operation::ChangePin;
        let _alone = self.alone().await;
        let opened = self.open_for(operation, old, user_info).await?;
        let survey = self.survey(&self.configuration).await;
        self.settle(operation, &survey, opened.version).await?;
        let needed = self.configuration.register_threshold();
        self.replace(operation, &survey, &opened, (new, user_info), needed).await.map(|_| ())
    }

    /// Sees to it that a registration is present at enough realms; and wherever it is staged, because that is dropped by what is staged
    /// next, and a realm that says that it is present there may not be believed.
    async fn settle(
        &self,
        operation: Operation,
        survey: &Survey<'_>,
        version: RegistrationVersion,
    ) -> Result<(), Error> {
        let present = survey.realms_that(|places| places.is_present(version)).len();
        let needed = self.configuration.recover_threshold().saturating_sub(present);
        let staged = survey.realms_that(|places| !places.is_present(version) && places.is_staged(version));
        if staged.len() < needed {
            return Err(self.too_few(operation, survey, needed - staged.len(), Vec::new()));
        }
        if staged.is_empty() {
            return Ok(());
        }
        let all = staged.len();
        let answered = self.activate(staged, version, all).await;
        let answered = answered.reaching(needed).map_err(|failed| failed.end(operation, false))?;
        self.stragglers.leave(answered.late, self.link.retry.straggling);
        Ok(())
    }

    /// Registers the secret anew, beside what is present, and then in its place: at `wanted` realms, or if fewer are left, at as many as
    /// clients need that know nothing of staging. Returns at which, and why not at others.
    pub(crate) async fn replace<'a>(
        &self,
        operation: Operation,
        survey: &Survey<'a>,
        opened: &Opened,
        (pin, user_info): (&Pin, &[u8]),
        wanted: usize,
    ) -> Result<Answers<'a, ()>, Error> {
        let members = survey.offering();
        let needed = self.configuration.register_threshold();
        if members.len() < needed {
            return Err(self.too_few(operation, survey, needed - members.len(), Vec::new()));
        }
        let staged = if self.link.bugs.has(Bug::ActivateEarly) { 1 } else { needed };
        let sending = Sending { operation, place: Place::Staged, members: members.clone(), needed: staged };
        let Opened { secret, num_guesses, .. } = opened;
        let registering = Registering { pin, secret, user_info, num_guesses: *num_guesses };
        let version = self.send(&self.turn(), &sending, registering).await?;
        if !self.link.bugs.has(Bug::ActivateUnasked) && !self.link.bugs.has(Bug::ActivateEarly) {
            self.still_held(operation, version, staged).await?;
        }
        let answered = self.activate(members, version, wanted).await;
        let mut answered = answered
            .reaching(self.configuration.recover_threshold())
            .map_err(|failed| failed.end(operation, false))?;
        let late = std::mem::take(&mut answered.late);
        self.stragglers.leave(late, self.link.retry.straggling);
        self.remember_opened(Some(version));
        Ok(answered)
    }

    /// Whether as many realms as have taken it still hold it: another device may have staged another in its place. Were both to go on, each
    /// might be activated at some realms, and none at enough.
    async fn still_held(
        &self,
        operation: Operation,
        version: RegistrationVersion,
        needed: usize,
    ) -> Result<(), Error> {
        let survey = self.survey(&self.configuration).await;
        if survey.realms_that(|places| places.holds(version)).len() >= needed {
            return Ok(());
        }
        let lost = survey.realms_that(|places| !places.holds(version)).into_iter();
        let lost =
            lost.map(|member| RealmError { realm: member.realm.id(), cause: Cause::OtherRegistration });
        let mut failed = match survey.silent.is_empty() {
            true => Failed::with(Cause::OtherRegistration, Vec::new()),
            false => Failed::least(survey.silent.clone()),
        };
        failed.causes.extend(lost);
        Err(failed.end(operation, false))
    }

    /// Has realms put a registration into its place, until `needed` have done so or all have answered or failed. One that is late with the
    /// Stage is asked after that.
    pub(crate) async fn activate<'a>(
        &self,
        members: Vec<Member<'a>>,
        version: RegistrationVersion,
        needed: usize,
    ) -> Answers<'a, ()> {
        self.report(Progress::Activate);
        let questions = members.into_iter().map(|member| (member, SecretsRequest::Activate { version }));
        let read = |_, response| match response {
            SecretsResponse::Activate(ActivateResponse::Ok) => Ok(()),
            SecretsResponse::Activate(ActivateResponse::NotStaged) => Err(Cause::OtherRegistration),
            _ => Err(Cause::Assertion("it answered another request than Activate")),
        };
        self.link.ask_enough(&self.turn(), questions.collect(), needed, read).await
    }

    /// `more` realms would be needed: those that have failed or said nothing may do, and otherwise too few offer it.
    pub(crate) fn too_few(
        &self,
        operation: Operation,
        survey: &Survey<'_>,
        more: usize,
        failed: Vec<RealmError>,
    ) -> Error {
        let silent: Vec<_> = failed.into_iter().chain(survey.silent.iter().cloned()).collect();
        if silent.len() >= more {
            return Failed::least(silent).end(operation, false);
        }
        let offering = survey.offering();
        let ids = self.configuration.realms().iter().map(|realm| realm.id());
        let others = ids.filter(|id| {
            let silent = silent.iter().any(|error| error.realm == *id);
            !silent && offering.iter().all(|member| member.realm.id() != *id)
        });
        let unsupported: Vec<_> =
            others.map(|realm| RealmError { realm, cause: Cause::Unsupported }).collect();
        Error::new(operation, ErrorKind::Unsupported, silent.into_iter().chain(unsupported).collect())
    }
}
