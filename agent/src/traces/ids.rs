//! Draws the ids of requests and of spans, and which requests are sampled.
//!
//! Each id is HMAC-SHA256 of a counter, under a key of this process alone. So ids differ, in agents that run at the same
//! time too, and what a client is told of its own requests says nothing about another's, nor how many there were. Whether a
//! request is sampled is a MAC of its id: who chooses an id does not choose that, and requests with one id go together.

use super::context::RequestId;
use ring::hmac::{Context, HMAC_SHA256, Key};
use std::sync::atomic::{AtomicU64, Ordering};

const KEY_BYTES: usize = 32;

/// What a MAC is for, as its first byte: no two uses have an input in common.
const REQUEST: u8 = 1;
const SPAN: u8 = 2;
const SAMPLE: u8 = 3;

#[derive(Debug)]
pub(super) struct Ids {
    key: Key,
    drawn: AtomicU64,
}

impl Ids {
    pub(super) fn new() -> Self {
        let mut key = [0; KEY_BYTES];
        if let Err(error) = getrandom::fill(&mut key) {
            tracing::error!(
                %error, "the system has no randomness to give; request ids may not be unique, and can be guessed"
            );
        }
        Self::with(&key)
    }

    /// Those that this key gives.
    pub(super) fn with(key: &[u8; KEY_BYTES]) -> Self {
        Self { key: Key::new(HMAC_SHA256, key), drawn: AtomicU64::new(0) }
    }

    pub(super) fn request(&self) -> RequestId {
        let [high, low, ..] = self.mac(REQUEST, &[self.next()]);
        RequestId::new(high, low)
    }

    /// Never 0, which is no span.
    pub(super) fn span(&self) -> u64 {
        let [id, ..] = self.mac(SPAN, &[self.next()]);
        id.max(1)
    }

    /// Whether a request with this id is among the `below` of all 2^64 draws that are sampled.
    pub(super) fn sample(&self, request: RequestId, below: u64) -> bool {
        let [drawn, ..] = self.mac(SAMPLE, &[request.high(), request.low()]);
        drawn < below
    }

    fn next(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }

    fn mac(&self, purpose: u8, of: &[u64]) -> [u64; 4] {
        let mut context = Context::with_key(&self.key);
        context.update(&[purpose]);
        for number in of {
            context.update(&number.to_be_bytes());
        }
        let (mac, mut numbers) = (context.sign(), [0; 4]);
        let bytes: &[u8] = mac.as_ref();
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
            *number = u64::from_be_bytes(*bytes);
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_differ() {
        let (one, other) = (Ids::new(), Ids::new());
        let requests: BTreeSet<_> = (0..999).flat_map(|_| [one.request(), other.request()]).collect();
        assert_eq!(requests.len(), 2 * 999);
        let spans: BTreeSet<_> = (0..999).flat_map(|_| [one.span(), other.span()]).collect();
        assert_eq!(spans.len(), 2 * 999);
    }

    /// As Python's `hmac` gives them.
    #[test]
    fn an_id_is_a_mac_of_how_many_were_drawn() {
        let ids = Ids::with(&[7; KEY_BYTES]);
        assert_eq!(ids.request().to_string(), "bbf245602328dd8d6f4c5243774d5985");
        assert_eq!(ids.span(), 0x9b56_9199_9189_659f);
        assert_eq!(ids.request().to_string(), "32c02a2101c673bde85d8219ef4db882");
    }

    #[test]
    fn the_ratio_is_sampled_of_ids_that_somebody_chose_and_each_of_them_always_or_never() {
        let ids = Ids::with(&[7; KEY_BYTES]);
        let chosen = (1..=10_000).map(|high| RequestId::new(high, 0));
        let sampled: Vec<RequestId> = chosen.filter(|id| ids.sample(*id, u64::MAX / 4)).collect();
        assert!((2_300..2_700).contains(&sampled.len()), "{}", sampled.len());
        assert!(sampled.iter().all(|id| ids.sample(*id, u64::MAX / 4)));
        let other = Ids::with(&[8; KEY_BYTES]);
        let also = sampled.iter().filter(|id| other.sample(**id, u64::MAX / 4)).count();
        assert!((450..800).contains(&also), "it depends on a key that clients do not know: {also}");
        assert!(sampled.iter().all(|id| ids.sample(*id, u64::MAX) && !ids.sample(*id, 0)));
    }

    /// What SplitMix64 (Steele, Lea, Flood 2014) was given, in multiples of its step.
    const fn unmixed(z: u64) -> u64 {
        let z = (z ^ (z >> 31) ^ (z >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
        let z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
        (z ^ (z >> 30) ^ (z >> 60)).wrapping_mul(STEP_INVERSE)
    }

    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    const STEP_INVERSE: u64 = 0xf1de_83e1_9937_733d;

    const fn mixed(seed: u64, n: u64) -> u64 {
        let z = seed.wrapping_add(n.wrapping_mul(STEP));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// How many requests there were between two whose ids have these halves, if ids were a counter in disguise.
    const fn between(earlier: u64, later: u64) -> u64 {
        unmixed(later).wrapping_sub(unmixed(earlier))
    }

    #[test]
    fn two_ids_do_not_say_how_many_requests_came_between_them() {
        assert_eq!(between(mixed(12_345, 7), mixed(12_345, 1_007)), 1_000, "a counter in disguise is seen");
        let ids = Ids::with(&[9; KEY_BYTES]);
        let first = ids.request();
        for _ in 1..1_000 {
            let _ = ids.request();
        }
        let last = ids.request();
        for (earlier, later) in [(first.high(), last.high()), (first.low(), last.low())] {
            assert!(between(earlier, later) > 1_000_000);
        }
    }
}
