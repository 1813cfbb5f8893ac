//! Whether a person typed the words of a fingerprint.

use super::Fingerprint;

/// This many letters tell a word from all others.
const TELLING_LETTERS: usize = 4;

impl Fingerprint {
    /// Whether these are the words, as a person typed them: in upper or lower case, with any white space between them,
    /// each in full or cut off after its fourth letter or later.
    #[must_use]
    pub fn is_typed(&self, typed: &str) -> bool {
        let mut read = typed.split_whitespace();
        let all = self.words().all(|word| read.next().is_some_and(|typed| stands_for(typed, word)));
        all && read.next().is_none()
    }
}

fn stands_for(typed: &str, word: &str) -> bool {
    let is_start = || word.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed));
    (typed.len() == word.len() || typed.len() >= TELLING_LETTERS) && is_start()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn words_are_taken_as_people_type_them_and_no_others_are() {
        let of = Fingerprint([0, 3, 2047, 1024, 2, 1]);
        assert_eq!(of.to_string(), "abandon about zoo length able ability");
        for typed in [
            "abandon about zoo length able ability",
            "  ABANDON about\tZoo\n length able ability ",
            "aban abou zoo leng able abil",
        ] {
            assert!(of.is_typed(typed), "{typed}");
        }
        for typed in [
            "",
            "abandon about zoo length able",
            "abandon about zoo length able ability zoo",
            "aba about zoo length able ability",
            "abandon about zo length able ability",
            "abandonx about zoo length able ability",
            "abandon about zoo length able abstract",
            "abandon zoo about length able ability",
            "äban about zoo length able ability",
        ] {
            assert!(!of.is_typed(typed), "{typed}");
        }
    }
}
