//! NVRAM in a file: a flash emulated on a locked file, so that software and firmware share the rules of
//! [`strongroom_hsm::nvram`].
//!
//! | Bytes | What |
//! |---|---|
//! | 64 | a warning to the person who opens the file |
//! | 12 | units, bytes of a unit, bytes of a granule; four bytes each, big-endian |
//! | to 4096 | zero |
//! | units × unit | the flash |
//!
//! A file is created whole under another name and then renamed, so one with the right name is never half made. The
//! lock stays for as long as the [`FileFlash`] lives, and ends with the process at the latest.

use crate::Error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use strongroom_hsm::{Flash, FlashError, Geometry};

/// The shape of every NVRAM file: four units of 64 KiB, granules of eight bytes.
pub const FILE_GEOMETRY: Geometry = Geometry { units: 4, unit_bytes: 64 << 10, write_bytes: 8 };

const WARNING: &[u8; 64] = b"Strongroom simulated NVRAM 1. Never copy, restore or snapshot.\n\0";
const HEADER_BYTES: usize = 4096;
const FLASH_BYTES: usize = FILE_GEOMETRY.units as usize * FILE_GEOMETRY.unit_bytes as usize;
const FILE_BYTES: u64 = (HEADER_BYTES + FLASH_BYTES) as u64;
const ERASED: u8 = 0xff;

/// A flash in a file that no one else has open as one.
#[derive(Debug)]
pub struct FileFlash {
    file: File,
}

impl FileFlash {
    /// Opens and locks the NVRAM file at `path`; makes an empty one, readable by this user only, when there is none.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NotNvram`], [`Error::WrongSize`], [`Error::File`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::create(path),
            Err(source) => return Err(Error::File { action: "open", path: path.into(), source }),
        };
        Self::check(file, path)
    }

    fn check(file: File, path: &Path) -> Result<Self, Error> {
        lock(&file, path)?;
        let failed = |source| Error::File { action: "read", path: path.into(), source };
        let expected = header();
        let mut found = vec![0; HEADER_BYTES];
        match file.read_exact_at(&mut found, 0) {
            Ok(()) if found == expected => {}
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(failed(error)),
            _ => return Err(Error::NotNvram { path: path.into() }),
        }
        let found = file.metadata().map_err(failed)?.len();
        if found != FILE_BYTES {
            return Err(Error::WrongSize { path: path.into(), found, expected: FILE_BYTES });
        }
        Ok(Self { file })
    }

    fn create(path: &Path) -> Result<Self, Error> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let draft = path.with_file_name(name);
        let failed = |source| Error::File { action: "create", path: path.into(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&draft).map_err(failed)?;
        lock(&file, path)?;
        // Whoever else created the file did so under the lock of the draft that became it. So if it is absent now,
        // it stays absent until the rename below.
        match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
            Ok(winner) => {
                // Another that came too late may have removed it; no draft is wanted any more.
                let _ = std::fs::remove_file(&draft);
                return Self::check(winner, path);
            }
        }
        fill(&file).and_then(|()| std::fs::rename(&draft, path)).map_err(failed)?;
        // Durable: the name, before anything is stated that rests on what it names.
        sync_folder_of(path).map_err(failed)?;
        Ok(Self { file })
    }

    fn position(unit: u32, offset: u32, len: usize, granule: u32) -> Result<u64, FlashError> {
        let Geometry { units, unit_bytes, .. } = FILE_GEOMETRY;
        let end = u32::try_from(len).ok().and_then(|len| offset.checked_add(len));
        let end = end.filter(|end| unit < units && *end <= unit_bytes).ok_or(FlashError::OutOfRange)?;
        if !offset.is_multiple_of(granule) || !end.is_multiple_of(granule) {
            return Err(FlashError::OutOfRange);
        }
        Ok(HEADER_BYTES as u64 + u64::from(unit) * u64::from(unit_bytes) + u64::from(offset))
    }

    fn write(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)?;
        // Durable: the log above counts on what was written before it writes the next thing.
        self.file.sync_data()
    }
}

impl Flash for FileFlash {
    fn geometry(&self) -> Geometry {
        FILE_GEOMETRY
    }

    fn read(&mut self, unit: u32, offset: u32, out: &mut [u8]) -> Result<(), FlashError> {
        let position = Self::position(unit, offset, out.len(), 1)?;
        self.file.read_exact_at(out, position).map_err(|error| report(&error, FlashError::Read))
    }

    fn program(&mut self, unit: u32, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let position = Self::position(unit, offset, bytes.len(), FILE_GEOMETRY.write_bytes)?;
        let mut cells = zeroize::Zeroizing::new(vec![0; bytes.len()]);
        self.read(unit, offset, &mut cells)?;
        // As in a flash, a program only clears bits; a caller that hoped for more reads back something else.
        cells.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        self.write(&cells, position).map_err(|error| report(&error, FlashError::Program))
    }

    fn erase(&mut self, unit: u32) -> Result<(), FlashError> {
        let position = Self::position(unit, 0, 0, FILE_GEOMETRY.write_bytes)?;
        let blank = vec![ERASED; FILE_GEOMETRY.unit_bytes as usize];
        self.write(&blank, position).map_err(|error| report(&error, FlashError::Erase))
    }
}

fn report(error: &io::Error, kind: FlashError) -> FlashError {
    tracing::error!(%error, "a part of the NVRAM file failed: check the disk. The HSM does without it from now on, or stops if too little is left");
    kind
}

fn lock(file: &File, path: &Path) -> Result<(), Error> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Error::Locked { path: path.into() },
        TryLockError::Error(source) => Error::File { action: "lock", path: path.into(), source },
    })
}

fn header() -> Vec<u8> {
    let Geometry { units, unit_bytes, write_bytes } = FILE_GEOMETRY;
    let mut header = WARNING.to_vec();
    header.extend([units, unit_bytes, write_bytes].iter().flat_map(|n| n.to_be_bytes()));
    header.resize(HEADER_BYTES, 0);
    header
}

fn fill(file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(&header(), 0)?;
    file.write_all_at(&vec![ERASED; FLASH_BYTES], HEADER_BYTES as u64)?;
    file.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf))?.sync_all()
}
