//! NVRAM of version 1, kept as its last build left it, is read once and written again, in one step that no power cut breaks.

use crate::TEARS;
use crate::model::{ModelFlash, Tear};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use strongroom_hsm::nvram::{Nvram, Opened};
use strongroom_hsm::{Config, Core};
use strongroom_hsm_planted::{PlantedCore, Revealed};
use strongroom_proto::hsm::{DeviceStatus, Origin, Reply, Request};
use strongroom_proto::ids::RecordId;
use strongroom_testkit::TestEnv;

const UNITS: u32 = 4;
const UNIT_BYTES: u32 = 65_536;
/// Mark, kind, format, length, sequence number, check.
const BEFORE_BODY: usize = 8 + 1 + 1 + 2 + 8 + 8;

fn golden() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = include_str!("../version_1.golden").lines().filter(|line| !line.starts_with('#'));
    let field = |line: &'static str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        // The one number among them is as short as it is.
        (name, hex::decode(value).unwrap_or_else(|_| vec![value.parse().expect("a number")]))
    };
    lines.map(field).collect()
}

/// The flash as the last build of version 1 left it.
fn flash(seed: u64) -> ModelFlash {
    let mut flash = ModelFlash::new(UNITS, UNIT_BYTES, 8, seed);
    for unit in 0..UNITS {
        let mut bytes = golden()[format!("unit {unit}").as_str()].clone();
        bytes.resize(bytes.len().next_multiple_of(8), 0xff);
        flash.fill(unit, &bytes);
    }
    flash
}

pub(super) type Device = TestEnv<ModelFlash>;

pub(super) fn device(flash: ModelFlash) -> Device {
    TestEnv::new(flash, StdRng::seed_from_u64(1))
}

pub(super) fn status(core: &mut Core, device: &mut Device) -> DeviceStatus {
    let request = minicbor::to_vec(Request::DeviceStatus).expect("encodes");
    match minicbor::decode(&core.handle(device, &request)).expect("decodes") {
        Reply::Device(status) => status,
        other => panic!("{other:?}"),
    }
}

/// Starts it, and checks that nothing is lost.
fn starts_as_it_was(flash: &mut ModelFlash, what: &str) {
    flash.restart();
    let mut device = device(flash.clone());
    let mut core = Core::start(&mut device, Config::software()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let (golden, status) = (golden(), status(&mut core, &mut device));
    let realm = status.realm.expect("it has one");
    assert_eq!(status.hsm.as_bytes(), &golden["hsm"][..], "{what}");
    assert_eq!(status.device_key.as_bytes(), &golden["device_key"][..], "{what}");
    assert_eq!(realm.realm.as_bytes(), &golden["realm"][..], "{what}");
    assert_eq!(realm.public_key.as_bytes(), &golden["public_key"][..], "{what}");
    assert_eq!((realm.policy.custodians.len(), realm.policy.threshold), (3, 2), "{what}");
    assert_eq!((realm.unassigned, realm.origin), (false, Origin::Unknown), "{what}");
    let [group] = &status.groups[..] else { panic!("{what}: {:?}", status.groups) };
    assert_eq!(group.statement.group.as_bytes(), &golden["group"][..], "{what}");
    assert_eq!((group.statement.members.len(), group.statement.genesis), (3, true), "{what}");
    assert_eq!(group.captured_index.0, u64::from(golden["captured_index"][0]), "{what}");
    assert_eq!(group.captured_hash.as_bytes(), &golden["captured_hash"][..], "{what}");
    assert_eq!(status.wear.bad_units, 0, "{what}");
    let record = RecordId(golden["record"][..].try_into().expect("32 bytes"));
    let reader = PlantedCore::reader(device.flash.clone(), None).unwrap_or_else(|e| panic!("{what}: {e}"));
    let revealed = reader.reveal(&record, &golden["sealed"]);
    assert!(
        matches!(revealed, Some(Revealed::Registered { num_guesses: 3, .. })),
        "{what}: a record of version 1"
    );
    *flash = device.flash;
}

#[test]
fn a_device_of_version_1_starts_and_is_of_this_version_from_then_on() {
    let mut flash = flash(1);
    let newest_before =
        (0..UNITS).max_by_key(|unit| golden()[format!("unit {unit}").as_str()][12..20].to_vec());
    starts_as_it_was(&mut flash, "the first start");
    let unit = (newest_before.expect("some") + 1) % UNITS;
    let body = (unit * UNIT_BYTES) as usize + BEFORE_BODY;
    // A build of version 1 takes the body for CBOR, which begins with 0x84 there, and refuses it by its first byte.
    assert_eq!(flash.bytes[body], 2);
    let Ok(Opened::Found(recovered, _)) = Nvram::open(&mut flash) else { panic!("no state") };
    assert_eq!(recovered.full[..2], [3, 3]);
    starts_as_it_was(&mut flash, "the second start");
}

#[test]
fn a_power_cut_at_each_operation_of_the_move_and_of_the_start_after_it_loses_nothing() {
    let mut cuts = 0;
    for (tear, wavers) in TEARS.into_iter().flat_map(|tear| [(tear, false), (tear, true)]) {
        for at in 1.. {
            let mut flash = flash(at);
            flash.wavers = wavers;
            if !cut(&mut flash, at, tear) {
                break;
            }
            let what = format!("cut at {at}, {tear:?}");
            starts_as_it_was(&mut flash.clone(), &what);
            for again in 1.. {
                let mut flash = flash.clone();
                flash.restart();
                if !cut(&mut flash, again, tear) {
                    break;
                }
                starts_as_it_was(&mut flash, &format!("{what}, again at {again}"));
                starts_as_it_was(&mut flash, &format!("{what}, again at {again}, and once more"));
                cuts += 1;
            }
        }
    }
    assert!(cuts > 140, "{cuts} cuts");
}

/// Starts with the power cut at this operation. Whether there was one.
fn cut(flash: &mut ModelFlash, at: u64, tear: Tear) -> bool {
    flash.cut_at = Some((at, tear));
    let mut device = device(flash.clone());
    let started = Core::start(&mut device, Config::software()).is_ok();
    *flash = device.flash;
    !started
}
