//! How far a consumer is in each group, and the file in which it keeps that.
//!
//! Owns what of the file survives a crash: the whole of what was saved last, or the whole of what was saved before it.

use crate::page::Reach;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use strongroom_proto::ids::{EntryHash, GroupId, Index, RealmId};

/// The most groups in which a tenant has streams.
pub const MAX_GROUPS: usize = 4096;
/// The longest file, in bytes: a line for each group, and the head.
const MAX_FILE: u64 = 2 << 20;
/// The first line; its number is the version.
const HEAD: &str = "strongroom-events offsets 1";
/// What stands where something is not known.
const UNKNOWN: &str = "-";

/// How far a consumer is in one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offset {
    /// The page in which the next event is, or will be.
    pub page: u64,
    /// The sequence number of the next event. `None`: that with which the page begins.
    pub sequence: Option<u64>,
    /// What the page has to follow, once one before it was read.
    pub follows: Option<Follows>,
}

/// What a page says of the pages before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Follows {
    /// The sequence number of its first event.
    pub first: u64,
    /// What the pages before it cover.
    pub after: Reach,
}

impl Offset {
    /// The beginning of a stream.
    pub const FIRST: Self = Self { page: 0, sequence: Some(0), follows: None };
}

/// As `PAGE` or `PAGE:SEQUENCE`.
impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sequence {
            Some(sequence) => write!(f, "{}:{sequence}", self.page),
            None => write!(f, "{}", self.page),
        }
    }
}

/// Not an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an offset is PAGE or PAGE:SEQUENCE, two whole numbers")]
pub struct NoOffset;

impl FromStr for Offset {
    type Err = NoOffset;

    fn from_str(text: &str) -> Result<Self, NoOffset> {
        let (page, sequence) = match text.split_once(':') {
            Some((page, sequence)) => (page, Some(sequence.parse().map_err(|_| NoOffset)?)),
            None => (text, None),
        };
        Ok(Self { page: page.parse().map_err(|_| NoOffset)?, sequence, follows: None })
    }
}

/// How far a consumer is in all groups. A group that is not among them is read from its beginning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offsets {
    /// The realm.
    pub realm: RealmId,
    /// The tenant.
    pub tenant: String,
    /// By group; at most [`MAX_GROUPS`].
    pub groups: BTreeMap<GroupId, Offset>,
}

/// Why there are no offsets, or why they were not kept.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; check the path, and who may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written. What was saved before is still there.
    #[error(
        "cannot write {}: {source}; check the path and the disk. What was printed since the last time is printed again", path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no offsets.
    #[error(
        "{}, line {line}: not what this command writes; restore the file, or name another and say where to begin", path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// It holds those of another stream.
    #[error("{} is of another realm or tenant; name another file", .0.display())]
    Other(PathBuf),
}

impl Offsets {
    /// Those of a consumer that has read nothing.
    #[must_use]
    pub fn none(realm: RealmId, tenant: &str) -> Self {
        Self { realm, tenant: tenant.to_owned(), groups: BTreeMap::new() }
    }

    /// Reads what was saved for this tenant last. `None`: there is no such file.
    ///
    /// # Errors
    /// [`OffsetsError`], but for `Write`.
    pub fn open(path: &Path, realm: RealmId, tenant: &str) -> Result<Option<Self>, OffsetsError> {
        let failed = |source| OffsetsError::Read { path: path.into(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let mut text = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(failed)?;
        let offsets =
            Self::parse(&text).map_err(|line| OffsetsError::Malformed { path: path.into(), line })?;
        if (offsets.realm, offsets.tenant.as_str()) == (realm, tenant) {
            Ok(Some(offsets))
        } else {
            Err(OffsetsError::Other(path.into()))
        }
    }

    /// Keeps them in a file, in the place of what it held. Once this returns they survive a crash; until then either they do, or what was
    /// there before.
    ///
    /// # Errors
    /// [`OffsetsError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), OffsetsError> {
        self.save_on(&mut System, path)
    }

    /// The same, on this disk.
    ///
    /// # Errors
    /// [`OffsetsError::Write`].
    pub fn save_on<D: Disk>(&self, disk: &mut D, path: &Path) -> Result<(), OffsetsError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut put = || {
            let mut file = disk.create(&beside)?;
            disk.write(&mut file, self.to_text().as_bytes())?;
            // Durable: a name that is moved to bytes that are not there would lose both.
            disk.sync(&file)?;
            disk.rename(&beside, path)?;
            disk.sync_folder(path)
        };
        put().map_err(|source| OffsetsError::Write { path: path.into(), source })
    }

    /// The text of the file: a line for each group, with the page, the sequence number, and what the page follows.
    ///
    /// # Panics
    /// Never: a string takes all text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\nrealm {}\ntenant {}\n", self.realm, hex::encode(&self.tenant));
        for (group, Offset { page, sequence, follows }) in &self.groups {
            let sequence = sequence.map_or(UNKNOWN.to_owned(), |sequence| sequence.to_string());
            let follows = match follows {
                Some(Follows { first, after: Reach { index, hash } }) => {
                    format!("{first} {} {}", index.0, hex::encode(hash.0))
                }
                None => UNKNOWN.to_owned(),
            };
            writeln!(text, "{group} {page} {sequence} {follows}").expect("a string takes all text");
        }
        text + "end\n"
    }

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// The number of the first line that is none of its.
    pub fn parse(text: &[u8]) -> Result<Self, usize> {
        let text = std::str::from_utf8(text).map_err(|_| 1_usize)?;
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(1);
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let realm = field("realm").and_then(|id| id.parse().ok()).ok_or(2_usize)?;
        let tenant = field("tenant").and_then(|name| String::from_utf8(hex::decode(name).ok()?).ok());
        let mut offsets = Self::none(realm, &tenant.ok_or(3_usize)?);
        for (number, line) in (4..).zip(lines.by_ref()) {
            if line == "end" {
                // Byte for byte: whoever changed it by hand may have meant something else.
                return if offsets.to_text() == text { Ok(offsets) } else { Err(number) };
            }
            let (group, offset) = parse_group(line).ok_or(number)?;
            offsets.groups.insert(group, offset);
            if offsets.groups.len() > MAX_GROUPS {
                return Err(number);
            }
        }
        Err(text.lines().count())
    }
}

fn parse_group(line: &str) -> Option<(GroupId, Offset)> {
    let mut words = line.split(' ');
    let group = words.next()?.parse().ok()?;
    let page = words.next()?.parse().ok()?;
    let sequence = match words.next()? {
        UNKNOWN => None,
        sequence => Some(sequence.parse().ok()?),
    };
    let follows = match words.next()? {
        UNKNOWN => None,
        first => {
            let index = Index(words.next()?.parse().ok()?);
            let hash = EntryHash(hex::decode(words.next()?).ok()?.try_into().ok()?);
            Some(Follows { first: first.parse().ok()?, after: Reach { index, hash } })
        }
    };
    words.next().is_none().then_some((group, Offset { page, sequence, follows }))
}

/// Where files are: that of the system, or one in a test that fails and forgets.
pub trait Disk {
    /// A file that is being written.
    type File;

    /// A new and empty file, in the place of one that is there.
    ///
    /// # Errors
    /// That of the system, as for all of these.
    fn create(&mut self, path: &Path) -> io::Result<Self::File>;

    /// Writes to it. A crash may still take it back, or a part of it.
    ///
    /// # Errors
    /// That of the system.
    fn write(&mut self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;

    /// Sees that what was written is on the disk.
    ///
    /// # Errors
    /// That of the system.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;

    /// Gives a file the name of another, in one step. A crash may still take it back.
    ///
    /// # Errors
    /// That of the system.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Sees that the names in the folder of this file are on the disk.
    ///
    /// # Errors
    /// That of the system.
    fn sync_folder(&mut self, of: &Path) -> io::Result<()>;
}

/// The system's files.
#[derive(Debug)]
pub struct System;

impl Disk for System {
    type File = File;

    fn create(&mut self, path: &Path) -> io::Result<File> {
        File::create(path)
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&mut self, of: &Path) -> io::Result<()> {
        let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}
