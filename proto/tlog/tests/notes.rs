//! Notes and keys: the published examples, what is refused, and who counts as having signed.

mod common;

use common::{cut_and_trailed, key};
use proptest::prelude::*;
use strongroom_proto::ids::Ed25519Public;
use strongroom_tlog::key::KeyError;
use strongroom_tlog::note::{MAX_LEN, MAX_SIGNATURES, NoteError};
use strongroom_tlog::signer::SignError;
use strongroom_tlog::{KeyName, Note, Signature, SignatureType, SigningKey, VerifierKey};

/// The key and the note of C2SP signed-note, "Verifier keys".
const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n\
    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

/// The note of C2SP signed-note, "Note": not ASCII, and with an empty line in its text.
const POEM: &str = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\
    — quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";

/// The key and the note with which Go's `note` package documents itself.
const PETER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETERS: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn signed(text: &str, keys: &[&SigningKey]) -> Note {
    Note::new(text, keys.iter().map(|key| key.sign(text).unwrap()).collect()).unwrap()
}

#[test]
fn the_published_note_is_that_of_the_published_key() {
    let known: VerifierKey = KEY.parse().unwrap();
    assert_eq!(known.to_string(), KEY);
    assert_eq!((known.name().as_str(), known.kind()), ("example.com/foo", SignatureType::Ed25519));
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    let known = [known];
    let signed = note.verify(&known).unwrap();
    assert_eq!((signed.len(), signed[0].key, signed[0].time), (1, &known[0], None));
}

#[test]
fn what_is_signed_with_a_published_key_is_the_published_note() {
    let key: SigningKey = PETER.parse().unwrap();
    assert_eq!(key.to_text().as_str(), PETER);
    let text = PETERS.split_inclusive("\n").take(2).collect::<String>();
    assert_eq!(signed(&text, &[&key]).to_string(), PETERS);
    assert!(signed(&text, &[&key]).verify(&[key.verifier().clone()]).is_ok());
}

#[test]
fn a_text_keeps_its_empty_lines() {
    let note = Note::parse(POEM.as_bytes()).unwrap();
    assert_eq!(note.text().lines().nth(2), Some(""));
    assert_eq!(note.text().lines().count(), 4);
    let key = key("a", SignatureType::Ed25519, 1);
    for text in ["\n", "\n\n", "a\n\n", "\n\na\n", "— a b\n", "a\n\n— a AAAAAAA=\n"] {
        let note = signed(text, &[&key]);
        assert_eq!(Note::parse(note.to_string().as_bytes()).unwrap(), note, "{text:?}");
        assert_eq!(note.text(), text);
    }
}

#[test]
fn a_note_that_is_cut_or_goes_on_is_refused() {
    for good in [NOTE, POEM, PETERS] {
        assert_eq!(Note::parse(good.as_bytes()).unwrap().to_string(), good);
        for bad in cut_and_trailed(good.as_bytes()) {
            assert!(Note::parse(&bad).is_err(), "{:?}", String::from_utf8_lossy(&bad));
        }
    }
}

#[test]
fn a_note_has_one_form() {
    let line = "— a AAAAAAA=";
    assert!(Note::parse(format!("text\n\n{line}\n").as_bytes()).is_ok());
    let wrong = [
        (format!("text\r\n\n{line}\n"), NoteError::Characters),
        (format!("te\tt\n\n{line}\n"), NoteError::Characters),
        (format!("te\0t\n\n{line}\n"), NoteError::Characters),
        (format!("text\n{line}\n"), NoteError::Form),
        ("text\n\n".into(), NoteError::Form),
        ("text\n\n\n".into(), NoteError::Form),
        (format!("text\n\n{line}\n{line}"), NoteError::Form),
        (format!("text\n\n{line}\nmore\n"), NoteError::SignatureLine(2)),
        ("text\n\n- a AAAAAAA=\n".into(), NoteError::SignatureLine(1)), // a hyphen
        ("text\n\n– a AAAAAAA=\n".into(), NoteError::SignatureLine(1)), // a shorter dash
        ("text\n\n—  a AAAAAAA=\n".into(), NoteError::SignatureLine(1)), // two spaces
        ("text\n\n— a  AAAAAAA=\n".into(), NoteError::SignatureLine(1)),
        ("text\n\n— a AAAAAAA= \n".into(), NoteError::SignatureLine(1)),
        ("text\n\n— AAAAAAA=\n".into(), NoteError::SignatureLine(1)), // no name
        ("text\n\n— a+b AAAAAAA=\n".into(), NoteError::SignatureLine(1)),
        ("text\n\n— a\u{a0}b AAAAAAA=\n".into(), NoteError::SignatureLine(1)), // a space of Unicode
        ("text\n\n— a AAAAAA==\n".into(), NoteError::SignatureLine(1)),        // an id alone
        ("text\n\n— a AAAA\n".into(), NoteError::SignatureLine(1)),            // less than an id
        ("text\n\n— a AAAAAAB=\n".into(), NoteError::SignatureLine(1)),        // spare bits
        ("text\n\n— a AAAAAAA\n".into(), NoteError::SignatureLine(1)),         // no padding
        ("text\n\n— a AAAA-AA=\n".into(), NoteError::SignatureLine(1)),        // another alphabet
    ];
    for (text, error) in wrong {
        assert_eq!(Note::parse(text.as_bytes()), Err(error), "{text:?}");
    }
    let not_utf8 = [b"te\xc3t\n\n", line.as_bytes(), b"\n"].concat();
    assert_eq!(Note::parse(&not_utf8), Err(NoteError::Characters));
}

#[test]
fn a_note_is_bounded() {
    let line = "— a AAAAAAA=\n";
    let most = format!("text\n\n{}", line.repeat(MAX_SIGNATURES));
    assert_eq!(Note::parse(most.as_bytes()).unwrap().signatures().len(), MAX_SIGNATURES);
    assert_eq!(Note::parse(format!("{most}{line}").as_bytes()), Err(NoteError::Count));
    let under = format!("\n\n{line}");
    let longest = "x".repeat(MAX_LEN - under.len());
    assert!(Note::parse(format!("{longest}{under}").as_bytes()).is_ok());
    assert_eq!(Note::parse(format!("{longest}x{under}").as_bytes()), Err(NoteError::TooLong));
    let signature = Signature::parse(line.trim_end()).unwrap();
    assert!(Note::new(format!("{longest}\n"), vec![signature.clone()]).is_ok());
    assert_eq!(Note::new(format!("{longest}x\n"), vec![signature.clone()]), Err(NoteError::TooLong));
    assert_eq!(Note::new("text\n", vec![]), Err(NoteError::Count));
    assert_eq!(Note::new("text\n", vec![signature.clone(); MAX_SIGNATURES + 1]), Err(NoteError::Count));
    assert_eq!(Note::new("text", vec![signature.clone()]), Err(NoteError::Form));
    assert_eq!(Note::new("te\rxt\n", vec![signature]), Err(NoteError::Characters));
}

#[test]
fn only_known_keys_count_and_each_once() {
    let [a, b, c] = [1, 2, 3].map(|seed| key("log", SignatureType::Ed25519, seed));
    let note = signed("text\n", &[&a, &b]);
    let known = [b.verifier().clone(), c.verifier().clone()];
    let found = note.verify(&known).unwrap();
    assert_eq!(found.iter().map(|signed| signed.key).collect::<Vec<_>>(), [b.verifier()]);
    assert_eq!(note.verify(&[c.verifier().clone()]), Err(NoteError::Unsigned));
    assert_eq!(note.verify(&[]), Err(NoteError::Unsigned));
    let twice = Note::new("text\n", vec![a.sign("text\n").unwrap(), a.sign("text\n").unwrap()]).unwrap();
    assert_eq!(twice.verify(&[a.verifier().clone()]).unwrap().len(), 1);
    let one_key_under_two_names = key("other", SignatureType::Ed25519, 1);
    assert_eq!(note.verify(&[one_key_under_two_names.verifier().clone()]), Err(NoteError::Unsigned));
}

#[test]
fn a_bad_signature_of_a_known_key_spoils_the_note() {
    let [a, b] = [1, 2].map(|seed| key("log", SignatureType::Ed25519, seed));
    let bad = NoteError::Bad { name: a.verifier().name().clone(), id: a.verifier().id() };
    let good = [a.sign("text\n").unwrap(), b.sign("text\n").unwrap()];
    let known = [a.verifier().clone(), b.verifier().clone()];
    for bit in 0..64 * 8 {
        let mut bytes = good[0].bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let wrong = Signature::new(a.verifier(), bytes);
        let note = Note::new("text\n", vec![wrong.clone(), good[1].clone()]).unwrap();
        assert_eq!(note.verify(&known), Err(bad.clone()));
        // Also beside a good one of the same key.
        let note = Note::new("text\n", vec![good[0].clone(), wrong]).unwrap();
        assert_eq!(note.verify(&known), Err(bad.clone()));
        // Those who do not know the key do not care.
        assert_eq!(note.verify(&known[1..]), Err(NoteError::Unsigned));
    }
    for length in [1, 63, 65, 72] {
        let note = Note::new("text\n", vec![Signature::new(a.verifier(), vec![0; length])]).unwrap();
        assert_eq!(note.verify(&known), Err(bad.clone()));
    }
    let other_text = Note::new("text \n", vec![good[0].clone()]).unwrap();
    assert_eq!(other_text.verify(&known), Err(bad));
}

#[test]
fn a_newer_signature_of_a_key_takes_the_place_of_the_older() {
    let log = key("log", SignatureType::Ed25519, 1);
    let witness = key("witness", SignatureType::Cosignature, 2);
    let note = signed("text\n", &[&log]);
    let note = note.with(witness.cosign("text\n", 5).unwrap()).unwrap();
    let note = note.with(witness.cosign("text\n", 9).unwrap()).unwrap();
    assert_eq!(note.signatures().len(), 2);
    assert_eq!(note.verify(&[witness.verifier().clone()]).unwrap()[0].time, Some(9));
    // If someone else left both, the later one counts.
    let both = [9, 5].map(|time| witness.cosign("text\n", time).unwrap());
    let note = Note::new("text\n", both.to_vec()).unwrap();
    let known = [witness.verifier().clone()];
    let found = note.verify(&known).unwrap();
    assert_eq!((found.len(), found[0].time), (1, Some(9)));
}

#[test]
fn a_key_signs_one_type_of_signatures() {
    let log = key("log", SignatureType::Ed25519, 1);
    let witness = key("log", SignatureType::Cosignature, 1);
    assert_ne!(log.verifier().id(), witness.verifier().id());
    assert_eq!(log.cosign("text\n", 1), Err(SignError::Type));
    assert_eq!(witness.sign("text\n"), Err(SignError::Type));
    assert!(witness.cosign("text\n", i64::MAX as u64).is_ok());
    assert_eq!(witness.cosign("text\n", 1 << 63), Err(SignError::Time));
    // A log cannot be made to cosign by what its text says: the ids differ.
    let text = strongroom_tlog::cosignature::message(7, "text\n");
    let note = signed(&text, &[&log]);
    assert_eq!(note.verify(&[witness.verifier().clone()]), Err(NoteError::Unsigned));
}

#[test]
fn a_cosignature_is_of_its_time_and_text() {
    let witness = key("witness", SignatureType::Cosignature, 1);
    let signature = witness.cosign("text\n", 7).unwrap();
    let verify = |text, bytes: &[u8]| witness.verifier().verify(text, bytes);
    assert_eq!(verify("text\n", signature.bytes()), Some(Some(7)));
    assert_eq!(verify("texts\n", signature.bytes()), None);
    for bit in 0..8 * signature.bytes().len() {
        let mut bytes = signature.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verify("text\n", &bytes), None, "bit {bit}");
    }
    for bad in cut_and_trailed(signature.bytes()) {
        assert_eq!(verify("text\n", &bad), None);
    }
}

#[test]
fn a_public_key_has_one_text() {
    for kind in [SignatureType::Ed25519, SignatureType::Cosignature] {
        let key = key("example.com/log", kind, 7);
        let text = key.verifier().to_string();
        assert_eq!(text.parse::<VerifierKey>().as_ref(), Ok(key.verifier()));
        for bad in cut_and_trailed(text.as_bytes()) {
            let bad = String::from_utf8_lossy(&bad);
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad:?}");
        }
    }
    let wrong = [
        ("example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Id),
        ("example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Id),
        ("example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Form),
        ("example.com/foo++530d903+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Form),
        ("example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Type(2)),
        ("+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Name),
        ("a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", KeyError::Name),
        ("a+530d903a+", KeyError::Form),
        ("a+530d903a", KeyError::Form),
    ];
    for (text, error) in wrong {
        assert_eq!(text.parse::<VerifierKey>(), Err(error), "{text}");
    }
}

#[test]
fn keys_under_which_anyone_can_sign_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let no_point = [0xff; 32];
    for point in [identity, [0; 32], no_point] {
        let name = KeyName::new("log").unwrap();
        assert_eq!(
            VerifierKey::new(name, SignatureType::Ed25519, &Ed25519Public(point)),
            Err(KeyError::Point)
        );
    }
}

#[test]
fn a_signing_key_has_one_text_and_does_not_show_it() {
    for kind in [SignatureType::Ed25519, SignatureType::Cosignature] {
        let key = key("example.com/witness", kind, 7);
        let text = key.to_text();
        assert_eq!(text.parse::<SigningKey>().unwrap().verifier(), key.verifier());
        for bad in cut_and_trailed(text.as_bytes()) {
            let bad = String::from_utf8_lossy(&bad);
            assert!(bad.parse::<SigningKey>().is_err(), "{bad:?}");
        }
        let shown = format!("{key:?}");
        assert!(shown.contains(&key.verifier().to_string()));
        assert!(!shown.contains("PRIVATE") && !shown.contains("BwcHBw"), "{shown}");
    }
    assert_eq!(PETER.replace("c74f20a3", "c74f20a4").parse::<SigningKey>().unwrap_err(), KeyError::Id);
    assert_eq!(PETER.replace("PRIVATE+", "").parse::<SigningKey>().unwrap_err(), KeyError::Form);
}

proptest! {
    #[test]
    fn what_is_parsed_is_written_as_it_was(note in prop_oneof![
        "[ -~\n]{0,40}\n\n(— [a-z]{1,3} [A-Za-z0-9+/]{4,8}=?=?\n){0,3}",
        "(a\n|\n|— a AAAAAAA=\n){0,12}",
    ]) {
        if let Ok(parsed) = Note::parse(note.as_bytes()) {
            prop_assert_eq!(parsed.to_string(), note);
        }
    }
}
