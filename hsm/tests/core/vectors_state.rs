//! Published vectors of the record state machine, through a real core: sessions, batches, entries, commits.
//!
//! Where this realm answers or stores something else on purpose, [`DIFFERENCES`] says what and why. The list is exact.

use crate::replay::{Realm, Stored, bytes, cases, list, text};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use std::collections::BTreeMap;
use strongroom_proto::client::{
    HandshakeResponse, Recover2Response, Recover3Ok, Recover3Response, Register2Request, SecretsRequest,
    SecretsResponse,
};
use strongroom_proto::hsm::{NoiseMessage, NoiseReply};
use strongroom_proto::ids::{RealmId, SessionId};
use strongroom_proto::noise::{self, StaticKey, Transport};

const SECRET: [u8; 32] = [9; 32];
const SESSION: SessionId = SessionId(1);

/// A client with a live session.
struct Client {
    realm: Realm,
    transport: Transport,
    registration: Option<Register2Request>,
}

impl Client {
    fn new() -> Self {
        let mut realm = Realm::new(RealmId([7; 16]), &SECRET);
        let server = StaticKey::from_secret(&SECRET).public();
        let (handshake, request) =
            noise::client_start(&server, &[], &mut StdRng::seed_from_u64(1)).expect("a good key");
        let message = NoiseMessage::Handshake {
            ephemeral: request.client_ephemeral_public.into(),
            ciphertext: request.payload_ciphertext.into(),
        };
        let reply = realm.exchange(SESSION, message, true, vec![]);
        let Ok(NoiseReply::Handshake { ephemeral, ciphertext }) = reply else { panic!("{reply:?}") };
        let response = HandshakeResponse {
            server_ephemeral_public: ephemeral.0.to_vec(),
            payload_ciphertext: ciphertext.into(),
        };
        let (transport, _) = handshake.finish(&response).expect("the realm's key");
        Self { realm, transport, registration: None }
    }

    /// Sends the request of one step, and returns the answer, which is checked to be padded to its one length.
    fn ask(&mut self, step: &Value) -> Vec<u8> {
        let request = bytes(step, "request");
        if let Ok(SecretsRequest::Register2(registration)) = SecretsRequest::from_cbor(&request) {
            self.registration = Some(*registration);
        }
        let ciphertext = self.transport.encrypt(&request).expect("few messages").into();
        let seed = step["beta_t_seed"].as_str().map(|seed| hex::decode(seed).expect("hex"));
        let draws = seed.into_iter().collect();
        let reply = self.realm.exchange(SESSION, NoiseMessage::Transport { ciphertext }, false, draws);
        let Ok(NoiseReply::Transport { ciphertext }) = reply else { panic!("{reply:?}") };
        let padded = self.transport.decrypt(&ciphertext).expect("in order");
        let response = SecretsResponse::from_padded(&padded).expect("a padded answer");
        assert_eq!(&padded[..], &response.to_padded().expect("fits")[..]);
        response.to_cbor().to_vec()
    }

    fn stored(&self) -> Stored {
        self.realm.stored(self.registration.as_ref())
    }
}

/// Where this realm differs on purpose: the case, what it has instead of the recorded answer and state, and why.
struct Difference {
    case: &'static str,
    /// None: the recorded answer.
    answer: Option<fn(&Register2Request) -> SecretsResponse>,
    state: Stored,
    because: &'static str,
}

/// "The entry that charges the last guess" wraps the key material; it does not wait for the next request.
const AT_ONCE: &str = "invariant 9: the last guess is charged, so the record is wrapped at once";
/// "Recover1, and Recover2 with another point, answer NoGuesses and change nothing".
const UNCHANGED: &str = "invariant 9: with the last guess charged, nothing but a tag of Recover3 erases";
/// "The right tag brings the record back; a bad tag erases all": so the tag has to be looked at, after the version.
const TAG_DECIDES: &str =
    "invariant 9: with the last guess charged, the version and the tag of Recover3 still count";

const fn state(case: &'static str, because: &'static str) -> Difference {
    Difference { case, answer: None, state: Stored::LastGuess, because }
}

const VERSION: [u8; 16] = 0x4f785748_b18ab702_ac19891c_08c3263e_u128.to_be_bytes();

const DIFFERENCES: &[Difference] = &[
    state("registered-1-of-2--recover2-right-version", AT_ONCE),
    state("registered-2-of-2-exhausted--register1", AT_ONCE),
    state("registered-2-of-2-exhausted--recover1", UNCHANGED),
    state("registered-2-of-2-exhausted--recover2-right-version", UNCHANGED),
    state("registered-2-of-2-exhausted--recover2-wrong-version", AT_ONCE),
    state("registered-2-of-2-exhausted--recover3-wrong-version-right-tag", AT_ONCE),
    // In the setup of these, Recover1 follows the last guess; there it erases, here it does not.
    state("no-guesses--register1", UNCHANGED),
    state("no-guesses--recover1", UNCHANGED),
    state("no-guesses--recover2-right-version", UNCHANGED),
    Difference {
        case: "no-guesses--recover2-wrong-version",
        answer: Some(|_| SecretsResponse::Recover2(Recover2Response::VersionMismatch)),
        state: Stored::LastGuess,
        because: UNCHANGED,
    },
    Difference {
        case: "no-guesses--recover3-right-tag",
        answer: Some(shares),
        state: Stored::Registered { version: VERSION, guess_count: 0, num_guesses: 2 },
        because: TAG_DECIDES,
    },
    Difference {
        case: "no-guesses--recover3-wrong-tag",
        answer: Some(|_| {
            SecretsResponse::Recover3(Recover3Response::BadUnlockKeyTag { guesses_remaining: 0 })
        }),
        state: Stored::NoGuesses,
        because: TAG_DECIDES,
    },
    Difference {
        case: "no-guesses--recover3-wrong-version-right-tag",
        answer: Some(|_| SecretsResponse::Recover3(Recover3Response::VersionMismatch)),
        state: Stored::LastGuess,
        because: TAG_DECIDES,
    },
];

fn shares(registration: &Register2Request) -> SecretsResponse {
    SecretsResponse::Recover3(Recover3Response::Ok(Box::new(Recover3Ok {
        encryption_key_scalar_share: registration.encryption_key_scalar_share.clone(),
        encrypted_secret: registration.encrypted_secret.clone(),
        encrypted_secret_commitment: registration.encrypted_secret_commitment.clone(),
    })))
}

#[test]
fn every_case_gives_the_recorded_answer_and_state_or_the_stated_difference() {
    let mut stated: BTreeMap<&str, &Difference> = DIFFERENCES.iter().map(|d| (d.case, d)).collect();
    assert_eq!(stated.len(), DIFFERENCES.len(), "each case once");
    for case in &cases("state", 81) {
        let name = text(case, "name");
        let mut client = Client::new();
        for step in list(case, "setup") {
            assert_eq!(client.ask(step), bytes(step, "response"), "setup of {name}");
        }
        let ours = (client.ask(case), client.stored());
        let recorded = (bytes(case, "response"), Stored::read(&case["state_after"]));
        let Some(difference) = stated.remove(name) else {
            assert_eq!(ours, recorded, "{name}");
            continue;
        };
        let registration =
            client.registration.as_ref().expect("they differ only where there is a registration");
        let answer = difference.answer.map(|answer| answer(registration).to_cbor().to_vec());
        assert_ne!(answer.as_ref(), Some(&recorded.0), "{name} states an answer that does not differ");
        let expected = (answer.unwrap_or_else(|| recorded.0.clone()), difference.state);
        assert_eq!(ours, expected, "{name}: {}", difference.because);
        assert_ne!(ours, recorded, "{name} does not differ any more");
    }
    assert!(stated.is_empty(), "differences of unknown cases");
}

#[test]
fn a_resent_guess_gets_its_first_answer_even_as_the_last_one_and_no_other_is_evaluated() {
    let cases = cases("state", 81);
    let case =
        cases.iter().find(|c| text(c, "name") == "registered-2-of-2-exhausted--recover1").expect("there");
    let [register, first, last] = list(case, "setup") else { panic!("another setup") };
    let mut client = Client::new();
    client.ask(register);
    let answer = client.ask(first);
    let one_of_two = client.stored();
    // Without the recorded nonce, so that another proof would be another answer.
    let resent = |step| serde_json::json!({ "request": text(step, "request") });
    assert_eq!(client.ask(&resent(first)), answer, "invariant 8");
    assert_eq!(client.stored(), one_of_two, "invariant 8: charged once");
    let answer = client.ask(last);
    assert_eq!(client.stored(), Stored::LastGuess);
    assert_eq!(client.ask(&resent(last)), answer, "invariant 8, without the key");
    let refused = SecretsResponse::Recover2(Recover2Response::NoGuesses).to_cbor().to_vec();
    assert_eq!(client.ask(&resent(first)), refused);
    assert_eq!(client.stored(), Stored::LastGuess);
}
