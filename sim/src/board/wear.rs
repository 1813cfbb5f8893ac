//! How fast captures wear out the board's flash.

use crate::Error;
use rand::SeedableRng;
use rand::rngs::StdRng;
use strongroom_hsm::{Config, Core, Flash, FlashError, Geometry};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{CaptureOutcome, GroupEntries, MAX_GROUPS, RealmPolicy, Reply, Request};
use strongroom_proto::ids::{BuildDigest, GroupId};
use strongroom_testkit::founding::{make_group, make_realm, member};
use strongroom_testkit::{Hsm, MemoryFlash, TestEnv};

/// NVRAM as the firmware uses the board's flash: `hsm/firmware/src/cfi.rs`.
const GEOMETRY: Geometry = Geometry { units: 32, unit_bytes: 256 << 10, write_bytes: 4 };
/// Captures per second of a busy group.
const CAPTURES_PER_SECOND: f64 = 10.0;
const SECONDS_PER_YEAR: f64 = 365.25 * 86_400.0;
/// How long a part should last, for finding out how many captures that allows.
const YEARS: f64 = 10.0;

/// A flash that counts.
struct Counted {
    inner: MemoryFlash,
    programmed: u64,
    erases: u64,
}

impl Flash for Counted {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        self.inner.read(unit, offset, out)
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.programmed += bytes.len() as u64;
        self.inner.program(unit, offset, bytes)
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        self.erases += 1;
        self.inner.erase(unit)
    }
}

/// One HSM, alone in each of its groups, leading them all.
struct Alone {
    core: Core,
    env: TestEnv<Counted>,
    groups: Vec<GroupId>,
}

impl Alone {
    fn new(groups: usize) -> Result<Self, Error> {
        let flash = Counted { inner: MemoryFlash::new(GEOMETRY), programmed: 0, erases: 0 };
        let mut env = TestEnv::new(flash, StdRng::seed_from_u64(1));
        let config = Config::firmware(String::from("wear"), BuildDigest([0; 32]));
        let core = Core::start(&mut env, config)?;
        let mut alone = Self { core, env, groups: Vec::new() };
        let member = member(&make_realm(&mut alone, RealmPolicy::closed()));
        for _ in 0..groups {
            let group = make_group(&mut alone, vec![member]).group;
            alone.ask(&Request::Lead(group, None));
            alone.groups.push(group);
        }
        Ok(alone)
    }

    fn entry(&mut self, group: GroupId) -> Result<Entry, Error> {
        match self.ask(&Request::Process { group, trees: vec![], requests: vec![] }) {
            Reply::Processed { made: Some(made), .. } => Ok(made.entry),
            other => Err(format!("no entry but {other:?}").into()),
        }
    }

    /// Every group makes an entry, and one write captures them all.
    fn capture(&mut self) -> Result<(), Error> {
        let groups = self.groups.clone();
        let mut waiting = Vec::new();
        for group in groups {
            waiting.push(GroupEntries { group, entries: vec![self.entry(group)?] });
        }
        let Reply::Captures(outcomes) = self.ask(&Request::Capture(waiting)) else {
            return Err("no capture".into());
        };
        for (group, outcome) in self.groups.clone().into_iter().zip(outcomes) {
            let CaptureOutcome::Captured(statement) = outcome else { return Err("not captured".into()) };
            self.ask(&Request::Commit { group, statements: vec![statement] });
        }
        Ok(())
    }
}

impl Hsm for Alone {
    fn ask(&mut self, request: &Request) -> Reply {
        let request = minicbor::to_vec(request).expect("a vector takes all bytes");
        minicbor::decode(&self.core.handle(&mut self.env, &request)).expect("every reply decodes")
    }
}

/// Captures in one group and in as many groups as there may be, and prints what that costs the flash.
///
/// # Errors
/// A capture fails.
pub fn wear(captures: u32) -> Result<(), Error> {
    let Geometry { units, unit_bytes, write_bytes } = GEOMETRY;
    println!(
        "{units} erase units of {unit_bytes} bytes, programmed in {write_bytes}; {captures} captures of each kind\n"
    );
    for groups in [1, MAX_GROUPS] {
        let mut alone = Alone::new(groups)?;
        let Counted { programmed, .. } = alone.env.flash;
        // Whole units, so that the state at the beginning of each one is included.
        let mut counted = 0_u32;
        let mut from = None;
        while counted < captures || from.is_none() {
            let before = alone.env.flash.erases;
            alone.capture()?;
            if alone.env.flash.erases > before && from.is_none() {
                (from, counted) = (Some((alone.env.flash.programmed, alone.env.flash.erases)), 0);
            }
            counted += 1;
        }
        let (from_bytes, from_erases) = from.unwrap_or((programmed, 0));
        let bytes = (alone.env.flash.programmed - from_bytes) as f64 / f64::from(counted);
        let erases = (alone.env.flash.erases - from_erases) as f64 / f64::from(counted);
        print_wear(groups, bytes, erases);
    }
    Ok(())
}

fn print_wear(groups: usize, bytes: f64, erases: f64) {
    let per_million = 1e6;
    println!("per million writes, each a capture in {groups} group(s):");
    println!("  {:.1} MB programmed, {:.0} erases", bytes * per_million / 1e6, erases * per_million);
    for cycles in [1_000.0, 10_000.0, 100_000.0] {
        let captures = cycles * f64::from(GEOMETRY.units) / erases;
        let years = captures / CAPTURES_PER_SECOND / SECONDS_PER_YEAR;
        let interval_ms = YEARS * SECONDS_PER_YEAR / captures * 1e3;
        println!(
            "  a part of {cycles} cycles: {years:.1} years at {CAPTURES_PER_SECOND} writes a second; {YEARS} years if \
             writes are {interval_ms:.0} ms apart"
        );
    }
}
