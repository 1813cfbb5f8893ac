//! Notes: texts with signature lines under them (C2SP signed-note).

use crate::key::{KeyId, KeyName, VerifierKey};
use crate::text;
use core::fmt;

/// The longest note in bytes. Sixteen signatures of five kilobytes, which a verifier must take, are half of it.
pub const MAX_LEN: usize = 256 * 1024;

/// The most signature lines of a note. A verifier must take sixteen.
pub const MAX_SIGNATURES: usize = 100;

/// What is wrong with a note.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// It is longer than [`MAX_LEN`].
    #[error("the note is longer than {MAX_LEN} bytes")]
    TooLong,
    /// It is no UTF-8, or has control characters.
    #[error("the note is not UTF-8 text without control characters")]
    Characters,
    /// It has not the parts of a note.
    #[error("the note is no text that ends with a newline, a blank line, and signature lines")]
    Form,
    /// A line under the text is no signature line.
    #[error("line {0} under the text is no signature line: `— NAME BASE64`")]
    SignatureLine(usize),
    /// It has more than [`MAX_SIGNATURES`] signature lines, or none.
    #[error("a note has 1 to {MAX_SIGNATURES} signature lines")]
    Count,
    /// It has a signature that names a key that is known, and which that key did not make.
    #[error("the signature of {name} (key {id}) is bad; the note was changed, or its signer is at fault")]
    Bad {
        /// The name of the key.
        name: KeyName,
        /// The id of the key.
        id: KeyId,
    },
    /// No key that is known has signed it.
    #[error("no key that is known here has signed the note")]
    Unsigned,
}

/// A signature line: which key it names, and what that key is said to have made. Nothing of it is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    name: KeyName,
    id: KeyId,
    bytes: Vec<u8>,
}

impl Signature {
    /// The signature line for what `key` made of a text: 64 bytes, or [`cosignature::LEN`](crate::cosignature::LEN).
    #[must_use]
    pub fn new(key: &VerifierKey, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: key.name().clone(), id: key.id(), bytes: bytes.into() }
    }

    /// The name of the key.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id of the key.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What the key made, without the id before it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Parses a line, without its newline: `— NAME BASE64`.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
        let name = KeyName::new(name).ok()?;
        let signature = text::base64(signature)?;
        let (id, bytes) = signature.split_first_chunk::<4>()?;
        (!bytes.is_empty()).then(|| Self { name, id: KeyId(*id), bytes: bytes.into() })
    }

    pub(crate) fn is_of(&self, key: &VerifierKey) -> bool {
        self.id == key.id() && self.name == *key.name()
    }
}

/// The line, without a newline.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = [&self.id.0[..], &self.bytes].concat();
        write!(f, "— {} {}", self.name, text::to_base64(&signature))
    }
}

/// That a key has signed a note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed<'k> {
    /// The key, of those that were known.
    pub key: &'k VerifierKey,
    /// When, if it is a cosignature: in seconds since 1970, the latest if there are several.
    pub time: Option<u64>,
}

/// A text and its signatures, none of which is verified: ignore the text until [`Self::verify`] says who signed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// A note of a text, which ends with a newline.
    ///
    /// # Errors
    /// [`NoteError`], if a note may not have this text, or not so many signatures.
    pub fn new(text: impl Into<String>, signatures: Vec<Signature>) -> Result<Self, NoteError> {
        let note = Self { text: text.into(), signatures };
        if note.text.len() > MAX_LEN || note.to_string().len() > MAX_LEN {
            return Err(NoteError::TooLong);
        }
        if !text::is_clean(&note.text) {
            return Err(NoteError::Characters);
        }
        if !note.text.ends_with('\n') {
            return Err(NoteError::Form);
        }
        if !(1..=MAX_SIGNATURES).contains(&note.signatures.len()) {
            return Err(NoteError::Count);
        }
        Ok(note)
    }

    /// Parses a note. What [`Display`](fmt::Display) makes of the note are the same bytes.
    ///
    /// # Errors
    /// [`NoteError`], but for the two of [`Self::verify`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_LEN {
            return Err(NoteError::TooLong);
        }
        let note = core::str::from_utf8(bytes)
            .ok()
            .filter(|note| text::is_clean(note))
            .ok_or(NoteError::Characters)?;
        // The text has its newline, the blank line has not: it is the second of the last two together.
        let blank = note.rfind("\n\n").ok_or(NoteError::Form)? + 1;
        let (text, under) = note.split_at(blank);
        let lines = under[1..].strip_suffix('\n').ok_or(NoteError::Form)?;
        if lines.split('\n').nth(MAX_SIGNATURES).is_some() {
            return Err(NoteError::Count);
        }
        let parse = |(number, line)| Signature::parse(line).ok_or(NoteError::SignatureLine(number + 1));
        let signatures = lines.split('\n').enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), signatures })
    }

    /// The text, with the newline at its end.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The same note with one more signature, instead of earlier ones of that key.
    ///
    /// # Errors
    /// [`NoteError::TooLong`], [`NoteError::Count`].
    pub fn with(mut self, signature: Signature) -> Result<Self, NoteError> {
        self.signatures.retain(|earlier| earlier.name != signature.name || earlier.id != signature.id);
        self.signatures.push(signature);
        Self::new(self.text, self.signatures)
    }

    /// Which of the keys in `known` have signed the text, each once, in the order of the lines. Signatures of other keys are
    /// ignored, even if they have the name or the id of one that is known.
    ///
    /// # Errors
    /// [`NoteError::Bad`] if any signature of a key in `known` is bad, [`NoteError::Unsigned`] if there is none of them.
    pub fn verify<'k>(&self, known: &'k [VerifierKey]) -> Result<Vec<Signed<'k>>, NoteError> {
        let mut found: Vec<Signed<'k>> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = known.iter().find(|key| signature.is_of(key)) else { continue };
            let bad = || NoteError::Bad { name: signature.name.clone(), id: signature.id };
            let time = key.verify(&self.text, &signature.bytes).ok_or_else(bad)?;
            match found.iter_mut().find(|earlier| core::ptr::eq(earlier.key, key)) {
                Some(earlier) => earlier.time = earlier.time.max(time),
                None => found.push(Signed { key, time }),
            }
        }
        if found.is_empty() { Err(NoteError::Unsigned) } else { Ok(found) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}
