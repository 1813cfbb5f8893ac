//! Raw entropy from a device, and the tests that it must keep passing (NIST SP 800-90B section 4.4).
//!
//! Owns the tests of the source, not the source. Trusted: that a source that passes has at least [`MIN_ENTROPY_BITS`]
//! bits of min-entropy in a byte. The tests cannot show that it is random, only that it is not broken in the usual
//! ways: stuck, or strongly biased. How much entropy a source really has is for whoever designs the board to measure.

use core::fmt;

/// The min-entropy that is claimed for one byte of a source, in bits. A source with less may not be used.
pub const MIN_ENTROPY_BITS: u32 = 4;

/// A byte that occurs this many times in a row is a failure: 1 + 40/4, for one false alarm in 2^40 (SP 800-90B section
/// 4.4.1).
pub const REPETITION_CUTOFF: u32 = 11;

/// Bytes in a window of the adaptive proportion test (SP 800-90B section 4.4.2).
pub const WINDOW_BYTES: u32 = 512;

/// If the first byte of a window occurs this many times in it, that is a failure: one more than the number that a
/// binomial variable of 512 draws at 1/16 exceeds only once in 2^40.
pub const PROPORTION_CUTOFF: u32 = 78;

/// A device that gives raw, unprocessed entropy.
pub trait EntropySource {
    /// Fills `out` with raw samples, one in each byte.
    ///
    /// # Errors
    /// The device is missing, does not answer, or says that it failed.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// No entropy is available, so there is no service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntropyError {
    /// The device is missing, does not answer, or says that it failed.
    Device,
    /// One value came over and over: the source is stuck.
    Repetition,
    /// One value came far too often: the source is biased.
    Proportion,
}

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "the entropy device is missing or does not answer: check that the board has one",
            Self::Repetition => "the entropy device is stuck (repetition count test): replace the board",
            Self::Proportion => "the entropy device is biased (adaptive proportion test): replace the board",
        })
    }
}

impl core::error::Error for EntropyError {}

/// The continuous tests. A failure is permanent: only a restart, with the start-up tests, may try again.
#[derive(Debug)]
pub struct HealthTests {
    last: Option<u8>,
    run: u32,
    first: u8,
    seen: u32,
    same: u32,
    failed: Option<EntropyError>,
}

impl Default for HealthTests {
    fn default() -> Self {
        Self::new()
    }
}

impl HealthTests {
    /// Tests that have seen nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None, run: 0, first: 0, seen: 0, same: 0, failed: None }
    }

    /// Takes samples in the order in which the source gave them.
    ///
    /// # Errors
    /// [`EntropyError::Repetition`], [`EntropyError::Proportion`]; after either, every later call fails too.
    pub fn take(&mut self, samples: &[u8]) -> Result<(), EntropyError> {
        for sample in samples {
            self.count_repetitions(*sample);
            self.count_proportion(*sample);
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn count_repetitions(&mut self, sample: u8) {
        self.run = if self.last == Some(sample) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(sample);
        if self.run >= REPETITION_CUTOFF {
            self.failed = self.failed.or(Some(EntropyError::Repetition));
        }
    }

    fn count_proportion(&mut self, sample: u8) {
        if self.seen == 0 {
            (self.first, self.same) = (sample, 0);
        }
        self.same = self.same.saturating_add(u32::from(self.first == sample));
        if self.same >= PROPORTION_CUTOFF {
            self.failed = self.failed.or(Some(EntropyError::Proportion));
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen >= WINDOW_BYTES {
            self.seen = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    fn verdict(samples: &[u8]) -> Result<(), EntropyError> {
        HealthTests::new().take(samples)
    }

    #[test]
    fn a_million_random_bytes_pass() {
        let mut samples = vec![0; 1_000_000];
        StdRng::seed_from_u64(1).fill_bytes(&mut samples);
        assert_eq!(verdict(&samples), Ok(()));
    }

    #[test]
    fn a_source_with_exactly_the_claimed_entropy_passes() {
        let mut rng = StdRng::seed_from_u64(2);
        let samples: Vec<u8> = (0..1_000_000).map(|_| rng.random_range(0..16)).collect();
        assert_eq!(verdict(&samples), Ok(()));
    }

    #[test]
    fn ten_equal_bytes_pass_and_eleven_do_not() {
        assert_eq!(verdict(&[7; 10]), Ok(()));
        assert_eq!(verdict(&[7; 11]), Err(EntropyError::Repetition));
        let mut long = vec![0; 300];
        StdRng::seed_from_u64(3).fill_bytes(&mut long);
        long.extend([9; 11]);
        assert_eq!(verdict(&long), Err(EntropyError::Repetition));
    }

    #[test]
    fn a_byte_that_comes_seventy_eight_times_in_a_window_fails_it() {
        let window = |times: usize| {
            let mut samples: Vec<u8> = (0..512_usize).map(|i| (i % 200) as u8 + 1).collect();
            (0..times).for_each(|i| samples[i * 6] = 0);
            samples
        };
        assert_eq!(verdict(&window(77)), Ok(()));
        assert_eq!(verdict(&window(78)), Err(EntropyError::Proportion));
    }

    #[test]
    fn a_coin_is_no_source_and_a_failure_is_for_good() {
        let mut rng = StdRng::seed_from_u64(4);
        let coin: Vec<u8> = (0..512).map(|_| rng.random_range(0..2)).collect();
        let mut tests = HealthTests::new();
        assert!(tests.take(&coin).is_err());
        let mut good = vec![0; 4096];
        rng.fill_bytes(&mut good);
        assert!(tests.take(&good).is_err());
    }
}
