//! Which requests on the user's record counted: asked for by name, at no cost, and shown to others by receipts (`docs/protocol.md`, section 17).
//!
//! A list is believed because the session decrypts it. Which record a session leads to is the host's word, so a list counts for the user only
//! if it is of the registration that the user's PIN has opened: see [`AttemptList::is_yours`]. Realms of the field do not know the question
//! and end the session, so nothing else asks it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strongroom_proto::client::{
    Attempt, AttemptsResponse, RegistrationVersion, SecretsRequest, SecretsResponse,
};
use strongroom_proto::ids::{GroupId, RealmId};
use strongroom_tlog::history::{Broken, History};
use strongroom_tlog::receipt::{Standing, standing};
use strongroom_tlog::{ClaimedReceipt, RealmStatement};

use crate::client::{Client, Progress};
use crate::error::Cause;
use crate::heads::ReceiptFailure;
use crate::link::UNREADABLE;

/// What the realms of the current configuration say of the requests that counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// One entry for each realm, in order of the realms' ids.
    pub realms: Vec<RealmAttempts>,
}

/// What one realm says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RealmAttempts {
    /// The realm.
    pub realm: RealmId,
    /// Its list; or why there is none. [`Cause::Unsupported`] if the realm keeps none.
    pub list: Result<AttemptList, Cause>,
}

/// A realm's list of the requests that counted since the registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptList {
    said: AttemptsResponse,
    is_yours: Option<bool>,
}

/// A request that counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountedRequest {
    /// The entry of the log that it is counted in.
    pub index: u64,
    /// When, to the second, by the word of the realm's host alone; `None` if that says nothing.
    pub time: Option<SystemTime>,
    /// What came of it.
    pub what: Counted,
    /// How many guesses were left then.
    pub guesses_left: u8,
}

/// What came of a request that counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counted {
    /// A secret was registered.
    Registered,
    /// A PIN was tried; a guess was charged.
    Guess,
    /// A PIN was tried with the last guess.
    LastGuess,
    /// The PIN tried before was right: the shares were fetched, and all guesses given back.
    Recovered,
    /// The last guess was wrong: the shares were destroyed.
    Erased,
    /// The user, or who has the user's token, deleted the registration.
    Deleted,
    /// A registration was staged beside the present one: a change of PIN began.
    Staged,
    /// A staged registration became the present one.
    Activated,
    /// Something that this version does not know.
    Other(u8),
}

impl Counted {
    /// The variant's name, the same in every client.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registered => "Registered",
            Self::Guess => "Guess",
            Self::LastGuess => "LastGuess",
            Self::Recovered => "Recovered",
            Self::Erased => "Erased",
            Self::Deleted => "Deleted",
            Self::Staged => "Staged",
            Self::Activated => "Activated",
            Self::Other(_) => "Other",
        }
    }
}

impl CountedRequest {
    /// The time in seconds since 1970.
    #[must_use]
    pub fn unix_s(&self) -> Option<u64> {
        Some(self.time?.duration_since(UNIX_EPOCH).ok()?.as_secs())
    }
}

impl From<u8> for Counted {
    fn from(what: u8) -> Self {
        match what {
            1 => Self::Registered,
            2 => Self::Guess,
            3 => Self::LastGuess,
            4 => Self::Recovered,
            5 => Self::Erased,
            6 => Self::Deleted,
            7 => Self::Staged,
            8 => Self::Activated,
            other => Self::Other(other),
        }
    }
}

impl From<&Attempt> for CountedRequest {
    fn from(attempt: &Attempt) -> Self {
        let since = Some(attempt.time).filter(|time| *time > 0).map(Duration::from_secs);
        Self {
            index: attempt.index.0,
            time: since.and_then(|since| UNIX_EPOCH.checked_add(since)),
            what: attempt.what.into(),
            guesses_left: attempt.guesses_left,
        }
    }
}

/// The requests that a list names, the oldest first: at most 15.
#[must_use]
pub fn counted_requests(list: &AttemptsResponse) -> Vec<CountedRequest> {
    list.newest.iter().map(CountedRequest::from).collect()
}

impl AttemptList {
    /// The registration; zeros if the realm remembers none.
    #[must_use]
    pub const fn version(&self) -> RegistrationVersion {
        self.said.version
    }

    /// Whether it is of the registration that this client last made, or opened with the right PIN: `None` as long as it did neither. A
    /// host could show the list of another record, so nothing follows for the user from one that is not `Some(true)`. It compares names
    /// of registrations, which are no secret: a host can give a record of its own the same name. Such a list does not go on from an
    /// earlier one of the right record: see [`Self::follows`].
    #[must_use]
    pub const fn is_yours(&self) -> Option<bool> {
        self.is_yours
    }

    /// How many requests counted, the registration included.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.said.count
    }

    /// The newest of them, the oldest first: at most 15. Those before are in the count and the chain, and in lists that were kept:
    /// see [`Self::history`].
    #[must_use]
    pub fn newest(&self) -> Vec<CountedRequest> {
        counted_requests(&self.said)
    }

    /// How many guesses were left after the newest one that was not about beginning to change the PIN, which says how many the new
    /// registration has; `None` if none is named.
    #[must_use]
    pub fn guesses_left(&self) -> Option<u8> {
        let staged = |request: &&Attempt| Counted::from(request.what) != Counted::Staged;
        self.said.newest.iter().rev().find(staged).map(|newest| newest.guesses_left)
    }

    /// The group of HSMs that has the record.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.said.group
    }

    /// The list as the realm signed it.
    #[must_use]
    pub const fn as_signed(&self) -> &AttemptsResponse {
        &self.said
    }

    /// How it stands to an earlier list of the same record: nothing is missing between them if it is [`Standing::Whole`].
    #[must_use]
    pub fn follows(&self, earlier: &AttemptsResponse) -> Standing {
        standing(&self.said, earlier)
    }

    /// All requests that counted, one by one, as far as this list and earlier ones of the same record name them, such as those of
    /// receipts that were kept; earlier lists of other registrations are left out. With [`History::unnamed`] at 0 it is complete.
    ///
    /// # Errors
    /// [`Broken`] if the realm has said what does not fit together.
    pub fn history<'a>(
        &'a self,
        earlier: impl IntoIterator<Item = &'a AttemptsResponse>,
    ) -> Result<History, Broken> {
        History::join(&self.said, earlier)
    }
}

impl Attempts {
    /// Whether all realms that have a list name the same registration. One that missed the last registration does not.
    #[must_use]
    pub fn agree(&self) -> bool {
        let mut versions = self.lists().map(|(_, list)| list.version());
        let first = versions.next();
        versions.all(|version| Some(version) == first)
    }

    /// How each list stands to the same realm's earlier one, for realms that have both.
    #[must_use]
    pub fn follows(&self, earlier: &Self) -> Vec<(RealmId, Standing)> {
        let before = |realm| earlier.lists().find(|(other, _)| *other == realm);
        let both = self.lists().filter_map(|(realm, list)| Some((realm, list, before(realm)?.1)));
        both.map(|(realm, list, earlier)| (realm, list.follows(&earlier.said))).collect()
    }

    fn lists(&self) -> impl Iterator<Item = (RealmId, &AttemptList)> {
        self.realms.iter().filter_map(|told| Some((told.realm, told.list.as_ref().ok()?)))
    }
}

/// The receipt of one realm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RealmReceipt {
    /// The realm.
    pub realm: RealmId,
    /// The receipt, which verifies with the statement that was given; or why there is none. Its text is that of a `.tlog-proof` file.
    pub receipt: Result<ClaimedReceipt, ReceiptFailure>,
}

impl Client {
    /// Asks every realm of the current configuration which requests on this user's record counted. Costs no guess, and changes nothing.
    /// A realm that does not know the question ends the session over it, so do not ask in passing.
    pub async fn attempts(&self) -> Attempts {
        self.report(Progress::Attempts);
        let members = || self.configuration.members();
        // What a software realm says nobody signs.
        let (hardware, software): (Vec<_>, Vec<_>) =
            members().partition(|member| member.realm.public_key().is_some());
        let questions = hardware.into_iter().map(|member| (member, SecretsRequest::Attempts)).collect();
        let read = |_, response| match response {
            SecretsResponse::Attempts(said) => Ok(*said),
            _ => Err(Cause::Assertion("it answered another request than Attempts")),
        };
        let told = self.link.ask_all(&self.turn(), questions, |_| false, read).await;
        let opened = *self.opened.lock();
        let list = |said: AttemptsResponse| {
            let is_yours = opened.map(|opened| opened == said.version);
            Ok(AttemptList { said, is_yours })
        };
        let answers = told.answers.into_iter().map(|(member, said)| (member.realm.id(), list(said)));
        let causes = told.causes.into_iter().map(|error| (error.realm, Err(unless_unknown(error.cause))));
        let unsupported = software.iter().map(|member| (member.realm.id(), Err(Cause::Unsupported)));
        let all = answers.chain(causes).chain(unsupported);
        let mut realms: Vec<_> = all.map(|(realm, list)| RealmAttempts { realm, list }).collect();
        realms.sort_by_key(|told| told.realm);
        Attempts { realms }
    }

    /// Makes a receipt of each list, with what the realm publishes of its log: for each realm that has a list, in order. A checkpoint that
    /// covers the list and has as many cosignatures as the realm's statement asks for may take minutes to come: this waits for as long
    /// as `patience`, and for the answer that is under way then.
    pub async fn receipts(
        &self,
        attempts: &Attempts,
        statements: &[RealmStatement],
        patience: Duration,
    ) -> Vec<RealmReceipt> {
        self.report(Progress::Receipts);
        let receipts = attempts.lists().map(|(id, list)| async move {
            let statement = statements.iter().find(|statement| statement.realm == id);
            let realm = self.configuration.realms().iter().find(|realm| realm.id() == id);
            let receipt = match (realm, statement) {
                (Some(realm), Some(statement)) => {
                    self.link.receipt(realm, statement, &list.said, patience).await
                }
                _ => Err(ReceiptFailure::NoStatement),
            };
            RealmReceipt { realm: id, receipt }
        });
        futures::future::join_all(receipts).await
    }

    /// Remembers whose list is the user's.
    pub(crate) fn remember_opened(&self, version: Option<RegistrationVersion>) {
        *self.opened.lock() = version;
    }
}

/// A realm that cannot read the question does not know it: there is nothing else in it to be read.
fn unless_unknown(cause: Cause) -> Cause {
    match cause {
        Cause::Assertion(UNREADABLE) => Cause::Unsupported,
        other => other,
    }
}
