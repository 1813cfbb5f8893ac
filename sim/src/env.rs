//! The environment of a simulated HSM: flash in memory, and randomness from a seed.

use crate::board::Entropy;
use rand::rngs::StdRng;
use rand::{CryptoRng, TryCryptoRng, TryRng};
use std::convert::Infallible;
use strongroom_hsm::{Drbg, Env, Flash, FlashError, Geometry, MemoryFlash};

/// The flash of every simulated HSM.
pub(crate) const GEOMETRY: Geometry = Geometry { units: 4, unit_bytes: 1 << 14, write_bytes: 8 };

/// See the module.
pub(crate) struct SeededEnv<F, R = StdRng> {
    pub(crate) flash: F,
    pub(crate) rng: R,
}

impl<F: Flash, R: CryptoRng> Env for SeededEnv<F, R> {
    type Flash = F;
    type Rng = R;

    fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    fn rng(&mut self) -> &mut R {
        &mut self.rng
    }

    fn show(&mut self, _: std::fmt::Arguments<'_>) {}
}

/// The randomness of an HSM that a board may be asked to repeat, or of one that it is not.
pub(crate) enum Randomness {
    /// From a seed.
    Seeded(Box<StdRng>),
    /// As a board makes it, from what its entropy device gives.
    Generated(Drbg<Entropy>),
}

impl TryRng for Randomness {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        match self {
            Self::Seeded(rng) => rng.try_next_u32(),
            Self::Generated(rng) => rng.try_next_u32(),
        }
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        match self {
            Self::Seeded(rng) => rng.try_next_u64(),
            Self::Generated(rng) => rng.try_next_u64(),
        }
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        match self {
            Self::Seeded(rng) => rng.try_fill_bytes(out),
            Self::Generated(rng) => rng.try_fill_bytes(out),
        }
    }
}

impl TryCryptoRng for Randomness {}

/// Flash that loses power after so many granules.
pub(crate) struct CutFlash {
    pub(crate) inner: MemoryFlash,
    /// Granules that are still programmed; after that nothing is, until a restart.
    pub(crate) left: Option<u32>,
}

impl CutFlash {
    pub(crate) fn new() -> Self {
        Self { inner: MemoryFlash::new(GEOMETRY), left: None }
    }

    /// Whether the power is gone.
    pub(crate) fn is_dead(&self) -> bool {
        self.left == Some(0)
    }

    const fn spend(&mut self) -> bool {
        match &mut self.left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

impl Flash for CutFlash {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        self.inner.read(unit, offset, out)
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        if self.left.is_none() {
            return self.inner.program(unit, offset, bytes);
        }
        let mut at = offset;
        for granule in bytes.chunks(GEOMETRY.write_bytes as usize) {
            if !self.spend() {
                return Err(FlashError::Program);
            }
            self.inner.program(unit, at, granule)?;
            at += GEOMETRY.write_bytes;
        }
        Ok(())
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        if self.spend() { self.inner.erase(unit) } else { Err(FlashError::Erase) }
    }
}
