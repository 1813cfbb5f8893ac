//! What became of spans.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of spans. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub struct TraceMetrics(Family<OutcomeLabel, Counter>);

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl TraceMetrics {
    /// Enters them.
    pub fn register(&self, registry: &mut Registry) {
        // From zero, or the first one is no increase.
        for outcome in [Self::EXPORTED, Self::DROPPED, Self::FAILED] {
            self.add(outcome, 0);
        }
        let help = "Spans by what became of them: exported, if a collector answered well, whatever it did with them; \
                    dropped, if too many waited; failed, if it did not answer well";
        registry.sub_registry_with_prefix("traces").register("spans", help, self.0.clone());
    }

    const EXPORTED: &str = "exported";
    const DROPPED: &str = "dropped";
    const FAILED: &str = "failed";

    fn add(&self, outcome: &'static str, spans: usize) {
        let counter = self.0.get_or_create(&OutcomeLabel { outcome }).clone();
        counter.inc_by(spans as u64);
    }

    pub(super) fn exported(&self, spans: usize) {
        self.add(Self::EXPORTED, spans);
    }

    pub(super) fn dropped(&self, spans: usize) {
        self.add(Self::DROPPED, spans);
    }

    pub(super) fn failed(&self, spans: usize) {
        self.add(Self::FAILED, spans);
    }

    /// How many were exported, dropped, and failed.
    #[must_use]
    pub fn counted(&self) -> [u64; 3] {
        let of = |outcome| self.0.get_or_create(&OutcomeLabel { outcome }).get();
        [Self::EXPORTED, Self::DROPPED, Self::FAILED].map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn each_outcome_is_there_from_the_start_and_its_meaning_is_told() {
        let (mut registry, mut text) = (Registry::default(), String::new());
        TraceMetrics::default().register(&mut registry);
        encode(&mut text, &registry).expect("text");
        let help = text.lines().find(|line| line.starts_with("# HELP traces_spans ")).expect("a help text");
        for (outcome, means) in [
            (TraceMetrics::EXPORTED, "if a collector answered well"),
            (TraceMetrics::DROPPED, "if too many waited"),
            (TraceMetrics::FAILED, "if it did not answer well"),
        ] {
            assert!(help.contains(&format!("{outcome}, {means}")), "{help}");
            let line = format!("traces_spans_total{{outcome=\"{outcome}\"}} 0");
            assert!(text.lines().any(|is| is == line), "{text}");
        }
    }
}
