//! Whether clients' requests should come to this agent, and what that rests on.

/// One thing that an agent looks at to tell whether it serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What it is, in a word.
    pub name: &'static str,
    /// Why it fails, if it does; for the operator alone.
    pub failed: Option<String>,
    /// Whether requests should go elsewhere while it fails. Others do no better without the rest.
    pub is_needed: bool,
}

/// What was looked at, and whether requests should come here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Readiness(pub Vec<Check>);

impl Readiness {
    /// Whether requests should come here.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.0.iter().all(|check| check.failed.is_none() || !check.is_needed)
    }

    /// Each check by name and whether it holds, a line each; with the reasons for an operator.
    #[must_use]
    pub fn text(&self, reasons: bool) -> String {
        let line = |check: &Check| match &check.failed {
            None => format!("{}: ok\n", check.name),
            Some(why) if reasons => format!("{}: failed: {why}\n", check.name),
            Some(_) => format!("{}: failed\n", check.name),
        };
        self.0.iter().map(line).collect()
    }
}
