//! The NVRAM of a simulated device.

use strongroom_hsm::{Flash, FlashError, Geometry};

/// A NOR flash in memory: an erase sets every bit of a unit, a program clears bits, and
/// nothing survives the process.
#[derive(Clone)]
pub struct MemoryFlash {
    /// While set, every program and every erase fails and changes nothing.
    pub failing: bool,
    geometry: Geometry,
    units: Vec<Vec<u8>>,
}

impl MemoryFlash {
    /// An erased flash of this shape.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        let units = vec![vec![0xff; geometry.unit_bytes as usize]; geometry.units as usize];
        Self { failing: false, geometry, units }
    }

    /// Every byte, by erase unit.
    #[must_use]
    pub fn units(&self) -> &[Vec<u8>] {
        &self.units
    }

    fn range(&mut self, unit: u32, offset: u32, len: usize) -> Result<&mut [u8], FlashError> {
        let start = offset as usize;
        let end = start.checked_add(len).ok_or(FlashError::OutOfRange)?;
        let unit = self.units.get_mut(unit as usize).ok_or(FlashError::OutOfRange)?;
        unit.get_mut(start..end).ok_or(FlashError::OutOfRange)
    }
}

impl Flash for MemoryFlash {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        out.copy_from_slice(self.range(unit, offset, out.len())?);
        Ok(())
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let (failing, granule) = (self.failing, self.geometry.write_bytes as usize);
        let at = self.range(unit, offset, bytes.len())?;
        if !(offset as usize).is_multiple_of(granule) || !bytes.len().is_multiple_of(granule) {
            return Err(FlashError::OutOfRange);
        }
        if failing {
            return Err(FlashError::Program);
        }
        at.iter_mut().zip(bytes).for_each(|(old, new)| *old &= new);
        Ok(())
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        let unit = self.units.get_mut(unit as usize).ok_or(FlashError::OutOfRange)?;
        if self.failing {
            return Err(FlashError::Erase);
        }
        unit.fill(0xff);
        Ok(())
    }
}
