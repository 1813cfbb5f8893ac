//! The copy of the core, with the bugs that are planted in it.

use crate::bug::{Bug, Bugs};
use crate::copy;
use rand_core::{TryCryptoRng, TryRng};
use std::convert::Infallible;
use std::fmt::Arguments;
use strongroom_hsm::{Config, Env, Flash, StartError};

/// The copy of the core. Without a bug it does as the core that ships, which is what a test of that should be given.
pub struct PlantedCore {
    pub(crate) core: copy::core::Core,
    pub(crate) bugs: Bugs,
}

impl PlantedCore {
    /// As [`strongroom_hsm::Core::start`], with these bugs planted from the beginning.
    ///
    /// # Errors
    /// As there.
    pub fn start<E: Env>(
        env: &mut E,
        config: Config,
        bugs: impl IntoIterator<Item = Bug>,
    ) -> Result<Self, StartError> {
        let bugs: Bugs = bugs.into_iter().collect();
        let core = bugs.planted(|| copy::core::Core::start(env, config))?;
        Ok(Self { core, bugs })
    }

    /// As [`strongroom_hsm::Core::handle`].
    pub fn handle<E: Env>(&mut self, env: &mut E, request: &[u8]) -> Vec<u8> {
        self.bugs.planted(|| self.core.handle(env, request))
    }

    /// Starts from a copy of a device's NVRAM, to open what that device has sealed, or to seal as it does.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn reader(flash: impl Flash, bugs: impl IntoIterator<Item = Bug>) -> Result<Self, StartError> {
        Self::start(&mut Reading(flash), Config::software(), bugs)
    }
}

/// The environment of a reader, which has a flash and nothing to draw.
struct Reading<F>(F);

/// Nothing.
struct NoDraws;

impl<F: Flash> Env for Reading<F> {
    type Flash = F;
    type Rng = NoDraws;

    fn flash(&mut self) -> &mut F {
        &mut self.0
    }

    fn rng(&mut self) -> &mut NoDraws {
        unreachable!("a device that has a state draws nothing when it starts")
    }

    fn show(&mut self, _: Arguments<'_>) {}
}

impl TryRng for NoDraws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("there is none")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("there is none")
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
        unreachable!("there is none")
    }
}

impl TryCryptoRng for NoDraws {}
