//! Attacks on sessions and records.

use super::common::{Rig, process_request, waits};
use super::{Scene, answers};
use curve25519_dalek::scalar::Scalar;
use rand::SeedableRng;
use rand::rngs::StdRng;
use strongroom_hsm_planted::Bug;
use strongroom_proto::client::{
    PADDED_RESPONSE, Policy, Recover2Response, Recover3Response, RegistrationVersion, SecretsRequest,
    SecretsResponse,
};
use strongroom_proto::hsm::{BatchRequest, NoiseReply, Outcome, Refusal, Reply};
use strongroom_proto::noise::TAG_LEN;
use strongroom_testkit::registration;

/// What becomes of a request at the leader.
fn outcome(s: &mut Scene, request: BatchRequest) -> Outcome {
    match s.rig.process(0, &s.tree, &[request]) {
        Reply::Processed { mut outcomes, .. } => outcomes.remove(0),
        other => panic!("{other:?}"),
    }
}

fn shares(response: &SecretsResponse) -> bool {
    matches!(response, SecretsResponse::Recover3(Recover3Response::Ok(_)))
}

fn count(response: &SecretsResponse) -> Option<u16> {
    match response {
        SecretsResponse::Recover2(Recover2Response::Ok(ok)) => Some(ok.guess_count),
        _ => None,
    }
}

pub(super) fn session_used_after_a_bad_message(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let [due, early] = [s.user.recover2(), s.user.recover2()];
    assert!(!waits(&outcome(&mut s, early)));
    waits(&outcome(&mut s, due))
}

pub(super) fn registration_in_a_handshake(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let registration = SecretsRequest::Register2(Box::new(s.user.registration.clone()));
    // A handshake can be sent again for ever, and each time it would give all guesses back.
    let (_, request) = s.user.handshake_with(&registration.to_cbor());
    waits(&outcome(&mut s, request))
}

pub(super) fn registration_without_guesses(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    s.user.registration.policy = Policy { num_guesses: 0 };
    let request = s.user.register2();
    waits(&outcome(&mut s, request))
}

pub(super) fn answer_before_commit_by_asking_again(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.recover2();
    let made = s.rig.make(0, &mut s.tree.clone(), std::slice::from_ref(&request));
    super::common::apply(&mut s.tree, &made);
    !waits(&outcome(&mut s, request))
}

pub(super) fn outcome_seen_from_the_number_of_events(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.recover3(false);
    s.rig.make(0, &mut s.tree.clone(), &[request]).events.is_empty()
}

pub(super) fn outcome_seen_from_the_size_of_a_reply(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(None, 3, 2);
    s.rig.devices[0].install(bug);
    assert!(s.lead_again(0));
    let request = s.user.recover3(false);
    let (_, replies) = s.rig.run(0, &mut s.tree, &[request]);
    let NoiseReply::Transport { ciphertext } = &replies[0] else { panic!("not a transport message") };
    ciphertext.len() != PADDED_RESPONSE + TAG_LEN
}

pub(super) fn wrong_tag_seen_before_commit(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.recover3(false);
    !waits(&outcome(&mut s, request))
}

pub(super) fn second_tag_after_the_last_guess(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 1);
    let requests = [s.user.recover2(), s.user.recover3(false), s.user.recover3(true)];
    answers(&mut s, &requests).iter().any(shares)
}

pub(super) fn charges_after_a_right_tag(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    let requests = [s.user.recover2(), s.user.recover3(true), s.user.recover2()];
    count(&answers(&mut s, &requests)[2]) != Some(1)
}

pub(super) fn charges_after_a_new_registration(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    let requests = [s.user.recover2(), s.user.register2(), s.user.recover2()];
    count(&answers(&mut s, &requests)[2]) != Some(1)
}

pub(super) fn share_of_a_deleted_registration(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let requests = [s.user.send(&SecretsRequest::Delete), s.user.recover3(true)];
    answers(&mut s, &requests).iter().any(shares)
}

pub(super) fn secrets_in_the_padding(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.send(&SecretsRequest::Delete);
    answers(&mut s, &[request]);
    let sealed = s.tree.get(&s.user.record).expect("open").expect("there");
    let plaintext = s.rig.devices[0].reader().plaintext(&s.user.record, sealed).expect("opens");
    let share = s.user.registration.encryption_key_scalar_share.to_bytes();
    plaintext.windows(share.len()).any(|w| w == &share[..])
}

pub(super) fn share_for_another_version(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let version = RegistrationVersion([0; 16]);
    let unlock_key_tag = s.user.registration.unlock_key_tag.clone();
    let request = s.user.send(&SecretsRequest::Recover3 { version, unlock_key_tag });
    answers(&mut s, &[request]).iter().any(shares)
}

/// After the right tag, a point that was guessed before is a guess like any other.
pub(super) fn answer_from_before_the_right_tag(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    let point = s.user.point();
    let requests = [s.user.recover2_with(point), s.user.recover3(true), s.user.recover2_with(point)];
    count(&answers(&mut s, &requests)[2]) != Some(1)
}

/// A generator that repeats itself. Two proofs of one key with one nonce give the key away.
pub(super) fn key_computed_from_two_proofs(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let scalar = |bytes| Option::<Scalar>::from(Scalar::from_canonical_bytes(bytes)).expect("canonical");
    let proofs = [(); 2].map(|()| {
        s.rig.devices[0].env.rng.script.push_back(vec![7; 64]);
        let request = s.user.recover2();
        let answer = answers(&mut s, &[request]).remove(0);
        assert!(s.rig.devices[0].env.rng.script.is_empty(), "the proof draws");
        let SecretsResponse::Recover2(Recover2Response::Ok(ok)) = answer else { panic!("{answer:?}") };
        (scalar(ok.oprf_proof.c), scalar(ok.oprf_proof.beta_z))
    });
    let [(c, z), (other_c, other_z)] = proofs;
    let key = (z - other_z) * (c - other_c).invert();
    key.to_bytes() == *s.user.registration.oprf_private_key.scalar().to_bytes()
}

/// Stages a registration with one guess, at which the user guesses from then on.
fn stage(s: &mut Scene) -> BatchRequest {
    s.user.registration = registration(&s.rig.realm, 1, &mut StdRng::seed_from_u64(77));
    let request = SecretsRequest::Stage(Box::new(s.user.registration.clone()));
    s.user.send(&request)
}

/// A Recover2 draws for its proof whatever the record holds. `strongroom-sim firmware work` counts the rest of the work.
pub(super) fn lockout_seen_from_the_work(bug: Option<Bug>) -> bool {
    let draws = |before: fn(&mut Scene) -> Vec<BatchRequest>| {
        let mut s = Scene::new(bug, 3, 1);
        let requests = before(&mut s);
        s.rig.run(0, &mut s.tree, &requests);
        s.rig.devices[0].env.rng.script.push_back(vec![7; 64]);
        let request = s.user.recover2();
        outcome(&mut s, request);
        s.rig.devices[0].env.rng.script.is_empty()
    };
    let looks = [
        draws(|_| vec![]),
        draws(|s| vec![s.user.recover2()]),
        draws(|s| vec![s.user.recover2(), s.user.recover3(false)]),
        draws(|s| vec![s.user.send(&SecretsRequest::Delete)]),
        draws(|s| vec![stage(s)]),
        draws(|s| vec![stage(s), s.user.recover2()]),
        draws(|s| vec![stage(s), s.user.recover2(), s.user.recover3(false)]),
    ];
    looks.contains(&false)
}

#[test]
fn a_message_in_order_is_kept() {
    let mut s = Scene::new(None, 3, 2);
    let request = s.user.recover2();
    let asked = process_request(s.rig.group, &s.tree, &[request]);
    let Reply::Processed { outcomes, .. } = s.rig.devices[0].ask(&asked) else { panic!("not processed") };
    assert_eq!(outcomes, [Outcome::Kept]);
}

/// A decoder skips what it does not know with 16 bytes of memory for each byte of this, if nothing walks over it before.
pub(super) fn request_with_more_in_it_of_no_stated_length(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    // DeviceStatus with a field that it does not have: an array without a length, in one that has one.
    let reply = rig.devices[0].handle(&[0x82, 0, 0x82, 0x9f, 0xff, 0]);
    !matches!(minicbor::decode(&reply), Ok(Reply::Refused(Refusal::Malformed)))
}
