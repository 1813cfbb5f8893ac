//! Which erase units failed.

/// The most erase units that the log works on.
pub(super) const MAX_UNITS: u32 = 256;
const BYTES: usize = MAX_UNITS as usize / 8;

/// A set of erase units, one bit each, the first unit in the lowest bit of the first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Units([u8; BYTES]);

impl Units {
    pub(super) const NONE: Self = Self([0; BYTES]);

    pub(super) fn insert(&mut self, unit: u32) {
        let (byte, bit) = Self::place(unit);
        if let Some(byte) = self.0.get_mut(byte) {
            *byte |= bit;
        }
    }

    pub(super) fn contains(&self, unit: u32) -> bool {
        let (byte, bit) = Self::place(unit);
        self.0.get(byte).is_some_and(|byte| byte & bit != 0)
    }

    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.byte(i) | other.byte(i)))
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.byte(i) & !other.byte(i)))
    }

    /// The bytes that hold the bits of this many units.
    pub(super) fn to_bytes(self, units: u32) -> impl Iterator<Item = u8> {
        self.0.into_iter().take(Self::len(units))
    }

    /// A set of these units; `None` if there are too few or too many bytes, or they name a unit that does not exist.
    pub(super) fn from_bytes(bytes: &[u8], units: u32) -> Option<Self> {
        let mut set = Self::NONE;
        if bytes.len() != Self::len(units) {
            return None;
        }
        set.0.get_mut(..bytes.len())?.copy_from_slice(bytes);
        (units..MAX_UNITS).all(|unit| !set.contains(unit)).then_some(set)
    }

    /// How many bytes hold the bits of this many units.
    pub(super) const fn len(units: u32) -> usize {
        units.div_ceil(u8::BITS) as usize
    }

    fn byte(&self, i: usize) -> u8 {
        self.0.get(i).copied().unwrap_or_default()
    }

    const fn place(unit: u32) -> (usize, u8) {
        ((unit / u8::BITS) as usize, 1 << (unit % u8::BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_survives_its_bytes() {
        for units in [3, 8, 32, 33, MAX_UNITS] {
            let mut set = Units::NONE;
            for unit in [0, units / 2, units - 1] {
                set.insert(unit);
            }
            assert_eq!(set.count(), (0..units).filter(|unit| set.contains(*unit)).count() as u32);
            assert!(set.contains(0) && set.contains(units - 1) && !set.contains(units));
            let bytes: alloc::vec::Vec<u8> = set.to_bytes(units).collect();
            assert_eq!(Units::from_bytes(&bytes, units), Some(set));
            assert_eq!(Units::from_bytes(&bytes[1..], units), None);
            assert_eq!(Units::from_bytes(&[&bytes[..], &[0]].concat(), units), None);
        }
        assert_eq!(Units::from_bytes(&[0b1000], 3), None, "there is no fourth unit");
        let [mut a, mut b] = [Units::NONE; 2];
        a.insert(1);
        a.insert(2);
        b.insert(2);
        assert_eq!((a.and(&b), a.without(&b).count(), b.without(&a)), (a, 1, Units::NONE));
    }
}
