//! The text of an error with its causes: libraries keep the part that a person can act on further down.

use std::error::Error;

/// The error and its causes in one line. What one repeats of the next appears once.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let source = (texts.len() > 1).then(|| Box::new(layers(&texts[1..])));
        Layer { text: texts[0], source }
    }

    #[test]
    fn each_cause_appears_once() {
        let error =
            layers(&["sending failed", "connect failed: refused", "connect failed", "refused", "errno 111"]);
        assert_eq!(causes(&error), "sending failed: connect failed: refused: errno 111");
    }
}
