//! What the user knows: the PIN. Wiped when dropped, and never printed.

use std::fmt;

use zeroize::Zeroizing;

/// A PIN or passphrase, used as its bytes: two encodings of one text are two PINs, so an application should normalise
/// what its user types.
#[derive(Clone)]
pub struct Pin(Zeroizing<Vec<u8>>);

impl Pin {
    /// Takes the bytes.
    #[must_use]
    pub fn new(pin: Vec<u8>) -> Self {
        Self(Zeroizing::new(pin))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

impl From<&str> for Pin {
    fn from(pin: &str) -> Self {
        Self::new(pin.as_bytes().to_vec())
    }
}
