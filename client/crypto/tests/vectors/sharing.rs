use crate::oprf::evaluated;
use crate::support::{Script, array, bytes, cases, list, text};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use strongroom_client_crypto::oprf::{blind, finalize, random_key, unoblivious_output};
use strongroom_client_crypto::sharing::{
    Share, ShareIndex, SharingError, recombine, recombine_outputs, share,
};
use strongroom_proto::oprf::{BlindedInput, BlindedOutput, PrivateKey};
use strongroom_proto::scalar::SecretScalar;

fn index(n: &Value) -> ShareIndex {
    ShareIndex::new(u32::try_from(n.as_u64().expect("a number")).expect("an index")).expect("not zero")
}

fn scalar(case: &Value, field: &str) -> SecretScalar {
    SecretScalar::from_bytes(&array(case, field)).expect("a scalar")
}

fn listed_shares(case: &Value, field: &str) -> Vec<Share> {
    list(case, field).iter().map(|s| Share { index: index(&s["index"]), value: scalar(s, "share") }).collect()
}

fn of_kind(kind: &str, expected: usize) -> Vec<Value> {
    let of_kind: Vec<Value> = cases("shamir", 16).into_iter().filter(|c| text(c, "kind") == kind).collect();
    assert_eq!(of_kind.len(), expected, "{kind}");
    of_kind
}

/// Shares as the case does, with its recorded coefficients.
fn shared(case: &Value, secret: &SecretScalar) -> Vec<Share> {
    let seeds = list(case, "coefficient_seeds_highest_degree_first");
    let mut draws = Script::new(seeds.iter().map(|s| hex::decode(s.as_str().unwrap()).unwrap()));
    let number = |field: &str| u32::try_from(case[field].as_u64().unwrap()).unwrap();
    share(secret, number("threshold"), number("count"), &mut draws).expect("a valid threshold")
}

/// Picks `subset["indices"]` of `all`, in that order.
fn pick<T: Clone>(subset: &Value, all: &[T]) -> Vec<T> {
    list(subset, "indices").iter().map(|i| all[i.as_u64().unwrap() as usize - 1].clone()).collect()
}

#[test]
fn scalars_are_shared_and_recombined_as_the_vectors_say() {
    for case in of_kind("scalar", 10) {
        let secret = scalar(&case, "secret");
        let seeds = list(&case, "coefficient_seeds_highest_degree_first");
        for (seed, drawn) in seeds.iter().zip(list(&case, "coefficients_highest_degree_first")) {
            let seed = hex::decode(seed.as_str().unwrap()).unwrap();
            let scalar = SecretScalar::random(&mut Script::new([seed]));
            assert_eq!(hex::encode(*scalar.to_bytes()), drawn.as_str().unwrap(), "{}", case["name"]);
        }
        let shares = shared(&case, &secret);
        assert_eq!(shares, listed_shares(&case, "shares"), "{}", case["name"]);
        for subset in list(&case, "recombinations") {
            let result = recombine(&pick(subset, &shares)).expect("distinct indices");
            assert_eq!(result, scalar(subset, "result"), "{} {}", case["name"], subset["indices"]);
            assert_eq!(result == secret, subset["equals_secret"], "{} {}", case["name"], subset["indices"]);
        }
    }
}

#[test]
fn points_are_recombined_as_the_vectors_say() {
    for case in of_kind("point", 3) {
        let point = |s: &Value, field| BlindedOutput::from_bytes(&array(s, field)).expect("a point");
        let shares: Vec<_> =
            list(&case, "shares").iter().map(|s| (index(&s["index"]), point(s, "share"))).collect();
        for subset in list(&case, "recombinations") {
            let result = recombine_outputs(&pick(subset, &shares)).expect("distinct indices");
            assert_eq!(result, point(subset, "result"), "{} {}", case["name"], subset["indices"]);
            assert_eq!(result == point(&case, "secret"), subset["equals_secret"], "{}", case["name"]);
        }
    }
}

#[test]
fn a_shared_key_evaluates_as_the_whole_one_does() {
    for case in of_kind("threshold-oprf", 2) {
        let input = bytes(&case, "input");
        let root = PrivateKey::from_bytes(&array(&case, "root_private_key")).unwrap();
        let shares = shared(&case, root.scalar());
        assert_eq!(shares, listed_shares(&case, "private_key_shares"), "{}", case["name"]);
        let (factor, blinded) = blind(&input, &mut Script::new([bytes(&case, "blinding_factor_seed")]));
        assert_eq!(blinded, BlindedInput::from_bytes(&array(&case, "blinded_input")).unwrap());
        let output = |s: &Share| (s.index, evaluated(&PrivateKey::new(s.value.clone()).unwrap(), &blinded));
        let outputs: Vec<_> = shares.iter().map(output).collect();
        for (listed, (at, output)) in list(&case, "blinded_outputs").iter().zip(&outputs) {
            assert_eq!((index(&listed["index"]), array(listed, "point")), (*at, *output.as_bytes()));
        }
        assert_eq!(unoblivious_output(&root, &input).as_bytes(), &array(&case, "output"));
        for subset in list(&case, "recombinations") {
            let combined = recombine_outputs(&pick(subset, &outputs)).expect("distinct indices");
            assert_eq!(combined.as_bytes(), &array(subset, "combined_blinded_output"), "{}", case["name"]);
            let output = finalize(&input, &factor, &combined);
            assert_eq!(output.as_bytes(), &array(subset, "output"), "{}", case["name"]);
            assert_eq!(
                output == unoblivious_output(&root, &input),
                subset["equals_unoblivious"],
                "{}",
                case["name"]
            );
        }
    }
}

#[test]
fn what_cannot_be_shared_or_recombined_is_an_error() {
    for case in of_kind("scalar-error", 1) {
        assert_eq!(recombine(&listed_shares(&case, "shares")), Err(SharingError::DuplicateIndex));
    }
    let rng = &mut StdRng::seed_from_u64(1);
    let key = random_key(rng);
    let output = evaluated(&key, &blind(b"input", rng).1);
    let one = ShareIndex::new(1).unwrap();
    assert_eq!(recombine_outputs(&[(one, output), (one, output)]), Err(SharingError::DuplicateIndex));
    assert_eq!(recombine(&[]), Err(SharingError::NoShares));
    assert_eq!(recombine_outputs(&[]), Err(SharingError::NoShares));
    assert_eq!(ShareIndex::new(0), None);
    for (threshold, count) in [(0, 0), (0, 3), (4, 3)] {
        assert_eq!(share(key.scalar(), threshold, count, rng), Err(SharingError::Threshold));
    }
}

#[test]
fn false_outputs_that_cancel_out_are_an_error() {
    let (_, blinded) = blind(b"input", &mut StdRng::seed_from_u64(1));
    let output = |k: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&k.to_le_bytes());
        evaluated(&PrivateKey::from_bytes(&bytes).unwrap(), &blinded)
    };
    // At 1 and 2 the coefficients are 2 and −1.
    let shares = [(ShareIndex::new(1).unwrap(), output(1)), (ShareIndex::new(2).unwrap(), output(2))];
    assert_eq!(recombine_outputs(&shares), Err(SharingError::Degenerate));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_threshold_of_shares_in_any_order_gives_the_secret_and_fewer_do_not(
        seed: u64,
        (threshold, order) in (1usize..8).prop_flat_map(|n| (1..=n, Just((0..n).collect::<Vec<_>>()).prop_shuffle())),
    ) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let secret = SecretScalar::random(rng);
        let shares = share(&secret, threshold as u32, order.len() as u32, rng).unwrap();
        let chosen: Vec<Share> = order.iter().map(|i| shares[*i].clone()).collect();
        prop_assert_eq!(recombine(&chosen[..threshold]).unwrap(), secret.clone());
        if threshold > 1 {
            prop_assert_ne!(recombine(&chosen[..threshold - 1]).unwrap(), secret);
        }
    }
}
