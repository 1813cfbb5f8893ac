//! Prefixes of record ids.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;

fn some_prefixes() -> impl Iterator<Item = (RecordId, Prefix)> {
    let mut rng = StdRng::seed_from_u64(1);
    (0..=256).map(move |len| {
        let id = RecordId(rng.random());
        (id, Prefix::of(&id, len).unwrap())
    })
}

#[test]
fn a_prefix_contains_the_ids_that_begin_with_its_bits() {
    for (id, prefix) in some_prefixes() {
        assert!(prefix.contains(&id));
        for at in 0..256_u16 {
            let mut other = id;
            other.0[usize::from(at / 8)] ^= 0x80 >> (at % 8);
            assert_eq!(prefix.contains(&other), at >= prefix.len());
        }
    }
    assert_eq!(Prefix::of(&RecordId([0; 32]), 257), None);
}

#[test]
fn an_id_in_a_prefix_is_in_exactly_one_of_its_children() {
    for (id, prefix) in some_prefixes() {
        match prefix.children() {
            Some((left, right)) => {
                assert_eq!((left.len(), right.len()), (prefix.len() + 1, prefix.len() + 1));
                assert!(left.contains(&id) != right.contains(&id));
                assert!(prefix < left && left < right);
                assert_eq!(format!("{left} {right}"), format!("{prefix}0 {prefix}1"));
            }
            None => assert_eq!(prefix.len(), 256),
        }
    }
}

#[test]
fn prefixes_print_as_their_bits() {
    let id = RecordId([0b1010_0101; 32]);
    assert_eq!(Prefix::WHOLE.to_string(), "");
    assert_eq!(Prefix::of(&id, 10).unwrap().to_string(), "1010010110");
}

#[test]
fn prefixes_come_back_from_their_bytes_and_every_truncation_is_refused() {
    for (_, prefix) in some_prefixes() {
        let bytes = minicbor::to_vec(prefix).unwrap();
        assert_eq!(minicbor::decode::<Prefix>(&bytes).unwrap(), prefix);
        assert!((0..bytes.len()).all(|len| minicbor::decode::<Prefix>(&bytes[..len]).is_err()));
    }
}

#[test]
fn two_encodings_of_one_prefix_do_not_exist() {
    let decode = |bytes: &[u8]| minicbor::decode::<Prefix>(bytes).ok();
    let ten = Prefix::of(&RecordId([0xff; 32]), 10);
    assert_eq!(decode(&[0x82, 10, 0x42, 0xff, 0xc0]), ten);
    assert_eq!(decode(&[0x82, 10, 0x42, 0xff, 0xe0]), None, "a bit past the length");
    assert_eq!(decode(&[0x82, 10, 0x43, 0xff, 0xc0, 0]), None, "a byte past the length");
    assert_eq!(decode(&[0x82, 10, 0x41, 0xff]), None, "a byte too few");
    assert_eq!(decode(&[0x83, 10, 0x42, 0xff, 0xc0, 0]), None, "a field too many");
    assert_eq!(decode(&[0x9f, 10, 0x42, 0xff, 0xc0, 0xff]), None, "unknown length");
    let mut long = vec![0x82, 0x19, 0x01, 0x01, 0x58, 33];
    long.extend([0; 33]);
    assert_eq!(decode(&long), None, "257 bits");
}
