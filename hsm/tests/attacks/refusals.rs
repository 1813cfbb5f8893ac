//! What an HSM is to refuse, rule by rule, where nothing greater is at stake in one step.

use super::common::{Device, Rig, User, process_request, waits};
use super::places::OTHER_REALM;
use super::{Scene, captures, second_group, whole};
use strongroom_hsm::{Config, SEALED_RECORD_BYTES};
use strongroom_hsm_planted::Bug;
use strongroom_proto::client::SecretsRequest;
use strongroom_proto::hsm::{
    BatchRequest, ExportApproval, MAX_GROUPS, NoiseMessage, Origin, RealmPolicy, Refusal, Reply, Request,
};
use strongroom_proto::ids::{BuildDigest, RealmId, SessionId, X25519Public};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Tree;
use strongroom_testkit::Custodians;

fn makes_a_realm(device: &mut Device, policy: RealmPolicy) -> bool {
    matches!(device.ask(&Request::NewRealm(policy)), Reply::Device(_))
}

/// What is in RAM may not be what is in NVRAM.
pub(super) fn answer_after_a_failed_write(bug: Option<Bug>) -> bool {
    let mut device = Device::new(1, bug, Config::software());
    device.env.flash.failing = true;
    makes_a_realm(&mut device, RealmPolicy::closed());
    device.env.flash.failing = false;
    matches!(device.ask(&Request::DeviceStatus), Reply::Device(_))
}

pub(super) fn realm_that_nvram_does_not_hold(bug: Option<Bug>) -> bool {
    let mut device = Device::new(1, bug, Config::software());
    device.env.flash.failing = true;
    makes_a_realm(&mut device, RealmPolicy::closed())
}

pub(super) fn request_longer_than_a_frame(bug: Option<Bug>) -> bool {
    let mut device = Device::new(1, bug, Config::software());
    let long = vec![0; Config::software().limits.max_frame_bytes as usize + 1];
    let reply = device.handle(&long);
    !matches!(minicbor::decode(&reply), Ok(Reply::Refused(Refusal::TooLarge)))
}

pub(super) fn another_realm_in_place_of_the_first(bug: Option<Bug>) -> bool {
    let mut device = Device::new(1, bug, Config::software());
    assert!(makes_a_realm(&mut device, RealmPolicy::closed()));
    makes_a_realm(&mut device, RealmPolicy::closed())
}

pub(super) fn realm_under_a_policy_of_more_than_there_are(bug: Option<Bug>) -> bool {
    let policy = RealmPolicy { threshold: 2, ..Custodians::one().policy() };
    makes_a_realm(&mut Device::new(1, bug, Config::software()), policy)
}

/// Signed by enough custodians, with the nonce that was drawn here.
fn exports_on(bug: Option<Bug>, change: fn(&mut ExportApproval)) -> bool {
    let mut rig = Rig::new(2, bug);
    let mut approval = rig.approval(1);
    change(&mut approval);
    let signatures = vec![rig.sign(0, &approval), rig.sign(1, &approval)];
    matches!(rig.devices[0].ask(&Request::ExportRealm(approval, signatures)), Reply::Exported(_))
}

pub(super) fn export_on_an_approval_of_another_realm(bug: Option<Bug>) -> bool {
    exports_on(bug, |approval| approval.realm = RealmId([9; 16]))
}

pub(super) fn export_on_an_approval_of_another_public_key(bug: Option<Bug>) -> bool {
    exports_on(bug, |approval| approval.public_key = X25519Public([9; 32]))
}

pub(super) fn export_on_an_approval_under_another_policy(bug: Option<Bug>) -> bool {
    exports_on(bug, |approval| approval.policy.threshold = 1)
}

pub(super) fn export_on_an_approval_of_another_build(bug: Option<Bug>) -> bool {
    exports_on(bug, |approval| approval.exporter_build = BuildDigest([9; 32]))
}

pub(super) fn one_group_more_than_there_is_room_for(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    (1..MAX_GROUPS).for_each(|_| drop(second_group(&mut rig)));
    let member = rig.devices[0].status().realm.expect("made").member;
    matches!(rig.devices[0].ask(&Request::NewGroup(vec![member])), Reply::Group(_))
}

/// Made by an HSM with the same keys: ids are not all that keys are derived from.
pub(super) fn capture_an_entry_of_another_realm(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let tip = s.tip.entry.clone();
    let mut elsewhere = s.rig.devices[1].reader();
    elsewhere.rename(OTHER_REALM);
    let env = &mut s.rig.devices[1].env;
    let mut ask = |request: &Request| {
        let request = minicbor::to_vec(request).expect("encodes");
        minicbor::decode::<Reply>(&elsewhere.handle(env, &request)).expect("every reply decodes")
    };
    assert!(matches!(ask(&Request::Lead(s.rig.group, Some(tip))), Reply::Leading(_)));
    let Reply::Processed { made: Some(made), .. } = ask(&process_request(s.rig.group, &s.tree, &[])) else {
        panic!("no entry")
    };
    assert_eq!(made.entry.realm, OTHER_REALM);
    captures(&s.rig.capture(0, &[made.entry]))
}

pub(super) fn capture_an_entry_beside_the_captured_one(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let (mine, theirs) = (s.fork(0), s.fork(1));
    s.rig.captured(0, &[mine]);
    captures(&s.rig.capture(0, &[theirs]))
}

pub(super) fn entry_made_after_stepping_down(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    assert_eq!(s.rig.devices[0].ask(&Request::StepDown(s.rig.group)), Reply::Done);
    matches!(s.rig.process(0, &s.tree, &[]), Reply::Processed { .. })
}

pub(super) fn batch_of_too_many_requests(bug: Option<Bug>) -> bool {
    let mut config = Config::software();
    config.limits.max_batch_requests = 1;
    let mut rig = Rig::with_config(1, bug, &config);
    rig.lead(0, None);
    let requests =
        [1, 2].map(|seed| User::new(&rig, seed, 1).handshake_with(&SecretsRequest::Recover1.to_cbor()).1);
    matches!(rig.process(0, &whole(), &requests), Reply::Processed { .. })
}

pub(super) fn batch_with_too_many_nodes(bug: Option<Bug>) -> bool {
    let mut config = Config::software();
    config.limits.max_tree_nodes = 0;
    let mut rig = Rig::with_config(1, bug, &config);
    rig.lead(0, None);
    matches!(rig.process(0, &whole(), &[]), Reply::Processed { .. })
}

/// An entry for each message that anybody makes up would fill the log.
pub(super) fn entry_of_nothing_but_refusals(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let session = SessionId(s.user.session.0.wrapping_add(1));
    let request = BatchRequest { session, ..s.user.recover2() };
    matches!(s.rig.process(0, &s.tree, &[request]), Reply::Processed { made: Some(_), .. })
}

pub(super) fn session_used_after_no_request(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let ciphertext = s.user.transport.as_mut().expect("open").encrypt(&[0xff]).expect("few messages").into();
    let (record, session) = (s.user.record, s.user.session);
    let no_request =
        BatchRequest { record, session, message: NoiseMessage::Transport { ciphertext }, time: None };
    let requests = [no_request, s.user.recover2()];
    let Reply::Processed { outcomes, .. } = s.rig.process(0, &s.tree, &requests) else { panic!() };
    assert!(!waits(&outcomes[0]));
    waits(&outcomes[1])
}

/// That such a record is under a root takes a bug of its own.
pub(super) fn record_that_nobody_sealed_taken_for_absent(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    rig.devices[0].install(Some(Bug::TreeOfAnyRoot));
    rig.lead(0, None);
    let mut user = User::new(&rig, 1, 2);
    rig.open(0, &mut user);
    let mut tree = Tree::new(Prefix::WHOLE);
    tree.update([(user.record, vec![7; SEALED_RECORD_BYTES].into())]).expect("an empty tree");
    let request = user.send(&SecretsRequest::Recover1);
    matches!(rig.process(0, &tree, &[request]), Reply::Processed { .. })
}

pub(super) fn registration_without_an_event(bug: Option<Bug>) -> bool {
    let s = Scene::new(bug, 3, 2);
    let event = s.rig.devices[0].reader().event(&s.rig.group, &s.tip.events[0]).expect("opens");
    // Its version, and what happened: a registration.
    event[..2] != [2, 1]
}

pub(super) fn two_devices_of_one_id(bug: Option<Bug>) -> bool {
    let [one, other] = [1, 2].map(|seed| Device::new(seed, bug, Config::software()).id());
    one == other
}

/// What is sealed to one is open to the other.
pub(super) fn two_devices_of_one_key(bug: Option<Bug>) -> bool {
    let [one, other] = [1, 2].map(|seed| Device::new(seed, bug, Config::software()).status().device_key);
    one == other
}

pub(super) fn nonce_of_an_export_without_a_realm(bug: Option<Bug>) -> bool {
    let mut device = Device::new(1, bug, Config::software());
    matches!(device.ask(&Request::ExportNonce), Reply::ExportNonce(_))
}

pub(super) fn nonce_of_an_import_over_a_realm(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    matches!(rig.devices[0].ask(&Request::ImportNonce), Reply::ImportNonce(_))
}

/// Custodians would sign the founding of a seed that came from elsewhere.
pub(super) fn imported_realm_said_to_be_drawn_here(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    rig.devices[1].status().realm.expect("joined").origin == Origin::MadeHere
}

/// Whoever was an agent once would be one for ever.
pub(super) fn agent_secret_of_another_epoch(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    let [one, next] = [1, 2].map(|epoch| rig.devices[0].ask(&Request::AgentSecret(epoch)));
    assert!(matches!(one, Reply::AgentSecret(_)));
    one == next
}

pub(super) fn constant_answer_that_waits(bug: Option<Bug>) -> bool {
    let mut s = Scene::new(bug, 3, 2);
    let request = s.user.send(&SecretsRequest::Register1);
    let Reply::Processed { outcomes, .. } = s.rig.process(0, &s.tree, &[request]) else { panic!() };
    waits(&outcomes[0])
}

pub(super) fn record_that_does_not_say_when_it_was_sealed(bug: Option<Bug>) -> bool {
    let s = Scene::new(bug, 3, 2);
    let sealed = &s.tip.leaves[0].sealed;
    let plaintext = s.rig.devices[0].reader().plaintext(&s.user.record, sealed).expect("opens");
    // Behind its version an array of three: group and index, or null; its state; its attempts.
    assert_eq!(plaintext[..2], [4, 0x83]);
    plaintext[2] == 0xf6
}
