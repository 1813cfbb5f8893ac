use crate::support::{Script, array, bytes, cases, list, text};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use strongroom_proto::client::{HandshakeRequest, HandshakeResponse};
use strongroom_proto::ids::X25519Public;
use strongroom_proto::noise::{
    NoiseError, StaticKey, Transport, client_start, client_start_with_prologue, server_accept,
    server_accept_with_prologue,
};

fn of_kind(kind: &str, expected: usize) -> Vec<Value> {
    let of_kind: Vec<Value> = cases("noise", 23).into_iter().filter(|c| text(c, "kind") == kind).collect();
    assert_eq!(of_kind.len(), expected, "{kind}");
    of_kind
}

fn request_of(case: &Value) -> HandshakeRequest {
    HandshakeRequest {
        client_ephemeral_public: bytes(&case["request"], "client_ephemeral_public"),
        payload_ciphertext: bytes(&case["request"], "payload_ciphertext"),
    }
}

fn static_key_of(case: &Value) -> StaticKey {
    let key = StaticKey::from_secret(&array(case, "server_static_secret"));
    assert_eq!(key.public(), X25519Public(array(case, "server_static_public")), "{}", case["name"]);
    key
}

/// A handshake of both sides: the messages, and each side's transport.
struct Handshake {
    request: HandshakeRequest,
    response: HandshakeResponse,
    client: Transport,
    server: Transport,
}

fn handshake(case: &Value, payloads: [&[u8]; 2]) -> Handshake {
    let key = static_key_of(case);
    let prologue = bytes(case, "prologue");
    let draw = |field| Script::new([bytes(case, field)]);
    let client = &mut draw("client_ephemeral_secret");
    let started = client_start_with_prologue(&prologue, &key.public(), payloads[0], client).unwrap();
    let (started, request) = started;
    let (accepted, first) = server_accept_with_prologue(&prologue, &key, &request).unwrap();
    assert_eq!(*first, payloads[0], "{}", case["name"]);
    let (response, server) = accepted.respond(payloads[1], &mut draw("server_ephemeral_secret")).unwrap();
    let (client, second) = started.finish(&response).unwrap();
    assert_eq!(*second, payloads[1], "{}", case["name"]);
    Handshake { request, response, client, server }
}

#[test]
fn handshakes_and_what_follows_are_as_the_vectors_say() {
    for case in of_kind("handshake", 5) {
        let payloads = [bytes(&case, "request_payload"), bytes(&case, "response_payload")];
        let mut h = handshake(&case, [&payloads[0], &payloads[1]]);
        assert_eq!(h.request, request_of(&case), "{}", case["name"]);
        let response = &case["response"];
        assert_eq!(h.response.server_ephemeral_public, bytes(response, "server_ephemeral_public"));
        assert_eq!(h.response.payload_ciphertext, bytes(response, "payload_ciphertext"));
        let (mut sent, mut answered) = (0, 0);
        for message in list(&case, "transport") {
            let (from, to, counter) = match text(message, "direction") {
                "client-to-server" => (&mut h.client, &mut h.server, &mut sent),
                _ => (&mut h.server, &mut h.client, &mut answered),
            };
            let nonce = message["nonce"].as_u64().unwrap();
            // The vectors leave out messages that carry nothing but their number.
            for skipped in *counter..nonce {
                let ciphertext = from.encrypt(&(skipped as u32).to_be_bytes()).unwrap();
                to.decrypt(&ciphertext).unwrap();
            }
            *counter = nonce + 1;
            let ciphertext = from.encrypt(&bytes(message, "plaintext")).unwrap();
            assert_eq!(ciphertext, bytes(message, "ciphertext"), "{} {nonce}", case["name"]);
            assert_eq!(*to.decrypt(&ciphertext).unwrap(), bytes(message, "plaintext"), "{}", case["name"]);
        }
    }
}

#[test]
fn first_messages_are_refused_as_the_vectors_say() {
    for case in of_kind("server_handshake_error", 11) {
        let accepted = server_accept(&static_key_of(&case), &request_of(&case));
        match text(&case, "required") {
            "accept" => assert!(accepted.is_ok(), "{}", case["name"]),
            "refuse" => {
                let expected = match text(&case, "error") {
                    "InvalidClientKey" => NoiseError::InvalidKey,
                    _ => NoiseError::Decryption,
                };
                assert_eq!(accepted.err(), Some(expected), "{}", case["name"]);
            }
            _ => assert_eq!(accepted.err(), Some(NoiseError::InvalidKey), "{}", case["name"]),
        }
    }
}

#[test]
fn vectors_of_other_implementations_agree() {
    for case in of_kind("upstream", 7) {
        let messages = list(&case, "messages");
        let mut h = handshake(&case, [&bytes(&messages[0], "payload"), &bytes(&messages[1], "payload")]);
        let first = [h.request.client_ephemeral_public, h.request.payload_ciphertext].concat();
        assert_eq!(first, bytes(&messages[0], "ciphertext"), "{}", case["name"]);
        let second = [h.response.server_ephemeral_public, h.response.payload_ciphertext].concat();
        assert_eq!(second, bytes(&messages[1], "ciphertext"), "{}", case["name"]);
        for (i, message) in messages.iter().enumerate().skip(2) {
            let (from, to) =
                if i % 2 == 0 { (&mut h.client, &mut h.server) } else { (&mut h.server, &mut h.client) };
            let ciphertext = from.encrypt(&bytes(message, "payload")).unwrap();
            assert_eq!(ciphertext, bytes(message, "ciphertext"), "{} {i}", case["name"]);
            assert_eq!(*to.decrypt(&ciphertext).unwrap(), bytes(message, "payload"), "{} {i}", case["name"]);
        }
    }
}

#[test]
fn a_client_refuses_a_realm_key_of_low_order() {
    let rng = &mut StdRng::seed_from_u64(1);
    assert_eq!(client_start(&X25519Public([0; 32]), &[], rng).err(), Some(NoiseError::InvalidKey));
}

#[test]
fn a_client_refuses_answers_that_are_malformed_or_not_the_realms() {
    let rng = &mut StdRng::seed_from_u64(2);
    let (key, other) = (StaticKey::random(rng), StaticKey::random(rng));
    let mut attempt = |alter: &dyn Fn(&mut HandshakeResponse)| {
        let (client, request) = client_start(&key.public(), b"hello", rng).unwrap();
        let (mut response, _) = server_accept(&key, &request).unwrap().0.respond(b"welcome", rng).unwrap();
        assert!(server_accept(&other, &request).is_err());
        alter(&mut response);
        client.finish(&response).map(|(_, payload)| payload.to_vec())
    };
    assert_eq!(attempt(&|_| {}), Ok(b"welcome".to_vec()));
    assert_eq!(attempt(&|r| r.server_ephemeral_public = vec![0; 32]), Err(NoiseError::InvalidKey));
    assert_eq!(attempt(&|r| r.server_ephemeral_public.truncate(31)), Err(NoiseError::InvalidKey));
    assert_eq!(attempt(&|r| r.server_ephemeral_public.push(0)), Err(NoiseError::InvalidKey));
    assert_eq!(attempt(&|r| r.server_ephemeral_public[0] ^= 1), Err(NoiseError::Decryption));
    assert_eq!(attempt(&|r| r.payload_ciphertext[0] ^= 1), Err(NoiseError::Decryption));
    assert_eq!(attempt(&|r| r.payload_ciphertext.clear()), Err(NoiseError::Decryption));
}

#[test]
fn messages_repeated_reordered_or_reflected_are_refused() {
    let rng = &mut StdRng::seed_from_u64(3);
    let key = StaticKey::random(rng);
    let (started, request) = client_start(&key.public(), &[], rng).unwrap();
    let (response, mut server) = server_accept(&key, &request).unwrap().0.respond(&[], rng).unwrap();
    let (mut client, _) = started.finish(&response).unwrap();
    let (first, second) = (client.encrypt(b"1").unwrap(), client.encrypt(b"2").unwrap());
    assert_eq!(server.decrypt(&second).err(), Some(NoiseError::Decryption));
    assert_eq!(client.decrypt(&first).err(), Some(NoiseError::Decryption));
    assert_eq!(*server.decrypt(&first).unwrap(), b"1");
    assert_eq!(server.decrypt(&first).err(), Some(NoiseError::Decryption));
    assert_eq!(*server.decrypt(&second).unwrap(), b"2");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_messages_are_refused_and_never_panic(
        client_ephemeral_public in prop::collection::vec(any::<u8>(), 0..40),
        payload_ciphertext: Vec<u8>,
    ) {
        let key = StaticKey::from_secret(&[7; 32]);
        let response = HandshakeResponse {
            server_ephemeral_public: client_ephemeral_public.clone(),
            payload_ciphertext: payload_ciphertext.clone(),
        };
        let request = HandshakeRequest { client_ephemeral_public, payload_ciphertext };
        prop_assert!(server_accept(&key, &request).is_err());
        let (started, _) = client_start(&key.public(), &[], &mut StdRng::seed_from_u64(4)).unwrap();
        prop_assert!(started.finish(&response).is_err());
    }
}
