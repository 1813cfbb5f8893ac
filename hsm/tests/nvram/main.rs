//! The NVRAM log under power cuts, silent faults and decay: after any restart the state is the one before or after
//! the interrupted write, never older than the last one acknowledged.

mod crafted;
mod failing;
mod migrated;
mod model;

use model::{ModelFlash, Tear};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_hsm::Flash;
use strongroom_hsm::nvram::{MAX_DELTA_BYTES, MAX_STATE_BYTES, NvramError};
use strongroom_hsm_planted::Bug;
use strongroom_hsm_planted::nvram::{Nvram, Opened, Recovered};
use zeroize::Zeroizing;

const UNITS: u32 = 3;
const UNIT_BYTES: u32 = 6912;
const TEARS: [Tear; 4] = [Tear::Random, Tear::Nothing, Tear::Random, Tear::Everything];

/// What a run promised so far: the last acknowledged version, and the newest one tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Promise {
    acknowledged: Option<u64>,
    tried: u64,
}

impl Promise {
    fn allows(&self, found: Option<u64>) -> bool {
        match found {
            None => self.acknowledged.is_none(),
            Some(version) => self.acknowledged <= Some(version) && version <= self.tried,
        }
    }
}

fn body(version: u64, len: usize) -> Vec<u8> {
    let mut body = vec![0; len];
    StdRng::seed_from_u64(version).fill(&mut body[..]);
    body[..8].copy_from_slice(&version.to_be_bytes());
    body
}

fn full(version: u64) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(body(version, 100 + (version * 977 % 3000) as usize))
}

fn delta(version: u64) -> Vec<u8> {
    body(version, 8 + (version * 137 % 500) as usize)
}

fn version_of(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// The version that was recovered; panics on a state that was never written.
fn decode(recovered: &Recovered, flash: &mut ModelFlash) -> u64 {
    let mut version = version_of(recovered.full());
    assert_eq!(recovered.full(), &**full(version));
    for bytes in deltas(recovered, flash) {
        version += 1;
        assert_eq!(bytes, delta(version));
    }
    version
}

fn deltas(recovered: &Recovered, flash: &mut ModelFlash) -> Vec<Vec<u8>> {
    let mut deltas = vec![];
    let each = recovered.each_delta::<_, NvramError>(flash, |delta| {
        deltas.push(delta.to_vec());
        Ok(())
    });
    each.expect("they were valid a moment ago");
    deltas
}

fn found(flash: &mut ModelFlash, bug: Option<Bug>) -> Result<Option<u64>, NvramError> {
    Nvram::open(flash, bug).map(|opened| match opened {
        Opened::Empty(_) => None,
        Opened::Found(recovered, _) => Some(decode(&recovered, flash)),
    })
}

/// Starts the device and appends up to `steps` versions, until a write fails.
fn run(
    flash: &mut ModelFlash,
    promise: &mut Promise,
    steps: u64,
    bug: Option<Bug>,
) -> Result<(), NvramError> {
    run_and_note(flash, promise, steps, bug, &mut vec![])
}

/// [`run`], noting the promise that held from each operation on.
fn run_and_note(
    flash: &mut ModelFlash,
    promise: &mut Promise,
    steps: u64,
    bug: Option<Bug>,
    notes: &mut Vec<(u64, Promise)>,
) -> Result<(), NvramError> {
    notes.push((flash.operations, *promise));
    let (mut nvram, mut version) = match Nvram::open(flash, bug)? {
        Opened::Empty(new) => (new.format(flash, &full(0))?, 0),
        Opened::Found(recovered, found) => {
            let version = decode(&recovered, flash);
            (found.restate(flash, &full(version))?, version)
        }
    };
    promise.acknowledged = Some(version);
    promise.tried = promise.tried.max(version);
    for _ in 0..steps {
        version += 1;
        promise.tried = version;
        notes.push((flash.operations, *promise));
        if version.is_multiple_of(29) {
            nvram.append_full(flash, &full(version))?;
        } else {
            nvram.append_delta(flash, &delta(version), || full(version))?;
        }
        promise.acknowledged = Some(version);
    }
    Ok(())
}

fn flash_with(write_bytes: u32, seed: u64) -> ModelFlash {
    let unit_bytes = if write_bytes > 32 { 3 * UNIT_BYTES } else { UNIT_BYTES };
    ModelFlash::new(UNITS, unit_bytes, write_bytes, seed)
}

/// Restarts `flash` and checks that what it finds is allowed.
fn check(flash: &mut ModelFlash, promise: &Promise, bug: Option<Bug>) -> Result<(), String> {
    flash.restart();
    match found(flash, bug) {
        Ok(found) if promise.allows(found) => Ok(()),
        outcome => Err(format!("{promise:?}, but found {outcome:?}")),
    }
}

/// Cuts power at every operation of a workload, and at every operation of the recovery from that.
fn cut_everywhere(write_bytes: u32, steps: u64) -> u64 {
    let (mut whole, mut promise, mut notes) = (flash_with(write_bytes, 1), Promise::default(), vec![]);
    run_and_note(&mut whole, &mut promise, steps, None, &mut notes).unwrap();
    assert!(whole.erases >= 2 * u64::from(UNITS), "only {} erases", whole.erases);
    let mut before = flash_with(write_bytes, 2);
    let mut cuts = 0;
    for (operation, done) in whole.journal.iter().zip(0..) {
        let (_, promise) = *notes.iter().rfind(|(from, _)| *from <= done).unwrap();
        for tear in TEARS {
            let mut flash = before.clone();
            flash.cut_at = Some((done + 1, tear));
            flash.repeat(operation).unwrap_err();
            cuts += cut_recovery_everywhere(&mut flash, promise, &format!("cut at {} {tear:?}", done + 1));
        }
        before.repeat(operation).unwrap();
    }
    cuts
}

fn cut_recovery_everywhere(flash: &mut ModelFlash, promise: Promise, what: &str) -> u64 {
    check(flash, &promise, None).unwrap_or_else(|e| panic!("{what}: {e}"));
    for again in 1.. {
        let (mut flash, mut promise) = (flash.clone(), promise);
        let tear = TEARS[again as usize % TEARS.len()];
        flash.cut_at = Some((again, tear));
        let done = run(&mut flash, &mut promise, 0, None).is_ok();
        check(&mut flash, &promise, None)
            .unwrap_or_else(|e| panic!("{what}, again at {again} {tear:?}: {e}"));
        run(&mut flash, &mut promise, 2, None).unwrap();
        check(&mut flash, &promise, None).unwrap();
        if done {
            return again;
        }
    }
    unreachable!("a recovery ends")
}

#[test]
fn a_power_cut_at_every_operation_and_in_the_recovery_leaves_the_state_before_or_after() {
    let cuts: u64 = [(1, 90), (4, 90), (8, 90), (256, 90)]
        .map(|(granule, steps)| cut_everywhere(granule, steps))
        .iter()
        .sum();
    assert!(cuts > 6_500, "{cuts} cuts");
}

/// Cuts power again and again at random; torn bytes read differently after each restart. Counts refusals.
fn cut_at_random(seed: u64) -> Result<u64, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut flash, mut promise) = (flash_with(8, seed), Promise::default());
    flash.wavers = true;
    for _ in 0..120 {
        check(&mut flash, &promise, None)?;
        flash.cut_at = Some((rng.random_range(1..60), Tear::Random));
        match run(&mut flash, &mut promise, 40, None) {
            Ok(()) | Err(NvramError::WornOut | NvramError::Flash(_)) => {}
            Err(error) => return Err(format!("{promise:?}: {error:?}")),
        }
    }
    Ok(flash.erases)
}

#[test]
fn torn_bytes_that_read_differently_after_each_restart_never_bring_an_older_state() {
    let erases: u64 =
        (0..40).map(|seed| cut_at_random(seed).unwrap_or_else(|e| panic!("seed {seed}: {e}"))).sum();
    assert!(erases > 4_000, "{erases} erases");
}

/// Power fails once, in a write. Then the device starts again and again, says each time what it holds, and changes nothing.
fn start_again_and_again(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut flash, mut promise) = (flash_with(8, seed), Promise::default());
    flash.wavers = true;
    flash.cut_at = Some((rng.random_range(1..60), Tear::Random));
    run(&mut flash, &mut promise, 40, bug).expect_err("the power fails in it");
    for _ in 0..8 {
        check(&mut flash, &promise, bug)?;
        run(&mut flash, &mut promise, 0, bug).map_err(|e| format!("{promise:?}: {e:?}"))?;
    }
    Ok(())
}

#[test]
fn what_a_start_spoke_of_is_there_at_the_next() {
    for seed in 0..400 {
        start_again_and_again(seed, None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn a_log_that_speaks_of_what_it_found_without_writing_it_again_is_caught() {
    assert!((0..400).any(|seed| start_again_and_again(seed, Some(Bug::NotWrittenAgain)).is_err()));
}

/// Appends so many versions, one after another; what is found then.
fn found_after(steps: u64, bug: Option<Bug>) -> bool {
    let (mut flash, mut promise) = (flash_with(8, steps), Promise::default());
    run(&mut flash, &mut promise, steps, None).expect("an empty flash");
    flash.restart();
    found(&mut flash, bug) == Ok(promise.acknowledged)
}

#[test]
fn a_log_that_takes_the_last_unit_for_the_newest_is_caught() {
    assert!((0..60).all(|steps| found_after(steps, None)));
    assert!((0..60).any(|steps| !found_after(steps, Some(Bug::LastUnitTaken))));
}

/// Damages each byte of the newest record in several ways; the answer must be the same state or a refusal.
fn decay_everywhere(bug: Option<Bug>) -> Result<u64, String> {
    let mut refusals = 0;
    for (steps, restarts) in [(0, 0), (0, 1), (1, 0), (28, 0), (29, 0), (30, 0), (30, 1), (47, 0), (77, 2)] {
        let (mut flash, mut promise) = (flash_with(8, 3), Promise::default());
        run(&mut flash, &mut promise, steps, bug).map_err(|e| format!("{e:?}"))?;
        for _ in 0..restarts {
            flash.restart();
            run(&mut flash, &mut promise, 0, bug).map_err(|e| format!("{e:?}"))?;
        }
        let (at, len) = *flash.programs().iter().rev().find(|(_, len)| *len > 8).unwrap();
        flash.restart();
        for (at, flip) in (at - 8..at + len).flat_map(|at| [(at, 1 << (at % 8)), (at, 0xff), (at, 0x5a)]) {
            flash.bytes[at] ^= flip;
            match found(&mut flash, bug) {
                Ok(version) if version == promise.acknowledged => {}
                Err(NvramError::Lost | NvramError::Damaged) => refusals += 1,
                outcome => return Err(format!("{promise:?}, byte {at} ^ {flip}: {outcome:?}")),
            }
            flash.bytes[at] ^= flip;
        }
    }
    Ok(refusals)
}

#[test]
fn a_decayed_newest_record_is_the_same_state_or_a_refusal() {
    let refusals = decay_everywhere(None).unwrap();
    assert!(refusals > 6_000, "{refusals} refusals");
}

#[test]
fn a_log_that_does_not_mark_what_it_supersedes_is_caught() {
    decay_everywhere(Some(Bug::NoMark)).unwrap_err();
}

#[test]
fn a_log_that_falls_back_to_the_predecessor_is_caught() {
    decay_everywhere(Some(Bug::FallBack)).unwrap_err();
}

/// Lets each operation of a workload report success with its work not done.
fn fail_silently_everywhere(bug: Option<Bug>) -> Result<(), String> {
    let steps = 70;
    let mut whole = flash_with(8, 4);
    run(&mut whole, &mut Promise::default(), steps, bug).map_err(|e| format!("{e:?}"))?;
    for at in 1..=whole.operations {
        let (mut flash, mut promise) = (flash_with(8, 4), Promise::default());
        flash.silent_at = Some(at);
        let outcome = run(&mut flash, &mut promise, steps, bug);
        if !matches!(outcome, Ok(()) | Err(NvramError::WornOut)) {
            return Err(format!("operation {at}: {outcome:?}"));
        }
        check(&mut flash, &promise, bug).map_err(|e| format!("operation {at}: {e}"))?;
    }
    Ok(())
}

#[test]
fn a_write_that_silently_fails_is_noticed_before_it_is_acknowledged() {
    fail_silently_everywhere(None).unwrap();
}

#[test]
fn a_log_that_does_not_read_back_is_caught() {
    fail_silently_everywhere(Some(Bug::NoReadBack)).unwrap_err();
}

#[test]
fn after_a_failed_write_nothing_is_written_until_a_restart() {
    let mut flash = flash_with(8, 5);
    let Opened::Empty(new) = Nvram::open(&mut flash, None).unwrap() else { panic!("not empty") };
    let mut nvram = new.format(&mut flash, &full(0)).unwrap();
    flash.silent_at = Some(flash.operations + 1);
    assert_eq!(nvram.append_delta(&mut flash, &delta(1), || full(1)), Err(NvramError::WornOut));
    let operations = flash.operations;
    assert_eq!(nvram.append_delta(&mut flash, &delta(1), || full(1)), Err(NvramError::Poisoned));
    assert_eq!(nvram.append_full(&mut flash, &full(1)), Err(NvramError::Poisoned));
    assert_eq!(flash.operations, operations);
    flash.restart();
    assert_eq!(found(&mut flash, None), Ok(Some(0)));
}

#[test]
fn a_state_or_delta_that_is_empty_or_too_long_is_refused_without_effect() {
    let mut flash = flash_with(8, 6);
    for len in [0, MAX_STATE_BYTES + 1] {
        let Opened::Empty(new) = Nvram::open(&mut flash, None).unwrap() else { panic!("not empty") };
        assert_eq!(new.format(&mut flash, &vec![7; len]).unwrap_err(), NvramError::Size);
    }
    let Opened::Empty(new) = Nvram::open(&mut flash, None).unwrap() else { panic!("not empty") };
    let mut nvram = new.format(&mut flash, &full(0)).unwrap();
    let operations = flash.operations;
    for len in [0, MAX_DELTA_BYTES + 1] {
        assert_eq!(nvram.append_delta(&mut flash, &vec![7; len], || full(1)), Err(NvramError::Size));
    }
    assert_eq!(nvram.append_full(&mut flash, &[7; MAX_STATE_BYTES + 1]), Err(NvramError::Size));
    assert_eq!(flash.operations, operations);
    nvram.append_full(&mut flash, &[7; MAX_STATE_BYTES]).unwrap();
    for _ in 0..9 {
        nvram
            .append_delta(&mut flash, &[7; MAX_DELTA_BYTES], || Zeroizing::new(vec![7; MAX_STATE_BYTES]))
            .unwrap();
    }
}

#[test]
fn less_than_half_of_a_marks_bits_do_not_change_what_it_says() {
    let mut flash = flash_with(8, 7);
    run(&mut flash, &mut Promise::default(), 3, None).unwrap();
    let [.., (record, _), (mark, 8)] = flash.programs()[..] else { panic!("no mark") };
    flash.restart();
    for (i, decay) in [0xff, 0xff, 0xff, 0x7f].into_iter().enumerate() {
        flash.bytes[mark + i] ^= decay;
    }
    assert_eq!(found(&mut flash, None), Ok(Some(3)));
    flash.bytes[record + 30] ^= 1;
    assert_eq!(found(&mut flash, None).unwrap_err(), NvramError::Lost);
    flash.bytes[record + 30] ^= 1;
    for (i, decay) in [0xff, 0xff, 0xff, 0x7f].into_iter().enumerate() {
        flash.bytes[record - 8 + i] ^= decay;
    }
    assert_eq!(found(&mut flash, None), Ok(Some(3)));
}

#[test]
fn a_flash_with_anything_on_it_but_a_begun_format_is_not_taken_for_an_empty_one() {
    let mut flash = flash_with(8, 8);
    let first_record_bytes = record(b'F', 1, &[]).len();
    for at in 0..flash.bytes.len() {
        flash.bytes[at] = 0xfe;
        let expected =
            if at % (UNIT_BYTES as usize) < first_record_bytes { Ok(None) } else { Err(NvramError::Damaged) };
        assert_eq!(found(&mut flash, None), expected, "byte {at}");
        flash.bytes[at] = 0xff;
    }
}

#[test]
fn two_units_that_begin_with_the_same_sequence_number_are_refused() {
    let mut flash = flash_with(8, 9);
    run(&mut flash, &mut Promise::default(), 0, None).unwrap();
    flash.bytes.copy_within(UNIT_BYTES as usize..2 * UNIT_BYTES as usize, 2 * UNIT_BYTES as usize);
    flash.restart();
    assert_eq!(found(&mut flash, None).unwrap_err(), NvramError::Damaged);
}

/// A record as `nvram::record` documents it, made without its code; a full one of a flash of up to eight units that has
/// erased none and remembers nothing.
fn record(kind: u8, seq: u64, body: &[u8]) -> Vec<u8> {
    if kind == b'F' { full_record(seq, 0, 0, body) } else { raw_record(kind, seq, body) }
}

/// A full record that remembers this many erases and these units that failed, a bit each.
fn full_record(seq: u64, erases: u64, bad: u8, state: &[u8]) -> Vec<u8> {
    raw_record(b'F', seq, &[&[2][..], &erases.to_be_bytes(), &[bad], state].concat())
}

fn raw_record(kind: u8, seq: u64, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 8];
    out.extend([kind, 1]);
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(seq.to_be_bytes());
    let check = strongroom_proto::hash::hash("strongroom nvram record 1", &[&out[8..], body]);
    out.extend(&check.0[..8]);
    out.extend(body);
    out.resize(out.len().next_multiple_of(8), 0xff);
    out
}

#[test]
fn the_flash_holds_what_the_documentation_says() {
    let mut flash = flash_with(8, 10);
    run(&mut flash, &mut Promise::default(), 2, None).unwrap();
    let superseded = |mut record: Vec<u8>| {
        record[..8].fill(0);
        record
    };
    let mut expected = superseded(full_record(1, 1, 0, &[]));
    expected.resize(UNIT_BYTES as usize, 0xff);
    expected.extend(superseded(full_record(2, 2, 0, &full(0))));
    expected.extend(superseded(record(b'D', 3, &delta(1))));
    expected.extend(record(b'D', 4, &delta(2)));
    expected.resize((UNITS * UNIT_BYTES) as usize, 0xff);
    assert!(flash.bytes == expected);
}

#[test]
fn the_end_of_the_sequence_numbers_is_an_error() {
    let mut flash = flash_with(8, 11);
    flash.program(1, 8, &record(b'F', u64::MAX - 1, &full(0))[8..]).unwrap();
    let Opened::Found(_, old) = Nvram::open(&mut flash, None).unwrap() else { panic!("empty") };
    let mut nvram = old.restate(&mut flash, &full(0)).unwrap();
    assert_eq!(nvram.append_delta(&mut flash, &delta(1), || full(1)), Err(NvramError::SequenceEnd));
    flash.restart();
    assert_eq!(found(&mut flash, None), Ok(Some(0)));
}

#[test]
fn a_flash_of_the_wrong_shape_is_refused() {
    for (units, unit_bytes, write_bytes) in
        [(2, 65_536, 8), (3, 4_096, 8), (3, 65_536, 3), (3, 65_540, 8), (3, 65_536, 512), (3, 65_536, 0)]
    {
        let mut flash = ModelFlash::new(units, unit_bytes, write_bytes.max(1), 12);
        flash.geometry.write_bytes = write_bytes;
        assert_eq!(
            Nvram::open(&mut flash, None).unwrap_err(),
            NvramError::Geometry,
            "{units} {unit_bytes} {write_bytes}"
        );
    }
}

#[test]
fn a_thousand_captures_cost_few_bytes_and_erases() {
    let mut flash = ModelFlash::new(4, 65_536, 8, 13);
    let Opened::Empty(new) = Nvram::open(&mut flash, None).unwrap() else { panic!("not empty") };
    let state = || Zeroizing::new(vec![7; MAX_STATE_BYTES]);
    let mut nvram = new.format(&mut flash, &state()).unwrap();
    (flash.programmed_bytes, flash.erases) = (0, 0);
    for _ in 0..10_000 {
        nvram.append_delta(&mut flash, &[7; 48], state).unwrap();
    }
    let (bytes, erases) = (flash.programmed_bytes / 10, flash.erases);
    println!(
        "per 1,000 captures of 48 bytes: {bytes} bytes programmed, {}.{} erases",
        erases / 10,
        erases % 10
    );
    assert!((80_000..90_000).contains(&bytes), "{bytes}");
    assert!((12..=14).contains(&erases), "{erases} erases for 10,000 captures");
}
