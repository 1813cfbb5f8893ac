//! `[traces]` in `agent.toml`.

use serde::Deserialize;
use std::time::Duration;
use url::Url;

/// Where traces go, and which.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(try_from = "InFile")]
pub struct TraceSettings {
    /// Where a collector takes OTLP over HTTP, in protobuf.
    pub endpoint: Url,
    /// Which part of the requests is traced, 0 to 1.
    pub sample_ratio: f64,
    /// How long the collector may take to answer.
    pub timeout: Duration,
    /// Whether the trace id that a client sends becomes the request's. Whether that is sampled is the agent's draw all the
    /// same.
    pub take_trace_ids: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InFile {
    endpoint: String,
    #[serde(default = "default_ratio")]
    sample_ratio: f64,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u32,
    #[serde(default)]
    take_trace_ids: bool,
}

const fn default_ratio() -> f64 {
    0.01
}

const fn default_timeout_ms() -> u32 {
    5_000
}

impl TryFrom<InFile> for TraceSettings {
    type Error = &'static str;

    fn try_from(raw: InFile) -> Result<Self, Self::Error> {
        let InFile { endpoint, sample_ratio, timeout_ms, take_trace_ids } = raw;
        let fits = |url: &Url| {
            let bare = url.username().is_empty() && url.password().is_none();
            matches!(url.scheme(), "http" | "https") && url.has_host() && bare
        };
        let endpoint = Url::parse(&endpoint).ok().filter(fits).ok_or(
            "endpoint is where a collector takes OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`",
        )?;
        if !(0.0..=1.0).contains(&sample_ratio) {
            return Err("sample_ratio is from 0 to 1; 0.01 works well");
        }
        if !(100..=60_000).contains(&timeout_ms) {
            return Err("timeout_ms is from 100 to 60000; 5000 works well");
        }
        let timeout = Duration::from_millis(timeout_ms.into());
        Ok(Self { endpoint, sample_ratio, timeout, take_trace_ids })
    }
}

impl TraceSettings {
    /// How many of all 2^64 draws are sampled.
    pub(super) fn below(&self) -> u64 {
        (self.sample_ratio * u64::MAX as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TraceSettings, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn only_the_endpoint_is_required_and_what_makes_no_sense_is_refused_with_what_does() {
        let least = read("endpoint = 'http://127.0.0.1:4318/v1/traces'").expect("enough");
        assert!(!least.take_trace_ids && least.sample_ratio < 0.011, "{least:?}");
        for (wrong, said) in [
            ("endpoint = 'ftp://collector/'", "OTLP"),
            ("endpoint = 'https://user:word@collector/'", "OTLP"),
            ("endpoint = 'http://collector/'\nsample_ratio = 1.5", "0.01 works well"),
            ("endpoint = 'http://collector/'\nsample_ratio = nan", "0.01 works well"),
            ("endpoint = 'http://collector/'\ntimeout_ms = 0", "5000 works well"),
            ("endpoint = 'http://collector/'\nratio = 1", "unknown field"),
            ("sample_ratio = 1", "endpoint"),
        ] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_ratio_is_a_part_of_all_draws() {
        let of = |sample_ratio| {
            let least = read("endpoint = 'http://127.0.0.1:4318/v1/traces'").expect("enough");
            TraceSettings { sample_ratio, ..least }.below()
        };
        assert_eq!((of(0.0), of(1.0)), (0, u64::MAX));
        assert!(of(0.5).abs_diff(u64::MAX / 2) < 2);
    }
}
