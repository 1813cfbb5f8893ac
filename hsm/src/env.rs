//! What the core needs from its device, and all that it trusts besides its own code and RAM: non-volatile memory,
//! randomness, and a console that people read and no host writes to. There is no clock and no other input or output.

use crate::flash::Flash;
use core::fmt;
use rand_core::CryptoRng;
use strongroom_proto::enrolment::Attestation;
use strongroom_proto::ids::Digest;

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

    /// Shows one line on the device's own console: a display, or a line to a display that is read at the device.
    /// Custodians compare it with what a host tells them, so it must not pass through the host. It never waits for a
    /// reader.
    fn show(&mut self, line: fmt::Arguments<'_>);

    /// The vendor's attestation over this digest, made with a key that only its genuine devices have. None by default:
    /// then only the console tells a device from a key pair that a host made.
    fn attest(&mut self, _digest: &Digest) -> Attestation {
        Attestation::none()
    }
}
