//! One HSM, as all groups see it that have a member on it.

use strongroom_testkit::Device;

/// An HSM with its link.
pub struct Host {
    pub(crate) device: Device,
    /// Counts the starts of the HSM: what was sent before the latest one is lost.
    pub(crate) boot: u64,
    /// When the last request on the link arrives; a later one arrives later.
    pub(super) link_until: u64,
    pub(super) reply_link_until: u64,
}

impl Host {
    /// A host with this HSM.
    #[must_use]
    pub const fn new(device: Device) -> Self {
        Self { device, boot: 0, link_until: 0, reply_link_until: 0 }
    }

    /// The HSM loses its RAM and starts again.
    pub(crate) fn restart(&mut self) {
        self.device.restart();
        self.boot += 1;
    }

    /// The same, but power is lost when the start has written this many granules of NVRAM, and the HSM starts once
    /// more. Returns whether it was lost.
    pub(crate) fn restart_twice(&mut self, granules: u32) -> bool {
        let was_cut = self.device.restart_twice(granules);
        self.boot += 1;
        was_cut
    }
}
