//! Sequences of requests against one core, made of the fuzzer's bytes.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use minicbor::bytes::ByteVec;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use strongroom_hsm::{Config, Core, Env, Flash, FlashError, Geometry};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    BatchRequest, CustodianPolicy, DeviceStatus, Made, NoiseMessage, PrefixTree, Refusal, Reply, Request,
};
use strongroom_proto::ids::{GroupId, Index, RecordId, SessionId};
use strongroom_proto::noise;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed};
use strongroom_proto::tree::{ClaimedTree, Tree};

/// A step of a host. Numbers choose among what was seen before.
#[derive(Arbitrary, Debug)]
enum Step {
    Bytes(Vec<u8>),
    /// The step's request with bytes changed.
    Damaged(Box<Step>, Vec<(u16, u8)>),
    NewRealm,
    NewGroup,
    Lead(Option<u8>),
    StepDown,
    Handshake(u8, u8),
    Process(Vec<Message>),
    /// A batch with any bytes for a tree.
    ProcessTree(Vec<u8>, Vec<Message>),
    Capture(Vec<u8>),
    Commit(Vec<u8>, Vec<u8>),
    Jump(u8, u8),
    ExportNonce,
    Restart,
    FlashFails(bool),
}

#[derive(Arbitrary, Debug)]
struct Message {
    record: u8,
    session: u8,
    kind: Kind,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    /// A handshake with this payload.
    Handshake(Vec<u8>),
    /// A message on the session that was opened last, with this payload.
    Transport(Vec<u8>),
    Garbage(Vec<u8>, Vec<u8>),
}

/// A flash in memory: four units of 64 KiB.
struct MemoryFlash {
    units: Vec<Vec<u8>>,
    failing: bool,
}

impl Flash for MemoryFlash {
    fn geometry(&self) -> Geometry {
        Geometry { units: 4, unit_bytes: 1 << 16, write_bytes: 8 }
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        let offset = offset as usize;
        out.copy_from_slice(&self.units[unit as usize][offset..offset + out.len()]);
        Ok(())
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        if self.failing {
            return Err(FlashError::Program);
        }
        let at = &mut self.units[unit as usize][offset as usize..];
        at.iter_mut().zip(bytes).for_each(|(old, new)| *old &= new);
        Ok(())
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        self.units[unit as usize].fill(0xff);
        Ok(())
    }
}

struct Device {
    flash: MemoryFlash,
    rng: StdRng,
}

impl Env for Device {
    type Flash = MemoryFlash;
    type Rng = StdRng;

    fn flash(&mut self) -> &mut MemoryFlash {
        &mut self.flash
    }

    fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }
}

/// A core, and all that its host has seen of it.
struct Host {
    core: Core,
    device: Device,
    tree: Tree,
    entries: Vec<Entry>,
    captured: Vec<Captured>,
    committed: Vec<Committed>,
    transport: Option<noise::Transport>,
    highest: Index,
}

impl Host {
    fn new() -> Self {
        let flash = MemoryFlash { units: vec![vec![0xff; 1 << 16]; 4], failing: false };
        let mut device = Device { flash, rng: StdRng::seed_from_u64(0) };
        let core = Core::start(&mut device, Config::software()).expect("an empty flash starts");
        Self {
            core,
            device,
            tree: Tree::new(Prefix::WHOLE),
            entries: vec![],
            captured: vec![],
            committed: vec![],
            transport: None,
            highest: Index::ZERO,
        }
    }

    /// A device that answers, or none after a failure of its flash.
    fn status(&mut self) -> Option<DeviceStatus> {
        match self.handle(&encode(&Request::DeviceStatus)) {
            Reply::Device(status) => Some(status),
            Reply::Refused(Refusal::NvramFailed) => None,
            other => panic!("a status is {other:?}"),
        }
    }

    fn handle(&mut self, bytes: &[u8]) -> Reply {
        let reply = self.core.handle(&mut self.device, bytes);
        assert!(reply.len() <= Config::software().limits.max_frame_bytes as usize);
        minicbor::decode(&reply).expect("every reply decodes")
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Restart => {
                self.device.flash.failing = false;
                self.core = Core::start(&mut self.device, Config::software()).expect("an intact flash starts");
                self.transport = None;
                return self.check_captured();
            }
            Step::FlashFails(failing) => self.device.flash.failing = *failing,
            _ => {}
        }
        let before = self.status();
        let bytes = self.bytes(step);
        let reply = self.handle(&bytes);
        if let Reply::Refused(refusal) = reply {
            let unchanged = refusal == Refusal::NvramFailed || before == self.status();
            assert!(unchanged, "{refusal:?} changed something");
        } else {
            self.take(reply);
        }
        self.check_captured();
    }

    /// The captured entry never goes back, over restarts either.
    fn check_captured(&mut self) {
        let Some(status) = self.status() else { return };
        let captured = status.groups.first().map_or(Index::ZERO, |g| g.captured_index);
        assert!(captured >= self.highest);
        self.highest = captured;
    }

    fn bytes(&mut self, step: &Step) -> Vec<u8> {
        match step {
            Step::Bytes(bytes) => bytes.clone(),
            Step::Damaged(step, changes) => {
                let mut bytes = self.bytes(step);
                for (at, bits) in changes {
                    let len = bytes.len().max(1);
                    if let Some(byte) = bytes.get_mut(usize::from(*at) % len) {
                        *byte ^= bits;
                    }
                }
                bytes
            }
            other => self.request(other).as_ref().map_or_else(Vec::new, encode),
        }
    }

    fn request(&mut self, step: &Step) -> Option<Request> {
        let status = self.status()?;
        let group = status.groups.first().map_or(GroupId([0; 16]), |g| g.statement.group);
        Some(match step {
            Step::NewRealm => Request::NewRealm(CustodianPolicy::closed()),
            Step::NewGroup => Request::NewGroup(vec![status.realm?.member]),
            Step::Lead(entry) => Request::Lead(group, entry.and_then(|at| pick(&self.entries, at))),
            Step::StepDown => Request::StepDown(group),
            Step::Handshake(record, session) => {
                let message = self.message(&status, &Kind::Handshake(vec![]));
                Request::Handshake(group, batch(*record, *session, message))
            }
            Step::Process(messages) => {
                let requests = self.requests(&status, messages);
                let ids: Vec<RecordId> = requests.iter().map(|r| r.record).collect();
                let partial = self.tree.partial(&ids).expect("the host's tree is whole").encode();
                let tree = ClaimedTree::decode(&partial).expect("decodes");
                Request::Process { group, trees: vec![PrefixTree { prefix: Prefix::WHOLE, tree }], requests }
            }
            Step::ProcessTree(tree, messages) => {
                let tree = ClaimedTree::decode(tree).ok()?;
                let requests = self.requests(&status, messages);
                Request::Process { group, trees: vec![PrefixTree { prefix: Prefix::WHOLE, tree }], requests }
            }
            Step::Capture(entries) => Request::Capture(group, pick_all(&self.entries, entries)),
            Step::Commit(statements, chain) => Request::Commit {
                group,
                statements: pick_all(&self.captured, statements),
                chain: pick_all(&self.entries, chain),
            },
            Step::Jump(entry, committed) => {
                Request::Jump(pick(&self.entries, *entry)?, pick(&self.committed, *committed)?)
            }
            Step::ExportNonce => Request::ExportNonce,
            Step::Bytes(_) | Step::Damaged(..) | Step::Restart | Step::FlashFails(_) => Request::DeviceStatus,
        })
    }

    fn requests(&mut self, status: &DeviceStatus, messages: &[Message]) -> Vec<BatchRequest> {
        let most = status.limits.max_batch_requests as usize + 1;
        let messages = messages.iter().take(most);
        messages.map(|m| batch(m.record, m.session, self.message(status, &m.kind))).collect()
    }

    fn message(&mut self, status: &DeviceStatus, kind: &Kind) -> NoiseMessage {
        let garbage = |ephemeral: &[u8], ciphertext: &[u8]| NoiseMessage::Handshake {
            ephemeral: ByteVec::from(ephemeral.to_vec()),
            ciphertext: ByteVec::from(ciphertext.to_vec()),
        };
        match (kind, status.realm.as_ref(), self.transport.as_mut()) {
            (Kind::Handshake(payload), Some(realm), _) => {
                let started = noise::client_start(&realm.public_key, payload, &mut self.device.rng);
                let (_, request) = started.expect("a good key");
                garbage(&request.client_ephemeral_public, &request.payload_ciphertext)
            }
            (Kind::Transport(payload), _, Some(transport)) => {
                let ciphertext = transport.encrypt(payload).expect("few messages").into();
                NoiseMessage::Transport { ciphertext }
            }
            (Kind::Handshake(bytes) | Kind::Transport(bytes), _, _) => {
                NoiseMessage::Transport { ciphertext: bytes.clone().into() }
            }
            (Kind::Garbage(ephemeral, ciphertext), _, _) => garbage(ephemeral, ciphertext),
        }
    }

    fn take(&mut self, reply: Reply) {
        match reply {
            Reply::Processed { made: Some(made), .. } => self.take_entry(made),
            Reply::Captured(statement) => self.captured.push(statement),
            Reply::Committed { statement, .. } => self.committed.push(statement),
            _ => {}
        }
    }

    fn take_entry(&mut self, Made { entry, leaves, .. }: Made) {
        let leaves = leaves.iter().map(|l| (l.record, Arc::from(l.sealed.as_slice())));
        self.tree.update(leaves).expect("the host's tree is whole");
        self.entries.push(entry);
    }
}

fn encode(request: &Request) -> Vec<u8> {
    minicbor::to_vec(request).expect("encodes")
}

fn batch(record: u8, session: u8, message: NoiseMessage) -> BatchRequest {
    // Few records, so that they meet, and far apart or close together in the tree.
    let mut id = [0; 32];
    (id[0], id[31]) = (record & 0xf0, record & 0x0f);
    BatchRequest { record: RecordId(id), session: SessionId(u32::from(session % 4)), message }
}

/// Counted from the newest.
fn pick<T: Clone>(seen: &[T], at: u8) -> Option<T> {
    seen.iter().rev().nth(usize::from(at)).cloned()
}

fn pick_all<T: Clone>(seen: &[T], which: &[u8]) -> Vec<T> {
    which.iter().filter_map(|at| pick(seen, *at)).collect()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    let mut host = Host::new();
    while !input.is_empty() {
        let Ok(step) = Step::arbitrary(&mut input) else { break };
        host.step(&step);
    }
});
