//! All that was found, and the one verdict.

use crate::check::{Finding, Outcome};
use std::fmt;
use strongroom_tlog::ClaimedCheckpoint;

/// All that was found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Check by check.
    pub findings: Vec<Finding>,
    /// What was seen and not judged.
    pub notes: Vec<String>,
    /// The checkpoints to compare with the next time: of each group the verified one, or the earlier one where a check of the group failed.
    pub remembered: Vec<ClaimedCheckpoint>,
}

/// What it comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every check passed, but for those that had nothing to check, or that nobody asked for: these.
    Verified(Vec<String>),
    /// These checks failed, and why.
    Failed(Vec<String>),
    /// No check failed, but these could not be made, and why.
    Unknown(Vec<String>),
}

impl Report {
    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let those = |wanted: fn(&Outcome) -> bool| -> Vec<&Finding> {
            self.findings.iter().filter(|finding| wanted(&finding.outcome)).collect()
        };
        let told = |found: Vec<&Finding>| {
            let told = |finding: &Finding| {
                format!("{} of {}: {}", finding.check, finding.about, finding.outcome.told())
            };
            found.into_iter().map(told).collect()
        };
        let failed = those(|outcome| matches!(outcome, Outcome::Failed(_)));
        let unknown = those(|outcome| matches!(outcome, Outcome::Unknown(_)));
        let skipped = those(|outcome| matches!(outcome, Outcome::Skipped(_)));
        if !failed.is_empty() {
            Verdict::Failed(told(failed))
        } else if !unknown.is_empty() || self.findings.is_empty() {
            Verdict::Unknown(told(unknown))
        } else {
            let named = |finding: &Finding| format!("{} of {}", finding.check, finding.about);
            Verdict::Verified(skipped.into_iter().map(named).collect())
        }
    }
}

/// One line.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified(skipped) if skipped.is_empty() => f.write_str("verified"),
            Self::Verified(skipped) => write!(f, "verified; not checked: {}", skipped.join(", ")),
            Self::Failed(why) => write!(f, "NOT verified: {}", why.join("; ")),
            Self::Unknown(why) => write!(f, "NOT verified, it could not be checked: {}", why.join("; ")),
        }
    }
}
