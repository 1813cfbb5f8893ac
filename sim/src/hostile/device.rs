//! One HSM in the hands of a hostile host.

use std::panic::AssertUnwindSafe;
use strongroom_testkit::Device;

/// Bytes in, bytes out; nothing if the core panicked, which no bytes may bring about.
pub(super) fn handle(device: &mut Device, request: &[u8]) -> Option<Vec<u8>> {
    // Whoever learns of a panic ends the episode, and uses this core no more.
    std::panic::catch_unwind(AssertUnwindSafe(|| device.handle(request))).ok()
}
