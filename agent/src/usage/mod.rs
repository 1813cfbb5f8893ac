//! Accounting: how much the users of each tenant asked for, by day, in small objects beside the log, without a database.
//!
//! A request is counted where its tenant and user become a record id: at one agent, whatever relayed or forwarded it
//! (`docs/decisions/0044-accounting.md`). No guess and no answer depends on any of this, and nothing waits for it. It is
//! trusted as far as whoever may write to the store.
//!
//! What decides does no I/O and has no clock: [`Sample`], [`Sheet`], [`Ledger`]. [`Usage`] writes for an agent, and
//! [`read_month`] reads what all agents wrote.

mod date;
mod keeper;
mod ledger;
mod month;
mod operation;
mod sample;
mod sheet;
mod tally;

pub use date::{Day, Month, NoMonth};
pub use keeper::{Usage, user_number};
pub use ledger::{Edition, Ledger, MAX_SHEETS, Place};
pub use month::{MonthUsage, PassedOver, ReadError, newest, read_month};
pub use operation::Operation;
pub use sample::{MAX_USERS, Sample};
pub use sheet::{BadSheet, MAX_SHEET_BYTES, Sheet, SheetName, sheets};
pub use tally::{Counts, MAX_TENANT_BYTES, MAX_TENANTS, Tallies, Tally, Used};
