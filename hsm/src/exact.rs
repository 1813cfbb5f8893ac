//! Stored things are read only if this build would have written the same bytes.
//!
//! A decoder that skips what it does not know mistakes the bytes of a newer build for its own, and writes them back
//! without what it skipped. So whatever is read from NVRAM, from a sealed record or from a sealed realm is encoded
//! again and compared: leftover bytes, extra fields, and any other way of writing the same thing are all refused.

use minicbor::encode::Write;
use minicbor::{Decode, Encode};
use strongroom_proto::bounded::end_of_item;

/// The value that `bytes` as a whole encode, if they are what this build writes for it.
pub(crate) fn decode<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = decode_first(bytes)?;
    rest.is_empty().then_some(value)
}

/// The value that `bytes` begin with, and what follows it.
pub(crate) fn decode_first<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<(T, &[u8])> {
    end_of_item(&mut minicbor::Decoder::new(bytes))?;
    let value: T = minicbor::decode(bytes).ok()?;
    // Secret: compared as it is encoded, so that there is no second copy.
    let mut rest = Expected(bytes);
    minicbor::encode(&value, &mut rest).ok()?;
    Some((value, rest.0))
}

/// What is still to be written.
struct Expected<'a>(&'a [u8]);

/// Something else was written.
struct Differs;

impl Write for Expected<'_> {
    type Error = Differs;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Differs> {
        self.0 = self.0.strip_prefix(bytes).ok_or(Differs)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Encode, Decode, PartialEq, Debug)]
    struct Old {
        #[n(0)]
        a: u8,
        #[n(1)]
        b: Option<u8>,
    }

    #[test]
    fn only_the_bytes_that_would_be_written_are_read() {
        let old = Old { a: 1, b: Some(2) };
        assert_eq!(decode::<Old>(&[0x82, 1, 2]), Some(old));
        assert_eq!(decode::<Old>(&[0x81, 1]), Some(Old { a: 1, b: None }));
        let odd: [&[u8]; 8] = [
            &[],
            &[0x82, 1],
            &[0x82, 1, 2, 0],
            // An extra field; a field that could have been left out; a longer integer; an array without a length.
            &[0x83, 1, 2, 3],
            &[0x82, 1, 0xf6],
            &[0x82, 0x18, 1, 2],
            &[0x9f, 1, 2, 0xff],
            &[0x98, 2, 1, 2],
        ];
        for bytes in odd {
            assert_eq!(decode::<Old>(bytes), None, "{bytes:?}");
        }
        assert!(minicbor::decode::<Old>(odd[3]).is_ok(), "what a decoder alone would take");
    }
}
