//! Checkpoints: those that HSMs sign, what is refused, and whose word counts.

mod common;

use common::{cut_and_trailed, key, leaves};
use strongroom_proto::checkpoint as core;
use strongroom_proto::ids::{GroupId, Index, RealmId, TreeHash};
use strongroom_tlog::checkpoint::{CheckpointError, PolicyError};
use strongroom_tlog::note::NoteError;
use strongroom_tlog::{
    Checkpoint, ClaimedCheckpoint, KeyName, Note, Policy, Signature, SignatureType, SigningKey, VerifierKey,
};

const BODY: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

/// A log, two witnesses, and a checkpoint that all have signed.
struct Scene {
    log: SigningKey,
    witnesses: [SigningKey; 2],
    claimed: ClaimedCheckpoint,
}

impl Scene {
    fn new() -> Self {
        let log = key("example.com/behind-the-sofa", SignatureType::Ed25519, 1);
        let witnesses = [2, 3].map(|seed| key("w", SignatureType::Cosignature, seed));
        let signatures = vec![
            log.sign(BODY).unwrap(),
            witnesses[0].cosign(BODY, 100).unwrap(),
            witnesses[1].cosign(BODY, 200).unwrap(),
        ];
        let claimed = Note::new(BODY, signatures).unwrap().try_into().unwrap();
        Self { log, witnesses, claimed }
    }

    fn policy(&self, known: usize, needed: usize) -> Policy {
        let witnesses = self.witnesses[..known].iter().map(|key| key.verifier().clone()).collect();
        let log = Policy::of_log("example.com/behind-the-sofa", vec![self.log.verifier().clone()]).unwrap();
        log.with_witnesses(witnesses, needed).unwrap()
    }

    /// The checkpoint with only these of its signatures.
    fn with(&self, kept: &[usize]) -> ClaimedCheckpoint {
        let all = self.claimed.note().signatures();
        Note::new(BODY, kept.iter().map(|n| all[*n].clone()).collect()).unwrap().try_into().unwrap()
    }
}

#[test]
fn what_an_hsm_signs_is_a_checkpoint() {
    let (realm, group) = (RealmId([0xab; 16]), GroupId([0xcd; 16]));
    let root = leaves(1)[0];
    let origin = core::origin(&realm, &group);
    let body = core::body(&realm, &group, Index(1), &root);
    let seed = [7; 32];
    let public = core::CheckpointKey::from_seed(&seed).public();
    let key = VerifierKey::new(KeyName::new(&*origin).unwrap(), SignatureType::Ed25519, &public).unwrap();
    let signature = Signature::new(&key, core::CheckpointKey::from_seed(&seed).sign(&body).to_vec());
    let note = Note::new(&*body, vec![signature]).unwrap();
    let claimed = ClaimedCheckpoint::parse(note.to_string().as_bytes()).unwrap();
    let verified = claimed.verify(&Policy::of_log(&*origin, vec![key]).unwrap()).unwrap();
    assert_eq!(*verified.checkpoint(), Checkpoint::new(&*origin, 1, root).unwrap());
    assert_eq!(verified.checkpoint().to_string(), body);
    assert!(verified.witnesses().is_empty());
}

#[test]
fn the_published_text_is_read_and_written_as_it_is() {
    let checkpoint = Checkpoint::parse(BODY).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.size()), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(checkpoint.root().0[..3], [0x0a, 0xc5, 0x18]);
    assert_eq!(checkpoint.to_string(), BODY);
    let more = format!("{BODY}an extension\nanother one\n");
    let extended = Checkpoint::parse(&more).unwrap();
    assert_eq!(extended.extensions(), ["an extension", "another one"]);
    assert_eq!(extended.to_string(), more);
}

#[test]
fn a_checkpoint_that_is_cut_or_goes_on_is_refused() {
    for bad in cut_and_trailed(BODY.as_bytes()) {
        assert!(
            Checkpoint::parse(&String::from_utf8_lossy(&bad)).is_err(),
            "{:?}",
            String::from_utf8_lossy(&bad)
        );
    }
    let whole = Scene::new().with(&[0]).to_string();
    assert_eq!(ClaimedCheckpoint::parse(whole.as_bytes()).unwrap().to_string(), whole);
    for bad in cut_and_trailed(whole.as_bytes()) {
        assert!(ClaimedCheckpoint::parse(&bad).is_err(), "{:?}", String::from_utf8_lossy(&bad));
    }
}

#[test]
fn a_checkpoint_has_one_form() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let wrong = [
        format!("\n1\n{root}\n"),
        format!("o\n01\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n1 \n{root}\n"),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n\n{root}\n"),
        "o\n1\nAAAA\n".into(),
        format!("o\n1\n{root} \n"),
        format!("o\n1\n{root}\n\n"),
        format!("o\n1\n{root}\nextension\n\nextension\n"),
        format!("o\r\n1\n{root}\n"),
        format!("o\n1\n{root}\nextension"),
    ];
    for text in wrong {
        assert_eq!(Checkpoint::parse(&text), Err(CheckpointError::Form), "{text:?}");
    }
    let root = TreeHash([0; 32]);
    for origin in ["", "a\nb", "a\rb"] {
        assert!(Checkpoint::new(origin, 1, root).is_err(), "{origin:?}");
    }
    for extension in ["", "a\nb", "a\0b"] {
        let plain = Checkpoint::new("o", 1, root).unwrap();
        assert!(plain.with_extensions(vec!["a".into(), extension.into()]).is_err(), "{extension:?}");
    }
    assert_eq!(
        Checkpoint::parse(&Checkpoint::new("o", u64::MAX, root).unwrap().to_string()).unwrap().size(),
        u64::MAX
    );
}

#[test]
fn as_many_witnesses_as_the_policy_wants_must_have_cosigned() {
    let scene = Scene::new();
    let names = |verified: &[(KeyName, u64)]| verified.iter().map(|(_, time)| *time).collect::<Vec<_>>();
    for (known, needed) in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)] {
        let verified = scene.claimed.verify(&scene.policy(known, needed)).unwrap();
        assert_eq!(names(verified.witnesses()), [100, 200][..known]);
        // What the log says by itself.
        assert_eq!(*verified.evidence(), *scene.with(&[0]).note());
    }
    let one = scene.with(&[0, 2]);
    assert!(one.verify(&scene.policy(2, 1)).is_ok());
    assert_eq!(one.verify(&scene.policy(2, 2)), Err(CheckpointError::Witnesses { found: 1, needed: 2 }));
    assert_eq!(one.verify(&scene.policy(1, 1)), Err(CheckpointError::Witnesses { found: 0, needed: 1 }));
    let none_twice = scene.with(&[0, 1, 1]);
    assert_eq!(
        none_twice.verify(&scene.policy(2, 2)),
        Err(CheckpointError::Witnesses { found: 1, needed: 2 })
    );
}

#[test]
fn witnesses_do_not_stand_in_for_the_log() {
    let scene = Scene::new();
    let unsigned = CheckpointError::Note(NoteError::Unsigned);
    assert_eq!(scene.with(&[1, 2]).verify(&scene.policy(2, 1)), Err(unsigned));
}

#[test]
fn a_bad_signature_of_anyone_who_is_trusted_spoils_the_checkpoint() {
    let scene = Scene::new();
    for spoilt in 0..3 {
        let mut signatures = scene.claimed.note().signatures().to_vec();
        let key = [&scene.log, &scene.witnesses[0], &scene.witnesses[1]][spoilt].verifier();
        let mut bytes = signatures[spoilt].bytes().to_vec();
        bytes[20] ^= 1;
        signatures[spoilt] = Signature::new(key, bytes);
        let claimed = ClaimedCheckpoint::try_from(Note::new(BODY, signatures).unwrap()).unwrap();
        let bad = NoteError::Bad { name: key.name().clone(), id: key.id() };
        assert_eq!(claimed.verify(&scene.policy(2, 0)), Err(CheckpointError::Note(bad)));
    }
}

#[test]
fn a_checkpoint_of_another_log_is_refused() {
    let scene = Scene::new();
    let policy = Policy::of_log("example.com/other", vec![scene.log.verifier().clone()]).unwrap();
    assert!(matches!(scene.claimed.verify(&policy), Err(CheckpointError::Origin { .. })));
}

#[test]
fn a_policy_that_nobody_can_mean_is_refused() {
    let scene = Scene::new();
    let (log, witness) = (scene.log.verifier().clone(), scene.witnesses[0].verifier().clone());
    let of = |keys| Policy::of_log("o", keys);
    assert_eq!(of(vec![]).unwrap_err(), PolicyError::NoKey);
    assert_eq!(Policy::of_log("", vec![log.clone()]).unwrap_err(), PolicyError::Origin);
    assert!(matches!(of(vec![witness.clone()]), Err(PolicyError::Type(_))));
    assert!(matches!(of(vec![log.clone(), log.clone()]), Err(PolicyError::Twice(_))));
    let good = of(vec![log.clone()]).unwrap();
    assert!(matches!(good.clone().with_witnesses(vec![log], 0), Err(PolicyError::Type(_))));
    // One key under two names would count twice.
    let alias = key("another", SignatureType::Cosignature, 2).verifier().clone();
    assert!(matches!(
        good.clone().with_witnesses(vec![witness.clone(), alias], 2),
        Err(PolicyError::Twice(_))
    ));
    assert_eq!(
        good.with_witnesses(vec![witness], 2).unwrap_err(),
        PolicyError::TooFew { needed: 2, known: 1 }
    );
}
