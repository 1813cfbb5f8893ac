//! The command `strongroom-agent`: the daemon, and the operator's commands to it.
//!
//! What a script or another command reads goes to standard output; what a person reads, to standard error.

/// Like `print!`, but a reader that goes away is not an error, and a full disk is reported.
macro_rules! out {
    ($($text:tt)*) => { crate::cli::show::out(format_args!($($text)*))? };
}

/// Like `println!`, with the rules of [`out!`].
macro_rules! outln {
    ($($text:tt)*) => { crate::cli::show::out(format_args!("{}\n", format_args!($($text)*)))? };
}

/// Like `eprint!`, for text that people can do without.
macro_rules! hint {
    ($($text:tt)*) => { crate::cli::show::hint(format_args!($($text)*)) };
}

/// Like `eprintln!`, with the rules of [`hint!`].
macro_rules! hintln {
    ($($text:tt)*) => { crate::cli::show::hint(format_args!("{}\n", format_args!($($text)*))) };
}

mod admin_identity;
mod arguments;
mod check;
mod checkpoints;
mod confirm;
mod doctor;
mod error;
mod events_key;
mod founded;
mod founding;
mod group;
mod hsm;
mod keys;
mod line;
mod manual;
mod marker;
mod members;
mod overview;
mod partition;
mod passphrase;
mod reach;
mod realm;
mod rebalance;
mod record;
mod rehearsal;
mod replace;
mod run;
mod show;
mod signed;
mod stated;
mod statement;
mod tenant;
mod token;
mod transcript;
mod usage;
mod words;

pub use arguments::{
    Cli, Command, GroupCommand, HsmCommand, PartitionCommand, RealmCommand, StatementCommand,
    TranscriptCommand,
};
pub use error::CliError;
pub use line::{Line, LineError};

use reach::Reach;

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// [`CliError`], to be shown to the person.
    pub fn execute(self) -> Result<(), CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let afar = self.identity.filter(|_| !self.agent.is_empty());
        let reach = Reach { config: self.config, afar: afar.map(|identity| (self.agent, identity)) };
        let command = self.command.unwrap_or_default();
        if reach.afar.is_some() && matches!(command, Command::Run | Command::RebuildTree(_)) {
            return Err(CliError::Arguments("--agent is for commands that ask an agent; leave it out"));
        }
        runtime.block_on(async {
            match command {
                Command::Run => run::run(&reach.config).await,
                Command::Realm(command) => realm::execute(&reach, command).await,
                Command::Hsm(command) => hsm::execute(&reach, command).await,
                Command::Group(command) => group::execute(&reach, command).await,
                Command::Partition(command) => partition::execute(&reach, command).await,
                Command::AdminIdentity(arguments) => admin_identity::execute(&reach, &arguments).await,
                Command::ClientConfig(arguments) => founding::client_config(&reach, &arguments).await,
                Command::Check(arguments) => check::check(&reach, arguments).await,
                Command::RebuildTree(arguments) => check::rebuild(&reach.config, arguments).await,
                Command::Tenant(command) => tenant::execute(&reach, command).await,
                Command::Completions { shell } => manual::completions(shell),
                Command::ManualPages { folder } => manual::pages(&folder),
                Command::Configtest(format) => {
                    doctor::execute(&reach.config, format, doctor::Look::Files).await
                }
                Command::Doctor(format) => {
                    doctor::execute(&reach.config, format, doctor::Look::Everything).await
                }
                Command::UpgradeCheck(format) => {
                    doctor::execute(&reach.config, format, doctor::Look::Upgrade).await
                }
                Command::Token(arguments) => token::execute(&reach, &arguments).await,
            }
        })
    }
}
