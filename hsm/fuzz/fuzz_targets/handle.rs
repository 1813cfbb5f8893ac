//! Sequences of requests against one core, made of the fuzzer's bytes.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use minicbor::bytes::ByteVec;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use strongroom_client_crypto::oprf::{blind, random_key};
use strongroom_client_crypto::registration::RegistrationSigningKey;
use strongroom_hsm::{Config, Core, Env, Geometry};
use strongroom_proto::client::{
    EncryptedSecret, EncryptedSecretCommitment, HandshakeResponse, Policy, Register2Request,
    RegistrationVersion, SecretsRequest, UnlockKeyCommitment, UnlockKeyTag,
};
use strongroom_proto::entry::Entry;
use strongroom_proto::events::{EntryEvents, OwnedEvent, Settled, Telling, TenantKey};
use strongroom_proto::hsm::{
    BatchRequest, DeviceStatus, Made, NoiseMessage, NoiseReply, Outcome, PrefixTree, Refusal, Reply, Request,
    record_id,
};
use strongroom_proto::ids::{GroupId, Index, Nonce, RealmId, RecordId, SessionId, X25519Public};
use strongroom_proto::noise::{self, ClientHandshake, Transport};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::scalar::SecretScalar;
use strongroom_proto::statement::{Captured, Committed, Fresh, Head, Past};
use strongroom_proto::tree::{ClaimedTree, Tree};
use strongroom_testkit::founding::sign;
use strongroom_testkit::{Custodians, MemoryFlash};

const TENANT: &str = "tenant";

/// What a host does. Numbers choose among what was seen before.
#[derive(Arbitrary, Debug)]
enum Action {
    Bytes(Vec<u8>),
    /// The request of another action, with bytes changed.
    Damaged(Box<Action>, Vec<(u16, u8)>),
    NewRealm,
    NewGroup,
    Lead(Option<u8>),
    StepDown,
    Handshake(u8, u8),
    Process(Vec<Message>),
    /// A batch with any bytes for a tree.
    ProcessTree(Vec<u8>, Vec<Message>),
    Capture(Vec<u8>),
    Commit(Vec<u8>),
    Jump(u8, u8),
    ExportNonce,
    AgentSecret(u32),
    ImportNonce,
    Restart,
    FlashFails(bool),
    DrawReadNonce,
    Fresh,
    Confirm(Vec<u8>),
    ExtendHead(Option<u8>, Vec<u8>),
    SignHead(u8, u8),
    /// A statement of commit, or one of the past, and entries.
    Tell(Result<u8, u8>, Vec<u8>),
    /// The same of one entry, with events and names as they may be.
    TellTenant(u8, u8, Vec<(u8, u8)>),
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
    /// A message with this payload on the session that was opened last, whatever the record and session above.
    Transport(Vec<u8>),
    /// The same with a request for secrets: the fuzzer finds none by itself.
    Secrets(Secrets),
    Garbage(Vec<u8>, Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Secrets {
    Register1,
    Register2(u8),
    Recover1,
    Recover2(u8),
    Recover3(u8),
    Delete,
    Attempts,
    Stage(u8),
    Activate(u8),
    Versions,
}

/// One of two: a record has two places.
fn version(seed: u8) -> RegistrationVersion {
    RegistrationVersion([seed % 8 / 4; 16])
}

fn rng(seed: u8) -> StdRng {
    StdRng::seed_from_u64(u64::from(seed % 4))
}

fn registration(seed: u8) -> Box<Register2Request> {
    let oprf_private_key = random_key(&mut rng(seed));
    let signing = RegistrationSigningKey::random(&mut rng(seed));
    Box::new(Register2Request {
        version: version(seed),
        oprf_signed_public_key: signing.sign_public_key(&RealmId([0; 16]), &oprf_private_key.public_key()),
        oprf_private_key,
        unlock_key_commitment: UnlockKeyCommitment::new([2; 32]),
        unlock_key_tag: UnlockKeyTag::new([seed % 4; 16]),
        encryption_key_scalar_share: SecretScalar::random(&mut rng(seed)),
        encrypted_secret: EncryptedSecret::new([3; 145]),
        encrypted_secret_commitment: EncryptedSecretCommitment::new([4; 16]),
        policy: Policy { num_guesses: u16::from(seed) },
    })
}

impl Secrets {
    /// Few versions, keys, points and tags, so that they meet.
    fn request(&self) -> SecretsRequest {
        match *self {
            Self::Register1 => SecretsRequest::Register1,
            Self::Register2(seed) => SecretsRequest::Register2(registration(seed)),
            Self::Recover1 => SecretsRequest::Recover1,
            Self::Recover2(seed) => {
                let blinded_input = blind(&[seed], &mut rng(seed)).1;
                SecretsRequest::Recover2 { version: version(seed), blinded_input }
            }
            Self::Recover3(tag) => {
                let unlock_key_tag = UnlockKeyTag::new([tag % 4; 16]);
                SecretsRequest::Recover3 { version: version(tag), unlock_key_tag }
            }
            Self::Delete => SecretsRequest::Delete,
            Self::Attempts => SecretsRequest::Attempts,
            Self::Stage(seed) => SecretsRequest::Stage(registration(seed)),
            Self::Activate(seed) => SecretsRequest::Activate { version: version(seed) },
            Self::Versions => SecretsRequest::Versions,
        }
    }
}

const GEOMETRY: Geometry = Geometry { units: 4, unit_bytes: 1 << 16, write_bytes: 8 };

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

    fn show(&mut self, _: core::fmt::Arguments<'_>) {}
}

/// A core, and all that its host has seen of it.
struct Host {
    core: Core,
    custodian: Custodians,
    device: Device,
    tree: Tree,
    entries: Vec<Entry>,
    captured: Vec<Captured>,
    committed: Vec<Committed>,
    /// The newest nonce for reads, and what was stated to any.
    nonce: Nonce,
    fresh: Vec<Fresh>,
    heads: Vec<Head>,
    pasts: Vec<Past>,
    /// Those of each entry.
    events: Vec<Vec<ByteVec>>,
    /// The handshake that was sent last, and whose.
    handshake: Option<(ClientHandshake, RecordId, SessionId)>,
    session: Option<(Transport, RecordId, SessionId)>,
    highest: Index,
}

impl Host {
    fn new() -> Self {
        let mut device = Device { flash: MemoryFlash::new(GEOMETRY), rng: StdRng::seed_from_u64(0) };
        let core = Core::start(&mut device, Config::software()).expect("an empty flash starts");
        Self {
            core,
            custodian: Custodians::one(),
            device,
            tree: Tree::new(Prefix::WHOLE),
            entries: vec![],
            captured: vec![],
            committed: vec![],
            nonce: Nonce([0; 16]),
            fresh: vec![],
            heads: vec![],
            pasts: vec![],
            events: vec![],
            handshake: None,
            session: None,
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
        minicbor::decode::<Reply>(&reply).expect("every reply decodes").of_one_group()
    }

    fn step(&mut self, action: &Action) {
        match action {
            Action::Restart => {
                self.device.flash.failing = false;
                self.core =
                    Core::start(&mut self.device, Config::software()).expect("an intact flash starts");
                self.session = None;
                return self.check_captured();
            }
            Action::FlashFails(failing) => self.device.flash.failing = *failing,
            _ => {}
        }
        let before = self.status();
        let bytes = self.bytes(action);
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

    fn bytes(&mut self, action: &Action) -> Vec<u8> {
        match action {
            Action::Bytes(bytes) => bytes.clone(),
            Action::Damaged(inner, changes) => {
                let mut bytes = self.bytes(inner);
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

    fn request(&mut self, action: &Action) -> Option<Request> {
        let status = self.status()?;
        let group = status.groups.first().map_or(GroupId([0; 16]), |g| g.statement.group);
        Some(match action {
            Action::NewRealm => Request::NewRealm(self.custodian.policy()),
            Action::NewGroup => Request::NewGroup(vec![status.realm?.member]),
            Action::Lead(entry) => Request::Lead(group, entry.and_then(|at| pick(&self.entries, at))),
            Action::StepDown => Request::StepDown(group),
            Action::Handshake(record, session) => {
                let message = Message { record: *record, session: *session, kind: Kind::Handshake(vec![]) };
                Request::Handshake(group, self.message(&status, &message))
            }
            Action::Process(messages) => {
                let requests = self.requests(&status, messages);
                let ids: Vec<RecordId> = requests.iter().map(|r| r.record).collect();
                let partial = self.tree.partial(&ids).expect("the host's tree is whole").encode();
                let tree = ClaimedTree::decode(&partial).expect("decodes");
                Request::Process { group, trees: vec![PrefixTree { prefix: Prefix::WHOLE, tree }], requests }
            }
            Action::ProcessTree(tree, messages) => {
                let tree = ClaimedTree::decode(tree).ok()?;
                let requests = self.requests(&status, messages);
                Request::Process { group, trees: vec![PrefixTree { prefix: Prefix::WHOLE, tree }], requests }
            }
            Action::Capture(entries) => Request::capture(group, pick_all(&self.entries, entries)),
            Action::Commit(statements) => {
                Request::Commit { group, statements: pick_all(&self.captured, statements) }
            }
            Action::Jump(entry, committed) => {
                Request::Jump(pick(&self.entries, *entry)?, pick(&self.committed, *committed)?)
            }
            Action::ExportNonce => Request::ExportNonce,
            Action::AgentSecret(epoch) => Request::AgentSecret(*epoch),
            Action::ImportNonce => Request::ImportNonce,
            Action::DrawReadNonce => Request::DrawReadNonce(group),
            Action::Fresh => Request::Fresh(group, self.nonce),
            Action::Confirm(statements) => {
                Request::Confirm { group, statements: pick_all(&self.fresh, statements) }
            }
            Action::ExtendHead(from, entries) => Request::ExtendHead {
                from: from.and_then(|at| pick(&self.heads, at)),
                entries: pick_all(&self.entries, entries),
            },
            Action::SignHead(head, committed) => Request::SignHead {
                head: pick(&self.heads, *head)?,
                committed: pick(&self.committed, *committed)?,
            },
            Action::Tell(settled, entries) => Request::Tell {
                settled: match settled {
                    Ok(at) => Settled::Committed(pick(&self.committed, *at)?),
                    Err(at) => Settled::Past(pick(&self.pasts, *at)?),
                },
                entries: pick_all(&self.entries, entries),
                telling: None,
            },
            Action::TellTenant(committed, entry, owned) => self.tell(&status, *committed, *entry, owned)?,
            Action::Bytes(_) | Action::Damaged(..) | Action::Restart | Action::FlashFails(_) => {
                Request::DeviceStatus
            }
        })
    }

    /// What happened at these places of an entry, to these users, told to the tenant.
    fn tell(&self, status: &DeviceStatus, committed: u8, entry: u8, owned: &[(u8, u8)]) -> Option<Request> {
        let realm = status.realm.as_ref()?.realm;
        let key = TenantKey { tenant: TENANT.as_bytes().to_vec().into(), key: X25519Public([9; 32]) };
        let signatures = vec![sign(self.custodian.keys.first()?, &key.digest(&realm))];
        let name = |user: u8| vec![user % 8].into();
        let owned =
            owned.iter().map(|(place, user)| OwnedEvent { place: *place, user: name(*user), time: 0 });
        let (events, owned) = (pick(&self.events, entry)?, owned.collect());
        Some(Request::Tell {
            settled: Settled::Committed(pick(&self.committed, committed)?),
            entries: vec![pick(&self.entries, entry)?],
            telling: Some(Telling { key, signatures, entries: vec![EntryEvents { events, owned }] }),
        })
    }

    fn requests(&mut self, status: &DeviceStatus, messages: &[Message]) -> Vec<BatchRequest> {
        let most = status.limits.max_batch_requests as usize + 1;
        messages.iter().take(most).map(|m| self.message(status, m)).collect()
    }

    fn message(&mut self, status: &DeviceStatus, message: &Message) -> BatchRequest {
        // Few records, so that they meet, and far apart or close together in the tree; and a tenant's users.
        let mut id = [0; 32];
        (id[0], id[31]) = (message.record & 0xf0, message.record & 0x0f);
        let named = status.realm.as_ref().filter(|_| message.record & 0x80 != 0);
        let record = named.map_or(RecordId(id), |realm| {
            record_id(&realm.record_id_key, TENANT, &char::from(message.record % 8).to_string())
        });
        let session = SessionId(u32::from(message.session % 4));
        let batch = |record, session, message| BatchRequest { record, session, message, time: None };
        match &message.kind {
            Kind::Handshake(payload) => {
                let Some(realm) = &status.realm else { return self.transport(payload, record, session) };
                let started = noise::client_start(&realm.public_key, payload, &mut self.device.rng);
                let (handshake, request) = started.expect("a good key");
                self.handshake = Some((handshake, record, session));
                let ephemeral = request.client_ephemeral_public.into();
                let ciphertext = request.payload_ciphertext.into();
                batch(record, session, NoiseMessage::Handshake { ephemeral, ciphertext })
            }
            Kind::Transport(payload) => self.transport(payload, record, session),
            Kind::Secrets(secrets) => self.transport(&secrets.request().to_cbor(), record, session),
            Kind::Garbage(ephemeral, ciphertext) => {
                let (ephemeral, ciphertext) = (ephemeral.clone().into(), ciphertext.clone().into());
                batch(record, session, NoiseMessage::Handshake { ephemeral, ciphertext })
            }
        }
    }

    /// On the open session, or as it is on this one.
    fn transport(&mut self, payload: &[u8], record: RecordId, session: SessionId) -> BatchRequest {
        let Some((transport, record, session)) = &mut self.session else {
            let ciphertext = payload.to_vec().into();
            return BatchRequest { record, session, message: NoiseMessage::Transport { ciphertext }, time: None };
        };
        let ciphertext = transport.encrypt(payload).expect("few messages").into();
        let message = NoiseMessage::Transport { ciphertext };
        BatchRequest { record: *record, session: *session, message, time: None }
    }

    fn take(&mut self, reply: Reply) {
        match reply {
            Reply::Processed { made: Some(made), .. } => self.take_entry(made),
            Reply::Handshaken(Outcome::Answered(NoiseReply::Handshake { ephemeral, ciphertext })) => {
                let Some((handshake, record, session)) = self.handshake.take() else { return };
                let response = HandshakeResponse {
                    server_ephemeral_public: ephemeral.0.to_vec(),
                    payload_ciphertext: ciphertext.into(),
                };
                // A damaged handshake may still be a handshake, but of nobody.
                let finished = handshake.finish(&response).ok();
                self.session = finished.map(|(transport, _)| (transport, record, session));
            }
            Reply::Captured(statement) => self.captured.push(statement),
            Reply::ReadNonce(nonce) => self.nonce = nonce,
            Reply::Fresh(statement) => self.fresh.push(statement),
            Reply::Head(head) => self.heads.push(head),
            Reply::Told { past, .. } => self.pasts.push(past),
            Reply::Committed { statement, .. } => self.committed.push(statement),
            _ => {}
        }
    }

    fn take_entry(&mut self, Made { entry, leaves, events }: Made) {
        let leaves = leaves.iter().map(|l| (l.record, Arc::from(l.sealed.as_slice())));
        self.tree.update(leaves).expect("the host's tree is whole");
        self.entries.push(entry);
        self.events.push(events);
    }
}

fn encode(request: &Request) -> Vec<u8> {
    minicbor::to_vec(request).expect("encodes")
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
        let Ok(action) = Action::arbitrary(&mut input) else { break };
        host.step(&action);
    }
});
