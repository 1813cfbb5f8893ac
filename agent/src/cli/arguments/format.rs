//! How to show something.

use clap::Args;

/// How to show something.
#[derive(Args, Debug, Clone, Copy)]
pub struct StatusFormat {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
