//! What goes to the log: what `RUST_LOG` says, if it says anything.

use tracing_subscriber::filter::{ParseError, Targets};

/// The tree's database. What it logs by itself speaks of its inside, and calls every closing an error.
const NOISY: &str = "slatedb";
const DEFAULT: &str = "info";

/// What is wrong with `RUST_LOG`.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG: {0}; say a level such as `info` or `debug`, or `NAME=LEVEL` with commas between")]
pub struct FilterError(String);

/// The filter that `RUST_LOG` stands for. Empty or absent, it is `info`. The database of the tree is heard only if it is
/// named.
///
/// # Errors
/// [`FilterError`].
pub fn filter(variable: Option<&str>) -> Result<Targets, FilterError> {
    let parts = variable.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.collect();
    // One word is a level here: as the name of a module, a mistyped level would silence all.
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
    fn an_empty_variable_is_as_none_and_the_database_speaks_only_if_named() {
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
    fn what_means_nothing_is_an_error_that_says_what_to_write() {
        for text in ["inof", "info,strongroom_agent", "strongroom_agent=loud", "a=b=c", "[x"] {
            let error = filter(Some(text)).expect_err(text).to_string();
            assert!(error.starts_with("RUST_LOG: ") && error.contains("NAME=LEVEL"), "{error}");
        }
    }
}
