//! Shamir's secret sharing ([How to share a secret](https://dl.acm.org/doi/10.1145/359168.359176), 1979), for each byte by
//! itself, over the field of AES: GF(2^8), modulo `x^8 + x^4 + x^3 + x + 1`.
//!
//! Secret: nothing here looks up a table or branches by a byte of a key, a share or a coefficient.

use zeroize::Zeroizing;

/// Bytes of a key, of a share and of the coefficients of one power.
pub(super) const BYTES: usize = 32;

/// What belongs to one index, which is not 0: for each byte, the value there of the polynomial that is the key's byte at 0, and
/// has these coefficients, from the first power on.
pub(super) fn share(key: &[u8; BYTES], coefficients: &[[u8; BYTES]], index: u8) -> Zeroizing<[u8; BYTES]> {
    let mut share = Zeroizing::new([0; BYTES]);
    for of_power in coefficients.iter().rev().chain([key]) {
        for (value, coefficient) in share.iter_mut().zip(of_power) {
            *value = times(*value, index) ^ coefficient;
        }
    }
    share
}

/// The key of these shares, each with its index. Their indices must differ, and none be 0.
pub(super) fn key(shares: &[(u8, &[u8; BYTES])]) -> Zeroizing<[u8; BYTES]> {
    let mut key = Zeroizing::new([0; BYTES]);
    for (own, share) in shares {
        let mut weight = 1;
        for (other, _) in shares.iter().filter(|(other, _)| other != own) {
            weight = times(weight, times(*other, inverse(other ^ own)));
        }
        for (value, part) in key.iter_mut().zip(*share) {
            *value ^= times(*part, weight);
        }
    }
    key
}

const fn times(mut a: u8, mut b: u8) -> u8 {
    let (mut product, mut bits) = (0, 8);
    while bits > 0 {
        product ^= a & 0_u8.wrapping_sub(b & 1);
        a = (a << 1) ^ (0x1b & 0_u8.wrapping_sub(a >> 7));
        b >>= 1;
        bits -= 1;
    }
    product
}

/// `a` to the power of 254. That of 0 is 0.
const fn inverse(a: u8) -> u8 {
    let (mut power, mut more) = (a, 6);
    while more > 0 {
        power = times(times(power, power), a);
        more -= 1;
    }
    times(power, power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};
    use std::collections::BTreeSet;

    #[test]
    fn the_arithmetic_is_that_of_a_field_the_one_of_aes() {
        // FIPS 197, section 4.2.
        assert_eq!((times(0x57, 0x83), times(0x57, 0x13), times(0x57, 2)), (0xc1, 0xfe, 0xae));
        // 3 generates all that is not 0: the logarithms to that base are another way to multiply.
        let mut powers = vec![1];
        (1..255).for_each(|i| {
            powers.push((powers[i - 1] << 1) ^ powers[i - 1] ^ if powers[i - 1] > 127 { 0x1b } else { 0 })
        });
        assert_eq!(powers.iter().collect::<BTreeSet<_>>().len(), 255);
        for (i, a) in powers.iter().enumerate() {
            assert_eq!((times(*a, 0), times(0, *a), times(*a, inverse(*a))), (0, 0, 1));
            for (j, b) in powers.iter().enumerate() {
                assert_eq!(times(*a, *b), powers[(i + j) % 255], "{a} {b}");
            }
        }
    }

    #[test]
    fn any_of_the_shares_that_are_enough_make_the_key() {
        let mut rng = SmallRng::seed_from_u64(16);
        for _ in 0..200 {
            let (secret, needed): ([u8; BYTES], usize) = (rng.random(), rng.random_range(2..=15));
            let coefficients: Vec<[u8; BYTES]> = (1..needed).map(|_| rng.random()).collect();
            let mut indices: Vec<u8> = (1..=15).collect();
            (1..15).for_each(|i| indices.swap(i, rng.random_range(0..=i)));
            let shares: Vec<_> = indices.iter().map(|i| (*i, share(&secret, &coefficients, *i))).collect();
            let given: Vec<_> = shares.iter().map(|(i, share)| (*i, &**share)).collect();
            for count in needed..=15 {
                assert_eq!(*key(&given[..count]), secret, "{count} of {needed}");
            }
            assert_ne!(*key(&given[..needed - 1]), secret, "one fewer than {needed}");
        }
    }

    /// With one share fewer than are needed, each key is as likely as any other: for each there is exactly one coefficient.
    #[test]
    fn too_few_shares_say_nothing_about_the_key() {
        for secret in 0..=255 {
            let shares = (0..=255).map(|coefficient| share(&[secret; BYTES], &[[coefficient; BYTES]], 7)[0]);
            assert_eq!(shares.collect::<BTreeSet<_>>().len(), 256, "{secret}");
        }
    }
}
