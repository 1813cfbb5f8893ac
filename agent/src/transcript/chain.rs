//! Lines that follow one another. That anybody signed them is not known yet.

use super::entry::{Entry, Hex, MAX_LINE_BYTES, line_hash};
use super::fault::{Fault, Wrong};
use std::collections::BTreeSet;
use strongroom_proto::fingerprint::Fingerprint;
use strongroom_proto::ids::Digest;

/// The longest file.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// The most entries.
pub(super) const MAX_ENTRIES: usize = 10_000;

/// The entries of a file, in order, each after the one before it: none was changed, left out, added or moved since they
/// were chained. Whoever holds the file can chain anything anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Each with its hash.
    pub entries: Vec<(Entry, Digest)>,
}

impl Chain {
    /// Reads a file, which may be hostile.
    ///
    /// # Errors
    /// [`Fault`]: the first line that is not what it should be.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let lines = lines(bytes)?;
        let entries = lines.iter().enumerate();
        let entries = entries.map(|(i, line)| entry(line).map_err(|wrong| wrong.at(i.saturating_add(1))));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let first = entries.first().ok_or(Wrong::Empty.at(1))?.0.transcript;
        let mut prev = Digest([0; 32]);
        for (i, (entry, own)) in entries.iter().enumerate() {
            let n = i.saturating_add(1);
            follows(entry, n, prev, first, &entries).map_err(|wrong| wrong.at(n))?;
            prev = *own;
        }
        Ok(Self { entries })
    }

    /// The hash of the last entry.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.entries.last().map_or(Digest([0; 32]), |(_, own)| *own)
    }
}

/// The words by which people compare the head of a transcript.
#[must_use]
pub fn head_words(head: &Digest) -> Fingerprint {
    Fingerprint::of("transcript", &[&head.0])
}

fn lines(bytes: &[u8]) -> Result<Vec<&str>, Fault> {
    if bytes.len() > MAX_BYTES {
        return Err(Wrong::TooLong.at(1));
    }
    let mut lines = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let n = lines.len().saturating_add(1);
        if n > MAX_ENTRIES || line.len() > MAX_LINE_BYTES {
            return Err(Wrong::TooLong.at(n));
        }
        let whole = line.strip_suffix(b"\n").ok_or(Wrong::CutOff.at(n))?;
        let text = std::str::from_utf8(whole);
        lines.push(text.map_err(|_| Wrong::NotAnEntry("it is no UTF-8 text".into()).at(n))?);
    }
    Ok(lines)
}

fn entry(line: &str) -> Result<(Entry, Digest), Wrong> {
    // The message names a place in the line, and never more than a field of it.
    let entry: Entry = serde_json::from_str(line).map_err(|error| {
        let message: String = error.to_string().chars().take(120).flat_map(char::escape_debug).collect();
        Wrong::NotAnEntry(message)
    })?;
    if entry.line() == line { Ok((entry, line_hash(line))) } else { Err(Wrong::NotCanonical) }
}

/// Whether the entry is the one with this number. All entries are needed only to say what else it is.
fn follows(
    entry: &Entry,
    n: usize,
    prev: Digest,
    transcript: Hex<16>,
    all: &[(Entry, Digest)],
) -> Result<(), Wrong> {
    if entry.transcript != transcript {
        return Err(Wrong::OtherTranscript(entry.transcript));
    }
    if usize::try_from(entry.n) != Ok(n) {
        let numbers: BTreeSet<usize> = all.iter().filter_map(|(entry, _)| entry.n.try_into().ok()).collect();
        let is_whole = numbers.len() == all.len() && numbers.first() == Some(&1);
        return Err(if is_whole && numbers.last() == Some(&all.len()) {
            Wrong::Reordered(entry.n)
        } else if numbers.len() < all.len() {
            Wrong::Repeated(entry.n)
        } else {
            Wrong::Missing(entry.n)
        });
    }
    if entry.prev.0 == prev.0 { Ok(()) } else { Err(Wrong::Edited) }
}
