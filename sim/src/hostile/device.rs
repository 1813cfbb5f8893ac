//! One HSM in the hands of a hostile host.

use std::panic::AssertUnwindSafe;
use strongroom_testkit::Device;

/// Bytes in, bytes out; nothing if the core panicked, which no bytes may cause.
pub(super) fn handle(device: &mut Device, request: &[u8]) -> Option<Vec<u8>> {
    // A panic ends the episode, so this core is never used again.
    std::panic::catch_unwind(AssertUnwindSafe(|| device.handle(request))).ok()
}
