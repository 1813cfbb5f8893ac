//! Attacks on who is a member of what.

use super::common::{Device, Rig};
use super::{outsider, second_group};
use rand::SeedableRng;
use rand::rngs::StdRng;
use strongroom_hsm::{Config, Geometry};
use strongroom_hsm_planted::{Bug, Core};
use strongroom_proto::change::{Change, Evidence, Retirement};
use strongroom_proto::hsm::{RealmPolicy, Refusal, Reply, Request};
use strongroom_proto::ids::HsmId;
use strongroom_proto::statement::MemberStatement;
use strongroom_testkit::founding::{enrol, make_realm};
use strongroom_testkit::{Custodians, CutFlash, MemoryFlash, TestEnv};

type CutEnv = TestEnv<CutFlash>;

fn start(env: &mut CutEnv, bug: Option<Bug>) -> Core {
    env.flash.left = None;
    Core::start(env, Config::software(), bug).expect("an intact flash starts")
}

fn ask(core: &mut Core, env: &mut CutEnv, request: &Request) -> Reply {
    let request = minicbor::to_vec(request).expect("encodes");
    minicbor::decode(&core.handle(env, &request)).expect("every reply decodes")
}

/// Makes the realm's first group, with the power cut after each granule in turn, and then a second.
pub(super) fn second_first_group_after_a_power_cut(bug: Option<Bug>) -> bool {
    let geometry = Geometry { units: 4, unit_bytes: 1 << 14, write_bytes: 8 };
    (0..200).any(|after| {
        let flash = CutFlash::on(MemoryFlash::new(geometry));
        let mut env = CutEnv::new(flash, StdRng::seed_from_u64(1));
        let mut core = start(&mut env, bug);
        let Reply::Device(made) = ask(&mut core, &mut env, &Request::NewRealm(RealmPolicy::closed())) else {
            panic!("no realm")
        };
        let request = Request::NewGroup(vec![made.realm.expect("just made").member]);
        env.flash.left = Some(after);
        ask(&mut core, &mut env, &request);
        let mut core = start(&mut env, bug);
        ask(&mut core, &mut env, &request);
        let Reply::Device(status) = ask(&mut core, &mut env, &Request::DeviceStatus) else { panic!() };
        status.groups.iter().filter(|group| group.statement.genesis).count() > 1
    })
}

/// Captures an entry, with the power cut after each granule in turn: an HSM that does not start again is lost.
pub(super) fn hsm_lost_in_a_power_cut(bug: Option<Bug>) -> bool {
    let geometry = Geometry { units: 4, unit_bytes: 1 << 14, write_bytes: 8 };
    (0..40).any(|after| {
        let flash = CutFlash::on(MemoryFlash::new(geometry));
        let mut env = CutEnv::new(flash, StdRng::seed_from_u64(1));
        let mut core = start(&mut env, bug);
        let mut ask = |request: &Request| ask(&mut core, &mut env, request);
        let Reply::Device(made) = ask(&Request::NewRealm(RealmPolicy::closed())) else { panic!("no realm") };
        let own = made.realm.expect("just made").member;
        let Reply::Group(statement) = ask(&Request::NewGroup(vec![own])) else { panic!("no group") };
        let group = statement.group;
        ask(&Request::Lead(group, None));
        let process = Request::Process { group, trees: Vec::new(), requests: Vec::new() };
        let Reply::Processed { made: Some(made), .. } = ask(&process) else { panic!("no entry") };
        env.flash.left = Some(after);
        self::ask(&mut core, &mut env, &Request::capture(group, vec![made.entry]));
        env.flash.left = None;
        Core::start(&mut env, Config::software(), bug).is_err()
    })
}

pub(super) fn group_joined_again(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let statement = rig.statement.clone();
    // As if for the first time: what was captured would be forgotten.
    matches!(rig.devices[1].ask(&Request::JoinGroup(statement)), Reply::Group(_))
}

pub(super) fn group_joined_by_an_hsm_it_does_not_name(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, None);
    let statement = second_group(&mut rig);
    matches!(outsider(&mut rig, bug).ask(&Request::JoinGroup(statement)), Reply::Group(_))
}

pub(super) fn group_of_an_hsm_that_does_not_exist(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(1, bug);
    let own = rig.devices[0].status().realm.expect("joined").member;
    let invented = MemberStatement { hsm: HsmId([9; 16]), mac: own.mac };
    matches!(rig.devices[0].ask(&Request::NewGroup(vec![own, invented])), Reply::Group(_))
}

/// Of three places two are one HSM's, which is enough to commit.
pub(super) fn group_in_which_one_member_is_a_majority(bug: Option<Bug>) -> bool {
    let mut rig = Rig::new(2, bug);
    let [own, other] = [0, 1].map(|i| rig.devices[i].status().realm.expect("joined").member);
    matches!(rig.devices[0].ask(&Request::NewGroup(vec![own, own, other])), Reply::Group(_))
}

/// A group of two of its HSMs in a realm that wants three, in which one that is taken back would be half of the members.
pub(super) fn group_smaller_than_the_policy_allows(bug: Option<Bug>) -> bool {
    let mut devices: Vec<Device> = (0..3).map(|i| Device::new(i, bug, Config::software())).collect();
    let custodians = Custodians::one();
    let first = make_realm(&mut devices[0], RealmPolicy { smallest_group: Some(3), ..custodians.policy() });
    let (exporter, others) = devices.split_first_mut().expect("there are three");
    for importer in others {
        enrol(exporter, &first, importer, &custodians);
    }
    let members = devices.iter_mut().map(|device| device.status().realm.expect("joined").member);
    let members: Vec<MemberStatement> = members.collect();
    // The policy goes with the seed: at any HSM.
    let small = devices.iter_mut().enumerate().any(|(i, device)| {
        let two = vec![members[i], members[(i + 1) % 3]];
        [two, vec![members[i]]]
            .into_iter()
            .any(|few| matches!(device.ask(&Request::NewGroup(few)), Reply::Group(_)))
    });
    assert!(matches!(devices[0].ask(&Request::NewGroup(members)), Reply::Group(_)), "three are enough");
    small
}

/// Whoever made it did not look: the others look again.
#[test]
fn a_group_that_is_too_small_is_not_joined_either() {
    let bugs = [Some(Bug::SmallGroups), None];
    let mut devices = bugs.map(|bug| Device::new(u64::from(bug.is_some()), bug, Config::software()));
    let custodians = Custodians::one();
    let policy = RealmPolicy { smallest_group: Some(3), ..custodians.policy() };
    let first = make_realm(&mut devices[0], policy);
    let [maker, other] = &mut devices;
    enrol(maker, &first, other, &custodians);
    let members = [&mut *maker, other].map(|device| device.status().realm.expect("joined").member);
    let Reply::Group(two) = maker.ask(&Request::NewGroup(members.to_vec())) else {
        panic!("it does not look")
    };
    assert_eq!(other.refusal(&Request::JoinGroup(two)), Some(Refusal::TooFewMembers));
}

/// Leaves a retired group, with the power cut after each granule in turn, and what it answered thrown away or not.
#[test]
fn a_power_cut_while_a_group_is_left_leaves_an_hsm_that_has_left_it_or_has_not() {
    let geometry = Geometry { units: 4, unit_bytes: 1 << 14, write_bytes: 8 };
    let mut seen = [0; 2];
    for after in 0..200 {
        let flash = CutFlash::on(MemoryFlash::new(geometry));
        let mut env = CutEnv::new(flash, StdRng::seed_from_u64(1));
        let mut core = start(&mut env, None);
        let mut ask = |request: &Request| ask(&mut core, &mut env, request);
        let Reply::Device(made) = ask(&Request::NewRealm(RealmPolicy::closed())) else { panic!("no realm") };
        let own = made.realm.expect("just made").member;
        // The first begins with everything.
        let [_, statement] = [0, 1].map(|_| match ask(&Request::NewGroup(vec![own])) {
            Reply::Group(statement) => statement,
            other => panic!("{other:?}"),
        });
        let group = statement.group;
        ask(&Request::Lead(group, None));
        let Reply::Processed { made: Some(made), .. } = ask(&Request::Change(group, Change::Retire)) else {
            panic!("no entry")
        };
        let Reply::Captured(captured) =
            ask(&Request::capture(group, vec![made.entry.clone()])).of_one_group()
        else {
            panic!("not captured")
        };
        let commit = Request::Commit { group, statements: vec![captured] };
        let Reply::Committed { statement: committed, .. } = ask(&commit) else { panic!("not committed") };
        let evidence = Evidence { entry: made.entry, committed };
        let leave = Request::Leave(group, Some(Retirement::Entry(Box::new(evidence.clone()))));
        env.flash.left = Some(after);
        let said = matches!(self::ask(&mut core, &mut env, &leave), Reply::Retired(_));
        let mut core = start(&mut env, None);
        let Reply::Device(status) = self::ask(&mut core, &mut env, &Request::DeviceStatus) else { panic!() };
        let captured =
            status.groups.iter().filter(|status| status.captured_hash == evidence.entry.hash()).count();
        assert!(matches!((captured, &status.retired[..]), (1, []) | (0, [_])), "{status:?}");
        assert!(captured == 0 || !said, "it said that it has left what it has not");
        seen[captured] += 1;
        assert!(matches!(self::ask(&mut core, &mut env, &leave), Reply::Retired(_)));
    }
    assert!(seen.iter().all(|times| *times > 3), "{seen:?}");
}
