//! What a witness signs: that at some time, the largest tree that it had seen of a log had this root (C2SP tlog-cosignature,
//! `cosignature/v1`, Ed25519).
//!
//! Who verifies it: [`VerifierKey::verify`](crate::key::VerifierKey::verify). Who makes it:
//! [`SigningKey::cosign`](crate::signer::SigningKey::cosign).

/// The latest time that a cosignature may state, in seconds since 1970: 2⁶³ − 1.
pub const MAX_TIME: u64 = i64::MAX as u64;

/// The length of a [`Cosignature`] in bytes.
pub const LEN: usize = 8 + 64;

/// `timestamped_signature` of the specification: a time and a signature, nothing of which is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cosignature {
    /// When it was made, in seconds since 1970. At most [`MAX_TIME`].
    pub time: u64,
    /// Ed25519 (RFC 8032) over the [`message`].
    pub signature: [u8; 64],
}

impl Cosignature {
    /// Takes a cosignature apart. None if it has another length, or a time after [`MAX_TIME`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let signature = <[u8; 64]>::try_from(rest).ok()?;
        (time <= MAX_TIME).then_some(Self { time, signature })
    }

    /// The time, eight bytes big-endian, and the signature.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.time.to_be_bytes());
        bytes[8..].copy_from_slice(&self.signature);
        bytes
    }
}

/// What is signed at a time: two lines, and the text of the checkpoint.
#[must_use]
pub fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_that_of_the_specification() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let lines: Vec<String> = message(1_679_315_147, text).lines().map(str::to_owned).collect();
        assert_eq!(lines[..2], ["cosignature/v1", "time 1679315147"]);
        assert_eq!(lines[2..].join("\n") + "\n", text);
    }

    #[test]
    fn a_cosignature_is_72_bytes_and_states_no_time_beyond_the_bound() {
        let made = Cosignature { time: MAX_TIME, signature: [7; 64] };
        let bytes = made.to_bytes();
        assert_eq!(Cosignature::from_bytes(&bytes), Some(made));
        for cut in 0..LEN {
            assert_eq!(Cosignature::from_bytes(&bytes[..cut]), None, "{cut} bytes");
        }
        assert_eq!(Cosignature::from_bytes(&[&bytes[..], &[0]].concat()), None);
        let late = Cosignature { time: MAX_TIME + 1, ..made };
        assert_eq!(Cosignature::from_bytes(&late.to_bytes()), None);
    }
}
