//! Test only: what a test needs to run published vectors through the core. Behind the feature `vectors`.

use crate::bug::Bug;
use crate::core::Core;
use crate::process::event_context;
use crate::record::{Owner, Public, Record, RecordState};
use crate::seal;
use alloc::vec::Vec;
use rand_core::CryptoRng;
use strongroom_proto::ids::{GroupId, RealmId, RecordId};
use strongroom_proto::noise::StaticKey;

/// A record as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Revealed {
    /// No registration.
    NotRegistered,
    /// A registration, with secrets.
    Registered {
        /// Its version.
        version: [u8; 16],
        /// Charged guesses.
        guess_count: u8,
        /// Allowed guesses.
        num_guesses: u8,
        /// Private key, tag, share, encrypted secret, commitment, one after the other.
        secrets: Vec<u8>,
    },
    /// A registration whose last guess is charged; the plaintext of the whole record.
    LastGuess(Vec<u8>),
    /// Nothing left.
    NoGuesses,
}

impl Core {
    /// Gives the realm an id and a Noise key of the test's choosing, and proofs nonces that are what was drawn, in RAM only.
    pub fn impersonate(&mut self, realm: RealmId, noise_secret: &[u8; 32]) {
        self.bugs.plant(Bug::NonceAsDrawn);
        if let Some(keys) = &mut self.keys {
            keys.realm = realm;
            keys.noise = StaticKey::from_secret(noise_secret);
        }
        if let Some(state) = &mut self.state.realm {
            state.id = realm;
        }
    }

    /// Gives the realm another id, in RAM only; its keys stay.
    pub fn rename(&mut self, realm: RealmId) {
        if let Some(keys) = &mut self.keys {
            keys.realm = realm;
        }
    }

    /// Opens a sealed event as one of this group.
    #[must_use]
    pub fn event(&self, group: &GroupId, sealed: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.as_ref()?;
        seal::unseal(&keys.events, &event_context(keys, group, self.bugs), sealed).ok().map(|e| e.to_vec())
    }

    /// Whether the tag unwraps what a sealed record holds after its last guess, as if it were of this realm, record and version.
    #[must_use]
    pub fn unwraps(
        &self,
        record: &RecordId,
        sealed: &[u8],
        tag: &[u8; 16],
        (realm, owner, version): (&RealmId, &RecordId, &[u8; 16]),
    ) -> Option<bool> {
        match Record::unseal(self.keys.as_ref()?, record, sealed, self.bugs).ok()?.state {
            RecordState::LastGuess(mut last) => {
                last.public.version = (*version).into();
                Some(last.unwrap(tag, Owner { realm, record: owner, bugs: self.bugs }).is_some())
            }
            _ => None,
        }
    }

    /// Opens a sealed record, as far as its plaintext.
    #[must_use]
    pub fn plaintext(&self, record: &RecordId, sealed: &[u8]) -> Option<Vec<u8>> {
        Record::plaintext(self.keys.as_ref()?, record, sealed, self.bugs).ok().map(|p| p.to_vec())
    }

    /// Seals any plaintext as that of a record.
    #[must_use]
    pub fn seal_plaintext(
        &self,
        record: &RecordId,
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Option<Vec<u8>> {
        Some(Record::seal_plaintext(self.keys.as_ref()?, record, plaintext, self.bugs, rng))
    }

    /// Opens a sealed record.
    #[must_use]
    pub fn reveal(&self, record: &RecordId, sealed: &[u8]) -> Option<Revealed> {
        let record = Record::unseal(self.keys.as_ref()?, record, sealed, self.bugs).ok()?;
        Some(match &record.state {
            RecordState::NotRegistered => Revealed::NotRegistered,
            RecordState::NoGuesses => Revealed::NoGuesses,
            RecordState::LastGuess(_) => Revealed::LastGuess(minicbor::to_vec(&record).ok()?),
            RecordState::Registered(r) => {
                let Public { version, guess_count, num_guesses, .. } = &r.public;
                let s = &r.secrets;
                let secrets = [
                    &s.oprf_private_key[..],
                    &s.unlock_key_tag[..],
                    &s.encryption_key_scalar_share[..],
                    &s.encrypted_secret[..],
                    &s.encrypted_secret_commitment[..],
                ];
                let (guess_count, num_guesses) = (*guess_count, *num_guesses);
                Revealed::Registered {
                    version: **version,
                    guess_count,
                    num_guesses,
                    secrets: secrets.concat(),
                }
            }
        })
    }
}
