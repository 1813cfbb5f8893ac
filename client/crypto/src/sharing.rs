//! Shamir's secret sharing over the scalars of ristretto255 (client protocol, section 7).
//!
//! Clients share the OPRF root key and the encryption key's scalar; realms only hold shares. Recombining refuses
//! duplicate indices, and an index is never zero, so no set of shares gives anything away or leads to a division by
//! zero.

use core::fmt;
use core::num::NonZeroU32;
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use rand_core::CryptoRng;
use strongroom_proto::oprf::BlindedOutput;
use strongroom_proto::scalar::SecretScalar;

/// The point at which the polynomial is evaluated: a realm's position among the ids of its configuration, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShareIndex(NonZeroU32);

impl ShareIndex {
    /// `None` for 0, where the secret itself is.
    #[must_use]
    pub const fn new(index: u32) -> Option<Self> {
        match NonZeroU32::new(index) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    fn scalar(self) -> Scalar {
        Scalar::from(self.number())
    }
}

/// A share of a secret scalar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    /// Where the polynomial was evaluated.
    pub index: ShareIndex,
    /// Its value there.
    pub value: SecretScalar,
}

/// Shares cannot be made or recombined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharingError {
    /// The threshold is not between 1 and the number of shares.
    Threshold,
    /// There are no shares.
    NoShares,
    /// Two shares have one index.
    DuplicateIndex,
    /// The shares recombine to the identity, so one of them is false.
    Degenerate,
}

impl fmt::Display for SharingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threshold => "the threshold must be between 1 and the number of shares",
            Self::NoShares => "give at least one share",
            Self::DuplicateIndex => "give each share once, with its realm's own index",
            Self::Degenerate => "the shares recombine to the identity: a realm answered falsely",
        })
    }
}

impl core::error::Error for SharingError {}

/// Shares `secret` among the indices 1 to `count` so that any `threshold` recombine it. Draws `threshold` − 1
/// coefficients of 64 bytes each, the highest degree first.
///
/// # Errors
/// [`SharingError::Threshold`].
pub fn share(
    secret: &SecretScalar,
    threshold: u32,
    count: u32,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Share>, SharingError> {
    if threshold == 0 || threshold > count {
        return Err(SharingError::Threshold);
    }
    let mut coefficients: Vec<SecretScalar> = (1..threshold).map(|_| SecretScalar::random(rng)).collect();
    coefficients.push(secret.clone());
    let indices = (1..=count).filter_map(ShareIndex::new);
    Ok(indices.map(|index| Share { index, value: evaluate(&coefficients, index) }).collect())
}

/// Horner's rule, the highest degree first.
fn evaluate(coefficients: &[SecretScalar], at: ShareIndex) -> SecretScalar {
    let x = at.scalar();
    SecretScalar::new(coefficients.iter().fold(Scalar::ZERO, |sum, c| sum * x + c.scalar()))
}

/// Recombines a secret scalar from shares. Too few shares give a different scalar, not an error.
///
/// # Errors
/// [`SharingError::NoShares`], [`SharingError::DuplicateIndex`].
pub fn recombine(shares: &[Share]) -> Result<SecretScalar, SharingError> {
    let at_zero = lagrange_at_zero(shares.iter().map(|s| s.index).collect())?;
    let sum = shares.iter().zip(&at_zero).map(|(share, l)| share.value.scalar() * l).sum();
    Ok(SecretScalar::new(sum))
}

/// Recombines the realms' evaluations into the evaluation under the shared key ("in the exponent").
///
/// # Errors
/// Any [`SharingError`] except [`SharingError::Threshold`].
pub fn recombine_outputs(shares: &[(ShareIndex, BlindedOutput)]) -> Result<BlindedOutput, SharingError> {
    let at_zero = lagrange_at_zero(shares.iter().map(|(index, _)| *index).collect())?;
    let sum: RistrettoPoint = shares.iter().zip(&at_zero).map(|((_, output), l)| output.point() * l).sum();
    BlindedOutput::from_point(&sum).map_err(|_| SharingError::Degenerate)
}

/// The Lagrange coefficients at 0, ∏ xⱼ ⁄ (xⱼ − xᵢ).
fn lagrange_at_zero(indices: Vec<ShareIndex>) -> Result<Vec<Scalar>, SharingError> {
    let mut sorted = indices.clone();
    sorted.sort_unstable();
    if sorted.is_empty() {
        return Err(SharingError::NoShares);
    }
    if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(SharingError::DuplicateIndex);
    }
    let coefficient = |i: &ShareIndex| {
        let others = indices.iter().filter(|j| *j != i).map(|j| j.scalar());
        let (num, den) = others.fold((Scalar::ONE, Scalar::ONE), |(n, d), x| (n * x, d * (x - i.scalar())));
        num * den.invert()
    };
    Ok(indices.iter().map(coefficient).collect())
}
