use crate::support::{array, bytes, cases, text};
use strongroom_client_crypto::pin::{PinHashingMode, stretch};
use strongroom_proto::client::RegistrationVersion;

#[test]
fn pins_are_stretched_as_the_vectors_say() {
    for case in cases("pin", 20) {
        let mode = match text(&case, "mode") {
            "Standard2019" => PinHashingMode::Standard2019,
            "FastInsecure" => PinHashingMode::FastInsecure,
            other => panic!("unknown mode {other}"),
        };
        let version = RegistrationVersion(array(&case, "version"));
        let stretched = stretch(mode, &bytes(&case, "pin"), &version, &bytes(&case, "user_info")).unwrap();
        assert_eq!(stretched.access_key(), &array(&case, "access_key"), "{}", case["name"]);
        let seed = stretched.encryption_key_seed();
        assert_eq!(seed.as_bytes(), &array(&case, "encryption_key_seed"), "{}", case["name"]);
    }
}
