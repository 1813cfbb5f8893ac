//! A realm's statement and receipts, made without a realm.

use strongroom_proto::checkpoint::{CheckpointKey, origin};
use strongroom_proto::client::{Attempt, AttemptsResponse, MAX_ATTEMPTS, RegistrationVersion, next_head};
use strongroom_proto::enrolment::{CustodianKey, RealmPolicy};
use strongroom_proto::ids::{Digest, EntryHash, GroupId, Index, RealmId, X25519Public};
use strongroom_proto::tlog::leaf;
use strongroom_tlog::{
    Checkpoint, ClaimedReceipt, Edge, KeyName, Note, RealmStatement, SignatureType, SigningKey,
};

/// Whose receipts they are.
pub(crate) const REALM: RealmId = RealmId([1; 16]);
const GROUP: GroupId = GroupId([2; 16]);
const SEED: u8 = 7;

fn key(name: &str, kind: SignatureType, seed: u8) -> SigningKey {
    SigningKey::from_seed(KeyName::new(name).unwrap(), kind, &[seed; 32]).unwrap()
}

/// The realm's statement, with one witness.
pub(crate) fn statement() -> String {
    let custodian = key(&RealmStatement::name(&REALM), SignatureType::Ed25519, 21);
    let statement = RealmStatement {
        realm: REALM,
        version: 3,
        noise_key: X25519Public([9; 32]),
        checkpoint_key: CheckpointKey::from_seed(&[SEED; 32]).public(),
        policy: RealmPolicy {
            custodians: vec![CustodianKey(Digest(custodian.verifier().public().0))],
            threshold: 1,
            smallest_group: None,
        },
        builds: vec![],
        witnesses: vec![key("witness.example", SignatureType::Cosignature, 11).verifier().clone()],
        cosignatures: 1,
    };
    let text = statement.to_string();
    Note::new(text.clone(), vec![custodian.sign(&text).unwrap()]).unwrap().to_string()
}

/// The receipt after so many tries, the first of them at this time, as of the only entry of the log.
pub(crate) fn receipt(tries: u64, from: u64, is_cosigned: bool) -> String {
    let (version, entry) = (RegistrationVersion([3; 16]), EntryHash([5; 32]));
    let (mut head, mut newest) = (Digest([0; 32]), Vec::new());
    for count in 1..=tries + 1 {
        let what = if count == 1 { 1 } else { 2 };
        let attempt =
            Attempt { index: Index(1), time: from + 60 * count, what, guesses_left: 20 - count as u8 };
        head = next_head(&head, &version.0, count, &GROUP, &attempt);
        newest.push(attempt);
    }
    let newest = newest.split_off(newest.len().saturating_sub(MAX_ATTEMPTS));
    let (index, count, signature) = (Index(1), tries + 1, [0; 64].into());
    let mut list =
        AttemptsResponse { group: GROUP, index, hash: entry, version, count, head, newest, signature };
    list.signature = CheckpointKey::from_seed(&[SEED; 32]).sign_digest(&list.digest(&REALM));

    let mut edge = Edge::default();
    let tiles = edge.append(&[leaf(&entry)]).unwrap();
    let log = origin(&REALM, &GROUP);
    let text = Checkpoint::new(log.clone(), 1, edge.root()).unwrap().to_string();
    let mut lines = vec![key(&log, SignatureType::Ed25519, SEED).sign(&text).unwrap()];
    if is_cosigned {
        let witness = key("witness.example", SignatureType::Cosignature, 11);
        lines.push(witness.cosign(&text, 1_764_597_900).unwrap());
    }
    let checkpoint = Note::new(text, lines).unwrap().try_into().unwrap();
    let fetch =
        |tile| tiles.iter().find(|made| made.tile == tile).map(|made| made.bytes.clone()).ok_or("none");
    ClaimedReceipt::make(&list, checkpoint, fetch).unwrap().to_string()
}
