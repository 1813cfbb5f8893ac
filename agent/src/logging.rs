//! What goes to the log, as `RUST_LOG` says.

use clap::ValueEnum;
use std::io::{IsTerminal, stderr};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The tree's database. What it logs is about its internals, and every close is an error there.
const NOISY: &str = "slatedb";
const DEFAULT: &str = "info";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// A line for people, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object on each line: `timestamp`, `level`, `target`, `fields` with the `message` among them.
    Json,
}

/// Sends what passes the filter to standard error from now on.
pub fn start(filter: Targets, format: LogFormat) {
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.with_ansi(false).json().boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}

/// What is wrong with `RUST_LOG`.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG: {0}; use a level such as `info` or `debug`, or `NAME=LEVEL` separated by commas")]
pub struct FilterError(String);

/// The filter that `RUST_LOG` stands for. Empty or absent means `info`. The tree's database is logged only if it is
/// named.
///
/// # Errors
/// [`FilterError`].
pub fn filter(variable: Option<&str>) -> Result<Targets, FilterError> {
    let parts = variable.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.collect();
    // A single word is a level here: taken as the name of a module, a mistyped level would silence everything.
    if let Some(word) = parts.iter().find(|part| !is_clear(part)) {
        return Err(FilterError(format!("`{word}` is not a level")));
    }
    let text = if parts.is_empty() { DEFAULT.to_owned() } else { parts.join(",") };
    let text = if text.contains(NOISY) { text } else { format!("{text},{NOISY}=off") };
    text.parse().map_err(|error: ParseError| FilterError(error.to_string()))
}

fn is_clear(part: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    part.contains('=') || levels.iter().any(|level| level.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        filter(Some(text)).expect(text).to_string()
    }

    #[test]
    fn an_empty_variable_is_like_none_and_the_database_is_logged_only_if_named() {
        let default = filter(None).expect("the default").to_string();
        assert!(default.contains("slatedb=off") && default.contains("info"), "{default}");
        for text in ["", "  ", ",", "info", "INFO", "info,", " , info"] {
            assert_eq!(of(text), default, "{text:?}");
        }
        let debug = of("debug,strongroom_agent=trace");
        assert!(debug.contains("slatedb=off") && debug.contains("strongroom_agent=trace"), "{debug}");
        assert!(!of("info,slatedb=warn").contains("off"));
    }

    #[test]
    fn a_filter_without_meaning_is_an_error_that_says_what_to_write() {
        for text in ["inof", "info,strongroom_agent", "strongroom_agent=loud", "a=b=c", "[x"] {
            let error = filter(Some(text)).expect_err(text).to_string();
            assert!(error.starts_with("RUST_LOG: ") && error.contains("NAME=LEVEL"), "{error}");
        }
    }
}
