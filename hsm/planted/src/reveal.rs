//! What no HSM does: to show what is in a sealed record, and to take keys of a test's choosing. Tests look at what an HSM has
//! sealed through a copy of the core over a copy of its NVRAM, and run published vectors on one.

use crate::PlantedCore;
use crate::copy::process::event_context;
use crate::copy::record::{Owner, Public, Record, RecordState};
use crate::copy::seal;
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

impl PlantedCore {
    /// Gives the realm an id and a Noise key of the test's choosing, in RAM only. For vectors, whose proofs' nonces are draws,
    /// [`Bug::NonceAsDrawn`](crate::Bug::NonceAsDrawn) is to be planted too.
    pub fn impersonate(&mut self, realm: RealmId, noise_secret: &[u8; 32]) {
        if let Some(keys) = &mut self.core.keys {
            keys.realm = realm;
            keys.noise = StaticKey::from_secret(noise_secret);
        }
        if let Some(state) = &mut self.core.state.realm {
            state.id = realm;
        }
    }

    /// Gives the realm another id, in RAM only; its keys stay.
    pub fn rename(&mut self, realm: RealmId) {
        if let Some(keys) = &mut self.core.keys {
            keys.realm = realm;
        }
    }

    /// Opens a sealed event as one of this group.
    #[must_use]
    pub fn event(&self, group: &GroupId, sealed: &[u8]) -> Option<Vec<u8>> {
        let keys = self.core.keys.as_ref()?;
        let context = self.bugs.planted(|| event_context(keys, group));
        seal::unseal(&keys.events, &context, sealed).ok().map(|e| e.to_vec())
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
        match self.unseal(record, sealed)?.state {
            RecordState::LastGuess(mut last) => {
                last.public.version = (*version).into();
                self.bugs.planted(|| Some(last.unwrap(tag, Owner { realm, record: owner }).is_some()))
            }
            _ => None,
        }
    }

    /// Opens a sealed record, as far as its plaintext.
    #[must_use]
    pub fn plaintext(&self, record: &RecordId, sealed: &[u8]) -> Option<Vec<u8>> {
        let keys = self.core.keys.as_ref()?;
        self.bugs.planted(|| Record::plaintext(keys, record, sealed)).ok().map(|p| p.to_vec())
    }

    /// Seals any plaintext as that of a record.
    #[must_use]
    pub fn seal_plaintext(
        &self,
        record: &RecordId,
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Option<Vec<u8>> {
        let keys = self.core.keys.as_ref()?;
        Some(self.bugs.planted(|| Record::seal_plaintext(keys, record, plaintext, rng)))
    }

    /// Opens a sealed record.
    #[must_use]
    pub fn reveal(&self, record: &RecordId, sealed: &[u8]) -> Option<Revealed> {
        let record = self.unseal(record, sealed)?;
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

    fn unseal(&self, record: &RecordId, sealed: &[u8]) -> Option<Record> {
        let keys = self.core.keys.as_ref()?;
        self.bugs.planted(|| Record::unseal(keys, record, sealed)).ok()
    }
}
