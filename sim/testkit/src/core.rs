//! The core that a simulated HSM runs: the one that ships or, with the feature `planted-bugs` and a bug to plant, the
//! copy of it in which that rule is left out.

#[cfg(feature = "planted-bugs")]
pub use strongroom_hsm_planted::Bug;
#[cfg(feature = "planted-bugs")]
pub(crate) use strongroom_hsm_planted::Core;

#[cfg(not(feature = "planted-bugs"))]
pub use sound::Bug;
#[cfg(not(feature = "planted-bugs"))]
pub(crate) use sound::Core;

#[cfg(not(feature = "planted-bugs"))]
mod sound {
    use strongroom_hsm::{Config, Env, StartError};

    /// One rule that can be left out: none, without the feature `planted-bugs`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Bug {}

    impl Bug {
        /// The bug of this name: there is none.
        #[must_use]
        pub const fn named(_: &str) -> Option<Self> {
            None
        }
    }

    /// The core that ships.
    pub(crate) struct Core(Box<strongroom_hsm::Core>);

    impl Core {
        /// As [`strongroom_hsm::Core::start`]; no bug can be planted.
        pub(crate) fn start<E: Env>(
            env: &mut E,
            config: Config,
            _: impl IntoIterator<Item = Bug>,
        ) -> Result<Self, StartError> {
            Ok(Self(Box::new(strongroom_hsm::Core::start(env, config)?)))
        }

        /// As [`strongroom_hsm::Core::handle`].
        pub(crate) fn handle<E: Env>(&mut self, env: &mut E, request: &[u8]) -> Vec<u8> {
            self.0.handle(env, request)
        }
    }
}
