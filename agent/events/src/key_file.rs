//! The file with the secret of a tenant: one line, `strongroom-events-secret-1:` and 64 hexadecimal digits, for its owner alone.

use crate::tenant::TenantSecret;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What the line begins with.
const KIND: &str = "strongroom-events-secret-1:";
/// The longest key file, in bytes.
const MAX_FILE: u64 = 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file is there.
    #[error("{} exists, and keys are never overwritten: what was sealed to the old one would be lost; choose another name", .0.display())]
    Exists(PathBuf),
    /// The file could not be read or written.
    #[error("{}: {source}; `strongroom-events new-key` makes a key file", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "others than its owner may read {}, and it is secret: chmod 600 it; if somebody may have read it, make a new key and have that signed", .0.display()
    )]
    Open(PathBuf),
    /// It holds no key.
    #[error("{}: not a tenant's secret; give the file that `strongroom-events new-key` wrote", .0.display())]
    NoKey(PathBuf),
    /// No random bytes can be had.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Makes a secret in a file that does not exist yet, with mode 0600.
///
/// # Errors
/// [`KeyFileError`].
pub fn create(path: &Path) -> Result<TenantSecret, KeyFileError> {
    // Secret: the key.
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(KeyFileError::Random)?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.into()),
        _ => KeyFileError::Io { path: path.into(), source },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    // Before anything secret is in it: a medium may know no modes.
    private(&file, path)?;
    let digits = Zeroizing::new(hex::encode(*bytes));
    let text = Zeroizing::new(format!("{KIND}{}\n", *digits));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Durable: custodians sign the public key next.
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| File::open(folder)?.sync_all()).map_err(failed)?;
    Ok(TenantSecret::new(*bytes))
}

/// Reads what [`create`] wrote.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path) -> Result<TenantSecret, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    private(&file, path)?;
    // Secret: the text. Of this size from the start, so that no part stays behind where it grew.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 64));
    file.take(MAX_FILE).read_to_end(&mut text).map_err(failed)?;
    let digits = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().strip_prefix(KIND));
    let mut bytes = Zeroizing::new([0; 32]);
    digits
        .and_then(|digits| hex::decode_to_slice(digits, &mut *bytes).ok())
        .ok_or_else(|| KeyFileError::NoKey(path.into()))?;
    Ok(TenantSecret::new(*bytes))
}

fn private(file: &File, path: &Path) -> Result<(), KeyFileError> {
    let about = file.metadata().map_err(|source| KeyFileError::Io { path: path.into(), source })?;
    // The modes of a pipe are nobody's choice.
    let open = about.is_file() && about.permissions().mode() & 0o077 != 0;
    if open { Err(KeyFileError::Open(path.into())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn a_new_key_is_for_its_owner_alone_and_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.key");
        let made = create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().public(), made.public());
        assert!(matches!(create(&path), Err(KeyFileError::Exists(_))));
        assert_eq!(read(&path).unwrap().public(), made.public());
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path), Err(KeyFileError::Open(_))));
        assert_ne!(create(&folder.path().join("other.key")).unwrap().public(), made.public());
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.key");
        drop(create(&path).unwrap());
        let good = fs::read_to_string(&path).unwrap();
        for text in ["", &good[..good.len() - 2], &good[1..], &format!("{}00", good.trim()), "rubbish"] {
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::NoKey(_)), "{text}");
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
    }
}
