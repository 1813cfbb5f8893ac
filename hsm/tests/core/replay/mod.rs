//! A realm of one HSM under a vector's id and Noise key, the host that runs it, and how vectors are read.
//!
//! The HSM is the copy of the core that takes such a key, and draws for a proof what a vector says.
#![allow(dead_code, unreachable_pub, reason = "shared by test files, each of which uses a part")]

use crate::common::{Device, apply, process_request};
use serde_json::Value;
use strongroom_hsm::Config;
use strongroom_hsm_planted::{Bug, Revealed};
use strongroom_proto::client::Register2Request;
use strongroom_proto::entry::Entry;
use strongroom_proto::hsm::{
    BatchRequest, Made, NoiseMessage, NoiseReply, Outcome, RealmPolicy, Reply, Request, SessionRefusal,
};
use strongroom_proto::ids::{GroupId, RealmId, RecordId, SessionId};
use strongroom_proto::prefix::Prefix;
use strongroom_proto::tree::Tree;

/// The cases of one file, of which there must be as many as its description says.
pub fn cases(file: &str, expected: usize) -> Vec<Value> {
    let path = format!("{}/../proto/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let vectors: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let cases = list(&vectors, "cases").to_vec();
    assert_eq!(cases.len(), expected, "cases of {file}");
    cases
}

pub fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{}: no text in {field}", case["name"]))
}

pub fn bytes(case: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(case, field)).expect("hex")
}

pub fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field).try_into().unwrap_or_else(|_| panic!("{}: {field} is not {N} bytes", case["name"]))
}

pub fn list<'a>(case: &'a Value, field: &str) -> &'a [Value] {
    case[field].as_array().unwrap_or_else(|| panic!("{}: no list in {field}", case["name"]))
}

/// A realm of one HSM that leads its one group, with one record.
pub struct Realm {
    pub device: Device,
    group: GroupId,
    tree: Tree,
    tip: Option<Entry>,
}

const RECORD: RecordId = RecordId([0x5a; 32]);

impl Realm {
    pub fn new(realm: RealmId, noise_secret: &[u8; 32]) -> Self {
        let mut device = Device::new(1, Some(Bug::NonceAsDrawn), Config::software());
        let reply = device.ask(&Request::NewRealm(RealmPolicy::closed()));
        assert!(matches!(reply, Reply::Device(_)), "{reply:?}");
        device.impersonate(realm, noise_secret);
        let member = device.status().realm.expect("just made").member;
        let group = match device.ask(&Request::NewGroup(vec![member])) {
            Reply::Group(statement) => statement.group,
            other => panic!("{other:?}"),
        };
        let mut this = Self { device, group, tree: Tree::new(Prefix::WHOLE), tip: None };
        this.forget_sessions();
        this
    }

    /// Leads again: every session is gone, every record stays.
    pub fn forget_sessions(&mut self) {
        let reply = self.device.ask(&Request::Lead(self.group, self.tip.clone()));
        assert!(matches!(reply, Reply::Leading(_)), "{reply:?}");
    }

    /// A handshake without a request, or a batch of one with its entry captured and committed. The HSM draws `draws`
    /// where it asks for just as many bytes, and must use them all up.
    pub fn exchange(
        &mut self,
        session: SessionId,
        message: NoiseMessage,
        handshake_only: bool,
        draws: Vec<Vec<u8>>,
    ) -> Result<NoiseReply, SessionRefusal> {
        let request = BatchRequest { record: RECORD, session, message, time: None };
        self.device.env.rng.script.extend(draws);
        let outcome = if handshake_only {
            match self.device.ask(&Request::Handshake(self.group, request)) {
                Reply::Handshaken(outcome) => outcome,
                other => panic!("{other:?}"),
            }
        } else {
            self.batch(request)
        };
        let script = &self.device.env.rng.script;
        assert!(script.is_empty(), "{} recorded draws were not asked for", script.len());
        match outcome {
            Outcome::Answered(reply) => Ok(reply),
            Outcome::Refused(refusal) => Err(refusal),
            Outcome::Read(number) => Ok(self.confirm(number)),
            Outcome::Kept => panic!("a kept reply was not released"),
        }
    }

    /// Has the one member say that its chain is the newest. It can say so of an entry only, so it makes one.
    fn confirm(&mut self, number: u64) -> NoiseReply {
        self.empty_entry();
        let Reply::ReadNonce(nonce) = self.device.ask(&Request::DrawReadNonce(self.group)) else {
            panic!("no nonce")
        };
        let Reply::Fresh(statement) = self.device.ask(&Request::Fresh(self.group, nonce)) else {
            panic!("nothing is captured")
        };
        match self.device.ask(&Request::Confirm { group: self.group, statements: vec![statement] }) {
            Reply::Confirmed(mut reads) if reads.len() == 1 && reads[0].number == number => {
                reads.remove(0).reply
            }
            other => panic!("{other:?}"),
        }
    }

    fn empty_entry(&mut self) {
        match self.device.ask(&process_request(self.group, &self.tree, &[])) {
            Reply::Processed { made: Some(made), .. } => assert!(self.commit(made).is_empty()),
            other => panic!("{other:?}"),
        }
    }

    /// Captures an entry and commits it. The replies that this releases.
    fn commit(&mut self, made: Made) -> Vec<NoiseReply> {
        apply(&mut self.tree, &made);
        self.tip = Some(made.entry.clone());
        let statement = match self.device.ask(&Request::capture(self.group, vec![made.entry])) {
            Reply::Captured(statement) => statement,
            other => panic!("{other:?}"),
        };
        let commit = Request::Commit { group: self.group, statements: vec![statement] };
        match self.device.ask(&commit) {
            Reply::Committed { released, .. } => released.into_iter().flat_map(|of| of.replies).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn batch(&mut self, request: BatchRequest) -> Outcome {
        let request = process_request(self.group, &self.tree, &[request]);
        let (mut outcomes, made) = match self.device.ask(&request) {
            Reply::Processed { outcomes, made } => (outcomes, made),
            other => panic!("{other:?}"),
        };
        let outcome = outcomes.pop().expect("one for each request");
        let Some(made) = made else { return outcome };
        assert_eq!(outcome, Outcome::Kept, "an entry is made for kept replies");
        Outcome::Answered(self.commit(made).pop().expect("one reply"))
    }

    /// The record as it is stored, which holds the secrets of `registration` in the clear, or not at all.
    pub fn stored(&self, registration: Option<&Register2Request>) -> Stored {
        let sealed = self.tree.get(&RECORD).expect("the host's tree is whole");
        let Some(sealed) = sealed else { return Stored::NotRegistered };
        let revealed = self.device.copy().reveal(&RECORD, sealed).expect("sealed by this realm");
        let expected = registration.map(secrets);
        match revealed {
            Revealed::NotRegistered => Stored::NotRegistered,
            Revealed::NoGuesses => Stored::NoGuesses,
            Revealed::Registered { version, guess_count, num_guesses, secrets } => {
                assert_eq!(Some(secrets), expected.map(|s| s.concat()));
                Stored::Registered { version, guess_count, num_guesses }
            }
            Revealed::LastGuess(record) => {
                for secret in expected.expect("registered before") {
                    assert!(!record.windows(secret.len()).any(|w| w == secret), "a secret in the clear");
                }
                Stored::LastGuess
            }
        }
    }
}

fn secrets(r: &Register2Request) -> [Vec<u8>; 5] {
    [
        r.oprf_private_key.scalar().to_bytes().to_vec(),
        r.unlock_key_tag.as_bytes().to_vec(),
        r.encryption_key_scalar_share.to_bytes().to_vec(),
        r.encrypted_secret.as_bytes().to_vec(),
        r.encrypted_secret_commitment.as_bytes().to_vec(),
    ]
}

/// A record as vectors describe it, and the state that this realm has besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    NotRegistered,
    Registered { version: [u8; 16], guess_count: u8, num_guesses: u8 },
    LastGuess,
    NoGuesses,
}

impl Stored {
    pub fn read(state: &Value) -> Self {
        let number = |field: &str| u8::try_from(state[field].as_u64().expect("a number")).expect("below 256");
        match text(state, "state") {
            "NotRegistered" => Self::NotRegistered,
            "NoGuesses" => Self::NoGuesses,
            "Registered" => Self::Registered {
                version: array(state, "version"),
                guess_count: number("guess_count"),
                num_guesses: number("num_guesses"),
            },
            other => panic!("unknown state {other}"),
        }
    }

    /// This state, but where all guesses are charged, the one that this realm has instead.
    pub fn or_last_guess(self) -> Self {
        match self {
            Self::Registered { guess_count, num_guesses, .. } if guess_count >= num_guesses => {
                Self::LastGuess
            }
            other => other,
        }
    }
}
