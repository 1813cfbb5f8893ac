//! The keys of a realm. All come from its seed, one per purpose, each under its own label.

use rand_core::CryptoRng;
use strongroom_proto::checkpoint::CheckpointKey;
use strongroom_proto::hash::{label, mac};
use strongroom_proto::hsm::AgentSecret;
use strongroom_proto::ids::{Digest, RealmId, X25519Public};
use strongroom_proto::noise::StaticKey;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What every HSM of a realm shares: 32 random bytes.
// Secret: the realm itself. Leaves only sealed to a device key that custodians approved.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Seed(pub(crate) [u8; 32]);

impl Seed {
    pub(crate) fn draw(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Self([0; 32]);
        rng.fill_bytes(&mut seed.0);
        seed
    }
}

/// Keys derived from the seed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Keys {
    #[zeroize(skip)]
    pub(crate) realm: RealmId,
    /// The Noise static key; wipes itself.
    #[zeroize(skip)]
    pub(crate) noise: StaticKey,
    /// Seals records.
    pub(crate) records: [u8; 32],
    /// Seals events.
    pub(crate) events: [u8; 32],
    /// MACs of entries and statements.
    pub(crate) statements: [u8; 32],
    /// Signs checkpoints; wipes itself.
    #[zeroize(skip)]
    pub(crate) checkpoints: CheckpointKey,
}

impl Keys {
    pub(crate) fn derive(realm: RealmId, seed: &Seed) -> Self {
        let key = |label| Zeroizing::new(derive(seed, &realm, label).0);
        Self {
            realm,
            noise: StaticKey::from_secret(&key(label::KEY_NOISE)),
            records: *key(label::KEY_RECORDS),
            events: *key(label::KEY_EVENTS),
            statements: *key(label::KEY_STATEMENTS),
            checkpoints: CheckpointKey::from_seed(&key(label::KEY_CHECKPOINTS)),
        }
    }

    pub(crate) fn noise_public(&self) -> X25519Public {
        self.noise.public()
    }
}

/// The key with which agents derive record ids. One of the two derived keys that leave.
pub(crate) fn record_id_key(realm: RealmId, seed: &Seed) -> Digest {
    derive(seed, &realm, label::KEY_RECORD_IDS)
}

/// What agents of the realm recognise each other by, one for each epoch, so that it can be changed. The other derived
/// key that leaves: whoever has it can speak as any agent, but learns nothing of what an HSM keeps.
pub(crate) fn agent_secret(realm: RealmId, seed: &Seed, epoch: u32) -> AgentSecret {
    AgentSecret(mac(&seed.0, label::KEY_AGENTS, &[realm.as_bytes(), &epoch.to_be_bytes()]).0.0)
}

fn derive(seed: &Seed, realm: &RealmId, label: &str) -> Digest {
    mac(&seed.0, label, &[realm.as_bytes()]).0
}
