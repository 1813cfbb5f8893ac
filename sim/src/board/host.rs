//! An honest host and its users, over one [`Device`] that is a group of its own. It fills a device to its bounds, and
//! speaks the vectors to it.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_hsm::Config;
use strongroom_proto::client::{HandshakeResponse, Register2Request, RegistrationVersion, SecretsRequest};
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    BatchRequest, CaptureOutcome, NoiseMessage, NoiseReply, Outcome, PrefixTree, RealmPolicy, RealmStatus,
    Reply, Request,
};
use strongroom_proto::ids::{GroupId, RecordId, SessionId};
use strongroom_proto::noise::{self, Transport};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::statement::Committed;
use strongroom_proto::tree::{ClaimedTree, Tree};
use strongroom_testkit::founding::{make_group, make_realm};
use strongroom_testkit::{Device, Hsm, Tape, registration};

/// The host of one HSM.
pub(super) struct Host {
    pub(super) twin: Device,
    pub(super) group: GroupId,
    pub(super) realm: RealmStatus,
    pub(super) tree: Tree,
    /// Entries that are not captured yet.
    waiting: Vec<Entry>,
    /// The captured one.
    newest: Option<Entry>,
    /// All entries, from the first on.
    pub(super) log: Vec<Entry>,
    /// That the last one that is committed is.
    pub(super) committed: Option<Committed>,
    /// Answers that wait without an entry.
    reads: usize,
    rng: StdRng,
    transports: BTreeMap<SessionId, Transport>,
}

impl Host {
    /// Makes a realm and a group of one, and leads it.
    pub(super) fn new(seed: u64, config: Config) -> Self {
        let mut twin = Device::on_tape(seed, config);
        let realm = make_realm(&mut twin, RealmPolicy::closed()).realm.expect("it has one now");
        let group = make_group(&mut twin, vec![realm.member]).group;
        let leading = twin.ask(&Request::Lead(group, None));
        assert!(matches!(leading, Reply::Leading(_)), "not leading but {leading:?}");
        let rng = StdRng::seed_from_u64(seed);
        let tree = Tree::new(Prefix::WHOLE);
        Self {
            twin,
            group,
            realm,
            tree,
            waiting: Vec::new(),
            newest: None,
            log: Vec::new(),
            committed: None,
            reads: 0,
            rng,
            transports: BTreeMap::new(),
        }
    }

    /// What happened to it.
    pub(super) fn tape(&self) -> &Tape {
        self.twin.tape().expect("it is on tape from the start")
    }

    pub(super) fn registration(&mut self, num_guesses: u16) -> Register2Request {
        registration(&self.realm.realm, num_guesses, &mut self.rng)
    }

    /// Opens a session on this record.
    pub(super) fn open(&mut self, record: RecordId, session: SessionId) {
        let (handshake, first) =
            noise::client_start(&self.realm.public_key, &[], &mut self.rng).expect("a good key");
        let ephemeral = first.client_ephemeral_public.into();
        let message = NoiseMessage::Handshake { ephemeral, ciphertext: first.payload_ciphertext.into() };
        let request = BatchRequest { record, session, message, time: None };
        let reply = self.twin.ask(&Request::Handshake(self.group, request));
        let Reply::Handshaken(Outcome::Answered(NoiseReply::Handshake { ephemeral, ciphertext })) = reply
        else {
            panic!("no session but {reply:?}")
        };
        let response = HandshakeResponse {
            server_ephemeral_public: ephemeral.0.to_vec(),
            payload_ciphertext: ciphertext.to_vec(),
        };
        let (transport, _) = handshake.finish(&response).expect("an honest answer");
        self.transports.insert(session, transport);
    }

    /// A message of an open session.
    pub(super) fn message(&mut self, record: RecordId, session: SessionId, payload: &[u8]) -> BatchRequest {
        let transport = self.transports.get_mut(&session).expect("it was opened");
        let ciphertext = transport.encrypt(payload).expect("a short message").into();
        BatchRequest { record, session, message: NoiseMessage::Transport { ciphertext }, time: None }
    }

    /// The request for a batch.
    pub(super) fn batch(&self, requests: Vec<BatchRequest>) -> Request {
        let ids: Vec<RecordId> = requests.iter().map(|request| request.record).collect();
        let part = self.tree.partial(&ids).expect("the whole tree is here");
        let trees = vec![PrefixTree { prefix: Prefix::WHOLE, tree: ClaimedTree::from(&part) }];
        Request::Process { group: self.group, trees, requests }
    }

    /// Runs a batch whose replies all wait: under its entry, or as reads.
    pub(super) fn process(&mut self, requests: Vec<BatchRequest>) {
        let reply = self.twin.ask(&self.batch(requests));
        let Reply::Processed { outcomes, made } = reply else { panic!("not processed but {reply:?}") };
        let Some(made) = made else {
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Read(_))), "{outcomes:?}");
            self.reads += outcomes.len();
            return;
        };
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Kept), "{outcomes:?}");
        let leaves = made.leaves.iter().map(|leaf| (leaf.record, Arc::from(leaf.sealed.as_slice())));
        self.tree.update(leaves).expect("the whole tree is here");
        self.log.push(made.entry.clone());
        self.waiting.push(made.entry);
    }

    /// Captures what waits, commits it, confirms reads, and returns how many replies that released.
    pub(super) fn commit(&mut self) -> usize {
        if self.waiting.is_empty() && self.newest.is_none() {
            // Only an entry can be stated.
            self.process(Vec::new());
        }
        let entries = std::mem::take(&mut self.waiting);
        self.newest = entries.last().cloned().or(self.newest.take());
        let reply = self.twin.ask(&Request::capture(self.group, entries));
        let Reply::Captures(outcomes) = &reply else { panic!("not captured but {reply:?}") };
        let [CaptureOutcome::Captured(statement)] = outcomes[..] else {
            panic!("not captured but {reply:?}")
        };
        let commit = Request::Commit { group: self.group, statements: vec![statement] };
        let reply = self.twin.ask(&commit);
        let Reply::Committed { released, statement } = reply else { panic!("not committed but {reply:?}") };
        self.committed = Some(statement);
        let released: usize = released.iter().map(|released| released.replies.len()).sum();
        released + if self.reads == 0 { 0 } else { self.confirm() }
    }

    fn confirm(&mut self) -> usize {
        let group = self.group;
        let reply = self.twin.ask(&Request::DrawReadNonce(group));
        let Reply::ReadNonce(nonce) = reply else { panic!("no nonce but {reply:?}") };
        let reply = self.twin.ask(&Request::Fresh(group, nonce));
        let Reply::Fresh(statement) = reply else { panic!("no statement but {reply:?}") };
        let reply = self.twin.ask(&Request::Confirm { group, statements: vec![statement] });
        let Reply::Confirmed(reads) = reply else { panic!("not confirmed but {reply:?}") };
        assert_eq!(reads.len(), std::mem::take(&mut self.reads), "all that waited");
        reads.len()
    }

    /// Leads again, from what is captured.
    pub(super) fn lead_again(&mut self) {
        let reply = self.twin.ask(&Request::Lead(self.group, self.newest.clone()));
        assert!(matches!(reply, Reply::Leading(_)), "not leading but {reply:?}");
    }

    /// One user's request, from an open session to the answer.
    pub(super) fn request(&mut self, record: RecordId, session: SessionId, payload: &[u8]) {
        let message = self.message(record, session, payload);
        self.process(vec![message]);
        assert_eq!(self.commit(), 1, "the answer to what was just asked");
    }

    /// Registers with two guesses on a record.
    pub(super) fn register(&mut self, record: RecordId) -> RegistrationVersion {
        let registration = self.registration(2);
        let version = registration.version;
        self.say(record, &SecretsRequest::Register2(Box::new(registration)));
        version
    }

    /// Stages another registration with two guesses.
    pub(super) fn stage(&mut self, record: RecordId) -> RegistrationVersion {
        let registration = self.registration(2);
        let version = registration.version;
        self.say(record, &SecretsRequest::Stage(Box::new(registration)));
        version
    }

    /// A request in a session of its own, to its answer.
    fn say(&mut self, record: RecordId, request: &SecretsRequest) {
        let session = SessionId(self.rng.random());
        self.open(record, session);
        self.request(record, session, &request.to_cbor());
    }
}
