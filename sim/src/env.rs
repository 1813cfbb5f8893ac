//! The environment of a simulated HSM: flash in memory, and randomness from a seed.

use rand::rngs::StdRng;
use strongroom_hsm::{Env, Flash, Geometry};

/// The flash of every simulated HSM.
pub(crate) const GEOMETRY: Geometry = Geometry { units: 4, unit_bytes: 1 << 14, write_bytes: 8 };

/// See the module.
pub(crate) struct SeededEnv<F> {
    pub(crate) flash: F,
    pub(crate) rng: StdRng,
}

impl<F: Flash> Env for SeededEnv<F> {
    type Flash = F;
    type Rng = StdRng;

    fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }
}
