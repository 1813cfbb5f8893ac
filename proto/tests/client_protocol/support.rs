//! Reading of vectors, and a generator that plays draws back. The tests of `client/crypto` use it too.

use core::convert::Infallible;
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use std::collections::VecDeque;
use std::path::Path;

/// The vectors of one file.
pub(crate) fn vectors(file: &str) -> Value {
    // A crate may lie deeper than this one.
    let folders =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("proto/vectors"));
    let folder = folders.into_iter().find(|folder| folder.is_dir()).expect("the folder of the vectors");
    let path = folder.join(file).with_extension("json");
    let path = path.display();
    let text = std::fs::read_to_string(path.to_string()).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The cases of one file, of which there must be as many as its description says.
pub(crate) fn cases(file: &str, expected: usize) -> Vec<Value> {
    let cases = vectors(file)["cases"].as_array().expect("cases").clone();
    assert_eq!(cases.len(), expected, "cases of {file}");
    cases
}

pub(crate) fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("{}: no text in {field}", case["name"]))
}

pub(crate) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(case, field)).expect("hex")
}

pub(crate) fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    let bytes = bytes(case, field);
    bytes.try_into().unwrap_or_else(|b: Vec<u8>| panic!("{}: {field} has {} bytes", case["name"], b.len()))
}

pub(crate) fn list<'a>(case: &'a Value, field: &str) -> &'a [Value] {
    case[field].as_array().unwrap_or_else(|| panic!("{}: no list in {field}", case["name"]))
}

/// Plays back draws. Each must be asked for with its own length, and all must be used up.
pub(crate) struct Script(VecDeque<Vec<u8>>);

impl Script {
    pub(crate) fn new(draws: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(draws.into_iter().collect())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "draws left over");
        }
    }
}

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("the protocol draws bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("the protocol draws bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let draw = self.0.pop_front().expect("one more draw than recorded");
        assert_eq!(draw.len(), out.len(), "length of a draw");
        out.copy_from_slice(&draw);
        Ok(())
    }
}

impl TryCryptoRng for Script {}
