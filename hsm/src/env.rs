//! What the core needs from its device, and all that it trusts besides its own code and RAM: non-volatile memory and
//! randomness. There is no clock and no other input or output.

use crate::flash::Flash;
use rand_core::CryptoRng;

/// The device under the core.
pub trait Env {
    /// The non-volatile memory.
    type Flash: Flash;
    /// The generator that keys, nonces and ids are drawn from.
    type Rng: CryptoRng;

    /// The non-volatile memory. No one but the core writes to it.
    fn flash(&mut self) -> &mut Self::Flash;

    /// The generator. It must be fit for keys, and two devices or two restarts must never draw the same bytes.
    fn rng(&mut self) -> &mut Self::Rng;
}
