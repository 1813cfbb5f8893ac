//! A transcript in a file, to which steps append.
//!
//! What is there is read and checked before anything is added, the file is locked meanwhile, and each entry is on the
//! disk before the ceremony goes on.

use super::chain::{Chain, MAX_BYTES, MAX_ENTRIES};
use super::entry::{Entry, Event, FORMAT, Hex, MAX_LINE_BYTES, Step, line_hash};
use super::fault::{Fault, Wrong};
use super::story::Story;
use crate::file::sync_folder_of;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use strongroom_proto::ids::Digest;
use time::OffsetDateTime;

/// A step begins only where this many entries fit, of any length: its own three or four, and after them the end with the
/// signatures of nine custodians, without which a full file could never be whole.
const ROOM: usize = 16;

/// A transcript cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    /// The system refused.
    #[error(
        "the transcript {} cannot be read or written ({source}), and no ceremony goes on without it; name a file that you may write \
         with `--transcript FILE`", path.display()
    )]
    System {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else writes to it.
    #[error("another command writes to the transcript {}: wait until it has ended, and run this again", .0.display())]
    Busy(PathBuf),
    /// It is as long as a transcript may be.
    #[error(
        "nothing was done: the transcript {} is full; have the custodians end it with `realm transcript sign`, keep it, and go on in \
         a new one: `--transcript FILE`", .0.display()
    )]
    Full(PathBuf),
    /// What is there is not what was written.
    #[error(
        "nothing was done: the transcript {} is damaged. {fault}. Keep that file for whoever asks, find out who changed it, and go on \
         with a copy from before, or with a new one: `--transcript FILE`", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// It is about another realm.
    #[error(
        "nothing was done: the transcript {} is about realm {realm}; name the file of the realm that you mean with `--transcript \
         FILE`, or a new one", path.display()
    )]
    OtherRealm {
        /// The file.
        path: PathBuf,
        /// The realm that it is about.
        realm: Hex<16>,
    },
    /// A rehearsal and what is meant do not mix.
    #[error(
        "nothing was done: {} is the transcript of a {}, which never goes on as the other; name another file with `--transcript FILE`",
        path.display(), if *rehearsal { "REHEARSAL" } else { "real ceremony" }
    )]
    Rehearsal {
        /// The file.
        path: PathBuf,
        /// What the file is.
        rehearsal: bool,
    },
    /// A step contradicts what is in the transcript.
    #[error(
        "nothing was done: this step does not go with the transcript {}: {fault}. Look again at what you were given, and name the file \
         of its ceremony with `--transcript FILE`", path.display()
    )]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// What happened makes no sense after what is in the transcript.
    #[error("this does not go with the transcript {}: {fault}", path.display())]
    Senseless {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
}

/// A transcript that holds what was written, locked for this process.
#[derive(Debug)]
pub struct TranscriptFile {
    path: PathBuf,
    file: File,
    len: u64,
    story: Story,
}

impl TranscriptFile {
    /// Opens a transcript to add to it, and begins one where there is no file.
    ///
    /// # Errors
    /// [`TranscriptError`]; then nothing was written.
    pub fn open(path: &Path, rehearsal: bool, now: u64) -> Result<Self, TranscriptError> {
        let system = |source| TranscriptError::System { path: path.into(), source };
        let (mut own, bytes) = Self::locked(path, true)?;
        if bytes.is_empty() {
            let mut id = [0; 16];
            getrandom::fill(&mut id).map_err(|error| system(io::Error::other(error.to_string())))?;
            own.story.transcript = Some(Hex(id));
            own.append(Event::Begun { format: FORMAT, rehearsal }, now)?;
            sync_folder_of(path).map_err(system)?;
            return Ok(own);
        }
        own.told_by(&bytes, rehearsal)
    }

    /// Opens a transcript that somebody has begun, to sign it: there is nothing to sign where there is none.
    ///
    /// # Errors
    /// [`TranscriptError`]; then nothing was written.
    pub fn existing(path: &Path, rehearsal: bool) -> Result<Self, TranscriptError> {
        let (own, bytes) = Self::locked(path, false)?;
        own.told_by(&bytes, rehearsal)
    }

    fn locked(path: &Path, create: bool) -> Result<(Self, Vec<u8>), TranscriptError> {
        let system = |source| TranscriptError::System { path: path.into(), source };
        is_no_pipe(path).map_err(system)?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(create).mode(0o644);
        let file = options.open(path).map_err(system)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => TranscriptError::Busy(path.into()),
            TryLockError::Error(source) => system(source),
        })?;
        let bytes = bounded(&file).map_err(system)?;
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok((Self { path: path.into(), file, len, story: Story::default() }, bytes))
    }

    /// The same, with what is in it.
    fn told_by(mut self, bytes: &[u8], rehearsal: bool) -> Result<Self, TranscriptError> {
        let read = Chain::read(bytes).and_then(|chain| Story::of(&chain));
        self.story = read.map_err(|fault| TranscriptError::Damaged { path: self.path.clone(), fault })?;
        match self.story.rehearsal {
            is if is == rehearsal => Ok(self),
            rehearsal => Err(TranscriptError::Rehearsal { path: self.path, rehearsal }),
        }
    }

    /// Reads a transcript without adding to it.
    ///
    /// # Errors
    /// [`TranscriptError::System`].
    pub fn bytes(path: &Path) -> Result<Vec<u8>, TranscriptError> {
        let system = |source| TranscriptError::System { path: path.into(), source };
        is_no_pipe(path).map_err(system)?;
        File::open(path).and_then(|file| bounded(&file)).map_err(system)
    }

    /// What it tells so far.
    #[must_use]
    pub const fn story(&self) -> &Story {
        &self.story
    }

    /// Writes that a step begins.
    ///
    /// # Errors
    /// [`TranscriptError`]; then nothing was written, and the step must not begin.
    pub fn start(&mut self, step: Step, now: u64) -> Result<(), TranscriptError> {
        let other = |realm| TranscriptError::OtherRealm { path: self.path.clone(), realm };
        match (self.story.realm(), step.realm()) {
            (Some(known), Some(named)) if known != named => return Err(other(known)),
            // An HSM makes a realm of its own.
            (Some(known), None) if matches!(step, Step::Create(_)) => return Err(other(known)),
            _ => {}
        }
        let bytes = u64::try_from(ROOM.saturating_mul(MAX_LINE_BYTES)).unwrap_or(u64::MAX);
        if self.story.entries.saturating_add(ROOM) > MAX_ENTRIES
            || self.len.saturating_add(bytes) > MAX_BYTES as u64
        {
            return Err(TranscriptError::Full(self.path.clone()));
        }
        self.append(Event::Started(step), now).map_err(|error| match error {
            TranscriptError::Senseless { path, fault } => TranscriptError::Unfit { path, fault },
            error => error,
        })
    }

    /// Writes what happened.
    ///
    /// # Errors
    /// [`TranscriptError`]; then nothing was written.
    pub fn append(&mut self, event: Event, now: u64) -> Result<(), TranscriptError> {
        let system = |source| TranscriptError::System { path: self.path.clone(), source };
        let n = self.story.entries.saturating_add(1);
        let transcript = self.story.transcript.unwrap_or(Hex([0; 16]));
        let entry = Entry {
            n: u32::try_from(n).unwrap_or(u32::MAX),
            prev: Hex(self.story.head.unwrap_or(Digest([0; 32])).0),
            transcript,
            time: time(now),
            program: crate::BUILD.into(),
            event,
        };
        let mut line = entry.line();
        let mut next = self.story.clone();
        let senseless =
            |wrong: Wrong| TranscriptError::Senseless { path: self.path.clone(), fault: wrong.at(n) };
        next.take(&entry, line_hash(&line)).map_err(senseless)?;
        line.push('\n');
        let added = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let len = self.len.saturating_add(added);
        if n > MAX_ENTRIES || line.len() > MAX_LINE_BYTES || len > MAX_BYTES as u64 {
            return Err(system(io::Error::other("it would be longer than a transcript may be")));
        }
        // Durable: what is not on the disk did not happen.
        if let Err(source) = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()) {
            // Half a line would make the file one that was cut off.
            let _ = self.file.set_len(self.len);
            return Err(system(source));
        }
        (self.len, self.story) = (len, next);
        Ok(())
    }

    /// The file, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether there is a file, or nothing. To open a pipe or a device may take for ever.
fn is_no_pipe(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::other("it is not a file"));
    }
    Ok(())
}

/// All of a file, or as much as tells that it is too long.
fn bounded(mut file: &File) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take((MAX_BYTES as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Unix time in seconds, for people.
fn time(now: u64) -> String {
    let at = i64::try_from(now).ok().and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok());
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}
