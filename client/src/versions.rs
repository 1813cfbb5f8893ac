//! Which registrations realms hold in the two places of a record, and which of them can be recovered.
//!
//! A realm *holds* a registration that is present there or staged beside the present one (`docs/protocol.md`, section 18). One that at
//! least the recover threshold of realms hold can be recovered, and no guess is spent on any other. [`Survey`] is pure; what asks the
//! realms is below it.

use std::sync::Arc;

use strongroom_proto::client::{
    Recover1Response, RegistrationVersion, SecretsRequest, SecretsResponse, VersionsResponse,
};

use crate::bug::{Bug, Bugs};
use crate::client::{Client, Progress};
use crate::configuration::{Configuration, Member};
use crate::error::{Cause, RealmError};
use crate::phase::{Wait, all_of};
use crate::stragglers::Pending;

/// What one realm's record holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    pub(crate) present: Recover1Response,
    pub(crate) staged: Recover1Response,
    /// Whether the realm offers to stage registrations. If not, nothing is staged.
    pub(crate) offers: bool,
}

impl Places {
    pub(crate) fn is_present(&self, version: RegistrationVersion) -> bool {
        self.present == Recover1Response::Ok { version }
    }

    pub(crate) fn is_staged(&self, version: RegistrationVersion) -> bool {
        self.staged == Recover1Response::Ok { version }
    }

    pub(crate) fn holds(&self, version: RegistrationVersion) -> bool {
        self.is_present(version) || self.is_staged(version)
    }

    pub(crate) fn has_nothing_staged(&self) -> bool {
        self.staged == Recover1Response::NotRegistered
    }

    fn versions(&self) -> impl Iterator<Item = RegistrationVersion> {
        [&self.present, &self.staged].into_iter().filter_map(|place| match place {
            Recover1Response::Ok { version } => Some(*version),
            Recover1Response::NotRegistered | Recover1Response::NoGuesses => None,
        })
    }

    /// Why the realm does not count among those that hold a registration that it does not hold.
    pub(crate) fn without(&self) -> Cause {
        match self.present {
            Recover1Response::Ok { .. } => Cause::OtherRegistration,
            Recover1Response::NotRegistered => Cause::NotRegistered,
            Recover1Response::NoGuesses => Cause::InvalidPin { guesses_remaining: 0 },
        }
    }
}

/// What the realms of a configuration hold.
pub(crate) struct Survey<'a> {
    /// How many have to hold a registration.
    threshold: usize,
    bugs: Bugs,
    /// In order of share index.
    pub(crate) told: Vec<(Member<'a>, Places)>,
    /// Why the others cannot tell.
    pub(crate) silent: Vec<RealmError>,
}

impl<'a> Survey<'a> {
    /// The realms that offer to stage registrations.
    pub(crate) fn offering(&self) -> Vec<Member<'a>> {
        self.realms_that(|places| places.offers)
    }

    /// The realms whose places are so.
    pub(crate) fn realms_that(&self, so: impl Fn(&Places) -> bool) -> Vec<Member<'a>> {
        self.told.iter().filter(|(_, places)| so(places)).map(|(member, _)| *member).collect()
    }

    fn count(&self, so: impl Fn(&Places) -> bool) -> usize {
        self.told.iter().filter(|(_, places)| so(places)).count()
    }

    /// Every registration that is named and was not tried, in order of its bytes.
    fn named(&self, tried: &[RegistrationVersion]) -> Vec<RegistrationVersion> {
        let named = self.told.iter().flat_map(|(_, places)| places.versions());
        let mut named: Vec<_> = named.filter(|version| !tried.contains(version)).collect();
        named.sort_unstable_by_key(|version| version.0);
        named.dedup();
        named
    }

    /// The registrations to try, beside those that were tried. First those that are present at enough realms: anybody with a session can
    /// stage a registration, made for one PIN, and activate it at one realm. Tried first it would tell, at every recovery and unseen by the
    /// user, whether that is the user's PIN; after one that is present, it is tried only with a PIN that was wrong, and charged, there.
    /// Then those whose activation has begun, and then those that are present at more realms.
    pub(crate) fn candidates(&self, tried: &[RegistrationVersion]) -> Vec<RegistrationVersion> {
        let needed = if self.bugs.has(Bug::GuessBelowThreshold) { 1 } else { self.threshold };
        let mut candidates = self.named(tried);
        candidates.retain(|version| self.count(|places| places.holds(*version)) >= needed);
        candidates.sort_by_key(|version| {
            let present = self.count(|places| places.is_present(*version));
            let begun = present > 0 && self.count(|places| places.is_staged(*version)) > 0;
            let is_whole = present >= self.threshold && !self.bugs.has(Bug::StagedFirst);
            (!is_whole, !begun, usize::MAX - present)
        });
        candidates
    }

    /// Whether silent realms may hold a registration that others hold too, and that was not tried, so that they would be enough.
    pub(crate) fn is_open(&self, tried: &[RegistrationVersion]) -> bool {
        let may_be_enough = |version: &RegistrationVersion| {
            self.count(|places| places.holds(*version)) + self.silent.len() >= self.threshold
        };
        self.named(tried).iter().any(may_be_enough)
    }
}

impl Client {
    /// Asks every realm what it holds, if any of them offers to stage registrations; those that do not are asked for the present one.
    /// Changes nothing, and costs no guess.
    pub(crate) async fn survey<'a>(&self, configuration: &'a Configuration) -> Survey<'a> {
        self.report(Progress::Versions);
        let threshold = configuration.recover_threshold();
        let wait = |listed: &[(_, bool)]| match listed.len() >= threshold {
            false => Wait::ForAll,
            true if listed.iter().any(|(_, offers)| *offers) => Wait::Linger,
            // What the others stage would be too little.
            true => Wait::End,
        };
        let listed = all_of(configuration.members().collect(), wait, |member, enough| {
            let (link, realm) = (Arc::clone(&self.link), member.realm.clone());
            Box::pin(async move { link.offers_staging(&realm, enough).await }) as Pending<_>
        });
        let listed = listed.await;
        let offers = |member: &Member<'_>| {
            listed.answers.iter().any(|(other, offers)| other.position() == member.position() && *offers)
        };
        let mut survey =
            Survey { threshold, bugs: self.link.bugs, told: Vec::new(), silent: listed.causes.clone() };
        if listed.answers.iter().all(|(_, offers)| !offers) {
            return survey;
        }
        let question = |(member, offers): &(Member<'a>, bool)| {
            (*member, if *offers { SecretsRequest::Versions } else { SecretsRequest::Recover1 })
        };
        let questions = listed.answers.iter().map(question).collect();
        let enough = |answers: &[_]| answers.len() >= threshold;
        let read = |member, response| match response {
            SecretsResponse::Versions(VersionsResponse { present, staged }) if offers(&member) => {
                Ok(Places { present, staged, offers: true })
            }
            SecretsResponse::Recover1(present) if !offers(&member) => {
                Ok(Places { present, staged: Recover1Response::NotRegistered, offers: false })
            }
            _ => Err(Cause::Assertion("it answered another request than it was asked")),
        };
        let told = self.link.ask_all(&self.turn(), questions, enough, read).await;
        survey.told = told.answers;
        survey.silent.extend(told.causes);
        survey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: RegistrationVersion = RegistrationVersion([1; 16]);
    const NEW: RegistrationVersion = RegistrationVersion([2; 16]);
    const OTHER: RegistrationVersion = RegistrationVersion([3; 16]);

    fn configuration(realms: usize, threshold: usize) -> Configuration {
        let realm = |n: usize| serde_json::json!({ "id": format!("{n:032x}"), "address": "https://realm.example/", "public_key": "11".repeat(32) });
        let json = serde_json::json!({
            "realms": (0..realms).map(realm).collect::<Vec<_>>(),
            "register_threshold": threshold, "recover_threshold": threshold, "pin_hashing_mode": "FastInsecure",
        });
        Configuration::from_json(&json.to_string()).unwrap()
    }

    fn place(version: Option<RegistrationVersion>) -> Recover1Response {
        version.map_or(Recover1Response::NotRegistered, |version| Recover1Response::Ok { version })
    }

    /// A survey of realms that hold these, present and staged; `None` is silent.
    fn survey<'a>(
        configuration: &'a Configuration,
        realms: &[Option<(Option<RegistrationVersion>, Option<RegistrationVersion>)>],
    ) -> Survey<'a> {
        let threshold = configuration.recover_threshold();
        let mut survey = Survey { threshold, bugs: Bugs::default(), told: Vec::new(), silent: Vec::new() };
        for (member, told) in configuration.members().zip(realms) {
            match told {
                Some((present, staged)) => {
                    let places = Places { present: place(*present), staged: place(*staged), offers: true };
                    survey.told.push((member, places));
                }
                None => survey.silent.push(RealmError { realm: member.realm.id(), cause: Cause::Unsettled }),
            }
        }
        survey
    }

    #[test]
    fn what_a_threshold_holds_is_tried_first_what_is_present_there_and_then_what_is_being_activated() {
        let three = configuration(3, 2);
        let (both, done, old) =
            (Some((Some(OLD), Some(NEW))), Some((Some(NEW), None)), Some((Some(OLD), None)));
        for (realms, tried) in [
            ([both, both, both], &[OLD, NEW][..]),
            ([done, both, both], &[OLD, NEW]),
            ([done, done, both], &[NEW]),
            ([done, done, done], &[NEW]),
            ([both, old, old], &[OLD]),
            ([both, both, None], &[OLD, NEW]),
            ([done, both, None], &[NEW]),
            ([done, old, None], &[]),
        ] {
            assert_eq!(survey(&three, &realms).candidates(&[]), tried, "{realms:?}");
        }
        assert_eq!(survey(&three, &[both, both, both]).candidates(&[OLD]), [NEW]);
    }

    #[test]
    fn every_registration_that_a_threshold_holds_is_a_candidate_and_no_other() {
        let places: Vec<_> = [None, Some(OLD), Some(NEW), Some(OTHER)]
            .into_iter()
            .flat_map(|present| [None, Some(OLD), Some(NEW)].map(|staged| Some((present, staged))))
            .chain([None])
            .collect();
        for threshold in [2, 3] {
            let three = configuration(3, threshold);
            let count = places.len();
            for n in 0..count.pow(3) {
                let all = [n % count, n / count % count, n / count / count].map(|place| places[place]);
                let survey = survey(&three, &all);
                let holders = |version| {
                    let holds =
                        |(present, staged): &(_, _)| *present == Some(version) || *staged == Some(version);
                    all.iter().flatten().filter(|told| holds(told)).count()
                };
                let candidates = survey.candidates(&[]);
                for version in [OLD, NEW, OTHER] {
                    let enough = holders(version) >= threshold;
                    assert_eq!(candidates.contains(&version), enough, "{all:?}");
                }
                let silent = all.iter().filter(|told| told.is_none()).count();
                let open = |version| holders(version) > 0 && holders(version) + silent >= threshold;
                assert_eq!(survey.is_open(&[NEW]), open(OLD) || open(OTHER), "{all:?}");
            }
        }
    }

    #[test]
    fn a_client_that_tries_what_somebody_has_begun_to_activate_before_what_is_present_is_noticed() {
        let three = configuration(3, 2);
        let (begun, present) = (Some((Some(NEW), None)), Some((Some(OLD), Some(NEW))));
        let mut survey = survey(&three, &[begun, present, present]);
        assert_eq!(survey.candidates(&[]), [OLD, NEW]);
        survey.bugs.planted = Some(Bug::StagedFirst);
        assert_eq!(survey.candidates(&[]), [NEW, OLD]);
    }

    #[test]
    fn a_client_that_guesses_below_the_threshold_is_noticed() {
        let three = configuration(3, 2);
        let mut survey = survey(&three, &[Some((Some(OLD), Some(NEW))), Some((Some(OLD), None)), None]);
        survey.bugs.planted = Some(Bug::GuessBelowThreshold);
        assert_eq!(survey.candidates(&[]), [OLD, NEW]);
    }
}
