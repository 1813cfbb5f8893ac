//! The software HSM as the board is built: the same limits, the same name, and the same entropy.

use super::tape::{Entropy, Tape};
use crate::env::{GEOMETRY, SeededEnv};
use strongroom_hsm::{Config, Core, Drbg, MemoryFlash};
use strongroom_proto::hsm::{DeviceStatus, Reply, Request};

/// A software HSM that notes all that happens to it.
pub struct Twin {
    core: Core,
    env: SeededEnv<MemoryFlash, Drbg<Entropy>>,
    config: Config,
    /// What happened to it.
    pub tape: Tape,
}

fn generator(tape: &mut Tape) -> Drbg<Entropy> {
    Drbg::start(tape.boot()).expect("random bytes pass the tests of an entropy source")
}

impl Twin {
    /// A new HSM, whose entropy is made from `seed`.
    ///
    /// # Panics
    /// If the core does not start on an empty flash.
    #[must_use]
    pub fn new(seed: u64, config: Config) -> Self {
        let mut tape = Tape::new(seed);
        let mut env = SeededEnv { flash: MemoryFlash::new(GEOMETRY), rng: generator(&mut tape) };
        let core = Core::start(&mut env, config.clone()).expect("an empty flash starts a new HSM");
        Self { core, env, config, tape }
    }

    /// Loses RAM and starts from NVRAM.
    ///
    /// # Panics
    /// If the core does not start on the flash that it left.
    pub fn restart(&mut self) {
        self.env.rng = generator(&mut self.tape);
        self.core = Core::start(&mut self.env, self.config.clone()).expect("an intact flash starts");
    }

    /// Bytes in, bytes out.
    pub fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        let reply = self.core.handle(&mut self.env, request);
        self.tape.exchange(request, &reply);
        reply
    }

    /// Asks as a host does.
    ///
    /// # Panics
    /// If the reply is none.
    pub fn ask(&mut self, request: &Request) -> Reply {
        let request = minicbor::to_vec(request).expect("a vector takes all bytes");
        minicbor::decode(&self.handle(&request)).expect("every reply decodes")
    }

    /// What another HSM of this kind answers to what happened on a tape, from the first boot on, up to the first reply that
    /// is not on it: the number of that exchange, and the reply.
    ///
    /// # Errors
    /// It does not begin with a boot.
    pub fn differs(
        config: &Config,
        tape: &[super::Event],
    ) -> Result<Option<(usize, Vec<u8>)>, crate::local::Error> {
        let mut at = 0;
        let (mut env, mut core) = (None::<SeededEnv<MemoryFlash, Drbg<Entropy>>>, None);
        for event in tape {
            match event {
                super::Event::Boot(bytes) => {
                    let rng = Drbg::start(Entropy::new(bytes.clone())).map_err(|error| error.to_string())?;
                    let flash = env.take().map_or_else(|| MemoryFlash::new(GEOMETRY), |env| env.flash);
                    let mut booted = SeededEnv { flash, rng };
                    core = Some(Core::start(&mut booted, config.clone())?);
                    env = Some(booted);
                }
                super::Event::Exchange { request, reply } => {
                    let (Some(core), Some(env)) = (&mut core, &mut env) else {
                        return Err("a tape begins with a boot".into());
                    };
                    let own = core.handle(env, request);
                    if !is_same(&own, reply) {
                        return Ok(Some((at, own)));
                    }
                    at += 1;
                }
            }
        }
        Ok(None)
    }
}

/// Whether a board answered as the software HSM did, byte by byte; but for the wear of its flash, which is another than that
/// of the software HSM.
pub(super) fn is_same(software: &[u8], board: &[u8]) -> bool {
    let status = |reply: &[u8]| match minicbor::decode(reply) {
        Ok(Reply::Device(status)) => Some(status),
        _ => None,
    };
    match (status(software), status(board)) {
        (Some(software), Some(board)) => DeviceStatus { wear: board.wear, ..software } == board,
        _ => software == board,
    }
}
