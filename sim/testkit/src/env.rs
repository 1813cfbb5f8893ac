//! The environment of a core under test: any flash, any generator, and a console that the test reads.

use crate::flash::MemoryFlash;
use rand::rngs::StdRng;
use rand::{CryptoRng, Rng, SeedableRng, TryCryptoRng, TryRng};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Arguments;
use strongroom_hsm::{Env, Flash, FlashError, Geometry};
use strongroom_proto::enrolment::Attestation;
use strongroom_proto::ids::Digest;

/// The flash of every simulated HSM.
pub const GEOMETRY: Geometry = Geometry { units: 4, unit_bytes: 1 << 14, write_bytes: 8 };

/// See the module.
pub struct TestEnv<F, R = StdRng> {
    /// The NVRAM.
    pub flash: F,
    /// The randomness.
    pub rng: R,
    /// What the device has shown.
    pub console: Vec<String>,
    /// What the device's vendor attests about any digest, if anything.
    pub vendor: Option<fn(&Digest) -> Attestation>,
}

impl<F, R> TestEnv<F, R> {
    /// A device without a vendor, with this NVRAM and this randomness.
    pub const fn new(flash: F, rng: R) -> Self {
        Self { flash, rng, console: Vec::new(), vendor: None }
    }
}

impl<F: Flash, R: CryptoRng> Env for TestEnv<F, R> {
    type Flash = F;
    type Rng = R;

    fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    fn rng(&mut self) -> &mut R {
        &mut self.rng
    }

    fn show(&mut self, line: Arguments<'_>) {
        self.console.push(line.to_string());
    }

    fn attest(&mut self, digest: &Digest) -> Attestation {
        self.vendor.map_or_else(Attestation::none, |attest| attest(digest))
    }
}

/// A seeded generator that gives scripted draws first, when exactly their length is drawn.
pub struct Scripted {
    /// The scripted draws that are left.
    pub script: VecDeque<Vec<u8>>,
    rng: StdRng,
}

impl Scripted {
    /// A generator without a script yet.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { script: VecDeque::new(), rng: StdRng::seed_from_u64(seed) }
    }
}

impl TryRng for Scripted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.rng.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.rng.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        match self.script.pop_front_if(|next| next.len() == out.len()) {
            Some(draw) => out.copy_from_slice(&draw),
            None => self.rng.fill_bytes(out),
        }
        Ok(())
    }
}

impl TryCryptoRng for Scripted {}

/// Flash that loses power after this many granules.
#[derive(Clone)]
pub struct CutFlash {
    /// What is left of it.
    pub inner: MemoryFlash,
    /// How many more granules are programmed; after that nothing is, until a restart.
    pub left: Option<u32>,
}

impl CutFlash {
    /// With power forever.
    #[must_use]
    pub const fn on(inner: MemoryFlash) -> Self {
        Self { inner, left: None }
    }

    /// An empty one of [`GEOMETRY`].
    #[must_use]
    pub fn new() -> Self {
        Self::on(MemoryFlash::new(GEOMETRY))
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_dead(&self) -> bool {
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

impl Default for CutFlash {
    fn default() -> Self {
        Self::new()
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
        let granule = self.geometry().write_bytes;
        for (at, bytes) in (offset..).step_by(granule as usize).zip(bytes.chunks(granule as usize)) {
            if !self.spend() {
                return Err(FlashError::Program);
            }
            self.inner.program(unit, at, bytes)?;
        }
        Ok(())
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        if self.spend() { self.inner.erase(unit) } else { Err(FlashError::Erase) }
    }
}
