//! One simulated HSM: a real core over flash in memory, restartable.

use rand::SeedableRng;
use rand::rngs::StdRng;
use strongroom_hsm::{Config, Core, Env, Flash, FlashError, Geometry};
use strongroom_proto::hsm::{DeviceStatus, Reply, Request};

const GEOMETRY: Geometry = Geometry { units: 4, unit_bytes: 1 << 14, write_bytes: 8 };

struct MemoryFlash(Vec<Vec<u8>>);

impl MemoryFlash {
    fn erased() -> Self {
        Self(vec![vec![0xff; GEOMETRY.unit_bytes as usize]; GEOMETRY.units as usize])
    }

    fn range(&mut self, unit: u32, offset: u32, len: usize) -> Result<&mut [u8], FlashError> {
        let offset = offset as usize;
        let unit = self.0.get_mut(unit as usize).ok_or(FlashError::OutOfRange)?;
        unit.get_mut(offset..offset.saturating_add(len)).ok_or(FlashError::OutOfRange)
    }
}

impl Flash for MemoryFlash {
    fn geometry(&self) -> Geometry {
        GEOMETRY
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        out.copy_from_slice(self.range(unit, offset, out.len())?);
        Ok(())
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let at = self.range(unit, offset, bytes.len())?;
        at.iter_mut().zip(bytes).for_each(|(old, new)| *old &= new);
        Ok(())
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        self.range(unit, 0, GEOMETRY.unit_bytes as usize)?.fill(0xff);
        Ok(())
    }
}

struct SeededEnv {
    flash: MemoryFlash,
    rng: StdRng,
}

impl Env for SeededEnv {
    type Flash = MemoryFlash;
    type Rng = StdRng;

    fn flash(&mut self) -> &mut MemoryFlash {
        &mut self.flash
    }

    fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }
}

/// One HSM.
pub struct Device {
    core: Core,
    env: SeededEnv,
    config: Config,
}

impl Device {
    /// A new HSM that draws from `seed`.
    ///
    /// # Panics
    /// If the core does not start on an empty flash.
    #[must_use]
    pub fn new(seed: u64, config: Config) -> Self {
        let mut env = SeededEnv { flash: MemoryFlash::erased(), rng: StdRng::seed_from_u64(seed) };
        let core = Core::start(&mut env, config.clone()).expect("an empty flash starts a new HSM");
        Self { core, env, config }
    }

    /// Loses RAM and starts from NVRAM.
    ///
    /// # Panics
    /// If the core does not start on the flash that it left.
    pub fn restart(&mut self) {
        self.core = Core::start(&mut self.env, self.config.clone()).expect("an intact flash starts");
    }

    /// Bytes in, bytes out.
    pub fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        self.core.handle(&mut self.env, request)
    }

    /// Asks as a host does.
    ///
    /// # Panics
    /// If the reply is none.
    pub fn ask(&mut self, request: &Request) -> Reply {
        let request = minicbor::to_vec(request).expect("a vector takes all bytes");
        minicbor::decode(&self.handle(&request)).expect("every reply decodes")
    }

    /// What it says of itself.
    ///
    /// # Panics
    /// If it does not.
    pub fn status(&mut self) -> DeviceStatus {
        match self.ask(&Request::DeviceStatus) {
            Reply::Device(status) => status,
            other => panic!("no status but {other:?}"),
        }
    }
}
