//! Groups that have about the same to do: which prefixes go where for that, and doing it when nobody asks.

mod automatic;
mod loads;
mod plan;

pub(crate) use automatic::run;
pub use loads::loads;
pub use plan::{Load, Plan, Requests, Step, WITHIN_PERCENT, Weight, plan};
