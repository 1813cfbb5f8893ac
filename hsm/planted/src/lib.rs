//! Test only: the HSM core, with rules left out.
//!
//! A checker that cannot fail checks nothing. So every test of a rule of the core runs twice, on the crate that ships and on a
//! copy in which the rule is left out, and must see the difference. [`Core`] is the one or the other: with no bug to plant,
//! `strongroom-hsm` and nothing else.
//!
//! `build.rs` makes the copy of the sources that ship and of the patches in `bugs/`, which say what each bug is.
//! Nothing that ships may depend on this crate; `.ci/run` checks that.
#![forbid(unsafe_code)]

extern crate alloc;

/// Whether a bug is planted in the core that is running.
macro_rules! planted {
    ($bug:ident) => {
        $crate::bug::is_planted($crate::bug::Bug::$bug)
    };
}

mod bug;
#[allow(dead_code, missing_docs, unreachable_pub, unused_imports, reason = "linted where it comes from")]
mod copy {
    include!(concat!(env!("OUT_DIR"), "/copy/mod.rs"));
}
mod core;
pub mod nvram;
mod planted;
mod reveal;

pub use crate::core::Core;
pub use bug::Bug;
pub use planted::PlantedCore;
pub use reveal::Revealed;
