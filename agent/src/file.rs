//! Files that an operator writes: reading them, saying what is wrong with them, and noticing that they changed.
//!
//! The operator is trusted for availability only, and makes mistakes: every error names the file, the line if that is
//! known, and what to do. None repeats a value, because values may be secrets.

use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("cannot read {}: {source}; check the path, and that the agent's user may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was read, and cannot be used as a whole.
    #[error("{}: {message}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// It was read, and its contents cannot be used.
    #[error("{}, line {line}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        message: String,
    },
}

impl FileError {
    /// An error about the byte at `offset` of `text`.
    pub(crate) fn at(path: &Path, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.as_bytes().iter().take(offset);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Self::Content { path: path.into(), line, message: message.into() }
    }
}

/// What editors on some systems put before UTF-8 text. It carries no meaning.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads a text file whose contents may be secret, without its byte-order mark.
///
/// # Errors
/// [`FileError::Read`].
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut bytes = std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| FileError::Read { path: path.into(), source })?;
    strip_byte_order_mark(&mut bytes);
    Ok(bytes)
}

/// Takes the byte-order mark off a text, in place.
pub(crate) fn strip_byte_order_mark(bytes: &mut Vec<u8>) {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
}

/// Sees that the folder in which a file is new has it on the disk.
///
/// # Errors
/// That of the system.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads a TOML file into its text and its value.
///
/// # Errors
/// [`FileError`]; never with an excerpt of the file.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<(Zeroizing<String>, T), FileError> {
    toml_of(path, &read(path)?)
}

/// The text and the value of a TOML file that was read.
///
/// # Errors
/// [`FileError::Content`]; never with an excerpt of the file.
pub(crate) fn toml_of<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
) -> Result<(Zeroizing<String>, T), FileError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Zeroizing::new(text.to_owned()),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            return Err(FileError::at(path, &valid, valid.len(), "not UTF-8 text; save the file as UTF-8"));
        }
    };
    let value = parse_toml(path, &text)?;
    Ok((text, value))
}

/// Parses TOML that came from `path`.
///
/// # Errors
/// [`FileError::Content`]; never with an excerpt of the file.
pub(crate) fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, FileError> {
    // Secret: the error's own display shows the line itself, which may hold a key.
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let message = without_values(error.message().trim());
        FileError::at(path, text, error.span().map_or(0, |span| span.start), message)
    })
}

/// What the deserialiser says, without the value that it found: that may be a misplaced secret.
fn without_values(message: &str) -> String {
    for kind in ["invalid type: ", "invalid value: ", "unknown variant "] {
        let Some((found, expected)) =
            message.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected "))
        else {
            continue;
        };
        // `integer`, `string`: what it is, and not which.
        let what = found.split(['`', '"']).next().unwrap_or_default().trim();
        return match what {
            "" => format!("{}, expected {expected}", kind.trim().trim_end_matches(':')),
            what => format!("{kind}{what}, expected {expected}"),
        };
    }
    message.to_owned()
}

/// A value made of one or more files, made again when they change.
///
/// While the files on disk are unusable, the last good value stays.
pub struct Reloadable<T> {
    paths: Vec<PathBuf>,
    load: Load<T>,
    current: RwLock<Arc<T>>,
    seen: Mutex<[u8; 32]>,
}

/// Makes a value of files that were read, in the order in which their paths were given.
type Load<T> = fn(&[ReadFile]) -> Result<T, FileError>;

/// A file and what it held.
pub(crate) struct ReadFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

impl<T> Reloadable<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// As `load`.
    pub(crate) fn load(paths: Vec<PathBuf>, load: Load<T>) -> Result<Self, FileError> {
        Self::load_first(paths, load, load)
    }

    /// Like [`Self::load`], with rules for the first time that may differ from those for changes: what runs already may
    /// be better than what a file says now.
    pub(crate) fn load_first(paths: Vec<PathBuf>, first: Load<T>, load: Load<T>) -> Result<Self, FileError> {
        let files = read_all(&paths)?;
        let current = RwLock::new(Arc::new(first(&files)?));
        Ok(Self { paths, load, current, seen: Mutex::new(digest(&files)) })
    }

    /// The value now. Ask again for every use.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read())
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// [`FileError`]; the last good value stays.
    pub fn reload(&self) -> Result<(), FileError> {
        self.take(&read_all(&self.paths)?)
    }

    fn take(&self, files: &[ReadFile]) -> Result<(), FileError> {
        let value = Arc::new((self.load)(files)?);
        *self.current.write() = value;
        *self.seen.lock() = digest(files);
        Ok(())
    }

    /// Reads the files again if their contents changed since they were last used. Returns whether it did. Times and
    /// sizes do not count: another file can have the same.
    ///
    /// # Errors
    /// [`FileError`]; the last good value stays, and the next call tries again.
    pub fn reload_if_changed(&self) -> Result<bool, FileError> {
        let files = read_all(&self.paths)?;
        if *self.seen.lock() == digest(&files) {
            return Ok(false);
        }
        self.take(&files).map(|()| true)
    }

    /// Looks for changes every `period`, forever, and logs what it finds. Spawn it.
    pub async fn follow(self: Arc<Self>, period: Duration) {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    /// Looks for changes once, and logs what it finds.
    pub(crate) fn look(&self) {
        match self.reload_if_changed() {
            Ok(false) => {}
            Ok(true) => tracing::info!(files = ?self.paths, "read again after a change"),
            Err(error) => {
                tracing::error!(%error, "a changed file is unusable; the last good one stays in use")
            }
        }
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<ReadFile>, FileError> {
    paths.iter().map(|path| Ok(ReadFile { path: path.clone(), bytes: read(path)? })).collect()
}

fn digest(files: &[ReadFile]) -> [u8; 32] {
    let mut all = Sha256::new();
    for file in files {
        // Each by itself first: otherwise, bytes that move from the end of one to the start of the next would go
        // unnoticed.
        all.update(Sha256::digest(&*file.bytes));
    }
    all.finalize().into()
}
