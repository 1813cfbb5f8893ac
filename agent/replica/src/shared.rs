//! Bytes that several hold and none copies: a segment goes from the HSM's entries to the store and to every member as the
//! bytes that were made first, and with a member that receives it, into its log as those that it took from its socket.

use minicbor::decode::{Decoder, Error};
use minicbor::encode::{Encoder, Write};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Bytes in whatever the outside holds them in. Cloning shares them.
#[derive(Clone)]
pub struct Shared(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Shared {
    /// Takes over what holds the bytes. They must not change from then on.
    #[must_use]
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(owner))
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new([])
    }
}

impl From<Vec<u8>> for Shared {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Shared {}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<C> minicbor::Encode<C> for Shared {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Shared {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        Ok(d.bytes()?.to_vec().into())
    }
}
