//! The record state machine: one request, one record, one answer (`client-protocol.md` section 12, `protocol.md` section 18).
//!
//! A record has two places for registrations, the present one and a staged one. Each has its own count, its own last answer and its own end:
//! a guess concerns the place that has the version which it names, and never the other.
//!
//! Keeps invariants 7 (*count, then evaluate*: the charge and the answer are one change of the record), 8 (*charged
//! once*), 9 (*gone at zero*), and its part of 5 (*blind until commit*): a Recover2 costs one evaluation and one proof
//! whatever the record holds.

use crate::attempts::Attempts;
use crate::record::{
    Answer, LastGuess, Owner, Public, Record, RecordState, Registration, Secrets, Wrapped, tag_matches,
};
use alloc::boxed::Box;
use core::hint::black_box;
use rand_core::CryptoRng;
use strongroom_proto::client::{
    ActivateResponse, AttemptsResponse, EncryptedSecret, EncryptedSecretCommitment, Recover1Response,
    Recover2Ok, Recover2Response, Recover3Ok, Recover3Response, Register2Request, RegistrationVersion,
    SecretsRequest, SecretsResponse, Signature, SignedPublicKey, UnlockKeyCommitment, UnlockKeyTag,
    VerifyingKey, VersionsResponse,
};
use strongroom_proto::oprf::{self, BlindedInput, BlindedOutput, PrivateKey, Proof, PublicKey};
use strongroom_proto::scalar::SecretScalar;

/// What happened to a record, for its sealed event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Happening {
    Nothing = 0,
    Registered = 1,
    GuessCharged = 2,
    LastGuessCharged = 3,
    Recovered = 4,
    Erased = 5,
    Deleted = 6,
    Staged = 7,
    /// Or what was staged beside it was dropped.
    Activated = 8,
}

/// Runs one request on one record, of whose attempts it is `stated` what there is to say. A registration was verified before ([`oprf`] aside,
/// it cannot be refused here).
pub(crate) fn apply(
    record: &mut Record,
    request: &SecretsRequest,
    owner: Owner<'_>,
    rng: &mut impl CryptoRng,
    stated: impl FnOnce(Option<&Attempts>) -> AttemptsResponse,
) -> (SecretsResponse, Happening) {
    match request {
        SecretsRequest::Register1 => (SecretsResponse::Register1, Happening::Nothing),
        SecretsRequest::Register2(registration) => {
            record.state = registered(registration);
            record.staged = None;
            (SecretsResponse::Register2, Happening::Registered)
        }
        SecretsRequest::Recover1 => (SecretsResponse::Recover1(recover1(&record.state)), Happening::Nothing),
        SecretsRequest::Recover2 { version, blinded_input } => {
            let (response, happening) =
                recover2(record.place(Some(version)), version, blinded_input, owner, rng);
            (SecretsResponse::Recover2(response), happening)
        }
        SecretsRequest::Recover3 { version, unlock_key_tag } => {
            let (response, happening) = recover3(record.place(Some(version)), version, unlock_key_tag, owner);
            (SecretsResponse::Recover3(response), happening)
        }
        SecretsRequest::Delete => {
            record.state = RecordState::NotRegistered;
            record.staged = None;
            (SecretsResponse::Delete, Happening::Deleted)
        }
        SecretsRequest::Attempts => {
            (SecretsResponse::Attempts(Box::new(stated(record.attempts.as_ref()))), Happening::Nothing)
        }
        SecretsRequest::Stage(registration) => (SecretsResponse::Stage, stage(record, registration)),
        SecretsRequest::Activate { version } => {
            let (response, happening) = activate(record, version);
            (SecretsResponse::Activate(response), happening)
        }
        SecretsRequest::Versions => {
            let staged = record.staged.as_ref().map_or(Recover1Response::NotRegistered, recover1);
            let versions = VersionsResponse { present: recover1(&record.state), staged };
            (SecretsResponse::Versions(versions), Happening::Nothing)
        }
    }
}

/// Nothing happens to a registration that is in either place already: it keeps its count. Otherwise the work is the same.
fn stage(record: &mut Record, request: &Register2Request) -> Happening {
    let registered = black_box(registered(request));
    if record.place(Some(&request.version)).version() == Some(request.version) {
        return Happening::Nothing;
    }
    record.staged = Some(registered);
    Happening::Staged
}

/// What is staged becomes the present registration, with its count as it is; or is dropped, if that is present already.
fn activate(record: &mut Record, version: &RegistrationVersion) -> (ActivateResponse, Happening) {
    let is_present = record.state.version() == Some(*version);
    let is_meant = |staged: &mut RecordState| is_present || staged.version() == Some(*version);
    match record.staged.take_if(is_meant) {
        None if !is_present => (ActivateResponse::NotStaged, Happening::Nothing),
        None => (ActivateResponse::Ok, Happening::Nothing),
        Some(staged) => {
            if !is_present {
                record.state = staged;
            }
            (ActivateResponse::Ok, Happening::Activated)
        }
    }
}

fn registered(request: &Register2Request) -> RecordState {
    let signed = &request.oprf_signed_public_key;
    RecordState::Registered(Box::new(Registration {
        public: Public {
            version: request.version.0.into(),
            public_key: signed.public_key.0.into(),
            verifying_key: signed.verifying_key.0.into(),
            signature: signed.signature.0.into(),
            unlock_key_commitment: (*request.unlock_key_commitment.as_bytes()).into(),
            // An out-of-range number was refused when the request was decoded; otherwise the record would be locked,
            // not open.
            num_guesses: request.policy.checked().unwrap_or(0),
            guess_count: 0,
            answer: None,
        },
        // Secret: from the decrypted request into the record; both wipe themselves.
        secrets: Secrets {
            oprf_private_key: (*request.oprf_private_key.scalar().to_bytes()).into(),
            unlock_key_tag: (*request.unlock_key_tag.as_bytes()).into(),
            encryption_key_scalar_share: (*request.encryption_key_scalar_share.to_bytes()).into(),
            encrypted_secret: (*request.encrypted_secret.as_bytes()).into(),
            encrypted_secret_commitment: (*request.encrypted_secret_commitment.as_bytes()).into(),
        },
    }))
}

fn recover1(state: &RecordState) -> Recover1Response {
    match state {
        RecordState::NotRegistered => Recover1Response::NotRegistered,
        RecordState::Registered(r) => {
            Recover1Response::Ok { version: RegistrationVersion(*r.public.version) }
        }
        RecordState::LastGuess(_) | RecordState::NoGuesses => Recover1Response::NoGuesses,
    }
}

/// How a Recover2 is decided.
enum Ruling {
    Refused(Recover2Response),
    /// An answer that is charged already.
    Again(Answer),
    Charged,
}

/// The work is the same whatever the outcome, because a host sees how long it takes: one evaluation with its proof, and
/// one wrapping, as if each guess were the last. `strongroom-sim firmware work` counts it.
fn recover2(
    state: &mut RecordState,
    version: &RegistrationVersion,
    input: &BlindedInput,
    owner: Owner<'_>,
    rng: &mut impl CryptoRng,
) -> (Recover2Response, Happening) {
    let Some(fresh) = evaluate(state, input, rng) else {
        return (Recover2Response::NoGuesses, Happening::Nothing);
    };
    let ruling = rule(state, version, input);
    let (answer, charged) = match &ruling {
        Ruling::Again(answer) => (answer.clone(), false),
        Ruling::Charged => (fresh, true),
        Ruling::Refused(_) => (fresh, false),
    };
    let wrapped = black_box(wrap(state, owner, rng));
    let public = match (ruling, &mut *state) {
        (Ruling::Refused(response), _) => return (response, Happening::Nothing),
        (_, RecordState::Registered(registration)) => &mut registration.public,
        (_, RecordState::LastGuess(last)) => &mut last.public,
        (_, RecordState::NotRegistered | RecordState::NoGuesses) => {
            debug_assert!(false, "nothing is answered from nothing");
            return (Recover2Response::NoGuesses, Happening::Nothing);
        }
    };
    if !charged {
        return (public.respond(&answer), Happening::Nothing);
    }
    public.guess_count = public.guess_count.saturating_add(1);
    let response = public.respond(&answer);
    public.answer = Some(answer);
    if public.guess_count < public.num_guesses {
        return (response, Happening::GuessCharged);
    }
    // Secret: wrapped from where they lie, so that they are wiped in place and not moved out of a freed box.
    *state = RecordState::LastGuess(Box::new(LastGuess::new(public.clone(), wrapped)));
    (response, Happening::LastGuessCharged)
}

fn rule(state: &RecordState, version: &RegistrationVersion, input: &BlindedInput) -> Ruling {
    let Some(public) = state.public() else {
        return Ruling::Refused(if matches!(state, RecordState::NotRegistered) {
            Recover2Response::NotRegistered
        } else {
            Recover2Response::NoGuesses
        });
    };
    if *public.version != version.0 {
        return Ruling::Refused(Recover2Response::VersionMismatch);
    }
    if let Some(answer) = public.answer.as_ref().filter(|a| *a.blinded_input == *input.as_bytes()) {
        return Ruling::Again(answer.clone());
    }
    if public.guess_count >= public.num_guesses {
        return Ruling::Refused(Recover2Response::NoGuesses);
    }
    Ruling::Charged
}

/// A key for records without one: what it evaluates is thrown away.
const DUMMY: [u8; 32] = {
    let mut seven = [0; 32];
    seven[0] = 7;
    seven
};

/// One evaluation with its proof, under the record's key if it has one, else under [`DUMMY`].
fn evaluate(state: &RecordState, input: &BlindedInput, rng: &mut impl CryptoRng) -> Option<Answer> {
    let (key, public_key) = match state {
        RecordState::Registered(r) => (&*r.secrets.oprf_private_key, *r.public.public_key),
        _ => (&DUMMY, [0; 32]),
    };
    let public_key = PublicKey(public_key);
    let evaluated = PrivateKey::from_bytes(key).and_then(|key| oprf::evaluate(&key, &public_key, input, rng));
    let Ok((output, proof)) = evaluated else {
        debug_assert!(
            false,
            "it was decoded as a key when it was registered, and no hash is known to be zero"
        );
        return None;
    };
    Some(Answer {
        blinded_input: (*input.as_bytes()).into(),
        blinded_result: (*output.as_bytes()).into(),
        proof_c: proof.c.into(),
        proof_beta_z: proof.beta_z.into(),
    })
}

/// The record's secrets as they are stored after the last guess; if it has none, the same work on nothing.
fn wrap(state: &RecordState, owner: Owner<'_>, rng: &mut impl CryptoRng) -> Wrapped {
    match state {
        RecordState::Registered(r) => Wrapped::new(&r.secrets, &r.public.version, owner, rng),
        _ => Wrapped::new(&Secrets::nothing(), &[0; 16], owner, rng),
    }
}

fn recover3(
    state: &mut RecordState,
    version: &RegistrationVersion,
    tag: &UnlockKeyTag,
    owner: Owner<'_>,
) -> (Recover3Response, Happening) {
    let public = match state {
        RecordState::NotRegistered => return (Recover3Response::NotRegistered, Happening::Nothing),
        RecordState::NoGuesses => return (Recover3Response::NoGuesses, Happening::Nothing),
        RecordState::Registered(registration) => &registration.public,
        RecordState::LastGuess(last) => &last.public,
    };
    if *public.version != version.0 {
        return (Recover3Response::VersionMismatch, Happening::Nothing);
    }
    let guesses_remaining = u16::from(public.num_guesses.saturating_sub(public.guess_count));
    let refused = Recover3Response::BadUnlockKeyTag { guesses_remaining };
    match state {
        RecordState::Registered(r) if tag_matches(&r.secrets, tag.as_bytes()) => {
            (r.recovered(), Happening::Recovered)
        }
        RecordState::LastGuess(last) => {
            let Some(mut registration) = last.unwrap(tag.as_bytes(), owner) else {
                *state = RecordState::NoGuesses;
                return (refused, Happening::Erased);
            };
            let response = registration.recovered();
            *state = RecordState::Registered(Box::new(registration));
            (response, Happening::Recovered)
        }
        _ => (refused, Happening::Nothing),
    }
}

impl Registration {
    /// The right tag came: all guesses are back, and the shares go out.
    fn recovered(&mut self) -> Recover3Response {
        self.public.guess_count = 0;
        self.public.answer = None;
        let Ok(share) = SecretScalar::from_bytes(&self.secrets.encryption_key_scalar_share) else {
            debug_assert!(false, "it was decoded as a scalar when it was registered");
            return Recover3Response::NoGuesses;
        };
        Recover3Response::Ok(Box::new(Recover3Ok {
            encryption_key_scalar_share: share,
            encrypted_secret: EncryptedSecret::new(*self.secrets.encrypted_secret),
            encrypted_secret_commitment: EncryptedSecretCommitment::new(
                *self.secrets.encrypted_secret_commitment,
            ),
        }))
    }
}

impl Public {
    fn respond(&self, answer: &Answer) -> Recover2Response {
        Recover2Response::Ok(Box::new(Recover2Ok {
            oprf_signed_public_key: SignedPublicKey {
                public_key: PublicKey(*self.public_key),
                verifying_key: VerifyingKey(*self.verifying_key),
                signature: Signature(*self.signature),
            },
            oprf_blinded_result: BlindedOutput::evaluated(*answer.blinded_result),
            oprf_proof: Proof { c: *answer.proof_c, beta_z: *answer.proof_beta_z },
            unlock_key_commitment: UnlockKeyCommitment::new(*self.unlock_key_commitment),
            num_guesses: u16::from(self.num_guesses),
            guess_count: u16::from(self.guess_count),
        }))
    }
}
