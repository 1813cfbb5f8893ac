//! The curve arithmetic that a leader's core does in one recovery, alone: to tell its share of what the core takes.
//!
//! A handshake makes a key pair and agrees twice. A Recover2 decodes an element, and evaluates it with a proof; that is
//! called as the core calls it, so it has its two hashes in it. No other step does any.

use crate::Error;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::hint::black_box;
use strongroom_client_crypto::oprf::blind;
use strongroom_proto::oprf::{BlindedInput, PrivateKey, PublicKey, evaluate};
use x25519_dalek::{PublicKey as X25519, StaticSecret};

/// Keys and an element to work on. All of it takes the same time whatever they are.
pub(super) struct Curve {
    realm: StaticSecret,
    client: X25519,
    key: PrivateKey,
    public_key: PublicKey,
    element: [u8; 32],
    rng: StdRng,
}

impl Curve {
    pub(super) fn new(seed: u64) -> Result<Self, Error> {
        let mut rng = StdRng::seed_from_u64(seed);
        let realm = StaticSecret::random_from_rng(&mut rng);
        let client = X25519::from(&StaticSecret::random_from_rng(&mut rng));
        let mut scalar: [u8; 32] = rng.random();
        // Below the group's order.
        scalar[31] &= 0x0f;
        let key = PrivateKey::from_bytes(&scalar)?;
        let (public_key, element) = (key.public_key(), *blind(b"pin", &mut rng).1.as_bytes());
        Ok(Self { realm, client, key, public_key, element, rng })
    }

    /// That of one handshake.
    pub(super) fn handshake(&mut self) {
        black_box(self.realm.diffie_hellman(black_box(&self.client)));
        let ephemeral = StaticSecret::random_from_rng(&mut self.rng);
        black_box(X25519::from(black_box(&ephemeral)));
        black_box(ephemeral.diffie_hellman(black_box(&self.client)));
    }

    /// That of one Recover2.
    pub(super) fn recover2(&mut self) {
        let input = BlindedInput::from_bytes(black_box(&self.element));
        black_box(input.map(|input| evaluate(&self.key, &self.public_key, &input, &mut self.rng))).ok();
    }
}
