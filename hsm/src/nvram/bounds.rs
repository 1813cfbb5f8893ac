//! What the log can take, and the version that it is written in.

/// The most bytes a full record holds: the whole state of an HSM.
pub const MAX_STATE_BYTES: usize = 5200;

/// The most bytes a delta holds: new captures of all groups that are waiting, in one write.
pub const MAX_DELTA_BYTES: usize = 1024;

/// The fewest erase units that the log works on; the header of [`super`] says why.
pub const MIN_UNITS: u32 = 3;

/// The version of the log that this build writes, and the newest that it reads.
pub(super) const VERSION: u8 = 2;
