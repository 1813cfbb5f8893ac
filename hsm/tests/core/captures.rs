//! Captures of several groups in one request: each has its own outcome, all are in one write, and a power cut in that
//! write leaves all of them or none. And how many entries a request takes.

use crate::common::{Rig, led};
use strongroom_hsm::{Config, Core, Flash, FlashError, Geometry};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{CaptureOutcome, GroupEntries, MAX_CAPTURE_ENTRIES, Refusal, Reply, Request};
use strongroom_proto::ids::{GroupId, Index};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{GroupStatement, Head};
use strongroom_proto::tree::Tree;
use strongroom_testkit::{MemoryFlash, TestEnv};

/// Three HSMs with two groups, and an entry in each that member 0 made as their leader.
fn two_groups() -> (Rig, [(GroupId, Entry); 2]) {
    let mut rig = Rig::new(3, None);
    let first = rig.group;
    rig.lead(0, None);
    let of_first = rig.make(0, &mut Tree::new(Prefix::WHOLE), &[]).entry;
    let members = rig.devices.iter_mut().map(|d| d.status().realm.expect("joined").member).collect();
    let Reply::Group(second) = rig.devices[0].ask(&Request::NewGroup(members)) else { panic!() };
    join(&mut rig, &second);
    let second = second.group;
    assert!(matches!(rig.devices[0].ask(&Request::Lead(second, None)), Reply::Leading(_)));
    let empty = Request::Process { group: second, trees: vec![], requests: vec![] };
    let Reply::Processed { made: Some(made), .. } = rig.devices[0].ask(&empty) else { panic!() };
    (rig, [(first, of_first), (second, made.entry)])
}

fn join(rig: &mut Rig, statement: &GroupStatement) {
    for device in &mut rig.devices[1..] {
        assert!(matches!(device.ask(&Request::JoinGroup(statement.clone())), Reply::Group(_)));
    }
}

fn both(groups: &[(GroupId, Entry)]) -> Request {
    let of = |(group, entry): &(GroupId, Entry)| GroupEntries { group: *group, entries: vec![entry.clone()] };
    Request::Capture(groups.iter().map(of).collect())
}

/// The index that was stated for each group, or its refusal.
fn outcomes(reply: Reply) -> Vec<Result<Index, Refusal>> {
    let Reply::Captures(outcomes) = reply else { panic!("{reply:?}") };
    let outcome = |outcome| match outcome {
        CaptureOutcome::Captured(statement) => Ok(statement.index),
        CaptureOutcome::Refused(refusal) => Err(refusal),
    };
    outcomes.into_iter().map(outcome).collect()
}

fn captured(rig: &mut Rig, i: usize) -> Vec<Index> {
    rig.devices[i].status().groups.iter().map(|group| group.captured_index).collect()
}

const ONE: Index = Index(1);
const NONE: Index = Index::ZERO;

#[test]
fn two_groups_are_captured_with_one_write_and_each_has_its_statement() {
    let (mut rig, groups) = two_groups();
    let before = programmed(&rig.devices[1].env.flash);
    let Reply::Captured(alone) =
        rig.devices[2].ask(&Request::capture(groups[0].0, vec![groups[0].1.clone()]))
    else {
        panic!()
    };
    assert_eq!(alone.index, ONE);
    assert_eq!(outcomes(rig.devices[1].ask(&both(&groups))), [Ok(ONE), Ok(ONE)]);
    assert_eq!(captured(&mut rig, 1), [ONE, ONE]);
    // One record of 96 + 8 bytes and the mark of the one before, not two of each.
    let both_in_one = programmed(&rig.devices[1].env.flash) - before;
    assert!(both_in_one <= 8 + 8 + 20 + 2 * 47 + 8, "{both_in_one} bytes");
    rig.devices[1].restart();
    assert_eq!(captured(&mut rig, 1), [ONE, ONE]);
}

/// Bytes that are not erased.
fn programmed(flash: &MemoryFlash) -> usize {
    flash.units().iter().flatten().filter(|byte| **byte != 0xff).count()
}

#[test]
fn a_bad_group_is_refused_alone_wherever_it_stands() {
    for (bad, reverse) in [(0, false), (0, true), (1, false), (1, true)] {
        let (mut rig, mut groups) = two_groups();
        groups[bad].1.transfers += 1;
        let mut expected = [Ok(ONE), Ok(ONE)];
        expected[bad] = Err(Refusal::NotAuthentic);
        if reverse {
            groups.reverse();
            expected.reverse();
        }
        assert_eq!(outcomes(rig.devices[1].ask(&both(&groups))), expected);
        let mut now = [ONE, ONE];
        now[bad] = NONE;
        assert_eq!(captured(&mut rig, 1), now);
        rig.devices[1].restart();
        assert_eq!(captured(&mut rig, 1), now);
    }
    // An entry of one group, named as the other's.
    let (mut rig, groups) = two_groups();
    let crossed = [(groups[0].0, groups[1].1.clone()), (groups[1].0, groups[0].1.clone())];
    let refused = [Err(Refusal::NotAuthentic), Err(Refusal::NotAuthentic)];
    assert_eq!(outcomes(rig.devices[1].ask(&both(&crossed))), refused);
    assert_eq!(captured(&mut rig, 1), [NONE, NONE]);
}

#[test]
fn a_group_twice_in_one_request_is_refused_whole() {
    let (mut rig, groups) = two_groups();
    let twice = [groups[1].clone(), groups[0].clone(), groups[1].clone()];
    assert_eq!(rig.devices[1].ask(&both(&twice)), Reply::Refused(Refusal::Malformed));
    assert_eq!(captured(&mut rig, 1), [NONE, NONE]);
    let many = vec![groups[0].clone(); 17];
    assert_eq!(rig.devices[1].ask(&both(&many)), Reply::Refused(Refusal::TooLarge));
}

#[test]
fn a_replay_says_it_again_without_a_write() {
    let (mut rig, groups) = two_groups();
    let first = rig.devices[1].ask(&both(&groups));
    let flash = rig.devices[1].env.flash.units().to_vec();
    assert_eq!(rig.devices[1].ask(&both(&groups)), first);
    assert!(flash == rig.devices[1].env.flash.units(), "nothing is new");
    assert_eq!(rig.devices[1].ask(&Request::Capture(vec![])), Reply::Captures(vec![]));
}

#[test]
fn a_group_of_another_realm_is_refused_and_the_own_one_captured() {
    let (mut rig, groups) = two_groups();
    let mut other = Rig::seeded(77, 1);
    other.lead(0, None);
    let strange = (other.group, other.make(0, &mut Tree::new(Prefix::WHOLE), &[]).entry);
    let of_other_realm = [strange.clone(), groups[0].clone()];
    let reply = rig.devices[1].ask(&both(&of_other_realm));
    assert_eq!(outcomes(reply), [Err(Refusal::NotMember), Ok(ONE)]);
    // Its entry under a group of ours is no better.
    let renamed = [(groups[1].0, strange.1)];
    let reply = rig.devices[1].ask(&both(&renamed));
    assert_eq!(reply, Reply::Refused(Refusal::NotAuthentic));
}

/// A flash that loses power in its `cut`-th program or erase, of which it does every second granule.
struct CutFlash {
    inner: MemoryFlash,
    operations: u32,
    cut: u32,
}

impl CutFlash {
    fn is_cut(&mut self) -> bool {
        self.operations += 1;
        self.operations >= self.cut
    }
}

impl Flash for CutFlash {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        self.inner.read(unit, offset, out)
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        if !self.is_cut() {
            return self.inner.program(unit, offset, bytes);
        }
        if self.operations == self.cut {
            let granule = self.geometry().write_bytes as usize;
            for (i, part) in bytes.chunks(granule).enumerate().step_by(2) {
                self.inner.program(unit, offset + (i * granule) as u32, part)?;
            }
        }
        Err(FlashError::Program)
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        if self.is_cut() { Err(FlashError::Erase) } else { self.inner.erase(unit) }
    }
}

#[test]
fn a_power_cut_at_any_operation_of_the_write_leaves_both_groups_or_neither() {
    let (rig, groups) = two_groups();
    let request = minicbor::to_vec(both(&groups)).expect("encodes");
    let mut seen = [0; 2];
    for cut in 1.. {
        let rng: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(1);
        let inner = rig.devices[1].env.flash.clone();
        let mut env = TestEnv::new(CutFlash { inner, operations: 0, cut: u32::MAX }, rng);
        let mut core = Core::start(&mut env, Config::software()).expect("an intact flash starts");
        (env.flash.operations, env.flash.cut) = (0, cut);
        let reply: Reply = minicbor::decode(&core.handle(&mut env, &request)).expect("every reply decodes");
        let acknowledged = matches!(reply, Reply::Captures(_));
        assert!(acknowledged || reply == Reply::Refused(Refusal::NvramFailed), "{reply:?}");
        env.flash.cut = u32::MAX;
        let mut core = Core::start(&mut env, Config::software()).expect("it starts after a power cut");
        let status = core.handle(&mut env, &minicbor::to_vec(Request::DeviceStatus).expect("encodes"));
        let Ok(Reply::Device(status)) = minicbor::decode(&status) else { panic!() };
        let indexes: Vec<Index> = status.groups.iter().map(|group| group.captured_index).collect();
        assert!(indexes == [NONE, NONE] || indexes == [ONE, ONE], "cut at {cut}: {indexes:?}");
        assert!(!acknowledged || indexes == [ONE, ONE], "what was stated holds");
        seen[usize::from(indexes == [ONE, ONE])] += 1;
        if acknowledged {
            break;
        }
    }
    assert!(seen.iter().all(|n| *n > 0), "cuts before and after the write took hold: {seen:?}");
}

#[test]
fn a_capture_takes_as_many_entries_as_a_segment_holds_and_not_one_more() {
    let (mut rig, entries) = led(2, MAX_CAPTURE_ENTRIES + 1);
    assert_eq!(rig.capture(1, &entries), Reply::Refused(Refusal::TooLarge));
    let statement = rig.captured(1, &entries[..MAX_CAPTURE_ENTRIES]);
    assert_eq!(statement.index, Index(MAX_CAPTURE_ENTRIES as u64));
}

fn extend_head(rig: &mut Rig, from: Option<Head>, entries: Vec<Entry>) -> Reply {
    rig.devices[0].ask(&Request::ExtendHead { from, entries })
}

#[test]
fn a_head_is_extended_by_as_many_entries_as_a_segment_holds_and_not_one_more() {
    let (mut rig, entries) = led(1, MAX_CAPTURE_ENTRIES + 1);
    assert_eq!(extend_head(&mut rig, None, entries.clone()), Reply::Refused(Refusal::TooLarge));
    let reply = extend_head(&mut rig, None, entries[..MAX_CAPTURE_ENTRIES].to_vec());
    let Reply::Head(head) = reply else { panic!("{reply:?}") };
    assert_eq!(head.index, Index(MAX_CAPTURE_ENTRIES as u64));
    assert!(matches!(
        extend_head(&mut rig, Some(head), entries[MAX_CAPTURE_ENTRIES..].to_vec()),
        Reply::Head(_)
    ));
}
