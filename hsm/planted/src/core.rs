//! A core under test: the one that ships, or the copy with rules left out.

use crate::{Bug, PlantedCore};
use strongroom_hsm::{Config, Env, StartError};

/// A core under test. Both are one function from request bytes to reply bytes.
pub enum Core {
    /// `strongroom-hsm`, as it ships.
    Sound(Box<strongroom_hsm::Core>),
    /// The copy, with bugs planted.
    Planted(Box<PlantedCore>),
}

impl Core {
    /// Starts the core that ships if there are no bugs to plant, or else the copy with these.
    ///
    /// # Errors
    /// As [`strongroom_hsm::Core::start`].
    pub fn start<E: Env>(
        env: &mut E,
        config: Config,
        bugs: impl IntoIterator<Item = Bug>,
    ) -> Result<Self, StartError> {
        let mut bugs = bugs.into_iter().peekable();
        Ok(if bugs.peek().is_none() {
            Self::Sound(Box::new(strongroom_hsm::Core::start(env, config)?))
        } else {
            Self::Planted(Box::new(PlantedCore::start(env, config, bugs)?))
        })
    }

    /// As [`strongroom_hsm::Core::handle`].
    pub fn handle<E: Env>(&mut self, env: &mut E, request: &[u8]) -> Vec<u8> {
        match self {
            Self::Sound(core) => core.handle(env, request),
            Self::Planted(core) => core.handle(env, request),
        }
    }
}
