//! `strongroom`: registers, recovers and deletes a secret from the command line, changes its PIN, and repairs what realms have missed.
//!
//! Reports what happened on standard error and by its exit code; standard output carries the secret, or with `--json`
//! one line of JSON, and nothing else. The PIN comes from the terminal without echo, or from standard input.
#![forbid(unsafe_code)]

mod args;
mod audit;
mod drill;
mod heads;
mod inputs;
mod kept;
mod listing;
mod output;
mod pin_help;
mod receipts;
mod verify;

use std::io::{ErrorKind, IsTerminal as _, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use indicatif::ProgressBar;
use strongroom_client::{Client, Progress, Summary};

use crate::args::{Arguments, Command};
use crate::output::{Failure, Outcome};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.common.json;
    let outcome = run(arguments).await.unwrap_or_else(|failure| Outcome::Failed(failure.0));
    match outcome.write(json, &mut stdout().lock(), &mut stderr().lock(), stdout().is_terminal()) {
        Ok(()) => ExitCode::from(outcome.exit_code()),
        // The reader has read enough. But a secret that was not read is lost.
        Err(error) if error.kind() == ErrorKind::BrokenPipe && !outcome.is_secret() => {
            ExitCode::from(outcome.exit_code())
        }
        Err(error) => {
            eprintln!("the result cannot be written: {error}");
            ExitCode::from(output::USAGE)
        }
    }
}

async fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let spinner = ProgressBar::new_spinner();
    // Without a client: there may be no configuration.
    if let Command::Verify(options) = &arguments.command {
        return verify::verify(options, &spinner).await.map(Outcome::Audited);
    }
    if let Command::VerifyReceipt(options) = &arguments.command {
        return receipts::verify(options).map(|checked| Outcome::ReceiptChecked(Box::new(checked)));
    }
    let shown = spinner.clone();
    let heads = match &arguments.command {
        Command::Recover(options) => Some(&options.heads),
        Command::ChangePin(options) => Some(&options.heads),
        Command::Repair(options) => Some(&options.heads),
        _ => None,
    };
    let client = inputs::client(&arguments.common, heads, move |step| {
        shown.enable_steady_tick(Duration::from_millis(100));
        shown.set_message(describe(step));
    })?;
    let outcome = perform(&client, &spinner, &arguments).await;
    // What is left under way would end with this process.
    client.close().await;
    spinner.finish_and_clear();
    outcome
}

async fn perform(client: &Client, spinner: &ProgressBar, arguments: &Arguments) -> Result<Outcome, Failure> {
    match &arguments.command {
        Command::Register(options) => {
            let secret = inputs::secret(options)?;
            let pin = inputs::new_pin(options.pin_stdin)?;
            pin_help::check_chosen(&pin, &options.pins)?;
            if !options.yes {
                check_replacement(client, spinner).await?;
            }
            client.register(&pin, &secret, options.user_info.as_bytes(), options.num_guesses).await?;
            Ok(Outcome::Registered)
        }
        Command::Recover(options) => {
            // Checked before a guess is spent.
            inputs::check_absent(options.out.as_deref())?;
            let pin = inputs::pin(options.pin_stdin)?;
            let recovered = client.recover_with_report(&pin, options.user_info.as_bytes()).await?;
            let (secret, behind) = (recovered.secret, recovered.behind);
            match &options.out {
                Some(path) => output::write_private(path, &secret).map(|()| Outcome::Recovered(None, behind)),
                None => Ok(Outcome::Recovered(Some(secret), behind)),
            }
        }
        Command::ChangePin(options) => {
            let (old, new) = inputs::old_and_new_pin(options.pin_stdin)?;
            pin_help::check_chosen(&new, &options.pins)?;
            client.change_pin(&old, &new, options.user_info.as_bytes()).await?;
            Ok(Outcome::PinChanged)
        }
        Command::Repair(options) => {
            let pin = inputs::pin(options.pin_stdin)?;
            Ok(Outcome::Repaired(client.repair(&pin, options.user_info.as_bytes()).await?))
        }
        Command::Status => Ok(Outcome::Status(client.status().await)),
        Command::Attempts(options) => receipts::list(client, options).await.map(Outcome::Attempts),
        // With clients of its own.
        Command::Drill(options) => drill::drill(&arguments.common, options).await.map(Outcome::Drilled),
        Command::Delete { yes } => {
            if !yes {
                inputs::confirm_deletion()?;
            }
            client.delete().await?;
            Ok(Outcome::Deleted)
        }
        Command::Verify(options) => verify::verify(options, spinner).await.map(Outcome::Audited),
        Command::VerifyReceipt(options) => {
            receipts::verify(options).map(|checked| Outcome::ReceiptChecked(Box::new(checked)))
        }
    }
}

/// Asks before it replaces a secret that could be recovered. Replaces nothing if the realms cannot tell whether there
/// is one.
async fn check_replacement(client: &Client, spinner: &ProgressBar) -> Result<(), Failure> {
    let status = client.status().await;
    if let Some(error) = status.undecided() {
        return Err(error.into());
    }
    match status.summary() {
        // The spinner must not draw over the question.
        Summary::Registered => spinner.suspend(inputs::confirm_replacement),
        _ => Ok(()),
    }
}

fn describe(step: Progress) -> &'static str {
    match step {
        Progress::Register1 => "reaching the realms",
        Progress::Stretch => "stretching the PIN",
        Progress::Register2 => "sending the realms their shares",
        Progress::Recover1 => "asking the realms what is registered",
        Progress::Heads => "looking at the realms' logs",
        Progress::Recover2 => "having the realms check the PIN",
        Progress::Recover3 => "fetching the shares",
        Progress::Delete => "deleting",
        Progress::Attempts => "asking the realms which requests counted",
        Progress::Receipts => "waiting for checkpoints and their cosignatures",
        Progress::Versions => "asking the realms what they hold",
        Progress::Stage => "sending the realms new shares",
        Progress::Activate => "having the realms change to the new shares",
        _ => "working",
    }
}
