//! A file encrypted with a passphrase, in the format of age: `age -d` and `rage -d` read it, and what `age -p` writes is read
//! here ([C2SP](https://c2sp.org/age), version 1, recipient `scrypt`, one chunk).
//!
//! Only this part of the format: the `age` crate would bring a second generation of the curve (`deny.toml`) into the program
//! that holds custodians' keys.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use scrypt::Params;
use sha2::Sha256;
use zeroize::Zeroizing;

/// What age takes: a second of work, and 256 MiB of memory.
pub const LOG_N: u8 = 18;
/// No more is tried, since a file could ask for any amount of both: 1 GiB. age itself stops at 22.
const MAX_LOG_N: u8 = 20;
const VERSION: &str = "age-encryption.org/v1";
const SALT: &[u8] = b"age-encryption.org/v1/scrypt";
const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";
/// Characters of a line between them, but for the last.
const LINE: usize = 64;
/// No key is longer. One chunk of the format holds more.
const MAX_BYTES: usize = 16 << 10;
/// The nonce of the only chunk, which is the last.
const LAST: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// What is wrong with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AgeError {
    /// Not such a file.
    #[error(
        "not a file that `age -p` writes, for one passphrase and nobody else; decrypt it with age, and name what comes out"
    )]
    Form,
    /// Too costly.
    #[error(
        "its passphrase takes more than 2^20 steps and 1 GiB to try; decrypt it with age, and name what comes out"
    )]
    Work,
    /// The passphrase does not open it.
    #[error("the passphrase is not the one with which it was encrypted, or the file was changed")]
    Passphrase,
    /// It was changed.
    #[error("the passphrase is right, and the file was changed; take another copy of it")]
    Changed,
}

/// Whether it begins as such a file does.
#[must_use]
pub fn is_age(bytes: &[u8]) -> bool {
    bytes.starts_with(VERSION.as_bytes()) || bytes.trim_ascii_start().starts_with(BEGIN.as_bytes())
}

/// Encrypts, to a text. What is drawn must be random, and of one use.
///
/// # Errors
/// [`AgeError::Work`] if `log_n` is more than [`decrypt`] takes.
pub fn encrypt(plain: &[u8], passphrase: &str, log_n: u8, drawn: &[u8; 48]) -> Result<String, AgeError> {
    let (file_key, rest) = drawn.split_at(16);
    let (salt, nonce) = rest.split_at(16);
    let wrapped = seal(&*wrapping_key(passphrase, salt, log_n)?, &[0; 12], file_key)?;
    let (salt, wrapped) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(wrapped));
    let mut header = format!("{VERSION}\n-> scrypt {salt} {log_n}\n{wrapped}\n---");
    let mac = header_mac(file_key, header.as_bytes())?.finalize().into_bytes();
    header.push_str(&format!(" {}\n", STANDARD_NO_PAD.encode(mac)));
    let mut bytes = header.into_bytes();
    bytes.extend_from_slice(nonce);
    bytes.extend(seal(&*payload_key(file_key, nonce)?, &LAST, plain)?);
    let mut text = format!("{BEGIN}\n");
    for line in STANDARD.encode(bytes).as_bytes().chunks(LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)).chain(['\n']));
    }
    Ok(text + END + "\n")
}

/// Whether some passphrase may open it.
///
/// # Errors
/// [`AgeError::Form`] or [`AgeError::Work`].
pub fn check(file: &[u8]) -> Result<(), AgeError> {
    parts(&binary(file)?).map(drop)
}

/// Decrypts.
///
/// # Errors
/// [`AgeError`].
pub fn decrypt(file: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    let bytes = binary(file)?;
    let Parts { header, salt, log_n, wrapped, stated, payload } = parts(&bytes)?;
    let key = wrapping_key(passphrase, &salt, log_n)?;
    let file_key = open(&key, &[0; 12], &wrapped).ok_or(AgeError::Passphrase)?;
    header_mac(&file_key, header)?.verify_slice(&stated).map_err(|_| AgeError::Changed)?;
    let payload = payload.strip_prefix(b"\n").unwrap_or_default();
    let (nonce, sealed) = payload.split_at_checked(16).ok_or(AgeError::Changed)?;
    open(&*payload_key(&file_key, nonce)?, &LAST, sealed).ok_or(AgeError::Changed)
}

/// What a file says, of which nothing is proven.
struct Parts<'a> {
    header: &'a [u8],
    salt: [u8; 16],
    log_n: u8,
    wrapped: [u8; 32],
    stated: [u8; 32],
    payload: &'a [u8],
}

fn binary(file: &[u8]) -> Result<Vec<u8>, AgeError> {
    if file.len() > MAX_BYTES {
        return Err(AgeError::Form);
    }
    if file.starts_with(VERSION.as_bytes()) { Ok(file.to_vec()) } else { unarmored(file) }
}

fn parts(bytes: &[u8]) -> Result<Parts<'_>, AgeError> {
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().ok_or(AgeError::Form);
    let (version, stanza, body, rest) = (line()?, line()?, line()?, line()?);
    if version != VERSION.as_bytes() {
        return Err(AgeError::Form);
    }
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(AgeError::Form)?;
    let (last, payload) = rest.split_at_checked(end).ok_or(AgeError::Form)?;
    let stated = decoded(last.strip_prefix(b"--- ").ok_or(AgeError::Form)?)?;
    let header =
        bytes.get(..bytes.len().saturating_sub(rest.len()).saturating_add(3)).ok_or(AgeError::Form)?;
    let wrapped = decoded(body)?;
    let (salt, log_n) = stanza_of(stanza)?;
    Ok(Parts { header, salt, log_n, wrapped, stated, payload })
}

fn stanza_of(line: &[u8]) -> Result<([u8; 16], u8), AgeError> {
    let text = std::str::from_utf8(line).map_err(|_| AgeError::Form)?;
    let arguments = text.strip_prefix("-> scrypt ").and_then(|rest| rest.split_once(' '));
    let (salt, work) = arguments.ok_or(AgeError::Form)?;
    let salt = decoded(salt.as_bytes())?;
    if work.is_empty() || work.starts_with('0') || !work.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AgeError::Form);
    }
    match work.parse() {
        Ok(log_n) if log_n <= MAX_LOG_N => Ok((salt, log_n)),
        _ => Err(AgeError::Work),
    }
}

/// What is between the first line and the last, of which each is full but the last.
fn unarmored(file: &[u8]) -> Result<Vec<u8>, AgeError> {
    let text = std::str::from_utf8(file).map_err(|_| AgeError::Form)?.trim_ascii();
    let inner = text.strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END)).ok_or(AgeError::Form)?;
    let inner = inner.strip_prefix("\r\n").or_else(|| inner.strip_prefix('\n')).ok_or(AgeError::Form)?;
    let mut lines = inner.lines().peekable();
    let mut body = String::with_capacity(inner.len());
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none();
        if line.is_empty() || line.len() > LINE || line.len() < LINE && !is_last {
            return Err(AgeError::Form);
        }
        body.push_str(line);
    }
    if !inner.ends_with('\n') {
        return Err(AgeError::Form);
    }
    STANDARD.decode(body).map_err(|_| AgeError::Form)
}

fn decoded<const N: usize>(text: &[u8]) -> Result<[u8; N], AgeError> {
    STANDARD_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(AgeError::Form)
}

fn wrapping_key(passphrase: &str, salt: &[u8], log_n: u8) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    let params = Params::new(log_n, 8, 1).ok().filter(|_| log_n <= MAX_LOG_N).ok_or(AgeError::Work)?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase.as_bytes(), &[SALT, salt].concat(), &params, &mut *key)
        .map_err(|_| AgeError::Work)?;
    Ok(key)
}

fn derived(file_key: &[u8], salt: Option<&[u8]>, info: &[u8]) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(salt, file_key).expand(info, &mut *key).map_err(|_| AgeError::Form)?;
    Ok(key)
}

fn payload_key(file_key: &[u8], nonce: &[u8]) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    derived(file_key, Some(nonce), b"payload")
}

fn header_mac(file_key: &[u8], header: &[u8]) -> Result<Hmac<Sha256>, AgeError> {
    let key = derived(file_key, None, b"header")?;
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*key).map_err(|_| AgeError::Form)?;
    mac.update(header);
    Ok(mac)
}

fn seal(key: &[u8; 32], nonce: &[u8; 12], plain: &[u8]) -> Result<Vec<u8>, AgeError> {
    ChaCha20Poly1305::new(key.into()).encrypt(&Nonce::from(*nonce), plain).map_err(|_| AgeError::Form)
}

fn open(key: &[u8; 32], nonce: &[u8; 12], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    ChaCha20Poly1305::new(key.into()).decrypt(&Nonce::from(*nonce), sealed).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn encrypted() -> String {
        encrypt(b"a key in PEM", "correct horse", 4, &[7; 48]).unwrap()
    }

    #[test]
    fn what_is_encrypted_opens_with_its_passphrase_alone() {
        let file = encrypted();
        assert!(is_age(file.as_bytes()) && !file.contains("PEM"));
        assert_eq!(&**decrypt(file.as_bytes(), "correct horse").unwrap(), b"a key in PEM");
        for wrong in ["wrong horse", "", "correct horse "] {
            assert_eq!(decrypt(file.as_bytes(), wrong).unwrap_err(), AgeError::Passphrase);
        }
        assert_eq!(encrypt(b"", "x", 21, &[0; 48]), Err(AgeError::Work));
    }

    #[test]
    fn a_file_that_was_changed_or_cut_off_does_not_open() {
        let binary = unarmored(encrypted().as_bytes()).unwrap();
        assert!(is_age(&binary));
        assert_eq!(&**decrypt(&binary, "correct horse").unwrap(), b"a key in PEM");
        let work = binary.windows(3).position(|part| part == b" 4\n").unwrap() + 1;
        for at in 0..binary.len() {
            let mut changed = binary.clone();
            // Another work factor may take long to try.
            changed[at] ^= if at == work { 1 } else { 0x81 };
            assert!(decrypt(&changed, "correct horse").is_err(), "byte {at}");
            assert!(decrypt(&binary[..at], "correct horse").is_err(), "cut at {at}");
        }
        assert_eq!(decrypt(&[&binary[..], b"x"].concat(), "correct horse").unwrap_err(), AgeError::Changed);
    }

    #[test]
    fn a_file_that_asks_for_too_much_or_is_for_others_is_refused() {
        let file = |stanza: &str| format!("{VERSION}\n{stanza}\n{0}\n--- {0}\n", "A".repeat(43));
        let salt = STANDARD_NO_PAD.encode([0; 16]);
        let tried = |stanza: &str| {
            let error = decrypt(file(stanza).as_bytes(), "x").unwrap_err();
            assert_eq!(check(file(stanza).as_bytes()), Err(error));
            error
        };
        for work in ["21", "22", "99", "256", "99999999999999999999"] {
            assert_eq!(tried(&format!("-> scrypt {salt} {work}")), AgeError::Work);
        }
        for stanza in ["-> X25519 abc", "-> scrypt AA 4", "-> scrypt", ""] {
            assert_eq!(tried(stanza), AgeError::Form);
        }
        for work in ["04", "+4", "0", "", "4 5", "4 "] {
            assert_eq!(tried(&format!("-> scrypt {salt} {work}")), AgeError::Form);
        }
        assert_eq!(decrypt(&vec![b'a'; MAX_BYTES + 1], "x").unwrap_err(), AgeError::Form);
    }

    #[test]
    fn the_lines_of_a_text_are_full_but_the_last() {
        let file = encrypted();
        let opens = |text: &str| decrypt(text.as_bytes(), "correct horse").is_ok();
        assert!(opens(&file) && opens(&file.replace('\n', "\r\n")) && opens(&format!("\n\n {file} \n")));
        let second = file.lines().nth(1).unwrap();
        let (short, long) = second.split_at(60);
        for (from, to) in [
            (second, &*format!("{short}\n{long}")),
            (&format!("{second}\n"), second),
            (&format!("{second}\n"), &format!("{second}\n\n")),
            (&format!("{BEGIN}\n"), BEGIN),
            (&format!("\n{END}"), END),
            (END, "-----END AGE FILE-----"),
            (END, ""),
            ("=", ""),
        ] {
            let changed = file.replace(from, to);
            assert!(changed == file || !opens(&changed), "{from} {to}");
        }
        assert!(!opens(&format!("x{file}")) && !opens(&format!("{file}x")));
    }

    /// Files of the age project's test kit: each says what must come of it.
    #[test]
    fn the_files_of_the_test_kit_of_age_come_to_what_they_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept/age");
        let mut tried = 0;
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            let bytes = std::fs::read(&file).unwrap();
            let Some(end) = bytes.windows(2).position(|part| part == b"\n\n") else { continue };
            let head = std::str::from_utf8(&bytes[..end]).unwrap();
            let said: BTreeMap<&str, &str> = head.lines().filter_map(|line| line.split_once(": ")).collect();
            let came = decrypt(&bytes[end + 2..], said.get("passphrase").copied().unwrap_or_default());
            let is_right = match (said["expect"], &came) {
                ("success", Ok(plain)) => hex::encode(Sha256::digest(&**plain)) == said["payload"],
                // A stanza of another kind is one that nobody here can open.
                ("no match", Err(AgeError::Passphrase | AgeError::Form)) => true,
                ("header failure", Err(AgeError::Form | AgeError::Work)) => true,
                ("HMAC failure" | "payload failure", Err(AgeError::Changed)) => true,
                _ => false,
            };
            assert!(is_right, "{}: {came:?}", file.display());
            tried += 1;
        }
        assert!(tried > 24, "{tried} were found");
    }
}
