//! Numbers and hashes as the formats write them: each has one spelling.

use base64ct::{Base64, Encoding as _};
use strongroom_proto::ids::TreeHash;

/// The most digits of a number of 64 bits.
const MAX_DIGITS: usize = 20;

/// A decimal of ASCII digits, without a sign and without leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if digits && !padded { text.parse().ok() } else { None }
}

/// Bytes in standard base64 with padding, RFC 4648, section 4. Spare bits must be zero.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).ok()
}

/// The base64 of these bytes.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// A hash in base64.
pub(crate) fn hash(text: &str) -> Option<TreeHash> {
    let mut bytes = [0; 32];
    // One more byte than that does not fit, one less leaves a shorter slice.
    let decoded = Base64::decode(text, &mut bytes).ok()?.len();
    (decoded == bytes.len()).then_some(TreeHash(bytes))
}

/// The base64 of a hash.
pub(crate) fn of_hash(hash: &TreeHash) -> String {
    to_base64(&hash.0)
}

/// Whether a text may be part of a note: no ASCII control characters but newlines.
pub(crate) fn is_clean(text: &str) -> bool {
    text.bytes().all(|byte| byte >= 0x20 || byte == b'\n')
}

/// Takes the first line off a text, without its newline. None if there is no newline.
pub(crate) fn line<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (line, after) = rest.split_once('\n')?;
    *rest = after;
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("20852163"), Some(20_852_163));
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
        for wrong in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1\n",
            "0x1",
            "1e3",
            "١",
            "18446744073709551616",
            "100000000000000000000",
        ] {
            assert_eq!(decimal(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let right = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        assert_eq!(of_hash(&hash(right).unwrap()), right);
        let wrong = [
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I",    // no padding
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=",   // spare bits
            "CsUYapGGPo4dkMgIAUqom_Xajj7h2fB2MPA3j2jxq2I=",   // another alphabet
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\r", // white space
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2Iw",   // 33 bytes
            "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==",   // 31 bytes
            "",
        ];
        for wrong in wrong {
            assert_eq!(hash(wrong), None, "{wrong:?}");
        }
    }
}
