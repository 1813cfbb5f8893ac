//! What the command says about a PIN before it is used. It warns; only if it is told to does it refuse.

use clap::Args;
use strongroom_client::{Pin, PinHelp};

use crate::output::Failure;

/// What becomes of a PIN that many would choose.
#[derive(Debug, Args)]
pub(crate) struct PinOptions {
    /// Refuse a PIN that many others would choose, such as 1234, a year or a date, where there is a warning otherwise
    #[arg(long)]
    pub(crate) refuse_common_pin: bool,
}

/// A text is what a user typed; other bytes are what they are.
pub(crate) fn pin(bytes: &[u8]) -> Pin {
    str::from_utf8(bytes).map_or_else(|_| Pin::new(bytes.to_vec()), Pin::normalized)
}

/// Warns of what the user may not have meant.
pub(crate) fn warn(pin: &Pin) {
    help(pin).iter().flat_map(|help| &help.oddities).for_each(|oddity| eprintln!("strongroom: {oddity}"));
}

/// Warns of a PIN that many would choose, or refuses it.
pub(crate) fn check_chosen(pin: &Pin, options: &PinOptions) -> Result<(), Failure> {
    match help(pin).and_then(|help| help.common) {
        Some(common) if options.refuse_common_pin => Err(Failure::usage(common)),
        Some(common) => {
            eprintln!("strongroom: {common}");
            Ok(())
        }
        None => Ok(()),
    }
}

fn help(pin: &Pin) -> Option<PinHelp> {
    str::from_utf8(pin.as_bytes()).ok().map(PinHelp::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_normalised_and_other_bytes_are_taken_as_they_are() {
        assert_eq!(pin("zoe\u{308}".as_bytes()).as_bytes(), "zoë".as_bytes());
        assert_eq!(pin(b"4821").as_bytes(), b"4821");
        assert_eq!(pin(b"\xff\n").as_bytes(), b"\xff\n");
    }

    #[test]
    fn a_common_pin_is_refused_only_if_that_was_asked_for() {
        let check =
            |pin: &str, refuse_common_pin| check_chosen(&Pin::from(pin), &PinOptions { refuse_common_pin });
        assert!(check("4821", true).is_ok() && check("1234", false).is_ok());
        assert!(check("1234", true).is_err());
        assert!(check_chosen(&Pin::new(vec![0xff]), &PinOptions { refuse_common_pin: true }).is_ok());
    }
}
