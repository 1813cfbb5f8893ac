//! Why a device does not start.

use crate::nvram::NvramError;
use core::fmt;

/// Why a device cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// NVRAM cannot be trusted, or failed.
    Nvram(NvramError),
    /// NVRAM is for newer builds than this one. Nothing was written.
    OtherVersion {
        /// The oldest version of state whose builds may read it.
        needs: u8,
        /// The newest version that this build reads.
        reads: u8,
    },
    /// NVRAM is intact, but holds what no build writes.
    BadState,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nvram(e) => write!(f, "the HSM cannot start from its NVRAM: {e}"),
            Self::OtherVersion { needs, reads } => write!(
                f,
                "the HSM's NVRAM was written for state version {needs} or later; this build reads up to {reads}: install a \
                 build of state version {needs} or later"
            ),
            Self::BadState => f.write_str(
                "the HSM's NVRAM is intact but holds no state; start the build that wrote it, and report this",
            ),
        }
    }
}

impl From<NvramError> for StartError {
    fn from(error: NvramError) -> Self {
        Self::Nvram(error)
    }
}

impl core::error::Error for StartError {}
