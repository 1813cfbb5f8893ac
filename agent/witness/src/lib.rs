//! A witness: it cosigns the checkpoints of logs that it was told of, as long as each goes on where the last one ended (C2SP
//! tlog-witness).
//!
//! What decides is [`witness`], which does no I/O but through a [`witness::Storage`] and takes the time from a function; [`state`]
//! keeps what was cosigned last; [`serve`] is HTTP. The witness trusts its disk, its key file, and nobody who sends requests.

pub mod config;
pub mod key_file;
pub mod serve;
pub mod state;
pub mod witness;
