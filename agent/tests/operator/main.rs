//! What operators have: commands, daemons, and the files of both.

mod ceremony;
mod command;
mod documents;
mod events_key;
mod files;
mod hosts;
mod process;
mod realm;
mod stated;
mod tenant;
mod usage;
