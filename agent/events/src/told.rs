//! Events as a tenant reads them: opened with its secret, of an entry that an HSM found committed.

use crate::tenant::Tenant;
use strongroom_proto::events::SealedEvents;
use strongroom_proto::hash::{hash, label};
use strongroom_proto::ids::{GroupId, Index, RealmId};
use xaes_256_gcm::aead::{Aead, KeyInit, Payload};
use xaes_256_gcm::{Nonce, Xaes256Gcm};
use zeroize::Zeroizing;

/// The version of what is sealed.
const VERSION: u8 = 2;
/// Each event ends at a multiple of this many bytes.
const STEP: usize = 32;
/// What comes before a user's name: entry, place, what, guesses left, time, length of the name.
const HEAD: usize = 13;

/// What happened to a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum What {
    /// Nothing: a request that was refused, or sent once more.
    Nothing = 0,
    /// The user registered.
    Registered = 1,
    /// A guess was used.
    GuessUsed = 2,
    /// The last guess was used.
    LastGuessUsed = 3,
    /// The PIN was right: the secret was recovered, and all guesses are there again.
    Recovered = 4,
    /// The last guess was wrong: the secret is gone.
    Erased = 5,
    /// The user deleted the registration.
    Deleted = 6,
    /// The user put a registration beside the present one, with guesses of its own.
    Staged = 7,
    /// The user made that the present one, or dropped it.
    Activated = 8,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Registered,
        Self::GuessUsed,
        Self::LastGuessUsed,
        Self::Recovered,
        Self::Erased,
        Self::Deleted,
        Self::Staged,
        Self::Activated,
    ];

    /// Its name in JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Registered => "registered",
            Self::GuessUsed => "guess used",
            Self::LastGuessUsed => "last guess used",
            Self::Recovered => "recovered",
            Self::Erased => "erased",
            Self::Deleted => "deleted",
            Self::Staged => "staged",
            Self::Activated => "activated",
        }
    }
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The how manieth entry after the one that it is told with, that itself being 0.
    pub after: u8,
    /// The how manieth of its entry it is, from 0 on. With the entry's group and index, this is its position, which no other has.
    pub place: u8,
    /// What happened.
    pub what: What,
    /// How many guesses the user has left.
    pub guesses_left: u8,
    /// When the agent saw the request, in milliseconds since 1970: its word alone.
    pub time: u64,
    /// The user, as the tenant names them.
    pub user: String,
}

/// Why sealed events cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Untellable {
    /// No HSM of the realm signed them for this tenant, as those of this entry.
    #[error(
        "no HSM of the realm signed the events, for this tenant and of this entry; check the realm, its checkpoint key and the tenant's name and key. If \
             they are right, somebody has put there what never happened, or changed it: tell the operator"
    )]
    Unsigned,
    /// They do not open with this key, for this entry.
    #[error(
        "the events were not sealed to this key, or not of this entry, or they were changed; check the key and the realm"
    )]
    Sealed,
    /// They are of another version.
    #[error("the events are of a version that this build does not read; install a later one")]
    Version,
}

/// Opens the events of an entry.
///
/// # Errors
/// [`Untellable`].
pub fn open(
    tenant: &Tenant,
    realm: &RealmId,
    (group, index): (&GroupId, Index),
    sealed: &SealedEvents,
) -> Result<Vec<Told>, Untellable> {
    if !tenant.believes(realm, (group, index), sealed) {
        return Err(Untellable::Unsigned);
    }
    let shared = tenant.secret().shared(&sealed.ephemeral).ok_or(Untellable::Sealed)?;
    let fields: [&[u8]; 3] = [shared.as_bytes(), &sealed.ephemeral.0, &tenant.public().0];
    let key = Zeroizing::new(hash(label::TENANT_EVENTS, &fields).0);
    let context = [&realm.0[..], &group.0, &index.0.to_be_bytes()].concat();
    let (nonce, ciphertext) = sealed.sealed.split_first_chunk::<24>().ok_or(Untellable::Sealed)?;
    let payload = Payload { msg: ciphertext, aad: &context };
    let told = Xaes256Gcm::new(&(*key).into()).decrypt(&Nonce::from(*nonce), payload);
    parse(&told.map_err(|_| Untellable::Sealed)?).ok_or(Untellable::Version)
}

fn parse(bytes: &[u8]) -> Option<Vec<Told>> {
    let (version, _) = bytes.split_first()?;
    let (mut at, mut all) = (1, Vec::<Told>::new());
    while at < bytes.len() {
        let head = bytes.get(at..at.checked_add(HEAD)?)?;
        let [after, place, what, guesses_left, time @ .., length] = head else { return None };
        let name = at + HEAD..at + HEAD + usize::from(*length);
        let user = String::from_utf8(bytes.get(name.clone())?.to_vec()).ok()?;
        let end = name.end.next_multiple_of(STEP);
        let zeros = bytes.get(name.end..end)?.iter().all(|byte| *byte == 0);
        let what = What::ALL.into_iter().find(|known| *known as u8 == *what)?;
        let later = all.last().is_none_or(|before| (before.after, before.place) < (*after, *place));
        if !zeros || !later {
            return None;
        }
        let time = u64::from_be_bytes(time.try_into().ok()?);
        all.push(Told { after: *after, place: *place, what, guesses_left: *guesses_left, time, user });
        at = end;
    }
    (*version == VERSION).then_some(all)
}
