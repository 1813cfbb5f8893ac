//! What went over the link of one HSM, from its first boot on: enough to have another HSM do the same.

use std::sync::Arc;
use strongroom_hsm::{EntropyError, EntropySource};

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
    /// What happened next cannot be repeated, so nothing more is noted.
    ended: bool,
}

impl Tape {
    /// A tape of an HSM whose entropy is made from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, boots: 0, events: Vec::new(), ended: false }
    }

    /// Notes a boot. Its entropy, another each time.
    pub fn boot(&mut self) -> Entropy {
        let bytes = entropy(self.seed, self.boots);
        self.boots += 1;
        if !self.ended {
            self.events.push(Event::Boot(bytes.clone()));
        }
        Entropy { bytes, at: 0 }
    }

    /// Notes an exchange.
    pub fn exchange(&mut self, request: &[u8], reply: &[u8]) {
        if !self.ended {
            self.events.push(Event::Exchange { request: request.into(), reply: reply.into() });
        }
    }

    /// Notes nothing from now on.
    pub const fn end(&mut self) {
        self.ended = true;
    }

    /// What was noted.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many exchanges were noted.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Exchange { .. })).count()
    }
}

fn entropy(seed: u64, boot: u64) -> Arc<[u8]> {
    use rand::{Rng, SeedableRng};
    let mut bytes = vec![0; ENTROPY_BYTES];
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ boot;
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.into()
}

/// An entropy device that gives bytes that are known beforehand, and fails after the last.
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
