//! What a custodian reads on a device's console, compared with what they were handed.

use super::error::CliError;
use std::io::{self, BufRead, Write};
use strongroom_proto::enrolment::{DRAWN_HERE, Part};

/// Asks for the words of each part, and accepts only those. The right words are shown afterwards: a person who sees
/// them before typing copies the screen, not the console.
pub(super) fn compare(parts: &[Part]) -> Result<(), CliError> {
    compare_from(&mut io::stdin().lock(), &mut io::stderr().lock(), parts)
}

/// Asks what the console says about the realm's keys: their founding may be signed only where they were drawn.
pub(super) fn compare_drawn_here() -> Result<(), CliError> {
    drawn_here_from(&mut io::stdin().lock(), &mut io::stderr().lock())
}

fn drawn_here_from(typed: &mut impl BufRead, screen: &mut impl Write) -> Result<(), CliError> {
    write!(screen, "  what it says about `keys`: ")?;
    screen.flush()?;
    let line = read_line(typed)?;
    let said = line.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ");
    if said == DRAWN_HERE { Ok(()) } else { Err(CliError::NotDrawnHere) }
}

fn read_line(typed: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    // No answer is longer; the rest of a longer line is not read.
    io::Read::take(&mut *typed, 1024).read_line(&mut line)?;
    Ok(line)
}

fn compare_from(typed: &mut impl BufRead, screen: &mut impl Write, parts: &[Part]) -> Result<(), CliError> {
    for part in parts {
        write!(screen, "  {}, six words: ", part.name)?;
        screen.flush()?;
        let line = read_line(typed)?;
        if !part.words.is_typed(&line) {
            return Err(CliError::OtherWords { name: part.name });
        }
    }
    writeln!(screen, "All words are right:")?;
    for part in parts {
        writeln!(screen, "  {part}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_proto::enrolment::DeviceIdentity;
    use strongroom_proto::ids::{BuildDigest, HsmId, X25519Public};

    fn parts(device_key: u8) -> [Part; 3] {
        let device_key = X25519Public([device_key; 32]);
        DeviceIdentity { hsm: HsmId([1; 16]), device_key, build: BuildDigest([3; 32]) }.parts()
    }

    fn console(parts: &[Part]) -> String {
        parts.iter().map(|part| format!("{}\n", part.words)).collect()
    }

    fn compared(typed: &str, parts: &[Part]) -> (Result<(), CliError>, String) {
        let mut screen = Vec::new();
        let result = compare_from(&mut typed.as_bytes(), &mut screen, parts);
        (result, String::from_utf8(screen).unwrap())
    }

    #[test]
    fn a_custodian_who_reads_the_same_words_signs() {
        let (result, screen) = compared(&console(&parts(2)), &parts(2));
        assert!(result.is_ok() && screen.contains("All words are right"), "{screen}");
    }

    #[test]
    fn a_key_that_was_made_on_the_host_has_different_words_from_the_console_of_the_device() {
        let (result, screen) = compared(&console(&parts(2)), &parts(9));
        let said = result.unwrap_err().to_string();
        assert!(said.contains("device key") && said.contains("do not sign"), "{said}");
        // The right words are not shown before they were typed, nor in the error.
        let shown = parts(9).map(|part| format!("{screen}{said}").contains(&part.words.to_string()));
        assert_eq!(shown, [false; 3], "{screen}");
    }

    #[test]
    fn the_founding_of_keys_that_are_from_elsewhere_is_not_signed() {
        let asked = |typed: &str| drawn_here_from(&mut typed.as_bytes(), &mut Vec::new());
        assert!(asked("drawn here\n").is_ok() && asked(" Drawn  here ").is_ok());
        for typed in ["", "\n", "imported from the HSM zoo\n", "of unknown origin: sign no founding\n", "yes"]
        {
            assert!(asked(typed).is_err(), "{typed:?}");
        }
    }

    #[test]
    fn typing_nothing_is_not_consent() {
        for typed in ["", "\n\n\n", "yes\ny\ny\n"] {
            assert!(compared(typed, &parts(2)).0.is_err(), "{typed:?}");
        }
    }
}
