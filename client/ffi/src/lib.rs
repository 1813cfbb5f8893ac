//! The SDK behind fourteen C functions: what the clients in Python, Kotlin and Swift call.
//!
//! It decides nothing. A *client* is made of options in JSON; a *call* is one operation of it under way; whoever began a
//! call asks it for what comes *next*, until it has ended: the step that begins, a token that is needed, or the outcome.
//! Nothing here calls back into its caller's language, so there is no thread of ours there, and nothing to keep alive.
//!
//! PINs, secrets and tokens cross as bytes beside the JSON, never in it, and are wiped here.
//!
//! [`abi`] has the functions, and is the only module with `unsafe`. `include/strongroom.h` is the same for C.

#![warn(missing_debug_implementations)]

pub mod abi;
mod call;
mod client;
mod mailbox;
mod reply;
mod tokens;
