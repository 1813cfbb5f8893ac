//! Tokens under every algorithm, signed here with the keys of the token vectors.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use std::time::SystemTime;
use strongroom_proto::ids::RealmId;

/// The keys of tenant `acme`: version 1 is HS256, 2 EdDSA, 3 RS256.
pub(crate) struct Issuer(Value);

impl Issuer {
    pub(crate) const KIDS: [&'static str; 3] = ["acme:1", "acme:2", "acme:3"];

    pub(crate) fn new() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/vectors/jwt.json");
        let vectors: Value = serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON");
        Self(vectors["keys"].clone())
    }

    fn text(&self, kid: &str, field: &str) -> &str {
        self.0[kid][field].as_str().expect("text")
    }

    /// What the tenants file says about these keys.
    pub(crate) fn tenants_toml(&self) -> String {
        let tenant = |kid: &&str| {
            let (name, version) = kid.split_once(':').expect("tenant:version");
            let (algorithm, key) = (self.text(kid, "algorithm"), self.text(kid, "verify_data"));
            format!(
                "[[tenant]]\nname = \"{name}\"\nversion = {version}\nalgorithm = \"{algorithm}\"\nkey = \"{key}\"\n"
            )
        };
        Self::KIDS.iter().map(tenant).collect()
    }

    /// A token for ten minutes from now.
    pub(crate) fn token(&self, kid: &str, user: &str, realm: &RealmId) -> String {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        let algorithm = self.text(kid, "algorithm");
        let header = json!({ "alg": algorithm, "kid": kid, "typ": "JWT" });
        let claims = json!({
            "iss": kid.split_once(':').expect("tenant:version").0, "sub": user, "aud": realm.to_string(),
            "iat": now, "nbf": now, "exp": now + 600, "scope": "user",
        });
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let key = hex::decode(self.text(kid, "sign_data")).expect("hex");
        let signature = sign(algorithm, &key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn sign(algorithm: &str, key: &[u8], message: &[u8]) -> Vec<u8> {
    match algorithm {
        "HS256" => {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
            ring::hmac::sign(&key, message).as_ref().to_vec()
        }
        "EdDSA" => {
            let seed = key.last_chunk().expect("the seed ends a PKCS #8 key");
            SigningKey::from_bytes(seed).sign(message).to_vec()
        }
        "RS256" => {
            let key = RsaKeyPair::from_pkcs8(key).expect("a PKCS #8 key");
            let mut signature = vec![0; key.public().modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("signs");
            signature
        }
        other => panic!("{other}"),
    }
}
