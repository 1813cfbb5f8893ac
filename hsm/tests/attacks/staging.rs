//! Attacks on the two places of a record: a guess more at either, and a registration that is there after it should be gone.

use super::attempts::{listed, what};
use super::common::{Rig, User, process_request, waits};
use super::{Scene, whole};
use rand::SeedableRng;
use rand::rngs::StdRng;
use strongroom_hsm::{RECORD_BYTES, SEALED_RECORD_BYTES};
use strongroom_hsm_planted::Bug;
use strongroom_proto::client::{
    ActivateResponse, Policy, Recover1Response, Recover2Response, Recover3Response, Register2Request,
    RegistrationVersion, SecretsRequest, SecretsResponse, UnlockKeyTag, VersionsResponse,
};
use strongroom_proto::hsm::{Outcome, Reply};
use strongroom_testkit::registration;

/// Another registration of the scene's user.
fn other(s: &Scene, num_guesses: u16) -> Register2Request {
    registration(&s.rig.realm, num_guesses, &mut StdRng::seed_from_u64(77))
}

/// Runs a request to its answer.
fn ask(s: &mut Scene, request: &SecretsRequest) -> SecretsResponse {
    let request = s.user.send(request);
    let (_, replies) = s.rig.run(0, &mut s.tree, &[request]);
    s.user.read(&replies[0])
}

fn read(s: &mut Scene, request: &SecretsRequest) -> SecretsResponse {
    let request = s.user.send(request);
    let replies = s.rig.read(0, &s.tree, &[request]);
    s.user.read(&replies[0])
}

fn stage(s: &mut Scene, registration: &Register2Request) {
    let answer = ask(s, &SecretsRequest::Stage(Box::new(registration.clone())));
    assert_eq!(answer, SecretsResponse::Stage);
}

fn activate(s: &mut Scene, registration: &Register2Request) -> ActivateResponse {
    match ask(s, &SecretsRequest::Activate { version: registration.version }) {
        SecretsResponse::Activate(answer) => answer,
        answer => panic!("{answer:?}"),
    }
}

/// Guesses at a registration. The guesses that it has charged, if this was answered.
fn guess(s: &mut Scene, registration: &Register2Request) -> Option<u16> {
    let (version, blinded_input) = (registration.version, s.user.point());
    match ask(s, &SecretsRequest::Recover2 { version, blinded_input }) {
        SecretsResponse::Recover2(Recover2Response::Ok(ok)) => Some(ok.guess_count),
        _ => None,
    }
}

fn tag(s: &mut Scene, registration: &Register2Request, right: bool) -> Recover3Response {
    let tag = &registration.unlock_key_tag;
    let unlock_key_tag = if right { tag.clone() } else { UnlockKeyTag::new([0xee; 16]) };
    match ask(s, &SecretsRequest::Recover3 { version: registration.version, unlock_key_tag }) {
        SecretsResponse::Recover3(answer) => answer,
        answer => panic!("{answer:?}"),
    }
}

fn opens(s: &mut Scene, registration: &Register2Request) -> bool {
    matches!(tag(s, registration, true), Recover3Response::Ok(_))
}

fn versions(s: &mut Scene) -> [Recover1Response; 2] {
    match read(s, &SecretsRequest::Versions) {
        SecretsResponse::Versions(VersionsResponse { present, staged }) => [present, staged],
        answer => panic!("{answer:?}"),
    }
}

const fn is(registration: &Register2Request) -> Recover1Response {
    Recover1Response::Ok { version: registration.version }
}

/// A scene with a second registration staged, and that one. The user's own is present.
fn staged(bug: Option<Bug>, guesses: u16, staged: u16) -> (Scene, Register2Request, Register2Request) {
    let mut s = Scene::new(bug, 3, guesses);
    let (present, other) = (s.user.registration.clone(), other(&s, staged));
    stage(&mut s, &other);
    (s, present, other)
}

pub(super) fn guesses_back_by_staging_the_same_again(bug: Option<Bug>) -> bool {
    let (mut s, present, other) = staged(bug, 3, 3);
    let mut seen = Vec::new();
    for registration in [&other, &present] {
        guess(&mut s, registration);
        stage(&mut s, registration);
        seen.push(guess(&mut s, registration));
    }
    seen != [Some(2); 2]
}

pub(super) fn guesses_back_by_staging_another(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    let (present, other) = (s.user.registration.clone(), other(&s, 3));
    guess(&mut s, &present);
    stage(&mut s, &other);
    guess(&mut s, &present) != Some(2)
}

pub(super) fn guesses_at_what_is_staged_for_nothing(bug: Option<Bug>) -> bool {
    let (mut s, _, other) = staged(bug, 3, 1);
    [(); 3].map(|()| guess(&mut s, &other)).into_iter().flatten().count() > 1
}

pub(super) fn guesses_at_one_charged_to_the_other(bug: Option<Bug>) -> bool {
    let (mut s, present, other) = staged(bug, 3, 3);
    let counts = [&present, &other, &present, &other].map(|registration| guess(&mut s, registration));
    counts != [Some(1), Some(1), Some(2), Some(2)]
}

pub(super) fn replaced_registration_opened_after_an_activation(bug: Option<Bug>) -> bool {
    let (mut s, present, other) = staged(bug, 3, 3);
    assert_eq!(activate(&mut s, &other), ActivateResponse::Ok);
    opens(&mut s, &present)
}

pub(super) fn registration_erased_by_activating_what_is_not_there(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 3);
    let (present, other) = (s.user.registration.clone(), other(&s, 3));
    assert_eq!(activate(&mut s, &other), ActivateResponse::NotStaged);
    versions(&mut s)[0] != is(&present)
}

pub(super) fn staged_registration_activated_by_another_version(bug: Option<Bug>) -> bool {
    let (mut s, present, _) = staged(bug, 3, 3);
    let nobody = Register2Request { version: RegistrationVersion([0; 16]), ..present.clone() };
    activate(&mut s, &nobody) == ActivateResponse::Ok || versions(&mut s)[0] != is(&present)
}

pub(super) fn guesses_back_by_an_activation(bug: Option<Bug>) -> bool {
    let (mut s, _, other) = staged(bug, 3, 3);
    guess(&mut s, &other);
    activate(&mut s, &other);
    guess(&mut s, &other) != Some(2)
}

pub(super) fn staged_registration_opened_after_another_replaced_all(bug: Option<Bug>) -> bool {
    let (mut s, _, other) = staged(bug, 3, 3);
    let request = s.user.register2();
    s.rig.run(0, &mut s.tree, &[request]).1.iter().for_each(|reply| drop(s.user.read(reply)));
    opens(&mut s, &other)
}

pub(super) fn staged_registration_opened_after_a_deletion(bug: Option<Bug>) -> bool {
    let (mut s, _, other) = staged(bug, 3, 3);
    ask(&mut s, &SecretsRequest::Delete);
    opens(&mut s, &other)
}

pub(super) fn guesses_at_one_back_by_the_tag_of_the_other(bug: Option<Bug>) -> bool {
    let (mut s, present, other) = staged(bug, 3, 3);
    guess(&mut s, &other);
    assert!(opens(&mut s, &present));
    guess(&mut s, &other) != Some(2)
}

pub(super) fn present_registration_erased_by_guesses_at_another(bug: Option<Bug>) -> bool {
    let (mut s, present, other) = staged(bug, 3, 1);
    guess(&mut s, &other);
    tag(&mut s, &other, false);
    versions(&mut s) != [is(&present), Recover1Response::NoGuesses]
}

pub(super) fn activation_that_goes_on_with_what_counted_before(bug: Option<Bug>) -> bool {
    let (mut s, _, other) = staged(bug, 3, 3);
    activate(&mut s, &other);
    let list = listed(&mut s);
    (list.count, list.version) != (1, other.version)
}

pub(super) fn guesses_left_told_of_another_registration(bug: Option<Bug>) -> bool {
    let (mut s, _, other) = staged(bug, 3, 200);
    guess(&mut s, &other);
    what(&listed(&mut s)).last() != Some(&(2, 199))
}

pub(super) fn staged_registration_without_guesses(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let unguessable = Register2Request { policy: Policy { num_guesses: 0 }, ..other(&s, 3) };
    let request = s.user.send(&SecretsRequest::Stage(Box::new(unguessable)));
    match s.rig.process(0, &s.tree, &[request]) {
        Reply::Processed { mut outcomes, .. } => waits(&outcomes.remove(0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_staged_registration_is_beside_the_present_one_until_it_is_activated() {
    let (mut s, present, other) = staged(None, 2, 3);
    assert_eq!(versions(&mut s), [is(&present), is(&other)]);
    assert_eq!(read(&mut s, &SecretsRequest::Recover1), SecretsResponse::Recover1(is(&present)));
    assert!(opens(&mut s, &present) && opens(&mut s, &other));
    assert_eq!((guess(&mut s, &present), guess(&mut s, &other)), (Some(1), Some(1)));
    // Its count comes with it, and its last answer.
    assert_eq!(activate(&mut s, &other), ActivateResponse::Ok);
    assert_eq!(versions(&mut s), [is(&other), Recover1Response::NotRegistered]);
    assert_eq!((guess(&mut s, &present), guess(&mut s, &other)), (None, Some(2)));
    assert_eq!(tag(&mut s, &present, true), Recover3Response::VersionMismatch);
    // Once more changes nothing.
    assert_eq!(activate(&mut s, &other), ActivateResponse::Ok);
    assert_eq!(activate(&mut s, &present), ActivateResponse::NotStaged);
    assert_eq!(guess(&mut s, &other), Some(3));
}

#[test]
fn one_place_can_be_locked_while_the_other_is_open() {
    let (mut s, present, other) = staged(None, 1, 1);
    guess(&mut s, &present);
    assert_eq!(versions(&mut s), [Recover1Response::NoGuesses, is(&other)]);
    guess(&mut s, &other);
    assert_eq!(versions(&mut s), [const { Recover1Response::NoGuesses }; 2]);
    // Both wait for their tags, in the longest state that there is.
    assert!(opens(&mut s, &other));
    assert_eq!(tag(&mut s, &present, false), Recover3Response::BadUnlockKeyTag { guesses_remaining: 0 });
    assert_eq!(tag(&mut s, &present, true), Recover3Response::NoGuesses);
    assert_eq!(versions(&mut s), [Recover1Response::NoGuesses, is(&other)]);
    // What is staged replaces what is locked.
    assert_eq!(activate(&mut s, &other), ActivateResponse::Ok);
    assert_eq!(versions(&mut s), [is(&other), Recover1Response::NotRegistered]);
}

#[test]
fn what_is_staged_and_locked_goes_with_the_present_version_or_with_another_that_is_staged() {
    let (mut s, present, other) = staged(None, 3, 1);
    guess(&mut s, &other);
    tag(&mut s, &other, false);
    assert_eq!(activate(&mut s, &other), ActivateResponse::NotStaged);
    assert_eq!(versions(&mut s), [is(&present), Recover1Response::NoGuesses]);
    assert_eq!(activate(&mut s, &present), ActivateResponse::Ok);
    assert_eq!(versions(&mut s), [is(&present), Recover1Response::NotRegistered]);
    stage(&mut s, &other);
    let next = registration(&s.rig.realm, 2, &mut StdRng::seed_from_u64(78));
    stage(&mut s, &next);
    assert_eq!(versions(&mut s), [is(&present), is(&next)]);
    assert_eq!(guess(&mut s, &other), None);
}

#[test]
fn a_record_that_was_never_there_can_have_a_registration_staged() {
    let mut s = Scene::new(None, 3, 3);
    s.user = User::new(&s.rig, 7, 3);
    s.rig.open(0, &mut s.user);
    let registration = s.user.registration.clone();
    assert_eq!(versions(&mut s), [const { Recover1Response::NotRegistered }; 2]);
    // Nothing is made by what finds nothing.
    let nothing = read(&mut s, &SecretsRequest::Activate { version: registration.version });
    assert_eq!(nothing, SecretsResponse::Activate(ActivateResponse::NotStaged));
    stage(&mut s, &registration);
    assert_eq!(versions(&mut s), [Recover1Response::NotRegistered, is(&registration)]);
    assert_eq!(
        read(&mut s, &SecretsRequest::Recover1),
        SecretsResponse::Recover1(Recover1Response::NotRegistered)
    );
    assert_eq!(guess(&mut s, &registration), Some(1));
    let list = listed(&mut s);
    assert_eq!((what(&list), list.version.0), (vec![(7, 3), (2, 2)], [0; 16]));
    assert_eq!(activate(&mut s, &registration), ActivateResponse::Ok);
    let list = listed(&mut s);
    assert_eq!((what(&list), list.version), (vec![(8, 2)], registration.version));
}

#[test]
fn what_is_done_to_either_place_counts_and_what_has_no_effect_does_not() {
    let (mut s, present, other) = staged(None, 3, 2);
    stage(&mut s, &other);
    stage(&mut s, &present);
    guess(&mut s, &other);
    guess(&mut s, &present);
    guess(&mut s, &other);
    tag(&mut s, &other, false);
    let nobody = Register2Request { version: RegistrationVersion([0; 16]), ..other.clone() };
    activate(&mut s, &nobody);
    guess(&mut s, &nobody);
    let list = listed(&mut s);
    assert_eq!(what(&list), [(1, 3), (7, 2), (2, 1), (2, 2), (3, 0), (5, 0)]);
    // What drops what was left over counts in the same list, once.
    assert_eq!([(); 2].map(|()| activate(&mut s, &present)), [ActivateResponse::Ok; 2]);
    let after = listed(&mut s);
    assert_eq!((what(&after)[6..].to_vec(), after.version), (vec![(8, 2)], present.version));
    assert_eq!(after.follows(list.count, &list.head), Some(true));
}

/// The same version as one that was erased: it is another registration all the same.
#[test]
fn an_activation_after_an_erasure_begins_a_list_of_its_own() {
    let mut s = Scene::new(None, 3, 1);
    let present = s.user.registration.clone();
    guess(&mut s, &present);
    tag(&mut s, &present, false);
    stage(&mut s, &present);
    activate(&mut s, &present);
    assert_eq!(what(&listed(&mut s)), [(8, 1)]);
}

fn plaintext(s: &Scene) -> Vec<u8> {
    let sealed = s.tree.get(&s.user.record).expect("open").expect("there");
    assert_eq!(sealed.len(), SEALED_RECORD_BYTES);
    s.rig.devices[0].reader().plaintext(&s.user.record, sealed).expect("opens").to_vec()
}

#[test]
fn a_record_holds_the_secrets_of_both_places_as_long_as_they_have_guesses_and_always_as_many_bytes() {
    let (mut s, present, other) = staged(None, 3, 1);
    let shows = |s: &Scene| {
        let plaintext = plaintext(s);
        assert_eq!((plaintext.len(), plaintext[0]), (RECORD_BYTES, 4));
        [&present, &other].map(|registration| {
            let share = registration.encryption_key_scalar_share.to_bytes();
            plaintext.windows(share.len()).any(|window| window == &share[..])
        })
    };
    assert_eq!(shows(&s), [true, true]);
    guess(&mut s, &other);
    assert_eq!(shows(&s), [true, false]);
    assert!(opens(&mut s, &other));
    assert_eq!(shows(&s), [true, true]);
    activate(&mut s, &other);
    assert_eq!(shows(&s), [false, true]);
    ask(&mut s, &SecretsRequest::Delete);
    assert_eq!(shows(&s), [false, false]);
}

/// As a build wrote it that knew of one place.
#[test]
fn a_record_of_the_build_before_is_read_and_written_again_with_both_places() {
    // Without the bug no crafted record ever gets under a root.
    let mut rig = Rig::new(1, Some(Bug::TreeOfAnyRoot));
    rig.lead(0, None);
    let (mut tree, mut user) = (whole(), User::new(&rig, 1, 3));
    rig.open(0, &mut user);
    let request = user.register2();
    let made = rig.make(0, &mut tree, &[request]);
    let device = &mut rig.devices[0];
    let reader = device.reader();
    let mut old = reader.plaintext(&user.record, &made.leaves[0].sealed).expect("opens").to_vec();
    // Nothing staged is left out at the end of an array of three.
    assert_eq!((old[0], old[1]), (4, 0x83));
    old[0] = 3;
    old.truncate(1024);
    let sealed = reader.seal_plaintext(&user.record, &old, &mut device.env.rng).expect("a realm");
    let mut tree = whole();
    tree.update([(user.record, sealed.into())]).expect("an empty tree");
    rig.open(0, &mut user);
    let other = registration(&rig.realm, 2, &mut StdRng::seed_from_u64(77));
    let requests = [user.recover2(), user.send(&SecretsRequest::Stage(Box::new(other)))];
    let reply = rig.devices[0].ask(&process_request(rig.group, &tree, &requests));
    let Reply::Processed { outcomes, made: Some(made) } = reply else { panic!("{reply:?}") };
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Kept));
    let new = reader.plaintext(&user.record, &made.leaves[0].sealed).expect("opens").to_vec();
    assert_eq!((new.len(), new[0], new[1]), (RECORD_BYTES, 4, 0x84));
}
