//! What went over the link of one HSM, from its first boot on: enough to have another HSM do the same.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng, TryCryptoRng, TryRng};
use std::convert::Infallible;
use std::sync::Arc;
use strongroom_hsm::{Drbg, EntropyError, EntropySource};

/// How much entropy a boot has: for the start-up tests and more seeds than any tape needs.
const ENTROPY_BYTES: usize = 16 << 10;

/// Something that happened to an HSM.
#[derive(Clone)]
pub enum Event {
    /// It started from its NVRAM, and its entropy device gave these bytes.
    Boot(Arc<[u8]>),
    /// It was asked, and answered.
    Exchange {
        /// The request.
        request: Vec<u8>,
        /// The reply.
        reply: Vec<u8>,
    },
}

/// All of it, in order.
#[derive(Clone)]
pub struct Tape {
    seed: u64,
    boots: u64,
    events: Vec<Event>,
    /// What happened next cannot be repeated, so nothing more is recorded.
    ended: bool,
}

impl Tape {
    /// A tape of an HSM whose entropy is made from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, boots: 0, events: Vec::new(), ended: false }
    }

    /// Records a boot. Returns its entropy, which is different each time.
    pub fn boot(&mut self) -> Entropy {
        let bytes = entropy(self.seed, self.boots);
        self.boots += 1;
        if !self.ended {
            self.events.push(Event::Boot(bytes.clone()));
        }
        Entropy { bytes, at: 0 }
    }

    /// Records an exchange.
    pub fn exchange(&mut self, request: &[u8], reply: &[u8]) {
        if !self.ended {
            self.events.push(Event::Exchange { request: request.into(), reply: reply.into() });
        }
    }

    /// From now on, records nothing.
    pub const fn end(&mut self) {
        self.ended = true;
    }

    /// What was recorded.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many exchanges were recorded.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Exchange { .. })).count()
    }
}

fn entropy(seed: u64, boot: u64) -> Arc<[u8]> {
    let mut bytes = vec![0; ENTROPY_BYTES];
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ boot;
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.into()
}

/// An entropy device that gives bytes known beforehand, and fails after the last.
pub struct Entropy {
    bytes: Arc<[u8]>,
    at: usize,
}

impl Entropy {
    /// One that gives these.
    #[must_use]
    pub const fn new(bytes: Arc<[u8]>) -> Self {
        Self { bytes, at: 0 }
    }
}

impl EntropySource for Entropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        let given = self.bytes.get(self.at..self.at + out.len()).ok_or(EntropyError::Device)?;
        out.copy_from_slice(given);
        self.at += out.len();
        Ok(())
    }
}

/// The randomness of an HSM, whether a board may be asked to repeat it or not.
pub enum Randomness {
    /// From a seed.
    Seeded(Box<StdRng>),
    /// As a board makes it, from what its entropy device gives.
    Generated(Box<Drbg<Entropy>>),
}

impl Randomness {
    /// From this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Box::new(StdRng::seed_from_u64(seed)))
    }

    /// The randomness of the next boot on this tape.
    ///
    /// # Panics
    /// Never: random bytes pass the tests of an entropy source.
    pub fn on(tape: &mut Tape) -> Self {
        let started = Drbg::start(tape.boot()).expect("random bytes pass the tests of an entropy source");
        Self::Generated(Box::new(started))
    }
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
