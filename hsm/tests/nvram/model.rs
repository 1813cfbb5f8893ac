//! A flash that keeps the rules of [`Flash`] by panicking when they are broken, and that can lose power in the middle
//! of any program or erase, fail silently, have units that fail from some operation on, and decay.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_hsm::{Flash, FlashError, Geometry};

/// How much of the interrupted operation happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tear {
    /// Nothing.
    Nothing,
    /// Some granules or bytes, and a random mixture of old and new bits.
    Random,
    /// Everything, but the caller never heard of it.
    Everything,
}

/// Bytes that an interrupted operation left half way.
#[derive(Clone)]
struct Marginal {
    at: usize,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// How a unit fails, once it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// An erase is reported as failed, and leaves any mixture.
    Erase,
    /// A program is reported as failed, and leaves any mixture, all of it or nothing.
    Program,
    /// An erase is reported as done, and is not.
    SilentErase,
    /// A program is reported as done, and is not.
    SilentProgram,
    /// What was erased reads as erased until the next restart, and then as before.
    WeakErase,
    /// Nothing can be read.
    Read,
}

/// A unit that fails from some program or erase on, counted over all restarts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) unit: u32,
    pub(crate) from: u64,
    pub(crate) how: Failing,
}

/// A program or an erase that was done in full.
#[derive(Clone)]
pub(crate) enum Operation {
    Program { unit: u32, offset: u32, bytes: Vec<u8> },
    Erase { unit: u32 },
}

#[derive(Clone)]
pub(crate) struct ModelFlash {
    pub(crate) geometry: Geometry,
    pub(crate) bytes: Vec<u8>,
    programmed: Vec<bool>,
    /// Seeds the next draws.
    seed: u64,
    /// Programs and erases since the last restart.
    pub(crate) operations: u64,
    /// The operation that power fails in.
    pub(crate) cut_at: Option<(u64, Tear)>,
    /// The operation that reports success without having done all of its work.
    pub(crate) silent_at: Option<u64>,
    /// Whether torn bytes read differently after each restart.
    pub(crate) wavers: bool,
    marginal: Vec<Marginal>,
    pub(crate) is_off: bool,
    pub(crate) programmed_bytes: u64,
    pub(crate) erases: u64,
    /// What was done since the last restart.
    pub(crate) journal: Vec<Operation>,
    pub(crate) faults: Vec<Fault>,
    /// A unit in which erases and programs are reported as failed and change nothing.
    pub(crate) stuck: Option<u32>,
    /// Programs and erases ever.
    pub(crate) clock: u64,
    /// By unit, when it was last programmed or erased, or an attempt was made.
    pub(crate) touched: Vec<u64>,
    /// What a weak erase did not clear for good.
    weak: Vec<(usize, Vec<u8>)>,
}

impl ModelFlash {
    pub(crate) fn new(units: u32, unit_bytes: u32, write_bytes: u32, seed: u64) -> Self {
        let size = (units * unit_bytes) as usize;
        Self {
            geometry: Geometry { units, unit_bytes, write_bytes },
            bytes: vec![0xff; size],
            programmed: vec![false; size / write_bytes as usize],
            seed: seed << 32,
            operations: 0,
            cut_at: None,
            silent_at: None,
            wavers: false,
            marginal: vec![],
            is_off: false,
            programmed_bytes: 0,
            erases: 0,
            journal: vec![],
            faults: vec![],
            stuck: None,
            clock: 0,
            touched: vec![0; units as usize],
            weak: vec![],
        }
    }

    /// Power is back, and nothing is going to go wrong.
    pub(crate) fn restart(&mut self) {
        (self.is_off, self.operations, self.cut_at, self.silent_at) = (false, 0, None, None);
        self.journal.clear();
        for (at, old) in std::mem::take(&mut self.weak) {
            let now: Vec<u8> = old.iter().zip(&self.bytes[at..]).map(|(old, now)| old & now).collect();
            self.put(at, &now);
        }
        if self.wavers {
            for torn in std::mem::take(&mut self.marginal) {
                let now = match self.draw().random_range(0..3) {
                    0 => torn.old.clone(),
                    1 => torn.new.clone(),
                    _ => self.mix(&torn.old, &torn.new),
                };
                self.put(torn.at, &now);
                self.marginal.push(torn);
            }
        }
    }

    /// Puts these bytes at the start of an erased unit, as if they had always been there.
    pub(crate) fn fill(&mut self, unit: u32, bytes: &[u8]) {
        let at = self.place(unit, 0, bytes.len());
        self.put(at, bytes);
    }

    /// Does again what another flash did.
    pub(crate) fn repeat(&mut self, operation: &Operation) -> Result<(), FlashError> {
        match operation {
            Operation::Program { unit, offset, bytes } => self.program(*unit, *offset, bytes),
            Operation::Erase { unit } => self.erase(*unit),
        }
    }

    /// Offset and length of each program since the last restart.
    pub(crate) fn programs(&self) -> Vec<(usize, usize)> {
        let unit_bytes = self.geometry.unit_bytes;
        let program = |operation: &Operation| match operation {
            Operation::Program { unit, offset, bytes } => {
                Some(((unit * unit_bytes + offset) as usize, bytes.len()))
            }
            Operation::Erase { .. } => None,
        };
        self.journal.iter().filter_map(program).collect()
    }

    fn draw(&mut self) -> StdRng {
        self.seed += 1;
        StdRng::seed_from_u64(self.seed)
    }

    fn granule(&self) -> usize {
        self.geometry.write_bytes as usize
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        let granule = self.granule();
        for g in at / granule..(at + bytes.len()).div_ceil(granule) {
            self.programmed[g] = self.bytes[g * granule..(g + 1) * granule].iter().any(|b| *b != 0xff);
        }
    }

    /// Every bit is the old or the new one; few, half or most of them new.
    fn mix(&mut self, old: &[u8], new: &[u8]) -> Vec<u8> {
        let (mut rng, mut a, mut b) = (self.draw(), old.to_vec(), old.to_vec());
        rng.fill(&mut a[..]);
        rng.fill(&mut b[..]);
        let amount = rng.random_range(0..3);
        let is_new = a.iter().zip(b).map(|(a, b)| match amount {
            0 => a & b,
            1 => *a,
            _ => a | b,
        });
        old.iter().zip(new).zip(is_new).map(|((old, new), is_new)| (old & !is_new) | (new & is_new)).collect()
    }

    fn place(&self, unit: u32, offset: u32, len: usize) -> usize {
        assert!(unit < self.geometry.units, "no such unit");
        assert!(offset as usize + len <= self.geometry.unit_bytes as usize, "outside the unit");
        (unit * self.geometry.unit_bytes + offset) as usize
    }

    /// Does `tear` of what turns `old` into `new` at `at`, granule after granule.
    fn tear_program(&mut self, at: usize, new: &[u8], tear: Tear) {
        let granules = new.len() / self.granule();
        let whole = match tear {
            Tear::Nothing => 0,
            Tear::Random => self.draw().random_range(0..granules),
            Tear::Everything => granules,
        } * self.granule();
        self.put(at, &new[..whole]);
        if tear == Tear::Random {
            self.leave_marginal(at + whole, new[whole..whole + self.granule()].to_vec());
        }
    }

    fn leave_marginal(&mut self, at: usize, new: Vec<u8>) {
        let old = self.bytes[at..at + new.len()].to_vec();
        let now = self.mix(&old, &new);
        self.put(at, &now);
        self.marginal.push(Marginal { at, old, new });
    }

    fn is_settled(&mut self, at: usize, len: usize) {
        self.marginal.retain(|m| m.at + m.new.len() <= at || at + len <= m.at);
    }

    /// Whether this unit fails in this way by now.
    fn fails(&self, unit: u32, how: Failing) -> bool {
        self.faults.iter().any(|f| (f.unit, f.how) == (unit, how) && f.from <= self.clock)
    }

    /// How much of an operation happens that is reported as failed.
    fn failed_tear(&mut self) -> Tear {
        [Tear::Nothing, Tear::Random, Tear::Everything][self.draw().random_range(0..3)]
    }

    /// Whether this operation is the one that power fails in.
    fn next_operation(&mut self, unit: u32) -> Option<Tear> {
        self.operations += 1;
        self.clock += 1;
        self.touched[unit as usize] = self.clock;
        if self.stuck == Some(unit) {
            return Some(Tear::Nothing);
        }
        let tear = self.cut_at.filter(|(at, _)| *at == self.operations).map(|(_, tear)| tear);
        self.is_off |= tear.is_some();
        tear
    }
}

impl Flash for ModelFlash {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        if self.is_off || self.fails(unit, Failing::Read) {
            return Err(FlashError::Read);
        }
        let at = self.place(unit, offset, out.len());
        out.copy_from_slice(&self.bytes[at..at + out.len()]);
        Ok(())
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        if self.is_off {
            return Err(FlashError::Program);
        }
        let (at, granule) = (self.place(unit, offset, bytes.len()), self.granule());
        assert!(at.is_multiple_of(granule) && bytes.len().is_multiple_of(granule), "not aligned");
        for g in at / granule..(at + bytes.len()) / granule {
            assert!(!self.programmed[g], "granule {g} is programmed twice");
        }
        let new: Vec<u8> =
            self.bytes[at..at + bytes.len()].iter().zip(bytes).map(|(old, new)| old & new).collect();
        let cut = self.next_operation(unit);
        let failed = self.fails(unit, Failing::Program).then(|| self.failed_tear());
        if let Some(tear) = cut.or(failed) {
            self.tear_program(at, &new, tear);
            return Err(FlashError::Program);
        }
        self.is_settled(at, new.len());
        self.put(at, &new);
        (at / granule..(at + new.len()) / granule).for_each(|g| self.programmed[g] = true);
        self.journal.push(Operation::Program { unit, offset, bytes: bytes.to_vec() });
        self.programmed_bytes += new.len() as u64;
        if self.silent_at == Some(self.operations) || self.fails(unit, Failing::SilentProgram) {
            let stuck = (at..at + new.len()).rfind(|i| self.bytes[*i] != 0xff).expect("no bit is cleared");
            self.bytes[stuck] |= 1 << self.bytes[stuck].trailing_ones();
        }
        Ok(())
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        if self.is_off {
            return Err(FlashError::Erase);
        }
        let (len, cut) = (self.geometry.unit_bytes as usize, self.next_operation(unit));
        let at = self.place(unit, 0, len);
        let tear = cut.or_else(|| self.fails(unit, Failing::Erase).then(|| self.failed_tear()));
        if tear.is_none() && self.fails(unit, Failing::WeakErase) {
            self.weak.push((at, self.bytes[at..at + len].to_vec()));
        }
        match tear {
            None if self.silent_at == Some(self.operations) || self.fails(unit, Failing::SilentErase) => {
                self.put(at + 64, &vec![0xff; len - 64]);
                let granule = self.granule();
                self.programmed[at / granule..(at + len) / granule].fill(false);
            }
            None | Some(Tear::Everything) => {
                self.is_settled(at, len);
                self.put(at, &vec![0xff; len]);
            }
            Some(Tear::Nothing) => {}
            Some(Tear::Random) => {
                self.is_settled(at, len);
                let mut rng = self.draw();
                let from = rng.random_range(0..len / self.granule()) * self.granule();
                let (first, last) = if rng.random() { (0, from) } else { (from, len) };
                self.put(at + first, &vec![0xff; last - first]);
                self.leave_marginal(at, vec![0xff; len]);
            }
        }
        if tear.is_some() {
            return Err(FlashError::Erase);
        }
        self.journal.push(Operation::Erase { unit });
        self.erases += 1;
        Ok(())
    }
}
