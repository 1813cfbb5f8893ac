//! One HSM in the hands of a hostile host: a real core over flash whose power can be cut in the middle of a write.

use super::Planted;
use crate::env::{CutFlash, GEOMETRY, SeededEnv};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::panic::AssertUnwindSafe;
use strongroom_hsm::{Config, Core, MemoryFlash};
use strongroom_proto::hsm::{Reply, Request};

/// One HSM.
pub(super) struct Device {
    core: Core,
    env: SeededEnv<CutFlash>,
    config: Config,
    planted: Vec<Planted>,
}

impl Device {
    /// A new HSM, on empty flash.
    pub(super) fn new(seed: u64, config: Config, planted: Planted) -> Self {
        Self::on(MemoryFlash::new(GEOMETRY), seed, config, planted)
    }

    /// An HSM that starts from its flash.
    pub(super) fn on(flash: MemoryFlash, seed: u64, config: Config, planted: Planted) -> Self {
        let flash = CutFlash { inner: flash, left: None };
        let mut env = SeededEnv { flash, rng: StdRng::seed_from_u64(seed) };
        let core = Core::start(&mut env, config.clone()).expect("a flash that is whole starts an HSM");
        let mut device = Self { core, env, config, planted: Vec::new() };
        device.plant(planted);
        device
    }

    /// Leaves a rule out of the core, from now on.
    pub(super) fn plant(&mut self, planted: Planted) {
        self.planted.push(planted);
        plant(&mut self.core, planted);
    }

    /// What a restart finds.
    pub(super) fn into_flash(self) -> MemoryFlash {
        self.env.flash.inner
    }

    /// Loses power when so many more granules are programmed.
    pub(super) const fn cut_power_after(&mut self, granules: u32) {
        self.env.flash.left = Some(granules);
    }

    /// Loses RAM and starts from NVRAM; the power may go again during that. Whether it starts in the end.
    pub(super) fn restart(&mut self, cut_after: Option<u32>) -> bool {
        let mut started = None;
        if cut_after.is_some() {
            self.env.flash.left = cut_after;
            started = Core::start(&mut self.env, self.config.clone()).ok();
        }
        self.env.flash.left = None;
        if started.is_none() || cut_after.is_some() {
            started = Core::start(&mut self.env, self.config.clone()).ok();
        }
        let Some(core) = started else { return false };
        self.core = core;
        self.planted.iter().for_each(|planted| plant(&mut self.core, *planted));
        true
    }

    /// Bytes in, bytes out; nothing if the core panicked, which no bytes may bring about.
    pub(super) fn handle(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        // Whoever learns of a panic ends the episode, and uses this core no more.
        let handled = AssertUnwindSafe(|| self.core.handle(&mut self.env, request));
        std::panic::catch_unwind(handled).ok()
    }

    pub(super) fn ask(&mut self, request: &Request) -> Reply {
        let request = minicbor::to_vec(request).expect("a vector takes all bytes");
        minicbor::decode(&self.core.handle(&mut self.env, &request)).expect("every reply decodes")
    }
}

#[cfg(feature = "planted-bugs")]
fn plant(core: &mut Core, planted: Planted) {
    if let Some(bug) = planted {
        core.plant(bug);
    }
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(_: &mut Core, planted: Planted) {
    match planted {
        None => {}
        Some(never) => match never {},
    }
}
