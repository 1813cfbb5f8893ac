//! One simulated HSM: a real core over flash in memory, restartable.

use crate::core::{Bug, Core};
use crate::env::{CutFlash, SeededEnv};
use rand::SeedableRng;
use rand::rngs::StdRng;
use strongroom_hsm::Config;
use strongroom_proto::hsm::{DeviceStatus, Reply, Request};

/// One HSM.
pub struct Device {
    core: Core,
    env: SeededEnv<CutFlash>,
    config: Config,
    bug: Option<Bug>,
}

impl Device {
    /// A new HSM that draws from `seed`.
    ///
    /// # Panics
    /// If the core does not start on an empty flash.
    #[must_use]
    pub fn new(seed: u64, config: Config) -> Self {
        let mut env = SeededEnv { flash: CutFlash::new(), rng: StdRng::seed_from_u64(seed) };
        let core = Core::start(&mut env, config.clone(), None).expect("an empty flash starts a new HSM");
        Self { core, env, config, bug: None }
    }

    /// Is given a build that leaves one rule out, for a test that must notice, and starts it. What was in RAM is gone.
    ///
    /// # Panics
    /// As [`Self::restart`].
    pub fn plant(&mut self, bug: Bug) {
        self.bug = Some(bug);
        self.restart();
    }

    /// Lets every write to its NVRAM fail, until it restarts.
    pub const fn fail_nvram(&mut self) {
        self.env.flash.inner.failing = true;
    }

    /// Loses power when so many more granules of its NVRAM are written, until it restarts.
    pub const fn cut_power_after(&mut self, granules: u32) {
        self.env.flash.left = Some(granules);
    }

    /// Takes that back, unless the power is gone already.
    pub fn spare_power(&mut self) {
        self.env.flash.left = self.env.flash.left.filter(|left| *left == 0);
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.env.flash.is_dead()
    }

    /// Loses RAM and starts from NVRAM.
    ///
    /// # Panics
    /// If the core does not start on the flash that it left.
    pub fn restart(&mut self) {
        self.env.flash.inner.failing = false;
        self.env.flash.left = None;
        let core = Core::start(&mut self.env, self.config.clone(), self.bug);
        self.core = core.expect("an intact flash starts");
    }

    /// Loses RAM, and power again as soon as starting has written so many granules of NVRAM; then starts. Whether it came to that.
    ///
    /// # Panics
    /// As [`Self::restart`].
    pub fn restart_twice(&mut self, granules: u32) -> bool {
        self.cut_power_after(granules);
        // Whatever came of it is gone with its RAM.
        let _ = Core::start(&mut self.env, self.config.clone(), self.bug);
        let was_cut = self.is_dead();
        self.restart();
        was_cut
    }

    /// Bytes in, bytes out.
    pub fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        self.core.handle(&mut self.env, request)
    }

    /// Asks as a host does.
    ///
    /// # Panics
    /// If the reply is none.
    pub fn ask(&mut self, request: &Request) -> Reply {
        let request = minicbor::to_vec(request).expect("a vector takes all bytes");
        minicbor::decode(&self.handle(&request)).expect("every reply decodes")
    }

    /// What it says of itself.
    ///
    /// # Panics
    /// If it does not.
    pub fn status(&mut self) -> DeviceStatus {
        match self.ask(&Request::DeviceStatus) {
            Reply::Device(status) => status,
            other => panic!("no status but {other:?}"),
        }
    }
}
