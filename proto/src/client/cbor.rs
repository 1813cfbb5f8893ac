//! CBOR (RFC 8949) as the client protocol writes it: maps with text keys, variants by name.

use crate::bounded::end_of_item;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use minicbor::data::Type;

/// A message is not what section 5 of the client protocol allows. A realm answers `DecodingError`; a client considers
/// the realm faulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// The byte at which decoding stopped.
    pub at: usize,
    reason: &'static str,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a message of the client protocol: {} at byte {}; send it as section 5 says",
            self.reason, self.at
        )
    }
}

impl core::error::Error for DecodeError {}

/// A value with a place in a client message.
pub(super) trait Wire: Sized {
    fn write(&self, w: &mut Writer);
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Writes items in their shortest form.
pub(super) struct Writer(minicbor::Encoder<Vec<u8>>);

impl Writer {
    // Secret: a growing buffer would leave copies behind.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(minicbor::Encoder::new(Vec::with_capacity(capacity)))
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_writer()
    }

    pub(super) fn map(&mut self, fields: u64) {
        infallible(self.0.map(fields));
    }

    pub(super) fn text(&mut self, text: &str) {
        infallible(self.0.str(text));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        infallible(self.0.bytes(bytes));
    }

    pub(super) fn uint(&mut self, n: u64) {
        infallible(self.0.u64(n));
    }

    /// The header of a variant with content, which follows.
    pub(super) fn variant(&mut self, name: &str) {
        self.map(1);
        self.text(name);
    }

    /// A variant whose content is a variant without fields.
    pub(super) fn variant_of(&mut self, name: &str, content: &str) {
        self.variant(name);
        self.text(content);
    }
}

fn infallible<T>(written: Result<T, minicbor::encode::Error<Infallible>>) {
    debug_assert!(written.is_ok(), "a vector takes every byte");
}

/// The name of a variant, and whether content follows.
pub(super) enum Variant<'b> {
    Unit(&'b str),
    With(&'b str),
}

/// Reads items of definite length.
pub(super) struct Reader<'b>(minicbor::Decoder<'b>);

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(minicbor::Decoder::new(bytes))
    }

    pub(super) fn error(&self, reason: &'static str) -> DecodeError {
        DecodeError { at: self.0.position(), reason }
    }

    fn checked<T>(
        &self,
        read: Result<T, minicbor::decode::Error>,
        expected: &'static str,
    ) -> Result<T, DecodeError> {
        read.map_err(|_| self.error(expected))
    }

    /// Refuses bytes after the item.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.0.position() == self.0.input().len() {
            Ok(())
        } else {
            Err(self.error("bytes after the message"))
        }
    }

    pub(super) fn map(&mut self) -> Result<u64, DecodeError> {
        let fields = self.0.map();
        self.checked(fields, "expected a map")?.ok_or_else(|| self.error("expected a map of definite length"))
    }

    pub(super) fn text(&mut self) -> Result<&'b str, DecodeError> {
        let text = self.0.str();
        self.checked(text, "expected a text")
    }

    pub(super) fn bytes(&mut self) -> Result<&'b [u8], DecodeError> {
        let bytes = self.0.bytes();
        self.checked(bytes, "expected a byte string")
    }

    /// An unsigned integer that fits `T`.
    pub(super) fn uint<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        let n = self.0.u64();
        let n = self.checked(n, "expected an unsigned integer")?;
        T::try_from(n).map_err(|_| self.error("integer out of range"))
    }

    pub(super) fn variant(&mut self) -> Result<Variant<'b>, DecodeError> {
        match self.0.datatype() {
            Ok(Type::String) => self.text().map(Variant::Unit),
            Ok(Type::Map) if self.map()? == 1 => self.text().map(Variant::With),
            _ => Err(self.error("expected a variant")),
        }
    }

    /// Reads a field's value into its place, once.
    pub(super) fn once<T: Wire>(&mut self, place: &mut Option<T>) -> Result<(), DecodeError> {
        if place.is_some() {
            return Err(self.error("duplicate field"));
        }
        *place = Some(T::read(self)?);
        Ok(())
    }

    pub(super) fn present<T>(&self, place: Option<T>) -> Result<T, DecodeError> {
        place.ok_or_else(|| self.error("missing field"))
    }

    /// Passes over one item, however deep, in constant memory.
    pub(super) fn skip(&mut self) -> Result<(), DecodeError> {
        end_of_item(&mut self.0).map(drop).ok_or_else(|| self.error("malformed item"))
    }
}

macro_rules! wire_uint {
    ($($int:ty),+) => {$(
        impl Wire for $int {
            fn write(&self, w: &mut Writer) {
                w.uint(u64::from(*self));
            }

            fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                r.uint()
            }
        }
    )+};
}
wire_uint!(u16, u32, u64);

impl<const N: usize> Wire for [u8; N] {
    fn write(&self, w: &mut Writer) {
        w.bytes(self);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.bytes()?.try_into().map_err(|_| r.error("byte string of another length"))
    }
}

impl Wire for Vec<u8> {
    fn write(&self, w: &mut Writer) {
        w.bytes(self);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.bytes().map(<[u8]>::to_vec)
    }
}

/// Gives a struct its wire form: a map with these keys, written in this order.
macro_rules! wire_map {
    ($name:ident { $($key:literal => $field:ident),+ $(,)? }) => {
        impl $crate::client::cbor::Wire for $name {
            fn write(&self, w: &mut $crate::client::cbor::Writer) {
                w.map([$($key),+].len() as u64);
                $(
                    w.text($key);
                    self.$field.write(w);
                )+
            }

            fn read(r: &mut $crate::client::cbor::Reader<'_>) -> Result<Self, $crate::client::cbor::DecodeError> {
                $(let mut $field = None;)+
                for _ in 0..r.map()? {
                    match r.text()? {
                        $($key => r.once(&mut $field)?,)+
                        _ => r.skip()?,
                    }
                }
                Ok(Self { $($field: r.present($field)?),+ })
            }
        }
    };
}
pub(super) use wire_map;
