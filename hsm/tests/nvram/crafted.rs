//! Flashes made byte by byte: such as it takes two faults at once to leave behind, or more than a power cut.

use super::{Promise, UNIT_BYTES, check, delta, deltas, flash_with, found, full, raw_record, record, run};
use crate::model::{ModelFlash, Operation};
use strongroom_hsm::Flash;
use strongroom_hsm::nvram::{MAX_DELTA_BYTES, MAX_STATE_BYTES, NvramError};
use strongroom_hsm_planted::Bug;
use strongroom_hsm_planted::nvram::{Nvram, Opened};
use zeroize::Zeroizing;

const MARK: usize = 8;

fn place(unit: u32, offset: usize) -> usize {
    (unit * UNIT_BYTES) as usize + offset
}

/// Programs all of a record but its mark.
fn put(flash: &mut ModelFlash, unit: u32, offset: usize, record: &[u8]) {
    flash.program(unit, (offset + MARK) as u32, &record[MARK..]).expect("inside");
}

/// A flash that ends with the state of version 0 at the start of unit 1, sequence number 2.
fn formatted(seed: u64) -> ModelFlash {
    let mut flash = flash_with(8, seed);
    run(&mut flash, &mut Promise::default(), 0, None).expect("an empty flash");
    flash.restart();
    flash
}

/// Restarts and writes the state again.
fn restate(flash: &mut ModelFlash, version: u64) -> Nvram {
    let Opened::Found(_, old) = Nvram::open(flash, None).expect("a state") else { panic!("empty") };
    old.restate(flash, &full(version)).expect("NVRAM works")
}

const ACKNOWLEDGED_1: Promise = Promise { acknowledged: Some(1), tried: 1 };

/// Whatever is found, it is not older than what was acknowledged. A refusal is no state.
fn is_not_older(flash: &mut ModelFlash, promise: &Promise) {
    flash.restart();
    match found(flash, None) {
        Ok(found) => assert!(promise.allows(found), "{promise:?}, but found {found:?}"),
        Err(NvramError::Lost | NvramError::Damaged) => {}
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn when_a_torn_full_record_and_the_one_after_it_go_bad_the_one_before_is_not_taken() {
    let mut flash = formatted(1);
    // Power failed after the record was programmed and before the one before was marked.
    put(&mut flash, 2, 0, &record(b'F', 3, &full(1)));
    assert_eq!(found(&mut flash, None), Ok(Some(1)));
    restate(&mut flash, 1);
    for bad in [place(2, MARK + 30), place(0, MARK + 30)] {
        flash.bytes[bad] ^= 1;
        is_not_older(&mut flash, &ACKNOWLEDGED_1);
    }
    assert_eq!(found(&mut flash, None), Err(NvramError::Lost));
}

#[test]
fn when_a_torn_delta_and_the_record_after_it_go_bad_the_one_before_is_not_taken() {
    let mut flash = formatted(2);
    let behind = record(b'F', 2, &full(0)).len();
    put(&mut flash, 1, behind, &record(b'D', 3, &delta(1)));
    assert_eq!(found(&mut flash, None), Ok(Some(1)));
    restate(&mut flash, 1);
    for bad in [place(2, MARK + 30), place(1, behind + MARK + 30)] {
        flash.bytes[bad] ^= 1;
        is_not_older(&mut flash, &ACKNOWLEDGED_1);
    }
    assert_eq!(found(&mut flash, None), Err(NvramError::Lost));
}

#[test]
fn a_torn_full_record_that_reads_as_valid_later_is_not_taken_for_the_newest() {
    let mut flash = formatted(3);
    // The units after this one: one torn for good, and one torn whose number was to be the one after the next.
    let torn = record(b'F', 4, &full(0));
    put(&mut flash, 2, 0, &record(b'F', 3, &full(0)));
    flash.erase(0).expect("a unit");
    put(&mut flash, 0, 0, &torn);
    flash.bytes[place(2, MARK + 30)] ^= 1;
    flash.bytes[place(0, MARK + 30)] ^= 1;
    assert_eq!(found(&mut flash, None), Ok(Some(0)));
    let mut nvram = restate(&mut flash, 0);
    nvram.append_delta(&mut flash, &delta(1), || full(1)).expect("NVRAM works");
    check(&mut flash, &ACKNOWLEDGED_1, None).expect("all is well");
    flash.bytes[place(0, MARK + 30)] ^= 1;
    is_not_older(&mut flash, &ACKNOWLEDGED_1);
}

#[test]
fn a_unit_that_begins_with_a_delta_holds_no_state() {
    let mut flash = flash_with(8, 4);
    put(&mut flash, 1, 0, &record(b'D', 2, &delta(1)));
    assert_eq!(found(&mut flash, None), Err(NvramError::Damaged));
}

#[test]
fn an_empty_full_record_is_a_begun_format_only_where_and_as_formatting_begins() {
    for (unit, seq, expected) in
        [(0, 1, Ok(None)), (1, 1, Err(NvramError::Damaged)), (0, 2, Err(NvramError::Damaged))]
    {
        let mut flash = flash_with(8, 5);
        put(&mut flash, unit, 0, &record(b'F', seq, &[]));
        assert_eq!(found(&mut flash, None), expected, "unit {unit}, sequence number {seq}");
    }
}

/// Bytes that look like a record of version 1 behind one of version 0, but for one bit of their check.
fn found_behind_a_wrong_check(bug: Option<Bug>) -> Result<Option<u64>, NvramError> {
    let behind = record(b'F', 2, &full(0)).len();
    let mut flash = formatted(7);
    let mut delta = record(b'D', 3, &delta(1));
    delta[MARK + 12] ^= 1;
    put(&mut flash, 1, behind, &delta);
    found(&mut flash, bug)
}

#[test]
fn a_log_that_does_not_look_at_the_check_of_a_record_is_caught() {
    assert_eq!(found_behind_a_wrong_check(None), Ok(Some(0)));
    assert_eq!(found_behind_a_wrong_check(Some(Bug::CheckIgnored)), Ok(Some(1)));
}

#[test]
fn behind_a_record_only_the_delta_with_the_next_number_counts() {
    let behind = record(b'F', 2, &full(0)).len();
    for (kind, seq, version) in [(b'D', 3, 1), (b'D', 2, 0), (b'D', 4, 0), (b'F', 3, 0)] {
        let mut flash = formatted(6);
        put(&mut flash, 1, behind, &record(kind, seq, &delta(1)));
        assert_eq!(found(&mut flash, None), Ok(Some(version)), "{} {seq}", char::from(kind));
    }
}

#[test]
fn a_head_that_says_more_than_there_may_be_is_a_torn_record() {
    let behind = record(b'F', 2, &full(0)).len();
    // One byte more than a delta may have, with a right check; and one that would end outside the unit.
    let too_long = record(b'D', 3, &[7; MAX_DELTA_BYTES + 1]);
    let outside = &record(b'D', 3, &[7; MAX_DELTA_BYTES])[..32];
    for torn in [&too_long[..], outside] {
        let mut flash = formatted(7);
        put(&mut flash, 1, behind, torn);
        assert_eq!(found(&mut flash, None), Ok(Some(0)));
    }
    // Deltas up to the end of the unit, and behind them a head alone.
    let mut flash = formatted(8);
    let mut offset = behind;
    let mut version = 0;
    while offset + 64 + record(b'D', 0, &delta(version + 1)).len() <= UNIT_BYTES as usize {
        version += 1;
        let next = record(b'D', 2 + version, &delta(version));
        put(&mut flash, 1, offset, &next);
        offset += next.len();
    }
    put(&mut flash, 1, offset, &record(b'D', 3 + version, &[7; MAX_DELTA_BYTES])[..32]);
    assert_eq!(found(&mut flash, None), Ok(Some(version)));
}

#[test]
fn the_longest_state_and_the_longest_delta_come_back() {
    let mut flash = formatted(9);
    let (state, long) = (vec![7; MAX_STATE_BYTES], vec![8; MAX_DELTA_BYTES]);
    let mut nvram = restate(&mut flash, 0);
    nvram.append_full(&mut flash, &state).expect("NVRAM works");
    nvram.append_delta(&mut flash, &long, || Zeroizing::new(vec![])).expect("there is room");
    flash.restart();
    let Opened::Found(recovered, _) = Nvram::open(&mut flash, None).expect("a state") else {
        panic!("empty")
    };
    assert_eq!((recovered.full(), &deltas(&recovered, &mut flash)[0]), (&*state, &long));
}

/// With as many units as there may be, and so with the longest list of those that failed.
#[test]
fn a_full_record_one_byte_longer_than_the_longest_is_not_read() {
    let most = 256;
    for (bytes, expected) in
        [(MAX_STATE_BYTES, Ok(MAX_STATE_BYTES)), (MAX_STATE_BYTES + 1, Err(NvramError::Damaged))]
    {
        let body = [&[2][..], &[0; 8], &[0; 32], &vec![7; bytes]].concat();
        let mut flash = ModelFlash::new(most, UNIT_BYTES, 8, 12);
        flash.fill(1, &raw_record(b'F', 2, &body));
        let found = Nvram::open(&mut flash, None).map(|opened| match opened {
            Opened::Found(recovered, _) => recovered.full().len(),
            Opened::Empty(_) => 0,
        });
        assert_eq!(found, expected, "a state of {bytes} bytes");
    }
}

#[test]
fn a_delta_that_changes_while_it_is_being_read_is_no_delta() {
    let mut flash = formatted(9);
    let mut nvram = restate(&mut flash, 0);
    for version in 1..=3 {
        nvram.append_delta(&mut flash, &delta(version), || full(version)).expect("there is room");
    }
    flash.restart();
    let Opened::Found(recovered, _) = Nvram::open(&mut flash, None).expect("a state") else {
        panic!("empty")
    };
    let state = record(b'F', 0, &full(0)).len() + record(b'D', 0, &delta(1)).len();
    flash.bytes[place(2, state + MARK + 32)] ^= 1;
    let mut seen = vec![];
    let each = recovered.each_delta(&mut flash, |delta| {
        seen.push(delta.to_vec());
        Ok(())
    });
    assert_eq!((each, seen), (Err(NvramError::ReadBack), vec![delta(1)]));
}

#[test]
fn a_mark_of_which_half_is_there_says_nothing() {
    let mut flash = formatted(10);
    flash.program(1, 0, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).expect("inside");
    assert_eq!(found(&mut flash, None), Ok(Some(0)));
}

#[test]
fn each_program_that_silently_fails_is_noticed_by_the_call_that_made_it() {
    let steps = 70;
    let mut whole = flash_with(8, 11);
    run(&mut whole, &mut Promise::default(), steps, None).expect("an empty flash");
    let journal = std::mem::take(&mut whole.journal);
    let programs = journal.iter().zip(1..).filter(|(o, _)| matches!(o, Operation::Program { .. }));
    for (_, at) in programs {
        let mut flash = flash_with(8, 11);
        flash.silent_at = Some(at);
        let outcome = run(&mut flash, &mut Promise::default(), steps, None);
        assert_eq!((outcome, flash.operations), (Err(NvramError::WornOut), at));
    }
}
