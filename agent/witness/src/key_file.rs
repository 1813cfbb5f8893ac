//! The file with the key of a witness: one line, for its user alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use strongroom_tlog::key::KeyError;
use strongroom_tlog::{KeyName, SignatureType, SigningKey};
use zeroize::Zeroizing;

/// The longest key file in bytes.
const MAX_FILE: u64 = 4096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file could not be read or written.
    #[error("{}: {source}; `strongroom-witness new-key` makes a key file, and never replaces one", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("others than its owner may read or write {}; chmod 600 it, and if they could, make a new key", .0.display())]
    Open(PathBuf),
    /// It holds no key.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// It holds a key of another type.
    #[error("the key in {} is not one of a witness; make one with `strongroom-witness new-key`", .0.display())]
    Type(PathBuf),
    /// No random bytes can be had.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Makes a key of this name in a file that does not exist yet, with mode 0600.
///
/// # Errors
/// [`KeyFileError`].
pub fn create(path: &Path, name: KeyName) -> Result<SigningKey, KeyFileError> {
    // Secret: the seed.
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(KeyFileError::Random)?;
    let wrong = |source| KeyFileError::Key { path: path.into(), source };
    let key = SigningKey::from_seed(name, SignatureType::Cosignature, &seed).map_err(wrong)?;
    let failed = |source| KeyFileError::Io { path: path.into(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    // Durable: the public key is told to others next. Secret: the text.
    let text = key.to_text();
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    file.sync_all().and_then(|()| File::open(folder)?.sync_all()).map_err(failed)?;
    Ok(key)
}

/// Reads a key file.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path) -> Result<SigningKey, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open(path.into()));
    }
    // Secret: the text. Of this size from the start, so that no part stays behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize));
    file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
    let parsed = text.trim_end_matches('\n').parse::<SigningKey>();
    let key = parsed.map_err(|source| KeyFileError::Key { path: path.into(), source })?;
    match key.verifier().kind() {
        SignatureType::Cosignature => Ok(key),
        SignatureType::Ed25519 => Err(KeyFileError::Type(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_new_key_is_for_its_owner_alone_and_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness.key");
        let name = || KeyName::new("example.com/w").unwrap();
        let made = create(&path, name()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().verifier(), made.verifier());
        // A key is never replaced.
        assert!(matches!(create(&path, name()), Err(KeyFileError::Io { .. })));
        assert_eq!(read(&path).unwrap().verifier(), made.verifier());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path), Err(KeyFileError::Open(_))));
    }

    #[test]
    fn what_is_no_key_of_a_witness_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let log =
            SigningKey::from_seed(KeyName::new("log").unwrap(), SignatureType::Ed25519, &[1; 32]).unwrap();
        for text in [log.to_text().to_string(), "PRIVATE+KEY+secret".into(), String::new()] {
            fs::write(&path, &text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Type(_) | KeyFileError::Key { .. }));
            assert!(text.is_empty() || !error.to_string().contains(&text));
        }
    }
}
