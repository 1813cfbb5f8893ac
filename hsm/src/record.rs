//! One user's record: its states, its one plaintext size, its sealing.
//!
//! A sealed record is a leaf of the tree. Hosts keep it, and may keep every older version forever; an old one is
//! useless because its digest is no longer under a root that this HSM accepts. All plaintexts have one size, so a leaf
//! says nothing about its state. Keeps its part of invariant 9, *gone at zero*: a record without guesses holds no secrets.
//!
//! A plaintext is `version ‖ CBOR ‖ zeros`. Earlier versions were shorter: version 3 had nothing staged, versions 1 and 2 no attempts either.
//! Version 1 had no version byte; it began with the head of an array of two, which is not a version.

use crate::attempts::Attempts;
use crate::exact;
use crate::keys::Keys;
use crate::seal::{self, Unsealable};
use alloc::boxed::Box;
use alloc::vec::Vec;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use strongroom_proto::client::RegistrationVersion;
use strongroom_proto::hash::{hash, label};
use strongroom_proto::ids::{Digest, GroupId, Index, Mac, RealmId, RecordId};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a record before sealing: the longest states, and room to grow.
pub const RECORD_BYTES: usize = 1664;
/// The same in version 3.
const RECORD_BYTES_3: usize = 1024;
/// The same in versions 1 and 2.
const EARLIER_RECORD_BYTES: usize = 768;
/// Bytes of a sealed record.
pub const SEALED_RECORD_BYTES: usize = RECORD_BYTES + seal::OVERHEAD;

/// The version of record that this build writes, and the newest that it reads.
const VERSION: u8 = 4;
/// A record with nothing staged.
const VERSION_3: u8 = 3;
/// A record without its attempts.
const VERSION_2: u8 = 2;
/// What every record of version 1 begins with.
const VERSION_1: u8 = 0x82;

/// A sealed record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadRecord {
    /// No HSM of the realm sealed it as this record.
    Unsealable,
    /// A build of another version sealed it.
    OtherVersion,
}

impl From<Unsealable> for BadRecord {
    fn from(_: Unsealable) -> Self {
        Self::Unsealable
    }
}

/// A record.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Record {
    /// The group and index of the entry that last sealed it.
    #[n(0)]
    pub(crate) changed: Option<Changed>,
    /// The present registration.
    #[n(1)]
    pub(crate) state: RecordState,
    /// None if it was sealed before they were kept, or is not registered.
    #[n(2)]
    pub(crate) attempts: Option<Attempts>,
    /// A registration beside the present one, with guesses of its own. Never one that is not registered.
    #[n(3)]
    pub(crate) staged: Option<RecordState>,
}

/// When a record was last sealed.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Changed {
    #[n(0)]
    pub(crate) group: GroupId,
    #[n(1)]
    pub(crate) index: Index,
}

/// What either place is in: the states of `client-protocol.md` section 12, and the one between the last guess and its outcome.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum RecordState {
    #[n(0)]
    NotRegistered,
    #[n(1)]
    Registered(#[n(0)] Box<Registration>),
    /// The last guess is charged. Only the right unlock key tag brings the secrets back.
    #[n(2)]
    LastGuess(#[n(0)] Box<LastGuess>),
    #[n(3)]
    NoGuesses,
}

impl RecordState {
    /// What the record may show, if anything is registered.
    pub(crate) const fn public(&self) -> Option<&Public> {
        match self {
            Self::Registered(registration) => Some(&registration.public),
            Self::LastGuess(last) => Some(&last.public),
            Self::NotRegistered | Self::NoGuesses => None,
        }
    }

    /// Which registration is in this place, if it may still be guessed at.
    pub(crate) fn version(&self) -> Option<RegistrationVersion> {
        self.public().map(|public| RegistrationVersion(*public.version))
    }

    /// How many guesses are left. None are left of one that is not registered.
    pub(crate) fn guesses_left(&self) -> u8 {
        self.public().map_or(0, |public| public.num_guesses.saturating_sub(public.guess_count))
    }
}

/// What a realm may show to whoever knows the version: nothing here opens anything.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Public {
    #[n(0)]
    pub(crate) version: ByteArray<16>,
    #[n(1)]
    pub(crate) public_key: ByteArray<32>,
    #[n(2)]
    pub(crate) verifying_key: ByteArray<32>,
    #[n(3)]
    pub(crate) signature: ByteArray<64>,
    #[n(4)]
    pub(crate) unlock_key_commitment: ByteArray<32>,
    #[n(5)]
    pub(crate) num_guesses: u8,
    #[n(6)]
    pub(crate) guess_count: u8,
    /// The last charged guess and its answer (invariant 8).
    #[n(7)]
    pub(crate) answer: Option<Answer>,
}

/// A charged guess: the point that was sent, and what was answered.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Answer {
    #[n(0)]
    pub(crate) blinded_input: ByteArray<32>,
    #[n(1)]
    pub(crate) blinded_result: ByteArray<32>,
    #[n(2)]
    pub(crate) proof_c: ByteArray<32>,
    #[n(3)]
    pub(crate) proof_beta_z: ByteArray<32>,
}

/// What a guess attacks.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Secrets {
    #[n(0)]
    pub(crate) oprf_private_key: ByteArray<32>,
    #[n(1)]
    pub(crate) unlock_key_tag: ByteArray<16>,
    #[n(2)]
    pub(crate) encryption_key_scalar_share: ByteArray<32>,
    #[n(3)]
    pub(crate) encrypted_secret: ByteArray<145>,
    #[n(4)]
    pub(crate) encrypted_secret_commitment: ByteArray<16>,
}

impl Secrets {
    /// No secrets, of the same length.
    pub(crate) fn nothing() -> Self {
        Self {
            oprf_private_key: [0; 32].into(),
            unlock_key_tag: [0; 16].into(),
            encryption_key_scalar_share: [0; 32].into(),
            encrypted_secret: [0; 145].into(),
            encrypted_secret_commitment: [0; 16].into(),
        }
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.oprf_private_key.zeroize();
        self.unlock_key_tag.zeroize();
        self.encryption_key_scalar_share.zeroize();
        self.encrypted_secret.zeroize();
        self.encrypted_secret_commitment.zeroize();
    }
}

/// A registration with guesses left.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Registration {
    #[n(0)]
    pub(crate) public: Public,
    #[n(1)]
    pub(crate) secrets: Secrets,
}

/// A registration whose last guess is charged.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct LastGuess {
    #[n(0)]
    pub(crate) public: Public,
    #[n(1)]
    tag_hash: ByteArray<32>,
    /// [`Secrets`], sealed under a key that the unlock key tag gives.
    #[n(2)]
    wrapped: ByteVec,
}

/// Whose record it is; bound into everything sealed.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) realm: &'a RealmId,
    pub(crate) record: &'a RecordId,
}

/// Secrets under a key that their own unlock key tag gives, and a hash to know the tag by.
pub(crate) struct Wrapped {
    tag_hash: ByteArray<32>,
    sealed: ByteVec,
}

impl Wrapped {
    /// Invariant 9: gone at zero. The secrets stay only under a key that the realm does not know.
    pub(crate) fn new(
        secrets: &Secrets,
        version: &[u8; 16],
        owner: Owner<'_>,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let tag = &secrets.unlock_key_tag;
        let tag_hash = owner.labelled(label::LAST_GUESS_TAG, tag, version).0.into();
        let key = Zeroizing::new(owner.labelled(label::LAST_GUESS_KEY, tag, version).0);
        // Secret: room for all of it, so that no shorter copy is left behind by a reallocation.
        let mut plaintext = Zeroizing::new(Vec::with_capacity(RECORD_BYTES));
        let encoded = minicbor::encode(secrets, &mut *plaintext);
        debug_assert!(encoded.is_ok(), "writing to memory cannot fail");
        let sealed = seal::seal(&key, owner.context(), &plaintext, rng).into();
        Self { tag_hash, sealed }
    }
}

impl LastGuess {
    pub(crate) fn new(public: Public, wrapped: Wrapped) -> Self {
        Self { public, tag_hash: wrapped.tag_hash, wrapped: wrapped.sealed }
    }

    /// The registration, if `tag` is its unlock key tag. Takes the same time for every wrong tag.
    pub(crate) fn unwrap(&self, tag: &[u8; 16], owner: Owner<'_>) -> Option<Registration> {
        let expected = owner.labelled(label::LAST_GUESS_TAG, tag, &self.public.version);
        if !bool::from(expected.0.ct_eq(&*self.tag_hash)) {
            return None;
        }
        let key = Zeroizing::new(owner.labelled(label::LAST_GUESS_KEY, tag, &self.public.version).0);
        let plaintext = seal::unseal(&key, owner.context(), &self.wrapped).ok()?;
        let secrets = exact::decode(&plaintext)?;
        Some(Registration { public: self.public.clone(), secrets })
    }
}

impl Owner<'_> {
    /// Associated data of what is wrapped.
    fn context(&self) -> &[u8] {
        self.record.as_bytes()
    }

    fn labelled(&self, label: &str, tag: &[u8; 16], version: &[u8; 16]) -> Digest {
        hash(label, &[tag, self.realm.as_bytes(), self.record.as_bytes(), version])
    }
}

impl Record {
    /// What a record id without a leaf stands for.
    pub(crate) const ABSENT: Self =
        Self { changed: None, state: RecordState::NotRegistered, attempts: None, staged: None };

    /// The place that has this registration; the present one if neither has it, or none is named.
    pub(crate) fn place(&mut self, version: Option<&RegistrationVersion>) -> &mut RecordState {
        match &mut self.staged {
            Some(staged) if version.is_some() && staged.version().as_ref() == version => staged,
            _ => &mut self.state,
        }
    }

    /// The sealed record; `None` if the state is longer than the fixed size of a record, which no state is.
    // Secret: the plaintext is wiped on return.
    pub(crate) fn seal(&self, keys: &Keys, record: &RecordId, rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
        let mut plaintext = Zeroizing::new(Vec::with_capacity(RECORD_BYTES));
        plaintext.push(VERSION);
        minicbor::encode(self, &mut *plaintext).ok().filter(|()| plaintext.len() <= RECORD_BYTES)?;
        plaintext.resize(RECORD_BYTES, 0);
        Some(Self::seal_plaintext(keys, record, &plaintext, rng))
    }

    pub(crate) fn seal_plaintext(
        keys: &Keys,
        record: &RecordId,
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Vec<u8> {
        seal::seal(&keys.records, &context(keys, record), plaintext, rng)
    }

    pub(crate) fn unseal(keys: &Keys, record: &RecordId, sealed: &[u8]) -> Result<Self, BadRecord> {
        let plaintext = Self::plaintext(keys, record, sealed)?;
        Self::from_plaintext(&plaintext)
    }

    fn from_plaintext(plaintext: &[u8]) -> Result<Self, BadRecord> {
        let (encoded, length) = match plaintext {
            [VERSION_1, ..] => (plaintext, EARLIER_RECORD_BYTES),
            [VERSION_2, rest @ ..] => (rest, EARLIER_RECORD_BYTES),
            [VERSION_3, rest @ ..] => (rest, RECORD_BYTES_3),
            [VERSION, rest @ ..] => (rest, RECORD_BYTES),
            _ => return Err(BadRecord::OtherVersion),
        };
        if plaintext.len() != length {
            return Err(BadRecord::Unsealable);
        }
        let (record, padding): (Self, _) = exact::decode_first(encoded).ok_or(BadRecord::Unsealable)?;
        let fits = (record.attempts.is_none() || length > EARLIER_RECORD_BYTES)
            && (record.staged.is_none() || length == RECORD_BYTES);
        let zeros = padding.iter().all(|byte| *byte == 0);
        if zeros && fits { Ok(record) } else { Err(BadRecord::Unsealable) }
    }

    pub(crate) fn plaintext(
        keys: &Keys,
        record: &RecordId,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        seal::unseal(&keys.records, &context(keys, record), sealed)
    }
}

/// Associated data: realm id and record id.
fn context(keys: &Keys, record: &RecordId) -> Vec<u8> {
    let mut context = Vec::with_capacity(48);
    context.extend_from_slice(keys.realm.as_bytes());
    context.extend_from_slice(record.as_bytes());
    context
}

/// Whether `tag` is this registration's unlock key tag, in constant time.
pub(crate) fn tag_matches(secrets: &Secrets, tag: &[u8; 16]) -> bool {
    secrets.unlock_key_tag.ct_eq(tag).into()
}

/// A session's last request, as its digest.
pub(crate) fn request_digest(ciphertext: &[u8]) -> Mac {
    Mac(hash(label::LAST_REQUEST, &[ciphertext]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minicbor::encode::Encode;
    use rand::SeedableRng;
    use strongroom_proto::client::Attempt;

    fn length<T: Encode<()>>(value: &T) -> usize {
        minicbor::to_vec(value).expect("encodes").len()
    }

    #[test]
    fn the_longest_states_fit() {
        let answer = Answer {
            blinded_input: [0xff; 32].into(),
            blinded_result: [0xff; 32].into(),
            proof_c: [0xff; 32].into(),
            proof_beta_z: [0xff; 32].into(),
        };
        let public = Public {
            version: [0xff; 16].into(),
            public_key: [0xff; 32].into(),
            verifying_key: [0xff; 32].into(),
            signature: [0xff; 64].into(),
            unlock_key_commitment: [0xff; 32].into(),
            num_guesses: 255,
            guess_count: 255,
            answer: Some(answer),
        };
        let secrets = Secrets {
            oprf_private_key: [0xff; 32].into(),
            unlock_key_tag: [0xff; 16].into(),
            encryption_key_scalar_share: [0xff; 32].into(),
            encrypted_secret: [0xff; 145].into(),
            encrypted_secret_commitment: [0xff; 16].into(),
        };
        let registration = Registration { public, secrets };
        let owner = Owner { realm: &RealmId([0xff; 16]), record: &RecordId([0xff; 32]) };
        let rng = &mut rand::rngs::StdRng::seed_from_u64(1);
        let wrapped = Wrapped::new(&registration.secrets, &[0xff; 16], owner, rng);
        let last = LastGuess::new(registration.public.clone(), wrapped);
        let changed = Some(Changed { group: GroupId([0xff; 16]), index: Index(u64::MAX) });
        let attempt = Attempt { index: Index(u64::MAX), time: u64::MAX, what: 255, guesses_left: 255 };
        let add = |attempts: Attempts, _| attempts.with(&GroupId([0xff; 16]), attempt);
        let attempts = Some((0..300).fold(Attempts::of([0xff; 16]), add));
        let states =
            [RecordState::Registered(Box::new(registration)), RecordState::LastGuess(Box::new(last))];
        // The count takes six bytes more when it is as large as can be.
        let with = |state: &RecordState, staged: Option<&RecordState>| {
            let (state, staged, attempts) = (state.clone(), staged.cloned(), attempts.clone());
            7 + length(&Record { changed, state, attempts, staged })
        };
        let alone = states.each_ref().map(|state| with(state, None));
        let both = states.each_ref().map(|state| with(state, Some(state)));
        assert_eq!((alone, both), ([913, 990], [1494, 1648]), "grew or shrank; the bound is {RECORD_BYTES}");
        assert!(both.iter().all(|l| *l <= RECORD_BYTES));
    }

    fn plaintext(version: &[u8], record: &Record) -> Vec<u8> {
        let mut plaintext = version.to_vec();
        plaintext.extend(minicbor::to_vec(record).expect("encodes"));
        let length = match version {
            [VERSION] => RECORD_BYTES,
            [VERSION_3] => RECORD_BYTES_3,
            _ => EARLIER_RECORD_BYTES,
        };
        plaintext.resize(length, 0);
        plaintext
    }

    fn some_record() -> Record {
        let changed = Some(Changed { group: GroupId([1; 16]), index: Index(2) });
        Record { changed, state: RecordState::NoGuesses, attempts: None, staged: None }
    }

    #[test]
    fn a_record_of_an_earlier_version_has_nothing_that_came_later() {
        let (attempts, staged) = (Some(Attempts::of([7; 16])), Some(RecordState::NoGuesses));
        let reads = |version: &[u8], record: &Record| {
            let read = Record::from_plaintext(&plaintext(version, record));
            assert!(read.is_err() || read.as_ref() == Ok(record));
            read.is_ok()
        };
        let versions: [&[u8]; 4] = [&[], &[VERSION_2], &[VERSION_3], &[VERSION]];
        for (record, read) in [
            (some_record(), [true; 4]),
            (Record { attempts: attempts.clone(), ..some_record() }, [false, false, true, true]),
            (Record { staged: staged.clone(), ..some_record() }, [false, false, false, true]),
            (Record { attempts, staged, ..some_record() }, [false, false, false, true]),
        ] {
            assert_eq!(versions.map(|version| reads(version, &record)), read);
        }
    }

    #[test]
    fn a_record_of_this_version_and_of_earlier_ones_is_read_and_no_other() {
        for version in 0..=255 {
            let read = Record::from_plaintext(&plaintext(&[version], &some_record()));
            match version {
                VERSION | VERSION_3 | VERSION_2 => assert!(read == Ok(some_record())),
                // Version 1 is told by what it begins with.
                VERSION_1 => assert!(read == Err(BadRecord::Unsealable)),
                _ => assert!(read == Err(BadRecord::OtherVersion), "version {version}"),
            }
        }
        let old = plaintext(&[], &some_record());
        assert_eq!(old[0], VERSION_1);
        assert!(Record::from_plaintext(&old) == Ok(some_record()));
    }

    #[test]
    fn a_record_with_anything_but_zeros_behind_it_or_of_another_length_is_refused() {
        for version in [&[VERSION][..], &[VERSION_3], &[VERSION_2], &[]] {
            let whole = plaintext(version, &some_record());
            let end = whole.iter().rposition(|byte| *byte != 0).expect("not empty") + 1;
            for at in end..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] = 1;
                assert!(Record::from_plaintext(&bytes) == Err(BadRecord::Unsealable), "{at}");
            }
            let all = [EARLIER_RECORD_BYTES, RECORD_BYTES_3, RECORD_BYTES];
            let others = all.into_iter().filter(|len| *len != whole.len());
            for len in [1, whole.len() - 1, whole.len() + 1].into_iter().chain(others) {
                let mut bytes = whole.clone();
                bytes.resize(len, 0);
                assert!(Record::from_plaintext(&bytes) == Err(BadRecord::Unsealable), "{len}");
            }
        }
    }

    #[test]
    fn builds_of_version_1_do_not_take_a_record_of_this_version_for_their_own() {
        assert!(minicbor::decode::<Record>(&plaintext(&[VERSION], &some_record())).is_err());
    }
}
