//! Agents and HSMs that run, with real sockets, files and processes, in front of the SDK.

mod cases;
mod change;
mod checkpoints;
mod clients;
mod discovery;
mod events;
mod failover;
mod faulty;
mod moves;
mod negative;
mod overview;
mod receipts;
mod serve;
mod stopped;
mod storage;
mod support;
mod usage;
mod verify;
