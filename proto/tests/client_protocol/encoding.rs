use crate::support::{array, bytes, cases, list, text, vectors};
use proptest::prelude::*;
use serde_json::Value;
use std::time::Duration;
use strongroom_proto::client::{
    ActivateResponse, ClientRequest, ClientResponse, EncryptedSecret, EncryptedSecretCommitment,
    HandshakeRequest, HandshakeResponse, MAX_RESPONSE, NoiseRequest, NoiseResponse, PADDED_RESPONSE, Policy,
    Recover1Response, Recover2Ok, Recover2Response, Recover3Ok, Recover3Response, Register2Request,
    RegistrationVersion, RequestKind, ResponseTooLong, SecretsRequest, SecretsResponse, Signature,
    SignedPublicKey, UnlockKeyCommitment, UnlockKeyTag, VerifyingKey, VersionsResponse,
};
use strongroom_proto::ids::{RealmId, SessionId};
use strongroom_proto::oprf::{BlindedInput, BlindedOutput, PrivateKey, Proof, PublicKey};
use strongroom_proto::scalar::SecretScalar;

fn of_type(kind: &str, expected: usize) -> Vec<Value> {
    let of_type: Vec<Value> = cases("cbor", 83).into_iter().filter(|c| text(c, "type") == kind).collect();
    assert_eq!(of_type.len(), expected, "{kind}");
    of_type
}

/// A byte string of the vectors' notation.
fn b<const N: usize>(content: &Value, field: &str) -> [u8; N] {
    array(&content[field], "bytes")
}

fn u16_of(content: &Value, field: &str) -> u16 {
    u16::try_from(content[field].as_u64().expect("a number")).expect("16 bits")
}

/// The name and the content of a variant in the vectors' notation.
fn variant(value: &Value) -> (&str, &Value) {
    match value {
        Value::String(name) => (name, &Value::Null),
        Value::Object(map) if map.len() == 1 => {
            map.iter().next().map(|(name, content)| (name.as_str(), content)).unwrap()
        }
        other => panic!("not a variant: {other}"),
    }
}

fn version(content: &Value) -> RegistrationVersion {
    RegistrationVersion(b(content, "version"))
}

fn signed_public_key(content: &Value) -> SignedPublicKey {
    let spk = &content["oprf_signed_public_key"];
    SignedPublicKey {
        public_key: PublicKey(b(spk, "public_key")),
        verifying_key: VerifyingKey(b(spk, "verifying_key")),
        signature: Signature(b(spk, "signature")),
    }
}

fn secrets_request(decoded: &Value) -> SecretsRequest {
    let (name, c) = variant(decoded);
    match name {
        "Register1" => SecretsRequest::Register1,
        "Register2" => SecretsRequest::Register2(Box::new(Register2Request {
            version: version(c),
            oprf_private_key: PrivateKey::from_bytes(&b(c, "oprf_private_key")).unwrap(),
            oprf_signed_public_key: signed_public_key(c),
            unlock_key_commitment: UnlockKeyCommitment::new(b(c, "unlock_key_commitment")),
            unlock_key_tag: UnlockKeyTag::new(b(c, "unlock_key_tag")),
            encryption_key_scalar_share: SecretScalar::from_bytes(&b(c, "encryption_key_scalar_share"))
                .unwrap(),
            encrypted_secret: EncryptedSecret::new(b(c, "encrypted_secret")),
            encrypted_secret_commitment: EncryptedSecretCommitment::new(b(c, "encrypted_secret_commitment")),
            policy: Policy { num_guesses: u16_of(&c["policy"], "num_guesses") },
        })),
        "Recover1" => SecretsRequest::Recover1,
        "Recover2" => SecretsRequest::Recover2 {
            version: version(c),
            blinded_input: BlindedInput::from_bytes(&b(c, "oprf_blinded_input")).unwrap(),
        },
        "Recover3" => SecretsRequest::Recover3 {
            version: version(c),
            unlock_key_tag: UnlockKeyTag::new(b(c, "unlock_key_tag")),
        },
        "Delete" => SecretsRequest::Delete,
        other => panic!("unknown request {other}"),
    }
}

fn secrets_response(decoded: &Value) -> SecretsResponse {
    let (request, answer) = variant(decoded);
    let (name, c) = variant(answer);
    match (request, name) {
        ("Register1", "Ok") => SecretsResponse::Register1,
        ("Register2", "Ok") => SecretsResponse::Register2,
        ("Delete", "Ok") => SecretsResponse::Delete,
        ("Recover1", _) => SecretsResponse::Recover1(match name {
            "Ok" => Recover1Response::Ok { version: version(c) },
            "NotRegistered" => Recover1Response::NotRegistered,
            "NoGuesses" => Recover1Response::NoGuesses,
            other => panic!("unknown answer {other}"),
        }),
        ("Recover2", _) => SecretsResponse::Recover2(match name {
            "Ok" => Recover2Response::Ok(Box::new(Recover2Ok {
                oprf_signed_public_key: signed_public_key(c),
                oprf_blinded_result: BlindedOutput::from_bytes(&b(c, "oprf_blinded_result")).unwrap(),
                oprf_proof: Proof { c: b(&c["oprf_proof"], "c"), beta_z: b(&c["oprf_proof"], "beta_z") },
                unlock_key_commitment: UnlockKeyCommitment::new(b(c, "unlock_key_commitment")),
                num_guesses: u16_of(c, "num_guesses"),
                guess_count: u16_of(c, "guess_count"),
            })),
            "VersionMismatch" => Recover2Response::VersionMismatch,
            "NotRegistered" => Recover2Response::NotRegistered,
            "NoGuesses" => Recover2Response::NoGuesses,
            other => panic!("unknown answer {other}"),
        }),
        ("Recover3", _) => SecretsResponse::Recover3(match name {
            "Ok" => Recover3Response::Ok(Box::new(Recover3Ok {
                encryption_key_scalar_share: SecretScalar::from_bytes(&b(c, "encryption_key_scalar_share"))
                    .unwrap(),
                encrypted_secret: EncryptedSecret::new(b(c, "encrypted_secret")),
                encrypted_secret_commitment: EncryptedSecretCommitment::new(b(
                    c,
                    "encrypted_secret_commitment",
                )),
            })),
            "VersionMismatch" => Recover3Response::VersionMismatch,
            "NotRegistered" => Recover3Response::NotRegistered,
            "BadUnlockKeyTag" => {
                Recover3Response::BadUnlockKeyTag { guesses_remaining: u16_of(c, "guesses_remaining") }
            }
            "NoGuesses" => Recover3Response::NoGuesses,
            other => panic!("unknown answer {other}"),
        }),
        other => panic!("unknown answer {other:?}"),
    }
}

fn client_request(decoded: &Value) -> ClientRequest {
    let (name, c) = variant(&decoded["encrypted"]);
    ClientRequest {
        realm: RealmId(b(decoded, "realm")),
        auth_token: text(decoded, "auth_token").to_owned(),
        session_id: SessionId(u32::try_from(decoded["session_id"].as_u64().unwrap()).unwrap()),
        kind: match text(decoded, "kind") {
            "HandshakeOnly" => RequestKind::HandshakeOnly,
            "SecretsRequest" => RequestKind::SecretsRequest,
            other => panic!("unknown kind {other}"),
        },
        encrypted: match name {
            "Handshake" => NoiseRequest::Handshake(HandshakeRequest {
                client_ephemeral_public: bytes(&c["handshake"]["client_ephemeral_public"], "bytes"),
                payload_ciphertext: bytes(&c["handshake"]["payload_ciphertext"], "bytes"),
            }),
            _ => NoiseRequest::Transport { ciphertext: bytes(&c["ciphertext"], "bytes") },
        },
    }
}

fn client_response(decoded: &Value) -> ClientResponse {
    let (name, content) = variant(decoded);
    match name {
        "Ok" => ClientResponse::Ok(match variant(content) {
            ("Handshake", c) => NoiseResponse::Handshake {
                handshake: HandshakeResponse {
                    server_ephemeral_public: bytes(&c["handshake"]["server_ephemeral_public"], "bytes"),
                    payload_ciphertext: bytes(&c["handshake"]["payload_ciphertext"], "bytes"),
                },
                session_lifetime: Duration::new(
                    c["session_lifetime"]["secs"].as_u64().unwrap(),
                    u32::try_from(c["session_lifetime"]["nanos"].as_u64().unwrap()).unwrap(),
                ),
            },
            (_, c) => NoiseResponse::Transport { ciphertext: bytes(&c["ciphertext"], "bytes") },
        }),
        "Unavailable" => ClientResponse::Unavailable,
        "InvalidAuth" => ClientResponse::InvalidAuth,
        "MissingSession" => ClientResponse::MissingSession,
        "SessionError" => ClientResponse::SessionError,
        "DecodingError" => ClientResponse::DecodingError,
        "PayloadTooLarge" => ClientResponse::PayloadTooLarge,
        "RateLimitExceeded" => ClientResponse::RateLimitExceeded,
        other => panic!("unknown answer {other}"),
    }
}

/// Every proper prefix and, unless `open_ended`, every appended byte is refused.
fn refuses_other_lengths(cbor: &[u8], decodes: impl Fn(&[u8]) -> bool, open_ended: bool) {
    assert!((0..cbor.len()).all(|len| !decodes(&cbor[..len])), "a truncation is accepted");
    let longer = [cbor, &[0]].concat();
    assert_eq!(decodes(&longer), open_ended, "a trailing byte");
}

#[test]
fn every_secrets_request_has_the_bytes_of_the_vectors() {
    for case in of_type("SecretsRequest", 7) {
        let (request, cbor) = (secrets_request(&case["decoded"]), bytes(&case, "cbor"));
        assert_eq!(hex::encode(&*request.to_cbor()), hex::encode(&cbor), "{}", case["name"]);
        assert_eq!(SecretsRequest::from_cbor(&cbor).as_ref(), Ok(&request), "{}", case["name"]);
        assert_eq!(request.needs_forward_secrecy(), case["needs_forward_secrecy"], "{}", case["name"]);
        assert_eq!(cbor.len(), case["len"], "{}", case["name"]);
        refuses_other_lengths(&cbor, |c| SecretsRequest::from_cbor(c).is_ok(), false);
    }
}

/// Text strings as CBOR has them, up to 23 bytes.
fn cbor_text(text: &str) -> Vec<u8> {
    [&[0x60 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

#[test]
fn requests_to_stage_are_those_to_register_by_another_name_and_no_others() {
    let register = of_type("SecretsRequest", 7).into_iter().map(|case| secrets_request(&case["decoded"]));
    let (mut staged, mut longest) = (0, 0);
    for register in register {
        let SecretsRequest::Register2(registration) = &register else { continue };
        let stage = SecretsRequest::Stage(registration.clone());
        let (cbor, content) = (stage.to_cbor(), register.to_cbor()[1 + 1 + "Register2".len()..].to_vec());
        assert_eq!(*cbor, [&[0xa1], &cbor_text("Stage")[..], &content].concat());
        assert_eq!(SecretsRequest::from_cbor(&cbor).as_ref(), Ok(&stage));
        assert!(stage.needs_forward_secrecy() && !stage.only_reads());
        refuses_other_lengths(&cbor, |c| SecretsRequest::from_cbor(c).is_ok(), false);
        (staged, longest) = (staged + 1, longest.max(register.to_cbor().len()));
    }
    assert!(staged > 0 && longest <= 665, "{staged} registrations of at most {longest} bytes");
}

#[test]
fn an_activation_names_a_version_and_a_question_for_versions_is_as_long_as_recover1() {
    let version = RegistrationVersion([7; 16]);
    let activate = SecretsRequest::Activate { version };
    let content = [&[0xa1], &cbor_text("version")[..], &[0x50], &[7; 16]].concat();
    let cbor = [&[0xa1], &cbor_text("Activate")[..], &content].concat();
    assert_eq!(*activate.to_cbor(), cbor);
    assert_eq!(SecretsRequest::from_cbor(&cbor).as_ref(), Ok(&activate));
    assert!(activate.needs_forward_secrecy() && !activate.only_reads());
    refuses_other_lengths(&cbor, |c| SecretsRequest::from_cbor(c).is_ok(), false);

    let versions = SecretsRequest::Versions;
    assert_eq!(*versions.to_cbor(), cbor_text("Versions"));
    assert_eq!(SecretsRequest::from_cbor(&cbor_text("Versions")).as_ref(), Ok(&versions));
    assert!(!versions.needs_forward_secrecy() && versions.only_reads());
    assert_eq!(versions.to_cbor().len(), SecretsRequest::Recover1.to_cbor().len());
    refuses_other_lengths(&cbor_text("Versions"), |c| SecretsRequest::from_cbor(c).is_ok(), false);
}

#[test]
fn what_only_reads_is_what_changes_no_record() {
    let reading = of_type("SecretsRequest", 7).into_iter().map(|case| secrets_request(&case["decoded"]));
    for request in reading {
        let reads = matches!(request, SecretsRequest::Register1 | SecretsRequest::Recover1);
        assert_eq!(request.only_reads(), reads, "{request:?}");
    }
    assert!(SecretsRequest::Attempts.only_reads());
}

#[test]
fn a_request_names_the_registration_that_it_is_about_unless_it_replaces_all() {
    for case in of_type("SecretsRequest", 7) {
        let request = secrets_request(&case["decoded"]);
        let (named, activated) = match &request {
            SecretsRequest::Register2(registration) => {
                let stage = SecretsRequest::Stage(registration.clone());
                assert_eq!(stage.version(), Some(&registration.version));
                (None, registration.version)
            }
            SecretsRequest::Recover2 { version, .. } | SecretsRequest::Recover3 { version, .. } => {
                (Some(version), *version)
            }
            _ => (None, RegistrationVersion([3; 16])),
        };
        assert_eq!(request.version(), named, "{request:?}");
        assert_eq!(SecretsRequest::Activate { version: activated }.version(), Some(&activated));
    }
    assert_eq!(SecretsRequest::Versions.version(), None);
}

#[test]
fn every_answer_about_what_is_staged_has_one_spelling_and_fits_its_padding() {
    let ok = || Recover1Response::Ok { version: RegistrationVersion([9; 16]) };
    let places = [ok(), Recover1Response::NotRegistered, Recover1Response::NoGuesses];
    let both = places.iter().flat_map(|present| places.iter().map(move |staged| (present, staged)));
    let versions = both.map(|(present, staged)| {
        SecretsResponse::Versions(VersionsResponse { present: present.clone(), staged: staged.clone() })
    });
    let others = [
        SecretsResponse::Stage,
        SecretsResponse::Activate(ActivateResponse::Ok),
        SecretsResponse::Activate(ActivateResponse::NotStaged),
    ];
    let mut lengths = Vec::new();
    for answer in others.into_iter().chain(versions) {
        let cbor = answer.to_cbor();
        assert_eq!(SecretsResponse::from_cbor(&cbor).as_ref(), Ok(&answer));
        refuses_other_lengths(&cbor, |c| SecretsResponse::from_cbor(c).is_ok(), false);
        assert_eq!(SecretsResponse::from_padded(&*answer.to_padded().unwrap()).as_ref(), Ok(&answer));
        lengths.push(cbor.len());
    }
    assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&10), Some(&86)));
}

#[test]
fn an_answer_about_what_is_staged_is_about_both_places_and_nothing_else() {
    let versions = |fields: &[(&str, &str)]| {
        let content = fields.iter().flat_map(|(name, place)| [cbor_text(name), cbor_text(place)].concat());
        let map = 0xa0 | u8::try_from(fields.len()).unwrap();
        let cbor = [&[0xa1], &cbor_text("Versions")[..], &[map], &content.collect::<Vec<u8>>()].concat();
        SecretsResponse::from_cbor(&cbor).is_ok()
    };
    let (present, staged) = (("present", "NotRegistered"), ("staged", "NoGuesses"));
    assert!(versions(&[present, staged]) && versions(&[staged, present]));
    assert!(versions(&[present, staged, ("other", "thing")]), "unknown fields are passed over");
    assert!(
        ![&[present][..], &[staged], &[present, present], &[present, staged, staged]]
            .iter()
            .any(|f| versions(f))
    );
    assert!(!versions(&[("present", "VersionMismatch"), staged]));
    let activate = |content: &[u8]| {
        SecretsResponse::from_cbor(&[&[0xa1], &cbor_text("Activate")[..], content].concat()).is_ok()
    };
    assert!(activate(&cbor_text("Ok")) && !activate(&cbor_text("NotRegistered")) && !activate(&[0xa0]));
    let bare = ["Stage", "Activate", "Versions"].map(cbor_text);
    assert!(bare.iter().all(|text| SecretsResponse::from_cbor(text).is_err()));
    assert!(bare[..2].iter().all(|text| SecretsRequest::from_cbor(text).is_err()));
}

#[test]
fn every_secrets_response_has_the_bytes_of_the_vectors() {
    for case in of_type("SecretsResponse", 25) {
        let (response, cbor) = (secrets_response(&case["decoded"]), bytes(&case, "cbor"));
        assert_eq!(hex::encode(&*response.to_cbor()), hex::encode(&cbor), "{}", case["name"]);
        assert_eq!(SecretsResponse::from_cbor(&cbor).as_ref(), Ok(&response), "{}", case["name"]);
        assert_eq!(cbor.len(), case["len"], "{}", case["name"]);
        refuses_other_lengths(&cbor, |c| SecretsResponse::from_cbor(c).is_ok(), false);
    }
}

#[test]
fn every_padded_response_has_one_length_and_the_bytes_of_the_vectors() {
    for case in of_type("PaddedSecretsResponse", 25) {
        let response = SecretsResponse::from_cbor(&bytes(&case, "inner")).unwrap();
        let padded = response.to_padded().unwrap();
        assert_eq!(padded.len(), 472);
        assert_eq!(hex::encode(*padded), text(&case, "constant_size_cbor"), "{}", case["name"]);
        for form in ["cbor", "constant_size_cbor"] {
            let cbor = bytes(&case, form);
            assert_eq!(
                SecretsResponse::from_padded(&cbor).as_ref(),
                Ok(&response),
                "{} {form}",
                case["name"]
            );
            refuses_other_lengths(&cbor, |c| SecretsResponse::from_padded(c).is_ok(), false);
        }
    }
}

#[test]
fn an_answer_that_outgrows_its_padding_is_an_error() {
    for case in of_type("PaddedSecretsResponse_overflow", 1) {
        let response = SecretsResponse::from_cbor(&bytes(&case, "inner")).unwrap();
        assert_eq!(response.to_cbor().len(), 437);
        assert_eq!(response.to_padded().err(), Some(ResponseTooLong));
    }
    let claims_more = |length: u16| {
        let mut padded = *SecretsResponse::Delete.to_padded().unwrap();
        padded[18..20].copy_from_slice(&length.to_be_bytes());
        SecretsResponse::from_padded(&padded).is_ok()
    };
    assert!(claims_more(11));
    assert!([0, 10, 12, 436, 437, u16::MAX].iter().all(|length| !claims_more(*length)));
}

#[test]
fn every_client_request_has_the_bytes_of_the_vectors() {
    for case in of_type("ClientRequest", 13) {
        let (request, cbor) = (client_request(&case["decoded"]), bytes(&case, "cbor"));
        assert_eq!(hex::encode(request.to_cbor()), hex::encode(&cbor), "{}", case["name"]);
        assert_eq!(ClientRequest::from_cbor(&cbor).as_ref(), Ok(&request), "{}", case["name"]);
        assert_eq!(cbor.len(), case["len"], "{}", case["name"]);
        refuses_other_lengths(&cbor, |c| ClientRequest::from_cbor(c).is_ok(), false);
        assert!(!format!("{request:?}").contains(&request.auth_token), "the token is printed");
    }
}

#[test]
fn every_client_response_has_the_bytes_of_the_vectors() {
    for case in of_type("ClientResponse", 12) {
        let (response, cbor) = (client_response(&case["decoded"]), bytes(&case, "cbor"));
        assert_eq!(hex::encode(response.to_cbor()), hex::encode(&cbor), "{}", case["name"]);
        assert_eq!(ClientResponse::from_cbor(&cbor).as_ref(), Ok(&response), "{}", case["name"]);
        assert_eq!(cbor.len(), case["len"], "{}", case["name"]);
        refuses_other_lengths(&cbor, |c| ClientResponse::from_cbor(c).is_ok(), true);
    }
}

#[test]
fn every_message_of_the_transcripts_encodes_as_it_was_sent() {
    let (mut requests, mut answers) = (0, 0);
    let transcripts = cases("transcript", 16);
    let steps = transcripts.iter().flat_map(|t| list(t, "steps"));
    for exchange in steps.flat_map(|step| list(step, "http")) {
        let body = bytes(exchange, "request_body");
        assert_eq!(ClientRequest::from_cbor(&body).unwrap().to_cbor(), body);
        if exchange["request_plaintext"].as_str().is_some_and(|p| !p.is_empty()) {
            let plain = bytes(exchange, "request_plaintext");
            assert_eq!(*SecretsRequest::from_cbor(&plain).unwrap().to_cbor(), plain);
            requests += 1;
        }
        if exchange["secrets_response_cbor"].is_string() {
            let response = SecretsResponse::from_padded(&bytes(exchange, "response_plaintext")).unwrap();
            assert_eq!(*response.to_cbor(), bytes(exchange, "secrets_response_cbor"));
            answers += 1;
        }
        if exchange["response_status"] == 200 {
            let body = bytes(exchange, "response_body");
            assert_eq!(ClientResponse::from_cbor(&body).unwrap().to_cbor(), body);
        }
    }
    assert!(requests > 150 && answers > 150, "{requests} requests, {answers} answers");
}

#[test]
fn odd_answers_are_understood_exactly_when_clients_in_the_field_do() {
    let all = vectors("cbor");
    let odd = list(&all, "client_decoding_of_odd_bodies");
    assert_eq!(odd.len(), 9);
    for case in odd {
        let decodes = ClientResponse::from_cbor(&bytes(case, "body")).is_ok();
        assert_eq!(decodes, case["decodes_as_ClientResponse"], "{}", case["name"]);
    }
}

#[test]
fn the_largest_messages_have_the_sizes_the_protocol_says() {
    let padded = SecretsResponse::Register1.to_padded().unwrap();
    assert_eq!((padded.len(), MAX_RESPONSE), (PADDED_RESPONSE, 436));
    let ciphertext = vec![0xff; padded.len() + 16];
    assert_eq!(ciphertext.len(), 488);
    let transport = ClientResponse::Ok(NoiseResponse::Transport { ciphertext: ciphertext.clone() });
    assert_eq!(transport.to_cbor().len(), 518);
    let handshake =
        HandshakeResponse { server_ephemeral_public: vec![0xff; 32], payload_ciphertext: ciphertext };
    let session_lifetime = Duration::from_secs(5);
    let handshake = ClientResponse::Ok(NoiseResponse::Handshake { handshake, session_lifetime });
    assert_eq!(handshake.to_cbor().len(), 626);
    let largest = ClientRequest {
        realm: RealmId([0xff; 16]),
        auth_token: "x".repeat(1000),
        session_id: SessionId(u32::MAX),
        kind: RequestKind::SecretsRequest,
        encrypted: NoiseRequest::Transport { ciphertext: vec![0xff; 664 + 16] },
    };
    assert_eq!(largest.to_cbor().len(), 1790);
}

#[test]
fn policies_are_good_for_1_to_255_guesses() {
    let good: Vec<u16> = (0..=u16::MAX).filter(|n| Policy { num_guesses: *n }.checked().is_ok()).collect();
    assert_eq!(good, (1..=255).collect::<Vec<u16>>());
}

#[test]
fn a_variant_takes_exactly_the_content_it_has() {
    for request in
        ["a1665265636f76657231f6", "685265636f76657232", "a0", "a2684465636f766572f66644656c657465f6"]
    {
        assert!(SecretsRequest::from_cbor(&hex::decode(request).unwrap()).is_err(), "{request}");
    }
}

#[test]
fn unknown_fields_are_passed_over_if_they_are_well_formed() {
    let with_extra = |item: &str| {
        // {"Ok": {"Transport": {"ciphertext": h'', "e": item}}}
        let (transport, ciphertext) = (hex::encode("Transport"), hex::encode("ciphertext"));
        let whole = format!("a1624f6ba169{transport}a26a{ciphertext}406165{item}");
        ClientResponse::from_cbor(&hex::decode(whole).unwrap()).is_ok()
    };
    let good = [
        "00",
        "3903e7",
        "1bffffffffffffffff",
        "3bffffffffffffffff",
        "43010203",
        "6161",
        "80",
        "a0",
        "8301a1020340",
    ];
    let more = ["c11a514b67b0", "f4", "f6", "f7", "f93c00", "fa47c35000", "fb3ff199999999999a", "f0", "f8ff"];
    for item in good.iter().chain(&more) {
        assert!(with_extra(item), "{item}");
    }
    for item in [
        "ff", "9fff", "bfff", "5fff", "7fff", "81", "a1", "a101", "1c", "f93c", "fb3ff1", "62ff", "61ff",
        "c1",
    ] {
        assert!(!with_extra(item), "{item}");
    }
    assert!(with_extra(&format!("{}00", "81".repeat(100_000))), "depth costs nothing");
    assert!(!with_extra(&format!("{}00", "9bffffffffffffffff".repeat(3))), "lengths that overflow");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = ClientRequest::from_cbor(&bytes);
        let _ = ClientResponse::from_cbor(&bytes);
        let _ = SecretsRequest::from_cbor(&bytes);
        let _ = SecretsResponse::from_cbor(&bytes);
        let _ = SecretsResponse::from_padded(&bytes);
    }

    #[test]
    fn altered_messages_never_panic_and_what_decodes_encodes_again(
        at: prop::sample::Index,
        with: u8,
        case in prop::sample::select(cases("cbor", 83)),
    ) {
        let field = if case["cbor"].is_string() { "cbor" } else { "inner" };
        let mut cbor = bytes(&case, field);
        *at.get_mut(&mut cbor[..]) = with;
        if let Ok(request) = ClientRequest::from_cbor(&cbor) {
            prop_assert_eq!(ClientRequest::from_cbor(&request.to_cbor()), Ok(request));
        }
        if let Ok(response) = ClientResponse::from_cbor(&cbor) {
            prop_assert_eq!(ClientResponse::from_cbor(&response.to_cbor()), Ok(response));
        }
        if let Ok(request) = SecretsRequest::from_cbor(&cbor) {
            prop_assert_eq!(SecretsRequest::from_cbor(&request.to_cbor()), Ok(request));
        }
        if let Ok(response) = SecretsResponse::from_cbor(&cbor) {
            prop_assert_eq!(SecretsResponse::from_cbor(&response.to_cbor()), Ok(response));
        }
        let _ = SecretsResponse::from_padded(&cbor);
    }
}
