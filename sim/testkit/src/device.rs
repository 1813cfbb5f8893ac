//! One simulated HSM: a real core over flash in memory. It can be restarted, lose its power in the middle of a write,
//! and be put on tape.

use crate::core::{Bug, Core};
use crate::env::{CutFlash, TestEnv};
use crate::flash::MemoryFlash;
use crate::founding::Hsm;
use crate::tape::{Randomness, Tape};
use strongroom_hsm::Config;
use strongroom_proto::hsm::{Reply, Request};

/// One HSM.
pub struct Device {
    core: Core,
    env: TestEnv<CutFlash, Randomness>,
    config: Config,
    /// What happens to it, if a board will repeat that.
    tape: Option<Tape>,
    /// The rules that are left out of its core.
    bugs: Vec<Bug>,
}

impl Device {
    /// A new HSM that draws from `seed`.
    ///
    /// # Panics
    /// If the core does not start on an empty flash.
    #[must_use]
    pub fn new(seed: u64, config: Config) -> Self {
        Self::with_bugs(seed, config, Vec::new())
    }

    /// The same, with these rules left out of its core.
    ///
    /// # Panics
    /// If the core does not start on an empty flash.
    #[must_use]
    pub fn with_bugs(seed: u64, config: Config, bugs: Vec<Bug>) -> Self {
        Self::on(CutFlash::new().inner, seed, config, bugs)
    }

    /// An HSM that starts from what is in this flash, with these rules left out of its core.
    ///
    /// # Panics
    /// If the core does not start on it.
    #[must_use]
    pub fn on(flash: MemoryFlash, seed: u64, config: Config, bugs: Vec<Bug>) -> Self {
        Self::start(flash, Randomness::seeded(seed), config, bugs)
    }

    /// A new HSM that is like a board, whose entropy is made from `seed`.
    ///
    /// # Panics
    /// If the core does not start on an empty flash.
    #[must_use]
    pub fn on_tape(seed: u64, config: Config) -> Self {
        Self::resume(CutFlash::new().inner, Tape::new(seed), config)
    }

    /// An HSM that is like a board, and continues from its flash and its tape.
    ///
    /// # Panics
    /// If the core does not start on the flash.
    #[must_use]
    pub fn resume(flash: MemoryFlash, mut tape: Tape, config: Config) -> Self {
        let rng = Randomness::on(&mut tape);
        Self { tape: Some(tape), ..Self::start(flash, rng, config, Vec::new()) }
    }

    fn start(flash: MemoryFlash, rng: Randomness, config: Config, bugs: Vec<Bug>) -> Self {
        let mut env = TestEnv::new(CutFlash::on(flash), rng);
        let core = Core::start(&mut env, config.clone(), bugs.iter().copied());
        let core = core.expect("a flash that is whole starts an HSM");
        Self { core, env, config, tape: None, bugs }
    }

    /// Gets a build that leaves one rule out, for a test that must notice it, and starts it. What was in RAM is gone.
    ///
    /// # Panics
    /// As [`Self::restart`].
    pub fn plant(&mut self, bug: Bug) {
        self.bugs.push(bug);
        self.restart();
    }

    /// Makes every write to its NVRAM fail until it restarts.
    pub const fn fail_nvram(&mut self) {
        self.env.flash.inner.failing = true;
    }

    /// Loses power after this many more granules of its NVRAM are written, until it restarts.
    pub fn cut_power_after(&mut self, granules: u32) {
        self.env.flash.left = Some(granules);
        self.tape.iter_mut().for_each(Tape::end);
    }

    /// Cancels that, unless the power is gone already.
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
        assert!(self.try_restart(None), "an intact flash starts");
    }

    /// Loses RAM, and loses power again once the start has written this many granules of NVRAM; then starts. Returns
    /// whether power was lost.
    ///
    /// # Panics
    /// As [`Self::restart`].
    pub fn restart_twice(&mut self, granules: u32) -> bool {
        self.cut_power_after(granules);
        // What came of it is gone with its RAM.
        let _ = self.started();
        let was_cut = self.is_dead();
        self.restart();
        was_cut
    }

    /// Loses RAM and starts from NVRAM; with `cut_after`, the power fails again when the start has written this many
    /// granules, and it starts once more. Returns whether it starts in the end; if not, it is as it was.
    pub fn try_restart(&mut self, cut_after: Option<u32>) -> bool {
        if let Some(granules) = cut_after {
            self.cut_power_after(granules);
            // What came of it is gone with its RAM.
            let _ = self.started();
        }
        self.env.flash.inner.failing = false;
        self.env.flash.left = None;
        if let Some(tape) = &mut self.tape {
            self.env.rng = Randomness::on(tape);
        }
        let Some(core) = self.started() else { return false };
        self.core = core;
        true
    }

    fn started(&mut self) -> Option<Core> {
        Core::start(&mut self.env, self.config.clone(), self.bugs.iter().copied()).ok()
    }

    /// Bytes in, bytes out.
    pub fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        let reply = self.core.handle(&mut self.env, request);
        self.tape.iter_mut().for_each(|tape| tape.exchange(request, &reply));
        reply
    }

    /// What happened to it, if it was put on tape from the start.
    #[must_use]
    pub const fn tape(&self) -> Option<&Tape> {
        self.tape.as_ref()
    }

    /// What a restart finds, and the tape.
    #[must_use]
    pub fn into_flash(self) -> (MemoryFlash, Option<Tape>) {
        (self.env.flash.inner, self.tape)
    }
}

impl Hsm for Device {
    fn ask(&mut self, request: &Request) -> Reply {
        let request = minicbor::to_vec(request).expect("a vector takes all bytes");
        minicbor::decode(&self.handle(&request)).expect("every reply decodes")
    }
}
