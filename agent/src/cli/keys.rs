//! Custodians' keys: Ed25519, in PEM, in a file that its owner alone may read.

use super::error::CliError;
use super::reach::write_secret;
use crate::admin::custodian_key;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use std::path::Path;
use strongroom_proto::enrolment::CustodianKey;
use zeroize::Zeroizing;

/// Makes a key in a new file.
pub(super) fn make_key(path: &Path) -> Result<CustodianKey, CliError> {
    let failed = |message: String| CliError::Key { path: path.into(), message };
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| failed(format!("no randomness to make a key: {error}")))?;
    let key = SigningKey::from_bytes(&seed);
    // Secret: version 1 of the form, without the public key, is the form that other programs read.
    let pem = KeypairBytes { secret_key: key.to_bytes(), public_key: None }
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|_| failed("the key could not be encoded".into()))?;
    write_secret(path, &pem)?;
    Ok(custodian_key(&key))
}

/// Reads a key that [`make_key`] wrote.
pub(super) fn read_key(path: &Path) -> Result<SigningKey, CliError> {
    let failed = |message: String| CliError::Key { path: path.into(), message };
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| failed(format!("cannot be read: {error}")))?;
    SigningKey::from_pkcs8_pem(text.trim_start_matches('\u{feff}')).map_err(|_| {
        failed("not an Ed25519 private key in PEM; give the file that `realm custodian` wrote".into())
    })
}
