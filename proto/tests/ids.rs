//! Ids as people write them.

use strongroom_proto::ids::{HsmId, Index, ParseIdError, RecordId};

#[test]
fn an_id_is_read_from_hexadecimal_of_either_case_with_or_without_dashes() {
    let id = HsmId([
        0x00, 0x1f, 0xf1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba,
    ]);
    assert_eq!(id.to_string(), "001ff123456789abcdef1032547698ba");
    for text in [
        "001ff123456789abcdef1032547698ba",
        "001FF123456789ABCDEF1032547698BA",
        "001ff123-4567-89ab-cdef-1032547698ba",
    ] {
        assert_eq!(text.parse(), Ok(id), "{text}");
    }
    let every: [u8; 32] = core::array::from_fn(|i| (i * 8 + 5) as u8);
    assert_eq!(RecordId(every).to_string().parse(), Ok(RecordId(every)));
}

#[test]
fn a_text_of_another_length_or_with_other_letters_is_no_id() {
    let bad = |expected_digits| Err::<HsmId, _>(ParseIdError { expected_digits });
    let good = "001ff123456789abcdef1032547698ba";
    for text in [
        "",
        &good[1..],
        &good[2..],
        &format!("{good}0"),
        &format!("{good}00"),
        &good.replace('f', "g"),
        &good.replace("00", "0 "),
    ] {
        assert_eq!(text.parse(), bad(32), "{text}");
    }
}

#[test]
fn an_index_is_written_as_a_number_and_ends_with_64_bits() {
    assert_eq!(Index(1_000).to_string(), "1000");
    assert_eq!(Index::ZERO.next(), Some(Index(1)));
    assert_eq!(Index(u64::MAX - 1).next(), Some(Index(u64::MAX)));
    assert_eq!(Index(u64::MAX).next(), None);
}
