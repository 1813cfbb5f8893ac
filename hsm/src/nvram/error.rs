//! Why the log cannot be opened or written, and what to do about it.

use super::bounds::VERSION;
use crate::flash::FlashError;
use core::fmt;

/// The log cannot be opened or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvramError {
    /// The flash has too few, too many or too small units, or a granule that is not a power of two up to 256 bytes.
    Geometry,
    /// The flash failed, and what could not be read may be the newest record.
    Flash(FlashError),
    /// Fewer than [`MIN_UNITS`](super::MIN_UNITS) working units are left.
    WornOut,
    /// A log of this version, which this build does not read. Nothing was written.
    OtherVersion(u8),
    /// The newest record is bad or missing although it was acknowledged. Only a reset, as a new HSM, helps.
    Lost,
    /// There is no valid record, yet the flash is not empty. Only a reset, as a new HSM, helps.
    Damaged,
    /// The flash does not hold what was just written to it.
    ReadBack,
    /// An earlier write failed. Restart the HSM.
    Poisoned,
    /// The state or delta is empty or too long.
    Size,
    /// All sequence numbers are used up.
    SequenceEnd,
}

impl fmt::Display for NvramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Geometry => "NVRAM has the wrong shape: give it 3 to 256 erase units of 8 KiB or more",
            Self::Flash(error) => return write!(f, "NVRAM failed ({error}): restart the HSM"),
            Self::WornOut => {
                "fewer than 3 erase units of NVRAM work: restart the HSM, and replace it if this comes again"
            }
            Self::OtherVersion(found) => {
                return write!(
                    f,
                    "NVRAM holds a log of version {found}; this build reads up to {}: install the build that wrote it",
                    VERSION
                );
            }
            Self::Lost => {
                "the newest NVRAM record is lost, and an older one must not be used: \
                 reset this HSM and enrol it as a new one"
            }
            Self::Damaged => {
                "NVRAM is not empty but holds no valid record: reset this HSM and enrol it as a new one"
            }
            Self::ReadBack => "NVRAM does not keep what is written to it: restart the HSM, or replace it",
            Self::Poisoned => "an earlier NVRAM write failed: restart the HSM",
            Self::Size => "the state does not fit an NVRAM record",
            Self::SequenceEnd => "NVRAM has no sequence number left: replace this HSM",
        })
    }
}

impl core::error::Error for NvramError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Flash(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FlashError> for NvramError {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}
