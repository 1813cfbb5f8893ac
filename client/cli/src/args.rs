//! The command line.

use std::num::NonZeroU8;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use strongroom_verify::{GroupId, OpenError, check_url};
use url::Url;

use crate::heads::HeadOptions;
use crate::pin_help::PinOptions;
use crate::receipts::{ListOptions, VerifyReceipt};

const EXIT_CODES: &str = "\
Exit codes, the same for all commands:
  0  done; for status: the secret can be recovered
  2  a usage, configuration or file error
  3  the PIN is wrong, guesses are left
  4  nothing is registered
  5  realms are unavailable or busy, or another device has just registered: try again
  6  an auth token is missing or was refused
  7  a realm requires a newer client, or gave an invalid answer
  8  no guesses are left: the secret is gone
  9  realms' logs are not as --statement demands: the PIN was not sent
  10  verify, verify-receipt, attempts --since: a check failed
  11  the same: no check failed, but some could not be made; attempts --receipts: a receipt is missing
  12  change-pin, repair: too few realms offer it; repair: a realm is still behind, and trying again does not help

Environment:
  STRONGROOM_CONFIGURATION  same as --configuration
  STRONGROOM_TOKEN          the auth token, or a JSON object from realm id to token";

/// Keeps a secret under a PIN in several realms, which destroy it after too many wrong guesses.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The JSON file that names the realms
    #[arg(long, global = true, value_name = "FILE", env = "STRONGROOM_CONFIGURATION")]
    pub(crate) configuration: Option<PathBuf>,
    /// An earlier configuration, to recover from if the current one has no registration; repeat for more, newest first
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) previous: Vec<PathBuf>,
    /// A file with the auth token, or with a JSON object from realm id to token
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM certificates to trust in addition to the system's
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Allow plain http to hardware realms; anyone on the network path can take the auth token
    #[arg(long, global = true)]
    pub(crate) allow_http: bool,
    /// Write one line of JSON to standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register a secret; asks before it replaces one
    Register(Register),
    /// Recover the secret; a wrong PIN costs a guess
    Recover(Recover),
    /// Replace the PIN; the secret stays. A wrong old PIN costs a guess. If it is interrupted, the old PIN works or the new one: run it
    /// again with whichever does
    ChangePin(ChangePin),
    /// Make whole what is registered, where realms missed a registration or a change of the PIN; a wrong PIN costs a guess
    Repair(Repair),
    /// Say whether a secret is registered; costs no guess
    Status,
    /// List which requests on the record counted since it was registered, such as tries of the PIN; costs no guess
    Attempts(ListOptions),
    /// Register a canary, recover it with a wrong and the right PIN, and delete it, through each host: for operators, and for cron.
    /// Needs the token of a user that exists for this alone
    Drill(Drill),
    /// Delete what is registered
    Delete {
        /// Delete without asking
        #[arg(long)]
        yes: bool,
    },
    /// Check what a realm publishes, trusting nobody there: one verdict, with the evidence. Needs no configuration and no token
    Verify(Verify),
    /// Check a receipt that `attempts --receipts` has written, offline: one verdict, with the evidence. Needs no configuration and no token
    VerifyReceipt(VerifyReceipt),
}

/// How to register.
#[derive(Debug, Args)]
pub(crate) struct Register {
    /// The file that holds the secret, at most 128 bytes, kept byte for byte; default: standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Allow an empty secret
    #[arg(long)]
    pub(crate) allow_empty_secret: bool,
    /// How many wrong PINs in a row destroy the secret
    #[arg(long, value_name = "1-255", default_value = "10")]
    pub(crate) num_guesses: NonZeroU8,
    /// A lasting name of the user; recovery needs the same one
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) user_info: String,
    /// Read the PIN from the first line of standard input
    #[arg(long, requires = "secret_file")]
    pub(crate) pin_stdin: bool,
    #[command(flatten)]
    pub(crate) pins: PinOptions,
    /// Replace what is registered without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

/// How to drill.
#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// Where one host is reached, instead of what the configuration says; repeat for each host. For a configuration of one realm
    #[arg(long, value_name = "URL")]
    pub(crate) through: Vec<String>,
    /// In the end, recover a canary again and again while this command runs, which takes a leader away: one that restarts a host's
    /// agent, for example. Run by `sh -c`
    #[arg(long, value_name = "COMMAND")]
    pub(crate) failover: Option<String>,
    /// Replace and delete what the user has registered
    #[arg(long)]
    pub(crate) yes: bool,
}

/// How to recover.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// Write the secret to a new file that only its owner can read; default: standard output, byte for byte
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The user info given at registration
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) user_info: String,
    /// Read the PIN from the first line of standard input
    #[arg(long)]
    pub(crate) pin_stdin: bool,
    #[command(flatten)]
    pub(crate) heads: HeadOptions,
}

/// How to change the PIN.
#[derive(Debug, Args)]
pub(crate) struct ChangePin {
    /// The user info given at registration
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) user_info: String,
    /// Read the old PIN from the first line of standard input, and the new one from the second
    #[arg(long)]
    pub(crate) pin_stdin: bool,
    #[command(flatten)]
    pub(crate) pins: PinOptions,
    #[command(flatten)]
    pub(crate) heads: HeadOptions,
}

/// How to repair.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The user info given at registration
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) user_info: String,
    /// Read the PIN from the first line of standard input
    #[arg(long)]
    pub(crate) pin_stdin: bool,
    #[command(flatten)]
    pub(crate) heads: HeadOptions,
}

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The statement of the realm, as its custodians signed it. Get it from them, not from the store
    #[arg(long, value_name = "FILE")]
    pub(crate) realm: PathBuf,
    /// The realm's object store; it is only read
    #[arg(long, value_name = "URL", value_parser = store)]
    pub(crate) store: Url,
    /// An option of that store, such as an endpoint; repeat for more
    #[arg(long = "store-option", value_name = "NAME=VALUE", value_parser = store_option)]
    pub(crate) store_options: Vec<NameAndValue>,
    /// Only this group
    #[arg(long, value_name = "GROUPID")]
    pub(crate) group: Option<GroupId>,
    /// Checkpoints that --save has kept, or a signed checkpoint: the logs must go on from there
    #[arg(long, value_name = "FILE")]
    pub(crate) since: Option<PathBuf>,
    /// Keep the verified checkpoints in this file, for --since of the next time; may be the same file
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// How old cosignatures may be, such as 90s, 30m, 6h or 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) max_age: Option<u64>,
    /// Sources whose firmware image is to be one of the builds in the statement. Programs in the folder are run; building takes minutes. Repeat for
    /// more
    #[arg(long, value_name = "FOLDER")]
    pub(crate) rebuild: Vec<PathBuf>,
}

/// An option of a store. That it must contain a `=` is checked later, not by the parser, whose message would show what may be a
/// credential.
#[derive(Clone)]
pub(crate) struct NameAndValue(pub(crate) Option<(String, String)>);

impl std::fmt::Debug for NameAndValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NameAndValue").field(&self.0.as_ref().map(|(name, _)| name)).finish()
    }
}

fn store_option(text: &str) -> Result<NameAndValue, std::convert::Infallible> {
    Ok(NameAndValue(text.split_once('=').map(|(name, value)| (name.into(), value.into()))))
}

fn store(text: &str) -> Result<Url, OpenError> {
    check_url(text)
}

/// In seconds.
fn age(text: &str) -> Result<u64, &'static str> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let unit = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, *seconds)));
    let (number, seconds) = unit.ok_or("a number and a unit: s, m, h or d")?;
    let number: u32 = number.parse().map_err(|_| "a number and a unit: s, m, h or d")?;
    Ok(u64::from(number) * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_of_every_command_may_come_after_it() {
        let arguments = parse("strongroom status --configuration c.json --json --ca ca.pem").unwrap();
        assert!(arguments.common.json);
        assert_eq!(arguments.common.configuration, Some("c.json".into()));
        assert_eq!(arguments.common.ca, Some("ca.pem".into()));
    }

    #[test]
    fn the_examples_and_the_command_have_the_same_user_info() {
        let example = include_str!("../../examples/recover.rs");
        let readme = include_str!("../../../README.md");
        for (name, text) in [("the example", example), ("README.md", readme)] {
            assert!(text.contains("const USER_INFO: &[u8] = b\"\";"), "{name}");
            assert_eq!(text.matches(", USER_INFO").count(), 2, "{name}");
        }
        assert_eq!(readme.matches(", bytes('')").count(), 2);
        let defaults = ["register", "recover", "change-pin", "repair"].map(|name| {
            match parse(&format!("strongroom {name}")).map(|arguments| arguments.command) {
                Ok(
                    Command::Register(Register { user_info, .. })
                    | Command::Recover(Recover { user_info, .. })
                    | Command::ChangePin(ChangePin { user_info, .. })
                    | Command::Repair(Repair { user_info, .. }),
                ) => user_info,
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(defaults, [""; 4]);
    }

    #[test]
    fn guesses_are_one_to_255_and_ten_by_default() {
        let guesses = |line| match parse(line).map(|arguments| arguments.command) {
            Ok(Command::Register(register)) => Some(register.num_guesses.get()),
            _ => None,
        };
        assert_eq!(guesses("strongroom register"), Some(10));
        assert_eq!(guesses("strongroom register --num-guesses 255"), Some(255));
        assert_eq!(guesses("strongroom register --num-guesses 0"), None);
        assert_eq!(guesses("strongroom register --num-guesses 256"), None);
    }

    #[test]
    fn an_age_has_a_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("30m", 1800), ("6h", 21_600), ("7d", 604_800)] {
            assert_eq!(age(text), Ok(seconds));
        }
        for text in ["", "6", "h", "-1h", "1.5h", "6 h", "6w", "99999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn standard_input_cannot_hold_both_pin_and_secret() {
        assert!(parse("strongroom register --pin-stdin").is_err());
        assert!(parse("strongroom register --pin-stdin --secret-file s").is_ok());
        assert!(parse("strongroom recover --pin-stdin").is_ok());
    }

    #[test]
    fn an_age_or_a_file_of_heads_means_nothing_without_a_statement() {
        assert!(parse("strongroom recover --statement a --statement b --max-head-age 1h --heads h").is_ok());
        for line in ["--heads h", "--max-head-age 1h", "--statement a --max-head-age 1"] {
            assert!(parse(&format!("strongroom recover {line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn no_option_takes_a_pin_or_a_token_where_other_processes_could_read_it() {
        let change =
            ["strongroom change-pin 1", "strongroom change-pin --new-pin 1", "strongroom repair --pin 1"];
        let recover = ["strongroom recover --pin 1", "strongroom recover --token t", "strongroom recover 1"];
        for line in change.into_iter().chain(recover) {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
