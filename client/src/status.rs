//! Whether anything is registered, without a guess.

use strongroom_proto::client::{RegistrationVersion, SecretsRequest};
use strongroom_proto::ids::RealmId;

use crate::bug::Bugs;
use crate::client::{Client, Progress};
use crate::configuration::Member;
use crate::error::{Cause, Error, Failed, Operation, RealmError};
use crate::recover::read_recover1;
use crate::verdict::{Verdict, Word, verdict};

/// What the realms of the current configuration say about this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// One entry for each realm, in order of the realms' ids.
    pub realms: Vec<RealmStatus>,
    recover_threshold: usize,
    /// Enough realms hold a registration, though it is not present at enough: a change of the PIN is not finished.
    staged: bool,
}

/// What one realm says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RealmStatus {
    /// The realm.
    pub realm: RealmId,
    /// The registration it holds; or why it cannot tell.
    pub registration: Result<Registration, Cause>,
}

/// A realm's view of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// There is a registration with guesses left.
    Registered {
        /// Which: realms that name the same version belong together.
        version: RegistrationVersion,
    },
    /// There is none.
    NotRegistered,
    /// There was one; its guesses are used up.
    NoGuesses,
}

/// What a [`Status`] amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// Enough realms hold the same registration: the secret can be recovered.
    Registered,
    /// Nothing that could be recovered is registered.
    NotRegistered,
    /// Too few realms have guesses left: the secret is gone.
    NoGuesses,
    /// The realms that cannot tell would decide. Nothing follows from this: ask again.
    Unknown,
}

impl Status {
    /// Whether the secret can be recovered. This is known only if it holds whatever the realms that cannot tell may
    /// have.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let words: Vec<_> = self.realms.iter().map(|realm| word(realm.registration.as_ref().ok())).collect();
        match verdict(&words, self.recover_threshold, Bugs::default()) {
            _ if self.staged => Summary::Registered,
            Verdict::Holds(_) => Summary::Registered,
            Verdict::NotRegistered | Verdict::Apart => Summary::NotRegistered,
            Verdict::NoGuesses => Summary::NoGuesses,
            Verdict::Unavailable => Summary::Unknown,
        }
    }

    /// Why the realms cannot tell what is registered; `None` if they can. A recovery would fail in the same way, so
    /// this shows it without risking a guess.
    #[must_use]
    pub fn undecided(&self) -> Option<Error> {
        if self.summary() != Summary::Unknown {
            return None;
        }
        let silence = |told: &RealmStatus| {
            let cause = told.registration.as_ref().err()?.clone();
            Some(RealmError { realm: told.realm, cause })
        };
        let silent: Vec<_> = self.realms.iter().filter_map(silence).collect();
        // Without them nothing would be undecided, unless the application has removed them.
        (!silent.is_empty()).then(|| Failed::least(silent).end(Operation::Status, false))
    }
}

fn word(registration: Option<&Registration>) -> Word<RegistrationVersion> {
    match registration {
        Some(Registration::Registered { version }) => Word::Holds(*version),
        Some(Registration::NotRegistered) => Word::NotRegistered,
        Some(Registration::NoGuesses) => Word::NoGuesses,
        None => Word::Silent,
    }
}

impl Client {
    /// Asks every realm of the current configuration whether it holds a registration. Costs no guess. Where that comes to none, although
    /// realms tell of some, realms that offer staging are asked what is staged as well, as in a recovery.
    pub async fn status(&self) -> Status {
        self.report(Progress::Recover1);
        let questions: Vec<_> =
            self.configuration.members().map(|member| (member, SecretsRequest::Recover1)).collect();
        let recover_threshold = self.configuration.recover_threshold();
        let realms = questions.len();
        let decided = |answers: &[(Member<'_>, Registration)]| {
            let mut words = vec![Word::Silent; realms];
            answers.iter().for_each(|(member, told)| words[member.position()] = word(Some(told)));
            !matches!(verdict(&words, recover_threshold, Bugs::default()), Verdict::Unavailable)
        };
        let read = |_, response| match read_recover1(response) {
            Ok(version) => Ok(Registration::Registered { version }),
            Err(Cause::NotRegistered) => Ok(Registration::NotRegistered),
            Err(Cause::InvalidPin { .. }) => Ok(Registration::NoGuesses),
            Err(other) => Err(other),
        };
        let told = self.link.ask_all(&self.turn(), questions, decided, read).await;
        let answers =
            told.answers.into_iter().map(|(member, registration)| (member.realm.id(), Ok(registration)));
        let causes = told.causes.into_iter().map(|error| (error.realm, Err(error.cause)));
        let mut realms: Vec<_> =
            answers.chain(causes).map(|(realm, registration)| RealmStatus { realm, registration }).collect();
        realms.sort_by_key(|status| status.realm);
        let told = |told: &RealmStatus| {
            matches!(told.registration, Ok(Registration::Registered { .. } | Registration::NoGuesses))
        };
        let something = realms.iter().any(told);
        let mut status = Status { realms, recover_threshold, staged: false };
        if something && status.summary() != Summary::Registered {
            status.staged = !self.survey(&self.configuration).await.candidates(&[]).is_empty();
        }
        status
    }
}
