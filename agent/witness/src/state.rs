//! The folder with what was cosigned last, a file for each log.
//!
//! Kept here: a file is either the head that was kept last or the one before, never a part of one, whenever the machine stops; and
//! one process uses the folder at a time. A file that was damaged is an error, because whoever forgets what it cosigned may cosign a
//! fork. Never restore the folder from a copy.

use crate::witness::{Head, Storage, StorageError};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use strongroom_tlog::{ClaimedCheckpoint, VerifierKey, note};

/// The file that says that a folder is one of these, and whose. It is locked while a witness runs.
const MARK: &str = "witness";

/// The first line of a state file.
const FIRST_LINE: &str = "strongroom-witness-state@v1";

/// The longest state file in bytes.
const MAX_FILE: u64 = note::MAX_LEN as u64 + 256;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no state.
    #[error(
        "{} holds no state of a witness. Was a disk not mounted? If this witness has never run, begin with --new-state; else do not, \
         because it would cosign again what it has refused",
        .0.display()
    )]
    Absent(PathBuf),
    /// There is one already.
    #[error("{} holds the state of a witness already; leave out --new-state", .0.display())]
    Present(PathBuf),
    /// It was being made when the machine stopped, and nothing was cosigned with it.
    #[error("{} was not finished when it was made; nothing was cosigned with it, so begin with --new-state", .0.display())]
    Unfinished(PathBuf),
    /// It is that of another key.
    #[error("{} holds the state of the witness {found}, and the key is that of {expected}; give each key a folder", path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose was expected.
        expected: String,
    },
    /// Another process uses it.
    #[error("another process uses {}; stop it first", .0.display())]
    InUse(PathBuf),
    /// A file is not as it was written.
    #[error(
        "{} is damaged: {what}. Do not delete it: this key could then cosign a fork. Find out why, and if it cannot be repaired, give \
         up the key and begin with a new one and a new folder",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StateError + '_ {
    move |source| StateError::Io { path: path.into(), source }
}

/// The folder, locked.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// Holds the lock.
    _mark: File,
}

impl StateFolder {
    /// Makes the folder of a witness that has never run.
    ///
    /// # Errors
    /// [`StateError`], also if it is one already.
    pub fn create(path: &Path, key: &VerifierKey) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(io_error(path))?;
        let mark = path.join(MARK);
        if has_begun(path)? {
            return Err(StateError::Present(path.into()));
        }
        let begin = OpenOptions::new().write(true).create(true).truncate(false).open(&mark);
        let mut file = begin.map_err(io_error(&mark))?;
        lock(&file, path, &mark)?;
        // Looked at again: another process may have begun meanwhile.
        if has_begun(path)? {
            return Err(StateError::Present(path.into()));
        }
        // Durable: the folder is marked before anything is cosigned.
        file.write_all(format!("{key}\n").as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io_error(&mark))?;
        sync_folder(path)?;
        sync_folder(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        drop(file);
        Self::open(path, key)
    }

    /// Opens the folder of a witness that has run before.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(path: &Path, key: &VerifierKey) -> Result<Self, StateError> {
        let mark = path.join(MARK);
        let file = match File::open(&mark) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(StateError::Absent(path.into())),
            Err(source) => return Err(StateError::Io { path: mark, source }),
        };
        lock(&file, path, &mark)?;
        let mut text = vec![];
        (&file).take(MAX_FILE).read_to_end(&mut text).map_err(io_error(&mark))?;
        if text.is_empty() && !has_begun(path)? {
            return Err(StateError::Unfinished(path.into()));
        }
        let owner = owner(&text).map_err(|what| StateError::Damaged { path: mark, what })?;
        if owner != *key {
            let (found, expected) = (owner.to_string(), key.to_string());
            return Err(StateError::Other { path: path.into(), found, expected });
        }
        Ok(Self { path: path.into(), _mark: file })
    }

    /// The file of a log. Origins may have any characters, and so names are hashes.
    fn file(&self, origin: &str) -> PathBuf {
        self.path.join(format!("{}.state", hex::encode(Sha256::digest(origin))))
    }

    fn read(&self, origin: &str) -> Result<Option<Head>, StateError> {
        let path = self.file(origin);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        let mut text = vec![];
        file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(io_error(&path))?;
        match decode(&text, origin) {
            Ok(head) => Ok(Some(head)),
            Err(what) => Err(StateError::Damaged { path, what }),
        }
    }

    fn write(&self, head: &Head) -> Result<(), StateError> {
        let path = self.file(head.checkpoint.origin());
        let new = path.with_extension("new");
        let mut file = File::create(&new).map_err(io_error(&new))?;
        // Durable: the new file is whole before it takes the place of the old one, and in its place before anyone is told.
        file.write_all(encode(head).as_bytes()).and_then(|()| file.sync_all()).map_err(io_error(&new))?;
        fs::rename(&new, &path).map_err(io_error(&path))?;
        sync_folder(&self.path)
    }
}

impl Storage for StateFolder {
    fn load(&self, origin: &str) -> Result<Option<Head>, StorageError> {
        Ok(self.read(origin)?)
    }

    fn keep(&self, head: &Head) -> Result<(), StorageError> {
        Ok(self.write(head)?)
    }
}

fn lock(mark: &File, folder: &Path, path: &Path) -> Result<(), StateError> {
    match mark.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse(folder.into())),
        Err(TryLockError::Error(source)) => Err(StateError::Io { path: path.into(), source }),
    }
}

/// Whether a witness may have cosigned with what is in this folder: it has a mark that is not empty, or a head.
fn has_begun(path: &Path) -> Result<bool, StateError> {
    for entry in fs::read_dir(path).map_err(io_error(path))? {
        let entry = entry.map_err(io_error(path))?;
        let is_head = Path::new(&entry.file_name()).extension().is_some_and(|kind| kind == "state");
        let is_mark = entry.file_name() == MARK;
        if is_head || is_mark && entry.metadata().map_err(io_error(path))?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whose folder it is, by its mark, or what is wrong with that.
fn owner(mark: &[u8]) -> Result<VerifierKey, &'static str> {
    let text = str::from_utf8(mark).map_err(|_| "it is not UTF-8 text")?;
    let line = text.strip_suffix('\n').ok_or("its line has no end")?;
    line.parse().map_err(|_| "it is not the public key of a witness")
}

fn sync_folder(path: &Path) -> Result<(), StateError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error(path))
}

/// Three lines, an empty one, and the checkpoint: what it is, the hash of what follows, and the time.
fn encode(head: &Head) -> String {
    let rest = format!("time {}\n\n{}", head.time, head.evidence);
    format!("{FIRST_LINE}\nsha256 {}\n{rest}", hex::encode(Sha256::digest(&rest)))
}

/// What is in a state file, or what is wrong with it.
fn decode(text: &[u8], origin: &str) -> Result<Head, &'static str> {
    let text = str::from_utf8(text).map_err(|_| "it is not UTF-8 text")?;
    let rest = text.strip_prefix(FIRST_LINE).and_then(|rest| rest.strip_prefix("\nsha256 "));
    let (hash, rest) =
        rest.and_then(|rest| rest.split_once('\n')).ok_or("it does not begin as a state file does")?;
    if hash != hex::encode(Sha256::digest(rest)) {
        return Err("its checksum is not that of its text");
    }
    let (time, note) = rest.split_once("\n\n").ok_or("a part is missing")?;
    let time = time.strip_prefix("time ").and_then(|time| time.parse().ok()).ok_or("it has no time")?;
    let claimed = ClaimedCheckpoint::parse(note.as_bytes()).map_err(|_| "it has no checkpoint")?;
    if claimed.origin() != origin {
        return Err("it is that of another log");
    }
    let checkpoint = claimed.claimed().clone();
    Ok(Head { checkpoint, time, evidence: claimed.note().clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_tlog::{Checkpoint, KeyName, Note, SignatureType, SigningKey};

    fn head(origin: &str, size: u64) -> Head {
        let key =
            SigningKey::from_seed(KeyName::new("log").unwrap(), SignatureType::Ed25519, &[1; 32]).unwrap();
        let checkpoint = Checkpoint::new(origin, size, strongroom_tlog::proof::empty_root()).unwrap();
        let text = checkpoint.to_string();
        let evidence = Note::new(&*text, vec![key.sign(&text).unwrap()]).unwrap();
        Head { checkpoint, time: 1000 + size, evidence }
    }

    fn key(seed: u8) -> VerifierKey {
        let key = SigningKey::from_seed(KeyName::new("w").unwrap(), SignatureType::Cosignature, &[seed; 32]);
        key.unwrap().verifier().clone()
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(matches!(StateFolder::open(&path, &key(1)), Err(StateError::Absent(_))));
        let state = StateFolder::create(&path, &key(1)).unwrap();
        for size in 0..3 {
            state.write(&head("a/b", size)).unwrap();
        }
        state.write(&head("another log, with spaces", 9)).unwrap();
        drop(state);
        assert!(matches!(StateFolder::create(&path, &key(1)), Err(StateError::Present(_))));
        assert!(matches!(StateFolder::open(&path, &key(2)), Err(StateError::Other { .. })));
        let state = StateFolder::open(&path, &key(1)).unwrap();
        assert_eq!(state.read("a/b").unwrap(), Some(head("a/b", 2)));
        assert_eq!(
            state.read("another log, with spaces").unwrap(),
            Some(head("another log, with spaces", 9))
        );
        assert_eq!(state.read("a").unwrap(), None);
    }

    #[test]
    fn a_mark_that_is_empty_cut_or_changed_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::create(folder.path(), &key(1)).unwrap();
        state.write(&head("log", 3)).unwrap();
        drop(state);
        let mark = folder.path().join(MARK);
        let good = fs::read(&mark).unwrap();
        let cut = (0..good.len()).map(|end| good[..end].to_vec());
        let changed = [[&good[..], b"\n"].concat(), vec![0xff; 40], vec![0; good.len()]];
        for wrong in cut.chain(changed) {
            fs::write(&mark, &wrong).unwrap();
            let error = StateFolder::open(folder.path(), &key(1)).unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }), "{wrong:?}: {error}");
            assert!(error.to_string().contains("Do not delete it"));
            // Nor does it count as new.
            assert!(matches!(StateFolder::create(folder.path(), &key(1)), Err(StateError::Present(_))));
        }
        fs::write(&mark, good).unwrap();
        assert_eq!(
            StateFolder::open(folder.path(), &key(1)).unwrap().read("log").unwrap(),
            Some(head("log", 3))
        );
    }

    #[test]
    fn a_folder_that_was_being_made_when_the_machine_stopped_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MARK), b"").unwrap();
        assert!(matches!(StateFolder::open(folder.path(), &key(1)), Err(StateError::Unfinished(_))));
        drop(StateFolder::create(folder.path(), &key(1)).unwrap());
        assert!(StateFolder::open(folder.path(), &key(1)).is_ok());
        // With a head beside it, it was not being made.
        fs::write(folder.path().join(MARK), b"").unwrap();
        fs::write(folder.path().join("00.state"), b"").unwrap();
        assert!(matches!(StateFolder::open(folder.path(), &key(1)), Err(StateError::Damaged { .. })));
        assert!(matches!(StateFolder::create(folder.path(), &key(1)), Err(StateError::Present(_))));
    }

    #[test]
    fn two_processes_do_not_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::create(folder.path(), &key(1)).unwrap();
        assert!(matches!(StateFolder::open(folder.path(), &key(1)), Err(StateError::InUse(_))));
        drop(state);
        assert!(StateFolder::open(folder.path(), &key(1)).is_ok());
    }

    #[test]
    fn a_file_with_any_byte_changed_cut_or_added_is_damaged() {
        let good = encode(&head("log", 3)).into_bytes();
        assert_eq!(decode(&good, "log"), Ok(head("log", 3)));
        assert!(decode(&good, "other").is_err());
        for place in 0..good.len() {
            assert!(decode(&good[..place], "log").is_err());
            let mut changed = good.clone();
            changed[place] ^= 1;
            assert!(decode(&changed, "log").is_err(), "byte {place}");
        }
        assert!(decode(&[&good[..], b"\n"].concat(), "log").is_err());
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::create(folder.path(), &key(1)).unwrap();
        fs::write(state.file("log"), &good[..50]).unwrap();
        assert!(matches!(state.read("log"), Err(StateError::Damaged { .. })));
        fs::write(state.file("log"), b"").unwrap();
        assert!(matches!(state.read("log"), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn a_half_written_file_beside_it_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::create(folder.path(), &key(1)).unwrap();
        state.write(&head("log", 3)).unwrap();
        fs::write(state.file("log").with_extension("new"), b"strongroom-wit").unwrap();
        assert_eq!(state.read("log").unwrap(), Some(head("log", 3)));
        state.write(&head("log", 4)).unwrap();
        assert_eq!(state.read("log").unwrap(), Some(head("log", 4)));
    }
}
