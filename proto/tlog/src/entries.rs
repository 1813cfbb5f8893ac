//! Bundles: the entries under the leaves of a tile (C2SP tlog-tiles, "Log entries"). An entry of the tree is the hash of an entry of
//! the group's log.

use strongroom_proto::ids::EntryHash;

/// The length of an entry with the two bytes before it that say how long it is.
pub const ENTRY: usize = 2 + EntryHash::LEN;

/// That bytes are no bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BundleError {
    /// It has another length.
    #[error("a bundle of {count} entries has {expected} bytes, not {found}", expected = count * ENTRY)]
    Length {
        /// How many entries it has.
        count: usize,
        /// How many bytes there are.
        found: usize,
    },
    /// An entry is not said to be as long as it is.
    #[error("entry {place} of the bundle is not one of 32 bytes")]
    Entry {
        /// Which one, from 0.
        place: usize,
    },
}

/// The bundle of these entries.
#[must_use]
pub fn bundle(entries: &[EntryHash]) -> Vec<u8> {
    let length = (EntryHash::LEN as u16).to_be_bytes();
    entries.iter().flat_map(|entry| length.into_iter().chain(entry.0)).collect()
}

/// The `count` entries of a bundle, or the first of the bundle that has more, up to 256.
///
/// # Errors
/// [`BundleError`].
pub fn parse(bundle: &[u8], count: usize) -> Result<Vec<EntryHash>, BundleError> {
    let full = usize::from(crate::tile::FULL) * ENTRY;
    if bundle.len() != count * ENTRY && (bundle.len() != full || count * ENTRY > full) {
        return Err(BundleError::Length { count, found: bundle.len() });
    }
    let (entries, _) = bundle.as_chunks::<ENTRY>();
    let parse = |(place, bytes): (usize, &[u8; ENTRY])| match bytes {
        [0, 32, entry @ ..] => Ok(EntryHash(*entry)),
        _ => Err(BundleError::Entry { place }),
    };
    entries.iter().take(count).enumerate().map(parse).collect()
}
