use crate::support::{Script, array, bytes, cases, list, text, vectors};
use curve25519_dalek::scalar::Scalar;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use strongroom_client_crypto::oprf::{blind, finalize, hash_to_group, random_key, unoblivious_output};
use strongroom_client_crypto::registration::derive_unlock_key;
use strongroom_proto::oprf::{
    BlindedInput, BlindedOutput, PrivateKey, Proof, PublicKey, evaluate, evaluate_with_nonce_as_drawn, verify,
};
use strongroom_proto::scalar::{InvalidScalar, SecretScalar};

const PLANTED: [&str; 3] = [
    "edge-private-key-zero",
    "edge-private-key-seed-l-reduces-to-zero",
    "edge-blinding-zero-identity-blinded-input",
];

#[test]
fn every_evaluation_is_as_the_vectors_say() {
    let cases = cases("oprf", 35);
    let usable = cases.iter().filter(|c| !PLANTED.contains(&text(c, "name")));
    assert_eq!(usable.clone().count(), 32);
    usable.for_each(evaluation);
}

fn evaluation(case: &Value) {
    let name = text(case, "name");
    let input = bytes(case, "input");
    let key = random_key(&mut Script::new([bytes(case, "private_key_seed")]));
    assert_eq!(*key.scalar().to_bytes(), array(case, "private_key"), "{name}");
    assert_eq!(PrivateKey::from_bytes(&array(case, "private_key")).as_ref(), Ok(&key), "{name}");
    let public_key = key.public_key();
    assert_eq!(public_key.0, array(case, "public_key"), "{name}");
    assert_eq!(hash_to_group(&input).compress().to_bytes(), array(case, "hash_to_group"), "{name}");

    let seed = |field| SecretScalar::random(&mut Script::new([bytes(case, field)]));
    assert_eq!(*seed("blinding_factor_seed").to_bytes(), array(case, "blinding_factor"), "{name}");
    let (factor, blinded) = blind(&input, &mut Script::new([bytes(case, "blinding_factor_seed")]));
    assert_eq!(blinded.as_bytes(), &array(case, "blinded_input"), "{name}");
    let output = evaluated(&key, &blinded);
    assert_eq!(output.as_bytes(), &array(case, "blinded_output"), "{name}");

    let proof = Proof { c: array(case, "proof_c"), beta_z: array(case, "proof_beta_z") };
    if name != "edge-beta-t-zero" {
        let mut nonce = Script::new([bytes(case, "beta_t_seed")]);
        let ours = evaluate_with_nonce_as_drawn(&key, &public_key, &blinded, &mut nonce);
        assert_eq!(ours, Ok((output, proof)), "{name}");
    }
    assert_eq!(verify(&public_key, &blinded, &output, &proof), Ok(()), "{name}");

    let result = finalize(&input, &factor, &output);
    assert_eq!(result.as_bytes(), &array(case, "output"), "{name}");
    assert_eq!(unoblivious_output(&key, &input), result, "{name}");
    let (commitment, unlock_key) = derive_unlock_key(&result);
    assert_eq!(commitment.as_bytes(), &array(case, "unlock_key_commitment"), "{name}");
    assert_eq!(unlock_key.as_bytes(), &array(case, "unlock_key"), "{name}");
}

/// The output alone.
pub(crate) fn evaluated(key: &PrivateKey, input: &BlindedInput) -> BlindedOutput {
    evaluate(key, &key.public_key(), input, &mut StdRng::seed_from_u64(5)).unwrap().0
}

/// Scalars at which halving could go wrong: small, large, around the middle, odd and even.
fn delicate() -> Vec<Scalar> {
    let half = Scalar::from(2u8).invert();
    let small = (1..=4u8).map(Scalar::from);
    small.flat_map(|s| [s, -s, half + s, half - s, half * s]).filter(|s| *s != Scalar::ZERO).collect()
}

#[test]
fn every_scalar_is_halved_without_a_trace() {
    let (_, input) = blind(b"input", &mut StdRng::seed_from_u64(1));
    for key in delicate() {
        let key = PrivateKey::from_bytes(&key.to_bytes()).unwrap();
        let k = key.scalar().scalar();
        for b in delicate() {
            let wide = [b.to_bytes(), [0; 32]].concat();
            let (output, proof) =
                evaluate_with_nonce_as_drawn(&key, &key.public_key(), &input, &mut Script::new([wide]))
                    .unwrap();
            assert_eq!(output.as_bytes(), (input.point() * k).compress().as_bytes());
            let [c, beta_z] = [proof.c, proof.beta_z].map(|s| Scalar::from_canonical_bytes(s).unwrap());
            assert_eq!(beta_z - c * k, b);
            // The challenge is of b·G and b times the input: a verifier computes those anew.
            assert_eq!(verify(&key.public_key(), &input, &output, &proof), Ok(()));
        }
    }
}

#[test]
fn zero_keys_and_the_identity_are_refused() {
    assert!(PrivateKey::from_bytes(&[0; 32]).is_err());
    assert!(BlindedInput::from_bytes(&[0; 32]).is_err());
    assert!(BlindedOutput::from_bytes(&[0; 32]).is_err());
    for case in cases("oprf", 35).iter().filter(|c| PLANTED.contains(&text(c, "name"))) {
        let key = PrivateKey::from_bytes(&array(case, "private_key"));
        let input = BlindedInput::from_bytes(&array(case, "blinded_input"));
        assert!(key.is_err() || input.is_err(), "{}", case["name"]);
    }
}

#[test]
fn a_generator_that_draws_zero_stops_every_use_of_it() {
    let l = "edd3f55c1a631258d69cf7a2def9de14000000000000000000000000000000100000000000000000000000000000000000000000000000000000000000000000";
    for zero in [vec![0; 64], hex::decode(l).unwrap()] {
        let draw = || Script::new([zero.clone()]);
        let key = random_key(&mut StdRng::seed_from_u64(1));
        let (_, input) = blind(b"input", &mut StdRng::seed_from_u64(2));
        let stops = |f: &dyn Fn()| catch_unwind(AssertUnwindSafe(f)).is_err();
        assert!(stops(&|| drop(random_key(&mut draw()))));
        assert!(stops(&|| drop(blind(b"input", &mut draw()))));
        let public_key = key.public_key();
        let proven = |by: Evaluate| by(&key, &public_key, &input, &mut draw()).is_ok();
        assert!(!proven(evaluate_with_nonce_as_drawn));
        // Here a draw is hashed with the key, and zero is as good as any other.
        assert!(proven(evaluate));
    }
}

/// Evaluates and proves with the draws of a script.
type Evaluate =
    fn(&PrivateKey, &PublicKey, &BlindedInput, &mut Script) -> Result<(BlindedOutput, Proof), InvalidScalar>;

/// What an attacker computes from two proofs with one key and one nonce: the key.
fn key_from(a: &Proof, b: &Proof) -> Option<PrivateKey> {
    let scalar = |bytes| Option::<Scalar>::from(Scalar::from_canonical_bytes(bytes)).expect("canonical");
    let key = (scalar(a.beta_z) - scalar(b.beta_z)) * (scalar(a.c) - scalar(b.c)).invert();
    PrivateKey::from_bytes(&key.to_bytes()).ok()
}

#[test]
fn a_generator_that_repeats_itself_does_not_disclose_the_key() {
    let rng = &mut StdRng::seed_from_u64(1);
    let [key, other] = [(); 2].map(|()| random_key(rng));
    let inputs = [b"one", b"two"].map(|input| blind(input, rng).1);
    let disclosed = |by: Evaluate| {
        let proofs = inputs.map(|input| {
            let draw = &mut Script::new([vec![7; 64]]);
            by(&key, &key.public_key(), &input, draw).unwrap().1
        });
        key_from(&proofs[0], &proofs[1]).as_ref() == Some(&key)
    };
    assert!(disclosed(evaluate_with_nonce_as_drawn), "the attack works on a nonce that is the draw");
    assert!(!disclosed(evaluate));

    // b = beta_z - k·c, with a different key, public key, input or draw each.
    let nonce = |key: &PrivateKey, public: &PublicKey, input: &BlindedInput, draw: u8| {
        let draw = &mut Script::new([vec![draw; 64]]);
        let (_, proof) = evaluate(key, public, input, draw).unwrap();
        let scalar = |bytes| Option::<Scalar>::from(Scalar::from_canonical_bytes(bytes)).expect("canonical");
        (scalar(proof.beta_z) - scalar(*key.scalar().to_bytes()) * scalar(proof.c)).to_bytes()
    };
    let public = key.public_key();
    let nonces = [
        nonce(&key, &public, &inputs[0], 7),
        nonce(&key, &public, &inputs[0], 8),
        nonce(&key, &public, &inputs[1], 7),
        nonce(&key, &other.public_key(), &inputs[0], 7),
        nonce(&other, &public, &inputs[0], 7),
    ];
    assert_eq!(nonces[0], nonce(&key, &public, &inputs[0], 7), "nothing else goes into it");
    let distinct: std::collections::BTreeSet<_> = nonces.into_iter().collect();
    assert_eq!(distinct.len(), nonces.len());
}

#[test]
fn encodings_decode_exactly_when_the_vectors_say() {
    let all = vectors("oprf");
    let decoding = list(&all, "decoding");
    assert_eq!(decoding.len(), 12);
    for case in decoding {
        let encoding = array(case, "encoding");
        if text(case, "type") == "scalar" {
            assert_eq!(
                SecretScalar::from_bytes(&encoding).is_ok(),
                case["reference_decodes"],
                "{}",
                case["name"]
            );
            let nonzero = case["reference_decodes"] == true && encoding != [0; 32];
            assert_eq!(PrivateKey::from_bytes(&encoding).is_ok(), nonzero, "{}", case["name"]);
        } else {
            let accept = case["server_must_accept_as_blinded_input"] == true;
            assert_eq!(BlindedInput::from_bytes(&encoding).is_ok(), accept, "{}", case["name"]);
            assert_eq!(BlindedOutput::from_bytes(&encoding).is_ok(), accept, "{}", case["name"]);
        }
    }
}

#[test]
fn proofs_are_made_and_judged_as_the_vectors_say() {
    let cases = cases("dleq", 19);
    for case in &cases {
        let proof = Proof { c: array(case, "c"), beta_z: array(case, "beta_z") };
        let public_key = PublicKey(array(case, "v_public_key"));
        let input = BlindedInput::from_bytes(&array(case, "u_blinded_input")).expect("a valid input");
        let output = BlindedOutput::from_bytes(&array(case, "w_blinded_output"));
        let verified = output.is_ok_and(|output| verify(&public_key, &input, &output, &proof).is_ok());
        assert_eq!(verified, case["valid"], "{}", case["name"]);
        if case["valid"] == true {
            let key = PrivateKey::from_bytes(&array(case, "private_key")).unwrap();
            let mut nonce = Script::new([bytes(case, "beta_t_seed")]);
            assert_eq!(
                evaluate_with_nonce_as_drawn(&key, &public_key, &input, &mut nonce),
                Ok((output.unwrap(), proof)),
                "{}",
                case["name"]
            );
        }
    }
    assert_eq!(cases.iter().filter(|c| c["valid"] == true).count(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn blinding_never_shows_in_the_output(seed: u64, input: Vec<u8>) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let key = random_key(rng);
        let (factor, blinded) = blind(&input, rng);
        let (output, proof) = evaluate(&key, &key.public_key(), &blinded, rng).unwrap();
        prop_assert_eq!(finalize(&input, &factor, &output), unoblivious_output(&key, &input));
        prop_assert!(verify(&key.public_key(), &blinded, &output, &proof).is_ok());
    }

    #[test]
    fn a_proof_with_any_bit_flipped_is_refused(seed: u64, bit in 0usize..512) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let key = random_key(rng);
        let (_, blinded) = blind(b"input", rng);
        let (output, mut proof) = evaluate(&key, &key.public_key(), &blinded, rng).unwrap();
        let half = if bit < 256 { &mut proof.c } else { &mut proof.beta_z };
        half[bit % 256 / 8] ^= 1 << (bit % 8);
        prop_assert!(verify(&key.public_key(), &blinded, &output, &proof).is_err());
    }
}
