//! Receipts, verified offline: what convinces, and what each thing that can be wrong with one is called.

mod common;

use common::{cut_and_trailed, entries, key, leaves};
use std::collections::BTreeMap;
use strongroom_proto::checkpoint::{CheckpointKey, origin};
use strongroom_proto::client::{Attempt, AttemptsResponse, MAX_ATTEMPTS, RegistrationVersion, next_head};
use strongroom_proto::enrolment::{CustodianKey, RealmPolicy};
use strongroom_proto::ids::{Digest, Ed25519Public, GroupId, Index, RealmId, X25519Public};
use strongroom_tlog::checkpoint::CheckpointError;
use strongroom_tlog::note::NoteError;
use strongroom_tlog::proof::ProofError;
use strongroom_tlog::receipt::{Standing, standing, verify_list};
use strongroom_tlog::tlog_proof::TlogProofError;
use strongroom_tlog::{
    Checkpoint, ClaimedCheckpoint, ClaimedReceipt, Edge, Note, RealmStatement, ReceiptError, Signature,
    SignatureType, SigningKey, Tile, TlogProof,
};

const REALM: RealmId = RealmId([1; 16]);
const GROUP: GroupId = GroupId([2; 16]);
const SEED: [u8; 32] = [7; 32];
const SIZE: u64 = 300;
const AS_OF: u64 = 257;

fn witness(seed: u8) -> SigningKey {
    key(&format!("witness-{seed}.example"), SignatureType::Cosignature, seed)
}

fn statement() -> RealmStatement {
    let custodian = key("any", SignatureType::Ed25519, 21);
    RealmStatement {
        realm: REALM,
        version: 1,
        noise_key: X25519Public([9; 32]),
        checkpoint_key: CheckpointKey::from_seed(&SEED).public(),
        policy: RealmPolicy {
            custodians: vec![CustodianKey(Digest(custodian.verifier().public().0))],
            threshold: 1,
            smallest_group: None,
        },
        builds: vec![],
        witnesses: vec![witness(11).verifier().clone(), witness(12).verifier().clone()],
        cosignatures: 2,
    }
}

fn sign(mut list: AttemptsResponse) -> AttemptsResponse {
    list.signature = CheckpointKey::from_seed(&SEED).sign_digest(&list.digest(&REALM));
    list
}

/// The list after so many requests, as of an entry.
fn list_of(count: u64, as_of: u64) -> AttemptsResponse {
    let version = RegistrationVersion([3; 16]);
    let (mut head, mut newest) = (Digest([0; 32]), Vec::new());
    for number in 1..=count {
        let what = if number == 1 { 1 } else { 2 };
        let attempt = Attempt { index: Index(number), time: 1_700_000_000 + number, what, guesses_left: 5 };
        head = next_head(&head, &version.0, number, &GROUP, &attempt);
        newest.push(attempt);
    }
    let newest = newest.split_off(newest.len().saturating_sub(MAX_ATTEMPTS));
    let hash = entries(SIZE)[as_of as usize - 1];
    let (index, signature) = (Index(as_of), [0; 64].into());
    sign(AttemptsResponse { group: GROUP, index, hash, version, count, head, newest, signature })
}

fn checkpoint_of(log: &str, signers: &[Signature]) -> ClaimedCheckpoint {
    Note::new(text_of(log), signers.to_vec()).unwrap().try_into().unwrap()
}

fn text_of(log: &str) -> String {
    let mut edge = Edge::default();
    edge.append(&leaves(SIZE)).unwrap();
    Checkpoint::new(log, SIZE, edge.root()).unwrap().to_string()
}

/// The log, and what the realm and its witnesses make of its checkpoint.
fn signed_by(witnesses: &[u8]) -> ClaimedCheckpoint {
    let log = origin(&REALM, &GROUP);
    let text = text_of(&log);
    let own = key(&log, SignatureType::Ed25519, SEED[0]).sign(&text).unwrap();
    let cosigned = witnesses.iter().map(|seed| witness(*seed).cosign(&text, 1000).unwrap());
    checkpoint_of(&log, &[own].into_iter().chain(cosigned).collect::<Vec<_>>())
}

fn make(list: &AttemptsResponse, checkpoint: ClaimedCheckpoint) -> ClaimedReceipt {
    let written = Edge::default().append(&leaves(SIZE)).unwrap();
    let tiles: BTreeMap<Tile, Vec<u8>> = written.into_iter().map(|made| (made.tile, made.bytes)).collect();
    ClaimedReceipt::make(list, checkpoint, |tile| tiles.get(&tile).cloned().ok_or("none")).unwrap()
}

fn good() -> ClaimedReceipt {
    make(&list_of(4, AS_OF), signed_by(&[11, 12]))
}

/// The same proof with another list in it.
fn carrying(list: &AttemptsResponse) -> ClaimedReceipt {
    let made = good();
    let (hashes, checkpoint) = (made.proof().hashes().to_vec(), made.proof().checkpoint().clone());
    let index = list.index.0.wrapping_sub(1);
    let proof = TlogProof::new(index, hashes, checkpoint).unwrap().with_extra(list.to_bytes()).unwrap();
    ClaimedReceipt::parse(proof.to_string().as_bytes()).unwrap()
}

#[test]
fn a_receipt_convinces_who_has_the_statement_alone() {
    for (count, as_of) in [(0, 1), (1, 1), (4, AS_OF), (15, 256), (40, SIZE)] {
        let made = make(&list_of(count, as_of), signed_by(&[11, 12]));
        let read = ClaimedReceipt::parse(made.to_string().as_bytes()).unwrap();
        assert_eq!(read, made);
        let receipt = read.verify(&statement()).unwrap();
        assert_eq!((receipt.list().count, receipt.list().index), (count, Index(as_of)));
        assert_eq!(receipt.checkpoint().witnesses().len(), 2);
    }
}

#[test]
fn a_receipt_that_is_cut_or_goes_on_is_refused() {
    let text = good().to_string();
    for bad in cut_and_trailed(text.as_bytes()) {
        // Without its last line whole it is one with fewer cosignatures.
        let refused = match ClaimedReceipt::parse(&bad) {
            Err(_) => true,
            Ok(read) => read.verify(&statement()).is_err(),
        };
        assert!(refused, "{}", String::from_utf8_lossy(&bad));
    }
}

#[test]
fn no_bit_of_the_list_can_be_changed() {
    let (made, list) = (good(), list_of(4, AS_OF).to_bytes());
    for place in 0..list.len() {
        let mut changed = list.clone();
        changed[place] ^= 1;
        let text = TlogProof::parse(made.to_string().as_bytes()).unwrap().with_extra(changed).unwrap();
        let refused = match ClaimedReceipt::parse(text.to_string().as_bytes()) {
            Err(error) => error,
            Ok(read) => read.verify(&statement()).unwrap_err(),
        };
        let (no_list, signature) = (ReceiptError::NoList, ReceiptError::Signature);
        let place = matches!(refused, ReceiptError::Place { .. });
        assert!(place || refused == no_list || refused == signature, "{refused:?}");
    }
}

#[test]
fn a_list_that_was_changed_and_made_to_fit_is_not_signed() {
    let list = list_of(20, AS_OF);
    let fewer = AttemptsResponse { count: 19, ..list.clone() };
    let mut later = list.clone();
    later.newest[3].time += 3600;
    let another = AttemptsResponse { version: RegistrationVersion([4; 16]), ..list.clone() };
    let headless = AttemptsResponse { head: Digest([5; 32]), ..list.clone() };
    for changed in [fewer, later, another, headless] {
        assert_eq!(carrying(&changed).verify(&statement()), Err(ReceiptError::Signature));
    }
    assert!(carrying(&list).verify(&statement()).is_ok());
}

#[test]
fn a_list_of_another_entry_group_or_realm_is_refused() {
    let list = list_of(4, AS_OF);
    // Signed, so that nothing else is wrong.
    let elsewhere = sign(AttemptsResponse { hash: entries(SIZE)[3], ..list.clone() });
    assert_eq!(carrying(&elsewhere).verify(&statement()), Err(ProofError::Root.into()));
    let later = sign(AttemptsResponse { index: Index(AS_OF - 1), ..list.clone() });
    assert!(matches!(
        carrying(&later).verify(&statement()),
        Err(ReceiptError::Proof(TlogProofError::Proof(_)))
    ));
    let group = sign(AttemptsResponse { group: GroupId([8; 16]), newest: vec![], ..list.clone() });
    let other_log = carrying(&group).verify(&statement());
    let of_another = |error: &ReceiptError| {
        matches!(error, ReceiptError::Proof(TlogProofError::Checkpoint(CheckpointError::Origin { .. })))
    };
    assert!(other_log.as_ref().is_err_and(of_another), "{other_log:?}");
    let realm = RealmStatement { realm: RealmId([6; 16]), ..statement() };
    assert_eq!(good().verify(&realm), Err(ReceiptError::Signature));
    assert_eq!(verify_list(&list, &REALM, &Ed25519Public([2; 32])), Err(ReceiptError::Signature));
}

#[test]
fn the_line_of_the_leaf_is_that_of_the_entry() {
    let made = good();
    for index in [AS_OF - 2, AS_OF, 0, u64::MAX] {
        let text =
            made.to_string().replace(&format!("\nindex {}\n", AS_OF - 1), &format!("\nindex {index}\n"));
        let refused = ClaimedReceipt::parse(text.as_bytes());
        assert_eq!(refused, Err(ReceiptError::Place { listed: AS_OF, proven: index }));
    }
    let none = AttemptsResponse { index: Index(0), ..list_of(4, AS_OF) };
    let proof = TlogProof::parse(made.to_string().as_bytes()).unwrap().with_extra(none.to_bytes()).unwrap();
    let refused = ClaimedReceipt::parse(proof.to_string().as_bytes());
    assert_eq!(refused, Err(ReceiptError::Place { listed: 0, proven: AS_OF - 1 }));
}

#[test]
fn a_receipt_is_worth_what_its_witnesses_are() {
    let list = list_of(4, AS_OF);
    for (witnesses, found) in [(&[][..], 0), (&[11], 1), (&[11, 13], 1)] {
        let too_few = CheckpointError::Witnesses { found, needed: 2 };
        let refused = make(&list, signed_by(witnesses)).verify(&statement());
        assert_eq!(refused, Err(TlogProofError::Checkpoint(too_few).into()));
    }
    let log = origin(&REALM, &GROUP);
    let stranger = key(&log, SignatureType::Ed25519, 99).sign(&text_of(&log)).unwrap();
    let refused = make(&list, checkpoint_of(&log, &[stranger])).verify(&statement());
    let unsigned = CheckpointError::Note(NoteError::Unsigned);
    assert_eq!(refused, Err(TlogProofError::Checkpoint(unsigned).into()));
}

#[test]
fn a_list_goes_on_from_an_earlier_one_or_says_how_it_does_not() {
    let earlier = list_of(4, 100);
    assert_eq!(standing(&earlier, &earlier), Standing::Whole { new: 0 });
    assert_eq!(standing(&list_of(9, AS_OF), &earlier), Standing::Whole { new: 5 });
    assert_eq!(standing(&list_of(19, AS_OF), &earlier), Standing::Whole { new: 15 });
    assert_eq!(standing(&list_of(20, AS_OF), &earlier), Standing::TooMany { new: 16 });
    assert_eq!(standing(&earlier, &list_of(9, AS_OF)), Standing::Older);
    assert_eq!(standing(&list_of(3, AS_OF), &earlier), Standing::Broken);
    let mut other = list_of(9, AS_OF);
    other.head = Digest([1; 32]);
    assert_eq!(standing(&other, &earlier), Standing::Broken);
    other.version = RegistrationVersion([9; 16]);
    assert_eq!(standing(&other, &earlier), Standing::Anew);
}

#[test]
fn others_find_the_entry_in_the_log_of_a_note_that_others_verify() {
    let text = good().to_string();
    let (proof, note) = text.split_once("\n\n").unwrap();
    let mut lines = proof.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    assert!(lines.next().is_some_and(|line| line.starts_with("extra ")));
    let index: u64 = lines.next().unwrap().strip_prefix("index ").unwrap().parse().unwrap();
    let hashes: Vec<_> = lines.map(|line| tlog_tiles::Hash::parse_hash(line).unwrap()).collect();

    let log = key(&origin(&REALM, &GROUP), SignatureType::Ed25519, SEED[0]);
    let known = signed_note::StandardVerifier::new(&log.verifier().to_string()).unwrap();
    let read = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    let (verified, _) = read.verify(&signed_note::VerifierList::new(vec![Box::new(known)])).unwrap();
    assert_eq!(verified.len(), 1);
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(read.text()).unwrap();
    let leaf = tlog_tiles::record_hash(&entries(SIZE)[AS_OF as usize - 1].0);
    tlog_tiles::check_record(&hashes, checkpoint.size(), *checkpoint.hash(), index, leaf).unwrap();
}
