//! The core as a process.
