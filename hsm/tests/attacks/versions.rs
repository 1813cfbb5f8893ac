//! What a build does with what another build stored. No host can do these; a part that is given another build can.

use super::common::{Device, Rig, TestEnv, User, process_request};
use strongroom_hsm::nvram::{Nvram, Opened};
use strongroom_hsm::{Config, RECORD_BYTES, StartError};
use strongroom_hsm_planted::{Bug, Core};
use strongroom_proto::hsm::{Refusal, Reply, Request};
use strongroom_proto::ids::RecordId;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Tree;

/// Of a state in NVRAM, and of a record.
const LATER: u8 = 4;
const LATER_RECORD: u8 = 5;

/// A device with a captured entry, switched off.
fn device() -> Device {
    let mut rig = Rig::new(1, None);
    rig.lead(0, None);
    rig.run(0, &mut Tree::new(Prefix::WHOLE), &[]);
    rig.devices.remove(0)
}

/// Starts on a state that was changed where it lies, and a delta after it.
fn start(
    bug: Option<Bug>,
    change: impl Fn(&mut Vec<u8>),
    delta: Option<Vec<u8>>,
) -> (Result<Core, StartError>, TestEnv) {
    let mut env = device().env;
    // The state as it is after a start, with nothing behind it.
    Core::start(&mut env, Config::software(), None).expect("an intact flash starts");
    let Ok(Opened::Found(recovered, old)) = Nvram::open(&mut env.flash) else { panic!("no state") };
    let mut state = recovered.full.to_vec();
    change(&mut state);
    let mut nvram = old.restate(&mut env.flash, &state).expect("NVRAM works");
    if let Some(delta) = delta {
        nvram.append_delta(&mut env.flash, &delta, || unreachable!("there is room")).expect("NVRAM works");
    }
    (Core::start(&mut env, Config::software(), bug), env)
}

pub(super) fn state_of_a_newer_build_read_as_its_own(bug: Option<Bug>) -> bool {
    start(bug, |state| state.extend(b"more"), None).0.is_ok()
}

pub(super) fn nvram_that_is_closed_to_this_build_read(bug: Option<Bug>) -> bool {
    start(bug, |state| state[1] = LATER, None).0.is_ok()
}

pub(super) fn state_of_a_later_version_read(bug: Option<Bug>) -> bool {
    start(bug, |state| state[0] = LATER, None).0.is_ok()
}

pub(super) fn delta_of_a_later_version_read(bug: Option<Bug>) -> bool {
    start(bug, |_| (), Some(vec![LATER, 0x80])).0.is_ok()
}

/// What this build writes is for builds like it.
pub(super) fn nvram_left_open_to_builds_that_are_too_old(bug: Option<Bug>) -> bool {
    let (core, mut env) = start(bug, |state| state[1] = 1, None);
    assert!(core.is_ok());
    let Ok(Opened::Found(recovered, _)) = Nvram::open(&mut env.flash) else { panic!("no state") };
    recovered.full[..2] != [3, 3]
}

/// A record that is sealed as it should be, with another plaintext.
fn reveals(bug: Option<Bug>, change: impl Fn(&mut Vec<u8>)) -> bool {
    let (mut rig, record, mut plaintext) = registered(bug);
    change(&mut plaintext);
    let device = &mut rig.devices[0];
    let reader = device.reader();
    let sealed = reader.seal_plaintext(&record, &plaintext, &mut device.env.rng).expect("a realm");
    reader.reveal(&record, &sealed).is_some()
}

fn registered(bug: Option<Bug>) -> (Rig, RecordId, Vec<u8>) {
    let mut rig = Rig::new(1, bug);
    rig.lead(0, None);
    let (mut tree, mut user) = (Tree::new(Prefix::WHOLE), User::new(&rig, 1, 2));
    rig.open(0, &mut user);
    let request = user.register2();
    let made = rig.make(0, &mut tree, &[request]);
    let plaintext = rig.devices[0].reader().plaintext(&user.record, &made.leaves[0].sealed).expect("opens");
    assert_eq!((plaintext.len(), plaintext[0]), (RECORD_BYTES, 4));
    (rig, user.record, plaintext)
}

pub(super) fn record_with_more_in_it_read(bug: Option<Bug>) -> bool {
    reveals(bug, |plaintext| plaintext[RECORD_BYTES - 1] = 1)
}

pub(super) fn record_of_a_newer_build_read(bug: Option<Bug>) -> bool {
    reveals(bug, |plaintext| plaintext[0] = LATER_RECORD)
}

#[test]
fn a_build_that_is_too_old_refuses_by_name_and_writes_nothing() {
    let (core, mut env) = start(None, |state| (state[0], state[1]) = (LATER, LATER), None);
    let error = core.err().expect("it must not start");
    assert_eq!(error, StartError::OtherVersion { needs: LATER, reads: 3 });
    assert_eq!(
        error.to_string(),
        "the HSM's NVRAM was written for state version 4 or later; this build reads up to 3: install a build of state \
         version 4 or later"
    );
    let before = env.flash.units().to_vec();
    assert!(Core::start(&mut env, Config::software(), None).is_err());
    assert!(env.flash.units() == before);
}

/// What this build writes in a group's slot, in front of the group, which was all there was in version 2.
const LIVE: [u8; 2] = [0x82, 0];

fn as_version_2(state: &mut Vec<u8>) {
    let group = [&LIVE[..], &[0x84, 0x50]].concat();
    let at = state.windows(4).rposition(|window| window == group).expect("a group");
    state.drain(at..at + LIVE.len());
    (state[0], state[1]) = (2, 2);
}

#[test]
fn nvram_of_version_2_is_read_with_its_deltas_once_and_written_again() {
    let captured = [&[2, 0x81, 0x82, 0, 0x82, 7, 0x58, 32][..], &[9; 32]].concat();
    let (core, mut env) = start(None, as_version_2, Some(captured));
    assert!(core.is_ok());
    let mut again = Core::start(&mut env, Config::software(), None).expect("it is of this version now");
    let request = minicbor::to_vec(Request::DeviceStatus).expect("encodes");
    let reply = minicbor::decode(&again.handle(&mut env, &request)).expect("every reply decodes");
    let Reply::Device(status) = reply else { panic!("no status") };
    assert_eq!((status.groups[0].captured_index.0, status.groups[0].captured_hash.0), (7, [9; 32]));
    let Ok(Opened::Found(recovered, _)) = Nvram::open(&mut env.flash) else { panic!("no state") };
    assert_eq!(recovered.full[..2], [3, 3]);
    // Nothing else of it is read: neither a version that does not fit, nor a delta that does not.
    assert!(start(None, |state| (as_version_2(state), state[0] = 3).1, None).0.is_err());
    assert!(start(None, |state| state[0] = 2, None).0.is_err());
    assert!(start(None, as_version_2, Some(vec![3, 0x80])).0.is_err());
}

#[test]
fn a_delta_of_a_newer_build_or_with_more_in_it_ends_the_start() {
    let none_moved = [3, 0x80];
    assert!(start(None, |_| (), Some(none_moved.to_vec())).0.is_ok());
    for (delta, bug, error) in [
        (vec![LATER, 0x80], None, Some(StartError::OtherVersion { needs: LATER, reads: 3 })),
        (vec![3, 0x80, 0], None, Some(StartError::BadState)),
        (vec![3, 0x80, 0], Some(Bug::StateBytesLeftOver), None),
        // As builds of version 1 wrote it, behind a state of this version.
        (vec![0x80], None, Some(StartError::BadState)),
        // And of version 2.
        (vec![2, 0x80], None, Some(StartError::BadState)),
    ] {
        assert_eq!(start(bug, |_| (), Some(delta.clone())).0.err(), error, "{delta:?}");
    }
}

#[test]
fn a_record_of_a_newer_build_is_refused_by_name_and_not_written_over() {
    // Without the bug no crafted record ever gets under a root.
    let (mut rig, record, mut plaintext) = registered(Some(Bug::TreeOfAnyRoot));
    plaintext[0] = LATER_RECORD;
    let device = &mut rig.devices[0];
    let sealed = device.reader().seal_plaintext(&record, &plaintext, &mut device.env.rng).expect("a realm");
    let mut tree = Tree::new(Prefix::WHOLE);
    tree.update([(record, sealed.into())]).expect("an empty tree");
    let mut user = User::new(&rig, 1, 2);
    assert_eq!(user.record, record);
    rig.open(0, &mut user);
    let request = user.register2();
    let request = process_request(rig.group, &tree, &[request]);
    assert_eq!(rig.devices[0].ask(&request), Reply::Refused(Refusal::OtherVersion));
}
