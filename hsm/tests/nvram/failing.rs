//! Erase units that fail for good, alone and with power cuts: nothing acknowledged is forgotten, and the device goes on as
//! long as three units are left.

use super::{Promise, TEARS, decode, delta, found, full, record};
use crate::migrated::{device, status};
use crate::model::{Failing, Fault, ModelFlash, Operation, Tear};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_hsm::nvram::NvramError;
use strongroom_hsm::{Config, Core, Flash};
use strongroom_hsm_planted::Bug;
use strongroom_hsm_planted::nvram::{Nvram, Opened};
use strongroom_proto::hsm::{RealmPolicy, Request, Wear};
use strongroom_testkit::MemoryFlash;

const UNITS: u32 = 6;
const UNIT_BYTES: u32 = 6912;
/// Those after which the unit still gives back what it had.
const WRITING: [Failing; 4] =
    [Failing::Erase, Failing::Program, Failing::SilentErase, Failing::SilentProgram];

fn flash_of(units: u32, seed: u64) -> ModelFlash {
    ModelFlash::new(units, UNIT_BYTES, 8, seed)
}

fn start(flash: &mut ModelFlash, bug: Option<Bug>) -> Result<(Nvram, u64), NvramError> {
    Ok(match Nvram::open(flash, bug)? {
        Opened::Empty(new) => (new.format(flash, &full(0))?, 0),
        Opened::Found(recovered, old) => {
            let version = decode(&recovered, flash);
            (old.restate(flash, &full(version))?, version)
        }
    })
}

/// As `run` for flashes that work, and what is known of the wear in the end.
fn run(
    flash: &mut ModelFlash,
    promise: &mut Promise,
    steps: u64,
    bug: Option<Bug>,
) -> Result<Nvram, NvramError> {
    let (mut nvram, mut version) = start(flash, bug)?;
    promise.acknowledged = Some(version);
    promise.tried = promise.tried.max(version);
    for _ in 0..steps {
        version += 1;
        promise.tried = version;
        if version.is_multiple_of(29) {
            nvram.append_full(flash, &full(version))?;
        } else {
            nvram.append_delta(flash, &delta(version), || full(version))?;
        }
        promise.acknowledged = Some(version);
    }
    Ok(nvram)
}

/// Restarts, and checks that what is found is allowed.
fn check(flash: &mut ModelFlash, promise: &Promise, bug: Option<Bug>) -> Result<(), String> {
    flash.restart();
    match found(flash, bug) {
        Ok(found) if promise.allows(found) => Ok(()),
        outcome => Err(format!("{promise:?}, but found {outcome:?}")),
    }
}

const STEPS: u64 = 90;

/// The unit of each operation of a workload.
fn units_in_turn() -> Vec<u32> {
    let mut whole = flash_of(UNITS, 1);
    run(&mut whole, &mut Promise::default(), STEPS, None).expect("an empty flash");
    let unit = |operation: &Operation| match operation {
        Operation::Program { unit, .. } | Operation::Erase { unit } => *unit,
    };
    whole.journal.iter().map(unit).collect()
}

#[test]
fn a_unit_that_fails_in_any_operation_is_skipped_and_remembered() {
    let mut failed = 0;
    for (unit, from) in units_in_turn().into_iter().zip(1..) {
        for how in WRITING {
            let what = format!("unit {unit} fails at {from}: {how:?}");
            let mut flash = flash_of(UNITS, from);
            flash.faults = vec![Fault { unit, from, how }];
            let mut promise = Promise::default();
            let nvram = run(&mut flash, &mut promise, STEPS, None).unwrap_or_else(|e| panic!("{what}: {e}"));
            let wear = nvram.wear();
            assert!(wear.bad_units <= 1 && wear.spare_units == 3 - wear.bad_units, "{what}: {wear:?}");
            check(&mut flash, &promise, None).unwrap_or_else(|e| panic!("{what}: {e}"));
            if wear.bad_units == 0 {
                continue;
            }
            failed += 1;
            let since = flash.clock;
            for _ in 0..3 {
                flash.restart();
                let nvram =
                    run(&mut flash, &mut promise, STEPS, None).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(nvram.wear().bad_units, 1, "{what}");
            }
            assert!(flash.touched[unit as usize] <= since, "{what}: used again");
        }
    }
    assert!(failed > 390, "{failed} units failed");
}

/// A unit fails, and is looked for in what comes after. Whether it was used again, or forgotten.
fn used_again(bug: Option<Bug>) -> Result<(), String> {
    let mut flash = flash_of(UNITS, 2);
    flash.faults = vec![Fault { unit: 2, from: 0, how: Failing::Program }];
    let (mut nvram, _) = start(&mut flash, bug).map_err(|e| e.to_string())?;
    nvram.append_full(&mut flash, &full(1)).map_err(|e| e.to_string())?;
    let since = flash.clock;
    for restart in 0..2 {
        for version in 2..10 {
            nvram.append_full(&mut flash, &full(version)).map_err(|e| e.to_string())?;
        }
        if flash.touched[2] > since {
            return Err(format!("the unit is used again after {restart} restarts"));
        }
        flash.restart();
        nvram = start(&mut flash, bug).map_err(|e| e.to_string())?.0;
    }
    Ok(())
}

#[test]
fn a_unit_that_failed_is_not_used_again() {
    used_again(None).unwrap();
}

#[test]
fn a_log_that_uses_bad_units_again_is_caught() {
    used_again(Some(Bug::UseBadUnits)).unwrap_err();
}

/// Of three units one fails.
fn goes_on_with_two_units(bug: Option<Bug>) -> bool {
    let mut flash = flash_of(3, 7);
    let (mut nvram, _) = start(&mut flash, bug).expect("an empty flash");
    flash.faults = vec![Fault { unit: 2, from: 0, how: Failing::Erase }];
    (1..6).all(|version| nvram.append_full(&mut flash, &full(version)).is_ok())
}

#[test]
fn a_log_that_goes_on_with_two_units_is_caught() {
    assert!(!goes_on_with_two_units(None));
    assert!(goes_on_with_two_units(Some(Bug::TwoUnitsDo)));
}

#[test]
fn a_log_that_forgets_bad_units_is_caught() {
    used_again(Some(Bug::ForgetBadUnits)).unwrap_err();
}

/// The power fails soon after a unit did, and in the start after that.
#[test]
fn a_power_cut_right_after_a_unit_failed_forgets_nothing() {
    let mut cuts = 0;
    for (unit, from) in units_in_turn().into_iter().zip(1..) {
        let how = WRITING[from as usize % WRITING.len()];
        for (after, tear) in (0..8).map(|after| (after, TEARS[(from + after) as usize % TEARS.len()])) {
            let what = format!("unit {unit} fails at {from}: {how:?}, cut {after} later, {tear:?}");
            let (mut flash, mut promise) = (flash_of(UNITS, from), Promise::default());
            flash.faults = vec![Fault { unit, from, how }];
            flash.cut_at = Some((from + after, tear));
            let outcome = run(&mut flash, &mut promise, STEPS, None).map(|_| ());
            assert!(outcome.is_ok() || flash.is_off, "{what}: {outcome:?}");
            check(&mut flash, &promise, None).unwrap_or_else(|e| panic!("{what}: {e}"));
            for again in 1..12 {
                let (mut flash, mut promise) = (flash.clone(), promise);
                flash.cut_at = Some((again, TEARS[again as usize % TEARS.len()]));
                let outcome = run(&mut flash, &mut promise, 0, None).map(|_| ());
                assert!(outcome.is_ok() || flash.is_off, "{what}, again at {again}: {outcome:?}");
                check(&mut flash, &promise, None).unwrap_or_else(|e| panic!("{what}, again at {again}: {e}"));
                run(&mut flash, &mut promise, 2, None)
                    .unwrap_or_else(|e| panic!("{what}, again at {again}: {e}"));
                check(&mut flash, &promise, None).unwrap_or_else(|e| panic!("{what}, again at {again}: {e}"));
                cuts += 1;
            }
        }
    }
    assert!(cuts > 10_000, "{cuts} cuts");
}

fn some_faults(rng: &mut StdRng, kinds: &[Failing], most: u32, until: u64) -> Vec<Fault> {
    let mut units: Vec<u32> = (0..UNITS).collect();
    let mut fault = || Fault {
        unit: units.swap_remove(rng.random_range(0..units.len())),
        from: rng.random_range(0..until),
        how: kinds[rng.random_range(0..kinds.len())],
    };
    (0..most).map(|_| fault()).collect()
}

/// Units fail one after another, at any time, and the power fails again and again; torn bytes read differently after each
/// restart. Units that failed at the end.
fn fail_and_cut_at_random(seed: u64, bug: Option<Bug>) -> Result<u32, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut flash, mut promise) = (flash_of(UNITS, seed), Promise::default());
    flash.wavers = true;
    flash.faults = some_faults(&mut rng, &WRITING, UNITS - 3, 600);
    for _ in 0..60 {
        check(&mut flash, &promise, bug)?;
        flash.cut_at = Some((rng.random_range(1..60), Tear::Random));
        match run(&mut flash, &mut promise, 40, bug) {
            Ok(_) => {}
            Err(_) if flash.is_off => {}
            Err(error) => return Err(format!("{promise:?}: {error:?}")),
        }
    }
    check(&mut flash, &promise, bug)?;
    let nvram = run(&mut flash, &mut promise, 0, bug).map_err(|e| e.to_string())?;
    Ok(nvram.wear().bad_units)
}

#[test]
fn units_that_fail_and_power_that_fails_at_random_forget_nothing_while_three_units_are_left() {
    let failed: u32 = (0..200)
        .map(|seed| fail_and_cut_at_random(seed, None).unwrap_or_else(|e| panic!("seed {seed}: {e}")))
        .sum();
    assert!(failed > 400, "{failed} units failed");
}

/// As above, with units that cannot be read or do not stay erased: then there may be a refusal, but never an older state.
fn never_older(seed: u64) -> Result<bool, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut flash, mut promise) = (flash_of(UNITS, seed), Promise::default());
    flash.wavers = seed.is_multiple_of(2);
    let kinds = [Failing::Read, Failing::WeakErase, Failing::Program, Failing::Erase, Failing::SilentProgram];
    flash.faults = some_faults(&mut rng, &kinds, UNITS - 2, 600);
    for _ in 0..40 {
        flash.restart();
        match found(&mut flash, None) {
            Ok(found) if promise.allows(found) => {}
            Err(NvramError::Lost | NvramError::Damaged | NvramError::Flash(_) | NvramError::WornOut) => {
                return Ok(false);
            }
            outcome => return Err(format!("{promise:?}, but found {outcome:?}; {:?}", flash.faults)),
        }
        flash.cut_at = Some((rng.random_range(1..80), Tear::Random));
        let _ = run(&mut flash, &mut promise, 40, None);
    }
    Ok(true)
}

#[test]
fn units_that_cannot_be_read_or_do_not_stay_erased_never_bring_an_older_state() {
    let started =
        (0..400).filter(|seed| never_older(*seed).unwrap_or_else(|e| panic!("seed {seed}: {e}"))).count();
    assert!((20..380).contains(&started), "{started} of 400 went on to the end");
}

/// Restarts and finds a state although this unit cannot be read.
fn found_without(flash: &ModelFlash, units: &[u32], bug: Option<Bug>) -> Result<Option<u64>, NvramError> {
    let mut flash = flash.clone();
    flash.restart();
    flash.faults = units.iter().map(|unit| Fault { unit: *unit, from: 0, how: Failing::Read }).collect();
    found(&mut flash, bug)
}

#[test]
fn a_unit_that_cannot_be_read_ends_the_device_only_if_it_holds_the_newest_record() {
    let (mut flash, mut promise) = (flash_of(UNITS, 3), Promise::default());
    run(&mut flash, &mut promise, 100, None).expect("an empty flash");
    let newest = (0..UNITS).max_by_key(|unit| flash.touched[*unit as usize]).expect("some");
    for unit in 0..UNITS {
        let expected = if unit == newest { Err(NvramError::Lost) } else { Ok(promise.acknowledged) };
        assert_eq!(found_without(&flash, &[unit], None), expected, "unit {unit}");
    }
    // The one that cannot be read is remembered, and is no obstacle from then on, nor is one more.
    let other = (newest + 2) % UNITS;
    flash.restart();
    flash.faults = vec![Fault { unit: other, from: 0, how: Failing::Read }];
    let nvram = run(&mut flash, &mut promise, 0, None).expect("it is not the newest");
    assert_eq!(nvram.wear().bad_units, 1);
    let newest = (0..UNITS).max_by_key(|unit| flash.touched[*unit as usize]).expect("some");
    let third = (0..UNITS).find(|unit| ![newest, other].contains(unit)).expect("six");
    assert_eq!(found_without(&flash, &[other, third], None), Ok(promise.acknowledged));
}

/// A flash whose unit 1 held version 1 and then failed, so that it could not be marked: units 2 and 3 have what came after.
fn unmarked(bug: Option<Bug>) -> ModelFlash {
    let mut flash = flash_of(UNITS, 4);
    let (mut nvram, _) = start(&mut flash, None).expect("an empty flash");
    nvram.append_delta(&mut flash, &delta(1), || full(1)).expect("NVRAM works");
    flash.restart();
    // Restated into unit 2, whose marks fail from then on; then into what comes after.
    let (mut nvram, _) = match Nvram::open(&mut flash, bug).expect("a state") {
        Opened::Found(recovered, old) => {
            let version = decode(&recovered, &mut flash);
            (old.restate(&mut flash, &full(version)).expect("NVRAM works"), version)
        }
        Opened::Empty(_) => panic!("empty"),
    };
    // The erase that fails leaves nothing behind, and no program changes anything.
    flash.stuck = Some(2);
    nvram.append_delta(&mut flash, &delta(2), || full(2)).expect("there are units left");
    flash.stuck = None;
    flash.restart();
    flash
}

#[test]
fn a_record_that_could_not_be_marked_is_not_taken_when_a_newer_one_is_lost() {
    let flash = unmarked(None);
    assert_eq!(found(&mut flash.clone(), None), Ok(Some(2)));
    for (lost, expected) in [(3, Ok(Some(2))), (4, Err(NvramError::Lost))] {
        let mut flash = flash.clone();
        flash.bytes[(lost * UNIT_BYTES) as usize + 60] ^= 1;
        assert_eq!(found(&mut flash, None), expected, "unit {lost}");
    }
}

#[test]
fn a_log_that_writes_once_after_a_unit_failed_is_caught() {
    let mut flash = unmarked(Some(Bug::OneCopy));
    flash.bytes[(3 * UNIT_BYTES) as usize + 60] ^= 1;
    assert_eq!(found(&mut flash, None), Ok(Some(1)), "this is what the second record is for");
}

#[test]
fn two_units_that_cannot_be_read_end_the_device_for_they_may_hide_a_newer_record() {
    let flash = unmarked(None);
    assert!(matches!(found_without(&flash, &[3, 4], None), Err(NvramError::Flash(_))));
    let older = found_without(&flash, &[3, 4], Some(Bug::ReadErrorsIgnored));
    assert_eq!(older, Ok(Some(1)), "this is what the refusal is for");
    // One of them being known to be bad, the other alone hides nothing.
    assert_eq!(found_without(&flash, &[2, 5], None), Ok(Some(2)));
}

/// A torn record in a unit that cannot be erased any more reads as valid again, and has a higher number than any.
fn torn_record_comes_back(bug: Option<Bug>) -> Result<Option<u64>, NvramError> {
    let mut flash = flash_of(UNITS, 5);
    start(&mut flash, None).expect("an empty flash");
    flash.restart();
    let torn = record(b'F', 100, &full(9));
    let bad = (2 * UNIT_BYTES) as usize;
    flash.bytes[bad..bad + torn.len()].copy_from_slice(&torn);
    flash.bytes[bad + 60] ^= 1;
    flash.stuck = Some(2);
    let (mut nvram, _) = start(&mut flash, None).expect("there are units left");
    nvram.append_delta(&mut flash, &delta(1), || full(1)).expect("NVRAM works");
    flash.restart();
    flash.bytes[bad + 60] ^= 1;
    found(&mut flash, bug)
}

#[test]
fn a_torn_record_in_a_bad_unit_that_reads_as_valid_later_does_not_count() {
    assert_eq!(torn_record_comes_back(None), Ok(Some(1)));
    for bug in [Bug::ForgetBadUnits, Bug::BadUnitsCount] {
        assert_eq!(torn_record_comes_back(Some(bug)), Ok(Some(9)), "this is what remembering is for");
    }
}

#[test]
fn the_device_goes_on_with_three_units_and_ends_with_two() {
    let fault = |unit| Fault { unit, from: 0, how: Failing::Erase };
    for (bad, expected) in [(3, Ok(())), (4, Err(NvramError::WornOut))] {
        let mut flash = flash_of(UNITS, 6);
        flash.faults = (0..bad).map(fault).collect();
        let outcome = run(&mut flash, &mut Promise::default(), STEPS, None);
        assert_eq!(outcome.map(|_| ()), expected, "{bad} bad units");
    }
    // While it runs, and at the restart after.
    let (mut flash, mut promise) = (flash_of(UNITS, 7), Promise::default());
    flash.faults = (0..3).map(fault).collect();
    let nvram = run(&mut flash, &mut promise, STEPS, None).expect("three are left");
    assert_eq!((nvram.wear().bad_units, nvram.wear().spare_units), (3, 0));
    flash.restart();
    flash.faults = (0..6).map(fault).collect();
    assert_eq!(run(&mut flash, &mut promise, STEPS, None).map(|_| ()), Err(NvramError::WornOut));
    assert!(promise.allows(found(&mut flash, None).expect("it can be read")));
}

#[test]
fn two_records_that_each_name_the_others_unit_are_refused() {
    let mut flash = flash_of(UNITS, 8);
    for (unit, seq, bad) in [(1, 5, 0b100), (2, 6, 0b10)] {
        let record = super::full_record(seq, 1, bad, &full(0));
        flash.fill(unit, &record);
    }
    assert_eq!(found(&mut flash, None), Err(NvramError::Damaged));
}

#[test]
fn a_log_of_another_version_is_refused_by_name_wherever_it_is() {
    let mut flash = flash_of(UNITS, 9);
    start(&mut flash, None).expect("an empty flash");
    flash.restart();
    flash.fill(4, &super::raw_record(b'F', 1, &[3, 1, 2, 3]));
    let error = found(&mut flash, None).expect_err("it must not start");
    assert_eq!(error, NvramError::OtherVersion(3));
    assert_eq!(
        error.to_string(),
        "NVRAM holds a log of version 3; this build reads up to 2: install the build that wrote it"
    );
}

#[test]
fn a_full_record_that_is_cut_short_or_names_a_unit_that_is_not_there_is_refused() {
    for body in [vec![2], vec![2; 9], [&[2; 9][..], &[0b100_0000]].concat()] {
        let mut flash = flash_of(UNITS, 10);
        flash.fill(1, &super::raw_record(b'F', 2, &body));
        assert_eq!(found(&mut flash, None), Err(NvramError::Damaged), "{body:?}");
    }
}

/// How often a start erases a unit to write the state again.
fn writes_at_start(flash: &mut ModelFlash) -> u64 {
    flash.restart();
    let before = flash.erases;
    start(flash, None).expect("a state");
    flash.erases - before
}

#[test]
fn a_start_writes_the_state_twice_unless_the_newest_record_surely_remembers_what_failed() {
    let mut flash = flash_of(UNITS, 13);
    start(&mut flash, None).expect("an empty flash");
    assert_eq!(writes_at_start(&mut flash), 1, "nothing failed");
    // One bit of the newest record's mark decays: it can no longer be marked for certain.
    let mut erased = flash.journal.iter().filter_map(|operation| match operation {
        Operation::Erase { unit } => Some(*unit),
        Operation::Program { .. } => None,
    });
    let newest = erased.next_back().expect("a start erases");
    let mark = (newest * UNIT_BYTES) as usize;
    assert_eq!(flash.bytes[mark], 0xff);
    flash.bytes[mark] ^= 1;
    assert_eq!(writes_at_start(&mut flash), 2, "a mark decayed");
    assert_eq!(writes_at_start(&mut flash), 1, "the newest record is another");
    // A unit failed, and the newest record, which names it, may be torn.
    flash.faults = vec![Fault { unit: (newest + 5) % UNITS, from: 0, how: Failing::Read }];
    writes_at_start(&mut flash);
    for _ in 0..2 {
        assert_eq!(writes_at_start(&mut flash), 2, "a unit failed");
    }
}

#[test]
fn erases_are_counted_over_restarts() {
    let (mut flash, mut promise) = (flash_of(UNITS, 11), Promise::default());
    for _ in 0..5 {
        let nvram = run(&mut flash, &mut promise, 50, None).expect("NVRAM works");
        assert_eq!(nvram.wear().erases, flash.erases);
        assert_eq!(nvram.wear().erases_per_unit(), flash.erases.div_ceil(u64::from(UNITS)));
        flash.restart();
    }
    assert!(flash.erases > 20);
}

#[test]
fn a_device_shows_how_worn_it_is_and_goes_on_without_the_unit_that_failed() {
    let mut device = device(ModelFlash::new(5, 1 << 14, 8, 13));
    device.flash.stuck = Some(1);
    let new_realm = minicbor::to_vec(Request::NewRealm(RealmPolicy::closed())).expect("encodes");
    let mut core = Core::start(&mut device, Config::software()).expect("four units work");
    core.handle(&mut device, &new_realm);
    let Wear { units, bad_units, spare_units, erases } = status(&mut core, &mut device).wear;
    assert_eq!((units, bad_units, spare_units, erases), (5, 1, 1, device.flash.erases));
    device.flash.restart();
    device.flash.stuck = None;
    let mut core = Core::start(&mut device, Config::software()).expect("four units work");
    let status = status(&mut core, &mut device);
    assert!(status.realm.is_some());
    assert_eq!((status.wear.bad_units, status.wear.erases), (1, device.flash.erases));
}

#[test]
fn a_flash_that_does_nothing_at_all_for_a_while_has_no_bad_units_after() {
    let geometry = flash_of(UNITS, 12).geometry;
    let mut flash = MemoryFlash::new(geometry);
    let Ok(Opened::Empty(new)) = Nvram::open(&mut flash, None) else { panic!("not empty") };
    let mut nvram = new.format(&mut flash, &full(0)).expect("NVRAM works");
    flash.failing = true;
    assert_eq!(nvram.append_delta(&mut flash, &delta(1), || full(1)), Err(NvramError::WornOut));
    flash.failing = false;
    let Ok(Opened::Found(_, old)) = Nvram::open(&mut flash, None) else { panic!("no state") };
    assert_eq!(old.restate(&mut flash, &full(0)).expect("NVRAM works").wear().bad_units, 0);
    assert_eq!(flash.geometry(), geometry);
}
