//! One HSM in the hands of a hostile host: a real core over flash whose power can be cut in the middle of a write.

use crate::board::Tape;
use crate::core::{Bug, Core};
use crate::env::{CutFlash, GEOMETRY, Randomness, SeededEnv};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::panic::AssertUnwindSafe;
use strongroom_hsm::{Config, Drbg, MemoryFlash};
use strongroom_proto::hsm::{Reply, Request};

/// One HSM.
pub(super) struct Device {
    core: Core,
    env: SeededEnv<CutFlash, Randomness>,
    config: Config,
    planted: Vec<Bug>,
    /// What happens to it, if a board is to repeat that.
    tape: Option<Tape>,
}

impl Device {
    /// A new HSM, on empty flash.
    pub(super) fn new(seed: u64, config: Config, planted: Vec<Bug>) -> Self {
        Self::on(MemoryFlash::new(GEOMETRY), seed, config, planted)
    }

    /// A new HSM that is like a board, on empty flash.
    pub(super) fn on_tape(seed: u64, config: Config) -> Self {
        Self::resume(MemoryFlash::new(GEOMETRY), Tape::new(seed), config)
    }

    /// An HSM that is like a board, and goes on from its flash and its tape.
    pub(super) fn resume(flash: MemoryFlash, mut tape: Tape, config: Config) -> Self {
        let rng = generator(&mut tape);
        Self { tape: Some(tape), ..Self::start(flash, rng, config, Vec::new()) }
    }

    /// An HSM that starts from its flash, with these rules left out of its core.
    pub(super) fn on(flash: MemoryFlash, seed: u64, config: Config, planted: Vec<Bug>) -> Self {
        Self::start(flash, Randomness::Seeded(Box::new(StdRng::seed_from_u64(seed))), config, planted)
    }

    fn start(flash: MemoryFlash, rng: Randomness, config: Config, planted: Vec<Bug>) -> Self {
        let flash = CutFlash { inner: flash, left: None };
        let mut env = SeededEnv { flash, rng };
        let core = Core::start(&mut env, config.clone(), planted.iter().copied());
        let core = core.expect("a flash that is whole starts an HSM");
        Self { core, env, config, planted, tape: None }
    }

    /// What a restart finds.
    pub(super) fn into_flash(self) -> (MemoryFlash, Option<Tape>) {
        (self.env.flash.inner, self.tape)
    }

    /// Loses power when so many more granules are programmed.
    pub(super) fn cut_power_after(&mut self, granules: u32) {
        self.env.flash.left = Some(granules);
        self.tape.iter_mut().for_each(Tape::end);
    }

    /// Loses RAM and starts from NVRAM; the power may go again during that. Whether it starts in the end.
    pub(super) fn restart(&mut self, cut_after: Option<u32>) -> bool {
        let mut started = None;
        if cut_after.is_some() {
            self.tape.iter_mut().for_each(Tape::end);
            self.env.flash.left = cut_after;
            started = self.started();
        }
        self.env.flash.left = None;
        if let Some(tape) = &mut self.tape {
            self.env.rng = generator(tape);
        }
        if started.is_none() || cut_after.is_some() {
            started = self.started();
        }
        let Some(core) = started else { return false };
        self.core = core;
        true
    }

    fn started(&mut self) -> Option<Core> {
        Core::start(&mut self.env, self.config.clone(), self.planted.iter().copied()).ok()
    }

    /// Bytes in, bytes out; nothing if the core panicked, which no bytes may bring about.
    pub(super) fn handle(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        // Whoever learns of a panic ends the episode, and uses this core no more.
        let handled = AssertUnwindSafe(|| self.core.handle(&mut self.env, request));
        let reply = std::panic::catch_unwind(handled).ok()?;
        self.tape.iter_mut().for_each(|tape| tape.exchange(request, &reply));
        Some(reply)
    }

    pub(super) fn ask(&mut self, request: &Request) -> Reply {
        let request = minicbor::to_vec(request).expect("a vector takes all bytes");
        let reply = self.handle(&request).expect("no honest request ends in a panic");
        minicbor::decode(&reply).expect("every reply decodes")
    }
}

fn generator(tape: &mut Tape) -> Randomness {
    Randomness::Generated(Drbg::start(tape.boot()).expect("random bytes pass the tests of a source"))
}
