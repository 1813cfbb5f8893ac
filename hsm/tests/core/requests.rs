//! The core as an honest host sees it.

use crate::common::{Rig, User, evaluations};
use strongroom_hsm::{Flash, FlashError, Geometry};
use strongroom_proto::client::{Recover2Response, Recover3Response, SecretsResponse};
use strongroom_proto::hsm::{BatchRequest, NoiseMessage, NoiseReply, Outcome, Reply, SessionRefusal};
use strongroom_proto::oprf::{BlindedInput, BlindedOutput, verify};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Tree;
use strongroom_testkit::MemoryFlash;

#[test]
fn a_secret_is_registered_and_recovered_after_a_wrong_guess() {
    let mut rig = Rig::new(3, None);
    let mut tree = Tree::new(Prefix::WHOLE);
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 3);
    rig.open(0, &mut user);
    let request = user.register2();
    let (_, replies) = rig.run(0, &mut tree, &[request]);
    assert_eq!(user.read(&replies[0]), SecretsResponse::Register2);

    let request = user.recover2();
    let (_, replies) = rig.run(0, &mut tree, &[request]);
    assert_eq!(evaluations(&[user.read(&replies[0])]), 1);
    let request = user.recover3(false);
    let (_, replies) = rig.run(0, &mut tree, &[request]);
    let wrong = SecretsResponse::Recover3(Recover3Response::BadUnlockKeyTag { guesses_remaining: 2 });
    assert_eq!(user.read(&replies[0]), wrong);

    let request = user.recover3(true);
    let (_, replies) = rig.run(0, &mut tree, &[request]);
    assert!(matches!(user.read(&replies[0]), SecretsResponse::Recover3(Recover3Response::Ok(_))));
}

#[test]
fn a_record_locks_after_its_last_guess_and_the_right_tag_still_opens_it() {
    let mut rig = Rig::new(3, None);
    let mut tree = Tree::new(Prefix::WHOLE);
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 1);
    rig.open(0, &mut user);
    let requests = [user.register2(), user.recover2(), user.recover2(), user.recover3(true), user.recover2()];
    let (_, replies) = rig.run(0, &mut tree, &requests);
    let answers: Vec<SecretsResponse> = replies.iter().map(|r| user.read(r)).collect();
    assert!(matches!(answers[1], SecretsResponse::Recover2(Recover2Response::Ok(_))));
    assert_eq!(answers[2], SecretsResponse::Recover2(Recover2Response::NoGuesses));
    assert!(matches!(answers[3], SecretsResponse::Recover3(Recover3Response::Ok(_))));
    assert!(matches!(answers[4], SecretsResponse::Recover2(Recover2Response::Ok(_))));
}

#[test]
fn a_guess_is_evaluated_and_proven_under_the_registered_key() {
    let mut rig = Rig::new(1, None);
    let mut tree = Tree::new(Prefix::WHOLE);
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 2);
    rig.open(0, &mut user);
    let point = user.point();
    let requests = [user.register2(), user.recover2_with(point)];
    let (_, replies) = rig.run(0, &mut tree, &requests);
    let answers: Vec<SecretsResponse> = replies.iter().map(|r| user.read(r)).collect();
    let SecretsResponse::Recover2(Recover2Response::Ok(ok)) = &answers[1] else { panic!("{:?}", answers[1]) };
    let registered = &user.registration.oprf_signed_public_key.public_key;
    verify(registered, &point, &ok.oprf_blinded_result, &ok.oprf_proof).expect("of the registered key");
}

/// The evaluated guess in this answer, proven under the user's key.
fn proven(user: &mut User, point: &BlindedInput, reply: &NoiseReply) -> BlindedOutput {
    let SecretsResponse::Recover2(Recover2Response::Ok(ok)) = user.read(reply) else {
        panic!("not evaluated")
    };
    let registered = &user.registration.oprf_signed_public_key.public_key;
    verify(registered, point, &ok.oprf_blinded_result, &ok.oprf_proof).expect("of the registered key");
    ok.oprf_blinded_result
}

#[test]
fn guesses_are_evaluated_each_for_itself_whatever_fails_beside_them() {
    let mut rig = Rig::new(1, None);
    let mut tree = Tree::new(Prefix::WHOLE);
    rig.lead(0, None);
    let mut users: Vec<User> = (0..7).map(|seed| User::new(&rig, seed, 3)).collect();
    users.iter_mut().for_each(|user| rig.open(0, user));
    // The last has nothing registered.
    let registrations: Vec<_> = users[..6].iter_mut().map(User::register2).collect();
    let (_, replies) = rig.run(0, &mut tree, &registrations);
    users.iter_mut().zip(&replies).for_each(|(user, reply)| drop(user.read(reply)));

    let points: Vec<BlindedInput> = users.iter_mut().map(User::point).collect();
    let requests: Vec<BatchRequest> = users
        .iter_mut()
        .enumerate()
        .map(|(at, user)| match at {
            1 => user.recover2_with_bytes(&points[at], &[0; 32]),
            2 => user.recover2_with_bytes(&points[at], &[0xff; 32]),
            4 => {
                let mut altered = user.recover2_with(points[at]);
                let NoiseMessage::Transport { ciphertext } = &mut altered.message else { panic!() };
                ciphertext[0] ^= 1;
                altered
            }
            _ => user.recover2_with(points[at]),
        })
        .collect();
    let (made, replies) = rig.run(0, &mut tree, &requests);
    assert_eq!((made.leaves.len(), replies.len()), (3, 4));
    for (at, reply) in [0, 3, 5].into_iter().zip(&replies) {
        let (user, point) = (&mut users[at], &points[at]);
        let together = proven(user, point, reply);
        // The same point, alone in a batch and in another session: what is stored, without another charge.
        rig.open(0, user);
        let request = user.recover2_with(*point);
        let (_, replies) = rig.run(0, &mut tree, &[request]);
        assert_eq!(proven(user, point, &replies[0]), together);
        let other = user.point();
        let request = user.recover2_with(other);
        let (_, replies) = rig.run(0, &mut tree, &[request]);
        assert_ne!(proven(user, &other, &replies[0]), together);
    }
    let nothing = SecretsResponse::Recover2(Recover2Response::NotRegistered);
    assert_eq!(users[6].read(&replies[3]), nothing);
}

#[test]
fn a_session_ends_with_a_message_that_does_not_decrypt() {
    let mut rig = Rig::new(1, None);
    let tree = Tree::new(Prefix::WHOLE);
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 1);
    rig.open(0, &mut user);
    let good = user.register2();
    let mut bad = good.clone();
    let NoiseMessage::Transport { ciphertext } = &mut bad.message else { panic!() };
    ciphertext[0] ^= 1;
    let Reply::Processed { outcomes, made } = rig.process(0, &tree, &[bad, good]) else { panic!() };
    let refused = |r| Outcome::Refused(r);
    assert_eq!(outcomes, [refused(SessionRefusal::SessionError), refused(SessionRefusal::MissingSession)]);
    assert_eq!(made, None, "nothing was kept, so there is no entry");
}

#[test]
fn a_memory_flash_clears_bits_until_an_erase_and_refuses_what_it_has_not() {
    let mut flash = MemoryFlash::new(Geometry { units: 2, unit_bytes: 32, write_bytes: 8 });
    flash.program(1, 8, &[0xf0; 8]).expect("inside");
    flash.program(1, 8, &[0x3c; 8]).expect("inside");
    assert_eq!(flash.units()[1][8..16], [0x30; 8]);
    for (unit, offset, len) in [(2, 0, 8), (0, 32, 8), (0, 24, 16), (0, u32::MAX, 8), (0, 4, 8), (0, 0, 4)] {
        assert_eq!(flash.program(unit, offset, &vec![0; len]), Err(FlashError::OutOfRange));
    }
    assert_eq!(flash.read(1, 31, &mut [0; 2]), Err(FlashError::OutOfRange));
    assert_eq!(flash.erase(2), Err(FlashError::OutOfRange));

    flash.failing = true;
    assert_eq!(flash.program(0, 0, &[0; 8]), Err(FlashError::Program));
    assert_eq!(flash.erase(1), Err(FlashError::Erase));
    assert_eq!(flash.units()[0], [0xff; 32], "a failing flash stays as it was");

    flash.failing = false;
    flash.erase(1).expect("there is such a unit");
    assert_eq!(flash.units()[1], [0xff; 32]);
}
