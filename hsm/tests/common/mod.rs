//! Real cores over a memory flash, a host that does as the test says, and users with real messages.
//!
//! A device without a bug runs the core that ships, and one with a bug the copy of it where that rule is left out.
#![allow(dead_code, unreachable_pub, reason = "shared by test files, each of which uses a part")]

use ed25519_dalek::SigningKey;
use minicbor::bytes::ByteVec;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use strongroom_client_crypto::oprf::blind;
use strongroom_hsm::{Config, Geometry};
use strongroom_hsm_planted::{Bug, Core, PlantedCore};
use strongroom_proto::client::{
    HandshakeResponse, Register2Request, SecretsRequest, SecretsResponse, UnlockKeyTag,
};
use strongroom_proto::enrolment::{CustodianSignature, SealedRealm};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    BatchRequest, DeviceStatus, ExportApproval, Made, NoiseMessage, NoiseReply, Outcome, PrefixTree, Refusal,
    Released, Reply, Request,
};
use strongroom_proto::ids::{EntryHash, GroupId, HsmId, Nonce, RealmId, RecordId, SessionId, X25519Public};
use strongroom_proto::noise::{self, ClientHandshake, Transport};
use strongroom_proto::oprf::BlindedInput;
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::{Captured, Committed, Fresh, GroupStatement};
use strongroom_proto::tree::{ClaimedTree, Tree};
use strongroom_testkit::founding::{self, found, sign};
use strongroom_testkit::{Custodians, Hsm, MemoryFlash, Scripted, registration};

/// The environment of these devices.
pub type TestEnv = strongroom_testkit::TestEnv<MemoryFlash, Scripted>;

const GEOMETRY: Geometry = Geometry { units: 4, unit_bytes: 1 << 16, write_bytes: 8 };

/// One HSM.
pub struct Device {
    pub core: Core,
    pub env: TestEnv,
    config: Config,
    bugs: Vec<Bug>,
}

impl Device {
    pub fn new(seed: u64, bug: Option<Bug>, config: Config) -> Self {
        let mut env = TestEnv::new(MemoryFlash::new(GEOMETRY), Scripted::seeded(seed));
        let core = Core::start(&mut env, config.clone(), bug).expect("an empty flash starts a new device");
        Self { core, env, config, bugs: bug.into_iter().collect() }
    }

    pub fn restart(&mut self) {
        self.env.flash.failing = false;
        let bugs = self.bugs.iter().copied();
        self.core = Core::start(&mut self.env, self.config.clone(), bugs).expect("an intact flash starts");
    }

    /// Is given a build with one more bug, if any, and starts it.
    pub fn install(&mut self, bug: Option<Bug>) {
        self.bugs.extend(bug);
        self.restart();
    }

    /// The copy of the core that a device with a bug runs.
    pub fn copy(&self) -> &PlantedCore {
        match &self.core {
            Core::Planted(core) => core,
            Core::Sound(_) => panic!("no bug is planted"),
        }
    }

    /// Gives its realm another id and Noise key, in RAM.
    pub fn impersonate(&mut self, realm: RealmId, noise_secret: &[u8; 32]) {
        match &mut self.core {
            Core::Planted(core) => core.impersonate(realm, noise_secret),
            Core::Sound(_) => panic!("the core that ships has the keys that it has"),
        }
    }

    /// What opens all that this device has sealed.
    pub fn reader(&self) -> PlantedCore {
        let flash = self.env.flash.clone();
        PlantedCore::reader(flash, self.bugs.iter().copied()).expect("an intact flash starts")
    }

    pub fn ask(&mut self, request: &Request) -> Reply {
        let bytes = self.handle(&minicbor::to_vec(request).expect("encodes"));
        let reply: Reply = minicbor::decode(&bytes).expect("every reply decodes");
        reply.of_one_group()
    }

    pub fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        self.core.handle(&mut self.env, request)
    }

    pub fn refusal(&mut self, request: &Request) -> Option<Refusal> {
        match self.ask(request) {
            Reply::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    pub fn status(&mut self) -> DeviceStatus {
        match self.ask(&Request::DeviceStatus) {
            Reply::Device(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// A nonce for an import; any, where the device has a realm already.
    pub fn import_nonce(&mut self) -> Nonce {
        match self.ask(&Request::ImportNonce) {
            Reply::ImportNonce(nonce) => nonce,
            _ => Nonce([0; 16]),
        }
    }

    pub fn id(&mut self) -> HsmId {
        self.status().hsm
    }
}

impl Hsm for Device {
    fn ask(&mut self, request: &Request) -> Reply {
        Self::ask(self, request)
    }
}

/// Of three custodians two approve.
fn custodians() -> Custodians {
    Custodians::two_of_three([0, 2])
}

/// A realm of several HSMs, one group, and what a host knows of it.
pub struct Rig {
    pub devices: Vec<Device>,
    pub custodians: Vec<SigningKey>,
    pub realm: RealmId,
    pub public_key: X25519Public,
    pub statement: GroupStatement,
    pub group: GroupId,
}

impl Rig {
    pub fn new(members: usize, bug: Option<Bug>) -> Self {
        Self::with_config(members, bug, &Config::software())
    }

    pub fn with_config(members: usize, bug: Option<Bug>, config: &Config) -> Self {
        Self::build(0, members, bug, config)
    }

    /// Another realm than that of [`Self::new`].
    pub fn seeded(seed: u64, members: usize) -> Self {
        Self::build(seed, members, None, &Config::software())
    }

    fn build(seed: u64, members: usize, bug: Option<Bug>, config: &Config) -> Self {
        let device = |i| Device::new(seed + i as u64, bug, config.clone());
        let mut devices: Vec<Device> = (0..members).map(device).collect();
        let custodians = custodians();
        let (founded, statement) = found(&mut devices, &custodians);
        let realm = founded.realm.expect("it was just made");
        Self {
            devices,
            custodians: custodians.keys,
            realm: realm.realm,
            public_key: realm.public_key,
            group: statement.group,
            statement,
        }
    }

    /// What custodians have to sign so that the realm goes to one of these devices, with new nonces of both sides.
    pub fn approval(&mut self, importer: usize) -> ExportApproval {
        let (to, nonce) = (self.devices[importer].status(), self.devices[importer].import_nonce());
        self.approval_for(&to, nonce)
    }

    /// The same for any device.
    pub fn approval_for(&mut self, to: &DeviceStatus, importer_nonce: Nonce) -> ExportApproval {
        let from = self.devices[0].status();
        founding::approval(&mut self.devices[0], &from, to.request(importer_nonce))
    }

    pub fn sign(&self, custodian: usize, approval: &ExportApproval) -> CustodianSignature {
        sign(&self.custodians[custodian], &approval.digest())
    }

    /// The realm, sealed to a device on this approval of two custodians.
    pub fn export(&mut self, approval: ExportApproval) -> SealedRealm {
        founding::export(&mut self.devices[0], approval, &custodians())
    }

    /// Brings in a device that is not one of these.
    pub fn admit(&mut self, device: &mut Device) {
        let (to, nonce) = (device.status(), device.import_nonce());
        let approval = self.approval_for(&to, nonce);
        let sealed = self.export(approval);
        let reply = device.ask(&Request::JoinRealm(sealed));
        assert!(matches!(reply, Reply::Device(_)), "{reply:?}");
    }

    pub fn lead(&mut self, i: usize, entry: Option<&Entry>) -> Reply {
        self.devices[i].ask(&Request::Lead(self.group, entry.cloned()))
    }

    pub fn process(&mut self, i: usize, tree: &Tree, requests: &[BatchRequest]) -> Reply {
        let request = process_request(self.group, tree, requests);
        self.devices[i].ask(&request)
    }

    pub fn capture(&mut self, i: usize, entries: &[Entry]) -> Reply {
        self.devices[i].ask(&Request::capture(self.group, entries.to_vec()))
    }

    /// A statement of captured, or a panic with the refusal.
    pub fn captured(&mut self, i: usize, entries: &[Entry]) -> Captured {
        match self.capture(i, entries) {
            Reply::Captured(statement) => statement,
            other => panic!("{other:?}"),
        }
    }

    pub fn commit(&mut self, i: usize, statements: &[Captured]) -> Reply {
        self.devices[i].ask(&Request::Commit { group: self.group, statements: statements.to_vec() })
    }

    pub fn committed(&mut self, i: usize, statements: &[Captured]) -> (Committed, Vec<Released>) {
        match self.commit(i, statements) {
            Reply::Committed { statement, released } => (statement, released),
            other => panic!("{other:?}"),
        }
    }

    /// The nonce for the reads that wait at a leader, or a panic with the refusal.
    pub fn read_nonce(&mut self, i: usize) -> Nonce {
        match self.devices[i].ask(&Request::DrawReadNonce(self.group)) {
            Reply::ReadNonce(nonce) => nonce,
            other => panic!("{other:?}"),
        }
    }

    /// What these members have captured, said to a nonce.
    pub fn fresh(&mut self, members: &[usize], nonce: Nonce) -> Vec<Fresh> {
        let state = |i: &usize| match self.devices[*i].ask(&Request::Fresh(self.group, nonce)) {
            Reply::Fresh(statement) => statement,
            other => panic!("{other:?}"),
        };
        members.iter().map(state).collect()
    }

    pub fn confirm(&mut self, i: usize, statements: &[Fresh]) -> Reply {
        self.devices[i].ask(&Request::Confirm { group: self.group, statements: statements.to_vec() })
    }

    /// Process, capture by all, commit: what an honest host does. Returns the replies in order of the requests.
    pub fn run(&mut self, i: usize, tree: &mut Tree, requests: &[BatchRequest]) -> (Made, Vec<NoiseReply>) {
        let made = self.make(i, tree, requests);
        let entries = [made.entry.clone()];
        let statements: Vec<Captured> = (0..self.devices.len()).map(|d| self.captured(d, &entries)).collect();
        let (_, released) = self.committed(i, &statements);
        (made, released.into_iter().flat_map(|r| r.replies).collect())
    }

    /// Process, and what the members say to a nonce: an honest host with requests that change nothing. Returns the replies
    /// in order of the requests.
    pub fn read(&mut self, i: usize, tree: &Tree, requests: &[BatchRequest]) -> Vec<NoiseReply> {
        let reply = self.process(i, tree, requests);
        let Reply::Processed { outcomes, made: None } = reply else { panic!("{reply:?}") };
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Read(_))), "{outcomes:?}");
        let nonce = self.read_nonce(i);
        let members: Vec<usize> = (0..self.devices.len()).collect();
        let statements = self.fresh(&members, nonce);
        match self.confirm(i, &statements) {
            Reply::Confirmed(reads) => reads.into_iter().map(|read| read.reply).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Process, and the host's tree after it.
    pub fn make(&mut self, i: usize, tree: &mut Tree, requests: &[BatchRequest]) -> Made {
        match self.process(i, tree, requests) {
            Reply::Processed { made: Some(made), .. } => {
                apply(tree, &made);
                made
            }
            other => panic!("{other:?}"),
        }
    }

    /// Opens a session for a user at a leader.
    pub fn open(&mut self, i: usize, user: &mut User) {
        let (handshake, request) = user.handshake_only();
        match self.devices[i].ask(&Request::Handshake(self.group, request)) {
            Reply::Handshaken(Outcome::Answered(reply)) => user.opened(handshake, &reply),
            other => panic!("{other:?}"),
        }
    }
}

/// A group of this size whose first member leads, and entries without requests that it made.
pub fn led(members: usize, entries: usize) -> (Rig, Vec<Entry>) {
    let mut rig = Rig::new(members, None);
    rig.lead(0, None);
    let made = (0..entries).map(|_| rig.make(0, &mut Tree::new(Prefix::WHOLE), &[]).entry).collect();
    (rig, made)
}

pub fn process_request(group: GroupId, tree: &Tree, requests: &[BatchRequest]) -> Request {
    let ids: Vec<RecordId> = requests.iter().map(|r| r.record).collect();
    let partial = tree.partial(&ids).expect("the host's tree is whole").encode();
    let tree = ClaimedTree::decode(&partial).expect("decodes");
    let trees = vec![PrefixTree { prefix: Prefix::WHOLE, tree }];
    Request::Process { group, trees, requests: requests.to_vec() }
}

pub fn apply(tree: &mut Tree, made: &Made) {
    let leaves = made.leaves.iter().map(|l| (l.record, Arc::from(l.sealed.as_slice())));
    tree.update(leaves).expect("the host's tree is whole");
    if let Some(partition) = made.entry.partitions.first() {
        assert_eq!(partition.root, tree.root(), "host and HSM compute the same root");
    }
}

/// One user: a record, a session, a registration.
pub struct User {
    pub record: RecordId,
    pub session: SessionId,
    pub registration: Register2Request,
    realm_key: X25519Public,
    pub transport: Option<Transport>,
    rng: StdRng,
}

impl User {
    pub fn new(rig: &Rig, seed: u64, num_guesses: u16) -> Self {
        let mut rng = StdRng::seed_from_u64(1000 + seed);
        let registration = registration(&rig.realm, num_guesses, &mut rng);
        Self {
            record: RecordId(rng.random()),
            session: SessionId(rng.random()),
            registration,
            realm_key: rig.public_key,
            transport: None,
            rng,
        }
    }

    fn batch(&self, message: NoiseMessage) -> BatchRequest {
        BatchRequest { record: self.record, session: self.session, message, time: None }
    }

    pub fn handshake_with(&mut self, payload: &[u8]) -> (ClientHandshake, BatchRequest) {
        let (handshake, request) =
            noise::client_start(&self.realm_key, payload, &mut self.rng).expect("a good key");
        let message = NoiseMessage::Handshake {
            ephemeral: request.client_ephemeral_public.into(),
            ciphertext: request.payload_ciphertext.into(),
        };
        (handshake, self.batch(message))
    }

    pub fn handshake_only(&mut self) -> (ClientHandshake, BatchRequest) {
        self.handshake_with(&[])
    }

    pub fn opened(&mut self, handshake: ClientHandshake, reply: &NoiseReply) {
        let (transport, payload) = finish(handshake, reply);
        assert!(payload.is_empty());
        self.transport = Some(transport);
    }

    pub fn send(&mut self, request: &SecretsRequest) -> BatchRequest {
        let transport = self.transport.as_mut().expect("a session is open");
        let ciphertext: ByteVec = transport.encrypt(&request.to_cbor()).expect("few messages").into();
        self.batch(NoiseMessage::Transport { ciphertext })
    }

    pub fn register2(&mut self) -> BatchRequest {
        let request = SecretsRequest::Register2(Box::new(self.registration.clone()));
        self.send(&request)
    }

    pub fn point(&mut self) -> BlindedInput {
        let pin: [u8; 32] = self.rng.random();
        blind(&pin, &mut self.rng).1
    }

    pub fn recover2(&mut self) -> BatchRequest {
        let point = self.point();
        self.recover2_with(point)
    }

    pub fn recover2_with(&mut self, blinded_input: BlindedInput) -> BatchRequest {
        let version = self.registration.version;
        self.send(&SecretsRequest::Recover2 { version, blinded_input })
    }

    /// [`Self::recover2_with`] with these bytes in the place of the point.
    pub fn recover2_with_bytes(&mut self, point: &BlindedInput, bytes: &[u8; 32]) -> BatchRequest {
        let version = self.registration.version;
        let mut request = SecretsRequest::Recover2 { version, blinded_input: *point }.to_cbor();
        let at = request.windows(32).position(|w| w == point.as_bytes()).expect("the point is in it");
        request[at..at + 32].copy_from_slice(bytes);
        let transport = self.transport.as_mut().expect("a session is open");
        let ciphertext: ByteVec = transport.encrypt(&request).expect("few messages").into();
        self.batch(NoiseMessage::Transport { ciphertext })
    }

    pub fn recover3(&mut self, right: bool) -> BatchRequest {
        let tag = &self.registration.unlock_key_tag;
        let unlock_key_tag = if right { tag.clone() } else { UnlockKeyTag::new([0xee; 16]) };
        self.send(&SecretsRequest::Recover3 { version: self.registration.version, unlock_key_tag })
    }

    pub fn read(&mut self, reply: &NoiseReply) -> SecretsResponse {
        let NoiseReply::Transport { ciphertext } = reply else { panic!("not a transport message") };
        let payload = self.transport.as_mut().expect("open").decrypt(ciphertext).expect("in order");
        SecretsResponse::from_padded(&payload).expect("a padded answer")
    }
}

pub fn finish(handshake: ClientHandshake, reply: &NoiseReply) -> (Transport, Vec<u8>) {
    let NoiseReply::Handshake { ephemeral, ciphertext } = reply else { panic!("not a handshake") };
    let response = HandshakeResponse {
        server_ephemeral_public: ephemeral.0.to_vec(),
        payload_ciphertext: ciphertext.to_vec(),
    };
    let (transport, payload) = handshake.finish(&response).expect("the realm's key");
    (transport, payload.to_vec())
}

/// Whether the reply stays in the HSM, until a commit or until it is confirmed.
pub const fn waits(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Kept | Outcome::Read(_))
}

/// How many answers carry an evaluation.
pub fn evaluations(responses: &[SecretsResponse]) -> usize {
    use strongroom_proto::client::Recover2Response;
    responses.iter().filter(|r| matches!(r, SecretsResponse::Recover2(Recover2Response::Ok(_)))).count()
}

pub const NO_PREV: EntryHash = EntryHash::ZERO;
