//! What both entrances check about a request before they read it: its client's version, and its length.

use http_body_util::LengthLimitError;
use semver::Version;
use std::error::Error;

/// The header, and gRPC metadata key, in which a client says its version.
pub const VERSION_HEADER: &str = "x-juicebox-version";
/// What a client with a version that is too old reads.
pub(super) const UPGRADE: &str = "this realm needs a client of version 0.3 or later; upgrade the app\n";

/// Whether a version header lets its client in: a semantic version of 0.3 or later, by major and minor alone.
pub(super) fn is_current(header: &[u8]) -> bool {
    let version = std::str::from_utf8(header).ok().and_then(|text| Version::parse(text).ok());
    version.is_some_and(|version| (version.major, version.minor) >= (0, 3))
}

pub(super) fn is_over_cap(error: &axum::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<LengthLimitError>())
}
