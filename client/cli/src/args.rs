//! The command line.

use std::num::NonZeroU8;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::heads::HeadOptions;

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
    /// Say whether a secret is registered; costs no guess
    Status,
    /// Register a canary, recover it with a wrong and the right PIN, and delete it, through each host: for operators, and for cron.
    /// Needs the token of a user that exists for this alone
    Drill(Drill),
    /// Delete what is registered
    Delete {
        /// Delete without asking
        #[arg(long)]
        yes: bool,
    },
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
        let defaults = ["register", "recover"].map(|name| {
            match parse(&format!("strongroom {name}")).map(|arguments| arguments.command) {
                Ok(
                    Command::Register(Register { user_info, .. })
                    | Command::Recover(Recover { user_info, .. }),
                ) => user_info,
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(defaults, [""; 2]);
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
        for line in ["strongroom recover --pin 1", "strongroom recover --token t", "strongroom recover 1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
