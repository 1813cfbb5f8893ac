//! Checkpoints that a reader keeps, to compare with the next time: several notes in one file, a blank line between them.

use strongroom_tlog::ClaimedCheckpoint;

/// The longest file, in bytes.
const MAX_FILE: usize = 8 * 1024 * 1024;

/// What the lines of signatures begin with.
const SIGNATURE: &str = "— ";

/// That a file has no checkpoints in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadFile {
    /// It is longer than any that is written here.
    #[error("it is longer than {MAX_FILE} bytes")]
    TooLong,
    /// It is no text.
    #[error("it is no text; give a file that --save wrote, or a signed checkpoint")]
    Text,
    /// A part of it is no checkpoint.
    #[error("note {0} in it is no signed checkpoint; give a file that --save wrote, or a signed checkpoint")]
    Note(usize),
    /// It has none.
    #[error("it has no checkpoint in it; give a file that --save wrote, or a signed checkpoint")]
    Empty,
}

/// The file that keeps these.
#[must_use]
pub fn write_checkpoints(checkpoints: &[ClaimedCheckpoint]) -> String {
    checkpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads such a file, or one with a single checkpoint as a log publishes it. Nothing in it is verified.
///
/// # Errors
/// [`BadFile`].
pub fn read_checkpoints(bytes: &[u8]) -> Result<Vec<ClaimedCheckpoint>, BadFile> {
    if bytes.len() > MAX_FILE {
        return Err(BadFile::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BadFile::Text)?;
    let (mut notes, mut note, mut is_signed) = (Vec::new(), String::new(), false);
    for line in text.split_inclusive('\n') {
        let is_signature = line.starts_with(SIGNATURE);
        // A signature ends a note, as soon as something else follows.
        if is_signed && !is_signature {
            notes.push(std::mem::take(&mut note));
            is_signed = false;
            // The blank line between two.
            if line == "\n" {
                continue;
            }
        }
        is_signed |= is_signature;
        note.push_str(line);
    }
    if !note.is_empty() {
        notes.push(note);
    }
    if notes.is_empty() {
        return Err(BadFile::Empty);
    }
    let parse = |(place, note): (usize, &String)| {
        ClaimedCheckpoint::parse(note.as_bytes()).map_err(|_| BadFile::Note(place + 1))
    };
    notes.iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_tlog::{Checkpoint, KeyName, Note, SignatureType, SigningKey};

    fn checkpoint(origin: &str, signatures: u8) -> ClaimedCheckpoint {
        let text = Checkpoint::new(origin, 7, strongroom_proto::ids::TreeHash([9; 32])).unwrap().to_string();
        let sign = |seed| {
            let name = KeyName::new(format!("key-{seed}")).unwrap();
            SigningKey::from_seed(name, SignatureType::Ed25519, &[seed; 32]).unwrap().sign(&text).unwrap()
        };
        Note::new(text.clone(), (0..signatures).map(sign).collect()).unwrap().try_into().unwrap()
    }

    #[test]
    fn a_file_reads_as_it_was_written() {
        let all = [checkpoint("a", 1), checkpoint("b/c", 3), checkpoint("d", 2)];
        for some in [&all[..1], &all[..2], &all] {
            assert_eq!(read_checkpoints(write_checkpoints(some).as_bytes()).unwrap(), some);
        }
        assert_eq!(read_checkpoints(all[1].to_string().as_bytes()).unwrap(), all[1..2]);
    }

    #[test]
    fn what_is_no_file_of_checkpoints_is_refused() {
        let whole = write_checkpoints(&[checkpoint("a", 1), checkpoint("b", 1)]);
        assert_eq!(read_checkpoints(b""), Err(BadFile::Empty));
        assert_eq!(read_checkpoints(b"\xff"), Err(BadFile::Text));
        assert_eq!(read_checkpoints(&vec![b'a'; MAX_FILE + 1]), Err(BadFile::TooLong));
        for cut in 1..whole.len() {
            let Some(part) = whole.get(..cut) else { continue };
            let read = read_checkpoints(part.as_bytes());
            assert!(read.is_err() || read.unwrap() == [checkpoint("a", 1)], "{cut} bytes");
        }
        assert_eq!(read_checkpoints(format!("{whole}more\n").as_bytes()), Err(BadFile::Note(3)));
    }
}
