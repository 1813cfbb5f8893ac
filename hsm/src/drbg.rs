//! The generator between a raw entropy source and the core: seeded, health-tested, reseeded, erasing its past.
//!
//! Trusts its source as far as [`crate::entropy`] says. A block of output is `PRF(key, counter)`, and after every draw
//! the key is replaced by another output of the same function, so whoever reads it later learns nothing of what was
//! drawn before. The PRF is the protocol's MAC, keyed BLAKE2s-256. The source's samples are conditioned by the
//! protocol's hash, together with the old key, so that a source that fails unnoticed does not undo what the key had.
//!
//! Why no library: the generator of `chacha20` is seeded once and does not erase its past; what reseeds one, in `rand`,
//! is that crate's own and needs an operating system. Around either, as much code would have to be written as is here,
//! where the PRF is one that the core trusts already. Tests pin what it draws.
//!
//! This is not a mechanism of SP 800-90A. A board that needs a certified one implements `CryptoRng` with that instead.

use crate::entropy::{EntropyError, EntropySource, HealthTests};
use core::convert::Infallible;
use rand_core::{TryCryptoRng, TryRng};
use strongroom_proto::hash::{hash, label, mac};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of raw samples for one seed. At the claimed 4 bits a byte that is 512 bits, twice the key.
pub const SEED_BYTES: usize = 128;
/// Bytes of raw samples that are tested and thrown away at start (SP 800-90B section 4.3 asks for 1024).
pub const START_UP_BYTES: usize = 1024;
/// Draws between two reseedings.
pub const DRAWS_PER_SEED: u32 = 1024;

/// A generator over an entropy source.
pub struct Drbg<S> {
    source: S,
    tests: HealthTests,
    key: Zeroizing<[u8; 32]>,
    draws: u32,
}

impl<S: EntropySource> Drbg<S> {
    /// Tests the source and takes the first seed from it.
    ///
    /// # Errors
    /// There is no source, or it fails its tests. The device must not serve.
    pub fn start(source: S) -> Result<Self, EntropyError> {
        let mut drbg = Self { source, tests: HealthTests::new(), key: Zeroizing::new([0; 32]), draws: 0 };
        for _ in 0..START_UP_BYTES / SEED_BYTES {
            drbg.sample()?;
        }
        drbg.reseed()?;
        Ok(drbg)
    }

    fn sample(&mut self) -> Result<Zeroizing<[u8; SEED_BYTES]>, EntropyError> {
        let mut samples = Zeroizing::new([0; SEED_BYTES]);
        self.source.fill(&mut *samples)?;
        self.tests.take(&*samples)?;
        Ok(samples)
    }

    fn reseed(&mut self) -> Result<(), EntropyError> {
        let samples = self.sample()?;
        let mut seed = hash(label::DRBG_SEED, &[&*self.key, &*samples]);
        // Secret: the new key; the copy that the hash returned is wiped.
        self.key.copy_from_slice(&seed.0);
        seed.0.zeroize();
        self.draws = 0;
        Ok(())
    }

    fn draw(&mut self, out: &mut [u8]) {
        self.draws = self.draws.saturating_add(1);
        for (counter, chunk) in (1_u64..).zip(out.chunks_mut(32)) {
            let mut block = mac(&self.key, label::DRBG, &[&counter.to_be_bytes()]).0;
            chunk.iter_mut().zip(block.0).for_each(|(out, byte)| *out = byte);
            block.0.zeroize();
        }
        let mut next = mac(&self.key, label::DRBG, &[&0_u64.to_be_bytes()]).0;
        self.key.copy_from_slice(&next.0);
        next.0.zeroize();
    }
}

impl<S: EntropySource> TryRng for Drbg<S> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// # Panics
    /// If the source fails when it is time for a new seed. No entropy, no service: the device halts, and wipes itself.
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        if self.draws >= DRAWS_PER_SEED {
            #[expect(
                clippy::panic,
                reason = "no input brings this about; a device without entropy must stop"
            )]
            self.reseed().unwrap_or_else(|error| panic!("{error}"));
        }
        self.draw(out);
        Ok(())
    }
}

impl<S: EntropySource> TryCryptoRng for Drbg<S> {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    extern crate std;

    /// Random bytes for the first `good` of them; then it is stuck.
    struct Source {
        rng: StdRng,
        good: usize,
    }

    impl EntropySource for Source {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
            self.rng.fill_bytes(out);
            let good = self.good.min(out.len());
            self.good -= good;
            out[good..].fill(0x5a);
            Ok(())
        }
    }

    fn drbg(seed: u64) -> Drbg<Source> {
        Drbg::start(Source { rng: StdRng::seed_from_u64(seed), good: usize::MAX }).expect("a good source")
    }

    fn bytes(drbg: &mut Drbg<Source>, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        drbg.fill_bytes(&mut out);
        out
    }

    #[test]
    fn equal_entropy_gives_equal_bytes_and_other_entropy_others() {
        let (mut a, mut b, mut c) = (drbg(1), drbg(1), drbg(2));
        let first = bytes(&mut a, 100);
        assert_eq!(first, bytes(&mut b, 100));
        assert_ne!(first, bytes(&mut c, 100));
        assert_ne!(first, bytes(&mut a, 100), "and never the same again");
    }

    #[test]
    fn the_key_changes_with_every_draw_and_a_new_seed_keeps_what_the_old_one_had() {
        let mut drbg = drbg(3);
        let before = *drbg.key;
        bytes(&mut drbg, 1);
        let after = *drbg.key;
        assert_ne!(before, after);
        // Two generators with the same samples to come but different keys stay different.
        let mut other = self::drbg(4);
        drbg.source.rng = StdRng::seed_from_u64(9);
        other.source.rng = StdRng::seed_from_u64(9);
        drbg.reseed().expect("a good source");
        other.reseed().expect("a good source");
        assert_ne!(*drbg.key, *other.key);
    }

    #[test]
    fn a_stuck_source_gives_no_generator() {
        for good in [0, 500, START_UP_BYTES] {
            let stuck = Drbg::start(Source { rng: StdRng::seed_from_u64(5), good });
            assert_eq!(stuck.err(), Some(EntropyError::Repetition));
        }
    }

    #[test]
    fn a_source_that_fails_later_stops_the_device_at_the_next_seed() {
        let good = START_UP_BYTES + SEED_BYTES;
        let mut drbg = Drbg::start(Source { rng: StdRng::seed_from_u64(6), good }).expect("good so far");
        for _ in 0..DRAWS_PER_SEED {
            bytes(&mut drbg, 16);
        }
        assert!(catch_unwind(AssertUnwindSafe(|| bytes(&mut drbg, 16))).is_err());
    }
}
