//! How the checks of `verify` are told: a table with the evidence, one verdict, and an exit code.

use std::io::{self, Write};

use serde_json::{Value, json};
use strongroom_verify::{Finding, Outcome, Report, Verdict};

/// Exit code if a check failed.
pub(crate) const FAILED: u8 = 10;
/// Exit code if none failed, but not all could be made.
pub(crate) const UNKNOWN: u8 = 11;

/// What was found about a realm.
pub(crate) struct Audit(pub(crate) Report);

impl Audit {
    pub(crate) fn exit_code(&self) -> u8 {
        match self.0.verdict() {
            Verdict::Verified(_) => 0,
            Verdict::Failed(_) => FAILED,
            Verdict::Unknown(_) => UNKNOWN,
        }
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut about = "";
        for finding in &self.0.findings {
            if finding.about != about {
                about = &finding.about;
                writeln!(out, "{about}")?;
            }
            write_finding(finding, out)?;
        }
        if !self.0.notes.is_empty() {
            writeln!(out, "not judged")?;
            self.0.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
        }
        writeln!(out, "\n{}", self.0.verdict())
    }

    pub(crate) fn json(&self) -> Value {
        let verdict = self.0.verdict();
        let result = match verdict {
            Verdict::Verified(_) => "verified",
            Verdict::Failed(_) => "not_verified",
            Verdict::Unknown(_) => "not_checked",
        };
        json!({
            "result": result,
            "message": verdict.to_string(),
            "checks": self.0.findings.iter().map(finding_json).collect::<Vec<_>>(),
            "notes": self.0.notes,
        })
    }
}

fn write_finding(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let Finding { check, outcome, notes, .. } = finding;
    writeln!(out, "  {:13} {:11}  {}", check.name(), outcome.word(), outcome.told())?;
    notes.iter().try_for_each(|note| writeln!(out, "  {:25}  {note}", ""))?;
    for evidence in evidence(outcome) {
        evidence.lines().try_for_each(|line| writeln!(out, "  {:25}  | {line}", ""))?;
        writeln!(out)?;
    }
    Ok(())
}

fn evidence(outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Failed(failure) => failure.evidence(),
        _ => Vec::new(),
    }
}

fn finding_json(finding: &Finding) -> Value {
    let outcome = match &finding.outcome {
        Outcome::Passed(_) => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::Skipped(_) => "skipped",
        Outcome::Unknown(_) => "unknown",
    };
    json!({
        "check": finding.check.name(),
        "asks": finding.check.asks(),
        "about": finding.about,
        "outcome": outcome,
        "message": finding.outcome.told(),
        "notes": finding.notes,
        "evidence": evidence(&finding.outcome),
    })
}
